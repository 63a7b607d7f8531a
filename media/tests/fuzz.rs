//! The seeded fuzzers, shortly; `make fuzz` runs them longer.

use ark_media::fuzz;

#[test]
fn rtp_survives() {
    fuzz::rtp(1, 50_000);
}

#[test]
fn rtcp_survives() {
    fuzz::rtcp(2, 20_000);
}

#[test]
fn sdp_survives() {
    fuzz::sdp(3, 10_000);
}

#[test]
fn telephone_events_survive() {
    fuzz::dtmf(4, 5_000);
}

#[test]
fn sessions_survive() {
    fuzz::session(5, 100_000);
}

#[test]
fn codecs_survive() {
    fuzz::codecs(7, 10_000);
}

#[test]
fn bridges_survive() {
    fuzz::transcoder(8, 5_000);
}

#[test]
fn browsers_ports_survive() {
    fuzz::gate(9, 60_000);
}

#[test]
fn recordings_survive() {
    fuzz::recorder(6, 15_000);
}

#[test]
fn playouts_survive() {
    fuzz::playout(7, 40_000);
}
