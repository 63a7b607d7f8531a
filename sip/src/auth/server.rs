//! Makes digest challenges and checks the answers (RFC 3261 22, RFC 7616 3.3).
//!
//! A nonce proves itself: it holds its time and number under an HMAC bound to the source that was challenged, so an
//! unanswered challenge costs no memory. Only nonces that were used with the right password are remembered, for their
//! nonce counts.

use super::{Algorithm, Inputs, Params, Qop, ha1, hex, parse, quoted};
use crate::tx::matching::PlainMap;
use crate::ua::limits;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// How a realm is guarded.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The protection domain, shown to the client.
    pub realm: String,
    /// Which algorithms to offer, the preferred one first (RFC 8760 2.3). Default: SHA-256, then MD5 for old phones.
    pub algorithms: Vec<Algorithm>,
    /// Whether auth-int is offered beside auth. Default: no; few phones have it.
    pub auth_int: bool,
    /// How long a nonce may be used. Default: 5 minutes.
    pub nonce_lifetime: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            realm: "ark".to_owned(),
            algorithms: vec![Algorithm::SHA_256, Algorithm::MD5],
            auth_int: false,
            nonce_lifetime: Duration::from_secs(300),
        }
    }
}

/// What a user store gives for a name.
#[derive(Clone)]
pub enum Secret {
    /// The password itself: serves every algorithm.
    Password(String),
    /// H(username:realm:password) in hex, for the algorithm's hash it was made with.
    Ha1(String),
}

/// Why a request was not let in. Both are answered by the same 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No digest credentials for this realm (also: unknown scheme, unknown algorithm, something missing).
    Missing,
    /// User name or password is wrong, or the credentials belong to another request or source.
    Wrong,
    /// The nonce is too old or its count was seen before; the challenge says `stale=true`.
    Stale,
}

/// What a request shows to be checked.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The Request-URI as it is written.
    pub uri: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

/// The nonce counts seen for one nonce: the highest, and a window below it.
#[derive(Clone, Copy, Debug)]
struct Counts {
    highest: u32,
    seen: u64,
}

/// The guard of one realm.
pub struct Server {
    config: ServerConfig,
    key: [u8; 32],
    epoch: Instant,
    issued: u64,
    counts: PlainMap<u64, Counts>,
    order: VecDeque<u64>,
    /// Nonces up to this number were forgotten; they are stale.
    forgotten: Option<u64>,
}

impl Server {
    /// `key` is random; `epoch` any instant before the first call.
    pub fn new(config: ServerConfig, key: [u8; 32], epoch: Instant) -> Self {
        Self { config, key, epoch, issued: 0, counts: PlainMap::default(), order: VecDeque::new(), forgotten: None }
    }

    /// The values of the `WWW-Authenticate` headers of a 401, one for each algorithm.
    pub fn challenge(&mut self, now: Instant, source: IpAddr, why: Denied) -> Vec<String> {
        self.issued += 1;
        let nonce = self.nonce(now, self.issued, source);
        let qop = if self.config.auth_int { "auth,auth-int" } else { "auth" };
        let stale = if why == Denied::Stale { ", stale=true" } else { "" };
        let realm = quoted(&self.config.realm);
        let value = |algorithm: &Algorithm| {
            format!("Digest realm={realm}, nonce=\"{nonce}\", qop=\"{qop}\", algorithm={}{stale}", algorithm.token())
        };
        self.config.algorithms.iter().map(value).collect()
    }

    /// Checks the values of the `Authorization` headers of a request. `lookup` finds a user's secret; unknown users
    /// cost the same time as wrong passwords. Returns the user name.
    pub fn verify<'a>(
        &mut self,
        now: Instant,
        source: IpAddr,
        request: Request<'_>,
        values: impl IntoIterator<Item = &'a [u8]>,
        lookup: impl Fn(&str) -> Option<Secret>,
    ) -> Result<String, Denied> {
        let realm = self.config.realm.clone();
        let credentials = values
            .into_iter()
            .flat_map(parse)
            .find(|params| params.is_digest() && params.get("realm") == Some(realm.as_str()))
            .ok_or(Denied::Missing)?;
        self.check(now, source, request, &credentials, lookup)
    }

    fn check(
        &mut self,
        now: Instant,
        source: IpAddr,
        request: Request<'_>,
        given: &Params,
        lookup: impl Fn(&str) -> Option<Secret>,
    ) -> Result<String, Denied> {
        let need = |name| given.get(name).ok_or(Denied::Missing);
        let (username, nonce, uri, response) = (need("username")?, need("nonce")?, need("uri")?, need("response")?);
        let algorithm = given.get("algorithm").map_or(Some(Algorithm::MD5), Algorithm::parse).ok_or(Denied::Missing)?;
        if !self.config.algorithms.contains(&algorithm) || uri.as_bytes() != request.uri {
            return Err(Denied::Wrong);
        }
        let (qop, nc) = match given.get("qop").map(str::to_ascii_lowercase).as_deref() {
            Some("auth") => (Qop::Auth, need("nc")?),
            Some("auth-int") if self.config.auth_int => (Qop::AuthInt, need("nc")?),
            _ => return Err(Denied::Missing), // we always offer qop
        };
        let count = u32::from_str_radix(nc, 16).ok().filter(|_| nc.len() == 8).ok_or(Denied::Wrong)?;
        let (number, fresh) = self.open(now, nonce, source).ok_or(Denied::Stale)?;

        let secret = lookup(username);
        let known = secret.is_some();
        let ha1 = match secret.unwrap_or_else(|| Secret::Password("\u{1}nobody".to_owned())) {
            Secret::Password(password) => ha1(algorithm.hash, username, &self.config.realm, &password),
            Secret::Ha1(stored) => stored,
        };
        let expected = Inputs {
            algorithm,
            ha1: &ha1,
            nonce,
            qop: Some((qop, nc)),
            cnonce: given.get("cnonce").unwrap_or(""),
            method: request.method,
            uri,
            body: request.body,
        }
        .response();
        let right = bool::from(expected.as_bytes().ct_eq(response.to_ascii_lowercase().as_bytes()));
        if !(right && known) {
            return Err(Denied::Wrong);
        }
        if !fresh || !self.count(number, count) {
            return Err(Denied::Stale);
        }
        Ok(username.to_owned())
    }

    /// `time(16 hex) number(16 hex) hmac(32 hex)`.
    fn nonce(&self, now: Instant, number: u64, source: IpAddr) -> String {
        let time = u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX);
        let seal = self.seal(time, number, source);
        format!("{time:016x}{number:016x}{}", hex(&seal))
    }

    fn seal(&self, time: u64, number: u64, source: IpAddr) -> [u8; 16] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(&time.to_be_bytes());
        mac.update(&number.to_be_bytes());
        match source.to_canonical() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        let whole = mac.finalize().into_bytes();
        let mut seal = [0; 16];
        seal.copy_from_slice(&whole[..16]);
        seal
    }

    /// A nonce that we sealed for this source: its number, and whether it is young enough.
    fn open(&self, now: Instant, nonce: &str, source: IpAddr) -> Option<(u64, bool)> {
        if nonce.len() != 64 || !nonce.is_ascii() {
            return None;
        }
        let time = u64::from_str_radix(&nonce[..16], 16).ok()?;
        let number = u64::from_str_radix(&nonce[16..32], 16).ok()?;
        let seal = hex(&self.seal(time, number, source));
        if !bool::from(seal.as_bytes().ct_eq(&nonce.as_bytes()[32..])) {
            return None;
        }
        let age = now.saturating_duration_since(self.epoch).checked_sub(Duration::from_millis(time));
        let young = age.is_some_and(|age| age <= self.config.nonce_lifetime);
        let kept = self.forgotten.is_none_or(|forgotten| number > forgotten);
        Some((number, young && kept))
    }

    /// Notes one use of a nonce; false when this count was seen before or lies below the window (a replay).
    fn count(&mut self, number: u64, count: u32) -> bool {
        if let Some(counts) = self.counts.get_mut(&number) {
            return counts.note(count);
        }
        if self.order.len() >= limits::NONCES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.counts.remove(&oldest);
            self.forgotten = self.forgotten.max(Some(oldest));
            // What is older by number but was used later is stale from now on, too.
            if number <= oldest {
                return false;
            }
        }
        self.order.push_back(number);
        self.counts.insert(number, Counts { highest: count, seen: 1 });
        true
    }
}

impl Counts {
    fn note(&mut self, count: u32) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            self.seen = if ahead >= 64 { 1 } else { self.seen << ahead | 1 };
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        let bit = if behind >= 64 { return false } else { 1 << behind };
        let fresh = self.seen & bit == 0;
        self.seen |= bit;
        fresh
    }
}
