//! rtpengine beside Ark: the relay of other gateways, in user space, with as many calls as Ark's bridges, on the same core and
//! under the same generator. Where it is not installed the bench says so and goes on.
//!
//! Calls are made over its control protocol ("ng"): a cookie and a bencoded dictionary in one datagram, and the answer under the
//! same cookie.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::kit::{self, BenchError, Cores};
use crate::media::sys;

/// The program's name, as packages call it.
const PROGRAM: &str = "rtpengine";
/// Its ports: clear of those of the bench's own engine and of the ephemeral ones. Four a call: two legs, RTP and RTCP.
const PORTS: (u16, u16) = (20_000, 29_999);
/// Calls that fit in there.
const CALLS_MAX: usize = ((PORTS.1 - PORTS.0 + 1) / 4) as usize;
/// How long it may take to begin, in tries of [`PATIENCE`].
const STARTS_WITHIN: u32 = 100;
/// How long an answer may take before it is asked for again.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often it is asked.
const TRIES: u32 = 20;

/// A running rtpengine. It ends with this.
pub(super) struct Rtpengine {
    child: Child,
    control: UdpSocket,
    cookie: u64,
    /// Of all calls of this run.
    pub(super) targets: Vec<SocketAddr>,
}

impl Drop for Rtpengine {
    fn drop(&mut self) {
        // A bench that ends early must not leave it behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Rtpengine {
    /// Starts it in user space with one worker on the measured core. `None`: it is not installed.
    ///
    /// # Errors
    /// It cannot be started, or does not answer.
    pub(super) fn start(cores: Cores) -> Result<Option<Self>, BenchError> {
        let control = kit::loopback_socket(256 * 1024)?;
        control.set_nonblocking(false).map_err(BenchError::io("a socket for rtpengine's control"))?;
        control.set_read_timeout(Some(PATIENCE)).map_err(BenchError::io("a socket for rtpengine's control"))?;
        // Free a moment ago; nobody else binds ports of loopback in a bench.
        let port = kit::local(&kit::loopback_socket(4096)?)?.port();
        let spawned = on_core(cores, || {
            Command::new(PROGRAM)
                .args(["--foreground", "--config-file=none", "--table=-1", "--interface=127.0.0.1", "--num-threads=1"])
                .args(["--log-stderr", "--log-level=1"])
                .arg(format!("--listen-ng=127.0.0.1:{port}"))
                .arg(format!("--port-min={}", PORTS.0))
                .arg(format!("--port-max={}", PORTS.1))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        });
        let child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BenchError::io("starting rtpengine")(error)),
        };
        let mut started = Self { child, control, cookie: 0, targets: Vec::new() };
        started.control.connect(("127.0.0.1", port)).map_err(BenchError::io("reaching rtpengine"))?;
        for _ in 0..STARTS_WITHIN {
            if started.ask_once(&dictionary(&[("command", "ping")])).is_ok() {
                return Ok(Some(started));
            }
            if let Ok(Some(status)) = started.child.try_wait() {
                return Err(BenchError::Failed(format!("rtpengine ended as it began: {status}")));
            }
            // A port that nobody listens on is refused at once.
            sys::sleep_until_ns(sys::monotonic_ns() + sys::nanos(PATIENCE / 2));
        }
        Err(BenchError::Failed("rtpengine does not answer".to_owned()))
    }

    /// The process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Relays so many calls between streams that come from, and listen at, `address(0)`, `address(1)`, two for a call. Where
    /// each stream has to send to is in [`Rtpengine::targets`] afterwards.
    ///
    /// # Errors
    /// It refuses a call.
    pub(super) fn relay(
        &mut self,
        calls: usize,
        address: impl Fn(usize) -> Result<SocketAddr, BenchError>,
    ) -> Result<usize, BenchError> {
        let calls = calls.min(CALLS_MAX);
        for call in 0..calls {
            let name = format!("bench-{call}");
            let (caller, called) = (sdp(address(2 * call)?), sdp(address(2 * call + 1)?));
            let common = [("call-id", name.as_str()), ("from-tag", "caller"), ("ICE", "remove")];
            let offer = [&common[..], &[("command", "offer"), ("sdp", caller.as_str())]].concat();
            let toward_called = self.port_of(&offer)?;
            let answer =
                [&common[..], &[("command", "answer"), ("to-tag", "called"), ("sdp", called.as_str())]].concat();
            let toward_caller = self.port_of(&answer)?;
            // The caller sends to what the answer names, the called to what the offer names.
            self.targets.push(toward_caller);
            self.targets.push(toward_called);
        }
        Ok(calls)
    }

    fn port_of(&mut self, pairs: &[(&str, &str)]) -> Result<SocketAddr, BenchError> {
        let request = dictionary(pairs);
        let mut failure = io::Error::from(io::ErrorKind::TimedOut);
        for _ in 0..TRIES {
            match self.ask_once(&request) {
                Ok(answer) => {
                    let port = string(&answer, "sdp").as_deref().and_then(audio_port);
                    return port.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).ok_or_else(|| {
                        let why = string(&answer, "error-reason").unwrap_or_else(|| "no SDP".to_owned());
                        BenchError::Failed(format!("rtpengine refused a call of the bench: {why}"))
                    });
                }
                Err(error) => failure = error,
            }
        }
        Err(BenchError::io("asking rtpengine")(failure))
    }

    /// Asks, and waits a moment for the answer.
    fn ask_once(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        self.cookie += 1;
        let cookie = format!("{} ", self.cookie);
        self.control.send(&[cookie.as_bytes(), request].concat())?;
        let mut buffer = [0; 8_192];
        loop {
            let length = self.control.recv(&mut buffer)?;
            // An answer that came too late has another cookie.
            if let Some(answer) = buffer[..length].strip_prefix(cookie.as_bytes()) {
                return Ok(answer.to_vec());
            }
        }
    }
}

/// What is started meanwhile runs on the measured core.
fn on_core<T>(cores: Cores, start: impl FnOnce() -> T) -> T {
    // Where it cannot be moved, it runs where it can: the report names the cores.
    let _ = sys::pin_to_core(cores.measured);
    let started = start();
    let _ = sys::pin_to_core(cores.other);
    started
}

/// A phone's SDP.
fn sdp(at: SocketAddr) -> String {
    let (ip, port) = (at.ip(), at.port());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n\
         a=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n"
    )
}

fn audio_port(sdp: &str) -> Option<u16> {
    let line = sdp.lines().find_map(|line| line.strip_prefix("m=audio "))?;
    line.split(' ').next()?.parse().ok().filter(|port| *port > 0)
}

/// A bencoded dictionary of strings: its keys stand in order.
fn dictionary(pairs: &[(&str, &str)]) -> Vec<u8> {
    let sorted: BTreeMap<&str, &str> = pairs.iter().copied().collect();
    let mut out = b"d".to_vec();
    for (key, value) in sorted {
        out.extend(format!("{}:{key}{}:{value}", key.len(), value.len()).bytes());
    }
    out.push(b'e');
    out
}

/// The string under a key of a bencoded dictionary, whose other values may be anything.
fn string(bytes: &[u8], wanted: &str) -> Option<String> {
    let mut rest = bytes.strip_prefix(b"d")?;
    while !rest.starts_with(b"e") {
        let (key, after) = item(rest, 0)?;
        let (value, after) = item(after, 0)?;
        if key == Some(wanted.as_bytes()) {
            return value.map(|value| String::from_utf8_lossy(value).into_owned());
        }
        rest = after;
    }
    None
}

/// Values in values that are looked into.
const DEPTH_MAX: usize = 16;

/// The first value: its bytes where it is a string, and what stands behind it.
fn item(bytes: &[u8], depth: usize) -> Option<(Option<&[u8]>, &[u8])> {
    match *bytes.first()? {
        b'i' => {
            let end = bytes.iter().position(|byte| *byte == b'e')?;
            Some((None, &bytes[end + 1..]))
        }
        b'd' | b'l' => {
            let mut rest = bytes.get(1..).filter(|_| depth < DEPTH_MAX)?;
            while *rest.first()? != b'e' {
                rest = item(rest, depth + 1)?.1;
            }
            Some((None, &rest[1..]))
        }
        _ => {
            let colon = bytes.iter().position(|byte| *byte == b':')?;
            let length: usize = std::str::from_utf8(&bytes[..colon]).ok()?.parse().ok()?;
            let (value, after) = bytes[colon + 1..].split_at_checked(length)?;
            Some((Some(value), after))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_it_and_what_it_says_are_bencoded() {
        let said = dictionary(&[("sdp", "v=0"), ("command", "offer"), ("call-id", "a")]);
        assert_eq!(said, b"d7:call-id1:a7:command5:offer3:sdp3:v=0e");
        let answer =
            b"d3:agei5e4:listl1:a1:be6:nestedd3:sdp5:wronge6:result2:ok3:sdp30:v=0\r\nm=audio 20000 RTP/AVP 0\r\ne";
        assert_eq!(string(answer, "result").as_deref(), Some("ok"));
        assert_eq!(string(answer, "sdp").as_deref().and_then(audio_port), Some(20_000));
        assert_eq!(string(answer, "age"), None);
        for cut in 0..answer.len() {
            let _ = string(&answer[..cut], "nothing");
        }
        assert_eq!(string(&[b'l'; 10_000], "sdp"), None);
        assert_eq!(string(&[&b"d1:a"[..], &[b'l'; 10_000]].concat(), "sdp"), None, "too deep");
        assert_eq!(audio_port("m=audio 0 RTP/AVP 0\r\n"), None);
    }
}
