//! Calls, their legs, queues, transfers and recordings.

use serde::Serializer;

use crate::event::{Needed, data, words};
use crate::id::LegId;
use crate::owner::Owner;
use crate::pii::{Content, Pii};

words! {
    /// Who called whom.
    pub enum Direction {
        /// They called Ark.
        Inbound = "inbound",
        /// Ark called them.
        Outbound = "outbound",
    }

    /// Who is at the other end of a leg.
    pub enum Role {
        /// The one whose conversation it is.
        Customer = "customer",
        /// A person of the house, or an operator's phone.
        Agent = "agent",
        /// Somebody else: a transfer's target.
        External = "external",
        /// Somebody of the house who listens to a talk, or joins it.
        Supervisor = "supervisor",
    }

    /// What a supervisor does in a talk.
    pub enum SupervisionMode {
        /// Hears both and is heard by nobody.
        Listen = "listen",
        /// Hears both and is heard by the agent alone.
        Whisper = "whisper",
        /// Talks with both.
        Barge = "barge",
        /// Talks with the customer in the agent's place, who was let go.
        TakeOver = "take_over",
    }

    /// Which end let go.
    pub enum EndedBy {
        /// The other end of the leg.
        Remote = "remote",
        /// Ark: the plan, an operator's command, a cascade from another leg.
        Ark = "ark",
    }

    /// Why a leg ended.
    pub enum EndCause {
        /// It was answered and somebody hung up.
        Hangup = "hangup",
        /// Given up before it was answered.
        Cancelled = "cancelled",
        /// Refused with a final response that is none of the others.
        Rejected = "rejected",
        /// 486 or 600.
        Busy = "busy",
        /// It rang for as long as it may.
        NoAnswer = "no_answer",
        /// No such number, or no way to it.
        Unreachable = "unreachable",
        /// The answer was never acknowledged (RFC 3261 13.3.1.4).
        NoAck = "no_ack",
        /// No answer to a request within its timers (RFC 3261 17).
        Timeout = "timeout",
        /// No audio came for as long as it may.
        MediaLost = "media_lost",
        /// The connection that carried it is gone.
        TransportLost = "transport_lost",
        /// The two sides have no codec in common, or the offer could not be used.
        NoCodec = "no_codec",
        /// Ark had no room for it.
        Overload = "overload",
        /// Ark is going down.
        Shutdown = "shutdown",
        /// Anything else; `reason` says more.
        Failed = "failed",
    }

    /// How digits came.
    pub enum DtmfHow {
        /// Telephone events in RTP (RFC 4733).
        Rfc4733 = "rfc4733",
        /// SIP INFO (`application/dtmf-relay`, `application/dtmf`).
        Info = "info",
        /// Tones in the audio.
        Inband = "inband",
    }

    /// Why a recording stopped.
    pub enum RecordingCause {
        /// The caller pressed the finishing key.
        Key = "key",
        /// The caller said nothing for long enough.
        Silence = "silence",
        /// As long as it may be.
        Limit = "limit",
        /// The leg ended.
        Hangup = "hangup",
        /// The plan or an operator stopped it.
        Stopped = "stopped",
    }

    /// How waiting ended.
    pub enum QueueOutcome {
        /// A person answered.
        Answered = "answered",
        /// The caller hung up.
        Abandoned = "abandoned",
        /// The plan's limit came first.
        Timeout = "timeout",
        /// The caller chose another way by key.
        Left = "left",
        /// They waited too long and go on in another queue, with their place.
        Overflow = "overflow",
        /// Nobody can answer: no operators, or none could be reached.
        Failed = "failed",
        /// The caller is to be called back, and keeps the place.
        Callback = "callback",
        /// The customer was called back as often as may be, and did not answer.
        Unreached = "unreached",
    }

    /// How a transfer ended.
    pub enum TransferOutcome {
        /// The target answered and was joined.
        Answered = "answered",
        /// The target was busy.
        Busy = "busy",
        /// The target did not answer in time.
        NoAnswer = "no_answer",
        /// The target refused.
        Rejected = "rejected",
        /// The target could not be reached.
        Failed = "failed",
        /// The caller hung up meanwhile.
        Abandoned = "abandoned",
        /// The agent took the customer back.
        Cancelled = "cancelled",
        /// The target was there and went.
        Vanished = "vanished",
        /// The agent and the target talked for as long as they may.
        TooLong = "too_long",
        /// The customer waits in the queue to which they were handed.
        Queued = "queued",
    }

    /// How a person transfers.
    pub enum TransferMode {
        /// They are free at once.
        Blind = "blind",
        /// They speak with the target first.
        Warm = "warm",
    }

    /// Where a person's transfer stands.
    pub enum TransferStage {
        /// The target rings, the customer hears music.
        Ringing = "ringing",
        /// The agent and the target talk, the customer hears music.
        Consulting = "consulting",
        /// All three talk.
        ThreeWay = "three_way",
        /// The agent is called back, the customer hears music.
        Recalling = "recalling",
    }

    /// Where the customer is after a person's transfer.
    pub enum TransferEnd {
        /// With the target.
        Target = "target",
        /// With the agent who transferred.
        From = "from",
        /// In a queue, with music.
        Queue = "queue",
        /// With the plan.
        Plan = "plan",
        /// Nowhere: they hung up.
        Gone = "gone",
    }

    /// What a recording is for.
    pub enum RecordingPurpose {
        /// A message that the caller left.
        Voicemail = "voicemail",
        /// The call, both sides.
        Call = "call",
    }

    /// The kind of file that a recording is.
    pub enum RecordingFormat {
        /// WAV, 16 bits, 8 kHz.
        Wav = "wav",
        /// Ogg/Opus.
        Opus = "opus",
    }

    /// What a channel of a recording holds.
    pub enum RecordingChannel {
        /// What the caller says.
        Caller = "caller",
        /// All that the caller hears.
        Heard = "heard",
        /// What Ark plays to the caller.
        Ark = "ark",
        /// What the person says whom the caller talks to.
        Agent = "agent",
        /// What supervisors say.
        Supervisors = "supervisors",
    }
}

data! {
    /// A leg rings: an INVITE came and will be dealt with, or one was sent. The first one of a conversation opens it.
    pub struct CallRinging {
        /// The new leg.
        pub leg: LegId,
        /// Who is there.
        pub role: Role,
        /// Who called whom.
        pub direction: Direction,
        /// The caller's number or SIP user.
        pub from: Pii,
        /// The caller's display name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub from_display: Option<Pii>,
        /// The number or SIP user called.
        pub to: Pii,
        /// The trunk that it came by or goes by.
        pub trunk: String,
        /// The SIP Call-ID.
        pub call_id: String,
        /// Who owns the conversation from here on.
        pub owner: Owner,
        /// The plan that the call runs, where it runs one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub plan: Option<String>,
        /// The plan's version, which the call keeps to its end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub plan_version: Option<u32>,
        /// `udp`, `tcp`, `tls` or `ws`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub transport: Option<String>,
        /// Address and port of the other end's signalling.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub remote: Option<String>,
    }

    /// A leg was answered: audio flows.
    pub struct CallAnswered {
        /// The leg.
        pub leg: LegId,
        /// The codec by its SDP name: `PCMA`.
        pub codec: String,
        /// How its digits will come, as far as was agreed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub dtmf: Option<DtmfHow>,
        /// From ringing to answer, in milliseconds.
        pub ringing_ms: u64,
    }

    /// A leg ended. The conversation has ended when all its legs have.
    pub struct CallEnded {
        /// The leg.
        pub leg: LegId,
        /// Which end let go.
        pub by: EndedBy,
        /// Why.
        pub cause: EndCause,
        /// The final SIP status, where one decided it: 486, 487, 503.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub sip_status: Option<u16>,
        /// For the operator: what exactly happened, a plan's state, a Reason header.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reason: Option<String>,
        /// From ringing to answer or end, in milliseconds.
        pub ringing_ms: u64,
        /// From answer to end, in milliseconds; 0 when it was not answered.
        pub talk_ms: u64,
    }

    /// Ark lost what it knew of a leg (a crash, a gateway that died) and ends it after the fact.
    pub struct CallLost {
        /// The leg; none: every leg that was alive.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub leg: Option<LegId>,
        /// The gateway that had it.
        pub gateway: String,
        /// What happened, for the operator.
        pub reason: String,
    }

    /// How a leg sounded, written when it ends.
    pub struct CallQuality {
        /// The leg.
        pub leg: LegId,
        /// The codec by its SDP name.
        pub codec: String,
        /// RTP packets received.
        pub received_packets: u64,
        /// RTP packets sent.
        pub sent_packets: u64,
        /// Packets lost on the way to Ark (RFC 3550 A.3).
        pub lost_packets: u64,
        /// Of the packets that should have come, the share that did not: 0 to 1.
        #[serde(serialize_with = "finite")]
        pub loss_ratio: f64,
        /// Packets dropped for a wrong source or because they were not RTP.
        #[serde(default)]
        pub refused_packets: u64,
        /// Interarrival jitter at the end (RFC 3550 6.4.1), in microseconds.
        pub jitter_us: u64,
        /// The largest jitter seen, in microseconds.
        #[serde(default)]
        pub jitter_max_us: u64,
        /// Round trip by RTCP, in microseconds, when the other end reports.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rtt_us: Option<u64>,
        /// Share lost on the way from Ark, by the other end's reports: 0 to 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub remote_loss_ratio: Option<f64>,
        /// Mean opinion score by the E-model (ITU-T G.107), 1 to 4.5; none before anything was received.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub mos: Option<f64>,
        /// Rating R of the E-model (ITU-T G.107), 0 to 93.2; none before anything was received.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rating: Option<f64>,
        /// Packets that came too late for a jitter buffer.
        #[serde(default)]
        pub late_packets: u64,
        /// Losses in a row count as one of these: lost packets by bursts is the mean length of a burst.
        #[serde(default)]
        pub loss_bursts: u64,
        /// Delay from mouth to ear as far as it can be told from here, in microseconds: half the round trip, the jitter
        /// buffer and a packet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub delay_us: Option<u64>,
    }

    /// Two legs hear each other.
    pub struct LegBridged {
        /// One leg: the customer's.
        pub leg: LegId,
        /// The other.
        pub with: LegId,
    }

    /// Two legs do not hear each other any more.
    pub struct LegUnbridged {
        /// One leg: the customer's.
        pub leg: LegId,
        /// The other.
        pub with: LegId,
        /// For how long they did, in milliseconds.
        pub bridged_ms: u64,
    }

    /// The other end put Ark on hold.
    pub struct LegHeld {
        /// The leg.
        pub leg: LegId,
    }

    /// The other end took Ark off hold.
    pub struct LegResumed {
        /// The leg.
        pub leg: LegId,
        /// For how long it was held, in milliseconds.
        pub held_ms: u64,
    }

    /// A recording began.
    pub struct RecordingStarted {
        /// The leg that is recorded.
        pub leg: LegId,
        /// Its name within the site: the same in started, finished and failed.
        pub recording: String,
        /// Where it will be fetched: `ark-media:` and a name, or a path below `[files]`.
        #[serde(rename = "ref")]
        pub reference: String,
        /// What it is for.
        pub purpose: RecordingPurpose,
        /// The kind of file; none in events of earlier releases: WAV.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub format: Option<RecordingFormat>,
        /// What its channels hold, the first one first; empty in events of earlier releases: the caller, and all that the
        /// caller hears.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub channels: Vec<RecordingChannel>,
    }

    /// A recording goes on in silence: what is said from now on is not kept (a card number, say).
    pub struct RecordingPaused {
        /// The leg.
        pub leg: LegId,
        /// Its name.
        pub recording: String,
        /// Where in it the silence begins, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub at_ms: Option<u64>,
    }

    /// A recording keeps what is said again.
    pub struct RecordingResumed {
        /// The leg.
        pub leg: LegId,
        /// Its name.
        pub recording: String,
        /// How long it was paused, in milliseconds.
        pub paused_ms: u64,
    }

    /// A supervisor takes part in a talk from now on, or does so in another way. The leg's end is its
    /// `ark.call.ended.v1`.
    pub struct CallSupervised {
        /// The supervisor's leg.
        pub leg: LegId,
        /// How.
        pub mode: SupervisionMode,
    }

    /// A leg's voice is kept from the others, or let through again.
    pub struct LegMuted {
        /// The leg.
        pub leg: LegId,
        /// Whether it is muted from now on.
        pub muted: bool,
    }

    /// A recording is complete and on disk.
    pub struct RecordingFinished {
        /// The leg.
        pub leg: LegId,
        /// Its name.
        pub recording: String,
        /// Where it is fetched.
        #[serde(rename = "ref")]
        pub reference: String,
        /// Length in milliseconds.
        pub duration_ms: u64,
        /// Size of the file in bytes.
        pub bytes: u64,
        /// SHA-256 of the file, 64 lower-case hex digits, when it was computed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
        pub sha256: Option<String>,
        /// Why it stopped.
        pub cause: RecordingCause,
        /// The kind of file; none in events of earlier releases: WAV.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub format: Option<RecordingFormat>,
        /// What its channels hold, the first one first; empty in events of earlier releases: the caller, and all that the
        /// caller hears.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub channels: Vec<RecordingChannel>,
    }

    /// A recording could not be made or finished; the call goes on.
    pub struct RecordingFailed {
        /// The leg.
        pub leg: LegId,
        /// Its name.
        pub recording: String,
        /// What happened and what to do, for the operator.
        pub error: String,
    }

    /// A caller waits for a person.
    pub struct QueueJoined {
        /// The leg that waits.
        pub leg: LegId,
        /// The queue.
        pub queue: String,
        /// Place in line, 1 is next.
        pub position: u32,
        /// Higher goes first.
        #[serde(default)]
        pub priority: u8,
        /// What an agent must be able to do; none: nothing was said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub needs: Option<Needed>,
    }

    /// Nobody who works in the queue has what the customer needs: it no longer matters, and whoever is free is asked.
    pub struct QueueRelaxed {
        /// The leg that waits.
        pub leg: LegId,
        /// The queue.
        pub queue: String,
        /// What nobody has.
        pub needs: Needed,
        /// For how long they had waited, in milliseconds.
        pub waited_ms: u64,
    }

    /// A waiting caller's place was told or has changed.
    pub struct QueuePosition {
        /// The leg that waits.
        pub leg: LegId,
        /// The queue.
        pub queue: String,
        /// Place in line, 1 is next.
        pub position: u32,
        /// Expected wait in milliseconds, when it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub wait_ms: Option<u64>,
    }

    /// A caller waits no longer.
    pub struct QueueLeft {
        /// The leg that waited.
        pub leg: LegId,
        /// The queue.
        pub queue: String,
        /// How it ended.
        pub outcome: QueueOutcome,
        /// For how long it waited, in milliseconds.
        pub waited_ms: u64,
        /// The leg that answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub answered_by: Option<LegId>,
    }

    /// A transfer to a named target began.
    pub struct TransferStarted {
        /// The leg that is transferred.
        pub leg: LegId,
        /// The target's name in the plan or the desk.
        pub target: String,
        /// The number or address dialled.
        pub to: Pii,
        /// The leg of the person who transfers; none: the plan does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub from: Option<LegId>,
        /// How a person transfers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub mode: Option<TransferMode>,
        /// Who asked for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub by: Option<String>,
        /// A word to the target.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub note: Option<Content>,
    }

    /// A person's transfer went on to another stage. It began with `ark.transfer.started.v1`.
    pub struct TransferChanged {
        /// The leg that is transferred.
        pub leg: LegId,
        /// The target's name.
        pub target: String,
        /// Where it stands.
        pub stage: TransferStage,
        /// The leg of whoever rings, or talks beside the customer: of the target, of the agent who is called back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub with: Option<LegId>,
    }

    /// A transfer ended one way or another.
    pub struct TransferFinished {
        /// The leg that was transferred.
        pub leg: LegId,
        /// The target's name.
        pub target: String,
        /// How it ended.
        pub outcome: TransferOutcome,
        /// The final SIP status of the target's leg.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub sip_status: Option<u16>,
        /// How long it took, in milliseconds.
        pub took_ms: u64,
        /// Where the customer is then, after a person's transfer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub customer: Option<TransferEnd>,
        /// The agent of the house who took the customer: a chat of the conversation is theirs, too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub owner: Option<Owner>,
    }
}

/// JSON has no NaN: a share of nothing is written as 0, so that what is written can be read.
fn finite<S: Serializer>(ratio: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(if ratio.is_finite() { *ratio } else { 0.0 })
}
