//! What of a browser's SDP is ours to decide: the one codec, the keys' number, the direction, and the address in our answer.
//!
//! The offer is cut down to one codec and its telephone-event before the stack sees it, which matches formats by name
//! alone and would take telephone-event/48000 for one of a codec at 8000.

use std::net::IpAddr;

use ark_media::codec::{self, CodecRef};
use ark_media::sdp::Direction;

use super::limits::FORMATS_MAX;

/// Why an offer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OfferError {
    /// No `m=audio` over DTLS-SRTP.
    #[error("the offer has no audio that browsers and Ark both carry (m=audio over UDP/TLS/RTP/SAVPF)")]
    NoAudio,
    /// None of the codecs is ours.
    #[error("the offer has no codec that Ark speaks")]
    NoCodec,
}

/// A format of the audio line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Format {
    number: u8,
    name: String,
    clock_hz: u32,
    channels: u8,
}

/// An SDP offer of a browser.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    sdp: String,
    formats: Vec<Format>,
    /// What the browser will do.
    direction: Direction,
}

/// What an offer and our choice come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The codec.
    pub(crate) codec: CodecRef,
    /// Its number in packets.
    pub(crate) number: u8,
    /// Channels in `a=rtpmap`; 0: not written.
    pub(crate) channels: u8,
    /// telephone-event's number, of the codec's clock.
    pub(crate) keys: Option<u8>,
}

impl Offer {
    /// Reads an offer.
    pub(crate) fn parse(sdp: &str) -> Result<Self, OfferError> {
        let audio = audio_lines(sdp).ok_or(OfferError::NoAudio)?;
        let mut direction = Direction::SendRecv;
        let mut formats = Vec::new();
        for line in &audio {
            if let Some(map) = line.strip_prefix("a=rtpmap:") {
                formats.extend(format(map));
            }
            direction = match *line {
                "a=sendonly" => Direction::SendOnly,
                "a=recvonly" => Direction::RecvOnly,
                "a=inactive" => Direction::Inactive,
                _ => direction,
            };
        }
        formats.truncate(FORMATS_MAX);
        Ok(Self { sdp: sdp.to_owned(), formats, direction })
    }

    /// Our own direction, in answer to the browser's.
    pub(crate) fn our_direction(&self) -> Direction {
        match self.direction {
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            both => both,
        }
    }

    /// The same offer of somebody who only listens, whatever else it says.
    pub(crate) fn listening(self) -> Self {
        Self { direction: Direction::RecvOnly, ..self }
    }

    /// The codecs that both sides speak: those that `preferred` names in its order, then the others in the offer's.
    pub(crate) fn codecs(&self, preferred: &[String]) -> Vec<CodecRef> {
        let ours = |format: &Format| codec::by_name(&format.name, format.clock_hz);
        let mut codecs: Vec<CodecRef> = Vec::new();
        let named = preferred.iter().filter_map(|name| {
            self.formats.iter().filter(|format| format.name.eq_ignore_ascii_case(name)).find_map(ours)
        });
        for codec in named.chain(self.formats.iter().filter_map(ours)) {
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        codecs
    }

    /// What the leg speaks with that codec.
    pub(crate) fn choose(&self, codec: CodecRef) -> Result<Choice, OfferError> {
        let found = self.formats.iter().find(|f| codec::by_name(&f.name, f.clock_hz) == Some(codec));
        let format = found.ok_or(OfferError::NoCodec)?;
        let keys = self.formats.iter().find(|f| is_keys(f) && f.clock_hz == format.clock_hz).map(|f| f.number);
        Ok(Choice { codec, number: format.number, channels: format.channels, keys })
    }

    /// The offer with that one codec and its telephone-event.
    pub(crate) fn only(&self, choice: &Choice) -> String {
        let keep = |number: u8| number == choice.number || Some(number) == choice.keys;
        let mut out = String::with_capacity(self.sdp.len());
        let mut in_audio = false;
        for line in self.sdp.lines().map(str::trim_end) {
            if line.starts_with("m=") {
                in_audio = line.starts_with("m=audio ");
            }
            if in_audio && line.starts_with("m=") {
                let head = line.splitn(4, ' ').take(3);
                let numbers = std::iter::once(choice.number).chain(choice.keys).map(|n| n.to_string());
                let fields: Vec<String> = head.map(str::to_owned).chain(numbers).collect();
                out.push_str(&fields.join(" "));
            } else {
                let of = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"].iter().find_map(|p| line.strip_prefix(*p));
                let number = of.and_then(|rest| rest.split([' ', '/']).next()).and_then(|n| n.parse().ok());
                // A name instead of an address (mDNS) can be resolved by nobody but the browser's own network.
                let hidden = line.starts_with("a=candidate:") && line.contains(".local ");
                // With feedback on arrival times a browser probes for bandwidth, with hundreds of empty packets a second.
                let probes = line.starts_with("a=extmap:") && !line.contains("sdes:mid");
                if (in_audio && of.is_some() && !number.is_some_and(keep)) || hidden || probes {
                    continue;
                }
                out.push_str(line);
            }
            out.push_str("\r\n");
        }
        out
    }
}

/// The lines of the first audio section, when browsers' way carries it.
fn audio_lines(sdp: &str) -> Option<Vec<&str>> {
    let mut lines = sdp.lines().map(str::trim_end).skip_while(|line| !line.starts_with("m=audio "));
    let media = lines.next()?;
    let mut fields = media.split(' ').skip(1);
    let port: u32 = fields.next()?.split('/').next()?.parse().ok()?;
    if port == 0 || !fields.next()?.ends_with("TLS/RTP/SAVPF") {
        return None;
    }
    Some(lines.take_while(|line| !line.starts_with("m=")).collect())
}

/// `111 opus/48000/2`
fn format(map: &str) -> Option<Format> {
    let (number, encoding) = map.split_once(' ')?;
    let mut parts = encoding.trim().split('/');
    Some(Format {
        number: number.parse().ok().filter(|number| *number < 128)?,
        name: parts.next()?.to_owned(),
        clock_hz: parts.next()?.parse().ok()?,
        channels: parts.next().and_then(|channels| channels.parse().ok()).unwrap_or(0),
    })
}

fn is_keys(format: &Format) -> bool {
    format.name.eq_ignore_ascii_case("telephone-event")
}

/// Our answer as it is told: one component, since RTCP comes on the same port, and where `public` is set that address in
/// place of our own of its family.
pub(crate) fn told(answer: &str, public: Option<IpAddr>) -> String {
    let mut out = String::with_capacity(answer.len());
    for line in answer.lines().map(str::trim_end) {
        let mut line = line.to_owned();
        if let Some(candidate) = line.strip_prefix("a=candidate:") {
            let mut fields: Vec<&str> = candidate.split(' ').collect();
            if fields.get(1) == Some(&"2") {
                continue;
            }
            let own: Option<IpAddr> = fields.get(4).and_then(|address| address.parse().ok());
            let public = public.filter(|public| own.is_some_and(|own| own.is_ipv4() == public.is_ipv4()));
            if let Some(public) = public.map(|public| public.to_string()) {
                fields[4] = &public;
                line = format!("a=candidate:{}", fields.join(" "));
            }
        }
        out.push_str(&line);
        out.push_str("\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROME: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
        a=candidate:1 1 udp 2113937151 3f1a.local 51000 typ host\r\na=ice-ufrag:abcd\r\na=mid:0\r\n\
        a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
        a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=sendrecv\r\n\
        a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
        a=rtpmap:63 red/48000/2\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
        a=rtpmap:13 CN/8000\r\na=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n";

    fn names(preferred: &[&str]) -> Vec<&'static str> {
        let preferred: Vec<String> = preferred.iter().map(|name| (*name).to_owned()).collect();
        Offer::parse(CHROME).unwrap().codecs(&preferred).iter().map(|codec| codec.name()).collect()
    }

    #[test]
    fn codecs_come_in_the_order_that_a_site_prefers() {
        assert_eq!(names(&["pcma", "PCMU"])[..2], ["PCMA", "PCMU"]);
        assert_eq!(names(&["PCMU"])[0], "PCMU");
        assert!(names(&[]).contains(&"PCMA"), "what a site does not name is there, too");
    }

    #[test]
    fn the_keys_are_those_of_the_codecs_clock_and_all_else_is_cut() {
        let offer = Offer::parse(CHROME).unwrap();
        let pcma = codec::by_name("PCMA", 8_000).unwrap();
        let choice = offer.choose(pcma).unwrap();
        assert_eq!((choice.number, choice.keys), (8, Some(126)));
        let only = offer.only(&choice);
        assert!(only.contains("m=audio 9 UDP/TLS/RTP/SAVPF 8 126\r\n"), "{only}");
        assert_eq!(only.matches("a=rtpmap:").count(), 2, "{only}");
        assert!(!only.contains("opus") && !only.contains(".local") && !only.contains("a=fmtp:111"), "{only}");
        assert!(only.contains("sdes:mid") && !only.contains("transport-wide"), "{only}");
        assert!(only.contains("a=ice-ufrag:abcd\r\n") && only.contains("a=mid:0\r\n"));
    }

    #[test]
    fn whatever_a_page_sends_is_read_or_refused() {
        let mut random = 1_u64;
        let mut next = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % below
        };
        for _ in 0..4_000 {
            let mut bytes = CHROME.as_bytes().to_vec();
            for _ in 0..1 + next(8) {
                let at = next(bytes.len());
                match next(3) {
                    0 => bytes[at] = next(256) as u8,
                    1 => drop(bytes.drain(at..(at + next(20)).min(bytes.len()))),
                    _ => {
                        let (from, length) = (next(400), next(40));
                        drop(bytes.splice(at..at, CHROME.as_bytes()[from..from + length].iter().copied()));
                    }
                }
            }
            let text = String::from_utf8_lossy(&bytes);
            let _ = told(&text, Some("203.0.113.7".parse().unwrap()));
            let Ok(offer) = Offer::parse(&text) else { continue };
            for codec in offer.codecs(&[]) {
                let only = offer.only(&offer.choose(codec).unwrap());
                assert!(only.contains("m=audio "), "{only}");
            }
        }
    }

    #[test]
    fn our_direction_answers_theirs() {
        let ours = |line: &str| Offer::parse(&CHROME.replace("a=sendrecv", line)).unwrap().our_direction();
        assert_eq!(ours("a=recvonly"), Direction::SendOnly);
        assert_eq!(ours("a=sendonly"), Direction::RecvOnly);
        assert_eq!(ours("a=inactive"), Direction::Inactive);
    }

    #[test]
    fn what_is_no_browsers_offer_is_refused() {
        for sdp in
            ["", "v=0\r\n", &CHROME.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), &CHROME.replace("audio 9", "audio 0")]
        {
            assert_eq!(Offer::parse(sdp).err(), Some(OfferError::NoAudio), "{sdp}");
        }
        let deaf = CHROME.replace("PCM", "XYZ").replace("opus", "zopus").replace("G722", "G999");
        assert!(Offer::parse(&deaf).unwrap().codecs(&[]).is_empty());
    }

    #[test]
    fn the_public_address_stands_in_for_our_own_and_one_component_is_told() {
        let answer = "m=audio 9 UDP/TLS/RTP/SAVPF 8\r\na=candidate:1 1 udp 2130706431 10.0.0.5 30000 typ host\r\n\
            a=candidate:1 2 udp 2130706431 10.0.0.5 30000 typ host\r\na=candidate:2 1 udp 1 fd00::5 30000 typ host\r\n";
        let out = told(answer, Some("203.0.113.7".parse().unwrap()));
        assert!(out.contains("a=candidate:1 1 udp 2130706431 203.0.113.7 30000 typ host\r\n"), "{out}");
        assert!(out.contains("fd00::5") && !out.contains("10.0.0.5") && !out.contains(" 2 udp"), "{out}");
        assert_eq!(told(answer, None).matches("10.0.0.5").count(), 1);
    }
}
