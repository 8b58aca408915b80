use proptest::prelude::*;

use super::*;
use crate::{Admin, First, LeastConn, LeastLoaded, PowerOfTwo, Random};

proptest! {
    #[test]
    fn leastconn_takes_the_least_key(
        weights in prop::collection::vec(1u16..=4096, 1..12),
        steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..120),
    ) {
        let pool = pool(LeastConn, servers(&weights));
        let mut held: Vec<Lease<Server>> = Vec::new();
        for (n, (give_back, which)) in steps.into_iter().enumerate() {
            if give_back && !held.is_empty() {
                held.swap_remove(which.index(held.len())).cancel();
                continue;
            }
            let keys: Vec<(u64, u64)> = pool
                .members()
                .iter()
                .map(|m| {
                    let units = u64::from(m.in_flight());
                    (if units == 0 { 0 } else { units + 1 }, u64::from(m.weight().sixteenths()))
                })
                .collect();
            let lease = place(&pool, n).unwrap();
            let (over, weight) = keys[number(lease.backend())];
            for (o, w) in &keys {
                // Keys that differ by less than a thousandth count as equal.
                prop_assert!(over * w * 1023 <= o * weight * 1024, "{:?} before {:?}", (over, weight), (o, w));
            }
            held.push(lease);
        }
    }

    #[test]
    fn leastconn_knows_equal_fractions(times in 1u16..256) {
        // One unit on weight n is 2 / n, five on weight 3n are 6 / 3n; rounded fractions would differ.
        let pool = pool(LeastConn, servers(&[times, times * 3]));
        let small = pool.lease(&id(0), 1).unwrap();
        let large: Vec<_> = (0..5).map(|_| pool.lease(&id(1), 1).unwrap()).collect();
        let decision = pool.place_explained(&Ask::new(&room(0)), 1).1;
        prop_assert_eq!(decision.tie.as_deref(), Some("2 equal candidates, one of them by chance"));
        drop((small, large));
    }
}

#[test]
fn ties_are_broken_evenly() {
    for strategy in ["leastconn", "least-loaded", "p2c"] {
        let pool = named(strategy, servers(&[16; 8]));
        let mut counts = [0u32; 8];
        for i in 0..8_000 {
            counts[owner(&pool, i).unwrap()] += 1;
        }
        // 1,000 each; four standard deviations are 4 * sqrt(1,000 * 7 / 8).
        assert!(counts.iter().all(|n| n.abs_diff(1_000) < 119), "{strategy}: {counts:?}");
        assert_eq!(owner(&pool, 5), owner(&pool, 5), "the same seed chooses the same");
    }
}

#[test]
fn p2c_takes_the_better_of_two() {
    let two = pool(PowerOfTwo, servers(&[16, 16]));
    let busy = two.lease(&id(0), 1).unwrap();
    assert!((0..100).all(|i| owner(&two, i) == Some(1)));
    drop(busy);
    // The worst of all is never chosen, whoever it is drawn with.
    let many = pool(PowerOfTwo, servers(&[16; 9]));
    let _busy = many.lease(&id(4), 1).unwrap();
    let mut seen = [false; 9];
    (0..500).for_each(|i| seen[owner(&many, i).unwrap()] = true);
    assert_eq!(seen, [true, true, true, true, false, true, true, true, true]);
    assert_eq!(owner(&pool(PowerOfTwo, servers(&[16])), 3), Some(0));
}

#[test]
fn random_keeps_to_the_weights() {
    let weights = [16, 0, 48, 1, 160];
    let pool = pool(Random, servers(&weights));
    let mut counts = [0u32; 5];
    (0..20_000).for_each(|i| counts[owner(&pool, i).unwrap()] += 1);
    for (n, w) in counts.iter().zip(weights) {
        let share = f64::from(w) / 225.0;
        let sigma = (20_000.0 * share * (1.0 - share)).sqrt();
        assert!((f64::from(*n) - 20_000.0 * share).abs() <= 4.0 * sigma, "{counts:?}");
    }
}

#[test]
fn first_follows_the_definitions() {
    let pool = pool(First, [3, 1, 2].map(|i| server(i, 16)).to_vec());
    assert_eq!(owner(&pool, 0), Some(3));
    pool.set_admin(&id(3), crate::Admin::Drain).unwrap();
    assert_eq!(owner(&pool, 0), Some(1));
    // A slot is kept when the order changes, and the order decides.
    pool.replace([2, 1, 3].map(|i| server(i, 16))).unwrap();
    assert_eq!(owner(&pool, 0), Some(2));
}

#[test]
fn picks_beside_one_another_level_exactly() {
    let strategies: [Boxed; 2] = [Box::new(LeastConn), Box::new(LeastLoaded)];
    for strategy in strategies {
        let name = strategy.name();
        let pool = pool_with(strategy, PoolOptions::default(), servers(&[16; 22]));
        let start = std::sync::Barrier::new(2);
        let held: Vec<Lease<Server>> = std::thread::scope(|s| {
            let run = |t: usize| {
                let (pool, start) = (&pool, &start);
                s.spawn(move || {
                    start.wait();
                    (0..500).map(|i| place(pool, t * 500 + i).unwrap()).collect::<Vec<_>>()
                })
            };
            [run(0), run(1)].into_iter().flat_map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(held.len(), 1_000);
        let counts: Vec<u32> = pool.members().iter().map(|m| m.in_flight()).collect();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= 1, "{name}: {counts:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The quick scan against every candidate looked at: many servers, few open, any weights, units that come and go.
    #[test]
    fn the_quick_scan_finds_the_least_share(
        weights in prop::collection::vec(1u16..4096, 1..400),
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0u8..6), 1..200),
        seed: u64,
    ) {
        let pool = pool(LeastConn, servers(&weights));
        let mut held: Vec<Vec<crate::Lease<Server>>> = weights.iter().map(|_| Vec::new()).collect();
        for (n, (which, what)) in steps.iter().enumerate() {
            let at = which.index(weights.len());
            match what {
                0 => drop(held[at].pop()),
                1 => drop(pool.set_admin(&id(at), Admin::Drain)),
                2 => drop(pool.set_admin(&id(at), Admin::Ready)),
                3 => pool.set_weight(&id(at), Weight::from_sixteenths(weights[at] / 2)).unwrap(),
                _ => held[at].extend(pool.lease(&id(at), 0)),
            }
            let open: Vec<_> = pool.members().into_iter().filter(|m| m.is_open()).collect();
            // As fractions, compared by cross-multiplication.
            let over = |m: &crate::Member<Server>| if m.in_flight() == 0 { 0 } else { u128::from(m.in_flight()) + 1 };
            let weight = |m: &crate::Member<Server>| u128::from(m.weight().sixteenths());
            let least = open.iter().min_by(|a, b| (over(a) * weight(b)).cmp(&(over(b) * weight(a))));
            let room = StickKey::new(format!("room-{n}")).unwrap();
            let chosen = pool.choose(&Ask::new(&room), seed.wrapping_add(n as u64), Clone::clone);
            let chosen = chosen.and_then(|server| pool.member(server.id().as_str()));
            prop_assert_eq!(chosen.is_some(), least.is_some());
            if let (Some(chosen), Some(least)) = (chosen, least) {
                prop_assert!(chosen.is_open());
                // Equal but for less than a thousandth.
                let (a, b) = (over(&chosen) * weight(least), over(least) * weight(&chosen));
                prop_assert!(a * 1023 <= b * 1024, "{a} {b}");
            }
        }
    }
}
