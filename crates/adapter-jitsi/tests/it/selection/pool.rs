//! Bridges as servers of the core's pool.

use std::sync::Arc;
use std::time::Duration;

use adapter_jitsi::{
    Bridge, BridgeClock, BridgePool, BridgeStrategy, Conference, ConferenceBridge, FocusSettings, HealthOutcome,
    NoBridge, SharedBridges, StressLoad,
};
use balancer_core::{Admin, Ask, Backend, LeastLoaded, Pool, PoolOptions, StickKey};
use tokio::time::Instant;

use super::{report, table};

#[tokio::test(start_paused = true)]
async fn the_pool_leaves_out_what_the_operator_closed() {
    let shared = SharedBridges::new(table(FocusSettings::default(), &[("r/a", "0.1", "eu"), ("r/b", "0.2", "eu")]));
    let strategy = BridgeStrategy::new(shared.clone(), BridgeClock::new(Instant::now(), Duration::ZERO));
    let pool = BridgePool::with_query(Box::new(strategy), PoolOptions::default());
    shared.follow(&pool).unwrap();
    let key = StickKey::new("room").unwrap();
    let ask = Conference::new();
    let ask = Ask::with_query(&key, &ask);
    let choose = || pool.choose(&ask, 0, |bridge| bridge.id().to_string());
    assert_eq!(choose().as_deref(), Some("r/a"));
    pool.set_admin(&"r/a".into(), Admin::Drain).unwrap();
    assert_eq!(choose().as_deref(), Some("r/b"));
    pool.set_admin(&"r/a".into(), Admin::Ready).unwrap();
    // What the bridge itself says is a matter of rank.
    shared.with(|table| table.update(&"r/a".into(), &report(&[("drain", "true")]), Duration::ZERO)).unwrap();
    assert_eq!(choose().as_deref(), Some("r/b"));
    let (lease, decision) = pool.place_explained(&ask, 0);
    assert!(lease.is_some());
    assert!(decision.to_string().contains("least stressed"), "{decision}");
    // A plan is not disturbed by what comes later.
    let fork = pool.fork(Instant::now());
    shared.with(|table| table.remove("r/b", Duration::ZERO));
    assert_eq!(choose().as_deref(), Some("r/a"));
    assert_eq!(fork.choose(&ask, 0, |bridge| bridge.id().to_string()).as_deref(), Some("r/b"));
    // Two threads may choose at once.
    let pool = Arc::new(pool);
    let other = pool.clone();
    let handle = std::thread::spawn(move || other.members().len());
    assert_eq!(handle.join().unwrap(), pool.members().len());
}

#[tokio::test(start_paused = true)]
async fn a_conference_without_relays_stays_where_it_is_also_in_a_pool() {
    let shared = SharedBridges::new(table(FocusSettings::default(), &[("r/a", "0.9", "eu"), ("r/b", "0", "eu")]));
    let strategy = BridgeStrategy::new(shared.clone(), BridgeClock::new(Instant::now(), Duration::ZERO));
    let pool = BridgePool::with_query(Box::new(strategy), PoolOptions::default());
    shared.follow(&pool).unwrap();
    let key = StickKey::new("room").unwrap();
    let place = |conference: &Conference| {
        let lease = shared.place(&pool, &Ask::with_query(&key, conference), 0, Duration::ZERO);
        lease.map(|lease| lease.backend().id().to_string())
    };
    let running = Conference::new().on(ConferenceBridge::new("r/a", 3));
    assert_eq!(place(&Conference::new()), Ok("r/b".to_owned()));
    assert_eq!(place(&running), Ok("r/a".to_owned()));
    // Drained by the operator it keeps its conferences, closed it does not.
    pool.set_admin(&"r/a".into(), Admin::Drain).unwrap();
    assert_eq!(place(&running), Ok("r/a".to_owned()));
    pool.set_admin(&"r/a".into(), Admin::Maint).unwrap();
    assert_eq!(place(&running), Err(NoBridge::Closed));
    pool.set_admin(&"r/b".into(), Admin::Drain).unwrap();
    assert_eq!(place(&Conference::new()), Err(NoBridge::Closed));
    shared.with(|table| table.checked("r/a", HealthOutcome::TimedOut, Duration::ZERO));
    shared.with(|table| table.checked("r/b", HealthOutcome::TimedOut, Duration::ZERO));
    assert_eq!(place(&running), Err(NoBridge::NoneOperational));
}

#[test]
fn the_core_can_go_by_stress() {
    let pool = Pool::new(Box::new(LeastLoaded), PoolOptions::default().load(StressLoad::default()));
    pool.replace(["r/jvb1", "r/jvb2", "r/jvb3"].map(|id| Arc::new(Bridge::new(id, None)))).unwrap();
    let now = Instant::now();
    for (id, stress) in [("r/jvb1", "0.30"), ("r/jvb2", "0.05"), ("r/jvb3", "0.10")] {
        let report = report(&[("stress_level", stress), ("conferences", "3")]).to_report(now, Duration::ZERO);
        assert!(pool.report(&id.into(), report).unwrap());
    }
    let key = StickKey::new("room").unwrap();
    let placed: Vec<String> = (0..4)
        .map(|_| {
            let lease = pool.place(&Ask::new(&key), 0).unwrap();
            let id = lease.backend().id().to_string();
            lease.land();
            id
        })
        .collect();
    assert_eq!(placed, ["r/jvb2", "r/jvb2", "r/jvb3", "r/jvb2"]);
}
