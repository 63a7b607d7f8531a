//! Which shard a conversation belongs to.

use std::fmt;

use ark_conversation::ConversationId;

/// One of the fixed parts into which all conversations fall; written `s007`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(pub u16);

impl Shard {
    /// The shard of a conversation among `count` (at least 1): [`ConversationId::shard`].
    ///
    /// It is computed here and not by the broker, so that it survives every restart.
    #[must_use]
    pub fn of(conversation: ConversationId, count: u16) -> Self {
        Self(conversation.shard(count))
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
    fn a_shards_name_is_read_back() {
        assert_eq!(Shard::parse(&Shard(7).to_string()), Some(Shard(7)));
        for bad in ["", "s7", "s0007", "x007", "s-07", "s07x"] {
            assert_eq!(Shard::parse(bad), None, "{bad}");
        }
    }
}
