//! What is asked for is checked and written as JSON on the caller's thread: the writers have enough to do.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ark_conversation::cloud_event::whole_microseconds;
use ark_conversation::limits::{EVENT_ID_BYTES_MAX, SOURCE_BYTES_MAX};
use ark_conversation::{Assurance, CloudEvent, ConversationId, IdentityKey, NewEvent, Record, Tenant};
use jiff::Timestamp;

use crate::commit::{After, Commit, Direct, PersonOf};
use crate::error::StoreError;
use crate::feed::Advance;
use crate::lease::{Attendance, Fence, Topology};
use crate::limits::*;
use crate::outbox::{DeliveryState, NewDelivery, Outcome};
use crate::person::{Merge, MergeOf};
use crate::plan::{NewPlanVersion, PlanChange};
use crate::{Answer, Appended, Erase, Join, LivePlan, NewInbound, PlanVersion};

/// An event on its way into the log.
pub(crate) struct Pending {
    /// The record; its `seq` is given in the transaction.
    pub(crate) record: Record,
    /// The epoch that it came with; the record's is the log's when that is higher: an epoch never goes back, also not by a fact
    /// whose writer knew of no change of owner.
    pub(crate) epoch: u64,
    /// The event's data as JSON.
    pub(crate) data: String,
    /// The extension attributes as JSON, where there are any.
    pub(crate) extensions: Option<String>,
}

/// A delivery on its way into the store.
pub(crate) struct PendingDelivery {
    pub(crate) what: NewDelivery,
    /// Its body as JSON.
    pub(crate) body: String,
}

/// A message on its way into the inbox.
#[derive(Clone)]
pub(crate) struct PendingInbound {
    pub(crate) tenant: Tenant,
    pub(crate) at: Timestamp,
    pub(crate) event: Arc<CloudEvent>,
    /// The event as JSON.
    pub(crate) json: String,
    pub(crate) begin: ConversationId,
    pub(crate) join: Join,
}

/// One transaction to be written.
#[derive(Default)]
pub(crate) struct Write {
    pub(crate) fence: Option<Fence>,
    pub(crate) after: Vec<After>,
    pub(crate) applied: Vec<u64>,
    pub(crate) direct: Vec<Direct>,
    pub(crate) events: Vec<Pending>,
    pub(crate) deliveries: Vec<PendingDelivery>,
    pub(crate) persons: Vec<PersonOf>,
    pub(crate) merges: Vec<MergeOf>,
    pub(crate) also: Also,
}

/// What else one transaction does, before its events.
#[derive(Default)]
pub(crate) enum Also {
    #[default]
    Nothing,
    SetLive(Box<PlanChange>),
    Merge(MergeOf),
    Unmerge(MergeOf),
    Advance(AdvanceOf),
}

/// A reader's step without its deliveries.
pub(crate) struct AdvanceOf {
    pub(crate) tenant: Tenant,
    pub(crate) reader: String,
    pub(crate) from: Option<u64>,
    pub(crate) to: u64,
}

impl AdvanceOf {
    /// What is said when the reader is not where it should be.
    pub(crate) fn elsewhere(&self) -> StoreError {
        StoreError::Conflict(format!("the reader {} was moved by another gateway", self.reader))
    }
}

/// What [`Also`] came to.
pub(crate) enum AlsoDone {
    Nothing,
    Live { live: Box<PlanVersion>, previous: Option<u32>, changed: bool },
}

/// What a [`Write`] became.
pub(crate) struct Written {
    pub(crate) appended: Vec<Appended>,
    pub(crate) deliveries: usize,
    pub(crate) direct: Vec<u64>,
    pub(crate) also: AlsoDone,
}

impl Write {
    /// How much it is, in events, for the size of a group.
    pub(crate) fn weight(&self) -> usize {
        let beside = self.applied.len().div_ceil(8) + self.direct.len().div_ceil(4);
        self.events.len() + self.deliveries.len() + beside + 1
    }

    /// Whether it may share its transaction's statements with others.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.also, Also::Nothing) && self.persons.is_empty() && self.merges.is_empty()
    }
}

/// The answers for events: for each the record that was there, or nothing when it was written.
pub(crate) fn appended(events: Vec<Pending>, found: Vec<Option<Box<Record>>>) -> Vec<Appended> {
    let one = |(pending, found): (Pending, Option<Box<Record>>)| match found {
        Some(record) => Appended { record: *record, duplicate: true },
        None => Appended { record: pending.record, duplicate: false },
    };
    events.into_iter().zip(found).map(one).collect()
}

fn refused<T>(why: impl Into<String>) -> Result<T, StoreError> {
    Err(StoreError::Refused(why.into()))
}

/// PostgreSQL's texts hold no zero character; what one store refuses, every store refuses.
fn no_zero(what: &str, text: &str) -> Result<(), StoreError> {
    if text.contains('\0') { refused(format!("{what} holds a zero character")) } else { Ok(()) }
}

fn bounded(what: &str, text: &str, bytes_max: usize) -> Result<(), StoreError> {
    no_zero(what, text)?;
    if text.is_empty() || text.len() > bytes_max {
        return refused(format!("{what} has 1 to {bytes_max} bytes; this one has {}", text.len()));
    }
    Ok(())
}

fn at_most(what: &str, count: usize, most: usize) -> Result<(), StoreError> {
    if count > most { refused(format!("{count} {what} at once, more than {most}")) } else { Ok(()) }
}

fn fits(event: &CloudEvent) -> Result<(), StoreError> {
    event.check()?;
    no_zero("an event's id", &event.id)?;
    no_zero("an event's source", &event.source)?;
    no_zero("an event's type", event.type_name())?;
    no_zero("an event's subject", event.subject.as_deref().unwrap_or_default())
}

/// An event's data and its extension attributes (where there are any) as JSON.
fn body(event: &CloudEvent) -> Result<(String, Option<String>), StoreError> {
    let json = |error: serde_json::Error| StoreError::Refused(format!("{}: {error}", event.type_name()));
    let data = serde_json::to_string(&event.event).map_err(json)?;
    let extensions = &event.extensions;
    let extensions = if extensions.is_empty() { None } else { Some(serde_json::to_string(extensions).map_err(json)?) };
    let bytes = data.len() + extensions.as_ref().map_or(0, String::len);
    if bytes > EVENT_BYTES_MAX {
        let what = event.type_name();
        return refused(format!("{what} has {bytes} bytes, more than {EVENT_BYTES_MAX}"));
    }
    Ok((data, extensions))
}

/// Checks an event and writes its JSON.
pub(crate) fn pending(event: NewEvent) -> Result<Pending, StoreError> {
    fits(&event.event)?;
    if event.epoch == 0 || i64::try_from(event.epoch).is_err() {
        return refused("an epoch begins at 1 and has 63 bits");
    }
    let (data, extensions) = body(&event.event)?;
    let mut record = event.into_record(0);
    record.event.time = whole_microseconds(record.event.time);
    let epoch = record.epoch;
    Ok(Pending { record, epoch, data, extensions })
}

fn pending_events(events: Vec<NewEvent>) -> Result<Vec<Pending>, StoreError> {
    at_most("events", events.len(), APPEND_EVENTS_MAX)?;
    events.into_iter().map(pending).collect()
}

/// Checks events on their way into the log.
pub(crate) fn append(events: Vec<NewEvent>) -> Result<Write, StoreError> {
    Ok(Write { events: pending_events(events)?, ..Write::default() })
}

fn delivery(what: NewDelivery) -> Result<PendingDelivery, StoreError> {
    bounded("an adapter's name", &what.adapter, DELIVERY_KEY_BYTES_MAX)?;
    bounded("a delivery's key", &what.key, DELIVERY_KEY_BYTES_MAX)?;
    bounded("a delivery's order key", &what.order_key, DELIVERY_KEY_BYTES_MAX)?;
    let body = what.body.to_string();
    if body.len() > DELIVERY_BYTES_MAX {
        return refused(format!("a delivery has {} bytes, more than {DELIVERY_BYTES_MAX}", body.len()));
    }
    Ok(PendingDelivery { what, body })
}

/// Checks a commit. `shard` tells a conversation's shard.
pub(crate) fn commit(commit: Commit, shard: impl Fn(ConversationId) -> u16) -> Result<Write, StoreError> {
    let Commit { fence, after, applied, direct, events, deliveries, persons, merges } = commit;
    at_most("conversations", after.len(), COMMIT_ROWS_MAX)?;
    at_most("inbox rows", applied.len(), COMMIT_ROWS_MAX)?;
    let direct = self::direct(direct, &applied, &after)?;
    at_most("deliveries", deliveries.len(), COMMIT_ROWS_MAX)?;
    at_most("persons", persons.len(), COMMIT_ROWS_MAX)?;
    at_most("merges", merges.len(), COMMIT_ROWS_MAX)?;
    for one in &merges {
        bounded("who merges", &one.by, REASON_BYTES_MAX)?;
    }
    if let Some(fence) = &fence {
        let conversations = events.iter().map(|event| event.conversation);
        let conversations = conversations.chain(deliveries.iter().map(|one| one.conversation));
        let foreign = conversations
            .chain(persons.iter().map(|one| one.conversation))
            .chain(after.iter().map(|one| one.conversation))
            .find(|id| *id != ConversationId::SYSTEM && shard(*id) != fence.shard);
        if let Some(id) = foreign {
            return refused(format!("conversation {id} is of shard {}, the lease of shard {}", shard(id), fence.shard));
        }
    }
    let events = pending_events(events)?;
    let deliveries = deliveries.into_iter().map(delivery).collect::<Result<_, _>>()?;
    Ok(Write { fence, after, applied, direct, events, deliveries, persons, merges, also: Also::Nothing })
}

/// Checks messages that go past the inbox.
fn direct(mut direct: Vec<Direct>, applied: &[u64], after: &[After]) -> Result<Vec<Direct>, StoreError> {
    if direct.is_empty() {
        return Ok(direct);
    }
    at_most("messages", direct.len(), COMMIT_ROWS_MAX)?;
    if !applied.is_empty() {
        return refused("a commit takes messages out of the inbox or past it, not both");
    }
    let named: HashSet<(&Tenant, ConversationId)> = after.iter().map(|of| (&of.tenant, of.conversation)).collect();
    for one in &mut direct {
        bounded("a message's source", &one.source, SOURCE_BYTES_MAX)?;
        bounded("a message's id", &one.id, EVENT_ID_BYTES_MAX)?;
        if !named.contains(&(&one.tenant, one.conversation)) {
            return refused(format!("the commit does not say where the log of {} is (`after`)", one.conversation));
        }
        one.at = whole_microseconds(one.at);
    }
    Ok(direct)
}

/// Checks a message for the inbox.
pub(crate) fn inbound(new: NewInbound) -> Result<PendingInbound, StoreError> {
    let NewInbound { tenant, at, mut event, begin, join } = new;
    fits(&event)?;
    event.time = whole_microseconds(event.time);
    let json = serde_json::to_string(&event).map_err(|error| StoreError::Refused(error.to_string()))?;
    // With its envelope it is longer than what the bound is about.
    if json.len() > EVENT_BYTES_MAX {
        body(&event)?;
    }
    Ok(PendingInbound { tenant, at: whole_microseconds(at), event: Arc::new(event), json, begin, join })
}

/// Checks a change of the live plan.
pub(crate) fn live(change: PlanChange, event: Option<NewEvent>) -> Result<Write, StoreError> {
    let events = pending_events(event.into_iter().collect())?;
    Ok(Write { events, also: Also::SetLive(Box::new(change)), ..Write::default() })
}

/// Checks a merge of persons, or its undoing.
pub(crate) fn merge(merge: Merge, undo: bool) -> Result<Write, StoreError> {
    let Merge { tenant, from, into, by, at, event } = merge;
    bounded("who merges", &by, REASON_BYTES_MAX)?;
    if from == into {
        return refused("a person cannot be merged into themselves");
    }
    if event.tenant != tenant {
        return refused("a merge and its event are of one tenant");
    }
    let of = MergeOf { tenant, from, into, by, at };
    let also = if undo { Also::Unmerge(of) } else { Also::Merge(of) };
    Ok(Write { events: pending_events(vec![event])?, also, ..Write::default() })
}

/// Checks a reader's step.
pub(crate) fn advance(advance: Advance) -> Result<Write, StoreError> {
    let Advance { tenant, reader, from, to, deliveries } = advance;
    bounded("a reader's name", &reader, DELIVERY_KEY_BYTES_MAX)?;
    at_most("deliveries", deliveries.len(), COMMIT_ROWS_MAX)?;
    if from.is_some_and(|from| from > to) {
        return refused("a reader of the log does not go back");
    }
    let deliveries = deliveries.into_iter().map(delivery).collect::<Result<_, _>>()?;
    Ok(Write { deliveries, also: Also::Advance(AdvanceOf { tenant, reader, from, to }), ..Write::default() })
}

/// Checks that deliveries of a state may be forgotten; answers the state's code and the age in milliseconds.
pub(crate) fn forget(state: DeliveryState, age: Duration) -> Result<(i16, i64), StoreError> {
    if !matches!(state, DeliveryState::Done | DeliveryState::Dead) {
        return refused("only deliveries that are done or dead can be forgotten");
    }
    Ok((state.code(), i64::try_from(age.as_millis()).unwrap_or(i64::MAX / 2)))
}

/// Checks a plan's source.
pub(crate) fn plan(plan: &NewPlanVersion) -> Result<(), StoreError> {
    bounded("a plan's name", &plan.name, PLAN_NAME_BYTES_MAX)?;
    no_zero("a plan's source", &plan.source)?;
    no_zero("a plan's note", plan.note.as_deref().unwrap_or_default())?;
    if plan.source.len() > PLAN_BYTES_MAX {
        let bytes = plan.source.len();
        return refused(format!("plan '{}' has {bytes} bytes, more than {PLAN_BYTES_MAX}", plan.name));
    }
    if plan.sha256.len() != 64 || !plan.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return refused("a plan's sha256 has 64 lower-case hex digits");
    }
    Ok(())
}

/// Checks an erasure.
pub(crate) fn erase(erase: &Erase) -> Result<(), StoreError> {
    bounded("who erases", &erase.by, REASON_BYTES_MAX)?;
    at_most("records", erase.seqs.as_ref().map_or(0, Vec::len), COMMIT_ROWS_MAX)
}

/// Checks an identity key.
pub(crate) fn key(key: &IdentityKey) -> Result<(), StoreError> {
    no_zero("an identity key", key.value.reveal())?;
    if key.fits() { Ok(()) } else { refused("an identity key is empty or too long") }
}

/// An assurance as it stands in a row.
pub(crate) fn assurance(word: &str) -> Option<Assurance> {
    [Assurance::Asserted, Assurance::ChannelVerified, Assurance::Otp, Assurance::Sso]
        .into_iter()
        .find(|assurance| assurance.as_str() == word)
}

/// Checks who asks for something.
pub(crate) fn by(who: &str) -> Result<(), StoreError> {
    bounded("who asks", who, REASON_BYTES_MAX)
}

/// Checks a claim; answers the time in milliseconds.
pub(crate) fn lease(gateway: &str, ttl: Duration) -> Result<i64, StoreError> {
    bounded("a gateway's id", gateway, GATEWAY_BYTES_MAX)?;
    if ttl.is_zero() || ttl > LEASE_MAX {
        return refused(format!("a lease lasts up to {} s, not {} s", LEASE_MAX.as_secs(), ttl.as_secs_f64()));
    }
    Ok(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).max(1))
}

/// Checks who says that they are here; answers the time in milliseconds.
pub(crate) fn attendance(who: &Attendance, ttl: Duration) -> Result<i64, StoreError> {
    bounded("a gateway's place", &who.place, GATEWAY_BYTES_MAX)?;
    bounded("a gateway's process", &who.process, GATEWAY_BYTES_MAX)?;
    lease(&who.gateway, ttl)
}

/// What an outcome does to a delivery's row: its state's code, the error that is kept, and the wait in milliseconds.
pub(crate) fn outcome(outcome: &Outcome) -> (i16, Option<String>, i64) {
    use DeliveryState as State;
    let kept = |error: &str| {
        let fits = |(at, letter): &(usize, char)| at + letter.len_utf8() <= ERROR_BYTES_MAX;
        let end = error.char_indices().take_while(fits).last().map_or(0, |(at, letter)| at + letter.len_utf8());
        Some(error.get(..end).unwrap_or_default().replace('\0', " "))
    };
    match outcome {
        Outcome::Delivered => (State::Done.code(), None, 0),
        Outcome::Retry { error, after } => {
            (State::Waiting.code(), kept(error), i64::try_from(after.as_millis()).unwrap_or(i64::MAX))
        }
        Outcome::GiveUp { error } => (State::Dead.code(), kept(error), 0),
    }
}

/// The channel that an event came by, told by its source `/ark/{tenant}/{channel}/...`; the gateway itself is none.
pub(crate) fn channel(source: &str) -> Option<&str> {
    source.strip_prefix("/ark/")?.split('/').nth(1).filter(|name| !name.is_empty() && *name != "gateway")
}

/// Checks a number of shards.
pub(crate) fn topology(topology: Topology) -> Result<(), StoreError> {
    if topology.shards == 0 || topology.shards > SHARDS_MAX {
        return refused(format!("there are 1 to {SHARDS_MAX} shards, not {}", topology.shards));
    }
    Ok(())
}

/// Checks a shard's number.
pub(crate) fn shard(shard: u16, topology: Topology) -> Result<(), StoreError> {
    if shard >= topology.shards {
        return refused(format!("shard {shard}: there are {}, from 0", topology.shards));
    }
    Ok(())
}

/// The answer of a change of the live plan.
pub(crate) fn live_plan(written: Answer<'_, Written>) -> Answer<'_, LivePlan> {
    Box::pin(async move {
        let Written { mut appended, also, .. } = written.await?;
        match also {
            AlsoDone::Live { live, previous, .. } => Ok(LivePlan { live: *live, previous, appended: appended.pop() }),
            AlsoDone::Nothing => Err(StoreError::Closed),
        }
    })
}

/// The answer of what appends one event.
pub(crate) fn first(written: Answer<'_, Written>) -> Answer<'_, Appended> {
    Box::pin(async move { written.await?.appended.pop().ok_or(StoreError::Closed) })
}
