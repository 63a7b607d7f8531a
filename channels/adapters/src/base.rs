//! What every channel has: what it wants done, numbers for its calls, the time at which it wants to be woken.

use std::collections::VecDeque;

use ark_conversation::channel::{CallId, Health, HttpCall, HttpReply, Out, RequestId};
use ark_conversation::event::{Identity, Party, PartyRole};
use ark_conversation::limits::EVENT_ID_BYTES_MAX;
use ark_conversation::{Assurance, CloudEvent, Event, Hash, IdentityKey, Pii, source};
use jiff::{SignedDuration, Timestamp};

use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX, IDENTITY_EVERY, THREADS_MAX};
use crate::recent::Recent;
use crate::settings::Account;

/// SplitMix64: jitter, nonces and paddings. None of them is a secret.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn sixteen(&mut self) -> [u8; 16] {
        (u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes()
    }

    /// A pause for this try (0 for the first): 3 s, doubled up to 60 s, and up to a fifth more, so that gateways that lost the
    /// same provider do not all come back at once.
    pub(crate) fn backoff(&mut self, attempt: u32) -> SignedDuration {
        let pause = BACKOFF_FIRST.saturating_mul(1 << attempt.min(10)).min(BACKOFF_MAX);
        let fifth = u64::try_from(pause.as_millis() / 5).unwrap_or(0).max(1);
        pause + SignedDuration::from_millis(i64::try_from(self.next() % fifth).unwrap_or(0))
    }
}

/// What every channel has.
pub(crate) struct Base {
    adapter: &'static str,
    account: Account,
    out: VecDeque<Out>,
    last_id: u64,
    pub(crate) random: Random,
    wake: Option<Timestamp>,
    health: Option<Health>,
    /// Threads whose identity was told: in which message, and when.
    told: Recent<String, (String, Timestamp)>,
}

impl Base {
    pub(crate) fn new(adapter: &'static str, account: Account, seed: u64) -> Self {
        Self {
            adapter,
            account,
            out: VecDeque::new(),
            last_id: 0,
            random: Random::new(seed),
            wake: None,
            health: None,
            told: Recent::new(THREADS_MAX),
        }
    }

    pub(crate) fn push(&mut self, out: Out) {
        self.out.push_back(out);
    }

    pub(crate) fn poll(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    /// A number that no call, socket or fetch of this machine had.
    pub(crate) const fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn call(&mut self, http: HttpCall) -> CallId {
        let call = self.next_id();
        self.push(Out::HttpCall { call, http: Box::new(http) });
        call
    }

    pub(crate) fn reply(&mut self, request: RequestId, reply: HttpReply) {
        self.push(Out::HttpReply { request, reply });
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.push(Out::Note(note.into()));
    }

    /// Says how the account is, when that changed.
    pub(crate) fn health(&mut self, health: Health) {
        if self.health.as_ref() != Some(&health) {
            self.health = Some(health.clone());
            self.push(Out::Health(health));
        }
    }

    /// Asks to be woken at the earliest of these times, unless an earlier one was asked for: a machine that is woken too early
    /// finds nothing due and asks anew, which costs less than asking with every frame.
    pub(crate) fn wake_at(&mut self, times: impl IntoIterator<Item = Option<Timestamp>>) {
        let Some(next) = times.into_iter().flatten().min() else { return };
        if self.wake.is_none_or(|asked| next < asked) {
            self.wake = Some(next);
            self.out.push_back(Out::WakeAt(next));
        }
    }

    /// The time for which it asked has come: it is asked for anew when something still waits.
    pub(crate) const fn woken(&mut self) {
        self.wake = None;
    }

    /// The id of an event that the channel calls `native`: the same however often it comes. One that is too long is hashed.
    pub(crate) fn event_id(&self, native: &str) -> String {
        let id = format!("{}:{native}", self.adapter);
        if id.len() <= EVENT_ID_BYTES_MAX { id } else { format!("{}:{}", self.adapter, Hash::of(native.as_bytes())) }
    }

    /// The id of an event that comes of the one with this id.
    pub(crate) fn child_id(&self, id: &str, suffix: &str) -> String {
        let child = format!("{id}:{suffix}");
        if child.len() <= EVENT_ID_BYTES_MAX { child } else { self.event_id(&child) }
    }

    pub(crate) fn event(&self, id: String, thread: &str, at: Timestamp, event: impl Into<Event>) -> CloudEvent {
        let source = source::thread(&self.account.tenant, self.adapter, &self.account.name, thread);
        CloudEvent::new(id, source, at, event)
    }

    /// Who a thread's customer is: once an hour, with the message `id` and again when that is redelivered.
    pub(crate) fn identity(
        &mut self,
        now: Timestamp,
        (id, thread): (&str, &str),
        keys: Vec<IdentityKey>,
    ) -> Option<CloudEvent> {
        let keys: Vec<IdentityKey> = keys.into_iter().filter(IdentityKey::fits).collect();
        let told = self.told.get(thread);
        let first = told.is_none_or(|(by, at)| by == id || now.duration_since(*at) >= IDENTITY_EVERY);
        if !first || keys.is_empty() {
            return None;
        }
        self.told.insert(thread.to_owned(), (id.to_owned(), now));
        let identity =
            Identity { thread: thread.to_owned(), keys, assurance: Assurance::ChannelVerified, link_token: None };
        Some(self.event(self.child_id(id, "who"), thread, now, identity))
    }
}

/// A customer as the sender of something.
pub(crate) fn customer(key: &IdentityKey, display: Option<&str>) -> Party {
    Party {
        role: PartyRole::Customer,
        id: key.value.clone(),
        kind: Some(key.kind.as_str().to_owned()),
        display: display.filter(|name| !name.is_empty()).map(Pii::new),
    }
}

/// A time in milliseconds, or ours when it is none.
pub(crate) fn at_ms(ms: Option<i64>, now: Timestamp) -> Timestamp {
    ms.filter(|ms| *ms > 0).and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(now)
}
