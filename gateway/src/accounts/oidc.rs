//! Signing in at the site's identity provider: OpenID Connect, the authorization code flow with PKCE.
//!
//! What is begun is kept here for ten minutes (state, nonce, verifier, and the browser that began), and ends with the code. Keys of the
//! provider are fetched when a token names one that is not known.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::limits::{
    OIDC_ANSWER_BYTES_MAX, OIDC_BEGUN_MAX, OIDC_CLOCKS_MAX, OIDC_FRESH, OIDC_KEYS_EVERY, OIDC_TIME_MAX, OIDC_WAIT_MAX,
};
use crate::config::Oidc as Settings;
use crate::webhooks::reach::{Place, dial};

/// Why somebody could not sign in at the provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidcError {
    /// What came back was not begun here, by this browser, in time.
    #[error("this was not begun here, or too long ago: begin again")]
    State,
    /// The provider said no.
    #[error("the provider refused: {0}")]
    Refused(String),
    /// The provider is out of reach, or answers something else than it should.
    #[error("the identity provider: {0}")]
    Away(String),
    /// The token is not what it must be.
    #[error("the provider's token: {0}")]
    Token(String),
    /// The machine gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(String),
}

/// What the provider says of itself (OpenID Connect Discovery 1.0, section 3).
#[derive(Clone, Deserialize)]
struct Provider {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

/// A key of the provider (RFC 7517).
#[derive(Clone, Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    for_what: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Value>,
}

struct Begun {
    at: Instant,
    browser: String,
    nonce: String,
    verifier: String,
    redirect: String,
}

/// The site's identity provider.
pub struct Oidc {
    settings: Settings,
    provider: tokio::sync::Mutex<Option<(Provider, Instant)>>,
    keys: tokio::sync::Mutex<(Vec<Key>, Option<Instant>)>,
    begun: Mutex<HashMap<String, Begun>>,
}

/// Where a browser goes to sign in, and what it keeps meanwhile.
#[derive(Debug)]
pub struct Start {
    /// The provider's page.
    pub location: String,
    /// What the browser's cookie holds until it comes back.
    pub browser: String,
}

impl Oidc {
    /// The provider that the site's file names. Nothing is asked of it yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, provider: Default::default(), keys: Default::default(), begun: Mutex::default() }
    }

    /// What the site's file says.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn begun(&self) -> MutexGuard<'_, HashMap<String, Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins: where the browser goes. `redirect`: where it comes back to.
    ///
    /// # Errors
    /// [`OidcError::Away`], [`OidcError::Random`].
    pub async fn begin(&self, redirect: String) -> Result<Start, OidcError> {
        let provider = self.provider().await?;
        let (state, nonce, verifier, browser) = (secret()?, secret()?, secret()?, secret()?);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let scopes = self.settings.scopes.join(" ");
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &redirect)
            .append_pair("scope", &scopes)
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .finish();
        let mark = if provider.authorization_endpoint.contains('?') { '&' } else { '?' };
        let location = format!("{}{mark}{query}", provider.authorization_endpoint);
        let mut begun = self.begun();
        begun.retain(|_, one| one.at.elapsed() < OIDC_WAIT_MAX);
        if begun.len() >= OIDC_BEGUN_MAX {
            let oldest = begun.iter().min_by_key(|(_, one)| one.at).map(|(state, _)| state.clone());
            oldest.and_then(|state| begun.remove(&state));
        }
        let at = Instant::now();
        begun.insert(state, Begun { at, browser: browser.clone(), nonce, verifier, redirect });
        Ok(Start { location, browser })
    }

    /// Ends what was begun: who it is, as the provider's token says.
    ///
    /// # Errors
    /// See [`OidcError`].
    pub async fn finish(&self, state: &str, code: &str, browser: &str) -> Result<Map<String, Value>, OidcError> {
        let begun = self.take(state, browser)?;
        let provider = self.provider().await?;
        let token = self.exchange(&provider, &begun, code).await?;
        let claims = self.verified(&provider, &token).await?;
        checked(&claims, &provider.issuer, &self.settings.client_id, Timestamp::now())?;
        let nonce = claims.get("nonce").and_then(Value::as_str).unwrap_or_default();
        if !bool::from(nonce.as_bytes().ct_eq(begun.nonce.as_bytes())) {
            return Err(OidcError::Token("it was made for another request (nonce)".to_owned()));
        }
        Ok(claims)
    }

    /// Forgets what was begun with this state: the provider said no.
    ///
    /// # Errors
    /// [`OidcError::State`]: it was not begun here, or by another browser.
    pub fn give_up(&self, state: &str, browser: &str) -> Result<(), OidcError> {
        self.take(state, browser).map(drop)
    }

    /// A state serves once, and the browser that began only.
    fn take(&self, state: &str, browser: &str) -> Result<Begun, OidcError> {
        let mut all = self.begun();
        let ours = all.get(state).is_some_and(|begun| {
            begun.at.elapsed() < OIDC_WAIT_MAX && bool::from(begun.browser.as_bytes().ct_eq(browser.as_bytes()))
        });
        if ours { all.remove(state).ok_or(OidcError::State) } else { Err(OidcError::State) }
    }

    async fn provider(&self) -> Result<Provider, OidcError> {
        let mut kept = self.provider.lock().await;
        if let Some((provider, at)) = &*kept
            && at.elapsed() < OIDC_FRESH
        {
            return Ok(provider.clone());
        }
        let issuer = self.settings.issuer.trim_end_matches('/');
        let found = get(&format!("{issuer}/.well-known/openid-configuration")).await?;
        let provider: Provider = read(&found)?;
        if provider.issuer.trim_end_matches('/') != issuer {
            let said = &provider.issuer;
            return Err(OidcError::Away(format!("it says that it is `{said}`: write that as [oidc] issuer")));
        }
        let plain = issuer.starts_with("http://");
        for url in [&provider.authorization_endpoint, &provider.token_endpoint, &provider.jwks_uri] {
            let safe = url.starts_with("https://") || (plain && url.starts_with("http://"));
            if !safe {
                return Err(OidcError::Away(format!("`{url}` is not https")));
            }
        }
        *kept = Some((provider.clone(), Instant::now()));
        Ok(provider)
    }

    /// The ID token for a code (OpenID Connect Core 1.0, section 3.1.3; RFC 7636).
    async fn exchange(&self, provider: &Provider, begun: &Begun, code: &str) -> Result<String, OidcError> {
        let secret =
            self.settings.client_secret.as_ref().map(|secret| secret.read().map_err(OidcError::Away)).transpose()?;
        let (form, authorization) = self.token_request(provider, begun, code, secret.as_deref());
        let answer = send(Method::POST, &provider.token_endpoint, form, authorization).await?;
        let token = answer.get("id_token").and_then(Value::as_str).map(str::to_owned);
        token.ok_or_else(|| OidcError::Token("the answer has no id_token: is `openid` in [oidc] scopes?".to_owned()))
    }

    /// The body of the request for a token, and its header: the client shows its secret as the provider wants it.
    fn token_request(
        &self,
        provider: &Provider,
        begun: &Begun,
        code: &str,
        secret: Option<&str>,
    ) -> (String, Option<HeaderValue>) {
        let id = &self.settings.client_id;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &begun.redirect)
            .append_pair("code_verifier", &begun.verifier);
        let methods = &provider.token_endpoint_auth_methods_supported;
        let basic = methods.is_empty() || methods.iter().any(|method| method == "client_secret_basic");
        let mut authorization = None;
        match secret {
            Some(secret) if basic => {
                let form = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = format!("{}:{}", form(id), form(secret));
                authorization = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok();
            }
            Some(secret) => drop(form.append_pair("client_id", id).append_pair("client_secret", secret)),
            None => drop(form.append_pair("client_id", id)),
        }
        (form.finish(), authorization)
    }

    /// The claims of a token whose signature is the provider's.
    async fn verified(&self, provider: &Provider, token: &str) -> Result<Map<String, Value>, OidcError> {
        let wrong = |why: &str| OidcError::Token(why.to_owned());
        let parts: Vec<&str> = token.split('.').collect();
        let [head, body, sign] = parts[..] else { return Err(wrong("it is no JWT")) };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| wrong("it is no JWT"));
        let header: Map<String, Value> = serde_json::from_slice(&decode(head)?).map_err(|_| wrong("it is no JWT"))?;
        if header.contains_key("crit") {
            return Err(wrong("it asks for what is not known here (crit)"));
        }
        let text = |name: &str| header.get(name).and_then(Value::as_str);
        let alg = text("alg").unwrap_or_default().to_owned();
        let (signed, sign) = (format!("{head}.{body}"), decode(sign)?);
        for fetch in [false, true] {
            let keys = self.keys(provider, fetch).await?;
            let fits = |key: &&Key| {
                key.for_what.as_deref().is_none_or(|what| what == "sig")
                    && text("kid").is_none_or(|kid| key.kid.as_deref() == Some(kid))
            };
            if keys.iter().filter(fits).any(|key| signed_by(key, &alg, signed.as_bytes(), &sign)) {
                return serde_json::from_slice(&decode(body)?).map_err(|_| wrong("its claims cannot be read"));
            }
        }
        Err(OidcError::Token(format!("no key of the provider has signed it ({alg})")))
    }

    async fn keys(&self, provider: &Provider, fetch: bool) -> Result<Vec<Key>, OidcError> {
        let mut kept = self.keys.lock().await;
        let age = kept.1.map(|at| at.elapsed());
        let old = age.is_none_or(|age| age > if fetch { OIDC_KEYS_EVERY } else { OIDC_FRESH });
        if old {
            let keys: Keys = read(&get(&provider.jwks_uri).await?)?;
            // One that is of a later kind hides no other.
            kept.0 = keys.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
            kept.1 = Some(Instant::now());
        }
        Ok(kept.0.clone())
    }
}

/// Whether a key has signed this, by an algorithm that fits the key (RFC 7518). `none` and shared secrets never do.
fn signed_by(key: &Key, alg: &str, signed: &[u8], sign: &[u8]) -> bool {
    let part = |text: &Option<String>| text.as_deref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let point = || {
        let (x, y) = (part(&key.x)?, part(&key.y)?);
        Some([&[4], x.as_slice(), y.as_slice()].concat())
    };
    let checked = |how: &'static dyn signature::VerificationAlgorithm, public: Option<Vec<u8>>| {
        public.is_some_and(|public| UnparsedPublicKey::new(how, public).verify(signed, sign).is_ok())
    };
    let rsa = match (key.kty.as_str(), alg) {
        ("RSA", "RS256") => &signature::RSA_PKCS1_2048_8192_SHA256,
        ("RSA", "RS384") => &signature::RSA_PKCS1_2048_8192_SHA384,
        ("RSA", "RS512") => &signature::RSA_PKCS1_2048_8192_SHA512,
        ("RSA", "PS256") => &signature::RSA_PSS_2048_8192_SHA256,
        ("RSA", "PS384") => &signature::RSA_PSS_2048_8192_SHA384,
        ("RSA", "PS512") => &signature::RSA_PSS_2048_8192_SHA512,
        ("EC", "ES256") if key.crv.as_deref() == Some("P-256") => {
            return checked(&signature::ECDSA_P256_SHA256_FIXED, point());
        }
        ("EC", "ES384") if key.crv.as_deref() == Some("P-384") => {
            return checked(&signature::ECDSA_P384_SHA384_FIXED, point());
        }
        ("OKP", "EdDSA") if key.crv.as_deref() == Some("Ed25519") => return checked(&signature::ED25519, part(&key.x)),
        _ => return false,
    };
    let (Some(n), Some(e)) = (part(&key.n), part(&key.e)) else { return false };
    RsaPublicKeyComponents { n, e }.verify(rsa, signed, sign).is_ok()
}

/// Whether claims are for us, from the provider, and now (OpenID Connect Core 1.0, section 3.1.3.7).
fn checked(claims: &Map<String, Value>, issuer: &str, client: &str, now: Timestamp) -> Result<(), OidcError> {
    let wrong = |why: &str| Err(OidcError::Token(why.to_owned()));
    if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
        return wrong("another provider made it (iss)");
    }
    let (for_us, others) = match claims.get("aud") {
        Some(Value::String(aud)) => (aud == client, false),
        Some(Value::Array(all)) => (all.iter().any(|aud| aud == client), all.len() > 1),
        _ => (false, false),
    };
    let azp = claims.get("azp").and_then(Value::as_str);
    if !for_us || azp.is_some_and(|azp| azp != client) || (others && azp.is_none()) {
        return wrong("it is for another client (aud)");
    }
    let (now, leeway) = (now.as_second(), OIDC_CLOCKS_MAX.as_secs());
    let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
    #[expect(clippy::cast_precision_loss, reason = "seconds of this age")]
    let (early, late) = ((now - leeway) as f64, (now + leeway) as f64);
    if seconds("exp").is_none_or(|exp| exp <= early) {
        return wrong("it has ended (exp)");
    }
    if seconds("iat").is_none_or(|iat| iat > late) || seconds("nbf").is_some_and(|nbf| nbf > late) {
        return wrong("it begins later (iat): are the clocks right?");
    }
    if claims.get("sub").and_then(Value::as_str).is_none_or(|sub| sub.is_empty() || sub.len() > 255) {
        return wrong("it names nobody (sub)");
    }
    Ok(())
}

/// A claim by its path, with dots between: `realm_access.roles`.
#[must_use]
pub fn claim<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(whole) = claims.get(path) {
        return Some(whole);
    }
    let mut parts = path.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

/// The words of a claim: a list of strings, or one string with spaces or commas between.
#[must_use]
pub fn words(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(all)) => all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
        Some(Value::String(text)) => {
            text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

fn secret() -> Result<String, OidcError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| OidcError::Random(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn read<T: serde::de::DeserializeOwned>(found: &Map<String, Value>) -> Result<T, OidcError> {
    serde_json::from_value(Value::Object(found.clone()))
        .map_err(|error| OidcError::Away(format!("it answers something else than expected: {error}")))
}

async fn get(url: &str) -> Result<Map<String, Value>, OidcError> {
    send(Method::GET, url, String::new(), None).await
}

/// One request; its answer, an object. The operator has named the provider: it may be inside the network.
async fn send(
    method: Method,
    url: &str,
    form: String,
    authorization: Option<HeaderValue>,
) -> Result<Map<String, Value>, OidcError> {
    let asked = async {
        let place = Place::parse(url)?;
        let stream = dial(&place, true).await?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method.clone())
            .uri(place.path())
            .header(header::HOST, place.authority())
            .header(header::ACCEPT, "application/json");
        if method == Method::POST {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(Bytes::from(form))).map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), OIDC_ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        let json = serde_json::from_slice::<Map<String, Value>>(&body).ok();
        if !status.is_success() {
            let error = json.as_ref().and_then(|json| json.get("error")).and_then(Value::as_str).unwrap_or_default();
            return Err(format!("{} answered {status} {error}", place.shown()));
        }
        json.ok_or_else(|| format!("{} answered no JSON object", place.shown()))
    };
    let within: Duration = OIDC_TIME_MAX;
    match tokio::time::timeout(within, asked).await {
        Ok(answer) => answer.map_err(OidcError::Away),
        Err(_) => Err(OidcError::Away(format!("no answer within {} s", within.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_must_be_for_us_from_the_provider_and_now() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let good = json!({"iss": "https://id.example", "aud": "ark", "exp": 1_000_300, "iat": 999_990, "sub": "7"});
        let look = |change: Value| {
            let mut claims = good.as_object().unwrap().clone();
            for (name, value) in change.as_object().unwrap() {
                claims.insert(name.clone(), value.clone());
            }
            claims.retain(|_, value| !value.is_null());
            checked(&claims, "https://id.example", "ark", now).is_ok()
        };
        assert!(look(json!({})) && look(json!({"aud": ["ark"]})) && look(json!({"aud": ["x", "ark"], "azp": "ark"})));
        for bad in [
            json!({"iss": "https://evil.example"}),
            json!({"aud": "other"}),
            json!({"aud": ["x", "ark"]}),
            json!({"aud": null}),
            json!({"azp": "other"}),
            json!({"exp": 999_000}),
            json!({"exp": "2030"}),
            json!({"exp": null}),
            json!({"iat": 1_000_900}),
            json!({"nbf": 1_000_900}),
            json!({"sub": ""}),
            json!({"sub": null}),
        ] {
            assert!(!look(bad.clone()), "{bad}");
        }
    }

    #[test]
    fn a_claim_is_found_by_its_path_and_read_as_words() {
        let claims = json!({"realm_access": {"roles": ["a", "b"]}, "https://x.example/roles": "c d,e", "n": 1});
        let claims = claims.as_object().unwrap();
        let of = |path| words(claim(claims, path));
        assert_eq!(of("realm_access.roles"), ["a", "b"]);
        assert_eq!(of("https://x.example/roles"), ["c", "d", "e"], "a name with dots of its own");
        assert!(of("n").is_empty() && of("realm_access.nothing").is_empty() && of("").is_empty());
    }

    #[test]
    fn a_key_signs_by_its_own_algorithms_only() {
        let key = |kty: &str, crv: Option<&str>| Key {
            kty: kty.to_owned(),
            kid: None,
            for_what: None,
            crv: crv.map(str::to_owned),
            n: Some("AQAB".to_owned()),
            e: Some("AQAB".to_owned()),
            x: Some("AQAB".to_owned()),
            y: Some("AQAB".to_owned()),
        };
        for (key, alg) in [
            (key("RSA", None), "none"),
            (key("RSA", None), "HS256"),
            (key("oct", None), "HS256"),
            (key("EC", Some("P-256")), "RS256"),
            (key("EC", Some("P-384")), "ES256"),
            (key("RSA", None), "RS256"),
        ] {
            assert!(!signed_by(&key, alg, b"text", b""), "{alg}");
        }
    }
}
