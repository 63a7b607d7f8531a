//! What goes wrong on a real machine: a full disk, the end of the process, a second one on the same data, a log that
//! nobody can read. Calls that are up stay up, and nothing acknowledged is lost.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use ark_tests::kit::{
    Ended, Gateway, Phone, Process, SOON, ark_binary, conversation_id, installed, request, skip, tone_site,
};

/// A small disk of its own over a folder, for as long as it is held.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`: this machine lets us mount nothing.
    fn over(folder: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(folder).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Writes until nothing more fits.
    fn fill(&self) {
        let mut file = File::create(self.filler()).expect("a file on the small disk");
        for size in [64 * 1024, 4_096, 1] {
            let chunk = vec![0_u8; size];
            while file.write_all(&chunk).is_ok() {}
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the gateway may still hold files in it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn wait_for_readiness(gateway: &Gateway, status: u16) {
    let deadline = Instant::now() + SOON;
    while request(gateway.web, "GET", "/readyz", None, None).is_none_or(|answer| answer.status != status) {
        assert!(Instant::now() < deadline, "/readyz never answers {status}");
        gateway.process.wait_for_news(Duration::from_millis(50));
    }
}

#[test]
fn on_a_full_disk_calls_go_on_and_the_log_has_all_of_it_when_there_is_room_again() {
    let mut gateway = Gateway::start(&tone_site());
    gateway.process.kill();
    let Some(disk) = SmallDisk::over(&gateway.folder().join("data")) else {
        if std::env::var("ARK_CI").as_deref() != Ok("1") {
            skip("live_full_disk", "this user may mount nothing");
        }
        return;
    };
    let gateway = gateway.start_again();
    let mut phone = Phone::new("chen");
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    disk.fill();
    phone.press('1');
    phone.wait_to_hear(1_000.0, SOON);
    wait_for_readiness(&gateway, 503);
    gateway.process.wait_for_line("the log cannot be written", SOON);
    // Somebody else calls while the disk is full.
    let mut ben = Phone::new("ben");
    ben.call(gateway.sip, "95188");
    ben.wait_to_hear(440.0, SOON);
    ben.hang_up();
    fs::remove_file(disk.filler()).expect("the filler");
    wait_for_readiness(&gateway, 200);
    gateway.process.wait_for_line("the log is written again", SOON);
    let ended = gateway.wait_for_ended(2, SOON);
    // `timeline` refuses a gap.
    let timelines: Vec<_> = ended.iter().map(|one| gateway.timeline(&conversation_id(one))).collect();
    for timeline in &timelines {
        timeline.assert_order(&["call.ringing", "call.answered", "prompt.started", "call.quality", "call.ended"]);
    }
    assert_eq!(timelines.iter().map(|one| one.count("dtmf")).sum::<usize>(), 1);
    let metrics = gateway.ask("GET", "/metrics", None).body;
    assert!(metrics.contains("ark_log_dropped_total 0\n"), "{metrics}");
}

#[test]
fn the_end_of_the_process_ends_calls_in_order_and_their_log_is_whole() {
    let mut setup = tone_site();
    setup.record = true;
    let mut gateway = Gateway::start(&setup);
    let mut phone = Phone::new("chen");
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    gateway.wait_for_event("recording.started", SOON);
    gateway.process.terminate();
    assert_eq!(phone.wait_for_the_end(SOON), Ended::TheirBye);
    assert!(gateway.process.wait(SOON).success());
    let gateway = gateway.start_again();
    let timeline = gateway.wait_for_event("recording.finished", SOON);
    timeline.assert_order(&["recording.started", "call.quality", "call.ended"]);
    assert_eq!(timeline.all("call.ended", "cause"), ["shutdown"]);
    assert_eq!(timeline.count("call.lost"), 0);
}

#[test]
fn a_second_gateway_on_the_same_log_is_refused_in_a_sentence() {
    let gateway = Gateway::start(&tone_site());
    let mut command = Command::new(ark_binary());
    command.args(["serve", "--config", "ark.toml"]).current_dir(gateway.folder());
    let mut second = Process::start("a second ark serve", &mut command);
    assert_eq!(second.wait(SOON).code(), Some(2));
    let said = second.lines().join("\n");
    assert!(said.contains(&format!("in use by another process (pid {})", gateway.process.id())), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_log_that_nobody_reads_and_nothing_can_be_written_to_harms_no_call() {
    let first = Gateway::start(&tone_site());
    let (sip, folder) = (first.sip, first.folder().to_owned());
    let token = fs::read_to_string(folder.join("data/ark.token")).expect("data/ark.token");
    let (web, mut gone) = (first.web, first);
    gone.process.kill();
    let full = || File::options().write(true).open("/dev/full").expect("/dev/full");
    let mut child = Command::new(ark_binary())
        .args(["serve", "--config", "ark.toml"])
        .env("ARK_LOG", "debug")
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(full())
        .stderr(full())
        .spawn()
        .expect("the gateway starts");
    let deadline = Instant::now() + SOON;
    while request(web, "GET", "/readyz", None, None).is_none_or(|answer| answer.status != 200) {
        assert!(Instant::now() < deadline, "it is never ready");
        gone.process.wait_for_news(Duration::from_millis(50));
    }
    let mut phone = Phone::new("chen");
    phone.call(sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    phone.hang_up();
    let metrics = request(web, "GET", "/metrics", Some(token.trim()), None).expect("an answer").body;
    assert!(metrics.contains("ark_calls_answered_total 1\n"), "{metrics}");
    assert!(child.try_wait().expect("a child of ours").is_none(), "it runs on");
    let _ = child.kill();
    let _ = child.wait();
}

/// What a service's journal keeps is read by others: the token stands in its own file only.
#[test]
fn the_token_is_told_to_a_terminal_only() {
    let gateway = Gateway::start(&tone_site());
    let token = fs::read_to_string(gateway.folder().join("data/ark.token")).expect("data/ark.token");
    gateway.process.wait_for_line("ark.token", SOON);
    let said = gateway.process.lines().join("\n");
    assert!(said.contains("/?token=..."), "{said}");
    assert!(!said.contains(token.trim()), "the token was printed where nobody sits");
}

/// Speaking a plan's prompts takes a while; whoever changed their mind does not wait for it.
#[test]
fn a_gateway_that_still_speaks_its_prompts_ends_when_it_is_told_to() {
    if !installed("espeak-ng") {
        return skip("live_stop_at_start", "espeak-ng is not installed");
    }
    let mut gateway = Gateway::start(&tone_site());
    gateway.process.kill();
    let folder = gateway.folder();
    let site = fs::read_to_string(folder.join("ark.toml")).expect("the site's file");
    fs::write(folder.join("ark.toml"), site.replace("\"plan.toml\"", "\"builtin:hotline-95188\"")).expect("written");
    let mut command = Command::new(ark_binary());
    command.args(["serve", "--config", "ark.toml"]).current_dir(folder);
    let spoken = |folder: &Path| fs::read_dir(folder.join("data/files/prompts")).map_or(0, Iterator::count);
    let before = spoken(folder);
    let mut process = Process::start("ark serve", &mut command);
    let deadline = Instant::now() + SOON;
    while spoken(folder) <= before {
        assert!(Instant::now() < deadline && process.is_running(), "no prompt was spoken");
        process.wait_for_news(Duration::from_millis(10));
    }
    process.terminate();
    assert!(process.wait(SOON).success());
    assert!(spoken(folder) < before + 40, "it stopped speaking");
    assert!(request(gateway.web, "GET", "/readyz", None, None).is_none(), "it never opened its doors");
}
