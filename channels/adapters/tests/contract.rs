//! The adapter standard on the channels inside the gateway, without exemption: what `ark channel test` asks of an adapter outside, asked of
//! every machine in virtual time, with its provider played. Each test names the MUSTs of ADAPTERS.md that it proves; those that
//! are not named are the host's for these channels (its tests prove them) or are about HTTP between adapter and gateway.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "all of it is test code")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use ark_conversation::channel::*;
use ark_conversation::event::Part;
use ark_conversation::schema::ADAPTERS;
use ark_conversation::{Assurance, CloudEvent, Event, ThreadSource};
use common::fakes::*;
use common::*;
use proptest::prelude::*;
use serde_json::json;

/// Runs a check for every kind and way, and says of which one it speaks.
fn of_each(musts: &[&str], check: impl Fn(&mut Fake)) {
    for must in musts {
        assert!(ADAPTERS.contains(&format!("[{must}]")), "{must} is no MUST of ADAPTERS.md");
    }
    for (kind, way) in WAYS {
        eprintln!("{kind} by {way}: {}", musts.join(", "));
        check(&mut Fake::new(kind, way));
    }
}

/// An acknowledgement that goes out at once, before anything is durable: of a callback that only says that there is something, it is
/// harmless.
fn acknowledged_at_once(outs: &[Out]) -> bool {
    outs.iter().any(|out| match out {
        Out::HttpReply { reply, .. } => (200..300).contains(&reply.status),
        Out::Frame { frame: Frame::Text(text), .. } => text.contains("\"code\":200"),
        Out::Ingest(ingest) => ingest.save.is_some(),
        _ => false,
    })
}

fn good(ack: &Ack) -> bool {
    !matches!(ack, Ack::Tell { .. }) && status(ack) < 300
}

#[test]
fn every_kind_is_here() {
    let here: BTreeSet<&str> = WAYS.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(here, ark_channels::ALL.iter().map(|kind| kind.name).collect());
}

#[test]
fn manifests_are_whole_and_true() {
    of_each(&["A-MAN-1", "A-MAN-2"], |fake| {
        let manifest = fake.rig.channel.manifest();
        manifest.check().unwrap();
        assert_eq!(manifest.transport.mode, TransportMode::Inproc);
        let written = serde_json::to_value(manifest).unwrap();
        assert_eq!(&serde_json::from_value::<Manifest>(written).unwrap(), manifest);
        assert!(manifest.testing.is_none(), "there are no hooks in service");
    });
}

#[test]
fn nothing_is_acknowledged_before_it_is_durable() {
    of_each(&["A-DUR-1", "A-BACK-2"], |fake| {
        let first = fake.write(1, Said::Words);
        let ids = message_ids(&first);
        assert_eq!(ids.len(), 1, "{first:?}");
        assert!(!acknowledged_at_once(&first), "{first:?}");
        for out in &first {
            let Out::Ingest(ingest) = out else { continue };
            assert!(!ingest.durable.is_empty() && !ingest.refused.is_empty(), "both ends have an answer: {ingest:?}");
            assert!(!ingest.refused.iter().any(good), "what is not kept is not acknowledged: {ingest:?}");
        }
        // The store is away: nothing is saved, and the provider's next delivery is the same message.
        let after = fake.kept(&first, false);
        assert!(!acknowledged_at_once(&after), "{after:?}");
        let again = fake.write(1, Said::Words);
        assert_eq!(message_ids(&again), ids);
        // Now it is kept, and only now a puller's cursor moves.
        let saved = fake.kept(&again, true).iter().any(|out| matches!(out, Out::Ingest(Ingest { save: Some(_), .. })));
        assert_eq!(saved, fake.way == "pull");
    });
}

#[test]
fn the_same_message_has_the_same_id_also_after_a_crash_and_another_one_has_another() {
    of_each(&["A-ID-1", "A-CRASH-1", "A-CRASH-3"], |fake| {
        let first = message_ids(&fake.write(1, Said::Words));
        // Killed before anything was kept, with nothing saved: the provider delivers it again to another life.
        let mut next = Fake::new(fake.kind, fake.way);
        let again = next.write(1, Said::Words);
        assert_eq!(message_ids(&again), first);
        next.kept(&again, true);
        let other = next.write(2, Said::Words);
        assert_ne!(message_ids(&other), first);
    });
}

#[test]
fn sources_are_the_accounts_own_and_events_are_whole() {
    of_each(&["A-SRC-1", "A-EVT-1", "A-IDN-1"], |fake| {
        let outs = fake.write(1, Said::Words);
        for event in events(&outs) {
            event.check().unwrap();
            let source: ThreadSource = event.source.parse().unwrap();
            assert_eq!((source.adapter.as_str(), source.account.as_str()), (fake.kind, "shop"));
            let written = serde_json::to_value(&event).unwrap();
            assert_eq!(serde_json::from_value::<CloudEvent>(written.clone()).unwrap(), event);
            assert_eq!(written["data"]["thread"], source.thread.as_str());
            if let Event::Identity(identity) = &event.event {
                let verified = fake.rig.channel.manifest().identity.verified == Some(true);
                let highest = if verified { Assurance::ChannelVerified } else { Assurance::Asserted };
                assert!(identity.assurance <= highest, "{:?}", identity.assurance);
            }
        }
    });
}

#[test]
fn what_cannot_be_translated_is_shown_in_words() {
    of_each(&["A-PART-1", "A-WIN-1"], |fake| {
        let outs = fake.write(1, Said::Odd);
        let [event] =
            &events(&outs).into_iter().filter(|event| event.type_name() == "ark.message.in.v1").collect::<Vec<_>>()[..]
        else {
            panic!("{outs:?}")
        };
        let said = message(event);
        assert!(
            matches!(&said.parts[..], [Part::Unsupported { fallback_text, .. }] if !fallback_text.reveal().is_empty())
        );
        let manifest = fake.rig.channel.manifest();
        assert_eq!(
            said.window.is_some(),
            manifest.limits.reply_window_s.is_some(),
            "the window is told where there is one"
        );
    });
}

#[test]
fn a_message_behind_one_whose_file_is_being_fetched_waits_for_it() {
    of_each(&["A-ORD-1", "A-MED-1"], |fake| {
        if fake.kind == "http" {
            return; // An adapter brings the file first and the message after.
        }
        let mut outs = fake.write(1, Said::Picture);
        if fake.way == "pull" {
            // A page is one delivery: its own order is proved where pages are (tests/wecom.rs).
            assert!(message_ids(&outs).is_empty());
        } else {
            let behind = fake.write(2, Said::Words);
            assert!(!acknowledged_at_once(&behind), "{behind:?}");
            outs.extend(behind);
            assert!(message_ids(&outs).is_empty(), "{outs:?}");
        }
        let mut order = Vec::new();
        for _ in 0..4 {
            let mut next = Vec::new();
            for out in &outs {
                match out {
                    Out::HttpCall { call, .. } => {
                        next.extend(fake.rig.answer(*call, 200, json!({"downloadUrl": "https://down.dingtalk.com/1"})));
                    }
                    Out::Fetch { fetch, .. } => {
                        next.extend(fake.rig.give(In::Fetched { fetch: *fetch, answer: Ok(media("image/png")) }));
                    }
                    _ => {}
                }
            }
            order.extend(message_ids(&next));
            outs = next;
        }
        let expected = if fake.way == "pull" { 1 } else { 2 };
        assert_eq!(order.len(), expected, "{order:?}");
        let numbers: Vec<bool> = order.iter().map(|id| id.ends_with('1')).collect();
        assert!(numbers[0] && !numbers[1..].contains(&true), "{order:?}");
    });
}

#[test]
fn what_is_not_the_providers_own_is_refused() {
    of_each(&["A-SIG-1"], |fake| {
        let Some(forged) = fake.forged(1) else { return };
        let (request, outs) = fake.rig.request(forged);
        assert!(message_ids(&outs).is_empty(), "{outs:?}");
        let refused = |out: &Out| matches!(out, Out::HttpReply { request: of, reply } if *of == request && (400..500).contains(&reply.status));
        assert!(outs.iter().any(refused), "{outs:?}");
        if let Some(genuine) = fake.forged(1) {
            fake.rig.after(4_000);
            let (_, outs) = fake.rig.request(genuine);
            assert!(message_ids(&outs).is_empty());
        }
    });
}

#[test]
fn a_message_out_is_tried_under_the_same_key_and_settled_once() {
    of_each(&["A-ID-2", "A-RCP-1", "A-RCP-2", "A-RATE-1"], |fake| {
        let thread = fake.thread();
        fake.write(1, Said::Words);
        let (_, outs) = fake.rig.send(thread, vec![Part::text("您好")]);
        let (sent, first) = call(&outs);
        let first = first.clone();
        let busy = HttpReply::text(429, "").with("retry-after", "7");
        let outs = fake.rig.give(In::HttpResponse { call: sent, answer: Ok(busy) });
        let Outcome::Retry { after, .. } = outcome(&outs) else { panic!("{outs:?}") };
        assert!(after.is_none_or(|after| after.as_secs() >= 7), "no sooner than the provider says");
        // The host's next try: the same event.
        let outs = fake.rig.send_again(thread, vec![Part::text("您好")]);
        let (sent, second) = call(&outs);
        assert_eq!(second.body, first.body, "the same key and the same words");
        let outs = fake.takes(sent);
        assert!(matches!(outcome(&outs), Outcome::Sent { .. } | Outcome::Accepted { .. }), "{outs:?}");
        let (_, outs) = fake.rig.send(thread, vec![Part::text("您好")]);
        let sent = call(&outs).0;
        let outs = fake.refuses(sent);
        assert!(matches!(outcome(&outs), Outcome::Failed { code, .. } if !code.is_empty()), "{outs:?}");
    });
}

#[test]
fn what_nobody_answered_is_unknown_and_not_sent_again() {
    of_each(&["A-UNK-1", "A-CRASH-2"], |fake| {
        let thread = fake.thread();
        fake.write(1, Said::Words);
        let (_, outs) = fake.rig.send(thread, vec![Part::text("您好")]);
        let sent = call(&outs).0;
        let outs = fake.rig.no_answer(sent);
        // An adapter outside knows copies by their ids, and says itself what it does not know.
        let expected = if fake.kind == "http" { retry(OUTCOME_UNKNOWN) } else { Outcome::Unknown };
        assert_eq!(outcome(&outs), expected);
        assert!(!outs.iter().any(|out| matches!(out, Out::HttpCall { .. })), "{outs:?}");
    });
}

/// Found by the walk over four channels: a gateway died between the provider's answer and its receipt, and the next sent it again.
#[test]
fn what_a_gateway_died_over_is_unknown_where_the_provider_tells_no_copies() {
    of_each(&["A-UNK-1", "A-CRASH-2"], |fake| {
        let thread = fake.thread();
        fake.write(1, Said::Words);
        let outs = fake.rig.send_in_doubt(thread, vec![Part::text("您好")]);
        if fake.kind == "http" {
            let sent = call(&outs).0;
            assert!(matches!(outcome(&fake.takes(sent)), Outcome::Accepted { .. }));
        } else {
            assert_eq!(outs, [settle_of(&outs)], "nothing is sent");
            assert_eq!(outcome(&outs), Outcome::Unknown);
        }
    });
}

fn settle_of(outs: &[Out]) -> Out {
    let Some(Out::Settle { delivery, outcome }) = outs.first() else { panic!("{outs:?}") };
    Out::Settle { delivery: *delivery, outcome: outcome.clone() }
}

#[test]
fn a_part_that_cannot_be_shown_is_never_left_out_in_silence() {
    of_each(&["A-PART-3"], |fake| {
        let thread = fake.thread();
        fake.write(1, Said::Words);
        let place = Part::Location { lat: 30.28, lon: 120.11, label: None };
        let degraded = fake.rig.channel.manifest().degrade(&[Part::text("look:"), place], |_| None).unwrap();
        assert_eq!(degraded.parts.len(), 2, "the host gives the machine words for it");
        let (_, mut outs) = fake.rig.send(thread, degraded.parts);
        let mut said = String::new();
        while let Some(Out::HttpCall { call, http }) = outs.iter().find(|out| matches!(out, Out::HttpCall { .. })) {
            said += &match &http.body {
                Body::Json(body) => body.to_string(),
                Body::Bytes { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
                other => format!("{other:?}"),
            };
            let call = *call;
            outs = fake.takes(call);
        }
        assert!(matches!(outcome(&outs), Outcome::Sent { .. } | Outcome::Accepted { .. }), "{outs:?}");
        assert!(said.contains("look:") && said.contains("30.28"), "{said}");
    });
}

#[test]
fn a_life_that_begins_with_what_another_saved_goes_on_there() {
    let mut fake = Fake::new("wecom-kf", "pull");
    let outs = fake.write(1, Said::Words);
    let saved: BTreeMap<String, String> = fake
        .kept(&outs, true)
        .into_iter()
        .filter_map(|out| if let Out::Ingest(ingest) = out { ingest.save } else { None })
        .collect();
    assert_eq!(saved.len(), 1);
    let mut next = Fake::with("wecom-kf", "pull", saved);
    let outs = next.write(2, Said::Words);
    assert_eq!(message_ids(&outs), ["wecom-kf:m2"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// A-BODY-1, A-BODY-2, A-EVT-2: whatever comes is answered, and never ends it.
    #[test]
    fn garbage_is_refused_and_never_ends_it(
        way in 0_usize..WAYS.len(),
        path in "(|/|/ark/v1/ingest|/ark/v1/media|/x)",
        query in "([a-z_]{1,9}=[a-z0-9]{0,9}&){0,4}",
        body in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let (kind, by) = WAYS[way];
        let mut fake = Fake::new(kind, by);
        for body in [body, vec![b'['; 200_000], vec![b' '; 2 << 20], b"<xml><a></xml>".to_vec(), b"{\"id\": 1".to_vec()] {
            let (request, outs) = fake.rig.request(post(&path, &query, &[("sign", "x")], body));
            let answers = outs.iter().filter(|out| matches!(out, Out::HttpReply { request: of, .. } if *of == request)).count();
            prop_assert_eq!(answers, 1, "{:?}", outs);
            prop_assert!(!acknowledged_at_once(&outs), "{:?}", outs);
        }
        let outs = fake.write(1, Said::Words);
        prop_assert_eq!(message_ids(&outs).len(), 1);
    }
}
