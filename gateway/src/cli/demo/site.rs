//! The demo's site: a folder of its own, the hotline that is part of the program, and ports that are free.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use super::Config;
use crate::cli::Failure;
use crate::config::{Channel, SipListen, SipTransport, Span, SpeechEngine};
use crate::speech::models;

/// The ports that are looked at for SIP, in this order; after them any that is free.
const SIP_PORTS: &[u16] = &[5060, 5070, 5080, 5090];
/// The same for the page.
const WEB_PORTS: &[u16] = &[8080, 8081, 8082, 8088];
/// How many ports that the system offers are tried for SIP, which wants the same one for UDP and TCP.
const OFFERS: usize = 16;

/// Where the demo keeps its log, recordings and voices.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Removed at the end.
    pub(super) temporary: bool,
}

impl Folder {
    /// The folder asked for, else a temporary one.
    pub(super) fn new(wanted: Option<&Path>) -> Result<Self, Failure> {
        let path = wanted.map_or_else(
            || std::env::temp_dir().join(format!("ark-demo-{}-{:08x}", std::process::id(), rand::random::<u32>())),
            Path::to_path_buf,
        );
        let made = std::fs::create_dir_all(&path).and_then(|()| path.canonicalize());
        let path = made.map_err(|error| {
            Failure::environment(format!(
                "{}: the demo's folder cannot be made: {error}; name another with --data",
                path.display()
            ))
        })?;
        let temporary = wanted.is_none();
        if temporary {
            keep_voices(&path.join("files"));
        }
        Ok(Self { path, temporary })
    }
}

/// What the hotline says takes a while to make: a temporary site shares it with the next one, in the user's cache folder. Where that
/// cannot be, it is made anew.
fn keep_voices(files: &Path) {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let Some(cache) = cache.map(|cache| cache.join("ark/prompts")) else { return };
    if std::fs::create_dir_all(&cache).is_ok() && std::fs::create_dir_all(files).is_ok() {
        let _ = std::os::unix::fs::symlink(cache, files.join("prompts"));
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// What the demo runs, and where.
pub(super) struct Site {
    pub(super) config: Config,
    /// Its file, for other commands of `ark`.
    pub(super) file: PathBuf,
    /// Where SIP is heard, UDP and TCP.
    pub(super) sip_port: u16,
    /// Where the page is.
    pub(super) web_port: u16,
}

impl Site {
    /// Looks for free ports and writes the site's file.
    ///
    /// `channels` stand in it beside the chat of web pages.
    pub(super) fn choose(folder: &Folder, channels: &[Channel]) -> Result<Self, Failure> {
        let none = |what: &str, error: &io::Error| Failure::environment(format!("no port is free for {what}: {error}"));
        let sip_port = free_sip_port().map_err(|error| none("SIP", &error))?;
        let web_port = free_web_port().map_err(|error| none("the page", &error))?;
        let path = &folder.path;
        let mut config = Config::builtin();
        config.gateway.id = "demo".into();
        config.gateway.data = path.clone();
        config.gateway.drain = Span::from_secs(0);
        config.channel.extend_from_slice(channels);
        config.survey.get_or_insert_default();
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, sip_port));
        config.sip.listen =
            [SipTransport::Udp, SipTransport::Tcp].map(|transport| SipListen { transport, address: any }).into();
        config.web.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, web_port));
        config.store.url = format!("sqlite:{}", path.join("ark.db").display()).as_str().into();
        config.files.url = format!("file:{}", path.join("files").display());
        if cfg!(feature = "whisper") && models::test_double().is_some() {
            // Chosen by its name, here and in tests alone.
            config.speech.engine = SpeechEngine::Whisper;
            config.speech.model = models::TEST_DOUBLE.to_owned();
        }
        let file = path.join("ark.toml");
        let text = toml::to_string(&config)
            .map_err(|error| Failure::environment(format!("the demo's site cannot be written as TOML: {error}")))?;
        std::fs::write(&file, text)
            .map_err(|error| Failure::environment(format!("{}: cannot be written: {error}", file.display())))?;
        Ok(Self { config, file, sip_port, web_port })
    }

    /// Where the scripted caller calls.
    pub(super) fn loopback(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.sip_port)
    }

    /// The ports that a newcomer expects and that another program has, with what was taken instead.
    pub(super) fn moved(&self) -> Vec<(u16, u16)> {
        [(SIP_PORTS, self.sip_port), (WEB_PORTS, self.web_port)]
            .into_iter()
            .filter_map(|(wanted, taken)| wanted.first().map(|first| (*first, taken)))
            .filter(|(wanted, taken)| wanted != taken)
            .collect()
    }
}

fn free_sip_port() -> io::Result<u16> {
    let both = |port: u16| -> io::Result<u16> {
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        let port = udp.local_addr()?.port();
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map(|_| port)
    };
    first_free(SIP_PORTS.iter().copied().chain(std::iter::repeat_n(0, OFFERS)), both)
}

fn free_web_port() -> io::Result<u16> {
    let one = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr().map(|address| address.port());
    first_free(WEB_PORTS.iter().copied().chain([0]), one)
}

fn first_free(ports: impl Iterator<Item = u16>, bind: impl Fn(u16) -> io::Result<u16>) -> io::Result<u16> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in ports {
        match bind(port) {
            Ok(port) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_passed_over_and_the_last_error_is_said() {
        let taken = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let bind =
            |port: u16| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?.local_addr().map(|address| address.port());
        let found = first_free([port, 0].into_iter(), bind).unwrap();
        assert_ne!(found, port);
        assert_eq!(first_free([port].into_iter(), bind).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_temporary_folder_goes_and_one_that_was_named_stays() {
        let temporary = Folder::new(None).unwrap();
        let path = temporary.path.clone();
        let named = Folder::new(Some(&path.join("named"))).unwrap();
        let kept = named.path.clone();
        drop(named);
        assert!(kept.is_dir());
        drop(temporary);
        assert!(!path.exists());
    }
}
