//! rsipstack 0.7: message, then typed Via, From, To, CSeq and Contact.

use rsipstack::sip::{
    Header, SipMessage,
    prelude::{HasHeaders, HeadersExt, ToTypedHeader},
};

use super::{Reading, hash, media_lines};

pub fn read(bytes: &[u8]) -> Reading {
    let message = SipMessage::try_from(bytes).expect("rsipstack reads it");
    let (start, body) = match &message {
        SipMessage::Request(request) => (hash(Some(request.method.to_string().as_bytes())), request.body()),
        SipMessage::Response(response) => (u64::from(u16::from(response.status_code.clone())), response.body()),
    };
    let vias = message.headers().iter().filter(|header| matches!(header, Header::Via(_))).count();
    let via = message.via_header().expect("Via").typed().expect("a readable Via");
    let from = message.from_header().expect("From").typed().expect("a readable From");
    let to = message.to_header().expect("To").typed().expect("a readable To");
    let cseq = message.cseq_header().expect("CSeq").typed().expect("a readable CSeq");
    let contacts = message.typed_contact_headers().expect("readable Contacts").len();
    let (media_lines, first_media_port) = media_lines(body);
    Reading {
        start,
        vias,
        top_branch: hash(via.branch().map(|branch| branch.value().as_bytes())),
        from_tag: hash(from.tag().map(|tag| tag.value().as_bytes())),
        to_tag: hash(to.tag().map(|tag| tag.value().as_bytes())),
        call_id: hash(Some(message.call_id_header().expect("Call-ID").value().as_bytes())),
        cseq: cseq.seq,
        cseq_method: hash(Some(cseq.method.to_string().as_bytes())),
        contacts,
        body_bytes: body.len(),
        media_lines,
        first_media_port,
    }
}
