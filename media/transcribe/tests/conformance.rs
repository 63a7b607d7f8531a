//! One suite for all engines: whatever reads a voice, a stream says the same about it. Each engine is put behind a stream with the
//! server, process or model that it talks to played by the test, faults included.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

use std::collections::VecDeque;
use std::time::Duration;

use ark_media::fuzz::speech;
use ark_transcribe::engine::openai::{OpenAi, Outcome};
use ark_transcribe::engine::scripted::Scripted;
use ark_transcribe::engine::{Answer, Dialogue, Engine, Frame, exec, funasr::FunAsr, vosk::Vosk};
use ark_transcribe::stream::{Feed, Stream, StreamConfig};
use ark_transcribe::{EngineError, Language, Recognised, SpeechEvent, Utterance};

const TEXT: &str = "我要转人工";

/// What the played far side does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Far {
    Answers,
    Dies,
    SaysGarbage,
    NeverAnswers,
}

/// Reads an utterance.
type Reads = Box<dyn FnMut(&Utterance) -> Result<Recognised, EngineError>>;

/// An engine under test: each utterance as a whole, or fed.
enum Subject {
    Whole(Reads),
    Fed(Box<dyn FnMut() -> (Box<dyn Dialogue>, Server)>),
}

/// The far side of a dialogue: frames in, frames out; `None` closes the connection.
type Server = Box<dyn FnMut(&Frame) -> Option<Vec<Frame>>>;

fn text(text: impl Into<String>) -> Frame {
    Frame::Text(text.into())
}

fn funasr_server(far: Far) -> Server {
    let mut bytes = 0;
    Box::new(move |frame| match (far, frame) {
        (Far::Dies, _) => None,
        (Far::NeverAnswers, _) => Some(Vec::new()),
        (Far::SaysGarbage, _) => Some(vec![text("<html>502</html>")]),
        (Far::Answers, Frame::Binary(audio)) => {
            let before = bytes / 8_000;
            bytes += audio.len();
            let more = bytes / 8_000 > before;
            Some(if more { vec![text(r#"{"mode":"2pass-online","text":"我"}"#)] } else { Vec::new() })
        }
        (Far::Answers, Frame::Text(said)) if said.contains("false") => {
            Some(vec![text(format!(r#"{{"mode":"2pass-offline","text":"{TEXT}","is_final":true}}"#))])
        }
        (Far::Answers, Frame::Text(_)) => Some(Vec::new()),
    })
}

fn vosk_server(far: Far) -> Server {
    Box::new(move |frame| match (far, frame) {
        (Far::Dies, _) => None,
        (Far::NeverAnswers, _) => Some(Vec::new()),
        (Far::SaysGarbage, _) => Some(vec![text("{\"what\":1}")]),
        (Far::Answers, Frame::Binary(_)) => Some(vec![text(r#"{"partial" : "我 要"}"#)]),
        (Far::Answers, Frame::Text(said)) if said == "{\"eof\" : 1}" => Some(vec![text(
            r#"{"result":[{"conf":0.9,"start":0.3,"end":0.6,"word":"我"},{"conf":0.9,"start":0.6,"end":99.0,"word":"要转人工"}],"text":"我 要转人工"}"#,
        )]),
        (Far::Answers, Frame::Text(_)) => Some(Vec::new()),
    })
}

fn subjects(far: Far) -> Vec<(&'static str, Subject)> {
    let down = || EngineError::Retry("connection refused".to_owned());
    let late = || EngineError::Late(Duration::from_secs(5));
    let answer = Recognised { text: TEXT.to_owned(), confidence: Some(0.9), ..Recognised::default() };
    let script = match far {
        Far::Answers => Ok(answer),
        Far::Dies => Err(down()),
        Far::SaysGarbage => Err(EngineError::Garbage("?".to_owned())),
        Far::NeverAnswers => Err(late()),
    };
    let mut scripted = Scripted::new((0..9).map(|_| script.clone()));
    let exec = move |utterance: &Utterance| {
        let asked = exec::question(3, utterance);
        assert!(asked.contains("\"id\":3") && asked.ends_with('\n'));
        match far {
            Far::Answers => {
                exec::answer(3, &format!(r#"{{"id":3,"text":"{TEXT}","confidence":0.9}}"#)).map(Option::unwrap)
            }
            Far::Dies => Err(down()),
            Far::SaysGarbage => exec::answer(3, "Segmentation fault").map(Option::unwrap),
            Far::NeverAnswers => Err(late()),
        }
    };
    let mut server = OpenAi::new("whisper-1");
    let openai = move |utterance: &Utterance| loop {
        let request = server.request(utterance, "0123456789abcdef");
        let verbose = String::from_utf8_lossy(&request.body).contains("verbose_json");
        let outcome = match far {
            // A server that knows plain answers alone.
            Far::Answers if verbose => server.answer(400, b"{}"),
            Far::Answers => server.answer(200, format!(r#"{{"text":"{TEXT}"}}"#).as_bytes()),
            Far::Dies => Outcome::Done(Err(down())),
            Far::SaysGarbage => server.answer(200, b"\x1f\x8b\x08"),
            Far::NeverAnswers => Outcome::Done(Err(late())),
        };
        if let Outcome::Done(answer) = outcome {
            return answer;
        }
    };
    vec![
        ("scripted", Subject::Whole(Box::new(move |utterance| scripted.recognise(utterance)))),
        ("exec", Subject::Whole(Box::new(exec))),
        ("openai", Subject::Whole(Box::new(openai))),
        (
            "funasr",
            Subject::Fed(Box::new(move || {
                (Box::new(FunAsr::default().talk("x", Some(Language::Zh))) as Box<dyn Dialogue>, funasr_server(far))
            })),
        ),
        (
            "vosk",
            Subject::Fed(Box::new(move || {
                (Box::new(Vosk::default().talk(Some(Language::Zh))) as Box<dyn Dialogue>, vosk_server(far))
            })),
        ),
    ]
}

/// One utterance's dialogue and its far side.
struct Connection {
    utterance: u32,
    talk: Box<dyn Dialogue>,
    server: Server,
    closed: bool,
}

impl Connection {
    fn exchange(&mut self) {
        let mut frames = VecDeque::new();
        while let Some(frame) = self.talk.transmit() {
            frames.push_back(frame);
        }
        for frame in frames {
            if self.closed {
                return;
            }
            match (self.server)(&frame) {
                Some(answers) => answers.iter().for_each(|answer| self.talk.receive(answer)),
                None => {
                    self.closed = true;
                    self.talk.closed();
                }
            }
        }
    }
}

/// Puts a voice through a stream with the engine behind it; what the stream said.
fn run(subject: &mut Subject, rate_hz: u32, script: &[(bool, u64)]) -> Vec<SpeechEvent> {
    let fed = matches!(subject, Subject::Fed(_));
    let config = StreamConfig { language: Some(Language::Zh), fed, ..StreamConfig::default() };
    let mut stream = Stream::new(config, rate_hz).unwrap();
    let mut open: Vec<Connection> = Vec::new();
    let mut events = Vec::new();
    let frame = (rate_hz / 50) as usize;
    let mut at = Duration::ZERO;
    for (speaks, ms) in script {
        let pcm = if *speaks { speech(3, rate_hz, *ms) } else { vec![0; (u64::from(rate_hz) * ms / 1_000) as usize] };
        for samples in pcm.chunks(frame) {
            stream.push(at, samples);
            at += Duration::from_millis(20);
            serve(subject, &mut stream, &mut open);
            events.extend(std::iter::from_fn(|| stream.poll()));
        }
    }
    stream.finish();
    serve(subject, &mut stream, &mut open);
    for connection in &mut open {
        connection.talk.waited(Duration::from_secs(5), Duration::from_secs(5));
    }
    serve(subject, &mut stream, &mut open);
    events.extend(std::iter::from_fn(|| stream.poll()));
    assert_eq!(stream.pending(), 0, "every utterance has an end");
    events
}

fn serve(subject: &mut Subject, stream: &mut Stream, open: &mut Vec<Connection>) {
    while let Some(work) = stream.work() {
        let Subject::Whole(engine) = subject else { panic!("an engine that is fed is given no work") };
        let answer = engine(&work.utterance);
        stream.answer(work.ticket, answer, false);
    }
    while let Some(feed) = stream.feed_next() {
        let Subject::Fed(begin) = subject else { panic!("an engine of utterances is not fed") };
        match feed {
            Feed::Begin { utterance, .. } => {
                let (talk, server) = begin();
                open.push(Connection { utterance, talk, server, closed: false });
            }
            Feed::Audio { utterance, samples } => {
                let connection = open.iter_mut().find(|open| open.utterance == utterance);
                connection.into_iter().for_each(|open| open.talk.audio(&samples));
            }
            Feed::Finish { utterance } => {
                let connection = open.iter_mut().find(|open| open.utterance == utterance);
                connection.into_iter().for_each(|open| open.talk.finish());
            }
        }
    }
    for connection in open {
        connection.exchange();
        while let Some(answer) = connection.talk.poll() {
            match answer {
                Answer::SoFar { text, settled } => stream.heard_so_far(connection.utterance, &text, settled),
                Answer::Done(answer) => stream.heard(connection.utterance, answer),
            }
        }
    }
}

/// Speech between two silences, twice.
const TALK: [(bool, u64); 5] = [(false, 500), (true, 2_500), (false, 1_500), (true, 1_500), (false, 1_500)];

#[test]
fn every_engine_says_what_was_said_and_when() {
    for rate_hz in [8_000, 16_000, 48_000] {
        for (name, mut subject) in subjects(Far::Answers) {
            let events = run(&mut subject, rate_hz, &TALK);
            let said: Vec<&SpeechEvent> =
                events.iter().filter(|event| matches!(event, SpeechEvent::Final { .. })).collect();
            assert!(said.len() >= 2, "{name} at {rate_hz}: {events:?}");
            let (mut began, mut last_end) = (0, Duration::ZERO);
            for event in &events {
                match event {
                    SpeechEvent::Started { utterance, .. } => {
                        began += 1;
                        assert_eq!(*utterance, began, "{name}");
                    }
                    SpeechEvent::Partial { text, stable, .. } => {
                        assert!(text.is_char_boundary(*stable) && !text.is_empty(), "{name}: {text} {stable}");
                    }
                    SpeechEvent::Final { utterance, start, end, text, segments, language, .. } => {
                        assert_eq!((text.as_str(), *language), (TEXT, Some(Language::Zh)), "{name}");
                        assert!(*utterance <= began && *start >= last_end && end > start, "{name}: {events:?}");
                        assert!(
                            segments.iter().all(|part| part.start >= *start && part.end <= *end),
                            "{name}: {segments:?}"
                        );
                        last_end = *end;
                    }
                    SpeechEvent::Ended { .. } => {}
                    other => panic!("{name}: {other:?}"),
                }
            }
            let partials = events.iter().filter(|event| matches!(event, SpeechEvent::Partial { .. })).count();
            assert!(partials > 0, "{name} says nothing meanwhile");
            let SpeechEvent::Final { start, .. } = said[0] else { unreachable!() };
            // Something like speech is not a voice at once: when real voices begin is known in tests/tests/live_speech.rs.
            assert!(
                *start >= Duration::from_millis(450) && *start < Duration::from_secs(2),
                "{name}: begins at {start:?}"
            );
        }
    }
}

#[test]
fn whatever_the_far_side_does_each_utterance_has_one_end() {
    for far in [Far::Dies, Far::SaysGarbage, Far::NeverAnswers] {
        for (name, mut subject) in subjects(far) {
            let events = run(&mut subject, 8_000, &TALK);
            let started = events.iter().filter(|event| matches!(event, SpeechEvent::Started { .. })).count();
            let errors: Vec<&EngineError> = events
                .iter()
                .filter_map(|e| if let SpeechEvent::Failed { error, .. } = e { Some(error) } else { None })
                .collect();
            assert!(started >= 2 && errors.len() == started, "{name} {far:?}: {events:?}");
            let fits = |error: &&&EngineError| match far {
                Far::Answers => false,
                Far::Dies => matches!(error, EngineError::Retry(_)),
                Far::SaysGarbage => matches!(error, EngineError::Garbage(_)),
                Far::NeverAnswers => matches!(error, EngineError::Late(_)),
            };
            assert_eq!(errors.iter().filter(fits).count(), errors.len(), "{name} {far:?}: {errors:?}");
        }
    }
}

#[test]
fn silence_asks_no_engine() {
    for (name, mut subject) in subjects(Far::Answers) {
        assert!(run(&mut subject, 8_000, &[(false, 60_000)]).is_empty(), "{name}");
    }
}

#[test]
fn hostile_answers_do_no_harm() {
    let mut seed = 1_u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    let samples = [
        r#"{"mode":"2pass-offline","text":"我","is_final":true,"stamp_sents":[{"text_seg":"我","start":-1e308,"end":1e308}]}"#,
        r#"{"result":[{"conf":1e39,"start":-5,"end":"x","word":"a"}],"text":"a"}"#,
        r#"{"partial":"\u0000\ud83d\ude00"}"#,
        r#"{"id":3,"text":"x","segments":[{"start":1e400,"end":0,"text":""}]}"#,
        r#"{"text":"x","segments":[{"start":0,"end":0,"text":"x","avg_logprob":-1e999}]}"#,
    ];
    for round in 0..20_000 {
        let mut bytes = samples[next() % samples.len()].as_bytes().to_vec();
        for _ in 0..next() % 6 {
            if bytes.len() < 2 {
                break;
            }
            let at = next() % bytes.len();
            match next() % 3 {
                0 => bytes[at] = next() as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let line = String::from_utf8_lossy(&bytes).into_owned();
        let _ = exec::answer(3, &line).map(|answer| answer.map(|answer| answer.sane(Duration::from_secs(1))));
        if let Outcome::Done(Ok(answer)) = OpenAi::new("m").answer(200, &bytes) {
            let sane = answer.sane(Duration::from_secs(1));
            assert!(sane.segments.iter().all(|part| part.end <= Duration::from_secs(1)), "round {round}");
        }
        let mut talks: [Box<dyn Dialogue>; 2] =
            [Box::new(FunAsr::default().talk("x", None)), Box::new(Vosk::default().talk(None))];
        for talk in &mut talks {
            talk.receive(&Frame::Text(line.clone()));
            talk.finish();
            talk.receive(&Frame::Text(line.clone()));
            while let Some(answer) = talk.poll() {
                if let Answer::SoFar { text, settled } = answer {
                    assert!(text.is_char_boundary(settled), "round {round}");
                }
            }
        }
    }
}
