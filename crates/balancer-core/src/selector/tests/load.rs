use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::{ByRooms, Event, LeastLoaded, Report};

fn counting_rooms(servers: Vec<Arc<Server>>) -> Pool<Server> {
    pool_with(Box::new(LeastLoaded), PoolOptions::default().load(ByRooms), servers)
}

#[test]
fn old_figures_come_after_fresh_ones_and_missing_ones_last() {
    let pool = counting_rooms(servers(&[16; 3]));
    let base = Instant::now();
    let later = base + Duration::from_secs(200);
    pool.report(&id(0), Report::new(later).with_rooms(1_000)).unwrap();
    pool.report(&id(1), Report::new(base).with_rooms(5)).unwrap();
    let mut events = pool.subscribe();
    pool.tick(later);
    assert!(matches!(events.try_recv(), Ok(Event::Stale { id: i, stale: true }) if i == id(1)));
    assert_eq!(owner(&pool, 0), Some(0));
    let key = room(0);
    let order = pool.place_explained(&Ask::new(&key), 0).1.candidates;
    let order: Vec<_> = order.iter().map(|row| (row.id.clone(), row.score, row.stale)).collect();
    assert_eq!(order, [(id(0), Some(1_000), false), (id(1), Some(5), true), (id(2), Some(0), true)]);
    let without = |i: usize| pool.place(&Ask::new(&key).exclude(&[id(i)]), 0).map(|l| number(l.backend()));
    assert_eq!(without(0), Some(1));
    // Fresh figures bring it back to the front.
    pool.report(&id(1), Report::new(later).with_rooms(6)).unwrap();
    assert_eq!(owner(&pool, 0), Some(1));
    assert!(matches!(events.try_recv(), Ok(Event::Stale { id: i, stale: false }) if i == id(1)));
    assert!(events.try_recv().is_err());
}

#[derive(Clone, Debug)]
enum Step {
    Place,
    Land(prop::sample::Index),
    Cancel(prop::sample::Index),
    Measure,
    /// Hands in one of the measurements, in any order, perhaps twice, perhaps frozen.
    Report(prop::sample::Index, bool),
}

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => Just(Step::Place),
        3 => index().prop_map(Step::Land),
        1 => index().prop_map(Step::Cancel),
        2 => Just(Step::Measure),
        2 => (index(), prop::bool::weighted(0.2)).prop_map(|(i, frozen)| Step::Report(i, frozen)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the order of placements, landings and reports, no room is lost between them.
    #[test]
    fn no_room_is_ever_lost(steps in prop::collection::vec(step(), 1..200), processes in 1u32..4) {
        let pool = counting_rooms(servers(&[16]));
        pool.set_processes(processes);
        let charge = u64::from(processes);
        let base = Instant::now();
        let mut open: Vec<Lease<Server>> = Vec::new();
        let mut landed: Vec<Instant> = Vec::new();
        let mut measured: Vec<(Instant, u64)> = vec![(base, 0)];
        // What the newest report that was taken in says, and since when it covers.
        let (mut newest, mut reported, mut covers) = (base, 0u64, base);
        for (n, step) in (1u64..).zip(steps) {
            let now = base + Duration::from_millis(n);
            match step {
                Step::Place => open.push(place(&pool, 0).unwrap()),
                Step::Land(i) if !open.is_empty() => {
                    open.swap_remove(i.index(open.len())).land_at(now);
                    landed.push(now);
                }
                Step::Cancel(i) if !open.is_empty() => open.swap_remove(i.index(open.len())).cancel(),
                Step::Land(_) | Step::Cancel(_) => {}
                Step::Measure => measured.push((now, landed.len() as u64)),
                Step::Report(i, frozen) => {
                    let (began, rooms) = measured[i.index(measured.len())];
                    let mut report = Report::new(began).with_rooms(rooms);
                    if frozen {
                        report = report.frozen();
                    }
                    let taken = pool.report(&id(0), report).unwrap();
                    prop_assert_eq!(taken, began >= newest);
                    if taken {
                        (newest, reported) = (began, rooms);
                        covers = if frozen { covers } else { began };
                    }
                }
            }
            let view = &pool.view(now)[0];
            let uncovered = landed.iter().filter(|t| **t > covers).count() as u64;
            let pending = open.len() as u64;
            prop_assert_eq!(view.expected, reported + (uncovered + pending) * charge);
            prop_assert!(view.expected >= landed.len() as u64 + pending || newest > covers);
            prop_assert_eq!(u64::from(view.in_flight), pending);
        }
        // When all has arrived and was measured, the figures alone count.
        let end = base + Duration::from_secs(10);
        open.into_iter().for_each(|lease| lease.land_at(end));
        pool.report(&id(0), Report::new(end).with_rooms(42)).unwrap();
        prop_assert_eq!(pool.view(end)[0].expected, 42);
    }
}

#[test]
fn landings_beside_reports_are_all_counted() {
    let pool = counting_rooms(servers(&[16]));
    let total = 2_000u64;
    // Measured before the first landing: what it knows nothing of it must not wipe, however late it comes.
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(1));
    std::thread::scope(|s| {
        s.spawn(|| (0..total).for_each(|_| place(&pool, 0).unwrap().land()));
        for _ in 0..500 {
            assert!(pool.report(&id(0), Report::new(began).with_rooms(0)).unwrap());
        }
    });
    assert!(!pool.report(&id(0), Report::new(began - Duration::from_millis(1)).with_rooms(0)).unwrap());
    assert_eq!(pool.view(Instant::now())[0].expected, total);
    pool.report(&id(0), Report::new(Instant::now()).with_rooms(total)).unwrap();
    assert_eq!(pool.view(Instant::now())[0].expected, total);
}
