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

/// Longest phone number that is read as one (E.164 has 15 digits; dial strings are a little longer).
pub const NUMBER_DIGITS_MAX: usize = 32;

/// Longest name of a kind of identity key, in bytes.
pub const KEY_KIND_BYTES_MAX: usize = 40;

/// Longest value of an identity key, in bytes.
pub const IDENTITY_VALUE_BYTES_MAX: usize = 256;

// Each byte takes three at most when escaped (a tenant needs no escape; a trunk is cut to 64 bytes); the hash and the
// rest fit beside them.
const _: () = assert!(CALL_ID_BYTES_MAX * 3 + TENANT_BYTES_MAX + 64 * 3 + 48 <= SOURCE_BYTES_MAX);
