//! The whole story at real desks: two agents in browsers, a caller by SIP, a visitor in the chat. Judged by what is heard and read at each end.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use ark_tests::{
    kit::{Browser, Gateway, Page, Phone, Setup, conversation_id, dominant_hz, skip, tone_site},
    need,
};
use serde_json::json;

/// How long anything may take through a gateway and three pages on two busy cores.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the microphones and the caller's telephone hear.
const ANNA: f64 = 700.0;
const BEN: f64 = 1_100.0;
const CALLER: f64 = 1_500.0;
const PASSWORD: &str = "correct horse battery";
/// Lets the test hear what the desk hears, and its tone be no noise.
const EARS: &str = "(() => { window.arkCall = { remote: null }; \
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices); \
    navigator.mediaDevices.getUserMedia = () => ask({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } }); \
    const Peer = window.RTCPeerConnection; \
    window.RTCPeerConnection = function (settings) { const peer = new Peer(settings); \
        peer.addEventListener('track', (event) => { arkCall.remote = new MediaStream([event.track]); }); return peer; }; })()";

fn site() -> Setup {
    let mut setup = tone_site();
    setup.plan = setup.plan.replace("max_wait = \"30s\"", "max_wait = \"5m\"");
    setup.record = true;
    setup.more =
        "[webrtc]\nlisten = [\"127.0.0.1\"]\nports = \"30000-31999\"\n\n[[channel]]\nname = \"shop\"\nkind = \"web\"\n"
            .to_owned();
    setup
}

fn account(gateway: &Gateway, name: &str, display: &str) {
    account_as(gateway, name, display, &["agent"], &["general"]);
}

fn account_as(gateway: &Gateway, name: &str, display: &str, roles: &[&str], groups: &[&str]) {
    let wanted = json!({"name": name, "password": PASSWORD, "display": display, "roles": roles, "groups": groups});
    let answer = gateway.ask("POST", "/api/v1/accounts", Some(&wanted));
    assert!((200..300).contains(&answer.status), "{}", answer.body);
}

/// Somebody signs in at a desk, as people do.
fn desk(gateway: &Gateway, browser: &Browser, name: &str) -> Page {
    let mut page = browser.open(&format!("http://{}/", gateway.web));
    page.wait_for("document.querySelector('#password') !== null", PATIENCE);
    page.always(EARS);
    type_in(&mut page, "#name", name);
    type_in(&mut page, "#password", PASSWORD);
    page.click(".gate-card button[type=submit]");
    page.wait_for("document.querySelector('.rail .me') !== null", PATIENCE);
    page
}

/// They say that they take conversations.
fn begin_work(page: &mut Page) {
    page.click(".rail .me");
    page.wait_for("document.querySelector('.stack button') !== null", PATIENCE);
    page.click(".stack button");
    page.wait_for("document.querySelector('.rail .me.ready') !== null", PATIENCE);
}

fn type_in(page: &mut Page, field: &str, text: &str) {
    let (field, text) = (json!(field), json!(text));
    page.eval(&format!(
        "(() => {{ const field = document.querySelector({field}); field.focus(); field.value = {text}; \
         field.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()"
    ));
}

/// Takes what is offered.
fn take(page: &mut Page, kind: &str) {
    let button = if kind == "call" { ".offer .take" } else { ".offer .primary" };
    page.wait_for(&format!("document.querySelector('{button}') !== null"), PATIENCE);
    page.click(button);
}

fn sees(page: &mut Page, text: &str) {
    page.wait_for(&format!("document.querySelector('.talk')?.textContent.includes({})", json!(text)), PATIENCE);
}

/// Pictures for people to look at.
fn picture(page: &mut Page, name: &str) {
    let Some(folder) = std::env::var_os("ARK_SCREENSHOTS") else { return };
    page.looks((1_440, 900), false, false);
    page.eval("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
    page.screenshot(&Path::new(&folder).join(format!("workbench-{name}.png")));
}

/// A caller who talks with Anna.
fn talk(gateway: &Gateway, anna: &mut Page) -> Phone {
    let mut phone = Phone::new("chen");
    phone.say(Some(CALLER));
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, PATIENCE);
    phone.press('0');
    anna.wait_for("document.querySelector('.offer .take') !== null", PATIENCE);
    let clicked = Instant::now();
    anna.click(".offer .take");
    phone.wait_to_hear(ANNA, PATIENCE);
    anna.wait_to_hear(CALLER, PATIENCE);
    let _ =
        writeln!(std::io::stderr(), "from the click until both hear each other: {} ms", clicked.elapsed().as_millis());
    anna.wait_for("document.querySelector('.call .t') !== null", PATIENCE);
    phone
}

/// Whether this ark has the desk.
fn has_desk(gateway: &Gateway) -> bool {
    let has = !gateway.ask("GET", "/", None).body.contains("npm run build");
    if !has {
        skip("live_workbench", "this ark was built without the desk (npm is missing)");
    }
    has
}

#[test]
fn the_sound_of_a_call_outlives_its_page_and_goes_to_another_tab() {
    need!("live_workbench", "chromium");
    let gateway = Gateway::start(&site());
    if !has_desk(&gateway) {
        return;
    }
    account(&gateway, "anna", "Anna");
    let annas = Browser::start(ANNA);
    let mut anna = desk(&gateway, &annas, "anna");
    begin_work(&mut anna);
    let mut phone = talk(&gateway, &mut anna);
    let address = anna.eval("location.href");

    // The page is loaded anew: the caller hears music, and then Anna again.
    let began = Instant::now();
    anna.reload();
    phone.wait_to_hear(ANNA, PATIENCE);
    let _ = writeln!(std::io::stderr(), "sound after a reload: {} ms", began.elapsed().as_millis());
    anna.wait_to_hear(CALLER, PATIENCE);
    anna.wait_for("document.querySelector('.call .bars') !== null", PATIENCE);
    let call = &gateway.ask("GET", "/api/v1/calls", None).json()["calls"][0];
    assert_eq!(call["legs"].as_array().map(Vec::len), Some(2), "the same legs: {call}");

    // A second tab sees the call, and its sound stays where it is until it is asked for.
    let mut second = annas.open(address.as_str().unwrap());
    second.always(EARS);
    second.wait_for("document.querySelector('.sound-here') !== null", PATIENCE);
    picture(&mut second, "second-tab");
    phone.wait_to_hear(ANNA, PATIENCE);
    second.click(".sound-here");
    second.wait_to_hear(CALLER, PATIENCE);
    phone.wait_to_hear(ANNA, PATIENCE);
    anna.wait_for("document.querySelector('.sound-here') !== null", PATIENCE);

    // A tab that is closed for good leaves the other one, which takes the call up.
    second.close();
    anna.eval("document.querySelector('.sound-here').click()");
    anna.wait_to_hear(CALLER, PATIENCE);
    phone.wait_to_hear(ANNA, PATIENCE);

    phone.hang_up();
    anna.wait_for("document.querySelector('.call .t') === null", PATIENCE);
    gateway.wait_for_event("call.ended", PATIENCE);
    let calls = gateway.wait_for_ended(1, PATIENCE);
    let timeline = gateway.timeline(&conversation_id(&calls[0]));
    let counts = ["call.answered", "leg.bridged", "leg.held", "leg.resumed", "leg.unbridged", "call.ended"];
    let counts = counts.map(|name| timeline.count(name));
    assert_eq!(counts, [2, 1, 3, 3, 1, 2], "each once: {:?}", timeline.names());
}

#[test]
fn a_supervisor_at_a_browser_listens_whispers_joins_in_and_takes_over() {
    need!("live_workbench", "chromium");
    let gateway = Gateway::start(&site());
    if !has_desk(&gateway) {
        return;
    }
    account(&gateway, "anna", "Anna");
    account_as(&gateway, "sue", "Sue", &["agent", "supervisor"], &[]);
    let (annas, sues) = (Browser::start(ANNA), Browser::start(BEN));
    let mut anna = desk(&gateway, &annas, "anna");
    begin_work(&mut anna);
    let mut phone = talk(&gateway, &mut anna);
    let mut sue = desk(&gateway, &sues, "sue");
    sue.eval(
        "[...document.querySelectorAll('.rail button')].find((one) => /Wallboard|Board|看板/.test(one.getAttribute('aria-label'))).click()",
    );
    sue.wait_for("document.querySelector('.supervised button') !== null", PATIENCE);
    let press = |sue: &mut Page, mode: &str| sue.click(&format!(".supervised [data-mode={mode}]"));
    let is = |sue: &mut Page, mode: &str| {
        let pressed = format!("document.querySelector('.supervised [aria-pressed=true][data-mode={mode}]') !== null");
        sue.wait_for(&pressed, PATIENCE);
    };
    let mute = "document.querySelector('.call [aria-keyshortcuts=m]').click()";

    // Listen: the browser's telephone is answered by the click. A page tells one voice at a time, so one of them is silent.
    press(&mut sue, "listen");
    is(&mut sue, "listen");
    anna.eval(mute);
    sue.wait_to_hear(CALLER, PATIENCE);
    phone.say(None);
    anna.eval(mute);
    sue.wait_to_hear(ANNA, PATIENCE);
    phone.wait_to_hear(ANNA, PATIENCE);

    press(&mut sue, "whisper");
    is(&mut sue, "whisper");
    anna.wait_to_hear(BEN, PATIENCE);
    let before = phone.heard().len();
    phone.talk_for(Duration::from_secs(1));
    let heard = dominant_hz(&phone.heard()[before..], 8_000).unwrap_or_default();
    assert!((heard - ANNA).abs() < 20.0, "a whisper is the agent's: {heard} Hz");

    press(&mut sue, "barge");
    is(&mut sue, "barge");
    anna.eval(mute);
    phone.wait_to_hear(BEN, PATIENCE);
    picture(&mut sue, "board");

    // Loaded anew, the supervisor's page is in the talk again.
    sue.reload();
    phone.wait_to_hear(BEN, PATIENCE);
    sue.eval(
        "[...document.querySelectorAll('.rail button')].find((one) => /Wallboard|Board|看板/.test(one.getAttribute('aria-label'))).click()",
    );
    is(&mut sue, "barge");
    press(&mut sue, "take_over");
    anna.wait_for("document.querySelector('.call .t') === null", PATIENCE);
    phone.say(Some(CALLER));
    sue.wait_to_hear(CALLER, PATIENCE);
    phone.wait_to_hear(BEN, PATIENCE);
    phone.hang_up();
    let calls = gateway.wait_for_ended(1, PATIENCE);
    let timeline = gateway.timeline(&conversation_id(&calls[0]));
    assert_eq!(timeline.all("call.supervised", "mode"), ["listen", "whisper", "barge", "take_over"]);
}

#[test]
fn a_caller_and_a_visitor_are_served_at_two_desks_and_one_goes_from_hand_to_hand() {
    need!("live_workbench", "chromium");
    let gateway = Gateway::start(&site());
    if !has_desk(&gateway) {
        return;
    }
    account(&gateway, "anna", "Anna");
    account(&gateway, "ben", "Ben");
    let (annas, bens) = (Browser::start(ANNA), Browser::start(BEN));
    let mut anna = desk(&gateway, &annas, "anna");
    begin_work(&mut anna);

    // A caller waits, and Anna talks with them.
    let mut phone = Phone::new("chen");
    phone.say(Some(CALLER));
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, PATIENCE);
    phone.press('0');
    take(&mut anna, "call");
    phone.wait_to_hear(ANNA, PATIENCE);
    anna.wait_to_hear(CALLER, PATIENCE);
    anna.wait_for("document.querySelector('.call .t') !== null", PATIENCE);
    picture(&mut anna, "call");

    // A visitor writes what is no script, and Ben answers.
    let mut ben = desk(&gateway, &bens, "ben");
    begin_work(&mut ben);
    let mut visitor = bens.open(&format!("http://{}/chat?lang=en&open", gateway.web));
    let root = "document.querySelector('#ark').shadowRoot";
    visitor.wait_for(&format!("document.querySelector('#ark') && {root}.querySelector('textarea')"), PATIENCE);
    let hostile = "<img src=x onerror=\"window.pwned = 1\"><script>window.pwned = 1</script>";
    visitor.eval(&format!(
        "(() => {{ const box = {root}.querySelector('textarea'); box.value = {}; box.dispatchEvent(new Event('input')); \
         {root}.querySelector('#send').click(); }})()",
        json!(hostile)
    ));
    take(&mut ben, "chat");
    sees(&mut ben, hostile);
    assert_eq!(ben.eval("window.pwned === undefined"), json!(true), "a customer's text is text");
    type_in(&mut ben, ".say textarea", "I can see your message");
    ben.eval(
        "document.querySelector('.say textarea').dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true }))",
    );
    visitor.wait_for(&format!("{root}.querySelector('#log').textContent.includes('I can see your message')"), PATIENCE);
    visitor.close();
    picture(&mut ben, "chat");
    gateway.wait_for_chat("ark.message.out.v1", 1, PATIENCE);
    ben.eval("[...document.querySelectorAll('.head .btn')].find((one) => one.textContent.includes('Resolve')).click()");
    gateway.wait_for_chat("ark.session.closed.v1", 1, PATIENCE);

    // Anna hands the caller to Ben, with a summary; the caller hears Ben, and Anna is free.
    anna.eval("[...document.querySelectorAll('.head .btn')].find((one) => one.getAttribute('aria-label') === 'Transfer').click()");
    anna.wait_for("document.querySelector('input[value=\"agent:ben\"]') !== null", PATIENCE);
    anna.eval("document.querySelector('input[value=\"agent:ben\"]').click()");
    anna.wait_for("document.querySelector('.what-goes textarea').value.length > 0", PATIENCE);
    picture(&mut anna, "transfer");
    anna.wait_for("!document.querySelector('[form=transfer]').disabled", PATIENCE);
    anna.click("[form=transfer]");
    take(&mut ben, "call");
    phone.wait_to_hear(BEN, PATIENCE);
    ben.wait_to_hear(CALLER, PATIENCE);
    let timeline = gateway.wait_for_event("transfer.finished", PATIENCE);
    timeline.assert_order(&["queue.joined", "leg.bridged", "transfer.started", "transfer.finished"]);

    // Who hangs up ends it at the desk, too.
    phone.hang_up();
    ben.wait_for("document.querySelector('.call .t') === null", PATIENCE);
    gateway.wait_for_event("call.ended", PATIENCE);
}
