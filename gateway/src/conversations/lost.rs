//! After a crash: calls that the log still shows as up are closed in it, and recordings that were cut short are mended.
//!
//! A call is its process's: the first event of each leg names it ([`PROCESS`]). Whoever finds out first that a process is
//! gone (its successor at start, or another gateway) says so in the log; the event's id is made of the conversation's, so that
//! it is there once, whoever else says it too.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use ark_conversation::event::{CallLost, Medium, RecordingCause, RecordingFinished, RecordingFormat, Role};
use ark_conversation::{
    CloudEvent, ConversationId, ConversationState, Event, LegId, LegPhase, LegState, NewEvent, Record, source,
};
use ark_media::record::{HEADER_BYTES, channels_of, duration_of, ogg, repair};
use ark_store::{ListFilter, Openness, Store, StoreError};
use jiff::Timestamp;

use super::{Onward, Writer, callback};
use crate::media::RecordFormat;

/// The CloudEvents attribute that names the process of a call's leg: `gateway/process`.
pub const PROCESS: &str = "arkprocess";

/// Conversations looked at in one go.
const PAGE: usize = 100;
/// Records read in one go.
const RECORDS: usize = 500;

/// What became of a process that a leg names.
pub type IsGone<'a> = dyn Fn(&str) -> bool + Sync + 'a;

/// Closes in the log the legs of calls whose process is gone, and leaves everything else alone: calls of processes that live,
/// threads of messages, companion pages. Gives how many conversations it wrote to.
///
/// # Errors
/// What the store says; called again, it goes on where it was.
pub async fn close_lost_calls(
    store: &dyn Store,
    writer: &Writer,
    onward: &Onward,
    is_gone: &IsGone<'_>,
    (reason, uncalled): (&str, &[String]),
) -> Result<usize, StoreError> {
    let mut lost = 0;
    let mut before = None;
    loop {
        // By telephone only: a hundred thousand open chats are not looked at.
        let channel = Some("sip".to_owned());
        let filter = ListFilter { openness: Openness::Open, channel, before, ..ListFilter::default() };
        let page = store.list(&writer.tenant, filter, PAGE).await?;
        for state in &page.conversations {
            let events = losses(store, writer, state, is_gone, (reason, uncalled)).await?;
            if events.is_empty() {
                continue;
            }
            let appended = store.append(events).await?;
            let new: Vec<Record> = appended.into_iter().filter(|one| !one.duplicate).map(|one| one.record).collect();
            lost += usize::from(!new.is_empty());
            onward.committed(new).await;
        }
        match page.next {
            Some(next) => before = Some(next),
            None => return Ok(lost),
        }
    }
}

fn lives(leg: &LegState) -> bool {
    leg.phase != LegPhase::Ended
}

fn is_up(leg: &LegState) -> bool {
    leg.medium == Medium::Call && lives(leg) && leg.phase != LegPhase::Offered
}

/// The events that close what is gone of one conversation.
async fn losses(
    store: &dyn Store,
    writer: &Writer,
    state: &ConversationState,
    is_gone: &IsGone<'_>,
    (reason, uncalled): (&str, &[String]),
) -> Result<Vec<NewEvent>, StoreError> {
    let up: Vec<LegId> = state.legs.iter().filter(|leg| is_up(leg)).map(|leg| leg.leg).collect();
    if up.is_empty() {
        return Ok(Vec::new());
    }
    let (processes, place) = processes(store, state, &up).await?;
    let process = |leg: &LegId| processes.get(leg).map_or("", String::as_str);
    let gone: Vec<LegId> = up.into_iter().filter(|leg| is_gone(process(leg))).collect();
    let Some(first) = gone.first() else { return Ok(Vec::new()) };
    // One event for the whole call, unless something in the conversation lives on.
    let whole = state.legs.iter().filter(|leg| lives(leg)).count() == gone.len()
        && gone.iter().all(|leg| process(leg) == process(first));
    let now = Timestamp::now();
    let event = |leg: Option<LegId>, process: &str| {
        let gateway = process.split_once('/').map_or(writer.gateway.as_str(), |(gateway, _)| gateway);
        let source = source::gateway(&writer.tenant, gateway, "calls");
        let id = match leg {
            // A customer who is called back may be lost a second time.
            None => format!("call-lost-{}-from-{first}", state.conversation),
            Some(leg) => format!("call-lost-{}-{leg}", state.conversation),
        };
        let lost = CallLost { leg, gateway: gateway.to_owned(), reason: reason.to_owned() };
        NewEvent {
            tenant: writer.tenant.clone(),
            conversation: state.conversation,
            epoch: 1,
            at: now,
            event: CloudEvent::new(id, source, now, lost),
        }
    };
    let mut events: Vec<NewEvent> = match whole {
        true => vec![event(None, process(first))],
        false => gone.iter().map(|leg| event(Some(*leg), process(leg))).collect(),
    };
    let customer = state.legs.iter().any(|leg| leg.role == Role::Customer && gone.contains(&leg.leg));
    let lost = place.filter(|(queue, ..)| customer && was_in_line(state) && !uncalled.contains(queue));
    if let Some(offered) = lost.and_then(|place| callback::after_loss(state, place, now)) {
        let id = format!("call-lost-{}-{}", state.conversation, offered.leg);
        let source = source::gateway(&writer.tenant, &writer.gateway, "calls");
        let event = CloudEvent::new(id, source, now, offered);
        events.push(NewEvent {
            tenant: writer.tenant.clone(),
            conversation: state.conversation,
            epoch: 1,
            at: now,
            event,
        });
    }
    Ok(events)
}

/// Whether the customer of a call waited for a person, talked with one, or was being called back by one.
fn was_in_line(state: &ConversationState) -> bool {
    let callback = || state.legs.iter().any(|leg| is_up(leg) && leg.role == Role::Agent);
    state.waiting_callback().is_none() && (state.queue.is_some() || state.bridged.is_some() || callback())
}

/// Which process each of these legs is of (a leg of an earlier release names none), and the customer's place in line, now or last.
async fn processes(
    store: &dyn Store,
    state: &ConversationState,
    legs: &[LegId],
) -> Result<(BTreeMap<LegId, String>, Option<callback::Place>), StoreError> {
    let (mut found, mut place) = (BTreeMap::new(), None);
    let mut after = 0;
    while after < state.last_seq && (!legs.iter().all(|leg| found.contains_key(leg)) || state.last_queue.is_some()) {
        let records = store.read(&state.tenant, state.conversation, after, RECORDS).await?;
        let Some(last) = records.last() else { break };
        after = last.seq;
        place = callback::place_in(place, &records);
        for record in &records {
            if let Event::CallRinging(ringing) = &record.event.event {
                let process = record.event.extensions.get(PROCESS).and_then(|value| value.as_str());
                found.insert(ringing.leg, process.unwrap_or_default().to_owned());
            }
        }
    }
    Ok((found, place))
}

/// Makes recordings in this folder whole that a crash cut short, up to their last second, and says so in the log. Those of
/// calls that are up are left alone. Call it after [`close_lost_calls`].
///
/// # Errors
/// What the store says. A recording that cannot be mended is only warned of.
pub async fn mend_recordings(
    store: &dyn Store,
    writer: &Writer,
    onward: &Onward,
    folder: &Path,
) -> Result<(), StoreError> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".wav") || name.ends_with(".opus"))
        .collect();
    names.sort();
    for name in names {
        let path = folder.join(&name);
        let Some(conversation) = name.rsplit_once('-').and_then(|(id, _)| id.parse::<ConversationId>().ok()) else {
            continue;
        };
        if !matches!(cut_short(&path), Ok(true)) {
            continue;
        }
        let state = store.summary(&writer.tenant, conversation).await?;
        if state.is_some_and(|state| state.legs.iter().any(is_up)) {
            continue;
        }
        match mend(&path) {
            Ok(Some(mended)) => {
                let event = writer.event(conversation, "recordings", finished(name, &mended));
                let appended = store.append(vec![event]).await?;
                onward.committed(appended.into_iter().map(|one| one.record).collect()).await;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a recording that a crash cut short cannot be mended");
            }
        }
    }
    Ok(())
}

/// A recording that is whole now.
#[derive(Debug, PartialEq, Eq)]
struct Mended {
    bytes: u64,
    duration: Duration,
    format: RecordingFormat,
    channels: usize,
}

fn finished(name: String, mended: &Mended) -> RecordingFinished {
    RecordingFinished {
        leg: LegId(1),
        reference: format!("ark-media:recordings/{name}"),
        recording: name,
        duration_ms: u64::try_from(mended.duration.as_millis()).unwrap_or(u64::MAX),
        bytes: mended.bytes,
        sha256: None,
        cause: RecordingCause::Hangup,
        format: Some(mended.format),
        channels: crate::call::recording_channels(mended.channels),
    }
}

/// The first bytes of a recording and its length; none: too short to be one.
fn head(path: &Path) -> io::Result<Option<([u8; HEADER_BYTES], u64)>> {
    let mut first = [0; HEADER_BYTES];
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length < HEADER_BYTES as u64 {
        return Ok(None);
    }
    file.read_exact(&mut first)?;
    Ok(Some((first, length)))
}

/// The last bytes of an Ogg/Opus recording: where they begin, and how the file ends.
fn tail(path: &Path) -> io::Result<Option<(u64, ogg::End)>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let begin = length.saturating_sub(2 * ogg::PAGE_BYTES_MAX as u64);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(ogg::end(&bytes).map(|end| (begin, end)))
}

fn is_opus(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == RecordFormat::Opus.extension())
}

fn cut_short(path: &Path) -> io::Result<bool> {
    if is_opus(path) {
        return Ok(tail(path)?.is_some_and(|(_, end)| end.mend.is_some()));
    }
    Ok(head(path)?.is_some_and(|(first, length)| repair(&first, length).is_some()))
}

/// Gives a recording the end, or the header, that agrees with the length of its file. Says what it is when it had to be
/// mended.
fn mend(path: &Path) -> io::Result<Option<Mended>> {
    if is_opus(path) {
        return mend_opus(path);
    }
    let Some((first, length)) = head(path)? else { return Ok(None) };
    let Some(mends) = repair(&first, length) else { return Ok(None) };
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.set_len(mends.file_bytes)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&mends.header)?;
    file.sync_all()?;
    let channels = channels_of(&mends.header);
    let duration = duration_of(channels, mends.file_bytes);
    let format = RecordingFormat::Wav;
    Ok(Some(Mended { bytes: mends.file_bytes, duration, format, channels: usize::from(channels) }))
}

fn mend_opus(path: &Path) -> io::Result<Option<Mended>> {
    let Some((begin, end)) = tail(path)? else { return Ok(None) };
    let Some((at, page)) = end.mend else { return Ok(None) };
    // Its first page tells the channels (RFC 7845 5.1), at a fixed place.
    let channels = head(path)?.map_or(0, |(first, _)| usize::from(first[37]));
    let bytes = begin + end.whole as u64;
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.set_len(bytes)?;
    file.seek(SeekFrom::Start(begin + at as u64))?;
    file.write_all(&page)?;
    file.sync_all()?;
    Ok(Some(Mended { bytes, duration: end.duration, format: RecordingFormat::Opus, channels }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ark_bus::EmbeddedBus;
    use ark_conversation::event::{Direction, Role};
    use ark_conversation::{Owner, Pii, Tenant};
    use ark_store::SqliteStore;

    use super::*;

    #[test]
    fn a_recording_cut_short_is_whole_up_to_its_last_sample() {
        let path = std::env::temp_dir().join(format!("ark-mend-{}.wav", std::process::id()));
        for channels in [2_u16, 4] {
            let instant = u64::from(channels) * 2;
            let mut bytes = ark_media::record::header(channels, instant * 8_000).to_vec();
            bytes.extend(std::iter::repeat_n(1_u8, usize::from(channels) * 2 * 12_000 + 3));
            std::fs::write(&path, &bytes).unwrap();
            let whole = HEADER_BYTES as u64 + instant * 12_000;
            assert!(cut_short(&path).unwrap());
            let mended = mend(&path).unwrap().expect("it was cut short");
            assert_eq!((mended.bytes, mended.channels), (whole, usize::from(channels)));
            assert_eq!(std::fs::metadata(&path).unwrap().len(), whole);
            let header = ark_media::record::header(channels, instant * 12_000);
            assert_eq!(std::fs::read(&path).unwrap()[..HEADER_BYTES], header);
            assert_eq!(mend(&path).unwrap(), None, "it is whole now");
            let told = finished("x".to_owned(), &mended);
            assert_eq!((told.duration_ms, told.channels.len()), (1_500, usize::from(channels)));
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn an_opus_recording_cut_short_has_an_end_again() {
        let path = std::env::temp_dir().join(format!("ark-mend-{}.opus", std::process::id()));
        let mut bytes = Vec::new();
        let mut opus = ogg::Writer::new(4, 9, &mut bytes);
        opus.push(&[500; 4 * 16_000], &mut bytes);
        bytes.extend_from_slice(b"OggS\0 and no more");
        std::fs::write(&path, &bytes).unwrap();
        assert!(cut_short(&path).unwrap());
        let mended = mend(&path).unwrap().expect("it was cut short");
        assert_eq!((mended.channels, mended.format), (4, RecordingFormat::Opus));
        // Whole pages of 240 ms.
        assert_eq!(mended.duration, Duration::from_millis(1_920));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), mended.bytes);
        assert!(!cut_short(&path).unwrap() && mend(&path).unwrap().is_none());
        std::fs::remove_file(&path).unwrap();
    }

    fn rings(n: u64, leg: u32, process: &str, offer: Option<Role>) -> NewEvent {
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let ringing = ark_conversation::event::CallRinging {
            leg: LegId(leg),
            role: offer.unwrap_or(Role::Customer),
            direction: Direction::Inbound,
            from: Pii::new("1001".to_owned()),
            from_display: None,
            to: Pii::new("95188".to_owned()),
            trunk: "local".to_owned(),
            call_id: format!("{n}-{leg}"),
            owner: Owner::Bot("main".to_owned()),
            plan: None,
            plan_version: None,
            transport: None,
            remote: None,
        };
        let source = source::call(&Tenant::MAIN, "local", format!("{n}").as_bytes());
        let mut event = CloudEvent::new(format!("{n}-{leg}"), source, at, ringing);
        if !process.is_empty() {
            event.extensions.insert(PROCESS.to_owned(), process.into());
        }
        NewEvent { tenant: Tenant::MAIN, conversation: ConversationId::new(n, 7), epoch: 1, at, event }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn calls_of_processes_that_are_gone_are_closed_once_and_no_others() {
        let folder = std::env::temp_dir().join(format!("ark-lost-{}", std::process::id()));
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.join("ark.db")).unwrap());
        let writer = Writer { tenant: Tenant::MAIN, gateway: "gw2".to_owned() };
        let onward = Onward::Direct(Arc::new(EmbeddedBus::new()));
        let events = vec![
            rings(1, 1, "gw1/a", None),
            rings(1, 2, "gw1/a", Some(Role::Agent)),
            rings(2, 1, "gw2/b", None),
            rings(3, 1, "gw1/a", None),
            rings(3, 2, "gw2/b", Some(Role::External)),
            rings(4, 1, "", None),
        ];
        store.append(events).await.unwrap();
        let gone = |process: &str| process == "gw1/a";
        let again = || close_lost_calls(&*store, &writer, &onward, &gone, ("it died", &[]));
        assert_eq!(again().await.unwrap(), 2);
        assert_eq!(again().await.unwrap(), 0, "once");
        let of = async |n: u64| {
            let records = store.read(&Tenant::MAIN, ConversationId::new(n, 7), 0, 10).await.unwrap();
            let lost = |record: Record| match record.event.event {
                Event::CallLost(lost) => Some((lost.leg, lost.gateway)),
                _ => None,
            };
            records.into_iter().filter_map(lost).collect::<Vec<_>>()
        };
        assert_eq!(of(1).await, [(None, "gw1".to_owned())], "one event for the whole call");
        assert_eq!(of(2).await, [], "its process lives");
        assert_eq!(of(3).await, [(Some(LegId(1)), "gw1".to_owned())], "the leg of another process lives on");
        assert_eq!(of(4).await, [], "nobody knows whose it is");
        let offers = async |n: u64| {
            let records = store.read(&Tenant::MAIN, ConversationId::new(n, 7), 0, 10).await.unwrap();
            let offered = |record: Record| match record.event.event {
                Event::LegOffered(offered) => Some((offered.to, offered.callback)),
                _ => None,
            };
            records.into_iter().filter_map(offered).collect::<Vec<_>>()
        };
        assert_eq!(offers(1).await.len() + offers(3).await.len(), 0, "they were in no line");
        // One who waited is called back, with the place; of a queue that does not want it, nobody.
        let waits = |n: u64, queue: &str| {
            let joined = ark_conversation::event::QueueJoined {
                leg: LegId(1),
                queue: queue.to_owned(),
                position: 1,
                priority: 2,
                needs: None,
            };
            let ringing = rings(n, 1, "gw1/a", None);
            let at = ringing.at;
            let event = CloudEvent::new(format!("{n}-joined"), ringing.event.source.clone(), at, joined);
            vec![ringing.clone(), NewEvent { event, ..ringing }]
        };
        store.append(waits(5, "general")).await.unwrap();
        store.append(waits(6, "night")).await.unwrap();
        let uncalled = ["night".to_owned()];
        let lost = || close_lost_calls(&*store, &writer, &onward, &gone, ("it died", &uncalled));
        assert_eq!((lost().await.unwrap(), lost().await.unwrap()), (2, 0));
        let [(to, Some(place))] = &offers(5).await[..] else { panic!("one place") };
        assert_eq!((to.as_ref().unwrap().reveal(), place.queue.as_str(), place.priority), ("1001", "general", 2));
        assert_eq!(place.waiting_since, Timestamp::from_second(1_700_000_000).unwrap());
        let state = store.summary(&Tenant::MAIN, ConversationId::new(5, 7)).await.unwrap().unwrap();
        assert!(state.is_open() && state.waiting_callback().is_some());
        assert_eq!(offers(6).await, []);
        let state = store.summary(&Tenant::MAIN, ConversationId::new(3, 7)).await.unwrap().unwrap();
        assert_eq!(state.legs.iter().filter(|leg| is_up(leg)).count(), 1);
        drop(store);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
