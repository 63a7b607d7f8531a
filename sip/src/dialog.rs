//! Dialogs (RFC 3261 12): who talks to whom, in which order, by which route.

use crate::types::{Host, NameAddr, Scheme, Uri, unfold};
use crate::ua::{Flow, Transport, limits};
use crate::wire::{HeaderName, Message};
use std::net::{IpAddr, SocketAddr};

/// What both sides know of a dialog, from our side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialog {
    /// The Call-ID.
    pub call_id: Vec<u8>,
    /// Our address with our tag: From in our requests.
    pub local: Vec<u8>,
    /// The peer's address with its tag: To in our requests.
    pub remote: Vec<u8>,
    /// The peer's tag; empty for a peer of RFC 2543.
    pub remote_tag: Vec<u8>,
    /// The CSeq number of our last request.
    pub local_seq: u32,
    /// The CSeq number of the peer's last request.
    pub remote_seq: Option<u32>,
    /// Where requests go (the peer's Contact).
    pub remote_target: Vec<u8>,
    /// The proxies between, the first one first, as they were written in Record-Route.
    pub routes: Vec<Vec<u8>>,
}

/// Why a message cannot begin a dialog: the reason phrase for a 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoDialog(pub &'static str);

/// Where and how a request inside a dialog goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed<'a> {
    /// The Request-URI.
    pub request_uri: &'a [u8],
    /// The values of the Route headers.
    pub routes: Vec<Vec<u8>>,
    /// The URI whose host the request is sent to.
    pub next_hop: &'a [u8],
}

impl Dialog {
    /// The dialog that our response with `local_tag` to this INVITE makes (RFC 3261 12.1.1). A peer without Contact is
    /// one of RFC 2543: its From stands in.
    ///
    /// # Errors
    /// More routes than [`limits::ROUTES_MAX`], or a header that cannot be read.
    pub fn server(request: &Message, local_tag: &str) -> Result<Self, NoDialog> {
        let from = request.from().map_err(|_| NoDialog("Bad From"))?;
        let to = request.to().map_err(|_| NoDialog("Bad To"))?;
        let mut local = unfold(to.raw).into_owned();
        local.extend_from_slice(b";tag=");
        local.extend_from_slice(local_tag.as_bytes());
        let target = match request.contacts().next() {
            Some(contact) => contact.map_err(|_| NoDialog("Bad Contact"))?.uri_raw,
            None => from.uri_raw,
        };
        Ok(Self {
            call_id: request.call_id().ok_or(NoDialog("Missing Call-ID"))?.to_vec(),
            local,
            remote: unfold(from.raw).into_owned(),
            remote_tag: from.tag().unwrap_or_default().to_vec(),
            local_seq: 0,
            remote_seq: request.cseq().ok().map(|cseq| cseq.number),
            remote_target: target.to_vec(),
            routes: routes(request)?,
        })
    }

    /// The dialog that this response to our INVITE makes (RFC 3261 12.1.2). `local` is our From.
    ///
    /// # Errors
    /// More routes than [`limits::ROUTES_MAX`], or a header that cannot be read.
    pub fn client(response: &Message, local: &[u8]) -> Result<Self, NoDialog> {
        let to = response.to().map_err(|_| NoDialog("Bad To"))?;
        let target = match response.contacts().next() {
            Some(contact) => contact.map_err(|_| NoDialog("Bad Contact"))?.uri_raw,
            None => to.uri_raw,
        };
        let mut routes = routes(response)?;
        routes.reverse();
        Ok(Self {
            call_id: response.call_id().ok_or(NoDialog("Missing Call-ID"))?.to_vec(),
            local: local.to_vec(),
            remote: unfold(to.raw).into_owned(),
            remote_tag: to.tag().unwrap_or_default().to_vec(),
            local_seq: response.cseq().map_err(|_| NoDialog("Missing CSeq"))?.number,
            remote_seq: None,
            remote_target: target.to_vec(),
            routes,
        })
    }

    /// Takes the new target of a re-INVITE, UPDATE or their 2xx (RFC 3261 12.2.1.2, 12.2.2).
    pub fn refresh_target(&mut self, message: &Message) {
        if let Some(Ok(contact)) = message.contacts().next() {
            self.remote_target.clear();
            self.remote_target.extend_from_slice(contact.uri_raw);
        }
    }

    /// Takes the CSeq number of a request from the peer; false when it is out of order (RFC 3261 12.2.2: answer 500).
    pub fn accept_seq(&mut self, number: u32) -> bool {
        if self.remote_seq.is_some_and(|last| number <= last) {
            return false;
        }
        self.remote_seq = Some(number);
        true
    }

    /// The CSeq number for our next request.
    pub fn next_seq(&mut self) -> u32 {
        self.local_seq = self.local_seq.wrapping_add(1);
        self.local_seq
    }

    /// Request-URI and Route headers (RFC 3261 12.2.1.1), for a first hop that routes loosely or strictly.
    pub fn route(&self) -> Routed<'_> {
        let Some((first, rest)) = self.routes.split_first() else {
            let target = &self.remote_target;
            return Routed { request_uri: target, routes: Vec::new(), next_hop: target };
        };
        let Ok(first_address) = NameAddr::parse(first) else {
            return Routed {
                request_uri: &self.remote_target,
                routes: self.routes.clone(),
                next_hop: &self.remote_target,
            };
        };
        if first_address.uri().is_ok_and(|uri| uri.params.has(b"lr")) {
            let routes = self.routes.clone();
            return Routed { request_uri: &self.remote_target, routes, next_hop: first_address.uri_raw };
        }
        let mut routes = rest.to_vec();
        routes.push([b"<", self.remote_target.as_slice(), b">"].concat());
        Routed { request_uri: first_address.uri_raw, routes, next_hop: first_address.uri_raw }
    }

    /// Where the next request goes: the address that the next hop's URI names, when it is an address; else, and when
    /// the peer sits behind a NAT with no proxy between (`natted`: its Via named another address than its packets came
    /// from), the flow that works already. A connection that is up is kept.
    pub fn next_flow(&self, flow: Flow, natted: bool) -> Flow {
        if flow.transport == Transport::Tcp && flow.connection != 0 || natted && self.routes.is_empty() {
            return flow;
        }
        let routed = self.route();
        address_of(routed.next_hop, flow).unwrap_or(flow)
    }
}

/// The flow to the address a URI names, if it names one.
fn address_of(uri: &[u8], flow: Flow) -> Option<Flow> {
    let uri = Uri::parse(uri).ok()?;
    let by_maddr = uri.params.get(b"maddr").and_then(|maddr| Host::parse(maddr).ok()).and_then(|host| host.ip());
    let ip = by_maddr.or_else(|| uri.host.and_then(|host| host.ip()))?;
    if !is_unicast(ip) || ip.is_ipv4() != flow.local.is_ipv4() || uri.scheme == Scheme::Sips {
        return None;
    }
    let transport = match uri.params.get(b"transport") {
        Some(name) if name.eq_ignore_ascii_case(b"tcp") => Transport::Tcp,
        Some(name) if name.eq_ignore_ascii_case(b"udp") => Transport::Udp,
        Some(_) => return None,
        None => flow.transport,
    };
    let remote = SocketAddr::new(ip, uri.port.unwrap_or(5060));
    let same = transport == flow.transport && remote == flow.remote;
    Some(Flow { transport, remote, connection: if same { flow.connection } else { 0 }, ..flow })
}

/// Whether packets may be sent there: no broadcast, multicast or unspecified address.
pub(crate) fn is_unicast(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !(broadcast || ip.is_multicast() || ip.is_unspecified())
}

fn routes(message: &Message) -> Result<Vec<Vec<u8>>, NoDialog> {
    let routes: Vec<_> = message
        .header_values(HeaderName::RecordRoute)
        .take(limits::ROUTES_MAX + 1)
        .map(|value| unfold(value).into_owned())
        .collect();
    if routes.len() > limits::ROUTES_MAX {
        return Err(NoDialog("Too many Record-Routes"));
    }
    Ok(routes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse_datagram;

    fn invite(extra: &str) -> Message {
        let text = format!(
            "INVITE sip:95188@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKx\r\n\
             From: \"Chen\" <sip:chen@10.0.0.9>;tag=abc\r\nTo: <sip:95188@10.0.0.1>\r\nCall-ID: one\r\n\
             CSeq: 7 INVITE\r\n{extra}Content-Length: 0\r\n\r\n"
        );
        parse_datagram(text.as_bytes()).unwrap()
    }

    fn flow() -> Flow {
        Flow::udp("10.0.0.1:5060".parse().unwrap(), "10.0.0.9:5060".parse().unwrap())
    }

    #[test]
    fn a_loose_route_keeps_the_target_in_the_request_uri() {
        let request = invite(
            "Contact: <sip:chen@10.0.0.9:5070;ob>\r\nRecord-Route: <sip:10.0.0.2;lr>, <sip:10.0.0.3;lr>\r\n\
             Record-Route: \
             <sip:p4.ark.test;lr>\r\n",
        );
        let dialog = Dialog::server(&request, "us").unwrap();
        let routed = dialog.route();
        assert_eq!(routed.request_uri, b"sip:chen@10.0.0.9:5070;ob", "parameters of the Contact are echoed");
        assert_eq!(routed.routes.len(), 3);
        assert_eq!(routed.next_hop, b"sip:10.0.0.2;lr");
        assert_eq!(dialog.next_flow(flow(), true).remote, "10.0.0.2:5060".parse().unwrap());
    }

    #[test]
    fn a_strict_route_moves_the_target_to_the_end() {
        let request = invite("Contact: <sip:chen@10.0.0.9>\r\nRecord-Route: <sip:10.0.0.2>, <sip:10.0.0.3;lr>\r\n");
        let dialog = Dialog::server(&request, "us").unwrap();
        let routed = dialog.route();
        assert_eq!((routed.request_uri, routed.next_hop), (&b"sip:10.0.0.2"[..], &b"sip:10.0.0.2"[..]));
        assert_eq!(routed.routes, [b"<sip:10.0.0.3;lr>".to_vec(), b"<sip:chen@10.0.0.9>".to_vec()]);
    }

    #[test]
    fn requests_go_to_the_contact_unless_a_nat_or_a_connection_says_otherwise() {
        let dialog = Dialog::server(&invite("Contact: <sip:chen@10.0.0.9:5070>\r\n"), "us").unwrap();
        assert_eq!(dialog.next_flow(flow(), false).remote.port(), 5070);
        assert_eq!(dialog.next_flow(flow(), true), flow());
        let tcp = Flow { transport: Transport::Tcp, connection: 4, ..flow() };
        assert_eq!(dialog.next_flow(tcp, false), tcp);
        let closed = Flow { connection: 0, ..tcp };
        assert_eq!(dialog.next_flow(closed, false).remote.port(), 5070);
        for strange in
            ["sip:chen@phone.ark.test", "sip:chen@255.255.255.255", "sip:chen@224.0.1.75", "tel:95188", "sip:x@[::1]"]
        {
            let dialog = Dialog::server(&invite(&format!("Contact: <{strange}>\r\n")), "us").unwrap();
            assert_eq!(dialog.next_flow(flow(), false), flow(), "{strange}");
        }
    }

    #[test]
    fn a_peer_of_rfc_2543_without_contact_is_reached_by_its_from() {
        let dialog = Dialog::server(&invite(""), "us").unwrap();
        assert_eq!(dialog.remote_target, b"sip:chen@10.0.0.9");
        assert_eq!(dialog.local, b"<sip:95188@10.0.0.1>;tag=us");
    }

    #[test]
    fn cseq_numbers_only_go_up() {
        let mut dialog = Dialog::server(&invite(""), "us").unwrap();
        assert!(!dialog.accept_seq(6) && !dialog.accept_seq(7) && dialog.accept_seq(8) && dialog.accept_seq(100));
        assert!(!dialog.accept_seq(99));
    }
}
