//! The system calls that the standard library does not offer: batches of datagrams with kernel time stamps, epoll,
//! absolute sleeping, pinning and CPU clocks. The only file of the gateway with `unsafe` in it.

#![allow(unsafe_code)]

use std::{
    io,
    mem::{self, MaybeUninit},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

/// The largest datagram that is kept: an Ethernet frame's worth. Anything longer is cut (and no valid RTP of ours).
pub(crate) const DATAGRAM_BYTES: usize = 1_500;

/// Room for one `SCM_TIMESTAMPNS` control message, aligned as the kernel wants it.
const CONTROL_WORDS: usize = 8;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the kernel to fill; a failure (unknown clock) leaves zeros.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock that [`sleep_until_ns`] and `Instant` use.
pub(crate) fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds since 1970, the clock of the kernel's receive stamps.
pub(crate) fn realtime_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

/// CPU time of the calling thread, user and system.
pub(crate) fn thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Gives memory that nobody uses back to the system, where the allocator is one that keeps it (glibc). Takes some
/// milliseconds; other threads may allocate meanwhile.
pub(crate) fn give_back_memory() {
    // SAFETY: malloc_trim has no preconditions and locks the arenas itself.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Sleeps until that instant of `CLOCK_MONOTONIC`; returns at once when it has passed. A signal does not shorten it.
pub(crate) fn sleep_until_ns(deadline_ns: u64) {
    let time = libc::timespec {
        tv_sec: (deadline_ns / 1_000_000_000).cast_signed(),
        tv_nsec: (deadline_ns % 1_000_000_000).cast_signed(),
    };
    loop {
        // SAFETY: `time` outlives the call; with TIMER_ABSTIME the remaining time is not written.
        let result = unsafe {
            libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const time, std::ptr::null_mut())
        };
        if result != libc::EINTR {
            return;
        }
    }
}

/// Binds the calling thread to one core.
pub(crate) fn pin_to_core(core: usize) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is an empty set; CPU_SET refuses an index beyond the set by doing nothing.
    let result = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    check(result).map(drop)
}

/// Lets other threads of the machine go first: the calling thread has time to wait.
pub(crate) fn give_way() {
    // Where it is refused, it runs like all others.
    let _ = rustix::process::nice(5);
}

/// Lets the kernel wake the calling thread within a microsecond of its deadline instead of within fifty.
pub(crate) fn tighten_timer_slack() {
    // SAFETY: PR_SET_TIMERSLACK takes one number and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000 as libc::c_ulong) };
}

/// Raises the soft limit of open files to the hard one. What may be opened from now on, and the hard limit.
pub(crate) fn raise_file_limit() -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit that the kernel fills, then reads.
    unsafe {
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit))?;
        let old = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
            limit.rlim_cur = old;
        }
    }
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Asks for a kernel receive stamp (`SO_TIMESTAMPNS`) with every datagram.
pub(crate) fn enable_receive_stamps(socket: &impl AsRawFd) -> io::Result<()> {
    set_option(socket.as_raw_fd(), libc::SO_TIMESTAMPNS, 1)
}

/// Sets the receive buffer, beyond the system's maximum when we are allowed to.
pub(crate) fn force_receive_buffer(socket: &impl AsRawFd, bytes: i32) -> io::Result<()> {
    set_option(socket.as_raw_fd(), libc::SO_RCVBUFFORCE, bytes)
        .or_else(|_| set_option(socket.as_raw_fd(), libc::SO_RCVBUF, bytes))
}

fn set_option(fd: RawFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: `value` is an int that lives through the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    check(result).map(drop)
}

/// An epoll set, level-triggered, for reading.
pub(crate) struct Epoll {
    fd: OwnedFd,
    ready: Vec<libc::epoll_event>,
}

impl Epoll {
    /// A set that reports at most `batch` ready sockets a time.
    pub(crate) fn new(batch: usize) -> io::Result<Self> {
        // SAFETY: epoll_create1 returns a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self { fd, ready: vec![libc::epoll_event { events: 0, u64: 0 }; batch.max(1)] })
    }

    /// Watches a socket; `token` comes back from [`Epoll::wait`].
    pub(crate) fn add(&self, socket: &impl AsRawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: both descriptors are open and `event` lives through the call.
        let result =
            unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event) };
        check(result).map(drop)
    }

    /// Watches it no longer.
    pub(crate) fn remove(&self, socket: &impl AsRawFd) {
        // SAFETY: both descriptors are open; a socket that is not in the set is an error that changes nothing.
        unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_DEL, socket.as_raw_fd(), std::ptr::null_mut());
        }
    }

    /// Waits up to `timeout_ms` (0: not at all, -1: for ever); returns how many are ready, see [`Epoll::token`].
    pub(crate) fn wait(&mut self, timeout_ms: i32) -> usize {
        // SAFETY: the buffer holds `len` events for the kernel to fill.
        let result = unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                self.ready.as_mut_ptr(),
                i32::try_from(self.ready.len()).unwrap_or(i32::MAX),
                timeout_ms,
            )
        };
        usize::try_from(result).unwrap_or(0)
    }

    /// The token of the `index`th ready socket of the last [`Epoll::wait`].
    pub(crate) fn token(&self, index: usize) -> u64 {
        self.ready[index].u64
    }
}

/// Wakes a thread that waits in [`Epoll::wait`].
#[derive(Debug)]
pub(crate) struct Waker(OwnedFd);

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: eventfd returns a new descriptor that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?) }))
    }

    pub(crate) fn wake(&self) {
        let one = 1_u64;
        // SAFETY: eight bytes are read from a u64; a full counter (EAGAIN) means that a wake-up is already pending.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    pub(crate) fn clear(&self) {
        let mut count = 0_u64;
        // SAFETY: eight bytes are written to a u64; non-blocking, so an empty counter returns at once.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn read_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds a sockaddr_in, which is smaller and not more aligned.
            let v4 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let v6 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
            Some(SocketAddr::new(ip, u16::from_be(v6.sin6_port)))
        }
        _ => None,
    }
}

fn write_address(address: SocketAddr, storage: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: sockaddr_storage is large and aligned enough for every address family.
            let out = unsafe { &mut *(&raw mut *storage).cast::<libc::sockaddr_in>() };
            out.sin_family = libc::AF_INET as libc::sa_family_t;
            out.sin_port = v4.port().to_be();
            out.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let out = unsafe { &mut *(&raw mut *storage).cast::<libc::sockaddr_in6>() };
            out.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            out.sin6_port = v6.port().to_be();
            out.sin6_addr.s6_addr = v6.ip().octets();
            out.sin6_scope_id = v6.scope_id();
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// The parts of a batch that the kernel reads and writes. Boxed slices: their addresses never change, and the
/// headers point into them.
struct Frames {
    data: Box<[[u8; DATAGRAM_BYTES]]>,
    names: Box<[libc::sockaddr_storage]>,
    control: Box<[[u64; CONTROL_WORDS]]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: the raw pointers inside point only into the boxes beside them, which move with them.
unsafe impl Send for Frames {}

impl Frames {
    fn new(size: usize) -> Self {
        // SAFETY: all three are plain C structs for which all-zero is a valid value.
        let (name, vector, header): (libc::sockaddr_storage, libc::iovec, libc::mmsghdr) = unsafe {
            (
                MaybeUninit::zeroed().assume_init(),
                MaybeUninit::zeroed().assume_init(),
                MaybeUninit::zeroed().assume_init(),
            )
        };
        let mut frames = Self {
            data: vec![[0; DATAGRAM_BYTES]; size].into_boxed_slice(),
            names: vec![name; size].into_boxed_slice(),
            control: vec![[0; CONTROL_WORDS]; size].into_boxed_slice(),
            vectors: vec![vector; size].into_boxed_slice(),
            headers: vec![header; size].into_boxed_slice(),
        };
        for index in 0..size {
            frames.vectors[index] =
                libc::iovec { iov_base: frames.data[index].as_mut_ptr().cast(), iov_len: DATAGRAM_BYTES };
            let header = &mut frames.headers[index].msg_hdr;
            header.msg_name = (&raw mut frames.names[index]).cast();
            header.msg_iov = &raw mut frames.vectors[index];
            header.msg_iovlen = 1;
        }
        frames
    }
}

/// One received datagram of a [`ReceiveBatch`].
pub(crate) struct Received<'a> {
    /// Who sent it; `None` for an address family that is not IP.
    pub(crate) from: Option<SocketAddr>,
    /// The kernel's receive stamp, nanoseconds since 1970; 0 when it gave none.
    pub(crate) at_realtime_ns: u64,
    /// The datagram, cut at [`DATAGRAM_BYTES`].
    pub(crate) bytes: &'a [u8],
}

/// Has the processor fetch a value that will be needed in a moment, while it does something else: of thousands of calls each is
/// touched every 10 ms and has left the caches meanwhile.
#[inline]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of::<T>()).step_by(CACHE_LINE_BYTES) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads and writes nothing that a program could see, and the address lies within `value`.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast::<i8>().add(line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

#[cfg(target_arch = "x86_64")]
const CACHE_LINE_BYTES: usize = 64;

/// Buffers for `recvmmsg`, made once for each thread.
pub(crate) struct ReceiveBatch(Frames);

impl ReceiveBatch {
    pub(crate) fn new(size: usize) -> Self {
        Self(Frames::new(size))
    }

    /// How many datagrams it can hold.
    pub(crate) fn size(&self) -> usize {
        self.0.headers.len()
    }

    /// Takes up to `limit` datagrams that are there, without waiting. 0: there was none (or the socket reported an
    /// error such as a port that nobody listens on; that is cleared by reading it).
    pub(crate) fn receive(&mut self, socket: &impl AsRawFd, limit: usize) -> usize {
        let limit = limit.min(self.size());
        for (header, control) in self.0.headers[..limit].iter_mut().zip(&mut self.0.control) {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of::<[u64; CONTROL_WORDS]>();
        }
        // SAFETY: the first `limit` headers point to buffers of this batch with their true sizes.
        let result = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.0.headers.as_mut_ptr(),
                u32::try_from(limit).unwrap_or(0),
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(result).unwrap_or(0)
    }

    /// The `index`th datagram of the last [`ReceiveBatch::receive`].
    pub(crate) fn get(&self, index: usize) -> Received<'_> {
        let header = &self.0.headers[index];
        let length = (header.msg_len as usize).min(DATAGRAM_BYTES);
        Received {
            from: read_address(&self.0.names[index]),
            at_realtime_ns: stamp(&header.msg_hdr),
            bytes: &self.0.data[index][..length],
        }
    }
}

/// The `SCM_TIMESTAMPNS` of a received message, 0 if there is none.
fn stamp(header: &libc::msghdr) -> u64 {
    // SAFETY: the kernel has filled the control buffer that the header points to and set its length; the CMSG macros
    // stay within it, and the payload of SCM_TIMESTAMPNS is a timespec, read without assuming alignment.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_SOCKET && (*control).cmsg_type == libc::SCM_TIMESTAMPNS {
                let time: libc::timespec = libc::CMSG_DATA(control).cast::<libc::timespec>().read_unaligned();
                return time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs();
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    0
}

/// Buffers for `sendmmsg`: datagrams to many destinations from one socket in one system call.
pub(crate) struct SendBatch {
    frames: Frames,
    filled: usize,
}

impl SendBatch {
    pub(crate) fn new(size: usize) -> Self {
        Self { frames: Frames::new(size), filled: 0 }
    }

    /// Whether the next [`SendBatch::push`] needs a [`SendBatch::send`] first.
    pub(crate) fn is_full(&self) -> bool {
        self.filled == self.frames.headers.len()
    }

    /// The buffer of the next datagram: fill it, then [`SendBatch::push`] says how much of it counts.
    pub(crate) fn buffer(&mut self) -> &mut [u8; DATAGRAM_BYTES] {
        &mut self.frames.data[self.filled]
    }

    /// Adds what stands in [`SendBatch::buffer`].
    pub(crate) fn push(&mut self, length: usize, to: SocketAddr) {
        let index = self.filled;
        let name_length = write_address(to, &mut self.frames.names[index]);
        self.frames.vectors[index].iov_len = length.min(DATAGRAM_BYTES);
        self.frames.headers[index].msg_hdr.msg_namelen = name_length;
        self.filled += 1;
    }

    /// Sends all that was pushed; returns how many the kernel took. The rest (full buffer, error) is given up.
    pub(crate) fn send(&mut self, socket: &impl AsRawFd) -> usize {
        let mut sent = 0;
        while sent < self.filled {
            // SAFETY: the headers from `sent` to `filled` point to buffers and addresses of this batch.
            let result = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    self.frames.headers.as_mut_ptr().add(sent),
                    u32::try_from(self.filled - sent).unwrap_or(0),
                    libc::MSG_DONTWAIT as _,
                )
            };
            match usize::try_from(result) {
                Ok(count) if count > 0 => sent += count,
                _ => break,
            }
        }
        self.filled = 0;
        sent
    }
}

/// Clock ticks in a second, the unit of `/proc/PID/stat`.
pub(crate) fn clock_ticks_per_second() -> u64 {
    // SAFETY: sysconf reads a constant.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100)
}

/// Bytes in a page of memory.
pub(crate) fn page_bytes() -> u64 {
    // SAFETY: sysconf reads a constant.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// How many cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A duration as whole nanoseconds, saturating.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_batch_brings_back_bytes_source_and_kernel_stamp() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        enable_receive_stamps(&receiver).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap();
        let mut out = SendBatch::new(4);
        for value in 0..4_u8 {
            out.buffer()[..2].copy_from_slice(&[value, 7]);
            out.push(2, to);
        }
        assert!(out.is_full());
        let before = realtime_ns();
        assert_eq!(out.send(&sender), 4);
        let mut batch = ReceiveBatch::new(8);
        assert_eq!(batch.receive(&receiver, 3), 3);
        let third = batch.get(2);
        assert_eq!((third.from, third.bytes), (Some(sender.local_addr().unwrap()), &[2, 7][..]));
        assert!(third.at_realtime_ns >= before && third.at_realtime_ns <= realtime_ns());
        assert_eq!(batch.receive(&receiver, 8), 1);
        assert_eq!(batch.receive(&receiver, 8), 0, "an empty socket does not block");
    }

    #[test]
    fn ipv6_addresses_survive_the_kernel_and_mapped_ones_come_back_as_ipv4() {
        let mut storage = Frames::new(1).names[0];
        for text in ["[2001:db8::7]:5004", "192.0.2.1:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            write_address(address, &mut storage);
            assert_eq!(read_address(&storage), Some(address));
        }
        write_address("[::ffff:192.0.2.9]:9".parse().unwrap(), &mut storage);
        assert_eq!(read_address(&storage), Some("192.0.2.9:9".parse().unwrap()));
    }

    #[test]
    fn a_waker_ends_a_wait_and_is_quiet_once_cleared() {
        let mut epoll = Epoll::new(4).unwrap();
        let waker = Waker::new().unwrap();
        epoll.add(&waker, 42).unwrap();
        assert_eq!(epoll.wait(0), 0);
        waker.wake();
        assert_eq!(epoll.wait(-1), 1);
        assert_eq!(epoll.token(0), 42);
        waker.clear();
        assert_eq!(epoll.wait(0), 0);
    }

    #[test]
    fn sleeping_until_a_passed_instant_returns_at_once() {
        let before = monotonic_ns();
        sleep_until_ns(before.saturating_sub(1));
        sleep_until_ns(before + 2_000_000);
        assert!(monotonic_ns() >= before + 2_000_000);
    }
}
