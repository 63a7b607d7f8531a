//! Erasure at a person's request: what they said and are reached by goes, from the log and from `[files]`; the audit trail stays.

use std::collections::BTreeSet;
use std::path::Path;

use ark_conversation::event::EraseReason;
use ark_conversation::{ConversationId, PersonId, Tenant};
use ark_store::{Erase, ListFilter, Store, StoreError, limits};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::channel_host::Files;
use crate::http::file_below;
use crate::pages::Pages;

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// All of one conversation.
    Conversation(ConversationId),
    /// All conversations of a person and of those merged into them, and their keys.
    Person(PersonId),
}

/// What would be erased.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The conversations.
    pub conversations: Vec<ConversationId>,
    /// Records in them.
    pub records: u64,
    /// Keys by which the person is known.
    pub keys: usize,
    /// One of them that is open.
    pub open: Option<ConversationId>,
}

/// What was erased.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Erasure {
    /// Conversations that were gone through.
    pub conversations: u64,
    /// Records that are tombstones now.
    pub records: u64,
    /// Keys of the person that were forgotten.
    pub keys: u64,
    /// Files that were removed.
    pub files: u64,
    /// Files that could not be removed, with the reason: remove them by hand.
    pub files_left: Vec<String>,
}

/// Why nothing was erased.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErasureError {
    /// There is nothing of the kind.
    #[error("{0}")]
    Nothing(String),
    /// A conversation goes on: what comes next would tell it anew.
    #[error("conversation {0} is open; end it first, then erase it")]
    Open(ConversationId),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Looks what there is.
///
/// # Errors
/// [`ErasureError::Nothing`], [`ErasureError::Store`].
pub async fn look(store: &dyn Store, tenant: &Tenant, whose: Whose) -> Result<Found, ErasureError> {
    let mut found = Found::default();
    match whose {
        Whose::Conversation(id) => found.conversations.push(id),
        Whose::Person(person) => {
            found.keys = store.identities(tenant, person).await?.len();
            let mut pages = Pages::new(store, tenant, ListFilter { person: Some(person), ..ListFilter::default() });
            while let Some(page) = pages.next().await? {
                found.conversations.extend(page.iter().map(|state| state.conversation));
            }
            if found.conversations.is_empty() && found.keys == 0 {
                return Err(ErasureError::Nothing(format!("nothing is known of person {person}")));
            }
        }
    }
    for id in &found.conversations {
        let state = store.summary(tenant, *id).await?;
        let state = state.ok_or_else(|| ErasureError::Nothing(format!("there is no conversation {id}")))?;
        found.records += state.last_seq;
        if state.is_open() {
            found.open = Some(*id);
        }
    }
    Ok(found)
}

/// Erases: files first, then the records that name them, so that what was cut short can be done again. `files`: the folder of
/// `[files]`; `by`: who asks, for the audit trail.
///
/// # Errors
/// As [`look`], and [`ErasureError::Open`]: nothing was erased then.
pub async fn erase(
    store: &dyn Store,
    tenant: &Tenant,
    files: &Path,
    whose: Whose,
    by: &str,
) -> Result<Erasure, ErasureError> {
    if by.trim().is_empty() || by.len() > limits::REASON_BYTES_MAX || by.contains('\0') {
        let why = format!("who erases: 1 to {} bytes of text are expected", limits::REASON_BYTES_MAX);
        return Err(StoreError::Refused(why).into());
    }
    let found = look(store, tenant, whose).await?;
    if let Some(open) = found.open {
        return Err(ErasureError::Open(open));
    }
    let now = Timestamp::now();
    let mut done = Erasure::default();
    let attachments = Files::new(files.join("attachments"));
    for conversation in found.conversations {
        for reference in media(store, tenant, conversation).await? {
            match attachments.remove(&reference).await {
                Ok(false) => {}
                Ok(true) => {
                    done.files += 1;
                    continue;
                }
                Err(error) => {
                    done.files_left.push(format!("{reference}: {error}"));
                    continue;
                }
            }
            let Some(path) = file_below(files, &reference) else { continue };
            match std::fs::remove_file(&path) {
                Ok(()) => done.files += 1,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => done.files_left.push(format!("{}: {error}", path.display())),
            }
        }
        let (tenant, by) = (tenant.clone(), by.to_owned());
        let order = Erase { tenant, conversation, seqs: None, reason: EraseReason::Request, by, at: now };
        done.records += store.erase(order).await?.records;
        done.conversations += 1;
    }
    if let Whose::Person(person) = whose {
        done.keys = store.forget(tenant, person, by, now).await?;
    }
    Ok(done)
}

/// The references of every file that a conversation's records name.
async fn media(
    store: &dyn Store,
    tenant: &Tenant,
    conversation: ConversationId,
) -> Result<BTreeSet<String>, StoreError> {
    let (mut found, mut after) = (BTreeSet::new(), 0);
    loop {
        let page = store.read(tenant, conversation, after, limits::READ_RECORDS_MAX).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = last.seq;
        found.extend(page.iter().flat_map(|record| record.event.event.media_refs()).map(str::to_owned));
    }
}
