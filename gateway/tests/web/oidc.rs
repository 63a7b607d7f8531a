//! Signing in at an identity provider: a provider on loopback, and every way in which its answers can be wrong.

use std::sync::Mutex;

use axum::extract::State;
use axum::routing::{get as on_get, post as on_post};
use axum::{Json, Router as AxumRouter};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Method, header};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::*;

const HOST: &str = "ark.test:8080";
const SECRET: &str = "the client's secret";

fn key() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap()
}

/// The provider: who signs in, and what is wrong with what it says.
struct Provider {
    issuer: String,
    key: EcdsaKeyPair,
    /// Claims beside the usual ones, over them.
    claims: Mutex<Value>,
    /// Of the request that is under way.
    nonce: Mutex<String>,
    challenge: Mutex<String>,
    /// Another key signs.
    forged: Mutex<bool>,
}

impl Provider {
    async fn start() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let (claims, nonce, challenge, forged) = Default::default();
        let provider = Arc::new(Self { issuer, key: key(), claims, nonce, challenge, forged });
        let routes = AxumRouter::new()
            .route("/.well-known/openid-configuration", on_get(discovery))
            .route("/keys", on_get(keys))
            .route("/token", on_post(token))
            .with_state(Arc::clone(&provider));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        provider
    }

    fn settings(&self, folder: &std::path::Path, more: &Value) -> ark::config::Oidc {
        let file = folder.join("oidc.secret");
        std::fs::write(&file, SECRET).unwrap();
        let mut settings = json!({"issuer": self.issuer, "client_id": "ark", "client_secret": {"file": file}});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(settings).unwrap()
    }

    fn says(&self, claims: Value) {
        *self.claims.lock().unwrap() = claims;
    }
}

async fn discovery(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", provider.issuer);
    Json(json!({
        "issuer": provider.issuer, "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"), "jwks_uri": at("/keys"),
    }))
}

async fn keys(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let point = provider.key.public_key().as_ref();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
    let later = json!({"kty": "later"});
    Json(json!({"keys": [later, {"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "x": x, "y": y}]}))
}

/// Gives a token for a code when the client's secret and the verifier are right.
async fn token(State(provider): State<Arc<Provider>>, headers: HeaderMap, body: String) -> (StatusCode, Json<Value>) {
    let form: std::collections::HashMap<String, String> =
        form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let basic = base64::engine::general_purpose::STANDARD.encode("ark:the+client%27s+secret");
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
    let right = headers.get(header::AUTHORIZATION).is_some_and(|value| *value == format!("Basic {basic}"))
        && form["code"] == "the-code"
        && form["redirect_uri"] == format!("http://{HOST}/api/v1/session/oidc/callback")
        && challenge == *provider.challenge.lock().unwrap();
    if !right {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"})));
    }
    let now = jiff::Timestamp::now().as_second();
    let nonce = provider.nonce.lock().unwrap().clone();
    let mut claims =
        json!({"iss": provider.issuer, "aud": "ark", "sub": "7", "exp": now + 300, "iat": now, "nonce": nonce});
    claims.as_object_mut().unwrap().extend(provider.claims.lock().unwrap().as_object().cloned().unwrap_or_default());
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "ES256", "kid": "k1"})), part(&claims));
    let forger = provider.forged.lock().unwrap().then(key);
    let signer = forger.as_ref().unwrap_or(&provider.key);
    let sign = signer.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    (StatusCode::OK, Json(json!({"id_token": format!("{signed}.{}", URL_SAFE_NO_PAD.encode(sign.as_ref()))})))
}

fn request(method: Method, path: &str, cookie: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, HOST);
    if let Some(cookie) = cookie {
        request = request.header(header::COOKIE, cookie);
    }
    request.body(Body::empty()).unwrap()
}

/// A browser at the provider: the state, and its cookie.
async fn begin(router: &Router, provider: &Provider) -> (String, String) {
    let answer = ask(router, request(Method::GET, "/api/v1/session/oidc", None)).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let set = answer.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(set.contains("HttpOnly; SameSite=Lax"), "{set}");
    let location = answer.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let query = location.strip_prefix(&format!("{}/authorize?", provider.issuer)).unwrap().to_owned();
    let of = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap()
    };
    assert_eq!((of("code_challenge_method").as_str(), of("scope").as_str()), ("S256", "openid profile email"));
    *provider.nonce.lock().unwrap() = of("nonce");
    *provider.challenge.lock().unwrap() = of("code_challenge");
    (of("state"), set.split(';').next().unwrap().to_owned())
}

/// Comes back: where it leads, and the session's cookie.
async fn back(router: &Router, query: &str, cookie: Option<&str>) -> (String, Option<String>) {
    let path = format!("/api/v1/session/oidc/callback?{query}");
    let answer = ask(router, request(Method::GET, &path, cookie)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let cookies = answer.headers().get_all(header::SET_COOKIE).into_iter().filter_map(|set| set.to_str().ok());
    let session =
        cookies.filter_map(|set| set.split(';').next()).find(|set| set.starts_with("ark_session=")).map(str::to_owned);
    let page = text(answer).await;
    let to = page.split("url=").nth(1).unwrap().split('"').next().unwrap().to_owned();
    (to, session)
}

async fn through(router: &Router, provider: &Provider) -> (String, Option<String>) {
    let (state, cookie) = begin(router, provider).await;
    back(router, &format!("code=the-code&state={state}"), Some(&cookie)).await
}

#[tokio::test]
async fn who_the_provider_knows_comes_in_and_nobody_else() {
    let made = Made::new("oidc");
    let provider = Provider::start().await;
    let more =
        json!({"roles_claim": "realm.roles", "roles": {"cc": "agent", "lead": "supervisor"}, "groups_claim": "groups"});
    *made.oidc.lock().unwrap() = Some(provider.settings(&made.folder, &more));
    let router = router(made.web());
    let ways = json(ask(&router, request(Method::GET, "/api/v1/session/ways", None)).await).await;
    assert_eq!(ways, json!({"password": true, "oidc": {"label": "SSO"}}));

    let anna = json!({"preferred_username": "Anna", "name": "Anna 安娜", "realm": {"roles": ["cc", "x"]}, "groups": ["orders"]});
    provider.says(anna.clone());
    let (to, session) = through(&router, &provider).await;
    assert_eq!(to, "/");
    let session = session.unwrap();
    let who = json(ask(&router, request(Method::GET, "/api/v1/session", Some(&session))).await).await;
    let account = &who["account"];
    assert_eq!((&account["name"], &account["display"]), (&json!("anna"), &json!("Anna 安娜")));
    assert_eq!((&account["roles"], &account["groups"]), (&json!(["agent"]), &json!(["orders"])));
    let lead = json!({"preferred_username": "renamed", "realm": {"roles": ["lead"]}, "groups": []});
    provider.says(lead);
    let (_, session) = through(&router, &provider).await;
    let who = json(ask(&router, request(Method::GET, "/api/v1/session", session.as_deref())).await).await;
    assert_eq!(
        (&who["account"]["name"], &who["account"]["roles"]),
        (&json!("anna"), &json!(["supervisor"])),
        "by who they are"
    );

    // What is wrong is refused, each by its word.
    let now = jiff::Timestamp::now().as_second();
    for (claims, why) in [
        (json!({"nonce": "another"}), "wrong_token"),
        (json!({"aud": "another"}), "wrong_token"),
        (json!({"iss": "https://evil.example"}), "wrong_token"),
        (json!({"exp": now - 600}), "wrong_token"),
        (json!({"realm": {"roles": ["x"]}}), "no_role"),
    ] {
        let mut all = anna.clone();
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        provider.says(all);
        assert_eq!(through(&router, &provider).await, (format!("/?sign_in={why}"), None), "{claims}");
    }
    provider.says(anna.clone());
    *provider.forged.lock().unwrap() = true;
    assert_eq!(through(&router, &provider).await.0, "/?sign_in=wrong_token", "another's signature");
    *provider.forged.lock().unwrap() = false;
    let (state, cookie) = begin(&router, &provider).await;
    let good = format!("code=the-code&state={state}");
    let again = ("/?sign_in=begin_again".to_owned(), None);
    assert_eq!(back(&router, &good, None).await, again, "another browser");
    assert_eq!(back(&router, &good.replace(&state, "x"), Some(&cookie)).await, again, "another state");
    assert_eq!(
        back(&router, &format!("error=access_denied&state={state}"), Some(&cookie)).await.0,
        "/?sign_in=refused"
    );
    assert_eq!(back(&router, &good, Some(&cookie)).await, again, "a state serves once");
    let (state, cookie) = begin(&router, &provider).await;
    let stolen = back(&router, &format!("code=another&state={state}"), Some(&cookie)).await;
    assert_eq!(stolen.0, "/?sign_in=provider_away", "the provider does not know the code");

    // An account with a password is nobody's to take; one that waits is.
    for (name, password) in [("root", Some("correct horse")), ("ben", None)] {
        let mut body = json!({"name": name});
        if let Some(password) = password {
            body["password"] = password.into();
        }
        let new = Request::post("/api/v1/accounts").header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        let new = new.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())).unwrap();
        assert_eq!(ask(&router, new).await.status(), StatusCode::CREATED);
        provider.says(json!({"sub": name, "preferred_username": name, "realm": {"roles": ["cc"]}}));
        let expected = if password.is_some() { "/?sign_in=name_taken" } else { "/" };
        assert_eq!(through(&router, &provider).await.0, expected, "{name}");
    }
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn a_site_may_have_no_passwords_and_no_new_accounts() {
    let made = Made::new("oidc-only");
    let provider = Provider::start().await;
    *made.oidc.lock().unwrap() = Some(provider.settings(&made.folder, &json!({"create": false, "passwords": false})));
    let router = router(made.web());
    provider.says(json!({"preferred_username": "anna"}));
    assert_eq!(through(&router, &provider).await.0, "/?sign_in=no_account");
    let body = json!({"name": "anna", "password": "correct horse"}).to_string();
    let sign_in =
        Request::post("/api/v1/session").header(header::CONTENT_TYPE, "application/json").body(Body::from(body));
    assert_eq!(ask(&router, sign_in.unwrap()).await.status(), StatusCode::FORBIDDEN);
    let without = Made::new("oidc-none");
    let none = ask(&super::router(without.web()), request(Method::GET, "/api/v1/session/oidc", None)).await;
    assert_eq!(none.status(), StatusCode::NOT_FOUND);
    std::fs::remove_dir_all(&made.folder).unwrap();
    std::fs::remove_dir_all(&without.folder).unwrap();
}
