//! `ark demo --once`, as it is typed, in a folder where nothing is.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::io::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};

/// Whether `espeak-ng` is here; with `ARK_CI=1` it has to be.
fn can_speak(test: &str) -> bool {
    let here = Command::new("espeak-ng").arg("--version").output().is_ok();
    if !here {
        assert!(std::env::var("ARK_CI").as_deref() != Ok("1"), "{test} cannot run: espeak-ng is not installed");
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: espeak-ng is not installed (make test installs it)");
    }
    here
}

fn demo(folder: &str, arguments: &[&str]) -> Output {
    let demos = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo");
    let (folder, cache) = (demos.join(folder), demos.join("cache"));
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ark"));
    command
        .arg("demo")
        .args(arguments)
        .current_dir(folder)
        .env("XDG_CACHE_HOME", cache)
        .env_remove("ARK_LOG")
        .output()
        .unwrap()
}

/// These stand in the text, in this order.
fn assert_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some(at) = rest.find(part) else { panic!("`{part}` is not there, or too early, in:\n{text}") };
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn a_caller_walks_the_shipped_hotline_and_every_step_is_told() {
    if !can_speak("demo_once") {
        return;
    }
    // Somebody has the usual port, or we have it now: either way the demo takes another one and says so.
    let taken = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5060));
    let output = demo("en", &["--once", "--lang", "en"]);
    drop(taken);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    assert_order(
        &out,
        &[
            "port 5060 is taken by another program",
            "call.ringing        +1 ",
            "calls 95188",
            "call.answered",
            "Ark: \"您好，这里是方舟客服热线",
            "the plan enters `language`",
            "the caller presses 2",
            "Ark: \"For your account, press 1.",
            "the caller presses 2",
            "order: 4711",
            "recording.started   a message is recorded",
            "recording.finished",
            "Ark: \"Your message is saved. Goodbye.\"",
            "call.ended",
            "events, all of them in the log",
            "The caller left a message of",
            "DingTalk 钉钉 shows the customer",
            "Anna hands them to Ben",
            "[a picture]",
            "agent:anna offers the customer to agent:ben",
            "agent:ben takes it",
            "the invoice is out",
            "agent:ben closes the session",
            "the customer says 5 of 5",
        ],
    );
    assert!(!out.contains("2025550143"), "a number in full:\n{out}");
    // What was kept was temporary.
    let folder = out.lines().find_map(|line| line.trim().strip_prefix("site    ")).unwrap();
    assert!(!Path::new(folder.split(" (removed").next().unwrap()).exists(), "{folder}");
}

#[test]
fn a_folder_that_cannot_be_made_is_said_by_name() {
    let output = demo("unwritable", &["--once", "--data", "/proc/nowhere"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("/proc/nowhere") && said.contains("--data"), "{said}");
}
