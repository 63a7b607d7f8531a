//! Words in the log, as every store finds them.

use ark_conversation::event::Note;
use ark_conversation::samples::{message_in, new_event};
use ark_conversation::{Content, ConversationId, Owner, Tenant};

use super::{call, conversation};
use crate::limits::SEARCH_CHARS_MAX;
use crate::{Store, StoreError};

/// Words are found in every script, newest first, page by page, and of each tenant its own; what is no words is not.
///
/// # Panics
/// When the law is broken.
pub(super) async fn words_are_found_newest_first(store: &impl Store) {
    let (old, new) = (conversation(1, 1), conversation(2, 2));
    let says = |id: ConversationId, n: u64, text: &str| new_event(id, n, message_in("thread-1", text).into());
    let note = |n: u64, text: &str| {
        let by = Owner::Agent("anna".to_owned());
        new_event(old, n, Note { by, text: Content::new(text) }.into())
    };
    let events = vec![
        call(old, 1),
        says(old, 2, "我想退货，订单 100%_A \"急\""),
        note(3, "Wants a REFUND"),
        call(new, 4),
        says(new, 5, "退货要多久？"),
        says(new, 6, "refund please"),
    ];
    store.append(events).await.expect("an append");
    let search = |words: &'static str| async move {
        let found = store.search(&Tenant::MAIN, words, None).await.expect("an answer");
        assert_eq!(found.next, None, "a small log is one window");
        found.records.iter().map(|one| (one.conversation, one.seq)).collect::<Vec<_>>()
    };
    assert_eq!(search("退货").await, [(new, 2), (old, 2)]);
    assert_eq!(search("Refund").await, [(new, 3), (old, 3)], "letters of either case");
    assert_eq!(search("100%_a \"急\"").await, [(old, 2)], "signs stand for themselves");
    assert_eq!(search("thread-1").await, [], "what nobody said is not found");
    assert_eq!(search("text").await, []);
    assert_eq!(search("100%x").await, []);
    let on = store.search(&Tenant::MAIN, "退货", Some((new, 2))).await.expect("an answer");
    assert_eq!(on.records.iter().map(|one| one.conversation).collect::<Vec<_>>(), [old], "on from a place");
    let other = Tenant::new("other").expect("a tenant");
    assert!(store.search(&other, "退货", None).await.expect("an answer").records.is_empty());
    let long = "x".repeat(SEARCH_CHARS_MAX + 1);
    for bad in ["", " ", &long] {
        assert!(matches!(store.search(&Tenant::MAIN, bad, None).await, Err(StoreError::Refused(_))), "{bad}");
    }
}
