//! Ports and addresses.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Check, Running};
use crate::config::{Config, SipTransport};
use crate::net::local;

/// How long a gateway may take to say that it is there.
const KNOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// How many port pairs of the RTP range are tried, spread over it.
const PAIRS_TRIED: usize = 200;

/// Whether a gateway answers on the site's web address.
pub(super) async fn running_gateway(config: &Config) -> Option<Running> {
    let mut web = config.web.listen;
    if web.ip().is_unspecified() {
        web.set_ip(if web.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    let knock = async {
        let mut stream = TcpStream::connect(web).await.ok()?;
        if config.web.tls.is_some() {
            return Some(Running { web });
        }
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = Vec::new();
        stream.take(4_096).read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        (answer.starts_with("HTTP/1") && answer.ends_with("ok\n")).then_some(Running { web })
    };
    tokio::time::timeout(KNOCK_TIMEOUT, knock).await.ok().flatten()
}

fn bind(transport: SipTransport, address: SocketAddr) -> std::io::Result<()> {
    match transport {
        SipTransport::Udp => UdpSocket::bind(address).map(drop),
        SipTransport::Tcp => TcpListener::bind(address).map(drop),
    }
}

pub(super) fn sip_ports(config: &Config, running: Option<&Running>) -> Check {
    let mut free = Vec::new();
    for listen in &config.sip.listen {
        match bind(listen.transport, listen.address) {
            Ok(()) => free.push(listen.to_string()),
            Err(error) if error.kind() == ErrorKind::AddrInUse && running.is_some() => {
                free.push(format!("{listen} (held by the gateway that runs)"));
            }
            Err(error) => {
                let fix = match error.kind() {
                    ErrorKind::AddrInUse => format!(
                        "`ss -lpn 'sport = :{}'` names the program that holds it: stop it, or change [sip] listen",
                        listen.address.port()
                    ),
                    ErrorKind::AddrNotAvailable => {
                        "that address is not one of this machine's: `ip addr` lists them; \"0.0.0.0\" means all"
                            .to_owned()
                    }
                    ErrorKind::PermissionDenied => {
                        "use a port from 1024 up, or give the program CAP_NET_BIND_SERVICE".to_owned()
                    }
                    _ => "change [sip] listen".to_owned(),
                };
                return Check::failed("sip ports", format!("{listen} cannot be bound: {error}"), fix);
            }
        }
    }
    Check::ok("sip ports", free.join(", "))
}

pub(super) fn web_port(config: &Config, running: Option<&Running>) -> Check {
    let listen = config.web.listen;
    if let Some(Running { web }) = running {
        return Check::ok("web port", format!("a gateway runs and answers on {web}"));
    }
    match TcpListener::bind(listen) {
        Ok(_) => Check::ok("web port", format!("{listen} is free")),
        Err(error) => Check::failed(
            "web port",
            format!("{listen} cannot be bound: {error}"),
            format!(
                "`ss -ltpn 'sport = :{}'` names the program that holds it: stop it, or change [web] listen",
                listen.port()
            ),
        ),
    }
}

/// Tries pairs spread over the whole range. A few that are taken do no harm: the engine picks others.
pub(super) fn rtp_ports(config: &Config) -> Check {
    let (ip, ports) = (config.rtp.address, config.rtp.ports);
    let pairs = ports.pairs();
    let step = (pairs / PAIRS_TRIED).max(1);
    let first = ports.first.next_multiple_of(2);
    let (mut tried, mut free) = (0_usize, 0_usize);
    for pair in (0..pairs).step_by(step) {
        let Ok(offset) = u16::try_from(pair * 2) else { break };
        let even = first + offset;
        tried += 1;
        let both = [even, even + 1].into_iter().all(|port| UdpSocket::bind((ip, port)).is_ok());
        free += usize::from(both);
    }
    let found = format!("{ports} on {ip}: {pairs} pairs, {free} of {tried} tried are free");
    let used_by_others =
        "/proc/sys/net/ipv4/ip_local_port_range overlaps it, or another program uses it: move [rtp] ports";
    match free {
        0 => Check::failed("rtp ports", found, "no call would have audio: is [rtp] address one of this machine's?"),
        free if free * 10 < tried * 9 => Check::warning("rtp ports", found, used_by_others),
        _ => Check::ok("rtp ports", found),
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared)
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local())
        }
    }
}

/// Whether others can answer to the address that stands in Contact and SDP.
pub(super) fn advertised(config: &Config) -> Check {
    let public_peer = config.trunk.iter().flat_map(|trunk| &trunk.peers).find(|peer| is_public(peer.address));
    match (config.sip.advertise, public_peer) {
        (Some(own), _) if UdpSocket::bind((own, 0)).is_ok() => {
            Check::ok("advertised address", format!("{own} is an address of this machine"))
        }
        (Some(own), Some(peer)) if !is_public(own) => Check::failed(
            "advertised address",
            format!("{own} is private, and {peer} of a [[trunk]] is not: no audio would come back from there"),
            "set [sip] advertise to the public address that the firewall forwards from",
        ),
        (Some(own), _) => Check::warning(
            "advertised address",
            format!("{own} is not an address of this machine"),
            format!(
                "right behind a one-to-one NAT that forwards the SIP ports and UDP {}; else callers hear nothing",
                config.rtp.ports
            ),
        ),
        (None, Some(peer)) => match local::route(peer.address) {
            Some(own) if is_public(own) => Check::ok("advertised address", format!("{own}, by the road to {peer}")),
            Some(own) => Check::failed(
                "advertised address",
                format!("{own} would be told to {peer}, which cannot reach it"),
                "set [sip] advertise to the public address that the firewall forwards from",
            ),
            None => Check::failed("advertised address", format!("there is no road to {peer}"), "look at `ip route`"),
        },
        (None, None) => {
            let listen = config.sip.listen.first().map(|listen| listen.address.ip());
            let own = match listen {
                Some(ip) if !ip.is_unspecified() => Some(ip),
                // A documentation address: nothing is sent, only the routing table is asked.
                _ => local::route([192, 0, 2, 1].into()),
            };
            match own {
                Some(own) => Check::ok("advertised address", format!("{own}, as the routing table says for each peer")),
                None => Check::ok(
                    "advertised address",
                    "127.0.0.1: this machine has no network, only its own phones can call",
                ),
            }
        }
    }
}

/// Who may call.
pub(super) fn callers(config: &Config) -> Check {
    if config.trunk.is_empty() {
        return Check::ok("callers", "no [[trunk]]: only loopback and private addresses may call");
    }
    let networks: usize = config.trunk.iter().map(|trunk| trunk.peers.len()).sum();
    let names: Vec<&str> = config.trunk.iter().map(|trunk| trunk.name.as_str()).collect();
    if networks == 0 {
        let found = format!("trunks {} name no peers: nobody outside may call in", names.join(", "));
        return Check::warning("callers", found, "list the carrier's networks in `peers`");
    }
    Check::ok("callers", format!("{networks} networks of {}, beside loopback and private addresses", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(toml: &str) -> Config {
        Config::parse(toml, "test").unwrap().0
    }

    #[test]
    fn a_port_that_is_taken_is_named_with_what_to_do() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let config = site(&format!("[sip]\nlisten = [\"udp:{}\"]\n", taken.local_addr().unwrap()));
        let check = sip_ports(&config, None);
        assert_eq!(check.verdict, super::super::Verdict::Failed, "{check:?}");
        assert!(check.fix.unwrap().contains("ss -lpn"));
        let running = Running { web: "127.0.0.1:1".parse().unwrap() };
        assert_eq!(sip_ports(&config, Some(&running)).verdict, super::super::Verdict::Ok);
    }

    #[test]
    fn a_private_address_is_not_told_to_a_carrier() {
        let config = site("[sip]\nadvertise = \"10.9.8.7\"\n[[trunk]]\nname = \"c\"\npeers = [\"8.8.8.8/32\"]\n");
        assert_eq!(advertised(&config).verdict, super::super::Verdict::Failed);
        let config = site("[sip]\nadvertise = \"127.0.0.1\"\n");
        assert_eq!(advertised(&config).verdict, super::super::Verdict::Ok);
    }
}
