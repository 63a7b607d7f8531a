//! Recordings as Ogg/Opus (RFC 3533, RFC 7845): a mono stream of Opus for each channel, so that no voice leaks into
//! another's, in channel mapping family 1, which every player knows.
//!
//! What is written stays playable: each page is whole in itself, and a crash loses the page that was being written.
//! [`mend`] gives such a file its proper end.

use std::time::Duration;

use super::RATE_HZ;
use crate::codec::{Codec as _, Encoder, Opus, Tuning};
use crate::resample::Resampler;

/// Samples of a frame of 20 ms, at [`RATE_HZ`].
const FRAME: usize = RATE_HZ as usize / 50;
/// The same, at Opus's clock for pages.
const FRAME_UNITS: u64 = 960;
/// Samples of a frame at the encoder's rate: 16 kHz.
const WIDE_FRAME: usize = 2 * FRAME;
/// What the encoder puts before the first sample, in units of 48 kHz (RFC 7845 4.2): 6.5 ms.
const PRE_SKIP: u16 = 312;
/// Bits per second of each channel in which somebody speaks.
const BITRATE_BPS: u32 = 16_000;
/// Bytes of the longest packet of one channel.
const PACKET_BYTES_MAX: usize = 400;
/// Frames on one page at most: what a crash loses of a file.
const PAGE_FRAMES: usize = 12;
/// Bytes of a page's header without its table.
const PAGE_HEADER_BYTES: usize = 27;
/// Bytes of the longest page that there can be (RFC 3533 6).
pub const PAGE_BYTES_MAX: usize = PAGE_HEADER_BYTES + 255 + 255 * 255;
const FIRST: u8 = 2;
const LAST: u8 = 4;

struct Channel {
    resampler: Resampler,
    encoder: Box<dyn Encoder>,
    /// The last frame was digital silence; the encoder has heard it, so that it ends softly.
    quiet: bool,
}

/// One file. Encoding is dear: not for a media thread.
pub struct Writer {
    serial: u32,
    page: u32,
    /// Opus's samples so far, at 48 kHz.
    granule: u64,
    channels: Vec<Channel>,
    /// Interleaved samples that do not fill a frame yet.
    waiting: Vec<i16>,
    /// Packets of the page that is being filled: their bytes, and the length of each.
    body: Vec<u8>,
    lengths: Vec<usize>,
    silence: Vec<u8>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({} channels, {} pages)", self.channels.len(), self.page)
    }
}

impl Writer {
    /// A file of so many channels (1 to 8); its two header pages are appended to `out`. `serial` tells streams apart.
    pub fn new(channels: usize, serial: u32, out: &mut Vec<u8>) -> Self {
        let channel = || {
            let resampler = Resampler::new(RATE_HZ, Opus.sample_rate_hz()).expect("both are rates of telephony");
            let tuning = Tuning { in_band_fec: false, bitrate_bps_max: Some(BITRATE_BPS) };
            Channel { resampler, encoder: Opus.encoder_with(tuning), quiet: true }
        };
        let mut silence = vec![0; PACKET_BYTES_MAX];
        let bytes = Opus.silence(Duration::from_millis(20), &mut silence);
        silence.truncate(bytes);
        let channels: Vec<Channel> = (0..channels.clamp(1, 8)).map(|_| channel()).collect();
        let count = channels.len() as u8;
        let mut writer = Self {
            serial,
            page: 0,
            granule: 0,
            channels,
            waiting: Vec::new(),
            body: Vec::new(),
            lengths: Vec::new(),
            silence,
        };
        let mut head = b"OpusHead\x01".to_vec();
        head.push(count);
        head.extend(PRE_SKIP.to_le_bytes());
        head.extend(RATE_HZ.to_le_bytes());
        // No gain; family 1: so many streams, none of them in stereo, each its own channel.
        head.extend([0, 0, 1, count, 0]);
        head.extend(0..count);
        writer.packet(&head);
        writer.write_page(FIRST, 0, out);
        let mut tags = b"OpusTags".to_vec();
        // Who made it, and no comments.
        tags.extend(3_u32.to_le_bytes());
        tags.extend(b"ark");
        tags.extend(0_u32.to_le_bytes());
        writer.packet(&tags);
        writer.write_page(0, 0, out);
        writer
    }

    /// Takes interleaved samples at [`RATE_HZ`]; whole pages are appended to `out`.
    pub fn push(&mut self, interleaved: &[i16], out: &mut Vec<u8>) {
        self.waiting.extend_from_slice(interleaved);
        let frame = FRAME * self.channels.len();
        let waiting = std::mem::take(&mut self.waiting);
        let mut frames = waiting.chunks_exact(frame);
        for frame in &mut frames {
            self.encode(frame);
            if self.lengths.len() == PAGE_FRAMES {
                self.write_page(0, self.granule, out);
            }
        }
        let rest = frames.remainder();
        self.waiting = waiting[waiting.len() - rest.len()..].to_vec();
    }

    /// The end: what waits is filled up with silence, which players cut off again.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let channels = self.channels.len();
        let real = self.granule + (self.waiting.len() / channels) as u64 * FRAME_UNITS / FRAME as u64;
        // What the encoder still holds back needs a frame of its own, too.
        for _ in 0..2 {
            let missing = FRAME * channels - self.waiting.len();
            self.waiting.extend(std::iter::repeat_n(0, missing));
            let frame = std::mem::take(&mut self.waiting);
            self.encode(&frame);
        }
        self.write_page(LAST, real + u64::from(PRE_SKIP), out);
        self.granule = real;
    }

    /// How much audio is in it.
    pub fn duration(&self) -> Duration {
        let waiting = (self.waiting.len() / self.channels.len()) as u64;
        Duration::from_micros(self.granule * 1000 / 48 + waiting * 1_000_000 / u64::from(RATE_HZ))
    }

    /// 20 ms of all channels as one packet: every stream but the last is told with its length (RFC 6716 appendix B).
    fn encode(&mut self, interleaved: &[i16]) {
        let count = self.channels.len();
        let (mut narrow, mut wide, mut made) = ([0; FRAME], [0; WIDE_FRAME], [0; PACKET_BYTES_MAX]);
        let before = self.body.len();
        for (at, channel) in self.channels.iter_mut().enumerate() {
            for (sample, instant) in narrow.iter_mut().zip(interleaved.chunks_exact(count)) {
                *sample = instant[at];
            }
            let quiet = narrow.iter().all(|sample| *sample == 0);
            // Somebody who is not there costs nothing.
            let packet = if quiet && channel.quiet {
                &self.silence[..]
            } else {
                let samples = channel.resampler.process(&narrow, &mut wide);
                match channel.encoder.encode(&wide[..samples], &mut made) {
                    0 => &self.silence[..],
                    bytes => &made[..bytes],
                }
            };
            channel.quiet = quiet;
            let (toc, frame) = packet.split_first().unwrap_or((&0x48, &[]));
            self.body.push(*toc);
            if at + 1 < count {
                // The encoder makes one frame a packet (code 0), of less than a page's line.
                match frame.len() {
                    length @ 0..252 => self.body.push(length as u8),
                    length => self.body.extend([252 + (length & 3) as u8, ((length - 252 - (length & 3)) / 4) as u8]),
                }
            }
            self.body.extend_from_slice(frame);
        }
        self.lengths.push(self.body.len() - before);
        self.granule += FRAME_UNITS;
    }

    fn packet(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(bytes);
        self.lengths.push(bytes.len());
    }

    fn write_page(&mut self, flags: u8, granule: u64, out: &mut Vec<u8>) {
        let first = out.len();
        out.extend_from_slice(b"OggS\0");
        out.push(flags);
        out.extend(granule.to_le_bytes());
        out.extend(self.serial.to_le_bytes());
        out.extend(self.page.to_le_bytes());
        out.extend([0; 4]);
        let table: usize = self.lengths.iter().map(|length| length / 255 + 1).sum();
        out.push(table as u8);
        for length in self.lengths.drain(..) {
            out.extend(std::iter::repeat_n(255, length / 255));
            out.push((length % 255) as u8);
        }
        out.append(&mut self.body);
        self.page += 1;
        seal(&mut out[first..]);
    }
}

/// Writes a page's checksum into it.
fn seal(page: &mut [u8]) {
    page[22..26].fill(0);
    let sum = checksum(page);
    page[22..26].copy_from_slice(&sum.to_le_bytes());
}

/// The checksum of a page whose own field is zero (RFC 3533 6: generator 0x04C11DB7, not reflected, from 0).
fn checksum(page: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0_u32; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut sum = (byte as u32) << 24;
            let mut bit = 0;
            while bit < 8 {
                sum = if sum & 0x8000_0000 == 0 { sum << 1 } else { (sum << 1) ^ 0x04C1_1DB7 };
                bit += 1;
            }
            table[byte] = sum;
            byte += 1;
        }
        table
    };
    page.iter().fold(0, |sum, byte| (sum << 8) ^ TABLE[usize::from((sum >> 24) as u8 ^ *byte)])
}

/// The length of the page that `bytes` begin with, if it is whole and unbroken.
fn page(bytes: &[u8]) -> Option<usize> {
    if !bytes.starts_with(b"OggS\0") {
        return None;
    }
    let table = usize::from(*bytes.get(26)?);
    let body: usize = bytes.get(PAGE_HEADER_BYTES..PAGE_HEADER_BYTES + table)?.iter().map(|l| usize::from(*l)).sum();
    let whole = bytes.get(..PAGE_HEADER_BYTES + table + body)?;
    let mut zeroed = whole.to_vec();
    zeroed[22..26].fill(0);
    (checksum(&zeroed).to_le_bytes() == whole[22..26]).then_some(whole.len())
}

/// The end of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// How much audio is in the file up to its last whole page.
    pub duration: Duration,
    /// How many bytes of the tail are whole pages.
    pub whole: usize,
    /// `Some`: the file has no proper end. Its last whole page, which begins at this place of the tail, is to be this one
    /// instead, and what follows `whole` to be cut off.
    pub mend: Option<(usize, Vec<u8>)>,
}

/// Looks at the last bytes of a recording, [`PAGE_BYTES_MAX`] twice or all there is. `None`: there is no whole page of
/// a recording in them.
pub fn end(tail: &[u8]) -> Option<End> {
    let mut at = 0;
    let mut last = None;
    while let Some(rest) = tail.get(at..).filter(|rest| !rest.is_empty()) {
        match page(rest) {
            Some(length) => {
                last = Some((at, length));
                at += length;
            }
            None => at += 1,
        }
    }
    let (begin, length) = last?;
    let page = &tail[begin..begin + length];
    let granule = u64::from_le_bytes(page[6..14].try_into().ok()?);
    let proper = page[5] & LAST != 0 && begin + length == tail.len();
    let mend = (!proper).then(|| {
        let mut page = page.to_vec();
        page[5] |= LAST;
        seal(&mut page);
        (begin, page)
    });
    let skipped = if proper { u64::from(PRE_SKIP) } else { 0 };
    let duration = Duration::from_micros(granule.saturating_sub(skipped) * 1000 / 48);
    Some(End { duration, whole: begin + length, mend })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    /// A file of one tone in each channel.
    fn file(tones: &[f64], seconds: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(tones.len(), 7, &mut out);
        let pcm: Vec<Vec<i16>> =
            tones.iter().map(|hz| tone::sine(*hz, 9000, RATE_HZ, Duration::from_secs(seconds))).collect();
        let interleaved: Vec<i16> = (0..pcm[0].len()).flat_map(|at| pcm.iter().map(move |c| c[at])).collect();
        for block in interleaved.chunks(1000 * tones.len()) {
            writer.push(block, &mut out);
        }
        assert_eq!(writer.duration(), Duration::from_secs(seconds));
        writer.finish(&mut out);
        assert_eq!(writer.duration(), Duration::from_secs(seconds));
        out
    }

    /// The pages' packets, and the position that the last page tells.
    fn packets(file: &[u8]) -> (Vec<Vec<u8>>, u64) {
        let (mut at, mut packets, mut granule, mut number) = (0, Vec::new(), 0, 0_u32);
        while at < file.len() {
            let length = page(&file[at..]).expect("a whole page");
            let table = usize::from(file[at + 26]);
            assert_eq!(file[at + 18..at + 22], number.to_le_bytes());
            number += 1;
            granule = u64::from_le_bytes(file[at + 6..at + 14].try_into().unwrap());
            let mut body = at + PAGE_HEADER_BYTES + table;
            let mut packet = Vec::new();
            for lace in &file[at + PAGE_HEADER_BYTES..at + PAGE_HEADER_BYTES + table] {
                packet.extend_from_slice(&file[body..body + usize::from(*lace)]);
                body += usize::from(*lace);
                if *lace < 255 {
                    packets.push(std::mem::take(&mut packet));
                }
            }
            at += length;
        }
        (packets, granule)
    }

    /// What each channel of a file sounds like, at 16 kHz.
    fn decoded(file: &[u8], channels: usize) -> Vec<Vec<i16>> {
        let mut decoders: Vec<_> = (0..channels).map(|_| Opus.decoder()).collect();
        let mut heard = vec![Vec::new(); channels];
        for packet in packets(file).0.iter().skip(2) {
            let mut rest = &packet[..];
            for (at, (decoder, heard)) in decoders.iter_mut().zip(&mut heard).enumerate() {
                let mut own = vec![rest[0]];
                assert_eq!(rest[0] & 3, 0, "one frame a packet");
                if at + 1 == channels {
                    own.extend_from_slice(&rest[1..]);
                } else {
                    let length = usize::from(rest[1]);
                    assert!(length < 252);
                    own.extend_from_slice(&rest[2..2 + length]);
                    rest = &rest[2 + length..];
                }
                let mut pcm = [0; WIDE_FRAME];
                assert_eq!(decoder.decode(&own, &mut pcm), WIDE_FRAME);
                heard.extend_from_slice(&pcm);
            }
        }
        heard
    }

    #[test]
    fn each_channel_has_its_own_tone_and_no_other() {
        let tones = [500.0, 800.0, 1100.0, 1700.0];
        let bytes = file(&tones, 3);
        let heard = decoded(&bytes, 4);
        for (channel, pcm) in heard.iter().enumerate() {
            for (other, hz) in tones.iter().enumerate() {
                let level = tone::level(&pcm[8000..40_000], 16_000, *hz);
                if channel == other {
                    assert!((6000.0..12_000.0).contains(&level), "{channel}: {level}");
                } else {
                    assert!(level < 200.0, "{channel} hears {other}: {level}");
                }
            }
        }
        assert_eq!(packets(&bytes).1, 3 * 48_000 + u64::from(PRE_SKIP));
        assert!(bytes.len() < 4 * 3 * 2_500, "{} bytes", bytes.len());
    }

    #[test]
    fn a_file_cut_anywhere_has_a_proper_end_after_it_is_mended() {
        let whole = file(&[500.0, 800.0], 2);
        let good = end(&whole).unwrap();
        assert_eq!((good.mend, good.duration, good.whole), (None, Duration::from_secs(2), whole.len()));
        for cut in (200..whole.len()).step_by(97) {
            let mut torn = whole[..cut].to_vec();
            let found = end(&torn).expect("its first pages are whole");
            let (at, page) = found.mend.expect("it has no end");
            torn.truncate(found.whole);
            torn[at..at + page.len()].copy_from_slice(&page);
            let again = end(&torn).unwrap();
            assert_eq!((again.mend, again.whole), (None, torn.len()));
            let lost = Duration::from_secs(2).saturating_sub(found.duration);
            assert!(
                lost.as_millis() as usize <= 240 + 2000 * (whole.len() - cut) / whole.len() + 60,
                "{cut}: {lost:?}"
            );
        }
        assert_eq!(end(b"OggS"), None);
        assert_eq!(end(&[0; 1000]), None);
    }

    #[test]
    fn who_is_silent_costs_little() {
        let mut out = Vec::new();
        let mut writer = Writer::new(4, 1, &mut out);
        let pcm = tone::sine(500.0, 9000, RATE_HZ, Duration::from_secs(2));
        let interleaved: Vec<i16> = pcm.iter().flat_map(|sample| [*sample, 0, 0, 0]).collect();
        writer.push(&interleaved, &mut out);
        writer.finish(&mut out);
        let heard = decoded(&out, 4);
        assert!(heard[1..].iter().flatten().all(|sample| sample.abs() < 8));
        assert!(tone::level(&heard[0][8000..], 16_000, 500.0) > 5000.0);
        assert!(out.len() < 2 * (2_500 + 3 * 500), "{}", out.len());
    }
}
