//! Alipay's signatures (RSA2: RSASSA-PKCS1-v1_5 with SHA-256) of gateway versions 2 and 3, and its AES.

use std::borrow::Cow;
use std::collections::BTreeMap;

use aes::Aes128;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut as _, BlockEncryptMut as _, KeyIvInit as _};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::value::RawValue;

use super::{from_base64, to_base64};
use crate::settings::Secret;

/// Why a key is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Our private key.
    #[error("the private key is an RSA key of 2,048 bits or more, PKCS #1 or PKCS #8, in PEM or as bare base64")]
    Private,
    /// Alipay's public key.
    #[error("Alipay's public key is the one that its console shows, in PEM or as bare base64; it is not the app's own")]
    Public,
    /// The AES key.
    #[error("the AES key is the base64 of 16 bytes, as Alipay's console shows it")]
    Aes,
}

/// Our private key.
pub struct SigningKey(RsaKeyPair);

impl SigningKey {
    /// PEM or bare base64, PKCS #1 or PKCS #8.
    ///
    /// # Errors
    /// [`KeyError::Private`].
    pub fn new(text: &Secret) -> Result<Self, KeyError> {
        let der = from_pem(text.reveal()).ok_or(KeyError::Private)?;
        let pair = RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der));
        pair.map(Self).map_err(|_| KeyError::Private)
    }

    /// The signature of these bytes, in base64. The same bytes always have the same one.
    #[must_use]
    pub fn sign(&self, content: &[u8]) -> String {
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), content, &mut signature)
            .expect("the buffer is as long as the modulus, and the key was checked when it was read");
        to_base64(&signature)
    }

    /// Signs a request of version 2: the sorted pairs without `sign` and without empty ones.
    #[must_use]
    pub fn sign_pairs(&self, pairs: &[(&str, &str)]) -> String {
        let pairs = pairs.iter().filter(|(name, value)| !name.is_empty() && !value.is_empty());
        self.sign(&content(pairs.map(|(name, value)| (name.as_bytes(), value.as_bytes())), &["sign"]))
    }

    /// The public half as the console takes it: base64 of its SubjectPublicKeyInfo (RFC 5280 4.1).
    #[must_use]
    pub fn public(&self) -> String {
        /// `SEQUENCE { OID rsaEncryption, NULL }`.
        const RSA: [u8; 15] =
            [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
        let mut bits = vec![0];
        bits.extend_from_slice(self.0.public().as_ref());
        let mut inner = RSA.to_vec();
        write_der(&mut inner, 0x03, &bits);
        let mut whole = Vec::new();
        write_der(&mut whole, 0x30, &inner);
        to_base64(&whole)
    }
}

/// Alipay's public key.
pub struct VerifyingKey(Vec<u8>);

impl VerifyingKey {
    /// PEM or bare base64 of a SubjectPublicKeyInfo, or of a PKCS #1 key.
    ///
    /// # Errors
    /// [`KeyError::Public`].
    pub fn new(text: &str) -> Result<Self, KeyError> {
        let der = from_pem(text).ok_or(KeyError::Public)?;
        public_key(&der).map(|key| Self(key.to_vec())).ok_or(KeyError::Public)
    }

    /// Whether the signature (base64) is Alipay's for these bytes.
    #[must_use]
    pub fn verify(&self, content: &[u8], signature: &str) -> bool {
        let Some(signature) = from_base64(signature) else { return false };
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.0).verify(content, &signature).is_ok()
    }

    /// Checks a notification: first without `sign_type`, then, as older ones are signed, with it. Pairs are the bytes that
    /// were signed, in the charset that the notification names.
    #[must_use]
    pub fn verify_pairs(&self, pairs: &[(Vec<u8>, Vec<u8>)]) -> bool {
        let Some(sign) = pairs.iter().find(|(name, _)| name == b"sign") else { return false };
        let Ok(sign) = std::str::from_utf8(&sign.1) else { return false };
        let bytes = || pairs.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        self.verify(&content(bytes(), &["sign", "sign_type"]), sign) || self.verify(&content(bytes(), &["sign"]), sign)
    }

    /// Checks the answer of gateway version 2 and gives the value that was signed: the text of `..._response` as it stands
    /// in the body, byte for byte; writing it anew would change it.
    #[must_use]
    pub fn verify_response<'a>(&self, body: &'a [u8]) -> Option<&'a RawValue> {
        let fields: BTreeMap<Cow<'a, str>, &'a RawValue> = serde_json::from_slice(body).ok()?;
        let sign: String = serde_json::from_str(fields.get("sign")?.get()).ok()?;
        let mut values = fields.iter().filter(|(name, _)| name.ends_with("_response"));
        let (_, value) = values.next().filter(|_| values.next().is_none())?;
        self.verify(value.get().as_bytes(), &sign).then_some(*value)
    }

    /// Checks an answer of version 3 by its headers `alipay-timestamp`, `alipay-nonce` and `alipay-signature`.
    #[must_use]
    pub fn verify_v3(&self, timestamp: &str, nonce: &str, body: &[u8], signature: &str) -> bool {
        let mut content = format!("{timestamp}\n{nonce}\n").into_bytes();
        content.extend_from_slice(body);
        content.push(b'\n');
        self.verify(&content, signature)
    }
}

/// The `authorization` header of version 3. `nonce` is new for each request; `path` starts with `/` and has the query.
#[must_use]
pub fn authorization_v3(
    key: &SigningKey,
    (app_id, nonce, timestamp_ms): (&str, &str, i64),
    (method, path, body): (&str, &str, &str),
) -> String {
    let auth = format!("app_id={app_id},nonce={nonce},timestamp={timestamp_ms}");
    let sign = key.sign(format!("{auth}\n{method}\n{path}\n{body}\n").as_bytes());
    format!("ALIPAY-SHA256withRSA {auth},sign={sign}")
}

/// `name=value&...` of the pairs, sorted by name, without those that are skipped. Values are raw, not escaped.
fn content<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>, skip: &[&str]) -> Vec<u8> {
    let mut pairs: Vec<_> = pairs.filter(|(name, _)| !skip.iter().any(|skip| skip.as_bytes() == *name)).collect();
    pairs.sort_by_key(|(name, _)| *name);
    let mut content = Vec::with_capacity(pairs.iter().map(|(name, value)| name.len() + value.len() + 2).sum());
    for (index, (name, value)) in pairs.into_iter().enumerate() {
        if index > 0 {
            content.push(b'&');
        }
        content.extend_from_slice(name);
        content.push(b'=');
        content.extend_from_slice(value);
    }
    content
}

/// Alipay's AES (`encrypt_type=AES`): AES-128-CBC with an IV of zeros and PKCS #7.
pub struct Aes([u8; 16]);

impl Aes {
    /// The key as the console shows it.
    ///
    /// # Errors
    /// [`KeyError::Aes`].
    pub fn new(text: &Secret) -> Result<Self, KeyError> {
        let bytes = from_base64(text.reveal().trim()).ok_or(KeyError::Aes)?;
        bytes.try_into().map(Self).map_err(|_| KeyError::Aes)
    }

    /// Encrypts into base64.
    #[must_use]
    pub fn seal(&self, plain: &[u8]) -> String {
        let cipher = cbc::Encryptor::<Aes128>::new(&self.0.into(), &[0; 16].into());
        let mut bytes = plain.to_vec();
        bytes.resize(plain.len() + 16, 0);
        to_base64(
            cipher.encrypt_padded_mut::<Pkcs7>(&mut bytes, plain.len()).expect("there is room for a block of padding"),
        )
    }

    /// Decrypts; none: it is not of this key.
    #[must_use]
    pub fn open(&self, sealed: &str) -> Option<Vec<u8>> {
        let mut bytes = from_base64(sealed)?;
        let cipher = cbc::Decryptor::<Aes128>::new(&self.0.into(), &[0; 16].into());
        cipher.decrypt_padded_mut::<Pkcs7>(&mut bytes).ok().map(<[u8]>::to_vec)
    }
}

/// The bytes of a PEM block, or of bare base64.
fn from_pem(text: &str) -> Option<Vec<u8>> {
    let body: String = text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    from_base64(&body).filter(|bytes| !bytes.is_empty())
}

/// The PKCS #1 key in a SubjectPublicKeyInfo, or the whole when it is one.
fn public_key(der: &[u8]) -> Option<&[u8]> {
    let (0x30, inner, []) = read_der(der)? else { return None };
    match read_der(inner)? {
        (0x30, _, rest) => {
            let (0x03, bits, []) = read_der(rest)? else { return None };
            let (0, key) = bits.split_first()? else { return None };
            public_key_shape(key).then_some(key)
        }
        _ => public_key_shape(der).then_some(der),
    }
}

/// `SEQUENCE { INTEGER, INTEGER }`, the first of 2,048 bits at least.
fn public_key_shape(der: &[u8]) -> bool {
    let shape = || {
        let (0x30, inner, []) = read_der(der)? else { return None };
        let (0x02, modulus, rest) = read_der(inner)? else { return None };
        let (0x02, _, []) = read_der(rest)? else { return None };
        Some(modulus.len() >= 256)
    };
    shape().unwrap_or(false)
}

/// One DER value: tag, contents, what follows.
fn read_der(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

fn write_der(into: &mut Vec<u8>, tag: u8, value: &[u8]) {
    into.push(tag);
    let [high, low] = u16::try_from(value.len()).expect("an RSA key of at most 8,192 bits").to_be_bytes();
    match (high, low) {
        (0, 0..=0x7f) => into.push(low),
        (0, _) => into.extend_from_slice(&[0x81, low]),
        _ => into.extend_from_slice(&[0x82, high, low]),
    }
    into.extend_from_slice(value);
}
