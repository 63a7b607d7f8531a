//! coturn, the TURN server that sites run beside a gateway: on loopback, with a secret that it shares with Ark.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use super::{Process, SOON, TempDir};

/// The ports that it relays by: clear of the gateway's voice and of the phones'.
const RELAYS: (u16, u16) = (50_000, 50_999);

/// A running TURN server.
pub struct TurnServer {
    /// The program.
    pub process: Process,
    /// Where it is reached, by UDP and by TCP.
    pub address: SocketAddr,
    folder: TempDir,
}

impl TurnServer {
    /// Starts it; it lets in who has a password made from `secret`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(secret: &str) -> Self {
        let folder = TempDir::new("turn");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = free.expect("loopback has a free port");
        let at = |name: &str| folder.path().join(name).display().to_string();
        let (first, last) = (RELAYS.0.to_string(), RELAYS.1.to_string());
        let port = address.port().to_string();
        let mut command = Command::new("turnserver");
        command.args([
            "-n",
            "-L",
            "127.0.0.1",
            "-E",
            "127.0.0.1",
            "-p",
            &port,
            "--min-port",
            &first,
            "--max-port",
            &last,
        ]);
        command.args(["--use-auth-secret", "--static-auth-secret", secret, "--realm", "ark.test", "--lt-cred-mech"]);
        command.args([
            "--allow-loopback-peers",
            "--no-cli",
            "--no-tls",
            "--no-dtls",
            "--log-file",
            "stdout",
            "--simple-log",
        ]);
        command.args(["--pidfile", &at("pid"), "--userdb", &at("users"), "-v"]).current_dir(folder.path());
        let mut process = Process::start("turnserver", &mut command);
        let deadline = Instant::now() + SOON;
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            assert!(process.is_running() && Instant::now() < deadline, "turnserver does not listen on {address}");
            process.wait_for_news(Duration::from_millis(50));
        }
        Self { process, address, folder }
    }

    /// Lines of `[webrtc]` that let pages come through this server alone, by `udp` or `tcp`, with passwords made from that secret.
    ///
    /// # Panics
    /// When the secret's file cannot be written.
    pub fn setting(&self, transport: &str, secret: &str) -> String {
        let file = self.folder.path().join("told");
        fs::write(&file, secret).expect("a temporary file");
        format!(
            "relay_only = true\nice_servers = [{{ urls = [\"turn:{}?transport={transport}\"], secret = {{ file = {file:?} }}, ttl = \"1h\" }}]\n",
            self.address
        )
    }
}
