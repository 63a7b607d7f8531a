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

    /// The shard of a conversation: [`ConversationId::shard`].
    #[must_use]
    pub fn shard(self, conversation: ConversationId) -> u16 {
        conversation.shard(self.shards)
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
