//! What the HTTP and the AMQP form of the adapter standard share: which events an adapter of others may bring, and the door by
//! which it brings and takes files.

use std::collections::BTreeMap;

use ark_conversation::channel::{FetchFailure, FetchId, FileKind, HttpReply, HttpRequest, Method, Out, RequestId};
use ark_conversation::event::{CallOp, Media, Part};
use ark_conversation::limits::{CARD_ACTIONS_MAX, PARTS_MAX, TEXT_CHARS_MAX};
use ark_conversation::{CloudEvent, Event, ThreadSource};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::base::Base;
use crate::crypto::webhook::WebhookSecrets;
use crate::limits::EVENT_BYTES_MAX;
use crate::settings::{Account, Secret, Secrets, SettingsError};
use crate::wire;

/// What becomes of an event that an adapter may send.
pub(crate) enum Taken {
    /// It is kept.
    Kept(CloudEvent),
    /// It is shown and never kept: typing.
    Live(CloudEvent),
}

/// Why an event is not taken.
pub(crate) struct Rejected {
    /// Its id, when it could be read.
    pub(crate) id: Option<String>,
    /// One word of the standard.
    pub(crate) code: &'static str,
    pub(crate) why: String,
}

#[derive(Deserialize)]
struct Named {
    id: Option<String>,
}

/// The source that an account's threads begin with.
pub(crate) fn own(adapter: &str, account: &Account) -> ThreadSource {
    ThreadSource {
        tenant: account.tenant.clone(),
        adapter: adapter.to_owned(),
        account: account.name.clone(),
        thread: String::new(),
    }
}

/// The secrets by which a channel's HTTP requests are signed; none: it has none.
///
/// # Errors
/// [`SettingsError`] when one is no good.
pub(crate) fn secrets(secrets: &Secrets) -> Result<Option<WebhookSecrets>, SettingsError> {
    let live: Vec<Secret> = secrets.get("secret").into_iter().chain(secrets.get("old_secret")).collect();
    if live.is_empty() {
        return Ok(None);
    }
    WebhookSecrets::new(&live).map(Some).map_err(|error| SettingsError::bad("secret", error))
}

/// Where an adapter brings customers' files and fetches those of the house, over HTTP, signed.
#[derive(Default)]
pub(crate) struct FileDoor {
    /// Files that are being kept, and who waits for them.
    waiting: BTreeMap<FetchId, RequestId>,
}

impl FileDoor {
    /// A request below `/ark/v1/media`; none: it is something else.
    pub(crate) fn asked(
        &mut self,
        base: &mut Base,
        (now, secrets): (Timestamp, &WebhookSecrets),
        request: RequestId,
        http: &HttpRequest,
    ) -> Option<Result<(), HttpReply>> {
        let below = http.path.strip_prefix("/ark/v1/media")?;
        match below.strip_prefix('/') {
            Some(id) => Some(file(base, (now, secrets), request, id, http)),
            None if below.is_empty() => Some(self.keep(base, (now, secrets), request, http)),
            None => None,
        }
    }

    /// A file of a customer that the adapter brings: kept, and answered with what stands for it in messages.
    fn keep(
        &mut self,
        base: &mut Base,
        (now, secrets): (Timestamp, &WebhookSecrets),
        request: RequestId,
        http: &HttpRequest,
    ) -> Result<(), HttpReply> {
        if http.method != Method::Post {
            return Err(HttpReply::text(405, "POST is expected here").with("allow", "POST"));
        }
        verify(secrets, now, http)?;
        let what = match http.query("kind") {
            Some("image") => FileKind::Image,
            Some("voice_note") => FileKind::VoiceNote,
            Some("video") => FileKind::Video,
            Some("file") => FileKind::File,
            _ => return Err(refusal(400, "kind", "say what it is: ?kind=image, voice_note, video or file")),
        };
        let fetch = base.next_id();
        self.waiting.insert(fetch, request);
        let name = http.query("name").map(str::to_owned);
        base.push(Out::Keep { fetch, bytes: http.body.clone(), what, name });
        Ok(())
    }

    /// What became of a file.
    pub(crate) fn kept(&mut self, base: &mut Base, fetch: FetchId, answer: Result<Media, FetchFailure>) {
        let Some(request) = self.waiting.remove(&fetch) else { return };
        let reply = match answer {
            Ok(media) => HttpReply::json(201, &serde_json::to_value(media).unwrap_or_default()),
            Err(failure @ FetchFailure::TooLarge { .. }) => refusal(413, "too_large", &failure.to_string()),
            Err(failure @ (FetchFailure::Broken(_) | FetchFailure::Forbidden)) => {
                refusal(422, "broken", &failure.to_string())
            }
            Err(FetchFailure::Away(_)) => wire::busy(),
        };
        base.reply(request, reply);
    }
}

/// A file of the house that a message named.
fn file(
    base: &mut Base,
    (now, secrets): (Timestamp, &WebhookSecrets),
    request: RequestId,
    id: &str,
    http: &HttpRequest,
) -> Result<(), HttpReply> {
    if http.method != Method::Get {
        return Err(HttpReply::text(405, "GET is expected here").with("allow", "GET"));
    }
    verify(secrets, now, http)?;
    base.push(Out::ReplyFile { request, reference: format!("ark-media:{id}") });
    Ok(())
}

/// Whether a request is signed by the adapter, now, over these very bytes.
pub(crate) fn verify(secrets: &WebhookSecrets, now: Timestamp, http: &HttpRequest) -> Result<(), HttpReply> {
    let header = |name: &str| http.header(name).map(str::to_owned);
    secrets.verify(now, header, &http.body).map_err(|error| refusal(401, "signature", &error.to_string()))
}

/// A refusal as adapters read it.
pub(crate) fn refusal(status: u16, code: &str, message: &str) -> HttpReply {
    HttpReply::json(status, &json!({"error": {"code": code, "message": message}}))
}

/// One event, as the standard wants it, of the account whose threads begin with `own`.
pub(crate) fn read(own: &ThreadSource, text: &str) -> Result<Taken, Rejected> {
    let id = serde_json::from_str::<Named>(text).ok().and_then(|named| named.id);
    let reject = |code, why: String| Rejected { id: id.clone(), code, why };
    if text.len() > EVENT_BYTES_MAX {
        return Err(reject("schema", format!("an event has at most {EVENT_BYTES_MAX} bytes, this one {}", text.len())));
    }
    let event: CloudEvent = serde_json::from_str(text).map_err(|error| reject("schema", error.to_string()))?;
    event.check().map_err(|error| reject("schema", error.to_string()))?;
    let source: ThreadSource = event.source.parse().map_err(|_| {
        reject("source", "a thread's source is expected: /ark/TENANT/ADAPTER/ACCOUNT/THREAD".to_owned())
    })?;
    if (&source.tenant, &source.adapter, &source.account) != (&own.tenant, &own.adapter, &own.account) {
        let expected = format!("/ark/{}/{}/{}/", own.tenant, own.adapter, own.account);
        return Err(reject("source", format!("this signer speaks for {expected}... only")));
    }
    match check(&event.event) {
        Ok(()) if matches!(event.event, Event::Typing(_)) => Ok(Taken::Live(event)),
        Ok(()) => Ok(Taken::Kept(event)),
        Err((code, why)) => Err(reject(code, why)),
    }
}

/// What the standard asks of an adapter's event beside its schema.
fn check(event: &Event) -> Result<(), (&'static str, String)> {
    let parts = match event {
        Event::MessageIn(message) => {
            if !(1..=PARTS_MAX).contains(&message.parts.len()) {
                return Err(("parts", format!("a message has 1 to {PARTS_MAX} parts")));
            }
            &message.parts
        }
        Event::Edit(edit) => {
            if edit.parts.len() > PARTS_MAX {
                return Err(("parts", format!("a message has 1 to {PARTS_MAX} parts")));
            }
            &edit.parts
        }
        Event::AdapterCall(call) if call.op == CallOp::Offer && call.mode.is_none() => {
            return Err(("schema", "a call that is offered has a `mode`".to_owned()));
        }
        Event::Receipt(_) | Event::Typing(_) | Event::Thread(_) | Event::Identity(_) | Event::AdapterCall(_) => {
            return Ok(());
        }
        other => return Err(("type", format!("an adapter may not send `{}`", other.type_name()))),
    };
    parts.iter().try_for_each(check_part)
}

fn check_part(part: &Part) -> Result<(), (&'static str, String)> {
    if let Some(media) = part.media() {
        let id = media.reference.strip_prefix("ark-media:").unwrap_or_default();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if id.len() < 8 || !id.bytes().all(plain) {
            return Err(("media", "`ref` is `ark-media:` and the id that uploading the file gave".to_owned()));
        }
    }
    match part {
        Part::Text { text } => {
            let chars = text.reveal().chars().count();
            if !(1..=TEXT_CHARS_MAX).contains(&chars) {
                return Err(("parts", format!("a text has 1 to {TEXT_CHARS_MAX} characters, this one {chars}")));
            }
        }
        Part::Card { actions, fallback_text, .. }
            if actions.len() > CARD_ACTIONS_MAX || fallback_text.reveal().is_empty() =>
        {
            return Err(("parts", format!("a card has up to {CARD_ACTIONS_MAX} buttons and a `fallback_text`")));
        }
        Part::Unsupported { fallback_text, .. } if fallback_text.reveal().is_empty() => {
            return Err(("parts", "an unsupported part has a `fallback_text`".to_owned()));
        }
        _ => {}
    }
    Ok(())
}
