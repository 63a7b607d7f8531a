//! `ark serve`: the gateway itself.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

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

/// How long a gateway that is broken may take to save what it can.
const BROKEN_STOP_MAX: Duration = Duration::from_secs(25);

/// How long work in the background may go on after the end.
const BACKGROUND_STOP_MAX: Duration = Duration::from_millis(500);

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
        tracing::info!("there is no [[trunk]]: only loopback, private and this machine's own addresses may call");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(crate::priority::stand_back)
        .build()
        .map_err(|error| Failure::environment(format!("the runtime cannot start: {error}")))?;
    let ended = runtime.block_on(serve(config, !command.bench_without_log));
    // A prompt that is being spoken when the start is broken off holds nobody up.
    runtime.shutdown_timeout(BACKGROUND_STOP_MAX);
    ended
}

async fn serve(config: Config, log: bool) -> CliResult {
    let cannot = |error: io::Error| Failure::environment(format!("signals cannot be heard: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let started = tokio::select! {
        started = Gateway::start_with(config.clone(), log) => started,
        // Nothing is up yet that would have to be ended in order.
        _ = terminate.recv() => return Ok(Outcome::Done),
        _ = interrupt.recv() => return Ok(Outcome::Done),
    };
    let gateway = started.map_err(|error| Failure::environment(error.to_string()))?;
    for refused in &gateway.refused {
        tracing::error!("a plan is not live as its file says:\n{refused}");
    }
    if let Err(error) = say_how_to_reach(&config, &gateway) {
        tracing::warn!(%error, "standard output takes nothing; the gateway runs all the same");
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        part = gateway.broken() => {
            tracing::error!(part, "a part of the gateway has ended by a fault: the process ends, start it again");
            let _ = tokio::time::timeout(BROKEN_STOP_MAX, gateway.stop_now()).await;
            return Err(Failure::environment(format!("{part} has ended by a fault; start the gateway again")));
        }
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
    // Only a person sees the token: what is piped somewhere (a service's journal) is kept and read by others.
    let token = if out.is_terminal() { gateway.token.as_str() } else { "..." };
    writeln!(out, "  open · 打开   {scheme}://{shown}/?token={token}")?;
    if config.channel.iter().any(|channel| channel.enabled && channel.kind == crate::webchat::KIND) {
        writeln!(
            out,
            "  chat · 聊天   {scheme}://{shown}/chat   (a site with the chat in its corner · 带聊天窗口的示例网站)"
        )?;
    }
    if let Some(url) = &config.web.public_url {
        writeln!(out, "                {}/?token={token}", url.trim_end_matches('/'))?;
    }
    if !out.is_terminal() {
        writeln!(out, "  token · 令牌  {}", config.gateway.data.join(crate::http::token::FILE).display())?;
    }
    writeln!(out)?;
    out.flush()
}
