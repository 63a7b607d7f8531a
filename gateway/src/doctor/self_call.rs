//! A call through the whole stack: a gateway of its own on loopback, a phone, a tone that comes back, a key that changes it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ark_media::tone;

use super::{Check, Scratch};
use crate::config::{Config, Hotline, Ports, Queue, SipListen, SipTransport, Span};
use crate::phone::Phone;
use crate::serve::Gateway;

/// The tone that the caller hears first, in Hz, and the one after pressing 1.
const TONES_HZ: [f64; 2] = [700.0, 1_100.0];
/// How far a measured tone may be off.
const TONE_TOLERANCE_HZ: f64 = 25.0;
/// How long the phone listens to each.
const LISTEN: Duration = Duration::from_millis(900);
/// Longest for all of it.
const TIMEOUT: Duration = Duration::from_secs(30);

const PLAN: &str = r#"
schema = "ark.dialplan/1"
name = "self-call"
entry = "first"
timezone = "UTC"
languages = ["en"]

[rules]
human_key = "0"
human_target = "person"

[prompts]
first = { en = "Press 0 for a person.", file = { en = "first.wav" } }
second = { en = "Press 0 for a person.", file = { en = "second.wav" } }

[state.first]
do = "menu"
prompt = "first"
keys = { 1 = "second" }
timeout = "5s"
on_timeout = "person"

[state.second]
do = "menu"
prompt = "second"
keys = { 1 = "first" }
timeout = "5s"
on_timeout = "person"

[state.person]
do = "queue"
queue = "nobody"
max_wait = "10s"
answered = "bye"
on_timeout = "bye"

[state.bye]
do = "hangup"
"#;

/// Calls itself and says how it went.
pub(super) async fn try_it(config: &Config) -> Check {
    let name = "self-call";
    match tokio::time::timeout(TIMEOUT, call(config)).await {
        Ok(Ok(found)) => Check::ok(name, found),
        Ok(Err(what)) => Check::failed(name, what, "look at the checks above; `ARK_LOG=debug ark doctor` tells more"),
        Err(_) => {
            let found = format!("it did not end within {} s", TIMEOUT.as_secs());
            Check::failed(name, found, "is the machine overloaded? `ARK_LOG=debug ark doctor` tells more")
        }
    }
}

async fn call(config: &Config) -> Result<String, String> {
    let scratch = Scratch::new().map_err(|error| format!("no temporary folder: {error}"))?;
    let folder = &scratch.0;
    for (file, hz) in ["first.wav", "second.wav"].into_iter().zip(TONES_HZ) {
        let pcm = tone::sine(hz, 8_000, 8_000, Duration::from_secs(4));
        std::fs::write(folder.join(file), wav(&pcm)).map_err(|error| format!("a tone cannot be written: {error}"))?;
    }
    let plan = folder.join("self-call.toml");
    std::fs::write(&plan, PLAN).map_err(|error| format!("the plan cannot be written: {error}"))?;
    let gateway = Gateway::start(own_site(config, folder, &plan)).await.map_err(|error| error.to_string())?;
    let result = match gateway.sip().first() {
        Some(listen) => talk(listen.address).await,
        None => Err("the gateway hears nothing".to_owned()),
    };
    gateway.stop_now().await;
    result
}

/// A site of its own: free ports of loopback, everything it writes in the scratch folder.
fn own_site(config: &Config, folder: &std::path::Path, plan: &std::path::Path) -> Config {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let any_port = SocketAddr::new(loopback, 0);
    let mut own = Config::default();
    own.gateway.id = "doctor".into();
    own.gateway.data = folder.join("data");
    own.gateway.drain = Span::from_secs(0);
    own.sip.listen = vec![SipListen { transport: SipTransport::Udp, address: any_port }];
    own.sip.calls_max = 4;
    own.rtp.address = loopback;
    own.rtp.ports = Ports { first: 46_000, last: 46_199 };
    own.media = config.media.clone();
    own.web.listen = any_port;
    own.store.url = format!("sqlite:{}", folder.join("ark.db").display()).as_str().into();
    own.files.url = format!("file:{}", folder.join("files").display());
    own.hotline = vec![Hotline { number: "1".into(), dialplan: plan.display().to_string(), record: false }];
    own.queue = vec![Queue { ring: Span::from_secs(5), transcribe: false, ..Queue::named("nobody") }];
    own
}

async fn talk(gateway: SocketAddr) -> Result<String, String> {
    let words = |error: crate::phone::PhoneError| error.to_string();
    let mut phone = Phone::call(gateway.ip(), gateway, "1", "doctor").await.map_err(words)?;
    let mut said = Vec::new();
    for expected in TONES_HZ {
        if !phone.listen(LISTEN).await.map_err(words)? {
            return Err("the call was ended while it was being listened to".to_owned());
        }
        let (heard, rate_hz) = phone.take_heard();
        // The second half: what came before is the other tone, or the way to it.
        let heard = heard.get(heard.len() / 2..).unwrap_or_default();
        match tone::dominant(heard, rate_hz) {
            Some((hz, _)) if (hz - expected).abs() <= TONE_TOLERANCE_HZ => said.push(format!("{hz:.0} Hz")),
            Some((hz, _)) => return Err(format!("expected a tone of {expected:.0} Hz and heard {hz:.0} Hz")),
            None => return Err(format!("expected a tone of {expected:.0} Hz and heard silence: no audio comes back")),
        }
        phone.press('1');
    }
    phone.hang_up().await.map_err(words)?;
    Ok(format!("answered, heard {}, pressed 1, heard {}, hung up", said[0], said[1]))
}

/// A mono WAV file of 16-bit samples at 8 kHz.
fn wav(pcm: &[i16]) -> Vec<u8> {
    let bytes = u32::try_from(pcm.len() * 2).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(44 + pcm.len() * 2);
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(36 + bytes).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt ");
    out.extend_from_slice(&16_u32.to_le_bytes());
    for half in [1_u16, 1] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    for word in [8_000_u32, 16_000] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for half in [2_u16, 16] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    out.extend_from_slice(b"data");
    out.extend_from_slice(&bytes.to_le_bytes());
    pcm.iter().for_each(|sample| out.extend_from_slice(&sample.to_le_bytes()));
    out
}

#[cfg(test)]
mod tests {
    #[tokio::test(flavor = "multi_thread")]
    async fn the_gateway_calls_itself_and_hears_what_it_should() {
        let check = super::try_it(&crate::config::Config::default()).await;
        assert_eq!(check.verdict, super::super::Verdict::Ok, "{check:?}");
    }
}
