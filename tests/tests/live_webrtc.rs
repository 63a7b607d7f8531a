//! Browsers that call and answer: a real Chromium with a microphone that hears a tone, on Ark's own page. Judged by what
//! is heard at either end.

use std::net::UdpSocket;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ark_tests::kit::{
    Baresip, Browser, Ended, Gateway, Page, Phone, SOON, Setup, TurnServer, conversation_id, dominant_hz, read_wav,
    tone, tone_site,
};
use ark_tests::need;
use serde_json::{Value, json};

/// What the browser's microphone hears.
const BROWSER: f64 = 700.0;
/// What the telephone at the other side says.
const PHONE: f64 = 1_500.0;
/// A browser that is gone without a word is missed within this, and a little for two busy cores.
const GONE: Duration = Duration::from_millis(5_500);

/// An operator's page may be loaded anew within this, and its call goes on.
const RETURN: Duration = Duration::from_secs(15);

/// One test after the other: ten browsers at once on two cores are heard by nobody.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn site(operators: Vec<String>, record: bool) -> Setup {
    let more = "[webrtc]\nlisten = [\"127.0.0.1\"]\nports = \"30000-31999\"\n".to_owned();
    Setup { operators, record, more, ..tone_site() }
}

fn token(gateway: &Gateway, wanted: &Value) -> String {
    let answer = gateway.ask("POST", "/api/v1/webrtc/tokens", Some(wanted));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["token"].as_str().expect("a token").to_owned()
}

/// A page of the gateway with a token for that.
fn page(gateway: &Gateway, browser: &Browser, wanted: &Value) -> Page {
    let who = wanted["operator"].as_str().map(|name| format!("?operator={name}")).unwrap_or_default();
    let mut page = browser.open(&format!("http://{}/call{who}#token={}", gateway.web, token(gateway, wanted)));
    page.wait_for("window.arkCall && arkCall.state === 'ready'", SOON);
    // A steady tone is what a browser takes for noise.
    page.eval("arkCall.audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }");
    page
}

fn caller() -> Value {
    json!({ "hotline": "95188", "from": "u-77", "name": "Chen" })
}

/// A page that has called the hotline and hears its welcome.
fn call(gateway: &Gateway, browser: &Browser) -> Page {
    let mut page = page(gateway, browser, &caller());
    page.click("#call");
    page.wait_for("arkCall.state === 'up'", SOON);
    page.wait_to_hear(440.0, SOON);
    page
}

fn press(page: &mut Page, key: char) {
    page.eval(&format!(
        "[...document.querySelectorAll('#keys button')].find((one) => one.textContent === '{key}').click()"
    ));
}

#[test]
fn a_page_calls_the_hotline_and_both_sides_hear_each_other() {
    need!("live_webrtc", "chromium");
    let _turn = turn();
    let gateway = Gateway::start(&site(Vec::new(), true));
    let browser = Browser::start(BROWSER);
    let mut page = call(&gateway, &browser);
    assert_eq!(page.stat("transport", "dtlsState"), "connected");
    page.wait_for("document.querySelector('#own').value > 0.3 && document.querySelector('#their').value > 0.3", SOON);
    page.hear_for(Duration::from_secs(3));
    // Who is muted still presses keys.
    page.click("#mute");
    press(&mut page, '1');
    page.wait_to_hear(1_000.0, SOON);
    page.wait_for("arkCall.state === 'ready'", SOON);
    gateway.wait_for_ended(1, SOON);
    let timeline = gateway.wait_for_event("recording.finished", SOON);
    timeline.assert_order(&["call.ringing", "call.answered", "prompt.started", "dtmf", "prompt.started", "call.ended"]);
    assert_eq!(timeline.all("dtmf", "digit"), ["1"], "a key counts once");
    assert_eq!(timeline.all("call.answered", "codec"), ["PCMA"]);
    assert_eq!(timeline.first("call.ringing")["trunk"], "webrtc");
    assert_eq!(timeline.first("call.ended")["by"], "ark");
    let folder = gateway.folder().join("data/files/recordings");
    let path = newest_wav(&folder).unwrap_or_else(|| panic!("no recording in {}", folder.display()));
    let (rate, channels) = read_wav(&path);
    assert_eq!(rate, 8_000);
    hears(&channels[0], BROWSER);
}

/// Fails unless that tone is heard for a second at least, and hardly anything else.
fn hears(pcm: &[i16], hz: f64) {
    let heard: Vec<f64> = pcm.chunks_exact(800).filter_map(|part| dominant_hz(part, 8_000)).collect();
    let right = heard.iter().filter(|found| (**found - hz).abs() <= 20.0).count();
    assert!(right >= 10 && right * 10 >= heard.len() * 9, "not {hz} Hz is heard but {heard:?}");
}

/// Anna's telephone: she answers, says her tone, hears the browser's, and stays until the other side hangs up.
fn anna() -> (String, thread::JoinHandle<(Ended, Vec<i16>)>) {
    let mut phone = Phone::new("anna");
    let uri = phone.uri();
    let operator = thread::spawn(move || {
        let invite = phone.wait_to_be_called(SOON * 2);
        phone.say(Some(PHONE));
        phone.answer(&invite);
        phone.wait_to_hear(BROWSER, SOON);
        let ended = phone.wait_for_the_end(SOON * 3);
        (ended, phone.heard())
    });
    (uri, operator)
}

#[test]
fn a_page_and_a_telephone_hear_each_other_muted_held_and_over_another_road() {
    need!("live_webrtc", "chromium");
    let _turn = turn();
    let (uri, operator) = anna();
    let gateway = Gateway::start(&site(vec![uri], false));
    let browser = Browser::start(BROWSER);
    let mut page = call(&gateway, &browser);
    press(&mut page, '0');
    page.wait_to_hear(PHONE, SOON * 2);
    gateway.wait_for_event("leg.bridged", SOON);
    page.click("#hold");
    gateway.wait_for_event("leg.held", SOON);
    page.click("#hold");
    gateway.wait_for_event("leg.resumed", SOON);
    page.wait_to_hear(PHONE, SOON);

    let road = "(async () => { for (const one of (await arkCall.peer.getStats()).values()) if (one.type === 'transport') return one.iceLocalUsernameFragment; })()";
    let before = page.eval(road);
    page.eval("arkCall.restart()");
    page.wait_for(&format!("arkCall.state === 'up' && (await {road}) !== {before}"), SOON);
    page.hear_for(Duration::from_millis(500));
    let heard = page.hear_for(Duration::from_secs(2));
    let right = heard.iter().filter(|hz| (**hz - PHONE).abs() < 15.0).count();
    assert!(right * 10 >= heard.len() * 9, "after the ICE restart the page hears {heard:?}");
    page.click("#mute");
    page.hear_for(Duration::from_millis(1_500));
    page.click("#hangup");
    let (ended, heard) = operator.join().expect("Anna's phone does not panic");
    assert_eq!(ended, Ended::TheirBye);
    let last = &heard[heard.len().saturating_sub(6_000)..];
    assert_eq!(dominant_hz(last, 8_000), None, "a muted page is not heard");
    // A second and a half of silence and the two seconds before it: the road was another by then.
    hears(&heard[heard.len().saturating_sub(28_000)..], BROWSER);
    let timeline = gateway.wait_for_event("call.quality", SOON);
    assert_eq!(timeline.count("leg.held"), 1);
    gateway.wait_for_ended(1, SOON);
}

#[test]
fn a_page_that_speaks_opus_talks_with_a_telephone_that_does_not() {
    need!("live_webrtc", "chromium");
    let _turn = turn();
    let (uri, operator) = anna();
    let mut setup = site(vec![uri], false);
    setup.more.push_str("codecs = [\"opus\"]\n");
    let gateway = Gateway::start(&setup);
    let browser = Browser::start(BROWSER);
    let mut page = call(&gateway, &browser);
    press(&mut page, '0');
    page.wait_to_hear(PHONE, SOON * 2);
    page.hear_for(Duration::from_secs(2));
    page.click("#hangup");
    let (ended, heard) = operator.join().expect("Anna's phone does not panic");
    assert_eq!(ended, Ended::TheirBye);
    hears(&heard[heard.len().saturating_sub(12_000)..], BROWSER);
    let timeline = gateway.wait_for_event("call.quality", SOON);
    assert_eq!(timeline.all("call.answered", "codec"), ["opus", "PCMA"]);
    gateway.wait_for_ended(1, SOON);
}

#[test]
fn two_pages_and_a_telephone_are_in_one_room_and_a_whisper_is_for_the_agent() {
    const SUPERVISOR: f64 = 2_300.0;
    need!("live_webrtc", "chromium");
    let _turn = turn();
    let gateway = Gateway::start(&site(vec!["web:anna".to_owned()], false));
    let (hers, theirs) = (Browser::start(BROWSER), Browser::start(SUPERVISOR));
    let mut desk = page(&gateway, &hers, &json!({ "operator": "anna" }));
    let mut sue = page(&gateway, &theirs, &json!({ "operator": "sue" }));
    let mut phone = Phone::new("chen");
    phone.say(Some(PHONE));
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    phone.press('0');
    desk.wait_for("arkCall.state === 'ringing'", SOON);
    desk.click("#call");
    phone.wait_to_hear(BROWSER, SOON);

    let calls = gateway.ask("GET", "/api/v1/calls", None).json();
    let supervisors = format!("/api/v1/calls/{}/supervisors", calls["calls"][0]["id"].as_str().unwrap());
    let asked = gateway.ask("POST", &supervisors, Some(&json!({ "to": "web:sue", "mode": "whisper" })));
    assert_eq!(asked.status, 202, "{}", asked.body);
    sue.wait_for("arkCall.state === 'ringing'", SOON);
    // A page tells one voice at a time: of two of like strength it hears neither.
    desk.click("#mute");
    sue.click("#call");
    sue.wait_for("arkCall.state === 'up'", SOON);
    sue.wait_to_hear(PHONE, SOON);
    phone.say(None);
    desk.click("#mute");
    desk.wait_to_hear(SUPERVISOR, SOON);
    sue.wait_to_hear(BROWSER, SOON);
    phone.wait_to_hear(BROWSER, SOON);
    let before = phone.heard().len();
    phone.talk_for(Duration::from_secs(2));
    hears(&phone.heard()[before..], BROWSER);

    let barge = gateway.ask("PATCH", &format!("{supervisors}/3"), Some(&json!({ "mode": "barge" })));
    assert_eq!(barge.status, 204, "{}", barge.body);
    desk.click("#mute");
    phone.wait_to_hear(SUPERVISOR, SOON);
    phone.say(Some(PHONE));
    sue.wait_to_hear(PHONE, SOON);

    // The agent's browser dies, and does not come back in time: who talks with both stays with the caller.
    drop(hers);
    phone.talk_for(RETURN);
    gateway.wait_for_event("leg.unbridged", SOON);
    phone.wait_to_hear(SUPERVISOR, SOON);
    sue.click("#hangup");
    let timeline = gateway.wait_for_event("call.supervised", SOON);
    assert_eq!(timeline.all("call.supervised", "mode"), ["whisper", "barge", "take_over"]);
    phone.hang_up();
    gateway.wait_for_ended(1, SOON);
}

/// Customer and agent in browsers of their own, and baresip, which joins in: each hears both others.
#[test]
fn two_pages_and_baresip_are_in_one_bridge_and_each_hears_both_others() {
    const AGENT: f64 = 2_300.0;
    need!("live_webrtc_baresip", "chromium", "baresip");
    let _turn = turn();
    let gateway = Gateway::start(&site(vec!["web:anna".to_owned()], false));
    let (hers, his) = (Browser::start(AGENT), Browser::start(BROWSER));
    let mut desk = page(&gateway, &hers, &json!({ "operator": "anna" }));
    let mut customer = call(&gateway, &his);
    press(&mut customer, '0');
    desk.wait_for("arkCall.state === 'ringing'", SOON);
    desk.click("#call");
    customer.wait_to_hear(AGENT, SOON * 2);
    desk.wait_to_hear(BROWSER, SOON);

    let mut baresip = Baresip::start(&tone(PHONE, Duration::from_secs(120)));
    let id = gateway.ask("GET", "/api/v1/calls", None).json()["calls"][0]["id"].as_str().unwrap().to_owned();
    let wanted = json!({ "to": format!("sip:chen@{}", baresip.sip), "mode": "barge" });
    let asked = gateway.ask("POST", &format!("/api/v1/calls/{id}/supervisors"), Some(&wanted));
    assert_eq!(asked.status, 202, "{}", asked.body);
    baresip.wait_for_event("CALL_ESTABLISHED", SOON);
    // A page tells one voice at a time: of the others one is muted.
    let mute = |leg: u32, muted: bool| {
        let path = format!("/api/v1/calls/{id}/legs/{leg}/mute");
        let answer = gateway.ask("POST", &path, Some(&json!({ "muted": muted })));
        assert!(answer.status < 300, "{}", answer.body);
    };
    mute(2, true);
    customer.wait_to_hear(PHONE, SOON);
    mute(2, false);
    mute(1, true);
    desk.wait_to_hear(PHONE, SOON);
    mute(1, false);
    mute(3, true);
    customer.wait_to_hear(AGENT, SOON);
    desk.wait_to_hear(BROWSER, SOON);
    mute(3, false);
    customer.hear_for(Duration::from_secs(2));
    customer.click("#hangup");
    baresip.wait_for_event("CALL_CLOSED", SOON);
    gateway.wait_for_ended(1, SOON);
    let (rate_hz, channels) = read_wav(&baresip.heard().expect("baresip heard something"));
    let both = channels[0].chunks(rate_hz as usize / 5).filter(|part| {
        let level = |hz| ark_media::tone::level(part, rate_hz, hz);
        level(AGENT) > 1_000.0 && level(BROWSER) > 1_000.0 && level(PHONE) < 500.0
    });
    let both = both.count();
    assert!(both >= 5, "baresip hears both others, and not itself, in {both} of {}", channels[0].len());
}

#[test]
fn an_operator_answers_in_a_browser_and_hears_the_telephone() {
    need!("live_webrtc", "chromium");
    let _turn = turn();
    let gateway = Gateway::start(&site(vec!["web:anna".to_owned()], false));
    let browser = Browser::start(BROWSER);
    let mut desk = page(&gateway, &browser, &json!({ "operator": "anna" }));
    let mut phone = Phone::new("chen");
    phone.say(Some(PHONE));
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    phone.press('0');
    desk.wait_for("arkCall.state === 'ringing'", SOON);
    desk.wait_for("document.querySelector('#caller').textContent.includes('*')", SOON);
    desk.click("#call");
    phone.wait_to_hear(BROWSER, SOON);
    phone.talk_for(Duration::from_secs(1));
    desk.wait_to_hear(PHONE, SOON);
    phone.hang_up();
    desk.wait_for("arkCall.state === 'ready'", SOON);
    let timeline = gateway.wait_for_event("leg.unbridged", SOON);
    timeline.assert_order(&["call.answered", "queue.joined", "call.ringing", "call.answered", "leg.bridged"]);
    assert_eq!(timeline.all("queue.left", "outcome"), ["answered"]);
    gateway.wait_for_ended(1, SOON);
}

#[test]
fn customer_and_operator_in_two_browsers_hear_each_other() {
    need!("live_webrtc", "chromium");
    let _turn = turn();
    let gateway = Gateway::start(&site(vec!["web:anna".to_owned()], false));
    let (hers, his) = (Browser::start(PHONE), Browser::start(BROWSER));
    let mut desk = page(&gateway, &hers, &json!({ "operator": "anna" }));
    let mut customer = call(&gateway, &his);
    press(&mut customer, '0');
    desk.wait_for("arkCall.state === 'ringing'", SOON);
    desk.click("#call");
    customer.wait_to_hear(PHONE, SOON * 2);
    desk.wait_to_hear(BROWSER, SOON);
    desk.click("#hangup");
    customer.wait_for("arkCall.state === 'ready'", SOON);
    let timeline = gateway.wait_for_event("leg.unbridged", SOON);
    assert_eq!(timeline.all("call.answered", "codec"), ["PCMA", "PCMA"], "nothing is transcoded");
    gateway.wait_for_ended(1, SOON);
}

#[test]
fn ice_lite_connects_and_pages_are_told_of_turn_servers() {
    need!("live_webrtc", "chromium");
    let _turn = turn();
    let mut setup = site(Vec::new(), false);
    let gateway = {
        setup.more.push_str(
            "lite = true\nice_servers = [{ urls = [\"turn:127.0.0.1:9\"], username = \"ark\", credential = { env = \"PATH\" } }]\n",
        );
        Gateway::start(&setup)
    };
    let browser = Browser::start(BROWSER);
    let mut page = call(&gateway, &browser);
    assert_eq!(page.eval("arkCall.servers[0].urls[0] + ' ' + arkCall.servers[0].username"), "turn:127.0.0.1:9 ark");
    assert_eq!(page.eval("arkCall.servers[0].credential.length > 0"), true);
    assert_eq!(page.eval("arkCall.peer.remoteDescription.sdp.includes('a=ice-lite')"), true);
    page.click("#hangup");
    gateway.wait_for_ended(1, SOON);
}

/// Which kind of road the page's packets take, and by which transport it asked for it.
const ROAD: &str = "(async () => { const all = [...(await arkCall.peer.getStats()).values()]; \
    const of = (id) => all.find((one) => one.id === id); \
    const pair = of(all.find((one) => one.type === 'transport').selectedCandidatePairId); const own = of(pair.localCandidateId); \
    return own.candidateType + ' ' + own.relayProtocol; })()";

#[test]
fn a_page_that_may_use_turn_alone_is_heard_by_udp_and_by_tcp() {
    need!("live_webrtc", "chromium", "turnserver");
    let _turn = turn();
    let relay = TurnServer::start("north-star");
    for transport in ["udp", "tcp"] {
        let mut setup = site(Vec::new(), false);
        setup.more.push_str(&relay.setting(transport, "north-star"));
        let gateway = Gateway::start(&setup);
        let browser = Browser::start(BROWSER);
        let mut page = call(&gateway, &browser);
        assert_eq!(page.eval(ROAD), format!("relay {transport}"));
        page.wait_for(
            "document.querySelector('#own').value > 0.3 && document.querySelector('#their').value > 0.3",
            SOON,
        );
        press(&mut page, '1');
        page.wait_to_hear(1_000.0, SOON);
        page.wait_for("arkCall.state === 'ready'", SOON);
        gateway.wait_for_ended(1, SOON);
    }
}

#[test]
fn a_page_whose_turn_server_does_not_know_the_secret_says_so_and_ends() {
    need!("live_webrtc", "chromium", "turnserver");
    let _turn = turn();
    let relay = TurnServer::start("south-star");
    let mut setup = site(Vec::new(), false);
    setup.more.push_str(&relay.setting("udp", "north-star"));
    let gateway = Gateway::start(&setup);
    let browser = Browser::start(BROWSER);
    let mut page = page(&gateway, &browser, &caller());
    page.click("#call");
    page.wait_for("arkCall.state === 'ready' && arkCall.cause", SOON * 2);
    gateway.wait_for_ended(1, SOON * 2);
}

#[test]
fn a_tab_that_closes_ends_its_call_at_once_and_a_browser_that_dies_within_five_seconds() {
    need!("live_webrtc", "chromium");
    let _turn = turn();
    let gateway = Gateway::start(&site(Vec::new(), false));
    let mut browser = Browser::start(BROWSER);
    let page = call(&gateway, &browser);
    let closed = Instant::now();
    page.close();
    gateway.wait_until_idle(SOON);
    let took = closed.elapsed();
    assert!(took < Duration::from_secs(2), "the closed tab's call ended after {took:?}");

    let _page = call(&gateway, &browser);
    let died = Instant::now();
    browser.kill();
    gateway.wait_until_idle(SOON);
    let took = died.elapsed();
    assert!(took < GONE, "the dead browser's call ended after {took:?}");
    let calls = gateway.wait_for_ended(2, SOON);
    let mut causes: Vec<String> = Vec::new();
    for one in &calls {
        causes.extend(gateway.timeline(&conversation_id(one)).all("call.ended", "cause"));
    }
    causes.sort();
    // Which of the two signs of a dead browser comes first, the network's or the road's, is the system's affair.
    assert!(causes[0] == "hangup" && ["timeout", "transport_lost"].contains(&causes[1].as_str()), "{causes:?}");
}

#[test]
fn a_call_outlives_its_socket_when_the_page_comes_back() {
    need!("live_webrtc", "chromium");
    let _turn = turn();
    let gateway = Gateway::start(&site(Vec::new(), false));
    let browser = Browser::start(BROWSER);
    let mut page = call(&gateway, &browser);
    // As when a network goes away: no close frame is sent, and the page finds out by itself.
    page.eval("(() => { const socket = arkCall.socket; socket.send('{'.repeat(70000)); })()");
    page.wait_for("arkCall.state === 'broken' || arkCall.restarts > 0", SOON);
    page.wait_for("arkCall.state === 'up'", SOON);
    page.wait_to_hear(440.0, SOON);
    page.click("#hangup");
    gateway.wait_for_ended(1, SOON);
}

/// Everything that is no packet of a call, to its port: what claims to be STUN, DTLS, RTP and RTCP (RFC 7983), and noise. The call's
/// own address cannot be had.
fn flood(socket: &UdpSocket, port: u16, packets: u32) {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..packets {
        // The first byte says what it claims to be.
        let first = [0_u8, 1, 20, 22, 23, 64, 128, 128, 129, 200][round as usize % 10];
        let length = 1 + (round as usize * 37) % 400;
        let mut bytes = vec![first];
        for _ in 1..length {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            bytes.push(random as u8);
        }
        if first == 0 && length >= 20 {
            bytes[..8].copy_from_slice(&[0, 1, 0, (length - 20) as u8, 0x21, 0x12, 0xa4, 0x42]);
        }
        if first == 22 && length > 13 {
            bytes[1..3].copy_from_slice(&[0xfe, 0xfd]);
            bytes[11..13].copy_from_slice(&((length - 13) as u16).to_be_bytes());
        }
        if first >= 128 && length > 12 {
            bytes[1] = [8, 126, 200, 201][round as usize % 4];
        }
        let _ = socket.send_to(&bytes, ("127.0.0.1", port));
    }
}

#[test]
fn garbage_at_a_calls_port_is_counted_and_heard_by_nobody() {
    need!("live_webrtc", "chromium");
    let _turn = turn();
    let gateway = Gateway::start(&site(Vec::new(), true));
    let browser = Browser::start(BROWSER);
    let mut page = call(&gateway, &browser);
    let port = page.stat("remote-candidate", "port").as_u64().expect("Ark's port") as u16;
    let mut others = ["chen", "dora"].map(Phone::new);
    for other in &mut others {
        other.call(gateway.sip, "95188");
        other.wait_to_hear(440.0, SOON);
    }
    let before: Vec<usize> = others.iter().map(|other| other.heard().len()).collect();
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
    let its_address = stranger.local_addr().expect("a bound socket has an address").to_string();
    thread::scope(|scope| {
        scope.spawn(|| flood(&stranger, port, 20_000));
        for other in &mut others {
            scope.spawn(|| other.talk_for(Duration::from_secs(2)));
        }
    });
    for (other, before) in others.iter().zip(before) {
        hears(&other.heard()[before..], 440.0);
    }
    page.wait_to_hear(440.0, SOON);
    let heard = page.hear_for(Duration::from_secs(1));
    let right = heard.iter().filter(|hz| (**hz - 440.0).abs() < 15.0).count();
    assert!(right * 10 >= heard.len() * 8, "the page hears {heard:?}");
    let metrics = gateway.ask("GET", "/metrics", None).body;
    for reason in ["garbage", "stranger"] {
        let line = format!("ark_webrtc_kept_out_total{{reason=\"{reason}\"}} ");
        let count = metrics.lines().find_map(|one| one.strip_prefix(line.as_str()));
        let count: f64 = count.and_then(|count| count.parse().ok()).unwrap_or(0.0);
        assert!(count >= 500.0, "{reason}: {count}");
    }
    let calls = gateway.ask("GET", "/api/v1/calls", None).json();
    let legs = calls["calls"].as_array().expect("calls").iter().filter_map(|call| call["legs"][0]["remote"].as_str());
    let remotes: Vec<String> = legs.map(str::to_owned).collect();
    // Which of this machine's addresses a page calls from is its own choice; the stranger's is nobody's.
    assert!(remotes.len() == 3 && !remotes.contains(&its_address), "{remotes:?} with the stranger at {its_address}");
    for other in &mut others {
        other.hang_up();
    }
    press(&mut page, '1');
    page.wait_to_hear(1_000.0, SOON);
    gateway.wait_for_ended(3, SOON);
    let ended = gateway.conversations();
    let digits: Vec<String> =
        ended.iter().flat_map(|one| gateway.timeline(&conversation_id(one)).all("dtmf", "digit")).collect();
    assert_eq!(digits, ["1"], "no key of a stranger");
}

#[test]
fn who_has_no_token_or_comes_from_elsewhere_does_not_call() {
    need!("live_webrtc", "chromium");
    let _turn = turn();
    let gateway = Gateway::start(&site(Vec::new(), false));
    let browser = Browser::start(BROWSER);
    let mut page = browser.open(&format!("http://{}/call#token=v1.bm8.bm8", gateway.web));
    page.wait_for("arkCall.state === 'offline' && document.querySelector('#said').hidden === false", SOON);
    // Another site's page: its Origin is `null` here.
    let mut stranger = browser.open("data:text/html,<p>elsewhere</p>");
    let url = format!("ws://{}/rtc", gateway.web);
    let opened = stranger.eval(&format!(
        "new Promise((done) => {{ const s = new WebSocket('{url}'); s.onopen = () => done(true); s.onerror = () => done(false); }})"
    ));
    assert_eq!(opened, false, "another site's page must not get through");
}

#[test]
fn a_program_calls_by_whip() {
    need!("live_webrtc", "chromium");
    let _turn = turn();
    let gateway = Gateway::start(&site(Vec::new(), false));
    let browser = Browser::start(BROWSER);
    let mut page = page(&gateway, &browser, &caller());
    let token = token(&gateway, &caller());
    let status = page.eval(&format!(
        "(async () => {{ const peer = new RTCPeerConnection(); const stream = await navigator.mediaDevices.getUserMedia({{ audio: true }}); \
        for (const track of stream.getTracks()) peer.addTrack(track, stream); \
        arkCall.remote = new MediaStream(); peer.ontrack = (event) => {{ arkCall.remote.addTrack(event.track); const voice = new Audio(); voice.srcObject = arkCall.remote; voice.play(); }}; \
        await peer.setLocalDescription(await peer.createOffer()); \
        const answer = await fetch('/whip/95188', {{ method: 'POST', body: peer.localDescription.sdp, headers: {{ 'content-type': 'application/sdp', authorization: 'Bearer {token}' }} }}); \
        window.resource = answer.headers.get('location'); \
        await peer.setRemoteDescription({{ type: 'answer', sdp: await answer.text() }}); return answer.status; }})()"
    ));
    assert_eq!(status, 201);
    page.wait_to_hear(440.0, SOON);
    let ended = page.eval(&format!(
        "fetch(resource, {{ method: 'DELETE', headers: {{ authorization: 'Bearer {token}' }} }}).then((answer) => answer.status)"
    ));
    assert_eq!(ended, 200);
    gateway.wait_for_ended(1, SOON);
    let refused = page.eval("fetch('/whip/95188', { method: 'POST', body: 'v=0', headers: { 'content-type': 'application/sdp' } }).then((answer) => answer.status)");
    assert_eq!(refused, 401);
}

#[test]
fn a_page_without_a_microphone_listens_to_a_call_by_whep_and_goes() {
    need!("live_webrtc", "chromium");
    let _turn = turn();
    let mut anna = Phone::new("anna");
    let uri = anna.uri();
    let agent = thread::spawn(move || {
        let invite = anna.wait_to_be_called(SOON * 2);
        anna.answer(&invite);
        anna.wait_to_hear(PHONE, SOON);
        anna.wait_for_the_end(SOON * 4)
    });
    let gateway = Gateway::start(&site(vec![uri], false));
    let browser = Browser::start(BROWSER);
    let mut chen = Phone::new("chen");
    chen.say(Some(PHONE));
    chen.call(gateway.sip, "95188");
    chen.wait_to_hear(440.0, SOON);
    let mut page = page(&gateway, &browser, &caller());
    let calls = gateway.ask("GET", "/api/v1/calls", None).json();
    let id = calls["calls"][0]["id"].as_str().expect("a call").to_owned();
    let token = token(&gateway, &json!({ "call": id }));
    let ask = format!(
        "(async () => {{ const peer = new RTCPeerConnection(); peer.addTransceiver('audio', {{ direction: 'recvonly' }}); \
        arkCall.remote = new MediaStream(); peer.ontrack = (event) => {{ arkCall.remote.addTrack(event.track); const voice = new Audio(); voice.srcObject = arkCall.remote; voice.play(); }}; \
        await peer.setLocalDescription(await peer.createOffer()); \
        const answer = await fetch('/whep/{id}', {{ method: 'POST', body: peer.localDescription.sdp, headers: {{ 'content-type': 'application/sdp', authorization: 'Bearer {token}' }} }}); \
        if (answer.status !== 201) {{ peer.close(); return answer.status; }} \
        window.peer = peer; window.resource = answer.headers.get('location'); \
        await peer.setRemoteDescription({{ type: 'answer', sdp: await answer.text() }}); return answer.status; }})()"
    );
    assert_eq!(page.eval(&ask), 503, "nobody talks yet");
    chen.press('0');
    gateway.wait_for_event("leg.bridged", SOON);
    assert_eq!(page.eval(&ask), 201);
    page.wait_for("peer.connectionState === 'connected'", SOON);
    page.wait_to_hear(PHONE, SOON);
    let timeline = gateway.wait_for_event("call.supervised", SOON);
    assert_eq!(timeline.all("call.supervised", "mode"), ["listen"]);
    let patch = page.eval(&format!(
        "fetch(resource, {{ method: 'PATCH', body: 'a=mid:0\\r\\na=end-of-candidates\\r\\n', headers: {{ 'content-type': 'application/trickle-ice-sdpfrag', authorization: 'Bearer {token}' }} }}).then((answer) => answer.status)"
    ));
    assert_eq!(patch, 204);
    // The token is for this call and for listening alone.
    let elsewhere = page.eval(&format!(
        "fetch('/whip/95188', {{ method: 'POST', body: peer.localDescription.sdp, headers: {{ 'content-type': 'application/sdp', authorization: 'Bearer {token}' }} }}).then((answer) => answer.status)"
    ));
    assert_eq!(elsewhere, 401);
    let ended = page.eval(&format!(
        "fetch(resource, {{ method: 'DELETE', headers: {{ authorization: 'Bearer {token}' }} }}).then((answer) => answer.status)"
    ));
    assert_eq!(ended, 200);
    let gone = gateway.wait_for_event("call.ended", SOON);
    assert_eq!(gone.all("call.ended", "leg"), ["L3"], "the listener's leg alone");
    let calls = gateway.ask("GET", "/api/v1/calls", None).json();
    assert_eq!(calls["calls"][0]["legs"].as_array().map(Vec::len), Some(2), "the talk goes on: {calls}");
    chen.hang_up();
    agent.join().unwrap();
    gateway.wait_for_ended(1, SOON);
}

fn newest_wav(folder: &std::path::Path) -> Option<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension().is_some_and(|extension| extension == "wav") {
                found.push(entry.path());
            }
        }
    }
    found.pop()
}
