//! The rim of signalling: UDP sockets, TCP connections, and which local address a peer sees.
//!
//! Nothing here understands a call. Bytes become framed messages ([`tcp`]) or are read in batches ([`udp`]) and are
//! handed to the signalling core with the [`Flow`](ark_sip::ua::Flow) that they came on; what the core sends leaves by the same flow.

pub mod limits;
pub mod local;
pub mod tcp;
pub mod udp;

use std::net::SocketAddr;

use thiserror::Error;

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
