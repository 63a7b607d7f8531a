use proptest::prelude::*;

use super::*;
use crate::event::{EraseReason, IvrSet};
use crate::samples;

fn texts(summary: &Summary, kind: Kind) -> Vec<&str> {
    summary.lines.iter().filter(|line| line.kind == kind).map(|line| line.text.en.as_str()).collect()
}

#[test]
fn a_call_is_told_in_both_languages_with_the_records_it_stands_on() {
    let log = samples::log(samples::story());
    let summary = of(&log, None);
    assert_eq!(summary.to_seq, log.len() as u64);
    for kind in [Kind::Reason, Kind::Tried, Kind::Ivr, Kind::Operation, Kind::Last] {
        assert!(!texts(&summary, kind).is_empty(), "{kind:?}: {summary:#?}");
    }
    assert!(texts(&summary, Kind::Tried)[0].starts_with("Action balance: done"), "{summary:#?}");
    assert!(summary.text(true).contains("来意") && summary.text(false).contains("Why they came"));
    let all = serde_json::to_string(&summary).unwrap();
    assert!(!all.contains("13800001212") && !all.contains("02188886666"), "numbers are masked: {all}");
}

#[test]
fn words_are_kept_as_they_were_corrected_and_gone_when_taken_back() {
    let thread = "visitor-1";
    let chat = [
        samples::message_in(thread, "hello").into(),
        samples::message_in(thread, "where is my order?").into(),
        crate::event::Edit {
            thread: thread.to_owned(),
            message: String::new(),
            op: EditOp::Edit,
            parts: vec![Part::text("where is order 7?")],
        }
        .into(),
    ];
    let mut log = samples::log(chat);
    let second = log[1].event.id.clone();
    if let Event::Edit(edit) = &mut log[2].event.event {
        edit.message = second;
    }
    let summary = of(&log, None);
    assert_eq!(texts(&summary, Kind::Reason), ["“hello”"]);
    assert_eq!(texts(&summary, Kind::Asked), ["“where is order 7?”"]);
    assert_eq!(summary.lines.iter().find(|line| line.kind == Kind::Asked).unwrap().seqs, [2, 3]);
    if let Event::Edit(edit) = &mut log[2].event.event {
        (edit.op, edit.parts) = (EditOp::Recall, Vec::new());
    }
    let summary = of(&log, None);
    assert_eq!(texts(&summary, Kind::Last), ["Customer: hello"]);
}

#[test]
fn what_a_plan_calls_secret_is_named_and_not_told() {
    let set = |value: Option<&str>, masked| -> Event {
        IvrSet { leg: LegId(1), var: "card".to_owned(), value: value.map(str::to_owned), masked }.into()
    };
    let summary = of(&samples::log([set(None, true)]), None);
    assert_eq!(texts(&summary, Kind::Ivr), ["card: given (secret)"]);
    let summary = of(&samples::log([set(Some("6222"), true), set(Some("7"), false)]), None);
    assert_eq!(texts(&summary, Kind::Ivr), ["card: 7"]);
}

#[test]
fn the_longest_log_gives_few_and_short_lines() {
    let long = "怎么办".repeat(5_000);
    let log = samples::log((0..2_000).map(|_| samples::message_in("v", &long).into()));
    let summary = of(&log, None);
    assert!(summary.lines.len() <= 40, "{}", summary.lines.len());
    assert!(summary.lines.iter().all(|line| line.text.zh.chars().count() <= SUMMARY_LINE_CHARS_MAX + 20));
}

/// Logs of all that can happen, in any order.
fn logs() -> impl Strategy<Value = Vec<Record>> {
    let story = samples::story();
    prop::collection::vec(0..story.len(), 1..60)
        .prop_map(move |picks| samples::log(picks.into_iter().map(|pick| story[pick].clone())))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_later_than_to_seq_is_spoken_of(log in logs(), to in 0_u64..70) {
        let cut: Vec<Record> = log.iter().filter(|record| record.seq <= to).cloned().collect();
        let summary = of(&log, Some(to));
        prop_assert_eq!(&summary, &of(&cut, None));
        for line in &summary.lines {
            prop_assert!(!line.seqs.is_empty() && line.seqs.is_sorted());
            prop_assert!(line.seqs.iter().all(|seq| *seq >= 1 && *seq <= summary.to_seq && *seq <= to));
        }
        prop_assert!(summary.lines.is_sorted_by_key(|line| line.kind));
    }

    #[test]
    fn what_is_erased_is_not_spoken_of(log in logs(), which in any::<prop::sample::Index>()) {
        let mut log = log;
        let at = which.index(log.len());
        let (seq, erased) = (log[at].seq, log[at].erase(EraseReason::Request, samples::at(9)));
        if erased {
            let summary = of(&log, None);
            prop_assert!(summary.lines.iter().all(|line| !line.seqs.contains(&seq)));
        }
    }
}
