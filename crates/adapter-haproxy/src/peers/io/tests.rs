use std::sync::Arc;
use std::time::Duration;

use balancer_core::conformance::{Clock, run};
use balancer_core::{FileOptions, FileStore, MemoryStore, StickStore};
use proptest::collection::vec;
use proptest::prelude::*;

use super::mirror::{Heard, Lesson, Mirror, Pin};
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

#[test]
fn peers_are_told_what_they_do_not_know() {
    let mut mirror = Mirror::new(3);
    assert_eq!(mirror.hear(b"a", 1, 1, 100, 0), Heard::Differs);
    assert_eq!(mirror.set(b"a", Pin { knows: 1, ..pin(1, 5, 100) }, 0), Ok(Some(0)));
    let told = |mirror: &mut Mirror, peer: u64, now: u64| {
        let mut out: Vec<Lesson> = Vec::new();
        let slots = mirror.slots();
        mirror.lessons(0..slots, peer, 100, now, &mut out);
        out.into_iter().map(|lesson| (lesson.key.to_vec(), lesson.server)).collect::<Vec<_>>()
    };
    assert_eq!(told(&mut mirror, 1, 0), []);
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
    mirror.sweep(3, 150, &mut Vec::new());
    assert_eq!((mirror.len(), mirror.get(b"a", 150), mirror.get(b"b", 150)), (2, None, Some((1, 200))));
    assert_eq!(mirror.set(b"d", pin(1, 1, 200), 0), Ok(Some(0)));
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
                mirror.sweep(1000, now, &mut Vec::new());
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
