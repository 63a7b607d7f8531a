//! Calendars: opening hours by weekday, holidays, and the make-up working days (调休) that Chinese holidays bring.

use std::collections::BTreeMap;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::diagnostic::both;
use crate::prompt::inside;
use crate::read::{Block, Field, Kind, Reader, Value, may, must};
use crate::source::{Name, Span};
use crate::suggest;

/// What a calendar says about a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Within opening hours.
    Open,
    /// Outside opening hours.
    Closed,
    /// A holiday, the whole day.
    Holiday,
}

/// Minutes of a day, 0 to 1440; `to <= from` reaches into the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hours {
    from: u16,
    to: u16,
}

/// Opening hours, Monday first.
type Week = [Vec<Hours>; 7];

/// Opening hours that a state brings itself: `open = ["mon-sun 08:00-22:00"]`.
#[derive(Clone, Debug)]
pub(crate) struct OwnHours(Week);

impl OwnHours {
    pub(crate) fn read(reader: &mut Reader, lines: &[Name]) -> Self {
        Self(week(reader, lines))
    }

    /// As [`Calendar::at`], with the holidays and working days of `calendar` when there is one.
    pub(crate) fn at(&self, calendar: Option<&Calendar>, at: Timestamp, zone: &TimeZone) -> Opening {
        match calendar {
            Some(calendar) => calendar.with(&self.0, at, zone),
            None => {
                let name = Name::new("", 0..0);
                let bare = Calendar {
                    name,
                    week: self.0.clone(),
                    holidays: BTreeMap::new(),
                    workdays: BTreeMap::new(),
                    until: None,
                };
                bare.at(at, zone)
            }
        }
    }
}

fn week(reader: &mut Reader, lines: &[Name]) -> Week {
    let mut week = Week::default();
    for line in lines {
        if let Some((days, hours)) = opening(reader, line) {
            for day in days {
                week[day].push(hours);
            }
        }
    }
    week
}

/// One `[calendar.NAME]`.
#[derive(Clone, Debug)]
pub struct Calendar {
    /// Its name and place.
    pub name: Name,
    week: Week,
    holidays: BTreeMap<Date, Span>,
    /// Days that work although a weekend or holiday falls on them; own hours or those of Monday.
    workdays: BTreeMap<Date, (Span, Option<Hours>)>,
    /// Last day that the dates below are kept up to.
    pub until: Option<(Date, Span)>,
}

pub(crate) const FIELDS: &[Field] = &[
    must("open", Kind::Texts, "opening hours, such as [\"mon-fri 09:00-18:00\", \"sat 10:00-16:00\"]"),
    may("holidays", Kind::Texts, "closed days, such as [\"2026-01-01\", \"2026-02-15..2026-02-23\"]"),
    may(
        "workdays",
        Kind::Texts,
        "make-up working days, such as [\"2026-02-14\", \"2026-02-28 09:00-12:00\"]; without hours those of Monday",
    ),
    may("until", Kind::Text, "the last day for which holidays are entered; `check` warns before it comes"),
];

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Calendar {
    /// Whether it is open at that moment in that time zone.
    #[must_use]
    pub fn at(&self, at: Timestamp, zone: &TimeZone) -> Opening {
        self.with(&self.week, at, zone)
    }

    fn with(&self, week: &Week, at: Timestamp, zone: &TimeZone) -> Opening {
        let local = zone.to_datetime(at);
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let today = local.date();
        let open_today = self
            .hours(week, today)
            .iter()
            .any(|h| if h.to > h.from { (h.from..h.to).contains(&minute) } else { minute >= h.from });
        let open_since_yesterday = today
            .checked_sub(1.day())
            .is_ok_and(|yesterday| self.hours(week, yesterday).iter().any(|h| h.to <= h.from && minute < h.to));
        if open_today || open_since_yesterday {
            Opening::Open
        } else if self.holidays.contains_key(&today) && !self.workdays.contains_key(&today) {
            Opening::Holiday
        } else {
            Opening::Closed
        }
    }

    fn hours(&self, week: &Week, date: Date) -> Vec<Hours> {
        if let Some((_, own)) = self.workdays.get(&date) {
            return own.map_or_else(|| week[0].clone(), |hours| vec![hours]);
        }
        if self.holidays.contains_key(&date) {
            return Vec::new();
        }
        week[usize::from(date.weekday().to_monday_zero_offset().unsigned_abs())].clone()
    }

    /// The last holiday or make-up day that is entered.
    #[must_use]
    pub fn last_date(&self) -> Option<Date> {
        self.holidays.keys().chain(self.workdays.keys()).max().copied()
    }
}

/// Reads `[calendar.NAME]`.
pub(crate) fn read(reader: &mut Reader, name: Name, value: &Value<'_>) -> Option<Calendar> {
    let what = format!("[calendar.{name}]");
    let table = reader.table(value, &what, "[calendar.office]")?;
    let block = Block::new(reader, table, what, name.span.clone(), FIELDS, &[]);
    let lines = block.texts(reader, "open");
    let week = week(reader, &lines);
    let mut holidays = BTreeMap::new();
    for text in block.texts(reader, "holidays") {
        if let Some((first, last)) = date_range(reader, &text) {
            let mut day = first;
            // A range is at most a year, so this ends.
            while day <= last {
                if holidays.insert(day, text.span.clone()).is_some() {
                    reader.say("E012", &text.span, both!("holiday {day} is entered twice", "假日 {day} 重复了"), None);
                }
                let Ok(next) = day.checked_add(1.day()) else { break };
                day = next;
            }
        }
    }
    let mut workdays = BTreeMap::new();
    for text in block.texts(reader, "workdays") {
        let (day, hours) = text.text.split_once(' ').map_or((&*text.text, None), |(day, hours)| (day, Some(hours)));
        let Some(date) = one_date(reader, &text, 0, day) else { continue };
        let own = match hours {
            None => None,
            Some(hours) => match hour_range(reader, &text, day.len() + 1, hours) {
                Some(hours) => Some(hours),
                None => continue,
            },
        };
        if own.is_none() && week[0].is_empty() {
            reader.say(
                "E012",
                &text.span,
                both!(
                    "Monday has no hours, so this make-up day needs its own",
                    "星期一没有营业时间，补班日必须写明时间"
                ),
                Some(both!("write `{date} 09:00-18:00`", "请写成 `{date} 09:00-18:00`")),
            );
        }
        if let Some(holiday) = holidays.get(&date) {
            let _ = holiday;
            reader.say(
                "E012",
                &text.span,
                both!("{date} is both a holiday and a working day", "{date} 既是假日又是补班日"),
                None,
            );
        }
        let weekend = matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday);
        if !weekend && own.is_none() {
            reader.say(
                "E012",
                &text.span,
                both!("{date} is not a weekend day: no make-up day is needed", "{date} 不是周末，不需要补班"),
                None,
            );
        }
        workdays.insert(date, (text.span.clone(), own));
    }
    let until = block.name(reader, "until").and_then(|text| {
        let date = one_date(reader, &text, 0, &text.text)?;
        Some((date, text.span))
    });
    Some(Calendar { name, week, holidays, workdays, until })
}

/// `mon-fri 09:00-18:00` or `sat,sun 10:00-16:00`.
fn opening(reader: &mut Reader, line: &Name) -> Option<(Vec<usize>, Hours)> {
    let Some((days_text, hours_text)) = line.text.split_once(' ') else {
        reader.say(
            "E012",
            &line.span,
            both!("opening hours need days and times", "营业时间要写星期和时间"),
            Some(both!("write it like `mon-fri 09:00-18:00`", "请写成 `mon-fri 09:00-18:00` 的样子")),
        );
        return None;
    };
    let mut days = Vec::new();
    let mut at = 0;
    for part in days_text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let from_day = weekday(reader, line, at, from)?;
        let to_day = weekday(reader, line, at + part.len() - to.len(), to)?;
        let mut day = from_day;
        loop {
            if !days.contains(&day) {
                days.push(day);
            }
            if day == to_day {
                break;
            }
            day = (day + 1) % 7;
        }
        at += part.len() + 1;
    }
    let hours_at = days_text.len() + 1;
    hour_range(reader, line, hours_at, hours_text).map(|hours| (days, hours))
}

fn weekday(reader: &mut Reader, line: &Name, at: usize, text: &str) -> Option<usize> {
    let found = DAYS.iter().position(|day| *day == text);
    if found.is_none() {
        let span = inside(&reader.source, line, at, text.len().max(1));
        let near =
            suggest::nearest(text, DAYS).or_else(|| DAYS.into_iter().find(|d| text.to_lowercase().starts_with(d)));
        let help = near.map_or_else(
            || both!("days are mon, tue, wed, thu, fri, sat, sun", "星期写作 mon, tue, wed, thu, fri, sat, sun"),
            |near| both!("did you mean `{near}`?", "是不是 `{near}`?"),
        );
        reader.say("E012", &span, both!("`{text}` is not a day of the week", "`{text}` 不是星期几"), Some(help));
    }
    found
}

fn hour_range(reader: &mut Reader, line: &Name, at: usize, text: &str) -> Option<Hours> {
    let minute = |text: &str| -> Option<u16> {
        let (hour, minute) = text.split_once(':')?;
        let two =
            |t: &str| (t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit())).then(|| t.parse::<u16>().ok()).flatten();
        let total = two(hour)? * 60 + two(minute).filter(|m| *m < 60)?;
        (total <= 1_440).then_some(total)
    };
    let hours = text.split_once('-').and_then(|(from, to)| Some(Hours { from: minute(from)?, to: minute(to)? }));
    let hours = hours.filter(|h| h.from < 1_440 && h.from != h.to);
    if hours.is_none() {
        let span = inside(&reader.source, line, at, text.len().max(1));
        reader.say(
            "E012",
            &span,
            both!("`{text}` is not a time range", "`{text}` 不是时间段"),
            Some(both!(
                "write it like `09:00-18:00`; `00:00-24:00` is the whole day, `22:00-06:00` goes past midnight",
                "请写成 `09:00-18:00`;`00:00-24:00` 为全天，`22:00-06:00` 跨过午夜"
            )),
        );
    }
    hours
}

pub(crate) fn one_date(reader: &mut Reader, whole: &Name, at: usize, text: &str) -> Option<Date> {
    let date: Option<Date> = (text.len() == 10).then(|| text.parse().ok()).flatten();
    if date.is_none() {
        let span = inside(&reader.source, whole, at, text.len().max(1));
        reader.say(
            "E012",
            &span,
            both!("`{text}` is not a date", "`{text}` 不是日期"),
            Some(both!("write it like `2026-10-01`", "请写成 `2026-10-01`")),
        );
    }
    date
}

/// `2026-10-01` or `2026-10-01..2026-10-07`.
fn date_range(reader: &mut Reader, text: &Name) -> Option<(Date, Date)> {
    let (first, last) = text.text.split_once("..").unwrap_or((&*text.text, &*text.text));
    let from = one_date(reader, text, 0, first)?;
    let to = one_date(reader, text, text.text.len() - last.len(), last)?;
    let days = from.until(to).map_or(i32::MAX, |span| span.get_days());
    if !(0..=366).contains(&days) {
        reader.say(
            "E012",
            &text.span,
            both!("the range must run forward and span at most a year", "日期区间必须向后且不超过一年"),
            None,
        );
        return None;
    }
    Some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use toml::de::DeTable;

    fn calendar(text: &str) -> Result<Calendar, Vec<String>> {
        let source = Source::new("test.toml", text);
        let table = DeTable::parse(text).unwrap();
        let mut reader = Reader { source, diagnostics: Vec::new() };
        let (key, value) = table.get_ref().iter().next().unwrap();
        let found = read(&mut reader, Name::new(key.get_ref(), key.span()), value);
        if reader.diagnostics.is_empty() {
            return Ok(found.unwrap());
        }
        Err(reader.diagnostics.iter().map(|d| format!("{}:{} {}", d.line, d.column, d.message.en)).collect())
    }

    fn at(calendar: &Calendar, local: &str) -> Opening {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let moment = local.parse::<jiff::civil::DateTime>().map(|civil| zone.to_timestamp(civil).unwrap()).unwrap();
        calendar.at(moment, &zone)
    }

    #[test]
    fn hours_holidays_and_make_up_days_decide_in_this_order() {
        let calendar = calendar(
            r#"c = { open = ["mon-fri 09:00-18:00", "sat 10:00-16:00"], holidays = ["2026-10-01..2026-10-07"], workdays = ["2026-09-20", "2026-10-10 09:00-12:00"] }"#,
        )
        .unwrap();
        for (moment, wanted) in [
            ("2026-09-21T09:00", Opening::Open),
            ("2026-09-21T08:59", Opening::Closed),
            ("2026-09-21T18:00", Opening::Closed),
            ("2026-09-20T10:00", Opening::Open), // a Sunday that works
            ("2026-09-27T10:00", Opening::Closed),
            ("2026-10-01T10:00", Opening::Holiday),
            ("2026-10-08T10:00", Opening::Open),
            ("2026-10-10T11:00", Opening::Open),
            ("2026-10-10T13:00", Opening::Closed), // Saturday's own hours do not apply to a make-up day with hours
        ] {
            assert_eq!(at(&calendar, moment), wanted, "{moment}");
        }
    }

    #[test]
    fn a_night_shift_reaches_into_the_next_morning() {
        let calendar = calendar(r#"c = { open = ["fri 22:00-06:00", "sun 00:00-24:00"] }"#).unwrap();
        assert_eq!(at(&calendar, "2026-09-25T23:00"), Opening::Open);
        assert_eq!(at(&calendar, "2026-09-26T05:59"), Opening::Open);
        assert_eq!(at(&calendar, "2026-09-26T06:00"), Opening::Closed);
        assert_eq!(at(&calendar, "2026-09-25T05:00"), Opening::Closed);
        assert_eq!(at(&calendar, "2026-09-27T00:00"), Opening::Open);
        assert_eq!(at(&calendar, "2026-09-27T23:59"), Opening::Open);
    }

    #[test]
    fn mistakes_in_a_calendar_point_at_the_word() {
        let bad = |text: &str| calendar(text).unwrap_err();
        assert_eq!(bad(r#"c = { open = ["mon-fry 09:00-18:00"] }"#), ["1:20 `fry` is not a day of the week"]);
        assert_eq!(bad(r#"c = { open = ["mon 9-18"] }"#), ["1:20 `9-18` is not a time range"]);
        assert_eq!(
            bad(r#"c = { open = ["mon 09:00-18:00"], holidays = ["2026-02-30"] }"#),
            ["1:48 `2026-02-30` is not a date"]
        );
        assert_eq!(
            bad(r#"c = { open = ["mon 09:00-18:00"], workdays = ["2026-09-21"] }"#),
            ["1:47 2026-09-21 is not a weekend day: no make-up day is needed"]
        );
    }
}
