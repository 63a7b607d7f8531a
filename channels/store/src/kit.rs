//! A PostgreSQL of a test's own: in a temporary folder, on a free port of this machine, gone with its owner.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::{PostgresOptions, PostgresStore};

/// A server that runs, or can be started again.
pub struct PostgresServer {
    folder: PathBuf,
    data: PathBuf,
    bin: PathBuf,
    port: u16,
    /// The user as whom it runs: PostgreSQL refuses to run as root.
    user: Option<String>,
}

impl PostgresServer {
    /// Makes a cluster and starts it. The error says why there is none here.
    ///
    /// # Errors
    /// What is missing, or what initdb or the server said.
    pub fn start() -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self::start_in(&std::env::temp_dir().join(format!("ark-pg-{}-{number}", std::process::id())))
    }

    /// [`PostgresServer::start`] in a folder that is made, and removed at the end.
    ///
    /// # Errors
    /// As [`PostgresServer::start`].
    pub fn start_in(folder: &Path) -> Result<Self, String> {
        let bin = installed().ok_or("PostgreSQL is not installed (make test installs it)")?;
        let said = |error: std::io::Error| format!("{}: {error}", folder.display());
        std::fs::create_dir_all(folder).map_err(said)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).map_err(said)?;
        let root = Command::new("id").arg("-u").output().map_err(said)?.stdout.starts_with(b"0\n");
        let mut server = Self {
            folder: folder.to_owned(),
            data: folder.join("data"),
            bin,
            port: 0,
            user: root.then(|| "postgres".to_owned()),
        };
        let data = server.data.display().to_string();
        server.run(
            "initdb",
            &["-D", &data, "-U", "ark", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"],
        )?;
        server.port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(said)?.port();
        server.up()?;
        Ok(server)
    }

    /// Starts it, also after a crash; comes back when it answers.
    ///
    /// # Errors
    /// What the server said.
    pub fn up(&self) -> Result<(), String> {
        let (data, log) = (self.data.display().to_string(), self.folder.join("log").display().to_string());
        // Small and honest: what is answered is flushed.
        let options = format!(
            "-c port={} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=on \
             -c shared_buffers=64MB -c max_connections=60",
            self.port
        );
        self.run("pg_ctl", &["start", "-w", "-t", "60", "-s", "-D", &data, "-l", &log, "-o", &options])
    }

    /// Starts it anew with TLS, and a certificate for `localhost` that an authority of its own signed. Answers the file with that
    /// authority; none when openssl is not installed.
    ///
    /// # Errors
    /// What the server said.
    pub fn with_tls(&self) -> Result<Option<PathBuf>, String> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let openssl = |arguments: &[&str]| {
            let done = Command::new("openssl").args(arguments).stderr(std::process::Stdio::null()).status();
            done.is_ok_and(|status| status.success())
        };
        let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
        let authority = |name: &str, key: &str, certificate: &str| {
            let subject = format!("/CN={name}");
            openssl(&[&new[..], &["-keyout", key, "-out", certificate, "-subj", &subject]].concat())
        };
        let (ca, ca_key) = (file("ca.pem"), file("ca.key"));
        let (key, request, certificate, names) =
            (file("server.key"), file("server.csr"), file("server.pem"), file("names"));
        std::fs::write(&names, "subjectAltName=DNS:localhost,IP:127.0.0.1\n").map_err(|error| error.to_string())?;
        let made = authority("ark test authority", &ca_key, &ca)
            && openssl(&[
                "req",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-keyout",
                &key,
                "-out",
                &request,
                "-subj",
                "/CN=localhost",
            ])
            && openssl(&[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                &ca,
                "-CAkey",
                &ca_key,
                "-CAcreateserial",
                "-days",
                "2",
                "-extfile",
                &names,
                "-out",
                &certificate,
            ]);
        if !made {
            return Ok(None);
        }
        // The server takes a key that is its own and nobody else's to read.
        let mine = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&key, mine).map_err(|error| error.to_string())?;
        if let Some(user) = &self.user {
            told("chown", Command::new("chown").args([user, &key]).output())?;
        }
        let lines = format!("ssl = on\nssl_cert_file = '{certificate}'\nssl_key_file = '{key}'\n");
        std::fs::write(self.data.join("postgresql.auto.conf"), lines).map_err(|error| error.to_string())?;
        self.down()?;
        self.up()?;
        Ok(Some(ca.into()))
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// What pg_ctl said.
    pub fn down(&self) -> Result<(), String> {
        let data = self.data.display().to_string();
        self.run("pg_ctl", &["stop", "-w", "-s", "-m", "fast", "-D", &data])
    }

    /// The process number of its postmaster, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        std::fs::read_to_string(self.data.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
    }

    /// Kills the postmaster and everything it started, as a crash would (`kill -9`).
    ///
    /// # Errors
    /// When there is nothing to kill.
    pub fn kill(&self) -> Result<(), String> {
        let pid = std::fs::read_to_string(self.data.join("postmaster.pid")).map_err(|error| error.to_string())?;
        let pid = pid.lines().next().unwrap_or_default().to_owned();
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", &pid]).output();
        let children = children.map_err(|error| error.to_string())?.stdout;
        let mut all = vec![pid];
        all.extend(String::from_utf8_lossy(&children).split_whitespace().map(str::to_owned));
        // One that ended by itself in between is no error.
        let _ = Command::new("kill").arg("-9").args(&all).output();
        let begun = Instant::now();
        while all.iter().any(|pid| lives(pid)) {
            if begun.elapsed() > Duration::from_secs(15) {
                return Err(format!("the server's processes {all:?} do not end"));
            }
            std::thread::yield_now();
        }
        // Until somebody reaps it, a dead postmaster is taken for a live one by its number in this file.
        std::fs::remove_file(self.data.join("postmaster.pid")).map_err(|error| error.to_string())
    }

    /// Options of a store in a schema of this server.
    #[must_use]
    pub fn options(&self, schema: &str) -> PostgresOptions {
        // Names of laws are longer than a schema's name may be; their ends differ.
        let schema = schema.get(schema.len().saturating_sub(55)..).unwrap_or(schema);
        PostgresOptions { schema: schema.to_owned(), ..PostgresOptions::new(self.url()) }
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgresql://ark@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// A store in a schema of this server.
    ///
    /// # Panics
    /// When it cannot be opened.
    #[must_use]
    pub fn store(&self, schema: &str) -> PostgresStore {
        PostgresStore::open(&self.options(schema)).unwrap_or_else(|error| panic!("{schema}: {error}"))
    }

    /// Runs SQL with psql, in a session of its own; answers what it printed.
    ///
    /// # Errors
    /// What psql said.
    pub fn sql(&self, sql: &str) -> Result<String, String> {
        let done = Command::new(self.bin.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", sql])
            .output();
        told("psql", done).map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    }

    /// The folder of its programs: `pg_dump`, `pg_restore`.
    #[must_use]
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<(), String> {
        let path = self.bin.join(program);
        let mut command = match &self.user {
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", user, "--regid", user, "--init-groups", "--"]).arg(path);
                command
            }
            None => Command::new(path),
        };
        // A server keeps what it inherits: its output must not be a pipe that somebody waits for.
        let log = self.folder.join("programs");
        let file =
            std::fs::OpenOptions::new().create(true).append(true).open(&log).map_err(|error| error.to_string())?;
        let other = file.try_clone().map_err(|error| error.to_string())?;
        let status =
            command.args(args).current_dir("/").stdin(std::process::Stdio::null()).stdout(file).stderr(other).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                let server = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                Err(format!("{program}: {status}: {said}{server}"))
            }
            Err(error) => Err(format!("{program}: {error}")),
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let data = self.data.display().to_string();
        let _ = self.run("pg_ctl", &["stop", "-w", "-s", "-m", "immediate", "-D", &data]);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Whether a process runs; one that is dead and not reaped does not.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().is_empty() && !rest.trim_start().starts_with('Z'))
}

fn told(program: &str, done: std::io::Result<Output>) -> Result<Output, String> {
    match done {
        Ok(done) if done.status.success() => Ok(done),
        Ok(done) => Err(format!("{program}: {}", String::from_utf8_lossy(&done.stderr).trim())),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// The folder of the newest PostgreSQL on this machine.
fn installed() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    let whole = |folder: &PathBuf| ["initdb", "pg_ctl", "psql"].iter().all(|name| folder.join(name).exists());
    folders.into_iter().find(whole)
}

/// A server, or the reason why this test is skipped, told as `SKIPPED name: reason`. With `ARK_CI=1` that is a failure.
///
/// # Panics
/// With `ARK_CI=1`, when there is no server.
#[must_use]
pub fn postgres(name: &str) -> Option<PostgresServer> {
    match PostgresServer::start() {
        Ok(server) => Some(server),
        Err(reason) => {
            skip(name, &reason);
            None
        }
    }
}

/// Says that a test cannot run here, in the words that `make test` collects. With `ARK_CI=1` it fails instead.
///
/// # Panics
/// With `ARK_CI=1`.
#[expect(clippy::print_stdout, reason = "what is skipped is said")]
pub fn skip(name: &str, reason: &str) {
    assert!(std::env::var("ARK_CI").as_deref() != Ok("1"), "{name} cannot run: {reason}");
    println!("SKIPPED {name}: {reason}");
}
