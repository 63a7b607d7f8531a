//! One table: what can go wrong with a customer, and what each side is told. The caller's phone gets the SIP status, the
//! agent's desk the sentence, the operator's log the level.

use crate::machine::Refused;

/// How loud a failure is in the operator's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Part of a normal day.
    Info,
    /// Something gave way and was caught.
    Warn,
    /// Somebody has to look.
    Error,
}

macro_rules! failures {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $sip:literal, $level:ident, $en:literal, $zh:literal;)*) => {
        /// What can go wrong between a customer and the house.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Failure {
            $($(#[$doc])* $name,)*
        }

        impl Failure {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// A stable word for programs: `no_agent`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The final SIP response for a call that ends of it (RFC 3261 21).
            #[must_use]
            pub const fn sip_status(self) -> u16 {
                match self { $(Self::$name => $sip,)* }
            }

            /// How loud it is in the log.
            #[must_use]
            pub const fn level(self) -> Level {
                match self { $(Self::$name => Level::$level,)* }
            }

            /// What the agent's desk says, in English: what happened and what to do.
            #[must_use]
            pub const fn sentence_en(self) -> &'static str {
                match self { $(Self::$name => $en,)* }
            }

            /// What the agent's desk says, in Chinese.
            #[must_use]
            pub const fn sentence_zh(self) -> &'static str {
                match self { $(Self::$name => $zh,)* }
            }
        }
    };
}

failures! {
    /// Nobody of the queue is free.
    NoAgent = "no_agent", 480, Info,
        "Nobody is free; the customer keeps their place in line.", "暂无空闲坐席，客户保留排队位置。";
    /// The one asked said no, or did not answer in time.
    NotAccepted = "not_accepted", 480, Info,
        "The transfer was not accepted; the customer stays with you.", "转接未被接受，客户仍由您接待。";
    /// The offer had ended when it was accepted.
    OfferEnded = "offer_ended", 480, Info,
        "You were a moment late: the offer has ended.", "来晚了一步，该转接已结束。";
    /// The epoch was an old one.
    Fenced = "fenced", 409, Info,
        "The conversation has changed hands; your message was not sent.", "会话已由他人接手，消息未发送。";
    /// The one who asked does not own the conversation.
    NotOwner = "not_owner", 403, Info,
        "You do not own this conversation: take it over first.", "您不是当前接待人，请先接手会话。";
    /// No session is open.
    Closed = "closed", 410, Info,
        "The conversation is closed: reopen it to write.", "会话已结束，请重新打开后再发送。";
    /// The owner's desk or gateway went away.
    AgentVanished = "agent_vanished", 480, Warn,
        "The agent's connection was lost; the customer is back in the queue with their place kept.",
        "坐席连接中断，客户已回到队列并保留位置。";
    /// The channel lets the house say no more for now.
    WindowClosed = "window_closed", 480, Info,
        "The channel's reply window is closed: wait for the customer, or call them.",
        "渠道回复窗口已关闭，请等待客户或致电客户。";
    /// The customer does not want messages by this channel.
    Blocked = "blocked", 603, Info,
        "The customer cannot be reached by this channel any more.", "客户已无法通过该渠道联系。";
    /// Whether the message arrived is not known.
    OutcomeUnknown = "outcome_unknown", 504, Warn,
        "It is not known whether the message arrived: ask the customer before you send it again.",
        "消息是否送达未知，重发前请先向客户确认。";
    /// No live leg leads to the customer.
    NoLeg = "no_leg", 480, Info,
        "The customer is not connected by any channel now.", "客户当前没有可用的渠道连接。";
    /// The number called is busy.
    Busy = "busy", 486, Info,
        "The line is busy.", "对方忙。";
    /// Nobody answered the call.
    NoAnswer = "no_answer", 480, Info,
        "Nobody answered.", "无人接听。";
    /// The number is not one, or no trunk leads there.
    Unreachable = "unreachable", 404, Warn,
        "The number cannot be reached.", "号码无法接通。";
    /// The two ends have no codec in common.
    NoCodec = "no_codec", 488, Warn,
        "The two ends have no audio format in common.", "双方没有共同的音频格式。";
    /// Audio stopped coming.
    MediaLost = "media_lost", 500, Warn,
        "The audio was lost: call the customer back.", "语音中断，请回拨客户。";
    /// The gateway that had the call died.
    CallLost = "call_lost", 500, Error,
        "The call was lost with its gateway: call the customer back, their place is kept.",
        "通话因网关故障中断，请回拨客户，其位置已保留。";
    /// There is no room for more.
    Overload = "overload", 503, Warn,
        "Too much is going on just now: try again in a moment.", "系统繁忙，请稍后再试。";
    /// The store does not answer.
    StoreAway = "store_away", 503, Error,
        "Messages cannot be accepted just now; calls go on.", "暂时无法接收消息，通话不受影响。";
    /// The input itself was wrong.
    Malformed = "malformed", 400, Warn,
        "This cannot be sent as it is.", "内容格式有误，无法发送。";
}

impl Refused {
    /// The row of the table that an input's refusal belongs to.
    #[must_use]
    pub const fn failure(self) -> Failure {
        match self {
            Self::Unknown | Self::Closed => Failure::Closed,
            Self::Fenced { .. } => Failure::Fenced,
            Self::NotOwner | Self::NotAsked => Failure::NotOwner,
            Self::OfferEnded => Failure::OfferEnded,
            Self::Offered(_) | Self::NoWay | Self::Open | Self::CallUp => Failure::NotAccepted,
            Self::NoLeg => Failure::NoLeg,
            Self::Full | Self::Undrained => Failure::Overload,
            Self::Ahead { .. } | Self::Malformed(_) => Failure::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_failure_has_a_code_of_its_own_and_a_whole_row() {
        let codes: BTreeSet<_> = Failure::ALL.iter().map(|failure| failure.code()).collect();
        assert_eq!(codes.len(), Failure::ALL.len());
        for failure in Failure::ALL {
            assert!((400..700).contains(&failure.sip_status()), "{failure:?}");
            assert!(failure.sentence_en().ends_with('.') && failure.sentence_zh().ends_with('。'), "{failure:?}");
            assert!(failure.sentence_zh().chars().any(|letter| letter > '一'), "{failure:?}");
        }
        assert_eq!(Refused::Fenced { current: 3 }.failure().sentence_zh(), "会话已由他人接手，消息未发送。");
    }
}
