//! One table of codecs, one file each. SDP, prompts and sessions read the table and never name a codec.

use std::fmt;
use std::time::Duration;

pub mod comfort;
mod g722;
#[cfg(feature = "g729")]
mod g729;
mod opus;
mod pcma;
mod pcmu;

pub use g722::G722;
#[cfg(feature = "g729")]
pub use g729::G729;
pub use opus::Opus;
pub(crate) use opus::packet_samples as opus_packet_samples;
pub use pcma::Pcma;
pub use pcmu::Pcmu;

/// Every codec Ark speaks, in the order Ark prefers unless a site says otherwise.
pub static ALL: &[&dyn Codec] = &[
    &Pcma,
    &Pcmu,
    &G722,
    &Opus,
    #[cfg(feature = "g729")]
    &G729,
];

/// A codec of the table; compared by [`Codec::name`].
pub type CodecRef = &'static dyn Codec;

/// What an audio codec is (as data) and the two machines that run it.
///
/// Encoders and decoders are values of their own, because most codecs keep state between frames.
pub trait Codec: Sync + fmt::Debug {
    /// Name in `a=rtpmap`, compared without regard to case.
    fn name(&self) -> &'static str;
    /// Whether this name in `a=rtpmap` means the codec; some peers write others than [`Codec::name`].
    fn is_called(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.name())
    }
    /// Static payload type (RFC 3551 table 4); `None` for codecs that have a dynamic one only.
    fn payload_type(&self) -> Option<u8>;
    /// RTP timestamp units per second; for G.722 not the sample rate (RFC 3551 4.5.2).
    fn rtp_clock_hz(&self) -> u32;
    /// Samples per second that `encode` takes and `decode` gives.
    fn sample_rate_hz(&self) -> u32;
    /// Channels in `a=rtpmap` (1 is not written). What `encode` takes and `decode` gives is mono whatever stands there.
    fn channels(&self) -> u8;
    /// Whether two encoded frames put end to end are one longer frame, as for every codec of one byte a sample. Such
    /// payload may be cut after any [`Codec::grain_samples`]; that of other codecs is whole frames, which
    /// [`Codec::join`] puts into one packet.
    fn concatenates(&self) -> bool;
    /// Samples in the smallest piece that can be encoded: 1 for G.711, a frame for codecs that have frames.
    fn grain_samples(&self) -> usize {
        1
    }
    /// Whether encoding costs so much that it is done only when it is needed: more than a tenth of a millisecond a frame.
    fn is_dear(&self) -> bool {
        false
    }
    /// What Ark writes in `a=fmtp` of this codec: what it wants to be sent. `None`: no such line.
    fn fmtp(&self) -> Option<&'static str> {
        None
    }
    /// Reads the peer's `a=fmtp`: how it wants to be sent to. Unknown parameters and values are skipped.
    fn tuning(&self, fmtp: &str) -> Tuning {
        let _ = fmtp;
        Tuning::default()
    }
    /// One packet of digital silence of this length, written to `out`; returns its bytes, 0 if `out` is too small.
    fn silence(&self, duration: Duration, out: &mut [u8]) -> usize;
    /// Puts frames of a codec that does not concatenate into one packet, written to `out`; returns its bytes, 0 when
    /// they do not go together, when `out` is too small, and for codecs that concatenate.
    fn join(&self, frames: &[&[u8]], out: &mut [u8]) -> usize {
        let _ = (frames, out);
        0
    }
    /// A fresh encoder that does what the peer asks for.
    fn encoder_with(&self, tuning: Tuning) -> Box<dyn Encoder>;
    /// A fresh decoder.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// A fresh encoder for a peer that asks for nothing.
    fn encoder(&self) -> Box<dyn Encoder> {
        self.encoder_with(Tuning::default())
    }

    /// RTP timestamp units in `duration`.
    fn clock_units(&self, duration: Duration) -> u32 {
        (duration.as_micros() as u64 * u64::from(self.rtp_clock_hz()) / 1_000_000) as u32
    }
    /// Samples in `duration`.
    fn samples(&self, duration: Duration) -> usize {
        (duration.as_micros() as u64 * u64::from(self.sample_rate_hz()) / 1_000_000) as usize
    }
    /// Time that so many RTP timestamp units take.
    fn duration_of(&self, clock_units: u64) -> Duration {
        Duration::from_micros(clock_units * 1_000_000 / u64::from(self.rtp_clock_hz()))
    }
}

/// How a peer wants to be sent to, beyond what the codec's name says; from its `a=fmtp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tuning {
    /// Each packet carries a copy of the one before it (Opus, `useinbandfec`).
    pub in_band_fec: bool,
    /// Bits per second at most (Opus, `maxaveragebitrate`); `None`: as many as the codec finds right.
    pub bitrate_bps_max: Option<u32>,
}

/// A parameter of an `a=fmtp` line (`name=value;...`), its name compared without regard to case.
pub(crate) fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(known, value)| known.trim_ascii().eq_ignore_ascii_case(name).then(|| value.trim_ascii()))
}

/// Turns PCM into payload, frame by frame.
pub trait Encoder: Send {
    /// Encodes one frame of `pcm` into `out` and returns the bytes written. Samples that do not fill a grain
    /// ([`Codec::grain_samples`]) and those that do not fit are left out.
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
    ALL.iter().copied().find(|c| c.is_called(name) && c.rtp_clock_hz() == rtp_clock_hz)
}

/// The codec with this static payload type, if Ark speaks it.
pub fn by_static_payload_type(payload_type: u8) -> Option<CodecRef> {
    ALL.iter().copied().find(|c| c.payload_type() == Some(payload_type))
}

/// Decodes one payload with a fresh decoder (tests, taps, benches of codecs without memory); allocates.
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
    use crate::tone;

    const FRAME: Duration = Duration::from_millis(20);

    #[test]
    fn every_codec_of_the_table_keeps_its_promises() {
        for codec in ALL {
            assert!(by_name(&codec.name().to_lowercase(), codec.rtp_clock_hz()).is_some_and(|c| c == *codec));
            if let Some(payload_type) = codec.payload_type() {
                assert!(by_static_payload_type(payload_type).is_some_and(|c| c == *codec));
            }
            let samples = codec.samples(FRAME);
            assert!(samples.is_multiple_of(codec.grain_samples()));
            let pcm = tone::sine(440.0, 12_000, codec.sample_rate_hz(), FRAME);
            let (mut payload, mut back) = ([0; 1500], [0; 5760]);
            let bytes = codec.encoder().encode(&pcm, &mut payload);
            assert!(bytes > 0 && bytes <= 160, "{} {bytes}", codec.name());
            assert_eq!(codec.decoder().decode(&payload[..bytes], &mut back), samples, "{}", codec.name());
            // Small buffers are filled and never overrun, and hostile payload is not a panic.
            assert!(codec.encoder().encode(&pcm, &mut [0; 7]) <= 7);
            assert!(codec.decoder().decode(&[0xA5; 1500], &mut [0; 9]) <= 9);
            assert_eq!(codec.decoder().decode(&[], &mut back), 0);
            assert_eq!(codec.encoder().encode(&[], &mut payload), 0);
            assert_eq!(codec.decoder().conceal(&mut []), 0);
            assert_eq!(codec.clock_units(FRAME), codec.rtp_clock_hz() / 50);
            assert_eq!(codec.duration_of(u64::from(codec.rtp_clock_hz())), Duration::from_secs(1));
        }
    }

    #[test]
    fn silence_stays_silent_in_one_decoder() {
        for codec in ALL {
            for ms in [20, 40, 60] {
                let (mut payload, mut back) = ([0; 480], [0; 960]);
                let bytes = codec.silence(Duration::from_millis(ms), &mut payload);
                let mut decoder = codec.decoder();
                for _ in 0..100 {
                    let samples = decoder.decode(&payload[..bytes], &mut back);
                    assert_eq!(samples, codec.samples(Duration::from_millis(ms)), "{} {ms} ms", codec.name());
                    assert!(back[..samples].iter().all(|s| s.abs() <= 8), "{} silence", codec.name());
                }
            }
            assert_eq!(codec.silence(FRAME, &mut [0; 3]), 0);
        }
    }

    /// Tones in the voice band keep frequency and level through encoder and decoder, after a moment to settle.
    #[test]
    fn tones_keep_their_level() {
        for codec in ALL {
            let rate = codec.sample_rate_hz();
            let wide = [5000.0, 6500.0];
            let tones =
                [300.0, 440.0, 1000.0, 2000.0, 3000.0].into_iter().chain(wide).filter(|hz| hz * 2.2 < rate.into());
            for hz in tones {
                let pcm = tone::sine(hz, 8000, rate, Duration::from_millis(600));
                let (mut encoder, mut decoder) = (codec.encoder(), codec.decoder());
                let (mut payload, mut frame, mut heard) = ([0; 480], [0; 960], Vec::new());
                for part in pcm.chunks(codec.samples(FRAME)) {
                    let bytes = encoder.encode(part, &mut payload);
                    let samples = decoder.decode(&payload[..bytes], &mut frame);
                    heard.extend_from_slice(&frame[..samples]);
                }
                let settled = &heard[heard.len() / 3..];
                let off = 20.0 * (tone::level(settled, rate, hz) / 8000.0).log10();
                // G.711 and G.722 code the wave; the others code what an ear makes of it.
                let wave = matches!(codec.name(), "PCMA" | "PCMU" | "G722");
                assert!(off.abs() < if wave { 0.3 } else { 3.0 }, "{} {hz} Hz: {off:.2} dB", codec.name());
                if wave {
                    let rest = tone::rms(settled).powi(2) - tone::level(settled, rate, hz).powi(2) / 2.0;
                    let snr = 10.0 * (tone::rms(settled).powi(2) / rest.max(1.0)).log10();
                    assert!(snr > 20.0, "{} {hz} Hz: {snr:.1} dB above the noise", codec.name());
                }
            }
        }
    }

    #[test]
    fn parameters_are_found_by_name() {
        let fmtp = "minptime=10; UseInbandFec=1;x;=;stereo = 0 ";
        assert_eq!(parameter(fmtp, "useinbandfec"), Some("1"));
        assert_eq!(parameter(fmtp, "stereo"), Some("0"));
        assert_eq!(parameter(fmtp, "ptime"), None);
    }
}
