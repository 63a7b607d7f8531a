//! The cheapest refusal there is: a 503 made from the bytes of an INVITE that is not even parsed.

use super::{Endpoint, Flow, Output};
use crate::dialog::is_unicast;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::tx::matching::Domain;
use std::net::SocketAddr;
use std::time::Instant;

/// The header lines of an INVITE that its refusal echoes.
#[derive(Default)]
struct Echo<'a> {
    vias: Vec<&'a [u8]>,
    from: &'a [u8],
    to: &'a [u8],
    call_id: &'a [u8],
    cseq: &'a [u8],
}

impl Endpoint {
    /// To be asked before the parser while new calls are refused ([`Self::set_overloaded`], [`Self::set_draining`]):
    /// whether these bytes are a new INVITE that was refused here and now, at a third of the price. `false`: parse them,
    /// and [`Self::receive`] decides. Only plain INVITEs on a datagram are taken: long header names, no folds, one Via a
    /// line, no To tag. The answer is the one that `receive` would give, short of its `Server` line and with a To tag of
    /// its own.
    pub fn shed(&mut self, now: Instant, flow: Flow, bytes: &[u8]) -> bool {
        let busy = self.admission.draining || self.admission.overloaded_until.is_some_and(|until| until > now);
        if !busy || flow.transport.reliable() || !bytes.starts_with(b"INVITE ") || bytes.len() > MESSAGE_BYTES_MAX {
            return false;
        }
        if !is_unicast(flow.remote.ip()) || flow.remote.port() == 0 {
            return false;
        }
        let Some(echo) = scan(bytes) else { return false };
        let Some((remote, first_via)) = route(echo.vias[0], flow.remote) else { return false };
        let Some(left) = self.closed(now) else { return false };
        self.stats.requests_received += 1;
        let tag =
            self.fingerprinter.of(Domain::StatelessTag, &[echo.vias[0], echo.call_id, echo.from, echo.cseq]) as u64;
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(b"SIP/2.0 503 Service Unavailable\r\n");
        push(&mut out, b"Via: ", first_via.as_bytes());
        for via in &echo.vias[1..] {
            push(&mut out, b"Via: ", via);
        }
        push(&mut out, b"From: ", echo.from);
        push(&mut out, b"To: ", &[echo.to, format!(";tag={tag:016x}").as_bytes()].concat());
        push(&mut out, b"Call-ID: ", echo.call_id);
        push(&mut out, b"CSeq: ", echo.cseq);
        let seconds = left.as_millis().div_ceil(1000).max(1);
        push(&mut out, b"Retry-After: ", seconds.to_string().as_bytes());
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        self.stats.messages_sent += 1;
        self.outputs.push_back(Output::Send { flow: Flow { remote, ..flow }, bytes: out });
        true
    }
}

fn push(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The lines to echo, if the head is plain enough to be sure of them.
fn scan(bytes: &[u8]) -> Option<Echo<'_>> {
    let mut echo = Echo::default();
    let mut lines = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_suffix(b"\n")) // a head without its end has no end
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    if !lines.next()?.ends_with(b" SIP/2.0") {
        return None;
    }
    for line in lines {
        let Some(first) = line.first() else {
            // The end of the head: everything once, and no To tag (a new call).
            let whole = !echo.vias.is_empty() && ![echo.from, echo.to, echo.call_id, echo.cseq].contains(&&b""[..]);
            let in_dialog = echo.to.windows(4).any(|part| part.eq_ignore_ascii_case(b"tag="));
            return (whole && !in_dialog && echo.cseq.ends_with(b" INVITE")).then_some(echo);
        };
        if matches!(first, b' ' | b'\t') {
            return None; // a fold
        }
        let colon = line.iter().take(16).position(|byte| *byte == b':');
        let Some(colon) = colon else { continue };
        let (name, value) = (line[..colon].trim_ascii_end(), line[colon + 1..].trim_ascii());
        let place = match name {
            b"Via" => {
                echo.vias.push(value);
                continue;
            }
            b"From" => &mut echo.from,
            b"To" => &mut echo.to,
            b"Call-ID" => &mut echo.call_id,
            b"CSeq" => &mut echo.cseq,
            // Compact and oddly written names are for the parser.
            b"v" | b"f" | b"t" | b"i" => return None,
            other => {
                let known: [&[u8]; 9] = [b"via", b"from", b"to", b"call-id", b"cseq", b"v", b"f", b"t", b"i"];
                if known.iter().any(|known| other.eq_ignore_ascii_case(known)) {
                    return None;
                }
                continue;
            }
        };
        if !place.is_empty() || value.is_empty() {
            return None; // twice: a 400 for the parser to give
        }
        *place = value;
    }
    None
}

/// Where the answer goes and what its top Via says (RFC 3261 18.2.1, RFC 3581), for `SIP/2.0/UDP host[:port];params`.
fn route(via: &[u8], source: SocketAddr) -> Option<(SocketAddr, String)> {
    let text = std::str::from_utf8(via).ok()?;
    if text.contains(',') || text.contains('"') || text.contains("received") {
        return None;
    }
    let parsed = crate::types::Via::parse(via).ok()?;
    if parsed.host.ip().is_some_and(|ip| !is_unicast(ip)) {
        return None;
    }
    let ip = source.ip().to_canonical();
    match parsed.rport() {
        Some(None) => {
            let filled = text.replacen(";rport", &format!(";rport={};received={ip}", source.port()), 1);
            Some((source, filled))
        }
        Some(Some(_)) => None,
        None => {
            let port = parsed.port.filter(|port| *port != 0).unwrap_or(5060);
            let same = parsed.host.ip().is_some_and(|host| host.to_canonical() == ip);
            let via = if same { text.to_owned() } else { format!("{text};received={ip}") };
            Some((SocketAddr::new(source.ip(), port), via))
        }
    }
}
