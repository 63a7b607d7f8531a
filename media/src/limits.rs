//! Every bound of this crate, by name.

use std::time::Duration;

/// Largest datagram a session reads or writes, bytes: an Ethernet frame without fragmentation.
pub const DATAGRAM_BYTES_MAX: usize = 1500;
/// Bytes of an RTP header without CSRCs and extensions (RFC 3550 5.1).
pub const RTP_HEADER_BYTES: usize = 12;
/// The engine's tick: what is played out and mixed at a time, and the packet time unless a peer asks for another.
pub const TICK: Duration = Duration::from_millis(20);
/// Every packet that Ark sends holds a multiple of this, and it is the shortest one.
pub const PTIME_STEP: Duration = Duration::from_millis(10);
/// Longest packet time Ark sends.
pub const PTIME_MAX: Duration = Duration::from_millis(60);
/// Pieces of one playlist.
pub const PLAYLIST_ITEMS_MAX: usize = 512;
/// Digits waiting to be sent as telephone-events on one leg.
pub const DIGIT_QUEUE_MAX: usize = 32;
/// Events a session keeps for its driver between two polls; the oldest is dropped (and counted) beyond it.
pub const SESSION_EVENTS_MAX: usize = 16;
/// Digits that the merger remembers while it waits for their twin from the other road.
pub const MERGER_PENDING_MAX: usize = 16;
/// A digit seen by RFC 4733 and by SIP INFO within this time is one key press.
pub const MERGE_WINDOW: Duration = Duration::from_millis(400);
/// In-sequence packets from one source before a learning session locks to it.
pub const LEARN_PACKETS: u32 = 3;
/// RTCP packets read from one compound datagram.
pub const RTCP_PACKETS_MAX: usize = 16;
/// Mean time between RTCP reports (RFC 3550 6.2).
pub const RTCP_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes of one SDP body. Browsers' offers with many candidates stay under 8 KiB.
pub const SDP_BYTES_MAX: usize = 32 * 1024;
/// Lines of one SDP body.
pub const SDP_LINES_MAX: usize = 1024;
/// Media lines of one SDP body.
pub const SDP_MEDIA_MAX: usize = 16;
/// Formats on one media line.
pub const SDP_FORMATS_MAX: usize = 64;
/// Bytes of one SDP token that Ark copies into an answer (media kind, protocol, format).
pub const SDP_TOKEN_BYTES_MAX: usize = 32;
/// Longest CNAME sent in SDES, bytes (RFC 3550 6.5: the length is one octet).
pub const CNAME_BYTES_MAX: usize = 64;

/// Least delay that a jitter buffer adds: one tick, so that a tick a little early or late loses nothing.
pub const JITTER_DELAY_MIN: Duration = Duration::from_millis(20);
/// Most delay that a jitter buffer asks for. What comes later than that is lost to the ear.
pub const JITTER_DELAY_MAX: Duration = Duration::from_millis(120);
/// Packets that a jitter buffer holds: 320 ms of 10 ms packets.
pub const JITTER_PACKETS_MAX: usize = 32;
/// Payload bytes that a jitter buffer holds: a second of G.711, 128 ms of the widest Opus.
pub const JITTER_BYTES_MAX: usize = 8 * 1024;
/// Longest audio of one packet that is played (RFC 6716 2.1.4: the longest Opus packet); more of it is cut off.
pub const PACKET_AUDIO_MAX: Duration = Duration::from_millis(120);
/// Sample rates of audio that is concealed, stretched and searched for tones.
pub const AUDIO_RATE_HZ: std::ops::RangeInclusive<u32> = 8000..=48_000;

/// Members of a room that is mixed.
pub const MIX_MEMBERS_MAX: usize = 16;
/// Samples in a frame of a mixer: 20 ms at 48 kHz.
pub const MIX_SAMPLES_MAX: usize = 960;
/// How long a bridge between two codecs keeps the voice back for a key of which nothing more comes: two updates of those
/// phones that send one each 50 ms (RFC 4733 2.5.1.2).
pub const TRANSCODE_KEY_MAX: Duration = Duration::from_millis(100);

/// Addresses from which a browser may be heard: all the candidates that it may name, and a few that it did not.
pub const GATE_ADDRESSES_MAX: usize = 80;
/// Packets of RTP and RTCP that a browser may send in a second: five times those of the shortest packet time.
pub const GATE_MEDIA_PER_SECOND_MAX: u32 = 500;
/// Those that may come at once: what a stalled network held back for two seconds.
pub const GATE_MEDIA_BURST: u32 = 250;
/// Checks of ICE and packets of DTLS in a second, on average: a check of each candidate every 50 ms is more than any browser sends.
pub const GATE_CONTROL_PER_SECOND_MAX: u32 = 100;
/// Those that may come at once: a handshake's, and a check of every pair of candidates.
pub const GATE_CONTROL_BURST: u32 = 200;

/// Largest sound file that is read as a prompt.
pub const PROMPT_BYTES_MAX: usize = 64 << 20;
/// Longest prompt.
pub const PROMPT_DURATION_MAX: Duration = Duration::from_secs(600);
/// Most channels of a sound file.
pub const PROMPT_CHANNELS_MAX: usize = 8;
/// Sample rates of sound files.
pub const PROMPT_RATE_HZ: std::ops::RangeInclusive<u32> = 4000..=192_000;
/// How late a packet may come and still find its place in a recording.
pub const RECORD_LATE_MAX: Duration = Duration::from_millis(400);
/// How far ahead of the clock on the wall a packet may lie before its stream is laid out anew.
pub const RECORD_EARLY_MAX: Duration = Duration::from_millis(200);
/// Audio in one block of a recording.
pub const RECORD_BLOCK: Duration = Duration::from_millis(250);
/// How far a stream of a recording may lie off the clock on the wall, its fastest packets taken, before it is moved.
pub const RECORD_DRIFT_MAX: Duration = Duration::from_millis(10);
/// Packets over which that is watched: five seconds of them.
pub const RECORD_DRIFT_PACKETS: u32 = 250;
/// Longest recording: 18 h, which a WAV of four channels can just say.
pub const RECORD_MAX: Duration = Duration::from_secs(18 * 3600);
/// Supervisors whose voices one recording tells apart.
pub const RECORD_SUPERVISORS_MAX: usize = 4;

const _: () = assert!(PTIME_MAX.as_millis().is_multiple_of(TICK.as_millis()));
const _: () = assert!(TICK.as_millis() == 2 * PTIME_STEP.as_millis());
const _: () = assert!(RTP_HEADER_BYTES + (PTIME_MAX.as_millis() as usize) * 8 < DATAGRAM_BYTES_MAX);
// A crash loses what may still come late and a block that is not full: less than a second, with room for a slow disk.
const _: () = assert!(RECORD_LATE_MAX.as_millis() + RECORD_BLOCK.as_millis() < 700);
const _: () = assert!(JITTER_DELAY_MIN.as_millis() == TICK.as_millis());
const _: () = assert!(JITTER_DELAY_MAX.as_millis() + PTIME_MAX.as_millis() < 10 * JITTER_PACKETS_MAX as u128);
const _: () = assert!(JITTER_BYTES_MAX >= 4 * DATAGRAM_BYTES_MAX && JITTER_BYTES_MAX <= u16::MAX as usize);
