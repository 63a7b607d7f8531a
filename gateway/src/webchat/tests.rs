//! Visits in virtual time, against a store that is a list.

use std::collections::HashSet;
use std::sync::Arc;

use ark_conversation::event::{
    MessageOut, OwnerAccepted, Part, Party, PartyRole, SessionCloseReason, SessionClosed, SessionOpenReason,
    SessionOpened, Summary,
};
use ark_conversation::{CloudEvent, Content, ConversationId, Event, Hash, Owner, Pii, Record, SessionId, Tenant};
use jiff::{SignedDuration, Timestamp};

use super::proto::{After, Author, Hello, Phase, Said, Shown, Tell, Trail, What};
use super::settings::Site;
use super::visit::{Do, Visit};

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn site() -> Arc<Site> {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, KEY).unwrap();
    let text = format!(
        "name = \"shop\"\nkind = \"web\"\nsecrets = {{ identify = {{ file = {key:?} }} }}\nsettings = {{ names = {{ anna = \"安娜\" }} }}"
    );
    Arc::new(Site::read(&toml::from_str(&text).unwrap(), &Tenant::MAIN).unwrap())
}

/// A page, and the log that its events come to.
struct World {
    visit: Visit,
    conversation: ConversationId,
    log: Vec<Record>,
    /// The logs of the conversations before.
    older: Vec<Record>,
    ids: HashSet<(String, String)>,
    /// How many events the store still takes; none: as many as come.
    takes: Option<usize>,
    now: Timestamp,
}

impl World {
    fn new(hello: Hello) -> (Self, Vec<Tell>) {
        let (visit, todo) = Visit::begin(now(), site(), "v1".to_owned(), hello, None);
        let conversation = ConversationId::new(1, 1);
        let world = Self {
            visit,
            conversation,
            log: Vec::new(),
            older: Vec::new(),
            ids: HashSet::new(),
            takes: None,
            now: now(),
        };
        let told = todo.into_iter().map(|todo| match todo {
            Do::Tell(tell) => tell,
            other => panic!("{other:?}"),
        });
        (world, told.collect())
    }

    /// The page comes back to the same log.
    fn again(&mut self, hello: Hello) -> Vec<Tell> {
        self.visit = Visit::begin(self.now, site(), "v1".to_owned(), hello, None).0;
        self.look()
    }

    fn write(&mut self, event: CloudEvent, epoch: u64) {
        let seq = self.log.len() as u64 + 1;
        let (tenant, conversation, at) = (Tenant::MAIN, self.conversation, self.now);
        self.log.push(Record { tenant, conversation, seq, epoch, at, event });
    }

    fn house(&mut self, id: &str, event: impl Into<Event>) {
        let source = format!("/ark/main/conversation/{}", self.conversation);
        self.write(CloudEvent::new(id, source, self.now, event), 1);
    }

    fn opened(&mut self) {
        let (session, reason) = (SessionId::new(1, 1), SessionOpenReason::Customer);
        let owner = Owner::Queue("general".to_owned());
        self.house("ark:1", SessionOpened { session, reason, owner, waiting_since: Some(self.now) });
    }

    fn taken(&mut self, agent: &str) {
        let owner = Owner::Agent(agent.to_owned());
        let previous = Owner::Queue("general".to_owned());
        let accepted = OwnerAccepted { offer: None, owner, previous, history_to: 1, summary: None };
        self.house(&format!("ark:{}", self.log.len()), accepted);
    }

    fn answer(&mut self, key: &str, agent: &str, thread: &str, text: &str) {
        let sender = Party { role: PartyRole::Agent, id: Pii::new(agent), kind: None, display: None };
        let (thread, conversation, parts) = (thread.to_owned(), self.conversation, vec![Part::text(text)]);
        self.house(key, MessageOut { thread, conversation, epoch: 1, sender, parts, reply_to: None, leg: None });
    }

    /// What the page says, and all that it is told of it but its log.
    fn say(&mut self, said: Said) -> Vec<Tell> {
        let todo = self.visit.said(self.now, said);
        let mut told = Vec::new();
        for one in todo {
            match one {
                Do::Tell(tell) => told.push(tell),
                Do::Keep { events, ack } => {
                    let mut duplicate = Some(false);
                    for event in events {
                        event.check().unwrap();
                        if self.takes == Some(0) {
                            duplicate = None;
                            break;
                        }
                        self.takes = self.takes.map(|left| left - 1);
                        let new = self.ids.insert((event.source.clone(), event.id.clone()));
                        duplicate = Some(!new);
                        if new {
                            if self.log.is_empty() {
                                self.opened();
                            }
                            self.write(event, 1);
                        }
                    }
                    told.extend(self.visit.kept(ack, duplicate));
                }
                Do::Pass(_) | Do::Call { .. } | Do::CallBack { .. } => {}
            }
        }
        told
    }

    fn send(&mut self, id: &str, text: &str) -> Vec<Tell> {
        self.say(Said::Send { id: id.to_owned(), text: text.to_owned() })
    }

    fn look(&mut self) -> Vec<Tell> {
        if !self.log.is_empty() {
            self.visit.belongs(Some(self.conversation));
        }
        let mut told = Vec::new();
        loop {
            let at = self.visit.position();
            let logs = self.older.iter().chain(&self.log);
            let news = logs.filter(|record| at.is_some_and(|(of, seq)| record.conversation == of && record.seq > seq));
            let records: Vec<Record> = news.cloned().collect();
            told.extend(self.visit.records(self.now, &records, false, None));
            told.extend(self.visit.records(self.now, &[], true, Some(0)));
            if self.visit.position().map(|(of, _)| of) == at.map(|(of, _)| of) {
                return told;
            }
        }
    }

    /// The next message begins another conversation.
    fn moves_on(&mut self) {
        self.conversation = ConversationId::new(2, 2);
        self.older.append(&mut self.log);
    }

    fn kinds(&self) -> Vec<&str> {
        self.log.iter().map(|record| record.event.event.type_name()).collect()
    }
}

fn hello(visit: &str) -> Hello {
    let page = Trail {
        url: "https://shop.example/cart".to_owned(),
        referrer: "https://search.example/".to_owned(),
        ..Trail::default()
    };
    Hello { visit: visit.to_owned(), page, ..Hello::default() }
}

fn texts(told: &[Tell]) -> Vec<(u64, Author, String)> {
    told.iter()
        .filter_map(|tell| match tell {
            Tell::Item(item) => match &item.what {
                What::Message { from, parts, .. } => match parts.first() {
                    Some(Shown::Text { text }) => Some((item.seq, *from, text.clone())),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        })
        .collect()
}

#[test]
fn a_message_is_acknowledged_when_it_is_kept_and_is_there_once_however_often_it_comes() {
    let (mut world, told) = World::new(hello("a"));
    assert_eq!(told, [Tell::Welcome { token: None, person: None }]);
    world.takes = Some(0);
    let refused = world.send("m1", "你好");
    assert_eq!(refused, [Tell::Nack { id: "m1".to_owned(), code: "busy", again: true, after_ms: Some(2_000) }]);
    world.takes = Some(1);
    assert_eq!(world.send("m1", "你好").len(), 1, "the way here was kept, the message not");
    world.takes = None;
    assert_eq!(world.send("m1", "你好"), [Tell::Ack { id: "m1".to_owned(), duplicate: false }]);
    // The acknowledgement was lost: the page comes again, with the same visit and the same id.
    world.again(hello("a"));
    assert_eq!(world.send("m1", "你好"), [Tell::Ack { id: "m1".to_owned(), duplicate: true }]);
    assert_eq!(world.kinds(), ["ark.session.opened.v1", "ark.thread.v1", "ark.message.in.v1"]);
    let Event::Thread(thread) = &world.log[1].event.event else { panic!("the way here") };
    let entry = thread.entry.as_ref().unwrap();
    assert_eq!(
        (&entry["page"], &entry["referrer"]),
        (&"https://shop.example/cart".into(), &"https://search.example/".into())
    );
    assert!(!entry.contains_key("title"), "what is not known is left out");
}

#[test]
fn the_page_gets_what_it_misses_and_nothing_twice() {
    let (mut world, _) = World::new(hello("a"));
    assert!(matches!(world.look()[..], [Tell::Live, Tell::State(_)]));
    world.send("m1", "one");
    world.taken("anna");
    world.answer("k1", "anna", "v1", "two");
    let told = world.look();
    assert_eq!(texts(&told), [(3, Author::You, "one".to_owned()), (5, Author::Agent, "two".to_owned())]);
    assert!(matches!(told[0], Tell::Begin { .. }));
    let Some(Tell::State(standing)) = told.last() else { panic!("{told:?}") };
    assert_eq!((standing.phase, standing.name.as_deref()), (Phase::Person, Some("安娜")));
    assert!(world.look().is_empty(), "nothing is new");
    world.answer("k2", "anna", "v1", "three");
    let after = Some(After { conversation: world.conversation, seq: 5 });
    let told = world.again(Hello { after, ..hello("a") });
    assert_eq!(texts(&told), [(6, Author::Agent, "three".to_owned())]);
    assert!(!told.iter().any(|tell| matches!(tell, Tell::Begin { .. })));
    let told = world.again(hello("b"));
    assert_eq!(texts(&told).len(), 3, "a page that has nothing gets all");
}

#[test]
fn the_last_words_of_a_conversation_are_told_before_the_next_one() {
    let (mut world, _) = World::new(hello("a"));
    world.send("m1", "one");
    world.taken("anna");
    world.look();
    // While nobody looks it ends, is thanked for, and the thread goes on.
    let (session, reason, by) = (SessionId::new(1, 1), SessionCloseReason::Resolved, Owner::Agent("anna".to_owned()));
    world.house("ark:c", SessionClosed { session, reason, by, disposition: None, note: None });
    world.answer("ark:thanks:1", "anna", "v1", "thank you");
    world.moves_on();
    world.send("m2", "and another thing");
    let told = world.look();
    let (thanks, new) = ("thank you".to_owned(), "and another thing".to_owned());
    assert_eq!(texts(&told), [(6, Author::Agent, thanks), (2, Author::You, new)], "{told:?}");
    assert!(
        told.iter().any(|tell| matches!(tell, Tell::Begin { conversation } if *conversation == world.conversation))
    );
    assert!(world.look().is_empty(), "nothing is told again");
    world.moves_on();
    world.visit.belongs(Some(ConversationId::new(3, 3)));
    world.visit.belongs(Some(ConversationId::new(2, 2)));
    assert_eq!(
        world.visit.position().map(|(of, _)| of),
        Some(ConversationId::new(2, 2)),
        "it came back before the look"
    );
}

#[test]
fn what_belongs_to_the_house_stays_there() {
    let (mut world, _) = World::new(hello("a"));
    world.send("m1", "hi");
    world.taken("wang@corp.example");
    world.answer("k1", "wang@corp.example", "v1", "hello");
    world.answer("k2", "wang@corp.example", "another thread", "not for this page");
    let summary = Summary {
        upto: 3,
        text: Content::new("secret notes"),
        tasks: Vec::new(),
        messages: Vec::new(),
        attachments: Vec::new(),
        made_by: "wang".to_owned(),
        sha256: Hash::of(b"x"),
    };
    world.house("ark:s", summary);
    let (session, reason, by) = (SessionId::new(1, 1), SessionCloseReason::Resolved, Owner::Agent("wang".to_owned()));
    let note = Some(Content::new("a difficult customer"));
    world.house("ark:c", SessionClosed { session, reason, by, disposition: Some("angry".to_owned()), note });
    let told = serde_json::to_string(&world.look()).unwrap();
    for secret in ["wang", "secret", "difficult", "angry", "not for this page"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
    assert!(told.contains("\"ended\"") && told.contains("\"joined\""), "{told}");
}

#[test]
fn receipts_are_told_once_and_for_messages_that_are_there() {
    let (mut world, _) = World::new(hello("a"));
    world.send("m1", "hi");
    world.answer("k1", "anna", "v1", "hello");
    world.look();
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    world.say(Said::Got { ids: ids(&["k1", "k1", "no such"]) });
    world.say(Said::Got { ids: ids(&["k1"]) });
    world.say(Said::Read { ids: ids(&["k1", "m1"]) });
    world.look();
    world.again(hello("b"));
    world.say(Said::Read { ids: ids(&["k1"]) });
    let receipts: Vec<&str> = world
        .log
        .iter()
        .filter(|record| matches!(record.event.event, Event::Receipt(_)))
        .map(|record| record.event.id.as_str())
        .collect();
    assert_eq!(receipts, ["k1:delivered", "k1:read"]);
}

#[test]
fn each_conversation_of_a_visit_is_told_the_way_here_and_who_it_is() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let claims = serde_json::json!({"sub": "u-77", "exp": now().as_second() + 600, "name": "Chen"});
    let signed =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));

    let (mut world, _) = World::new(hello("a"));
    let told = world.say(Said::Identify { token: token.clone() });
    let Some(Tell::Identified { person: Some(person), .. }) = told.first() else { panic!("{told:?}") };
    assert_eq!((person.user.as_str(), person.name.as_deref()), ("u-77", Some("Chen")));
    assert!(world.log.is_empty(), "nobody waits for a person who has not written");
    world.send("m1", "hi");
    assert_eq!(world.kinds()[1..], ["ark.thread.v1", "ark.identity.v1", "ark.message.in.v1"]);
    let Event::Identity(identity) = &world.log[2].event.event else { panic!("who it is") };
    assert_eq!(identity.keys[0].value.reveal(), "shop:u-77");
    let Event::MessageIn(message) = &world.log[3].event.event else { panic!("the message") };
    assert_eq!(message.sender.display.as_ref().map(Pii::reveal), Some("Chen"));
    world.look();
    world.send("m2", "more");
    assert_eq!(world.kinds()[4..], ["ark.message.in.v1"]);
    // It is closed; the next message begins another one, which is told again.
    let (session, reason, by) = (SessionId::new(1, 1), SessionCloseReason::Resolved, Owner::Agent("anna".to_owned()));
    world.house("ark:c", SessionClosed { session, reason, by, disposition: None, note: None });
    world.look();
    world.moves_on();
    world.send("m3", "again");
    assert_eq!(world.kinds()[1..], ["ark.thread.v1", "ark.identity.v1", "ark.message.in.v1"]);
    let told = world.look();
    assert!(matches!(told[0], Tell::Begin { .. }), "{told:?}");
    world.send("m4", "and again");
    assert_eq!(world.kinds()[4..], ["ark.message.in.v1"]);
    // A forged one changes nothing.
    let told = world.say(Said::Identify { token: format!("{token}x") });
    assert!(matches!(told[..], [Tell::Identified { person: None, error: Some(_) }]));
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_kept() {
    let (mut world, _) = World::new(hello("a"));
    let code = |told: &[Tell]| match told {
        [Tell::Nack { code, again: false, .. }] => *code,
        _ => panic!("{told:?}"),
    };
    assert_eq!(code(&world.send("", "x")), "bad_id");
    assert_eq!(code(&world.send("a:b", "x")), "bad_id");
    assert_eq!(code(&world.send(&"a".repeat(65), "x")), "bad_id");
    assert_eq!(code(&world.send("m1", " \n")), "empty");
    assert_eq!(code(&world.send("m1", &"好".repeat(4_001))), "too_long");
    assert!(matches!(world.say(Said::Hello(Hello::default()))[..], [Tell::Error { code: "hello", .. }]));
    assert!(
        world.say(Said::Typing { on: true }).is_empty()
            && world.say(Said::Got { ids: vec!["x".to_owned()] }).is_empty()
    );
    assert_eq!(world.say(Said::Call), [Tell::Call { token: None }], "there is no hotline");
    assert!(world.log.is_empty());
    assert_eq!(world.send("m1", &"好".repeat(4_000)).len(), 1);
}

#[test]
fn a_queue_has_a_place_and_it_changes() {
    let (mut world, _) = World::new(hello("a"));
    world.send("m1", "hi");
    world.look();
    assert_eq!(world.visit.place().map(|place| place.queue.as_str()), Some("general"));
    let ahead = |told: Option<Tell>| match told {
        Some(Tell::State(standing)) => standing.ahead,
        other => panic!("{other:?}"),
    };
    world.now += SignedDuration::from_secs(3);
    assert_eq!(ahead(world.visit.stands(world.now, Some(2))), Some(2));
    assert_eq!(world.visit.stands(world.now, Some(2)), None, "nothing has changed");
    assert_eq!(ahead(world.visit.stands(world.now, Some(1))), Some(1));
    world.taken("anna");
    world.look();
    assert!(world.visit.place().is_none());
}

#[test]
fn a_call_button_needs_its_hotline() {
    let source = "[[channel]]\nname = \"shop\"\nkind = \"web\"\nsettings = { call = \"95188\" }\n";
    let error = crate::config::Config::parse(source, "ark.toml").unwrap_err().to_string();
    assert!(error.contains("ark.toml:4:12: error:") && error.contains("there is no hotline `95188`"), "{error}");
    let builtin = crate::config::Config::builtin();
    assert!(super::unknown_hotline(&builtin.channel[0], &builtin).is_none(), "the built-in site's button");
}

#[test]
fn the_button_for_a_person_is_a_message_that_says_so() {
    let (mut world, _) = World::new(Hello { visit: "a".to_owned(), ..Hello::default() });
    let person = |id: &str| Said::Person { id: id.to_owned(), text: "转人工".to_owned() };
    assert_eq!(world.say(person("m1")), [Tell::Ack { id: "m1".to_owned(), duplicate: false }]);
    assert_eq!(world.say(person("m1")), [Tell::Ack { id: "m1".to_owned(), duplicate: true }]);
    let message = world.log.iter().find(|record| record.event.id == "m1").unwrap();
    assert_eq!(message.event.extensions.get("arkwants"), Some(&"person".into()));
    assert!(matches!(&message.event.event, Event::MessageIn(_)));
}

#[test]
fn a_page_without_a_socket_knows_what_the_store_sums_up() {
    use super::view::View;
    use ark_conversation::ConversationState;
    let (mut world, _) = World::new(Hello { visit: "a".to_owned(), ..Hello::default() });
    world.send("m1", "hello");
    world.taken("anna");
    world.answer("k1", "anna", "v1", "good morning");
    let mut records = world.log.iter();
    let mut state = ConversationState::begin(records.next().unwrap());
    records.for_each(|record| _ = state.apply(record));
    // Without the log: the conversation is open, so nothing of the visit is told anew, and a call belongs to it.
    world.visit.knows(View::of(&state, state.last_seq));
    let todo = world.visit.said(world.now, Said::Send { id: "m2".to_owned(), text: "and".to_owned() });
    assert!(matches!(&todo[..], [Do::Keep { events, .. }] if events.len() == 1), "{todo:?}");
    let got = |world: &mut World| world.visit.said(world.now, Said::Got { ids: vec!["k1".to_owned()] });
    assert!(got(&mut world).is_empty(), "what was sent is in the log");
    // With the end of the log.
    world.visit.knows(View::of(&state, 0));
    let records = world.log.clone();
    world.visit.records(world.now, &records, true, None);
    assert!(matches!(&got(&mut world)[..], [Do::Keep { events, .. }] if events.len() == 1));
}
