//! The AES container that DingTalk events, WeChat's safe mode and WeCom share.
//!
//! AES-256-CBC; the key is `base64(43 characters + "=")`, the IV its first 16 bytes; inside is
//! `16 random bytes | u32 length, big-endian | message | owner's id`, padded as PKCS #7 does, **to blocks of 32**: a usual
//! unpadder, which knows blocks of 16, refuses half of all lengths. There is no MAC: `sha1` with the shared token is the only
//! integrity, so [`Envelope::open`] checks it before it decrypts anything, and there is no way to decrypt without it.

use aes::Aes256;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockDecryptMut as _, BlockEncryptMut as _, KeyIvInit as _};

use super::{from_base64, same, sorted_sha1, to_base64, verify_sorted_sha1};
use crate::settings::Secret;

/// To what a message is padded.
const BLOCK: usize = 32;
/// Random bytes and length before the message.
const HEAD: usize = 20;

/// Why an AES key is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the AES key is 43 characters of letters and digits, as the provider's console shows it")]
pub struct KeyError;

/// Why an envelope is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The signature is not that of the token.
    #[error("the signature does not match: the token is another one, or the request was changed")]
    Signature,
    /// It is no base64, or its length is no multiple of 16.
    #[error("the encrypted text is not whole")]
    Broken,
    /// What is inside is no container: the key is another one.
    #[error("the encrypted text does not open: the AES key is another one")]
    Key,
    /// It is for somebody else.
    #[error("the message is for another app or corporation")]
    Owner,
}

/// A shared token, an AES key and whose messages are taken.
pub struct Envelope {
    token: Secret,
    key: [u8; 32],
    owners: Vec<String>,
}

impl Envelope {
    /// `owners`: the ids that may stand inside (app id, corp id, suite key); the first is written into what is sealed.
    ///
    /// # Errors
    /// [`KeyError`] when the key is not 43 characters of base64.
    pub fn new(token: Secret, aes_key: &Secret, owners: Vec<String>) -> Result<Self, KeyError> {
        let text = aes_key.reveal().trim();
        let bytes = Some(text).filter(|text| text.len() == 43).and_then(from_base64).ok_or(KeyError)?;
        Ok(Self { token, key: bytes.try_into().map_err(|_| KeyError)?, owners })
    }

    /// The signature of an encrypted text.
    #[must_use]
    pub fn sign(&self, timestamp: &str, nonce: &str, encrypted: &str) -> String {
        sorted_sha1(&[self.token.reveal(), timestamp, nonce, encrypted])
    }

    /// Checks the signature, then decrypts and checks for whom it is.
    ///
    /// # Errors
    /// [`OpenError`], the signature first.
    pub fn open(&self, signature: &str, timestamp: &str, nonce: &str, encrypted: &str) -> Result<Vec<u8>, OpenError> {
        if !verify_sorted_sha1(signature, &[self.token.reveal(), timestamp, nonce, encrypted]) {
            return Err(OpenError::Signature);
        }
        let mut bytes = from_base64(encrypted).ok_or(OpenError::Broken)?;
        let (key, iv) = self.key_and_iv();
        let cipher = cbc::Decryptor::<Aes256>::new(key.into(), iv.into());
        let plain = cipher.decrypt_padded_mut::<NoPadding>(&mut bytes).map_err(|_| OpenError::Broken)?;
        let (message, owner) = take_apart(plain).ok_or(OpenError::Key)?;
        if !self.owners.iter().any(|mine| same(mine.as_bytes(), owner)) {
            return Err(OpenError::Owner);
        }
        Ok(message.to_vec())
    }

    /// Encrypts a message. `random` only keeps two equal messages from looking alike.
    #[must_use]
    pub fn seal(&self, random: [u8; 16], message: &[u8]) -> String {
        let owner = self.owners.first().map_or("", String::as_str);
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEAD + message.len() + owner.len() + BLOCK);
        bytes.extend_from_slice(&random);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(message);
        bytes.extend_from_slice(owner.as_bytes());
        let pad = BLOCK - bytes.len() % BLOCK;
        bytes.resize(bytes.len() + pad, u8::try_from(pad).expect("a block is 32 bytes"));
        let (key, iv) = self.key_and_iv();
        let length = bytes.len();
        let sealed = cbc::Encryptor::<Aes256>::new(key.into(), iv.into())
            .encrypt_padded_mut::<NoPadding>(&mut bytes, length)
            .expect("what was padded is whole blocks");
        to_base64(sealed)
    }

    fn key_and_iv(&self) -> (&[u8; 32], &[u8; 16]) {
        (&self.key, self.key.first_chunk().expect("the key is longer than the IV"))
    }
}

/// Message and owner of a decrypted container.
fn take_apart(plain: &[u8]) -> Option<(&[u8], &[u8])> {
    let pad = usize::from(*plain.last()?);
    let body = plain.get(..plain.len().checked_sub(pad)?).filter(|_| (1..=BLOCK).contains(&pad))?;
    let length = u32::from_be_bytes(body.get(16..HEAD)?.try_into().ok()?);
    body.get(HEAD..)?.split_at_checked(usize::try_from(length).ok()?)
}
