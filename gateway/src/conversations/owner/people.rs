//! Whose keys somebody came with: the rules of [`ark_conversation::person`] over the store's rows.

use ark_conversation::event::{MergeReason, PersonLinked, PersonMerged};
use ark_conversation::machine::Input;
use ark_conversation::person::{Resolved, resolve};
use ark_conversation::{Assurance, IdentityKey, MergeId, PersonId};
use ark_store::{MergeOf, NewIdentity, PersonOf, Store};

use super::machines::Key;
use super::run::{Owner, Trouble, Turn};
use crate::conversations::shards::Right;

/// Who merges where no person did.
const BY: &str = "ark";
/// How often it is asked anew when others claim the same keys at the same time.
const TRIES: usize = 4;

/// Who somebody is, and who turned out to be the same.
pub(super) struct Known {
    linked: Option<PersonLinked>,
    merged: Vec<PersonMerged>,
}

impl Owner {
    /// Finds whose keys these are, and gives those that are nobody's to them. Asked again after a crash, the answer is the same.
    pub(super) async fn identify(
        &mut self,
        key: &Key,
        keys: &[IdentityKey],
        assurance: Assurance,
    ) -> Result<Option<Known>, Trouble> {
        for _ in 0..TRIES {
            if let Some(known) = self.try_identify(key, keys, assurance).await? {
                return Ok(Some(known));
            }
        }
        Err(Trouble::Again)
    }

    /// None: a key was claimed by somebody else in between.
    async fn try_identify(
        &mut self,
        key: &Key,
        keys: &[IdentityKey],
        assurance: Assurance,
    ) -> Result<Option<Known>, Trouble> {
        let tenant = &key.0;
        let linked_with = self.person_of(key);
        let mut owners = Vec::with_capacity(keys.len());
        for one in keys {
            owners.push((one.clone(), self.store.owner(tenant, one).await.map_err(Trouble::Store)?));
        }
        let mut current = None;
        if let Some(person) = linked_with {
            current = self.store.person(tenant, person).await.map_err(Trouble::Store)?.or(Some(person));
        }
        let verified = match current {
            Some(person) => !verified_keys(&*self.store, key, person).await?.is_empty(),
            None => false,
        };
        // Whoever comes with nothing that is known is a person of this conversation's own.
        let own = current.unwrap_or_else(|| PersonId::from_bytes(key.1.to_bytes()));
        let (person, claims, from) = match resolve(&owners, assurance, current, verified) {
            // A hint: kept beside the person, and it moves nothing.
            Resolved::Unproved => (own, keys.to_vec(), Vec::new()),
            Resolved::Claim { person, keys } => (person.unwrap_or(own), keys, Vec::new()),
            Resolved::Known { person, keys } => (person, keys, Vec::new()),
            Resolved::Merge { into, from, keys } => (into, keys, from),
        };
        for one in &claims {
            let new = NewIdentity { tenant: tenant.clone(), key: one.clone(), assurance, person, at: (self.clock)() };
            let told = self.store.identify(new).await.map_err(Trouble::Store)?;
            if told.person != person {
                return Ok(None);
            }
        }
        let mut merged = Vec::with_capacity(from.len());
        for from in from {
            let keys = verified_keys(&*self.store, key, from).await?;
            let unix_ms = u64::try_from((self.clock)().as_millisecond()).unwrap_or(0);
            let merge = MergeId::new(unix_ms, rand::random());
            let by = BY.to_owned();
            merged.push(PersonMerged { merge, into: person, from, keys, reason: MergeReason::Key, by });
        }
        let linked = (!keys.is_empty() && linked_with != Some(person)).then(|| PersonLinked {
            person,
            keys: keys.to_vec(),
            assurance,
            previous: linked_with,
        });
        Ok(Some(Known { linked, merged }))
    }

    fn person_of(&mut self, key: &Key) -> Option<PersonId> {
        let right = self.own.right(self.own.topology().shard(key.1))?;
        self.machines.get(key, &right)?.machine.state()?.person
    }

    /// A telephone number that is for sure the customer's.
    pub(super) async fn verified_phone(&mut self, key: &Key) -> Result<Option<String>, Trouble> {
        let Some(person) = self.person_of(key) else { return Ok(None) };
        crate::conversations::callback::verified_phone(&*self.store, &key.0, person).await.map_err(Trouble::Store)
    }

    /// Says it in the conversation's log, in the commit that writes it.
    pub(super) fn link(&mut self, turn: &mut Turn, right: &Right, key: &Key, known: Known) -> Result<(), Trouble> {
        let now = (self.clock)();
        for merged in known.merged {
            let (from, into, by) = (merged.from, merged.into, merged.by.clone());
            if self.handle(key, right, now, Input::Merged(merged))?.is_ok() {
                turn.batch().merges.push(MergeOf { tenant: key.0.clone(), from, into, by, at: now });
            }
        }
        if let Some(linked) = known.linked {
            let person = linked.person;
            if self.handle(key, right, now, Input::Linked(linked))?.is_ok() {
                turn.batch().persons.push(PersonOf { tenant: key.0.clone(), conversation: key.1, person });
            }
        }
        Ok(())
    }
}

async fn verified_keys(store: &dyn Store, key: &Key, person: PersonId) -> Result<Vec<IdentityKey>, Trouble> {
    let all = store.identities(&key.0, person).await.map_err(Trouble::Store)?;
    Ok(all.into_iter().filter(|one| one.assurance.is_verified()).map(|one| one.key).collect())
}
