//! A road to a broker that can be cut: a TCP proxy that passes, swallows, or ends connections.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the road is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    /// Bytes go both ways.
    Open,
    /// Bytes stay where they are; connections stay open: what a partition looks like.
    Dark,
    /// What the broker sends is lost, what the client sends goes through: confirms do not arrive.
    Deaf,
}

/// A proxy on a loopback port of its own; dropping it ends every connection.
pub struct Proxy {
    address: SocketAddr,
    road: Arc<watch::Sender<Road>>,
    /// Counts up to end the connections of that time.
    cut: Arc<watch::Sender<u64>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Opens a road to a port of this machine.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let (road, cut) = (Arc::new(watch::Sender::new(Road::Open)), Arc::new(watch::Sender::new(0)));
        let (roads, cuts) = (Arc::clone(&road), Arc::clone(&cut));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (road, mut cut) = (roads.subscribe(), cuts.subscribe());
                tokio::spawn(async move {
                    let Ok(broker) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let ((from_client, to_client), (from_broker, to_broker)) =
                        (client.into_split(), broker.into_split());
                    tokio::select! {
                        () = pump(from_client, to_broker, road.clone(), false) => {}
                        () = pump(from_broker, to_client, road, true) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, road, cut, task }
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Bytes go both ways.
    pub fn open(&self) {
        self.road.send_replace(Road::Open);
    }

    /// Bytes stay where they are, connections stay open.
    pub fn darken(&self) {
        self.road.send_replace(Road::Dark);
    }

    /// What the broker sends gets lost from here on; what the client sends arrives.
    pub fn deafen(&self) {
        self.road.send_replace(Road::Deaf);
    }

    /// Ends every connection.
    pub fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut road: watch::Receiver<Road>, from_broker: bool) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        if from_broker && *road.borrow() == Road::Deaf {
            continue;
        }
        let gone = road.wait_for(|road| *road != Road::Dark).await.is_err();
        if gone || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
