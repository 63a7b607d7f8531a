//! A caller who hung up before their plan could ask is asked by a link: one short message, one page, one answer.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use ark_tests::kit::{Browser, Gateway, Page, Phone, SOON, request, skip, tone_site};
use serde_json::json;

const CALLER: f64 = 700.0;
const AGENT: f64 = 1_500.0;
const PATIENCE: Duration = Duration::from_secs(40);

/// A provider of short messages: gives the bodies that it was sent.
fn provider() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let url = format!("http://{}/send", listener.local_addr().expect("a bound socket has an address"));
    let (sender, bodies) = sync_channel(16);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let (mut seen, mut part) = (Vec::new(), [0_u8; 2_048]);
            while !String::from_utf8_lossy(&seen).contains("\"}") {
                let Ok(read @ 1..) = stream.read(&mut part) else { break };
                seen.extend_from_slice(&part[..read]);
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
            let text = String::from_utf8_lossy(&seen).into_owned();
            if sender.send(text.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned()).is_err() {
                return;
            }
        }
    });
    (url, bodies)
}

/// Pictures for people to look at.
fn picture(page: &mut Page, name: &str) {
    let Some(folder) = std::env::var_os("ARK_SCREENSHOTS") else { return };
    for (phone, dark) in [(false, false), (true, false), (true, true)] {
        page.looks(if phone { (390, 844) } else { (1_280, 800) }, phone, dark);
        page.eval("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
        let kind = format!("{}-{}", if phone { "phone" } else { "desktop" }, if dark { "dark" } else { "light" });
        page.screenshot(&Path::new(&folder).join(format!("survey-{name}-{kind}.png")));
    }
}

#[test]
fn a_caller_who_was_not_asked_answers_once_on_a_page() {
    let (url, bodies) = provider();
    let mut setup = tone_site();
    let mut agent = Phone::new("anna");
    setup.operators = vec![agent.uri()];
    setup.more = format!(
        "[survey]\nsms = true\n\n[sms]\nallow = [\"+861\"]\n[sms.http]\nurl = {url:?}\nbody = '{{\"to\":\"{{to}}\",\"text\":\"{{text}}\"}}'\n"
    );
    let gateway = Gateway::start(&setup);
    let answering = thread::spawn(move || {
        let invite = agent.wait_to_be_called(SOON * 2);
        agent.say(Some(AGENT));
        agent.answer(&invite);
        agent
    });
    let mut caller = Phone::new("13800001212");
    caller.say(Some(CALLER));
    caller.call(gateway.sip, "95188");
    caller.wait_to_hear(440.0, SOON);
    caller.press('0');
    caller.wait_to_hear(AGENT, SOON * 2);
    let _agent = answering.join().expect("the agent answers");
    caller.hang_up();
    gateway.wait_for_ended(1, SOON);

    let sent = bodies.recv_timeout(PATIENCE).expect("a short message");
    assert!(sent.contains("+8613800001212"), "{sent}");
    let path = sent.split(&format!("http://{}", gateway.web)).nth(1).unwrap_or_else(|| panic!("no link in {sent}"));
    let path = path.split(['"', ' ']).next().unwrap_or_default().to_owned();
    assert!(path.starts_with("/s/") && path.len() == 55, "{path}");
    let asked = gateway.wait_for_event("survey.asked", SOON);
    assert_eq!(asked.first("survey.asked")["way"], "link");

    let ask = |method: &str, path: &str, body: Option<&serde_json::Value>| {
        request(gateway.web, method, path, None, body).expect("an answer")
    };
    let shown = ask("GET", &format!("{path}/state"), None);
    assert_eq!(shown.status, 200, "{}", shown.body);
    assert_eq!((shown.json()["answers"].as_array().map(Vec::len), &shown.json()["answered"]), (Some(5), &json!(false)));
    let wrong = format!("{}{}", &path[..54], if path.ends_with('z') { "y" } else { "z" });
    assert_eq!(ask("GET", &format!("{wrong}/state"), None).status, 404);
    for bad in [json!({"score": 0}), json!({"score": 6}), json!({"score": 1, "comment": "x".repeat(1_001)})] {
        assert_eq!(ask("POST", &path, Some(&bad)).status, 400, "{bad}");
    }

    if ark_tests::kit::installed("chromium") {
        let browser = Browser::start(CALLER);
        let mut page = browser.open(&format!("http://{}{path}", gateway.web));
        page.wait_for("document.querySelectorAll('#answers input').length === 5", PATIENCE);
        page.click("#answers input");
        page.eval("document.querySelector('#comment').value = '很耐心'");
        picture(&mut page, "page");
        page.click("#give");
        page.wait_for("!document.querySelector('#done').hidden", PATIENCE);
        picture(&mut page, "done");
    } else {
        skip("live_survey", "no chromium: the answer is sent without the page");
        assert_eq!(ask("POST", &path, Some(&json!({"score": 5, "comment": "很耐心"}))).status, 201);
    }
    assert_eq!(ask("POST", &path, Some(&json!({"score": 1}))).status, 409, "once");
    let timeline = gateway.wait_for_event("survey.answered", SOON);
    let answered = timeline.first("survey.answered");
    assert_eq!(
        (&answered["way"], &answered["score"], &answered["comment"]),
        (&json!("link"), &json!(5), &json!("很耐心"))
    );
    assert_eq!((timeline.count("survey.asked"), timeline.count("survey.answered")), (1, 1));
    assert!(bodies.recv_timeout(Duration::from_secs(3)).is_err(), "one message, and no more");
}
