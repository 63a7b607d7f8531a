//! One RabbitMQ node.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{House, free_port};

/// Lines of output kept for a node that does not start.
const LINES_MAX: usize = 2_000;

/// What a node printed, and whether its output has ended.
#[derive(Default)]
struct Output {
    lines: Mutex<(Vec<String>, bool)>,
    news: Condvar,
}

/// A RabbitMQ node of a test: started, stopped, killed, halted and continued by its process id.
pub struct Node {
    house: Arc<House>,
    name: String,
    folder: PathBuf,
    port: u16,
    tls_port: Option<u16>,
    distribution_port: u16,
    child: Option<Child>,
    output: Arc<Output>,
}

impl Node {
    pub(super) fn new(house: Arc<House>, index: u32) -> Self {
        let name = format!("ark_test{index}@localhost");
        let folder = house.folder.join(format!("node{index}"));
        for part in ["log", "mnesia"] {
            std::fs::create_dir_all(folder.join(part)).expect("the folder for temporary files can be written");
        }
        let tls_port = house.folder.join("broker.pem").is_file().then(free_port);
        let (port, distribution_port, output) = (free_port(), free_port(), Arc::default());
        let node = Self { house, name, folder, port, tls_port, distribution_port, child: None, output };
        node.write_configuration();
        node
    }

    fn write_configuration(&self) {
        let mut text = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\nloopback_users = none\nvm_memory_high_watermark.absolute = 1GB\n\
             disk_free_limit.absolute = 200MB\nlog.file.level = info\nheartbeat = 10\n\
             cluster_partition_handling = pause_minority\n",
            self.port
        );
        if let Some(port) = self.tls_port {
            let at = |name: &str| self.house.folder.join(name).display().to_string();
            text += &format!(
                "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\n\
                 ssl_options.keyfile = {}\nssl_options.verify = verify_none\n",
                at("ca.pem"),
                at("broker.pem"),
                at("broker.key")
            );
        }
        let write =
            |name: &str, text: &str| std::fs::write(self.folder.join(name), text).expect("a file can be written");
        write("rabbitmq.conf", &text);
        // The topology needs no plugin.
        write("enabled_plugins", "[].\n");
        write("env.conf", "");
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(self.house.scripts.join(script));
        let at = |name: &str| self.folder.join(name);
        command
            .env("HOME", self.house.folder.join("home"))
            .env("ERL_EPMD_PORT", self.house.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
            .env("RABBITMQ_LOG_BASE", at("log"))
            .env("RABBITMQ_PID_FILE", at("pid"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", at("generated"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins"))
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", at("env.conf"))
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Its name in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its port for AMQP.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its port for AMQP over TLS, with openssl installed.
    pub const fn tls_port(&self) -> Option<u16> {
        self.tls_port
    }

    /// Starts it and does not wait.
    ///
    /// # Panics
    /// When it runs already, or cannot be started at all.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let mut child = self.command("rabbitmq-server").spawn().expect("rabbitmq-server starts");
        self.output = Arc::default();
        let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else { unreachable!("both are pipes") };
        follow(out, &self.output, true);
        follow(err, &self.output, false);
        self.child = Some(child);
    }

    /// Waits until it takes connections.
    ///
    /// # Panics
    /// When it did not in time, with its last words.
    pub fn wait_until_started(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let mut lines = self.output.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if lines.0.iter().any(|line| line.contains("completed with")) {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!lines.1 && !left.is_zero(), "{} did not start in {within:?}:\n{}", self.name, lines.0.join("\n"));
            lines = self.output.news.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn pid(&self) -> String {
        let text =
            std::fs::read_to_string(self.folder.join("pid")).expect("a node that runs has written its process id");
        text.trim().to_owned()
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.pid()]).status().expect("kill runs");
        assert!(status.success(), "kill {signal} of {}", self.name);
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal("-KILL");
        self.reap();
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) {
        self.signal("-TERM");
        self.reap();
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The script ends after the node.
            let _ = child.wait();
        }
        let _ = std::fs::remove_file(self.folder.join("pid"));
    }

    /// SIGSTOP: it stands still with its connections open.
    pub fn halt(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    /// Runs `rabbitmqctl` and gives what it printed.
    ///
    /// # Panics
    /// When it fails, with what it said.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = self.command("rabbitmqctl").arg("--quiet").args(arguments).output().expect("rabbitmqctl runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

fn follow(stream: impl std::io::Read + Send + 'static, output: &Arc<Output>, tells_the_end: bool) {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut lines = output.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.0.len() < LINES_MAX {
                lines.0.push(line);
            }
            output.news.notify_all();
        }
        if tells_the_end {
            output.lines.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
            output.news.notify_all();
        }
    });
}
