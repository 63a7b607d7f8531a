//! The channel host: every byte that channels send and receive.
//!
//! Each `[[channel]]` is one account at a provider: a machine ([`ark_conversation::channel::Channel`]) that translates, and
//! a task that does what the machine says. What all channels need is done here once: requests are acknowledged only after
//! what they brought is in the store; addresses are called only when they are the channel's own; files are checked and kept;
//! messages of the house are claimed from the store, sent at the provider's pace, tried again or given up, and what came of
//! them is written to the log.
//!
//! A gateway that dies in the middle of a message leaves it claimed; after [`limits::CLAIM`] another gateway takes it up. Where the
//! provider tells no copies it is not sent again: whether it arrived is not known, and the log says so to the agents.

mod account;
mod breaker;
mod broker;
mod build;
mod deliver;
mod files;
pub mod limits;
mod site;
mod socket;
#[cfg(test)]
mod tests;
mod tokens;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use ark_bus::{Bus, RabbitBus};
use ark_conversation::channel::{Channel, Health, Hosts, HttpReply, HttpRequest, In, Manifest};
use ark_conversation::{Assurance, CloudEvent, Tenant};
use ark_store::Store;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use utoipa::ToSchema;

use account::{Account, Identity, Inputs, Said, Shared};
use deliver::{Pace, Target};
use limits::*;
use wire::Wire;

pub use account::Numbers;
pub use build::{account, accounts, on_the_broker};
pub use files::{Files, Kept};
pub use site::{ToOwner, Typists};
pub use tokens::Seal;

use crate::control::Ready;
use crate::telemetry::{Sample, SampleKind};

/// Where what came in is kept.
pub trait Inlet: Send + Sync {
    /// Makes an event durable and tells its conversation's owner; `true`: it was there before.
    ///
    /// # Errors
    /// A sentence: nothing was kept, and nothing may be acknowledged.
    fn take<'a>(
        &'a self,
        tenant: &'a Tenant,
        event: CloudEvent,
    ) -> Pin<Box<dyn Future<Output = Result<bool, String>> + Send + 'a>>;
}

/// Where what is never kept goes: that somebody types.
pub trait Live: Send + Sync {
    /// Passes it on, or not.
    fn pass_on(&self, event: CloudEvent);
}

/// One account, as the site's file has it.
pub struct AccountConfig {
    /// Its name: in `/hooks/{name}` and in sources.
    pub name: String,
    /// The channel.
    pub channel: Box<dyn Channel>,
    /// The adapter's name in sources.
    pub adapter: String,
    /// Where it may call.
    pub hosts: Hosts,
    /// How sure it may be of whom it speaks with.
    pub assurance: Assurance,
    /// Of an adapter on the broker, its user there: what that user signs is this account's.
    pub signer: Option<String>,
    /// What seals its access tokens for the site's other gateways; none: they are not shared.
    pub seal: Option<Seal>,
}

/// What the host works with.
pub struct HostConfig {
    /// Whose data it is.
    pub tenant: Tenant,
    /// This gateway's id.
    pub gateway: String,
    /// The log of record.
    pub store: Arc<dyn Store>,
    /// What tells of commits; none: what is due is looked for.
    pub bus: Option<Arc<dyn Bus>>,
    /// The broker, for adapters that are there.
    pub broker: Option<Arc<RabbitBus>>,
    /// Where what came in is kept.
    pub inlet: Arc<dyn Inlet>,
    /// Where what is never kept goes.
    pub live: Arc<dyn Live>,
    /// Customers' files.
    pub files: Files,
    /// The folder for what machines save.
    pub saved: PathBuf,
}

/// An account as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChannelView {
    /// Its name.
    pub name: String,
    /// What kind of channel it is.
    pub kind: String,
    /// `up`, `down`, `broken`, or `idle` when it has not said yet.
    pub state: String,
    /// Why it is down or broken, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Where providers call: `/hooks/{name}`.
    pub hook: String,
    /// Events that were kept since the start.
    pub kept: u64,
    /// Events that came again.
    pub duplicates: u64,
    /// Messages that the provider took.
    pub sent: u64,
    /// Messages that it did not take, or of which it is not known.
    pub failed: u64,
}

/// All accounts at work.
pub struct ChannelHost {
    accounts: BTreeMap<String, Running>,
    /// Due messages may be there.
    wake: Vec<Arc<Notify>>,
    files: Files,
}

struct Running {
    adapter: String,
    inputs: Inputs,
    numbers: Arc<Numbers>,
    shared: Arc<Shared>,
}

/// The host's tasks.
pub struct Tasks {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Tasks {
    /// Lets what is being kept come to its end, then ends.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_MAX * 2, all).await;
    }
}

impl ChannelHost {
    /// Starts every account.
    #[must_use]
    pub fn start(config: HostConfig, accounts: Vec<AccountConfig>) -> (Arc<Self>, Tasks) {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut running = BTreeMap::new();
        let mut adapters: BTreeMap<String, BTreeMap<String, Arc<Target>>> = BTreeMap::new();
        let mut signers = broker::Signers::default();
        for AccountConfig { name, channel, adapter, hosts, assurance, signer, seal } in accounts {
            let manifest = channel.manifest().clone();
            let numbers = Arc::new(Numbers::default());
            let out_per_s = manifest.limits.out_per_s;
            let shared = Arc::new(Shared {
                manifest: std::sync::Mutex::new(manifest),
                who: Identity {
                    tenant: config.tenant.clone(),
                    adapter: adapter.clone(),
                    account: name.clone(),
                    assurance,
                },
                wire: Arc::new(Wire::new(hosts)),
                files: config.files.clone(),
                inlet: Arc::clone(&config.inlet),
                live: Arc::clone(&config.live),
                numbers: Arc::clone(&numbers),
                saved: config.saved.join(format!("{name}.json")),
                road: signers.join(config.broker.as_ref(), &name, signer).map(Arc::new),
                breaker: breaker::Breaker::default(),
                vault: seal.map(|seal| {
                    let account = format!("{adapter}/{name}");
                    tokens::Vault::new(Arc::clone(&config.store), &config.tenant, &config.gateway, account, seal)
                }),
            });
            let (account, inputs) = Account::new(channel, Arc::clone(&shared));
            tasks.spawn(account.run(stopped.clone()));
            let target = Target {
                shared: Arc::clone(&shared),
                inputs: inputs.clone(),
                pace: Mutex::new(Pace::new(out_per_s)),
                places: Arc::new(Semaphore::new(SENDS_MAX)),
            };
            adapters.entry(adapter.clone()).or_default().insert(name.clone(), Arc::new(target));
            running.insert(name, Running { adapter, inputs, numbers, shared });
        }
        if let (Some(bus), false) = (config.broker, signers.is_empty()) {
            tasks.spawn(signers.distribute(bus, stopped.clone()));
        }
        let mut wake = Vec::new();
        for (adapter, targets) in adapters {
            let due = Arc::new(Notify::new());
            wake.push(Arc::clone(&due));
            let (gateway, store) = (config.gateway.clone(), Arc::clone(&config.store));
            tasks.spawn(deliver::run(adapter, gateway, store, targets, due, stopped.clone()));
        }
        let host = Arc::new(Self { accounts: running, wake, files: config.files });
        if let (Some(bus), false) = (config.bus, host.accounts.is_empty()) {
            tasks.spawn(site::show_typing(Arc::clone(&bus), Arc::clone(&host), config.gateway, stopped.clone()));
            tasks.spawn(site::listen(bus, Arc::clone(&host), stopped));
        }
        (host, Tasks { stop, tasks })
    }

    /// Something was committed: messages may be due.
    pub fn wake(&self) {
        for wake in &self.wake {
            wake.notify_one();
        }
    }

    /// Customers' files.
    #[must_use]
    pub const fn files(&self) -> &Files {
        &self.files
    }

    /// Gives a provider's request to its account; none: there is no such account.
    pub async fn ask(&self, account: &str, http: HttpRequest) -> Option<HttpReply> {
        let running = self.accounts.get(account)?;
        let busy = || HttpReply::text(503, "busy: try again").with("retry-after", "5");
        let (answer, answered) = oneshot::channel();
        if running.inputs.try_say(Said::Asked { http, answer }).is_err() {
            return Some(busy());
        }
        Some(match tokio::time::timeout(ANSWER_MAX, answered).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) | Err(_) => busy(),
        })
    }

    /// Keeps an event of an account whose customers speak with this gateway itself, as one that its machine made; whether it
    /// was there before. The caller keeps the order.
    ///
    /// # Errors
    /// A sentence: nothing was kept, and nothing may be acknowledged.
    pub async fn keep(&self, account: &str, event: CloudEvent) -> Result<bool, String> {
        let running = self.accounts.get(account).ok_or_else(|| format!("there is no [[channel]] `{account}`"))?;
        account::keep_one(&running.shared, event).await
    }

    /// Passes on an event of such an account that is never kept.
    pub fn pass_on(&self, account: &str, event: CloudEvent) {
        if let Some(running) = self.accounts.get(account) {
            account::pass_on(&running.shared, event);
        }
    }

    /// Gives an account something of the house that is shown and never kept; while its machine has much to do it is left out.
    fn show(&self, adapter: &str, account: &str, event: CloudEvent) {
        if let Some(running) = self.accounts.get(account).filter(|running| running.adapter == adapter) {
            let _ = running.inputs.try_say(Said::Input(In::Live(Box::new(event))));
        }
    }

    /// What an account's machine says of itself.
    #[must_use]
    pub fn manifest(&self, account: &str) -> Option<Manifest> {
        let shared = &self.accounts.get(account)?.shared;
        Some(shared.manifest.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Every account, by name.
    #[must_use]
    pub fn views(&self) -> Vec<ChannelView> {
        let load = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
        let view = |(name, running): (&String, &Running)| {
            let look = running.shared.breaker.look(std::time::Instant::now());
            let (state, why) = match (running.numbers.health(), look.closed_in) {
                (Some(Health::Broken { why }), _) => ("broken", Some(why)),
                (_, Some(left)) => {
                    let why = format!(
                        "its provider failed {} times in a row and is left alone; it is asked again in {} s",
                        look.failures,
                        left.as_secs() + 1
                    );
                    ("down", Some(why))
                }
                (None, None) => ("idle", None),
                (Some(Health::Up), None) => ("up", None),
                (Some(Health::Down { why }), None) => ("down", Some(why)),
            };
            ChannelView {
                name: name.clone(),
                kind: running.adapter.clone(),
                state: state.to_owned(),
                why,
                hook: format!("/hooks/{name}"),
                kept: load(&running.numbers.kept),
                duplicates: load(&running.numbers.duplicates),
                sent: load(&running.numbers.sent),
                failed: load(&running.numbers.failed),
            }
        };
        self.accounts.iter().map(view).collect()
    }

    /// Items of readiness: one that is broken or down is told, and the gateway is ready all the same.
    #[must_use]
    pub fn readiness(&self) -> Vec<Ready> {
        let item = |view: ChannelView| Ready {
            name: format!("channel {}", view.name),
            ok: true,
            detail: match view.why {
                Some(why) => format!("{}: {why}", view.state),
                None => format!("{} messages in, {} out", view.kept, view.sent),
            },
        };
        self.views().into_iter().map(item).collect()
    }

    /// Values of this moment for `/metrics`.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        type Number = fn(&ChannelView) -> u64;
        let numbers: [(&'static str, &'static str, Number); 4] = [
            ("ark_channel_events_kept_total", "Events of a channel that were kept.", |view| view.kept),
            ("ark_channel_duplicates_total", "Events of a channel that came again.", |view| view.duplicates),
            ("ark_channel_sent_total", "Messages that a channel's provider took.", |view| view.sent),
            ("ark_channel_failed_total", "Messages that a channel's provider did not take.", |view| view.failed),
        ];
        let views = self.views();
        let mut samples = Vec::with_capacity(numbers.len() * views.len());
        for (name, help, number) in numbers {
            for view in &views {
                let label = Some(("channel", view.name.clone()));
                #[expect(clippy::cast_precision_loss, reason = "Prometheus speaks in doubles")]
                let value = number(view) as f64;
                samples.push(Sample { name, help, kind: SampleKind::Counter, label, value });
            }
        }
        samples.extend(self.breakers());
        samples
    }

    /// Which providers are left alone now, and how often that was.
    fn breakers(&self) -> Vec<Sample> {
        type Number = fn(&breaker::Look) -> u64;
        let (counter, gauge) = (SampleKind::Counter, SampleKind::Gauge);
        let numbers: [(&'static str, &'static str, SampleKind, Number); 3] = [
            ("ark_channel_breaker_open", "Whether a channel's provider is left alone after failures.", gauge, |look| {
                u64::from(look.closed_in.is_some())
            }),
            ("ark_channel_breaker_opened_total", "How often that began.", counter, |look| look.total),
            ("ark_channel_calls_held_total", "Calls that were not made for it.", counter, |look| look.held),
        ];
        let now = std::time::Instant::now();
        let looks: Vec<_> = self.accounts.iter().map(|(name, one)| (name, one.shared.breaker.look(now))).collect();
        let mut samples = Vec::with_capacity(numbers.len() * looks.len());
        for (name, help, kind, number) in numbers {
            for (channel, look) in &looks {
                let label = Some(("channel", (*channel).clone()));
                #[expect(clippy::cast_precision_loss, reason = "Prometheus speaks in doubles")]
                let value = number(look) as f64;
                samples.push(Sample { name, help, kind, label, value });
            }
        }
        samples
    }
}
