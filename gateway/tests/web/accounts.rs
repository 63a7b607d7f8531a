//! Accounts: who signs in sees what is theirs, and nothing else is there for them.

use ark::config::Queue;
use ark_conversation::event::{OwnerAccepted, QueueJoined};
use ark_conversation::{ConversationId, LegId, Owner, samples};
use http::{Method, header};
use serde_json::json;

use super::socket::Served;
use super::*;

const HOST: &str = "ark.test:8080";

/// A browser: what it asks with.
#[derive(Default)]
struct Browser {
    cookie: Option<String>,
}

impl Browser {
    async fn send(&mut self, router: &Router, method: Method, path: &str, body: Option<Value>) -> Response<Body> {
        self.from(router, Some(&format!("http://{HOST}")), method, path, body).await
    }

    async fn from(
        &mut self,
        router: &Router,
        origin: Option<&str>,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, HOST);
        request = request.header(header::CONTENT_TYPE, "application/json");
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let answer = ask(router, request.body(body).unwrap()).await;
        if let Some(set) = answer.headers().get(header::SET_COOKIE) {
            self.cookie = Some(set.to_str().unwrap().split(';').next().unwrap().to_owned());
        }
        answer
    }

    async fn sign_in(&mut self, router: &Router, name: &str, password: &str) -> Response<Body> {
        self.send(router, Method::POST, "/api/v1/session", Some(json!({"name": name, "password": password}))).await
    }
}

fn own(method: Method, path: &str, body: &Value) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    request.header(header::AUTHORIZATION, format!("Bearer {TOKEN}")).body(Body::from(body.to_string())).unwrap()
}

fn queue(name: &str) -> Queue {
    serde_json::from_value(json!({"name": name, "operators": []})).unwrap()
}

fn site(name: &str) -> (Arc<Made>, Router) {
    let made = Made::new(name);
    *made.queues.lock().unwrap() = vec![queue("orders"), queue("care")];
    let router = router(made.web());
    (made, router)
}

async fn make(router: &Router, body: Value) {
    let made = ask(router, own(Method::POST, "/api/v1/accounts", &body)).await;
    assert_eq!(made.status(), StatusCode::CREATED, "{}", text(made).await);
}

/// An agent of the queue orders, who has signed in.
async fn anna(router: &Router) -> Browser {
    make(router, json!({"name": "anna", "password": "correct horse", "groups": ["orders"]})).await;
    let mut anna = Browser::default();
    assert_eq!(anna.sign_in(router, "anna", "correct horse").await.status(), StatusCode::OK);
    anna
}

/// A call that waited in a queue.
async fn call_in(made: &Made, random: u128, queue: &str) -> ConversationId {
    let id = conversation(60, random);
    for event in samples::story().into_iter().filter(|event| event.leg().is_some()).take(2) {
        made.append(id, 1.0, event).await;
    }
    made.append(id, 2.0, joined(queue)).await;
    id
}

#[tokio::test]
async fn the_first_administrator_comes_from_the_start_link_and_only_once() {
    let (made, router) = site("first");
    let mut browser = Browser::default();
    let nobody = browser.send(&router, Method::GET, "/api/v1/session", None).await;
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    let nobody = json(nobody).await;
    assert_eq!((&nobody["first"], &nobody["start_link"]), (&json!(true), &json!(false)));
    let first = json!({"name": "Root", "display": "Root 根", "password": "correct horse"});
    let stranger = browser.send(&router, Method::POST, "/api/v1/session/first", Some(first.clone())).await;
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);

    browser.send(&router, Method::GET, &format!("/?token={TOKEN}"), None).await;
    let may = json(browser.send(&router, Method::GET, "/api/v1/session", None).await).await;
    assert_eq!((&may["first"], &may["start_link"]), (&json!(true), &json!(true)));
    let foreign = Some("http://evil.test");
    let stolen = browser.from(&router, foreign, Method::POST, "/api/v1/session/first", Some(first.clone())).await;
    assert_eq!(stolen.status(), StatusCode::FORBIDDEN);
    let weak = json!({"name": "root", "password": "1234567890"});
    let weak = browser.send(&router, Method::POST, "/api/v1/session/first", Some(weak)).await;
    assert_eq!(weak.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let link = browser.cookie.clone();
    let made_first = browser.send(&router, Method::POST, "/api/v1/session/first", Some(first)).await;
    assert_eq!(made_first.status(), StatusCode::OK);
    let set = made_first.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(set.starts_with("ark_session=") && set.contains("; HttpOnly; SameSite=Strict"), "{set}");
    let account = json(made_first).await["account"].clone();
    assert_eq!(account["name"], "root");
    assert_eq!(account["roles"], json!(["agent", "supervisor", "operator", "integrator"]));
    assert_ne!(browser.cookie, link, "they go on as themselves");
    let who = json(browser.send(&router, Method::GET, "/api/v1/session", None).await).await;
    assert_eq!((&who["account"]["display"], &who["queues"]), (&json!("Root 根"), &json!(["orders", "care"])));

    let mut again = Browser { cookie: link };
    let second = json!({"name": "two", "password": "correct horse"});
    let second = again.send(&router, Method::POST, "/api/v1/session/first", Some(second)).await;
    assert_eq!(second.status(), StatusCode::CONFLICT);
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn wrong_names_and_passwords_sound_alike_and_are_limited() {
    let (made, router) = site("tries");
    make(&router, json!({"name": "anna", "password": "correct horse"})).await;
    let mut browser = Browser::default();
    let wrong = text(browser.sign_in(&router, "anna", "wrong horse").await).await;
    let unknown = browser.sign_in(&router, "nobody", "wrong horse").await;
    assert_eq!(unknown.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(text(unknown).await, wrong, "which of them it is, is not said");
    assert!(wrong.contains("wrong_name_or_password"));
    let body = json!({"name": "anna", "password": "correct horse"});
    let foreign = browser.from(&router, Some("http://evil.test"), Method::POST, "/api/v1/session", Some(body)).await;
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN, "no other site's page signs anybody in");
    let mut tries = 1;
    let limited = loop {
        let answer = browser.sign_in(&router, "anna", "wrong horse").await;
        tries += 1;
        if answer.status() != StatusCode::UNAUTHORIZED {
            break answer;
        }
        assert!(tries < 20, "no end of tries");
    };
    assert_eq!(limited.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = limited.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    let right = browser.sign_in(&router, "anna", "correct horse").await;
    assert_eq!(right.status(), StatusCode::TOO_MANY_REQUESTS, "the right one waits, too: else it could be found");
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn a_session_ends_when_something_ends_it() {
    let (made, router) = site("sessions");
    let mut anna = anna(&router).await;
    let mut other = Browser::default();
    assert_eq!(other.sign_in(&router, "Anna", "correct horse").await.status(), StatusCode::OK);
    let shows =
        async |browser: &mut Browser| browser.send(&router, Method::GET, "/api/v1/session", None).await.status();
    assert_eq!((shows(&mut anna).await, shows(&mut other).await), (StatusCode::OK, StatusCode::OK));

    let body = |old: &str, new: &str| Some(json!({"old": old, "new": new}));
    let change = async |browser: &mut Browser, body| {
        browser.send(&router, Method::POST, "/api/v1/session/password", body).await.status()
    };
    assert_eq!(change(&mut anna, body("wrong horse", "battery staple")).await, StatusCode::UNAUTHORIZED);
    assert_eq!(change(&mut anna, body("correct horse", "short")).await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(change(&mut anna, body("correct horse", "battery staple")).await, StatusCode::NO_CONTENT);
    assert_eq!((shows(&mut anna).await, shows(&mut other).await), (StatusCode::OK, StatusCode::UNAUTHORIZED));
    assert_eq!(other.sign_in(&router, "anna", "correct horse").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(other.sign_in(&router, "anna", "battery staple").await.status(), StatusCode::OK);

    let kept = anna.cookie.clone();
    let out = anna.from(&router, None, Method::DELETE, "/api/v1/session", None).await;
    assert_eq!(out.status(), StatusCode::FORBIDDEN, "a cookie needs the page's own origin");
    let out = anna.send(&router, Method::DELETE, "/api/v1/session", None).await;
    assert_eq!(out.status(), StatusCode::NO_CONTENT);
    assert!(out.headers()[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    anna.cookie = kept;
    assert_eq!(shows(&mut anna).await, StatusCode::UNAUTHORIZED, "the secret is worth nothing, whoever kept it");

    let shut = own(Method::PATCH, "/api/v1/accounts/anna", &json!({"disabled": true}));
    assert_eq!(ask(&router, shut).await.status(), StatusCode::OK);
    assert_eq!(shows(&mut other).await, StatusCode::UNAUTHORIZED, "who is shut out is out at once");
    assert_eq!(other.sign_in(&router, "anna", "battery staple").await.status(), StatusCode::UNAUTHORIZED);
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn a_role_opens_what_it_is_for() {
    let (made, router) = site("roles");
    let mut anna = anna(&router).await;
    make(&router, json!({"name": "sam", "password": "correct horse", "roles": ["supervisor"]})).await;
    make(&router, json!({"name": "olga", "password": "correct horse", "roles": ["operator"]})).await;
    make(&router, json!({"name": "ida", "password": "correct horse", "roles": ["integrator"]})).await;
    let (mut sam, mut olga, mut ida) = (Browser::default(), Browser::default(), Browser::default());
    for (browser, name) in [(&mut sam, "sam"), (&mut olga, "olga"), (&mut ida, "ida")] {
        assert_eq!(browser.sign_in(&router, name, "correct horse").await.status(), StatusCode::OK);
    }
    let status =
        async |browser: &mut Browser, path: &str| browser.send(&router, Method::GET, path, None).await.status();
    for (path, may) in [
        ("/api/v1/conversations", [true, true, false, false]),
        ("/api/v1/calls", [true, true, false, false]),
        ("/api/v1/plans", [false, false, true, false]),
        ("/api/v1/channels", [false, false, true, false]),
        ("/api/v1/accounts", [false, false, true, false]),
        ("/api/v1/tokens", [false, false, false, true]),
        ("/metrics", [false, false, true, false]),
        ("/api/v1/conversations?numbers=full", [false, false, false, false]),
    ] {
        for (browser, may) in [&mut anna, &mut sam, &mut olga, &mut ida].into_iter().zip(may) {
            let expected = if may { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!(status(browser, path).await, expected, "{path}");
        }
    }
    // A token for programs opens no accounts, whatever its scopes.
    let scopes = json!({"name": "crm", "scopes": ["operations", "conversations:read", "numbers"]});
    let token = ida.send(&router, Method::POST, "/api/v1/tokens", Some(scopes)).await;
    assert_eq!(token.status(), StatusCode::CREATED);
    let token = format!("Bearer {}", json(token).await["token"].as_str().unwrap());
    let request = Request::get("/api/v1/accounts").header(header::AUTHORIZATION, token).body(Body::empty()).unwrap();
    assert_eq!(ask(&router, request).await.status(), StatusCode::FORBIDDEN);

    for last in [json!({"roles": ["agent"]}), json!({"disabled": true})] {
        let refused = olga.send(&router, Method::PATCH, "/api/v1/accounts/olga", Some(last)).await;
        assert_eq!(refused.status(), StatusCode::CONFLICT, "the last operator stays one");
    }
    let changed =
        olga.send(&router, Method::PATCH, "/api/v1/accounts/anna", Some(json!({"skills": {"billing": 4}}))).await;
    assert_eq!(json(changed).await["skills"], json!({"billing": 4}));
    let unknown = olga.send(&router, Method::PATCH, "/api/v1/accounts/anna", Some(json!({"roles": ["king"]}))).await;
    assert_eq!(unknown.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let removed = olga.send(&router, Method::DELETE, "/api/v1/accounts/anna", None).await;
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    assert_eq!(status(&mut anna, "/api/v1/session").await, StatusCode::UNAUTHORIZED);
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn an_agent_sees_their_queues_conversations_and_the_others_are_not_there() {
    let (made, router) = site("sight");
    let mut anna = anna(&router).await;
    let (ours, theirs) = (call_in(&made, 1, "orders").await, call_in(&made, 2, "care").await);
    for id in [ours, theirs] {
        made.call(id, ark::control::CallState::Queued, "queue");
    }
    let listed = text(anna.send(&router, Method::GET, "/api/v1/conversations", None).await).await;
    assert!(listed.contains(&ours.to_string()) && !listed.contains(&theirs.to_string()), "{listed}");
    let calls = text(anna.send(&router, Method::GET, "/api/v1/calls", None).await).await;
    assert!(calls.contains(&ours.to_string()) && !calls.contains(&theirs.to_string()), "{calls}");
    let history = text(anna.send(&router, Method::GET, "/api/v1/history?limit=500", None).await).await;
    assert!(history.contains(&ours.to_string()) && !history.contains(&theirs.to_string()), "{history}");

    // Every path of the API that names a conversation, by every method that it has.
    let document = ark::http::openapi();
    let mut looked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let something = ["/conversations/{id}", "/calls/{id}", "/persons/{id}", "/media/{id}"];
        if !something.iter().any(|one| path.starts_with(&format!("/api/v1{one}"))) {
            continue;
        }
        for method in item.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let path = path.replace("{id}", &theirs.to_string()).replace("{name}", "r1").replace("{leg}", "1");
            let answer = anna.send(&router, method.clone(), &path, Some(json!({}))).await;
            let supervises = path.contains("/supervisors");
            let expected = if supervises { StatusCode::FORBIDDEN } else { StatusCode::NOT_FOUND };
            assert_eq!(answer.status(), expected, "{method} {path}");
            looked += 1;
        }
    }
    assert!(looked > 20, "{looked}");
    let base = format!("/api/v1/conversations/{ours}");
    for path in [
        base.clone(),
        format!("{base}/events"),
        format!("{base}/messages"),
        format!("/api/v1/events?conversation={ours}"),
    ] {
        assert_eq!(anna.send(&router, Method::GET, &path, None).await.status(), StatusCode::OK, "{path}");
    }
    let followed = anna.send(&router, Method::GET, &format!("/api/v1/events?conversation={theirs}"), None).await;
    assert_eq!(followed.status(), StatusCode::NOT_FOUND);

    // What becomes hers is there for her, and stays so when it goes on to others.
    made.append(theirs, 3.0, accepted("agent:anna")).await;
    let path = format!("/api/v1/conversations/{theirs}");
    assert_eq!(anna.send(&router, Method::GET, &path, None).await.status(), StatusCode::OK);
    made.append(theirs, 4.0, accepted("agent:ben")).await;
    assert_eq!(anna.send(&router, Method::GET, &path, None).await.status(), StatusCode::OK);
    std::fs::remove_dir_all(&made.folder).unwrap();
}

fn joined(queue: &str) -> Event {
    QueueJoined { leg: LegId(1), queue: queue.to_owned(), position: 1, priority: 0, needs: None }.into()
}

fn accepted(owner: &str) -> Event {
    let owner: Owner = owner.parse().unwrap();
    let previous = Owner::Queue("care".to_owned());
    OwnerAccepted { offer: None, owner, previous, history_to: 0, summary: None }.into()
}

#[tokio::test]
async fn words_are_found_in_what_is_in_sight_and_nowhere_else() {
    let (made, router) = site("search");
    let mut anna = anna(&router).await;
    let (hers, theirs) = (call_in(&made, 1, "orders").await, call_in(&made, 2, "care").await);
    for id in [hers, theirs] {
        let by = Owner::Agent("ben".to_owned());
        let text = ark_conversation::Content::new("客户要退货 REFUND");
        made.append(id, 3.0, ark_conversation::event::Note { by, text }.into()).await;
    }
    for words in ["%E9%80%80%E8%B4%A7", "refund"] {
        let found = json(anna.send(&router, Method::GET, &format!("/api/v1/search?q={words}"), None).await).await;
        assert_eq!(found["hits"].as_array().unwrap().len(), 1, "{found}");
        assert_eq!(found["hits"][0]["conversation"], hers.to_string());
        assert_eq!(
            (&found["hits"][0]["who"], &found["hits"][0]["text"]),
            (&json!("note"), &json!("客户要退货 REFUND"))
        );
        assert_eq!(found["conversations"].as_array().unwrap().len(), 1);
        assert!(found["next"].is_null(), "a small log is one window");
    }
    let all = json(ask(&router, get("/api/v1/search?q=refund")).await).await;
    assert_eq!(all["hits"].as_array().unwrap().len(), 2);
    let first = json(ask(&router, get("/api/v1/search?q=refund&limit=1")).await).await;
    let next = first["next"].as_str().unwrap();
    let second = json(ask(&router, get(&format!("/api/v1/search?q=refund&limit=1&before={next}"))).await).await;
    let of = |found: &Value| found["hits"][0]["conversation"].as_str().unwrap().to_owned();
    assert_eq!([of(&first), of(&second)], [theirs.to_string(), hers.to_string()], "newest first, page by page");
    for bad in ["q=", "q=x&before=nowhere", "words=x"] {
        let refused = ask(&router, get(&format!("/api/v1/search?{bad}"))).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn quick_replies_are_ones_own_and_those_of_a_group_its_supervisors() {
    let (_made, router) = site("quick");
    let mut anna = anna(&router).await;
    let path = "/api/v1/quick-replies";
    let lists = json(anna.send(&router, Method::GET, path, None).await).await;
    assert_eq!(
        lists["lists"],
        json!([{"version": 0, "replies": [], "editable": true},
        {"group": "orders", "version": 0, "replies": [], "editable": false}])
    );
    let put = |replies: Value, version: u64| json!({"version": version, "replies": replies});
    let own = anna.send(&router, Method::PUT, path, Some(put(json!(["您好", " 请稍等 "]), 0))).await;
    assert_eq!(json(own).await, json!({"version": 1, "replies": ["您好", "请稍等"], "editable": true}));
    let late = anna.send(&router, Method::PUT, path, Some(put(json!(["late"]), 0))).await;
    assert_eq!(late.status(), StatusCode::CONFLICT);
    for bad in [json!([""]), json!(["x".repeat(1_001)]), json!(vec!["x"; 51])] {
        let refused = anna.send(&router, Method::PUT, path, Some(put(bad, 1))).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    }
    let shared = json!({"group": "orders", "version": 0, "replies": ["工作时间 9:00 到 18:00"]});
    let hers = anna.send(&router, Method::PUT, path, Some(shared.clone())).await;
    assert_eq!(hers.status(), StatusCode::FORBIDDEN, "a supervisor's");

    make(&router, json!({"name": "sue", "password": "correct horse", "roles": ["supervisor"]})).await;
    let mut sue = Browser::default();
    sue.sign_in(&router, "sue", "correct horse").await;
    let made = sue.send(&router, Method::PUT, path, Some(shared)).await;
    assert_eq!(made.status(), StatusCode::OK, "{}", text(made).await);
    let nowhere = json!({"group": "nowhere", "version": 0, "replies": []});
    assert_eq!(sue.send(&router, Method::PUT, path, Some(nowhere)).await.status(), StatusCode::NOT_FOUND);
    let lists = json(anna.send(&router, Method::GET, path, None).await).await;
    assert_eq!(lists["lists"][1]["replies"], json!(["工作时间 9:00 到 18:00"]));
    let program = json(ask(&router, get("/api/v1/quick-replies?agent=anna")).await).await;
    assert_eq!(program["lists"][0]["replies"], json!(["您好", "请稍等"]));
}

#[tokio::test]
async fn numbers_are_revealed_one_by_one_to_supervisors_and_it_is_written_down() {
    let (made, router) = site("reveal");
    let mut anna = anna(&router).await;
    make(&router, json!({"name": "sam", "password": "correct horse", "roles": ["supervisor"]})).await;
    let id = call_in(&made, 1, "orders").await;
    let path = format!("/api/v1/conversations/{id}/reveal");
    let refused = anna.send(&router, Method::POST, &path, Some(json!({}))).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let mut sam = Browser::default();
    sam.sign_in(&router, "sam", "correct horse").await;
    let other = sam.send(&router, Method::POST, &path, Some(json!({"by": "anna"}))).await;
    assert_eq!(other.status(), StatusCode::FORBIDDEN, "not in another's name");
    let shown = json(sam.send(&router, Method::POST, &path, Some(json!({}))).await).await;
    assert_eq!(shown["number"], "+8613800001212");
    let log = text(sam.send(&router, Method::GET, &format!("/api/v1/conversations/{id}/events"), None).await).await;
    assert!(log.contains("ark.number.revealed.v1") && log.contains("agent:sam"), "{log}");
    assert!(!log.contains("13800001212"));
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn a_socket_tells_what_is_in_sight_and_ends_with_the_session() {
    let (made, _) = site("account-socket");
    let served = Served::start(made.web()).await;
    let router = router(Arc::clone(&served.web));
    let mut anna = anna(&router).await;
    let (ours, theirs) = (call_in(&made, 1, "orders").await, call_in(&made, 2, "care").await);
    let own = format!("http://{}", served.address);
    let cookie = anna.cookie.clone().unwrap();
    let foreign = served.open(&[("origin", "http://evil.test"), ("cookie", &cookie)]).await;
    assert_eq!(Served::refused(foreign), 403);
    let mut socket = served.open(&[("origin", &own), ("cookie", &cookie)]).await.unwrap();
    assert_eq!(socket.next().await["type"], "welcome");
    socket.say(json!({"type": "subscribe", "after": 0})).await;
    for (_, record) in socket.records(3).await {
        assert_eq!(record["conversation"], ours.to_string());
    }
    assert_eq!(socket.next().await["type"], "caught_up");
    // One of another queue says nothing until it comes to hers.
    made.append(theirs, 3.0, joined("care")).await;
    made.append(theirs, 4.0, joined("orders")).await;
    let (_, record) = socket.records(1).await.remove(0);
    assert_eq!(record["conversation"], theirs.to_string());

    let out = anna.send(&router, Method::DELETE, "/api/v1/session", None).await;
    assert_eq!(out.status(), StatusCode::NO_CONTENT);
    // What came before it was hers is in sight since, too: it may have been told first.
    let mut end = socket.next().await;
    while end["type"] == "record" {
        assert_eq!(end["record"]["conversation"], theirs.to_string(), "nothing else");
        end = socket.next().await;
    }
    assert_eq!(end["type"], "error", "{end}");
    assert!(socket.next().await["closed"].is_number());
    std::fs::remove_dir_all(&made.folder).unwrap();
}

/// A call that waited in orders and that an agent's browser answered.
async fn talks_with(made: &Made, random: u128, agent: &str) -> ConversationId {
    let id = call_in(made, random, "orders").await;
    let mut ringing = samples::ringing(LegId(2), ark_conversation::event::Role::Agent);
    ringing.to = ark_conversation::Pii::new(format!("web:{agent}"));
    made.append(id, 3.0, ringing.into()).await;
    let answered =
        ark_conversation::event::CallAnswered { leg: LegId(2), codec: "PCMA".to_owned(), dtmf: None, ringing_ms: 1 };
    made.append(id, 4.0, answered.into()).await;
    id
}

#[tokio::test]
async fn an_agent_does_nothing_in_the_call_of_somebody_else() {
    let (made, router) = site("whose");
    let mut anna = anna(&router).await;
    make(&router, json!({"name": "sam", "password": "correct horse", "roles": ["supervisor"]})).await;
    let mut sam = Browser::default();
    sam.sign_in(&router, "sam", "correct horse").await;
    let (hers, bens) = (talks_with(&made, 1, "anna").await, talks_with(&made, 2, "ben").await);
    for id in [hers, bens] {
        made.call(id, ark::control::CallState::Talking, "agent");
    }
    let document = ark::http::openapi();
    let mut looked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let acts = path.starts_with("/api/v1/calls/{id}/") || path.starts_with("/api/v1/conversations/{id}/transfer");
        if !acts || path.contains("/supervisors") {
            continue;
        }
        for method in item.as_object().unwrap().keys().filter(|method| *method != "get") {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let of = |id: ConversationId| path.replace("{id}", &id.to_string()).replace("{leg}", "1");
            let answer = anna.send(&router, method.clone(), &of(bens), Some(json!({}))).await;
            assert_eq!(answer.status(), StatusCode::CONFLICT, "{method} {path}");
            let error = json(answer).await["error"].clone();
            assert_eq!(error["code"], "not_owner", "{method} {path}: {error}");
            for (who, id) in [(&mut anna, hers), (&mut sam, bens)] {
                let answer = who.send(&router, method.clone(), &of(id), Some(json!({}))).await;
                assert_ne!(answer.status(), StatusCode::CONFLICT, "{method} {path}: {}", text(answer).await);
            }
            looked += 1;
        }
    }
    assert!(looked >= 11, "{looked}");
    // While it waits nobody has it: the queue does.
    let waits = call_in(&made, 3, "orders").await;
    let end = anna.send(&router, Method::POST, &format!("/api/v1/calls/{waits}/hangup"), None).await;
    assert_eq!(end.status(), StatusCode::CONFLICT);
    assert!(text(end).await.contains("queue:orders"));
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn an_operator_reads_what_was_done_to_accounts_and_who_was_wrong() {
    let (made, router) = site("audit");
    let mut anna = anna(&router).await;
    make(&router, json!({"name": "olga", "password": "correct horse", "roles": ["operator", "supervisor"]})).await;
    let mut olga = Browser::default();
    olga.sign_in(&router, "olga", "correct horse").await;
    let change = json!({"roles": ["agent", "supervisor"], "groups": ["care"]});
    olga.send(&router, Method::PATCH, "/api/v1/accounts/anna", Some(change)).await;
    let password = json!({"password": "another horse"});
    olga.send(&router, Method::POST, "/api/v1/accounts/anna/password", Some(password)).await;
    let mut stranger = Browser::default();
    stranger.sign_in(&router, "anna", "wrong horse").await;
    stranger.sign_in(&router, "my-secret-password", "x").await;
    let id = call_in(&made, 1, "orders").await;
    let seen = olga.send(&router, Method::POST, &format!("/api/v1/conversations/{id}/reveal"), Some(json!({}))).await;
    assert_eq!(seen.status(), StatusCode::OK, "{}", text(seen).await);
    olga.send(&router, Method::DELETE, "/api/v1/accounts/anna", None).await;

    let page = json(olga.send(&router, Method::GET, "/api/v1/audit", None).await).await;
    let entries = page["entries"].as_array().unwrap();
    let brief = |entry: &Value| {
        let word = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
        format!("{} {} {}", word("what"), word("by"), word("account"))
    };
    assert_eq!(
        entries.iter().map(brief).collect::<Vec<_>>(),
        [
            "account_removed olga anna",
            "number_revealed olga -",
            "sign_in_failed - -",
            "sign_in_failed - anna",
            "password_set olga anna",
            "account_changed olga anna",
            "account_made token olga",
            "account_made token anna",
        ]
    );
    assert_eq!(entries[5]["detail"], "roles: agent, supervisor; groups: care");
    assert_eq!(entries[1]["conversation"], json!(id.to_string()));
    assert!(!page.to_string().contains("secret-password"), "a name that nobody has may be a password");

    // Page by page, the newest first, each once.
    let (mut before, mut all) = (String::new(), Vec::new());
    loop {
        let page = json(olga.send(&router, Method::GET, &format!("/api/v1/audit?limit=3{before}"), None).await).await;
        all.extend(page["entries"].as_array().unwrap().iter().map(brief));
        let Some(next) = page["next"].as_u64() else { break };
        before = format!("&before={next}");
    }
    assert_eq!(all, entries.iter().map(brief).collect::<Vec<_>>());
    make(&router, json!({"name": "ben", "password": "correct horse"})).await;
    let mut ben = Browser::default();
    ben.sign_in(&router, "ben", "correct horse").await;
    assert_eq!(ben.send(&router, Method::GET, "/api/v1/audit", None).await.status(), StatusCode::FORBIDDEN);
    let _ = &mut anna;
    std::fs::remove_dir_all(&made.folder).unwrap();
}
