//! L0 and the gateway's half of L1: manifest, signatures, what the adapter answers.

use ark_conversation::channel::{Manifest, TransportMode};
use ark_conversation::event::{Action, Part};
use ark_conversation::{Content, schema};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::limits::{REMEMBERED_S_MIN, SOON};
use super::super::peer::{Signed, sign_with};
use super::super::{Brought, Checked, Kit, Stop, broken, expect};

/// A-MAN-1
pub(in super::super) async fn manifest(kit: &Kit) -> Checked {
    let expected = "GET /.well-known/ark-adapter answers 200 with a manifest that fits its schema";
    let reply = kit.peer.ask("GET", "/.well-known/ark-adapter", None).await.map_err(|why| broken(expected, why))?;
    expect(reply.status == 200, expected, reply.shown())?;
    let value: Value = serde_json::from_slice(&reply.body).map_err(|error| broken(expected, error.to_string()))?;
    let wrong = schema_errors(schema::adapter_manifest().as_value(), &value);
    expect(wrong.is_empty(), expected, wrong.join("; "))?;
    let manifest: Manifest = serde_json::from_value(value).map_err(|error| broken(expected, error.to_string()))?;
    manifest.check().map_err(|error| broken(expected, error.to_string()))?;
    Ok(format!("{} {}", manifest.id, manifest.version))
}

/// The first errors of a value by its schema, each with its place.
pub(in super::super) fn schema_errors(schema: &Value, value: &Value) -> Vec<String> {
    match jsonschema::validator_for(schema) {
        Ok(validator) => {
            validator.iter_errors(value).take(5).map(|error| format!("{}: {error}", error.instance_path())).collect()
        }
        Err(error) => vec![format!("the schema itself: {error}")],
    }
}

/// A-MAN-2
pub(in super::super) async fn true_manifest(kit: &Kit) -> Checked {
    let manifest = kit.manifest().await?;
    let mode = manifest.transport.mode;
    expect(mode == TransportMode::Http, "transport.mode is the form that it speaks here: http", mode.to_string())?;
    let remembers = manifest.dedup.outbound_key_ttl_s;
    let expected = format!("dedup.outbound_key_ttl_s is {REMEMBERED_S_MIN} or more");
    expect(remembers >= REMEMBERED_S_MIN, expected, remembers.to_string())?;
    Ok(format!("ids are remembered for {} h", remembers / 3_600))
}

/// A-HEALTH-1
pub(in super::super) async fn health(kit: &Kit) -> Checked {
    let expected = "GET /ark/v1/health answers 200";
    let reply = kit.peer.ask("GET", "/ark/v1/health", None).await.map_err(|why| broken(expected, why))?;
    expect(reply.status == 200, expected, reply.shown())?;
    Ok(String::new())
}

/// A-TEST-1
pub(in super::super) async fn hooks_only_in_tests(kit: &Kit) -> Checked {
    kit.needs_start()?;
    kit.kill().await;
    let started =
        kit.start(false).await.map_err(|error| broken("it starts without its test switch", error.to_string()));
    let (manifest, injected) = match started {
        Ok(()) => {
            let manifest = kit.peer.ask("GET", "/.well-known/ark-adapter", None).await.map(|reply| reply.json());
            let message = json!({"id": kit.fresh("n"), "thread": kit.fresh("t"), "text": "nobody wrote this"});
            (manifest.unwrap_or_default(), kit.peer.ask("POST", "/inject", Some(&message)).await)
        }
        Err(stop) => {
            kit.kill().await;
            let _ = kit.start(true).await;
            return Err(stop);
        }
    };
    kit.kill().await;
    kit.start(true).await.map_err(|error| broken("it starts again", error.to_string()))?;
    expect(
        manifest["testing"].is_null(),
        "no `testing` in the manifest of an adapter in service",
        manifest["testing"].to_string(),
    )?;
    if let Ok(reply) = injected {
        expect(
            !reply.is_success(),
            "no hook answers without the test switch",
            format!("POST /inject: {}", reply.shown()),
        )?;
    }
    Ok(String::new())
}

/// A-SIG-1
pub(in super::super) async fn unsigned_is_refused(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    let now = Timestamp::now();
    let mut tries: Vec<(&str, Option<Signed>, Vec<u8>)> = Vec::new();
    for what in [
        "without a signature",
        "signed with another secret",
        "whose body was changed",
        "whose id was changed",
        "whose time was changed",
        "whose signature is cut",
    ] {
        let (key, event) = kit.says(&thread, &format!("forged, {what}"));
        let mut body = serde_json::to_vec(&[event]).expect("an event is JSON");
        let mut signed = kit.peer.sign(0, &key, now, &body);
        match what {
            "signed with another secret" => {
                signed = sign_with("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", &key, now, &body);
            }
            "whose body was changed" => body.push(b' '),
            "whose id was changed" => signed.id.push('x'),
            "whose time was changed" => signed.time = (now.as_second() + 1).to_string(),
            "whose signature is cut" => signed.signature.truncate(20),
            _ => {}
        }
        tries.push((what, (what != "without a signature").then_some(signed), body));
    }
    for (what, signed, body) in tries {
        let reply = kit.peer.post_signed(signed.as_ref(), body).await;
        let expected = format!("401 to a request {what}");
        let reply = reply.map_err(|why| broken(expected.as_str(), why))?;
        expect(reply.status == 401, expected, reply.shown())?;
    }
    only_the_control_arrives(kit, &thread).await
}

/// Nothing of what was refused before went to the channel.
async fn only_the_control_arrives(kit: &Kit, thread: &str) -> Checked {
    let (_, control) = kit.says(thread, "the control");
    kit.bring_taken(&control).await?;
    let texts = kit.texts_given(thread, 1, SOON).await?;
    expect(texts == ["the control"], "only the signed message reaches the channel", format!("{texts:?}"))?;
    Ok(String::new())
}

/// A-SIG-2
pub(in super::super) async fn old_is_refused(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    for (what, seconds) in [("6 minutes old", -360), ("an hour old", -3_600), ("6 minutes from the future", 360)] {
        let (key, event) = kit.says(&thread, what);
        let body = serde_json::to_vec(&[event]).expect("an event is JSON");
        let signed = kit.peer.sign(0, &key, Timestamp::now() + SignedDuration::from_secs(seconds), &body);
        let expected = format!("401 to a request whose time is {what}");
        let reply = kit.peer.post_signed(Some(&signed), body).await.map_err(|why| broken(expected.as_str(), why))?;
        expect(reply.status == 401, expected, reply.shown())?;
    }
    only_the_control_arrives(kit, &thread).await
}

/// A-SIG-3
pub(in super::super) async fn two_secrets(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    let post = async |which: usize, more: &str, what: &str| -> Result<(), Stop> {
        let (key, event) = kit.says(&thread, what);
        let body = serde_json::to_vec(&[event]).expect("an event is JSON");
        let mut signed = kit.peer.sign(which, &key, Timestamp::now(), &body);
        signed.signature = format!("{more}{}", signed.signature);
        let expected = format!("2xx to a request with {what}");
        let reply = kit.peer.post_signed(Some(&signed), body).await.map_err(|why| broken(expected.as_str(), why))?;
        expect(reply.is_success(), expected, reply.shown())
    };
    let wrong = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= ";
    post(0, wrong, "a good signature behind a wrong one").await?;
    post(0, "v1a,AAAA v2,zzzz ", "a good signature behind unknown versions").await?;
    if kit.peer.secrets.len() < 2 {
        return Ok("one secret: the old one is not known here".to_owned());
    }
    post(1, "", "the old secret's signature").await?;
    Ok(String::new())
}

/// A-ANS-1
pub(in super::super) async fn results(kit: &Kit) -> Checked {
    let batch = kit.manifest().await?.transport.max_batch.unwrap_or(1);
    let thread = kit.fresh("t");
    let events: Vec<(String, Value)> = (0..batch.min(3)).map(|n| kit.says(&thread, &format!("r{n}"))).collect();
    let (ids, events): (Vec<String>, Vec<Value>) = events.into_iter().unzip();
    let expected =
        format!("`results` with {} entries, by the ids and in the order of the events, `accepted` each", ids.len());
    let reply = kit.peer.post(&events).await.map_err(|why| broken(expected.as_str(), why))?;
    let body = reply.json();
    let results: Vec<(&str, &str)> = body["results"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| (one["id"].as_str().unwrap_or_default(), one["status"].as_str().unwrap_or_default()))
        .collect();
    let good: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "accepted")).collect();
    expect(reply.is_success() && results == good, expected, reply.shown())?;
    Ok(format!("{} at once", ids.len()))
}

/// A-ID-2
pub(in super::super) async fn copies_out(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    let (key, event) = kit.says(&thread, "once");
    kit.bring_taken(&event).await?;
    for _ in 0..2 {
        let again = kit.bring(&event).await?;
        expect(
            again == Brought::Taken("duplicate".to_owned()),
            format!("`duplicate` for {key}, which it has"),
            format!("{again:?}"),
        )?;
    }
    let (_, twin) = kit.says(&thread, "twin");
    let (one, two) = tokio::join!(kit.bring(&twin), kit.bring(&twin));
    one?;
    two?;
    let (_, control) = kit.says(&thread, "control");
    kit.bring_taken(&control).await?;
    let texts = kit.texts_given(&thread, 3, SOON).await?;
    expect(texts == ["once", "twin", "control"], "each message once at the channel", format!("{texts:?}"))?;
    Ok(String::new())
}

/// A-EVT-2
pub(in super::super) async fn unknown_is_passed_over(kit: &Kit) -> Checked {
    let batch = kit.manifest().await?.transport.max_batch.unwrap_or(1);
    let thread = kit.fresh("t");
    let (_, mut unknown) = kit.says(&thread, "x");
    unknown["type"] = "ark.of_a_later_minor.v1".into();
    unknown["data"] = json!({"thread": thread, "what": [1, 2, 3]});
    let (_, mut message) = kit.says(&thread, "with more beside it");
    message["ofalaterminor"] = json!("1");
    message["data"]["of_a_later_minor"] = json!({"deep": true});
    message["data"]["parts"][0]["of_a_later_minor"] = json!(1);
    let requests = if batch > 1 { vec![vec![unknown, message]] } else { vec![vec![unknown], vec![message]] };
    for request in requests {
        let expected = "a 2xx (or a 4xx to an unknown type alone), never a 5xx";
        let reply = kit.peer.post(&request).await.map_err(|why| broken(expected, why))?;
        let alone = request.len() == 1 && request.iter().all(|event| event["type"] == "ark.of_a_later_minor.v1");
        expect(reply.is_success() || (alone && reply.status < 500), expected, reply.shown())?;
    }
    let texts = kit.texts_given(&thread, 1, SOON).await?;
    expect(texts == ["with more beside it"], "the message beside it reaches the channel", format!("{texts:?}"))?;
    Ok(String::new())
}

/// A-BODY-1
pub(in super::super) async fn garbage(kit: &Kit) -> Checked {
    let bodies: [(&str, &[u8]); 7] = [
        ("no JSON", b"not json"),
        ("an empty body", b""),
        ("bytes that are no UTF-8", b"[\"\xff\xfe\"]"),
        ("a number", b"7"),
        ("a list of numbers", b"[1, 2]"),
        ("a list with an empty event", b"[{}]"),
        ("nothing but brackets", &[b'['; 20_000]),
    ];
    for (what, body) in bodies {
        let signed = kit.peer.sign(0, "g1", Timestamp::now(), body);
        let expected = format!("4xx to {what}");
        let reply =
            kit.peer.post_signed(Some(&signed), body.to_vec()).await.map_err(|why| broken(expected.as_str(), why))?;
        let rejected = reply.is_success() && reply.json()["results"][0]["status"] == "rejected";
        expect(matches!(reply.status, 400..=499) || rejected, expected, reply.shown())?;
    }
    health(kit).await
}

/// A-BODY-2
pub(in super::super) async fn oversize(kit: &Kit) -> Checked {
    let thread = kit.fresh("t");
    let (key, event) =
        kit.message(&thread, (0..14).map(|_| Part::text("长".repeat(19_000) + &"x".repeat(100_000))).collect());
    let body = serde_json::to_vec(&[event]).expect("an event is JSON");
    let signed = kit.peer.sign(0, &key, Timestamp::now(), &body);
    // To close the connection is an answer, too.
    if let Ok(reply) = kit.peer.post_signed(Some(&signed), body).await {
        expect(reply.status == 413, "413 to a body of 2 MiB, or the connection closed", reply.shown())?;
    }
    health(kit).await?;
    only_the_control_arrives(kit, &thread).await
}

/// A-PART-3
pub(in super::super) async fn parts_out(kit: &Kit) -> Checked {
    let manifest = kit.manifest().await?;
    let thread = kit.fresh("t");
    let (_, event) = kit.message(&thread, ["one", "two", "three"].map(Part::text).to_vec());
    kit.bring_taken(&event).await?;
    let texts = kit.texts_given(&thread, 3, SOON).await?;
    expect(texts == ["one", "two", "three"], "all parts, in their order", format!("{texts:?}"))?;
    let caps = &manifest.capabilities;
    let can = |one: &Option<ark_conversation::channel::Capability>| one.as_ref().is_some_and(|one| one.outbound);
    let odd = if !can(&caps.card) {
        let action = Action { id: "up".to_owned(), label: Content::new("上传"), url: None };
        Part::Card {
            title: Content::new("凭证"),
            body: None,
            actions: vec![action],
            fallback_text: Content::new("请上传凭证"),
        }
    } else if !can(&caps.location) {
        Part::Location { lat: 30.28, lon: 120.11, label: Some(Content::new("杭州")) }
    } else {
        return Ok("it names every part".to_owned());
    };
    let thread = kit.fresh("t");
    let (_, event) = kit.message(&thread, vec![Part::text("look:"), odd]);
    let brought = kit.bring(&event).await?;
    if brought == Brought::Taken("accepted".to_owned()) {
        let given = kit.texts_given(&thread, 2, kit.patience() / 8).await?.len();
        let expected = "`rejected` for a part that its manifest does not name, or all of it shown";
        expect(given >= 2, expected, format!("`accepted`, and {given} of 2 parts at the channel"))?;
    } else {
        let given = kit.given(&thread).await?;
        expect(given.is_empty(), "nothing of a rejected message at the channel", format!("{given:?}"))?;
    }
    Ok(String::new())
}
