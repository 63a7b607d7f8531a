//! Whether the media threads can carry another call: judged before those that are up are heard to suffer.
//!
//! Pure: fed with what the threads count, at any pace. Two signs count, over a stretch of [`LOAD_WINDOW`]: how busy the
//! busiest thread is, and how many frames were sent late. It takes one such stretch that is bad to close the door, and
//! [`LOAD_REST`] that is good to open it.

use std::time::{Duration, Instant};

use super::limits::{
    LOAD_BUSY_MAX, LOAD_BUSY_REST, LOAD_FRAMES_MIN, LOAD_LATE_MAX, LOAD_LATE_REST, LOAD_REST, LOAD_WINDOW,
};

/// What the media threads have counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadSample {
    /// Frames sent at a tick.
    pub frames: u64,
    /// Those that were sent 20 ms late or more.
    pub late: u64,
    /// CPU time of each thread, nanoseconds.
    pub cpu_ns: Vec<u64>,
}

/// How the last stretch was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// CPU time of the busiest thread in its share of the time, 0 to 1.
    pub busy: f64,
    /// Frames that were late in their share of all, 0 to 1.
    pub late: f64,
    /// New calls get 503.
    pub overloaded: bool,
}

/// Watches the load.
#[derive(Debug, Default)]
pub struct LoadJudge {
    last: Option<(Instant, LoadSample)>,
    load: Load,
    well_since: Option<Instant>,
}

impl LoadJudge {
    /// The load as of the last whole stretch.
    pub fn load(&self) -> Load {
        self.load
    }

    /// Takes what the threads have counted until `now`.
    pub fn judge(&mut self, now: Instant, sample: LoadSample) -> Load {
        let Some((then, before)) = &self.last else {
            self.last = Some((now, sample));
            return self.load;
        };
        let passed = now.saturating_duration_since(*then);
        if passed < LOAD_WINDOW {
            return self.load;
        }
        let wall = passed.as_nanos().max(1) as f64;
        let spent = sample.cpu_ns.iter().zip(before.cpu_ns.iter().chain(std::iter::repeat(&0)));
        let busy = spent.map(|(now, then)| now.saturating_sub(*then) as f64 / wall).fold(0.0, f64::max);
        let frames = sample.frames.saturating_sub(before.frames);
        // Of a few frames one that is late says nothing.
        let counts = frames as f64 >= LOAD_FRAMES_MIN as f64 * passed.as_secs_f64();
        let late = if counts { sample.late.saturating_sub(before.late) as f64 / frames.max(1) as f64 } else { 0.0 };
        self.last = Some((now, sample));
        (self.load.busy, self.load.late) = (busy, late);
        self.decide(now);
        self.load
    }

    fn decide(&mut self, now: Instant) {
        let Load { busy, late, overloaded } = self.load;
        if busy > LOAD_BUSY_MAX || late > LOAD_LATE_MAX {
            self.load.overloaded = true;
        }
        let well = busy < LOAD_BUSY_REST && late < LOAD_LATE_REST;
        self.well_since = if well { self.well_since.or(Some(now)) } else { None };
        let rested = |since: Instant| now.saturating_duration_since(since) >= LOAD_REST;
        if overloaded && self.well_since.is_some_and(rested) {
            self.load.overloaded = false;
        }
    }
}

const _: () = assert!(LOAD_REST.as_millis() >= LOAD_WINDOW.as_millis());
const _: () = assert!(LOAD_WINDOW.as_millis() >= Duration::from_millis(200).as_millis());

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine whose load a test sets.
    struct Machine {
        judge: LoadJudge,
        now: Instant,
        sample: LoadSample,
    }

    impl Machine {
        fn new() -> Self {
            let mut machine = Self {
                judge: LoadJudge::default(),
                now: Instant::now(),
                sample: LoadSample { cpu_ns: vec![0, 0], ..LoadSample::default() },
            };
            machine.judge.judge(machine.now, machine.sample.clone());
            machine
        }

        /// Half a second with that share of a busiest thread, of so many frames a second, of which so many are late.
        fn half_second(&mut self, busy: f64, frames: u64, late: f64) -> bool {
            self.now += Duration::from_millis(500);
            self.sample.cpu_ns[0] += (busy * 500e6) as u64;
            self.sample.cpu_ns[1] += 100_000_000;
            self.sample.frames += frames / 2;
            self.sample.late += (frames as f64 / 2.0 * late) as u64;
            self.judge.judge(self.now, self.sample.clone()).overloaded
        }
    }

    #[test]
    fn a_busy_thread_closes_the_door_and_it_opens_when_it_has_rested() {
        let mut machine = Machine::new();
        assert!(!(0..20).any(|_| machine.half_second(0.8, 50_000, 0.0)), "busy, and well");
        let closed = (0..4).filter(|_| machine.half_second(0.95, 50_000, 0.0)).count();
        assert!(closed >= 2, "within a second or so");
        // In between neither sign lets anybody in: no flapping.
        assert!((0..20).all(|_| machine.half_second(0.82, 50_000, 0.004)));
        let opened = (0..20).position(|_| !machine.half_second(0.4, 25_000, 0.0)).expect("it opens");
        assert!((3..=10).contains(&opened), "after some seconds: {opened}");
        assert!(!machine.half_second(0.8, 50_000, 0.0));
    }

    #[test]
    fn late_frames_close_it_whatever_the_threads_spend_and_those_of_a_few_calls_do_not() {
        let mut machine = Machine::new();
        assert!(!(0..10).any(|_| machine.half_second(0.3, 200, 0.5)), "four calls on a machine that stalls");
        assert!(!(0..10).any(|_| machine.half_second(0.3, 20_000, 0.001)));
        assert!((0..4).any(|_| machine.half_second(0.3, 20_000, 0.05)));
        assert!(machine.judge.load().late > 0.04);
        // Counters that begin anew: nothing goes below nothing.
        machine.sample = LoadSample::default();
        machine.now += LOAD_WINDOW;
        let load = machine.judge.judge(machine.now, machine.sample.clone());
        assert_eq!((load.busy, load.late), (0.0, 0.0));
    }
}
