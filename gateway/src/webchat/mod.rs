//! Chat in web pages: the channel of kind `web`.
//!
//! A page speaks with this gateway itself (`/chat/NAME`, docs/webchat.md), so there is no provider between. What it writes goes the
//! way of every channel: through the [`ChannelHost`], which checks whose it may be, into the inbox, and is acknowledged once it is
//! durable. What it reads is the conversation's log, as far as a visitor may see it ([`view`]): a message of the house is there for
//! it when it is committed, whether it looks now, in an hour, or at another gateway of the site. So the gateway keeps nothing of
//! a visitor in memory that a restart would lose, and no message is ever sent twice.
//!
//! [`visit`] is one page's visit as a machine; the [`Hub`] does its I/O. One task listens to the bus for all of them and tells those
//! whom a record concerns to look into the log.

mod channel;
mod drive;
pub(crate) mod hours;
pub mod limits;
pub(crate) mod proto;
mod rates;
mod registry;
mod settings;
#[cfg(test)]
mod tests;
mod token;
mod view;
mod visit;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ark_conversation::channel::{Channel, FileKind};
use ark_conversation::{Assurance, ConversationId, ConversationKind, Owner, Tenant, mask_number};
use ark_store::{ListFilter, Openness, Store};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;

use self::drive::Drive;
use self::limits::*;
use self::proto::{Hello, Said, Tell};
use self::rates::{Rates, What};
use self::registry::Registry;
use self::settings::{Sends, Site};
use self::view::Place;
use self::visit::{Do, Visit};
use crate::callbacks::{Callbacks, CannotCallBack};
use crate::channel_host::ChannelHost;
use crate::config::Config;
use crate::conversations::owner::CommandError;
use crate::webrtc::WebRtc;
use crate::webrtc::token::{Into, Purpose};

pub use self::settings::KIND;

/// The machine of a channel of this kind, and how sure it may be of whom it speaks with: its key is the site's own login.
///
/// # Errors
/// A sentence about its settings or secrets, without any secret.
pub(crate) fn build(
    channel: &crate::config::Channel,
    tenant: &Tenant,
) -> Result<(Box<dyn Channel>, Assurance), String> {
    let site = Site::read(channel, tenant)?;
    Ok((Box::new(channel::WebChannel::new()), site.assurance))
}

/// What the hub works with.
pub struct HubConfig {
    /// Whose data it is.
    pub tenant: Tenant,
    /// The log of record.
    pub store: Arc<dyn Store>,
    /// What tells of commits.
    pub bus: Arc<dyn ark_bus::Bus>,
    /// Where what came in is kept.
    pub host: Arc<ChannelHost>,
    /// Browsers' calls.
    pub webrtc: Arc<WebRtc>,
    /// Who may be called back.
    pub callbacks: Callbacks,
}

/// The hotline behind a channel's call button, when there is no such one: for the check of a site's file.
pub(crate) fn unknown_hotline<'a>(channel: &'a crate::config::Channel, config: &Config) -> Option<&'a str> {
    let number = channel.settings.get("call").filter(|_| channel.kind == KIND)?.as_str()?;
    config.hotline.iter().all(|hotline| hotline.number != number).then_some(number)
}

/// Every page that chats with this gateway.
pub struct Hub {
    sites: BTreeMap<String, Arc<Site>>,
    tenant: Tenant,
    store: Arc<dyn Store>,
    host: Arc<ChannelHost>,
    webrtc: Arc<WebRtc>,
    callbacks: Callbacks,
    rates: Mutex<Rates>,
    registry: Arc<Registry>,
    places: Arc<Semaphore>,
    uploads: Semaphore,
    lines: tokio::sync::Mutex<Lines>,
    listener: Option<tokio::task::JoinHandle<()>>,
}

/// Who waits, as it was counted last: by queue, the rank of each.
#[derive(Default)]
struct Lines {
    counted: Option<Instant>,
    by_queue: HashMap<String, Vec<Rank>>,
}

type Rank = (std::cmp::Reverse<u8>, Timestamp, ConversationId);

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

/// Who asks, by what came with the request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The address that is counted.
    pub(crate) address: IpAddr,
    /// `Origin`.
    pub(crate) origin: Option<String>,
    /// Whether that is the gateway's own.
    pub(crate) own: bool,
}

/// A page that may come in.
pub(crate) struct Admitted {
    site: Arc<Site>,
    address: String,
}

/// A file on its way in.
pub(crate) struct Upload {
    /// The page's id of the message.
    pub(crate) id: String,
    /// Its name, as the visitor calls it.
    pub(crate) name: Option<String>,
    /// Its type, as the page says.
    pub(crate) mime: String,
}

impl Hub {
    /// Reads the channels of kind `web` and begins to listen.
    ///
    /// # Errors
    /// A sentence that names the channel.
    pub fn start(config: &Config, with: HubConfig) -> Result<Arc<Self>, String> {
        let HubConfig { tenant, store, bus, host, webrtc, callbacks } = with;
        let mut sites = BTreeMap::new();
        for channel in config.channel.iter().filter(|channel| channel.enabled && channel.kind == KIND) {
            let site =
                Site::read(channel, &tenant).map_err(|error| format!("[[channel]] `{}`: {error}", channel.name))?;
            if let Some(number) = unknown_hotline(channel, config) {
                return Err(format!(
                    "[[channel]] `{}`: settings.call: there is no [[hotline]] `{number}`",
                    channel.name
                ));
            }
            sites.insert(channel.name.clone(), Arc::new(site));
        }
        let registry = Arc::new(Registry::default());
        let listener = (!sites.is_empty()).then(|| tokio::spawn(registry::listen(bus, Arc::clone(&registry))));
        Ok(Arc::new(Self {
            sites,
            tenant,
            store,
            host,
            webrtc,
            callbacks,
            rates: Mutex::default(),
            registry,
            places: Arc::new(Semaphore::new(SOCKETS_MAX)),
            uploads: Semaphore::new(UPLOADS_MAX),
            lines: tokio::sync::Mutex::default(),
            listener,
        }))
    }

    /// The first channel, by name: what the demo page shows.
    #[must_use]
    pub fn first(&self) -> Option<&str> {
        self.sites.keys().next().map(String::as_str)
    }

    /// What every page may know of a channel; none: there is none.
    pub(crate) fn face(&self, channel: &str) -> Option<Value> {
        let mut face = serde_json::to_value(self.sites.get(channel)?.face(Timestamp::now())).ok()?;
        // Whether a visitor may ask to be called by telephone; whether this one can be is said when they ask.
        face["callback"] = self.callbacks.can().into();
        Some(face)
    }

    /// Whether a page of that origin may embed a channel that is there; its calls come from there too.
    pub(crate) fn allows(&self, origin: &str) -> bool {
        self.sites.values().any(|site| site.call.is_some() && site.allows(origin))
    }

    /// Lets a page in, or says why not.
    pub(crate) fn admit(&self, channel: &str, caller: &Caller) -> Result<Admitted, (StatusCode, String)> {
        let site = self.sites.get(channel);
        let site = site.ok_or_else(|| (StatusCode::NOT_FOUND, format!("there is no web chat `{channel}`")))?;
        if let Some(origin) = caller.origin.as_deref().filter(|origin| !caller.own && !site.allows(origin)) {
            let why = format!(
                "pages of {origin} may not embed this chat: its origin is not in settings.origins of the channel"
            );
            return Err((StatusCode::FORBIDDEN, why));
        }
        let address = caller.address.to_string();
        if self.rate(What::Come, &address, COMES_OF_ADDRESS).is_err() {
            return Err((StatusCode::TOO_MANY_REQUESTS, "this address comes too often; wait a moment".to_owned()));
        }
        Ok(Admitted { site: Arc::clone(site), address })
    }

    /// A place for a connection.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    fn rate(&self, what: What, of: &str, how: (f64, f64)) -> Result<(), std::time::Duration> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now(), what, of, how)
    }

    /// What a page of this token is told first, and its visit; an error ends the connection.
    fn begin(&self, admitted: &Admitted, mut hello: Hello) -> Result<(Visit, Vec<Do>), Tell> {
        let refused = |code, again, message: String| Tell::Error { code, again, message };
        let mut fresh = None;
        let token = match hello.token.take() {
            Some(token) => token,
            None => {
                if self.rate(What::New, &admitted.address, NEW_OF_ADDRESS).is_err() {
                    let message = "too many new visitors come from this address; wait a moment".to_owned();
                    return Err(refused("pace", true, message));
                }
                let token = token::new().map_err(|error| refused("full", true, error))?;
                fresh = Some(token.clone());
                token
            }
        };
        let site = &admitted.site;
        let thread = token::thread(&site.name, &token);
        let thread = thread.ok_or_else(|| refused("token", false, "this is no token of a visitor".to_owned()))?;
        Ok(Visit::begin(Timestamp::now(), Arc::clone(site), thread, hello, fresh))
    }

    /// Serves a page that has said hello, until it goes or the gateway stops.
    pub(crate) async fn serve(
        self: Arc<Self>,
        admitted: Admitted,
        hello: Hello,
        said: mpsc::Receiver<Said>,
        out: mpsc::Sender<Tell>,
        closing: watch::Receiver<bool>,
    ) {
        let (visit, first) = match self.begin(&admitted, hello) {
            Ok(begun) => begun,
            Err(refusal) => {
                let _ = out.send(refusal).await;
                return;
            }
        };
        let Some(registered) = self.registry.join(visit.source(), &admitted.address) else {
            let message = "too many pages of this visitor or address are connected; close some".to_owned();
            let _ = out.send(Tell::Error { code: "full", again: true, message }).await;
            return;
        };
        let drive = Drive::new(self, admitted, visit, registered);
        drive.run(first, said, out, closing).await;
    }

    /// One message of a page that has no socket.
    pub(crate) async fn say(self: Arc<Self>, admitted: Admitted, hello: Hello, said: Said) -> Vec<Tell> {
        // Only receipts are about messages of the house.
        let outs = matches!(said, Said::Got { .. } | Said::Read { .. });
        match self.once(admitted, hello, outs).await {
            Ok((mut drive, mut told)) => {
                told.extend(drive.take(said).await);
                told
            }
            Err(refusal) => vec![refusal],
        }
    }

    /// A file of a page: checked, kept, and a message with it.
    pub(crate) async fn upload(
        self: Arc<Self>,
        admitted: Admitted,
        hello: Hello,
        upload: Upload,
        bytes: impl Future<Output = Result<Vec<u8>, Tell>>,
    ) -> Vec<Tell> {
        let Upload { id, name, mime } = upload;
        let nack = |code, after: Option<std::time::Duration>| {
            let after_ms = after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
            vec![Tell::Nack { id: id.clone(), code, again: after.is_some(), after_ms }]
        };
        let image = mime.starts_with("image/");
        match admitted.site.sends {
            Sends::None => return nack("file", None),
            Sends::Images if !image => return nack("file", None),
            Sends::Images | Sends::All => {}
        }
        if !visit::is_id(&id) {
            return nack("bad_id", None);
        }
        let address = admitted.address.clone();
        let (mut drive, mut told) = match Arc::clone(&self).once(admitted, hello, false).await {
            Ok(begun) => begun,
            Err(refusal) => return vec![refusal],
        };
        for (of, pace) in [(drive.source(), FILES_OF_VISITOR), (address.as_str(), FILES_OF_ADDRESS)] {
            if let Err(wait) = self.rate(What::File, of, pace) {
                return nack("pace", Some(wait));
            }
        }
        let Some(_one) = self.registry.upload(&address) else { return nack("busy", Some(LINE_EVERY)) };
        let Ok(_place) = self.uploads.acquire().await else { return nack("busy", Some(LINE_EVERY)) };
        let bytes = match bytes.await {
            Ok(bytes) => bytes,
            Err(refusal) => return vec![refusal],
        };
        let kind = if image { FileKind::Image } else { FileKind::File };
        let files = self.host.files().clone();
        let media = match files.keep(bytes, kind, name).await {
            Ok(media) => media,
            Err(ark_conversation::channel::FetchFailure::Away(error)) => {
                tracing::warn!(%error, "a visitor's file was not kept");
                return nack("busy", Some(LINE_EVERY));
            }
            Err(_) => return nack("file", None),
        };
        let reference = media.reference.clone();
        let answers = drive.message(id, vec![kind.part(media)]).await;
        // What is in no message is nobody's.
        if !answers.iter().any(|tell| matches!(tell, Tell::Ack { duplicate: false, .. })) {
            let _ = files.remove(&reference).await;
        }
        told.extend(answers);
        told
    }

    /// A visit for one message; it knows its conversation, and its page is told nothing of it.
    async fn once(self: Arc<Self>, admitted: Admitted, hello: Hello, outs: bool) -> Result<(Drive, Vec<Tell>), Tell> {
        let (visit, first) = self.begin(&admitted, hello)?;
        let joined = self.registry.join(visit.source(), &admitted.address);
        let message = "too many pages of this visitor or address are connected; close some".to_owned();
        let registered = joined.ok_or(Tell::Error { code: "full", again: true, message })?;
        let mut drive = Drive::new(self, admitted, visit, registered);
        let mut told = drive.carry(first).await;
        // A token that was made just now, or a refused identity: the rest is the stream's.
        told.retain(|tell| match tell {
            Tell::Welcome { token, .. } => token.is_some(),
            Tell::Identified { .. } | Tell::Error { .. } => true,
            _ => false,
        });
        drive.load(outs).await;
        Ok((drive, told))
    }

    /// A visitor's file, or the house's: its bytes, what is known of it, and whether a page may show it in place.
    pub(crate) async fn file(&self, id: &str) -> Option<(Vec<u8>, crate::channel_host::Kept, bool)> {
        let reference = format!("ark-media:{id}");
        let (kept, _) = self.host.files().find(&reference).await?;
        let bytes = self.host.files().read(&reference).await.ok()?;
        let shows = matches!(kept.mime.as_str(), "image/jpeg" | "image/png" | "image/gif" | "image/webp");
        Some((bytes, kept, shows))
    }

    /// How many wait before that place: chats in the same queue, those of other channels too. Counted for all at once, every
    /// [`LINE_KEPT`]; of the newest [`ark_store::limits::LIST_MAX`] conversations.
    async fn ahead(&self, place: &Place) -> Option<usize> {
        let mut lines = self.lines.lock().await;
        if lines.counted.is_none_or(|at| at.elapsed() > LINE_KEPT) {
            let filter =
                ListFilter { openness: Openness::Open, kind: Some(ConversationKind::Chat), ..ListFilter::default() };
            let page = self.store.list(&self.tenant, filter, ark_store::limits::LIST_MAX).await.ok()?;
            let mut by_queue: HashMap<String, Vec<Rank>> = HashMap::new();
            for state in page.conversations {
                if let (Some(Owner::Queue(queue)), Some(place)) = (&state.owner, &state.place) {
                    let rank = (std::cmp::Reverse(place.priority), place.since, state.conversation);
                    by_queue.entry(queue.clone()).or_default().push(rank);
                }
            }
            *lines = Lines { counted: Some(Instant::now()), by_queue };
        }
        let mine = (std::cmp::Reverse(place.priority), place.since);
        let before = lines.by_queue.get(&place.queue);
        Some(before.map_or(0, |line| line.iter().filter(|(priority, since, _)| (*priority, *since) < mine).count()))
    }

    /// Puts the visitor of a conversation in line for a call: the number, masked, or why not. None: the conversation is not there yet, or
    /// begins just now.
    async fn call_back(
        &self,
        conversation: ConversationId,
        phone: Option<String>,
    ) -> Option<Result<String, &'static str>> {
        let state = self.store.summary(&self.tenant, conversation).await.ok().flatten()?;
        state.session.as_ref()?;
        let known = match phone {
            Some(phone) => Some(phone),
            // Nobody is called at a number that they only say is theirs.
            None => match self.callbacks.phone_of(&state).await {
                Ok(Some(phone)) => Some(phone),
                Ok(None) => return Some(Err("no_phone")),
                Err(_) => return Some(Err("unavailable")),
            },
        };
        let queue = match &state.owner {
            Some(Owner::Queue(queue)) => Some(queue.clone()),
            _ => None,
        };
        let by = state.owner.clone().unwrap_or_else(|| Owner::Queue("general".to_owned()));
        let asked = self.callbacks.ask(conversation, by.clone(), (known.clone(), queue)).await;
        // A queue that only the channel names has no telephones: another one calls.
        let asked = match asked {
            Err(CannotCallBack::NoQueue(_)) => self.callbacks.ask(conversation, by, (known, None)).await,
            asked => asked,
        };
        Some(match asked {
            Ok(asked) => Ok(mask_number(&asked.number)),
            Err(CannotCallBack::NoPhone | CannotCallBack::NoWay(_)) => Err("no_phone"),
            Err(CannotCallBack::CallUp) => Err("busy"),
            Err(CannotCallBack::Command(CommandError::Closed)) => Err("closed"),
            Err(error) => {
                tracing::debug!(%conversation, %error, "a visitor cannot be called back");
                Err("unavailable")
            }
        })
    }

    /// A token for a call of a visitor, into the conversation that their thread belongs to. In one that is open the leg's number comes
    /// after those that are there, and the agent who has it is asked first; one that has not begun begins with the call, or with what
    /// the visitor writes before it.
    async fn call_token(&self, site: &Site, source: &str, from: String, name: Option<String>) -> Option<String> {
        let hotline = site.call.clone()?;
        let into = self.call_into(source).await.unwrap_or_else(|error| {
            // Without the store there is a call all the same, of its own.
            tracing::warn!(channel = %site.name, %error, "a visitor's call goes into no conversation");
            None
        });
        Some(self.webrtc.mint(Purpose::Call { hotline, from, name, into }, Timestamp::now() + CALL_TOKEN))
    }

    async fn call_into(&self, source: &str) -> Result<Option<Into>, ark_store::StoreError> {
        let Some(conversation) = self.store.thread(&self.tenant, source).await? else { return Ok(None) };
        let state = self.store.summary(&self.tenant, conversation).await?;
        Ok(state.as_ref().map_or_else(|| Some(Into::begins(conversation)), Into::of))
    }
}
