//! The store in memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use balancer_core::{
    BackendId, Binding, Claim, MemoryOptions, MemoryStore, StickError, StickKey, StickStore, Token, WallClock, Want,
};
use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio::time::advance;

const HOUR: Duration = Duration::from_secs(3600);

fn key(name: impl Into<String>) -> StickKey {
    StickKey::new(name.into()).unwrap()
}

fn want(backend: &str, token: u64) -> Want {
    Want { backend: backend.into(), token: Token(token) }
}

#[cfg(feature = "testing")]
mod suite {
    use balancer_core::conformance::{Clock, run};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn conforms_under_paused_time() {
        run(async || MemoryStore::new(MemoryOptions::new().tokio_clock()), &Clock::moved(advance)).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn conforms_with_many_threads() {
        run(async || MemoryStore::default(), &Clock::Real).await;
        run(async || MemoryStore::new(MemoryOptions::new().shards(1)), &Clock::Real).await;
    }
}

#[tokio::test(start_paused = true)]
async fn eight_hours_refreshed_on_use() {
    let store = MemoryStore::new(MemoryOptions::new().tokio_clock());
    let ttl = 8 * HOUR;
    store.claim(&key("room"), &want("one", 1), ttl).await.unwrap();
    for _ in 0..5 {
        advance(ttl - Duration::from_millis(1)).await;
        assert!(store.get(&key("room"), Some(ttl)).await.unwrap().is_some());
    }
    advance(ttl).await;
    assert!(store.get(&key("room"), Some(ttl)).await.unwrap().is_none());
}

#[test]
fn works_outside_a_runtime() {
    let store = MemoryStore::new(MemoryOptions::new().tokio_clock());
    let Claim::Won(won) = store.claim_now(&key("room"), &want("one", 1), HOUR).unwrap() else { panic!("not won") };
    assert_eq!(store.get_now(&key("room"), Some(HOUR)), Some(won.clone()));
    assert!(store.renew_now(&key("room"), &won, Duration::MAX));
    assert!(store.release_now(&key("room"), &won));
    assert!(store.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_full_table_refuses_until_something_expires() {
    // So many shards that none of these rooms shares one with another: room is made in all of them.
    let store = MemoryStore::new(MemoryOptions::new().tokio_clock().capacity(3).shards(64));
    for number in 0..3 {
        store.claim_now(&key(format!("room {number}")), &want("one", number), HOUR).unwrap();
    }
    let refused = store.claim_now(&key("room 3"), &want("one", 3), HOUR);
    assert!(matches!(refused, Err(StickError::Full { capacity: 3 })), "{refused:?}");
    // What is there is served, and may be moved.
    let Claim::Held(held) = store.claim_now(&key("room 0"), &want("two", 9), HOUR).unwrap() else { panic!("not held") };
    assert!(matches!(store.rebind_now(&key("room 0"), &held, &want("two", 9), HOUR), Ok(Claim::Won(_))));
    advance(HOUR).await;
    assert!(matches!(store.claim_now(&key("room 3"), &want("one", 3), HOUR), Ok(Claim::Won(_))));
    assert_eq!((store.len(), store.evicted()), (1, 0));
    let nothing = MemoryStore::new(MemoryOptions::new().tokio_clock().capacity(0).cache(true));
    assert!(nothing.claim_now(&key("room"), &want("one", 1), HOUR).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_cache_drops_what_expires_first() {
    let store = MemoryStore::new(MemoryOptions::new().tokio_clock().capacity(3).cache(true));
    for (number, hours) in [(0, 2), (1, 1), (2, 3)] {
        store.claim_now(&key(format!("room {number}")), &want("one", 1), HOUR * hours).unwrap();
    }
    // Extended: no longer the first to expire.
    assert!(store.get_now(&key("room 1"), Some(HOUR * 4)).is_some());
    assert!(matches!(store.claim_now(&key("room 3"), &want("one", 1), HOUR * 5), Ok(Claim::Won(_))));
    assert_eq!((store.len(), store.evicted()), (3, 1));
    let left: Vec<bool> = (0..4).map(|number| store.get_now(&key(format!("room {number}")), None).is_some()).collect();
    assert_eq!(left, [false, true, true, true]);
    assert_eq!(store.count_now(&"one".into()), 3);
}

#[test]
fn stamps_follow_the_clock_and_never_fall() {
    let now = Arc::new(AtomicU64::new(1_000));
    let clock = WallClock::from_fn({
        let now = Arc::clone(&now);
        move || now.load(Ordering::SeqCst)
    });
    let store = MemoryStore::new(MemoryOptions::new().shards(1).wall_clock(clock));
    let mut stamps = Vec::new();
    for (number, at) in [1_000, 1_000, 5_000, 2_000, u64::MAX, 0].into_iter().enumerate() {
        now.store(at, Ordering::SeqCst);
        let claim = store.claim_now(&key(format!("room {number}")), &want("one", 1), HOUR).unwrap();
        let Claim::Won(won) = claim else { panic!("not won") };
        stamps.push(won.stamp);
    }
    assert_eq!(stamps, [1_000, 1_001, 5_000, 5_001, u64::MAX, u64::MAX]);
}

#[test]
fn keys_have_limits() {
    assert!(StickKey::new("").is_err());
    assert!(StickKey::new("x".repeat(1024)).is_ok());
    assert!(matches!(StickKey::new("x".repeat(1025)), Err(StickError::Key { len: 1025 })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_tasks_hammering() {
    let store = Arc::new(MemoryStore::new(MemoryOptions::new().capacity(200)));
    let mut tasks = JoinSet::new();
    for task in 0..64_u64 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut random = task + 1;
            for _ in 0..2_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let room = key(format!("room {}", (random >> 33) % 300));
                let backend = format!("server {}", (random >> 50) % 5);
                match store.claim(&room, &want(&backend, random), HOUR).await {
                    Ok(Claim::Won(won)) => assert!(won.token == Token(random)),
                    Ok(Claim::Held(held)) if random & 1 == 0 => {
                        let moved = store.rebind(&room, &held, &want(&backend, random), HOUR).await;
                        assert!(matches!(moved, Ok(_) | Err(StickError::Full { .. })), "{moved:?}");
                    }
                    Ok(Claim::Held(held)) => {
                        let _ = store.release(&room, &held).await.unwrap();
                    }
                    Ok(Claim::Closed) => panic!("nothing is closed"),
                    Err(error) => assert!(matches!(error, StickError::Full { .. }), "{error}"),
                }
            }
        });
    }
    tasks.join_all().await;
    let by_server: u64 = (0..5).map(|number| store.count_now(&BackendId::new(format!("server {number}")))).sum();
    assert_eq!(by_server, store.len() as u64);
    assert!(store.len() <= 200);
}

/// One step of a random history; keys and servers by number, times in seconds.
#[derive(Clone, Debug)]
enum Step {
    Claim(u8, u8, u64),
    Rebind(u8, u8, u64),
    Get(u8, Option<u64>),
    Renew(u8, u64),
    Release(u8),
    Close(u8, bool),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (room, server, ttl) = (0..6_u8, 0..3_u8, 0..20_u64);
    let step = prop_oneof![
        (room.clone(), server.clone(), ttl.clone()).prop_map(|(room, server, ttl)| Step::Claim(room, server, ttl)),
        (room.clone(), server.clone(), ttl.clone()).prop_map(|(room, server, ttl)| Step::Rebind(room, server, ttl)),
        (room.clone(), proptest::option::of(ttl.clone())).prop_map(|(room, ttl)| Step::Get(room, ttl)),
        (room.clone(), ttl.clone()).prop_map(|(room, ttl)| Step::Renew(room, ttl)),
        room.prop_map(Step::Release),
        (server, any::<bool>()).prop_map(|(server, closed)| Step::Close(server, closed)),
        ttl.prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..80)
}

/// Runs a history beside a plain map and compares every answer.
async fn compare(steps: Vec<Step>) {
    let store = MemoryStore::new(MemoryOptions::new().tokio_clock().shards(2));
    let mut plain: HashMap<u8, (Binding, u64)> = HashMap::new();
    let mut closed: HashSet<u8> = HashSet::new();
    let mut last_seen: HashMap<u8, Binding> = HashMap::new();
    let (mut now, mut token) = (0, 0);
    let room = |number: u8| key(format!("room {number}"));
    let name = |server: u8| format!("server {server}");
    for step in steps {
        plain.retain(|_, (_, until)| *until > now);
        token += 1;
        match step {
            Step::Claim(at, server, ttl) | Step::Rebind(at, server, ttl) => {
                let wanted = want(&name(server), token);
                let seen = match step {
                    Step::Rebind(..) => last_seen.get(&at),
                    _ => None,
                };
                let lifetime = Duration::from_secs(ttl);
                let answer = match seen {
                    Some(seen) => store.rebind_now(&room(at), seen, &wanted, lifetime).unwrap(),
                    None => store.claim_now(&room(at), &wanted, lifetime).unwrap(),
                };
                match (plain.get(&at), answer) {
                    (Some((held, _)), Claim::Held(answer)) if seen != Some(held) => assert_eq!(*held, answer),
                    (held, Claim::Closed) => {
                        assert!(closed.contains(&server) && held.is_none_or(|(held, _)| seen == Some(held)));
                    }
                    (held, Claim::Won(won)) => {
                        assert!(!closed.contains(&server) && held.is_none_or(|(held, _)| seen == Some(held)));
                        last_seen.insert(at, won.clone());
                        plain.insert(at, (won, now + ttl));
                    }
                    other => panic!("{other:?}"),
                }
            }
            Step::Get(at, extend) => {
                let found = store.get_now(&room(at), extend.map(Duration::from_secs));
                assert_eq!(found.as_ref(), plain.get(&at).map(|(binding, _)| binding));
                if let (Some((_, until)), Some(ttl)) = (plain.get_mut(&at), extend) {
                    *until = (*until).max(now + ttl);
                }
            }
            Step::Renew(at, ttl) => {
                let Some(seen) = last_seen.get(&at) else { continue };
                let same = plain.get_mut(&at).filter(|(binding, _)| binding == seen);
                assert_eq!(store.renew_now(&room(at), seen, Duration::from_secs(ttl)), same.is_some());
                if let Some((_, until)) = same {
                    *until = now + ttl;
                }
            }
            Step::Release(at) => {
                let Some(seen) = last_seen.get(&at) else { continue };
                let same = plain.get(&at).is_some_and(|(binding, _)| binding == seen);
                assert_eq!(store.release_now(&room(at), seen), same);
                if same {
                    plain.remove(&at);
                }
            }
            Step::Close(server, true) => {
                closed.insert(server);
                store.close_now(&name(server).into(), true);
            }
            Step::Close(server, false) => {
                closed.remove(&server);
                store.close_now(&name(server).into(), false);
            }
            Step::Pass(seconds) => {
                now += seconds;
                advance(Duration::from_secs(seconds)).await;
            }
        }
        for server in 0..3 {
            let backend = BackendId::new(name(server));
            let expected = plain.values().filter(|(held, until)| held.backend == backend && *until > now).count();
            assert_eq!(store.list_now(&backend, None).unwrap().entries.len(), expected);
            assert_eq!(store.count_now(&backend), expected as u64);
        }
        assert_eq!(store.len(), plain.values().filter(|(_, until)| *until > now).count());
    }
}

proptest! {
    #[test]
    fn any_history_is_that_of_a_plain_map(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(compare(steps));
    }
}
