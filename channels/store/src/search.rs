//! Words in the log: what customers and the house wrote and said, newest conversations first.
//!
//! There is no index of words. A search looks through a window of the log, [`limits::SEARCH_ROWS_MAX`] records, and says where the next
//! window begins: it costs the writer nothing, every script is found alike, and what was erased is found by nobody from that moment on.

use ark_conversation::event::Part;
use ark_conversation::{ConversationId, Event, Record};

use crate::error::StoreError;
use crate::limits::{SEARCH_CHARS_MAX, SEARCH_FOUND_MAX};

/// What a window of the log has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Records that say the words, newest conversations first and newest words of each first.
    pub records: Vec<Record>,
    /// Where the next window begins; none: the log has no more.
    pub next: Option<(ConversationId, u64)>,
}

/// The types of records that say something, as a list of SQL.
pub(crate) const SAYS: &str = "'ark.message.in.v1', 'ark.message.out.v1', 'ark.edit.v1', 'ark.transcript.final.v1', \
     'ark.transcript.corrected.v1', 'ark.note.v1'";

/// Where a search begins that begins at the newest.
pub(crate) fn begin(before: Option<(ConversationId, u64)>) -> ([u8; 16], i64) {
    let (conversation, seq) = before.map_or(([0xff; 16], u64::MAX), |(id, seq)| (id.to_bytes(), seq));
    (conversation, i64::try_from(seq).unwrap_or(i64::MAX))
}

/// Whether these words can be looked for.
pub(crate) fn checked(words: &str) -> Result<(), StoreError> {
    let chars = words.trim().chars().count();
    if (1..=SEARCH_CHARS_MAX).contains(&chars) {
        return Ok(());
    }
    Err(StoreError::Refused(format!("1 to {SEARCH_CHARS_MAX} characters can be looked for")))
}

/// The words as they stand in a row's JSON, for `like` with `!` as its escape.
pub(crate) fn pattern(words: &str) -> String {
    let json = serde_json::to_string(words.trim()).unwrap_or_default();
    let inner = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
    let mut pattern = String::from("%");
    for letter in inner.chars() {
        if matches!(letter, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

/// A page of rows whose JSON has the words: of them those whose own words have them. `end`: where the window ends, when it is full.
pub(crate) fn found(rows: Vec<Record>, words: &str, end: Option<(ConversationId, u64)>) -> Found {
    let last = rows.last().map(|record| (record.conversation, record.seq));
    let next = if rows.len() >= SEARCH_FOUND_MAX { last } else { end };
    let records = rows.into_iter().filter(|record| says(&record.event.event, words).is_some()).collect();
    Found { records, next }
}

/// What of an event says these words, whatever the case of their letters.
#[must_use]
pub fn says<'a>(event: &'a Event, words: &str) -> Option<&'a str> {
    let wanted = words.trim().to_lowercase();
    texts(event).into_iter().find(|text| text.to_lowercase().contains(&wanted))
}

fn texts(event: &Event) -> Vec<&str> {
    match event {
        Event::MessageIn(message) => message.parts.iter().flat_map(of_part).collect(),
        Event::MessageOut(message) => message.parts.iter().flat_map(of_part).collect(),
        Event::Edit(edit) => edit.parts.iter().flat_map(of_part).collect(),
        Event::TranscriptFinal(said) => vec![said.text.reveal()],
        Event::TranscriptCorrected(said) => vec![said.text.reveal()],
        Event::Note(note) => vec![note.text.reveal()],
        _ => Vec::new(),
    }
}

fn of_part(part: &Part) -> Vec<&str> {
    match part {
        Part::Text { text } => vec![text.reveal()],
        Part::Image { media, fallback_text }
        | Part::VoiceNote { media, fallback_text }
        | Part::File { media, fallback_text }
        | Part::Video { media, fallback_text } => {
            let name = media.name.as_ref().map(|name| name.reveal());
            fallback_text.as_ref().map(|text| text.reveal()).into_iter().chain(name).collect()
        }
        Part::Card { title, body, fallback_text, .. } => {
            let body = body.as_ref().map(|body| body.reveal());
            [Some(title.reveal()), body, Some(fallback_text.reveal())].into_iter().flatten().collect()
        }
        Part::Location { label, .. } => label.iter().map(|label| label.reveal()).collect(),
        Part::Unsupported { fallback_text, .. } => vec![fallback_text.reveal()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_in_a_pattern_as_in_json() {
        assert_eq!(pattern(" 退货 "), "%退货%");
        assert_eq!(pattern("100%_!"), "%100!%!_!!%");
        assert_eq!(pattern(r#"say "no"\"#), r#"%say \"no\"\\%"#);
        assert!(checked("").is_err() && checked("  ").is_err() && checked(&"x".repeat(SEARCH_CHARS_MAX + 1)).is_err());
        assert!(checked("单").is_ok());
    }
}
