//! What a complete call costs in one thread: INVITE, 200, ACK, BYE with SDP through an [`Endpoint`], parsing included;
//! and what a refusal costs while it is overloaded.
//! Try it: `cargo run --release -p ark-sip --example ua_calls`
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench measures time and says what it saw")]

use ark_sip::ua::{CallEvent, Config, Endpoint, Flow, Output};
use ark_sip::wire::parse_datagram;
use std::time::{Duration, Instant};

const CALLS: u32 = 100_000;
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\n\
                   m=audio 4000 RTP/AVP 8 0 101\r\n\
                   a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n";

fn request(method: &str, n: u32, tag: &str, seq: u32, body: &str) -> String {
    let tag = if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
    format!(
        "{method} sip:95188@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK{method}{n};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"Chen\" <sip:chen@10.0.0.9>;tag=peer{n}\r\nTo: <sip:95188@10.0.0.1>{tag}\r\n\
         Call-ID: call-{n}\r\nCSeq: {seq} {method}\r\nContact: <sip:chen@10.0.0.9:5060>\r\n\
         Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE\r\nUser-Agent: bench\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn main() {
    let flow = Flow::udp(([10, 0, 0, 1], 5060).into(), ([10, 0, 0, 9], 5060).into());
    let mut endpoint = Endpoint::new(Config::default(), 1);
    let start = Instant::now();
    let mut now = start;
    let mut spent = Duration::ZERO;
    for n in 0..CALLS {
        now += Duration::from_micros(500); // 2,000 calls a second of virtual time: timers and tables as under load
        let invite = request("INVITE", n, "", 1, SDP);
        let began = Instant::now();
        endpoint.receive(now, flow, parse_datagram(invite.as_bytes()));
        let mut ok = Vec::new();
        while let Some(output) = endpoint.poll() {
            match output {
                Output::Call { key, event: CallEvent::Incoming(_) } => endpoint.answer(now, key, SDP.into()),
                Output::Send { bytes, .. } => ok = bytes,
                Output::Call { .. } => {}
            }
        }
        spent += began.elapsed();
        let tag = parse_datagram(&ok).ok().and_then(|ok| {
            let tag = ok.to().ok()?.tag()?.to_vec();
            String::from_utf8(tag).ok()
        });
        let tag = tag.expect("the 200 has a tag");
        let (ack, bye) = (request("ACK", n, &tag, 1, ""), request("BYE", n, &tag, 2, ""));
        let began = Instant::now();
        for text in [ack, bye] {
            endpoint.receive(now, flow, parse_datagram(text.as_bytes()));
            while endpoint.poll().is_some() {}
        }
        if endpoint.deadline().is_some_and(|at| at <= now) {
            endpoint.tick(now);
            while endpoint.poll().is_some() {}
        }
        spent += began.elapsed();
    }
    let per_call = spent.as_secs_f64() * 1e6 / f64::from(CALLS);
    println!("a complete call: {per_call:.1} us ({CALLS} calls, {} transactions linger)", endpoint.transactions());
    println!("an ended call keeps {} bytes", endpoint.memory_bytes() * 2 / endpoint.transactions().max(1));

    endpoint.set_overloaded(now, Some(Duration::from_secs(10)));
    let invites: Vec<_> = (0..CALLS).map(|n| request("INVITE", CALLS + n, "", 1, SDP)).collect();
    let began = Instant::now();
    for text in &invites {
        endpoint.receive(now, flow, parse_datagram(text.as_bytes()));
        while endpoint.poll().is_some() {}
    }
    let each = began.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS);
    println!("a refusal while overloaded, parsed: {each:.2} us");
    let began = Instant::now();
    let mut shed = 0;
    for text in &invites {
        shed += u32::from(endpoint.shed(now, flow, text.as_bytes()));
        while endpoint.poll().is_some() {}
    }
    let each = began.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS);
    println!("a refusal while overloaded, unparsed: {each:.2} us ({shed} of {CALLS})");
}
