//! Companion links: a caller's page for pictures and words while the call goes on.
//!
//! Everything about a link is in its conversation's log ([`ark_conversation::machine`] decides, `links.rs` there says how), so
//! any gateway serves any link, and a restart changes nothing. The token is 128 random bits and is kept nowhere: its SHA-256 is
//! the link's name, and the name of a thread by which the store finds the conversation. Opening the page changes nothing; the
//! first tap binds it to a device, whose secret is a cookie and stands in the log as a hash. That only one device can is the
//! store's rule that an event with one (source, id) is taken once.

mod carry;
mod hook;
pub mod limits;
mod parts;
pub mod plans;
pub(crate) mod tries;
mod view;
mod watch;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use ark_bus::Bus;
use ark_conversation::channel::{FetchFailure, FileKind};
use ark_conversation::event::{
    Direction, LinkCode, LinkJoined, LinkMade, LinkSent, LinkVia, Medium, MessageIn, Part, Party, PartyRole, Receipt,
    ReceiptState, Role,
};
use ark_conversation::limits::{LINK_CODE_TTL, LINK_TTL_MAX, LINKS_MAX};
use ark_conversation::{
    CloudEvent, Content, ConversationId, ConversationState, Event, Hash, LegId, LegPhase, LegState, Pii, Tenant, source,
};
use ark_store::{Join, NewInbound, Store, StoreError};
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::channel_host::Files;
use crate::conversations::owner::{Clock, Ingest};
use crate::sms::{Fate, Sms};
use limits::*;
use parts::{Parts, Took};
use tries::Tries;
use view::{Standing, View};

pub use hook::AppHook;
pub use watch::{Seen, Watch};

/// Letters of a token: no two that people confuse, none that a path minds.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Letters of a token of 128 bits.
pub(crate) const TOKEN_LETTERS: usize = 26;
/// The id of the event that binds a link to a device: the store takes it once.
const JOINED: &str = "joined";

/// Why something about a link was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// There is no such conversation.
    #[error("there is no conversation {0}")]
    NoConversation(ConversationId),
    /// No link can be made now.
    #[error("{0}")]
    Refused(String),
    /// There is no such link.
    #[error("there is no such link: ask for a new one")]
    Unknown,
    /// Its time is over, or the conversation's.
    #[error("this link is over: ask for a new one")]
    Over,
    /// Another device has it.
    #[error("this link is in use on another device: go on there, or ask for a new one")]
    Taken,
    /// Nobody has taken it yet.
    #[error("tap to begin first")]
    NotBegun,
    /// The browser keeps no cookie, so it could not be told from another one.
    #[error("this browser keeps no cookies: allow them for this page, or use another browser")]
    NoCookie,
    /// The code and the number do not fit, or its time is over.
    #[error("the code or the number is not right, or the code is over: ask for a new one")]
    WrongCode,
    /// Too many tries.
    #[error("too many tries: wait {} minutes", .0.as_secs().div_ceil(60).max(1))]
    TooMany(Duration),
    /// More than a link takes.
    #[error("{0}")]
    Flood(&'static str),
    /// The request itself is wrong.
    #[error("{0}")]
    Malformed(&'static str),
    /// Another place of the file is next: so much is here.
    #[error("{0} bytes of it are here: go on there")]
    Offset(u64),
    /// The file is larger than may be.
    #[error("the file is too large: at most {} MB", .0 >> 20)]
    TooLarge(u64),
    /// The file is no picture that can be opened.
    #[error("this is no picture that can be opened here: {0}")]
    NoPicture(String),
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
}

impl From<StoreError> for LinkError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// A link that was made.
#[derive(Clone, Debug)]
pub struct Minted {
    /// Its name.
    pub link: Hash,
    /// The address; a secret.
    pub url: String,
    /// Until when it can be used.
    pub expires: Timestamp,
    /// The code to be spoken, when one was asked for and could be made; a secret.
    pub code: Option<String>,
    /// What became of each way.
    pub sent: Vec<Sent>,
}

/// What became of one way.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Which.
    pub via: LinkVia,
    /// Why not; none: it is out.
    pub failed: Option<String>,
}

/// How a link is for who asks, and what their page shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The link.
    pub link: Hash,
    /// Whether it is theirs; otherwise nobody has it yet.
    pub yours: bool,
    /// Until when it can be used.
    pub until: Timestamp,
    /// Whether a call is up.
    pub in_call: bool,
    /// Ids of what came by it.
    pub ids: Vec<String>,
    /// What the house wrote: place in the log and words.
    pub words: Vec<(u64, String)>,
    /// Files that can still come.
    pub files_left: usize,
}

/// How the service is made.
pub struct Setup {
    /// Whose data it is.
    pub tenant: Tenant,
    /// This gateway's id.
    pub gateway: String,
    /// The log of record.
    pub store: Arc<dyn Store>,
    /// What tells of commits.
    pub bus: Arc<dyn Bus>,
    /// Where what pages send is kept.
    pub ingest: Ingest,
    /// Customers' files.
    pub files: Files,
    /// Where files on their way are.
    pub parts: std::path::PathBuf,
    /// The address that phones reach the page by; none: that of the web's socket.
    pub base: Option<String>,
    /// The app's hook.
    pub hook: Option<AppHook>,
    /// Short messages.
    pub sms: Option<Arc<Sms>>,
    /// The words of a short message, `{url}` in them.
    pub sms_text: String,
    /// The wall clock.
    pub clock: Clock,
}

/// All links of this gateway. Cheap to clone by its `Arc`.
pub struct Companion {
    me: Weak<Self>,
    tenant: Tenant,
    gateway: String,
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    ingest: Ingest,
    files: Files,
    parts: Parts,
    base: OnceLock<String>,
    hook: Option<AppHook>,
    sms: Option<Arc<Sms>>,
    sms_text: String,
    clock: Clock,
    views: Mutex<HashMap<Hash, Arc<Kept>>>,
    misses: Tries<IpAddr>,
    codes_by_address: Tries<IpAddr>,
    codes_by_number: Tries<String>,
    wholes: Semaphore,
    watches: Arc<Semaphore>,
}

/// A link in memory.
struct Kept {
    view: tokio::sync::Mutex<View>,
    places: Semaphore,
}

impl Companion {
    /// The service; nothing runs for it yet.
    #[must_use]
    pub fn new(setup: Setup) -> Arc<Self> {
        let Setup { tenant, gateway, store, bus, ingest, files, parts, base, hook, sms, sms_text, clock } = setup;
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            tenant,
            gateway,
            store,
            bus,
            ingest,
            files,
            parts: Parts::new(parts),
            base: base.map_or_else(OnceLock::new, OnceLock::from),
            hook,
            sms,
            sms_text,
            clock,
            views: Mutex::default(),
            misses: Tries::new(MISSES_PER_ADDRESS, MISSES_TOTAL),
            codes_by_address: Tries::new(CODES_PER_ADDRESS, CODES_TOTAL),
            codes_by_number: Tries::new(CODES_PER_NUMBER, CODES_TOTAL),
            wholes: Semaphore::new(4),
            watches: Arc::new(Semaphore::new(WATCHES_MAX)),
        })
    }

    /// Says where the page is, when the site did not.
    pub fn served_at(&self, base: &str) {
        let _ = self.base.set(base.to_owned());
    }

    /// The address of the short page on which a code is typed.
    #[must_use]
    pub fn short_page(&self) -> String {
        format!("{}/u", self.base())
    }

    /// The address that links begin with.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.base()
    }

    /// Short messages; none when none can be sent.
    #[must_use]
    pub fn sms(&self) -> Option<Arc<Sms>> {
        self.sms.clone()
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn base(&self) -> &str {
        self.base.get().map_or("", |base| base.trim_end_matches('/'))
    }

    /// Makes a link for the caller of a conversation and sends it the ways that are asked for. `by`: `agent:anna`, `bot:hotline`.
    ///
    /// # Errors
    /// [`LinkError::NoConversation`], [`LinkError::Refused`] when no call is up or too many links are alive,
    /// [`LinkError::Unavailable`].
    pub async fn mint(&self, conversation: ConversationId, by: &str, ways: &[LinkVia]) -> Result<Minted, LinkError> {
        let state = self.state(conversation).await?;
        let caller = caller(&state).ok_or_else(|| {
            LinkError::Refused("no call is up in this conversation: a link is made while the caller talks".to_owned())
        })?;
        let alive =
            state.legs.iter().filter(|leg| leg.medium == Medium::Companion && leg.phase != LegPhase::Ended).count();
        if alive >= LINKS_MAX {
            let why = format!("{alive} links of this call are alive, and more there may not be: use one of them");
            return Err(LinkError::Refused(why));
        }
        let token = token();
        let (link, now) = (Hash::of(token.as_bytes()), self.now());
        let expires = now.saturating_add(LINK_TTL_MAX).unwrap_or(now);
        let made = LinkMade { link, leg: LegId(0), call: Some(caller.leg), by: by.to_owned(), expires };
        self.keep(conversation, source::link(&self.tenant, link), "made", made).await?;
        let kept = self.await_view(link, |view| view.made.is_some()).await?;
        let expires = kept.made.as_ref().map_or(expires, |made| made.expires);
        let url = format!("{}/u/{token}", self.base());
        let mut minted = Minted { link, url, expires, code: None, sent: Vec::new() };
        let number = number_of(caller).to_owned();
        for via in ways {
            self.send(conversation, &mut minted, *via, &number).await;
        }
        Ok(minted)
    }

    /// Waits until the log has a caller.
    async fn await_call(&self, conversation: ConversationId) -> Result<(), LinkError> {
        let until = Instant::now() + LOG_WAIT;
        loop {
            match self.state(conversation).await {
                Ok(state) if caller(&state).is_some() => return Ok(()),
                Ok(_) | Err(LinkError::NoConversation(_)) if Instant::now() < until => {
                    tokio::time::sleep(LOG_LOOK).await;
                }
                Ok(_) => return Err(LinkError::Refused("no call is up in this conversation".to_owned())),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a link by the first of these ways that can be.
    ///
    /// # Errors
    /// [`LinkError::Refused`] with the last way's reason when it went out by none.
    pub async fn send_first(
        &self,
        conversation: ConversationId,
        minted: &mut Minted,
        ways: &[LinkVia],
    ) -> Result<(), LinkError> {
        let state = self.state(conversation).await?;
        let number = caller(&state).map(|leg| number_of(leg).to_owned()).unwrap_or_default();
        for via in ways {
            self.send(conversation, minted, *via, &number).await;
            if minted.sent.last().is_some_and(|sent| sent.failed.is_none()) {
                return Ok(());
            }
        }
        let last = minted.sent.last().and_then(|sent| sent.failed.clone());
        Err(LinkError::Refused(last.unwrap_or_else(|| "no way to send it is named".to_owned())))
    }

    async fn send(&self, conversation: ConversationId, minted: &mut Minted, via: LinkVia, number: &str) {
        let mut fate = None;
        let sent = match via {
            LinkVia::Shown => Ok(()),
            LinkVia::Code => match self.make_code(conversation, minted.link, number).await {
                Ok(code) => {
                    minted.code = Some(code);
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            },
            LinkVia::App => match &self.hook {
                Some(hook) => hook.push(conversation, number, &minted.url, minted.expires).await,
                None => Err("no app is known: set [companion] app_hook".to_owned()),
            },
            LinkVia::Sms => match &self.sms {
                Some(sms) => match sms.send(number, &self.sms_text.replace("{url}", &minted.url)).await {
                    Ok(told) => {
                        fate = told;
                        Ok(())
                    }
                    Err(error) => Err(error.to_string()),
                },
                None => Err("no short messages can be sent: set [sms]".to_owned()),
            },
        };
        let failed = sent.err();
        let to = (via == LinkVia::Sms).then(|| Pii::new(number));
        let event = LinkSent { link: minted.link, via, to, failed: failed.clone() };
        let source = source::link(&self.tenant, minted.link);
        // What the site has not set up was not tried. That it went out is no less true when the log does not take it now.
        let set_up = match via {
            LinkVia::Shown => false,
            LinkVia::App => self.hook.is_some(),
            LinkVia::Sms => self.sms.is_some(),
            LinkVia::Code => true,
        };
        if set_up && let Err(error) = self.keep(conversation, source, &format!("sent:{via}"), event).await {
            tracing::warn!(%error, "that a link went out could not be written to the log");
        }
        if let Some(fate) = fate {
            self.follow_up(conversation, minted.link, number, fate);
        }
        minted.sent.push(Sent { via, failed });
    }

    /// Writes to the log that a short message did not arrive after all, when its centre says so while the link lives: the agent sees it,
    /// and a plan that waits goes another way.
    fn follow_up(&self, conversation: ConversationId, link: Hash, number: &str, fate: Fate) {
        let (me, to) = (self.me.clone(), Pii::new(number));
        let life = Duration::try_from(LINK_TTL_MAX).unwrap_or_default();
        tokio::spawn(async move {
            let Ok(Ok(why)) = tokio::time::timeout(life, fate).await else { return };
            let Some(companion) = me.upgrade() else { return };
            let event = LinkSent { link, via: LinkVia::Sms, to: Some(to), failed: Some(why) };
            let source = source::link(&companion.tenant, link);
            if let Err(error) = companion.keep(conversation, source, watch::RECEIPT, event).await {
                tracing::warn!(%error, "that a link did not arrive could not be written to the log");
            }
        });
    }

    /// A code of six digits that is good with the last four of the caller's number.
    async fn make_code(&self, conversation: ConversationId, link: Hash, number: &str) -> Result<String, LinkError> {
        let last = last_four(number).ok_or_else(|| {
            LinkError::Refused("the caller's number is not known, and a spoken code is good only with it".to_owned())
        })?;
        let now = self.now();
        let expires = now.saturating_add(LINK_CODE_TTL).unwrap_or(now);
        for _ in 0..CODE_DRAWS {
            let code = format!("{:06}", rand::random_range(0..1_000_000_u32));
            let place = source::link_code(&self.tenant, code_hash(&code, last));
            // Somebody else's who ends in the same four digits: one of a million.
            if self.store.thread(&self.tenant, &place).await?.is_some() {
                continue;
            }
            self.keep(conversation, place, &format!("{link}"), LinkCode { link, expires }).await?;
            // Who hears it may type it at once.
            return self.await_code(&code, last).await.map(|()| code);
        }
        Err(LinkError::Unavailable("no code is free now; try again".to_owned()))
    }

    async fn await_code(&self, code: &str, last: &str) -> Result<(), LinkError> {
        let until = Instant::now() + LOG_WAIT;
        while self.link_of_code(code, last).await?.is_none() {
            if Instant::now() >= until {
                return Err(LinkError::Unavailable("the log is slow just now; try again".to_owned()));
            }
            tokio::time::sleep(LOG_LOOK).await;
        }
        Ok(())
    }

    /// What a page shows of a link: nothing is changed by it.
    ///
    /// # Errors
    /// [`LinkError::Unknown`], [`LinkError::Over`], [`LinkError::Taken`] by another device, [`LinkError::TooMany`].
    pub async fn look(&self, token: &str, device: Option<Hash>, from: IpAddr) -> Result<Look, LinkError> {
        let link = self.link_of(token, from)?;
        self.look_at(link, device, from).await
    }

    /// [`Self::look`] by the link's name.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub async fn look_at(&self, link: Hash, device: Option<Hash>, from: IpAddr) -> Result<Look, LinkError> {
        self.known(link, from).await?;
        let (view, state) = self.view(link).await?;
        let now = self.now();
        let (standing, until) = view.standing(&state, now);
        let yours = view.device.is_some() && view.device == device;
        match standing {
            Standing::Over => return Err(LinkError::Over),
            Standing::Taken if !yours => return Err(LinkError::Taken),
            Standing::Taken | Standing::Open => {}
        }
        let (ids, words) = if yours { (view.ids.clone(), view.words.clone()) } else { Default::default() };
        if yours {
            self.tell_shown(&view).await;
        }
        let own_id = |id: String| id.strip_prefix("companion:").map(str::to_owned);
        Ok(Look {
            link,
            yours,
            until,
            in_call: caller(&state).is_some(),
            ids: ids.into_iter().filter_map(own_id).collect(),
            words: words.into_iter().map(|word| (word.seq, word.text)).collect(),
            files_left: FILES_MAX.saturating_sub(view.files),
        })
    }

    /// Binds a link to a device: the first one that asks.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub async fn join(&self, token: &str, device: Hash, from: IpAddr) -> Result<Hash, LinkError> {
        let link = self.link_of(token, from)?;
        self.known(link, from).await?;
        self.bind(link, device, LinkVia::Shown).await?;
        Ok(link)
    }

    /// Binds the link of a spoken code to a device. `number`: the last four digits of the caller's.
    ///
    /// # Errors
    /// [`LinkError::WrongCode`], [`LinkError::TooMany`], else as [`Self::look`].
    pub async fn join_by_code(&self, code: &str, number: &str, device: Hash, from: IpAddr) -> Result<Hash, LinkError> {
        let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(code, 6) || !digits(number, 4) {
            return Err(LinkError::Malformed("six digits of the code and the last four of your number are asked for"));
        }
        let (now, whose) = (Instant::now(), number.to_owned());
        // Counted before it is looked up: who asks for many codes at once is counted for each.
        self.codes_by_address.take(&from, now).map_err(LinkError::TooMany)?;
        if let Err(wait) = self.codes_by_number.take(&whose, now) {
            self.codes_by_address.give_back(&from, now);
            return Err(LinkError::TooMany(wait));
        }
        let found = self.link_of_code(code, number).await;
        if !matches!(found, Ok(None)) {
            self.codes_by_address.give_back(&from, now);
            self.codes_by_number.give_back(&whose, now);
        }
        let Some(link) = found? else { return Err(LinkError::WrongCode) };
        self.bind(link, device, LinkVia::Code).await?;
        Ok(link)
    }

    /// The link of a code that is good now.
    async fn link_of_code(&self, code: &str, number: &str) -> Result<Option<Hash>, LinkError> {
        let place = source::link_code(&self.tenant, code_hash(code, number));
        let Some(conversation) = self.store.thread(&self.tenant, &place).await? else { return Ok(None) };
        let (mut after, mut found) = (0, None);
        loop {
            let page = self.store.read(&self.tenant, conversation, after, ark_store::limits::READ_RECORDS_MAX).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = last.seq;
            for record in page {
                if let (Event::LinkCode(made), true) = (&record.event.event, record.event.source == place) {
                    found = (made.expires > self.now()).then_some(made.link);
                }
            }
        }
    }

    async fn bind(&self, link: Hash, device: Hash, via: LinkVia) -> Result<(), LinkError> {
        let (view, state) = self.view(link).await?;
        match (view.standing(&state, self.now()).0, view.device) {
            (Standing::Over, _) => return Err(LinkError::Over),
            (_, Some(taken)) if taken == device => return Ok(()),
            (_, Some(_)) => return Err(LinkError::Taken),
            (_, None) => {}
        }
        let joined = LinkJoined { link, leg: LegId(0), device, via };
        self.keep(view.conversation, source::link(&self.tenant, link), JOINED, joined).await?;
        // Whose it is says the log: of two who asked at once the store took one.
        let view = self.await_view(link, |view| view.device.is_some()).await?;
        if view.device == Some(device) { Ok(()) } else { Err(LinkError::Taken) }
    }

    /// Takes words from the page; `id` is the page's own, the same again is taken once.
    ///
    /// # Errors
    /// [`LinkError::Flood`], [`LinkError::Malformed`], else as [`Self::look`].
    pub async fn text(&self, link: Hash, device: Option<Hash>, id: &str, text: &str) -> Result<(), LinkError> {
        check_id(id)?;
        let text = text.trim();
        if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX {
            return Err(LinkError::Malformed("a message has 1 to 2,000 characters"));
        }
        let kept = self.kept(link).await?;
        let _place = kept.places.try_acquire().map_err(|_| LinkError::Flood("one after the other, please"))?;
        let view = self.yours(link, device).await?;
        if view.ids.contains(&event_id(id)) {
            return Ok(());
        }
        if view.texts >= TEXTS_MAX {
            return Err(LinkError::Flood("more messages than this page takes: ask for a new link"));
        }
        self.message(&view, link, id, vec![Part::Text { text: Content::new(text) }]).await?;
        Ok(())
    }

    /// Whether a device may send to a link now.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub async fn may_send(&self, link: Hash, device: Option<Hash>) -> Result<(), LinkError> {
        self.yours(link, device).await.map(drop)
    }

    /// How much of a file is here.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub async fn length(&self, link: Hash, device: Option<Hash>, id: &str) -> Result<u64, LinkError> {
        check_id(id)?;
        self.yours(link, device).await?;
        Ok(self.parts.length(link, id).await)
    }

    /// Takes a piece of a picture. Gives how much is here; none: it is whole, and the conversation has it.
    ///
    /// # Errors
    /// [`LinkError::Offset`], [`LinkError::TooLarge`], [`LinkError::NoPicture`], [`LinkError::Flood`], else as [`Self::look`].
    pub async fn piece(
        &self,
        (link, device): (Hash, Option<Hash>),
        id: &str,
        (offset, size): (u64, u64),
        name: Option<String>,
        piece: &[u8],
    ) -> Result<Option<u64>, LinkError> {
        check_id(id)?;
        let kept = self.kept(link).await?;
        let _place = kept.places.try_acquire().map_err(|_| LinkError::Flood("fewer files at once, please"))?;
        let view = self.yours(link, device).await?;
        if view.ids.contains(&event_id(id)) {
            return Ok(None);
        }
        let bytes_max = crate::channel_host::limits::IMAGE_BYTES_MAX;
        if size > bytes_max {
            return Err(LinkError::TooLarge(bytes_max));
        }
        if size == 0 || piece.is_empty() {
            return Err(LinkError::NoPicture("it is empty".to_owned()));
        }
        if view.files >= FILES_MAX || view.bytes + size > LINK_BYTES_MAX {
            return Err(LinkError::Flood("this link has taken all the pictures that it may: ask for a new one"));
        }
        let whole_place = if offset + piece.len() as u64 >= size { self.wholes.acquire().await.ok() } else { None };
        let whole = match self.parts.add(link, id, (offset, size), piece).await? {
            Took::Part(length) => return Ok(Some(length)),
            Took::Whole(whole) => whole,
        };
        let media = self.files.keep(whole, FileKind::Image, name).await;
        drop(whole_place);
        self.parts.forget(link, id).await;
        let media = media.map_err(|failure| match failure {
            FetchFailure::TooLarge { bytes_max } => LinkError::TooLarge(bytes_max),
            FetchFailure::Broken(why) => LinkError::NoPicture(why),
            other => LinkError::Unavailable(other.to_string()),
        })?;
        let reference = media.reference.clone();
        let sent = self.message(&view, link, id, vec![Part::Image { media, fallback_text: None }]).await;
        // A copy, or one that nobody will ever refer to.
        if !matches!(sent, Ok(false)) {
            let _ = self.files.remove(&reference).await;
        }
        sent.map(|_| None)
    }

    /// Gives a message of the page to its conversation. Whether it was there before.
    async fn message(&self, view: &View, link: Hash, id: &str, parts: Vec<Part>) -> Result<bool, LinkError> {
        let short: String = link.to_string().chars().take(16).collect();
        let sender =
            Party { role: PartyRole::Customer, id: Pii::new(short), kind: Some("companion".to_owned()), display: None };
        let thread = link.to_string();
        let message = MessageIn { thread, sender, parts, reply_to: None, native_id: None, window: None };
        self.keep(view.conversation, source::link(&self.tenant, link), &event_id(id), message).await
    }

    /// The page has shown what the house wrote: its receipts, once each.
    async fn tell_shown(&self, view: &View) {
        let Some(made) = &view.made else { return };
        for word in view.words.iter().filter(|word| !word.shown) {
            let (message, state) = (word.key.clone(), ReceiptState::Delivered);
            let receipt = Receipt { thread: made.link.to_string(), message, state, native_id: None, reason: None };
            let id = format!("{}:delivered", word.key);
            let source = source::link(&self.tenant, made.link);
            if let Err(error) = self.keep(view.conversation, source, &id, receipt).await {
                tracing::debug!(%error, "that a page showed a message is told later");
                return;
            }
        }
    }

    /// Makes an event durable and gives it to its conversation; whether it was there before.
    async fn keep(
        &self,
        conversation: ConversationId,
        source: String,
        id: &str,
        event: impl Into<Event>,
    ) -> Result<bool, LinkError> {
        let at = self.now();
        let event = CloudEvent::new(id, source, at, event);
        let join = Join::Conversation(conversation);
        let new = NewInbound { tenant: self.tenant.clone(), at, event, begin: conversation, join };
        Ok(self.ingest.put(new).await?.duplicate)
    }

    fn link_of(&self, token: &str, from: IpAddr) -> Result<Hash, LinkError> {
        let plain = token.len() == TOKEN_LETTERS && token.bytes().all(|b| LETTERS.contains(&b));
        if plain {
            return Ok(Hash::of(token.as_bytes()));
        }
        self.missed(from)
    }

    /// Somebody asked for what is not there.
    fn missed<T>(&self, from: IpAddr) -> Result<T, LinkError> {
        let now = Instant::now();
        self.misses.miss(from, now);
        Err(self.misses.wait(&from, now).map_or(LinkError::Unknown, LinkError::TooMany))
    }

    /// That a link is there at all. Who asks for many that are not is not told any more.
    async fn known(&self, link: Hash, from: IpAddr) -> Result<(), LinkError> {
        if let Some(wait) = self.misses.wait(&from, Instant::now()) {
            return Err(LinkError::TooMany(wait));
        }
        match self.kept(link).await {
            Err(LinkError::Unknown) => self.missed(from),
            other => other.map(drop),
        }
    }

    /// The link, when it is this device's now.
    async fn yours(&self, link: Hash, device: Option<Hash>) -> Result<View, LinkError> {
        let (view, state) = self.view(link).await?;
        match view.standing(&state, self.now()).0 {
            Standing::Over => Err(LinkError::Over),
            Standing::Open => Err(LinkError::NotBegun),
            Standing::Taken if device.is_none() => Err(LinkError::NoCookie),
            Standing::Taken if device != view.device => Err(LinkError::Taken),
            Standing::Taken => Ok(view),
        }
    }

    async fn kept(&self, link: Hash) -> Result<Arc<Kept>, LinkError> {
        if let Some(kept) = self.lock().get(&link) {
            return Ok(Arc::clone(kept));
        }
        let source = source::link(&self.tenant, link);
        let conversation = self.store.thread(&self.tenant, &source).await?.ok_or(LinkError::Unknown)?;
        let view = tokio::sync::Mutex::new(View::new(conversation, source));
        let mut views = self.lock();
        if views.len() >= LINKS_KEPT {
            // All of it is in the log.
            views.retain(|_, kept| Arc::strong_count(kept) > 1);
        }
        let new = Arc::new(Kept { view, places: Semaphore::new(LINK_REQUESTS_MAX) });
        Ok(Arc::clone(views.entry(link).or_insert(new)))
    }

    /// The link as the log tells it now, and its conversation.
    async fn view(&self, link: Hash) -> Result<(View, ConversationState), LinkError> {
        let kept = self.kept(link).await?;
        let mut view = kept.view.lock().await;
        loop {
            let (conversation, after) = (view.conversation, view.seq());
            let page = self.store.read(&self.tenant, conversation, after, ark_store::limits::READ_RECORDS_MAX).await?;
            if page.is_empty() {
                break;
            }
            page.iter().for_each(|record| view.apply(record));
        }
        let state = self.state(view.conversation).await?;
        Ok((view.clone(), state))
    }

    /// Waits until the log says something of a link.
    async fn await_view(&self, link: Hash, done: impl Fn(&View) -> bool) -> Result<View, LinkError> {
        let until = Instant::now() + LOG_WAIT;
        loop {
            let (view, _) = self.view(link).await?;
            if done(&view) {
                return Ok(view);
            }
            if Instant::now() >= until {
                return Err(LinkError::Unavailable("the log is slow just now; try again".to_owned()));
            }
            tokio::time::sleep(LOG_LOOK).await;
        }
    }

    async fn state(&self, conversation: ConversationId) -> Result<ConversationState, LinkError> {
        let state = self.store.summary(&self.tenant, conversation).await?;
        state.ok_or(LinkError::NoConversation(conversation))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Hash, Arc<Kept>>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder of files that are on their way.
    #[must_use]
    pub fn parts_below(files: &Path) -> std::path::PathBuf {
        files.join("uploads")
    }
}

/// The caller's leg while it is up.
fn caller(state: &ConversationState) -> Option<&LegState> {
    let up = |leg: &&LegState| {
        leg.medium == Medium::Call
            && leg.role == Role::Customer
            && matches!(leg.phase, LegPhase::Ringing | LegPhase::Active | LegPhase::Held)
    };
    state.legs.iter().find(up)
}

/// The number of who is at the other end, whoever called.
pub(crate) fn number_of(leg: &LegState) -> &str {
    let party = if leg.direction == Direction::Inbound { &leg.from } else { &leg.to };
    let text = party.reveal();
    // Of a SIP address the user part.
    let text = text.strip_prefix("sip:").unwrap_or(text);
    text.split('@').next().unwrap_or_default()
}

/// The last four digits of a number that has as many.
fn last_four(number: &str) -> Option<&str> {
    let plain = number.strip_prefix('+').unwrap_or(number);
    let fits = plain.len() >= 4 && plain.bytes().all(|b| b.is_ascii_digit());
    if fits { plain.get(plain.len() - 4..) } else { None }
}

fn code_hash(code: &str, number: &str) -> Hash {
    Hash::of(format!("{code}/{number}").as_bytes())
}

/// 128 random bits from the system.
/// A token of 128 random bits.
pub(crate) fn token() -> String {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    let mut bits = u128::from_le_bytes(bytes);
    let mut token = String::with_capacity(TOKEN_LETTERS);
    for _ in 0..TOKEN_LETTERS {
        token.push(char::from(LETTERS[(bits & 31) as usize]));
        bits >>= 5;
    }
    token
}

fn event_id(id: &str) -> String {
    format!("companion:{id}")
}

/// A page's own id of what it sends: it stands in an event's id.
fn check_id(id: &str) -> Result<(), LinkError> {
    let plain = (8..=40).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
    if plain { Ok(()) } else { Err(LinkError::Malformed("an id has 8 to 40 letters and digits")) }
}

#[cfg(test)]
mod tests;
