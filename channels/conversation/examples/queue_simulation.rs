//! Days of a contact centre by the routing machine's rules: `cargo run --release -p ark-conversation --example queue_simulation
//! [DAYS] [SEED]`.
#![allow(clippy::print_stdout, reason = "a simulation prints")]

use ark_conversation::routing::simulation::Simulation;

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse::<u64>().ok());
    let days = args.next().and_then(|days| u32::try_from(days).ok()).unwrap_or(30);
    let seed = args.next().unwrap_or(95_188);
    let calls = Simulation { seed, days, priorities: Vec::new(), chats: 0.0, missed: 0.0, ..Simulation::default() };
    println!("{days} days, seed {seed}: ten agents, one line of calls, first come first served\n{}\n", calls.run());
    let mixed = Simulation { seed, days, ..Simulation::default() };
    println!(
        "the same with priorities 2 (10 %) and 5 (5 %), a quarter chats (three at once), 3 % of offers not taken\n{}",
        mixed.run()
    );
}
