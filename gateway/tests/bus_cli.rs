//! `ark bus`, as it is typed, on a real RabbitMQ.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use ark_bus::{Bus, RabbitBus, RabbitConfig, Shard, WakeUp, kit};
use ark_conversation::{ConversationId, Tenant};
use ark_store::{SqliteStore, Store};
use serde_json::Value;

/// How long a broker may take to answer on a busy machine.
const READY: Duration = Duration::from_secs(120);

fn site(name: &str, bus: Option<&str>) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bus_cli").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let bus = bus.map_or_else(String::new, |url| format!("[bus]\nurl = \"{url}\"\n"));
    std::fs::write(folder.join("ark.toml"), bus).unwrap();
    folder
}

async fn ark(site: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ark"));
    command.args(arguments).current_dir(site).env_remove("ARK_LOG");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Runs it, and expects this exit code; what it printed on both.
async fn expect(code: i32, site: &Path, arguments: &[&str]) -> String {
    let output = ark(site, arguments).await;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "ark {arguments:?}:\n{said}");
    said
}

async fn json(code: i32, site: &Path, arguments: &[&str]) -> Value {
    let output = ark(site, arguments).await;
    assert_eq!(output.status.code(), Some(code), "ark {arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The bus of a gateway of that site.
async fn gateway(url: &str, store: &SqliteStore) -> RabbitBus {
    RabbitBus::open(&RabbitConfig::new(url, "gw1", store.store_id()).unwrap(), READY).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_bus_is_said_to_be_one() {
    let site = site("embedded", None);
    let said = expect(2, &site, &["bus", "status"]).await;
    assert!(said.contains("lives inside the gateway") && said.contains("docs/bus.md"), "{said}");
    for arguments in [&["bus", "dead"][..], &["bus", "replay", "--all"]] {
        // A gateway is asked for these, and none has been here.
        let said = expect(2, &site, arguments).await;
        assert!(said.contains("the gateway's token cannot be read") && said.contains("ark serve"), "{said}");
    }
    let plan = expect(0, &site, &["bus", "plan"]).await;
    assert!(plan.contains("topology 1 with 64 shards") && plan.contains("no broker is used"), "{plan}");
    expect(2, &site, &["bus", "replay"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_the_broker_its_dead_letters_and_the_plan() {
    let Some(rabbit) = kit::rabbit("an_operator_sees_the_broker_its_dead_letters_and_the_plan") else { return };
    let _turn = rabbit.shared().await;
    let url = rabbit.url();
    let site = site("broker", Some(&url));
    let missing = expect(2, &site, &["bus", "status"]).await;
    assert!(missing.contains("there is no store here"), "{missing}");
    let store = SqliteStore::open(site.join("data/ark.db")).unwrap();

    let plan = expect(0, &site, &["bus", "plan"]).await;
    assert!(plan.contains("serves no store yet") && plan.contains(" missing (bindings"), "{plan}");
    assert!(expect(1, &site, &["bus", "status"]).await.contains("start a gateway to declare it"), "nothing stands");
    let bus = gateway(&url, &store).await;
    let plan = expect(0, &site, &["bus", "plan"]).await;
    assert!(plan.contains(&format!("serves store {}", store.store_id())) && plan.contains(" the same (bind"), "{plan}");
    let said = expect(0, &site, &["bus", "status"]).await;
    assert!(said.contains(": connected") && said.contains("and 64 empty shards, 0 of them"), "{said}");
    assert!(!said.contains("guest:guest"), "no password");

    // A wake-up that its reader parks.
    let conversation = ConversationId::new(7, 7);
    let wake_up = WakeUp {
        tenant: Tenant::MAIN,
        conversation,
        source: "/ark/main/test/a/b".to_owned(),
        id: "poison-1".to_owned(),
        event: None,
    };
    let mut ingress = bus.ingress((0..64).map(Shard).collect()).unwrap();
    bus.wake(wake_up.clone()).unwrap().await.unwrap();
    let delivery = tokio::time::timeout(READY, ingress.next()).await.unwrap().unwrap();
    assert!(delivery.park().await);
    let letters = kit::eventually("it lies among the dead", READY, async || {
        let letters = json(0, &site, &["bus", "dead", "--json"]).await;
        (letters.as_array().unwrap().len() == 1).then_some(letters)
    })
    .await;
    assert_eq!((&letters[0]["id"], &letters[0]["reason"]), (&"poison-1".into(), &"rejected".into()));
    let said = expect(0, &site, &["bus", "dead"]).await;
    assert!(said.contains("poison-1") && said.contains(&conversation.to_string()) && said.contains(" s "), "{said}");
    let said = expect(1, &site, &["bus", "status"]).await;
    assert!(said.contains("ALARM  messages were given up"), "{said}");
    assert!(expect(1, &site, &["bus", "replay", "nobody"]).await.contains("no given-up message has the id `nobody`"));
    assert!(expect(0, &site, &["bus", "replay", "poison-1"]).await.contains("1 sent back"));
    let again = tokio::time::timeout(READY, ingress.next()).await.unwrap().unwrap();
    assert_eq!(again.wake_up.id, wake_up.id);
    assert!(again.ack().await);
    assert!(expect(0, &site, &["bus", "dead"]).await.contains("nothing was given up"));

    // Another site must not use this broker.
    let other = self::site("other", Some(&url));
    drop(SqliteStore::open(other.join("data/ark.db")).unwrap());
    let said = expect(1, &other, &["bus", "plan"]).await;
    assert!(said.contains("CONFLICT  this broker carries the log of store"), "{said}");
    assert_eq!(json(1, &other, &["bus", "plan", "--json"]).await["conflicts"], true);
    let wrong = self::site("wrong", Some(&url.replace("guest:guest", "guest:wrong")));
    drop(SqliteStore::open(wrong.join("data/ark.db")).unwrap());
    let said = expect(2, &wrong, &["bus", "status"]).await;
    assert!(said.contains("refuses user 'guest'") && !said.contains("guest:wrong"), "{said}");
}
