//! The lenient reader: LF or CRLF, unknown lines skipped, order not enforced, limits kept.

use std::net::IpAddr;

use super::{Connection, Description, Direction, Media, RtpMap, SdpError};
use crate::limits::{SDP_BYTES_MAX, SDP_FORMATS_MAX, SDP_LINES_MAX, SDP_MEDIA_MAX, SDP_TOKEN_BYTES_MAX};

/// Formats that most offers stay within: room for them is made at once.
const FORMATS_TYPICAL: usize = 8;

/// Reads a body. Only an `m=` line that makes no sense, and a body without a single line of SDP, are errors: every
/// other line that cannot be understood is skipped. Bytes that are not UTF-8 hide only their own line.
pub fn parse(body: &[u8]) -> Result<Description<'_>, SdpError> {
    if body.len() > SDP_BYTES_MAX {
        return Err(SdpError::TooLarge { what: "bytes" });
    }
    let mut description = Description::default();
    let mut any = false;
    let mut rest = Some(body);
    for index in 0.. {
        let Some(line) = rest.take() else { break };
        if index >= SDP_LINES_MAX {
            return Err(SdpError::TooLarge { what: "lines" });
        }
        let line = match memchr::memchr(b'\n', line) {
            Some(end) => {
                rest = Some(&line[end + 1..]);
                &line[..end]
            }
            None => line,
        };
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let Some((kind, value)) = line.trim_ascii().split_once('=') else { continue };
        let (kind, value) = (kind.trim_ascii_end(), value.trim_ascii());
        any |= kind.len() == 1;
        match kind {
            "o" => description.origin = origin(value),
            "c" => {
                let connection = connection(value);
                match description.media.last_mut() {
                    Some(media) => media.connection = connection.or(media.connection),
                    None => description.connection = connection,
                }
            }
            "m" => {
                if description.media.len() == SDP_MEDIA_MAX {
                    return Err(SdpError::TooLarge { what: "media lines" });
                }
                let what = |what| SdpError::Malformed { line: index + 1, what };
                description.media.push(media(value).map_err(what)?);
                let formats = description.media.last().map_or(0, |m| m.formats.len());
                if formats > SDP_FORMATS_MAX {
                    return Err(SdpError::TooLarge { what: "formats" });
                }
            }
            "a" => attribute(&mut description, value),
            _ => {}
        }
    }
    if any { Ok(description) } else { Err(SdpError::Malformed { line: 1, what: "not SDP" }) }
}

fn origin(value: &str) -> Option<(u64, u64)> {
    let mut words = value.split_ascii_whitespace().skip(1);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn connection(value: &str) -> Option<Connection<'_>> {
    let address = value.split_ascii_whitespace().nth(2)?;
    // Multicast TTL and IPv6 zone are cut off.
    let bare = address.split(['/', '%']).next().unwrap_or(address);
    Some(bare.parse::<IpAddr>().map_or(Connection::Other(address), |ip| Connection::Address(ip.to_canonical())))
}

fn media(value: &str) -> Result<Media<'_>, &'static str> {
    let mut words = value.split_ascii_whitespace();
    let (Some(kind), Some(port), Some(protocol)) = (words.next(), words.next(), words.next()) else {
        return Err("an m= line needs media, port and protocol");
    };
    // "49170/2": the first of several ports.
    let port = port.split('/').next().unwrap_or(port).parse().map_err(|_| "the port of the m= line is no number")?;
    let mut formats = Vec::with_capacity(FORMATS_TYPICAL);
    formats.extend(words.take(SDP_FORMATS_MAX + 1));
    // An answer copies these: nothing that could break out of its line, nothing endless.
    let copies = formats.iter().copied().chain([kind, protocol]);
    if copies.into_iter().any(|t| t.len() > SDP_TOKEN_BYTES_MAX || !t.bytes().all(|b| b.is_ascii_graphic())) {
        return Err("a word of the m= line is too long or not plain ASCII");
    }
    Ok(Media { kind, port, protocol, formats, ..Media::default() })
}

fn attribute<'a>(description: &mut Description<'a>, value: &'a str) {
    let (name, value) = value.split_once(':').map_or((value, ""), |(n, v)| (n.trim_ascii(), v.trim_ascii()));
    let direction = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive]
        .into_iter()
        .find(|direction| name.eq_ignore_ascii_case(direction.as_str()));
    let Some(media) = description.media.last_mut() else {
        description.direction = direction.or(description.direction);
        if name.eq_ignore_ascii_case("ptime") {
            description.ptime_ms = millis(value);
        } else if name.eq_ignore_ascii_case("rtcp-xr") {
            description.rtcp_xr = wants_voip_metrics(value);
        }
        return;
    };
    if direction.is_some() {
        media.direction = direction;
    } else if name.eq_ignore_ascii_case("rtpmap") {
        if media.rtpmaps.len() < SDP_FORMATS_MAX {
            if media.rtpmaps.capacity() == 0 {
                media.rtpmaps.reserve(media.formats.len());
            }
            media.rtpmaps.extend(rtpmap(value));
        }
    } else if name.eq_ignore_ascii_case("fmtp") {
        if media.fmtps.len() < SDP_FORMATS_MAX {
            media.fmtps.extend(fmtp(value));
        }
    } else if name.eq_ignore_ascii_case("ptime") {
        media.ptime_ms = millis(value);
    } else if name.eq_ignore_ascii_case("maxptime") {
        media.maxptime_ms = millis(value);
    } else if name.eq_ignore_ascii_case("rtcp-mux") {
        media.rtcp_mux = true;
    } else if name.eq_ignore_ascii_case("rtcp-xr") {
        media.rtcp_xr = wants_voip_metrics(value);
    } else if name.eq_ignore_ascii_case("rtcp") {
        let mut words = value.split_ascii_whitespace();
        let port = words.next().and_then(|port| port.parse().ok()).filter(|port| *port != 0);
        media.rtcp = port.map(|port| (port, words.nth(2).and_then(|ip| ip.parse().ok())));
    }
}

/// The value of `a=rtcp-xr` (RFC 3611 5.1), which may stand at either level.
fn wants_voip_metrics(value: &str) -> bool {
    value.split_ascii_whitespace().any(|format| format.eq_ignore_ascii_case("voip-metrics"))
}

/// `a=ptime:20`, and `20.0` as some write it.
fn millis(value: &str) -> Option<u32> {
    value.split('.').next()?.parse().ok().filter(|ms| (1..=1000).contains(ms))
}

fn fmtp(value: &str) -> Option<(u8, &str)> {
    let (payload_type, parameters) = value.split_once([' ', '\t'])?;
    Some((payload_type.parse().ok().filter(|p| *p < 128)?, parameters.trim_ascii()))
}

fn rtpmap(value: &str) -> Option<RtpMap<'_>> {
    let (payload_type, encoding) = value.split_once([' ', '\t'])?;
    let mut parts = encoding.trim_ascii().split('/');
    Some(RtpMap {
        payload_type: payload_type.parse().ok().filter(|p| *p < 128)?,
        name: parts.next()?.trim_ascii(),
        clock_hz: parts.next().and_then(|hz| hz.trim().parse().ok()).unwrap_or(8000),
        channels: parts.next().and_then(|n| n.trim().parse().ok()).unwrap_or(1),
    })
}
