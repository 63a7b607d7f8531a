//! The channel of the deliver road: what it can carry, and that a message of the house is delivered when it is in the log.
//!
//! Other channels bring a message to a provider. Here the provider is Ark's own page, which reads the log itself: a message is
//! there for it as soon as it is committed, and stays until it comes. So nothing is sent twice and nothing waits in memory for a
//! visitor who is away; what the page did with it is told by its receipts (`delivered`, `read`).

use std::collections::VecDeque;

use ark_conversation::channel::{
    Capabilities, Capability, Channel, Dedup, Health, HttpReply, IdentityCaps, In, InboundId, Limits, Manifest,
    Ordering, Out, Outcome, Transport, TransportMode,
};
use jiff::Timestamp;

use super::limits::TEXT_CHARS_MAX;
use crate::channel_host::limits::{FILE_BYTES_MAX, IMAGE_BYTES_MAX};

/// How long copies of messages out are told: the log tells them for ever; a year is the largest that anybody asks for.
const KEYS_S: u64 = 365 * 24 * 3_600;

/// The machine of one `[[channel]]` of kind `web`.
pub(super) struct WebChannel {
    manifest: Manifest,
    out: VecDeque<Out>,
}

impl WebChannel {
    pub(super) fn new() -> Self {
        Self { manifest: manifest(), out: VecDeque::new() }
    }
}

fn manifest() -> Manifest {
    let text = Capability { max_chars: u64::try_from(TEXT_CHARS_MAX).ok(), ..Capability::IN };
    let file = |max_bytes| Some(Capability { max_bytes: Some(max_bytes), ..Capability::BOTH });
    Manifest {
        ark_adapter: "1".to_owned(),
        id: "web".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        channel: "web".to_owned(),
        transport: Transport { mode: TransportMode::Inproc, url: None, queue: None, max_batch: None },
        capabilities: Capabilities {
            // What the house writes may be as long as the log takes it: the page breaks lines.
            text: Some(Capability { outbound: true, max_chars: None, ..text }),
            image: file(IMAGE_BYTES_MAX),
            file: file(FILE_BYTES_MAX),
            video: file(FILE_BYTES_MAX),
            voice_note: file(FILE_BYTES_MAX),
            card: Some(Capability::OUT),
            typing: Some(Capability::BOTH),
            receipt_delivered: Some(Capability::IN),
            receipt_read: Some(Capability::IN),
            voice_call: Some(Capability::IN),
            ..Capabilities::default()
        },
        identity: IdentityCaps {
            key_kinds: vec!["web_visitor".to_owned(), "phone_e164".to_owned()],
            verified: Some(true),
        },
        ordering: Ordering::PerThread,
        dedup: Dedup { inbound_id: InboundId::Native, outbound_key_ttl_s: KEYS_S, channel_idempotent: Some(true) },
        limits: Limits { ack_deadline_ms: None, out_per_s: None, reply_window_s: None, replies_per_window: None },
        testing: None,
    }
}

impl Channel for WebChannel {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn handle(&mut self, _now: Timestamp, input: In) {
        match input {
            In::Begin { .. } => self.out.push_back(Out::Health(Health::Up)),
            In::Send(message) => {
                let outcome = Outcome::Sent { native_id: None };
                self.out.push_back(Out::Settle { delivery: message.delivery, outcome });
            }
            In::HttpRequest { request, .. } => {
                let reply = HttpReply::text(404, "pages speak with /chat/NAME; nobody calls this hook");
                self.out.push_back(Out::HttpReply { request, reply });
            }
            // It asks for nothing, so that nothing else comes.
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Out> {
        self.out.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_conversation::channel::{HttpRequest, Method};

    #[test]
    fn a_hook_is_answered_and_the_manifest_is_whole() {
        let mut channel = WebChannel::new();
        channel.manifest().check().unwrap();
        channel.handle(Timestamp::UNIX_EPOCH, In::Begin { saved: std::collections::BTreeMap::new() });
        assert_eq!(channel.poll(), Some(Out::Health(Health::Up)));
        let (path, body) = (String::new(), Vec::new());
        let http = HttpRequest { method: Method::Get, path, query: Vec::new(), headers: Vec::new(), body };
        channel.handle(Timestamp::UNIX_EPOCH, In::HttpRequest { request: 7, http });
        let Some(Out::HttpReply { request: 7, reply }) = channel.poll() else { panic!("no answer") };
        assert_eq!(reply.status, 404);
        assert_eq!(channel.poll(), None);
    }
}
