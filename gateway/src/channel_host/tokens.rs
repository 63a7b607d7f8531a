//! Access tokens of providers, shared by the gateways of a site: one fetches, all use.
//!
//! A token is a note of the store, sealed with a key made of the account's own secrets, which every gateway of the site has. While one
//! gateway fetches a new token the note says so (its lease), and the others wait for what it brings. No clocks are compared: a lease is
//! over for whoever has seen its note unchanged for [`TOKEN_LEASE`], so that a gateway that dies while it fetches delays nobody longer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_conversation::Tenant;
use ark_conversation::channel::Token;
use ark_store::{Note, Store};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::{SignedDuration, Timestamp};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use serde::{Deserialize, Serialize};

use super::limits::{TOKEN_AHEAD_MAX, TOKEN_LEASE, TOKEN_LEFT_MIN, TOKEN_LOOK, TOKEN_STORE_WAIT, TOKEN_SWAPS_MAX};

/// Seals an account's tokens for the store: ChaCha20-Poly1305, with a key by HKDF-SHA256 of the account's secrets. Where a secret was
/// changed, what was sealed before does not open, and a token is fetched anew.
pub struct Seal(LessSafeKey);

impl Seal {
    /// Of the account's secrets, each with its name; none: it has none, and its tokens are not shared.
    #[must_use]
    pub fn of(secrets: &[(String, String)]) -> Option<Self> {
        let mut secrets: Vec<_> = secrets.iter().filter(|(_, text)| !text.is_empty()).collect();
        secrets.sort();
        let material = serde_json::to_vec(&secrets).ok().filter(|_| !secrets.is_empty())?;
        let material = Salt::new(HKDF_SHA256, b"ark.provider-token.v1").extract(&material);
        let key = material.expand(&[b"seal"], &CHACHA20_POLY1305).ok()?;
        Some(Self(LessSafeKey::new(UnboundKey::from(key))))
    }

    /// The nonce, then what is sealed and its tag, in Base64; `about` is bound to it.
    fn close(&self, about: &str, plain: &str) -> Option<String> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = plain.as_bytes().to_vec();
        let bound = Aad::from(about.as_bytes());
        self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound, &mut sealed).ok()?;
        Some(BASE64.encode([nonce.as_slice(), &sealed].concat()))
    }

    fn open(&self, about: &str, sealed: &str) -> Option<String> {
        let mut bytes = BASE64.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.0.open_in_place(nonce, Aad::from(about.as_bytes()), sealed).ok()?;
        String::from_utf8(plain.to_vec()).ok()
    }
}

/// What the note says.
#[derive(Default, Serialize, Deserialize)]
struct Said {
    /// The token, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
    /// Until when it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    /// Which gateway fetches the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
}

/// What came of asking for a token.
pub(super) enum Got {
    /// Another gateway has fetched it.
    Token(Token),
    /// It is this gateway's to fetch: the version of the note that says so.
    Fetch(u64),
    /// The store does not say: this gateway fetches one for itself.
    Alone,
}

/// Where the tokens of one account are.
pub(super) struct Vault {
    store: Arc<dyn Store>,
    tenant: Tenant,
    gateway: String,
    /// `{adapter}/{account}`.
    account: String,
    seal: Seal,
    lease: Duration,
}

impl Vault {
    pub(super) fn new(store: Arc<dyn Store>, tenant: &Tenant, gateway: &str, account: String, seal: Seal) -> Self {
        Self { store, tenant: tenant.clone(), gateway: gateway.to_owned(), account, seal, lease: TOKEN_LEASE }
    }

    fn name(&self, token: &str) -> String {
        format!("token/{}/{token}", self.account)
    }

    async fn read(&self, name: &str) -> Result<(u64, Said), ()> {
        let note = tokio::time::timeout(TOKEN_STORE_WAIT, self.store.note(&self.tenant, name)).await;
        let read = |note: Note| (note.version, serde_json::from_slice(&note.body).unwrap_or_default());
        match note {
            Ok(Ok(note)) => Ok(note.map_or_else(|| (0, Said::default()), read)),
            Ok(Err(_)) | Err(_) => Err(()),
        }
    }

    async fn swap(&self, name: &str, known: u64, said: &Said) -> Result<bool, ()> {
        let body = serde_json::to_vec(said).map_err(|_| ())?;
        let swapped = self.store.swap_note(&self.tenant, name, known, body);
        tokio::time::timeout(TOKEN_STORE_WAIT, swapped).await.map_err(|_| ())?.map_err(|_| ())
    }

    fn token(&self, name: &str, said: &Said) -> Option<Token> {
        let about = format!("{}/{name}", self.tenant);
        Some(Token { value: self.seal.open(&about, said.sealed.as_deref()?)?, expires_at: said.until? })
    }

    /// The token that the site has, if it is not the stale one; else the right to fetch one, as soon as nobody else does.
    pub(super) async fn obtain(&self, token: &str, stale: Option<&str>) -> Got {
        let name = self.name(token);
        let mut seen: Option<(u64, Instant)> = None;
        loop {
            let Ok((version, said)) = self.read(&name).await else { return Got::Alone };
            let there = self.token(&name, &said).filter(|token| stale != Some(token.value.as_str()));
            if let Some(token) = there.filter(|token| left(token) > TOKEN_LEFT_MIN) {
                return Got::Token(token);
            }
            let since = seen.filter(|(seen, _)| *seen == version).map_or_else(Instant::now, |(_, since)| since);
            seen = Some((version, since));
            if said.lease.is_some() && since.elapsed() < self.lease {
                tokio::time::sleep(TOKEN_LOOK.mul_f64(rand::random_range(0.5..1.0))).await;
                continue;
            }
            let mine = Said { lease: Some(self.gateway.clone()), ..said };
            match self.swap(&name, version, &mine).await {
                Ok(true) => return Got::Fetch(version + 1),
                Ok(false) => {}
                Err(()) => return Got::Alone,
            }
        }
    }

    /// Gives the site a token that was fetched, and the lease back. What another has put there meanwhile stays when it lasts longer.
    pub(super) async fn keep(&self, token_name: &str, lease: Option<u64>, token: &Token) {
        let name = self.name(token_name);
        let about = format!("{}/{name}", self.tenant);
        let Some(sealed) = self.seal.close(&about, &token.value) else { return };
        let said = Said { sealed: Some(sealed), until: Some(token.expires_at), lease: None };
        let mut known = lease;
        for _ in 0..TOKEN_SWAPS_MAX {
            let version = match known.take() {
                Some(version) => version,
                None => match self.read(&name).await {
                    Ok((_, there)) if there.lease.is_none() && there.until > said.until => return,
                    Ok((version, _)) => version,
                    Err(()) => break,
                },
            };
            match self.swap(&name, version, &said).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(()) => break,
            }
        }
        tracing::warn!(account = %self.account, "a new access token was not shared with the site's other gateways; they fetch one too");
    }
}

fn left(token: &Token) -> SignedDuration {
    token.expires_at.duration_since(Timestamp::now())
}

/// After how long a token is fetched anew, before it ends: in the last tenth of its life, at most four minutes before the end, each
/// gateway at a time of its own, so that one does it while the others still have a good one. None: it is too short for that.
pub(super) fn ahead(token: &Token, random: f64) -> Option<Duration> {
    let life = Duration::try_from(left(token)).ok()?;
    let before = (life / 10).min(TOKEN_AHEAD_MAX / 2);
    let left_min = Duration::try_from(TOKEN_LEFT_MIN).ok()?;
    (before > left_min).then(|| life - before.mul_f64(1.0 + random.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_store::SqliteStore;

    fn seal(secret: &str) -> Seal {
        Seal::of(&[("app_secret".to_owned(), secret.to_owned())]).unwrap()
    }

    fn token(value: &str, seconds: i64) -> Token {
        Token { value: value.to_owned(), expires_at: Timestamp::now() + SignedDuration::from_secs(seconds) }
    }

    fn vault(store: &Arc<dyn Store>, gateway: &str, lease: Duration) -> Arc<Vault> {
        let account = "wechat-mp/shop".to_owned();
        let vault = Vault::new(Arc::clone(store), &Tenant::MAIN, gateway, account, seal("s"));
        Arc::new(Vault { lease, ..vault })
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_secrets_for_the_same_account_only() {
        let sealed = seal("one").close("main/a", "the token").unwrap();
        assert!(!sealed.contains("token"));
        assert_ne!(Some(&sealed), seal("one").close("main/a", "the token").as_ref(), "each time another");
        assert_eq!(seal("one").open("main/a", &sealed).as_deref(), Some("the token"));
        assert_eq!(seal("one").open("main/b", &sealed), None);
        assert_eq!(seal("two").open("main/a", &sealed), None);
        assert_eq!(seal("one").open("main/a", "c2hvcnQ="), None);
        assert!(Seal::of(&[]).is_none());
    }

    #[test]
    fn a_token_is_fetched_anew_before_it_ends_and_not_long_before() {
        let two_hours = token("t", 7_200);
        let (first, last) = (ahead(&two_hours, 1.0).unwrap(), ahead(&two_hours, 0.0).unwrap());
        assert!(first < last && first.as_secs() > 7_200 - 242 && last.as_secs() < 7_200 - 118, "{first:?} {last:?}");
        assert_eq!(ahead(&token("t", 90), 0.5), None);
        assert_eq!(ahead(&token("t", -5), 0.5), None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_of_many_fetches_and_all_have_what_it_brings() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path().join("ark.db")).unwrap());
        let long = Duration::from_secs(600);
        let mut all = tokio::task::JoinSet::new();
        for n in 0..8 {
            let vault = vault(&store, &format!("gw{n}"), long);
            all.spawn(async move {
                match vault.obtain("access_token", None).await {
                    Got::Token(token) => (0, token.value),
                    Got::Fetch(lease) => {
                        vault.keep("access_token", Some(lease), &token("the one", 7_200)).await;
                        (1, "the one".to_owned())
                    }
                    Got::Alone => panic!("the store is there"),
                }
            });
        }
        let said = all.join_all().await;
        assert_eq!(said.iter().map(|(fetched, _)| fetched).sum::<u32>(), 1);
        assert!(said.iter().all(|(_, token)| token == "the one"));
        let body = store.note(&Tenant::MAIN, "token/wechat-mp/shop/access_token").await.unwrap().unwrap().body;
        assert!(!String::from_utf8(body).unwrap().contains("the one"), "it is sealed");
        // Refused by the provider: the next one is fetched, and who comes later with the old one has it.
        let one = vault(&store, "gw1", long);
        let Got::Fetch(lease) = one.obtain("access_token", Some("the one")).await else { panic!("to be fetched") };
        one.keep("access_token", Some(lease), &token("the next", 7_200)).await;
        let Got::Token(next) = one.obtain("access_token", Some("the one")).await else { panic!("it is there") };
        assert_eq!(next.value, "the next");
        // One that is about to end is not handed out.
        one.keep("access_token", None, &token("short", 30)).await;
        let Got::Token(next) = one.obtain("access_token", None).await else { panic!("the longer one stays") };
        assert_eq!(next.value, "the next");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_dies_while_it_fetches_delays_nobody_longer_than_its_lease() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path().join("ark.db")).unwrap());
        let lease = Duration::from_millis(300);
        let dead = vault(&store, "gw1", lease);
        assert!(matches!(dead.obtain("access_token", None).await, Got::Fetch(1)));
        let since = Instant::now();
        let heir = vault(&store, "gw2", lease);
        assert!(matches!(heir.obtain("access_token", None).await, Got::Fetch(2)));
        assert!(since.elapsed() >= lease, "not before the lease is over");
        heir.keep("access_token", Some(2), &token("new", 7_200)).await;
        // The first was only slow: what it brings late does not take the place of what lasts longer.
        dead.keep("access_token", Some(1), &token("late", 3_600)).await;
        let Got::Token(there) = heir.obtain("access_token", None).await else { panic!("it is there") };
        assert_eq!(there.value, "new");
    }
}
