//! A plan's text, and where things stand in it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, both};
use crate::limits;

/// A range of bytes in the plan file.
pub type Span = Range<usize>;

/// A name written in the plan (a state, a prompt, a list ...) and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name as written.
    pub text: Arc<str>,
    /// Where it stands.
    pub span: Span,
}

impl Name {
    pub(crate) fn new(text: &str, span: Span) -> Self {
        Self { text: text.into(), span }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// File name and text, with the start of each line.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) file: Arc<str>,
    pub(crate) text: Arc<str>,
    lines: Arc<[usize]>,
}

/// The text of a plan file as it was read from the disk.
///
/// # Errors
/// E010 with the place of the first byte that is no UTF-8, and what to save the file as. A file that is too large and was
/// cut inside a character is left to [`crate::Plan::parse`], which says that it is too large.
pub fn decode(bytes: Vec<u8>, file_name: &str) -> Result<String, Box<Diagnostic>> {
    let error = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    let cut = error.utf8_error().error_len().is_none() && error.as_bytes().len() > limits::PLAN_BYTES_MAX;
    let lossy = String::from_utf8_lossy(error.as_bytes());
    if cut {
        return Ok(lossy.into_owned());
    }
    let at = error.utf8_error().valid_up_to();
    let source = Source::new(file_name, &lossy);
    let wide = matches!(error.as_bytes(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
    let (en, zh) =
        if wide { ("UTF-16", "UTF-16") } else { ("another encoding, such as GBK", "别的编码，例如 GBK") };
    let span = at..at + '\u{fffd}'.len_utf8();
    Err(Box::new(Diagnostic::new(
        &source,
        "E010",
        &span,
        both!("not UTF-8 text: the file seems to be in {en}", "不是 UTF-8 文本：文件可能是{zh}"),
        Some(both!("save the file again as UTF-8", "请在编辑器中另存为 UTF-8 编码")),
    )))
}

/// A place for people: everything counts from 1, columns count characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) end_line: usize,
    pub(crate) end_column: usize,
}

impl Source {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        let lines: Vec<usize> = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1))
            .collect();
        Self { file: file.into(), text: text.into(), lines: lines.into() }
    }

    /// Line number (from 0) of a byte.
    fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// The text of a line (from 0), without its end.
    pub(crate) fn line(&self, index: usize) -> &str {
        let start = self.lines.get(index).copied().unwrap_or(self.text.len());
        let end = self.lines.get(index + 1).copied().unwrap_or(self.text.len());
        self.text.get(start..end).unwrap_or("").trim_end_matches(['\n', '\r'])
    }

    fn column(&self, line: usize, at: usize) -> usize {
        let start = self.lines.get(line).copied().unwrap_or(0);
        self.text.get(start..at).map_or(0, |before| before.chars().count()) + 1
    }

    /// Where a span stands. Offsets outside the text or inside a character are moved to the nearest one before.
    pub(crate) fn place(&self, span: &Span) -> Place {
        let floor = |mut at: usize| {
            at = at.min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(span.start);
        let end = floor(span.end.max(span.start));
        let line = self.line_of(start);
        let end_line = self.line_of(end);
        Place {
            line: line + 1,
            column: self.column(line, start),
            end_line: end_line + 1,
            end_column: self.column(end_line, end),
        }
    }
}

/// Columns that a character takes on a terminal: two for Chinese, Japanese, Korean and full-width forms.
pub(crate) fn width(c: char) -> usize {
    match u32::from(c) {
        0x1100..=0x115F
        | 0x2E80..=0x303E
        | 0x3041..=0x33FF
        | 0x3400..=0x4DBF
        | 0x4E00..=0x9FFF
        | 0xA000..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE4F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1F64F
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_another_encoding_is_told_with_its_place() {
        assert_eq!(decode("名 = 1".into(), "p.toml").unwrap(), "名 = 1");
        let gbk = decode(b"a = 1\nb = \"\xc4\xfa\"".to_vec(), "p.toml").unwrap_err();
        assert_eq!((gbk.line, gbk.column, gbk.code), (2, 6, "E010"));
        assert!(gbk.message.en.contains("GBK") && gbk.help.unwrap().zh.contains("UTF-8"));
        let wide = decode(b"\xff\xfea\0".to_vec(), "p.toml").unwrap_err();
        assert!(wide.message.en.contains("UTF-16"), "{}", wide.message.en);
        let mut cut = vec![b'x'; limits::PLAN_BYTES_MAX];
        cut.push(0xe6);
        assert!(decode(cut, "p.toml").unwrap().len() > limits::PLAN_BYTES_MAX);
    }

    #[test]
    fn places_count_characters_not_bytes() {
        let source = Source::new("a.toml", "一 = 2\nb = \"您好\"\n");
        let place = source.place(&(13..19));
        assert_eq!((place.line, place.column, place.end_column), (2, 6, 8));
        let end = source.place(&(999..1200));
        assert_eq!((end.line, end.column), (3, 1));
    }
}
