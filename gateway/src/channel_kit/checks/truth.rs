//! L2: the truth about the channel: what it was given is what was said, and what it answered is what is told.

use std::time::Duration;

use ark_conversation::event::{Media, Part, ReceiptState};
use ark_conversation::{Event, Hash};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::super::limits::{HEAD_START, SOON};
use super::super::{Brought, Checked, Kit, Stop, broken, expect, of_thread};
use super::inbound::file_kinds;

/// A picture of one pixel, in Base64.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// What became of a message, as receipts tell it: state and code, each in the order in which they came.
pub(super) fn receipts(kit: &Kit, key: &str) -> Vec<(ReceiptState, Option<String>)> {
    kit.house.look(|memory| receipts_in(memory, key))
}

fn receipts_in(memory: &super::super::house::Memory, key: &str) -> Vec<(ReceiptState, Option<String>)> {
    let of = |kept: &super::super::house::Kept| match &kept.event.event {
        Event::Receipt(receipt) if receipt.message == key => {
            Some((receipt.state, receipt.reason.as_ref().map(|reason| reason.code.clone())))
        }
        _ => None,
    };
    memory.kept.iter().filter_map(of).collect()
}

/// Waits for a receipt that says what became of the message: more than `accepted`.
pub(super) async fn told(kit: &Kit, key: &str, within: Duration) -> Option<(ReceiptState, Option<String>)> {
    kit.house
        .wait(within, |memory| receipts_in(memory, key).into_iter().find(|(state, _)| *state != ReceiptState::Accepted))
        .await
}

/// A-ORD-2
pub(in super::super) async fn order_out(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    kit.fault(json!({"answer": "500", "times": 3, "thread": thread})).await?;
    let texts: Vec<String> = (0..8).map(|n| format!("o{n}")).collect();
    for text in &texts {
        let (_, event) = kit.says(&thread, text);
        kit.bring_taken(&event).await?;
    }
    let given = kit.texts_given(&thread, texts.len(), kit.patience()).await?;
    expect(given == texts, format!("{texts:?}"), format!("{given:?}"))?;
    Ok("8 messages over 3 failures of the channel".to_owned())
}

/// A-ORD-3
pub(in super::super) async fn threads_do_not_wait(kit: &Kit) -> Checked {
    let (stuck, free) = (kit.fresh("t"), kit.fresh("t"));
    kit.fault(json!({"answer": "500", "thread": stuck})).await?;
    let (_, held) = kit.says(&stuck, "held up");
    let (_, event) = kit.says(&free, "not held up");
    let others = async {
        // The held one is first at the adapter, and has failed at the channel, before the other comes.
        sleep(HEAD_START).await;
        kit.bring_taken(&event).await?;
        let given = kit.texts_given(&free, 1, SOON).await?;
        let stop = kit.fault(json!({"answer": "none"})).await;
        expect(
            given == ["not held up"],
            "another thread's message goes on while one thread's channel fails",
            format!("{given:?}"),
        )?;
        stop
    };
    let (first, second) = tokio::join!(kit.bring_taken(&held), others);
    second?;
    first?;
    let given = kit.texts_given(&stuck, 1, kit.patience()).await?;
    expect(given == ["held up"], "the held message arrives when its channel is back", format!("{given:?}"))?;
    Ok(String::new())
}

/// A-RATE-1
pub(in super::super) async fn channel_retry_after(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    kit.fault(json!({"answer": "429", "retry_after_s": 2, "times": 1, "thread": thread})).await?;
    let since = Instant::now();
    let (_, event) = kit.says(&thread, "slowly");
    kit.bring_taken(&event).await?;
    let given = kit.texts_given(&thread, 1, kit.patience()).await?;
    let took = since.elapsed();
    expect(given == ["slowly"], "the message arrives after the channel's 429", format!("{given:?}"))?;
    let expected = "2 s or more, as the channel's Retry-After said";
    expect(took >= Duration::from_millis(1_900), expected, format!("it was given the message after {took:.2?}"))?;
    Ok(format!("waited {took:.1?}"))
}

/// A-RCP-1
pub(in super::super) async fn sent_is_told(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    let (key, event) = kit.says(&thread, "tell me");
    kit.bring_taken(&event).await?;
    kit.texts_given(&thread, 1, SOON).await?;
    let told = told(kit, &key, kit.patience()).await;
    let good = matches!(told, Some((ReceiptState::Sent | ReceiptState::Delivered | ReceiptState::Read, _)));
    expect(good, format!("a receipt `sent` for {key}"), format!("{told:?}"))?;
    Ok(String::new())
}

/// A-RCP-2
pub(in super::super) async fn failed_is_told(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    kit.fault(json!({"answer": "refused", "times": 1, "thread": thread})).await?;
    let (key, event) = kit.says(&thread, "refused");
    let (_, behind) = kit.says(&thread, "behind it");
    let brought = kit.bring(&event).await?;
    if brought == Brought::Taken("accepted".to_owned()) {
        let told = told(kit, &key, kit.patience()).await;
        let good =
            matches!(&told, Some((ReceiptState::Failed, Some(code))) if !code.is_empty() && code != "outcome_unknown");
        expect(good, "a receipt `failed` with a reason for what the channel refused", format!("{told:?}"))?;
    }
    kit.bring_taken(&behind).await?;
    let given = kit.texts_given(&thread, 1, kit.patience()).await?;
    expect(given == ["behind it"], "the message behind it arrives", format!("{given:?}"))?;
    Ok(String::new())
}

/// A-UNK-1
pub(in super::super) async fn unknown_outcome(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    kit.fault(json!({"answer": "timeout", "times": 1, "thread": thread})).await?;
    let (key, event) = kit.says(&thread, "did it arrive?");
    let brought = kit.bring(&event).await?;
    let told = match brought {
        Brought::Rejected(code) => Some((ReceiptState::Failed, Some(code))),
        Brought::Taken(_) => told(kit, &key, kit.patience()).await,
    };
    let good = told == Some((ReceiptState::Failed, Some("outcome_unknown".to_owned())));
    expect(good, "`outcome_unknown` when the channel gave no answer", format!("{told:?}"))?;
    // The gateway's own copy must not make it go out again, and those behind it go on.
    kit.bring(&event).await?;
    let (_, behind) = kit.says(&thread, "behind it");
    kit.bring_taken(&behind).await?;
    let given = kit.texts_given(&thread, 2, kit.patience()).await?;
    expect(given == ["did it arrive?", "behind it"], "it is never sent again", format!("{given:?}"))?;
    let later = receipts(kit, &key);
    expect(
        !later.iter().any(|(state, _)| *state == ReceiptState::Sent),
        "no `sent` of what nobody knows",
        format!("{later:?}"),
    )?;
    Ok(String::new())
}

/// A-MED-1
pub(in super::super) async fn files_in(kit: &Kit) -> Checked {
    let kinds = file_kinds(&kit.manifest().await?.capabilities, |one| one.inbound);
    if kinds.is_empty() {
        return Err(Stop::NotHere("its manifest names no files that customers send".to_owned()));
    }
    for kind in &kinds {
        let (mime, bytes) = sample(kind);
        let thread = kit.fresh("t");
        let file = json!({"kind": kind, "mime": mime, "name": "凭证 1.bin", "base64": STANDARD.encode(&bytes)});
        kit.deliver_native(&json!({"id": kit.fresh("n"), "thread": thread, "file": file})).await?;
        let part = kit.house.wait(kit.patience(), |memory| {
            memory.kept.iter().find(|kept| of_thread(kept, &thread)).map(|kept| kept.raw["data"]["parts"][0].clone())
        });
        let part = part.await.ok_or_else(|| {
            broken(
                format!("a message with the {kind}"),
                kit.house.look(|memory| format!("{:?}", memory.rejected.last())),
            )
        })?;
        expect(part["kind"] == *kind, format!("a part of kind {kind}"), part.to_string())?;
        let media: Option<Media> = serde_json::from_value(part["media"].clone()).ok();
        let uploaded = media.and_then(|media| {
            kit.house.look(|memory| {
                memory.files.get(&media.reference).map(|(kept, bytes)| (kept.sha256 == media.sha256, bytes.clone()))
            })
        });
        let whole = uploaded.is_some_and(|(same, kept)| same && kept == bytes);
        expect(
            whole,
            format!("`media` as the upload answered it, with all {} bytes of the file", bytes.len()),
            part["media"].to_string(),
        )?;
    }
    Ok(kinds.join(", "))
}

/// A-MED-2
pub(in super::super) async fn files_out(kit: &Kit) -> Checked {
    let kinds = file_kinds(&kit.manifest().await?.capabilities, |one| one.outbound);
    if kinds.is_empty() {
        return Err(Stop::NotHere("its manifest names no files that the house sends".to_owned()));
    }
    for kind in &kinds {
        let (mime, bytes) = sample(kind);
        let sha256 = Hash::of(&bytes).to_string();
        let media = kit.house.lend(bytes, mime, "a.bin");
        let part = match *kind {
            "image" => Part::Image { media, fallback_text: None },
            "voice_note" => Part::VoiceNote { media, fallback_text: None },
            "video" => Part::Video { media, fallback_text: None },
            _ => Part::File { media, fallback_text: None },
        };
        let thread = kit.fresh("t");
        let (_, event) = kit.message(&thread, vec![part]);
        kit.bring_taken(&event).await?;
        kit.texts_given(&thread, 1, kit.patience()).await?;
        let given: Vec<Value> = kit.given(&thread).await?.into_iter().map(|(_, part)| part).collect();
        let good = matches!(given.as_slice(), [part] if part["kind"] == *kind && part["sha256"] == sha256.as_str());
        expect(good, format!("one {kind} with SHA-256 {sha256} at the channel"), format!("{given:?}"))?;
    }
    Ok(kinds.join(", "))
}

fn sample(kind: &str) -> (&'static str, Vec<u8>) {
    let mut noise: Vec<u8> =
        (0..70_000_u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap_or(0)).collect();
    match kind {
        "image" => ("image/png", STANDARD.decode(PNG).unwrap_or_default()),
        "voice_note" => {
            noise.splice(..4, *b"OggS");
            ("audio/ogg", noise)
        }
        "video" => ("video/mp4", noise),
        _ => ("application/octet-stream", noise),
    }
}
