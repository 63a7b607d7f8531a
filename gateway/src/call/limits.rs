//! Every bound of call control.

use std::time::Duration;

/// Callers that wait in one queue; the next is told so by the plan's fallback.
pub const WAITING_MAX: usize = 10_000;
/// How long an operator's phone rings before the next one is tried.
pub const OPERATOR_RING: Duration = Duration::from_secs(20);
/// How long an operator who did not take a call is left alone.
pub const OPERATOR_REST: Duration = Duration::from_secs(10);
/// Finished talks of a queue from which the mean handling time is taken.
pub const HANDLED_KEPT: usize = 50;
/// Handling time that is assumed until a queue has finished its first talk.
pub const HANDLING_ASSUMED: Duration = Duration::from_secs(180);
/// Supervisors in one call at a time.
pub const SUPERVISORS_MAX: usize = 4;
/// How long a supervisor's phone rings.
pub const SUPERVISOR_RING: Duration = Duration::from_secs(30);
/// How often the place of somebody who waits is looked at.
pub const POSITION_CHECK: Duration = Duration::from_secs(5);
/// How long a transfer's target rings.
pub const TRANSFER_RING: Duration = Duration::from_secs(30);
/// How long a customer hears music while an agent speaks with whoever is to take them.
pub const TRANSFER_CONSULT: Duration = Duration::from_secs(300);
/// Keys that are pressed with one request.
pub const KEYS_AT_ONCE: usize = 32;
/// How long a key is held that an agent presses.
pub const PRESSED_KEY: Duration = Duration::from_millis(120);
/// A call whose peer sends no RTP for this long is ended: its phone is gone.
pub const RTP_SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long a key is held that goes on from a SIP INFO to the other side of a bridge.
pub const INFO_KEY: Duration = Duration::from_millis(120);
/// Steps of a plan that one input may cause before the call is ended as broken.
pub const STEPS_MAX: usize = 256;
/// Log events that wait for the writer; over it they are counted and dropped, and the log says so.
pub const LOG_QUEUE: usize = 65_536;
/// Commands (API, HTTP results) that wait for the core.
pub const COMMAND_QUEUE: usize = 1_024;
/// Media events that the core handles in one turn.
pub const MEDIA_EVENTS_PER_TURN: usize = 512;
/// How long an ended call waits for the media engine and the recorder before its record is closed without them.
pub const FORGET_AFTER: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the last words of calls that it ended.
pub const STOP_MAX: Duration = Duration::from_secs(3);
