//! ark-sip and ark-media: the message is copied once, everything else is read in place.

use ark_sip::wire::{self, HeaderName, Message, StartLine};

use super::{Reading, hash, media_lines};

/// The message, and the media lines as the peers' are read.
pub fn read(bytes: &[u8]) -> Reading {
    let message = wire::parse_datagram(bytes).expect("ark-sip reads it");
    let (media_lines, first_media_port) = media_lines(message.sdp().unwrap_or_default());
    Reading { media_lines, first_media_port, ..ten_values(&message) }
}

/// The message, and all that ark-media reads of its SDP: addresses, codecs, directions.
pub fn read_with_sdp(bytes: &[u8]) -> Reading {
    let message = wire::parse_datagram(bytes).expect("ark-sip reads it");
    let sdp = message.sdp().map(|sdp| ark_media::sdp::parse(sdp).expect("a readable SDP"));
    let media = sdp.as_ref().map_or(&[][..], |sdp| &sdp.media);
    let first_media_port = media.first().map_or(0, |media| media.port);
    Reading { media_lines: media.len(), first_media_port, ..ten_values(&message) }
}

fn ten_values(message: &Message) -> Reading {
    let start = match message.start_line() {
        StartLine::Request { method, .. } => hash(Some(method.as_bytes())),
        StartLine::Response { status, .. } => u64::from(status),
    };
    let cseq = message.cseq().expect("a readable CSeq");
    Reading {
        start,
        // Each was read before the message was accepted.
        vias: message.header_values(HeaderName::Via).count(),
        top_branch: hash(message.top_branch()),
        from_tag: hash(message.from_tag()),
        to_tag: hash(message.to_tag()),
        call_id: hash(message.call_id()),
        cseq: cseq.number,
        cseq_method: hash(Some(cseq.method.as_bytes())),
        contacts: message.contacts().filter(Result::is_ok).count(),
        body_bytes: message.body().len(),
        ..Reading::default()
    }
}
