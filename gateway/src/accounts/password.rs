//! Passwords: argon2id, a few at a time, on threads of their own.

use std::sync::{Arc, LazyLock};

use argon2::password_hash::{PasswordHash as Phc, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use ark_store::PasswordHash;
use tokio::sync::Semaphore;

use super::limits::{
    HASH_KIB, HASH_PASSES, HASHES_AT_ONCE, HASHES_WAITING_MAX, PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN,
};

static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(HASHES_AT_ONCE)));
static PLACES: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(HASHES_AT_ONCE + HASHES_WAITING_MAX)));
/// What is looked at for a name that nobody has, so that the answer takes as long.
static NOBODYS: LazyLock<Option<PasswordHash>> = LazyLock::new(|| made("nobody's password").ok());

/// Why a password was not looked at or not hashed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too many are looked at already.
    #[error("too many sign in at once; try again in a moment")]
    Busy,
    /// The machine gave no random bytes or no memory.
    #[error("a password cannot be hashed: {0}")]
    Failed(String),
}

/// Whether a new password is good enough: long, and not the name. Nothing else is asked for (NIST SP 800-63B 5.1.1.2).
///
/// # Errors
/// A sentence that says what a password must be.
pub fn fits(password: &str, name: &str) -> Result<(), String> {
    if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Err(format!(
            "a password has at least {PASSWORD_CHARS_MIN} characters and at most {PASSWORD_BYTES_MAX} bytes"
        ));
    }
    let lower = password.to_lowercase();
    let mut chars = lower.chars();
    let one = chars.next().is_some_and(|first| chars.all(|next| next == first));
    if one || lower == name || EVERYBODYS.contains(&lower.as_str()) {
        return Err("this password is among the first that are tried: take another one".to_owned());
    }
    Ok(())
}

/// What lists of leaked passwords begin with, as far as it is long enough.
const EVERYBODYS: [&str; 12] = [
    "1234567890",
    "0123456789",
    "12345678910",
    "123456789a",
    "a123456789",
    "qwertyuiop",
    "1q2w3e4r5t",
    "password123",
    "password1234",
    "administrator",
    "passwordpassword",
    "changeme123",
];

fn argon2() -> Argon2<'static> {
    let params = Params::new(HASH_KIB, HASH_PASSES, 1, None).expect("the bounds of argon2 are kept");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn made(password: &str) -> Result<PasswordHash, PasswordError> {
    let failed = |error: String| PasswordError::Failed(error);
    let mut salt = [0_u8; 16];
    getrandom::fill(&mut salt).map_err(|error| failed(error.to_string()))?;
    let salt = SaltString::encode_b64(&salt).map_err(|error| failed(error.to_string()))?;
    let hash = argon2().hash_password(password.as_bytes(), &salt).map_err(|error| failed(error.to_string()))?;
    Ok(PasswordHash::new(hash.to_string()))
}

fn same(kept: &PasswordHash, presented: &str) -> bool {
    Phc::new(kept.as_str()).is_ok_and(|kept| argon2().verify_password(presented.as_bytes(), &kept).is_ok())
}

async fn in_turn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PasswordError> {
    let place = Arc::clone(&PLACES).try_acquire_owned().map_err(|_| PasswordError::Busy)?;
    let turn = Arc::clone(&TURNS).acquire_owned().await.map_err(|_| PasswordError::Busy)?;
    let done = tokio::task::spawn_blocking(move || {
        let _held = (place, turn);
        work()
    });
    done.await.map_err(|error| PasswordError::Failed(error.to_string()))
}

/// Hashes a new password.
///
/// # Errors
/// See [`PasswordError`].
pub async fn hash(password: String) -> Result<PasswordHash, PasswordError> {
    in_turn(move || made(&password)).await?
}

/// Whether a presented password is the kept one. Without a kept one it is wrong, and takes as long to say so.
///
/// # Errors
/// See [`PasswordError`].
pub async fn matches(kept: Option<PasswordHash>, presented: String) -> Result<bool, PasswordError> {
    if presented.len() > PASSWORD_BYTES_MAX {
        return Ok(false);
    }
    in_turn(move || match &kept {
        Some(kept) => same(kept, &presented),
        None => {
            let _ = NOBODYS.as_ref().is_some_and(|nobodys| same(nobodys, &presented));
            false
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_again_and_no_two_hashes_are_alike() {
        let (one, two) =
            (hash("correct horse".to_owned()).await.unwrap(), hash("correct horse".to_owned()).await.unwrap());
        assert!(one.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && one != two, "{}", one.as_str());
        assert_eq!(matches(Some(one.clone()), "correct horse".to_owned()).await, Ok(true));
        assert_eq!(matches(Some(one), "correct house".to_owned()).await, Ok(false));
        assert_eq!(matches(None, "nobody's password".to_owned()).await, Ok(false), "whatever it is");
        assert!(!format!("{two:?}").contains("argon2id"));
    }

    #[test]
    fn what_is_tried_first_is_no_password() {
        assert_eq!(fits("correct horse", "anna"), Ok(()));
        assert_eq!(fits("正确的马电池订书钉呀", "anna"), Ok(()), "characters, not bytes");
        for bad in ["", "short", "aaaaaaaaaaaa", "Password123", "1234567890", "anna.zhang.1", &"x1".repeat(200)] {
            assert!(fits(bad, "anna.zhang.1").is_err(), "{bad}");
        }
    }
}
