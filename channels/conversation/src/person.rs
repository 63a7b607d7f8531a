//! Who is who: pure rules over the rows that the store keeps, applied in its transaction.
//!
//! A person has keys. A verified key belongs to one person within a tenant; what is only asserted (a caller ID) is a
//! hint and belongs to nobody. Two persons become one when the same verified key belongs to both, or when one opens a
//! link that was made for the other; never across tenants (I11). A merge is written down with what it moved, and undoing
//! it moves back exactly that. Conversations are never merged: they keep the person that they were linked with, and
//! [`Registry::root`] says who that is now.

use std::collections::BTreeMap;

use crate::event::{MergeReason, PersonMerged, PersonUnmerged};
use crate::id::{MergeId, PersonId, Tenant};
use crate::identity::{Assurance, IdentityKey};

/// A person's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub id: PersonId,
    /// Whose customer.
    pub tenant: Tenant,
    /// Who they turned out to be.
    pub merged_into: Option<PersonId>,
}

/// What to do with keys that somebody came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// Nothing proves who it is: the conversation keeps the person that it has, or gets a new one without keys.
    Unproved,
    /// Nobody has these keys: they become `person`'s, who is the conversation's, or a new one.
    Claim {
        /// The conversation's person, when it has one.
        person: Option<PersonId>,
        /// The keys that are nobody's yet.
        keys: Vec<IdentityKey>,
    },
    /// They are one person's: the conversation is theirs.
    Known {
        /// Who.
        person: PersonId,
        /// The keys that are nobody's yet and become theirs.
        keys: Vec<IdentityKey>,
    },
    /// They are several persons', who are one: merge all into the first, the oldest.
    Merge {
        /// Who stays.
        into: PersonId,
        /// Who is the same, oldest first.
        from: Vec<PersonId>,
        /// The keys that are nobody's yet.
        keys: Vec<IdentityKey>,
    },
}

/// Why two persons are not merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// They belong to different tenants.
    #[error("the two persons belong to different tenants and can never be one")]
    Tenants,
    /// They are one already.
    #[error("the two persons are one already")]
    Same,
    /// One of them is not there.
    #[error("there is no such person")]
    Unknown,
    /// There is no such merge, or it was undone.
    #[error("there is no such merge, or it was undone already")]
    NoMerge,
}

/// What is done about keys that somebody came with. `owners` are the persons who have a verified one of these keys, as
/// they are now ([`Registry::root`]), `current` is the conversation's person, as they are now.
///
/// Asserted keys move nothing. The conversation's own person takes part in a merge only when `current_verified` says
/// that they have a verified key themselves: a new conversation's empty person is simply left behind.
#[must_use]
pub fn resolve(
    keys: &[(IdentityKey, Option<PersonId>)],
    assurance: Assurance,
    current: Option<PersonId>,
    current_verified: bool,
) -> Resolved {
    if !assurance.is_verified() || keys.is_empty() {
        return Resolved::Unproved;
    }
    let free = keys.iter().filter(|(_, owner)| owner.is_none()).map(|(key, _)| key.clone()).collect();
    let mut people: Vec<PersonId> = keys.iter().filter_map(|(_, owner)| *owner).collect();
    if people.is_empty() {
        return Resolved::Claim { person: current, keys: free };
    }
    // The conversation's person is the one who came with the keys before: one of them is enough to be them.
    people.extend(current.filter(|_| current_verified));
    people.sort_unstable();
    people.dedup();
    let into = people.remove(0);
    if people.is_empty() {
        Resolved::Known { person: into, keys: free }
    } else {
        Resolved::Merge { into, from: people, keys: free }
    }
}

/// Persons, verified keys and merges: the store's three tables as a value. The store runs the same rules on its rows;
/// tests run them here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registry {
    people: BTreeMap<PersonId, Person>,
    keys: BTreeMap<(Tenant, IdentityKey), PersonId>,
    merges: BTreeMap<MergeId, PersonMerged>,
}

impl Registry {
    /// Adds a person without keys. One who is there already stays as they are.
    pub fn add(&mut self, tenant: Tenant, id: PersonId) {
        self.people.entry(id).or_insert(Person { id, tenant, merged_into: None });
    }

    /// A person's row.
    #[must_use]
    pub fn person(&self, id: PersonId) -> Option<&Person> {
        self.people.get(&id)
    }

    /// Who a person is now: the end of the road of merges.
    #[must_use]
    pub fn root(&self, id: PersonId) -> PersonId {
        self.road(id).last().copied().unwrap_or(id)
    }

    /// Everybody whom a person was merged into, one after the other, from themselves.
    fn road(&self, id: PersonId) -> Vec<PersonId> {
        let merged_into = |id: &PersonId| self.people.get(id).and_then(|person| person.merged_into);
        // A merge joins two roots, so the road has no rings and is no longer than there are persons.
        std::iter::successors(Some(id), merged_into).collect()
    }

    /// Whose a verified key is.
    #[must_use]
    pub fn owner_of(&self, tenant: &Tenant, key: &IdentityKey) -> Option<PersonId> {
        self.keys.get(&(tenant.clone(), key.clone())).copied()
    }

    /// Gives a verified key that is nobody's to a person. Whether it was nobody's.
    pub fn claim(&mut self, person: PersonId, key: IdentityKey) -> bool {
        let root = self.root(person);
        let Some(tenant) = self.people.get(&root).map(|person| person.tenant.clone()) else { return false };
        let taken = self.keys.contains_key(&(tenant.clone(), key.clone()));
        if !taken {
            self.keys.insert((tenant, key), root);
        }
        !taken
    }

    /// Makes two persons one: the keys of `from` become those of `into`. What comes back is the event to write down.
    ///
    /// # Errors
    /// [`MergeError`] when they are of two tenants, one already, or not there; nothing changed.
    pub fn merge(
        &mut self,
        merge: MergeId,
        into: PersonId,
        from: PersonId,
        reason: MergeReason,
        by: &str,
    ) -> Result<PersonMerged, MergeError> {
        let (into, from) = (self.root(into), self.root(from));
        let (a, b) =
            (self.people.get(&into).ok_or(MergeError::Unknown)?, self.people.get(&from).ok_or(MergeError::Unknown)?);
        check_merge(a, b)?;
        let moved: Vec<_> = self.keys.iter_mut().filter(|(_, owner)| **owner == from).collect();
        let mut keys = Vec::with_capacity(moved.len());
        for ((_, key), owner) in moved {
            *owner = into;
            keys.push(key.clone());
        }
        if let Some(person) = self.people.get_mut(&from) {
            person.merged_into = Some(into);
        }
        let merged = PersonMerged { merge, into, from, keys, reason, by: by.to_owned() };
        self.merges.insert(merge, merged.clone());
        Ok(merged)
    }

    /// Makes one person two again, in any order of merges: the keys that the merge moved go back, where they are still
    /// with the one who stayed or with whom that one was merged since. What came to them later stays.
    ///
    /// # Errors
    /// [`MergeError::NoMerge`] when there is no such merge, or it was undone.
    pub fn unmerge(&mut self, merge: MergeId, by: &str) -> Result<PersonUnmerged, MergeError> {
        let merged = self.merges.remove(&merge).ok_or(MergeError::NoMerge)?;
        let holder = self.root(merged.into);
        if let Some(person) = self.people.get_mut(&merged.from) {
            person.merged_into = None;
        }
        let Some(tenant) = self.people.get(&merged.from).map(|person| person.tenant.clone()) else {
            return Err(MergeError::Unknown);
        };
        let mut keys = Vec::new();
        for key in merged.keys {
            if let Some(owner) = self.keys.get_mut(&(tenant.clone(), key.clone())).filter(|owner| **owner == holder) {
                *owner = merged.from;
                keys.push(key);
            }
        }
        // The merges that carried these keys further, up to the holder, must not claim them when they are undone in turn.
        let road = self.road(merged.into);
        for other in self.merges.values_mut().filter(|other| road.contains(&other.from)) {
            other.keys.retain(|key| !keys.contains(key));
        }
        Ok(PersonUnmerged { merge, into: merged.into, from: merged.from, keys, by: by.to_owned() })
    }
}

/// Whether two roots may become one.
///
/// # Errors
/// [`MergeError::Same`] and [`MergeError::Tenants`].
pub fn check_merge(into: &Person, from: &Person) -> Result<(), MergeError> {
    if into.id == from.id {
        return Err(MergeError::Same);
    }
    if into.tenant != from.tenant {
        return Err(MergeError::Tenants);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyKind;
    use proptest::prelude::*;

    fn id(n: u64) -> PersonId {
        PersonId::new(n, 0)
    }

    fn key(n: u64) -> IdentityKey {
        IdentityKey::new(KeyKind::WeChatUnionid, format!("u{n}"))
    }

    fn registry(people: u64) -> Registry {
        let mut registry = Registry::default();
        for n in 0..people {
            let tenant = if n % 5 == 4 { Tenant::new("other").unwrap() } else { Tenant::MAIN };
            registry.add(tenant, id(n));
            registry.claim(id(n), key(n));
            registry.claim(id(n), key(n + 100));
        }
        registry
    }

    #[test]
    fn only_a_verified_key_that_is_equal_makes_two_persons_one() {
        let (k1, k2) = (key(1), key(2));
        let owned = |n| Some(id(n));
        let both = [(k1.clone(), owned(1)), (k2.clone(), owned(2))];
        assert_eq!(resolve(&both, Assurance::Asserted, None, false), Resolved::Unproved, "a caller ID proves nothing");
        let merge = Resolved::Merge { into: id(1), from: vec![id(2)], keys: vec![] };
        assert_eq!(resolve(&both, Assurance::ChannelVerified, None, false), merge);
        let one = [(k1.clone(), owned(1)), (k2.clone(), None)];
        let known = Resolved::Known { person: id(1), keys: vec![k2.clone()] };
        assert_eq!(resolve(&one, Assurance::Otp, Some(id(9)), false), known, "an empty person is left behind");
        let merge = Resolved::Merge { into: id(1), from: vec![id(9)], keys: vec![k2.clone()] };
        assert_eq!(resolve(&one, Assurance::Otp, Some(id(9)), true), merge);
        let free = [(k1.clone(), None)];
        let claim = Resolved::Claim { person: Some(id(9)), keys: vec![k1] };
        assert_eq!(resolve(&free, Assurance::Sso, Some(id(9)), true), claim);
    }

    #[test]
    fn a_merge_never_crosses_tenants() {
        let mut people = registry(5);
        let before = people.clone();
        let refused = people.merge(MergeId::new(1, 1), id(0), id(4), MergeReason::LinkToken, "ark");
        assert_eq!(refused, Err(MergeError::Tenants));
        assert_eq!(people, before);
    }

    /// Every key has one owner who is nobody else now, and owners are of the key's tenant.
    fn check(people: &Registry) -> Result<(), TestCaseError> {
        for ((tenant, key), owner) in &people.keys {
            prop_assert_eq!(people.root(*owner), *owner, "{:?} belongs to one who is another", key);
            prop_assert_eq!(&people.person(*owner).unwrap().tenant, tenant, "I11: {:?} crossed tenants", key);
        }
        for person in people.people.values() {
            let root = people.person(people.root(person.id)).unwrap();
            prop_assert_eq!(&root.tenant, &person.tenant, "I11: {:?} crossed tenants", person);
        }
        Ok(())
    }

    proptest! {
        /// I11: whatever is merged and in whatever order it is undone, everybody is at last who they were.
        #[test]
        fn merges_can_be_undone_in_any_order(
            pairs in prop::collection::vec((0..12_u64, 0..12_u64), 1..20),
            undo in prop::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            let mut people = registry(12);
            let before = people.clone();
            let mut done = Vec::new();
            for (n, (a, b)) in (1..).zip(pairs) {
                let crosses = people.person(id(a)).unwrap().tenant != people.person(id(b)).unwrap().tenant;
                match people.merge(MergeId::new(n, n.into()), id(a), id(b), MergeReason::Key, "ark") {
                    Ok(merged) => {
                        prop_assert!(!crosses, "I11: a merge crossed tenants");
                        done.push(merged.merge);
                    }
                    Err(error) => prop_assert_eq!(error == MergeError::Tenants, crosses),
                }
                check(&people)?;
            }
            for pick in undo {
                if done.is_empty() {
                    break;
                }
                let merge = done.remove(pick.index(done.len()));
                people.unmerge(merge, "anna").unwrap();
                prop_assert_eq!(people.unmerge(merge, "anna"), Err(MergeError::NoMerge));
                check(&people)?;
            }
            prop_assert_eq!(&people, &before);
        }
    }

    /// The canary of I11: a registry without the check lets tenants mix, and the property sees it.
    #[test]
    fn a_registry_without_the_tenant_check_is_caught() {
        let mut people = registry(5);
        people.people.get_mut(&id(4)).unwrap().merged_into = Some(id(0));
        assert!(check(&people).is_err());
    }
}
