//! One event of every type, for the tests of this crate and of those that carry or keep events.

use jiff::Timestamp;

use crate::event::*;
use crate::{
    Assurance, Content, ConversationId, ConversationState, Event, EventId, Hash, IdentityKey, KeyKind, LegId, MergeId,
    NewEvent, OfferId, Owner, PersonId, Pii, Record, SessionId, Tenant, source,
};

const L1: LegId = LegId(1);
const L2: LegId = LegId(2);
const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// 2026-11-24T10:30:00Z and `ms` milliseconds.
#[must_use]
pub fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_795_516_200_000 + ms).expect("a time of this century")
}

/// The first event of a call.
#[must_use]
pub fn ringing(leg: LegId, role: Role) -> CallRinging {
    CallRinging {
        leg,
        role,
        direction: if role == Role::Customer { Direction::Inbound } else { Direction::Outbound },
        from: Pii::new("+8613800001212"),
        from_display: Some(Pii::new("陈")),
        to: Pii::new("95188"),
        trunk: "carrier".to_owned(),
        call_id: "a84b4c76e66710@pc33.example.net".to_owned(),
        owner: Owner::Bot("hotline-95188".to_owned()),
        plan: Some("hotline-95188".to_owned()),
        plan_version: Some(3),
        transport: Some("udp".to_owned()),
        remote: Some("198.51.100.10:5060".to_owned()),
    }
}

/// The end of a leg.
#[must_use]
pub fn ended(leg: LegId) -> CallEnded {
    CallEnded {
        leg,
        by: EndedBy::Remote,
        cause: EndCause::Hangup,
        sip_status: None,
        reason: Some("state bye".to_owned()),
        ringing_ms: 120,
        talk_ms: 41_320,
    }
}

/// One event of every type, in the order in which a call with everything could bring them.
#[must_use]
pub fn story() -> Vec<Event> {
    let mut events = vec![
        ringing(L1, Role::Customer).into(),
        CallAnswered { leg: L1, codec: "PCMA".to_owned(), dtmf: Some(DtmfHow::Rfc4733), ringing_ms: 120 }.into(),
    ];
    events.extend(plan_story());
    events.extend(person_story());
    events.extend(speech_story());
    events.extend([
        RecordingFinished {
            leg: L1,
            recording: "r1".to_owned(),
            reference: "ark-media:01JABCDEF0".to_owned(),
            duration_ms: 12_000,
            bytes: 384_044,
            sha256: Some(SHA256.to_owned()),
            cause: RecordingCause::Hangup,
            format: Some(RecordingFormat::Opus),
            channels: vec![RecordingChannel::Caller, RecordingChannel::Heard],
        }
        .into(),
        RecordingFailed {
            leg: L1,
            recording: "r2".to_owned(),
            error: "data/files is full: free some space".to_owned(),
        }
        .into(),
        CallEnded { leg: L2, by: EndedBy::Ark, ..ended(L2) }.into(),
        ended(L1).into(),
        quality().into(),
        CallLost { leg: None, gateway: "gw1".to_owned(), reason: "the gateway was started again".to_owned() }.into(),
    ]);
    events.extend(chat_story());
    events.extend(leg_story());
    events.extend(ownership_story());
    events.extend(people_story());
    events.extend(system_story());
    events
}

/// A picture, by reference.
#[must_use]
pub fn picture() -> Media {
    Media {
        reference: "ark-media:01JABCDEF0".to_owned(),
        mime: "image/jpeg".to_owned(),
        size: 84_213,
        sha256: SHA256.parse().expect("64 hex digits"),
        name: Some(Content::new("凭证.jpg")),
        duration_ms: None,
        width: Some(1_080),
        height: Some(1_920),
    }
}

/// The customer of a chat.
#[must_use]
pub fn customer() -> Party {
    Party {
        role: PartyRole::Customer,
        id: Pii::new("user123"),
        kind: Some("dingtalk_staff".to_owned()),
        display: Some(Pii::new("张三")),
    }
}

/// A customer's message of one part.
#[must_use]
pub fn message_in(thread: &str, text: &str) -> MessageIn {
    MessageIn {
        thread: thread.to_owned(),
        sender: customer(),
        parts: vec![Part::text(text)],
        reply_to: None,
        native_id: None,
        window: None,
    }
}

const THREAD: &str = "cidAAA==";

fn every_part() -> Vec<Part> {
    let text = |text: &str| Content::new(text);
    vec![
        Part::text("你好"),
        Part::Image { media: picture(), fallback_text: None },
        Part::VoiceNote { media: picture(), fallback_text: Some(text("[语音]")) },
        Part::File { media: picture(), fallback_text: None },
        Part::Video { media: picture(), fallback_text: None },
        Part::Card {
            title: text("请上传凭证"),
            body: None,
            actions: vec![Action {
                id: "u".to_owned(),
                label: text("上传"),
                url: Some("https://x.example/u".to_owned()),
            }],
            fallback_text: text("请打开 https://x.example/u 上传"),
        },
        Part::Location { lat: 30.27, lon: 120.15, label: Some(text("杭州")) },
        Part::Unsupported { native_type: "sticker".to_owned(), fallback_text: text("[表情]"), raw_ref: None },
    ]
}

fn chat_story() -> Vec<Event> {
    let thread = || THREAD.to_owned();
    let sender = Party { role: PartyRole::Agent, id: Pii::new("anna"), kind: None, display: None };
    let reason = ReceiptReason { code: "window_closed".to_owned(), text: None, retriable: false };
    let window = Window { replies_left: 5, closes_at: at(172_800_000) };
    vec![
        MessageIn {
            thread: thread(),
            sender: customer(),
            parts: every_part(),
            reply_to: None,
            native_id: Some("msg1==".to_owned()),
            window: Some(window),
        }
        .into(),
        MessageOut {
            thread: thread(),
            conversation: ConversationId::new(9, 9),
            epoch: 2,
            sender,
            parts: vec![Part::text("您好，我是安娜。")],
            reply_to: None,
            leg: Some(LegId(3)),
        }
        .into(),
        MessageRerouted {
            message: "k1".to_owned(),
            from: LegId(3),
            leg: LegId(4),
            thread: thread(),
            attempt: 2,
            code: "window_closed".to_owned(),
        }
        .into(),
        Receipt {
            thread: thread(),
            message: "k1".to_owned(),
            state: ReceiptState::Failed,
            native_id: None,
            reason: Some(reason),
        }
        .into(),
        Typing { thread: thread(), sender: customer(), on: true }.into(),
        Edit { thread: thread(), message: "m1".to_owned(), op: EditOp::Recall, parts: Vec::new() }.into(),
        Thread { thread: thread(), state: ThreadState::Opened, entry: None, window: None }.into(),
        Identity {
            thread: thread(),
            keys: vec![IdentityKey::new(KeyKind::Phone, "+8613800001212")],
            assurance: Assurance::Otp,
            link_token: None,
        }
        .into(),
        AdapterCall {
            thread: thread(),
            op: CallOp::Offer,
            leg: Some(LegId(5)),
            mode: Some(CallMode::Webrtc),
            sdp: None,
            address: None,
            reason: None,
        }
        .into(),
    ]
}

fn leg_story() -> [Event; 11] {
    let (thread, link) = (|| THREAD.to_owned(), Hash::of(b"a token"));
    [
        LegAdded {
            leg: LegId(3),
            medium: Medium::Chat,
            role: Role::Customer,
            source: source::thread(&Tenant::MAIN, "dingtalk", "dingrobot", THREAD),
            thread: thread(),
            adapter: "dingtalk".to_owned(),
            account: "dingrobot".to_owned(),
            party: Some(customer()),
            predecessor: None,
        }
        .into(),
        LegOffered {
            leg: LegId(5),
            mode: CallMode::PstnCallback,
            deadline: at(60_000),
            to: Some(Pii::new("13800001212")),
            callback: Some(CallbackPlace {
                queue: "general".to_owned(),
                waiting_since: at(-60_000),
                priority: 0,
                tries: 1,
            }),
        }
        .into(),
        LegIdle { leg: LegId(3) }.into(),
        LegWoke { leg: LegId(3) }.into(),
        LegEnded { leg: LegId(5), reason: LegEndReason::Expired }.into(),
        LinkMade { link, leg: LegId(6), call: Some(L1), by: "agent:anna".to_owned(), expires: at(900_000) }.into(),
        LinkCode { link, expires: at(300_000) }.into(),
        LinkSent { link, via: LinkVia::Sms, to: Some(Pii::new("13800001212")), failed: None }.into(),
        LinkJoined { link, leg: LegId(6), device: Hash::of(b"a device"), via: LinkVia::Sms }.into(),
        SurveyAsked {
            leg: LegId(3),
            way: SurveyWay::Buttons,
            scale: 5,
            message: Some("ark:survey:1".to_owned()),
            until: Some(at(86_400_000)),
            link: None,
        }
        .into(),
        SurveyAnswered { leg: LegId(3), way: SurveyWay::Buttons, score: 5, scale: 5, comment: None }.into(),
    ]
}

fn ownership_story() -> Vec<Event> {
    let (anna, ben) = (|| Owner::Agent("anna".to_owned()), || Owner::Agent("ben".to_owned()));
    let queue = || Owner::Queue("general".to_owned());
    let offer = OfferId::new(9, 9);
    let session = SessionId::new(9, 9);
    let participant = || Participant { role: ParticipantRole::Bot, id: Pii::new("faq") };
    vec![
        SessionOpened { session, reason: SessionOpenReason::Customer, owner: queue(), waiting_since: Some(at(0)) }
            .into(),
        OwnerOffered {
            offer,
            owner: anna(),
            to: ben(),
            mode: OfferMode::Warm,
            by: anna(),
            expected_epoch: 2,
            deadline: at(30_000),
            summary: Some(7),
            note: Some(Content::new("要退款")),
        }
        .into(),
        OwnerDeclined { offer, by: ben(), reason: DeclineReason::Declined, owner: anna() }.into(),
        OwnerExpired { offer, owner: anna() }.into(),
        OwnerWithdrawn { offer, reason: WithdrawReason::Withdrawn }.into(),
        OwnerAccepted { offer: Some(offer), owner: ben(), previous: anna(), history_to: 8, summary: Some(7) }.into(),
        OwnerReleased {
            previous: ben(),
            queue: "general".to_owned(),
            reason: ReleaseReason::Vanished,
            waiting_since: at(0),
            priority: 1,
            needs: Some(needed()),
        }
        .into(),
        ParticipantJoined { participant: participant(), leg: None, voice: Voice::Speak, invited_by: Some(ben()) }
            .into(),
        ParticipantLeft { participant: participant(), leg: None }.into(),
        Summary {
            upto: 6,
            text: Content::new("客户要求退款。"),
            tasks: vec![Content::new("核对订单")],
            messages: vec![2, 5],
            attachments: vec!["ark-media:01JABCDEF0".to_owned()],
            made_by: "ark".to_owned(),
            sha256: Hash::of("客户要求退款。".as_bytes()),
        }
        .into(),
        Note { by: ben(), text: Content::new("客户很着急。") }.into(),
        SessionClosed {
            session,
            reason: SessionCloseReason::Resolved,
            by: ben(),
            disposition: Some("refund".to_owned()),
            note: Some(Content::new("已退款")),
        }
        .into(),
    ]
}

fn people_story() -> [Event; 6] {
    let (into, from, merge) = (PersonId::new(1, 1), PersonId::new(2, 2), MergeId::new(3, 3));
    let keys = || vec![IdentityKey::new(KeyKind::Phone, "+8613800001212")];
    [
        NumberRevealed { leg: L1, by: "agent:anna".to_owned() }.into(),
        PersonLinked { person: into, keys: keys(), assurance: Assurance::Otp, previous: None }.into(),
        PersonMerged { merge, into, from, keys: keys(), reason: MergeReason::Key, by: "ark".to_owned() }.into(),
        PersonUnmerged { merge, into, from, keys: keys(), by: "anna".to_owned() }.into(),
        Erased {
            of: "ark.message.in.v1".to_owned(),
            sha256: SHA256.parse().expect("64 hex digits"),
            reason: EraseReason::Retention,
            at: at(5_000),
            kept: None,
        }
        .into(),
        Erasure { reason: EraseReason::Request, from_seq: 1, to_seq: 8, bodies: Some(5), by: "anna".to_owned() }.into(),
    ]
}

fn plan_story() -> [Event; 10] {
    let state = || "main_menu".to_owned();
    [
        IvrEntered {
            leg: L1,
            plan: "hotline-95188".to_owned(),
            version: 3,
            state: state(),
            verb: "menu".to_owned(),
            lang: Some("zh".to_owned()),
        }
        .into(),
        PromptStarted {
            leg: L1,
            play: 1,
            prompts: vec!["welcome".to_owned()],
            lang: "zh".to_owned(),
            length_ms: Some(4_200),
            barge_in: true,
            text: Some("欢迎致电。".to_owned()),
        }
        .into(),
        Dtmf { leg: L1, digit: Some('1'), masked: false, how: DtmfHow::Rfc4733, duration_ms: Some(120) }.into(),
        PromptFinished { leg: L1, play: 1, heard_ms: 1_980, cause: PromptCause::BargeIn }.into(),
        IvrStrike { leg: L1, state: state(), kind: StrikeKind::Silence, strikes: 1 }.into(),
        Dtmf { leg: L1, digit: None, masked: true, how: DtmfHow::Info, duration_ms: None }.into(),
        GatherFinished {
            leg: L1,
            state: "card".to_owned(),
            var: "card".to_owned(),
            outcome: GatherOutcome::Complete,
            digits: 16,
            value: None,
            masked: true,
        }
        .into(),
        IvrSet { leg: L1, var: "lang".to_owned(), value: Some("zh".to_owned()), masked: false }.into(),
        IvrKept {
            leg: L1,
            plan: "hotline".to_owned(),
            version: 3,
            run: Content::new(r#"{"state":"main"}"#),
            wakes: Some(at(5)),
        }
        .into(),
        HttpFinished {
            leg: L1,
            action: "balance".to_owned(),
            outcome: HttpOutcome::Ok,
            status: Some(200),
            took_ms: 87,
        }
        .into(),
    ]
}

fn needed() -> Needed {
    let skills = std::collections::BTreeMap::from([("refund".to_owned(), 2)]);
    Needed { language: Some("zh".to_owned()), skills }
}

fn person_story() -> [Event; 19] {
    let queue = || "general".to_owned();
    [
        QueueJoined { leg: L1, queue: queue(), position: 2, priority: 0, needs: Some(needed()) }.into(),
        QueuePosition { leg: L1, queue: queue(), position: 1, wait_ms: Some(30_000) }.into(),
        QueueRelaxed { leg: L1, queue: queue(), needs: needed(), waited_ms: 60_000 }.into(),
        ringing(L2, Role::Agent).into(),
        CallAnswered { leg: L2, codec: "PCMA".to_owned(), dtmf: None, ringing_ms: 2_300 }.into(),
        QueueLeft {
            leg: L1,
            queue: queue(),
            outcome: QueueOutcome::Answered,
            waited_ms: 31_000,
            answered_by: Some(L2),
        }
        .into(),
        LegBridged { leg: L1, with: L2 }.into(),
        LegHeld { leg: L2 }.into(),
        LegResumed { leg: L2, held_ms: 9_000 }.into(),
        LegUnbridged { leg: L1, with: L2, bridged_ms: 60_000 }.into(),
        TransferStarted {
            leg: L1,
            target: "branch".to_owned(),
            to: Pii::new("02188886666"),
            from: Some(L2),
            mode: Some(TransferMode::Warm),
            by: Some("agent:anna".to_owned()),
            note: Some(Content::new("陈先生问订单。")),
        }
        .into(),
        TransferChanged { leg: L1, target: "branch".to_owned(), stage: TransferStage::Ringing, with: Some(L2) }.into(),
        TransferFinished {
            leg: L1,
            target: "branch".to_owned(),
            outcome: TransferOutcome::NoAnswer,
            sip_status: Some(480),
            took_ms: 20_000,
            customer: Some(TransferEnd::From),
            owner: None,
        }
        .into(),
        RecordingStarted {
            leg: L1,
            recording: "r1".to_owned(),
            reference: "ark-media:01JABCDEF0".to_owned(),
            purpose: RecordingPurpose::Voicemail,
            format: Some(RecordingFormat::Wav),
            channels: vec![RecordingChannel::Caller, RecordingChannel::Heard],
        }
        .into(),
        RecordingPaused { leg: L1, recording: "r1".to_owned(), at_ms: Some(3_000) }.into(),
        RecordingResumed { leg: L1, recording: "r1".to_owned(), paused_ms: 12_000 }.into(),
        ConsentSettled {
            leg: L1,
            state: "ask".to_owned(),
            outcome: ConsentOutcome::Agreed,
            by: Some(ConsentBy::Key),
            kept: true,
        }
        .into(),
        CallSupervised { leg: L2, mode: SupervisionMode::Whisper }.into(),
        LegMuted { leg: L2, muted: true }.into(),
    ]
}

fn speech_story() -> [Event; 3] {
    [
        TranscriptFinal {
            leg: L1,
            speaker: Role::Customer,
            utterance: 1,
            start_ms: 4_200,
            end_ms: 5_600,
            text: Content::new("我要转人工。"),
            segments: vec![TranscriptSegment {
                start_ms: 4_200,
                end_ms: 5_600,
                text: Content::new("我要转人工。"),
                confidence: Some(0.93),
            }],
            confidence: Some(0.93),
            engine: "whisper:ggml-small".to_owned(),
            language: Some("zh".to_owned()),
            masked: false,
            degraded: false,
            recording: Some("r1".to_owned()),
            recording_ms: Some(3_900),
        }
        .into(),
        TranscriptCorrected {
            leg: L1, utterance: 1, text: Content::new("我要找人工。"), by: "agent:anna".to_owned()
        }
        .into(),
        TranscriptMissing {
            leg: L2,
            utterance: 3,
            start_ms: 9_000,
            end_ms: 11_000,
            trouble: TranscriptTrouble::Failed,
            reason: "no answer within 5s".to_owned(),
        }
        .into(),
    ]
}

fn quality() -> CallQuality {
    CallQuality {
        leg: L1,
        codec: "PCMA".to_owned(),
        received_packets: 2_066,
        sent_packets: 2_070,
        lost_packets: 6,
        loss_ratio: 0.0029,
        refused_packets: 0,
        jitter_us: 310,
        jitter_max_us: 2_400,
        rtt_us: Some(41_000),
        remote_loss_ratio: Some(0.0),
        mos: Some(4.31),
        rating: Some(88.4),
        late_packets: 2,
        loss_bursts: 4,
        delay_us: Some(60_500),
    }
}

fn system_story() -> [Event; 5] {
    let (plan, sha256, by) = (|| "hotline-95188".to_owned(), || SHA256.to_owned(), || "file".to_owned());
    [
        PlanPublished { plan: plan(), version: 4, sha256: sha256(), previous: Some(3), by: by(), note: None }.into(),
        PlanRolledBack {
            plan: plan(),
            version: 3,
            previous: 4,
            by: "api".to_owned(),
            note: Some("wrong hours".to_owned()),
        }
        .into(),
        PlanRefused {
            plan: plan(),
            sha256: sha256(),
            live: Some(3),
            reason: "hotline-95188.toml:12:3: state 'cards' is not reachable".to_owned(),
            findings: 1,
            by: by(),
        }
        .into(),
        Audited {
            what: AuditWhat::AccountChanged,
            by: Some("root".to_owned()),
            account: Some("anna".to_owned()),
            detail: Some("roles: agent, supervisor".to_owned()),
            address: Some(Pii::new("192.0.2.7")),
            conversation: Some(ConversationId::new(1, 1)),
        }
        .into(),
        LogGap { dropped_events: 17, from: at(0), until: at(4_000), reason: "disk full".to_owned() }.into(),
    ]
}

/// An event on its way into conversation `conversation` as number `n` of its kind: the id is made of both.
#[must_use]
pub fn new_event(conversation: ConversationId, n: u64, event: Event) -> NewEvent {
    let time = at(i64::try_from(n).expect("a small number") * 20);
    let unix_ms = u64::try_from(time.as_millisecond()).expect("a time after 1970");
    let id = EventId::new(unix_ms, u128::from_be_bytes(conversation.to_bytes()) << 24 | u128::from(n));
    let source = source::call(&Tenant::MAIN, "carrier", format!("{conversation}@pc33.example.net").as_bytes());
    NewEvent {
        tenant: Tenant::MAIN,
        conversation,
        epoch: 1,
        at: time,
        event: crate::CloudEvent::new(id.to_string(), source, time, event),
    }
}

/// The log of one conversation with these events.
#[must_use]
pub fn log(events: impl IntoIterator<Item = Event>) -> Vec<Record> {
    (1..).zip(events).map(|(n, event)| new_event(ConversationId::new(9, 9), n, event).into_record(n)).collect()
}

/// What a whole log folds to.
///
/// # Panics
/// When it holds nothing.
#[must_use]
pub fn fold(log: &[Record]) -> ConversationState {
    let mut state = ConversationState::begin(&log[0]);
    for record in &log[1..] {
        state.apply(record);
    }
    state
}
