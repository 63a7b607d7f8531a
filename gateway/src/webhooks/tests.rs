//! Webhooks against a server of this process that answers as it is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ark_bus::{Bus, EmbeddedBus};
use ark_conversation::event::{Dtmf, PlanPublished};
use ark_conversation::samples::{self, new_event};
use ark_conversation::{CloudEvent, ConversationId, Event, NewEvent, Tenant};
use ark_store::{DeliveryState, SqliteStore, Store};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::{Bounds, Running, WebhookState, Webhooks, start};
use crate::config::{Secret, Span, Webhook};

const PATIENCE: Duration = Duration::from_secs(20);
const NEW: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OLD: &str = "whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=";

/// One request as it was received.
#[derive(Clone, Debug)]
struct Seen {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn id(&self) -> &str {
        self.header("webhook-id")
    }

    fn event(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

enum Reply {
    Status(u16),
    To(String),
    Never,
}

type Script = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// A server that answers as its script says.
struct Receiver {
    address: SocketAddr,
    seen: mpsc::Receiver<Seen>,
}

impl Receiver {
    async fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let (sender, seen) = mpsc::channel(4_096);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script: Script = Arc::new(script);
        let router = Router::new().fallback(take).with_state((script, sender));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, seen }
    }

    /// One that answers as `before`, and 200 once it is mended.
    async fn broken(before: fn() -> Reply) -> (Self, Mend) {
        let mended = Arc::new(AtomicBool::new(false));
        let script = Arc::clone(&mended);
        let receiver =
            Self::start(move |_| if script.load(Ordering::SeqCst) { Reply::Status(200) } else { before() }).await;
        (receiver, Mend(mended))
    }

    async fn next(&mut self) -> Seen {
        tokio::time::timeout(PATIENCE, self.seen.recv()).await.expect("a request in time").unwrap()
    }

    async fn ids(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.next().await.id().to_owned());
        }
        ids
    }
}

/// Makes a broken [`Receiver`] well.
struct Mend(Arc<AtomicBool>);

impl Mend {
    fn now(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

async fn take(
    State((script, sender)): State<(Script, mpsc::Sender<Seen>)>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Response {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let seen = Seen { headers, body: body.to_vec() };
    let reply = script(&seen);
    sender.send(seen).await.unwrap();
    match reply {
        Reply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reply::To(url) => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, url)]).into_response(),
        Reply::Never => std::future::pending().await,
    }
}

/// A store and a bus in a folder that goes with them.
struct House {
    folder: PathBuf,
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
}

impl House {
    fn new(name: &str) -> Self {
        Self::with(name, |folder| Arc::new(SqliteStore::open(folder.join("ark.db")).unwrap()))
    }

    fn with(name: &str, open: impl FnOnce(&std::path::Path) -> Arc<dyn Store>) -> Self {
        let folder = std::env::temp_dir().join(format!("ark-webhook-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("new"), NEW).unwrap();
        std::fs::write(folder.join("old"), format!("{OLD}\n")).unwrap();
        let store = open(&folder);
        Self { folder, store, bus: Arc::new(EmbeddedBus::new()) }
    }

    fn webhook(&self, name: &str, to: &Receiver) -> Webhook {
        Webhook {
            name: name.to_owned(),
            url: format!("http://{}/hook?key=1", to.address),
            secrets: vec![Secret::File(self.folder.join("new")), Secret::File(self.folder.join("old"))],
            types: Vec::new(),
            enabled: true,
            numbers: false,
            allow_private: true,
            timeout: Span(Duration::from_secs(5)),
        }
    }

    /// Starts them and waits until each has its place in the log.
    async fn start(&self, webhooks: &[Webhook], bounds: Bounds) -> (Arc<Webhooks>, Running) {
        let started = start(webhooks, "gw1", Arc::clone(&self.store), Arc::clone(&self.bus), &bounds).unwrap();
        for webhook in webhooks.iter().filter(|one| one.enabled) {
            let name = format!("webhook:{}", webhook.name);
            until(async || self.store.reader(&Tenant::MAIN, &name).await.unwrap().is_some()).await;
        }
        started
    }

    async fn commit(&self, events: Vec<NewEvent>) {
        let appended = self.store.append(events).await.unwrap();
        self.bus.publish(appended.into_iter().map(|one| Arc::new(one.record)).collect()).await.unwrap();
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn quick() -> Bounds {
    let short = Duration::from_millis(10);
    Bounds { retry_first: short, retry_max: short * 4, poll: short, ..Bounds::default() }
}

async fn until(mut good: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !good().await {
        assert!(begun.elapsed() < PATIENCE, "it does not come");
        tokio::task::yield_now().await;
    }
}

fn conversation(n: u128) -> ConversationId {
    ConversationId::new(1_700_000_000_000, n)
}

fn key(of: ConversationId, n: u64) -> NewEvent {
    let event = samples::story().into_iter().find(|event| matches!(event, Event::Dtmf(Dtmf { .. }))).unwrap();
    new_event(of, n, event)
}

/// HMAC-SHA256 by RFC 2104, from the hash alone.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

/// What a receiver does with a secret of its own.
fn verifies(seen: &Seen, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut signed = format!("{}.{}.", seen.id(), seen.header("webhook-timestamp")).into_bytes();
    signed.extend(&seen.body);
    let expected = format!("v1,{}", STANDARD.encode(hmac(&key, &signed)));
    seen.header("webhook-signature").split(' ').any(|one| one == expected)
}

#[tokio::test]
async fn each_event_that_is_wanted_is_sent_signed_and_with_its_place() {
    let house = House::new("signed");
    let mut receiver = Receiver::start(|_| Reply::Status(204)).await;
    let mut full = Receiver::start(|_| Reply::Status(200)).await;
    let a = conversation(1);
    house.commit(vec![key(a, 100)]).await;
    let calls = Webhook { types: vec!["ark.call".to_owned()], ..house.webhook("calls", &receiver) };
    let all = Webhook { numbers: true, ..house.webhook("all", &full) };
    let (webhooks, running) = house.start(&[calls, all], quick()).await;
    let story: Vec<NewEvent> = (1..).zip(samples::story()).map(|(n, event)| new_event(a, n, event)).collect();
    let wanted: Vec<(u64, String)> = (2..)
        .zip(&story)
        .filter(|(_, one)| one.event.type_name().starts_with("ark.call."))
        .map(|(seq, one)| (seq, one.event.type_name().to_owned()))
        .collect();
    assert!(wanted.len() > 3);
    let count = story.len();
    house.commit(story).await;
    for (seq, kind) in &wanted {
        let seen = receiver.next().await;
        assert_eq!(seen.id(), format!("{a}-{seq}"), "what came before the webhook was there is not sent; in order");
        assert_eq!(seen.header("content-type"), "application/cloudevents+json; charset=utf-8");
        assert!(verifies(&seen, NEW) && verifies(&seen, OLD), "both secrets while they change");
        let mut other = seen.clone();
        other.body.push(b' ');
        assert!(!verifies(&other, NEW));
        let event = seen.event();
        assert_eq!((event["type"].as_str(), event["arkseq"].as_u64()), (Some(kind.as_str()), Some(*seq)));
        assert_eq!(event["arkconversation"], a.to_string());
        serde_json::from_slice::<CloudEvent>(&seen.body).expect("a CloudEvent");
        assert!(!String::from_utf8_lossy(&seen.body).contains("13800001212"), "numbers are masked");
    }
    let mut numbers = false;
    for _ in 0..count {
        numbers |= String::from_utf8_lossy(&full.next().await.body).contains("13800001212");
    }
    assert!(numbers, "unless the site wants them in full");
    until(async || webhooks.views().await.unwrap().iter().all(|one| one.waiting == 0)).await;
    let views = webhooks.views().await.unwrap();
    assert_eq!((views[0].delivered, views[1].delivered), (wanted.len() as u64, count as u64));
    assert!(views[0].url.ends_with("/hook"), "without its query: {}", views[0].url);
    let samples = webhooks.samples().await;
    assert!(samples.iter().any(|one| one.name == "ark_webhook_delivered_total" && one.value > 0.0));
    running.stop().await;
    assert!(receiver.seen.try_recv().is_err() && full.seen.try_recv().is_err(), "nothing twice");
}

#[tokio::test]
async fn a_refused_event_is_sent_again_with_its_id_and_holds_up_its_own_conversation_only() {
    let house = House::new("again");
    let (a, b) = (conversation(1), conversation(2));
    let refused = std::sync::Mutex::new(0);
    let first = format!("{a}-1");
    let script = first.clone();
    let mut receiver = Receiver::start(move |seen| {
        let mut refused = refused.lock().unwrap();
        if seen.id() == script && *refused < 3 {
            *refused += 1;
            return Reply::Status(500);
        }
        Reply::Status(200)
    })
    .await;
    let (webhooks, running) = house.start(&[house.webhook("crm", &receiver)], quick()).await;
    house.commit(vec![key(a, 1), key(a, 2), key(b, 1), key(b, 2), key(a, 3)]).await;
    let ids = receiver.ids(8).await;
    let of = |id: ConversationId| ids.iter().filter(|one| one.starts_with(&id.to_string())).collect::<Vec<_>>();
    assert_eq!(of(a), [&first, &first, &first, &first, &format!("{a}-2"), &format!("{a}-3")]);
    assert_eq!(of(b), [&format!("{b}-1"), &format!("{b}-2")]);
    until(async || webhooks.views().await.unwrap()[0].waiting == 0).await;
    let view = webhooks.views().await.unwrap().remove(0);
    assert_eq!((view.delivered, view.failed, view.dead), (5, 3, 0));
    assert_eq!(view.last_error.as_deref(), Some("status 500"));
    running.stop().await;
}

#[tokio::test]
async fn one_that_never_answers_is_given_up_holds_up_nobody_and_can_be_replayed() {
    let house = House::new("never");
    let (mut stuck, mend) = Receiver::broken(|| Reply::Never).await;
    let mut other = Receiver::start(|_| Reply::Status(200)).await;
    let hanging = Webhook { timeout: Span(Duration::from_millis(60)), ..house.webhook("stuck", &stuck) };
    let bounds = Bounds { attempts_max: 2, ..quick() };
    let (webhooks, running) = house.start(&[hanging, house.webhook("other", &other)], bounds).await;
    let events: Vec<NewEvent> = (1..=40).map(|n| key(conversation(u128::from(n % 20)), n)).collect();
    house.commit(events).await;
    other.ids(40).await;
    until(async || webhooks.views().await.unwrap()[0].dead == 40).await;
    let dead = webhooks.deliveries("stuck", DeliveryState::Dead, 0, 100).await.unwrap();
    assert!(dead.iter().all(|one| one.attempts == 2), "{dead:?}");
    assert_eq!(dead[0].error.as_deref(), Some("no answer within 0.06 s, after 2 attempts"));
    while stuck.seen.try_recv().is_ok() {}

    mend.now();
    assert_eq!(webhooks.replay(dead[7].id).await, Ok(Some("stuck".to_owned())));
    assert_eq!(stuck.next().await.id(), dead[7].webhook_id);
    until(async || webhooks.deliveries("stuck", DeliveryState::Done, 0, 9).await.unwrap().len() == 1).await;
    assert_eq!(webhooks.replay(dead[7].id).await, Ok(Some("stuck".to_owned())), "also one that was taken");
    assert_eq!(stuck.next().await.id(), dead[7].webhook_id);
    assert_eq!(webhooks.replay(1_000_000).await, Ok(None));
    let last = dead[39].id;
    assert_eq!(webhooks.replay_dead("stuck", 0).await, Ok((39, Some(last))));
    assert_eq!(webhooks.replay_dead("stuck", last).await, Ok((0, None)), "going on comes to an end");
    let mut again = stuck.ids(39).await;
    again.push(dead[7].webhook_id.clone());
    again.sort();
    let mut expected: Vec<String> = dead.iter().map(|one| one.webhook_id.clone()).collect();
    expected.sort();
    assert_eq!(again, expected);
    running.stop().await;
}

#[tokio::test]
async fn one_that_says_410_is_sent_nothing_until_it_is_enabled_and_then_everything() {
    let house = House::new("gone");
    let (mut receiver, mend) = Receiver::broken(|| Reply::Status(410)).await;
    let (webhooks, running) = house.start(&[house.webhook("crm", &receiver)], quick()).await;
    let a = conversation(1);
    house.commit(vec![key(a, 1)]).await;
    assert_eq!(receiver.next().await.id(), format!("{a}-1"));
    until(async || webhooks.views().await.unwrap()[0].state == WebhookState::Gone).await;
    house.commit(vec![key(a, 2)]).await;
    running.stop().await;
    // Nor after a restart, nor from another gateway.
    let (webhooks, running) = house.start(&[house.webhook("crm", &receiver)], quick()).await;
    let (others, beside) = house.start(&[house.webhook("crm", &receiver)], quick()).await;
    assert_eq!(webhooks.views().await.unwrap()[0].state, WebhookState::Gone);
    house.commit(vec![key(a, 3)]).await;
    mend.now();
    assert_eq!((webhooks.enable("crm").await, webhooks.enable("unknown").await), (Ok(true), Ok(false)));
    let expected: Vec<String> = (1..=3).map(|seq| format!("{a}-{seq}")).collect();
    assert_eq!(receiver.ids(3).await, expected, "nothing between the 410 and `enable`, and nothing missed");
    until(async || others.views().await.unwrap()[0].state == WebhookState::On).await;
    running.stop().await;
    beside.stop().await;
    assert!(receiver.seen.try_recv().is_err(), "and nothing twice");
}

#[tokio::test]
async fn what_was_committed_or_claimed_when_a_process_ended_is_sent_by_the_next() {
    let house = House::new("restart");
    let mut receiver = Receiver::start(|_| Reply::Status(200)).await;
    let webhook = house.webhook("crm", &receiver);
    let (_, running) = house.start(std::slice::from_ref(&webhook), quick()).await;
    running.stop().await;
    let a = conversation(1);
    // Committed, and nobody was told: the process ended here.
    house.store.append((1..=3).map(|n| key(a, n)).collect()).await.unwrap();
    let (_, running) = house.start(std::slice::from_ref(&webhook), quick()).await;
    assert_eq!(receiver.ids(3).await, (1..=3).map(|seq| format!("{a}-{seq}")).collect::<Vec<_>>());
    until(async || house.store.delivery_counts(&Tenant::MAIN, "webhook:crm").await.unwrap().waiting == 0).await;
    running.stop().await;

    // A delivery was left and claimed by a gateway that died with it.
    let off = Webhook { enabled: false, ..webhook.clone() };
    let (webhooks, running) = house.start(std::slice::from_ref(&off), quick()).await;
    house.commit(vec![key(a, 4)]).await;
    assert_eq!(webhooks.views().await.unwrap()[0].state, WebhookState::Off);
    running.stop().await;
    let slow = Bounds { poll: PATIENCE, claim_beyond: Duration::from_millis(1), ..quick() };
    let mut hung = Receiver::start(|_| Reply::Never).await;
    let timeout = Span(Duration::from_secs(2));
    let to_hung = Webhook { url: format!("http://{}/", hung.address), timeout, ..webhook.clone() };
    let (_, running) = house.start(&[to_hung], slow).await;
    assert_eq!(hung.next().await.id(), format!("{a}-4"), "off for a while, and nothing was missed");
    // Dropped, not stopped: its claim stays behind.
    drop(running);
    let claimed = house.store.deliveries(&Tenant::MAIN, "webhook:crm", DeliveryState::Claimed, 0, 9).await.unwrap();
    assert_eq!(claimed.len(), 1);
    let (_, running) = house.start(&[webhook], quick()).await;
    assert_eq!(receiver.next().await.id(), format!("{a}-4"), "when the claim has run out");
    running.stop().await;
}

#[tokio::test]
async fn two_gateways_share_a_webhook_and_send_each_event_once() {
    let house = House::new("two");
    let mut receiver = Receiver::start(|_| Reply::Status(200)).await;
    let webhook = house.webhook("crm", &receiver);
    let (_, first) = house.start(std::slice::from_ref(&webhook), quick()).await;
    let (_, second) = house.start(&[webhook], quick()).await;
    for round in 0..10 {
        house.commit((1..=20).map(|n| key(conversation(n), round * 100 + n as u64)).collect()).await;
    }
    let mut ids = receiver.ids(200).await;
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for id in &ids {
        let (conversation, seq) = id.rsplit_once('-').unwrap();
        let before = last.insert(conversation.to_owned(), seq.parse().unwrap()).unwrap_or(0);
        assert_eq!(seq.parse::<u64>().unwrap(), before + 1, "each conversation in order");
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 200);
    until(async || house.store.delivery_counts(&Tenant::MAIN, "webhook:crm").await.unwrap().waiting == 0).await;
    first.stop().await;
    second.stop().await;
    assert!(receiver.seen.try_recv().is_err(), "nothing twice while nobody dies");
}

#[tokio::test]
async fn two_gateways_on_postgresql_share_a_webhook_and_miss_nothing_when_one_is_gone() {
    let Some(server) = ark_store::kit::postgres("two_gateways_on_postgresql_share_a_webhook") else { return };
    let mut receiver = Receiver::start(|_| Reply::Status(200)).await;
    let houses = ["pg-a", "pg-b"].map(|name| House::with(name, |_| Arc::new(server.store("ark"))));
    let bounds = Bounds { claim_beyond: Duration::from_millis(1), ..quick() };
    let webhook = Webhook { timeout: Span(Duration::from_secs(1)), ..houses[0].webhook("crm", &receiver) };
    let (_, first) = houses[0].start(std::slice::from_ref(&webhook), bounds.clone()).await;
    let (_, second) = houses[1].start(&[webhook], bounds).await;
    let mut first = Some(first);
    let writers: Vec<_> = (0..2_u64)
        .map(|at| {
            let store = Arc::clone(&houses[usize::from(at == 1)].store);
            tokio::spawn(async move {
                for round in 0..20 {
                    // Both write to all conversations, so that their transactions overlap.
                    let events = (1..=5).map(|n| key(conversation(n), at * 10_000 + round * 100 + n as u64)).collect();
                    store.append(events).await.unwrap();
                }
            })
        })
        .collect();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    while seen.len() < 200 {
        *seen.entry(receiver.next().await.id().to_owned()).or_default() += 1;
        if seen.len() == 50 {
            drop(first.take());
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let of_all: Vec<String> =
        (1..=5).flat_map(|n| (1..=40).map(move |seq| format!("{}-{seq}", conversation(n)))).collect();
    assert!(of_all.iter().all(|id| seen.contains_key(id)), "{seen:?}");
    second.stop().await;
}

#[tokio::test]
async fn nothing_is_followed_and_inner_addresses_are_not_reached() {
    let house = House::new("reach");
    let mut target = Receiver::start(|_| Reply::Status(200)).await;
    let to = format!("http://{}/stolen", target.address);
    let mut moved = Receiver::start(move |_| Reply::To(to.clone())).await;
    let inner = Webhook { allow_private: false, ..house.webhook("inner", &target) };
    let named = Webhook { url: format!("http://localhost:{}/", target.address.port()), ..inner.clone() };
    let named = Webhook { name: "named".to_owned(), ..named };
    let (webhooks, running) = house.start(&[house.webhook("moved", &moved), inner, named], quick()).await;
    let test = webhooks.test("moved").await.unwrap();
    assert_eq!((test.ok, test.status), (false, Some(307)));
    let seen = moved.next().await;
    assert!(verifies(&seen, NEW) && seen.event()["type"] == super::TEST_TYPE && seen.id().starts_with("test-"));
    for name in ["inner", "named"] {
        let test = webhooks.test(name).await.unwrap();
        assert!(!test.ok && test.error.as_deref().unwrap_or("").contains("allow_private"), "{test:?}");
    }
    assert!(webhooks.test("unknown").await.is_none());
    assert!(target.seen.try_recv().is_err(), "nothing came to it");
    assert!(target.seen.is_empty());
    running.stop().await;
    let ok = house.start(&[house.webhook("target", &target)], quick()).await;
    assert!(ok.0.test("target").await.unwrap().ok);
    assert_eq!(target.next().await.header("user-agent"), concat!("Ark/", env!("CARGO_PKG_VERSION")));
    ok.1.stop().await;
}

#[tokio::test]
async fn what_waits_is_bounded_and_the_log_keeps_the_rest() {
    let house = House::new("bounded");
    let (mut receiver, mend) = Receiver::broken(|| Reply::Status(503)).await;
    let bounds = Bounds { waiting_max: 10, ..quick() };
    let (webhooks, running) = house.start(&[house.webhook("crm", &receiver)], bounds).await;
    house.commit((1..=20).map(|n| key(conversation(1), n)).collect()).await;
    receiver.next().await;
    house.commit((21..=700).map(|n| key(conversation(1), n)).collect()).await;
    // Looked at again and again meanwhile.
    receiver.ids(5).await;
    assert!(webhooks.views().await.unwrap()[0].waiting <= 20, "{:?}", webhooks.views().await);
    mend.now();
    let mut last = String::new();
    while !last.ends_with("-700") {
        last = receiver.next().await.id().to_owned();
    }
    running.stop().await;
}

#[tokio::test]
async fn an_event_of_the_house_itself_is_sent_too() {
    let house = House::new("house");
    let mut receiver = Receiver::start(|_| Reply::Status(200)).await;
    let plans = Webhook { types: vec!["ark.plan.*".to_owned()], ..house.webhook("plans", &receiver) };
    let (_, running) = house.start(&[plans], quick()).await;
    let published =
        samples::story().into_iter().find(|event| matches!(event, Event::PlanPublished(PlanPublished { .. })));
    house.commit(vec![key(conversation(1), 1), new_event(ConversationId::SYSTEM, 2, published.unwrap())]).await;
    assert_eq!(receiver.next().await.event()["type"], "ark.plan.published.v1");
    running.stop().await;
}
