//! What the scripted agents do: Anna, who answered the customer in DingTalk, sees the picture that comes, hands the customer to Ben with
//! what has happened so far, Ben settles it, and the customer says how content they were.

use std::collections::BTreeSet;

use ark_bus::{Missed, Subscription};
use ark_conversation::channel::{Body, Hosts, HttpCall, Method};
use ark_conversation::event::Part;
use ark_conversation::{ConversationId, Event};
use ark_dialplans::Lang;
use ark_store::{Account, Credentials, NewAccount, Role};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::chats::{Chats, STEP_TIMEOUT, Stuck};
use super::words;
use crate::accounts::password;
use crate::channel_host::wire::Wire;
use crate::cli::output;
use crate::providers::Provider;
use crate::serve::Gateway;

/// Whose customer is handed over.
const FROM: Provider = Provider::DingTalk;

/// The demo's accounts.
pub(super) struct Desks {
    /// Their password: of this demo alone.
    pub(super) password: String,
}

impl Desks {
    /// The agent who answers first; a supervisor and operator, too, so that everything can be looked at.
    pub(super) const ANNA: &'static str = "anna";
    /// The agent to whom customers are handed.
    pub(super) const BEN: &'static str = "ben";

    /// Makes the accounts; those of an earlier demo in the same folder get the new password.
    pub(super) async fn make(lang: Lang, gateway: &Gateway) -> Result<Self, String> {
        let password = format!("{:012x}", rand::random::<u64>() >> 16);
        let every = BTreeSet::from(Role::ALL);
        for (name, display, roles) in
            [(Self::ANNA, words::anna(lang), every), (Self::BEN, words::ben(lang), BTreeSet::from([Role::Agent]))]
        {
            let hash = password::hash(password.clone()).await.map_err(|error| error.to_string())?;
            let account = Account {
                name: name.to_owned(),
                display: display.to_owned(),
                roles,
                groups: vec!["general".to_owned()],
                skills: Default::default(),
                languages: Default::default(),
                capacity: Default::default(),
                phone: None,
                disabled: false,
                made_at: Timestamp::now(),
                signed_in_at: None,
            };
            let known = gateway.store.account(name).await.map_err(|error| error.to_string())?;
            let done = if known.is_some() {
                let change = ark_store::AccountChange { password: Some(Some(hash)), ..Default::default() };
                gateway.store.change_account(name, change).await.map(drop)
            } else {
                let credentials = Credentials { password: Some(hash), subject: None };
                gateway.store.put_account(NewAccount { account, credentials, first: false }).await.map(drop)
            };
            done.map_err(|error| error.to_string())?;
        }
        Ok(Self { password })
    }
}

/// From the picture to the score.
pub(super) async fn run(
    lang: Lang,
    gateway: &Gateway,
    chats: &mut Chats,
    conversation: ConversationId,
    records: &mut Subscription,
) -> Result<(), Stuck> {
    let failed = |why: String| Stuck::NotTaken { provider: FROM.name(), why };
    let (anna, ben, words) = (Desks::ANNA, Desks::BEN, words::desks(lang));

    chats.providers.write_picture(gateway.web).await.map_err(failed)?;
    let picture = |event: &Event| matches!(event, Event::MessageIn(said) if said.parts.iter().any(|part| matches!(part, Part::Image { .. })));
    until(records, conversation, "the picture in the log", picture).await?;

    let hand = json!({ "to": { "agent": ben }, "mode": "warm", "by": anna, "note": words.note });
    ask(gateway, &format!("{conversation}/transfer"), hand).await.map_err(failed)?;
    until(records, conversation, "the offer", |event| matches!(event, Event::OwnerOffered(_))).await?;
    ask(gateway, &format!("{conversation}/claim"), json!({ "by": ben })).await.map_err(failed)?;
    say(gateway, conversation, ben, words.answer).await.map_err(failed)?;
    see(lang, chats).await?;

    ask(gateway, &format!("{conversation}/resolve"), json!({ "by": ben })).await.map_err(failed)?;
    see(lang, chats).await?;
    chats.providers.write(gateway.web, FROM, words.score).await.map_err(failed)?;
    until(records, conversation, "the score", |event| matches!(event, Event::SurveyAnswered(_))).await?;
    see(lang, chats).await
}

/// An agent writes.
pub(super) async fn say(gateway: &Gateway, conversation: ConversationId, by: &str, text: &str) -> Result<(), String> {
    let key = format!("demo-{by}-{conversation}");
    ask(gateway, &format!("{conversation}/messages"), json!({ "by": by, "text": text, "key": key })).await
}

/// The customer's app shows something.
pub(super) async fn see(lang: Lang, chats: &mut Chats) -> Result<(), Stuck> {
    let shown = timeout(STEP_TIMEOUT, chats.shown.recv()).await.ok().flatten();
    let shown = shown.ok_or(Stuck::Step { provider: FROM.name(), step: "the answer in the customer's app" })?;
    output::line(words::shown(lang, &shown)).map_err(|_| Stuck::Terminal)
}

/// Waits for an event of the conversation.
async fn until(
    records: &mut Subscription,
    conversation: ConversationId,
    step: &'static str,
    is: impl Fn(&Event) -> bool,
) -> Result<(), Stuck> {
    let found = async {
        loop {
            match records.next().await {
                Ok(record) if record.conversation == conversation && is(&record.event.event) => return true,
                Ok(_) | Err(Missed::Lagged { .. }) => {}
                Err(Missed::Closed) => return false,
            }
        }
    };
    match timeout(STEP_TIMEOUT, found).await {
        Ok(true) => Ok(()),
        _ => Err(Stuck::Step { provider: FROM.name(), step }),
    }
}

/// Asks as an agent's program does: by the API.
async fn ask(gateway: &Gateway, path: &str, body: Value) -> Result<(), String> {
    let call = HttpCall {
        method: Method::Post,
        url: format!("http://{}/api/v1/conversations/{path}", gateway.web),
        headers: vec![("authorization".to_owned(), format!("Bearer {}", gateway.token))],
        body: Body::Json(body),
        timeout: STEP_TIMEOUT,
        idempotent: true,
    };
    let wire = Wire::new(Hosts::new([format!("http://{}", gateway.web)]));
    let answer = wire.call_small(call).await.map_err(|error| error.to_string())?;
    let said = || String::from_utf8_lossy(&answer.body).into_owned();
    if (200..300).contains(&answer.status) { Ok(()) } else { Err(format!("{}: {}", answer.status, said())) }
}
