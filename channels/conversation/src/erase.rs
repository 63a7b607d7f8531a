//! Erasure and redaction: what of an event is a person's, and the tombstone that takes its place.

use jiff::Timestamp;

use crate::cloud_event::whole_microseconds;
use crate::digest::Hash;
use crate::event::{EraseReason, Erased, Event, Party, PartyRole};
use crate::pii::{Content, Pii};
use crate::record::Record;

impl Event {
    /// The event without what a person said, is called or is reached by; none when there is nothing of the kind.
    ///
    /// What stays is enough for the fold: legs, owners, keys of messages. It serves `export --redact` and tombstones.
    #[must_use]
    pub fn redacted(&self) -> Option<Self> {
        let mut event = self.clone();
        match &mut event {
            Self::MessageIn(e) => {
                e.parts.clear();
                e.native_id = None;
                redact_party(&mut e.sender);
            }
            Self::MessageOut(e) => {
                e.parts.clear();
                redact_party(&mut e.sender);
            }
            Self::Edit(e) => e.parts.clear(),
            Self::Typing(e) => redact_party(&mut e.sender),
            Self::Receipt(e) => e.reason.as_mut()?.text.take().map(drop)?,
            Self::Thread(e) => e.entry.take().map(drop)?,
            Self::Identity(e) => {
                e.keys.clear();
                e.link_token = None;
            }
            Self::AdapterCall(e) => (e.sdp, e.address, e.reason) = (None, None, None),
            Self::Summary(e) => {
                e.text = Content::default();
                e.tasks.clear();
                e.attachments.clear();
            }
            Self::Note(e) => e.text = Content::default(),
            Self::SessionClosed(e) => e.note.take().map(drop)?,
            Self::OwnerOffered(e) => e.note.take().map(drop)?,
            Self::LegAdded(e) => redact_party(e.party.as_mut()?),
            Self::LegOffered(e) => e.to.take().map(drop)?,
            Self::LinkSent(e) => e.to.take().map(drop)?,
            Self::PersonLinked(e) => e.keys.clear(),
            Self::PersonMerged(e) => e.keys.clear(),
            Self::PersonUnmerged(e) => e.keys.clear(),
            _ => return self.redacted_call(),
        }
        Some(event)
    }

    /// [`Event::redacted`] for what happens on the phone.
    fn redacted_call(&self) -> Option<Self> {
        let mut event = self.clone();
        match &mut event {
            Self::CallRinging(e) => {
                (e.from, e.to, e.from_display, e.remote) = (Pii::default(), Pii::default(), None, None);
            }
            Self::TransferStarted(e) => (e.to, e.note) = (Pii::default(), None),
            Self::IvrSet(e) => (e.value, e.masked) = (None, true),
            // Without what it held it cannot go on: the plan begins anew.
            Self::IvrKept(e) => (e.run, e.wakes) = (Content::default(), None),
            Self::Dtmf(e) => (e.digit, e.masked) = (None, true),
            Self::GatherFinished(e) => (e.value, e.masked) = (None, true),
            Self::PromptStarted(e) => e.text.take().map(drop)?,
            Self::TranscriptFinal(e) => {
                e.text = Content::default();
                e.segments.clear();
            }
            Self::TranscriptCorrected(e) => e.text = Content::default(),
            // Somebody's voice: the file goes with its reference.
            Self::RecordingStarted(e) => e.reference.clear(),
            Self::RecordingFinished(e) => e.reference.clear(),
            _ => return None,
        }
        Some(event)
    }

    /// The event with people's numbers, ids and names masked, as it is shown to those who may not see them. What was
    /// said stays: who may not read that gets [`Event::redacted`].
    #[must_use]
    pub fn masked(mut self) -> Self {
        match &mut self {
            Self::CallRinging(e) => {
                mask(&mut e.from);
                mask(&mut e.to);
                e.from_display.iter_mut().for_each(mask);
            }
            Self::TransferStarted(e) => mask(&mut e.to),
            Self::MessageIn(e) => mask_party(&mut e.sender),
            Self::MessageOut(e) => mask_party(&mut e.sender),
            Self::Typing(e) => mask_party(&mut e.sender),
            Self::LegAdded(e) => e.party.iter_mut().for_each(mask_party),
            Self::LegOffered(e) => e.to.iter_mut().for_each(mask),
            Self::LinkSent(e) => e.to.iter_mut().for_each(mask),
            Self::AdapterCall(e) => e.address.iter_mut().for_each(mask),
            Self::Identity(e) => mask_keys(&mut e.keys),
            Self::PersonLinked(e) => mask_keys(&mut e.keys),
            Self::PersonMerged(e) => mask_keys(&mut e.keys),
            Self::PersonUnmerged(e) => mask_keys(&mut e.keys),
            // It may hold the customer's number, for the plan's own use.
            Self::IvrKept(e) if !e.run.reveal().is_empty() => e.run = Content::new("***"),
            _ => {}
        }
        self
    }

    /// The references of the files that its body holds: what is deleted when it is erased.
    #[must_use]
    pub fn media_refs(&self) -> Vec<&str> {
        match self {
            Self::MessageIn(e) => refs(&e.parts),
            Self::MessageOut(e) => refs(&e.parts),
            Self::Edit(e) => refs(&e.parts),
            Self::RecordingStarted(e) => vec![&e.reference],
            Self::RecordingFinished(e) => vec![&e.reference],
            _ => Vec::new(),
        }
    }
}

fn refs(parts: &[crate::event::Part]) -> Vec<&str> {
    parts.iter().filter_map(|part| part.media()).map(|media| media.reference.as_str()).collect()
}

fn mask(text: &mut Pii) {
    *text = Pii::new(text.to_string());
}

fn mask_party(party: &mut Party) {
    if party.role == PartyRole::Customer {
        mask(&mut party.id);
        party.display.iter_mut().for_each(mask);
    }
}

fn mask_keys(keys: &mut [crate::IdentityKey]) {
    keys.iter_mut().for_each(|key| mask(&mut key.value));
}

/// A customer's id goes; the house's own names are its own.
fn redact_party(party: &mut Party) {
    if party.role == PartyRole::Customer {
        party.id = Pii::default();
        party.display = None;
    }
}

impl Record {
    /// Replaces the body by a tombstone. Whether there was anything to erase: a body that holds nothing of a person
    /// stays, and so does a tombstone. A body of a type that this version does not know goes whole.
    ///
    /// `seq`, epoch, id, source and times stay, and [`crate::LogHash`] is the same before and after.
    pub fn erase(&mut self, reason: EraseReason, at: Timestamp) -> bool {
        let event = &self.event.event;
        let kept = match event {
            Event::Erased(_) => return false,
            Event::Other(_) => None,
            known => match known.redacted() {
                Some(kept) => serde_json::to_value(&kept).ok(),
                None => return false,
            },
        };
        self.event.event = Event::Erased(Erased {
            of: event.type_name().to_owned(),
            sha256: Hash::of_body(event),
            reason,
            at: whole_microseconds(at),
            kept,
        });
        true
    }
}

impl Erased {
    /// What the fold reads in its place: the event without what was erased.
    #[must_use]
    pub fn skeleton(&self) -> Option<Event> {
        Event::from_value(&self.of, self.kept.clone()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogHash, samples};

    #[test]
    fn what_is_masked_shows_no_number_and_reads_as_the_same_type() {
        for event in samples::story() {
            let name = event.type_name().to_owned();
            let masked = event.masked();
            let json = serde_json::to_string(&masked).unwrap();
            assert!(!json.contains("13800001212") && !json.contains("user123"), "{json}");
            assert_eq!(Event::from_json(&name, &json).unwrap(), masked);
        }
    }

    #[test]
    fn a_log_keeps_its_hash_and_its_legs_when_its_bodies_are_erased() {
        let mut log = samples::log(samples::story());
        let before = LogHash::of(&log);
        let live = samples::fold(&log);
        let erased = log
            .iter_mut()
            .filter_map(|record| record.erase(EraseReason::Request, samples::at(9)).then_some(()))
            .count();
        assert!(erased > 10, "{erased}");
        assert_eq!(LogHash::of(&log), before);
        let json = serde_json::to_string(&log).unwrap();
        for personal in ["13800001212", "02188886666", "欢迎致电", "+86138", "ark-media:01JABCDEF0"] {
            assert!(!json.contains(personal), "{personal} is still there");
        }
        let after = samples::fold(&log);
        assert_eq!((after.legs.len(), &after.owner, after.epoch), (live.legs.len(), &live.owner, live.epoch));
        assert_eq!(after.ended, live.ended);
        assert!(!log[0].erase(EraseReason::Request, samples::at(10)), "a tombstone stays as it is");
        log[3].event.time = samples::at(77);
        assert_ne!(LogHash::of(&log), before);
    }
}
