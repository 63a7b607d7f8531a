//! What an open conversation costs: the time to open one from its log, and the bytes that it holds while it is open.
//!
//! `cargo run --release -p ark-conversation --example conversation_bench [CONVERSATIONS]`
//!
//! Aims: opening one under 5 ms, 100,000 open in 1 GiB. The log is read from JSON text, as a store gives it.
#![allow(clippy::print_stdout, reason = "a bench prints")]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::sync::Arc;
use std::time::Instant;

use ark_conversation::event::{OfferMode, Part};
use ark_conversation::machine::{Conversation, Input, Policy};
use ark_conversation::samples::{at, message_in};
use ark_conversation::{CloudEvent, ConversationId, Owner, Record, Tenant, source};

/// A log of a customer and two agents with `messages` messages, half of them the customer's.
fn log(policy: &Arc<Policy>, id: ConversationId, messages: usize) -> Vec<Record> {
    let mut machine = Conversation::new(policy.clone(), Tenant::MAIN, id);
    let thread = source::thread(&Tenant::MAIN, "web", "shop", &format!("visitor-{id}"));
    let anna = || Owner::Agent("anna".to_owned());
    for n in 0..messages {
        let now = at(i64::try_from(n).expect("a small number") * 1_000);
        let text = "I ordered a kettle on Monday and it has not come yet. Can you see where it is?";
        let input = match n {
            1 => Input::Take { by: anna(), expected_epoch: 1 },
            n if n % 2 == 0 => {
                Input::Inbound(CloudEvent::new(format!("web:{n}"), thread.as_str(), now, message_in("visitor", text)))
            }
            n => Input::Outbound {
                author: anna(),
                epoch: 2,
                key: format!("01KAV5DBQW4Z0R6C1HN9M2PJ{n:02}"),
                leg: None,
                parts: vec![Part::text(text)],
                reply_to: None,
            },
        };
        machine.handle(now, input).expect("a good input");
    }
    let (by, to) = (anna(), Owner::Agent("ben".to_owned()));
    let now = at(i64::try_from(messages).expect("a small number") * 1_000);
    let offer = Input::Offer { by, expected_epoch: 2, to, mode: OfferMode::Warm, ttl: None, note: None };
    machine.handle(now, offer).expect("a good input");
    let commit = machine.poll().expect("events");
    (1..).zip(commit.events).map(|(seq, event)| event.into_record(seq)).collect()
}

/// Resident bytes of this process, where the system tells (Linux).
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()? * 1_024)
}

fn main() {
    let count = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(100_000_usize);
    let policy = Arc::new(Policy::default());

    println!("open one from JSON text (aim: under 5 ms)");
    for messages in [10, 100, 200] {
        let log = log(&policy, ConversationId::new(1, 1), messages);
        let text: Vec<String> = log.iter().map(|record| serde_json::to_string(record).expect("a record")).collect();
        let rounds = 200_u32;
        let begun = Instant::now();
        for _ in 0..rounds {
            let records: Vec<Record> = text.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            let open = Conversation::from_log(policy.clone(), Tenant::MAIN, ConversationId::new(1, 1), &records);
            std::hint::black_box(open.expect("a whole log"));
        }
        let parsed = begun.elapsed() / rounds;
        let begun = Instant::now();
        for _ in 0..rounds {
            let open = Conversation::from_log(policy.clone(), Tenant::MAIN, ConversationId::new(1, 1), &log);
            std::hint::black_box(open.expect("a whole log"));
        }
        let folded = begun.elapsed() / rounds;
        println!("  {:>5} records: {parsed:>10.1?} with reading, {folded:>10.1?} the fold alone", log.len());
    }

    println!("open conversations (aim: 100,000 in 1 GiB)");
    for messages in [20, 100] {
        let before = resident_bytes();
        let open: Vec<Conversation> = (0..count)
            .map(|n| {
                let id = ConversationId::new(1, n as u128);
                Conversation::from_log(policy.clone(), Tenant::MAIN, id, &log(&policy, id, messages)).expect("a log")
            })
            .collect();
        match (before, resident_bytes()) {
            (Some(before), Some(after)) => {
                let each = after.saturating_sub(before) / count as u64;
                println!("  {count} of {messages} messages: {each} bytes each, {} MiB", (after - before) >> 20);
            }
            _ => println!("  this system does not tell the resident size"),
        }
        drop(open);
    }
}
