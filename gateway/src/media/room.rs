//! Rooms: legs whose audio is mixed, so that more than two hear each other, and not all of them everybody.
//!
//! A room lives on the thread that has its legs. Each 20 ms, when the wheel comes to its first leg, every member's packets
//! are played out of a jitter buffer into the mixer, and what each of them hears is encoded and sent. A room of two who
//! talk is no room: they are a bridge again, whose packets are passed on untouched.

use std::time::Instant;

use ark_media::{
    limits::MIX_SAMPLES_MAX,
    mix::{MemberId, Members, Mixer, Part},
    outlet::Outlet,
    playout::{Playout, PlayoutConfig},
    resample::Resampler,
    sdp::Negotiated,
    session::{Kind, Media},
    tone::Overlay,
};

use super::{
    api::{LegId, RoomPart},
    leg::ConsentTone,
    sys::DATAGRAM_BYTES,
};

/// Ticks of the wheel in a second.
const TICKS_PER_SECOND: u32 = 50;
/// A room of narrow voices.
const NARROW_HZ: u32 = 8000;
/// A room in which somebody has a wide one.
const WIDE_HZ: u32 = 16_000;

/// One leg in a room.
struct Member {
    leg: LegId,
    seat: MemberId,
    part: RoomPart,
    muted: bool,
    playout: Playout,
    /// From the playout's rate to the room's.
    inlet: Resampler,
    outlet: Outlet,
    /// Numbers of the room's stream to this member: whoever it was bridged to had others.
    ssrc: u32,
}

/// Several legs that are mixed.
pub(crate) struct Room {
    mixer: Mixer,
    rate_hz: u32,
    members: Vec<Member>,
    ssrc: u32,
    pcm: Box<[i16; MIX_SAMPLES_MAX]>,
    mixed: Box<[i16; MIX_SAMPLES_MAX]>,
    /// The tone of a call that is recorded, and this frame of it.
    overlay: Option<Overlay>,
    tone: Box<[i16; MIX_SAMPLES_MAX]>,
    payload: Box<[u8; DATAGRAM_BYTES]>,
}

impl Room {
    /// An empty room; `ssrc` is any number that no bridge's stream has.
    pub(crate) fn new(ssrc: u32) -> Self {
        Self {
            mixer: Mixer::new(samples(NARROW_HZ)),
            rate_hz: NARROW_HZ,
            members: Vec::new(),
            ssrc,
            pcm: Box::new([0; MIX_SAMPLES_MAX]),
            mixed: Box::new([0; MIX_SAMPLES_MAX]),
            overlay: None,
            tone: Box::new([0; MIX_SAMPLES_MAX]),
            payload: Box::new([0; DATAGRAM_BYTES]),
        }
    }

    /// The leg whose tick drives the room.
    pub(crate) fn leader(&self) -> Option<LegId> {
        self.members.first().map(|member| member.leg)
    }

    /// When nobody but two who simply talk is left: the two. They need no room.
    pub(crate) fn pair(&self) -> Option<(LegId, LegId)> {
        match &self.members[..] {
            [a, b] if [a, b].iter().all(|m| m.part == RoomPart::Speaks && !m.muted) => Some((a.leg, b.leg)),
            _ => None,
        }
    }

    /// Whether at most one is left, who has nobody to hear.
    pub(crate) fn is_over(&self) -> bool {
        self.members.len() < 2
    }

    /// A leg comes in, or takes another part. False: the room is full, or what the leg speaks cannot be mixed.
    pub(crate) fn join(&mut self, now: Instant, leg: LegId, part: RoomPart, muted: bool, agreed: &Negotiated) -> bool {
        if let Some(member) = self.members.iter_mut().find(|member| member.leg == leg) {
            member.part = part;
            member.muted = muted;
            self.settle();
            return true;
        }
        let wanted = if agreed.codec.sample_rate_hz() > NARROW_HZ { WIDE_HZ } else { NARROW_HZ };
        self.widen(wanted);
        let codec = agreed.codec;
        let inlet = Resampler::new(codec.sample_rate_hz(), self.rate_hz);
        let outlet = Outlet::new(self.rate_hz, codec, agreed.tuning, agreed.ptime);
        let (Some(inlet), Some(outlet), Ok(seat)) = (inlet, outlet, self.mixer.join(Part::Held)) else { return false };
        let ssrc = self.next_ssrc();
        let playout = Playout::new(now, PlayoutConfig { codec, noise_seed: ssrc });
        self.members.push(Member { leg, seat, part, muted, playout, inlet, outlet, ssrc });
        self.settle();
        true
    }

    /// A leg goes.
    pub(crate) fn leave(&mut self, leg: LegId) {
        if let Some(at) = self.members.iter().position(|member| member.leg == leg) {
            self.mixer.leave(self.members.remove(at).seat);
            self.settle();
        }
    }

    /// Keeps a member's voice from all others.
    pub(crate) fn mute(&mut self, leg: LegId, muted: bool) {
        if let Some(member) = self.members.iter_mut().find(|member| member.leg == leg) {
            member.muted = muted;
            self.settle();
        }
    }

    fn next_ssrc(&mut self) -> u32 {
        self.ssrc = self.ssrc.wrapping_mul(0x9E37_79B1).wrapping_add(1);
        self.ssrc
    }

    /// Tells the mixer what each member does.
    fn settle(&mut self) {
        for member in &self.members {
            let part = match member.part {
                RoomPart::Speaks => Part::Speaks,
                RoomPart::Listens => Part::Listens,
                RoomPart::Held => Part::Held,
                RoomPart::Whispers { to } => {
                    let to = self.members.iter().find(|other| other.leg == to);
                    Part::Whispers(to.map_or(Members::NONE, |other| Members::one(other.seat)))
                }
            };
            self.mixer.set_part(member.seat, part);
            self.mixer.set_muted(member.seat, member.muted);
        }
    }

    /// The room is mixed at this rate at least from now on.
    fn widen(&mut self, rate_hz: u32) {
        if rate_hz <= self.rate_hz {
            return;
        }
        self.rate_hz = rate_hz;
        self.mixer = Mixer::new(samples(rate_hz));
        for at in 0..self.members.len() {
            // As many as were in the old one are welcome in the new one.
            if let Ok(seat) = self.mixer.join(Part::Held) {
                self.members[at].seat = seat;
            }
        }
        self.settle();
    }

    /// A packet of a member came.
    pub(crate) fn heard(&mut self, now: Instant, leg: LegId, media: &Media<'_>) {
        if let Some(member) = self.members.iter_mut().find(|member| member.leg == leg) {
            member.playout.push(now, media);
        }
    }

    /// A frame of 20 ms: what came in is mixed. `recorded`: all hear that they are.
    pub(crate) fn mix(&mut self, now: Instant, recorded: Option<ConsentTone>) {
        let wide = self.members.iter().any(|member| member.playout.rate_hz() > NARROW_HZ);
        self.widen(if wide { WIDE_HZ } else { NARROW_HZ });
        self.sound(recorded);
        self.mixer.begin();
        for member in &mut self.members {
            let frame = member.playout.frame(now, &mut self.pcm[..]);
            let (from, to) = (member.playout.rate_hz(), self.rate_hz);
            if (member.inlet.from_hz(), member.inlet.to_hz()) != (from, to) {
                // A re-INVITE changed the codec, or somebody with a wide voice came in.
                let Some(inlet) = Resampler::new(from, to) else { continue };
                member.inlet = inlet;
            }
            let samples = member.inlet.process(&self.pcm[..frame.samples], &mut self.mixed[..]);
            self.mixer.put(member.seat, &self.mixed[..samples]);
        }
    }

    /// Makes this frame of the tone.
    fn sound(&mut self, recorded: Option<ConsentTone>) {
        let Some(ConsentTone { tone, sounding }) = recorded else {
            self.overlay = None;
            return;
        };
        let rate_hz = self.rate_hz;
        let overlay = self.overlay.take().filter(|overlay| overlay.is_for(tone, rate_hz));
        let frame = &mut self.tone[..samples(rate_hz)];
        frame.fill(0);
        self.overlay.insert(overlay.unwrap_or_else(|| Overlay::new(tone, rate_hz))).add(frame, sounding);
    }

    /// What the member at this place hears: whole packets go to `send`. `agreed` is what the leg speaks now.
    pub(crate) fn speak(&mut self, place: usize, agreed: &Negotiated, mut send: impl FnMut(&Media<'_>)) {
        let Some(member) = self.members.get_mut(place) else { return };
        if member.part == RoomPart::Held {
            return;
        }
        let (rate_hz, codec) = (self.rate_hz, agreed.codec);
        if !member.outlet.is_for(rate_hz, codec, agreed.tuning, agreed.ptime) {
            let Some(outlet) = Outlet::new(rate_hz, codec, agreed.tuning, agreed.ptime) else { return };
            member.outlet = outlet;
            // Another stream: its numbers begin anew.
            member.ssrc = member.ssrc.wrapping_add(1);
        }
        let mixed = &mut self.mixed[..samples(rate_hz)];
        // Also silence is sent: a line that is open is heard to be open.
        self.mixer.mix(member.seat, mixed);
        if self.overlay.is_some() {
            for (sample, tone) in mixed.iter_mut().zip(&self.tone[..]) {
                *sample = sample.saturating_add(*tone);
            }
        }
        member.outlet.push(mixed);
        while let Some(spoken) = member.outlet.pull(&mut self.payload[..]) {
            send(&Media {
                kind: Kind::Audio,
                codec,
                payload: &self.payload[..spoken.bytes],
                marker: spoken.marker,
                timestamp: spoken.timestamp,
                sequence: spoken.sequence,
                ssrc: member.ssrc,
                for_us: false,
                event_clock_hz: codec.rtp_clock_hz(),
            });
        }
    }

    /// The leg at this place.
    pub(crate) fn at(&self, place: usize) -> Option<LegId> {
        self.members.get(place).map(|member| member.leg)
    }
}

fn samples(rate_hz: u32) -> usize {
    (rate_hz / TICKS_PER_SECOND) as usize
}
