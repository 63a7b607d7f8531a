//! The vendors' own SDKs beside Ark: they drive the providers that Ark plays, and open what Ark seals, and the other way round. They
//! are fetched by `make test` into `target/vendor`, in the versions that scripts/setup.sh pins.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ark::config::Channel;
use ark::providers::{Provider, Providers, Shown};
use ark_tests::kit::{Gateway, Process, TempDir, root, skip, texts, tone_site};
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

/// How long an SDK may take to start and do one thing, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn vendor() -> PathBuf {
    std::env::var_os("ARK_VENDOR").map_or_else(|| root().join("target/vendor"), PathBuf::from)
}

/// A Python that has this module; none: the test is skipped, aloud.
fn python(module: &str) -> Option<PathBuf> {
    let python = vendor().join("venv/bin/python");
    let there = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    if there.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    skip("live_vendor_sdks", &format!("{module} is not installed (make test installs it into target/vendor)"));
    None
}

/// Whether this npm package is there.
fn package(name: &str) -> bool {
    let there = vendor().join("node_modules").join(name).is_dir() && ark_tests::kit::installed("node");
    if !there {
        skip("live_vendor_sdks", &format!("{name} is not installed (make test installs it into target/vendor)"));
    }
    there
}

fn script(name: &str) -> PathBuf {
    root().join("tests/live/vendor").join(name)
}

/// What the program writes, given this on its standard input.
fn says(command: &mut Command, input: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A script for Node.js, beside the packages: that is where imports are looked for.
fn node(folder: &TempDir, name: &str) -> Command {
    let modules = folder.path().join("node_modules");
    if !modules.exists() {
        std::os::unix::fs::symlink(vendor().join("node_modules"), modules).unwrap();
    }
    let copy = folder.path().join(name);
    std::fs::copy(script(name), &copy).unwrap();
    let mut command = Command::new("node");
    command.arg(copy);
    command
}

/// A played provider, and its account.
async fn play(provider: Provider, folder: &Path) -> (Providers, Receiver<Shown>, Channel) {
    let (providers, shown) = Providers::start().await.unwrap();
    let mut channels = providers.channels(&[provider], folder).unwrap();
    (providers, shown, channels.remove(0))
}

fn setting(channel: &Channel, name: &str) -> String {
    channel.settings[name].as_str().unwrap().to_owned()
}

fn secret(folder: &Path, provider: Provider, name: &str) -> String {
    std::fs::read_to_string(folder.join(format!("{}-{name}", provider.account()))).unwrap()
}

async fn sees(shown: &mut Receiver<Shown>) -> String {
    tokio::time::timeout(PATIENCE, shown.recv()).await.expect("in time").expect("the provider is there").text
}

/// The text of an element of a flat XML document.
fn element(xml: &str, name: &str) -> String {
    let from = xml.split_once(&format!("<{name}>")).unwrap().1;
    let text = from.split_once(&format!("</{name}>")).unwrap().0;
    text.trim().trim_start_matches("<![CDATA[").trim_end_matches("]]>").to_owned()
}

/// DingTalk's SDK opens the stream that Ark plays, acknowledges each message, and answers by the session's address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dingtalks_own_sdk_serves_a_customer_of_the_played_stream() {
    let Some(python) = python("dingtalk_stream") else { return };
    let folder = TempDir::new("vendor");
    let (providers, mut shown, channel) = play(Provider::Stream, folder.path()).await;
    let mut command = Command::new(python);
    command.arg(script("dingtalk.py")).arg(setting(&channel, "client_id"));
    command.arg(secret(folder.path(), Provider::Stream, "client_secret"));
    command.env("DINGTALK_OPENAPI_ENDPOINT", setting(&channel, "api"));
    let robot = Process::start("dingtalk.py", &mut command);
    for text in ["你好，发票怎么开？", "and \"quoted\" <b>&amp;</b> 🙂"] {
        let code = providers.push(&providers.delivery(Provider::Stream, text)).await;
        assert_eq!(code, Ok(200), "{text}");
        assert_eq!(sees(&mut shown).await, format!("echo: {text}"));
    }
    drop(robot);
}

/// DingTalk's SDK for Node.js does the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dingtalks_sdk_for_node_serves_a_customer_of_the_played_stream() {
    if !package("dingtalk-stream") {
        return;
    }
    let folder = TempDir::new("vendor");
    let (providers, mut shown, channel) = play(Provider::Stream, folder.path()).await;
    let mut command = node(&folder, "dingtalk.mjs");
    command.arg(setting(&channel, "client_id")).arg(secret(folder.path(), Provider::Stream, "client_secret"));
    command.arg(setting(&channel, "api"));
    let robot = Process::start("dingtalk.mjs", &mut command);
    for text in ["你好，发票怎么开？", "and \"quoted\" <b>&amp;</b> 🙂"] {
        let code = providers.push(&providers.delivery(Provider::Stream, text)).await;
        assert_eq!(code, Ok(200), "{text}");
        assert_eq!(sees(&mut shown).await, format!("echo: {text}"));
    }
    drop(robot);
}

/// Two SDKs open the body that Ark's official account seals, and Ark takes what they seal, through a whole gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wechats_safe_mode_is_opened_and_sealed_by_others_sdks() {
    let Some(python) = python("wechatpy") else { return };
    if !package("@wecom/crypto") {
        return;
    }
    let provider = Provider::OfficialAccount;
    let folder = TempDir::new("vendor");
    let (providers, _shown, channel) = play(provider, folder.path()).await;
    let (token, key) = (secret(folder.path(), provider, "token"), secret(folder.path(), provider, "aes_key"));
    let app = setting(&channel, "app_id");

    let said = "订单 4711 在哪里？ <b> & \"x\" 🙂";
    let posted = providers.delivery(provider, said);
    let body = String::from_utf8(posted.body.clone()).unwrap();
    let of = |name: &str| posted.query(name).unwrap().to_owned();
    let mut command = Command::new(&python);
    command.arg(script("wechat.py"));
    command.args(["open", &token, &key, &app, &of("msg_signature"), &of("timestamp"), &of("nonce")]);
    assert_eq!(says(&mut command, &body), said);
    let sealed = element(&body, "Encrypt");
    let args = ["open", &key, &token, &of("timestamp"), &of("nonce"), &sealed];
    let opened: Value = serde_json::from_str(&says(node(&folder, "wecom.mjs").args(args), "")).unwrap();
    assert_eq!((&opened["id"], &opened["signature"]), (&json!(app), &json!(of("msg_signature"))));
    assert_eq!(element(opened["message"].as_str().unwrap(), "Content"), said);

    // The other way round: a gateway takes what they seal.
    let mut setup = tone_site();
    setup.more = format!(
        "[[channel]]\nname = \"wechat-oa\"\nkind = \"wechat-oa\"\nqueue = \"general\"\nsecrets = {{ app_secret = {{ file = {0:?} }}, token = \
         {{ file = {1:?} }}, aes_key = {{ file = {2:?} }} }}\nsettings = {{ app_id = \"{app}\", mode = \"safe\", api = \"{3}\", hosts = [\"{4}\"] }}\n",
        folder.path().join("wechat-oa-app_secret"),
        folder.path().join("wechat-oa-token"),
        folder.path().join("wechat-oa-aes_key"),
        setting(&channel, "api"),
        setting(&channel, "api").trim_end_matches("/wechat-oa"),
    );
    let gateway = Gateway::start(&setup);
    let time = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs().to_string();
    let message = |id: u64, text: &str| {
        format!(
            "<xml><ToUserName>gh_demo</ToUserName><FromUserName>oSDK</FromUserName><CreateTime>{time}</CreateTime>\
             <MsgType>text</MsgType><Content><![CDATA[{text}]]></Content><MsgId>{id}</MsgId></xml>"
        )
    };
    let by_python = says(
        Command::new(&python).arg(script("wechat.py")).args(["seal", &token, &key, &app, &time, "n1"]),
        &message(24_000_000_000_000_001, "由 wechatpy 加密"),
    );
    let by_node = says(
        node(&folder, "wecom.mjs")
            .args(["seal", &key, &token, &time, "n1"])
            .args([&message(24_000_000_000_000_002, "由 @wecom/crypto 加密"), &app]),
        "",
    );
    let by_node: Value = serde_json::from_str(&by_node).unwrap();
    let node_body = format!(
        "<xml><ToUserName>gh_demo</ToUserName><Encrypt>{}</Encrypt></xml>",
        by_node["sealed"].as_str().unwrap()
    );
    let signature = signed(&[&token, &time, "n1"]);
    for (body, seal) in [
        (by_python.clone(), element(&by_python, "MsgSignature")),
        (node_body, by_node["signature"].as_str().unwrap().to_owned()),
    ] {
        let url = format!(
            "http://{}/hooks/wechat-oa?signature={signature}&timestamp={time}&nonce=n1&openid=oSDK&encrypt_type=aes&msg_signature={seal}",
            gateway.web
        );
        let answer = ureq::post(&url)
            .header("content-type", "text/xml")
            .send(body.as_bytes())
            .unwrap()
            .body_mut()
            .read_to_string();
        assert_eq!(answer.unwrap(), "success");
    }
    let (_, messages) = gateway.wait_for_chat("ark.message.in.v1", 2, PATIENCE);
    assert_eq!(texts(&messages), ["由 wechatpy 加密", "由 @wecom/crypto 加密"]);
}

/// The SHA-1 of the sorted parts, as WeChat signs requests.
fn signed(parts: &[&str]) -> String {
    let mut parts = parts.to_vec();
    parts.sort_unstable();
    let mut sha1 = Command::new("openssl");
    let said = says(sha1.args(["dgst", "-sha1", "-r"]), &parts.concat());
    said.split_whitespace().next().unwrap().to_owned()
}

/// An SDK for WeChat fetches a token from the account that Ark plays, and its answer is what the customer is shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_sdk_for_wechat_answers_a_customer_of_the_played_account() {
    let Some(python) = python("wechatpy") else { return };
    let folder = TempDir::new("vendor");
    let (providers, mut shown, channel) = play(Provider::WeChat, folder.path()).await;
    let posted = providers.delivery(Provider::WeChat, "hello");
    let written: Value = serde_json::from_slice(&posted.body).unwrap();
    let mut command = Command::new(python);
    command.arg(script("wechat.py")).arg("send").arg(setting(&channel, "api")).arg(setting(&channel, "app_id"));
    command.arg(secret(folder.path(), Provider::WeChat, "app_secret"));
    command.args([written["FromUserName"].as_str().unwrap(), "您好，请问订单号？"]);
    let code = tokio::task::spawn_blocking(move || says(&mut command, "")).await.unwrap();
    assert_eq!(code, "0");
    assert_eq!(sees(&mut shown).await, "您好，请问订单号？");
}

/// The keys with which Ant's SDK signs and verifies, as its script takes them.
fn ants_keys(folder: &TempDir, channel: &Channel) -> Value {
    json!({ "app": secret(folder.path(), Provider::Alipay, "private_key"), "alipay": setting(channel, "alipay_public_key") })
}

/// Ant's SDK answers a customer by that verb of its script, at that address of the played Alipay; what it was told.
async fn ants_sdk_sends(folder: &TempDir, channel: &Channel, keys: &Value, (verb, road): (&str, &str)) -> Value {
    let mut send = node(folder, "alipay.mjs");
    send.arg(verb).arg(keys.to_string()).arg(setting(channel, road)).arg(setting(channel, "app_id"));
    send.args(["2088000000000001", "退款已受理。"]);
    let answer = tokio::task::spawn_blocking(move || says(&mut send, "")).await.unwrap();
    serde_json::from_str(&answer).unwrap()
}

/// Ant's SDK verifies the notification that Ark's Alipay signs and refuses a changed one; its signed call is taken, and it verifies the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ants_own_sdk_and_the_played_alipay_believe_each_other() {
    if !package("alipay-sdk") {
        return;
    }
    let folder = TempDir::new("vendor");
    let (providers, mut shown, channel) = play(Provider::Alipay, folder.path()).await;
    let keys = ants_keys(&folder, &channel);
    let posted = String::from_utf8(providers.delivery(Provider::Alipay, "退款 100% & more?").body).unwrap();
    let verified = says(node(&folder, "alipay.mjs").arg("notify").arg(keys.to_string()).arg(&posted), "");
    assert_eq!(serde_json::from_str::<Value>(&verified).unwrap(), json!([true, false]), "{posted}");
    let answer = ants_sdk_sends(&folder, &channel, &keys, ("send", "gateway")).await;
    assert_eq!(answer["code"], "10000", "{answer}");
    assert_eq!(sees(&mut shown).await, "退款已受理。");
}

/// The same by version 3: Ant's SDK takes the signature of a notification, its signed request is taken, and it takes that of the answer. A
/// gateway that speaks version 3 does what the SDK does: the customer's notification comes in, and the answer goes out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ants_own_sdk_and_the_played_alipay_believe_each_other_by_version_3() {
    if !package("alipay-sdk") {
        return;
    }
    let folder = TempDir::new("vendor");
    let (providers, mut shown, channel) = play(Provider::Alipay, folder.path()).await;
    let keys = ants_keys(&folder, &channel);
    let posted = providers.notification_v3("退款 100% & more?");
    let headers: serde_json::Map<String, Value> =
        posted.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let signed = json!({ "headers": headers, "body": String::from_utf8(posted.body.clone()).unwrap() });
    let mut notify = node(&folder, "alipay.mjs");
    notify.arg("notify3").arg(keys.to_string()).arg(signed.to_string());
    let verified = tokio::task::spawn_blocking(move || says(&mut notify, "")).await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&verified).unwrap(), json!([true, false]));
    let answer = ants_sdk_sends(&folder, &channel, &keys, ("send3", "api")).await;
    assert_eq!((&answer["responseHttpStatus"], &answer["data"]["msg_id"]), (&json!(200), &json!("demo")), "{answer}");
    assert_eq!(sees(&mut shown).await, "退款已受理。");

    let mut setup = tone_site();
    setup.more = format!(
        "[[channel]]\nname = \"alipay\"\nkind = \"alipay\"\nqueue = \"general\"\nsecrets = {{ private_key = {{ file = {0:?} }} }}\n\
         settings = {{ version = \"v3\", app_id = \"{1}\", alipay_public_key = \"{2}\", api = \"{3}\", gateway = \"{3}\", files = \"{3}\", \
         hosts = [\"{3}\"] }}\n",
        folder.path().join("alipay-private_key"),
        setting(&channel, "app_id"),
        setting(&channel, "alipay_public_key"),
        setting(&channel, "api"),
    );
    let gateway = Gateway::start(&setup);
    let bring = |change: &str| {
        let url = format!("http://{}/hooks/alipay", gateway.web);
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let call = posted.headers.iter().fold(agent.post(&url), |call, (name, value)| call.header(name, value));
        let body = [posted.body.as_slice(), change.as_bytes()].concat();
        let mut answer = call.send(&body[..]).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    assert_eq!(bring(" ").0, 401, "changed on its way");
    assert_eq!(bring(""), (200, "success".to_owned()));
    let (id, messages) = gateway.wait_for_chat("ark.message.in.v1", 1, PATIENCE);
    assert_eq!(texts(&messages), ["退款 100% & more?"]);
    assert!(gateway.reply(&id, "wang", None, "三天内到账。").status < 300);
    assert_eq!(sees(&mut shown).await, "三天内到账。");
}
