//! Digest authentication: both sides, RFC 2617, RFC 7616 and RFC 8760.
//!
//! MD5, SHA-256 and SHA-512-256 with their `-sess` forms, `qop` auth and auth-int, nonce counts, `stale`, several
//! challenges at once. [`client`] answers challenges, [`server`] makes them and checks the answers.

pub mod client;
pub mod server;

pub use client::{Client, Credentials};
pub use server::{Denied, Server, ServerConfig};

use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};

/// Hash function of a digest (RFC 8760 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hash {
    /// The one everybody has; alone in RFC 2617.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512/256.
    Sha512_256,
}

impl Hash {
    /// Lower-case hex of the hash of the parts, one after the other.
    pub fn hex(self, parts: &[&[u8]]) -> String {
        fn run<D: Digest>(parts: &[&[u8]]) -> String {
            let mut hasher = D::new();
            for part in parts {
                hasher.update(part);
            }
            hex(&hasher.finalize())
        }
        match self {
            Self::Md5 => run::<Md5>(parts),
            Self::Sha256 => run::<Sha256>(parts),
            Self::Sha512_256 => run::<Sha512_256>(parts),
        }
    }
}

/// Lower-case hex of any bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}

/// A digest algorithm: hash and whether the session form is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Algorithm {
    /// The hash function.
    pub hash: Hash,
    /// The `-sess` form: A1 is bound to nonce and cnonce.
    pub session: bool,
}

impl Algorithm {
    /// Plain MD5, what a challenge without `algorithm` means.
    pub const MD5: Self = Self { hash: Hash::Md5, session: false };
    /// Plain SHA-256.
    pub const SHA_256: Self = Self { hash: Hash::Sha256, session: false };
    /// Plain SHA-512-256.
    pub const SHA_512_256: Self = Self { hash: Hash::Sha512_256, session: false };

    /// Reads the token of RFC 8760; `None` for one that is not known (AKAv1-MD5, for example).
    pub fn parse(token: &str) -> Option<Self> {
        let (name, session) = match token.len().checked_sub(5).and_then(|cut| token.split_at_checked(cut)) {
            Some((name, tail)) if tail.eq_ignore_ascii_case("-sess") => (name, true),
            _ => (token, false),
        };
        let known = [("MD5", Hash::Md5), ("SHA-256", Hash::Sha256), ("SHA-512-256", Hash::Sha512_256)];
        let (_, hash) = known.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(Self { hash, session })
    }

    /// The token of RFC 8760.
    pub fn token(self) -> &'static str {
        match (self.hash, self.session) {
            (Hash::Md5, false) => "MD5",
            (Hash::Md5, true) => "MD5-sess",
            (Hash::Sha256, false) => "SHA-256",
            (Hash::Sha256, true) => "SHA-256-sess",
            (Hash::Sha512_256, false) => "SHA-512-256",
            (Hash::Sha512_256, true) => "SHA-512-256-sess",
        }
    }
}

/// Quality of protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qop {
    /// The request line is protected.
    Auth,
    /// The body too.
    AuthInt,
}

impl Qop {
    /// The token.
    pub fn token(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
        }
    }
}

/// Everything a digest response is computed from (RFC 7616 3.4.1).
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Which hash, and whether the session form.
    pub algorithm: Algorithm,
    /// H(username:realm:password) in hex, the session form not yet applied.
    pub ha1: &'a str,
    /// The server's nonce.
    pub nonce: &'a str,
    /// The protection, with the nonce count as it is written (8 hex digits); `None` for RFC 2069 servers.
    pub qop: Option<(Qop, &'a str)>,
    /// The client's nonce; unused without `qop` and without the session form.
    pub cnonce: &'a str,
    /// The request's method.
    pub method: &'a [u8],
    /// The digest URI as it is written.
    pub uri: &'a str,
    /// The request's body (counts for auth-int alone).
    pub body: &'a [u8],
}

impl Inputs<'_> {
    /// The `response` value.
    pub fn response(&self) -> String {
        let hash = self.algorithm.hash;
        let session;
        let ha1 = if self.algorithm.session {
            session = hash.hex(&[self.ha1.as_bytes(), b":", self.nonce.as_bytes(), b":", self.cnonce.as_bytes()]);
            &session
        } else {
            self.ha1
        };
        let ha2 = match self.qop {
            Some((Qop::AuthInt, _)) => {
                let body = hash.hex(&[self.body]);
                hash.hex(&[self.method, b":", self.uri.as_bytes(), b":", body.as_bytes()])
            }
            _ => hash.hex(&[self.method, b":", self.uri.as_bytes()]),
        };
        let (ha1, ha2, nonce) = (ha1.as_bytes(), ha2.as_bytes(), self.nonce.as_bytes());
        match self.qop {
            None => hash.hex(&[ha1, b":", nonce, b":", ha2]),
            Some((qop, nc)) => {
                let (nc, cnonce, qop) = (nc.as_bytes(), self.cnonce.as_bytes(), qop.token().as_bytes());
                hash.hex(&[ha1, b":", nonce, b":", nc, b":", cnonce, b":", qop, b":", ha2])
            }
        }
    }
}

/// H(username:realm:password), what a server may store instead of the password.
pub fn ha1(hash: Hash, username: &str, realm: &str, password: &str) -> String {
    hash.hex(&[username.as_bytes(), b":", realm.as_bytes(), b":", password.as_bytes()])
}

/// The parameters of one challenge or of one set of credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// The scheme (`Digest`, `Basic`...), as written.
    pub scheme: String,
    /// Names in lower case, values unquoted.
    pub params: Vec<(String, String)>,
}

impl Params {
    /// The first value of that (lower-case) name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the scheme is Digest.
    pub fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("digest")
    }
}

/// Reads a header value that holds challenges or credentials: folded lines, quoted commas and several challenges one
/// after the other (RFC 7616 3.3 allows them) are understood; what makes no sense is skipped.
pub fn parse(value: &[u8]) -> Vec<Params> {
    let text = String::from_utf8_lossy(value);
    let mut rest = text.as_ref();
    let mut found: Vec<Params> = Vec::new();
    while found.len() < crate::ua::limits::CHALLENGES_MAX {
        rest = rest.trim_start_matches([',', ' ', '\t', '\r', '\n']);
        if rest.is_empty() {
            break;
        }
        let end = rest.find(['=', ',', ' ', '\t', '\r', '\n', '"']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let after_blank = after.trim_start();
        if let Some(value) = after_blank.strip_prefix('=').filter(|_| !name.is_empty()) {
            let (value, tail) = param_value(value.trim_start());
            if let Some(last) = found.last_mut().filter(|last| last.params.len() < crate::ua::limits::AUTH_PARAMS_MAX) {
                last.params.push((name.to_ascii_lowercase(), value));
            }
            rest = tail;
        } else if name.is_empty() {
            rest = after.get(1..).unwrap_or(""); // a stray '=' or quote
        } else {
            found.push(Params { scheme: name.to_owned(), params: Vec::new() });
            rest = after;
        }
    }
    found
}

/// A token or a quoted string, and what follows it.
fn param_value(text: &str) -> (String, &str) {
    let Some(inner) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t', '\r', '\n']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &inner[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\r' | '\n' => {}
            _ => value.push(c),
        }
    }
    (value, "")
}

/// Writes a quoted string.
pub(crate) fn quoted(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests;
