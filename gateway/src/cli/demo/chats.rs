//! What the scripted customers do: they write by DingTalk, WeChat and Alipay, are answered, and see the answer in their app.

use std::sync::Arc;
use std::time::Duration;

use ark_bus::{Missed, Subscription};
use ark_conversation::{ConversationId, Event, Record, ThreadSource};
use ark_dialplans::Lang;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::desks::{self, Desks};
use super::words;
use crate::providers::{Provider, Providers, Shown};
use crate::serve::Gateway;

/// Longest that one step may take.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a customer was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stuck {
    /// The message was not taken.
    #[error("{provider}: {why}")]
    NotTaken {
        /// Whose customer.
        provider: &'static str,
        /// In words.
        why: String,
    },
    /// Something did not come in time.
    #[error("{provider}: {step} did not come in time")]
    Step {
        /// Whose customer.
        provider: &'static str,
        /// What was waited for.
        step: &'static str,
    },
    /// The terminal is gone.
    #[error("the terminal takes no more")]
    Terminal,
}

/// The providers, and what their customers' screens show.
pub(super) struct Chats {
    pub(super) providers: Providers,
    pub(super) shown: mpsc::Receiver<Shown>,
}

/// A customer of each provider writes and is answered. Gives the conversation of the first.
pub(super) async fn run(
    lang: Lang,
    gateway: &Gateway,
    chats: &mut Chats,
    records: &mut Subscription,
) -> Result<ConversationId, Stuck> {
    let mut first = None;
    for provider in Provider::DEMO {
        let (question, answer) = words::chat(lang, provider);
        let not_taken = |why: String| Stuck::NotTaken { provider: provider.name(), why };
        let late = |step| Stuck::Step { provider: provider.name(), step };
        chats.providers.write(gateway.web, provider, question).await.map_err(not_taken)?;
        let written = timeout(STEP_TIMEOUT, written(records, provider)).await;
        let conversation = written.ok().flatten().ok_or_else(|| late("the message in the log"))?;
        desks::say(gateway, conversation, Desks::ANNA, answer).await.map_err(not_taken)?;
        desks::see(lang, chats).await?;
        first.get_or_insert(conversation);
    }
    first.ok_or(Stuck::Terminal)
}

/// The conversation in which a customer of this provider wrote.
async fn written(records: &mut Subscription, provider: Provider) -> Option<ConversationId> {
    loop {
        let record: Arc<Record> = match records.next().await {
            Ok(record) => record,
            Err(Missed::Lagged { .. }) => continue,
            Err(Missed::Closed) => return None,
        };
        let source = record.event.source.parse::<ThreadSource>();
        let own = source.is_ok_and(|source| source.account == provider.account());
        if own && matches!(record.event.event, Event::MessageIn(_)) {
            return Some(record.conversation);
        }
    }
}
