//! Every seeded fuzzer of the house in one table: `make test` runs each for a moment, `make fuzz` for as long as asked.
//!
//! A fuzzer is an ordinary function `fn(seed, iterations)` of the crate that it attacks; it panics with the seed in the
//! message when an invariant breaks. A target that is not listed here is found by the tidy test.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// One fuzzer.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its path without the crate's prefix: `sip::wire`.
    pub name: &'static str,
    /// Runs so many iterations from that seed; panics with the seed in the message on a broken invariant.
    pub run: fn(seed: u64, iterations: u64),
}

/// Every fuzzer of the house.
pub static TARGETS: &[Target] = &[
    Target { name: "sip::datagrams", run: ark_sip::fuzz::wire::datagrams },
    Target { name: "sip::streams", run: ark_sip::fuzz::wire::streams },
    Target { name: "sip::round_trips", run: ark_sip::fuzz::wire::round_trips },
    Target { name: "sip::fields", run: ark_sip::fuzz::wire::fields },
    Target { name: "media::rtp", run: ark_media::fuzz::rtp },
    Target { name: "media::rtcp", run: ark_media::fuzz::rtcp },
    Target { name: "media::sdp", run: ark_media::fuzz::sdp },
    Target { name: "media::dtmf", run: ark_media::fuzz::dtmf },
    Target { name: "media::session", run: ark_media::fuzz::session },
    Target { name: "media::recorder", run: ark_media::fuzz::recorder },
    Target { name: "media::codecs", run: ark_media::fuzz::codecs },
    Target { name: "media::gate", run: ark_media::fuzz::gate },
    Target { name: "media::transcoder", run: ark_media::fuzz::transcoder },
    Target { name: "media::playout", run: ark_media::fuzz::playout },
    Target { name: "dialplans::callers", run: ark_dialplans::fuzz::callers },
    Target { name: "dialplans::sources", run: ark_dialplans::fuzz::sources },
    Target { name: "dialplans::say_rules", run: ark_dialplans::fuzz::say_rules },
    Target { name: "dialplans::said", run: ark_dialplans::fuzz::said },
    Target { name: "store::stories", run: ark_store::fuzz::stories },
    Target { name: "sip::ua::pair", run: ark_sip::fuzz::ua::pair },
    Target { name: "sip::ua::chaos", run: ark_sip::fuzz::ua::chaos },
];

/// A fuzzer that must fail: it shows that a broken invariant is seen, reported with its seed, and counted.
pub static CANARY: Target = Target { name: "canary", run: canary };

/// Breaks on the first input that holds two equal neighbouring bytes, which a few hundred inputs always contain.
fn canary(seed: u64, iterations: u64) {
    let mut random = SplitMix(seed);
    for iteration in 0..iterations {
        let bytes = random.next_u64().to_be_bytes();
        assert!(
            bytes.windows(2).all(|pair| pair[0] != pair[1]),
            "canary: equal neighbours in {bytes:02x?} (seed {seed}, iteration {iteration})"
        );
    }
}

/// The generator of Steele, Lea and Flood (2014): one word of state, every seed is good.
#[derive(Clone, Debug)]
pub struct SplitMix(pub u64);

impl SplitMix {
    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// What a run of one target came to.
#[derive(Debug)]
pub struct Outcome {
    /// Rounds begun, each with a seed of its own.
    pub rounds: u64,
    /// Iterations done.
    pub iterations: u64,
    /// Wall time.
    pub took: Duration,
    /// The round that broke an invariant.
    pub broken: Option<Broken>,
}

/// What it takes to see it again: `ARK_SEED={seed} ARK_ITERATIONS={iterations} make fuzz`.
#[derive(Debug)]
pub struct Broken {
    /// The seed of the round.
    pub seed: u64,
    /// How many iterations the round had.
    pub iterations: u64,
    /// What the fuzzer said.
    pub message: String,
}

/// One round.
pub fn replay(target: &Target, seed: u64, iterations: u64) -> Outcome {
    let began = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(seed, iterations)));
    let broken = result.err().map(|panic| Broken { seed, iterations, message: message(panic.as_ref()) });
    Outcome { rounds: 1, iterations, took: began.elapsed(), broken }
}

/// Runs one target for about `budget`, at least one round: rounds of growing size, so that a quick target does much and
/// a slow one still ends in time. The first round has the given seed itself.
pub fn run(target: &Target, seed: u64, budget: Duration) -> Outcome {
    const FIRST_ROUND: u64 = 64;
    const ROUND_MAX: u64 = 1 << 16;
    let began = Instant::now();
    let mut seeds = SplitMix(seed);
    let mut total = Outcome { rounds: 0, iterations: 0, took: Duration::ZERO, broken: None };
    let (mut seed, mut size) = (seed, FIRST_ROUND);
    loop {
        let round = replay(target, seed, size);
        total.rounds += 1;
        total.iterations += size;
        total.took = began.elapsed();
        total.broken = round.broken;
        if total.broken.is_some() || total.took >= budget {
            return total;
        }
        // A round is a tenth of the budget at most, so that the overrun is small.
        if round.took * 20 < budget {
            size = (size * 2).min(ROUND_MAX);
        }
        seed = seeds.next_u64();
    }
}

/// What `ARK_SEED` and `ARK_ITERATIONS` ask to see again.
pub fn replay_from_environment() -> Option<(u64, u64)> {
    const ITERATIONS: u64 = 1 << 14;
    let number = |name: &str| std::env::var(name).ok().and_then(|text| parse_seed(&text));
    number("ARK_SEED").map(|seed| (seed, number("ARK_ITERATIONS").unwrap_or(ITERATIONS)))
}

/// A seed that no earlier run had.
pub fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    SplitMix(now.map_or(1, |since| since.as_nanos() as u64)).next_u64()
}

/// A seed as a person writes it: decimal, or hexadecimal with `0x`.
pub fn parse_seed(text: &str) -> Option<u64> {
    let text = text.trim();
    text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok())
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".into())
}
