//! What goes wrong meanwhile, by a dealt deck, so that every kind comes up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::Soak;
use super::fakes::{Fakes, signal};
use super::model::Chance;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    ServerKilled,
    ServerStopped,
    ServerHangs,
    ServerSlow,
    ServerCuts,
    CreatesCut,
    CreatesLate,
    ServerCordoned,
    ServerRemoved,
    BalancerKilled,
    RedisRestarted,
    RedisKilled,
    RedisStopped,
    RedisPaused,
}

use Fault::{
    BalancerKilled, CreatesCut, CreatesLate, RedisKilled, RedisPaused, RedisRestarted, RedisStopped, ServerCordoned,
    ServerCuts, ServerHangs, ServerKilled, ServerRemoved, ServerSlow, ServerStopped,
};

const DECK: [Fault; 18] = [
    ServerKilled,
    ServerKilled,
    ServerStopped,
    ServerStopped,
    ServerHangs,
    ServerHangs,
    ServerSlow,
    ServerCuts,
    CreatesCut,
    CreatesLate,
    ServerCordoned,
    ServerRemoved,
    BalancerKilled,
    BalancerKilled,
    RedisRestarted,
    RedisKilled,
    RedisStopped,
    RedisPaused,
];

/// Servers that are disturbed at once, at most.
const SERVERS: usize = 3;
/// Servers that never are, except that they are cordoned: what is acknowledged there must last the whole run.
const STEADY: usize = 2;

/// Makes things go wrong until `end`, then waits until everything is whole again.
pub(super) async fn direct(soak: Arc<Soak>, mut chance: Chance, end: Instant) {
    let short = soak.plan.seconds < 60;
    let (from, to) = if short { (200, 1_200) } else { (300, 4_500) };
    let pause = if short { (50, 250) } else { (100, 700) };
    let ms = Duration::from_millis;
    let mut deck: Vec<Fault> = Vec::new();
    let mut running = JoinSet::new();
    // What is disturbed now: servers by number, then the balancers, then Redis.
    let mut taken: Vec<usize> = Vec::new();
    let balancers = soak.world.servers.len();
    let redis = balancers + 1;
    while Instant::now() < end {
        while let Some(done) = running.try_join_next() {
            let free: usize = done.unwrap();
            taken.retain(|t| *t != free);
        }
        if deck.is_empty() {
            deck = DECK.to_vec();
            chance.shuffle(&mut deck);
        }
        let at = match deck[deck.len() - 1] {
            BalancerKilled => balancers,
            RedisRestarted | RedisKilled | RedisStopped | RedisPaused => redis,
            _ if taken.iter().filter(|t| **t < balancers).count() >= SERVERS => usize::MAX,
            ServerCordoned => chance.below(balancers),
            _ => chance.below(balancers - STEADY),
        };
        if at != usize::MAX && !taken.contains(&at) {
            taken.push(at);
            let (soak, fault, which) = (soak.clone(), deck.pop().unwrap(), chance.below(2));
            let lasts = chance.between(ms(from), ms(to));
            running.spawn(async move {
                soak.model.count("faults", &format!("{fault:?}"));
                commit(&soak, fault, at, which, lasts).await;
                at
            });
        }
        tokio::time::sleep(chance.between(ms(pause.0), ms(pause.1))).await;
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

async fn commit(soak: &Soak, fault: Fault, at: usize, which: usize, lasts: Duration) {
    let world = &soak.world;
    match fault {
        BalancerKilled => {
            let b = &world.balancers[which];
            b.up.store(false, Ordering::Relaxed);
            // Dropping the guard kills it.
            b.process.lock().await.take();
            tokio::time::sleep(lasts.min(Duration::from_secs(2))).await;
            b.start().await;
            b.up.store(true, Ordering::Relaxed);
        }
        RedisRestarted | RedisKilled => {
            world.redis.calm.disturb("restarted");
            let child = world.redis.process.lock().await.take();
            if fault == RedisRestarted {
                if let Some(c) = &child {
                    signal(c.0.id(), "TERM");
                }
                // It ends by itself before the guard is dropped.
                if let Some(mut c) = child {
                    let _ = tokio::task::spawn_blocking(move || c.0.wait()).await;
                }
            } else {
                drop(child);
            }
            tokio::time::sleep(lasts / 4).await;
            world.redis.start().await;
            world.redis.calm.heal();
        }
        RedisStopped => {
            world.redis.calm.disturb("stopped");
            let pid = world.redis.process.lock().await.as_ref().map(|c| c.0.id());
            if let Some(pid) = pid {
                signal(pid, "STOP");
                tokio::time::sleep(lasts).await;
                signal(pid, "CONT");
            }
            world.redis.calm.heal();
        }
        RedisPaused => {
            world.redis.calm.disturb("paused");
            let time = lasts.as_millis().to_string();
            // If it fails there was no pause.
            let _ = world.redis.link.call(&["CLIENT", "PAUSE", &time, "ALL"]).await;
            tokio::time::sleep(lasts).await;
            world.redis.calm.heal();
        }
        ServerCordoned => {
            let server = &world.servers[at];
            world.set_state(server, "cordon").await;
            tokio::time::sleep(lasts).await;
            world.set_state(server, "enable").await;
        }
        ServerRemoved => {
            let server = &world.servers[at];
            server.calm.disturb("removed");
            world.remove(server).await;
            tokio::time::sleep(lasts).await;
            world.add(server).await;
            server.calm.heal();
        }
        _ => of_process(soak, fault, at, lasts).await,
    }
}

async fn of_process(soak: &Soak, fault: Fault, at: usize, lasts: Duration) {
    let server = &soak.world.servers[at];
    server.calm.disturb(&format!("{fault:?}"));
    let mut process = server.process.lock().await;
    let order = match fault {
        ServerHangs => "0 hang".to_owned(),
        ServerSlow => "0 slow 700".to_owned(),
        ServerCuts => "0 cut".to_owned(),
        CreatesCut => "0 cut-create".to_owned(),
        CreatesLate => format!("0 late-create {}", soak.world.times.late().as_millis()),
        _ => String::new(),
    };
    match (fault, process.as_mut()) {
        (ServerKilled, _) => {
            // Dropping it kills it, and its meetings are lost with it.
            drop(process.take());
            tokio::time::sleep(lasts).await;
            let port = server.port;
            *process = tokio::task::spawn_blocking(move || Some(Fakes::start(&[port]))).await.unwrap();
        }
        (ServerStopped, Some(p)) => {
            let pid = p.pid();
            signal(pid, "STOP");
            tokio::time::sleep(lasts).await;
            signal(pid, "CONT");
        }
        (_, Some(p)) => {
            tokio::task::block_in_place(|| p.order(&order));
            tokio::time::sleep(lasts).await;
            tokio::task::block_in_place(|| p.order("0 ok"));
        }
        (_, None) => {}
    }
    server.calm.heal();
}
