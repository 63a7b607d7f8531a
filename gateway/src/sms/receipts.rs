//! What became of short messages after their centre took them: receipts, which come when they come.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::limits::{EARLY_RECEIPTS_MAX, RECEIPTS_MAX};

/// Who waits for the receipts of which messages. Within this process: what a gateway sent before its last start is not known.
#[derive(Debug, Default)]
pub(super) struct Receipts(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: HashMap<String, Waiting>,
    order: VecDeque<String>,
    /// Receipts of messages that nobody waits for yet: a centre may be quicker than whoever sent.
    early: VecDeque<(String, Option<String>)>,
}

/// Why a receipt is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The site has none.
    #[error("no receipts are expected: set [sms.http.receipts]")]
    None,
    /// The key is another one.
    #[error("the key is not that of [sms.http.receipts]")]
    Key,
    /// It cannot be read.
    #[error("{0}")]
    Unread(String),
}

/// One for all parts of a message: the first that fails tells.
type Waiting = Arc<Mutex<Option<oneshot::Sender<String>>>>;

/// The fate of a message: why it did not arrive, in words for an agent. Nothing comes when it arrived, or nobody will say.
pub type Fate = oneshot::Receiver<String>;

impl Receipts {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what becomes of the parts of a message, by the centre's ids. The oldest that still wait make room.
    pub(super) fn wait_for(&self, ids: &[String]) -> Fate {
        let (tell, fate) = oneshot::channel();
        let waiting: Waiting = Arc::new(Mutex::new(Some(tell)));
        let mut inner = self.inner();
        for id in ids.iter().map(|id| plain(id)).filter(|id| !id.is_empty()) {
            if let Some(at) = inner.early.iter().position(|(early, _)| *early == id) {
                let (_, failed) = inner.early.remove(at).unwrap_or_default();
                answer(&waiting, failed);
                continue;
            }
            while inner.order.len() >= RECEIPTS_MAX {
                let oldest = inner.order.pop_front().unwrap_or_default();
                inner.waiting.remove(&oldest);
            }
            inner.order.push_back(id.clone());
            inner.waiting.insert(id, Arc::clone(&waiting));
        }
        fate
    }

    /// A receipt came. Those that say that a message is still on its way say nothing.
    pub(super) fn told(&self, id: &str, state: &str, error: &str) {
        let failed = match state {
            "DELIVRD" => None,
            "ENROUTE" | "ACCEPTD" | "SCHEDULED" => return,
            "EXPIRED" => Some("the phone could not be reached in time".to_owned()),
            "REJECTD" => Some(with_code("the operator refused it", error)),
            _ => Some(with_code("the operator could not deliver it", error)),
        };
        self.settle(id, failed);
    }

    /// What became of a message is known: why it did not arrive, if it did not.
    pub(super) fn settle(&self, id: &str, failed: Option<String>) {
        let mut inner = self.inner();
        // Some centres say an id in hexadecimal when they take a message, and in decimal in its receipt.
        let known = spellings(id).into_iter().find_map(|id| inner.waiting.remove(&id).map(|one| (id, one)));
        match known {
            Some((id, waiting)) => {
                inner.order.retain(|other| *other != id);
                answer(&waiting, failed);
            }
            None => {
                if inner.early.len() >= EARLY_RECEIPTS_MAX {
                    inner.early.pop_front();
                }
                inner.early.push_back((plain(id), failed));
            }
        }
    }
}

fn answer(waiting: &Waiting, failed: Option<String>) {
    let Some(why) = failed else { return };
    if let Some(tell) = waiting.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Whoever waited may have given up.
        let _ = tell.send(why);
    }
}

/// The words for a message that did not arrive, with the other side's code.
pub(super) fn with_code(words: &str, error: &str) -> String {
    let error: String = error.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    if error.is_empty() { words.to_owned() } else { format!("{words} (code {error})") }
}

fn plain(id: &str) -> String {
    let id = id.trim().trim_start_matches('0');
    id.to_ascii_lowercase()
}

fn spellings(id: &str) -> Vec<String> {
    let id = plain(id);
    let hexadecimal = id.parse::<u128>().ok().map(|number| format!("{number:x}"));
    let decimal = u128::from_str_radix(&id, 16).ok().map(|number| number.to_string());
    [Some(id), hexadecimal, decimal].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[&str]) -> Vec<String> {
        list.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_message_that_does_not_arrive_says_so_once_for_all_its_parts() {
        let receipts = Receipts::default();
        let mut fate = receipts.wait_for(&ids(&["M1", "m2"]));
        receipts.told("m1", "ENROUTE", "000");
        receipts.told("m1", "DELIVRD", "000");
        assert!(fate.try_recv().is_err(), "one part is there, of the other nothing is known");
        receipts.told("M2", "UNDELIV", "011");
        assert_eq!(fate.try_recv().unwrap(), "the operator could not deliver it (code 011)");
        receipts.told("m2", "UNDELIV", "011");
    }

    #[test]
    fn a_receipt_may_be_quicker_than_whoever_sent_and_spell_its_id_in_another_base() {
        let receipts = Receipts::default();
        receipts.told("7", "REJECTD", "");
        assert_eq!(receipts.wait_for(&ids(&["7"])).try_recv().unwrap(), "the operator refused it");
        let mut fate = receipts.wait_for(&ids(&["4F2A"]));
        receipts.told("0000020266", "EXPIRED", "000");
        assert_eq!(fate.try_recv().unwrap(), "the phone could not be reached in time");
        let mut fate = receipts.wait_for(&ids(&["20267"]));
        receipts.told("4F2B", "DELETED", "9");
        assert!(fate.try_recv().is_ok());
    }

    #[test]
    fn what_waits_is_bounded() {
        let receipts = Receipts::default();
        let mut first = receipts.wait_for(&ids(&["a"]));
        for n in 0..RECEIPTS_MAX {
            drop(receipts.wait_for(&[format!("n{n}")]));
        }
        receipts.told("a", "UNDELIV", "1");
        assert!(first.try_recv().is_err(), "the oldest made room");
        for n in 0..2 * EARLY_RECEIPTS_MAX {
            receipts.told(&format!("z{n}"), "UNDELIV", "1");
        }
        let inner = receipts.inner();
        assert!(inner.early.len() <= EARLY_RECEIPTS_MAX && inner.order.len() <= RECEIPTS_MAX);
        assert_eq!(inner.order.len(), inner.waiting.len());
    }
}
