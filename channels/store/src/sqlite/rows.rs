//! Rows as values: the statements that both the writer and the readers use.

use std::collections::BTreeMap;

use ark_conversation::{CloudEvent, ConversationId, ConversationState, Event, Record, Tenant};
use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use crate::feed::{FeedPage, Positioned};
use crate::limits::{READ_BYTES_MAX, READ_RECORDS_MAX, SEARCH_FOUND_MAX, SEARCH_ROWS_MAX};
use crate::pending::AdvanceOf;
use crate::plan::{PlanChange, PlanChangeKind, PlanVersion};
use crate::search::{self, Found};
use crate::{ListFilter, Openness, Page};

type Result<T> = rusqlite::Result<T>;

pub(super) fn unreadable(
    column: usize,
    kind: Type,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    Timestamp::from_microsecond(row.get(column)?).map_err(|error| unreadable(column, Type::Integer, error))
}

pub(super) fn tenant(row: &Row<'_>, column: usize) -> Result<Tenant> {
    Tenant::new(row.get_ref(column)?.as_str()?).map_err(|error| unreadable(column, Type::Text, error))
}

pub(super) const RECORD: &str =
    "select tenant, conversation, seq, epoch, at_us, type, source, id, subject, time_us, data, extensions from log";

/// Data that does not fit its type (another version wrote it) is carried as it is: one event must not hide the others.
fn event(type_name: &str, data: &str) -> Result<Event> {
    crate::erase::event(type_name, data).map_err(|error| unreadable(10, Type::Text, error))
}

pub(super) fn record(row: &Row<'_>) -> Result<Record> {
    let event = event(row.get_ref(5)?.as_str()?, row.get_ref(10)?.as_str()?)?;
    let extensions = match row.get_ref(11)?.as_str_or_null()? {
        Some(text) => serde_json::from_str(text).map_err(|error| unreadable(11, Type::Text, error))?,
        None => BTreeMap::new(),
    };
    Ok(Record {
        tenant: tenant(row, 0)?,
        conversation: ConversationId::from_bytes(row.get(1)?),
        seq: row.get(2)?,
        epoch: row.get(3)?,
        at: time(row, 4)?,
        event: CloudEvent {
            id: row.get(7)?,
            source: row.get(6)?,
            subject: row.get(8)?,
            time: time(row, 9)?,
            event,
            extensions,
        },
    })
}

/// A conversation's log after a number: as many records as fit the bounds, one at least when there is one.
pub(super) fn read(
    db: &Connection,
    tenant: &Tenant,
    conversation: ConversationId,
    after: u64,
    limit: usize,
) -> Result<Vec<Record>> {
    let sql = format!("{RECORD} where tenant = ?1 and conversation = ?2 and seq > ?3 order by seq limit ?4");
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = limit.min(READ_RECORDS_MAX) as i64;
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![tenant.as_str(), conversation.to_bytes(), after, limit])?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    while bytes < READ_BYTES_MAX
        && let Some(row) = rows.next()?
    {
        bytes += row.get_ref(10)?.as_bytes()?.len();
        page.push(record(row)?);
    }
    Ok(page)
}

/// The last position of the log.
pub(super) fn feed_end(db: &Connection) -> Result<u64> {
    db.prepare_cached("select coalesce(max(row), 0) from log")?.query_row([], |row| row.get(0))
}

/// A tenant's log after a position. The only writer commits in the order of rows, so that what is seen is a prefix.
pub(super) fn feed(db: &Connection, tenant: &Tenant, after: u64, limit: usize) -> Result<FeedPage> {
    let end = feed_end(db)?;
    let limit = limit.min(READ_RECORDS_MAX);
    // By the row and by nothing else: an index by tenant would be sorted anew for each page.
    let mut statement = db.prepare_cached(
        "select tenant, conversation, seq, epoch, at_us, type, source, id, subject, time_us, data, extensions, row
         from log not indexed where row > ?1 and row <= ?2 and tenant = ?3 order by row limit ?4",
    )?;
    let after_row = i64::try_from(after).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![after_row, end, tenant.as_str(), limit as i64])?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    while bytes < READ_BYTES_MAX {
        let Some(row) = rows.next()? else {
            let next = if records.len() < limit { end.max(after) } else { last(&records, after) };
            return Ok(FeedPage { records, next, held: false });
        };
        bytes += row.get_ref(10)?.as_bytes()?.len();
        records.push(Positioned { position: row.get(12)?, record: record(row)? });
    }
    let next = last(&records, after);
    Ok(FeedPage { records, next, held: false })
}

fn last(records: &[Positioned], after: u64) -> u64 {
    records.last().map_or(after, |one| one.position)
}

/// Where a reader is.
pub(super) fn reader(db: &Connection, tenant: &Tenant, name: &str) -> Result<Option<u64>> {
    db.prepare_cached("select position from log_reader where tenant = ?1 and name = ?2")?
        .query_row(params![tenant.as_str(), name], |row| row.get(0))
        .optional()
}

/// Moves a reader on; false when it is elsewhere.
pub(super) fn advance(db: &Connection, step: &AdvanceOf) -> Result<bool> {
    let tenant = step.tenant.as_str();
    let moved = match step.from {
        None => db
            .prepare_cached("insert into log_reader values (?1, ?2, ?3) on conflict do nothing")?
            .execute(params![tenant, step.reader, step.to])?,
        Some(from) => db
            .prepare_cached("update log_reader set position = ?3 where tenant = ?1 and name = ?2 and position = ?4")?
            .execute(params![tenant, step.reader, step.to, from])?,
    };
    Ok(moved == 1)
}

/// The record with an event's (tenant, source, id).
pub(super) fn find(db: &Connection, tenant: &Tenant, source: &str, id: &str) -> Result<Option<Record>> {
    let sql = format!("{RECORD} where tenant = ?1 and source = ?2 and id = ?3");
    db.prepare_cached(&sql)?.query_row(params![tenant.as_str(), source, id], record).optional()
}

pub(super) const INSERT: &str = "insert into log
    (tenant, conversation, seq, epoch, at_us, type, source, id, subject, time_us, data, extensions)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) on conflict (tenant, source, id) do nothing";

/// Writes a record under its `seq` by [`INSERT`]; false when an event with its (tenant, source, id) is there already.
pub(super) fn insert(
    statement: &mut rusqlite::Statement<'_>,
    record: &Record,
    data: &str,
    extensions: Option<&str>,
) -> Result<bool> {
    let event = &record.event;
    let written = statement.execute(params![
        record.tenant.as_str(),
        record.conversation.to_bytes(),
        record.seq,
        record.epoch,
        record.at.as_microsecond(),
        event.type_name(),
        event.source,
        event.id,
        event.subject,
        event.time.as_microsecond(),
        data,
        extensions,
    ])?;
    Ok(written == 1)
}

/// The state of a conversation up to its last record.
pub(super) fn state(
    db: &Connection,
    tenant: &Tenant,
    conversation: ConversationId,
) -> Result<Option<ConversationState>> {
    let json: Option<String> = db
        .prepare_cached("select state from conversation where tenant = ?1 and conversation = ?2")?
        .query_row(params![tenant.as_str(), conversation.to_bytes()], |row| row.get(0))
        .optional()?;
    json.map(|json| with_position(db, tenant, conversation, &json)).transpose()
}

/// The row's state is written when something changes that lists show; its position in the log is always the log's own.
fn with_position(
    db: &Connection,
    tenant: &Tenant,
    conversation: ConversationId,
    json: &str,
) -> Result<ConversationState> {
    let Ok(mut state) = serde_json::from_str::<ConversationState>(json) else {
        // Written by a version whose state looked different: the log knows.
        return refold(db, tenant, conversation);
    };
    let (seq, at) = db
        .prepare_cached("select seq, at_us from log where tenant = ?1 and conversation = ?2 order by seq desc limit 1")?
        .query_row(params![tenant.as_str(), conversation.to_bytes()], |row| Ok((row.get(0)?, time(row, 1)?)))?;
    (state.last_seq, state.last_at) = (seq, at);
    Ok(state)
}

/// The state folded from the whole log, in pages.
pub(super) fn refold(db: &Connection, tenant: &Tenant, conversation: ConversationId) -> Result<ConversationState> {
    let mut page = read(db, tenant, conversation, 0, READ_RECORDS_MAX)?;
    let mut state = ConversationState::begin(page.first().ok_or(rusqlite::Error::QueryReturnedNoRows)?);
    while !page.is_empty() {
        for record in &page {
            state.apply(record);
        }
        page = read(db, tenant, conversation, state.last_seq, READ_RECORDS_MAX)?;
    }
    Ok(state)
}

/// Writes a conversation's row.
pub(super) fn put_state(db: &Connection, state: &ConversationState, json: &str) -> Result<()> {
    let kind = crate::kind_name(state.kind);
    db.prepare_cached(
        "insert into conversation (tenant, conversation, kind, ended_us, state) values (?1, ?2, ?3, ?4, ?5)
         on conflict (tenant, conversation) do update set ended_us = ?4, state = ?5",
    )?
    .execute(params![
        state.tenant.as_str(),
        state.conversation.to_bytes(),
        kind,
        state.ended.map(Timestamp::as_microsecond),
        json
    ])?;
    Ok(())
}

/// A page of conversations, newest first.
pub(super) fn list(db: &Connection, tenant: &Tenant, filter: &ListFilter, limit: usize) -> Result<Page> {
    let limit = limit.clamp(1, crate::limits::LIST_MAX);
    let openness = match filter.openness {
        Openness::All => "",
        Openness::Open => " and ended_us is null",
        Openness::Ended => " and ended_us is not null",
    };
    // Ids sort by the time in them, so `since` is a bound on the id and no page reads more rows than it shows and
    // skips.
    let since = filter.since.map_or(0, |since| u64::try_from(since.as_millisecond()).unwrap_or(0));
    let since = ConversationId::first_of(since).to_bytes();
    let before = filter.before.map_or([0xff; 16], ConversationId::to_bytes);
    let until = filter.until.map_or([0xff; 16], |until| {
        ConversationId::first_of(u64::try_from(until.as_millisecond()).unwrap_or(0)).to_bytes()
    });
    let person = filter.person.map(|person| person.to_bytes());
    let whose = if person.is_some() {
        " and person in (
            with recursive one (id, depth) as (
                select ?6, 0 union
                select p.person, depth + 1 from person p join one on p.tenant = ?1 and p.merged_into = one.id
                where depth < 32
            )
            select id from one)"
    } else {
        " and ?6 is null"
    };
    let by = if filter.channel.is_some() {
        " and exists (select 1 from conversation_channel h
            where h.tenant = ?1 and h.channel = ?7 and h.conversation = conversation.conversation)"
    } else {
        " and ?7 is null"
    };
    let (kind, kind_value) = match filter.kind {
        Some(kind) => ("kind = ?5", crate::kind_name(kind)),
        None => ("kind <> ?5", "system"),
    };
    let sql = format!(
        "select conversation, state from conversation
         where tenant = ?1 and conversation >= ?2 and conversation < ?3 and {kind}{openness}{whose}{by}
         order by conversation desc limit ?4"
    );
    let more = limit as i64 + 1;
    let before = before.min(until);
    let values: [&dyn ToSql; 7] = [&tenant.as_str(), &since, &before, &more, &kind_value, &person, &filter.channel];
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(values)?;
    let mut page = Page { conversations: Vec::new(), next: None };
    while let Some(row) = rows.next()? {
        if page.conversations.len() == limit {
            page.next = page.conversations.last().map(|state| state.conversation);
            break;
        }
        let conversation = ConversationId::from_bytes(row.get(0)?);
        page.conversations.push(with_position(db, tenant, conversation, row.get_ref(1)?.as_str()?)?);
    }
    Ok(page)
}

/// Records that say these words, of a window of the log.
pub(super) fn search(
    db: &Connection,
    tenant: &Tenant,
    words: &str,
    before: Option<(ConversationId, u64)>,
) -> Result<Found> {
    let (conversation, seq) = search::begin(before);
    let window = "from log where tenant = ?1 and (conversation, seq) < (?2, ?3) order by conversation desc, seq desc";
    let sql = format!(
        "select tenant, conversation, seq, epoch, at_us, type, source, id, subject, time_us, data, extensions
         from (select * {window} limit ?4)
         where type in ({}) and data like ?5 escape '!' order by conversation desc, seq desc limit ?6",
        search::SAYS
    );
    let (most, found) = (SEARCH_ROWS_MAX as i64, SEARCH_FOUND_MAX as i64);
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement
        .query_map(params![tenant.as_str(), conversation, seq, most, search::pattern(words), found], record)?
        .collect::<Result<Vec<_>>>()?;
    let end = db
        .prepare_cached(&format!("select conversation, seq {window} limit 1 offset ?4"))?
        .query_row(params![tenant.as_str(), conversation, seq, most - 1], |row| {
            Ok((ConversationId::from_bytes(row.get(0)?), row.get(1)?))
        })
        .optional()?;
    Ok(search::found(rows, words, end))
}

const PLAN: &str = "select tenant, name, version, sha256, source, at_us, by, note,
    version is (
        select version from plan_change c where c.tenant = p.tenant and c.name = p.name order by c.row desc limit 1
    )
    from plan_version p";

fn plan(row: &Row<'_>) -> Result<PlanVersion> {
    Ok(PlanVersion {
        tenant: tenant(row, 0)?,
        name: row.get(1)?,
        version: row.get(2)?,
        sha256: row.get(3)?,
        source: row.get(4)?,
        at: time(row, 5)?,
        by: row.get(6)?,
        note: row.get(7)?,
        live: row.get(8)?,
    })
}

/// One version of a plan.
pub(super) fn plan_version(db: &Connection, tenant: &Tenant, name: &str, version: u32) -> Result<Option<PlanVersion>> {
    let sql = format!("{PLAN} where tenant = ?1 and name = ?2 and version = ?3");
    db.prepare_cached(&sql)?.query_row(params![tenant.as_str(), name, version], plan).optional()
}

/// A version of a plan by its source's hash.
pub(super) fn plan_by_hash(db: &Connection, tenant: &Tenant, name: &str, sha256: &str) -> Result<Option<PlanVersion>> {
    let sql = format!("{PLAN} where tenant = ?1 and name = ?2 and sha256 = ?3");
    db.prepare_cached(&sql)?.query_row(params![tenant.as_str(), name, sha256], plan).optional()
}

/// The version of a plan that is live.
pub(super) fn live_plan(db: &Connection, tenant: &Tenant, name: &str) -> Result<Option<PlanVersion>> {
    let live: Option<u32> = db
        .prepare_cached("select version from plan_change where tenant = ?1 and name = ?2 order by row desc limit 1")?
        .query_row(params![tenant.as_str(), name], |row| row.get(0))
        .optional()?;
    match live {
        Some(version) => plan_version(db, tenant, name, version),
        None => Ok(None),
    }
}

/// Versions, newest first.
pub(super) fn plan_versions(
    db: &Connection,
    tenant: &Tenant,
    name: Option<&str>,
    limit: usize,
) -> Result<Vec<PlanVersion>> {
    let sql = format!("{PLAN} where tenant = ?1 and (?2 is null or name = ?2) order by row desc limit ?3");
    let limit = limit.min(crate::limits::LIST_MAX) as i64;
    db.prepare_cached(&sql)?.query_map(params![tenant.as_str(), name, limit], plan)?.collect()
}

/// What was live when, newest first.
pub(super) fn plan_history(db: &Connection, tenant: &Tenant, name: &str, limit: usize) -> Result<Vec<PlanChange>> {
    let limit = limit.min(crate::limits::LIST_MAX) as i64;
    db.prepare_cached(
        "select tenant, name, version, kind, at_us, by, note from plan_change
         where tenant = ?1 and name = ?2 order by row desc limit ?3",
    )?
    .query_map(params![tenant.as_str(), name, limit], |row| {
        let kind = match row.get_ref(3)?.as_str()? {
            "rolled_back" => PlanChangeKind::RolledBack,
            _ => PlanChangeKind::Published,
        };
        Ok(PlanChange {
            tenant: tenant_of(row)?,
            name: row.get(1)?,
            version: row.get(2)?,
            kind,
            at: time(row, 4)?,
            by: row.get(5)?,
            note: row.get(6)?,
        })
    })?
    .collect()
}

fn tenant_of(row: &Row<'_>) -> Result<Tenant> {
    tenant(row, 0)
}
