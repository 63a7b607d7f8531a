//! The tables, and how older files become newer ones.

use std::cmp::Ordering;

use rusqlite::Connection;

use crate::error::StoreError;
use crate::sqlite::fail::{self, Place};

/// One script for each layout version: `user_version` n has run the first n. Scripts are only ever added.
///
/// The log's unique (tenant, source, id) is indexed by id before source: ids are ULIDs and grow at the end of the
/// index, while sources hold random Call-IDs and would touch a page of their own for each event (append_bench, minutes
/// apart on a shared machine: 63 to 76k against 28 to 39k events/s, the bare insert alike).
///
/// Rowid tables with separate unique indices and not `WITHOUT ROWID`: measured 28 to 33k against 8 to 10k rows/s (rows
/// of 1 KB scattered over the key space make a B-tree of rows split everywhere). Small rows that have one key are the
/// exception: one tree instead of two.
const MIGRATIONS: &[&str] = &[
    "
    create table meta (
        key text not null primary key,
        value text not null
    );
    insert into meta (key, value) values ('store_id', lower(hex(randomblob(16)))), ('probe', '0');

    create table log (
        row integer primary key,
        tenant text not null,
        conversation blob not null,
        seq integer not null check (seq >= 1),
        epoch integer not null check (epoch >= 1),
        at_us integer not null,
        type text not null,
        source text not null,
        id text not null,
        subject text,
        time_us integer not null,
        data text not null,
        extensions text,
        unique (tenant, conversation, seq),
        unique (tenant, id, source)
    );

    create table conversation (
        row integer primary key,
        tenant text not null,
        conversation blob not null,
        kind text not null,
        ended_us integer,
        state text not null,
        unique (tenant, conversation)
    );
    create index conversation_open on conversation (tenant, conversation) where ended_us is null;

    create table plan_version (
        row integer primary key,
        tenant text not null,
        name text not null,
        version integer not null check (version >= 1),
        sha256 text not null,
        source text not null,
        at_us integer not null,
        by text not null,
        note text,
        unique (tenant, name, version),
        unique (tenant, name, sha256)
    );

    create table plan_change (
        row integer primary key,
        tenant text not null,
        name text not null,
        version integer not null,
        kind text not null check (kind in ('published', 'rolled_back')),
        at_us integer not null,
        by text not null,
        note text,
        foreign key (tenant, name, version) references plan_version (tenant, name, version)
    );
    create index plan_change_name on plan_change (tenant, name, row);
",
    "
    insert into meta (key, value) values ('topology', '1'), ('shards', '64');

    alter table conversation add column person blob;
    alter table conversation add column erased_us integer;
    create index conversation_person on conversation (tenant, person, conversation) where person is not null;
    create index conversation_ended on conversation (tenant, ended_us)
        where ended_us is not null and erased_us is null;
    create table conversation_channel (
        tenant text not null,
        channel text not null,
        conversation blob not null,
        primary key (tenant, channel, conversation)
    ) without rowid;
    insert into conversation_channel
        select distinct tenant, 'sip', conversation from log where source like '/ark/' || tenant || '/sip/%';

    create table thread (
        row integer primary key,
        tenant text not null,
        source text not null,
        conversation blob not null,
        person blob,
        unique (tenant, source)
    );
    create index thread_person on thread (tenant, person) where person is not null;

    create table inbox (
        row integer primary key,
        shard integer not null,
        tenant text not null,
        source text not null,
        id text not null,
        conversation blob not null,
        at_us integer not null,
        event text, -- gone when it is applied: the log has it
        unique (tenant, id, source)
    );
    create index inbox_waiting on inbox (shard, row) where event is not null;

    create table outbox ( -- numbers are never used again: a late confirmation must not hit a new row
        row integer primary key autoincrement,
        shard integer not null,
        tenant text not null,
        conversation blob not null,
        first_seq integer not null,
        last_seq integer not null
    );

    create table delivery (
        id integer primary key autoincrement,
        tenant text not null,
        adapter text not null,
        key text not null,
        order_key text not null,
        conversation blob not null,
        body text not null,
        not_before_ms integer not null,
        not_before_us integer,
        state integer not null default 0, -- 0 waiting, 1 claimed, 2 done, 3 dead
        attempts integer not null default 0,
        error text,
        claimed_by text,
        unique (tenant, adapter, key)
    );
    create index delivery_live on delivery (adapter, order_key, id) where state < 2;
    create index delivery_due on delivery (adapter, id) where state < 2;
    create index delivery_conversation on delivery (tenant, conversation);
    create index delivery_state on delivery (tenant, adapter, state, id);

    create table lease (
        shard integer not null primary key,
        gateway text,
        number integer not null,
        until_ms integer not null
    );

    create table person (
        row integer primary key,
        tenant text not null,
        person blob not null,
        merged_into blob,
        at_us integer not null,
        unique (tenant, person)
    );
    create index person_merged on person (tenant, merged_into) where merged_into is not null;

    create table identity (
        row integer primary key,
        tenant text not null,
        kind text not null,
        value text not null,
        person blob not null,
        assurance text not null,
        verified integer not null,
        at_us integer not null,
        unique (tenant, kind, value, person)
    );
    create unique index identity_verified on identity (tenant, kind, value) where verified = 1;
    create index identity_person on identity (tenant, person);

    create table audit (
        row integer primary key,
        tenant text not null,
        conversation blob,
        action text not null,
        by text not null,
        at_us integer not null,
        detail text not null
    );
    create index audit_conversation on audit (tenant, conversation, row);
",
    "
    create table gateway (
        gateway text not null primary key,
        place text not null,
        process text not null,
        until_ms integer not null
    );
",
    "
    create table log_reader (
        tenant text not null,
        name text not null,
        position integer not null,
        primary key (tenant, name)
    ) without rowid;
",
    // A message's body is not in the row that stays: with the body taken out of it again, and of an index of what waits,
    // each message wrote its page twice (append_bench: 40 to 45 us of the writer for a message).
    "
    create table waiting ( -- rows of the inbox that are not applied; numbers are never used again
        row integer primary key,
        shard integer not null,
        tenant text not null,
        conversation blob not null,
        at_us integer not null,
        event text not null
    );
    insert into waiting select row, shard, tenant, conversation, at_us, event from inbox where event is not null;
    insert into meta (key, value) select 'inbox_row', coalesce(max(row), 0) from inbox;

    create table inbox_known ( -- what came in, for ever
        tenant text not null,
        id text not null,
        source text not null,
        row integer not null,
        conversation blob not null,
        at_us integer not null,
        primary key (tenant, id, source)
    ) without rowid;
    insert into inbox_known select tenant, id, source, row, conversation, at_us from inbox;
    drop table inbox;
    alter table inbox_known rename to inbox;
",
    // Whether somebody's message waits for a conversation is asked before another goes past it.
    "
    create index waiting_conversation on waiting (conversation);
",
    // What programs show to be let in.
    "
    create table api_token (
        id text not null primary key,
        name text not null,
        scopes text not null,
        sha256 text not null,
        made_us integer not null,
        expires_us integer,
        revoked_us integer,
        used_us integer
    ) without rowid;
",
    // Who signs in, and where they have.
    "
    create table account (
        name text not null primary key,
        profile text not null,
        password text,
        subject text unique,
        disabled integer not null,
        made_us integer not null,
        signed_in_us integer
    ) without rowid;

    create table account_session (
        sha256 text not null primary key,
        account text not null references account (name) on delete cascade,
        made_us integer not null,
        used_us integer not null,
        ends_us integer not null
    ) without rowid;
    create index account_session_account on account_session (account, used_us);
    create index account_session_ends on account_session (ends_us);
",
    // Small values that the gateways of a site share.
    "
    create table note (
        tenant text not null,
        name text not null,
        version integer not null,
        body blob not null,
        primary key (tenant, name)
    ) without rowid;
",
];

/// The latest layout this program knows.
pub(super) const LAYOUT: i64 = MIGRATIONS.len() as i64;

/// Looks whether a file has the latest layout, for those who only read it.
pub(super) fn fits(connection: &Connection, place: &Place) -> Result<(), StoreError> {
    let said = |error: rusqlite::Error| fail::said(&error, place);
    let found: i64 = connection.query_row("pragma user_version", [], |row| row.get(0)).map_err(said)?;
    let path = place.path.clone();
    match found.cmp(&LAYOUT) {
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err(StoreError::TooNew { path, found, known: LAYOUT }),
        Ordering::Less if found == 0 => {
            Err(StoreError::Corrupt { path, detail: "it has no layout of Ark's".to_owned() })
        }
        Ordering::Less => Err(crate::check::too_old(&path.display().to_string(), found, LAYOUT)),
    }
}

/// Brings a file to the latest layout, each step in a transaction of its own.
pub(super) fn migrate(connection: &mut Connection, place: &Place) -> Result<(), StoreError> {
    let said = |error: rusqlite::Error| fail::said(&error, place);
    let found: i64 = connection.query_row("pragma user_version", [], |row| row.get(0)).map_err(said)?;
    if found > LAYOUT {
        return Err(StoreError::TooNew { path: place.path.clone(), found, known: LAYOUT });
    }
    if found == 0 {
        let tables: i64 =
            connection.query_row("select count(*) from sqlite_schema", [], |row| row.get(0)).map_err(said)?;
        if tables > 0 {
            let detail = "it holds tables of another program".to_owned();
            return Err(StoreError::Corrupt { path: place.path.clone(), detail });
        }
    }
    for (version, script) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let step = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(said)?;
        step.execute_batch(script).map_err(said)?;
        step.pragma_update(None, "user_version", version).map_err(said)?;
        step.commit().map_err(said)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::flow::message;
    use crate::{Commit, Join, SqliteStore, Store};
    use ark_conversation::ConversationId;

    #[tokio::test]
    async fn what_waited_and_what_was_known_is_so_after_the_inbox_was_divided() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ark.db");
        let conversation = ConversationId::new(1, 1);
        let of = |n| message("t1", n, conversation, Join::Begin);
        let db = Connection::open(&path).unwrap();
        for script in &MIGRATIONS[..4] {
            db.execute_batch(script).unwrap();
        }
        db.pragma_update(None, "user_version", 4).unwrap();
        for n in 1..=3 {
            let json = (n != 2).then(|| serde_json::to_string(&of(n).event).unwrap());
            let event = of(n).event;
            db.execute(
                "insert into inbox values (?1, 5, 'main', ?2, ?3, ?4, ?5, ?6)",
                rusqlite::params![n + 6, event.source, event.id, conversation.to_bytes(), n, json],
            )
            .unwrap();
        }
        drop(db);
        let store = SqliteStore::open(&path).unwrap();
        let rows = |page: &[crate::Inbound]| page.iter().map(|one| one.row).collect::<Vec<_>>();
        let waiting = store.inbox(&[], 0, 10).await.unwrap();
        assert_eq!((rows(&waiting), waiting[0].shard, &waiting[1].event), (vec![7, 9], 5, &of(3).event));
        let known = store.ingest(of(2)).await.unwrap();
        assert!(known.duplicate && known.row == 8 && known.conversation == conversation, "{known:?}");
        let new = store.ingest(of(4)).await.unwrap();
        assert!(new.row == 10 && !new.duplicate, "{new:?}");
        store.commit(Commit { applied: vec![7, 9], ..Commit::default() }).await.unwrap();
        assert_eq!(rows(&store.inbox(&[], 0, 10).await.unwrap()), [10], "what came before is done, and remembered so");
        store.commit(Commit { applied: vec![10], ..Commit::default() }).await.unwrap();
        drop(store);
        let store = SqliteStore::open(&path).unwrap();
        assert_eq!(store.ingest(of(5)).await.unwrap().row, 11, "numbers are never used again");
        assert_eq!(store.backlog().await.unwrap().inbox, 1);
    }
}
