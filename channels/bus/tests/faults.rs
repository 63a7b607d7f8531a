//! The whole fault plan against RabbitMQ: minutes. `make faults` runs it; `rabbitmq.rs` has the short part.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]
#![allow(dead_code, reason = "the short part uses less")]

mod common;
mod crash;

use ark_bus::kit::{self, Cluster, Rabbit};
use common::faults;

/// One fault at a time: each has the broker alone.
macro_rules! faults {
    ($($name:ident: $call:expr;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let Some(rabbit) = kit::rabbit(stringify!($name)) else { return };
            let _turn = rabbit.alone().await;
            let call: fn(&'static Rabbit) -> _ = $call;
            call(rabbit).await;
        })+
    };
}

faults! {
    f01_broker_killed: |rabbit| faults::f01_broker_killed(rabbit, 20_000);
    f01_broker_killed_with_a_backlog: |rabbit| faults::f01_broker_killed_with_a_backlog(rabbit, 10_000);
    f02_broker_stands_still_5_s: |rabbit| faults::f02_broker_stands_still(rabbit, 5);
    f02_broker_stands_still_30_s: |rabbit| faults::f02_broker_stands_still(rabbit, 30);
    f05_memory_alarm: |rabbit| faults::f05_f06_alarm(
        rabbit,
        &["set_vm_memory_high_watermark", "absolute", "1MB"],
        &["set_vm_memory_high_watermark", "absolute", "1GB"],
        "F5 memory alarm",
    );
    f06_disk_alarm: |rabbit| faults::f05_f06_alarm(
        rabbit,
        &["set_disk_free_limit", "999GB"],
        &["set_disk_free_limit", "200MB"],
        "F6 disk alarm",
    );
    f07_stuck_reader: |rabbit| faults::f07_stuck_reader(rabbit);
    f08_duplicates: |rabbit| faults::f08_duplicates(rabbit);
    f09_poison: |rabbit| f09(rabbit);
    f12_closed: |rabbit| faults::f12_closed(rabbit);
    f13_refusals: |rabbit| faults::f13_refusals(rabbit);
    f14_routing_outlives_a_restart: |rabbit| faults::f14_routing_outlives_a_restart(rabbit, 2_000);
}

async fn f09(rabbit: &'static Rabbit) {
    let began = std::time::Instant::now();
    let (a, b) = common::two(rabbit).await;
    ark_bus::contract::poison_is_parked_visibly_and_can_be_sent_again(&*a, &*b).await;
    common::say("F9 poison message", "parked after the limit, seen, sent again; others flowed", began);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f03_f04_cluster() {
    let Some(mut cluster) = tokio::task::block_in_place(|| Cluster::start("f03_f04_cluster")) else { return };
    faults::f03_leader_killed(&mut cluster).await;
    faults::f04_client_cut_off(&cluster).await;
    faults::f04_partition(&mut cluster, 10_000).await;
}

/// F11 at every moment, on both stores.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f11_gateway_killed() {
    let Some(rabbit) = kit::rabbit("f11_gateway_killed") else { return };
    let _turn = rabbit.alone().await;
    let folder = tempfile::tempdir().unwrap();
    let place = format!("sqlite:{}", folder.path().join("ark.db").display());
    crash::f11_gateway_killed(rabbit, &place, "SQLite", 10_000, &[0, 1, 2, 3]).await;
    let postgres = tokio::task::block_in_place(|| ark_store::kit::postgres("f11_gateway_killed with PostgreSQL"));
    let Some(server) = postgres else { return };
    crash::f11_gateway_killed(rabbit, &server.url(), "PostgreSQL", 10_000, &[0, 1, 2, 3]).await;
}
