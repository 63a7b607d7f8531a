//! Every fuzzer of this crate, for a moment. `ARK_ITERATIONS` makes it longer, `ARK_SEED` replays.

use ark_sip::fuzz::wire;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn run(target: fn(u64, u64)) {
    target(number("ARK_SEED", 95_188), number("ARK_ITERATIONS", 3_000));
}

#[test]
fn mutated_datagrams_never_panic_and_stay_consistent() {
    run(wire::datagrams);
}

#[test]
fn streams_give_the_same_messages_however_they_are_cut() {
    run(wire::streams);
}

#[test]
fn what_is_written_is_read_back() {
    run(wire::round_trips);
}

#[test]
fn fields_out_of_noise_never_panic() {
    run(wire::fields);
}
