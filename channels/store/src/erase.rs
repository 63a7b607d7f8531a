//! Retention and erasure: a body becomes a tombstone, its number and id stay. What a tombstone is, and that the log's
//! hash survives it, is ark-conversation's (`Record::erase`, `LogHash`); the store makes it one transaction.

use ark_conversation::event::{EraseReason, OtherEvent};
use ark_conversation::{ConversationId, ConversationState, Event, Hash, LogHash, Record, Tenant};
use jiff::Timestamp;

/// Whose bodies are erased, why, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erase {
    /// Whose data it is.
    pub tenant: Tenant,
    /// The conversation.
    pub conversation: ConversationId,
    /// These records only; none: all of them, and with them the bodies of its deliveries that are over. (The inbox
    /// keeps no body of what was applied.)
    pub seqs: Option<Vec<u64>>,
    /// Why.
    pub reason: EraseReason,
    /// Who did it; it stays in the audit trail.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// What is kept no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Whose data it is.
    pub tenant: Tenant,
    /// Conversations that ended before this time.
    pub ended_before: Timestamp,
    /// Who asks; it stays in the audit trail.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// What was erased.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Conversations that were gone through.
    pub conversations: u64,
    /// Records whose bodies are gone. Those that were tombstones before, and those that hold nothing of a person, are
    /// not counted.
    pub records: u64,
    /// References of the files that the bodies held: to be deleted by the one who keeps files.
    pub media: Vec<String>,
}

/// A row of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number.
    pub row: u64,
    /// Whose data it is.
    pub tenant: Tenant,
    /// The conversation, where it is about one.
    pub conversation: Option<ConversationId>,
    /// What was done: `erase`, `merge`, `unmerge`, `forget`.
    pub action: String,
    /// Who did it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What it came to, for people.
    pub detail: String,
}

/// An event as its row has it. Data that does not fit its type (another version wrote it) is carried as it is: one
/// event must not hide the others.
pub(crate) fn event(type_name: &str, data: &str) -> Result<Event, serde_json::Error> {
    Event::from_json(type_name, data).or_else(|_| {
        let data = serde_json::from_str(data)?;
        Ok(Event::Other(OtherEvent { type_name: type_name.to_owned(), data }))
    })
}

/// An erasure at work: the log goes through it page by page, in order.
pub(crate) struct Eraser {
    erase: Erase,
    /// The state after the erasure.
    pub(crate) state: Option<ConversationState>,
    pub(crate) erased: Erased,
}

impl Eraser {
    pub(crate) fn new(erase: Erase) -> Self {
        Self { erase, state: None, erased: Erased::default() }
    }

    /// Takes the next page; answers the records that became tombstones.
    pub(crate) fn page(&mut self, page: Vec<Record>) -> Vec<Record> {
        let mut changed = Vec::new();
        for mut record in page {
            let meant = self.erase.seqs.as_ref().is_none_or(|seqs| seqs.contains(&record.seq));
            let media: Vec<String> = record.event.event.media_refs().into_iter().map(str::to_owned).collect();
            let gone = meant && record.erase(self.erase.reason, self.erase.at);
            match &mut self.state {
                Some(state) => drop(state.apply(&record)),
                None => self.state = Some(ConversationState::begin(&record)),
            }
            if gone {
                self.erased.media.extend(media);
                self.erased.records += 1;
                changed.push(record);
            }
        }
        self.erased.conversations = u64::from(self.state.is_some());
        changed
    }

    /// The last number seen; the next page is after it.
    pub(crate) fn after(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.last_seq)
    }

    /// What the audit trail says.
    pub(crate) fn detail(&self) -> String {
        let part = if self.erase.seqs.is_some() { "some records" } else { "all records" };
        format!("{}: {part}, {} bodies erased", self.erase.reason, self.erased.records)
    }
}

/// Erases conversations one by one, for retention.
pub(crate) async fn each(
    store: &dyn crate::Store,
    retention: &Retention,
    conversations: Vec<ConversationId>,
) -> Result<Erased, crate::StoreError> {
    let mut sum = Erased::default();
    for conversation in conversations {
        let Retention { tenant, by, at, .. } = retention.clone();
        let reason = EraseReason::Retention;
        let erased = store.erase(Erase { tenant, conversation, seqs: None, reason, by, at }).await?;
        sum.conversations += erased.conversations;
        sum.records += erased.records;
        sum.media.extend(erased.media);
    }
    Ok(sum)
}

/// What replaying a conversation's log gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// Records read.
    pub records: u64,
    /// How many of them are tombstones.
    pub tombstones: u64,
    /// The hash of the log, which erasure does not change.
    pub log: LogHash,
    /// The state that it folds to.
    pub state: ConversationState,
    /// That state's hash.
    pub replayed: Hash,
    /// The hash of the state that the store answers.
    pub live: Hash,
}

impl Replayed {
    /// Whether the log tells what the store answers.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.replayed == self.live
    }
}

/// Folds a conversation's whole log again and compares it with the live state, for `ark conversation replay`. None
/// when there is no such conversation. While the log grows, it reads on until both are of one position.
///
/// # Errors
/// As [`crate::Store::read`].
pub async fn replay(
    store: &dyn crate::Store,
    tenant: &Tenant,
    conversation: ConversationId,
) -> Result<Option<Replayed>, crate::StoreError> {
    let mut state: Option<ConversationState> = None;
    let (mut records, mut tombstones, mut log) = (0, 0, LogHash::default());
    loop {
        let after = state.as_ref().map_or(0, |state| state.last_seq);
        let page = store.read(tenant, conversation, after, crate::limits::READ_RECORDS_MAX).await?;
        for record in &page {
            match &mut state {
                Some(state) => drop(state.apply(record)),
                None => state = Some(ConversationState::begin(record)),
            }
            records += 1;
            tombstones += u64::from(matches!(record.event.event, Event::Erased(_)));
            log = log.then(record);
        }
        if !page.is_empty() {
            continue;
        }
        let live = store.summary(tenant, conversation).await?;
        let (Some(state), Some(live)) = (&state, live) else { return Ok(None) };
        if live.last_seq > state.last_seq {
            continue;
        }
        let (replayed, live) = (state.hash(), live.hash());
        return Ok(Some(Replayed { records, tombstones, log, state: state.clone(), replayed, live }));
    }
}
