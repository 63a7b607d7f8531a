//! The socket: who may open one, that it resumes without gap or double, and that one who does not read is told and cut.

use std::net::SocketAddr;

use ark::http::{Web, serve};
use ark_conversation::event::PlanRefused;
use ark_conversation::{ConversationId, Event};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message, handshake::client::Request as Handshake};

use super::*;

/// A web face on a port of its own.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    pub(super) web: Arc<Web>,
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    pub(super) async fn start(web: Arc<Web>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let router = router(Arc::clone(&web));
        let sockets = Arc::clone(&web);
        let stopped = async move {
            drop(stopped.await);
            sockets.close_sockets();
        };
        let task = tokio::spawn(async move { serve(listener, None, router, stopped).await.unwrap() });
        Self { address, web, stop, task }
    }

    fn request(&self, headers: &[(&'static str, &str)]) -> Handshake {
        let mut request = format!("ws://{}/api/v1/socket", self.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        request
    }

    pub(super) async fn open(&self, headers: &[(&'static str, &str)]) -> Result<Client, Error> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(self.request(headers), stream).await?;
        Ok(Client(socket))
    }

    /// A client that may come in and has been welcomed.
    async fn client(&self) -> Client {
        let mut client = self.open(&[("authorization", &format!("Bearer {TOKEN}"))]).await.unwrap();
        assert_eq!(client.next().await["type"], "welcome");
        client
    }

    pub(super) fn refused(opened: Result<Client, Error>) -> u16 {
        match opened {
            Err(Error::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it was let in"),
        }
    }
}

pub(super) struct Client(WebSocketStream<TcpStream>);

impl Client {
    pub(super) async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next message; `null` with the close code at the end.
    pub(super) async fn next(&mut self) -> Value {
        let next = async {
            loop {
                match self.0.next().await.unwrap().unwrap() {
                    Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                    Message::Close(frame) => return json!({ "closed": frame.map(|frame| u16::from(frame.code)) }),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("a message in time")
    }

    /// Reads so many records; their positions and themselves.
    pub(super) async fn records(&mut self, count: usize) -> Vec<(u64, Value)> {
        let mut records = Vec::new();
        while records.len() < count {
            let message = self.next().await;
            if message["type"] == "record" {
                records.push((message["record"]["position"].as_u64().unwrap(), message["record"].clone()));
            } else {
                assert_eq!(message["type"], "caught_up", "{message}");
            }
        }
        records
    }
}

#[tokio::test]
async fn a_socket_opens_with_the_token_and_to_the_own_page_only() {
    let made = Made::new("socket-open");
    let served = Served::start(made.web()).await;
    let own = format!("http://{}", served.address);
    let cookie = format!("ark_session={}", {
        let page = Request::get(format!("/?token={TOKEN}")).body(Body::empty()).unwrap();
        let answer = ask(&router(Arc::clone(&served.web)), page).await;
        let set = answer.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
        set.split(['=', ';']).nth(1).unwrap().to_owned()
    });
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(Served::refused(served.open(&[("authorization", "Bearer wrong")]).await), 401);
    for foreign in ["http://evil.example", "null"] {
        assert_eq!(Served::refused(served.open(&[("origin", foreign), ("cookie", &cookie)]).await), 403, "{foreign}");
        assert_eq!(Served::refused(served.open(&[("origin", foreign), ("authorization", &bearer)]).await), 403);
    }
    for headers in
        [vec![("authorization", bearer.as_str())], vec![("origin", own.as_str()), ("cookie", cookie.as_str())]]
    {
        assert_eq!(served.open(&headers).await.unwrap().next().await["type"], "welcome", "{headers:?}");
    }
    // Without a header the token is the first message.
    let mut late = served.open(&[]).await.unwrap();
    late.say(json!({ "type": "hello", "token": TOKEN })).await;
    let welcome = late.next().await;
    assert_eq!((welcome["type"].as_str(), welcome["gateway"].as_str()), (Some("welcome"), Some("gw1")));
    for (first, words) in [
        (json!({ "type": "hello", "token": "wrong" }), "the first message must be"),
        (json!({ "type": "subscribe" }), "the first message must be"),
        (json!({ "type": "sing" }), "not understood"),
    ] {
        let mut stranger = served.open(&[]).await.unwrap();
        stranger.say(first).await;
        let error = stranger.next().await;
        assert!(error["type"] == "error" && error["message"].as_str().unwrap().contains(words), "{error}");
        assert_eq!(stranger.next().await["closed"], 1008);
    }
    let plain = ask(&router(Arc::clone(&served.web)), get("/api/v1/socket")).await;
    assert_eq!(plain.status(), StatusCode::BAD_REQUEST, "no WebSocket");
    let mut twice = served.client().await;
    twice.say(json!({ "type": "subscribe" })).await;
    assert_eq!(twice.next().await["type"], "caught_up");
    twice.say(json!({ "type": "subscribe" })).await;
    assert!(twice.next().await["message"].as_str().unwrap().contains("a second time"));
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn a_socket_goes_on_where_it_was_without_gap_or_double() {
    let made = Made::new("socket-resume");
    let served = Served::start(made.web()).await;
    let (a, b) = (conversation(60, 1), conversation(60, 2));
    let count = usize::try_from(made.tell_the_story(a).await).unwrap();
    let mut fresh = served.client().await;
    fresh.say(json!({ "type": "subscribe" })).await;
    assert_eq!(fresh.next().await["type"], "caught_up", "who names no position begins now");
    let mut first = served.client().await;
    first.say(json!({ "type": "subscribe", "after": 0 })).await;
    let writer = {
        let made = Arc::clone(&made);
        tokio::spawn(async move { made.tell_the_story(b).await })
    };
    // A reader that goes away in the middle, and comes back with the last position that it has, twice.
    let mut seen = first.records(count + 3).await;
    drop(first);
    for more in [5, count - 8] {
        let mut again = served.client().await;
        again.say(json!({ "type": "subscribe", "after": seen.last().unwrap().0 })).await;
        seen.extend(again.records(more).await);
    }
    writer.await.unwrap();
    assert_eq!(seen[count..], fresh.records(count).await, "who came later sees the same, from then on");
    let history = json(ask(&router(Arc::clone(&served.web)), get("/api/v1/history?limit=500")).await).await;
    let whole: Vec<Value> = seen.iter().map(|(_, record)| record.clone()).collect();
    assert_eq!(Value::from(whole), history["records"]);

    let mut some = served.client().await;
    some.say(json!({ "type": "subscribe", "after": 0, "types": ["ark.dtmf"], "full_numbers": true })).await;
    let mut keys = 0;
    let up_to = loop {
        let message = some.next().await;
        if message["type"] != "record" {
            break message;
        }
        assert_eq!(message["record"]["event"]["type"], "ark.dtmf.v1");
        keys += 1;
    };
    assert!(keys >= 2, "one of each conversation at least");
    assert_eq!((up_to["type"].as_str(), up_to["position"].as_u64()), (Some("caught_up"), Some(seen.last().unwrap().0)));

    // The gateway stops.
    let stopping = std::time::Instant::now();
    served.stop.send(()).unwrap();
    assert_eq!(some.next().await["type"], "end");
    assert_eq!(some.next().await["closed"], 1001);
    drop((some, fresh));
    tokio::time::timeout(PATIENCE, served.task).await.expect("it ends").unwrap();
    assert!(stopping.elapsed() < Duration::from_secs(5));
    std::fs::remove_dir_all(&made.folder).unwrap();
}

/// A desk's socket that is cut a thousand times, at every point of its life, while the log grows: each record once, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_is_dropped_a_thousand_times_loses_nothing_and_doubles_nothing() {
    const DROPS: u64 = 1_000;
    let made = Made::new("socket-drops");
    let served = Served::start(made.web()).await;
    let id = conversation(60, 1);
    let mut seen: Vec<(u64, Value)> = Vec::new();
    let mut written = 0_usize;
    for round in 0..DROPS {
        for _ in 0..2 {
            made.append(id, 1.0, samples_key()).await;
            written += 1;
        }
        let after = seen.last().map_or(0, |(position, _)| *position);
        let mut client = served.client().await;
        // A cut before it says anything, right after it asked, and in the middle of what it is told.
        let reads = match round % 4 {
            0 => continue,
            1 => 0,
            2 => 1,
            _ => written - seen.len(),
        };
        client.say(json!({ "type": "subscribe", "after": after, "live": true })).await;
        let at = |seen: &[(u64, Value)]| seen.last().map_or(0, |(position, _)| *position);
        while (reads > 0 && at(&seen) == after) || (reads > 1 && seen.len() < written) {
            let message = client.next().await;
            if message["type"] == "record" {
                seen.push((message["record"]["position"].as_u64().unwrap(), message["record"].clone()));
            }
        }
    }
    let mut last = served.client().await;
    last.say(json!({ "type": "subscribe", "after": seen.last().unwrap().0 })).await;
    seen.extend(last.records(written - seen.len()).await);
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, none twice");
    let numbers: Vec<u64> = seen.iter().map(|(_, record)| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=written as u64).collect::<Vec<_>>(), "none is missing");
    std::fs::remove_dir_all(&made.folder).unwrap();
}

/// How soon an event is at an open desk after it is durable, at 500 a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_reaches_an_open_socket_soon_after_it_is_durable() {
    const WRITERS: u64 = 10;
    const EACH: u64 = 100;
    const EVERY: Duration = Duration::from_millis(20);
    let made = Made::new("socket-soon");
    let served = Served::start(made.web()).await;
    let mut client = served.client().await;
    client.say(json!({ "type": "subscribe", "live": true })).await;
    assert_eq!(client.next().await["type"], "caught_up");
    let began = tokio::time::Instant::now();
    let (durable, mut told) = tokio::sync::mpsc::channel(4_096);
    for writer in 0..WRITERS {
        let (made, durable) = (Arc::clone(&made), durable.clone());
        tokio::spawn(async move {
            let first = began + EVERY * u32::try_from(writer).unwrap() / u32::try_from(WRITERS).unwrap();
            let mut turn = tokio::time::interval_at(first, EVERY);
            for _ in 0..EACH {
                turn.tick().await;
                let event = made.append(conversation(60, u128::from(writer)), 1.0, samples_key()).await.event;
                durable.send((event.id, std::time::Instant::now())).await.unwrap();
            }
        });
    }
    drop(durable);
    let mut here = std::collections::HashMap::new();
    while here.len() < usize::try_from(WRITERS * EACH).unwrap() {
        let (_, record) = client.records(1).await.remove(0);
        here.insert(record["event"]["id"].as_str().unwrap().to_owned(), std::time::Instant::now());
    }
    let took = began.elapsed();
    let mut waits = Vec::new();
    while let Some((id, at)) = told.recv().await {
        waits.push(here[&id].saturating_duration_since(at));
    }
    waits.sort();
    let of = |share: usize| waits[(waits.len() * share / 100).min(waits.len() - 1)].as_secs_f64() * 1_000.0;
    let rate = waits.len() as f64 / took.as_secs_f64();
    println!(
        "an event at an open socket after it is durable, at {rate:.0}/s: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        of(50),
        of(99),
        of(100)
    );
    // The figure is of a release build on a machine that does nothing else; here only what is out of all proportion fails.
    assert!(cfg!(debug_assertions) || of(99) < 50.0, "p99 {:.1} ms", of(99));
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_told_and_cut_and_goes_on_later() {
    const LARGE: u64 = 120;
    let made = Made::new("socket-slow");
    let patience = Duration::from_secs(2);
    let served = Served::start(made.web_with_patience(patience)).await;
    for n in 0..LARGE {
        let event = PlanRefused {
            plan: format!("p{n}"),
            sha256: String::new(),
            live: None,
            reason: "x".repeat(200_000),
            findings: 1,
            by: "test".into(),
        };
        made.append(ConversationId::SYSTEM, 0.0, Event::from(event)).await;
    }
    let mut slow = served.client().await;
    slow.say(json!({ "type": "subscribe", "after": 0 })).await;
    // It reads nothing until another one, which does, has seen all of it and long more.
    let mut quick = served.client().await;
    quick.say(json!({ "type": "subscribe", "after": 0 })).await;
    let all = quick.records(usize::try_from(LARGE).unwrap()).await;
    let begun = std::time::Instant::now();
    while begun.elapsed() < patience * 3 {
        made.append(conversation(60, 1), 1.0, samples_key()).await;
        quick.records(1).await;
    }
    let mut seen = Vec::new();
    let end = loop {
        let message = slow.next().await;
        if message["type"] != "record" {
            break message;
        }
        seen.push(message["record"]["position"].as_u64().unwrap());
    };
    assert_eq!(end["type"], "slow", "{end}");
    assert_eq!(slow.next().await["closed"], 1013);
    assert!(!seen.is_empty() && seen.len() < all.len(), "{} of {}", seen.len(), all.len());
    let mut again = served.client().await;
    again.say(json!({ "type": "subscribe", "after": seen.last() })).await;
    let rest = again.records(all.len() - seen.len()).await;
    seen.extend(rest.iter().map(|(position, _)| *position));
    assert_eq!(seen, all.iter().map(|(position, _)| *position).collect::<Vec<_>>());
    std::fs::remove_dir_all(&made.folder).unwrap();
}

fn samples_key() -> Event {
    ark_conversation::event::Dtmf {
        leg: LegId(1),
        digit: Some('1'),
        masked: false,
        how: ark_conversation::event::DtmfHow::Rfc4733,
        duration_ms: None,
    }
    .into()
}

#[tokio::test]
async fn an_api_token_opens_a_socket_for_what_it_is_good_for_and_the_socket_ends_with_it() {
    let made = Made::new("socket-token");
    let served = Served::start(made.web()).await;
    let api = router(Arc::clone(&served.web));
    let make = async |name: &str, scope: &str| {
        let new = json!({ "name": name, "scopes": [scope] }).to_string();
        let request = Request::post("/api/v1/tokens")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header(header::CONTENT_TYPE, "application/json");
        let answer = ask(&api, request.body(Body::from(new)).unwrap()).await;
        json(answer).await["token"].as_str().unwrap().to_owned()
    };
    let (calls, reads) = (make("phone", "calls").await, make("desk", "conversations:read").await);
    assert_eq!(Served::refused(served.open(&[("authorization", &format!("Bearer {calls}"))]).await), 403);
    let mut other = served.open(&[]).await.unwrap();
    other.say(json!({ "type": "hello", "token": calls })).await;
    assert!(other.next().await["message"].as_str().unwrap().contains("`conversations:read`"));
    let mut curious = served.open(&[("authorization", &format!("Bearer {reads}"))]).await.unwrap();
    assert_eq!(curious.next().await["type"], "welcome");
    curious.say(json!({ "type": "subscribe", "full_numbers": true })).await;
    assert!(curious.next().await["message"].as_str().unwrap().contains("`numbers`"));

    let mut desk = served.open(&[]).await.unwrap();
    desk.say(json!({ "type": "hello", "token": reads })).await;
    assert_eq!(desk.next().await["type"], "welcome");
    desk.say(json!({ "type": "subscribe" })).await;
    assert_eq!(desk.next().await["type"], "caught_up");
    let revoke = Request::delete("/api/v1/tokens/desk").header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
    assert_eq!(ask(&api, revoke.body(Body::empty()).unwrap()).await.status(), StatusCode::OK);
    assert!(desk.next().await["message"].as_str().unwrap().contains("no good any more"));
    assert_eq!(desk.next().await["closed"], 1008);
    std::fs::remove_dir_all(&made.folder).unwrap();
}
