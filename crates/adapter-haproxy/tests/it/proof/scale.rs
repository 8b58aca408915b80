//! Servers that come and go under load.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use adapter_haproxy::reconcile::{ApplyOptions, Plan, Wanted, plan};
use adapter_haproxy::runtime::{AdminState, Client, ServerName};

use crate::reconcile::crowd::{Crowd, home, homes, rooms};
use crate::reconcile::farm::Farm;
use crate::runtime::live::binaries;

async fn reconcile(client: &Client, wanted: &Wanted, held: &mut BTreeSet<ServerName>) {
    let running = client.running(wanted).await.unwrap().with_held(held.iter().cloned());
    let Plan::Commands(commands) = plan(wanted, &running).unwrap() else { panic!("a reload is planned") };
    client.apply(&commands, ApplyOptions::default()).await.unwrap_or_else(|e| panic!("{e}"));
    held.clone_from(commands.held());
}

/// 3, 5 and 2 servers. Those that go are drained until their rooms have ended.
async fn run(binary: &Path, count: usize, load: u64) {
    let farm = Farm::start(binary, 5, 3);
    let (client, port, began) = (farm.client(), farm.place.port, Instant::now());
    let mut held = BTreeSet::new();
    let first = rooms(count);
    homes(port, first.iter());
    let crowd = Crowd::come(port, &first);
    crowd.wait(load);
    reconcile(&client, &farm.wanted(&[1, 2, 3, 4, 5], &[]), &mut held).await;
    let later: Vec<String> = (0..count).map(|n| format!("later{n}")).collect();
    let at_five = homes(port, later.iter());
    let used: BTreeSet<&String> = at_five.values().collect();
    assert_eq!(used.len(), 5, "new servers take rooms: {used:?}");
    let more = Crowd::come(port, &later);
    more.wait(load);

    let leaving = ["mm2", "mm3", "mm4"];
    let drained = leaving
        .iter()
        .fold(farm.wanted(&[1, 2, 3, 4, 5], &[]), |wanted, server| wanted.with_state(server, AdminState::Drain));
    reconcile(&client, &drained, &mut held).await;
    more.wait(load);
    crowd.wait(load);
    // What is new goes to those that stay.
    let newest: Vec<String> = (0..count).map(|n| format!("newest{n}")).collect();
    let at_two = homes(port, newest.iter());
    assert!(at_two.values().all(|server| ["mm1", "mm5"].contains(&&**server)), "{at_two:?}");
    let stays = Crowd::come(port, &newest);
    stays.wait(load);
    // The rooms of before end.
    let (old, five) = (crowd.go(), more.go());
    reconcile(&client, &farm.wanted(&[1, 5], &[]), &mut held).await;
    stays.wait(load);
    let two = stays.go();
    let servers = client.servers_state(Some("rooms")).await.unwrap().len();
    let met = [&old, &five, &two];
    println!(
        "{}: 3, 5 and {servers} servers in {:.1?} under {} requests of {} rooms: {} requests failed, {} rooms moved \
         while in use",
        farm.version,
        began.elapsed(),
        met.iter().map(|met| met.asked).sum::<u64>(),
        3 * count,
        met.iter().map(|met| met.failed).sum::<u64>(),
        met.iter().map(|met| met.split()).sum::<usize>(),
    );
    assert!(servers == 2 && held.is_empty() && home(port, "room0").is_some());
    assert!(met.iter().all(|met| (met.failed, met.split()) == (0, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_come_and_go_and_no_room_moves() {
    for binary in binaries() {
        run(&binary, 100, 300).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: cargo xtask soak reload"]
async fn long_scale() {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        for binary in binaries() {
            run(&binary, 300, 3000).await;
        }
    }
}
