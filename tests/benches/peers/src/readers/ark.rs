//! ark-sip and ark-media: the message is copied once, everything else is read in place.

use ark_sip::wire::{self, StartLine};

use super::{Reading, hash};

pub fn read(bytes: &[u8]) -> Reading {
    let message = wire::parse_datagram(bytes).expect("ark-sip reads it");
    let start = match message.start_line() {
        StartLine::Request { method, .. } => hash(Some(method.as_bytes())),
        StartLine::Response { status, .. } => u64::from(status),
    };
    let from = message.from().expect("a readable From");
    let to = message.to().expect("a readable To");
    let cseq = message.cseq().expect("a readable CSeq");
    let top = message.top_via().expect("Via").expect("a readable Via");
    let sdp = message.sdp().map(|sdp| ark_media::sdp::parse(sdp).expect("a readable SDP"));
    let media = sdp.as_ref().map_or(&[][..], |sdp| &sdp.media);
    Reading {
        start,
        vias: message.vias().filter(Result::is_ok).count(),
        top_branch: hash(top.branch()),
        from_tag: hash(from.tag()),
        to_tag: hash(to.tag()),
        call_id: hash(message.call_id()),
        cseq: cseq.number,
        cseq_method: hash(Some(cseq.method.as_bytes())),
        contacts: message.contacts().filter(Result::is_ok).count(),
        body_bytes: message.body().len(),
        media_lines: media.len(),
        first_media_port: media.first().map_or(0, |media| media.port),
    }
}
