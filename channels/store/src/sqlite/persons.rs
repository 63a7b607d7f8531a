//! Persons, their keys, merges, and erasure in SQLite.

use ark_conversation::{ConversationId, IdentityKey, PersonId, Tenant};
use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};

use crate::erase::{AuditRow, Erase, Erased, Eraser};
use crate::error::StoreError;
use crate::heads::Head;
use crate::limits::{LIST_MAX, READ_RECORDS_MAX};
use crate::pending;
use crate::person::{Identified, Identity, MergeOf, NewIdentity};
use crate::sqlite::rows;
use crate::sqlite::writer::{Result, Said, Work};

/// The persons that are one with ?2 of tenant ?1, themselves first; follow with `select id from one`.
const MERGED: &str = "with recursive one (id, depth) as (
    select ?2, 0 union
    select p.person, depth + 1 from person p join one on p.tenant = ?1 and p.merged_into = one.id where depth < 32)";

/// Who a person is today.
pub(super) fn root(db: &Connection, tenant: &Tenant, person: PersonId) -> Result<Option<PersonId>> {
    db.prepare_cached(
        "with recursive up (id, depth) as (
             select ?2, 0 union
             select p.merged_into, depth + 1 from person p join up on p.tenant = ?1 and p.person = up.id
             where p.merged_into is not null and depth < 32)
         select id from up where exists (select 1 from person where tenant = ?1 and person = ?2)
         order by depth desc limit 1",
    )?
    .query_row(params![tenant.as_str(), person.to_bytes()], |row| row.get(0).map(PersonId::from_bytes))
    .optional()
}

/// Whose verified key it is, as they are now.
pub(super) fn owner(db: &Connection, tenant: &Tenant, key: &IdentityKey) -> Result<Option<PersonId>> {
    let owner: Option<PersonId> = db
        .prepare_cached("select person from identity where tenant = ?1 and kind = ?2 and value = ?3 and verified = 1")?
        .query_row(params![tenant.as_str(), key.kind.as_str(), key.value.reveal()], |row| {
            row.get(0).map(PersonId::from_bytes)
        })
        .optional()?;
    let Some(owner) = owner else { return Ok(None) };
    Ok(Some(root(db, tenant, owner)?.unwrap_or(owner)))
}

pub(super) fn identify(db: &Connection, new: &NewIdentity) -> Result<Said<Identified>> {
    let NewIdentity { tenant, key, assurance, person, at } = new;
    let (kind, value) = (key.kind.as_str(), key.value.reveal());
    if assurance.is_verified()
        && let Some(person) = owner(db, tenant, key)?
    {
        return Ok(Ok(Identified { person, new: false }));
    }
    let bytes = person.to_bytes();
    db.prepare_cached("insert into person (tenant, person, at_us) values (?1, ?2, ?3) on conflict do nothing")?
        .execute(params![tenant.as_str(), bytes, at.as_microsecond()])?;
    let there = db
        .prepare_cached("select 1 from identity where tenant = ?1 and kind = ?2 and value = ?3 and person = ?4")?
        .exists(params![tenant.as_str(), kind, value, bytes])?;
    // A key is raised, never lowered: `verified` rows were answered above, or this one is only asserted now.
    if !there || assurance.is_verified() {
        db.prepare_cached(
            "insert into identity (tenant, kind, value, person, assurance, verified, at_us)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             on conflict (tenant, kind, value, person) do update set assurance = ?5, verified = ?6",
        )?
        .execute(params![
            tenant.as_str(),
            kind,
            value,
            bytes,
            assurance.as_str(),
            assurance.is_verified(),
            at.as_microsecond()
        ])?;
    }
    let person = root(db, tenant, *person)?.unwrap_or(*person);
    Ok(Ok(Identified { person, new: !there }))
}

pub(super) fn identities(db: &Connection, tenant: &Tenant, person: PersonId) -> Result<Vec<Identity>> {
    let sql = format!(
        "{MERGED} select kind, value, assurance, person, at_us from identity
         where tenant = ?1 and person in (select id from one) order by row limit ?3"
    );
    let limit = LIST_MAX as i64;
    db.prepare_cached(&sql)?
        .query_map(params![tenant.as_str(), person.to_bytes(), limit], |row| {
            let kind: String = row.get(0)?;
            let kind = kind.parse().map_err(|error| rows::unreadable(0, Type::Text, error))?;
            let word: String = row.get(2)?;
            let assurance =
                pending::assurance(&word).ok_or_else(|| rusqlite::Error::InvalidColumnType(2, word, Type::Text))?;
            Ok(Identity {
                key: IdentityKey::new(kind, row.get::<_, String>(1)?),
                assurance,
                person: PersonId::from_bytes(row.get(3)?),
                at: rows::time(row, 4)?,
            })
        })?
        .collect()
}

pub(super) fn merge(db: &Connection, merge: &MergeOf) -> Result<Said<()>> {
    let MergeOf { tenant, from, into, .. } = merge;
    let (Some(from_root), Some(into_root)) = (root(db, tenant, *from)?, root(db, tenant, *into)?) else {
        return Ok(Err(StoreError::Conflict(format!("person {from} or {into} is not known"))));
    };
    if from_root != *from || from_root == into_root {
        return Ok(Err(StoreError::Conflict(format!("person {from} is merged already"))));
    }
    put_merge(db, merge).map(Ok)
}

fn put_merge(db: &Connection, merge: &MergeOf) -> Result<()> {
    let MergeOf { tenant, from, into, by, at } = merge;
    db.execute(
        "update person set merged_into = ?3 where tenant = ?1 and person = ?2",
        params![tenant.as_str(), from.to_bytes(), into.to_bytes()],
    )?;
    audit(db, tenant, None, "merge", by, *at, &format!("{from} into {into}"))
}

/// Why a merge cannot be.
pub(super) fn unknown(db: &Connection, of: &MergeOf) -> Result<Option<StoreError>> {
    let MergeOf { tenant, from, into, .. } = of;
    let known = root(db, tenant, *from)?.is_some() && root(db, tenant, *into)?.is_some();
    Ok((!known).then(|| StoreError::Conflict(format!("person {from} or {into} is not known"))))
}

/// A merge within a commit: of those whom the two are now, and nothing when they are one. Both are known.
pub(super) fn merge_now(db: &Connection, of: &MergeOf) -> Result<()> {
    let (from, into) = (root(db, &of.tenant, of.from)?, root(db, &of.tenant, of.into)?);
    let (Some(from), Some(into)) = (from, into) else { return Ok(()) };
    if from == into { Ok(()) } else { put_merge(db, &MergeOf { from, into, ..of.clone() }) }
}

pub(super) fn unmerge(db: &Connection, merge: &MergeOf) -> Result<Said<()>> {
    let MergeOf { tenant, from, into, by, at } = merge;
    let undone = db.execute(
        "update person set merged_into = null where tenant = ?1 and person = ?2 and merged_into = ?3",
        params![tenant.as_str(), from.to_bytes(), into.to_bytes()],
    )?;
    if undone == 0 {
        return Ok(Err(StoreError::Conflict(format!("person {from} is not merged into {into}"))));
    }
    audit(db, tenant, None, "unmerge", by, *at, &format!("{from} out of {into}"))?;
    Ok(Ok(()))
}

pub(super) fn forget(db: &Connection, tenant: &Tenant, person: PersonId, by: &str, at: Timestamp) -> Result<Said<u64>> {
    let sql = format!("{MERGED} delete from identity where tenant = ?1 and person in (select id from one)");
    let keys = db.execute(&sql, params![tenant.as_str(), person.to_bytes()])? as u64;
    audit(db, tenant, None, "forget", by, at, &format!("{person}: {keys} keys"))?;
    Ok(Ok(keys))
}

pub(super) fn audit(
    db: &Connection,
    tenant: &Tenant,
    conversation: Option<ConversationId>,
    action: &str,
    by: &str,
    at: Timestamp,
    detail: &str,
) -> Result<()> {
    db.prepare_cached(
        "insert into audit (tenant, conversation, action, by, at_us, detail) values (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        tenant.as_str(),
        conversation.map(ConversationId::to_bytes),
        action,
        by,
        at.as_microsecond(),
        detail
    ])?;
    Ok(())
}

pub(super) fn audit_rows(
    db: &Connection,
    tenant: &Tenant,
    conversation: Option<ConversationId>,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<AuditRow>> {
    let before = before.map_or(i64::MAX, |row| i64::try_from(row).unwrap_or(i64::MAX));
    let limit = limit.min(LIST_MAX) as i64;
    db.prepare_cached(
        "select row, tenant, conversation, action, by, at_us, detail from audit
         where tenant = ?1 and (?2 is null or conversation = ?2) and row < ?3 order by row desc limit ?4",
    )?
    .query_map(params![tenant.as_str(), conversation.map(ConversationId::to_bytes), before, limit], |row| {
        Ok(AuditRow {
            row: row.get(0)?,
            tenant: rows::tenant(row, 1)?,
            conversation: row.get::<_, Option<[u8; 16]>>(2)?.map(ConversationId::from_bytes),
            action: row.get(3)?,
            by: row.get(4)?,
            at: rows::time(row, 5)?,
            detail: row.get(6)?,
        })
    })?
    .collect()
}

/// Erases bodies, and what was remembered and folded of them.
pub(super) fn erase(work: &mut Work<'_>, erase: &Erase) -> Result<Said<Erased>> {
    let db = work.db;
    let (tenant, conversation) = (&erase.tenant, erase.conversation);
    let mut eraser = Eraser::new(erase.clone());
    loop {
        let page = rows::read(db, tenant, conversation, eraser.after(), READ_RECORDS_MAX)?;
        if page.is_empty() {
            break;
        }
        for record in eraser.page(page) {
            let data = serde_json::to_string(&record.event.event).expect("a tombstone is JSON");
            db.prepare_cached(
                "update log set type = ?4, data = ?5 where tenant = ?1 and conversation = ?2 and seq = ?3",
            )?
            .execute(params![
                tenant.as_str(),
                conversation.to_bytes(),
                record.seq,
                record.event.type_name(),
                data
            ])?;
        }
    }
    let Some(state) = &eraser.state else {
        return Ok(Err(StoreError::Conflict(format!("conversation {conversation} is not in the log"))));
    };
    let json = serde_json::to_string(state).expect("a state's keys are strings and its numbers finite");
    rows::put_state(db, state, &json)?;
    // A state of before the erasure must not be written back; the outbox of this transaction is kept.
    let key = (tenant.clone(), conversation);
    let outgoing = work.heads.get(&key).and_then(|head| head.outgoing);
    work.heads.put(key, Head { outgoing, ..Head::new(state.clone()) });
    if erase.seqs.is_none() {
        let of = params![tenant.as_str(), conversation.to_bytes(), erase.at.as_microsecond()];
        db.execute("update conversation set erased_us = ?3 where tenant = ?1 and conversation = ?2", of)?;
        db.execute(
            "update delivery set body = 'null' where tenant = ?1 and conversation = ?2 and state >= 2",
            params![tenant.as_str(), conversation.to_bytes()],
        )?;
    }
    audit(db, tenant, Some(conversation), "erase", &erase.by, erase.at, &eraser.detail())?;
    Ok(Ok(eraser.erased))
}

/// Conversations that ended before a time and are not erased yet, the oldest first.
pub(super) fn outlived(
    db: &Connection,
    tenant: &Tenant,
    ended_before: Timestamp,
    limit: usize,
) -> Result<Vec<ConversationId>> {
    db.prepare_cached(
        "select conversation from conversation where tenant = ?1 and ended_us < ?2 and erased_us is null
         and kind <> 'system' order by ended_us limit ?3",
    )?
    .query_map(params![tenant.as_str(), ended_before.as_microsecond(), limit as i64], |row| {
        row.get(0).map(ConversationId::from_bytes)
    })?
    .collect()
}
