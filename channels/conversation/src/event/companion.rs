//! A caller's page for pictures and words during a call: who made its link, how it went out, which device took it.

use jiff::Timestamp;

use crate::digest::Hash;
use crate::event::{data, words};
use crate::id::LegId;
use crate::pii::Pii;

words! {
    /// How a link reaches the caller.
    pub enum LinkVia {
        /// Whoever asked for it passes it on.
        Shown = "shown",
        /// The app in which the caller is known.
        App = "app",
        /// A short message to the caller's number.
        Sms = "sms",
        /// A code that is spoken, and typed on a short page.
        Code = "code",
    }
}

data! {
    /// A link for the caller was made. Its token is kept nowhere; whoever has it knows the hash.
    pub struct LinkMade {
        /// SHA-256 of the token: the link's name.
        pub link: Hash,
        /// The leg that the page becomes when it is opened; 0 on its way to the conversation, which numbers it.
        pub leg: LegId,
        /// The call that it was made in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub call: Option<LegId>,
        /// Who made it: an agent's or a plan's name as an owner, `agent:anna`, `bot:hotline`.
        pub by: String,
        /// Until when it can be used; earlier when the call ends before.
        #[schemars(with = "String", extend("format" = "date-time"))]
        pub expires: Timestamp,
    }

    /// A code that opens the link was made for the caller's ear. Only its place among all codes is kept (the event's source).
    pub struct LinkCode {
        /// Which link.
        pub link: Hash,
        /// Until when the code can be typed.
        #[schemars(with = "String", extend("format" = "date-time"))]
        pub expires: Timestamp,
    }

    /// A link went out to the caller, or could not.
    pub struct LinkSent {
        /// Which link.
        pub link: Hash,
        /// How.
        pub via: LinkVia,
        /// Where to: a number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub to: Option<Pii>,
        /// Why it could not; none: it went out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub failed: Option<String>,
    }

    /// A device took the link: from here on it is that device's alone.
    pub struct LinkJoined {
        /// Which link.
        pub link: Hash,
        /// Its leg; 0 on its way to the conversation.
        pub leg: LegId,
        /// SHA-256 of the secret that the device keeps.
        pub device: Hash,
        /// What it came by: the link itself, or the spoken code.
        pub via: LinkVia,
    }
}
