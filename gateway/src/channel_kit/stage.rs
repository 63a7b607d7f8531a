//! One channel of the gateway at work, for the kit: the host, a store of its own, and the provider played on loopback.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ark_conversation::channel::HttpReply;
use ark_conversation::event::{MessageOut, Part, Party, PartyRole, Receipt};
use ark_conversation::{CloudEvent, ConversationId, Event, Pii, Tenant};
use ark_store::{Commit, NewDelivery, SqliteStore, Store};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::{Checked, Stop, broken, expect};
use crate::channel_host::{ChannelHost, Files, HostConfig, Inlet, Live, Tasks, account};
use crate::providers::{Fault, Provider, Providers, Shown};

/// How long one step may take: a provider's silence and a pause after 429 included.
const PATIENCE: Duration = Duration::from_secs(45);
/// How long nothing more must come to be believed.
const QUIET: Duration = Duration::from_millis(1_500);

/// A check with a provider.
pub(super) type StageCheck = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = Checked> + Send + 'a>>;

/// The check of this name, when it is asked so.
pub(super) fn check(id: &str) -> Option<StageCheck> {
    Some(match id {
        "A-PART-2" => |stage| Box::pin(words_as_they_are(stage)),
        "A-ID-1" => |stage| Box::pin(once(stage)),
        "A-ORD-2" | "A-RATE-1" => |stage| Box::pin(in_order_when_it_was_busy(stage)),
        "A-RCP-1" => |stage| Box::pin(told_what_was_sent(stage)),
        "A-RCP-2" => |stage| Box::pin(refused_and_on(stage)),
        "A-UNK-1" => |stage| Box::pin(silence_is_unknown(stage)),
        _ => return None,
    })
}

/// What the house was brought.
#[derive(Default)]
struct Kept {
    events: Mutex<Vec<CloudEvent>>,
    news: watch::Sender<usize>,
}

impl Kept {
    fn all(&self) -> Vec<CloudEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Inlet for Kept {
    fn take<'a>(
        &'a self,
        _: &'a Tenant,
        event: CloudEvent,
    ) -> Pin<Box<dyn Future<Output = Result<bool, String>> + Send + 'a>> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let there = events.iter().any(|known| known.source == event.source && known.id == event.id);
        if !there {
            events.push(event);
            self.news.send_replace(events.len());
        }
        Box::pin(std::future::ready(Ok(there)))
    }
}

impl Live for Kept {
    fn pass_on(&self, _: CloudEvent) {}
}

/// The channel, its provider, and what each was given.
pub(super) struct Stage {
    provider: Provider,
    providers: Providers,
    shown: mpsc::Receiver<Shown>,
    host: Arc<ChannelHost>,
    tasks: Tasks,
    store: Arc<dyn Store>,
    kept: Arc<Kept>,
    adapter: String,
    count: u32,
    folder: PathBuf,
}

impl Stage {
    /// Starts all of it in a folder that goes with it.
    pub(super) async fn start(provider: Provider) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("ark-stage-{:016x}", rand::random::<u64>()));
        let cannot = |error: std::io::Error| format!("the provider cannot be played: {error}");
        std::fs::create_dir_all(&folder).map_err(cannot)?;
        let (providers, shown) = Providers::start().await.map_err(cannot)?;
        let channels = providers.channels(&[provider], &folder.join("secrets")).map_err(cannot)?;
        let channel = channels.iter().find(|channel| channel.name == provider.account());
        let built = account(channel.ok_or("it has no account")?, &Tenant::MAIN)?;
        let store = SqliteStore::open(folder.join("ark.db")).map_err(|error| error.to_string())?;
        let (store, kept): (Arc<dyn Store>, _) = (Arc::new(store), Arc::new(Kept::default()));
        let adapter = built.adapter.clone();
        let config = HostConfig {
            tenant: Tenant::MAIN,
            gateway: "kit".to_owned(),
            store: Arc::clone(&store),
            bus: None,
            broker: None,
            inlet: Arc::clone(&kept) as Arc<dyn Inlet>,
            live: Arc::clone(&kept) as Arc<dyn Live>,
            files: Files::new(folder.join("attachments")),
            saved: folder.join("channels"),
        };
        let (host, tasks) = ChannelHost::start(config, vec![built]);
        Ok(Self { provider, providers, shown, host, tasks, store, kept, adapter, count: 0, folder })
    }

    /// Ends all of it.
    pub(super) async fn end(self) {
        self.tasks.stop().await;
        drop((self.host, self.store));
        let _ = std::fs::remove_dir_all(self.folder);
    }

    /// A customer writes; the event that the house was brought.
    async fn writes(&self, text: &str) -> Result<CloudEvent, Stop> {
        self.deliver(&self.providers.delivery(self.provider, text)).await?;
        let mine = |event: &&CloudEvent| words(event).is_some_and(|words| words == text);
        let found = self.wait(|events| events.iter().rev().find(mine).cloned()).await;
        found.ok_or_else(|| broken("the customer's message is brought to the house", self.came()))
    }

    /// What the house was brought, in words.
    fn came(&self) -> String {
        format!("{:?}", self.kept.all().iter().filter_map(words).collect::<Vec<_>>())
    }

    async fn deliver(&self, request: &ark_conversation::channel::HttpRequest) -> Result<(), Stop> {
        let status = if self.provider == Provider::Stream {
            let acknowledged = self.providers.push(request).await;
            acknowledged.map_err(|why| broken("the provider's message is acknowledged over the socket", why))?
        } else {
            let reply: Option<HttpReply> = self.host.ask(self.provider.account(), request.clone()).await;
            reply.map_or(0, |reply| reply.status)
        };
        expect(status == 200, "the provider's message is acknowledged", format!("status {status}"))
    }

    /// Waits until something is found in what the house was brought.
    async fn wait<T>(&self, find: impl Fn(&[CloudEvent]) -> Option<T>) -> Option<T> {
        let mut news = self.kept.news.subscribe();
        let waiting = async {
            loop {
                news.borrow_and_update();
                if let Some(found) = find(&self.kept.all()) {
                    return Some(found);
                }
                news.changed().await.ok()?;
            }
        };
        timeout(PATIENCE, waiting).await.ok().flatten()
    }

    /// The house answers in the thread of this message: the key.
    async fn answers(&mut self, to: &CloudEvent, text: &str) -> Result<String, Stop> {
        self.count += 1;
        let key = format!("k{}", self.count);
        let Event::MessageIn(message) = &to.event else { return Err(broken("a message", to.type_name())) };
        let conversation = ConversationId::new(1, 1);
        let sender = Party { role: PartyRole::Agent, id: Pii::new("anna"), kind: None, display: None };
        let out = MessageOut {
            thread: message.thread.clone(),
            conversation,
            epoch: 1,
            sender,
            parts: vec![Part::text(text)],
            reply_to: None,
            leg: None,
        };
        let event = CloudEvent::new(key.as_str(), to.source.clone(), Timestamp::now(), out);
        let delivery = NewDelivery {
            tenant: Tenant::MAIN,
            adapter: self.adapter.clone(),
            key: key.clone(),
            order_key: to.source.clone(),
            conversation,
            body: serde_json::to_value(&event).unwrap_or_default(),
            not_before: None,
        };
        let left = self.store.commit(Commit { deliveries: vec![delivery], ..Commit::default() }).await;
        left.map_err(|error| Stop::NotHere(format!("the kit's own store: {error}")))?;
        self.host.wake();
        Ok(key)
    }

    /// What the customers' screens show next.
    async fn sees(&mut self) -> Result<String, Stop> {
        let shown = timeout(PATIENCE, self.shown.recv()).await.ok().flatten();
        shown.map(|shown| shown.text).ok_or_else(|| broken("the customer is shown the house's words", "nothing"))
    }

    /// The receipt of a message that ends its way.
    async fn receipt(&self, key: &str) -> Result<Receipt, Stop> {
        let of = |events: &[CloudEvent]| {
            events.iter().find_map(|event| match &event.event {
                Event::Receipt(receipt) if receipt.message == key => Some(receipt.clone()),
                _ => None,
            })
        };
        self.wait(of).await.ok_or_else(|| broken("what became of a message is told", format!("no receipt of {key}")))
    }
}

/// A customer's words.
fn words(event: &CloudEvent) -> Option<String> {
    let Event::MessageIn(message) = &event.event else { return None };
    let texts = message.parts.iter().filter_map(|part| match part {
        Part::Text { text } => Some(text.reveal().to_owned()),
        _ => None,
    });
    Some(texts.collect::<Vec<_>>().join("\n"))
}

async fn words_as_they_are(stage: &mut Stage) -> Checked {
    let said = "你好 <b>&amp;</b> \"quoted\" 100% 🙂 é";
    let event = stage.writes(said).await?;
    let came = words(&event).unwrap_or_default();
    expect(came == said, said, came)?;
    stage.answers(&event, said).await?;
    let seen = stage.sees().await?;
    expect(seen == said, said, seen)?;
    Ok("the provider's own words, both ways".to_owned())
}

async fn once(stage: &mut Stage) -> Checked {
    let request = stage.providers.delivery(stage.provider, "once");
    for _ in 0..3 {
        stage.deliver(&request).await?;
    }
    // Some providers only say that something was written, and are asked for it then: a second one shows that all of it came.
    stage.writes("behind it").await?;
    let once = |event: &&CloudEvent| words(event).is_some_and(|words| words == "once");
    let messages = stage.kept.all().iter().filter(once).count();
    expect(messages == 1, "one message, delivered three times", format!("{messages} messages"))?;
    Ok("delivered three times, kept once".to_owned())
}

async fn in_order_when_it_was_busy(stage: &mut Stage) -> Checked {
    let event = stage.writes("hello").await?;
    stage.providers.fault(stage.provider, Fault::Busy, 2);
    let since = Instant::now();
    for n in 1..=4 {
        stage.answers(&event, &format!("answer {n}")).await?;
    }
    for n in 1..=4 {
        let (seen, expected) = (stage.sees().await?, format!("answer {n}"));
        expect(seen == expected, expected, seen)?;
    }
    let waited = since.elapsed();
    expect(
        waited >= Duration::from_secs(2),
        "two pauses of a second, as it asked",
        format!("{} ms", waited.as_millis()),
    )?;
    Ok(format!("4 answers in order after two 429, {} ms", waited.as_millis()))
}

async fn told_what_was_sent(stage: &mut Stage) -> Checked {
    let event = stage.writes("hello").await?;
    let key = stage.answers(&event, "hello").await?;
    let receipt = stage.receipt(&key).await?;
    expect(receipt.state.as_str() == "sent", "sent", receipt.state.as_str())?;
    Ok("a receipt `sent`".to_owned())
}

async fn refused_and_on(stage: &mut Stage) -> Checked {
    let event = stage.writes("hello").await?;
    stage.providers.fault(stage.provider, Fault::Refused, 1);
    let refused = stage.answers(&event, "no").await?;
    stage.answers(&event, "yes").await?;
    let seen = stage.sees().await?;
    expect(seen == "yes", "the message behind it", seen)?;
    let receipt = stage.receipt(&refused).await?;
    let code = receipt.reason.map(|reason| reason.code).unwrap_or_default();
    expect(receipt.state.as_str() == "failed" && !code.is_empty(), "`failed` with a reason", receipt.state.as_str())?;
    Ok(format!("`failed`: {code}; the next one went on"))
}

async fn silence_is_unknown(stage: &mut Stage) -> Checked {
    let event = stage.writes("hello").await?;
    stage.providers.fault(stage.provider, Fault::Silence, 1);
    let key = stage.answers(&event, "perhaps").await?;
    stage.sees().await?;
    let receipt = stage.receipt(&key).await?;
    let code = receipt.reason.map(|reason| reason.code).unwrap_or_default();
    expect(code == "outcome_unknown", "outcome_unknown", format!("{} {code}", receipt.state.as_str()))?;
    let again = timeout(QUIET, stage.shown.recv()).await;
    expect(again.is_err(), "nothing is sent again", "it was sent again")?;
    Ok("`outcome_unknown`, and not sent again".to_owned())
}
