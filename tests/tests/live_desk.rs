//! The desk: agents on sockets, a customer who writes and one who calls, in one line; judged by what desks, phones and logs say.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use ark_tests::kit::{Gateway, Phone, Setup, tone_site};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket, client};

/// How long anything may take through a gateway on two busy cores; agents who declined are asked again after 10 s, and who is gone is
/// missed after 15 s.
const PATIENCE: Duration = Duration::from_secs(60);

fn site() -> Setup {
    let mut setup = tone_site();
    setup.plan = setup.plan.replace("max_wait = \"30s\"", "max_wait = \"5m\"");
    setup.more =
        "[[channel]]\nname = \"shop\"\nkind = \"web\"\n\n[channel.settings]\norigins = [\"https://shop.example\"]\n"
            .to_owned();
    setup
}

fn open(gateway: &Gateway, path: &str) -> WebSocket<TcpStream> {
    let ask = format!("ws://{}{path}", gateway.web).into_client_request().expect("a request");
    let stream = TcpStream::connect(gateway.web).expect("the gateway");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
    client(ask, stream).unwrap_or_else(|error| panic!("{path}: {error}")).0
}

fn say(socket: &mut WebSocket<TcpStream>, message: &Value) {
    socket.send(Message::text(message.to_string())).expect("the gateway listens");
}

fn hear(socket: &mut WebSocket<TcpStream>) -> Value {
    // Pings come as well: they are no word.
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Message::Text(text) = socket.read().expect("the gateway says something") {
            return serde_json::from_str(text.as_str()).expect("JSON");
        }
    }
    json!({"type": "silence"})
}

/// A visitor's page.
struct Visitor(WebSocket<TcpStream>);

impl Visitor {
    fn writes(gateway: &Gateway, text: &str) -> Self {
        let mut socket = open(gateway, "/chat/shop/socket");
        say(&mut socket, &json!({"type": "hello", "visit": "a"}));
        while hear(&mut socket)["type"] != "live" {}
        say(&mut socket, &json!({"type": "send", "id": "m1", "text": text}));
        while hear(&mut socket)["type"] != "ack" {}
        Self(socket)
    }

    fn says(&mut self, id: &str, text: &str) {
        say(&mut self.0, &json!({"type": "send", "id": id, "text": text}));
        while hear(&mut self.0)["type"] != "ack" {}
    }
}

/// An agent's page.
struct Desk {
    socket: WebSocket<TcpStream>,
    agent: String,
    now: Value,
}

impl Desk {
    fn open(gateway: &Gateway, agent: &str) -> Self {
        let token = std::fs::read_to_string(gateway.folder().join("data/ark.token")).expect("data/ark.token");
        let mut socket = open(gateway, "/api/v1/desk/socket");
        say(&mut socket, &json!({"type": "hello", "token": token.trim(), "agent": agent}));
        let now = hear(&mut socket);
        assert_eq!((&now["type"], &now["me"]["name"]), (&json!("desk"), &json!(agent)), "{now}");
        Self { socket, agent: agent.to_owned(), now }
    }

    fn ready(gateway: &Gateway, agent: &str) -> Self {
        let mut desk = Self::open(gateway, agent);
        say(&mut desk.socket, &json!({"type": "presence", "state": "ready"}));
        desk
    }

    /// Reads on until the desk shows that.
    fn wait(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> &Value {
        let until = Instant::now() + PATIENCE;
        while !is(&self.now) {
            assert!(Instant::now() < until, "{}: {what} is expected, not {}", self.agent, self.now);
            let said = hear(&mut self.socket);
            assert!(
                said["type"] != "error" && said["type"] != "silence",
                "{}: {what} is expected; {said} after {}",
                self.agent,
                self.now
            );
            if said["type"] == "desk" {
                self.now = said;
            }
        }
        &self.now
    }

    /// Waits for an offer of that conversation, and gives its name.
    fn asked(&mut self, conversation: &str) -> String {
        let of = |view: &Value| {
            let offers = view["offers"].as_array().cloned().unwrap_or_default();
            offers.into_iter().find(|offer| offer["conversation"] == conversation)
        };
        self.wait(&format!("an offer of {conversation}"), |view| of(view).is_some());
        of(&self.now).expect("it is there")["offer"].as_str().expect("a name").to_owned()
    }
}

fn accept(gateway: &Gateway, agent: &str, offer: &str) -> Value {
    let answer = gateway.ask("POST", &format!("/api/v1/offers/{offer}/accept?agent={agent}"), None);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn waiting(view: &Value) -> Vec<String> {
    let cards = view["waiting"].as_array().cloned().unwrap_or_default();
    cards.iter().map(|card| card["conversation"].as_str().unwrap_or_default().to_owned()).collect()
}

fn has(view: &Value, list: &str, conversation: &str) -> bool {
    view[list].as_array().is_some_and(|cards| cards.iter().any(|card| card["conversation"] == conversation))
}

/// How many records of that type a log has.
fn count(gateway: &Gateway, conversation: &str, name: &str) -> usize {
    gateway.records(conversation).iter().filter(|record| record["event"]["type"] == name).count()
}

fn wait_for(gateway: &Gateway, what: &str, is: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < until, "{what} is expected");
        gateway.process.wait_for_news(Duration::from_millis(100));
    }
}

fn account(gateway: &Gateway, name: &str, chats: u32, phone: Option<&str>) {
    let capacity = json!({"calls": 1, "chats": chats, "chats_beside_call": 0});
    let mut wanted = json!({
        "name": name, "password": "correct horse battery", "display": name, "roles": ["agent"], "groups": ["general"], "capacity": capacity
    });
    if let Some(phone) = phone {
        wanted["phone"] = json!(phone);
    }
    let answer = gateway.ask("POST", "/api/v1/accounts", Some(&wanted));
    assert!((200..300).contains(&answer.status), "{}", answer.body);
}

#[test]
fn a_call_and_chats_stand_in_one_line_and_nobody_is_lost_by_desks_that_come_and_go() {
    let gateway = Gateway::start(&site());
    let mut phone = Phone::new("anna");
    account(&gateway, "anna", 1, Some(&phone.uri()));
    account(&gateway, "ben", 2, None);
    let mut anna = Desk::open(&gateway, "anna");
    assert_eq!(anna.now["me"]["state"], "away", "who has not said so is not asked");
    let _one = Visitor::writes(&gateway, "first");
    anna.wait("the first chat", |view| waiting(view).len() == 1);
    let first = waiting(&anna.now)[0].clone();
    let mut caller = Phone::new("chen");
    caller.call(gateway.sip, "95188");
    caller.wait_to_hear(440.0, PATIENCE);
    caller.press('0');
    anna.wait("the caller", |view| waiting(view).len() == 2);
    let call = waiting(&anna.now)[1].clone();
    let mut two = Visitor::writes(&gateway, "third");
    anna.wait("the second chat", |view| waiting(view).len() == 3);
    let third = waiting(&anna.now)[2].clone();
    assert_eq!(waiting(&anna.now), [first.clone(), call.clone(), third.clone()], "one line for both kinds");
    assert_eq!(anna.now["waiting"][1]["kind"], "call");
    assert_eq!(anna.now["waiting"][2]["last"]["text"], "third");

    // Who came first is first, and one chat is all that she takes.
    say(&mut anna.socket, &json!({"type": "presence", "state": "ready"}));
    let offer = anna.asked(&first);
    let taken = accept(&gateway, "anna", &offer);
    assert_eq!((&taken["owner"], &taken["conversation"]), (&json!("agent:anna"), &json!(first)));
    let again = gateway.ask("POST", &format!("/api/v1/offers/{offer}/accept?agent=ben"), None);
    assert_eq!((again.status, again.json()["error"]["code"].as_str()), (409, Some("offer_over")), "{}", again.body);
    anna.wait("a full desk", |view| has(view, "mine", &first) && view["me"]["state"] == "busy");

    // Ben has no telephone: the caller before it stays first in line, and he is asked for the chat.
    let mut ben = Desk::ready(&gateway, "ben");
    let offer = ben.asked(&third);
    let no =
        gateway.ask("POST", &format!("/api/v1/offers/{offer}/decline?agent=ben"), Some(&json!({"reason": "busy"})));
    assert_eq!(no.status, 204, "{}", no.body);
    ben.wait("the line as it was", |view| {
        view["offers"] == json!([]) && waiting(view) == [call.clone(), third.clone()]
    });

    // Anna has room: her telephone rings for the one who came next.
    let closed = gateway.ask("POST", &format!("/api/v1/conversations/{first}/resolve"), Some(&json!({"by": "anna"})));
    assert_eq!(closed.status, 200, "{}", closed.body);
    let operator = thread::spawn(move || {
        let invite = phone.wait_to_be_called(PATIENCE);
        phone.say(Some(1_500.0));
        phone.answer(&invite);
        phone
    });
    caller.wait_to_hear(1_500.0, PATIENCE);
    let mut phone = operator.join().expect("she answers");
    anna.wait("the call", |view| has(view, "mine", &call) && view["me"]["calls"] == 1 && view["offers"] == json!([]));
    // Nobody else is there: after a while Ben is asked once more.
    let offer = ben.asked(&third);
    accept(&gateway, "ben", &offer);
    ben.wait("his chat", |view| has(view, "mine", &third));
    assert_eq!(anna.now["me"]["chats"], 0, "no chat beside her call");

    the_wallboard_counts(&gateway);
    phone.hang_up();
    caller.wait_for_the_end(PATIENCE);

    let ben = reloads(&gateway, ben, &mut two, &third);
    // One that stays away gives the customer back, at their place.
    drop(anna);
    drop(ben);
    wait_for(&gateway, "the customer back in line", || count(&gateway, &third, "ark.owner.released.v1") == 1);
    let state = gateway.ask("GET", &format!("/api/v1/conversations/{third}"), None).json();
    assert_eq!(state["owner"], "queue:general", "{state}");

    after_a_restart(gateway, &first, &third);
}

/// Three were answered, by two entrances.
fn the_wallboard_counts(gateway: &Gateway) {
    let wall = gateway.ask("GET", "/api/v1/wallboard", None).json();
    let general = wall["queues"].as_array().and_then(|all| all.iter().find(|one| one["name"] == "general")).cloned();
    let general = general.unwrap_or_else(|| panic!("{wall}"));
    assert_eq!(
        (&general["answered"], &general["waiting"], &general["abandoned"]),
        (&json!(3), &json!(0), &json!(0)),
        "{wall}"
    );
    let entrances: Vec<&str> =
        wall["entrances"].as_array().into_iter().flatten().filter_map(|one| one["entrance"].as_str()).collect();
    assert_eq!(entrances, ["95188", "web:shop"]);
    let metrics = gateway.ask("GET", "/metrics", None).body;
    for line in [
        "ark_answer_seconds_count{entrance=\"web:shop\"} 2",
        "ark_answer_seconds_count{entrance=\"95188\"} 1",
        "ark_agents{state=\"gone\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is expected in {metrics}");
    }
}

/// A hundred times the page is loaded anew.
fn reloads(gateway: &Gateway, mut ben: Desk, two: &mut Visitor, third: &str) -> Desk {
    // A page that is loaded anew loses nothing and doubles nothing.
    for n in 0..100 {
        drop(ben);
        if n % 10 == 0 {
            two.says(&format!("n{n}"), "are you there?");
        }
        ben = Desk::open(gateway, "ben");
        assert!(has(&ben.now, "mine", third), "{}", ben.now);
        assert_eq!(ben.now["me"]["state"], "ready", "as before");
    }
    assert_eq!(count(gateway, third, "ark.owner.released.v1"), 0);
    assert_eq!(count(gateway, third, "ark.owner.accepted.v1"), 1);
    assert_eq!(count(gateway, third, "ark.message.in.v1"), 11);

    ben
}

/// The one whom Anna gave back, and the next.
fn after_a_restart(gateway: Gateway, first: &str, third: &str) {
    // A gateway that dies and comes back: who waits waits, who is served is served.
    let mut anna = Desk::ready(&gateway, "anna");
    let offer = anna.asked(third);
    accept(&gateway, "anna", &offer);
    let _four = Visitor::writes(&gateway, "fourth");
    anna.wait("the next in line", |view| waiting(view).len() == 1 && has(view, "mine", third));
    let fourth = waiting(&anna.now)[0].clone();
    let gateway = gateway.start_again();
    let mut anna = Desk::ready(&gateway, "anna");
    anna.wait("her chat and the line", |view| has(view, "mine", third) && waiting(view) == [fourth.clone()]);
    let closed = gateway.ask("POST", &format!("/api/v1/conversations/{third}/resolve"), Some(&json!({"by": "anna"})));
    assert_eq!(closed.status, 200, "{}", closed.body);
    let offer = anna.asked(&fourth);
    accept(&gateway, "anna", &offer);
    for id in [first, third, &fourth] {
        let offered = count(&gateway, id, "ark.owner.offered.v1");
        let names = ["accepted", "declined", "expired", "withdrawn"];
        let ended: usize = names.iter().map(|name| count(&gateway, id, &format!("ark.owner.{name}.v1"))).sum();
        assert_eq!(offered, ended, "{id}: each offer ends once");
    }
}
