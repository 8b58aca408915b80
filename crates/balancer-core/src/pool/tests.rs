use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::{
    Ask, Backend, BackendId, ByUsers, Outcome, Pool, PoolOptions, PowerOfTwo, Report, StickKey, Strategy, by_name,
};

struct Server(BackendId);

impl Backend for Server {
    fn id(&self) -> &BackendId {
        &self.0
    }
}

fn pool(strategy: Box<dyn Strategy<Server>>, options: PoolOptions<Server>, servers: usize) -> Pool<Server> {
    let pool = Pool::new(strategy, options);
    pool.replace((0..servers).map(|i| Arc::new(Server(format!("s{i}").into())))).unwrap();
    pool
}

fn key() -> StickKey {
    StickKey::new("r").unwrap()
}

#[test]
fn a_room_that_never_came_leaves_its_place_under_the_cap() {
    let p = pool(by_name("first").unwrap(), PoolOptions::default().cap(1, Duration::from_secs(3600)), 1);
    let (key, place) = (key(), |key| p.place(&Ask::new(key), 0));
    for _ in 0..3 {
        place(&key).unwrap().cancel();
    }
    let held = place(&key).unwrap();
    assert!(place(&key).is_none());
    held.land();
    assert!(place(&key).is_none(), "a room that came counts for the whole interval");
    drop(p.lease(&"s0".into(), 0).unwrap());
    assert!(place(&key).is_none(), "a participant's unit is none of the cap's");
}

#[test]
fn a_decision_keeps_the_chosen_server_among_its_best() {
    let p = pool(Box::new(PowerOfTwo), PoolOptions::default(), 200);
    let key = key();
    for seed in 0..20 {
        let (lease, why) = p.place_explained(&Ask::new(&key), seed);
        assert_eq!((why.candidate_count, why.outcome), (200, Outcome::New));
        assert_eq!(why.backend.as_ref(), Some(lease.unwrap().backend().id()));
        assert_eq!(Some(&why.candidates[0].id), why.backend.as_ref());
        assert!(why.candidates[0].score.is_some() && why.candidates[1].score.is_some());
    }
}

#[test]
fn the_terms_of_a_decision_add_up() {
    let p = pool(by_name("least-loaded").unwrap(), PoolOptions::default().load(ByUsers { room: 10 }), 1);
    p.report(&"s0".into(), Report::new(Instant::now()).with_users(7)).unwrap();
    let key = key();
    let place = || p.place(&Ask::new(&key), 0).unwrap();
    place().land();
    let (_one, _two) = (place(), place());
    let _participant = p.lease(&"s0".into(), 0).unwrap();
    let (_, why) = p.place_explained(&Ask::new(&key), 0);
    let text = why.to_string();
    assert!(text.contains("load 37 = reported 7 (0 s old) + placed since 10 + in flight 20 (3 units)"), "{text}");
}

#[test]
fn a_decision_shows_the_figures_that_made_it() {
    let p = pool(by_name("least-loaded").unwrap(), PoolOptions::default().load(ByUsers { room: 1 }), 8);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                let key = key();
                for seed in 0..200 {
                    let (lease, why) = p.place_explained(&Ask::new(&key), seed);
                    lease.unwrap().land();
                    let chosen = &why.candidates[0];
                    assert!(why.candidates.iter().all(|row| chosen.load <= row.load), "{why}");
                }
            });
        }
    });
}

#[test]
fn a_report_without_figures_is_no_load_of_zero() {
    let p = pool(by_name("least-loaded").unwrap(), PoolOptions::default().load(ByUsers { room: 1 }), 2);
    let report = |id: &str, report| p.report(&id.into(), report).unwrap();
    assert!(report("s0", Report::new(Instant::now()).with_users(500)));
    assert!(!report("s1", Report::new(Instant::now()).with_fact("latency_seconds", 0.001)));
    assert!(p.view(Instant::now())[1].missing);
    let key = key();
    assert_eq!(p.place(&Ask::new(&key), 0).unwrap().backend().id().as_str(), "s0");
    assert!(report("s1", Report::new(Instant::now()).with_users(0)));
    assert_eq!(p.place(&Ask::new(&key), 0).unwrap().backend().id().as_str(), "s1");
}

#[test]
fn a_room_key_cannot_forge_a_line_of_a_decision() {
    let p = pool(by_name("first").unwrap(), PoolOptions::default(), 1);
    let text = |key: &str| p.place_explained(&Ask::new(&StickKey::new(key).unwrap()), 0).1.to_string();
    assert!(text("Mathe 5b").starts_with("room Mathe 5b: s0 (new room)\n"));
    let forged = text("r\n> s9: \u{1b}[31mload 0");
    assert!(forged.starts_with(r#"room "r\n> s9: \u{1b}[31mload 0": s0"#), "{forged}");
}
