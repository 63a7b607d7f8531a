//! Tags, branches and Call-IDs that nobody can guess.

use crate::auth::hex;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use std::time::Duration;

pub(crate) struct Random(ChaCha12Rng);

impl Random {
    pub(crate) fn new(secret: &[u8; 32], seed: u64) -> Self {
        let mixed = Sha256::new().chain_update(secret).chain_update(seed.to_be_bytes()).finalize();
        Self(ChaCha12Rng::from_seed(mixed.into()))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// 64 bits, RFC 3261 19.3 asks for 32.
    pub(crate) fn tag(&mut self) -> String {
        hex(&self.next().to_be_bytes())
    }

    /// The cookie and 96 bits.
    pub(crate) fn branch(&mut self) -> String {
        let mut branch = String::with_capacity(32);
        branch.push_str("z9hG4bK");
        branch.push_str(&hex(&self.next().to_be_bytes()));
        branch.push_str(&hex(&(self.next() as u32).to_be_bytes()));
        branch
    }

    /// 128 bits.
    pub(crate) fn call_id(&mut self) -> String {
        let mut id = self.tag();
        id.push_str(&self.tag());
        id
    }

    /// Anything from `low` to `high` in steps of 10 ms, both included.
    pub(crate) fn delay(&mut self, low: Duration, high: Duration) -> Duration {
        let steps = (high.saturating_sub(low).as_millis() / 10) as u64 + 1;
        low + Duration::from_millis(10 * (self.next() % steps))
    }
}
