//! The whole of a walk: customers and providers, two gateways, a store, and what goes wrong between them.

use std::collections::BTreeSet;
use std::sync::Arc;

use ark_conversation::channel::*;
use ark_conversation::event::{Media, MergeReason, PersonLinked, PersonMerged, Receipt, ReceiptReason, ReceiptState};
use ark_conversation::laws::{Broken, ensure};
use ark_conversation::machine::{Conversation, Effect, Input, Policy, Ring};
use ark_conversation::person::{Resolved, resolve};
use ark_conversation::{
    Assurance, CloudEvent, Content, ConversationId, Event, Hash, IdentityKey, KeyKind, MergeId, PersonId, Tenant,
    samples, source,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Fault;
use super::gateway::{Decided, Gateway, Keep, Sent, Task};
use super::oracle::Oracle;
use super::provider::{Kind, Provider, Push, Said, picture};
use super::store::{Commit, Life, No, SHARDS, Store};

/// Tries before a message is given up: few, so that it happens.
const ATTEMPTS_MAX: u32 = 4;
/// The account of WeChat.
const WECHAT: usize = 1;
/// The account of the page to which Dora comes, whom WeChat knows by then.
const DORAS_PAGE: usize = 3;
/// From which step on.
const LATER: u64 = 250;
/// What nobody of the customers wrote has a number from here on.
const FORGED: u64 = 1_000_000;
/// What a message is settled as of which nobody knows whether it arrived.
const UNKNOWN: &str = "outcome_unknown";

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub const fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub const fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        if list.is_empty() { None } else { list.get(self.below(list.len())) }
    }
}

pub struct World {
    pub random: Random,
    pub fault: Option<Fault>,
    pub now: Timestamp,
    pub store: Store,
    pub oracle: Oracle,
    pub rings: Vec<(ConversationId, Ring)>,
    pub links: Vec<(String, Tenant)>,
    pub keys: u64,
    providers: Vec<Provider>,
    gateways: Vec<Option<Gateway>>,
    policy: Arc<Policy>,
    step: u64,
    lives: u64,
    written: u64,
    forged: u64,
    kills: u64,
    fenced: u64,
    /// Nothing goes wrong any more.
    calm: bool,
}

/// The key by which Dora is the same customer on two channels.
fn dora() -> IdentityKey {
    IdentityKey::new(KeyKind::WeChatUnionid, "dora")
}

/// A key that she comes with before anybody knows that.
fn phone() -> IdentityKey {
    IdentityKey::phone("+8613800001212", "86").unwrap()
}

impl World {
    pub fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut random = Random(seed);
        let other = Tenant::new("other").unwrap();
        let providers = vec![
            Provider::new(Kind::DingTalk, "shop", Tenant::MAIN),
            Provider::new(Kind::WeChat, "shop", Tenant::MAIN),
            Provider::new(Kind::WeCom, "shop", Tenant::MAIN),
            Provider::new(Kind::Http, "shop", Tenant::MAIN),
            Provider::new(Kind::Http, "bank", other),
        ];
        let opening = if random.chance(50) { super::house::general() } else { super::house::faq() };
        let mut store = Store::default();
        store.lawless = fault == Some(Fault::NoFence);
        Self {
            random,
            fault,
            now: samples::at(0),
            store,
            oracle: Oracle::default(),
            rings: Vec::new(),
            links: Vec::new(),
            keys: 0,
            providers,
            gateways: vec![None, None],
            policy: Arc::new(Policy { opening, ..Policy::default() }),
            step: 0,
            lives: 0,
            written: 0,
            forged: 0,
            kills: 0,
            fenced: 0,
            calm: false,
        }
    }

    /// What happened, to be summed up.
    pub fn numbers(&self) -> [u64; 9] {
        let oracle = &self.oracle;
        [
            self.written,
            oracle.sent() as u64,
            oracle.accepted as u64,
            self.kills,
            self.forged,
            oracle.unknown as u64,
            oracle.rerouted as u64,
            oracle.merges() as u64,
            self.fenced,
        ]
    }

    pub fn begin(&mut self) -> Result<(), Broken> {
        self.start(0)?;
        self.start(1)
    }

    fn start(&mut self, g: usize) -> Result<(), Broken> {
        self.lives += 1;
        self.gateways[g] = Some(Gateway::new(self.lives, &self.providers));
        for a in 0..self.providers.len() {
            let saved = self.store.saved.get(&(g, a)).cloned().unwrap_or_default();
            self.feed(g, a, In::Begin { saved })?;
        }
        Ok(())
    }

    pub fn step(&mut self) -> Result<(), Broken> {
        self.step += 1;
        match self.random.below(1_000) {
            0..=49 => self.customer_writes(),
            50..=129 => self.provider_brings(),
            130..=144 => self.forge(),
            145..=154 => self.identify_by_adapter(),
            155..=324 => self.house_acts(),
            325..=634 => self.gateway_works(),
            635..=859 => self.owner_works(),
            860..=909 => self.claim_sendings(),
            910..=964 => self.pass(),
            _ => self.trouble(),
        }
    }

    fn live(&self) -> Vec<usize> {
        let up = |g: &usize| self.gateways[*g].as_ref().is_some_and(|gateway| !gateway.stalled);
        (0..self.gateways.len()).filter(up).collect()
    }

    fn gateway(&mut self, g: usize) -> &mut Gateway {
        self.gateways[g].as_mut().expect("it lives")
    }

    fn any_live(&mut self) -> Option<usize> {
        let live = self.live();
        self.random.pick(&live).copied()
    }

    fn customer_writes(&mut self) -> Result<(), Broken> {
        let (mut a, mut thread) = (self.random.below(self.providers.len()), self.random.below(2));
        if a == DORAS_PAGE && self.step < LATER {
            thread = 1;
        } else if self.random.chance(30) {
            (a, thread) = (if self.step < LATER || self.random.chance(50) { WECHAT } else { DORAS_PAGE }, 0);
        }
        self.written += 1;
        let shows = self.random.chance(35);
        self.providers[a].write(self.written, thread, shows);
        let one = self.providers[a].written.last().cloned().unwrap();
        self.oracle.wrote(one.n, self.providers[a].source(thread), one.picture);
        self.provider_brings()
    }

    /// A provider delivers: mostly what waits longest, at times the next beside it, at times what was acknowledged.
    fn provider_brings(&mut self) -> Result<(), Broken> {
        let a = self.random.below(self.providers.len());
        if self.providers[a].kind == Kind::WeCom {
            return if self.providers[a].callback || self.random.chance(10) { self.call_back(a) } else { Ok(()) };
        }
        let thread = self.random.below(2);
        let late = self.random.chance(10);
        let nth = usize::from(self.random.chance(25));
        let mut of = self.providers[a].written.iter().filter(|one| one.thread == thread && one.acked == late);
        let Some(one) = (if late { of.next_back() } else { of.nth(nth) }).cloned() else { return Ok(()) };
        let push = self.providers[a].push(self.now, &one);
        self.bring(a, push, vec![one.n])
    }

    fn call_back(&mut self, a: usize) -> Result<(), Broken> {
        let one = super::provider::Written { n: 0, thread: 0, picture: false, acked: false };
        let push = self.providers[a].push(self.now, &one);
        self.bring(a, push, Vec::new())
    }

    /// Brings something to a gateway that is there.
    fn bring(&mut self, a: usize, push: Push, numbers: Vec<u64>) -> Result<(), Broken> {
        let Some(g) = self.any_live() else { return Ok(()) };
        let (life, step) = (self.gateway(g).life, self.step);
        match push {
            Push::Ask(http) => {
                for n in &numbers {
                    self.oracle.arrived(life, *n, step);
                }
                let line = &mut self.gateway(g).lines[a];
                line.requests += 1;
                let request = line.requests;
                line.asked.insert(request, numbers);
                self.feed(g, a, In::HttpRequest { request, http })
            }
            Push::Frame(text) => {
                let sockets: Vec<u64> = self.gateway(g).lines[a].sockets.iter().copied().collect();
                let Some(socket) = self.random.pick(&sockets).copied() else { return Ok(()) };
                for n in &numbers {
                    self.oracle.arrived(life, *n, step);
                }
                self.feed(g, a, In::Frame { socket, frame: Frame::Text(text) })
            }
        }
    }

    /// Somebody who is not the provider, or a provider's old request: nothing of it may be taken.
    fn forge(&mut self) -> Result<(), Broken> {
        self.forged += 1;
        let n = FORGED + self.forged;
        let a = self.random.below(self.providers.len());
        let two_hours = SignedDuration::from_hours(2);
        let how = self.random.below(5);
        let now = if how == 0 { self.now.saturating_sub(two_hours).unwrap() } else { self.now };
        let one = super::provider::Written { n, thread: 0, picture: false, acked: false };
        let provider = &mut self.providers[a];
        let push = match (provider.kind, how) {
            (Kind::Http, 1) => {
                let part = json!({"kind": "text", "text": "words"});
                let data = json!({"thread": "h0", "native_id": n.to_string(), "parts": [part], "sender": {"role": "customer", "id": "c"}});
                provider.standard(now, "m", "/ark/main/http/bakery/h0", "ark.message.in.v1", &data)
            }
            (Kind::Http, 2) => provider.signed(now, b"\xff\xfe{}".to_vec()),
            (Kind::WeChat, 1) => provider.sealed(now, b"\xff\xfe\xc4\xe3"),
            (Kind::WeChat, 2) => provider.sealed(now, format!("{{\"MsgId\": {n}").as_bytes()),
            _ => provider.push(now, &one),
        };
        let push = match push {
            Push::Ask(mut http) if how >= 3 && provider.kind != Kind::WeCom => {
                match how {
                    3 => (http.query, http.headers) = (Vec::new(), Vec::new()),
                    _ => {
                        let at = http.body.len() / 2;
                        http.body[at] ^= 1;
                    }
                }
                Push::Ask(http)
            }
            Push::Frame(_) => Push::Frame(format!("{{\"type\": \"CALLBACK\", \"data\": {n}")),
            other => other,
        };
        self.bring(a, push, vec![n])
    }

    /// An adapter says who its customer is: Dora is known by her unionid at WeChat, and by her phone here.
    fn identify_by_adapter(&mut self) -> Result<(), Broken> {
        let a = if self.step < LATER { DORAS_PAGE + 1 } else { DORAS_PAGE + self.random.below(2) };
        let provider = &self.providers[a];
        let (source, thread) = (provider.source(0), provider.thread(0));
        let key = |key: &IdentityKey| json!({"kind": key.kind.as_str(), "value": key.value.reveal()});
        let keys = match self.random.below(3) {
            0 => vec![key(&phone())],
            1 => vec![key(&dora())],
            _ => vec![key(&phone()), key(&dora())],
        };
        let assurance = if self.random.chance(70) { "channel_verified" } else { "asserted" };
        let mut data = json!({"thread": thread, "keys": keys, "assurance": assurance});
        let links: Vec<String> = self
            .links
            .iter()
            .filter(|(_, tenant)| *tenant == provider.tenant)
            .map(|(token, _)| token.clone())
            .collect();
        if let Some(token) = self.random.pick(&links).filter(|_| self.step.is_multiple_of(2)) {
            data["link_token"] = token.clone().into();
        }
        let push =
            self.providers[a].standard(self.now, &format!("who{}", self.step), &source, "ark.identity.v1", &data);
        self.bring(a, push, Vec::new())
    }

    /// Time goes on: mostly a little, at times an hour.
    fn pass(&mut self) -> Result<(), Broken> {
        let ms = match self.random.below(20) {
            0 => 3_600_000,
            1..=3 => 200_000,
            4..=8 => 20_000,
            _ => 2_000,
        };
        self.now += SignedDuration::from_millis(1 + (self.random.next() % ms) as i64);
        self.wake()
    }

    /// Whoever asked to be woken is.
    fn wake(&mut self) -> Result<(), Broken> {
        for g in self.live() {
            for a in 0..self.providers.len() {
                let (now, line) = (self.now, &mut self.gateway(g).lines[a]);
                if line.wake.is_some_and(|at| at <= now) {
                    line.wake = None;
                    self.feed(g, a, In::Tick)?;
                }
            }
        }
        Ok(())
    }

    fn trouble(&mut self) -> Result<(), Broken> {
        let g = self.random.below(self.gateways.len());
        let a = self.random.below(self.providers.len());
        match self.random.below(15) {
            0 | 1 => {
                if self.gateways[g].take().is_some() {
                    self.kills += 1;
                }
                Ok(())
            }
            2..=5 => {
                if self.gateways[g].is_none() {
                    self.start(g)
                } else {
                    Ok(())
                }
            }
            6 => {
                self.store.away = !self.store.away;
                Ok(())
            }
            7 => {
                self.store.away = false;
                Ok(())
            }
            8 => {
                self.providers[a].down = self.random.chance(40);
                Ok(())
            }
            9 => {
                self.providers[a].forget_token();
                Ok(())
            }
            10 => {
                if let Some(gateway) = &mut self.gateways[g] {
                    gateway.stalled = !gateway.stalled;
                }
                Ok(())
            }
            11 | 12 => {
                self.gateways.iter_mut().flatten().for_each(|gateway| gateway.stalled = false);
                Ok(())
            }
            _ => self.break_socket(g),
        }
    }

    fn break_socket(&mut self, g: usize) -> Result<(), Broken> {
        if !self.live().contains(&g) {
            return Ok(());
        }
        let Some(socket) = self.gateway(g).lines[0].sockets.pop_first() else { return Ok(()) };
        if self.random.chance(40) {
            // The server asks first.
            self.gateway(g).lines[0].sockets.insert(socket);
            let headers = json!({"topic": "disconnect", "messageId": "d", "contentType": "application/json"});
            let frame = json!({"type": "SYSTEM", "headers": headers, "data": "{}"}).to_string();
            return self.feed(g, 0, In::Frame { socket, frame: Frame::Text(frame) });
        }
        self.feed(g, 0, In::SocketClosed { socket, why: "reset".to_owned() })
    }

    /// The conversation that Dora began at WeChat.
    pub fn doras(&self) -> Option<ConversationId> {
        self.store.conversation_of(&self.providers[WECHAT].source(0))
    }

    // The host.

    /// Gives a machine an input and does what it says, until it says nothing more.
    fn feed(&mut self, g: usize, a: usize, input: In) -> Result<(), Broken> {
        self.gateway(g).lines[a].due.push_back(input);
        self.drain(g, a)
    }

    /// Gives a machine what is due.
    fn drain(&mut self, g: usize, a: usize) -> Result<(), Broken> {
        while let Some(input) = self.gateway(g).lines[a].due.pop_front() {
            let now = self.now;
            self.gateway(g).lines[a].channel.handle(now, input);
            while let Some(out) = self.gateway(g).lines[a].channel.poll() {
                self.carry_out(g, a, out)?;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, g: usize, a: usize, out: Out) -> Result<(), Broken> {
        let now = self.now;
        match out {
            Out::HttpReply { request, reply } => return self.replied(g, a, request, &reply),
            Out::HttpCall { call, http } => self.gateway(g).tasks.push(Task::Call { account: a, call, http: *http }),
            Out::OpenSocket { socket, .. } => self.gateway(g).tasks.push(Task::Open { account: a, socket }),
            Out::CloseSocket { socket, .. } => drop(self.gateway(g).lines[a].sockets.remove(&socket)),
            Out::Frame { socket, frame } => return self.heard_frame(g, a, socket, &frame),
            Out::Ingest(mut ingest) => {
                if self.fault == Some(Fault::AckFirst) {
                    let acks = std::mem::take(&mut ingest.durable);
                    self.acknowledge(g, a, acks)?;
                }
                self.gateway(g).tasks.push(Task::Keep(Keep { account: a, ingest, done: 0, refused: false }));
            }
            Out::Fetch { fetch, from, .. } => {
                self.gateway(g).tasks.push(Task::Fetch { account: a, fetch, url: from.url });
            }
            Out::Settle { delivery, outcome } => self.settled(g, a, delivery, outcome),
            Out::NeedToken { name, stale } => {
                let line = &mut self.gateway(g).lines[a];
                let good = line.token.as_ref().filter(|token| {
                    stale.as_deref() != Some(&token.value) && token.expires_at.duration_since(now).as_secs() > 60
                });
                match good.cloned() {
                    Some(token) => line.due.push_back(In::Token { name, token }),
                    None if !std::mem::replace(&mut line.refreshing, true) => {
                        line.due.push_back(In::RefreshToken { name });
                    }
                    None => {}
                }
            }
            Out::Token { name, token } => {
                let line = &mut self.gateway(g).lines[a];
                (line.refreshing, line.token) = (false, Some(token.clone()));
                line.due.push_back(In::Token { name, token });
            }
            Out::WakeAt(at) => self.gateway(g).lines[a].wake = Some(at),
            Out::Live(_) | Out::Keep { .. } | Out::ReplyFile { .. } => {}
            Out::Manifest(_) | Out::Health(_) | Out::Note(_) => {}
        }
        Ok(())
    }

    fn replied(&mut self, g: usize, a: usize, request: RequestId, reply: &HttpReply) -> Result<(), Broken> {
        let gateway = self.gateway(g);
        let life = gateway.life;
        let Some(numbers) = gateway.lines[a].asked.remove(&request) else { return Ok(()) };
        let good = reply.status == 200 && !String::from_utf8_lossy(&reply.body).contains("rejected");
        let lost = !self.calm && self.random.chance(8);
        if good && numbers.is_empty() && self.providers[a].kind == Kind::WeCom && !lost {
            self.providers[a].callback = false;
        }
        for n in numbers {
            if good {
                self.acked(a, n, lost)?;
            } else {
                self.oracle.refused(life, n);
            }
        }
        Ok(())
    }

    fn acked(&mut self, a: usize, n: u64, lost: bool) -> Result<(), Broken> {
        // WeCom's callback brings nothing of its own.
        if n > FORGED && self.providers[a].kind == Kind::WeCom {
            return Ok(());
        }
        ensure("I1", n < FORGED, || format!("a forged message was acknowledged at {}", self.providers[a].adapter()))?;
        self.oracle.acknowledged(n, &self.store)?;
        if !lost {
            self.providers[a].acknowledge(n);
        }
        Ok(())
    }

    fn heard_frame(&mut self, g: usize, a: usize, socket: SocketId, frame: &Frame) -> Result<(), Broken> {
        let gateway = self.gateway(g);
        let (life, open) = (gateway.life, gateway.lines[a].sockets.contains(&socket));
        let Frame::Text(text) = frame else { return Ok(()) };
        let answer: Value = serde_json::from_str(text).unwrap();
        let Some(n) = answer["headers"]["messageId"].as_str().and_then(|id| id.parse().ok()) else { return Ok(()) };
        if answer["code"] != 200 {
            self.oracle.refused(life, n);
            return Ok(());
        }
        let lost = !open || !self.calm && self.random.chance(8);
        self.acked(a, n, lost)
    }

    fn acknowledge(&mut self, g: usize, a: usize, acks: Vec<Ack>) -> Result<(), Broken> {
        for ack in acks {
            match ack {
                Ack::Reply { request, reply } => self.replied(g, a, request, &reply)?,
                Ack::Frame { socket, frame } => self.heard_frame(g, a, socket, &frame)?,
                Ack::Tell { mark } => self.gateway(g).lines[a].due.push_back(In::Told { mark }),
            }
        }
        Ok(())
    }

    /// What came of a message: into the log first, then to the outbox.
    fn settled(&mut self, g: usize, a: usize, id: DeliveryId, outcome: Outcome) {
        let now = self.now;
        let (fault, pause) = (self.fault, SignedDuration::from_secs(2 + (self.random.next() % 60) as i64));
        let gateway = self.gateway(g);
        let Some(Sent { attempt, event, error }) = gateway.lines[a].sends.remove(&id) else { return };
        let failed = |code: String| (ReceiptState::Failed, Some(ReceiptReason { code, text: None, retriable: false }));
        // Once a try was met with silence, no later refusal says that nothing arrived.
        let silent = error.as_deref() == Some(UNKNOWN) && fault != Some(Fault::ForgetSilence);
        let outcome = match outcome {
            Outcome::Unknown if fault == Some(Fault::RetryUnknown) => {
                Outcome::Retry { code: "busy".to_owned(), after: None }
            }
            other => other,
        };
        let (state, reason) = match outcome {
            Outcome::Retry { code, .. } => {
                let code = if silent { UNKNOWN.to_owned() } else { code };
                if attempt < ATTEMPTS_MAX {
                    gateway.tasks.push(Task::Settle { id, attempt, again: Some((now + pause, code)) });
                    return;
                }
                failed(code)
            }
            Outcome::Accepted { .. } => (ReceiptState::Accepted, None),
            Outcome::Sent { .. } => (ReceiptState::Sent, None),
            Outcome::Failed { code, .. } => failed(code),
            Outcome::Unknown => failed(UNKNOWN.to_owned()),
        };
        let Event::MessageOut(message) = &event.event else { return };
        let receipt =
            Receipt { thread: message.thread.clone(), message: event.id.clone(), state, native_id: None, reason };
        let told = CloudEvent::new(format!("{}:{}", event.id, state.as_str()), event.source.clone(), now, receipt);
        gateway.tasks.push(Task::Receipt { account: a, id, attempt, event: Box::new(told) });
    }

    fn gateway_works(&mut self) -> Result<(), Broken> {
        let Some(g) = self.any_live() else { return Ok(()) };
        let ready = self.gateway(g).ready();
        match self.random.pick(&ready).copied() {
            Some(index) => self.work(g, index),
            None => Ok(()),
        }
    }

    fn work(&mut self, g: usize, index: usize) -> Result<(), Broken> {
        match self.gateway(g).tasks.remove(index) {
            Task::Keep(keep) => self.keep(g, index, keep),
            Task::Call { account, call, http } => {
                let said = self.call(account, &http)?;
                self.gateway(g).tasks.push(Task::Answer { account, call, said });
                Ok(())
            }
            Task::Answer { account, call, said } => {
                self.see_page(g, &said);
                self.feed(g, account, In::HttpResponse { call, answer: said })
            }
            Task::Fetch { account, fetch, url } => {
                let answer = self.fetch(&url);
                self.feed(g, account, In::Fetched { fetch, answer })
            }
            Task::Open { account, socket } => {
                if !self.calm && self.random.chance(15) {
                    return self.feed(g, account, In::SocketClosed { socket, why: "refused".to_owned() });
                }
                self.gateway(g).lines[account].sockets.insert(socket);
                self.feed(g, account, In::SocketOpen { socket, asked: None })
            }
            Task::Send { account, id, attempt, in_doubt, error, event } => {
                let in_doubt = in_doubt && self.fault != Some(Fault::ForgetDoubt);
                let error = if in_doubt { Some(UNKNOWN.to_owned()) } else { error };
                let line = &mut self.gateway(g).lines[account];
                line.sends.insert(id, Sent { attempt, event: (*event).clone(), error });
                let out = Outbound { delivery: id, attempt, event: *event, in_doubt };
                self.feed(g, account, In::Send(Box::new(out)))
            }
            Task::Receipt { account, id, attempt, event } => {
                let tenant = self.providers[account].tenant.clone();
                let task = match self.store.ingest((*event).clone(), &tenant, None) {
                    Ok(_) => Task::Settle { id, attempt, again: None },
                    Err(_) => Task::Receipt { account, id, attempt, event },
                };
                self.gateway(g).tasks.push(task);
                Ok(())
            }
            Task::Settle { id, attempt, again } => {
                if self.store.settle(id, attempt, again.clone()).is_err() {
                    self.gateway(g).tasks.push(Task::Settle { id, attempt, again });
                }
                Ok(())
            }
        }
    }

    /// The messages of a page come to the machine.
    fn see_page(&mut self, g: usize, said: &Said) {
        let (life, step) = (self.gateway(g).life, self.step);
        let body: Value =
            said.as_ref().ok().and_then(|reply| serde_json::from_slice(&reply.body).ok()).unwrap_or_default();
        for item in body["msg_list"].as_array().into_iter().flatten() {
            if let Some(n) = item["msgid"].as_str().and_then(|id| id.parse().ok()) {
                self.oracle.arrived(life, n, step);
            }
        }
    }

    /// One event more into the store; when all are there, what waits for that.
    fn keep(&mut self, g: usize, index: usize, mut keep: Keep) -> Result<(), Broken> {
        let a = keep.account;
        if keep.done == 0 && self.fault == Some(Fault::CursorFirst) && self.providers[a].kind == Kind::WeCom {
            let marks = std::mem::take(&mut keep.ingest.durable);
            self.acknowledge_marks(g, a, marks)?;
        }
        if !keep.refused
            && let Some(event) = keep.ingest.events.get(keep.done).cloned()
        {
            let tenant = self.providers[a].tenant.clone();
            let join = self.join_of(&event, &tenant);
            let in_time = self.calm || !self.random.chance(6);
            match self.store.ingest(event, &tenant, join) {
                Ok(_) if in_time => keep.done += 1,
                _ => keep.refused = true,
            }
        }
        let Keep { ingest, done, refused, .. } = &keep;
        if !refused && *done < ingest.events.len() {
            self.gateway(g).tasks.insert(index, Task::Keep(keep));
            return Ok(());
        }
        if *refused {
            self.refuse(g, &keep);
            let acks = std::mem::take(&mut keep.ingest.refused);
            self.acknowledge(g, a, acks)?;
        } else {
            if let Some((name, value)) = keep.ingest.save.take() {
                self.store.saved.entry((g, a)).or_default().insert(name, value);
            }
            let acks = std::mem::take(&mut keep.ingest.durable);
            self.acknowledge(g, a, acks)?;
        }
        self.drain(g, a)
    }

    /// A mutant: a puller hears that its page is kept before it is.
    fn acknowledge_marks(&mut self, g: usize, a: usize, acks: Vec<Ack>) -> Result<(), Broken> {
        let marks = |ack: &Ack| matches!(ack, Ack::Tell { .. });
        let (marks, others): (Vec<Ack>, Vec<Ack>) = acks.into_iter().partition(marks);
        drop(others);
        self.acknowledge(g, a, marks)
    }

    /// What could not be kept, and what stands behind it in its threads, is not kept.
    fn refuse(&mut self, g: usize, keep: &Keep) {
        let numbers = keep.ingest.events.iter().filter_map(|event| match &event.event {
            Event::MessageIn(message) => message.native_id.as_ref()?.parse::<u64>().ok(),
            _ => None,
        });
        let numbers: Vec<u64> = numbers.collect();
        let life = self.gateway(g).life;
        numbers.into_iter().for_each(|n| self.oracle.refused(life, n));
        if self.fault == Some(Fault::LineGoesOn) {
            return;
        }
        let mut sources: BTreeSet<String> = keep.ingest.events.iter().map(|event| event.source.clone()).collect();
        for task in &mut self.gateway(g).tasks {
            let Task::Keep(behind) = task else { continue };
            if behind.ingest.events.iter().any(|event| sources.contains(&event.source)) {
                behind.refused = true;
                sources.extend(behind.ingest.events.iter().map(|event| event.source.clone()));
            }
        }
    }

    /// Where a new thread goes: Dora's on her page joins what she has open, when the house knows her.
    fn join_of(&mut self, event: &CloudEvent, tenant: &Tenant) -> Option<ConversationId> {
        if event.source != self.providers[DORAS_PAGE].source(0) {
            return None;
        }
        let owner = self.store.people.owner_of(tenant, &dora())?;
        let root = self.store.people.root(owner);
        let person = |id: &ConversationId| {
            let log = self.store.logs.get(id)?;
            log.iter().rev().find_map(|record| match &record.event.event {
                Event::PersonLinked(linked) => Some(self.store.people.root(linked.person)),
                _ => None,
            })
        };
        self.store.conversations().into_iter().rev().find(|id| person(id) == Some(root))
    }

    /// What a provider makes of a call, and what comes back of that.
    fn call(&mut self, a: usize, http: &HttpCall) -> Result<Said, Broken> {
        let not_sent = || Err(HttpFailure::NotSent("refused".to_owned()));
        let silence = || Err(HttpFailure::NoAnswer("timeout".to_owned()));
        let dice = if self.calm { 99 } else { self.random.below(100) };
        let (down, http_form) = (self.providers[a].down && !self.calm, self.providers[a].kind == Kind::Http);
        match dice {
            0..=4 => return Ok(not_sent()),
            5..=8 => return Ok(Ok(HttpReply::text(429, "").with("retry-after", "7"))),
            9..=11 => return Ok(Ok(HttpReply::text(503, ""))),
            12..=59 if down => return Ok(not_sent()),
            _ => {}
        }
        let reply = self.providers[a].answer(http);
        for piece in std::mem::take(&mut self.providers[a].news) {
            self.oracle.heard(&piece, &self.providers)?;
        }
        Ok(match dice {
            60..=89 if down => silence(),
            90..=91 if !http_form => Ok(HttpReply::text(500, "")),
            92..=94 => silence(),
            _ => Ok(reply),
        })
    }

    fn fetch(&mut self, url: &str) -> Result<Media, FetchFailure> {
        if !self.calm && self.random.chance(15) {
            return Err(FetchFailure::Away("status 500".to_owned()));
        }
        let name = url.split("media_id=").nth(1).or_else(|| url.rsplit('/').next()).unwrap_or_default();
        let bytes = picture(name.split('&').next().unwrap_or_default().parse().unwrap());
        let reference = format!("ark-media:file-{:08}", self.store.files.len());
        let sha256 = if self.fault == Some(Fault::OtherHash) { Hash::of(b"other") } else { Hash::of(&bytes) };
        let size = bytes.len() as u64;
        self.store.files.insert(reference.clone(), bytes);
        let mime = "image/png".to_owned();
        Ok(Media { reference, mime, size, sha256, name: None, duration_ms: None, width: None, height: None })
    }

    fn claim_sendings(&mut self) -> Result<(), Broken> {
        let Some(g) = self.any_live() else { return Ok(()) };
        for one in self.store.claim_sendings(self.now) {
            let at = self
                .providers
                .iter()
                .position(|provider| (0..2).any(|customer| provider.source(customer) == one.event.source));
            let Some(account) = at else { continue };
            let (id, attempt, in_doubt, error) = (one.id, one.attempts, one.in_doubt, one.error);
            let event = Box::new(one.event);
            self.gateway(g).tasks.push(Task::Send { account, id, attempt, in_doubt, error, event });
        }
        Ok(())
    }

    /// A mutant: a plan's words go to the customer without asking anybody.
    pub fn past_owner(&mut self, id: ConversationId, words: &str) {
        let source = self.store.logs.get(&id).and_then(|log| {
            log.iter().rev().find_map(|record| {
                matches!(record.event.event, Event::MessageIn(_)).then(|| record.event.source.clone())
            })
        });
        let at = self.providers.iter().position(|one| (0..2).any(|customer| Some(one.source(customer)) == source));
        let (Some(a), Some(g)) = (at, self.any_live()) else { return };
        let mut message = samples::message_in("x", words);
        message.thread = source.unwrap_or_default().rsplit('/').next().unwrap_or_default().replace("%3A", ":");
        let out = ark_conversation::event::MessageOut {
            thread: message.thread,
            conversation: id,
            epoch: 1,
            sender: message.sender,
            parts: message.parts,
            reply_to: None,
            leg: None,
        };
        let event = Box::new(CloudEvent::new("past", "/ark/main/x/y/z", self.now, out));
        let (id, attempt, in_doubt, error) = (u64::MAX, 1, false, None);
        self.gateway(g).tasks.push(Task::Send { account: a, id, attempt, in_doubt, error, event });
    }

    // The owner of conversations.

    fn owner_works(&mut self) -> Result<(), Broken> {
        let Some(g) = self.any_live() else { return Ok(()) };
        if self.random.chance(50) {
            self.renew(g);
        }
        let decided: Vec<ConversationId> = self.gateway(g).decided.keys().copied().collect();
        if let Some(id) = self.random.pick(&decided).copied().filter(|_| !self.step.is_multiple_of(4)) {
            return self.commit(g, id);
        }
        self.tick(g)?;
        self.decide_a_row(g)
    }

    /// Leases: kept, taken over, or lost.
    fn renew(&mut self, g: usize) {
        let (now, away) = (self.now, self.store.away);
        for shard in 0..SHARDS {
            let held = self.gateway(g).fences[shard];
            let fence = self.store.claim(now, shard, g, held.is_none());
            // While the store is away it is not known who has it: the next commit tells.
            if fence != held && !away {
                let gateway = self.gateway(g);
                gateway.fences[shard] = fence;
                gateway.machines.retain(|id, _| Store::shard(*id) != shard);
                gateway.decided.retain(|id, _| Store::shard(*id) != shard);
            }
        }
    }

    /// The conversation, when this gateway believes that it has it and nothing of it is being written.
    fn open(&mut self, g: usize, id: ConversationId) -> bool {
        let (policy, tenant) = (Arc::clone(&self.policy), self.store.tenant(id));
        let log = self.store.logs.get(&id).map_or(&[][..], Vec::as_slice);
        let gateway = self.gateways[g].as_mut().expect("it lives");
        if self.store.away || gateway.fences[Store::shard(id)].is_none() || gateway.decided.contains_key(&id) {
            return false;
        }
        gateway.machines.entry(id).or_insert_with(|| {
            Conversation::from_log(policy, tenant, id, log).unwrap_or_else(|error| panic!("{id}: {error}"))
        });
        true
    }

    fn tick(&mut self, g: usize) -> Result<(), Broken> {
        for id in self.store.conversations() {
            if !self.open(g, id) {
                continue;
            }
            let due = self.gateway(g).machines[&id].deadline().is_some_and(|at| at <= self.now);
            if due && self.fault != Some(Fault::NoTimers) {
                self.decide(g, id, None, Input::Tick)?;
            }
        }
        Ok(())
    }

    fn decide_a_row(&mut self, g: usize) -> Result<(), Broken> {
        let mut first = std::collections::BTreeMap::new();
        for (row, waiting) in &self.store.waiting {
            first.entry(waiting.conversation).or_insert(*row);
        }
        let rows: Vec<(ConversationId, u64)> = first.into_iter().collect();
        let Some((id, row)) = self.random.pick(&rows).copied() else { return Ok(()) };
        if !self.open(g, id) {
            return Ok(());
        }
        let event = self.store.waiting[&row].event.clone();
        self.decide(g, id, Some(row), Input::Inbound(event))
    }

    /// Somebody of the house asks for something, at a gateway that believes to have the conversation.
    pub fn command(&mut self, id: ConversationId, input: Input) -> Result<(), Broken> {
        let mut live = self.live();
        live.retain(|g| self.gateway(*g).fences[Store::shard(id)].is_some());
        let Some(g) = self.random.pick(&live).copied() else { return Ok(()) };
        if self.open(g, id) { self.decide(g, id, None, input) } else { Ok(()) }
    }

    fn decide(&mut self, g: usize, id: ConversationId, row: Option<u64>, input: Input) -> Result<(), Broken> {
        let now = self.now;
        let machine = self.gateway(g).machines.get_mut(&id).expect("it is open");
        // A refusal is the asker's to hear; of a row, that it is parked.
        let _ = machine.handle(now, input);
        let mut decided = Decided { after: 0, row, events: Vec::new(), effects: Vec::new(), merges: Vec::new() };
        if let Some(commit) = machine.poll() {
            decided.after = commit.after_seq;
            decided.events = commit.events;
            decided.effects = commit.effects;
        } else {
            decided.after = machine.state().map_or(0, |state| state.last_seq);
        }
        let keys = decided.effects.iter().find_map(|effect| match effect {
            Effect::Identify { keys, assurance, link_token } => Some((keys.clone(), *assurance, link_token.clone())),
            _ => None,
        });
        if let Some((keys, assurance, token)) = keys {
            self.identify(g, id, &keys, assurance, &mut decided)?;
            if let Some(token) = token {
                self.pass_on_keys(id, &keys, assurance, &token);
            }
        }
        if decided.events.is_empty() && decided.effects.is_empty() && row.is_none() {
            return Ok(());
        }
        if self.fault == Some(Fault::SendDecided) {
            self.send_now(g, id, &decided);
        }
        self.gateway(g).decided.insert(id, decided);
        Ok(())
    }

    /// The rules of persons over the store's rows, as the gateway's owner of conversations applies them.
    fn identify(
        &mut self,
        g: usize,
        id: ConversationId,
        keys: &[IdentityKey],
        assurance: Assurance,
        decided: &mut Decided,
    ) -> Result<(), Broken> {
        let (now, tenant) = (self.now, self.store.tenant(id));
        let people = &mut self.store.people;
        let looked_up = if self.fault == Some(Fault::CrossTenants) { Tenant::MAIN } else { tenant.clone() };
        let of = |people: &ark_conversation::person::Registry, key: &IdentityKey| {
            people.owner_of(&looked_up, key).map(|owner| people.root(owner))
        };
        let owners: Vec<_> = keys.iter().map(|key| (key.clone(), of(people, key))).collect();
        let machine = self.gateways[g].as_mut().and_then(|one| one.machines.get_mut(&id)).expect("it is open");
        let linked_with = machine.state().and_then(|state| state.person);
        let current = linked_with.map(|person| people.root(person));
        let mut all: Vec<IdentityKey> = vec![dora(), phone()];
        all.extend(keys.iter().cloned());
        let verified = current
            .is_some_and(|person| self.store.known_keys.iter().chain(&all).any(|key| of(people, key) == Some(person)));
        let own = current.unwrap_or_else(|| PersonId::from_bytes(id.to_bytes()));
        let (person, claims, from) = match resolve(&owners, assurance, current, verified) {
            Resolved::Unproved => (own, Vec::new(), Vec::new()),
            Resolved::Claim { person, keys } => (person.unwrap_or(own), keys, Vec::new()),
            Resolved::Known { person, keys } => (person, keys, Vec::new()),
            Resolved::Merge { into, from, keys } => (into, keys, from),
        };
        people.add(tenant, person);
        for key in claims {
            people.claim(person, key.clone());
            self.store.known_keys.insert(key);
        }
        for from in from {
            let keys = self.store.known_keys.iter().filter(|key| of(people, key) == Some(from)).cloned().collect();
            let merge = MergeId::new(now.as_millisecond().unsigned_abs(), u128::from(self.random.next()));
            let merged =
                PersonMerged { merge, into: person, from, keys, reason: MergeReason::Key, by: "ark".to_owned() };
            if machine.handle(now, Input::Merged(merged.clone())).is_ok() {
                decided.merges.push(merged);
            }
        }
        if linked_with != Some(person) {
            let linked = PersonLinked { person, keys: keys.to_vec(), assurance, previous: linked_with };
            let _ = machine.handle(now, Input::Linked(linked));
        }
        if let Some(commit) = machine.poll() {
            decided.events.extend(commit.events);
        }
        Ok(())
    }

    /// Whoever opened a companion link is the person of its conversation too.
    fn pass_on_keys(&mut self, id: ConversationId, keys: &[IdentityKey], assurance: Assurance, token: &Content) {
        let (tenant, link) = (self.store.tenant(id), Hash::of(token.reveal().as_bytes()));
        let place = source::link(&tenant, link);
        let other = self.store.conversation_of(&place).filter(|other| *other != id);
        let (Some(other), true) = (other, assurance.is_verified()) else { return };
        let identity = ark_conversation::event::Identity {
            thread: link.to_string(),
            keys: keys.to_vec(),
            assurance,
            link_token: None,
        };
        let event = CloudEvent::new(format!("identity:{id}"), place, self.now, identity);
        let _ = self.store.ingest(event, &tenant, Some(other));
    }

    /// The messages for channels among what was decided.
    fn sendings(&self, id: ConversationId, decided: &Decided) -> Vec<(String, CloudEvent)> {
        let mut sendings = Vec::new();
        for effect in &decided.effects {
            let Effect::Deliver(delivery) = effect else { continue };
            let new = decided.events.iter().map(|new| &new.event);
            let logged = self.store.logs.get(&id).into_iter().flatten().map(|record| &record.event);
            let own = source::conversation(&self.store.tenant(id), id);
            let found = new.chain(logged).find(|event| event.id == delivery.key && event.source == own);
            let Some(Event::MessageOut(message)) = found.map(|event| &event.event) else { continue };
            let key = format!("{id}/{}/{}", delivery.attempt, delivery.key);
            sendings.push((key, delivery.event(message, self.now)));
        }
        sendings
    }

    /// A mutant.
    fn send_now(&mut self, g: usize, id: ConversationId, decided: &Decided) {
        for (_, event) in self.sendings(id, decided) {
            let at = self.providers.iter().position(|one| (0..2).any(|customer| one.source(customer) == event.source));
            let Some(account) = at else { continue };
            let (id, event) = (u64::MAX - self.step, Box::new(event));
            let send = Task::Send { account, id, attempt: 1, in_doubt: false, error: None, event };
            self.gateway(g).tasks.push(send);
        }
    }

    fn commit(&mut self, g: usize, id: ConversationId) -> Result<(), Broken> {
        let shard = Store::shard(id);
        let Some(decided) = self.gateway(g).decided.remove(&id) else { return Ok(()) };
        let sendings = if self.fault == Some(Fault::SendDecided) { Vec::new() } else { self.sendings(id, &decided) };
        let Decided { after, row, events, effects, merges } = decided;
        let fence = self.gateway(g).fences[shard].unwrap_or(0);
        let commit = Commit { shard, fence, conversation: Some(id), after, row, events, sendings, merges };
        match self.store.commit(self.now, commit) {
            Ok(records) => {
                for record in records {
                    self.oracle.read(&record, &self.store)?;
                }
                for effect in effects {
                    match effect {
                        // Notices cross a network.
                        Effect::Ring(ring) if !self.random.chance(20) => self.rings.push((id, ring)),
                        _ => {}
                    }
                }
                if self.rings.len() > 12 {
                    self.rings.remove(0);
                }
            }
            Err(why) => {
                self.fenced += u64::from(why != No::Away);
                let gateway = self.gateway(g);
                gateway.machines.remove(&id);
                if why == No::Fenced {
                    gateway.fences[shard] = None;
                }
            }
        }
        Ok(())
    }

    // The end.

    /// All heals, and time passes: everything comes to rest where it belongs.
    pub fn finish(&mut self) -> Result<(), Broken> {
        self.calm = true;
        self.store.away = false;
        self.providers.iter_mut().for_each(|provider| provider.down = false);
        for g in 0..self.gateways.len() {
            match &mut self.gateways[g] {
                Some(gateway) => gateway.stalled = false,
                None => self.start(g)?,
            }
        }
        for round in 0..400 {
            self.step += 1;
            if self.at_rest() && round > 2 {
                return self.oracle.finish(&self.store, &self.providers);
            }
            self.round()?;
        }
        let left = |life| self.store.sendings.iter().filter(|one| one.life == life).count();
        let told = format!(
            "it never comes to rest: {} rows wait, {} messages out wait, {} are claimed, {} are not acknowledged, {} of {} are logged",
            self.store.waiting.len(),
            left(Life::Waiting),
            left(Life::Claimed),
            self.unacknowledged(),
            self.store.messages_in().count(),
            self.written
        );
        // Whatever is named by the oracle is a better answer.
        self.oracle.finish(&self.store, &self.providers).and(Err(("I1", told)))
    }

    fn unacknowledged(&self) -> usize {
        let pushed = self.providers.iter().filter(|provider| provider.kind != Kind::WeCom);
        pushed.flat_map(|provider| &provider.written).filter(|one| !one.acked).count()
            + self.providers.iter().filter(|provider| provider.callback).count()
    }

    fn at_rest(&self) -> bool {
        let offers = self
            .store
            .conversations()
            .into_iter()
            .any(|id| self.oracle.laws(id).is_some_and(|laws| laws.offer().is_some_and(|(at, _)| at > self.now)));
        let logged = self.store.messages_in().count() as u64;
        self.unacknowledged() == 0
            && self.store.waiting.is_empty()
            && self.store.sendings.iter().all(|one| one.life == Life::Over)
            && self.gateways.iter().flatten().all(|one| one.decided.is_empty() && !one.tasks.iter().any(Task::matters))
            && logged == self.written
            && !offers
    }

    fn round(&mut self) -> Result<(), Broken> {
        for a in 0..self.providers.len() {
            if self.providers[a].kind == Kind::WeCom {
                self.call_back(a)?;
                continue;
            }
            for one in self.providers[a].written.clone().into_iter().filter(|one| !one.acked) {
                let push = self.providers[a].push(self.now, &one);
                self.bring(a, push, vec![one.n])?;
            }
        }
        for g in 0..self.gateways.len() {
            for _ in 0..2_000 {
                let Some(index) = self.gateway(g).ready().first().copied() else { break };
                self.work(g, index)?;
            }
            self.renew(g);
            self.tick(g)?;
            let ids: BTreeSet<ConversationId> = self.store.conversations().into_iter().collect();
            for id in ids {
                loop {
                    self.commit(g, id)?;
                    let row = self.store.waiting.iter().find(|(_, waiting)| waiting.conversation == id);
                    let Some((row, event)) = row.map(|(row, waiting)| (*row, waiting.event.clone())) else { break };
                    if !self.open(g, id) {
                        break;
                    }
                    self.decide(g, id, Some(row), Input::Inbound(event))?;
                }
            }
        }
        self.claim_sendings()?;
        self.now += SignedDuration::from_secs(61);
        self.wake()
    }
}
