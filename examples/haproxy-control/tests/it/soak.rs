//! Servers, HAProxys, controllers and Redis fail in turn, while people are in their rooms.
//!
//! Two HAProxys that share nothing, two controllers on one real Redis, four room servers. Who is in which room is told by
//! the room servers themselves. HAProxy never sends anybody elsewhere because one connection failed. While Redis is stopped
//! pins hold, so that nobody at all moves a room.

mod ledger;
mod people;
mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use adapter_haproxy::testing::Visitor;

use people::{Crowd, target};
use world::World;

/// How large, and how long.
struct Scale {
    rooms: usize,
    /// How often each of two people of a room asks for it again.
    polls: Duration,
    minute: Duration,
    pause: Duration,
    /// How many checks must succeed until HAProxy gives people to a server that is back.
    rise: u16,
    /// How long everybody is watched after each failure.
    calm: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn short() {
    let (minute, pause) = (Duration::from_secs(2), Duration::from_secs(2));
    // Rooms have six seconds to move before people are given to a server that is back, whoever stands still meanwhile.
    let (rise, calm) = (40, Duration::from_millis(300));
    let Some(binary) = crate::haproxy() else { return };
    run(&binary, Scale { rooms: 100, polls: Duration::from_secs(1), minute, pause, rise, calm }).await;
}

#[ignore = "takes three minutes: `cargo xtask soak control`"]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn long() {
    let (minute, pause) = (Duration::from_secs(60), Duration::from_secs(10));
    let (rise, calm) = (30, Duration::from_secs(5));
    let Some(binary) = crate::haproxy() else { return };
    run(&binary, Scale { rooms: 1000, polls: Duration::from_secs(5), minute, pause, rise, calm }).await;
}

async fn run(binary: &Path, scale: Scale) {
    let Some(mut world) = World::start(binary, scale.rise).await else { return };
    let mut crowd = Crowd::come(&world, scale.rooms, scale.polls);
    crowd.all_in(&world, "all have come").await;
    world.pinned(scale.rooms).await;
    let began = Instant::now();
    let told = |what: &str| println!("{:>6.1} s  {what}", began.elapsed().as_secs_f64());
    told(&format!("{} rooms with two people each are pinned in both HAProxys", scale.rooms));

    let moved = die(&mut world, &crowd, 0, Some(Duration::from_secs(1)), &scale).await;
    told(&format!("mm1 was dead for a second: {moved}"));
    let moved = die(&mut world, &crowd, 1, Some(scale.minute), &scale).await;
    told(&format!("mm2 was dead for {:?}: {moved}", scale.minute));

    for n in [0, 1] {
        restart(&mut world, &crowd, n, false, scale.calm).await;
        world.pinned(scale.rooms).await;
    }
    told("each HAProxy was killed and started anew");

    // With one controller a server dies for good.
    world.kill_controller(0);
    let moved = die(&mut world, &crowd, 2, None, &scale).await;
    world.start_controller(0);
    world.pinned(scale.rooms).await;
    told(&format!("one controller was killed, mm3 for good: {moved}"));
    world.kill_controller(1);
    tokio::time::sleep(scale.calm).await;
    world.start_controller(1);
    world.pinned(scale.rooms).await;
    told("the other controller was killed");

    for n in [0, 1] {
        restart(&mut world, &crowd, n, true, scale.calm).await;
        world.pinned(scale.rooms).await;
    }
    world.redis.signal("STOP");
    let paused = Instant::now();
    // Nobody is there to be asked: its rooms wait for it.
    let moved = die(&mut world, &crowd, 0, Some(Duration::from_secs(1)), &scale).await;
    world.store_up(false).await;
    // A HAProxy that starts anew meanwhile gets what is known.
    restart(&mut world, &crowd, 1, true, Duration::ZERO).await;
    tokio::time::sleep(scale.pause.saturating_sub(paused.elapsed())).await;
    world.redis.signal("CONT");
    world.store_up(true).await;
    world.pinned(scale.rooms).await;
    tokio::time::sleep(scale.calm).await;
    let took = paused.elapsed().as_secs_f64();
    told(&format!("Redis was stopped for {took:.1} s, a HAProxy killed meanwhile, and mm1 for a second: {moved}"));

    // So far nobody was split; now some are.
    let found = world.splits();
    assert!(found.is_empty(), "{found:?}");
    let totals = crowd.end().await;
    let rooms: Vec<String> = (0..3).map(people::room).collect();
    let mut strays = Vec::new();
    for room in &rooms {
        let home = totals.homes[room].as_str();
        let other = world.servers.iter().find(|server| server.is_alive() && server.name() != home).unwrap();
        strays.push(Visitor::join(other.address(), &target(room, 9)).await.unwrap());
    }
    let found = world.splits();
    assert_eq!(found, rooms, "what was split on purpose is found, and nothing else");
    drop(strays);
    println!(
        "{}: {} rooms, {} people, {} requests, {} looks at all room servers; {} rooms moved once with their server, {} \
         twice, {} more often; {} failed while their server or HAProxy was dead, {} otherwise; {} rooms moved or split \
         without need; {} split on purpose were found",
        binary.display(),
        scale.rooms,
        scale.rooms * 2,
        totals.requests,
        totals.looks,
        totals.moved[1],
        totals.moved[2],
        totals.moved[3],
        totals.excused,
        totals.failed,
        totals.split,
        found.len(),
    );
    assert_eq!((totals.failed, totals.split), (0, 0), "{:#?}", totals.words);
}

/// A HAProxy is killed, and started with pins that hold or not.
async fn restart(world: &mut World, crowd: &Crowd, n: usize, hold: bool, after: Duration) {
    crowd.ledger().gone(world::HAPROXIES[n]);
    world.kill_haproxy(n);
    tokio::time::sleep(after).await;
    world.start_haproxy(n, hold);
    crowd.ledger().back(world::HAPROXIES[n]);
    crowd.all_in(world, "all are back").await;
}

/// A server dies; how its rooms moved, in words. After a moment all of them have, or none.
async fn die(world: &mut World, crowd: &Crowd, server: usize, back: Option<Duration>, scale: &Scale) -> String {
    let died = Instant::now();
    let name = world.servers[server].name().to_owned();
    let theirs = {
        let mut ledger = crowd.ledger();
        world.servers[server].die();
        ledger.gone(&name)
    };
    assert!(theirs.len() > 5, "{name} has {} rooms", theirs.len());
    let brief = back.is_some_and(|back| back <= Duration::from_secs(1));
    if !brief {
        let all = || crowd.ledger().left(&theirs, &name) == theirs.len();
        world::until("its rooms have moved", all).await;
    }
    if let Some(back) = back {
        tokio::time::sleep(back.saturating_sub(died.elapsed())).await;
        world.servers[server].revive().await.unwrap();
        crowd.ledger().back(&name);
        world.verdict(&name, "up").await;
    }
    crowd.all_in(world, "all are in their rooms").await;
    world.pinned(scale.rooms).await;
    tokio::time::sleep(scale.calm).await;
    // Who is in a room may not have told of it yet.
    let whole = || [theirs.len(), if brief { 0 } else { theirs.len() }].contains(&crowd.ledger().left(&theirs, &name));
    world::until("all of its rooms have moved, or none", whole).await;
    let left = crowd.ledger().left(&theirs, &name);
    let within = crowd.ledger().within(&theirs, died);
    format!("{left} of its {} rooms moved, the last within {} ms", theirs.len(), within.as_millis())
}
