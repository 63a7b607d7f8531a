//! What live tests stand on: a gateway of their own, a phone, real peers, and nothing left running behind them.
//!
//! Nothing here sleeps: it waits for a line, a packet or an event, with a deadline, and says what it waited for.

mod audio;
mod baresip;
mod browser;
mod gateway;
mod http;
mod phone;
mod phone_media;
mod process;
mod sipp;
mod tail;
mod turn_server;

pub use audio::{RATE_HZ, dominant_hz, read_wav, tone, write_wav};
pub use baresip::Baresip;
pub use browser::{Browser, Page};
pub use gateway::{Gateway, Setup, Timeline, ark_binary, conversation_id, texts};
pub use http::{Answer, request, request_with};
pub use phone::{Ended, Phone};
pub use process::{Process, TempDir, installed};
pub use sipp::{Counters, Sipp};
pub use tail::Tail;
pub use turn_server::TurnServer;

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// How long a test waits for something that should come at once: long enough for two busy cores.
pub const SOON: std::time::Duration = std::time::Duration::from_secs(15);

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the workspace").to_owned()
}

/// Says that a test cannot run here, in the words that `make test` collects. With `ARK_CI=1` it fails instead.
///
/// # Panics
/// With `ARK_CI=1`.
pub fn skip(name: &str, reason: &str) {
    assert!(std::env::var("ARK_CI").as_deref() != Ok("1"), "{name} cannot run: {reason}");
    // Not `println!`: the test harness would keep it to itself as long as the test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {reason}");
}

/// Returns from the test with [`skip`] when one of the programs is not installed.
#[macro_export]
macro_rules! need {
    ($name:expr, $($program:expr),+) => {
        $(if !$crate::kit::installed($program) {
            $crate::kit::skip($name, concat!($program, " is not installed (make test installs it)"));
            return;
        })+
    };
}

/// The plan `tests/live/plan.toml` with its tones: `welcome` is 440 Hz, `second` 1000 Hz, `leave` 600 Hz.
///
/// # Panics
/// When the plan's file is gone.
pub fn tone_site() -> Setup {
    let plan = std::fs::read_to_string(root().join("tests/live/plan.toml")).expect("tests/live/plan.toml");
    let milliseconds = std::time::Duration::from_millis;
    Setup::with_plan(&plan)
        .with_recording("welcome.wav", tone(440.0, milliseconds(8_000)))
        .with_recording("second.wav", tone(1_000.0, milliseconds(1_000)))
        .with_recording("leave.wav", tone(600.0, milliseconds(500)))
}
