//! Opus (RFC 6716, RFC 7587) for voice: mono at 16 kHz inside, so that no telephone leg needs another rate.
//!
//! The coder is the crate `opus-rs` (pure Rust). Ark sends SILK wideband in frames of 20 ms, several to a packet when a
//! leg's packet time is longer, and takes every packet that an Opus sender may make.

use std::time::Duration;

use opus_rs::{Application, OpusDecoder, OpusEncoder};

use super::{Codec, Decoder, Encoder, Tuning};

/// opus: any rate and quality in one format; dynamic payload type, RTP clock 48 kHz, `/2` in `a=rtpmap` whatever is
/// sent (RFC 7587 7).
#[derive(Debug)]
pub struct Opus;

const RATE_HZ: usize = 16_000;
/// Samples of the frames that Ark sends: 20 ms.
const FRAME_SAMPLES: usize = RATE_HZ / 50;
/// The longest packet: 120 ms (RFC 6716 3.2.5).
const PACKET_SAMPLES_MAX: usize = RATE_HZ * 120 / 1000;
/// The decoder conceals in pieces of 2.5 ms.
const CONCEAL_GRAIN: usize = RATE_HZ / 400;
/// Bit rate of wideband voice when the peer names no bound.
const BITRATE_BPS: u32 = 24_000;
/// Least bit rate at which SILK wideband is of use.
const BITRATE_BPS_LEAST: u32 = 8_000;
/// What the encoder spends on a frame at most, so that three of them fit any packet: 60 kbit/s.
const FRAME_BYTES_MAX: usize = 150;
/// How hard the encoder tries (0 to 10). More than this costs more than it gives at this bit rate.
const COMPLEXITY: i32 = 5;
/// Loss that the encoder prepares for when the peer asks for in-band FEC.
const EXPECTED_LOSS_PERCENT: i32 = 10;
/// Frames that are joined in one packet at most: 120 ms of 10 ms.
const FRAMES_MAX: usize = 12;

/// Digital silence as this encoder makes it, first byte first. It stays within 1 of zero however often it is repeated,
/// and has the mode of Ark's speech, so that a listener's decoder does not switch.
const SILENCE: [u8; 8] = [0x48, 0x06, 0xE3, 0x79, 0xC5, 0x12, 0xF7, 0xBC];

impl Codec for Opus {
    fn name(&self) -> &'static str {
        "opus"
    }
    fn payload_type(&self) -> Option<u8> {
        None
    }
    fn rtp_clock_hz(&self) -> u32 {
        48_000
    }
    fn sample_rate_hz(&self) -> u32 {
        RATE_HZ as u32
    }
    fn channels(&self) -> u8 {
        2
    }
    fn concatenates(&self) -> bool {
        false
    }
    fn grain_samples(&self) -> usize {
        FRAME_SAMPLES
    }
    fn is_dear(&self) -> bool {
        true
    }
    fn fmtp(&self) -> Option<&'static str> {
        Some("minptime=10;useinbandfec=1;maxplaybackrate=16000;sprop-maxcapturerate=16000")
    }
    fn tuning(&self, fmtp: &str) -> Tuning {
        let number = |name| super::parameter(fmtp, name).and_then(|value| value.parse::<u32>().ok());
        // A peer that plays narrowband only is not sent the bits of wideband.
        let narrow = number("maxplaybackrate").filter(|hz| (1..12_000).contains(hz)).map(|_| BITRATE_BPS / 2);
        let most = number("maxaveragebitrate").into_iter().chain(narrow).min();
        Tuning { in_band_fec: number("useinbandfec") == Some(1), bitrate_bps_max: most }
    }
    fn silence(&self, duration: Duration, out: &mut [u8]) -> usize {
        let frames = (duration.as_millis() as usize / 20).min(FRAMES_MAX);
        self.join(&[&SILENCE[..]; FRAMES_MAX][..frames], out)
    }
    fn join(&self, frames: &[&[u8]], out: &mut [u8]) -> usize {
        join(frames, out)
    }
    fn encoder_with(&self, tuning: Tuning) -> Box<dyn Encoder> {
        Box::new(VoiceEncoder::new(tuning))
    }
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(VoiceDecoder::new())
    }
}

/// Samples at `rate_hz` in a packet, at most those of 120 ms (RFC 6716 3.1, 3.2); 0 for an empty one.
pub(crate) fn packet_samples(packet: &[u8], rate_hz: usize) -> usize {
    let Some(toc) = packet.first() else { return 0 };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(packet.get(1).copied().unwrap_or(1) & 63),
    };
    (frame_samples(*toc, rate_hz) * frames).min(rate_hz * 120 / 1000)
}

/// Samples of each frame of a packet that begins with `toc`.
fn frame_samples(toc: u8, rate_hz: usize) -> usize {
    let tenths_of_ms = match toc >> 3 {
        config @ 0..=11 => [100, 200, 400, 600][usize::from(config & 3)],
        config @ 12..=15 => [100, 200][usize::from(config & 1)],
        config => 25 << (config & 3),
    };
    rate_hz * tenths_of_ms / 10_000
}

/// Frames of one mode and length (packets of one frame each) as one packet (RFC 6716 3.2.5, code 3 with lengths).
/// Returns its bytes; 0 if they do not go together, or not into `out`.
fn join(frames: &[&[u8]], out: &mut [u8]) -> usize {
    let Some((last, others)) = frames.split_last() else { return 0 };
    let Some(toc) = last.first() else { return 0 };
    let alone = |frame: &&[u8]| frame.first() == Some(toc);
    if toc & 3 != 0 || !others.iter().all(alone) || frames.len() > FRAMES_MAX {
        return 0;
    }
    if others.is_empty() {
        return out.get_mut(..last.len()).map_or(0, |out| {
            out.copy_from_slice(last);
            last.len()
        });
    }
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        let place = out.get_mut(at..at + bytes.len());
        at += bytes.len();
        place.map(|place| place.copy_from_slice(bytes)).is_some()
    };
    // 0x80: each frame but the last has its length in front.
    let mut fits = put(&[toc | 3, 0x80 | frames.len() as u8]);
    for frame in others {
        let length = frame.len() - 1;
        fits &= match length {
            0..252 => put(&[length as u8]),
            _ => put(&[252 + (length & 3) as u8, ((length - 252 - (length & 3)) / 4) as u8]),
        };
    }
    for frame in frames {
        fits &= put(&frame[1..]);
    }
    if fits { at } else { 0 }
}

/// Whether the packet carries a copy of the packet before it: the LBRR flag of its first SILK frame (RFC 6716 4.2.3).
fn carries_copy(packet: &[u8]) -> bool {
    let Some(toc) = packet.first() else { return false };
    if toc >> 3 >= 16 {
        // CELT alone has none.
        return false;
    }
    let Some(flags) = first_frame(packet) else { return false };
    let silk_frames = match frame_samples(*toc, RATE_HZ) / FRAME_SAMPLES {
        count @ 1..=3 => count,
        _ => 1,
    };
    let mid = flags >> (7 - silk_frames) & 1 == 1;
    let stereo = toc & 4 != 0;
    let side = stereo && silk_frames < 3 && flags >> (6 - 2 * silk_frames) & 1 == 1;
    mid || side
}

/// The first byte of the packet's first frame.
fn first_frame(packet: &[u8]) -> Option<u8> {
    let length_bytes = |at: usize| packet.get(at).map(|byte| if *byte < 252 { 1 } else { 2 });
    let at = match packet.first()? & 3 {
        0 | 1 => 1,
        2 => 1 + length_bytes(1)?,
        _ => {
            let count = *packet.get(1)?;
            let mut at = 2;
            if count & 0x40 != 0 {
                while *packet.get(at)? == 255 {
                    at += 1;
                }
                at += 1;
            }
            if count & 0x80 != 0 {
                for _ in 1..count & 63 {
                    at += length_bytes(at)?;
                }
            }
            at
        }
    };
    packet.get(at).copied()
}

struct VoiceEncoder {
    encoder: Option<OpusEncoder>,
    tuning: Tuning,
    /// Samples of the frames that `encoder` makes: it takes no other length once it has begun.
    frame: usize,
}

impl VoiceEncoder {
    fn new(tuning: Tuning) -> Self {
        Self { encoder: encoder(tuning), tuning, frame: FRAME_SAMPLES }
    }

    /// One frame as a packet of its own.
    fn encode_frame(&mut self, pcm: &[i16], out: &mut [u8]) -> usize {
        if pcm.len() != self.frame {
            // Another packet time was agreed on: a new encoder, once.
            self.frame = pcm.len();
            self.encoder = encoder(self.tuning);
        }
        let room = out.len().min(FRAME_BYTES_MAX);
        self.encoder.as_mut().and_then(|encoder| encoder.encode_i16(pcm, pcm.len(), &mut out[..room]).ok()).unwrap_or(0)
    }
}

/// The crate's encoder, set for voice. `None` cannot be: the rate is one of Opus's.
fn encoder(tuning: Tuning) -> Option<OpusEncoder> {
    let mut encoder = OpusEncoder::new(RATE_HZ as i32, 1, Application::Voip).ok()?;
    let most = tuning.bitrate_bps_max.unwrap_or(BITRATE_BPS);
    encoder.bitrate_bps = most.clamp(BITRATE_BPS_LEAST, BITRATE_BPS) as i32;
    encoder.complexity = COMPLEXITY;
    encoder.use_inband_fec = tuning.in_band_fec;
    encoder.packet_loss_perc = if tuning.in_band_fec { EXPECTED_LOSS_PERCENT } else { 0 };
    Some(encoder)
}

impl Encoder for VoiceEncoder {
    /// 10 ms, or a multiple of 20 ms up to 120: other lengths give 0.
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> usize {
        if pcm.len() == FRAME_SAMPLES / 2 || pcm.len() == FRAME_SAMPLES {
            return self.encode_frame(pcm, out);
        }
        let frames = pcm.len() / FRAME_SAMPLES;
        if frames == 0 || !pcm.len().is_multiple_of(FRAME_SAMPLES) || pcm.len() > PACKET_SAMPLES_MAX {
            return 0;
        }
        let mut made = [[0; FRAME_BYTES_MAX]; PACKET_SAMPLES_MAX / FRAME_SAMPLES];
        let mut lengths = [0; PACKET_SAMPLES_MAX / FRAME_SAMPLES];
        for ((frame, made), length) in pcm.chunks_exact(FRAME_SAMPLES).zip(&mut made).zip(&mut lengths) {
            *length = self.encode_frame(frame, made);
        }
        let mut parts = [&[][..]; PACKET_SAMPLES_MAX / FRAME_SAMPLES];
        for ((part, made), length) in parts.iter_mut().zip(&made).zip(&lengths) {
            *part = &made[..*length];
        }
        join(&parts[..frames], out)
    }
}

struct VoiceDecoder {
    decoder: Option<OpusDecoder>,
    /// The crate decodes to floating point.
    wave: [f32; PACKET_SAMPLES_MAX],
}

impl VoiceDecoder {
    fn new() -> Self {
        Self { decoder: OpusDecoder::new(RATE_HZ as i32, 1).ok(), wave: [0.0; PACKET_SAMPLES_MAX] }
    }

    /// Hands over the first samples of the wave.
    fn give(&self, samples: usize, out: &mut [i16]) -> usize {
        let samples = samples.min(PACKET_SAMPLES_MAX).min(out.len());
        for (sample, value) in out.iter_mut().zip(&self.wave[..samples]) {
            // `as` saturates, and gives 0 for NaN.
            *sample = (value * 32_768.0).round() as i16;
        }
        samples
    }
}

impl Decoder for VoiceDecoder {
    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> usize {
        let length = packet_samples(payload, RATE_HZ);
        let Some(decoder) = self.decoder.as_mut().filter(|_| length > 0) else { return 0 };
        let samples = decoder.decode(payload, length, &mut self.wave[..length]).unwrap_or(0);
        self.give(samples, out)
    }

    fn conceal(&mut self, out: &mut [i16]) -> usize {
        let mut written = 0;
        for piece in out.chunks_mut(FRAME_SAMPLES) {
            let length = piece.len() / CONCEAL_GRAIN * CONCEAL_GRAIN;
            let Some(decoder) = self.decoder.as_mut().filter(|_| length > 0) else { break };
            let samples = decoder.decode(&[], length, &mut self.wave[..length]).unwrap_or(0);
            written += self.give(samples, piece);
        }
        written
    }

    fn recover(&mut self, next_payload: &[u8], out: &mut [i16]) -> usize {
        let length = out.len().min(PACKET_SAMPLES_MAX) / CONCEAL_GRAIN * CONCEAL_GRAIN;
        let frame = next_payload.first().map_or(usize::MAX, |toc| frame_samples(*toc, RATE_HZ));
        if !carries_copy(next_payload) || length < frame {
            return 0;
        }
        let Some(decoder) = &mut self.decoder else { return 0 };
        let samples = decoder.decode_fec(next_payload, length, &mut self.wave[..length]).unwrap_or(0);
        self.give(samples, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    /// Packets of 20 ms of a 440 Hz tone.
    fn packets(tuning: Tuning, count: u64) -> Vec<Vec<u8>> {
        let mut encoder = Opus.encoder_with(tuning);
        let pcm = tone::sine(440.0, 8000, 16_000, Duration::from_millis(20 * count));
        let encode = |frame: &[i16]| {
            let mut out = [0; FRAME_BYTES_MAX];
            let bytes = encoder.encode(frame, &mut out);
            out[..bytes].to_vec()
        };
        pcm.chunks(FRAME_SAMPLES).map(encode).collect()
    }

    #[test]
    fn packets_tell_their_length() {
        for (packet, samples) in [
            (&[0x48, 1][..], 320),
            (&[0x40, 1], 160),
            (&[0x58, 1], 960),
            (&[0x49, 1, 2], 640),
            (&[0x4B, 0x83, 1, 1, 2, 2, 2], 960),
            (&[0xFC, 0xFF, 0xFE], 320),
            (&[0xE0, 0], 40),
            (&[0x5B, 63], 1920),
            (&[0x4B, 0], 0),
            (&[], 0),
        ] {
            assert_eq!(packet_samples(packet, RATE_HZ), samples, "{packet:x?}");
        }
    }

    #[test]
    fn longer_packet_times_are_several_frames_in_one_packet() {
        let pcm = tone::sine(440.0, 8000, 16_000, Duration::from_millis(600));
        for ms in [10, 20, 40, 60] {
            let (mut encoder, mut decoder) = (Opus.encoder(), Opus.decoder());
            let (mut out, mut heard) = ([0; 1000], Vec::new());
            for frame in pcm.chunks_exact(16 * ms) {
                let bytes = encoder.encode(frame, &mut out);
                let mut back = [0; PACKET_SAMPLES_MAX];
                assert_eq!(decoder.decode(&out[..bytes], &mut back), frame.len(), "{ms} ms");
                heard.extend_from_slice(&back[..frame.len()]);
            }
            let level = tone::level(&heard[3200..], 16_000, 440.0);
            assert!((level - 8000.0).abs() < 1200.0, "{ms} ms: {level}");
        }
        assert_eq!(Opus.encoder().encode(&pcm[..480], &mut [0; 1000]), 0, "30 ms is no Opus frame");
    }

    #[test]
    fn frames_join_only_when_they_go_together() {
        let mut out = [0; 1000];
        let long = [&[0x48][..], &[7; 300]].concat();
        let bytes = join(&[&long, &[0x48, 1, 2]], &mut out);
        assert_eq!(out[..bytes].len(), 2 + 2 + 300 + 2);
        assert_eq!(&out[..4], &[0x4B, 0x82, 252, 12]);
        assert_eq!(packet_samples(&out[..bytes], RATE_HZ), 640);
        assert_eq!(join(&[&long, &[0x40, 1, 2]], &mut out), 0, "another length of frame");
        assert_eq!(join(&[&[0x4B, 1, 2]], &mut out), 0, "several frames already");
        assert_eq!(join(&[&long, &long], &mut out[..300]), 0);
        assert_eq!(join(&[], &mut out), 0);
        assert_eq!(join(&[&[], &[]], &mut out), 0);
    }

    #[test]
    fn a_lost_packet_comes_back_from_the_next_one() {
        let sent = packets(Tuning { in_band_fec: true, ..Tuning::default() }, 25);
        let mut decoder = Opus.decoder();
        let mut heard = [0; FRAME_SAMPLES];
        for packet in &sent[..20] {
            decoder.decode(packet, &mut heard);
        }
        assert_eq!(decoder.recover(&sent[21], &mut heard), FRAME_SAMPLES);
        let level = tone::level(&heard, 16_000, 440.0);
        assert!((4000.0..10_000.0).contains(&level), "{level}");
        assert_eq!(decoder.decode(&sent[21], &mut heard), FRAME_SAMPLES);

        let plain = packets(Tuning::default(), 5);
        assert_eq!(Opus.decoder().recover(&plain[4], &mut heard), 0, "nobody asked for copies");
        assert_eq!(Opus.decoder().recover(&[], &mut heard), 0);
        assert_eq!(Opus.decoder().recover(&sent[21], &mut heard[..100]), 0, "less than was lost");
    }

    #[test]
    fn a_lost_packet_without_a_copy_is_concealed() {
        let sent = packets(Tuning::default(), 20);
        let mut decoder = Opus.decoder();
        let mut heard = [0; FRAME_SAMPLES];
        for packet in &sent {
            decoder.decode(packet, &mut heard);
        }
        assert_eq!(decoder.conceal(&mut heard), FRAME_SAMPLES);
        let level = tone::level(&heard, 16_000, 440.0);
        assert!((3000.0..10_000.0).contains(&level), "{level}");
        assert_eq!(decoder.conceal(&mut [0; 39]), 0);
        assert_eq!(decoder.conceal(&mut [0; 1000]), 1000, "in pieces of 2.5 ms");
        // A packet that holds nothing but its first byte is a pause of the sender (DTX).
        assert_eq!(decoder.decode(&[0x48], &mut heard), FRAME_SAMPLES);
    }

    #[test]
    fn the_peer_s_parameters_tune_the_encoder() {
        let tuned = Opus.tuning("minptime=10; useinbandfec=1; maxaveragebitrate=16000");
        assert_eq!(tuned, Tuning { in_band_fec: true, bitrate_bps_max: Some(16_000) });
        assert_eq!(Opus.tuning("stereo=1;maxplaybackrate=8000").bitrate_bps_max, Some(12_000));
        assert_eq!(Opus.tuning("useinbandfec=0;maxplaybackrate=48000"), Tuning::default());
        let bytes = |tuning| packets(tuning, 50).iter().map(Vec::len).sum::<usize>();
        let least = Tuning { bitrate_bps_max: Some(1), ..Tuning::default() };
        assert!(bytes(least) * 2 < bytes(Tuning::default()));
    }
}
