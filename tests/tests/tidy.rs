//! House rules that a machine can check, so that no page has to ask for them.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A file longer than this has more than one subject.
const FILE_LINES_MAX: usize = 1_200;
/// Characters in a comment's line. Code is broken by rustfmt; a long literal (a message, a vector) may stay whole.
const COMMENT_CHARS_MAX: usize = 150;

/// The files that may hold `unsafe`, and why. Everything else is refused.
const UNSAFE: &[(&str, &str)] = &[
    ("gateway/src/media/sys.rs", "recvmmsg, sendmmsg, epoll and timerfd have no safe form that allocates nothing"),
    ("gateway/src/bench/", "the yardstick is the bare system call; allocations are counted by a global allocator"),
    ("gateway/src/doctor/machine.rs", "adjtimex, which tells whether the clock is kept, has no safe form"),
    ("sip/tests/ua_memory.rs", "allocations are counted by a global allocator"),
    ("sip/tests/allocations.rs", "allocations are counted by a global allocator"),
    ("media/tests/allocations.rs", "allocations are counted by a global allocator"),
    ("tests/benches/peers/src/main.rs", "allocations are counted by a global allocator"),
];

struct File {
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    /// Line numbers (from 1) and lines that are test code: all of a `tests` directory, else what follows
    /// `#[cfg(test)]`.
    fn test_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let whole = self.path.split('/').any(|part| part == "tests" || part == "benches");
        let mut inside = whole;
        self.lines().filter(move |(_, line)| {
            inside |= line.trim_start().starts_with("#[cfg(test)]");
            inside
        })
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the workspace").to_owned()
}

/// Every text file of the project: what git knows or would add, so that build output is never judged. Without git (an
/// unpacked archive) the folders are walked.
fn files() -> Vec<File> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .ok()
        .filter(|output| output.status.success() && !output.stdout.is_empty());
    let paths: Vec<String> = listed.map_or_else(
        || walk(&root()),
        |output| {
            String::from_utf8_lossy(&output.stdout)
                .split('\0')
                .filter(|path| !path.is_empty())
                .map(Into::into)
                .collect()
        },
    );
    let text = |path: String| fs::read_to_string(root().join(&path)).ok().map(|text| File { path, text });
    let files: Vec<File> = paths.into_iter().filter_map(text).collect();
    assert!(files.len() > 20, "only {} files found under {}", files.len(), root().display());
    files
}

fn walk(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let output = ["target", "node_modules", "data"].iter().any(|skipped| name.starts_with(skipped));
            if entry.path().is_dir() {
                if !output && !name.starts_with('.') {
                    open.push(entry.path());
                }
            } else if let Ok(relative) = entry.path().strip_prefix(root()) {
                found.push(relative.to_string_lossy().into_owned());
            }
        }
    }
    found
}

fn fail_if_any(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}\n  {}", breaches.join("\n  "));
}

/// Breaches of a rule over the lines of every Rust file.
fn rust_lines(mut breaks: impl FnMut(&File, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for file in files().iter().filter(|file| file.is_rust()) {
        for (number, line) in file.lines() {
            if breaks(file, line) {
                found.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    found
}

/// The word stands in the line by itself, not as a part of another.
fn has_word(line: &str, word: &str) -> bool {
    let part = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

#[test]
fn no_test_sleeps() {
    // Spelt in two halves, here and below, so that this file does not find itself.
    let sleep = concat!("sle", "ep(");
    let mut found = Vec::new();
    for file in files().iter().filter(|file| file.is_rust()) {
        for (number, line) in file.test_lines() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains(sleep) {
                found.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    fail_if_any("time is an argument in tests; at the rim wait for the thing itself, with a deadline:", &found);
}

#[test]
fn no_line_is_longer_than_a_screen_and_no_file_longer_than_its_subject() {
    let too_long = |line: &str| line.trim_start().starts_with("//") && line.chars().count() > COMMENT_CHARS_MAX;
    let mut found = rust_lines(|_, line| too_long(line) && !line.contains("://"));
    for file in files().iter().filter(|file| file.is_rust()) {
        let lines = file.lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{}: {lines} lines (at most {FILE_LINES_MAX})", file.path));
        }
    }
    fail_if_any(&format!("comments have at most {COMMENT_CHARS_MAX} characters a line:"), &found);
}

#[test]
fn nothing_half_done_is_left_behind() {
    let words = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];
    let calls = [concat!("db", "g!("), concat!("to", "do!("), concat!("unimple", "mented!(")];
    let ignored = concat!("#[ig", "nore");
    let found = rust_lines(|_, line| {
        words.iter().any(|word| has_word(line, word))
            || calls.iter().any(|call| line.contains(call))
            || line.contains(ignored)
    });
    fail_if_any("finish it, or write down where it is planned:", &found);
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    let roots = [concat!("/wo", "rk/"), concat!("/fa", "rm/"), concat!("/ro", "ot/")];
    let mut found = Vec::new();
    for file in files().iter().filter(|file| !file.path.ends_with(".lock")) {
        for (number, line) in file.lines() {
            let breaks = |root: &str| {
                line.match_indices(root).any(|(at, _)| {
                    !line[..at].chars().next_back().is_some_and(|before| before.is_ascii_lowercase() || before == '.')
                })
            };
            if roots.iter().any(|root| breaks(root)) {
                found.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    fail_if_any("a path that exists on one machine only:", &found);
}

#[test]
fn unsafe_code_stands_only_where_it_is_named() {
    let word = concat!("uns", "afe");
    let found = rust_lines(|file, line| {
        let code = line.split("//").next().unwrap_or_default();
        let attribute = code.contains("#![") || code.contains("#[");
        let named = UNSAFE.iter().any(|(path, _)| file.path.starts_with(path));
        !named && !attribute && has_word(code, word) && !code.contains('"')
    });
    fail_if_any("this word needs a row with its reason in tests/tests/tidy.rs:", &found);
}

#[test]
fn every_fuzzer_that_a_crate_offers_is_in_the_table() {
    let table = fs::read_to_string(root().join("tests/src/fuzz.rs")).unwrap();
    let mut found = Vec::new();
    for file in files() {
        let Some((krate, rest)) = file.path.split_once("/src/") else { continue };
        if !(rest == "fuzz.rs" || rest.starts_with("fuzz/")) || krate == "tests" {
            continue;
        }
        let library = krate.rsplit('/').next().unwrap_or(krate);
        let inner = rest.strip_prefix("fuzz/").and_then(|rest| rest.strip_suffix(".rs")).filter(|name| *name != "mod");
        for (number, line) in file.lines() {
            let Some(name) = line.trim().strip_prefix("pub fn ").and_then(|rest| rest.split('(').next()) else {
                continue;
            };
            // A crate's own canary is run by its own tests: it must fail.
            let is_target = line.contains("seed: u64, iterations: u64") && name != "canary";
            let call = format!("fuzz::{name}");
            let deep = inner.map_or_else(|| call.clone(), |inner| format!("fuzz::{inner}::{name}"));
            let listed = |path: &str| table.contains(&format!("{}::{path}", crate_name(library)));
            if is_target && !listed(&call) && !listed(&deep) {
                found.push(format!("{}:{number}: {name}", file.path));
            }
        }
    }
    fail_if_any("a fuzzer that is not in TARGETS of tests/src/fuzz.rs:", &found);
}

fn crate_name(folder: &str) -> String {
    if folder == "gateway" { "ark".into() } else { format!("ark_{folder}") }
}

#[test]
fn the_changelog_has_a_place_for_the_next_line() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).expect("CHANGELOG.md");
    assert!(text.lines().any(|line| line.starts_with("## ") && line.contains("Unreleased")), "no `## Unreleased`");
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut found = Vec::new();
    for file in files().iter().filter(|file| file.path.ends_with(".md")) {
        let folder = root().join(&file.path).parent().expect("a file has a folder").to_owned();
        for (number, line) in file.lines() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let path = target.split(['#', ' ']).next().unwrap_or_default();
                let outside = target.contains("://") || target.starts_with("mailto:") || path.is_empty();
                if !outside && !folder.join(path).exists() {
                    found.push(format!("{}:{number}: {target}", file.path));
                }
            }
        }
    }
    fail_if_any("a link to nothing:", &found);
}

#[test]
fn every_room_says_what_it_is_for() {
    let mut found = Vec::new();
    for file in files().iter().filter(|file| file.path.ends_with("src/lib.rs") || file.path.ends_with("src/main.rs")) {
        if !file.text.starts_with("//!") {
            found.push(file.path.clone());
        }
    }
    fail_if_any("the first line of a crate says what it is for:", &found);
}

#[test]
fn words_are_found_only_when_they_stand_alone() {
    let word = concat!("XX", "X");
    assert!(has_word(&format!("// {word}: later"), word));
    assert!(!has_word(&format!("+86 138{word}X1234"), word));
}
