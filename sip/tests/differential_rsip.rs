//! What rsip can read, it and we read alike: long names, IPv4 and host names, sip URIs, one value to a line.
//! Generated messages; whatever rsip refuses of them is counted, so that the comparison cannot become empty unseen.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

use ark_sip::Report;
use ark_sip::wire::parse_datagram;
use rsip::prelude::{HasHeaders, HeadersExt, ToTypedHeader};

/// A generator of its own (SplitMix64), so that a seed tells everything.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn token(&mut self) -> String {
        let length = 1 + self.below(12);
        (0..length).map(|_| self.pick(&["a", "Z", "7", "-", ".", "x", "q", "0"])).collect()
    }
}

fn host(random: &mut Random) -> String {
    let name = random.pick(&["192.0.2.7", "hotline.example", "a-b.ark.test", "10.0.0.1"]);
    if random.below(2) == 0 { name.to_owned() } else { format!("{name}:{}", 1024 + random.below(60_000)) }
}

fn address(random: &mut Random, tag: bool) -> String {
    let name = random.pick(&["", "Chen ", "\"Chen Xiao\" ", "\"hotline\" "]);
    let params = random.pick(&["", ";transport=udp", ";user=phone", ";lr"]);
    let tag = if tag { format!(";tag={}", random.token()) } else { String::new() };
    format!("{name}<sip:{}@{}{params}>{tag}", random.token(), host(random))
}

fn message(random: &mut Random) -> String {
    let method = random.pick(&["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "INFO", "UPDATE", "MESSAGE"]);
    let mut text = if random.below(3) == 0 {
        format!("SIP/2.0 {} fine\r\n", random.pick(&["100", "180", "200", "302", "404", "486", "503", "603"]))
    } else {
        format!("{method} sip:{}@{} SIP/2.0\r\n", random.token(), host(random))
    };
    let mut lines = Vec::new();
    for _ in 0..=random.below(3) {
        let transport = random.pick(&["UDP", "TCP", "TLS"]);
        let extra = random.pick(&["", ";rport", ";received=192.0.2.9"]);
        lines.push(format!("Via: SIP/2.0/{transport} {};branch=z9hG4bK{}{extra}", host(random), random.token()));
    }
    lines.push(format!("From: {}", address(random, true)));
    let tagged = random.below(2) == 0;
    lines.push(format!("To: {}", address(random, tagged)));
    lines.push(format!("Call-ID: {}@{}", random.token(), random.token()));
    lines.push(format!("CSeq: {} {method}", random.below(1 << 31)));
    lines.push(format!("Max-Forwards: {}", random.below(71)));
    for _ in 0..random.below(3) {
        lines.push(format!("Contact: {}", address(random, false)));
    }
    if random.below(2) == 0 {
        lines.push(format!("X-{}: {}", random.token(), random.token()));
    }
    let body = if random.below(2) == 0 { String::new() } else { format!("v=0\r\n\r\ns={}\r\n", random.token()) };
    lines.push(format!("Content-Length: {}", body.len()));
    for line in lines {
        text.push_str(&line);
        text.push_str("\r\n");
    }
    text + "\r\n" + &body
}

/// The values as rsip reads them; None where rsip itself cannot.
fn theirs(text: &str) -> Option<Report> {
    let message = rsip::SipMessage::try_from(text).ok()?;
    let start = match &message {
        rsip::SipMessage::Request(request) => ark_sip::ReportStart::Request(request.method.to_string()),
        rsip::SipMessage::Response(response) => ark_sip::ReportStart::Response(response.status_code.code()),
    };
    let cseq = message.cseq_header().ok()?.typed().ok()?;
    let count = |is: fn(&rsip::Header) -> bool| message.headers().iter().filter(|header| is(header)).count();
    Some(Report {
        start,
        vias: count(|header| matches!(header, rsip::Header::Via(_))),
        top_branch: message.via_header().ok()?.typed().ok()?.branch().map(|branch| branch.value().to_owned()),
        from_tag: message.from_header().ok()?.typed().ok()?.tag().map(|tag| tag.value().to_owned()),
        to_tag: message.to_header().ok()?.typed().ok()?.tag().map(|tag| tag.value().to_owned()),
        call_id: Some(rsip::prelude::UntypedHeader::value(message.call_id_header().ok()?).to_owned()),
        cseq: Some(cseq.seq),
        cseq_method: Some(cseq.method.to_string()),
        contacts: count(|header| matches!(header, rsip::Header::Contact(_))),
        body_bytes: message.body().len(),
    })
}

#[test]
fn where_rsip_reads_a_message_both_read_the_same() {
    const MESSAGES: u64 = 5_000;
    let mut compared = 0;
    for seed in 0..MESSAGES {
        let text = message(&mut Random(seed));
        let ours = parse_datagram(text.as_bytes()).unwrap_or_else(|error| panic!("{error} (seed {seed})\n{text}"));
        if let Some(theirs) = theirs(&text) {
            assert_eq!(Report::of(&ours), theirs, "(seed {seed})\n{text}");
            assert!(text.as_bytes().ends_with(ours.body()) && ours.raw().len() == text.len(), "(seed {seed})");
            compared += 1;
        }
    }
    assert!(compared > MESSAGES * 9 / 10, "rsip read {compared} of {MESSAGES}");
}
