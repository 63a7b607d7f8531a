//! The way out: one packet each packet time, from a key, a playlist, a bridge or silence, on one continuous clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::receive::{Kind, Media};
use super::{PlayCause, PlayEnded, Playlist, Session, SessionConfig, SessionEvent};
use crate::codec::comfort::{self, Generator, Noise};
use crate::codec::{CodecRef, Encoder};
use crate::dtmf::{Digit, Sender};
use crate::limits::{DIGIT_QUEUE_MAX, PTIME_MAX, PTIME_STEP, RTP_HEADER_BYTES, TICK};
use crate::prompt::EncodedPrompt;
use crate::quality::Quality;
use crate::rtp::Header;
use crate::sdp::Negotiated;

/// Bytes of the longest silence frame of any codec: 60 ms at one byte a sample.
const SILENCE_BYTES_MAX: usize = PTIME_MAX.as_millis() as usize * 8;
/// Frames of a codec that does not concatenate in one packet: those of 10 ms in the longest packet.
const FRAMES_MAX: usize = PTIME_MAX.as_millis() as usize / 10;
/// Bytes of one frame of silence of such a codec.
const QUIET_BYTES_MAX: usize = 64;
/// Packet times of pause after each key, so that the same key twice is heard twice.
const PAUSE_AFTER_KEY: u32 = 3;
/// A relay that is silent for so long gets comfort silence: the other side is held, lost, or sends nothing in pauses.
const RELAY_SILENT: Duration = Duration::from_millis(200);
/// Relayed sequence numbers that skip more than this begin a new stretch too.
const RELAY_GAP_PACKETS: i64 = 3000;
/// Packet times between two packets of comfort noise while nothing is said: they keep NATs open, and heal a loss.
const COMFORT_EVERY: u32 = 20;
/// Level of the noise where nobody's pause tells another: a quiet line that is heard to be open.
const COMFORT_LEVEL: u8 = 70;
/// A relayed timestamp further than this from the last one (in seconds) begins a new stretch.
const RELAY_JUMP_SECONDS: u32 = 10;

#[derive(Debug)]
struct Playing {
    list: Playlist,
    item: usize,
    /// Bytes of the item that were sent; for codecs whose payload cannot be cut, its frames.
    offset: usize,
    /// Clock units sent.
    heard: u64,
}

/// Where the last packet came from; a change of it may need the marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Nothing,
    Silence,
    Playlist,
    Key,
    Relay,
    /// Comfort noise: the peer makes the sound, and little is sent.
    Comfort,
}

/// Turns the noise of somebody's pause into payload, for a peer that takes no comfort noise.
struct NoiseSource {
    codec: CodecRef,
    encoder: Box<dyn Encoder>,
    generator: Generator,
    pcm: Box<[i16]>,
}

impl std::fmt::Debug for NoiseSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NoiseSource").field("codec", &self.codec).finish_non_exhaustive()
    }
}

/// How the numbers of a relayed stream map to ours.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    ssrc: u32,
    their_timestamp: u32,
    our_timestamp: u32,
    their_sequence: u64,
    our_sequence: u16,
}

#[derive(Debug, Clone, Copy)]
struct Relay {
    keys: bool,
    anchor: Option<Anchor>,
    /// When the last packet was relayed, or the relay began.
    spoke: Instant,
}

#[derive(Debug)]
pub(super) struct Send {
    ssrc: u32,
    /// Of the next packet.
    sequence: u16,
    /// Of the next tick.
    timestamp: u32,
    /// When `timestamp` was current.
    ticked: Instant,
    /// How often the session is looked at: 20 ms, or 10 where packets are no multiple of that.
    tick: Duration,
    /// Ticks since the last packet time.
    phase: u32,
    ticks_per_packet: u32,
    /// Clock units of one packet.
    step: u32,
    /// Timestamp of the newest packet sent.
    newest: Option<u32>,
    from: From,
    playing: Option<Playing>,
    digits: VecDeque<(Digit, Duration)>,
    key: Option<Sender>,
    pause: u32,
    relay: Option<Relay>,
    /// Whom we relay pauses, and this is what their pause sounds like.
    pause_noise: Option<Noise>,
    noise_source: Option<Box<NoiseSource>>,
    /// Packet times since the last packet of comfort noise.
    comfort_age: u32,
    comfort_silence: bool,
    silence: [u8; SILENCE_BYTES_MAX],
    silence_bytes: usize,
    packets: u64,
    bytes: u64,
    skipped: u64,
}

/// Whether a prompt can be played on this leg without being encoded anew.
pub(super) fn fits(prompt: &EncodedPrompt, negotiated: &Negotiated) -> bool {
    let frames = || negotiated.ptime.as_micros().checked_div(prompt.frame().as_micros()).unwrap_or(0);
    let whole = || prompt.frame() * frames() as u32 == negotiated.ptime && (1..=FRAMES_MAX as u128).contains(&frames());
    prompt.codec() == negotiated.codec && (negotiated.codec.concatenates() || whole())
}

fn later(a: u32, b: u32) -> u32 {
    if (a.wrapping_sub(b) as i32) > 0 { a } else { b }
}

impl Playing {
    /// The item after this one.
    fn after(&self, item: usize) -> usize {
        if item + 1 == self.list.items.len() && self.list.repeat { 0 } else { item + 1 }
    }

    /// Of a codec whose payload may be cut: all of `out`.
    fn cut(&mut self, step: u32, silence: &[u8], out: &mut [u8]) {
        let mut filled = 0;
        while filled < out.len() {
            let Some(item) = self.list.items.get(self.item) else { break };
            let rest = &item.payload()[self.offset..];
            let count = rest.len().min(out.len() - filled);
            out[filled..filled + count].copy_from_slice(&rest[..count]);
            filled += count;
            self.offset += count;
            if self.offset == item.payload().len() {
                (self.item, self.offset) = (self.after(self.item), 0);
            }
        }
        out[filled..].copy_from_slice(&silence[filled..]);
        self.heard += u64::from(step) * filled as u64 / out.len().max(1) as u64;
    }

    /// Of a codec of whole frames: as many of them as go into a packet, in one. Returns the bytes, 0 if there are none.
    fn join(&mut self, negotiated: &Negotiated, step: u32, out: &mut [u8]) -> usize {
        let Some(first) = self.list.items.get(self.item) else { return 0 };
        let wanted = negotiated.ptime.as_micros() / first.frame().as_micros().max(1);
        let wanted = (wanted as usize).clamp(1, FRAMES_MAX);
        let mut quiet = [0; QUIET_BYTES_MAX];
        let quiet_bytes = negotiated.codec.silence(first.frame(), &mut quiet);
        let mut frames = [&quiet[..quiet_bytes]; FRAMES_MAX];
        let (mut item, mut offset, mut count) = (self.item, self.offset, 0);
        while let Some(current) = self.list.items.get(item)
            && count < wanted
        {
            if let Some(frame) = current.frame_payload(offset) {
                frames[count] = frame;
                count += 1;
                offset += 1;
            }
            if current.frame_payload(offset).is_none() {
                (item, offset) = (self.after(item), 0);
            }
        }
        let bytes = negotiated.codec.join(&frames[..wanted], out);
        (self.item, self.offset) = (item, offset);
        self.heard += u64::from(step) * count as u64 / wanted as u64;
        bytes
    }
}

impl Send {
    pub(super) fn new(now: Instant, config: &SessionConfig) -> Self {
        Self {
            ssrc: config.ssrc,
            sequence: config.sequence,
            timestamp: config.timestamp,
            ticked: now,
            tick: TICK,
            phase: 0,
            ticks_per_packet: 1,
            step: 0,
            newest: None,
            from: From::Nothing,
            playing: None,
            digits: VecDeque::with_capacity(DIGIT_QUEUE_MAX),
            key: None,
            pause: 0,
            relay: None,
            pause_noise: None,
            noise_source: None,
            comfort_age: 0,
            comfort_silence: config.comfort_silence,
            silence: [0; SILENCE_BYTES_MAX],
            silence_bytes: 0,
            packets: 0,
            bytes: 0,
            skipped: 0,
        }
    }

    /// Sets codec and packet time; a playlist that no longer fits ends.
    pub(super) fn adopt(&mut self, negotiated: &Negotiated) -> Option<PlayEnded> {
        // Whole frames of a codec that cannot be cut.
        let step = if negotiated.codec.concatenates() { PTIME_STEP } else { TICK };
        let ptime = step * (negotiated.ptime.min(PTIME_MAX).as_millis() / step.as_millis()).max(1) as u32;
        self.tick = if ptime.as_millis().is_multiple_of(TICK.as_millis()) { TICK } else { PTIME_STEP };
        self.ticks_per_packet = (ptime.as_millis() / self.tick.as_millis()).max(1) as u32;
        self.step = negotiated.codec.clock_units(self.tick * self.ticks_per_packet);
        self.silence_bytes = negotiated.codec.silence(self.tick * self.ticks_per_packet, &mut self.silence);
        self.phase = self.phase.min(self.ticks_per_packet - 1);
        self.pause_noise = None;
        if negotiated.dtmf_payload_type.is_none() {
            self.digits.clear();
            self.key = None;
        }
        if self.playing.as_ref().is_some_and(|p| !p.list.items.iter().all(|item| fits(item, negotiated))) {
            return self.stop(None, PlayCause::CodecChanged);
        }
        None
    }

    pub(super) fn play(&mut self, list: Playlist) -> Option<PlayEnded> {
        let replaced = self.stop(None, PlayCause::Replaced);
        self.playing = Some(Playing { list, item: 0, offset: 0, heard: 0 });
        replaced
    }

    pub(super) fn playing(&self) -> Option<u64> {
        self.playing.as_ref().map(|p| p.list.id)
    }

    pub(super) fn stop(&mut self, id: Option<u64>, cause: PlayCause) -> Option<PlayEnded> {
        let playing = self.playing.take_if(|p| id.is_none_or(|id| id == p.list.id))?;
        let codec = playing.list.items.first()?.codec();
        Some(PlayEnded { id: playing.list.id, heard: codec.duration_of(playing.heard), cause })
    }

    pub(super) fn barge(&mut self, digit: Digit) -> Option<PlayEnded> {
        if self.playing.as_ref().is_some_and(|p| p.list.barge_in) {
            return self.stop(None, PlayCause::Barge(digit));
        }
        None
    }

    pub(super) fn queue_digit(&mut self, digit: Digit, duration: Duration) -> bool {
        let room = self.digits.len() < DIGIT_QUEUE_MAX;
        if room {
            self.digits.push_back((digit, duration));
        }
        room
    }

    pub(super) fn digits_waiting(&self) -> usize {
        self.digits.len() + usize::from(self.key.is_some())
    }

    /// Packets and payload bytes sent.
    pub(super) fn sent(&self) -> (u64, u64) {
        (self.packets, self.bytes)
    }

    pub(super) fn measure(&self, quality: &mut Quality) {
        quality.packets_out = self.packets;
        quality.bytes_out = self.bytes;
        quality.skipped_ticks = self.skipped;
    }

    /// The RTP time of this instant: `timestamp` is that of the next packet, up to one packet time ahead.
    pub(super) fn clock(&self, now: Instant, clock_hz: u32) -> u32 {
        let since = now.saturating_duration_since(self.ticked).as_micros() as u64;
        let since = (since * u64::from(clock_hz) / 1_000_000) as u32;
        let ticks = self.step / self.ticks_per_packet * self.phase;
        self.timestamp.wrapping_sub(self.step).wrapping_add(ticks).wrapping_add(since)
    }

    /// Writes the next packet's worth of the playlist to `out`, over the seams of its items, and fills up with silence
    /// after the last one. Returns the bytes, and whether more follows.
    fn fill(
        playing: &mut Playing,
        negotiated: &Negotiated,
        step: u32,
        silence: &[u8],
        out: &mut [u8],
    ) -> (usize, bool) {
        let bytes = if negotiated.codec.concatenates() {
            playing.cut(step, silence, &mut out[..silence.len()]);
            silence.len()
        } else {
            match playing.join(negotiated, step, out) {
                0 => {
                    out[..silence.len()].copy_from_slice(silence);
                    silence.len()
                }
                bytes => bytes,
            }
        };
        (bytes, playing.item < playing.list.items.len())
    }

    /// Whether the other side of a bridge speaks, or may any moment.
    fn relay_speaks(&self) -> bool {
        let spoke = |relay: Relay| self.ticked.saturating_duration_since(relay.spoke) < RELAY_SILENT;
        self.pause_noise.is_none() && self.relay.is_some_and(spoke)
    }

    /// A packet time of the other side's pause, as audio.
    fn make_noise(&mut self, out: &mut [u8]) -> usize {
        let silence = &self.silence[..self.silence_bytes];
        let ptime = self.tick * self.ticks_per_packet;
        if let Some(source) = &mut self.noise_source {
            let samples = source.codec.samples(ptime).min(source.pcm.len());
            source.generator.fill(&mut source.pcm[..samples]);
            match source.encoder.encode(&source.pcm[..samples], out) {
                0 => {}
                bytes => return bytes,
            }
        }
        out[..silence.len()].copy_from_slice(silence);
        silence.len()
    }

    /// Writes the header and counts the packet whose payload already stands in `out`.
    fn seal(&mut self, header: Header, payload_bytes: usize, from: From, out: &mut [u8]) -> usize {
        out[..RTP_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        self.newest = Some(self.newest.map_or(header.timestamp, |newest| later(header.timestamp, newest)));
        self.packets += 1;
        self.bytes += payload_bytes as u64;
        self.from = from;
        RTP_HEADER_BYTES + payload_bytes
    }

    fn header(&mut self, marker: bool, payload_type: u8, timestamp: u32) -> Header {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Header { marker, payload_type, sequence, timestamp, ssrc: self.ssrc }
    }

    /// The key packet of this packet time, if a key is being sent or waits. Its duration counts in the clock of the
    /// events, `step` units a packet; its timestamp is one of the stream, whatever that clock is.
    fn next_key(&mut self, timestamp: u32, number: u8, (clock_hz, step): (u32, u32), out: &mut [u8]) -> Option<usize> {
        if self.key.is_none() {
            if self.pause > 0 {
                self.pause -= 1;
                return None;
            }
            let (digit, duration) = self.digits.pop_front()?;
            self.key = Some(Sender::new(digit, duration, timestamp, clock_hz));
        }
        let next = self.key.as_mut()?.next(step);
        if next.last {
            self.key = None;
            self.pause = PAUSE_AFTER_KEY;
        }
        out[RTP_HEADER_BYTES..RTP_HEADER_BYTES + 4].copy_from_slice(&next.payload);
        let header = self.header(next.marker, number, next.timestamp);
        Some(self.seal(header, 4, From::Key, out))
    }
}

/// Whether `out` can hold any packet of this session.
fn holds_any_packet(out: &[u8]) -> bool {
    out.len() >= RTP_HEADER_BYTES + SILENCE_BYTES_MAX
}

impl Session {
    /// How often [`Session::next_frame`] is to be called: every 20 ms, or every 10 where the packet time is no multiple
    /// of 20. Changes only with what is agreed on.
    pub fn tick(&self) -> Duration {
        self.send.tick
    }

    /// Bytes of payload in a packet of the agreed packet time, where every packet has the same
    /// ([`crate::codec::Codec::concatenates`]).
    pub fn packet_bytes(&self) -> Option<usize> {
        self.negotiated.codec.concatenates().then_some(self.send.silence_bytes)
    }

    /// One tick ([`Session::tick`]): writes the packet that is due to `out` (at least [`RTP_HEADER_BYTES`] + 480 bytes) and
    /// returns its length. `None`: nothing is due in this tick, a bridge speaks, or the peer must not be sent to.
    ///
    /// A key that waits goes first, then the playlist, then what [`Session::forward`] relays, then silence (under a
    /// relay once that was silent for 200 ms). While
    /// the peer holds the call the playlist waits and the clock runs on. After a stall call it up to three times at
    /// once and [`Session::skip`] the rest.
    pub fn next_frame(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        self.expire_event(now);
        let send = &mut self.send;
        send.ticked = now;
        send.phase += 1;
        if send.phase < send.ticks_per_packet || !holds_any_packet(out) {
            return None;
        }
        send.phase = 0;
        if send.from == From::Relay
            && let Some(newest) = send.newest
        {
            send.timestamp = later(send.timestamp, newest.wrapping_add(send.step));
        }
        let timestamp = send.timestamp;
        send.timestamp = timestamp.wrapping_add(send.step);
        if !self.may_send() {
            self.send.from = From::Nothing;
            // A key that was cut off by hold is over: its rest would come from another time.
            self.send.key = None;
            return None;
        }
        if let Some(number) = self.negotiated.dtmf_payload_type {
            let clock_hz = self.negotiated.dtmf_clock_hz;
            let step = self.negotiated.ptime.as_millis() as u32 * clock_hz / 1000;
            if let Some(length) = self.send.next_key(timestamp, number, (clock_hz, step), out) {
                return Some(length);
            }
        }
        self.next_audio(timestamp, out)
    }

    fn next_audio(&mut self, timestamp: u32, out: &mut [u8]) -> Option<usize> {
        let send = &mut self.send;
        let mut bytes = send.silence_bytes;
        let payload = &mut out[RTP_HEADER_BYTES..];
        let from = if let Some(playing) = &mut send.playing {
            let more;
            (bytes, more) = Send::fill(playing, &self.negotiated, send.step, &send.silence[..bytes], payload);
            if !more && let Some(ended) = send.stop(None, PlayCause::End) {
                self.note(SessionEvent::PlayEnded(ended));
            }
            From::Playlist
        } else if send.relay_speaks() {
            return None;
        } else if let Some(number) = self.negotiated.comfort_noise {
            return self.next_comfort(timestamp, number, out);
        } else if send.pause_noise.is_some() {
            bytes = send.make_noise(payload);
            From::Silence
        } else if send.comfort_silence {
            payload[..bytes].copy_from_slice(&send.silence[..bytes]);
            From::Silence
        } else {
            send.from = From::Nothing;
            return None;
        };
        let send = &mut self.send;
        // A talkspurt begins: after nothing, after a relay, and where a prompt follows silence.
        let marker = matches!(send.from, From::Nothing | From::Relay | From::Comfort)
            || (from == From::Playlist && send.from == From::Silence);
        let header = send.header(marker, self.negotiated.payload_type, timestamp);
        Some(send.seal(header, bytes, from, out))
    }

    /// Nobody says anything: what that sounds like, now and then (RFC 3389).
    fn next_comfort(&mut self, timestamp: u32, number: u8, out: &mut [u8]) -> Option<usize> {
        let send = &mut self.send;
        if send.from == From::Comfort && send.comfort_age < COMFORT_EVERY {
            send.comfort_age += 1;
            return None;
        }
        let noise = send.pause_noise.unwrap_or_else(|| Noise::white(COMFORT_LEVEL));
        let bytes = noise.write(&mut out[RTP_HEADER_BYTES..RTP_HEADER_BYTES + comfort::BYTES_MAX]);
        send.comfort_age = 1;
        let header = send.header(false, number, timestamp);
        Some(send.seal(header, bytes, From::Comfort, out))
    }

    /// The other side of the bridge pauses, and this (the payload of its comfort noise, RFC 3389) is what its silence
    /// sounds like: the peer hears it until that side speaks again, as comfort noise where it was agreed on, else as
    /// audio. Only while this leg relays.
    pub fn relay_pause(&mut self, payload: &[u8]) {
        let Some(noise) = Noise::parse(payload).filter(|_| self.send.relay.is_some()) else { return };
        let codec = self.negotiated.codec;
        let send = &mut self.send;
        if send.pause_noise.replace(noise) != Some(noise) {
            send.comfort_age = COMFORT_EVERY;
        }
        if self.negotiated.comfort_noise.is_some() {
            return;
        }
        match &mut send.noise_source {
            Some(source) if source.codec == codec => source.generator.set(noise),
            source => {
                *source = Some(Box::new(NoiseSource {
                    codec,
                    encoder: codec.encoder_with(self.negotiated.tuning),
                    generator: Generator::new(noise, send.ssrc),
                    pcm: vec![0; codec.samples(PTIME_MAX)].into_boxed_slice(),
                }));
            }
        }
    }

    /// Whether the peer listens and there is an address to send to.
    pub fn may_send(&self) -> bool {
        let remote = self.remote();
        self.negotiated.direction.sends() && !remote.ip().is_unspecified() && remote.port() != 0
    }

    /// So many times 20 ms were missed and are not made up for: the timestamp jumps over them, and the next packet has the
    /// marker.
    pub fn skip(&mut self, ticks: u32) {
        let send = &mut self.send;
        let units = self.negotiated.codec.clock_units(TICK).wrapping_mul(ticks);
        send.timestamp = send.timestamp.wrapping_add(units);
        send.skipped += u64::from(ticks);
        send.from = From::Nothing;
    }

    /// Begins to relay what [`Session::forward`] is given, or ends it. `keys`: telephone-events are passed on too.
    pub fn set_relay(&mut self, relay: Option<RelayKeys>) {
        if relay.is_some() && self.send.relay.is_none() {
            self.keep_key();
        }
        let spoke = self.send.ticked;
        self.send.pause_noise = None;
        self.send.relay = relay.map(|keys| Relay { keys: keys == RelayKeys::Pass, anchor: None, spoke });
    }

    /// Whether this leg relays.
    pub fn is_relaying(&self) -> bool {
        self.send.relay.is_some()
    }

    /// Writes a packet that the other leg of a bridge received, with this leg's payload type, SSRC, and continuous
    /// sequence numbers and timestamps; distances in both are kept, so that loss and reordering stay visible to the
    /// peer. `None`: nothing to send (not relaying, held, a playlist or a key speaks, another codec, or a key that is
    /// not passed on: keys are kept, or it went down before the relay began).
    pub fn forward(&mut self, now: Instant, media: &Media<'_>, out: &mut [u8]) -> Option<usize> {
        let mut relay = self.send.relay?;
        let number = match media.kind {
            Kind::Audio => (media.codec == self.negotiated.codec).then_some(self.negotiated.payload_type),
            Kind::Event => self.negotiated.dtmf_payload_type.filter(|_| relay.keys && !media.for_us),
            Kind::Comfort => None,
        };
        let busy = self.send.playing.is_some() || self.send.key.is_some() || !self.may_send();
        let payload_out = out.get_mut(RTP_HEADER_BYTES..RTP_HEADER_BYTES + media.payload.len());
        let (Some(number), false, Some(payload_out)) = (number, busy, payload_out) else {
            // What is kept back is no loss: the numbers close up over it.
            if let Some(anchor) = &mut relay.anchor {
                anchor.our_sequence = anchor.our_sequence.wrapping_sub(1);
            }
            if busy {
                relay.anchor = None;
            }
            self.send.relay = Some(relay);
            return None;
        };
        let clock_hz = self.negotiated.codec.rtp_clock_hz();
        let send = &mut self.send;
        let jump = clock_hz * RELAY_JUMP_SECONDS;
        let known = relay.anchor.filter(|a| a.ssrc == media.ssrc && send.from == From::Relay).filter(|a| {
            let ours = a.our_timestamp.wrapping_add(media.timestamp.wrapping_sub(a.their_timestamp));
            let ahead = ours.wrapping_sub(send.newest.unwrap_or(ours)) as i32;
            let steps = media.sequence.wrapping_sub(a.their_sequence) as i64;
            ahead.unsigned_abs() < jump && (-100..RELAY_GAP_PACKETS).contains(&steps)
        });
        let fresh = known.is_none();
        let anchor = known.unwrap_or_else(|| {
            let clock = send.clock(now, clock_hz);
            let our_timestamp = send.newest.map_or(clock, |newest| later(clock, newest.wrapping_add(send.step)));
            Anchor {
                ssrc: media.ssrc,
                their_timestamp: media.timestamp,
                our_timestamp,
                their_sequence: media.sequence,
                our_sequence: send.sequence,
            }
        });
        relay.anchor = Some(anchor);
        relay.spoke = now;
        send.pause_noise = None;
        send.relay = Some(relay);
        payload_out.copy_from_slice(media.payload);
        let event_clock_hz = self.negotiated.dtmf_clock_hz;
        if media.kind == Kind::Event && media.event_clock_hz != event_clock_hz {
            rescale(payload_out, media.event_clock_hz, event_clock_hz);
        }
        let sequence = anchor.our_sequence.wrapping_add(media.sequence.wrapping_sub(anchor.their_sequence) as u16);
        if (sequence.wrapping_sub(send.sequence) as i16) >= 0 {
            send.sequence = sequence.wrapping_add(1);
        }
        let header = Header {
            marker: media.marker || fresh,
            payload_type: number,
            sequence,
            timestamp: anchor.our_timestamp.wrapping_add(media.timestamp.wrapping_sub(anchor.their_timestamp)),
            ssrc: send.ssrc,
        };
        Some(send.seal(header, media.payload.len(), From::Relay, out))
    }
}

/// The duration of a telephone-event (RFC 4733 2.3: its last two bytes) in another clock, as long as it can be said.
fn rescale(payload: &mut [u8], from_hz: u32, to_hz: u32) {
    let Some([high, low]) = payload.get_mut(2..4) else { return };
    let units = u64::from(u16::from_be_bytes([*high, *low])) * u64::from(to_hz) / u64::from(from_hz.max(1));
    [*high, *low] = (units.min(0xFFFF) as u16).to_be_bytes();
}

/// What a relay does with telephone-events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayKeys {
    /// They go on to the peer, under its own payload type.
    Pass,
    /// They are for Ark alone.
    Keep,
}
