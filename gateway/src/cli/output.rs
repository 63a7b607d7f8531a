//! What a command says and how it ends.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

/// How a command ended that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well: exit code 0.
    Done,
    /// It looked and found something wrong, and has said so: exit code 1.
    Finding,
}

/// Why a command could not do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was refused: exit code 1.
    Refused(String),
    /// Usage, or something is missing or out of reach: exit code 2.
    Environment(String),
    /// Whoever reads our output has gone: exit code 0, nothing is said.
    ReaderGone,
}

impl Failure {
    /// Something is missing or out of reach.
    pub(crate) fn environment(message: impl Into<String>) -> Self {
        Self::Environment(message.into())
    }

    /// A file could not be read.
    pub(crate) fn unreadable(path: &std::path::Path, error: &io::Error) -> Self {
        Self::Environment(format!("{}: cannot be read: {error}", path.display()))
    }
}

impl From<io::Error> for Failure {
    /// An error on standard output.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Environment(format!("standard output: {error}")),
        }
    }
}

/// Says how it went and gives the exit code.
pub(super) fn report(result: super::CliResult) -> ExitCode {
    crate::telemetry::flush();
    let (code, message) = match result {
        Ok(Outcome::Done) | Err(Failure::ReaderGone) => return ExitCode::SUCCESS,
        Ok(Outcome::Finding) => return ExitCode::from(1),
        Err(Failure::Refused(message)) => (1, message),
        Err(Failure::Environment(message)) => (2, message),
    };
    let _ = writeln!(io::stderr(), "ark: {message}");
    ExitCode::from(code)
}

/// Writes one line to standard output.
pub(super) fn line(text: impl Display) -> Result<(), Failure> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// Says something beside the output, on standard error.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "ark: {text}");
}

/// Writes text as it is, without a line end.
pub(super) fn text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes a value as indented JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let rendered = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::environment(format!("the result cannot be written as JSON: {error}")))?;
    line(rendered)
}

/// Writes a value as one line of JSON.
pub(super) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    let rendered = serde_json::to_string(value)
        .map_err(|error| Failure::environment(format!("the result cannot be written as JSON: {error}")))?;
    line(rendered)
}

/// Writes what was found: as JSON, as a table with a row for each, or the words that there is none.
pub(super) fn list<T: Serialize>(
    json_wanted: bool,
    found: &[T],
    none: &str,
    head: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> Result<(), Failure> {
    if json_wanted {
        json(&found)
    } else if found.is_empty() {
        line(none)
    } else {
        table(head, &found.iter().map(row).collect::<Vec<_>>())
    }
}

/// Writes a table: columns as wide as their widest cell, two spaces between them.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    text(&render_table(head, rows))
}

fn render_table(head: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| width(cell))
                .chain([width(head[column])])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut text = String::new();
        for (cell, wide) in row.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', wide - width(cell) + 2));
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

/// A text, filled with spaces to that many terminal cells.
pub(super) fn padded(text: &str, cells: usize) -> String {
    format!("{text}{}", " ".repeat(cells.saturating_sub(width(text))))
}

/// How many terminal cells a text takes: East Asian wide characters take two.
fn width(text: &str) -> usize {
    text.chars()
        .map(|c| match u32::from(c) {
            0x1100..=0x115F
            | 0x2E80..=0xA4CF
            | 0xAC00..=0xD7A3
            | 0xF900..=0xFAFF
            | 0xFE30..=0xFE6F
            | 0xFF00..=0xFF60
            | 0x20000..=0x3FFFD => 2,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["方舟".to_owned(), "1".to_owned()], vec!["a".to_owned(), "22".to_owned()]];
        assert_eq!(render_table(&["name", "n"], &rows), "name  n\n方舟  1\na     22\n");
    }
}
