//! The web face: who may come in, what they see, and what they never miss.

#![allow(clippy::unwrap_used, reason = "tests")]

mod accounts;
#[allow(dead_code, reason = "the example of the page uses the rest")]
mod kit;
mod oidc;
mod socket;
mod tokens;
mod workbench;

use std::sync::Arc;
use std::time::Duration;

use ark::http::router;
use ark_conversation::event::RecordingFinished;
use ark_conversation::{Event, LegId, Tenant};
use axum::Router;
use axum::body::Body;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use kit::{Made, TOKEN, conversation};
use serde_json::Value;
use tower::ServiceExt as _;

const PATIENCE: Duration = Duration::from_secs(20);

async fn ask(router: &Router, request: Request<Body>) -> Response<Body> {
    router.clone().oneshot(request).await.unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).header(header::AUTHORIZATION, format!("Bearer {TOKEN}")).body(Body::empty()).unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn json(response: Response<Body>) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

/// Reads an event stream until `count` records came; their `seq`s.
async fn seqs(response: Response<Body>, count: usize) -> Vec<u64> {
    let mut body = response.into_body();
    let mut seen = String::new();
    while seen.matches("event: record").count() < count || !seen.ends_with("\n\n") {
        let frame = body.frame().await.unwrap().unwrap();
        seen.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap()));
    }
    seen.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
}

#[tokio::test]
async fn nothing_but_health_and_the_pages_files_is_open() {
    let made = Made::new("open");
    let router = router(made.web());
    let open = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    for path in ["/", "/healthz", "/assets/app.js", "/assets/tokens.css"] {
        assert_eq!(ask(&router, open(path)).await.status(), StatusCode::OK, "{path}");
    }
    for path in
        ["/operations", "/metrics", "/api/v1/calls", "/api/v1/events", "/api/v1/openapi.json", "/api/v1/conversations"]
    {
        assert_eq!(ask(&router, open(path)).await.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    let wrong =
        Request::get("/api/v1/calls").header(header::AUTHORIZATION, "Bearer wrong").body(Body::empty()).unwrap();
    assert_eq!(ask(&router, wrong).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&router, get("/api/v1/calls")).await.status(), StatusCode::OK);
    assert_eq!(ask(&router, get("/api/v1/nothing")).await.status(), StatusCode::NOT_FOUND);
    let ready = ask(&router, open("/readyz")).await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!text(ready).await.contains("secret"));
    assert!(text(ask(&router, get("/readyz")).await).await.contains("no space left"));
    assert!(text(ask(&router, get("/metrics")).await).await.contains("ark_calls 3\n"));
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn a_link_with_the_token_becomes_a_cookie_that_only_this_page_can_use() {
    let made = Made::new("cookie");
    let router = router(made.web());
    let link = Request::get(format!("/?token={TOKEN}")).body(Body::empty()).unwrap();
    let answer = ask(&router, link).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(answer.headers()[header::LOCATION], "/");
    let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(TOKEN), "the cookie is not the token");
    let cookie = cookie.split(';').next().unwrap().to_owned();

    let page = Request::get("/operations").header(header::COOKIE, &cookie).body(Body::empty()).unwrap();
    let page = ask(&router, page).await;
    assert_eq!(page.status(), StatusCode::OK);
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(policy.contains("script-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let html = text(page).await;
    assert!(
        !html.contains("style=") && !html.contains("onclick") && !html.contains("<script>"),
        "the policy forbids it"
    );

    let hang_up = |origin: Option<&str>| {
        let mut request = Request::post("/api/v1/calls/X/hangup")
            .header(header::COOKIE, &cookie)
            .header(header::HOST, "ark.test:8080");
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        request.body(Body::empty()).unwrap()
    };
    assert_eq!(ask(&router, hang_up(None)).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(ask(&router, hang_up(Some("http://evil.test"))).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(*made.hung_up.lock().unwrap(), Vec::<String>::new());
    assert_eq!(ask(&router, hang_up(Some("http://ark.test:8080"))).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(*made.hung_up.lock().unwrap(), ["X"]);
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn numbers_are_masked_unless_they_are_asked_for() {
    let made = Made::new("mask");
    let router = router(made.web());
    let id = conversation(60, 1);
    made.tell_the_story(id).await;
    let base = format!("/api/v1/conversations/{id}");
    for path in ["/api/v1/conversations".to_owned(), base.clone(), format!("{base}/events?limit=500")] {
        let shown = text(ask(&router, get(&path)).await).await;
        assert!(shown.contains("+86 138****12") && !shown.contains("13800001212"), "{path}: {shown}");
        let mark = if path.contains('?') { '&' } else { '?' };
        let full = text(ask(&router, get(&format!("{path}{mark}numbers=full"))).await).await;
        assert!(full.contains("+8613800001212"), "{path}");
    }
    assert_eq!(ask(&router, get("/api/v1/conversations?colour=red")).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(ask(&router, get("/api/v1/conversations/nonsense")).await.status(), StatusCode::BAD_REQUEST);
    let unknown = format!("/api/v1/conversations/{}/events", conversation(1, 7));
    assert_eq!(ask(&router, get(&unknown)).await.status(), StatusCode::NOT_FOUND);
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn a_stream_gives_each_record_once_and_in_order_from_where_the_reader_was() {
    let made = Made::new("stream");
    let router = router(made.web());
    let id = conversation(60, 1);
    let count = made.tell_the_story(id).await;
    let path = format!("/api/v1/events?conversation={id}");
    let whole = ask(&router, get(&path)).await;
    assert_eq!(whole.headers()[header::CONTENT_TYPE], "text/event-stream");
    let more = made.store.read(&Tenant::default(), id, 0, 1).await.unwrap().remove(0).event.event;
    made.append(id, 99.0, more).await;
    let expected: Vec<u64> = (1..=count + 1).collect();
    assert_eq!(seqs(whole, expected.len()).await, expected);
    assert_eq!(seqs(ask(&router, get(&format!("{path}&after_seq={}", count - 1))).await, 2).await, [count, count + 1]);
    let mut resumed = get(&path);
    resumed.headers_mut().insert("last-event-id", count.into());
    assert_eq!(seqs(ask(&router, resumed).await, 1).await, [count + 1]);
    std::fs::remove_dir_all(&made.folder).unwrap();
}

/// Reads a stream of the whole log until `count` records came: each with its position.
async fn placed(response: Response<Body>, count: usize) -> Vec<(u64, Value)> {
    let mut body = response.into_body();
    let (mut text, mut records) = (String::new(), Vec::new());
    while records.len() < count {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
        text.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap()));
        while let Some((block, rest)) = text.split_once("\n\n") {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim();
            if field("event:") == "record" {
                let record: Value = serde_json::from_str(field("data:")).unwrap();
                assert_eq!(record["position"].to_string(), field("id:"));
                records.push((field("id:").parse().unwrap(), record));
            }
            text = rest.to_owned();
        }
    }
    records
}

#[tokio::test]
async fn the_whole_log_is_followed_from_a_position_without_gap_or_double() {
    let made = Made::new("feed");
    let router = router(made.web());
    let (a, b) = (conversation(60, 1), conversation(60, 2));
    let count = usize::try_from(made.tell_the_story(a).await).unwrap();
    let whole = ask(&router, get("/api/v1/events?after=0")).await;
    let fresh = ask(&router, get("/api/v1/events")).await;
    let writer = {
        let made = Arc::clone(&made);
        tokio::spawn(async move { made.tell_the_story(b).await })
    };
    // A reader that goes away in the middle, and comes back with the last id it saw, twice.
    let mut seen = placed(whole, count + 3).await;
    for more in [5, count - 8] {
        let mut resumed = get("/api/v1/events?after=0");
        resumed.headers_mut().insert("last-event-id", seen.last().unwrap().0.into());
        seen.extend(placed(ask(&router, resumed).await, more).await);
    }
    writer.await.unwrap();
    let live = placed(fresh, count).await;
    assert_eq!(seen[count..], live, "who came later sees the same, from then on");
    assert!(seen.is_sorted_by(|x, y| x.0 < y.0));
    for (id, records) in [(a, &seen[..count]), (b, &live[..])] {
        for (record, seq) in records.iter().zip(1_u64..) {
            assert_eq!((&record.1["conversation"], &record.1["seq"]), (&id.to_string().into(), &seq.into()));
        }
    }
    let types = ask(&router, get("/api/v1/events?after=0&types=ark.call.ringing.v1,ark.dtmf")).await;
    let of_types = placed(types, 4).await;
    let kind = |record: &Value| record["event"]["type"].as_str().unwrap().to_owned();
    assert!(of_types.iter().all(|(_, one)| ["ark.call.ringing.v1", "ark.dtmf.v1"].contains(&kind(one).as_str())));
    for wrong in ["after_seq=1", &format!("conversation={a}&after=1"), &format!("conversation={a}&types=x"), "after=x"]
    {
        assert_eq!(
            ask(&router, get(&format!("/api/v1/events?{wrong}"))).await.status(),
            StatusCode::BAD_REQUEST,
            "{wrong}"
        );
    }
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn the_history_is_read_in_pages_or_as_lines_up_to_its_end() {
    let made = Made::new("history");
    let router = router(made.web());
    let count = made.tell_the_story(conversation(60, 1)).await + made.tell_the_story(conversation(60, 2)).await;
    let (mut paged, mut after) = (Vec::new(), 0);
    loop {
        let page = json(ask(&router, get(&format!("/api/v1/history?after={after}&limit=7"))).await).await;
        after = page["next"].as_u64().unwrap();
        paged.extend(page["records"].as_array().unwrap().clone());
        if page["end"] == true {
            break;
        }
    }
    assert_eq!(paged.len() as u64, count);
    let lines = |path: &str| {
        let mut request = get(path);
        request.headers_mut().insert(header::ACCEPT, "application/x-ndjson".parse().unwrap());
        request
    };
    let answer = ask(&router, lines("/api/v1/history")).await;
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/x-ndjson");
    let whole = text(answer).await;
    let whole: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(whole, paged, "the same in the same order");
    assert!(paged.iter().all(|one| !one.to_string().contains("13800001212")), "numbers are masked");
    let full = text(ask(&router, lines("/api/v1/history?numbers=full&types=ark.call")).await).await;
    assert!(full.contains("+8613800001212") && full.lines().all(|line| line.contains("\"ark.call.")), "{full}");
    let rest = text(ask(&router, lines(&format!("/api/v1/history?after={}", whole[9]["position"]))).await).await;
    assert_eq!(rest.lines().count() as u64, count - 10);
    assert_eq!(text(ask(&router, lines(&format!("/api/v1/history?after={after}"))).await).await, "");
    let open = Request::get("/api/v1/history").body(Body::empty()).unwrap();
    assert_eq!(ask(&router, open).await.status(), StatusCode::UNAUTHORIZED);
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn webhooks_are_seen_tried_and_taken_up_again_over_the_api() {
    let made = Made::new("webhooks");
    let router = router(made.web());
    let post = |path: &str| {
        let request = Request::post(path).header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        request.body(Body::empty()).unwrap()
    };
    assert_eq!(ask(&router, get("/api/v1/webhooks")).await.status(), StatusCode::NOT_FOUND, "none are running");
    let secret = made.folder.join("secret");
    std::fs::write(&secret, "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    // A port that nobody listens on: it was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let site = format!(
        "[[webhook]]\nname = \"crm\"\nurl = \"http://127.0.0.1:{port}/x?key=hunter2\"\nallow_private = true\n\
         secrets = [{{ file = \"{}\" }}]\n",
        secret.display()
    );
    let (config, _) = ark::config::Config::parse(&site, "ark.toml").unwrap();
    let bounds = ark::webhooks::Bounds { attempts_max: 1, ..ark::webhooks::Bounds::default() };
    let (store, bus) = (Arc::clone(&made.store), Arc::clone(&made.bus));
    let (webhooks, running) = ark::webhooks::start(&config.webhook, "gw1", store, bus, &bounds).unwrap();
    *made.webhooks.lock().unwrap() = Some(webhooks);
    let begun = std::time::Instant::now();
    while made.store.reader(&Tenant::default(), "webhook:crm").await.unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE, "it has no place in the log");
        tokio::task::yield_now().await;
    }
    let tried = json(ask(&router, post("/api/v1/webhooks/crm/test")).await).await;
    assert!(tried["ok"] == false && tried["error"].as_str().unwrap().contains("refused"), "{tried}");
    made.tell_the_story(conversation(60, 1)).await;
    let dead = "/api/v1/webhooks/crm/deliveries?state=dead&limit=1";
    let begun = std::time::Instant::now();
    let one = loop {
        let page = json(ask(&router, get(dead)).await).await;
        if let Some(one) = page["deliveries"].get(0) {
            break one.clone();
        }
        assert!(begun.elapsed() < PATIENCE, "nothing is given up");
        tokio::task::yield_now().await;
    };
    let list = text(ask(&router, get("/api/v1/webhooks")).await).await;
    assert!(list.contains("\"crm\"") && list.contains("/x") && !list.contains("hunter2"), "{list}");
    let replay = format!("/api/v1/webhooks/deliveries/{}/replay", one["id"]);
    assert_eq!(json(ask(&router, post(&replay)).await).await["webhook"], "crm");
    assert_eq!(ask(&router, post("/api/v1/webhooks/crm/enable")).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(ask(&router, post("/api/v1/webhooks/crm/replay")).await.status(), StatusCode::OK);
    for path in ["crm2/test", "crm2/enable", "crm2/replay", "deliveries/999999/replay"] {
        let answer = ask(&router, post(&format!("/api/v1/webhooks/{path}"))).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(ask(&router, get("/api/v1/webhooks/crm2/deliveries")).await.status(), StatusCode::NOT_FOUND);
    let nonsense = ask(&router, post("/api/v1/webhooks/deliveries/x/replay")).await;
    assert_eq!(nonsense.status(), StatusCode::BAD_REQUEST);
    running.stop().await;
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn a_recording_is_an_attachment_that_a_player_can_seek_in() {
    let made = Made::new("recording");
    let router = router(made.web());
    let id = conversation(60, 1);
    std::fs::write(made.folder.join("files/recordings/a.wav"), b"0123456789").unwrap();
    let finished = |name: &str, reference: &str| -> Event {
        let event = ark_conversation::samples::story().into_iter().find_map(|event| match event {
            Event::RecordingFinished(event) => Some(event),
            _ => None,
        });
        RecordingFinished { leg: LegId(1), recording: name.into(), reference: reference.into(), ..event.unwrap() }
            .into()
    };
    made.append(id, 1.0, finished("a", "recordings/a.wav")).await;
    made.append(id, 2.0, finished("b", "../ark.db")).await;
    let path = |name: &str| format!("/api/v1/conversations/{id}/recordings/{name}");
    let whole = ask(&router, get(&path("a"))).await;
    assert_eq!(whole.headers()[header::CONTENT_TYPE], "audio/wav");
    assert!(whole.headers()[header::CONTENT_DISPOSITION].to_str().unwrap().starts_with("attachment"));
    assert_eq!(text(whole).await, "0123456789");
    let mut part = get(&path("a"));
    part.headers_mut().insert(header::RANGE, "bytes=2-4".parse().unwrap());
    let part = ask(&router, part).await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()[header::CONTENT_RANGE], "bytes 2-4/10");
    assert_eq!(text(part).await, "234");
    for name in ["b", "c", "..%2F..%2Fark.db", "%2Fetc%2Fpasswd"] {
        assert_eq!(ask(&router, get(&path(name))).await.status(), StatusCode::NOT_FOUND, "{name}");
    }
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn requests_are_small_and_understood() {
    let made = Made::new("requests");
    let router = router(made.web());
    let post = |path: &str, body: String| {
        Request::post(path)
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .unwrap()
    };
    let placed = ask(&router, post("/api/v1/calls", r#"{"to":"sip:1001@127.0.0.1:5080"}"#.into())).await;
    assert_eq!(placed.status(), StatusCode::ACCEPTED);
    let refused = ask(&router, post("/api/v1/calls", r#"{"to":"+861"}"#.into())).await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(json(refused).await["error"]["code"], "refused");
    let unknown = ask(&router, post("/api/v1/calls", r#"{"to":"sip:x@y","colour":"red"}"#.into())).await;
    assert!(unknown.status().is_client_error());
    let large = format!(r#"{{"source":"{}"}}"#, "x".repeat(2 << 20));
    let large = ask(&router, post("/api/v1/plans/p/publish", large)).await;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let published = ask(&router, post("/api/v1/plans/p/publish", "{}".into())).await;
    assert_eq!(json(published).await["version"], 4);
    let gone = ask(&router, post("/api/v1/plans/p/rollback", "{}".into())).await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn too_many_streams_are_refused_and_places_come_back() {
    let made = Made::new("streams");
    let router = router(made.web());
    let mut open = Vec::new();
    for _ in 0..ark::http::limits::STREAMS_MAX.min(64) {
        open.push(ask(&router, get("/api/v1/events")).await);
    }
    assert!(open.iter().all(|answer| answer.status() == StatusCode::OK));
    assert_eq!(Arc::strong_count(&made.bus), 1 + open.len());
    drop(open);
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[test]
fn every_event_has_words_in_both_languages() {
    let words = include_str!("../../src/http/assets/words.js");
    for name in Event::TYPES {
        assert!(words.contains(&format!("case \"{name}\"")), "{name} is shown by its type only");
    }
}

/// Relative luminance, WCAG 2.1.
fn luminance(colour: &str) -> f64 {
    let channel = |at: usize| {
        let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
        if value <= 0.039_28 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
}

#[test]
fn text_can_be_read_in_both_themes() {
    let tokens = include_str!("../../src/http/assets/tokens.css");
    let (light, dark) = tokens.split_once("[data-theme=\"dark\"] {").unwrap();
    for (theme, block) in [("light", light), ("dark", dark)] {
        let token = |name: &str| {
            let start =
                block.find(&format!("--{name}: #")).unwrap_or_else(|| panic!("{name} in {theme}")) + name.len() + 4;
            block[start..start + 7].to_owned()
        };
        for (ink, ground) in [
            ("ink", "bg"),
            ("ink", "surface"),
            ("ink-2", "surface"),
            ("ink-2", "sunken"),
            ("ink-3", "bg"),
            ("ink-3", "surface"),
            ("sea-ink", "sea"),
            ("ink", "sea-soft"),
            ("live", "live-soft"),
            ("wait", "wait-soft"),
            ("late", "late-soft"),
            ("late-ink", "late"),
            ("ink", "agent"),
            ("ink", "customer"),
            ("sea-text", "surface"),
        ] {
            let (a, b) = (luminance(&token(ink)), luminance(&token(ground)));
            let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
            assert!(contrast >= 4.5, "{theme}: {ink} on {ground} is {contrast:.2}");
        }
    }
}

#[tokio::test]
async fn what_is_erased_through_the_api_is_gone_with_its_file() {
    let made = Made::new("erase");
    let router = router(made.web());
    let order = |body: String| {
        Request::post("/api/v1/erasures")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .unwrap()
    };
    let id = conversation(60, 7);
    let ringing = ark_conversation::samples::ringing(LegId(1), ark_conversation::event::Role::Customer);
    made.append(id, 0.0, ringing.into()).await;
    let erase = format!(r#"{{"conversation": "{id}", "by": "anna"}}"#);
    let open = ask(&router, order(erase.clone())).await;
    assert_eq!(open.status(), StatusCode::UNPROCESSABLE_ENTITY, "{}", text(open).await);
    let file = made.folder.join("files/recordings/r1.wav");
    std::fs::write(&file, "RIFF").unwrap();
    let recorded = RecordingFinished {
        leg: LegId(1),
        recording: "r1".into(),
        reference: "recordings/r1.wav".into(),
        duration_ms: 1,
        bytes: 4,
        sha256: None,
        cause: ark_conversation::event::RecordingCause::Hangup,
        format: None,
        channels: Vec::new(),
    };
    made.append(id, 1.0, recorded.into()).await;
    made.append(id, 2.0, ark_conversation::samples::ended(LegId(1)).into()).await;
    let done = json(ask(&router, order(erase)).await).await;
    assert_eq!((&done["records"], &done["files"], &done["conversations"]), (&2.into(), &1.into(), &1.into()), "{done}");
    assert!(!file.exists());
    let log = text(ask(&router, get(&format!("/api/v1/conversations/{id}/events?numbers=full"))).await).await;
    assert!(log.contains("ark.erased.v1") && !log.contains("13800001212"), "{log}");
    let audit = made.store.audit(&Tenant::default(), Some(id), None, 10).await.unwrap();
    assert_eq!(audit[0].by, "anna");
    for bad in [
        r#"{"by": "anna"}"#.to_owned(),
        format!(r#"{{"conversation": "{id}", "person": "{id}", "by": "anna"}}"#),
        format!(r#"{{"conversation": "{id}", "by": ""}}"#),
        r#"{"person": "x", "by": "anna"}"#.to_owned(),
    ] {
        assert_eq!(ask(&router, order(bad.clone())).await.status(), StatusCode::BAD_REQUEST, "{bad}");
    }
    let nobody = order(format!(r#"{{"person": "{id}", "by": "anna"}}"#));
    assert_eq!(ask(&router, nobody).await.status(), StatusCode::NOT_FOUND);
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn what_the_embedded_bus_gave_up_is_seen_and_sent_again_over_the_api() {
    let made = Made::new("dead");
    let router = router(made.web());
    assert_eq!(json(ask(&router, get("/api/v1/bus/dead")).await).await["dead"], serde_json::json!([]));
    let wake_up = ark_bus::contract::wake_up(7, 1);
    let mut ingress = made.bus.ingress((0..made.bus.shards()).map(ark_bus::Shard).collect()).unwrap();
    made.bus.wake(wake_up.clone()).unwrap().await.unwrap();
    assert!(ingress.next().await.unwrap().park().await);
    let dead = json(ask(&router, get("/api/v1/bus/dead?limit=10")).await).await;
    assert_eq!((&dead["dead"][0]["id"], &dead["dead"][0]["reason"]), (&wake_up.id.clone().into(), &"rejected".into()));
    let replay = |body: String| {
        let request = Request::post("/api/v1/bus/replay").header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body)).unwrap()
    };
    assert_eq!(json(ask(&router, replay("{\"id\":\"none\"}".into())).await).await["sent"], 0);
    assert_eq!(json(ask(&router, replay("{}".into())).await).await["sent"], 1);
    assert_eq!(ingress.next().await.unwrap().wake_up.id, wake_up.id);
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn a_person_is_shown_with_all_channels_and_two_can_be_made_one_and_two_again() {
    use ark_conversation::{Assurance, IdentityKey, KeyKind, PersonId};
    let made = Made::new("person");
    let router = router(made.web());
    let (anna, also) = (PersonId::new(1, 1), PersonId::new(2, 2));
    let at = jiff::Timestamp::UNIX_EPOCH;
    for (person, kind, value, assurance) in [
        (anna, KeyKind::Phone, "+8613800001212", Assurance::Otp),
        (also, KeyKind::Alipay, "2088123412341234", Assurance::ChannelVerified),
    ] {
        let key = IdentityKey::new(kind, value);
        let new = ark_store::NewIdentity { tenant: Tenant::MAIN, key, assurance, person, at };
        made.store.identify(new).await.unwrap();
    }
    for (n, person) in [(1, anna), (2, also)] {
        let id = conversation(n, n as u128);
        made.append(id, 0.0, ark_conversation::samples::ended(LegId(1)).into()).await;
        let of = ark_store::PersonOf { tenant: Tenant::MAIN, conversation: id, person };
        let commit = ark_store::Commit { persons: vec![of], ..Default::default() };
        made.store.commit(commit).await.unwrap();
    }
    let shown = json(ask(&router, get("/api/v1/persons?kind=phone_e164&value=%2B8613800001212")).await).await;
    assert_eq!(shown["person"], anna.to_string().as_str());
    assert_eq!(shown["conversations"].as_array().unwrap().len(), 1);
    assert!(!shown.to_string().contains("13800001212"), "{shown}");
    let nobody = get("/api/v1/persons?kind=phone_e164&value=%2B8613900000000");
    assert_eq!(ask(&router, nobody).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(ask(&router, get("/api/v1/persons?kind=Phone&value=1")).await.status(), StatusCode::BAD_REQUEST);

    let order = |what: &str, who: PersonId, into: PersonId| {
        Request::post(format!("/api/v1/persons/{who}/{what}"))
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(format!(r#"{{"into": "{into}", "by": "wang"}}"#)))
            .unwrap()
    };
    let one = json(ask(&router, order("merge", also, anna)).await).await;
    assert_eq!((&one["person"], &one["merged"]), (&anna.to_string().into(), &also.to_string().into()), "{one}");
    assert_eq!((one["keys"].as_array().unwrap().len(), one["conversations"].as_array().unwrap().len()), (2, 2));
    assert_eq!(ask(&router, order("merge", also, anna)).await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(ask(&router, order("merge", PersonId::new(9, 9), anna)).await.status(), StatusCode::NOT_FOUND);
    let two = json(ask(&router, order("unmerge", also, anna)).await).await;
    assert_eq!((&two["person"], two["keys"].as_array().unwrap().len()), (&also.to_string().into(), 1), "{two}");
    let system = made.store.read(&Tenant::MAIN, ark_conversation::ConversationId::SYSTEM, 0, 10).await.unwrap();
    let told: Vec<&str> = system.iter().map(|record| record.event.type_name()).collect();
    assert_eq!(told, ["ark.person.merged.v1", "ark.person.unmerged.v1"]);
    std::fs::remove_dir_all(&made.folder).unwrap();
}
