//! Messages that go past the inbox, in SQLite.

use std::collections::HashMap;

use ark_conversation::{ConversationId, Tenant};
use rusqlite::{OptionalExtension, params};

use crate::commit::Direct;
use crate::error::StoreError;
use crate::sqlite::flow::{self, KNOWN};
use crate::sqlite::writer::{Result, Said, Work};

/// Threads that begin in this commit.
type Begun<'a> = HashMap<(&'a Tenant, &'a str), ConversationId>;

/// Writes them as known; their numbers. A refusal has written nothing.
pub(super) fn take(work: &mut Work<'_>, direct: &[Direct]) -> Result<Said<Vec<u64>>> {
    let mut begun = Begun::new();
    let mut by_inbox = Vec::new();
    for (at, one) in direct.iter().enumerate() {
        if !may_pass(work, one, &mut begun)? {
            by_inbox.push(at);
        }
    }
    if !by_inbox.is_empty() {
        return Ok(Err(StoreError::ByInbox { messages: by_inbox }));
    }
    let mut rows = Vec::with_capacity(direct.len());
    for (at, one) in direct.iter().enumerate() {
        let row = work.last_row()? + 1;
        let (tenant, key, us) = (one.tenant.as_str(), one.conversation.to_bytes(), one.at.as_microsecond());
        let known = work.hot.known.get(work.db, KNOWN)?;
        if known.execute(params![tenant, one.id, one.source, row, key, us])? == 0 {
            by_inbox.push(at);
            continue;
        }
        work.numbered(row);
        rows.push(row);
    }
    if !by_inbox.is_empty() {
        // What is known already is rare: it is found by its key, and the others of its commit are taken back.
        let mut known =
            work.db.prepare_cached("delete from inbox where tenant = ?1 and source = ?2 and id = ?3 and row >= ?4")?;
        if let Some(first) = rows.first() {
            for one in direct {
                known.execute(params![one.tenant.as_str(), one.source, one.id, first])?;
            }
        }
        return Ok(Err(StoreError::ByInbox { messages: by_inbox }));
    }
    for ((tenant, source), conversation) in begun {
        work.db
            .prepare_cached("insert into thread (tenant, source, conversation) values (?1, ?2, ?3)")?
            .execute(params![tenant.as_str(), source, conversation.to_bytes()])?;
        work.threads.put(tenant, source, conversation);
    }
    Ok(Ok(rows))
}

/// Whether the inbox would have given this message to this conversation, as the next one.
fn may_pass<'a>(work: &mut Work<'_>, one: &'a Direct, begun: &mut Begun<'a>) -> Result<bool> {
    let key = (one.tenant.clone(), one.conversation);
    let log = if work.knows(&key)? { work.heads.get(&key).map(|head| head.state.is_open()) } else { None };
    let thread = (&one.tenant, one.source.as_str());
    let remembered = begun.get(&thread).copied().or_else(|| work.threads.get(&one.tenant, &one.source));
    let known = match remembered {
        Some(conversation) => Some(conversation),
        None => flow::thread(work.db, &one.tenant, &one.source)?,
    };
    let fits = match (one.begins, log) {
        (true, None) => known.is_none(),
        (false, Some(open)) => open && known == Some(one.conversation),
        // Behind the message that begins it.
        (false, None) => begun.get(&thread) == Some(&one.conversation),
        (true, Some(_)) => false,
    };
    if !fits {
        return Ok(false);
    }
    if one.begins {
        begun.insert(thread, one.conversation);
    } else if remembered.is_none() {
        work.threads.put(&one.tenant, &one.source, one.conversation);
    }
    if work.is_inbox_empty() {
        return Ok(true);
    }
    let waits = work
        .db
        .prepare_cached("select 1 from waiting where conversation = ?1 and tenant = ?2 limit 1")?
        .query_row(params![one.conversation.to_bytes(), one.tenant.as_str()], |_| Ok(()))
        .optional()?;
    Ok(waits.is_none())
}
