//! What a channel can do, and what becomes of a message that asks for more.

use std::fmt::Write as _;

use crate::event::{Part, data, words};
use crate::pii::Content;

words! {
    /// How an adapter is connected.
    pub enum TransportMode {
        /// It is an HTTP service.
        Http = "http",
        /// It speaks AMQP to the broker.
        Amqp = "amqp",
        /// It is a [`super::Channel`] inside the gateway.
        Inproc = "inproc",
    }

    /// What becomes of a part that a channel cannot show.
    pub enum Fallback {
        /// Its words instead.
        Text = "text",
        /// A link to it instead.
        Link = "link",
        /// It is left out when something else of the message stays; alone it is refused.
        Drop = "drop",
        /// The whole message is refused.
        Reject = "reject",
    }

    /// In which order a channel delivers.
    pub enum Ordering {
        /// Each thread in its own.
        PerThread = "per_thread",
        /// In none.
        None = "none",
    }

    /// Where the ids of inbound events come from.
    pub enum InboundId {
        /// The channel gives each message one.
        Native = "native",
        /// The adapter makes one of what the channel gives.
        Derived = "derived",
    }
}

data! {
    /// What an adapter says of itself: `GET /.well-known/ark-adapter`, and [`super::Channel::manifest`].
    pub struct Manifest {
        /// The version of the standard: `1`.
        #[schemars(extend("const" = "1"))]
        pub ark_adapter: String,
        /// Its name: 2 to 63 of `a-z 0-9 -`.
        #[schemars(regex(pattern = "^[a-z0-9][a-z0-9-]{1,62}$"))]
        pub id: String,
        /// Its own version.
        pub version: String,
        /// The channel: `dingtalk`, `wechat_mp`.
        pub channel: String,
        /// How it is connected.
        pub transport: Transport,
        /// What it can carry.
        pub capabilities: Capabilities,
        /// Which keys it knows customers by.
        pub identity: IdentityCaps,
        /// In which order it delivers.
        pub ordering: Ordering,
        /// How copies are told.
        pub dedup: Dedup,
        /// What the channel allows.
        pub limits: Limits,
        /// Hooks of the conformance kit; adapters in service have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub testing: Option<Testing>,
    }

    /// How an adapter is connected.
    pub struct Transport {
        /// By what.
        pub mode: TransportMode,
        /// Of an HTTP adapter, its base address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub url: Option<String>,
        /// Of an AMQP adapter, its queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub queue: Option<String>,
        /// Events in one request, 1 to 256; none: 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1, max = 256))]
        pub max_batch: Option<u32>,
    }

    /// What can be done with one kind of part or event.
    pub struct Capability {
        /// Whether customers can send it.
        #[serde(rename = "in")]
        pub inbound: bool,
        /// Whether the house can send it.
        #[serde(rename = "out")]
        pub outbound: bool,
        /// The largest one, in bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1))]
        pub max_bytes: Option<u64>,
        /// The longest one, in characters; longer text becomes several parts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1))]
        pub max_chars: Option<u64>,
        /// MIME types that the channel takes; none: any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub mime: Option<Vec<String>>,
        /// What becomes of one that the house sends and the channel cannot take; none: `text`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub fallback: Option<Fallback>,
    }

    /// Which keys an adapter knows customers by.
    pub struct IdentityCaps {
        /// Kinds of [`crate::identity::KeyKind`].
        #[schemars(length(min = 1))]
        pub key_kinds: Vec<String>,
        /// Whether the channel has verified them. How sure an adapter may be is the operator's to say, not its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub verified: Option<bool>,
    }

    /// How copies are told.
    pub struct Dedup {
        /// Where inbound ids come from.
        pub inbound_id: InboundId,
        /// For how many seconds the adapter remembers the keys of messages out.
        pub outbound_key_ttl_s: u64,
        /// Whether the channel itself drops the copy of a message out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub channel_idempotent: Option<bool>,
    }

    /// What the channel allows.
    pub struct Limits {
        /// How soon it wants its acknowledgement, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub ack_deadline_ms: Option<u64>,
        /// Messages out a second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub out_per_s: Option<f64>,
        /// How long the house may answer after a customer wrote, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reply_window_s: Option<u64>,
        /// How often, within it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub replies_per_window: Option<u64>,
    }

    /// Hooks of the conformance kit.
    pub struct Testing {
        /// `POST` here: pretend that a customer wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub inject: Option<String>,
        /// `GET` here: what the channel was given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub outbox: Option<String>,
        /// `POST` here: make the channel fail.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub fault: Option<String>,
        /// The variable of the environment that points the adapter to a fake provider.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub upstream_base_env: Option<String>,
    }
}

macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a channel can carry. What is not named, it cannot.
        #[derive(Clone, Debug, PartialEq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub struct Capabilities {
            $(
                $(#[$doc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $name: Option<Capability>,
            )*
        }

        impl Capabilities {
            /// All that are named, in the order of the standard.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, &Capability)> {
                [$((stringify!($name), self.$name.as_ref()),)*].into_iter().filter_map(|(name, one)| Some((name, one?)))
            }
        }
    };
}

capabilities! {
    /// Words. Every channel has them.
    text,
    /// Pictures.
    image,
    /// Spoken messages.
    voice_note,
    /// Documents.
    file,
    /// Films.
    video,
    /// Cards with buttons.
    card,
    /// Places.
    location,
    /// That somebody is typing.
    typing,
    /// That a message arrived.
    receipt_delivered,
    /// That a message was read.
    receipt_read,
    /// Changing a message.
    edit,
    /// Taking a message back.
    recall,
    /// Calls.
    voice_call,
    /// Calls with pictures.
    video_call,
    /// Handing the customer to the provider's own desk.
    handoff_native,
}

impl Capability {
    /// Both ways, with no bounds of its own.
    pub const BOTH: Self =
        Self { inbound: true, outbound: true, max_bytes: None, max_chars: None, mime: None, fallback: None };
    /// Customers can send it, the house cannot: words instead.
    pub const IN: Self = Self { outbound: false, ..Self::BOTH };
    /// The house can send it, customers cannot.
    pub const OUT: Self = Self { inbound: false, ..Self::BOTH };
}

/// Why a manifest is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Another version of the standard.
    #[error("`ark_adapter` is {0:?}; this gateway speaks version \"1\"")]
    Version(String),
    /// The name is no name.
    #[error("`id` {0:?} is not 2 to 63 characters of a-z, 0-9 and '-', the first no '-'")]
    Id(String),
    /// Every channel has text.
    #[error("`capabilities.text` is missing: every channel carries words")]
    NoText,
    /// What says how it is connected is not whole.
    #[error("`transport.{0}` is missing, which mode {1} needs")]
    Transport(&'static str, TransportMode),
    /// A number is out of its range.
    #[error("`{0}` is out of its range")]
    Range(&'static str),
    /// No kind of key.
    #[error("`identity.key_kinds` is empty: say by what customers are known")]
    NoKeys,
}

impl Manifest {
    /// Checks what the schema cannot say.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.ark_adapter != "1" {
            return Err(ManifestError::Version(self.ark_adapter.clone()));
        }
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(2..=63).contains(&self.id.len()) || !self.id.bytes().all(plain) || self.id.starts_with('-') {
            return Err(ManifestError::Id(self.id.clone()));
        }
        if self.capabilities.text.is_none() {
            return Err(ManifestError::NoText);
        }
        let mode = self.transport.mode;
        match mode {
            TransportMode::Http if self.transport.url.is_none() => return Err(ManifestError::Transport("url", mode)),
            TransportMode::Amqp if self.transport.queue.is_none() => {
                return Err(ManifestError::Transport("queue", mode));
            }
            TransportMode::Http | TransportMode::Amqp | TransportMode::Inproc => {}
        }
        if self.transport.max_batch.is_some_and(|batch| !(1..=256).contains(&batch)) {
            return Err(ManifestError::Range("transport.max_batch"));
        }
        if self.limits.out_per_s.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            return Err(ManifestError::Range("limits.out_per_s"));
        }
        if self.identity.key_kinds.is_empty() {
            return Err(ManifestError::NoKeys);
        }
        Ok(())
    }

    /// A message as this channel can carry it: parts that it cannot take become what their fallback says, and text that is
    /// too long for one part becomes several.
    ///
    /// `link` gives the address at which a customer may see a file for a while; none: there is none, and its words stand
    /// for it.
    ///
    /// # Errors
    /// [`Undeliverable`] when a part may not be degraded, or nothing is left.
    pub fn degrade(
        &self,
        parts: &[Part],
        mut link: impl FnMut(&Part) -> Option<String>,
    ) -> Result<Degraded, Undeliverable> {
        let (mut kept, mut changed) = (Vec::with_capacity(parts.len()), false);
        for part in parts {
            let (name, capability) = self.capability(part);
            if fits(part, capability) {
                kept.push(part.clone());
                continue;
            }
            changed = true;
            match capability.and_then(|one| one.fallback).unwrap_or(Fallback::Text) {
                Fallback::Reject => return Err(Undeliverable { part: name }),
                Fallback::Drop => {}
                Fallback::Link => kept.extend(self.words(part, link(part))),
                Fallback::Text => kept.extend(self.words(part, None)),
            }
        }
        if kept.is_empty() {
            let name = parts.first().map_or("text", |part| self.capability(part).0);
            return Err(Undeliverable { part: name });
        }
        Ok(Degraded { parts: kept, changed })
    }

    fn capability(&self, part: &Part) -> (&'static str, Option<&Capability>) {
        let all = &self.capabilities;
        match part {
            Part::Text { .. } => ("text", all.text.as_ref()),
            Part::Image { .. } => ("image", all.image.as_ref()),
            Part::VoiceNote { .. } => ("voice_note", all.voice_note.as_ref()),
            Part::File { .. } => ("file", all.file.as_ref()),
            Part::Video { .. } => ("video", all.video.as_ref()),
            Part::Card { .. } => ("card", all.card.as_ref()),
            Part::Location { .. } => ("location", all.location.as_ref()),
            Part::Unsupported { .. } => ("unsupported", None),
        }
    }

    /// A part in words, in as many pieces as the channel's text needs.
    fn words(&self, part: &Part, link: Option<String>) -> Vec<Part> {
        let mut text = match part {
            Part::Text { text } => text.reveal().to_owned(),
            Part::Card { fallback_text, .. } | Part::Unsupported { fallback_text, .. } => {
                fallback_text.reveal().to_owned()
            }
            Part::Location { lat, lon, label } => {
                let label = label.as_ref().map_or("位置 Location", Content::reveal);
                format!("{label} ({lat:.6}, {lon:.6})")
            }
            Part::Image { media, fallback_text } => of_file("图片 Picture", media, fallback_text.as_ref()),
            Part::VoiceNote { media, fallback_text } => of_file("语音 Voice message", media, fallback_text.as_ref()),
            Part::File { media, fallback_text } => of_file("文件 File", media, fallback_text.as_ref()),
            Part::Video { media, fallback_text } => of_file("视频 Video", media, fallback_text.as_ref()),
        };
        if let Some(link) = link {
            let _ = write!(text, " {link}");
        }
        let most = self.capabilities.text.as_ref().and_then(|one| one.max_chars);
        let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        pieces(&text, most).into_iter().map(Part::text).collect()
    }
}

/// A text in pieces of at most `most` characters, broken after a line or a word where there is one.
fn pieces(mut text: &str, most: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    while let Some((end, _)) = text.char_indices().nth(most.max(1)) {
        let (head, tail) = text.split_at(end);
        let at_word = tail.starts_with(char::is_whitespace).then_some(end);
        let broken = at_word.or_else(|| {
            let (at, space) = head.char_indices().rev().find(|(_, letter)| letter.is_whitespace())?;
            (at > 0).then_some(at + space.len_utf8())
        });
        let (piece, rest) = text.split_at(broken.unwrap_or(end));
        pieces.push(piece.trim_end());
        text = rest.trim_start();
    }
    pieces.push(text);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

fn of_file(what: &str, media: &crate::event::Media, fallback: Option<&Content>) -> String {
    match (fallback, media.name.as_ref()) {
        (Some(words), _) => words.reveal().to_owned(),
        (None, Some(name)) => format!("[{what}: {}]", name.reveal()),
        (None, None) => format!("[{what}]"),
    }
}

/// Whether a part goes out as it is.
fn fits(part: &Part, capability: Option<&Capability>) -> bool {
    let Some(capability) = capability.filter(|one| one.outbound) else { return false };
    let chars = match part {
        Part::Text { text } => text.reveal().chars().count() as u64,
        _ => 0,
    };
    let bytes = part.media().map_or(0, |media| media.size);
    let mime = part.media().map(|media| media.mime.as_str());
    let known = |allowed: &Vec<String>| {
        mime.is_none_or(|mime| {
            allowed
                .iter()
                .any(|one| one.strip_suffix("/*").map_or(one == mime, |all| mime.split('/').next() == Some(all)))
        })
    };
    capability.max_chars.is_none_or(|most| chars <= most)
        && capability.max_bytes.is_none_or(|most| bytes <= most)
        && capability.mime.as_ref().is_none_or(known)
}

/// A message as a channel can carry it.
#[derive(Clone, Debug, PartialEq)]
pub struct Degraded {
    /// What goes out.
    pub parts: Vec<Part>,
    /// Whether it differs from what was written: the log says so.
    pub changed: bool,
}

/// A message that a channel cannot carry in any form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this channel cannot carry a message with a part of kind `{part}`")]
pub struct Undeliverable {
    /// The kind of part.
    pub part: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Hash;
    use crate::event::Media;

    fn manifest() -> Manifest {
        let capabilities = Capabilities {
            text: Some(Capability { max_chars: Some(12), ..Capability::BOTH }),
            image: Some(Capability {
                max_bytes: Some(1_000),
                mime: Some(vec!["image/*".to_owned()]),
                fallback: Some(Fallback::Link),
                ..Capability::BOTH
            }),
            file: Some(Capability { fallback: Some(Fallback::Reject), ..Capability::IN }),
            video: Some(Capability { fallback: Some(Fallback::Drop), ..Capability::IN }),
            ..Capabilities::default()
        };
        Manifest {
            ark_adapter: "1".to_owned(),
            id: "shop".to_owned(),
            version: "1.0.0".to_owned(),
            channel: "shop".to_owned(),
            transport: Transport { mode: TransportMode::Inproc, url: None, queue: None, max_batch: None },
            capabilities,
            identity: IdentityCaps { key_kinds: vec!["custom".to_owned()], verified: None },
            ordering: Ordering::PerThread,
            dedup: Dedup { inbound_id: InboundId::Native, outbound_key_ttl_s: 60, channel_idempotent: None },
            limits: Limits { ack_deadline_ms: None, out_per_s: None, reply_window_s: None, replies_per_window: None },
            testing: None,
        }
    }

    fn media(mime: &str, size: u64) -> Media {
        Media {
            reference: "ark-media:0123456789".to_owned(),
            mime: mime.to_owned(),
            size,
            sha256: Hash::of(b""),
            name: None,
            duration_ms: None,
            width: None,
            height: None,
        }
    }

    #[test]
    fn a_message_goes_out_as_the_channel_can_carry_it() {
        let manifest = manifest();
        let link = |_: &Part| Some("https://x/1".to_owned());
        let small = Part::Image { media: media("image/png", 900), fallback_text: None };
        let same = manifest.degrade(std::slice::from_ref(&small), link).unwrap();
        assert_eq!(same, Degraded { parts: vec![small], changed: false });

        let large = Part::Image { media: media("image/png", 1_001), fallback_text: Some(Content::new("收据")) };
        let card = Part::Card {
            title: Content::new("t"),
            body: None,
            actions: Vec::new(),
            fallback_text: Content::new("请打开链接上传凭证，谢谢您的配合"),
        };
        let film = Part::Video { media: media("video/mp4", 1), fallback_text: None };
        let degraded = manifest.degrade(&[large, card, film.clone()], link).unwrap();
        assert!(degraded.changed);
        assert_eq!(
            degraded.parts,
            [
                Part::text("收据"),
                Part::text("https://x/1"),
                Part::text("请打开链接上传凭证，谢谢"),
                Part::text("您的配合"),
            ]
        );

        assert_eq!(manifest.degrade(&[film], link), Err(Undeliverable { part: "video" }), "nothing is left of it");
        let file = Part::File { media: media("application/pdf", 1), fallback_text: None };
        assert_eq!(manifest.degrade(&[Part::text("a"), file], link), Err(Undeliverable { part: "file" }));
    }

    #[test]
    fn a_manifest_is_whole() {
        manifest().check().unwrap();
        let broken = |change: fn(&mut Manifest)| {
            let mut manifest = manifest();
            change(&mut manifest);
            manifest.check().unwrap_err()
        };
        assert_eq!(broken(|m| m.ark_adapter = "2".to_owned()), ManifestError::Version("2".to_owned()));
        assert_eq!(broken(|m| m.id = "-a".to_owned()), ManifestError::Id("-a".to_owned()));
        assert_eq!(broken(|m| m.capabilities.text = None), ManifestError::NoText);
        assert_eq!(
            broken(|m| m.transport.mode = TransportMode::Http),
            ManifestError::Transport("url", TransportMode::Http)
        );
        assert_eq!(broken(|m| m.transport.max_batch = Some(0)), ManifestError::Range("transport.max_batch"));
        assert_eq!(broken(|m| m.limits.out_per_s = Some(f64::NAN)), ManifestError::Range("limits.out_per_s"));
        assert_eq!(broken(|m| m.identity.key_kinds.clear()), ManifestError::NoKeys);
    }
}
