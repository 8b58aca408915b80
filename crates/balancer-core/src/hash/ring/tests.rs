use proptest::prelude::*;

use super::*;
use crate::hash::SimpleRing;

fn nodes() -> impl Strategy<Value = Vec<Node>> {
    prop::collection::btree_map(0u32..24, (any::<u8>(), 0u32..20), 0..16).prop_map(|map| {
        // The slot is part of the id, so that ids differ; the rest lets a slot change hands.
        let node = |(slot, (id, points)): (u32, (u8, u32))| Node {
            slot: Slot(slot),
            id_hash: stable_hash(&[u8::try_from(slot).unwrap(), id % 3]),
            points,
        };
        map.into_iter().map(node).collect()
    })
}

/// The owner by trying every point.
fn brute(nodes: &[Node], key: u64) -> Option<Slot> {
    let all = nodes.iter().flat_map(|n| (0..n.points).map(move |i| (point(n.id_hash, i), n)));
    all.min_by_key(|(hash, n)| (cut(*hash).wrapping_sub(cut(key)), n.id_hash)).map(|(_, n)| n.slot)
}

proptest! {
    #[test]
    fn owner_is_the_next_point(nodes in nodes(), keys in prop::collection::vec(any::<u64>(), 1..64)) {
        let ring = Ring::new(&nodes);
        // The points themselves, their neighbours and both ends of the circle are the edges.
        let edges = nodes.iter().filter(|n| n.points > 0).map(|n| point(n.id_hash, 0));
        let edges = edges.flat_map(|p| [p, p.wrapping_sub(1), p.wrapping_add(1)]);
        for key in keys.into_iter().chain(edges).chain([0, u64::MAX]) {
            prop_assert_eq!(ring.owner(key), brute(&nodes, key));
            prop_assert_eq!(ring.walk(key).next().map(|(_, slot)| slot), brute(&nodes, key));
        }
    }

    #[test]
    fn walk_goes_once_around(nodes in nodes(), key: u64) {
        let ring = Ring::new(&nodes);
        let distances: Vec<u64> = ring.walk(key).map(|(hash, _)| hash.wrapping_sub(cut(key))).collect();
        prop_assert!(distances.is_sorted());
        prop_assert_eq!(distances.len(), nodes.iter().map(|n| n.points as usize).sum::<usize>());
    }

    #[test]
    fn merging_gives_what_sorting_gives(steps in prop::collection::vec(nodes(), 1..6)) {
        let mut merged = Ring::new(&[]);
        for nodes in steps {
            merged = merged.with(&nodes);
            let sorted = Ring::new(&nodes);
            prop_assert!(merged.walk(0).eq(sorted.walk(0)));
            for key in (0..64).map(|n| n << 58).chain(merged.walk(0).map(|(hash, _)| hash)) {
                prop_assert_eq!(merged.owner(key), sorted.owner(key));
                let after = key.wrapping_add(1 << SLOT_BITS);
                prop_assert_eq!(merged.owner(after), sorted.owner(after));
            }
            // Somebody who looks for a place always finds one.
            prop_assert_eq!(merged.lines.last().map(|l| l.0[LINE - 1]), Some(END));
            prop_assert_eq!(merged.nodes(), sorted.nodes());
        }
    }

    /// Few changes of many nodes, so that points are put in and taken out where they lie.
    #[test]
    fn points_go_in_and_out_where_they_lie(
        steps in prop::collection::vec((0u32..60, any::<bool>(), 0u32..40), 1..40),
    ) {
        let node = |slot: u32, points| Node { slot: Slot(slot), id_hash: stable_hash(&slot.to_le_bytes()), points };
        let mut nodes: std::collections::BTreeMap<u32, Node> = (0..40).map(|n| (n, node(n, 30))).collect();
        let mut ring = Ring::new(&nodes.values().copied().collect::<Vec<_>>());
        for (slot, stays, points) in steps {
            if stays {
                nodes.insert(slot, node(slot, points));
            } else {
                nodes.remove(&slot);
            }
            let list: Vec<Node> = nodes.values().copied().collect();
            ring = ring.with(&list);
            let built = Ring::new(&list);
            prop_assert!(ring.walk(0).eq(built.walk(0)));
            for (hash, _) in built.walk(0) {
                for key in [hash, hash.wrapping_add(1 << SLOT_BITS), hash.wrapping_sub(1)] {
                    prop_assert_eq!(ring.owner(key), built.owner(key));
                }
            }
        }
    }

    #[test]
    fn equals_the_ring_of_equals(
        ids in prop::collection::btree_set("[a-z]{1,8}", 1..12),
        points in 1u32..50,
        keys in prop::collection::vec("[a-z0-9-]{1,20}", 1..64),
    ) {
        let ids: Vec<String> = ids.into_iter().collect();
        let slots = (0..).map(Slot);
        let nodes: Vec<Node> = slots
            .zip(&ids)
            .map(|(slot, id)| Node { slot, id_hash: stable_hash(id.as_bytes()), points })
            .collect();
        let ring = Ring::new(&nodes);
        let simple = SimpleRing::new(ids.iter().rev().cloned(), points);
        for key in &keys {
            let (_, slot) = ring.walk(stable_hash(key.as_bytes())).next().unwrap();
            prop_assert_eq!(simple.owner(key), Some(ids[slot.index()].as_str()));
        }
    }
}

#[test]
fn nobody_owns_anything_on_an_empty_ring() {
    assert_eq!(Ring::new(&[]).walk(7).next(), None);
    assert_eq!(Ring::new(&[]).owner(7), None);
    let nothing = [Node { slot: Slot(0), id_hash: 1, points: 0 }];
    assert_eq!(Ring::new(&nothing).walk(u64::MAX).next(), None);
    assert_eq!(SimpleRing::new(Vec::<String>::new(), 10).owner("key"), None);
}

#[test]
fn simple_ring_divides_evenly_and_moves_little() {
    let keys: Vec<String> = (0..10_000).map(|i| format!("server-{i}")).collect();
    let three = SimpleRing::new(["one", "two", "three"], 400);
    let four = SimpleRing::new(["four", "three", "two", "one", "one"], 400);
    assert_eq!(four.ids().collect::<Vec<_>>(), ["four", "one", "three", "two"]);
    let mut counts = std::collections::HashMap::new();
    for key in &keys {
        let (before, after) = (three.owner(key).unwrap(), four.owner(key).unwrap());
        assert!(after == before || after == "four");
        *counts.entry(after).or_insert(0.0) += 1.0;
    }
    // Four standard deviations of a share on 400 points: 4 * 0.25 / 20, and a little for the sample of keys.
    for (id, n) in counts {
        assert!((n / 10_000.0f64 - 0.25).abs() < 0.06, "{id} has {n} of 10,000 keys");
    }
}

/// Promised for ever: processes of different versions must agree.
#[test]
fn points_are_the_same_in_every_version() {
    let ring = Ring::new(&[Node { slot: Slot(0), id_hash: stable_hash(b"bbb-1"), points: 2 }]);
    let hashes: Vec<u64> = ring.walk(0).map(|(hash, _)| hash).collect();
    assert_eq!(hashes, GOLDEN.map(cut));
}

const GOLDEN: [u64; 2] = [6_034_370_710_803_619_959, 18_310_170_928_248_249_828];
