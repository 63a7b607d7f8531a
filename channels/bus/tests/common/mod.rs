//! What the tests with a broker share: buses on a virtual host, the ledger of who confirmed and who applied what.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ark_bus::kit::Rabbit;
use ark_bus::topology::TopologyConfig;
use ark_bus::{Bus, Delivery, RabbitBus, RabbitConfig, Shard, WakeUp};
use ark_conversation::{ConversationId, Tenant};

pub(crate) mod faults;

/// How long a broker may take to answer on a busy machine.
pub(crate) const READY: Duration = Duration::from_secs(60);
/// Shards of the tests' topologies: declaring one costs.
pub(crate) const SHARDS: u16 = 4;

/// A gateway's configuration on that address.
pub(crate) fn config(url: &str, gateway: &str) -> RabbitConfig {
    let mut config = RabbitConfig::new(url, gateway, "store-of-the-tests").unwrap();
    config.topology = TopologyConfig { shards: SHARDS, ..TopologyConfig::default() };
    config
}

/// A gateway's bus on that address.
pub(crate) async fn bus(url: &str, gateway: &str) -> Arc<RabbitBus> {
    Arc::new(RabbitBus::open(&config(url, gateway), READY).await.unwrap())
}

/// Two gateways on a new virtual host.
pub(crate) async fn two(rabbit: &Rabbit) -> (Arc<RabbitBus>, Arc<RabbitBus>) {
    let url = rabbit.url();
    (bus(&url, "a").await, bus(&url, "b").await)
}

pub(crate) fn all_shards(bus: &dyn Bus) -> Vec<Shard> {
    (0..bus.shards()).map(Shard).collect()
}

fn conversation(n: u64) -> ConversationId {
    ConversationId::new(n, 7)
}

/// Number and place of a wake-up of the ledger.
fn read(id: &str) -> Option<(u64, u64)> {
    let (n, seq) = id.split_once('-')?;
    Some((n.parse().ok()?, seq.parse().ok()?))
}

#[derive(Default)]
struct Books {
    confirmed: HashSet<(u64, u64)>,
    /// The broker had no room for them, or no leader: they stay in their sender's inbox.
    refused: HashSet<(u64, u64)>,
    failed: Vec<String>,
    /// What was applied of each conversation: an inbox.
    applied: HashMap<u64, BTreeSet<u64>>,
    duplicates: u64,
    overtakers: u64,
    longest_pause: Duration,
    last_applied: Option<Instant>,
}

/// The oracle: what was handed over, what was confirmed, what was applied.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    books: Arc<Mutex<Books>>,
    handed: Arc<Mutex<HashMap<u64, u64>>>,
}

impl Ledger {
    /// Hands `events` over, one of each of `conversations` in turn, about `per_second` a second, and writes down which
    /// were confirmed. Comes back when every receipt has resolved.
    pub(crate) async fn generate(&self, bus: Arc<RabbitBus>, conversations: u64, events: u64, per_second: u32) {
        let (sender, mut receipts) = tokio::sync::mpsc::channel(100_000);
        let books = Arc::clone(&self.books);
        let settling = tokio::spawn(async move {
            while let Some((key, receipt)) = receipts.recv().await {
                let receipt: ark_bus::Receipt = receipt;
                let result = receipt.await;
                let mut books = books.lock().unwrap();
                match result {
                    Ok(()) => {
                        books.confirmed.insert(key);
                    }
                    Err(ark_bus::BusError::ShardFull { .. }) => _ = books.refused.insert(key),
                    Err(error) => books.failed.push(error.to_string()),
                }
            }
        });
        let pad = "x".repeat(900);
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        let burst = (per_second / 100).max(1);
        for event in 0..events {
            if event % u64::from(burst) == 0 {
                pace.tick().await;
            }
            let n = event % conversations;
            let seq = {
                let mut handed = self.handed.lock().unwrap();
                let last = handed.entry(n).or_default();
                *last += 1;
                *last
            };
            let wake_up = WakeUp {
                tenant: Tenant::MAIN,
                conversation: conversation(n),
                source: format!("/ark/main/test/{pad}"),
                id: format!("{n}-{seq}"),
                event: None,
            };
            // A full queue is said, never waited for: whoever hands over waits by itself.
            let receipt = loop {
                match bus.wake(wake_up.clone()) {
                    Ok(receipt) => break receipt,
                    Err(_) => _ = pace.tick().await,
                }
            };
            sender.send(((n, seq), receipt)).await.unwrap();
        }
        drop(sender);
        settling.await.unwrap();
    }

    /// An inbox: what comes a second time is counted, what comes too early as well.
    pub(crate) fn apply(&self, delivery: &Delivery) {
        // What a test hands over beside the ledger is not in it.
        let Some((n, seq)) = read(&delivery.wake_up.id) else { return };
        let mut books = self.books.lock().unwrap();
        let known = books.applied.entry(n).or_default();
        let late = known.last().is_some_and(|last| seq < *last);
        if !known.insert(seq) {
            books.duplicates += 1;
        } else if late {
            books.overtakers += 1;
        }
        let now = Instant::now();
        let pause = books.last_applied.map_or(Duration::ZERO, |last| now - last);
        books.longest_pause = books.longest_pause.max(pause);
        books.last_applied = Some(now);
    }

    /// Reads and acknowledges in the background.
    pub(crate) fn consume(&self, bus: &RabbitBus) -> tokio::task::JoinHandle<()> {
        let mut ingress = bus.ingress(all_shards(bus)).unwrap();
        let ledger = self.clone();
        tokio::spawn(async move {
            while let Some(delivery) = ingress.next().await {
                ledger.apply(&delivery);
                delivery.ack().await;
            }
        })
    }

    pub(crate) fn confirmed(&self) -> usize {
        self.books.lock().unwrap().confirmed.len()
    }

    pub(crate) fn handed(&self) -> u64 {
        self.handed.lock().unwrap().values().sum()
    }

    pub(crate) fn applied(&self) -> u64 {
        self.books.lock().unwrap().applied.values().map(|known| known.len() as u64).sum()
    }

    pub(crate) fn duplicates(&self) -> u64 {
        self.books.lock().unwrap().duplicates
    }

    pub(crate) fn longest_pause(&self) -> Duration {
        self.books.lock().unwrap().longest_pause
    }

    /// What the broker did not take.
    pub(crate) fn refused(&self) -> u64 {
        self.books.lock().unwrap().refused.len() as u64
    }

    /// Waits until as much was applied as the broker took of what was handed over.
    pub(crate) async fn wait_until_all_applied(&self, within: Duration) {
        let deadline = Instant::now() + within;
        ark_bus::kit::eventually("everything is applied", within * 2, async || {
            let (applied, handed) = (self.applied(), self.handed() - self.refused());
            assert!(Instant::now() < deadline, "{applied} of {handed} are applied after {within:?}");
            (applied >= handed).then_some(())
        })
        .await;
    }

    /// Nothing was refused, confirmed is a subset of applied, each conversation is a prefix without gaps, nothing overtook.
    pub(crate) fn judge(&self) {
        assert_eq!(self.refused(), 0, "no receipt failed");
        self.judge_what_was_taken();
    }

    /// The same where a broker may refuse wake-ups: what it refused, and that alone, is missing.
    pub(crate) fn judge_what_was_taken(&self) {
        let books = self.books.lock().unwrap();
        assert_eq!(books.failed, Vec::<String>::new(), "no receipt failed");
        let applied = |n: &u64, seq: &u64| books.applied.get(n).is_some_and(|known| known.contains(seq));
        for (n, seq) in &books.confirmed {
            assert!(applied(n, seq), "{n}-{seq} was confirmed and is lost");
        }
        for (n, last) in self.handed.lock().unwrap().iter() {
            let missing = (1..=*last).find(|seq| !applied(n, seq) && !books.refused.contains(&(*n, *seq)));
            assert_eq!(missing, None, "of conversation {n}");
        }
        assert_eq!(books.overtakers, 0, "nothing came before what was handed over before it");
    }

    /// One line of the table that a fault run prints.
    pub(crate) async fn row(&self, fault: &str, bus: &RabbitBus, began: Instant) {
        let health = bus.health().await;
        say(
            fault,
            &format!(
                "handed {}, confirmed {}, applied {}, duplicates {}, sent again {}, refused {}, late acks {}, connects {}, \
                 longest pause {:.1} s",
                self.handed(),
                self.confirmed(),
                self.applied(),
                self.duplicates(),
                health.republished,
                health.refused,
                health.late_acks,
                health.connects,
                self.longest_pause().as_secs_f64()
            ),
            began,
        );
    }
}

/// One line of the table.
#[expect(clippy::print_stdout, reason = "a fault run prints its table")]
pub(crate) fn say(fault: &str, what: &str, began: Instant) {
    println!("FAULT {fault:<34} | {:6.1} s | {what}", began.elapsed().as_secs_f64());
}
