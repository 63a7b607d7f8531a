//! What can go wrong with a bus, and what to do about it.

use crate::Shard;

/// Why the bus did not do what it was asked. Every message says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// There are as many subscribers as may be.
    #[error("the bus has {subscribers} subscribers already; close some or try again later")]
    TooManySubscribers {
        /// How many there are.
        subscribers: usize,
    },
    /// Too much waits for the broker, which does not keep up. Nothing was handed over.
    #[error("{waiting} messages wait for the broker already; try again in a moment")]
    Full {
        /// How many wait.
        waiting: usize,
    },
    /// The broker is not there, and too much waits already or the answer needs it.
    #[error("the broker is away ({detail}); {waiting} messages wait for it")]
    Away {
        /// What was tried and what became of it.
        detail: String,
        /// How many wait.
        waiting: usize,
    },
    /// The broker takes nothing for want of memory or disk, and too much waits already.
    #[error("the broker takes nothing at the moment ({reason}); free memory or disk there; {waiting} messages wait")]
    Blocked {
        /// What the broker said.
        reason: String,
        /// How many wait.
        waiting: usize,
    },
    /// A shard has as many wake-ups as may wait: its reader does not keep up.
    #[error("shard {shard} is full: its conversations are not read; the message stays in the inbox")]
    ShardFull {
        /// The shard.
        shard: Shard,
    },
    /// The broker gives nothing of a shard although messages wait in it and the reader holds none.
    #[error("{messages} messages of shard {shard} wait on the broker and none is given; the channel is made anew")]
    Stalled {
        /// The shard.
        shard: Shard,
        /// How many wait.
        messages: u32,
    },
    /// There is no such shard.
    #[error("there is no shard {shard}; this topology has {shards}")]
    NoSuchShard {
        /// The shard.
        shard: Shard,
        /// How many there are.
        shards: u16,
    },
    /// A body that no broker takes.
    #[error("a message of {bytes} bytes is too large for the bus; attachments travel by reference")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// No queue wanted a message.
    #[error(
        "no queue takes '{key}' from exchange {exchange}: the topology is damaged; start a gateway to declare it anew"
    )]
    Unroutable {
        /// Where it was published.
        exchange: String,
        /// With which key.
        key: String,
    },
    /// The broker refuses this name or password.
    #[error("{address}: the broker refuses user '{user}'; correct the name or the password of [bus] url")]
    WrongPassword {
        /// The broker.
        address: String,
        /// The user.
        user: String,
    },
    /// The virtual host is not there, or this user may not enter it.
    #[error(
        "{address}: there is no virtual host '{vhost}', or user '{user}' may not enter it; \
         run: rabbitmqctl add_vhost '{vhost}' and rabbitmqctl set_permissions"
    )]
    WrongVhost {
        /// The broker.
        address: String,
        /// The virtual host.
        vhost: String,
        /// The user.
        user: String,
    },
    /// The user may not do this.
    #[error("user '{user}' may not do this ({detail}); `ark bus plan` prints the permissions of each role")]
    NoPermission {
        /// The user.
        user: String,
        /// What the broker said.
        detail: String,
    },
    /// No broker answers at any address.
    #[error("no broker answers: {detail}; start RabbitMQ, or correct [bus] url")]
    Unreachable {
        /// Each address and what became of it.
        detail: String,
    },
    /// TLS was not agreed on.
    #[error(
        "{address}: TLS was not agreed on ({detail}); check the certificate, its name and the authority that signed it"
    )]
    Tls {
        /// The broker.
        address: String,
        /// What the library said.
        detail: String,
    },
    /// The broker serves another store: there must never be a second log.
    #[error(
        "this broker carries the log of store {theirs}, and this gateway has store {ours}; give it the same [store] url, \
         or a virtual host of its own"
    )]
    OtherStore {
        /// This gateway's store.
        ours: String,
        /// The store that the broker serves.
        theirs: String,
    },
    /// The broker has another number of shards.
    #[error(
        "this broker has topology {theirs} and this gateway asks for {ours} (version/shards); drain it and raise the \
         version, or correct [bus]"
    )]
    OtherTopology {
        /// What this gateway is told to use.
        ours: String,
        /// What stands on the broker.
        theirs: String,
    },
    /// An object stands on the broker with other arguments.
    #[error("the broker has something else under this name ({detail}); delete it when it is empty, then start again")]
    Conflict {
        /// What the broker said.
        detail: String,
    },
    /// The configuration does not fit.
    #[error("{0}")]
    Config(String),
    /// The broker said something unexpected.
    #[error("the broker did not do it: {0}")]
    Broker(String),
    /// The bus was closed.
    #[error("the bus is closed")]
    Closed,
}

impl BusError {
    /// Whether it may pass without anybody's help; the others need a person.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::TooManySubscribers { .. }
                | Self::Full { .. }
                | Self::Away { .. }
                | Self::Blocked { .. }
                | Self::ShardFull { .. }
                | Self::Unreachable { .. }
                | Self::Broker(_)
        )
    }
}
