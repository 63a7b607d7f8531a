//! The one thread that writes recordings. Media threads hand it blocks through a bounded queue and never wait: when
//! the disk is full or too slow, the recording fails and the call goes on.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use ark_media::record;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tokio::sync::mpsc;

use super::{
    api::{Event, LegId, RecordEnd},
    events::EventOut,
    limits::{RECORD_POOL, RECORD_QUEUE},
};

/// Bytes for a file.
pub(crate) type Block = Vec<u8>;

/// What a leg and the disk thread share about one recording.
#[derive(Debug)]
pub(crate) struct Ticket {
    number: u64,
    leg: LegId,
    path: PathBuf,
    failure: AtomicU8,
}

/// How a recording failed.
const FINE: u8 = 0;
const DISK_FAILED: u8 = 1;
const DISK_TOO_SLOW: u8 = 2;

impl Ticket {
    /// Whether more blocks make sense.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.load(Ordering::Relaxed) != FINE
    }
}

/// What a finished recording holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Total {
    pub(crate) duration: Duration,
    pub(crate) bytes: u64,
}

enum Message {
    Open(Arc<Ticket>),
    Write(Arc<Ticket>, u64, Block),
    Close(Arc<Ticket>, RecordEnd, Total),
}

/// The media threads' side; cheap to clone.
#[derive(Clone)]
pub(crate) struct Disk {
    sender: Sender<Message>,
    recycled: Receiver<Block>,
    numbers: Arc<AtomicU64>,
}

impl Disk {
    /// Asks for a new file. The path comes back when the queue is full: the disk is behind.
    pub(crate) fn open(&self, leg: LegId, path: PathBuf) -> Result<Arc<Ticket>, PathBuf> {
        if self.sender.len() >= RECORD_QUEUE {
            return Err(path);
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let ticket = Arc::new(Ticket { number, leg, path, failure: AtomicU8::new(FINE) });
        match self.sender.try_send(Message::Open(Arc::clone(&ticket))) {
            Ok(()) => Ok(ticket),
            Err(_) => Err(ticket.path.clone()),
        }
    }

    /// An empty block, used again where one is at hand.
    pub(crate) fn block(&self) -> Block {
        let mut block = self.recycled.try_recv().unwrap_or_default();
        block.clear();
        block
    }

    /// Hands a block over. When the disk is too far behind, the recording fails (the disk thread says so when it
    /// gets there) and the block is dropped.
    pub(crate) fn write(&self, ticket: &Arc<Ticket>, offset: u64, block: Block) {
        if ticket.has_failed() {
            return;
        }
        if self.sender.len() >= RECORD_QUEUE
            || self.sender.try_send(Message::Write(Arc::clone(ticket), offset, block)).is_err()
        {
            ticket.failure.store(DISK_TOO_SLOW, Ordering::Relaxed);
        }
    }

    /// No more blocks. Has room of its own in the queue.
    pub(crate) fn close(&self, ticket: Arc<Ticket>, cause: RecordEnd, total: Total) {
        // The queue holds a close for every open one beside the blocks: only a stopped thread refuses it.
        let _ = self.sender.try_send(Message::Close(ticket, cause, total));
    }
}

/// The thread; ends when the last [`Disk`] is gone, after all files are closed.
pub(crate) struct DiskThread(Option<JoinHandle<()>>);

impl DiskThread {
    /// Starts it for at most `recordings` at a time.
    pub(crate) fn start(recordings: usize, events: mpsc::Sender<Event>) -> io::Result<(Self, Disk)> {
        // Opens are bounded with the blocks; every open one may have its close in the queue as well.
        let (sender, receiver) = bounded(2 * RECORD_QUEUE + recordings);
        let (recycle, recycled) = bounded(RECORD_POOL);
        let writer = Writer { open: HashMap::new(), events: EventOut::new(events, None), recycle };
        let thread = thread::Builder::new().name("ark-record".to_owned()).spawn(move || writer.run(&receiver))?;
        Ok((Self(Some(thread)), Disk { sender, recycled, numbers: Arc::default() }))
    }

    /// Waits until every file is closed. All [`Disk`]s must be gone.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.0.take() {
            // A panic of the writer has been printed by the panic hook; there is nothing left to save.
            let _ = thread.join();
        }
    }
}

struct Writer {
    open: HashMap<u64, File>,
    events: EventOut,
    recycle: Sender<Block>,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>) {
        loop {
            let message = if self.events.is_waiting() {
                self.events.flush(|_| {});
                match receiver.recv_timeout(Duration::from_millis(20)) {
                    Ok(message) => message,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            } else {
                match receiver.recv() {
                    Ok(message) => message,
                    Err(_) => return,
                }
            };
            self.handle(message);
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Open(ticket) => self.open(&ticket),
            Message::Write(ticket, offset, block) => {
                if let Some(file) = self.open.get(&ticket.number)
                    && let Err(error) = file.write_all_at(&block, offset)
                {
                    self.open.remove(&ticket.number);
                    self.fail(&ticket, format!("writing {}: {error}", ticket.path.display()));
                }
                // A full pool lets the block go: memory returns to idle.
                let _ = self.recycle.try_send(block);
            }
            Message::Close(ticket, cause, total) => self.close(&ticket, cause, total),
        }
    }

    fn open(&mut self, ticket: &Ticket) {
        match File::create(&ticket.path) {
            Ok(file) => drop(self.open.insert(ticket.number, file)),
            Err(error) => self.fail(ticket, format!("creating {}: {error}", ticket.path.display())),
        }
    }

    fn close(&mut self, ticket: &Ticket, cause: RecordEnd, total: Total) {
        // Not open any more: it has failed, and that was said.
        let Some(file) = self.open.remove(&ticket.number) else { return };
        if ticket.failure.load(Ordering::Relaxed) == DISK_TOO_SLOW {
            let error = format!("{}: the disk is too slow, the recording stops here", ticket.path.display());
            return self.fail(ticket, error);
        }
        if let Err(error) = file.sync_all() {
            return self.fail(ticket, format!("closing {}: {error}", ticket.path.display()));
        }
        let (leg, path) = (ticket.leg, ticket.path.clone());
        self.events.push(Event::Recorded { leg, path, duration: total.duration, bytes: total.bytes, cause });
    }

    fn fail(&mut self, ticket: &Ticket, error: String) {
        ticket.failure.store(DISK_FAILED, Ordering::Relaxed);
        self.events.push(Event::RecordFailed { leg: ticket.leg, path: ticket.path.clone(), error });
    }
}

/// Mends the recordings (`*.wav`) under a folder that a crash cut short, so that their headers tell their lengths
/// again; returns which. Before the first call, when no recording runs. A folder that is not there has none.
///
/// # Errors
/// The folder cannot be read. A file that cannot be mended is logged and left as it is.
pub fn repair_recordings(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut mended = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            // A link is not followed: it may lead anywhere.
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "wav") {
                match repair_recording(&path) {
                    Ok(true) => mended.push(path),
                    Ok(false) => {}
                    Err(error) => tracing::warn!(path = %path.display(), %error, "cannot mend a recording"),
                }
            }
        }
    }
    Ok(mended)
}

fn repair_recording(path: &Path) -> io::Result<bool> {
    let file = File::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let mut first = [0; record::HEADER_BYTES];
    if length < first.len() as u64 {
        return Ok(false);
    }
    file.read_exact_at(&mut first, 0)?;
    let Some(repair) = record::repair(&first, length) else { return Ok(false) };
    file.set_len(repair.file_bytes)?;
    file.write_all_at(&repair.header, 0)?;
    file.sync_all()?;
    Ok(true)
}
