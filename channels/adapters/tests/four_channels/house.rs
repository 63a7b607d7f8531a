//! Who works in the house: two agents, a plan, a queue; what they want, often too late and in the wrong epoch.

use ark_conversation::event::*;
use ark_conversation::laws::Broken;
use ark_conversation::machine::Input;
use ark_conversation::{CloudEvent, ConversationId, Hash, LegId, Owner, Pii, source};
use jiff::SignedDuration;

use super::Fault;
use super::world::World;

pub fn anna() -> Owner {
    Owner::Agent("anna".to_owned())
}

pub fn ben() -> Owner {
    Owner::Agent("ben".to_owned())
}

pub fn faq() -> Owner {
    Owner::Bot("faq".to_owned())
}

pub fn general() -> Owner {
    Owner::Queue("general".to_owned())
}

impl World {
    /// Somebody of the house does something about some conversation.
    pub fn house_acts(&mut self) -> Result<(), Broken> {
        let all = self.store.conversations();
        let Some(mut id) = self.random.pick(&all).copied() else { return Ok(()) };
        if let Some(doras) = self.doras().filter(|_| self.random.chance(30)) {
            id = doras;
        }
        if self.oracle.laws(id).is_none() {
            return Ok(());
        }
        let input = match self.random.below(100) {
            0..=39 => self.speaks(id),
            40..=59 => self.offers(id),
            60..=79 => self.answers(id),
            80..=85 => Input::Vanished { who: self.somebody(id) },
            86..=89 => self.closes(id),
            90..=94 => self.guest(id),
            _ => return self.link(id),
        };
        self.command(id, input)
    }

    /// The owner, or anybody.
    fn somebody(&mut self, id: ConversationId) -> Owner {
        let truth = self.oracle.laws(id).and_then(|laws| laws.owner().cloned()).filter(|_| self.random.chance(65));
        truth.unwrap_or_else(|| self.random.pick(&[anna(), ben(), faq()]).cloned().unwrap())
    }

    /// The epoch in which somebody believes to be.
    fn belief(&mut self, id: ConversationId) -> u64 {
        let truth = self.oracle.laws(id).map_or(1, |laws| laws.epoch());
        if self.random.chance(80) { truth } else { truth.saturating_sub(1 + self.random.next() % 2).max(1) }
    }

    fn speaks(&mut self, id: ConversationId) -> Input {
        let (author, epoch) = (self.somebody(id), self.belief(id));
        if self.keys == 0 || !self.random.chance(10) {
            self.keys += 1;
        }
        let key = format!("k{}c{}", self.keys, id.to_bytes()[15]);
        let pieces = if self.random.chance(25) { 2 } else { 1 };
        let fill = if self.random.chance(50) { "x".repeat(400) } else { "dear customer".to_owned() };
        let parts: Vec<Part> = (1..=pieces).map(|piece| Part::text(format!("{key}/{piece} {fill}"))).collect();
        if self.fault == Some(Fault::BotPastOwner) && author == faq() {
            self.past_owner(id, &format!("{key}/1"));
        }
        let leg = self.random.chance(30).then_some(LegId(1));
        Input::Outbound { author, epoch, key, leg, parts, reply_to: None }
    }

    fn offers(&mut self, id: ConversationId) -> Input {
        let (by, expected_epoch) = (self.somebody(id), self.belief(id));
        if self.random.chance(30) {
            return Input::Release { by, expected_epoch, queue: "general".to_owned(), priority: 1, needs: None };
        }
        let to = self.random.pick(&[anna(), ben(), faq(), general()]).cloned().unwrap();
        let mode = if self.random.chance(50) { OfferMode::Warm } else { OfferMode::Cold };
        let ttl = Some(SignedDuration::from_secs(1 + self.random.below(60) as i64));
        Input::Offer { by, expected_epoch, to, mode, ttl, note: None }
    }

    fn answers(&mut self, id: ConversationId) -> Input {
        let rings: Vec<_> = self.rings.iter().filter(|(of, _)| *of == id).map(|(_, ring)| ring.clone()).collect();
        let Some(ring) = self.random.pick(&rings).cloned() else {
            let by = self.random.pick(&[anna(), ben()]).cloned().unwrap();
            return Input::Take { by, expected_epoch: self.belief(id) };
        };
        let by = match &ring.to {
            Owner::Queue(_) => self.random.pick(&[anna(), ben()]).cloned().unwrap(),
            to => to.clone(),
        };
        match self.random.below(10) {
            0 | 1 => Input::Decline { by, offer: ring.offer },
            2 => Input::Withdraw { by: self.somebody(id), offer: ring.offer },
            _ => Input::Accept { by, offer: ring.offer, expected_epoch: ring.expected_epoch },
        }
    }

    fn closes(&mut self, id: ConversationId) -> Input {
        let by = self.somebody(id);
        if self.random.chance(40) {
            return Input::Reopen { by };
        }
        if self.random.chance(30) {
            return Input::EndLeg { leg: LegId(1 + self.random.below(3) as u32), reason: LegEndReason::House };
        }
        let (expected_epoch, reason) = (self.belief(id), SessionCloseReason::Resolved);
        Input::Close { by, expected_epoch, reason, disposition: None, note: None }
    }

    /// An agent asks the plan in, or sends it out.
    fn guest(&mut self, id: ConversationId) -> Input {
        let participant = Participant { role: ParticipantRole::Bot, id: Pii::new("faq") };
        if self.random.chance(40) {
            return Input::Leave { participant, leg: None };
        }
        Input::Join { participant, leg: None, voice: Voice::Speak, by: Some(self.somebody(id)) }
    }

    /// A companion link is made; whoever opens it on another channel comes with its token.
    fn link(&mut self, id: ConversationId) -> Result<(), Broken> {
        let tenant = self.store.tenant(id);
        let token = format!("tok-{}", self.links.len());
        let link = Hash::of(token.as_bytes());
        let expires = self.now + SignedDuration::from_mins(10);
        let made = LinkMade { link, leg: LegId(0), call: None, by: "agent:anna".to_owned(), expires };
        let event = CloudEvent::new("made", source::link(&tenant, link), self.now, made);
        if self.store.ingest(event, &tenant, Some(id)).is_ok() {
            self.links.push((token, tenant));
        }
        Ok(())
    }
}
