//! What is heard and said on the legs: prompts, music, keys and recordings.

use std::sync::Arc;

use ark_conversation::event::{
    Dtmf, DtmfHow, EndCause, EndedBy, PromptCause, PromptFinished, PromptStarted, RecordingCause, RecordingChannel,
    RecordingFailed, RecordingFinished, RecordingFormat, RecordingPurpose, RecordingStarted,
};
use ark_dialplans::{Heard, Lang, Now, Piece, Run};
use ark_media::codec::CodecRef;
use ark_media::dtmf::Digit;
use ark_media::prompt::EncodedPrompt;
use ark_media::record::{Layout, Side};

use super::limits::INFO_KEY;
use super::state::{AfterBeep, Call, OWN_PLAY, Playing, Recording, Supervisor};
use super::switch::{Output, Switch};
use crate::media::{self, Command, Event, MediaPort, PlayEnd, RecordAs, RecordEnd, RecordFormat, RecordOf};
use crate::prompts::consent_piece;
use crate::speech::Order;

impl<M: MediaPort> Switch<M> {
    /// The plan plays a prompt. What is missing is replaced by a tone, never by silence.
    pub(super) fn play(&mut self, now: Now, call: &mut Call, id: u64, pieces: &[Piece], lang: Lang, barge_in: bool) {
        lang.as_str().clone_into(&mut call.lang);
        let Some(codec) = call.customer.agreed.as_ref().map(|a| a.codec) else {
            call.heard.push_back(Heard::PlayFinished { id });
            return;
        };
        let sounds = Arc::clone(&call.live.sounds);
        let mut items: Vec<Arc<EncodedPrompt>> = Vec::with_capacity(pieces.len());
        let mut missing = 0;
        for piece in pieces {
            match sounds.piece(piece, codec) {
                Some(audio) => items.push(audio),
                None => {
                    missing += 1;
                    items.push(sounds.error_tone(codec));
                }
            }
        }
        if missing > 0 {
            self.counters.prompts_missing += missing;
            tracing::error!(conversation = %call.conversation, state = %call.state, missing, "a prompt has no audio; the caller hears a tone");
        }
        let length: std::time::Duration = items.iter().map(|i| i.duration()).sum();
        let mut prompts: Vec<String> = Vec::new();
        for piece in pieces {
            if let Piece::Text { prompt, .. } = piece
                && prompts.last().is_none_or(|last| **last != **prompt)
            {
                prompts.push(prompt.to_string());
            }
        }
        let event = PromptStarted {
            leg: call.customer.number,
            play: id,
            prompts,
            lang: call.lang.clone(),
            length_ms: u64::try_from(length.as_millis()).ok(),
            barge_in,
            text: written(pieces),
        };
        self.log(now, call, event);
        if items.is_empty() {
            call.heard.push_back(Heard::PlayFinished { id });
            return;
        }
        call.playing = Some(Playing { id, logged: true });
        self.tell_media(call.customer.media, Command::Play { id, items, barge_in, repeat: false });
    }

    /// Somebody who waits hears music, somebody who is transferred hears it ring; never silence.
    pub(super) fn fill_silence(&mut self, call: &mut Call) {
        if call.playing.is_some() || !call.customer.is_up() || call.other.as_ref().is_some_and(|o| o.bridged.is_some())
        {
            return;
        }
        let Some(codec) = call.customer.agreed.as_ref().map(|a| a.codec) else { return };
        let sound = if call.waiting.is_some() || call.handover.is_some() {
            call.live.sounds.music(codec)
        } else if call.transferring.is_some() {
            call.live.sounds.ringback(codec)
        } else {
            return;
        };
        let id = call.own_play();
        call.playing = Some(Playing { id, logged: false });
        self.tell_media(call.customer.media, Command::Play { id, items: vec![sound], barge_in: false, repeat: true });
    }

    /// While one side of a bridge is held, the other hears music.
    pub(super) fn music_while_held(&mut self, call: &mut Call, held_is_other: bool, begins: bool) {
        let Some(other) = call.other.as_ref().filter(|o| o.bridged.is_some()) else { return };
        // Somebody talks with them.
        if begins && held_is_other && call.supervisors.iter().any(Supervisor::talks_with_both) {
            return;
        }
        let listener = if held_is_other { &call.customer } else { &other.leg };
        let (media, codec) = (listener.media, listener.agreed.as_ref().map(|a| a.codec));
        if begins {
            let Some(codec) = codec else { return };
            self.play_hold_music(call, media, codec);
        } else if let Some((media, id)) = call.hold_play.take() {
            self.tell_media(media, Command::StopPlay { id });
        }
    }

    pub(super) fn play_hold_music(&mut self, call: &mut Call, media: media::LegId, codec: CodecRef) {
        let id = call.own_play();
        call.hold_play = Some((media, id));
        let items = vec![call.live.sounds.music(codec)];
        self.tell_media(media, Command::Play { id, items, barge_in: false, repeat: true });
    }

    /// What the media engine says of one of the call's legs.
    pub(super) fn on_media(&mut self, now: Now, call: &mut Call, event: Event) {
        match event {
            Event::Digit { leg, digit, road, .. } => self.digit(now, call, leg, digit.as_char(), road),
            Event::PlayFinished { leg, id, heard, cause } => {
                if leg == call.customer.media {
                    self.play_finished(now, call, id, heard, cause);
                }
            }
            Event::RtpTimeout { leg } => self.rtp_timeout(now, call, leg),
            Event::Recorded { path, duration, bytes, cause, .. } => {
                let Some(at) = call.recordings.iter().position(|r| r.path == path) else { return };
                let recording = call.recordings.remove(at);
                if recording.request.is_none() && self.config.unread_queues.is_some() {
                    let (conversation, name) = (call.conversation, recording.name.clone());
                    self.out.push_back(Output::Speech(Order::Recorded { conversation, name }));
                }
                let cause = recording.stop_cause.unwrap_or(recording_cause(cause));
                let event = RecordingFinished {
                    leg: call.customer.number,
                    recording: recording.name,
                    reference: recording.reference,
                    duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                    bytes,
                    sha256: None,
                    cause,
                    format: Some(format_word(recording.how.format)),
                    channels: recording_channels(recording.how.layout.channels()),
                };
                self.log(now, call, event);
                if let Some(id) = recording.request {
                    let seconds = u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
                    call.heard.push_back(Heard::Recorded { id, seconds });
                }
            }
            Event::RecordFailed { path, error, .. } => {
                let Some(at) = call.recordings.iter().position(|r| r.path == path) else { return };
                let recording = call.recordings.remove(at);
                tracing::error!(conversation = %call.conversation, %error, "a recording failed; the call goes on");
                let event = RecordingFailed { leg: call.customer.number, recording: recording.name, error };
                self.log(now, call, event);
                if let Some(id) = recording.request {
                    call.heard.push_back(Heard::Recorded { id, seconds: 0 });
                }
            }
            Event::Closed { leg, quality } => self.leg_closed(now, call, leg, Some(&quality)),
        }
    }

    fn digit(&mut self, now: Now, call: &mut Call, leg: media::LegId, key: char, road: media::Road) {
        let of_customer = leg == call.customer.media;
        let number = if of_customer {
            call.customer.number
        } else if call.is_aside_media(leg) {
            // What two press who talk about the customer is between them.
            return;
        } else if let Some(other) = call.other.as_ref().filter(|o| o.leg.media == leg) {
            other.leg.number
        } else {
            // A supervisor's keys are nobody's.
            return;
        };
        let secret = of_customer && call.run.as_ref().is_some_and(Run::hears_secret);
        let how = match road {
            media::Road::Rtp => DtmfHow::Rfc4733,
            media::Road::Info => DtmfHow::Info,
            media::Road::Inband => DtmfHow::Inband,
        };
        let event = Dtmf { leg: number, digit: (!secret).then_some(key), masked: secret, how, duration_ms: None };
        self.log(now, call, event);
        if of_customer {
            call.heard.push_back(Heard::Key(key));
        }
        self.pass_info_key(call, of_customer, key, road);
    }

    /// A key that came by INFO goes on to the other side of a bridge as telephone-events. One that came as
    /// telephone-events has gone with the voice, and from a phone that agreed on those its INFO is the same key again.
    fn pass_info_key(&mut self, call: &Call, of_customer: bool, key: char, road: media::Road) {
        let Some(other) = call.other.as_ref().filter(|o| o.bridged.is_some()) else { return };
        let (from, to) = if of_customer { (&call.customer, &other.leg) } else { (&other.leg, &call.customer) };
        let by_info_alone = from.agreed.as_ref().is_some_and(|agreed| agreed.receive_dtmf_payload_type.is_none());
        // In a room with a supervisor voices are mixed, and keys go beside them.
        let mixed = call.supervisors.iter().any(|supervisor| supervisor.leg.is_up());
        if (mixed || (road == media::Road::Info && by_info_alone))
            && let Some(digit) = Digit::from_char(key)
        {
            self.tell_media(to.media, Command::SendDtmf { digit, duration: INFO_KEY });
        }
    }

    fn play_finished(&mut self, now: Now, call: &mut Call, id: u64, heard: std::time::Duration, cause: PlayEnd) {
        if call.playing.as_ref().is_some_and(|p| p.id == id) {
            call.playing = None;
        }
        if call.announcing == Some(id) {
            call.announcing = None;
            if call.customer.is_up() && call.run.is_none() {
                self.begin_plan(now, call);
            }
        }
        if id & OWN_PLAY == 0 {
            let cause = match cause {
                PlayEnd::End => PromptCause::End,
                PlayEnd::Barge(_) => PromptCause::BargeIn,
                PlayEnd::Stopped => PromptCause::Stopped,
                PlayEnd::Closed => PromptCause::Hangup,
                PlayEnd::CodecChanged | PlayEnd::Refused => PromptCause::Failed,
            };
            let heard_ms = u64::try_from(heard.as_millis()).unwrap_or(u64::MAX);
            self.log(now, call, PromptFinished { leg: call.customer.number, play: id, heard_ms, cause });
            call.heard.push_back(Heard::PlayFinished { id });
        } else if let Some(message) = call.after_beep.take_if(|m| m.play == id) {
            self.begin_message(now, call, &message);
        }
    }

    fn rtp_timeout(&mut self, now: Now, call: &mut Call, leg: media::LegId) {
        if leg == call.customer.media {
            let reason = "no audio came from the caller's phone".to_owned();
            self.end_call(now, call, EndedBy::Ark, EndCause::MediaLost, None, Some(reason));
        } else if call.supervisors.iter().any(|s| s.leg.media == leg) {
            self.supervisor_silent(now, call, leg);
        } else if call.beside().is_some_and(|beside| beside.leg.media == leg) {
            self.beside_silent(now, call);
        } else if let Some(line) = call.other.as_ref().filter(|o| o.leg.media == leg).map(|o| o.leg.line) {
            let reason = Some("no audio came from this phone".to_owned());
            self.hang_up_line(now, line);
            self.person_left(now, call, EndedBy::Ark, EndCause::MediaLost, reason);
        }
    }

    /// The plan asks for a voice message: a beep, then the recording.
    pub(super) fn record_message(
        &mut self,
        call: &mut Call,
        request: u64,
        max: std::time::Duration,
        silence: std::time::Duration,
    ) {
        let Some(codec) = call.customer.agreed.as_ref().map(|a| a.codec) else {
            call.heard.push_back(Heard::Recorded { id: request, seconds: 0 });
            return;
        };
        let play = call.own_play();
        call.after_beep = Some(AfterBeep { request, play, max, silence });
        call.playing = Some(Playing { id: play, logged: false });
        let items = vec![call.live.sounds.beep(codec)];
        self.tell_media(call.customer.media, Command::Play { id: play, items, barge_in: false, repeat: false });
    }

    fn begin_message(&mut self, now: Now, call: &mut Call, message: &AfterBeep) {
        // A message has one speaker.
        let how = RecordAs { layout: Layout::Sides, tone: None, ..self.config.record_as };
        let recording = self.new_recording(now, call, (RecordingPurpose::Voicemail, how), Some(message.request));
        let command = Command::RecordStart {
            of: RecordOf::Message,
            path: recording.path.clone(),
            how,
            limit: Some(message.max),
            silence: Some(message.silence),
        };
        self.begin_recording(now, call, recording, command);
    }

    /// The hotline records its calls: from answer to end.
    pub(super) fn record_whole_call(&mut self, now: Now, call: &mut Call, how: RecordAs) {
        let recording = self.new_recording(now, call, (RecordingPurpose::Call, how), None);
        let (of, path) = (RecordOf::Call, recording.path.clone());
        let command = Command::RecordStart { of, path, how, limit: None, silence: None };
        self.begin_recording(now, call, recording, command);
    }

    /// Says to a leg, in every language of the plan, that the call is recorded. `None`: it has no such audio.
    pub(super) fn announce_recording(&mut self, call: &mut Call, leg: media::LegId, codec: CodecRef) -> Option<u64> {
        let pieces = call.live.plan.languages.iter().map(|lang| consent_piece(*lang, "", None));
        let items: Vec<_> = pieces.filter_map(|piece| call.live.sounds.piece(&piece, codec)).collect();
        if items.is_empty() {
            return None;
        }
        let id = call.own_play();
        self.tell_media(leg, Command::Play { id, items, barge_in: false, repeat: false });
        Some(id)
    }

    /// Both who talk are told that they are recorded from now on.
    pub(super) fn announce_to_both(&mut self, call: &mut Call) {
        let talking = call.other.as_ref().filter(|other| other.bridged.is_some()).map(|other| &other.leg);
        let legs = std::iter::once(&call.customer).chain(talking);
        let legs: Vec<_> = legs.filter_map(|leg| Some((leg.media, leg.agreed.as_ref()?.codec))).collect();
        if !call.is_talking() && call.playing.is_some() {
            // What the plan says goes on: its own words come first.
            return;
        }
        for (leg, codec) in legs {
            self.announce_recording(call, leg, codec);
        }
    }

    /// Whoever comes into a call that is recorded is told so, where the site wants it.
    pub(super) fn tell_who_joins(&mut self, call: &mut Call, leg: media::LegId, codec: CodecRef) {
        let recorded = |recording: &Recording| recording.request.is_none() && recording.paused.is_none();
        if self.config.announce_to_joiners && call.recordings.iter().any(recorded) {
            self.announce_recording(call, leg, codec);
        }
    }

    /// What a leg says is kept in a channel of its own, where the caller's leg is recorded so, now or later.
    pub(super) fn record_leg(&mut self, call: &Call, leg: media::LegId, side: Side) {
        self.tell_media(leg, Command::RecordInto { of: call.customer.media, side });
    }

    fn new_recording(
        &self,
        now: Now,
        call: &mut Call,
        (purpose, how): (RecordingPurpose, RecordAs),
        request: Option<u64>,
    ) -> Recording {
        call.recordings_made += 1;
        let name = format!("{}-{}.{}", call.conversation, call.recordings_made, how.format.extension());
        let path = self.config.recordings.join(&name);
        let reference = format!("ark-media:recordings/{name}");
        Recording { path, name, reference, purpose, how, began: now.mono, request, stop_cause: None, paused: None }
    }

    fn begin_recording(&mut self, now: Now, call: &mut Call, recording: Recording, command: Command) {
        let event = RecordingStarted {
            leg: call.customer.number,
            recording: recording.name.clone(),
            reference: recording.reference.clone(),
            purpose: recording.purpose,
            format: Some(format_word(recording.how.format)),
            channels: recording_channels(recording.how.layout.channels()),
        };
        self.log(now, call, event);
        if recording.request.is_none() && self.config.unread_queues.is_some() {
            self.out.push_back(Output::Speech(Order::Recording {
                conversation: call.conversation,
                began: now.mono,
                name: recording.name.clone(),
                path: recording.path.clone(),
                legs: recording.how.layout == Layout::Legs,
            }));
        }
        call.recordings.push(recording);
        self.tell_media(call.customer.media, command);
    }

    /// The plan ends a voice message (a key, a timeout).
    pub(super) fn stop_message(&mut self, call: &mut Call, request: u64) {
        if let Some(message) = call.after_beep.take_if(|m| m.request == request) {
            self.tell_media(call.customer.media, Command::StopPlay { id: message.play });
            call.heard.push_back(Heard::Recorded { id: request, seconds: 0 });
            return;
        }
        if let Some(recording) = call.recordings.iter_mut().find(|r| r.request == Some(request)) {
            recording.stop_cause = Some(RecordingCause::Key);
            self.tell_media(call.customer.media, Command::RecordStop { of: RecordOf::Message });
        }
    }
}

fn format_word(format: RecordFormat) -> RecordingFormat {
    match format {
        RecordFormat::Wav => RecordingFormat::Wav,
        RecordFormat::Opus => RecordingFormat::Opus,
    }
}

/// What a recording of so many channels has in them.
pub(crate) fn recording_channels(channels: usize) -> Vec<RecordingChannel> {
    use RecordingChannel::{Agent, Ark, Caller, Heard, Supervisors};
    if channels == Layout::Legs.channels() { vec![Caller, Ark, Agent, Supervisors] } else { vec![Caller, Heard] }
}

fn recording_cause(end: RecordEnd) -> RecordingCause {
    match end {
        RecordEnd::Stopped => RecordingCause::Stopped,
        RecordEnd::Limit => RecordingCause::Limit,
        RecordEnd::Silence => RecordingCause::Silence,
        RecordEnd::Closed => RecordingCause::Hangup,
    }
}

/// Most characters of what is said that the log keeps.
const WRITTEN_CHARS_MAX: usize = 500;

/// What is said, as the plan writes it. What fills its variables may be secret (a number that was keyed in) and is `…`.
fn written(pieces: &[Piece]) -> Option<String> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text { text: part, .. } => {
                let spaced = text.ends_with('…') && part.starts_with(|c: char| c.is_ascii_alphanumeric());
                text.push_str(if spaced { " " } else { "" });
                text.push_str(part);
            }
            Piece::Word { .. } if !text.ends_with('…') => {
                let spaced = text.ends_with(|c: char| c.is_ascii_alphanumeric());
                text.push_str(if spaced { " …" } else { "…" });
            }
            Piece::Word { .. } | Piece::Pause(_) => {}
        }
    }
    let text: String = text.chars().take(WRITTEN_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}
