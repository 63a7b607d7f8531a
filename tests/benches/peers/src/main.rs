//! Parsers beside each other in one run: ark-sip, rsipstack and rsip, each reading the same ten values and the SDP's
//! media lines of the same messages, interleaved round by round so that a noisy machine is noisy for all.
//!
//! `cargo run --release --manifest-path tests/benches/peers/Cargo.toml [rounds]`

mod messages;
mod readers;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use readers::{READERS, Reader};

/// Parses in one round of one parser.
const ROUND: u32 = 10_000;
const ROUNDS: usize = 9;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only counters are added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        BYTES.fetch_add(size.saturating_sub(layout.size()) as u64, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations and bytes asked for by one reading.
fn allocations(reader: &Reader, message: &[u8]) -> (u64, u64) {
    black_box((reader.read)(message));
    let (count, bytes) = (ALLOCATIONS.load(Relaxed), BYTES.load(Relaxed));
    black_box((reader.read)(message));
    (ALLOCATIONS.load(Relaxed) - count, BYTES.load(Relaxed) - bytes)
}

fn messages_a_second(reader: &Reader, message: &[u8]) -> f64 {
    let began = Instant::now();
    for _ in 0..ROUND {
        black_box((reader.read)(black_box(message)));
    }
    f64::from(ROUND) / began.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    println!("Each reads ten values (method or status, Vias, top branch, tags, Call-ID, CSeq, Contacts, body length)");
    println!("and the SDP's media lines, every time. Medians of {rounds} interleaved rounds of {ROUND};");
    println!("only the ratios carry over to another machine.");
    for (name, message) in messages::all() {
        let expected = (READERS[0].read)(&message);
        for reader in READERS {
            assert_eq!((reader.read)(&message), expected, "{} reads {name} differently", reader.name);
        }
        let mut rates = vec![Vec::new(); READERS.len()];
        for round in 0..rounds {
            for turn in 0..READERS.len() {
                let at = (turn + round) % READERS.len();
                rates[at].push(messages_a_second(&READERS[at], &message));
            }
        }
        let rates: Vec<f64> = rates.into_iter().map(median).collect();
        println!("\n{name}, {} bytes", message.len());
        for (reader, rate) in READERS.iter().zip(&rates) {
            let (count, bytes) = allocations(reader, &message);
            println!(
                "  {:<19} {:>9.0} messages/s  {:>6.2} µs  {count:>4} allocations  {bytes:>6} bytes  ark-sip is {:.1}x",
                reader.name,
                rate,
                1e6 / rate,
                rates[0] / rate
            );
        }
    }
}
