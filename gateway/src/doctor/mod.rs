//! `ark doctor`: what must be well before the first call, each looked at and, where it can be, tried.

mod machine;
mod network;
mod self_call;
mod transcription;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

use crate::config::{Config, Loaded};

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Well.
    Ok,
    /// Works, and deserves a look.
    Warning,
    /// Calls will fail or be lost.
    Failed,
}

/// One line of the doctor's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at: `config`, `sip ports`, `disk` ...
    pub name: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was found, in one sentence.
    pub found: String,
    /// What to do, where there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), fix: None }
    }

    fn warning(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warning, found: found.into(), fix: Some(fix.into()) }
    }

    fn failed(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Failed, found: found.into(), fix: Some(fix.into()) }
    }
}

/// A gateway of this site that runs already, if one does.
#[derive(Clone, Debug)]
pub struct Running {
    /// Where its page is.
    pub web: SocketAddr,
}

/// Looks at everything; `say` hears each line as soon as it is known.
pub async fn examine(loaded: &Loaded, mut say: impl FnMut(&Check)) -> Vec<Check> {
    let config = &loaded.config;
    let mut checks = Vec::new();
    let mut add = |check: Check| {
        say(&check);
        checks.push(check);
    };
    add(site(loaded));
    let running = network::running_gateway(config).await;
    add(network::sip_ports(config, running.as_ref()));
    add(network::web_port(config, running.as_ref()));
    add(network::rtp_ports(config));
    add(network::advertised(config));
    add(network::callers(config));
    for check in machine::disks(config) {
        add(check);
    }
    add(machine::open_files(config));
    add(machine::clock().await);
    add(machine::dialplans(config));
    add(machine::time_zones(config));
    add(machine::speech(config).await);
    if let Some(check) = transcription::look(config).await {
        add(check);
    }
    add(self_call::try_it(config).await);
    checks
}

fn site(loaded: &Loaded) -> Check {
    let name = loaded.file.as_ref().map_or_else(|| "the built-in site".to_owned(), |file| file.display().to_string());
    let Config { hotline, queue, trunk, .. } = &loaded.config;
    let found = format!("{name}; hotlines: {}, queues: {}, trunks: {}", hotline.len(), queue.len(), trunk.len());
    if loaded.warnings.is_empty() {
        return Check::ok("config", found);
    }
    let sentences: Vec<&str> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
    Check::warning(
        "config",
        format!("{found}; {}", sentences.join("; ")),
        "`ark config check` says where and what to do",
    )
}

/// A folder that is removed at the end, whatever happens.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path =
            std::env::temp_dir().join(format!("ark-doctor-{}-{:08x}", std::process::id(), rand::random::<u32>()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
