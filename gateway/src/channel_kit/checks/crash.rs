//! L3: the adapter is killed at any moment, over and over; nothing may be lost or doubled.

use std::time::Duration;

use ark_conversation::event::ReceiptState;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::super::house::Manner;
use super::super::{Brought, Checked, Kit, Stop, broken, expect};
use super::truth::receipts;

/// Messages of one round, each way.
const EACH: usize = 6;

/// Kills it and starts it again.
async fn again(kit: &Kit) -> Result<(), Stop> {
    kit.kill().await;
    kit.start(true).await.map_err(|error| broken("it starts again after a kill", error.to_string()))
}

/// A moment to kill at, up to 120 ms from now.
async fn some_time() {
    sleep(Duration::from_micros(rand::random_range(0..120_000))).await;
}

/// A-CRASH-3
pub(in super::super) async fn ids_survive(kit: &Kit) -> Checked {
    kit.needs_start()?;
    let thread = kit.fresh("t");
    let (_, event) = kit.says(&thread, "before");
    kit.bring_taken(&event).await?;
    let given = kit.texts_given(&thread, 1, kit.patience()).await?;
    expect(given == ["before"], "the message arrives", format!("{given:?}"))?;
    again(kit).await?;
    let brought = kit.bring(&event).await?;
    let expected = "`duplicate` for a message from before the kill";
    expect(brought == Brought::Taken("duplicate".to_owned()), expected, format!("{brought:?}"))?;
    let (_, control) = kit.says(&thread, "control");
    kit.bring_taken(&control).await?;
    let given = kit.texts_given(&thread, 2, kit.patience()).await?;
    expect(given == ["before", "control"], "it is not given to the channel again", format!("{given:?}"))?;
    Ok(String::new())
}

/// A-CRASH-1
pub(in super::super) async fn inbound(kit: &Kit) -> Checked {
    kit.needs_start()?;
    let thread = kit.fresh("t");
    let mut texts = Vec::new();
    let mut acknowledged = 0;
    for round in 0..kit.options.rounds {
        let away = Manner::Away { status: 503, retry_after_s: Some(0) };
        kit.house.always([away, Manner::LoseAnswer, Manner::Take][round as usize % 3]);
        let messages: Vec<Value> = (0..EACH)
            .map(|n| json!({"id": kit.fresh("n"), "thread": thread, "text": format!("r{round}m{n}")}))
            .collect();
        texts.extend(messages.iter().map(|message| message["text"].as_str().unwrap_or_default().to_owned()));
        let done = deliver_while_killed(kit, &messages).await;
        acknowledged += done;
        kit.house.always(Manner::Take);
        kit.start(true).await.map_err(|error| broken("it starts again after a kill", error.to_string()))?;
        // The channel delivers again what was not acknowledged, and forgets the rest.
        for message in messages.iter().skip(done) {
            kit.deliver_native(message).await?;
        }
    }
    let kept = kit.texts_kept(&thread, texts.len(), kit.patience()).await;
    let expected = format!("{} messages of {} rounds, once and in order", texts.len(), kit.options.rounds);
    expect(kept == texts, expected, difference(&texts, &kept))?;
    Ok(format!("{} kills, {} messages, {acknowledged} acknowledged before the kill", kit.options.rounds, texts.len()))
}

/// Delivers messages one after the other while the adapter is killed; how many were acknowledged.
async fn deliver_while_killed(kit: &Kit, messages: &[Value]) -> usize {
    let mut done = 0;
    let deliver = async {
        for message in messages {
            if kit.inject(message).await != Ok(true) {
                return;
            }
            done += 1;
        }
        // All is acknowledged; it may be on its way to the gateway.
    };
    let kill = async {
        some_time().await;
        kit.kill().await;
    };
    tokio::join!(deliver, kill);
    done
}

/// A-CRASH-2
pub(in super::super) async fn outbound(kit: &Kit) -> Checked {
    kit.needs_start()?;
    let thread = kit.fresh("t");
    let (mut texts, mut keys) = (Vec::new(), Vec::new());
    for round in 0..kit.options.rounds {
        if round % 3 == 1 {
            kit.fault(json!({"answer": "500", "times": 2, "thread": thread})).await?;
        }
        let events: Vec<(String, String, Value)> = (0..EACH)
            .map(|n| {
                let text = format!("r{round}m{n}");
                let (key, event) = kit.says(&thread, &text);
                (key, text, event)
            })
            .collect();
        let mut done = 0;
        let post = async {
            for (_, _, event) in &events {
                let answer = kit.peer.post(std::slice::from_ref(event)).await;
                if !answer.is_ok_and(|reply| reply.is_success()) {
                    return;
                }
                done += 1;
            }
        };
        let kill = async {
            some_time().await;
            kit.kill().await;
        };
        tokio::join!(post, kill);
        kit.start(true).await.map_err(|error| broken("it starts again after a kill", error.to_string()))?;
        for (_, _, event) in events.iter().skip(done) {
            match kit.bring(event).await? {
                Brought::Taken(_) => {}
                Brought::Rejected(code) if code == "outcome_unknown" => {}
                Brought::Rejected(code) => {
                    return Err(broken("a message is taken after a kill", format!("rejected: {code}")));
                }
            }
        }
        for (key, text, _) in events {
            keys.push(key);
            texts.push(text);
        }
    }
    settle(kit, &thread, &texts, &keys).await
}

/// Every message is at the channel once and in order, or told `outcome_unknown`.
async fn settle(kit: &Kit, thread: &str, texts: &[String], keys: &[String]) -> Checked {
    let until = Instant::now() + kit.patience();
    loop {
        let given = kit.texts_given(thread, 0, Duration::ZERO).await?;
        let unknown = |key: &str| {
            receipts(kit, key)
                .iter()
                .any(|(state, code)| *state == ReceiptState::Failed && code.as_deref() == Some("outcome_unknown"))
        };
        let unknown: Vec<&String> =
            keys.iter().zip(texts).filter(|(key, _)| unknown(key)).map(|(_, text)| text).collect();
        let open: Vec<String> =
            texts.iter().filter(|text| given.contains(text) || !unknown.contains(text)).cloned().collect();
        if given == open {
            return Ok(format!(
                "{} kills, {} messages, {} told outcome_unknown",
                kit.options.rounds,
                texts.len(),
                unknown.len()
            ));
        }
        if Instant::now() >= until {
            let expected = format!("{} messages once and in order at the channel", texts.len());
            return Err(broken(expected, difference(&open, &given)));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// What is missing, double, or out of place.
pub(super) fn difference(expected: &[String], came: &[String]) -> String {
    let missing: Vec<&String> = expected.iter().filter(|text| !came.contains(text)).collect();
    let twice: Vec<&String> =
        expected.iter().filter(|text| came.iter().filter(|one| one == text).count() > 1).collect();
    let place = expected.iter().zip(came).position(|(one, other)| one != other);
    format!(
        "{} came; lost: {missing:?}; more than once: {twice:?}; the first out of place is number {place:?}",
        came.len()
    )
}
