//! Plans: what they say is what happens, and nothing happens by saying it.

use std::collections::HashMap;
use std::sync::Arc;

use balancer_core::{
    Admin, Ask, Backend, BackendId, ByUsers, Clause, Fate, Filter, Health, Lease, PlanOptions, Pool, PoolError,
    PoolOptions, Report, Room, Step, StickKey, Tag, Weight, Why, by_name, strategy_names,
};
use proptest::prelude::*;
use tokio::time::Instant;

#[derive(Clone, Debug)]
struct Server {
    id: BackendId,
    weight: Weight,
    tags: Vec<Tag>,
}

impl Backend for Server {
    fn id(&self) -> &BackendId {
        &self.id
    }

    fn weight(&self) -> Weight {
        self.weight
    }

    fn tags(&self) -> &[Tag] {
        &self.tags
    }
}

fn id(n: usize) -> BackendId {
    format!("s{n}").into()
}

fn server(n: usize) -> Arc<Server> {
    Arc::new(Server { id: id(n), weight: Weight::ONE, tags: Vec::new() })
}

fn pool(strategy: &str, servers: usize) -> Pool<Server> {
    let pool = Pool::new(by_name(strategy).unwrap(), PoolOptions::default().load(ByUsers { room: 5 }));
    pool.replace((0..servers).map(server)).unwrap();
    pool
}

fn keys(count: usize) -> Vec<StickKey> {
    (0..count).map(|n| StickKey::new(format!("room-{n}")).unwrap()).collect()
}

fn rooms<'a>(keys: &'a [StickKey], homes: &HashMap<StickKey, BackendId>) -> Vec<Room<'a>> {
    keys.iter()
        .map(|key| {
            let room = Room::new(Ask::new(key));
            match homes.get(key) {
                Some(home) => room.on(home.clone()),
                None => room,
            }
        })
        .collect()
}

/// Everything that can be seen of a pool without touching it.
fn seen(pool: &Pool<Server>, now: Instant) -> String {
    let turns: Vec<_> = keys(3).iter().map(|k| pool.freeze(now).decide(&Ask::new(k), 1).to_string()).collect();
    format!("{:?} {:?} {turns:?}", pool.view(now), pool.members())
}

fn steps() -> impl Strategy<Value = Vec<Step<Server>>> {
    let one = prop_oneof![
        (10..14usize).prop_map(|n| Step::Add(server(n))),
        (0..8usize).prop_map(|n| Step::Remove(id(n))),
        (0..8usize, 0..40u16).prop_map(|(n, w)| Step::Weight(id(n), Weight::from_sixteenths(w))),
        (0..8usize).prop_map(|n| Step::Drain(id(n))),
        (0..8usize).prop_map(|n| Step::Maint(id(n))),
        (0..8usize).prop_map(|n| Step::Ready(id(n))),
        (0..8usize).prop_map(|n| Step::Health(id(n), Health::Dead)),
        (0..8usize).prop_map(|n| Step::Health(id(n), Health::Down)),
        (0..8usize).prop_map(|n| Step::Reorder(vec![id(n)])),
    ];
    proptest::collection::vec(one, 0..6)
}

/// A pool that has worked for a while, and where its rooms live.
fn used(
    strategy: &str,
    rooms: usize,
    loads: &[u64],
) -> (Pool<Server>, HashMap<StickKey, BackendId>, Vec<Lease<Server>>) {
    let pool = pool(strategy, 8);
    for (n, users) in loads.iter().enumerate() {
        pool.report(&id(n), Report::new(Instant::now()).with_users(*users)).unwrap();
    }
    let (mut homes, mut held) = (HashMap::new(), Vec::new());
    for (n, key) in (0u64..).zip(keys(rooms)) {
        let Some(lease) = pool.place(&Ask::new(&key), n) else { continue };
        homes.insert(key, lease.backend().id().clone());
        // Some arrive, some stay on their way.
        if n % 3 == 0 { held.push(lease) } else { lease.land() }
    }
    (pool, homes, held)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_empty_plan_moves_nothing(which in 0..strategy_names().len(), loads in proptest::collection::vec(0..50u64, 0..8)) {
        let (pool, homes, _held) = used(strategy_names()[which], 20, &loads);
        let keys = keys(40);
        let plan = pool.plan(&[], &rooms(&keys, &homes), &PlanOptions::new(Instant::now()).seed(3)).unwrap();
        prop_assert_eq!((plan.totals.moved, plan.totals.moved_alone), (0, 0));
        prop_assert_eq!((plan.totals.stay, plan.totals.placed, plan.totals.refused), (homes.len(), 40 - homes.len(), 0));
        for s in &plan.servers {
            prop_assert_eq!(s.alone_before, s.alone_after);
            prop_assert!(s.after >= s.before);
        }
    }

    #[test]
    fn a_plan_touches_nothing(which in 0..strategy_names().len(), steps in steps()) {
        let (pool, homes, _held) = used(strategy_names()[which], 20, &[3, 9]);
        let now = Instant::now();
        let (before, mut events) = (seen(&pool, now), pool.subscribe());
        let keys = keys(30);
        let options = PlanOptions::new(now).seed(9);
        let first = pool.plan(&steps, &rooms(&keys, &homes), &options);
        prop_assert_eq!(&first, &pool.plan(&steps, &rooms(&keys, &homes), &options), "the same again");
        prop_assert_eq!(seen(&pool, now), before);
        prop_assert!(events.try_recv().is_err(), "an event was told");
    }

    /// What is planned is what happens when the same steps are made and the same rooms are asked for.
    #[test]
    fn what_is_planned_happens(which in 0..strategy_names().len(), steps in steps(), sticks in any::<bool>()) {
        let (pool, homes, _held) = used(strategy_names()[which], 20, &[3, 9, 4]);
        let (keys, now) = (keys(40), Instant::now());
        let options = PlanOptions::new(now).seed(77);
        let plan = match pool.plan(&steps, &rooms(&keys, &homes), &options) {
            Ok(plan) => plan,
            Err(e) => {
                for (n, step) in (1..).zip(&steps) {
                    match step.apply(&pool) {
                        Ok(()) => prop_assert!(n < e.step),
                        Err(real) => {
                            prop_assert_eq!((n, real), (e.step, e.source));
                            break;
                        }
                    }
                }
                return Ok(());
            }
        };
        for step in &steps {
            step.apply(&pool).unwrap();
        }
        let mut placed = Vec::new();
        for (key, room) in keys.iter().zip(&plan.rooms) {
            prop_assert_eq!(key, &room.room);
            if sticks && let Some(home) = homes.get(key) && pool.lease(home, 0).is_ok() {
                prop_assert_eq!((room.fate, room.to.as_ref()), (Fate::Stays, Some(home)));
                continue;
            }
            let lease = pool.place(&Ask::new(key), options.room_seed(key));
            let real = lease.as_ref().map(|l| l.backend().id().clone());
            prop_assert_eq!(&real, if sticks { &room.to } else { &room.alone_after });
            placed.extend(lease);
        }
    }

    #[test]
    fn with_a_hash_a_removal_moves_only_that_servers_rooms(gone in 0..8usize, drained in any::<bool>()) {
        let pool = pool("consistent-hash", 8);
        let keys = keys(400);
        let step = if drained { Step::Drain(id(gone)) } else { Step::Remove(id(gone)) };
        let plan = pool.plan(&[step], &rooms(&keys, &HashMap::new()), &PlanOptions::new(Instant::now())).unwrap();
        for room in &plan.rooms {
            prop_assert_eq!(room.moves_alone(), room.alone_before == Some(id(gone)));
            prop_assert!(room.alone_after.as_ref().is_some_and(|to| *to != id(gone)));
            let why = if drained { Why::Drain } else { Why::Gone };
            prop_assert_eq!(room.alone_why, if room.moves_alone() { why } else { Why::Same });
        }
        prop_assert!(plan.totals.moved_alone > 0);
    }
}

#[test]
fn sticks_hold_on_drain_and_failure_and_break_on_maintenance_death_and_removal() {
    let pool = pool("consistent-hash", 7);
    let keys = keys(7);
    let homes = (0..6).map(|n| (keys[n].clone(), id(n))).collect();
    let steps = [
        Step::Drain(id(0)),
        Step::Maint(id(1)),
        Step::Health(id(2), Health::Dead),
        Step::Remove(id(3)),
        Step::Health(id(4), Health::Down),
        Step::Weight(id(5), Weight::ZERO),
    ];
    let plan = pool.plan(&steps, &rooms(&keys, &homes), &PlanOptions::new(Instant::now())).unwrap();
    let got: Vec<_> = plan.rooms.iter().map(|r| (r.fate, r.why)).collect();
    let want = [
        (Fate::Stays, Why::KeptDraining),
        (Fate::Moves, Why::Maint),
        (Fate::Moves, Why::Dead),
        (Fate::Moves, Why::Gone),
        (Fate::Stays, Why::KeptFailing),
        (Fate::Stays, Why::KeptWeightless),
        (Fate::Placed, Why::New),
    ];
    assert_eq!(got, want);
    // One server is left for everything new, and for everything by the selector alone.
    assert!(plan.rooms.iter().filter(|r| r.fate != Fate::Stays).all(|r| r.to == Some(id(6))));
    assert!(plan.rooms.iter().all(|r| r.alone_after == Some(id(6))));
    assert_eq!((plan.totals.stay, plan.totals.moved, plan.totals.placed, plan.totals.refused), (3, 3, 1, 0));
    let six = plan.servers.iter().find(|s| s.id == id(6)).unwrap();
    assert_eq!((six.before, six.after, six.alone_after), (0, 4, 7));
    let text = plan.to_string();
    for want in ["room-0", "s3      gone", "its server is in maintenance", "7 rooms: 3 stay, 3 move, 1 are placed"] {
        assert!(text.contains(want), "{want:?} in\n{text}");
    }
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["rooms"][1]["fate"], "moves");
    assert_eq!(json["rooms"][1]["why"], "maint");
    assert_eq!(json["servers"][3]["removed"], true);
    // Nobody is left: refused, and said so.
    let all = [Step::Maint(id(6))].into_iter().chain(steps).collect::<Vec<_>>();
    let plan = pool.plan(&all, &rooms(&keys, &homes), &PlanOptions::new(Instant::now())).unwrap();
    assert_eq!((plan.totals.stay, plan.totals.refused), (3, 4));
    assert_eq!(plan.rooms[6].why, Why::NoCandidate);
}

#[test]
fn an_added_server_takes_rooms_by_the_selector_alone_and_none_that_stick() {
    let pool = pool("consistent-hash", 3);
    let keys = keys(200);
    let homes: HashMap<_, _> =
        keys.iter().map(|k| (k.clone(), pool.place(&Ask::new(k), 0).unwrap().backend().id().clone())).collect();
    let plan = pool.plan(&[Step::Add(server(3))], &rooms(&keys, &homes), &PlanOptions::new(Instant::now())).unwrap();
    assert_eq!((plan.totals.stay, plan.totals.moved), (200, 0));
    assert!((20..=80).contains(&plan.totals.moved_alone), "{}", plan.totals.moved_alone);
    for room in plan.rooms.iter().filter(|r| r.moves_alone()) {
        assert_eq!((room.alone_after.clone(), room.alone_why), (Some(id(3)), Why::Added));
    }
    assert!(plan.servers[3].added && plan.servers[3].after == 0);
    // A weight moves rooms only from or to that server.
    let step = Step::Weight(id(0), Weight::new(3));
    let plan = pool.plan(&[step], &rooms(&keys, &homes), &PlanOptions::new(Instant::now())).unwrap();
    assert!(plan.totals.moved == 0 && plan.totals.moved_alone > 0);
    for room in plan.rooms.iter().filter(|r| r.moves_alone()) {
        assert_eq!((room.alone_after.clone(), room.alone_why), (Some(id(0)), Why::Redefined));
    }
}

#[test]
fn a_step_that_cannot_be_made_is_named() {
    let pool = pool("first", 2);
    let plan = |steps: &[Step<Server>]| pool.plan(steps, &[], &PlanOptions::new(Instant::now())).unwrap_err();
    let e = plan(&[Step::Drain(id(0)), Step::Remove(id(5))]);
    assert_eq!((e.step, &e.source), (2, &PoolError::Unknown { id: id(5) }));
    assert_eq!(e.to_string(), "step 2 of the plan cannot be made");
    assert_eq!(plan(&[Step::Add(server(1))]).source, PoolError::Duplicate { id: id(1) });
    assert_eq!(plan(&[Step::Define(server(2))]).source, PoolError::Unknown { id: id(2) });
    assert_eq!(plan(&[Step::Reorder(vec![id(1), id(1)])]).source, PoolError::Duplicate { id: id(1) });
    assert_eq!(plan(&[Step::Reorder(vec![id(1), id(9)])]).source, PoolError::Unknown { id: id(9) });
}

#[test]
fn order_filters_caps_and_repeated_rooms_count() {
    let first = pool("first", 3);
    let keys = keys(4);
    let none = HashMap::new();
    let options = PlanOptions::new(Instant::now());
    let plan = first.plan(&[Step::Reorder(vec![id(2)])], &rooms(&keys, &none), &options).unwrap();
    assert!(plan.rooms.iter().all(|r| r.to == Some(id(2)) && r.alone_why == Why::Balance));

    let tagged = Arc::new(Server { id: id(1), weight: Weight::ONE, tags: vec!["eu".into()] });
    let eu = Filter::ladder(vec![vec![Clause::any_of(["eu"])]]).unwrap();
    let asked = [Room::new(Ask::new(&keys[0]).filter(&eu))];
    let plan = first.plan(&[Step::Define(tagged)], &asked, &options).unwrap();
    assert_eq!((plan.rooms[0].to.clone(), plan.rooms[0].alone_before.clone()), (Some(id(1)), None));
    let asked = [Room::new(Ask::new(&keys[0])), Room::new(Ask::new(&keys[0])).on(id(1))];
    assert_eq!(first.plan(&[], &asked, &options).unwrap().totals.placed, 1);

    let capped =
        Pool::new(by_name("first").unwrap(), PoolOptions::default().cap(1, std::time::Duration::from_secs(60)));
    capped.replace((0..2).map(server)).unwrap();
    let totals = |o: &PlanOptions| capped.plan(&[], &rooms(&keys, &none), o).unwrap().totals;
    assert_eq!((totals(&options).placed, totals(&options).refused), (2, 2));
    assert_eq!(totals(&options.without_cap()).placed, 4);
}

#[test]
fn a_fork_lives_on_its_own() {
    let (pool, _, held) = used("roundrobin", 10, &[7]);
    let now = Instant::now();
    // A removed server with work in flight gets its seat and its counters back, here and there.
    let busy = held[0].backend().id().clone();
    Step::Remove(busy.clone()).apply(&pool).unwrap();
    let fork = pool.fork(now);
    for p in [&fork, &pool] {
        Step::Add(Arc::new(Server { id: busy.clone(), weight: Weight::ONE, tags: Vec::new() })).apply(p).unwrap();
    }
    assert!(pool.member(busy.as_str()).unwrap().in_flight() > 0);
    assert_eq!(format!("{:?}", fork.view(now)), format!("{:?}", pool.view(now)));
    let mut events = fork.subscribe();
    fork.set_admin(&id(1), Admin::Maint).unwrap();
    assert!(events.try_recv().is_ok() && pool.member("s1").unwrap().admin() == Admin::Ready);
    drop(pool);
    assert!(fork.place(&Ask::new(&keys(1)[0]), 1).is_some());
}

#[test]
fn a_large_plan_moves_what_it_must() {
    // A scan of all servers for every room is slow without optimisation.
    let scanned = if cfg!(debug_assertions) { 5_000 } else { 100_000 };
    for (strategy, count) in [("consistent-hash", 100_000), ("least-loaded", scanned)] {
        let pool = pool(strategy, 1_000);
        let keys = keys(count);
        let homes: HashMap<_, _> = (0..).zip(&keys).map(|(n, k)| (k.clone(), id(n % 1_000))).collect();
        let rooms = rooms(&keys, &homes);
        let began = std::time::Instant::now();
        let steps = [Step::Remove(id(7)), Step::Add(server(1_000))];
        let plan = pool.plan(&steps, &rooms, &PlanOptions::new(Instant::now())).unwrap();
        println!("1,000 servers, {count} rooms, {strategy}: planned in {:?}", began.elapsed());
        assert_eq!((plan.totals.stay, plan.totals.moved), (count - count / 1_000, count / 1_000));
        assert_eq!(plan.to_string().lines().next().map(|l| l.starts_with("ROOM")), Some(true));
    }
}
