//! Plans go live here: read, checked, tested, prepared, kept in the store, and handed to the switch as a whole.
//!
//! Nothing half-way: until every step has passed, callers get the version that was live. Calls that are up keep theirs.

pub mod chat;
mod follow;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use ark_conversation::event::{PlanPublished, PlanRefused, PlanRolledBack};
use ark_conversation::{Event, Tenant};
use ark_dialplans::{Diagnostic, EstimateOnly, Lang, Plan, Severity, decode, limits};
use ark_store::{NewPlanVersion, PlanChange, PlanChangeKind, PlanVersion as StoredVersion, Store, StoreError};
use jiff::Timestamp;

use crate::call::driver::SwitchHandle;
use crate::call::{Hotline, LivePlan};
use crate::config::{BUILTIN, Config};
use crate::control::{ControlError, PinnedCalls, PlanVersion, PlanView, Published};
use crate::conversations::{LogSink, Onward, Writer};
use crate::{prompts, telemetry};
use follow::Behind;

/// The plan that is part of the program.
pub(crate) const BUILTIN_PLANS: &[(&str, &str)] =
    &[("hotline-95188", include_str!("../../dialplans/plans/hotline-95188.toml"))];

/// Versions that `plans` shows of each plan.
const VERSIONS_SHOWN: usize = 50;

/// Why a plan does not go live.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The file cannot be read.
    #[error("{file}: cannot be read: {source}. Check the path in [[hotline]] dialplan and its permissions")]
    Unreadable {
        /// The path.
        file: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// It does not pass `ark dialplan check`.
    #[error("{text}")]
    Check {
        /// The diagnostics as `ark dialplan check` prints them.
        text: String,
        /// The first of them, in one line.
        first: String,
        /// How many errors there are.
        findings: usize,
    },
    /// Its own tests fail.
    #[error("{text}")]
    Tests {
        /// The failures as `ark dialplan test` prints them.
        text: String,
        /// The first of them, in one line.
        first: String,
        /// How many tests fail.
        findings: usize,
    },
    /// Some of its prompts have no audio.
    #[error(transparent)]
    Prompts(#[from] prompts::PrepareError),
    /// The store did not take it.
    #[error("the store did not take the plan: {0}")]
    Store(#[from] StoreError),
    /// Asked for by a name that no hotline uses.
    #[error("no [[hotline]] uses a plan `{0}`")]
    Unknown(String),
    /// The text is of another plan.
    #[error("this is the plan `{found}`, not `{wanted}`: a published file keeps the name of the plan that it replaces")]
    OtherName {
        /// Its name.
        found: String,
        /// The name asked for.
        wanted: String,
    },
    /// Two files with one name.
    #[error(
        "{file}: the plan `{name}` is already live from {other}: give each file a name of its own, or write the same path in both [[hotline]]"
    )]
    NameTaken {
        /// This file.
        file: String,
        /// The name in both.
        name: String,
        /// The file that has it.
        other: String,
    },
    /// The file that was live is no longer there.
    #[error("{file}: the file is gone. Put it back, or change [[hotline]] dialplan and start again")]
    Gone {
        /// The path.
        file: String,
    },
    /// Nothing to go back to.
    #[error("there is no version of `{0}` to go back to")]
    NoOlder(String),
    /// A version that never was.
    #[error("there is no version {version} of `{name}`; `GET /api/v1/plans` lists them")]
    NoVersion {
        /// The plan.
        name: String,
        /// The version asked for.
        version: u32,
    },
}

impl Refusal {
    fn summary(&self) -> (String, usize) {
        match self {
            Self::Check { first, findings, .. } | Self::Tests { first, findings, .. } => (first.clone(), *findings),
            Self::Prompts(error) if !error.missing.is_empty() => {
                let first = error.missing.first().map_or("", String::as_str);
                (format!("{first} ({} prompts have no audio)", error.missing.len()), error.missing.len())
            }
            other => (other.to_string().lines().next().unwrap_or_default().to_owned(), 1),
        }
    }
}

impl From<Refusal> for ControlError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown(_) | Refusal::NoOlder(_) | Refusal::NoVersion { .. } => {
                Self::NotFound(refusal.to_string())
            }
            Refusal::Store(_) => Self::Unavailable(refusal.to_string()),
            other => Self::Refused(other.to_string()),
        }
    }
}

/// A configured plan file and what became of it.
struct Entry {
    /// As it stands in `[[hotline]] dialplan`.
    dialplan: String,
    name: String,
    live: Option<Arc<LivePlan>>,
    refused: Option<String>,
    modified: Option<SystemTime>,
    /// SHA-256 of what the file said when it was last looked into.
    seen: Option<String>,
    /// What is live at the other gateways and cannot be here.
    behind: Option<Behind>,
    /// Looks in a row that did not find the file.
    missed: u8,
}

impl Entry {
    /// What is not as it should be, in a sentence.
    fn complaint(&self) -> Option<String> {
        let file = |why: &String| if self.live.is_some() { format!("the file is not: {why}") } else { why.clone() };
        self.behind.as_ref().map(Behind::words).or_else(|| self.refused.as_ref().map(file))
    }
}

/// A file that an editor replaces is away for a moment; one that was not found this often is gone.
const MISSED_MAX: u8 = 3;
/// Plans that are searched for the one that a file held before it became unreadable.
const NAMES_SEARCHED_MAX: usize = 1_000;

/// What a file was found to hold, and what makes it known again in the history of its plan.
struct Text {
    source: String,
    file: String,
    dialplan: String,
}

impl Text {
    /// The note of a change that came from the configured file itself.
    fn note(&self, by: &str) -> Option<String> {
        by_itself(by).then(|| note_of(&self.dialplan))
    }
}

fn note_of(dialplan: &str) -> String {
    format!("file {dialplan}")
}

/// Whether a change came from the configured file and not from a person.
fn by_itself(by: &str) -> bool {
    matches!(by, "start" | "file")
}

/// Every plan that the site uses.
pub struct Plans {
    config: Arc<Config>,
    tenant: Tenant,
    store: Arc<dyn Store>,
    /// Whether other gateways may have this store: what they make live becomes live here.
    shared: bool,
    onward: Onward,
    log: LogSink,
    writer: Writer,
    prompts: prompts::Preparer,
    switch: std::sync::OnceLock<SwitchHandle>,
    entries: Mutex<Vec<Entry>>,
    /// One publication at a time.
    publishing: tokio::sync::Mutex<()>,
}

/// A plan that passed everything but is not in the store yet.
struct Ready {
    plan: Arc<Plan>,
    sounds: Arc<prompts::PromptLibrary>,
}

impl Plans {
    /// No plan is live yet.
    pub fn new(
        config: Arc<Config>,
        store: Arc<dyn Store>,
        onward: Onward,
        log: LogSink,
        writer: Writer,
        prompts: prompts::Preparer,
    ) -> Self {
        Self {
            shared: config.store.is_postgres(),
            config,
            tenant: writer.tenant.clone(),
            store,
            onward,
            log,
            writer,
            prompts,
            switch: std::sync::OnceLock::new(),
            entries: Mutex::new(Vec::new()),
            publishing: tokio::sync::Mutex::new(()),
        }
    }

    /// The switch takes what goes live from now on.
    pub fn attach(&self, switch: SwitchHandle) {
        let _ = self.switch.set(switch);
    }

    /// At start: publishes every configured file, or brings back the version that was live before. Gives what was refused.
    ///
    /// A version that a person made live (by `publish` or `rollback`) stays live as long as the file is the one that it
    /// replaced: a restart must not undo a rollback.
    pub async fn load_all(&self) -> Vec<(String, Refusal)> {
        let mut refused = Vec::new();
        let mut dialplans: Vec<String> = self.config.hotline.iter().map(|h| h.dialplan.clone()).collect();
        dialplans.extend(chat::dialplans(&self.config));
        dialplans.sort();
        dialplans.dedup();
        for dialplan in dialplans {
            let modified = modified(&dialplan);
            let name = plan_stem(&dialplan);
            let text = read(&dialplan);
            let seen = text.as_ref().ok().map(|text| sha256_hex(&text.source));
            let mut entry = Entry {
                dialplan: dialplan.clone(),
                name,
                live: None,
                refused: None,
                modified,
                seen,
                behind: None,
                missed: 0,
            };
            if let Some(name) = self.name_of(&dialplan, text.as_ref().ok()).await {
                entry.name = name;
            }
            if let Err(refusal) = self.load(&mut entry, text).await {
                entry.refused = Some(refusal.summary().0);
                if !matches!(refusal, Refusal::NameTaken { .. })
                    && let Err(error) = self.bring_back(&mut entry).await
                {
                    tracing::warn!(%dialplan, %error, "no earlier version of this plan can be brought back");
                }
                refused.push((dialplan, refusal));
            }
            self.lock().push(entry);
        }
        refused
    }

    async fn load(&self, entry: &mut Entry, text: Result<Text, Refusal>) -> Result<(), Refusal> {
        if let Ok(text) = &text
            && let Some(kept) = self.kept_by_another(&entry.name, text).await?
            && self.bring_back(entry).await.is_ok()
        {
            tracing::warn!(plan = %entry.name, "{kept}");
            entry.refused = Some(kept);
            return Ok(());
        }
        let live = self.try_live(text, &entry.dialplan, "start", &entry.name, None).await?;
        entry.name = live.plan.name.text.to_string();
        entry.live = Some(live);
        Ok(())
    }

    /// The name of the plan in a file: as the file says, else, when it cannot be read, as the history remembers.
    async fn name_of(&self, dialplan: &str, text: Option<&Text>) -> Option<String> {
        if let Some(name) = text.and_then(|text| name_in(&text.source)) {
            return Some(name);
        }
        let versions = self.store.plan_versions(&self.tenant, None, NAMES_SEARCHED_MAX).await.ok()?;
        let names: std::collections::BTreeSet<String> = versions.into_iter().map(|v| v.name).collect();
        let mut latest: Option<(Timestamp, String)> = None;
        for name in names {
            let history = self.store.plan_history(&self.tenant, &name, VERSIONS_SHOWN).await.ok()?;
            let ours = history.iter().find(|change| change.note.as_deref() == Some(&note_of(dialplan)));
            if let Some(change) = ours
                && latest.as_ref().is_none_or(|(at, _)| change.at > *at)
            {
                latest = Some((change.at, name));
            }
        }
        latest.map(|(_, name)| name)
    }

    /// What the switch answers each hotline with.
    pub fn hotlines(&self) -> Vec<(String, Hotline)> {
        let entries = self.lock();
        let live = |dialplan: &str| entries.iter().find(|e| e.dialplan == dialplan).and_then(|e| e.live.clone());
        self.config
            .hotline
            .iter()
            .filter_map(|h| live(&h.dialplan).map(|live| (h.number.clone(), Hotline { live, record: h.record })))
            .collect()
    }

    /// The version of a plan that is live here.
    pub fn live(&self, name: &str) -> Option<(Arc<Plan>, u32)> {
        let entries = self.lock();
        let live = entries.iter().filter(|e| e.name == name).find_map(|e| e.live.as_ref())?;
        Some((Arc::clone(&live.plan), live.version))
    }

    /// Each plan: its name, the version that is live here, and what is not as it should be.
    pub fn state(&self) -> Vec<(String, Option<u32>, Option<String>)> {
        let entries = self.lock();
        entries.iter().map(|e| (e.name.clone(), e.live.as_ref().map(|l| l.version), e.complaint())).collect()
    }

    /// Publishes each configured file that has changed since it was last looked at.
    pub async fn look_for_changes(&self) {
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        for entry in self.lock().iter_mut().filter(|entry| !entry.dialplan.starts_with(BUILTIN)) {
            match modified(&entry.dialplan) {
                Some(now) => {
                    if Some(now) != entry.modified || entry.missed >= MISSED_MAX {
                        changed.push(entry.dialplan.clone());
                    }
                    entry.modified = Some(now);
                    entry.missed = 0;
                }
                None if entry.modified.is_some() => {
                    entry.missed = entry.missed.saturating_add(1);
                    if entry.missed == MISSED_MAX {
                        gone.push(entry.dialplan.clone());
                    }
                }
                None => {}
            }
        }
        for file in gone {
            let _one = self.publishing.lock().await;
            let Some((dialplan, name, _)) = self.entry(&file) else { continue };
            let refusal = Refusal::Gone { file };
            tracing::error!(plan = %name, "{refusal}");
            self.log_refusal(&name, "", &refusal, "file").await;
            let _ = self.tell(&dialplan, Err(refusal)).await;
        }
        for dialplan in changed {
            if let Some(kept) = self.only_touched(&dialplan).await {
                tracing::warn!(file = %dialplan, "{kept}");
                if let Some(entry) = self.lock().iter_mut().find(|e| e.dialplan == dialplan) {
                    entry.refused = Some(kept);
                }
                continue;
            }
            // That it is live is said where it becomes so.
            if let Err(refusal) = self.publish(&dialplan, None, "file").await {
                tracing::error!(file = %dialplan, "the changed plan is not live, the old one stays:\n{refusal}");
            }
        }
    }

    /// Publishes a plan by name (or by the path of its file): the configured file, or the text given.
    ///
    /// # Errors
    /// [`Refusal`]; what was live stays live.
    pub async fn publish(&self, name: &str, source: Option<String>, by: &str) -> Result<Published, Refusal> {
        let _one = self.publishing.lock().await;
        let (dialplan, name, live) = self.entry(name).ok_or_else(|| Refusal::Unknown(name.to_owned()))?;
        let text = match source {
            Some(source) => Ok(Text { source, file: format!("{name}.toml"), dialplan: dialplan.clone() }),
            None => read(&dialplan),
        };
        // What never was live may still choose its name.
        let wanted = live.map(|_| name.as_str());
        let result = self.try_live(text, &dialplan, by, &name, wanted).await;
        self.tell(&dialplan, result).await
    }

    /// Makes an older version live again.
    ///
    /// # Errors
    /// [`Refusal`]; what was live stays live.
    pub async fn roll_back(&self, name: &str, version: Option<u32>, by: &str) -> Result<Published, Refusal> {
        let _one = self.publishing.lock().await;
        let (dialplan, name, _) = self.entry(name).ok_or_else(|| Refusal::Unknown(name.to_owned()))?;
        let live = self.store.live_plan(&self.tenant, &name).await?;
        let wanted = match version {
            Some(version) => Some(version),
            None => self.before(&name, live.as_ref()).await?,
        };
        let wanted = wanted.ok_or_else(|| Refusal::NoOlder(name.clone()))?;
        let stored = self.store.plan_version(&self.tenant, &name, wanted).await?;
        let stored = stored.ok_or_else(|| Refusal::NoVersion { name: name.clone(), version: wanted })?;
        let ready = self.ready(&stored.source, &format!("{name}@{wanted}"), &dialplan).await;
        let result = match ready {
            Ok(ready) => {
                let event = PlanRolledBack {
                    plan: name.clone(),
                    version: wanted,
                    previous: live.as_ref().map_or(wanted, |l| l.version),
                    by: by.to_owned(),
                    note: None,
                };
                self.make_live(&stored, PlanChangeKind::RolledBack, by, None, event.into(), ready).await
            }
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = &result {
            self.log_refusal(&name, &stored.source, refusal, by).await;
        }
        let published = self.tell(&dialplan, result).await?;
        // The file says something else now: it is said until the file changes or is published.
        let differs = read(&dialplan).is_ok_and(|text| sha256_hex(&text.source) != stored.sha256);
        if differs && let Some(entry) = self.lock().iter_mut().find(|e| e.dialplan == dialplan) {
            entry.refused = Some(format!(
                "{dialplan}: not live since the rollback to version {wanted} by {by}; change the file or publish it"
            ));
        }
        Ok(published)
    }

    /// Every plan as others see it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn views(&self, calls: &BTreeMap<(String, u32), u64>) -> Result<Vec<PlanView>, StoreError> {
        let entries: Vec<_> = {
            let entries = self.lock();
            let row = |e: &Entry| {
                let live = e.live.as_ref().map(|l| l.version);
                (e.name.clone(), e.dialplan.clone(), live, e.refused.clone(), e.behind.as_ref().map(Behind::words))
            };
            entries.iter().map(row).collect()
        };
        let mut views = Vec::with_capacity(entries.len());
        for (name, dialplan, live, refused, behind) in entries {
            let mut versions = self.store.plan_versions(&self.tenant, Some(&name), VERSIONS_SHOWN).await?;
            versions.reverse();
            let hotlines = self.config.hotline.iter().filter(|h| h.dialplan == dialplan).map(|h| h.number.clone());
            let on = calls
                .iter()
                .filter(|((plan, _), _)| *plan == name)
                .map(|((_, version), calls)| PinnedCalls { version: *version, calls: *calls });
            views.push(PlanView {
                live,
                versions: versions
                    .into_iter()
                    .map(|v| PlanVersion { version: v.version, published_at: v.at.to_string(), digest: v.sha256 })
                    .collect(),
                hotlines: hotlines.collect(),
                calls: on.collect(),
                refused,
                behind,
                name,
            });
        }
        Ok(views)
    }

    async fn before(&self, name: &str, live: Option<&StoredVersion>) -> Result<Option<u32>, StoreError> {
        let Some(live) = live else { return Ok(None) };
        let history = self.store.plan_history(&self.tenant, name, VERSIONS_SHOWN).await?;
        Ok(history.into_iter().map(|change| change.version).find(|version| *version != live.version))
    }

    /// Path, plan name and live version of the entry with that plan name or path.
    fn entry(&self, name: &str) -> Option<(String, String, Option<u32>)> {
        let entries = self.lock();
        // One whose name was taken is known by its path only.
        let found = entries.iter().find(|e| e.name == name && e.live.is_some());
        let found = found.or_else(|| entries.iter().find(|e| e.name == name || e.dialplan == name));
        found.map(|e| (e.dialplan.clone(), e.name.clone(), e.live.as_ref().map(|l| l.version)))
    }

    /// After a refusal at start: the version that was live before the process ended.
    async fn bring_back(&self, entry: &mut Entry) -> Result<(), Refusal> {
        let stored = self.store.live_plan(&self.tenant, &entry.name).await?;
        let stored = stored.ok_or_else(|| Refusal::NoOlder(entry.name.clone()))?;
        let file = format!("{}@{}", entry.name, stored.version);
        let ready = self.ready(&stored.source, &file, &entry.dialplan).await?;
        entry.live = Some(Arc::new(LivePlan { plan: ready.plan, version: stored.version, sounds: ready.sounds }));
        Ok(())
    }

    /// A text on its way to callers; when it is refused the log says so, whatever the reason.
    async fn try_live(
        &self,
        text: Result<Text, Refusal>,
        dialplan: &str,
        by: &str,
        name: &str,
        wanted: Option<&str>,
    ) -> Result<Arc<LivePlan>, Refusal> {
        let (source, result) = match text {
            Ok(text) => {
                let result = self.go_live(&text, dialplan, by, wanted).await;
                (text.source, result)
            }
            Err(refusal) => (String::new(), Err(refusal)),
        };
        if let Err(refusal) = &result {
            self.log_refusal(name, &source, refusal, by).await;
        }
        result
    }

    async fn go_live(
        &self,
        text: &Text,
        dialplan: &str,
        by: &str,
        wanted: Option<&str>,
    ) -> Result<Arc<LivePlan>, Refusal> {
        let ready = self.ready(&text.source, &text.file, dialplan).await?;
        let name = ready.plan.name.text.to_string();
        if let Some(wanted) = wanted
            && wanted != name
        {
            return Err(Refusal::OtherName { found: name, wanted: wanted.to_owned() });
        }
        let taken = |e: &&Entry| e.name == name && e.live.is_some() && e.dialplan != text.dialplan;
        if let Some(other) = self.lock().iter().find(taken).map(|e| e.dialplan.clone()) {
            return Err(Refusal::NameTaken { file: text.dialplan.clone(), name, other });
        }
        let new = NewPlanVersion {
            tenant: self.tenant.clone(),
            name: name.clone(),
            sha256: sha256_hex(&text.source),
            source: text.source.clone(),
            at: Timestamp::now(),
            by: by.to_owned(),
            note: None,
        };
        let stored = self.store.put_plan_version(new).await?;
        let previous = self.store.live_plan(&self.tenant, &name).await?.map(|p| p.version);
        let event = PlanPublished {
            plan: name,
            version: stored.version,
            sha256: stored.sha256.clone(),
            previous,
            by: by.to_owned(),
            note: None,
        };
        self.make_live(&stored, PlanChangeKind::Published, by, text.note(by), event.into(), ready).await
    }

    async fn make_live(
        &self,
        stored: &StoredVersion,
        kind: PlanChangeKind,
        by: &str,
        note: Option<String>,
        event: Event,
        ready: Ready,
    ) -> Result<Arc<LivePlan>, Refusal> {
        let change = PlanChange {
            tenant: self.tenant.clone(),
            name: stored.name.clone(),
            version: stored.version,
            kind,
            at: Timestamp::now(),
            by: by.to_owned(),
            note,
        };
        let set = self.store.set_live_plan(change, Some(self.writer.system_event("plans", event))).await?;
        self.onward.committed(set.appended.into_iter().map(|appended| appended.record).collect()).await;
        telemetry::PlanPublished { plan: &stored.name, version: stored.version, by }.emit();
        Ok(Arc::new(LivePlan { plan: ready.plan, version: stored.version, sounds: ready.sounds }))
    }

    /// Keeps the outcome, and gives the switch what is live now.
    async fn tell(&self, dialplan: &str, result: Result<Arc<LivePlan>, Refusal>) -> Result<Published, Refusal> {
        let live = match result {
            Ok(live) => live,
            Err(refusal) => {
                if let Some(entry) = self.lock().iter_mut().find(|e| e.dialplan == dialplan) {
                    entry.refused = Some(refusal.summary().0);
                }
                return Err(refusal);
            }
        };
        let published = Published { name: live.plan.name.text.to_string(), version: live.version };
        if let Some(entry) = self.lock().iter_mut().find(|e| e.dialplan == dialplan) {
            entry.name.clone_from(&published.name);
            entry.live = Some(live);
            (entry.refused, entry.behind) = (None, None);
        }
        if let Some(switch) = self.switch.get() {
            let hotlines = self.hotlines();
            let changed = switch.change_site(move |site| {
                let mut site = site.clone();
                site.set_hotlines(hotlines);
                site
            });
            if changed.await.is_err() {
                tracing::warn!("the plan is live in the store, but the signalling thread has stopped");
            }
        }
        Ok(published)
    }

    /// Parse, check, test, prepare: everything that needs no store.
    async fn ready(&self, text: &str, file: &str, dialplan: &str) -> Result<Ready, Refusal> {
        let plan = Plan::parse(text, file).map_err(|found| refused_by_check(&found))?;
        let plan = Arc::new(plan);
        let spoken = self.config.hotline.iter().any(|hotline| hotline.dialplan == dialplan);
        let chat = chat::dialplans(&self.config).contains(dialplan);
        let mut site = ark_dialplans::Site { chat, ..plan_site(&self.config) };
        // A chat is not recorded.
        site.consent &= spoken;
        // What is wrong anyway is said before minutes are spent on prompts; how long they last is known only then.
        let found = ark_dialplans::check(&plan, &EstimateOnly, &site);
        if found.iter().any(|finding| finding.is_error() && finding.code != "E007") {
            return Err(refused_by_check(&found));
        }
        let failed: Vec<Diagnostic> =
            ark_dialplans::test(&plan).results.into_iter().filter_map(|result| result.failure).collect();
        if let Some(first) = failed.first() {
            let text = ark_dialplans::render_human(&failed, Lang::En);
            return Err(Refusal::Tests { text, first: one_line(first), findings: failed.len() });
        }
        if !spoken {
            return Ok(Ready { plan, sounds: Arc::new(self.prompts.silent()) });
        }
        let sounds = Arc::new(self.prompts.prepare(Arc::clone(&plan), folder(dialplan)).await?);
        let found = ark_dialplans::check(&plan, &*sounds, &site);
        if found.iter().any(Diagnostic::is_error) {
            return Err(refused_by_check(&found));
        }
        Ok(Ready { plan, sounds })
    }

    async fn log_refusal(&self, name: &str, text: &str, refusal: &Refusal, by: &str) {
        let live = self.store.live_plan(&self.tenant, name).await.ok().flatten().map(|l| l.version);
        let (reason, findings) = refusal.summary();
        telemetry::PlanRefused { plan: name, reason: &reason }.emit();
        let event = PlanRefused {
            plan: name.to_owned(),
            sha256: sha256_hex(text),
            live,
            reason,
            findings: u32::try_from(findings).unwrap_or(u32::MAX),
            by: by.to_owned(),
        };
        self.log.push(self.writer.system_event("plans", event));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sha256_hex(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refused_by_check(found: &[Diagnostic]) -> Refusal {
    let errors: Vec<&Diagnostic> = found.iter().filter(|d| d.severity == Severity::Error).collect();
    let first = errors.first().map(|d| one_line(d)).unwrap_or_default();
    Refusal::Check { text: ark_dialplans::render_human(found, Lang::En), first, findings: errors.len() }
}

fn one_line(found: &Diagnostic) -> String {
    format!("{}:{}:{}: {} {}", found.file, found.line, found.column, found.code, found.message.en)
}

/// What the site offers to plans.
pub fn plan_site(config: &Config) -> ark_dialplans::Site {
    ark_dialplans::Site {
        queues: Some(config.queue.iter().map(|q| q.name.clone()).collect()),
        today: Some(jiff::ZonedDateTime::now().date()),
        chat: false,
        consent: config.recording.require_consent,
    }
}

fn read(dialplan: &str) -> Result<Text, Refusal> {
    let text = |source: String| Text { source, file: dialplan.to_owned(), dialplan: dialplan.to_owned() };
    if let Some(name) = dialplan.strip_prefix(BUILTIN) {
        let found = BUILTIN_PLANS.iter().find(|(known, _)| *known == name);
        let (_, found) = found.ok_or_else(|| Refusal::Unknown(dialplan.to_owned()))?;
        return Ok(text((*found).to_owned()));
    }
    let unreadable = |source| Refusal::Unreadable { file: dialplan.to_owned(), source };
    // One byte more than a plan may have: the parser says that it is too large.
    let limit = limits::PLAN_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    std::fs::File::open(dialplan)
        .and_then(|file| std::io::Read::take(file, limit).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    decode(bytes, dialplan).map(text).map_err(|found| refused_by_check(&[*found]))
}

/// The plan's name, from a text that need not be a plan (any more): its line `name = "..."` before the first table.
fn name_in(source: &str) -> Option<String> {
    let lines = source.lines().map(str::trim).take_while(|line| !line.starts_with('['));
    let mut values = lines.filter_map(|line| line.strip_prefix("name")?.trim_start().strip_prefix('='));
    let value = values.next()?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let name = value[1..].split(quote).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn modified(dialplan: &str) -> Option<SystemTime> {
    std::fs::metadata(dialplan).and_then(|m| m.modified()).ok()
}

/// Where recordings that a plan names relatively are looked for.
fn folder(dialplan: &str) -> PathBuf {
    Path::new(dialplan).parent().map(Path::to_path_buf).unwrap_or_default()
}

fn plan_stem(file: &str) -> String {
    let file = file.strip_prefix(BUILTIN).unwrap_or(file);
    Path::new(file).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_else(|| file.to_owned())
}

#[cfg(test)]
mod tests;
