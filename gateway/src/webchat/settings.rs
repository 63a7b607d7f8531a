//! One `[[channel]]` of kind `web`, read from the site's file.

use std::collections::BTreeMap;

use ark_channels::settings::Secret;
use ark_conversation::{Assurance, Tenant, source};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hours::Hours;
use super::limits::{IDENTITY_KEY_BYTES_MIN, ORIGINS_MAX, SUGGESTIONS_MAX};
use crate::config::Channel;

/// The kind's name in the configuration, and the adapter's in sources.
pub const KIND: &str = "web";
/// The secret that signs visitors' tokens.
const IDENTIFY: &str = "identify";

/// Words in both languages; one text stands for both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "OneOrBoth")]
pub(super) struct Words {
    pub(super) zh: String,
    pub(super) en: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrBoth {
    One(String),
    Both(Both),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Both {
    #[serde(default)]
    zh: String,
    #[serde(default)]
    en: String,
}

impl From<OneOrBoth> for Words {
    fn from(words: OneOrBoth) -> Self {
        let (zh, en) = match words {
            OneOrBoth::One(text) => (text.clone(), text),
            OneOrBoth::Both(Both { zh, en }) if zh.is_empty() => (en.clone(), en),
            OneOrBoth::Both(Both { zh, en }) if en.is_empty() => (zh.clone(), zh),
            OneOrBoth::Both(Both { zh, en }) => (zh, en),
        };
        Self { zh, en }
    }
}

/// Light, dark, or as the visitor's system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Theme {
    #[default]
    Auto,
    Light,
    Dark,
}

/// In which corner the button stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    #[default]
    Right,
    Left,
}

/// What visitors may send beside words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Sends {
    #[default]
    Images,
    All,
    None,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    origins: Vec<String>,
    title: Words,
    greeting: Words,
    away: Words,
    suggestions: Vec<Words>,
    color: Option<String>,
    theme: Theme,
    side: Side,
    files: Sends,
    hours: Vec<String>,
    timezone: String,
    names: BTreeMap<String, String>,
    call: Option<String>,
    realm: Option<String>,
}

/// What every page may know of a channel: `GET /chat/NAME/config`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Face {
    title: Words,
    greeting: Words,
    away: Words,
    suggestions: Vec<Words>,
    color: String,
    /// What is written on the colour.
    ink: &'static str,
    theme: Theme,
    side: Side,
    files: Sends,
    /// Whether there is a hotline that the page may call.
    call: bool,
    /// Whether people are there now.
    open: bool,
    /// When they come, while they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    opens: Option<String>,
}

/// One channel.
pub(super) struct Site {
    pub(super) name: String,
    pub(super) tenant: Tenant,
    pub(super) sends: Sends,
    pub(super) call: Option<String>,
    pub(super) assurance: Assurance,
    pub(super) realm: String,
    key: Option<Secret>,
    origins: Vec<String>,
    names: BTreeMap<String, String>,
    hours: Hours,
    face: Face,
}

impl Site {
    /// Reads a channel's settings and secrets.
    ///
    /// # Errors
    /// A sentence about what is wrong, without any secret.
    pub(super) fn read(channel: &Channel, tenant: &Tenant) -> Result<Self, String> {
        let settings: Settings = serde_json::from_value(Value::Object(channel.settings.clone()))
            .map_err(|error| format!("settings: {error}"))?;
        let key = read_key(channel)?;
        let hours = Hours::read(&settings.hours, &settings.timezone).map_err(|why| format!("settings.hours: {why}"))?;
        if settings.origins.len() > ORIGINS_MAX {
            return Err(format!("settings.origins: at most {ORIGINS_MAX} sites"));
        }
        if let Some(bad) = settings.origins.iter().find(|origin| !is_origin(origin)) {
            return Err(format!(
                "settings.origins: `{bad}` is no origin: write \"https://shop.example\", without a path"
            ));
        }
        if settings.suggestions.len() > SUGGESTIONS_MAX {
            return Err(format!("settings.suggestions: at most {SUGGESTIONS_MAX}"));
        }
        let color = settings.color.unwrap_or_else(|| "#0b5fa5".to_owned());
        let ink = ink_on(&color).ok_or_else(|| format!("settings.color: `{color}` is no colour: write \"#0b5fa5\""))?;
        let or = |words: Words, zh: &str, en: &str| {
            if words == Words::default() { Words { zh: zh.to_owned(), en: en.to_owned() } } else { words }
        };
        let face = Face {
            title: or(settings.title, "在线客服", "Chat with us"),
            greeting: or(
                settings.greeting,
                "您好！需要什么帮助？任何时候都可以直接找人工。",
                "Hello! How can we help? You can talk to a person at any time.",
            ),
            away: or(
                settings.away,
                "现在没有人在线。请留言，我们上班后会在这里回复您。",
                "Nobody is here now. Leave a message, and we will answer you here.",
            ),
            suggestions: settings.suggestions,
            color,
            ink,
            theme: settings.theme,
            side: settings.side,
            files: settings.files,
            call: settings.call.is_some(),
            open: true,
            opens: None,
        };
        Ok(Self {
            name: channel.name.clone(),
            tenant: tenant.clone(),
            sends: settings.files,
            call: settings.call,
            assurance: channel.assurance.unwrap_or(Assurance::Sso),
            realm: settings.realm.unwrap_or_else(|| channel.name.clone()),
            key,
            origins: settings.origins,
            names: settings.names,
            hours,
            face,
        })
    }

    /// Whether pages of that origin may embed it.
    pub(super) fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|one| one == "*" || one == origin)
    }

    /// What visitors read of an agent: the name that the site gives them; never the one that they sign on by.
    pub(super) fn shown_name(&self, agent: &str) -> Option<&str> {
        self.names.get(agent).map(String::as_str)
    }

    /// The key that signs visitors' tokens.
    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_ref().map(Secret::reveal)
    }

    /// The source of a thread's events.
    pub(super) fn source(&self, thread: &str) -> String {
        source::thread(&self.tenant, KIND, &self.name, thread)
    }

    /// Whether people are there, and when they come while they are not.
    pub(super) fn opening(&self, now: Timestamp) -> (bool, Option<Timestamp>) {
        let open = self.hours.open(now);
        (open, if open { None } else { self.hours.opens(now) })
    }

    /// What every page may know.
    pub(super) fn face(&self, now: Timestamp) -> Face {
        let (open, opens) = self.opening(now);
        Face { open, opens: opens.map(|at| at.to_string()), ..self.face.clone() }
    }
}

fn read_key(channel: &Channel) -> Result<Option<Secret>, String> {
    if let Some(unknown) = channel.secrets.keys().find(|name| *name != IDENTIFY) {
        return Err(format!("the secret `{unknown}` is not one that this channel has: it has {IDENTIFY}"));
    }
    let Some(secret) = channel.secrets.get(IDENTIFY) else { return Ok(None) };
    let key = secret.read()?;
    if key.trim().len() < IDENTITY_KEY_BYTES_MIN {
        return Err(format!(
            "the secret `{IDENTIFY}` has fewer than {IDENTITY_KEY_BYTES_MIN} characters: take random ones"
        ));
    }
    Ok(Some(Secret::new(key.trim())))
}

fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    text == "*"
        || host.is_some_and(|host| {
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
        })
}

/// Black or white, whichever is read better on a colour (WCAG 2.2, relative luminance).
fn ink_on(color: &str) -> Option<&'static str> {
    let digits = color.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.is_ascii())?;
    let channel = |at: usize| -> Option<f64> {
        let value = f64::from(u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?) / 255.0;
        Some(if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) })
    };
    let light = 0.2126 * channel(0)? + 0.7152 * channel(2)? + 0.0722 * channel(4)?;
    Some(if 1.05 / (light + 0.05) >= 4.5 { "#ffffff" } else { "#06131f" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(settings: &str) -> Result<Site, String> {
        let text = format!("name = \"shop\"\nkind = \"web\"\nsettings = {settings}");
        Site::read(&toml::from_str(&text).unwrap(), &Tenant::MAIN)
    }

    #[test]
    fn settings_are_read_and_what_is_wrong_is_told() {
        let shop = site(
            r#"{ origins = ["https://shop.example"], title = "Hi", greeting = { zh = "你好" }, names = { anna = "安娜" } }"#,
        );
        let shop = shop.unwrap();
        assert!(shop.allows("https://shop.example") && !shop.allows("https://shop.example.evil"));
        assert_eq!((shop.face.title.zh.as_str(), shop.face.greeting.en.as_str()), ("Hi", "你好"));
        assert_eq!((shop.shown_name("anna"), shop.shown_name("wang@corp")), (Some("安娜"), None));
        for (bad, told) in [
            (r#"{ colour = "red" }"#, "colour"),
            (r#"{ color = "red" }"#, "red"),
            (r#"{ origins = ["shop.example"] }"#, "shop.example"),
            (r#"{ origins = ["https://shop.example/x"] }"#, "shop.example/x"),
            (r#"{ hours = ["all day"] }"#, "all day"),
            (r#"{ timezone = "Mars" }"#, "Mars"),
        ] {
            let error = site(bad).err().unwrap_or_default();
            assert!(error.contains(told), "{bad}: {error}");
        }
    }

    #[test]
    fn ink_can_be_read_on_its_colour() {
        assert_eq!(ink_on("#0b5fa5"), Some("#ffffff"));
        assert_eq!(ink_on("#ffd400"), Some("#06131f"));
        assert_eq!((ink_on("#fff"), ink_on("#zzzzzz"), ink_on("red")), (None, None, None));
    }
}
