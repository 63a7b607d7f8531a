//! Messages that go past the inbox: what the store lets pass, and that both roads lead to the same log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ark_conversation::event::{Thread, ThreadState};
use ark_conversation::machine::{Conversation, Handled, Input, Policy};
use ark_conversation::samples::{self, at, ended};
use ark_conversation::{CloudEvent, ConversationId, Event, Record, Tenant, source};

use super::flow::message;
use super::{L1, call, conversation};
use crate::fuzz::Random;
use crate::{After, Commit, Committed, Direct, Fence, Inbound, Join, NewInbound, Store, StoreError};

const MAIN: Tenant = Tenant::MAIN;
const MINUTE: Duration = Duration::from_secs(60);

pub(super) async fn suite<S: Store>(open: &impl Fn(&str) -> S) {
    a_message_goes_straight_to_its_log(&open("a_message_goes_straight_to_its_log")).await;
    what_must_go_by_the_inbox_is_refused(&open("what_must_go_by_the_inbox_is_refused")).await;
    nobody_is_overtaken(&open("nobody_is_overtaken")).await;
    what_cannot_be_right_is_refused(&open("what_cannot_be_right_is_refused")).await;
    the_same_message_on_both_roads_at_once(Arc::new(open("the_same_message_on_both_roads"))).await;
    for seed in 1..=4 {
        let (long, short) = (open(&format!("long_road_{seed}")), open(&format!("short_road_{seed}")));
        both_roads_lead_to_the_same_log(&long, &short, seed).await;
    }
}

/// Message `n` of a thread of this conversation, behind record `seq`.
fn straight(thread: &str, n: u64, conversation: ConversationId, seq: u64, begins: bool) -> Commit {
    let NewInbound { tenant, at, event, .. } = message(thread, n, conversation, Join::Begin);
    let direct = Direct { tenant, source: event.source.clone(), id: event.id.clone(), at, conversation, begins };
    let event = ark_conversation::NewEvent { event, ..call(conversation, n) };
    let after = vec![After { tenant: MAIN, conversation, seq }];
    Commit { after, direct: vec![direct], events: vec![event], ..Commit::default() }
}

/// Several of them in one commit.
fn all(commits: impl IntoIterator<Item = Commit>) -> Commit {
    let mut all = Commit::default();
    for one in commits {
        // By each log once: the first says where it was.
        let new =
            one.after.into_iter().filter(|of| !all.after.iter().any(|there| there.conversation == of.conversation));
        all.after.extend(new.collect::<Vec<_>>());
        all.direct.extend(one.direct);
        all.events.extend(one.events);
    }
    all
}

async fn length(store: &impl Store, conversation: ConversationId) -> u64 {
    store.read(&MAIN, conversation, 0, 1_000).await.expect("a read").len() as u64
}

fn by_inbox(answer: Result<Committed, StoreError>) -> Vec<usize> {
    match answer {
        Err(StoreError::ByInbox { messages }) => messages,
        other => panic!("it must go by the inbox: {other:?}"),
    }
}

async fn a_message_goes_straight_to_its_log(store: &impl Store) {
    let (a, b) = (conversation(1, 1), conversation(1, 2));
    let first = store.commit(straight("t1", 1, a, 0, true)).await.expect("it begins its conversation");
    assert_eq!((first.appended[0].record.seq, first.direct.len()), (1, 1));
    assert_eq!(store.thread(&MAIN, "/ark/main/web/site/t1").await, Ok(Some(a)), "its thread is the conversation's");
    // Behind it, and beside it one that begins and one right behind that.
    let more = [straight("t1", 2, a, 1, false), straight("t2", 1, b, 0, true), straight("t2", 2, b, 1, false)];
    let more = store.commit(all(more)).await.expect("they follow");
    let seqs: Vec<u64> = more.appended.iter().map(|one| one.record.seq).collect();
    assert_eq!((seqs, more.direct.len()), (vec![2, 1, 2], 3));
    let numbers: BTreeSet<u64> = more.direct.iter().chain(&first.direct).copied().collect();
    assert!(numbers.len() == 4 && !numbers.contains(&0), "each has a number of its own: {numbers:?}");
    assert!(store.inbox(&[], 0, 10).await.expect("inbox").is_empty(), "nobody waits");
    assert_eq!(store.backlog().await.expect("backlog").inbox, 0);
    let sent: usize = store.outbox(&[], &[], 100).await.expect("outbox").iter().map(|row| row.records.len()).sum();
    assert_eq!(sent, 4, "the outbox has what the log has");
    for (thread, n, of, row) in
        [("t1", 1, a, first.direct[0]), ("t1", 2, a, more.direct[0]), ("t2", 2, b, more.direct[2])]
    {
        let again = store.ingest(message(thread, n, conversation(5, 5), Join::Begin)).await.expect("ingest");
        assert!(again.duplicate && (again.row, again.conversation) == (row, of), "it is known for ever: {again:?}");
    }
    // The inbox goes on behind it, and its numbers do.
    let next = store.ingest(message("t1", 3, b, Join::Begin)).await.expect("ingest");
    assert!(next.conversation == a && !next.duplicate && !next.joined && !numbers.contains(&next.row), "{next:?}");
    store.check().await.expect("the laws are kept");
}

async fn what_must_go_by_the_inbox_is_refused(store: &impl Store) {
    let (a, b, c) = (conversation(1, 1), conversation(1, 2), conversation(1, 3));
    let row = store.ingest(message("t1", 1, a, Join::Begin)).await.expect("ingest").row;
    store.commit(Commit { applied: vec![row], events: vec![call(a, 1)], ..Commit::default() }).await.expect("commit");
    assert_eq!(by_inbox(store.commit(straight("t1", 1, a, 1, false)).await), [0], "it came by the inbox");
    store.commit(straight("t1", 2, a, 1, false)).await.expect("the next one");
    assert_eq!(by_inbox(store.commit(straight("t1", 2, a, 2, false)).await), [0], "it came on this road");
    let twice = [straight("t1", 3, a, 2, false), straight("t1", 3, a, 3, false)];
    assert_eq!(by_inbox(store.commit(all(twice)).await), [1], "the same one twice at once");
    assert_eq!(by_inbox(store.commit(straight("t9", 4, a, 2, false)).await), [0], "a thread that nobody knows");
    assert_eq!(by_inbox(store.commit(straight("t1", 4, b, 0, true)).await), [0], "the thread is another's");
    assert_eq!(by_inbox(store.commit(straight("t9", 4, a, 2, true)).await), [0], "it has begun before");
    assert_eq!(by_inbox(store.commit(straight("t1", 4, b, 0, false)).await), [0], "it has not begun");
    let rivals = [straight("t8", 1, b, 0, true), straight("t8", 2, c, 0, true), straight("t7", 1, b, 1, false)];
    assert_eq!(by_inbox(store.commit(all(rivals)).await)[0], 1, "one thread begins one conversation");
    // Of several only those are named, and the others go without them.
    let mixed = [straight("t1", 1, a, 2, false), straight("t6", 1, c, 0, true), straight("t1", 5, a, 2, false)];
    assert_eq!(by_inbox(store.commit(all(mixed.clone())).await), [0]);
    assert_eq!(
        (length(store, a).await, length(store, b).await, length(store, c).await),
        (2, 0, 0),
        "nothing is written"
    );
    assert_eq!(store.thread(&MAIN, "/ark/main/web/site/t6").await, Ok(None), "no thread either");
    let backlog = store.backlog().await.expect("backlog");
    assert_eq!((backlog.inbox, backlog.deliveries), (0, 0));
    store.commit(all(mixed[1..].to_vec())).await.expect("without the one that was known");
    assert!(
        !store.ingest(message("t1", 3, a, Join::Begin)).await.expect("ingest").duplicate,
        "it was not taken for known"
    );
    // What has ended takes nothing more: by the inbox another begins.
    store.append(vec![super::new_event(c, 2, ended(L1).into())]).await.expect("the end");
    let over = store.summary(&MAIN, c).await.expect("a summary").is_some_and(|state| state.ended.is_some());
    if over {
        assert_eq!(by_inbox(store.commit(straight("t6", 2, c, 2, false)).await), [0], "it is over");
    }
    store.check().await.expect("the laws are kept");
}

async fn nobody_is_overtaken(store: &impl Store) {
    let (a, b) = (conversation(1, 1), conversation(1, 2));
    store.commit(all([straight("t1", 1, a, 0, true), straight("t2", 1, b, 0, true)])).await.expect("they begin");
    let row = store.ingest(message("t1", 2, a, Join::Begin)).await.expect("by another gateway").row;
    assert_eq!(by_inbox(store.commit(straight("t1", 3, a, 1, false)).await), [0], "one waits before it");
    store.commit(straight("t2", 3, b, 1, false)).await.expect("nobody waits there");
    // In one group with the message that it would overtake, and with the commit that takes that one up.
    let late = store.ingest(message("t2", 4, b, Join::Begin));
    let behind = store.commit(straight("t2", 5, b, 2, false));
    let late = late.await.expect("ingest").row;
    match behind.await {
        Ok(_) => assert_eq!(length(store, b).await, 3, "it was quicker"),
        refused => assert_eq!(by_inbox(refused), [0]),
    }
    let applied = Commit { applied: vec![row], events: vec![call(a, 7)], ..Commit::default() };
    let (applied, behind) = (store.commit(applied), store.commit(straight("t1", 3, a, 2, false)));
    applied.await.expect("the one that waited");
    if let Err(refused) = behind.await {
        assert_eq!(by_inbox(Err(refused)), [0]);
        store.commit(straight("t1", 3, a, 2, false)).await.expect("nobody waits any more");
    }
    assert_eq!(length(store, a).await, 3);
    assert_eq!(store.inbox(&[], 0, 10).await.expect("inbox").iter().map(|one| one.row).collect::<Vec<_>>(), [late]);
}

async fn what_cannot_be_right_is_refused(store: &impl Store) {
    let (a, b) = (conversation(1, 1), conversation(1, 2));
    let good = || straight("t1", 1, a, 0, true);
    let refused = |answer: Result<Committed, StoreError>| matches!(answer, Err(StoreError::Refused(_)));
    assert!(refused(store.commit(Commit { after: Vec::new(), ..good() }).await), "it says where its log is");
    assert!(refused(store.commit(Commit { applied: vec![1], ..good() }).await), "out of the inbox or past it");
    let mut bad = good();
    bad.direct[0].source = "x".repeat(5_000);
    assert!(refused(store.commit(bad).await));
    let mut bad = good();
    bad.direct[0].id = "m\0".to_owned();
    assert!(refused(store.commit(bad).await));
    let gone_on = StoreError::GoneOn { conversation: a, seq: 1 };
    assert_eq!(store.commit(straight("t1", 1, a, 1, false)).await, Err(gone_on), "a log that is elsewhere");
    let shard = store.topology().shard(a);
    let old = store.claim(shard, "gw1", MINUTE).await.expect("free");
    let new = store.claim(shard, "gw1", MINUTE).await.expect("started again");
    let under = |fence: &Fence| Commit { fence: Some(fence.clone()), ..good() };
    assert!(matches!(store.commit(under(&old)).await, Err(StoreError::Fenced { .. })));
    assert_eq!(length(store, a).await, 0);
    assert_eq!(store.thread(&MAIN, "/ark/main/web/site/t1").await, Ok(None));
    store.commit(under(&new)).await.expect("its own lease");
    assert_eq!(store.commit(straight("t2", 1, b, 0, true)).await.expect("alone").direct.len(), 1);
}

/// Given on both roads at once, again and again: it is taken once, and in the log once or in the inbox once.
async fn the_same_message_on_both_roads_at_once<S: Store>(store: Arc<S>) {
    let a = conversation(1, 1);
    store.commit(straight("t1", 0, a, 0, true)).await.expect("it begins");
    for n in 1..20_u64 {
        let seq = length(&*store, a).await;
        let tasks: Vec<_> = (0..4)
            .map(|who| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    if who % 2 == 0 {
                        let taken = store.ingest(message("t1", n, a, Join::Begin)).await.expect("ingest");
                        return !taken.duplicate;
                    }
                    match store.commit(straight("t1", n, a, seq, false)).await {
                        Ok(_) => true,
                        Err(StoreError::ByInbox { .. } | StoreError::GoneOn { .. }) => false,
                        Err(error) => panic!("{error}"),
                    }
                })
            })
            .collect();
        let mut taken = 0;
        for task in tasks {
            taken += u32::from(task.await.expect("a writer that went well"));
        }
        assert_eq!(taken, 1, "message {n} was new to one");
        let waiting = store.inbox(&[], 0, 10).await.expect("inbox");
        let rows: Vec<u64> = waiting.iter().map(|one| one.row).collect();
        let log = store.read(&MAIN, a, seq, 10).await.expect("a read");
        assert_eq!(rows.len() + log.len(), 1, "once, wherever");
        store.commit(Commit { applied: rows, ..Commit::default() }).await.expect("commit");
    }
}

/// A conversation's owner, as simple as can be: one thing after the other.
struct Owner<'a, S> {
    store: &'a S,
    /// Whether messages go past the inbox where they may.
    short: bool,
    policy: Arc<Policy>,
    machines: HashMap<ConversationId, Conversation>,
    fences: HashMap<u16, Fence>,
    passed: u32,
    refused: u32,
    /// Messages that no conversation takes.
    parked: usize,
}

impl<'a, S: Store> Owner<'a, S> {
    fn new(store: &'a S, short: bool) -> Self {
        let policy = Arc::new(Policy::default());
        Self {
            store,
            short,
            policy,
            machines: HashMap::new(),
            fences: HashMap::new(),
            passed: 0,
            refused: 0,
            parked: 0,
        }
    }

    /// Its machine, opened from the log when it is not open.
    async fn open(&mut self, id: ConversationId) -> &mut Conversation {
        if !self.machines.contains_key(&id) {
            let mut machine = Conversation::new(Arc::clone(&self.policy), MAIN, id);
            for record in self.store.read(&MAIN, id, 0, 1_000).await.expect("a read") {
                machine.catch_up(&record).expect("a log without gaps");
            }
            self.machines.insert(id, machine);
        }
        self.machines.get_mut(&id).expect("it was put there")
    }

    async fn fence(&mut self, id: ConversationId) -> Fence {
        let shard = self.store.topology().shard(id);
        if let Some(fence) = self.fences.get(&shard) {
            return fence.clone();
        }
        let fence = self.store.claim(shard, "gw1", MINUTE).await.expect("nobody holds it for long");
        self.fences.insert(shard, fence.clone());
        fence
    }

    /// What a message makes of its conversation; none when it had it before, or never takes it.
    async fn hear(&mut self, id: ConversationId, now: i64, event: CloudEvent) -> Option<Commit> {
        let fence = Some(self.fence(id).await);
        let machine = self.open(id).await;
        let seq = machine.state().map_or(0, |state| state.last_seq);
        let handled = machine.handle(at(now), Input::Inbound(event));
        if handled.is_err() {
            self.machines.remove(&id);
            self.parked += 1;
            return None;
        }
        let events = machine.poll().map(|decided| decided.events).unwrap_or_default();
        let after = vec![After { tenant: MAIN, conversation: id, seq }];
        (handled != Ok(Handled::Duplicate)).then(|| Commit { fence, after, events, ..Commit::default() })
    }

    /// A message comes in here.
    async fn take(&mut self, now: i64, new: NewInbound) -> ConversationId {
        let known = self.store.thread(&MAIN, &new.event.source).await.expect("a thread");
        let id = known.unwrap_or(new.begin);
        if self.short && (known.is_some() || new.join == Join::Begin) {
            for _ in 0..3 {
                let begins = known.is_none();
                if self.open(id).await.state().is_some_and(|state| !state.is_open()) {
                    break;
                }
                let parked = self.parked;
                let Some(commit) = self.hear(id, now, new.event.clone()).await else {
                    self.parked = parked;
                    break;
                };
                let (source, at) = (new.event.source.clone(), new.at);
                let direct = Direct { tenant: MAIN, source, id: new.event.id.clone(), at, conversation: id, begins };
                match self.store.commit(Commit { direct: vec![direct], ..commit }).await {
                    Ok(done) => {
                        assert!(done.appended.iter().all(|one| !one.duplicate), "L4");
                        self.passed += 1;
                        return id;
                    }
                    Err(error) => {
                        self.machines.remove(&id);
                        match error {
                            StoreError::GoneOn { .. } => continue,
                            StoreError::Fenced { .. } => _ = self.fences.remove(&self.store.topology().shard(id)),
                            StoreError::ByInbox { messages } => assert_eq!(messages, [0]),
                            error => panic!("{error}"),
                        }
                    }
                }
                break;
            }
            self.refused += 1;
            self.machines.remove(&id);
        }
        let taken = self.store.ingest(new).await.expect("ingest");
        self.apply(now, Some(taken.conversation)).await;
        taken.conversation
    }

    /// Gives what waits to its conversations: to all of them, or to one.
    async fn apply(&mut self, now: i64, only: Option<ConversationId>) {
        let waiting = self.store.inbox(&[], 0, 1_000).await.expect("inbox");
        for Inbound { row, conversation, event, .. } in waiting {
            if only.is_some_and(|only| only != conversation) {
                continue;
            }
            loop {
                let commit = self.hear(conversation, now, event.clone()).await.unwrap_or_default();
                match self.store.commit(Commit { applied: vec![row], ..commit }).await {
                    Ok(_) => break,
                    Err(error) => {
                        self.machines.remove(&conversation);
                        match error {
                            StoreError::GoneOn { .. } => {}
                            StoreError::Fenced { .. } => {
                                self.fences.remove(&self.store.topology().shard(conversation));
                            }
                            error => panic!("{error}"),
                        }
                    }
                }
            }
        }
    }

    /// Another gateway has a conversation's shard for a moment, and this one does not know it.
    async fn lose(&mut self, id: ConversationId) {
        let fence = self.fence(id).await;
        self.store.release(vec![fence]).await.expect("release");
        let others = self.store.claim(self.store.topology().shard(id), "gw2", MINUTE).await.expect("free");
        self.store.release(vec![others]).await.expect("release");
    }
}

/// What a log says, without the ids that its owner drew.
fn said(log: &[Record]) -> Vec<(u64, u64, String, String, String)> {
    let own = |record: &Record| record.event.source == source::conversation(&MAIN, record.conversation);
    let one = |record: &Record| {
        let id = if own(record) { String::new() } else { record.event.id.clone() };
        let data = serde_json::to_string(&record.event.event).expect("JSON");
        (record.seq, record.epoch, id, record.event.type_name().to_owned(), data)
    };
    log.iter().map(one).collect()
}

/// Random traffic on both roads: messages, copies, messages by another gateway, calls' events, ends, lost leases, owners that
/// begin anew. The logs are the same.
async fn both_roads_lead_to_the_same_log<S: Store>(long: &S, short: &S, seed: u64) {
    let mut random = Random(seed);
    let mut owners = [Owner::new(long, false), Owner::new(short, true)];
    let mut ids: [BTreeSet<ConversationId>; 2] = Default::default();
    let mut given: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for step in 0..160_u64 {
        let (thread, dice) = (random.below(5), random.below(100));
        let (name, now) = (format!("t{thread}"), i64::try_from(step).expect("small") * 1_000);
        let before = given.entry(thread).or_default();
        let id = match dice {
            40..60 if !before.is_empty() => before[random.below(before.len() as u64) as usize],
            _ => step,
        };
        let join =
            if dice % 7 == 0 { ids[0].last().copied().map_or(Join::Begin, Join::Conversation) } else { Join::Begin };
        let mut new = message(&name, id, conversation(now, 1), join);
        new.event.event = match dice {
            30..36 => {
                let (thread, state) = (name.clone(), ThreadState::Closed);
                Event::Thread(Thread { thread, state, entry: None, window: None })
            }
            _ => samples::message_in(&name, &format!("message {id}")).into(),
        };
        // A copy is what it was.
        if before.contains(&id) {
            new.event.event = samples::message_in(&name, "a copy").into();
        }
        for (owner, ids) in owners.iter_mut().zip(&mut ids) {
            match dice {
                60..72 => {
                    let taken = owner.store.ingest(new.clone()).await.expect("another gateway's");
                    ids.insert(taken.conversation);
                }
                72..80 => owner.apply(now, None).await,
                80..86 => owner.machines.clear(),
                86..91 => {
                    if let Some(id) = ids.iter().nth(thread as usize % ids.len().max(1)).copied() {
                        let fact = samples::story().remove(1);
                        owner.store.append(vec![super::new_event(id, step, fact)]).await.expect("a call's");
                    }
                }
                91..96 => {
                    if let Some(id) = ids.last().copied() {
                        owner.lose(id).await;
                    }
                }
                _ => _ = ids.insert(owner.take(now, new.clone()).await),
            }
        }
        if matches!(dice, 0..72 | 96..) && !before.contains(&id) {
            before.push(id);
        }
        assert_eq!(ids[0], ids[1], "seed {seed}, step {step}: the same conversations");
    }
    for owner in &mut owners {
        owner.apply(200_000, None).await;
    }
    let mut messages = 0;
    for id in &ids[0] {
        let (long, short) = (long.read(&MAIN, *id, 0, 1_000).await, short.read(&MAIN, *id, 0, 1_000).await);
        let (long, short) = (said(&long.expect("a read")), said(&short.expect("a read")));
        assert_eq!(long, short, "seed {seed}: the log of {id}");
        messages += long.iter().filter(|one| one.2.starts_with('m')).count();
    }
    let [other, owner] = owners;
    assert_eq!(other.parked, owner.parked, "seed {seed}");
    let given = given.values().map(Vec::len).sum::<usize>();
    assert_eq!(messages + owner.parked, given, "seed {seed}: each message once");
    assert!(
        owner.passed > 30 && owner.refused > 5,
        "seed {seed}: {} went past, {} did not",
        owner.passed,
        owner.refused
    );
    for store in [long, short] {
        assert_eq!(store.backlog().await.expect("backlog").inbox, 0);
        store.check().await.expect("the laws are kept");
    }
}
