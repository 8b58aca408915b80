//! Everything goes wrong at once, and a model beside it says what must hold all the same.
//!
//! Two `serve` processes share one real Redis and eight servers, each a process. Twenty requests at once ask for one
//! meeting (creates, joins, isMeetingRunning, getMeetingInfo, and in one turn of seven ends), several meetings at a
//! time. Meanwhile servers are killed, stopped, revived, hang, are slow, cut their answers, answer creates too late, are
//! cordoned, removed and added again (two of the servers are only ever cordoned, so that what was acknowledged there
//! must last the whole run); balancers are killed and started again; Redis is restarted, killed, stopped and paused. Redis writes each command to its file before it answers (`appendonly yes`, `appendfsync always`), so that it
//! forgets nothing that was acknowledged; with less than that it may lose the writes of its last second.
//!
//! What must hold after each hundred requests, of every meeting nobody asks for at that moment:
//!
//! - **In step.** Every member of the sets `servers` and `meetings` has its hash and the reverse, every meeting its
//!   number and the reverse, loads stand in the set of their state, and no key is left of a removed server. Looked at
//!   by one script, hence at one moment.
//! - **Nothing acknowledged is lost.** A meeting whose create was answered with success, and whose server was not
//!   disturbed since some seconds ([`world::Times::margin`]) before that create, is bound to that server, is listed there, and joins lead there. A server
//!   counts as disturbed while it is killed, stopped, misbehaves or is removed; being cordoned, and whatever happens to
//!   Redis or a balancer, excuses nothing.
//! - **One way.** A join through either balancer leads to the same server.
//! - **No second copy.** A copy of a meeting on an undisturbed server that is not its home is a *stray*: left there by
//!   a create or an end that was under way when the server, Redis or a balancer failed. Nobody is in it (joins are not
//!   followed to the servers here), hence the balancer finds it by a poll and ends it;
//!   it may be seen for [`world::Times::stray_limit`] after the last disturbance of that server and of Redis and the last
//!   request about it, no longer.
//! - **Every callback arrives.** Statistics that a server told a balancer, and that were acknowledged, arrive at least
//!   once at the front-end that the meeting's create named, which refuses one in five when it comes first. Looked
//!   at when all is over.
//!
//! At the end everything heals, and then, without exception: all servers are online for both balancers, no copy is
//! astray, a create of every acknowledged meeting succeeds, joins through both balancers lead to the one server that
//! lists it, and to the same as before where that one was not disturbed, without having been made anew.
//!
//! `cargo xtask soak` runs the long form; `SOAK_SECONDS` and `SOAK_SEED` are its length and its chance. The seed gives
//! the same orders again; which request meets which fault depends on the machine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

mod callbacks;
mod check;
pub(crate) mod fakes;
mod faults;
mod http;
mod model;
mod scalelite;
mod servers;
mod turn;
mod world;

use model::{Chance, Model};
use turn::Queue;
use world::{Times, World};

/// How long, how many, by which chance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    seconds: u64,
    seed: u64,
    meetings: usize,
    servers: usize,
    lanes: usize,
    times: Times,
}

/// A run: what is tested, and what is known of it.
#[derive(Debug)]
pub(crate) struct Soak {
    plan: Plan,
    world: World,
    model: Model,
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|v| v.parse().unwrap_or_else(|_| panic!("{name}={v} is not a number")))
}

fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let fresh = || std::hash::RandomState::new().build_hasher().finish() % 1_000_000;
    setting("SOAK_SEED").unwrap_or_else(fresh)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_while_everything_fails() {
    run(Plan { seconds: 8, seed: seed(), meetings: 100, servers: 6, lanes: 4, times: Times::PATIENT }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "five minutes: cargo xtask soak"]
async fn long_soak() {
    let seconds = setting("SOAK_SECONDS").unwrap_or(300);
    run(Plan { seconds, seed: seed(), meetings: 1_000, servers: 8, lanes: 6, times: Times::SHORT }).await;
}

async fn run(plan: Plan) {
    println!("\nsoak: {plan:?}");
    let folder = std::env::temp_dir().join(format!("bbb-balancer-soak-{}-{}", std::process::id(), plan.seed));
    let Some(world) = World::start(plan.servers, plan.times, &folder).await else { return };
    let soak = Arc::new(Soak { plan, world, model: Model::new(plan.meetings) });
    let mut chance = Chance::new(plan.seed);
    let end = Instant::now() + Duration::from_secs(plan.seconds);
    let (due, mut checks) = tokio::sync::mpsc::unbounded_channel();
    let queue = Arc::new(Queue::new(due));
    let stride = if plan.meetings.is_multiple_of(7) { 11 } else { 7 };
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..plan.lanes {
        lanes.spawn(turn::lane(soak.clone(), queue.clone(), Chance::new(chance.next()), stride));
    }
    let director = tokio::spawn(faults::direct(soak.clone(), Chance::new(chance.next()), end));
    let checker = {
        let (soak, ahead, mut chance) = (soak.clone(), queue.ahead.clone(), Chance::new(chance.next()));
        tokio::spawn(async move {
            while checks.recv().await.is_some() {
                let sample = [0; 5].map(|_| chance.below(1 << 20));
                soak.check(&sample).await;
                ahead.add_permits(1);
            }
        })
    };
    let mut every = tokio::time::interval(Duration::from_secs(10));
    every.tick().await;
    while Instant::now() < end && soak.model.violations() < 20 {
        tokio::select! {
            _ = every.tick() => progress(&soak, &queue),
            () = tokio::time::sleep_until(end.into()) => {}
        }
    }
    director.await.unwrap();
    let asked = queue.requests.load(Ordering::Relaxed);
    let loaded = soak.model.began.elapsed();
    println!(
        "soak: all faults are over after {loaded:?}; {:.0} requests a second",
        asked as f64 / loaded.as_secs_f64()
    );
    queue.stop.store(true, Ordering::Relaxed);
    while let Some(done) = lanes.join_next().await {
        done.unwrap();
    }
    drop(queue);
    checker.await.unwrap();
    println!("soak: all requests are answered after {:?}", soak.model.began.elapsed());
    soak.settle().await;
    println!("soak: settled after {:?}", soak.model.began.elapsed());
    soak.last_word().await;
    callbacks::all_arrive(&soak).await;

    let violations = soak.model.violations();
    println!(
        "soak: seed {}, {:?}\n{}  violations         {violations}",
        plan.seed,
        soak.model.began.elapsed(),
        soak.model.table()
    );
    assert_eq!(violations, 0, "seed {}; the balancers' logs are in {}", plan.seed, soak.world.folder.display());
    let _ = std::fs::remove_dir_all(&soak.world.folder);
}

fn progress(soak: &Soak, queue: &Queue) {
    println!(
        "soak: {:4.0} s, {} requests, {} faults, {} checks, {} strays seen, {} violations (seed {})",
        soak.model.began.elapsed().as_secs_f64(),
        queue.requests.load(Ordering::Relaxed),
        soak.model.counted("faults"),
        soak.model.counted("checks"),
        soak.model.counted("strays"),
        soak.model.violations(),
        soak.plan.seed,
    );
}
