//! The whole log in one order in PostgreSQL.
//!
//! Positions come from a sequence, and several gateways commit at once: what has a lower position may become visible
//! later. So each transaction that may append holds a shared advisory lock that names the sequence's value before its
//! own numbers. A reader looks at the sequence first, then at these locks, then at the rows: up to the lowest value
//! that is held, every row is committed or will never be.

use ark_conversation::Tenant;

use super::fail::Fault;
use super::link::{Link, Result};
use super::rows;
use crate::feed::{FeedPage, Positioned};
use crate::limits::{READ_BYTES_MAX, READ_RECORDS_MAX};
use crate::pending::AdvanceOf;

/// Begins a transaction that may append. The lock is shared, so that it never waits; it ends with the transaction.
/// A sequence that has given nothing yet says 1, and will give 1.
pub(super) const BEGIN: &str = "begin; select pg_advisory_xact_lock_shared('log_position_seq'::regclass::oid::integer,
    case when is_called then (last_value % 2147483648)::integer else 0 end) from log_position_seq";

const HELD: &str = "select objid::bigint from pg_locks
    where locktype = 'advisory' and granted and objsubid = 2 and classid = 'log_position_seq'::regclass::oid
        and database = (select oid from pg_database where datname = current_database())";

/// Lock numbers have 31 bits.
const CIRCLE: u64 = 1 << 31;

/// Up to where every row is committed or will never be, and how far the sequence is.
async fn horizon(link: &Link) -> Result<(u64, u64)> {
    let sql = "select case when is_called then last_value else 0 end from log_position_seq";
    let row = link.one(sql, &[]).await?.ok_or_else(|| Fault::unreadable("no sequence"))?;
    let given = rows::number(&row, 0)?;
    let mut behind = 0;
    for row in link.query(HELD, &[]).await? {
        behind = behind.max(distance(given, rows::number(&row, 0)?));
    }
    Ok((given.saturating_sub(behind), given))
}

/// How far a lock's number lies behind the sequence; one that was taken after the look at the sequence lies before it
/// and holds nothing back.
fn distance(given: u64, number: u64) -> u64 {
    let distance = (given % CIRCLE + CIRCLE - number % CIRCLE) % CIRCLE;
    if distance > CIRCLE / 2 { 0 } else { distance }
}

pub(super) async fn end(link: &Link) -> Result<u64> {
    Ok(horizon(link).await?.0)
}

/// A tenant's log after a position.
pub(super) async fn feed(link: &Link, tenant: &Tenant, after: u64, limit: usize) -> Result<FeedPage> {
    let (end, given) = horizon(link).await?;
    let held = end < given;
    if end <= after {
        return Ok(FeedPage { records: Vec::new(), next: after, held });
    }
    let sql = format!(
        "select {}, l.position from (
             select *, sum(octet_length(data)) over (order by position) - octet_length(data) as before from (
                 select * from log where tenant = $1 and position > $2 and position <= $3
                 order by position limit $4) p) l
         where l.before < $5 order by l.position",
        rows::RECORD
    );
    let (limit, bytes) = (limit.min(READ_RECORDS_MAX), READ_BYTES_MAX as i64);
    let found =
        link.query(&sql, &[&tenant.as_str(), &rows::big(after), &rows::big(end), &(limit as i64), &bytes]).await?;
    let mut records = Vec::with_capacity(found.len());
    let mut read = 0;
    for row in &found {
        read += row.try_get::<_, &str>(10)?.len();
        records.push(Positioned { position: rows::number(row, 12)?, record: rows::record(row)? });
    }
    // A page that a bound has cut ends at its last record; any other has read to the end.
    let cut = records.len() == limit || read >= READ_BYTES_MAX;
    let next = if cut { records.last().map_or(after, |one| one.position) } else { end };
    Ok(FeedPage { records, next, held })
}

pub(super) async fn reader(link: &Link, tenant: &Tenant, name: &str) -> Result<Option<u64>> {
    let sql = "select position from log_reader where tenant = $1 and name = $2";
    link.one(sql, &[&tenant.as_str(), &name]).await?.map(|row| rows::number(&row, 0)).transpose()
}

/// Moves a reader on; false when it is elsewhere.
pub(super) async fn advance(link: &Link, step: &AdvanceOf) -> Result<bool> {
    let (tenant, to) = (step.tenant.as_str(), rows::big(step.to));
    let moved = match step.from {
        None => {
            let sql = "insert into log_reader (tenant, name, position) values ($1, $2, $3) on conflict do nothing";
            link.execute(sql, &[&tenant, &step.reader, &to]).await?
        }
        Some(from) => {
            let sql = "update log_reader set position = $3 where tenant = $1 and name = $2 and position = $4";
            link.execute(sql, &[&tenant, &step.reader, &to, &rows::big(from)]).await?
        }
    };
    Ok(moved == 1)
}

#[cfg(test)]
mod tests {
    use super::{CIRCLE, distance};

    #[test]
    fn a_lock_holds_back_what_is_behind_it_also_around_the_circle() {
        assert_eq!(distance(100, 90), 10);
        assert_eq!(distance(100, 100), 0);
        assert_eq!(distance(100, 103), 0, "taken later");
        assert_eq!(distance(CIRCLE + 5, CIRCLE - 5), 10);
        assert_eq!(distance(CIRCLE - 1, CIRCLE + 3), 0, "taken later, and around");
    }
}
