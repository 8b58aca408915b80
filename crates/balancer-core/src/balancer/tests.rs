use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

use super::*;
use crate::load::ByRooms;
use crate::pool::PoolOptions;
use crate::selector::by_name;
use crate::state::Health;
use crate::stick::{MemoryOptions, MemoryStore, StickPage, WallClock};

struct Server(BackendId);

impl Backend for Server {
    fn id(&self) -> &BackendId {
        &self.0
    }
}

fn pool(ids: &[&str]) -> Arc<Pool<Server>> {
    let pool = Pool::new(by_name("leastconn").unwrap(), PoolOptions::default());
    pool.replace(ids.iter().map(|id| Arc::new(Server((*id).into())))).unwrap();
    Arc::new(pool)
}

fn key(text: &str) -> StickKey {
    StickKey::new(text).unwrap()
}

fn balancer(pool: &Arc<Pool<Server>>, store: Arc<dyn StickStore>, settle: u64) -> Balancer<Server> {
    let options = BalancerOptions::default().settle(Duration::from_millis(settle));
    Balancer::new(pool.clone(), store, options)
}

/// A memory store that loses contact on command, before or after doing its work.
#[derive(Default)]
struct Flaky {
    inner: MemoryStore,
    lost: AtomicBool,
    refuses: AtomicBool,
    lose_answers: AtomicUsize,
    claims: AtomicUsize,
}

impl Flaky {
    fn gate(&self) -> Result<(), StickError> {
        if self.refuses.load(SeqCst) {
            return Err(StickError::Refused { target: "test".into(), why: "its disk is full".into() });
        }
        if self.lost.load(SeqCst) { Err(lost()) } else { Ok(()) }
    }

    fn answer(&self, claim: Claim) -> Result<Claim, StickError> {
        self.claims.fetch_add(1, SeqCst);
        let lose = self.lose_answers.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok();
        if lose { Err(lost()) } else { Ok(claim) }
    }
}

fn lost() -> StickError {
    StickError::Lost { target: "test".into(), why: "on command".into(), source: None }
}

#[async_trait]
impl StickStore for Flaky {
    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Result<Option<Binding>, StickError> {
        self.gate()?;
        self.inner.get(key, extend).await
    }
    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.gate()?;
        let claim = self.inner.claim(key, want, ttl).await?;
        self.answer(claim)
    }
    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.gate()?;
        let claim = self.inner.rebind(key, seen, want, ttl).await?;
        self.answer(claim)
    }
    async fn renew(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> Result<bool, StickError> {
        self.inner.renew(key, seen, ttl).await
    }
    async fn release(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        self.inner.release(key, seen).await
    }
    async fn close(&self, backend: &BackendId, closed: bool) -> Result<(), StickError> {
        self.inner.close(backend, closed).await
    }
    async fn list(&self, backend: &BackendId, from: Option<&str>) -> Result<StickPage, StickError> {
        self.gate()?;
        self.inner.list(backend, from).await
    }
    async fn count(&self, backend: &BackendId) -> Result<u64, StickError> {
        self.inner.count(backend).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_room_one_server_through_many_tasks_of_two_processes() {
    let store: Arc<dyn StickStore> = Arc::new(MemoryStore::default());
    let (one, two) = (pool(&["a", "b", "c"]), pool(&["c", "b", "a"]));
    let both = [Arc::new(balancer(&one, store.clone(), 0)), Arc::new(balancer(&two, store, 0))];
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let mut tasks = Vec::new();
    for n in 0..2000 {
        let (b, seen) = (both[n % 2].clone(), seen.clone());
        tasks.push(tokio::spawn(async move {
            let room = key(&format!("room {}", n % 50));
            let placed = b.route(&Ask::new(&room)).await.unwrap();
            seen.lock().unwrap().insert((room, placed.backend().id().clone()));
            placed.land();
        }));
    }
    for t in tasks {
        t.await.unwrap();
    }
    assert_eq!(seen.lock().unwrap().len(), 50);
    for p in [one, two] {
        assert!(p.members().iter().all(|m| m.in_flight() == 0));
    }
}

#[tokio::test]
async fn a_room_of_a_dead_server_moves_once_and_never_back() {
    let p = pool(&["a", "b"]);
    let b = balancer(&p, Arc::new(MemoryStore::default()), 0);
    let room = key("r");
    let home = b.route(&Ask::new(&room)).await.unwrap().backend().id().clone();
    p.declare(&home, Health::Down, "test").unwrap();
    let still = b.route(&Ask::new(&room)).await.unwrap();
    assert_eq!((still.backend().id(), still.outcome()), (&home, Outcome::Sticky), "down is not dead");
    p.declare(&home, Health::Dead, "test").unwrap();
    let moved = b.route(&Ask::new(&room)).await.unwrap();
    assert_eq!(moved.outcome(), Outcome::Moved);
    let next = moved.backend().id().clone();
    assert_ne!(next, home);
    p.declare(&home, Health::Up, "test").unwrap();
    let after = b.route(&Ask::new(&room)).await.unwrap();
    assert_eq!((after.backend().id(), after.outcome()), (&next, Outcome::Sticky));
}

#[tokio::test]
async fn a_young_binding_is_not_moved_again() {
    let p = pool(&["a", "b"]);
    let b = balancer(&p, Arc::new(MemoryStore::default()), 60_000);
    let room = key("r");
    let home = b.route(&Ask::new(&room)).await.unwrap().backend().id().clone();
    p.set_admin(&home, Admin::Maint).unwrap();
    let refused = b.route(&Ask::new(&room)).await.unwrap_err();
    assert!(matches!(&refused, RouteError::Pinned { id, .. } if *id == home), "{refused}");
    assert!(refused.is_retryable());
}

#[tokio::test]
async fn a_server_only_others_know_is_not_dead() {
    let store: Arc<dyn StickStore> = Arc::new(MemoryStore::default());
    let room = key("r");
    balancer(&pool(&["new"]), store.clone(), 0).route(&Ask::new(&room)).await.unwrap().land();
    let behind = balancer(&pool(&["old"]), store, 0);
    let e = behind.route(&Ask::new(&room)).await.unwrap_err();
    assert!(matches!(&e, RouteError::Unknown { id } if id.as_str() == "new"), "{e}");
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_ours() {
    let p = pool(&["a", "b"]);
    let store = Arc::new(Flaky::default());
    store.lose_answers.store(1, SeqCst);
    let b = balancer(&p, store.clone(), 0);
    let placed = b.route(&Ask::new(&key("r"))).await.unwrap();
    assert_eq!((placed.outcome(), store.claims.load(SeqCst)), (Outcome::New, 2));
    assert_eq!(p.member(placed.backend().id().as_str()).unwrap().in_flight(), 1);
}

#[tokio::test]
async fn without_the_store_known_rooms_stay_and_unknown_ones_are_refused() {
    let p = pool(&["a", "b"]);
    let store = Arc::new(Flaky::default());
    let b = balancer(&p, store.clone(), 0);
    let home = b.route(&Ask::new(&key("known"))).await.unwrap().backend().id().clone();
    store.lost.store(true, SeqCst);
    assert_eq!(*b.route(&Ask::new(&key("known"))).await.unwrap().backend().id(), home);
    let e = b.route(&Ask::new(&key("unknown"))).await.unwrap_err();
    assert!(matches!(&e, RouteError::Store(_)) && e.is_retryable(), "{e}");
    let other = if home.as_str() == "a" { "b" } else { "a" };
    b.forget_known(&other.into());
    assert_eq!(*b.route(&Ask::new(&key("known"))).await.unwrap().backend().id(), home);
    b.forget_known(&home);
    let e = b.route(&Ask::new(&key("known"))).await.unwrap_err();
    assert!(matches!(&e, RouteError::Store(_)), "somebody may have moved it: {e}");
    let by_hash = BalancerOptions::default().lost_store(LostStore::Hash(16));
    let b = Balancer::new(p, store.clone(), by_hash.clone());
    assert!(b.route(&Ask::new(&key("unknown"))).await.is_err(), "leastconn does not find a room again");
    let p = Arc::new(Pool::new(by_name("consistent-hash").unwrap(), PoolOptions::default()));
    p.replace(["a", "b"].map(|id| Arc::new(Server(id.into())))).unwrap();
    let b = Balancer::new(p, store, by_hash);
    let first = b.route(&Ask::new(&key("unknown"))).await.unwrap().backend().id().clone();
    assert_eq!(*b.route(&Ask::new(&key("unknown"))).await.unwrap().backend().id(), first);
}

#[tokio::test]
async fn a_closed_server_is_picked_no_more_and_draining_ends() {
    let p = pool(&["a", "b"]);
    let store = Arc::new(MemoryStore::default());
    let b = balancer(&p, store.clone(), 0);
    // Only the store knows that `a` is closed: another process is draining it.
    store.close(&"a".into(), true).await.unwrap();
    for n in 0..20 {
        let placed = b.route(&Ask::new(&key(&n.to_string()))).await.unwrap();
        assert_eq!(placed.backend().id().as_str(), "b");
    }
    b.drain(&"b".into()).await.unwrap();
    assert_eq!(b.remaining(&"b".into()).await.unwrap(), 20);
    let refused = b.route(&Ask::new(&key("new"))).await.unwrap_err();
    assert!(matches!(refused, RouteError::NoCandidate) && refused.is_retryable(), "a server may come back");
    assert_eq!(b.route(&Ask::new(&key("3"))).await.unwrap().outcome(), Outcome::Sticky);
    b.ready(&"b".into()).await.unwrap();
    assert!(b.route(&Ask::new(&key("new"))).await.is_ok());
}

#[tokio::test]
async fn decisions_name_the_server_the_terms_and_everybody_left_out() {
    let p = Pool::new(by_name("least-loaded").unwrap(), PoolOptions::default().load(ByRooms));
    p.replace(["a", "b", "c", "d"].map(|id| Arc::new(Server(id.into())))).unwrap();
    let p = Arc::new(p);
    for (id, rooms) in [("a", 3), ("b", 1), ("c", 0), ("d", 0)] {
        p.report(&id.into(), crate::Report::new(tokio::time::Instant::now()).with_rooms(rooms)).unwrap();
    }
    p.set_admin(&"c".into(), Admin::Drain).unwrap();
    p.declare(&"d".into(), Health::Down, "test").unwrap();
    let b = balancer(&p, Arc::new(MemoryStore::default()), 0);
    let (placed, why) = b.route_explained(&Ask::new(&key("r"))).await;
    placed.unwrap().land();
    assert_eq!((why.outcome, why.backend.as_ref().unwrap().as_str()), (Outcome::New, "b"));
    let order: Vec<&str> = why.candidates.iter().map(|r| r.id.as_str()).collect();
    let out: Vec<(&str, &str)> = why.excluded.iter().map(|x| (x.id.as_str(), x.reason)).collect();
    assert_eq!((order, out), (vec!["b", "a"], vec![("c", "drain"), ("d", "down")]));
    let (again, why) = b.route_explained(&Ask::new(&key("r"))).await;
    assert_eq!((again.unwrap().outcome(), why.outcome), (Outcome::Sticky, Outcome::Sticky));
    assert!(why.to_string().contains("sticky hit"), "{why}");
    assert!(serde_json::to_value(&why).unwrap()["candidates"][0]["placed_since"] == 1.0);
}

#[tokio::test]
async fn a_dropped_request_gives_its_unit_back() {
    let p = pool(&["a"]);
    let b = balancer(&p, Arc::new(MemoryStore::default()), 0);
    let room = key("r");
    let ask = Ask::new(&room);
    drop(b.route(&ask));
    drop(b.route(&ask).await.unwrap());
    assert_eq!(p.member("a").unwrap().in_flight(), 0);
}

#[tokio::test]
async fn a_store_that_refuses_keeps_nobody_of_a_known_room_out() {
    let p = pool(&["a", "b"]);
    let store = Arc::new(Flaky::default());
    let b = balancer(&p, store.clone(), 0);
    let home = b.route(&Ask::new(&key("known"))).await.unwrap().backend().id().clone();
    store.refuses.store(true, SeqCst);
    assert_eq!(*b.route(&Ask::new(&key("known"))).await.unwrap().backend().id(), home);
    let e = b.route(&Ask::new(&key("unknown"))).await.unwrap_err();
    assert!(matches!(&e, RouteError::Store(e) if e.kind() == StickErrorKind::Refused), "{e}");
}

#[tokio::test]
async fn a_store_whose_clock_is_ahead_or_behind_ages_its_bindings_all_the_same() {
    static NOW: AtomicU64 = AtomicU64::new(10_000_000);
    const HOUR: u64 = 3_600_000;
    for store_ahead in [true, false] {
        let clock = WallClock::from_fn(move || {
            let now = NOW.load(SeqCst);
            if store_ahead { now + HOUR } else { now - HOUR }
        });
        let store = Arc::new(MemoryStore::new(MemoryOptions::new().wall_clock(clock)));
        let p = pool(&["a", "b"]);
        let options = BalancerOptions::default().settle(Duration::from_secs(10)).wall_clock(|| NOW.load(SeqCst));
        let b = Balancer::new(p.clone(), store, options);
        let room = key("r");
        let home = b.route(&Ask::new(&room)).await.unwrap().backend().id().clone();
        p.declare(&home, Health::Dead, "test").unwrap();
        NOW.fetch_add(9_000, SeqCst);
        let early = b.route(&Ask::new(&room)).await;
        assert!(matches!(early, Err(RouteError::Pinned { .. })), "{store_ahead}: {early:?}");
        NOW.fetch_add(1_000, SeqCst);
        assert_eq!(b.route(&Ask::new(&room)).await.unwrap().outcome(), Outcome::Moved, "{store_ahead}");
    }
}

#[tokio::test]
async fn a_server_is_found_behind_many_that_are_closed() {
    let ids: Vec<String> = (0..14).map(|i| format!("s{i}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let p = pool(&ids);
    let store = Arc::new(MemoryStore::default());
    // Another process drains all but the last, and this one was not told.
    for id in &ids[..13] {
        store.close(&(*id).into(), true).await.unwrap();
    }
    let b = balancer(&p, store.clone(), 0);
    for n in 0..20 {
        let placed = b.route(&Ask::new(&key(&n.to_string()))).await.unwrap();
        assert_eq!(placed.backend().id().as_str(), "s13");
    }
    store.close(&"s13".into(), true).await.unwrap();
    assert!(matches!(b.route(&Ask::new(&key("new"))).await, Err(RouteError::NoCandidate)));
}

#[tokio::test]
async fn a_room_placed_without_the_store_stays_while_its_server_drains() {
    let p = Arc::new(Pool::new(by_name("consistent-hash").unwrap(), PoolOptions::default()));
    p.replace(["a", "b"].map(|id| Arc::new(Server(id.into())))).unwrap();
    let store = Arc::new(Flaky::default());
    store.lost.store(true, SeqCst);
    let b = Balancer::new(p.clone(), store, BalancerOptions::default().lost_store(LostStore::Hash(16)));
    let room = key("r");
    let home = b.route(&Ask::new(&room)).await.unwrap().backend().id().clone();
    p.set_admin(&home, Admin::Drain).unwrap();
    assert_eq!(*b.route(&Ask::new(&room)).await.unwrap().backend().id(), home);
    p.declare(&home, Health::Dead, "test").unwrap();
    let next = b.route(&Ask::new(&room)).await.unwrap().backend().id().clone();
    assert_ne!(next, home);
    p.declare(&home, Health::Up, "test").unwrap();
    p.set_admin(&home, Admin::Ready).unwrap();
    assert_eq!(*b.route(&Ask::new(&room)).await.unwrap().backend().id(), next, "never back");
}

#[tokio::test(start_paused = true)]
async fn what_was_not_asked_for_within_its_time_to_live_is_known_no_more() {
    let p = pool(&["a", "b"]);
    let store = Arc::new(Flaky::default());
    let options = BalancerOptions::default().ttl(Duration::from_secs(100));
    let b = Balancer::new(p, store.clone(), options);
    let (used, unused) = (key("used"), key("unused"));
    drop(b.route(&Ask::new(&used)).await.unwrap());
    drop(b.route(&Ask::new(&unused)).await.unwrap());
    store.lost.store(true, SeqCst);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(b.find(&used).await.unwrap().is_some());
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(b.find(&used).await.unwrap().is_some(), "asked for within its time to live");
    assert!(b.find(&unused).await.is_err());
}

fn by_hash(store: &Arc<Flaky>) -> (Arc<Pool<Server>>, Balancer<Server>) {
    let p = Arc::new(Pool::new(by_name("consistent-hash").unwrap(), PoolOptions::default()));
    p.replace(["a", "b"].map(|id| Arc::new(Server(id.into())))).unwrap();
    let b = Balancer::new(p.clone(), store.clone(), BalancerOptions::default().lost_store(LostStore::Hash(16)));
    (p, b)
}

#[tokio::test]
async fn a_room_placed_without_the_store_is_stored_where_it_is_when_the_store_is_back() {
    let store = Arc::new(Flaky::default());
    store.lost.store(true, SeqCst);
    let (p, b) = by_hash(&store);
    let room = key("r");
    let home = b.route(&Ask::new(&room)).await.unwrap().backend().id().clone();
    p.set_admin(&home, Admin::Drain).unwrap();
    store.lost.store(false, SeqCst);
    store.lose_answers.store(1, SeqCst);
    let back = b.route(&Ask::new(&room)).await.unwrap();
    assert_eq!((back.backend().id(), back.outcome()), (&home, Outcome::Sticky));
    assert_eq!(store.inner.get(&room, None).await.unwrap().as_ref(), Some(back.binding()));
}

#[tokio::test]
async fn a_room_placed_without_the_store_yields_to_what_others_stored() {
    let store = Arc::new(Flaky::default());
    store.lost.store(true, SeqCst);
    let (_, b) = by_hash(&store);
    let (room, other) = (key("r"), key("other"));
    let home = b.route(&Ask::new(&room)).await.unwrap().backend().id().clone();
    drop(b.route(&Ask::new(&other)).await.unwrap());
    store.lost.store(false, SeqCst);
    let elsewhere: BackendId = if home.as_str() == "a" { "b" } else { "a" }.into();
    let want = Want { backend: elsewhere.clone(), token: Token(7) };
    store.inner.claim(&room, &want, Duration::from_secs(60)).await.unwrap();
    assert_eq!(*b.route(&Ask::new(&room)).await.unwrap().backend().id(), elsewhere);
    // The store forgot it again: that one was stored, so it ended.
    store.inner.release(&room, &b.find(&room).await.unwrap().unwrap()).await.unwrap();
    assert_eq!(b.find(&room).await.unwrap(), None);
}

#[tokio::test]
async fn a_room_placed_without_the_store_stays_on_a_server_closed_there_and_leaves_one_that_takes_nothing() {
    let store = Arc::new(Flaky::default());
    store.lost.store(true, SeqCst);
    let (p, b) = by_hash(&store);
    let room = key("r");
    let home = b.route(&Ask::new(&room)).await.unwrap().backend().id().clone();
    store.lost.store(false, SeqCst);
    b.drain(&home).await.unwrap();
    assert_eq!(*b.route(&Ask::new(&room)).await.unwrap().backend().id(), home);
    p.set_admin(&home, Admin::Maint).unwrap();
    let moved = b.route(&Ask::new(&room)).await.unwrap();
    assert_ne!(*moved.backend().id(), home);
}

#[tokio::test]
async fn the_rooms_of_a_removed_server_get_a_new_one_and_its_id_is_free_again() {
    let p = pool(&["a", "b"]);
    let store = Arc::new(MemoryStore::default());
    let b = balancer(&p, store.clone(), 60_000);
    let mut on_a = 0;
    for n in 0..3000 {
        let placed = b.route(&Ask::new(&key(&n.to_string()))).await.unwrap();
        on_a += u64::from(placed.backend().id().as_str() == "a");
        placed.land();
    }
    assert!(on_a > 1000, "{on_a}");
    assert_eq!(b.remove(&"a".into()).await.unwrap(), on_a);
    assert!(p.member("a").is_none());
    assert_eq!(store.count(&"a".into()).await.unwrap(), 0);
    for n in 0..3000 {
        let placed = b.route(&Ask::new(&key(&n.to_string()))).await.unwrap();
        assert_eq!(placed.backend().id().as_str(), "b");
    }
    // The stick table keeps nothing of it, so that it may come back under its name.
    p.replace([Arc::new(Server("a".into()))]).unwrap();
    assert_eq!(b.route(&Ask::new(&key("new"))).await.unwrap().backend().id().as_str(), "a");
    assert_eq!(b.remove(&"never heard of".into()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_removal_that_lost_the_store_stays_closed_and_can_be_repeated() {
    let p = pool(&["a", "b"]);
    let store = Arc::new(Flaky::default());
    let b = balancer(&p, store.clone(), 60_000);
    let room = key("r");
    let home = b.route(&Ask::new(&room)).await.unwrap().backend().id().clone();
    store.lost.store(true, SeqCst);
    assert!(b.remove(&home).await.is_err());
    assert_eq!(p.member(home.as_str()).unwrap().admin(), Admin::Maint);
    store.lost.store(false, SeqCst);
    assert_eq!(b.remove(&home).await.unwrap(), 1);
    let placed = b.route(&Ask::new(&room)).await.unwrap();
    assert_ne!((placed.backend().id(), placed.outcome()), (&home, Outcome::Sticky));
}

#[tokio::test(start_paused = true)]
async fn a_removal_waits_for_what_is_on_its_way() {
    let p = pool(&["a"]);
    let store = Arc::new(MemoryStore::default());
    let b = Arc::new(balancer(&p, store.clone(), 0));
    let placed = b.route(&Ask::new(&key("r"))).await.unwrap();
    let e = b.remove(&"a".into()).await.unwrap_err();
    assert!(matches!(e, RouteError::InUse { rooms: 0, units: 1, .. }) && e.is_retryable(), "{e}");
    assert!(p.member("a").is_some());
    let remover = b.clone();
    let removal = tokio::spawn(async move { remover.remove(&"a".into()).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = Want { backend: "a".into(), token: Token(1) };
    assert_eq!(store.claim(&key("late"), &late, Duration::from_secs(9)).await.unwrap(), Claim::Closed);
    placed.land();
    assert_eq!(removal.await.unwrap().unwrap(), 0);
    assert!(p.member("a").is_none());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_bound_for_who_waits_no_longer() {
    let store = Arc::new(Flaky::default());
    let b = balancer(&pool(&["a"]), store.clone(), 0);
    let room = key("r");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
    // In time, an answer that was lost is asked for once more.
    store.lose_answers.store(2, SeqCst);
    assert!(matches!(b.route(&Ask::new(&room).until(tokio::time::Instant::now())).await, Err(RouteError::Late)));
    assert_eq!(store.claims.load(SeqCst), 0);
    assert!(b.route(&Ask::new(&room).until(deadline)).await.is_err());
    assert_eq!(store.claims.load(SeqCst), 2);
    tokio::time::advance(Duration::from_secs(2)).await;
    let other = key("other");
    assert!(matches!(b.route(&Ask::new(&other).until(deadline)).await, Err(RouteError::Late)));
    assert_eq!((b.find(&other).await.unwrap(), b.pool().member("a").unwrap().in_flight()), (None, 0));
    // What was claimed in time is known by its token.
    let soon = tokio::time::Instant::now() + Duration::from_secs(1);
    let named = b.route(&Ask::new(&key("named")).until(soon).token(Token(7))).await.unwrap();
    assert_eq!(named.binding().token, Token(7));
    drop(named);
    // A room that lives somewhere is found however late.
    let found = b.route(&Ask::new(&room).until(deadline)).await.unwrap();
    assert_eq!(found.outcome(), Outcome::Sticky);
}

#[tokio::test]
async fn a_placement_that_is_taken_back_is_known_no_more() {
    let store = Arc::new(Flaky::default());
    let b = balancer(&pool(&["a", "b"]), store.clone(), 0);
    let room = key("r");
    let unheard = b.route(&Ask::new(&room)).await.unwrap();
    assert!(b.take_back(&room, unheard.binding()).await.unwrap());
    store.lost.store(true, SeqCst);
    assert!(b.route(&Ask::new(&room)).await.is_err(), "nobody was told of it");
    store.lost.store(false, SeqCst);
    // Somebody else has put it elsewhere meanwhile: that stays, and is known.
    let Claim::Won(bound) = b.adopt(&room, None, &"b".into()).await.unwrap() else { panic!() };
    assert!(!b.take_back(&room, unheard.binding()).await.unwrap());
    store.lost.store(true, SeqCst);
    assert_eq!(b.route(&Ask::new(&room)).await.unwrap().backend().id().as_str(), "b");
    store.lost.store(false, SeqCst);
    assert!(matches!(b.adopt(&room, None, &"a".into()).await.unwrap(), Claim::Held(held) if held == bound));
    store.lose_answers.store(1, SeqCst);
    let moved = b.adopt(&room, Some(&bound), &"a".into()).await.unwrap();
    assert!(matches!(moved, Claim::Won(now) if now.backend.as_str() == "a"));
}
