//! One file for each parser.

mod ark;
mod rsip;
mod rsipstack;

/// A parser under test.
pub struct Reader {
    pub name: &'static str,
    pub read: fn(&[u8]) -> Reading,
}

/// Ours first: the others are measured against it.
pub static READERS: &[Reader] = &[
    Reader { name: "ark-sip", read: ark::read },
    Reader { name: "ark-sip + whole SDP", read: ark::read_with_sdp },
    Reader { name: "rsipstack 0.7 typed", read: rsipstack::read },
    Reader { name: "rsip 0.4 typed", read: rsip::read },
];

/// What all of them have to agree on: the ten values and the media lines. Text as a hash, so that nobody pays for a
/// copy that only this comparison needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reading {
    /// The status, or a hash of the method.
    pub start: u64,
    pub vias: usize,
    pub top_branch: u64,
    pub from_tag: u64,
    pub to_tag: u64,
    pub call_id: u64,
    pub cseq: u32,
    pub cseq_method: u64,
    pub contacts: usize,
    pub body_bytes: usize,
    pub media_lines: usize,
    pub first_media_port: u16,
}

/// The length, the first and the last eight bytes of the text: enough to compare readers by, and as good as free, so that
/// it does not hide the differences between them. 0 for none.
pub fn hash(text: Option<&[u8]>) -> u64 {
    let Some(text) = text else { return 0 };
    let first = text.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let last = text.last_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let short = if text.len() < 8 { text.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)) } else { 0 };
    first.rotate_left(17) ^ last ^ short ^ (text.len() as u64) << 56
}

/// The media lines by hand, without an allocation: neither peer reads SDP, and this is the least it can cost them.
pub fn media_lines(body: &[u8]) -> (usize, u16) {
    let mut lines = 0;
    let mut first_port = 0;
    for line in body.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"m=")) {
        if lines == 0 {
            let port = line.split(|byte| *byte == b' ').nth(1);
            first_port = port.and_then(|port| std::str::from_utf8(port).ok()?.parse().ok()).unwrap_or(0);
        }
        lines += 1;
    }
    (lines, first_port)
}
