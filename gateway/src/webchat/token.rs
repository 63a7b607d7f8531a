//! Who a visitor is: the token of their browser, and what their site signs of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::limits::{CLOCK_SKEW, IDENTITY_BYTES_MAX, IDENTITY_TIME_MAX, NAME_CHARS_MAX, USER_BYTES_MAX};
use crate::http::token::hex;

const PREFIX: &str = "v1.";

/// A browser's token: 256 random bits. It is kept in the browser alone; the log knows its hash, which is the thread's name.
///
/// # Errors
/// The system gave no random bytes.
pub(super) fn new() -> Result<String, String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system gave no random bytes: {error}"))?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// The thread that a token opens; none when it is no token.
pub(super) fn thread(account: &str, token: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix(PREFIX)?).ok()?;
    if bytes.len() != 32 {
        return None;
    }
    let mut hash = Sha256::new();
    hash.update(b"ark web visitor v1\0");
    hash.update(account.as_bytes());
    hash.update(b"\0");
    hash.update(&bytes);
    Some(format!("v{}", &hex(&hash.finalize())[..40]))
}

/// What a site says of a visitor who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    /// Their id at the site.
    pub(super) user: String,
    /// What they are called.
    pub(super) name: Option<String>,
    /// Their phone number, when the site has verified it.
    pub(super) phone: Option<String>,
}

/// Why a site's token is refused: told to the page's developer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum IdentityError {
    #[error("this channel knows no key for visitors' tokens: set secrets.identify")]
    NoKey,
    #[error("the token is no JWT in compact form, signed with HS256")]
    Form,
    #[error("the token's signature is not by this channel's key")]
    Signature,
    #[error("the token has ended, is not good yet, or is good for more than 7 days (`exp`, `nbf`)")]
    Time,
    #[error("the token is for another channel (`aud`)")]
    Audience,
    #[error("the token names nobody: `sub` has 1 to 128 bytes")]
    Nobody,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sub: String,
    exp: Option<i64>,
    nbf: Option<i64>,
    aud: Option<Audience>,
    name: Option<String>,
    phone_number: Option<String>,
    #[serde(default)]
    phone_number_verified: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// Reads a site's token: a JWT (RFC 7519) with HS256 under the key that the site shares with this channel.
///
/// # Errors
/// [`IdentityError`].
pub(super) fn identify(key: &str, account: &str, token: &str, now: Timestamp) -> Result<Person, IdentityError> {
    if token.len() > IDENTITY_BYTES_MAX {
        return Err(IdentityError::Form);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(IdentityError::Form)?;
    let (header, claims) = signed.split_once('.').ok_or(IdentityError::Form)?;
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| IdentityError::Form);
    let header: Header = serde_json::from_slice(&bytes(header)?).map_err(|_| IdentityError::Form)?;
    if header.alg != "HS256" {
        return Err(IdentityError::Form);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(signed.as_bytes());
    // In time that does not depend on where they differ; nothing of the claims is read before.
    mac.verify_slice(&bytes(signature)?).map_err(|_| IdentityError::Signature)?;
    let claims: Claims = serde_json::from_slice(&bytes(claims)?).map_err(|_| IdentityError::Form)?;
    let time = |seconds: Option<i64>| seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let until = time(claims.exp).ok_or(IdentityError::Time)?;
    let left = until.duration_since(now);
    if left < -CLOCK_SKEW || left > IDENTITY_TIME_MAX + CLOCK_SKEW {
        return Err(IdentityError::Time);
    }
    if time(claims.nbf).is_some_and(|from| from.duration_since(now) > CLOCK_SKEW) {
        return Err(IdentityError::Time);
    }
    let ours = match &claims.aud {
        None => true,
        Some(Audience::One(one)) => one == account,
        Some(Audience::Many(many)) => many.iter().any(|one| one == account),
    };
    if !ours {
        return Err(IdentityError::Audience);
    }
    if claims.sub.is_empty() || claims.sub.len() > USER_BYTES_MAX {
        return Err(IdentityError::Nobody);
    }
    let name = claims.name.map(|name| plain(&name, NAME_CHARS_MAX)).filter(|name| !name.is_empty());
    let phone = claims.phone_number.filter(|_| claims.phone_number_verified);
    Ok(Person { user: claims.sub, name, phone })
}

const _: () = assert!(SignedDuration::ZERO.as_secs() < CLOCK_SKEW.as_secs());

/// Words of a page as they are kept: without control characters, of a bounded length.
pub(super) fn plain(text: &str, chars: usize) -> String {
    text.trim().chars().filter(|letter| !letter.is_control()).take(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn sign(key: &str, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn read(header: &Value, claims: &Value) -> Result<Person, IdentityError> {
        identify(KEY, "site", &sign(KEY, header, claims), now())
    }

    #[test]
    fn a_browser_token_opens_its_own_thread_alone() {
        let token = new().unwrap();
        let opened = thread("site", &token).unwrap();
        assert_eq!(opened.len(), 41);
        assert!(!token.contains(&opened[1..]));
        assert_eq!(thread("site", &token), Some(opened.clone()));
        assert_ne!(thread("other", &token), Some(opened.clone()), "another channel's thread is another");
        assert_ne!(thread("site", &new().unwrap()), Some(opened));
        for bad in ["", "v1.", "v1.abc", &token[3..], &format!("{token}x"), "v1.AAAA\u{0}"] {
            assert_eq!(thread("site", bad), None, "{bad}");
        }
    }

    #[test]
    fn what_a_site_signs_is_believed_and_nothing_else() {
        let header = json!({"alg": "HS256", "typ": "JWT"});
        let end = now().as_second() + 600;
        let claims = json!({"sub": "u-77", "exp": end, "name": "Chen\n Wei", "phone_number": "+8613800001212"});
        let person = read(&header, &claims).unwrap();
        assert_eq!((person.user.as_str(), person.name.as_deref(), person.phone), ("u-77", Some("Chen Wei"), None));
        let mut verified = claims.clone();
        verified["phone_number_verified"] = true.into();
        assert_eq!(read(&header, &verified).unwrap().phone.as_deref(), Some("+8613800001212"));

        let token = sign(KEY, &header, &claims);
        assert_eq!(identify("another key that is long enough", "site", &token, now()), Err(IdentityError::Signature));
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert_eq!(identify(KEY, "site", &format!("{signed}."), now()), Err(IdentityError::Signature));
        assert_eq!(read(&json!({"alg": "none"}), &claims), Err(IdentityError::Form));
        assert_eq!(read(&json!({"alg": "RS256"}), &claims), Err(IdentityError::Form));
        for junk in ["", "a", "a.b", "a.b.c", "..", "....", &"x".repeat(5_000)] {
            assert!(identify(KEY, "site", junk, now()).is_err(), "{junk}");
        }
        let with = |key: &str, value: Value| {
            let mut claims = claims.clone();
            claims[key] = value;
            read(&header, &claims)
        };
        assert_eq!(with("exp", (now().as_second() - 61).into()), Err(IdentityError::Time));
        assert_eq!(with("exp", Value::Null), Err(IdentityError::Time));
        assert_eq!(with("exp", (now().as_second() + 8 * 24 * 3_600).into()), Err(IdentityError::Time));
        assert_eq!(with("nbf", (now().as_second() + 120).into()), Err(IdentityError::Time));
        assert_eq!(with("aud", "other".into()), Err(IdentityError::Audience));
        assert!(with("aud", json!(["x", "site"])).is_ok());
        assert_eq!(with("sub", "".into()), Err(IdentityError::Nobody));
        assert_eq!(with("sub", "x".repeat(129).into()), Err(IdentityError::Nobody));
    }
}
