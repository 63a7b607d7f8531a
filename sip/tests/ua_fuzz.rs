//! The fuzzers of the machines for a moment; `make fuzz` runs them for longer.

#[test]
fn two_endpoints_on_a_bad_wire_always_agree_in_the_end() {
    ark_sip::fuzz::ua::pair(1, 150);
}

#[test]
fn whatever_a_peer_says_every_call_ends_once_and_nothing_is_left() {
    ark_sip::fuzz::ua::chaos(1, 1_500);
}
