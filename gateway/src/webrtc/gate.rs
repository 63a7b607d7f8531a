//! The door of a browser's port: between the socket and the `webrtc` crate, it lets through what [`ark_media::demux::Gate`]
//! does, and counts the rest. The crate shares its threads among all legs; what is kept out here costs the others nothing.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use ark_media::demux::{Gate, Refused};
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

/// Datagrams that were kept out of all browsers' legs since the start.
#[derive(Debug, Default)]
pub(super) struct KeptOut {
    garbage: AtomicU64,
    strangers: AtomicU64,
    floods: AtomicU64,
}

impl KeptOut {
    fn count(&self, why: Refused) {
        let counter = match why {
            Refused::Garbage => &self.garbage,
            Refused::Stranger => &self.strangers,
            Refused::Flood => &self.floods,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Nothing of such a port; of strangers; more than a call needs.
    pub(super) fn numbers(&self) -> [u64; 3] {
        [&self.garbage, &self.strangers, &self.floods].map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// The door of one leg.
#[derive(Debug)]
pub(super) struct Door {
    gate: Mutex<Gate>,
    kept_out: Arc<KeptOut>,
}

impl Door {
    pub(super) fn new(kept_out: Arc<KeptOut>) -> Arc<Self> {
        Arc::new(Self { gate: Mutex::new(Gate::new(Instant::now())), kept_out })
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        // Nothing in there is left half done by a panic.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What we told the browser in this answer is what its checks must name.
    pub(super) fn expect(&self, answer: &str) {
        if let Some(fragment) = answer.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")) {
            self.gate().expect(fragment.trim());
        }
    }

    /// Where the browser's voice comes from.
    pub(super) fn remote(&self) -> Option<SocketAddr> {
        self.gate().remote()
    }

    /// Leaves of a message only the datagrams that may go on; the bytes that are left.
    fn sift(&self, message: &mut [u8], stride: usize, from: SocketAddr) -> usize {
        let now = Instant::now();
        let (mut read, mut written) = (0, 0);
        let mut gate = self.gate();
        // The last one may be shorter.
        while read < message.len() {
            let end = (read + stride.max(1)).min(message.len());
            match gate.judge(now, from, &message[read..end]) {
                Ok(_) => {
                    message.copy_within(read..end, written);
                    written += end - read;
                }
                Err(why) => self.kept_out.count(why),
            }
            read = end;
        }
        written
    }
}

/// A socket behind its door.
#[derive(Debug)]
pub(super) struct Guard {
    inner: Arc<dyn AsyncUdpSocket>,
    door: Arc<Door>,
}

impl Guard {
    pub(super) const fn new(inner: Arc<dyn AsyncUdpSocket>, door: Arc<Door>) -> Self {
        Self { inner, door }
    }
}

impl AsyncUdpSocket for Guard {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.door.gate().sent(transmit.destination);
        self.inner.poll_send(cx, transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // One message at a time, as the crate asks for. In a flood the runtime's own budget makes this task give way.
        let (Some(buf), Some(told)) = (bufs.first_mut(), meta.first_mut()) else { return Poll::Ready(Ok(0)) };
        loop {
            let (bufs, meta) = (std::slice::from_mut(buf), std::slice::from_mut(told));
            let count = ready!(self.inner.poll_recv(cx, bufs, meta))?;
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            let length = told.len.min(buf.len());
            let left = self.door.sift(&mut buf[..length], told.stride, told.addr);
            if left > 0 {
                told.len = left;
                return Poll::Ready(Ok(1));
            }
        }
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_media::demux::check;

    #[test]
    fn of_datagrams_that_came_as_one_message_only_the_sound_ones_go_on() {
        let kept_out = Arc::new(KeptOut::default());
        let door = Door::new(Arc::clone(&kept_out));
        door.expect("v=0\r\na=ice-ufrag:port\r\na=ice-pwd:secret\r\n");
        let browser = SocketAddr::from(([192, 0, 2, 7], 5000));
        let sound = check("port:them");
        let mut garbage = sound.clone();
        garbage[4] = 0;
        let other = check("part:them");
        let mut message = [&sound[..], &garbage, &sound, &other, &sound].concat();
        let left = door.sift(&mut message, sound.len(), browser);
        assert_eq!(message[..left], [&sound[..], &sound, &sound].concat());
        // The last one may be shorter; here it is cut.
        let mut message = [&sound[..], &sound[..20]].concat();
        assert_eq!(door.sift(&mut message, sound.len(), browser), sound.len());
        assert_eq!(door.sift(&mut [], 0, browser), 0);
        assert_eq!(kept_out.numbers(), [2, 1, 0]);
    }
}
