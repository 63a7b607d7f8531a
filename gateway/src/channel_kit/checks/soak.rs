//! L4: the same under load, measured.

use std::sync::PoisonError;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::super::limits::{SOAK_THREADS, SOAK_WAITING_MAX};
use super::super::{Checked, Kit, Stop, expect, of_thread, words_of};
use super::crash::difference;

/// A-LOAD-1
pub(in super::super) async fn load(kit: &Kit) -> Checked {
    let before = resident(kit).await;
    let since = Instant::now();
    let until = since + kit.options.soak;
    let (inbound, outbound): (Vec<String>, Vec<String>) =
        (0..SOAK_THREADS).map(|_| (kit.fresh("t"), kit.fresh("t"))).unzip();
    let writers = inbound.iter().map(|thread| write(kit, thread, until));
    let speakers = outbound.iter().map(|thread| speak(kit, thread, until));
    let (written, spoken) =
        tokio::join!(futures_util::future::join_all(writers), futures_util::future::join_all(speakers));
    let took = since.elapsed();
    let (mut latencies, mut messages_in) = (Vec::new(), 0);
    for (thread, sent) in inbound.iter().zip(written) {
        let sent = sent?;
        let texts: Vec<String> = (0..sent.len()).map(|n| format!("s{n}")).collect();
        let kept = kit.texts_kept(thread, texts.len(), kit.patience()).await;
        expect(
            kept == texts,
            format!("{} messages of a thread, once and in order", texts.len()),
            difference(&texts, &kept),
        )?;
        let at: Vec<Instant> = kit.house.look(|memory| {
            memory
                .kept
                .iter()
                .filter(|kept| of_thread(kept, thread) && !words_of(kept).is_empty())
                .map(|kept| kept.at)
                .collect()
        });
        latencies.extend(sent.iter().zip(at).map(|(sent, at)| at.saturating_duration_since(*sent)));
        messages_in += texts.len();
    }
    let mut messages_out = 0;
    for (thread, sent) in outbound.iter().zip(spoken) {
        let texts: Vec<String> = (0..sent?).map(|n| format!("s{n}")).collect();
        let given = kit.texts_given(thread, texts.len(), kit.patience()).await?;
        expect(
            given == texts,
            format!("{} messages of a thread at the channel, once and in order", texts.len()),
            difference(&texts, &given),
        )?;
        messages_out += texts.len();
    }
    latencies.sort_unstable();
    let after = resident(kit).await;
    let mut measured = vec![
        ("soak".to_owned(), format!("{:.0} s", took.as_secs_f64())),
        ("messages in".to_owned(), format!("{messages_in}, {:.0} a second", rate(messages_in, took))),
        ("messages out".to_owned(), format!("{messages_out}, {:.0} a second", rate(messages_out, took))),
        (
            "from the customer to the gateway".to_owned(),
            format!("p50 {}, p99 {}", part(&latencies, 50), part(&latencies, 99)),
        ),
    ];
    if let (Some(before), Some(after)) = (before, after) {
        measured.push(("memory".to_owned(), format!("{} MiB before, {} MiB after", before >> 20, after >> 20)));
    }
    let words = measured.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("; ");
    kit.measured.lock().unwrap_or_else(PoisonError::into_inner).extend(measured);
    Ok(words)
}

async fn resident(kit: &Kit) -> Option<u64> {
    kit.process.lock().await.as_ref()?.resident_bytes()
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(0.001)
}

fn part(sorted: &[Duration], percent: usize) -> String {
    let at = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(at).map_or_else(|| "none".to_owned(), |took| format!("{:.1} ms", took.as_secs_f64() * 1_000.0))
}

/// A customer who writes as fast as the house is told; when each message was written.
async fn write(kit: &Kit, thread: &str, until: Instant) -> Result<Vec<Instant>, Stop> {
    let mut sent = Vec::new();
    while Instant::now() < until {
        let message = json!({"id": kit.fresh("n"), "thread": thread, "text": format!("s{}", sent.len())});
        sent.push(Instant::now());
        kit.deliver_native(&message).await?;
        let least = sent.len().saturating_sub(SOAK_WAITING_MAX);
        let near = |memory: &super::super::house::Memory| {
            (memory.counts.get(thread).copied().unwrap_or(0) >= least).then_some(())
        };
        // One that never comes is told by what is missing in the end.
        let _ = kit.house.wait(kit.patience(), near).await;
    }
    Ok(sent)
}

/// An agent who writes as fast as the channel is given; how many messages.
async fn speak(kit: &Kit, thread: &str, until: Instant) -> Result<usize, Stop> {
    let mut count: usize = 0;
    while Instant::now() < until {
        let (_, event) = kit.says(thread, &format!("s{count}"));
        kit.bring_taken(&event).await?;
        count += 1;
        if count.is_multiple_of(SOAK_WAITING_MAX) {
            kit.texts_given(thread, count - SOAK_WAITING_MAX, kit.patience()).await?;
        }
    }
    Ok(count)
}
