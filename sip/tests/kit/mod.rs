//! A stage for one endpoint: a scripted peer says bytes, time is virtual, everything said and told is kept.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses its part")]

use ark_sip::ua::{CallEvent, CallKey, Config, Endpoint, Flow, Incoming, Output, Transport};
use ark_sip::wire::{Message, parse_datagram};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub const OFFER: &str = "v=0\r\no=offer\r\n";
pub const ANSWER: &str = "v=0\r\no=answer\r\n";

/// A message that the endpoint sent.
pub struct Said {
    pub after: Duration,
    pub flow: Flow,
    pub message: Message,
    pub text: String,
}

impl Said {
    /// `INVITE`, `200`...
    pub fn what(&self) -> String {
        match (self.message.method(), self.message.status()) {
            (Some(method), _) => method.to_string(),
            (None, status) => status.unwrap_or(0).to_string(),
        }
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> String {
        self.headers(name).into_iter().next().unwrap_or_default()
    }

    pub fn headers(&self, name: &str) -> Vec<String> {
        let start = format!("{name}: ");
        self.text.lines().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
    }

    pub fn to_tag(&self) -> String {
        let to = self.message.to().unwrap();
        to.tag().map(|tag| String::from_utf8_lossy(tag).into_owned()).unwrap_or_default()
    }

    pub fn caller_tag(&self) -> String {
        let from = self.message.from().unwrap();
        from.tag().map(|tag| String::from_utf8_lossy(tag).into_owned()).unwrap_or_default()
    }

    pub fn uri(&self) -> String {
        String::from_utf8_lossy(self.message.request_uri().unwrap().raw).into_owned()
    }

    /// The response that a peer with this tag gives to this request.
    pub fn reply(&self, status: u16, tag: &str, lines: &str, body: &str) -> String {
        let mut text = format!("SIP/2.0 {status} Whatever\r\n");
        for line in self.text.lines() {
            let echoed = ["Via: ", "From: ", "Call-ID: ", "CSeq: ", "Record-Route: "];
            if echoed.iter().any(|start| line.starts_with(start)) {
                text += &format!("{line}\r\n");
            } else if line.starts_with("To: ") {
                let tag = if tag.is_empty() || line.contains(";tag=") { String::new() } else { format!(";tag={tag}") };
                text += &format!("{line}{tag}\r\n");
            }
        }
        let body_type = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        text + lines + body_type + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
    }
}

/// One endpoint at 10.0.0.1:5060 and a peer at 10.0.0.9:5060.
pub struct Stage {
    pub start: Instant,
    pub now: Instant,
    pub ua: Endpoint,
    pub flow: Flow,
    pub said: VecDeque<Said>,
    pub told: VecDeque<(CallKey, CallEvent)>,
}

impl Stage {
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    #[allow(clippy::disallowed_methods)]
    pub fn with(config: Config) -> Self {
        let now = Instant::now();
        Self {
            start: now,
            now,
            ua: Endpoint::new(config, 42),
            flow: Flow::udp("10.0.0.1:5060".parse().unwrap(), "10.0.0.9:5060".parse().unwrap()),
            said: VecDeque::new(),
            told: VecDeque::new(),
        }
    }

    pub fn tcp() -> Self {
        let mut stage = Self::new();
        stage.flow = Flow { transport: Transport::Tcp, connection: 5, ..stage.flow };
        stage
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.ua.poll() {
            match output {
                Output::Send { flow, bytes } => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let message = parse_datagram(&bytes).unwrap_or_else(|error| panic!("we wrote {error}: {text}"));
                    self.said.push_back(Said { after: self.now - self.start, flow, message, text });
                }
                Output::Call { key, event } => self.told.push_back((key, event)),
            }
        }
    }

    /// The peer says this.
    pub fn hear(&mut self, text: &str) {
        self.hear_on(self.flow, text);
    }

    pub fn hear_on(&mut self, flow: Flow, text: &str) {
        self.ua.receive(self.now, flow, parse_datagram(text.as_bytes()));
        self.drain();
    }

    /// Time passes; every timer fires at its time.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.ua.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.ua.tick(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub fn wait_ms(&mut self, ms: u64) {
        self.wait(Duration::from_millis(ms));
    }

    /// Everything said since the last call, as `200`, `BYE`...
    pub fn whats(&mut self) -> Vec<String> {
        self.drain();
        self.said.drain(..).map(|said| said.what()).collect()
    }

    /// The next thing said.
    pub fn next(&mut self) -> Said {
        self.drain();
        self.said.pop_front().expect("something was said")
    }

    /// The next thing said that is this.
    pub fn next_is(&mut self, what: &str) -> Said {
        let said = self.next();
        assert_eq!(said.what(), what, "{}", said.text);
        said
    }

    /// Nothing more was said or told.
    pub fn silent(&mut self) {
        self.drain();
        let said: Vec<_> = self.said.iter().map(|said| said.text.clone()).collect();
        assert!(said.is_empty(), "{said:#?}");
        assert!(self.told.is_empty(), "{:?}", self.told);
    }

    /// The next thing told.
    pub fn event(&mut self) -> (CallKey, CallEvent) {
        self.drain();
        self.told.pop_front().expect("something was told")
    }

    pub fn incoming(&mut self) -> (CallKey, Box<Incoming>) {
        match self.event() {
            (key, CallEvent::Incoming(incoming)) => (key, incoming),
            (_, other) => panic!("{other:?}"),
        }
    }

    pub fn ended(&mut self) -> ark_sip::ua::EndCause {
        match self.event() {
            (_, CallEvent::Ended { cause }) => cause,
            (_, other) => panic!("{other:?}"),
        }
    }

    /// After this long nothing is left: no call, no transaction, no timer.
    pub fn at_rest_after(&mut self, seconds: u64) {
        self.wait(Duration::from_secs(seconds));
        assert_eq!((self.ua.calls(), self.ua.transactions(), self.ua.deadline()), (0, 0, None));
    }

    pub fn ring(&mut self, key: CallKey, status: u16) {
        self.ua.ring(self.now, key, status, None);
        self.drain();
    }

    pub fn answer(&mut self, key: CallKey) {
        self.ua.answer(self.now, key, ANSWER.as_bytes().to_vec());
        self.drain();
    }

    pub fn hangup(&mut self, key: CallKey) {
        self.ua.hangup(self.now, key, None);
        self.drain();
    }

    /// An answered and acknowledged call from the peer: its key and our tag.
    pub fn up(&mut self) -> (CallKey, String) {
        self.hear(&invite());
        let (key, _) = self.incoming();
        self.answer(key);
        let tag = self.said.back().unwrap().to_tag();
        self.hear(&ack(&tag));
        assert!(matches!(self.event().1, CallEvent::Confirmed { sdp: None }));
        self.said.clear();
        (key, tag)
    }
}

/// A request as the peer writes it, with these header lines beside the usual ones, and this body.
pub fn request(method: &str, branch: &str, to_tag: &str, seq: u32, lines: &str, body: &str) -> String {
    let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    let body_type =
        if body.is_empty() || lines.contains("Content-Type") { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:95188@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9:5060;branch={branch};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"Chen\" <sip:chen@10.0.0.9>;tag=peer\r\nTo: <sip:95188@10.0.0.1>{tag}\r\n\
         Call-ID: call-1\r\nCSeq: {seq} {method}\r\nContact: <sip:chen@10.0.0.9:5060>\r\n{lines}{body_type}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub fn invite() -> String {
    request("INVITE", "z9hG4bKinv", "", 1, "", OFFER)
}

pub fn ack(to_tag: &str) -> String {
    request("ACK", "z9hG4bKack", to_tag, 1, "", "")
}

/// The ACK for a failure: in the INVITE's own transaction.
pub fn ack_failure(to_tag: &str) -> String {
    request("ACK", "z9hG4bKinv", to_tag, 1, "", "")
}

pub fn bye(to_tag: &str, seq: u32) -> String {
    request("BYE", &format!("z9hG4bKbye{seq}"), to_tag, seq, "", "")
}

pub fn cancel() -> String {
    request("CANCEL", "z9hG4bKinv", "", 1, "", "")
}
