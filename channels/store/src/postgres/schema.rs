//! The tables, and how older schemas become newer ones.

use super::fail::Fault;
use super::link::{Link, Result, Road};
use crate::error::StoreError;
use crate::lease::Topology;

/// One script for each layout version: `meta.layout` n has run the first n. Scripts are only ever added.
///
/// Bodies are `text` and not `jsonb`: what is read is what was written, byte for byte, and an insert costs less. The
/// unique (tenant, source, id) is indexed by id first, as in SQLite: ids are ULIDs and grow at the end of the index.
const MIGRATIONS: &[&str] = &[
    "
    create table log (
        tenant text not null,
        conversation bytea not null,
        seq bigint not null check (seq >= 1),
        epoch bigint not null check (epoch >= 1),
        at_us bigint not null,
        type text not null,
        source text not null,
        id text not null,
        subject text,
        time_us bigint not null,
        data text not null,
        extensions text,
        primary key (tenant, conversation, seq),
        unique (tenant, id, source)
    );

    create table conversation (
        tenant text not null,
        conversation bytea not null,
        kind text not null,
        ended_us bigint,
        state text not null,
        version integer not null default 0,
        person bytea,
        erased_us bigint,
        primary key (tenant, conversation)
    );
    create index conversation_open on conversation (tenant, conversation) where ended_us is null;
    create index conversation_person on conversation (tenant, person, conversation) where person is not null;
    create index conversation_ended on conversation (tenant, ended_us) where ended_us is not null and erased_us is null;

    create table conversation_channel (
        tenant text not null,
        channel text not null,
        conversation bytea not null,
        primary key (tenant, channel, conversation)
    );

    create table thread (
        tenant text not null,
        source text not null,
        conversation bytea not null,
        person bytea,
        primary key (tenant, source)
    );
    create index thread_person on thread (tenant, person) where person is not null;

    create table inbox (
        row bigint generated always as identity primary key,
        shard integer not null,
        tenant text not null,
        source text not null,
        id text not null,
        conversation bytea not null,
        at_us bigint not null,
        event text,
        unique (tenant, id, source)
    );
    create index inbox_waiting on inbox (row) where event is not null;

    create table outbox (
        row bigint generated always as identity primary key,
        shard integer not null,
        tenant text not null,
        conversation bytea not null,
        first_seq bigint not null,
        last_seq bigint not null
    );

    create table delivery (
        id bigint generated always as identity primary key,
        tenant text not null,
        adapter text not null,
        key text not null,
        order_key text not null,
        conversation bytea not null,
        body text not null,
        not_before_ms bigint not null,
        not_before_us bigint,
        state smallint not null default 0,
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
        shard integer primary key,
        gateway text,
        number bigint not null,
        until_ms bigint not null
    );

    create table person (
        tenant text not null,
        person bytea not null,
        merged_into bytea,
        at_us bigint not null,
        primary key (tenant, person)
    );
    create index person_merged on person (tenant, merged_into) where merged_into is not null;

    create table identity (
        row bigint generated always as identity primary key,
        tenant text not null,
        kind text not null,
        value text not null,
        person bytea not null,
        assurance text not null,
        verified boolean not null,
        at_us bigint not null,
        unique (tenant, kind, value, person)
    );
    create unique index identity_verified on identity (tenant, kind, value) where verified;
    create index identity_person on identity (tenant, person);

    create table audit (
        row bigint generated always as identity primary key,
        tenant text not null,
        conversation bytea,
        action text not null,
        by text not null,
        at_us bigint not null,
        detail text not null
    );
    create index audit_conversation on audit (tenant, conversation, row);

    create table plan_version (
        row bigint generated always as identity primary key,
        tenant text not null,
        name text not null,
        version integer not null check (version >= 1),
        sha256 text not null,
        source text not null,
        at_us bigint not null,
        by text not null,
        note text,
        unique (tenant, name, version),
        unique (tenant, name, sha256)
    );
    create table plan_change (
        row bigint generated always as identity primary key,
        tenant text not null,
        name text not null,
        version integer not null,
        kind text not null check (kind in ('published', 'rolled_back')),
        at_us bigint not null,
        by text not null,
        note text,
        foreign key (tenant, name, version) references plan_version (tenant, name, version)
    );
    create index plan_change_name on plan_change (tenant, name, row);
",
    "
    create table gateway (
        gateway text primary key,
        place text not null,
        process text not null,
        until_ms bigint not null
    );
",
    "
    alter table log add column position bigint generated always as identity;
    create unique index log_position on log (position);
    create table log_reader (
        tenant text not null,
        name text not null,
        position bigint not null,
        primary key (tenant, name)
    );
",
    // As in SQLite: a wide row that was written anew when it was applied, in all its indices, since one of them spoke of
    // the column that changed. What changes often and in place has room for it in its page, and is cleaned up often.
    "
    create table waiting (
        row bigint primary key,
        shard integer not null,
        tenant text not null,
        conversation bytea not null,
        at_us bigint not null,
        event text not null
    ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
    insert into waiting select row, shard, tenant, conversation, at_us, event from inbox where event is not null;
    create sequence inbox_row;
    select setval('inbox_row', (select coalesce(max(row), 0) + 1 from inbox), false);

    create table inbox_known (
        tenant text not null,
        id text not null,
        source text not null,
        row bigint not null,
        conversation bytea not null,
        at_us bigint not null
    );
    insert into inbox_known select tenant, id, source, row, conversation, at_us from inbox;
    drop table inbox;
    alter table inbox_known rename to inbox;
    alter table inbox add constraint inbox_pkey primary key (tenant, id, source);

    alter table outbox set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
    alter table conversation set (fillfactor = 80);
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
        made_us bigint not null,
        expires_us bigint,
        revoked_us bigint,
        used_us bigint
    );
",
    // Who signs in, and where they have.
    "
    create table account (
        name text not null primary key,
        profile text not null,
        password text,
        subject text unique,
        disabled boolean not null,
        made_us bigint not null,
        signed_in_us bigint
    );

    create table account_session (
        sha256 text not null primary key,
        account text not null references account (name) on delete cascade,
        made_us bigint not null,
        used_us bigint not null,
        ends_us bigint not null
    );
    create index account_session_account on account_session (account, used_us);
    create index account_session_ends on account_session (ends_us);
",
    // Small values that the gateways of a site share.
    "
    create table note (
        tenant text not null,
        name text not null,
        version bigint not null,
        body bytea not null,
        primary key (tenant, name)
    );
",
];

/// The latest layout this program knows.
pub(super) const LAYOUT: i64 = MIGRATIONS.len() as i64;

/// Held while tables are made: gateways that start at once wait for the first. ('ark store' in ASCII, cut to 63 bits.)
const LOCK: i64 = 0x61_726b_2073_746f;

/// What a store is, as every connection must find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) store_id: String,
    pub(super) topology: Topology,
}

/// Looks whether the database can serve, and brings it to the latest layout.
pub(super) async fn migrate(link: &Link, road: &Road) -> Result<Identity> {
    fit(link, road).await?;
    link.batch(&format!("set lock_timeout to '60s'; select pg_advisory_lock({LOCK})")).await?;
    let done = migrate_locked(link, road).await;
    let unlocked = link.batch(&format!("select pg_advisory_unlock({LOCK}); set lock_timeout to '10s'")).await;
    done?;
    unlocked?;
    identity(link, road).await
}

/// Looks whether the store is there and has the latest layout, for those who only read it.
pub(super) async fn look(link: &Link, road: &Road) -> Result<Identity> {
    let there = link.one("select to_regclass($1::text || '.meta') is not null", &[&road.schema]).await?;
    if !there.is_some_and(|row| row.get(0)) {
        return Err(StoreError::Missing { place: road.place.clone() }.into());
    }
    let found = layout(link, road).await?;
    if found < LAYOUT {
        return Err(crate::check::too_old(&road.place, found, LAYOUT).into());
    }
    identity(link, road).await
}

async fn fit(link: &Link, road: &Road) -> Result<()> {
    let denied = |detail: String| Err(StoreError::Denied { place: road.place.clone(), detail }.into());
    let sql = "select current_setting('server_version_num')::bigint, current_setting('server_encoding'),
        pg_is_in_recovery(), current_setting('fsync')";
    let row = link.one(sql, &[]).await?.ok_or(Fault::Unreadable("no settings".to_owned()))?;
    let version: i64 = row.get(0);
    if version < 130_000 {
        return denied(format!("PostgreSQL {} is too old; 13 or later is needed", version / 10_000));
    }
    let encoding: String = row.get(1);
    if encoding != "UTF8" {
        return denied(format!("the database's encoding is {encoding}; make one with encoding UTF8"));
    }
    if row.get(2) {
        return denied("this server is a standby and cannot be written; name the primary".to_owned());
    }
    if row.get::<_, String>(3) != "on" {
        tracing::warn!(place = road.place, "PostgreSQL runs with fsync = off: what Ark acknowledges may be lost");
    }
    Ok(())
}

async fn migrate_locked(link: &Link, road: &Road) -> Result<()> {
    let schema = &road.schema;
    link.batch(&format!("create schema if not exists {schema}")).await?;
    let sql = "select to_regclass($1::text || '.meta') is not null, (select count(*) from pg_class c
        join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relkind = 'r')";
    let row = link.one(sql, &[schema]).await?.ok_or(Fault::Unreadable("no catalogue".to_owned()))?;
    let (has_meta, tables): (bool, i64) = (row.get(0), row.get(1));
    if !has_meta {
        if tables > 0 {
            let detail = format!("schema {schema} holds tables of another program");
            return Err(StoreError::Denied { place: road.place.clone(), detail }.into());
        }
        link.batch(
            "begin;
             create table meta (key text primary key, value text not null);
             insert into meta values ('store_id', replace(gen_random_uuid()::text, '-', '')), ('layout', '0'),
                 ('topology', '1'), ('shards', '64'), ('probe', '0');
             commit",
        )
        .await?;
    }
    let found = layout(link, road).await?;
    for (version, script) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let step = format!("begin; {script}; update meta set value = '{version}' where key = 'layout'; commit");
        if let Err(error) = link.batch(&step).await {
            let _ = link.batch("rollback").await;
            return Err(error);
        }
    }
    Ok(())
}

async fn layout(link: &Link, road: &Road) -> Result<i64> {
    let row = link.one("select value from meta where key = 'layout'", &[]).await?;
    let found: i64 = row
        .and_then(|row| row.get::<_, String>(0).parse().ok())
        .ok_or_else(|| Fault::unreadable("no layout in meta"))?;
    if found > LAYOUT {
        return Err(StoreError::TooNew { path: road.place.clone().into(), found, known: LAYOUT }.into());
    }
    Ok(found)
}

/// What this store is.
pub(super) async fn identity(link: &Link, road: &Road) -> Result<Identity> {
    layout(link, road).await?;
    let value = async |key: &str| -> Result<String> {
        let row = link.one("select value from meta where key = $1", &[&key]).await?;
        Ok(row.ok_or_else(|| Fault::unreadable(format!("no {key} in meta")))?.get(0))
    };
    let (version, shards) = (value("topology").await?, value("shards").await?);
    let topology = Topology {
        version: version.parse().map_err(Fault::unreadable)?,
        shards: shards.parse().map_err(Fault::unreadable)?,
    };
    Ok(Identity { store_id: value("store_id").await?, topology })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::flow::message;
    use crate::{Commit, Join, Store, kit};
    use ark_conversation::ConversationId;

    #[tokio::test]
    async fn what_waited_and_what_was_known_is_so_after_the_inbox_was_divided() {
        let Some(server) = kit::postgres("the division of the inbox") else { return };
        let conversation = ConversationId::new(1, 1);
        let of = |n| message("t1", n, conversation, Join::Begin);
        let mut old = "create schema ark; set search_path to ark;
            create table meta (key text primary key, value text not null);
            insert into meta values ('store_id', 'abc'), ('layout', '3'), ('topology', '1'), ('shards', '64'),
                ('probe', '0');"
            .to_owned();
        for script in &MIGRATIONS[..3] {
            old.push_str(script);
        }
        for n in 1..=3 {
            let event = of(n).event;
            let json = if n == 2 { "null".to_owned() } else { format!("'{}'", serde_json::to_string(&event).unwrap()) };
            let (source, id, key) = (&event.source, &event.id, u128::from_be_bytes(conversation.to_bytes()));
            old.push_str(&format!(
                "insert into inbox (shard, tenant, source, id, conversation, at_us, event)
                 values (5, 'main', '{source}', '{id}', '\\x{key:032x}', {n}, {json});"
            ));
        }
        server.sql(&old).unwrap();
        let store = server.store("ark");
        let rows = |page: &[crate::Inbound]| page.iter().map(|one| one.row).collect::<Vec<_>>();
        let waiting = store.inbox(&[], 0, 10).await.unwrap();
        assert_eq!((rows(&waiting), waiting[0].shard, &waiting[1].event), (vec![1, 3], 5, &of(3).event));
        let known = store.ingest(of(2)).await.unwrap();
        assert!(known.duplicate && known.row == 2 && known.conversation == conversation, "{known:?}");
        let new = store.ingest(of(4)).await.unwrap();
        assert!(new.row > 3 && !new.duplicate, "{new:?}");
        store.commit(Commit { applied: vec![1, 3], ..Commit::default() }).await.unwrap();
        assert_eq!(rows(&store.inbox(&[], 0, 10).await.unwrap()), [new.row]);
    }
}
