use std::sync::atomic::{AtomicBool, AtomicU64};

use balancer_core::{
    BalancerOptions, Candidates, LeastLoaded, MemoryStore, Plain, Pool, PoolOptions, Selector, Slot, StickError,
    StickPage, StickStore, Tag, Turn, Want,
};

use super::*;
use crate::spoe::frame::Incoming;
use crate::spoe::session::Next;
use crate::spoe::{AgentOptions, AgentSession, Argument, Frame, HaproxyHello, Message};

#[derive(Debug)]
struct Server {
    id: BackendId,
    number: u32,
    tags: Vec<Tag>,
}

impl Backend for Server {
    fn id(&self) -> &BackendId {
        &self.id
    }

    fn tags(&self) -> &[Tag] {
        &self.tags
    }
}

fn servers() -> Vec<Arc<Server>> {
    [("mm1", 1, "eu"), ("mm2", 2, "eu"), ("mm3", 33, "us")]
        .map(|(id, number, tag)| Arc::new(Server { id: id.into(), number, tags: vec![tag.into()] }))
        .into()
}

fn placer(options: PlacerOptions) -> Arc<Placer<Server>> {
    placer_on(Arc::new(MemoryStore::default()), options)
}

fn placer_on(store: Arc<dyn StickStore>, options: PlacerOptions) -> Arc<Placer<Server>> {
    let pool = Arc::new(Pool::new(Box::new(LeastLoaded), PoolOptions::default().load(balancer_core::ByRooms)));
    pool.replace(servers()).unwrap();
    let balancer = Balancer::new(pool, store, BalancerOptions::default());
    Arc::new(Placer::new(Arc::new(balancer), options).with_server_numbers(|server: &Server| Some(server.number)))
}

/// A message of this room and these other arguments.
fn message(room: &str, more: &[(&str, Value)]) -> Message {
    let more = more.iter().map(|(name, value)| Argument::new(*name, value.clone()));
    Message::new("place", [Argument::new("room", Value::string(room))].into_iter().chain(more).collect())
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(100)
}

async fn actions<Q: Send + Sync + 'static>(placer: &Arc<Placer<Server, Q>>, message: Message) -> Vec<Action> {
    Arc::clone(placer).answer(Query::new(vec![message], soon())).await
}

/// Server and number of the explanation.
async fn told<Q: Send + Sync + 'static>(placer: &Arc<Placer<Server, Q>>, message: Message) -> Option<(String, u64)> {
    let text = |action: &Action, wanted: &str| match action {
        Action::SetVar { scope: Scope::Transaction, name, value } if name == wanted.as_bytes() => {
            value.as_str().unwrap().to_owned()
        }
        other => panic!("{other:?}"),
    };
    let actions = actions(placer, message).await;
    let [server, why] = &actions[..] else {
        assert_eq!(actions, []);
        return None;
    };
    Some((text(server, "server"), text(why, "why").parse().unwrap()))
}

#[tokio::test]
async fn rooms_are_placed_kept_and_explained() {
    let placer = placer(PlacerOptions::default().with_decisions(true).with_explanations(4));
    let mut homes = Vec::new();
    for room in ["a", "b", "c"] {
        homes.push(told(&placer, message(room, &[])).await.unwrap().0);
    }
    let mut sorted = homes.clone();
    sorted.sort();
    assert_eq!(sorted, ["mm1", "mm2", "mm3"]);
    for (room, home) in ["a", "b", "c"].iter().zip(&homes) {
        assert_eq!(&told(&placer, message(room, &[])).await.unwrap().0, home);
    }
    assert_eq!((placer.counts().placed, placer.counts().kept), (3, 3));
    // The last four are remembered.
    assert!(placer.explanation(2).is_none() && placer.explanation(7).is_none());
    let why = placer.explanation(3).unwrap();
    assert_eq!((why.room.as_str(), why.outcome, why.server.unwrap().as_str()), ("c", Outcome::New, &*homes[2]));
    assert_eq!(why.decision.unwrap().candidate_count, 3);
    assert!(placer.explanation(6).unwrap().to_string().starts_with("6 c: sticky hit on mm"));
    // One question, one claim.
    let both = Query::new(vec![message("x", &[]), message("y", &[])], soon());
    assert_eq!(Arc::clone(&placer).answer(both).await.len(), 2);
    assert_eq!(placer.counts().placed, 4);
    let key = StickKey::new("y").unwrap();
    assert!(placer.balancer().store().get(&key, None).await.unwrap().is_none());
}

#[tokio::test]
async fn what_names_no_room_gets_no_opinion() {
    let placer = placer(PlacerOptions::default());
    let many = (0..20).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    for unreadable in [
        Message::new("place", vec![]),
        message("", &[]),
        message(&"x".repeat(1025), &[]),
        Message::new("place", vec![Argument::new("room", Value::Null)]),
        Message::new("place", vec![Argument::new("room", Value::String(vec![0xFF]))]),
        message("a", &[("tags", Value::string(many))]),
    ] {
        assert_eq!(actions(&placer, unreadable).await, []);
    }
    assert_eq!(placer.counts().unreadable, 6);
    let other = Message::new("other", message("a", &[]).args);
    assert_eq!(actions(&placer, other).await, []);
    assert_eq!(placer.counts().unreadable, 6);
    // Nobody is there to take it.
    placer.balancer().pool().replace([]).unwrap();
    assert_eq!(actions(&placer, message("a", &[])).await, []);
    assert_eq!(placer.counts().refused, 1);
    let why = placer.explanation(2).unwrap();
    assert!(why.refusal.as_deref().is_some_and(|why| why.contains("no server may take")), "{why}");
}

#[tokio::test]
async fn tags_are_needed_and_regions_preferred() {
    let placer = placer(PlacerOptions::default());
    for n in 0..6 {
        let us = message(&format!("us{n}"), &[("tags", Value::string("us"))]);
        assert_eq!(told(&placer, us).await.unwrap().0, "mm3");
        let eu = message(&format!("eu{n}"), &[("region", Value::string("eu"))]);
        assert_ne!(told(&placer, eu).await.unwrap().0, "mm3");
        let far = message(&format!("far{n}"), &[("region", Value::string("asia")), ("tags", Value::string("us, "))]);
        assert_eq!(told(&placer, far).await.unwrap().0, "mm3");
    }
    assert_eq!(told(&placer, message("x", &[("tags", Value::string("us,eu"))])).await, None);
}

/// What is said is not always heard.
#[tokio::test]
async fn who_did_not_hear_where_a_new_room_is_has_it_where_they_put_it() {
    let number = |name: &str| match name {
        "mm1" => 1,
        "mm2" => 2,
        _ => 33,
    };
    let other = |name: &str| if name == "mm1" { "mm2" } else { "mm1" };
    let placer = placer(PlacerOptions::default());
    let home = |name: &str| [("home", Value::Int64(number(name)))];
    let first = told(&placer, message("a", &[])).await.unwrap().0;
    let there = other(&first);
    for _ in 0..2 {
        assert_eq!(told(&placer, message("a", &home(there))).await.unwrap().0, there);
        assert_eq!(told(&placer, message("a", &[])).await.unwrap().0, there);
    }
    assert_eq!((placer.counts().adopted, placer.counts().conflicts), (1, 0));
    assert_eq!(placer.explanations(&StickKey::new("a").unwrap())[1].outcome, Outcome::Adopted);
    // Once it was said again, somebody may have heard it.
    let first = told(&placer, message("b", &[])).await.unwrap().0;
    assert_eq!(told(&placer, message("b", &home(&first))).await.unwrap().0, first);
    assert_eq!(told(&placer, message("b", &home(other(&first)))).await.unwrap().0, first);
    assert_eq!((placer.counts().adopted, placer.counts().conflicts), (1, 1));
    // Nobody is sent where nobody may be.
    let first = told(&placer, message("c", &[])).await.unwrap().0;
    placer.balancer().pool().set_admin(&other(&first).into(), Admin::Maint).unwrap();
    assert_eq!(told(&placer, message("c", &home(other(&first)))).await.unwrap().0, first);
}

#[tokio::test]
async fn rooms_that_haproxy_placed_stay_where_they_are() {
    let placer = placer(PlacerOptions::default());
    for n in 0..5 {
        let (room, home) = (format!("r{n}"), [("home", Value::Int64(33))]);
        assert_eq!(told(&placer, message(&room, &home)).await.unwrap().0, "mm3");
        assert_eq!(told(&placer, message(&room, &[])).await.unwrap().0, "mm3");
    }
    let by_name = message("named", &[("home", Value::string("mm2"))]);
    assert_eq!(told(&placer, by_name).await.unwrap().0, "mm2");
    assert_eq!((placer.counts().adopted, placer.counts().placed), (6, 0));
    // The stick table here wins, and the conflict is counted.
    assert_eq!(told(&placer, message("r0", &[("home", Value::Int64(1))])).await.unwrap().0, "mm3");
    assert_eq!(placer.counts().conflicts, 1);
    // Unknown numbers, and none at all: a room as any other.
    for (n, home) in [Value::Int64(0), Value::Int64(77), Value::Int64(-1), Value::Null].into_iter().enumerate() {
        assert!(told(&placer, message(&format!("n{n}"), &[("home", home)])).await.is_some());
    }
    assert_eq!(placer.counts().placed, 4);
    // A draining server keeps what HAProxy has there; one in maintenance does not.
    let store = placer.balancer().store();
    store.close(&"mm1".into(), true).await.unwrap();
    assert_eq!(told(&placer, message("drained", &[("home", Value::Int64(1))])).await, None);
    assert_eq!(placer.counts().left_alone, 1);
    store.close(&"mm1".into(), false).await.unwrap();
    placer.balancer().pool().set_admin(&"mm1".into(), Admin::Maint).unwrap();
    assert_ne!(told(&placer, message("down", &[("home", Value::Int64(1))])).await.unwrap().0, "mm1");
}

#[tokio::test]
async fn what_haproxy_waits_for_no_more_binds_nothing() {
    let placer = placer(PlacerOptions::default().with_wall_clock(|| 1_000_000));
    let at = |ms| [("at", Value::Int64(ms))];
    assert_eq!(actions(&placer, message("old", &at(999_950))).await, []);
    assert_eq!(placer.counts().stale, 1);
    assert!(told(&placer, message("young", &at(999_951))).await.is_some());
    assert!(told(&placer, message("ahead", &at(1_000_100))).await.is_some());
    // Heard of too late.
    let late = Query::new(vec![message("late", &[])], Instant::now());
    assert_eq!(Arc::clone(&placer).answer(late).await, []);
    let store = placer.balancer().store();
    for (room, bound) in [("old", false), ("young", true), ("late", false)] {
        let binding = store.get(&StickKey::new(room).unwrap(), None).await.unwrap();
        assert_eq!(binding.is_some(), bound, "{room}");
    }
    assert_eq!((placer.counts().refused, placer.counts().placed), (1, 2));
    let in_flight: u32 = placer.balancer().pool().view(Instant::now()).iter().map(|server| server.in_flight).sum();
    assert_eq!(in_flight, 0);
}

/// What is said to a question in a frame, at once if it may be; whether it was.
async fn said(placer: &Arc<Placer<Server>>, message: &Message, at_once: bool) -> (Vec<Action>, bool) {
    let frame = Frame::Notify { stream: 1, frame: 1, messages: vec![message.clone()] }.encode();
    let Ok(Incoming::Notify { messages, .. }) = Incoming::decode(&frame[4..]) else { panic!("{frame:?}") };
    let (asked, mut reply) = (Asked { engine: None, messages, deadline: soon() }, Reply::new());
    if at_once && placer.answer_at_once(&asked, &mut reply) {
        return (reply.to_actions(), true);
    }
    (Arc::clone(placer).answer_asked(&asked).await.to_actions(), false)
}

#[tokio::test]
async fn what_is_answered_at_once_is_what_would_be_answered() {
    let home = |n| [("home", Value::Int64(n))];
    for decisions in [false, true] {
        let options = PlacerOptions::default().with_decisions(decisions).with_wall_clock(|| 1_000_000);
        // Two of one history, asked in both ways.
        let placers = [placer(options.clone()), placer(options)];
        let cases = [
            (message("a", &home(33)), false),
            (message("a", &[]), !decisions),
            (message("a", &home(33)), true),
            // Where HAProxy has it elsewhere, there is more to look at.
            (message("a", &home(1)), false),
            (message("a", &[("home", Value::string("mm1"))]), false),
            (message("a", &[("at", Value::Int64(999_000))]), false),
            (message("b", &home(2)), false),
            (message("b", &[("tags", Value::string("nobody"))]), !decisions),
            (message(&"x".repeat(1025), &[]), false),
            (message("", &[]), true),
            (Message::new("other", vec![]), true),
        ];
        for (message, now) in &cases {
            let one = said(&placers[0], message, true).await;
            let other = said(&placers[1], message, false).await;
            assert_eq!((&one.0, one.1), (&other.0, *now), "{message:?}");
            assert_eq!(placers[0].counts(), placers[1].counts(), "{message:?}");
        }
        // Rooms stay on a server that drains, and leave one in maintenance.
        for (admin, now) in [(Admin::Drain, true), (Admin::Maint, false)] {
            for placer in &placers {
                placer.balancer().pool().set_admin(&"mm3".into(), admin).unwrap();
            }
            let one = said(&placers[0], &message("a", &home(33)), true).await;
            assert_eq!(one.1, now);
            assert_eq!(one.0.is_empty(), said(&placers[1], &message("a", &home(33)), false).await.0.is_empty());
            assert_eq!(placers[0].counts(), placers[1].counts());
        }
        let told = |placer: &Placer<Server>| {
            (1..40)
                .map_while(|n| placer.explanation(n))
                .map(|why| (why.room, why.outcome, why.refusal))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&placers[0]), told(&placers[1]));
    }
}

/// Neither to read the question, nor to place, explain and answer.
#[tokio::test]
async fn known_rooms_take_no_memory() {
    let placer = placer(PlacerOptions::default().with_explanations(8));
    let mut session = AgentSession::new(AgentOptions::default());
    session.receive(&Frame::HaproxyHello(HaproxyHello::new(16_380)).encode());
    let mut asks = Vec::new();
    for n in 0..20 {
        let more =
            [("source", Value::Ipv4([192, 0, 2, 1].into())), ("tags", Value::string("eu")), ("home", Value::Int64(2))];
        let message = message(&format!("room-{n}"), &more);
        assert_eq!(actions(&placer, message.clone()).await.len(), 2);
        asks.extend(Frame::Notify { stream: n, frame: 1, messages: vec![message] }.encode());
    }
    let mut reply = Reply::new();
    let mut round = || {
        session.input().extend_from_slice(&asks);
        while let Some(next) = session.next() {
            let Next::Query { ticket, place } = next else { continue };
            reply.clear();
            let asked = Asked { engine: None, messages: session.messages(place), deadline: soon() };
            assert!(placer.answer_at_once(&asked, &mut reply) && reply.len() == 2);
            session.reply(ticket, &reply).unwrap();
        }
        session.written();
    };
    round();
    assert_eq!(allocation_counter::measure(|| (0..50).for_each(|_| round())).count_total, 0);
    assert_eq!(placer.counts().kept, 51 * 20);
}

/// Chooses by who asks.
#[derive(Clone)]
struct BySource;

impl Selector<Server, Option<std::net::IpAddr>> for BySource {
    fn pick(
        &self,
        among: &Candidates<'_, Server>,
        ask: &Ask<'_, Option<std::net::IpAddr>>,
        _turn: &mut Turn<'_>,
    ) -> Option<Slot> {
        let wanted = if ask.query.is_some_and(|source| source.is_ipv6()) { "mm3" } else { "mm1" };
        among.iter().find(|slot| among.member(*slot).is_some_and(|member| member.backend().id.as_str() == wanted))
    }
}

#[tokio::test]
async fn any_selector_is_asked_with_what_it_wants_to_know() {
    let pool = Arc::new(Pool::with_query(Box::new(Plain::new("by-source", BySource)), PoolOptions::default()));
    pool.replace(servers()).unwrap();
    let balancer = Balancer::new(pool, Arc::new(MemoryStore::default()), BalancerOptions::default());
    let placer = Placer::with_query(Arc::new(balancer), PlacerOptions::default(), |wish| wish.source);
    let placer = Arc::new(placer);
    for (room, source, home) in [
        ("a", Value::Ipv4([192, 0, 2, 1].into()), "mm1"),
        ("b", Value::Ipv6("2001:db8::1".parse().unwrap()), "mm3"),
        ("c", Value::string("2001:db8::1"), "mm3"),
        ("d", Value::Null, "mm1"),
    ] {
        assert_eq!(told(&placer, message(room, &[("source", source)])).await.unwrap().0, home);
    }
}

mod any {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl proptest::strategy::Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Int64),
            any::<u64>().prop_map(Value::Uint64),
            any::<std::net::Ipv4Addr>().prop_map(Value::Ipv4),
            vec(any::<u8>(), 0..40).prop_map(Value::String),
            "[a-z, ]{0,60}".prop_map(Value::string),
            "(2001:db8::1|192.0.2.1|.{0,10})".prop_map(Value::string),
        ]
    }

    proptest! {
        /// Whatever the arguments are: a wish with a room that can be a key, or none.
        #[test]
        fn arguments(args in vec((0..7_usize, value()), 0..9)) {
            let names = ["room", "tags", "region", "source", "home", "at", "x"];
            let named = args.into_iter().map(|(name, value)| Argument::new(names[name], value)).collect::<Vec<_>>();
            let options = PlacerOptions::default();
            let args = named.iter().map(|arg: &Argument| (&*arg.name, arg.value.view()));
            if let Some(wish) = Told::read(args, &options).and_then(|told| Wish::new(&told)) {
                prop_assert!(!wish.room.as_str().is_empty());
                let _ = (wish.is_stale(&options), wish.filter());
            }
        }
    }
}

/// Whenever HAProxy's patience ends, what it is told is bound, and what it is not told is not.
#[tokio::test]
async fn a_room_is_bound_if_haproxy_hears_of_it() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    let placer = placer(PlacerOptions::default().with_wall_clock(|| NOW.fetch_add(10, Relaxed)));
    for asked in 0..20 {
        let (room, at) = (format!("room-{asked}"), [("at", Value::Int64(asked * 5))]);
        NOW.store(100, Relaxed);
        let told = told(&placer, message(&room, &at)).await.map(|(server, _)| server);
        let bound = placer.balancer().store().get(&StickKey::new(&*room).unwrap(), None).await.unwrap();
        assert_eq!(bound.map(|bound| bound.backend.as_str().to_owned()), told, "{room}");
    }
    let counts = placer.counts();
    assert!(counts.stale > 0 && counts.refused > 0 && counts.taken_back > 0 && counts.placed > 0, "{counts:?}");
}

/// A store in memory whose answers to claims are lost on command.
#[derive(Default)]
struct Losing {
    inner: MemoryStore,
    loses: AtomicBool,
}

#[async_trait]
impl StickStore for Losing {
    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Result<Option<Binding>, StickError> {
        self.inner.get(key, extend).await
    }
    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        let claimed = self.inner.claim(key, want, ttl).await;
        if self.loses.load(Relaxed) {
            return Err(StickError::Lost { target: "test".into(), why: "on command".into(), source: None });
        }
        claimed
    }
    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.inner.rebind(key, seen, want, ttl).await
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
        self.inner.list(backend, from).await
    }
    async fn count(&self, backend: &BackendId) -> Result<u64, StickError> {
        self.inner.count(backend).await
    }
}

/// Nothing was said, and a claim that was thought lost went through: HAProxy has put the first person somewhere. What
/// others have bound is theirs, however little was said here.
#[tokio::test]
async fn a_claim_that_was_thought_lost_yields_to_haproxy_and_others_do_not() {
    let store = Arc::new(Losing::default());
    let placer = placer_on(store.clone(), PlacerOptions::default());
    let elsewhere = async |room: &str| {
        let bound = store.inner.get(&StickKey::new(room).unwrap(), None).await.unwrap().unwrap().backend;
        let other = if bound.as_str() == "mm1" { ("mm2", 2) } else { ("mm1", 1) };
        (bound.as_str().to_owned(), other.0, [("home", Value::Int64(other.1))])
    };
    store.loses.store(true, Relaxed);
    assert_eq!(told(&placer, message("lost", &[])).await, None);
    store.loses.store(false, Relaxed);
    let (_, other, home) = elsewhere("lost").await;
    assert_eq!(told(&placer, message("lost", &home)).await.unwrap().0, other);
    assert_eq!((placer.counts().adopted, placer.counts().conflicts), (1, 0));

    placer.balancer().pool().replace([]).unwrap();
    assert_eq!(told(&placer, message("theirs", &[])).await, None);
    placer.balancer().pool().replace(servers()).unwrap();
    let want = Want { backend: "mm3".into(), token: Token(7) };
    store.claim(&StickKey::new("theirs").unwrap(), &want, Duration::from_secs(60)).await.unwrap();
    let (bound, _, home) = elsewhere("theirs").await;
    assert_eq!(told(&placer, message("theirs", &home)).await.unwrap().0, bound);
    assert_eq!((placer.counts().adopted, placer.counts().conflicts), (1, 1));
}
