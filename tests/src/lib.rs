//! Proofs over the whole house: layering, tidiness, scenarios, corpora, fuzzers and real peers.

pub mod fuzz;
pub mod kit;
