//! The adapter's process, when the kit starts it: in a group of its own, which is what is killed.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// A process that the kit started.
pub(super) struct Started {
    child: Child,
    group: Option<Pid>,
}

impl Started {
    /// Starts `command` with a shell, in a process group of its own.
    pub(super) fn new(command: &str, environment: &[(&str, String)], output: &Path) -> Result<Self, String> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(output);
        let log = log.map_err(|error| format!("{}: {error}", output.display()))?;
        let both = log.try_clone().map_err(|error| error.to_string())?;
        let child = Command::new("sh")
            .args(["-c", command])
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(both))
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("`{command}` cannot be started: {error}"))?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self { child, group })
    }

    /// Why it is no longer there; none: it runs.
    pub(super) fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// SIGKILL to the whole group: as if the power went.
    pub(super) async fn kill(mut self) {
        self.strike();
        let _ = self.child.wait().await;
    }

    fn strike(&self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Resident memory of the group's processes, in bytes; none where the system does not tell.
    pub(super) fn resident_bytes(&self) -> Option<u64> {
        let group = self.group?.as_raw_nonzero().get().to_string();
        let mut sum = 0;
        for entry in std::fs::read_dir("/proc").ok()?.flatten() {
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            // After the name in brackets: state, parent, group (proc(5)).
            let of = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(2));
            if of == Some(group.as_str())
                && let Ok(status) = std::fs::read_to_string(entry.path().join("status"))
                && let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))
                && let Some(kib) = line.split_ascii_whitespace().next().and_then(|kib| kib.parse::<u64>().ok())
            {
                sum += kib * 1_024;
            }
        }
        (sum > 0).then_some(sum)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.strike();
        }
    }
}
