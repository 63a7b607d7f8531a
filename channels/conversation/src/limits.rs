//! Every bound of this crate, by name.

/// Longest tenant name, in bytes.
pub const TENANT_BYTES_MAX: usize = 64;

/// Longest name in an [`crate::Owner`], in bytes.
pub const OWNER_NAME_BYTES_MAX: usize = 128;

/// Longest CloudEvents `source`, in bytes; longer SIP Call-IDs are shortened by [`crate::source::call`].
pub const SOURCE_BYTES_MAX: usize = 640;

/// Longest CloudEvents `id`, in bytes: the bound of the adapter standard.
pub const EVENT_ID_BYTES_MAX: usize = 128;

/// How much of a SIP Call-ID goes into a source as it is, in bytes before escaping.
pub const CALL_ID_BYTES_MAX: usize = 96;

/// How many legs a [`crate::ConversationState`] keeps; the oldest ended one makes room.
pub const LEGS_MAX: usize = 64;

/// Numbers that are kept free for the legs of one call: its operators and supervisors, one after the other.
pub const CALL_LEGS: u32 = 100;

/// Longest phone number that is read as one (E.164 has 15 digits; dial strings are a little longer).
pub const NUMBER_DIGITS_MAX: usize = 32;

/// Longest name of a kind of identity key, in bytes.
pub const KEY_KIND_BYTES_MAX: usize = 40;

/// Longest value of an identity key, in bytes.
pub const IDENTITY_VALUE_BYTES_MAX: usize = 256;

/// Longest key of a message out, in bytes.
pub const MESSAGE_KEY_BYTES_MAX: usize = 96;

/// A note of the house's own.
pub const NOTE_BYTES_MAX: usize = 20_000;

/// Characters of what somebody said that a line of a summary repeats.
pub const SUMMARY_LINE_CHARS_MAX: usize = 160;

/// Lines of one kind in a summary.
pub const SUMMARY_LINES_OF_A_KIND: usize = 6;

/// The last words in a summary.
pub const SUMMARY_LAST: usize = 6;

/// Parts in a message: the adapter standard's bound.
pub const PARTS_MAX: usize = 16;

/// Characters in a part of text: the adapter standard's bound.
pub const TEXT_CHARS_MAX: usize = 20_000;

/// Buttons on a card: the adapter standard's bound.
pub const CARD_ACTIONS_MAX: usize = 8;

/// Legs that one message is tried by.
pub const ATTEMPTS_MAX: usize = 4;

/// Participants beside the owner.
pub const PARTICIPANTS_MAX: usize = 16;

/// Agents of one conversation whom its state remembers; the latest.
pub const AGENTS_SEEN_MAX: usize = 32;

/// Messages, tasks and files that a summary names, together.
pub const SUMMARY_REFS_MAX: usize = 64;

/// The latest events from outside that the machine tells duplicates by, 16 bytes each; older ones are told by the store.
pub const INBOUND_IDS_MAX: usize = 256;

/// The latest messages out whose fate the machine knows; older keys are told by the store.
pub const OUTBOUND_KEYS_MAX: usize = 256;

/// Events in one [`crate::machine::Commit`] that was not fetched yet.
pub const COMMIT_EVENTS_MAX: usize = 256;

/// How long an offer, or an offered leg, may be open.
pub const OFFER_TTL_MAX: jiff::SignedDuration = jiff::SignedDuration::from_secs(900);

/// How long a companion link can be used.
pub const LINK_TTL_MAX: jiff::SignedDuration = jiff::SignedDuration::from_secs(900);

/// How long a companion link can be used after the last call of its conversation has ended.
pub const LINK_AFTER_CALL: jiff::SignedDuration = jiff::SignedDuration::from_secs(600);

/// How long a spoken code can be typed.
pub const LINK_CODE_TTL: jiff::SignedDuration = jiff::SignedDuration::from_secs(300);

/// Companion links of one conversation that are alive at once.
pub const LINKS_MAX: usize = 4;

const _: () = assert!(LINKS_MAX < LEGS_MAX && LINK_CODE_TTL.as_secs() <= LINK_TTL_MAX.as_secs());

// Each byte takes three at most when escaped (a tenant needs no escape; a trunk is cut to 64 bytes); the hash and the
// rest fit beside them.
const _: () = assert!(CALL_ID_BYTES_MAX * 3 + TENANT_BYTES_MAX + 64 * 3 + 48 <= SOURCE_BYTES_MAX);

/// Items that one router keeps: waiting, offered and with agents.
pub const ROUTED_MAX: usize = 50_000;

/// Agents that one router knows, signed on or not.
pub const AGENTS_MAX: usize = 10_000;

/// Queues of one router.
pub const QUEUES_MAX: usize = 1_000;

/// Classes of items (queue, kind, needs, stage) of one router; those without items make room.
pub const CLASSES_MAX: usize = 4_000;

/// Skills that an item needs or an agent has.
pub const SKILLS_MAX: usize = 32;

/// What priority is worth in waiting at most, either way: nobody is overtaken by somebody who comes later than twice this.
pub const PRIORITY_WORTH_MAX: jiff::SignedDuration = jiff::SignedDuration::from_secs(1_800);

/// How often it is looked again whether anybody works there who has what somebody needs that nobody had.
pub const NEEDS_LOOK: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// When an agent who declined an item may be asked for it again, if nobody else took it.
pub const RETRY_AFTER: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// Offers in a row that an agent may let pass before being set away.
pub const MISSED_MAX: u32 = 2;

/// Items that one agent has declined and that are looked past in one class, when the next for that agent is looked for.
pub const DECLINED_SCAN_MAX: usize = 64;

/// How long a place in line waits for its callback: who was not called by then waits no longer.
pub const CALLBACK_TTL_MAX: jiff::SignedDuration = jiff::SignedDuration::from_secs(24 * 3_600);

/// Times that a customer who asked for a callback is called.
pub const CALLBACKS_MAX: u32 = 3;

/// How long after a call that the customer did not take the next one is made.
pub const CALLBACK_AGAIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(300);

/// Handling times that a queue's mean is made of.
pub const HANDLED_KEPT: usize = 50;

/// Within this a person should have answered: the share of it is reported.
pub const ANSWER_AIM: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);

/// How long an item is kept for the agent whom the customer had last, at most.
pub const KEEP_FOR_LAST_MAX: jiff::SignedDuration = jiff::SignedDuration::from_secs(120);
