//! What stands before the parser: who may send at all, and how much.
//!
//! An access list of CIDR blocks (with no list, only loopback and private addresses may call) and a token bucket for
//! each source. The table of buckets has a fixed size: under a flood from many addresses the least recently seen make
//! room.

use crate::tx::matching::{Domain, Fingerprinter};
use crate::ua::limits;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no block of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Before the slash there is no IP address.
    #[error("`{0}` is not an IP address; write 198.51.100.10/32 or 2001:db8::/32")]
    Address(String),
    /// Behind the slash there is no number that fits.
    #[error("`/{0}` is not a prefix length: 0 to 32 for IPv4, 0 to 128 for IPv6")]
    Prefix(String),
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// `198.51.100.0/24`, `2001:db8::/32`, or one address alone.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.trim().parse().map_err(|_| CidrError::Address(address.to_owned()))?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(text) => {
                let bad = || CidrError::Prefix(text.to_owned());
                text.trim().parse().ok().filter(|prefix| *prefix <= bits).ok_or_else(bad)?
            }
        };
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix)
    }
}

impl Cidr {
    const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    /// Whether the block holds this address; an IPv4 address mapped into IPv6 is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(block), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                (u32::from(block) ^ u32::from(address)).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(block), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                (u128::from(block) ^ u128::from(address)).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Loopback, private (RFC 1918, RFC 4193) and link-local addresses.
const PRIVATE: [Cidr; 8] = [
    Cidr::v4(127, 0, 0, 0, 8),
    Cidr::v4(10, 0, 0, 0, 8),
    Cidr::v4(172, 16, 0, 0, 12),
    Cidr::v4(192, 168, 0, 0, 16),
    Cidr::v4(169, 254, 0, 0, 16),
    Cidr { address: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 },
    Cidr { address: IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), prefix: 7 },
    Cidr { address: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), prefix: 10 },
];

/// Who may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    blocks: Vec<Cidr>,
}

impl Acl {
    /// Loopback, private and link-local addresses: what a gateway without trunks listens to.
    pub fn private() -> Self {
        Self { blocks: PRIVATE.to_vec() }
    }

    /// These peers ([`limits::PEERS_MAX`] at most); with none of them [`Self::private`].
    pub fn peers(peers: impl IntoIterator<Item = Cidr>) -> Self {
        let blocks: Vec<_> = peers.into_iter().take(limits::PEERS_MAX).collect();
        if blocks.is_empty() { Self::private() } else { Self { blocks } }
    }

    /// Adds a block: operators' phones beside the trunk's peers, say.
    pub fn allow(&mut self, block: Cidr) {
        if self.blocks.len() < limits::PEERS_MAX {
            self.blocks.push(block);
        }
    }

    /// Whether this address may send.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.blocks.iter().any(|block| block.contains(address))
    }
}

/// How a [`Guard`] is set.
#[derive(Clone, Debug)]
pub struct GuardConfig {
    /// Who may send.
    pub acl: Acl,
    /// Messages a second that one source may keep up. Default: 20,000, twice what the busiest trunk sends in our
    /// benches, so that overload is met by 503 and only a flood by silence.
    pub messages_per_second: u32,
    /// Messages that one source may send at once. Default: 40,000.
    pub burst: u32,
    /// Sources remembered (rounded up to a power of two, at most [`limits::SOURCES_MAX`]).
    pub sources: usize,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self { acl: Acl::private(), messages_per_second: 20_000, burst: 40_000, sources: limits::SOURCES_MAX }
    }
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Parse it.
    Admit,
    /// Drop it silently: its source is on no list.
    NotListed,
    /// Drop it silently: its source sends too much.
    TooFast,
}

/// What the guard saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardStats {
    /// Packets let through.
    pub admitted: u64,
    /// Packets dropped because their source is on no list.
    pub not_listed: u64,
    /// Packets dropped because their source sent too much.
    pub too_fast: u64,
    /// Packets that did not parse.
    pub malformed: u64,
}

/// One bucket: 24 bytes.
#[derive(Clone, Copy)]
struct Bucket {
    /// Fingerprint of the source; 0 = nobody.
    source: u64,
    tokens: f32,
    /// Milliseconds since the guard began.
    seen_ms: u64,
}

const WAYS: usize = 8;
const EMPTY: Bucket = Bucket { source: 0, tokens: 0.0, seen_ms: 0 };

/// The guard: an access list and one token bucket for each source (each /64 for IPv6).
pub struct Guard {
    config: GuardConfig,
    fingerprinter: Fingerprinter,
    epoch: Instant,
    buckets: Vec<[Bucket; WAYS]>,
    stats: GuardStats,
}

impl Guard {
    /// `secret` is random (it keeps attackers from aiming at one row of the table); `epoch` any instant before the
    /// first packet.
    pub fn new(config: GuardConfig, secret: [u64; 2], epoch: Instant) -> Self {
        let rows = (config.sources.clamp(WAYS, limits::SOURCES_MAX) / WAYS).next_power_of_two();
        let buckets = vec![[EMPTY; WAYS]; rows];
        Self { config, fingerprinter: Fingerprinter::new(secret), epoch, buckets, stats: GuardStats::default() }
    }

    /// Decides about a packet of `bytes_len` bytes, before anything reads it. A packet costs one token, and one more
    /// for each full 2 KiB.
    pub fn admit(&mut self, now: Instant, source: IpAddr, bytes_len: usize) -> Verdict {
        if !self.config.acl.allows(source) {
            self.stats.not_listed += 1;
            return Verdict::NotListed;
        }
        let cost = 1.0 + (bytes_len / 2048) as f32;
        let bucket = self.bucket(now, source);
        if bucket.tokens < cost {
            self.stats.too_fast += 1;
            return Verdict::TooFast;
        }
        bucket.tokens -= cost;
        self.stats.admitted += 1;
        Verdict::Admit
    }

    /// An admitted packet did not parse: it costs its source a second token.
    pub fn malformed(&mut self, now: Instant, source: IpAddr) {
        self.stats.malformed += 1;
        self.bucket(now, source).tokens -= 1.0;
    }

    /// What it saw so far.
    pub fn stats(&self) -> GuardStats {
        self.stats
    }

    /// Replaces the access list (a trunk was added); the buckets stay.
    pub fn set_acl(&mut self, acl: Acl) {
        self.config.acl = acl;
    }

    /// The bucket of a source, filled up to now.
    fn bucket(&mut self, now: Instant, source: IpAddr) -> &mut Bucket {
        let name = match source.to_canonical() {
            IpAddr::V4(ip) => self.fingerprinter.of(Domain::Server, &[&ip.octets()]),
            IpAddr::V6(ip) => self.fingerprinter.of(Domain::Client, &[&ip.octets()[..8]]),
        };
        let (row, name) = ((name >> 64) as usize & (self.buckets.len() - 1), (name as u64).max(1));
        let now_ms = u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX);
        let (rate, burst) = (self.config.messages_per_second as f32, self.config.burst as f32);
        let row = &mut self.buckets[row];
        let at = row.iter().position(|bucket| bucket.source == name).unwrap_or_else(|| {
            // Nobody's place, else the one that was seen longest ago.
            let oldest = (0..WAYS).min_by_key(|way| (row[*way].source != 0, row[*way].seen_ms)).unwrap_or(0);
            row[oldest] = Bucket { source: name, tokens: burst, seen_ms: now_ms };
            oldest
        });
        let bucket = &mut row[at];
        let passed = Duration::from_millis(now_ms.saturating_sub(bucket.seen_ms));
        if !passed.is_zero() {
            bucket.tokens = (bucket.tokens + rate * passed.as_secs_f32()).min(burst);
            bucket.seen_ms = now_ms;
        }
        bucket
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn without_a_list_only_loopback_and_private_addresses_may_call() {
        let acl = Acl::peers([]);
        for inside in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.1.1",
            "::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
        ] {
            assert!(acl.allows(ip(inside)), "{inside}");
        }
        for outside in [
            "8.8.8.8",
            "11.0.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.169.0.1",
            "128.0.0.1",
            "::",
            "::2",
            "2001:db8::1",
            "fec0::1",
            "::ffff:8.8.8.8",
            "255.255.255.255",
            "0.0.0.0",
        ] {
            assert!(!acl.allows(ip(outside)), "{outside}");
        }
    }

    #[test]
    fn a_list_of_peers_admits_them_and_nobody_else() {
        let acl = Acl::peers(["198.51.100.10/32", "203.0.113.0/24", "2001:db8::/32"].map(|text| text.parse().unwrap()));
        assert!(acl.allows(ip("198.51.100.10")) && acl.allows(ip("203.0.113.255")) && acl.allows(ip("2001:db8:9::1")));
        assert!(!acl.allows(ip("198.51.100.11")) && !acl.allows(ip("127.0.0.1")) && !acl.allows(ip("2001:db9::1")));
        let all = Acl::peers(["0.0.0.0/0", "::/0"].map(|text| text.parse().unwrap()));
        assert!(all.allows(ip("8.8.8.8")) && all.allows(ip("2001:db8::1")));
    }

    #[test]
    fn what_is_no_block_of_addresses_is_refused_with_a_reason() {
        for bad in ["", "hotline", "1.2.3.4/33", "::/129", "1.2.3.4/", "1.2.3.4/-1", "1.2.3/8"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
        assert_eq!("10.0.0.0/8".parse::<Cidr>().unwrap().to_string(), "10.0.0.0/8");
    }

    fn guard(rate: u32, burst: u32, sources: usize) -> (Guard, Instant) {
        let now = Instant::now();
        let config = GuardConfig { messages_per_second: rate, burst, sources, ..GuardConfig::default() };
        (Guard::new(config, [3, 4], now), now)
    }

    #[test]
    fn a_source_may_burst_and_then_keeps_to_its_rate_without_touching_others() {
        let (mut guard, mut now) = guard(10, 20, 64);
        let admitted = |guard: &mut Guard, now, count| {
            (0..count).filter(|_| guard.admit(now, ip("10.0.0.1"), 500) == Verdict::Admit).count()
        };
        assert_eq!(admitted(&mut guard, now, 100), 20);
        now += Duration::from_millis(500);
        assert_eq!(admitted(&mut guard, now, 100), 5);
        assert_eq!(guard.admit(now, ip("10.0.0.2"), 500), Verdict::Admit, "another source has its own bucket");
        now += Duration::from_secs(3600);
        assert_eq!(admitted(&mut guard, now, 100), 20, "it never holds more than the burst");
    }

    #[test]
    fn malformed_packets_cost_double_and_large_ones_more() {
        let (mut guard, now) = guard(1, 20, 64);
        let mut taken = 0;
        while guard.admit(now, ip("10.0.0.1"), 500) == Verdict::Admit {
            guard.malformed(now, ip("10.0.0.1"));
            taken += 1;
        }
        assert_eq!(taken, 10);
        let large = (0..100).filter(|_| guard.admit(now, ip("10.0.0.3"), 60_000) == Verdict::Admit).count();
        assert!(large < 2);
        assert_eq!((guard.stats().malformed, guard.stats().too_fast), (10, 101 - large as u64));
    }

    #[test]
    fn a_million_sources_cost_no_memory_beyond_the_table() {
        let (mut guard, now) = guard(10, 20, 1024);
        let before = guard.buckets.len() * WAYS;
        for n in 0..1_000_000_u32 {
            guard.admit(now, IpAddr::from((0x0a00_0000 | n).to_be_bytes()), 100);
        }
        assert_eq!(guard.buckets.len() * WAYS, before);
        assert_eq!((before, size_of::<Bucket>()), (1024, 24));
        assert_eq!(guard.admit(now, ip("8.8.8.8"), 100), Verdict::NotListed);
    }
}
