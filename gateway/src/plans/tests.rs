//! Plans going live over the real store, with a synthesiser that is a shell script: no voice is needed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::OnceLock;

use ark_bus::{Bus, EmbeddedBus, Filter};
use ark_conversation::ConversationId;
use ark_store::SqliteStore;

use super::*;
use crate::config::{Files, Hotline as SiteHotline, Prompts, Queue};
use crate::conversations;

const PLAN: &str = r#"schema = "ark.dialplan/1"
name = "NAME"
entry = "main"
languages = ["en"]
[rules]
human_target = "person"
[prompts]
hello = { en = "HELLO, press 0 for a person." }
[state.main]
do = "menu"
prompt = "hello"
keys = { 1 = "person" }
on_timeout = "person"
[state.person]
do = "queue"
queue = "general"
on_timeout = "bye"
[state.bye]
do = "hangup"
[[test]]
name = "zero reaches a person"
events = ["0"]
expect = ["queue:general"]
"#;

fn plan(name: &str, hello: &str) -> String {
    PLAN.replace("NAME", name).replace("HELLO", hello)
}

/// A program that takes espeak-ng's arguments and writes the same sound for every text. One for all tests: a program that
/// was just written may not be run while another thread starts one.
fn synthesiser() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("ark-plans-voice-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("tone.wav"), wav(400)).unwrap();
        let script = "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" = -w ] && to=$2; shift; done\ncat > /dev/null\ncp \"$(dirname \"$0\")/tone.wav\" \"$to\"\n";
        let espeak = folder.join("espeak");
        fs::write(&espeak, script).unwrap();
        fs::set_permissions(&espeak, fs::Permissions::from_mode(0o755)).unwrap();
        espeak
    })
    .clone()
}

/// A site in a folder of its own.
struct Rig {
    folder: PathBuf,
    config: Arc<Config>,
}

impl Rig {
    fn new(what: &str, files: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("ark-plans-{what}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("files/prompts")).unwrap();
        let hotline = files.iter().enumerate().map(|(i, file)| SiteHotline {
            number: format!("9518{i}"),
            dialplan: folder.join(file).display().to_string(),
            record: false,
        });
        let config = Config {
            hotline: hotline.collect(),
            queue: vec![Queue { name: "general".into(), ..Config::builtin().queue[0].clone() }],
            files: Files { url: format!("file:{}", folder.join("files").display()) },
            prompts: Prompts { espeak: synthesiser(), ..Prompts::default() },
            ..Config::default()
        };
        Self { folder, config: Arc::new(config) }
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Writes a plan's file, with a time of change that no earlier one had.
    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        let path = self.folder.join(file);
        let newer = fs::metadata(&path).and_then(|m| m.modified()).ok().map(|t| t + std::time::Duration::from_secs(1));
        fs::write(&path, text).unwrap();
        if let Some(newer) = newer {
            fs::File::options().append(true).open(&path).unwrap().set_modified(newer).unwrap();
        }
    }

    /// The gateway starts, with a store of its own.
    async fn start(&self) -> Up {
        let begun = std::time::Instant::now();
        let store = loop {
            match SqliteStore::open(self.folder.join("ark.db")) {
                // A program that another test starts in this moment has the lock of the store before for as long as it begins.
                Err(StoreError::Locked { .. }) if begun.elapsed().as_secs() < 20 => tokio::task::yield_now().await,
                opened => break opened.unwrap(),
            }
        };
        self.start_on(Arc::new(store), false).await
    }

    /// The gateway starts; when the store is `shared`, others have it, too.
    async fn start_on(&self, store: Arc<dyn Store>, shared: bool) -> Up {
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new());
        let writer = Writer { tenant: Tenant::default(), gateway: "gw1".into() };
        let onward = Onward::Direct(Arc::clone(&bus));
        let spool = conversations::spool::Spool::open(self.folder.join("spool"), 1 << 20).unwrap();
        let (log, log_writer) = conversations::start(Arc::clone(&store), onward.clone(), writer.clone(), spool).await;
        let carried = bus.subscribe(Filter::default()).await.unwrap();
        let preparer = prompts::Preparer::new(&self.config);
        let mut plans = Plans::new(Arc::clone(&self.config), Arc::clone(&store), onward, log, writer, preparer);
        plans.shared = shared;
        let refused = plans.load_all().await;
        Up { plans: Arc::new(plans), store, log_writer, carried, refused }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

struct Up {
    plans: Arc<Plans>,
    store: Arc<dyn Store>,
    log_writer: conversations::LogWriter,
    carried: ark_bus::Subscription,
    refused: Vec<(String, Refusal)>,
}

impl Up {
    /// Name, live version and reason of each plan.
    fn state(&self) -> Vec<(String, Option<u32>, Option<String>)> {
        self.plans.state()
    }

    fn live(&self) -> Option<u32> {
        self.state()[0].1
    }

    fn reason(&self) -> String {
        self.state()[0].2.clone().unwrap_or_default()
    }

    /// The gateway stops; the types of the events of plans in the log.
    async fn stop(self) -> Vec<String> {
        let Self { plans, store, log_writer, carried, .. } = self;
        drop((plans, carried));
        log_writer.finish().await;
        let records = store.read(&Tenant::default(), ConversationId::SYSTEM, 0, 1_000).await.unwrap();
        records.iter().map(|r| r.event.type_name().to_owned()).collect()
    }
}

/// A WAV file of a square wave, at 8 kHz.
fn wav(ms: usize) -> Vec<u8> {
    let samples: Vec<u8> =
        (0..ms * 8).flat_map(|i| (if i / 10 % 2 == 0 { 8_000_i16 } else { -8_000 }).to_le_bytes()).collect();
    let size = u32::try_from(samples.len()).unwrap();
    let mut out = Vec::from(*b"RIFF");
    out.extend((36 + size).to_le_bytes());
    out.extend(*b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    out.extend(8_000_u32.to_le_bytes());
    out.extend(16_000_u32.to_le_bytes());
    out.extend(*b"\x02\0\x10\0data");
    out.extend(size.to_le_bytes());
    out.extend(samples);
    out
}

#[tokio::test]
async fn a_changed_file_goes_live_and_a_broken_one_does_not_and_says_why() {
    let rig = Rig::new("change", &["p.toml"]);
    rig.write("p.toml", plan("p", "Hello"));
    let mut up = rig.start().await;
    assert!(up.refused.is_empty(), "{:?}", up.refused);
    assert_eq!(up.state(), [("p".to_owned(), Some(1), None)]);
    assert_eq!(up.carried.try_next().unwrap().unwrap().event.type_name(), "ark.plan.published.v1");

    rig.write("p.toml", plan("p", "Good day"));
    up.plans.look_for_changes().await;
    assert_eq!(up.live(), Some(2));

    rig.write("p.toml", plan("p", "Good day").replace("on_timeout = \"person\"", "on_timeout = \"persn\""));
    up.plans.look_for_changes().await;
    assert_eq!(up.live(), Some(2));
    assert!(up.reason().contains("p.toml:13:14: E001"), "{}", up.reason());

    rig.write("p.toml", plan("p", "Good day").replace("expect = [\"queue:general\"]", "expect = [\"state:bye\"]"));
    up.plans.look_for_changes().await;
    assert!(up.reason().contains("E020"), "{}", up.reason());

    rig.write("p.toml", b"name = \"p\"\nx = \"\xc4\xfa\"");
    up.plans.look_for_changes().await;
    assert!(up.reason().contains("p.toml:2:6: E010 not UTF-8"), "{}", up.reason());

    rig.write("p.toml", plan("q", "Good day"));
    up.plans.look_for_changes().await;
    assert!(up.reason().contains("this is the plan `q`, not `p`"), "{}", up.reason());

    rig.write("p.toml", plan("p", "Good evening"));
    up.plans.look_for_changes().await;
    assert_eq!(up.state(), [("p".to_owned(), Some(3), None)]);
    let log = up.stop().await;
    assert_eq!(log.iter().filter(|t| *t == "ark.plan.published.v1").count(), 3, "{log:?}");
    assert_eq!(log.iter().filter(|t| *t == "ark.plan.refused.v1").count(), 4, "{log:?}");
}

#[tokio::test]
async fn a_file_that_is_away_for_a_moment_is_not_missed_and_one_that_is_gone_is_told_once() {
    let rig = Rig::new("gone", &["p.toml"]);
    rig.write("p.toml", plan("p", "Hello"));
    let up = rig.start().await;
    fs::remove_file(rig.file("p.toml")).unwrap();
    up.plans.look_for_changes().await;
    assert_eq!(up.reason(), "");
    for _ in 0..5 {
        up.plans.look_for_changes().await;
    }
    assert_eq!(up.live(), Some(1));
    assert!(up.reason().contains("the file is gone"), "{}", up.reason());
    rig.write("p.toml", plan("p", "Hello"));
    up.plans.look_for_changes().await;
    assert_eq!(up.state(), [("p".to_owned(), Some(1), None)]);
    let log = up.stop().await;
    assert_eq!(log, ["ark.plan.published.v1", "ark.plan.refused.v1"]);
}

#[tokio::test]
async fn a_rollback_lasts_over_a_restart_until_the_file_changes() {
    let rig = Rig::new("rollback", &["p.toml"]);
    rig.write("p.toml", plan("p", "Hello"));
    let up = rig.start().await;
    rig.write("p.toml", plan("p", "A mistake"));
    up.plans.look_for_changes().await;
    assert_eq!(up.live(), Some(2));
    up.plans.roll_back("p", None, "api").await.unwrap();
    assert_eq!(up.live(), Some(1));
    assert!(up.reason().contains("rollback to version 1 by api"), "{}", up.reason());
    up.plans.look_for_changes().await;
    assert_eq!(up.live(), Some(1), "the unchanged file stays where it is");
    up.stop().await;

    let up = rig.start().await;
    assert_eq!(up.live(), Some(1), "a restart does not undo a rollback");
    assert!(up.refused.is_empty() && up.reason().contains("unchanged since version 2"), "{}", up.reason());
    // An explicit publication of the file is a decision, too.
    up.plans.publish("p", None, "api").await.unwrap();
    assert_eq!(up.state(), [("p".to_owned(), Some(2), None)]);
    up.plans.roll_back("p", Some(1), "api").await.unwrap();
    up.stop().await;

    rig.write("p.toml", plan("p", "The mistake is mended"));
    let up = rig.start().await;
    assert_eq!(
        up.state(),
        [("p".to_owned(), Some(3), None)],
        "a file that changed while the gateway was down goes live"
    );
    assert!(matches!(up.plans.roll_back("p", Some(9), "api").await, Err(Refusal::NoVersion { version: 9, .. })));
    assert!(matches!(up.plans.roll_back("nobody", None, "api").await, Err(Refusal::Unknown(_))));
}

#[tokio::test]
async fn a_plan_is_brought_back_though_its_file_is_broken_or_away_and_has_another_name() {
    let rig = Rig::new("back", &["some-file.toml"]);
    rig.write("some-file.toml", plan("the-plan", "Hello"));
    rig.start().await.stop().await;

    rig.write("some-file.toml", plan("the-plan", "Hello") + "\n[[[");
    let up = rig.start().await;
    assert_eq!((up.state()[0].0.as_str(), up.live()), ("the-plan", Some(1)));
    assert!(matches!(up.refused.as_slice(), [(_, Refusal::Check { .. })]), "{:?}", up.refused);
    up.stop().await;

    fs::remove_file(rig.file("some-file.toml")).unwrap();
    let up = rig.start().await;
    assert_eq!((up.state()[0].0.as_str(), up.live()), ("the-plan", Some(1)));
    assert!(up.reason().contains("cannot be read"), "{}", up.reason());
    rig.write("some-file.toml", plan("the-plan", "Back again"));
    up.plans.look_for_changes().await;
    assert_eq!(up.state(), [("the-plan".to_owned(), Some(2), None)]);
}

#[tokio::test]
async fn a_plan_that_never_was_live_may_choose_its_name_when_it_is_mended() {
    let rig = Rig::new("first", &["file.toml"]);
    rig.write("file.toml", "nothing");
    let up = rig.start().await;
    assert_eq!(up.live(), None);
    rig.write("file.toml", plan("acme", "Hello"));
    up.plans.look_for_changes().await;
    assert_eq!(up.state(), [("acme".to_owned(), Some(1), None)]);
}

#[tokio::test]
async fn two_hotlines_share_a_plan_and_two_files_cannot_share_a_name() {
    let rig = Rig::new("two", &["a.toml", "a.toml", "b.toml"]);
    rig.write("a.toml", plan("same", "Hello"));
    rig.write("b.toml", plan("same", "Good day"));
    let up = rig.start().await;
    let hotlines: Vec<(String, u32)> = up.plans.hotlines().into_iter().map(|(n, h)| (n, h.live.version)).collect();
    assert_eq!(hotlines, [("95180".to_owned(), 1), ("95181".to_owned(), 1)]);
    let [(_, refusal)] = up.refused.as_slice() else { panic!("{:?}", up.refused) };
    assert!(refusal.to_string().contains("the plan `same` is already live from"), "{refusal}");
    rig.write("a.toml", plan("same", "Welcome"));
    up.plans.look_for_changes().await;
    let hotlines: Vec<(String, u32)> = up.plans.hotlines().into_iter().map(|(n, h)| (n, h.live.version)).collect();
    assert_eq!(hotlines, [("95180".to_owned(), 2), ("95181".to_owned(), 2)], "both get the new version");
    rig.write("b.toml", plan("other", "Good day"));
    up.plans.look_for_changes().await;
    assert_eq!(up.plans.hotlines().len(), 3);
}

/// Two gateways of one store, both with the same plan file.
async fn site(what: &str) -> (Rig, Rig, Up, Up) {
    let (one, two) = (Rig::new(&format!("{what}-1"), &["p.toml"]), Rig::new(&format!("{what}-2"), &["p.toml"]));
    one.write("p.toml", plan("p", "Hello"));
    two.write("p.toml", plan("p", "Hello"));
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(one.folder.join("ark.db")).unwrap());
    let a = one.start_on(Arc::clone(&store), true).await;
    let b = two.start_on(store, true).await;
    (one, two, a, b)
}

#[tokio::test]
async fn what_one_gateway_makes_live_becomes_live_at_the_others() {
    let (_one, two, a, b) = site("site").await;
    a.plans.publish("p", Some(plan("p", "Good day")), "api").await.unwrap();
    b.plans.follow().await;
    assert_eq!(b.state(), [("p".to_owned(), Some(2), None)]);
    b.plans.roll_back("p", None, "api").await.unwrap();
    a.plans.follow().await;
    assert_eq!(a.state(), [("p".to_owned(), Some(1), None)], "its file says so, too");

    let publish = |up: &Up, hello: &str| {
        let text = plan("p", hello);
        let plans = Arc::clone(&up.plans);
        async move { plans.publish("p", Some(text), "api").await.unwrap() }
    };
    for round in 0..5 {
        let (left, right) = (format!("Left {round}"), format!("Right {round}"));
        tokio::join!(publish(&a, &left), publish(&b, &right));
        a.plans.follow().await;
        b.plans.follow().await;
        let last = a.store.live_plan(&Tenant::default(), "p").await.unwrap().unwrap();
        assert_eq!((a.live(), b.live()), (Some(last.version), Some(last.version)), "the store's order is everybody's");
    }
    two.write("p.toml", plan("p", "From a file"));
    b.plans.look_for_changes().await;
    a.plans.follow().await;
    assert_eq!(a.live(), b.live());
    assert!(a.reason().contains("the file of a gateway published version"), "{}", a.reason());
}

#[tokio::test]
async fn a_gateway_that_cannot_make_a_version_live_stays_where_it_was_and_says_so_once() {
    let (one, two, a, b) = site("behind").await;
    let text = plan("p", "Hello").replace("person.\" }", "person.\", file = { en = \"cut.wav\" } }");
    one.write("cut.wav", wav(400));
    two.write("cut.wav", "no sound");
    a.plans.publish("p", Some(text), "api").await.unwrap();
    for _ in 0..3 {
        b.plans.follow().await;
    }
    assert_eq!((a.live(), b.live()), (Some(2), Some(1)));
    assert!(b.reason().starts_with("version 2 is live at the other gateways and cannot be here: "), "{}", b.reason());
    assert!(b.reason().contains("cut.wav"), "{}", b.reason());
    let views = b.plans.views(&BTreeMap::new()).await.unwrap();
    assert_eq!((views[0].live, views[0].refused.as_ref()), (Some(1), None));
    assert!(views[0].behind.is_some());

    two.write("cut.wav", wav(400));
    b.plans.lock()[0].behind.as_mut().unwrap().try_now();
    b.plans.follow().await;
    assert_eq!(b.state(), [("p".to_owned(), Some(2), None)]);
    drop(a);
    let log = b.stop().await;
    assert_eq!(log.iter().filter(|t| *t == "ark.plan.refused.v1").count(), 1, "{log:?}");
}

#[tokio::test]
async fn a_gateway_that_starts_with_an_old_file_does_not_take_the_others_back() {
    let (one, two, a, b) = site("stale").await;
    one.write("p.toml", plan("p", "Good day"));
    a.plans.look_for_changes().await;
    let store = Arc::clone(&b.store);
    drop(b);
    let b = two.start_on(store, true).await;
    assert_eq!((a.live(), b.live()), (Some(2), Some(2)));
    assert!(b.reason().contains("unchanged since version 1, after which the file of a gateway"), "{}", b.reason());
    // Copied once more, and not changed.
    two.write("p.toml", plan("p", "Hello"));
    b.plans.look_for_changes().await;
    assert_eq!(b.live(), Some(2));
    two.write("p.toml", plan("p", "Good day"));
    b.plans.look_for_changes().await;
    assert_eq!(b.state(), [("p".to_owned(), Some(2), None)]);
    two.write("p.toml", plan("p", "Hello"));
    b.plans.look_for_changes().await;
    a.plans.follow().await;
    assert_eq!((a.live(), b.live()), (Some(1), Some(1)), "a file that was changed back is a decision");
}

#[test]
fn a_name_is_found_in_what_is_no_plan_any_more() {
    assert_eq!(name_in("schema = \"x\"\n name = \"a-b\" # its name\n[[["), Some("a-b".to_owned()));
    assert_eq!(name_in("name = 'a'"), Some("a".to_owned()));
    assert_eq!(name_in("names = \"a\"\n[state]\nname = \"b\""), None);
    assert_eq!(name_in("name = 3\nname = "), None);
}
