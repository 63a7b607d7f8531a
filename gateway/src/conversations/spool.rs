//! Where events wait on disk while the store is away: files of lines, oldest first, bounded, one write and one flush a batch.
//!
//! A line is a checksum (16 hex digits: half of half a SHA-256), a space, and the event as JSON. What a crash left half written
//! is recognised and left out: nobody was told that it is kept. A file is removed once all of it is in the store; a crash before
//! that brings its events again, which the store knows by their ids.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ark_conversation::{CloudEvent, ConversationId, NewEvent, Tenant};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What the spool may hold on disk, in bytes: about 250,000 events of a call.
pub const SPOOL_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A file that has reached this size is followed by another, in bytes.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// Lines of one batch end with the one that passes this, in bytes.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;
/// Hex digits of a line's checksum.
const CHECK_DIGITS: usize = 16;
/// How the names of its files end.
const EXTENSION: &str = "jsonl";

/// An event as it stands in a line.
#[derive(Serialize, Deserialize)]
struct Line<T, E> {
    tenant: T,
    conversation: ConversationId,
    epoch: u64,
    at: Timestamp,
    event: E,
}

fn checksum(json: &[u8]) -> String {
    let hash = Sha256::digest(json);
    hash.iter().take(CHECK_DIGITS / 2).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// The lines of events.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for an event that has no JSON; there is none such.
pub fn encode(events: &[NewEvent]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for NewEvent { tenant, conversation, epoch, at, event } in events {
        let line = Line { tenant, conversation: *conversation, epoch: *epoch, at: *at, event };
        let json = serde_json::to_vec(&line)?;
        lines.extend_from_slice(checksum(&json).as_bytes());
        lines.push(b' ');
        lines.extend_from_slice(&json);
        lines.push(b'\n');
    }
    Ok(lines)
}

/// The event of a line without its end; none: it is damaged.
fn decode(line: &[u8]) -> Option<NewEvent> {
    let (check, json) = line.split_at_checked(CHECK_DIGITS)?;
    let json = json.strip_prefix(b" ")?;
    if check != checksum(json).as_bytes() {
        return None;
    }
    let Line { tenant, conversation, epoch, at, event } =
        serde_json::from_slice::<Line<Tenant, CloudEvent>>(json).ok()?;
    Some(NewEvent { tenant, conversation, epoch, at, event })
}

/// The oldest events of a spool.
#[derive(Debug, Default)]
pub struct Head {
    /// The events, in order.
    pub events: Vec<NewEvent>,
    /// What [`Spool::advance`] takes when they are in the store, in bytes.
    pub bytes: u64,
    /// Lines among them that are damaged.
    pub damaged: u64,
    /// Whether the file ends in a line that was never finished.
    pub torn: bool,
}

struct Segment {
    number: u64,
    bytes: u64,
    events: u64,
}

/// The events that wait on disk, in order.
pub struct Spool {
    folder: PathBuf,
    bytes_max: u64,
    /// The oldest first.
    segments: VecDeque<Segment>,
    /// The last of them, while it is written to.
    tail: Option<File>,
    next: u64,
    /// How much of the oldest is in the store: bytes, events.
    done: (u64, u64),
}

impl Spool {
    /// Opens the spool of a folder, with what an earlier process left there. The folder is made when it is needed.
    ///
    /// # Errors
    /// The system's, when what is there cannot be read.
    pub fn open(folder: impl Into<PathBuf>, bytes_max: u64) -> io::Result<Self> {
        let folder = folder.into();
        let mut segments = Vec::new();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        for entry in entries.into_iter().flatten() {
            let path = entry?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let Some(number) = number.filter(|_| path.extension().is_some_and(|end| end == EXTENSION)) {
                let (bytes, events) = count(&path)?;
                segments.push(Segment { number, bytes, events });
            }
        }
        segments.sort_unstable_by_key(|segment| segment.number);
        let next = segments.last().map_or(1, |last| last.number + 1);
        Ok(Self { folder, bytes_max, segments: segments.into(), tail: None, next, done: (0, 0) })
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Events that wait.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.segments.iter().map(|segment| segment.events).sum::<u64>().saturating_sub(self.done.1)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:012}.{EXTENSION}"))
    }

    /// Puts lines of [`encode`] behind everything that waits; they are on the disk then, or none of them counts.
    ///
    /// # Errors
    /// [`io::ErrorKind::QuotaExceeded`] when the spool is full; otherwise what the system says.
    pub fn push(&mut self, lines: &[u8], events: u64) -> io::Result<()> {
        if self.bytes() + lines.len() as u64 > self.bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!("the spool holds its {} bytes", self.bytes_max),
            ));
        }
        if self.segments.back().is_some_and(|last| last.bytes >= SEGMENT_BYTES) {
            self.tail = None;
        }
        if self.tail.is_none() {
            fs::create_dir_all(&self.folder)?;
            let path = self.path(self.next);
            self.tail = Some(OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?);
            self.segments.push_back(Segment { number: self.next, bytes: 0, events: 0 });
            self.next += 1;
        }
        let folder = self.folder.clone();
        let (Some(file), Some(last)) = (&mut self.tail, self.segments.back_mut()) else { return Ok(()) };
        let new = last.bytes == 0;
        let written = file
            .write_all(lines)
            .and_then(|()| file.sync_data())
            .and_then(|()| if new { File::open(folder)?.sync_all() } else { Ok(()) });
        if written.is_ok() {
            last.bytes += lines.len() as u64;
            last.events += events;
        } else if new {
            let number = last.number;
            self.segments.pop_back();
            self.tail = None;
            let _ = fs::remove_file(self.path(number));
        } else if file.set_len(last.bytes).is_err() {
            // What stands half written behind the last good line is never read; the next lines begin a file.
            self.tail = None;
        }
        written
    }

    /// The oldest events, at most `limit`. Nothing at all when the spool is empty.
    ///
    /// # Errors
    /// What the system says.
    pub fn head(&self, limit: usize) -> io::Result<Head> {
        let mut head = Head::default();
        let Some(first) = self.segments.front() else { return Ok(head) };
        let mut file = File::open(self.path(first.number))?;
        file.seek(SeekFrom::Start(self.done.0))?;
        let mut lines = BufReader::new(file.take(first.bytes - self.done.0));
        let mut line = Vec::new();
        while head.events.len() < limit && head.bytes < BATCH_BYTES {
            line.clear();
            let bytes = lines.read_until(b'\n', &mut line)? as u64;
            if bytes == 0 {
                // Also when the file is shorter than it was: there is no more of it.
                head.bytes = first.bytes - self.done.0;
                break;
            }
            head.bytes += bytes;
            match line.strip_suffix(b"\n") {
                Some(line) => match decode(line) {
                    Some(event) => head.events.push(event),
                    None => head.damaged += 1,
                },
                None => head.torn = true,
            }
        }
        Ok(head)
    }

    /// These bytes of the head are in the store, or lost.
    pub fn advance(&mut self, bytes: u64, events: u64) {
        self.done = (self.done.0 + bytes, self.done.1 + events);
        if self.segments.front().is_some_and(|first| self.done.0 >= first.bytes) {
            self.remove_first(|path| fs::remove_file(path));
        }
    }

    /// Sets the oldest file aside, which cannot be read. Answers how many events were in it.
    pub fn set_aside(&mut self) -> u64 {
        let lost = self.segments.front().map_or(0, |first| first.events.saturating_sub(self.done.1));
        self.remove_first(|path| fs::rename(path, path.with_extension("unreadable")));
        lost
    }

    fn remove_first(&mut self, remove: impl Fn(&Path) -> io::Result<()>) {
        let Some(first) = self.segments.pop_front() else { return };
        self.done = (0, 0);
        if self.segments.is_empty() {
            self.tail = None;
        }
        let path = self.path(first.number);
        if let Err(error) = remove(&path) {
            tracing::warn!(path = %path.display(), %error, "a file of the spool that is done could not be removed");
        }
    }
}

/// Bytes and finished lines of a file.
fn count(path: &Path) -> io::Result<(u64, u64)> {
    let mut file = BufReader::with_capacity(64 * 1024, File::open(path)?);
    let (mut bytes, mut lines) = (0, 0);
    loop {
        let chunk = file.fill_buf()?;
        if chunk.is_empty() {
            return Ok((bytes, lines));
        }
        lines += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        let read = chunk.len();
        bytes += read as u64;
        file.consume(read);
    }
}
