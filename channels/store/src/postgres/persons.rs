//! Persons, their keys, merges, and erasure in PostgreSQL. Everything that writes runs within a transaction.

use ark_conversation::{ConversationId, IdentityKey, PersonId, Tenant};
use jiff::Timestamp;

use super::fail::Fault;
use super::lane::Said;
use super::link::{Link, Result};
use super::rows::{self, one};
use crate::erase::{AuditRow, Erase, Erased, Eraser};
use crate::error::StoreError;
use crate::limits::{LIST_MAX, READ_RECORDS_MAX};
use crate::pending;
use crate::person::{Identified, Identity, MergeOf, NewIdentity};

/// Who a person is today.
pub(super) async fn root(link: &Link, tenant: &Tenant, person: PersonId) -> Result<Option<PersonId>> {
    let sql = "with recursive up (id, depth) as (
            select $2::bytea, 0 union
            select p.merged_into, depth + 1 from person p join up on p.tenant = $1 and p.person = up.id
            where p.merged_into is not null and depth < 32)
        select id from up where exists (select 1 from person where tenant = $1 and person = $2)
        order by depth desc limit 1";
    let row = link.one(sql, &[&tenant.as_str(), &&person.to_bytes()[..]]).await?;
    row.as_ref().map(|row| rows::person(row, 0)).transpose()
}

/// Whose verified key it is, as they are now.
pub(super) async fn owner(link: &Link, tenant: &Tenant, key: &IdentityKey) -> Result<Option<PersonId>> {
    let sql = "select person from identity where tenant = $1 and kind = $2 and value = $3 and verified";
    let Some(row) = link.one(sql, &[&tenant.as_str(), &key.kind.as_str(), &key.value.reveal()]).await? else {
        return Ok(None);
    };
    let owner = rows::person(&row, 0)?;
    Ok(Some(root(link, tenant, owner).await?.unwrap_or(owner)))
}

pub(super) async fn identify(link: &Link, new: &NewIdentity) -> Result<Said<Identified>> {
    let NewIdentity { tenant, key, assurance, person, at } = new;
    let (kind, value) = (key.kind.as_str(), key.value.reveal());
    let name = tenant.as_str();
    if assurance.is_verified()
        && let Some(person) = owner(link, tenant, key).await?
    {
        return Ok(Ok(Identified { person, new: false }));
    }
    let bytes = person.to_bytes();
    let at_us = at.as_microsecond();
    let sql = "insert into person (tenant, person, at_us) values ($1, $2, $3) on conflict do nothing";
    link.execute(sql, &[&name, &&bytes[..], &at_us]).await?;
    // A key is raised, never lowered.
    let sql = "insert into identity (tenant, kind, value, person, assurance, verified, at_us)
        values ($1, $2, $3, $4, $5, $6, $7) on conflict (tenant, kind, value, person)
        do update set assurance = $5, verified = true where $6 and not identity.verified
        returning (xmax = 0)";
    let verified = assurance.is_verified();
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [&name, &kind, &value, &&bytes[..], &assurance.as_str(), &verified, &at_us];
    let written = match link.one(sql, &params).await {
        // Another gateway has verified the same key for somebody else in between: it is theirs.
        Err(Fault::Db(error)) if error.code() == Some(&tokio_postgres::error::SqlState::UNIQUE_VIOLATION) => {
            return Ok(Err(StoreError::Busy { waiting: 1 }));
        }
        other => other?,
    };
    let new = match written {
        Some(row) => row.try_get(0)?,
        None => false,
    };
    let person = root(link, tenant, *person).await?.unwrap_or(*person);
    Ok(Ok(Identified { person, new }))
}

pub(super) async fn identities(link: &Link, tenant: &Tenant, person: PersonId) -> Result<Vec<Identity>> {
    let sql = format!(
        "select kind, value, assurance, person, at_us from identity
         where tenant = $1 and person in (select id from {}) order by row limit $3",
        one("$1", "$2")
    );
    let limit = LIST_MAX as i64;
    let found = link.query(&sql, &[&tenant.as_str(), &&person.to_bytes()[..], &limit]).await?;
    let identity = |row: &tokio_postgres::Row| {
        let kind = row.try_get::<_, &str>(0)?.parse().map_err(Fault::unreadable)?;
        let word: &str = row.try_get(2)?;
        let assurance =
            pending::assurance(word).ok_or_else(|| Fault::unreadable(format!("'{word}' is no assurance")))?;
        Ok(Identity {
            key: IdentityKey::new(kind, row.try_get::<_, String>(1)?),
            assurance,
            person: rows::person(row, 3)?,
            at: rows::time(row, 4)?,
        })
    };
    found.iter().map(identity).collect()
}

pub(super) async fn merge(link: &Link, merge: &MergeOf) -> Result<Said<()>> {
    let MergeOf { tenant, from, into, by, at } = merge;
    // One merge at a time, so that two at once cannot make a ring.
    link.batch("lock table person in share row exclusive mode").await?;
    let (Some(from_root), Some(into_root)) = (root(link, tenant, *from).await?, root(link, tenant, *into).await?)
    else {
        return Ok(Err(StoreError::Conflict(format!("person {from} or {into} is not known"))));
    };
    if from_root != *from || from_root == into_root {
        return Ok(Err(StoreError::Conflict(format!("person {from} is merged already"))));
    }
    let sql = "update person set merged_into = $3 where tenant = $1 and person = $2";
    link.execute(sql, &[&tenant.as_str(), &&from.to_bytes()[..], &&into.to_bytes()[..]]).await?;
    audit(link, tenant, None, "merge", by, *at, &format!("{from} into {into}")).await?;
    Ok(Ok(()))
}

/// A merge within a commit: of those whom the two are now, and nothing when they are one.
pub(super) async fn merge_now(link: &Link, of: &MergeOf) -> Result<Said<()>> {
    link.batch("lock table person in share row exclusive mode").await?;
    let roots = (root(link, &of.tenant, of.from).await?, root(link, &of.tenant, of.into).await?);
    let (Some(from), Some(into)) = roots else { return merge(link, of).await };
    if from == into { Ok(Ok(())) } else { merge(link, &MergeOf { from, into, ..of.clone() }).await }
}

pub(super) async fn unmerge(link: &Link, merge: &MergeOf) -> Result<Said<()>> {
    let MergeOf { tenant, from, into, by, at } = merge;
    let sql = "update person set merged_into = null where tenant = $1 and person = $2 and merged_into = $3";
    if link.execute(sql, &[&tenant.as_str(), &&from.to_bytes()[..], &&into.to_bytes()[..]]).await? == 0 {
        return Ok(Err(StoreError::Conflict(format!("person {from} is not merged into {into}"))));
    }
    audit(link, tenant, None, "unmerge", by, *at, &format!("{from} out of {into}")).await?;
    Ok(Ok(()))
}

pub(super) async fn forget(
    link: &Link,
    tenant: &Tenant,
    person: PersonId,
    by: &str,
    at: Timestamp,
) -> Result<Said<u64>> {
    let sql = format!("delete from identity where tenant = $1 and person in (select id from {})", one("$1", "$2"));
    let keys = link.execute(&sql, &[&tenant.as_str(), &&person.to_bytes()[..]]).await?;
    audit(link, tenant, None, "forget", by, at, &format!("{person}: {keys} keys")).await?;
    Ok(Ok(keys))
}

async fn audit(
    link: &Link,
    tenant: &Tenant,
    conversation: Option<ConversationId>,
    action: &str,
    by: &str,
    at: Timestamp,
    detail: &str,
) -> Result<()> {
    let sql = "insert into audit (tenant, conversation, action, by, at_us, detail) values ($1, $2, $3, $4, $5, $6)";
    let id = conversation.map(ConversationId::to_bytes);
    let id = id.as_ref().map(|id| &id[..]);
    link.execute(sql, &[&tenant.as_str(), &id, &action, &by, &at.as_microsecond(), &detail]).await?;
    Ok(())
}

pub(super) async fn audit_rows(
    link: &Link,
    tenant: &Tenant,
    conversation: Option<ConversationId>,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<AuditRow>> {
    let sql = "select row, tenant, conversation, action, by, at_us, detail from audit
        where tenant = $1 and ($2::bytea is null or conversation = $2) and row < $3 order by row desc limit $4";
    let id = conversation.map(ConversationId::to_bytes);
    let id = id.as_ref().map(|id| &id[..]);
    let (before, limit) = (before.map_or(i64::MAX, rows::big), limit.min(LIST_MAX) as i64);
    let found = link.query(sql, &[&tenant.as_str(), &id, &before, &limit]).await?;
    let row = |row: &tokio_postgres::Row| {
        let has = row.try_get::<_, Option<&[u8]>>(2)?.is_some();
        Ok(AuditRow {
            row: rows::number(row, 0)?,
            tenant: rows::tenant(row, 1)?,
            conversation: if has { Some(rows::conversation(row, 2)?) } else { None },
            action: row.try_get(3)?,
            by: row.try_get(4)?,
            at: rows::time(row, 5)?,
            detail: row.try_get(6)?,
        })
    };
    found.iter().map(row).collect()
}

/// Erases bodies, and what was folded of them. The conversation's row is held first: an append that changes the state
/// waits for it, finds another version, and folds anew.
pub(super) async fn erase(link: &Link, erase: &Erase) -> Result<Said<Erased>> {
    let (tenant, conversation) = (&erase.tenant, erase.conversation);
    let (name, id) = (tenant.as_str(), conversation.to_bytes());
    let sql = "update conversation set version = version + 1 where tenant = $1 and conversation = $2";
    if link.execute(sql, &[&name, &&id[..]]).await? == 0 {
        return Ok(Err(StoreError::Conflict(format!("conversation {conversation} is not in the log"))));
    }
    let mut eraser = Eraser::new(erase.clone());
    loop {
        let page = rows::read(link, tenant, conversation, eraser.after(), READ_RECORDS_MAX).await?;
        if page.is_empty() {
            break;
        }
        let erased = eraser.page(page);
        let seqs: Vec<i64> = erased.iter().map(|record| rows::big(record.seq)).collect();
        let kinds: Vec<&str> = erased.iter().map(|record| record.event.type_name()).collect();
        let data: Vec<String> = erased
            .iter()
            .map(|record| serde_json::to_string(&record.event.event).expect("a tombstone is JSON"))
            .collect();
        let sql = "update log l set type = u.type, data = u.data
            from unnest($3::bigint[], $4::text[], $5::text[]) u (seq, type, data)
            where l.tenant = $1 and l.conversation = $2 and l.seq = u.seq";
        link.execute(sql, &[&name, &&id[..], &seqs, &kinds, &data]).await?;
    }
    let state = eraser.state.as_ref().ok_or_else(|| Fault::unreadable("a conversation without a log"))?;
    let json = serde_json::to_string(state).expect("a state's keys are strings and its numbers finite");
    let ended = state.ended.map(Timestamp::as_microsecond);
    let whole = erase.seqs.is_none().then_some(erase.at.as_microsecond());
    let sql = "update conversation set state = $3, ended_us = $4, erased_us = coalesce($5, erased_us)
        where tenant = $1 and conversation = $2";
    link.execute(sql, &[&name, &&id[..], &json, &ended, &whole]).await?;
    if whole.is_some() {
        let sql = "update delivery set body = 'null' where tenant = $1 and conversation = $2 and state >= 2";
        link.execute(sql, &[&name, &&id[..]]).await?;
    }
    audit(link, tenant, Some(conversation), "erase", &erase.by, erase.at, &eraser.detail()).await?;
    Ok(Ok(eraser.erased))
}

/// Conversations that ended before a time and are not erased yet, the oldest first.
pub(super) async fn outlived(
    link: &Link,
    tenant: &Tenant,
    ended_before: Timestamp,
    limit: usize,
) -> Result<Vec<ConversationId>> {
    let sql = "select conversation from conversation where tenant = $1 and ended_us < $2 and erased_us is null
        and kind <> 'system' order by ended_us limit $3";
    let found = link.query(sql, &[&tenant.as_str(), &ended_before.as_microsecond(), &(limit as i64)]).await?;
    found.iter().map(|row| rows::conversation(row, 0)).collect()
}
