//! Every fuzzer of the house for a moment, from a seed that is new each time and printed when something breaks.
//! `ARK_SEED=77 cargo test -p ark-tests --test fuzz_smoke` plays one seed again; `make fuzz` runs for longer.

use std::time::Duration;

use ark_tests::fuzz::{self, CANARY, TARGETS};

/// How long each target runs.
const SMOKE: Duration = Duration::from_secs(2);

#[test]
fn no_input_breaks_an_invariant() {
    let mut broken = Vec::new();
    for target in TARGETS {
        let outcome = match fuzz::replay_from_environment() {
            Some((seed, iterations)) => fuzz::replay(target, seed, iterations),
            None => fuzz::run(target, fuzz::fresh_seed(), SMOKE),
        };
        println!("{}: {} iterations in {:.1?}", target.name, outcome.iterations, outcome.took);
        if let Some(found) = outcome.broken {
            let again = format!("ARK_SEED={} ARK_ITERATIONS={}", found.seed, found.iterations);
            broken.push(format!("{}: {} ({again})", target.name, found.message));
        }
    }
    assert!(broken.is_empty(), "broken invariants:\n  {}", broken.join("\n  "));
}

#[test]
fn the_canary_dies_and_names_its_seed() {
    let found = fuzz::run(&CANARY, 7, SMOKE).broken.expect("a broken invariant is found");
    assert!(found.message.contains(&format!("seed {}", found.seed)), "{}", found.message);
    let again = fuzz::replay(&CANARY, found.seed, found.iterations).broken.expect("the seed finds it again");
    assert_eq!(again.message, found.message);
}

#[test]
fn a_round_that_holds_is_not_called_broken() {
    let sound = fuzz::Target { name: "sound", run: |_, _| {} };
    let outcome = fuzz::run(&sound, 1, Duration::ZERO);
    assert!(outcome.broken.is_none());
    assert_eq!(outcome.rounds, 1);
}
