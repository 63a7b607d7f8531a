//! Companion links in virtual time.

use super::*;
use crate::Hash;

const LINK: &[u8] = b"token 1";

impl House {
    /// A caller talks with the plan.
    fn with_a_call() -> Self {
        let mut house = Self::new();
        house.call("c1", samples::ringing(LegId(1), Role::Customer));
        house
    }

    fn link(&mut self, id: &str, token: &[u8], event: impl Into<Event>) -> Result<Handled, Refused> {
        let source = source::link(&Tenant::MAIN, Hash::of(token));
        self.give(Input::Inbound(CloudEvent::new(id, source, self.now, event)))
    }

    fn make_link(&mut self, token: &[u8]) -> Result<Handled, Refused> {
        let expires = self.now.saturating_add(SignedDuration::from_secs(90_000)).unwrap();
        let by = "agent:anna".to_owned();
        let made = LinkMade { link: Hash::of(token), leg: LegId(0), call: Some(LegId(1)), by, expires };
        self.link("made", token, made)
    }

    fn join_link(&mut self, token: &[u8]) -> Result<Handled, Refused> {
        let joined = LinkJoined { link: Hash::of(token), leg: LegId(0), device: Hash::of(b"phone"), via: LinkVia::Sms };
        self.link("joined", token, joined)
    }

    fn companion(&self) -> &crate::LegState {
        self.state().legs.iter().find(|leg| leg.medium == Medium::Companion).expect("there is a link")
    }
}

#[test]
fn a_link_is_offered_until_a_device_takes_it_and_carries_words_then() {
    let mut house = House::with_a_call();
    house.make_link(LINK).unwrap();
    assert_eq!((house.companion().phase, house.companion().leg), (LegPhase::Offered, LegId(101)));
    assert!(house.state().session.is_some(), "the conversation stays open for the link");
    let ttl = house.companion().deadline.unwrap().duration_since(house.now);
    assert_eq!(ttl, crate::limits::LINK_TTL_MAX, "whatever was asked for");
    house
        .give(Input::Release {
            by: Owner::Bot("hotline-95188".to_owned()),
            expected_epoch: 1,
            queue: "q".to_owned(),
            priority: 0,
            needs: None,
        })
        .unwrap();
    house.give(Input::Take { by: anna(), expected_epoch: 2 }).unwrap();
    assert_eq!(house.say(anna(), 3, "k1"), Err(Refused::NoLeg), "nobody reads it yet");
    house.join_link(LINK).unwrap();
    assert_eq!(house.companion().phase, LegPhase::Active);
    assert!(house.companion().deadline.is_some(), "its time goes on");
    house.link("companion:1", LINK, samples::message_in("x", "here it is")).unwrap();
    house.say(anna(), 3, "k1").unwrap();
    assert_eq!(house.join_link(LINK), Ok(Handled::Duplicate));
    let Some(Event::LinkJoined(joined)) =
        house.log.iter().map(|record| &record.event.event).find(|event| matches!(event, Event::LinkJoined(_)))
    else {
        panic!("it is in the log");
    };
    assert_eq!(joined.leg, LegId(101));
}

#[test]
fn a_link_is_over_in_its_time_and_sooner_when_the_call_is() {
    let mut house = House::with_a_call();
    house.make_link(LINK).unwrap();
    house.pass(899);
    house.give(Input::Tick).unwrap();
    assert_eq!(house.companion().phase, LegPhase::Offered);
    house.pass(1);
    house.give(Input::Tick).unwrap();
    assert_eq!(house.companion().phase, LegPhase::Ended);
    assert_eq!(house.join_link(LINK), Err(Refused::NoLeg));

    let mut house = House::with_a_call();
    house.make_link(LINK).unwrap();
    house.join_link(LINK).unwrap();
    house.pass(10);
    house.call("c2", samples::ended(LegId(1)));
    assert!(house.state().is_open(), "after the call the page goes on");
    let left = house.companion().deadline.unwrap().duration_since(house.now);
    assert_eq!(left, crate::limits::LINK_AFTER_CALL);
    house.link("companion:1", LINK, samples::message_in("x", "forgot this one")).unwrap();
    house.pass(600);
    house.give(Input::Tick).unwrap();
    assert_eq!(house.companion().phase, LegPhase::Ended);
    assert!(!house.state().is_open(), "nothing holds it open any more");
}

#[test]
fn what_a_page_sent_at_the_last_moment_is_in_the_log_and_wakes_no_link() {
    let mut house = House::with_a_call();
    house.make_link(LINK).unwrap();
    house.join_link(LINK).unwrap();
    house.pass(900);
    house.give(Input::Tick).unwrap();
    house.link("companion:9", LINK, samples::message_in("x", "late")).unwrap();
    assert!(house.log.iter().any(|record| record.event.id == "companion:9"));
    assert_eq!(house.companion().phase, LegPhase::Ended);
}

#[test]
fn links_are_few_and_none_is_made_when_nobody_is_there() {
    let mut house = House::with_a_call();
    for n in 0..crate::limits::LINKS_MAX {
        house.make_link(format!("token {n}").as_bytes()).unwrap();
    }
    assert_eq!(house.make_link(b"one more"), Err(Refused::Full));
    let code = LinkCode { link: Hash::of(b"token 0"), expires: at(9_000_000) };
    house.link("code", b"token 0", code).unwrap();
    let code = LinkCode { link: Hash::of(b"nobody's"), expires: at(9_000_000) };
    assert_eq!(house.link("code", b"token 1", code), Err(Refused::NoLeg));
    assert_eq!(House::new().make_link(LINK), Err(Refused::Unknown));

    let made = LinkMade { link: Hash::of(LINK), leg: LegId(0), call: None, by: String::new(), expires: at(1) };
    let event = CloudEvent::new("i", thread_source("web-1"), at(0), made);
    assert!(matches!(house.give(Input::Inbound(event)), Err(Refused::Malformed(_))), "other channels make none");
}
