//! What is wrong with a plan, where, and what to do about it.

use std::fmt::Write as _;

use serde::Serialize;

use crate::lang::Lang;
use crate::source::{Source, Span, width};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The plan must not be published.
    Error,
    /// The plan works; somebody should look.
    Warning,
    /// A fact worth knowing, such as how long a caller waits for the first offer of a person.
    Note,
}

impl Severity {
    /// `error`, `warning` or `note`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One sentence in English and in Chinese.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Both {
    /// English.
    pub en: String,
    /// Chinese.
    pub zh: String,
}

impl Both {
    pub(crate) fn new(en: impl Into<String>, zh: impl Into<String>) -> Self {
        Self { en: en.into(), zh: zh.into() }
    }

    /// The sentence in that language.
    #[must_use]
    pub fn get(&self, lang: Lang) -> &str {
        match lang {
            Lang::En => &self.en,
            Lang::Zh => &self.zh,
        }
    }
}

/// `both!("unknown {x}", "没有{x}")`: one sentence in English and Chinese, with inline arguments.
macro_rules! both {
    ($en:literal, $zh:literal $(, $($rest:tt)*)?) => {
        $crate::Both { en: format!($en $(, $($rest)*)?), zh: format!($zh $(, $($rest)*)?) }
    };
}
pub(crate) use both;

/// One finding. Lines and columns count from 1, columns count characters.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnostic {
    /// `E001`, `W004` ...; see [`crate::codes::TABLE`]. Notes have `N...` codes.
    pub code: &'static str,
    /// Error, warning or note.
    pub severity: Severity,
    /// The file, as it was named to [`crate::Plan::parse`].
    pub file: String,
    /// First line.
    pub line: usize,
    /// First column.
    pub column: usize,
    /// Last line.
    pub end_line: usize,
    /// The column after the last character.
    pub end_column: usize,
    /// The bytes concerned.
    pub span: Span,
    /// What is wrong.
    pub message: Both,
    /// What to do.
    pub help: Option<Both>,
    /// The text of the first line, for the caret.
    #[serde(skip)]
    pub(crate) excerpt: String,
}

impl Diagnostic {
    /// An error, warning or note, by the first letter of its code.
    pub(crate) fn new(source: &Source, code: &'static str, span: &Span, message: Both, help: Option<Both>) -> Self {
        let severity = match code.as_bytes().first() {
            Some(b'E') => Severity::Error,
            Some(b'W') => Severity::Warning,
            _ => Severity::Note,
        };
        let place = source.place(span);
        Self {
            code,
            severity,
            file: source.file.to_string(),
            line: place.line,
            column: place.column,
            end_line: place.end_line,
            end_column: place.end_column,
            span: span.clone(),
            message,
            help,
            excerpt: source.line(place.line - 1).to_owned(),
        }
    }

    /// True for errors.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The finding as a compiler would print it: head line, the line concerned, a caret, and what to do. Ends with a
    /// line break.
    #[must_use]
    pub fn render(&self, lang: Lang) -> String {
        let mut out = String::new();
        let severity = match (lang, self.severity) {
            (Lang::Zh, Severity::Error) => "错误",
            (Lang::Zh, Severity::Warning) => "警告",
            (Lang::Zh, Severity::Note) => "说明",
            (Lang::En, severity) => severity.as_str(),
        };
        let (file, line, column, code) = (&self.file, self.line, self.column, self.code);
        let message = self.message.get(lang);
        if self.severity == Severity::Note {
            let _ = writeln!(out, "{severity}: {message}");
            return out;
        }
        let _ = writeln!(out, "{file}:{line}:{column}: {severity}[{code}]: {message}");
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        let (excerpt, column, end_column) = self.window();
        let before: usize = excerpt.chars().take(column - 1).map(width).sum();
        let marked: usize = if self.end_line == self.line {
            excerpt.chars().skip(column - 1).take(end_column.saturating_sub(column)).map(width).sum()
        } else {
            excerpt.chars().skip(column - 1).map(width).sum()
        };
        let shown = excerpt.replace('\t', " ");
        let _ = writeln!(out, " {gutter} |");
        let _ = writeln!(out, " {number} | {shown}");
        let _ = writeln!(out, " {gutter} | {}{}", " ".repeat(before), "^".repeat(marked.max(1)));
        if let Some(help) = &self.help {
            let word = if lang == Lang::Zh { "建议" } else { "help" };
            let _ = writeln!(out, " {gutter} = {word}: {}", help.get(lang));
        }
        out
    }
}

/// Characters of a line that are shown; of a longer one, those around the mistake.
const SHOWN_MAX: usize = 200;

impl Diagnostic {
    /// The part of the line that is shown, and where in it the mistake begins and ends.
    fn window(&self) -> (String, usize, usize) {
        if self.excerpt.chars().count() <= SHOWN_MAX {
            return (self.excerpt.clone(), self.column, self.end_column);
        }
        let skipped = (self.column - 1).saturating_sub(SHOWN_MAX / 4);
        let mut text: String = self.excerpt.chars().skip(skipped).take(SHOWN_MAX).collect();
        if skipped + SHOWN_MAX < self.excerpt.chars().count() {
            text.push('…');
        }
        if skipped == 0 {
            return (text, self.column, self.end_column);
        }
        (format!("…{text}"), self.column - skipped + 1, (self.end_column + 1).saturating_sub(skipped))
    }
}

/// All findings for people, then one line that counts them.
#[must_use]
pub fn render_human(diagnostics: &[Diagnostic], lang: Lang) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        out.push_str(&diagnostic.render(lang));
        if diagnostic.severity != Severity::Note {
            out.push('\n');
        }
    }
    let count = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let _ = match lang {
        Lang::Zh => writeln!(out, "{errors} 个错误，{warnings} 个警告"),
        Lang::En => {
            let s = |n: usize| if n == 1 { "" } else { "s" };
            writeln!(out, "{errors} error{}, {warnings} warning{}", s(errors), s(warnings))
        }
    };
    out
}

/// All findings as one JSON document: `{"file", "errors", "warnings", "diagnostics": [...]}`.
#[must_use]
pub fn render_json(file: &str, diagnostics: &[Diagnostic]) -> serde_json::Value {
    let count = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    serde_json::json!({
        "file": file,
        "errors": count(Severity::Error),
        "warnings": count(Severity::Warning),
        "diagnostics": diagnostics,
    })
}
