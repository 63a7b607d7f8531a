//! Whether the call may be kept: told, asked, answered once.

use super::*;
use crate::event::{ConsentAnswer, ConsentHow};
use crate::speech::{Confidence, Expects};

/// The common plan, which begins with the question.
fn asking(more: &str) -> String {
    let state = format!(
        "[state.may]\ndo = \"consent\"\nmode = \"ask\"\nprompt = \"number\"\nnext = \"welcome\"\nrefused = \"refused\"\n{more}\n[state.refused]\ndo = \"say\"\nprompt = \"sorry\"\nnext = \"welcome\"\n"
    );
    let speech = "[speech]\non = true\n";
    PLAN.replace("entry = \"welcome\"", "entry = \"may\"").replace("[prompts]", &format!("{speech}[prompts]")) + &state
}

fn settled(phone: &Phone, answer: ConsentAnswer, how: Option<ConsentHow>) -> bool {
    phone.did(|one| *one == Do::Consent { answer, how })
}

#[test]
fn who_says_yes_is_kept_and_is_not_asked_again() {
    let mut phone = Phone::call_plan(&asking(""), "1");
    assert_eq!(phone.core.plan.consent(), Some(crate::Consent { asks: true, tone: false }));
    phone.key('1');
    assert!(settled(&phone, ConsentAnswer::Given, Some(ConsentHow::Key)));
    assert_eq!(phone.state(), "welcome");

    let back = asking("").replace("[state.welcome]\ndo = \"say\"\nprompt = \"welcome\"\nnext = \"main\"", "[state.welcome]\ndo = \"say\"\nprompt = \"welcome\"\nnext = \"again\"\n[state.again]\ndo = \"consent\"\nmode = \"ask\"\nprompt = \"number\"\nnext = \"main\"\nrefused = \"mail\"");
    let mut phone = Phone::call_plan(&back, "1");
    phone.key('1').played();
    assert_eq!(phone.state(), "main", "the second question is passed over");
    assert!(!phone.did(|one| matches!(one, Do::Consent { .. })));
}

#[test]
fn who_says_no_or_nothing_or_asks_for_a_person_has_not_agreed() {
    let mut no = Phone::call_plan(&asking(""), "1");
    no.played().key('2');
    assert!(settled(&no, ConsentAnswer::Refused, Some(ConsentHow::Key)));
    assert_eq!((no.state(), no.said().as_str()), ("refused", "抱歉"));

    let mut silent = Phone::call_plan(&asking("retries = 1"), "1");
    silent.played().wait();
    assert_eq!((silent.state(), silent.said().as_str()), ("may", "请输入"));
    silent.played().wait();
    assert!(settled(&silent, ConsentAnswer::Unanswered, None));
    assert!(!silent.did(|one| matches!(one, Do::Strike { .. })), "it costs no strike");
    assert_eq!(silent.state(), "refused");

    let mut person = Phone::call_plan(&asking(""), "1");
    person.key('0');
    assert!(settled(&person, ConsentAnswer::Unanswered, None));
    assert!(person.did(|one| *one == Do::PersonSought { by: Sought::Key }));
    assert_eq!(person.state(), "to_agent");
}

#[test]
fn it_can_be_said_and_a_yes_must_be_sure() {
    let say = |text: &str, percent: u8| {
        let mut phone = Phone::call_plan(&asking(""), "1");
        let listen = phone.core.listening.as_ref().expect("it listens").listen.clone();
        assert_eq!(listen.expects, Expects::YesNo);
        let confidence = Confidence::percent(percent);
        phone.hear(Heard::SpeechStarted { id: listen.id });
        phone.hear(Heard::Said { id: Some(listen.id), text: text.to_owned(), confidence });
        phone
    };
    for yes in ["是的", "我同意", "可以，同意", "yes", "I agree"] {
        assert!(settled(&say(yes, 90), ConsentAnswer::Given, Some(ConsentHow::Speech)), "{yes}");
    }
    for no in ["不是", "我不同意", "不愿意", "No.", "I don't agree", "I do not agree"] {
        assert!(settled(&say(no, 45), ConsentAnswer::Refused, Some(ConsentHow::Speech)), "{no}");
    }
    assert_eq!(say("是的", 50).state(), "may", "it is asked again");
    assert_eq!(say("转人工", 90).state(), "to_agent");
}

#[test]
fn an_announcement_is_heard_to_its_end_unless_a_person_is_asked_for() {
    let plan = asking("").replace("mode = \"ask\"\n", "").replace("refused = \"refused\"\n", "tone = true\n");
    let mut phone = Phone::call_plan(&plan, "1");
    assert_eq!(phone.core.plan.consent(), Some(crate::Consent { asks: false, tone: true }));
    phone.key('1');
    assert_eq!(phone.state(), "may", "no key cuts it short");
    phone.played();
    assert!(settled(&phone, ConsentAnswer::Announced, None));
    assert_eq!(phone.state(), "welcome");
    let mut person = Phone::call_plan(&plan, "1");
    person.key('0');
    assert!(!person.did(|one| matches!(one, Do::Consent { .. })), "it was not heard");
    assert_eq!(person.state(), "to_agent");
}

#[test]
fn it_is_read_with_care_proved_and_random_callers_come_through() {
    let found = |text: &str| -> Vec<&'static str> {
        let site = crate::Site { consent: true, ..crate::Site::default() };
        let (_, found) = crate::check_source(text, "t.toml", &crate::EstimateOnly, &site);
        found.iter().filter(|one| one.is_error()).map(|one| one.code).collect()
    };
    let offers = |plan: &str| {
        plan.replace("number = { zh = \"请输入\"", "number = { zh = \"录音吗，人工请按0\"").replace(
            "number = { zh = \"录音吗，人工请按0\", en = \"Enter\"",
            "number = { zh = \"录音吗，人工请按0\", en = \"Press 0 for a person\"",
        )
    };
    assert!(!found(&offers(&asking(""))).contains(&"E025"));
    assert!(found(&offers(&asking("yes = \"0\""))).contains(&"E005"));
    assert!(found(&offers(&asking("yes = \"2\""))).contains(&"E012"));
    assert!(found(&offers(&asking("mode = \"whisper\"").replacen("mode = \"ask\"\n", "", 1))).contains(&"E012"));
    assert!(found(&offers(&asking("").replace("refused = \"refused\"\n", ""))).contains(&"E003"));
    assert!(
        found(&offers(&asking("").replace("mode = \"ask\"\n", ""))).contains(&"E012"),
        "`refused` of an announcement"
    );
    // The common plan without it: every way to a person misses it.
    let plain = offers(PLAN).replace(
        "welcome = { zh = \"您好\", en = \"Hello\"",
        "welcome = { zh = \"人工请按0\", en = \"Press 0 for a person\"",
    );
    let codes = found(&plain);
    assert!(codes.iter().filter(|code| **code == "E025").count() >= 2, "{codes:?}");
    let plan = Arc::new(Plan::parse(&asking(""), "t.toml").unwrap());
    let random = crate::fuzz::fuzz_callers(&plan, 500, 7);
    assert!(random.is_clean(), "{}", random.render_human(Lang::En));
}
