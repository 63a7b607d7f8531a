//! Who asks: the address whose tries and visits are counted.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::Extension;
use http::HeaderMap;

use crate::config::Cidr;

/// The other end of a request's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The address at the other end of the connection, or who stands before the proxies of the site (`[web] proxies`; one on the same
/// machine is the site's too). One subscriber's IPv6 network counts as one address.
pub(super) fn address(proxies: &[Cidr], peer: Option<Extension<Peer>>, headers: &HeaderMap) -> IpAddr {
    let unknown = IpAddr::from([0, 0, 0, 0]);
    let mut address = peer.map_or(unknown, |Extension(Peer(address))| address.ip().to_canonical());
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let mut hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
    while address.is_loopback() || proxies.iter().any(|proxy| proxy.contains(address)) {
        let Some(before) = hops.pop().and_then(|hop| hop.parse::<IpAddr>().ok()) else { break };
        address = before.to_canonical();
    }
    match address {
        IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::from(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_believed_when_it_is_ours_and_nobody_else() {
        let proxies: Vec<Cidr> = vec!["10.0.0.0/8".parse().unwrap()];
        let seen = |peer: &str, forwarded: &[&str]| {
            let mut headers = HeaderMap::new();
            for one in forwarded {
                headers.append("x-forwarded-for", one.parse().unwrap());
            }
            let peer = Extension(Peer(SocketAddr::new(peer.parse().unwrap(), 4_000)));
            address(&proxies, Some(peer), &headers).to_string()
        };
        assert_eq!(seen("10.1.1.1", &["1.1.1.1, 203.0.113.9"]), "203.0.113.9", "what stands before it may be invented");
        assert_eq!(seen("10.1.1.1", &["1.1.1.1", "203.0.113.9, 10.2.2.2"]), "203.0.113.9", "two proxies, two lines");
        assert_eq!(seen("198.51.100.1", &["203.0.113.9"]), "198.51.100.1", "a stranger's word");
        assert_eq!(seen("127.0.0.1", &["203.0.113.9"]), "203.0.113.9", "a proxy on the same machine");
        assert_eq!(seen("127.0.0.1", &["junk"]), "127.0.0.1");
        assert_eq!(seen("::ffff:10.1.1.1", &["2001:db8:1:2:3:4:5:6"]), "2001:db8:1:2::");
        assert_eq!(address(&[], None, &HeaderMap::new()).to_string(), "0.0.0.0");
    }
}
