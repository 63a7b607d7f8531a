//! Chat in web pages: a visitor in a real browser, an agent at the command line, and a gateway that dies in between.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use ark_tests::{
    kit::{Browser, Gateway, Page, SOON, Setup, TempDir, ark_binary, request, texts, tone_site},
    need,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket, client};

/// How long anything may take through a gateway and a browser on two busy cores.
const PATIENCE: Duration = Duration::from_secs(40);
const KEY: &str = "a key of the site, of which nobody knows";
/// What is in the widget.
const ROOT: &str = "document.querySelector('#ark').shadowRoot";

fn site(secrets: &TempDir) -> Setup {
    site_with(secrets, "")
}

/// The same with more lines of the channel.
fn site_with(secrets: &TempDir, channel: &str) -> Setup {
    let key = secrets.path().join("identify");
    std::fs::write(&key, KEY).expect("a temporary file");
    let mut setup = tone_site();
    setup.more = format!(
        "[[channel]]\nname = \"shop\"\nkind = \"web\"\nsecrets = {{ identify = {{ file = {key:?} }} }}\n{channel}\n[channel.settings]\n\
         origins = [\"https://shop.example\"]\nnames = {{ anna = \"安娜\" }}\ncall = \"95188\"\n\
         suggestions = [{{ zh = \"查订单\", en = \"Where is my order?\" }}, {{ zh = \"退款进度\", en = \"Refunds\" }}]\n"
    );
    setup
}

/// A visitor's page with the chat open.
fn visit(browser: &Browser, gateway: &Gateway, query: &str) -> Page {
    let mut page = browser.open(&format!("http://{}/chat?lang=zh&open{query}", gateway.web));
    page.wait_for(&format!("document.querySelector('#ark') && {ROOT}.querySelector('textarea')"), PATIENCE);
    page
}

fn reload(page: &mut Page) {
    page.reload();
    page.wait_for("document.querySelector('#ark') !== null", PATIENCE);
}

fn write(page: &mut Page, text: &str) {
    let text = json!(text);
    page.eval(&format!(
        "(() => {{ const box = {ROOT}.querySelector('textarea'); box.value = {text}; box.dispatchEvent(new Event('input')); \
         {ROOT}.querySelector('#send').click(); }})()"
    ));
}

fn wait_for_text(page: &mut Page, text: &str) {
    page.wait_for(&format!("{ROOT}.querySelector('#log').textContent.includes({})", json!(text)), PATIENCE);
}

/// The words of the visitor's own messages that are acknowledged, in their order.
fn own(page: &mut Page) -> Vec<String> {
    let found =
        page.eval(&format!("[...{ROOT}.querySelectorAll('.m.you:not(.wait) .p')].map((one) => one.textContent)"));
    found.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A token of the site's for its user.
fn signed(user: &str) -> String {
    let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs() + 600;
    let claims = json!({"sub": user, "name": "陈伟", "exp": until});
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(KEY.as_bytes()).expect("any length");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// Pictures of the page at a desk and on a phone, light and dark, for people to look at.
fn picture(page: &mut Page, name: &str) {
    let Some(folder) = std::env::var_os("ARK_SCREENSHOTS") else { return };
    for (of, size, phone) in [("desktop", (1_100, 800), false), ("phone", (390, 844), true)] {
        for (look, dark) in [("light", false), ("dark", true)] {
            page.looks(size, phone, dark);
            // Two frames, so that what is seen is what is.
            page.eval("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
            page.screenshot(&Path::new(&folder).join(format!("webchat-{name}-{of}-{look}.png")));
        }
    }
    page.looks((900, 900), false, false);
}

#[test]
fn a_visitor_and_an_agent_write_to_each_other() {
    need!("live_webchat", "chromium");
    let folder = TempDir::new("webchat");
    let gateway = Gateway::start(&site(&folder));
    let browser = Browser::start(440.0);
    let mut page = visit(&browser, &gateway, "");
    wait_for_text(&mut page, "需要什么帮助");
    picture(&mut page, "greeting");
    write(&mut page, "我那笔订单扣了两次款");
    page.wait_for(&format!("{ROOT}.querySelector('.m.you:not(.wait) small')"), PATIENCE);
    page.wait_for(&format!("{ROOT}.querySelector('#how').textContent.includes('已排队')"), PATIENCE);
    write(&mut page, "👍");

    // A picture, pasted: with its place in it, which nobody of the house is told.
    page.eval(&format!(
        "(async () => {{ const canvas = document.createElement('canvas'); canvas.width = 300; canvas.height = 180; \
         const pen = canvas.getContext('2d'); pen.fillStyle = '#c7d6e6'; pen.fillRect(0, 0, 300, 180); pen.fillStyle = '#0b5fa5'; \
         pen.font = '28px sans-serif'; pen.fillText('¥128.00 × 2', 60, 100); \
         const blob = await new Promise((done) => canvas.toBlob(done, 'image/png')); const data = new DataTransfer(); \
         data.items.add(new File([blob], '账单截图.png', {{ type: 'image/png' }})); \
         {ROOT}.querySelector('textarea').dispatchEvent(new ClipboardEvent('paste', {{ clipboardData: data, bubbles: true, cancelable: true }})); }})()"
    ));
    page.wait_for(&format!("{ROOT}.querySelector('.m.you:not(.wait) .pic img')?.naturalWidth === 300"), PATIENCE);
    let (id, messages) = gateway.wait_for_chat("ark.message.in.v1", 3, PATIENCE);
    assert_eq!(texts(&messages), ["我那笔订单扣了两次款", "👍"]);
    let image = &messages[2]["event"]["data"]["parts"][0];
    assert_eq!((&image["kind"], &image["media"]["width"]), (&json!("image"), &json!(300)), "{image}");
    let (_, entries) = gateway.wait_for_chat("ark.thread.v1", 1, PATIENCE);
    assert_eq!(entries.len(), 1);
    let entry = &entries[0]["event"]["data"]["entry"];
    assert!(entry["page"].as_str().is_some_and(|url| url.contains("/chat?lang=zh")), "{entry}");

    // The agent takes it, and is seen to type.
    let claimed = gateway.ask("POST", &format!("/api/v1/conversations/{id}/claim"), Some(&json!({"by": "anna"})));
    assert_eq!(claimed.status, 200, "{}", claimed.body);
    page.wait_for(&format!("{ROOT}.querySelector('#how').textContent.includes('安娜 为您服务')"), PATIENCE);
    let types = |by: &str, on: bool| {
        let body = json!({"by": by, "on": on});
        gateway.ask("POST", &format!("/api/v1/conversations/{id}/typing"), Some(&body)).status
    };
    assert_eq!(types("anna", true), 204);
    page.wait_for(&format!("!{ROOT}.querySelector('#dots').hidden"), PATIENCE);
    assert_eq!(types("anna", false), 204);
    page.wait_for(&format!("{ROOT}.querySelector('#dots').hidden"), PATIENCE);
    assert_eq!(types("wang", true), 422, "it is not theirs");

    // The agent answers at the command line.
    let config = gateway.folder().join("ark.toml");
    let said = Command::new(ark_binary())
        .args([
            "conversation",
            "reply",
            &id,
            "您好，我是安娜。打字说不清的话，也可以直接和我通话。",
            "--as",
            "anna",
            "--config",
        ])
        .arg(&config)
        .current_dir(gateway.folder())
        .output()
        .expect("ark");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    wait_for_text(&mut page, "我是安娜");
    page.wait_for(&format!("{ROOT}.querySelector('#how').textContent.includes('安娜 为您服务')"), PATIENCE);
    let (_, receipts) = gateway.wait_for_chat("ark.receipt.v1", 3, PATIENCE);
    let states: Vec<&str> = receipts.iter().filter_map(|one| one["event"]["data"]["state"].as_str()).collect();
    assert!(["sent", "delivered", "read"].iter().all(|state| states.contains(state)), "{states:?}");
    picture(&mut page, "talk");

    // A page that is loaded anew shows the same, once.
    reload(&mut page);
    page.wait_for(&format!("{ROOT}.querySelectorAll('.m').length >= 5"), PATIENCE);
    wait_for_text(&mut page, "我是安娜");
    assert_eq!(own(&mut page), ["我那笔订单扣了两次款", "👍"]);

    // While the box is closed, answers are counted.
    page.eval("ark.close()");
    assert!(gateway.reply(&id, "anna", None, "还在吗？").status < 300);
    page.wait_for(&format!("{ROOT}.querySelector('#badge').textContent === '1'"), PATIENCE);
    picture(&mut page, "badge");
    page.eval("ark.open()");
    page.wait_for(&format!("{ROOT}.querySelector('#badge').hidden"), SOON);
    let done = gateway.ask("POST", &format!("/api/v1/conversations/{id}/resolve"), Some(&json!({"by": "anna"})));
    assert!(done.status < 300, "{}", done.body);
    wait_for_text(&mut page, "本次服务已结束");
}

#[test]
fn a_network_that_breaks_and_a_gateway_that_dies_lose_and_double_nothing() {
    need!("live_webchat", "chromium");
    const EACH: usize = 12;
    let folder = TempDir::new("webchat");
    let mut gateway = Gateway::start(&site(&folder));
    let browser = Browser::start(440.0);
    let mut page = visit(&browser, &gateway, "");
    for n in 0..EACH {
        write(&mut page, &format!("a{n}"));
    }
    // Some are on their way, some are kept, some acknowledged.
    gateway.process.kill();
    for n in 0..EACH {
        write(&mut page, &format!("b{n}"));
    }
    page.wait_for(&format!("!{ROOT}.querySelector('#off').hidden"), PATIENCE);
    picture(&mut page, "offline");
    let mut gateway = gateway.start_again();
    page.wait_for(
        &format!("{ROOT}.querySelectorAll('.m.you').length === {0} && !{ROOT}.querySelector('.m.wait')", 2 * EACH),
        PATIENCE,
    );
    for n in 0..EACH {
        write(&mut page, &format!("c{n}"));
    }
    let expected: Vec<String> =
        ["a", "b", "c"].iter().flat_map(|row| (0..EACH).map(move |n| format!("{row}{n}"))).collect();
    let (id, messages) = gateway.wait_for_chat("ark.message.in.v1", 3 * EACH, PATIENCE);
    assert_eq!(texts(&messages), expected, "each once and in order");
    page.wait_for(&format!("{ROOT}.querySelectorAll('.m.you:not(.wait)').length === {}", 3 * EACH), PATIENCE);
    assert_eq!(own(&mut page), expected);

    // What was typed while the gateway was away survives the page, too; so does a draft.
    gateway.process.kill();
    write(&mut page, "typed while nobody was there");
    page.eval(&format!(
        "(() => {{ const box = {ROOT}.querySelector('textarea'); box.value = '草稿'; box.dispatchEvent(new Event('input')); }})()"
    ));
    let kept = page.eval("localStorage['ark.shop']");
    assert!(
        kept.as_str().is_some_and(|kept| kept.contains("typed while nobody was there") && kept.contains("草稿")),
        "{kept}"
    );
    let gateway = gateway.start_again();
    reload(&mut page);
    page.wait_for(&format!("{ROOT}.querySelector('textarea').value === '草稿'"), PATIENCE);
    let (_, messages) = gateway.wait_for_chat("ark.message.in.v1", 3 * EACH + 1, PATIENCE);
    assert_eq!(texts(&messages).last().copied(), Some("typed while nobody was there"));
    assert!(gateway.reply(&id, "anna", None, "都收到了").status < 300);
    wait_for_text(&mut page, "都收到了");
}

#[test]
fn a_page_without_sockets_chats_by_requests() {
    need!("live_webchat", "chromium");
    let folder = TempDir::new("webchat");
    let mut gateway = Gateway::start(&site(&folder));
    let browser = Browser::start(440.0);
    let mut page = visit(&browser, &gateway, "&transport=sse");
    for n in 0..5 {
        write(&mut page, &format!("s{n}"));
    }
    let (id, messages) = gateway.wait_for_chat("ark.message.in.v1", 5, PATIENCE);
    assert_eq!(texts(&messages), ["s0", "s1", "s2", "s3", "s4"]);
    assert!(gateway.reply(&id, "anna", None, "收到").status < 300);
    wait_for_text(&mut page, "收到");
    gateway.process.kill();
    write(&mut page, "s5");
    let gateway = gateway.start_again();
    let (_, messages) = gateway.wait_for_chat("ark.message.in.v1", 6, PATIENCE);
    assert_eq!(texts(&messages), ["s0", "s1", "s2", "s3", "s4", "s5"]);
}

#[test]
fn a_site_says_who_its_visitor_is_and_the_next_one_reads_nothing_of_it() {
    need!("live_webchat", "chromium");
    let folder = TempDir::new("webchat");
    let gateway = Gateway::start(&site(&folder));
    let browser = Browser::start(440.0);
    let mut page = visit(&browser, &gateway, "");
    page.eval(&format!("ark.identify({})", json!(signed("u-77"))));
    write(&mut page, "我的会员卡");
    let (id, identities) = gateway.wait_for_chat("ark.identity.v1", 1, PATIENCE);
    let identity = &identities[0]["event"]["data"];
    assert_eq!(identity["assurance"], "sso");
    assert_eq!(identity["keys"][0]["kind"], "web_visitor");
    let (_, linked) = gateway.wait_for_chat("ark.person.linked.v1", 1, PATIENCE);
    assert_eq!(linked[0]["event"]["data"]["assurance"], "sso");
    assert!(gateway.reply(&id, "anna", None, "陈先生，您好").status < 300);
    wait_for_text(&mut page, "陈先生");
    // Somebody else logs in at the same browser.
    page.eval(&format!("ark.identify({})", json!(signed("u-78"))));
    page.wait_for(&format!("!{ROOT}.querySelector('#log').textContent.includes('陈先生')"), PATIENCE);
    write(&mut page, "另一个人");
    let until = Instant::now() + PATIENCE;
    loop {
        let page = gateway.ask("GET", "/api/v1/conversations?limit=500", None).json();
        let list = page["conversations"].as_array().expect("a list");
        if list.iter().filter(|one| one["kind"] == "chat").count() == 2 {
            break;
        }
        assert!(Instant::now() < until, "another conversation: {page}");
        gateway.process.wait_for_news(Duration::from_millis(20));
    }
}

/// A socket as a program opens it.
fn socket(gateway: &Gateway, origin: Option<&str>) -> Result<WebSocket<std::net::TcpStream>, u16> {
    let mut ask = format!("ws://{}/chat/shop/socket", gateway.web).into_client_request().expect("a request");
    if let Some(origin) = origin {
        ask.headers_mut().insert("origin", origin.parse().expect("a header"));
    }
    let stream = std::net::TcpStream::connect(gateway.web).expect("the gateway");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
    match client(ask, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

fn hear(socket: &mut WebSocket<std::net::TcpStream>, kind: &str) -> Value {
    loop {
        if let Message::Text(text) = socket.read().expect("the gateway says something") {
            let value: Value = serde_json::from_str(text.as_str()).expect("JSON");
            if value["type"] == kind {
                return value;
            }
        }
    }
}

fn say(socket: &mut WebSocket<std::net::TcpStream>, message: &Value) {
    socket.send(Message::text(message.to_string())).expect("the gateway listens");
}

#[test]
fn strangers_get_in_nowhere() {
    let folder = TempDir::new("webchat");
    let gateway = Gateway::start(&site(&folder));
    // Another site's page, also one that looks like ours.
    for origin in ["https://evil.example", "https://shop.example.evil.example", "http://shop.example", "null"] {
        assert_eq!(socket(&gateway, Some(origin)).err(), Some(403), "{origin}");
    }
    let mut one = socket(&gateway, Some("https://shop.example")).expect("a site that may");
    say(&mut one, &json!({"type": "hello", "visit": "a"}));
    let token = hear(&mut one, "welcome")["token"].as_str().expect("a new visitor's token").to_owned();
    hear(&mut one, "live");
    say(&mut one, &json!({"type": "send", "id": "m1", "text": "hi"}));
    assert_eq!(hear(&mut one, "ack")["duplicate"], false);
    // The same again, also by another connection: once.
    say(&mut one, &json!({"type": "send", "id": "m1", "text": "hi"}));
    assert_eq!(hear(&mut one, "ack")["duplicate"], true);
    let mut two = socket(&gateway, None).expect("a program");
    say(&mut two, &json!({"type": "hello", "token": token, "visit": "a"}));
    assert_eq!(hear(&mut two, "item")["parts"][0]["text"], "hi");
    say(&mut two, &json!({"type": "send", "id": "m1", "text": "hi"}));
    assert_eq!(hear(&mut two, "ack")["duplicate"], true);
    let (id, messages) = gateway.wait_for_chat("ark.message.in.v1", 1, PATIENCE);
    assert_eq!(messages.len(), 1);
    // The token is nowhere but at the visitor's.
    let log = gateway.ask("GET", &format!("/api/v1/conversations/{id}/events?limit=500&numbers=full"), None).body;
    assert!(!log.contains(&token) && !log.contains(&token[3..20]), "{log}");

    for (hello, code) in [
        (json!({"type": "hello", "token": "v1.guessed"}), "token"),
        (json!({"type": "send", "id": "m1", "text": "hi"}), "hello"),
        (json!({"type": "nonsense"}), "form"),
    ] {
        let mut socket = socket(&gateway, None).expect("a program");
        say(&mut socket, &hello);
        assert_eq!(hear(&mut socket, "error")["code"], code, "{hello}");
    }
    // Too much at once is told so, and nothing of it is lost in silence.
    let mut told = Vec::new();
    for n in 0..40 {
        say(&mut two, &json!({"type": "send", "id": format!("f{n}"), "text": "flood"}));
        let answer = loop {
            let Message::Text(text) = two.read().expect("an answer") else { continue };
            let value: Value = serde_json::from_str(text.as_str()).expect("JSON");
            if value["id"] == format!("f{n}") && matches!(value["type"].as_str(), Some("ack" | "nack")) {
                break value;
            }
        };
        told.push(answer);
    }
    let refused = told.iter().find(|one| one["type"] == "nack").expect("a bound");
    assert_eq!((&refused["code"], &refused["again"]), (&json!("pace"), &json!(true)));
    assert!(refused["after_ms"].as_u64().is_some_and(|wait| wait > 0));

    let config = request(gateway.web, "GET", "/chat/shop/config", None, None).expect("an answer");
    assert_eq!(config.json()["call"], true);
    assert_eq!(request(gateway.web, "GET", "/chat/nobody/config", None, None).expect("an answer").status, 404);
    let missing = "/chat/shop/files/0123456789abcdefghjkmnpqrs";
    assert_eq!(request(gateway.web, "GET", missing, None, None).expect("an answer").status, 404);
}

/// The button beside the title: the hotline in the chat, and the words stay.
#[test]
fn a_visitor_calls_out_of_the_chat() {
    need!("live_webchat", "chromium");
    let folder = TempDir::new("webchat");
    let gateway = Gateway::start(&site(&folder));
    let browser = Browser::start(440.0);
    let mut page = visit(&browser, &gateway, "");
    write(&mut page, "我想打电话说");
    let (id, _) = gateway.wait_for_chat("ark.message.in.v1", 1, PATIENCE);
    page.eval(&format!("{ROOT}.querySelector('header button[aria-label=语音通话]').click()"));
    page.wait_for("window.arkCall && arkCall.state === 'up'", PATIENCE);
    page.wait_to_hear(440.0, PATIENCE);
    page.wait_for(&format!("{ROOT}.querySelector('#call span').textContent.includes('通话中')"), PATIENCE);
    picture(&mut page, "call");
    write(&mut page, "边说边写");
    wait_for_text(&mut page, "边说边写");
    // The chat's timeline says that its visitor calls, and the call says who calls.
    let (_, calls) = gateway.wait_for_chat("ark.call.v1", 1, PATIENCE);
    assert_eq!(calls[0]["event"]["data"]["mode"], "webrtc");
    let up = gateway.ask("GET", "/api/v1/calls", None).json();
    assert_eq!(up["calls"].as_array().map(Vec::len), Some(1), "{up}");
    assert_eq!(up["calls"][0]["conversation"], json!(id), "the call is the chat's: {up}");
    let legs = || {
        let state = gateway.ask("GET", &format!("/api/v1/conversations/{id}"), None).json();
        let leg = |leg: &Value| {
            format!("{} {}", leg["medium"].as_str().unwrap_or("call"), leg["phase"].as_str().unwrap_or(""))
        };
        state["legs"].as_array().into_iter().flatten().map(leg).collect::<Vec<_>>()
    };
    assert_eq!(legs(), ["chat active", "call active"]);
    page.eval(&format!("{ROOT}.querySelector('#end').click()"));
    page.wait_for(&format!("{ROOT}.querySelector('#call').hidden"), PATIENCE);
    gateway.wait_until_idle(PATIENCE);
    gateway.wait_for_chat("ark.call.ended.v1", 1, PATIENCE);
    assert_eq!(legs(), ["chat active", "call ended"], "hanging up keeps the words");
    assert!(gateway.reply(&id, "anna", None, "再联系").status < 300);
    wait_for_text(&mut page, "再联系");
}

/// Who calls before they have written anything, and then writes, is one customer with one concern.
#[test]
fn who_calls_first_writes_into_the_call() {
    need!("live_webchat", "chromium");
    let folder = TempDir::new("webchat");
    let gateway = Gateway::start(&site(&folder));
    let browser = Browser::start(440.0);
    let mut page = visit(&browser, &gateway, "");
    let call = format!("{ROOT}.querySelector('header button[aria-label=语音通话]').click()");
    page.eval(&call);
    page.wait_for("window.arkCall && arkCall.state === 'up'", PATIENCE);
    write(&mut page, "我边打边写");
    // There is one conversation, or this fails.
    gateway.wait_for_event("message.in", PATIENCE);
    let up = gateway.ask("GET", "/api/v1/calls", None).json();
    let id = up["calls"][0]["conversation"].as_str().expect("a call is up").to_owned();
    wait_for_text(&mut page, "我边打边写");
    page.wait_for(&format!("{ROOT}.querySelector('.m.you:not(.wait) small')"), PATIENCE);
    page.eval(&format!("{ROOT}.querySelector('#end').click()"));
    gateway.wait_until_idle(PATIENCE);
    gateway.wait_for_event("call.ended", PATIENCE);
    assert!(gateway.reply(&id, "anna", None, "请说").status < 300, "hanging up keeps the words");
    wait_for_text(&mut page, "请说");
    assert_eq!(gateway.conversations().len(), 1);
}

/// As seen on a busy machine: the page tells of what it read when its answer is written already.
#[test]
fn what_a_page_read_late_begins_nothing() {
    let folder = TempDir::new("webchat");
    let mut setup = site(&folder);
    setup.more.push_str("\n[survey]\n");
    let gateway = Gateway::start(&setup);
    let mut one = socket(&gateway, None).expect("a program");
    say(&mut one, &json!({"type": "hello", "visit": "a"}));
    let token = hear(&mut one, "welcome")["token"].clone();
    say(&mut one, &json!({"type": "send", "id": "m1", "text": "发票怎么开？"}));
    let (id, _) = gateway.wait_for_chat("ark.message.in.v1", 1, PATIENCE);
    let by = json!({"by": "anna"});
    for what in ["claim", "resolve"] {
        let done = gateway.ask("POST", &format!("/api/v1/conversations/{id}/{what}"), Some(&by));
        assert!(done.status < 300, "{what}: {}", done.body);
    }
    let question = loop {
        let item = hear(&mut one, "item");
        if item["from"] == "system" {
            break item["id"].clone();
        }
    };
    say(&mut one, &json!({"type": "send", "id": "m2", "text": "5"}));
    gateway.wait_for_chat("ark.survey.answered.v1", 1, PATIENCE);
    say(&mut one, &json!({"type": "read", "ids": [question]}));
    let thanks = loop {
        let item = hear(&mut one, "item");
        if item["from"] == "system" {
            break item;
        }
    };
    assert!(thanks["parts"][0]["text"].as_str().is_some_and(|text| text.contains("谢谢")), "{thanks}");
    let (at, receipts) = gateway.wait_for_chat("ark.receipt.v1", 1, PATIENCE);
    assert_eq!((at.as_str(), &receipts[0]["event"]["data"]["message"]), (id.as_str(), &question));
    // The next visit of the same visitor reads the same conversation.
    let mut two = socket(&gateway, None).expect("a program");
    say(&mut two, &json!({"type": "hello", "visit": "b", "token": token}));
    assert_eq!(hear(&mut two, "item")["parts"][0]["text"], "发票怎么开？");
}

/// A network that lets no voice through is no dead end: once more, or on in writing; on the page that calls, by telephone or in the chat.
#[test]
fn a_call_that_finds_no_road_leaves_the_visitor_other_ways() {
    need!("live_webchat", "chromium");
    let folder = TempDir::new("webchat");
    let mut setup = site(&folder);
    // What pages are told leads nowhere, and Ark looks for no road of its own.
    setup.more.push_str("\n[webrtc]\nlisten = [\"127.0.0.1\"]\nlite = true\npublic_address = \"192.0.2.1\"\n");
    let gateway = Gateway::start(&setup);
    let browser = Browser::start(440.0);
    let mut page = visit(&browser, &gateway, "");
    write(&mut page, "我想打电话说");
    gateway.wait_for_chat("ark.message.in.v1", 1, PATIENCE);
    page.eval(&format!("{ROOT}.querySelector('header button[aria-label=语音通话]').click()"));
    page.wait_for(&format!("{ROOT}.querySelector('.else') !== null"), PATIENCE);
    let offered =
        page.eval(&format!("{ROOT}.querySelector('.else').textContent")).as_str().unwrap_or_default().to_owned();
    assert!(offered.contains("语音没有连通") && offered.contains("再试一次"), "{offered}");
    picture(&mut page, "no-road");
    page.eval(&format!(
        "[...{ROOT}.querySelectorAll('.else button')].find((one) => one.textContent === '继续打字').click()"
    ));
    page.wait_for(
        &format!("{ROOT}.querySelector('.else') === null && {ROOT}.activeElement.tagName === 'TEXTAREA'"),
        PATIENCE,
    );
    write(&mut page, "那就写吧");
    gateway.wait_for_chat("ark.message.in.v1", 2, PATIENCE);

    let wanted = json!({ "hotline": "95188", "from": "u-77" });
    let token =
        gateway.ask("POST", "/api/v1/webrtc/tokens", Some(&wanted)).json()["token"].as_str().unwrap().to_owned();
    let mut call = browser.open(&format!("http://{}/call#token={token}", gateway.web));
    call.wait_for("window.arkCall && arkCall.state === 'ready'", PATIENCE);
    call.click("#call");
    call.wait_for("!document.querySelector('#else').hidden", PATIENCE);
    assert_eq!(call.eval("document.querySelector('#dial').getAttribute('href')"), "tel:95188");
    call.wait_for("!document.querySelector('#write').hidden && !document.querySelector('#call').hidden", PATIENCE);
    picture(&mut call, "no-road-call");
}

const PLAN: &str = r#"
schema = "ark.dialplan/1"
name = "shop-chat"
entry = "main"
[rules]
human_target = "people"
[prompts]
main = { zh = "您好！请选择您要办理的业务，人工请按0。", en = "Hello! What can we do for you? Press 0 for a person." }
wrong = { zh = "没有看懂。", en = "We did not get that." }
number = { zh = "请输入订单号，人工请按0。", en = "Your order number, or 0 for a person." }
read = { zh = "订单{order}，对吗？人工请按0。", en = "Order {order}, is that right? 0 for a person." }
hold = { zh = "正在为您转接人工。", en = "One moment: a person comes." }
place = { zh = "您排在第{position}位，预计等待{wait}。", en = "You are number {position}, about {wait}." }
longer = { zh = "比预计的要久。", en = "It takes longer." }
nobody = { zh = "现在没有人。请留言。", en = "Nobody is free. Leave a message." }
bye = { zh = "再见。", en = "Goodbye." }
[state.main]
do = "menu"
prompt = "main"
invalid = "wrong"
keys = { 1 = "number", 2 = "refund" }
on_timeout = "people"
[state.number]
do = "gather"
label = { zh = "查订单", en = "My order" }
prompt = "number"
min = 4
max = 8
into = "order"
confirm = "read"
next = "people"
on_timeout = "people"
[state.refund]
do = "set"
label = { zh = "退款进度", en = "A refund" }
vars = { topic = "refund" }
next = "people"
[state.people]
do = "queue"
queue = "general"
greeting = "hold"
prompt = "place"
longer = "longer"
keys = { 1 = "message" }
on_timeout = "message"
[state.message]
do = "record"
label = { zh = "留言", en = "Leave a message" }
prompt = "nobody"
next = "bye"
[state.bye]
do = "hangup"
prompt = "bye"
"#;

/// The last card's buttons.
fn buttons(page: &mut Page) -> Vec<String> {
    let found = page.eval(&format!(
        "[...([...{ROOT}.querySelectorAll('.card')].pop()?.querySelectorAll('.chips button') ?? [])].map((one) => one.textContent)"
    ));
    found.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn press(page: &mut Page, label: &str) {
    let label = json!(label);
    page.eval(&format!(
        "[...[...{ROOT}.querySelectorAll('.card')].pop().querySelectorAll('.chips button')].find((one) => one.textContent === {label}).click()"
    ));
}

/// The plan is the chat's entry: its menu has buttons, it goes on where it was after the gateway has died, and it leads to a person,
/// after whose coming it is silent.
#[test]
fn a_plan_meets_the_visitor_and_leads_to_a_person() {
    need!("live_webchat", "chromium");
    let folder = TempDir::new("webchat");
    let plan = folder.path().join("shop-chat.toml");
    std::fs::write(&plan, PLAN).expect("a temporary file");
    let mut gateway = Gateway::start(&site_with(&folder, &format!("plan = {plan:?}")));
    let browser = Browser::start(440.0);
    let mut page = visit(&browser, &gateway, "");
    write(&mut page, "在吗");
    wait_for_text(&mut page, "请选择您要办理的业务");
    assert_eq!(buttons(&mut page), ["查订单", "退款进度", "转人工"]);
    page.wait_for(&format!("{ROOT}.querySelector('#how').textContent.includes('智能助手')"), PATIENCE);
    picture(&mut page, "plan");
    press(&mut page, "查订单");
    wait_for_text(&mut page, "请输入订单号");
    gateway.process.kill();
    write(&mut page, "20261");
    let gateway = gateway.start_again();
    wait_for_text(&mut page, "订单20261，对吗");
    assert_eq!(buttons(&mut page), ["正确", "重新输入", "转人工"]);
    press(&mut page, "正确");
    wait_for_text(&mut page, "您排在第1位");
    page.wait_for(&format!("{ROOT}.querySelector('#how').textContent.includes('下一位就是您')"), PATIENCE);
    picture(&mut page, "plan-queue");
    let (id, messages) = gateway.wait_for_chat("ark.message.in.v1", 4, PATIENCE);
    assert_eq!(texts(&messages), ["在吗", "查订单", "20261", "正确"]);
    let claimed = gateway.ask("POST", &format!("/api/v1/conversations/{id}/claim"), Some(&json!({"by": "anna"})));
    assert_eq!(claimed.status, 200, "{}", claimed.body);
    page.wait_for(&format!("{ROOT}.querySelector('#how').textContent.includes('安娜 为您服务')"), PATIENCE);
    write(&mut page, "1");
    assert!(gateway.reply(&id, "anna", None, "您好，我来看一下").status < 300);
    wait_for_text(&mut page, "我来看一下");
    let (_, out) = gateway.wait_for_chat("ark.message.out.v1", 5, PATIENCE);
    let roles: Vec<&str> = out.iter().filter_map(|one| one["event"]["data"]["sender"]["role"].as_str()).collect();
    assert_eq!(roles, ["bot", "bot", "bot", "bot", "agent"], "a plan is silent when a person has come");
}

/// The button below the greeting does what the plan's way to a person does, at once.
#[test]
fn the_button_for_a_person_leads_past_the_menu() {
    need!("live_webchat", "chromium");
    let folder = TempDir::new("webchat");
    let plan = folder.path().join("shop-chat.toml");
    std::fs::write(&plan, PLAN).expect("a temporary file");
    let gateway = Gateway::start(&site_with(&folder, &format!("plan = {plan:?}")));
    let browser = Browser::start(440.0);
    let mut page = visit(&browser, &gateway, "");
    page.wait_for(&format!("{ROOT}.querySelector('#asks .main')"), PATIENCE);
    page.eval(&format!("{ROOT}.querySelector('#asks .main').click()"));
    wait_for_text(&mut page, "您排在第1位");
    let (id, out) = gateway.wait_for_chat("ark.message.out.v1", 1, PATIENCE);
    assert_eq!(out.len(), 1, "no menu before it: {out:?}");
    let state = gateway.ask("GET", &format!("/api/v1/conversations/{id}"), None).json();
    assert_eq!(state["owner"], json!("queue:general"), "{state}");
    // Nobody comes: a message is left, and waits for a person.
    assert_eq!(buttons(&mut page), ["留言"]);
    press(&mut page, "留言");
    wait_for_text(&mut page, "请留言");
    write(&mut page, "请回复我退款进度");
    wait_for_text(&mut page, "再见");
    page.wait_for(&format!("{ROOT}.querySelector('#how').textContent.includes('下一位就是您')"), PATIENCE);
    picture(&mut page, "plan-message");
}

/// The question comes with the end of the service, and its answer opens nothing.
#[test]
fn who_was_served_says_once_whether_they_were_content() {
    need!("live_webchat", "chromium");
    let folder = TempDir::new("webchat");
    let mut setup = site(&folder);
    setup.more.push_str("\n[survey]\n");
    let gateway = Gateway::start(&setup);
    let browser = Browser::start(440.0);
    let mut page = visit(&browser, &gateway, "");
    write(&mut page, "发票怎么开？");
    let (id, _) = gateway.wait_for_chat("ark.message.in.v1", 1, PATIENCE);
    let by = json!({"by": "anna"});
    for what in ["claim", "resolve"] {
        let done = gateway.ask("POST", &format!("/api/v1/conversations/{id}/{what}"), Some(&by));
        assert!(done.status < 300, "{what}: {}", done.body);
    }
    wait_for_text(&mut page, "您对这次服务满意吗");
    wait_for_text(&mut page, "本次服务已结束");
    let answers = buttons(&mut page);
    assert_eq!((answers.len(), answers[0].as_str()), (5, "5 非常满意 very good"));
    picture(&mut page, "survey");
    press(&mut page, &answers[0]);
    wait_for_text(&mut page, "谢谢您的评价");
    let (_, scores) = gateway.wait_for_chat("ark.survey.answered.v1", 1, PATIENCE);
    assert_eq!(scores[0]["event"]["data"]["score"], 5);
    let state = gateway.ask("GET", &format!("/api/v1/conversations/{id}"), None).json();
    assert!(state["ended"].is_string() && state["survey"]["score"] == 5, "{state}");
}
