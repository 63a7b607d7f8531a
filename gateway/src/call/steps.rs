//! What a plan asks for is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use ark_conversation::event::{
    EndCause, EndedBy, GatherFinished, GatherOutcome, HttpFinished, HttpOutcome, IvrEntered, IvrSet, IvrStrike, Needed,
    QueueOutcome, StrikeKind, SurveyAnswered, SurveyAsked, SurveyWay, TransferOutcome,
};
use ark_dialplans::{Do, EndReason, Heard, Lang, Now, StrikeCause};

use super::HttpResult;
use super::state::Call;
use super::switch::{HttpRequest, LinkRequest, Output, Switch};
use crate::media::{Command, MediaPort};

/// What a plan's `queue` says that an agent must be able to do.
fn needed(skills: &BTreeMap<Arc<str>, u8>, lang: Option<Lang>) -> Needed {
    let skills = skills.iter().map(|(skill, level)| (skill.to_string(), *level)).collect();
    Needed { language: lang.map(|lang| lang.as_str().to_owned()), skills }
}

impl<M: MediaPort> Switch<M> {
    /// Does one thing that the plan asked for. A verb's name is never looked at here.
    pub(super) fn carry_out(&mut self, now: Now, call: &mut Call, what: Do) {
        if call.customer.is_over() {
            return;
        }
        match what {
            // It was: a plan begins when its caller can hear it. Only chats are written to.
            Do::Answer | Do::Write { .. } => {}
            Do::Entered { state, verb } => self.entered(now, call, state, verb),
            Do::Play { id, pieces, lang, barge_in } => self.play(now, call, id, &pieces, lang, barge_in),
            Do::StopPlay { id } => self.tell_media(call.customer.media, Command::StopPlay { id }),
            // Who is listened to, and for what, is settled after each step, by what the plan says then.
            Do::Listen(_) | Do::StopListen { .. } => {}
            Do::Record { id, max, silence } => self.record_message(call, id, max, silence),
            Do::StopRecord { id } => self.stop_message(call, id),
            Do::Recording { act } => self.record_as_planned(now, call, act),
            Do::Consent { answer, how } => self.settle_consent(now, call, answer, how),
            Do::Queue { id, name, priority, skills, lang } => {
                self.join_queue(now, call, id, (&name, priority), needed(&skills, lang));
            }
            Do::LeaveQueue { .. } => {
                self.leave_queue(now, call, QueueOutcome::Left);
                self.stop_own_play(call);
            }
            Do::Transfer { id, name, to, timeout } => self.transfer(now, call, id, &name, &to, timeout),
            Do::CancelTransfer { .. } => {
                self.give_up_transfer(now, call, TransferOutcome::NoAnswer);
                self.stop_own_play(call);
            }
            Do::Callback { id, name, number } => self.keep_for_callback(now, call, id, &name, &number),
            Do::Http { id, action, vars, timeout } => self.http(now, call, id, &action, vars, timeout),
            Do::Link { id, ways, timeout } => {
                let (conversation, plan) = (call.conversation, call.live.plan.name.text.to_string());
                let request = LinkRequest { call: call.id, request: id, conversation, plan, ways, timeout };
                self.out.push_back(Output::Link(Box::new(request)));
            }
            Do::Set { name, value } => {
                if &*name == "lang" {
                    call.lang.clone_from(&value);
                }
                let event =
                    IvrSet { leg: call.customer.number, var: name.to_string(), value: Some(value), masked: false };
                self.log(now, call, event);
            }
            Do::Gathered { name, value } => {
                let masked = value.starts_with('*') && value.chars().all(|c| c == '*');
                let event = GatherFinished {
                    leg: call.customer.number,
                    state: call.state.to_string(),
                    var: name.to_string(),
                    outcome: GatherOutcome::Complete,
                    digits: u32::try_from(value.len()).unwrap_or(u32::MAX),
                    value: (!masked).then_some(value),
                    masked,
                };
                self.log(now, call, event);
            }
            Do::SurveyAsked { scale } => {
                let (leg, way) = (call.customer.number, SurveyWay::Keys);
                self.log(now, call, SurveyAsked { leg, way, scale, message: None, until: None, link: None });
            }
            Do::SurveyAnswered { score, scale } => {
                let (leg, way) = (call.customer.number, SurveyWay::Keys);
                self.log(now, call, SurveyAnswered { leg, way, score, scale, comment: None });
            }
            Do::Strike { count, cause } => self.strike(now, call, count, cause),
            Do::PersonSought { .. } => self.counters.persons_sought += 1,
            Do::Hangup { reason } => {
                let cause = if reason == EndReason::Fault { EndCause::Failed } else { EndCause::Hangup };
                let reason = match reason {
                    EndReason::Completed => "the plan ended",
                    EndReason::PersonLeft => "the person hung up",
                    EndReason::Caller => "the caller hung up",
                    EndReason::Fault => "the plan is broken here",
                };
                self.end_call(now, call, EndedBy::Ark, cause, None, Some(reason.to_owned()));
            }
        }
    }

    fn entered(&mut self, now: Now, call: &mut Call, state: Arc<str>, verb: &str) {
        let event = IvrEntered {
            leg: call.customer.number,
            plan: call.live.plan.name.text.to_string(),
            version: call.live.version,
            state: state.to_string(),
            verb: verb.to_owned(),
            lang: (!call.lang.is_empty()).then(|| call.lang.clone()),
        };
        call.state = state;
        self.log(now, call, event);
    }

    pub(super) fn stop_own_play(&self, call: &mut Call) {
        if let Some(playing) = call.playing.take_if(|p| !p.logged) {
            self.tell_media(call.customer.media, Command::StopPlay { id: playing.id });
        }
    }

    fn strike(&mut self, now: Now, call: &Call, strikes: u32, cause: StrikeCause) {
        let kind = match cause {
            StrikeCause::Silence => StrikeKind::Silence,
            StrikeCause::NoMatch | StrikeCause::Repeat => StrikeKind::Invalid,
        };
        self.log(now, call, IvrStrike { leg: call.customer.number, state: call.state.to_string(), kind, strikes });
    }

    fn http(
        &mut self,
        now: Now,
        call: &mut Call,
        request: u64,
        action: &Arc<str>,
        vars: BTreeMap<String, String>,
        timeout: std::time::Duration,
    ) {
        let Some(found) = call.live.plan.actions.get(action) else {
            let event = HttpFinished {
                leg: call.customer.number,
                action: action.to_string(),
                outcome: HttpOutcome::Unreachable,
                status: None,
                took_ms: 0,
            };
            self.log(now, call, event);
            call.heard.push_back(Heard::HttpResult { id: request, result: Err("no such action".to_owned()) });
            return;
        };
        self.out.push_back(Output::Http(Box::new(HttpRequest {
            call: call.id,
            request,
            url: found.url.text.to_string(),
            method: found.method.to_string(),
            action: action.to_string(),
            vars,
            timeout,
        })));
    }

    /// An HTTP action ended.
    pub(super) fn on_http(&mut self, now: Now, call: &mut Call, request: u64, result: HttpResult) {
        let event = HttpFinished {
            leg: call.customer.number,
            action: result.action,
            outcome: result.outcome,
            status: result.status,
            took_ms: u64::try_from(result.took.as_millis()).unwrap_or(u64::MAX),
        };
        self.log(now, call, event);
        call.heard.push_back(Heard::HttpResult { id: request, result: result.values });
    }
}
