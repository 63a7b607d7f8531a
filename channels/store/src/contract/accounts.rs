//! Accounts and sessions, as every store keeps them.

use std::collections::{BTreeMap, BTreeSet};

use ark_conversation::routing::Capacity;
use jiff::Timestamp;

use super::at;
use crate::limits::SESSIONS_PER_ACCOUNT_MAX;
use crate::{Account, AccountChange, Credentials, NewAccount, PasswordHash, Role, Session, Store, StoreError};

fn hash(of: &str) -> PasswordHash {
    PasswordHash::new(format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ${of}"))
}

fn account(name: &str) -> Account {
    Account {
        name: name.to_owned(),
        display: "陈 Anna".to_owned(),
        roles: BTreeSet::from([Role::Agent]),
        groups: vec!["orders".to_owned()],
        skills: BTreeMap::from([("billing".to_owned(), 4)]),
        languages: BTreeMap::from([("zh".to_owned(), 5)]),
        capacity: Capacity { calls: 1, chats: 3, chats_beside_call: 1 },
        phone: Some("sip:601@10.0.0.9".to_owned()),
        disabled: false,
        made_at: at(1),
        signed_in_at: None,
    }
}

fn new(name: &str) -> NewAccount {
    let credentials = Credentials { password: Some(hash("a")), subject: None };
    NewAccount { account: account(name), credentials, first: false }
}

fn session(n: u64, of: &str, at: Timestamp, ends_at: Timestamp) -> Session {
    Session { sha256: format!("{n:064x}"), account: of.to_owned(), made_at: at, used_at: at, ends_at }
}

/// An account is found as it was kept; the first is the first; a name is one account's; a change changes what it names.
///
/// # Panics
/// When the law is broken.
pub(super) async fn accounts_are_kept_changed_and_removed(store: &impl Store) {
    assert_eq!(store.accounts().await, Ok(Vec::new()));
    store.put_account(NewAccount { first: true, ..new("anna") }).await.expect("the first");
    let second = store.put_account(NewAccount { first: true, ..new("ben") }).await;
    assert!(matches!(second, Err(StoreError::Conflict(_))), "{second:?}");
    let twin = store.put_account(new("anna")).await;
    assert!(matches!(twin, Err(StoreError::Conflict(_))), "{twin:?}");
    let mut bound = new("ben");
    bound.credentials = Credentials { password: None, subject: Some("https://id.example 7".to_owned()) };
    store.put_account(bound.clone()).await.expect("an account");
    bound.account.name = "carl".to_owned();
    let same = store.put_account(bound.clone()).await;
    assert!(matches!(same, Err(StoreError::Conflict(_))), "one subject is one account: {same:?}");

    assert_eq!(store.accounts().await, Ok(vec![account("anna"), account("ben")]));
    let found = store.account("anna").await.expect("an answer").expect("it is there");
    assert_eq!(found, (account("anna"), new("anna").credentials));
    assert_eq!(store.account("nobody").await, Ok(None));
    let subject = store.account_of_subject("https://id.example 7").await.expect("an answer");
    assert_eq!(subject.map(|account| account.name).as_deref(), Some("ben"));
    assert_eq!(store.account_of_subject("https://id.example 8").await, Ok(None));

    let change = AccountChange {
        roles: Some(BTreeSet::from([Role::Agent, Role::Supervisor])),
        phone: Some(None),
        signed_in_at: Some(at(9)),
        ..AccountChange::default()
    };
    let changed = store.change_account("anna", change.clone()).await.expect("a change").expect("it is there");
    let roles = BTreeSet::from([Role::Agent, Role::Supervisor]);
    assert_eq!(changed, Account { roles, phone: None, signed_in_at: Some(at(9)), ..account("anna") });
    assert_eq!(store.account("anna").await.expect("an answer").expect("it is there").0, changed);
    assert_eq!(store.change_account("nobody", change).await, Ok(None));
    let taken = AccountChange { subject: Some(bound.credentials.subject), ..AccountChange::default() };
    assert!(matches!(store.change_account("anna", taken).await, Err(StoreError::Conflict(_))));

    assert_eq!(store.remove_account("anna").await, Ok(true));
    assert_eq!(store.remove_account("anna").await, Ok(false));
    assert_eq!(store.accounts().await.expect("accounts").len(), 1);
}

/// What does not fit is refused, new or as a change, and nothing is written.
///
/// # Panics
/// When the law is broken.
pub(super) async fn accounts_that_do_not_fit_are_refused(store: &impl Store) {
    let spoils: [fn(&mut NewAccount); 12] = [
        |new| new.account.name = String::new(),
        |new| new.account.name = "Anna".to_owned(),
        |new| new.account.name = "-anna".to_owned(),
        |new| new.account.name = "a".repeat(65),
        |new| new.account.display = " ".to_owned(),
        |new| new.account.display = "a\nb".to_owned(),
        |new| new.account.groups = vec!["g".to_owned(); 65],
        |new| new.account.skills = BTreeMap::from([("x".to_owned(), 6)]),
        |new| new.account.languages = BTreeMap::from([("x".to_owned(), 0)]),
        |new| new.account.capacity.chats_beside_call = 4,
        |new| new.account.phone = Some("601".to_owned()),
        |new| new.credentials.password = Some(PasswordHash::new("secret")),
    ];
    for (n, spoil) in spoils.into_iter().enumerate() {
        let mut bad = new("anna");
        spoil(&mut bad);
        let refused = store.put_account(bad).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{n}: {refused:?}");
    }
    store.put_account(new("anna")).await.expect("an account");
    let bad = AccountChange { display: Some(String::new()), ..AccountChange::default() };
    assert!(matches!(store.change_account("anna", bad).await, Err(StoreError::Refused(_))));
    assert_eq!(store.accounts().await, Ok(vec![account("anna")]));
}

/// A session is found by its hash until it is ended, its account is shut out, its password changes, or it is one too many.
///
/// # Panics
/// When the law is broken.
pub(super) async fn sessions_last_until_something_ends_them(store: &impl Store) {
    store.put_account(new("anna")).await.expect("an account");
    store.put_account(new("ben")).await.expect("an account");
    let nobody = store.put_session(session(1, "carl", at(1), at(100))).await;
    assert!(matches!(nobody, Err(StoreError::Conflict(_))), "{nobody:?}");
    let bad = Session { sha256: "no".to_owned(), ..session(1, "anna", at(1), at(100)) };
    assert!(matches!(store.put_session(bad).await, Err(StoreError::Refused(_))));

    for (n, of) in [(1, "anna"), (2, "anna"), (3, "anna"), (4, "ben")] {
        store.put_session(session(n, of, at(n as i64), at(100))).await.expect("a session");
    }
    let there = async |n: u64| store.session(&format!("{n:064x}")).await.expect("an answer").is_some();
    let found = store.session(&format!("{:064x}", 2)).await.expect("an answer").expect("it is there");
    assert_eq!(found, (session(2, "anna", at(2), at(100)), account("anna")));
    assert_eq!(store.renew_session(&found.0.sha256, at(50), at(150)).await, Ok(true));
    assert_eq!(store.renew_session(&found.0.sha256, at(40), at(140)).await, Ok(true), "time does not go back");
    let renewed = store.session(&found.0.sha256).await.expect("an answer").expect("it is there").0;
    assert_eq!((renewed.used_at, renewed.ends_at), (at(50), at(150)));
    assert_eq!(store.end_session(&format!("{:064x}", 1)).await, Ok(true));
    assert_eq!(store.end_session(&format!("{:064x}", 1)).await, Ok(false), "once");
    assert_eq!(store.renew_session(&format!("{:064x}", 1), at(50), at(150)).await, Ok(false));

    let password = AccountChange {
        password: Some(Some(hash("b"))),
        keep_session: Some(found.0.sha256.clone()),
        ..AccountChange::default()
    };
    store.change_account("anna", password).await.expect("a change");
    assert!(there(2).await && !there(3).await && there(4).await, "the others of this account");
    let display = AccountChange { display: Some("A".to_owned()), ..AccountChange::default() };
    store.change_account("anna", display).await.expect("a change");
    assert!(there(2).await, "another change ends nothing");
    let shut = AccountChange { disabled: Some(true), keep_session: Some(found.0.sha256), ..AccountChange::default() };
    store.change_account("anna", shut).await.expect("a change");
    assert!(!there(2).await && there(4).await, "who is shut out has no session");
    let shut_out = store.put_session(session(9, "anna", at(60), at(100))).await;
    assert!(matches!(shut_out, Err(StoreError::Conflict(_))), "{shut_out:?}");

    let most = SESSIONS_PER_ACCOUNT_MAX as u64;
    for n in 0..most {
        store.put_session(session(100 + n, "ben", at(200 + n as i64), at(1_000))).await.expect("a session");
    }
    assert!(!there(4).await, "it had ended by time, and made room");
    store.put_session(session(99, "ben", at(500), at(1_000))).await.expect("a session");
    assert!(!there(100).await && there(101).await && there(99).await, "the one used longest ago made room");
    assert_eq!(store.remove_account("ben").await, Ok(true));
    assert!(!there(99).await, "with the account its sessions go");
}
