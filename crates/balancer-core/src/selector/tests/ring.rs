use proptest::prelude::*;

use super::*;
use crate::{Admin, ConsistentHash, Filter, SimpleRing};

const ROOMS: usize = 400;

fn owners(pool: &Pool<Server>) -> Vec<usize> {
    (0..ROOMS).map(|i| owner(pool, i).unwrap()).collect()
}

/// Server `i`, with each of these weights.
fn weights() -> impl proptest::strategy::Strategy<Value = Vec<u16>> {
    prop::collection::vec(1u16..64, 2..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn removing_moves_only_its_rooms_and_adding_only_to_it(
        weights in weights(),
        which: prop::sample::Index,
        redefine: bool,
    ) {
        let gone = which.index(weights.len());
        let all = servers(&weights);
        let pool = pool(ConsistentHash::new(), all.clone());
        let before = owners(&pool);
        let mut fewer = if redefine { servers(&weights) } else { all.clone() };
        fewer.remove(gone);
        pool.replace(fewer).unwrap();
        let after = owners(&pool);
        for (b, a) in before.iter().zip(&after) {
            prop_assert!(*a != gone && (a == b || *b == gone));
        }
        // Back again, with whatever slot, in another order.
        let mut more = all;
        more.rotate_left(gone);
        pool.replace(more).unwrap();
        prop_assert_eq!(owners(&pool), before);
    }

    #[test]
    fn a_new_weight_moves_rooms_only_from_or_to_it(
        weights in weights(),
        which: prop::sample::Index,
        to in 0u16..64,
    ) {
        let changed = which.index(weights.len());
        let pool = pool(ConsistentHash::new(), servers(&weights));
        let before = owners(&pool);
        pool.set_weight(&id(changed), Weight::from_sixteenths(to)).unwrap();
        for (b, a) in before.iter().zip(owners(&pool)) {
            let end = if to > weights[changed] { a } else { *b };
            prop_assert!(a == *b || end == changed);
        }
        pool.set_weight(&id(changed), Weight::from_sixteenths(weights[changed])).unwrap();
        prop_assert_eq!(owners(&pool), before);
    }

    #[test]
    fn a_drained_server_loses_its_rooms_and_gets_them_back(weights in weights(), which: prop::sample::Index) {
        let drained = which.index(weights.len());
        let pool = pool(ConsistentHash::new(), servers(&weights));
        let before = owners(&pool);
        pool.set_admin(&id(drained), Admin::Drain).unwrap();
        for (b, a) in before.iter().zip(owners(&pool)) {
            prop_assert!(a != drained && (a == *b || *b == drained));
        }
        pool.set_admin(&id(drained), Admin::Ready).unwrap();
        prop_assert_eq!(owners(&pool), before);
    }

    #[test]
    fn the_bound_is_kept(
        weights in weights(),
        factor in prop_oneof![Just(1.0), 1.0..3.0],
        rooms in prop::collection::vec((0usize..5, prop::bool::weighted(0.3), any::<prop::sample::Index>()), 1..200),
    ) {
        let pool = pool(ConsistentHash::new().points(10).bounded(factor), servers(&weights));
        let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        let mut held: Vec<Lease<Server>> = Vec::new();
        for (n, give_back, which) in rooms {
            if give_back && !held.is_empty() {
                held.swap_remove(which.index(held.len())).cancel();
                continue;
            }
            held.push(place(&pool, n).unwrap());
            let chosen = number(held.last().unwrap().backend());
            let units = pool.member(&name(chosen)).unwrap().in_flight();
            let share = f64::from(weights[chosen]) / sum;
            let most = (factor * held.len() as f64 * share - 1e-9).ceil();
            prop_assert!(f64::from(units) <= most, "{units} units on {chosen}, at most {most}");
        }
    }
}

#[test]
fn bounds_that_make_no_sense_count_as_one() {
    for factor in [f64::NAN, -3.0, 0.0, f64::NEG_INFINITY] {
        let pool = pool(ConsistentHash::new().bounded(factor), servers(&[16; 4]));
        let _held: Vec<_> = (0..8).map(|_| place(&pool, 1).unwrap()).collect();
        assert!(pool.members().iter().all(|m| m.in_flight() == 2));
    }
    let pool = pool(ConsistentHash::new().bounded(f64::INFINITY), servers(&[16; 4]));
    let _held: Vec<_> = (0..8).map(|_| place(&pool, 1).unwrap()).collect();
    assert!(pool.members().iter().any(|m| m.in_flight() == 8));
}

/// The share of a server with m of M points has the standard deviation share * sqrt((1 - share) / m), nearly; a sample
/// of n keys adds sqrt(share * (1 - share) / n).
#[test]
fn weights_are_met_within_four_standard_deviations() {
    const KEYS: u32 = 40_000;
    let weights = [16, 16, 32, 8, 64, 160, 4, 16];
    let sum: u16 = weights.iter().sum();
    for points in [40, 100, 400] {
        let pool = pool(ConsistentHash::new().points(points), servers(&weights));
        let mut counts = [0u32; 8];
        (0..KEYS as usize).for_each(|i| counts[owner(&pool, i).unwrap()] += 1);
        for (n, w) in counts.iter().zip(weights) {
            let share = f64::from(w) / f64::from(sum);
            let of_points = share * ((1.0 - share) / (f64::from(points) * f64::from(w) / 16.0)).sqrt();
            let of_keys = (share * (1.0 - share) / f64::from(KEYS)).sqrt();
            let error = (f64::from(*n) / f64::from(KEYS) - share).abs();
            let sigma = of_points.hypot(of_keys);
            assert!(error <= 4.0 * sigma, "{points} points, weight {w}: {error} of {share}, sigma {sigma}");
        }
    }
}

#[test]
fn equal_weights_give_the_ring_of_equals() {
    let pool = pool(ConsistentHash::new().points(60), servers(&[16; 9]));
    let simple = SimpleRing::new((0..9).map(name), 60);
    for i in 0..1_000 {
        assert_eq!(simple.owner(room(i).as_str()), Some(name(owner(&pool, i).unwrap()).as_str()));
    }
}

/// Among a thousand servers the three candidates are further apart than a walk goes.
#[test]
fn far_candidates_are_hashed_by_weight() {
    let all = (0..1_000).map(|i| match i {
        100 => tagged(i, 16, &["rare"]),
        500 => tagged(i, 48, &["rare"]),
        900 => tagged(i, 32, &["rare"]),
        _ => server(i, 16),
    });
    let pool = pool(ConsistentHash::new().points(10), all.collect());
    let filter = Filter::required("rare");
    let where_to = |i: usize| {
        let key = room(i);
        let lease = pool.place(&Ask::new(&key).filter(&filter), i as u64).unwrap();
        number(lease.backend())
    };
    let before: Vec<usize> = (0..2_000).map(where_to).collect();
    assert_eq!((0..2_000).map(where_to).collect::<Vec<_>>(), before);
    for (server, share) in [(100, 1.0 / 6.0), (500, 0.5), (900, 1.0 / 3.0)] {
        let n = before.iter().filter(|o| **o == server).count() as f64;
        // The walk, with so few points, is uneven; hashing over the candidates is not.
        assert!((n / 2_000.0 - share).abs() < 0.08, "{server}: {n} of 2,000 for {share}");
    }
    pool.set_admin(&id(500), Admin::Drain).unwrap();
    for (i, b) in before.iter().enumerate() {
        let a = where_to(i);
        assert!(a != 500 && (a == *b || *b == 500));
    }
}
