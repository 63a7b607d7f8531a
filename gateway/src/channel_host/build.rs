//! Accounts from the site's file.

use ark_channels::AMQP;
use ark_channels::settings::{Account, Secret, Secrets};
use ark_conversation::channel::Hosts;
use ark_conversation::{Assurance, Tenant};
use serde_json::Value;

use super::{AccountConfig, Seal};
use crate::config::{Channel, Config};
use crate::webchat;

/// Every account that is on.
///
/// # Errors
/// A sentence that names the account and what is wrong with it.
pub fn accounts(config: &Config, tenant: &Tenant) -> Result<Vec<AccountConfig>, String> {
    let on = config.channel.iter().filter(|channel| channel.enabled);
    on.map(|channel| account(channel, tenant).map_err(|error| format!("[[channel]] `{}`: {error}", channel.name)))
        .collect()
}

/// One account.
///
/// # Errors
/// A sentence about its settings or secrets, without any secret.
pub fn account(channel: &Channel, tenant: &Tenant) -> Result<AccountConfig, String> {
    if channel.kind == webchat::KIND {
        let (built, assurance) = webchat::build(channel, tenant)?;
        let (name, adapter, hosts) = (channel.name.clone(), channel.kind.clone(), Hosts::default());
        return Ok(AccountConfig { name, channel: built, adapter, hosts, assurance, signer: None, seal: None });
    }
    let mut secrets = Vec::with_capacity(channel.secrets.len());
    for (name, secret) in &channel.secrets {
        secrets.push((name.clone(), secret.read()?));
    }
    let seal = Seal::of(&secrets);
    let secrets = secrets.into_iter().map(|(name, text)| (name, Secret::new(text)));
    let mut settings = Value::Object(channel.settings.clone());
    if channel.kind == AMQP {
        read_manifest(&mut settings)?;
    }
    let hosts = ark_channels::hosts(&channel.kind, &settings).map_err(|error| error.to_string())?;
    let account = Account { tenant: tenant.clone(), name: channel.name.clone() };
    let built = ark_channels::build(&channel.kind, account, &settings, &Secrets::new(secrets), rand::random());
    let built = built.map_err(|error| error.to_string())?;
    built.manifest().check().map_err(|error| error.to_string())?;
    Ok(AccountConfig {
        name: channel.name.clone(),
        channel: built,
        adapter: channel.kind.clone(),
        hosts,
        assurance: channel.assurance.unwrap_or(Assurance::ChannelVerified),
        signer: ark_channels::signer(&channel.kind, &settings),
        seal,
    })
}

/// Puts what the file says in the place of its path: nobody can ask an adapter on the broker what it can carry.
fn read_manifest(settings: &mut Value) -> Result<(), String> {
    let Some(manifest) = settings.get_mut("manifest") else { return Ok(()) };
    let Value::String(path) = &*manifest else {
        return Err("`manifest` is the path of a file: the adapter's manifest in JSON".to_owned());
    };
    let wrong = |why: String| format!("manifest {path}: {why}");
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    if bytes.len() > ark_channels::limits::MANIFEST_BYTES_MAX {
        return Err(wrong(format!("it has more than {} bytes", ark_channels::limits::MANIFEST_BYTES_MAX)));
    }
    *manifest = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    Ok(())
}

/// Of each adapter on the broker that is on: the name of its account, which is its queue's, and its user there.
#[must_use]
pub fn on_the_broker(config: &Config) -> Vec<(String, String)> {
    let on = config.channel.iter().filter(|channel| channel.enabled && channel.kind == AMQP);
    let user = |channel: &Channel| {
        let settings = Value::Object(channel.settings.clone());
        Some((channel.name.clone(), ark_channels::signer(AMQP, &settings)?))
    };
    on.filter_map(user).collect()
}
