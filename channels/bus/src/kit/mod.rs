//! Private brokers for tests: RabbitMQ on free loopback ports, in a temporary folder, gone with the test's process.
//!
//! A broker is started once per process; tests are kept apart by virtual hosts. Nothing of it outlives the process,
//! however that ends: a helper holds the other end of a pipe, and ends the broker by its process id when it closes.

mod node;
mod proxy;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use node::Node;
pub use proxy::Proxy;

/// How long a broker may take to start on a busy machine.
pub const START: Duration = Duration::from_secs(120);
/// Virtual hosts that are made in one go: a command line tool's call costs seconds.
const VHOSTS: u32 = 12;
/// Debian's place; `rabbitmqctl` and its kind there run as whoever calls them.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

/// Where RabbitMQ's own scripts are, when they and Erlang's name server are installed.
fn scripts() -> Option<PathBuf> {
    let folder = std::env::var_os("ARK_RABBITMQ_BIN").map_or_else(|| PathBuf::from(SCRIPTS), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let epmd = std::env::split_paths(&path).any(|folder| folder.join("epmd").is_file());
    (epmd && folder.join("rabbitmq-server").is_file() && folder.join("rabbitmqctl").is_file()).then_some(folder)
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    listener.local_addr().expect("it is bound").port()
}

/// The folder, the name server and the helper of one or several nodes.
pub(crate) struct House {
    pub(crate) folder: PathBuf,
    pub(crate) scripts: PathBuf,
    pub(crate) epmd_port: u16,
    epmd: Child,
    /// Its input is the pipe that closes when this process ends.
    helper: Child,
}

const HELPER: &str = r#"cat >/dev/null
for file in "$1"/*/pid; do [ -s "$file" ] && kill -9 "$(cat "$file")" 2>/dev/null; done
kill -9 "$2" 2>/dev/null
[ "${ARK_KEEP:-}" = 1 ] || rm -rf "$1""#;

impl House {
    fn new(scripts: PathBuf) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("ark-rabbit-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("home")).expect("the folder for temporary files can be written");
        let epmd_port = free_port();
        let epmd = Command::new("epmd")
            .args(["-address", "127.0.0.1", "-port", &epmd_port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("epmd starts");
        let helper = Command::new("sh")
            .args(["-c", HELPER, "sh"])
            .arg(&folder)
            .arg(epmd.id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        certificates(&folder);
        Self { folder, scripts, epmd_port, epmd, helper }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        drop(self.helper.stdin.take());
        let _ = self.helper.wait();
        let _ = self.epmd.wait();
    }
}

/// An authority and a certificate for `localhost`, when openssl is installed.
fn certificates(folder: &Path) {
    let openssl = |arguments: &[&str]| {
        Command::new("openssl")
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .is_ok_and(|out| out.status.success())
    };
    let request = |key: &'static str, subject: &'static str| {
        ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-subj", subject]
    };
    std::fs::write(folder.join("san"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("a file can be written");
    let ca = [&["req", "-x509", "-days", "2", "-out", "ca.pem"][..], &request("ca.key", "/CN=test authority")].concat();
    let csr = [&["req", "-out", "broker.csr"][..], &request("broker.key", "/CN=localhost")].concat();
    let sign = "x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out broker.pem";
    let _ = openssl(&ca) && openssl(&csr) && openssl(&sign.split(' ').collect::<Vec<_>>());
}

/// One broker for all tests of this process.
pub struct Rabbit {
    node: Mutex<Node>,
    port: u16,
    tls_port: Option<u16>,
    authority: PathBuf,
    vhosts: Mutex<(u32, Vec<String>)>,
    /// Tests that break the broker have it alone.
    alone: RwLock<()>,
}

/// Who may use the broker now: shared, or alone.
pub enum Turn<'a> {
    /// With others.
    Shared(RwLockReadGuard<'a, ()>),
    /// Alone.
    Alone(RwLockWriteGuard<'a, ()>),
}

impl Rabbit {
    fn start() -> Option<Self> {
        let house = std::sync::Arc::new(House::new(scripts()?));
        let authority = house.folder.join("ca.pem");
        let mut node = Node::new(house, 0);
        node.start();
        node.wait_until_started(START);
        let (port, tls_port) = (node.port(), node.tls_port());
        let (node, vhosts) = (Mutex::new(node), Mutex::default());
        Some(Self { node, port, tls_port, authority, vhosts, alone: RwLock::default() })
    }

    /// Waits for a turn with others.
    pub async fn shared(&self) -> Turn<'_> {
        Turn::Shared(self.alone.read().await)
    }

    /// Waits until nobody else uses the broker.
    pub async fn alone(&self) -> Turn<'_> {
        Turn::Alone(self.alone.write().await)
    }

    /// Does something to the node.
    pub fn node<T>(&self, what: impl FnOnce(&mut Node) -> T) -> T {
        what(&mut self.node.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Its port for AMQP.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its port for AMQP over TLS, and the file with the authority of its certificate; none without openssl.
    pub fn tls(&self) -> Option<(u16, &Path)> {
        self.tls_port.map(|port| (port, self.authority.as_path()))
    }

    /// A virtual host of its own, with user `guest`, password `guest`.
    pub fn vhost(&self) -> String {
        let mut vhosts = self.vhosts.lock().unwrap_or_else(PoisonError::into_inner);
        if vhosts.1.is_empty() {
            let first = vhosts.0;
            vhosts.0 += VHOSTS;
            let code = format!(
                "[begin V = list_to_binary([\"t\" | integer_to_list(N)]), rabbit_vhost:add(V, <<\"kit\">>), \
                 rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, V, <<\".*\">>, <<\".*\">>, <<\".*\">>, \
                 <<\"kit\">>) end || N <- lists:seq({first}, {})].",
                vhosts.0 - 1
            );
            self.node(|node| node.ctl(&["eval", &code]));
            vhosts.1 = (first..vhosts.0).rev().map(|number| format!("t{number}")).collect();
        }
        vhosts.1.pop().expect("some were just made")
    }

    /// The address of a new virtual host.
    pub fn url(&self) -> String {
        self.url_of(&self.vhost())
    }

    /// The address of a virtual host.
    pub fn url_of(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", self.port)
    }
}

/// The broker of this process, started by the first call; none when RabbitMQ is not installed, which is said in the
/// words that `make test` collects. With `ARK_CI=1` that is a failure.
///
/// # Panics
/// With `ARK_CI=1`; when the broker does not start in [`START`].
pub fn rabbit(test: &str) -> Option<&'static Rabbit> {
    static RABBIT: OnceLock<Option<Rabbit>> = OnceLock::new();
    let rabbit = RABBIT.get_or_init(Rabbit::start).as_ref();
    if rabbit.is_none() {
        skip(test, "rabbitmq-server is not installed (make test installs it)");
    }
    rabbit
}

/// Says that a test cannot run here. With `ARK_CI=1` it fails instead.
///
/// # Panics
/// With `ARK_CI=1`.
#[expect(clippy::print_stdout, reason = "what is skipped is said")]
pub fn skip(test: &str, reason: &str) {
    assert!(std::env::var("ARK_CI").as_deref() != Ok("1"), "{test} cannot run: {reason}");
    println!("SKIPPED {test}: {reason}");
}

/// Three nodes that hold each message together.
pub struct Cluster {
    nodes: Vec<Node>,
}

impl Cluster {
    /// Starts and joins them; none when RabbitMQ is not installed (see [`rabbit`]).
    ///
    /// # Panics
    /// When a node does not start or join.
    pub fn start(test: &str) -> Option<Self> {
        let Some(scripts) = scripts() else {
            skip(test, "rabbitmq-server is not installed (make test installs it)");
            return None;
        };
        let house = std::sync::Arc::new(House::new(scripts));
        let mut nodes: Vec<Node> = (1..=3).map(|index| Node::new(std::sync::Arc::clone(&house), index)).collect();
        // The first one makes the cookie that the others share.
        for node in &mut nodes {
            node.start();
            node.wait_until_started(START);
        }
        let first = nodes[0].name().to_owned();
        for node in &nodes[1..] {
            node.ctl(&["stop_app"]);
            node.ctl(&["join_cluster", &first]);
            node.ctl(&["start_app"]);
        }
        Some(Self { nodes })
    }

    /// One of the three.
    pub fn node(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    /// The addresses of all three, the default virtual host.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("amqp://guest:guest@127.0.0.1:{}/%2f", node.port())).collect()
    }
}

/// Asks again and again until it is so, or panics with what was waited for.
///
/// # Panics
/// When it did not become so in time.
pub async fn eventually<T>(what: &str, within: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
