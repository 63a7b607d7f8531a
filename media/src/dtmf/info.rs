//! Key presses in the body of a SIP INFO: `application/dtmf-relay` and `application/dtmf`, as phones send them.

use std::time::Duration;

use super::Digit;

/// Key press of a SIP INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Press {
    /// The key.
    pub digit: Digit,
    /// How long it was held, if the phone says so.
    pub duration: Option<Duration>,
}

/// Reads an INFO body. `content_type` may carry parameters. `None`: the type is not DTMF or there is no key in it.
///
/// `application/dtmf-relay` has `Signal=5` and `Duration=160` (ms) on lines of their own, in any order, with blanks
/// around the values; `application/dtmf` is the bare key. Some phones write `*` and `#` as 10 and 11 in either.
pub fn parse(content_type: &str, body: &[u8]) -> Option<Press> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let body = std::str::from_utf8(body.get(..body.len().min(256))?).ok()?;
    if kind.eq_ignore_ascii_case("application/dtmf") && !body.contains('=') {
        return Some(Press { digit: key(body.trim())?, duration: None });
    }
    if !kind.eq_ignore_ascii_case("application/dtmf-relay") && !kind.eq_ignore_ascii_case("application/dtmf") {
        return None;
    }
    let mut digit = None;
    let mut duration = None;
    for line in body.lines() {
        let Some((name, value)) = line.split_once('=') else { continue };
        let (name, value) = (name.trim(), value.trim());
        if name.eq_ignore_ascii_case("signal") {
            digit = key(value);
        } else if name.eq_ignore_ascii_case("duration") {
            duration = value.parse::<u16>().ok().map(|ms| Duration::from_millis(u64::from(ms)));
        }
    }
    Some(Press { digit: digit?, duration })
}

fn key(text: &str) -> Option<Digit> {
    let text = text.trim_matches('"');
    let mut chars = text.chars();
    if let (Some(c), None) = (chars.next(), chars.next()) {
        return Digit::from_char(c);
    }
    match text.parse::<u8>() {
        Ok(code @ 10..=15) => Digit::from_event(code),
        _ if text.eq_ignore_ascii_case("star") => Digit::from_char('*'),
        _ if text.eq_ignore_ascii_case("pound") || text.eq_ignore_ascii_case("hash") => Digit::from_char('#'),
        _ => None,
    }
}

/// The body that Ark sends, for `application/dtmf-relay`.
pub fn body(digit: Digit, duration: Duration) -> String {
    format!("Signal={digit}\r\nDuration={}\r\n", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_that_phones_write_a_key_is_read() {
        let relay = "application/dtmf-relay";
        for (kind, body, want) in [
            (relay, "Signal=5\r\nDuration=160\r\n", Some(('5', Some(160)))),
            (relay, "Signal= 5\r\nDuration= 160\r\n", Some(('5', Some(160)))),
            (relay, "signal = *\nduration = 90", Some(('*', Some(90)))),
            (relay, "Duration=250\r\nSignal=#", Some(('#', Some(250)))),
            (relay, "Signal=10\r\nDuration=100", Some(('*', Some(100)))),
            (relay, "Signal=11\r\n", Some(('#', None))),
            (relay, "Signal=d", Some(('D', None))),
            (relay, "Signal=5\r\nDuration=soon", Some(('5', None))),
            ("Application/DTMF-Relay; charset=utf-8", "Signal=0", Some(('0', None))),
            ("application/dtmf", "7", Some(('7', None))),
            ("application/dtmf", " 7\r\n", Some(('7', None))),
            ("application/dtmf", "11", Some(('#', None))),
            ("application/dtmf", "Signal=3", Some(('3', None))),
            (relay, "Signal=55", None),
            (relay, "Signal=", None),
            (relay, "", None),
            ("application/dtmf", "hello", None),
            ("text/plain", "5", None),
        ] {
            let got = parse(kind, body.as_bytes());
            let want = want.map(|(c, ms): (char, Option<u64>)| Press {
                digit: Digit::from_char(c).unwrap(),
                duration: ms.map(Duration::from_millis),
            });
            assert_eq!(got, want, "{kind} {body:?}");
        }
        assert_eq!(parse(relay, b"Signal=\xFF"), None);
        let digit = Digit::from_char('#').unwrap();
        let press = parse(relay, body(digit, Duration::from_millis(120)).as_bytes()).unwrap();
        assert_eq!(press, Press { digit, duration: Some(Duration::from_millis(120)) });
    }
}
