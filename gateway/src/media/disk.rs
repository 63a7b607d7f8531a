//! The threads that write recordings. Media threads hand them blocks through bounded queues and never wait: when the disk
//! is full or too slow, or there is more to encode than there is time, the recording fails and the call goes on.

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

use ark_media::record::{Write, duration_of, header, ogg};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tokio::sync::mpsc;

use super::{
    api::{Event, LegId, RecordAs, RecordEnd, RecordFormat},
    events::EventOut,
    limits::{RECORD_POOL, RECORD_QUEUE, RECORD_THREADS_MAX},
    metrics::DiskMetrics,
    sys,
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
    how: RecordAs,
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
    /// One for each thread; a recording stays with one of them.
    senders: Arc<[Sender<Message>]>,
    metrics: Arc<DiskMetrics>,
    recycled: Receiver<Block>,
    numbers: Arc<AtomicU64>,
}

impl Disk {
    /// Asks for a new file. `None`: the queue is full, the disk is behind.
    pub(crate) fn open(&self, leg: LegId, path: PathBuf, how: RecordAs) -> Result<Arc<Ticket>, PathBuf> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let ticket = Arc::new(Ticket { number, leg, path, how, failure: AtomicU8::new(FINE) });
        let sender = self.sender(&ticket);
        if sender.len() >= RECORD_QUEUE || sender.try_send(Message::Open(Arc::clone(&ticket))).is_err() {
            self.metrics.refused.fetch_add(1, Ordering::Relaxed);
            return Err(ticket.path.clone());
        }
        Ok(ticket)
    }

    fn sender(&self, ticket: &Ticket) -> &Sender<Message> {
        &self.senders[(ticket.number % self.senders.len() as u64) as usize]
    }

    /// Blocks that wait for their thread now.
    pub(crate) fn waiting(&self) -> u64 {
        self.senders.iter().map(|sender| sender.len() as u64).sum()
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
        let sender = self.sender(ticket);
        if sender.len() >= RECORD_QUEUE || sender.try_send(Message::Append(Arc::clone(ticket), block)).is_err() {
            self.metrics.blocks_dropped.fetch_add(1, Ordering::Relaxed);
            ticket.failure.store(DISK_TOO_SLOW, Ordering::Relaxed);
        }
        self.metrics.blocks_waiting.store(self.waiting(), Ordering::Relaxed);
    }

    /// No more blocks. Has room of its own in the queue.
    pub(crate) fn close(&self, ticket: Arc<Ticket>, cause: RecordEnd) {
        // The queue holds a close for every open one beside the blocks: only a stopped thread refuses it.
        let _ = self.sender(&ticket).clone().try_send(Message::Close(ticket, cause));
    }
}

/// The threads; they end when the last [`Disk`] is gone, after all files are closed.
pub(crate) struct DiskThreads(Vec<JoinHandle<()>>);

impl DiskThreads {
    /// Starts them for at most `recordings` at a time: one for each core, since Opus is encoded there. They give way to
    /// the media threads.
    pub(crate) fn start(
        recordings: usize,
        events: &mpsc::Sender<Event>,
        metrics: &Arc<DiskMetrics>,
    ) -> io::Result<(Self, Disk)> {
        let (recycle, recycled) = bounded(RECORD_POOL);
        let mut threads = Vec::new();
        let mut senders = Vec::new();
        for _ in 0..sys::cores().clamp(1, RECORD_THREADS_MAX) {
            // Opens are bounded with the blocks; every open one may have its close in the queue as well.
            let (sender, receiver) = bounded(2 * RECORD_QUEUE + recordings);
            senders.push(sender);
            let writer = Writer {
                open: HashMap::new(),
                events: EventOut::new(events.clone(), None),
                recycle: recycle.clone(),
                metrics: Arc::clone(metrics),
            };
            let run = move || {
                sys::give_way();
                writer.run(&receiver);
            };
            threads.push(thread::Builder::new().name("ark-record".to_owned()).spawn(run)?);
        }
        let metrics = Arc::clone(metrics);
        Ok((Self(threads), Disk { senders: senders.into(), metrics, recycled, numbers: Arc::default() }))
    }

    /// Whether all run.
    pub(crate) fn is_alive(&self) -> bool {
        !self.0.iter().any(JoinHandle::is_finished)
    }

    /// Waits until every file is closed. All [`Disk`]s must be gone.
    pub(crate) fn join(&mut self) {
        for thread in self.0.drain(..) {
            // A panic of the writer has been printed by the panic hook; there is nothing left to save.
            let _ = thread.join();
        }
    }
}

struct OpenFile {
    file: File,
    bytes: u64,
    channels: u16,
    /// `None`: WAV.
    opus: Option<Box<ogg::Writer>>,
    /// What is encoded of a block.
    encoded: Vec<u8>,
}

struct Writer {
    open: HashMap<u64, OpenFile>,
    events: EventOut,
    recycle: Sender<Block>,
    metrics: Arc<DiskMetrics>,
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
        match OpenFile::create(ticket) {
            Ok(file) => drop(self.open.insert(ticket.number, file)),
            Err(error) => self.fail(ticket, format!("creating {}: {error}", ticket.path.display())),
        }
    }

    fn close(&mut self, ticket: &Ticket, cause: RecordEnd) {
        // Not open any more: it has failed, and that was said.
        let Some(mut file) = self.open.remove(&ticket.number) else { return };
        if ticket.failure.load(Ordering::Relaxed) == DISK_TOO_SLOW {
            let error = format!("{}: the disk is too slow, the recording stops here", ticket.path.display());
            return self.fail(ticket, error);
        }
        if let Err(error) = file.finish() {
            return self.fail(ticket, format!("closing {}: {error}", ticket.path.display()));
        }
        let bytes = file.bytes;
        let duration = file.duration();
        let (leg, path) = (ticket.leg, ticket.path.clone());
        self.events.push(Event::Recorded { leg, path, duration, bytes, cause });
    }

    fn fail(&mut self, ticket: &Ticket, error: String) {
        ticket.failure.store(DISK_FAILED, Ordering::Relaxed);
        self.metrics.failed.fetch_add(1, Ordering::Relaxed);
        self.events.push(Event::RecordFailed { leg: ticket.leg, path: ticket.path.clone(), error });
    }
}

impl OpenFile {
    fn create(ticket: &Ticket) -> io::Result<Self> {
        let channels = ticket.how.layout.channels();
        let mut begin = Vec::new();
        let opus = match ticket.how.format {
            RecordFormat::Wav => {
                begin.extend_from_slice(&header(channels as u16, 0));
                None
            }
            RecordFormat::Opus => Some(Box::new(ogg::Writer::new(channels, ticket.number as u32, &mut begin))),
        };
        let mut file = File::create(&ticket.path)?;
        file.write_all(&begin)?;
        let (bytes, channels) = (begin.len() as u64, channels as u16);
        begin.clear();
        Ok(Self { file, bytes, channels, opus, encoded: begin })
    }

    /// Encodes a block's audio; the headers in it are a WAV's.
    fn encode(&mut self, block: &Block) -> io::Result<()> {
        let Some(opus) = &mut self.opus else { return Ok(()) };
        let mut rest = &block.bytes[..];
        for write in &block.writes {
            let (bytes, after) = rest.split_at(write.bytes.min(rest.len()));
            rest = after;
            if write.offset > 0 {
                let samples: Vec<i16> = bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
                opus.push(&samples, &mut self.encoded);
            }
        }
        self.flush_encoded()
    }

    fn flush_encoded(&mut self) -> io::Result<()> {
        if !self.encoded.is_empty() {
            self.file.write_all_at(&self.encoded, self.bytes)?;
            self.bytes += self.encoded.len() as u64;
            self.encoded.clear();
        }
        Ok(())
    }

    /// Its proper end, on the disk.
    fn finish(&mut self) -> io::Result<()> {
        if let Some(opus) = &mut self.opus {
            opus.finish(&mut self.encoded);
        }
        self.flush_encoded()?;
        self.file.sync_all()
    }

    fn duration(&self) -> Duration {
        self.opus.as_ref().map_or_else(|| duration_of(self.channels, self.bytes), |opus| opus.duration())
    }

    /// Writes a block as it says: audio first, then the header that names it, so that a crash in between loses the
    /// block and never the file.
    fn append(&mut self, block: &Block) -> io::Result<()> {
        if self.opus.is_some() {
            return self.encode(block);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use ark_media::record::HEADER_BYTES;

    #[test]
    fn a_disk_that_stalls_fails_its_recordings_by_number_and_no_others() {
        let (events, mut told) = mpsc::channel(64);
        let metrics = Arc::<DiskMetrics>::default();
        let (mut threads, disk) = DiskThreads::start(64, &events, &metrics).unwrap();
        let folder = std::env::temp_dir().join(format!("ark-stalled-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        // Opening a pipe that nobody reads takes for ever.
        let pipe = folder.join("stalled.wav");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let stalled = disk.open(LegId(1), pipe.clone(), RecordAs::default()).unwrap();
        let block = || {
            let mut block = disk.block();
            block.bytes.extend_from_slice(&[1; 64]);
            block.writes.push(Write { offset: HEADER_BYTES as u64, bytes: 64 });
            block
        };
        // The thread is about to open it, and will be for long.
        while disk.waiting() > 0 {
            thread::yield_now();
        }
        while !stalled.has_failed() {
            disk.append(&stalled, block());
        }
        assert!((RECORD_QUEUE as u64..2 * RECORD_QUEUE as u64).contains(&disk.waiting()), "{}", disk.waiting());
        for _ in 0..100 {
            disk.append(&stalled, block());
        }
        assert_eq!(metrics.blocks_dropped.load(Ordering::Relaxed), 1, "after the first nothing more is tried");
        if disk.senders.len() == 2 {
            let well = disk.open(LegId(2), folder.join("well.wav"), RecordAs::default()).unwrap();
            disk.append(&well, block());
            disk.close(well, RecordEnd::Stopped);
            let event = told.blocking_recv();
            assert!(matches!(event, Some(Event::Recorded { leg: LegId(2), bytes: 108, .. })), "{event:?}");
            // The next one would go to the thread that stalls.
            let refused = disk.open(LegId(3), folder.join("no.wav"), RecordAs::default());
            assert_eq!(refused.unwrap_err(), folder.join("no.wav"));
            assert_eq!(metrics.refused.load(Ordering::Relaxed), 1);
        }
        disk.close(stalled, RecordEnd::Stopped);
        // The disk comes back.
        let reader = thread::spawn(move || std::fs::read(pipe));
        let event = told.blocking_recv();
        assert!(matches!(event, Some(Event::RecordFailed { leg: LegId(1), .. })), "{event:?}");
        assert_eq!(metrics.failed.load(Ordering::Relaxed), 1);
        drop(disk);
        threads.join();
        reader.join().unwrap().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
