//! Short messages out: a provider's HTTP interface ([`http`]), or SMPP ([`smpp`]).
//!
//! Whoever can make a gateway write to numbers of their choice earns by it (SMS pumping): so only numbers that begin as the site
//! says are written to, each a few times an hour, and all together so many.

mod http;
mod http_receipts;
pub mod limits;
mod receipts;
pub mod smpp;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ark_conversation::normalise_number;

use crate::config;
use limits::*;

pub use receipts::{Fate, ReceiptError};

/// Why a message did not go out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmsError {
    /// The site does not write to this number.
    #[error("{0}")]
    Refused(String),
    /// Too many were sent.
    #[error("{0}")]
    TooMany(String),
    /// The provider did not take it.
    #[error("{0}")]
    Failed(String),
    /// It is not known whether the provider took it: it is not sent again.
    #[error("it is not known whether the message went out: {0}")]
    Unknown(String),
}

/// Short messages of this gateway.
pub struct Sms {
    allow: Vec<String>,
    country: String,
    per_number: u32,
    an_hour: u32,
    counts: Mutex<Counts>,
    how: How,
}

enum How {
    Http(Box<http::Form>),
    Smpp(Box<smpp::Client>),
}

struct Counts {
    began: Instant,
    each: HashMap<String, u32>,
    total: u32,
}

impl Sms {
    /// As the site's file says. Nothing is connected yet.
    ///
    /// # Errors
    /// A sentence about what is wrong with it, without any secret.
    pub fn new(config: &config::Sms) -> Result<Self, String> {
        let how = match (&config.http, &config.smpp) {
            (Some(form), None) => How::Http(Box::new(http::Form::new(form)?)),
            (None, Some(centre)) => How::Smpp(Box::new(smpp::Client::new(centre)?)),
            _ => return Err("one of [sms.http] and [sms.smpp] says how messages are sent".to_owned()),
        };
        Ok(Self {
            allow: config.allow.clone(),
            country: config.country.clone(),
            per_number: config.per_number_an_hour,
            an_hour: config.an_hour,
            counts: Mutex::new(Counts { began: Instant::now(), each: HashMap::new(), total: 0 }),
            how,
        })
    }

    /// Sends a text to a number, as the site allows it. What comes back tells later when it did not arrive, where receipts come.
    ///
    /// # Errors
    /// [`SmsError`].
    pub async fn send(&self, number: &str, text: &str) -> Result<Option<Fate>, SmsError> {
        let to = self.may_write(number, Instant::now())?;
        if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX {
            return Err(SmsError::Refused(format!("a short message has 1 to {TEXT_CHARS_MAX} characters")));
        }
        match &self.how {
            How::Http(form) => form.send(&to, text).await,
            How::Smpp(client) => client.send(&to, text).await.map(Some),
        }
    }

    /// Receipts of the HTTP interface's provider; what it waits for as an answer.
    ///
    /// # Errors
    /// [`ReceiptError`]: nothing was taken.
    pub fn receipts(&self, key: &str, content_type: &str, body: &[u8]) -> Result<String, ReceiptError> {
        match &self.how {
            How::Http(form) => form.receipts().ok_or(ReceiptError::None)?.take(key, content_type, body),
            How::Smpp(_) => Err(ReceiptError::None),
        }
    }

    /// The number in full, when it may be written to now; that counts.
    fn may_write(&self, number: &str, now: Instant) -> Result<String, SmsError> {
        let none = || SmsError::Refused("the caller's number is not known or is no telephone's".to_owned());
        let to = normalise_number(number, &self.country).ok_or_else(none)?;
        if !self.allow.iter().any(|prefix| to.starts_with(prefix.as_str())) {
            let shown = ark_conversation::mask_number(&to);
            return Err(SmsError::Refused(format!("{shown} begins with nothing in [sms] allow: it is not written to")));
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(counts.began) >= WINDOW {
            *counts = Counts { began: now, each: HashMap::new(), total: 0 };
        }
        let known = counts.each.get(&to).copied();
        if known.is_some_and(|count| count >= self.per_number) {
            let why = format!("{} messages went to this number within the hour: no more now", self.per_number);
            return Err(SmsError::TooMany(why));
        }
        if counts.total >= self.an_hour || (known.is_none() && counts.each.len() >= NUMBERS_MAX) {
            return Err(SmsError::TooMany(format!("{} messages went out within the hour: no more now", counts.total)));
        }
        counts.total += 1;
        *counts.each.entry(to.clone()).or_insert(0) += 1;
        Ok(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sms(per_number_an_hour: u32, an_hour: u32) -> Sms {
        let form = "allow = [\"+861\"]\n[http]\nurl = \"https://sms.example/send\"\nbody = '{\"to\":\"{to}\"}'";
        let config: config::Sms = toml::from_str(form).unwrap();
        Sms::new(&config::Sms { per_number_an_hour, an_hour, ..config }).unwrap()
    }

    #[test]
    fn only_numbers_of_the_site_are_written_to_and_not_too_often() {
        let (sms, now) = (sms(2, 3), Instant::now());
        assert_eq!(sms.may_write("138 0000 1212", now), Ok("+8613800001212".to_owned()));
        for dear in ["+88213123456", "+18095551234", "02188886666", "1001", "", "anonymous"] {
            assert!(matches!(sms.may_write(dear, now), Err(SmsError::Refused(_))), "{dear}");
        }
        sms.may_write("+8613800001212", now).unwrap();
        assert!(matches!(sms.may_write("+8613800001212", now), Err(SmsError::TooMany(_))), "the number's bound");
        sms.may_write("+8613800001213", now).unwrap();
        assert!(matches!(sms.may_write("+8613800001214", now), Err(SmsError::TooMany(_))), "the gateway's bound");
        sms.may_write("+8613800001212", now + WINDOW).unwrap();
    }
}
