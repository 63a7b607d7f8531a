//! Every bound of the media engine, in one place.

use std::time::Duration;

/// A leg sends a packet every so many wheel slots of [`SLOT`]: 20 ms.
pub(crate) const SLOTS: usize = 20;
/// The time of one slot of the wheel.
pub(crate) const SLOT: Duration = Duration::from_millis(1);
/// A leg's packet time.
pub(crate) const FRAME: Duration = Duration::from_millis(20);
/// Packets that a leg sends in a burst after a stall; what is missed beyond them is skipped, with marker and a jump
/// of the timestamp. Three keep within the 60 ms that a receiver's jitter buffer can be expected to hold.
pub(crate) const CATCH_UP_FRAMES: u32 = 3;
/// A slot that begins later than this counts as late.
pub(crate) const LATE: Duration = Duration::from_millis(5);
/// How often sockets are looked at while a bridge is up: what a bridged packet waits in us is half of it on average.
pub(crate) const BRIDGE_POLL: Duration = Duration::from_micros(250);

/// Datagrams read from one socket in one turn. A peer that sends more waits in its own socket's buffer, which drops.
pub(crate) const PACKETS_PER_SOCKET_TURN: usize = 8;
/// How long a thread hears what came during a stall before it runs the slots that it missed.
pub(crate) const HEAR_AFTER_STALL: Duration = Duration::from_millis(3);
/// Sockets taken from epoll at a time, one datagram of each; between two such rounds the wheel is looked at.
pub(crate) const READY_BATCH: usize = 128;
/// Commands carried out in one turn of the loop.
pub(crate) const COMMANDS_PER_TURN: usize = 128;
/// Wheel slots run in one turn before sockets and commands are looked at again.
pub(crate) const SLOTS_PER_TURN: usize = 20;

/// Commands waiting for one media thread. Closing and moving a leg has room of its own on top.
pub(crate) const COMMAND_QUEUE: usize = 4_096;
/// Commands waiting for a leg that is on its way to the thread.
pub(crate) const PARKED_COMMANDS: usize = 64;
/// Events that wait in a media thread for a slow call core before it takes no more commands.
pub(crate) const EVENT_BACKLOG: usize = 8_192;
/// Digits and time-outs of one leg that wait for a slow call core; more are dropped and counted.
pub(crate) const EVENTS_PER_LEG: u16 = 64;

/// The most port pairs that an engine manages (the whole port space).
pub(crate) const PAIRS_MAX: usize = 32_768;
/// How long the ports of an ended leg rest, so that its far side's last packets do not reach a new call.
pub(crate) const PORT_QUARANTINE: Duration = Duration::from_secs(5);
/// How long after an agreement the media of a phone behind a NAT may be learned.
pub(crate) const LEARN_WINDOW: Duration = Duration::from_secs(5);
/// Ports that others hold, tried in one reservation.
pub(crate) const BIND_ATTEMPTS: usize = 16;
/// Receive buffer of an RTP socket: 64 packets or so, more than one second of a stall.
pub(crate) const RTP_RECEIVE_BUFFER: usize = 64 * 1024;
/// Receive buffer of an RTCP socket.
pub(crate) const RTCP_RECEIVE_BUFFER: usize = 8 * 1024;

/// Legs with a pipe in place of sockets (browsers') at a time.
pub(crate) const PIPES_MAX: usize = 2_048;
/// Packets that wait on the way to a leg: 640 ms of speech, which a busy machine may hand over late and at once.
pub(crate) const PIPE_PACKETS_IN: usize = 32;
/// Packets that wait on the way from a leg: what is older than 320 ms is better not said.
pub(crate) const PIPE_PACKETS_OUT: usize = 16;
/// The largest packet of a pipe: 60 ms of G.711, and Opus up to 200 kbit/s.
pub(crate) const PIPE_PACKET_BYTES: usize = 512;
/// Packets of one pipe read in one turn.
pub(crate) const PACKETS_PER_PIPE_TURN: usize = 8;

/// Packets that wait for whoever reads along: 400 legs for 400 ms.
pub(crate) const TAP_PACKETS: usize = 8_192;
/// The largest payload of one: 60 ms of G.711, and Opus up to 200 kbit/s.
pub(crate) const TAP_BYTES: usize = 512;

/// Over how long the load of the media threads is judged.
pub(crate) const LOAD_WINDOW: Duration = Duration::from_secs(1);
/// A thread that is busier than this (CPU time in the time that passed) takes no new calls: what is left is what keeps
/// frames in time when something else wants the core.
pub(crate) const LOAD_BUSY_MAX: f64 = 0.85;
/// New calls are taken again below this.
pub(crate) const LOAD_BUSY_REST: f64 = 0.75;
/// More frames than this that are 20 ms late, in their share of all: jitter buffers begin to grow.
pub(crate) const LOAD_LATE_MAX: f64 = 0.01;
/// New calls are taken again below this.
pub(crate) const LOAD_LATE_REST: f64 = 0.001;
/// Of fewer frames a second (20 legs) lateness is not judged.
pub(crate) const LOAD_FRAMES_MIN: u64 = 1_000;
/// How long the load must have been well before new calls are taken again.
pub(crate) const LOAD_REST: Duration = Duration::from_secs(3);
/// Blocks waiting for the disk: at four blocks a second and call, 1,000 recordings for two seconds.
pub(crate) const RECORD_QUEUE: usize = 8_192;
/// Threads that write recordings, and encode those that are Opus.
pub(crate) const RECORD_THREADS_MAX: usize = 4;
/// Used blocks kept for the next recordings: 2 MB.
pub(crate) const RECORD_POOL: usize = 256;
