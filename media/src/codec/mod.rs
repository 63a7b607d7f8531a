//! One table of codecs, one file each. SDP, prompts and sessions read the table and never name a codec.

use std::fmt;
use std::time::Duration;

mod pcma;
mod pcmu;

pub use pcma::Pcma;
pub use pcmu::Pcmu;

/// Every codec Ark speaks, in the order Ark prefers unless a site says otherwise.
pub static ALL: &[&dyn Codec] = &[&Pcma, &Pcmu];

/// A codec of the table; compared by [`Codec::name`].
pub type CodecRef = &'static dyn Codec;

/// What an audio codec is (as data) and the two machines that run it.
///
/// Encoders and decoders are values of their own, because most codecs keep state between frames.
pub trait Codec: Sync + fmt::Debug {
    /// Name in `a=rtpmap`, compared without regard to case.
    fn name(&self) -> &'static str;
    /// Static payload type (RFC 3551 table 4); `None` for codecs that have a dynamic one only.
    fn payload_type(&self) -> Option<u8>;
    /// RTP timestamp units per second; for G.722 not the sample rate (RFC 3551 4.5.2).
    fn rtp_clock_hz(&self) -> u32;
    /// Samples per second that `encode` takes and `decode` gives.
    fn sample_rate_hz(&self) -> u32;
    /// Channels in `a=rtpmap` (1 is not written).
    fn channels(&self) -> u8;
    /// Whether two encoded frames put end to end are one longer frame, as for every codec of one byte a sample.
    fn concatenates(&self) -> bool;
    /// One frame of digital silence of this length, written to `out`; returns its bytes, 0 if `out` is too small.
    fn silence(&self, duration: Duration, out: &mut [u8]) -> usize;
    /// A fresh encoder.
    fn encoder(&self) -> Box<dyn Encoder>;
    /// A fresh decoder.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// RTP timestamp units in `duration`.
    fn clock_units(&self, duration: Duration) -> u32 {
        (duration.as_micros() as u64 * u64::from(self.rtp_clock_hz()) / 1_000_000) as u32
    }
    /// Samples (per channel) in `duration`.
    fn samples(&self, duration: Duration) -> usize {
        (duration.as_micros() as u64 * u64::from(self.sample_rate_hz()) / 1_000_000) as usize
    }
    /// Time that so many RTP timestamp units take.
    fn duration_of(&self, clock_units: u64) -> Duration {
        Duration::from_micros(clock_units * 1_000_000 / u64::from(self.rtp_clock_hz()))
    }
}

/// Turns PCM into payload, frame by frame.
pub trait Encoder: Send {
    /// Encodes one frame of `pcm` into `out` and returns the bytes written. Samples that do not fit are left out.
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> usize;
}

/// Turns payload into PCM, frame by frame.
pub trait Decoder: Send {
    /// Decodes one payload into `out` and returns the samples written. What does not fit is left out; payload that
    /// cannot be decoded gives 0.
    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> usize;

    /// The codec's own concealment of lost packets: fills `out`, which is as long as what was lost, from the past, and
    /// keeps the decoder's state in step for the packet that comes next. Returns the samples written; 0 when the codec
    /// has no concealment of its own (G.711, G.722), or not for this length: then the caller extrapolates the wave.
    fn conceal(&mut self, out: &mut [i16]) -> usize {
        let _ = out;
        0
    }

    /// The lost packet just before `next_payload`, from the copy of it that `next_payload` carries (in-band FEC, RFC
    /// 6716 2.1.7). To be tried before [`Decoder::conceal`], once the packet after the gap is here, and before that
    /// packet is decoded: `out` is as long as what was lost. Returns the samples written; 0 when there is no copy in it.
    fn recover(&mut self, next_payload: &[u8], out: &mut [i16]) -> usize {
        let _ = (next_payload, out);
        0
    }
}

impl PartialEq for dyn Codec {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for dyn Codec {}

/// The codec with this `a=rtpmap` name and clock, if Ark speaks it.
pub fn by_name(name: &str, rtp_clock_hz: u32) -> Option<CodecRef> {
    ALL.iter().copied().find(|c| c.name().eq_ignore_ascii_case(name) && c.rtp_clock_hz() == rtp_clock_hz)
}

/// The codec with this static payload type, if Ark speaks it.
pub fn by_static_payload_type(payload_type: u8) -> Option<CodecRef> {
    ALL.iter().copied().find(|c| c.payload_type() == Some(payload_type))
}

/// Decodes a payload of any length (tests, taps, benches); allocates.
pub fn decode_all(codec: CodecRef, payload: &[u8]) -> Vec<i16> {
    let mut pcm = vec![0; codec.samples(Duration::from_secs(1)).max(payload.len() * 2)];
    let samples = codec.decoder().decode(payload, &mut pcm);
    pcm.truncate(samples);
    pcm
}

/// The G.711 machines keep no state: a table serves both directions.
#[derive(Debug, Clone, Copy)]
struct Tables {
    /// Indexed by the sample's upper bits.
    encode: &'static [u8],
    /// How many low bits of the sample the law does not see.
    shift: u32,
    decode: &'static [i16; 256],
}

impl Encoder for Tables {
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> usize {
        for (byte, sample) in out.iter_mut().zip(pcm) {
            *byte = self.encode[usize::from(*sample as u16 >> self.shift)];
        }
        pcm.len().min(out.len())
    }
}

impl Decoder for Tables {
    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> usize {
        for (sample, byte) in out.iter_mut().zip(payload) {
            *sample = self.decode[usize::from(*byte)];
        }
        payload.len().min(out.len())
    }
}

/// Silence of a codec with one byte a sample at 8 kHz.
fn fill_silence(byte: u8, duration: Duration, out: &mut [u8]) -> usize {
    let bytes = (duration.as_micros() * 8 / 1000) as usize;
    out.get_mut(..bytes).map_or(0, |frame| {
        frame.fill(byte);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_of_the_table_keeps_its_promises() {
        for codec in ALL.iter().copied() {
            assert!(by_name(&codec.name().to_lowercase(), codec.rtp_clock_hz()).is_some_and(|c| c == codec));
            if let Some(payload_type) = codec.payload_type() {
                assert!(by_static_payload_type(payload_type).is_some_and(|c| c == codec));
            }
            let frame = Duration::from_millis(20);
            let samples = codec.samples(frame) * usize::from(codec.channels());
            let pcm: Vec<i16> = (0..samples)
                .map(|i| ((i as f32 * 440.0 * std::f32::consts::TAU / 8000.0).sin() * 12_000.0) as i16)
                .collect();
            let mut payload = [0; 1500];
            let bytes = codec.encoder().encode(&pcm, &mut payload);
            assert!(bytes > 0 && bytes <= 960, "{} {bytes}", codec.name());
            let mut back = [0; 5760];
            assert_eq!(codec.decoder().decode(&payload[..bytes], &mut back), samples, "{}", codec.name());
            let noise: f64 = pcm.iter().zip(&back).map(|(a, b)| f64::from(i32::from(*a) - i32::from(*b)).powi(2)).sum();
            let signal: f64 = pcm.iter().map(|a| f64::from(*a).powi(2)).sum();
            assert!(signal / noise > 1000.0, "{}: {} dB", codec.name(), 10.0 * (signal / noise).log10());

            let bytes = codec.silence(frame, &mut payload);
            let samples = codec.decoder().decode(&payload[..bytes], &mut back);
            assert!(samples > 0 && back[..samples].iter().all(|s| s.abs() <= 8), "{} silence", codec.name());
            assert_eq!(codec.silence(frame, &mut [0; 3]), 0);
            // Small buffers are filled and never overrun, and hostile payload is not a panic.
            assert!(codec.encoder().encode(&pcm, &mut [0; 7]) <= 7);
            assert!(codec.decoder().decode(&[0xA5; 1500], &mut [0; 9]) <= 9);
            assert_eq!(codec.decoder().decode(&[], &mut back), 0);
            assert_eq!(codec.clock_units(frame), codec.rtp_clock_hz() / 50);
            assert_eq!(codec.duration_of(u64::from(codec.rtp_clock_hz())), Duration::from_secs(1));
        }
    }
}
