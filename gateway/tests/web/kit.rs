//! A gateway for the web face alone: a real store, a real bus, and calls that somebody made up.

#![allow(clippy::unwrap_used, reason = "only tests and the example of the page see this")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use ark::call::TalkAction;
use ark::control::{
    CallDirection, CallState, CallView, Control, ControlError, PlaceRequest, Placed, PlanView, Published, Ready, Reply,
};
use ark::http::token::Token;
use ark::http::{About, Web, WebConfig};
use ark::telemetry::{Sample, SampleKind};
use ark::webhooks::Webhooks;
use ark_bus::{Bus, EmbeddedBus};
use ark_conversation::{CloudEvent, ConversationId, Event, LegId, NewEvent, Record, Tenant, samples};
use ark_store::{SqliteStore, Store};
use jiff::Timestamp;

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The made-up gateway.
pub(crate) struct Made {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) hung_up: Mutex<Vec<String>>,
    pub(crate) acts: Mutex<Vec<TalkAction>>,
    pub(crate) calls: Mutex<Vec<CallView>>,
    pub(crate) webhooks: Mutex<Option<Arc<Webhooks>>>,
    pub(crate) queues: Mutex<Vec<ark::config::Queue>>,
    pub(crate) oidc: Mutex<Option<ark::config::Oidc>>,
    pub(crate) folder: PathBuf,
}

impl Made {
    /// A store in a folder of its own, which the caller removes.
    pub(crate) fn new(name: &str) -> Arc<Self> {
        let folder = std::env::temp_dir().join(format!("ark-web-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("files/recordings")).unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.join("ark.db")).unwrap());
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new());
        let (hung_up, acts, calls, webhooks, queues, oidc) = Default::default();
        Arc::new(Self { store, bus, hung_up, acts, calls, webhooks, queues, oidc, folder })
    }

    pub(crate) fn web(self: &Arc<Self>) -> Arc<Web> {
        Web::new(self.config())
    }

    pub(crate) fn web_with_assets(self: &Arc<Self>, folder: PathBuf) -> Arc<Web> {
        Web::new(WebConfig { assets: Some(folder), ..self.config() })
    }

    pub(crate) fn web_with_patience(self: &Arc<Self>, patience: std::time::Duration) -> Arc<Web> {
        Web::with_socket_patience(self.config(), patience)
    }

    fn config(self: &Arc<Self>) -> WebConfig {
        WebConfig {
            proxies: Vec::new(),
            queues: self.queues.lock().unwrap().clone(),
            assets: None,
            oidc: self.oidc.lock().unwrap().clone(),
            webrtc: None,
            control: Arc::clone(self) as Arc<dyn Control>,
            token: Token::new(TOKEN).unwrap(),
            public_url: None,
            tls: false,
            files: self.folder.join("files"),
            about: About {
                gateway: "gw1".into(),
                version: "0.1.0".into(),
                call: vec!["sip:95188@192.0.2.7:5060".into()],
            },
        }
    }

    /// Appends an event that happened `seconds` after the conversation began, and tells the bus.
    pub(crate) async fn append(&self, id: ConversationId, seconds: f64, event: Event) -> Record {
        #[expect(clippy::cast_possible_truncation, reason = "a few minutes of milliseconds")]
        let at = Timestamp::from_millisecond(id.unix_ms() as i64 + (seconds * 1_000.0) as i64).unwrap();
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let event = CloudEvent::new(format!("e{number}"), "/ark/main/sip/carrier/call", at, event);
        let new = NewEvent { tenant: Tenant::default(), conversation: id, epoch: 1, at, event };
        let record = self.store.append(vec![new]).await.unwrap().remove(0).record;
        self.bus.publish(vec![Arc::new(record.clone())]).await.unwrap();
        record
    }

    /// A conversation with one event of every type but the system's, two seconds apart.
    pub(crate) async fn tell_the_story(&self, id: ConversationId) -> u64 {
        let mut count = 0;
        for event in samples::story().into_iter().filter(|event| event.leg().is_some()) {
            count += 1;
            self.append(id, count as f64 * 2.0, event).await;
        }
        count
    }

    pub(crate) fn call(&self, id: ConversationId, state: CallState, place: &str) {
        self.calls.lock().unwrap().push(CallView {
            id: id.to_string(),
            conversation: id.to_string(),
            gateway: "gw1".into(),
            direction: CallDirection::In,
            state,
            from: "+86 138****12".into(),
            to: "95188".into(),
            started_at: Timestamp::now().to_string(),
            answered_at: None,
            plan: Some("hotline-95188@3".into()),
            plan_state: Some(place.into()),
            bridged_to: None,
            recording: false,
            legs: Vec::new(),
            transfer: None,
        });
    }
}

static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

/// A conversation that began `ago` seconds before now.
pub(crate) fn conversation(ago: u64, random: u128) -> ConversationId {
    ConversationId::new(Timestamp::now().as_millisecond() as u64 - ago * 1_000, random)
}

impl Control for Made {
    fn calls(&self) -> Reply<'_, Vec<CallView>> {
        Box::pin(async { self.calls.lock().unwrap().clone() })
    }

    fn place(&self, request: PlaceRequest) -> Reply<'_, Result<Placed, ControlError>> {
        Box::pin(async move {
            if !request.to.starts_with("sip:") {
                return Err(ControlError::Refused(format!("no [[route]] carries `{}`", request.to)));
            }
            let id = conversation(0, 99).to_string();
            Ok(Placed { id: id.clone(), conversation: id })
        })
    }

    fn hangup<'a>(&'a self, id: &'a str) -> Reply<'a, Result<(), ControlError>> {
        Box::pin(async move {
            self.hung_up.lock().unwrap().push(id.to_owned());
            Ok(())
        })
    }

    fn act<'a>(&'a self, id: &'a str, action: TalkAction) -> Reply<'a, Result<Option<LegId>, ControlError>> {
        Box::pin(async move {
            if id == "nobody" {
                return Err(ControlError::NotFound("no such call is up".to_owned()));
            }
            let leg = matches!(action, TalkAction::Supervise { .. }).then_some(LegId(3));
            self.acts.lock().unwrap().push(action);
            Ok(leg)
        })
    }

    fn plans(&self) -> Reply<'_, Vec<PlanView>> {
        Box::pin(async { Vec::new() })
    }

    fn publish<'a>(&'a self, name: &'a str, _: Option<String>) -> Reply<'a, Result<Published, ControlError>> {
        Box::pin(async move { Ok(Published { name: name.to_owned(), version: 4 }) })
    }

    fn rollback<'a>(&'a self, name: &'a str, _: Option<u32>) -> Reply<'a, Result<Published, ControlError>> {
        Box::pin(async move { Err(ControlError::NotFound(format!("no hotline uses a plan `{name}`"))) })
    }

    fn webhooks(&self) -> Option<Arc<Webhooks>> {
        self.webhooks.lock().unwrap().clone()
    }

    fn readiness(&self) -> Reply<'_, Vec<Ready>> {
        Box::pin(async {
            vec![Ready { name: "store".into(), ok: false, detail: "/secret/path: no space left".into() }]
        })
    }

    fn samples(&self) -> Reply<'_, Vec<Sample>> {
        let help = "Calls that are known now.";
        Box::pin(
            async move { vec![Sample { name: "ark_calls", help, kind: SampleKind::Gauge, label: None, value: 3.0 }] },
        )
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    fn bus(&self) -> Arc<dyn Bus> {
        Arc::clone(&self.bus)
    }
}
