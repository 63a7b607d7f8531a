//! `ark channel test KIND`: the kit for the channels inside the gateway. The contract is asked of the machine in virtual time
//! ([`ark_channels::contract`]); the truth about the channel (L2) is judged with the whole host, a store and the provider played on
//! loopback ([`crate::providers`]), for the kinds whose provider is played there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ark_channels::contract::{CHECKS, Fake, WAYS};
use tokio::time::Instant;

use super::stage::{self, Stage};
use super::{KitError, Level, Report, Stop, Verdict, report, standard};
use crate::providers::Provider;

/// The kinds that can be tested by their name.
#[must_use]
pub fn is_kind(name: &str) -> bool {
    ark_channels::ALL.iter().any(|kind| kind.name == name)
}

/// Runs every check up to the level, tells each as it comes out, and gives the report.
///
/// # Errors
/// [`KitError`] when there is no such kind, or its provider cannot be played.
pub async fn run(
    kind: &str,
    level: Level,
    only: &[String],
    mut tell: impl FnMut(&report::Item),
) -> Result<Report, KitError> {
    let ways: Vec<(&'static str, &'static str)> = WAYS.into_iter().filter(|(name, _)| *name == kind).collect();
    if ways.is_empty() {
        return Err(KitError::Usage(format!("there is no channel of kind `{kind}`")));
    }
    let mut report = Report::new(kind, level);
    let machine = Fake::new(ways[0].0, ways[0].1).rig.channel;
    report.adapter = serde_json::to_value(machine.manifest()).unwrap_or_default();
    let providers = providers(kind);
    for check in standard::CHECKS {
        let wanted = only.is_empty() || only.iter().any(|only| check.id.starts_with(only));
        if check.level > level || !wanted {
            continue;
        }
        let since = Instant::now();
        let mut verdict = in_virtual_time(check.id, &ways);
        for provider in providers {
            if !matches!(verdict, Verdict::Broken { .. })
                && let Some(judged) = with_the_provider(check.id, *provider).await
            {
                verdict = both(verdict, judged);
            }
        }
        let item = report::Item { check: check.id, level: check.level, verdict, took: since.elapsed() };
        tell(&item);
        report.items.push(item);
    }
    Ok(report)
}

/// The providers of a kind that are played on loopback: one for each way in which they deliver.
fn providers(kind: &str) -> &'static [Provider] {
    match kind {
        "dingtalk" => &[Provider::DingTalk, Provider::Stream],
        "wechat-mp" => &[Provider::WeChat],
        "wechat-oa" => &[Provider::OfficialAccount],
        "wecom-kf" => &[Provider::WeCom],
        "alipay" => &[Provider::Alipay],
        _ => &[],
    }
}

/// What two ways of looking came to: the second one counts where the first had nothing to say.
fn both(first: Verdict, second: Verdict) -> Verdict {
    match (first, second) {
        (Verdict::Holds(first), Verdict::Holds(second)) => Verdict::Holds(format!("{first}; {second}")),
        (_, second) => second,
    }
}

/// Asks the machine, by every way in which its provider delivers.
fn in_virtual_time(id: &str, ways: &[(&'static str, &'static str)]) -> Verdict {
    let checks: Vec<_> = CHECKS.iter().filter(|check| check.musts.contains(&id)).collect();
    if checks.is_empty() {
        return Verdict::NotHere(not_here(id).to_owned());
    }
    for check in checks {
        for (kind, way) in ways {
            if let Err(came) = quietly(|| (check.run)(&mut Fake::new(kind, way))) {
                return Verdict::Broken { expected: check.says.to_owned(), came: format!("by {way}: {came}") };
            }
        }
    }
    let ways: Vec<&str> = ways.iter().map(|(_, way)| *way).collect();
    Verdict::Holds(format!("in virtual time, by {}", ways.join(" and ")))
}

/// Runs a check that panics with what is not as it should be; gives that instead of printing it.
fn quietly(check: impl FnOnce()) -> Result<(), String> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let said = Arc::new(Mutex::new(String::new()));
    let (hears, before) = (Arc::clone(&said), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload();
        let text = said.downcast_ref::<&str>().copied().or_else(|| said.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("a fault");
        let at = panic.location().map_or_else(String::new, |at| format!(" ({}:{})", at.file(), at.line()));
        *hears.lock().unwrap_or_else(PoisonError::into_inner) = format!("{text}{at}");
    }));
    let done = catch_unwind(AssertUnwindSafe(check));
    std::panic::set_hook(before);
    done.map_err(|_| said.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// Why a MUST is none of a machine's.
fn not_here(id: &str) -> &'static str {
    match id {
        "A-TEST-1" => "a channel inside the gateway has no hooks",
        "A-SIG-2" | "A-SIG-3" | "A-SIG-4" | "A-ANS-1" | "A-BODY-1" | "A-BODY-2" | "A-REJ-1" | "A-EVT-2" => {
            "about requests between adapter and gateway: inside there are none"
        }
        "A-HEALTH-1" => "inside the gateway a channel says itself how it is: `ark channel list`",
        "A-LOAD-1" => "under load it is the gateway that is measured: `make bench`",
        _ => "the host's part for channels inside the gateway; its own tests prove it",
    }
}

/// Asks the whole host, with the provider played on loopback; none: this is not asked so.
async fn with_the_provider(id: &str, provider: Provider) -> Option<Verdict> {
    let check = stage::check(id)?;
    let stage = match Stage::start(provider).await {
        Ok(stage) => stage,
        Err(why) => return Some(Verdict::NotHere(why)),
    };
    let mut stage = stage;
    let judged = tokio::time::timeout(Duration::from_secs(120), check(&mut stage)).await;
    stage.end().await;
    Some(match judged {
        Ok(Ok(words)) => Verdict::Holds(words),
        Ok(Err(Stop::Broken { expected, came })) => Verdict::Broken { expected, came },
        Ok(Err(Stop::NotHere(why))) => Verdict::NotHere(why),
        Err(_) => Verdict::Broken { expected: "an end within two minutes".to_owned(), came: "none".to_owned() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_panics_says_what_it_saw() {
        assert_eq!(quietly(|| ()), Ok(()));
        let said = quietly(|| panic!("three of {}", 4)).unwrap_err();
        assert!(said.starts_with("three of 4 (") && said.contains("inproc.rs"), "{said}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_kind_keeps_the_standard_and_its_report_says_so() {
        for kind in ark_channels::ALL {
            let report = run(kind.name, Level::L1, &[], |_| {}).await.unwrap();
            assert_eq!(report.broken(), Vec::<&str>::new(), "{}", kind.name);
            assert!(report.is_whole() && report.reached() == Some(Level::L1), "{}", kind.name);
        }
        assert!(run("telex", Level::L1, &[], |_| {}).await.is_err());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_truth_about_a_channel_is_judged_with_its_provider() {
        let only = ["A-PART-2", "A-ORD-2", "A-RCP"].map(str::to_owned);
        for kind in ["dingtalk", "wechat-mp", "wechat-oa", "wecom-kf", "alipay"] {
            let report = run(kind, Level::L2, &only, |_| {}).await.unwrap();
            assert_eq!(report.broken(), Vec::<&str>::new(), "{kind}: {:?}", report.items);
            let holds = report.items.iter().filter(|item| matches!(item.verdict, Verdict::Holds(_))).count();
            assert_eq!(holds, 4, "{kind}: {:?}", report.items);
        }
    }
}
