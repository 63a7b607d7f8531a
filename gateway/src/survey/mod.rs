//! Surveys by link: callers who talked with a person and were not asked by their plan get a page with the question by short message.
//!
//! Everything about one is in its conversation's log, so any gateway serves any link. The token in the address names the conversation and
//! has 128 random bits; their SHA-256 stands in the question (`ark.survey.asked.v1`), and nothing else of them is kept. That a question is
//! asked once and answered once is the store's rule that an event with one (source, id) is taken once. What calls ended is read from the
//! store's feed by a reader of its own, whose place moves on after its calls were seen to: of several gateways, whichever is first.

mod limits;

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ark_conversation::event::{Medium, Role, SurveyAnswered, SurveyAsked, SurveyWay};
use ark_conversation::machine::SurveyLink;
use ark_conversation::{
    CloudEvent, Content, ConversationId, ConversationKind, ConversationState, Event, Hash, LegState, NewEvent, Record,
    Tenant, source,
};
use ark_store::{Advance, Store, StoreError};
use jiff::{SignedDuration, Timestamp};

use crate::companion::tries::Tries;
use crate::companion::{self, Companion, TOKEN_LETTERS};
use crate::config::{self, Config};
use crate::sms::Sms;
use limits::{
    AGE_MAX, COMMENT_CHARS_MAX, CONVERSATION_LETTERS, LOOK_EVERY, MISSES_PER_ADDRESS, MISSES_TOTAL, PAGE_RECORDS,
    READER,
};

/// Why a page cannot be shown, or an answer not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SurveyError {
    /// There is no such link.
    #[error("there is no such link")]
    Unknown,
    /// Its time is over.
    #[error("this link is over")]
    Over,
    /// It was answered.
    #[error("this was answered already; thank you")]
    Answered,
    /// The request itself is wrong.
    #[error("{0}")]
    Malformed(&'static str),
    /// Too many links that are none.
    #[error("too many tries: wait {} minutes", .0.as_secs().div_ceil(60).max(1))]
    TooMany(Duration),
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
}

impl From<StoreError> for SurveyError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// What a page shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The question.
    pub question: String,
    /// The answers from the worst to the best.
    pub answers: Vec<String>,
    /// What is said to who answered.
    pub thanks: String,
    /// Whether it was answered.
    pub answered: bool,
}

/// Surveys by link of this gateway.
pub struct Survey {
    tenant: Tenant,
    store: Arc<dyn Store>,
    settings: config::Survey,
    companion: Arc<Companion>,
    misses: Tries<IpAddr>,
}

impl Survey {
    /// As the site says; none when it has no `[survey]`. Links begin as companion links do. Whoever is to be asked is, for as long as what
    /// this gives is kept.
    #[must_use]
    pub fn start(
        config: &Config,
        tenant: &Tenant,
        store: &Arc<dyn Store>,
        companion: &Arc<Companion>,
    ) -> Option<Arc<Self>> {
        let settings = config.survey.clone()?;
        let asks = settings.sms;
        let (tenant, store, companion) = (tenant.clone(), Arc::clone(store), Arc::clone(companion));
        let sms = companion.sms().filter(|_| asks);
        let misses = Tries::new(MISSES_PER_ADDRESS, MISSES_TOTAL);
        let survey = Arc::new(Self { tenant, store, settings, companion, misses });
        if let Some(sms) = sms {
            tokio::spawn(ask_callers(Arc::downgrade(&survey), sms));
        }
        Some(survey)
    }

    // ---- the page

    /// What the page of a link shows.
    ///
    /// # Errors
    /// [`SurveyError`].
    pub async fn look(&self, token: &str, from: IpAddr) -> Result<Question, SurveyError> {
        let state = self.find(token, from).await?;
        let asked = state.survey.ok_or(SurveyError::Unknown)?;
        let config::Survey { question, answers, thanks, .. } = self.settings.clone();
        Ok(Question { question, answers, thanks, answered: asked.score.is_some() })
    }

    /// Takes the answer of a page: a score from 1 to the number of answers, and what else they wrote.
    ///
    /// # Errors
    /// [`SurveyError`].
    pub async fn answer(&self, token: &str, from: IpAddr, score: u8, comment: &str) -> Result<(), SurveyError> {
        let state = self.find(token, from).await?;
        let asked = state.survey.as_ref().ok_or(SurveyError::Unknown)?;
        if asked.score.is_some() {
            return Err(SurveyError::Answered);
        }
        if !(1..=asked.scale).contains(&score) {
            return Err(SurveyError::Malformed("the score is none of the answers"));
        }
        let comment = comment.trim();
        if comment.chars().count() > COMMENT_CHARS_MAX {
            return Err(SurveyError::Malformed("the comment is too long"));
        }
        let comment = (!comment.is_empty()).then(|| Content::new(comment));
        let leg = state.customer().ok_or(SurveyError::Unknown)?.leg;
        let answered = SurveyAnswered { leg, way: SurveyWay::Link, score, scale: asked.scale, comment };
        let taken = self.append(state.conversation, "answered", answered).await?;
        if taken { Ok(()) } else { Err(SurveyError::Answered) }
    }

    /// The conversation of a link that is good.
    async fn find(&self, token: &str, from: IpAddr) -> Result<ConversationState, SurveyError> {
        if let Some(wait) = self.misses.wait(&from, Instant::now()) {
            return Err(SurveyError::TooMany(wait));
        }
        let Some(state) = self.known(token).await? else {
            let _ = self.misses.take(&from, Instant::now());
            return Err(SurveyError::Unknown);
        };
        let until = state.survey.as_ref().and_then(|asked| asked.until);
        if until.is_none_or(|until| until < Timestamp::now()) {
            return Err(SurveyError::Over);
        }
        Ok(state)
    }

    async fn known(&self, token: &str) -> Result<Option<ConversationState>, SurveyError> {
        let Some((conversation, secret)) = parted(token) else { return Ok(None) };
        let link = Hash::of(secret.as_bytes());
        let state = self.store.summary(&self.tenant, conversation).await?;
        Ok(state.filter(|state| state.survey.as_ref().is_some_and(|asked| asked.link == Some(link))))
    }

    // ---- who is asked

    /// Looks through the next page of the log; whether there was one.
    async fn look_at_calls(&self, sms: &Arc<Sms>) -> Result<bool, StoreError> {
        let begun = self.store.reader(&self.tenant, READER).await?;
        let advance = |to| Advance {
            tenant: self.tenant.clone(),
            reader: READER.to_owned(),
            from: begun,
            to,
            deliveries: vec![],
        };
        let Some(at) = begun else {
            // Whoever called before surveys were switched on is not asked.
            self.store.advance(advance(self.store.feed_end().await?)).await?;
            return Ok(true);
        };
        let page = self.store.feed(&self.tenant, at, PAGE_RECORDS).await?;
        for placed in &page.records {
            self.ended(sms, &placed.record).await?;
        }
        if page.next == at {
            return Ok(false);
        }
        match self.store.advance(advance(page.next)).await {
            Ok(_) | Err(StoreError::Conflict(_)) => Ok(!page.records.is_empty()),
            Err(error) => Err(error),
        }
    }

    /// Asks the caller whose leg has ended, if that is due.
    async fn ended(&self, sms: &Arc<Sms>, record: &Record) -> Result<(), StoreError> {
        let over = matches!(record.event.event, Event::CallEnded(_));
        if !over || record.at.duration_until(Timestamp::now()) > AGE_MAX {
            return Ok(());
        }
        let Some(state) = self.store.summary(&self.tenant, record.conversation).await? else { return Ok(()) };
        let Some(caller) = due(&state) else { return Ok(()) };
        let secret = companion::token();
        let link = Hash::of(secret.as_bytes());
        let window = SignedDuration::try_from(self.settings.window.0).unwrap_or(AGE_MAX);
        let until = Timestamp::now().saturating_add(window).ok();
        let until = until.and_then(|until| Timestamp::from_microsecond(until.as_microsecond()).ok());
        let scale = u8::try_from(self.settings.answers.len()).unwrap_or(u8::MAX);
        let asked =
            SurveyAsked { leg: caller.leg, way: SurveyWay::Link, scale, message: None, until, link: Some(link) };
        // Of two gateways that read the same, one asks: the id is the conversation's, whatever the token.
        if !self.append(record.conversation, "asked", asked).await? {
            return Ok(());
        }
        let url = format!("{}/s/{}{secret}", self.companion.origin(), record.conversation.to_string().to_lowercase());
        let text = self.settings.sms_text.replace("{url}", &url);
        let number = companion::number_of(caller).to_owned();
        if let Err(error) = sms.send(&number, &text).await {
            let number = ark_conversation::mask_number(&number);
            tracing::info!(conversation = %record.conversation, %number, %error, "a survey's link could not be sent");
        }
        Ok(())
    }

    /// Whether the event is new: a conversation has one of each id.
    async fn append(&self, of: ConversationId, id: &str, event: impl Into<Event>) -> Result<bool, StoreError> {
        let now = Timestamp::now();
        let event = CloudEvent::new(id, source::survey(&self.tenant, of), now, event);
        let event = NewEvent { tenant: self.tenant.clone(), conversation: of, epoch: 1, at: now, event };
        Ok(self.store.append(vec![event]).await?.iter().all(|one| !one.duplicate))
    }
}

/// Where customers of the site's channels without buttons are asked; none where the site has no address that they reach, or no such channel.
#[must_use]
pub fn by_link(config: &Config) -> Option<SurveyLink> {
    let origin = config.companion.url.as_ref().or(config.web.public_url.as_ref())?;
    // What is wrong with an account is said where it is started.
    let accounts = crate::channel_host::accounts(config, &Tenant::default()).ok()?;
    let has_buttons = |account: &crate::channel_host::AccountConfig| {
        account.channel.manifest().capabilities.card.as_ref().is_some_and(|card| card.outbound)
    };
    let plain = accounts.iter().filter(|account| !has_buttons(account));
    let accounts: std::collections::BTreeSet<_> =
        plain.map(|account| (account.adapter.clone(), account.name.clone())).collect();
    let address = format!("{}/s/", origin.trim_end_matches('/'));
    (!accounts.is_empty()).then(|| SurveyLink { address, secret: rand::random(), accounts })
}

/// Asks callers whose calls end, while somebody keeps the survey.
async fn ask_callers(survey: Weak<Survey>, sms: Arc<Sms>) {
    loop {
        let Some(survey) = survey.upgrade() else { return };
        match survey.look_at_calls(&sms).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "calls that ended cannot be read now"),
        }
        drop(survey);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The conversation that a token names, and its secret part.
fn parted(token: &str) -> Option<(ConversationId, &str)> {
    let fits = token.len() == CONVERSATION_LETTERS + TOKEN_LETTERS && token.bytes().all(|b| b.is_ascii_alphanumeric());
    let (conversation, secret) = token.split_at_checked(CONVERSATION_LETTERS).filter(|_| fits)?;
    Some((conversation.to_ascii_uppercase().parse().ok()?, secret))
}

fn customer(state: &ConversationState) -> Option<&LegState> {
    let called = |leg: &&LegState| leg.medium == Medium::Call && leg.role == Role::Customer;
    state.legs.iter().find(called)
}

/// The caller of a call that is over, who talked with a person and was not asked.
fn due(state: &ConversationState) -> Option<&LegState> {
    let talked = |leg: &LegState| leg.role == Role::Agent && leg.medium == Medium::Call && leg.answered.is_some();
    let over = state.ended.is_some() && state.kind == ConversationKind::Call && state.survey.is_none();
    let caller = customer(state).filter(|_| over && state.legs.iter().any(talked))?;
    let number = companion::number_of(caller);
    let plain = number.strip_prefix('+').unwrap_or(number);
    ((5..=15).contains(&plain.len()) && plain.bytes().all(|b| b.is_ascii_digit())).then_some(caller)
}

#[cfg(test)]
mod tests;
