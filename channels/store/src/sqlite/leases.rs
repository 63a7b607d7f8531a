//! Leases in SQLite. One process has the file, so there is one gateway; the rules are those of every store.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::lease::{Attendance, Fence, Lease, Presence, Topology};
use crate::sqlite::writer::{Result, Said, Work};

/// The database's clock in Unix milliseconds.
pub(super) const NOW_MS: &str = "cast(unixepoch('subsec') * 1000 as integer)";

/// Whether a fence is the shard's last one and not given back.
pub(super) fn held(work: &Work<'_>, fence: &Fence) -> Result<Said<()>> {
    if let Err(changed) = same_topology(work)? {
        return Ok(Err(changed));
    }
    let last: Option<(Option<String>, u64)> = work
        .db
        .prepare_cached("select gateway, number from lease where shard = ?1")?
        .query_row(params![fence.shard], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let ours = last.is_some_and(|(gateway, number)| number == fence.number && gateway.as_ref() == Some(&fence.gateway));
    Ok(if ours { Ok(()) } else { Err(StoreError::Fenced { shard: fence.shard, number: fence.number }) })
}

fn same_topology(work: &Work<'_>) -> Result<Said<()>> {
    let now = topology(work.db)?;
    Ok(if now == work.shared.topology {
        Ok(())
    } else {
        Err(StoreError::Conflict(format!(
            "the number of shards has changed (topology {} to {}): start Ark again",
            work.shared.topology.version, now.version
        )))
    })
}

pub(super) fn topology(db: &Connection) -> Result<Topology> {
    let number = |key: &str| -> Result<u32> {
        db.query_row("select cast(value as integer) from meta where key = ?1", params![key], |row| row.get(0))
    };
    let shards = u16::try_from(number("shards")?).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, 0))?;
    Ok(Topology { version: number("topology")?, shards })
}

pub(super) fn set_topology(work: &Work<'_>, topology: Topology) -> Result<Said<()>> {
    let conflict = |why: String| Ok(Err(StoreError::Conflict(why)));
    let now = self::topology(work.db)?;
    if topology.version != now.version + 1 {
        return conflict(format!("topology {} follows {}, not {}", now.version + 1, now.version, topology.version));
    }
    let count = |sql: &str| -> Result<u64> { work.db.query_row(sql, [], |row| row.get(0)) };
    let waits = count("select count(*) from waiting")? + count("select count(*) from outbox")?;
    let held = count(&format!("select count(*) from lease where gateway is not null and until_ms > {NOW_MS}"))?;
    if waits + held > 0 {
        return conflict(format!("drain first: {waits} rows wait in inbox and outbox, {held} leases are held"));
    }
    let mut set = work.db.prepare("update meta set value = ?2 where key = ?1")?;
    set.execute(params!["topology", topology.version.to_string()])?;
    set.execute(params!["shards", topology.shards.to_string()])?;
    Ok(Ok(()))
}

pub(super) fn claim(work: &Work<'_>, shard: u16, gateway: &str, ttl_ms: i64) -> Result<Said<Fence>> {
    if let Err(changed) = same_topology(work)? {
        return Ok(Err(changed));
    }
    let sql = format!(
        "insert into lease (shard, gateway, number, until_ms) values (?1, ?2, 1, {NOW_MS} + ?3)
         on conflict (shard) do update set gateway = ?2, number = number + 1, until_ms = {NOW_MS} + ?3
         where gateway is null or gateway = ?2 or until_ms <= {NOW_MS}
         returning number"
    );
    let number: Option<u64> =
        work.db.prepare_cached(&sql)?.query_row(params![shard, gateway, ttl_ms], |row| row.get(0)).optional()?;
    if let Some(number) = number {
        return Ok(Ok(Fence { shard, gateway: gateway.to_owned(), number }));
    }
    let sql = format!("select gateway, max(until_ms - {NOW_MS}, 0) from lease where shard = ?1");
    work.db.query_row(&sql, params![shard], |row| {
        Ok(Err(StoreError::Held { shard, gateway: row.get(0)?, left_ms: row.get(1)? }))
    })
}

pub(super) fn renew(work: &Work<'_>, fences: &[Fence], ttl_ms: i64) -> Result<Said<Vec<bool>>> {
    let sql = format!("update lease set until_ms = {NOW_MS} + ?4 where shard = ?1 and gateway = ?2 and number = ?3");
    let mut renew = work.db.prepare_cached(&sql)?;
    let one = |fence: &Fence| Ok(renew.execute(params![fence.shard, fence.gateway, fence.number, ttl_ms])? == 1);
    Ok(Ok(fences.iter().map(one).collect::<Result<_>>()?))
}

pub(super) fn release(work: &Work<'_>, fences: &[Fence]) -> Result<Said<()>> {
    let mut release = work.db.prepare_cached(
        "update lease set gateway = null, until_ms = 0 where shard = ?1 and gateway = ?2 and number = ?3",
    )?;
    for fence in fences {
        release.execute(params![fence.shard, fence.gateway, fence.number])?;
    }
    Ok(Ok(()))
}

pub(super) fn leases(db: &Connection) -> Result<Vec<Lease>> {
    let sql = format!("select shard, gateway, number, max(until_ms - {NOW_MS}, 0) from lease order by shard");
    db.prepare_cached(&sql)?
        .query_map([], |row| {
            Ok(Lease { shard: row.get(0)?, gateway: row.get(1)?, number: row.get(2)?, left_ms: row.get(3)? })
        })?
        .collect()
}

pub(super) fn attend(work: &Work<'_>, who: &Attendance, ttl_ms: i64) -> Result<Said<Vec<Presence>>> {
    let sql = format!(
        "insert into gateway (gateway, place, process, until_ms) values (?1, ?2, ?3, {NOW_MS} + ?4)
         on conflict (gateway) do update set place = ?2, process = ?3, until_ms = {NOW_MS} + ?4
         where place = ?2 or until_ms <= {NOW_MS}"
    );
    let taken = work.db.prepare_cached(&sql)?.execute(params![who.gateway, who.place, who.process, ttl_ms])? == 0;
    let sql = format!("select gateway, process, max(until_ms - {NOW_MS}, 0) from gateway order by gateway");
    let all: Vec<Presence> = work
        .db
        .prepare_cached(&sql)?
        .query_map([], |row| Ok(Presence { gateway: row.get(0)?, process: row.get(1)?, left_ms: row.get(2)? }))?
        .collect::<Result<_>>()?;
    Ok(if taken { Err(who.taken(&all)) } else { Ok(all) })
}

pub(super) fn leave(work: &Work<'_>, who: &Attendance) -> Result<Said<()>> {
    let sql = "update gateway set until_ms = 0 where gateway = ?1 and place = ?2 and process = ?3";
    work.db.prepare_cached(sql)?.execute(params![who.gateway, who.place, who.process])?;
    Ok(Ok(()))
}
