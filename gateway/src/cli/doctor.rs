//! `ark doctor`.

use clap::Args;
use serde_json::json;

use super::output::{self, Failure, Outcome};
use super::{CliResult, Site};
use crate::config::{Log, LogFormat};
use crate::doctor::{Check, Verdict, examine};
use crate::telemetry;

/// Look at the machine and the site, try a call, and say what to do.
#[derive(Debug, Args)]
pub(super) struct DoctorCommand {
    #[command(flatten)]
    site: Site,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &DoctorCommand) -> CliResult {
    let loaded = command.site.load()?;
    let quiet = Log { filter: "off".into(), format: LogFormat::Text, numbers: false };
    telemetry::begin(&quiet).map_err(Failure::environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("the runtime cannot start: {error}")))?;
    let mut said = Ok(());
    let checks = runtime.block_on(examine(&loaded, |check| {
        if !command.json && said.is_ok() {
            said = output::line(line(check));
        }
    }));
    said?;
    let failed = checks.iter().filter(|check| check.verdict == Verdict::Failed).count();
    if command.json {
        output::json(&json!({ "well": failed == 0, "checks": checks }))?;
    } else if failed == 0 {
        output::line("\nWell: calls can come.")?;
    } else {
        output::line(format!("\n{failed} of {} checks failed.", checks.len()))?;
    }
    Ok(if failed == 0 { Outcome::Done } else { Outcome::Finding })
}

fn line(check: &Check) -> String {
    let mark = match check.verdict {
        Verdict::Ok => "ok     ",
        Verdict::Warning => "look   ",
        Verdict::Failed => "FAILED ",
    };
    let fix = check.fix.as_ref().map_or_else(String::new, |fix| format!("\n{:28}fix: {fix}", ""));
    format!("{mark}  {:<18} {}{fix}", check.name, check.found)
}
