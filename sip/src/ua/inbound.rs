//! What becomes of a request: the checks of RFC 3261 8.2 in their order, then the call or transaction it belongs to.

use super::compose::{ACCEPT, ALLOW, SUPPORTED};
use super::transactions::{Opening, Purpose};
use super::{Endpoint, Flow};
use crate::dialog::is_unicast;
use crate::tx::Input;
use crate::tx::matching::{Domain, Fingerprint, is_rfc3261_branch};
use crate::types::{Host, Method, Scheme, Via};
use crate::wire::{HeaderName, Message, ParseError};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A refusal: status, reason phrase, one more header line.
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
    pub(crate) lines: Vec<(&'static str, String)>,
}

impl Refusal {
    pub(crate) fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason, lines: Vec::new() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.lines.push((name, value.into()));
        self
    }
}

impl Endpoint {
    /// A request came from the network.
    pub(crate) fn request(&mut self, now: Instant, flow: Flow, message: Message) {
        let is_ack = message.method() == Some(Method::Ack);
        if let Err(rejection) = message.validate_request() {
            self.stats.bad_request_400 += 1;
            // Without a Via nobody knows where the answer goes; an ACK gets none.
            if !is_ack && message.top_via().is_some() {
                self.answer_stateless(&message, flow, (rejection.status, rejection.reason), &[]);
            }
            return;
        }
        let Some(Ok(via)) = message.top_via() else { return };
        let source = flow.remote.ip();
        if !is_unicast(source) || flow.remote.port() == 0 || names_many(&via) {
            self.stats.dropped_bad_via += 1;
            return;
        }
        let index = self.server_index(&message, &via);
        match message.method() {
            Some(Method::Ack) => self.ack(now, index, &message),
            Some(Method::Cancel) => self.cancel(now, flow, index, message),
            Some(_) => match self.servers.get(&index).copied() {
                Some(id) => self.walk(now, id, Input::Request, None, None),
                None => self.new_request(now, flow, index, message),
            },
            None => {}
        }
    }

    /// The server transaction a request belongs to, with the INVITE's for its ACK and CANCEL (RFC 3261 17.2.3).
    fn server_index(&self, message: &Message, via: &Via<'_>) -> Fingerprint {
        let method = match message.method() {
            Some(Method::Ack | Method::Cancel) | None => Method::Invite,
            Some(method) => method,
        };
        self.index_as(message, via, method)
    }

    fn index_as(&self, message: &Message, via: &Via<'_>, method: Method<'_>) -> Fingerprint {
        if let Some(branch) = via.branch().filter(|branch| is_rfc3261_branch(branch)) {
            let port = via.port.unwrap_or(5060).to_be_bytes();
            let host: &[u8] = match &via.host {
                Host::V4(ip) => &ip.octets(),
                Host::V6(ip) => &ip.octets(),
                Host::Name(name) => &name.to_ascii_lowercase(),
            };
            return self.fingerprinter.of(Domain::Server, &[branch, host, &port, method.as_bytes()]);
        }
        let from_tag = message.from_tag().unwrap_or_default();
        let number = message.cseq().map_or(0, |cseq| cseq.number).to_be_bytes();
        let uri = message.request_uri().map_or(&b""[..], |uri| uri.raw);
        let call_id = message.call_id().unwrap_or_default();
        self.fingerprinter.of(Domain::Server2543, &[uri, from_tag, call_id, &number, via.raw, method.as_bytes()])
    }

    fn merged_index(&self, message: &Message) -> Fingerprint {
        let from_tag = message.from_tag().unwrap_or_default();
        let call_id = message.call_id().unwrap_or_default();
        let cseq = message.header(HeaderName::CSeq).unwrap_or_default();
        self.fingerprinter.of(Domain::Merged, &[from_tag, call_id, cseq])
    }

    /// The key of a call in the table of dialogs.
    pub(crate) fn dialog_index(&self, call_id: &[u8], local_tag: &[u8]) -> Fingerprint {
        self.fingerprinter.of(Domain::Dialog, &[call_id, local_tag])
    }

    /// The call whose tag stands in To.
    pub(crate) fn call_of(&self, message: &Message) -> Option<u64> {
        self.dialogs.get(&self.dialog_index(message.call_id()?, message.to_tag()?)).copied()
    }

    /// A request that no transaction knows.
    fn new_request(&mut self, now: Instant, flow: Flow, index: Fingerprint, message: Message) {
        let in_dialog = message.to_tag().is_some();
        let invite = message.method() == Some(Method::Invite);
        // The cheapest answer first: what is new is not even looked at while we are full.
        if invite
            && !in_dialog
            && let Some(left) = self.refuses(now, flow)
        {
            return self.refuse(&message, flow, &busy(left));
        }
        if let Some(refusal) = self.check(&message, in_dialog) {
            return self.refuse(&message, flow, &refusal);
        }
        // What a back-to-back agent would have to pass on with no hop left (RFC 7332 4): a loop of calls ends here.
        // OPTIONS is answered by the last element it reaches (RFC 3261 11).
        if invite && !in_dialog && message.max_forwards() == Ok(Some(0)) {
            self.stats.too_many_hops_483 += 1;
            return self.refuse(&message, flow, &Refusal::new(483, ""));
        }
        if in_dialog {
            return match self.call_of(&message) {
                Some(call) => self.in_dialog(now, flow, (call, index), message),
                None => self.refuse_without_dialog(&message, flow),
            };
        }
        match message.method() {
            Some(Method::Invite) => {
                let merged = self.merged_index(&message);
                if self.merged.contains_key(&merged) {
                    self.stats.merged_482 += 1;
                    return self.refuse(&message, flow, &Refusal::new(482, "Merged Request"));
                }
                self.incoming_call(now, flow, (index, merged), message);
            }
            Some(Method::Options) => self.options(now, flow, &message),
            _ => self.refuse_without_dialog(&message, flow),
        }
    }

    fn refuse_without_dialog(&mut self, message: &Message, flow: Flow) {
        self.stats.no_dialog_481 += 1;
        self.refuse(message, flow, &Refusal::new(481, ""));
    }

    pub(crate) fn refuse(&mut self, message: &Message, flow: Flow, refusal: &Refusal) {
        let lines: Vec<_> = refusal.lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.answer_stateless(message, flow, (refusal.status, refusal.reason), &lines);
    }

    /// RFC 3261 8.2.1 to 8.2.3.
    fn check(&mut self, message: &Message, in_dialog: bool) -> Option<Refusal> {
        match message.method()? {
            Method::Invite | Method::Options | Method::Bye | Method::Info | Method::Update => {}
            Method::Ack | Method::Cancel => return None,
            Method::Other(_) => {
                self.stats.not_implemented_501 += 1;
                return Some(Refusal::new(501, "").with("Allow", ALLOW));
            }
            _ => {
                self.stats.method_not_allowed_405 += 1;
                return Some(Refusal::new(405, "").with("Allow", ALLOW));
            }
        }
        if !in_dialog && matches!(message.request_uri()?.scheme, Scheme::Other(_)) {
            self.stats.unsupported_scheme_416 += 1;
            return Some(Refusal::new(416, ""));
        }
        // Proxy-Require is for those on the way (RFC 3261 20.29): `privacy`, say, may still stand there (RFC 3323 4.2).
        let mut unsupported: Vec<_> =
            message.header_values(HeaderName::Require).map(|tag| String::from_utf8_lossy(tag)).collect();
        unsupported.dedup();
        if !unsupported.is_empty() {
            self.stats.bad_extension_420 += 1;
            return Some(Refusal::new(420, "").with("Unsupported", unsupported.join(", ")));
        }
        match message.method()? {
            Method::Invite | Method::Update => self.check_body(message),
            _ => None,
        }
    }

    /// RFC 3261 8.2.3 for what may carry an offer.
    fn check_body(&mut self, message: &Message) -> Option<Refusal> {
        let optional = message
            .header(HeaderName::ContentDisposition)
            .is_some_and(|value| contains_ignoring_case(value, b"handling=optional"));
        if !message.body().is_empty() && !optional {
            let encoded = message
                .header_values(HeaderName::ContentEncoding)
                .any(|encoding| !encoding.eq_ignore_ascii_case(b"identity"));
            if encoded || message.sdp().is_none() {
                self.stats.unsupported_body_415 += 1;
                return Some(Refusal::new(415, "").with("Accept", ACCEPT).with("Accept-Encoding", "identity"));
            }
        }
        let mut accepts = message.header_values(HeaderName::Accept).peekable();
        let takes_sdp = |range: &[u8]| {
            let range = range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            [&b"application/sdp"[..], b"application/*", b"*/*"].iter().any(|known| range.eq_ignore_ascii_case(known))
        };
        if accepts.peek().is_some() && !accepts.any(takes_sdp) {
            self.stats.not_acceptable_406 += 1;
            return Some(Refusal::new(406, ""));
        }
        None
    }

    /// RFC 3261 11.2. Nothing is kept: the answer to a retransmission is the same.
    fn options(&mut self, now: Instant, flow: Flow, message: &Message) {
        self.stats.options_answered += 1;
        if let Some(left) = self.closed(now) {
            return self.refuse(message, flow, &busy(left));
        }
        let contact = self.contact(flow);
        let lines = [("Contact", contact.as_str()), ("Allow", ALLOW), ("Accept", ACCEPT), ("Supported", SUPPORTED)];
        self.answer_stateless(message, flow, (200, ""), &lines);
    }

    /// RFC 3261 9.2. It never touches an INVITE that has its final response.
    fn cancel(&mut self, now: Instant, flow: Flow, invite_index: Fingerprint, message: Message) {
        let Some(Ok(via)) = message.top_via() else { return };
        let own_index = self.index_as(&message, &via, Method::Cancel);
        if let Some(id) = self.servers.get(&own_index).copied() {
            return self.walk(now, id, Input::Request, None, None);
        }
        let Some(invite) = self.servers.get(&invite_index).copied().filter(|_| self.has_room_in_call(now, flow)) else {
            return self.refuse_without_dialog(&message, flow);
        };
        let tag = self.txs.get(&invite).and_then(|tx| tx.local_tag.clone());
        let message = Arc::new(message);
        let (index, merged) = (own_index, None);
        let opening = Opening { purpose: Purpose::Cancel, call: None, flow, index, merged, local_tag: None };
        let id = self.open_server(&message, opening);
        let bytes = self.compose(&message, flow, (200, ""), tag.as_deref(), &[], None);
        self.respond(now, id, 200, bytes);
        self.cancelled(now, invite);
    }

    /// What did not parse, but could be answered (RFC 3261 18.3; responses and ACKs never are).
    pub(crate) fn malformed(&mut self, flow: Flow, error: &ParseError) {
        let counts = error.kind != crate::wire::ErrorKind::KeepAlive;
        self.stats.malformed += u64::from(counts);
        let Some(partial) = error.partial.as_deref().filter(|_| error.code != 0) else { return };
        let many = partial.top_via().and_then(Result::ok).is_none_or(|via| names_many(&via));
        if is_unicast(flow.remote.ip()) && flow.remote.port() != 0 && !many {
            let reason = if error.code == 400 { error.reason } else { "" };
            self.answer_stateless(partial, flow, (error.code, reason), &[]);
        }
    }
}

/// Whether a Via names a broadcast or multicast address: such a request is nobody's (RFC 4475 3.3.7 for responses).
fn names_many(via: &Via<'_>) -> bool {
    via.host.ip().is_some_and(|ip| !is_unicast(ip) && !ip.is_unspecified())
}

pub(crate) fn busy(retry_after: Duration) -> Refusal {
    let seconds = retry_after.as_millis().div_ceil(1000).max(1);
    Refusal::new(503, "").with("Retry-After", seconds.to_string())
}

fn contains_ignoring_case(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}
