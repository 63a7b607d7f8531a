//! What a routing decision costs with 1,000 agents and 10,000 waiting:
//! `cargo run --release -p ark-conversation --example routing_bench [AGENTS] [WAITING]`.
//!
//! Aim: a decision under 1 ms. Measured on two cores with five builds beside it: 12 us for who of all is next (99 %: 64 us), 42 us
//! for somebody who joins, 17 us for a place and its estimate; what is slower was waiting for a core.
#![allow(clippy::print_stdout, reason = "a bench prints")]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ark_conversation::ConversationId;
use ark_conversation::routing::{AgentProfile, GroupStep, Input, Kind, Needs, Output, Presence, QueueConfig, Router};
use jiff::{SignedDuration, Timestamp};

const QUEUES: u64 = 40;
const GROUPS: u64 = 20;

fn id(n: u64) -> ConversationId {
    ConversationId::new(n, u128::from(n))
}

/// Forty queues, each with a second group after a while; needs of three languages and four skills.
fn join(n: u64) -> Input {
    let language = ["zh", "en", "yue"][usize::try_from(n % 3).unwrap_or(0)];
    let skill = ["refunds", "cards", "loans", "abroad"][usize::try_from(n / 3 % 4).unwrap_or(0)];
    Input::Join {
        item: id(n),
        queue: format!("queue{}", n % QUEUES),
        kind: if n.is_multiple_of(4) { Kind::Chat } else { Kind::Call },
        priority: i32::try_from(n % 5).unwrap_or(0),
        since: None,
        needs: Needs { language: Some((language.to_owned(), 2)), skills: BTreeMap::from([(skill.to_owned(), 2)]) },
        last_agent: Some(format!("agent{}", n % 1_000)),
        epoch: 1,
    }
}

fn agent(n: u64) -> AgentProfile {
    let level = |k: u64| u8::try_from((n + k) % 5 + 1).unwrap_or(1);
    AgentProfile {
        groups: (0..3).map(|k| format!("group{}", (n + k * 7) % GROUPS)).collect(),
        skills: ["refunds", "cards", "loans", "abroad"]
            .iter()
            .zip(0..)
            .map(|(s, k)| ((*s).to_owned(), level(k)))
            .collect(),
        languages: ["zh", "en", "yue"].iter().zip(1..).map(|(l, k)| ((*l).to_owned(), level(k))).collect(),
        ..AgentProfile::default()
    }
}

/// Takes an input in, counts its offers, accepts them; gives how long the input took.
fn time(router: &mut Router, now: Timestamp, input: Input, served: &mut Vec<ConversationId>) -> Duration {
    let begin = Instant::now();
    let _ = router.handle(now, input);
    let took = begin.elapsed();
    let offers: Vec<(u64, ConversationId)> = std::iter::from_fn(|| router.poll())
        .filter_map(|output| match output {
            Output::Offer { offer, item, .. } => Some((offer, item)),
            _ => None,
        })
        .collect();
    for (offer, item) in offers {
        if router.handle(now, Input::Accepted { offer }).is_ok() {
            served.push(item);
        }
    }
    took
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    println!("{what:<52} {:8.1} us median {:8.1} us p99 {:8.1} us slowest", at(50), at(99), at(100));
}

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse::<u64>().ok());
    let (agents, waiting) = (args.next().unwrap_or(1_000), args.next().unwrap_or(10_000));
    let mut now = Timestamp::UNIX_EPOCH;
    let mut router = Router::new();
    let mut served = Vec::new();
    for n in 0..QUEUES {
        let mut config = QueueConfig::new(&format!("queue{n}"), &format!("group{}", n % GROUPS));
        config
            .groups
            .push(GroupStep { group: format!("group{}", (n + 1) % GROUPS), after: SignedDuration::from_secs(60) });
        config.wrap_up = SignedDuration::ZERO;
        let _ = router.handle(now, Input::Queue(config));
    }
    for n in 0..agents {
        let _ = router.handle(now, Input::Agent { name: format!("agent{n}"), profile: agent(n) });
        let _ = router.handle(now, Input::Presence { agent: format!("agent{n}"), presence: Presence::Ready });
    }
    let mut next = 0;
    let mut joined = Vec::new();
    let lines = |router: &Router| router.queues().iter().map(|queue| queue.waiting as u64).sum::<u64>();
    while lines(&router) < waiting {
        next += 1;
        now += SignedDuration::from_millis(20);
        let took = time(&mut router, now, join(next), &mut served);
        if next > 2 * agents {
            joined.push(took);
        }
    }
    println!("{agents} agents, {} waiting in {QUEUES} queues, {} with agents", lines(&router), served.len());
    print("somebody joins while everybody is busy", joined);
    let mut finished = Vec::new();
    for _ in 0..20_000 {
        now += SignedDuration::from_millis(20);
        let Some(done) = (!served.is_empty()).then(|| served.remove(0)) else { break };
        finished.push(time(&mut router, now, Input::Finished { item: done }, &mut served));
        next += 1;
        let _ = time(&mut router, now, join(next), &mut served);
    }
    print("an agent is free: who of all is next", finished);
    let mut signed = Vec::new();
    for n in 0..agents.min(1_000) {
        let _ =
            router.handle(now, Input::Presence { agent: format!("agent{n}"), presence: Presence::Away(String::new()) });
        signed.push(time(
            &mut router,
            now,
            Input::Presence { agent: format!("agent{n}"), presence: Presence::Ready },
            &mut served,
        ));
    }
    print("an agent comes back from a pause", signed);
    let places = (1..=1_000).filter_map(|n| {
        let begin = Instant::now();
        router.place(id(next - n)).map(|_| begin.elapsed())
    });
    print("a place and its estimate", places.collect());
}
