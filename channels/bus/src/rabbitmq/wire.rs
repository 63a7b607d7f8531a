//! Messages as they are on the wire: properties, headers, and reading them back.

use std::sync::Arc;

use ark_conversation::{LiveEvent, Record};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::Shared;
use super::adapters::{ForAdapter, Parked};
use super::outbox::{Outgoing, What};
use crate::WakeUp;
use crate::limits::LIVE_TTL;
use crate::topology::{DEAD_LETTERS, EVENTS, GATEWAYS, INBOUND, OUTBOUND};

/// The `type` of a committed record.
const RECORD: &str = "ark.record.v1";
/// The `type` of a wake-up.
const WAKE_UP: &str = "ark.wake.v1";
/// The `type` of a message of live events.
const LIVE: &str = "ark.live.v1";
/// Bytes of a short string on the wire.
const SHORT_BYTES_MAX: usize = 255;
/// What most bodies have room in.
const BODY_BYTES: usize = 1_024;
/// Of a message that a gateway sends in an adapter's place: which broker user signed it.
pub(super) const SIGNER: &str = "x-ark-user";
/// Of a message that a gateway gave up: the queue in which it died, why, and when, in Unix seconds.
pub(super) const DEAD_QUEUE: &str = "x-ark-dead-queue";
/// See [`DEAD_QUEUE`].
pub(super) const DEAD_REASON: &str = "x-ark-dead-reason";
/// See [`DEAD_QUEUE`].
pub(super) const DEAD_AT: &str = "x-ark-dead-at";
/// A CloudEvent in structured mode (CloudEvents AMQP binding 3.2).
const CLOUD_EVENT: &str = "application/cloudevents+json";
/// How often a message was sent before.
const ATTEMPT: &str = "x-ark-attempt";

pub(super) fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn number(value: u64) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(value).unwrap_or(i64::MAX))
}

/// A message's properties to send it again, signed by this user or by nobody.
pub(super) fn again(properties: &BasicProperties, headers: FieldTable, user: Option<&str>) -> BasicProperties {
    let mut again = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
    if let Some(kind) = properties.content_type() {
        again = again.with_content_type(kind.clone());
    }
    if let Some(kind) = properties.kind() {
        again = again.with_type(kind.clone());
    }
    if let Some(id) = properties.message_id() {
        again = again.with_message_id(id.clone());
    }
    if let Some(conversation) = properties.correlation_id() {
        again = again.with_correlation_id(conversation.clone());
    }
    if let Some(at) = properties.timestamp() {
        again = again.with_timestamp(*at);
    }
    if let Some(from) = properties.app_id() {
        again = again.with_app_id(from.clone());
    }
    match (properties.user_id(), user) {
        (Some(_), Some(user)) => again.with_user_id(short(user)),
        _ => again,
    }
}

/// At most 255 bytes, as AMQP wants it.
pub(super) fn short(text: &str) -> ShortString {
    let mut text = text.to_owned();
    while text.len() > SHORT_BYTES_MAX {
        text.pop();
    }
    text.into()
}

/// What every message has: it outlives a restart of the broker, and it says what it is.
fn properties(
    kind: &str,
    id: &str,
    conversation: &str,
    unix_s: i64,
    from: &str,
    headers: FieldTable,
) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_type(kind.into())
        .with_message_id(short(id))
        .with_correlation_id(conversation.into())
        .with_timestamp(u64::try_from(unix_s).unwrap_or(0))
        .with_app_id(short(from))
        .with_headers(headers)
}

/// How a message that was sent before says so.
fn attempted(headers: &mut FieldTable, attempts: u32) {
    if attempts > 0 {
        headers.insert(ATTEMPT.into(), number(u64::from(attempts)));
    }
}

/// Exchange, routing key and properties of a message.
pub(super) fn envelope(message: &Outgoing, shared: &Shared) -> (ShortString, ShortString, BasicProperties) {
    let mut headers = FieldTable::default();
    match &message.what {
        What::Record(record) => {
            let conversation = record.conversation.to_string();
            headers.insert("x-ark-conv".into(), text(&conversation));
            headers.insert("x-ark-seq".into(), number(record.seq));
            headers.insert("x-ark-epoch".into(), number(record.epoch));
            attempted(&mut headers, message.attempts);
            let (id, at) = (&record.event.id, record.at.as_second());
            let properties = properties(RECORD, id, &conversation, at, &shared.from, headers);
            (EVENTS.into(), record_key(message.shard, record), properties)
        }
        What::WakeUp { conversation, idem, id, unix_s } => {
            headers.insert("x-ark-conv".into(), text(conversation));
            headers.insert("x-ark-idem".into(), text(idem));
            attempted(&mut headers, message.attempts);
            let properties = properties(WAKE_UP, id, conversation, *unix_s, &shared.from, headers);
            (shared.topology.ingress().into(), message.shard.to_string().into(), properties)
        }
        What::Command(gateway) => {
            let properties = BasicProperties::default().with_app_id(shared.from.as_str().into());
            (GATEWAYS.into(), gateway.as_str().into(), properties)
        }
        What::ForAdapter(to) => for_adapter(to, message.attempts, shared),
        What::Parked(parked) => self::parked(parked, shared),
    }
}

/// What names its publisher to whoever reads it, where the broker can check that.
fn signed(properties: BasicProperties, shared: &Shared) -> BasicProperties {
    match shared.brokers.first().and_then(super::Broker::signs_as) {
        Some(user) => properties.with_user_id(short(user)),
        None => properties,
    }
}

fn for_adapter(to: &ForAdapter, attempts: u32, shared: &Shared) -> (ShortString, ShortString, BasicProperties) {
    let mut headers = FieldTable::default();
    if let Some(conversation) = &to.conversation {
        headers.insert("x-ark-conv".into(), text(conversation));
    }
    if let Some(epoch) = to.epoch {
        headers.insert("x-ark-epoch".into(), number(epoch));
    }
    attempted(&mut headers, (to.attempt - 1) + attempts);
    let mut properties = BasicProperties::default()
        .with_delivery_mode(if to.expires.is_some() { 1 } else { 2 })
        .with_content_type(CLOUD_EVENT.into())
        .with_type(short(&to.kind))
        .with_message_id(short(&to.id))
        .with_app_id(short(&shared.from))
        .with_headers(headers);
    if let Some(expires) = to.expires {
        properties = properties.with_expiration(expires.as_millis().to_string().into());
    }
    (OUTBOUND.into(), to.adapter.as_str().into(), signed(properties, shared))
}

fn parked(parked: &Parked, shared: &Shared) -> (ShortString, ShortString, BasicProperties) {
    let mut headers = FieldTable::default();
    headers.insert(DEAD_QUEUE.into(), text(INBOUND));
    headers.insert(DEAD_REASON.into(), text(&parked.why));
    headers.insert(DEAD_AT.into(), number(u64::try_from(parked.unix_s).unwrap_or(0)));
    if let Some(signer) = &parked.signer {
        headers.insert(SIGNER.into(), text(signer));
    }
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type(short(&parked.content_type))
        .with_message_id(short(&parked.id))
        .with_app_id(short(&shared.from))
        .with_headers(headers);
    (DEAD_LETTERS.into(), "".into(), signed(properties, shared))
}

/// `sNNN.{tenant}.{type}`, at most 255 bytes as AMQP wants it.
fn record_key(shard: crate::Shard, record: &Record) -> ShortString {
    short(&format!("{shard}.{}.{}", record.tenant.as_str(), record.event.type_name()))
}

/// What is told of a wake-up beside its body.
pub(super) fn wake_up(wake_up: &WakeUp, unix_s: i64) -> What {
    What::WakeUp {
        conversation: wake_up.conversation.to_string(),
        idem: format!("{}#{}", wake_up.source, wake_up.id),
        id: wake_up.id.clone(),
        unix_s,
    }
}

/// Of live events: gone with the broker, and after [`LIVE_TTL`].
pub(super) fn live_properties(from: &str) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(1)
        .with_content_type("application/json".into())
        .with_type(LIVE.into())
        .with_app_id(short(from))
        .with_expiration(LIVE_TTL.as_millis().to_string().into())
}

/// Those of a message's live events that this Ark knows.
pub(super) fn read_live(body: &[u8]) -> Vec<Arc<LiveEvent>> {
    let events: Vec<serde_json::Value> = serde_json::from_slice(body).unwrap_or_default();
    events.into_iter().filter_map(|event| serde_json::from_value(event).ok()).map(Arc::new).collect()
}

/// A body as JSON; what is carried always fits JSON.
pub(super) fn body(value: &impl serde::Serialize) -> Arc<Vec<u8>> {
    let mut bytes = Vec::with_capacity(BODY_BYTES);
    if serde_json::to_writer(&mut bytes, value).is_err() {
        bytes.clear();
    }
    Arc::new(bytes)
}

fn header<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a AMQPValue> {
    properties.headers().as_ref()?.inner().get(name)
}

pub(super) fn header_number(properties: &BasicProperties, name: &str) -> Option<u64> {
    integer(header(properties, name)?)
}

pub(super) fn integer(value: &AMQPValue) -> Option<u64> {
    match value {
        AMQPValue::LongLongInt(number) => u64::try_from(*number).ok(),
        AMQPValue::LongInt(number) => u64::try_from(*number).ok(),
        AMQPValue::LongUInt(number) => Some(u64::from(*number)),
        AMQPValue::ShortInt(number) => u64::try_from(*number).ok(),
        AMQPValue::ShortUInt(number) => Some(u64::from(*number)),
        AMQPValue::ShortShortInt(number) => u64::try_from(*number).ok(),
        AMQPValue::ShortShortUInt(number) => Some(u64::from(*number)),
        AMQPValue::Timestamp(number) => Some(*number),
        _ => None,
    }
}

pub(super) fn header_text(properties: &BasicProperties, name: &str) -> Option<String> {
    string(header(properties, name)?)
}

pub(super) fn string(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// How often the queue gave this message before: `x-delivery-count` of quorum queues.
pub(super) fn deliveries_before(properties: &BasicProperties) -> u32 {
    header_number(properties, "x-delivery-count").and_then(|count| u32::try_from(count).ok()).unwrap_or(0)
}

/// The newest entry of `x-death`: where, why and when a message died.
pub(super) fn death(properties: &BasicProperties) -> Option<&FieldTable> {
    match header(properties, "x-death")? {
        AMQPValue::FieldArray(deaths) => match deaths.as_slice().first()? {
            AMQPValue::FieldTable(death) => Some(death),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn read_record(body: &[u8]) -> Option<Arc<Record>> {
    serde_json::from_slice(body).ok().map(Arc::new)
}

pub(super) fn read_wake_up(body: &[u8]) -> Option<WakeUp> {
    serde_json::from_slice(body).ok()
}
