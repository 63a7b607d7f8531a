//! TCP connections for signalling: framing in, bytes out, both bounded.
//!
//! Each connection is one task. It owns the framer; the core knows it by a number and by the sender of its write queue.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ark_sip::ua::{Flow, Transport};
use ark_sip::wire::{Message, ParseError, StreamFramer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::AbortHandle;

use super::BindError;
use super::limits::{
    CONNECT_TIMEOUT, CONNECTION_IDLE, CONNECTION_QUEUE, CONNECTIONS_MAX, CONNECTIONS_PER_SOURCE_MAX,
    FIRST_MESSAGE_TIMEOUT, LAST_WORD, WRITE_TIMEOUT,
};

/// What connections tell the core.
pub enum FromTcp {
    /// A peer connected.
    Opened(TcpStream, SocketAddr),
    /// A complete message, or why what came is none.
    Message(Flow, Result<Message, ParseError>),
    /// The connection of this number is gone.
    Closed(u64),
}

/// Binds a listener. Must be called inside a tokio runtime.
///
/// # Errors
/// [`BindError`], which says what to do.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || -> std::io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|source| BindError::new("tcp", address, source))
}

/// Takes connections until the core is gone.
pub async fn accept(listener: TcpListener, core: mpsc::Sender<FromTcp>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                if core.send(FromTcp::Opened(stream, remote)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // Out of descriptors, mostly: the listener stays, the peer tries again.
                tracing::warn!(%error, "a TCP connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Why bytes were not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// The connection is gone, or no more may be opened.
    NoWay,
    /// The peer does not read: its connection was closed just now; [`FromTcp::Closed`] does not follow.
    CutOff(u64),
}

struct Connection {
    remote: SocketAddr,
    queue: mpsc::Sender<Vec<u8>>,
    task: AbortHandle,
}

/// Every open connection, by number.
pub struct Connections {
    core: mpsc::Sender<FromTcp>,
    open: HashMap<u64, Connection>,
    by_remote: HashMap<SocketAddr, u64>,
    per_source: HashMap<IpAddr, usize>,
    next: u64,
}

impl Connections {
    /// No connection yet; what they read goes to `core`.
    pub fn new(core: mpsc::Sender<FromTcp>) -> Self {
        Self { core, open: HashMap::new(), by_remote: HashMap::new(), per_source: HashMap::new(), next: 1 }
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes a connection that a peer opened; `local` is the address that the peer sees. Over a cap it is closed at once.
    pub fn opened(&mut self, stream: TcpStream, local: SocketAddr, remote: SocketAddr) {
        let from_source = self.per_source.get(&remote.ip()).copied().unwrap_or(0);
        if self.open.len() >= CONNECTIONS_MAX || from_source >= CONNECTIONS_PER_SOURCE_MAX {
            tracing::warn!(open = self.open.len(), "a TCP connection was refused: too many are open");
            return;
        }
        self.register(local, remote, |flow, queue, core| tokio::spawn(run(stream, flow, queue, core)).abort_handle());
    }

    /// Sends on `flow`: on its connection, or on one to its remote address, opened when there is none.
    ///
    /// # Errors
    /// [`NotSent`]; a peer that reads slower than it asks is cut off.
    pub fn send(&mut self, flow: Flow, bytes: Vec<u8>) -> Result<(), NotSent> {
        let number =
            if flow.connection != 0 { Some(flow.connection) } else { self.by_remote.get(&flow.remote).copied() };
        let number = match number.filter(|number| self.open.contains_key(number)) {
            Some(number) => number,
            None if flow.connection != 0 || self.open.len() >= CONNECTIONS_MAX => return Err(NotSent::NoWay),
            None => self.register(flow.local, flow.remote, |flow, queue, core| {
                tokio::spawn(connect(flow, queue, core)).abort_handle()
            }),
        };
        let Some(connection) = self.open.get(&number) else { return Err(NotSent::NoWay) };
        match connection.queue.try_send(bytes) {
            Ok(()) => Ok(()),
            // It is ending by itself, and says so.
            Err(TrySendError::Closed(_)) => Err(NotSent::NoWay),
            Err(TrySendError::Full(_)) => {
                tracing::warn!(remote = %connection.remote, "a TCP peer does not read what it is sent: cut off");
                // It hangs in a write; nothing else would end it.
                connection.task.abort();
                self.closed(number);
                Err(NotSent::CutOff(number))
            }
        }
    }

    /// Forgets a connection that ended.
    pub fn closed(&mut self, number: u64) {
        let Some(connection) = self.open.remove(&number) else { return };
        if self.by_remote.get(&connection.remote) == Some(&number) {
            self.by_remote.remove(&connection.remote);
        }
        let ip = connection.remote.ip();
        if let Some(count) = self.per_source.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&ip);
            }
        }
    }

    fn register(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        spawn: impl FnOnce(Flow, mpsc::Receiver<Vec<u8>>, mpsc::Sender<FromTcp>) -> AbortHandle,
    ) -> u64 {
        let number = self.next;
        self.next += 1;
        let (queue, receiver) = mpsc::channel(CONNECTION_QUEUE);
        let flow = Flow { transport: Transport::Tcp, local, remote, connection: number };
        let task = spawn(flow, receiver, self.core.clone());
        self.open.insert(number, Connection { remote, queue, task });
        self.by_remote.insert(remote, number);
        *self.per_source.entry(remote.ip()).or_insert(0) += 1;
        number
    }
}

async fn connect(flow: Flow, queue: mpsc::Receiver<Vec<u8>>, core: mpsc::Sender<FromTcp>) {
    match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(flow.remote)).await {
        Ok(Ok(stream)) => run(stream, flow, queue, core).await,
        Ok(Err(error)) => {
            tracing::warn!(remote = %flow.remote, %error, "a TCP connection could not be opened");
            let _ = core.send(FromTcp::Closed(flow.connection)).await;
        }
        Err(_) => {
            tracing::warn!(remote = %flow.remote, "a TCP connection took too long to open");
            let _ = core.send(FromTcp::Closed(flow.connection)).await;
        }
    }
}

/// Reads, frames and writes until either side ends.
async fn run(mut stream: TcpStream, flow: Flow, mut queue: mpsc::Receiver<Vec<u8>>, core: mpsc::Sender<FromTcp>) {
    let _ = stream.set_nodelay(true);
    let mut framer = StreamFramer::new();
    let mut buffer = vec![0_u8; 8192];
    let mut whole_message_seen = false;
    let mut last_activity = Instant::now();
    'connection: loop {
        let patience = if whole_message_seen { CONNECTION_IDLE } else { FIRST_MESSAGE_TIMEOUT };
        tokio::select! {
            read = stream.read(&mut buffer) => match read {
                Ok(0) | Err(_) => break,
                Ok(n) => {
                    framer.push(buffer.get(..n).unwrap_or_default());
                    while let Some(message) = framer.next_message() {
                        if message.is_ok() {
                            whole_message_seen = true;
                            last_activity = Instant::now();
                        }
                        // The core's queue is full: this read waits, and TCP makes the peer wait.
                        if core.send(FromTcp::Message(flow, message)).await.is_err() {
                            break 'connection;
                        }
                    }
                    // RFC 5626 4.4.1: a ping (CRLF CRLF) is answered with one CRLF.
                    for _ in 0..framer.take_pings() {
                        last_activity = Instant::now();
                        if !write(&mut stream, b"\r\n").await {
                            break 'connection;
                        }
                    }
                    if framer.is_broken() {
                        break;
                    }
                }
            },
            bytes = queue.recv() => match bytes {
                Some(bytes) => {
                    last_activity = Instant::now();
                    whole_message_seen = true;
                    if !write(&mut stream, &bytes).await {
                        break;
                    }
                }
                None => break,
            },
            () = tokio::time::sleep(patience.saturating_sub(last_activity.elapsed())) => break,
        }
    }
    if framer.is_broken() {
        // The core may have a 400 to say about it.
        if let Ok(Some(bytes)) = tokio::time::timeout(LAST_WORD, queue.recv()).await {
            write(&mut stream, &bytes).await;
        }
    }
    let _ = stream.shutdown().await;
    let _ = core.send(FromTcp::Closed(flow.connection)).await;
}

/// Whether the peer took it, in time.
async fn write(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    matches!(tokio::time::timeout(WRITE_TIMEOUT, stream.write_all(bytes)).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that sends and never reads fills its socket, then its queue; it is cut off, and the table forgets it.
    #[tokio::test]
    async fn a_peer_that_does_not_read_is_cut_off() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, remote) = listener.accept().await.unwrap();
        let (core, mut told) = mpsc::channel(16);
        let mut connections = Connections::new(core);
        connections.opened(stream, listener.local_addr().unwrap(), remote);
        let flow = Flow { transport: Transport::Tcp, local: listener.local_addr().unwrap(), remote, connection: 1 };
        let mut cut_off = Err(());
        for _ in 0..100_000 {
            if let Err(error) = connections.send(flow, vec![b'x'; 60_000]) {
                cut_off = Ok(error);
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(cut_off, Ok(NotSent::CutOff(1)));
        assert!(connections.is_empty());
        assert_eq!(connections.send(flow, b"x".to_vec()), Err(NotSent::NoWay));
        // The peer reads what was under way, and then the end.
        let mut buffer = vec![0; 1 << 20];
        let end = async { while !matches!(peer.read(&mut buffer).await, Ok(0) | Err(_)) {} };
        tokio::time::timeout(Duration::from_secs(20), end).await.expect("the connection is closed");
        drop(connections);
        assert!(told.recv().await.is_none(), "no word of an end that was told already");
    }
}
