//! The table against a plain map, and beside other threads. Time is a plain number.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Order};
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::stick::Token;
use crate::stick::rows::tests::alike;

fn want(backend: &str, token: u64) -> Want {
    Want { backend: backend.into(), token: Token(token) }
}

fn key(name: &str) -> StickKey {
    StickKey::new(name).unwrap()
}

fn claim(table: &Table, key: &StickKey, now: u64, ttl: u64) -> Option<Claim> {
    let at = At { now, until: now + ttl, wall_ms: now };
    table.put(key, None, &want("one", now), at, &NoJournal).map(|(claim, _)| claim)
}

fn won(claim: Option<Claim>) -> Binding {
    match claim {
        Some(Claim::Won(binding)) => binding,
        other => panic!("not won: {other:?}"),
    }
}

/// Every entry of every page, and how many pages.
fn listed(table: &Table, backend: &str, now: u64) -> (Vec<StickKey>, usize) {
    let (mut all, mut from, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = table.list(&backend.into(), from.as_deref(), now).unwrap();
        all.extend(page.entries.into_iter().map(|(key, _)| key));
        from = page.next;
        pages += 1;
        if from.is_none() {
            return (all, pages);
        }
    }
}

#[test]
fn a_table_with_room_left_is_never_full() {
    // More than any shard is given at once, and little enough that all of it is wanted.
    let (threads, each) = (4_usize, 16_usize);
    let table = Arc::new(Table::new(2, threads * each, false));
    let full = Arc::new(AtomicBool::new(false));
    let work = (0..threads).map(|thread| {
        let (table, full) = (table.clone(), full.clone());
        thread::spawn(move || {
            let mut random = thread as u64 + 1;
            let mut held: Vec<(StickKey, Binding)> = Vec::new();
            for n in 0..20_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // All threads together never hold more than there is room for.
                if held.len() < each && random >> 62 != 0 {
                    let key = key(&format!("room {thread} {n}"));
                    match claim(&table, &key, 1, 10) {
                        Some(Claim::Won(won)) => held.push((key, won)),
                        Some(other) => panic!("{other:?}"),
                        None => full.store(true, Order::Relaxed),
                    }
                } else if !held.is_empty() {
                    let (key, won) = held.swap_remove(usize::try_from(random >> 33).unwrap() % held.len());
                    assert!(table.release(&key, &won, 1, &NoJournal).0);
                }
            }
            held.len()
        })
    });
    let work: Vec<_> = work.collect();
    let held: usize = work.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(!full.load(Order::Relaxed), "refused with room left");
    assert_eq!(table.len(), held);
    assert!(table.in_step());
}

#[cfg(feature = "file")]
#[test]
fn what_was_taken_over_beyond_the_capacity_makes_no_room_when_it_goes() {
    let table = Table::new(1, 5, false);
    let rooms: Vec<(StickKey, Binding)> = (0..10_u64)
        .map(|n| (key(&format!("room {n}")), Binding { backend: "one".into(), token: Token(n), stamp: n + 1 }))
        .collect();
    rooms.iter().for_each(|(key, binding)| assert!(table.restore(key, binding, 100)));
    for (at, (key, binding)) in rooms.iter().enumerate() {
        let left = 10 - at;
        assert_eq!(claim(&table, &self::key("new"), 1, 10).is_some(), left < 5, "{left} are left");
        if left < 5 {
            break;
        }
        assert!(table.release(key, binding, 1, &NoJournal).0);
        assert!(table.in_step());
    }
    assert_eq!(table.len(), 5);
}

#[test]
fn a_listing_is_whole_in_few_pages() {
    for (shards, count) in [(1, 3_000), (4, 3_000), (1, 20_000), (16, 20_000), (2_000, 20_000)] {
        let table = Table::new(shards, 100_000, false);
        let rooms: HashSet<StickKey> = (0..count).map(|n| key(&format!("room {n}"))).chain(alike(600)).collect();
        rooms.iter().for_each(|key| drop(won(claim(&table, key, 1, 10))));
        let (all, pages) = listed(&table, "one", 2);
        assert_eq!(all.len(), rooms.len(), "{shards} shards");
        assert_eq!(all.into_iter().collect::<HashSet<_>>(), rooms);
        // No shard is gone through more than sixteen times, but for the page that begins or ends in it.
        assert!(pages <= (17 * shards).min(rooms.len() / PAGE + 1), "{pages} pages of {shards} shards");
    }
}

#[test]
fn a_listing_has_what_stays_and_ends_while_rooms_come_and_go() {
    let table = Table::new(2, 100_000, false);
    let rooms: Vec<(StickKey, Binding)> = (0..4_000)
        .map(|n| {
            let key = key(&format!("room {n}"));
            let won = won(claim(&table, &key, 1, 10));
            (key, won)
        })
        .collect();
    let (mut all, mut from, mut pages) = (HashSet::new(), None, 0);
    loop {
        let page = table.list(&"one".into(), from.as_deref(), 2).unwrap();
        all.extend(page.entries.into_iter().map(|(key, _)| key));
        from = page.next;
        pages += 1;
        if from.is_none() {
            break;
        }
        assert!(pages < 100, "no end");
        // Some go, and as many come.
        for (n, (key, binding)) in rooms.iter().enumerate().filter(|(n, _)| n % 40 == pages % 40) {
            if n % 8 == 0 {
                table.release(key, binding, 2, &NoJournal);
                claim(&table, &self::key(&format!("later {n} {pages}")), 2, 10);
            }
        }
    }
    for (key, _) in rooms.iter().enumerate().filter(|(n, _)| n % 8 != 0).map(|(_, room)| room) {
        assert!(all.contains(key), "{key:?} is missing");
    }
}

#[cfg(feature = "file")]
#[test]
fn rooms_taken_over_with_one_stamp_are_listed_once_each() {
    let table = Table::new(3, 10_000, false);
    let rooms: HashSet<StickKey> = (0..5_000).map(|n| key(&format!("room {n}"))).collect();
    // As from another number of shards, each of which had a stamp of its own.
    for (n, key) in rooms.iter().enumerate() {
        table.restore(key, &Binding { backend: "one".into(), token: Token(1), stamp: 1 + n as u64 % 3 }, 100);
    }
    let (all, _) = listed(&table, "one", 2);
    assert_eq!(all.len(), rooms.len());
    assert_eq!(all.into_iter().collect::<HashSet<_>>(), rooms);
    let later = won(claim(&table, &key("later"), 2, 10));
    assert!(later.stamp > 1);
}

#[test]
fn a_deadline_moves_only_where_it_matters() {
    let table = Table::new(1, 10, false);
    let rooms = ["early", "late"].map(key);
    rooms.iter().for_each(|room| drop(won(claim(&table, room, 0, 10_000))));
    let get = |room, now, until| table.get(&rooms[room], now, Some(until), &NoJournal).is_some();
    assert!(get(0, 9, 10_009) && !get(0, 10_000, 20_000), "by less than a thousandth");
    assert!(get(1, 10, 10_010) && get(1, 10_009, 10_010) && !get(1, 10_010, 20_000));
}

/// One step of a random history; rooms by number.
#[derive(Clone, Debug)]
enum Step {
    Claim(usize, u64),
    Extend(usize, u64),
    Renew(usize, u64),
    Move(usize, u64),
    Release(usize),
    Pass(u64),
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (room, ttl) = (0..12_usize, 1..20_u64);
    let step = prop_oneof![
        4 => (room.clone(), ttl.clone()).prop_map(|(room, ttl)| Step::Claim(room, ttl)),
        2 => (room.clone(), ttl.clone()).prop_map(|(room, ttl)| Step::Extend(room, ttl)),
        2 => (room.clone(), ttl.clone()).prop_map(|(room, ttl)| Step::Renew(room, ttl)),
        1 => (room.clone(), ttl.clone()).prop_map(|(room, ttl)| Step::Move(room, ttl)),
        2 => room.prop_map(Step::Release),
        2 => ttl.prop_map(Step::Pass),
        1 => Just(Step::Sweep),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    /// Half of the rooms have one hash.
    #[test]
    fn any_history_is_that_of_a_plain_map_of_that_capacity(
        steps in steps(), shards in 1_usize..4, capacity in 0_usize..12, cache: bool,
    ) {
        let rooms: Vec<StickKey> = alike(6).chain((0..6).map(|n| key(&format!("room {n}")))).collect();
        let table = Table::new(shards, capacity, cache);
        let mut plain: HashMap<usize, (Binding, u64)> = HashMap::new();
        let mut now = 1;
        for step in steps {
            plain.retain(|_, (_, until)| *until > now);
            match step {
                Step::Claim(room, ttl) => match claim(&table, &rooms[room], now, ttl) {
                    Some(Claim::Won(won)) => {
                        prop_assert!(!plain.contains_key(&room));
                        if plain.len() == capacity {
                            prop_assert!(cache);
                            let first = plain.values().map(|(_, until)| *until).min().unwrap();
                            let gone = |room: &usize| table.get(&rooms[*room], now, None, &NoJournal).is_none();
                            let gone: Vec<usize> = plain.keys().copied().filter(gone).collect();
                            prop_assert_eq!(gone.len(), 1);
                            prop_assert_eq!(plain.remove(&gone[0]).unwrap().1, first);
                        }
                        plain.insert(room, (won, now + ttl));
                    }
                    Some(Claim::Held(held)) => prop_assert_eq!(Some(&held), plain.get(&room).map(|(b, _)| b)),
                    Some(Claim::Closed) => prop_assert!(false, "nothing is closed"),
                    None => prop_assert!(plain.len() == capacity && (!cache || capacity == 0)),
                },
                Step::Extend(room, ttl) => {
                    let found = table.get(&rooms[room], now, Some(now + ttl), &NoJournal).map(|(b, _)| b);
                    prop_assert_eq!(found.as_ref(), plain.get(&room).map(|(b, _)| b));
                    if let Some((_, until)) = plain.get_mut(&room) {
                        *until = (*until).max(now + ttl);
                    }
                }
                Step::Renew(room, ttl) => {
                    let Some((seen, until)) = plain.get_mut(&room) else { continue };
                    let at = At { now, until: now + ttl, wall_ms: now };
                    prop_assert!(table.renew(&rooms[room], seen, at, &NoJournal).0);
                    *until = now + ttl;
                }
                Step::Move(room, ttl) => {
                    let Some((seen, until)) = plain.get_mut(&room) else { continue };
                    let at = At { now, until: now + ttl, wall_ms: now };
                    let moved = table.put(&rooms[room], Some(seen), &want("one", now), at, &NoJournal);
                    *seen = won(moved.map(|(claim, _)| claim));
                    *until = now + ttl;
                }
                Step::Release(room) => {
                    let Some((seen, _)) = plain.remove(&room) else { continue };
                    prop_assert!(table.release(&rooms[room], &seen, now, &NoJournal).0);
                }
                Step::Pass(time) => now += time,
                Step::Sweep => {
                    table.sweep(now, &NoJournal);
                    prop_assert_eq!(table.len(), plain.len(), "a row outlived its deadline, or died before it");
                }
            }
            prop_assert!(table.len() <= capacity);
            prop_assert!(table.in_step());
            let live: HashSet<&StickKey> = plain.iter().filter(|(_, (_, u))| *u > now).map(|(n, _)| &rooms[*n]).collect();
            let (all, _) = listed(&table, "one", now);
            prop_assert_eq!(all.len(), live.len());
            prop_assert_eq!(all.iter().collect::<HashSet<_>>(), live);
        }
    }
}
