//! This gateway among those of its site: who is here, who has which shard, and what the dead left behind.
//!
//! Every gateway that shares a store says every two seconds that it is here ([`Store::attend`]). Each shard belongs to one of
//! those that are (the highest of `sha256(gateway/shard)`, so that a newcomer takes its part of each and nothing else moves);
//! leases make sure that it has no two owners. A gateway that was not heard for the time of its lease, and a while longer, is
//! dead: its calls are closed in the log.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ark_store::{Attendance, Fence, Presence, Store, StoreError};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, watch};

use super::lost::close_lost_calls;
use super::relay::{RelayStats, relay};
use super::shards::OwnShards;
use super::{CallEnds, Onward, Writer, owner};
use crate::config::Config;
use crate::control::Ready;
use crate::open::Carrier;
use crate::serve::StartError;

/// How long a gateway counts as here, and has its shards, without having been heard again.
const TTL: Duration = Duration::from_secs(10);
/// How often it is heard.
const EVERY: Duration = Duration::from_secs(2);
/// How much longer than [`TTL`] a gateway must have been silent before its calls are taken for lost: after an outage of the
/// database nobody has been heard, and all need a moment to be heard again.
const GRACE: Duration = Duration::from_secs(10);
/// How long a start waits for an earlier process of its id at another place to run out.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// How long the end of the process waits for the relay, and for the store to hear that this gateway goes.
const END_MAX: Duration = Duration::from_secs(5);
/// The file in `[gateway] data` that is one installation's place, and its lock.
const PLACE_FILE: &str = "ark.place";

/// The place of this installation: what it keeps over restarts and no other has. Locked for as long as the process lives.
pub struct Place {
    id: String,
    _lock: std::fs::File,
}

impl Place {
    /// Takes the place of a data folder.
    ///
    /// # Errors
    /// [`StartError::Folder`] when it cannot be written, or another process has it.
    pub fn take(data: &Path) -> Result<Self, StartError> {
        let path = data.join(PLACE_FILE);
        let said = |source: std::io::Error| StartError::Folder {
            what: "this gateway's place",
            path: path.display().to_string(),
            source,
            advice: "Give each gateway a [gateway] data folder of its own that it can write",
        };
        let mut open = OpenOptions::new();
        let mut file =
            open.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(said)?;
        file.try_lock().map_err(|error| said(error.into()))?;
        let mut id = String::new();
        file.read_to_string(&mut id).map_err(said)?;
        id.truncate(id.trim_end().len());
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            id = format!("{:032x}", rand::random::<u128>());
            file.set_len(0).and_then(|()| writeln!(file, "{id}")).and_then(|()| file.sync_all()).map_err(said)?;
        }
        Ok(Self { id, _lock: file })
    }
}

/// A gateway of a site, from its start to its end.
pub struct Member {
    store: Arc<dyn Store>,
    writer: Writer,
    onward: Onward,
    who: Attendance,
    own: Arc<OwnShards>,
    fences: HashMap<u16, Fence>,
    /// Since when somebody's time is seen to have run out.
    silent: HashMap<(String, String), Instant>,
    /// Those whose calls were closed.
    buried: HashSet<(String, String)>,
    /// Queues whose lost callers are not called back.
    uncalled: Vec<String>,
    status: Arc<Mutex<Status>>,
    _place: Place,
}

/// How this gateway stands in its site, for `/readyz`.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The gateways that are here, this one included.
    pub here: Vec<String>,
    /// Why the last look failed.
    pub failing: Option<String>,
}

impl Member {
    /// Joins the site, and takes the first shards.
    ///
    /// # Errors
    /// [`StartError::Store`]: [`StoreError::Taken`] when another gateway has this id, or what the store says.
    pub async fn join(
        store: Arc<dyn Store>,
        writer: Writer,
        onward: Onward,
        process: &str,
        (place, uncalled): (Place, Vec<String>),
    ) -> Result<Self, StartError> {
        let who = Attendance { gateway: writer.gateway.clone(), place: place.id.clone(), process: process.to_owned() };
        let own = Arc::new(OwnShards::new(store.topology()));
        let mut member = Self {
            store,
            writer,
            onward,
            who,
            own,
            fences: HashMap::new(),
            silent: HashMap::new(),
            buried: HashSet::new(),
            uncalled,
            status: Arc::default(),
            _place: place,
        };
        let until = Instant::now() + WAIT_MAX;
        loop {
            match member.look().await {
                Ok(()) => return Ok(member),
                // It may have died a moment ago.
                Err(StoreError::Taken { left_ms, .. }) if Instant::now() < until => {
                    tracing::warn!(
                        gateway = member.who.gateway,
                        left_ms,
                        "another process has this id; waiting for its end"
                    );
                    tokio::time::sleep(EVERY.min(Duration::from_millis(left_ms + 1))).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The shards of this gateway.
    #[must_use]
    pub fn own(&self) -> Arc<OwnShards> {
        Arc::clone(&self.own)
    }

    /// How it stands, now and later.
    #[must_use]
    pub fn status(&self) -> Arc<Mutex<Status>> {
        Arc::clone(&self.status)
    }

    /// Stays until told to stop; then gives back its shards and says that it goes.
    pub async fn stay(mut self, mut stop: watch::Receiver<bool>) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            let failing = self.look().await.err().map(|error| error.to_string());
            let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(error) = &failing
                && status.failing.is_none()
            {
                tracing::error!(%error, "this gateway cannot say that it is here");
            }
            status.failing = failing;
        }
        let fences = self.fences.into_values().collect();
        let gone = async { self.store.release(fences).await.and(self.store.leave(self.who).await) };
        if !matches!(tokio::time::timeout(EVERY, gone).await, Ok(Ok(()))) {
            tracing::warn!("the store did not hear that this gateway goes; the others wait until its time has run out");
        }
    }

    /// Says that it is here, looks who else is, and does what follows from it.
    async fn look(&mut self) -> Result<(), StoreError> {
        let all = match self.store.attend(self.who.clone(), TTL).await {
            Ok(all) => all,
            Err(error) => {
                // Who is silent now may only not have been heard.
                self.silent.clear();
                return Err(error);
            }
        };
        let here: Vec<String> = all.iter().filter(|one| one.left_ms > 0).map(|one| one.gateway.clone()).collect();
        self.share(&here).await?;
        {
            let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
            if status.here != here {
                tracing::info!(gateways = here.join(" "), shards = self.own.count(), "the gateways of this site");
                status.here = here;
            }
        }
        self.bury(&all).await
    }

    /// Renews the shards that are this gateway's, takes those that are free, gives back those that are another's.
    async fn share(&mut self, here: &[String]) -> Result<(), StoreError> {
        let mine: HashSet<u16> = (0..self.own.topology().shards)
            .filter(|shard| owner(here, *shard).is_none_or(|gateway| gateway == self.who.gateway))
            .collect();
        let (keep, give): (Vec<Fence>, Vec<Fence>) =
            self.fences.values().cloned().partition(|fence| mine.contains(&fence.shard));
        for fence in &give {
            self.own.set(fence.shard, false);
            self.fences.remove(&fence.shard);
        }
        if !give.is_empty() {
            self.store.release(give).await?;
        }
        if !keep.is_empty() {
            let held = self.store.renew(keep.clone(), TTL).await?;
            for (fence, _) in keep.iter().zip(held).filter(|(_, held)| !held) {
                self.own.set(fence.shard, false);
                self.fences.remove(&fence.shard);
            }
        }
        for shard in mine {
            if self.fences.contains_key(&shard) {
                continue;
            }
            match self.store.claim(shard, &self.who.gateway, TTL).await {
                Ok(fence) => {
                    self.fences.insert(shard, fence.clone());
                    self.own.hold(fence);
                }
                // Its owner gives it back at its next look, or it runs out.
                Err(StoreError::Held { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.onward.wake();
        Ok(())
    }

    /// Closes in the log the calls of gateways that were silent for too long.
    async fn bury(&mut self, all: &[Presence]) -> Result<(), StoreError> {
        let key = |one: &Presence| (one.gateway.clone(), one.process.clone());
        let mut dead = Vec::new();
        for one in all {
            if one.left_ms > 0 {
                self.silent.remove(&key(one));
                self.buried.remove(&key(one));
            } else if self.silent.entry(key(one)).or_insert_with(Instant::now).elapsed() >= GRACE
                && !self.buried.contains(&key(one))
            {
                dead.push(key(one));
            }
        }
        if dead.is_empty() {
            return Ok(());
        }
        let processes: HashSet<&str> = dead.iter().map(|(_, process)| process.as_str()).collect();
        let is_gone = |process: &str| processes.contains(process);
        let why = (SILENT, self.uncalled.as_slice());
        let lost = close_lost_calls(&*self.store, &self.writer, &self.onward, &is_gone, why).await?;
        if lost > 0 {
            let gateways: Vec<&str> = dead.iter().map(|(gateway, _)| gateway.as_str()).collect();
            tracing::warn!(lost, gateways = gateways.join(" "), "a gateway is gone: its calls are closed in the log");
        }
        self.buried.extend(dead);
        Ok(())
    }
}

/// What runs for a gateway that is one of several, or that has a broker.
pub struct SiteTasks {
    own: Arc<OwnShards>,
    status: Arc<Mutex<Status>>,
    stats: Arc<RelayStats>,
    member: tokio::task::JoinHandle<()>,
    member_stop: watch::Sender<bool>,
    relay: Option<(tokio::task::JoinHandle<()>, watch::Sender<bool>)>,
}

impl SiteTasks {
    /// What is shown of it.
    #[must_use]
    pub fn watch(&self) -> SiteView {
        let (own, status, stats) = (Arc::clone(&self.own), Arc::clone(&self.status), Arc::clone(&self.stats));
        SiteView { own, status, stats }
    }

    /// The shards of this gateway.
    #[must_use]
    pub fn own(&self) -> Arc<OwnShards> {
        Arc::clone(&self.own)
    }

    /// Whether a part of it has ended by a fault.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.member.is_finished() || self.relay.as_ref().is_some_and(|(task, _)| task.is_finished())
    }

    /// Carries what still waits, while this gateway has its shards; then gives them back.
    pub async fn end(self) {
        if let Some((mut task, stop)) = self.relay {
            stop.send_replace(true);
            if tokio::time::timeout(END_MAX, &mut task).await.is_err() {
                tracing::warn!("the broker did not take everything before the end; the outbox has it");
                task.abort();
            }
        }
        self.member_stop.send_replace(true);
        let mut member = self.member;
        if tokio::time::timeout(END_MAX, &mut member).await.is_err() {
            member.abort();
        }
    }
}

/// What is shown of a gateway among others.
pub struct SiteView {
    own: Arc<OwnShards>,
    status: Arc<Mutex<Status>>,
    stats: Arc<RelayStats>,
}

impl SiteView {
    /// Shards held, events relayed, and tries that failed, for metrics.
    #[must_use]
    pub fn numbers(&self) -> [u64; 3] {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        [self.own.count() as u64, load(&self.stats.relayed), load(&self.stats.retries)]
    }

    /// For `/readyz`.
    #[must_use]
    pub fn ready(&self) -> Ready {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (held, all) = (self.own.count(), self.own.topology().shards);
        let detail = match &status.failing {
            Some(error) => error.clone(),
            None => format!("{held} of {all} shards are here; gateways: {}", status.here.join(" ")),
        };
        Ready { name: "site".to_owned(), ok: status.failing.is_none(), detail }
    }
}

/// Joins the site's other gateways, when there may be some, and starts the relay, when there is a broker.
///
/// # Errors
/// [`StartError`]: this gateway's place or id is another process's, or what the store says.
pub async fn join(
    config: &Config,
    store: &Arc<dyn Store>,
    carrier: &Carrier,
    writer: &Writer,
    process: &str,
) -> Result<(Onward, Option<SiteTasks>), StartError> {
    let wake = Arc::new(Notify::new());
    let onward = if carrier.is_broker() {
        Onward::Relay(Arc::clone(&wake), CallEnds::new(owner::limits::NOTES))
    } else {
        Onward::Direct(Arc::clone(&carrier.bus))
    };
    if !carrier.is_broker() && !config.store.is_postgres() {
        return Ok((onward, None));
    }
    let place = Place::take(&config.gateway.data)?;
    let member =
        Member::join(Arc::clone(store), writer.clone(), onward.clone(), process, (place, uncalled(config))).await?;
    let (own, status, stats) = (member.own(), member.status(), Arc::new(RelayStats::default()));
    let (member_stop, stopped) = watch::channel(false);
    let relay = carrier.is_broker().then(|| {
        let relay = relay(store, &carrier.bus, &own, wake, &stats);
        let (stop, stopped) = watch::channel(false);
        (tokio::spawn(relay.run(stopped)), stop)
    });
    let member = tokio::spawn(member.stay(stopped));
    Ok((onward, Some(SiteTasks { own, status, stats, member, member_stop, relay })))
}

/// The queues whose lost callers are not called back.
fn uncalled(config: &Config) -> Vec<String> {
    config.queue.iter().filter(|queue| !queue.callback_lost).map(|queue| queue.name.clone()).collect()
}

/// Closes in the log the calls of this gateway's earlier processes.
///
/// # Errors
/// What the store says.
pub async fn close_own_calls(
    store: &dyn Store,
    writer: &Writer,
    onward: &Onward,
    process: &str,
    config: &Config,
) -> Result<(), StartError> {
    let shared = config.store.is_postgres();
    let is_gone = |of: &str| match of.split_once('/') {
        Some((gateway, _)) => gateway == writer.gateway && of != process,
        // Of a release that wrote no process: in a store of its own they are this gateway's.
        None => !shared,
    };
    let reason = "the gateway stopped while this call was up";
    let lost = close_lost_calls(store, writer, onward, &is_gone, (reason, &uncalled(config))).await?;
    if lost > 0 {
        tracing::warn!(lost, "calls that were up when the gateway stopped last are closed in the log");
    }
    Ok(())
}

const SILENT: &str = "the gateway that had this call was not heard any more";

/// Whose a shard is among the gateways that are here: the highest of a hash (rendezvous hashing).
fn owner(here: &[String], shard: u16) -> Option<&str> {
    let weight = |gateway: &str| Sha256::digest(format!("{gateway}/{shard}"));
    here.iter().map(String::as_str).max_by_key(|gateway| weight(gateway))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_takes_its_part_and_nothing_else_moves() {
        let gateways: Vec<String> = ["gw1", "gw2", "gw3"].map(str::to_owned).to_vec();
        let (mut moved, mut theirs) = (0, 0);
        for shard in 0..64 {
            let (two, three) = (owner(&gateways[..2], shard).unwrap(), owner(&gateways, shard).unwrap());
            theirs += u32::from(three == "gw3");
            moved += u32::from(two != three && three != "gw3");
        }
        assert_eq!(moved, 0);
        assert!((12..32).contains(&theirs), "{theirs} of 64 for one of three");
        assert_eq!(owner(&[], 1), None);
    }

    #[test]
    fn a_place_is_kept_and_is_one_process() {
        let folder = std::env::temp_dir().join(format!("ark-place-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let first = Place::take(&folder).unwrap();
        let id = first.id.clone();
        assert!(Place::take(&folder).is_err(), "another process has it");
        drop(first);
        assert_eq!(Place::take(&folder).unwrap().id, id);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
