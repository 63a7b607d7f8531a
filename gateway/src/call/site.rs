//! What the signalling core knows of its site: which plan answers which number, which trunk a packet comes from, and
//! where a call out goes. Immutable while a call looks at it; replaced as a whole when a plan is published.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ark_dialplans::{Piece, Plan};
use ark_media::codec::CodecRef;
use ark_media::prompt::EncodedPrompt;
use ark_media::session::DtmfRoads;
use ark_sip::auth::Credentials;
use ark_sip::guard::Acl;
use ipnet::IpNet;

/// What a live plan can play: every piece was prepared before the plan went live, so a look-up does no I/O.
pub trait Sounds: Send + Sync {
    /// The audio of a piece of a prompt, or `None` when there is none (the call then hears [`Sounds::error_tone`]).
    fn piece(&self, piece: &Piece, codec: CodecRef) -> Option<Arc<EncodedPrompt>>;
    /// What somebody hears while another phone rings.
    fn ringback(&self, codec: CodecRef) -> Arc<EncodedPrompt>;
    /// What somebody hears who waits or is held.
    fn music(&self, codec: CodecRef) -> Arc<EncodedPrompt>;
    /// Before a voice message is recorded.
    fn beep(&self, codec: CodecRef) -> Arc<EncodedPrompt>;
    /// Instead of a prompt that is missing: never silence.
    fn error_tone(&self, codec: CodecRef) -> Arc<EncodedPrompt>;
}

/// A plan that answers calls, with everything that it may say.
#[derive(Clone)]
pub struct LivePlan {
    /// The checked plan.
    pub plan: Arc<Plan>,
    /// Its version in the store's `plan_version` table.
    pub version: u32,
    /// Its prepared audio.
    pub sounds: Arc<dyn Sounds>,
}

/// A carrier or PBX that we exchange calls with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Its name in the configuration; part of a call's `source`.
    pub name: String,
    /// Where its packets come from.
    pub peers: Vec<IpNet>,
    /// Where calls to it are sent.
    pub proxy: Option<SocketAddr>,
    /// Whether they go by TCP.
    pub tcp: bool,
    /// The number that stands in From of calls to it; none: the caller's, or the hotline's.
    pub caller: Option<String>,
    /// Codecs of its calls in order; empty: those of the gateway.
    pub codecs: Vec<CodecRef>,
    /// Which roads of its keys count.
    pub dtmf: DtmfRoads,
    /// What answers its 401 and 407.
    pub credentials: Option<Credentials>,
}

/// `[[route]]`: numbers with this prefix leave by this trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `+86`, `010`, or empty for all.
    pub prefix: String,
    /// The name of the trunk.
    pub trunk: String,
    /// How many leading characters are dropped before dialling.
    pub strip: usize,
}

/// The name of the trunk of callers that come from loopback and private addresses without a `[[trunk]]`.
pub const LOCAL_TRUNK: &str = "local";

/// A published plan behind a hotline number.
#[derive(Clone)]
pub struct Hotline {
    /// The plan that new calls get.
    pub live: Arc<LivePlan>,
    /// Whether whole calls are recorded.
    pub record: bool,
}

/// The site as it is now.
#[derive(Clone, Default)]
pub struct Site {
    /// By dialled number, in the form of [`number_key`].
    pub hotlines: HashMap<String, Hotline>,
    /// Every trunk.
    pub trunks: Vec<Trunk>,
    /// Ways out; the longest matching prefix wins.
    pub routes: Vec<Route>,
    /// Addresses of named targets that replace those in the plans.
    pub targets: HashMap<String, String>,
}

/// Why a call out cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWay {
    /// No route has a prefix of this number.
    #[error("no [[route]] leads to this number: add one whose prefix it begins with")]
    NoRoute,
    /// The route's trunk has no address to send to.
    #[error("trunk `{0}` has no address to send calls to: give it one peer with a /32 (or /128) or a `proxy`")]
    NoProxy(String),
    /// A `sip:` URI that leads to a trunk although no route leads there.
    #[error(
        "that address is trunk `{0}`, and no [[route]] to it begins that number: add one, or dial the number itself"
    )]
    NotRouted(String),
    /// A `sip:` URI that leads to the open internet.
    #[error("{0} is neither a private address nor a [[trunk]]'s: its answers would be dropped. Add a [[trunk]] for it")]
    Foreign(IpAddr),
    /// Neither a number nor a `sip:` URI with an IP address.
    #[error("`{0}` is neither a phone number nor a `sip:user@address[:port]` URI")]
    NotATarget(String),
}

/// Where a call out is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Request-URI and To.
    pub uri: String,
    /// The peer.
    pub remote: SocketAddr,
    /// `;transport=tcp` was asked for.
    pub tcp: bool,
    /// Trunk name, or [`LOCAL_TRUNK`].
    pub trunk: String,
    /// The number that the trunk wants to see in From.
    pub caller: Option<String>,
    /// What answers a 401 or 407.
    pub credentials: Option<Credentials>,
}

impl Site {
    /// Replaces every hotline: new calls get what is here.
    pub fn set_hotlines(&mut self, hotlines: Vec<(String, Hotline)>) {
        self.hotlines = hotlines.into_iter().map(|(number, hotline)| (number_key(&number), hotline)).collect();
    }

    /// The hotline of a dialled user part, or the one of number `*`.
    pub fn hotline(&self, dialled: &str) -> Option<&Hotline> {
        self.hotlines.get(&number_key(dialled)).or_else(|| self.hotlines.get("*"))
    }

    /// Whatever hotline there is, the lowest number first: for calls that came by none.
    pub fn any_hotline(&self) -> Option<&Hotline> {
        self.hotlines.iter().min_by_key(|(number, _)| number.as_str()).map(|(_, hotline)| hotline)
    }

    /// Where a plan's named target is: as the site says, else as the plan says.
    pub fn target<'a>(&'a self, name: &str, in_plan: &'a str) -> &'a str {
        self.targets.get(name).map_or(in_plan, String::as_str)
    }

    /// The trunk whose peers contain `source`.
    pub fn trunk_of(&self, source: IpAddr) -> &str {
        let source = source.to_canonical();
        self.trunks.iter().find(|t| t.peers.iter().any(|p| p.contains(&source))).map_or(LOCAL_TRUNK, |t| &t.name)
    }

    /// The codecs of calls by this trunk; none: the gateway's own.
    pub fn codecs_of(&self, trunk: &str) -> Option<&[CodecRef]> {
        self.trunks.iter().find(|t| t.name == trunk).map(|t| &t.codecs[..]).filter(|codecs| !codecs.is_empty())
    }

    /// Which roads of keys count in calls by this trunk.
    pub fn dtmf_of(&self, trunk: &str) -> DtmfRoads {
        self.trunks.iter().find(|t| t.name == trunk).map_or(DtmfRoads::Auto, |t| t.dtmf)
    }

    /// Where `target` (a number, or a `sip:` URI with an IP address) is reached.
    ///
    /// # Errors
    /// [`NoWay`], which says what to configure.
    pub fn way(&self, target: &str) -> Result<Way, NoWay> {
        if target.starts_with("sip:") {
            return direct(target).ok_or_else(|| NoWay::NotATarget(target.to_owned()));
        }
        let number = number_key(target.strip_prefix("tel:").unwrap_or(target));
        if number.is_empty() || !number.chars().all(|c| c.is_ascii_digit() || "+*#".contains(c)) {
            return Err(NoWay::NotATarget(target.to_owned()));
        }
        let route = self
            .routes
            .iter()
            .filter(|r| number.starts_with(&r.prefix))
            .max_by_key(|r| r.prefix.len())
            .ok_or(NoWay::NoRoute)?;
        let no_proxy = || NoWay::NoProxy(route.trunk.clone());
        let trunk = self.trunks.iter().find(|t| t.name == route.trunk).ok_or_else(no_proxy)?;
        let proxy = trunk.proxy.ok_or_else(no_proxy)?;
        let dialled = number.get(route.strip..).unwrap_or_default();
        let transport = if trunk.tcp { ";transport=tcp" } else { "" };
        Ok(Way {
            uri: format!("sip:{dialled}@{proxy}{transport};user=phone"),
            remote: proxy,
            tcp: trunk.tcp,
            trunk: route.trunk.clone(),
            caller: trunk.caller.clone(),
            credentials: trunk.credentials.clone(),
        })
    }

    /// As [`Site::way`], for targets that come from outside the site's file: an address of a trunk is open to routed
    /// numbers only, so that nobody dials around the routes at the site's cost.
    ///
    /// # Errors
    /// [`NoWay`], which says what to configure.
    pub fn way_for_operators(&self, target: &str) -> Result<Way, NoWay> {
        let way = self.way(target)?;
        if !target.starts_with("sip:") {
            return Ok(way);
        }
        let ip = way.remote.ip().to_canonical();
        let Some(trunk) = self.trunks.iter().find(|t| t.is_at(ip)) else {
            return if Acl::private().allows(ip) { Ok(way) } else { Err(NoWay::Foreign(ip)) };
        };
        let user = target.strip_prefix("sip:").and_then(|rest| rest.split_once('@')).map_or("", |(user, _)| user);
        // `1001%30` and `1001:x` are ways to write another number than the one that is compared.
        let plain = user.chars().all(|c| c.is_ascii_digit() || "+*#-.()".contains(c));
        match self.way(user) {
            Ok(routed) if plain && routed.trunk == trunk.name => Ok(routed),
            _ => Err(NoWay::NotRouted(trunk.name.clone())),
        }
    }
}

impl Trunk {
    fn is_at(&self, ip: IpAddr) -> bool {
        self.proxy.is_some_and(|proxy| proxy.ip().to_canonical() == ip)
            || (!Acl::private().allows(ip) && self.peers.iter().any(|peers| peers.contains(&ip)))
    }
}

/// A `sip:user@address[:port][;params]` URI whose host is an IP address.
fn direct(uri: &str) -> Option<Way> {
    let rest = uri.strip_prefix("sip:")?;
    // It goes into a start line and a header as it is.
    if !rest.bytes().all(|c| c.is_ascii_graphic() && !b"<>\"\\^`{|}".contains(&c)) {
        return None;
    }
    let (address, params) = rest.split_once(';').unwrap_or((rest, ""));
    let host_port = address.rsplit_once('@').map_or(address, |(_, host)| host);
    let remote = host_port
        .parse::<SocketAddr>()
        .ok()
        .or_else(|| host_port.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|ip| (ip, 5060).into()))?;
    let tcp = params.split(';').any(|p| p.eq_ignore_ascii_case("transport=tcp"));
    Some(Way { uri: uri.to_owned(), remote, tcp, trunk: LOCAL_TRUNK.to_owned(), caller: None, credentials: None })
}

/// The address in a `sip:` URI whose host is an IP address, and whether it asks for TCP.
pub fn address_of(uri: &str) -> Option<(SocketAddr, bool)> {
    direct(uri).map(|way| (way.remote, way.tcp))
}

/// A dialled number as a key: separators removed (`+86 95188`, `(010) 9518-8`); letters, `+`, `*` and `#` stay.
pub fn number_key(number: &str) -> String {
    let number = number.split(';').next().unwrap_or_default();
    number.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        let carrier = Trunk {
            name: "carrier".to_owned(),
            peers: vec!["198.51.100.10/32".parse().unwrap()],
            proxy: Some("198.51.100.10:5060".parse().unwrap()),
            tcp: true,
            caller: Some("95188".to_owned()),
            codecs: Vec::new(),
            dtmf: DtmfRoads::Auto,
            credentials: Some(Credentials { username: "u".to_owned(), password: "p".to_owned() }),
        };
        let blind = Trunk {
            name: "blind".to_owned(),
            peers: Vec::new(),
            proxy: None,
            tcp: false,
            caller: None,
            codecs: Vec::new(),
            dtmf: DtmfRoads::Auto,
            credentials: None,
        };
        let route = |prefix: &str, trunk: &str| Route { prefix: prefix.to_owned(), trunk: trunk.to_owned(), strip: 0 };
        Site {
            hotlines: HashMap::new(),
            trunks: vec![carrier, blind],
            routes: vec![route("+86", "carrier"), route("+8610", "blind")],
            targets: HashMap::from([("boss".to_owned(), "sip:2001@10.0.0.5".to_owned())]),
        }
    }

    #[test]
    fn the_longest_prefix_decides_the_way_out() {
        let site = site();
        let way = site.way("+86 138-0013-8000").unwrap();
        assert_eq!(way.uri, "sip:+8613800138000@198.51.100.10:5060;transport=tcp;user=phone");
        assert_eq!(way.trunk, "carrier");
        assert!(way.tcp && way.credentials.is_some());
        assert_eq!(way.caller.as_deref(), Some("95188"));
        assert_eq!(site.way("+861062345678"), Err(NoWay::NoProxy("blind".to_owned())));
        assert_eq!(site.way("0044123"), Err(NoWay::NoRoute));
    }

    #[test]
    fn a_site_says_where_a_named_target_is_else_the_plan() {
        assert_eq!(site().target("boss", "+861062345678"), "sip:2001@10.0.0.5");
        assert_eq!(site().target("shop", "+861062345678"), "+861062345678");
    }

    #[test]
    fn a_sip_uri_goes_straight_to_its_address() {
        let site = site();
        assert_eq!(
            site.way("sip:1001@127.0.0.1:5080").unwrap().remote,
            "127.0.0.1:5080".parse::<SocketAddr>().unwrap()
        );
        assert_eq!(site.way("sip:1001@[::1]").unwrap().remote, "[::1]:5060".parse::<SocketAddr>().unwrap());
        assert!(site.way("sip:1001@127.0.0.1:5080;transport=tcp").unwrap().tcp);
        assert_eq!(site.way("sip:1001@host"), Err(NoWay::NotATarget("sip:1001@host".to_owned())));
        assert_eq!(site.way("mailto:x"), Err(NoWay::NotATarget("mailto:x".to_owned())));
    }

    #[test]
    fn nobody_dials_around_the_routes() {
        let site = site();
        let way = |target: &str| site.way_for_operators(target);
        assert!(way("sip:1001@127.0.0.1:5080").is_ok());
        assert!(way("+8613800138000").is_ok());
        assert_eq!(way("sip:+8613800138000@198.51.100.10").unwrap().trunk, "carrier");
        for around in [
            "sip:0044900123@198.51.100.10",
            "sip:+8%36@198.51.100.10:5080",
            "sip:198.51.100.10",
            "sip:+8610123@198.51.100.10",
        ] {
            assert_eq!(way(around), Err(NoWay::NotRouted("carrier".to_owned())), "{around}");
        }
        assert_eq!(way("sip:x@8.8.8.8"), Err(NoWay::Foreign("8.8.8.8".parse().unwrap())));
    }

    #[test]
    fn no_target_smuggles_a_header_in() {
        let site = site();
        for evil in ["sip:1@127.0.0.1;x\r\nVia: y", "sip:1 2@127.0.0.1", "sip:1>@127.0.0.1", "sip:\u{4e2d}@127.0.0.1"] {
            assert_eq!(site.way(evil), Err(NoWay::NotATarget(evil.to_owned())), "{evil}");
        }
    }

    #[test]
    fn a_source_is_known_by_its_trunk() {
        let site = site();
        assert_eq!(site.trunk_of("198.51.100.10".parse().unwrap()), "carrier");
        assert_eq!(site.trunk_of("::ffff:198.51.100.10".parse().unwrap()), "carrier");
        assert_eq!(site.trunk_of("127.0.0.1".parse().unwrap()), LOCAL_TRUNK);
    }
}
