//! baresip, a softphone that people use, without a screen: its player and microphone are WAV files, its keys come over
//! a control socket.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Process, SOON, TempDir, write_wav};

const MODULES: &[&str] = &["/usr/lib/baresip/modules", "/usr/local/lib/baresip/modules"];

/// A running baresip.
pub struct Baresip {
    /// The program.
    pub process: Process,
    /// Its SIP address.
    pub sip: SocketAddr,
    control: TcpStream,
    buffer: Vec<u8>,
    events: Vec<Value>,
    folder: TempDir,
}

impl Baresip {
    /// Starts it; it says those samples (8 kHz) in a call, and hangs up when they end.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(says: &[i16]) -> Self {
        Self::start_speaking(says, "PCMA/8000/1")
    }

    /// The same, speaking only this codec, named as baresip does: `PCMA/8000/1`, `G722/16000/1`, `opus/48000/2`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_speaking(says: &[i16], codec: &str) -> Self {
        let folder = TempDir::new("baresip");
        let said = folder.path().join("said.wav");
        write_wav(&said, says);
        let sip = free_udp();
        let control = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let control = control.expect("loopback has a free port");
        let modules = MODULES.iter().find(|path| PathBuf::from(path).is_dir()).unwrap_or(&MODULES[0]);
        let config = format!(
            "poll_method epoll\nsip_listen {sip}\nsip_trans_bsize 128\naudio_path {modules}\naudio_source aufile,{}\n\
             audio_player aubridge,heard\naudio_alert aubridge,alert\nausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\n\
             auplay_channels 1\nrtp_tos 184\nrtp_ports 40000-49998\nrtp_timeout 60\nmodule_path {modules}\n\
             snd_path {}\nmodule g711.so\nmodule g722.so\nmodule opus.so\nmodule aufile.so\nmodule aubridge.so\nmodule sndfile.so\nmodule_app account.so\nmodule_app contact.so\n\
             module_app menu.so\nmodule_app ctrl_tcp.so\nctrl_tcp_listen {control}\n",
            said.display(),
            folder.path().display(),
        );
        fs::write(folder.path().join("config"), config).expect("a temporary file");
        let account = format!("<sip:chen@127.0.0.1>;regint=0;audio_codecs={codec};answermode=auto\n");
        fs::write(folder.path().join("accounts"), account).expect("a temporary file");
        fs::write(folder.path().join("contacts"), "").expect("a temporary file");
        let mut command = Command::new("baresip");
        command.arg("-f").arg(folder.path()).current_dir(folder.path());
        let mut process = Process::start("baresip", &mut command);
        let deadline = Instant::now() + SOON;
        let control = loop {
            if let Ok(stream) = TcpStream::connect_timeout(&control, Duration::from_secs(1)) {
                break stream;
            }
            assert!(process.is_running() && Instant::now() < deadline, "baresip does not listen on {control}");
            process.wait_for_news(Duration::from_millis(50));
        };
        Self { process, sip, control, buffer: Vec::new(), events: Vec::new(), folder }
    }

    /// Where what it hears is written while it talks; None before it hears anything.
    pub fn heard(&self) -> Option<PathBuf> {
        let files = fs::read_dir(self.folder.path()).ok()?.flatten().map(|entry| entry.path());
        files.into_iter().find(|path| path.to_string_lossy().ends_with("-dec.wav"))
    }

    /// Gives a command of its menu: `dial`, `hangup`.
    ///
    /// # Panics
    /// When the control socket is gone.
    pub fn command(&mut self, command: &str, parameters: &str) {
        let message = json!({ "command": command, "params": parameters, "token": command }).to_string();
        let netstring = format!("{}:{message},", message.len());
        self.control.write_all(netstring.as_bytes()).expect("baresip's control socket");
    }

    /// Presses a key in the call.
    pub fn press(&mut self, key: char) {
        self.command("sndcode", &key.to_string());
    }

    /// Waits for an event of that type: `CALL_ESTABLISHED`, `CALL_CLOSED`.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn wait_for_event(&mut self, kind: &str, within: Duration) -> Value {
        let deadline = Instant::now() + within;
        loop {
            if let Some(at) = self.events.iter().position(|event| event["type"] == kind) {
                return self.events.remove(at);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "baresip: no {kind} within {within:?}; it said {:?}", self.events);
            self.read(left);
        }
    }

    fn read(&mut self, within: Duration) {
        let _ = self.control.set_read_timeout(Some(within.max(Duration::from_millis(1))));
        let mut bytes = [0; 4_096];
        if let Ok(length) = self.control.read(&mut bytes) {
            assert!(length > 0, "baresip closed its control socket");
            self.buffer.extend_from_slice(&bytes[..length]);
        }
        while let Some(colon) = self.buffer.iter().position(|byte| *byte == b':') {
            let length: usize = String::from_utf8_lossy(&self.buffer[..colon]).trim().parse().expect("a netstring");
            if self.buffer.len() < colon + 1 + length + 1 {
                return;
            }
            let text: Vec<u8> = self.buffer.drain(..colon + length + 2).collect();
            if let Ok(event) = serde_json::from_slice(&text[colon + 1..=colon + length]) {
                self.events.push(event);
            }
        }
    }
}

fn free_udp() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    socket.expect("loopback has a free port")
}
