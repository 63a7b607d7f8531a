//! Supervisors in a talk: Chen calls, Anna answers, Ben supervises.

use std::time::Duration;

use ark_conversation::event::{EndCause, EndedBy, RecordingCause, RecordingChannel, RecordingFormat, SupervisionMode};
use ark_conversation::{ConversationId, Event, LegId};
use ark_media::record::Side;
use ark_sip::ua::CallEvent;

use super::hotline::PLAN;
use super::{ANNA, BEN, CHEN, Rig};
use crate::call::{CannotAct, TalkAction};
use crate::media::{RecordFormat, RoomPart};

const SUPERVISOR: &str = "sip:ben@10.0.0.4:5060";

fn talking() -> (Rig, ConversationId) {
    let mut rig = Rig::new(PLAN, &[ANNA]);
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
    let conversation = rig.log[0].conversation;
    (rig, conversation)
}

fn act(rig: &mut Rig, conversation: ConversationId, action: TalkAction) -> Result<Option<LegId>, CannotAct> {
    let done = rig.switch.act(rig.now, conversation, action);
    rig.run_for(Duration::from_millis(100));
    done
}

fn come(rig: &mut Rig, conversation: ConversationId, mode: SupervisionMode) -> LegId {
    let called = act(rig, conversation, TalkAction::Supervise { to: SUPERVISOR.to_owned(), mode });
    let leg = called.expect("Ben can be called").expect("he has a leg");
    rig.run_until("Ben is in", |r| r.logged("call.supervised") > 0);
    leg
}

fn modes(rig: &Rig) -> Vec<&'static str> {
    rig.events(|e| if let Event::CallSupervised(e) = e { Some(e.mode.as_str()) } else { None })
}

#[test]
fn a_supervisor_listens_whispers_and_joins_in_and_the_log_says_so() {
    let (mut rig, conversation) = talking();
    let leg = come(&mut rig, conversation, SupervisionMode::Listen);
    assert_eq!(leg, LegId(3));
    assert_eq!(rig.part(BEN), Some(RoomPart::Listens));
    assert_eq!((rig.part(CHEN), rig.part(ANNA)), (Some(RoomPart::Speaks), Some(RoomPart::Speaks)));

    act(&mut rig, conversation, TalkAction::SuperviseAs { leg, mode: SupervisionMode::Whisper }).unwrap();
    assert_eq!(rig.part(BEN), Some(RoomPart::Whispers { to: rig.leg_of(ANNA) }));
    act(&mut rig, conversation, TalkAction::SuperviseAs { leg, mode: SupervisionMode::Barge }).unwrap();
    act(&mut rig, conversation, TalkAction::SuperviseAs { leg, mode: SupervisionMode::Barge }).unwrap();
    assert_eq!(rig.part(BEN), Some(RoomPart::Speaks));
    assert_eq!(modes(&rig), ["listen", "whisper", "barge"]);
    let legs = &rig.switch.calls()[0].legs;
    let seen: Vec<_> = legs.iter().map(|leg| (leg.role.as_str(), leg.up, leg.supervises)).collect();
    let barges = Some(SupervisionMode::Barge);
    assert_eq!(seen, [("customer", true, None), ("agent", true, None), ("supervisor", true, barges)]);

    act(&mut rig, conversation, TalkAction::StopSupervising { leg }).unwrap();
    assert!(rig.phone(BEN).heard(|e| matches!(e, CallEvent::Ended { .. })));
    assert!(rig.bridged(CHEN, ANNA), "the talk goes on");
    assert_eq!(act(&mut rig, conversation, TalkAction::StopSupervising { leg }), Err(CannotAct::NoLeg));
}

#[test]
fn a_supervisor_takes_over_and_the_plan_goes_on_when_they_hang_up() {
    let (mut rig, conversation) = talking();
    let leg = come(&mut rig, conversation, SupervisionMode::Listen);
    act(&mut rig, conversation, TalkAction::SuperviseAs { leg, mode: SupervisionMode::TakeOver }).unwrap();
    assert!(rig.phone(ANNA).heard(|e| matches!(e, CallEvent::Ended { .. })), "Anna is let go");
    assert_eq!((rig.part(CHEN), rig.part(BEN)), (Some(RoomPart::Speaks), Some(RoomPart::Speaks)));
    let bridged = rig.events(|e| if let Event::LegBridged(e) = e { Some(e.with) } else { None });
    assert_eq!(bridged, [LegId(2), leg]);
    let before = rig.logged("ivr.entered");
    let key = rig.phone(BEN).last_call();
    rig.hang_up(BEN, key);
    rig.run_until("the plan has the caller again", |r| r.logged("ivr.entered") > before);
}

#[test]
fn when_the_agent_hangs_up_a_supervisor_who_talks_stays_with_the_caller() {
    let (mut rig, conversation) = talking();
    come(&mut rig, conversation, SupervisionMode::Barge);
    let key = rig.phone(ANNA).last_call();
    rig.hang_up(ANNA, key);
    rig.run_for(Duration::from_millis(100));
    assert_eq!(modes(&rig), ["barge", "take_over"]);
    assert_eq!(rig.switch.calls()[0].doing, "talking");
    let ended = rig.events(|e| if let Event::CallEnded(e) = e { Some((e.leg, e.by, e.cause)) } else { None });
    assert_eq!(ended, [(LegId(2), EndedBy::Remote, EndCause::Hangup)], "it was she who hung up");
}

#[test]
fn when_the_agents_phone_falls_silent_a_supervisor_who_talks_stays_with_the_caller() {
    let (mut rig, conversation) = talking();
    come(&mut rig, conversation, SupervisionMode::Barge);
    rig.rtp_stops(ANNA);
    rig.run_for(Duration::from_millis(100));
    assert_eq!(modes(&rig), ["barge", "take_over"]);
    let ended = rig.events(|e| if let Event::CallEnded(e) = e { Some((e.leg, e.cause)) } else { None });
    assert_eq!(ended, [(LegId(2), EndCause::MediaLost)]);
    assert!(rig.phone(ANNA).heard(|e| matches!(e, CallEvent::Ended { .. })), "her phone is let go");
}

#[test]
fn who_only_listens_goes_with_the_talk_and_all_is_forgotten() {
    let (mut rig, conversation) = talking();
    come(&mut rig, conversation, SupervisionMode::Listen);
    let key = rig.phone(CHEN).last_call();
    rig.hang_up(CHEN, key);
    rig.run_until("all is over", |r| r.switch.is_empty());
    rig.run_for(Duration::from_millis(50));
    assert!(rig.phone(BEN).heard(|e| matches!(e, CallEvent::Ended { .. })));
    assert_eq!((rig.logged("call.ended"), rig.legs()), (3, 0));
}

#[test]
fn a_supervisor_who_does_not_answer_is_given_up_and_nobody_comes_where_nobody_talks() {
    let (mut rig, conversation) = talking();
    rig.phone(BEN).answers = false;
    let call = TalkAction::Supervise { to: SUPERVISOR.to_owned(), mode: SupervisionMode::Listen };
    assert_eq!(act(&mut rig, conversation, call.clone()), Ok(Some(LegId(3))));
    rig.run_until("it rang for long enough", |r| r.logged("call.ended") == 1);
    let cause = rig.events(|e| if let Event::CallEnded(e) = e { Some((e.leg, e.cause)) } else { None });
    assert_eq!(cause, [(LegId(3), EndCause::NoAnswer)]);
    assert!(rig.bridged(CHEN, ANNA));
    let bad = TalkAction::Supervise { to: "nonsense".to_owned(), mode: SupervisionMode::Listen };
    assert!(matches!(act(&mut rig, conversation, bad), Err(CannotAct::NoWay(_))));

    let mut rig = Rig::new(PLAN, &[ANNA]);
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    let conversation = rig.log[0].conversation;
    assert_eq!(act(&mut rig, conversation, call.clone()), Err(CannotAct::NoTalk));
    let elsewhere = ConversationId::new(1, 1);
    assert_eq!(act(&mut rig, elsewhere, call), Err(CannotAct::NoCall));
    let pause = TalkAction::PauseRecordings { paused: true };
    assert_eq!(act(&mut rig, conversation, pause), Err(CannotAct::NoRecording));
}

#[test]
fn a_leg_is_muted_and_heard_again() {
    let (mut rig, conversation) = talking();
    for muted in [true, false] {
        act(&mut rig, conversation, TalkAction::Mute { leg: LegId(2), muted }).unwrap();
        assert_eq!(rig.hushed(ANNA).0, muted);
        let seen: Vec<bool> = rig.switch.calls()[0].legs.iter().map(|leg| leg.muted).collect();
        assert_eq!(seen, [false, muted]);
    }
    let told = rig.events(|e| if let Event::LegMuted(e) = e { Some((e.leg, e.muted)) } else { None });
    assert_eq!(told, [(LegId(2), true), (LegId(2), false)]);
    assert_eq!(act(&mut rig, conversation, TalkAction::Mute { leg: LegId(9), muted: true }), Err(CannotAct::NoLeg));
}

#[test]
fn a_talk_is_recorded_on_demand_with_a_channel_for_each_leg() {
    let (mut rig, conversation) = talking();
    come(&mut rig, conversation, SupervisionMode::Listen);
    let caller = rig.leg_of(CHEN);
    assert_eq!(rig.recorded_in(ANNA), Some((caller, Side::Agent)));
    assert_eq!(rig.recorded_in(BEN), Some((caller, Side::Supervisor(0))));
    let start = TalkAction::StartRecording { format: Some(RecordFormat::Opus), layout: None };
    act(&mut rig, conversation, start.clone()).unwrap();
    assert_eq!(act(&mut rig, conversation, start), Err(CannotAct::Recorded));
    let pause = |paused| TalkAction::PauseRecordings { paused };
    act(&mut rig, conversation, pause(true)).unwrap();
    assert!(rig.hushed(CHEN).1);
    act(&mut rig, conversation, pause(false)).unwrap();
    act(&mut rig, conversation, TalkAction::StopRecording).unwrap();
    assert_eq!(act(&mut rig, conversation, TalkAction::StopRecording), Err(CannotAct::NoRecording));
    let started =
        rig.events(|e| if let Event::RecordingStarted(e) = e { Some((e.format, e.channels.clone())) } else { None });
    let legs =
        vec![RecordingChannel::Caller, RecordingChannel::Ark, RecordingChannel::Agent, RecordingChannel::Supervisors];
    assert_eq!(started, [(Some(RecordingFormat::Opus), legs)]);
    let paused = rig.events(|e| if let Event::RecordingPaused(e) = e { e.at_ms } else { None });
    assert!(matches!(paused[..], [100..300]), "from here on it is silent: {paused:?}");
    let finished = rig.events(|e| {
        if let Event::RecordingFinished(e) = e { Some((e.cause, e.channels.len(), e.recording.clone())) } else { None }
    });
    assert_eq!(finished.len(), 1);
    assert_eq!((finished[0].0, finished[0].1), (RecordingCause::Stopped, 4));
    assert!(finished[0].2.ends_with("-1.opus"), "{}", finished[0].2);
}

#[test]
fn whoever_comes_into_a_recorded_call_is_told_where_the_site_wants_it() {
    for everyone in [true, false] {
        let mut rig = Rig::new(PLAN, &[ANNA]);
        rig.record_calls_and_say_so();
        rig.switch.config.announce_to_joiners = everyone;
        rig.call(CHEN);
        rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
        rig.press(CHEN, '0');
        rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
        assert_eq!((rig.hears(ANNA), rig.hears(CHEN)), (everyone, false), "Chen was told when he called");
        rig.run_for(Duration::from_secs(20));
        assert!(!rig.hears(ANNA), "once");
        let conversation = rig.log[0].conversation;
        come(&mut rig, conversation, SupervisionMode::Listen);
        assert_eq!(rig.hears(BEN), everyone);
        rig.run_for(Duration::from_secs(20));
        act(&mut rig, conversation, TalkAction::PauseRecordings { paused: true }).unwrap();
        act(&mut rig, conversation, TalkAction::StopSupervising { leg: LegId(3) }).unwrap();
        let to = SUPERVISOR.to_owned();
        act(&mut rig, conversation, TalkAction::Supervise { to, mode: SupervisionMode::Listen }).unwrap();
        rig.run_until("Ben is in again", |r| r.logged("call.supervised") == 2);
        assert!(!rig.hears(BEN), "nothing is kept now");
    }
}
