//! Which shard a conversation belongs to.

use std::fmt;

use ark_conversation::ConversationId;
use xxhash_rust::xxh3::xxh3_64;

/// One of the fixed parts into which all conversations fall; written `s007`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(pub u16);

impl Shard {
    /// The shard of a conversation among `count` (at least 1): `xxh3_64` of the id's text (26 characters) modulo `count`.
    ///
    /// It is computed here and not by the broker, so that it survives every restart; it is the same on every machine
    /// and in every language that has xxh3.
    #[must_use]
    pub fn of(conversation: ConversationId, count: u16) -> Self {
        let hash = xxh3_64(conversation.to_string().as_bytes());
        Self(u16::try_from(hash % u64::from(count.max(1))).unwrap_or(0))
    }

    /// Reads `s007`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('s').filter(|digits| digits.len() == 3)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok().map(Self))?
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{:03}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_everybody_computes() {
        // xxh3_64 of the empty text, from the algorithm's own test vectors.
        assert_eq!(xxh3_64(b""), 0x2d06_8005_38d3_94c2);
        let shards: Vec<String> = (0..4).map(|n| Shard::of(ConversationId::new(n, 7), 64).to_string()).collect();
        assert_eq!(shards, PINNED, "a change of the hash sends a conversation's messages to another queue");
        assert_eq!(Shard::of(ConversationId::new(1, 1), 0), Shard(0));
    }

    const PINNED: [&str; 4] = ["s037", "s049", "s058", "s026"];

    #[test]
    fn conversations_spread_over_the_shards() {
        let mut counts = [0_u32; 64];
        for n in 0..64_000 {
            counts[usize::from(Shard::of(ConversationId::new(n, u128::from(n) * 977), 64).0)] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_shards_name_is_read_back() {
        assert_eq!(Shard::parse(&Shard(7).to_string()), Some(Shard(7)));
        for bad in ["", "s7", "s0007", "x007", "s-07", "s07x"] {
            assert_eq!(Shard::parse(bad), None, "{bad}");
        }
    }
}
