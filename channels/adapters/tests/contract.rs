//! The adapter standard on the channels inside the gateway: every check of `ark_channels::contract`, for every kind and way.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "all of it is test code")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use ark_channels::contract::fakes::message_ids;
use ark_channels::contract::{CHECKS, Fake, Said, WAYS, acknowledged_at_once};
use ark_conversation::channel::*;
use ark_conversation::schema::ADAPTERS;
use common::*;
use proptest::prelude::*;

#[test]
fn every_kind_is_here() {
    let here: BTreeSet<&str> = WAYS.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(here, ark_channels::ALL.iter().map(|kind| kind.name).collect());
}

#[test]
fn every_kind_keeps_the_standard_by_every_way() {
    for check in CHECKS {
        for must in check.musts {
            assert!(ADAPTERS.contains(&format!("[{must}]")), "{must} is no MUST of ADAPTERS.md");
        }
        for (kind, way) in WAYS {
            eprintln!("{kind} by {way}: {} ({})", check.says, check.musts.join(", "));
            (check.run)(&mut Fake::new(kind, way));
        }
    }
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
