//! Say-rules: how a value becomes words. Every word is one of [`vocabulary`], so each is synthesised once before a plan
//! goes live and a call only joins audio.

mod en;
mod zh;

use crate::lang::Lang;

/// How a value is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Digit by digit; letters are spelled. Three digits and more use the telephone form 幺 in Mandarin.
    Digits,
    /// A number: `1200`, `-3.05`.
    Number,
    /// A number of things or people: 两 instead of 二.
    Count,
    /// An amount: `12.50` (yuan), `USD 12.50`, `$3`.
    Money,
    /// `2026-10-01`.
    Date,
    /// `14:05`.
    Time,
    /// Whole seconds, spoken exactly.
    Duration,
    /// Whole seconds of an estimate, rounded up to a range: about two to three minutes.
    Wait,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] =
        [Self::Digits, Self::Number, Self::Count, Self::Money, Self::Date, Self::Time, Self::Duration, Self::Wait];

    /// The name used in prompts: `{balance:money}`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Number => "number",
            Self::Count => "count",
            Self::Money => "money",
            Self::Date => "date",
            Self::Time => "time",
            Self::Duration => "duration",
            Self::Wait => "wait",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// What a variable is spoken as when the prompt does not say: the engine's own variables have their kinds, what the
    /// caller keyed in is read back digit by digit.
    #[must_use]
    pub fn of_variable(name: &str) -> Self {
        match name {
            "position" => Self::Number,
            "ahead" => Self::Count,
            "wait" => Self::Wait,
            "date" => Self::Date,
            "time" => Self::Time,
            _ => Self::Digits,
        }
    }
}

/// A word to say, or a short pause between groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Token {
    /// One of [`vocabulary`].
    Word(String),
    /// A breath.
    Pause,
}

pub(crate) fn word(text: impl Into<String>) -> Token {
    Token::Word(text.into())
}

/// The words for a value, or `None` when the value is not of that kind.
#[must_use]
pub fn speak(lang: Lang, kind: Kind, value: &str) -> Option<Vec<Token>> {
    let value = value.trim();
    match lang {
        Lang::Zh => zh::speak(kind, value),
        Lang::En => en::speak(kind, value),
    }
}

/// The words for a value; what does not fit its kind is spelled, and what cannot be spelled is called unknown. Never
/// empty.
#[must_use]
pub fn speak_or_spell(lang: Lang, kind: Kind, value: &str) -> Vec<Token> {
    speak(lang, kind, value)
        .filter(|tokens| !tokens.is_empty())
        .or_else(|| speak(lang, Kind::Digits, value).filter(|tokens| !tokens.is_empty()))
        .unwrap_or_else(|| vec![unknown(lang, kind)])
}

/// A value as it is written: figures stay figures, an estimate of a wait is said in words, an amount has its currency.
#[must_use]
pub fn written(lang: Lang, kind: Kind, value: &str) -> String {
    let value = value.trim();
    let in_words = matches!(kind, Kind::Wait | Kind::Duration) || value.is_empty();
    if !in_words {
        return match (kind, lang) {
            (Kind::Money, _) if value.parse::<f64>().is_ok() => format!("¥{value}"),
            _ => value.to_owned(),
        };
    }
    let words = speak_or_spell(lang, kind, value).into_iter().filter_map(|token| match token {
        Token::Word(word) => Some(word),
        Token::Pause => None,
    });
    words.collect::<Vec<_>>().join(if lang == Lang::En { " " } else { "" })
}

fn unknown(lang: Lang, kind: Kind) -> Token {
    word(match (lang, kind) {
        (Lang::Zh, Kind::Wait) => zh::SOME_MINUTES,
        (Lang::En, Kind::Wait) => en::SOME_MINUTES,
        (Lang::Zh, _) => zh::UNKNOWN,
        (Lang::En, _) => en::UNKNOWN,
    })
}

/// Every word that the rules of a language can ever say, sorted.
#[must_use]
pub fn vocabulary(lang: Lang) -> Vec<String> {
    let mut words = match lang {
        Lang::Zh => zh::vocabulary(),
        Lang::En => en::vocabulary(),
    };
    words.sort();
    words.dedup();
    words
}

/// Where a reader of digits takes breath: eleven as 3-4-4 (a mobile number), more than five in fours.
pub(crate) fn breath_before(index: usize, count: usize) -> bool {
    match count {
        11 => index == 3 || index == 7,
        6.. => index > 0 && index.is_multiple_of(4),
        _ => false,
    }
}

// ---- values, read once for both languages ----

/// A decimal number: sign, whole part, digits after the point.
pub(crate) struct Decimal<'a> {
    pub(crate) negative: bool,
    pub(crate) whole: u64,
    pub(crate) fraction: &'a str,
}

/// Below this a number is spoken as a number; 10^16 is more than any plan means.
pub(crate) const NUMBER_MAX: u64 = 9_999_999_999_999_999;

pub(crate) fn decimal(value: &str) -> Option<Decimal<'_>> {
    let (negative, rest) = value.strip_prefix('-').map_or((false, value), |rest| (true, rest));
    let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 8 || rest.ends_with('.') {
        return None;
    }
    let whole: u64 = whole.parse().ok().filter(|n| *n <= NUMBER_MAX)?;
    Some(Decimal { negative, whole, fraction })
}

/// The currencies with say-rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Currency {
    Cny,
    Usd,
}

/// An amount: negative, currency, whole units, hundredths.
pub(crate) struct Amount {
    pub(crate) negative: bool,
    pub(crate) currency: Currency,
    pub(crate) whole: u64,
    pub(crate) hundredths: u64,
}

pub(crate) fn amount(value: &str) -> Option<Amount> {
    const MARKS: [(&str, Currency); 8] = [
        ("CNY", Currency::Cny),
        ("RMB", Currency::Cny),
        ("USD", Currency::Usd),
        ("¥", Currency::Cny),
        ("¥", Currency::Cny),
        ("元", Currency::Cny),
        ("$", Currency::Usd),
        ("$", Currency::Usd),
    ];
    let (minus, rest) = value.strip_prefix('-').map_or((false, value), |rest| (true, rest));
    let found = MARKS.iter().find_map(|(mark, currency)| {
        rest.strip_prefix(mark).or_else(|| rest.strip_suffix(mark)).map(|rest| (rest.trim(), *currency))
    });
    let (rest, currency) = found.unwrap_or((rest, Currency::Cny));
    let plain: String = rest.chars().filter(|c| *c != ',').collect();
    let number = decimal(&plain)?;
    // Fractions of a cent are not spoken; `12.5` is fifty hundredths.
    let mut cents = number.fraction.bytes().chain(*b"00").take(2).map(|b| u64::from(b - b'0'));
    let hundredths = cents.next()? * 10 + cents.next()?;
    Some(Amount { negative: minus || number.negative, currency, whole: number.whole, hundredths })
}

pub(crate) fn date(value: &str) -> Option<jiff::civil::Date> {
    value.parse().ok().filter(|date: &jiff::civil::Date| (1..=9999).contains(&date.year()))
}

/// Hour and minute of `14:05` or `14:05:30`.
pub(crate) fn time(value: &str) -> Option<(u8, u8)> {
    let mut parts = value.split(':');
    let mut next = |max: u8| -> Option<u8> {
        let part = parts.next()?;
        if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        part.parse().ok().filter(|n| *n <= max)
    };
    let hour_minute = (next(23)?, next(59)?);
    let tail: Vec<&str> = parts.collect();
    (tail.is_empty() || (tail.len() == 1 && tail[0].parse::<u8>().is_ok_and(|s| s < 60))).then_some(hour_minute)
}

/// Whole seconds, at most a year.
pub(crate) fn seconds(value: &str) -> Option<u64> {
    value.bytes().all(|b| b.is_ascii_digit()).then(|| value.parse().ok()).flatten().filter(|s| *s <= 366 * 86_400)
}

/// A wait estimate as the range that is announced; never shorter than the estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WaitRange {
    /// At most one minute.
    UnderAMinute,
    /// From, to: minutes.
    Minutes(u64, u64),
    /// More than an hour.
    OverAnHour,
}

/// Rounded up: 61 to 120 s is "one to two minutes", from ten minutes on the steps are five minutes.
pub(crate) fn wait_range(seconds: u64) -> WaitRange {
    let minutes = seconds.div_ceil(60);
    match minutes {
        0 | 1 => WaitRange::UnderAMinute,
        2..=10 => WaitRange::Minutes(minutes - 1, minutes),
        11..=60 => {
            let to = minutes.div_ceil(5) * 5;
            WaitRange::Minutes(to - 5, to)
        }
        _ => WaitRange::OverAnHour,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_word_ever_spoken_is_in_the_vocabulary() {
        for lang in Lang::ALL {
            let known: BTreeSet<String> = vocabulary(lang).into_iter().collect();
            let mut values: Vec<String> = (0..3_000u64).map(|n| (n * n * n * 7_919).to_string()).collect();
            values.extend((0..400).map(|n| n.to_string()));
            values.extend((0..2_000).map(|n| format!("{}.{:02}", n * 37, n % 100)));
            values.extend((0..200).map(|n| format!("USD {}.{:02}", n, n % 100)));
            values.extend((0..1_440).map(|n| format!("{:02}:{:02}", n / 60, n % 60)));
            let day = jiff::civil::date(2023, 12, 25);
            values.extend((0..900).map(|n| day.saturating_add(jiff::Span::new().days(n)).to_string()));
            values.extend(["1905-02-03", "2100-01-01", "2000-01-01", "9999-12-31", "0987-01-02"].map(str::to_owned));
            values.extend(["AB12xy", "-7.05", "", "??", "$0.01", "9999999999999999"].map(str::to_owned));
            for kind in Kind::ALL {
                for value in &values {
                    let tokens = speak_or_spell(lang, kind, value);
                    assert!(!tokens.is_empty(), "{lang} {kind:?} {value:?} is silent");
                    for token in tokens {
                        if let Token::Word(text) = token {
                            assert!(known.contains(&text), "{lang} {kind:?} {value:?} says unknown word {text:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_announced_wait_is_never_shorter_than_the_estimate() {
        for seconds in 0..4_000u64 {
            let to = match wait_range(seconds) {
                WaitRange::UnderAMinute => 60,
                WaitRange::Minutes(from, to) => {
                    assert!(from < to);
                    to * 60
                }
                WaitRange::OverAnHour => u64::MAX,
            };
            assert!(to >= seconds, "{seconds} s announced as at most {to} s");
        }
    }
}
