//! HTTP actions of plans: bounded in number, time and size, never followed to another host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_conversation::event::HttpOutcome;
use tokio::sync::{Semaphore, mpsc};

use crate::call::driver::SwitchHandle;
use crate::call::{HttpRequest, HttpResult};
use crate::config::Config;
use crate::conversations::owner::Ask;

/// Actions that wait to be run; the next fails at once and its plan takes the fallback.
pub const QUEUE: usize = 1_024;
/// Actions that run at a time.
const RUNNING_MAX: usize = 64;
/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// Values that an answer may bring.
const VALUES_MAX: usize = 64;

/// Runs what arrives until the switch is gone.
pub async fn run(mut queue: mpsc::Receiver<HttpRequest>, switch: SwitchHandle, config: Arc<Config>) {
    let room = Arc::new(Semaphore::new(RUNNING_MAX));
    while let Some(request) = queue.recv().await {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let switch = switch.clone();
        // A site may give the action another address and a secret that the plan must not hold.
        let site = config.action.iter().find(|a| a.name == request.action);
        let url = site.map_or_else(|| request.url.clone(), |a| a.url.clone());
        let bearer = site.and_then(|a| a.bearer.as_ref()).map(|secret| secret.read());
        tokio::spawn(async move {
            let (call, id) = (request.call, request.request);
            let result = tokio::task::spawn_blocking(move || {
                let bearer = match bearer.transpose() {
                    Ok(bearer) => bearer,
                    Err(error) => {
                        return failed(&request.action, HttpOutcome::Unreachable, None, Duration::ZERO, error);
                    }
                };
                let HttpRequest { action, method, vars, timeout, .. } = &request;
                ask(&Question { action, method, vars, timeout: *timeout }, &url, bearer.as_deref())
            })
            .await;
            drop(permit);
            if let Ok(result) = result {
                switch.http_result(call, id, result).await;
            }
        });
    }
}

/// Asks an action for the plan of a chat, as it is asked for a call's. It blocks.
pub(crate) fn ask_for_chat(config: &Config, asked: &Ask) -> HttpResult {
    let (name, ask_it) = (asked.ask.action.to_string(), &asked.ask);
    let unreachable = |why: String| failed(&name, HttpOutcome::Unreachable, None, Duration::ZERO, why);
    let Some(found) = asked.plan.actions.get(&ask_it.action) else { return unreachable("no such action".to_owned()) };
    let site = config.action.iter().find(|action| action.name == name);
    let url = site.map_or_else(|| found.url.text.to_string(), |action| action.url.clone());
    let bearer = match site.and_then(|action| action.bearer.as_ref()).map(|secret| secret.read()).transpose() {
        Ok(bearer) => bearer,
        Err(error) => return unreachable(error),
    };
    let question = Question { action: &name, method: &found.method, vars: &ask_it.vars, timeout: ask_it.timeout };
    ask(&question, &url, bearer.as_deref())
}

/// What is asked of an action.
struct Question<'a> {
    action: &'a String,
    method: &'a str,
    vars: &'a BTreeMap<String, String>,
    timeout: Duration,
}

fn ask(request: &Question<'_>, url: &str, bearer: Option<&str>) -> HttpResult {
    let began = Instant::now();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(request.timeout))
        .max_redirects(0)
        .http_status_as_error(false)
        .build()
        .into();
    let authorization = bearer.map(|token| format!("Bearer {token}"));
    let answer = if request.method == "GET" {
        let mut get = agent.get(url).header("accept", "application/json");
        for (name, value) in request.vars {
            get = get.query(name, value);
        }
        match &authorization {
            Some(value) => get.header("authorization", value).call(),
            None => get.call(),
        }
    } else {
        let mut post = agent.post(url).header("accept", "application/json");
        if let Some(value) = &authorization {
            post = post.header("authorization", value);
        }
        post.send_json(request.vars)
    };
    let action = request.action;
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(ureq::Error::Timeout(_)) => {
            return failed(action, HttpOutcome::Timeout, None, began.elapsed(), "no answer in time".to_owned());
        }
        Err(error) => return failed(action, HttpOutcome::Unreachable, None, began.elapsed(), error.to_string()),
    };
    let status = answer.status().as_u16();
    if !answer.status().is_success() {
        return failed(action, HttpOutcome::Status, Some(status), began.elapsed(), format!("status {status}"));
    }
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    let took = began.elapsed();
    let values = match body {
        Ok(body) => values(&body),
        Err(error) => Err(error.to_string()),
    };
    let outcome = if values.is_ok() { HttpOutcome::Ok } else { HttpOutcome::Unusable };
    HttpResult { action: action.clone(), outcome, status: Some(status), took, values }
}

/// A JSON object of strings, numbers and booleans; anything nested is left out. An empty body has no values.
fn values(body: &[u8]) -> Result<BTreeMap<String, String>, String> {
    if body.is_empty() {
        return Ok(BTreeMap::new());
    }
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(body).map_err(|error| format!("the answer is no JSON object: {error}"))?;
    let plain = object.into_iter().filter_map(|(name, value)| match value {
        serde_json::Value::String(text) => Some((name, text)),
        serde_json::Value::Number(number) => Some((name, number.to_string())),
        serde_json::Value::Bool(yes) => Some((name, yes.to_string())),
        _ => None,
    });
    Ok(plain.take(VALUES_MAX).collect())
}

fn failed(action: &str, outcome: HttpOutcome, status: Option<u16>, took: Duration, why: String) -> HttpResult {
    HttpResult { action: action.to_owned(), outcome, status, took, values: Err(why) }
}

#[cfg(test)]
mod tests {
    use super::values;

    #[test]
    fn an_answer_gives_its_plain_values_and_nothing_nested() {
        let found = values(br#"{"state":"shipped","days":3,"late":false,"items":[1],"next":null}"#).unwrap();
        let found: Vec<(&str, &str)> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, [("days", "3"), ("late", "false"), ("state", "shipped")]);
        assert!(values(b"").unwrap().is_empty());
        assert!(values(b"[1]").is_err());
        assert!(values(b"<html>").is_err());
    }
}
