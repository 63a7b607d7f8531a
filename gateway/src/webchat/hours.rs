//! When people are there: `["mon-fri 09:00-18:00", "sat 10:00-16:00"]` in one time zone.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_MINUTES: u16 = 24 * 60;

/// Opening hours. Without any it is always open.
#[derive(Clone, Debug)]
pub(crate) struct Hours {
    /// Day of the week (Monday: 0), first and last minute; a span that ends before it begins reaches into the next day.
    spans: Vec<(usize, u16, u16)>,
    zone: TimeZone,
}

impl Hours {
    /// Always open.
    pub(crate) fn always() -> Self {
        Self { spans: Vec::new(), zone: TimeZone::UTC }
    }

    /// Reads lines of `DAY HH:MM-HH:MM` or `DAY-DAY HH:MM-HH:MM`.
    ///
    /// # Errors
    /// A sentence that shows the line.
    pub(crate) fn read(lines: &[String], zone: &str) -> Result<Self, String> {
        let zone = match zone {
            "" => TimeZone::system(),
            name => TimeZone::get(name).map_err(|_| format!("`{name}` is no time zone: write \"Asia/Shanghai\""))?,
        };
        let mut spans = Vec::new();
        for line in lines {
            let read =
                read(line).ok_or_else(|| format!("`{line}` are no opening hours: write \"mon-fri 09:00-18:00\""))?;
            spans.extend(read);
        }
        Ok(Self { spans, zone })
    }

    /// Whether people are there at that moment.
    pub(crate) fn open(&self, at: Timestamp) -> bool {
        let local = self.zone.to_datetime(at);
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let today = usize::from(local.weekday().to_monday_zero_offset().unsigned_abs());
        let yesterday = (today + 6) % 7;
        self.spans.is_empty()
            || self.spans.iter().any(|(day, from, to)| {
                let over_midnight = to <= from;
                (*day == today && minute >= *from && (over_midnight || minute < *to))
                    || (*day == yesterday && over_midnight && minute < *to)
            })
    }

    /// When people come next, while nobody is there; none when they never do.
    pub(crate) fn opens(&self, at: Timestamp) -> Option<Timestamp> {
        let today = self.zone.to_datetime(at).date();
        let ahead = (0..=7_i64).filter_map(|days| today.checked_add(days.days()).ok());
        ahead
            .flat_map(|date| {
                let weekday = usize::from(date.weekday().to_monday_zero_offset().unsigned_abs());
                self.spans.iter().filter(move |(day, ..)| *day == weekday).filter_map(move |(_, from, _)| {
                    let time = Time::new(i8::try_from(from / 60).ok()?, i8::try_from(from % 60).ok()?, 0, 0).ok()?;
                    self.zone.to_timestamp(date.to_datetime(time)).ok()
                })
            })
            .filter(|opens| *opens > at)
            .min()
    }
}

fn read(line: &str) -> Option<Vec<(usize, u16, u16)>> {
    let (days, hours) = line.trim().split_once(' ')?;
    let day = |name: &str| DAYS.iter().position(|day| *day == name.trim().to_ascii_lowercase());
    let (first, last) = match days.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None => (day(days)?, day(days)?),
    };
    let (from, to) = hours.trim().split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    if from == DAY_MINUTES {
        return None;
    }
    let count = (last + 7 - first) % 7 + 1;
    Some((0..count).map(|ahead| ((first + ahead) % 7, from, to)).collect())
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let at = hour * 60 + minute;
    (minute < 60 && at <= DAY_MINUTES).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(lines: &[&str]) -> Hours {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        Hours::read(&lines, "Asia/Shanghai").unwrap()
    }

    fn at(text: &str) -> Timestamp {
        format!("{text}+08:00").parse().unwrap()
    }

    #[test]
    fn it_is_open_within_the_hours_and_over_midnight() {
        let office = hours(&["mon-fri 09:00-18:00", "sat 22:00-02:00"]);
        // 2026-11-27 is a Friday.
        assert!(office.open(at("2026-11-27T09:00:00")) && office.open(at("2026-11-27T17:59:59")));
        assert!(!office.open(at("2026-11-27T18:00:00")) && !office.open(at("2026-11-27T08:59:59")));
        assert!(office.open(at("2026-11-28T23:00:00")) && office.open(at("2026-11-29T01:59:00")));
        assert!(!office.open(at("2026-11-29T02:00:00")) && !office.open(at("2026-11-29T23:00:00")));
        assert!(hours(&[]).open(at("2026-11-29T23:00:00")), "no hours: always");
    }

    #[test]
    fn it_says_when_people_come_next() {
        let office = hours(&["mon-fri 09:00-18:00"]);
        assert_eq!(office.opens(at("2026-11-27T18:30:00")), Some(at("2026-11-30T09:00:00")));
        assert_eq!(office.opens(at("2026-11-30T08:00:00")), Some(at("2026-11-30T09:00:00")));
        assert_eq!(hours(&["wed 10:00-12:00"]).opens(at("2026-11-25T13:00:00")), Some(at("2026-12-02T10:00:00")));
    }

    #[test]
    fn what_is_no_hours_is_told() {
        for line in ["mon", "mon 9-18", "foo 09:00-18:00", "mon 09:00-25:00", "mon 24:00-24:00", "mon 09:61-10:00"] {
            assert!(Hours::read(&[line.to_owned()], "").unwrap_err().contains(line), "{line}");
        }
        assert!(Hours::read(&[], "Mars/Base").is_err());
    }
}
