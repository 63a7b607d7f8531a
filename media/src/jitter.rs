//! An adaptive jitter buffer: packets of any codec go in as they come, and come out in order when their time is there.
//!
//! How long a packet is held back follows from how late packets come against the fastest recent one: 98 of 100 of them
//! are there when they are asked for, at the tick in which they are played, and the delay goes up at once when one came
//! too late. It stays within 20 to 120 ms ([`crate::limits::JITTER_DELAY_MIN`], [`crate::limits::JITTER_DELAY_MAX`]).
//! The buffer knows packets and the sender's clock, no audio: who plays ([`crate::playout::Playout`]) asks with
//! [`JitterBuffer::take`] whenever it runs out of samples, and lengthens or shortens audio as
//! [`JitterBuffer::adjustment`] asks. Numbers that begin anew (another SSRC, a restart of sequence numbers or
//! timestamps) are laid behind what is there already, so that nothing is flushed and nothing stalls.
//!
//! All times inside are RTP clock units on a line of 64 bits that never wraps.

use std::time::{Duration, Instant};

use crate::limits::{JITTER_BYTES_MAX, JITTER_DELAY_MAX, JITTER_DELAY_MIN, JITTER_PACKETS_MAX, TICK};

/// How late packets are taken to be before anything is known of the network.
const LATENESS_FIRST: Duration = Duration::from_millis(20);
/// Packets after which what was measured counts alone: half a second.
const PACKETS_FIRST: u32 = 25;
/// Of 100 packets so many must come in time.
const IN_TIME_PERCENT: u32 = 98;
/// Width of one class of the lateness histogram.
const CLASS: Duration = Duration::from_millis(5);
/// Classes: 0 to 130 ms, the last one for everything above.
const CLASSES: usize = 26;
/// When the histogram holds so many packets it is halved: what was twice 2.5 seconds ago counts a quarter.
const HISTOGRAM_PACKETS: u32 = 256;
/// The most lateness that is waited for: with the tick that it may take until a packet is asked for, the bound.
const LATENESS_MAX: Duration = JITTER_DELAY_MAX.saturating_sub(TICK);
/// How much more than needed there must be before the delay goes down by a tick.
const SPARE: Duration = Duration::from_millis(4);
/// How long the delay stays up after a packet that came too late.
const PEAK_HOLD: Duration = Duration::from_secs(3);
/// How fast it comes down afterwards: 1 ms in so much time.
const PEAK_DECAY: Duration = Duration::from_millis(50);
/// Room above a packet that came too late, for the next one.
const PEAK_MARGIN: Duration = Duration::from_millis(5);
/// The fastest packet is looked for over this many buckets of [`FLOOR_BUCKET`]: the floor follows a sender's clock that
/// is slower than ours (1000 ppm are 4 ms in that time).
const FLOOR_BUCKETS: usize = 4;
/// One bucket of the floor.
const FLOOR_BUCKET: Duration = Duration::from_secs(1);
/// The clock skew is reckoned over stretches of this length.
const SKEW_STRETCH: Duration = Duration::from_secs(10);
/// When so many packets in a row came later than any buffer waits, the way has become longer: a new floor.
const LONGER_WAY_PACKETS: u32 = 5;
/// Longest stretch that is made up: after 60 ms nothing of it is heard any more, and what follows is a new talkspurt.
const CONCEAL_MAX: Duration = Duration::from_millis(100);
/// Timestamps and arrivals that part by more than this between two packets: the sender began a new clock.
const CLOCK_JUMP: Duration = Duration::from_secs(1);
/// Sequence numbers that jump further are a new count (RFC 3550 A.1 MAX_DROPOUT).
const SEQUENCE_JUMP: u64 = 3000;
/// Our own number of the very first packet.
const FIRST_SEQUENCE: u64 = 1 << 16;
/// Beyond the most delay that it asks for the buffer throws audio away rather than hold it.
const OVERDUE: Duration = Duration::from_millis(20);
/// The delay's minimum is taken over one to two of these: a tick that comes late moves nothing.
const SETTLE: Duration = Duration::from_millis(500);

/// What a packet is to the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Audio.
    Audio,
    /// Comfort noise or another sign that the sender pauses (RFC 3389, a silence descriptor): the gap behind it is no loss.
    Comfort,
    /// A telephone-event: it takes a sequence number, and while it lasts no audio comes.
    Event,
}

/// A packet as it arrives.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// What it is.
    pub class: Class,
    /// The sender's stream.
    pub ssrc: u32,
    /// Extended sequence number ([`crate::session::Media::sequence`]).
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Its payload; more than [`JITTER_BYTES_MAX`] bytes are dropped.
    pub payload: &'a [u8],
}

/// What became of an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It waits for its time.
    Held,
    /// Its time was over.
    Late,
    /// It waits already.
    Duplicate,
    /// It is larger than the buffer.
    TooLarge,
}

/// What comes next; see [`JitterBuffer::take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take<'a> {
    /// The next packet. Say how long it was with [`JitterBuffer::played`], or that it is [`JitterBuffer::lost`].
    Packet {
        /// What it is; never [`Class::Event`].
        class: Class,
        /// The sender's stream.
        ssrc: u32,
        /// Its payload.
        payload: &'a [u8],
        /// RTP timestamp as it came.
        timestamp: u32,
    },
    /// The next packet is lost, or not here yet: make up so many clock units and ask again.
    Missing(u32),
    /// Nothing is due: the sender pauses, or its audio is held back a little longer. Fill so many clock units and ask
    /// again.
    Nothing(u32),
}

/// Counters and state.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct JitterStats {
    /// Delay between the arrival of the fastest packets and their playing, now.
    pub delay: Duration,
    /// The least delay that the network asks for; the phase of the ticks may add up to one of them.
    pub target: Duration,
    /// The largest delay so far.
    pub delay_max: Duration,
    /// Packets that came after their time.
    pub late: u64,
    /// Packets that were here already.
    pub duplicates: u64,
    /// Packets thrown away because the delay would have gone beyond its bound, or the buffer was full.
    pub dropped: u64,
    /// How often numbers began anew.
    pub restarts: u64,
    /// The sender's clock against ours, parts per million; positive: the sender is faster. 0 until 20 s were heard.
    pub skew_ppm: i32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    sequence: u64,
    /// On the buffer's own line.
    at: i64,
    /// As it came.
    timestamp: u32,
    ssrc: u32,
    class: Class,
    offset: u16,
    length: u16,
}

/// The newest packet in the order of sending, to which the next one is compared.
#[derive(Debug, Clone, Copy)]
struct Newest {
    ssrc: u32,
    /// What is added to the sender's sequence numbers.
    shift: u64,
    sequence: u64,
    /// The first sequence number since numbers began anew; older ones cannot be placed.
    first: u64,
    timestamp: u32,
    at: i64,
    arrived: i64,
}

/// The buffer. It allocates when it is made and never again.
#[derive(Debug)]
pub struct JitterBuffer {
    clock_hz: u32,
    epoch: Instant,
    entries: Vec<Entry>,
    bytes: Box<[u8]>,
    /// Where the next payload goes.
    tail: usize,
    newest: Option<Newest>,
    playing: bool,
    /// The next packet to be taken, its place on the line, and what was made up since its time came.
    next_sequence: u64,
    next_at: i64,
    waited: i64,
    /// Clock units of the last packet.
    packet_units: i64,
    floor: Floor,
    lateness: Lateness,
    /// How late packets may come: what [`Lateness`] says in clock units.
    wanted: i64,
    settled: Settled,
    stats: JitterStats,
}

impl JitterBuffer {
    /// An empty buffer for a stream whose timestamps count `clock_hz` a second; its time begins `now`.
    pub fn new(now: Instant, clock_hz: u32) -> Self {
        let clock_hz = clock_hz.max(1);
        let mut buffer = Self {
            clock_hz,
            epoch: now,
            entries: Vec::with_capacity(JITTER_PACKETS_MAX),
            bytes: vec![0; JITTER_BYTES_MAX].into_boxed_slice(),
            tail: 0,
            newest: None,
            playing: false,
            next_sequence: 0,
            next_at: 0,
            waited: 0,
            packet_units: 0,
            floor: Floor::default(),
            lateness: Lateness::default(),
            wanted: 0,
            settled: Settled::default(),
            stats: JitterStats::default(),
        };
        buffer.packet_units = buffer.units(TICK);
        buffer.wanted = buffer.units(LATENESS_FIRST);
        buffer.stats.target = JITTER_DELAY_MIN;
        buffer
    }

    /// Counters and state.
    pub fn stats(&self) -> JitterStats {
        self.stats
    }

    /// Packets that wait.
    pub fn waiting(&self) -> usize {
        self.entries.len()
    }

    /// Whether a talkspurt is being played.
    pub fn is_playing(&self) -> bool {
        self.playing
    }

    fn units(&self, duration: Duration) -> i64 {
        (duration.as_micros() as u64 * u64::from(self.clock_hz) / 1_000_000) as i64
    }

    fn duration(&self, units: i64) -> Duration {
        Duration::from_micros(units.max(0) as u64 * 1_000_000 / u64::from(self.clock_hz))
    }

    fn clock(&self, now: Instant) -> i64 {
        self.units(now.saturating_duration_since(self.epoch))
    }

    /// Takes a packet that arrived `now`. When the buffer is full the oldest packets go.
    pub fn push(&mut self, now: Instant, arrival: &Arrival<'_>) -> Pushed {
        if arrival.payload.len() > self.bytes.len() {
            self.stats.dropped += 1;
            return Pushed::TooLarge;
        }
        if arrival.class == Class::Event && self.newest.is_none_or(|newest| newest.ssrc != arrival.ssrc) {
            // Some gateways send keys in a stream of their own beside the audio.
            return Pushed::Held;
        }
        let clock = self.clock(now);
        let Some((sequence, at)) = self.place(clock, arrival) else {
            self.stats.late += 1;
            return Pushed::Late;
        };
        if arrival.class == Class::Audio {
            self.measure(now, clock, sequence, at);
        }
        if self.next_sequence > sequence {
            self.stats.late += 1;
            return Pushed::Late;
        }
        let index = self.entries.partition_point(|entry| entry.sequence < sequence);
        if self.entries.get(index).is_some_and(|entry| entry.sequence == sequence) {
            self.stats.duplicates += 1;
            return Pushed::Duplicate;
        }
        let length = arrival.payload.len();
        let dropped = self.make_room(length);
        if dropped > index {
            // It is older than all that had to go for it.
            self.stats.dropped += 1;
            return Pushed::Late;
        }
        self.bytes[self.tail..self.tail + length].copy_from_slice(arrival.payload);
        let entry = Entry {
            sequence,
            at,
            timestamp: arrival.timestamp,
            ssrc: arrival.ssrc,
            class: arrival.class,
            offset: self.tail as u16,
            length: length as u16,
        };
        self.tail += length;
        self.entries.insert(index - dropped, entry);
        Pushed::Held
    }

    /// Where a packet lies in our own numbers: sequence and place on the line. `None`: from before the numbers began
    /// anew.
    fn place(&mut self, clock: i64, arrival: &Arrival<'_>) -> Option<(u64, i64)> {
        let Some(newest) = self.newest.filter(|newest| newest.ssrc == arrival.ssrc) else {
            return Some(self.anchor(clock, arrival));
        };
        let sequence = arrival.sequence.wrapping_add(newest.shift);
        let step = arrival.timestamp.wrapping_sub(newest.timestamp) as i32;
        if sequence <= newest.sequence {
            if newest.sequence - sequence > SEQUENCE_JUMP {
                return Some(self.anchor(clock, arrival));
            }
            return (sequence >= newest.first).then_some((sequence, newest.at + i64::from(step.min(0))));
        }
        if arrival.class == Class::Event {
            // Its timestamp is that of the key: it says nothing about the line.
            self.newest = Some(Newest { sequence, ..newest });
            return Some((sequence, newest.at));
        }
        let elapsed = clock - newest.arrived;
        let parted = (elapsed - i64::from(step)).unsigned_abs() as i64 > self.units(CLOCK_JUMP);
        if step <= 0 || parted || sequence - newest.sequence > SEQUENCE_JUMP {
            return Some(self.anchor(clock, arrival));
        }
        let at = newest.at + i64::from(step);
        self.newest = Some(Newest { sequence, timestamp: arrival.timestamp, at, arrived: clock, ..newest });
        Some((sequence, at))
    }

    /// Numbers begin: the packet is laid where one that took the fastest way would lie, behind all that is there.
    fn anchor(&mut self, clock: i64, arrival: &Arrival<'_>) -> (u64, i64) {
        let behind = self.newest.map(|newest| (newest.sequence + 1, newest.at + self.packet_units));
        self.stats.restarts += u64::from(behind.is_some());
        let fastest = clock - self.floor.get().unwrap_or(0);
        let (sequence, at) =
            behind.map_or((FIRST_SEQUENCE, fastest), |(sequence, after)| (sequence, after.max(fastest)));
        self.newest = Some(Newest {
            ssrc: arrival.ssrc,
            shift: sequence.wrapping_sub(arrival.sequence),
            sequence,
            // What came out of order before the very first packet still has a place.
            first: behind.map_or(0, |_| sequence),
            timestamp: arrival.timestamp,
            at,
            arrived: clock,
        });
        (sequence, at)
    }

    /// Learns from a packet how long its way was against the fastest.
    fn measure(&mut self, now: Instant, clock: i64, sequence: u64, at: i64) {
        let transit = clock - at;
        let bucket = self.units(FLOOR_BUCKET);
        if let Some(slope) = self.floor.update(clock, transit, bucket, self.units(SKEW_STRETCH)) {
            // A way that grows means that their clock is slower than ours.
            self.stats.skew_ppm = -slope;
        }
        let mut late = transit - self.floor.get().unwrap_or(transit);
        if late > self.units(JITTER_DELAY_MAX) {
            if self.lateness.beyond(transit) >= LONGER_WAY_PACKETS {
                self.floor.restart(clock, self.lateness.least_beyond);
                self.lateness.run_beyond = 0;
                late = (transit - self.floor.get().unwrap_or(transit)).max(0);
            }
        } else {
            self.lateness.run_beyond = 0;
        }
        let class = late / self.units(CLASS).max(1);
        self.lateness.count(class.clamp(0, CLASSES as i64 - 1) as usize);
        let missed = self.playing && (sequence < self.next_sequence || self.waited > 0);
        if missed {
            let peak = self.duration(late) + PEAK_MARGIN;
            self.lateness.missed(now, peak);
        }
        let wanted = self.lateness.wanted(now).min(LATENESS_MAX);
        self.wanted = self.units(wanted);
        self.stats.target = wanted.max(JITTER_DELAY_MIN);
    }

    /// Drops the oldest packets until there is a free slot and `length` bytes behind the tail; how many were dropped.
    fn make_room(&mut self, length: usize) -> usize {
        let mut dropped = 0;
        let mut held: usize = self.entries.iter().map(|entry| usize::from(entry.length)).sum();
        while self.entries.len() - dropped == JITTER_PACKETS_MAX || held + length > self.bytes.len() {
            held -= usize::from(self.entries[dropped].length);
            dropped += 1;
        }
        self.drop_first(dropped);
        if self.tail + length > self.bytes.len() {
            self.compact();
        }
        dropped
    }

    fn drop_first(&mut self, count: usize) {
        if let Some(last) = count.checked_sub(1).and_then(|last| self.entries.get(last)) {
            self.next_sequence = self.next_sequence.max(last.sequence + 1);
            self.entries.drain(..count);
            self.stats.dropped += count as u64;
        }
    }

    /// Moves the payloads together at the front: about once in fifty packets.
    fn compact(&mut self) {
        let mut order = [0_u8; JITTER_PACKETS_MAX];
        let order = &mut order[..self.entries.len()];
        order.iter_mut().enumerate().for_each(|(index, slot)| *slot = index as u8);
        order.sort_unstable_by_key(|index| self.entries[usize::from(*index)].offset);
        self.tail = 0;
        for index in order {
            let entry = &mut self.entries[usize::from(*index)];
            let (from, length) = (usize::from(entry.offset), usize::from(entry.length));
            self.bytes.copy_within(from..from + length, self.tail);
            entry.offset = self.tail as u16;
            self.tail += length;
        }
    }

    /// What is to be played after the `ahead` clock units that the caller still has. Ask only when more is needed, and
    /// again until there is enough: a packet in order, or a stretch of at most 20 ms to be filled.
    pub fn take(&mut self, now: Instant, ahead: u32) -> Take<'_> {
        let ahead = i64::from(ahead);
        let clock = self.clock(now) + ahead;
        // To the end of this tick: the next one may know more.
        let rest = (self.units(TICK) - ahead).max(1);
        self.drop_overdue(clock);
        while let Some(first) = self.entries.first().copied() {
            if first.class == Class::Event {
                self.entries.remove(0);
                self.next_sequence = first.sequence + 1;
                self.pause();
                continue;
            }
            let due = if self.playing { self.due_in_spurt(clock, rest, first) } else { Due::NewSpurt };
            match due {
                Due::Now => return self.play(clock, ahead, first),
                Due::Missing(units) => {
                    self.waited += units;
                    return Take::Missing(units as u32);
                }
                Due::Superseded => {
                    self.stats.late += 1;
                    self.entries.remove(0);
                }
                Due::NewSpurt => {
                    self.pause();
                    let delay = clock - first.at - self.floor.get().unwrap_or(clock - first.at);
                    let fill = self.units(JITTER_DELAY_MIN) - delay;
                    let late_enough = delay - ahead >= self.wanted;
                    if (late_enough && fill <= 0) || first.class == Class::Comfort {
                        return self.play(clock, ahead, first);
                    }
                    return Take::Nothing(if late_enough { fill.min(rest) } else { rest } as u32);
                }
            }
        }
        let unheard = self.units(CONCEAL_MAX) - self.waited;
        if self.playing && unheard > 0 {
            let units = rest.min(unheard);
            self.waited += units;
            return Take::Missing(units as u32);
        }
        self.pause();
        Take::Nothing(rest as u32)
    }

    /// Whether [`JitterBuffer::take`] would give audio now: for those who look ahead, because it fills gaps otherwise.
    pub fn is_ready(&self) -> bool {
        let next = self.entries.first().filter(|first| first.class == Class::Audio);
        self.playing && self.waited == 0 && next.is_some_and(|first| first.at - self.next_at <= self.packet_units / 2)
    }

    /// When the first packet that waits is to be played, in a talkspurt.
    fn due_in_spurt(&self, clock: i64, rest: i64, first: Entry) -> Due {
        let gap = first.at - self.next_at;
        // Less than half a packet is how senders round.
        let rounding = self.packet_units / 2;
        if first.sequence == self.next_sequence && gap > rounding.max(self.waited) {
            // Nothing is missing and yet time has passed: the sender paused.
            return Due::NewSpurt;
        }
        if gap <= self.waited.max(rounding) {
            // What was made up already need not be heard again, unless the delay shall grow anyway.
            let more = self.entries.get(1).is_some_and(|next| next.at - self.next_at <= self.waited);
            let delay = clock - first.at - self.floor.get().unwrap_or(0);
            let grows = self.waited > gap && delay > self.wanted + self.units(TICK);
            return if grows && more { Due::Superseded } else { Due::Now };
        }
        if self.waited >= self.units(CONCEAL_MAX) {
            return Due::NewSpurt;
        }
        Due::Missing((gap - self.waited).min(rest))
    }

    /// Throws away what would be played later than the bound allows: down to the delay that the network asks for.
    fn drop_overdue(&mut self, clock: i64) {
        let Some(floor) = self.floor.get() else { return };
        let delay = |entry: &Entry| clock - entry.at - floor;
        let most = self.units(JITTER_DELAY_MAX + OVERDUE);
        if self.entries.first().is_some_and(|first| delay(first) > most) {
            let target = self.wanted + self.units(TICK);
            let overdue = self.entries.iter().take_while(|entry| delay(entry) > target).count();
            // The last one is played however late it is: there is nothing better to play.
            self.drop_first(overdue.min(self.entries.len() - 1));
            self.settled = Settled::default();
        }
    }

    fn play(&mut self, clock: i64, ahead: i64, entry: Entry) -> Take<'_> {
        self.entries.remove(0);
        if self.entries.is_empty() {
            self.tail = 0;
        }
        if self.playing {
            self.settled.shift(self.waited - (entry.at - self.next_at));
        }
        self.next_sequence = entry.sequence + 1;
        self.next_at = entry.at;
        self.waited = 0;
        self.playing = entry.class == Class::Audio;
        if let (true, Some(floor)) = (self.playing, self.floor.get()) {
            let delay = clock - entry.at - floor;
            self.stats.delay = self.duration(delay);
            self.stats.delay_max = self.stats.delay_max.max(self.stats.delay);
            let settle = self.units(SETTLE);
            self.settled.update(clock - ahead, delay, delay - ahead, settle);
        }
        let from = usize::from(entry.offset);
        let payload = &self.bytes[from..from + usize::from(entry.length)];
        Take::Packet { class: entry.class, ssrc: entry.ssrc, payload, timestamp: entry.timestamp }
    }

    /// The packet taken last had so many clock units of audio.
    pub fn played(&mut self, units: u32) {
        self.next_at += i64::from(units);
        if units > 0 {
            self.packet_units = i64::from(units);
        }
    }

    /// The packet taken last could not be decoded: what follows it is told as missing.
    pub fn lost(&mut self) {
        self.next_sequence = self.next_sequence.saturating_sub(1);
    }

    /// When exactly one packet is missing, of which `units` were given by [`Take::Missing`] just now, and the next one
    /// is here: the payload of that, and the clock units of the missing one. For codecs whose packets carry a copy of
    /// the one before.
    pub fn following(&self, units: u32) -> Option<(&[u8], u32)> {
        let next = self.entries.first().filter(|next| next.class == Class::Audio && self.playing)?;
        let gap = next.at - self.next_at;
        let one = (gap - self.packet_units).abs() <= self.packet_units / 4;
        let payload = self.bytes.get(usize::from(next.offset)..usize::from(next.offset + next.length))?;
        (one && self.waited == i64::from(units)).then_some((payload, gap as u32))
    }

    /// So many clock units more than [`Take::Missing`] asked for were made up.
    pub fn made_up(&mut self, units: u32) {
        self.waited += i64::from(units);
    }

    fn pause(&mut self) {
        if self.playing {
            self.playing = false;
            self.settled = Settled::default();
        }
        self.waited = 0;
    }

    /// How many clock units longer (positive) or shorter (negative) the audio should become for its delay to be what
    /// the network asks for; 0 while that is not known for sure. Say what was done with [`JitterBuffer::stretched`].
    pub fn adjustment(&self) -> i32 {
        let (true, Some((delay, spare))) = (self.playing && self.waited == 0, self.settled.least()) else { return 0 };
        let tick = self.units(TICK);
        // Audio is asked for in ticks: of all delays those are worth having at which a packet is asked for at the last
        // tick before its time that leaves room for its lateness.
        let whole = |room: i64| self.wanted + (spare - room - self.wanted).rem_euclid(tick) + room;
        let wanted = whole(0).max(self.units(JITTER_DELAY_MIN));
        if wanted >= delay {
            return (wanted - delay) as i32;
        }
        let with_room = whole(self.units(SPARE)).max(self.units(JITTER_DELAY_MIN));
        (with_room - delay).min(0) as i32
    }

    /// The audio was made so many clock units longer, or shorter (negative).
    pub fn stretched(&mut self, units: i32) {
        self.settled.shift(i64::from(units));
    }
}

enum Due {
    Now,
    Missing(i64),
    /// Its time was made up, and the next one's has come.
    Superseded,
    NewSpurt,
}

/// The shortest way of a packet in the last seconds: arrival minus place on the line.
#[derive(Debug, Default)]
struct Floor {
    /// The running bucket first.
    buckets: [Option<i64>; FLOOR_BUCKETS],
    began: i64,
    /// Floor and time when the skew was reckoned last, and stretches so far.
    skew_from: Option<(i64, i64)>,
    stretches: u32,
    skew: i32,
}

impl Floor {
    fn get(&self) -> Option<i64> {
        self.buckets.iter().flatten().copied().min()
    }

    /// Counts a packet; the slope of the floor in ppm when there is news of it.
    fn update(&mut self, clock: i64, transit: i64, bucket: i64, stretch: i64) -> Option<i32> {
        let mut slope = None;
        if clock - self.began >= bucket {
            slope = self.slope(clock, stretch);
            self.buckets.rotate_right(1);
            self.buckets[0] = None;
            self.began = clock;
        }
        self.buckets[0] = Some(self.buckets[0].map_or(transit, |least| least.min(transit)));
        slope
    }

    fn slope(&mut self, clock: i64, stretch: i64) -> Option<i32> {
        let least = self.buckets[0]?;
        let Some((from, at)) = self.skew_from else {
            self.skew_from = Some((least, clock));
            return None;
        };
        let elapsed = clock - at;
        if elapsed < stretch {
            return None;
        }
        let ppm = ((least - from) * 1_000_000 / elapsed).clamp(-100_000, 100_000) as i32;
        self.skew_from = Some((least, clock));
        self.stretches = self.stretches.saturating_add(1);
        self.skew = match self.stretches {
            // The first stretch is the network's warming up.
            1 => return None,
            2 => ppm,
            _ => self.skew + (ppm - self.skew) / 4,
        };
        Some(self.skew)
    }

    fn restart(&mut self, clock: i64, transit: i64) {
        self.buckets = [Some(transit), None, None, None];
        self.began = clock;
        self.skew_from = None;
    }
}

/// How late packets come, and the delay that follows from it.
#[derive(Debug, Default)]
struct Lateness {
    classes: [u16; CLASSES],
    total: u32,
    seen: u32,
    /// A packet came too late: the delay that it would have needed, and when.
    peak: Option<(Duration, Instant)>,
    /// Packets in a row beyond any delay, and the fastest of them.
    run_beyond: u32,
    least_beyond: i64,
}

impl Lateness {
    fn count(&mut self, class: usize) {
        self.seen = self.seen.saturating_add(1);
        if self.total >= HISTOGRAM_PACKETS {
            self.total = 0;
            for count in &mut self.classes {
                *count /= 2;
                self.total += u32::from(*count);
            }
        }
        self.classes[class] += 1;
        self.total += 1;
    }

    fn beyond(&mut self, transit: i64) -> u32 {
        self.least_beyond = if self.run_beyond == 0 { transit } else { self.least_beyond.min(transit) };
        self.run_beyond += 1;
        self.run_beyond
    }

    fn missed(&mut self, now: Instant, delay: Duration) {
        if self.peak.is_none_or(|peak| self.decayed(now, peak) <= delay) {
            self.peak = Some((delay, now));
        }
    }

    fn decayed(&self, now: Instant, (delay, at): (Duration, Instant)) -> Duration {
        let since = now.saturating_duration_since(at).saturating_sub(PEAK_HOLD);
        delay.saturating_sub(Duration::from_micros(since.as_micros() as u64 / PEAK_DECAY.as_millis() as u64))
    }

    /// How late a packet may come and still be played.
    fn wanted(&self, now: Instant) -> Duration {
        let in_time = self.total * IN_TIME_PERCENT;
        let mut below = 0;
        let class = self.classes.iter().position(|count| {
            below += u32::from(*count) * 100;
            below >= in_time
        });
        let usual = CLASS * (class.unwrap_or(CLASSES) as u32 + 1);
        let first = if self.seen < PACKETS_FIRST { LATENESS_FIRST } else { Duration::ZERO };
        let peak = self.peak.map_or(Duration::ZERO, |peak| self.decayed(now, peak));
        usual.max(first).max(peak)
    }
}

/// The least of the last half to one second: the delay, and how long before its time a packet was asked for.
#[derive(Debug, Default)]
struct Settled {
    began: i64,
    current: Option<(i64, i64)>,
    before: Option<(i64, i64)>,
}

impl Settled {
    fn update(&mut self, clock: i64, delay: i64, spare: i64, settle: i64) {
        if self.current.is_none() && self.before.is_none() {
            self.began = clock;
        }
        if clock - self.began >= settle {
            self.before = self.current.take();
            self.began = clock;
        }
        self.current = Some(self.current.map_or((delay, spare), |least| (least.0.min(delay), least.1.min(spare))));
    }

    /// `None` until half a second was heard.
    fn least(&self) -> Option<(i64, i64)> {
        let before = self.before?;
        Some(self.current.map_or(before, |current| (current.0.min(before.0), current.1.min(before.1))))
    }

    /// The delay has changed. What was spare has as well, but not how it lies to the ticks.
    fn shift(&mut self, units: i64) {
        for least in [&mut self.current, &mut self.before].into_iter().flatten() {
            least.0 += units;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u32 = 8;
    const FRAME: u32 = 160;

    /// A player of 20 ms ticks over one buffer at 8 kHz.
    struct Player {
        start: Instant,
        buffer: JitterBuffer,
        /// When the next tick is due, in ms, and clock units that are decoded and not yet played.
        tick_ms: u64,
        ahead: i32,
        played: Vec<u32>,
        missing: u32,
        nothing: u32,
    }

    impl Player {
        fn new() -> Self {
            let start = crate::fuzz::start();
            let buffer = JitterBuffer::new(start, 8000);
            Self { start, buffer, tick_ms: 7, ahead: 0, played: Vec::new(), missing: 0, nothing: 0 }
        }

        fn until(&mut self, ms: u64) {
            while self.tick_ms <= ms {
                let now = self.start + Duration::from_millis(self.tick_ms);
                while self.ahead < FRAME as i32 {
                    match self.buffer.take(now, self.ahead.max(0) as u32) {
                        Take::Packet { class, timestamp, payload, .. } => {
                            let units = if class == Class::Audio { payload.len() as u32 } else { 0 };
                            self.played.push(timestamp);
                            self.buffer.played(units);
                            self.ahead += units as i32;
                        }
                        Take::Missing(units) => {
                            self.missing += units;
                            self.ahead += units as i32;
                        }
                        Take::Nothing(units) => {
                            self.nothing += units;
                            self.ahead += units as i32;
                        }
                    }
                }
                self.ahead -= FRAME as i32;
                self.tick_ms += 20;
            }
        }

        fn arrive(&mut self, ms: u64, sequence: u64, timestamp: u32) -> Pushed {
            self.arrive_as(ms, Class::Audio, 1, sequence, timestamp)
        }

        fn arrive_as(&mut self, ms: u64, class: Class, ssrc: u32, sequence: u64, timestamp: u32) -> Pushed {
            self.until(ms);
            let payload = [timestamp as u8; FRAME as usize];
            let payload = if class == Class::Audio { &payload[..] } else { &payload[..1] };
            let now = self.start + Duration::from_millis(ms);
            self.buffer.push(now, &Arrival { class, ssrc, sequence, timestamp, payload })
        }

        fn delay_ms(&self) -> u128 {
            self.buffer.stats().delay.as_millis()
        }
    }

    #[test]
    fn a_clean_network_gets_the_least_delay_and_nothing_is_missing() {
        let mut player = Player::new();
        for n in 0..500 {
            assert_eq!(player.arrive(u64::from(n) * 20, u64::from(n), n * FRAME), Pushed::Held);
        }
        player.until(10_000);
        assert_eq!(player.missing, 0);
        assert_eq!(player.buffer.stats().target, JITTER_DELAY_MIN);
        assert!(player.played.windows(2).all(|pair| pair[1] - pair[0] == FRAME));
        // The tick 7 ms after a packet leaves it too little room: it is played at the next one.
        assert_eq!((player.delay_ms(), player.buffer.adjustment()), (27, 0));
    }

    #[test]
    fn reordered_packets_come_out_in_order_and_doubles_once() {
        let mut player = Player::new();
        for n in (0..100_u64).step_by(2) {
            assert_eq!(player.arrive(n * 20 + 20, n + 1, (n as u32 + 1) * FRAME), Pushed::Held);
            assert_eq!(player.arrive(n * 20 + 21, n, n as u32 * FRAME), Pushed::Held);
            assert_eq!(player.arrive(n * 20 + 22, n, n as u32 * FRAME), Pushed::Duplicate);
        }
        player.until(3000);
        let want: Vec<u32> = (0..100).map(|n| n * FRAME).collect();
        assert_eq!(player.played, want);
        assert_eq!((player.buffer.stats().duplicates, player.buffer.stats().late), (50, 0));
    }

    #[test]
    fn a_lost_packet_is_made_up_for_exactly_and_a_late_one_raises_the_delay() {
        let mut player = Player::new();
        for n in 0..50_u64 {
            if n != 20 {
                player.arrive(n * 20, n, n as u32 * FRAME);
            }
        }
        assert_eq!(player.missing, FRAME);
        // One packet comes 90 ms late: far behind its time.
        player.until(50 * 20);
        for n in 50..100_u64 {
            if n == 60 {
                continue;
            }
            if n == 65 {
                assert_eq!(player.arrive(60 * 20 + 90, 60, 60 * FRAME), Pushed::Late);
            }
            player.arrive(n * 20, n, n as u32 * FRAME);
        }
        let target = player.buffer.stats().target;
        assert!((Duration::from_millis(90)..=Duration::from_millis(100)).contains(&target), "{target:?}");
        assert!(player.buffer.adjustment() > 0);
        // Without another late one it comes down again.
        for n in 100..1000_u64 {
            player.arrive(n * 20, n, n as u32 * FRAME);
        }
        assert_eq!(player.buffer.stats().target, JITTER_DELAY_MIN);
    }

    #[test]
    fn a_pause_of_the_sender_is_no_loss_and_begins_anew_with_the_delay_that_is_asked_for() {
        let mut player = Player::new();
        for n in 0..50_u64 {
            player.arrive(n * 20, n, n as u32 * FRAME);
        }
        // With a sign of the pause nothing is made up at all.
        player.arrive_as(1000, Class::Comfort, 1, 50, 50 * FRAME);
        player.until(3000);
        let (missing, nothing) = (player.missing, player.nothing);
        assert_eq!(missing, 0);
        assert!(nothing > 1900 * MS);
        for n in 0..50_u64 {
            player.arrive(3000 + n * 20, 51 + n, 150 * FRAME + n as u32 * FRAME);
        }
        assert_eq!(player.missing, 0);
        assert_eq!(player.delay_ms(), 20);
        // Without one it takes 100 ms to be sure.
        player.until(6000);
        assert_eq!(player.missing, 100 * MS);
        player.arrive(6000, 101, 300 * FRAME);
        player.arrive(6020, 102, 301 * FRAME);
        player.until(6040);
        assert_eq!((player.missing, player.buffer.stats().late), (100 * MS, 0));
        assert_eq!(player.played.last(), Some(&(301 * FRAME)));
    }

    #[test]
    fn a_key_takes_sequence_numbers_and_no_time_and_is_no_loss() {
        let mut player = Player::new();
        for n in 0..50_u64 {
            player.arrive(n * 20, n, n as u32 * FRAME);
        }
        for n in 50..60_u64 {
            player.arrive_as(n * 20, Class::Event, 1, n, 50 * FRAME);
            player.arrive_as(n * 20, Class::Event, 9, n, 12_345);
        }
        for n in 60..100_u64 {
            player.arrive(n * 20, n, n as u32 * FRAME);
        }
        assert_eq!((player.missing, player.buffer.stats().restarts), (0, 0));
    }

    #[test]
    fn numbers_that_begin_anew_do_not_stall_the_stream() {
        let mut player = Player::new();
        let mut ms = 0;
        let mut speak = |player: &mut Player, ssrc: u32, sequence: u64, timestamp: u32| {
            for n in 0..50_u32 {
                player.arrive_as(ms, Class::Audio, ssrc, sequence + u64::from(n), timestamp.wrapping_add(n * FRAME));
                ms += 20;
            }
        };
        speak(&mut player, 1, 65_500, u32::MAX - 1000);
        // Another stream, its timestamps turned back, then both numbers anew, then a leap ahead.
        speak(&mut player, 2, 9, 77);
        speak(&mut player, 2, 59, 5);
        speak(&mut player, 2, 900_000, 1 << 30);
        speak(&mut player, 2, 900_050, (1 << 30) + 160_000);
        player.until(ms + 100);
        assert_eq!(player.played.len(), 250);
        assert_eq!(player.buffer.stats().restarts, 4);
        assert!(player.missing <= 5 * 20 * MS, "only at the very end: {}", player.missing);
    }

    #[test]
    fn ten_times_too_many_packets_keep_their_bounds() {
        let mut player = Player::new();
        for n in 0..5000_u64 {
            player.arrive(n * 2, n, n as u32 * FRAME);
            assert!(player.buffer.waiting() <= JITTER_PACKETS_MAX);
        }
        let stats = player.buffer.stats();
        assert!(stats.dropped > 4000, "{stats:?}");
        assert!(stats.delay_max <= JITTER_DELAY_MAX + OVERDUE + TICK, "{stats:?}");
        // Back to normal it goes on at once.
        let before = player.played.len();
        for n in 0..50_u64 {
            player.arrive(10_000 + n * 20, 5000 + n, (5000 + n as u32) * FRAME);
        }
        assert!(player.played.len() - before >= 48, "{}", player.played.len() - before);
    }

    #[test]
    fn a_freeze_is_got_over_and_a_longer_way_is_learned() {
        let mut player = Player::new();
        for n in 0..100_u64 {
            player.arrive(n * 20, n, n as u32 * FRAME);
        }
        // Half a second of nothing, then all of it at once.
        for n in 100..125_u64 {
            player.arrive(2500, n, n as u32 * FRAME);
        }
        for n in 125..200_u64 {
            player.arrive(n * 20, n, n as u32 * FRAME);
        }
        assert!(player.delay_ms() <= 140, "{}", player.delay_ms());
        let played = player.played.len();
        // From now on everything comes 300 ms later.
        for n in 200..400_u64 {
            player.arrive(n * 20 + 300, n, n as u32 * FRAME);
        }
        assert!(player.played.len() - played > 185, "{}", player.played.len() - played);
        assert!(player.delay_ms() <= 140, "{}", player.delay_ms());
    }

    #[test]
    fn a_sender_whose_clock_is_off_is_followed_and_told() {
        for ppm in [-300_i64, 200] {
            let mut player = Player::new();
            for n in 0..6000_i64 {
                let us = n * 20_000 - n * 20_000 * ppm / 1_000_000;
                player.arrive(us as u64 / 1000, n as u64, n as u32 * FRAME);
                // Whoever plays does as it is told, ten milliseconds at a time.
                let wanted = player.buffer.adjustment();
                if wanted.abs() >= 80 {
                    player.buffer.stretched(wanted.signum() * 80);
                    player.ahead += wanted.signum() * 80;
                }
            }
            let stats = player.buffer.stats();
            assert!((i64::from(stats.skew_ppm) - ppm).abs() < 110, "{ppm}: {stats:?}");
            assert!(stats.delay <= Duration::from_millis(50) && stats.dropped == 0, "{ppm}: {stats:?}");
            assert!(player.missing == 0 && stats.late == 0, "{ppm}: {} {stats:?}", player.missing);
        }
    }

    #[test]
    fn payloads_of_any_size_are_kept_whole() {
        let start = crate::fuzz::start();
        let mut buffer = JitterBuffer::new(start, 8000);
        let mut random = crate::fuzz::Random::new(4);
        let mut sizes = std::collections::VecDeque::new();
        for n in 0..2000_u64 {
            let now = start + Duration::from_millis(n * 20);
            let size = random.below(1500) as usize;
            let payload = vec![n as u8; size];
            let arrival =
                Arrival { class: Class::Audio, ssrc: 1, sequence: n, timestamp: n as u32 * FRAME, payload: &payload };
            assert_eq!(buffer.push(now, &arrival), Pushed::Held);
            sizes.push_back((n as u8, size));
            while let Take::Packet { payload, .. } = buffer.take(now, 0) {
                let (byte, size) = sizes.pop_front().unwrap();
                assert!(payload.len() == size && payload.iter().all(|b| *b == byte), "packet {byte}");
                buffer.played(FRAME);
            }
        }
        assert!(sizes.len() < 4);
        let huge = vec![0; JITTER_BYTES_MAX + 1];
        let arrival = Arrival { class: Class::Audio, ssrc: 1, sequence: 1, timestamp: 1, payload: &huge };
        assert_eq!(buffer.push(start, &arrival), Pushed::TooLarge);
    }
}
