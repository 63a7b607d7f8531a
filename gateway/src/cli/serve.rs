//! `ark serve`: the gateway itself.

use std::io::{self, Write as _};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{CliResult, Failure, Outcome, Site};
use crate::config::{Config, Loaded};
use crate::serve::{Gateway, how_to_call};
use crate::telemetry;

/// Run the gateway until it is told to stop (SIGTERM or Ctrl-C lets calls go on for `[gateway] drain`; a second one ends them).
#[derive(Debug, Args)]
pub(super) struct ServeCommand {
    #[command(flatten)]
    site: Site,
    /// Count and carry calls without writing them to the log: only for measuring what the log costs
    #[arg(long, hide = true)]
    bench_without_log: bool,
}

pub(super) fn run(command: &ServeCommand) -> CliResult {
    let Loaded { config, file, warnings } = command.site.load()?;
    telemetry::begin(&config.log).map_err(Failure::environment)?;
    for warning in &warnings {
        tracing::warn!("{}", warning.message);
    }
    match &file {
        Some(file) => tracing::info!(file = %file.display(), "the site's file was read"),
        None => tracing::info!("there is no ark.toml: the built-in site is used (hotline 95188)"),
    }
    if config.trunk.is_empty() {
        tracing::info!("there is no [[trunk]]: only loopback and private addresses may call");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("the runtime cannot start: {error}")))?;
    runtime.block_on(serve(config, !command.bench_without_log))
}

async fn serve(config: Config, log: bool) -> CliResult {
    let cannot = |error: io::Error| Failure::environment(format!("signals cannot be heard: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let gateway =
        Gateway::start_with(config.clone(), log).await.map_err(|error| Failure::environment(error.to_string()))?;
    for refused in &gateway.refused {
        tracing::error!("a plan is not live as its file says:\n{refused}");
    }
    say_how_to_reach(&config, &gateway)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(drain_s = config.gateway.drain.0.as_secs(), "no new calls are taken; those that are up may end");
    let switch = gateway.switch.clone();
    let mut stopping = std::pin::pin!(gateway.stop());
    tokio::select! {
        () = &mut stopping => return Ok(Outcome::Done),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("told twice: calls that are up are ended");
    switch.stop().await;
    stopping.await;
    Ok(Outcome::Done)
}

/// Where to click and how to call, in both languages: the first thing that a newcomer needs.
pub(super) fn say_how_to_reach(config: &Config, gateway: &Gateway) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let scheme = if config.web.tls.is_some() { "https" } else { "http" };
    writeln!(out, "\nArk {} 方舟", env!("CARGO_PKG_VERSION"))?;
    for call in how_to_call(config, gateway.sip()) {
        writeln!(out, "  call · 呼叫   {call}   (any SIP phone, no registration · 任何 SIP 话机，无需注册)")?;
    }
    writeln!(out, "  stop · 停止   Ctrl-C")?;
    let shown = match gateway.web {
        address if address.ip().is_unspecified() => std::net::SocketAddr::from(([127, 0, 0, 1], address.port())),
        address => address,
    };
    writeln!(out, "  open · 打开   {scheme}://{shown}/?token={}", gateway.token)?;
    if let Some(url) = &config.web.public_url {
        writeln!(out, "                {}/?token={}", url.trim_end_matches('/'), gateway.token)?;
    }
    writeln!(out)?;
    out.flush()
}
