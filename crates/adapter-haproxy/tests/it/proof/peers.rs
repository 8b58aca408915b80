//! Two HAProxies that tell each other of their rooms.

use std::path::Path;
use std::time::Instant;

use crate::haproxy::MINUTE;
use crate::reconcile::crowd::{Crowd, homes, moved, rooms};
use crate::reconcile::farm::Farm;
use crate::runtime::live::binaries;

const ALL: [usize; 3] = [1, 2, 3];

/// Waits until both know as many rooms.
async fn together(farms: &[Farm; 2], rooms: usize) {
    let end = Instant::now() + MINUTE;
    for farm in farms {
        let client = farm.client();
        loop {
            let tables = client.tables().await.unwrap();
            let used = tables.iter().find(|table| table.name == "rooms").map_or(0, |table| table.used);
            if used >= rooms as u64 {
                break;
            }
            assert!(Instant::now() < end, "{used} of {rooms} rooms are known");
        }
    }
}

/// Each is loaded anew in turn, and then started anew.
async fn run(binary: &Path, count: usize, reloads: usize) {
    let rooms = rooms(count);
    let mut farms = Farm::pair(binary, 3);
    let ports = [farms[0].place.port, farms[1].place.port];
    let gates = [farms[0].gate(), farms[1].gate()];
    for gate in &gates {
        gate.ready().await.unwrap();
    }
    let before = homes(ports[0], rooms.iter());
    together(&farms, count).await;
    let by_the_other = moved(&before, &homes(ports[1], rooms.iter().rev()));
    let (crowd, began) = (Crowd::come_by(&ports, &rooms), Instant::now());
    let mut restarts = 0;
    for n in 0..reloads {
        for (at, gate) in gates.iter().enumerate() {
            crowd.wait(40);
            let text = format!("{}# {n}\n", farms[at].text(&ALL));
            gate.reload(&text).await.unwrap_or_else(|e| panic!("{e}"));
            if n == reloads / 2 {
                gate.save().await.unwrap();
                tokio::task::block_in_place(|| farms[at].restart());
                restarts += 1;
            }
        }
    }
    crowd.wait(200);
    let (took, met) = (began.elapsed(), crowd.go());
    let after = ports.map(|port| moved(&before, &homes(port, rooms.iter().rev())));
    println!(
        "{}: two HAProxies, {reloads} reloads of each and {restarts} restarts in {took:.1?} under {} requests of {} \
         rooms by both: {} requests failed, {} rooms on two servers, {} moved",
        farms[0].version,
        met.asked,
        rooms.len(),
        met.failed,
        met.split(),
        by_the_other + after[0] + after[1],
    );
    assert_eq!((met.failed, met.split(), by_the_other, after), (0, 0, 0, [0, 0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_are_loaded_anew_in_turn_and_no_room_moves() {
    for binary in binaries() {
        run(&binary, 200, 6).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo xtask soak reload"]
async fn long_peers() {
    for binary in binaries() {
        run(&binary, 1000, 50).await;
    }
}
