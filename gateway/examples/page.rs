//! The page with made-up conversations, for those who work on it: `cargo run -p ark --example page -- 8088`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a stage set, not the play")]

#[path = "../tests/web/kit.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod kit;

use ark::control::CallState;
use ark_conversation::event::{
    CallAnswered, Dtmf, DtmfHow, IvrEntered, PromptCause, PromptFinished, PromptStarted, Role,
};
use ark_conversation::{Event, LegId, samples};

fn entered(state: &str, verb: &str) -> Event {
    let (plan, state, verb) = ("hotline-95188".into(), state.into(), verb.into());
    IvrEntered { leg: LegId(1), plan, version: 3, state, verb, lang: Some("zh".into()) }.into()
}

fn spoken(play: u64, prompt: &str, text: &str) -> Event {
    let (prompts, text) = (vec![prompt.into()], Some(text.into()));
    PromptStarted { leg: LegId(1), play, prompts, lang: "zh".into(), length_ms: Some(6_200), barge_in: true, text }
        .into()
}

#[tokio::main]
async fn main() {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(8088);
    let made = kit::Made::new("page");
    for (ago, random) in [(86_500, 1), (7_300, 2), (900, 3)] {
        made.tell_the_story(kit::conversation(ago, random)).await;
    }
    let waiting = kit::conversation(41, 5);
    made.append(waiting, 0.0, samples::ringing(LegId(1), Role::Customer).into()).await;
    made.call(waiting, CallState::Ringing, "");
    let live = kit::conversation(32, 4);
    let answered = CallAnswered { leg: LegId(1), codec: "PCMA".into(), dtmf: Some(DtmfHow::Rfc4733), ringing_ms: 120 };
    let key = Dtmf { leg: LegId(1), digit: Some('1'), masked: false, how: DtmfHow::Rfc4733, duration_ms: Some(120) };
    let heard = PromptFinished { leg: LegId(1), play: 1, heard_ms: 3_200, cause: PromptCause::BargeIn };
    let events: Vec<(f64, Event)> = vec![
        (0.0, samples::ringing(LegId(1), Role::Customer).into()),
        (0.1, answered.into()),
        (0.1, entered("language", "menu")),
        (0.2, spoken(1, "welcome", "您好，这里是方舟客服热线。任何时候按 0 转人工。For English, press 2.")),
        (3.4, key.into()),
        (3.4, heard.into()),
        (3.5, entered("main", "menu")),
        (3.6, spoken(2, "main", "账户请按 1，订单请按 2，投诉请按 3。")),
    ];
    for (seconds, event) in events {
        made.append(live, seconds, event).await;
    }
    made.call(live, CallState::Ivr, "main");
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    println!("http://127.0.0.1:{port}/?token={}#{live}", kit::TOKEN);
    println!("{live}");
    ark::http::serve(listener, None, ark::http::router(made.web()), std::future::pending()).await.unwrap();
}
