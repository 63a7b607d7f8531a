//! Appending in groups: one transaction, a handful of statements whatever the number of events.
//!
//! Optimistic: the next numbers are taken from what the lane remembers, and the unique keys of the log tell whether
//! that was true. When another gateway wrote to one of the conversations in between, or an event is there already, the
//! transaction is rolled back and done again with what is there. Leases make that rare.

use std::collections::{BTreeMap, HashMap, HashSet};

use ark_conversation::{Change, ConversationState, Record};
use tokio_postgres::Row;

use super::Shared;
use super::direct::{self, Directs, Numbers, Past};
use super::inbox::{BEGIN, ROWS};
use super::link::{Link, Result};
use super::{persons, rows};
use crate::commit::After;
use crate::error::StoreError;
use crate::failpoint::{self, Point};
use crate::heads::{Head, Heads, Key};
use crate::limits::{HEAD_CHANNELS_MAX, OUTBOX_ROW_EVENTS};
use crate::pending::{self, Also, AlsoDone, Write};

/// For each event the record that was there before; how many deliveries are new; and the rest.
pub(super) struct AppendDone {
    pub(super) found: Vec<Option<Box<Record>>>,
    pub(super) deliveries: usize,
    pub(super) direct: Vec<u64>,
    pub(super) also: AlsoDone,
}

/// What was learned by writing a group and failing.
#[derive(Default)]
pub(super) struct Tries {
    pub(super) count: u32,
    /// Events that are in the log already, by (tenant, source, id).
    there: HashMap<(String, String, String), Box<Record>>,
    /// Writes of the group whose leases have passed on, and why the others are refused.
    refused: HashMap<usize, StoreError>,
}

const HEADS: &str = "select u.tenant, u.conversation, c.state, l.seq, l.at_us, c.version
    from unnest($1::text[], $2::bytea[]) u (tenant, conversation)
    join conversation c on c.tenant = u.tenant and c.conversation = u.conversation, lateral (
        select seq, at_us from log where tenant = c.tenant and conversation = c.conversation
        order by seq desc limit 1) l";

const FENCES: &str = "select shard, gateway, number, (select value from meta where key = 'topology')
    from lease where shard = any($1) for share of lease";

const INSERT: &str = "insert into log
    (tenant, conversation, seq, epoch, at_us, type, source, id, subject, time_us, data, extensions)
    select * from unnest($1::text[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[],
        $8::text[], $9::text[], $10::bigint[], $11::text[], $12::text[])";

const STATES: &str = "insert into conversation (tenant, conversation, kind, ended_us, state, version)
    select * from unnest($1::text[], $2::bytea[], $3::text[], $4::bigint[], $5::text[], $6::integer[])
    on conflict (tenant, conversation) do update set ended_us = excluded.ended_us, state = excluded.state
    where conversation.version = excluded.version";

const CHANNELS: &str = "insert into conversation_channel
    select * from unnest($1::text[], $2::text[], $3::bytea[]) on conflict do nothing";

const OUTBOX: &str = "insert into outbox (shard, tenant, conversation, first_seq, last_seq)
    select * from unnest($1::integer[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[])";

const APPLIED: &str = "delete from waiting where row = any($1)";

const DELIVERIES: &str = "insert into delivery
    (tenant, adapter, key, order_key, conversation, body, not_before_ms, not_before_us)
    select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::bigint[],
        $8::bigint[])
    on conflict (tenant, adapter, key) do nothing returning tenant, adapter, key";

/// What a connection that writes prepares before anything else: statements are sent one behind the other.
pub(super) const STATEMENTS: &[&str] =
    &[HEADS, FENCES, INSERT, STATES, CHANNELS, OUTBOX, APPLIED, DELIVERIES, ROWS, BEGIN, direct::KNOWN];

/// The rows of the log, as columns.
#[derive(Default)]
struct Columns<'a> {
    tenant: Vec<&'a str>,
    conversation: Vec<[u8; 16]>,
    seq: Vec<i64>,
    epoch: Vec<i64>,
    at: Vec<i64>,
    kind: Vec<&'a str>,
    source: Vec<&'a str>,
    id: Vec<&'a str>,
    subject: Vec<Option<&'a str>>,
    time: Vec<i64>,
    data: Vec<&'a str>,
    extensions: Vec<Option<&'a str>>,
}

/// What a group writes beside the log.
#[derive(Default)]
struct Beside {
    /// Conversations whose rows must be written.
    dirty: Vec<Key>,
    /// Conversations with something for the outbox.
    touched: Vec<Key>,
    channels: Vec<(Key, String)>,
    outgoing: Vec<(Key, u64, u64)>,
}

/// Writes a group in one transaction. None when somebody was in the way: to be rolled back and done again.
pub(super) async fn write(
    link: &Link,
    shared: &Shared,
    (heads, numbers): (&mut Heads, &mut Numbers),
    writes: &mut [Write],
    tries: &mut Tries,
) -> Result<Option<(Vec<Said>, u64)>> {
    load(link, heads, writes).await?;
    numbers.fetch(link, writes.iter().map(|write| write.direct.len()).sum()).await?;
    // The first thing that a group of one does beside its events may take them away, or refuse it.
    let mut also = AlsoDone::Nothing;
    let alone = writes.len() == 1 && !matches!(writes.first().map(|one| &one.also), Some(Also::Nothing));
    if alone && let Some(write) = writes.first_mut() {
        link.batch(super::feed::BEGIN).await?;
        match self::also(link, write).await? {
            Ok(done) => also = done,
            Err(refused) => {
                link.batch("rollback").await?;
                return Ok(Some((vec![Err(refused)], 0)));
            }
        }
        if matches!(also, AlsoDone::Live { changed: false, .. }) {
            write.events.clear();
        }
    }
    let mut beside = Beside::default();
    let shards = shards(writes, tries);
    let Some(found) = plan(shared, heads, writes, tries, &mut beside) else {
        // A lease that has passed on is said before all else.
        fenced(shared, &leases(link, &shards).await?, writes, tries)?;
        return Ok(None);
    };
    let events = found.iter().flatten().flatten().filter(|there| there.is_none()).count();
    let direct = Directs::of(writes, &found, numbers);
    // One behind the other and back in one round trip: what a lease or a number was not as remembered undoes it all.
    let sent = tokio::try_join!(
        biased;
        async { if alone { Ok(()) } else { link.batch(super::feed::BEGIN).await } },
        leases(link, &shards),
        send(link, shared, heads, writes, (&found, &direct), &beside),
    );
    let deliveries = match sent {
        Ok(((), leases, Some(deliveries))) if fenced(shared, &leases, writes, tries)? => deliveries,
        Err(fault) if !fault.is_double() => return Err(fault),
        _ => {
            relearn(link, writes, tries).await?;
            fenced(shared, &leases(link, &shards).await?, writes, tries)?;
            return Ok(None);
        }
    };
    if !persons_of(link, writes, tries).await? {
        return Ok(None);
    }
    failpoint::at(Point::BeforeCommit);
    link.batch("commit").await?;
    for key in beside.touched {
        if let Some(head) = heads.get(&key) {
            (head.dirty, head.outgoing) = (false, None);
        }
        heads.let_go_of_ended(&key);
    }
    let done = found.into_iter().zip(deliveries).enumerate().map(|(at, (found, deliveries))| match found {
        Some(found) => {
            let also = std::mem::replace(&mut also, AlsoDone::Nothing);
            Ok(AppendDone { found, deliveries, direct: direct.rows_of(at), also })
        }
        None => Err(tries.refused.get(&at).cloned().unwrap_or(StoreError::Closed)),
    });
    Ok(Some((done.collect(), events as u64)))
}

type Said = super::lane::Said<AppendDone>;

/// Reads the ends of the logs that are not remembered.
async fn load(link: &Link, heads: &mut Heads, writes: &[Write]) -> Result<()> {
    let mut missing: Vec<Key> = Vec::new();
    let mut seen = HashSet::new();
    let written = writes.iter().flat_map(|write| &write.events);
    let written = written.map(|pending| (pending.record.tenant.clone(), pending.record.conversation));
    let decided_by = writes.iter().flat_map(|write| &write.after).map(|of| (of.tenant.clone(), of.conversation));
    for key in written.chain(decided_by) {
        if seen.insert(key.clone()) && heads.get(&key).is_none() {
            missing.push(key);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let tenants: Vec<&str> = missing.iter().map(|key| key.0.as_str()).collect();
    let ids: Vec<[u8; 16]> = missing.iter().map(|key| key.1.to_bytes()).collect();
    let ids: Vec<&[u8]> = ids.iter().map(|id| &id[..]).collect();
    for row in link.query(HEADS, &[&tenants, &ids]).await? {
        let key = (rows::tenant(&row, 0)?, rows::conversation(&row, 1)?);
        let state = rows::with_position(link, &key.0, key.1, &row, 2).await?;
        heads.put(key, Head { version: row.try_get(5)?, ..Head::new(state) });
    }
    Ok(())
}

/// The shards whose leases a group is written under.
fn shards(writes: &[Write], tries: &Tries) -> Vec<i32> {
    let live = writes.iter().enumerate().filter(|(at, _)| !tries.refused.contains_key(at));
    live.filter_map(|(_, write)| write.fence.as_ref().map(|fence| i32::from(fence.shard))).collect()
}

/// Their leases, held to the transaction's end.
async fn leases(link: &Link, shards: &[i32]) -> Result<Vec<Row>> {
    if shards.is_empty() { Ok(Vec::new()) } else { link.query(FENCES, &[&shards]).await }
}

/// Whether a group's leases are held; those that have passed on refuse their writes. False when one was found only now: the
/// others are done again without it.
fn fenced(shared: &Shared, rows: &[Row], writes: &[Write], tries: &mut Tries) -> Result<bool> {
    let topology = shared.topology.version.to_string();
    let mut held: BTreeMap<i32, (Option<&str>, u64, bool)> = BTreeMap::new();
    for row in rows {
        let same = row.try_get::<_, &str>(3)? == topology;
        held.insert(row.try_get(0)?, (row.try_get(1)?, rows::number(row, 2)?, same));
    }
    let mut all = true;
    for (at, write) in writes.iter().enumerate() {
        let Some(fence) = write.fence.as_ref().filter(|_| !tries.refused.contains_key(&at)) else { continue };
        let error = match held.get(&i32::from(fence.shard)) {
            Some((Some(gateway), number, same)) if *gateway == fence.gateway && *number == fence.number => {
                if *same {
                    continue;
                }
                StoreError::Conflict("the number of shards has changed: start Ark again".to_owned())
            }
            _ => StoreError::Fenced { shard: fence.shard, number: fence.number },
        };
        all &= tries.refused.insert(at, error).is_some();
    }
    Ok(all)
}

/// Of a write for each event the record that was there, or nothing when it is new; nothing at all of a write that is refused.
pub(super) type Found = Option<Vec<Option<Box<Record>>>>;

/// Gives the numbers, folds the states, and collects what goes beside. For each write its events: none for those that
/// are written, the record that is there for duplicates; nothing for a write that is refused. No answer at all: a log is not
/// where a write wants it, by what is remembered, which is to be read again.
fn plan(
    shared: &Shared,
    heads: &mut Heads,
    writes: &mut [Write],
    tries: &mut Tries,
    beside: &mut Beside,
) -> Option<Vec<Found>> {
    let mut now: HashMap<(String, String, String), Box<Record>> = HashMap::new();
    let mut past = Past::default();
    let many = writes.iter().map(|write| write.events.len()).sum::<usize>() > 1;
    let mut one = |heads: &mut Heads, there: &HashMap<_, Box<Record>>, pending: &mut pending::Pending| {
        let record = &mut pending.record;
        let event = &record.event;
        let id = (record.tenant.as_str().to_owned(), event.source.clone(), event.id.clone());
        if let Some(there) = there.get(&id).or_else(|| now.get(&id)) {
            return Some(there.clone());
        }
        let key = (record.tenant.clone(), record.conversation);
        let (last, epoch) = heads.get(&key).map_or((0, 1), |head| (head.state.last_seq, head.state.epoch));
        (record.seq, record.epoch) = (last + 1, epoch.max(pending.epoch));
        let mut shown = true;
        if let Some(head) = heads.get(&key) {
            shown = head.state.apply(record) == Change::Shown;
        } else {
            heads.put(key.clone(), Head::new(ConversationState::begin(record)));
        }
        let head = heads.get(&key).expect("what a transaction touched is remembered to its end (limits of Heads)");
        note(shared, head, &key, record, shown, beside);
        if many {
            now.insert(id, Box::new(record.clone()));
        }
        None
    };
    let mut found = Vec::with_capacity(writes.len());
    for (at, write) in writes.iter_mut().enumerate() {
        if !tries.refused.contains_key(&at)
            && let Some(of) = write.after.iter().find(|of| !is_at(heads, of))
        {
            if tries.count == 0 {
                return None;
            }
            tries.refused.insert(at, StoreError::GoneOn { conversation: of.conversation, seq: of.seq });
        }
        if !tries.refused.contains_key(&at)
            && let Some((messages, certain)) = past.refuses(heads, &write.direct)
        {
            if tries.count == 0 && !certain {
                return None;
            }
            tries.refused.insert(at, StoreError::ByInbox { messages });
        }
        let live = !tries.refused.contains_key(&at);
        found.push(live.then(|| write.events.iter_mut().map(|event| one(heads, &tries.there, event)).collect()));
    }
    for key in &beside.touched {
        if let Some((first, last)) = heads.get(key).and_then(|head| head.outgoing) {
            beside.outgoing.push((key.clone(), first, last));
        }
    }
    // In the order of the keys, so that gateways wait for each other in one direction.
    beside.dirty.sort();
    beside.channels.sort();
    Some(found)
}

/// Whether a log is where a write wants it, by what is remembered.
fn is_at(heads: &mut Heads, of: &After) -> bool {
    heads.get(&(of.tenant.clone(), of.conversation)).map_or(0, |head| head.state.last_seq) == of.seq
}

/// What an event changes beside the log.
fn note(shared: &Shared, head: &mut Head, key: &Key, record: &Record, shown: bool, beside: &mut Beside) {
    if shown && !head.dirty {
        head.dirty = true;
        beside.dirty.push(key.clone());
    }
    if let Some(channel) = pending::channel(&record.event.source)
        && !head.channels.iter().any(|known| known == channel)
    {
        beside.channels.push((key.clone(), channel.to_owned()));
        if head.channels.len() < HEAD_CHANNELS_MAX {
            head.channels.push(channel.to_owned());
        }
    }
    match head.outgoing {
        Some((first, last)) if last - first + 1 >= OUTBOX_ROW_EVENTS as u64 => {
            if shared.outbox {
                beside.outgoing.push((key.clone(), first, last));
            }
            head.outgoing = Some((record.seq, record.seq));
        }
        Some((first, _)) => head.outgoing = Some((first, record.seq)),
        None => {
            beside.touched.push(key.clone());
            head.outgoing = Some((record.seq, record.seq));
        }
    }
}

/// Sends the statements of a group one behind the other. Answers how many deliveries of each write are new, or nothing
/// when a row was not as remembered.
async fn send(
    link: &Link,
    shared: &Shared,
    heads: &mut Heads,
    writes: &[Write],
    (found, direct): (&[Found], &Directs<'_>),
    beside: &Beside,
) -> Result<Option<Vec<usize>>> {
    let live = || writes.iter().zip(found).filter_map(|(write, found)| found.as_ref().map(|found| (write, found)));
    let pairs = live().flat_map(|(write, found)| write.events.iter().zip(found));
    let mut written: Vec<_> = pairs.filter(|(_, there)| there.is_none()).map(|(pending, _)| pending).collect();
    written.sort_by(|a, b| {
        let key = |one: &pending::Pending| (one.record.conversation, one.record.seq);
        (&a.record.tenant, key(a)).cmp(&(&b.record.tenant, key(b)))
    });
    let mut log = Columns::default();
    for pending in &written {
        log.push(pending);
    }
    let applied: Vec<i64> = live().flat_map(|(write, _)| &write.applied).map(|row| rows::big(*row)).collect();
    let mut states = States::default();
    for key in &beside.dirty {
        if let Some(head) = heads.get(key) {
            states.push(key, head);
        }
    }
    let ((), passed, inserted, updated, (), (), deliveries) = tokio::try_join!(
        biased;
        async {
            if !applied.is_empty() {
                link.execute(APPLIED, &[&applied]).await?;
            }
            Ok(())
        },
        direct.insert(link),
        log.insert(link),
        states.upsert(link),
        channels(link, &beside.channels),
        outbox(link, shared, &beside.outgoing),
        deliveries(link, writes, found),
    )?;
    let as_remembered = passed && inserted == written.len() as u64 && updated == beside.dirty.len() as u64;
    Ok(as_remembered.then_some(deliveries))
}

impl<'a> Columns<'a> {
    fn push(&mut self, pending: &'a pending::Pending) {
        let (record, event) = (&pending.record, &pending.record.event);
        self.tenant.push(record.tenant.as_str());
        self.conversation.push(record.conversation.to_bytes());
        self.seq.push(rows::big(record.seq));
        self.epoch.push(rows::big(record.epoch));
        self.at.push(record.at.as_microsecond());
        self.kind.push(event.type_name());
        self.source.push(&event.source);
        self.id.push(&event.id);
        self.subject.push(event.subject.as_deref());
        self.time.push(event.time.as_microsecond());
        self.data.push(&pending.data);
        self.extensions.push(pending.extensions.as_deref());
    }

    async fn insert(&self, link: &Link) -> Result<u64> {
        if self.seq.is_empty() {
            return Ok(0);
        }
        let conversation = slices(&self.conversation);
        link.execute(
            INSERT,
            &[
                &self.tenant,
                &conversation,
                &self.seq,
                &self.epoch,
                &self.at,
                &self.kind,
                &self.source,
                &self.id,
                &self.subject,
                &self.time,
                &self.data,
                &self.extensions,
            ],
        )
        .await
    }
}

fn slices(ids: &[[u8; 16]]) -> Vec<&[u8]> {
    ids.iter().map(|id| &id[..]).collect()
}

#[derive(Default)]
struct States {
    tenant: Vec<String>,
    conversation: Vec<[u8; 16]>,
    kind: Vec<&'static str>,
    ended: Vec<Option<i64>>,
    state: Vec<String>,
    version: Vec<i32>,
}

impl States {
    fn push(&mut self, key: &Key, head: &Head) {
        self.tenant.push(key.0.as_str().to_owned());
        self.conversation.push(key.1.to_bytes());
        self.kind.push(crate::kind_name(head.state.kind));
        self.ended.push(head.state.ended.map(jiff::Timestamp::as_microsecond));
        self.state.push(serde_json::to_string(&head.state).expect("a state's keys are strings and its numbers finite"));
        self.version.push(head.version);
    }

    async fn upsert(&self, link: &Link) -> Result<u64> {
        if self.tenant.is_empty() {
            return Ok(0);
        }
        let ids = slices(&self.conversation);
        link.execute(STATES, &[&self.tenant, &ids, &self.kind, &self.ended, &self.state, &self.version]).await
    }
}

async fn channels(link: &Link, channels: &[(Key, String)]) -> Result<()> {
    if channels.is_empty() {
        return Ok(());
    }
    let tenants: Vec<&str> = channels.iter().map(|(key, _)| key.0.as_str()).collect();
    let names: Vec<&str> = channels.iter().map(|(_, name)| name.as_str()).collect();
    let ids: Vec<[u8; 16]> = channels.iter().map(|(key, _)| key.1.to_bytes()).collect();
    link.execute(CHANNELS, &[&tenants, &names, &slices(&ids)]).await.map(drop)
}

async fn outbox(link: &Link, shared: &Shared, outgoing: &[(Key, u64, u64)]) -> Result<()> {
    if !shared.outbox || outgoing.is_empty() {
        return Ok(());
    }
    let shards: Vec<i32> = outgoing.iter().map(|(key, ..)| i32::from(shared.topology.shard(key.1))).collect();
    let tenants: Vec<&str> = outgoing.iter().map(|(key, ..)| key.0.as_str()).collect();
    let ids: Vec<[u8; 16]> = outgoing.iter().map(|(key, ..)| key.1.to_bytes()).collect();
    let first: Vec<i64> = outgoing.iter().map(|(_, first, _)| rows::big(*first)).collect();
    let last: Vec<i64> = outgoing.iter().map(|(.., last)| rows::big(*last)).collect();
    link.execute(OUTBOX, &[&shards, &tenants, &slices(&ids), &first, &last]).await.map(drop)
}

async fn deliveries(link: &Link, writes: &[Write], found: &[Found]) -> Result<Vec<usize>> {
    let mut counts = vec![0; writes.len()];
    let live = writes.iter().zip(found).enumerate().filter(|(_, (_, found))| found.is_some());
    let all: Vec<_> = live.flat_map(|(at, (write, _))| write.deliveries.iter().map(move |one| (at, one))).collect();
    if all.is_empty() {
        return Ok(counts);
    }
    let text = |of: fn(&pending::PendingDelivery) -> &str| all.iter().map(|(_, one)| of(one)).collect::<Vec<&str>>();
    let ids: Vec<[u8; 16]> = all.iter().map(|(_, one)| one.what.conversation.to_bytes()).collect();
    let ms: Vec<i64> = all.iter().map(|(_, one)| one.what.not_before.map_or(0, |at| at.as_millisecond())).collect();
    let us: Vec<Option<i64>> = all.iter().map(|(_, one)| one.what.not_before.map(|at| at.as_microsecond())).collect();
    let new = link
        .query(
            DELIVERIES,
            &[
                &text(|one| one.what.tenant.as_str()),
                &text(|one| &one.what.adapter),
                &text(|one| &one.what.key),
                &text(|one| &one.what.order_key),
                &slices(&ids),
                &text(|one| &one.body),
                &ms,
                &us,
            ],
        )
        .await?;
    let mut new: HashSet<(String, String, String)> =
        new.iter().map(|row: &Row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect::<Result<_>>()?;
    for (at, one) in &all {
        let what = &one.what;
        let key = (what.tenant.as_str().to_owned(), what.adapter.clone(), what.key.clone());
        if new.remove(&key)
            && let Some(count) = counts.get_mut(*at)
        {
            *count += 1;
        }
    }
    Ok(counts)
}

/// After a collision: which of the events are in the log already.
async fn relearn(link: &Link, writes: &[Write], tries: &mut Tries) -> Result<()> {
    link.batch("rollback").await?;
    let events = || writes.iter().flat_map(|write| &write.events).map(|pending| &pending.record);
    let tenants: Vec<&str> = events().map(|record| record.tenant.as_str()).collect();
    let sources: Vec<&str> = events().map(|record| record.event.source.as_str()).collect();
    let ids: Vec<&str> = events().map(|record| record.event.id.as_str()).collect();
    let sql = format!(
        "select {} from unnest($1::text[], $2::text[], $3::text[]) u (tenant, source, id)
         join log l on l.tenant = u.tenant and l.id = u.id and l.source = u.source",
        rows::RECORD
    );
    for row in link.query(&sql, &[&tenants, &sources, &ids]).await? {
        let record = rows::record(&row)?;
        let event = &record.event;
        let id = (record.tenant.as_str().to_owned(), event.source.clone(), event.id.clone());
        tries.there.insert(id, Box::new(record));
    }
    for (at, messages) in direct::by_inbox(link, writes).await? {
        tries.refused.entry(at).or_insert(StoreError::ByInbox { messages });
    }
    Ok(())
}

/// What a write does before its events.
async fn also(link: &Link, write: &Write) -> Result<super::lane::Said<AlsoDone>> {
    match &write.also {
        Also::Nothing => Ok(Ok(AlsoDone::Nothing)),
        Also::Merge(merge) => Ok(persons::merge(link, merge).await?.map(|()| AlsoDone::Nothing)),
        Also::Unmerge(merge) => Ok(persons::unmerge(link, merge).await?.map(|()| AlsoDone::Nothing)),
        Also::Advance(step) => {
            let moved = super::feed::advance(link, step).await?;
            Ok(if moved { Ok(AlsoDone::Nothing) } else { Err(step.elsewhere()) })
        }
        Also::SetLive(change) => {
            // One change of a plan at a time, whichever gateway makes it.
            link.batch("lock table plan_change in share row exclusive mode").await?;
            let (tenant, name, version) = (&change.tenant, &change.name, change.version);
            let Some(mut live) = rows::plan_version(link, tenant, name, version).await? else {
                return Ok(Err(StoreError::NoSuchPlan { name: name.clone(), version }));
            };
            let previous = rows::live_plan(link, tenant, name).await?.map(|plan| plan.version);
            let changed = previous != Some(version);
            if changed {
                rows::insert_change(link, change).await?;
                live.live = true;
            }
            Ok(Ok(AlsoDone::Live { live: Box::new(live), previous, changed }))
        }
    }
}

/// Writes whose conversations they are, and who turned out to be one. False when one of them is not known: its write is refused.
async fn persons_of(link: &Link, writes: &[Write], tries: &mut Tries) -> Result<bool> {
    let with_persons = |write: &Write| !write.persons.is_empty() || !write.merges.is_empty();
    for (at, write) in writes.iter().enumerate().filter(|(_, write)| with_persons(write)) {
        if tries.refused.contains_key(&at) {
            continue;
        }
        for merge in &write.merges {
            if let Err(refused) = persons::merge_now(link, merge).await? {
                tries.refused.insert(at, refused);
                return Ok(false);
            }
        }
        for of in &write.persons {
            let sql = "update conversation set person = $3 where tenant = $1 and conversation = $2";
            let (id, person) = (of.conversation.to_bytes(), of.person.to_bytes());
            if link.execute(sql, &[&of.tenant.as_str(), &&id[..], &&person[..]]).await? == 0 {
                let why = format!("conversation {} is not in the log", of.conversation);
                tries.refused.insert(at, StoreError::Conflict(why));
                return Ok(false);
            }
        }
    }
    Ok(true)
}
