//! One leg as its thread holds it: sockets, session, bridge and recording.

use std::{
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use ark_media::{
    codec::CodecRef,
    dtmf::Payload,
    limits::RTP_HEADER_BYTES,
    record::{Layout, Recorder, Side},
    repack::Repacker,
    rtp::Packet,
    sdp::Negotiated,
    session::{Kind, Media, Session},
    sound_over::SoundOver,
    transcode::{Conversion, Transcoder},
};

use super::{
    api::{LegId, RecordAs, RecordEnd, RecordOf, Repeated},
    disk::{Disk, Ticket},
    metrics::{Drop, ThreadMetrics},
    pipe::PipeEnd,
    sys::DATAGRAM_BYTES,
    tap::Tap,
    wheel::Seat,
};

/// A leg. Boxed once, when it is reserved; it moves between threads as a pointer.
pub(crate) struct LegState {
    pub(crate) id: LegId,
    pub(crate) transport: Transport,
    pub(crate) session: Option<Session>,
    pub(crate) seat: Option<Seat>,
    /// Half a round from the other, of a leg whose packet time is no multiple of 20 ms.
    pub(crate) half_seat: Option<Seat>,
    pub(crate) bridge: Option<Bridge>,
    /// Of the call.
    pub(crate) recording: Option<Box<Recording>>,
    /// Of the message that the caller leaves.
    pub(crate) message: Option<Box<Recording>>,
    /// Puts the tone of a recording over what Ark itself says.
    over: Option<Box<SoundOver>>,
    /// In whose recordings its voice is kept, too, and as what.
    pub(crate) recorded_in: Option<(LegId, Side)>,
    /// Its thread's room in which it is, by place.
    pub(crate) room: Option<u16>,
    /// What it says is for nobody.
    pub(crate) muted: bool,
    /// What it says is copied to whoever reads along.
    pub(crate) tap: Option<Tap>,
    /// Events of this leg that wait for the core.
    pub(crate) events_waiting: u16,
    /// Since when the far side may be expected to send.
    pub(crate) expecting: Instant,
    /// The present silence was reported.
    pub(crate) timeout_said: bool,
    /// 20 ms ticks so far.
    pub(crate) ticks: u32,
}

/// What a leg's packets come and go by.
pub(crate) enum Transport {
    /// Sockets of its own, watched by its thread's epoll set.
    Udp { rtp: UdpSocket, rtcp: UdpSocket },
    /// Another part of the process carries them, RTCP of its own included.
    Pipe(PipeEnd),
}

/// That a call is recorded, for those who talk in it.
#[derive(Clone, Copy)]
pub(crate) struct ConsentTone {
    pub(crate) tone: Repeated,
    /// Not while the recording is paused.
    pub(crate) sounding: bool,
}

/// The other side of a bridge, and what turns its audio into ours when the codecs differ.
pub(crate) struct Bridge {
    pub(crate) other: LegId,
    transcoder: Option<Box<Transcoder>>,
    /// Once its packets were of another length than ours.
    repacker: Option<Box<Repacker>>,
}

/// Room for one packet and for one payload, made once for each thread.
pub(crate) struct Scratch {
    pub(crate) packet: [u8; DATAGRAM_BYTES],
    payload: [u8; DATAGRAM_BYTES],
}

impl Scratch {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self { packet: [0; DATAGRAM_BYTES], payload: [0; DATAGRAM_BYTES] })
    }
}

impl LegState {
    pub(crate) fn new(id: LegId, transport: Transport) -> Self {
        Self {
            id,
            transport,
            session: None,
            seat: None,
            half_seat: None,
            bridge: None,
            recording: None,
            message: None,
            over: None,
            recorded_in: None,
            room: None,
            muted: false,
            tap: None,
            events_waiting: 0,
            expecting: Instant::now(),
            timeout_said: false,
            ticks: 0,
        }
    }

    /// Sends the RTP packet that stands in `scratch.packet`, Ark's own, and lets a recording hear it.
    pub(crate) fn send_rtp(&mut self, now: Instant, length: usize, scratch: &Scratch, metrics: &ThreadMetrics) {
        self.send_packet(now, length, scratch, metrics);
        let Some(session) = &self.session else { return };
        for recording in [&mut self.recording, &mut self.message].into_iter().flatten() {
            recording.said(now, &scratch.packet[..length], session.negotiated());
        }
    }

    /// Puts the tone of a call that is recorded over the packet of Ark's own that stands in `scratch.packet`; how long it is then.
    pub(crate) fn sound_over(&mut self, tone: Option<ConsentTone>, length: usize, scratch: &mut Scratch) -> usize {
        let (Some(ConsentTone { tone, sounding }), Some(session)) = (tone, &self.session) else {
            self.over = None;
            return length;
        };
        let agreed = session.negotiated();
        // Keys and comfort noise are no audio.
        if scratch.packet[1] & 0x7F != agreed.payload_type {
            return length;
        }
        let known = self.over.take().filter(|over| over.is_for(agreed.codec, agreed.tuning, tone));
        let over = known.unwrap_or_else(|| Box::new(SoundOver::new(agreed.codec, agreed.tuning, tone)));
        let bytes = length.saturating_sub(RTP_HEADER_BYTES);
        let payload = &mut scratch.packet[RTP_HEADER_BYTES..];
        RTP_HEADER_BYTES + self.over.insert(over).add(payload, bytes, sounding)
    }

    /// Where the recording of that kind is.
    pub(crate) fn recording_of(&mut self, of: RecordOf) -> &mut Option<Box<Recording>> {
        match of {
            RecordOf::Call => &mut self.recording,
            RecordOf::Message => &mut self.message,
        }
    }

    /// What those who talk are to hear of its call's recording.
    pub(crate) fn tone(&self) -> Option<ConsentTone> {
        self.recording.as_ref()?.tone()
    }

    /// Recordings that run.
    pub(crate) fn recordings(&mut self) -> impl Iterator<Item = &mut Box<Recording>> {
        [&mut self.recording, &mut self.message].into_iter().flatten()
    }

    /// Sends the RTP packet of somebody else that stands in `scratch.packet`. A recording with a channel for each leg has
    /// it from where it came.
    fn send_relayed(&mut self, now: Instant, length: usize, scratch: &Scratch, metrics: &ThreadMetrics) {
        self.send_packet(now, length, scratch, metrics);
        let Some(session) = &self.session else { return };
        for recording in [&mut self.recording, &mut self.message].into_iter().flatten() {
            if !recording.has_legs() {
                recording.said(now, &scratch.packet[..length], session.negotiated());
            }
        }
    }

    fn send_packet(&mut self, now: Instant, length: usize, scratch: &Scratch, metrics: &ThreadMetrics) {
        let Some(session) = &self.session else { return };
        let packet = &scratch.packet[..length];
        match &self.transport {
            Transport::Udp { rtp, .. } => send(rtp, packet, session.remote(), metrics),
            Transport::Pipe(pipe) => {
                if !pipe.send(now, packet) {
                    metrics.dropped(Drop::SendFailed);
                }
            }
        }
        ThreadMetrics::count(&metrics.rtp_out, 1);
    }

    /// Sends what the other leg of the bridge heard, in this leg's codec: at once where it speaks the same, else with the
    /// next ticks ([`Self::speak`]).
    ///
    /// `tone`: who are bridged hear that they are recorded; then also one codec is turned into itself. `at`: when the packet
    /// came.
    pub(crate) fn relay(
        &mut self,
        (now, at): (Instant, Instant),
        media: &Media<'_>,
        tone: Option<ConsentTone>,
        scratch: &mut Scratch,
        metrics: &ThreadMetrics,
    ) {
        let Some(session) = &mut self.session else { return };
        if media.codec == session.negotiated().codec && tone.is_none() {
            if let Some(bridge) = &mut self.bridge {
                bridge.transcoder = None;
            }
            let bytes = session.packet_bytes().filter(|_| media.kind == Kind::Audio);
            let repacks = self.bridge.as_ref().is_some_and(|bridge| bridge.repacker.is_some());
            if repacks || bytes.is_some_and(|bytes| bytes != media.payload.len()) {
                return self.repack(now, media, scratch, metrics);
            }
            if let Some(length) = session.forward(now, media, &mut scratch.packet) {
                self.send_relayed(now, length, scratch, metrics);
            }
            return;
        }
        let (id, codec) = (self.id, media.codec);
        let Some(bridge) = &mut self.bridge else { return };
        let Some(transcoder) = bridge.transcoder(now, id, codec, session.negotiated()) else { return };
        transcoder.set_tone(tone.map(|tone| tone.tone), tone.is_some_and(|tone| tone.sounding));
        transcoder.push(at, media);
        if media.kind != Kind::Event {
            return;
        }
        let (sequence, timestamp) = transcoder.place_event(media);
        let event = Media { sequence, timestamp, ssrc: stream_of(id), ..*media };
        if let Some(length) = session.forward(now, &event, &mut scratch.packet) {
            transcoder.give_way(now, Payload::parse(media.payload).is_some_and(|payload| payload.end));
            self.send_relayed(now, length, scratch, metrics);
        }
    }

    /// 20 ms of a bridge between two codecs, or of one whose sides hear a tone: what the other leg, which speaks `codec`,
    /// sent is played out to this one. `muted`: nothing of it.
    pub(crate) fn speak(
        &mut self,
        now: Instant,
        (codec, muted): (CodecRef, bool),
        tone: Option<ConsentTone>,
        scratch: &mut Scratch,
        metrics: &ThreadMetrics,
    ) {
        let (id, Some(session), Some(bridge)) = (self.id, &mut self.session, &mut self.bridge) else { return };
        if tone.is_none() && codec == session.negotiated().codec {
            bridge.transcoder = None;
            return;
        }
        if tone.is_none() && bridge.transcoder.is_none() {
            // Nothing was heard yet.
            return;
        }
        let Some(transcoder) = bridge.transcoder(now, id, codec, session.negotiated()) else { return };
        transcoder.set_tone(tone.map(|tone| tone.tone), tone.is_some_and(|tone| tone.sounding));
        if muted {
            transcoder.hush(now);
        }
        transcoder.frame(now);
        while let Some((bridge, session)) = self.bridge.as_mut().zip(self.session.as_mut()) {
            let Some(coded) = bridge.transcoder.as_mut().and_then(|t| t.pull(&mut scratch.payload)) else { break };
            let codec = session.negotiated().codec;
            let ours = Media {
                kind: Kind::Audio,
                codec,
                payload: &scratch.payload[..coded.bytes],
                marker: coded.marker,
                timestamp: coded.timestamp,
                sequence: coded.sequence,
                ssrc: stream_of(id),
                for_us: false,
                event_clock_hz: codec.rtp_clock_hz(),
            };
            if let Some(length) = session.forward(now, &ours, &mut scratch.packet) {
                self.send_relayed(now, length, scratch, metrics);
            }
        }
    }

    /// The other leg of the bridge pauses, and tells what that sounds like.
    pub(crate) fn relay_pause(&mut self, at: Instant, media: &Media<'_>) {
        if let Some(transcoder) = self.bridge.as_mut().and_then(|bridge| bridge.transcoder.as_mut()) {
            transcoder.push(at, media);
        } else if let Some(session) = &mut self.session {
            session.relay_pause(media.payload);
        }
    }

    /// Sends what the other leg of the bridge heard, in packets of this leg's packet time.
    fn repack(&mut self, now: Instant, media: &Media<'_>, scratch: &mut Scratch, metrics: &ThreadMetrics) {
        let Some(negotiated) = self.session.as_ref().map(Session::negotiated) else { return };
        let (codec, ptime) = (negotiated.codec, negotiated.ptime);
        // Out of its place while it speaks: a pointer is moved.
        let known = self.bridge.as_mut().and_then(|bridge| bridge.repacker.take());
        let repacker = match known {
            Some(known) if known.is_for(codec, ptime) => Some(known),
            known => Repacker::new(codec, ptime).map(|fresh| match known {
                Some(old) => Box::new(fresh.after(&old)),
                None => Box::new(fresh),
            }),
        };
        let Some(mut repacker) = repacker else { return };
        // A stream of its own: it begins anew when packets are passed on as they are.
        let ssrc = !media.ssrc;
        if media.kind == Kind::Event {
            self.forward(now, &Media { sequence: repacker.place_event(), ssrc, ..*media }, scratch, metrics);
        } else {
            repacker.push(media, |payload, coded| {
                let (marker, timestamp, sequence) = (coded.marker, coded.timestamp, coded.sequence);
                let ours = Media { payload, marker, timestamp, sequence, ssrc, ..*media };
                self.forward(now, &ours, scratch, metrics);
            });
        }
        if let Some(bridge) = &mut self.bridge {
            bridge.repacker = Some(repacker);
        }
    }

    fn forward(&mut self, now: Instant, media: &Media<'_>, scratch: &mut Scratch, metrics: &ThreadMetrics) {
        let length = self.session.as_mut().and_then(|session| session.forward(now, media, &mut scratch.packet));
        if let Some(length) = length {
            self.send_relayed(now, length, scratch, metrics);
        }
    }

    /// Sends an RTCP packet.
    pub(crate) fn send_rtcp(&self, packet: &[u8], metrics: &ThreadMetrics) {
        let Some(session) = &self.session else { return };
        let Transport::Udp { rtp, rtcp } = &self.transport else { return };
        let socket = if session.negotiated().rtcp_mux { rtp } else { rtcp };
        send(socket, packet, session.remote_rtcp(), metrics);
        ThreadMetrics::count(&metrics.rtcp_out, 1);
    }

    /// Whether the far side has been silent for `limit`, although it may send; true once for each silence.
    pub(crate) fn timed_out(&mut self, now: Instant, limit: Duration) -> bool {
        let Some(session) = &self.session else { return false };
        if !session.negotiated().direction.receives() {
            self.expecting = now;
        }
        let last = session.last_received().map_or(self.expecting, |last| last.max(self.expecting));
        let silent = now.saturating_duration_since(last) >= limit;
        let say = silent && !self.timeout_said;
        self.timeout_said = silent;
        say
    }
}

fn send(socket: &UdpSocket, packet: &[u8], to: SocketAddr, metrics: &ThreadMetrics) {
    // Also the ICMP error of an earlier packet is reported here: the next one is another try.
    if socket.send_to(packet, to).is_err() {
        metrics.dropped(Drop::SendFailed);
    }
}

impl Bridge {
    pub(crate) fn new(other: LegId) -> Self {
        Self { other, transcoder: None, repacker: None }
    }

    /// What turns the packets of the other leg, which speaks `from`, into those of this one (`id`); made when it is first
    /// needed.
    fn transcoder(
        &mut self,
        now: Instant,
        id: LegId,
        from: CodecRef,
        ours: &Negotiated,
    ) -> Option<&mut Box<Transcoder>> {
        let conversion = Conversion { from, to: ours.codec, tuning: ours.tuning, ptime: ours.ptime };
        match &mut self.transcoder {
            Some(known) => known.settle(conversion),
            none => *none = Transcoder::new(now, conversion, stream_of(id)).map(Box::new),
        }
        self.transcoder.as_mut()
    }
}

/// The stream of its own, by a number that a phone has by chance alone, in which a leg of a bridge is sent what was
/// transcoded: another one than that which is passed on as it is.
fn stream_of(id: LegId) -> u32 {
    0xA56B_0000 ^ u32::from(id.pair())
}

/// A running recording.
pub(crate) struct Recording {
    ticket: Arc<Ticket>,
    recorder: Recorder,
    began: Instant,
    limit: Option<Duration>,
    silence: Option<Duration>,
    /// What those who talk hear meanwhile.
    tone: Option<Repeated>,
    /// Nothing is kept.
    paused: bool,
}

impl Recording {
    /// Asks the disk for the file; the path comes back when the disk is too far behind. It ends by itself after `limit`, and
    /// after the caller said nothing for `silence`.
    pub(crate) fn start(
        disk: &Disk,
        now: Instant,
        leg: LegId,
        (path, how): (PathBuf, RecordAs),
        (limit, silence): (Option<Duration>, Option<Duration>),
    ) -> Result<Self, PathBuf> {
        let ticket = disk.open(leg, path, how)?;
        Ok(Self {
            ticket,
            recorder: Recorder::new(now, how.layout),
            began: now,
            limit,
            silence,
            tone: how.tone,
            paused: false,
        })
    }

    /// What those who talk are to hear of it.
    pub(crate) fn tone(&self) -> Option<ConsentTone> {
        self.tone.map(|tone| ConsentTone { tone, sounding: !self.paused })
    }

    /// Whether it has a channel for each leg.
    pub(crate) fn has_legs(&self) -> bool {
        self.recorder.layout() == Layout::Legs
    }

    /// A packet came from a leg; the kernel had it `at`.
    pub(crate) fn heard(&mut self, at: Instant, side: Side, media: &Media<'_>) {
        if media.kind == Kind::Audio && !self.paused {
            self.recorder.push(at, side, media.codec, media.ssrc, media.timestamp, media.payload);
        }
    }

    /// A packet goes to the far side.
    fn said(&mut self, now: Instant, packet: &[u8], negotiated: &Negotiated) {
        let Some(packet) = Some(packet).filter(|_| !self.paused).and_then(|packet| Packet::parse(packet).ok()) else {
            return;
        };
        let header = packet.header;
        if header.payload_type == negotiated.payload_type {
            self.recorder.push(now, Side::Ark, negotiated.codec, header.ssrc, header.timestamp, packet.payload);
        }
    }

    /// Keeps nothing from now on, or everything again; time goes on in silence meanwhile.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Hands over what is due. `Some`: the recording is over, [`Recording::finish`] it.
    pub(crate) fn tick(&mut self, disk: &Disk, now: Instant) -> Option<RecordEnd> {
        if self.ticket.has_failed() {
            return Some(RecordEnd::Stopped);
        }
        let full = self.recorder.is_full(now);
        if full || self.limit.is_some_and(|limit| now.saturating_duration_since(self.began) >= limit) {
            return Some(RecordEnd::Limit);
        }
        let silence = self.silence.filter(|_| !self.paused);
        if silence.is_some_and(|silence| self.recorder.silent_for(now, Side::Caller) >= silence) {
            return Some(RecordEnd::Silence);
        }
        if self.recorder.is_due(now) {
            self.hand_over(disk, now);
        }
        None
    }

    fn hand_over(&mut self, disk: &Disk, now: Instant) {
        let mut block = disk.block();
        while let Some(write) = self.recorder.poll(now, &mut block.bytes) {
            block.writes.push(write);
        }
        disk.append(&self.ticket, block);
    }

    /// Hands over what is left and closes the file.
    pub(crate) fn finish(mut self, disk: &Disk, now: Instant, cause: RecordEnd) {
        // A limit is kept to the sample, whenever it was noticed.
        let end = self.limit.map_or(now, |limit| now.min(self.began + limit));
        self.recorder.finish(end);
        self.hand_over(disk, now);
        disk.close(self.ticket, cause);
    }
}
