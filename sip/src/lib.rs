//! SIP as a value: bytes and the time go in; messages, timers and bytes come out. No sockets, no clock, no runtime.
