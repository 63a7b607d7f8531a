//! Records for those who may know what happened and not to whom: `ark conversation export --redact`.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::cloud_event::CloudEvent;
use crate::digest::Hash;
use crate::event::{Event, OtherEvent};
use crate::record::Record;
use crate::source::ThreadSource;

/// Attributes of an envelope that are the house's own.
const KEPT_EXTENSIONS: [&str; 2] = ["sequence", "traceparent"];

/// Takes out of records what a person said, is called or is reached by ([`Event::redacted`]), and gives the channel's
/// names of threads and calls (on many channels a person's id) others: the same name the same one within an export, and
/// none that could be guessed back.
///
/// What is left folds as the log does: the same legs, owners and times. Its hashes are others than the log's.
pub struct Redaction {
    key: [u8; 32],
}

impl Redaction {
    /// `key`: random, of this export alone, kept nowhere.
    #[must_use]
    pub const fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The record without what is a person's. Data of a type that this version does not know goes whole.
    #[must_use]
    pub fn record(&self, record: Record) -> Record {
        let CloudEvent { id, source, subject: _, time, event, extensions } = record.event;
        let kept = |(name, _): &(String, Value)| KEPT_EXTENSIONS.contains(&name.as_str());
        let event = CloudEvent {
            id,
            source: self.source(&source),
            subject: None,
            time,
            event: self.event(event),
            extensions: extensions.into_iter().filter(kept).collect::<BTreeMap<_, _>>(),
        };
        Record { event, ..record }
    }

    fn event(&self, event: Event) -> Event {
        let type_name = event.type_name().to_owned();
        let nothing =
            || Event::Other(OtherEvent { type_name: type_name.clone(), data: Value::Object(Default::default()) });
        let event = match event {
            Event::Other(_) => return nothing(),
            Event::Erased(mut erased) => {
                // By the hash of a short body one could find its number by trying them all.
                erased.sha256 = Hash::from_bytes([0; 32]);
                Event::Erased(erased)
            }
            event => event.redacted().unwrap_or(event),
        };
        let Ok(mut data) = serde_json::to_value(&event) else { return nothing() };
        self.rename(&mut data);
        Event::from_value(&type_name, data).unwrap_or_else(|_| nothing())
    }

    /// Gives threads and calls their other names, wherever they stand.
    fn rename(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    match (name.as_str(), &mut *value) {
                        ("thread" | "call_id", Value::String(text)) => *text = self.name(text),
                        ("source", Value::String(text)) => *text = self.source(text),
                        (_, value) => self.rename(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.rename(item)),
            _ => {}
        }
    }

    fn source(&self, source: &str) -> String {
        match source.parse::<ThreadSource>() {
            Ok(mut parts) if parts.adapter != "gateway" => {
                parts.thread = self.name(&parts.thread);
                parts.to_string()
            }
            _ => source.to_owned(),
        }
    }

    fn name(&self, text: &str) -> String {
        let digest = Sha256::new().chain_update(self.key).chain_update(text).finalize();
        let mut name = Hash::from_bytes(digest.into()).to_string();
        name.truncate(16);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConversationState, samples, source};

    #[test]
    fn nothing_of_a_person_is_left_and_the_fold_has_the_same_legs() {
        let mut log = samples::log(samples::story());
        log[0].event.subject = Some("+8613800001212".into());
        log[0].event.extensions.insert("openid".into(), "user123".into());
        log[0].event.extensions.insert("traceparent".into(), "00-1-1-00".into());
        let redaction = Redaction::new([7; 32]);
        let redacted: Vec<Record> = log.iter().cloned().map(|record| redaction.record(record)).collect();
        let json = serde_json::to_string(&redacted).unwrap();
        for personal in ["13800001212", "02188886666", "欢迎致电", "+86138", "user123", "pc33.example.net", "cidA"]
        {
            assert!(!json.contains(personal), "{personal} is still there: {json}");
        }
        assert!(json.contains("00-1-1-00"));
        let again: Vec<Record> = serde_json::from_str(&json).unwrap();
        let (before, after) = (samples::fold(&log), samples::fold(&again));
        assert_eq!((before.last_seq, &before.owner, before.epoch), (after.last_seq, &after.owner, after.epoch));
        let legs =
            |state: &ConversationState| -> Vec<_> { state.legs.iter().map(|leg| (leg.leg, leg.phase)).collect() };
        assert_eq!((legs(&before), before.ended), (legs(&after), after.ended));
    }

    #[test]
    fn a_thread_has_one_other_name_in_an_export_and_another_one_in_the_next() {
        let thread = source::thread(&crate::Tenant::MAIN, "wechat", "shop", "o6_bmjrPTlm6_2sgVt7hMZOPfL2M");
        let (one, two) = (Redaction::new([1; 32]), Redaction::new([2; 32]));
        assert_eq!(one.source(&thread), one.source(&thread));
        assert_ne!(one.source(&thread), two.source(&thread));
        assert!(one.source(&thread).starts_with("/ark/main/wechat/shop/"));
        assert!(!one.source(&thread).contains("o6_"));
        for own in ["/ark/main/gateway/gw1/log", "/ark/main/conversation/01ARZ3NDEKTSV4RRFFQ69G5FAV"] {
            assert_eq!(one.source(own), own);
        }
    }
}
