//! What came of a run: for people, for CI (JUnit), for others (signed JSON), and for a README (a badge).

use std::fmt::Write as _;
use std::time::Duration;

use ark_dialplans::testing::escape;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde_json::{Value, json};

use super::Verdict;
use super::limits::SHOWN_CHARS_MAX;
use super::standard::{CHECKS, Lang, Level, check, must};

/// One check and how it came out.
#[derive(Clone, Debug)]
pub struct Item {
    /// The check's id.
    pub check: &'static str,
    /// Its level.
    pub level: Level,
    /// How it came out.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was tested.
    pub url: String,
    /// Up to which level.
    pub level: Level,
    /// When it began.
    pub at: Timestamp,
    /// The adapter's manifest; null when it could not be read.
    pub adapter: Value,
    /// Each check that was made.
    pub items: Vec<Item>,
    /// What the soak measured: a name and a value with its unit.
    pub measured: Vec<(String, String)>,
}

/// Why a report is not what its signature says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// It is no report, or has no signature.
    #[error("this is no signed report: an object with `signature` is expected")]
    Form,
    /// It was changed, or signed by another.
    #[error("the signature does not match: the report was changed, or another key signed it")]
    Signature,
    /// It is whole, but another key's.
    #[error("the report is whole, and signed by another key than the one that was given")]
    OtherKey,
}

/// The first characters of a text, for reports.
#[must_use]
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{} ... ({} bytes)", text.get(..at).unwrap_or_default(), text.len()),
        None => text.to_owned(),
    }
}

impl Item {
    /// A line when it holds; with what was expected, what came, the standard's sentence and advice when it does not.
    #[must_use]
    pub fn render(&self, lang: Lang) -> String {
        let title = check(self.check).map_or("", |check| lang.of(check.title));
        let took = self.took.as_millis();
        match &self.verdict {
            Verdict::Holds(words) if words.is_empty() => format!("ok    {:<10} {title} ({took} ms)", self.check),
            Verdict::Holds(words) => format!("ok    {:<10} {title}: {words} ({took} ms)", self.check),
            Verdict::NotHere(why) => {
                format!("-     {:<10} {title}: {}{why}", self.check, lang.of(["not here: ", "不适用："]))
            }
            Verdict::Broken { expected, came } => {
                let advice = check(self.check).map_or("", |check| lang.of(check.advice));
                format!(
                    "FAIL  {:<10} {title} ({took} ms)\n      {} {}\n      {} {}\n      {} {} [{}]\n      {} {advice}",
                    self.check,
                    lang.of(["expected:", "应当："]),
                    shortened(expected),
                    lang.of(["came:    ", "实际："]),
                    shortened(came),
                    lang.of(["standard:", "标准："]),
                    must(self.check),
                    self.check,
                    lang.of(["do:      ", "怎么办："]),
                )
            }
        }
    }
}

impl Report {
    /// An empty one.
    #[must_use]
    pub fn new(url: &str, level: Level) -> Self {
        let url = url.to_owned();
        Self { url, level, at: Timestamp::now(), adapter: Value::Null, items: Vec::new(), measured: Vec::new() }
    }

    /// The ids of checks that do not hold.
    #[must_use]
    pub fn broken(&self) -> Vec<&'static str> {
        let broken = self.items.iter().filter(|item| matches!(item.verdict, Verdict::Broken { .. }));
        broken.map(|item| item.check).collect()
    }

    /// The level up to which all that was to be proved was proved; none: not even the first. Checks that could not be made of
    /// an adapter that the kit did not start leave L3 unproved.
    #[must_use]
    pub fn reached(&self) -> Option<Level> {
        let levels = [Level::L0, Level::L1, Level::L2, Level::L3, Level::L4];
        let proved = |level: Level| {
            let made: Vec<&Item> = self.items.iter().filter(|item| item.level == level).collect();
            let all = made.len() == CHECKS.iter().filter(|check| check.level == level).count();
            let sound = !made.iter().any(|item| matches!(item.verdict, Verdict::Broken { .. }));
            let some = made.iter().any(|item| matches!(item.verdict, Verdict::Holds(_)));
            all && sound && some
        };
        levels.into_iter().take_while(|level| *level <= self.level && proved(*level)).last()
    }

    /// Whether every check up to the level was made.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        CHECKS.iter().filter(|check| check.level <= self.level).count() == self.items.len()
    }

    /// The last lines, for people.
    #[must_use]
    pub fn summary(&self, lang: Lang) -> String {
        let count = |wanted: fn(&Verdict) -> bool| self.items.iter().filter(|item| wanted(&item.verdict)).count();
        let holds = count(|verdict| matches!(verdict, Verdict::Holds(_)));
        let not_here = count(|verdict| matches!(verdict, Verdict::NotHere(_)));
        let broken = self.broken();
        let mut text = match lang {
            Lang::En => format!("{holds} hold, {} do not, {not_here} do not apply", broken.len()),
            Lang::Zh => format!("{holds} 项符合，{} 项不符合，{not_here} 项不适用", broken.len()),
        };
        // Of a part of the checks nothing follows for a level.
        if self.is_whole() {
            let reached =
                self.reached().map_or_else(|| lang.of(["no level", "无"]).to_owned(), |level| level.to_string());
            let _ = match lang {
                Lang::En => write!(text, "; proved up to: {reached}"),
                Lang::Zh => write!(text, "；已证明到：{reached}"),
            };
        }
        if !broken.is_empty() {
            let _ = write!(text, "\n{} {}", lang.of(["broken:", "不符合："]), broken.join(", "));
        }
        text
    }

    /// The run as JSON, without a signature. Texts and whole numbers only, so that its compact form with sorted keys is that of
    /// RFC 8785.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let item = |item: &Item| {
            let (verdict, more) = match &item.verdict {
                Verdict::Holds(words) => ("holds", json!({"seen": words})),
                Verdict::NotHere(why) => ("not_here", json!({"why": why})),
                Verdict::Broken { expected, came } => {
                    ("broken", json!({"expected": shortened(expected), "came": shortened(came)}))
                }
            };
            let ms = u64::try_from(item.took.as_millis()).unwrap_or(u64::MAX);
            json!({"check": item.check, "level": item.level, "verdict": verdict, "ms": ms, "details": more})
        };
        let named = |name: &str| self.adapter[name].as_str().unwrap_or_default();
        let measured: serde_json::Map<String, Value> =
            self.measured.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({
            "standard": "ark-adapter 1",
            "kit": env!("CARGO_PKG_VERSION"),
            "at": self.at.to_string(),
            "url": self.url,
            "adapter": {"id": named("id"), "version": named("version"), "channel": named("channel")},
            "asked": self.level,
            "reached": self.reached(),
            "passed": self.broken().is_empty(),
            "checks": self.items.iter().map(item).collect::<Vec<_>>(),
            "measured": measured,
        })
    }

    /// The run as JSON with `signature`: Ed25519 (RFC 8032) over the compact form of everything else, keys sorted.
    #[must_use]
    pub fn signed(&self, key: &Ed25519KeyPair) -> Value {
        let mut report = self.to_json();
        let signature = key.sign(report.to_string().as_bytes());
        report["signature"] = json!({
            "alg": "Ed25519",
            "public_key": STANDARD.encode(key.public_key()),
            "value": STANDARD.encode(signature),
        });
        report
    }

    /// JUnit XML: a suite for each level, a case for each check.
    #[must_use]
    pub fn junit(&self) -> String {
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
        for level in [Level::L0, Level::L1, Level::L2, Level::L3, Level::L4] {
            let items: Vec<&Item> = self.items.iter().filter(|item| item.level == level).collect();
            if items.is_empty() {
                continue;
            }
            let failures = items.iter().filter(|item| matches!(item.verdict, Verdict::Broken { .. })).count();
            let skipped = items.iter().filter(|item| matches!(item.verdict, Verdict::NotHere(_))).count();
            let _ = writeln!(
                xml,
                "  <testsuite name=\"adapter {level}\" tests=\"{}\" failures=\"{failures}\" skipped=\"{skipped}\">",
                items.len()
            );
            for item in items {
                let title = check(item.check).map_or("", |check| check.title[0]);
                let name = escape(&format!("{} {title}", item.check));
                let _ = write!(
                    xml,
                    "    <testcase classname=\"{level}\" name=\"{name}\" time=\"{:.3}\"",
                    item.took.as_secs_f64()
                );
                let _ = match &item.verdict {
                    Verdict::Holds(_) => writeln!(xml, "/>"),
                    Verdict::NotHere(why) => writeln!(xml, "><skipped message=\"{}\"/></testcase>", escape(why)),
                    Verdict::Broken { expected, .. } => writeln!(
                        xml,
                        "><failure message=\"{}\">{}</failure></testcase>",
                        escape(&shortened(expected)),
                        escape(&item.render(Lang::En))
                    ),
                };
            }
            xml.push_str("  </testsuite>\n");
        }
        xml.push_str("</testsuites>\n");
        xml
    }

    /// A badge for a README, as SVG.
    #[must_use]
    pub fn badge(&self) -> String {
        let (word, colour) = match self.reached() {
            Some(level) if self.broken().is_empty() && level >= Level::L3 => (level.to_string(), "#2da44e"),
            Some(level) if self.broken().is_empty() => (level.to_string(), "#bf8700"),
            Some(level) => (format!("{level}, {} open", self.broken().len()), "#bf8700"),
            None => ("not yet".to_owned(), "#cf222e"),
        };
        let (left, right) = (86, 16 + 7 * word.chars().count());
        let (width, middle) = (left + right, left + right / 2);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"20\" role=\"img\" aria-label=\"Ark adapter: {word}\">\
             <title>Ark adapter: {word}</title><rect width=\"{width}\" height=\"20\" rx=\"3\" fill=\"#24292f\"/>\
             <path fill=\"{colour}\" d=\"M{left} 0h{}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-{}z\"/>\
             <g fill=\"#fff\" font-family=\"Verdana,DejaVu Sans,sans-serif\" font-size=\"11\" text-anchor=\"middle\">\
             <text x=\"{}\" y=\"14\">Ark adapter</text><text x=\"{middle}\" y=\"14\">{word}</text></g></svg>\n",
            right - 3,
            right - 3,
            left / 2,
        )
    }
}

/// Checks a report's signature; `key`: the public key in Base64 that must have signed it, none: any. Answers the key that did.
///
/// # Errors
/// [`ReportError`] says why it is not to be believed.
pub fn verify(report: &Value, key: Option<&str>) -> Result<String, ReportError> {
    let mut bare = report.clone();
    let signature = bare.as_object_mut().and_then(|fields| fields.remove("signature")).ok_or(ReportError::Form)?;
    let named = signature["public_key"].as_str().ok_or(ReportError::Form)?;
    let public = STANDARD.decode(named).map_err(|_| ReportError::Form)?;
    let value = signature["value"].as_str().and_then(|value| STANDARD.decode(value).ok()).ok_or(ReportError::Form)?;
    UnparsedPublicKey::new(&ED25519, public)
        .verify(bare.to_string().as_bytes(), &value)
        .map_err(|_| ReportError::Signature)?;
    match key {
        Some(key) if key.trim() != named => Err(ReportError::OtherKey),
        _ => Ok(named.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    fn report() -> Report {
        let mut report = Report::new("http://127.0.0.1:9000", Level::L1);
        for check in CHECKS.iter().filter(|check| check.level <= Level::L1) {
            let verdict = match check.id {
                "A-SIG-2" => Verdict::Broken { expected: "401 <now>".to_owned(), came: "200 \u{1}".to_owned() },
                "A-WIN-1" => Verdict::NotHere("no window".to_owned()),
                _ => Verdict::Holds(String::new()),
            };
            report.items.push(Item { check: check.id, level: check.level, verdict, took: Duration::from_millis(3) });
        }
        report
    }

    #[test]
    fn a_report_says_what_is_wrong_in_two_languages_and_in_xml() {
        let report = report();
        assert_eq!((report.broken(), report.reached()), (vec!["A-SIG-2"], Some(Level::L0)));
        assert!(
            report.summary(Lang::En).ends_with("proved up to: L0\nbroken: A-SIG-2"),
            "{}",
            report.summary(Lang::En)
        );
        assert!(report.summary(Lang::Zh).contains("1 项不符合"));
        let item = report.items.iter().find(|item| item.check == "A-SIG-2").unwrap();
        let text = item.render(Lang::En);
        assert!(
            text.contains("expected: 401 <now>") && text.contains("MUST answer 401") && text.contains("300 s"),
            "{text}"
        );
        let xml = report.junit();
        assert!(
            xml.contains("failures=\"1\" skipped=\"1\"") && xml.contains("401 &lt;now&gt;") && !xml.contains('\u{1}'),
            "{xml}"
        );
        assert!(report.badge().contains("L0, 1 open"));
    }

    #[test]
    fn a_signed_report_that_was_changed_is_known() {
        let key =
            Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref()).unwrap();
        let signed = report().signed(&key);
        let read: Value = serde_json::from_str(&serde_json::to_string_pretty(&signed).unwrap()).unwrap();
        let public = verify(&read, None).unwrap();
        assert_eq!(verify(&read, Some(&public)), Ok(public.clone()));
        assert_eq!(verify(&read, Some("AAAA")), Err(ReportError::OtherKey));
        let mut changed = read;
        changed["passed"] = json!(true);
        assert_eq!(verify(&changed, Some(&public)), Err(ReportError::Signature));
        assert_eq!(verify(&json!({}), None), Err(ReportError::Form));
    }
}
