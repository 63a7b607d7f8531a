//! One plan for all gateways of a store: what one made live becomes live at the others, without a restart.
//!
//! The store's order of changes is everybody's: whoever publishes last there has published last everywhere. Each gateway looks at the
//! newest change of each of its plans, prepares that version for itself, and only then gives it to its callers; while it cannot (a
//! damaged recording, no voice), it stays where it was, says so, and tries again.

use std::time::{Duration, Instant};

use ark_store::{PlanChange, PlanChangeKind, StoreError};

use super::{Entry, LivePlan, Plans, Refusal, Text, by_itself, read, sha256_hex};

/// How long it takes until a version that could not be made live here is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// A version that is live at other gateways and not here.
pub(super) struct Behind {
    version: u32,
    why: String,
    again: Instant,
}

impl Behind {
    /// It is tried again at the next look.
    #[cfg(test)]
    pub(super) fn try_now(&mut self) {
        self.again = Instant::now();
    }

    /// In a sentence.
    pub(super) fn words(&self) -> String {
        let Self { version, why, .. } = self;
        format!("version {version} is live at the other gateways and cannot be here: {why}")
    }
}

impl Plans {
    /// Makes live here what other gateways of this store made live since the last look.
    pub async fn follow(&self) {
        if !self.shared {
            return;
        }
        let plans: Vec<(String, String)> = {
            let entries = self.lock();
            // Of two files with one name only the one that is live follows.
            let taken = |e: &Entry| {
                e.live.is_none() && entries.iter().any(|other| other.name == e.name && other.live.is_some())
            };
            entries.iter().filter(|e| !taken(e)).map(|e| (e.dialplan.clone(), e.name.clone())).collect()
        };
        for (dialplan, name) in plans {
            if let Err(error) = self.follow_one(&dialplan, &name).await {
                // That the store is away is said elsewhere.
                tracing::debug!(plan = %name, %error, "what is live at the other gateways cannot be read");
            }
        }
    }

    async fn follow_one(&self, dialplan: &str, name: &str) -> Result<(), StoreError> {
        let Some(seen) = self.newest(name).await? else { return Ok(()) };
        if self.is_settled(dialplan, seen.version) {
            return Ok(());
        }
        let _one = self.publishing.lock().await;
        // Looked at again: while this gateway published itself, others may have, too.
        let Some(change) = self.newest(name).await? else { return Ok(()) };
        if self.is_settled(dialplan, change.version) {
            return Ok(());
        }
        let Some(stored) = self.store.plan_version(&self.tenant, name, change.version).await? else { return Ok(()) };
        let version = stored.version;
        let file = format!("{name}@{version}");
        match self.ready(&stored.source, &file, dialplan).await {
            Ok(ready) => {
                let live = LivePlan { plan: ready.plan, version, sounds: ready.sounds };
                if self.tell(dialplan, Ok(live.into())).await.is_ok() {
                    tracing::info!(plan = %name, version, by = %change.by, "live here as at the other gateways");
                }
                self.note_difference(dialplan, &stored.sha256, &change);
            }
            Err(refusal) => self.stay_behind(dialplan, name, version, &stored.source, &refusal).await,
        }
        Ok(())
    }

    async fn newest(&self, name: &str) -> Result<Option<PlanChange>, StoreError> {
        Ok(self.store.plan_history(&self.tenant, name, 1).await?.into_iter().next())
    }

    /// Whether that version is live here already, or was tried a moment ago.
    fn is_settled(&self, dialplan: &str, version: u32) -> bool {
        let mut entries = self.lock();
        let Some(entry) = entries.iter_mut().find(|e| e.dialplan == dialplan) else { return true };
        if entry.live.as_ref().is_some_and(|live| live.version == version) {
            entry.behind = None;
            return true;
        }
        entry.behind.as_ref().is_some_and(|behind| behind.version == version && Instant::now() < behind.again)
    }

    async fn stay_behind(&self, dialplan: &str, name: &str, version: u32, source: &str, refusal: &Refusal) {
        let behind = Behind { version, why: refusal.summary().0, again: Instant::now() + AGAIN_AFTER };
        let news = {
            let mut entries = self.lock();
            let Some(entry) = entries.iter_mut().find(|e| e.dialplan == dialplan) else { return };
            let before = entry.behind.replace(behind);
            before.is_none_or(|before| before.version != version)
        };
        if news {
            tracing::error!(plan = %name, version, "live at the other gateways, not here, where the earlier one stays:\n{refusal}");
            self.log_refusal(name, source, refusal, "site").await;
        }
    }

    /// The file of this gateway says something else: that is told when nobody chose it by hand.
    fn note_difference(&self, dialplan: &str, sha256: &str, change: &PlanChange) {
        let chosen = !by_itself(&change.by) && change.kind == PlanChangeKind::Published;
        if !chosen
            && let Ok(text) = read(dialplan)
            && sha256_hex(&text.source) != sha256
            && let Some(entry) = self.lock().iter_mut().find(|e| e.dialplan == dialplan)
        {
            entry.refused = Some(format!("{dialplan}: not live; {}; change the file or publish it", did(change)));
        }
    }

    /// Whether a file that was written anew says what it said before, and something else has become live in the meantime: why it does
    /// not go live. The same file stands at every gateway, and one that is only copied again must not take all of them back.
    pub(super) async fn only_touched(&self, dialplan: &str) -> Option<String> {
        if !self.shared {
            return None;
        }
        let text = read(dialplan).ok()?;
        let sha256 = sha256_hex(&text.source);
        let name = {
            let mut entries = self.lock();
            let entry = entries.iter_mut().find(|e| e.dialplan == dialplan)?;
            let before = entry.seen.replace(sha256.clone());
            (before == Some(sha256)).then(|| entry.name.clone())?
        };
        self.kept_by_another(&name, &text).await.ok().flatten()
    }

    /// When something else is live than this file, which was live before: why it does not go live now. Who decided counts for a store
    /// that one gateway has: there its file is the last word, unless a person said otherwise.
    pub(super) async fn kept_by_another(&self, name: &str, text: &Text) -> Result<Option<String>, StoreError> {
        let sha256 = sha256_hex(&text.source);
        let history = self.store.plan_history(&self.tenant, name, super::VERSIONS_SHOWN).await?;
        let Some(last) = history.first().filter(|change| self.shared || !by_itself(&change.by)) else {
            return Ok(None);
        };
        // What was live when persons began to decide, and everything that they replaced since; of several gateways, everything.
        let first_own = history.iter().position(|change| by_itself(&change.by)).filter(|_| !self.shared);
        let replaced = history.iter().take(first_own.unwrap_or(history.len()) + 1);
        let mut looked_at = vec![last.version];
        for change in replaced {
            if looked_at.contains(&change.version) {
                continue;
            }
            looked_at.push(change.version);
            let stored = self.store.plan_version(&self.tenant, name, change.version).await?;
            if stored.is_some_and(|stored| stored.sha256 == sha256) {
                return Ok(Some(format!(
                    "{}: unchanged since version {}, after which {}, which stays live; change the file or publish it",
                    text.dialplan,
                    change.version,
                    did(last)
                )));
            }
        }
        Ok(None)
    }
}

/// `api published version 2`.
fn did(change: &PlanChange) -> String {
    let by = if by_itself(&change.by) { "the file of a gateway" } else { change.by.as_str() };
    let did = match change.kind {
        PlanChangeKind::Published => "published",
        PlanChangeKind::RolledBack => "rolled back to",
    };
    format!("{by} {did} version {}", change.version)
}
