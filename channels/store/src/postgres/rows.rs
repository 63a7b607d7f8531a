//! Rows as values: log, conversations, plans.

use std::collections::BTreeMap;

use ark_conversation::{CloudEvent, ConversationId, ConversationState, PersonId, Record, Tenant};
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::fail::Fault;
use super::link::{Link, Result};
use crate::limits::{LIST_MAX, READ_BYTES_MAX, READ_RECORDS_MAX, SEARCH_FOUND_MAX, SEARCH_ROWS_MAX};
use crate::plan::{PlanChange, PlanChangeKind, PlanVersion};
use crate::search::{self, Found};
use crate::{ListFilter, Openness, Page};

pub(super) fn time(row: &Row, column: usize) -> Result<Timestamp> {
    Timestamp::from_microsecond(row.try_get(column)?).map_err(Fault::unreadable)
}

pub(super) fn tenant(row: &Row, column: usize) -> Result<Tenant> {
    Tenant::new(row.try_get::<_, &str>(column)?).map_err(Fault::unreadable)
}

fn bytes(row: &Row, column: usize) -> Result<[u8; 16]> {
    row.try_get::<_, &[u8]>(column)?.try_into().map_err(Fault::unreadable)
}

pub(super) fn conversation(row: &Row, column: usize) -> Result<ConversationId> {
    bytes(row, column).map(ConversationId::from_bytes)
}

pub(super) fn person(row: &Row, column: usize) -> Result<PersonId> {
    bytes(row, column).map(PersonId::from_bytes)
}

/// A number that is never negative.
pub(super) fn number(row: &Row, column: usize) -> Result<u64> {
    u64::try_from(row.try_get::<_, i64>(column)?).map_err(Fault::unreadable)
}

pub(super) fn small(row: &Row, column: usize) -> Result<u32> {
    u32::try_from(row.try_get::<_, i32>(column)?).map_err(Fault::unreadable)
}

/// A number as PostgreSQL has it; what does not fit is beyond everything.
pub(super) fn big(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The columns of [`record`], from `log l`.
pub(super) const RECORD: &str = "l.tenant, l.conversation, l.seq, l.epoch, l.at_us, l.type, l.source, l.id, l.subject, l.time_us, \
     l.data, l.extensions";

pub(super) fn record(row: &Row) -> Result<Record> {
    let event = crate::erase::event(row.try_get(5)?, row.try_get(10)?).map_err(Fault::unreadable)?;
    let extensions = match row.try_get::<_, Option<&str>>(11)? {
        Some(text) => serde_json::from_str(text).map_err(Fault::unreadable)?,
        None => BTreeMap::new(),
    };
    Ok(Record {
        tenant: tenant(row, 0)?,
        conversation: conversation(row, 1)?,
        seq: number(row, 2)?,
        epoch: number(row, 3)?,
        at: time(row, 4)?,
        event: CloudEvent {
            id: row.try_get(7)?,
            source: row.try_get(6)?,
            subject: row.try_get(8)?,
            time: time(row, 9)?,
            event,
            extensions,
        },
    })
}

/// A conversation's log after a number: as many records as fit the bounds, one at least when there is one.
pub(super) async fn read(
    link: &Link,
    tenant: &Tenant,
    conversation: ConversationId,
    after: u64,
    limit: usize,
) -> Result<Vec<Record>> {
    // The bound in bytes is the database's to keep: a page must not travel to be thrown away.
    let sql = format!(
        "select {RECORD} from (
             select *, sum(octet_length(data)) over (order by seq) - octet_length(data) as before from (
                 select * from log where tenant = $1 and conversation = $2 and seq > $3 order by seq limit $4) p) l
         where l.before < $5 order by l.seq"
    );
    let limit = limit.min(READ_RECORDS_MAX) as i64;
    let (id, bytes) = (conversation.to_bytes(), READ_BYTES_MAX as i64);
    let rows = link.query(&sql, &[&tenant.as_str(), &&id[..], &big(after), &limit, &bytes]).await?;
    rows.iter().map(record).collect()
}

/// The state of a conversation up to its last record.
pub(super) async fn state(
    link: &Link,
    tenant: &Tenant,
    conversation: ConversationId,
) -> Result<Option<ConversationState>> {
    let sql = "select c.state, l.seq, l.at_us from conversation c, lateral (
            select seq, at_us from log where tenant = c.tenant and conversation = c.conversation
            order by seq desc limit 1) l
        where c.tenant = $1 and c.conversation = $2";
    let row = link.one(sql, &[&tenant.as_str(), &&conversation.to_bytes()[..]]).await?;
    match row {
        Some(row) => with_position(link, tenant, conversation, &row, 0).await.map(Some),
        None => Ok(None),
    }
}

/// The row's state is written when something changes that lists show; its position in the log is always the log's own.
pub(super) async fn with_position(
    link: &Link,
    tenant: &Tenant,
    conversation: ConversationId,
    row: &Row,
    column: usize,
) -> Result<ConversationState> {
    let Ok(mut state) = serde_json::from_str::<ConversationState>(row.try_get(column)?) else {
        // Written by a version whose state looked different: the log knows.
        return refold(link, tenant, conversation).await;
    };
    (state.last_seq, state.last_at) = (number(row, column + 1)?, time(row, column + 2)?);
    Ok(state)
}

/// The state folded from the whole log, in pages.
async fn refold(link: &Link, tenant: &Tenant, conversation: ConversationId) -> Result<ConversationState> {
    let mut page = read(link, tenant, conversation, 0, READ_RECORDS_MAX).await?;
    let first = page.first().ok_or_else(|| Fault::unreadable(format!("conversation {conversation} has no log")))?;
    let mut state = ConversationState::begin(first);
    while !page.is_empty() {
        for record in &page {
            state.apply(record);
        }
        page = read(link, tenant, conversation, state.last_seq, READ_RECORDS_MAX).await?;
    }
    Ok(state)
}

/// A page of conversations, newest first.
pub(super) async fn list(link: &Link, tenant: &Tenant, filter: &ListFilter, limit: usize) -> Result<Page> {
    let limit = limit.clamp(1, LIST_MAX);
    let openness = match filter.openness {
        Openness::All => "",
        Openness::Open => " and c.ended_us is null",
        Openness::Ended => " and c.ended_us is not null",
    };
    let bound = |at: Timestamp| ConversationId::first_of(u64::try_from(at.as_millisecond()).unwrap_or(0)).to_bytes();
    let since = filter.since.map_or([0; 16], bound);
    let before = filter.before.map_or([0xff; 16], ConversationId::to_bytes).min(filter.until.map_or([0xff; 16], bound));
    let (kind, kind_value) = match filter.kind {
        Some(kind) => ("c.kind = $5", crate::kind_name(kind)),
        None => ("c.kind <> $5", "system"),
    };
    let more = limit as i64 + 1;
    let (since, before) = (&since[..], &before[..]);
    let tenant_name = tenant.as_str();
    let person = filter.person.map(PersonId::to_bytes);
    let person = person.as_ref().map(|bytes| &bytes[..]);
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&tenant_name, &since, &before, &more, &kind_value];
    let mut also = String::new();
    if person.is_some() {
        values.push(&person);
        also.push_str(&format!(" and c.person in (select id from {})", one("$1", "$6")));
    }
    if let Some(channel) = &filter.channel {
        values.push(channel);
        also.push_str(&format!(
            " and exists (select 1 from conversation_channel h where h.tenant = $1 and h.channel = ${}
                and h.conversation = c.conversation)",
            values.len()
        ));
    }
    let sql = format!(
        "select c.conversation, c.state, l.seq, l.at_us from conversation c, lateral (
             select seq, at_us from log where tenant = c.tenant and conversation = c.conversation
             order by seq desc limit 1) l
         where c.tenant = $1 and c.conversation >= $2 and c.conversation < $3 and {kind}{openness}{also}
         order by c.conversation desc limit $4"
    );
    let rows = link.query(&sql, &values).await?;
    let mut page = Page { conversations: Vec::new(), next: None };
    for row in &rows {
        if page.conversations.len() == limit {
            page.next = page.conversations.last().map(|state| state.conversation);
            break;
        }
        let id = conversation(row, 0)?;
        page.conversations.push(with_position(link, tenant, id, row, 1).await?);
    }
    Ok(page)
}

/// Records that say these words, of a window of the log.
pub(super) async fn search(
    link: &Link,
    tenant: &Tenant,
    words: &str,
    before: Option<(ConversationId, u64)>,
) -> Result<Found> {
    let (conversation_id, seq) = search::begin(before);
    let (tenant, id, pattern) = (tenant.as_str(), &conversation_id[..], search::pattern(words));
    let window = "from log where tenant = $1 and (conversation, seq) < ($2, $3) order by conversation desc, seq desc";
    let (most, last, found) = (SEARCH_ROWS_MAX as i64, SEARCH_ROWS_MAX as i64 - 1, SEARCH_FOUND_MAX as i64);
    let sql = format!(
        "select {RECORD} from (select * {window} limit $4) l
         where l.type in ({}) and l.data ilike $5 escape '!' order by l.conversation desc, l.seq desc limit $6",
        search::SAYS
    );
    let rows = link.query(&sql, &[&tenant, &id, &seq, &most, &pattern, &found]).await?;
    let rows = rows.iter().map(record).collect::<Result<Vec<_>>>()?;
    let sql = format!("select conversation, seq {window} limit 1 offset $4");
    let end = match link.one(&sql, &[&tenant, &id, &seq, &last]).await? {
        Some(row) => Some((conversation(&row, 0)?, number(&row, 1)?)),
        None => None,
    };
    Ok(search::found(rows, words, end))
}

/// The persons that are one with a person, themselves first: a table of `id`.
pub(super) fn one(tenant: &str, person: &str) -> String {
    format!(
        "(with recursive one (id, depth) as (
             select {person}::bytea, 0 union
             select p.person, depth + 1 from person p join one on p.tenant = {tenant} and p.merged_into = one.id
             where depth < 32)
         select id from one) persons"
    )
}

const PLAN: &str = "select tenant, name, version, sha256, source, at_us, by, note,
    version is not distinct from (
        select version from plan_change c where c.tenant = p.tenant and c.name = p.name order by c.row desc limit 1
    )
    from plan_version p";

fn plan(row: &Row) -> Result<PlanVersion> {
    Ok(PlanVersion {
        tenant: tenant(row, 0)?,
        name: row.try_get(1)?,
        version: small(row, 2)?,
        sha256: row.try_get(3)?,
        source: row.try_get(4)?,
        at: time(row, 5)?,
        by: row.try_get(6)?,
        note: row.try_get(7)?,
        live: row.try_get(8)?,
    })
}

/// One version of a plan.
pub(super) async fn plan_version(
    link: &Link,
    tenant: &Tenant,
    name: &str,
    version: u32,
) -> Result<Option<PlanVersion>> {
    let Ok(version) = i32::try_from(version) else { return Ok(None) };
    let sql = format!("{PLAN} where tenant = $1 and name = $2 and version = $3");
    link.one(&sql, &[&tenant.as_str(), &name, &version]).await?.as_ref().map(plan).transpose()
}

/// A version of a plan by its source's hash.
pub(super) async fn plan_by_hash(link: &Link, tenant: &Tenant, name: &str, hash: &str) -> Result<Option<PlanVersion>> {
    let sql = format!("{PLAN} where tenant = $1 and name = $2 and sha256 = $3");
    link.one(&sql, &[&tenant.as_str(), &name, &hash]).await?.as_ref().map(plan).transpose()
}

/// The version of a plan that is live.
pub(super) async fn live_plan(link: &Link, tenant: &Tenant, name: &str) -> Result<Option<PlanVersion>> {
    let sql = "select version from plan_change where tenant = $1 and name = $2 order by row desc limit 1";
    match link.one(sql, &[&tenant.as_str(), &name]).await? {
        Some(row) => plan_version(link, tenant, name, small(&row, 0)?).await,
        None => Ok(None),
    }
}

/// Versions, newest first.
pub(super) async fn plan_versions(
    link: &Link,
    tenant: &Tenant,
    name: Option<&str>,
    limit: usize,
) -> Result<Vec<PlanVersion>> {
    let sql = format!("{PLAN} where tenant = $1 and ($2::text is null or name = $2) order by row desc limit $3");
    let limit = limit.min(LIST_MAX) as i64;
    link.query(&sql, &[&tenant.as_str(), &name, &limit]).await?.iter().map(plan).collect()
}

/// What was live when, newest first.
pub(super) async fn plan_history(link: &Link, tenant: &Tenant, name: &str, limit: usize) -> Result<Vec<PlanChange>> {
    let limit = limit.min(LIST_MAX) as i64;
    let sql = "select tenant, name, version, kind, at_us, by, note from plan_change
        where tenant = $1 and name = $2 order by row desc limit $3";
    let rows = link.query(sql, &[&tenant.as_str(), &name, &limit]).await?;
    let change = |row: &Row| {
        let kind = match row.try_get(3)? {
            "rolled_back" => PlanChangeKind::RolledBack,
            _ => PlanChangeKind::Published,
        };
        Ok(PlanChange {
            tenant: self::tenant(row, 0)?,
            name: row.try_get(1)?,
            version: small(row, 2)?,
            kind,
            at: time(row, 4)?,
            by: row.try_get(5)?,
            note: row.try_get(6)?,
        })
    };
    rows.iter().map(change).collect()
}

/// Keeps a plan's source under the next version; within a transaction. Two gateways that put at once wait for each
/// other.
pub(super) async fn put_plan(link: &Link, plan: &crate::plan::NewPlanVersion) -> Result<PlanVersion> {
    link.batch("lock table plan_version in share row exclusive mode").await?;
    if let Some(there) = plan_by_hash(link, &plan.tenant, &plan.name, &plan.sha256).await? {
        return Ok(there);
    }
    let tenant = plan.tenant.as_str();
    let sql = "insert into plan_version (tenant, name, version, sha256, source, at_us, by, note)
        select $1, $2, coalesce(max(version), 0) + 1, $3, $4, $5, $6, $7 from plan_version
        where tenant = $1 and name = $2";
    let at = plan.at.as_microsecond();
    link.execute(sql, &[&tenant, &plan.name, &plan.sha256, &plan.source, &at, &plan.by, &plan.note]).await?;
    let written = plan_by_hash(link, &plan.tenant, &plan.name, &plan.sha256).await?;
    written.ok_or_else(|| Fault::unreadable("a plan that was written is not there"))
}

/// Writes that a version is live, within a transaction.
pub(super) async fn insert_change(link: &Link, change: &PlanChange) -> Result<()> {
    let kind = match change.kind {
        PlanChangeKind::Published => "published",
        PlanChangeKind::RolledBack => "rolled_back",
    };
    let version = i32::try_from(change.version).map_err(Fault::unreadable)?;
    let sql = "insert into plan_change (tenant, name, version, kind, at_us, by, note)
        values ($1, $2, $3, $4, $5, $6, $7)";
    let (tenant, at) = (change.tenant.as_str(), change.at.as_microsecond());
    link.execute(sql, &[&tenant, &change.name, &version, &kind, &at, &change.by, &change.note]).await?;
    Ok(())
}
