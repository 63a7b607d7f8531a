//! Accounts: who works here and may sign in, and the sessions that they have open. Passwords and sessions are kept as hashes only.

use std::collections::{BTreeMap, BTreeSet};

use ark_conversation::routing::{AgentProfile, Capacity};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::limits::{
    ACCOUNT_DISPLAY_BYTES_MAX, ACCOUNT_GROUPS_MAX, ACCOUNT_NAME_BYTES_MAX, ACCOUNT_PHONE_BYTES_MAX, ACCOUNT_SKILLS_MAX,
    ACCOUNT_SUBJECT_BYTES_MAX, ACCOUNT_WORD_BYTES_MAX, PASSWORD_HASH_BYTES_MAX,
};

/// What an account may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Serves customers: sees the conversations of their queues.
    Agent,
    /// Sees every conversation, listens in, reveals numbers.
    Supervisor,
    /// Runs the site: plans, channels, accounts.
    Operator,
    /// Makes tokens for programs.
    Integrator,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Agent, Self::Supervisor, Self::Operator, Self::Integrator];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Supervisor => "supervisor",
            Self::Operator => "operator",
            Self::Integrator => "integrator",
        }
    }

    /// The role of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// Somebody who works here, without what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What they sign in with, and what logs call them (`agent:anna`): 1 to 64 of a-z, 0-9 and `. _ - @ +`, the first a letter or digit.
    pub name: String,
    /// What people call them.
    pub display: String,
    /// What they may do.
    pub roles: BTreeSet<Role>,
    /// The skill groups that they belong to: a queue names groups.
    pub groups: Vec<String>,
    /// Skills with levels from 1 to 5.
    pub skills: BTreeMap<String, u8>,
    /// Languages (BCP 47, as `zh`) with levels from 1 to 5.
    pub languages: BTreeMap<String, u8>,
    /// How much they take at once.
    pub capacity: Capacity,
    /// The SIP address of their telephone; none: they speak in the browser.
    pub phone: Option<String>,
    /// Whether they are shut out.
    pub disabled: bool,
    /// When the account was made.
    pub made_at: Timestamp,
    /// When they signed in last.
    pub signed_in_at: Option<Timestamp>,
}

impl Account {
    /// Whether they have a role.
    #[must_use]
    pub fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// What the router asks of an agent.
    #[must_use]
    pub fn profile(&self) -> AgentProfile {
        AgentProfile {
            groups: self.groups.clone(),
            skills: self.skills.clone(),
            languages: self.languages.clone(),
            capacity: self.capacity,
        }
    }
}

/// A password as it is kept: argon2id in the PHC string format. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// A hash in the PHC string format, `$argon2id$v=19$...`.
    #[must_use]
    pub fn new(phc: impl Into<String>) -> Self {
        Self(phc.into())
    }

    /// The hash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(secret)")
    }
}

/// How somebody proves who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Their password; none: they have none.
    pub password: Option<PasswordHash>,
    /// Who they are at the site's identity provider (issuer, a space, subject); none: nobody there.
    pub subject: Option<String>,
}

/// An account that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAccount {
    /// Who.
    pub account: Account,
    /// How they prove it.
    pub credentials: Credentials,
    /// Whether it may only be the first of the site.
    pub first: bool,
}

/// What is to be otherwise about an account; what is none stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// What people call them.
    pub display: Option<String>,
    /// What they may do.
    pub roles: Option<BTreeSet<Role>>,
    /// Skill groups.
    pub groups: Option<Vec<String>>,
    /// Skills with levels.
    pub skills: Option<BTreeMap<String, u8>>,
    /// Languages with levels.
    pub languages: Option<BTreeMap<String, u8>>,
    /// How much at once.
    pub capacity: Option<Capacity>,
    /// Their telephone; `Some(None)`: they have none any more.
    pub phone: Option<Option<String>>,
    /// Whether they are shut out. Shutting somebody out ends their sessions.
    pub disabled: Option<bool>,
    /// A new password; `Some(None)`: none any more. Their sessions end, except [`AccountChange::keep_session`].
    pub password: Option<Option<PasswordHash>>,
    /// Who they are at the identity provider.
    pub subject: Option<Option<String>>,
    /// When they signed in.
    pub signed_in_at: Option<Timestamp>,
    /// The session (its hash) that goes on when a new password ends the others.
    pub keep_session: Option<String>,
}

impl AccountChange {
    /// Applies it.
    pub(crate) fn apply(&self, account: &mut Account, credentials: &mut Credentials) {
        fn put<T: Clone>(to: &mut T, from: Option<&T>) {
            if let Some(from) = from {
                to.clone_from(from);
            }
        }
        put(&mut account.display, self.display.as_ref());
        put(&mut account.roles, self.roles.as_ref());
        put(&mut account.groups, self.groups.as_ref());
        put(&mut account.skills, self.skills.as_ref());
        put(&mut account.languages, self.languages.as_ref());
        put(&mut account.capacity, self.capacity.as_ref());
        put(&mut account.phone, self.phone.as_ref());
        put(&mut account.disabled, self.disabled.as_ref());
        put(&mut credentials.password, self.password.as_ref());
        put(&mut credentials.subject, self.subject.as_ref());
        account.signed_in_at = self.signed_in_at.or(account.signed_in_at);
    }

    /// Which sessions end by it: none, or all except one.
    pub(crate) fn ends_sessions(&self) -> Option<Option<&str>> {
        if self.disabled == Some(true) {
            return Some(None);
        }
        self.password.is_some().then_some(self.keep_session.as_deref())
    }
}

/// A browser in which somebody has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of what the browser's cookie holds, 64 lower-case hex digits.
    pub sha256: String,
    /// Whose.
    pub account: String,
    /// When they signed in.
    pub made_at: Timestamp,
    /// When it was used last, to within some minutes.
    pub used_at: Timestamp,
    /// When it ends unless it is used.
    pub ends_at: Timestamp,
}

/// What of an account stands in a row as JSON.
#[derive(Serialize, Deserialize)]
struct Profile {
    display: String,
    roles: BTreeSet<Role>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    skills: BTreeMap<String, u8>,
    #[serde(default)]
    languages: BTreeMap<String, u8>,
    calls: u32,
    chats: u32,
    chats_beside_call: u32,
    #[serde(default)]
    phone: Option<String>,
}

/// An account's profile as it stands in a row.
pub(crate) fn profile(account: &Account) -> String {
    let Capacity { calls, chats, chats_beside_call } = account.capacity;
    let profile = Profile {
        display: account.display.clone(),
        roles: account.roles.clone(),
        groups: account.groups.clone(),
        skills: account.skills.clone(),
        languages: account.languages.clone(),
        calls,
        chats,
        chats_beside_call,
        phone: account.phone.clone(),
    };
    serde_json::to_string(&profile).expect("a profile has text and numbers only")
}

/// An account of its row.
pub(crate) fn of_row(
    name: String,
    profile: &str,
    disabled: bool,
    made_at: Timestamp,
    signed_in_at: Option<Timestamp>,
) -> Result<Account, serde_json::Error> {
    let Profile { display, roles, groups, skills, languages, calls, chats, chats_beside_call, phone } =
        serde_json::from_str(profile)?;
    let capacity = Capacity { calls, chats, chats_beside_call };
    Ok(Account { name, display, roles, groups, skills, languages, capacity, phone, disabled, made_at, signed_in_at })
}

/// Whether an account may be called so.
///
/// # Errors
/// [`StoreError::Refused`], with what a name is.
pub fn name_fits(name: &str) -> Result<(), StoreError> {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let fits = name.len() <= ACCOUNT_NAME_BYTES_MAX
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|b| letter(b) || b"._-@+".contains(&b));
    let why = format!(
        "an account's name has 1 to {ACCOUNT_NAME_BYTES_MAX} of a-z, 0-9 and `. _ - @ +`, the first a letter or digit; `{}` does not",
        name.chars().take(ACCOUNT_NAME_BYTES_MAX).filter(|c| !c.is_control()).collect::<String>()
    );
    if fits { Ok(()) } else { Err(StoreError::Refused(why)) }
}

fn text_fits(what: &str, text: &str, most: usize) -> Result<(), StoreError> {
    if text.trim().is_empty() || text.len() > most || text.chars().any(char::is_control) {
        return Err(StoreError::Refused(format!("{what} has 1 to {most} bytes and no control characters")));
    }
    Ok(())
}

fn levels_fit(what: &str, levels: &BTreeMap<String, u8>) -> Result<(), StoreError> {
    if levels.len() > ACCOUNT_SKILLS_MAX {
        return Err(StoreError::Refused(format!("an account has at most {ACCOUNT_SKILLS_MAX} {what}s")));
    }
    for (name, level) in levels {
        text_fits(&format!("a {what}"), name, ACCOUNT_WORD_BYTES_MAX)?;
        if !(1..=5).contains(level) {
            return Err(StoreError::Refused(format!("the {what} `{name}` has a level from 1 to 5, not {level}")));
        }
    }
    Ok(())
}

/// Whether an account may be kept as it is.
pub(crate) fn checked(account: &Account, credentials: &Credentials) -> Result<(), StoreError> {
    name_fits(&account.name)?;
    text_fits("an account's display name", &account.display, ACCOUNT_DISPLAY_BYTES_MAX)?;
    if account.groups.len() > ACCOUNT_GROUPS_MAX {
        return Err(StoreError::Refused(format!("an account belongs to at most {ACCOUNT_GROUPS_MAX} groups")));
    }
    account.groups.iter().try_for_each(|group| text_fits("a group's name", group, ACCOUNT_WORD_BYTES_MAX))?;
    levels_fit("skill", &account.skills)?;
    levels_fit("language", &account.languages)?;
    let Capacity { calls, chats, chats_beside_call } = account.capacity;
    if calls > 1 || chats > 100 || chats_beside_call > chats {
        let why = "an agent takes at most 1 call and 100 chats, and beside a call no more chats than without";
        return Err(StoreError::Refused(why.to_owned()));
    }
    if let Some(phone) = &account.phone {
        text_fits("a telephone's address", phone, ACCOUNT_PHONE_BYTES_MAX)?;
        if !phone.starts_with("sip:") && !phone.starts_with("sips:") {
            return Err(StoreError::Refused(format!("a telephone's address is as sip:601@10.0.0.9, not `{phone}`")));
        }
    }
    if let Some(PasswordHash(hash)) = &credentials.password
        && (!hash.starts_with("$argon2id$") || hash.len() > PASSWORD_HASH_BYTES_MAX)
    {
        return Err(StoreError::Refused("a password is kept as argon2id in the PHC string format".to_owned()));
    }
    if let Some(subject) = &credentials.subject {
        text_fits("a subject", subject, ACCOUNT_SUBJECT_BYTES_MAX)?;
    }
    Ok(())
}

/// Whether a session may be kept.
pub(crate) fn session_checked(session: &Session) -> Result<(), StoreError> {
    let hex = session.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if session.sha256.len() != 64 || !hex {
        return Err(StoreError::Refused("a session's hash is 64 lower-case hex digits".to_owned()));
    }
    name_fits(&session.account)
}

/// What a store says of a second account of one name.
pub(crate) fn taken(name: &str) -> StoreError {
    StoreError::Conflict(format!("there is an account `{name}` already"))
}

/// What a store says when an account that is there already has the identity provider's subject.
pub(crate) fn subject_taken() -> StoreError {
    StoreError::Conflict("another account is bound to this identity of the provider already".to_owned())
}

/// What a store says when an account can no longer be the first.
pub(crate) fn not_first() -> StoreError {
    StoreError::Conflict("there is an account already: its operator makes others".to_owned())
}

/// What a store says of one account too many.
pub(crate) fn too_many(most: usize) -> StoreError {
    StoreError::Refused(format!("{most} accounts are kept already; remove some"))
}

/// What a store says of a session for nobody.
pub(crate) fn nobody() -> StoreError {
    StoreError::Conflict("there is no such account, or it is disabled".to_owned())
}
