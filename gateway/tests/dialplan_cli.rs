//! `ark dialplan`, as it is typed.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dialplan_cli").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn shipped() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dialplans/plans/hotline-95188.toml");
    std::fs::read_to_string(file).unwrap()
}

/// The shipped plan with something replaced, in a file.
fn changed(folder: &Path, from: &str, to: &str) -> String {
    let text = shipped();
    assert!(text.contains(from), "{from}");
    std::fs::write(folder.join("plan.toml"), text.replacen(from, to, 1)).unwrap();
    "plan.toml".to_owned()
}

/// Runs `ark dialplan ...` in that folder, with those lines typed.
fn dialplan(folder: &Path, arguments: &[&str], typed: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ark"))
        .arg("dialplan")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that ends before it has read everything is no concern of the writer.
    let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
    child.wait_with_output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

#[test]
fn the_plan_of_the_built_in_site_passes_its_proofs() {
    let output = dialplan(&folder("good"), &["check"], "");
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(out(&output).ends_with("0 errors, 0 warnings\n"), "{}", out(&output));
    assert!(!out(&output).contains('\x1b'), "colour is for terminals");
}

#[test]
fn a_broken_plan_is_told_by_line_and_column_and_ends_with_1() {
    let folder = folder("broken");
    let file = changed(&folder, "human_target = \"to_agent\"", "human_target = \"to_agnt\"");
    let line = 1 + shipped().lines().position(|line| line.starts_with("human_target")).unwrap();
    let output = dialplan(&folder, &["check", &file], "");
    assert_eq!(code(&output), 1);
    let said = out(&output);
    assert!(said.starts_with(&format!("plan.toml:{line}:16: error[E001]")), "{said}");
    assert!(said.contains("| ") && said.contains("^^^^^^^^^") && said.contains("did you mean `to_agent`?"), "{said}");

    let chinese = dialplan(&folder, &["check", "--lang", "zh", &file], "");
    assert!(out(&chinese).contains("错误[E001]"), "{}", out(&chinese));

    let output = dialplan(&folder, &["check", "--json", &file], "");
    assert_eq!(code(&output), 1);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["errors"], 1);
    assert_eq!((&found["diagnostics"][0]["line"], &found["diagnostics"][0]["column"]), (&line.into(), &16.into()));

    let output = dialplan(&folder, &["check", "--sarif", &file, &file], "");
    assert_eq!(code(&output), 1);
    let log: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(log["version"], "2.1.0");
    assert_eq!(log["runs"].as_array().unwrap().len(), 1);
    assert_eq!(log["runs"][0]["results"].as_array().unwrap().len(), 2, "both files");
}

#[test]
fn a_file_that_cannot_be_read_ends_with_2_and_is_named() {
    let output = dialplan(&folder("missing"), &["check", "nowhere.toml"], "");
    assert_eq!(code(&output), 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere.toml: cannot be read"), "{output:?}");
}

#[test]
fn a_plan_by_itself_may_use_any_queue_and_a_plan_of_a_site_only_the_sites() {
    let folder = folder("queues");
    let text = shipped().replace("queue = \"general\"", "queue = \"night\"").replace("queue:general", "queue:night");
    let text = text.replace("callback:general", "callback:night");
    std::fs::write(folder.join("plan.toml"), text).unwrap();
    assert_eq!(code(&dialplan(&folder, &["check", "plan.toml"], "")), 0);
    let site = "[[hotline]]\nnumber = \"95188\"\ndialplan = \"plan.toml\"\n[[queue]]\nname = \"general\"\n";
    std::fs::write(folder.join("site.toml"), site).unwrap();
    let output = dialplan(&folder, &["check", "--config", "site.toml"], "");
    assert_eq!(code(&output), 1, "{output:?}");
    assert!(out(&output).contains("night"), "{}", out(&output));
}

#[test]
fn the_length_of_a_prompt_is_that_of_its_recording() {
    let folder = folder("recordings");
    let from = "welcome = { zh =";
    let to = "welcome = { file = { zh = \"welcome.wav\" }, zh =";
    let file = changed(&folder, from, to);
    assert_eq!(code(&dialplan(&folder, &["check", &file], "")), 0, "without the recording it is estimated");
    // 40 s of silence at 8 kHz, 16 bits: too long for a caller who waits for a person.
    let bytes = 40 * 16_000_u32;
    let mut wav = Vec::new();
    wav.extend(b"RIFF");
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    wav.extend([1, 0, 1, 0]);
    wav.extend(8_000_u32.to_le_bytes());
    wav.extend(16_000_u32.to_le_bytes());
    wav.extend([2, 0, 16, 0]);
    wav.extend(b"data");
    wav.extend(bytes.to_le_bytes());
    wav.resize(wav.len() + bytes as usize, 0);
    std::fs::write(folder.join("welcome.wav"), wav).unwrap();
    let output = dialplan(&folder, &["check", &file], "");
    std::fs::remove_file(folder.join("welcome.wav")).unwrap();
    assert_eq!(code(&output), 1, "{output:?}");
    assert!(out(&output).contains("person"), "{}", out(&output));
}

#[test]
fn the_tests_of_a_plan_are_told_one_a_line_and_to_machines() {
    let folder = folder("tests");
    let output = dialplan(&folder, &["test"], "");
    assert_eq!(code(&output), 0, "{output:?}");
    let wanted = shipped().matches("[[test]]").count();
    assert_eq!(out(&output).lines().filter(|line| line.starts_with("ok ")).count(), wanted);

    let file = changed(&folder, "expect = [\"play:welcome\", \"person\", \"queue:general\"]", "expect = [\"fault\"]");
    let output = dialplan(&folder, &["test", "--json", "--junit", "junit.xml", &file], "");
    assert_eq!(code(&output), 1);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["results"].as_array().unwrap().iter().filter(|test| !test["failure"].is_null()).count(), 1);
    let junit = std::fs::read_to_string(folder.join("junit.xml")).unwrap();
    assert!(junit.contains(&format!("tests=\"{wanted}\" failures=\"1\"")), "{junit}");
    let failed = out(&dialplan(&folder, &["test", &file], ""));
    assert!(failed.contains("FAIL ") && failed.contains("plan.toml:"), "{failed}");
}

#[test]
fn random_callers_of_a_seed_are_not_lost() {
    let output = dialplan(&folder("fuzz"), &["fuzz", "--callers", "1200", "--seed", "7", "--json"], "");
    assert_eq!(code(&output), 0, "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["callers"], &report["seed"], &report["lost"]), (&1200.into(), &7.into(), &0.into()));
}

#[test]
fn a_plan_is_drawn_as_a_flowchart_and_as_a_picture() {
    let folder = folder("graph");
    let output = dialplan(&folder, &["graph"], "");
    assert!(code(&output) == 0 && out(&output).starts_with("flowchart TD\n"), "{output:?}");
    assert!(out(&output).contains("general_queue"));
    let output = dialplan(&folder, &["graph", "--format", "svg", "-o", "plan.svg"], "");
    assert!(code(&output) == 0 && output.stdout.is_empty(), "{output:?}");
    assert!(std::fs::read_to_string(folder.join("plan.svg")).unwrap().starts_with("<svg "));
}

#[test]
fn a_piped_caller_walks_through_the_plan_to_a_person() {
    let folder = folder("simulate");
    let at = ["simulate", "--at", "2026-11-24T10:00"];
    let output = dialplan(&folder, &at, "1\n3\nanswered\nhangup\n");
    assert_eq!(code(&output), 0, "{output:?}");
    let said = out(&output);
    for part in ["-> main (menu)", "> 3\n", "queue general, priority 5", "-- the call ends"] {
        assert!(said.contains(part), "`{part}` is not in\n{said}");
    }
    // The end of the pipe is the end of the call.
    let output = dialplan(&folder, &at, "");
    assert!(code(&output) == 0 && out(&output).contains("the caller hung up"), "{}", out(&output));
    // Whoever has seen enough leaves.
    for word in ["q", "quit", " exit "] {
        let output = dialplan(&folder, &at, &format!("1\n{word}\n3\n"));
        let said = out(&output);
        assert!(code(&output) == 0 && said.contains("> 1\n"), "{said}");
        assert!(!said.contains("> 3") && !said.contains("hung up") && !said.contains("means nothing"), "{said}");
    }
    // At night the plan takes a message.
    let output = dialplan(&folder, &["simulate", "--at", "2026-11-24T23:30", "--json"], "0\n");
    let lines: Vec<Value> = out(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[1]["input"], "0");
    assert!(lines[1]["happened"].to_string().contains("after_hours"), "{}", lines[1]);
}

#[test]
fn a_difference_is_told_as_callers_notice_it() {
    let folder = folder("diff");
    let file = changed(&folder, "3 = \"complaint\"", "4 = \"complaint\"");
    std::fs::write(folder.join("old.toml"), shipped()).unwrap();
    let output = dialplan(&folder, &["diff", "old.toml", &file], "");
    assert_eq!(code(&output), 0);
    assert!(out(&output).contains("main (4) -> complaint"), "{}", out(&output));
    let output = dialplan(&folder, &["diff", "--json", "old.toml", "old.toml"], "");
    let same: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(same["edges_gained"], Value::Array(Vec::new()));
}

#[test]
fn publishing_without_a_gateway_says_what_is_missing() {
    let output = dialplan(&folder("publish"), &["publish", "hotline-95188"], "");
    assert_eq!(code(&output), 2, "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("ark.token"), "{output:?}");
}
