use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::selector::rotate::{MAX_CYCLE, cycle, spaced};
use crate::{Admin, RoundRobin};

/// How far the worst server is ever from its exact share, in turns.
fn worst(order: &[usize], turns: &[u64]) -> f64 {
    let mut had = vec![0.0f64; turns.len()];
    let sum: u64 = turns.iter().sum();
    let mut worst = 0.0f64;
    for (i, who) in (1u32..).zip(order) {
        had[*who] += 1.0;
        for (h, t) in had.iter().zip(turns) {
            worst = worst.max((h - f64::from(i) * *t as f64 / sum as f64).abs());
        }
    }
    worst
}

fn twice_in_a_row(order: &[usize]) -> Vec<usize> {
    let next = order.iter().cycle().skip(1);
    order.iter().zip(next).filter(|(a, b)| a == b).map(|(a, _)| *a).collect()
}

proptest! {
    #[test]
    fn cycles_are_exact_and_smooth(turns in prop::collection::vec(1u64..40, 1..24)) {
        // One more server of weight 1 leaves nothing to reduce.
        let mut turns = turns;
        turns.push(1);
        let order = cycle(&turns);
        let sum: u64 = turns.iter().sum();
        prop_assert_eq!(order.len() as u64, sum);
        for (who, t) in turns.iter().enumerate() {
            prop_assert_eq!(order.iter().filter(|o| **o == who).count() as u64, *t);
        }
        for who in twice_in_a_row(&order) {
            prop_assert!(turns[who] * 2 > sum, "{} twice in a row in {:?}", who, order);
        }
        prop_assert!(worst(&spaced(&turns), &turns) < 1.0);
        prop_assert!(worst(&order, &turns) < 2.0, "{} turns away in {:?}", worst(&order, &turns), order);
    }

    #[test]
    fn long_cycles_are_scaled(weights in prop::collection::vec(1u64..=4096, 1..200)) {
        let mut weights = weights;
        weights.push(1);
        let order = cycle(&weights);
        let sum: u64 = weights.iter().sum();
        prop_assert!(order.len() as u64 <= MAX_CYCLE + weights.len() as u64);
        if sum > MAX_CYCLE {
            for (who, w) in weights.iter().enumerate() {
                let n = order.iter().filter(|o| **o == who).count() as f64;
                let exact = (w * MAX_CYCLE) as f64 / sum as f64;
                prop_assert!((n - exact).abs() <= 1.0);
            }
        }
    }
}

#[test]
fn known_cycles() {
    assert_eq!(cycle(&[]), [0usize; 0]);
    assert_eq!(cycle(&[7]), [0]);
    assert_eq!(cycle(&[16, 16, 16]), [0, 1, 2]);
    assert_eq!(cycle(&[32, 16, 16]), [0, 1, 0, 2]);
    let one_in_two = cycle(&[5, 1, 1, 1, 1, 1]);
    assert!(one_in_two.iter().step_by(2).all(|who| *who == 0), "{one_in_two:?}");
}

#[test]
fn a_pool_gives_each_its_turns() {
    let pool = pool(RoundRobin::new(), servers(&[80, 16, 16, 0]));
    for _ in 0..3 {
        let mut counts = [0; 4];
        (0..7).for_each(|i| counts[owner(&pool, i).unwrap()] += 1);
        assert_eq!(counts, [5, 1, 1, 0]);
    }
}

#[test]
fn changes_keep_the_position() {
    let pool = pool(RoundRobin::new(), servers(&[16; 5]));
    assert_eq!([0, 1].map(|i| owner(&pool, i)), [Some(0), Some(1)]);
    // Redefined servers are the same servers.
    pool.replace(servers(&[16; 5])).unwrap();
    assert_eq!(owner(&pool, 2), Some(2));
    // What is drained has no turns, and is back in its place later.
    pool.set_admin(&id(4), Admin::Drain).unwrap();
    assert_eq!([3, 4, 5].map(|i| owner(&pool, i)), [Some(3), Some(0), Some(1)]);
    pool.set_admin(&id(4), Admin::Ready).unwrap();
    assert_eq!([0, 1, 2, 3, 4].map(|i| owner(&pool, i)), [2, 3, 4, 0, 1].map(Some));
}

#[test]
fn trials_move_nothing() {
    let pool = pool(RoundRobin::new(), servers(&[16; 3]));
    assert_eq!(owner(&pool, 0), Some(0));
    let key = room(1);
    let ask = Ask::new(&key);
    let frozen = pool.freeze(Instant::now());
    for seed in 0..5 {
        assert_eq!(frozen.decide(&ask, seed).backend, Some(id(1)));
    }
    let decision = frozen.decide(&ask, 0);
    let waits: Vec<_> = decision.candidates.iter().map(|row| (row.id.clone(), row.score)).collect();
    assert_eq!(waits, [(id(1), Some(0)), (id(2), Some(1)), (id(0), Some(2))]);
    assert_eq!(pool.place_explained(&ask, 0).1.backend, Some(id(1)));
    assert_eq!(owner(&pool, 2), Some(2));
    assert_eq!(frozen.decide(&ask, 0).backend, Some(id(1)));
}

#[test]
fn turns_are_taken_once_by_threads_beside_one_another() {
    let pool = pool(RoundRobin::new(), servers(&[16, 32, 80]));
    let start = std::sync::Barrier::new(2);
    std::thread::scope(|s| {
        for t in 0..2 {
            let (pool, start) = (&pool, &start);
            s.spawn(move || {
                start.wait();
                (0..400).for_each(|i| place(pool, t * 400 + i).unwrap().cancel());
            });
        }
    });
    // 800 turns are 100 cycles: the next is the first of a cycle again.
    let order = cycle(&[1, 2, 5]);
    assert_eq!((0..8).map(|i| owner(&pool, i).unwrap()).collect::<Vec<_>>(), order);
}
