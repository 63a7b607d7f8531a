//! The host with a machine that does what a test says, a store of its own, and a provider on loopback.

use std::collections::VecDeque;
use std::sync::Mutex as StdMutex;
use std::time::Duration;

use ark_conversation::channel::{
    Ack, Body, Capabilities, Capability, Dedup, FetchFailure, FileKind, Frame, HttpCall, HttpFailure, IdentityCaps, In,
    InboundId, Ingest, Limits, Method, Ordering as Order, Out, Outcome, Token, Transport, TransportMode,
};
use ark_conversation::event::{Identity as Known, MessageOut, Part, Party, PartyRole, ReceiptState};
use ark_conversation::{ConversationId, Event, IdentityKey, Pii, source};
use ark_store::{Commit, DeliveryState, NewDelivery, NewInbound, SqliteStore};
use futures_util::{SinkExt as _, StreamExt as _};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::providers::{Provider, Providers, Shown};

/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// Inputs that a test has not looked at yet.
const HEARD: usize = 1_024;

/// A machine that tells the test what it is given and says what the test says.
struct Puppet {
    manifest: Manifest,
    heard: mpsc::Sender<In>,
    say: Arc<StdMutex<VecDeque<Out>>>,
    react: fn(&In) -> Vec<Out>,
}

impl Channel for Puppet {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn handle(&mut self, _now: Timestamp, input: In) {
        self.say.lock().unwrap().extend((self.react)(&input));
        let _ = self.heard.try_send(input);
    }

    fn poll(&mut self) -> Option<Out> {
        self.say.lock().unwrap().pop_front()
    }
}

fn manifest() -> Manifest {
    Manifest {
        ark_adapter: "1".to_owned(),
        id: "puppet".to_owned(),
        version: "1".to_owned(),
        channel: "puppet".to_owned(),
        transport: Transport { mode: TransportMode::Inproc, url: None, queue: None, max_batch: None },
        capabilities: Capabilities { text: Some(Capability::BOTH), ..Capabilities::default() },
        identity: IdentityCaps { key_kinds: vec!["custom".to_owned()], verified: None },
        ordering: Order::PerThread,
        dedup: Dedup { inbound_id: InboundId::Native, outbound_key_ttl_s: 60, channel_idempotent: None },
        limits: Limits { ack_deadline_ms: None, out_per_s: None, reply_window_s: None, replies_per_window: None },
        testing: None,
    }
}

/// Keeps in a store; while `away`, keeps nothing.
struct Keeper {
    store: Arc<dyn Store>,
    away: std::sync::atomic::AtomicBool,
    /// Ids that it fails to keep once.
    fails: StdMutex<Vec<String>>,
    taken: StdMutex<Vec<CloudEvent>>,
}

impl Keeper {
    fn fails_once(&self, id: &str) -> bool {
        let mut fails = self.fails.lock().unwrap();
        fails.iter().position(|one| one == id).map(|at| fails.remove(at)).is_some()
    }
}

impl Inlet for Keeper {
    fn take<'a>(
        &'a self,
        tenant: &'a Tenant,
        event: CloudEvent,
    ) -> Pin<Box<dyn Future<Output = Result<bool, String>> + Send + 'a>> {
        Box::pin(async move {
            if self.away.load(Ordering::Relaxed) {
                return Err("the store is away".to_owned());
            }
            if self.fails_once(&event.id) {
                return Err("the store is away for a moment".to_owned());
            }
            self.taken.lock().unwrap().push(event.clone());
            let begin = ConversationId::new(1, rand::random());
            let new =
                NewInbound { tenant: tenant.clone(), at: Timestamp::now(), event, begin, join: ark_store::Join::Begin };
            self.store.ingest(new).await.map(|kept| kept.duplicate).map_err(|error| error.to_string())
        })
    }
}

struct Nowhere;

impl Live for Nowhere {
    fn pass_on(&self, _event: CloudEvent) {}
}

struct Site {
    host: Arc<ChannelHost>,
    tasks: Tasks,
    heard: mpsc::Receiver<In>,
    store: Arc<dyn Store>,
    keeper: Arc<Keeper>,
    _folder: tempfile::TempDir,
}

impl Site {
    fn start(react: fn(&In) -> Vec<Out>, hosts: Hosts) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), react, hosts)
    }

    fn start_in(folder: tempfile::TempDir, react: fn(&In) -> Vec<Out>, hosts: Hosts) -> Self {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path().join("ark.db")).unwrap());
        let keeper = Arc::new(Keeper {
            store: Arc::clone(&store),
            away: false.into(),
            fails: StdMutex::default(),
            taken: StdMutex::default(),
        });
        let (sender, heard) = mpsc::channel(HEARD);
        let channel = Puppet { manifest: manifest(), heard: sender, say: Arc::default(), react };
        let account = AccountConfig {
            name: "shop".to_owned(),
            channel: Box::new(channel),
            adapter: "puppet".to_owned(),
            hosts,
            assurance: Assurance::Asserted,
            signer: None,
            seal: None,
        };
        let config = HostConfig {
            tenant: Tenant::MAIN,
            gateway: "gw1".to_owned(),
            store: Arc::clone(&store),
            bus: None,
            broker: None,
            inlet: Arc::clone(&keeper) as Arc<dyn Inlet>,
            live: Arc::new(Nowhere),
            files: Files::new(folder.path().join("attachments")),
            saved: folder.path().join("channels"),
        };
        let (host, tasks) = ChannelHost::start(config, vec![account]);
        Self { host, tasks, heard, store, keeper, _folder: folder }
    }

    /// The next input that this finds something in.
    async fn hear<T>(&mut self, find: impl Fn(In) -> Option<T>) -> T {
        let wait = async {
            loop {
                let input = self.heard.recv().await.expect("the machine lives");
                if let Some(found) = find(input) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the machine hears it in time")
    }

    async fn receipts(&self, number: usize) -> Vec<ark_conversation::event::Receipt> {
        let until = tokio::time::Instant::now() + PATIENCE;
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        loop {
            let taken = self.keeper.taken.lock().unwrap().clone();
            let receipts: Vec<_> = taken
                .into_iter()
                .filter_map(|event| if let Event::Receipt(receipt) = event.event { Some(receipt) } else { None })
                .collect();
            if receipts.len() >= number {
                return receipts;
            }
            assert!(tokio::time::Instant::now() < until, "{receipts:?}");
            tick.tick().await;
        }
    }
}

fn hook(body: &str) -> HttpRequest {
    HttpRequest {
        method: Method::Post,
        path: String::new(),
        query: Vec::new(),
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
    }
}

fn written(id: &str, text: &str) -> CloudEvent {
    let source = source::thread(&Tenant::MAIN, "puppet", "shop", "t1");
    CloudEvent::new(id, source, Timestamp::now(), ark_conversation::samples::message_in("t1", text))
}

/// Each request is a message of this id, acknowledged when it is durable.
fn keep_each(input: &In) -> Vec<Out> {
    let In::HttpRequest { request, http } = input else { return Vec::new() };
    let id = String::from_utf8(http.body.clone()).unwrap();
    let ack = |status, text: &str| vec![Ack::Reply { request: *request, reply: HttpReply::text(status, text) }];
    vec![Out::Ingest(Ingest {
        events: vec![written(&id, "hello")],
        durable: ack(200, "success"),
        refused: ack(503, "later"),
        save: Some(("cursor".to_owned(), id)),
    })]
}

#[tokio::test]
async fn a_request_is_acknowledged_when_it_is_durable_and_not_before() {
    let site = Site::start(keep_each, Hosts::default());
    site.keeper.away.store(true, Ordering::Relaxed);
    let reply = site.host.ask("shop", hook("m1")).await.unwrap();
    assert_eq!((reply.status, reply.body.as_slice()), (503, b"later".as_slice()));
    site.keeper.away.store(false, Ordering::Relaxed);
    for duplicates in 0..3 {
        let reply = site.host.ask("shop", hook("m1")).await.unwrap();
        assert_eq!(reply.status, 200, "try {duplicates}");
    }
    let view = site.host.views().remove(0);
    assert_eq!((view.kept, view.duplicates), (1, 2));
    assert_eq!(site.store.inbox(&[], 0, 10).await.unwrap().len(), 1);
    assert!(site.host.ask("nobody", hook("m1")).await.is_none());
    // What was saved is there for the next life.
    let Site { tasks, _folder: folder, host, store, keeper, .. } = site;
    tasks.stop().await;
    drop((host, store, keeper));
    let mut again = Site::start_in(folder, keep_each, Hosts::default());
    let saved = again.hear(|input| if let In::Begin { saved } = input { Some(saved) } else { None }).await;
    assert_eq!(saved.get("cursor").map(String::as_str), Some("m1"));
}

/// Found by the walk over four channels: what stood behind was kept, and what had been refused came after it.
#[tokio::test]
async fn what_stands_behind_a_message_that_could_not_be_kept_comes_again_with_it() {
    fn page(input: &In) -> Vec<Out> {
        match input {
            In::HttpRequest { request, .. } => {
                let ids = ["m1", "m2", "m3"];
                let keep = |(mark, id): (u64, &str)| {
                    Out::Ingest(Ingest {
                        events: vec![written(id, "hello")],
                        durable: vec![Ack::Tell { mark: 2 * mark }],
                        refused: vec![Ack::Tell { mark: 2 * mark + 1 }],
                        save: None,
                    })
                };
                let mut outs: Vec<Out> = (1..).zip(ids).map(keep).collect();
                outs.push(Out::HttpReply { request: *request, reply: HttpReply::text(202, "") });
                outs
            }
            _ => Vec::new(),
        }
    }
    let mut site = Site::start(page, Hosts::default());
    let told = |input| if let In::Told { mark } = input { Some(mark) } else { None };
    site.keeper.fails.lock().unwrap().push("m2".to_owned());
    site.host.ask("shop", hook("")).await.unwrap();
    let marks = [site.hear(told).await, site.hear(told).await, site.hear(told).await];
    assert_eq!(marks, [2, 5, 7], "kept, refused, and refused behind it");
    site.host.ask("shop", hook("")).await.unwrap();
    let marks = [site.hear(told).await, site.hear(told).await, site.hear(told).await];
    assert_eq!(marks, [2, 4, 6]);
    let rows = site.store.inbox(&[], 0, 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.event.id.as_str()).collect::<Vec<_>>(), ["m1", "m2", "m3"]);
}

/// Found by the walk over four channels: the next gateway sent it as if nothing had happened.
#[tokio::test]
async fn a_message_over_which_a_gateway_died_is_in_doubt() {
    fn unsure(input: &In) -> Vec<Out> {
        let In::Send(message) = input else { return Vec::new() };
        let again = Outcome::Retry { code: "busy".to_owned(), after: None };
        let outcome = if message.in_doubt { Outcome::Unknown } else { again };
        vec![Out::Settle { delivery: message.delivery, outcome }]
    }
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("ark.db")).unwrap();
    let deliveries = vec![message_out("k1", vec![Part::text("one")])];
    store.commit(Commit { deliveries, ..Commit::default() }).await.unwrap();
    let claimed = store.claim_deliveries("puppet", "gw0", Duration::from_millis(1), 10).await.unwrap();
    assert_eq!(claimed.len(), 1, "and then it is not heard again");
    drop(store);
    let mut site = Site::start_in(folder, unsure, Hosts::default());
    let send = |input| if let In::Send(message) = input { Some(message) } else { None };
    let message = site.hear(send).await;
    assert_eq!((message.attempt, message.in_doubt), (2, true));
    let receipts = site.receipts(1).await;
    assert_eq!(receipts[0].reason.as_ref().map(|reason| reason.code.as_str()), Some("outcome_unknown"));
    // Given up: an agent decides.
    let until = tokio::time::Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while site.store.deliveries(&Tenant::MAIN, "puppet", DeliveryState::Dead, 0, 10).await.unwrap().is_empty() {
        assert!(tokio::time::Instant::now() < until, "it is not given up");
        tick.tick().await;
    }
}

#[tokio::test]
async fn an_account_speaks_for_itself_only_and_no_surer_than_it_may() {
    fn liar(input: &In) -> Vec<Out> {
        let In::HttpRequest { request, .. } = input else { return Vec::new() };
        let foreign = source::thread(&Tenant::MAIN, "puppet", "bank", "t1");
        let own = source::thread(&Tenant::MAIN, "puppet", "shop", "t1");
        let key = IdentityKey::phone("13800001212", "86").unwrap();
        let sure = Known { thread: "t1".to_owned(), keys: vec![key], assurance: Assurance::Sso, link_token: None };
        let ack = Ack::Reply { request: *request, reply: HttpReply::text(200, "success") };
        let hello = ark_conversation::samples::message_in("t1", "hello");
        vec![Out::Ingest(Ingest {
            events: vec![
                CloudEvent::new("1", foreign, Timestamp::now(), hello),
                CloudEvent::new("2", own, Timestamp::now(), sure),
            ],
            durable: vec![ack],
            refused: Vec::new(),
            save: None,
        })]
    }
    let site = Site::start(liar, Hosts::default());
    assert_eq!(site.host.ask("shop", hook("")).await.unwrap().status, 200);
    let taken = site.keeper.taken.lock().unwrap().clone();
    let [event] = taken.as_slice() else { panic!("{taken:?}") };
    let Event::Identity(identity) = &event.event else { panic!("{event:?}") };
    assert_eq!(identity.assurance, Assurance::Asserted);
}

/// Leaves a message for the account in the store, as the conversation's owner does.
fn message_out(key: &str, parts: Vec<Part>) -> NewDelivery {
    let source = source::thread(&Tenant::MAIN, "puppet", "shop", "t1");
    let conversation = ConversationId::new(1, 1);
    let sender = Party { role: PartyRole::Agent, id: Pii::new("a1"), kind: None, display: None };
    let message =
        MessageOut { thread: "t1".to_owned(), conversation, epoch: 1, sender, parts, reply_to: None, leg: None };
    let event = CloudEvent::new(key, source.clone(), Timestamp::now(), message);
    NewDelivery {
        tenant: Tenant::MAIN,
        adapter: "puppet".to_owned(),
        key: key.to_owned(),
        order_key: source,
        conversation,
        body: serde_json::to_value(&event).unwrap(),
        not_before: None,
    }
}

/// One that is due now.
async fn leave(site: &Site, key: &str, parts: Vec<Part>) {
    let delivery = message_out(key, parts);
    site.store.commit(Commit { deliveries: vec![delivery], ..Commit::default() }).await.unwrap();
    site.host.wake();
}

#[tokio::test]
async fn messages_go_out_in_order_as_the_channel_can_carry_them_and_their_fate_is_told() {
    fn provider(input: &In) -> Vec<Out> {
        let In::Send(message) = input else { return Vec::new() };
        let outcome = match (message.event.id.as_str(), message.attempt) {
            ("k1", 1) => Outcome::Retry { code: "rate".to_owned(), after: Some(Duration::from_millis(1)) },
            ("k3", _) => Outcome::Unknown,
            _ => Outcome::Sent { native_id: Some("n".to_owned()) },
        };
        vec![Out::Settle { delivery: message.delivery, outcome }]
    }
    let mut site = Site::start(provider, Hosts::default());
    let place = Part::Location { lat: 30.27, lon: 120.15, label: None };
    leave(&site, "k1", vec![Part::text("one")]).await;
    leave(&site, "k2", vec![place]).await;
    leave(&site, "k3", vec![Part::text("three")]).await;
    let mut heard = Vec::new();
    for _ in 0..4 {
        let message = site.hear(|input| if let In::Send(message) = input { Some(message) } else { None }).await;
        heard.push((message.event.id.clone(), message.attempt));
        if let Event::MessageOut(out) = &message.event.event {
            assert!(out.parts.iter().all(|part| matches!(part, Part::Text { .. })), "{out:?}");
        }
    }
    let expected = [("k1", 1), ("k1", 2), ("k2", 1), ("k3", 1)].map(|(key, attempt)| (key.to_owned(), attempt));
    assert_eq!(heard, expected, "the second waits for the first of its thread");
    let receipts = site.receipts(3).await;
    let states: Vec<_> = receipts.iter().map(|receipt| (receipt.message.as_str(), receipt.state)).collect();
    assert_eq!(states, [("k1", ReceiptState::Sent), ("k2", ReceiptState::Sent), ("k3", ReceiptState::Failed)]);
    assert_eq!(receipts[2].reason.as_ref().unwrap().code, "outcome_unknown");
    let dead = site.store.deliveries(&Tenant::MAIN, "puppet", DeliveryState::Dead, 0, 10).await.unwrap();
    assert!(dead.len() <= 1, "what is unknown is never sent again by itself");
}

/// A provider that answers each connection with these bytes, and tells what it was asked.
async fn provider(answers: Vec<Vec<u8>>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, asked) = mpsc::channel(HEARD);
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = sender.send(read_request(&mut stream).await).await;
            let _ = stream.write_all(&answer).await;
        }
    });
    (format!("http://{address}"), asked)
}

async fn read_request(stream: &mut TcpStream) -> String {
    let (mut read, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let n = stream.read(&mut buffer).await.unwrap_or(0);
        read.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let length = text.to_ascii_lowercase();
        let length = length.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        let whole = text.find("\r\n\r\n").is_some_and(|head| read.len() >= head + 4 + length.unwrap_or(0_usize));
        if n == 0 || whole {
            return text;
        }
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn get(url: String) -> HttpCall {
    let timeout = Duration::from_secs(5);
    HttpCall { method: Method::Get, url, headers: Vec::new(), body: Body::Empty, timeout, idempotent: true }
}

#[tokio::test]
async fn calls_go_to_the_channels_hosts_only_and_say_whether_anything_was_sent() {
    let json = answer("200 OK", "", b"{\"errcode\":0}");
    let (base, mut asked) = provider(vec![json, b"HTTP/1.1 200".to_vec()]).await;
    let wire = Wire::new(Hosts::new([base.clone()]));
    let folder = tempfile::tempdir().unwrap();
    let files = Files::new(folder.path().to_owned());
    let call = |url: String| HttpCall {
        method: Method::Post,
        headers: vec![("x-token".to_owned(), "secret".to_owned())],
        body: Body::Json(serde_json::json!({ "a": 1 })),
        idempotent: false,
        ..get(url)
    };
    let reply = wire.call(call(format!("{base}/send?x=1")), &files).await.unwrap();
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"{\"errcode\":0}".as_slice()));
    let request = asked.recv().await.unwrap();
    assert!(request.starts_with("POST /send?x=1 HTTP/1.1\r\n") && request.ends_with("\r\n\r\n{\"a\":1}"), "{request}");
    // It broke off in the middle of its answer: it may have been taken.
    let broken = wire.call(call(format!("{base}/send")), &files).await;
    assert!(matches!(broken, Err(HttpFailure::NoAnswer(_))), "{broken:?}");
    // Nobody listens any more, and what is not the channel's is not asked at all.
    drop(asked);
    for url in ["http://127.0.0.1:1/".to_owned(), "https://169.254.169.254/latest".to_owned()] {
        let refused = wire.call(call(url), &files).await;
        assert!(matches!(refused, Err(HttpFailure::NotSent(_))), "{refused:?}");
    }
    // A name that is allowed and leads into the house.
    let inside = Wire::new(Hosts::new(["localhost"])).call(call("https://localhost/".to_owned()), &files).await;
    let Err(HttpFailure::NotSent(why)) = inside else { panic!("{inside:?}") };
    assert!(why.contains("inside this network"), "{why}");
}

#[tokio::test]
async fn a_provider_that_is_away_is_left_alone_and_that_is_seen() {
    fn call(input: &In) -> Vec<Out> {
        let In::HttpRequest { request, .. } = input else { return Vec::new() };
        let http = Box::new(get("http://127.0.0.1:1/".to_owned()));
        let reply = HttpReply::text(202, "");
        vec![Out::HttpReply { request: *request, reply }, Out::HttpCall { call: *request, http }]
    }
    let mut site = Site::start(call, Hosts::new(["http://127.0.0.1:1"]));
    let mut said = Vec::new();
    for _ in 0..=BREAKER_FAILURES {
        site.host.ask("shop", hook("")).await.unwrap();
        let answer = site.hear(|input| if let In::HttpResponse { answer, .. } = input { Some(answer) } else { None });
        let Err(HttpFailure::NotSent(why)) = answer.await else { panic!("nobody is there") };
        said.push(why);
    }
    let held = said.pop().unwrap();
    assert!(
        held.contains("asked again in") && !said.iter().any(|why| why.contains("asked again in")),
        "{said:?} {held}"
    );
    let view = site.host.views().remove(0);
    assert_eq!(view.state, "down");
    assert!(view.why.unwrap().contains("left alone"));
    let sample = |name: &str| site.host.samples().into_iter().find(|sample| sample.name == name).unwrap().value;
    let numbers = ["ark_channel_breaker_open", "ark_channel_breaker_opened_total", "ark_channel_calls_held_total"];
    assert!(numbers.iter().all(|name| (sample(name) - 1.0).abs() < f64::EPSILON));
}

#[tokio::test]
async fn files_are_fetched_checked_and_never_from_where_a_redirect_leads_astray() {
    let mut png = std::io::Cursor::new(Vec::new());
    image::DynamicImage::new_rgb8(3, 2).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let good = answer("200 OK", "content-type: image/png\r\n", png.get_ref());
    let moved = answer("302 Found", "location: /2\r\n", b"");
    let astray = answer("302 Found", "location: http://127.0.0.1:1/secret\r\n", b"");
    let (base, _asked) = provider(vec![moved, good, astray, answer("404 Not Found", "", b"")]).await;
    fn want(input: &In) -> Vec<Out> {
        let In::HttpRequest { request, http } = input else { return Vec::new() };
        let url = String::from_utf8(http.body.clone()).unwrap();
        let reply = HttpReply::text(202, "");
        vec![
            Out::HttpReply { request: *request, reply },
            Out::Fetch { fetch: *request, from: Box::new(get(url)), what: FileKind::Image, name: None },
        ]
    }
    let mut site = Site::start(want, Hosts::new([base.clone()]));
    let mut answers = Vec::new();
    for _ in 0..3 {
        assert_eq!(site.host.ask("shop", hook(&format!("{base}/1"))).await.unwrap().status, 202);
        answers.push(site.hear(|input| if let In::Fetched { answer, .. } = input { Some(answer) } else { None }).await);
    }
    let media = answers.remove(0).unwrap();
    assert_eq!((media.mime.as_str(), media.width, media.height), ("image/png", Some(3), Some(2)));
    assert!(site.host.files().read(&media.reference).await.is_ok());
    assert_eq!(answers[0], Err(FetchFailure::Forbidden));
    assert_eq!(answers[1], Err(FetchFailure::Away("status 404".to_owned())));
}

#[tokio::test]
async fn a_file_that_is_too_long_is_given_up_at_its_bound() {
    let (base, _asked) = provider(vec![answer("200 OK", "", &[7; 11]), answer("200 OK", "", &[7; 10])]).await;
    let wire = Wire::new(Hosts::new([base.clone()]));
    assert!(matches!(wire.fetch(get(format!("{base}/1")), 10).await, Err(wire::NoFile::TooLong)));
    assert_eq!(wire.fetch(get(format!("{base}/1")), 10).await.ok().map(|reply| reply.body.len()), Some(10));
}

#[tokio::test]
async fn a_token_is_shared_until_it_is_about_to_end_or_was_refused() {
    fn ask(input: &In) -> Vec<Out> {
        let In::HttpRequest { request, http } = input else { return Vec::new() };
        let text = String::from_utf8(http.body.clone()).unwrap();
        let out = match text.split_once(' ') {
            Some(("have", seconds)) => {
                let expires_at = Timestamp::now() + jiff::SignedDuration::from_secs(seconds.parse().unwrap());
                Out::Token { name: "t", token: Token { value: seconds.to_owned(), expires_at } }
            }
            Some((_, stale)) => Out::NeedToken { name: "t", stale: Some(stale.to_owned()) },
            None => Out::NeedToken { name: "t", stale: None },
        };
        vec![out, Out::HttpReply { request: *request, reply: HttpReply::text(202, "") }]
    }
    let mut site = Site::start(ask, Hosts::default());
    // What is asked, and whether it is to be fetched.
    let steps = [
        ("need", true),
        ("need", false),
        ("have 59", false),
        ("need", true),
        ("have 3600", false),
        ("need", false),
        ("refused 59", false),
        ("refused 3600", true),
    ];
    for (ask, fetch) in steps {
        site.host.ask("shop", hook(ask)).await.unwrap();
        site.hear(|input| matches!(input, In::HttpRequest { .. }).then_some(())).await;
        let mut fetched = false;
        while let Ok(input) = site.heard.try_recv() {
            fetched |= matches!(input, In::RefreshToken { .. });
        }
        assert_eq!(fetched, fetch, "{ask}");
    }
}

#[tokio::test]
async fn a_socket_is_opened_spoken_on_and_its_end_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        socket.send("ping".into()).await.unwrap();
        let answer = socket.next().await.unwrap().unwrap();
        socket.close(None).await.unwrap();
        answer.into_text().unwrap().to_string()
    });
    fn stream(input: &In) -> Vec<Out> {
        match input {
            In::HttpRequest { request, http } => {
                let url = String::from_utf8(http.body.clone()).unwrap();
                let reply = HttpReply::text(202, "");
                vec![Out::HttpReply { request: *request, reply }, Out::OpenSocket { socket: 7, url }]
            }
            In::Frame { socket, frame: Frame::Text(text) } if text == "ping" => {
                vec![Out::Frame { socket: *socket, frame: Frame::Text("pong".to_owned()) }]
            }
            _ => Vec::new(),
        }
    }
    let mut site = Site::start(stream, Hosts::new([format!("http://{address}")]));
    site.host.ask("shop", hook(&format!("ws://{address}/connect?ticket=1"))).await.unwrap();
    site.hear(|input| matches!(input, In::SocketOpen { socket: 7, asked: None }).then_some(())).await;
    site.hear(|input| matches!(input, In::SocketClosed { socket: 7, .. }).then_some(())).await;
    assert_eq!(tokio::time::timeout(PATIENCE, server).await.unwrap().unwrap(), "pong");
    site.host.ask("shop", hook("ws://127.0.0.1:1/")).await.unwrap();
    site.hear(|input| matches!(input, In::SocketClosed { socket: 7, .. }).then_some(())).await;
}

/// One gateway of a site with a WeChat account at the providers that are played.
struct Desk {
    host: Arc<ChannelHost>,
    tasks: Tasks,
    store: Arc<dyn Store>,
}

impl Desk {
    fn start(gateway: &str, folder: &std::path::Path, providers: &Providers, store: &Arc<dyn Store>) -> Self {
        let channels = providers.channels(&[Provider::WeChat], &folder.join("secrets")).unwrap();
        let account = account(&channels[0], &Tenant::MAIN).unwrap();
        let keeper = Keeper {
            store: Arc::clone(store),
            away: false.into(),
            fails: StdMutex::default(),
            taken: StdMutex::default(),
        };
        let config = HostConfig {
            tenant: Tenant::MAIN,
            gateway: gateway.to_owned(),
            store: Arc::clone(store),
            bus: None,
            broker: None,
            inlet: Arc::new(keeper),
            live: Arc::new(Nowhere),
            files: Files::new(folder.join("attachments")),
            saved: folder.join(gateway),
        };
        let (host, tasks) = ChannelHost::start(config, vec![account]);
        Self { host, tasks, store: Arc::clone(store) }
    }

    /// The customer writes, the house answers; what the customer was shown.
    async fn serves(&self, providers: &Providers, shown: &mut mpsc::Receiver<Shown>, text: &str) -> String {
        let request = providers.delivery(Provider::WeChat, text);
        let reply = self.host.ask(Provider::WeChat.account(), request).await.expect("the account is there");
        assert_eq!(reply.status, 200, "{reply:?}");
        let conversation = ConversationId::new(1, 1);
        let sender = Party { role: PartyRole::Agent, id: Pii::new("anna"), kind: None, display: None };
        let (thread, parts) = ("oDEMO-anna".to_owned(), vec![Part::text(text)]);
        let out =
            MessageOut { thread: thread.clone(), conversation, epoch: 1, sender, parts, reply_to: None, leg: None };
        let source = source::thread(&Tenant::MAIN, "wechat-mp", Provider::WeChat.account(), &thread);
        let event = CloudEvent::new(text, source.clone(), Timestamp::now(), out);
        let delivery = NewDelivery {
            tenant: Tenant::MAIN,
            adapter: "wechat-mp".to_owned(),
            key: text.to_owned(),
            order_key: source,
            conversation,
            body: serde_json::to_value(&event).unwrap(),
            not_before: None,
        };
        self.store.commit(Commit { deliveries: vec![delivery], ..Commit::default() }).await.unwrap();
        self.host.wake();
        tokio::time::timeout(PATIENCE * 2, shown.recv()).await.expect("in time").expect("the provider is there").text
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateways_of_a_site_share_one_token_that_one_of_them_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let (providers, mut shown) = Providers::start().await.unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path().join("ark.db")).unwrap());
    let one = Desk::start("gw1", folder.path(), &providers, &store);
    assert_eq!(one.serves(&providers, &mut shown, "from one").await, "from one");
    assert_eq!(providers.tokens_given(Provider::WeChat), 1);
    // Another gateway comes, and the first goes: what it fetched is still good.
    let two = Desk::start("gw2", folder.path(), &providers, &store);
    one.tasks.stop().await;
    assert_eq!(two.serves(&providers, &mut shown, "from two").await, "from two");
    assert_eq!(providers.tokens_given(Provider::WeChat), 1, "the second gateway has the first one's");
    // The provider refuses it: another is fetched, once, and the message arrives.
    providers.forget_tokens(Provider::WeChat);
    assert_eq!(two.serves(&providers, &mut shown, "and on").await, "and on");
    assert_eq!(providers.tokens_given(Provider::WeChat), 2);
    two.tasks.stop().await;
}
