//! API tokens, as every store keeps them.

use jiff::Timestamp;

use super::at;
use crate::{ApiToken, Store, StoreError};

fn token(id: &str, name: &str, made_at: Timestamp) -> ApiToken {
    ApiToken {
        id: id.to_owned(),
        name: name.to_owned(),
        scopes: vec!["calls".to_owned(), "conversations:read".to_owned()],
        sha256: "0".repeat(64),
        made_at,
        expires_at: None,
        revoked_at: None,
        used_at: None,
    }
}

/// A token is found as it was kept, is taken back once, and its name is free again then.
///
/// # Panics
/// When the law is broken.
pub(super) async fn tokens_are_kept_used_and_taken_back(store: &impl Store) {
    let first = token("a1", "desk", at(1));
    store.put_token(first.clone()).await.expect("a token");
    let twin = store.put_token(token("a2", "desk", at(2))).await;
    assert!(matches!(twin, Err(StoreError::Conflict(_))), "{twin:?}");
    let ending = ApiToken { expires_at: Some(at(10)), ..token("b1", "night", at(2)) };
    store.put_token(ending.clone()).await.expect("a token");
    assert_eq!(store.tokens().await.expect("tokens"), [first.clone(), ending]);
    store.put_token(token("b2", "night", at(11))).await.expect("the one of this name has ended");

    store.token_used("a1", at(7)).await.expect("a use");
    store.token_used("a1", at(5)).await.expect("a use");
    store.token_used("nobody", at(5)).await.expect("no error");
    let revoked = store.revoke_token("desk", at(8)).await.expect("an answer").expect("it was there");
    assert_eq!(revoked, ApiToken { revoked_at: Some(at(8)), used_at: Some(at(7)), ..first });
    assert!(!revoked.is_good(at(9)));
    assert_eq!(store.revoke_token("a1", at(9)).await, Ok(None), "once");
    store.put_token(token("a2", "desk", at(12))).await.expect("the name is free again");
    assert_eq!(store.revoke_token("a2", at(13)).await.expect("an answer").expect("by its id").name, "desk");

    for bad in [
        token("", "x", at(1)),
        token("a-b", "x", at(1)),
        token("c1", " ", at(1)),
        ApiToken { scopes: Vec::new(), ..token("c1", "x", at(1)) },
        ApiToken { scopes: vec!["a b".to_owned()], ..token("c1", "x", at(1)) },
        ApiToken { sha256: "no".to_owned(), ..token("c1", "x", at(1)) },
    ] {
        let refused = store.put_token(bad.clone()).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{bad:?}");
    }
}
