//! What every element asks of a request before it looks further (RFC 3261 8.1.1, 8.2, 16.3).

use super::{HeaderName, Message};
use crate::text;

/// Why a readable request is answered with an error all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The status to answer with.
    pub status: u16,
    /// The reason phrase.
    pub reason: &'static str,
}

impl Message {
    /// Whether the request has what every request must have, once each. Missing Max-Forwards and Content-Length are
    /// forgiven (RFC 2543 clients), as are repeated Content-Lengths that agree. Methods, extensions, URI schemes and
    /// bodies are for the element to judge (405, 420, 416, 415).
    ///
    /// # Errors
    /// 400 with the reason phrase to answer with.
    pub fn validate_request(&self) -> Result<(), Rejection> {
        let refuse = |reason| Err(Rejection { status: 400, reason });
        if self.top_via().is_none() {
            return refuse("Missing Via");
        }
        if self.header(HeaderName::From).is_none() {
            return refuse("Missing From");
        }
        if self.header(HeaderName::To).is_none() {
            return refuse("Missing To");
        }
        if self.call_id().is_none() {
            return refuse("Missing Call-ID");
        }
        if self.cseq().is_err() {
            return refuse("Missing CSeq");
        }
        if let Some(name) = self.duplicates().next() {
            return refuse(match name {
                HeaderName::From => "Duplicate From",
                HeaderName::To => "Duplicate To",
                HeaderName::CallId => "Duplicate Call-ID",
                HeaderName::CSeq => "Duplicate CSeq",
                HeaderName::MaxForwards => "Duplicate Max-Forwards",
                HeaderName::ContentLength => "Conflicting Content-Length",
                _ => "Duplicate Content-Type",
            });
        }
        if self.max_forwards().is_err() {
            return refuse("Bad Max-Forwards");
        }
        Ok(())
    }

    /// The headers on which routing, matching or framing rests that stand there twice; a repeated Content-Length
    /// counts only when it differs.
    pub fn duplicates(&self) -> impl Iterator<Item = HeaderName<'static>> {
        const WATCHED: [HeaderName<'static>; 7] = [
            HeaderName::From,
            HeaderName::To,
            HeaderName::CallId,
            HeaderName::CSeq,
            HeaderName::MaxForwards,
            HeaderName::ContentLength,
            HeaderName::ContentType,
        ];
        WATCHED.into_iter().filter(|name| {
            let mut values = self.header_values(*name);
            let Some(first) = values.next() else { return false };
            match name {
                HeaderName::ContentLength => values.any(|value| text::decimal(value) != text::decimal(first)),
                _ => values.next().is_some(),
            }
        })
    }
}
