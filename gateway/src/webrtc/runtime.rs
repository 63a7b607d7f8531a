//! Tokio, as the `webrtc` crate sees it, with what of it is ours: a door before each UDP socket, or a place for its drivers.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime, TokioRuntime,
};

use super::gate::{Door, Guard};

type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the crate runs on.
#[derive(Debug)]
pub(super) enum Ground {
    /// The crate's own threads, each socket behind its leg's door.
    Guarded(Arc<Door>),
    /// The runtime of who made the connection, without a door: the crate's own threads are for Ark's side.
    Here(tokio::runtime::Handle),
}

/// A task of [`Ground::Here`].
struct Task(tokio::task::JoinHandle<()>);

impl JoinHandle for Task {
    fn detach(&self) {}

    fn abort(&self) {
        self.0.abort();
    }

    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Runtime for Ground {
    fn spawn(&self, future: Doing<'static, ()>) -> Box<dyn JoinHandle> {
        match self {
            Self::Guarded(_) => TokioRuntime.spawn(future),
            Self::Here(runtime) => Box::new(Task(runtime.spawn(future))),
        }
    }

    fn spawn_reactor(&self, size: usize, future: Doing<'static, ()>) -> Box<dyn JoinHandle> {
        match self {
            Self::Guarded(_) => TokioRuntime.spawn_reactor(size, future),
            Self::Here(_) => self.spawn(future),
        }
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = TokioRuntime.wrap_udp_socket(socket)?;
        Ok(match self {
            Self::Guarded(door) => Arc::new(Guard::new(socket, Arc::clone(door))),
            Self::Here(_) => socket,
        })
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(&'a self, remote: SocketAddr) -> Doing<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        TokioRuntime.connect_tcp(remote)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Doing<'a, io::Result<Vec<SocketAddr>>> {
        TokioRuntime.resolve_host(host)
    }

    fn sleep(&self, duration: Duration) -> Doing<'static, ()> {
        TokioRuntime.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> Doing<'static, ()> {
        TokioRuntime.yield_now()
    }

    fn name(&self) -> &'static str {
        "tokio"
    }
}
