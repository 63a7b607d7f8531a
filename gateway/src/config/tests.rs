use super::*;

const SITE: &str = r#"
[gateway]
id = "gw1"
[sip]
listen = ["udp:0.0.0.0:5060", "tcp:0.0.0.0:5060"]
advertise = "203.0.113.7"          # optional
[rtp]
address = "0.0.0.0"
ports = "20000-29999"
[web]
listen = "127.0.0.1:8080"
public_url = "https://cs.example.com"
[store]
url = "sqlite:data/ark.db"
[files]
url = "file:data/files"
[bus]
url = "embedded:"
[[hotline]]
number = "95188"
dialplan = "builtin:hotline-95188"
[[queue]]
name = "general"
operators = ["sip:1001@127.0.0.1:5080"]
[[trunk]]
name = "carrier"
peers = ["198.51.100.10/32"]
[[route]]
prefix = "+86"
trunk = "carrier"
"#;

fn refused(source: &str) -> String {
    Config::parse(source, "ark.toml").unwrap_err().to_string()
}

#[test]
fn the_site_of_the_manual_is_read_without_a_word() {
    let (config, findings) = Config::parse(SITE, "ark.toml").unwrap();
    assert_eq!(findings, []);
    assert_eq!(config.sip.listen.len(), 2);
    assert_eq!(config.sip.advertise, Some("203.0.113.7".parse().unwrap()));
    assert_eq!(config.rtp.ports.pairs(), 5_000);
    assert_eq!(config.store.sqlite_path(), Some(Path::new("data/ark.db")));
    assert_eq!(config.files.recordings(), Path::new("data/files/recordings"));
    assert_eq!(config.hotline_for("95188").unwrap().number, "95188");
    assert!(config.hotline_for("1").is_none());
    let (trunk, number) = config.route_for("+8613800000000").unwrap();
    assert_eq!((trunk.name.as_str(), number), ("carrier", "+8613800000000"));
}

#[test]
fn an_empty_file_and_no_file_are_sensible_sites() {
    let (config, findings) = Config::parse("", "ark.toml").unwrap();
    assert_eq!(config, Config::default());
    assert!(findings.iter().all(|finding| finding.severity == Severity::Warning));
    assert!(Config::builtin().hotline_for("95188").is_some());
}

#[test]
fn what_the_manual_says_turns_a_cap_off_does() {
    let (config, findings) =
        Config::parse("[sip]\ncalls_per_second_max = 0\n[rtp]\ntimeout = \"0s\"\n", "ark.toml").unwrap();
    assert!(findings.iter().all(|finding| finding.severity == Severity::Warning), "{findings:?}");
    assert_eq!(config.sip.calls_per_second_max, 0);
}

#[test]
fn what_is_printed_is_read_back_the_same() {
    let (config, _) = Config::parse(SITE, "ark.toml").unwrap();
    let printed = toml::to_string(&config).unwrap();
    assert_eq!(Config::parse(&printed, "printed").unwrap().0, config, "{printed}");
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_nearest_name() {
    let message = refused("[sip]\nlisten = [\"udp:0.0.0.0:5060\"]\nadvertize = \"203.0.113.7\"\n");
    assert_eq!(
        message,
        "ark.toml:3:1: error: unknown key `advertize`\n 3 | advertize = \"203.0.113.7\"\n   | ^^^^^^^^^\n  help: did you mean `advertise`?"
    );
    assert!(refused("[spi]\n").contains("did you mean `sip`?"));
}

#[test]
fn a_wrong_value_is_refused_where_it_stands() {
    let message = refused("[rtp]\nports = \"29999-20000\"\n");
    assert!(message.starts_with("ark.toml:2:9: error: `29999-20000` is empty"), "{message}");
    let message = refused("[rtp]\ntimeout = 30\n");
    assert!(message.starts_with("ark.toml:2:11: error: invalid type"), "{message}");
    let message = refused("[log]\nformat = \"jason\"\n");
    assert!(message.contains("did you mean `json`?"), "{message}");
    let message = refused("[sip\n");
    assert!(message.starts_with("ark.toml:1:"), "{message}");
}

#[test]
fn what_makes_no_sense_is_refused_in_a_sentence() {
    let cases = [
        ("[gateway]\nid = \"a b\"\n", "2:6", "gateway's id"),
        ("[sip]\nlisten = []\n", "2:10", "no socket hears SIP"),
        ("[sip]\nlisten = [\"udp:0.0.0.0:5060\", \"udp:0.0.0.0:5060\"]\n", "2:31", "listed twice"),
        ("[sip]\nadvertise = \"0.0.0.0\"\n", "2:13", "nobody can send to"),
        ("[rtp]\nports = \"20001-20001\"\n", "2:9", "no pair"),
        ("[rtp]\nports = \"5000-6000\"\n", "2:9", "contains the SIP port 5060"),
        ("[web]\npublic_url = \"cs.example.com\"\n", "2:14", "not an origin"),
        ("[web]\ntls = { cert = \"/nowhere/c.pem\", key = \"/nowhere/k.pem\" }\n", "2:16", "cannot be read"),
        ("[store]\nurl = \"mysql://db/ark\"\n", "2:7", "not a store url"),
        ("[store]\nurl = \"sqlite:\"\n", "2:7", "names no place"),
        ("[store]\npassword = { env = \"HOME\" }\n", "2:12", "SQLite is a file"),
        ("[store]\nurl = \"postgres:///ark\"\n", "2:7", "no host"),
        ("[store]\nurl = \"postgres://ark:***@db/ark\"\n", "2:7", "was left out when this was printed"),
        ("[bus]\nurl = \"kafka://b\"\n", "2:7", "not a bus url"),
        ("[bus]\nnodes = [\"mq2\"]\n", "2:9", "the embedded bus takes none"),
        ("[bus]\nurl = \"amqp://\"\n", "2:7", "it names no host"),
        ("[bus]\nurl = \"amqp://ark@mq1/ark\"\nnodes = [\"mq2:no\"]\n", "2:7", "'mq2:no' is not host:port"),
        ("[gateway]\nid = \"gw.1\"\n[bus]\nurl = \"amqp://ark@mq1/ark\"\n", "2:6", "a dot would cut"),
        ("[files]\nurl = \"/data\"\n", "2:7", "not a files url"),
        ("[[hotline]]\nnumber = \"1\"\ndialplan = \"/nowhere.toml\"\n", "3:12", "is not there"),
        (
            "[[hotline]]\nnumber = \"1\"\ndialplan = \"builtin:hotline-95188\"\n[[hotline]]\nnumber = \"1\"\ndialplan = \"builtin:hotline-95188\"\n",
            "5:10",
            "taken by another [[hotline]]",
        ),
        ("[[queue]]\nname = \"q\"\noperators = [\"1001\"]\n", "3:14", "not a SIP address"),
        ("[[queue]]\nname = \"q\"\noperators = [\"sip:1001@127.0.0.1:99999\"]\n", "3:14", "not a SIP address"),
        ("[[queue]]\nname = \"q\"\noperators = [\"sip:1001@pbx.lan\"]\n", "3:14", "has no IP address"),
        ("[[queue]]\nname = \"q\"\noperators = [\"web:an na\"]\n", "3:14", "cannot be an operator's name"),
        ("[webrtc]\nports = \"29000-30000\"\n", "2:9", "overlaps [rtp] ports 20000-29999"),
        ("[webrtc]\nlisten = [\"0.0.0.0\"]\n", "2:11", "a browser cannot be told 0.0.0.0"),
        ("[webrtc]\npublic_address = \"0.0.0.0\"\n", "2:18", "nobody can send to"),
        ("[webrtc]\norigins = [\"shop.example\"]\n", "2:12", "is no origin"),
        ("[webrtc]\ncodecs = [\"SILK\"]\n", "2:11", "Ark speaks no `SILK`"),
        (
            "[webrtc]\nice_servers = [{ urls = [\"turn:t\"] }]\n",
            "2:16",
            "needs a `secret`, or `username` and `credential`",
        ),
        (
            "[webrtc]\nice_servers = [{ urls = [\"turn:t\"], username = \"u\", secret = { env = \"PATH\" } }]\n",
            "2:16",
            "beside a fixed user",
        ),
        ("[webrtc]\nrelay_only = true\n", "2:14", "there is no TURN server"),
        (
            "[webrtc]\nice_servers = [{ urls = [\"turn:t\"], username = \"u\", credential = { file = \"/nowhere\" } }]\n",
            "2:16",
            "/nowhere cannot be read",
        ),
        ("[[trunk]]\nname = \"c\"\nproxy = \"sip:sbc.example.net\"\n", "3:9", "has no IP address"),
        ("[[target]]\nname = \"t\"\nto = \"+861012345678\"\n", "3:6", "no [[route]] carries"),
        ("[[action]]\nname = \"a\"\nurl = \"ftp://x\"\n", "3:7", "not an http url"),
        ("[[channel]]\nname = \"c\"\nkind = \"web\"\nplan = \"nothere\"\n", "4:8", "with the plan `nothere`"),
        ("[[channel]]\nname = \"c\"\nkind = \"web\"\nplan = \"/nowhere.toml\"\n", "4:8", "is not there"),
        ("[[webhook]]\nname = \"w\"\nurl = \"ftp://x\"\nsecrets = []\n", "3:7", "not an http url"),
        ("[[webhook]]\nname = \"w\"\nurl = \"https://u:p@x/\"\nsecrets = []\n", "3:7", "end in logs"),
        ("[[webhook]]\nname = \"w\"\nurl = \"https://10.0.0.1/\"\nsecrets = []\n", "3:7", "an address inside"),
        ("[[webhook]]\nname = \"w\"\nurl = \"https://x/\"\nsecrets = []\n", "4:11", "1 to 4 secrets"),
        (
            "[[webhook]]\nname = \"w\"\nurl = \"https://x/\"\nsecrets = [{ file = \"/nowhere\" }]\n",
            "4:11",
            "/nowhere cannot be read",
        ),
        ("[[webhook]]\nname = \"a b\"\nurl = \"https://x/\"\nsecrets = []\n", "2:8", "a webhook's name"),
        ("[[trunk]]\nname = \"c\"\npeers = [\"198.51.100.10/33\"]\n", "3:9", "not a network"),
        ("[[trunk]]\nname = \"carrier\"\n[[route]]\nprefix = \"\"\ntrunk = \"carier\"\n", "5:9", "no trunk `carier`"),
    ];
    for (source, place, sentence) in cases {
        let message = refused(source);
        assert!(message.contains(&format!("ark.toml:{place}: error:")), "{source}\n{message}");
        assert!(message.contains(sentence), "{source}\n{message}");
    }
}

#[test]
fn a_site_of_several_gateways_is_read_and_shows_no_password() {
    let source = "[store]\nurl = \"postgres://ark:pq-secret@db:5432/ark?sslmode=require\"\n[bus]\nurl = \"amqps://ark@mq1/ark\"\n\
                  nodes = [\"mq2\", \"mq3:5700\"]\npassword = { env = \"PATH\" }\n";
    let (config, findings) = Config::parse(source, "ark.toml").unwrap();
    assert!(config.store.is_postgres() && config.bus.is_broker());
    let shown = format!("{config:?}{}{findings:?}", toml::to_string(&config).unwrap());
    assert!(shown.contains("ark:***@db") && !shown.contains("pq-secret"), "{shown}");
    assert!(findings.iter().any(|finding| finding.line == 2 && finding.message.contains("a password stands in")));
    let wrong = refused(&source.replace("mq3:5700", "mq3:x").replace("[store]\n", "[store]\nport = 1\n"));
    assert!(!wrong.contains("pq-secret"), "{wrong}");
    let message = refused("[bus]\nurl = \"amqp://u:mq-secret@h:99999/v\"\n");
    assert!(
        message.contains("url = \"amqp://u:***@h:99999/v\"\n   |       ^^^^") && !message.contains("mq-secret"),
        "{message}"
    );
}

#[test]
fn a_secret_is_read_from_its_file_and_its_absence_is_said() {
    let message = refused(
        "[[trunk]]\nname = \"c\"\nusername = \"u\"\npassword = { env = \"ARK_TEST_SECRET_THAT_IS_NOT_SET\" }\n",
    );
    assert!(message.contains("ARK_TEST_SECRET_THAT_IS_NOT_SET"), "{message}");
    let message = refused("[[trunk]]\nname = \"c\"\npassword = \"hunter2\"\n");
    assert!(message.starts_with("ark.toml:3:12"), "{message}");
    assert!(message.contains("{ file = \"...\" }") && !message.contains("hunter2"), "{message}");
    for wrong in [
        "[[action]]\nname = \"a\"\nurl = \"https://x/\"\nbearer = \"hunter2\"\n",
        "[[trunk]]\nname = \"c\"\npassword = hunter2\n",
        "[[trunk]]\nname = \"c\"\npassword = \"hunter2\n",
        "trunk = [{ name = \"c\", porxy = 1, password = \"hunter2\" }]\n",
        "[[webhook]]\nname = \"w\"\nurl = \"https://x/\"\nsecrets = [\n\"hunter2\"]\n",
    ] {
        let message = refused(wrong);
        assert!(!message.contains("hunter2"), "{message}");
    }
    let message = refused("[[trunk]]\nname = \"c\"\npassword = 4711\n");
    assert!(message.contains("where it is kept") && !message.contains("4711"), "{message}");
    let message = refused("[[trunk]]\nname = \"c\"\npassword = { fil = \"p\" }\n");
    assert!(message.starts_with("ark.toml:3:14") && message.contains("did you mean `file`?"), "{message}");
}

#[test]
fn the_manual_is_the_structs_own_words() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md");
    let now = reference();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == now, "docs/config.md is not what the structs say: UPDATE=1 cargo test -p ark config");
    assert!(!now.contains("|  |"), "a key without a description:\n{now}");
}

#[test]
fn codecs_are_named_in_order_and_once() {
    let source = "[media]\ncodecs = [\"opus\", \"pcma\"]\ncodec_order = \"theirs\"\n\
        [[trunk]]\nname = \"carrier\"\npeers = [\"198.51.100.10/32\"]\ncodecs = [\"PCMU\"]\n";
    let (config, _) = Config::parse(source, "ark.toml").unwrap();
    let names = |codecs: &[CodecRef]| codecs.iter().map(|c| c.name()).collect::<Vec<_>>();
    assert_eq!(names(&config.media.codecs()), ["opus", "PCMA"]);
    assert_eq!(config.media.codec_order, CodecOrder::Theirs);
    assert_eq!(names(&config.codecs()), ["PCMA", "PCMU", "opus"], "what prompts are encoded for");
    let printed = toml::to_string(&config).unwrap();
    assert_eq!(Config::parse(&printed, "printed").unwrap().0, config, "{printed}");
    assert_eq!(names(&Config::default().media.codecs())[..4], ["PCMA", "PCMU", "G722", "opus"]);

    let message = refused("[media]\ncodecs = [\"PCMA\", \"speex\"]\n");
    assert!(message.contains("ark.toml:2") && message.contains("`speex` is not a codec that Ark speaks"), "{message}");
    let message = refused("[media]\ncodecs = [\"PCMA\", \"opus\", \"pcma\"]\n");
    assert!(message.contains("`PCMA` is listed twice"), "{message}");
    assert!(refused("[media]\ncodecs = []\n").contains("without a codec nobody is heard"));
    let (_, warnings) = Config::parse("[media]\ncodecs = [\"opus\"]\n", "ark.toml").unwrap();
    assert!(warnings.iter().any(|w| w.message.contains("neither PCMA nor PCMU")), "{warnings:?}");
}

#[test]
fn customers_who_overflow_never_go_round_in_circles() {
    let queue = |name: &str, rest: &str| format!("[[queue]]\nname = \"{name}\"\noperators = []\n{rest}\n");
    let on = |to: &str| format!("overflow_after = \"1m\"\noverflow = \"{to}\"");
    let round = queue("a", &on("b")) + &queue("b", &on("c")) + &queue("c", &on("a"));
    assert!(refused(&round).contains("a -> b -> c -> a"), "{}", refused(&round));
    assert!(refused(&queue("a", &on("a"))).contains("a -> a"));
    let nowhere = refused(&(queue("a", &on("bb")) + &queue("b", "")));
    assert!(nowhere.contains("there is no queue `bb`"), "{nowhere}");
    let never = refused(&(queue("a", "overflow = \"b\"") + &queue("b", "")));
    assert!(never.contains("overflow_after"), "{never}");
    // One that joins a circle from outside is not in it; the circle's own queues say so.
    let tail = queue("a", &on("b")) + &queue("b", &on("c")) + &queue("c", &on("b"));
    assert!(refused(&tail).contains("b -> c -> b"));
    let fine = queue("a", &on("b")) + &queue("b", &on("c")) + &queue("c", "");
    assert!(Config::parse(&fine, "ark.toml").is_ok());
}
