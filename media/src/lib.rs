//! Voice as a value: RTP, RTCP, SDP, codecs, DTMF, prompts and recordings. No sockets, no clock, no runtime.
