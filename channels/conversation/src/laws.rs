//! The invariants of a conversation's log, by rules that know nothing of the machine that writes it.
//!
//! For the random stories of this crate and the random walks over whole channels: both read every record with the same [`Laws`].
//! Invariants are named as in ARCHITECTURE.md. What needs more than the log (what customers wrote, what reached them) is the
//! reader's own.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use crate::event::{Event, MessageOut, Party, PartyRole, SessionCloseReason, Voice};
use crate::id::LegId;
use crate::owner::Owner;
use crate::record::Record;

/// A broken invariant: its number, and what broke it.
pub type Broken = (&'static str, String);

/// Says that `rule` is broken unless it holds.
///
/// # Errors
/// The rule and the words.
pub fn ensure(rule: &'static str, holds: bool, told: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err((rule, told())) }
}

/// One conversation's log so far.
#[derive(Debug, Default)]
pub struct Laws {
    seq: u64,
    epoch: u64,
    owner: Option<Owner>,
    invited: Vec<Owner>,
    offer: Option<(Timestamp, u64)>,
    calls: HashSet<LegId>,
    threads: HashMap<LegId, String>,
}

impl Laws {
    /// Who owns it now; none before the first record.
    #[must_use]
    pub const fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }

    /// The epoch of the last record; 0 before the first.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The open offer: its deadline, and the epoch that it expects.
    #[must_use]
    pub const fn offer(&self) -> Option<(Timestamp, u64)> {
        self.offer
    }

    /// Calls that are up.
    #[must_use]
    pub const fn calls(&self) -> &HashSet<LegId> {
        &self.calls
    }

    /// Reads the next record.
    ///
    /// # Errors
    /// The invariant that it breaks, of I2 to I5, I7 to I9 and I12.
    pub fn read(&mut self, record: &Record) -> Result<(), Broken> {
        let (seq, event) = (record.seq, &record.event);
        ensure("I3", seq == self.seq + 1, || format!("seq {seq} after {}", self.seq))?;
        ensure("I2", record.epoch >= self.epoch, || format!("epoch {} after {}", record.epoch, self.epoch))?;
        let changes = matches!(
            event.event,
            Event::OwnerAccepted(_) | Event::OwnerReleased(_) | Event::SessionOpened(_) | Event::CallRinging(_)
        );
        let raised = record.epoch - self.epoch;
        ensure("I2", raised == 0 || changes && raised == 1, || format!("{seq} raised the epoch by {raised}"))?;
        self.seq = seq;
        let before = std::mem::replace(&mut self.epoch, record.epoch);
        self.read_ownership(record, before, raised)?;
        self.read_service(record)?;
        ensure("I2", self.owner.is_some(), || format!("{seq}: nobody owns"))
    }

    /// Who owns, and who is asked.
    fn read_ownership(&mut self, record: &Record, before: u64, raised: u64) -> Result<(), Broken> {
        let seq = record.seq;
        match &record.event.event {
            Event::SessionOpened(opened) => {
                let same = self.owner.as_ref() == Some(&opened.owner);
                ensure("I2", raised == 1 || same, || format!("{seq}: a new owner in epoch {before}"))?;
                self.own(opened.owner.clone());
            }
            Event::CallRinging(ringing) => {
                let same = self.owner.as_ref() == Some(&ringing.owner);
                ensure("I2", raised == 1 || same, || format!("{seq}: a new owner in epoch {before}"))?;
                self.calls.insert(ringing.leg);
                self.own(ringing.owner.clone());
            }
            Event::OwnerOffered(offered) => {
                ensure("I7", self.offer.is_none(), || format!("{seq}: a second offer"))?;
                self.offer = Some((offered.deadline, offered.expected_epoch));
            }
            Event::OwnerAccepted(accepted) => {
                ensure("I2", raised == 1, || format!("{seq}: accepted in epoch {before}"))?;
                ensure("I5", accepted.history_to == seq - 1, || {
                    format!("{seq}: the new owner sees up to {}", accepted.history_to)
                })?;
                if let Some((deadline, expected)) = self.offer {
                    ensure("I7", record.at < deadline, || format!("{seq}: accepted after {deadline}"))?;
                    ensure("I2", expected == before, || format!("{seq}: an offer of epoch {expected} accepted"))?;
                }
                self.own(accepted.owner.clone());
            }
            Event::OwnerReleased(released) => {
                ensure("I2", raised == 1, || format!("{seq}: released in epoch {before}"))?;
                self.own(Owner::Queue(released.queue.clone()));
            }
            Event::OwnerDeclined(_) | Event::OwnerExpired(_) | Event::OwnerWithdrawn(_) => self.offer = None,
            _ => {}
        }
        Ok(())
    }

    /// Legs, sessions, those who take part, and what is said.
    fn read_service(&mut self, record: &Record) -> Result<(), Broken> {
        let seq = record.seq;
        match &record.event.event {
            Event::CallEnded(ended) => drop(self.calls.remove(&ended.leg)),
            Event::LegAdded(added) => drop(self.threads.insert(added.leg, added.source.clone())),
            Event::LegEnded(ended) => drop(self.threads.remove(&ended.leg)),
            Event::SessionClosed(closed) => {
                ensure("I8", self.calls.is_empty(), || format!("{seq}: closed while a call is up"))?;
                let alone = closed.reason != SessionCloseReason::LegsEnded || self.threads.is_empty();
                ensure("I8", alone, || format!("{seq}: a leg's death closed it while {:?} live", self.threads))?;
                self.invited.clear();
                self.offer = None;
            }
            Event::ParticipantJoined(joined) if joined.voice == Voice::Speak => {
                self.invited.push(Owner::Bot(joined.participant.id.reveal().to_owned()));
            }
            Event::ParticipantLeft(left) => {
                self.invited.retain(|one| *one != Owner::Bot(left.participant.id.reveal().to_owned()));
            }
            Event::Summary(summary) => {
                let told = summary.messages.iter().max().copied().unwrap_or(0).max(summary.upto);
                ensure("I9", told < seq, || format!("{seq}: a summary of {told}"))?;
            }
            Event::MessageOut(message) => self.read_outbound(seq, message)?,
            _ => {}
        }
        Ok(())
    }

    fn own(&mut self, owner: Owner) {
        if self.owner.as_ref() != Some(&owner) {
            self.invited.clear();
        }
        self.owner = Some(owner);
        self.offer = None;
    }

    fn read_outbound(&self, seq: u64, message: &MessageOut) -> Result<(), Broken> {
        let author = author_of(&message.sender);
        ensure("I4", message.epoch == self.epoch, || format!("{seq}: of epoch {} in {}", message.epoch, self.epoch))?;
        if self.owner.as_ref() == Some(&author) {
            return Ok(());
        }
        let silent = matches!((&author, &self.owner), (Owner::Bot(_), Some(Owner::Agent(_))));
        let rule = if silent { "I12" } else { "I2" };
        ensure(rule, self.invited.contains(&author), || format!("{seq}: {author} speaks, {:?} owns", self.owner))
    }
}

fn author_of(party: &Party) -> Owner {
    let name = party.id.reveal().to_owned();
    match party.role {
        PartyRole::Agent => Owner::Agent(name),
        PartyRole::Bot => Owner::Bot(name),
        PartyRole::Customer | PartyRole::System => Owner::Queue(name),
    }
}
