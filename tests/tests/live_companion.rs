//! A caller's page for pictures while the call goes on: made, opened and tapped in a real browser beside a telephone call.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::mpsc,
    time::{Duration, Instant},
};

use ark_tests::{
    kit::{Browser, Gateway, Page, Phone, SOON, TempDir, conversation_id, request, tone_site},
    need,
};
use base64::Engine as _;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// A caller whom the plan plays its tone to.
fn call(gateway: &Gateway) -> (Phone, String) {
    let mut phone = Phone::new("+8613800001212");
    phone.call(gateway.sip, "95188");
    gateway.wait_for_event("prompt.started", SOON);
    let id = gateway.conversations().first().map(conversation_id).expect("the call");
    (phone, id)
}

fn make_link(gateway: &Gateway, id: &str, send: &[&str]) -> Value {
    let body = json!({"by": "anna", "send": send});
    let answer = gateway.ask("POST", &format!("/api/v1/calls/{id}/links"), Some(&body));
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.json()
}

fn records(gateway: &Gateway, id: &str, kind: &str) -> Vec<Value> {
    let page = gateway.ask("GET", &format!("/api/v1/conversations/{id}/events?limit=500"), None).json();
    let all = page["records"].as_array().expect("a list").clone();
    all.into_iter().filter(|record| record["event"]["type"] == kind).collect()
}

fn wait_for_records(gateway: &mut Gateway, id: &str, kind: &str, number: usize) -> Vec<Value> {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = records(gateway, id, kind);
        if found.len() >= number {
            return found;
        }
        assert!(Instant::now() < until, "{number} of {kind} are expected: {found:?}");
        gateway.process.wait_for_news(Duration::from_millis(20));
    }
}

fn screenshot(page: &mut Page, name: &str) {
    if let Some(folder) = std::env::var_os("ARK_SCREENSHOTS") {
        page.screenshot(&PathBuf::from(folder).join(name));
    }
}

/// Pictures of the page's own making, as if chosen from an album.
const CHOOSE: &str = "(async () => {
  const make = async (name, hue, side) => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [side, side];
    const pen = canvas.getContext('2d');
    for (let n = 0; n < side; n += 8) { pen.fillStyle = `hsl(${hue + n / 4} 70% ${40 + 30 * Math.sin(n)}%)`; pen.fillRect(n, 0, 8, side - n / 2); }
    const blob = await new Promise((done) => canvas.toBlob(done, 'image/png'));
    return new File([blob], name, { type: 'image/png' });
  };
  const files = new DataTransfer();
  files.items.add(await make('账单截图.png', 200, 600));
  files.items.add(await make('order detail.png', 20, 300));
  files.items.add(new File(['not a picture'], 'notes.txt', { type: 'text/plain' }));
  const input = document.querySelector('#album');
  input.files = files.files;
  input.dispatchEvent(new Event('change'));
})()";

#[test]
fn a_caller_sends_pictures_from_a_phone_while_the_call_goes_on() {
    need!("live_companion", "chromium");
    let mut gateway = Gateway::start(&tone_site());
    let (mut phone, id) = call(&gateway);
    let made = make_link(&gateway, &id, &[]);
    let url = made["url"].as_str().expect("an address").to_owned();

    let browser = Browser::start(440.0);
    let mut page = browser.open(&url);
    page.looks((390, 800), true, false);
    page.wait_for("!document.querySelector('#begin').hidden", PATIENCE);
    screenshot(&mut page, "companion-begin.png");
    assert_eq!(records(&gateway, &id, "ark.link.joined.v1").len(), 0, "opening it binds nothing");
    page.click("#go");
    page.wait_for("!document.querySelector('#work').hidden", PATIENCE);
    let joined = wait_for_records(&mut gateway, &id, "ark.link.joined.v1", 1);
    assert!(!joined[0].to_string().contains(url.rsplit('/').next().expect("a token")));

    page.eval(CHOOSE);
    page.wait_for("document.querySelectorAll('.up.done').length === 2", PATIENCE);
    page.wait_for("document.querySelectorAll('.up.bad').length === 1", PATIENCE);
    page.eval("document.querySelector('#words').value = '是这两张'; document.querySelector('#talk').requestSubmit()");
    let messages = wait_for_records(&mut gateway, &id, "ark.message.in.v1", 3);
    let kinds: Vec<&str> =
        messages.iter().filter_map(|record| record["event"]["data"]["parts"][0]["kind"].as_str()).collect();
    assert_eq!(kinds, ["image", "image", "text"]);
    let media = messages[0]["event"]["data"]["parts"][0]["media"]["ref"].as_str().expect("a file").to_owned();
    let file = gateway.ask("GET", &format!("/api/v1/media/{}", media.replace("ark-media:", "")), None);
    assert_eq!(file.status, 200);
    let heard = phone.packets();
    phone.wait_for_packets(heard + 10, SOON);

    // The agent answers on the page, and sees the pictures.
    let reply = json!({"by": "anna", "text": "收到，请稍等，我来核对。"});
    let answer = gateway.ask("POST", &format!("/api/v1/conversations/{id}/messages"), Some(&reply));
    assert_eq!(answer.status, 201, "{}", answer.body);
    page.wait_for("document.querySelector('#list').textContent.includes('我来核对')", PATIENCE);
    screenshot(&mut page, "companion-phone-light.png");
    page.looks((390, 800), true, true);
    page.eval("window.scrollTo(0, 0)");
    screenshot(&mut page, "companion-phone-dark.png");

    let token = std::fs::read_to_string(gateway.folder().join("data/ark.token")).expect("the gateway's token");
    browser.open(&format!("http://{}/operations?token={}", gateway.web, token.trim()));
    let mut desk = browser.open(&format!("http://{}/operations?lang=zh&theme=light#{id}", gateway.web));
    desk.wait_for("document.querySelectorAll('#timeline .picture img').length === 2", PATIENCE);
    desk.wait_for(
        "[...document.querySelectorAll('#timeline .picture img')].every((one) => one.complete && one.naturalWidth > 0)",
        PATIENCE,
    );
    desk.click("#sendlink");
    desk.wait_for("/[0-9]{3} [0-9]{3}/.test(document.querySelector('#linked').textContent)", PATIENCE);
    screenshot(&mut desk, "companion-desk-light.png");

    // The same link on another device: a browser with other cookies.
    let other = Browser::start(440.0);
    let mut stranger = other.open(&url);
    stranger.looks((390, 800), true, false);
    stranger.wait_for("!document.querySelector('#trouble').hidden", PATIENCE);
    stranger.wait_for("/another device|另一台设备/.test(document.querySelector('#trouble').textContent)", PATIENCE);
    screenshot(&mut stranger, "companion-taken.png");

    phone.hang_up();
    wait_for_records(&mut gateway, &id, "ark.call.ended.v1", 1);
    page.wait_for("!/通话中|On the call/.test(document.querySelector('#status').textContent)", PATIENCE);
    page.eval("document.querySelector('#words').value = 'one more'; document.querySelector('#talk').requestSubmit()");
    wait_for_records(&mut gateway, &id, "ark.message.in.v1", 4);
    let state = gateway.ask("GET", &format!("/api/v1/conversations/{id}"), None).json();
    assert!(state["ended"].is_null(), "the page's conversation is the call's, and open: {state}");
    let tokens: Vec<String> = gateway.process.lines();
    let secret = url.rsplit('/').next().expect("a token");
    assert!(!tokens.iter().any(|line| line.contains(secret)), "the token is in no log");
}

#[test]
fn a_spoken_code_opens_the_page_with_the_callers_number() {
    need!("live_companion", "chromium");
    let mut gateway = Gateway::start(&tone_site());
    let (mut phone, id) = call(&gateway);
    let made = make_link(&gateway, &id, &["code"]);
    let code = made["code"].as_str().expect("a code").to_owned();
    let browser = Browser::start(440.0);
    let mut page = browser.open(made["short_page"].as_str().expect("an address"));
    page.looks((390, 800), true, false);
    page.wait_for("!document.querySelector('#typed').hidden", PATIENCE);
    let type_in = |page: &mut Page, code: &str, last: &str| {
        page.eval(&format!(
            "document.querySelector('#code').value = '{code}'; document.querySelector('#last').value = '{last}'; \
             document.querySelector('#typed').requestSubmit()"
        ));
    };
    type_in(&mut page, &code, "9999");
    page.wait_for("!document.querySelector('#trouble').hidden", PATIENCE);
    screenshot(&mut page, "companion-code.png");
    type_in(&mut page, &format!("{} {}", &code[..3], &code[3..]), "1212");
    page.wait_for("!document.querySelector('#work').hidden", PATIENCE);
    page.eval(CHOOSE);
    wait_for_records(&mut gateway, &id, "ark.message.in.v1", 2);
    let joined = wait_for_records(&mut gateway, &id, "ark.link.joined.v1", 1);
    assert_eq!(joined[0]["event"]["data"]["via"], "code");
    phone.hang_up();
}

#[test]
fn what_the_page_tells_browsers_robots_and_strangers() {
    let mut gateway = Gateway::start(&tone_site());
    let (mut phone, id) = call(&gateway);
    let made = make_link(&gateway, &id, &[]);
    let path = format!("/u/{}", made["url"].as_str().and_then(|url| url.rsplit('/').next()).expect("a token"));
    let web = gateway.web;
    let get = |path: &str| request(web, "GET", path, None, None).expect("an answer");
    let post = |path: &str, body: &Value| request(web, "POST", path, None, Some(body)).expect("an answer");
    // A link's preview looks at it, with and without what scripts would do.
    for look in [&path, &format!("{path}/state")] {
        let answer = get(look);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let head = answer.head.to_ascii_lowercase();
        for header in [
            "cache-control: no-store",
            "referrer-policy: no-referrer",
            "x-robots-tag: noindex",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "content-security-policy: default-src 'none'; script-src 'self'",
        ] {
            assert!(head.contains(header), "{look}: {header} is missing in {head}");
        }
    }
    let head = get(&path).head.to_ascii_lowercase();
    assert!(head.contains("httponly; samesite=strict") && head.contains("path=/u"), "{head}");
    assert_eq!(records(&gateway, &id, "ark.link.joined.v1").len(), 0);
    // A browser without cookies, a link that is none, a code of a wrong form.
    let refused = post(&format!("{path}/join"), &json!({}));
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (403, &json!("no_cookie")));
    let unknown = get("/u/00000000000000000000000000/state");
    assert_eq!((unknown.status, &unknown.json()["error"]["code"]), (404, &json!("unknown")));
    let link = made["link"].as_str().expect("a name");
    assert_eq!(get(&format!("/u/l/{link}/state")).status, 404, "its name alone opens nothing");
    let unsent = post(&format!("/u/l/{link}/files/aaaaaaaa1?offset=0&size=1"), &json!("x"));
    assert_eq!((unsent.status, &unsent.json()["error"]["code"]), (403, &json!("not_begun")));
    phone.hang_up();
    wait_for_records(&mut gateway, &id, "ark.call.ended.v1", 1);
    let late = gateway.ask("POST", &format!("/api/v1/calls/{id}/links"), Some(&json!({})));
    assert_eq!(late.status, 422, "{}", late.body);
}

/// One request with a cookie and bytes; the status, the head and the body.
fn send(gateway: &Gateway, method: &str, path: &str, cookie: &str, body: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(gateway.web).expect("the gateway listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nCookie: {cookie}\r\nContent-Type: \
         application/json\r\nContent-Length: {}\r\n\r\n",
        gateway.web,
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("the gateway reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the gateway answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer of HTTP");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_owned(), body.to_owned())
}

/// An app's house: takes one push and gives its body.
fn app() -> (SocketAddr, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let at = listener.local_addr().expect("it has an address");
    let (pushed, pushes) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let (mut text, mut bytes) = (String::new(), [0; 4_096]);
        while !text.ends_with('}') {
            let count = stream.read(&mut bytes).unwrap_or(0);
            if count == 0 {
                return;
            }
            text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        assert!(head.contains("webhook-signature: v1,"), "{head}");
        let _ = pushed.send(serde_json::from_str(body).expect("JSON"));
    });
    (at, pushes)
}

#[test]
fn a_plan_sends_a_link_to_an_app_and_goes_on_when_the_picture_comes() {
    const PICTURE: &str =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let folder = TempDir::new("companion");
    let secret = folder.path().join("hook");
    std::fs::write(&secret, "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").expect("a temporary file");
    let (app, pushes) = app();
    let mut setup = tone_site();
    let menu = setup.plan.find("[state.welcome]").expect("the plan's first state");
    let next = setup.plan.find("[state.second]").expect("its second");
    setup.plan.replace_range(
        menu..next,
        "[state.welcome]\ndo = \"link\"\nsend = [\"sms\", \"app\"]\nprompt = \"welcome\"\nnext = \"second\"\n\
         on_timeout = \"to_agent\"\non_failed = \"to_agent\"\n\n",
    );
    let test = setup.plan.find("[[test]]").expect("the plan's test");
    setup.plan.truncate(test);
    setup.plan.push_str(
        "[[test]]\nname = \"a picture is answered\"\nevents = [\"joined\", \"picture\"]\nexpect = [\"play:second\"]\n",
    );
    setup.more = format!(
        "[companion]\napp_hook = {{ url = \"http://{app}/hook\", secrets = [{{ file = {secret:?} }}], allow_private = true }}\n"
    );
    let mut gateway = Gateway::start(&setup);
    let mut phone = Phone::new("+8613800001212");
    phone.call(gateway.sip, "95188");
    let push = pushes.recv_timeout(PATIENCE).expect("the app is told");
    assert_eq!(push["number"], "+8613800001212");
    let url = push["url"].as_str().expect("an address");
    let path = format!("/u/{}", url.rsplit('/').next().expect("a token"));
    phone.wait_to_hear(440.0, SOON);

    let (_, head, _) = send(&gateway, "GET", &path, "", b"");
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    let cookie = cookie.split(';').next().expect("its value");
    let (status, _, body) = send(&gateway, "POST", &format!("{path}/join"), cookie, b"{}");
    assert_eq!(status, 200, "{body}");
    let link: Value = serde_json::from_str(&body).expect("JSON");
    let link = link["link"].as_str().expect("a name");
    let picture = base64::engine::general_purpose::STANDARD.decode(PICTURE).expect("Base64");
    let place = format!("/u/l/{link}/files/aaaaaaaa1?offset=0&size={}&name=a.png", picture.len());
    let (status, _, body) = send(&gateway, "POST", &place, cookie, &picture);
    assert_eq!((status, body.contains("\"done\":true")), (200, true), "{body}");
    phone.wait_to_hear(1_000.0, SOON);
    let id = gateway.conversations().first().map(conversation_id).expect("the call");
    let sent = wait_for_records(&mut gateway, &id, "ark.link.sent.v1", 1);
    assert_eq!(sent[0]["event"]["data"]["via"], "app", "short messages are not set up, and not tried");
    phone.wait_for_the_end(PATIENCE);
}
