//! The access token of a provider: one for an account, fetched by one gateway, shared by all.

use ark_conversation::channel::{CallId, Health, HttpCall, HttpFailure, HttpReply, Out, Token};
use jiff::{SignedDuration, Timestamp};

use crate::base::Base;
use crate::limits::{TOKEN_ASK_EVERY, TOKEN_MARGIN};

/// The name that every channel's token has: an account has one.
pub(crate) const ACCESS_TOKEN: &str = "access_token";

/// A token at hand, and a refresh under way.
#[derive(Default)]
pub(crate) struct Tokens {
    token: Option<Token>,
    asked: Option<Timestamp>,
    refresh: Option<Refresh>,
}

enum Refresh {
    Calling { call: CallId, attempt: u32 },
    Waiting { until: Timestamp, attempt: u32 },
}

/// Why a token was not given.
pub(crate) struct NoToken {
    /// In words for the operator, without secrets.
    pub(crate) why: String,
    /// Whether only the operator can put it right.
    pub(crate) broken: bool,
}

impl Tokens {
    /// The token, when it is there and good for a while.
    pub(crate) fn get(&self, now: Timestamp) -> Option<&str> {
        let token = self.token.as_ref().filter(|token| now.duration_since(token.expires_at) < -TOKEN_MARGIN)?;
        Some(&token.value)
    }

    /// Asks the host for one; again only after a while.
    pub(crate) fn need(&mut self, base: &mut Base, now: Timestamp) {
        if self.asked.is_none_or(|asked| now.duration_since(asked) >= TOKEN_ASK_EVERY) {
            self.asked = Some(now);
            base.push(Out::NeedToken { name: ACCESS_TOKEN, stale: None });
        }
    }

    /// The provider refused this one. Said once for each value.
    pub(crate) fn refused(&mut self, base: &mut Base, now: Timestamp, value: &str) {
        if self.token.as_ref().is_some_and(|token| token.value == value) {
            self.token = None;
            self.asked = Some(now);
            base.push(Out::NeedToken { name: ACCESS_TOKEN, stale: Some(value.to_owned()) });
        }
    }

    pub(crate) fn put(&mut self, token: Token) {
        self.token = Some(token);
        self.asked = None;
        // Another gateway of the site was luckier.
        self.refresh.take_if(|refresh| matches!(refresh, Refresh::Waiting { .. }));
    }

    /// Begins to fetch one, unless that is under way.
    pub(crate) fn refresh(&mut self, base: &mut Base, http: HttpCall) {
        if self.refresh.is_none() {
            self.refresh = Some(Refresh::Calling { call: base.call(http), attempt: 0 });
        }
    }

    pub(crate) fn is_mine(&self, call: CallId) -> bool {
        matches!(self.refresh, Some(Refresh::Calling { call: mine, .. }) if mine == call)
    }

    /// The answer to the call that fetches one; `read` gives value and life in seconds. A failure is tried again.
    pub(crate) fn answer(
        &mut self,
        base: &mut Base,
        now: Timestamp,
        answer: Result<HttpReply, HttpFailure>,
        read: impl FnOnce(&HttpReply) -> Result<(String, i64), NoToken>,
    ) {
        let Some(Refresh::Calling { attempt, .. }) = self.refresh else { return };
        let away = |failure: HttpFailure| NoToken { why: failure.to_string(), broken: false };
        match answer.map_err(away).and_then(|reply| read(&reply)) {
            Ok((value, seconds)) => {
                self.refresh = None;
                let expires_at = now + SignedDuration::from_secs(seconds.clamp(60, 86_400));
                let token = Token { value, expires_at };
                self.put(token.clone());
                base.push(Out::Token { name: ACCESS_TOKEN, token });
                base.health(Health::Up);
            }
            Err(NoToken { why, broken }) => {
                let until = now + base.random.backoff(attempt);
                self.refresh = Some(Refresh::Waiting { until, attempt: attempt + 1 });
                let why = format!("no access token: {why}");
                base.health(if broken { Health::Broken { why } } else { Health::Down { why } });
            }
        }
    }

    pub(crate) fn tick(&mut self, base: &mut Base, now: Timestamp, http: impl FnOnce() -> HttpCall) {
        if let Some(Refresh::Waiting { until, attempt }) = self.refresh
            && until <= now
        {
            self.refresh = Some(Refresh::Calling { call: base.call(http()), attempt });
        }
    }

    pub(crate) const fn deadline(&self) -> Option<Timestamp> {
        match self.refresh {
            Some(Refresh::Waiting { until, .. }) => Some(until),
            _ => None,
        }
    }
}
