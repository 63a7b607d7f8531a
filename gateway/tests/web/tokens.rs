//! API tokens: each opens what it says and no more, is shown once, and opens nothing once it is taken back.

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::kit::{Made, TOKEN, conversation};
use crate::{ask, json, router, text};

fn with(token: &str, method: Method, path: &str, body: Option<&Value>) -> Request<Body> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json");
    request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap()
}

#[tokio::test]
async fn a_token_opens_its_scopes_is_shown_once_and_can_be_taken_back() {
    let made = Made::new("tokens");
    let router = router(made.web());
    let id = conversation(60, 1);
    made.tell_the_story(id).await;
    let own = |method: Method, path: &str, body: Option<&Value>| with(TOKEN, method, path, body);
    let new = json!({"name": "crm", "scopes": ["conversations:read"], "expires_at": "2100-01-01T00:00:00Z"});
    let answer = ask(&router, own(Method::POST, "/api/v1/tokens", Some(&new))).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let answer = json(answer).await;
    let token = answer["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("ark_") && token.len() > 70, "{token}");
    assert_eq!((&answer["name"], &answer["state"]), (&json!("crm"), &json!("good")));
    let twice = ask(&router, own(Method::POST, "/api/v1/tokens", Some(&new))).await;
    assert_eq!(twice.status(), StatusCode::CONFLICT);
    for bad in [json!({"name": "x", "scopes": ["everything"]}), json!({"name": "x", "scopes": []})] {
        let refused = ask(&router, own(Method::POST, "/api/v1/tokens", Some(&bad))).await;
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
    }

    // What it opens, and what it does not: each refusal names what is missing.
    let base = format!("/api/v1/conversations/{id}");
    for path in ["/api/v1/about", "/api/v1/conversations", base.as_str(), "/api/v1/openapi.json", "/readyz"] {
        let answer = ask(&router, with(&token, Method::GET, path, None)).await;
        assert!(answer.status() != StatusCode::UNAUTHORIZED && answer.status() != StatusCode::FORBIDDEN, "{path}");
    }
    for (method, path, missing) in [
        (Method::GET, "/api/v1/calls", "`calls`"),
        (Method::POST, "/api/v1/calls/X/hangup", "`calls`"),
        (Method::GET, "/metrics", "`operations`"),
        (Method::GET, "/api/v1/channels", "`channels`"),
        (Method::GET, "/api/v1/conversations?numbers=full", "`numbers`"),
        (Method::POST, &format!("{base}/claim"), "`conversations:write`"),
        (Method::GET, "/api/v1/tokens", "`integrator`"),
    ] {
        let refused = ask(&router, with(&token, method, path, Some(&json!({})))).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{path}");
        let refused = json(refused).await;
        let code = refused["error"]["code"].as_str().unwrap();
        assert!(["missing_scope", "missing_role"].contains(&code), "{path}: {code}");
        assert!(refused["error"]["message"].as_str().unwrap().contains(missing), "{path}: {refused}");
    }
    assert!(made.hung_up.lock().unwrap().is_empty());
    let wrong = format!("{}x", &token[..token.len() - 1]);
    for nobody in [wrong.as_str(), "ark_", &token[4..]] {
        let refused = ask(&router, with(nobody, Method::GET, "/api/v1/about", None)).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{nobody}");
    }

    // It is listed without its secret, with when it was used; taken back, it opens nothing.
    let used = async {
        loop {
            let listed = text(ask(&router, own(Method::GET, "/api/v1/tokens", None)).await).await;
            if listed.contains("used_at") {
                return listed;
            }
            tokio::task::yield_now().await;
        }
    };
    let listed = tokio::time::timeout(crate::PATIENCE, used).await.expect("its use is written down");
    assert!(!listed.contains(&token) && !listed.contains("sha256"), "{listed}");
    let revoked = ask(&router, own(Method::DELETE, "/api/v1/tokens/crm", None)).await;
    assert_eq!(revoked.status(), StatusCode::OK);
    assert_eq!(json(revoked).await["state"], "revoked");
    let over = ask(&router, with(&token, Method::GET, "/api/v1/about", None)).await;
    assert_eq!(over.status(), StatusCode::UNAUTHORIZED);
    let again = ask(&router, own(Method::DELETE, "/api/v1/tokens/crm", None)).await;
    assert_eq!(again.status(), StatusCode::NOT_FOUND);
    std::fs::remove_dir_all(&made.folder).unwrap();
}

#[tokio::test]
async fn the_document_names_the_scope_of_each_operation() {
    let made = Made::new("token-scopes");
    let router = router(made.web());
    let document = json(ask(&router, with(TOKEN, Method::GET, "/api/v1/openapi.json", None)).await).await;
    let scope = |path: &str, method: &str| document["paths"][path][method]["security"][0]["token"].clone();
    assert_eq!(scope("/api/v1/conversations/{id}/messages", "post"), json!(["conversations:write"]));
    assert_eq!(scope("/api/v1/conversations/{id}/messages", "get"), json!(["conversations:read"]));
    assert_eq!(scope("/api/v1/tokens", "post"), json!([]));
    assert!(document["paths"]["/api/v1/calls"]["get"]["responses"]["403"].is_object());
    std::fs::remove_dir_all(&made.folder).unwrap();
}
