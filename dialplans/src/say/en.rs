//! English.

use super::{Currency, Kind, NUMBER_MAX, Token, WaitRange, amount, date, decimal, seconds, time, wait_range, word};

pub(super) const UNKNOWN: &str = "unknown";
pub(super) const SOME_MINUTES: &str = "a few minutes";
const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const ORDINALS: [&str; 20] = [
    "",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
];

pub(super) fn speak(kind: Kind, value: &str) -> Option<Vec<Token>> {
    match kind {
        Kind::Digits => digits(value),
        Kind::Number | Kind::Count => number(value),
        Kind::Money => money(value),
        Kind::Date => day(value),
        Kind::Time => clock(value),
        Kind::Duration => duration(seconds(value)?),
        Kind::Wait => Some(wait(seconds(value)?)),
    }
}

/// Digit by digit, letters spelled, a breath between groups.
fn digits(value: &str) -> Option<Vec<Token>> {
    let kept: Vec<char> = value.chars().filter(char::is_ascii_alphanumeric).collect();
    let other = value.chars().any(|c| !c.is_ascii_alphanumeric() && !matches!(c, ' ' | '-' | '+' | '.' | ':' | '/'));
    if kept.is_empty() || other {
        return None;
    }
    let mut out = Vec::new();
    for (i, c) in kept.iter().enumerate() {
        if super::breath_before(i, kept.len()) {
            out.push(Token::Pause);
        }
        out.push(match c.to_digit(10) {
            Some(d) => word(SMALL[d as usize]),
            None => word(c.to_ascii_uppercase()),
        });
    }
    Some(out)
}

/// 0 to 99 as one word.
fn below_hundred(n: u64) -> String {
    let n = n as usize;
    match (n / 10, n % 10) {
        _ if n < 20 => SMALL[n].to_owned(),
        (tens, 0) => TENS[tens].to_owned(),
        (tens, ones) => format!("{}-{}", TENS[tens], SMALL[ones]),
    }
}

fn whole(n: u64) -> Vec<Token> {
    debug_assert!(n <= NUMBER_MAX);
    if n == 0 {
        return vec![word("zero")];
    }
    let mut out = Vec::new();
    let parts = [
        (n / 1_000_000_000_000_000, "quadrillion"),
        (n / 1_000_000_000_000 % 1_000, "trillion"),
        (n / 1_000_000_000 % 1_000, "billion"),
        (n / 1_000_000 % 1_000, "million"),
        (n / 1_000 % 1_000, "thousand"),
        (n % 1_000, ""),
    ];
    for (part, unit) in parts {
        if part == 0 {
            continue;
        }
        if part >= 100 {
            out.extend([word(SMALL[(part / 100) as usize]), word("hundred")]);
        }
        if part % 100 > 0 {
            if !out.is_empty() && (part >= 100 || unit.is_empty()) {
                out.push(word("and"));
            }
            out.push(word(below_hundred(part % 100)));
        }
        if !unit.is_empty() {
            out.push(word(unit));
        }
    }
    out
}

fn number(value: &str) -> Option<Vec<Token>> {
    let decimal = decimal(value)?;
    let mut out = Vec::new();
    if decimal.negative {
        out.push(word("minus"));
    }
    out.extend(whole(decimal.whole));
    if !decimal.fraction.is_empty() {
        out.push(word("point"));
        out.extend(decimal.fraction.bytes().map(|b| word(SMALL[usize::from(b - b'0')])));
    }
    Some(out)
}

fn money(value: &str) -> Option<Vec<Token>> {
    let amount = amount(value)?;
    let mut out = Vec::new();
    if amount.negative {
        out.push(word("minus"));
    }
    let (unit, small) = match amount.currency {
        Currency::Cny => ("yuan", "fen"),
        Currency::Usd if amount.whole == 1 => ("dollar", "cents"),
        Currency::Usd => ("dollars", "cents"),
    };
    if amount.whole > 0 || amount.hundredths == 0 {
        out.extend(whole(amount.whole));
        out.push(word(unit));
    }
    if amount.hundredths > 0 {
        if amount.whole > 0 {
            out.push(word("and"));
        }
        out.push(word(below_hundred(amount.hundredths)));
        out.push(word(if small == "cents" && amount.hundredths == 1 { "cent" } else { small }));
    }
    Some(out)
}

fn ordinal(n: usize) -> String {
    match (n / 10, n % 10) {
        _ if n < 20 => ORDINALS[n].to_owned(),
        (2, 0) => "twentieth".to_owned(),
        (3, 0) => "thirtieth".to_owned(),
        (tens, ones) => format!("{}-{}", TENS[tens], ORDINALS[ones]),
    }
}

fn day(value: &str) -> Option<Vec<Token>> {
    let date = date(value)?;
    let month = MONTHS[usize::from(date.month().unsigned_abs()) - 1];
    let mut out = vec![word(month), word(ordinal(usize::from(date.day().unsigned_abs())))];
    let year = u64::from(date.year().unsigned_abs());
    let (century, rest) = (year / 100, year % 100);
    match (century, rest) {
        // Two thousand and five; nineteen hundred; twenty twenty-six; nineteen oh five.
        (10 | 20, 0..=9) | (0, _) => out.extend(whole(year)),
        (_, 0) => out.extend([word(below_hundred(century)), word("hundred")]),
        (_, 1..=9) => out.extend([word(below_hundred(century)), word("oh"), word(below_hundred(rest))]),
        _ => out.extend([word(below_hundred(century)), word(below_hundred(rest))]),
    }
    Some(out)
}

fn clock(value: &str) -> Option<Vec<Token>> {
    let (hour, minute) = time(value)?;
    match (hour, minute) {
        (0, 0) => return Some(vec![word("midnight")]),
        (12, 0) => return Some(vec![word("noon")]),
        _ => {}
    }
    let spoken = match hour {
        0 => 12,
        13..=23 => hour - 12,
        _ => hour,
    };
    let mut out = vec![word(below_hundred(u64::from(spoken)))];
    if minute > 0 {
        if minute < 10 {
            out.push(word("oh"));
        }
        out.push(word(below_hundred(u64::from(minute))));
    }
    out.push(word(if hour < 12 { "A M" } else { "P M" }));
    Some(out)
}

fn duration(total: u64) -> Option<Vec<Token>> {
    let mut out = Vec::new();
    for (n, one, many) in
        [(total / 3_600, "hour", "hours"), (total / 60 % 60, "minute", "minutes"), (total % 60, "second", "seconds")]
    {
        if n > 0 {
            out.extend(whole(n));
            out.push(word(if n == 1 { one } else { many }));
        }
    }
    if out.is_empty() {
        out.extend([word("zero"), word("seconds")]);
    }
    Some(out)
}

fn wait(total: u64) -> Vec<Token> {
    match wait_range(total) {
        WaitRange::UnderAMinute => vec![word("less than a minute")],
        WaitRange::OverAnHour => vec![word("more than an hour")],
        WaitRange::Minutes(from, to) => {
            let mut out = vec![word("about")];
            out.extend(whole(from));
            out.push(word("to"));
            out.extend(whole(to));
            out.push(word("minutes"));
            out
        }
    }
}

pub(super) fn vocabulary() -> Vec<String> {
    let mut words: Vec<String> = (0..100).map(below_hundred).collect();
    words.extend(('A'..='Z').map(String::from));
    words.extend(MONTHS.map(str::to_owned));
    words.extend((1..=31).map(ordinal));
    let rest = [
        "hundred",
        "thousand",
        "million",
        "billion",
        "trillion",
        "quadrillion",
        "and",
        "point",
        "minus",
        "yuan",
        "fen",
        "dollar",
        "dollars",
        "cent",
        "cents",
        "oh",
        "A M",
        "P M",
        "noon",
        "midnight",
        "hour",
        "hours",
        "minute",
        "minutes",
        "second",
        "seconds",
        "about",
        "to",
        "less than a minute",
        "more than an hour",
        SOME_MINUTES,
        UNKNOWN,
    ];
    words.extend(rest.map(str::to_owned));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: Kind, value: &str) -> String {
        speak(kind, value).map_or_else(
            || "-".to_owned(),
            |tokens| {
                let words: Vec<&str> = tokens
                    .iter()
                    .map(|token| match token {
                        Token::Word(text) => text.as_str(),
                        Token::Pause => ",",
                    })
                    .collect();
                words.join(" ")
            },
        )
    }

    fn table(kind: Kind, rows: &[(&str, &str)]) {
        for (value, wanted) in rows {
            assert_eq!(said(kind, value), *wanted, "{kind:?} {value}");
        }
    }

    #[test]
    fn numbers() {
        table(
            Kind::Number,
            &[
                ("0", "zero"),
                ("13", "thirteen"),
                ("42", "forty-two"),
                ("100", "one hundred"),
                ("101", "one hundred and one"),
                ("120", "one hundred and twenty"),
                ("200", "two hundred"),
                ("2000", "two thousand"),
                ("10010", "ten thousand and ten"),
                ("20002", "twenty thousand and two"),
                ("110000", "one hundred and ten thousand"),
                ("1000000000", "one billion"),
                ("342", "three hundred and forty-two"),
                ("1000", "one thousand"),
                ("1001", "one thousand and one"),
                ("12345", "twelve thousand three hundred and forty-five"),
                ("1000000", "one million"),
                ("2000015", "two million and fifteen"),
                ("3.05", "three point zero five"),
                ("-7", "minus seven"),
                ("1e5", "-"),
            ],
        );
        table(Kind::Count, &[("2", "two")]);
        table(
            Kind::Digits,
            &[
                ("95188", "nine five one eight eight"),
                ("A1", "A one"),
                ("13800138000", "one three eight , zero zero one three , eight zero zero zero"),
            ],
        );
    }

    #[test]
    fn amounts() {
        table(
            Kind::Money,
            &[
                ("0", "zero yuan"),
                ("12.50", "twelve yuan and fifty fen"),
                ("0.05", "five fen"),
                ("1.20", "one yuan and twenty fen"),
                ("120", "one hundred and twenty yuan"),
                ("$2", "two dollars"),
                ("$1", "one dollar"),
                ("USD 2.01", "two dollars and one cent"),
                ("-$3.20", "minus three dollars and twenty cents"),
            ],
        );
    }

    #[test]
    fn dates_and_times() {
        table(
            Kind::Date,
            &[
                ("2026-10-01", "October first twenty twenty-six"),
                ("2026-11-26", "November twenty-sixth twenty twenty-six"),
                ("2010-12-12", "December twelfth twenty ten"),
                ("2026-03-03", "March third twenty twenty-six"),
                ("2005-02-22", "February twenty-second two thousand and five"),
                ("1900-01-30", "January thirtieth nineteen hundred"),
                ("1905-01-31", "January thirty-first nineteen oh five"),
            ],
        );
        table(
            Kind::Time,
            &[
                ("00:00", "midnight"),
                ("00:05", "twelve oh five A M"),
                ("0:05", "twelve oh five A M"),
                ("22:22", "ten twenty-two P M"),
                ("09:00", "nine A M"),
                ("12:00", "noon"),
                ("12:30", "twelve thirty P M"),
                ("14:05", "two oh five P M"),
            ],
        );
    }

    #[test]
    fn durations_and_waits() {
        table(
            Kind::Duration,
            &[("0", "zero seconds"), ("1", "one second"), ("90", "one minute thirty seconds"), ("7200", "two hours")],
        );
        table(
            Kind::Wait,
            &[
                ("10", "less than a minute"),
                ("130", "about two to three minutes"),
                ("700", "about ten to fifteen minutes"),
                ("4000", "more than an hour"),
            ],
        );
    }
}
