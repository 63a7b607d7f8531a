//! The channel's half of L1: what customers write and how it comes to the house.

use std::collections::BTreeSet;
use std::time::Duration;

use ark_conversation::channel::Capability;
use ark_conversation::limits::TEXT_CHARS_MAX;
use ark_conversation::{Assurance, Event, ThreadSource, schema};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::house::{Asked, Manner};
use super::super::limits::SOON;
use super::super::{Checked, Kit, Stop, broken, expect, of_thread, words_of};
use super::contract::schema_errors;

/// Words that bad plumbing breaks.
pub(super) const WORDS: &str =
    "你好，客服！\n\t\"quoted\" \\back\\ 'single' <b>&amp;</b> 👩‍👩‍👧‍👦 עברית e\u{301} \u{1F1E8}\u{1F1F3} %41 ${x} {{y}}";

/// Waits for a message with these words and answers the ids under which the thread's words are kept.
async fn ids_of(kit: &Kit, thread: &str, control: &str) -> Result<Vec<(String, String)>, Stop> {
    let ids = |memory: &super::super::house::Memory| -> Vec<(String, String)> {
        let of = memory.kept.iter().filter(|kept| of_thread(kept, thread));
        of.map(|kept| (kept.event.id.clone(), words_of(kept).join(""))).collect()
    };
    let there = kit.house.wait(kit.patience(), |memory| {
        let ids = ids(memory);
        ids.iter().any(|(_, words)| words == control).then_some(ids)
    });
    match there.await {
        Some(ids) => Ok(ids),
        None => Err(broken(format!("the message `{control}` comes to the gateway"), came(kit, thread))),
    }
}

/// What the house has of a thread, and what it refused, in words.
fn came(kit: &Kit, thread: &str) -> String {
    kit.house.look(|memory| {
        let kept: Vec<String> = memory.kept.iter().filter(|kept| of_thread(kept, thread)).flat_map(words_of).collect();
        let last: Vec<&String> = memory.rejected.iter().rev().take(3).collect();
        format!("kept: {kept:?}; refused lately: {last:?}; {} requests in all", memory.asked.len())
    })
}

/// A-ID-1
pub(in super::super) async fn same_id(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    let first = json!({"id": kit.fresh("n"), "thread": thread, "text": "again"});
    kit.deliver_native(&first).await?;
    ids_of(kit, &thread, "again").await?;
    for _ in 0..2 {
        kit.deliver_native(&first).await?;
    }
    // The same words of another message are another message.
    kit.writes(&thread, "again").await?;
    kit.writes(&thread, "control").await?;
    let ids = ids_of(kit, &thread, "control").await?;
    let again: Vec<&str> = ids.iter().filter(|(_, words)| words == "again").map(|(id, _)| id.as_str()).collect();
    let expected = "two ids: one for the message that was delivered three times, one for its twin";
    expect(again.len() == 2, expected, format!("ids {again:?}"))?;
    Ok(String::new())
}

/// A-EVT-1
pub(in super::super) async fn valid_events(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    kit.writes(&thread, "a valid event").await?;
    ids_of(kit, &thread, "a valid event").await?;
    let schemas = schema::all();
    let (raws, rejected) = kit.house.look(|memory| {
        let raws: Vec<Value> = memory.kept.iter().map(|kept| kept.raw.clone()).collect();
        (raws, memory.rejected.clone())
    });
    expect(rejected.is_empty(), "no event is refused by the gateway", rejected.join("; "))?;
    for raw in &raws {
        let kind = raw["type"].as_str().unwrap_or_default();
        let Some((_, schema)) = schemas.iter().find(|(name, _)| *name == kind) else { continue };
        let wrong = schema_errors(schema.as_value(), &raw["data"]);
        expect(wrong.is_empty(), format!("data that fits the schema of {kind}"), wrong.join("; "))?;
        let plain =
            raw["specversion"] == "1.0" && raw["datacontenttype"] == "application/json" && raw["time"].is_string();
        expect(plain, "specversion 1.0, datacontenttype application/json, time", format!("event {}", raw["id"]))?;
    }
    Ok(format!("{} events", raws.len()))
}

/// A-SRC-1
pub(in super::super) async fn source(kit: &Kit) -> Checked {
    for name in ["a b/c%41", "客户?x#y", "plain.Name_1~:@"] {
        let thread = kit.fresh(name);
        kit.writes(&thread, "whose").await?;
        let there = kit.house.wait(kit.patience(), |memory| {
            memory.kept.iter().find(|kept| of_thread(kept, &thread)).map(|kept| kept.event.source.clone())
        });
        let Some(source) = there.await else {
            return Err(broken(format!("a message of thread `{thread}` comes to the gateway"), came(kit, &thread)));
        };
        let read: Result<ThreadSource, _> = source.parse();
        let good = read.as_ref().is_ok_and(|read| read.thread == thread && read.account == kit.house.account);
        expect(good, format!("a source that names the thread `{thread}`"), source)?;
    }
    let rejected = kit.house.look(|memory| memory.rejected.iter().find(|why| why.contains(": source:")).cloned());
    expect(rejected.is_none(), "no source of another account", rejected.unwrap_or_default())?;
    Ok(String::new())
}

/// A-PART-1
pub(in super::super) async fn nothing_is_dropped(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    let odd = json!({"id": kit.fresh("n"), "thread": thread, "native": {"type": "sticker", "words": "[a sticker]"}});
    kit.deliver_native(&odd).await?;
    kit.writes(&thread, "control").await?;
    ids_of(kit, &thread, "control").await?;
    let parts = kit.house.look(|memory| {
        let of = memory.kept.iter().filter(|kept| of_thread(kept, &thread));
        of.flat_map(|kept| kept.raw["data"]["parts"].as_array().cloned().unwrap_or_default()).collect::<Vec<Value>>()
    });
    let shown = parts.iter().any(|part| {
        part["kind"] == "unsupported" && part["fallback_text"].as_str().is_some_and(|words| !words.is_empty())
    });
    let kinds: Vec<&str> = parts.iter().filter_map(|part| part["kind"].as_str()).collect();
    expect(shown, "an `unsupported` part with words for the sticker", format!("parts {kinds:?}"))?;
    Ok(String::new())
}

/// A-PART-2
pub(in super::super) async fn words_as_they_are(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    kit.writes(&thread, WORDS).await?;
    let texts = kit.texts_kept(&thread, 1, kit.patience()).await;
    expect(texts == [WORDS], format!("in: {WORDS:?}"), format!("{texts:?}"))?;
    let (_, event) = kit.says(&thread, WORDS);
    kit.bring_taken(&event).await?;
    let texts = kit.texts_given(&thread, 1, SOON).await?;
    expect(texts == [WORDS], format!("out: {WORDS:?}"), format!("{texts:?}"))?;
    let thread = kit.fresh("t");
    let long: String =
        (0..TEXT_CHARS_MAX * 2 + 77).map(|n| char::from(b'a' + u8::try_from(n % 26).unwrap_or(0))).collect();
    kit.writes(&thread, &long).await?;
    kit.writes(&thread, "control").await?;
    ids_of(kit, &thread, "control").await?;
    let texts = kit.texts_kept(&thread, 1, SOON).await;
    let joined = texts.iter().filter(|text| *text != "control").map(String::as_str).collect::<String>();
    let expected = format!("a text of {} characters in several parts, whole", long.len());
    expect(joined == long, expected, format!("{} characters; {}", joined.len(), came_short(kit)))?;
    Ok(String::new())
}

fn came_short(kit: &Kit) -> String {
    kit.house.look(|memory| memory.rejected.last().cloned().unwrap_or_else(|| "nothing was refused".to_owned()))
}

/// A-IDN-1
pub(in super::super) async fn assurance(kit: &Kit) -> Checked {
    let verified = kit.manifest().await?.identity.verified == Some(true);
    let thread = kit.fresh("t");
    kit.writes(&thread, "who am I").await?;
    ids_of(kit, &thread, "who am I").await?;
    kit.writes(&thread, "control").await?;
    ids_of(kit, &thread, "control").await?;
    let (count, high) = kit.house.look(|memory| {
        let assurances = memory.kept.iter().filter_map(|kept| match &kept.event.event {
            Event::Identity(identity) => Some(identity.assurance),
            _ => None,
        });
        let all: Vec<Assurance> = assurances.collect();
        (all.len(), all.into_iter().max())
    });
    let expected = "assurance `asserted` at most: its manifest says nothing of verified keys";
    expect(verified || high.is_none_or(|high| high <= Assurance::Asserted), expected, format!("{high:?}"))?;
    Ok(format!("{count} identities told"))
}

/// A-WIN-1
pub(in super::super) async fn window(kit: &Kit) -> Checked {
    if kit.manifest().await?.limits.reply_window_s.is_none() {
        return Err(Stop::NotHere("its manifest names no reply window".to_owned()));
    }
    let thread = kit.fresh("t");
    kit.writes(&thread, "how long").await?;
    ids_of(kit, &thread, "how long").await?;
    let window = kit.house.look(|memory| {
        memory.kept.iter().find(|kept| of_thread(kept, &thread)).map(|kept| kept.raw["data"]["window"].clone())
    });
    let window = window.unwrap_or_default();
    let closes: Option<Timestamp> = window["closes_at"].as_str().and_then(|at| at.parse().ok());
    let good = window["replies_left"].is_i64() && closes.is_some_and(|at| at > Timestamp::now());
    expect(good, "`window` with replies_left and a closes_at that is to come", window.to_string())?;
    Ok(String::new())
}

/// A-SIG-4
pub(in super::super) async fn signs_each_try(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    kit.house.answers(&[(Manner::Away { status: 503, retry_after_s: Some(4) }, 1)]);
    kit.writes(&thread, "signed").await?;
    ids_of(kit, &thread, "signed").await?;
    let asked = kit.house.look(|memory| memory.asked.clone());
    let bad = asked.iter().filter(|asked| !asked.signed).count();
    expect(
        bad == 0,
        "every request of the adapter is signed with the shared secret",
        format!("{bad} of {} are not", asked.len()),
    )?;
    let stale = asked.iter().find(|asked| asked.signed_at.is_none_or(|at| (asked.came_at - at).abs() > 2));
    let late = stale.map(|asked| asked.came_at - asked.signed_at.unwrap_or_default());
    expect(
        late.is_none(),
        "each try with the time of the try",
        format!("a try signed {} s before it came", late.unwrap_or_default()),
    )?;
    Ok(format!("{} requests", asked.len()))
}

/// A-DUR-1
pub(in super::super) async fn kept_while_away(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    kit.house.always(Manner::Away { status: 503, retry_after_s: Some(1) });
    let texts: Vec<String> = (0..5).map(|n| format!("m{n}")).collect();
    let mut waiting = Vec::new();
    let mut acknowledged = 0;
    for text in &texts {
        let message = json!({"id": kit.fresh("n"), "thread": thread, "text": text});
        // The channel waits for one before it tells the next.
        if waiting.is_empty() && kit.inject(&message).await == Ok(true) {
            acknowledged += 1;
        } else {
            waiting.push(message);
        }
    }
    kit.house.always(Manner::Take);
    for message in &waiting {
        kit.deliver_native(message).await?;
    }
    let kept = kit.texts_kept(&thread, texts.len(), kit.patience()).await;
    expect(kept == texts, format!("{texts:?}, once each, after the gateway is back"), format!("{kept:?}"))?;
    Ok(format!("{acknowledged} of 5 acknowledged while the gateway was away"))
}

/// A-ORD-1
pub(in super::super) async fn order_in(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    let away = Manner::Away { status: 503, retry_after_s: Some(0) };
    kit.house.answers(&[
        (Manner::Take, 2),
        (away, 2),
        (Manner::Take, 1),
        (Manner::LoseAnswer, 1),
        (away, 1),
        (Manner::Take, 3),
        (away, 1),
    ]);
    let texts: Vec<String> = (0..16).map(|n| format!("o{n}")).collect();
    for text in &texts {
        kit.writes(&thread, text).await?;
    }
    let kept = kit.texts_kept(&thread, texts.len(), kit.patience()).await;
    expect(kept == texts, format!("{texts:?}"), format!("{kept:?}"))?;
    Ok(format!("{} messages over 5 failures", texts.len()))
}

/// The tries of the message that this thread's first kept event is.
async fn tries_of(kit: &Kit, thread: &str, control: &str) -> Result<Vec<Asked>, Stop> {
    let ids = ids_of(kit, thread, control).await?;
    let Some((id, _)) = ids.first().cloned() else { return Ok(Vec::new()) };
    Ok(kit.house.look(|memory| memory.asked.iter().filter(|asked| asked.ids.contains(&id)).cloned().collect()))
}

/// A-BACK-1
pub(in super::super) async fn retry_after(kit: &Kit) -> Checked {
    let mut waited = Vec::new();
    for status in [429, 503] {
        let thread = kit.fresh("t");
        kit.house.answers(&[(Manner::Away { status, retry_after_s: Some(2) }, 1)]);
        kit.writes(&thread, "patience").await?;
        let tries = tries_of(kit, &thread, "patience").await?;
        let [first, second, ..] = tries.as_slice() else {
            return Err(broken(format!("a second try after {status}"), format!("{} tries", tries.len())));
        };
        let pause = second.at - first.at;
        let expected = format!("2 s or more between a {status} with Retry-After: 2 and the next try");
        expect(pause >= Duration::from_millis(1_900), expected, format!("{pause:.2?}"))?;
        waited.push(format!("{pause:.1?}"));
    }
    Ok(format!("waited {}", waited.join(", ")))
}

/// A-BACK-2
pub(in super::super) async fn sends_again(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    let away = |status| (Manner::Away { status, retry_after_s: None }, 1);
    kit.house.answers(&[away(500), away(410), away(404), (Manner::LoseAnswer, 1)]);
    kit.writes(&thread, "persistent").await?;
    let tries = tries_of(kit, &thread, "persistent").await?;
    kit.writes(&thread, "control").await?;
    let ids: BTreeSet<(String, String)> = ids_of(kit, &thread, "control").await?.into_iter().collect();
    let expected = "one message under one id, over 500, 410, 404 and a lost answer";
    expect(ids.len() == 2, expected, format!("{ids:?}"))?;
    Ok(format!("{} tries", tries.len()))
}

/// A-REJ-1
pub(in super::super) async fn rejected_for_good(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    let before = kit.house.look(|memory| memory.asked.len());
    kit.house.answers(&[(Manner::Reject, 1)]);
    kit.writes(&thread, "refused").await?;
    let refused = kit.house.wait(kit.patience(), |memory| {
        memory.asked.iter().skip(before).find(|asked| asked.message).map(|asked| asked.ids.clone())
    });
    let refused = refused.await.unwrap_or_default();
    kit.writes(&thread, "behind it").await?;
    kit.writes(&thread, "and more").await?;
    let ids = ids_of(kit, &thread, "and more").await?;
    let words: Vec<&str> = ids.iter().map(|(_, words)| words.as_str()).collect();
    expect(
        words == ["behind it", "and more"],
        "what is behind a rejected message goes on, and that one does not",
        format!("{words:?}"),
    )?;
    let tries = kit
        .house
        .look(|memory| memory.asked.iter().filter(|asked| asked.ids.iter().any(|id| refused.contains(id))).count());
    expect(tries == 1, "a rejected event is sent once", format!("{tries} times"))?;
    Ok(String::new())
}

/// Kinds of files that the manifest names, this way.
pub(super) fn file_kinds(
    capabilities: &ark_conversation::channel::Capabilities,
    way: fn(&Capability) -> bool,
) -> Vec<&'static str> {
    capabilities
        .named()
        .filter(|(name, one)| matches!(*name, "image" | "voice_note" | "file" | "video") && way(one))
        .map(|(name, _)| name)
        .collect()
}
