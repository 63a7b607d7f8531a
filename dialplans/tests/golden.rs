//! What others read is compared with files: messages, codes, the schema, SARIF. `UPDATE=1 cargo test -p ark-dialplans`
//! rewrites them; the difference is the review.

#![allow(clippy::unwrap_used, reason = "a missing file is a failure of the test")]
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ark_dialplans::{
    EstimateOnly, Lang, Plan, Site, check_source, codes, graph, render_human, render_json, render_sarif, schema,
};

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Compares with a file, or writes it.
fn golden(path: &Path, found: &str) -> Result<(), String> {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, found).unwrap();
        return Ok(());
    }
    let wanted = fs::read_to_string(path).unwrap_or_default().replace("\r\n", "\n");
    if wanted == found {
        return Ok(());
    }
    Err(format!("{} differs; UPDATE=1 rewrites it\n--- now ---\n{found}", path.display()))
}

fn site() -> Site {
    Site { queues: Some(BTreeSet::from(["general".to_owned()])), today: Some(jiff::civil::date(2026, 11, 24)) }
}

fn broken() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(here().join("tests/broken"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    all.sort();
    assert!(all.len() >= 20, "only {} fixtures", all.len());
    all
}

#[test]
fn every_broken_plan_is_told_as_it_was_reviewed_in_both_languages() {
    let mut wrong = Vec::new();
    for path in broken() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let (plan, found) = check_source(&text, name, &EstimateOnly, &site());
        assert_eq!(plan.is_none(), found.iter().any(ark_dialplans::Diagnostic::is_error), "{name}");
        let both = format!("{}\n{}", render_human(&found, Lang::En), render_human(&found, Lang::Zh));
        wrong.extend(golden(&path.with_extension("txt"), &both).err());
        // A fixture named after a code shows that code.
        let code = name.split('-').next().unwrap().to_uppercase();
        let is_code = codes::TABLE.iter().any(|known| known.code == code);
        assert!(!is_code || found.iter().any(|d| d.code == code), "{name} does not show {code}:\n{both}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_code_is_in_the_table_and_the_table_is_in_the_manual() {
    let known: BTreeSet<&str> = codes::TABLE.iter().map(|code| code.code).collect();
    assert!(codes::TABLE.is_sorted_by_key(|code| code.code));
    let mut used = BTreeSet::new();
    for file in [
        "check/names.rs",
        "check/offer.rs",
        "check/phrases.rs",
        "check/walk.rs",
        "plan/read.rs",
        "plan/tests_table.rs",
        "read.rs",
        "prompt.rs",
        "calendar.rs",
        "speech/settings.rs",
        "testing.rs",
    ] {
        let text = fs::read_to_string(here().join("src").join(file)).unwrap();
        for (at, _) in text.match_indices(['E', 'W', 'N']) {
            if let Some(code) = text.get(at..at + 4).filter(|c| c[1..].bytes().all(|b| b.is_ascii_digit())) {
                used.insert(code.to_owned());
            }
        }
    }
    for code in &used {
        assert!(known.contains(code.as_str()), "{code} is used and not in codes.rs");
    }
    golden(&here().join("CODES.md"), &codes::markdown()).unwrap();
}

#[test]
fn the_schema_for_editors_is_the_one_that_is_published() {
    let text = serde_json::to_string_pretty(&schema::schema()).unwrap() + "\n";
    golden(&here().join("schema/ark.dialplan.v1.json"), &text).unwrap();
}

#[test]
fn sarif_and_json_carry_the_same_findings() {
    let path = here().join("tests/broken/e001-misspelt-state.toml");
    let text = fs::read_to_string(path).unwrap();
    let (_, found) = check_source(&text, "plans/e001 状态.toml", &EstimateOnly, &site());
    let sarif = serde_json::to_string_pretty(&render_sarif(&found, "0.1.0")).unwrap() + "\n";
    golden(&here().join("tests/broken/e001-misspelt-state.sarif.json"), &sarif).unwrap();
    let json = serde_json::to_string_pretty(&render_json("plans/e001 状态.toml", &found)).unwrap() + "\n";
    golden(&here().join("tests/broken/e001-misspelt-state.json"), &json).unwrap();
}

#[test]
fn a_failing_test_says_what_happened_and_where() {
    let text = fs::read_to_string(here().join("tests/broken/good.toml")).unwrap();
    let text = text.replace("expect = [\"queue:general\"]", "expect = [\"record\"]")
        + "\n[[test]]\nname = \"too late\"\nevents = [\"silence\", \"silence\", \"recorded\"]\nexpect = [\"queue\"]\nnever = [\"person\"]\n";
    let plan = Arc::new(Plan::parse(&text, "good.toml").unwrap());
    let report = ark_dialplans::test(&plan);
    assert_eq!(report.failed(), 2);
    golden(&here().join("tests/broken/failing-tests.txt"), &(report.render_human(Lang::En) + &report.render_junit()))
        .unwrap();
}

#[test]
fn the_flowchart_is_the_one_that_was_reviewed() {
    let text = fs::read_to_string(here().join("tests/broken/good.toml")).unwrap();
    let plan = Plan::parse(&text, "good.toml").unwrap();
    golden(&here().join("tests/broken/good.mermaid"), &graph::mermaid(&plan)).unwrap();
}
