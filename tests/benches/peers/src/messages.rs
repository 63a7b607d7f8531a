//! What is read: messages of our own writing, as carriers and phones send them, plain enough for all three (rsip refuses
//! a Contact with `+sip.instance`, folding and compact names).

/// Name and bytes.
pub fn all() -> [(&'static str, Vec<u8>); 3] {
    [("INVITE from a carrier", invite()), ("200 with SDP", ok()), ("BYE from a phone", bye())]
}

const SDP: &str = "v=0\n\
o=- 3956823921 3956823921 IN IP4 203.0.113.40\n\
s=session\n\
c=IN IP4 203.0.113.40\n\
t=0 0\n\
m=audio 31244 RTP/AVP 8 0 18 101\n\
a=rtpmap:8 PCMA/8000\n\
a=rtpmap:0 PCMU/8000\n\
a=rtpmap:18 G729/8000\n\
a=fmtp:18 annexb=no\n\
a=rtpmap:101 telephone-event/8000\n\
a=fmtp:101 0-15\n\
a=ptime:20\n\
a=sendrecv\n";

fn with_body(head: &str, body: &str) -> Vec<u8> {
    let body = body.replace('\n', "\r\n");
    format!("{}Content-Length: {}\r\n\r\n{body}", head.replace('\n', "\r\n"), body.len()).into_bytes()
}

fn invite() -> Vec<u8> {
    let head = "INVITE sip:95188@198.51.100.7:5060;user=phone SIP/2.0\n\
Via: SIP/2.0/UDP 203.0.113.10:5060;branch=z9hG4bKac1184920371;rport\n\
Via: SIP/2.0/UDP 203.0.113.22:5060;received=203.0.113.22;branch=z9hG4bK-524287-1---9a2b3c4d5e6f7081\n\
Max-Forwards: 68\n\
Record-Route: <sip:203.0.113.10:5060;lr;ftag=as5d2f11c0>\n\
From: \"+8613800138000\" <sip:+8613800138000@ims.example.net;user=phone>;tag=as5d2f11c0\n\
To: <sip:95188@198.51.100.7;user=phone>\n\
Contact: <sip:+8613800138000@203.0.113.22:5060;transport=udp>\n\
Call-ID: 7d0f6c2e4b1a49d8a3c95e0b1f2d3c4a@203.0.113.22\n\
CSeq: 102 INVITE\n\
Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, PUBLISH, MESSAGE, UPDATE, PRACK\n\
Supported: replaces, timer, 100rel, histinfo\n\
Session-Expires: 1800;refresher=uac\n\
Min-SE: 90\n\
P-Asserted-Identity: \"+8613800138000\" <sip:+8613800138000@ims.example.net;user=phone>\n\
P-Charging-Vector: icid-value=\"cscf1.ims.example.net-1654-882311-4\";orig-ioi=ims.example.net\n\
P-Access-Network-Info: 3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=4600123456789abc\n\
Privacy: none\n\
User-Agent: CarrierGateway/12.4.1\n\
Date: Tue, 03 Mar 2026 08:12:44 GMT\n\
Content-Type: application/sdp\n\
Content-Disposition: session\n";
    with_body(head, SDP)
}

fn ok() -> Vec<u8> {
    let head = "SIP/2.0 200 OK\n\
Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK2d4e6f8091a3b5c7;rport=5060;received=198.51.100.7\n\
Record-Route: <sip:203.0.113.10:5060;lr>\n\
From: <sip:95188@198.51.100.7>;tag=8f1e2d3c4b5a6978\n\
To: <sip:1001@203.0.113.80>;tag=1c2928374655\n\
Call-ID: 4f5e6d7c8b9a@198.51.100.7\n\
CSeq: 1 INVITE\n\
Contact: <sip:1001@203.0.113.80:5062;transport=udp>\n\
Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE\n\
User-Agent: Deskphone 7.1.0.45\n\
Supported: replaces, timer\n\
Content-Type: application/sdp\n";
    with_body(head, SDP)
}

fn bye() -> Vec<u8> {
    let head = "BYE sip:95188@198.51.100.7:5060 SIP/2.0\n\
Via: SIP/2.0/UDP 203.0.113.80:5062;branch=z9hG4bK5f6e7d8c9b0a;rport\n\
Max-Forwards: 70\n\
From: <sip:1001@203.0.113.80>;tag=1c2928374655\n\
To: <sip:95188@198.51.100.7>;tag=8f1e2d3c4b5a6978\n\
Call-ID: 4f5e6d7c8b9a@198.51.100.7\n\
CSeq: 2 BYE\n\
User-Agent: Deskphone 7.1.0.45\n";
    with_body(head, "")
}
