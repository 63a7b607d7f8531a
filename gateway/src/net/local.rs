//! Which of our addresses a peer sees: what the routing table says for the way to it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::limits::LOCAL_ADDRESSES_MAX;

/// The local address for each peer, asked of the routing table once and remembered.
#[derive(Default)]
pub struct LocalAddresses {
    known: HashMap<IpAddr, IpAddr>,
}

impl LocalAddresses {
    /// `bound` with a wildcard address replaced by the address from which `peer` is reached.
    /// Stays a wildcard when there is no route: then nothing would arrive there either.
    pub fn toward(&mut self, bound: SocketAddr, peer: IpAddr) -> SocketAddr {
        if !bound.ip().is_unspecified() {
            return bound;
        }
        if peer.is_loopback() {
            return SocketAddr::new(peer_family_loopback(peer), bound.port());
        }
        if let Some(ip) = self.known.get(&peer) {
            return SocketAddr::new(*ip, bound.port());
        }
        let Some(ip) = route(peer) else { return bound };
        if self.known.len() >= LOCAL_ADDRESSES_MAX {
            self.known.clear();
        }
        self.known.insert(peer, ip);
        SocketAddr::new(ip, bound.port())
    }
}

fn peer_family_loopback(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// The source address that the system would use toward `peer`. Connecting a UDP socket sends nothing.
pub fn route(peer: IpAddr) -> Option<IpAddr> {
    let any: SocketAddr = match peer {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect((peer, 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_peer_sees_loopback_and_a_bound_address_stays() {
        let mut local = LocalAddresses::default();
        let any: SocketAddr = "0.0.0.0:5060".parse().unwrap();
        assert_eq!(local.toward(any, "127.0.0.1".parse().unwrap()), "127.0.0.1:5060".parse::<SocketAddr>().unwrap());
        let bound: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        assert_eq!(local.toward(bound, "127.0.0.1".parse().unwrap()), bound);
    }
}
