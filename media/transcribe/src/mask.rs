//! What must not be kept of what was said: numbers of cards and identity cards, and words that a site does not want to read.
//!
//! A recogniser writes figures, Chinese numerals, or English number words, whole or with blanks between; all are read. What looks
//! like such a number is masked, also when a digit was misheard and no checksum fits: what was kept once cannot be taken back.

use std::ops::Range;

/// Digits of payment cards.
const CARD: std::ops::RangeInclusive<usize> = 13..=19;
/// Digits at the end of a card's number that stay: enough to know which, nothing to pay with.
const CARD_SHOWN: usize = 4;
/// Characters of a Chinese identity card's number.
const IDENTITY: usize = 18;

/// Words that no timeline needs.
const PROFANITY: &[&str] = &[
    "操你妈",
    "草泥马",
    "他妈的",
    "你妈的",
    "妈的",
    "傻逼",
    "傻屄",
    "煞笔",
    "王八蛋",
    "狗日的",
    "婊子",
    "滚你妈",
    "fuck",
    "fucking",
    "fucked",
    "fucker",
    "motherfucker",
    "shit",
    "bullshit",
    "bitch",
    "asshole",
    "cunt",
];

/// What is masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masks {
    /// Numbers of cards and identity cards.
    pub numbers: bool,
    /// Words: English ones as a whole and in any case, others wherever they stand.
    pub words: Vec<String>,
}

impl Default for Masks {
    fn default() -> Self {
        Self::new(true, true, &[])
    }
}

impl Masks {
    /// `profanity`: the built-in list, beside `more`.
    #[must_use]
    pub fn new(numbers: bool, profanity: bool, more: &[String]) -> Self {
        let built_in = PROFANITY.iter().filter(|_| profanity).map(|word| (*word).to_owned());
        let mut words: Vec<String> = built_in.chain(more.iter().map(|word| word.to_lowercase())).collect();
        words.retain(|word| !word.trim().is_empty());
        // The longest first: a part of a word is not all of it.
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        Self { numbers, words }
    }

    /// The text as it may be kept, and whether something is gone from it.
    #[must_use]
    pub fn apply(&self, text: &str) -> (String, bool) {
        let mut hidden: Vec<Range<usize>> = if self.numbers { numbers(text) } else { Vec::new() };
        // Same bytes: only ASCII letters change.
        let lower = text.to_ascii_lowercase();
        for word in &self.words {
            for (at, found) in lower.match_indices(word.as_str()) {
                let range = at..at + found.len();
                if !word.is_ascii() || is_whole(&lower, &range) {
                    hidden.push(range);
                }
            }
        }
        if hidden.is_empty() {
            return (text.to_owned(), false);
        }
        let masked = |at: usize| hidden.iter().any(|range| range.contains(&at));
        let out = text.char_indices().map(|(at, c)| if masked(at) && !c.is_whitespace() { '*' } else { c }).collect();
        (out, true)
    }
}

fn is_whole(text: &str, range: &Range<usize>) -> bool {
    let joins = |c: char| c.is_ascii_alphanumeric();
    !text[..range.start].ends_with(joins) && !text[range.end..].starts_with(joins)
}

/// A spoken or written digit.
struct Digit {
    /// 0 to 9; 10: the X of an identity card.
    value: u8,
    range: Range<usize>,
}

/// Bytes of numbers that must not stay.
fn numbers(text: &str) -> Vec<Range<usize>> {
    let mut hidden = Vec::new();
    let mut run: Vec<Digit> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        if let Some((digits, value, length)) = digit(text, at) {
            for _ in 0..digits {
                run.push(Digit { value, range: at..at + length });
            }
            rest = &rest[length..];
            continue;
        }
        if !matches!(first, ' ' | '-' | '.' | ',' | '，' | '、' | '\u{3000}') {
            judge(&run, &mut hidden);
            run.clear();
        }
        rest = &rest[first.len_utf8()..];
    }
    judge(&run, &mut hidden);
    hidden
}

/// The digit that begins at `at`: how often it is said, its value, its bytes.
fn digit(text: &str, at: usize) -> Option<(usize, u8, usize)> {
    let rest = &text[at..];
    let first = rest.chars().next()?;
    let length = first.len_utf8();
    if let Some(value) = first.to_digit(10) {
        return Some((1, value as u8, length));
    }
    if ('０'..='９').contains(&first) {
        return Some((1, (first as u32 - '０' as u32) as u8, length));
    }
    const ZH: [(&str, u8); 11] = [
        ("零〇", 0),
        ("一幺", 1),
        ("二两", 2),
        ("三", 3),
        ("四", 4),
        ("五", 5),
        ("六", 6),
        ("七", 7),
        ("八", 8),
        ("九", 9),
        ("叉", 10),
    ];
    if let Some((_, value)) = ZH.iter().find(|(signs, _)| signs.contains(first)) {
        return Some((1, *value, length));
    }
    if !first.is_ascii_alphabetic() || text[..at].ends_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let word = rest[..end].to_ascii_lowercase();
    let times = match word.as_str() {
        "double" => 2,
        "triple" => 3,
        "x" => return Some((1, 10, end)),
        word => return Some((1, english(word)?, end)),
    };
    // `double four`: both words are the digits.
    let after = rest[end..].trim_start();
    let next_at = rest.len() - after.len();
    let next = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
    Some((times, english(&after[..next].to_ascii_lowercase())?, next_at + next))
}

fn english(word: &str) -> Option<u8> {
    const WORDS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    if word == "oh" || word == "o" {
        return Some(0);
    }
    WORDS.iter().position(|name| *name == word).map(|value| value as u8)
}

fn judge(run: &[Digit], hidden: &mut Vec<Range<usize>>) {
    let Some(last) = run.iter().rposition(|digit| digit.value < 10).map(|at| at + 1) else { return };
    let plain = &run[..last];
    let with_x = run.get(..IDENTITY).filter(|run| run[..IDENTITY - 1].iter().all(|digit| digit.value < 10));
    if run.len() == IDENTITY && with_x.is_some_and(is_identity) {
        hidden.extend(run.iter().map(|digit| digit.range.clone()));
        return;
    }
    if plain.iter().all(|digit| digit.value < 10) && CARD.contains(&plain.len()) && is_card(plain) {
        hidden.extend(plain[..plain.len() - CARD_SHOWN].iter().map(|digit| digit.range.clone()));
        return;
    }
    // Longer than any number: read out one behind the other, or twice.
    if plain.len() > *CARD.end() {
        for window in plain.windows(IDENTITY).filter(|window| is_identity(window)) {
            hidden.extend(window.iter().map(|digit| digit.range.clone()));
        }
        for window in plain.windows(16).filter(|window| luhn(window) && begins_as_card(window)) {
            hidden.extend(window.iter().map(|digit| digit.range.clone()));
        }
    }
}

/// Region, a birthday that can be, three digits and a check character, which may be misheard.
fn is_identity(run: &[Digit]) -> bool {
    let number = |range: Range<usize>| run[range].iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit.value));
    (11..=91).contains(&number(0..2))
        && (1_900..=2_099).contains(&number(6..10))
        && (1..=12).contains(&number(10..12))
        && (1..=31).contains(&number(12..14))
}

/// A checksum that fits, or one of the great issuers' beginnings and lengths, with a digit that was misheard.
fn is_card(run: &[Digit]) -> bool {
    begins_as_card(run) && (luhn(run) || run.len() == 16 || (run.len() == 19 && run[0].value == 6 && run[1].value == 2))
}

fn begins_as_card(run: &[Digit]) -> bool {
    matches!(run.first().map(|digit| digit.value), Some(3..=6))
}

fn luhn(run: &[Digit]) -> bool {
    let sum: u32 = run
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit.value) << (place % 2);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        Masks::default().apply(text).0
    }

    #[test]
    fn cards_keep_their_last_four_digits() {
        assert_eq!(masked("卡号是6222021234567890123。"), "卡号是***************0123。");
        assert_eq!(masked("4111 1111 1111 1111"), "**** **** **** 1111");
        assert_eq!(masked("my card is 4111-1111-1111-1112 thanks"), "my card is ****-****-****-1112 thanks");
        let spoken = masked("four one one one double one one one one one one one one one one one");
        assert!(spoken.ends_with("one one one one") && spoken.starts_with("**** *** ***"), "{spoken}");
        let zh = masked("卡号六二二二零二一二三四五六七八九零一二三");
        assert_eq!(zh, format!("卡号{}零一二三", "*".repeat(15)));
    }

    #[test]
    fn identity_cards_go_whole() {
        assert_eq!(masked("身份证11010519491231002X"), format!("身份证{}", "*".repeat(18)));
        assert_eq!(masked("幺幺零幺零五幺九四九幺二三幺零零二叉"), "*".repeat(18));
        assert_eq!(masked("110105194912310021, 谢谢"), format!("{}, 谢谢", "*".repeat(18)));
    }

    #[test]
    fn other_numbers_stay() {
        for text in [
            "订单123456",
            "我的电话是13812345678",
            "2026年11月27日",
            "一共三百二十块",
            "call one two three",
            "1234567890123",
            "order 9111111111111111",
            "",
        ] {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn words_are_masked_as_wholes() {
        assert_eq!(masked("Fuck this shitake"), "**** this shitake");
        assert_eq!(masked("他妈的快点"), "***快点");
        let masks = Masks::new(false, false, &["方舟".to_owned(), " ".to_owned()]);
        assert_eq!(masks.apply("方舟 4111111111111111"), ("** 4111111111111111".to_owned(), true));
    }

    #[test]
    fn any_text_is_masked_without_harm() {
        let mut text = String::new();
        for seed in 0_u32..4_000 {
            let picks = ["6", "二", "double ", "three", "X", "-", "，", "😀", "é", "o", "1101051949", "妈的"];
            text.push_str(picks[(seed.wrapping_mul(2_654_435_761) >> 20) as usize % picks.len()]);
            if text.len() > 120 {
                let (out, _) = Masks::default().apply(&text);
                assert_eq!(
                    out.chars().filter(|c| c.is_whitespace()).count(),
                    text.chars().filter(|c| c.is_whitespace()).count()
                );
                text.clear();
            }
        }
    }
}
