//! The I/O of one visit.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ark_conversation::event::Part;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::limits::*;
use super::proto::{Said, Tell};
use super::rates::What;
use super::registry::Registered;
use super::view::View;
use super::visit::{Do, Visit};
use super::{Admitted, Hub};

/// The connection is over.
struct Over;

/// A visit and what it works with.
pub(super) struct Drive {
    hub: Arc<Hub>,
    admitted: Admitted,
    visit: Visit,
    registered: Registered,
    /// Until when somebody of the house is shown to type.
    types: Option<Instant>,
}

impl Drive {
    pub(super) const fn new(hub: Arc<Hub>, admitted: Admitted, visit: Visit, registered: Registered) -> Self {
        Self { hub, admitted, visit, registered, types: None }
    }

    /// The source of its events.
    pub(super) fn source(&self) -> &str {
        self.visit.source()
    }

    /// Serves until the page goes or the gateway stops.
    pub(super) async fn run(
        mut self,
        first: Vec<Do>,
        mut said: mpsc::Receiver<Said>,
        out: mpsc::Sender<Tell>,
        mut closing: watch::Receiver<bool>,
    ) {
        let over = self.serve(first, &mut said, &out, &mut closing).await;
        if over.is_ok() {
            let message = "the gateway stops; come again".to_owned();
            let _ = timeout(SEND_MAX, out.send(Tell::Error { code: "end", again: true, message })).await;
        }
    }

    async fn serve(
        &mut self,
        first: Vec<Do>,
        said: &mut mpsc::Receiver<Said>,
        out: &mpsc::Sender<Tell>,
        closing: &mut watch::Receiver<bool>,
    ) -> Result<(), Over> {
        let told = self.carry(first).await;
        send(out, told).await?;
        self.look(out, true).await?;
        let now = Instant::now();
        let mut line = interval_at(now + LINE_EVERY, LINE_EVERY);
        let mut again = interval_at(now + LOOK_EVERY, LOOK_EVERY);
        line.set_missed_tick_behavior(MissedTickBehavior::Delay);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let types_until = self.types.unwrap_or(now);
            tokio::select! {
                biased;
                () = async { drop(closing.wait_for(|closing| *closing).await) } => return Ok(()),
                () = out.closed() => return Err(Over),
                next = said.recv() => {
                    let told = self.take(next.ok_or(Over)?).await;
                    send(out, told).await?;
                    // What was kept may be a new conversation's first.
                    self.look(out, true).await?;
                }
                () = self.registered.poke.notify.notified() => {
                    self.house_types(out).await?;
                    let moved = self.registered.poke.moved.swap(false, Ordering::Relaxed);
                    self.look(out, moved).await?;
                }
                () = sleep_until(types_until), if self.types.is_some() => {
                    self.types = None;
                    send(out, vec![Tell::Typing { on: false }]).await?;
                }
                _ = line.tick(), if self.visit.place().is_some() => {
                    let ahead = self.ahead().await;
                    let told = self.visit.stands(Timestamp::now(), ahead);
                    send(out, told.into_iter().collect()).await?;
                }
                _ = again.tick() => self.look(out, true).await?,
            }
        }
    }

    async fn house_types(&mut self, out: &mpsc::Sender<Tell>) -> Result<(), Over> {
        let typing = self.registered.poke.typing.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(on) = typing else { return Ok(()) };
        let shown = self.types.is_some();
        self.types = on.then(|| Instant::now() + TYPING_MAX);
        if on == shown { Ok(()) } else { send(out, vec![Tell::Typing { on }]).await }
    }

    /// The page says something; what it is told of it.
    pub(super) async fn take(&mut self, said: Said) -> Vec<Tell> {
        if let Err(refusal) = self.pace(&said) {
            return refusal.into_iter().collect();
        }
        let todo = self.visit.said(Timestamp::now(), said);
        self.carry(todo).await
    }

    /// A message with a file.
    pub(super) async fn message(&mut self, id: String, parts: Vec<Part>) -> Vec<Tell> {
        let todo = self.visit.message(Timestamp::now(), id, parts);
        self.carry(todo).await
    }

    /// Whether the page keeps its pace; else what it is told, if anything.
    fn pace(&self, said: &Said) -> Result<(), Option<Tell>> {
        let (visitor, address) = (self.visit.source(), self.admitted.address.as_str());
        let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        match said {
            Said::Send { id, .. } | Said::Person { id, .. } => {
                let paced = self.hub.rate(What::Message, visitor, MESSAGES_OF_VISITOR);
                let paced = paced.and_then(|()| self.hub.rate(What::Message, address, MESSAGES_OF_ADDRESS));
                paced.map_err(|wait| {
                    Some(Tell::Nack { id: id.clone(), code: "pace", again: true, after_ms: Some(millis(wait)) })
                })
            }
            Said::Typing { .. } | Said::Got { .. } | Said::Read { .. } | Said::Identify { .. } => {
                self.hub.rate(What::Sign, visitor, SIGNS_OF_VISITOR).map_err(|_| None)
            }
            Said::Call => {
                let paced = self.hub.rate(What::Call, visitor, CALLS_OF_VISITOR);
                paced.map_err(|_| Some(Tell::Call { token: None }))
            }
            Said::Hello(_) | Said::Ping => Ok(()),
        }
    }

    /// Does what the visit wants; what the page is told of it, in order.
    pub(super) async fn carry(&mut self, todo: Vec<Do>) -> Vec<Tell> {
        let mut told = Vec::new();
        for one in todo {
            match one {
                Do::Tell(tell) => told.push(tell),
                Do::Keep { events, ack } => {
                    let mut duplicate = Some(false);
                    for event in events {
                        match self.hub.host.keep(&self.admitted.site.name, event).await {
                            Ok(known) => duplicate = Some(known),
                            Err(error) => {
                                tracing::warn!(channel = %self.admitted.site.name, %error, "a visitor's message was not kept; the page sends it again");
                                duplicate = None;
                                break;
                            }
                        }
                    }
                    told.extend(self.visit.kept(ack, duplicate));
                }
                Do::Pass(event) => self.hub.host.pass_on(&self.admitted.site.name, *event),
                Do::Call { from, name } => {
                    let token = self.hub.call_token(&self.admitted.site, self.visit.source(), from, name).await;
                    told.push(Tell::Call { token });
                }
            }
        }
        told
    }

    /// Learns how things stand without reading the log; with `outs`, which of the house's messages there are of late.
    pub(super) async fn load(&mut self, outs: bool) {
        self.find().await;
        let Some((conversation, _)) = self.visit.position() else { return };
        let Ok(Some(state)) = self.hub.store.summary(&self.hub.tenant, conversation).await else { return };
        let back = if outs { LOOK_RECORDS as u64 } else { 0 };
        self.visit.knows(View::of(&state, state.last_seq.saturating_sub(back)));
        if outs {
            let _ = self.page().await;
        }
    }

    /// Looks into the log and tells what is new. `moved`: the thread may belong to another conversation now.
    async fn look(&mut self, out: &mpsc::Sender<Tell>, moved: bool) -> Result<(), Over> {
        if moved {
            self.find().await;
        }
        loop {
            // While the store is away nothing is told; the next look finds it.
            let Ok((told, end)) = self.page().await else { return Ok(()) };
            send(out, told).await?;
            if end {
                return Ok(());
            }
        }
    }

    async fn find(&mut self) {
        let found = self.hub.store.thread(&self.hub.tenant, self.visit.source()).await.ok().flatten();
        if let Some(conversation) = found {
            // First the place, then the look: nothing falls between. Of the one before nothing more comes: its thread has gone on.
            self.registered.follow(conversation);
            self.visit.belongs(Some(conversation));
        }
    }

    /// The next part of the log, and whether it is the last for now.
    async fn page(&mut self) -> Result<(Vec<Tell>, bool), ark_store::StoreError> {
        let position = self.visit.position();
        let records = match position {
            None => Vec::new(),
            Some((conversation, seq)) => self.hub.store.read(&self.hub.tenant, conversation, seq, LOOK_RECORDS).await?,
        };
        let end = records.is_empty();
        let ahead = if end { self.ahead().await } else { None };
        let told = self.visit.records(Timestamp::now(), &records, end, ahead);
        let stays = self.visit.position().map(|(conversation, _)| conversation);
        Ok((told, end && stays == position.map(|(conversation, _)| conversation)))
    }

    async fn ahead(&self) -> Option<usize> {
        self.hub.ahead(self.visit.place()?).await
    }
}

/// Tells a page; one that does not read is over.
async fn send(out: &mpsc::Sender<Tell>, told: Vec<Tell>) -> Result<(), Over> {
    for tell in told {
        timeout(SEND_MAX, out.send(tell)).await.map_err(|_| Over)?.map_err(|_| Over)?;
    }
    Ok(())
}
