//! Disk, open files, clock, time zones, the speech synthesiser.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use ark_dialplans::{Lang, Plan};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::process::Command;

use super::Check;
use crate::config::{BUILTIN, Config};
use crate::plans::BUILTIN_PLANS;

/// Less than this free is a failure: an hour of a few recorded calls.
const DISK_BYTES_MIN: u64 = 100 << 20;
/// Less than this free deserves a look.
const DISK_BYTES_WARN: u64 = 2 << 30;
/// A write with fsync that takes longer makes the log slow.
const FSYNC_WARN: Duration = Duration::from_millis(100);
/// Files beside the sockets of calls.
const FILES_BESIDE: u64 = 256;
/// How long a program may take to say what it is.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(10);
/// No clock that is right shows a time before this release was made.
const MADE: &str = "2026-01-01T00:00:00Z";

/// Each folder that Ark writes to: whether it can be written, how fast, and how much is free.
pub(super) fn disks(config: &Config) -> Vec<Check> {
    let store = config.store.sqlite_path().and_then(Path::parent).map(Path::to_owned);
    let store = store.map(|path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path });
    let folders: BTreeSet<PathBuf> = [Some(config.gateway.data.clone()), Some(config.files.folder().to_owned()), store]
        .into_iter()
        .flatten()
        .collect();
    folders.iter().map(|folder| disk(folder)).collect()
}

fn disk(folder: &Path) -> Check {
    let shown = folder.display();
    // What is not there yet will be made: the nearest folder that is there decides.
    let Some(there) = folder.ancestors().map(nonempty).find(|path| path.is_dir()) else {
        return Check::failed("disk", format!("{shown}: no folder above it is there"), "make the folder");
    };
    let free = match free_bytes(there) {
        Ok(free) => free,
        Err(error) => return Check::failed("disk", format!("{shown}: {error}"), "look at the mount"),
    };
    let took = match try_write(there) {
        Ok(took) => took,
        Err(error) => {
            let fix = format!("give the user that runs Ark the right to write {}", there.display());
            return Check::failed("disk", format!("{shown} cannot be written: {error}"), fix);
        }
    };
    let found = format!("{shown}: {} free, a durable write takes {} ms", size(free), took.as_millis());
    if free < DISK_BYTES_MIN {
        return Check::failed(
            "disk",
            found,
            "free some space: a recorded call takes 2 MB a minute, the log 1 kB an event",
        );
    }
    if free < DISK_BYTES_WARN {
        return Check::warning("disk", found, "a recorded call takes 2 MB a minute: make room soon");
    }
    if took > FSYNC_WARN {
        return Check::warning("disk", found, "a slow disk makes the log late: put [store] url on another one");
    }
    Check::ok("disk", found)
}

fn nonempty(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn size(bytes: u64) -> String {
    if bytes >= 1 << 30 { format!("{} GB", bytes >> 30) } else { format!("{} MB", bytes >> 20) }
}

fn free_bytes(folder: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn try_write(folder: &Path) -> std::io::Result<Duration> {
    let path = folder.join(format!(".ark-doctor-{}", std::process::id()));
    let begun = Instant::now();
    let written = std::fs::File::create_new(&path).and_then(|mut file| {
        file.write_all(&[0; 4_096])?;
        file.sync_all()
    });
    let took = begun.elapsed();
    let removed = std::fs::remove_file(&path);
    written.and(removed).map(|()| took)
}

/// A leg takes two sockets, and a bridged call two legs.
pub(super) fn open_files(config: &Config) -> Check {
    let calls = config.sip.calls_max as u64;
    let (alone, bridged) = (calls * 2 + FILES_BESIDE, calls * 4 + FILES_BESIDE);
    // `None`: no limit.
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let found = format!("{most} may be open; {calls} calls need {alone}, all of them bridged {bridged}");
    let fix = format!("raise it (`ulimit -Hn {bridged}`, systemd: LimitNOFILE={bridged}), or lower [sip] calls_max");
    match most {
        most if most < alone => Check::failed("open files", found, fix),
        most if most < bridged => Check::warning("open files", found, fix),
        _ => Check::ok("open files", found),
    }
}

/// Whether the clock shows a possible time, runs as fast as time does, and is kept by somebody.
pub(super) async fn clock() -> Check {
    let (wall, mono) = (SystemTime::now(), Instant::now());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let drift = wall.elapsed().map_or(Duration::MAX, |wall| wall.abs_diff(mono.elapsed()));
    let now = Timestamp::now();
    if MADE.parse::<Timestamp>().is_ok_and(|made| now < made) {
        return Check::failed("clock", format!("it shows {now:.0}"), "set it: `timedatectl set-ntp true`");
    }
    if drift > Duration::from_millis(50) {
        let found = format!("the clock moved by {} ms within 0.2 s", drift.as_millis());
        return Check::warning(
            "clock",
            found,
            "something steps it: let one NTP client keep it (chrony, systemd-timesyncd)",
        );
    }
    // systemd reads the kernel's estimate of the error, whichever NTP client feeds it.
    match run(Path::new("timedatectl"), &["show", "--property=NTPSynchronized", "--value"])
        .await
        .as_deref()
        .map(str::trim)
    {
        Ok("yes") => Check::ok("clock", format!("{now:.0}, steady, kept by NTP")),
        Ok("no") => Check::warning(
            "clock",
            format!("{now:.0}, steady; nobody keeps it"),
            "times in the log may be off: `timedatectl set-ntp true`, or run chrony",
        ),
        _ => Check::ok(
            "clock",
            format!("{now:.0}, steady; who keeps it cannot be asked here (in a container: the host)"),
        ),
    }
}

/// The plans of the hotlines by their files: the text, or why it cannot be read.
fn sources(config: &Config) -> BTreeMap<&str, Result<String, String>> {
    let read = |dialplan: &str| match dialplan.strip_prefix(BUILTIN) {
        Some(name) => {
            let known = BUILTIN_PLANS.iter().find(|(known, _)| *known == name);
            known.map(|(_, text)| (*text).to_owned()).ok_or_else(|| "no such plan is part of the program".to_owned())
        }
        None => std::fs::read_to_string(dialplan).map_err(|error| format!("cannot be read: {error}")),
    };
    config.hotline.iter().map(|hotline| (hotline.dialplan.as_str(), read(&hotline.dialplan))).collect()
}

fn plans(config: &Config) -> Vec<Plan> {
    sources(config).into_iter().filter_map(|(name, text)| Plan::parse(&text.ok()?, name).ok()).collect()
}

/// Whether every hotline's plan can be read. Its proofs and tests are `ark dialplan`'s.
pub(super) fn dialplans(config: &Config) -> Check {
    let name = "dialplans";
    let sources = sources(config);
    let mut well = Vec::new();
    for (file, text) in &sources {
        match text {
            Ok(text) => match Plan::parse(text, file) {
                Ok(_) => well.push(*file),
                Err(found) => {
                    let first =
                        found.iter().find(|one| one.is_error()).map_or_else(String::new, |one| one.message.en.clone());
                    let what = format!("{file} cannot go live: {first}");
                    return Check::failed(name, what, format!("`ark dialplan check {file}` says where and what to do"));
                }
            },
            Err(why) => {
                let fix =
                    "make it readable for the user that runs Ark; relative paths are relative to the working directory";
                return Check::failed(name, format!("{file}: {why}"), fix);
            }
        }
    }
    match well.as_slice() {
        [] => Check::warning(name, "there is no [[hotline]]", "add one with `number` and `dialplan`"),
        well => Check::ok(name, well.join(", ")),
    }
}

/// The time-zone data is part of the program; this finds a broken build and a machine whose own zone is unknown.
pub(super) fn time_zones(config: &Config) -> Check {
    let mut names: BTreeSet<String> =
        plans(config).iter().filter_map(|plan| plan.zone.iana_name().map(str::to_owned)).collect();
    names.insert("Asia/Shanghai".to_owned());
    for name in &names {
        if let Err(error) = TimeZone::get(name) {
            return Check::failed(
                "time zone",
                format!("{name} is not known: {error}"),
                "correct `timezone` in the plan",
            );
        }
    }
    let names: Vec<String> = names.into_iter().collect();
    let names = names.join(", ");
    match TimeZone::try_system() {
        Ok(system) => {
            let system = system.iana_name().unwrap_or("one without a name").to_owned();
            Check::ok("time zone", format!("{names} known; this machine's is {system}"))
        }
        Err(error) => Check::warning(
            "time zone",
            format!("{names} known; this machine's own is not: {error}"),
            "plans keep their own zone; times on the command line are shown in UTC: set TZ or /etc/localtime right",
        ),
    }
}

/// espeak-ng and its voices, and whether the site's plans need them.
pub(super) async fn speech(config: &Config) -> Check {
    let name = "speech";
    let plans = plans(config);
    let texts: BTreeSet<Lang> = plans.iter().flat_map(Plan::utterances).map(|utterance| utterance.lang).collect();
    let settings = &config.prompts;
    let program = settings.espeak.display().to_string();
    let version = match run(&settings.espeak, &["--version"]).await {
        Ok(text) => text.lines().next().unwrap_or("").split("Data at").next().unwrap_or("").trim().to_owned(),
        Err(error) => {
            return Check::failed(
                name,
                format!("{program} does not run: {error}"),
                "`apt install espeak-ng`, or give every prompt a recording; what was synthesised before is kept and still speaks",
            );
        }
    };
    for (lang, voice) in [(Lang::Zh, &settings.voice_zh), (Lang::En, &settings.voice_en)] {
        if texts.contains(&lang) && run(&settings.espeak, &["-q", "-v", voice, "--", "1"]).await.is_err() {
            return Check::failed(
                name,
                format!("{program} has no voice `{voice}`"),
                "`apt install espeak-ng-data`, or name another in [prompts]; `espeak-ng --voices` lists them",
            );
        }
    }
    Check::ok(name, format!("{version}; voices {}, {}", settings.voice_zh, settings.voice_en))
}

async fn run(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PROGRAM_TIMEOUT, command.output())
        .await
        .map_err(|_| "it does not end".to_owned())?
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_written_is_said() {
        let check = disk(Path::new("/proc/ark"));
        assert_eq!(check.verdict, super::super::Verdict::Failed, "{check:?}");
        let check = disk(&std::env::temp_dir().join("ark-not-there-yet"));
        assert_ne!(check.verdict, super::super::Verdict::Failed, "{check:?}");
    }
}
