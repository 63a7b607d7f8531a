//! One leg as its thread holds it: sockets, session, bridge and recording.

use std::{
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use ark_media::{
    codec::{CodecRef, Decoder, Encoder},
    record::{Recorder, Side},
    rtp::Packet,
    sdp::Negotiated,
    session::{Kind, Media, Session},
};

use super::{
    api::{LegId, RecordEnd},
    disk::{Disk, Ticket},
    limits::DECODED_SAMPLES_MAX,
    metrics::{Drop, ThreadMetrics},
    pipe::PipeEnd,
    sys::DATAGRAM_BYTES,
    wheel::Seat,
};

/// A leg. Boxed once, when it is reserved; it moves between threads as a pointer.
pub(crate) struct LegState {
    pub(crate) id: LegId,
    pub(crate) transport: Transport,
    pub(crate) session: Option<Session>,
    pub(crate) seat: Option<Seat>,
    pub(crate) bridge: Option<Bridge>,
    pub(crate) recording: Option<Box<Recording>>,
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

/// The other side of a bridge, and what turns its audio into ours when the codecs differ.
pub(crate) struct Bridge {
    pub(crate) other: LegId,
    transcoder: Option<Transcoder>,
}

struct Transcoder {
    from: CodecRef,
    to: CodecRef,
    decoder: Box<dyn Decoder>,
    encoder: Box<dyn Encoder>,
}

/// Room for one packet's samples and for one packet, made once for each thread.
pub(crate) struct Scratch {
    pub(crate) packet: [u8; DATAGRAM_BYTES],
    pcm: [i16; DECODED_SAMPLES_MAX],
    payload: [u8; DATAGRAM_BYTES],
}

impl Scratch {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self { packet: [0; DATAGRAM_BYTES], pcm: [0; DECODED_SAMPLES_MAX], payload: [0; DATAGRAM_BYTES] })
    }
}

impl LegState {
    pub(crate) fn new(id: LegId, transport: Transport) -> Self {
        Self {
            id,
            transport,
            session: None,
            seat: None,
            bridge: None,
            recording: None,
            events_waiting: 0,
            expecting: Instant::now(),
            timeout_said: false,
            ticks: 0,
        }
    }

    /// Sends the RTP packet that stands in `scratch.packet`, and lets a recording hear it.
    pub(crate) fn send_rtp(&mut self, now: Instant, length: usize, scratch: &Scratch, metrics: &ThreadMetrics) {
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
        if let Some(recording) = &mut self.recording {
            recording.said(now, packet, session.negotiated());
        }
    }

    /// Sends what the other leg of the bridge heard.
    pub(crate) fn relay(&mut self, now: Instant, media: &Media<'_>, scratch: &mut Scratch, metrics: &ThreadMetrics) {
        let Some(session) = &mut self.session else { return };
        let ours = session.negotiated().codec;
        let length = if media.kind == Kind::Audio && media.codec != ours {
            let Some(bridge) = &mut self.bridge else { return };
            let Scratch { packet, pcm, payload } = scratch;
            let Some(bytes) = bridge.transcode(media, ours, pcm, payload) else { return };
            session.forward(now, &Media { codec: ours, payload: &payload[..bytes], ..*media }, packet)
        } else {
            session.forward(now, media, &mut scratch.packet)
        };
        if let Some(length) = length {
            self.send_rtp(now, length, scratch, metrics);
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
        Self { other, transcoder: None }
    }

    /// Writes the packet's audio in our codec to `payload`; `None` when the codecs run on different clocks.
    fn transcode(&mut self, media: &Media<'_>, to: CodecRef, pcm: &mut [i16], payload: &mut [u8]) -> Option<usize> {
        let from = media.codec;
        if from.rtp_clock_hz() != to.rtp_clock_hz() || from.sample_rate_hz() != to.sample_rate_hz() {
            return None;
        }
        let fits = self.transcoder.as_ref().is_some_and(|known| known.from == from && known.to == to);
        if !fits {
            self.transcoder = Some(Transcoder { from, to, decoder: from.decoder(), encoder: to.encoder() });
        }
        let transcoder = self.transcoder.as_mut()?;
        let samples = transcoder.decoder.decode(media.payload, pcm);
        Some(transcoder.encoder.encode(&pcm[..samples], payload))
    }
}

/// A running recording.
pub(crate) struct Recording {
    ticket: Arc<Ticket>,
    recorder: Recorder,
    began: Instant,
    limit: Option<Duration>,
    silence: Option<Duration>,
}

impl Recording {
    /// Asks the disk for the file; the path comes back when the disk is too far behind.
    pub(crate) fn start(
        disk: &Disk,
        now: Instant,
        leg: LegId,
        path: PathBuf,
        limit: Option<Duration>,
        silence: Option<Duration>,
    ) -> Result<Self, PathBuf> {
        let ticket = disk.open(leg, path)?;
        Ok(Self { ticket, recorder: Recorder::new(now), began: now, limit, silence })
    }

    /// A packet came from the far side; the kernel had it `at`.
    pub(crate) fn heard(&mut self, at: Instant, media: &Media<'_>) {
        if media.kind == Kind::Audio {
            self.recorder.push(at, Side::Caller, media.codec, media.ssrc, media.timestamp, media.payload);
        }
    }

    /// A packet goes to the far side.
    fn said(&mut self, now: Instant, packet: &[u8], negotiated: &Negotiated) {
        let Ok(packet) = Packet::parse(packet) else { return };
        let header = packet.header;
        if header.payload_type == negotiated.payload_type {
            self.recorder.push(now, Side::Ark, negotiated.codec, header.ssrc, header.timestamp, packet.payload);
        }
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
        if self.silence.is_some_and(|silence| self.recorder.silent_for(now, Side::Caller) >= silence) {
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
