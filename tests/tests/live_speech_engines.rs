//! Engines that are not whisper: a process and servers, played here, read what a caller says through the whole gateway; and when they
//! die, answer garbage or are not there, the call goes on and the log says what is missing.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use ark_media::fuzz::speech;
use ark_tests::kit::{Gateway, Phone, SOON, Setup, ark_binary, root, tone_site};
use tungstenite::{Message, WebSocket, accept};

const TEXT: &str = "我要查订单";
const LATE: Duration = Duration::from_secs(60);

fn site(more: &str) -> Setup {
    Setup { more: format!("[speech]\npartials = true\nlanguage = \"zh\"\ntimeout = \"3s\"\n{more}\n"), ..tone_site() }
}

/// Somebody calls and speaks for some seconds; the gateway and the phone.
fn spoken(setup: &Setup) -> (Gateway, Phone) {
    let gateway = Gateway::start(setup);
    let mut phone = Phone::new("chen");
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    phone.press('2');
    phone.wait_to_hear(600.0, SOON);
    phone.speak(&speech(3, 8_000, 3_000));
    phone.wait_until_said(LATE);
    (gateway, phone)
}

/// What is read is in the log, with the engine's name.
fn is_read(setup: &Setup, engine: &str) {
    let (gateway, mut phone) = spoken(setup);
    let timeline = gateway.wait_for_event("transcript.final", LATE);
    let read = timeline.first("transcript.final");
    assert_eq!((&read["text"], &read["engine"]), (&TEXT.into(), &engine.into()), "{read}");
    assert!(read["start_ms"].as_u64() < read["end_ms"].as_u64(), "{read}");
    phone.hang_up();
}

/// Nothing is read, the log says so, and the call goes on.
fn is_missing(setup: &Setup) {
    let (gateway, mut phone) = spoken(setup);
    let timeline = gateway.wait_for_event("transcript.missing", LATE);
    assert_eq!(timeline.first("transcript.missing")["trouble"], "failed");
    assert_eq!(gateway.ask("GET", "/api/v1/speech", None).json()["health"]["state"], "broken");
    let packets = phone.packets();
    phone.wait_for_packets(packets + 25, SOON);
    assert_eq!(phone.ended(), None, "the call is untouched");
    phone.hang_up();
}

/// Two hundred callers who never stop, on an eighth of a core: the calls are untouched, what is left out is said, and of the calls that are
/// recorded it is read afterwards.
#[test]
fn two_hundred_who_speak_at_once_disturb_no_call() {
    let mut bench = Command::new(ark_binary());
    bench.args(["bench", "speech", "--json", "--few", "1", "--calls", "200", "--seconds", "4", "--cores", "0.12"]);
    bench.arg("--model").arg(root().join("tests/speech/ark-demo-zh-en.bin"));
    let output = bench.output().expect("ark runs");
    let told = String::from_utf8_lossy(&output.stderr);
    if told.contains("built without whisper") {
        return;
    }
    assert!(output.status.success(), "{told}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let many = &report["many"];
    // How late the calls' packets were, with and without: printed, since a machine under test says little about it.
    println!("{many:#}");
    let number = |key: &str| many[key].as_u64().unwrap_or(0);
    assert_eq!((number("legs"), number("recorded")), (200, 4), "{many}");
    assert!(many["state"].as_str().is_some_and(|state| state.contains("more is said than can be")), "{many}");
    assert!(["left", "merged", "partials_shed", "packets_dropped"].iter().any(|key| number(key) > 0), "{many}");
    assert!(number("deferred") == 0 || number("read_later") > 0, "{many}");
}

/// A server on loopback that deals with each connection on a thread of its own.
fn serve(deal: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let deal = deal.clone();
            thread::spawn(move || deal(stream));
        }
    });
    address
}

/// Talks on a WebSocket: each message has its answers, and an empty list ends it.
fn websocket(stream: TcpStream, mut answers: impl FnMut(&Message) -> Option<Vec<String>>) {
    let Ok(mut socket): Result<WebSocket<TcpStream>, _> = accept(stream) else { return };
    while let Ok(message) = socket.read() {
        if message.is_close() {
            return;
        }
        let Some(texts) = answers(&message) else { return };
        for text in texts {
            if socket.send(Message::Text(text.into())).is_err() {
                return;
            }
        }
    }
}

fn funasr() -> SocketAddr {
    serve(|stream| {
        websocket(stream, |message| {
            Some(match message {
                Message::Text(text) if text.contains("\"audio_fs\"") => {
                    assert!(text.contains("\"2pass\"") && text.contains("8000"), "{text}");
                    Vec::new()
                }
                Message::Text(_) => vec![format!(r#"{{"mode":"2pass-offline","text":"{TEXT}","is_final":true}}"#)],
                _ => vec![r#"{"mode":"2pass-online","text":""}"#.to_owned()],
            })
        });
    })
}

#[test]
fn a_funasr_server_reads_what_callers_say() {
    is_read(&site(&format!("engine = \"funasr\"\nurl = \"ws://{}\"", funasr())), "funasr");
}

#[test]
fn a_vosk_server_reads_what_callers_say() {
    let server = serve(|stream| {
        websocket(stream, |message| {
            Some(match message {
                Message::Text(text) if &**text == "{\"eof\" : 1}" => {
                    vec![
                        r#"{"result":[{"conf":0.9,"start":0.3,"end":0.9,"word":"我要"}],"text":"我要 查 订单"}"#
                            .to_owned(),
                    ]
                }
                Message::Text(_) => Vec::new(),
                _ => vec![r#"{"partial":"我要"}"#.to_owned()],
            })
        });
    });
    is_read(&site(&format!("engine = \"vosk\"\nurl = \"ws://{server}\"")), "vosk");
}

/// A server of OpenAI's interface that reads each request to its end.
fn openai(status: &'static str, body: String) -> SocketAddr {
    serve(move |mut stream| {
        let mut got = Vec::new();
        let mut buffer = [0; 65_536];
        loop {
            let head = got.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(head) = head {
                let text = String::from_utf8_lossy(&got[..head]).to_lowercase();
                let length = text
                    .split("content-length:")
                    .nth(1)
                    .and_then(|rest| rest.lines().next()?.trim().parse::<usize>().ok());
                let whole = length.map_or_else(|| got.ends_with(b"0\r\n\r\n"), |length| got.len() >= head + 4 + length);
                if whole {
                    break;
                }
            }
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => got.extend_from_slice(&buffer[..count]),
            }
        }
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        // Whoever asked may be gone.
        let _ = stream.write_all(answer.as_bytes());
    })
}

#[test]
fn a_server_of_openais_interface_reads_what_callers_say() {
    let server = openai("200 OK", format!(r#"{{"text":"{TEXT}"}}"#));
    is_read(
        &site(&format!("engine = \"openai\"\nurl = \"http://{server}\"\nmodel = \"whisper-1\"")),
        "openai:whisper-1",
    );
}

#[test]
fn a_process_reads_what_callers_say() {
    let script = format!(r#"s/.*"id":\([0-9]*\).*/{{"id":\1,"text":"{TEXT}"}}/"#);
    let command = serde_json::json!(["sed", "-u", script]);
    is_read(&site(&format!("engine = \"exec\"\ncommand = {command}")), "exec:sed");
}

#[test]
fn a_server_that_is_not_there_costs_no_call() {
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).expect("a port");
    is_missing(&site(&format!("engine = \"funasr\"\nurl = \"ws://{nobody}\"")));
}

#[test]
fn a_server_that_answers_garbage_costs_no_call() {
    let server = serve(|stream| websocket(stream, |_| Some(vec!["<html>".to_owned()])));
    is_missing(&site(&format!("engine = \"vosk\"\nurl = \"ws://{server}\"")));
}

#[test]
fn a_server_that_fails_and_a_process_that_dies_cost_no_call() {
    let server = openai("500 Internal Server Error", "{}".to_owned());
    is_missing(&site(&format!("engine = \"openai\"\nurl = \"http://{server}\"\nmodel = \"m\"")));
    is_missing(&site("engine = \"exec\"\ncommand = [\"false\"]"));
}

#[test]
fn a_server_that_never_answers_costs_no_call() {
    let server = serve(|stream| websocket(stream, |_| Some(Vec::new())));
    is_missing(&site(&format!("engine = \"funasr\"\nurl = \"ws://{server}\"")));
}
