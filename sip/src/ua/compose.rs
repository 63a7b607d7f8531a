//! The messages that an endpoint writes.

use super::{Endpoint, Flow, Transport};
use crate::dialog::{Dialog, Routed};
use crate::tx::matching::Domain;
use crate::types::{Host, Method};
use crate::wire::{HeaderName, Message};
use crate::write::{RequestBuilder, request, response_to};
use std::net::SocketAddr;

/// Methods that are served, as Allow says.
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE";
/// Bodies that are understood in an INVITE.
pub(crate) const ACCEPT: &str = "application/sdp, multipart/mixed";
/// Bodies that are understood in an INFO.
pub(crate) const ACCEPT_INFO: &str = "application/dtmf-relay, application/dtmf";
/// Extensions that are supported; none yet (RFC 3261 20.37 allows an empty list).
pub(crate) const SUPPORTED: &str = "";
pub(crate) const SDP: &str = "application/sdp";

/// Where responses to this request go first: back to its source, on a datagram to the port that the Via names unless it
/// asks for the source port (RFC 3261 18.2.2, RFC 3581). Never to the host in the Via.
pub(crate) fn reply_flow(request: &Message, flow: Flow) -> Flow {
    let asks_rport = request.top_via().and_then(Result::ok).is_some_and(|via| via.rport().is_some());
    if flow.transport == Transport::Tcp || asks_rport {
        return flow;
    }
    Flow { remote: reply_fallback(request, flow), ..flow }
}

/// Where responses go when the connection is gone: the source's address and the Via's port.
pub(crate) fn reply_fallback(request: &Message, flow: Flow) -> SocketAddr {
    let port = request.top_via().and_then(Result::ok).and_then(|via| via.port).filter(|port| *port != 0);
    SocketAddr::new(flow.remote.ip(), port.unwrap_or(5060))
}

/// Whether the peer is behind a NAT that its Via does not know: one hop away, yet another address than it says.
pub(crate) fn is_natted(request: &Message, flow: Flow) -> bool {
    let mut vias = request.vias();
    let (Some(Ok(via)), None) = (vias.next(), vias.next()) else { return false };
    match via.host {
        Host::Name(_) => false,
        _ => via.host.ip().map(|ip| ip.to_canonical()) != Some(flow.remote.ip().to_canonical()),
    }
}

/// The ACK for a failure (RFC 3261 17.1.1.3): the INVITE's Via, target and routes, the response's To.
pub(crate) fn failure_ack(invite: &Message, response: &Message) -> Option<Vec<u8>> {
    let ack = same_transaction(invite, Method::Ack, response.header(HeaderName::To)?)?;
    Some(ack.finish())
}

/// The CANCEL for an INVITE (RFC 3261 9.1).
pub(crate) fn cancel(invite: &Message, reason: Option<&str>) -> Option<Vec<u8>> {
    let mut cancel = same_transaction(invite, Method::Cancel, invite.header(HeaderName::To)?)?;
    if let Some(reason) = reason {
        cancel = cancel.header("Reason", reason);
    }
    Some(cancel.finish())
}

fn same_transaction(invite: &Message, method: Method<'_>, to: &[u8]) -> Option<RequestBuilder> {
    let mut made = request(method, invite.request_uri()?.raw).header("Via", invite.top_via()?.ok()?.raw);
    for route in invite.header_values(HeaderName::Route) {
        made = made.header("Route", route);
    }
    let seq = invite.cseq().ok()?.number;
    Some(
        made.header("Max-Forwards", "70")
            .header("From", invite.header(HeaderName::From)?)
            .header("To", to)
            .header("Call-ID", invite.call_id()?)
            .header("CSeq", format!("{seq} {method}")),
    )
}

/// A request of ours again, as a new transaction: other branch, other CSeq, other credentials (RFC 3261 22.2).
pub(crate) fn reissue(old: &Message, via: &str, seq: u32, credentials: &[(&str, String)]) -> Option<Vec<u8>> {
    let method = old.method()?;
    let mut made = request(method, old.request_uri()?.raw).header("Via", via);
    for (name, value) in old.header_lines() {
        match name {
            HeaderName::Via
            | HeaderName::CSeq
            | HeaderName::ContentLength
            | HeaderName::Authorization
            | HeaderName::ProxyAuthorization => {}
            _ => made = made.header(std::str::from_utf8(name.as_bytes()).ok()?, value),
        }
    }
    made = made.header("CSeq", format!("{seq} {method}"));
    for (name, value) in credentials {
        made = made.header(name, value);
    }
    // Content-Type was copied with the other headers.
    Some(made.raw_body(old.body().to_vec()).finish())
}

/// A response still to be finished: everything but its body.
pub(crate) type Lines<'a> = &'a [(&'a str, &'a str)];

/// Whether an advertised host serves this peer: not this machine itself, and not one of the other address family.
fn is_for(host: &str, flow: Flow) -> bool {
    let peer = flow.remote.ip().to_canonical();
    let advertised = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    !peer.is_loopback() && advertised.map_or(true, |ip| ip.is_ipv4() == peer.is_ipv4())
}

impl Endpoint {
    fn host_port(&self, flow: Flow) -> String {
        let port = match flow.transport {
            Transport::Udp => self.config.udp_port,
            Transport::Tcp => self.config.tcp_port,
        };
        let port = port.unwrap_or_else(|| flow.local.port());
        match self.config.advertise.as_ref().filter(|host| is_for(host, flow)) {
            Some(host) if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}"),
            Some(host) => format!("{host}:{port}"),
            None => SocketAddr::new(flow.local.ip().to_canonical(), port).to_string(),
        }
    }

    /// Our Via: rport is always asked for (RFC 3581 3).
    pub(crate) fn via(&self, flow: Flow, branch: &str) -> String {
        format!("SIP/2.0/{} {};branch={branch};rport", flow.transport.via_name(), self.host_port(flow))
    }

    /// Our Contact.
    pub(crate) fn contact(&self, flow: Flow) -> String {
        let transport = if flow.transport == Transport::Tcp { ";transport=tcp" } else { "" };
        format!("<sip:{}@{}{transport}>", self.config.contact_user, self.host_port(flow))
    }

    /// A response to a request that came on `flow`.
    pub(crate) fn compose(
        &self,
        request: &Message,
        flow: Flow,
        (status, reason): (u16, &str),
        to_tag: Option<&str>,
        lines: Lines<'_>,
        body: Option<(&str, Vec<u8>)>,
    ) -> Vec<u8> {
        let mut made = response_to(request, status, reason).source(flow.remote);
        if let Some(tag) = to_tag {
            made = made.to_tag(tag);
        }
        for (name, value) in lines {
            made = made.header(name, value);
        }
        if !self.config.user_agent.is_empty() && status != 100 {
            made = made.header("Server", &self.config.user_agent);
        }
        if let Some((content_type, body)) = body {
            made = made.body(content_type, body);
        }
        made.finish()
    }

    /// The To tag of a response behind which no state stands: the same for every retransmission (RFC 3261 8.2.7).
    pub(crate) fn stateless_tag(&self, request: &Message) -> String {
        let branch = request.top_via().and_then(Result::ok).and_then(|via| via.branch()).unwrap_or_default();
        let parts = [
            branch,
            request.call_id().unwrap_or_default(),
            request.header(HeaderName::From).unwrap_or_default(),
            request.header(HeaderName::CSeq).unwrap_or_default(),
        ];
        format!("{:016x}", self.fingerprinter.of(Domain::StatelessTag, &parts) as u64)
    }

    /// Answers without keeping anything.
    pub(crate) fn answer_stateless(&mut self, request: &Message, flow: Flow, status: (u16, &str), lines: Lines<'_>) {
        let tag = self.stateless_tag(request);
        let bytes = self.compose(request, flow, status, Some(&tag), lines, None);
        self.push_send(reply_flow(request, flow), bytes);
    }

    /// A request inside a dialog, without its body (RFC 3261 12.2.1.1).
    pub(crate) fn in_dialog_request(
        &self,
        dialog: &Dialog,
        flow: Flow,
        (method, seq): (Method<'_>, u32),
        branch: &str,
    ) -> RequestBuilder {
        let Routed { request_uri, routes, .. } = dialog.route();
        let mut made = request(method, request_uri).header("Via", self.via(flow, branch));
        for route in &routes {
            made = made.header("Route", route);
        }
        made = made
            .header("Max-Forwards", "70")
            .header("From", &dialog.local)
            .header("To", &dialog.remote)
            .header("Call-ID", &dialog.call_id)
            .header("CSeq", format!("{seq} {method}"));
        if matches!(method, Method::Invite | Method::Update) {
            made = made.header("Contact", self.contact(flow)).header("Allow", ALLOW).header("Supported", SUPPORTED);
        }
        if !self.config.user_agent.is_empty() && method != Method::Ack {
            made = made.header("User-Agent", &self.config.user_agent);
        }
        made
    }
}
