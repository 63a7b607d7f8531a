//! The site's configuration: one TOML file, every key of which is described on the field that holds it.
//!
//! `ark config print --docs` prints these descriptions, and `docs/config.md` is generated from them. Unknown keys are refused with their
//! place and the nearest known name; values are checked for sense before anything starts ([`Config::load`]).

mod check;
mod companion;
mod error;
mod oidc;
mod queue;
mod reference;
mod speech;
mod survey;
mod values;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_conversation::Assurance;
use ark_media::codec::{self, CodecRef};
use ark_media::record::Layout;
use ark_media::tone::Repeated;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::media::{RecordAs, RecordFormat};

pub use companion::{AppHook, Companion, Sms, SmsHttp, SmsReceipts, SmsSmpp};
pub use error::{ConfigError, Finding, Severity};
pub use oidc::Oidc;
pub use reference::reference;
pub use speech::{Speech, SpeechEngine, SpeechLanguage};
pub use survey::Survey;
pub use values::{Cidr, Codec, Ports, Secret, SipListen, SipTransport, Span, Url};

/// The file that `ark` reads when `--config` is not given and it exists.
pub const FILE_DEFAULT: &str = "ark.toml";

/// A dialplan path that begins with this names a plan that is part of the program.
pub const BUILTIN: &str = "builtin:";

/// A whole site.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who this gateway is.
    pub gateway: Gateway,
    /// Where SIP is heard and how much of it is taken.
    pub sip: Sip,
    /// Where voice is heard.
    pub rtp: Rtp,
    /// How voice is spoken, and the threads that carry it.
    pub media: Media,
    /// Calls of browsers: customers on a site's page, operators at the desk.
    pub webrtc: WebRtc,
    /// The page, the API, health and metrics.
    pub web: Web,
    /// The site's identity provider, where people sign in. Left out: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<Oidc>,
    /// The log of record.
    pub store: Store,
    /// Recordings, attachments and the prompt cache.
    pub files: Files,
    /// How calls are recorded.
    pub recording: Recording,
    /// Who reads along what is said in calls.
    pub speech: Speech,
    /// The carrier of committed events.
    pub bus: Bus,
    /// How prompts without a recording are spoken.
    pub prompts: Prompts,
    /// What Ark writes to standard error.
    pub log: Log,
    /// The numbers that callers dial.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hotline: Vec<Hotline>,
    /// Where callers wait for a person.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queue: Vec<Queue>,
    /// Named places that a plan's `transfer` may send a caller to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target: Vec<Target>,
    /// Named HTTP requests that a plan's `http` may make.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub action: Vec<Action>,
    /// Where customers write: accounts at providers, pages, adapters of others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channel: Vec<Channel>,
    /// Where committed events are POSTed as they happen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub webhook: Vec<Webhook>,
    /// A caller's page for pictures and words during a call.
    pub companion: Companion,
    /// Whether customers who wrote were content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub survey: Option<Survey>,
    /// Short messages out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sms: Option<Sms>,
    /// Carriers and PBXs. Without any, only loopback, private and this machine's own addresses may call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trunk: Vec<Trunk>,
    /// Which trunk carries an outbound number. The longest prefix wins. For agents, callbacks and plans' named targets only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<Route>,
}

/// `[gateway]`: who this gateway is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gateway {
    /// A short name, unique among the gateways of a site. It stands in logs, metrics and SIP's User-Agent.
    pub id: String,
    /// The folder of what Ark keeps beside the store: the API token `ark.token` and lock files.
    pub data: PathBuf,
    /// How long calls that are up may go on after SIGTERM before they are hung up.
    pub drain: Span,
}

impl Default for Gateway {
    fn default() -> Self {
        Self { id: "gw1".into(), data: "data".into(), drain: Span::from_secs(30) }
    }
}

/// `[sip]`: where SIP is heard and how much of it is taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sip {
    /// The sockets: `"udp:0.0.0.0:5060"`, `"tcp:0.0.0.0:5060"`, IPv6 as `"udp:[::]:5060"`.
    pub listen: Vec<SipListen>,
    /// The address that others reach this gateway by, put into Contact and SDP. Left out: the local address of the road to each peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<IpAddr>,
    /// Calls at once. One more is answered 503 with Retry-After. A call bridged to an operator counts as one and uses two port pairs.
    pub calls_max: usize,
    /// New calls a second that are taken (bursts of a fifth of it); one more is answered 503 with Retry-After. 0: no such cap.
    pub calls_per_second_max: u32,
    /// SIP messages a second that are read from one source address; what is above is dropped unread.
    pub messages_per_second_max: u32,
    /// How long somebody is rung whom `ark call place` calls. Queues have `ring`, and a plan's `transfer` has its timeout.
    pub ring_timeout: Span,
}

impl Default for Sip {
    fn default() -> Self {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5060));
        Self {
            listen: vec![
                SipListen { transport: SipTransport::Udp, address: any },
                SipListen { transport: SipTransport::Tcp, address: any },
            ],
            advertise: None,
            calls_max: 2_000,
            calls_per_second_max: 1_000,
            messages_per_second_max: 20_000,
            ring_timeout: Span::from_secs(20),
        }
    }
}

/// `[rtp]`: where voice is heard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rtp {
    /// The address that RTP and RTCP sockets are bound to.
    pub address: IpAddr,
    /// The UDP ports, both ends included. A leg takes an even port and the next one, so 20000-29999 carries 5,000 legs.
    pub ports: Ports,
    /// Hang up when no RTP came from a caller for this long. `"0s"`: never.
    pub timeout: Span,
}

impl Default for Rtp {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::UNSPECIFIED.into(),
            ports: Ports { first: 20_000, last: 29_999 },
            timeout: Span::from_secs(60),
        }
    }
}

/// `[media]`: how voice is spoken, and the threads that carry it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// The codecs that are offered and taken, the best first. Prompts are encoded for each of them.
    pub codecs: Vec<Codec>,
    /// Whose order of codecs counts when Ark answers a call: `"ours"`, or `"theirs"` for that of the caller's phone.
    pub codec_order: CodecOrder,
    /// Agree on comfort noise (RFC 3389) with phones that offer it. They may then send nothing while nobody speaks, and are sent a packet
    /// of it every 400 ms in place of silence.
    pub comfort_noise: bool,
    /// How many threads. `0`: one for each core but one, and at least one.
    pub threads: usize,
    /// Cores to pin the threads to, one each. Empty: the kernel places them.
    pub cores: Vec<usize>,
}

impl Default for Media {
    fn default() -> Self {
        let codecs = codec::ALL.iter().copied().map(Codec).collect();
        Self { codecs, codec_order: CodecOrder::Ours, comfort_noise: false, threads: 0, cores: Vec::new() }
    }
}

impl Media {
    /// The codecs in order.
    pub fn codecs(&self) -> Vec<CodecRef> {
        self.codecs.iter().map(|codec| codec.0).collect()
    }
}

/// Whose order of codecs counts in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CodecOrder {
    /// The first of ours that the phone offers.
    #[default]
    Ours,
    /// The first of the phone's that we have.
    Theirs,
}

/// `[webrtc]`: calls of browsers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebRtc {
    /// Addresses of this machine that browsers' voice comes to. Empty: the one of `[rtp] address`, or that of the default route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<IpAddr>,
    /// The UDP ports, both ends included. A browser's leg takes one for each address of `listen`.
    pub ports: Ports,
    /// The address that browsers reach this machine by when it stands behind a NAT; it is told in place of those of `listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_address: Option<IpAddr>,
    /// ICE lite: only the browser checks the road. For a machine that every browser reaches directly.
    pub lite: bool,
    /// Codecs by name, the preferred first. Empty: PCMA and PCMU, which telephones speak as well, then the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub codecs: Vec<String>,
    /// Origins of the sites whose pages may call: `"https://shop.example"`. The gateway's own pages always may.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// STUN and TURN servers that browsers are told: `{ urls = ["turn:turn.example:3478"], secret = { file = "..." } }`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ice_servers: Vec<IceServer>,
    /// Browsers come through the TURN servers alone: for a site whose voice ports are closed to the outside.
    pub relay_only: bool,
}

impl Default for WebRtc {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            ports: Ports { first: 30_000, last: 31_999 },
            public_address: None,
            lite: false,
            codecs: Vec::new(),
            origins: Vec::new(),
            ice_servers: Vec::new(),
            relay_only: false,
        }
    }
}

/// A STUN or TURN server that browsers are told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    /// `"stun:..."`, `"turn:..."` or `"turns:..."`.
    pub urls: Vec<String>,
    /// Of TURN: the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Of TURN: the password, `{ file = "..." }` or `{ env = "..." }`. Every browser that may call is told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Secret>,
    /// Of TURN, in place of a user and password: the secret that Ark shares with it (coturn: `use-auth-secret` and
    /// `static-auth-secret`). Every page then gets a user and password of its own, good for `ttl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// How long such a password is good. Missing: 24h; a call that lasts longer is cut off by the TURN server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
}

/// `[web]`: the page, the API, health and metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// The address and port. Behind anything but loopback, set `tls` or put a proxy in front.
    pub listen: SocketAddr,
    /// The address that browsers use, when it is not `listen` (a proxy in front). Its origin may change state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// Certificate and key, PEM. Left out: plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Proxies in front. Of requests from them `X-Forwarded-For` says whose tries and visits are counted; one on the same machine is
    /// believed anyway.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proxies: Vec<Cidr>,
    /// A folder that is served as the desk in place of the one that is a part of the program: for who works on it
    /// (`npm run build` in gateway/workbench writes `gateway/workbench/dist`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assets: Option<PathBuf>,
}

impl Default for Web {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        Self { listen, public_url: None, tls: None, proxies: Vec::new(), assets: None }
    }
}

/// `tls = { cert = "...", key = "..." }`: PEM files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain, PEM, the server's own first.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// `[store]`: the log of record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `"sqlite:PATH"` for one gateway: the file and its folder are made when they are missing. `"postgres://user@host:5432/database"` for
    /// several: its tables are made when they are missing; `?sslmode=require` encrypts and checks the server's certificate.
    pub url: Url,
    /// The password of PostgreSQL's user: `{ file = "..." }` or `{ env = "..." }`. It wins over one in `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Certificates of the authority that signed PostgreSQL's, PEM. Left out: the public authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl Default for Store {
    fn default() -> Self {
        Self { url: "sqlite:data/ark.db".into(), password: None, ca_file: None }
    }
}

impl Store {
    /// The database file of a `sqlite:` url.
    pub fn sqlite_path(&self) -> Option<&Path> {
        self.url.reveal().strip_prefix("sqlite:").map(Path::new)
    }

    /// Whether it is PostgreSQL, which several gateways may share.
    pub fn is_postgres(&self) -> bool {
        ["postgres://", "postgresql://"].iter().any(|scheme| self.url.reveal().starts_with(scheme))
    }
}

/// `[files]`: recordings, attachments and the prompt cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Files {
    /// `"file:FOLDER"`. Below it: `recordings/`, `prompts/`.
    pub url: String,
}

impl Default for Files {
    fn default() -> Self {
        Self { url: "file:data/files".into() }
    }
}

impl Files {
    /// The folder of a `file:` url; the default folder when the url names another kind, which [`Config::load`] refuses.
    pub fn folder(&self) -> &Path {
        Path::new(self.url.strip_prefix("file:").unwrap_or("data/files"))
    }

    /// Where recordings are kept.
    pub fn recordings(&self) -> PathBuf {
        self.folder().join("recordings")
    }

    /// Where what customers sent is kept.
    pub fn attachments(&self) -> PathBuf {
        self.folder().join("attachments")
    }

    /// Where synthesised prompts are kept.
    pub fn prompts(&self) -> PathBuf {
        self.folder().join("prompts")
    }
}

/// `[recording]`: how calls are recorded: those of hotlines with `record`, and those for which it is asked by the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Recording {
    /// `"wav"` (16 bits, 8 kHz: 16 kB a second for each channel) or `"opus"` (Ogg/Opus, about 2 kB a second for each voice; encoding
    /// takes about 1 % of a core for each voice).
    pub format: RecordingFormat,
    /// What is in the channels. `"sides"`: two, the caller left, all that the caller hears right. `"legs"`: four, the caller, what Ark
    /// plays, the agent, supervisors; whoever joins late begins in silence.
    pub channels: RecordingChannels,
    /// How those who are recorded are told. `"announcement"`: the caller hears it before the plan begins, and both hear it when a
    /// recording is begun during their talk. `"tone"`: all hear a short tone again and again while they are recorded, over prompts and
    /// music too, and not while the recording is paused. `"both"`, or `"none"`. The message that a caller leaves needs neither.
    pub consent: Consent,
    /// Nothing of a call is recorded or transcribed before its plan's `consent` state told the caller so, or they agreed there; and
    /// `ark dialplan check` refuses plans with a way to a person past it. A plan that asks (`mode = "ask"`) keeps
    /// nothing before the answer, also where this is false.
    pub require_consent: bool,
    /// Who hears the announcement. `"caller"`: as above. `"everyone"`: also an operator, a transfer's target or a supervisor, as they
    /// come into a call that is recorded; they hear the caller when it is over.
    pub announce_to: AnnounceTo,
    /// The announcement in Mandarin, for plans that speak it.
    pub announcement_zh: String,
    /// The announcement in English, for plans that speak it.
    pub announcement_en: String,
    /// Recorded files that replace the synthesised announcement; looked for as a plan's recordings are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announcement_file_zh: Option<String>,
    /// The same in English.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announcement_file_en: Option<String>,
    /// The tone's frequency, 300 to 3000.
    pub tone_hz: u32,
    /// How long the tone sounds.
    pub tone_length: Span,
    /// From the beginning of one tone to that of the next.
    pub tone_every: Span,
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            format: RecordingFormat::default(),
            channels: RecordingChannels::default(),
            consent: Consent::default(),
            require_consent: false,
            announce_to: AnnounceTo::default(),
            announcement_zh: "为保证服务质量，您的通话将被录音。".into(),
            announcement_en: "This call is recorded to keep our service good.".into(),
            announcement_file_zh: None,
            announcement_file_en: None,
            tone_hz: 1_400,
            tone_length: Span(Duration::from_millis(200)),
            tone_every: Span::from_secs(15),
        }
    }
}

/// Peak amplitude of the tone that says that a call is recorded: 20 dB below full scale.
const CONSENT_AMPLITUDE: i16 = 3_277;

impl Recording {
    /// For the media engine.
    pub fn record_as(&self) -> RecordAs {
        let tone = matches!(self.consent, Consent::Tone | Consent::Both).then(|| self.tone());
        RecordAs { format: self.format.into(), layout: self.channels.into(), tone }
    }

    /// The tone that says that a call is recorded.
    pub fn tone(&self) -> Repeated {
        Repeated {
            hz: self.tone_hz,
            amplitude: CONSENT_AMPLITUDE,
            length: self.tone_length.0,
            every: self.tone_every.0,
        }
    }

    /// Whether whoever joins hears it, too.
    pub fn announces_to_joiners(&self) -> bool {
        self.announces() && self.announce_to == AnnounceTo::Everyone
    }

    /// Whether an announcement is spoken.
    pub fn announces(&self) -> bool {
        matches!(self.consent, Consent::Announcement | Consent::Both)
    }
}

/// Who hears that a call is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AnnounceTo {
    /// The caller, and both who talk when a recording is begun.
    #[default]
    Caller,
    /// Also whoever comes into a call that is recorded.
    Everyone,
}

/// How those who are recorded are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Consent {
    /// Not by Ark.
    #[default]
    None,
    /// In words, once.
    Announcement,
    /// By a tone, again and again.
    Tone,
    /// By both.
    Both,
}

/// The kind of file that a recording is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, utoipa::ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum RecordingFormat {
    /// WAV
    #[default]
    Wav,
    /// Ogg/Opus
    Opus,
}

impl From<RecordingFormat> for RecordFormat {
    fn from(format: RecordingFormat) -> Self {
        match format {
            RecordingFormat::Wav => Self::Wav,
            RecordingFormat::Opus => Self::Opus,
        }
    }
}

/// What is in the channels of a recording.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, utoipa::ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum RecordingChannels {
    /// Two: the caller, and all that the caller hears
    #[default]
    Sides,
    /// Four: the caller, what Ark plays, the agent, supervisors
    Legs,
}

impl From<RecordingChannels> for Layout {
    fn from(channels: RecordingChannels) -> Self {
        match channels {
            RecordingChannels::Sides => Self::Sides,
            RecordingChannels::Legs => Self::Legs,
        }
    }
}

/// `[bus]`: the carrier of committed events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bus {
    /// `"embedded:"`: inside this process. `"amqp://user@host:5672/vhost"` (`amqps://` with TLS): RabbitMQ, see docs/bus.md.
    pub url: Url,
    /// Other nodes of the same RabbitMQ cluster, `"host:port"`: tried in turn, with the user, password and virtual host of `url`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// The password of RabbitMQ's user: `{ file = "..." }` or `{ env = "..." }`. It wins over one in `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Certificates of the authority that signed RabbitMQ's, PEM, for `amqps://`. They are trusted beside the machine's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Certificate and key that this gateway shows to RabbitMQ, PEM, when the broker asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Tls>,
}

impl Default for Bus {
    fn default() -> Self {
        Self { url: "embedded:".into(), nodes: Vec::new(), password: None, ca_file: None, client: None }
    }
}

impl Bus {
    /// Whether it is a broker, outside this process.
    pub fn is_broker(&self) -> bool {
        ["amqp://", "amqps://"].iter().any(|scheme| self.url.reveal().starts_with(scheme))
    }
}

/// `[prompts]`: how prompts without a recording are spoken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Prompts {
    /// A folder of recordings, looked into after the plan's own folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// The speech synthesiser: a program that takes espeak-ng's arguments.
    pub espeak: PathBuf,
    /// espeak-ng's voice for Mandarin. `cmn` reads pinyin as English; this one does not.
    pub voice_zh: String,
    /// espeak-ng's voice for English.
    pub voice_en: String,
    /// Words a minute.
    pub speed: u16,
    /// How long one text may take to synthesise.
    pub timeout: Span,
}

impl Default for Prompts {
    fn default() -> Self {
        Self {
            dir: None,
            espeak: "espeak-ng".into(),
            voice_zh: "cmn-latn-pinyin".into(),
            voice_en: "en-us".into(),
            speed: 160,
            timeout: Span::from_secs(20),
        }
    }
}

/// `[log]`: what Ark writes to standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// What to write: a level (`"info"`) or tracing's filter (`"info,ark::call=debug"`). The environment variable `ARK_LOG` wins.
    pub filter: String,
    /// `"text"` for people, `"json"` for programs.
    pub format: LogFormat,
    /// Write phone numbers in full. Off: `+86 138****12`.
    pub numbers: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text, numbers: false }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line a reader can follow.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[[hotline]]`: a number that callers dial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hotline {
    /// The user part of the dialled address: `"95188"` hears `sip:95188@...`. `"*"`: every number that no other hotline names.
    pub number: String,
    /// The plan's file, or `"builtin:hotline-95188"` for the one that is part of the program.
    pub dialplan: String,
    /// Record every call of this hotline from answer to end, as `[recording]` says.
    #[serde(default)]
    pub record: bool,
}

/// `[[queue]]`: where callers wait for a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// The name that plans use.
    pub name: String,
    /// Who is rung, the longest idle first: SIP addresses (with an IP address, `"sip:1001@127.0.0.1:5080"`), and operators who answer in
    /// a browser while they are signed on (`"web:anna"`).
    #[serde(default)]
    pub operators: Vec<String>,
    /// How long one agent is asked, or their phone rung, before the next.
    #[serde(default = "queue_ring")]
    pub ring: Span,
    /// Agents' groups (docs/desk.md) that answer it beside its own, which has its name and the `operators`: `[{ group = "seniors",
    /// after = "45s" }]`; `after` is how long a customer has waited when they are asked, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<queue::Group>,
    /// What one step of priority is worth in waiting.
    #[serde(default = "queue::aging")]
    pub aging: Span,
    /// What an agent with a desk has for wrapping up after a call.
    #[serde(default = "queue::wrap_up")]
    pub wrap_up: Span,
    /// How long a customer is kept for the agent whom they had last, when that one is there and busy; at most two minutes. `"0s"`: not at all.
    #[serde(default = "queue::keep_for_last")]
    pub keep_for_last: Span,
    /// After this wait levels of skills no longer matter. Left out: they always do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relax_after: Option<Span>,
    /// After this wait, what a customer needs (skills, a language) and nobody has who works there no longer matters. What nobody of the
    /// queue has at all, at work or not, never does.
    #[serde(default = "queue::any_after")]
    pub any_after: Span,
    /// After this wait a customer goes the way that the plan has for it (`on_overflow`), else on to the queue of `overflow`. Left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overflow_after: Option<Span>,
    /// The queue where who waits too long goes on, with the place that they had. Left out, or while it is closed: they wait on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overflow: Option<String>,
    /// When people are there, as `["mon-fri 09:00-18:00", "sat 10:00-16:00"]`. Outside nobody who calls is put into it (the plan goes its
    /// way), and chats wait until it opens. Left out: always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<String>,
    /// The time zone of `hours`, as `"Asia/Shanghai"`. Left out: the machine's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub timezone: String,
    /// Whether what is said in calls that come by this queue is read along, where `[speech]` reads at all.
    #[serde(default = "yes")]
    pub transcribe: bool,
    /// Whether callers who are lost with a gateway while they wait here, or talk with an agent whom they had from here, are called back
    /// with the place that they had, where their number is known.
    #[serde(default = "yes")]
    pub callback_lost: bool,
}

const fn yes() -> bool {
    true
}

fn queue_ring() -> Span {
    Span::from_secs(15)
}

/// `[[target]]`: where a target that plans name is at this site. It replaces what `[targets.NAME]` in a plan says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The name that plans use.
    pub name: String,
    /// A SIP address (`"sip:2001@10.0.0.5"`), or a number (`"+861012345678"`) that a `[[route]]` carries.
    pub to: String,
}

/// `[[action]]`: a named HTTP request that a plan's `http` may make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// The name that plans use.
    pub name: String,
    /// Where the plan's variables are POSTed as a JSON object. The answer, a JSON object of strings, becomes variables.
    pub url: String,
    /// Sent as `Authorization: Bearer ...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Secret>,
}

/// `[[channel]]`: where customers write (docs/channels.md).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// A short name: providers call `/hooks/NAME`, and it stands in the source of every event. Keep it: threads are known by it.
    pub name: String,
    /// What it is: `"web"` for chat in web pages (docs/webchat.md); `"http"` or `"amqp"` for an adapter of your own;
    /// `"dingtalk"`, `"wechat-mp"`, `"wechat-oa"`, `"wecom-kf"`, `"alipay"`.
    pub kind: String,
    /// The queue in which a customer waits who writes by it. Left out: `general`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The dialplan that a customer comes to first (docs/webchat.md): the name of a plan that a `[[hotline]]` has, or a path as in
    /// `[[hotline]] dialplan`. What it cannot settle waits in its own queues, or in `queue`. Left out: they wait in `queue` at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The language of who writes by it, as agents' accounts name it: `"zh"`, `"en"`. What a page says of its visitor goes before it. Left out:
    /// whoever is free is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Off: requests are answered 404 and nothing is sent; what is left for it waits.
    #[serde(default = "on")]
    pub enabled: bool,
    /// How sure this channel may be of whom it speaks with, at most: `"asserted"`, `"channel_verified"`, `"otp"` or `"sso"`. Left out:
    /// `"sso"` for `"web"`, where only your own key can vouch for a visitor; `"channel_verified"` for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assurance: Option<Assurance>,
    /// Its secrets by name, each as `{ file = "secrets/shop" }` or `{ env = "SHOP_SECRET" }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Secret>,
    /// What this kind of channel needs beside: docs/channels.md has a table for each.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

impl Channel {
    /// Chat in web pages, with the hotline of the built-in site behind its call button.
    fn web_demo() -> Self {
        let settings = serde_json::json!({ "call": "95188" });
        Self {
            name: "web".into(),
            kind: crate::webchat::KIND.into(),
            queue: None,
            plan: None,
            language: None,
            enabled: true,
            assurance: None,
            secrets: BTreeMap::new(),
            settings: settings.as_object().cloned().unwrap_or_default(),
        }
    }
}

/// `[[webhook]]`: where committed events are POSTed as they happen (docs/webhooks.md).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// A short name, which stands in metrics and commands. Keep it: under it stands how far the log was read. A new one begins now.
    pub name: String,
    /// Where each event is POSTed: `"https://example.com/ark"`. Redirects are not followed.
    pub url: String,
    /// What requests are signed with, `whsec_` and Base64: one, or several while a receiver changes its own. Each signs.
    pub secrets: Vec<Secret>,
    /// Which events: types, or what they are below (`"ark.call"` is every `ark.call...`). Left out: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Off: nothing is sent; what happens meanwhile is sent when it is on again.
    #[serde(default = "on")]
    pub enabled: bool,
    /// Send people's numbers in full. Off: `+86 138****12`.
    #[serde(default)]
    pub numbers: bool,
    /// Allow addresses inside: this machine, private networks, link-local and clouds' metadata.
    #[serde(default)]
    pub allow_private: bool,
    /// How long an answer may take.
    #[serde(default = "webhook_timeout")]
    pub timeout: Span,
}

fn on() -> bool {
    true
}

fn webhook_timeout() -> Span {
    Span::from_secs(15)
}

/// `[[trunk]]`: a carrier or a PBX.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    /// The name that routes and logs use.
    pub name: String,
    /// The networks that may call in by this trunk.
    #[serde(default)]
    pub peers: Vec<Cidr>,
    /// Where outbound calls are sent: `"sip:203.0.113.5"` or `"sip:203.0.113.5:5060;transport=tcp"`. Left out: port 5060 of the only peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// The number shown to whom Ark calls by this trunk. Left out: the caller's own for transfers, else the first hotline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The codecs of this trunk's calls, the best first. Left out: those of `[media]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codecs: Vec<Codec>,
    /// How keys come: `"auto"` (telephone-events and SIP INFO, and tones in the audio when no telephone-event was agreed), `"rfc4733"` or
    /// `"info"` (that road alone), or `"inband"` (tones in the audio as well, whatever was agreed; costs decoding).
    #[serde(default)]
    pub dtmf: DtmfRoads,
    /// Digest user name, when the carrier asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Digest password: `{ file = "..." }` or `{ env = "..." }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// Which roads of a caller's keys count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DtmfRoads {
    /// Telephone-events and SIP INFO; tones in the audio when no telephone-event was agreed.
    #[default]
    Auto,
    /// Telephone-events in RTP alone.
    Rfc4733,
    /// SIP INFO alone.
    Info,
    /// All of these, tones in the audio whatever was agreed.
    Inband,
}

impl From<DtmfRoads> for ark_media::session::DtmfRoads {
    fn from(roads: DtmfRoads) -> Self {
        match roads {
            DtmfRoads::Auto => Self::Auto,
            DtmfRoads::Rfc4733 => Self::Rfc4733,
            DtmfRoads::Info => Self::Info,
            DtmfRoads::Inband => Self::Inband,
        }
    }
}

/// `[[route]]`: which trunk carries an outbound number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// How the number begins. The longest prefix wins; `""` carries every number.
    pub prefix: String,
    /// The trunk's name.
    pub trunk: String,
    /// How many leading characters to drop before dialling.
    #[serde(default)]
    pub strip: usize,
}

/// A configuration that passed its checks, with where it came from and what was only worth a warning.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The site.
    pub config: Config,
    /// The file, `None` for the built-in site.
    pub file: Option<PathBuf>,
    /// What is allowed and deserves a word.
    pub warnings: Vec<Finding>,
}

impl Config {
    /// The site that runs with no file at all: hotline 95188 with the plan that is part of the program, on the default ports.
    pub fn builtin() -> Self {
        Self {
            hotline: vec![Hotline {
                number: "95188".into(),
                dialplan: format!("{BUILTIN}hotline-95188"),
                record: false,
            }],
            queue: vec![Queue::named("general")],
            channel: vec![Channel::web_demo()],
            ..Self::default()
        }
    }

    /// Reads and checks a configuration. `file`: the path given by the user; `None`: [`FILE_DEFAULT`] when it exists, else the built-in site.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, has an unknown key or a wrong value (with line, column and advice), or does not make sense.
    pub fn load(file: Option<&Path>) -> Result<Loaded, ConfigError> {
        let file = match file {
            Some(file) => file,
            None if Path::new(FILE_DEFAULT).exists() => Path::new(FILE_DEFAULT),
            None => return Ok(Loaded { config: Self::builtin(), file: None, warnings: Vec::new() }),
        };
        let source = std::fs::read_to_string(file).map_err(|error| ConfigError::unreadable(file, &error))?;
        let (config, warnings) = Self::parse(&source, &file.display().to_string())?;
        Ok(Loaded { config, file: Some(file.to_owned()), warnings })
    }

    /// Parses and checks a configuration's text; `name` stands in messages. Returns the warnings beside it.
    ///
    /// # Errors
    /// As [`Config::load`], but for the file itself.
    pub fn parse(source: &str, name: &str) -> Result<(Self, Vec<Finding>), ConfigError> {
        let config: Self = toml::from_str(source).map_err(|error| ConfigError::syntax(name, source, &error))?;
        let findings = check::check(&config, source);
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            return Err(ConfigError { file: name.to_owned(), text: source.to_owned(), findings });
        }
        Ok((config, findings))
    }

    /// Every codec that a call of this site may speak.
    pub fn codecs(&self) -> Vec<CodecRef> {
        let wanted = |codec: &CodecRef| {
            self.media.codecs.iter().chain(self.trunk.iter().flat_map(|t| &t.codecs)).any(|named| named.0 == *codec)
        };
        codec::ALL.iter().copied().filter(wanted).collect()
    }

    /// The hotline that a dialled number reaches: the one that names it, else the one for every number.
    pub fn hotline_for(&self, number: &str) -> Option<&Hotline> {
        self.hotline
            .iter()
            .find(|hotline| hotline.number == number)
            .or_else(|| self.hotline.iter().find(|hotline| hotline.number == "*"))
    }

    /// The route with the longest prefix of `number`, with its trunk and the number as it is to be dialled.
    pub fn route_for<'a>(&'a self, number: &'a str) -> Option<(&'a Trunk, &'a str)> {
        let route = self
            .route
            .iter()
            .filter(|route| number.starts_with(&route.prefix))
            .max_by_key(|route| route.prefix.len())?;
        let trunk = self.trunk.iter().find(|trunk| trunk.name == route.trunk)?;
        Some((trunk, number.get(route.strip..)?))
    }
}

#[cfg(test)]
mod tests;
