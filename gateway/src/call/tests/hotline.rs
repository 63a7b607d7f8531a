//! A caller and a plan.

use std::time::Duration;

use ark_conversation::Event;
use ark_conversation::event::{RecordingCause, RecordingPurpose};
use ark_media::sdp::Direction;
use ark_sip::ua::CallEvent;

use super::{ANNA, CHEN, Rig};
use crate::call::CannotAct;
use crate::media::RecordAs;

pub(super) const PLAN: &str = r#"
schema = "ark.dialplan/1"
name = "test"
entry = "main"
timezone = "Asia/Shanghai"
languages = ["en"]

[rules]
human_key = "0"
human_target = "person"

[prompts]
main = { en = "Press 1 for a message, 2 for the end, or 0 for a person." }
wait = { en = "Please wait." }
message = { en = "Please leave a message." }
bye = { en = "Goodbye." }

[state.main]
do = "menu"
prompt = "main"
keys = { 1 = "message", 2 = "bye" }
timeout = "3s"
on_timeout = "person"

[state.message]
do = "record"
prompt = "message"
max = "60s"
next = "bye"

[state.person]
do = "queue"
queue = "general"
prompt = "wait"
max_wait = "120s"
on_timeout = "bye"
answered = "bye"

[state.bye]
do = "hangup"
prompt = "bye"
"#;

#[test]
fn a_caller_hears_the_menu_presses_a_key_and_is_let_go_with_a_goodbye() {
    let mut rig = Rig::new(PLAN, &[]);
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.run_for(Duration::from_millis(50));
    assert!(rig.phone(CHEN).heard(|e| matches!(e, CallEvent::Answered { .. })));
    rig.run_for(Duration::from_millis(500));
    rig.press(CHEN, '2');
    rig.run_until("the call has ended", |r| r.switch.is_empty());
    assert_eq!(rig.states(), ["main", "bye"]);
    rig.run_for(Duration::from_millis(50));
    assert!(rig.phone(CHEN).heard(|e| matches!(e, CallEvent::Ended { .. })));
    assert_eq!(rig.legs(), 0);
    let names: Vec<&str> = rig.log.iter().map(|e| e.event.type_name()).collect();
    assert_eq!(names.first(), Some(&"ark.call.ringing.v1"));
    assert_eq!(names.last(), Some(&"ark.call.ended.v1"), "{}", rig.story());
    assert_eq!(rig.logged("call.quality"), 1);
    assert_eq!(rig.logged("dtmf"), 1);
    let source = &rig.log[0].event.source;
    assert!(source.starts_with("/ark/main/sip/local/"), "{source}");
}

#[test]
fn a_caller_who_hangs_up_ends_everything_at_once() {
    let mut rig = Rig::new(PLAN, &[]);
    let key = rig.call(CHEN);
    rig.run_for(Duration::from_millis(300));
    rig.hang_up(CHEN, key);
    rig.run_until("the call is forgotten", |r| r.switch.is_empty());
    let ended =
        rig.events(|e| if let Event::CallEnded(e) = e { Some((e.by.as_str(), e.cause.as_str())) } else { None });
    assert_eq!(ended, [("remote", "hangup")]);
    assert_eq!(rig.legs(), 0);
}

#[test]
fn an_offerless_invite_is_answered_with_an_offer_and_starts_with_the_ack() {
    let mut rig = Rig::new(PLAN, &[]);
    rig.call_to(CHEN, "95188", false);
    rig.run_for(Duration::from_millis(100));
    // The double phone sends no answer in its ACK: Ark ends the call in words.
    let reasons = rig.events(|e| if let Event::CallEnded(e) = e { e.reason.clone() } else { None });
    rig.run_until("the call is forgotten", |r| r.switch.is_empty());
    assert!(reasons.iter().all(|r| r.contains("ACK")), "{reasons:?}");
}

#[test]
fn a_number_that_is_no_hotline_is_not_found() {
    let mut rig = Rig::new(PLAN, &[]);
    rig.call_to(CHEN, "12345", true);
    rig.run_for(Duration::from_secs(1));
    assert!(rig.phone(CHEN).heard(|e| matches!(e, CallEvent::Failed { status: 404, .. })));
    assert!(rig.log.is_empty());
}

#[test]
fn a_call_without_a_free_port_gets_503_and_nothing_stays_behind() {
    let mut rig = Rig::new(PLAN, &[]);
    rig.media.0.borrow_mut().full = true;
    rig.call(CHEN);
    rig.run_for(Duration::from_secs(1));
    assert!(rig.phone(CHEN).heard(|e| matches!(e, CallEvent::Failed { status: 503, .. })));
    assert!(rig.switch.is_empty());
}

#[test]
fn a_key_by_info_moves_the_plan_too() {
    let mut rig = Rig::new(PLAN, &[]);
    let key = rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.run_for(Duration::from_millis(100));
    rig.info(CHEN, key, "Signal=2\r\nDuration=160\r\n");
    rig.run_until("the call has ended", |r| r.switch.is_empty());
    assert_eq!(rig.states(), ["main", "bye"]);
    let how = rig.events(|e| if let Event::Dtmf(e) = e { Some(e.how.as_str()) } else { None });
    assert_eq!(how, ["info"]);
}

#[test]
fn hold_and_resume_are_answered_and_told() {
    let mut rig = Rig::new(PLAN, &[]);
    let key = rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.run_for(Duration::from_millis(100));
    rig.reoffer(CHEN, key, Direction::SendOnly);
    rig.run_until("held", |r| r.logged("leg.held") == 1);
    rig.run_for(Duration::from_millis(100));
    rig.reoffer(CHEN, key, Direction::SendRecv);
    rig.run_until("resumed", |r| r.logged("leg.resumed") == 1);
}

#[test]
fn a_voice_message_begins_after_the_beep_and_ends_with_a_key() {
    let mut rig = Rig::new(PLAN, &[]);
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '1');
    rig.run_until("the recording runs", |r| r.logged("recording.started") == 1);
    rig.run_for(Duration::from_secs(5));
    rig.press(CHEN, '#');
    rig.run_until("the recording is complete", |r| r.logged("recording.finished") == 1);
    rig.run_until("the call has ended", |r| r.switch.is_empty());
    let lengths = rig.events(|e| if let Event::RecordingFinished(e) = e { Some(e.duration_ms) } else { None });
    assert_eq!(lengths, [5_000]);
    assert_eq!(rig.states(), ["main", "message", "bye"]);
}

#[test]
fn a_voice_message_leaves_the_recording_of_the_call_running() {
    let mut rig = Rig::new(PLAN, &[]);
    rig.record_calls_and_say_so();
    rig.switch.config.announce_recording = false;
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '1');
    rig.run_until("both recordings run", |r| r.logged("recording.started") == 2);
    let how = RecordAs::default();
    let conversation = rig.log[0].conversation;
    assert_eq!(rig.switch.start_recording(rig.now, conversation, how), Err(CannotAct::Recorded));
    rig.run_for(Duration::from_secs(5));
    rig.press(CHEN, '#');
    rig.run_until("the call has ended", |r| r.switch.is_empty());
    let started = rig.events(|e| if let Event::RecordingStarted(e) = e { Some(e.purpose) } else { None });
    assert_eq!(started, [RecordingPurpose::Call, RecordingPurpose::Voicemail]);
    let finished = rig.events(|e| {
        if let Event::RecordingFinished(e) = e { Some((e.recording.clone(), e.cause, e.duration_ms)) } else { None }
    });
    let [(message, key, short), (call, hangup, long)] = &finished[..] else { panic!("{finished:?}") };
    assert!(message.ends_with("-2.wav") && call.ends_with("-1.wav"), "{finished:?}");
    assert_eq!((*key, *short, *hangup), (RecordingCause::Key, 5_000, RecordingCause::Hangup));
    assert!(*long > 5_000 + 2_000, "from answer to end: {long} ms");
}

#[test]
fn the_recording_of_a_call_is_stopped_and_its_caller_s_message_goes_on() {
    let mut rig = Rig::new(PLAN, &[]);
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '1');
    rig.run_until("the message is recorded", |r| r.logged("recording.started") == 1);
    let conversation = rig.log[0].conversation;
    assert_eq!(rig.switch.stop_recording(rig.now, conversation), Err(CannotAct::NoRecording));
    rig.switch.start_recording(rig.now, conversation, RecordAs::default()).unwrap();
    rig.run_for(Duration::from_secs(2));
    rig.switch.stop_recording(rig.now, conversation).unwrap();
    rig.run_for(Duration::from_secs(2));
    rig.press(CHEN, '#');
    rig.run_until("the call has ended", |r| r.switch.is_empty());
    let causes = rig.events(|e| if let Event::RecordingFinished(e) = e { Some(e.cause) } else { None });
    assert_eq!(causes, [RecordingCause::Stopped, RecordingCause::Key]);
}

#[test]
fn a_phone_that_goes_silent_for_too_long_is_gone() {
    let mut rig = Rig::new(PLAN, &[]);
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.rtp_stops(CHEN);
    rig.run_until("the call has ended", |r| r.switch.is_empty());
    let causes = rig.events(|e| if let Event::CallEnded(e) = e { Some(e.cause.as_str()) } else { None });
    assert_eq!(causes, ["media_lost"]);
}

#[test]
fn calls_that_are_up_keep_their_plan_when_another_is_published() {
    let mut rig = Rig::new(PLAN, &[]);
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    let mut site = rig.switch.site().clone();
    site.set_hotlines(Vec::new());
    rig.switch.set_site(site);
    rig.press(CHEN, '2');
    rig.run_until("the call has ended", |r| r.switch.is_empty());
    assert_eq!(rig.states(), ["main", "bye"]);
}

#[test]
fn the_end_of_the_process_ends_every_call_with_a_record() {
    let mut rig = Rig::new(PLAN, &[]);
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    let now = rig.now;
    rig.switch.shut_down(now);
    rig.run_until("the call has ended", |r| r.switch.is_empty());
    let causes = rig.events(|e| if let Event::CallEnded(e) = e { Some(e.cause.as_str()) } else { None });
    assert_eq!(causes, ["shutdown"]);
    rig.run_for(Duration::from_millis(50));
    assert!(rig.phone(CHEN).heard(|e| matches!(e, CallEvent::Ended { .. })));
}

#[test]
fn a_call_is_placed_and_its_plan_begins_when_somebody_answers() {
    let mut rig = Rig::new(PLAN, &[]);
    let now = rig.now;
    rig.switch.place(now, &format!("sip:1001@{CHEN}"), "95188").unwrap();
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '2');
    rig.run_until("the call has ended", |r| r.switch.is_empty());
    let directions = rig.events(|e| if let Event::CallRinging(e) = e { Some(e.direction.as_str()) } else { None });
    assert_eq!(directions, ["outbound"]);
}

#[test]
fn who_is_recorded_is_told_before_the_plan_begins() {
    let mut rig = Rig::new(PLAN, &[ANNA]);
    rig.record_calls_and_say_so();
    rig.call(CHEN);
    rig.run_until("it is said", |r| r.logged("call.answered") == 1 && r.hears(CHEN));
    assert_eq!((rig.logged("recording.started"), rig.logged("prompt.started")), (0, 0));
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    assert_eq!(rig.logged("recording.started"), 1);
    let words = rig.events(|e| if let Event::PromptStarted(e) = e { Some(e.prompts.clone()) } else { None });
    assert!(!words[0].contains(&"ark.recorded".to_owned()), "it is no prompt of the plan's");
    // A caller who hangs up meanwhile was neither recorded nor guided.
    let mut rig = Rig::new(PLAN, &[ANNA]);
    rig.record_calls_and_say_so();
    let key = rig.call(CHEN);
    rig.run_until("it is said", |r| r.logged("call.answered") == 1 && r.hears(CHEN));
    rig.hang_up(CHEN, key);
    rig.run_until("all is over", |r| r.switch.is_empty());
    assert_eq!((rig.logged("recording.started"), rig.logged("prompt.started")), (0, 0));
}

#[test]
fn a_plan_pauses_the_recording_while_a_card_number_is_asked_and_a_person_ends_the_pause() {
    let plan = PLAN.replace(
        "[state.message]",
        "[state.begin]\ndo = \"recording\"\nact = \"start\"\nnext = \"hush\"\n\
         [state.hush]\ndo = \"recording\"\nact = \"pause\"\nnext = \"card\"\n\
         [state.card]\ndo = \"say\"\nprompt = \"message\"\nnext = \"keep\"\n\
         [state.keep]\ndo = \"recording\"\nact = \"resume\"\nnext = \"again\"\n\
         [state.again]\ndo = \"say\"\nprompt = \"message\"\nnext = \"end\"\n\
         [state.end]\ndo = \"recording\"\nact = \"stop\"\nnext = \"bye\"\n\
         [state.message]",
    );
    let plan = plan.replace("2 = \"bye\" }", "2 = \"bye\", 3 = \"begin\" }");
    for person in [false, true] {
        let mut rig = Rig::new(&plan, &[ANNA]);
        rig.call(CHEN);
        rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
        rig.press(CHEN, '3');
        rig.run_until("nothing is kept", |r| r.logged("recording.paused") == 1);
        assert!(rig.hushed(CHEN).1 && rig.logged("recording.started") == 1);
        if person {
            rig.press(CHEN, '0');
            rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
            assert!(!rig.hushed(CHEN).1, "what a person says is kept");
            assert_eq!((rig.logged("recording.resumed"), rig.logged("recording.finished")), (1, 0));
            continue;
        }
        rig.run_until("the call has ended", |r| r.switch.is_empty());
        let causes = rig.events(|e| if let Event::RecordingFinished(e) = e { Some(e.cause) } else { None });
        assert_eq!((causes, rig.logged("recording.resumed")), (vec![RecordingCause::Stopped], 1));
    }
}
