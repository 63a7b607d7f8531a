//! What pages and Ark say to each other over `/rtc`: JSON, one message a WebSocket text frame. Its schemas are in the
//! AsyncAPI document.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a page says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum FromPage {
    /// The first message, within five seconds: who it is.
    Hello {
        /// A token of `POST /api/v1/webrtc/tokens`.
        token: String,
        /// The `session` of an earlier `welcome`, when its socket broke while a call was up: the call goes on.
        #[serde(default)]
        resume: Option<String>,
        /// Of an operator who talks in another page: the call's sound comes to this one. Without it that page keeps it.
        #[serde(default)]
        take: bool,
    },
    /// An SDP offer: begins a call; answers one that rings; or, while one is up, restarts ICE or changes what flows.
    Offer {
        /// The SDP.
        sdp: String,
        /// Of an operator's call that is up: it is of another `RTCPeerConnection` than the one before, whose page is gone.
        #[serde(default)]
        anew: bool,
    },
    /// A candidate that was found after the offer, as `RTCIceCandidate.toJSON()` gives it.
    Candidate {
        /// The candidate.
        candidate: Candidate,
    },
    /// Ends the call; of one that rings: this operator does not take it.
    Hangup {},
    /// A key was pressed. One that is also sent as a telephone-event counts once.
    Dtmf {
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        digit: char,
    },
    /// While on, nothing of what the microphone hears goes on to anybody.
    Mute {
        /// On or off.
        on: bool,
    },
    /// While on, the page does not listen, and the other side hears music.
    Hold {
        /// On or off.
        on: bool,
    },
}

/// A candidate as browsers write it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The candidate-attribute (RFC 8839 5.1); empty: there are no more.
    #[serde(default)]
    pub candidate: String,
    /// The section of the SDP that it is for.
    #[serde(default)]
    pub sdp_mid: Option<String>,
    /// The same by its place.
    #[serde(default, rename = "sdpMLineIndex")]
    pub sdp_m_line_index: Option<u16>,
}

/// What Ark says to a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum ToPage {
    /// The token is good.
    Welcome {
        /// To come back with after the socket broke.
        session: String,
        /// The operator that the page answers as; none: it may call.
        #[serde(skip_serializing_if = "Option::is_none")]
        operator: Option<String>,
        /// For `new RTCPeerConnection({ iceServers })`.
        #[serde(rename = "iceServers")]
        ice_servers: Vec<Server>,
        /// For the same: `relay` where the site lets browsers come through its TURN servers only.
        #[serde(rename = "iceTransportPolicy", skip_serializing_if = "Option::is_none")]
        ice_transport_policy: Option<TransportPolicy>,
        /// The call that goes on: of an operator whose page was loaded anew, or who came here from another one.
        #[serde(skip_serializing_if = "Option::is_none")]
        call: Option<GoesOn>,
    },
    /// To a caller: the call is admitted. To an operator: a call rings; take it with an `offer`.
    Ringing {
        /// The call.
        call: String,
        /// Who calls, masked.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The queue that the caller waits in.
        #[serde(skip_serializing_if = "Option::is_none")]
        queue: Option<String>,
        /// The conversation.
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation: Option<String>,
    },
    /// The SDP answer to an offer, with all of Ark's candidates.
    Answer {
        /// The SDP.
        sdp: String,
    },
    /// Audio flows.
    Up {
        /// The call.
        call: String,
    },
    /// Nothing comes from the browser any more: offer again, with `iceRestart`.
    Restart {
        /// The road is over: offer with another `RTCPeerConnection`, and `anew`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        anew: bool,
    },
    /// The call is over.
    Hangup {
        /// The call.
        call: String,
        /// Why: `hangup`, `cancelled`, `failed`, `timeout` ...
        cause: String,
    },
    /// What was asked was not done.
    Error {
        /// For programs: `unauthorized`, `bad_message`, `bad_offer`, `refused`, `busy`, `no_call`, `replaced`, `elsewhere`, `flood`.
        code: String,
        /// For people.
        message: String,
        /// Of a refused call: its SIP status.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
    },
}

/// An operator's call that is up while their page is not the one that answered it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GoesOn {
    /// The call.
    pub call: String,
    /// Who calls, masked.
    pub from: String,
    /// The queue that the caller waited in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The conversation.
    pub conversation: String,
    /// For how long it has been up, in milliseconds.
    pub up_ms: u64,
    /// The other side hears music, because the operator said so.
    pub held: bool,
    /// Nothing of the microphone goes on.
    pub muted: bool,
}

/// A STUN or TURN server, as browsers take it.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Server {
    /// `stun:`, `turn:` or `turns:` addresses.
    pub urls: Vec<String>,
    /// Of TURN: the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Of TURN: the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Which roads a browser may take (`RTCIceTransportPolicy` of the W3C's WebRTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransportPolicy {
    /// Through a TURN server alone.
    Relay,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("urls", &self.urls).finish_non_exhaustive()
    }
}

impl ToPage {
    pub(crate) fn error(code: &str, message: impl Into<String>) -> Self {
        Self::Error { code: code.to_owned(), message: message.into(), status: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_pages_write_them() {
        let read = |text: &str| serde_json::from_str::<FromPage>(text);
        assert_eq!(read(r#"{"type":"hangup"}"#).unwrap(), FromPage::Hangup {});
        assert_eq!(read(r#"{"type":"dtmf","digit":"5"}"#).unwrap(), FromPage::Dtmf { digit: '5' });
        let hello = FromPage::Hello { token: "t".to_owned(), resume: None, take: false };
        assert_eq!(read(r#"{"type":"hello","token":"t"}"#).unwrap(), hello);
        let offer = FromPage::Offer { sdp: "v=0".to_owned(), anew: true };
        assert_eq!(read(r#"{"type":"offer","sdp":"v=0","anew":true}"#).unwrap(), offer);
        let text = r#"{"type":"candidate","candidate":{"candidate":"candidate:1 1 udp 1 127.0.0.1 5 typ host","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"x"}}"#;
        let FromPage::Candidate { candidate } = read(text).unwrap() else { panic!() };
        assert_eq!((candidate.sdp_mid.as_deref(), candidate.sdp_m_line_index), (Some("0"), Some(0)));
        for bad in ["", "{}", r#"{"type":"dance"}"#, r#"{"type":"dtmf","digit":"55"}"#, "[]"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
