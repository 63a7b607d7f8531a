//! G.711 µ-law, as the ITU's reference (G.191 `ulaw_compress`, `ulaw_expand`) computes it.

use std::time::Duration;

use super::{Codec, Decoder, Encoder, Tables, Tuning, fill_silence};

/// PCMU: 64 kbit/s, 8 kHz, one byte a sample; static payload type 0.
#[derive(Debug)]
pub struct Pcmu;

const fn compress(sample: i16) -> u8 {
    // The law sees the upper 14 bits, with one's complement for negative samples, plus a bias of 33.
    let magnitude = (if sample < 0 { (!sample) >> 2 } else { sample >> 2 }) + 33;
    let magnitude = if magnitude > 0x1FFF { 0x1FFF } else { magnitude };
    let mut segment = 1;
    let mut rest = magnitude >> 6;
    while rest != 0 {
        segment += 1;
        rest >>= 1;
    }
    let high = 8 - segment;
    let low = 15 - ((magnitude >> segment) & 15);
    let sign = if sample >= 0 { 0x80 } else { 0 };
    ((high << 4) | low) as u8 | sign
}

const fn expand(byte: u8) -> i16 {
    let bits = !byte;
    let exponent = (bits >> 4) & 7;
    let step = 4_i32 << (exponent + 1);
    let magnitude = (0x80 << exponent) + step * (bits & 15) as i32 + step / 2 - 4 * 33;
    (if byte & 0x80 != 0 { magnitude } else { -magnitude }) as i16
}

static ENCODE: [u8; 16_384] = {
    let mut table = [0; 16_384];
    let mut i = 0;
    while i < 16_384 {
        table[i] = compress(((i as u16) << 2) as i16);
        i += 1;
    }
    table
};

static DECODE: [i16; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = expand(i as u8);
        i += 1;
    }
    table
};

static TABLES: Tables = Tables { encode: &ENCODE, shift: 2, decode: &DECODE };

impl Codec for Pcmu {
    fn name(&self) -> &'static str {
        "PCMU"
    }
    fn payload_type(&self) -> Option<u8> {
        Some(0)
    }
    fn rtp_clock_hz(&self) -> u32 {
        8000
    }
    fn sample_rate_hz(&self) -> u32 {
        8000
    }
    fn channels(&self) -> u8 {
        1
    }
    fn concatenates(&self) -> bool {
        true
    }
    fn silence(&self, duration: Duration, out: &mut [u8]) -> usize {
        fill_silence(0xFF, duration, out)
    }
    fn encoder_with(&self, _: Tuning) -> Box<dyn Encoder> {
        Box::new(TABLES)
    }
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(TABLES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mu_law_has_the_values_of_the_recommendation() {
        for (sample, byte) in [(0, 0xFF), (3, 0xFF), (4, 0xFE), (32_767, 0x80), (-1, 0x7F), (-32_768, 0x00)] {
            assert_eq!(compress(sample), byte, "{sample}");
        }
        for (byte, sample) in [(0xFF, 0), (0x7F, 0), (0x80, 32_124), (0x00, -32_124), (0xFE, 8), (0x7E, -8)] {
            assert_eq!(expand(byte), sample, "{byte:#x}");
        }
    }

    #[test]
    fn every_mu_law_byte_survives_decoding_and_encoding() {
        // 0x7F is negative zero: it decodes to 0, which encodes as positive zero.
        for byte in (0..=255).filter(|byte| *byte != 0x7F) {
            assert_eq!(compress(expand(byte)), byte);
        }
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(ENCODE[usize::from(sample as u16 >> 2)], compress(sample));
        }
    }
}
