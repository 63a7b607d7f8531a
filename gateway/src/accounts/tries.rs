//! How often somebody may be wrong when they sign in: each account, and each address, has a number of tries that grow back one by one.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::limits::{TRIES_KEPT_MAX, TRIES_PER_ACCOUNT, TRIES_PER_ADDRESS, TRY_AGAIN_ACCOUNT, TRY_AGAIN_ADDRESS};

/// The wrong tries of everybody. Of names that no account has as well: whether there is one must not show.
#[derive(Debug)]
pub struct Tries {
    of: Mutex<(Spent<String>, Spent<IpAddr>)>,
}

impl Default for Tries {
    fn default() -> Self {
        let accounts = Spent::new(TRIES_PER_ACCOUNT, TRY_AGAIN_ACCOUNT);
        Self { of: Mutex::new((accounts, Spent::new(TRIES_PER_ADDRESS, TRY_AGAIN_ADDRESS))) }
    }
}

impl Tries {
    fn of(&self) -> MutexGuard<'_, (Spent<String>, Spent<IpAddr>)> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a try before it is known whether it is right, so that many at once are no more than one after the other.
    ///
    /// # Errors
    /// How long the next try is to wait. Nothing was taken then.
    pub fn take(&self, name: &str, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut of = self.of();
        let (accounts, addresses) = &mut *of;
        let wait = accounts.wait(&name.to_owned(), now).max(addresses.wait(&address, now));
        if let Some(wait) = wait {
            return Err(wait);
        }
        accounts.spend(name.to_owned(), now);
        addresses.spend(address, now);
        Ok(())
    }

    /// The try was right, or could not be looked at. An account's wrong ones before it are forgotten when it was right; an address's
    /// are not, or who has an account of their own could try those of others without end.
    pub fn give_back(&self, name: &str, address: IpAddr, right: bool, now: Instant) {
        let mut of = self.of();
        of.0.give_back(&name.to_owned(), if right { f64::INFINITY } else { 1.0 }, now);
        of.1.give_back(&address, 1.0, now);
    }
}

/// What was spent by each, growing back.
#[derive(Debug)]
struct Spent<K> {
    most: f64,
    again: Duration,
    each: HashMap<K, (f64, Instant)>,
}

impl<K: Hash + Eq + Clone> Spent<K> {
    fn new(most: u32, again: Duration) -> Self {
        Self { most: f64::from(most), again, each: HashMap::new() }
    }

    fn level(&self, (spent, at): (f64, Instant), now: Instant) -> f64 {
        let back = now.saturating_duration_since(at).as_secs_f64() / self.again.as_secs_f64();
        (spent - back).max(0.0)
    }

    fn wait(&self, who: &K, now: Instant) -> Option<Duration> {
        let over = self.level(*self.each.get(who)?, now) + 1.0 - self.most;
        (over > 0.0).then(|| self.again.mul_f64(over))
    }

    fn spend(&mut self, who: K, now: Instant) {
        if self.each.len() >= TRIES_KEPT_MAX && !self.each.contains_key(&who) {
            self.make_room(now);
        }
        let spent = self.each.get(&who).map_or(0.0, |kept| self.level(*kept, now));
        self.each.insert(who, (spent + 1.0, now));
    }

    fn give_back(&mut self, who: &K, count: f64, now: Instant) {
        let Some(kept) = self.each.get(who).copied() else { return };
        let left = self.level(kept, now) - count;
        if left > 0.0 {
            self.each.insert(who.clone(), (left, now));
        } else {
            self.each.remove(who);
        }
    }

    /// Forgets whose tries have grown back; when that is nobody, whose have most.
    fn make_room(&mut self, now: Instant) {
        let levels: Vec<(K, f64)> = self.each.iter().map(|(who, kept)| (who.clone(), self.level(*kept, now))).collect();
        let least = levels.iter().map(|(_, level)| *level).fold(f64::INFINITY, f64::min);
        for (who, level) in levels {
            if level <= least {
                self.each.remove(&who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn an_accounts_tries_are_limited_wherever_they_come_from_and_grow_back() {
        let (tries, now) = (Tries::default(), Instant::now());
        for _ in 0..TRIES_PER_ACCOUNT {
            assert_eq!(tries.take("anna", HERE, now), Ok(()));
        }
        let wait = tries.take("anna", THERE, now).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= TRY_AGAIN_ACCOUNT, "{wait:?}");
        assert_eq!(tries.take("ben", HERE, now), Ok(()), "others are not held up");
        assert_eq!(tries.take("anna", THERE, now + TRY_AGAIN_ACCOUNT), Ok(()));
        assert!(tries.take("anna", THERE, now + TRY_AGAIN_ACCOUNT).is_err(), "one grew back, not all");
    }

    #[test]
    fn an_addresss_tries_are_limited_whomever_it_tries() {
        let (tries, now) = (Tries::default(), Instant::now());
        for n in 0..TRIES_PER_ADDRESS {
            assert_eq!(tries.take(&format!("a{n}"), HERE, now), Ok(()));
        }
        assert!(tries.take("anna", HERE, now).is_err());
        assert_eq!(tries.take("anna", THERE, now), Ok(()));
        tries.give_back("anna", THERE, true, now);
        tries.give_back("a0", HERE, true, now);
        assert_eq!(tries.take("a1", HERE, now), Ok(()), "what was right is given back");
        assert!(tries.take("a1", HERE, now).is_err(), "and no more than that");
    }

    #[test]
    fn who_signs_in_begins_anew_and_strangers_push_nobody_out() {
        let (tries, now) = (Tries::default(), Instant::now());
        for _ in 0..TRIES_PER_ACCOUNT {
            tries.take("anna", HERE, now).unwrap();
        }
        for n in 0..TRIES_KEPT_MAX * 2 {
            let from = IpAddr::from(std::net::Ipv6Addr::from(n as u128));
            assert_eq!(tries.take(&format!("x{n}"), from, now), Ok(()));
        }
        assert!(tries.of().0.each.len() <= TRIES_KEPT_MAX && tries.of().1.each.len() <= TRIES_KEPT_MAX);
        assert!(tries.take("anna", THERE, now).is_err(), "she is still remembered");
        tries.give_back("anna", HERE, true, now);
        for _ in 0..TRIES_PER_ACCOUNT {
            assert_eq!(tries.take("anna", THERE, now), Ok(()));
        }
    }
}
