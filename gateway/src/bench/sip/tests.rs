//! The generator against a server of a few lines, whose behaviour is known.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use super::*;

/// Answers by the number of the call: every fourth INVITE gets 503 with Retry-After, every 25th 486, every 50th is
/// not answered the first time it comes; all else is answered as it should be.
struct Known {
    target: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn reply(request: &str, status: &str, extra: &str) -> String {
    let echoed: String = request
        .lines()
        .filter(|line| ["Via:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let to = request.lines().find(|line| line.starts_with("To:")).unwrap_or("To: <sip:x>");
    let tag = if to.contains("tag=") { "" } else { ";tag=s" };
    format!(
        "SIP/2.0 {status}\r\n{echoed}{to}{tag}\r\nContact: <sip:server@127.0.0.1>\r\n{extra}Content-Length: 0\r\n\r\n"
    )
}

impl Known {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let target = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            let mut seen = std::collections::HashSet::new();
            while !flag.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let request = String::from_utf8(buffer[..length].to_vec()).unwrap();
                let id = request.lines().find_map(|line| line.strip_prefix("Call-ID: ")).unwrap().to_owned();
                let number: usize =
                    id.split_once('-').and_then(|(_, rest)| rest.strip_suffix("@bench")?.parse().ok()).unwrap_or(1);
                let first = seen.insert((id, request.split(' ').next().unwrap_or_default().to_owned()));
                let answer = match request.split(' ').next() {
                    Some("INVITE") if number % 50 == 49 && first => continue,
                    Some("INVITE") if number.is_multiple_of(4) => {
                        reply(&request, "503 Service Unavailable", "Retry-After: 3\r\n")
                    }
                    Some("INVITE") if number % 25 == 7 => reply(&request, "486 Busy Here", ""),
                    Some("ACK") => continue,
                    _ => reply(&request, "200 OK", ""),
                };
                socket.send_to(answer.as_bytes(), from).unwrap();
            }
        });
        Self { target, stop, thread: Some(thread) }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn every_call_is_accounted_for_exactly_once() {
    let server = Known::start();
    assert!(load::answers(server.target).unwrap());
    let offer = Offer {
        target: server.target,
        rate: 200.0,
        time: Duration::from_secs(1),
        drain: Duration::from_secs(10),
        core: 0,
    };
    let outcome = Caller::start(offer).unwrap().finish().unwrap();
    assert_eq!(outcome.offered, 200, "200 calls a second for a second");
    assert_eq!((outcome.refused, outcome.retry_after), (50, 50));
    // 7, 32, 57 ...: every 25th, but those that a multiple of four has taken.
    assert_eq!(outcome.failures, BTreeMap::from([("486 to INVITE".to_owned(), 6)]));
    assert_eq!(outcome.completed + outcome.refused + 6, outcome.offered);
    assert!(outcome.retransmissions >= 4, "the four that were not answered at first");
    assert_eq!(outcome.setup.count(), outcome.completed);
    assert!(outcome.setup.quantile_ms(0.5) < 50.0);
}

#[test]
fn a_port_that_nobody_listens_on_does_not_answer() {
    assert!(!load::answers("127.0.0.1:9".parse().unwrap()).unwrap());
    let options = Options {
        rate: 10.0,
        seconds: 0.2,
        ramp: false,
        overload: false,
        log: Log::On,
        settle: 0.0,
        target: Some("127.0.0.1:9".parse().unwrap()),
        server: None,
        no_sipp: true,
        json: false,
    };
    assert!(run(&options).err().unwrap().to_string().contains("nothing answers"));
}

#[test]
fn a_run_against_a_given_target_prints_its_accounting() {
    let server = Known::start();
    let options = Options {
        rate: 100.0,
        seconds: 0.5,
        ramp: false,
        overload: false,
        log: Log::On,
        settle: 0.0,
        target: Some(server.target),
        server: None,
        no_sipp: true,
        json: false,
    };
    let report = run(&options).unwrap();
    let text = report.to_string();
    assert!(text.contains("50 offered = ") && text.contains("with Retry-After"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&Report { json: true, ..report }.to_string()).unwrap();
    assert_eq!(json["servers"][0]["steps"][0]["offered"], 50);
}
