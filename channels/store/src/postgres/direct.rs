//! Messages that go past the inbox, in PostgreSQL: written as known if nothing speaks against it, in one statement for a group.

use std::collections::{BTreeMap, HashMap, HashSet};

use ark_conversation::{ConversationId, Tenant};

use super::fail::Fault;
use super::inbox::{BEGIN, ROWS};
use super::link::{Link, Result};
use super::log::Found;
use super::rows;
use crate::commit::Direct;
use crate::heads::Heads;
use crate::limits::PG_NUMBERS;
use crate::pending::Write;

/// Those whose thread is the conversation's and before which nobody waits: that many rows are written. Each is looked up by its
/// keys, never by a join: plans are kept, and these tables grow.
pub(super) const KNOWN: &str = "insert into inbox (tenant, id, source, row, conversation, at_us)
    select u.tenant, u.id, u.source, u.row, u.conversation, u.at_us
    from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::bigint[])
        u (tenant, id, source, row, conversation, at_us)
    where (select t.conversation from thread t where t.tenant = u.tenant and t.source = u.source) = u.conversation
        and (select 1 from waiting w where w.conversation = u.conversation and w.tenant = u.tenant limit 1) is null";

/// Those against which something speaks. `begins`: its thread is to be new.
const BY_INBOX: &str = "select u.n from unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::boolean[])
        with ordinality u (tenant, id, source, conversation, begins, n)
    left join thread t on t.tenant = u.tenant and t.source = u.source
    where case when u.begins then t.conversation is not null else t.conversation is distinct from u.conversation end
        or exists (select 1 from inbox i where i.tenant = u.tenant and i.id = u.id and i.source = u.source)
        or exists (select 1 from waiting w where w.conversation = u.conversation and w.tenant = u.tenant)";

/// Numbers of the inbox that were fetched before they are needed. What a transaction that failed was given is lost.
#[derive(Default)]
pub(super) struct Numbers(Vec<i64>);

impl Numbers {
    /// Makes sure that there are so many.
    pub(super) async fn fetch(&mut self, link: &Link, wanted: usize) -> Result<()> {
        if self.0.len() >= wanted {
            return Ok(());
        }
        let more = wanted.max(PG_NUMBERS) as i64;
        let fetched = link.query(ROWS, &[&more]).await?;
        self.0 = fetched.iter().rev().map(|row| Ok(row.try_get(0)?)).collect::<Result<_>>()?;
        Ok(())
    }
}

/// What the messages of a group before one say about it.
#[derive(Default)]
pub(super) struct Past {
    seen: HashSet<(Tenant, String, String)>,
    begun: HashMap<(Tenant, String), ConversationId>,
}

impl Past {
    /// Messages of a write that may not pass, by what is remembered of the logs and by those before them; and whether that
    /// is so whatever the logs are.
    pub(super) fn refuses(&mut self, heads: &mut Heads, direct: &[Direct]) -> Option<(Vec<usize>, bool)> {
        let (mut refused, mut certain) = (Vec::new(), true);
        for (at, one) in direct.iter().enumerate() {
            let thread = (one.tenant.clone(), one.source.clone());
            let open = heads.get(&(one.tenant.clone(), one.conversation)).map(|head| head.state.is_open());
            let begun = self.begun.get(&thread);
            let fits = match (one.begins, open) {
                (true, None) => begun.is_none(),
                (false, Some(open)) => open && begun.is_none_or(|begun| *begun == one.conversation),
                (false, None) => begun == Some(&one.conversation),
                (true, Some(_)) => false,
            };
            certain &= fits;
            if one.begins && fits {
                self.begun.insert(thread, one.conversation);
            }
            if !self.seen.insert((one.tenant.clone(), one.source.clone(), one.id.clone())) || !fits {
                refused.push(at);
            }
        }
        if refused.is_empty() { None } else { Some((refused, certain)) }
    }
}

/// The messages of a group that pass, as columns.
#[derive(Default)]
pub(super) struct Directs<'a> {
    tenant: Vec<&'a str>,
    id: Vec<&'a str>,
    source: Vec<&'a str>,
    row: Vec<i64>,
    conversation: Vec<[u8; 16]>,
    at: Vec<i64>,
    /// Threads that begin, in the order of their keys: gateways wait for each other in one direction.
    begin: BTreeMap<(&'a str, &'a str), [u8; 16]>,
    /// How many of each write.
    counts: Vec<usize>,
}

impl<'a> Directs<'a> {
    /// Those of the writes that are not refused, each with its number.
    pub(super) fn of(writes: &'a [Write], found: &[Found], numbers: &mut Numbers) -> Self {
        let mut all = Self::default();
        for (write, found) in writes.iter().zip(found) {
            let these = if found.is_some() { &write.direct[..] } else { &[] };
            for one in these {
                all.tenant.push(one.tenant.as_str());
                all.id.push(&one.id);
                all.source.push(&one.source);
                all.row.push(numbers.0.pop().unwrap_or_default());
                all.conversation.push(one.conversation.to_bytes());
                all.at.push(one.at.as_microsecond());
                if one.begins {
                    all.begin.insert((one.tenant.as_str(), &one.source), one.conversation.to_bytes());
                }
            }
            all.counts.push(these.len());
        }
        all
    }

    /// The numbers of a write's messages.
    pub(super) fn rows_of(&self, write: usize) -> Vec<u64> {
        let before: usize = self.counts.iter().take(write).sum();
        let count = self.counts.get(write).copied().unwrap_or(0);
        self.row.iter().skip(before).take(count).filter_map(|row| u64::try_from(*row).ok()).collect()
    }

    /// Writes them as known, and the threads that begin; false when something speaks against one of them.
    pub(super) async fn insert(&self, link: &Link) -> Result<bool> {
        if self.row.is_empty() {
            return Ok(true);
        }
        let ids: Vec<&[u8]> = self.conversation.iter().map(|id| &id[..]).collect();
        let tenants: Vec<&str> = self.begin.keys().map(|(tenant, _)| *tenant).collect();
        let sources: Vec<&str> = self.begin.keys().map(|(_, source)| *source).collect();
        let to: Vec<&[u8]> = self.begin.values().map(|id| &id[..]).collect();
        let person: Vec<Option<&[u8]>> = vec![None; to.len()];
        let threads: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&tenants, &sources, &to, &person];
        let known: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&self.tenant, &self.id, &self.source, &self.row, &ids, &self.at];
        let (begun, written) = tokio::try_join!(
            biased;
            async { if to.is_empty() { Ok(0) } else { link.execute(BEGIN, &threads).await } },
            link.execute(KNOWN, &known),
        )?;
        Ok(begun == to.len() as u64 && written == self.row.len() as u64)
    }
}

/// After a collision: of which writes which messages may not pass.
pub(super) async fn by_inbox(link: &Link, writes: &[Write]) -> Result<BTreeMap<usize, Vec<usize>>> {
    let mut refused: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let direct = writes
        .iter()
        .enumerate()
        .flat_map(|(at, write)| write.direct.iter().enumerate().map(move |(n, one)| (at, n, one)));
    let all: Vec<(usize, usize, &Direct)> = direct.collect();
    if all.is_empty() {
        return Ok(refused);
    }
    // Behind one that begins its thread in this group.
    let begun: HashSet<(&Tenant, &str, ConversationId)> = all
        .iter()
        .filter(|(.., one)| one.begins)
        .map(|(.., one)| (&one.tenant, one.source.as_str(), one.conversation))
        .collect();
    let text = |of: fn(&Direct) -> &str| all.iter().map(|(.., one)| of(one)).collect::<Vec<&str>>();
    let ids: Vec<[u8; 16]> = all.iter().map(|(.., one)| one.conversation.to_bytes()).collect();
    let ids: Vec<&[u8]> = ids.iter().map(|id| &id[..]).collect();
    let begins: Vec<bool> =
        all.iter().map(|(.., one)| begun.contains(&(&one.tenant, one.source.as_str(), one.conversation))).collect();
    let found = link
        .query(
            BY_INBOX,
            &[&text(|one| one.tenant.as_str()), &text(|one| &one.id), &text(|one| &one.source), &ids, &begins],
        )
        .await?;
    for row in &found {
        let n = usize::try_from(rows::number(row, 0)?).map_err(Fault::unreadable)?;
        if let Some((at, message, _)) = all.get(n.wrapping_sub(1)) {
            refused.entry(*at).or_default().push(*message);
        }
    }
    Ok(refused)
}
