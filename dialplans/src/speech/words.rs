//! A text as words that can be compared: Chinese signs one by one, other words and figures as runs.

use std::borrow::Cow;

use pinyin::ToPinyinMulti;

use super::lists;
use crate::limits;

/// Sounds of one sign that are kept; the third reading of a sign decides nothing.
const READINGS: usize = 2;

/// What a word is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One Chinese sign.
    Sign,
    /// Letters of other scripts, in lower case, without accents and apostrophes.
    Letters,
    /// Digits 0 to 9.
    Figures,
}

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) kind: Kind,
    /// How a sign sounds, without its tone, as hashes; 0: nothing.
    sounds: [u32; READINGS],
    /// The same where zh is z, ng is n, l is n: as many speak, and as recognisers hear.
    near: [u32; READINGS],
    /// It carries no meaning here: part of "excuse me", "I would like to".
    pub(crate) filler: bool,
}

impl Word {
    /// How dear it is to take `self`, which was heard, for `other`, which a plan has. 0 to 100, 100: another word.
    pub(crate) fn distance(&self, other: &Self) -> u32 {
        if self.text == other.text {
            return 0;
        }
        match (self.kind, other.kind) {
            (Kind::Sign, Kind::Sign) if shares(&self.sounds, &other.sounds) => SAME_SOUND,
            (Kind::Sign, Kind::Sign) if shares(&self.near, &other.near) => NEAR_SOUND,
            (Kind::Letters, Kind::Letters) => letters_distance(&self.text, &other.text),
            _ => 100,
        }
    }

    /// A name of its sound: equal for signs that sound the same in their first reading.
    pub(crate) fn sound(&self) -> String {
        if self.kind == Kind::Sign && self.sounds[0] != 0 { self.sounds[0].to_string() } else { self.text.clone() }
    }

    /// One bit of 64 for each way it sounds; words that are near each other share one, most of the time.
    pub(crate) fn bits(&self) -> u64 {
        match self.kind {
            Kind::Sign => self.near.iter().filter(|h| **h != 0).fold(0, |bits, h| bits | 1 << (h % 64)),
            Kind::Letters => 1 << (u64::from(self.text.bytes().next().unwrap_or(0)) * 7 % 64),
            Kind::Figures => 1 << (hash(&self.text) % 64),
        }
    }
}

/// Signs that sound the same: what recognisers take for each other, and the same word in the other script.
pub(crate) const SAME_SOUND: u32 = 15;
/// Signs that sound alike to many.
pub(crate) const NEAR_SOUND: u32 = 30;

fn shares(a: &[u32; READINGS], b: &[u32; READINGS]) -> bool {
    a.iter().any(|sound| *sound != 0 && b.contains(sound))
}

/// One wrong letter in four to seven, two in more; a plural is nearly nothing.
fn letters_distance(a: &str, b: &str) -> u32 {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if short.len() >= 3 && long.strip_suffix('s') == Some(short) {
        return 5;
    }
    let letters = short.len();
    let allowed = match letters {
        0..=3 => return 100,
        4..=7 => 1,
        8..=limits::WORD_CHARS_MAX => 2,
        _ => return 100,
    };
    if long.len() - letters > allowed {
        return 100;
    }
    match crate::suggest::distance(a, b) {
        far if far > allowed => 100,
        1 => 25,
        _ => 40,
    }
}

/// FNV-1a; the hashes are compared within one run only.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)).max(1)
}

/// Chinese signs of every script.
pub(crate) fn is_han(c: char) -> bool {
    matches!(u32::from(c), 0x3007 | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x2_0000..=0x3_FFFD)
}

/// The words of a text. What is longer than [`limits::SAID_CHARS_MAX`] is cut.
pub(crate) fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut run = String::new();
    let mut kind = Kind::Letters;
    let finish = |run: &mut String, kind: Kind, words: &mut Vec<Word>| {
        if !run.is_empty() {
            words.push(word(std::mem::take(run), kind));
        }
    };
    for c in text.chars().take(limits::SAID_CHARS_MAX) {
        let c = narrow(c);
        if is_han(c) {
            finish(&mut run, kind, &mut words);
            words.push(word(c.to_string(), Kind::Sign));
            continue;
        }
        if matches!(c, '\'' | '\u{2019}' | '\u{200b}'..='\u{200d}' | '\u{feff}') {
            continue;
        }
        let now = match c {
            '0'..='9' => Kind::Figures,
            c if c.is_alphabetic() => Kind::Letters,
            // A key that was typed.
            '*' | '#' => {
                finish(&mut run, kind, &mut words);
                words.push(word(if c == '*' { "star" } else { "hash" }.to_owned(), Kind::Letters));
                continue;
            }
            _ => {
                finish(&mut run, kind, &mut words);
                continue;
            }
        };
        if now != kind {
            finish(&mut run, kind, &mut words);
            kind = now;
        }
        run.extend(c.to_lowercase().map(without_accent));
    }
    finish(&mut run, kind, &mut words);
    mark_fillers(&mut words);
    words
}

fn word(text: String, kind: Kind) -> Word {
    let (mut sounds, mut near) = ([0; READINGS], [0; READINGS]);
    if kind == Kind::Sign
        && let Some(readings) = text.chars().next().and_then(|c| c.to_pinyin_multi())
    {
        for (at, reading) in readings.into_iter().map(|reading| reading.plain()).take(READINGS).enumerate() {
            sounds[at] = hash(reading);
            near[at] = hash(&as_many_speak(reading));
        }
    }
    Word { text, kind, sounds, near, filler: false }
}

/// The syllable as speakers of the south say it.
fn as_many_speak(syllable: &str) -> Cow<'_, str> {
    let mut found = Cow::Borrowed(syllable);
    for (from, to) in [("zh", "z"), ("ch", "c"), ("sh", "s"), ("l", "n")] {
        if let Some(rest) = syllable.strip_prefix(from) {
            found = Cow::Owned(format!("{to}{rest}"));
            break;
        }
    }
    match found.strip_suffix("ng") {
        Some(rest) => Cow::Owned(format!("{rest}n")),
        None => found,
    }
}

/// Full-width letters, figures and blanks as the narrow ones.
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        '\u{3000}' => ' ',
        _ => c,
    }
}

/// Vowels with tone marks (yāo) and the accents of western languages.
fn without_accent(c: char) -> char {
    match c {
        'ā' | 'á' | 'ǎ' | 'à' | 'â' | 'ä' | 'ã' | 'å' => 'a',
        'ē' | 'é' | 'ě' | 'è' | 'ê' | 'ë' => 'e',
        'ī' | 'í' | 'ǐ' | 'ì' | 'î' | 'ï' => 'i',
        'ō' | 'ó' | 'ǒ' | 'ò' | 'ô' | 'ö' | 'õ' => 'o',
        'ū' | 'ú' | 'ǔ' | 'ù' | 'û' | 'ü' | 'ǖ' | 'ǘ' | 'ǚ' | 'ǜ' => 'u',
        'ñ' => 'n',
        'ç' => 'c',
        _ => c,
    }
}

/// Marks the words of every filler, the longest first.
fn mark_fillers(words: &mut [Word]) {
    let fillers = lists::fillers();
    let mut at = 0;
    while at < words.len() {
        let longest = fillers.longest_at(words, at);
        for word in words.iter_mut().skip(at).take(longest) {
            word.filler = true;
        }
        at += longest.max(1);
    }
}

/// Runs of words, found by their first word.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    by_first: std::collections::HashMap<String, Vec<Vec<String>>>,
}

impl Runs {
    /// Each text is a run.
    pub(crate) fn of(texts: &[&str]) -> Self {
        let mut runs = Self::default();
        for text in texts {
            // Not `words`: the list of fillers is made of this.
            let all: Vec<String> = plain_words(text);
            if let Some(first) = all.first() {
                runs.by_first.entry(first.clone()).or_default().push(all);
            }
        }
        runs
    }

    /// How many words from `at` on are one of the runs, at most.
    pub(crate) fn longest_at(&self, words: &[Word], at: usize) -> usize {
        let Some(first) = words.get(at) else { return 0 };
        let rest = &words[at..];
        let fits =
            |run: &&Vec<String>| run.len() <= rest.len() && run.iter().zip(rest).all(|(text, word)| *text == word.text);
        self.by_first.get(&first.text).into_iter().flatten().filter(fits).map(Vec::len).max().unwrap_or(0)
    }
}

/// The texts of the words of one of our own lists: signs, and lower-case letters between blanks.
fn plain_words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut run = String::new();
    for c in text.chars().chain([' ']) {
        if is_han(c) || c == ' ' {
            if !run.is_empty() {
                found.push(std::mem::take(&mut run));
            }
            if c != ' ' {
                found.push(c.to_string());
            }
        } else {
            run.push(c);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let shown = words(text).into_iter().map(|w| if w.filler { format!("({})", w.text) } else { w.text });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn width_case_marks_and_blanks_make_no_difference() {
        for (text, wanted) in [
            ("转人工。", "转 人 工"),
            ("　转 人工！！", "转 人 工"),
            ("ＡＧＥＮＴ　１２３", "agent 123"),
            ("Agent, please!", "agent (please)"),
            ("I'd like my ORDERS", "(id) (like) (my) orders"),
            ("呃，请问我想查一下订单", "(呃) (请) (问) (我) (想) 查 (一) (下) 订 单"),
            ("yāo líng", "yao ling"),
            ("12三4", "12 三 4"),
            ("#", "hash"),
            ("…—!?", ""),
            ("", ""),
        ] {
            assert_eq!(shown(text), wanted, "{text}");
        }
        assert!(words(&"我".repeat(100_000)).len() <= limits::SAID_CHARS_MAX);
    }

    #[test]
    fn what_sounds_the_same_is_near_and_what_does_not_is_far() {
        let far = |a: &str, b: &str| words(a)[0].distance(&words(b)[0]);
        assert_eq!(far("订", "订"), 0);
        assert_eq!(far("定", "订"), SAME_SOUND);
        assert_eq!(far("訂", "订"), SAME_SOUND, "the other script");
        assert_eq!(far("轉", "转"), SAME_SOUND);
        assert_eq!(far("赞", "站"), NEAR_SOUND);
        assert_eq!(far("投", "订"), 100);
        assert_eq!(far("orders", "order"), 5);
        assert_eq!(far("complant", "complaint"), 40 - 15);
        assert_eq!(far("agent", "urgent"), 100);
        assert_eq!(far("no", "on"), 100);
        assert_eq!(far("12", "13"), 100);
    }
}
