//! What goes into an [`super::Endpoint`] and what comes out.

use super::limits;
use crate::auth::Credentials;
use crate::tx::TimerConfig;
use crate::wire::Message;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams: the machines retransmit.
    Udp,
    /// A stream: the transport retransmits.
    Tcp,
}

impl Transport {
    /// Whether the transport itself delivers or says that it cannot.
    pub const fn reliable(self) -> bool {
        matches!(self, Self::Tcp)
    }

    /// The name in a Via (RFC 3261 20.42).
    pub const fn via_name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// Where a message came from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// How.
    pub transport: Transport,
    /// Our end: a concrete address (for a socket bound to all addresses, the one that peers can reach).
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// Which connection: 0 for UDP, and on TCP for "open one (or use one that you have) to `remote`".
    pub connection: u64,
}

impl Flow {
    /// A datagram flow.
    pub const fn udp(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { transport: Transport::Udp, local, remote, connection: 0 }
    }
}

/// How much an endpoint holds at most. Beyond it, INVITEs get a stateless 503 with Retry-After.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls, those included whose last BYE is still unanswered. Each costs about 1.5 KiB.
    pub calls: usize,
    /// Transactions. A lingering one costs about 0.5 KiB.
    pub transactions: usize,
    /// Server transactions for one source address.
    pub transactions_per_source: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: limits::CALLS_MAX,
            transactions: limits::TRANSACTIONS_MAX,
            transactions_per_source: limits::TRANSACTIONS_PER_SOURCE_MAX,
        }
    }
}

/// How an endpoint presents itself and what it allows.
#[derive(Clone, Debug)]
pub struct Config {
    /// Randomness from the system: tags, branches, Call-IDs and fingerprints follow from it (and from the seed).
    pub secret: [u8; 32],
    /// `User-Agent` and `Server`; empty: neither is sent.
    pub user_agent: String,
    /// The user part of our Contact. Default: `ark`.
    pub contact_user: String,
    /// The host written into Via and Contact instead of [`Flow::local`]'s address (behind a NAT, or a name).
    pub advertise: Option<String>,
    /// The UDP port written into Via and Contact; default: that of [`Flow::local`].
    pub udp_port: Option<u16>,
    /// The TCP port written into Via and Contact; default: that of [`Flow::local`] (set it: a connection that we opened
    /// has another port than the one on which we listen).
    pub tcp_port: Option<u16>,
    /// T1, T2 and T4.
    pub timers: TimerConfig,
    /// Caps.
    pub limits: Limits,
    /// What a stateless 503 says in Retry-After. Default: 10 s.
    pub retry_after: Duration,
    /// New calls admitted a second, at most (bursts of a fifth of it); `None`: no such cap.
    pub calls_per_second_max: Option<u32>,
    /// How long a call that we placed may ring before it is cancelled and fails with 408. Default: 3 minutes, as timer
    /// C.
    pub ring_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            secret: [0; 32],
            user_agent: "Ark".to_owned(),
            contact_user: "ark".to_owned(),
            advertise: None,
            udp_port: None,
            tcp_port: None,
            timers: TimerConfig::default(),
            limits: Limits::default(),
            retry_after: Duration::from_secs(10),
            calls_per_second_max: None,
            ring_max: Duration::from_secs(180),
        }
    }
}

/// Names a call for as long as it lives; a key is never used again, so a stale one finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallKey(pub(crate) u64);

/// The tables are full; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no more calls: the endpoint holds as many as it may")]
pub struct Full;

/// Who calls or is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// A sip, sips or tel URI, without brackets.
    pub uri: String,
    /// A name to show.
    pub display: Option<String>,
}

/// Max-Forwards of a request that nobody has forwarded yet (RFC 3261 8.1.1.6).
pub const MAX_FORWARDS: u8 = 70;

/// A call to place.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where to send the INVITE.
    pub flow: Flow,
    /// The Request-URI.
    pub target: String,
    /// From.
    pub from: Party,
    /// To; usually the target again.
    pub to: Party,
    /// The offer. Without one the answerer offers, and its SDP comes with [`CallEvent::Answered`]; the ACK then carries
    /// no answer, so place calls with an offer unless you only want to ring.
    pub sdp: Option<Vec<u8>>,
    /// For 401 and 407.
    pub credentials: Option<Credentials>,
    /// More header lines for the INVITE (P-Asserted-Identity, Privacy...).
    pub headers: Vec<(String, String)>,
    /// Max-Forwards: [`super::MAX_FORWARDS`], or one less than that of the call which this one passes on
    /// (RFC 7332 4).
    pub max_forwards: u8,
}

/// A call that came in; 100 Trying was sent.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Where it came from.
    pub flow: Flow,
    /// The INVITE itself, for whatever else is needed of it.
    pub request: Arc<Message>,
    /// The Request-URI.
    pub request_uri: String,
    /// The URI of From.
    pub from: String,
    /// The display name of From.
    pub from_display: Option<String>,
    /// The URI of To.
    pub to: String,
    /// The Call-ID.
    pub call_id: String,
    /// The offer; `None`: we are to offer in the 200 ([`CallEvent::Confirmed`] then brings the answer).
    pub sdp: Option<Vec<u8>>,
    /// Hops that are left, 1 to 255 ([`MAX_FORWARDS`] when the INVITE does not say).
    pub max_forwards: u8,
}

/// What an endpoint wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send these bytes.
    Send {
        /// Where.
        flow: Flow,
        /// One whole message.
        bytes: Vec<u8>,
    },
    /// Something happened to a call.
    Call {
        /// Which.
        key: CallKey,
        /// What.
        event: CallEvent,
    },
}

/// What happens to a call. The last event of every call is one of `Cancelled`, `Failed`, `Ended`; its key is dead then.
#[derive(Clone, Debug)]
pub enum CallEvent {
    /// A call came in. Ring, answer, reject or hang it up.
    Incoming(Box<Incoming>),
    /// The caller cancelled before we answered; 487 was sent. The call is over.
    Cancelled,
    /// A placed call proceeds: 180, 183... (100 is not told).
    Progress {
        /// The status, 101 to 199.
        status: u16,
        /// Early media, if the response carried SDP. Forks may each send one.
        sdp: Option<Vec<u8>>,
    },
    /// A placed call was answered; the ACK was sent.
    Answered {
        /// The answer; `None` when the 200 had none (the one of the 183 counts then).
        sdp: Option<Vec<u8>>,
    },
    /// A placed call came to nothing: refused, timed out (408), cancelled for ringing too long (408), or undeliverable
    /// (503). The call is over.
    Failed {
        /// The status.
        status: u16,
        /// Its reason phrase.
        reason: String,
        /// The Retry-After of the response.
        retry_after: Option<Duration>,
    },
    /// The ACK for our 200 came.
    Confirmed {
        /// The answer, when the 200 carried our offer.
        sdp: Option<Vec<u8>>,
    },
    /// The peer wants to change the session (re-INVITE, or UPDATE with an offer): call
    /// [`super::Endpoint::answer_reoffer`].
    Reoffer {
        /// The offer; `None`: we are to offer in the answer, and `Confirmed` brings the peer's.
        sdp: Option<Vec<u8>>,
    },
    /// Our [`super::Endpoint::reoffer`] was answered.
    Reanswered {
        /// The answer, or the status that refused it (the session stays as it was).
        sdp: Result<Vec<u8>, u16>,
    },
    /// An INFO with DTMF came; it was answered 200.
    Info {
        /// `application/dtmf-relay` or `application/dtmf`, in lower case, without parameters.
        content_type: String,
        /// The body.
        body: Vec<u8>,
    },
    /// The call is over.
    Ended {
        /// Why.
        cause: EndCause,
    },
}

impl CallEvent {
    /// Whether this is the last event of its call.
    pub const fn is_last(&self) -> bool {
        matches!(self, Self::Cancelled | Self::Failed { .. } | Self::Ended { .. })
    }
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndCause {
    /// The peer sent BYE.
    RemoteBye,
    /// We hung up an answered call. The BYE goes out now, or as soon as RFC 3261 15 lets it.
    LocalBye,
    /// We hung up a placed call before it was answered. The CANCEL goes out now, or as soon as RFC 3261 9.1 lets it.
    LocalCancel,
    /// We refused an incoming call ([`super::Endpoint::reject`], or hung it up unanswered).
    Rejected,
    /// No ACK came for our 200 within 64*T1; BYE was sent.
    NoAck,
    /// The peer no longer answers requests in the dialog; BYE was sent.
    Timeout,
    /// The peer no longer knows the call (481).
    PeerGone,
    /// A request in the dialog could not be delivered.
    TransportLost,
}

/// Counters since the endpoint began. All only go up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each name says what it counts")]
pub struct Stats {
    pub requests_received: u64,
    pub responses_received: u64,
    pub messages_sent: u64,
    pub retransmissions_sent: u64,
    pub retransmissions_absorbed: u64,
    pub calls_admitted: u64,
    pub calls_placed: u64,
    pub calls_answered: u64,
    pub refused_draining: u64,
    pub refused_overloaded: u64,
    pub refused_rate: u64,
    pub refused_calls_full: u64,
    pub refused_transactions_full: u64,
    pub refused_source_full: u64,
    pub let_go_early: u64,
    pub malformed: u64,
    pub dropped_bad_via: u64,
    pub dropped_stray_responses: u64,
    pub absorbed_stray_acks: u64,
    pub bad_request_400: u64,
    pub method_not_allowed_405: u64,
    pub not_implemented_501: u64,
    pub unsupported_scheme_416: u64,
    pub unsupported_body_415: u64,
    pub not_acceptable_406: u64,
    pub bad_extension_420: u64,
    pub merged_482: u64,
    pub too_many_hops_483: u64,
    pub no_dialog_481: u64,
    pub out_of_order_500: u64,
    pub glare_491: u64,
    pub options_answered: u64,
    pub no_ack: u64,
    pub forked_answers_released: u64,
    pub challenges_answered: u64,
    pub infos_dropped: u64,
}
