//! Ark, the contact-centre gateway: sockets, tasks, clock, HTTP and the command line around the machines.

pub mod actions;
pub mod bench;
pub mod call;
pub mod channel_host;
pub mod cli;
pub mod companion;
pub mod config;
pub mod control;
pub mod conversations;
pub mod doctor;
pub mod erasure;
pub mod http;
pub mod live;
pub mod media;
pub mod net;
pub mod open;
mod pages;
pub mod phone;
pub mod plans;
mod priority;
pub mod prompts;
mod retry;
pub mod serve;
pub mod sms;
pub mod telemetry;
pub mod webhooks;
pub mod webrtc;
