//! Outbox, deliveries, leases, and the check in PostgreSQL.

use std::collections::HashSet;

use ark_conversation::{ConversationId, Tenant};
use tokio_postgres::Row;

use super::fail::Fault;
use super::inbox::of_shards;
use super::lane::Said;
use super::link::{Link, Result};
use super::{rows, schema};
use crate::check::Check;
use crate::error::StoreError;
use crate::feed::DeliveryCounts;
use crate::inbox::Backlog;
use crate::lease::{Attendance, Fence, Lease, Presence, Topology};
use crate::limits::{PAGE_ROWS_MAX, READ_BYTES_MAX};
use crate::outbox::{Delivery, DeliveryState, LAPSED, NewDelivery, Outgoing};

/// The database's clock in Unix milliseconds; within a transaction that waited for a lock it has gone on.
const NOW_MS: &str = "(extract(epoch from clock_timestamp()) * 1000)::bigint";

fn shard(row: &Row, column: usize) -> Result<u16> {
    u16::try_from(row.try_get::<_, i32>(column)?).map_err(Fault::unreadable)
}

pub(super) async fn outbox(link: &Link, shards: &[u16], without: &[u64], limit: usize) -> Result<Vec<Outgoing>> {
    // What is under way is passed over here: as a condition of the statement it would be looked for with each row.
    let sql = "select row from outbox where $1::integer[] is null or shard = any($1) order by row limit $2";
    let (limit, without) = (limit.min(PAGE_ROWS_MAX), without.iter().collect::<HashSet<_>>());
    let waiting = link.query(sql, &[&of_shards(shards), &((limit + without.len()) as i64)]).await?;
    let numbers = waiting.iter().map(|row| rows::number(row, 0)).collect::<Result<Vec<u64>>>()?;
    let numbers = numbers.into_iter().filter(|row| !without.contains(row)).take(limit);
    let numbers: Vec<i64> = numbers.map(rows::big).collect();
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "select {}, o.row, o.shard from (
             select *, sum(octet_length(data)) over (order by row, seq) - octet_length(data) as before from (
                 select x.row, x.shard, x.last_seq, r.* from (
                     select * from outbox where row = any($1)) x
                 join log r on r.tenant = x.tenant and r.conversation = x.conversation
                     and r.seq between x.first_seq and x.last_seq) j) l, lateral (select l.row, l.shard) o
         where l.before < $2 order by l.row, l.seq",
        rows::RECORD
    );
    let found = link.query(&sql, &[&numbers, &(READ_BYTES_MAX as i64)]).await?;
    let mut page: Vec<Outgoing> = Vec::new();
    for row in &found {
        let (number, record) = (rows::number(row, 12)?, rows::record(row)?);
        match page.last_mut().filter(|last| last.row == number) {
            Some(last) => last.records.push(record),
            None => page.push(Outgoing { row: number, shard: shard(row, 13)?, records: vec![record] }),
        }
    }
    // A row that the bound in bytes has cut is read whole, or it would be confirmed with its end unsent.
    if let Some(last) = page.last_mut() {
        let sql = format!(
            "select {} from outbox o join log l on l.tenant = o.tenant and l.conversation = o.conversation
                 and l.seq between o.first_seq and o.last_seq
             where o.row = $1 order by l.seq",
            rows::RECORD
        );
        let whole = link.query(&sql, &[&rows::big(last.row)]).await?;
        if whole.len() > last.records.len() {
            last.records = whole.iter().map(rows::record).collect::<Result<_>>()?;
        }
    }
    Ok(page)
}

pub(super) async fn outbox_done(link: &Link, done: &[u64]) -> Result<Said<()>> {
    let done: Vec<i64> = done.iter().map(|row| rows::big(*row)).collect();
    link.execute("delete from outbox where row = any($1)", &[&done]).await?;
    Ok(Ok(()))
}

const DELIVERY: &str = "id, tenant, adapter, key, order_key, conversation, body, not_before_us, state, attempts, error";

fn delivery(row: &Row) -> Result<Delivery> {
    let timed = row.try_get::<_, Option<i64>>(7)?.is_some();
    Ok(Delivery {
        id: rows::number(row, 0)?,
        what: NewDelivery {
            tenant: rows::tenant(row, 1)?,
            adapter: row.try_get(2)?,
            key: row.try_get(3)?,
            order_key: row.try_get(4)?,
            conversation: rows::conversation(row, 5)?,
            body: serde_json::from_str(row.try_get(6)?).map_err(Fault::unreadable)?,
            not_before: if timed { Some(rows::time(row, 7)?) } else { None },
        },
        state: DeliveryState::from_code(row.try_get(8)?),
        attempts: rows::small(row, 9)?,
        error: row.try_get(10)?,
    })
}

pub(super) async fn claim_deliveries(
    link: &Link,
    adapter: &str,
    gateway: &str,
    ttl_ms: i64,
    limit: usize,
) -> Result<Said<Vec<Delivery>>> {
    // A claim is a wait: `not_before_ms` of a claimed row is the end of the claim. What another gateway claims at this
    // moment is passed over, and so is what stands behind it: its order key has an older one that is not over.
    let sql = format!(
        "update delivery set state = 1, attempts = attempts + 1, claimed_by = $2, not_before_ms = {NOW_MS} + $3,
             error = case state when 1 then '{LAPSED}' else error end
         where id in (
             select id from delivery d
             where adapter = $1 and state < 2 and not_before_ms <= {NOW_MS} and not exists (
                 select 1 from delivery e
                 where e.adapter = d.adapter and e.order_key = d.order_key and e.id < d.id and e.state < 2)
             order by id limit $4 for update skip locked)
         returning {DELIVERY}"
    );
    let limit = limit.min(PAGE_ROWS_MAX) as i64;
    let found = link.query(&sql, &[&adapter, &gateway, &ttl_ms, &limit]).await?;
    let mut claimed = found.iter().map(delivery).collect::<Result<Vec<_>>>()?;
    claimed.sort_by_key(|one| one.id);
    Ok(Ok(claimed))
}

pub(super) async fn settle(
    link: &Link,
    id: u64,
    attempt: u32,
    (state, error, wait_ms): &(i16, Option<String>, i64),
) -> Result<Said<bool>> {
    let sql = format!(
        "update delivery set state = $3, error = $4, claimed_by = null, not_before_ms = {NOW_MS} + $5
         where id = $1 and attempts = $2 and state = 1"
    );
    let attempt = i32::try_from(attempt).unwrap_or(i32::MAX);
    Ok(Ok(link.execute(&sql, &[&rows::big(id), &attempt, state, error, wait_ms]).await? == 1))
}

pub(super) async fn deliveries(
    link: &Link,
    tenant: &Tenant,
    adapter: &str,
    state: DeliveryState,
    after: u64,
    limit: usize,
) -> Result<Vec<Delivery>> {
    let sql = format!(
        "select {DELIVERY} from delivery where tenant = $1 and adapter = $2 and state = $3 and id > $4
         order by id limit $5"
    );
    let limit = limit.min(PAGE_ROWS_MAX) as i64;
    let found = link.query(&sql, &[&tenant.as_str(), &adapter, &state.code(), &rows::big(after), &limit]).await?;
    found.iter().map(delivery).collect()
}

pub(super) async fn replay_delivery(link: &Link, tenant: &Tenant, id: u64) -> Result<Said<bool>> {
    let sql = "update delivery set state = 0, attempts = 0, not_before_ms = 0
        where tenant = $1 and id = $2 and state >= 2";
    Ok(Ok(link.execute(sql, &[&tenant.as_str(), &rows::big(id)]).await? == 1))
}

pub(super) async fn delivery_counts(link: &Link, tenant: &Tenant, adapter: &str) -> Result<DeliveryCounts> {
    let sql = "select (select count(*) from delivery where tenant = $1 and adapter = $2 and state in (0, 1)),
        (select count(*) from delivery where tenant = $1 and adapter = $2 and state = 3)";
    let row = link.one(sql, &[&tenant.as_str(), &adapter]).await?.ok_or_else(|| Fault::unreadable("no counts"))?;
    Ok(DeliveryCounts { waiting: rows::number(&row, 0)?, dead: rows::number(&row, 1)? })
}

/// `not_before_ms` of a delivery that is over is when it came to its end.
pub(super) async fn forget_deliveries(
    link: &Link,
    tenant: &Tenant,
    adapter: &str,
    (state, age_ms): (i16, i64),
) -> Result<Said<u64>> {
    let sql = format!(
        "delete from delivery where id in (
             select id from (
                 select id, not_before_ms from delivery where tenant = $1 and adapter = $2 and state = $3
                 order by id limit {PAGE_ROWS_MAX}) oldest
             where not_before_ms <= {NOW_MS} - $4)"
    );
    Ok(Ok(link.execute(&sql, &[&tenant.as_str(), &adapter, &state, &age_ms]).await?))
}

pub(super) async fn backlog(link: &Link) -> Result<Backlog> {
    let sql = "select (select count(*) from waiting), (select count(*) from outbox),
        (select count(*) from delivery where state < 2), (select count(*) from delivery where state = 3)";
    let row = link.one(sql, &[]).await?.ok_or_else(|| Fault::unreadable("no counts"))?;
    let number = |column| rows::number(&row, column);
    Ok(Backlog { inbox: number(0)?, outbox: number(1)?, deliveries: number(2)?, dead: number(3)? })
}

fn changed() -> StoreError {
    StoreError::Conflict("the number of shards has changed: start Ark again".to_owned())
}

async fn same_topology(link: &Link, topology: Topology) -> Result<bool> {
    // Held to the transaction's end: the number of shards cannot change beneath a claim.
    let row = link.one("select value from meta where key = 'topology' for share", &[]).await?;
    let row = row.ok_or_else(|| Fault::unreadable("no topology in meta"))?;
    Ok(row.try_get::<_, &str>(0)? == topology.version.to_string())
}

pub(super) async fn set_topology(link: &Link, topology: Topology) -> Result<Said<()>> {
    let conflict = |why: String| Ok(Err(StoreError::Conflict(why)));
    let row = link.one("select value from meta where key = 'topology' for update", &[]).await?;
    let now: u32 = row
        .ok_or_else(|| Fault::unreadable("no topology in meta"))?
        .try_get::<_, &str>(0)?
        .parse()
        .map_err(Fault::unreadable)?;
    if topology.version != now + 1 {
        return conflict(format!("topology {} follows {now}, not {}", now + 1, topology.version));
    }
    let held = format!("select count(*) from lease where gateway is not null and until_ms > {NOW_MS}");
    let held = link.one(&held, &[]).await?.ok_or_else(|| Fault::unreadable("no count"))?;
    let (held, waits) = (rows::number(&held, 0)?, backlog(link).await?);
    if held + waits.inbox + waits.outbox > 0 {
        let waits = waits.inbox + waits.outbox;
        return conflict(format!("drain first: {waits} rows wait in inbox and outbox, {held} leases are held"));
    }
    for (key, value) in [("topology", topology.version.to_string()), ("shards", topology.shards.to_string())] {
        link.execute("update meta set value = $2 where key = $1", &[&key, &value]).await?;
    }
    Ok(Ok(()))
}

pub(super) async fn claim(
    link: &Link,
    topology: Topology,
    number: u16,
    gateway: &str,
    ttl_ms: i64,
) -> Result<Said<Fence>> {
    if !same_topology(link, topology).await? {
        return Ok(Err(changed()));
    }
    let sql = format!(
        "insert into lease (shard, gateway, number, until_ms) values ($1, $2, 1, {NOW_MS} + $3)
         on conflict (shard) do update set gateway = $2, number = lease.number + 1, until_ms = {NOW_MS} + $3
         where lease.gateway is null or lease.gateway = $2 or lease.until_ms <= {NOW_MS}
         returning number"
    );
    let shard = i32::from(number);
    if let Some(row) = link.one(&sql, &[&shard, &gateway, &ttl_ms]).await? {
        return Ok(Ok(Fence { shard: number, gateway: gateway.to_owned(), number: rows::number(&row, 0)? }));
    }
    let sql = format!("select coalesce(gateway, ''), greatest(until_ms - {NOW_MS}, 0) from lease where shard = $1");
    let row = link.one(&sql, &[&shard]).await?.ok_or_else(|| Fault::unreadable("no lease"))?;
    Ok(Err(StoreError::Held { shard: number, gateway: row.try_get(0)?, left_ms: rows::number(&row, 1)? }))
}

pub(super) async fn renew(link: &Link, fences: &[Fence], ttl_ms: i64) -> Result<Said<Vec<bool>>> {
    let sql = format!(
        "update lease l set until_ms = {NOW_MS} + $4
         from unnest($1::integer[], $2::text[], $3::bigint[]) u (shard, gateway, number)
         where l.shard = u.shard and l.gateway = u.gateway and l.number = u.number returning l.shard, l.number"
    );
    let (shards, gateways, numbers) = columns(fences);
    let mut kept = HashSet::new();
    for row in link.query(&sql, &[&shards, &gateways, &numbers, &ttl_ms]).await? {
        kept.insert((shard(&row, 0)?, rows::number(&row, 1)?));
    }
    Ok(Ok(fences.iter().map(|fence| kept.contains(&(fence.shard, fence.number))).collect()))
}

pub(super) async fn release(link: &Link, fences: &[Fence]) -> Result<Said<()>> {
    let sql = "update lease l set gateway = null, until_ms = 0
        from unnest($1::integer[], $2::text[], $3::bigint[]) u (shard, gateway, number)
        where l.shard = u.shard and l.gateway = u.gateway and l.number = u.number";
    let (shards, gateways, numbers) = columns(fences);
    link.execute(sql, &[&shards, &gateways, &numbers]).await?;
    Ok(Ok(()))
}

fn columns(fences: &[Fence]) -> (Vec<i32>, Vec<&str>, Vec<i64>) {
    let shards = fences.iter().map(|fence| i32::from(fence.shard)).collect();
    let gateways = fences.iter().map(|fence| fence.gateway.as_str()).collect();
    (shards, gateways, fences.iter().map(|fence| rows::big(fence.number)).collect())
}

pub(super) async fn leases(link: &Link) -> Result<Vec<Lease>> {
    let sql = format!("select shard, gateway, number, greatest(until_ms - {NOW_MS}, 0) from lease order by shard");
    let lease = |row: &Row| {
        Ok(Lease {
            shard: shard(row, 0)?,
            gateway: row.try_get(1)?,
            number: rows::number(row, 2)?,
            left_ms: rows::number(row, 3)?,
        })
    };
    link.query(&sql, &[]).await?.iter().map(lease).collect()
}

pub(super) async fn attend(link: &Link, who: &Attendance, ttl_ms: i64) -> Result<Said<Vec<Presence>>> {
    let sql = format!(
        "insert into gateway (gateway, place, process, until_ms) values ($1, $2, $3, {NOW_MS} + $4)
         on conflict (gateway) do update set place = $2, process = $3, until_ms = {NOW_MS} + $4
         where gateway.place = $2 or gateway.until_ms <= {NOW_MS}"
    );
    let taken = link.execute(&sql, &[&who.gateway, &who.place, &who.process, &ttl_ms]).await? == 0;
    let sql = format!(
        "select gateway, process, greatest(until_ms - {NOW_MS}, 0) from gateway order by gateway collate \"C\""
    );
    let presence =
        |row: &Row| Ok(Presence { gateway: row.try_get(0)?, process: row.try_get(1)?, left_ms: rows::number(row, 2)? });
    let all = link.query(&sql, &[]).await?.iter().map(presence).collect::<Result<Vec<_>>>()?;
    Ok(if taken { Err(who.taken(&all)) } else { Ok(all) })
}

pub(super) async fn leave(link: &Link, who: &Attendance) -> Result<Said<()>> {
    let sql = "update gateway set until_ms = 0 where gateway = $1 and place = $2 and process = $3";
    link.execute(sql, &[&who.gateway, &who.place, &who.process]).await?;
    Ok(Ok(()))
}

/// Reads everything once, at one moment.
pub(super) async fn check(link: &Link, store_id: &str) -> Result<Check> {
    link.batch("begin isolation level repeatable read read only; set local statement_timeout to 0").await?;
    let checked = check_now(link, store_id).await;
    link.batch("rollback").await?;
    checked
}

async fn check_now(link: &Link, store_id: &str) -> Result<Check> {
    let sql = "select tenant, conversation, count(*), max(seq) from log group by tenant, conversation
        having count(*) <> max(seq) or min(seq) <> 1 limit 1";
    if let Some(row) = link.one(sql, &[]).await? {
        let (id, tenant): (ConversationId, Tenant) = (rows::conversation(&row, 1)?, rows::tenant(&row, 0)?);
        let (count, last) = (rows::number(&row, 2)?, rows::number(&row, 3)?);
        return Err(Fault::Unreadable(format!(
            "conversation {id} of {tenant} has {count} records up to number {last}"
        )));
    }
    let sql = "select (select count(*) from (select distinct tenant, conversation from log) d),
        (select count(*) from conversation c where exists (
            select 1 from log l where l.tenant = c.tenant and l.conversation = c.conversation)),
        (select count(*) from conversation), (select count(*) from log)";
    let row = link.one(sql, &[]).await?.ok_or_else(|| Fault::unreadable("no counts"))?;
    let number = |column| rows::number(&row, column);
    let (logs, with_log, conversations) = (number(0)?, number(1)?, number(2)?);
    if logs != with_log || logs != conversations {
        return Err(Fault::Unreadable(format!("{logs} logs but {conversations} conversations")));
    }
    Ok(Check { store_id: store_id.to_owned(), layout: schema::LAYOUT, conversations, records: number(3)? })
}
