//! Voice through a running gateway under what the world does to it: strangers who spray packets at the ports of a call,
//! hold, keys and silence in a bridge, a disk that is full.

use std::{
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use ark_media::{codec, dtmf, rtp::Header};
use ark_tests::kit::{Ended, Gateway, Phone, SOON, Setup, dominant_hz, read_wav, skip, tone, tone_site};

const CALLER: f64 = 700.0;
const OPERATOR: f64 = 1_500.0;
const ATTACKER: f64 = 2_300.0;
const PCMA: u8 = 8;
/// Payload type of telephone-event in the offers of our phone.
const EVENTS: u8 = 96;

/// A site with one operator's phone.
fn site(operators: Vec<String>) -> Setup {
    Setup { operators, ..tone_site() }
}

/// A stranger on this host who sprays true RTP (a loud tone and key presses) at some ports until it is stopped.
struct Stranger {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, u64)>,
}

impl Stranger {
    fn spray(targets: Vec<SocketAddr>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            // From the host of the phones, and from another one.
            let sockets: Vec<UdpSocket> = ["127.0.0.1:0", "127.0.0.1:0", "127.0.0.66:0"]
                .iter()
                .map(|address| UdpSocket::bind(address).expect("loopback has a free port"))
                .collect();
            for socket in &sockets {
                socket.set_nonblocking(true).expect("a socket of ours");
            }
            let alaw = codec::by_static_payload_type(PCMA).expect("PCMA is in the table");
            let voice = tone(ATTACKER, Duration::from_millis(20));
            let mut payload = [0; 160];
            alaw.encoder().encode(&voice, &mut payload);
            let key = dtmf::Digit::from_char('3').expect("a key");
            let (mut sent, mut received, mut sequence) = (0, 0, 0_u16);
            let mut bytes = [0; 1_500];
            let pace = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
            pace.set_read_timeout(Some(Duration::from_millis(2))).expect("a timeout above zero");
            while !stopped.load(Ordering::Relaxed) {
                sequence = sequence.wrapping_add(1);
                let timestamp = u32::from(sequence) * 160;
                let header = Header { marker: false, payload_type: PCMA, sequence, timestamp, ssrc: 0x0bad_cafe };
                let pressed = dtmf::Payload { event: key.event(), end: true, volume: 10, duration: 800 };
                for (socket, to) in sockets.iter().flat_map(|socket| targets.iter().map(move |to| (socket, to))) {
                    let length = header.write(&payload, &mut bytes).expect("a frame fits");
                    sent += u64::from(socket.send_to(&bytes[..length], to).is_ok());
                    let event = Header { payload_type: EVENTS, ..header };
                    let length = event.write(&pressed.to_bytes(), &mut bytes).expect("an event fits");
                    sent += u64::from(socket.send_to(&bytes[..length], to).is_ok());
                }
                received += sockets.iter().filter(|socket| socket.recv(&mut bytes).is_ok()).count() as u64;
                // Nobody sends here: it paces the spray.
                let _ = pace.recv(&mut bytes);
            }
            (sent, received)
        });
        Self { stop, thread }
    }

    /// How many packets it sent, and how many came to it.
    fn finish(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the stranger does not panic")
    }
}

/// The shares of 100 ms windows of the last two seconds in which this frequency carries the sound, and another does.
fn shares(pcm: &[i16], hz: f64) -> (f64, f64) {
    let recent = &pcm[pcm.len().saturating_sub(16_000)..];
    let windows: Vec<Option<f64>> = recent.chunks_exact(800).map(|part| dominant_hz(part, 8_000)).collect();
    let near = |found: f64| (found - hz).abs() <= 20.0;
    let count = |wanted: &dyn Fn(f64) -> bool| windows.iter().flatten().filter(|found| wanted(**found)).count();
    let all = windows.len().max(1) as f64;
    (count(&near) as f64 / all, count(&|found| !near(found)) as f64 / all)
}

/// Strangers during the prompt and during the bridge, from the phones' own host and from another.
fn strangers_are_not_heard(setup: impl FnOnce(Vec<String>) -> Setup) {
    let mut anna = Phone::new("anna");
    let (address, addresses) = mpsc::sync_channel(1);
    let uri = anna.uri();
    let operator = thread::spawn(move || {
        let invite = anna.wait_to_be_called(SOON * 2);
        anna.say(Some(OPERATOR));
        anna.answer(&invite);
        address.send(anna.far_rtp()).expect("the test waits");
        anna.wait_to_hear(CALLER, SOON);
        let end = anna.wait_for_the_end(SOON * 2);
        (end, anna.heard(), anna.keys())
    });
    let gateway = Gateway::start(&setup(vec![uri]));
    let mut caller = Phone::new("chen");
    caller.say(Some(CALLER));
    caller.call(gateway.sip, "95188");
    let early = Stranger::spray(vec![caller.far_rtp()]);
    caller.wait_to_hear(440.0, SOON);
    caller.talk_for(Duration::from_secs(1));
    caller.press('0');
    let stranger = Stranger::spray(vec![caller.far_rtp(), addresses.recv_timeout(SOON * 2).expect("she answers")]);
    caller.wait_to_hear(OPERATOR, SOON);
    caller.talk_for(Duration::from_millis(2_500));
    let (_, heard_by_caller) = (caller.hang_up(), caller.heard());
    let (end, heard_by_operator, keys) = operator.join().expect("the operator's phone does not panic");
    assert_eq!(end, Ended::TheirBye);
    for (sent, received) in [early.finish(), stranger.finish()] {
        assert!(sent > 300, "{sent} packets sprayed");
        assert_eq!(received, 0, "packets of the call came to the stranger");
    }
    for (who, heard, hz) in [("caller", heard_by_caller, OPERATOR), ("operator", heard_by_operator, CALLER)] {
        let (right, wrong) = shares(&heard, hz);
        assert!(
            right > 0.8 && wrong < 0.1,
            "the {who} heard {hz} Hz for {right:.2} of the time, others for {wrong:.2}"
        );
    }
    assert_eq!(keys, [], "the stranger's keys went through the bridge");
    let timeline = gateway.wait_for_event("call.quality", SOON);
    assert_eq!(timeline.all("dtmf", "digit"), ["0"], "the stranger's 3 counted");
}

#[test]
fn strangers_who_spray_packets_are_not_heard_and_get_nothing() {
    strangers_are_not_heard(site);
}

#[test]
fn strangers_who_spray_packets_at_a_trunks_call_are_not_heard_and_get_nothing() {
    let trunk = "[[trunk]]\nname = \"carrier\"\npeers = [\"127.0.0.1/32\"]\n";
    strangers_are_not_heard(|operators| Setup { more: trunk.into(), ..site(operators) });
}

/// Chen calls and asks for a person; both hear each other when this returns.
fn connect(gateway: &Gateway) -> Phone {
    let mut caller = Phone::new("chen");
    caller.say(Some(CALLER));
    caller.call(gateway.sip, "95188");
    caller.wait_to_hear(440.0, SOON);
    caller.press('0');
    caller.wait_to_hear(OPERATOR, SOON * 2);
    caller
}

#[test]
fn a_person_who_holds_the_bridge_is_not_heard_and_is_heard_again_after_it() {
    let mut anna = Phone::new("anna");
    let uri = anna.uri();
    let (resume, resumes) = mpsc::sync_channel(1);
    let operator = thread::spawn(move || {
        let invite = anna.wait_to_be_called(SOON * 2);
        anna.say(Some(OPERATOR));
        anna.answer(&invite);
        anna.wait_to_hear(CALLER, SOON);
        anna.talk_for(Duration::from_millis(800));
        anna.reinvite("sendonly");
        let before = anna.packets();
        resumes.recv_timeout(SOON * 2).expect("the test goes on");
        let during = anna.packets() - before;
        anna.reinvite("sendrecv");
        anna.wait_to_hear(CALLER, SOON);
        (during, anna.wait_for_the_end(SOON))
    });
    let gateway = Gateway::start(&site(vec![uri]));
    let mut caller = connect(&gateway);
    gateway.wait_for_event("leg.held", SOON);
    caller.talk_for(Duration::from_millis(1_500));
    let heard = caller.heard();
    let windows = heard[heard.len() - 8_000..].chunks_exact(800);
    let leaked = windows.filter(|part| dominant_hz(part, 8_000).is_some_and(|hz| (hz - OPERATOR).abs() < 20.0)).count();
    assert_eq!(leaked, 0, "the one who holds is heard");
    resume.send(()).expect("she waits");
    caller.wait_to_hear(OPERATOR, SOON);
    caller.talk_for(Duration::from_millis(500));
    caller.hang_up();
    let (during, end) = operator.join().expect("the operator's phone does not panic");
    assert!(during < 10, "{during} packets came to the one who holds");
    assert_eq!(end, Ended::TheirBye);
    gateway.wait_for_event("call.quality", SOON).assert_order(&[
        "leg.bridged",
        "leg.held",
        "leg.resumed",
        "call.ended",
    ]);
}

#[test]
fn keys_go_through_the_bridge_once_in_both_directions() {
    let mut anna = Phone::new("anna");
    let uri = anna.uri();
    let operator = thread::spawn(move || {
        let invite = anna.wait_to_be_called(SOON * 2);
        anna.say(Some(OPERATOR));
        anna.answer(&invite);
        anna.wait_for_key('#', SOON);
        anna.press('7');
        let end = anna.wait_for_the_end(SOON);
        (anna.keys(), end)
    });
    let gateway = Gateway::start(&site(vec![uri]));
    let mut caller = connect(&gateway);
    for key in ['5', '5', '#'] {
        caller.press(key);
        caller.talk_for(Duration::from_millis(100));
    }
    caller.wait_for_key('7', SOON);
    caller.talk_for(Duration::from_millis(300));
    caller.hang_up();
    let (keys, end) = operator.join().expect("the operator's phone does not panic");
    assert_eq!((keys, end), (vec!['5', '5', '#'], Ended::TheirBye));
    assert_eq!(caller.keys(), ['7']);
    let timeline = gateway.wait_for_event("call.quality", SOON);
    assert_eq!(timeline.all("dtmf", "digit"), ["0", "5", "5", "#", "7"]);
}

#[test]
fn a_caller_whose_phone_falls_silent_is_let_go_and_so_is_the_person() {
    let mut anna = Phone::new("anna");
    let uri = anna.uri();
    let operator = thread::spawn(move || {
        let invite = anna.wait_to_be_called(SOON * 2);
        anna.say(Some(OPERATOR));
        anna.answer(&invite);
        anna.wait_for_the_end(SOON * 2)
    });
    let gateway = Gateway::start(&Setup { rtp: "timeout = \"2s\"".into(), ..site(vec![uri]) });
    let mut caller = connect(&gateway);
    caller.fall_silent();
    assert_eq!(caller.wait_for_the_end(SOON), Ended::TheirBye);
    assert_eq!(operator.join().expect("the operator's phone does not panic"), Ended::TheirBye);
    let timeline = gateway.wait_for_event("call.quality", SOON);
    assert!(timeline.all("call.ended", "cause").contains(&"media_lost".to_owned()), "{:?}", timeline.names());
}

/// A small disk of its own, mounted over a folder until the test is over.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`: this user may not mount.
    fn over(folder: PathBuf, bytes: &str) -> Option<Self> {
        let options = format!("size={bytes}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&folder).status();
        mount.is_ok_and(|status| status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_full_ends_the_recording_in_words_and_the_call_goes_on() {
    let gateway = Gateway::start(&Setup { record: true, ..tone_site() });
    let recordings = gateway.folder().join("data/files/recordings");
    assert!(recordings.is_dir(), "{} is where recordings go", recordings.display());
    let Some(_disk) = SmallDisk::over(recordings.clone(), "64k") else {
        return skip("live_full_disk", "a small disk can only be mounted by root");
    };
    let mut phone = Phone::new("chen");
    phone.say(Some(CALLER));
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    let timeline = gateway.wait_for_event("recording.failed", SOON);
    let error = timeline.first("recording.failed")["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.to_lowercase().contains("no space left"), "{error}");
    phone.wait_to_hear(440.0, SOON);
    phone.press('1');
    phone.wait_to_hear(1_000.0, SOON);
    assert_eq!(phone.wait_for_the_end(SOON), Ended::TheirBye);
    // What was written before is a file that can be heard.
    let mut open = vec![recordings];
    let mut played = 0;
    while let Some(folder) = open.pop() {
        for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                open.push(path);
            } else {
                let (rate_hz, channels) = read_wav(&path);
                assert!(channels[0].len() > rate_hz as usize, "{} samples were kept", channels[0].len());
                played += 1;
            }
        }
    }
    assert_eq!(played, 1);
}
