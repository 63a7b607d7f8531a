//! The samples, and an adapter that was written from the standard alone, through the conformance kit: `ark channel test` as people
//! run it.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ark_tests::{
    kit::{Process, SOON, TempDir, ark_binary, installed, request, root, skip},
    need,
};
use serde_json::Value;

fn port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it has an address").port()
}

/// What the adapter's channel and the adapter know each other by.
const TOKEN: &str = "a-token-of-the-channel";

/// The stand-in of a channel beside the adapter at this port: docs/adapters/channel.py, and where it is.
fn channel(folder: &Path, adapter: u16) -> (Process, String) {
    let at = port();
    let mut command = Command::new("python3");
    command.arg(root().join("docs/adapters/channel.py")).arg(at.to_string());
    command.arg(format!("http://127.0.0.1:{adapter}/webhook")).arg(folder.join("channel.db")).arg(TOKEN);
    let mut process = Process::start("channel.py", &mut command);
    let until = Instant::now() + SOON;
    while request((Ipv4Addr::LOCALHOST, at).into(), "GET", "/outbox", None, None).is_none() {
        assert!(process.is_running() && Instant::now() < until, "the channel does not start");
        process.wait_for_news(Duration::from_millis(20));
    }
    (process, format!("http://127.0.0.1:{at}"))
}

/// Runs `ark channel test` on the adapter that this command starts; its exit code and what it wrote into `folder`.
fn test(folder: &Path, start: &str, more: &[&str]) -> (Option<i32>, String) {
    let (at, state) = (port(), TempDir::new("adapter-channel"));
    let (_channel, address) = channel(state.path(), at);
    let output = Command::new(ark_binary())
        .env("CHANNEL", address)
        .env("TOKEN", TOKEN)
        .args(["channel", "test", &format!("http://127.0.0.1:{at}"), "--start", start, "--lang", "en"])
        .args(["--rounds", "6", "--report", folder.to_str().unwrap()])
        .args(more)
        .output()
        .expect("ark runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    )
}

fn proves(start: &str, level: &str) -> TempDir {
    let folder = TempDir::new("adapter-kit");
    let (code, text) = test(folder.path(), start, &["--level", level, "--soak", "3"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&format!("proved up to: {level}")), "{text}");
    folder
}

#[test]
fn the_python_sample_holds_up_to_load() {
    need!("adapter_samples", "python3");
    let folder = proves(&format!("exec python3 {}", root().join("docs/adapters/adapter.py").display()), "L4");
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("report.json")).unwrap()).unwrap();
    assert_eq!((&report["adapter"]["id"], &report["reached"]), (&"sample-python".into(), &"L4".into()));
    assert!(report["measured"]["messages in"].is_string(), "{report}");
    let junit = std::fs::read_to_string(folder.path().join("report.xml")).unwrap();
    assert!(junit.contains("<testsuite name=\"adapter L3\" tests=\"3\" failures=\"0\" skipped=\"0\">"), "{junit}");
    assert!(std::fs::read_to_string(folder.path().join("badge.svg")).unwrap().contains(">L4</text>"));
}

#[test]
fn a_report_is_signed_and_a_broken_adapter_is_exit_code_1() {
    need!("adapter_samples", "python3");
    let folder = TempDir::new("adapter-kit");
    let sample = std::fs::read_to_string(root().join("docs/adapters/adapter.py")).unwrap();
    let broken = folder.path().join("broken.py");
    std::fs::copy(root().join("docs/adapters/ark.py"), folder.path().join("ark.py")).unwrap();
    std::fs::write(&broken, sample.replace("\"per_thread\"", "\"mostly\"")).unwrap();
    let (key, json) = (folder.path().join("site.key"), folder.path().join("signed.json"));
    let more = ["--level", "L0", "--sign-key", key.to_str().unwrap(), "--json", json.to_str().unwrap()];
    let (code, text) = test(&folder.path().join("report"), &format!("exec python3 {}", broken.display()), &more);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("FAIL  A-MAN-1") && text.contains("standard: `GET {url}/.well-known/ark-adapter` MUST give"),
        "{text}"
    );
    let check = |file: &Path, more: &[&str]| {
        let output =
            Command::new(ark_binary()).args(["channel", "report", file.to_str().unwrap()]).args(more).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(check(&json, &[]).0, Some(1), "whole, and the adapter did not pass");
    let lie = std::fs::read_to_string(&json).unwrap().replace("\"passed\": false", "\"passed\": true");
    std::fs::write(&json, lie).unwrap();
    let (code, words) = check(&json, &[]);
    assert!(code == Some(1) && words.contains("the report was changed"), "{words}");
    let (code, _) = test(&folder.path().join("none"), "exit 3", &["--level", "L0"]);
    assert_eq!(code, Some(2), "there is no adapter");
}

/// A Node.js that runs TypeScript by itself: 22.18 or later in the PATH, or the one that `make test` brings.
fn node() -> Option<PathBuf> {
    let own = root().join("target/node/node_modules/node/bin/node");
    [PathBuf::from("node"), own].into_iter().find(|node| {
        let output = Command::new(node).args(["-p", "process.features.typescript || ''"]).output();
        output.is_ok_and(|output| output.stdout.starts_with(b"strip"))
    })
}

/// The one that the zoo breaks passes as it stands: with queues of its own and the hooks within itself.
#[test]
fn the_zoos_adapter_survives_kills() {
    need!("adapter_samples", "python3");
    proves(&format!("exec python3 {}", root().join("tests/live/zoo_adapter.py").display()), "L3");
}

/// What a reader has before them: their own part of a sample, and the standard's.
#[test]
fn samples_are_short_enough_to_be_read() {
    let yours = ["adapter.py", "adapter.ts", "adapter.rs", "adapter_amqp.py"].map(|name| (name, 100));
    for (name, most) in yours.into_iter().chain([("ark.py", 100), ("ark.ts", 100), ("ark.rs", 135)]) {
        let text = std::fs::read_to_string(root().join("docs/adapters").join(name)).unwrap();
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= most, "{name} has {lines} lines, {most} are allowed");
    }
}

#[test]
fn the_typescript_sample_survives_kills() {
    let Some(node) = node() else {
        return skip("adapter_samples", "no node that runs TypeScript, 22.18 or later (make test installs it)");
    };
    proves(
        &format!("exec {} --no-warnings {}", node.display(), root().join("docs/adapters/adapter.ts").display()),
        "L3",
    );
}

#[test]
fn the_rust_sample_survives_kills() {
    // Cargo builds the examples of a package with all its tests, beside their folder; with one test alone it does not.
    let tests = std::env::current_exe().unwrap();
    let example = tests.ancestors().nth(2).unwrap().join("examples/adapter");
    if !example.is_file() {
        let build =
            Command::new(env!("CARGO")).args(["build", "--package", "ark-tests", "--example", "adapter"]).status();
        assert!(build.is_ok_and(|status| status.success()), "the example is built");
    }
    proves(&format!("exec {}", example.display()), "L3");
}

#[test]
fn an_adapter_written_from_the_standard_alone_survives_kills() {
    if !installed("go") {
        return skip("adapter_samples", "go is not installed (make test installs it)");
    }
    let folder = TempDir::new("adapter-go");
    let binary = folder.path().join("adapter");
    let build = Command::new("go")
        .args(["build", "-o", binary.to_str().unwrap(), "main.go"])
        .current_dir(root().join("tests/live/adapter_go"))
        .env("GOCACHE", folder.path().join("cache"))
        .env("GOFLAGS", "-mod=mod")
        .output()
        .expect("go runs");
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    proves(&format!("exec {}", binary.display()), "L3");
}
