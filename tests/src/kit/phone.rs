//! A phone of our own: SIP by hand over one UDP socket, G.711 A-law over another, and an ear that knows frequencies.
//!
//! It is written against RFC 3261, not against our machines, so that a mistake of theirs does not cancel out here. Only
//! the reading of messages is ark-sip's, which has tests of its own.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use ark_sip::wire::{Message, parse_datagram};

use super::{SOON, audio::RATE_HZ, dominant_hz, phone_media::Media};

/// How long a request is repeated before the phone gives up (RFC 3261 Timer B).
const GIVE_UP: Duration = Duration::from_secs(32);

/// How a call went, as the caller saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The other side sent BYE.
    TheirBye,
    /// We sent BYE.
    OurBye,
    /// The INVITE ended with this status.
    Refused(u16),
}

/// One side of a dialog as this phone knows it.
#[derive(Clone, Debug)]
struct Dialog {
    peer: SocketAddr,
    call_id: String,
    /// Ours with tag, theirs with tag, as they stand in requests that we send.
    local: String,
    remote: String,
    target: String,
    cseq: u32,
    /// The INVITE we sent, to be repeated in its ACK and CANCEL; None when we were called.
    invite: Option<Invite>,
}

#[derive(Clone, Debug)]
struct Invite {
    uri: String,
    branch: String,
    cseq: u32,
}

/// A softphone on loopback. It is hung up, if need be, when it is dropped.
pub struct Phone {
    name: String,
    socket: UdpSocket,
    media: Media,
    dialog: Option<Dialog>,
    ended: Option<Ended>,
    /// What is answered to an INVITE repeated by the caller: our last response to it.
    last_answer: Option<(String, Vec<u8>)>,
    count: u32,
    /// 2xx responses to our INVITE, repetitions included.
    pub answers: u32,
}

impl Phone {
    /// A phone with that user part.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub fn new(name: &str) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        Self {
            name: name.into(),
            socket,
            media: Media::start(),
            dialog: None,
            ended: None,
            last_answer: None,
            count: 0,
            answers: 0,
        }
    }

    /// Where it can be called.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket has an address")
    }

    /// Its SIP URI.
    pub fn uri(&self) -> String {
        format!("sip:{}@{}", self.name, self.address())
    }

    /// Calls and waits for the answer.
    ///
    /// # Panics
    /// When the call is refused or nothing is heard in time.
    pub fn call(&mut self, gateway: SocketAddr, number: &str) {
        self.invite(gateway, number, true);
        let status = self.final_status(SOON);
        assert_eq!(status, 200, "{number} was refused");
        self.ack(None);
    }

    /// Sends an INVITE, with an offer or without, and returns at once.
    pub fn invite(&mut self, gateway: SocketAddr, number: &str, with_offer: bool) {
        let (call_id, tag) = (self.token("call"), self.token("tag"));
        let uri = format!("sip:{number}@{gateway}");
        let invite = Invite { uri: uri.clone(), branch: self.branch(), cseq: 1 };
        self.dialog = Some(Dialog {
            peer: gateway,
            call_id,
            local: format!("<{}>;tag={tag}", self.uri()),
            remote: format!("<{uri}>"),
            target: uri,
            cseq: 1,
            invite: Some(invite),
        });
        self.ended = None;
        self.send_invite(with_offer);
    }

    /// Sends the INVITE as it stands; the same again is a repetition.
    pub fn send_invite(&mut self, with_offer: bool) {
        let body = with_offer.then(|| self.media.sdp("sendrecv"));
        let invite = self.dialog().invite.clone().expect("we called");
        self.request("INVITE", &invite.uri, &invite.branch, invite.cseq, "", body.as_deref());
    }

    /// CANCEL of the INVITE that is under way (RFC 3261 9.1).
    pub fn cancel(&mut self) {
        let invite = self.dialog().invite.clone().expect("we called");
        self.request("CANCEL", &invite.uri, &invite.branch, invite.cseq, "", None);
    }

    /// Waits for the final response to our INVITE. A refusal is ACKed here; a 2xx waits for [`Phone::ack`].
    ///
    /// # Panics
    /// When none comes in time.
    pub fn final_status(&mut self, within: Duration) -> u16 {
        let response = self.response_to("INVITE", within, |status| status >= 200);
        let status = response.status().expect("a response");
        self.learn(&response);
        if status >= 300 {
            let invite = self.dialog().invite.clone().expect("we called");
            self.request("ACK", &invite.uri, &invite.branch, invite.cseq, "", None);
            self.ended = Some(Ended::Refused(status));
        } else {
            self.talk(&response);
        }
        status
    }

    /// Waits until the far side rings.
    ///
    /// # Panics
    /// When no provisional response above 100 comes in time.
    pub fn wait_for_ringing(&mut self, within: Duration) -> u16 {
        let response = self.response_to("INVITE", within, |status| (101..200).contains(&status));
        response.status().expect("a response")
    }

    /// ACK of a 2xx, with the answer of an INVITE that had no offer.
    pub fn ack(&mut self, sdp: Option<&str>) {
        let (target, cseq) = (self.dialog().target.clone(), self.dialog().invite.as_ref().map_or(1, |one| one.cseq));
        let branch = self.branch();
        self.request("ACK", &target, &branch, cseq, "", sdp);
    }

    /// The SDP that this phone would send now.
    pub fn sdp(&self, direction: &str) -> String {
        self.media.sdp(direction)
    }

    /// A re-INVITE with that direction (`sendonly` is hold); returns the SDP of the answer.
    ///
    /// # Panics
    /// When it is refused or not answered in time.
    pub fn reinvite(&mut self, direction: &str) -> String {
        let body = self.media.sdp(direction);
        let branch = self.branch();
        let dialog = self.dialog_mut();
        dialog.cseq += 1;
        let (target, cseq) = (dialog.target.clone(), dialog.cseq);
        dialog.invite = Some(Invite { uri: target.clone(), branch: branch.clone(), cseq });
        self.request("INVITE", &target, &branch, cseq, "", Some(&body));
        let response = self.response_to("INVITE", SOON, |status| status >= 200);
        assert_eq!(response.status(), Some(200), "the re-INVITE was refused");
        self.talk(&response);
        self.ack(None);
        String::from_utf8_lossy(response.sdp().unwrap_or_default()).into_owned()
    }

    /// A key as RFC 4733 events, 120 ms long; returns when the last packet is out.
    ///
    /// # Panics
    /// When the media thread is gone.
    pub fn press(&self, key: char) {
        self.media.press(key, SOON);
    }

    /// A key by SIP INFO (`application/dtmf-relay`); returns the status of its answer.
    ///
    /// # Panics
    /// When it is not answered in time.
    pub fn press_by_info(&mut self, key: char) -> u16 {
        let body = format!("Signal={key}\r\nDuration=160\r\n");
        let dialog = self.dialog_mut();
        dialog.cseq += 1;
        let (target, cseq) = (dialog.target.clone(), dialog.cseq);
        let branch = self.branch();
        self.request_with("INFO", &target, &branch, cseq, "", Some(("application/dtmf-relay", &body)));
        let response = self.response_to("INFO", SOON, |status| status >= 200);
        response.status().expect("a response")
    }

    /// Says a tone from now on; None says silence.
    pub fn say(&self, hz: Option<f64>) {
        self.media.say(hz);
    }

    /// Says this once, 8 kHz, before any tone; when it begins, in samples since the phone's first packet.
    pub fn speak(&self, pcm: &[i16]) -> u64 {
        self.media.speak(pcm)
    }

    /// Stays in the call until all that was to be said is said.
    ///
    /// # Panics
    /// When it is not said in time.
    pub fn wait_until_said(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        while !self.media.has_spoken() {
            assert!(Instant::now() < deadline, "{}: it has not said everything", self.name);
            self.media.wait_for_news(Duration::from_millis(50));
            self.serve(Duration::ZERO);
        }
    }

    /// Waits until this frequency, and nothing else, is heard for 300 ms.
    ///
    /// # Panics
    /// When it is not heard in time.
    pub fn wait_to_hear(&mut self, hz: f64, within: Duration) {
        let heard = |pcm: &[i16]| last(pcm, 300).and_then(|pcm| dominant_hz(pcm, RATE_HZ));
        let found = self.listen(within, |pcm| heard(pcm).is_some_and(|found| (found - hz).abs() <= 10.0));
        assert!(found, "{}: {hz} Hz is not heard, but {:?} Hz", self.name, heard(&self.media.heard()));
    }

    /// Waits until nothing is heard for 300 ms.
    ///
    /// # Panics
    /// When the sound goes on.
    pub fn wait_for_silence(&mut self, within: Duration) {
        let quiet = |pcm: &[i16]| last(pcm, 300).is_some_and(|pcm| pcm.iter().all(|sample| sample.abs() < 100));
        assert!(self.listen(within, quiet), "{}: it is not silent", self.name);
    }

    /// Waits until the other side pressed that key (RFC 4733).
    ///
    /// # Panics
    /// When it does not in time.
    pub fn wait_for_key(&mut self, key: char, within: Duration) {
        let deadline = Instant::now() + within;
        while !self.media.keys().contains(&key) {
            assert!(Instant::now() < deadline, "{}: no key {key}, but {:?}", self.name, self.media.keys());
            self.media.wait_for_news(Duration::from_millis(50));
            self.serve(Duration::ZERO);
        }
    }

    /// How long after the last key began to be sent the last packet with this frequency arrived here; zero when none
    /// did.
    ///
    /// # Panics
    /// When no key was pressed.
    pub fn heard_after_key(&self, hz: f64) -> Duration {
        self.media.heard_after_key(hz)
    }

    /// Where this phone's voice goes.
    ///
    /// # Panics
    /// When no call is up.
    pub fn far_rtp(&self) -> SocketAddr {
        self.media.remote().expect("a call is up")
    }

    /// The keys that the other side pressed (RFC 4733), in order.
    pub fn keys(&self) -> Vec<char> {
        self.media.keys()
    }

    /// Sends no more voice, as a phone whose power is gone.
    pub fn fall_silent(&self) {
        self.media.stop();
    }

    /// Everything heard so far, 8 kHz.
    pub fn heard(&self) -> Vec<i16> {
        self.media.heard()
    }

    /// RTP packets that came.
    pub fn packets(&self) -> u64 {
        self.media.packets()
    }

    /// Waits until so many RTP packets have come in all.
    ///
    /// # Panics
    /// When they do not come in time.
    pub fn wait_for_packets(&mut self, packets: u64, within: Duration) {
        let deadline = Instant::now() + within;
        while self.media.packets() < packets {
            assert!(Instant::now() < deadline, "{}: {} RTP packets", self.name, self.media.packets());
            self.media.wait_for_news(Duration::from_millis(50));
            self.serve(Duration::ZERO);
        }
    }

    /// Stays in the call for that long: speech takes its time. Returns early when the other side hangs up.
    pub fn talk_for(&mut self, length: Duration) {
        let until = Instant::now() + length;
        while Instant::now() < until && self.ended.is_none() {
            self.serve(until - Instant::now());
        }
    }

    fn listen(&mut self, within: Duration, mut enough: impl FnMut(&[i16]) -> bool) -> bool {
        let deadline = Instant::now() + within;
        loop {
            if enough(&self.media.heard()) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            self.media.wait_for_news(Duration::from_millis(50));
            self.serve(Duration::ZERO);
        }
    }

    /// BYE, and its answer.
    ///
    /// # Panics
    /// When nothing answers in time.
    pub fn hang_up(&mut self) {
        let dialog = self.dialog_mut();
        dialog.cseq += 1;
        let (target, cseq) = (dialog.target.clone(), dialog.cseq);
        let branch = self.branch();
        self.request("BYE", &target, &branch, cseq, "", None);
        let status = self.response_to("BYE", SOON, |status| status >= 200).status();
        assert!(matches!(status, Some(200 | 481)), "BYE was answered {status:?}");
        self.ended = Some(Ended::OurBye);
        self.media.stop();
    }

    /// Waits for the end of the call from the other side.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn wait_for_the_end(&mut self, within: Duration) -> Ended {
        let deadline = Instant::now() + within;
        while self.ended.is_none() {
            assert!(Instant::now() < deadline, "{}: no BYE within {within:?}", self.name);
            self.serve(deadline - Instant::now());
        }
        self.ended.clone().expect("it was just looked at")
    }

    /// How the call ended, if it did; reads what has come.
    pub fn ended(&mut self) -> Option<Ended> {
        self.serve(Duration::ZERO);
        self.ended.clone()
    }

    /// Waits to be called and rings (180).
    ///
    /// # Panics
    /// When nobody calls in time.
    pub fn wait_to_be_called(&mut self, within: Duration) -> Message {
        let deadline = Instant::now() + within;
        loop {
            let Some((message, peer)) = self.receive(deadline) else { panic!("{}: nobody called", self.name) };
            if !is(&message, "INVITE") {
                self.answer_request(&message, peer);
                continue;
            }
            let tag = self.token("tag");
            let text = |name: &str| header(&message, name);
            self.dialog = Some(Dialog {
                peer,
                call_id: text("Call-ID"),
                local: format!("{};tag={tag}", text("To")),
                remote: text("From"),
                target: contact_uri(&message).expect("an INVITE has a Contact"),
                cseq: 100,
                invite: None,
            });
            self.ended = None;
            self.respond(&message, peer, 180, "Ringing", None);
            return message;
        }
    }

    /// Answers the call that rings and waits for the ACK.
    ///
    /// # Panics
    /// When no ACK comes in time.
    pub fn answer(&mut self, invite: &Message) {
        let peer = self.dialog().peer;
        self.talk(invite);
        let body = self.media.sdp("sendrecv");
        self.respond(invite, peer, 200, "OK", Some(&body));
        let deadline = Instant::now() + SOON;
        loop {
            let Some((message, peer)) = self.receive(deadline) else { panic!("{}: no ACK", self.name) };
            if is(&message, "ACK") {
                return;
            }
            self.answer_request(&message, peer);
        }
    }

    /// Refuses the call that rings.
    pub fn refuse(&mut self, invite: &Message, status: u16) {
        let peer = self.dialog().peer;
        self.respond(invite, peer, status, "No", None);
        self.ended = Some(Ended::Refused(status));
    }

    /// Answers what has come and what comes within that time.
    fn serve(&mut self, within: Duration) {
        // A slice, so that a waiting caller can look at its own deadline.
        let deadline = Instant::now() + within.min(Duration::from_millis(100));
        while let Some((message, peer)) = self.receive(deadline) {
            self.answer_request(&message, peer);
        }
    }

    fn answer_request(&mut self, message: &Message, peer: SocketAddr) {
        if !message.is_request() {
            if message.status() == Some(200) && header(message, "CSeq").ends_with("INVITE") {
                self.answers += 1;
            }
            return;
        }
        if is(message, "BYE") {
            self.respond(message, peer, 200, "OK", None);
            if self.ended.is_none() && header(message, "Call-ID") == self.dialog().call_id {
                self.ended = Some(Ended::TheirBye);
                self.media.stop();
            }
        } else if is(message, "CANCEL") {
            self.respond(message, peer, 200, "OK", None);
            self.ended = Some(Ended::Refused(487));
        } else if is(message, "INVITE") {
            let again = self.last_answer.as_ref().filter(|(branch, _)| *branch == top_branch(message));
            if let Some((_, bytes)) = again.cloned() {
                let _ = self.socket.send_to(&bytes, peer);
            } else {
                self.talk(message);
                let body = self.media.sdp("sendrecv");
                self.respond(message, peer, 200, "OK", Some(&body));
            }
        } else if !is(message, "ACK") {
            self.respond(message, peer, 200, "OK", None);
        }
    }

    /// The next message before the deadline.
    fn receive(&self, deadline: Instant) -> Option<(Message, SocketAddr)> {
        let mut bytes = [0; 65_535];
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).expect("a timeout above zero");
            match self.socket.recv_from(&mut bytes) {
                Ok((length, peer)) => {
                    if let Ok(message) = parse_datagram(&bytes[..length]) {
                        return Some((message, peer));
                    }
                }
                Err(_) if Instant::now() >= deadline => return None,
                Err(_) => {}
            }
        }
    }

    fn response_to(&mut self, method: &str, within: Duration, wanted: impl Fn(u16) -> bool) -> Message {
        let deadline = Instant::now() + within.min(GIVE_UP);
        loop {
            let Some((message, peer)) = self.receive(deadline) else {
                panic!("{}: no answer to {method} within {within:?}", self.name)
            };
            let ours = message.status().filter(|_| header(&message, "CSeq").ends_with(method));
            let ours = ours.filter(|_| header(&message, "Call-ID") == self.dialog().call_id);
            match ours {
                Some(status) if wanted(status) => {
                    self.answers += u32::from(method == "INVITE" && status == 200);
                    return message;
                }
                _ => self.answer_request(&message, peer),
            }
        }
    }

    /// Takes over the other side's tag and Contact.
    fn learn(&mut self, response: &Message) {
        let (to, target) = (header(response, "To"), contact_uri(response));
        let dialog = self.dialog_mut();
        dialog.remote = to;
        if let Some(target) = target {
            dialog.target = target;
        }
    }

    /// Sends media to where the SDP says.
    fn talk(&mut self, message: &Message) {
        let Some(sdp) = message.sdp() else { return };
        let text = String::from_utf8_lossy(sdp);
        let address = text.lines().find_map(|line| line.strip_prefix("c=IN IP4 ")?.trim().parse::<IpAddr>().ok());
        let port = text.lines().find_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse::<u16>().ok());
        if let (Some(address), Some(port)) = (address, port) {
            self.media.talk(SocketAddr::new(address, port));
        }
    }

    fn request(&self, method: &str, uri: &str, branch: &str, cseq: u32, extra: &str, sdp: Option<&str>) {
        self.request_with(method, uri, branch, cseq, extra, sdp.map(|sdp| ("application/sdp", sdp)));
    }

    fn request_with(&self, method: &str, uri: &str, branch: &str, cseq: u32, extra: &str, body: Option<(&str, &str)>) {
        let dialog = self.dialog();
        // CANCEL and the ACK of a refusal go where the INVITE went; the rest inside the dialog.
        let (kind, text) = body.unwrap_or_default();
        let content = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        let message = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={branch};rport\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: \
             {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\nContact: <{}>\r\nUser-Agent: ark-tests\r\n{extra}{content}\
             Content-Length: {}\r\n\r\n{text}",
            self.address(),
            dialog.local,
            dialog.remote,
            dialog.call_id,
            self.uri(),
            text.len()
        );
        self.socket.send_to(message.as_bytes(), dialog.peer).expect("loopback carries a datagram");
    }

    fn respond(&mut self, request: &Message, peer: SocketAddr, status: u16, reason: &str, sdp: Option<&str>) {
        let mut to = header(request, "To");
        if !to.contains(";tag=") {
            to = self.dialog.as_ref().map_or(to, |dialog| dialog.local.clone());
        }
        let vias: String =
            request.vias().flatten().map(|via| format!("Via: {}\r\n", String::from_utf8_lossy(via.raw))).collect();
        let content = if sdp.is_some() { "Content-Type: application/sdp\r\n" } else { "" };
        let body = sdp.unwrap_or_default();
        let message = format!(
            "SIP/2.0 {status} {reason}\r\n{vias}From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <{}>\r\n\
             {content}Content-Length: {}\r\n\r\n{body}",
            header(request, "From"),
            header(request, "Call-ID"),
            header(request, "CSeq"),
            self.uri(),
            body.len()
        );
        if is(request, "INVITE") {
            self.last_answer = Some((top_branch(request), message.clone().into_bytes()));
        }
        let _ = self.socket.send_to(message.as_bytes(), peer);
    }

    fn dialog(&self) -> &Dialog {
        self.dialog.as_ref().expect("a call was begun")
    }

    fn dialog_mut(&mut self) -> &mut Dialog {
        self.dialog.as_mut().expect("a call was begun")
    }

    fn branch(&mut self) -> String {
        format!("z9hG4bK{}", self.token("b"))
    }

    /// Unique among all phones of all tests that run now.
    fn token(&mut self, word: &str) -> String {
        self.count += 1;
        format!("{word}-{}-{}-{}", std::process::id(), self.address().port(), self.count)
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.media.stop();
    }
}

/// The last so many milliseconds; None while there are fewer.
fn last(pcm: &[i16], milliseconds: usize) -> Option<&[i16]> {
    let samples = milliseconds * RATE_HZ as usize / 1_000;
    pcm.len().checked_sub(samples).map(|from| &pcm[from..])
}

fn is(message: &Message, method: &str) -> bool {
    message.method().is_some_and(|found| found.as_bytes() == method.as_bytes())
}

fn header(message: &Message, name: &str) -> String {
    let value = message.header_lines().find(|(found, _)| found.as_bytes().eq_ignore_ascii_case(name.as_bytes()));
    value.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

fn contact_uri(message: &Message) -> Option<String> {
    let contact = message.contacts().next()?.ok()?;
    Some(String::from_utf8_lossy(contact.uri_raw).into_owned())
}

fn top_branch(message: &Message) -> String {
    let via = message.top_via().and_then(Result::ok);
    via.and_then(|via| via.branch()).map(|branch| String::from_utf8_lossy(branch).into_owned()).unwrap_or_default()
}
