//! Signatures and ciphers of the providers.
//!
//! Everything is verified in constant time and before anything is decrypted or read. Nothing here panics, whatever comes.
//!
//! SHA-1, HMAC and RSA are **ring**'s: it is below rustls in every build of Ark already, and its RSA signing is blinded and
//! constant in time, where the `rsa` crate's leaks by timing (RUSTSEC-2023-0071) and brings `rand`, which no machine may
//! reach. What ring draws for blinding does not show in a signature: PKCS #1 v1.5 gives the same one every time. ring has no
//! AES-CBC, so that is RustCrypto's `aes` and `cbc`.

pub mod alipay;
pub mod container;
pub mod webhook;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::{digest, hmac};
use subtle::ConstantTimeEq as _;

/// Base64 as providers write it: last characters with bits that stand for nothing, and padding left out, are taken too.
/// A strict decoder refuses 46 of the 62 possible last characters of a 43-character AES key.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads base64, spaces and line ends left out.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    if text.bytes().any(|b| b.is_ascii_whitespace()) {
        let tight: String = text.split_ascii_whitespace().collect();
        return BASE64.decode(tight).ok();
    }
    BASE64.decode(text).ok()
}

/// Writes base64 with padding.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Lower-case hex.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

/// Whether two texts are the same, in a time that tells nothing but their lengths.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// `hex(sha1(concat(sort(parts))))`: what WeChat, WeCom and DingTalk sign requests with. `parts` includes the shared token.
#[must_use]
pub fn sorted_sha1(parts: &[&str]) -> String {
    let mut parts = parts.to_vec();
    parts.sort_unstable();
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part.as_bytes());
    }
    to_hex(context.finish().as_ref())
}

/// Checks a signature made by [`sorted_sha1`]. Upper-case hex is taken too.
#[must_use]
pub fn verify_sorted_sha1(signature: &str, parts: &[&str]) -> bool {
    same(signature.to_ascii_lowercase().as_bytes(), sorted_sha1(parts).as_bytes())
}

/// The signature of a DingTalk robot's request: `base64(HMAC-SHA256(secret, timestamp + "\n" + secret))`. It does not cover
/// the body: it is good for any body for an hour, so that requests must come over TLS and messages are told by their ids.
#[must_use]
pub fn dingtalk_robot_sign(timestamp: &str, secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    for piece in [timestamp, "\n", secret] {
        context.update(piece.as_bytes());
    }
    to_base64(context.sign().as_ref())
}

/// Checks [`dingtalk_robot_sign`].
#[must_use]
pub fn verify_dingtalk_robot(timestamp: &str, secret: &str, sign: &str) -> bool {
    same(sign.as_bytes(), dingtalk_robot_sign(timestamp, secret).as_bytes())
}
