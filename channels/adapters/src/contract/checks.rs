//! What is asked of a machine, with its provider played: each check names the MUSTs of ADAPTERS.md that it proves.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "what is not as it should be is said by panicking"
)]

use ark_conversation::channel::{Ack, Frame, In, Ingest, Manifest, OUTCOME_UNKNOWN, Out, Outcome, TransportMode};
use ark_conversation::event::Part;
use ark_conversation::{Assurance, CloudEvent, Event, ThreadSource};
use serde_json::json;

use super::fakes::{Fake, Said, events, message_ids};
use super::rig::{media, message, outcome, retry, status};

/// One check.
pub struct Check {
    /// The MUSTs that it proves.
    pub musts: &'static [&'static str],
    /// What it proves, in words.
    pub says: &'static str,
    /// Panics with what is not as it should be.
    pub run: fn(&mut Fake),
}

/// Every check, for every kind of channel and each way in which its provider delivers ([`super::WAYS`]).
pub const CHECKS: &[Check] = &[
    Check { musts: &["A-MAN-1", "A-MAN-2"], says: "manifests are whole and true", run: manifests_are_whole_and_true },
    Check {
        musts: &["A-DUR-1", "A-BACK-2"],
        says: "nothing is acknowledged before it is durable",
        run: nothing_is_acknowledged_before_it_is_durable,
    },
    Check {
        musts: &["A-ID-1", "A-CRASH-1", "A-CRASH-3"],
        says: "the same message has the same id also after a crash and another one has another",
        run: the_same_message_has_the_same_id_also_after_a_crash_and_another_one_has_another,
    },
    Check {
        musts: &["A-SRC-1", "A-EVT-1", "A-IDN-1"],
        says: "sources are the accounts own and events are whole",
        run: sources_are_the_accounts_own_and_events_are_whole,
    },
    Check {
        musts: &["A-PART-1", "A-WIN-1"],
        says: "what cannot be translated is shown in words",
        run: what_cannot_be_translated_is_shown_in_words,
    },
    Check {
        musts: &["A-ORD-1", "A-MED-1"],
        says: "a message behind one whose file is being fetched waits for it",
        run: a_message_behind_one_whose_file_is_being_fetched_waits_for_it,
    },
    Check {
        musts: &["A-SIG-1"],
        says: "what is not the providers own is refused",
        run: what_is_not_the_providers_own_is_refused,
    },
    Check {
        musts: &["A-ID-2", "A-RCP-1", "A-RCP-2", "A-RATE-1"],
        says: "a message out is tried under the same key and settled once",
        run: a_message_out_is_tried_under_the_same_key_and_settled_once,
    },
    Check {
        musts: &["A-UNK-1", "A-CRASH-2"],
        says: "what nobody answered is unknown and not sent again",
        run: what_nobody_answered_is_unknown_and_not_sent_again,
    },
    Check {
        musts: &["A-UNK-1", "A-CRASH-2"],
        says: "what a gateway died over is unknown where the provider tells no copies",
        run: what_a_gateway_died_over_is_unknown_where_the_provider_tells_no_copies,
    },
    Check {
        musts: &["A-PART-3"],
        says: "a part that cannot be shown is never left out in silence",
        run: a_part_that_cannot_be_shown_is_never_left_out_in_silence,
    },
];

/// An acknowledgement that goes out at once, before anything is durable: of a callback that only says that there is something, it is
/// harmless.
#[must_use]
pub fn acknowledged_at_once(outs: &[Out]) -> bool {
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

fn manifests_are_whole_and_true(fake: &mut Fake) {
    let manifest = fake.rig.channel.manifest();
    manifest.check().unwrap();
    assert_eq!(manifest.transport.mode, TransportMode::Inproc);
    let written = serde_json::to_value(manifest).unwrap();
    assert_eq!(&serde_json::from_value::<Manifest>(written).unwrap(), manifest);
    assert!(manifest.testing.is_none(), "there are no hooks in service");
}

fn nothing_is_acknowledged_before_it_is_durable(fake: &mut Fake) {
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
}

fn the_same_message_has_the_same_id_also_after_a_crash_and_another_one_has_another(fake: &mut Fake) {
    let first = message_ids(&fake.write(1, Said::Words));
    // Killed before anything was kept, with nothing saved: the provider delivers it again to another life.
    let mut next = Fake::new(fake.kind, fake.way);
    let again = next.write(1, Said::Words);
    assert_eq!(message_ids(&again), first);
    next.kept(&again, true);
    let other = next.write(2, Said::Words);
    assert_ne!(message_ids(&other), first);
}

fn sources_are_the_accounts_own_and_events_are_whole(fake: &mut Fake) {
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
}

fn what_cannot_be_translated_is_shown_in_words(fake: &mut Fake) {
    let outs = fake.write(1, Said::Odd);
    let [event] =
        &events(&outs).into_iter().filter(|event| event.type_name() == "ark.message.in.v1").collect::<Vec<_>>()[..]
    else {
        panic!("{outs:?}")
    };
    let said = message(event);
    assert!(matches!(&said.parts[..], [Part::Unsupported { fallback_text, .. }] if !fallback_text.reveal().is_empty()));
    let manifest = fake.rig.channel.manifest();
    assert_eq!(
        said.window.is_some(),
        manifest.limits.reply_window_s.is_some(),
        "the window is told where there is one"
    );
}

fn a_message_behind_one_whose_file_is_being_fetched_waits_for_it(fake: &mut Fake) {
    if matches!(fake.kind, "http" | "amqp") {
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
}

fn what_is_not_the_providers_own_is_refused(fake: &mut Fake) {
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
}

fn a_message_out_is_tried_under_the_same_key_and_settled_once(fake: &mut Fake) {
    let thread = fake.thread();
    fake.write(1, Said::Words);
    let (_, outs) = fake.rig.send(thread, vec![Part::text("您好")]);
    let (sent, first) = fake.sent(&outs);
    let outs = fake.busy(sent);
    let Outcome::Retry { after, .. } = outcome(&outs) else { panic!("{outs:?}") };
    assert!(after.is_none_or(|after| after.as_secs() >= 7), "no sooner than the provider says");
    // The host's next try: the same event.
    let outs = fake.rig.send_again(thread, vec![Part::text("您好")]);
    let (sent, second) = fake.sent(&outs);
    assert_eq!(second, first, "the same key and the same words");
    let outs = fake.takes(sent);
    assert!(matches!(outcome(&outs), Outcome::Sent { .. } | Outcome::Accepted { .. }), "{outs:?}");
    let (_, outs) = fake.rig.send(thread, vec![Part::text("您好")]);
    let sent = fake.sent(&outs).0;
    let outs = fake.refuses(sent);
    assert!(matches!(outcome(&outs), Outcome::Failed { code, .. } if !code.is_empty()), "{outs:?}");
}

fn what_nobody_answered_is_unknown_and_not_sent_again(fake: &mut Fake) {
    let thread = fake.thread();
    fake.write(1, Said::Words);
    let (_, outs) = fake.rig.send(thread, vec![Part::text("您好")]);
    let sent = fake.sent(&outs).0;
    let outs = fake.silence(sent);
    // An adapter outside knows copies by their ids, and says itself what it does not know.
    let expected = if matches!(fake.kind, "http" | "amqp") { retry(OUTCOME_UNKNOWN) } else { Outcome::Unknown };
    assert_eq!(outcome(&outs), expected);
    assert!(!outs.iter().any(|out| matches!(out, Out::HttpCall { .. })), "{outs:?}");
}

fn what_a_gateway_died_over_is_unknown_where_the_provider_tells_no_copies(fake: &mut Fake) {
    let thread = fake.thread();
    fake.write(1, Said::Words);
    let outs = fake.rig.send_in_doubt(thread, vec![Part::text("您好")]);
    if matches!(fake.kind, "http" | "amqp") {
        let sent = fake.sent(&outs).0;
        assert!(matches!(outcome(&fake.takes(sent)), Outcome::Accepted { .. }));
    } else {
        assert_eq!(outs.len(), 1, "nothing is sent: {outs:?}");
        assert_eq!(outcome(&outs), Outcome::Unknown);
    }
}

fn a_part_that_cannot_be_shown_is_never_left_out_in_silence(fake: &mut Fake) {
    let thread = fake.thread();
    fake.write(1, Said::Words);
    let place = Part::Location { lat: 30.28, lon: 120.11, label: None };
    let degraded = fake.rig.channel.manifest().degrade(&[Part::text("look:"), place], |_| None).unwrap();
    assert_eq!(degraded.parts.len(), 2, "the host gives the machine words for it");
    let (_, mut outs) = fake.rig.send(thread, degraded.parts);
    let mut said = String::new();
    while !outs.iter().any(|out| matches!(out, Out::Settle { .. })) {
        let (sent, words) = fake.sent(&outs);
        said += &words;
        outs = fake.takes(sent);
    }
    assert!(matches!(outcome(&outs), Outcome::Sent { .. } | Outcome::Accepted { .. }), "{outs:?}");
    assert!(said.contains("look:") && said.contains("30.28"), "{said}");
}
