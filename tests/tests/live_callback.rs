//! Called back: a caller presses a key, hangs up and keeps the place; agents' phones and the customer's say what happens.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use ark_tests::kit::{Gateway, Phone, Setup, tone_site};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket, client};

/// How long anything may take through a gateway on two busy cores; a telephone that did not answer rests for 10 s.
const PATIENCE: Duration = Duration::from_secs(60);
/// The customer's number.
const NUMBER: &str = "13800138000";

/// A site whose way out leads to the customer's telephone, whose operator is that phone, and whose plan calls back behind key 2.
fn site(customer: &Phone, operators: &[&Phone]) -> Setup {
    let mut setup = tone_site();
    setup.plan = setup.plan.replace("max_wait = \"30s\"", "max_wait = \"5m\"\nkeys = { 2 = \"call_me\" }");
    setup.plan.push_str(
        "\n[state.call_me]\ndo = \"callback\"\nprompt = \"second\"\nqueue = \"general\"\nelse = \"mailbox\"\n",
    );
    setup.operators = operators.iter().map(|phone| phone.uri()).collect();
    let way = customer.address();
    setup.more = format!(
        "[[trunk]]\nname = \"carrier\"\npeers = [\"203.0.113.9\"]\nproxy = \"sip:{way}\"\n\n[[route]]\nprefix = \"138\"\ntrunk = \
         \"carrier\"\n\n[[channel]]\nname = \"shop\"\nkind = \"web\"\n\n[channel.settings]\norigins = [\"https://shop.example\"]\n"
    );
    setup
}

fn conversation(gateway: &Gateway) -> String {
    let all = gateway.conversations();
    all[0]["conversation"].as_str().expect("an id").to_owned()
}

fn of<'a>(records: &'a [Value], name: &str) -> Vec<&'a Value> {
    let is = |record: &&Value| record["event"]["type"] == format!("ark.{name}.v1");
    records.iter().filter(is).map(|record| &record["event"]["data"]).collect()
}

fn wait_for(gateway: &Gateway, id: &str, what: &str, is: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let until = Instant::now() + PATIENCE;
    loop {
        let records = gateway.records(id);
        if is(&records) {
            return records;
        }
        assert!(Instant::now() < until, "{what} is expected: {records:#?}");
        gateway.process.wait_for_news(Duration::from_millis(100));
    }
}

/// The customer waits for a person.
fn waits(gateway: &Gateway, customer: &mut Phone) -> String {
    customer.call(gateway.sip, "95188");
    customer.wait_to_hear(440.0, PATIENCE);
    customer.press('0');
    gateway.wait_for_event("queue.joined", PATIENCE);
    conversation(gateway)
}

/// An agent's page that says that it is ready.
struct Desk(WebSocket<TcpStream>);

impl Desk {
    fn open(gateway: &Gateway, agent: &str) -> Self {
        let token = std::fs::read_to_string(gateway.folder().join("data/ark.token")).expect("data/ark.token");
        let ask = format!("ws://{}/api/v1/desk/socket", gateway.web).into_client_request().expect("a request");
        let stream = TcpStream::connect(gateway.web).expect("the gateway");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
        let mut desk = Self(client(ask, stream).expect("a desk").0);
        desk.say(&json!({"type": "hello", "token": token.trim(), "agent": agent}));
        desk.say(&json!({"type": "presence", "state": "ready"}));
        desk
    }

    fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).expect("the gateway listens");
    }

    /// Waits for an offer of that conversation.
    fn asked(&mut self, conversation: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < until, "an offer of {conversation} is expected");
            let Message::Text(text) = self.0.read().expect("the gateway says something") else { continue };
            let view: Value = serde_json::from_str(text.as_str()).expect("JSON");
            let offers = view["offers"].as_array().cloned().unwrap_or_default();
            if let Some(offer) = offers.into_iter().find(|offer| offer["conversation"] == conversation) {
                return offer;
            }
        }
    }
}

/// Both hear each other, by the tones that they say.
fn talk(agent: &mut Phone, customer: &mut Phone) {
    agent.say(Some(900.0));
    customer.say(Some(700.0));
    customer.wait_to_hear(900.0, PATIENCE);
    agent.wait_to_hear(700.0, PATIENCE);
}

#[test]
fn who_hangs_up_is_called_when_an_agent_answers_and_both_hear_each_other() {
    let (mut customer, mut agent) = (Phone::new(NUMBER), Phone::new("anna"));
    let gateway = Gateway::start(&site(&customer, &[&agent]));
    let id = waits(&gateway, &mut customer);
    let invite = agent.wait_to_be_called(PATIENCE);
    customer.press('2');
    customer.wait_to_hear(1_000.0, PATIENCE);
    drop(invite);
    customer.wait_for_the_end(PATIENCE);
    let records = wait_for(&gateway, &id, "a place that waits", |all| of(all, "leg.offered").len() == 1);
    let left = of(&records, "queue.left");
    assert_eq!(left[0]["outcome"], "callback", "{left:?}");
    let offered = of(&records, "leg.offered")[0].clone();
    let joined = records.iter().find(|record| record["event"]["type"] == "ark.queue.joined.v1").expect("they waited");
    let (since, came) = (&offered["callback"]["waiting_since"], &joined["event"]["time"]);
    assert_eq!(since.as_str().unwrap()[..19], came.as_str().unwrap()[..19], "the place is kept");

    // The agent's phone rings when it has rested, and only then the customer's.
    let invite = agent.wait_to_be_called(PATIENCE);
    agent.answer(&invite);
    let invite = customer.wait_to_be_called(PATIENCE);
    customer.answer(&invite);
    talk(&mut agent, &mut customer);
    let records = gateway.records(&id);
    assert_eq!(of(&records, "queue.left").last().unwrap()["outcome"], "answered");
    assert_eq!(of(&records, "call.ringing").last().unwrap()["leg"], offered["leg"], "by the leg that was offered");
    agent.hang_up();
    customer.wait_for_the_end(PATIENCE);
    wait_for(&gateway, &id, "the end", |all| of(all, "call.ended").len() == 4);
    assert_eq!(gateway.conversations().len(), 1, "all of it is one conversation");
}

#[test]
fn an_agent_at_a_desk_accepts_first_and_a_busy_customer_is_tried_again() {
    let (mut customer, mut phone) = (Phone::new(NUMBER), Phone::new("anna"));
    let gateway = Gateway::start(&site(&customer, &[]));
    let account = json!({
        "name": "anna", "password": "correct horse battery", "display": "anna", "roles": ["agent"], "groups": ["general"],
        "capacity": {"calls": 1, "chats": 1, "chats_beside_call": 0}, "phone": phone.uri()
    });
    assert!((200..300).contains(&gateway.ask("POST", "/api/v1/accounts", Some(&account)).status));
    let id = {
        // Nobody is there yet.
        let mut id = String::new();
        let until = Instant::now() + PATIENCE;
        while id.is_empty() {
            assert!(Instant::now() < until, "the account serves");
            let queues = gateway.ask("GET", "/api/v1/agents", None);
            if queues.body.contains("anna") {
                id = waits(&gateway, &mut customer);
            }
            gateway.process.wait_for_news(Duration::from_millis(100));
        }
        id
    };
    customer.press('2');
    customer.wait_for_the_end(PATIENCE);
    wait_for(&gateway, &id, "a place that waits", |all| of(all, "leg.offered").len() == 1);
    let asked = gateway.ask("POST", &format!("/api/v1/conversations/{id}/callback"), Some(&json!({"by": "anna"})));
    assert_eq!((asked.status, &asked.json()["duplicate"]), (200, &json!(true)), "they wait already: {}", asked.body);
    assert!(!asked.body.contains(NUMBER), "{}", asked.body);

    let mut desk = Desk::open(&gateway, "anna");
    let offer = desk.asked(&id);
    assert_eq!((&offer["kind"], &offer["callback"]), (&json!("call"), &json!(true)), "{offer}");
    assert!(!offer.to_string().contains(NUMBER), "{offer}");
    let path = format!("/api/v1/offers/{}/accept?agent=anna", offer["offer"].as_str().unwrap());
    let taken = gateway.ask("POST", &path, None);
    assert_eq!(taken.status, 200, "{}", taken.body);
    let invite = phone.wait_to_be_called(PATIENCE);
    phone.answer(&invite);
    let invite = customer.wait_to_be_called(PATIENCE);
    customer.refuse(&invite, 486);
    let records = wait_for(&gateway, &id, "another try", |all| of(all, "leg.offered").len() == 2);
    assert_eq!(of(&records, "leg.offered")[1]["callback"]["tries"], 1);
    phone.wait_for_the_end(PATIENCE);
    let gone = gateway.ask("DELETE", &format!("/api/v1/conversations/{id}/callback"), Some(&json!({"by": "anna"})));
    assert_eq!(gone.status, 204, "{}", gone.body);
    wait_for(&gateway, &id, "no more tries", |all| of(all, "leg.ended").len() == 1);
}

#[test]
fn who_is_lost_with_the_gateway_is_called_back_with_the_place_that_they_had() {
    let (mut customer, mut agent) = (Phone::new(NUMBER), Phone::new("anna"));
    let mut gateway = Gateway::start(&site(&customer, &[&agent]));
    let id = waits(&gateway, &mut customer);
    let _rings = agent.wait_to_be_called(PATIENCE);
    gateway.process.kill();
    let gateway = gateway.start_again();
    let records = wait_for(&gateway, &id, "a place that waits", |all| of(all, "leg.offered").len() == 1);
    assert_eq!(of(&records, "call.lost").len(), 1);
    let joined = records.iter().find(|record| record["event"]["type"] == "ark.queue.joined.v1").expect("they waited");
    let offered = of(&records, "leg.offered")[0];
    let (since, came) = (&offered["callback"]["waiting_since"], &joined["event"]["time"]);
    assert_eq!(since.as_str().unwrap()[..19], came.as_str().unwrap()[..19], "{offered}");
    // The agent's phone rings for another call than the one that is gone.
    let invite = agent.wait_to_be_called(PATIENCE);
    agent.answer(&invite);
    let invite = customer.wait_to_be_called(PATIENCE);
    customer.answer(&invite);
    talk(&mut agent, &mut customer);
    customer.hang_up();
    agent.wait_for_the_end(PATIENCE);
}
