//! By what a person is known: keys, and how sure Ark is of them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::event::words;
use crate::id::text_serde;
use crate::limits::{IDENTITY_VALUE_BYTES_MAX, KEY_KIND_BYTES_MAX};
use crate::pii::{Pii, normalise_number};

/// What kind of key it is: `phone_e164`, `dingtalk_staff`, `dingtalk_union`, `wechat_openid`, `wechat_unionid`,
/// `alipay_user`, `web_visitor`, or a channel's own name of 1 to 40 characters of `a-z 0-9 _`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// A phone number in E.164 form: `+8613800001212`.
    Phone,
    /// A DingTalk staff id within a corporation: `{corp}:{staff}`.
    DingTalkStaff,
    /// A DingTalk unionId.
    DingTalkUnion,
    /// A WeChat openid. It is another one in every app: `{appid}:{openid}`.
    WeChatOpenid,
    /// A WeChat unionid: bridges the apps of one owner.
    WeChatUnionid,
    /// An Alipay user or open id.
    Alipay,
    /// A visitor of a page, as the page's signed session names them.
    WebVisitor,
    /// A channel's own kind.
    Other(String),
}

/// A string that names no kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of identity key: 1 to {KEY_KIND_BYTES_MAX} characters of a-z, 0-9 and '_' are expected")]
pub struct KeyKindError;

impl KeyKind {
    /// The name as it stands in JSON.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Phone => "phone_e164",
            Self::DingTalkStaff => "dingtalk_staff",
            Self::DingTalkUnion => "dingtalk_union",
            Self::WeChatOpenid => "wechat_openid",
            Self::WeChatUnionid => "wechat_unionid",
            Self::Alipay => "alipay_user",
            Self::WebVisitor => "web_visitor",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for KeyKind {
    type Err = KeyKindError;

    fn from_str(text: &str) -> Result<Self, KeyKindError> {
        let known = [
            Self::Phone,
            Self::DingTalkStaff,
            Self::DingTalkUnion,
            Self::WeChatOpenid,
            Self::WeChatUnionid,
            Self::Alipay,
            Self::WebVisitor,
        ];
        if let Some(kind) = known.into_iter().find(|kind| kind.as_str() == text) {
            return Ok(kind);
        }
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let fits = !text.is_empty() && text.len() <= KEY_KIND_BYTES_MAX && text.bytes().all(plain);
        if fits { Ok(Self::Other(text.to_owned())) } else { Err(KeyKindError) }
    }
}

text_serde!(
    KeyKind,
    "KeyKind",
    json_schema!({
        "type": "string",
        "title": "KeyKind",
        "description": "What kind of identity key it is: phone_e164, dingtalk_staff, dingtalk_union, wechat_openid, \
                        wechat_unionid, alipay_user, web_visitor, or a channel's own.",
        "pattern": "^[a-z0-9_]{1,40}$",
    })
);

/// One key by which a person is known within a tenant. Two are equal when kind and value are, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct IdentityKey {
    /// What kind.
    pub kind: KeyKind,
    /// The key itself, in the form that its kind asks for.
    pub value: Pii,
}

impl IdentityKey {
    /// The key of a phone number in any spelling; `country` is the code of national numbers, without `+`. `None` for
    /// short codes and names.
    #[must_use]
    pub fn phone(number: &str, country: &str) -> Option<Self> {
        normalise_number(number, country).map(|value| Self { kind: KeyKind::Phone, value: Pii::new(value) })
    }

    /// The key of a WeChat openid, which is one within its app only.
    #[must_use]
    pub fn wechat_openid(app: &str, openid: &str) -> Self {
        Self { kind: KeyKind::WeChatOpenid, value: Pii::new(format!("{app}:{openid}")) }
    }

    /// A key of any kind.
    #[must_use]
    pub fn new(kind: KeyKind, value: impl Into<String>) -> Self {
        Self { kind, value: Pii::new(value) }
    }

    /// Whether the value has 1 to [`IDENTITY_VALUE_BYTES_MAX`] bytes.
    #[must_use]
    pub fn fits(&self) -> bool {
        (1..=IDENTITY_VALUE_BYTES_MAX).contains(&self.value.reveal().len())
    }
}

words! {
    /// How sure Ark is that a key belongs to the one who speaks. From [`Assurance::ChannelVerified`] on, equal keys
    /// make one person.
    #[derive(PartialOrd, Ord)]
    pub enum Assurance {
        /// Somebody says so: a caller ID, a form field. Never enough to merge people.
        Asserted = "asserted",
        /// The channel vouches for it: a signed webhook, a logged-in app.
        ChannelVerified = "channel_verified",
        /// A one-time code sent to the key came back.
        Otp = "otp",
        /// The house's own login.
        Sso = "sso",
    }
}

impl Assurance {
    /// Whether equal keys of this assurance are the same person.
    #[must_use]
    pub fn is_verified(self) -> bool {
        self >= Self::ChannelVerified
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_as_it_was_written_and_is_masked_in_print() {
        let key = IdentityKey::phone("138 0000 1212", "86").unwrap();
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(json, r#"{"kind":"phone_e164","value":"+8613800001212"}"#);
        assert_eq!(serde_json::from_str::<IdentityKey>(&json).unwrap(), key);
        assert!(!format!("{key:?}").contains("0000"));
        assert_eq!("shop_member".parse(), Ok(KeyKind::Other("shop_member".to_owned())));
        assert_eq!("web_visitor".parse(), Ok(KeyKind::WebVisitor));
        assert_eq!("Shop".parse::<KeyKind>(), Err(KeyKindError));
        assert!(serde_json::from_str::<IdentityKey>(r#"{"kind":"","value":"x"}"#).is_err());
    }

    #[test]
    fn an_openid_of_another_app_is_another_key_and_a_caller_id_is_no_proof() {
        assert_ne!(IdentityKey::wechat_openid("wx1", "o"), IdentityKey::wechat_openid("wx2", "o"));
        assert!(Assurance::Asserted < Assurance::ChannelVerified && Assurance::Otp < Assurance::Sso);
        assert!(!Assurance::Asserted.is_verified() && Assurance::ChannelVerified.is_verified());
    }
}
