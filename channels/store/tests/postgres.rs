//! The PostgreSQL store: the laws of every store, and what is PostgreSQL's own. Each test starts a server of its own.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ark_conversation::event::{EraseReason, Role};
use ark_conversation::samples::{self, new_event, ringing};
use ark_conversation::{ConversationId, LegId, NewEvent, Tenant};
use ark_store::{Commit, Erase, Fence, PostgresOptions, PostgresStore, Store, StoreError, contract, kit, replay};

#[tokio::test]
async fn postgres_keeps_the_laws_of_a_store() {
    let Some(server) = kit::postgres("postgres_keeps_the_laws_of_a_store") else { return };
    contract::suite(|law| server.store(law)).await;
}

const MINUTE: Duration = Duration::from_secs(60);

fn id(n: u64) -> ConversationId {
    ConversationId::new(1, u128::from(n))
}

fn call(conversation: u64, n: u64) -> NewEvent {
    new_event(id(conversation), n, ringing(LegId(1), Role::Customer).into())
}

/// Every log without gaps, and how many records there are.
async fn gap_free(store: &dyn Store, conversations: u64) -> u64 {
    let mut total = 0;
    for n in 0..conversations {
        let mut last = 0;
        loop {
            let page = store.read(&Tenant::MAIN, id(n), last, 1_000).await.unwrap();
            if page.is_empty() {
                break;
            }
            for record in page {
                assert_eq!(record.seq, last + 1, "a gap in {n}");
                last = record.seq;
            }
        }
        let summary = store.summary(&Tenant::MAIN, id(n)).await.unwrap();
        assert_eq!(summary.map_or(0, |state| state.last_seq), last, "the row agrees with the log");
        total += last;
    }
    total
}

#[tokio::test]
async fn two_gateways_write_the_same_conversations_without_gaps_or_doubles() {
    let Some(server) = kit::postgres("two_gateways_write_the_same_conversations_without_gaps_or_doubles") else {
        return;
    };
    let stores = [Arc::new(server.store("ark")), Arc::new(server.store("ark"))];
    assert_eq!(stores[0].store_id(), stores[1].store_id());
    let tasks: Vec<_> = (0..40_u64)
        .map(|n| {
            let store = Arc::clone(&stores[(n % 2) as usize]);
            tokio::spawn(async move {
                for round in 0..10 {
                    // Each event is given to both gateways, in pairs over three conversations.
                    let number = n / 2 * 100 + round;
                    let events = vec![call(number % 3, number), call((number + 1) % 3, 10_000 + number)];
                    let appended = store.append(events).await.unwrap();
                    assert!(appended.iter().all(|one| one.record.seq > 0));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(gap_free(&*stores[0], 3).await, 400, "each event once");
    let outbox = stores[1].outbox(&[], 1_000).await.unwrap();
    assert_eq!(outbox.iter().map(|row| row.records.len()).sum::<usize>(), 400, "and once in the outbox");
    stores[0].check().await.unwrap();
}

#[tokio::test]
async fn a_lease_taken_by_a_peer_fences_the_one_that_had_it() {
    let Some(server) = kit::postgres("a_lease_taken_by_a_peer_fences_the_one_that_had_it") else { return };
    let (one, two) = (server.store("ark"), server.store("ark"));
    let shard = one.topology().shard(id(1));
    let old = one.claim(shard, "gw1", Duration::from_millis(50)).await.unwrap();
    let write = |fence: &Fence, n| Commit { fence: Some(fence.clone()), events: vec![call(1, n)], ..Commit::default() };
    one.commit(write(&old, 1)).await.unwrap();
    let new = waiting(|| two.claim(shard, "gw2", MINUTE), Result::is_ok).await.unwrap();
    assert!(new.number > old.number);
    let fenced = StoreError::Fenced { shard, number: old.number };
    assert_eq!(one.commit(write(&old, 2)).await, Err(fenced));
    assert_eq!(one.renew(vec![old], MINUTE).await, Ok(vec![false]));
    assert_eq!(two.commit(write(&new, 3)).await.unwrap().appended[0].record.seq, 2);
    assert_eq!(one.append(vec![call(1, 4)]).await.unwrap()[0].record.seq, 3, "what it remembered was old");
}

#[tokio::test]
async fn what_one_gateway_erased_no_other_writes_back() {
    let Some(server) = kit::postgres("what_one_gateway_erased_no_other_writes_back") else { return };
    let (one, two) = (server.store("ark"), server.store("ark"));
    one.append(vec![call(1, 1)]).await.unwrap();
    let erase = Erase {
        tenant: Tenant::MAIN,
        conversation: id(1),
        seqs: None,
        reason: EraseReason::Request,
        by: "anna".to_owned(),
        at: samples::at(9),
    };
    assert_eq!(two.erase(erase).await.unwrap().records, 1);
    // The first one remembers the state of before, with the number in it.
    one.append(vec![new_event(id(1), 2, samples::ended(LegId(1)).into())]).await.unwrap();
    let state = two.summary(&Tenant::MAIN, id(1)).await.unwrap().unwrap();
    assert!(!serde_json::to_string(&state).unwrap().contains("13800001212"), "{state:?}");
    assert!(replay(&two, &Tenant::MAIN, id(1)).await.unwrap().unwrap().agrees());
}

#[tokio::test]
async fn a_killed_database_loses_nothing_acknowledged() {
    let Some(server) = kit::postgres("a_killed_database_loses_nothing_acknowledged") else { return };
    const CONVERSATIONS: u64 = 4;
    let store = Arc::new(server.store("ark"));
    let acknowledged: Arc<Mutex<HashMap<(ConversationId, u64), String>>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..16_u64)
        .map(|writer| {
            let (store, acknowledged, stop) = (Arc::clone(&store), Arc::clone(&acknowledged), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut n = writer;
                let mut away = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    // The same events again until they are acknowledged: what a gateway does.
                    match store.append(vec![call(n % CONVERSATIONS, n), call(n % CONVERSATIONS, n + 16)]).await {
                        Ok(appended) => {
                            let mut acknowledged = acknowledged.lock().unwrap();
                            for one in appended {
                                let place = (one.record.conversation, one.record.seq);
                                let before = acknowledged.insert(place, one.record.event.id.clone());
                                assert!(before.is_none_or(|id| id == one.record.event.id), "a number given twice");
                            }
                            n += 32;
                        }
                        Err(StoreError::Away { .. }) => {
                            away += 1;
                            tokio::task::yield_now().await;
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                }
                away
            })
        })
        .collect();
    let count = || std::future::ready(acknowledged.lock().unwrap().len());
    let mut more = 0;
    for round in 0..3 {
        more += 2_000;
        waiting(count, |count| *count >= more).await;
        server.kill().unwrap();
        let killed = Instant::now();
        waiting(|| store.health(), |health| !health.is_ok()).await;
        server.up().unwrap();
        waiting(|| store.health(), |health| health.is_ok()).await;
        println!("round {round}: away for {:.1} s", killed.elapsed().as_secs_f64());
        more = acknowledged.lock().unwrap().len();
    }
    stop.store(true, Ordering::Relaxed);
    let mut away = 0;
    for task in tasks {
        away += task.await.unwrap();
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    let total = gap_free(&*store, CONVERSATIONS).await;
    let mut found = 0;
    for n in 0..CONVERSATIONS {
        let mut last = 0;
        loop {
            let page = store.read(&Tenant::MAIN, id(n), last, 1_000).await.unwrap();
            let Some(end) = page.last() else { break };
            last = end.seq;
            for record in page {
                let known = acknowledged.get(&(record.conversation, record.seq));
                assert!(known.is_none_or(|id| *id == record.event.id));
                found += usize::from(known.is_some());
            }
        }
    }
    assert_eq!(found, acknowledged.len(), "everything acknowledged is there");
    assert!(away > 0, "somebody was told that it is away");
    store.check().await.unwrap();
    println!("{} acknowledged, {total} in the log, 3 kills, answered {away} times: away", acknowledged.len());
}

/// Asks again until the answer is good; in the end fails with the last one. The runtime's other tasks get their turn.
async fn waiting<T: std::fmt::Debug, F: Future<Output = T>>(ask: impl Fn() -> F, good: impl Fn(&T) -> bool) -> T {
    let begun = Instant::now();
    loop {
        let answer = ask().await;
        if good(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < MINUTE, "{answer:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let Some(server) = kit::postgres("what_cannot_be_opened_says_why") else { return };
    let refused = |options: &PostgresOptions| PostgresStore::open(options).err().unwrap();
    let away = refused(&PostgresOptions::new("postgresql://ark@127.0.0.1:1/ark?sslmode=disable"));
    assert!(matches!(away, StoreError::Away { .. }), "{away:?}");
    let bad = refused(&PostgresOptions::new("mysql://x"));
    assert!(matches!(bad, StoreError::Refused(_)) && bad.to_string().contains("[store] url"), "{bad:?}");
    let secret = PostgresOptions::new("postgresql://ark:hidden@127.0.0.1:1/ark?password=hidden");
    assert!(!format!("{secret:?} {}", refused(&secret)).contains("hidden"));
    let none = PostgresOptions::new(server.url().replace("/postgres", "/nobody"));
    assert!(matches!(refused(&none), StoreError::Denied { .. }));
    let role = PostgresOptions::new(server.url().replace("ark@", "nobody@"));
    assert!(matches!(refused(&role), StoreError::Denied { .. }));
    let tls = PostgresOptions::new(server.url().replace("disable", "require"));
    assert!(matches!(refused(&tls), StoreError::Denied { .. }), "{:?}", refused(&tls));
    server.sql("create schema foreign_one; create table foreign_one.recipes (name text)").unwrap();
    let foreign = refused(&server.options("foreign_one"));
    assert!(foreign.to_string().contains("another program"), "{foreign}");
    drop(server.store("ark"));
    server.sql("update ark.meta set value = '99' where key = 'layout'").unwrap();
    assert!(matches!(refused(&server.options("ark")), StoreError::TooNew { found: 99, .. }));
}

#[tokio::test]
async fn tls_knows_the_right_database_and_refuses_an_unknown_one_in_words() {
    let name = "tls_knows_the_right_database";
    let Some(server) = kit::postgres(name) else { return };
    let Some(authority) = server.with_tls().unwrap() else { return kit::skip(name, "openssl is not installed") };
    let url = server.url().replace("disable", "require").replace("127.0.0.1", "localhost");
    let with = |url: &str, authority: Option<&std::path::Path>| PostgresOptions {
        ca_file: authority.map(Into::into),
        ..PostgresOptions::new(url)
    };
    let store = PostgresStore::open(&with(&url, Some(&authority))).unwrap();
    store.append(vec![call(1, 1)]).await.unwrap();
    assert_eq!(gap_free(&store, 2).await, 1);
    let encrypted = server.sql("select count(*) from pg_stat_ssl s join pg_stat_activity a using (pid) where ssl and application_name like 'ark%'");
    assert_ne!(encrypted.unwrap(), "0", "what was sent was encrypted");
    drop(store);

    // Another authority: here the one of the public web, and one that was made with the same name.
    let other = kit::postgres(name).unwrap();
    let other_authority = other.with_tls().unwrap().unwrap();
    for wrong in [None, Some(other_authority.as_path())] {
        let refused = PostgresStore::open(&with(&url, wrong)).err().unwrap();
        let words = refused.to_string();
        assert!(matches!(refused, StoreError::Denied { .. }), "{refused:?}");
        assert!(words.contains("its certificate is not trusted") && words.contains("ca_file"), "{words}");
    }
    let none = PostgresStore::open(&with(&url, Some(std::path::Path::new("no/such/file.pem")))).err().unwrap();
    assert!(none.to_string().contains("no/such/file.pem"), "{none}");
}

/// Runs what blocks, where blocking is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn a_backup_is_made_in_use_and_brought_back() {
    let Some(server) = kit::postgres("a_backup_is_made_in_use_and_brought_back") else { return };
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("ark.dump");
    let options = server.options("ark");
    let store = Arc::new(server.store("ark"));
    store.append((0..100).map(|n| call(n % 3, n)).collect()).await.unwrap();
    let before = store.check().await.unwrap();
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 1_000..1_200 {
                store.append(vec![call(n % 3, n)]).await.unwrap();
            }
        })
    };
    let backup = store.backup(&dump).await.unwrap();
    writer.await.unwrap();
    assert!(backup.bytes > 1_000 && backup.check.store_id == before.store_id, "{backup:?}");
    assert_eq!(std::fs::metadata(&dump).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(store.backup(&dump).await, Err(StoreError::Conflict(_))), "nothing is overwritten");
    let last = store.check().await.unwrap();

    let restore = |aside: Option<&'static str>| {
        let (dump, options) = (dump.clone(), options.clone());
        blocking(move || PostgresStore::restore(&dump, &options, aside))
    };
    let there = restore(None).await.unwrap_err();
    assert!(matches!(&there, StoreError::Conflict(why) if why.contains("there is a store already")), "{there:?}");
    let used = restore(Some("_before")).await.unwrap_err();
    assert!(matches!(&used, StoreError::Conflict(why) if why.contains("stop them first")), "{used:?}");
    drop(store);
    let restored = restore(Some("_before")).await.unwrap();
    assert_eq!(restored.moved.as_deref(), Some("schema ark_before"));
    assert!((before.records..=last.records).contains(&restored.check.records), "{restored:?}");
    assert_eq!(restored.check, backup.check, "the check of the copy was of the copy");
    let aside = PostgresStore::open_to_read(&server.options("ark_before")).unwrap();
    assert_eq!(aside.check().await.unwrap(), last, "the one that was there is whole");
    drop(aside);
    let store = server.store("ark");
    assert_eq!(store.check().await.unwrap(), restored.check);
    assert!(store.append(vec![call(0, 0)]).await.unwrap()[0].duplicate);
    store.append(vec![call(0, 5_000)]).await.unwrap();
    drop(store);

    std::fs::write(folder.path().join("broken"), b"not a dump").unwrap();
    let broken = folder.path().join("broken");
    let refused = blocking(move || PostgresStore::restore(&broken, &options, Some("_again"))).await.unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused:?}");
    assert_eq!(server.store("ark").check().await.unwrap().records, restored.check.records + 1, "nothing was changed");
}

#[tokio::test]
async fn a_dump_that_lacks_a_record_leaves_the_store_that_was_there() {
    let Some(server) = kit::postgres("a_dump_that_lacks_a_record_leaves_the_store_that_was_there") else { return };
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("ark.dump");
    let store = server.store("ark");
    store.append((0..10).map(|n| call(1, n)).collect()).await.unwrap();
    drop(store);
    server.sql("delete from ark.log where seq = 4").unwrap();
    let args = ["--schema=ark", "--format=custom", "--dbname", &server.url(), "--file"];
    let dumped = std::process::Command::new(server.bin().join("pg_dump")).args(args).arg(&dump).status().unwrap();
    assert!(dumped.success());
    let restore = || {
        let (dump, options) = (dump.clone(), server.options("ark"));
        blocking(move || PostgresStore::restore(&dump, &options, Some("_before")))
    };
    let schemas = || server.sql("select string_agg(nspname, ' ') from pg_namespace where nspname like 'ark%'").unwrap();
    server.sql("drop schema ark cascade").unwrap();
    assert!(matches!(restore().await, Err(StoreError::Corrupt { .. })));
    assert_eq!(schemas(), "", "what does not keep the laws is not left where a gateway would take it");
    let store = server.store("ark");
    store.append(vec![call(2, 1)]).await.unwrap();
    let before = store.check().await.unwrap();
    drop(store);
    assert!(matches!(restore().await, Err(StoreError::Corrupt { .. })));
    assert_eq!(schemas(), "ark");
    assert_eq!(server.store("ark").check().await.unwrap(), before);
}

#[tokio::test]
async fn a_store_is_read_beside_gateways_and_never_made_by_it() {
    let Some(server) = kit::postgres("a_store_is_read_beside_gateways_and_never_made_by_it") else { return };
    let missing = PostgresStore::open_to_read(&server.options("ark")).err().unwrap();
    assert!(matches!(missing, StoreError::Missing { .. }), "{missing:?}");
    let schemas = server.sql("select count(*) from pg_namespace where nspname = 'ark'").unwrap();
    assert_eq!(schemas, "0");
    let store = server.store("ark");
    store.append(vec![call(1, 1)]).await.unwrap();
    let reader = PostgresStore::open_to_read(&server.options("ark")).unwrap();
    assert_eq!(reader.store_id(), store.store_id());
    assert_eq!(reader.check().await.unwrap(), store.check().await.unwrap());
    let refused = reader.append(vec![call(1, 2)]).await;
    assert!(matches!(&refused, Err(StoreError::Refused(why)) if why.contains("ark serve")), "{refused:?}");
    assert!(matches!(reader.claim(0, "gw1", Duration::from_secs(9)).await, Err(StoreError::Refused(_))));
    assert!(reader.health().await.is_ok(), "what was refused is no illness");
    assert_eq!(gap_free(&reader, 2).await, 1);
}

#[tokio::test]
async fn what_a_transaction_under_way_may_still_write_before_it_is_waited_for() {
    let Some(server) = kit::postgres("what_a_transaction_under_way_may_still_write_before_it_is_waited_for") else {
        return;
    };
    let store = server.store("ark");
    store.append(vec![call(1, 1)]).await.unwrap();
    let first = store.feed(&Tenant::MAIN, 0, 10).await.unwrap();
    assert!(first.records.len() == 1 && !first.held);
    // Another gateway in the middle of its transaction, as the store's own begin.
    let (other, connection) = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let copy = "insert into ark.log (tenant, conversation, seq, epoch, at_us, type, source, id, time_us, data)
        select tenant, '\\x00000000000000000000000000000007', 1, epoch, at_us, type, source, 'copy', time_us, data
        from ark.log limit 1";
    let lock = "begin; set local search_path to ark; select pg_advisory_xact_lock_shared(
        'log_position_seq'::regclass::oid::integer,
        case when is_called then (last_value % 2147483648)::integer else 0 end) from log_position_seq";
    other.batch_execute(lock).await.unwrap();
    other.batch_execute(copy).await.unwrap();
    store.append(vec![call(1, 2)]).await.unwrap();
    let held = store.feed(&Tenant::MAIN, first.next, 10).await.unwrap();
    assert!(held.records.is_empty() && held.held && held.next == first.next, "{held:?}");
    assert_eq!(store.feed_end().await.unwrap(), first.next);
    other.batch_execute("commit").await.unwrap();
    let both = store.feed(&Tenant::MAIN, first.next, 10).await.unwrap();
    let ids: Vec<&str> = both.records.iter().map(|one| one.record.event.id.as_str()).collect();
    assert!(ids.len() == 2 && ids[0] == "copy" && !both.held, "{ids:?}");

    // The first of all.
    let fresh = server.store("fresh");
    other.batch_execute(&lock.replace("to ark", "to fresh")).await.unwrap();
    other.batch_execute(&copy.replace("into ark.log", "into fresh.log")).await.unwrap();
    fresh.append(vec![call(1, 2)]).await.unwrap();
    let held = fresh.feed(&Tenant::MAIN, 0, 10).await.unwrap();
    assert!(held.records.is_empty() && held.held && held.next == 0, "{held:?}");
    other.batch_execute("commit").await.unwrap();
    assert_eq!(fresh.feed(&Tenant::MAIN, 0, 10).await.unwrap().records.len(), 2);

    // One that is given up leaves a hole and holds nothing back.
    other.batch_execute(lock).await.unwrap();
    other.batch_execute(&copy.replace("'copy'", "'never'").replace("07'", "08'")).await.unwrap();
    store.append(vec![call(1, 3)]).await.unwrap();
    assert!(store.feed(&Tenant::MAIN, both.next, 10).await.unwrap().held);
    other.batch_execute("rollback").await.unwrap();
    let rest = store.feed(&Tenant::MAIN, both.next, 10).await.unwrap();
    assert!(rest.records.len() == 1 && rest.records[0].record.seq == 3 && rest.next > both.next + 1, "{rest:?}");
    drop(other);
    connection.await.unwrap().unwrap();
}
