//! Reads everything that is logged, acknowledged and delivered, by rules that know nothing of the machines.

use std::collections::{BTreeMap, BTreeSet};

use ark_conversation::event::{MessageIn, Part, PersonMerged, Receipt, ReceiptState};
use ark_conversation::laws::{Broken, Laws, ensure};
use ark_conversation::{ConversationId, Event, Hash, IdentityKey, PersonId, Record};

use super::provider::{Provider, picture};
use super::store::Store;

/// What a customer wrote, and where it came to.
struct Fact {
    source: String,
    picture: bool,
    /// Its place among all that was logged.
    logged: Option<usize>,
}

/// A message of the house, on its latest way.
struct Way {
    pieces: usize,
    thread: String,
    state: Option<ReceiptState>,
    code: Option<String>,
}

/// A message came to a gateway's machine for the first time in that gateway's life.
struct Arrival {
    life: u64,
    source: String,
    n: u64,
    step: u64,
}

#[derive(Default)]
pub struct Oracle {
    laws: BTreeMap<ConversationId, Laws>,
    facts: BTreeMap<u64, Fact>,
    ways: BTreeMap<String, Way>,
    arrivals: Vec<Arrival>,
    arrived: BTreeSet<(u64, u64)>,
    refused: BTreeSet<(u64, u64)>,
    logged: usize,
    persons: BTreeMap<ConversationId, PersonId>,
    proved: Vec<(ConversationId, Vec<IdentityKey>)>,
    merges: Vec<PersonMerged>,
    pub unknown: usize,
    pub rerouted: usize,
    pub accepted: usize,
}

impl Oracle {
    pub fn laws(&self, conversation: ConversationId) -> Option<&Laws> {
        self.laws.get(&conversation)
    }

    pub fn merges(&self) -> usize {
        self.merges.len()
    }

    pub fn sent(&self) -> usize {
        self.ways.len()
    }

    pub fn wrote(&mut self, n: u64, source: String, picture: bool) {
        self.facts.insert(n, Fact { source, picture, logged: None });
    }

    /// A message came to a machine of this life.
    pub fn arrived(&mut self, life: u64, n: u64, step: u64) {
        let Some(fact) = self.facts.get(&n) else { return };
        if self.arrived.insert((life, n)) {
            self.arrivals.push(Arrival { life, source: fact.source.clone(), n, step });
        }
    }

    /// In this life a delivery of it was refused: from then on its provider decides about order.
    pub fn refused(&mut self, life: u64, n: u64) {
        self.refused.insert((life, n));
    }

    /// The provider was told that a message is kept.
    pub fn acknowledged(&self, n: u64, store: &Store) -> Result<(), Broken> {
        let waits = || store.waiting.values().any(|row| number(&row.event.event) == Some(n));
        let there = self.facts.get(&n).is_some_and(|fact| fact.logged.is_some()) || waits();
        ensure("I1", there, || format!("message {n} is acknowledged and nowhere"))
    }

    pub fn read(&mut self, record: &Record, store: &Store) -> Result<(), Broken> {
        let laws = self.laws.entry(record.conversation).or_default();
        laws.read(record)?;
        let overdue = laws.offer().filter(|(deadline, _)| *deadline <= record.at);
        ensure("I7", overdue.is_none(), || format!("{}: an offer of {overdue:?} is open", record.seq))?;
        let text = serde_json::to_string(record).expect("a record is JSON");
        ensure("I11", !text.contains("tok-"), || format!("{}: a link's token is in the log", record.seq))?;
        match &record.event.event {
            Event::MessageIn(message) => self.read_inbound(record, message, store)?,
            Event::Edit(edit) => check_files(&edit.parts, None, store)?,
            Event::MessageOut(message) => {
                let (pieces, thread) = (message.parts.len(), message.thread.clone());
                let way = Way { pieces, thread, state: None, code: None };
                let before = self.ways.insert(record.event.id.clone(), way);
                ensure("I6", before.is_none(), || format!("{} is written twice", record.event.id))?;
            }
            Event::MessageRerouted(rerouted) => {
                self.rerouted += 1;
                if let Some(way) = self.ways.get_mut(&rerouted.message) {
                    (way.thread, way.state, way.code) = (rerouted.thread.clone(), None, None);
                }
            }
            Event::Receipt(receipt) => self.read_receipt(receipt),
            Event::OwnerAccepted(_) => self.accepted += 1,
            Event::Identity(identity) if identity.assurance.is_verified() => {
                self.proved.push((record.conversation, identity.keys.clone()));
            }
            Event::PersonLinked(linked) => drop(self.persons.insert(record.conversation, linked.person)),
            Event::PersonMerged(merged) => self.merges.push(merged.clone()),
            _ => {}
        }
        Ok(())
    }

    fn read_inbound(&mut self, record: &Record, message: &MessageIn, store: &Store) -> Result<(), Broken> {
        let (seq, n) = (record.seq, number(&record.event.event).unwrap_or(0));
        let fact = self.facts.get_mut(&n);
        let fact = fact.ok_or_else(|| ("I1", format!("{seq}: message {n} was written by nobody")))?;
        ensure("I1", fact.source == record.event.source, || format!("{seq}: message {n} is on another's thread"))?;
        ensure("I1", fact.logged.is_none(), || format!("{seq}: message {n} is there twice"))?;
        self.logged += 1;
        fact.logged = Some(self.logged);
        check_files(&message.parts, Some((n, fact.picture)), store)
    }

    fn read_receipt(&mut self, receipt: &Receipt) {
        let Some(way) = self.ways.get_mut(&receipt.message).filter(|way| way.thread == receipt.thread) else { return };
        let code = receipt.reason.as_ref().map(|reason| reason.code.clone());
        self.unknown += usize::from(code.as_deref() == Some("outcome_unknown"));
        (way.state, way.code) = (Some(receipt.state), code);
    }

    /// A piece of a message reached a customer.
    pub fn heard(&self, piece: &str, providers: &[Provider]) -> Result<(), Broken> {
        let key = piece.split('/').next().unwrap_or_default();
        ensure("I4", self.ways.contains_key(key), || format!("{piece} reached a customer and is in no log"))?;
        let copies = copies(piece, providers);
        ensure("I6", copies <= 1, || format!("{copies} copies of {piece} reached the customer"))
    }

    /// When all is over: everything is where it belongs.
    pub fn finish(&self, store: &Store, providers: &[Provider]) -> Result<(), Broken> {
        for (n, fact) in &self.facts {
            ensure("I1", fact.logged.is_some(), || format!("message {n} on {} is lost", fact.source))?;
        }
        for (id, laws) in &self.laws {
            ensure("I7", laws.offer().is_none(), || format!("{id}: an offer is open for ever"))?;
        }
        self.check_order(providers)?;
        self.check_people(store)?;
        for (key, way) in &self.ways {
            let (state, code) = (way.state, way.code.as_deref());
            for piece in 1..=way.pieces {
                let found = copies(&format!("{key}/{piece}"), providers);
                let right = match state {
                    Some(ReceiptState::Accepted | ReceiptState::Sent) => found == 1,
                    Some(ReceiptState::Failed) if matches!(code, Some("outcome_unknown" | "partly_sent")) => found <= 1,
                    Some(ReceiptState::Failed) => found == 0,
                    _ => false,
                };
                ensure("I6", right, || {
                    format!("{key}/{piece} on {} is {state:?} {code:?}, and {found} copies arrived", way.thread)
                })?;
            }
        }
        Ok(())
    }

    /// A thread's messages are logged as their channel brought them: in the order of a cursor; else, of two that came to one life of
    /// a gateway and were not refused there, the first is first, unless the second was brought to another one too.
    fn check_order(&self, providers: &[Provider]) -> Result<(), Broken> {
        let place = |n: u64| self.facts.get(&n).and_then(|fact| fact.logged);
        for provider in providers.iter().filter(|one| one.kind == super::provider::Kind::WeCom) {
            for (at, a) in provider.written.iter().enumerate() {
                let later = provider.written[at + 1..].iter().filter(|b| b.thread == a.thread);
                for b in later {
                    ensure("I3", place(a.n) < place(b.n), || {
                        format!("{} is logged before {} of its thread", b.n, a.n)
                    })?;
                }
            }
        }
        for (at, a) in self.arrivals.iter().enumerate() {
            for b in &self.arrivals[at + 1..] {
                let same = a.life == b.life && a.source == b.source && !self.refused.contains(&(a.life, a.n));
                // One that another gateway was brought too may have overtaken there.
                let here = |n: u64| self.arrived.iter().filter(|(_, other)| *other == n).count() == 1;
                if same && a.step < b.step && here(b.n) {
                    ensure("I3", place(a.n) < place(b.n), || {
                        format!("{} came before {} in life {} and is logged after it ({})", a.n, b.n, a.life, a.source)
                    })?;
                }
            }
        }
        Ok(())
    }

    /// I11: whoever proved a key has it, persons stay in their tenant, and what was merged can be undone.
    fn check_people(&self, store: &Store) -> Result<(), Broken> {
        for (conversation, keys) in &self.proved {
            let tenant = store.tenant(*conversation);
            let person = self.persons.get(conversation).map(|person| store.people.root(*person));
            for key in keys {
                let owner = store.people.owner_of(&tenant, key).map(|owner| store.people.root(owner));
                ensure("I11", owner.is_some() && owner == person, || {
                    format!("{conversation} is {person:?}, who proved a key of {owner:?}")
                })?;
            }
            let at_home = person.and_then(|person| store.people.person(person)).is_some_and(|one| one.tenant == tenant);
            ensure("I11", at_home, || format!("{conversation} is a person of another tenant"))?;
        }
        let mut people = store.people.clone();
        for merged in self.merges.iter().rev().filter(|one| store.merges.contains(&one.merge)) {
            let undone = people.unmerge(merged.merge, "anna");
            ensure("I11", undone.is_ok(), || format!("{:?} cannot be undone: {undone:?}", merged.merge))?;
        }
        let alone = self.persons.values().all(|person| people.root(*person) == *person);
        ensure("I11", alone, || "after all merges are undone somebody is somebody else".to_owned())
    }
}

/// The provider's number of a message.
fn number(event: &Event) -> Option<u64> {
    match event {
        Event::MessageIn(message) => message.native_id.as_ref()?.parse().ok(),
        _ => None,
    }
}

fn copies(piece: &str, providers: &[Provider]) -> u32 {
    providers.iter().filter_map(|provider| provider.got.get(piece)).sum()
}

/// I10: what a message shows is what was written, and each of its files is there, byte for byte.
fn check_files(parts: &[Part], wrote: Option<(u64, bool)>, store: &Store) -> Result<(), Broken> {
    for media in parts.iter().filter_map(Part::media) {
        let file = store.files.get(&media.reference);
        let same = file.is_some_and(|bytes| Hash::of(bytes) == media.sha256);
        ensure("I10", same, || format!("{} is not the file that was kept", media.reference))?;
        if let Some((n, _)) = wrote {
            ensure("I10", file == Some(&picture(n)), || format!("message {n} shows another's picture"))?;
        }
    }
    let Some((n, shows)) = wrote else { return Ok(()) };
    let right = match parts {
        [Part::Text { text }] => !shows && text.reveal() == format!("words {n}"),
        [Part::Image { .. }] => shows,
        [Part::Unsupported { raw_ref, .. }] => {
            shows && raw_ref.as_ref().is_some_and(|name| name.ends_with(&format!(":{n}")))
        }
        _ => false,
    };
    ensure("I10", right, || format!("message {n} says {parts:?}"))
}
