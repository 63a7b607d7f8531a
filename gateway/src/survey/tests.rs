use ark_conversation::event::CallAnswered;
use ark_conversation::samples::{at, ended, new_event, ringing};
use ark_conversation::{LegId, Record};

use super::*;

#[test]
fn a_token_names_its_conversation_and_keeps_its_secret_apart() {
    let (id, secret) = (ConversationId::new(7, 9), companion::token());
    let token = format!("{}{secret}", id.to_string().to_lowercase());
    assert_eq!(parted(&token), Some((id, secret.as_str())));
    for bad in ["", "x", &token[1..], &format!("{token}x"), &token.replace(&token[30..31], "/"), &"é".repeat(26)] {
        assert_eq!(parted(bad), None, "{bad}");
    }
}

fn up(leg: LegId) -> Event {
    CallAnswered { leg, codec: "PCMA".to_owned(), dtmf: None, ringing_ms: 120 }.into()
}

fn folded(events: Vec<Event>) -> ConversationState {
    let id = ConversationId::new(u64::try_from(at(0).as_millisecond()).unwrap(), 1);
    let records: Vec<Record> =
        (1..).zip(events).map(|(seq, event)| new_event(id, seq, event).into_record(seq)).collect();
    let mut state = ConversationState::begin(&records[0]);
    for record in &records[1..] {
        state.apply(record);
    }
    state
}

#[test]
fn who_talked_with_a_person_and_was_not_asked_is_due_once_the_call_is_over() {
    let (caller, agent) = (LegId(1), LegId(2));
    let call = || vec![ringing(caller, Role::Customer).into(), up(caller)];
    let over = |mut events: Vec<Event>, legs: &[LegId]| {
        events.extend(legs.iter().map(|leg| ended(*leg).into()));
        folded(events)
    };
    let mut talked = call();
    talked.extend([ringing(agent, Role::Agent).into(), up(agent)]);
    assert!(due(&over(talked.clone(), &[])).is_none(), "they talk still");
    assert_eq!(due(&over(talked.clone(), &[caller, agent])).map(|leg| leg.leg), Some(caller));
    assert!(due(&over(call(), &[caller])).is_none(), "nobody talked with them");
    let asked = SurveyAsked { leg: caller, way: SurveyWay::Keys, scale: 5, message: None, until: None, link: None };
    talked.push(asked.into());
    assert!(due(&over(talked, &[caller, agent])).is_none(), "their plan has asked");
}
