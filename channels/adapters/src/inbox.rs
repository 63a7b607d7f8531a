//! Messages on their way in: each waits for its files, and behind the earlier ones of its thread.
//!
//! A message is acknowledged after it is durable, and it is durable only whole: with its pictures. Providers do not wait for
//! ever, so at a deadline it is kept with words in place of what has not come (`unsupported`, with the provider's reference),
//! and acknowledged; when the file comes after all, an `ark.edit.v1` puts it in its place. A redelivery of a message that waits
//! is answered with it and fetches nothing again.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use ark_conversation::channel::{Ack, FetchFailure, FetchId, FileKind, Ingest, MarkId, Out};
use ark_conversation::event::{Edit, EditOp, Media, MessageIn, Part, Party, Window};
use ark_conversation::limits::{PARTS_MAX, TEXT_CHARS_MAX};
use ark_conversation::{CloudEvent, Content};
use jiff::Timestamp;

use crate::base::Base;
use crate::limits::{FETCH_LATE_MAX, LATE_MAX, WAITING_ACKS_MAX, WAITING_MAX};

/// A part of a message, or the place of one.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    Ready(Part),
    /// A file that is being fetched.
    Fetch(FetchId, Missing),
}

/// A file that is not there yet.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    pub(crate) kind: FileKind,
    /// What the channel calls it: `picture`.
    pub(crate) native_type: String,
    /// The provider's own reference, by which it can be had for some days.
    pub(crate) native_ref: String,
    /// What the provider read out of it: a spoken message's words.
    pub(crate) words: Option<String>,
}

impl Missing {
    fn part(&self, media: Media) -> Part {
        let words = self.words.as_ref().map(Content::new);
        match self.kind.part(media) {
            Part::VoiceNote { media, .. } => Part::VoiceNote { media, fallback_text: words },
            Part::Image { media, .. } => Part::Image { media, fallback_text: words },
            Part::Video { media, .. } => Part::Video { media, fallback_text: words },
            other => other,
        }
    }

    /// For a file that is not fetched, since too many are.
    pub(crate) fn too_many(&self) -> Slot {
        Slot::Ready(self.placeholder("文件过多，未下载 too many files at once, it was not fetched"))
    }

    fn placeholder(&self, why: &str) -> Part {
        let what = match self.kind {
            FileKind::Image => "图片 Picture",
            FileKind::VoiceNote => "语音 Voice message",
            FileKind::Video => "视频 Video",
            FileKind::File => "文件 File",
        };
        let words = self.words.as_ref().map(|words| format!(" {words}")).unwrap_or_default();
        Part::Unsupported {
            native_type: self.native_type.clone(),
            fallback_text: Content::new(format!("[{what}: {why}]{words}")),
            raw_ref: Some(self.native_ref.clone()),
        }
    }
}

/// A message that came.
pub(crate) struct Arrived {
    /// The id of its event.
    pub(crate) id: String,
    pub(crate) thread: String,
    pub(crate) at: Timestamp,
    pub(crate) sender: Party,
    /// What it says; none: it is no message, and only the events behind it are kept, in their place among the messages.
    pub(crate) slots: Vec<Slot>,
    pub(crate) reply_to: Option<String>,
    pub(crate) native_id: Option<String>,
    pub(crate) window: Option<Window>,
    /// Events that go with it, behind it.
    pub(crate) after: Vec<CloudEvent>,
}

impl Arrived {
    /// Events of a thread that are no message: they wait behind its messages.
    pub(crate) fn events((id, thread): (String, String), at: Timestamp, sender: Party, after: Vec<CloudEvent>) -> Self {
        let slots = Vec::new();
        Self { id, thread, at, sender, slots, reply_to: None, native_id: None, window: None, after }
    }
}

/// How one delivery of it is answered.
#[derive(Default)]
pub(crate) struct Acks {
    pub(crate) durable: Option<Ack>,
    pub(crate) refused: Option<Ack>,
    /// A cursor to save after it.
    pub(crate) save: Option<(String, String)>,
}

struct Waiting {
    message: Arrived,
    acks: Vec<Acks>,
    until: Timestamp,
}

/// A file that may come after its message was kept.
struct Late {
    thread: String,
    message: String,
    parts: Vec<Part>,
    index: usize,
    missing: Missing,
    until: Timestamp,
}

/// Messages that wait.
#[derive(Default)]
pub(crate) struct Inbox {
    waiting: VecDeque<Waiting>,
    late: BTreeMap<FetchId, Late>,
}

impl Inbox {
    pub(crate) fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// How many messages more may wait.
    pub(crate) fn room(&self) -> usize {
        WAITING_MAX.saturating_sub(self.waiting.len())
    }

    /// The answer to a redelivery waits with its message, when that waits. Given back when it does not, or there is no room.
    pub(crate) fn join(&mut self, id: &str, acks: Acks) -> Option<Acks> {
        match self.waiting.iter_mut().find(|waiting| waiting.message.id == id) {
            Some(waiting) if waiting.acks.len() < WAITING_ACKS_MAX => {
                waiting.acks.push(acks);
                None
            }
            _ => Some(acks),
        }
    }

    /// Takes a message; it goes on as soon as its files are there, at `until` in any case.
    pub(crate) fn take(&mut self, base: &mut Base, now: Timestamp, message: Arrived, acks: Acks, until: Timestamp) {
        let ready = message.slots.iter().all(|slot| matches!(slot, Slot::Ready(_)));
        if ready && self.waiting.is_empty() {
            self.keep(base, now, message, vec![acks]);
            return;
        }
        self.waiting.push_back(Waiting { message, acks: vec![acks], until });
        self.release(base, now);
    }

    /// Forgets the messages that wait with one of these marks: they will come again. Answers which marks these were.
    pub(crate) fn forget(&mut self, marks: &BTreeSet<MarkId>) -> Vec<MarkId> {
        let mut held = Vec::new();
        self.waiting.retain(|waiting| {
            let before = held.len();
            held.extend(waiting.acks.iter().filter_map(|acks| match acks.durable {
                Some(Ack::Tell { mark }) if marks.contains(&mark) => Some(mark),
                _ => None,
            }));
            held.len() == before
        });
        held
    }

    /// What became of a file. The words for a failure say what the customer can do.
    pub(crate) fn fetched(
        &mut self,
        base: &mut Base,
        now: Timestamp,
        fetch: FetchId,
        answer: Result<Media, FetchFailure>,
    ) {
        let slot = self.waiting.iter_mut().flat_map(|waiting| &mut waiting.message.slots);
        for slot in slot {
            if let Slot::Fetch(id, missing) = slot
                && *id == fetch
            {
                *slot = Slot::Ready(match answer {
                    Ok(media) => missing.part(media),
                    Err(failure) => missing.placeholder(why(&failure)),
                });
                self.release(base, now);
                return;
            }
        }
        if let Some(mut late) = self.late.remove(&fetch) {
            late.parts[late.index] = match answer {
                Ok(media) => late.missing.part(media),
                Err(failure) => late.missing.placeholder(why(&failure)),
            };
            self.edit(base, now, late);
        }
    }

    fn edit(&mut self, base: &mut Base, now: Timestamp, late: Late) {
        for other in self.late.values_mut().filter(|other| other.message == late.message) {
            other.parts.clone_from(&late.parts);
        }
        let id = base.child_id(&late.message, &format!("file{}", late.index));
        let edit = Edit { thread: late.thread.clone(), message: late.message, op: EditOp::Edit, parts: late.parts };
        let events = vec![base.event(id, &late.thread, now, edit)];
        base.push(Out::Ingest(Ingest { events, durable: Vec::new(), refused: Vec::new(), save: None }));
    }

    /// Messages whose time has come go on without their files.
    pub(crate) fn tick(&mut self, base: &mut Base, now: Timestamp) {
        self.late.retain(|_, late| late.until > now);
        self.release(base, now);
    }

    /// When the next message goes on without its files: of each thread only the first can.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let mut threads = HashSet::new();
        let first = self.waiting.iter().filter(|waiting| threads.insert(waiting.message.thread.as_str()));
        first.map(|waiting| waiting.until).min()
    }

    /// Lets go on what is whole or out of time and has no earlier one of its thread before it.
    fn release(&mut self, base: &mut Base, now: Timestamp) {
        let mut held = HashSet::new();
        let mut go = Vec::new();
        for (index, waiting) in self.waiting.iter().enumerate() {
            let thread = waiting.message.thread.as_str();
            let whole = waiting.message.slots.iter().all(|slot| matches!(slot, Slot::Ready(_)));
            if (whole || waiting.until <= now) && !held.contains(thread) {
                go.push(index);
            } else {
                held.insert(thread);
            }
        }
        for (gone, index) in go.into_iter().enumerate() {
            let waiting = self.waiting.remove(index - gone).expect("it was just looked at");
            self.keep(base, now, waiting.message, waiting.acks);
        }
    }

    /// Asks the host to keep a message, in as many events as its parts need.
    fn keep(&mut self, base: &mut Base, now: Timestamp, message: Arrived, acks: Vec<Acks>) {
        let Arrived { id, thread, at, sender, slots, reply_to, native_id, window, after } = message;
        let mut events = Vec::with_capacity(1 + after.len());
        for (number, slots) in slots.chunks(PARTS_MAX).enumerate() {
            let id = if number == 0 { id.clone() } else { base.child_id(&id, &(number + 1).to_string()) };
            let parts: Vec<Part> = slots
                .iter()
                .map(|slot| match slot {
                    Slot::Ready(part) => part.clone(),
                    Slot::Fetch(_, missing) => missing.placeholder("正在获取 still being fetched"),
                })
                .collect();
            for (index, slot) in slots.iter().enumerate() {
                if let Slot::Fetch(fetch, missing) = slot
                    && self.late.len() < LATE_MAX
                {
                    let (thread, message, parts) = (thread.clone(), id.clone(), parts.clone());
                    let until = now + FETCH_LATE_MAX;
                    self.late.insert(*fetch, Late { thread, message, parts, index, missing: missing.clone(), until });
                }
            }
            let message = MessageIn {
                thread: thread.clone(),
                sender: sender.clone(),
                parts,
                reply_to: reply_to.clone(),
                native_id: native_id.clone(),
                window: window.clone(),
            };
            events.push(base.event(id, &thread, at, message));
        }
        events.extend(after);
        base.push(Out::Ingest(ingest(events, acks)));
    }
}

/// Events that are to be kept, and every answer that waits for them.
pub(crate) fn ingest(events: Vec<CloudEvent>, acks: Vec<Acks>) -> Ingest {
    let mut all = Ingest { events, durable: Vec::new(), refused: Vec::new(), save: None };
    for acks in acks {
        all.durable.extend(acks.durable);
        all.refused.extend(acks.refused);
        all.save = acks.save.or(all.save);
    }
    all
}

const fn why(failure: &FetchFailure) -> &'static str {
    match failure {
        FetchFailure::Forbidden => "地址不被允许，未下载 its address is not allowed, it was not fetched",
        FetchFailure::TooLarge { .. } => "文件过大，未下载 too large, it was not fetched",
        FetchFailure::Broken(_) => "文件已损坏 it is broken",
        FetchFailure::Away(_) => "下载失败，请让客户重发 it could not be fetched, ask for it again",
    }
}

/// A text in parts that the standard takes; an empty one in words that say so.
pub(crate) fn text_slots(native_type: &str, text: &str) -> Vec<Slot> {
    if text.is_empty() {
        return vec![unsupported(native_type, "[空消息 Empty message]")];
    }
    let mut slots = Vec::with_capacity(1);
    let mut rest = text;
    while let Some((end, _)) = (rest.len() > TEXT_CHARS_MAX).then(|| rest.char_indices().nth(TEXT_CHARS_MAX)).flatten()
    {
        let (piece, tail) = rest.split_at(end);
        slots.push(Slot::Ready(Part::text(piece)));
        rest = tail;
    }
    slots.push(Slot::Ready(Part::text(rest)));
    slots
}

/// Something that cannot be translated, in words.
pub(crate) fn unsupported(native_type: &str, words: impl Into<String>) -> Slot {
    let kind = if native_type.is_empty() { "unknown" } else { native_type };
    let native_type = kind.chars().take(64).collect();
    Slot::Ready(Part::Unsupported { native_type, fallback_text: Content::new(words), raw_ref: None })
}
