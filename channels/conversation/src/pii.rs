//! What must not be read over a shoulder: numbers and addresses of people, masked wherever they are printed.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::limits::NUMBER_DIGITS_MAX;

/// A phone number or address of a person. `Display` and `Debug` mask it (`+86 138****12`); JSON, which is the log,
/// keeps it.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pii(String);

impl Pii {
    /// Wraps a number or an address as it was received.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for dialling, for the log of record, and for those who may see it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Pii {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&mask_number(&self.0))
    }
}

impl fmt::Debug for Pii {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask_number(&self.0))
    }
}

impl JsonSchema for Pii {
    fn schema_name() -> Cow<'static, str> {
        "Pii".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "title": "Pii",
            "description": "A number or address of a person: masked wherever it is printed for the operator.",
        })
    }
}

/// What somebody said or wrote. `Display` and `Debug` tell its length alone (`(12 bytes)`); JSON, which is the log,
/// keeps it.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Content(String);

impl Content {
    /// Wraps words as they were received.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The words themselves: for the channel, the log of record, and those who may read them.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl JsonSchema for Content {
    fn schema_name() -> Cow<'static, str> {
        "Content".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Up to this many digits a number is a service code or an extension (`95188`, `1001`), which is nobody's secret.
const SHORT_CODE_DIGITS_MAX: usize = 6;

/// Masks a number for logs: `+86 138****12`, `010****78`, `+1 415****71`; short codes stay; of other names the first
/// letter stays.
///
/// A SIP or tel URI is read up to its host, which is dropped. An agent at a browser (`web:anna`) has no number: that is the name of their
/// account, and stays.
#[must_use]
pub fn mask_number(text: &str) -> String {
    let account = |name: &&str| name.chars().filter(char::is_ascii_digit).count() <= SHORT_CODE_DIGITS_MAX;
    if text.strip_prefix("web:").filter(account).is_some() {
        return text.to_owned();
    }
    let user = user_part(text);
    let digits = digits_of(user);
    match digits {
        None if user.is_empty() => String::new(),
        None => user.chars().take(1).chain("****".chars()).collect(),
        Some(digits) if digits.len() <= SHORT_CODE_DIGITS_MAX => user.to_owned(),
        Some(digits) => {
            let (country, national) = split_country(user, &digits);
            let (head, tail) =
                (national.get(..3).unwrap_or(""), national.get(national.len().saturating_sub(2)..).unwrap_or(""));
            match country {
                Some(code) => format!("+{code} {head}****{tail}"),
                None => format!("{head}****{tail}"),
            }
        }
    }
}

/// A number in E.164 form (`+8613800001212`), as the key by which a caller is known; `None` for short codes and names.
///
/// `country` is the code for national numbers, without `+`. Spaces, dashes, dots and brackets are skipped, `00` is
/// read as `+`, and the trunk prefix `0` is dropped (not for Italy, 39, which keeps it).
#[must_use]
pub fn normalise_number(text: &str, country: &str) -> Option<String> {
    let user = user_part(text);
    let digits = digits_of(user)?;
    let international = if user.starts_with('+') {
        digits
    } else if let Some(rest) = digits.strip_prefix("00") {
        rest.to_owned()
    } else if digits.len() <= SHORT_CODE_DIGITS_MAX {
        return None;
    } else {
        let national = if country == "39" { digits.as_str() } else { digits.strip_prefix('0').unwrap_or(&digits) };
        format!("{country}{national}")
    };
    // E.164: 15 digits at most, no country code begins with 0; fewer than 8 are not a subscriber.
    let fits = (8..=15).contains(&international.len()) && !international.starts_with('0');
    fits.then(|| format!("+{international}"))
}

fn user_part(text: &str) -> &str {
    let text = text.trim();
    let text = ["sip:", "sips:", "tel:"]
        .iter()
        .find_map(|scheme| {
            text.get(..scheme.len()).filter(|s| s.eq_ignore_ascii_case(scheme)).map(|s| &text[s.len()..])
        })
        .unwrap_or(text);
    text.split(['@', ';']).next().unwrap_or("")
}

/// The digits of a number, or `None` when it is not one.
fn digits_of(user: &str) -> Option<String> {
    let mut digits = String::new();
    for (at, letter) in user.char_indices() {
        match letter {
            '0'..='9' if digits.len() < NUMBER_DIGITS_MAX => digits.push(letter),
            '+' if at == 0 => {}
            ' ' | '-' | '.' | '(' | ')' => {}
            _ => return None,
        }
    }
    (!digits.is_empty()).then_some(digits)
}

/// Country code and the rest, for `+` numbers of the few codes that can be told without a table.
fn split_country<'a>(user: &str, digits: &'a str) -> (Option<&'a str>, &'a str) {
    if !user.starts_with('+') {
        return (None, digits);
    }
    let code = match digits.as_bytes() {
        [b'1' | b'7', ..] => 1,
        [b'8', b'6' | b'1' | b'2' | b'4', ..] | [b'4', b'4' | b'9', ..] | [b'3', b'3', ..] | [b'6', b'5', ..] => 2,
        [b'8', b'5', ..] => 3,
        _ => return (Some(digits.get(..2).unwrap_or("")), digits.get(2..).unwrap_or("")),
    };
    (digits.get(..code), digits.get(code..).unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_masked_in_display_and_debug_and_kept_in_json() {
        let number = Pii::new("+8613800001212");
        assert_eq!(format!("{number} {number:?}"), "+86 138****12 +86 138****12");
        assert_eq!(serde_json::to_string(&number).unwrap(), "\"+8613800001212\"");
        assert_eq!(number.reveal(), "+8613800001212");
    }

    #[test]
    fn masks_show_enough_to_recognise_and_not_enough_to_call() {
        for (text, masked) in [
            ("+86 138-0000-1212", "+86 138****12"),
            ("13800001212", "138****12"),
            ("sip:13800001212@198.51.100.7;user=phone", "138****12"),
            ("tel:+14155552671", "+1 415****71"),
            ("010 8888 5678", "010****78"),
            ("95188", "95188"),
            ("web:anna", "web:anna"),
            ("web:13800001212", "w****"),
            ("1001", "1001"),
            ("anonymous", "a****"),
            ("张三", "张****"),
            ("", ""),
        ] {
            assert_eq!(mask_number(text), masked, "{text}");
        }
    }

    #[test]
    fn a_number_is_known_by_its_e164_form() {
        for (text, number) in [
            ("13800001212", Some("+8613800001212")),
            ("+86 138 0000 1212", Some("+8613800001212")),
            ("0086-138-0000-1212", Some("+8613800001212")),
            ("010-88885678", Some("+861088885678")),
            ("sip:+14155552671@example.net", Some("+14155552671")),
            ("95188", None),
            ("anonymous", None),
            ("+0123456789", None),
            ("12345678901234567890", None),
        ] {
            assert_eq!(normalise_number(text, "86").as_deref(), number, "{text}");
        }
    }
}
