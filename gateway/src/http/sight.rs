//! Who sees which conversation, and so its calls, recordings, files and person.
//!
//! The gateway's own token, API tokens with a scope that reads, and supervisors see every one. An agent sees those that they own or
//! owned, were asked to take or took part in, those whose telephone leg was theirs, and those that wait, or waited last, in a queue
//! that they serve. What somebody does not see is not there for them: 404, and left out of lists and streams. [`Sight`] decides;
//! [`let_see`] asks it for every path with an id, before the path's own handler, and [`Eyes`] for every record of a stream.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use ark_conversation::event::Role as LegRole;
use ark_conversation::{ConversationId, ConversationState, Live, LiveEvent, Owner, PersonId, Record, Tenant};
use ark_store::{Account, ListFilter, Role, Store, StoreError};
use axum::extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request};
use tokio::time::Instant;

use super::Web;
use super::error::ApiError;
use super::grant::Grant;
use super::limits::{FACTS_FRESH, FACTS_KNOWN_MAX, LIVE_HELD_MAX, PAGE_MAX, PERSON_CONVERSATIONS};
use crate::accounts::queues_of;

/// What somebody sees.
#[derive(Clone, Debug)]
pub(super) struct Sight(Option<Arc<Mine>>);

/// What is an agent's.
#[derive(Debug)]
struct Mine {
    account: Account,
    queues: BTreeSet<String>,
}

/// What of a conversation decides who sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Whose {
    agents: BTreeSet<String>,
    queues: BTreeSet<String>,
    phones: BTreeSet<String>,
}

impl Whose {
    fn of(state: &ConversationState) -> Self {
        let mut whose = Self { agents: state.agents.iter().cloned().collect(), ..Self::default() };
        let offered = state.offer.as_ref().map(|offer| &offer.to);
        for owner in state.owner.iter().chain(offered) {
            match owner {
                Owner::Agent(name) => drop(whose.agents.insert(name.clone())),
                Owner::Queue(name) => drop(whose.queues.insert(name.clone())),
                Owner::Bot(_) => {}
            }
        }
        let place = state.place.as_ref().map(|place| &place.queue);
        // Where it is now; else where it was last.
        let queue = state.queue.as_ref().or(state.last_queue.as_ref()).or(place);
        whose.queues.extend(queue.cloned());
        let agents = state.legs.iter().filter(|leg| matches!(leg.role, LegRole::Agent | LegRole::Supervisor));
        whose.phones.extend(agents.map(|leg| leg.to.reveal().to_owned()));
        whose
    }
}

impl Mine {
    fn sees(&self, whose: &Whose) -> bool {
        let web = |phone: &String| phone.strip_prefix("web:") == Some(self.account.name.as_str());
        whose.agents.contains(&self.account.name)
            || !whose.queues.is_disjoint(&self.queues)
            || whose.phones.iter().any(|phone| web(phone) || Some(phone) == self.account.phone.as_ref())
    }
}

impl Sight {
    /// What who came in sees.
    pub(super) fn of(web: &Web, grant: &Grant) -> Self {
        match grant.account() {
            Some(account) if !account.is(Role::Supervisor) => {
                let queues = queues_of(account, &web.queues).into_iter().collect();
                Self(Some(Arc::new(Mine { account: account.clone(), queues })))
            }
            _ => Self(None),
        }
    }

    /// Whether everything is seen.
    pub(super) fn is_everything(&self) -> bool {
        self.0.is_none()
    }

    /// Whether this conversation is seen.
    pub(super) fn sees(&self, state: &ConversationState) -> bool {
        self.0.as_ref().is_none_or(|mine| state.conversation != ConversationId::SYSTEM && mine.sees(&Whose::of(state)))
    }

    /// Whether a conversation that has this id is seen, as the store has it.
    ///
    /// # Errors
    /// The store is away.
    pub(super) async fn sees_id(&self, store: &dyn Store, id: ConversationId) -> Result<bool, StoreError> {
        if self.is_everything() {
            return Ok(true);
        }
        Ok(store.summary(&Tenant::default(), id).await?.is_some_and(|state| self.sees(&state)))
    }

    /// Whether any of a person's newest conversations is seen, and so the person.
    ///
    /// # Errors
    /// The store is away.
    pub(super) async fn sees_person(&self, store: &dyn Store, person: PersonId) -> Result<bool, StoreError> {
        if self.is_everything() {
            return Ok(true);
        }
        let filter = ListFilter { person: Some(person), ..ListFilter::default() };
        let page = store.list(&Tenant::default(), filter, PERSON_CONVERSATIONS).await?;
        Ok(page.conversations.iter().any(|state| self.sees(state)))
    }

    /// Whether a file belongs to a conversation that is seen: it says which, and its log has it.
    async fn sees_file(&self, store: &dyn Store, file: &str, of: ConversationId) -> Result<bool, StoreError> {
        if !self.sees_id(store, of).await? {
            return Ok(false);
        }
        let reference = format!("ark-media:{file}");
        let mut after = 0;
        loop {
            let page = store.read(&Tenant::default(), of, after, PAGE_MAX).await?;
            let Some(last) = page.last() else { return Ok(false) };
            after = last.seq;
            let names = |record: &Record| {
                serde_json::to_string(&record.event.event).is_ok_and(|json| json.contains(&reference))
            };
            if page.iter().any(names) {
                return Ok(true);
            }
        }
    }
}

/// Lets a request pass that is for something its sender sees.
///
/// # Errors
/// 404 for what they do not see, as for what is not there.
pub(super) async fn let_see(web: &Web, grant: &Grant, request: Request) -> Result<Request, ApiError> {
    let sight = Sight::of(web, grant);
    if sight.is_everything() {
        return Ok(request);
    }
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let Some(kind) = OF_SOMETHING.iter().find(|(below, _)| is_below(&path, below)).map(|(_, kind)| *kind) else {
        return Ok(request);
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (mut parts, body) = request.into_parts();
    let params = RawPathParams::from_request_parts(&mut parts, &()).await;
    let params = params.map_err(|_| ApiError::bad_request("the path cannot be read"))?;
    // The first is the thing's; others are parts of it.
    let id = params.iter().next().map(|(_, value)| value.to_owned()).unwrap_or_default();
    let store = web.control.store();
    let seen = match kind {
        Kind::Conversation => match id.parse::<ConversationId>() {
            Ok(id) => sight.sees_id(&*store, id).await?,
            Err(_) => false,
        },
        Kind::Person => match id.parse::<PersonId>() {
            Ok(id) => sight.sees_person(&*store, id).await?,
            Err(_) => false,
        },
        Kind::File => {
            let of = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "conversation");
            match of.and_then(|(_, of)| of.parse().ok()) {
                Some(of) => sight.sees_file(&*store, &id, of).await?,
                None => false,
            }
        }
    };
    if !seen {
        return Err(ApiError::not_found(format!("there is nothing `{id}` here that you may see")));
    }
    Ok(Request::from_parts(parts, body))
}

/// What a path's id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Conversation,
    Person,
    File,
}

/// The paths whose first parameter names something that is a conversation's. A call's id is its conversation's.
const OF_SOMETHING: [(&str, Kind); 4] = [
    ("/api/v1/conversations/{id}", Kind::Conversation),
    ("/api/v1/calls/{id}", Kind::Conversation),
    ("/api/v1/persons/{id}", Kind::Person),
    ("/api/v1/media/{id}", Kind::File),
];

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What is known of conversations that streams told of lately, shared by all streams.
#[derive(Default)]
pub(super) struct Facts(Mutex<HashMap<ConversationId, Fact>>);

#[derive(Clone)]
struct Fact {
    /// Up to which record it is so.
    seq: u64,
    read: Instant,
    whose: Arc<Whose>,
}

impl Facts {
    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<ConversationId, Fact>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose a conversation is when this record is told, or later.
    async fn at(&self, store: &dyn Store, record: &Record) -> Result<Arc<Whose>, StoreError> {
        if let Some(fact) = self.known().get_mut(&record.conversation) {
            if fact.seq + 1 == record.seq && !moves(record.event.type_name()) {
                fact.seq = record.seq;
            }
            if fact.seq >= record.seq {
                return Ok(Arc::clone(&fact.whose));
            }
        }
        self.read(store, record.conversation).await
    }

    /// Whose a conversation is now, to within [`FACTS_FRESH`].
    async fn now(&self, store: &dyn Store, id: ConversationId) -> Result<Arc<Whose>, StoreError> {
        if let Some(fact) = self.known().get(&id).filter(|fact| fact.read.elapsed() < FACTS_FRESH) {
            return Ok(Arc::clone(&fact.whose));
        }
        self.read(store, id).await
    }

    async fn read(&self, store: &dyn Store, id: ConversationId) -> Result<Arc<Whose>, StoreError> {
        let Some(state) = store.summary(&Tenant::default(), id).await? else { return Ok(Arc::default()) };
        let whose = Arc::new(Whose::of(&state));
        let mut known = self.known();
        if known.len() >= FACTS_KNOWN_MAX && !known.contains_key(&id) {
            known.clear();
        }
        let fact = Fact { seq: state.last_seq, read: Instant::now(), whose: Arc::clone(&whose) };
        if known.get(&id).is_none_or(|known| known.seq <= fact.seq) {
            known.insert(id, fact);
        }
        Ok(whose)
    }
}

/// Whether a record of this type may change whose a conversation is.
fn moves(type_name: &str) -> bool {
    ["ark.session.", "ark.owner.", "ark.queue.", "ark.participant.", "ark.call.", "ark.leg.", "ark.erase"]
        .iter()
        .any(|below| type_name.starts_with(below))
}

/// The eyes of one stream.
pub(super) struct Eyes {
    sight: Sight,
    facts: Arc<Facts>,
    store: Arc<dyn Store>,
    /// What is so just now of calls that are not seen yet: told when they are.
    held: HashMap<ConversationId, Arc<LiveEvent>>,
}

impl Eyes {
    pub(super) fn of(web: &Web, grant: &Grant) -> Self {
        let (sight, facts) = (Sight::of(web, grant), Arc::clone(&web.facts));
        Self { sight, facts, store: web.control.store(), held: HashMap::new() }
    }

    /// Whether a record is told.
    ///
    /// # Errors
    /// The store is away.
    pub(super) async fn see(&self, record: &Record) -> Result<bool, StoreError> {
        let Some(mine) = &self.sight.0 else { return Ok(true) };
        if record.conversation == ConversationId::SYSTEM {
            return Ok(false);
        }
        Ok(mine.sees(&*self.facts.at(&*self.store, record).await?))
    }

    /// Whether what is so just now is told. What is not is kept until it may be, the newest of each call.
    ///
    /// # Errors
    /// The store is away.
    pub(super) async fn see_live(&mut self, event: &Arc<LiveEvent>) -> Result<bool, StoreError> {
        let Some(mine) = &self.sight.0 else { return Ok(true) };
        let of = match &event.event {
            Live::Gateway(_) => return Ok(true),
            Live::Queue(queue) => return Ok(mine.queues.contains(&queue.queue)),
            Live::Ask(_) | Live::Answer(_) => return Ok(false),
            // Whatever names its conversation is that one's; what names none is for who sees everything.
            other => {
                let json = serde_json::to_value(other).unwrap_or_default();
                json["data"]["conversation"].as_str().and_then(|id| id.parse::<ConversationId>().ok())
            }
        };
        let Some(id) = of else { return Ok(false) };
        let seen = mine.sees(&*self.facts.now(&*self.store, id).await?);
        match &event.event {
            Live::Call(_) if !seen && self.held.len() < LIVE_HELD_MAX => drop(self.held.insert(id, Arc::clone(event))),
            _ => drop(self.held.remove(&id)),
        }
        Ok(seen)
    }

    /// What was kept of a conversation of which something is told now.
    pub(super) fn kept(&mut self, id: ConversationId) -> Option<Arc<LiveEvent>> {
        self.held.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use ark_conversation::samples;

    use super::*;

    #[test]
    fn every_path_that_names_something_of_a_conversation_is_looked_at() {
        // A new path with an id of a conversation, call, person or file is below one of these, or it says here why not.
        let others = ["/api/v1/accounts/", "/api/v1/plans/", "/api/v1/tokens/", "/api/v1/webhooks/", "/api/v1/offers/"];
        for (path, _) in super::super::api_routes() {
            let looked_at = OF_SOMETHING.iter().any(|(below, _)| is_below(path, below));
            let other = others.iter().any(|below| path.starts_with(below));
            assert!(!path.contains('{') || looked_at || other, "{path}: who may see it? See OF_SOMETHING");
        }
        assert!(
            !is_below("/api/v1/calls", "/api/v1/calls/{id}") && !is_below("/api/v1/calls/{id}x", "/api/v1/calls/{id}")
        );
    }

    #[test]
    fn what_may_change_whose_a_conversation_is_is_read_again() {
        let mut state: Option<ConversationState> = None;
        for record in samples::log(samples::story()) {
            let before = state.as_ref().map(Whose::of);
            match &mut state {
                Some(state) => drop(state.apply(&record)),
                None => state = Some(ConversationState::begin(&record)),
            }
            let now = state.as_ref().map(Whose::of);
            let name = record.event.type_name();
            assert!(before == now || moves(name), "{name} changes it");
        }
    }
}
