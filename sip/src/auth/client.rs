//! Answers digest challenges (RFC 3261 22.2, RFC 7616 3.4).

use super::{Algorithm, Inputs, Params, Qop, ha1, parse, quoted};
use crate::ua::limits;

/// Who we are to whoever asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name of the account.
    pub username: String,
    /// Its password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Credentials").field("username", &"REDACTED").field("password", &"REDACTED").finish()
    }
}

/// A challenge that we can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// From `Proxy-Authenticate` (407) rather than `WWW-Authenticate` (401).
    pub proxy: bool,
    /// The protection domain.
    pub realm: String,
    /// The server's nonce.
    pub nonce: String,
    /// To be returned as it came.
    pub opaque: Option<String>,
    /// The algorithm, with the token as the server wrote it (`None`: it wrote none).
    pub algorithm: Algorithm,
    algorithm_token: Option<String>,
    /// The protection to use; `None` when the server offers none (RFC 2069).
    pub qop: Option<Qop>,
    /// The nonce was too old and the credentials were right.
    pub stale: bool,
}

impl Challenge {
    /// What a challenge asks for; `None` for another scheme, an unknown algorithm, or when a realm or nonce is missing.
    pub fn read(proxy: bool, params: &Params) -> Option<Self> {
        if !params.is_digest() {
            return None;
        }
        let algorithm_token = params.get("algorithm").map(str::to_owned);
        let algorithm = algorithm_token.as_deref().map_or(Some(Algorithm::MD5), Algorithm::parse)?;
        let offers = |token: &str| {
            params.get("qop").is_some_and(|list| list.split(',').any(|one| one.trim().eq_ignore_ascii_case(token)))
        };
        let qop = match params.get("qop") {
            None => None,
            Some(_) if offers("auth") => Some(Qop::Auth),
            Some(_) if offers("auth-int") => Some(Qop::AuthInt),
            Some(list) if list.trim().is_empty() => None,
            Some(_) => return None,
        };
        Some(Self {
            proxy,
            realm: params.get("realm")?.to_owned(),
            nonce: params.get("nonce")?.to_owned(),
            opaque: params.get("opaque").map(str::to_owned),
            algorithm,
            algorithm_token,
            qop,
            stale: params.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }
}

#[derive(Clone, Debug)]
struct Known {
    challenge: Challenge,
    /// How often the nonce was used.
    count: u32,
    /// Used in the request under way, so that a second challenge from this realm is a refusal unless it says stale.
    tried: bool,
}

/// Credentials with the challenges they met: one per realm and side.
#[derive(Clone, Debug)]
pub struct Client {
    credentials: Credentials,
    known: Vec<Known>,
    tries: usize,
}

impl Client {
    /// Credentials that have met no challenge yet.
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, known: Vec::new(), tries: 0 }
    }

    /// A new request begins: each realm may challenge it once more.
    pub fn begin(&mut self) {
        self.tries = 0;
        for known in &mut self.known {
            known.tried = false;
        }
    }

    /// Takes the challenges of a 401 or 407: `(from Proxy-Authenticate, raw header value)` each. Returns whether a
    /// retry makes sense: each nonce is used once per request, and a second refusal from a realm is final unless it
    /// says `stale` with a new nonce. Of several challenges of one realm the strongest known algorithm is taken (RFC
    /// 8760 2.4).
    pub fn challenged<'a>(&mut self, values: impl IntoIterator<Item = (bool, &'a [u8])>) -> bool {
        let mut best: Vec<Challenge> = Vec::new();
        for (proxy, value) in values {
            for challenge in parse(value).iter().filter_map(|params| Challenge::read(proxy, params)) {
                let same = best.iter().position(|one| one.proxy == proxy && one.realm == challenge.realm);
                match same {
                    Some(at) if best[at].algorithm.hash < challenge.algorithm.hash => best[at] = challenge,
                    Some(_) => {}
                    None if best.len() < limits::REALMS_MAX => best.push(challenge),
                    None => {}
                }
            }
        }
        self.tries += 1;
        if best.is_empty() || self.tries > limits::AUTH_TRIES_MAX {
            return false;
        }
        for challenge in best {
            let same = |one: &Known| one.challenge.proxy == challenge.proxy && one.challenge.realm == challenge.realm;
            match self.known.iter().position(same) {
                Some(at) => {
                    let known = &mut self.known[at];
                    let nonce_used = known.challenge.nonce == challenge.nonce && known.count > 0;
                    if known.tried && (nonce_used || !challenge.stale) {
                        return false;
                    }
                    *known = Known { count: if nonce_used { known.count } else { 0 }, challenge, tried: true };
                }
                None if self.known.len() < limits::REALMS_MAX => {
                    self.known.push(Known { challenge, count: 0, tried: true });
                }
                None => return false,
            }
        }
        true
    }

    /// The headers that answer every challenge met so far, for a request with this method, Request-URI and body. Each
    /// call counts its nonces up. `cnonce` is fresh randomness.
    pub fn authorize(&mut self, method: &[u8], uri: &str, body: &[u8], cnonce: &str) -> Vec<(&'static str, String)> {
        let credentials = &self.credentials;
        self.known.iter_mut().map(|known| answer(credentials, known, method, uri, body, cnonce)).collect()
    }

    /// Whether a challenge was met, so that [`Self::authorize`] has something to say.
    pub fn is_challenged(&self) -> bool {
        !self.known.is_empty()
    }
}

fn answer(
    credentials: &Credentials,
    known: &mut Known,
    method: &[u8],
    uri: &str,
    body: &[u8],
    cnonce: &str,
) -> (&'static str, String) {
    let challenge = &known.challenge;
    known.count = known.count.saturating_add(1);
    let nc = format!("{:08x}", known.count);
    let response = Inputs {
        algorithm: challenge.algorithm,
        ha1: &ha1(challenge.algorithm.hash, &credentials.username, &challenge.realm, &credentials.password),
        nonce: &challenge.nonce,
        qop: challenge.qop.map(|qop| (qop, nc.as_str())),
        cnonce,
        method,
        uri,
        body,
    }
    .response();
    let mut value = format!(
        "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\"",
        quoted(&credentials.username),
        quoted(&challenge.realm),
        quoted(&challenge.nonce),
        quoted(uri),
    );
    if let Some(token) = &challenge.algorithm_token {
        value += &format!(", algorithm={token}");
    }
    if let Some(qop) = challenge.qop {
        value += &format!(", cnonce={}, qop={}, nc={nc}", quoted(cnonce), qop.token());
    } else if challenge.algorithm.session {
        value += &format!(", cnonce={}", quoted(cnonce));
    }
    if let Some(opaque) = &challenge.opaque {
        value += &format!(", opaque={}", quoted(opaque));
    }
    (if challenge.proxy { "Proxy-Authorization" } else { "Authorization" }, value)
}
