//! The arrows of ARCHITECTURE.md, read from `cargo metadata`: who may import whom, and what must not appear anywhere
//! below a pure crate. Development dependencies are exempt; normal and build dependencies are not.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// What one crate of the workspace may import of ours.
const ARROWS: &[(&str, &[&str])] = &[
    ("ark-sip", &[]),
    ("ark-media", &[]),
    ("ark-transcribe", &["ark-media"]),
    ("ark-conversation", &[]),
    ("ark-channels", &["ark-conversation"]),
    ("ark-store", &["ark-conversation"]),
    ("ark-bus", &["ark-conversation"]),
    ("ark-dialplans", &["ark-conversation"]),
    (
        "ark",
        &[
            "ark-sip",
            "ark-media",
            "ark-transcribe",
            "ark-conversation",
            "ark-channels",
            "ark-store",
            "ark-bus",
            "ark-dialplans",
        ],
    ),
    ("ark-tests", &["ark", "ark-sip", "ark-media", "ark-conversation", "ark-store", "ark-bus", "ark-dialplans"]),
];

/// The crates that are values: bytes and the time go in, bytes come out.
const PURE: &[&str] = &["ark-sip", "ark-media", "ark-conversation", "ark-channels", "ark-dialplans"];

/// What may stand nowhere below a pure crate, however deep, and why. A trailing `*` covers a family.
const BANNED_BELOW_PURE: &[(&str, &str)] = &[
    ("tokio*", "a machine has no runtime: sockets and tasks live in gateway/"),
    ("async-std", "a machine has no runtime"),
    ("smol", "a machine has no runtime"),
    ("mio", "a machine has no sockets"),
    ("socket2", "a machine has no sockets"),
    ("hyper", "a machine has no sockets"),
    ("reqwest", "a machine has no sockets"),
    ("axum", "HTTP is met in gateway/"),
    ("rtp", "it pulls tokio; it may serve as an oracle in tests"),
    ("rtcp", "it pulls tokio; it may serve as an oracle in tests"),
    ("webrtc*", "it pulls tokio; WebRTC is met in gateway/"),
    ("whisper*", "audio must build in seconds: speech engines have a crate of their own"),
    ("rsipstack", "a bench-only peer, outside the workspace"),
    ("rusqlite", "memory is ark-store's business"),
    ("rand", "randomness is an argument (a seed), as time is"),
];

/// The standard is for integrators who must not compile telephony: only these may be named in its manifest.
const CONVERSATION_MAY_NAME: &[&str] = &["serde", "serde_json", "schemars", "jiff", "thiserror", "sha2", "xxhash-rust"];

/// Normal and build dependencies by crate name, over the resolved graph.
struct Graph {
    members: BTreeSet<String>,
    below: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn read() -> Self {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--locked"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        Self::parse(&serde_json::from_slice(&output.stdout).unwrap())
    }

    fn parse(metadata: &Value) -> Self {
        let name_of: BTreeMap<&str, &str> = metadata["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|package| (package["id"].as_str().unwrap(), package["name"].as_str().unwrap()))
            .collect();
        let members = metadata["workspace_members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| name_of[id.as_str().unwrap()].to_owned())
            .collect();
        let mut below: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in metadata["resolve"]["nodes"].as_array().unwrap() {
            let edges = below.entry(name_of[node["id"].as_str().unwrap()].to_owned()).or_default();
            for dependency in node["deps"].as_array().unwrap() {
                let kinds = dependency["dep_kinds"].as_array().unwrap();
                if kinds.iter().any(|kind| kind["kind"].as_str() != Some("dev")) {
                    edges.insert(name_of[dependency["pkg"].as_str().unwrap()].to_owned());
                }
            }
        }
        Self { members, below }
    }

    fn direct(&self, name: &str) -> &BTreeSet<String> {
        static NONE: BTreeSet<String> = BTreeSet::new();
        self.below.get(name).unwrap_or(&NONE)
    }

    /// The shortest road from `from` to a crate that matches the pattern.
    fn road(&self, from: &str, pattern: &str) -> Option<Vec<String>> {
        let mut seen = BTreeSet::from([from.to_owned()]);
        let mut front = vec![vec![from.to_owned()]];
        while !front.is_empty() {
            let mut next = Vec::new();
            for road in front {
                for name in self.direct(&road[road.len() - 1]) {
                    if !seen.insert(name.clone()) {
                        continue;
                    }
                    let mut longer = road.clone();
                    longer.push(name.clone());
                    if matches(pattern, name) {
                        return Some(longer);
                    }
                    next.push(longer);
                }
            }
            front = next;
        }
        None
    }

    /// Every breach, in words.
    fn breaches(&self) -> Vec<String> {
        let mut said = Vec::new();
        for member in &self.members {
            let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| name == member) else {
                said.push(format!("{member} has no row in tests/tests/layering.rs: say there what it may import"));
                continue;
            };
            for name in self.direct(member).intersection(&self.members) {
                if !allowed.contains(&name.as_str()) {
                    said.push(format!("{member} imports {name}; of ours it may import only {allowed:?}"));
                }
            }
        }
        for pure in PURE {
            for (pattern, why) in BANNED_BELOW_PURE {
                if let Some(road) = self.road(pure, pattern) {
                    said.push(format!("{pure} reaches {} ({}): {why}", road[road.len() - 1], road.join(" -> ")));
                }
            }
        }
        for name in self.direct("ark-conversation") {
            if !CONVERSATION_MAY_NAME.contains(&name.as_str()) {
                said.push(format!("ark-conversation imports {name}; it may name only {CONVERSATION_MAY_NAME:?}"));
            }
        }
        said
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |family| name.starts_with(family))
}

#[test]
fn every_arrow_between_the_crates_is_one_that_the_architecture_draws() {
    let breaches = Graph::read().breaches();
    assert!(breaches.is_empty(), "forbidden arrows:\n  {}", breaches.join("\n  "));
}

#[test]
fn every_row_of_the_table_is_a_crate_that_exists() {
    let graph = Graph::read();
    for (name, _) in ARROWS {
        assert!(graph.members.contains(*name), "{name} is in the table and not in the workspace");
    }
}

#[test]
fn a_forbidden_arrow_and_a_runtime_three_steps_below_are_both_found() {
    let edges = [
        ("ark-sip", "innocent"),
        ("innocent", "middle"),
        ("middle", "tokio-util"),
        ("ark-store", "ark-bus"),
        ("ark-conversation", "regex"),
    ];
    let mut below: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (from, to) in edges {
        below.entry(from.into()).or_default().insert(to.into());
    }
    let members = ["ark-sip", "ark-store", "ark-bus", "ark-conversation", "ark-new"].map(String::from).into();
    let breaches = Graph { members, below }.breaches();
    let found = |words: &str| breaches.iter().any(|breach| breach.contains(words));
    assert!(found("ark-sip -> innocent -> middle -> tokio-util"), "{breaches:?}");
    assert!(found("ark-store imports ark-bus"), "{breaches:?}");
    assert!(found("ark-conversation imports regex"), "{breaches:?}");
    assert!(found("ark-new has no row"), "{breaches:?}");
    assert_eq!(breaches.len(), 4, "{breaches:?}");
}
