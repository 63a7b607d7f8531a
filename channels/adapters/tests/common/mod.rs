//! A host in a test: it gives inputs in virtual time and looks at what comes out.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test file uses its part")]

pub use ark_channels::contract::rig::*;
use ark_conversation::channel::*;
use serde_json::Value;

pub fn vectors(name: &str) -> Value {
    let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
