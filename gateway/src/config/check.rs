//! Sense checks: what TOML and types cannot say about a site. Every finding is put at the value that caused it.

mod amqp;
mod companion;
mod overflow;
mod speech;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::nearest;
use super::{BUILTIN, Config, Finding, Severity};
use ark_conversation::Tenant;

use crate::call::site::address_of;
use crate::channel_host::limits::CHANNELS_MAX;
use crate::open;
use crate::webhooks::limits::{SECRETS_MAX, TIMEOUT_MAX, WEBHOOKS_MAX};
use crate::webhooks::reach::{Place, may_reach};

/// One step of a path into the file.
#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    At(usize),
}

use Step::{At, Key};

struct Checker<'a> {
    source: &'a str,
    root: Option<Spanned<DeTable<'a>>>,
    findings: Vec<Finding>,
}

/// Everything that is wrong or worth a word in a parsed configuration.
pub(super) fn check(config: &Config, source: &str) -> Vec<Finding> {
    let mut checker = Checker { source, root: DeTable::parse(source).ok(), findings: Vec::new() };
    checker.gateway(config);
    checker.sip(config);
    checker.rtp(config);
    checker.media(config);
    checker.recording(config);
    checker.webrtc(config);
    checker.web(config);
    checker.store(config);
    checker.files(config);
    checker.bus(config);
    checker.prompts(config);
    checker.hotlines(config);
    checker.queues(config);
    checker.targets(config);
    checker.actions(config);
    checker.channels(config);
    checker.webhooks(config);
    checker.companion(config);
    checker.survey(config);
    checker.speech(config);
    checker.trunks(config);
    checker.routes(config);
    checker.findings.sort_by_key(|finding| (finding.line, finding.column));
    checker.findings
}

impl Checker<'_> {
    fn error(&mut self, path: &[Step<'_>], message: impl Into<String>, help: impl Into<String>) {
        self.say(Severity::Error, path, message.into(), help.into());
    }

    fn warn(&mut self, path: &[Step<'_>], message: impl Into<String>, help: impl Into<String>) {
        self.say(Severity::Warning, path, message.into(), help.into());
    }

    fn say(&mut self, severity: Severity, path: &[Step<'_>], message: String, help: String) {
        let span = self.locate(path);
        self.findings.push(Finding::at(severity, self.source, span, message, Some(help)));
    }

    /// The bytes of the value at `path`, or of the nearest thing above it that the file holds.
    fn locate(&self, path: &[Step<'_>]) -> Option<Range<usize>> {
        let mut table = self.root.as_ref()?.get_ref();
        let mut found: Option<&Spanned<DeValue<'_>>> = None;
        for step in path {
            let next = match (step, found.map(Spanned::get_ref)) {
                (Key(key), None) => table.get(*key),
                (Key(key), Some(DeValue::Table(inner))) => {
                    table = inner;
                    table.get(*key)
                }
                (At(index), Some(DeValue::Array(items))) => items.get(*index),
                _ => None,
            };
            match next {
                Some(value) => found = Some(value),
                None => break,
            }
        }
        found.map(Spanned::span)
    }

    fn gateway(&mut self, config: &Config) {
        let id = &config.gateway.id;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if id.is_empty() || id.len() > 32 || !id.chars().all(plain) {
            self.error(
                &[Key("gateway"), Key("id")],
                format!("`{id}` cannot be a gateway's id: it stands in SIP headers and metrics"),
                "use 1 to 32 letters, digits, `-`, `_` or `.`",
            );
        }
    }

    fn sip(&mut self, config: &Config) {
        let sip = &config.sip;
        if sip.listen.is_empty() {
            self.error(&[Key("sip"), Key("listen")], "no socket hears SIP", "listen = [\"udp:0.0.0.0:5060\"]");
        }
        for (index, listen) in sip.listen.iter().enumerate() {
            if sip.listen[..index].contains(listen) {
                self.error(
                    &[Key("sip"), Key("listen"), At(index)],
                    format!("`{listen}` is listed twice"),
                    "remove one of them",
                );
            }
        }
        if let Some(address) = sip.advertise
            && (address.is_unspecified() || address.is_multicast())
        {
            self.error(
                &[Key("sip"), Key("advertise")],
                format!("nobody can send to {address}"),
                "write the address that callers reach this machine by, or leave `advertise` out",
            );
        }
        for (key, value) in
            [("calls_max", sip.calls_max), ("messages_per_second_max", sip.messages_per_second_max as usize)]
        {
            if value == 0 {
                self.error(&[Key("sip"), Key(key)], format!("`{key} = 0` would refuse every call"), "use at least 1");
            }
        }
        self.at_least_a_second(&[Key("sip"), Key("ring_timeout")], sip.ring_timeout);
    }

    fn at_least_a_second(&mut self, path: &[Step<'_>], span: super::Span) {
        if span.0.as_secs() == 0 {
            self.error(path, format!("{span} is too short for a person to answer"), "use \"15s\" or more");
        }
    }

    fn rtp(&mut self, config: &Config) {
        let ports = config.rtp.ports;
        let path = [Key("rtp"), Key("ports")];
        if ports.pairs() == 0 {
            self.error(
                &path,
                format!("{ports} holds no pair of an even port and the next one"),
                "a leg takes two ports, the first even: \"20000-29999\" carries 5,000 legs",
            );
        } else if ports.pairs() < config.sip.calls_max {
            self.warn(
                &path,
                format!("{ports} carries {} legs, fewer than sip.calls_max = {}", ports.pairs(), config.sip.calls_max),
                "callers above that number hear busy; widen the range (a bridged call takes two legs)",
            );
        }
        if ports.first < 1024 {
            self.warn(
                &path,
                format!("{ports} begins below 1024"),
                "such ports need special rights; use \"20000-29999\"",
            );
        }
        for listen in &config.sip.listen {
            if listen.transport == super::SipTransport::Udp && ports.range().contains(&listen.address.port()) {
                self.error(
                    &path,
                    format!("the range {ports} contains the SIP port {}", listen.address.port()),
                    "move the range away from it",
                );
            }
        }
        if config.rtp.address.is_multicast() {
            self.error(
                &[Key("rtp"), Key("address")],
                format!("{} is a multicast address", config.rtp.address),
                "use \"0.0.0.0\", \"::\" or an address of this machine",
            );
        }
    }

    fn media(&mut self, config: &Config) {
        let path = [Key("media"), Key("codecs")];
        if config.media.codecs.is_empty() {
            self.error(
                &path,
                "without a codec nobody is heard",
                "codecs = [\"PCMA\", \"PCMU\"] is what every phone speaks",
            );
        }
        self.each_codec_once(&path, &config.media.codecs);
        let telephone = ["PCMA", "PCMU"];
        if !config.media.codecs.iter().any(|codec| telephone.contains(&codec.0.name())) {
            self.warn(
                &path,
                "neither PCMA nor PCMU is among them",
                "many carriers speak nothing else: their calls get 488",
            );
        }
    }

    fn recording(&mut self, config: &Config) {
        let recording = &config.recording;
        let key = |name| [Key("recording"), Key(name)];
        if !(300..=3_000).contains(&recording.tone_hz) {
            self.error(
                &key("tone_hz"),
                format!("a telephone does not carry {} Hz well", recording.tone_hz),
                "use 300 to 3000; 1400 is what people know",
            );
        }
        if recording.tone_length.0.is_zero() || recording.tone_length.0 > recording.tone_every.0 / 2 {
            self.error(
                &key("tone_length"),
                format!("{} of every {} cannot be", recording.tone_length, recording.tone_every),
                "\"200ms\" of every \"15s\" is what people know",
            );
        }
        if recording.announces() {
            for (name, text) in
                [("announcement_zh", &recording.announcement_zh), ("announcement_en", &recording.announcement_en)]
            {
                if text.trim().is_empty() {
                    self.error(
                        &key(name),
                        "there is nothing to say".to_owned(),
                        "write the words, or leave the key out",
                    );
                }
            }
        }
    }

    fn each_codec_once(&mut self, path: &[Step<'_>], codecs: &[super::Codec]) {
        for (nth, codec) in codecs.iter().enumerate() {
            if codecs[..nth].contains(codec) {
                let path = [path, &[At(nth)]].concat();
                self.error(&path, format!("`{codec}` is listed twice"), "remove one of them");
            }
        }
    }

    fn webrtc(&mut self, config: &Config) {
        let rtc = &config.webrtc;
        let key = |name| [Key("webrtc"), Key(name)];
        let (ports, rtp) = (rtc.ports, config.rtp.ports);
        if ports.first <= rtp.last && rtp.first <= ports.last && *rtc != super::WebRtc::default() {
            let help = "give browsers' calls a range of their own";
            self.error(&key("ports"), format!("{ports} overlaps [rtp] ports {rtp}"), help);
        }
        for (index, address) in rtc.listen.iter().enumerate() {
            if address.is_unspecified() || address.is_multicast() {
                let path = [Key("webrtc"), Key("listen"), At(index)];
                let help = "write this machine's own addresses, or leave `listen` out";
                self.error(&path, format!("a browser cannot be told {address}"), help);
            }
        }
        if let Some(address) = rtc.public_address
            && (address.is_unspecified() || address.is_multicast())
        {
            let help = "write the address that browsers reach this machine by";
            self.error(&key("public_address"), format!("nobody can send to {address}"), help);
        }
        for (index, origin) in rtc.origins.iter().enumerate() {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.contains('/')) {
                let path = [Key("webrtc"), Key("origins"), At(index)];
                self.error(&path, format!("`{origin}` is no origin"), "write it as \"https://shop.example\"");
            }
        }
        for (index, name) in rtc.codecs.iter().enumerate() {
            let known = ark_media::codec::ALL;
            if !known.iter().any(|codec| codec.name().eq_ignore_ascii_case(name)) {
                let path = [Key("webrtc"), Key("codecs"), At(index)];
                let names: Vec<&str> = known.iter().map(|codec| codec.name()).collect();
                self.error(&path, format!("Ark speaks no `{name}`"), format!("there are {}", names.join(", ")));
            }
        }
        for (index, server) in rtc.ice_servers.iter().enumerate() {
            let path = [Key("webrtc"), Key("ice_servers"), At(index)];
            let schemes = ["stun:", "stuns:", "turn:", "turns:"];
            if server.urls.is_empty() || !server.urls.iter().all(|url| schemes.iter().any(|s| url.starts_with(s))) {
                let help = "urls = [\"stun:stun.example:3478\"] or [\"turn:turn.example:3478\"]";
                self.error(&path, "an ICE server without a stun: or turn: address", help);
            }
            for secret in [&server.credential, &server.secret].into_iter().flatten() {
                if let Err(why) = secret.read() {
                    self.error(&path, why, "write the file, or set the variable, before Ark starts");
                }
            }
            let turn = server.urls.iter().any(|url| url.starts_with("turn"));
            let fixed = server.username.is_some() && server.credential.is_some();
            if turn && !fixed && server.secret.is_none() {
                let help = "`secret` as of coturn's static-auth-secret, or `username` and `credential`; browsers are told both of these";
                self.error(&path, "a TURN server needs a `secret`, or `username` and `credential`", help);
            }
            if server.secret.is_some() && (server.username.is_some() || server.credential.is_some()) {
                self.error(&path, "a `secret` beside a fixed user or password", "take one of the two");
            }
        }
        let relays = rtc.ice_servers.iter().flat_map(|server| &server.urls).any(|url| url.starts_with("turn"));
        if rtc.relay_only && !relays {
            let help = "name one in `ice_servers`, or leave `relay_only` away";
            self.error(
                &[Key("webrtc"), Key("relay_only")],
                "browsers may use TURN only, and there is no TURN server",
                help,
            );
        }
    }

    fn web(&mut self, config: &Config) {
        let web = &config.web;
        if let Some(url) = &web.public_url {
            let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.trim_end_matches('/').contains('/')) {
                self.error(
                    &[Key("web"), Key("public_url")],
                    format!("`{url}` is not an origin"),
                    "write scheme and host only: \"https://cs.example.com\"",
                );
            }
        }
        if let Some(tls) = &web.tls {
            for (key, path) in [("cert", &tls.cert), ("key", &tls.key)] {
                if let Err(error) = std::fs::File::open(path) {
                    self.error(
                        &[Key("web"), Key("tls"), Key(key)],
                        format!("{} cannot be read: {error}", path.display()),
                        "relative paths are relative to the working directory",
                    );
                }
            }
        }
        if web.tls.is_none() && web.public_url.is_none() && !web.listen.ip().is_loopback() {
            self.warn(
                &[Key("web"), Key("listen")],
                format!(
                    "{} is reachable from other machines without encryption: the token would travel in the clear",
                    web.listen
                ),
                "set `tls`, or listen on 127.0.0.1 with a proxy in front and name it in `public_url`",
            );
        }
    }

    fn files(&mut self, config: &Config) {
        let (url, path) = (&config.files.url, [Key("files"), Key("url")]);
        if url.starts_with("s3:") {
            self.error(&path, format!("`{url}` is not available in this release"), "use \"file:...\"");
        } else if !url.starts_with("file:") {
            self.error(&path, format!("`{url}` is not a files url"), "it begins with \"file:\"");
        } else if url == "file:" {
            self.error(&path, format!("`{url}` names no place"), "for example \"file:data/files\"");
        }
    }

    fn store(&mut self, config: &Config) {
        let (store, path) = (&config.store, [Key("store"), Key("url")]);
        match store.sqlite_path() {
            Some(file) if file.as_os_str().is_empty() => {
                self.error(&path, format!("`{}` names no place", store.url), "for example \"sqlite:data/ark.db\"");
            }
            Some(_) => {
                let stray = [("password", store.password.is_some()), ("ca_file", store.ca_file.is_some())];
                for (key, _) in stray.into_iter().filter(|(_, set)| *set) {
                    self.error(&[path[0], Key(key)], "SQLite is a file: it takes none", "remove it");
                }
            }
            None if store.is_postgres() => {
                self.secret("store", store.password.as_ref(), &store.url);
                if let Ok(options) = open::postgres_options(config)
                    && let Err(error) = options.check()
                {
                    self.error(&path, error.to_string(), "write \"postgres://user@host:5432/database\"");
                }
                if !config.bus.is_broker() {
                    self.warn(
                        &path,
                        "PostgreSQL without a broker: pages and tails show the calls of their own gateway only",
                        "with several gateways give all of them the same RabbitMQ in [bus] url",
                    );
                }
            }
            None => self.error(
                &path,
                format!("`{}` is not a store url", store.url),
                "it begins with \"sqlite:\" or \"postgres://\"",
            ),
        }
    }

    fn bus(&mut self, config: &Config) {
        let (bus, path) = (&config.bus, [Key("bus"), Key("url")]);
        if bus.url.reveal() == "embedded:" {
            let stray = [
                ("nodes", !bus.nodes.is_empty()),
                ("password", bus.password.is_some()),
                ("ca_file", bus.ca_file.is_some()),
                ("client", bus.client.is_some()),
            ];
            for (key, _) in stray.into_iter().filter(|(_, set)| *set) {
                self.error(&[path[0], Key(key)], "the embedded bus takes none", "remove it, or name a broker in `url`");
            }
            return;
        }
        if !bus.is_broker() {
            let help = "it is \"embedded:\", or begins with \"amqp://\" or \"amqps://\"";
            self.error(&path, format!("`{}` is not a bus url", bus.url), help);
            return;
        }
        self.secret("bus", bus.password.as_ref(), &bus.url);
        if let Err(error) = open::check_broker(config) {
            self.error(&path, error.to_string(), "see docs/bus.md");
        }
        if config.gateway.id.contains('.') {
            self.error(
                &[Key("gateway"), Key("id")],
                format!(
                    "`{}` cannot be a gateway's id beside a broker: a dot would cut a routing key",
                    config.gateway.id
                ),
                "use letters, digits, `-` or `_`",
            );
        }
    }

    /// The password beside an address, and the one in it.
    fn secret(&mut self, section: &str, password: Option<&super::Secret>, url: &super::Url) {
        if let Some(Err(error)) = password.map(super::Secret::read) {
            self.error(&[Key(section), Key("password")], error, "see `file` and `env` of a secret");
        }
        if url.has_password() {
            self.warn(
                &[Key(section), Key("url")],
                "a password stands in this file, and whoever reads the file has it",
                "keep it elsewhere: `password = { file = \"...\" }` or `{ env = \"...\" }`",
            );
        }
    }

    fn prompts(&mut self, config: &Config) {
        if !(80..=450).contains(&config.prompts.speed) {
            self.error(
                &[Key("prompts"), Key("speed")],
                format!("{} words a minute cannot be understood", config.prompts.speed),
                "use 80 to 450; 160 is calm",
            );
        }
        for (key, voice) in [("voice_zh", &config.prompts.voice_zh), ("voice_en", &config.prompts.voice_en)] {
            if voice.is_empty() || voice.starts_with('-') {
                self.error(
                    &[Key("prompts"), Key(key)],
                    format!("`{voice}` is not a voice"),
                    "`espeak-ng --voices` lists them",
                );
            }
        }
        if let Some(dir) = &config.prompts.dir
            && !dir.is_dir()
        {
            self.error(
                &[Key("prompts"), Key("dir")],
                format!("{} is not a folder", dir.display()),
                "relative paths are relative to the working directory",
            );
        }
    }

    fn hotlines(&mut self, config: &Config) {
        if config.hotline.is_empty() {
            self.warn(
                &[],
                "no [[hotline]]: every caller hears that the number does not exist",
                "add one with `number` and `dialplan`",
            );
        }
        self.unique("hotline", "number", config.hotline.iter().map(|hotline| hotline.number.as_str()));
        for (index, hotline) in config.hotline.iter().enumerate() {
            let at = [Key("hotline"), At(index)];
            if hotline.number.is_empty() || hotline.number.contains(|c: char| c.is_whitespace() || c == '@') {
                self.error(
                    &[at[0], at[1], Key("number")],
                    format!("`{}` is not a number that can be dialled", hotline.number),
                    "write the part before the @: \"95188\", or \"*\" for every other number",
                );
            }
            let path = [at[0], at[1], Key("dialplan")];
            match hotline.dialplan.strip_prefix(BUILTIN) {
                Some(name) if name != "hotline-95188" => {
                    self.error(
                        &path,
                        format!("no plan `{name}` is part of the program"),
                        "there is \"builtin:hotline-95188\"",
                    );
                }
                None if !Path::new(&hotline.dialplan).is_file() => self.error(
                    &path,
                    format!("the plan {} is not there", hotline.dialplan),
                    "relative paths are relative to the working directory",
                ),
                _ => {}
            }
        }
    }

    fn queues(&mut self, config: &Config) {
        self.unique("queue", "name", config.queue.iter().map(|queue| queue.name.as_str()));
        for (index, queue) in config.queue.iter().enumerate() {
            for (nth, operator) in queue.operators.iter().enumerate() {
                if let Some(name) = operator.strip_prefix(crate::call::web::WEB) {
                    if !crate::webrtc::is_operator_name(name) {
                        let path = [Key("queue"), At(index), Key("operators"), At(nth)];
                        let help = "use 1 to 64 letters, digits, `-`, `_`, `.` or `@`";
                        self.error(&path, format!("`{name}` cannot be an operator's name"), help);
                    }
                    continue;
                }
                self.sip_address(
                    &[Key("queue"), At(index), Key("operators"), At(nth)],
                    operator,
                    "not a SIP address",
                    "write \"sip:1001@127.0.0.1:5080\", or \"web:anna\" for one who answers in a browser",
                );
            }
            self.at_least_a_second(&[Key("queue"), At(index), Key("ring")], queue.ring);
            if let Err(why) = queue.setup() {
                let help = "write [\"mon-fri 09:00-18:00\"], and in timezone \"Asia/Shanghai\"".to_owned();
                self.error(&[Key("queue"), At(index), Key("hours")], why, help);
            }
            self.overflow(config, index, queue);
        }
    }

    fn targets(&mut self, config: &Config) {
        self.unique("target", "name", config.target.iter().map(|target| target.name.as_str()));
        for (index, target) in config.target.iter().enumerate() {
            let path = [Key("target"), At(index), Key("to")];
            let number = target.to.strip_prefix('+').unwrap_or(&target.to);
            if !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()) {
                if config.route_for(&target.to).is_none() {
                    self.error(
                        &path,
                        format!("no [[route]] carries `{}`", target.to),
                        "add a route whose prefix begins that number, or write a SIP address",
                    );
                }
            } else {
                self.sip_address(
                    &path,
                    &target.to,
                    "neither a SIP address nor a number",
                    "write \"sip:2001@10.0.0.5\" or \"+861012345678\"",
                );
            }
        }
    }

    /// A SIP address that Ark is to send to: its host must be an IP address, since this release looks up no names.
    fn sip_address(&mut self, path: &[Step<'_>], text: &str, what: &str, help: &str) {
        if !is_sip_uri(text) {
            self.error(path, format!("`{text}` is {what}"), help);
        } else if address_of(text).is_none() {
            self.error(
                path,
                format!("`{text}` has no IP address"),
                format!("this release looks up no host names: {help}"),
            );
        }
    }

    fn actions(&mut self, config: &Config) {
        self.unique("action", "name", config.action.iter().map(|action| action.name.as_str()));
        for (index, action) in config.action.iter().enumerate() {
            if !(action.url.starts_with("http://") || action.url.starts_with("https://")) {
                self.error(
                    &[Key("action"), At(index), Key("url")],
                    format!("`{}` is not an http url", action.url),
                    "write \"http://127.0.0.1:9000/lookup\"",
                );
            }
        }
    }

    fn channels(&mut self, config: &Config) {
        self.unique("channel", "name", config.channel.iter().map(|channel| channel.name.as_str()));
        if config.channel.len() > CHANNELS_MAX {
            let many = config.channel.len();
            self.error(&[Key("channel")], format!("{many} channels, more than {CHANNELS_MAX}"), "take some away");
        }
        for (index, channel) in config.channel.iter().enumerate() {
            let at = |key| [Key("channel"), At(index), Key(key)];
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if channel.name.is_empty() || channel.name.len() > 63 || !channel.name.chars().all(plain) {
                let message = format!("`{}` cannot be a channel's name: it stands in paths and sources", channel.name);
                self.error(&at("name"), message, "use 1 to 63 letters, digits, `-`, `_` or `.`");
            } else if channel.enabled
                && let Err(error) = crate::channel_host::account(channel, &Tenant::default())
            {
                self.error(&at("kind"), error, "docs/channels.md says what each kind needs");
            }
            self.on_the_broker(config, index);
            if let Some(number) = crate::webchat::unknown_hotline(channel, config) {
                let why = format!("there is no hotline `{number}` for `call`");
                self.error(&at("settings"), why, "name one of [[hotline]], or leave `call` out");
            }
            match crate::plans::chat::plan_of(config, channel) {
                Err(error) => self.error(
                    &at("plan"),
                    error,
                    "write the name of such a plan, or the path of a file as in [[hotline]] dialplan",
                ),
                Ok(Some(plan)) => self.chat_plan(&at("plan"), &plan.dialplan),
                Ok(None) => {}
            }
            let known = |queue: &str| config.queue.iter().any(|one| one.name == queue);
            if let Some(queue) = channel.queue.as_deref().filter(|queue| !known(queue)) {
                let help = match nearest(queue, config.queue.iter().map(|queue| queue.name.as_str())) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "add a [[queue]] of this name".to_owned(),
                };
                self.error(&at("queue"), format!("there is no queue `{queue}`"), help);
            }
        }
    }

    /// The file of a channel's plan.
    fn chat_plan(&mut self, path: &[Step<'_>], dialplan: &str) {
        let there = match dialplan.strip_prefix(BUILTIN) {
            Some(name) => crate::plans::BUILTIN_PLANS.iter().any(|(known, _)| *known == name),
            None => Path::new(dialplan).is_file(),
        };
        if !there {
            self.error(path, format!("the plan {dialplan} is not there"), "correct the path, or put the file there");
        }
    }

    fn webhooks(&mut self, config: &Config) {
        self.unique("webhook", "name", config.webhook.iter().map(|webhook| webhook.name.as_str()));
        if config.webhook.len() > WEBHOOKS_MAX {
            let many = config.webhook.len();
            self.error(&[Key("webhook")], format!("{many} webhooks, more than {WEBHOOKS_MAX}"), "take some away");
        }
        for (index, webhook) in config.webhook.iter().enumerate() {
            let at = |key| [Key("webhook"), At(index), Key(key)];
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if webhook.name.len() > 64 || !webhook.name.chars().all(plain) {
                let message = format!("`{}` cannot be a webhook's name: it stands in metrics and paths", webhook.name);
                self.error(&at("name"), message, "use up to 64 letters, digits, `-`, `_` or `.`");
            }
            match Place::parse(&webhook.url) {
                Err(error) => self.error(&at("url"), error, "for example url = \"https://example.com/ark\""),
                Ok(place) => self.webhook_place(&at("url"), &place, webhook.allow_private),
            }
            if webhook.secrets.is_empty() || webhook.secrets.len() > SECRETS_MAX {
                self.error(
                    &at("secrets"),
                    format!("a webhook has 1 to {SECRETS_MAX} secrets, not {}", webhook.secrets.len()),
                    "secrets = [{ file = \"secrets/webhook\" }]",
                );
            }
            if webhook.enabled
                && let Err(error) = webhook.keys()
            {
                self.error(&at("secrets"), error, "see `file` and `env` of a secret");
            }
            if webhook.timeout.0.is_zero() || webhook.timeout.0 > TIMEOUT_MAX {
                let most = TIMEOUT_MAX.as_secs();
                self.error(
                    &at("timeout"),
                    format!("{} is no time for an answer", webhook.timeout),
                    format!("use up to \"{most}s\""),
                );
            }
            for (nth, prefix) in webhook.types.iter().enumerate() {
                let one = std::slice::from_ref(prefix);
                if !ark_conversation::Event::TYPES.iter().any(|name| crate::webhooks::wants(one, name)) {
                    let path = [Key("webhook"), At(index), Key("types"), At(nth)];
                    let help = match nearest(prefix, ark_conversation::Event::TYPES.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "channels/conversation/schemas has a file for each type".to_owned(),
                    };
                    self.warn(&path, format!("no event of this release is `{prefix}` or below it"), help);
                }
            }
        }
    }

    fn webhook_place(&mut self, path: &[Step<'_>], place: &Place, allow_private: bool) {
        let address = place.address();
        if let Some(address) = address.filter(|address| !may_reach(*address, allow_private)) {
            self.error(
                path,
                format!("{address} is an address inside"),
                "set allow_private = true if it is meant to be reached",
            );
        } else if place.is_plain() && !address.is_some_and(|address| address.is_loopback()) {
            self.warn(
                path,
                "http: what is sent can be read on the way",
                "use https; the signature keeps it from being changed, not from being read",
            );
        }
    }

    fn trunks(&mut self, config: &Config) {
        self.unique("trunk", "name", config.trunk.iter().map(|trunk| trunk.name.as_str()));
        for (index, trunk) in config.trunk.iter().enumerate() {
            for (nth, peer) in trunk.peers.iter().enumerate() {
                let path = [Key("trunk"), At(index), Key("peers"), At(nth)];
                if peer.has_host_bits() {
                    self.warn(
                        &path,
                        format!("{peer} has bits right of its mask"),
                        "they are ignored; is the mask right?",
                    );
                }
                if peer.bits == 0 {
                    self.warn(&path, format!("{peer} lets the whole internet call"), "name the carrier's networks");
                }
            }
            self.each_codec_once(&[Key("trunk"), At(index), Key("codecs")], &trunk.codecs);
            if let Some(proxy) = &trunk.proxy {
                let path = [Key("trunk"), At(index), Key("proxy")];
                self.sip_address(&path, proxy, "not a SIP address", "write \"sip:203.0.113.5:5060\"");
            }
            if trunk.password.is_some() != trunk.username.is_some() {
                self.error(
                    &[Key("trunk"), At(index)],
                    format!("trunk `{}` has only one of `username` and `password`", trunk.name),
                    "digest needs both",
                );
            }
            if let Some(Err(error)) = trunk.password.as_ref().map(super::Secret::read) {
                self.error(&[Key("trunk"), At(index), Key("password")], error, "see `file` and `env` of a secret");
            }
        }
    }

    fn routes(&mut self, config: &Config) {
        self.unique("route", "prefix", config.route.iter().map(|route| route.prefix.as_str()));
        for (index, route) in config.route.iter().enumerate() {
            let path = [Key("route"), At(index), Key("trunk")];
            let Some(trunk) = config.trunk.iter().find(|trunk| trunk.name == route.trunk) else {
                let help = match nearest(&route.trunk, config.trunk.iter().map(|trunk| trunk.name.as_str())) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "add a [[trunk]] of that name".to_owned(),
                };
                self.error(&path, format!("there is no trunk `{}`", route.trunk), help);
                continue;
            };
            if trunk.proxy.is_none() && trunk.peers.iter().all(|peer| !is_one_address(*peer)) {
                self.error(
                    &path,
                    format!("trunk `{}` does not say where outbound calls go", trunk.name),
                    "give it `proxy`, or one peer that is a single address",
                );
            }
            if route.strip > route.prefix.len() {
                self.error(
                    &[Key("route"), At(index), Key("strip")],
                    format!("`strip = {}` drops more than the prefix `{}`", route.strip, route.prefix),
                    "drop at most the prefix",
                );
            }
        }
    }

    /// Names within one table array are not empty and differ.
    fn unique<'n>(&mut self, section: &str, key: &str, names: impl Iterator<Item = &'n str>) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, name) in names.enumerate() {
            if name.is_empty() && key == "name" {
                self.error(&[Key(section), At(index), Key(key)], format!("a {section} without a name"), "give it one");
            } else if let Some(first) = seen.insert(name, index) {
                let line = self
                    .locate(&[Key(section), At(first), Key(key)])
                    .map_or(0, |span| self.source.get(..span.start).unwrap_or("").matches('\n').count() + 1);
                self.error(
                    &[Key(section), At(index), Key(key)],
                    format!("{key} `{name}` is taken by another [[{section}]]"),
                    format!("the first is on line {line}"),
                );
            }
        }
    }
}

fn is_one_address(peer: super::Cidr) -> bool {
    peer.bits == if peer.address.is_ipv4() { 32 } else { 128 }
}

/// Whether a text is a SIP URI with a host. The parser proper is ark-sip's; this is the shape that a slip of the pen breaks.
fn is_sip_uri(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("sip:") else { return false };
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split([';', '?']).next().unwrap_or("");
    let (host, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, after)) if inside.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", after.strip_prefix(':')),
        Some(_) => return false,
        None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
    };
    !host.is_empty()
        && host.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-'))
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}
