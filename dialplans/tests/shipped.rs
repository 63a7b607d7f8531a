//! The plan that ships: proved, tested, fuzzed, drawn.

use std::collections::BTreeSet;
use std::sync::Arc;

use ark_dialplans::{
    EstimateOnly, Lang, Plan, Severity, Site, check_source, diff, fuzz, graph, render_human, simulate, test,
};

const SHIPPED: &str = include_str!("../plans/hotline-95188.toml");

fn plan() -> Arc<Plan> {
    Arc::new(
        Plan::parse(SHIPPED, "hotline-95188.toml").unwrap_or_else(|all| panic!("{}", render_human(&all, Lang::En))),
    )
}

fn site() -> Site {
    Site {
        queues: Some(BTreeSet::from(["general".to_owned()])),
        today: Some(jiff::civil::date(2026, 11, 24)),
        ..Site::default()
    }
}

#[test]
fn the_shipped_plan_passes_every_proof_without_a_warning() {
    let (plan, found) = check_source(SHIPPED, "hotline-95188.toml", &EstimateOnly, &site());
    let text = render_human(&found, Lang::En);
    assert!(plan.is_some() && found.iter().all(|d| d.severity == Severity::Note), "{text}");
    assert!(text.contains("note: first offer of a person after"), "{text}");
    assert!(text.contains("1 key"), "{text}");
}

#[test]
fn the_shipped_plan_keeps_its_promises() {
    let report = test(&plan());
    assert_eq!(report.failed(), 0, "{}", report.render_human(Lang::En));
    assert!(report.results.len() >= 15);
}

#[test]
fn twenty_thousand_random_callers_are_not_lost_and_see_every_state() {
    let report = fuzz::fuzz_callers(&plan(), 20_000, 95_188);
    assert!(report.is_clean(), "{}", report.render_human(Lang::En));
    assert!(report.unseen_states.is_empty(), "{:?}", report.unseen_states);
}

#[test]
fn the_seeded_fuzzers_run() {
    fuzz::callers(1, 500);
    fuzz::sources(1, 300);
    fuzz::say_rules(1, 300);
    fuzz::said(1, 500);
}

#[test]
#[should_panic(expected = "an apology")]
fn the_canary_is_caught() {
    fuzz::canary(1, 500);
}

#[test]
fn the_graph_names_every_state_and_is_well_formed() {
    let plan = plan();
    let (mermaid, svg) = (graph::mermaid(&plan), graph::svg(&plan));
    for state in plan.states.keys() {
        assert!(mermaid.contains(&**state), "{state} is not in the flowchart");
        assert!(svg.contains(&format!(">{state}<")), "{state} is not in the picture");
    }
    assert!(mermaid.starts_with("flowchart TD\n"));
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
}

#[test]
fn everything_spoken_is_prepared_once() {
    let plan = plan();
    let all = plan.utterances();
    let keys: BTreeSet<&str> = all.iter().map(|u| u.key.as_str()).collect();
    assert_eq!(keys.len(), all.len(), "every key once");
    for key in [
        "zh/prompt/welcome/0",
        "en/prompt/place/1",
        "zh/word/幺",
        "en/word/twenty-three",
        "zh/prompt/ark.sorry/0",
        "zh/prompt/ark.confirm.main.3/0",
        "en/prompt/ark.digits/1",
    ] {
        assert!(keys.contains(key), "{key} is missing");
    }
    assert_eq!(plan.queues().iter().map(|q| &**q).collect::<Vec<_>>(), ["general"]);
}

#[test]
fn a_difference_is_told_as_callers_notice_it() {
    let old = plan();
    let changed = SHIPPED
        .replace("3 = \"complaint\"", "3 = \"to_agent\"")
        .replace("message_saved = { zh = \"留言已保存，再见。\"", "message_saved = { zh = \"好的，再见。\"")
        .replace(
            "您好，这里是方舟客服热线，任何时候按0转人工。",
            "您好，这里是方舟客服热线，很高兴为您服务，任何时候按0转人工。",
        );
    let new = Plan::parse(&changed, "new.toml").unwrap();
    let same = diff::diff(&old, &old, &EstimateOnly);
    assert!(same.is_empty(), "{}", same.render_human());
    let text = diff::diff(&old, &new, &EstimateOnly).render_human();
    for line in [
        "~ first offer of a person (zh): ",
        "+ way main (3 投诉) -> to_agent\n",
        "- way main (3 投诉) -> complaint\n",
        "- prompt message_saved (zh): 留言已保存，再见。\n",
        "+ prompt message_saved (zh): 好的，再见。\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn a_call_can_be_walked_in_the_terminal() {
    let at = "2026-11-24T04:00:00Z".parse().unwrap();
    let (mut call, first) = simulate::Simulator::call(&plan(), &ark_dialplans::Caller::default(), at);
    assert!(first.iter().any(|line| line.contains("您好")), "{first:?}");
    let mut all = Vec::new();
    for line in ["say 中文", "say 订单", "20261001#", "say 对", "place 3 2m10s", "nonsense", "answered", "5"] {
        all.extend(call.line(line));
    }
    let text = all.join("\n");
    for piece in [
        "二零二六,幺零零幺",
        "(order = 20261001)",
        "(waiting in queue general",
        "您前面还有两位",
        "约两到三分钟",
        "means nothing here",
        "(score 5 of 5)",
        "感谢来电",
    ] {
        assert!(text.contains(piece), "{piece:?} is not in\n{text}");
    }
    call.line("wait");
    assert!(call.is_over());
    assert_eq!(call.line("1"), ["the call is over"]);
}
