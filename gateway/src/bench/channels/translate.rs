//! What a channel's machine takes for one message: verified, translated, and what is to be kept, without any I/O.

use std::time::Instant;

use ark_channels::settings::{Account, Secret, Secrets};
use ark_conversation::Tenant;
use ark_conversation::channel::{In, Out};
use jiff::Timestamp;
use serde_json::json;

use super::traffic::{self, Channel};
use crate::bench::kit::BenchError;

/// Messages of one measurement, a customer each: nobody is known from the one before.
const MESSAGES: u64 = 2_000;

/// Microseconds for a message of each channel that has a machine: the mean of [`MESSAGES`].
pub(super) fn measure() -> Result<Vec<(&'static str, f64)>, BenchError> {
    let machines = Channel::ALL.iter().filter(|channel| **channel != Channel::Web);
    machines.map(|channel| Ok((channel.kind(), one(*channel)?))).collect()
}

fn one(channel: Channel) -> Result<f64, BenchError> {
    let failed = |why: String| BenchError::Failed(format!("the channel {}: {why}", channel.kind()));
    let secret = |name: &str| {
        let found = traffic::SECRETS.iter().find(|(file, _)| *file == name);
        Secret::new(found.map_or_else(String::new, |(_, text)| (*text).to_owned()))
    };
    let (settings, secrets) = match channel {
        Channel::Adapter | Channel::Web => (json!({}), vec![("secret", secret("adapter"))]),
        Channel::DingTalk => (json!({"client_id": "bench", "mode": "http"}), vec![("client_secret", secret("ding"))]),
        Channel::WeChat => (
            json!({"app_id": "wx", "mode": "plain"}),
            vec![("app_secret", secret("ding")), ("token", secret("wechat"))],
        ),
    };
    let name = channel.path().split('/').nth(2).unwrap_or_default().to_owned();
    let account = Account { tenant: Tenant::MAIN, name };
    let secrets = Secrets::new(secrets.into_iter().map(|(name, secret)| (name.to_owned(), secret)));
    let mut machine = ark_channels::build(channel.kind(), account, &settings, &secrets, 1)
        .map_err(|error| failed(error.to_string()))?;
    machine.handle(Timestamp::now(), In::Tick);
    while machine.poll().is_some() {}
    let requests: Vec<_> = (0..MESSAGES).map(|n| traffic::message(channel, n, n, None)).collect();
    let (now, began) = (Timestamp::now(), Instant::now());
    let mut kept = 0;
    for (n, request) in (0..).zip(requests) {
        machine.handle(now, In::HttpRequest { request: n, http: request });
        while let Some(out) = machine.poll() {
            kept += u64::from(matches!(out, Out::Ingest(_)));
        }
    }
    let took = began.elapsed();
    if kept != MESSAGES {
        return Err(failed(format!("{kept} of {MESSAGES} messages were taken")));
    }
    Ok(took.as_secs_f64() * 1e6 / MESSAGES as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_takes_its_customers_messages() {
        let all = measure().unwrap();
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|(_, us)| *us > 0.0));
    }

    #[test]
    fn the_number_of_a_message_is_found_in_what_it_became() {
        for channel in Channel::ALL {
            let http = traffic::message(channel, 1_234, 7, None);
            assert_eq!(traffic::number(&String::from_utf8(http.body).unwrap()), Some(1_234));
        }
        assert_eq!(traffic::number("bench"), None);
    }
}
