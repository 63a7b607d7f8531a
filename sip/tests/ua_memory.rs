//! What calls cost while they live and after they ended, counted by the allocator.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

mod kit;

use ark_sip::ua::CallEvent;
use kit::{ANSWER, OFFER, Stage, request};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

/// Counts the bytes that are allocated.
struct Counting;

static BYTES: AtomicIsize = AtomicIsize::new(0);

#[allow(unsafe_code, reason = "a counting allocator is the only way to see every byte")]
// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One complete call: INVITE, 200, ACK, BYE.
fn call(stage: &mut Stage, n: u32) {
    let own = |text: String| text.replace("call-1", &format!("call-{n}"));
    stage.hear(&own(request("INVITE", &format!("z9hG4bKi{n}"), "", 1, "", OFFER)));
    let (key, _) = stage.incoming();
    stage.ua.answer(stage.now, key, ANSWER.repeat(20).into_bytes());
    stage.drain();
    let tag = stage.said.back().unwrap().to_tag();
    stage.hear(&own(request("ACK", &format!("z9hG4bKa{n}"), &tag, 1, "", "")));
    stage.hear(&own(request("BYE", &format!("z9hG4bKb{n}"), &tag, 2, "", "")));
    assert!(matches!(stage.event().1, CallEvent::Confirmed { .. }));
    assert!(matches!(stage.event().1, CallEvent::Ended { .. }));
    stage.said.clear();
}

fn bytes() -> isize {
    BYTES.load(Ordering::Relaxed)
}

#[test]
fn an_ended_call_keeps_less_than_2_kib_and_after_a_burst_all_of_it_comes_back() {
    let mut stage = Stage::new();
    call(&mut stage, 0);
    stage.wait_ms(40_000);
    let idle = bytes();
    for n in 0..5_000 {
        call(&mut stage, n);
    }
    let each = (bytes() - idle) / 5_000;
    assert!(each < 2_048, "an ended call keeps {each} bytes");
    let told = stage.ua.memory_bytes() as isize / 5_000;
    assert!((each - told).abs() < 512, "memory_bytes says {told}, the allocator {each}");
    stage.wait_ms(40_000);
    let kept = bytes() - idle;
    assert!(kept < 64 * 1024, "{kept} bytes did not come back");
    assert_eq!((stage.ua.calls(), stage.ua.transactions(), stage.ua.deadline()), (0, 0, None));
    // An INVITE that nobody answers yet, its message included: the attacker's price.
    let before = bytes();
    for n in 0..1_000 {
        stage.hear(&request("INVITE", &format!("z9hG4bKi{n}"), "", 1, "", OFFER).replace("call-1", &format!("c{n}")));
        stage.told.clear();
        stage.said.clear();
    }
    let each = (bytes() - before) / 1_000;
    assert!(each < 4_096, "an unanswered INVITE holds {each} bytes");
}
