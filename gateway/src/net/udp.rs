//! UDP sockets for signalling.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::BindError;
use super::limits::UDP_RECEIVE_BUFFER_BYTES;

/// A bound signalling socket.
pub struct UdpPort {
    /// The socket, in non-blocking mode.
    pub socket: UdpSocket,
    /// What it is bound to, with the real port.
    pub bound: SocketAddr,
}

impl UdpPort {
    /// Binds `address`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`], which says what to do.
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        Self::open(address).map_err(|source| BindError::new("udp", address, source))
    }

    fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // The system caps it at net.core.rmem_max: what we get is what there is.
        let _ = socket.set_recv_buffer_size(UDP_RECEIVE_BUFFER_BYTES);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        let bound = socket.local_addr()?;
        Ok(Self { socket, bound })
    }
}
