//! Links that plans ask for: made, sent by the first way that can be, and watched for the caller who waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_conversation::event::LinkVia;
use ark_dialplans::{LinkNews, LinkWay};
use tokio::sync::mpsc;

use super::{Companion, LinkError, Minted, Seen};
use crate::call::LinkRequest;
use crate::call::driver::SwitchHandle;

/// How much longer than its plan a link is watched: what is told too late is harmless.
const GRACE: Duration = Duration::from_secs(20);

/// Does what plans ask for until the switch is gone.
pub async fn run(mut queue: mpsc::Receiver<LinkRequest>, switch: SwitchHandle, companion: Arc<Companion>) {
    while let Some(request) = queue.recv().await {
        let (switch, companion) = (switch.clone(), Arc::clone(&companion));
        tokio::spawn(async move {
            let (call, id) = (request.call, request.request);
            if let Err(error) = serve(&switch, &companion, &request).await {
                tracing::info!(conversation = %request.conversation, %error, "a plan's link could not be sent");
                switch.link_news(call, id, LinkNews::Failed).await;
            }
        });
    }
}

async fn serve(switch: &SwitchHandle, companion: &Companion, request: &LinkRequest) -> Result<(), LinkError> {
    let mut watch = companion.watch(request.conversation).await?;
    // A call's events go to the log by a road that no call waits for: the plan may be first.
    companion.await_call(request.conversation).await?;
    let by = format!("bot:{}", request.plan);
    let mut minted = companion.mint(request.conversation, &by, &[]).await?;
    companion.watched(&mut watch, minted.link);
    let way = |way: &LinkWay| match way {
        LinkWay::App => LinkVia::App,
        LinkWay::Sms => LinkVia::Sms,
        LinkWay::Code => LinkVia::Code,
    };
    let ways: Vec<LinkVia> = request.ways.iter().map(way).collect();
    companion.send_first(request.conversation, &mut minted, &ways).await?;
    let tell = |news| switch.link_news(request.call, request.request, news);
    tell(minted.code.clone().map_or(LinkNews::Sent, LinkNews::Code)).await;
    let mut rest = after_sms(&ways, &minted);
    let mut joined = false;
    let until = Instant::now() + request.timeout + GRACE;
    while let Some(seen) = watch.next(until.saturating_duration_since(Instant::now())).await {
        match seen {
            Seen::Joined => {
                joined = true;
                tell(LinkNews::Joined).await;
            }
            // It went out and did not arrive: the next of the ways, or the plan goes on without.
            Seen::Undelivered if joined => {}
            Seen::Undelivered => {
                let next = std::mem::take(&mut rest);
                if next.is_empty() {
                    tell(LinkNews::Failed).await;
                    break;
                }
                companion.send_first(request.conversation, &mut minted, &next).await?;
                tell(minted.code.clone().map_or(LinkNews::Sent, LinkNews::Code)).await;
            }
            Seen::Uploaded => {
                tell(LinkNews::Picture).await;
                break;
            }
        }
    }
    Ok(())
}

/// The ways that come behind the short message that went out.
fn after_sms(ways: &[LinkVia], minted: &Minted) -> Vec<LinkVia> {
    let by_sms = minted.sent.last().is_some_and(|sent| sent.via == LinkVia::Sms && sent.failed.is_none());
    let at = ways.iter().position(|way| *way == LinkVia::Sms).filter(|_| by_sms);
    at.and_then(|at| ways.get(at + 1..)).unwrap_or_default().to_vec()
}
