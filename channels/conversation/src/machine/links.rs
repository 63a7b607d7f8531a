//! Companion links: pages for pictures and words during a call.
//!
//! A link is a leg that is offered until a device takes it, and over when its time is: at the latest
//! [`LINK_TTL_MAX`] after it was made, and [`crate::limits::LINK_AFTER_CALL`] after the last call's end. The first device that
//! says so has it: the store takes `ark.link.joined.v1` of a link once.

use jiff::Timestamp;

use super::{Conversation, Refused};
use crate::cloud_event::{CloudEvent, whole_microseconds};
use crate::event::{Event, LegAdded, LinkCode, LinkJoined, LinkMade, Medium, Role};
use crate::limits::{LINK_CODE_TTL, LINK_TTL_MAX, LINKS_MAX};
use crate::source;
use crate::state::{LegPhase, LegState};

impl Conversation {
    /// What a link's event changes before it is appended.
    pub(super) fn take_link(&mut self, now: Timestamp, event: &mut CloudEvent) -> Result<(), Refused> {
        let own_source = event.source.clone();
        match &mut event.event {
            Event::LinkMade(made) => self.make_link(now, made, &own_source),
            Event::LinkCode(LinkCode { link, expires }) => {
                let alive = self.link_leg(&source::link(&self.tenant, *link)).is_some_and(is_alive);
                let latest = now.saturating_add(LINK_CODE_TTL).unwrap_or(now);
                *expires = whole_microseconds((*expires).min(latest));
                if alive { Ok(()) } else { Err(Refused::NoLeg) }
            }
            Event::LinkJoined(joined) => self.join_link(now, joined, own_source),
            _ => Ok(()),
        }
    }

    /// A link can be made while the conversation is open; from then on it stays open for as long as the link.
    fn make_link(&mut self, now: Timestamp, made: &mut LinkMade, own_source: &str) -> Result<(), Refused> {
        let state = self.open()?;
        if own_source != source::link(&self.tenant, made.link) {
            return Err(Refused::Malformed("the link's source names another link"));
        }
        if state.legs.iter().filter(|leg| leg.medium == Medium::Companion && is_alive(leg)).count() >= LINKS_MAX {
            return Err(Refused::Full);
        }
        let noted = state.session.is_some();
        made.leg = state.next_leg();
        let latest = now.saturating_add(LINK_TTL_MAX).unwrap_or(now);
        made.expires = whole_microseconds(made.expires.min(latest));
        if !noted {
            self.note_session(now);
        }
        Ok(())
    }

    fn join_link(&mut self, now: Timestamp, joined: &mut LinkJoined, own_source: String) -> Result<(), Refused> {
        let leg = self.link_leg(&own_source).filter(|leg| leg.phase == LegPhase::Offered).ok_or(Refused::NoLeg)?;
        joined.leg = leg.leg;
        let customer = self.begun()?.legs.iter().find(|leg| leg.medium == Medium::Call && leg.role == Role::Customer);
        let added = LegAdded {
            leg: leg.leg,
            medium: Medium::Companion,
            role: Role::Customer,
            source: own_source,
            thread: joined.link.to_string(),
            adapter: source::COMPANION.to_owned(),
            account: "link".to_owned(),
            party: None,
            predecessor: customer.map(|call| call.leg),
        };
        self.push(now, added);
        Ok(())
    }

    fn link_leg(&self, own_source: &str) -> Option<&LegState> {
        let legs = &self.state.as_ref()?.legs;
        legs.iter().find(|leg| leg.medium == Medium::Companion && leg.source.as_deref() == Some(own_source))
    }
}

fn is_alive(leg: &LegState) -> bool {
    leg.phase != LegPhase::Ended
}
