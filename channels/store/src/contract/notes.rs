//! Notes, as every store keeps them.

use ark_conversation::Tenant;

use crate::limits::{NOTE_BYTES_MAX, NOTE_NAME_BYTES_MAX};
use crate::{Note, Store, StoreError};

/// A note is changed by whoever knew what it was, and of several who try at once by one.
///
/// # Panics
/// When the law is broken.
pub(super) async fn a_note_is_changed_by_who_knew_it(store: &impl Store) {
    let (main, other) = (Tenant::MAIN, Tenant::new("other").expect("a tenant"));
    assert_eq!(store.note(&main, "n").await, Ok(None));
    assert_eq!(store.swap_note(&main, "n", 3, b"x".to_vec()).await, Ok(false), "there is none to be changed");
    assert_eq!(store.swap_note(&main, "n", 0, b"one".to_vec()).await, Ok(true));
    assert_eq!(store.swap_note(&main, "n", 0, b"two".to_vec()).await, Ok(false), "there is one already");
    assert_eq!(store.note(&main, "n").await, Ok(Some(Note { version: 1, body: b"one".to_vec() })));
    assert_eq!(store.swap_note(&main, "n", 1, b"two".to_vec()).await, Ok(true));
    assert_eq!(store.swap_note(&main, "n", 1, b"late".to_vec()).await, Ok(false));
    assert_eq!(store.note(&main, "n").await, Ok(Some(Note { version: 2, body: b"two".to_vec() })));
    assert_eq!(store.note(&other, "n").await, Ok(None), "tenants have their own");

    for round in 0..5_u8 {
        let known = store.note(&main, "race").await.expect("an answer").map_or(0, |note| note.version);
        let all = (0..8_u8).map(|n| store.swap_note(&main, "race", known, vec![round, n])).collect::<Vec<_>>();
        let mut won = Vec::new();
        for (n, one) in all.into_iter().enumerate() {
            if one.await.expect("an answer") {
                won.push(n);
            }
        }
        let note = store.note(&main, "race").await.expect("an answer").expect("a note");
        assert_eq!((won.len(), note.version), (1, known + 1), "one of eight, in round {round}");
        assert_eq!(usize::from(note.body[1]), won[0]);
    }

    store.swap_note(&main, "large", 0, vec![7; NOTE_BYTES_MAX]).await.expect("as long as may be");
    let long_name = "x".repeat(NOTE_NAME_BYTES_MAX + 1);
    for (name, body) in
        [("", vec![]), (long_name.as_str(), vec![]), ("a\nb", vec![]), ("x", vec![0; NOTE_BYTES_MAX + 1])]
    {
        let refused = store.swap_note(&main, name, 0, body).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    }
}
