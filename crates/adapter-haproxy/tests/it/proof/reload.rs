//! Reloads and restarts under load.

use std::path::Path;
use std::time::Instant;

use adapter_haproxy::reconcile::{ApplyOptions, Plan, plan};
use adapter_haproxy::runtime::{AdminState, Client, Command};

use crate::haproxy::MINUTE;
use crate::reconcile::crowd::{Crowd, homes, moved, rooms};
use crate::reconcile::farm::{Farm, name};
use crate::runtime::live::binaries;

/// How much of it.
#[derive(Clone, Copy, Debug)]
struct Round {
    rooms: usize,
    reloads: usize,
    restarts: usize,
}

const SHORT: Round = Round { rooms: 200, reloads: 8, restarts: 1 };
const LONG: Round = Round { rooms: 1000, reloads: 100, restarts: 3 };
const ALL: [usize; 4] = [1, 2, 3, 4];

/// What was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lost {
    requests: u64,
    /// Rooms that were on more than one server, or are elsewhere than at the beginning.
    rooms: usize,
    /// Whether a server takes work that an operator has put in maintenance.
    maintenance: bool,
}

/// Takes the pins of the last reload away, so that the tables alone know the rooms.
async fn unpin(client: &Client, farm: &Farm) {
    client.renew().await;
    let wanted = farm.wanted(&ALL, &[]);
    let Plan::Commands(commands) = plan(&wanted, &client.running(&wanted).await.unwrap()).unwrap() else {
        panic!("a reload is planned")
    };
    client.apply(&commands, ApplyOptions::default()).await.unwrap();
    client.renew().await;
}

async fn run(binary: &Path, round: Round, gated: bool) -> Lost {
    let rooms = rooms(round.rooms);
    let mut farm = Farm::start(binary, 4, 4);
    let (port, client) = (farm.place.port, farm.client());
    let operated = name("rooms/mm4");
    client.order(&Command::set_state(&operated, AdminState::Maint)).await.unwrap();
    let before = homes(port, rooms.iter());
    let gate = farm.gate();
    if gated {
        gate.ready().await.unwrap();
    }
    let (crowd, began, mut old) = (Crowd::come(port, &rooms), Instant::now(), 0);
    let mut restarts = 0;
    for n in 0..round.reloads {
        crowd.wait(40);
        if restarts < round.restarts && n == (restarts + 1) * round.reloads / (round.restarts + 1) {
            restarts += 1;
            if gated {
                gate.save().await.unwrap();
            }
            // A connection of ours would keep the old process.
            client.renew().await;
            tokio::task::block_in_place(|| farm.restart());
        }
        let report = if gated {
            let done = gate.reload(&format!("{}# {n}\n", farm.text(&ALL))).await.unwrap_or_else(|e| panic!("{e}"));
            if n % 4 == 3 {
                gate.ready().await.unwrap();
                unpin(&client, &farm).await;
            }
            done.report
        } else {
            farm.master().reload(MINUTE).await.unwrap()
        };
        assert!(report.success);
        old = old.max(report.old);
    }
    crowd.wait(200);
    let took = began.elapsed();
    let met = crowd.go();
    // In another order, so that a table lost would show.
    let after = homes(port, rooms.iter().rev());
    let split: Vec<&String> = met.servers.iter().filter(|(_, on)| on.len() > 1).map(|(room, _)| room).collect();
    let elsewhere = before.iter().filter(|(room, on)| after.get(*room) != Some(on) && !split.contains(room)).count();
    client.renew().await;
    let maintenance = client.server_state(&operated).await.unwrap().unwrap().is_maintenance();
    println!(
        "{}, {} the gate: {} reloads and {restarts} restarts in {took:.1?} under {} requests of {} rooms: {} requests \
         failed, {} rooms moved ({} at the end), an operator's maintenance {}, at most {old} old workers",
        farm.version,
        if gated { "with" } else { "without" },
        round.reloads,
        met.asked,
        rooms.len(),
        met.failed,
        split.len() + elsewhere,
        moved(&before, &after),
        if maintenance { "kept" } else { "lost" },
    );
    Lost { requests: met.failed, rooms: split.len() + elsewhere, maintenance: !maintenance }
}

async fn both(round: Round) {
    for binary in binaries() {
        assert_eq!(run(&binary, round, true).await, Lost { requests: 0, rooms: 0, maintenance: false });
        // On a slow host the first process may have its tables together before the first reload.
        let mut tries = 0;
        loop {
            let lost = run(&binary, round, false).await;
            assert!(lost.maintenance, "the gate is of no use: {lost:?}");
            if lost.rooms > round.rooms / 4 {
                break;
            }
            tries += 1;
            assert!(tries < 10, "the gate is of no use: {lost:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_and_a_restart_lose_nothing() {
    both(SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo xtask soak reload"]
async fn long_reloads() {
    both(LONG).await;
}
