//! What is wrong with a configuration: where, what, and what to do.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::Serialize;

use super::values::{MASKED, PLAIN_SECRET, without_secrets};

/// Whether a finding stops the gateway from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Must be put right.
    Error,
    /// Is allowed, and deserves a word.
    Warning,
}

/// One thing to say about a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether it stops the start.
    pub severity: Severity,
    /// The line, from 1; 0 when the finding is about the file as a whole.
    pub line: usize,
    /// The column in characters, from 1; 0 when the finding is about the file as a whole.
    pub column: usize,
    /// How many characters are meant.
    pub width: usize,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Finding {
    /// A finding at a byte range of `source`, or about the whole file.
    pub(super) fn at(
        severity: Severity,
        source: &str,
        span: Option<Range<usize>>,
        message: String,
        help: Option<String>,
    ) -> Self {
        let Some(span) = span else { return Self { severity, line: 0, column: 0, width: 0, message, help } };
        let before = source.get(..span.start).unwrap_or(source);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let text = source.get(span).unwrap_or("");
        Self {
            severity,
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or("").chars().count() + 1,
            width: text.lines().next().unwrap_or("").chars().count().max(1),
            message,
            help,
        }
    }
}

/// A configuration that cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub struct ConfigError {
    /// The file's name.
    pub file: String,
    /// Its text, for the caret; empty when it could not be read.
    pub(super) text: String,
    /// Everything that is wrong; never empty.
    pub findings: Vec<Finding>,
}

impl ConfigError {
    /// One finding about a file, without its text: for warnings of a file that is otherwise well.
    pub fn only(file: &str, finding: Finding) -> Self {
        Self { file: file.to_owned(), text: String::new(), findings: vec![finding] }
    }

    /// Whether the file itself could not be read, as opposed to what it says.
    pub fn is_unreadable(&self) -> bool {
        self.text.is_empty() && self.findings.iter().all(|finding| finding.line == 0)
    }

    pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "give another path with --config, or leave it out to start with the built-in site"
            }
            std::io::ErrorKind::PermissionDenied => "make it readable for the user that runs Ark",
            _ => "check the path",
        };
        Self {
            file: file.display().to_string(),
            text: String::new(),
            findings: vec![Finding {
                severity: Severity::Error,
                line: 0,
                column: 0,
                width: 0,
                message: format!("the configuration cannot be read: {error}"),
                help: Some(help.to_owned()),
            }],
        }
    }

    pub(super) fn syntax(file: &str, source: &str, error: &toml::de::Error) -> Self {
        let (message, help) = explain(error.message());
        Self {
            file: file.to_owned(),
            text: source.to_owned(),
            findings: vec![Finding::at(Severity::Error, source, error.span(), message, help)],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_findings(f, &self.file, &self.text, &self.findings)
    }
}

/// Writes findings the way a compiler does: place, sentence, the line with a caret, advice.
pub(super) fn write_findings(f: &mut impl fmt::Write, file: &str, source: &str, findings: &[Finding]) -> fmt::Result {
    for (index, finding) in findings.iter().enumerate() {
        if index > 0 {
            writeln!(f)?;
        }
        let word = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        if finding.line == 0 {
            write!(f, "{file}: {word}: {}", finding.message)?;
        } else {
            write!(f, "{file}:{}:{}: {word}: {}", finding.line, finding.column, finding.message)?;
            if let Some(text) = source.lines().nth(finding.line - 1) {
                let number = finding.line.to_string();
                let text = if finding.message.starts_with(PLAIN_SECRET) {
                    let before: String = text.chars().take(finding.column - 1).collect();
                    without_secrets(&(before + MASKED))
                } else {
                    without_secrets(text)
                };
                let pad = " ".repeat(finding.column - 1);
                let room = text.chars().count().saturating_sub(finding.column - 1).max(1);
                let carets = "^".repeat(finding.width.min(room));
                write!(f, "\n {number} | {text}\n {:width$} | {pad}{carets}", "", width = number.len())?;
            }
        }
        if let Some(help) = &finding.help {
            write!(f, "\n  help: {help}")?;
        }
    }
    Ok(())
}

/// Turns the parser's words into ours: for an unknown key the nearest known one, instead of the list of all.
fn explain(message: &str) -> (String, Option<String>) {
    let Some((what, known)) = message.split_once(", expected ") else { return (message.to_owned(), None) };
    let Some(wrong) = what.strip_prefix("unknown field `").or_else(|| what.strip_prefix("unknown variant `")) else {
        return (message.to_owned(), None);
    };
    let wrong = wrong.trim_end_matches('`');
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    let what = if what.starts_with("unknown field") { "key" } else { "value" };
    let message = format!("unknown {what} `{wrong}`");
    let help = match nearest(wrong, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", known.join(", ")),
    };
    (message, Some(help))
}

/// The candidate that differs from `word` by the fewest edits, when it is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .min()
        .filter(|(edits, candidate)| *edits <= 1 + candidate.chars().count() / 4)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words, a swap of neighbours counting as one (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut table = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (table[i - 1][j] + 1).min(table[i][j - 1] + 1).min(table[i - 1][j - 1] + change);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(table[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    table[a.len()][b.len()]
}
