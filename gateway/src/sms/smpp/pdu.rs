//! The bytes of SMPP 3.4: the few operations that a sender of messages needs.

use std::fmt;

/// `command_id`s (SMPP 3.4, 5.1.2.1).
pub(super) mod command {
    pub(crate) const GENERIC_NACK: u32 = 0x8000_0000;
    pub(crate) const SUBMIT_SM: u32 = 0x0000_0004;
    pub(crate) const DELIVER_SM: u32 = 0x0000_0005;
    pub(crate) const UNBIND: u32 = 0x0000_0006;
    pub(crate) const BIND_TRANSCEIVER: u32 = 0x0000_0009;
    pub(crate) const ENQUIRE_LINK: u32 = 0x0000_0015;
    /// Added to a request's id: its answer.
    pub(crate) const RESPONSE: u32 = 0x8000_0000;
}

/// `command_status` (5.1.3): all is well.
pub(super) const ESME_ROK: u32 = 0x00;
/// The centre's queue is full.
pub(super) const ESME_RMSGQFUL: u32 = 0x14;
/// Too many messages a second.
pub(super) const ESME_RTHROTTLED: u32 = 0x58;
/// The command is not known.
pub(super) const ESME_RINVCMDID: u32 = 0x03;

/// Largest PDU that is read: a message and its optional parameters are far below it.
pub(super) const PDU_BYTES_MAX: usize = 64 * 1024;
/// A header.
pub(super) const HEAD_BYTES: usize = 16;

/// A PDU: its header, and the body as it came.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pdu {
    pub(super) id: u32,
    pub(super) status: u32,
    pub(super) sequence: u32,
    pub(super) body: Vec<u8>,
}

impl fmt::Debug for Pdu {
    /// Without what it says: passwords, numbers, words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, status, sequence, body } = self;
        write!(f, "{id:#010x} status {status:#x} sequence {sequence} ({} bytes)", body.len())
    }
}

impl Pdu {
    pub(super) fn new(id: u32, sequence: u32, body: Vec<u8>) -> Self {
        Self { id, status: ESME_ROK, sequence, body }
    }

    /// The answer to a request.
    pub(super) fn answer(&self, status: u32, body: Vec<u8>) -> Self {
        Self { id: self.id | command::RESPONSE, status, sequence: self.sequence, body }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(HEAD_BYTES + self.body.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.body.len());
        for word in [length, self.id, self.status, self.sequence] {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Reads a header: the PDU without its body, and the body's length.
    ///
    /// # Errors
    /// A sentence: the length cannot be.
    pub(super) fn head(bytes: &[u8; HEAD_BYTES]) -> Result<(Self, usize), String> {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let length = word(0) as usize;
        if !(HEAD_BYTES..=PDU_BYTES_MAX).contains(&length) {
            return Err(format!("a message of {length} bytes is none of SMPP"));
        }
        let pdu = Self { id: word(4), status: word(8), sequence: word(12), body: Vec::new() };
        Ok((pdu, length - HEAD_BYTES))
    }

    /// The message's id in the answer to a `submit_sm`; empty when there is none.
    pub(super) fn message_id(&self) -> String {
        let end = self.body.iter().position(|b| *b == 0).unwrap_or(self.body.len());
        String::from_utf8_lossy(self.body.get(..end).unwrap_or_default()).into_owned()
    }
}

/// Who binds.
pub(super) struct Bind<'a> {
    pub(super) system_id: &'a str,
    pub(super) password: &'a str,
    pub(super) system_type: &'a str,
}

impl Bind<'_> {
    /// The body of a `bind_transceiver` (4.1.5).
    pub(super) fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        c_string(&mut body, self.system_id, 15);
        c_string(&mut body, self.password, 8);
        c_string(&mut body, self.system_type, 12);
        // interface_version 3.4, and no range of addresses.
        body.extend_from_slice(&[0x34, 0, 0, 0]);
        body
    }
}

/// A message or a part of one.
pub(super) struct Submit<'a> {
    pub(super) from: &'a str,
    /// With `+`.
    pub(super) to: &'a str,
    /// Whether it begins with a user data header (3GPP TS 23.040).
    pub(super) with_header: bool,
    pub(super) data_coding: u8,
    pub(super) message: &'a [u8],
}

impl Submit<'_> {
    /// The body of a `submit_sm` (4.4.1).
    pub(super) fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        c_string(&mut body, "", 5);
        let (ton, npi) = kind_of(self.from);
        body.extend_from_slice(&[ton, npi]);
        c_string(&mut body, self.from.trim_start_matches('+'), 20);
        body.extend_from_slice(&[1, 1]);
        c_string(&mut body, self.to.trim_start_matches('+'), 20);
        let esm_class = if self.with_header { 0x40 } else { 0 };
        body.extend_from_slice(&[esm_class, 0, 0]);
        c_string(&mut body, "", 16);
        c_string(&mut body, "", 16);
        // A receipt is asked for; the rest is as the centre thinks.
        let length = u8::try_from(self.message.len()).unwrap_or(u8::MAX);
        body.extend_from_slice(&[1, 0, self.data_coding, 0, length]);
        body.extend_from_slice(self.message.get(..usize::from(length)).unwrap_or_default());
        body
    }
}

/// Type of number and numbering plan of a sender (5.2.5, 5.2.6).
fn kind_of(from: &str) -> (u8, u8) {
    let digits = from.trim_start_matches('+');
    if digits.is_empty() {
        (0, 0)
    } else if !digits.bytes().all(|b| b.is_ascii_digit()) {
        (5, 0)
    } else if from.starts_with('+') {
        (1, 1)
    } else {
        (0, 1)
    }
}

/// Text that ends with a zero, cut to what its field takes.
fn c_string(body: &mut Vec<u8>, text: &str, most: usize) {
    body.extend(text.bytes().filter(|b| b.is_ascii() && *b != 0).take(most));
    body.push(0);
}

/// What a delivery receipt says (appendix B).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) id: String,
    /// `DELIVRD`, `UNDELIV`, `EXPIRED`, `REJECTD` ...
    pub(super) state: String,
    pub(super) error: String,
}

/// Reads the receipt in a `deliver_sm`; none: it is a message of a person, or nothing that can be read.
pub(super) fn receipt(body: &[u8]) -> Option<Receipt> {
    let mut rest = body;
    let skip_text = |rest: &mut &[u8]| -> Option<()> {
        let end = rest.iter().position(|b| *b == 0)?;
        *rest = rest.get(end + 1..)?;
        Some(())
    };
    let take = |rest: &mut &[u8], count: usize| -> Option<Vec<u8>> {
        let taken = rest.get(..count)?.to_vec();
        *rest = rest.get(count..)?;
        Some(taken)
    };
    skip_text(&mut rest)?;
    for _ in 0..2 {
        take(&mut rest, 2)?;
        skip_text(&mut rest)?;
    }
    let esm_class = *take(&mut rest, 3)?.first()?;
    skip_text(&mut rest)?;
    skip_text(&mut rest)?;
    let length = usize::from(*take(&mut rest, 5)?.get(4)?);
    let text = String::from_utf8_lossy(rest.get(..length)?).into_owned();
    if esm_class & 0x3c != 0x04 {
        return None;
    }
    let field = |name: &str| {
        let at = text.find(name)? + name.len();
        text.get(at..)?.split_whitespace().next().map(str::to_owned)
    };
    Some(Receipt { id: field("id:")?, state: field("stat:")?, error: field("err:").unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    #[test]
    fn a_submission_is_laid_out_as_the_standard_says() {
        let submit = Submit { from: "ARK", to: "+8613800001212", with_header: false, data_coding: 0, message: b"hi" };
        let bytes = Pdu::new(command::SUBMIT_SM, 7, submit.body()).encode();
        let expected: &[u8] = b"\0\0\0\x33\0\0\0\x04\0\0\0\0\0\0\0\x07\
            \0\x05\0ARK\0\x01\x018613800001212\0\0\0\0\0\0\x01\0\0\0\x02hi";
        assert_eq!(bytes, expected, "{bytes:?}");
        let bind = Bind { system_id: "ark", password: "much-too-long", system_type: "" }.body();
        assert_eq!(bind, b"ark\0much-too\0\0\x34\0\0\0");
    }

    fn delivered(esm_class: u8, text: &str) -> Vec<u8> {
        let mut body = b"\0\x01\x018613800001212\0\x05\0ARK\0".to_vec();
        body.extend_from_slice(&[esm_class, 0, 0, 0, 0, 0, 0, 0, 0]);
        body.push(u8::try_from(text.len()).unwrap());
        body.extend_from_slice(text.as_bytes());
        body
    }

    #[test]
    fn receipts_are_told_from_messages() {
        let text = "id:4F2A sub:001 dlvrd:001 submit date:2611271030 done date:2611271031 stat:DELIVRD err:000 text:hi";
        let read = receipt(&delivered(0x04, text)).unwrap();
        assert_eq!((read.id.as_str(), read.state.as_str(), read.error.as_str()), ("4F2A", "DELIVRD", "000"));
        assert_eq!(receipt(&delivered(0, text)), None, "somebody wrote it");
        assert_eq!(receipt(&delivered(0x04, "hello")), None);
    }

    /// Whatever a centre sends: nothing panics, and what was read is what is written.
    #[test]
    fn anything_can_be_read() {
        for seed in 0..5_000 {
            let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let length = random.random_range(0..200);
            let mut bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
            let mut near = delivered(0x04, "id:4F2A stat:DELIVRD err:000");
            if let Some(at) = near.get_mut(random.random_range(0..60)) {
                *at = random.random();
            }
            let _ = (receipt(&bytes), receipt(&near), receipt(&near[..random.random_range(0..near.len())]));
            if let Some(length) = bytes.get_mut(..3) {
                length.fill(0);
            }
            if let Some(head) = bytes.first_chunk::<HEAD_BYTES>()
                && let Ok((mut pdu, length)) = Pdu::head(head)
            {
                pdu.body = vec![0; length];
                assert_eq!(&pdu.encode()[..HEAD_BYTES], &head[..], "seed {seed}");
                let _ = pdu.message_id();
            }
        }
    }
}
