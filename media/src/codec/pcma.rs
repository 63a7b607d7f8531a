//! G.711 A-law, as the ITU's reference (G.191 `alaw_compress`, `alaw_expand`) computes it.

use std::time::Duration;

use super::{Codec, Decoder, Encoder, Tables, Tuning, fill_silence};

/// PCMA: 64 kbit/s, 8 kHz, one byte a sample; static payload type 8.
#[derive(Debug)]
pub struct Pcma;

const fn compress(sample: i16) -> u8 {
    // The law sees the upper 12 bits, with one's complement for negative samples.
    let mut magnitude = if sample < 0 { (!sample) >> 4 } else { sample >> 4 };
    if magnitude > 15 {
        let mut exponent = 1;
        while magnitude > 16 + 15 {
            magnitude >>= 1;
            exponent += 1;
        }
        magnitude = magnitude - 16 + (exponent << 4);
    }
    let sign = if sample >= 0 { 0x80 } else { 0 };
    (magnitude as u8 | sign) ^ 0x55
}

const fn expand(byte: u8) -> i16 {
    let bits = byte ^ 0x55;
    let exponent = (bits >> 4) & 7;
    let mut mantissa = (bits & 15) as i16;
    if exponent > 0 {
        mantissa += 16;
    }
    mantissa = (mantissa << 4) + 8;
    if exponent > 1 {
        mantissa <<= exponent - 1;
    }
    if bits & 0x80 != 0 { mantissa } else { -mantissa }
}

static ENCODE: [u8; 4096] = {
    let mut table = [0; 4096];
    let mut i = 0;
    while i < 4096 {
        table[i] = compress(((i as u16) << 4) as i16);
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

static TABLES: Tables = Tables { encode: &ENCODE, shift: 4, decode: &DECODE };

impl Codec for Pcma {
    fn name(&self) -> &'static str {
        "PCMA"
    }
    fn payload_type(&self) -> Option<u8> {
        Some(8)
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
        fill_silence(0xD5, duration, out)
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
    fn a_law_has_the_values_of_the_recommendation() {
        // G.711 table 1a: decision values of the positive half, scaled to 16 bits (4096 -> 32768).
        for (sample, byte) in [(0, 0xD5), (8, 0xD5), (16, 0xD4), (32_767, 0xAA), (-1, 0x55), (-32_768, 0x2A)] {
            assert_eq!(compress(sample), byte, "{sample}");
        }
        for (byte, sample) in [(0xD5, 8), (0x55, -8), (0xAA, 32_256), (0x2A, -32_256), (0x80, 5504), (0x00, -5504)] {
            assert_eq!(expand(byte), sample, "{byte:#x}");
        }
    }

    #[test]
    fn every_a_law_byte_survives_decoding_and_encoding() {
        for byte in 0..=255 {
            assert_eq!(compress(expand(byte)), byte);
            assert_eq!(ENCODE[usize::from(expand(byte) as u16 >> 4)], byte);
        }
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(ENCODE[usize::from(sample as u16 >> 4)], compress(sample));
        }
    }
}
