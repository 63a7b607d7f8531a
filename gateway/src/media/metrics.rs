//! What the media threads count. Each thread writes its own counters (relaxed atomics, never shared between writers);
//! whoever wants to know adds them up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::load::LoadSample;

/// Upper edges of the lateness histogram's buckets, microseconds; one more bucket holds all that is later.
pub const LATENESS_EDGES_US: [u64; 10] = [100, 250, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 40_000, 60_000];

/// Why a received packet went nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drop {
    /// The leg had not begun.
    NotStarted,
    /// It came from an address that the leg does not listen to.
    WrongSource,
    /// It was no RTP or RTCP that could be read.
    Malformed,
    /// Another stream's SSRC, an unknown payload type, a duplicate or a packet that is far too old.
    Unwanted,
    /// The kernel did not take a packet that we sent.
    SendFailed,
}

impl Drop {
    /// All of them, in the order of [`Snapshot::drops`].
    pub const ALL: [Self; 5] = [Self::NotStarted, Self::WrongSource, Self::Malformed, Self::Unwanted, Self::SendFailed];

    /// A label for `/metrics`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::WrongSource => "wrong_source",
            Self::Malformed => "malformed",
            Self::Unwanted => "unwanted",
            Self::SendFailed => "send_failed",
        }
    }
}

/// What the threads that write recordings count.
#[derive(Debug, Default)]
pub(crate) struct DiskMetrics {
    /// Recordings that failed once they had begun, or whose file could not be made.
    pub(crate) failed: AtomicU64,
    /// Recordings that did not begin since too much waited.
    pub(crate) refused: AtomicU64,
    /// Blocks dropped since too much waited; each ends its recording.
    pub(crate) blocks_dropped: AtomicU64,
    /// Blocks that waited when the last one came.
    pub(crate) blocks_waiting: AtomicU64,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one media thread.
        #[derive(Debug, Default)]
        pub(crate) struct ThreadMetrics {
            $($(#[$doc])* pub(crate) $name: AtomicU64,)*
            pub(crate) drops: [AtomicU64; Drop::ALL.len()],
            pub(crate) lateness: [AtomicU64; LATENESS_EDGES_US.len() + 1],
        }

        /// The counters of all threads, added up at one moment.
        #[derive(Clone, PartialEq, Eq, Debug, Default)]
        pub struct Snapshot {
            $($(#[$doc])* pub $name: u64,)*
            /// Recordings that failed or could not begin.
            pub recordings_failed: u64,
            /// Blocks of recordings dropped since the disk was too far behind.
            pub record_blocks_dropped: u64,
            /// Blocks of recordings that wait for the disk.
            pub record_blocks_waiting: u64,
            /// Packets dropped, by [`Drop::ALL`].
            pub drops: [u64; Drop::ALL.len()],
            /// Frames by how late they were sent: the buckets of [`LATENESS_EDGES_US`] and one for the rest.
            pub lateness: [u64; LATENESS_EDGES_US.len() + 1],
        }

        impl Snapshot {
            fn add(&mut self, thread: &ThreadMetrics) {
                $(self.$name += thread.$name.load(Relaxed);)*
                for (sum, part) in self.drops.iter_mut().zip(&thread.drops) {
                    *sum += part.load(Relaxed);
                }
                for (sum, part) in self.lateness.iter_mut().zip(&thread.lateness) {
                    *sum += part.load(Relaxed);
                }
            }
        }
    };
}

counters! {
    /// Legs that are up now.
    legs,
    /// Bridges that are up now.
    bridges,
    /// Recordings that run now.
    recordings,
    /// RTP packets received, dropped ones included.
    rtp_in,
    /// RTP packets sent.
    rtp_out,
    /// RTCP packets received.
    rtcp_in,
    /// RTCP packets sent.
    rtcp_out,
    /// Wheel slots that began more than 5 ms late.
    late_ticks,
    /// Stalls longer than could be caught up: frames were skipped, with marker and timestamp jump.
    resyncs,
    /// Commands that came for a leg that had ended.
    stale_commands,
    /// Legs that moved to another thread to be bridged.
    moves,
    /// Digits and time-outs dropped because one leg had too many waiting.
    events_dropped,
    /// Events that wait for the call core now.
    events_waiting,
    /// CPU time of the media threads, nanoseconds, as of a few milliseconds ago.
    cpu_ns,
}

impl ThreadMetrics {
    /// One more, or so many more.
    pub(crate) fn count(counter: &AtomicU64, by: u64) {
        // One writer: a load and a store need no locked instruction.
        counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
    }

    /// So many fewer.
    pub(crate) fn uncount(counter: &AtomicU64, by: u64) {
        counter.store(counter.load(Relaxed).saturating_sub(by), Relaxed);
    }

    /// A packet went nowhere.
    pub(crate) fn dropped(&self, why: Drop) {
        Self::count(&self.drops[why as usize], 1);
    }

    /// A frame was sent so long after its time.
    pub(crate) fn lateness(&self, late: Duration) {
        let late = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENESS_EDGES_US.iter().position(|edge| late < *edge).unwrap_or(LATENESS_EDGES_US.len());
        Self::count(&self.lateness[bucket], 1);
    }
}

/// Reads the counters of a running engine; cheap to clone.
#[derive(Clone, Debug)]
pub struct EngineMetrics {
    pub(crate) threads: Arc<[Arc<ThreadMetrics>]>,
    pub(crate) disk: Arc<DiskMetrics>,
}

impl EngineMetrics {
    /// All threads added up. The counters go on while they are read: they agree to within a few packets.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        for thread in self.threads.iter() {
            sum.add(thread);
        }
        sum.recordings_failed = self.disk.failed.load(Relaxed) + self.disk.refused.load(Relaxed);
        sum.record_blocks_dropped = self.disk.blocks_dropped.load(Relaxed);
        sum.record_blocks_waiting = self.disk.blocks_waiting.load(Relaxed);
        sum
    }

    /// What the load is judged by.
    #[must_use]
    pub fn load_sample(&self) -> LoadSample {
        let sum = self.snapshot();
        let on_time = LATENESS_EDGES_US.iter().filter(|edge| **edge <= 20_000).count();
        let media = self.threads.len().saturating_sub(1);
        LoadSample {
            frames: sum.lateness.iter().sum(),
            late: sum.lateness[on_time..].iter().sum(),
            cpu_ns: self.threads.iter().take(media).map(|thread| thread.cpu_ns.load(Relaxed)).collect(),
        }
    }

    /// Legs on each thread.
    #[must_use]
    pub fn legs_by_thread(&self) -> Vec<u64> {
        let media = self.threads.len().saturating_sub(1);
        self.threads.iter().take(media).map(|thread| thread.legs.load(Relaxed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_falls_into_the_bucket_whose_edge_is_above_it() {
        let thread = Arc::new(ThreadMetrics::default());
        for us in [0, 99, 100, 19_999, 20_000, 60_000, 9_000_000] {
            thread.lateness(Duration::from_micros(us));
        }
        thread.dropped(Drop::WrongSource);
        let metrics = EngineMetrics { threads: Arc::new([thread.clone(), thread]), disk: Arc::default() };
        let snapshot = metrics.snapshot();
        assert_eq!(snapshot.lateness, [4, 2, 0, 0, 0, 0, 0, 2, 2, 0, 4]);
        assert_eq!(snapshot.drops, [0, 2, 0, 0, 0]);
    }
}
