//! Shards and their leases: which gateway owns which conversations.
//!
//! Three numbers are never mixed: an epoch is ownership of one conversation, a [`Fence`] is a gateway's lease on a
//! shard, [`Topology::version`] is the version of the shard count.

use ark_conversation::ConversationId;

use crate::error::StoreError;

/// How many shards there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Counts up with each change of `shards`.
    pub version: u32,
    /// The number of shards, 1 to [`crate::limits::SHARDS_MAX`].
    pub shards: u16,
}

impl Topology {
    /// What a new store begins with.
    pub const FIRST: Self = Self { version: 1, shards: 64 };

    /// The shard of a conversation: `xxh3_64` (seed 0) over the 26 characters of its id, modulo the number of shards.
    /// The characters and not the bytes, because they are what every client sees.
    #[must_use]
    pub fn shard(self, conversation: ConversationId) -> u16 {
        let hash = xxhash_rust::xxh3::xxh3_64(conversation.to_string().as_bytes());
        let shard = hash % u64::from(self.shards.max(1));
        u16::try_from(shard).expect("less than the number of shards, which is a u16")
    }
}

/// A gateway's lease on a shard. Its number is larger than that of every lease on the shard before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The shard.
    pub shard: u16,
    /// The gateway that holds it.
    pub gateway: String,
    /// 1, 2, 3 ... with each lease on the shard.
    pub number: u64,
}

/// A lease as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The shard.
    pub shard: u16,
    /// Who holds it; none when it was released.
    pub gateway: Option<String>,
    /// The number of the last lease.
    pub number: u64,
    /// How long it lasts from now, in milliseconds of the database's clock; 0 when it has run out.
    pub left_ms: u64,
}

/// One process of a gateway that says that it is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attendance {
    /// The gateway's id, unique in a site.
    pub gateway: String,
    /// Where it lives: what one installation keeps over restarts, and no other has. A process that comes to the same place
    /// replaces the one before it at once; at another place it waits until that one's time has run out.
    pub place: String,
    /// Which process it is: another one after each start.
    pub process: String,
}

impl Attendance {
    /// The refusal of one whose id another place has.
    pub(crate) fn taken(&self, all: &[Presence]) -> StoreError {
        let left_ms = all.iter().find(|other| other.gateway == self.gateway).map_or(0, |other| other.left_ms);
        StoreError::Taken { gateway: self.gateway.clone(), left_ms }
    }
}

/// A gateway as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The gateway's id.
    pub gateway: String,
    /// Its last process.
    pub process: String,
    /// How long it counts as here from now, in milliseconds of the database's clock; 0 when it has run out or has left.
    pub left_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_a_conversation_is_the_same_for_ever() {
        // Computed once with the reference implementation of XXH3: a change here loses every conversation's owner.
        let id: ConversationId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        assert_eq!(xxhash_rust::xxh3::xxh3_64(b""), 0x2d06_8005_38d3_94c2, "the reference vector of the empty input");
        let shard = Topology::FIRST.shard(id);
        assert_eq!(shard, Topology { version: 9, ..Topology::FIRST }.shard(id));
        let counts = (0..64_000_u64).fold([0_u32; 64], |mut counts, n| {
            counts[usize::from(Topology::FIRST.shard(ConversationId::new(n, u128::from(n) * 7_919)))] += 1;
            counts
        });
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
