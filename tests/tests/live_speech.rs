//! Callers who speak: synthesised sentences that the model of the tests was never taught come in over SIP and G.711, and what is
//! read, when, and of whom is judged against what was said. The model is `tests/speech/ark-demo-zh-en.bin`, by its name.

#![allow(clippy::print_stdout, reason = "what was measured is printed")]

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use ark_media::prompt;
use ark_tests::{
    kit::{Gateway, Phone, SOON, Setup, TempDir, ark_binary, conversation_id, root, skip, tone_site, write_wav},
    need,
};
use serde_json::Value;

/// Sentences of the model's grammar that were kept from its training (their CRC-32 is 0 modulo 20).
const ZH: [&str; 10] = [
    "包裹到哪里了。",
    "电脑的价格是多少，谢谢。",
    "我希望修改一下密码。",
    "付款失败了，谢谢。",
    "我要找客服，谢谢。",
    "你们扣了四次款。",
    "早上好，我想退款。",
    "下午好，我想取消订单。",
    "我希望更改登录密码。",
    "请说慢一点，谢谢你。",
];
const EN: [&str; 10] = [
    "The parcel is late.",
    "I need to talk to an operator.",
    "We were charged three times.",
    "The delivery arrived damaged.",
    "How do I send a picture?",
    "My parcel never arrived, thanks.",
    "I want to complain, thanks.",
    "When will my money come back?",
    "Where is my subscription?",
    "I need my refund.",
];
/// Between two sentences: longer than the pause that ends an utterance.
const PAUSE: usize = 8_000 * 13 / 10;
/// A busy machine reads late.
const LATE: Duration = Duration::from_secs(60);

/// What a synthetic voice says, at 8 kHz.
fn voice(language: &str, text: &str) -> Vec<i16> {
    let name = if language == "zh" { "cmn-latn-pinyin" } else { "en-us" };
    let spoken =
        Command::new("espeak-ng").args(["-v", name, "-s", "150", "--stdout", text]).output().expect("espeak-ng runs");
    let pcm = prompt::decode(spoken.stdout, "speech.wav").expect("espeak-ng writes WAV");
    pcm.resampled(8_000).samples
}

/// Where the voice is in its samples.
fn voiced(pcm: &[i16]) -> (usize, usize) {
    let loud = |sample: &i16| sample.unsigned_abs() > 700;
    (pcm.iter().position(loud).unwrap_or(0), pcm.iter().rposition(loud).unwrap_or(0))
}

/// What counts of a text: characters of Mandarin, words of English.
fn units(language: &str, text: &str) -> Vec<String> {
    let plain: String =
        text.to_lowercase().chars().map(|c| if "，。？！、,.?!;:".contains(c) { ' ' } else { c }).collect();
    if language == "zh" {
        return plain.chars().filter(|c| !c.is_whitespace()).map(String::from).collect();
    }
    plain.split_whitespace().map(str::to_owned).collect()
}

/// How many units have to be put in, taken out or changed.
fn distance(a: &[String], b: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The share of units that are wrong.
fn error(language: &str, said: &[&str], read: &[String]) -> f64 {
    let (said, read) = (units(language, &said.join(" ")), units(language, &read.join(" ")));
    distance(&said, &read) as f64 / said.len() as f64
}

fn model() -> String {
    root().join("tests/speech/ark-demo-zh-en.bin").display().to_string()
}

/// A site that reads along with the tests' model.
fn site(language: &str) -> Setup {
    let speech = format!(
        "[speech]\nengine = \"whisper\"\nmodel = {:?}\nlanguage = \"{language}\"\ncores = 2.0\npartials = false\n",
        model()
    );
    let tones = tone_site();
    let plan =
        tones.plan.replace("{ en =", &format!("{{ {language} =")).replace("[\"en\"]", &format!("[\"{language}\"]"));
    let plan = plan.replace("max_wait = \"30s\"", "max_wait = \"300s\"");
    Setup { more: speech, record: true, plan, ..tones }
}

/// Whether this build can read at all.
fn reads() -> bool {
    let help =
        Command::new(ark_binary()).args(["transcribe", "--model", &model(), "/dev/null"]).output().expect("ark runs");
    !String::from_utf8_lossy(&help.stderr).contains("built without whisper")
}

/// The finals of a conversation, once there are so many or it takes too long.
fn finals(gateway: &Gateway, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + LATE;
    loop {
        let conversations = gateway.conversations();
        let records = conversations.first().map(|one| gateway.records(&conversation_id(one))).unwrap_or_default();
        let of_type = |record: &&Value| record["event"]["type"] == "ark.transcript.final.v1";
        let found: Vec<Value> = records.iter().filter(of_type).map(|record| record["event"]["data"].clone()).collect();
        if found.len() >= count || Instant::now() > deadline {
            return found;
        }
        gateway.process.wait_for_news(Duration::from_millis(200));
    }
}

/// What `ark transcribe` reads in clean files of the same sentences.
fn clean(language: &str, sentences: &[&str]) -> f64 {
    let folder = TempDir::new("speech");
    let mut read = Vec::new();
    for (number, sentence) in sentences.iter().enumerate() {
        let path = folder.path().join(format!("{number}.wav"));
        write_wav(&path, &voice(language, sentence));
        let output = Command::new(ark_binary())
            .args(["transcribe", "--json", "--language", language, "--model", &model()])
            .arg(&path)
            .output()
            .expect("ark runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let segments = json["segments"].as_array().expect("segments");
        // The file's own clock is ours: times are held against it as they are.
        let (begin, over) = voiced(&voice(language, sentence));
        let (first, last) = (&segments[0]["start"], &segments[segments.len() - 1]["end"]);
        for (read, truth) in [(first, begin), (last, over)] {
            let off = read.as_f64().expect("seconds") - truth as f64 / 8_000.0;
            assert!(off.abs() <= 0.2, "{sentence} is off by {off:.3} s: {json}");
        }
        for segment in segments {
            let (start, end) = (segment["start"].as_f64().expect("start"), segment["end"].as_f64().expect("end"));
            assert!(start < end && segment["confidence"].is_number(), "{segment}");
            read.push(segment["text"].as_str().expect("text").to_owned());
        }
    }
    error(language, sentences, &read)
}

fn called_in(language: &str, sentences: &[&str]) {
    let gateway = Gateway::start(&site(language));
    let mut phone = Phone::new("chen");
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    phone.press('0');
    let mut truth = Vec::new();
    for sentence in sentences {
        let pcm = voice(language, sentence);
        let at = phone.speak(&pcm) as usize;
        let (begin, end) = voiced(&pcm);
        truth.push(((at + begin) / 8, (at + end) / 8));
        phone.speak(&vec![0; PAUSE]);
    }
    phone.wait_until_said(LATE * 2);
    let found = finals(&gateway, sentences.len());
    phone.hang_up();
    let read: Vec<String> = found.iter().map(|one| one["text"].as_str().unwrap_or_default().to_owned()).collect();
    let (wrong, of_files) = (error(language, sentences, &read), clean(language, sentences));
    let what = if language == "zh" { "characters" } else { "words" };
    println!("{language}: {:.1} % of {what} wrong over G.711, {:.1} % in clean files", wrong * 100.0, of_files * 100.0);
    assert!(wrong <= 0.20 && wrong <= of_files + 0.05, "{wrong:.3} against {of_files:.3}: {read:?}");
    assert!(found.iter().all(|one| one["speaker"] == "customer" && one["leg"] == "L1"), "{found:?}");
    assert!(found.iter().all(|one| one["language"] == language && one["recording"].is_string()), "{found:?}");
    // Both by media time; the phone's first packet and the call's answer lie somewhere apart.
    if found.len() == truth.len() {
        let ms = |one: &Value, key: &str| one[key].as_u64().unwrap_or(0) as i64;
        let mut begins: Vec<i64> =
            found.iter().zip(&truth).map(|(one, (begin, _))| ms(one, "start_ms") - *begin as i64).collect();
        begins.sort_unstable();
        let apart = begins[begins.len() / 2];
        let mut most = 0;
        for (one, (begin, end)) in found.iter().zip(&truth) {
            let off = [ms(one, "start_ms") - apart - *begin as i64, ms(one, "end_ms") - apart - *end as i64];
            most = off.iter().map(|off| off.abs()).chain([most]).max().unwrap_or(0);
        }
        println!("{language}: times are off by {most} ms at most");
        assert!(most <= 200, "times are off by {most} ms: {found:?} against {truth:?}");
    }
}

#[test]
fn mandarin_that_the_model_was_never_taught_is_read_over_a_telephone_line() {
    need!("mandarin_that_the_model_was_never_taught_is_read_over_a_telephone_line", "espeak-ng");
    if reads() {
        called_in("zh", &ZH);
    }
}

#[test]
fn english_that_the_model_was_never_taught_is_read_over_a_telephone_line() {
    need!("english_that_the_model_was_never_taught_is_read_over_a_telephone_line", "espeak-ng");
    if reads() {
        called_in("en", &EN);
    }
}

#[test]
fn who_says_what_is_told_apart_and_a_person_may_put_it_right() {
    need!("who_says_what_is_told_apart_and_a_person_may_put_it_right", "espeak-ng");
    if !reads() {
        return;
    }
    let mut anna = Phone::new("anna");
    let uri = anna.uri();
    let operator = thread::spawn(move || {
        let invite = anna.wait_to_be_called(SOON * 2);
        anna.answer(&invite);
        anna.wait_to_hear(700.0, SOON);
        anna.speak(&voice("zh", "我想查一下我的订单。"));
        anna.wait_until_said(LATE);
        anna.wait_for_the_end(LATE * 2)
    });
    let setup = Setup { operators: vec![uri], ..site("zh") };
    let gateway = Gateway::start(&setup);
    let mut chen = Phone::new("chen");
    chen.say(Some(700.0));
    chen.call(gateway.sip, "95188");
    chen.wait_to_hear(440.0, SOON);
    chen.press('0');
    gateway.wait_for_event("leg.bridged", LATE);
    chen.talk_for(Duration::from_secs(2));
    chen.say(None);
    chen.talk_for(Duration::from_secs(2));
    chen.speak(&voice("zh", "我要退款。"));
    chen.wait_until_said(LATE);
    let of = |said: &[Value], speaker: &str| -> String {
        said.iter().filter(|one| one["speaker"] == speaker).filter_map(|one| one["text"].as_str()).collect()
    };
    // A tone may be read as a word, too: what counts is that both sentences come.
    let came = |said: &[Value]| of(said, "customer").contains("退款") && of(said, "agent").contains("订单");
    let deadline = Instant::now() + LATE;
    let mut said = Vec::new();
    while !came(&said) && Instant::now() < deadline {
        said = finals(&gateway, said.len() + 1);
    }
    assert!(came(&said), "{said:?}");
    assert!(!of(&said, "customer").contains("查一下") && !of(&said, "agent").contains("退款"), "{said:?}");
    let conversation = conversation_id(&gateway.conversations()[0]);
    let utterance = said
        .iter()
        .find(|one| one["text"].as_str().is_some_and(|text| text.contains("退款")))
        .expect("what the caller said")["utterance"]
        .clone();
    let body = serde_json::json!({ "by": "anna", "leg": 1, "utterance": utterance, "text": "我要退货。" });
    let path = format!("/api/v1/conversations/{conversation}/transcript");
    assert_eq!(gateway.ask("POST", &path, Some(&body)).status, 202);
    gateway.wait_for_event("transcript.corrected", SOON);
    let transcript = gateway.ask("GET", &path, None).json();
    let corrected =
        transcript["utterances"].as_array().expect("a list").iter().find(|one| one["corrected_by"] == "agent:anna");
    assert_eq!(corrected.expect("the correction")["text"], "我要退货。");
    chen.hang_up();
    operator.join().expect("anna's phone");
    gateway.wait_for_event("recording.finished", SOON);
    once_more_from_the_recording(&gateway, &conversation);
    let again = gateway.ask("GET", &path, None).json();
    assert_eq!(again["utterances"], transcript["utterances"], "what was put right stays so after the call");
}

/// `ark transcribe --call`: the recording of a call that is over, each speaker by the channel.
fn once_more_from_the_recording(gateway: &Gateway, conversation: &str) {
    let transcribe = |id: &str| {
        let mut command = Command::new(ark_binary());
        command.current_dir(gateway.folder()).args(["transcribe", "--call", id, "--json", "--language", "zh"]);
        command.args(["--model", &model(), "--config"]).arg(gateway.folder().join("ark.toml"));
        command.output().expect("ark runs")
    };
    let output = transcribe(conversation);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let segments = json["segments"].as_array().expect("segments");
    let of = |channel: &str| -> String {
        segments.iter().filter(|one| one["channel"] == channel).filter_map(|one| one["text"].as_str()).collect()
    };
    assert!(of("caller").contains("退款") && of("heard").contains("订单"), "{json}");
    assert!(!of("caller").contains("订单") && !of("heard").contains("退款"), "{json}");
    let nobody = transcribe("00000000000000000000000001");
    assert!(!nobody.status.success(), "there is no such call");
}

/// whisper.cpp's own models for tests load, and run without a word: they have no weights. `make test` fetches them into `target/vendor`,
/// in the version that scripts/setup.sh pins; `ARK_WHISPER_FOR_TESTS` names another folder.
#[test]
fn whispers_own_models_for_tests_load_and_run() {
    let folder = std::env::var_os("ARK_WHISPER_FOR_TESTS")
        .map_or_else(|| root().join("target/vendor/whisper"), std::path::PathBuf::from);
    if !folder.join("for-tests-ggml-tiny.bin").exists() {
        let why = "whisper.cpp's models for tests are not here (make test fetches them into target/vendor)";
        return skip("whispers_own_models_for_tests_load_and_run", why);
    }
    need!("whispers_own_models_for_tests_load_and_run", "espeak-ng");
    if !reads() {
        return;
    }
    let sound = TempDir::new("speech");
    let path = sound.path().join("tone.wav");
    write_wav(&path, &voice("en", "I need to talk to an operator."));
    for name in ["tiny", "tiny.en", "base", "base.en", "small", "small.en"] {
        let model = folder.join(format!("for-tests-ggml-{name}.bin"));
        let output = Command::new(ark_binary())
            .args(["transcribe", "--json", "--language", "en", "--model"])
            .arg(&model)
            .arg(&path)
            .output()
            .expect("ark runs");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(json["segments"].is_array(), "{name}: {json}");
    }
}

#[test]
fn a_caller_says_that_they_want_a_person_and_is_led_to_the_queue() {
    need!("a_caller_says_that_they_want_a_person_and_is_led_to_the_queue", "espeak-ng");
    if !reads() {
        return;
    }
    let site = site("zh");
    // Her phone rings, and that is enough here.
    let anna = Phone::new("anna");
    let operators = vec![anna.uri()];
    let gateway = Gateway::start(&Setup { plan: format!("{}\n[speech]\n", site.plan), operators, ..site });
    let mut phone = Phone::new("chen");
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    phone.speak(&voice("zh", "我要转人工。"));
    phone.wait_until_said(LATE);
    let timeline = gateway.wait_for_event("queue.joined", LATE);
    timeline.assert_order(&["call.answered", "prompt.started", "transcript.final", "queue.joined"]);
    assert_eq!(timeline.count("dtmf"), 0, "no key was pressed");
    phone.hang_up();
}

#[test]
fn without_a_model_calls_are_untouched_and_everybody_is_told() {
    let mut setup = site("zh");
    setup.more = "[speech]\nengine = \"whisper\"\nmodel = \"small\"\n".to_owned();
    if !reads() {
        return;
    }
    let gateway = Gateway::start(&setup);
    let mut phone = Phone::new("chen");
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    phone.press('1');
    phone.wait_to_hear(1_000.0, SOON);
    let view = gateway.ask("GET", "/api/v1/speech", None).json();
    let why = view["health"]["why"].as_str().unwrap_or_default().to_owned();
    assert!(view["health"]["state"] == "broken" || view["health"]["state"] == "starting", "{view}");
    assert!(why.is_empty() || why.contains("ark model get small"), "{why}");
    phone.wait_for_the_end(SOON);
}
