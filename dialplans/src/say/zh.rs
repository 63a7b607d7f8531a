//! Mandarin: 两 and 二, 幺 on the telephone, 十一 and not 一十一, 万 and 亿, zeros inside numbers, 元角分.

use super::{Currency, Kind, NUMBER_MAX, Token, WaitRange, amount, date, decimal, seconds, time, wait_range, word};

pub(super) const UNKNOWN: &str = "未知";
pub(super) const SOME_MINUTES: &str = "几分钟";
const DIGITS: [&str; 10] = ["零", "一", "二", "三", "四", "五", "六", "七", "八", "九"];
const YAO: &str = "幺";

pub(super) fn speak(kind: Kind, value: &str) -> Option<Vec<Token>> {
    match kind {
        Kind::Digits => digits(value),
        Kind::Number => number(value, false),
        Kind::Count => number(value, true),
        Kind::Money => money(value),
        Kind::Date => day(value),
        Kind::Time => clock(value),
        Kind::Duration => duration(seconds(value)?),
        Kind::Wait => Some(wait(seconds(value)?)),
    }
}

/// Digit by digit, letters spelled, a breath every four. 幺 for 1 from three digits on: 95188 but "按一".
fn digits(value: &str) -> Option<Vec<Token>> {
    let kept: Vec<char> = value.chars().filter(char::is_ascii_alphanumeric).collect();
    let other = value.chars().any(|c| !c.is_ascii_alphanumeric() && !matches!(c, ' ' | '-' | '+' | '.' | ':' | '/'));
    if kept.is_empty() || other {
        return None;
    }
    let phone = kept.len() >= 3;
    let mut out = Vec::new();
    for (i, c) in kept.iter().enumerate() {
        if super::breath_before(i, kept.len()) {
            out.push(Token::Pause);
        }
        out.push(match c.to_digit(10) {
            Some(1) if phone => word(YAO),
            Some(d) => word(DIGITS[d as usize]),
            None => word(c.to_ascii_uppercase()),
        });
    }
    Some(out)
}

/// 0 to 99 as one word; `inside`: after a hundred or a zero, where ten is 一十.
fn below_hundred(n: u64, inside: bool) -> String {
    let (tens, ones) = ((n / 10) as usize, (n % 10) as usize);
    let ones_text = if ones == 0 { "" } else { DIGITS[ones] };
    match tens {
        0 => DIGITS[ones].to_owned(),
        1 if !inside => format!("十{ones_text}"),
        _ => format!("{}十{ones_text}", DIGITS[tens]),
    }
}

/// 1 to 9999. `inside`: something was said before; the caller has said any zero that is due.
fn group(n: u64, inside: bool, out: &mut Vec<Token>) {
    let (thousands, hundreds, rest) = (n / 1_000, n / 100 % 10, n % 100);
    if thousands > 0 {
        out.push(word(format!("{}千", liang(thousands))));
    }
    if hundreds > 0 {
        out.push(word(format!("{}百", liang(hundreds))));
    } else if thousands > 0 && rest > 0 {
        out.push(word("零"));
    }
    if rest > 0 {
        if hundreds > 0 && rest < 10 {
            out.push(word("零"));
        }
        let inside = inside || thousands > 0 || hundreds > 0;
        out.push(word(below_hundred(rest, inside)));
    }
}

/// 两 before 百, 千, 万, 亿.
fn liang(n: u64) -> &'static str {
    if n == 2 { "两" } else { DIGITS[n as usize] }
}

fn whole(n: u64, count: bool) -> Vec<Token> {
    debug_assert!(n <= NUMBER_MAX);
    if n == 0 {
        return vec![word("零")];
    }
    if n == 2 && count {
        return vec![word("两")];
    }
    let mut out = Vec::new();
    // What is counted in 亿 is a number of its own: 一万两千亿.
    let (yi, rest) = (n / 1_0000_0000, n % 1_0000_0000);
    if yi > 0 {
        below_yi(yi, true, &mut out);
        out.push(word("亿"));
    }
    below_yi(rest, false, &mut out);
    out
}

/// 1 to 99,999,999, or nothing for 0. `counts`: a unit follows, so that a lone two is 两.
fn below_yi(n: u64, counts: bool, out: &mut Vec<Token>) {
    let mut gap = false;
    for (part, unit) in [(n / 1_0000, "万"), (n % 1_0000, "")] {
        if part == 0 {
            gap = !out.is_empty();
            continue;
        }
        if !out.is_empty() && (gap || part < 1_000) {
            out.push(word("零"));
        }
        gap = false;
        if part == 2 && (counts || !unit.is_empty()) && out.is_empty() {
            out.push(word("两"));
        } else {
            let inside = !out.is_empty();
            group(part, inside, out);
        }
        if !unit.is_empty() {
            out.push(word(unit));
        }
    }
}

fn number(value: &str, count: bool) -> Option<Vec<Token>> {
    let decimal = decimal(value)?;
    let mut out = Vec::new();
    if decimal.negative {
        out.push(word("负"));
    }
    out.extend(whole(decimal.whole, count && decimal.fraction.is_empty()));
    if !decimal.fraction.is_empty() {
        out.push(word("点"));
        out.extend(decimal.fraction.bytes().map(|b| word(DIGITS[usize::from(b - b'0')])));
    }
    Some(out)
}

fn money(value: &str) -> Option<Vec<Token>> {
    let amount = amount(value)?;
    let mut out = Vec::new();
    if amount.negative {
        out.push(word("负"));
    }
    let (jiao, fen) = (amount.hundredths / 10, amount.hundredths % 10);
    let (unit, small) = match amount.currency {
        Currency::Cny => ("元", None),
        Currency::Usd => ("美元", Some("美分")),
    };
    if amount.whole > 0 || amount.hundredths == 0 {
        out.extend(whole(amount.whole, true));
        out.push(word(unit));
    }
    if let Some(small) = small {
        if amount.hundredths > 0 {
            out.extend(whole(amount.hundredths, true));
            out.push(word(small));
        }
        return Some(out);
    }
    let alone = amount.whole == 0;
    if jiao > 0 {
        out.push(word(if alone { liang(jiao) } else { DIGITS[jiao as usize] }));
        out.push(word("角"));
    } else if fen > 0 && !alone {
        out.push(word("零"));
    }
    if fen > 0 {
        out.push(word(if alone && jiao == 0 { liang(fen) } else { DIGITS[fen as usize] }));
        out.push(word("分"));
    }
    Some(out)
}

fn day(value: &str) -> Option<Vec<Token>> {
    let date = date(value)?;
    let year = format!("{:04}", date.year());
    let mut out: Vec<Token> = year.bytes().map(|b| word(DIGITS[usize::from(b - b'0')])).collect();
    out.push(word("年"));
    out.push(word(format!("{}月", below_hundred(u64::from(date.month().unsigned_abs()), false))));
    out.push(word(format!("{}号", below_hundred(u64::from(date.day().unsigned_abs()), false))));
    Some(out)
}

const DAY_PARTS: [&str; 6] = ["凌晨", "早上", "上午", "中午", "下午", "晚上"];

fn clock(value: &str) -> Option<Vec<Token>> {
    let (hour, minute) = time(value)?;
    let part = DAY_PARTS[match hour {
        0..=5 => 0,
        6..=8 => 1,
        9..=11 => 2,
        12 => 3,
        13..=17 => 4,
        _ => 5,
    }];
    let hour = if hour > 12 { hour - 12 } else { hour };
    let mut out = vec![word(part), word(hour_text(hour))];
    match minute {
        0 => {}
        30 => out.push(word("半")),
        _ => out.push(word(minute_text(minute))),
    }
    Some(out)
}

fn hour_text(hour: u8) -> String {
    if hour == 2 { "两点".to_owned() } else { format!("{}点", below_hundred(u64::from(hour), false)) }
}

fn minute_text(minute: u8) -> String {
    let zero = if minute < 10 { "零" } else { "" };
    format!("{zero}{}分", below_hundred(u64::from(minute), false))
}

fn duration(total: u64) -> Option<Vec<Token>> {
    let (hours, minutes, rest) = (total / 3_600, total / 60 % 60, total % 60);
    let mut out = Vec::new();
    for (n, unit) in [(hours, "小时"), (minutes, if rest > 0 { "分" } else { "分钟" }), (rest, "秒")] {
        if n > 0 {
            out.extend(whole(n, true));
            out.push(word(unit));
        }
    }
    if out.is_empty() {
        out.extend([word("零"), word("秒")]);
    }
    Some(out)
}

fn wait(total: u64) -> Vec<Token> {
    match wait_range(total) {
        WaitRange::UnderAMinute => vec![word("不到一分钟")],
        WaitRange::OverAnHour => vec![word("一个小时以上")],
        WaitRange::Minutes(from, to) => {
            let mut out = vec![word("约")];
            out.extend(whole(from, true));
            out.push(word("到"));
            out.extend(whole(to, true));
            out.push(word("分钟"));
            out
        }
    }
}

pub(super) fn vocabulary() -> Vec<String> {
    let mut words: Vec<String> = DIGITS.map(str::to_owned).to_vec();
    words.extend(('A'..='Z').map(String::from));
    words.extend((0..100).map(|n| below_hundred(n, false)));
    words.extend((10..20).map(|n| below_hundred(n, true)));
    for n in 1..10 {
        words.push(format!("{}千", liang(n)));
        words.push(format!("{}百", liang(n)));
    }
    words.extend((1..=12).map(|n| format!("{}月", below_hundred(n, false))));
    words.extend((1..=31).map(|n| format!("{}号", below_hundred(n, false))));
    words.extend((0..=12).map(hour_text));
    words.extend((1..60).filter(|m| *m != 30).map(minute_text));
    words.extend(DAY_PARTS.map(str::to_owned));
    let rest = [
        YAO,
        "两",
        "亿",
        "万",
        "点",
        "负",
        "元",
        "角",
        "分",
        "美元",
        "美分",
        "年",
        "半",
        "小时",
        "分钟",
        "秒",
        "约",
        "到",
        "不到一分钟",
        "一个小时以上",
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
                tokens
                    .iter()
                    .map(|token| match token {
                        Token::Word(text) => text.as_str(),
                        Token::Pause => " ",
                    })
                    .collect()
            },
        )
    }

    fn table(kind: Kind, rows: &[(&str, &str)]) {
        for (value, wanted) in rows {
            assert_eq!(said(kind, value), *wanted, "{kind:?} {value}");
        }
    }

    #[test]
    fn numbers_follow_the_rules_of_liang_zero_wan_and_yi() {
        table(
            Kind::Number,
            &[
                ("0", "零"),
                ("2", "二"),
                ("10", "十"),
                ("11", "十一"),
                ("12", "十二"),
                ("20", "二十"),
                ("22", "二十二"),
                ("100", "一百"),
                ("101", "一百零一"),
                ("110", "一百一十"),
                ("111", "一百一十一"),
                ("200", "两百"),
                ("222", "两百二十二"),
                ("1000", "一千"),
                ("1001", "一千零一"),
                ("1010", "一千零一十"),
                ("1011", "一千零一十一"),
                ("1100", "一千一百"),
                ("2002", "两千零二"),
                ("2222", "两千两百二十二"),
                ("10000", "一万"),
                ("10001", "一万零一"),
                ("10010", "一万零一十"),
                ("10100", "一万零一百"),
                ("11000", "一万一千"),
                ("20000", "两万"),
                ("22000", "两万两千"),
                ("100000", "十万"),
                ("120000", "十二万"),
                ("100012", "十万零一十二"),
                ("1020000", "一百零二万"),
                ("20002000", "两千万两千"),
                ("100000000", "一亿"),
                ("200000000", "两亿"),
                ("100010000", "一亿零一万"),
                ("100000001", "一亿零一"),
                ("1234567890", "十二亿三千四百五十六万七千八百九十"),
                ("1000000000", "十亿"),
                ("2000000000", "二十亿"),
                ("210000", "二十一万"),
                ("110000", "十一万"),
                ("20002", "两万零二"),
                ("202", "两百零二"),
                ("120", "一百二十"),
                ("1000000000000", "一万亿"),
                ("1200000000000", "一万两千亿"),
                ("2000000000000", "两万亿"),
                ("1000100000000", "一万零一亿"),
                ("1000012345678", "一万亿一千两百三十四万五千六百七十八"),
                ("9999999999999999", "九千九百九十九万九千九百九十九亿九千九百九十九万九千九百九十九"),
                ("1000000000001", "一万亿零一"),
                ("3.05", "三点零五"),
                ("2.2", "二点二"),
                ("-7", "负七"),
                ("abc", "-"),
                ("1.", "-"),
                ("", "-"),
            ],
        );
    }

    #[test]
    fn counts_say_liang() {
        table(Kind::Count, &[("0", "零"), ("1", "一"), ("2", "两"), ("12", "十二"), ("22", "二十二"), ("200", "两百")]);
    }

    #[test]
    fn digits_use_yao_on_the_telephone_only() {
        table(
            Kind::Digits,
            &[
                ("1", "一"),
                ("12", "一二"),
                ("110", "幺幺零"),
                ("95188", "九五幺八八"),
                ("13800138000", "幺三八 零零幺三 八零零零"),
                ("20261001", "二零二六 幺零零幺"),
                ("A12", "A幺二"),
                ("您", "-"),
            ],
        );
    }

    #[test]
    fn amounts_are_yuan_jiao_fen() {
        table(
            Kind::Money,
            &[
                ("0", "零元"),
                ("2", "两元"),
                ("12", "十二元"),
                ("12.5", "十二元五角"),
                ("12.34", "十二元三角四分"),
                ("1.2", "一元二角"),
                ("0.05", "五分"),
                ("0.10", "一角"),
                ("-0.05", "负五分"),
                ("12.05", "十二元零五分"),
                ("20002", "两万零二元"),
                ("200.20", "两百元二角"),
                ("0.2", "两角"),
                ("0.02", "两分"),
                ("0.22", "两角二分"),
                ("2.22", "两元二角二分"),
                ("1,234.00", "一千两百三十四元"),
                ("-3", "负三元"),
                ("USD 2.50", "两美元五十美分"),
                ("$0.01", "一美分"),
                ("¥8", "八元"),
                ("x", "-"),
            ],
        );
    }

    #[test]
    fn dates_and_times() {
        table(
            Kind::Date,
            &[
                ("2026-10-01", "二零二六年十月一号"),
                ("2026-11-26", "二零二六年十一月二十六号"),
                ("2026-02-22", "二零二六年二月二十二号"),
                ("2000-12-02", "二零零零年十二月二号"),
                ("2027-02-11", "二零二七年二月十一号"),
                ("2026-13-01", "-"),
            ],
        );
        table(
            Kind::Time,
            &[
                ("00:00", "凌晨零点"),
                ("0:05", "凌晨零点零五分"),
                ("02:05", "凌晨两点零五分"),
                ("12:22", "中午十二点二十二分"),
                ("22:02", "晚上十点零二分"),
                ("08:30", "早上八点半"),
                ("10:10", "上午十点十分"),
                ("12:00", "中午十二点"),
                ("14:15", "下午两点十五分"),
                ("18:00", "晚上六点"),
                ("23:59", "晚上十一点五十九分"),
                ("24:00", "-"),
            ],
        );
    }

    #[test]
    fn durations_and_waits() {
        table(
            Kind::Duration,
            &[
                ("0", "零秒"),
                ("2", "两秒"),
                ("60", "一分钟"),
                ("90", "一分三十秒"),
                ("7200", "两小时"),
                ("3660", "一小时一分钟"),
                ("120", "两分钟"),
                ("720", "十二分钟"),
                ("7342", "两小时两分二十二秒"),
            ],
        );
        table(
            Kind::Wait,
            &[
                ("0", "不到一分钟"),
                ("60", "不到一分钟"),
                ("61", "约一到两分钟"),
                ("130", "约两到三分钟"),
                ("180", "约两到三分钟"),
                ("600", "约九到十分钟"),
                ("601", "约十到十五分钟"),
                ("3600", "约五十五到六十分钟"),
                ("4000", "一个小时以上"),
            ],
        );
    }
}
