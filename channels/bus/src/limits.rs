//! Every bound of this crate, by name.

use std::time::Duration;

/// Records that are kept for one slow subscriber; beyond it they are counted and the subscriber reads the store.
pub const SUBSCRIPTION_RECORDS: usize = 1_024;

/// Live subscriptions of one bus.
pub const SUBSCRIBERS_MAX: usize = 4_096;

/// Shards of one topology.
pub const SHARDS_MAX: u16 = 1_000;

/// Messages of adapters that a gateway may hold without having acknowledged them.
pub const INBOUND_PREFETCH: u16 = 128;

/// Deliveries of one shard that a reader may hold without having acknowledged them.
pub const PREFETCH: u16 = 32;

/// Times that a message is given again after it was handed back; one more and it is parked among the dead letters.
pub const DELIVERY_LIMIT: u32 = 20;

/// Wake-ups that wait in one shard of the embedded bus; one more is answered with [`crate::BusError::ShardFull`].
pub const EMBEDDED_SHARD_WAKE_UPS: usize = 16_384;

/// Dead letters that the embedded bus keeps; the oldest goes first.
pub const EMBEDDED_DEAD_LETTERS: usize = 1_000;

/// Messages that wait in one shard queue of the broker; one more is refused to its publisher.
pub const SHARD_QUEUE_MESSAGES: u32 = 200_000;

/// Messages that wait for one adapter, one skill's priority class or in the adapters' inbound queue.
pub const WORK_QUEUE_MESSAGES: u32 = 200_000;

/// Committed records that wait for one gateway on the broker; the gateway is told to read the store long before.
pub const GATEWAY_QUEUE_RECORDS: u32 = 100_000;

/// How long a directed command to one gateway may wait: what comes later is worth nothing.
pub const GATEWAY_COMMAND_TTL: Duration = Duration::from_secs(10);

/// How long the broker may take to confirm the message by which an operator asks whether it takes any.
pub const PROBE_WAIT: Duration = Duration::from_secs(5);

/// Live events that are kept for one listener that does not keep up; the oldest go first, and it is told.
pub const LIVE_EVENTS: usize = 4_096;

/// Live events in one message between gateways.
pub const LIVE_BATCH: usize = 100;

/// Messages of live events that wait inside a gateway for the broker; what comes on top is lost.
pub const LIVE_WAITING: usize = 256;

/// Messages of live events that wait for one gateway on the broker; the oldest go first.
pub const LIVE_QUEUE_MESSAGES: u32 = 10_000;

/// How long a live event may wait on the broker: what comes later is worth nothing.
pub const LIVE_TTL: Duration = Duration::from_secs(10);

/// Pause before the live road is opened again after its channel ended.
pub const LIVE_AGAIN: Duration = Duration::from_secs(1);

/// Directed commands that wait inside a gateway for their reader; one more is dropped and counted.
pub const GATEWAY_COMMANDS: usize = 1_024;

/// How often a queue that must never lose by deliveries may hand the same message out (peeking counts as one).
pub const PEEKS_MAX: u32 = 1_000_000;

/// Size of the history stream, in bytes.
pub const HISTORY_BYTES_MAX: u64 = 20 * 1024 * 1024 * 1024;

/// Size of one file of a stream, in bytes: streams are cut by whole files.
pub const STREAM_SEGMENT_BYTES: u64 = 100 * 1024 * 1024;

/// Size of one message's body, in bytes. RabbitMQ 4 refuses 16 MiB; a committed event has 256 KiB at most.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Published messages that wait for their confirm.
pub const PUBLISH_WINDOW: usize = 256;

/// Largest window that may be set.
pub const PUBLISH_WINDOW_MAX: usize = 1_024;

/// Messages that wait in this process for the broker, those in the window included.
pub const PUBLISH_QUEUE_MESSAGES: usize = 65_536;

/// Bytes of bodies that wait in this process for the broker.
pub const PUBLISH_QUEUE_BYTES: usize = 128 * 1024 * 1024;

/// Records that a relay has under way; below that it reads the next page of the outbox.
pub const RELAY_AHEAD_RECORDS: u64 = 2_048;

/// How long a relay keeps rows that are confirmed before it forgets them, many in one commit of the store: so much is carried
/// a second time after a crash.
pub const RELAY_FORGET_AFTER: Duration = Duration::from_millis(50);

/// Rows that a relay forgets before [`RELAY_FORGET_AFTER`] has passed, when there are so many.
pub const RELAY_FORGET_ROWS: usize = 512;

/// How often a relay looks for rows that nobody woke it for: those of a gateway that is gone, of conversations that another
/// gateway writes to.
pub const RELAY_POLL: Duration = Duration::from_millis(500);

/// Pause of a relay after something failed; doubled up to [`RELAY_PAUSE_MAX`].
pub const RELAY_PAUSE_MIN: Duration = Duration::from_millis(100);

/// Longest pause of a relay after something failed.
pub const RELAY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long one confirm may take before the connection is taken for dead.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(15);

/// Pause before a refused message is offered again; doubled up to [`NACK_PAUSE_MAX`].
pub const NACK_PAUSE_MIN: Duration = Duration::from_millis(50);

/// Longest pause before a refused message is offered again.
pub const NACK_PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long one attempt to reach one address may take, handshake included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before the addresses are tried again; doubled up to [`RECONNECT_PAUSE_MAX`], shortened by up to a half at random.
pub const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(100);

/// Longest pause before the addresses are tried again.
pub const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Heartbeat asked of the broker, in seconds. A connection is dead after twice of it without a byte.
pub const HEARTBEAT_S: u16 = 5;

/// How long one command to the broker (declare, bind, get) may take.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a new subscription waits for the broker to route to it; then it is told of a hole once it does.
pub const BIND_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a gateway looks whether its queue on the broker grows.
pub const LAG_CHECK: Duration = Duration::from_secs(1);

/// How often a shard that gives nothing is asked whether messages wait in it.
pub const STALL_CHECK: Duration = Duration::from_secs(5);

/// Longest pause between two such questions when a shard's messages wait in vain again and again, in [`STALL_CHECK`]s.
pub const STALL_TICKS_MAX: u32 = 20;

/// Addresses of brokers in one configuration.
pub const BROKERS_MAX: usize = 16;

/// Dead letters that one look or one replay goes through.
pub const DEAD_SCAN_MAX: usize = 10_000;

/// Adapters and skills in one topology, each.
pub const NAMES_MAX: usize = 1_000;

/// Length of a gateway's, adapter's or skill's name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

const _: () = assert!(PUBLISH_WINDOW <= PUBLISH_WINDOW_MAX);
const _: () = assert!(PUBLISH_WINDOW_MAX < PUBLISH_QUEUE_MESSAGES);
const _: () = assert!(LIVE_BATCH < LIVE_EVENTS);
const _: () = assert!(MESSAGE_BYTES_MAX < 16 * 1024 * 1024);
