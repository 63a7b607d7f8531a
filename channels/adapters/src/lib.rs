//! The channels that people in China use, as machines: DingTalk, WeChat, WeCom and Alipay; and adapters
//! of others by HTTP or AMQP.
//!
//! Each kind is a [`ark_conversation::channel::Channel`]: requests, frames and answers go in with the time, events and
//! acknowledgements come out. [`ALL`] lists them; the host builds one for each account with [`build`].
//!
//! Invariant: no socket, no clock, no runtime. The host does every byte of I/O. Randomness is a seed, for jitter and nonces
//! that are no secrets.

mod alipay;
mod amqp;
mod base;
#[doc(hidden)]
pub mod contract;
pub mod crypto;
mod dingtalk;
mod fields;
mod http;
mod inbox;
pub mod limits;
mod outbox;
mod outside;
mod recent;
pub mod settings;
mod tokens;
mod wechat;
mod wecom;
mod wire;

use ark_conversation::channel::{Channel, Hosts};
use serde_json::Value;

use settings::{Account, Secrets, SettingsError};

pub use amqp::{AMQP, BROKER_URL, FromBroker, Sent, ToBroker, signer};

type Build = fn(Account, &Value, &Secrets, u64) -> Result<Box<dyn Channel>, SettingsError>;

/// A kind of channel.
pub struct Kind {
    /// Its name in the configuration.
    pub name: &'static str,
    /// Where its provider is: the hosts it may call unless the settings name others.
    pub hosts: &'static [&'static str],
    build: Build,
}

/// Every kind of channel.
pub const ALL: &[Kind] = &[
    Kind { name: "http", hosts: &[], build: http::build },
    Kind { name: AMQP, hosts: &[], build: amqp::build },
    Kind { name: "dingtalk", hosts: dingtalk::HOSTS, build: dingtalk::build },
    Kind { name: "wechat-mp", hosts: wechat::HOSTS, build: wechat::mini_program },
    Kind { name: "wechat-oa", hosts: wechat::HOSTS, build: wechat::official_account },
    Kind { name: "wecom-kf", hosts: wecom::HOSTS, build: wecom::build },
    Kind { name: "alipay", hosts: alipay::HOSTS, build: alipay::build },
];

fn kind(name: &str) -> Result<&'static Kind, SettingsError> {
    let known = || ALL.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
    ALL.iter()
        .find(|kind| kind.name == name)
        .ok_or_else(|| SettingsError::Kind { kind: name.to_owned(), known: known() })
}

/// Builds the channel of an account. `settings` is the account's own table of the configuration, without what the host reads
/// itself (kind, account, queue, plan, secret file); `seed` should differ between gateways and starts.
///
/// # Errors
/// [`SettingsError`] names the key or the secret and says what to write.
pub fn build(
    name: &str,
    account: Account,
    settings: &Value,
    secrets: &Secrets,
    seed: u64,
) -> Result<Box<dyn Channel>, SettingsError> {
    if account.name.is_empty() || account.name.len() > limits::ACCOUNT_BYTES_MAX {
        let why = format!("an account's name has 1 to {} bytes", limits::ACCOUNT_BYTES_MAX);
        return Err(SettingsError::Value { key: "account", why });
    }
    (kind(name)?.build)(account, settings, secrets, seed)
}

/// The hosts that the channel of an account may call: the `hosts` of its settings, else its provider's.
///
/// # Errors
/// [`SettingsError`] when the kind is unknown or `hosts` is no list of names.
pub fn hosts(name: &str, settings: &Value) -> Result<Hosts, SettingsError> {
    let kind = kind(name)?;
    match settings.get("hosts") {
        None | Some(Value::Null) if kind.name == "http" => {
            Ok(Hosts::new(settings.get("url").and_then(Value::as_str).and_then(http::host_of)))
        }
        None | Some(Value::Null) => Ok(Hosts::new(kind.hosts.iter().copied())),
        Some(hosts) => settings::read::<Vec<String>>(hosts).map(Hosts::new),
    }
}
