//! One POST over the network: to addresses that are allowed, in bounded time, without following anywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::{self, HeaderMap};
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::limits::{ADDRESSES_MAX, ANSWER_BYTES_MAX, IDLE_MAX, IN_FLIGHT};

/// The authorities of this machine and the public ones.
static AUTHORITIES: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let own = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(own.certs);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has what the default versions of TLS need")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
});

/// Where to POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    tls: bool,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Place {
    /// Reads an `http://` or `https://` url.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = || format!("`{url}` is not an http url: write \"https://example.com/ark\"");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') {
            return Err("a user and a password in a url end in logs: the signature shows who sends".to_owned());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(wrong());
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { tls, host, port, authority: authority.as_str().to_owned(), path })
    }

    /// Host and port as they stand in the url.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Whether what is sent can be read on the way.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        !self.tls
    }

    /// For people: without what follows a `?`, which may be a secret.
    #[must_use]
    pub fn shown(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{}://{}{path}", if self.tls { "https" } else { "http" }, self.authority)
    }

    /// The address, when the host is one and not a name.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// Whether a webhook may go to an address: never to one that is no machine's; to this machine, to private networks and to
/// where clouds keep their machines' credentials only with `allow_private`.
#[must_use]
pub fn may_reach(address: IpAddr, allow_private: bool) -> bool {
    match address {
        IpAddr::V4(v4) => may_reach_v4(v4, allow_private),
        IpAddr::V6(v6) => {
            if let Some(v4) = embedded(v6) {
                return may_reach_v4(v4, allow_private);
            }
            let inside =
                v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || is_of_the_site(v6.segments());
            !v6.is_unspecified() && !v6.is_multicast() && (allow_private || !inside)
        }
    }
}

fn may_reach_v4(v4: Ipv4Addr, allow_private: bool) -> bool {
    let [a, b, c, _] = v4.octets();
    // 100.64/10 is carriers' and clouds' own (100.100.100.200), 192.0.0/24 the protocols' (192.0.0.192), 198.18/15 benches'.
    let inside = v4.is_loopback()
        || v4.is_private()
        || v4.is_link_local()
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && matches!(b, 18 | 19));
    a != 0 && !v4.is_multicast() && a < 240 && (allow_private || !inside)
}

/// Site-local addresses (RFC 3879: old, and still routed inside), a site's own NAT64 (RFC 8215) and discard-only (RFC 6666).
const fn is_of_the_site(segments: [u16; 8]) -> bool {
    matches!(segments, [0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] | [0x100, 0, 0, 0, ..])
}

/// The IPv4 address within an IPv6 address that only carries one: mapped, translated (SIIT), NAT64, 6to4, Teredo, and
/// the old compatible form.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0, 0, 0, 0, 0xffff, 0, high, low] | [0x2002, high, low, ..] => Some(of(high, low)),
        // RFC 4380: with every bit turned round.
        [0x2001, 0, .., high, low] => Some(of(!high, !low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(of(high, low)),
        _ => None,
    }
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
}

type Sender = SendRequest<Full<Bytes>>;

/// Sends to one place and keeps connections for the next time.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) place: Place,
    allow_private: bool,
    timeout: Duration,
    idle: Mutex<Vec<(Sender, Instant)>>,
}

impl Client {
    pub(crate) fn new(place: Place, allow_private: bool, timeout: Duration) -> Self {
        Self { place, allow_private, timeout, idle: Mutex::default() }
    }

    /// POSTs and answers what came back, or a sentence about why nothing did.
    pub(crate) async fn post(&self, headers: &HeaderMap, body: &Bytes) -> Result<Answer, String> {
        match tokio::time::timeout(self.timeout, self.try_post(headers, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", self.timeout.as_secs_f64())),
        }
    }

    async fn try_post(&self, headers: &HeaderMap, body: &Bytes) -> Result<Answer, String> {
        if let Some(kept) = self.kept() {
            match self.exchange(kept, headers, body).await {
                Ok(answer) => return Ok(answer),
                // The other side let go of it meanwhile; it may have read the request, which is why there is an id.
                Err(error) if error.is_canceled() || error.is_closed() || error.is_incomplete_message() => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        let new = self.connect().await?;
        self.exchange(new, headers, body).await.map_err(|error| error.to_string())
    }

    fn kept(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE_MAX);
        idle.pop().map(|(sender, _)| sender)
    }

    async fn exchange(&self, mut to: Sender, headers: &HeaderMap, body: &Bytes) -> Result<Answer, hyper::Error> {
        let mut request = Request::post(&self.place.path)
            .header(header::HOST, &self.place.authority)
            .body(Full::new(body.clone()))
            .expect("path and authority were read from a url");
        request.headers_mut().extend(headers.clone());
        let answer = to.send_request(request).await?;
        let status = answer.status().as_u16();
        let seconds = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = seconds.map(Duration::from_secs);
        if read_away(answer.into_body()).await && to.ready().await.is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IN_FLIGHT {
                idle.push((to, Instant::now()));
            }
        }
        Ok(Answer { status, retry_after })
    }

    async fn connect(&self) -> Result<Sender, String> {
        let stream = dial(&self.place, self.allow_private).await?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| format!("{}: {error}", self.place.host))?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// A connection that bytes go over, with TLS or without.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Connects to a place, at an address that may be reached: never one inside this network unless `allow_private`.
///
/// # Errors
/// A sentence about why not.
pub(crate) async fn dial(place: &Place, allow_private: bool) -> Result<Box<dyn Io>, String> {
    let Place { host, port, tls, .. } = place;
    let found = tokio::net::lookup_host((host.as_str(), *port))
        .await
        .map_err(|error| format!("{host} has no address: {error}"))?;
    let (allowed, refused): (Vec<SocketAddr>, Vec<SocketAddr>) =
        found.partition(|address| may_reach(address.ip(), allow_private));
    if allowed.is_empty() {
        let ip = refused.first().map_or_else(String::new, |address| address.ip().to_string());
        let help = "set allow_private = true if it is meant to be reached";
        return Err(format!("{host} is at {ip}, an address inside this network: {help}"));
    }
    // The address that was looked at is the one that is connected to: a name cannot change in between.
    let mut last = String::new();
    for address in allowed.iter().take(ADDRESSES_MAX) {
        match TcpStream::connect(address).await {
            Ok(stream) => return begin(stream, host, *tls).await,
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(last)
}

async fn begin(stream: TcpStream, host: &str, tls: bool) -> Result<Box<dyn Io>, String> {
    let _ = stream.set_nodelay(true);
    if !tls {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("{host}: {error}"))?;
    let connector = TlsConnector::from(Arc::clone(&AUTHORITIES));
    let stream = connector.connect(name, stream).await.map_err(|error| format!("{host}: {error}"))?;
    Ok(Box::new(stream))
}

/// Reads a body to its end; false when it is too long or broke off.
async fn read_away(body: Incoming) -> bool {
    Limited::new(body, ANSWER_BYTES_MAX).collect().await.is_ok()
}

/// A header's value; what cannot stand in one is left out.
pub(crate) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_addresses_are_reached_only_when_the_site_says_so() {
        let inner = [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.100.100.200",
            "192.0.0.192",
            "::1",
            "fe80::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "2001:0:4136:e378:8000:63bf:80ff:fffe",
            "fec0::1",
            "64:ff9b:1::a9fe:a9fe",
            "100::1",
        ];
        for address in inner {
            assert!(!may_reach(address.parse().unwrap(), false), "{address}");
            assert!(may_reach(address.parse().unwrap(), true), "{address}");
        }
        for address in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "240.0.0.1"] {
            assert!(!may_reach(address.parse().unwrap(), true), "{address}");
        }
        for address in ["203.0.113.5", "8.8.8.8", "2001:db8::1", "100.128.0.1"] {
            assert!(may_reach(address.parse().unwrap(), false), "{address}");
        }
    }

    #[test]
    fn urls_are_read_and_shown_without_their_secrets() {
        let place = Place::parse("https://hooks.example.com/ark?key=hunter2").unwrap();
        assert_eq!(place.shown(), "https://hooks.example.com/ark");
        assert!((place.port, place.tls) == (443, true) && place.path == "/ark?key=hunter2");
        let v6 = Place::parse("http://[::1]:9000").unwrap();
        assert_eq!((v6.host.as_str(), v6.port, v6.path.as_str()), ("::1", 9_000, "/"));
        assert_eq!(v6.address(), Some("::1".parse().unwrap()));
        for wrong in
            ["", "example.com", "ftp://example.com/", "https://", "https://user:pw@example.com/", "http://a b/"]
        {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
    }
}
