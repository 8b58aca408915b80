use std::sync::Arc;
use std::time::Duration;

use balancer_core::conformance::{Clock, run};
use balancer_core::{FileOptions, FileStore, MemoryStore, RedisLink, RedisOptions, RedisStore, StickStore};
use proptest::collection::vec;
use proptest::prelude::*;

use super::mirror::{Heard, Mirror, Pin, Word};
use super::shelf::Shelf;
use super::*;

fn alone(store: Arc<dyn StickStore>) -> PeerStickStore {
    let node = PeerNode::new(PeerNodeOptions::new("rust1").with_caller("lb1")).unwrap();
    PeerStickStore::new(&node, PeerTableOptions::new("rooms"), store).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_a_stick_store() {
    run(async || alone(Arc::new(MemoryStore::default())), &Clock::Real).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_file_too() {
    let folder = real_servers::Folder::new("peers");
    let count = std::cell::Cell::new(0);
    let make = async || {
        count.set(count.get() + 1);
        let file = FileStore::open(folder.join(format!("{}.redb", count.get())), &FileOptions::new()).unwrap();
        alone(Arc::new(file))
    };
    run(make, &Clock::Real).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_redis_too() {
    let Some(server) = real_servers::RedisServer::start(&[]) else { return };
    let count = std::cell::Cell::new(0);
    let make = async || {
        count.set(count.get() + 1);
        let options = RedisOptions::new("127.0.0.1").port(server.port()).unwrap();
        let options = options.namespace(format!("peers{}", count.get()));
        alone(Arc::new(RedisStore::new(RedisLink::new(options).unwrap())))
    };
    run(make, &Clock::Real).await;
}

#[test]
fn a_node_runs_once_and_has_each_table_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let node = PeerNode::new(PeerNodeOptions::new("rust1")).unwrap();
    let add = || PeerStickStore::new(&node, PeerTableOptions::new("rooms"), Arc::new(MemoryStore::default()));
    add().unwrap();
    assert!(matches!(add(), Err(PeerNodeError::Table { .. })));
    runtime.block_on(node.run(std::future::ready(()))).unwrap();
    assert!(matches!(runtime.block_on(node.run(std::future::ready(()))), Err(PeerNodeError::Running)));
    assert!(matches!(add(), Err(PeerNodeError::Running)));
}

fn pin(server: u32, stamp: u64, until: u64) -> Pin {
    Pin { server, stamp, until, knows: 0, stored: true }
}

fn heard(mirror: &mut Mirror, key: &[u8], server: u32, peer: u64, ttl: u64, now: u64) -> Heard {
    mirror.hear(mirror.spot(key), key, Word { server, peer, ttl, now })
}

fn told(mirror: &mut Mirror, peer: u64, now: u64) -> Vec<(Vec<u8>, u32)> {
    let mut out = Vec::new();
    let slots = mirror.slots();
    mirror.lessons(0..slots, peer, now, |key, server, _| {
        out.push((key.to_vec(), server));
        true
    });
    out
}

#[test]
fn peers_are_told_what_they_do_not_know() {
    let mut mirror = Mirror::new(3);
    assert_eq!(mirror.set(b"a", Pin { knows: 1, ..pin(1, 5, 100) }, 0), Ok(Some(0)));
    assert_eq!(told(&mut mirror, 1, 0), []);
    assert_eq!(heard(&mut mirror, b"a", 2, 1, 100, 0), Heard::Differs);
    assert_eq!(heard(&mut mirror, b"a", 1, 4, 50, 0), Heard::Known);
    assert_eq!(told(&mut mirror, 4, 0), []);
    assert_eq!(told(&mut mirror, 2, 0), [(b"a".to_vec(), 1)]);
    assert_eq!(told(&mut mirror, 2, 0), []);
    // What is older is not kept.
    assert_eq!(mirror.set(b"a", pin(2, 4, 100), 0), Ok(None));
    assert_eq!(mirror.set(b"a", pin(2, 6, 100), 0), Ok(Some(0)));
    assert_eq!(told(&mut mirror, 1, 0), [(b"a".to_vec(), 2)]);
    mirror.forget_peer(1);
    assert_eq!(told(&mut mirror, 1, 0), [(b"a".to_vec(), 2)]);
    assert_eq!(told(&mut mirror, 4, 100), [], "it has ended");
    // It is full, until something ends.
    for key in [b"b", b"c"] {
        mirror.set(key, pin(1, 1, 200), 0).unwrap();
    }
    assert_eq!(mirror.set(b"d", pin(1, 1, 200), 0), Err(()));
    assert_eq!(heard(&mut mirror, b"d", 1, 1, 100, 0), Heard::Differs);
    mirror.sweep(3, 150, 9, &mut Vec::new());
    assert_eq!((mirror.len(), mirror.get(b"a", 150), mirror.get(b"b", 150)), (2, None, Some((1, 200))));
    assert_eq!(mirror.set(b"d", pin(1, 1, 200), 0), Ok(Some(0)));
}

#[test]
fn what_the_store_was_not_asked_yet_is_told_to_nobody() {
    let mut mirror = Mirror::new(9);
    assert_eq!(heard(&mut mirror, b"a", 1, 1, 100, 0), Heard::New(0));
    assert_eq!(heard(&mut mirror, b"a", 1, 2, 100, 0), Heard::Known);
    assert_eq!(heard(&mut mirror, b"a", 2, 2, 100, 0), Heard::Differs);
    assert_eq!((mirror.get(b"a", 0), told(&mut mirror, 4, 0), mirror.all(0).count()), (None, vec![], 0));
    assert_eq!(mirror.touch(b"a", 1, 3, 100, 0), None, "a caller's word is set anew");
    // However late it is, the slot stays with its key.
    mirror.sweep(9, 1000, 9, &mut Vec::new());
    assert_eq!(mirror.held(0), Some((&b"a"[..], 100, true)));
    assert_eq!(mirror.settle(0, Pin { knows: 1, ..pin(1, 7, 1100) }, 1000), Some(1));
    assert_eq!((mirror.get(b"a", 1000), told(&mut mirror, 2, 1000).len()), (Some((1, 1100)), 1));

    // Somebody else's word came first, and is newer.
    assert_eq!(heard(&mut mirror, b"b", 1, 1, 100, 1000), Heard::New(1));
    assert_eq!(mirror.set(b"b", pin(2, 9, 1100), 1000), Ok(Some(1)));
    assert_eq!(mirror.held(1), Some((&b"b"[..], 1100, false)));
    assert_eq!(mirror.settle(1, pin(1, 8, 1100), 1000), None);
    assert_eq!(mirror.get(b"b", 1000), Some((2, 1100)));
    mirror.give_up(1);
    assert_eq!(mirror.get(b"b", 1000), Some((2, 1100)));

    // Nobody asked the store.
    assert_eq!(heard(&mut mirror, b"c", 1, 1, 100, 1000), Heard::New(2));
    mirror.give_up(2);
    assert_eq!((mirror.held(2), mirror.len()), (None, 2));
    assert_eq!(heard(&mut mirror, b"d", 1, 1, 100, 1000), Heard::New(2));
}

#[test]
fn what_a_store_did_not_answer_for_is_asked_again_some_at_a_time() {
    let mut mirror = Mirror::new(100);
    for key in 0..50_u8 {
        mirror.set(&[key], Pin { stored: false, ..pin(1, 0, 100) }, 0).unwrap();
    }
    let mut waiting = Vec::new();
    mirror.sweep(50, 0, 20, &mut waiting);
    assert_eq!(waiting.len(), 20);
    mirror.set(b"x", pin(1, 1, 100), 0).unwrap();
    mirror.doubt(b"x");
    waiting.clear();
    mirror.sweep(51, 0, 60, &mut waiting);
    assert_eq!(waiting.len(), 51);
}

proptest! {
    /// Keys come and go; what is there is what was set last and has not ended.
    #[test]
    fn a_mirror_is_a_map(steps in vec((0_u8..20, 1_u32..4, 0_u64..50, any::<bool>()), 1..200)) {
        let mut mirror = Mirror::new(1000);
        let mut model = std::collections::BTreeMap::<u8, (u32, u64)>::new();
        for (now, (key, server, life, sweep)) in (0_u64..).zip(steps) {
            mirror.set(&[key], pin(server, now, now + life), now).unwrap();
            let kept = match model.get(&key) {
                Some((other, until)) if *other == server && *until > now => (*until).max(now + life),
                _ => now + life,
            };
            model.insert(key, (server, kept));
            if sweep {
                mirror.sweep(1000, now, 0, &mut Vec::new());
                prop_assert_eq!(mirror.len(), model.values().filter(|(_, until)| *until > now).count());
            }
            for (key, (server, until)) in &model {
                prop_assert_eq!(mirror.get(&[*key], now), (*until > now).then_some((*server, *until)));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_told_is_bound_all_the_same() {
    let store = alone(Arc::new(MemoryStore::default()));
    let odd = balancer_core::StickKey::new("a\0b").unwrap();
    let want = balancer_core::Want { backend: "mm1".into(), token: balancer_core::Token(1) };
    let claim = store.claim(&odd, &want, Duration::from_secs(60)).await.unwrap();
    assert!(matches!(claim, balancer_core::Claim::Won(_)));
}

#[test]
fn what_was_said_before_a_release_was_heard_is_known_as_that_for_a_moment() {
    let shelf = Shelf::new(0, PeerTableOptions::new("rooms"), Arc::new(MemoryStore::default()));
    shelf.released(b"room", 3, 1_000);
    assert!(shelf.is_echo(b"room", 3, 1_499));
    assert!(!shelf.is_echo(b"room", 2, 1_100), "placed elsewhere since");
    assert!(!shelf.is_echo(b"other", 3, 1_100));
    assert!(!shelf.is_echo(b"room", 3, 1_500), "placed there again");
}
