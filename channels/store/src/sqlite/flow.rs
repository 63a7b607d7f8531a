//! Inbox, outbox and deliveries in SQLite.

use std::collections::HashSet;
use std::sync::Arc;

use ark_conversation::{ConversationId, Tenant};
use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use crate::feed::DeliveryCounts;
use crate::heads::Key;
use crate::inbox::{Backlog, Inbound, Ingested, Join};
use crate::lease::Topology;
use crate::limits::{PAGE_ROWS_MAX, READ_BYTES_MAX};
use crate::outbox::{Delivery, DeliveryState, LAPSED, NewDelivery, Outgoing};
use crate::pending::{PendingDelivery, PendingInbound};
use crate::sqlite::leases::NOW_MS;
use crate::sqlite::rows::{self, time, unreadable};
use crate::sqlite::writer::{Result, Said, Work};
use crate::waiting::Held;

/// Which shards a question is about, as a parameter: a JSON array, or nothing for all.
fn of_shards(shards: &[u16]) -> Option<String> {
    if shards.is_empty() { None } else { Some(format!("{shards:?}")) }
}

const OF_SHARDS: &str = "(?1 is null or shard in (select value from json_each(?1)))";

pub(super) const KNOWN: &str =
    "insert into inbox (tenant, id, source, row, conversation, at_us) values (?1, ?2, ?3, ?4, ?5, ?6)
    on conflict do nothing";

const WAITING: &str = "insert into waiting (row, shard, tenant, conversation, at_us, event)
    values (?1, ?2, ?3, ?4, ?5, ?6)";

const APPLIED: &str = "delete from waiting where row between ?1 and ?2";

pub(super) fn ingest(work: &mut Work<'_>, new: &PendingInbound) -> Result<Said<Ingested>> {
    let db = work.db;
    if let Some(conversation) = work.threads.get(&new.tenant, &new.event.source) {
        // The usual case is one statement; what was there says so by its keys.
        return match insert_inbound(work, new, conversation)? {
            Some(row) => Ok(Ok(ingested(work, row, conversation, false, false))),
            None => match known_inbound(db, new)? {
                Some((row, conversation)) => Ok(Ok(ingested(work, row, conversation, false, true))),
                None => Err(rusqlite::Error::QueryReturnedNoRows),
            },
        };
    }
    if let Some((row, conversation)) = known_inbound(db, new)? {
        return Ok(Ok(ingested(work, row, conversation, false, true)));
    }
    let tenant = new.tenant.as_str();
    // One that has ended keeps its threads for as long as its customer may say how content they were; what follows something of it
    // belongs there for as long as it is there.
    let known: Option<([u8; 16], bool, bool)> = db
        .prepare_cached(
            "select t.conversation, c.ended_us is not null, (?4 and c.erased_us is null)
                 or json_extract(c.state, '$.survey.score') is null
                 and coalesce(json_extract(c.state, '$.survey.until'), '') > ?3
             from thread t
             left join conversation c on c.tenant = t.tenant and c.conversation = t.conversation
             where t.tenant = ?1 and t.source = ?2",
        )?
        .query_row(params![tenant, new.event.source, new.at.to_string(), new.event.event.follows()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let ended = known.is_some_and(|(_, ended, _)| ended);
    let (conversation, joins) = match known {
        Some((conversation, ended, stays)) if !ended || stays => (ConversationId::from_bytes(conversation), false),
        _ => (joined(db, &new.tenant, &new.join)?.unwrap_or(new.begin), true),
    };
    if joins {
        let person = if let Join::Person(person) = &new.join { Some(person.to_bytes()) } else { None };
        db.prepare_cached(
            "insert into thread (tenant, source, conversation, person) values (?1, ?2, ?3, ?4)
             on conflict (tenant, source) do update set conversation = ?3, person = coalesce(?4, person)",
        )?
        .execute(params![tenant, new.event.source, conversation.to_bytes(), person])?;
    }
    let row = insert_inbound(work, new, conversation)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    // One that was pointed to an ended conversation (by its id) is looked at again with the next message.
    if !joins && !ended {
        work.threads.put(&new.tenant, &new.event.source, conversation);
    }
    Ok(Ok(ingested(work, row, conversation, joins, false)))
}

fn ingested(work: &Work<'_>, row: u64, conversation: ConversationId, joined: bool, duplicate: bool) -> Ingested {
    Ingested { row, conversation, shard: work.shared.topology.shard(conversation), joined, duplicate }
}

/// The row of a message that is there, and its conversation.
fn known_inbound(db: &Connection, new: &PendingInbound) -> Result<Option<(u64, ConversationId)>> {
    db.prepare_cached("select row, conversation from inbox where tenant = ?1 and source = ?2 and id = ?3")?
        .query_row(params![new.tenant.as_str(), new.event.source, new.event.id], |row| {
            Ok((row.get(0)?, ConversationId::from_bytes(row.get(1)?)))
        })
        .optional()
}

/// Its row; none when it is there already.
fn insert_inbound(work: &mut Work<'_>, new: &PendingInbound, conversation: ConversationId) -> Result<Option<u64>> {
    let row = work.last_row()? + 1;
    let (tenant, key, at) = (new.tenant.as_str(), conversation.to_bytes(), new.at.as_microsecond());
    let written =
        work.hot.known.get(work.db, KNOWN)?.execute(params![tenant, new.event.id, new.event.source, row, key, at])?;
    if written == 0 {
        return Ok(None);
    }
    let shard = work.shared.topology.shard(conversation);
    work.hot.waiting.get(work.db, WAITING)?.execute(params![row, shard, tenant, key, at, new.json])?;
    let (tenant, event, bytes) = (new.tenant.clone(), Arc::clone(&new.event), new.json.len());
    work.came(row, Held { shard, tenant, conversation, at: new.at, event, bytes });
    Ok(Some(row))
}

/// Takes rows that are done out of what waits. One that is done already is no error.
pub(super) fn applied(work: &mut Work<'_>, rows: &[u64]) -> Result<()> {
    // The owner reads in order: most stand in one run.
    for run in rows.chunk_by(|before, after| after.checked_sub(*before) == Some(1)) {
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            let between = params![i64::try_from(*first).unwrap_or(i64::MAX), i64::try_from(*last).unwrap_or(i64::MAX)];
            let waited = work.hot.applied.get(work.db, APPLIED)?.execute(between)?;
            work.done(*first, *last, waited as u64);
        }
    }
    Ok(())
}

/// The open conversation that a thread joins.
fn joined(db: &Connection, tenant: &Tenant, join: &Join) -> Result<Option<ConversationId>> {
    let found = match join {
        Join::Begin => return Ok(None),
        Join::Conversation(id) => db
            .prepare_cached(
                "select conversation from conversation
                 where tenant = ?1 and conversation = ?2 and ended_us is null",
            )?
            .query_row(params![tenant.as_str(), id.to_bytes()], |row| row.get(0))
            .optional()?,
        Join::Person(person) => {
            let root = super::persons::root(db, tenant, *person)?.unwrap_or(*person);
            db.prepare_cached(
                "with recursive one (id, depth) as (
                     select ?2, 0 union
                     select p.person, depth + 1 from person p join one on p.tenant = ?1 and p.merged_into = one.id
                     where depth < 32)
                 select conversation from conversation
                 where tenant = ?1 and person in (select id from one) and ended_us is null
                 union
                 select t.conversation from thread t
                 left join conversation c on c.tenant = t.tenant and c.conversation = t.conversation
                 where t.tenant = ?1 and t.person in (select id from one) and c.ended_us is null
                 order by 1 desc limit 1",
            )?
            .query_row(params![tenant.as_str(), root.to_bytes()], |row| row.get(0))
            .optional()?
        }
    };
    Ok(found.map(ConversationId::from_bytes))
}

pub(super) fn inbox(db: &Connection, shards: &[u16], after: u64, limit: usize) -> Result<Vec<Inbound>> {
    let sql = format!(
        "select row, shard, tenant, conversation, at_us, event from waiting
         where {OF_SHARDS} and row > ?2 order by row limit ?3"
    );
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = limit.min(PAGE_ROWS_MAX) as i64;
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![of_shards(shards), after, limit])?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    while bytes < READ_BYTES_MAX
        && let Some(row) = rows.next()?
    {
        let text = row.get_ref(5)?.as_str()?;
        bytes += text.len();
        page.push(Inbound {
            row: row.get(0)?,
            shard: row.get(1)?,
            tenant: rows::tenant(row, 2)?,
            conversation: ConversationId::from_bytes(row.get(3)?),
            at: time(row, 4)?,
            event: crate::inbox::event(text).map_err(|error| unreadable(5, Type::Text, error))?,
        });
    }
    Ok(page)
}

/// The last number that a row of the inbox was given.
pub(super) fn last_row(db: &Connection) -> Result<u64> {
    db.query_row("select cast(value as integer) from meta where key = 'inbox_row'", [], |row| row.get(0))
}

/// How many rows of the inbox wait, and the last number that was given.
pub(super) fn waits(db: &Connection) -> Result<(u64, u64)> {
    Ok((db.query_row("select count(*) from waiting", [], |row| row.get(0))?, last_row(db)?))
}

pub(super) fn thread(db: &Connection, tenant: &Tenant, source: &str) -> Result<Option<ConversationId>> {
    db.prepare_cached("select conversation from thread where tenant = ?1 and source = ?2")?
        .query_row(params![tenant.as_str(), source], |row| row.get(0).map(ConversationId::from_bytes))
        .optional()
}

/// A stretch of a conversation's log, for the outbox: its first and last number.
pub(super) type Stretch = (Key, u64, u64);

/// Rows of the outbox that one statement writes.
const OUTGOING_AT_ONCE: usize = 16;

/// Writes rows of the outbox, in order.
pub(super) fn insert_outgoing(db: &Connection, topology: Topology, outgoing: &[Stretch]) -> Result<()> {
    let sql = |rows: usize| {
        let rows = vec!["(?, ?, ?, ?, ?)"; rows].join(", ");
        format!("insert into outbox (shard, tenant, conversation, first_seq, last_seq) values {rows}")
    };
    let (mut many, mut one) = (None, None);
    for chunk in outgoing.chunks(OUTGOING_AT_ONCE) {
        // Numbers that are never used again cost something for each statement.
        let (rows, statement) = if chunk.len() == OUTGOING_AT_ONCE { (chunk.len(), &mut many) } else { (1, &mut one) };
        for part in chunk.chunks(rows) {
            let statement = match statement {
                Some(statement) => statement,
                None => statement.insert(db.prepare_cached(&sql(rows))?),
            };
            let mut at = 1..;
            for (key, first, last) in part {
                let mut bind = |value: &dyn ToSql| statement.raw_bind_parameter(at.next().unwrap_or_default(), value);
                bind(&topology.shard(key.1))?;
                bind(&key.0.as_str())?;
                bind(&key.1.to_bytes())?;
                bind(first)?;
                bind(last)?;
            }
            statement.raw_execute()?;
        }
    }
    Ok(())
}

pub(super) fn outbox(db: &Connection, shards: &[u16], without: &HashSet<u64>, limit: usize) -> Result<Vec<Outgoing>> {
    let sql = format!(
        "select row, shard, tenant, conversation, first_seq, last_seq from outbox where {OF_SHARDS} order by row"
    );
    let limit = limit.min(PAGE_ROWS_MAX);
    let mut statement = db.prepare_cached(&sql)?;
    let mut found = statement.query(params![of_shards(shards)])?;
    let sql =
        format!("{} where tenant = ?1 and conversation = ?2 and seq between ?3 and ?4 order by seq", rows::RECORD);
    let mut log = db.prepare_cached(&sql)?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    while bytes < READ_BYTES_MAX
        && page.len() < limit
        && let Some(row) = found.next()?
    {
        if without.contains(&row.get(0)?) {
            continue;
        }
        let (tenant, conversation): (String, [u8; 16]) = (row.get(2)?, row.get(3)?);
        let (first, last): (u64, u64) = (row.get(4)?, row.get(5)?);
        let mut records = Vec::new();
        let mut lines = log.query(params![tenant, conversation, first, last])?;
        while let Some(line) = lines.next()? {
            bytes += line.get_ref(10)?.as_bytes()?.len();
            records.push(rows::record(line)?);
        }
        page.push(Outgoing { row: row.get(0)?, shard: row.get(1)?, records });
    }
    Ok(page)
}

pub(super) fn outbox_done(db: &Connection, done: &[u64]) -> Result<Said<()>> {
    let mut delete = db.prepare_cached("delete from outbox where row = ?1")?;
    for row in done {
        delete.execute(params![row])?;
    }
    Ok(Ok(()))
}

/// Writes a delivery; false when its (tenant, adapter, key) is there already.
pub(super) fn insert_delivery(db: &Connection, delivery: &PendingDelivery) -> Result<bool> {
    let what = &delivery.what;
    let written = db
        .prepare_cached(
            "insert into delivery
             (tenant, adapter, key, order_key, conversation, body, not_before_ms, not_before_us)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) on conflict (tenant, adapter, key) do nothing",
        )?
        .execute(params![
            what.tenant.as_str(),
            what.adapter,
            what.key,
            what.order_key,
            what.conversation.to_bytes(),
            delivery.body,
            what.not_before.map_or(0, Timestamp::as_millisecond),
            what.not_before.map(Timestamp::as_microsecond),
        ])?;
    Ok(written == 1)
}

const DELIVERY: &str = "id, tenant, adapter, key, order_key, conversation, body, not_before_us, state, attempts, error";

fn delivery(row: &Row<'_>) -> Result<Delivery> {
    let not_before: Option<i64> = row.get(7)?;
    Ok(Delivery {
        id: row.get(0)?,
        what: NewDelivery {
            tenant: rows::tenant(row, 1)?,
            adapter: row.get(2)?,
            key: row.get(3)?,
            order_key: row.get(4)?,
            conversation: ConversationId::from_bytes(row.get(5)?),
            body: serde_json::from_str(row.get_ref(6)?.as_str()?).map_err(|error| unreadable(6, Type::Text, error))?,
            not_before: if not_before.is_some() { Some(time(row, 7)?) } else { None },
        },
        state: DeliveryState::from_code(row.get(8)?),
        attempts: row.get(9)?,
        error: row.get(10)?,
    })
}

pub(super) fn claim_deliveries(
    db: &Connection,
    adapter: &str,
    gateway: &str,
    ttl_ms: i64,
    limit: usize,
) -> Result<Said<Vec<Delivery>>> {
    // A claim is a wait: `not_before_ms` of a claimed row is the end of the claim.
    let sql = format!(
        "update delivery set state = 1, attempts = attempts + 1, claimed_by = ?2, not_before_ms = {NOW_MS} + ?3,
             error = case state when 1 then '{LAPSED}' else error end
         where id in (
             select id from delivery d
             where adapter = ?1 and state < 2 and not_before_ms <= {NOW_MS} and not exists (
                 select 1 from delivery e
                 where e.adapter = d.adapter and e.order_key = d.order_key and e.id < d.id and e.state < 2)
             order by id limit ?4)
         returning {DELIVERY}"
    );
    let limit = limit.min(PAGE_ROWS_MAX) as i64;
    let mut claimed: Vec<Delivery> = db
        .prepare_cached(&sql)?
        .query_map(params![adapter, gateway, ttl_ms, limit], delivery)?
        .collect::<Result<_>>()?;
    claimed.sort_by_key(|one| one.id);
    Ok(Ok(claimed))
}

pub(super) fn settle(
    db: &Connection,
    id: u64,
    attempt: u32,
    (state, error, wait_ms): &(i16, Option<String>, i64),
) -> Result<Said<bool>> {
    let sql = format!(
        "update delivery set state = ?3, error = ?4, claimed_by = null, not_before_ms = {NOW_MS} + ?5
         where id = ?1 and attempts = ?2 and state = 1"
    );
    Ok(Ok(db.prepare_cached(&sql)?.execute(params![id, attempt, state, error, wait_ms])? == 1))
}

pub(super) fn deliveries(
    db: &Connection,
    tenant: &Tenant,
    adapter: &str,
    state: DeliveryState,
    after: u64,
    limit: usize,
) -> Result<Vec<Delivery>> {
    let sql = format!(
        "select {DELIVERY} from delivery where tenant = ?1 and adapter = ?2 and state = ?3 and id > ?4
         order by id limit ?5"
    );
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = limit.min(PAGE_ROWS_MAX) as i64;
    db.prepare_cached(&sql)?
        .query_map(params![tenant.as_str(), adapter, state.code(), after, limit], delivery)?
        .collect()
}

pub(super) fn replay_delivery(db: &Connection, tenant: &Tenant, id: u64) -> Result<Said<bool>> {
    let sql = "update delivery set state = 0, attempts = 0, not_before_ms = 0
        where tenant = ?1 and id = ?2 and state >= 2";
    Ok(Ok(db.execute(sql, params![tenant.as_str(), id])? == 1))
}

pub(super) fn delivery_counts(db: &Connection, tenant: &Tenant, adapter: &str) -> Result<DeliveryCounts> {
    let sql = "select (select count(*) from delivery where tenant = ?1 and adapter = ?2 and state in (0, 1)),
        (select count(*) from delivery where tenant = ?1 and adapter = ?2 and state = 3)";
    db.prepare_cached(sql)?.query_row(params![tenant.as_str(), adapter], |row| {
        Ok(DeliveryCounts { waiting: row.get(0)?, dead: row.get(1)? })
    })
}

/// `not_before_ms` of a delivery that is over is when it came to its end.
pub(super) fn forget_deliveries(
    db: &Connection,
    tenant: &Tenant,
    adapter: &str,
    (state, age_ms): (i16, i64),
) -> Result<Said<u64>> {
    let sql = format!(
        "delete from delivery where id in (
             select id from (
                 select id, not_before_ms from delivery where tenant = ?1 and adapter = ?2 and state = ?3
                 order by id limit {PAGE_ROWS_MAX})
             where not_before_ms <= {NOW_MS} - ?4)"
    );
    let gone = db.prepare_cached(&sql)?.execute(params![tenant.as_str(), adapter, state, age_ms])?;
    Ok(Ok(gone as u64))
}

pub(super) fn backlog(db: &Connection) -> Result<Backlog> {
    db.query_row(
        "select (select count(*) from waiting), (select count(*) from outbox),
             (select count(*) from delivery where state < 2), (select count(*) from delivery where state = 3)",
        [],
        |row| Ok(Backlog { inbox: row.get(0)?, outbox: row.get(1)?, deliveries: row.get(2)?, dead: row.get(3)? }),
    )
}
