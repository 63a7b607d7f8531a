//! The one thread that writes recordings. Media threads hand it blocks through a bounded queue and never wait: when
//! the disk is full or too slow, the recording fails and the call goes on.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use ark_media::record::{HEADER_BYTES, PAIR_BYTES, RATE_HZ, Write, header};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tokio::sync::mpsc;

use super::{
    api::{Event, LegId, RecordEnd},
    events::EventOut,
    limits::{RECORD_POOL, RECORD_QUEUE},
};

/// Bytes of one file, and where they go: one write after the other, each with so many of the bytes.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) bytes: Vec<u8>,
    pub(crate) writes: Vec<Write>,
}

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

enum Message {
    Open(Arc<Ticket>),
    Append(Arc<Ticket>, Block),
    Close(Arc<Ticket>, RecordEnd),
}

/// The media threads' side; cheap to clone.
#[derive(Clone)]
pub(crate) struct Disk {
    sender: Sender<Message>,
    recycled: Receiver<Block>,
    numbers: Arc<AtomicU64>,
}

impl Disk {
    /// Asks for a new file. `None`: the queue is full, the disk is behind.
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
        block.bytes.clear();
        block.writes.clear();
        block
    }

    /// Hands a block over. When the disk is too far behind, the recording fails (the disk thread says so when it
    /// gets there) and the block is dropped.
    pub(crate) fn append(&self, ticket: &Arc<Ticket>, block: Block) {
        if ticket.has_failed() {
            return;
        }
        if self.sender.len() >= RECORD_QUEUE
            || self.sender.try_send(Message::Append(Arc::clone(ticket), block)).is_err()
        {
            ticket.failure.store(DISK_TOO_SLOW, Ordering::Relaxed);
        }
    }

    /// No more blocks. Has room of its own in the queue.
    pub(crate) fn close(&self, ticket: Arc<Ticket>, cause: RecordEnd) {
        // The queue holds a close for every open one beside the blocks: only a stopped thread refuses it.
        let _ = self.sender.try_send(Message::Close(ticket, cause));
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

    /// Whether the thread runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.0.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Waits until every file is closed. All [`Disk`]s must be gone.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.0.take() {
            // A panic of the writer has been printed by the panic hook; there is nothing left to save.
            let _ = thread.join();
        }
    }
}

struct OpenFile {
    file: File,
    bytes: u64,
}

struct Writer {
    open: HashMap<u64, OpenFile>,
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
            Message::Append(ticket, block) => {
                if let Some(file) = self.open.get_mut(&ticket.number)
                    && let Err(error) = file.append(&block)
                {
                    self.open.remove(&ticket.number);
                    self.fail(&ticket, format!("writing {}: {error}", ticket.path.display()));
                }
                // A full pool lets the block go: memory returns to idle.
                let _ = self.recycle.try_send(block);
            }
            Message::Close(ticket, cause) => self.close(&ticket, cause),
        }
    }

    fn open(&mut self, ticket: &Ticket) {
        let made = File::create(&ticket.path).and_then(|mut file| {
            file.write_all(&header(0))?;
            Ok(OpenFile { file, bytes: HEADER_BYTES as u64 })
        });
        match made {
            Ok(file) => drop(self.open.insert(ticket.number, file)),
            Err(error) => self.fail(ticket, format!("creating {}: {error}", ticket.path.display())),
        }
    }

    fn close(&mut self, ticket: &Ticket, cause: RecordEnd) {
        // Not open any more: it has failed, and that was said.
        let Some(file) = self.open.remove(&ticket.number) else { return };
        if ticket.failure.load(Ordering::Relaxed) == DISK_TOO_SLOW {
            let error = format!("{}: the disk is too slow, the recording stops here", ticket.path.display());
            return self.fail(ticket, error);
        }
        if let Err(error) = file.file.sync_all() {
            return self.fail(ticket, format!("closing {}: {error}", ticket.path.display()));
        }
        let bytes = file.bytes;
        let pairs = (bytes - HEADER_BYTES as u64) / PAIR_BYTES as u64;
        let duration = Duration::from_micros(pairs * 1_000_000 / u64::from(RATE_HZ));
        let (leg, path) = (ticket.leg, ticket.path.clone());
        self.events.push(Event::Recorded { leg, path, duration, bytes, cause });
    }

    fn fail(&mut self, ticket: &Ticket, error: String) {
        ticket.failure.store(DISK_FAILED, Ordering::Relaxed);
        self.events.push(Event::RecordFailed { leg: ticket.leg, path: ticket.path.clone(), error });
    }
}

impl OpenFile {
    /// Writes a block as it says: audio first, then the header that names it, so that a crash in between loses the
    /// block and never the file.
    fn append(&mut self, block: &Block) -> io::Result<()> {
        let mut rest = &block.bytes[..];
        for write in &block.writes {
            let (bytes, after) = rest.split_at(write.bytes.min(rest.len()));
            rest = after;
            self.file.write_all_at(bytes, write.offset)?;
            self.bytes = self.bytes.max(write.offset + bytes.len() as u64);
        }
        Ok(())
    }
}
