//! What reading a message costs: allocations counted, and time that grows with the size and not with its square.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use ark_sip::types::Via;
use ark_sip::wire::{HeaderName, Message, StreamFramer, parse_datagram};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator unchanged; counting touches a thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATIONS.get();
    let result = work();
    (ALLOCATIONS.get() - before, result)
}

fn corpus(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/corpus/{name}.sip", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The ten values, and the SDP's media lines.
fn read_ten_values(message: &Message) -> usize {
    let mut sum = message.method().map_or(0, |method| method.as_bytes().len());
    sum += message.vias().flatten().count();
    sum += message.top_via().and_then(Result::ok).and_then(|via: Via<'_>| via.branch()).map_or(0, <[u8]>::len);
    sum += message.from().unwrap().tag().map_or(0, <[u8]>::len);
    sum += message.to().unwrap().tag().map_or(0, <[u8]>::len);
    sum += message.call_id().map_or(0, <[u8]>::len);
    let cseq = message.cseq().unwrap();
    sum += cseq.number as usize + cseq.method.as_bytes().len();
    sum += message.contacts().flatten().count();
    sum += message.body().len();
    let sdp = message.sdp().unwrap_or_default();
    sum + sdp.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"m=")).count()
}

#[test]
fn a_carriers_invite_is_read_with_under_ten_allocations() {
    for name in ["ims-headers", "sdp-and-isup", "name-in-gbk", "tortuous", "hundred-and-forty-headers"] {
        let bytes = corpus(name);
        let (count, message) = allocations(|| parse_datagram(&bytes).unwrap());
        let (more, sum) = allocations(|| read_ten_values(&message));
        assert!(sum > 0 && count + more < 10, "{name}: {count} to parse, {more} to read");
        assert_eq!(more, 0, "{name}: views borrow");
    }
}

#[test]
fn a_stream_costs_no_more_than_a_datagram() {
    let bytes = corpus("ims-headers");
    let mut framer = StreamFramer::new();
    framer.push(&bytes);
    framer.next_message().unwrap().unwrap();
    let (count, _) = allocations(|| {
        framer.push(&bytes);
        framer.next_message().unwrap().unwrap()
    });
    assert!(count < 10, "{count} allocations");
}

fn with_header(line: &str) -> Vec<u8> {
    format!(
        "OPTIONS sip:95188@hotline.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
         From: <sip:a@ark.test>;tag=1\r\nTo: <sip:b@ark.test>\r\nCall-ID: h\r\n\
         CSeq: 1 OPTIONS\r\n{line}\r\nl: 0\r\n\r\n"
    )
    .into_bytes()
}

/// The shortest of some runs.
#[expect(clippy::disallowed_methods, reason = "it is time itself that is measured")]
fn quickest(bytes: &[u8]) -> Duration {
    let once = || {
        let began = Instant::now();
        if let Ok(message) = parse_datagram(bytes) {
            black_box(message.contacts().flatten().filter_map(|contact| contact.display()).count());
            black_box(message.header_values(HeaderName::Accept).count() + read_ten_values(&message));
            black_box(
                message.header_values(HeaderName::WwwAuthenticate).map(ark_sip::types::AuthParams::parse).count(),
            );
        }
        began.elapsed()
    };
    (0..9).map(|_| once()).min().unwrap()
}

#[test]
fn eight_times_the_bytes_cost_about_eight_times_the_time() {
    let shapes: [(&str, &str); 9] = [
        ("contacts in one line", "<sip:c@ark.test>;q=0.5, "),
        ("contacts in quotes", "\"a\\\"b\" <sip:c@ark.test>, "),
        ("commas", ",,,,,,,,"),
        ("semicolons", ";;;;;;;;"),
        ("quotes", "\"\" "),
        ("escaped quotes", "\"\\\" , "),
        ("brackets", "<<<<>>>>"),
        ("folds", "x\r\n "),
        ("blanks", "        "),
    ];
    for (name, piece) in shapes {
        for header in ["Contact", "Via", "From", "Accept", "WWW-Authenticate"] {
            let line = |size: usize| with_header(&format!("{header}: {}", piece.repeat(size / piece.len())));
            let (small, large) = (line(7_000), line(56_000));
            // A fifth of a millisecond is below what a shared machine measures.
            let (few, many) = (quickest(&small).max(Duration::from_micros(200)), quickest(&large));
            assert!(many < few * 24, "{name} in {header}: {few:?} for 7 kB, {many:?} for 56 kB");
        }
    }
}

#[test]
fn a_large_message_in_single_bytes_is_read_once() {
    let body = "x".repeat(30_000);
    let head = String::from_utf8(with_header(&format!("Accept: {}", "a/b, ".repeat(4_000)))).unwrap();
    let bytes = head.replace("l: 0", "l: 30000") + &body;
    let mut framer = StreamFramer::new();
    let (count, messages) = allocations(|| {
        let mut messages = 0;
        for byte in bytes.as_bytes().chunks(1) {
            framer.push(byte);
            messages += usize::from(framer.next_message().is_some_and(|result| result.is_ok()));
        }
        messages
    });
    assert_eq!(messages, 1);
    assert!(count < 50, "{count} allocations: the head was read again and again");
}
