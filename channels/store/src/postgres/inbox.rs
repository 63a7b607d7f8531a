//! The inbox: messages from outside, in groups, each with its thread's conversation found or made.

use std::collections::{BTreeMap, HashMap};

use ark_conversation::{ConversationId, Tenant};

use super::link::{Link, Result};
use super::rows::{self, one};
use crate::failpoint::{self, Point};
use crate::inbox::{Inbound, Ingested, Join};
use crate::lease::Topology;
use crate::limits::{PAGE_ROWS_MAX, READ_BYTES_MAX};
use crate::pending::PendingInbound;

const DUPLICATES: &str = "select u.n, i.row, i.conversation
    from unnest($1::text[], $2::text[], $3::text[]) with ordinality u (tenant, source, id, n)
    join inbox i on i.tenant = u.tenant and i.id = u.id and i.source = u.source";

/// One that has ended keeps its threads for as long as its customer may say how content they were ($3: now); what follows something
/// of it ($4) belongs there for as long as it is there.
const THREADS: &str =
    "select u.n, t.conversation, case when c.ended_us is null or u.follows and c.erased_us is null then false
        else (c.state::jsonb #>> '{survey,score}') is not null
            or coalesce(c.state::jsonb #>> '{survey,until}', '') collate \"C\" <= $3::text end
    from unnest($1::text[], $2::text[], $4::boolean[]) with ordinality u (tenant, source, follows, n)
    join thread t on t.tenant = u.tenant and t.source = u.source
    left join conversation c on c.tenant = t.tenant and c.conversation = t.conversation";

pub(super) const BEGIN: &str = "insert into thread (tenant, source, conversation, person)
    select * from unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[]) on conflict do nothing";

const MOVE: &str = "update thread t set conversation = u.conversation, person = coalesce(u.person, t.person)
    from unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[])
        u (tenant, source, conversation, person, old)
    where t.tenant = u.tenant and t.source = u.source and t.conversation = u.old";

pub(super) const ROWS: &str = "select nextval('inbox_row') from generate_series(1, $1::bigint)";

const KNOWN: &str = "insert into inbox (tenant, id, source, row, conversation, at_us)
    select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::bigint[])";

const WAITING: &str = "insert into waiting (row, shard, tenant, conversation, at_us, event)
    select * from unnest($1::bigint[], $2::integer[], $3::text[], $4::bytea[], $5::bigint[], $6::text[])";

/// A thread that is pointed to a conversation in this group.
struct Pointed {
    to: ConversationId,
    /// Where it pointed before.
    old: Option<[u8; 16]>,
    person: Option<[u8; 16]>,
}

/// Writes a group in one transaction. None when another gateway wrote the same threads or messages in between.
pub(super) async fn ingest(link: &Link, topology: Topology, news: &[PendingInbound]) -> Result<Option<Vec<Ingested>>> {
    let tenants: Vec<&str> = news.iter().map(|new| new.tenant.as_str()).collect();
    let sources: Vec<&str> = news.iter().map(|new| new.event.source.as_str()).collect();
    let ids: Vec<&str> = news.iter().map(|new| new.event.id.as_str()).collect();
    link.prepare(&[DUPLICATES, THREADS, ROWS, BEGIN, MOVE, KNOWN, WAITING]).await?;
    let looked_up: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&tenants, &sources, &ids];
    let rows_wanted = news.len() as i64;
    let now = news.first().map(|new| new.at.to_string()).unwrap_or_default();
    let follows: Vec<bool> = news.iter().map(|new| new.event.event.follows()).collect();
    let threads_of: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&tenants, &sources, &now, &follows];
    let count: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&rows_wanted];
    let ((), there, known, numbers) = tokio::try_join!(
        biased;
        link.batch("begin"),
        link.query(DUPLICATES, &looked_up),
        link.query(THREADS, &threads_of),
        link.query(ROWS, &count),
    )?;
    let mut numbers = numbers.iter().map(|row| rows::number(row, 0));
    let at = |row: &tokio_postgres::Row| -> Result<usize> { Ok(rows::number(row, 0)? as usize - 1) };
    let mut duplicates = HashMap::new();
    for row in &there {
        duplicates.insert(at(row)?, (rows::number(row, 1)?, rows::conversation(row, 2)?));
    }
    // Whether it goes elsewhere depends on what comes, too.
    let mut threads: HashMap<usize, (ConversationId, bool)> = HashMap::new();
    for row in &known {
        threads.insert(at(row)?, (rows::conversation(row, 1)?, row.try_get(2)?));
    }
    // In the order of the keys, so that gateways wait for each other in one direction.
    let mut pointed: BTreeMap<(&str, &str), Pointed> = BTreeMap::new();
    let mut first_of: HashMap<(&str, &str, &str), usize> = HashMap::new();
    let mut answers: Vec<Ingested> = Vec::with_capacity(news.len());
    let mut fresh: Vec<usize> = Vec::new();
    for (n, new) in news.iter().enumerate() {
        let thread = (new.tenant.as_str(), new.event.source.as_str());
        if let Some((row, conversation)) = duplicates.get(&n) {
            answers.push(answer(topology, *row, *conversation, false, true));
            continue;
        }
        if let Some(first) =
            first_of.get(&(thread.0, thread.1, new.event.id.as_str())).and_then(|first| answers.get(*first))
        {
            answers.push(Ingested { joined: false, duplicate: true, ..*first });
            continue;
        }
        let (conversation, joined) = match (pointed.get(&thread), threads.get(&n)) {
            (Some(pointed), _) => (pointed.to, false),
            (None, Some((conversation, false))) => (*conversation, false),
            (None, known) => {
                let to = join(link, &new.tenant, &new.join).await?.unwrap_or(new.begin);
                let person = if let Join::Person(person) = &new.join { Some(person.to_bytes()) } else { None };
                let old = known.map(|(conversation, _)| conversation.to_bytes());
                pointed.insert(thread, Pointed { to, old, person });
                (to, true)
            }
        };
        first_of.insert((thread.0, thread.1, new.event.id.as_str()), n);
        fresh.push(n);
        let row = numbers.next().ok_or_else(|| super::fail::Fault::unreadable("no number for a row"))??;
        answers.push(answer(topology, row, conversation, joined, false));
    }
    if !point(link, &pointed).await? {
        return Ok(None);
    }
    insert(link, news, &answers, &fresh).await?;
    failpoint::at(Point::BeforeCommit);
    link.batch("commit").await?;
    Ok(Some(answers))
}

fn answer(topology: Topology, row: u64, conversation: ConversationId, joined: bool, duplicate: bool) -> Ingested {
    Ingested { row, conversation, shard: topology.shard(conversation), joined, duplicate }
}

/// Points threads to their conversations; false when one was not as it was read.
async fn point(link: &Link, pointed: &BTreeMap<(&str, &str), Pointed>) -> Result<bool> {
    for moved in [false, true] {
        let these: Vec<_> = pointed.iter().filter(|(_, pointed)| pointed.old.is_some() == moved).collect();
        if these.is_empty() {
            continue;
        }
        let tenants: Vec<&str> = these.iter().map(|(key, _)| key.0).collect();
        let sources: Vec<&str> = these.iter().map(|(key, _)| key.1).collect();
        let to: Vec<[u8; 16]> = these.iter().map(|(_, pointed)| pointed.to.to_bytes()).collect();
        let to: Vec<&[u8]> = to.iter().map(|id| &id[..]).collect();
        let person: Vec<Option<&[u8]>> =
            these.iter().map(|(_, pointed)| pointed.person.as_ref().map(|id| &id[..])).collect();
        let old: Vec<Option<&[u8]>> = these.iter().map(|(_, pointed)| pointed.old.as_ref().map(|id| &id[..])).collect();
        let written = if moved {
            link.execute(MOVE, &[&tenants, &sources, &to, &person, &old]).await?
        } else {
            link.execute(BEGIN, &[&tenants, &sources, &to, &person]).await?
        };
        if written != these.len() as u64 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes the messages that are new. A collision when one of them has come by another gateway in between.
async fn insert(link: &Link, news: &[PendingInbound], answers: &[Ingested], fresh: &[usize]) -> Result<()> {
    let these: Vec<_> = fresh.iter().filter_map(|n| news.get(*n).zip(answers.get(*n))).collect();
    if these.is_empty() {
        return Ok(());
    }
    let numbers: Vec<i64> = these.iter().map(|(_, answer)| rows::big(answer.row)).collect();
    let shards: Vec<i32> = these.iter().map(|(_, answer)| i32::from(answer.shard)).collect();
    let text = |of: fn(&PendingInbound) -> &str| these.iter().map(|(new, _)| of(new)).collect::<Vec<&str>>();
    let conversations: Vec<[u8; 16]> = these.iter().map(|(_, answer)| answer.conversation.to_bytes()).collect();
    let conversations: Vec<&[u8]> = conversations.iter().map(|id| &id[..]).collect();
    let at: Vec<i64> = these.iter().map(|(new, _)| new.at.as_microsecond()).collect();
    let (tenants, json) = (text(|new| new.tenant.as_str()), text(|new| &new.json));
    let (sources, ids) = (text(|new| &new.event.source), text(|new| &new.event.id));
    let known: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&tenants, &ids, &sources, &numbers, &conversations, &at];
    let waiting: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&numbers, &shards, &tenants, &conversations, &at, &json];
    tokio::try_join!(biased; link.execute(KNOWN, &known), link.execute(WAITING, &waiting))?;
    Ok(())
}

/// The open conversation that a thread joins.
async fn join(link: &Link, tenant: &Tenant, join: &Join) -> Result<Option<ConversationId>> {
    let name = tenant.as_str();
    let found = match join {
        Join::Begin => return Ok(None),
        Join::Conversation(id) => {
            let sql = "select conversation from conversation
                where tenant = $1 and conversation = $2 and ended_us is null";
            link.one(sql, &[&name, &&id.to_bytes()[..]]).await?
        }
        Join::Person(person) => {
            let root = super::persons::root(link, tenant, *person).await?.unwrap_or(*person);
            let persons = one("$1", "$2");
            let sql = format!(
                "select conversation from conversation
                 where tenant = $1 and person in (select id from {persons}) and ended_us is null
                 union
                 select t.conversation from thread t
                 left join conversation c on c.tenant = t.tenant and c.conversation = t.conversation
                 where t.tenant = $1 and t.person in (select id from {persons}) and c.ended_us is null
                 order by 1 desc limit 1"
            );
            link.one(&sql, &[&name, &&root.to_bytes()[..]]).await?
        }
    };
    found.as_ref().map(|row| rows::conversation(row, 0)).transpose()
}

pub(super) async fn inbox(link: &Link, shards: &[u16], after: u64, limit: usize) -> Result<Vec<Inbound>> {
    let sql = "select row, shard, tenant, conversation, at_us, event from (
            select *, sum(octet_length(event)) over (order by row) - octet_length(event) as before from (
                select * from waiting where ($1::integer[] is null or shard = any($1)) and row > $2
                order by row limit $3) p) i
        where before < $4 order by row";
    let (shards, limit) = (of_shards(shards), limit.min(PAGE_ROWS_MAX) as i64);
    let found = link.query(sql, &[&shards, &rows::big(after), &limit, &(READ_BYTES_MAX as i64)]).await?;
    let inbound = |row: &tokio_postgres::Row| {
        Ok(Inbound {
            row: rows::number(row, 0)?,
            shard: u16::try_from(row.try_get::<_, i32>(1)?).map_err(super::fail::Fault::unreadable)?,
            tenant: rows::tenant(row, 2)?,
            conversation: rows::conversation(row, 3)?,
            at: rows::time(row, 4)?,
            event: crate::inbox::event(row.try_get(5)?).map_err(super::fail::Fault::unreadable)?,
        })
    };
    found.iter().map(inbound).collect()
}

/// Which shards a question is about, as a parameter: nothing for all.
pub(super) fn of_shards(shards: &[u16]) -> Option<Vec<i32>> {
    if shards.is_empty() { None } else { Some(shards.iter().map(|shard| i32::from(*shard)).collect()) }
}

pub(super) async fn thread(link: &Link, tenant: &Tenant, source: &str) -> Result<Option<ConversationId>> {
    let sql = "select conversation from thread where tenant = $1 and source = $2";
    link.one(sql, &[&tenant.as_str(), &source]).await?.as_ref().map(|row| rows::conversation(row, 0)).transpose()
}
