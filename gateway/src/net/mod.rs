//! The rim of signalling: UDP sockets, TCP connections, and which local address a peer sees.
//!
//! Nothing here understands a call. Bytes become framed messages ([`tcp`]) or are read in batches ([`udp`]) and are
//! handed to the signalling core with the [`Flow`](ark_sip::ua::Flow) that they came on; what the core sends leaves by the same flow.

pub mod limits;
pub mod local;
pub mod tcp;
pub mod udp;

use std::net::SocketAddr;
use std::str::FromStr;

use thiserror::Error;

/// The transport of a `[sip] listen` entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenTransport {
    /// `udp:address:port`
    Udp,
    /// `tcp:address:port`
    Tcp,
}

/// One entry of `[sip] listen`: `udp:0.0.0.0:5060`, `tcp:[::]:5060`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listen {
    /// UDP or TCP.
    pub transport: ListenTransport,
    /// Address and port to bind; port 0 takes a free one.
    pub address: SocketAddr,
}

/// A listen entry that cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a listen address: write `udp:0.0.0.0:5060`, `tcp:127.0.0.1:5060` or `udp:[::]:5060`")]
pub struct BadListen(pub String);

impl FromStr for Listen {
    type Err = BadListen;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadListen(text.to_owned());
        let (transport, address) = text.split_once(':').ok_or_else(bad)?;
        let transport = match transport {
            "udp" => ListenTransport::Udp,
            "tcp" => ListenTransport::Tcp,
            _ => return Err(bad()),
        };
        Ok(Self { transport, address: address.parse().map_err(|_| bad())? })
    }
}

/// A socket that could not be opened, in words for the person who starts the gateway.
#[derive(Debug, Error)]
#[error("cannot listen on {transport} {address}: {source}. {advice}")]
pub struct BindError {
    /// `udp` or `tcp`.
    pub transport: &'static str,
    /// The address that was asked for.
    pub address: SocketAddr,
    /// What to do about it.
    pub advice: &'static str,
    /// The system's own words.
    pub source: std::io::Error,
}

impl BindError {
    pub(crate) fn new(transport: &'static str, address: SocketAddr, source: std::io::Error) -> Self {
        let advice = match source.kind() {
            std::io::ErrorKind::AddrInUse => {
                "Another program has this port: stop it (`ss -lnup` shows which), or change `[sip] listen`"
            }
            std::io::ErrorKind::AddrNotAvailable => {
                "No interface has this address: use one of `ip address`, or 0.0.0.0 for all, in `[sip] listen`"
            }
            std::io::ErrorKind::PermissionDenied => "Ports under 1024 need a privilege: use 5060 in `[sip] listen`",
            _ => "Check `[sip] listen`",
        };
        Self { transport, address, advice, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_entries_read_both_families_and_refuse_the_rest() {
        assert_eq!(
            "udp:0.0.0.0:5060".parse(),
            Ok(Listen { transport: ListenTransport::Udp, address: "0.0.0.0:5060".parse().unwrap() })
        );
        assert_eq!(
            "tcp:[::1]:5070".parse(),
            Ok(Listen { transport: ListenTransport::Tcp, address: "[::1]:5070".parse().unwrap() })
        );
        for bad in ["", "udp", "sctp:1.2.3.4:5", "udp:host:5060", "udp:1.2.3.4"] {
            assert_eq!(bad.parse::<Listen>(), Err(BadListen(bad.to_owned())));
        }
    }
}
