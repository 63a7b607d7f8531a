//! Which transaction, dialog or call a message belongs to, as keyed 128-bit fingerprints.
//!
//! A fingerprint replaces the strings it was made of (branch, sent-by, Call-ID, tags): the tables stay small, and
//! nobody without the secret can make two of them meet.

use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasherDefault, Hasher};

/// A keyed fingerprint.
pub type Fingerprint = u128;

/// Makes fingerprints under a secret of its own.
#[derive(Clone)]
pub struct Fingerprinter {
    low: DefaultHasher,
    high: DefaultHasher,
}

impl Fingerprinter {
    /// `secret` is random and the same for the life of the process.
    pub fn new(secret: [u64; 2]) -> Self {
        let keyed = |half: u64| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(half);
            hasher
        };
        Self { low: keyed(secret[0]), high: keyed(secret[1]) }
    }

    /// The fingerprint of these parts, in this order; where one part ends and the next begins counts.
    pub fn of(&self, domain: Domain, parts: &[&[u8]]) -> Fingerprint {
        let (mut low, mut high) = (self.low.clone(), self.high.clone());
        for hasher in [&mut low, &mut high] {
            hasher.write_u8(domain as u8);
            for part in parts {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
        }
        u128::from(high.finish()) << 64 | u128::from(low.finish())
    }
}

/// What is being named, so that equal parts of different things differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A server transaction by branch, sent-by and method (RFC 3261 17.2.3).
    Server,
    /// A server transaction of an RFC 2543 peer, by the fields of 17.2.3.
    Server2543,
    /// A client transaction by branch and method (RFC 3261 17.1.3).
    Client,
    /// A request by Call-ID, From tag and CSeq, for merged requests (RFC 3261 8.2.2.2).
    Merged,
    /// A call by Call-ID and our own tag (RFC 3261 12).
    Dialog,
    /// The To tag of a response that no state stands behind (RFC 3261 8.2.7).
    StatelessTag,
}

/// The magic cookie of RFC 3261 8.1.1.7.
pub const COOKIE: &[u8] = b"z9hG4bK";

/// Whether a branch can be matched as RFC 3261 says; if not (cookie missing, or nothing behind it), RFC 2543 rules
/// count.
pub fn is_rfc3261_branch(branch: &[u8]) -> bool {
    branch.len() > COOKIE.len() && branch.get(..COOKIE.len()).is_some_and(|start| start.eq_ignore_ascii_case(COOKIE))
}

/// Hashes fingerprints and running numbers, which need no mixing against an attacker.
#[derive(Clone, Copy, Default)]
pub struct PlainHasher(u64);

impl Hasher for PlainHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }
    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64 ^ (value >> 64) as u64;
    }
}

/// A table from fingerprints or running numbers.
pub type PlainMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<PlainHasher>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_differ_by_secret_domain_and_where_parts_end() {
        let one = Fingerprinter::new([1, 2]);
        let of = one.of(Domain::Server, &[b"ab", b"c"]);
        assert_eq!(of, one.of(Domain::Server, &[b"ab", b"c"]));
        assert_ne!(of, one.of(Domain::Server, &[b"a", b"bc"]));
        assert_ne!(of, one.of(Domain::Client, &[b"ab", b"c"]));
        assert_ne!(of, Fingerprinter::new([1, 3]).of(Domain::Server, &[b"ab", b"c"]));
    }

    #[test]
    fn a_branch_that_is_only_the_cookie_is_matched_by_the_old_rules() {
        assert!(is_rfc3261_branch(b"z9hG4bK776asdhds"));
        assert!(!is_rfc3261_branch(b"z9hG4bK"));
        assert!(!is_rfc3261_branch(b"1"));
    }
}
