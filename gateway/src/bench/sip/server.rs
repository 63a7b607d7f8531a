//! What is measured: a gateway of our own, SIPp, or a process that already runs.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use super::load;
use crate::{
    bench::kit::{self, BenchError},
    media::sys,
};

/// How long a server may take until it answers: the prompts of its plan are spoken first.
const START_PATIENCE: Duration = Duration::from_secs(180);
/// Lines of a server's log that are shown when it fails.
const LOG_LINES: usize = 12;

/// CPU and memory of a process at one moment.
#[derive(Clone, Debug, Default)]
pub(in crate::bench) struct Usage {
    pub(in crate::bench) cpu_ns: u64,
    /// CPU by the names of its threads.
    pub(super) threads: BTreeMap<String, u64>,
    pub(in crate::bench) rss_bytes: u64,
}

/// A server that answers at `target`.
pub(in crate::bench) struct Server {
    pub(super) name: String,
    pub(super) target: SocketAddr,
    /// Where a gateway of ours is asked over HTTP.
    web: Option<SocketAddr>,
    child: Option<Child>,
    folder: Option<PathBuf>,
}

impl Server {
    /// A gateway with an empty site, pinned to `core`. `log`: whether it keeps one.
    pub(super) fn gateway(program: &Path, core: usize, log: bool) -> Result<Self, BenchError> {
        Self::gateway_with(program, Some(core), log, ("", None))
    }

    /// The same on one core or on all, with more in its site's file, and another store than a file of its own.
    pub(in crate::bench) fn gateway_with(
        program: &Path,
        core: Option<usize>,
        log: bool,
        (more, store): (&str, Option<&str>),
    ) -> Result<Self, BenchError> {
        let folder = std::env::temp_dir().join(format!("ark-bench-{}-{}", std::process::id(), sys::monotonic_ns()));
        fs::create_dir_all(&folder).map_err(BenchError::io(format!("making {}", folder.display())))?;
        let target = free_address()?;
        let web = free_address()?;
        let config = folder.join("ark.toml");
        let own_store = format!("sqlite:{}/ark.db", folder.display());
        let site = site(&folder, target, web).replace(&own_store, store.unwrap_or(&own_store));
        fs::write(&config, site + more).map_err(BenchError::io(format!("writing {}", config.display())))?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(&config).current_dir(&folder);
        if !log {
            command.arg("--bench-without-log");
        }
        let name = if log { "ark" } else { "ark without its log" };
        let mut server = Self::launch(name, command, core, target, Some(folder))?;
        server.web = Some(web);
        Ok(server)
    }

    /// Where a gateway of ours is asked over HTTP, and the token for it.
    pub(in crate::bench) fn web(&self) -> Result<(SocketAddr, String), BenchError> {
        let (Some(web), Some(folder)) = (self.web, &self.folder) else {
            return Err(BenchError::Failed(format!("{} is no gateway of the bench's own", self.name)));
        };
        let token = folder.join("data/ark.token");
        let token = fs::read_to_string(&token).map_err(BenchError::io(format!("reading {}", token.display())))?;
        Ok((web, token.trim().to_owned()))
    }

    /// `sipp -sn uas`; `None` when it is not installed.
    pub(super) fn sipp(core: usize) -> Result<Option<Self>, BenchError> {
        let installed = Command::new("sipp").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if installed.is_err() {
            return Ok(None);
        }
        let target = free_address()?;
        let mut command = Command::new("sipp");
        command.args(["-sn", "uas", "-i", "127.0.0.1", "-nostdin", "-p"]).arg(target.port().to_string());
        Self::launch("sipp -sn uas", command, Some(core), target, None).map(Some)
    }

    /// A server that somebody else runs; without its process there is no CPU and no memory to report.
    pub(super) fn running(target: SocketAddr) -> Self {
        Self { name: target.to_string(), target, web: None, child: None, folder: None }
    }

    fn launch(
        name: &str,
        mut command: Command,
        core: Option<usize>,
        target: SocketAddr,
        folder: Option<PathBuf>,
    ) -> Result<Self, BenchError> {
        let log = folder.clone().unwrap_or_else(std::env::temp_dir).join("server.log");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let stderr = if folder.is_some() {
            Stdio::from(fs::File::create(&log).map_err(BenchError::io(format!("making {}", log.display())))?)
        } else {
            Stdio::null()
        };
        command.stderr(stderr);
        // A process is born on the cores of the thread that makes it.
        let born = thread::spawn(move || {
            if let Some(core) = core {
                let _ = sys::pin_to_core(core);
            }
            command.spawn()
        });
        let child = born.join().map_err(|_| BenchError::Failed("starting the server panicked".to_owned()))?;
        let child = child.map_err(BenchError::io(format!("starting {name}")))?;
        let mut server = Self { name: name.to_owned(), target, web: None, child: Some(child), folder };
        server.await_answer()?;
        Ok(server)
    }

    fn await_answer(&mut self) -> Result<(), BenchError> {
        let end = sys::monotonic_ns() + sys::nanos(START_PATIENCE);
        while sys::monotonic_ns() < end {
            // Only a gateway has a folder, and it answers OPTIONS when it is ready for calls.
            let ready = match self.folder {
                Some(_) => load::answers(self.target)?,
                None => load::takes_a_call(self.target)?,
            };
            if ready {
                return Ok(());
            }
            if let Some(child) = &mut self.child
                && let Ok(Some(status)) = child.try_wait()
            {
                return Err(BenchError::Failed(format!("{} ended at once ({status}){}", self.name, self.last_words())));
            }
        }
        let patience = START_PATIENCE.as_secs();
        Err(BenchError::Failed(format!(
            "{} did not answer at {} within {patience} s{}",
            self.name,
            self.target,
            self.last_words()
        )))
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        let Some(folder) = &self.folder else { return String::new() };
        let text = fs::read_to_string(folder.join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let mut words = String::from(":");
        for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
            let _ = write!(words, "\n    {line}");
        }
        words
    }

    /// CPU and memory so far; zeros for a server whose process is not known.
    pub(in crate::bench) fn usage(&self) -> Result<Usage, BenchError> {
        let Some(child) = &self.child else { return Ok(Usage::default()) };
        let pid = child.id();
        let gone = |_| BenchError::Failed(format!("{} ended during the run{}", self.name, self.last_words()));
        Ok(Usage {
            cpu_ns: kit::process_cpu_ns(pid).map_err(gone)?,
            threads: kit::thread_cpu_by_name(pid),
            rss_bytes: kit::rss_bytes(pid).map_err(gone)?,
        })
    }

    /// Whether CPU and memory can be told.
    pub(super) fn is_ours(&self) -> bool {
        self.child.is_some()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself; then both do nothing.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(folder) = &self.folder {
            // What cannot be removed stays in the system's folder for temporary files.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// A port below the ephemeral ones that is free for UDP and TCP.
fn free_address() -> Result<SocketAddr, BenchError> {
    let start = 5_100 + (sys::monotonic_ns() / 1_000 % 4_000) as u16;
    for port in start..start + 500 {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(BenchError::Failed(format!("no free port on 127.0.0.1 between {start} and {}", start + 500)))
}

/// A site that refuses nothing for its rate: the bench comes from one address.
fn site(folder: &Path, sip: SocketAddr, web: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "[gateway]\nid = \"bench\"\ndata = \"{folder}/data\"\n\
         [sip]\nlisten = [\"udp:{sip}\"]\ncalls_max = 4000\ncalls_per_second_max = 1000000\n\
         messages_per_second_max = 10000000\n\
         [rtp]\naddress = \"127.0.0.1\"\nports = \"10000-59999\"\n\
         [web]\nlisten = \"{web}\"\nproxies = [\"127.0.0.1/32\"]\n\
         [store]\nurl = \"sqlite:{folder}/ark.db\"\n\
         [files]\nurl = \"file:{folder}/files\"\n\
         [[hotline]]\nnumber = \"95188\"\ndialplan = \"builtin:hotline-95188\"\n\
         [[queue]]\nname = \"general\"\noperators = []\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_of_the_bench_is_one_that_a_gateway_accepts() {
        let folder = std::env::temp_dir().join(format!("ark-bench-site-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("ark.toml");
        fs::write(&path, site(&folder, free_address().unwrap(), free_address().unwrap())).unwrap();
        let loaded = crate::config::Config::load(Some(&path));
        assert!(loaded.is_ok(), "{:?}", loaded.err());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_server_that_cannot_start_says_why() {
        let error = Server::gateway(Path::new("/bin/false"), 0, true).err().unwrap().to_string();
        assert!(error.contains("ended at once"), "{error}");
    }
}
