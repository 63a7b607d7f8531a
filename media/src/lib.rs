//! Voice as a value: RTP, RTCP, SDP, codecs, DTMF, prompts and recordings. No sockets, no clock, no runtime.
//!
//! The road of a packet: [`session::Session::receive_rtp`] checks where it comes from, counts it and hands back its
//! audio for a bridge or a tap; [`session::Session::next_frame`] writes the packet of each 20 ms tick.
//! Where its audio is needed as such, [`playout::Playout`] holds it back as long as the network asks ([`jitter`]), makes up for
//! what is lost ([`conceal`]) and follows the sender's clock ([`stretch`]).
//! [`sdp::Negotiator`] agrees on what a session speaks, [`prompt`] makes what it plays, [`record`] keeps what it heard.
//! Time is always an argument (`now: Instant`), so that every loss, delay and race is an ordinary test.

pub mod codec;
pub mod conceal;
pub mod demux;
pub mod dtmf;
#[doc(hidden)]
pub mod fuzz;
pub mod jitter;
pub mod limits;
pub mod mix;
pub mod outlet;
pub mod playout;
pub mod prompt;
pub mod quality;
pub mod record;
pub mod repack;
pub mod resample;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod session;
pub mod sound_over;
pub mod stretch;
pub mod tone;
pub mod transcode;
