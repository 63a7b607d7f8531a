//! What live tests stand on: a gateway of their own, a phone, real peers, and nothing left running behind them.
//!
//! Nothing here sleeps: it waits for a line, a packet or an event, with a deadline, and says what it waited for.

mod audio;
mod gateway;
mod http;
mod phone;
mod phone_media;
mod process;

pub use audio::{RATE_HZ, dominant_hz, read_wav, tone, write_wav};
pub use gateway::{Gateway, Setup, Timeline, ark_binary, conversation_id};
pub use http::{Answer, request};
pub use phone::{Ended, Phone};
pub use process::{Process, TempDir, installed};

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
#[expect(clippy::print_stdout, reason = "what is skipped is said")]
pub fn skip(name: &str, reason: &str) {
    assert!(std::env::var("ARK_CI").as_deref() != Ok("1"), "{name} cannot run: {reason}");
    println!("SKIPPED {name}: {reason}");
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
