//! What stands on the broker, as data: exchanges, queues, bindings and users. `plan` prints it, `rabbitmq` declares it.
//!
//! One definition for RabbitMQ 3.10 to 4.x; run on 3.10.8 only, not run on 4.x. [`check`] refuses what 4.x drops.

mod check;
mod plan;
mod roles;

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::Shard;
use crate::limits::{
    DELIVERY_LIMIT, GATEWAY_COMMAND_TTL, GATEWAY_QUEUE_RECORDS, HISTORY_BYTES_MAX, LIVE_QUEUE_MESSAGES, LIVE_TTL,
    NAME_BYTES_MAX, NAMES_MAX, PEEKS_MAX, SHARD_QUEUE_MESSAGES, SHARDS_MAX, STREAM_SEGMENT_BYTES, WORK_QUEUE_MESSAGES,
};

pub use check::{Breach, check};
pub use roles::{Permissions, Role};

/// Pauses of the retry ladder, in milliseconds.
pub const RETRY_MS: [u32; 3] = [1_000, 10_000, 60_000];
/// Priority classes of work for people: 0 is the most urgent.
pub const PRIORITIES: u8 = 4;
/// Where parked messages lie.
pub const DEAD: &str = "ark.dead";
/// Where messages lie that no queue wanted; must stay empty.
pub const UNROUTED: &str = "ark.unrouted";
/// The exchange of committed records.
pub const EVENTS: &str = "ark.evt";
/// The stream of all committed records, for analytics; not the record.
pub const HISTORY: &str = "ark.evt.hist";
/// The exchange and the queue into which adapters publish.
pub const INBOUND: &str = "ark.in";
/// The exchange of deliveries to adapters.
pub const OUTBOUND: &str = "ark.out";
/// The exchange of directed commands to gateways.
pub const GATEWAYS: &str = "ark.gw";
/// The exchange of live events, from every gateway to every gateway; nothing of it is kept.
pub const LIVE: &str = "ark.live";
/// The stream that holds the identity of the store that this broker serves.
pub const IDENTITY: &str = "ark.identity";

/// Where what was given up is published.
pub(crate) const DEAD_LETTERS: &str = "ark.dlx";
const WORK: &str = "ark.acd";

/// What a site's topology is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyConfig {
    /// Version of the shard count, from 1: another count is another version, and the old one is drained first.
    pub topology: u16,
    /// Shards, 1 to 1000.
    pub shards: u16,
    /// Adapters that take deliveries from the broker.
    pub adapters: Vec<String>,
    /// Skills that people are found by.
    pub skills: Vec<String>,
}

impl Default for TopologyConfig {
    fn default() -> Self {
        Self { topology: 1, shards: 64, adapters: Vec::new(), skills: Vec::new() }
    }
}

/// Why a topology is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// The number of shards.
    #[error("a topology has 1 to {SHARDS_MAX} shards; this one has {0}")]
    Shards(u16),
    /// The version.
    #[error("a topology's version counts from 1")]
    Version,
    /// Too many names.
    #[error("a topology has at most {NAMES_MAX} {what}; this one has {count}")]
    TooMany {
        /// `adapters` or `skills`.
        what: &'static str,
        /// How many.
        count: usize,
    },
    /// A name that does not fit.
    #[error(
        "'{0}' does not fit as the name of a gateway, an adapter or a skill: 1 to {NAME_BYTES_MAX} of a-z A-Z 0-9 - _"
    )]
    Name(String),
    /// The same name twice.
    #[error("'{0}' is named twice")]
    Twice(String),
}

/// Checks the name of a gateway, an adapter or a skill.
///
/// # Errors
/// [`TopologyError::Name`] unless it is 1 to 64 of `a-z A-Z 0-9 - _`: a dot would cut a routing key.
pub fn check_name(name: &str) -> Result<(), TopologyError> {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if fits { Ok(()) } else { Err(TopologyError::Name(name.to_owned())) }
}

/// How an exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExchangeKind {
    /// By the whole key.
    Direct,
    /// By a pattern of the key's words.
    Topic,
    /// To every queue.
    Fanout,
}

impl fmt::Display for ExchangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Topic => "topic",
            Self::Fanout => "fanout",
        })
    }
}

/// An exchange; all are durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// How it routes.
    pub kind: ExchangeKind,
    /// Where messages go that no binding takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternate: Option<String>,
    /// What it is for.
    pub purpose: &'static str,
}

/// How a queue keeps its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    /// Replicated by a majority; durable.
    Quorum,
    /// An append-only file, read without consuming; durable.
    Stream,
    /// In one node, for one connection, gone with it.
    Exclusive,
}

impl fmt::Display for QueueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quorum => "quorum",
            Self::Stream => "stream",
            Self::Exclusive => "exclusive",
        })
    }
}

/// The value of a queue's argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Argument {
    /// A flag.
    Flag(bool),
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// How it keeps messages.
    pub kind: QueueKind,
    /// Its `x-` arguments, in the order in which `plan` prints them.
    pub arguments: Vec<(&'static str, Argument)>,
    /// What it is for.
    pub purpose: &'static str,
}

/// A queue's place behind an exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Binding {
    /// From.
    pub exchange: String,
    /// To.
    pub queue: String,
    /// For messages with this key or pattern; empty: all of them.
    pub key: String,
}

/// Everything that stands on the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Topology {
    /// Version of the shard count.
    pub topology: u16,
    /// Shards.
    pub shards: u16,
    /// In the order in which they are declared.
    pub exchanges: Vec<Exchange>,
    /// In the order in which they are declared.
    pub queues: Vec<Queue>,
    /// In the order in which they are declared.
    pub bindings: Vec<Binding>,
}

fn text(text: impl Into<String>) -> Argument {
    Argument::Text(text.into())
}

fn number(number: impl Into<u64>) -> Argument {
    Argument::Number(number.into())
}

/// What every quorum queue has: limits that are the same on all versions, nothing dropped silently.
fn quorum(name: String, max: u32, delivery_limit: u32, purpose: &'static str) -> Queue {
    let arguments = vec![
        ("x-queue-type", text("quorum")),
        ("x-quorum-initial-group-size", number(3_u32)),
        ("x-delivery-limit", number(delivery_limit)),
        ("x-max-length", number(max)),
        ("x-overflow", text("reject-publish")),
    ];
    Queue { name, kind: QueueKind::Quorum, arguments, purpose }
}

impl Queue {
    /// Dead letters of this queue are kept by a majority before the queue lets go of them.
    fn with_dead_letters(mut self, key: Option<String>) -> Self {
        self.arguments.push(("x-dead-letter-exchange", text(DEAD_LETTERS)));
        self.arguments.push(("x-dead-letter-strategy", text("at-least-once")));
        if let Some(key) = key {
            self.arguments.push(("x-dead-letter-routing-key", text(key)));
        }
        self
    }

    fn with(mut self, name: &'static str, value: Argument) -> Self {
        self.arguments.push((name, value));
        self
    }

    /// The value of an argument.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<&Argument> {
        self.arguments.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

impl Topology {
    /// Lays a site's topology out.
    ///
    /// # Errors
    /// [`TopologyError`] names what does not fit.
    pub fn new(config: &TopologyConfig) -> Result<Self, TopologyError> {
        if !(1..=SHARDS_MAX).contains(&config.shards) {
            return Err(TopologyError::Shards(config.shards));
        }
        if config.topology == 0 {
            return Err(TopologyError::Version);
        }
        for (what, names) in [("adapters", &config.adapters), ("skills", &config.skills)] {
            if names.len() > NAMES_MAX {
                return Err(TopologyError::TooMany { what, count: names.len() });
            }
            for (index, name) in names.iter().enumerate() {
                check_name(name)?;
                if names[..index].contains(name) {
                    return Err(TopologyError::Twice(name.clone()));
                }
            }
        }
        let mut topology = Self {
            topology: config.topology,
            shards: config.shards,
            exchanges: Vec::new(),
            queues: Vec::new(),
            bindings: Vec::new(),
        };
        topology.lay_nets();
        topology.lay_conversations();
        topology.lay_log();
        topology.lay_adapters(&config.adapters);
        topology.lay_work(&config.skills);
        Ok(topology)
    }

    /// The exchange of wake-ups: `ark.e1.conv`.
    #[must_use]
    pub fn ingress(&self) -> String {
        format!("ark.e{}.conv", self.topology)
    }

    /// The queue of one shard: `ark.e1.conv.s007`.
    #[must_use]
    pub fn shard_queue(&self, shard: Shard) -> String {
        format!("{}.{shard}", self.ingress())
    }

    /// All shards.
    pub fn all_shards(&self) -> impl Iterator<Item = Shard> + use<> {
        (0..self.shards).map(Shard)
    }

    fn exchange(&mut self, name: impl Into<String>, kind: ExchangeKind, alternate: bool, purpose: &'static str) {
        let alternate = alternate.then(|| UNROUTED.to_owned());
        self.exchanges.push(Exchange { name: name.into(), kind, alternate, purpose });
    }

    fn bind(&mut self, exchange: impl Into<String>, queue: impl Into<String>, key: impl Into<String>) {
        self.bindings.push(Binding { exchange: exchange.into(), queue: queue.into(), key: key.into() });
    }

    /// What catches: the unrouted, the dead, and the identity.
    fn lay_nets(&mut self) {
        self.exchange(UNROUTED, ExchangeKind::Fanout, false, "catches what no queue wanted");
        self.exchange(DEAD_LETTERS, ExchangeKind::Fanout, false, "takes what was given up");
        self.queues.push(quorum(
            UNROUTED.to_owned(),
            WORK_QUEUE_MESSAGES,
            PEEKS_MAX,
            "must stay empty: a message here had no queue",
        ));
        self.queues.push(quorum(
            DEAD.to_owned(),
            WORK_QUEUE_MESSAGES,
            PEEKS_MAX,
            "parked messages: ark bus dead shows them, ark bus replay sends them again",
        ));
        let identity = vec![("x-queue-type", text("stream")), ("x-initial-cluster-size", number(3_u32))];
        self.queues.push(Queue {
            name: IDENTITY.to_owned(),
            kind: QueueKind::Stream,
            arguments: identity,
            purpose: "the store that this broker serves: its first message counts",
        });
        self.bind(UNROUTED, UNROUTED, "");
        self.bind(DEAD_LETTERS, DEAD, "");
    }

    /// Wake-ups, by shard.
    fn lay_conversations(&mut self) {
        let ingress = self.ingress();
        self.exchange(ingress.clone(), ExchangeKind::Direct, true, "wake-ups of conversations, key sNNN");
        for shard in self.all_shards() {
            let name = self.shard_queue(shard);
            let queue = quorum(name.clone(), SHARD_QUEUE_MESSAGES, DELIVERY_LIMIT, "wake-ups of one shard, in order")
                .with("x-single-active-consumer", Argument::Flag(true))
                .with_dead_letters(Some(shard.to_string()));
            self.queues.push(queue);
            self.bind(ingress.clone(), name, shard.to_string());
        }
    }

    /// Committed records.
    fn lay_log(&mut self) {
        self.exchange(EVENTS, ExchangeKind::Topic, true, "committed records, key sNNN.{tenant}.{type}");
        let arguments = vec![
            ("x-queue-type", text("stream")),
            ("x-initial-cluster-size", number(3_u32)),
            ("x-max-age", text("7D")),
            ("x-max-length-bytes", number(HISTORY_BYTES_MAX)),
            ("x-stream-max-segment-size-bytes", number(STREAM_SEGMENT_BYTES)),
        ];
        self.queues.push(Queue {
            name: HISTORY.to_owned(),
            kind: QueueKind::Stream,
            arguments,
            purpose: "committed records of the last days, for analytics; not the record",
        });
        self.bind(EVENTS, HISTORY, "#");
        self.exchange(GATEWAYS, ExchangeKind::Direct, false, "directed commands, key = the gateway's name");
        self.exchange(
            LIVE,
            ExchangeKind::Fanout,
            false,
            "live events of every gateway for every gateway; loss is allowed",
        );
    }

    /// What adapters bring and take, and the pauses between attempts.
    fn lay_adapters(&mut self, adapters: &[String]) {
        self.exchange(INBOUND, ExchangeKind::Fanout, true, "adapters publish here");
        let inbound = quorum(INBOUND.to_owned(), WORK_QUEUE_MESSAGES, DELIVERY_LIMIT, "what adapters bring, in order")
            .with("x-single-active-consumer", Argument::Flag(true))
            .with_dead_letters(None);
        self.queues.push(inbound);
        self.bind(INBOUND, INBOUND, "");
        self.exchange(OUTBOUND, ExchangeKind::Direct, true, "deliveries to adapters, key = the adapter's name");
        for adapter in adapters {
            let name = format!("{OUTBOUND}.{adapter}");
            let queue =
                quorum(name.clone(), WORK_QUEUE_MESSAGES, DELIVERY_LIMIT, "deliveries for one adapter, in order")
                    .with("x-single-active-consumer", Argument::Flag(true))
                    .with_dead_letters(None);
            self.queues.push(queue);
            self.bind(OUTBOUND, name, adapter.clone());
        }
        for pause in RETRY_MS {
            let name = format!("ark.retry.{pause}");
            self.exchange(
                name.clone(),
                ExchangeKind::Fanout,
                false,
                "a pause before the next attempt; the key is kept",
            );
            // The key that a message came with takes it back to its adapter.
            let queue = quorum(
                name.clone(),
                WORK_QUEUE_MESSAGES,
                DELIVERY_LIMIT,
                "deliveries that wait for their next attempt",
            )
            .with("x-message-ttl", number(pause))
            .with("x-dead-letter-exchange", text(OUTBOUND))
            .with("x-dead-letter-strategy", text("at-least-once"));
            self.queues.push(queue);
            self.bind(name.clone(), name, "");
        }
    }

    /// Work for people, by skill and priority.
    fn lay_work(&mut self, skills: &[String]) {
        self.exchange(WORK, ExchangeKind::Direct, true, "work for people, key {skill}.p0 to {skill}.p3");
        for skill in skills {
            for priority in 0..PRIORITIES {
                let name = format!("{WORK}.{skill}.p{priority}");
                let queue = quorum(name.clone(), WORK_QUEUE_MESSAGES, DELIVERY_LIMIT, "work of one priority class")
                    .with_dead_letters(None);
                self.queues.push(queue);
                self.bind(WORK, name, format!("{skill}.p{priority}"));
            }
        }
    }

    /// The queues that a gateway declares for itself: committed records for its readers, commands to it, and live events.
    /// `instance` tells one connection of the gateway from the next: the queues of a broken one may live on for a while.
    ///
    /// # Errors
    /// [`TopologyError::Name`].
    pub fn gateway_queues(gateway: &str, instance: &str) -> Result<[Queue; 3], TopologyError> {
        check_name(gateway)?;
        let exclusive = |name, arguments, purpose| Queue { name, kind: QueueKind::Exclusive, arguments, purpose };
        let records = vec![("x-max-length", number(GATEWAY_QUEUE_RECORDS)), ("x-overflow", text("drop-head"))];
        let lossy = |ttl: Duration, max: u32| {
            let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            vec![
                ("x-message-ttl", Argument::Number(ttl_ms)),
                ("x-max-length", number(max)),
                ("x-overflow", text("drop-head")),
            ]
        };
        Ok([
            exclusive(
                format!("{EVENTS}.gw.{gateway}.{instance}"),
                records,
                "committed records of the shards in which the gateway has readers",
            ),
            exclusive(
                format!("{GATEWAYS}.{gateway}.{instance}"),
                lossy(GATEWAY_COMMAND_TTL, GATEWAY_QUEUE_RECORDS),
                "commands to this gateway; loss is allowed",
            ),
            exclusive(
                format!("{LIVE}.{gateway}.{instance}"),
                lossy(LIVE_TTL, LIVE_QUEUE_MESSAGES),
                "live events for this gateway; loss is allowed",
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TopologyConfig {
        TopologyConfig {
            adapters: vec!["dingtalk".into()],
            skills: vec!["general".into()],
            ..TopologyConfig::default()
        }
    }

    #[test]
    fn every_binding_leads_from_an_exchange_to_a_queue_and_every_queue_is_reached() {
        let topology = Topology::new(&config()).unwrap();
        let exchange = |name: &str| topology.exchanges.iter().any(|one| one.name == name);
        let queue = |name: &str| topology.queues.iter().any(|one| one.name == name);
        for binding in &topology.bindings {
            assert!(exchange(&binding.exchange) && queue(&binding.queue), "{binding:?}");
        }
        for one in topology.queues.iter().filter(|one| one.name != IDENTITY) {
            assert!(topology.bindings.iter().any(|binding| binding.queue == one.name), "{} is never reached", one.name);
            if let Some(Argument::Text(target)) = one.argument("x-dead-letter-exchange") {
                assert!(exchange(target), "{} -> {target}", one.name);
            }
        }
        for one in &topology.exchanges {
            assert!(one.alternate.as_deref().is_none_or(exchange), "{one:?}");
        }
        assert_eq!(topology.queues.len(), 3 + 64 + 1 + 1 + 1 + 3 + 4);
    }

    #[test]
    fn names_and_counts_that_do_not_fit_are_refused_with_their_reason() {
        let refused = |config: TopologyConfig| Topology::new(&config).unwrap_err();
        assert_eq!(refused(TopologyConfig { shards: 0, ..config() }), TopologyError::Shards(0));
        assert_eq!(refused(TopologyConfig { shards: 1_001, ..config() }), TopologyError::Shards(1_001));
        assert_eq!(refused(TopologyConfig { topology: 0, ..config() }), TopologyError::Version);
        let names = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
        for bad in ["", "a.b", "a#", "*", "中"] {
            let error = refused(TopologyConfig { adapters: names(&[bad]), ..config() });
            assert_eq!(error, TopologyError::Name(bad.to_owned()));
        }
        let twice = refused(TopologyConfig { skills: names(&["a", "b", "a"]), ..config() });
        assert_eq!(twice, TopologyError::Twice("a".into()));
        let many = (0..=NAMES_MAX).map(|n| format!("a{n}")).collect();
        let many = refused(TopologyConfig { adapters: many, ..config() });
        assert_eq!(many, TopologyError::TooMany { what: "adapters", count: NAMES_MAX + 1 });
        assert!(Topology::gateway_queues("gw.1", "1").is_err());
    }
}
