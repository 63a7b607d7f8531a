//! Persons, history, erasure, and the check.

use ark_conversation::event::{EraseReason, MergeReason, PersonMerged, PersonUnmerged};
use ark_conversation::samples::{at, ended};
use ark_conversation::{
    Assurance, ConversationId, Event, IdentityKey, KeyKind, LogHash, MergeId, NewEvent, PersonId, Tenant,
};

use super::flow::message;
use super::{L1, call, conversation, new_event};
use crate::{
    Commit, Erase, Join, ListFilter, Merge, MergeOf, NewIdentity, PersonOf, Retention, Store, StoreError, replay,
};

const MAIN: Tenant = Tenant::MAIN;

pub(super) async fn suite<S: Store>(open: &impl Fn(&str) -> S) {
    a_verified_key_is_one_persons(&open("a_verified_key_is_one_persons")).await;
    a_merge_can_be_undone(&open("a_merge_can_be_undone")).await;
    a_commit_merges_with_its_events(&open("a_commit_merges_with_its_events")).await;
    history_is_found_by_person_channel_and_time(&open("history_is_found_by_person_channel_and_time")).await;
    an_erased_body_is_gone_and_the_log_agrees(&open("an_erased_body_is_gone_and_the_log_agrees")).await;
    a_whole_person_is_erased_with_their_keys(&open("a_whole_person_is_erased_with_their_keys")).await;
    what_is_kept_no_longer_is_erased(&open("what_is_kept_no_longer_is_erased")).await;
    a_store_checks_itself(&open("a_store_checks_itself")).await;
}

fn person(n: u128) -> PersonId {
    PersonId::new(1, n)
}

fn identity(value: &str, assurance: Assurance, person: PersonId) -> NewIdentity {
    let key = IdentityKey::new(KeyKind::Alipay, value);
    NewIdentity { tenant: MAIN, key, assurance, person, at: at(1) }
}

async fn a_verified_key_is_one_persons(store: &impl Store) {
    let (anna, ben) = (person(1), person(2));
    let tell = async |value, assurance, person| {
        let told = store.identify(identity(value, assurance, person)).await.expect("identify");
        (told.person, told.new)
    };
    assert_eq!(tell("a", Assurance::ChannelVerified, anna).await, (anna, true));
    assert_eq!(tell("a", Assurance::Otp, ben).await, (anna, false), "the key is Anna's");
    assert_eq!(tell("a", Assurance::Asserted, ben).await, (ben, true), "an asserted key proves nothing");
    assert_eq!(tell("a", Assurance::Asserted, anna).await, (anna, false), "nor does it lower what is verified");
    assert_eq!(tell("b", Assurance::Asserted, anna).await, (anna, true));
    assert_eq!(tell("b", Assurance::Otp, anna).await, (anna, false), "raised");
    assert_eq!(tell("b", Assurance::Sso, ben).await, (anna, false), "and hers from now on");
    let told: Vec<_> = store.identities(&MAIN, anna).await.expect("identities");
    let told: Vec<_> = told.iter().map(|one| (one.key.value.reveal(), one.assurance)).collect();
    assert_eq!(told, [("a", Assurance::ChannelVerified), ("b", Assurance::Otp)]);
    let other = Tenant::new("other").expect("a good name");
    let elsewhere = NewIdentity { tenant: other.clone(), ..identity("a", Assurance::Sso, ben) };
    assert_eq!(store.identify(elsewhere).await.expect("identify").person, ben, "another tenant's key is another key");
    assert_eq!(store.person(&MAIN, person(9)).await, Ok(None));
    assert_eq!(store.identities(&other, anna).await, Ok(vec![]));
    assert_eq!(store.forget(&MAIN, anna, "anna", at(5)).await, Ok(2));
    assert_eq!(store.identities(&MAIN, anna).await, Ok(vec![]));
    let long = identity(&"x".repeat(10_000), Assurance::Sso, anna);
    assert!(matches!(store.identify(long).await, Err(StoreError::Refused(_))));
}

fn merge(from: PersonId, into: PersonId, n: u64) -> Merge {
    let event = PersonMerged {
        merge: MergeId::new(1, 1),
        into,
        from,
        keys: Vec::new(),
        reason: MergeReason::Key,
        by: "ark".to_owned(),
    };
    merge_with(from, into, new_event(ConversationId::SYSTEM, n, event.into()))
}

fn unmerge(from: PersonId, into: PersonId, n: u64) -> Merge {
    let event = PersonUnmerged { merge: MergeId::new(1, 1), into, from, keys: Vec::new(), by: "anna".to_owned() };
    merge_with(from, into, new_event(ConversationId::SYSTEM, n, event.into()))
}

fn merge_with(from: PersonId, into: PersonId, event: NewEvent) -> Merge {
    Merge { tenant: MAIN, from, into, by: "anna".to_owned(), at: at(2), event }
}

async fn a_merge_can_be_undone(store: &impl Store) {
    let (a, b, c) = (person(1), person(2), person(3));
    for (value, person) in [("a", a), ("b", b), ("c", c)] {
        store.identify(identity(value, Assurance::Sso, person)).await.expect("identify");
    }
    for (n, whose) in [(1_u64, a), (2, b), (3, c)] {
        let id = conversation(n as i64, 1);
        let persons = vec![PersonOf { tenant: MAIN, conversation: id, person: whose }];
        store.commit(Commit { events: vec![call(id, n)], persons, ..Commit::default() }).await.expect("commit");
    }
    let of = async |person| {
        let filter = ListFilter { person: Some(person), ..ListFilter::default() };
        store.list(&MAIN, filter, 10).await.expect("a list").conversations.len()
    };
    let conflict = |answer| matches!(answer, Err(StoreError::Conflict(_)));
    assert!(conflict(store.merge(merge(a, person(9), 1)).await), "nobody knows 9");
    assert_eq!(store.merge(merge(a, b, 1)).await.expect("a merge").record.seq, 1, "with its event");
    store.merge(merge(b, c, 2)).await.expect("a chain");
    assert!(conflict(store.merge(merge(c, a, 3)).await), "no ring");
    assert!(conflict(store.merge(merge(a, c, 3)).await), "they are one already");
    assert_eq!(store.read(&MAIN, ConversationId::SYSTEM, 0, 10).await.expect("a read").len(), 2, "and no event of it");
    assert_eq!(store.person(&MAIN, a).await, Ok(Some(c)));
    assert_eq!(store.identify(identity("a", Assurance::Sso, person(8))).await.expect("identify").person, c);
    assert_eq!(store.identities(&MAIN, c).await.expect("identities").len(), 3);
    assert_eq!((of(a).await, of(b).await, of(c).await), (1, 2, 3), "history of those who were merged into them");
    let joined = store.ingest(message("t1", 1, conversation(9, 9), Join::Person(a))).await.expect("ingest");
    assert_eq!(joined.conversation, conversation(3, 1), "the newest open one of the whole person");

    assert!(conflict(store.unmerge(unmerge(a, c, 3)).await), "a was merged into b");
    assert_eq!(store.unmerge(unmerge(a, b, 3)).await.expect("undone").record.seq, 3);
    assert_eq!(store.person(&MAIN, a).await, Ok(Some(a)));
    assert_eq!((of(a).await, of(b).await, of(c).await), (1, 1, 2));
    assert_eq!(store.identify(identity("a", Assurance::Sso, person(8))).await.expect("identify").person, a);
    let audit = store.audit(&MAIN, None, None, 10).await.expect("audit");
    let told: Vec<_> = audit.iter().map(|row| (row.action.as_str(), row.by.as_str())).collect();
    assert_eq!(told, [("unmerge", "anna"), ("merge", "anna"), ("merge", "anna")], "newest first");
    let older = store.audit(&MAIN, None, Some(audit[0].row), 1).await.expect("audit");
    assert_eq!(older, audit[1..2]);
}

async fn a_commit_merges_with_its_events(store: &impl Store) {
    let (a, b, c) = (person(1), person(2), person(3));
    for (value, person) in [("a", a), ("b", b), ("c", c)] {
        store.identify(identity(value, Assurance::Sso, person)).await.expect("identify");
    }
    let owner = async |value| {
        let key = IdentityKey::new(KeyKind::Alipay, value);
        store.owner(&MAIN, &key).await.expect("an owner")
    };
    assert_eq!((owner("a").await, owner("nobody").await), (Some(a), None));
    let id = conversation(1, 1);
    let of = |from, into| MergeOf { tenant: MAIN, from, into, by: "ark".to_owned(), at: at(2) };
    let with = |n, merges| Commit { events: vec![call(id, n)], merges, ..Commit::default() };
    let conflict = |answer| matches!(answer, Err(StoreError::Conflict(_)));
    assert!(conflict(store.commit(with(1, vec![of(b, a), of(a, person(9))])).await), "nobody knows 9");
    assert_eq!((owner("b").await, store.read(&MAIN, id, 0, 10).await.expect("a read").len()), (Some(b), 0));
    store.commit(with(2, vec![of(b, a), of(c, b)])).await.expect("a commit");
    assert_eq!((owner("b").await, owner("c").await), (Some(a), Some(a)), "c went where b had gone");
    // Decided by two at once: the second finds it done.
    store.commit(with(3, vec![of(b, a), of(a, c)])).await.expect("a commit");
    assert_eq!(owner("c").await, Some(a));
    let audit = store.audit(&MAIN, None, None, 10).await.expect("audit");
    assert_eq!(audit.iter().filter(|row| row.action == "merge").count(), 2);
    assert_eq!(store.read(&MAIN, id, 0, 10).await.expect("a read").len(), 2);
}

async fn history_is_found_by_person_channel_and_time(store: &impl Store) {
    let by = |id, n, channel: &str| {
        let mut new = call(id, n);
        new.event.source = format!("/ark/main/{channel}/account/thread{n}");
        new
    };
    let ids: Vec<_> = (0..4).map(|n| conversation(n * 1_000, 1)).collect();
    let channels = ["web", "sip", "web", "gateway"];
    for (n, (id, channel)) in (0..).zip(ids.iter().zip(channels)) {
        store.append(vec![by(*id, n, channel)]).await.expect("append");
    }
    // The caller's page during the call.
    store.append(vec![by(ids[1], 9, "web"), by(ids[1], 10, "web")]).await.expect("append");
    let list = async |filter| {
        let page = store.list(&MAIN, filter, 10).await.expect("a list");
        page.conversations.iter().map(|state| state.conversation).collect::<Vec<_>>()
    };
    let of = |channel: &str| ListFilter { channel: Some(channel.to_owned()), ..ListFilter::default() };
    assert_eq!(list(of("web")).await, [ids[2], ids[1], ids[0]]);
    assert_eq!(list(of("sip")).await, [ids[1]]);
    assert!(list(of("gateway")).await.is_empty(), "no channel");
    let between = ListFilter { since: Some(at(1_000)), until: Some(at(3_000)), ..ListFilter::default() };
    assert_eq!(list(between.clone()).await, [ids[2], ids[1]], "from, and before");
    assert_eq!(list(ListFilter { before: Some(ids[2]), ..between }).await, [ids[1]]);
    let persons = vec![PersonOf { tenant: MAIN, conversation: ids[0], person: person(1) }];
    store.commit(Commit { persons, ..Commit::default() }).await.expect("commit");
    let both = ListFilter { person: Some(person(1)), ..of("web") };
    assert_eq!(list(both.clone()).await, [ids[0]]);
    assert!(list(ListFilter { channel: Some("sip".to_owned()), ..both }).await.is_empty());
}

async fn hash(store: &impl Store, id: ConversationId) -> LogHash {
    LogHash::of(&store.read(&MAIN, id, 0, 1_000).await.expect("a read"))
}

async fn agrees(store: &impl Store, id: ConversationId) -> u64 {
    let replayed = replay(store, &MAIN, id).await.expect("a replay").expect("it is there");
    assert!(replayed.agrees(), "{id}: the replay gives another state");
    replayed.tombstones
}

async fn an_erased_body_is_gone_and_the_log_agrees(store: &impl Store) {
    let a = conversation(1, 1);
    let events: Vec<NewEvent> =
        (1..).zip(ark_conversation::samples::story()).map(|(n, event)| new_event(a, n, event)).collect();
    let count = events.len() as u64;
    store.append(events).await.expect("append");
    // One of every type: a tombstone is among them.
    let stones = agrees(store, a).await;
    let before = (hash(store, a).await, store.read(&MAIN, a, 0, 1_000).await.expect("a read"));

    let erase = |seqs| Erase {
        tenant: MAIN,
        conversation: a,
        seqs,
        reason: EraseReason::Request,
        by: "anna".to_owned(),
        at: at(99),
    };
    let some = store.erase(erase(Some(vec![1]))).await.expect("erase");
    assert_eq!((some.conversations, some.records), (1, 1));
    assert_eq!(agrees(store, a).await, stones + 1);
    let all = store.erase(erase(None)).await.expect("erase");
    assert!(all.records > 3 && all.records < count, "{all:?}");
    assert_eq!(agrees(store, a).await, stones + 1 + all.records);
    assert_eq!(store.erase(erase(None)).await.expect("erase").records, 0, "a tombstone stays as it is");

    let after = store.read(&MAIN, a, 0, 1_000).await.expect("a read");
    assert_eq!(hash(store, a).await, before.0, "the log's hash outlives it");
    for (was, is) in before.1.iter().zip(&after) {
        assert_eq!(
            (was.seq, &was.event.id, &was.event.source, was.at),
            (is.seq, &is.event.id, &is.event.source, is.at)
        );
    }
    let state = store.summary(&MAIN, a).await.expect("a summary").expect("it is there");
    for text in [serde_json::to_string(&after), serde_json::to_string(&state)] {
        let text = text.expect("JSON");
        assert!(!text.contains("13800001212") && !text.contains("欢迎致电"), "{text}");
    }
    let appended = store.append(vec![new_event(a, 5_000, ended(L1).into())]).await.expect("append");
    assert_eq!(appended[0].record.seq, count + 1, "the log goes on");
    agrees(store, a).await;
    assert!(
        store.append(vec![new_event(a, 1, ark_conversation::samples::story()[0].clone())]).await.expect("again")[0]
            .duplicate
    );
    let audit = store.audit(&MAIN, Some(a), None, 10).await.expect("audit");
    assert!(audit.len() == 3 && audit.iter().all(|row| row.action == "erase" && row.by == "anna"), "{audit:?}");
    let nobody = Erase { conversation: conversation(9, 9), ..erase(None) };
    assert!(matches!(store.erase(nobody).await, Err(StoreError::Conflict(_))));
}

async fn a_whole_person_is_erased_with_their_keys(store: &impl Store) {
    let (anna, also_anna, ben) = (person(1), person(2), person(3));
    for (value, person) in [("a", anna), ("b", also_anna), ("c", ben)] {
        store.identify(identity(value, Assurance::Sso, person)).await.expect("identify");
    }
    let ids: Vec<_> = (1..=3).map(|n| conversation(n, 1)).collect();
    for (n, (id, whose)) in (1..).zip(ids.iter().zip([anna, also_anna, ben])) {
        let persons = vec![PersonOf { tenant: MAIN, conversation: *id, person: whose }];
        store.commit(Commit { events: vec![call(*id, n)], persons, ..Commit::default() }).await.expect("commit");
    }
    store.merge(merge(also_anna, anna, 1)).await.expect("a merge");

    let filter = ListFilter { person: Some(anna), ..ListFilter::default() };
    let hers: Vec<_> = store.list(&MAIN, filter, 10).await.expect("a list").conversations;
    let hers: Vec<_> = hers.iter().map(|state| state.conversation).collect();
    assert_eq!(hers, [ids[1], ids[0]], "also those of the one who was merged into her");
    for conversation in hers {
        let erase = Erase {
            tenant: MAIN,
            conversation,
            seqs: None,
            reason: EraseReason::Request,
            by: "ben".to_owned(),
            at: at(99),
        };
        assert_eq!(store.erase(erase).await.expect("erase").records, 1);
    }
    let other = Tenant::new("other").expect("a good name");
    assert_eq!(store.forget(&other, anna, "ben", at(99)).await, Ok(0), "another tenant's person is nobody here");
    assert_eq!(store.forget(&MAIN, anna, "ben", at(99)).await, Ok(2), "hers and those of the one who was merged");
    assert_eq!(store.forget(&MAIN, anna, "ben", at(99)).await, Ok(0), "once");
    for whose in [anna, also_anna] {
        assert_eq!(store.identities(&MAIN, whose).await, Ok(vec![]));
    }
    for value in ["a", "b"] {
        let told = store.identify(identity(value, Assurance::Sso, person(9))).await.expect("identify");
        assert_eq!(told.person, person(9), "nothing leads from the key to whom it was");
    }
    assert_eq!(store.identities(&MAIN, ben).await.expect("identities").len(), 1, "others keep theirs");
    let erased = |log: &[ark_conversation::Record]| matches!(log[0].event.event, Event::Erased(_));
    for (n, id) in ids.iter().enumerate() {
        let log = store.read(&MAIN, *id, 0, 10).await.expect("a read");
        assert_eq!((log.len(), erased(&log)), (1, n < 2));
        agrees(store, *id).await;
    }
    let audit = store.audit(&MAIN, None, None, 10).await.expect("audit");
    let told: Vec<_> = audit.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(told, ["forget", "forget", "erase", "erase", "merge"], "newest first, and of this tenant alone");
    assert!(!format!("{audit:?}").contains("13800001212"));
}

async fn what_is_kept_no_longer_is_erased(store: &impl Store) {
    let ids: Vec<_> = (0..3).map(|n| conversation(n, u128::try_from(n).expect("small"))).collect();
    for (n, id) in (0..).zip(&ids) {
        store.append(vec![call(*id, n)]).await.expect("append");
    }
    for id in &ids[..2] {
        store.append(vec![new_event(*id, 50, ended(L1).into())]).await.expect("append");
    }
    let retain = |ms| Retention { tenant: MAIN, ended_before: at(ms), by: "ark".to_owned(), at: at(99) };
    assert_eq!(store.retain(retain(-1_000_000)).await.expect("retain").conversations, 0, "nothing is that old");
    let gone = store.retain(retain(10_000_000)).await.expect("retain");
    assert_eq!((gone.conversations, gone.records), (2, 2), "{gone:?}");
    assert_eq!(store.retain(retain(10_000_000)).await.expect("retain").conversations, 0, "once");
    let open = store.read(&MAIN, ids[2], 0, 10).await.expect("a read");
    assert!(matches!(open[0].event.event, Event::CallRinging(_)), "what is open stays");
    for id in &ids {
        agrees(store, *id).await;
    }
}

async fn a_store_checks_itself(store: &impl Store) {
    let ids = [conversation(1, 1), conversation(1, 2)];
    store.append(vec![call(ids[0], 1), call(ids[1], 2), call(ids[0], 3)]).await.expect("append");
    let check = store.check().await.expect("a check");
    assert_eq!((check.conversations, check.records), (2, 3));
    assert_eq!(check.store_id, store.store_id());
}
