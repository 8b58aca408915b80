//! Rooms on shards: one each, by region, while shards drain, die and return.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use adapter_jitsi::{FocusRooms, RegionGroups, Shard, ShardError, ShardEvent, ShardOptions, ShardStep, Shards};
use balancer_core::{
    Admin, Backend, BackendId, Health, HealthRules, MemoryOptions, MemoryStore, Outcome, RouteError, StickKey, Weight,
};
use proptest::prelude::*;
use tokio::time::advance;

fn shard(id: &str, region: &str) -> Shard {
    Shard::try_new(id).unwrap().with_region(region).unwrap()
}

fn four() -> Vec<Shard> {
    vec![shard("eu-1", "eu"), shard("eu-2", "eu"), shard("uk-1", "uk"), shard("us-1", "us")]
}

fn options() -> ShardOptions {
    let mut options = ShardOptions::default();
    options.groups = RegionGroups::new([["eu", "uk"], ["us", "ca"]]);
    options.settle = Duration::ZERO;
    options
}

fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(MemoryOptions::new().tokio_clock()))
}

fn over(store: &Arc<MemoryStore>) -> Shards {
    Shards::try_new(four(), store.clone(), options()).unwrap()
}

fn room(name: &str) -> StickKey {
    Shards::room(name).unwrap()
}

async fn home(shards: &Shards, name: &str, region: Option<&str>) -> String {
    shards.place(&room(name), region).await.unwrap().shard.id().to_string()
}

fn id(name: &str) -> BackendId {
    name.into()
}

/// Probes that fail until the shard is down.
fn fell(shards: &Shards, name: &str) {
    for _ in 0..3 {
        shards.pool().observe(&id(name), false, &HealthRules::default(), "web: refused").unwrap();
    }
}

fn up(shards: &Shards, name: &str) {
    for _ in 0..2 {
        shards.pool().observe(&id(name), true, &HealthRules::default(), "ok").unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_region_decides_and_the_rest_follow() {
    let shards = over(&store());
    assert_eq!(home(&shards, "a", Some("us")).await, "us-1");
    for region in [Some("eu"), Some("uk"), None, Some("nowhere")] {
        assert_eq!(home(&shards, "/A", region).await, "us-1", "{region:?}");
    }
    // The group where the region has none, then anywhere.
    assert_eq!(home(&shards, "b", Some("ca")).await, "us-1");
    shards.order(&id("uk-1"), Admin::Drain).await.unwrap();
    assert!(home(&shards, "c", Some("uk")).await.starts_with("eu-"));
    for eu in ["eu-1", "eu-2"] {
        shards.order(&id(eu), Admin::Drain).await.unwrap();
    }
    assert_eq!(home(&shards, "d", Some("uk")).await, "us-1");
    assert!(home(&shards, "c", Some("us")).await.starts_with("eu-"), "it lives there");
    shards.order(&id("us-1"), Admin::Drain).await.unwrap();
    let none = shards.place(&room("e"), None).await.unwrap_err();
    assert!(matches!(none, ShardError::Route(RouteError::NoCandidate)), "{none}");
    assert_eq!((none.code(), none.is_retryable()), ("no-shard", true));
}

#[tokio::test(start_paused = true)]
async fn every_recorded_form_of_a_room_leads_to_its_shard() {
    let file = include_str!("../vectors/rooms.json");
    let file: serde_json::Value = serde_json::from_str(file).unwrap();
    let shards = over(&store());
    let (mut homes, mut met) = (HashMap::new(), 0);
    for (n, case) in file["urls"].as_array().unwrap().iter().enumerate() {
        let url = case["url"].as_str().unwrap();
        match (Shards::room(url), case["key"].as_str()) {
            (Ok(room), Some(key)) => {
                assert_eq!(room.as_str(), key, "{url}");
                let region = ["eu", "us", "uk", "ca"][n % 4];
                let home = shards.place(&room, Some(region)).await.unwrap().shard.id().clone();
                assert_eq!(*homes.entry(key).or_insert_with(|| home.clone()), home, "{url}");
                met += 1;
            }
            (Err(ShardError::NoRoom), None) => met += 1,
            (room, key) => panic!("{url}: {room:?}, expected {key:?}"),
        }
    }
    println!("shards: {met} recorded requests for {} rooms, each on one shard", homes.len());
}

#[tokio::test(start_paused = true)]
async fn load_levels_by_weight() {
    let twice = shard("b", "").with_weight(Weight::new(200));
    let none = shard("c", "").with_weight(Weight::ZERO);
    let shards = Shards::try_new([shard("a", ""), twice, none], store(), options()).unwrap();
    let mut count = BTreeMap::new();
    for n in 0..300 {
        *count.entry(home(&shards, &format!("r{n}"), None).await).or_insert(0) += 1;
    }
    assert_eq!(count, BTreeMap::from([("a".to_owned(), 100), ("b".to_owned(), 200)]));
}

#[tokio::test(start_paused = true)]
async fn a_look_stores_nothing_and_an_explanation_neither() {
    let table = store();
    let shards = over(&table);
    let looked = shards.look(&room("page"), Some("us")).await.unwrap();
    assert_eq!((looked.shard.id().as_str(), looked.outcome, looked.binding), ("us-1", Outcome::New, None));
    let told = shards.explain(&room("page"), Some("ca")).await.unwrap();
    assert_eq!((told.backend.clone(), told.outcome), (Some(id("us-1")), Outcome::New));
    assert!(told.to_string().contains("region ca is asked for, near it: us"), "{told}");
    assert_eq!(table.get_now(&room("page"), None), None);
    assert_eq!(home(&shards, "page", Some("eu")).await, home(&shards, "page", None).await);
    let told = shards.explain(&room("page"), Some("us")).await.unwrap().to_string();
    assert!(told.contains("sticky hit") && told.contains("by load alone: us-1"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn orders_hold_at_every_picker() {
    let table = store();
    let (one, two) = (over(&table), over(&table));
    two.sync().await.unwrap();
    for n in 0..20 {
        home(&one, &format!("r{n}"), Some("us")).await;
    }
    one.order(&id("us-1"), Admin::Drain).await.unwrap();
    // The other has not heard of it; the table refuses all the same.
    assert_ne!(home(&two, "new", Some("us")).await, "us-1");
    assert_eq!(home(&two, "r7", None).await, "us-1");
    let heard = two.sync().await.unwrap();
    assert_eq!(heard, [ShardEvent::Ordered { shard: id("us-1"), to: Admin::Drain }]);
    assert_eq!(two.sync().await.unwrap(), []);
    let left = two.rooms_on(&id("us-1"), 5).await.unwrap();
    assert_eq!((left.count, left.names.len()), (20, 5));

    // Maintenance moves what is there, once and for both.
    two.order(&id("us-1"), Admin::Maint).await.unwrap();
    let moved = one.sync().await.unwrap();
    assert!(moved.contains(&ShardEvent::Moved { shard: id("us-1"), rooms: 20, left: 0 }), "{moved:?}");
    assert_eq!(two.sync().await.unwrap(), []);
    let homes: Vec<String> = futures(&one, 20).await;
    assert_eq!(homes, futures(&two, 20).await);
    two.order(&id("us-1"), Admin::Ready).await.unwrap();
    one.sync().await.unwrap();
    assert_eq!(homes, futures(&one, 20).await, "nothing comes back");
    assert_eq!(home(&one, "newer", Some("us")).await, "us-1");

    // An order outlives a table that lost everything.
    one.order(&id("eu-1"), Admin::Drain).await.unwrap();
    two.sync().await.unwrap();
    let fresh = store();
    let survivor = over(&fresh);
    survivor.pool().set_admin(&id("eu-1"), Admin::Drain).unwrap();
    survivor.sync().await.unwrap();
    let late = over(&fresh);
    assert_eq!(late.sync().await.unwrap(), [ShardEvent::Ordered { shard: id("eu-1"), to: Admin::Drain }]);
}

async fn futures(shards: &Shards, count: usize) -> Vec<String> {
    let mut homes = Vec::new();
    for n in 0..count {
        homes.push(home(shards, &format!("r{n}"), None).await);
    }
    homes
}

#[tokio::test(start_paused = true)]
async fn a_dead_shard_loses_its_rooms_once_and_for_all() {
    let table = store();
    let (one, two) = (over(&table), over(&table));
    for shards in [&one, &two] {
        ["eu-1", "eu-2", "uk-1", "us-1"].iter().for_each(|name| up(shards, name));
        shards.sync().await.unwrap();
    }
    for n in 0..30 {
        assert_eq!(home(&one, &format!("r{n}"), Some("us")).await, "us-1");
    }
    // One picker's own trouble moves nothing, however long.
    fell(&one, "us-1");
    for _ in 0..100 {
        assert_eq!(one.sync().await.unwrap(), []);
        two.sync().await.unwrap();
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(home(&one, "r3", None).await, "us-1");
    assert_ne!(home(&one, "other", Some("us")).await, "us-1", "nothing new there");
    // Nobody sees it any more: not before the time is over, then all at once.
    fell(&two, "us-1");
    for _ in 0..29 {
        assert_eq!((one.sync().await.unwrap(), two.sync().await.unwrap()), (vec![], vec![]));
        advance(Duration::from_secs(1)).await;
    }
    advance(Duration::from_secs(17)).await;
    let events = one.sync().await.unwrap();
    assert!(
        matches!(&events[..], [ShardEvent::Died { .. }, ShardEvent::Moved { rooms: 30, left: 0, .. }]),
        "{events:?}"
    );
    let homes = futures(&one, 30).await;
    assert!(homes.iter().all(|home| home != "us-1"));
    two.sync().await.unwrap();
    assert_eq!(futures(&two, 30).await, homes);
    // Back again: it takes new rooms, none of the old ones.
    for shards in [&one, &two] {
        up(shards, "us-1");
        shards.sync().await.unwrap();
    }
    assert_eq!(one.pool().verdict(&id("us-1")).unwrap().health, Health::Up);
    assert_eq!((futures(&one, 30).await, futures(&two, 30).await), (homes.clone(), homes));
    assert_eq!(home(&two, "fresh", Some("us")).await, "us-1");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_another_picker_sees_up_again_is_not_dead() {
    let table = store();
    let (one, two) = (over(&table), over(&table));
    for shards in [&one, &two] {
        ["eu-1", "eu-2", "uk-1", "us-1"].iter().for_each(|name| up(shards, name));
        shards.sync().await.unwrap();
        fell(shards, "us-1");
        shards.sync().await.unwrap();
    }
    advance(Duration::from_secs(46)).await;
    for shards in [&one, &two] {
        shards.sync().await.unwrap();
        assert_eq!(shards.pool().verdict(&id("us-1")).unwrap().health, Health::Dead);
    }
    // It is back, but the way of the first picker to it is not.
    up(&two, "us-1");
    two.sync().await.unwrap();
    assert_eq!(home(&two, "fresh", Some("us")).await, "us-1");
    for _ in 0..100 {
        assert_eq!(one.sync().await.unwrap(), []);
        assert_eq!(home(&one, "fresh", None).await, "us-1", "its own bad network moves nothing");
        fell(&one, "us-1");
        two.sync().await.unwrap();
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(one.pool().verdict(&id("us-1")).unwrap().health, Health::Down);
    assert_ne!(home(&one, "newer", Some("us")).await, "us-1", "nothing new from here");
    // Once nobody sees it any more, the time begins anew.
    fell(&two, "us-1");
    two.sync().await.unwrap();
    advance(Duration::from_secs(46)).await;
    let events = one.sync().await.unwrap();
    assert!(
        matches!(&events[..], [ShardEvent::Died { .. }, ShardEvent::Moved { rooms: 1, left: 0, .. }]),
        "{events:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_picker_that_starts_late_does_not_judge_by_a_blip() {
    let table = store();
    let shards = over(&table);
    home(&shards, "a", Some("us")).await;
    // Its first probe fails, and nobody has seen it up since the table was last used.
    fell(&shards, "us-1");
    assert_eq!(shards.sync().await.unwrap(), []);
    assert_eq!(home(&shards, "a", None).await, "us-1");
}

#[tokio::test(start_paused = true)]
async fn what_the_focus_lists_is_kept_and_the_rest_is_forgotten() {
    let table = store();
    let shards = over(&table);
    for name in ["long", "short"] {
        home(&shards, name, Some("us")).await;
    }
    let list = FocusRooms::of(["long@conference.x", "lost@conference.x"]);
    for minute in 0..30 {
        let kept = shards.keep(&id("us-1"), &list).await.unwrap();
        assert_eq!((kept.kept, kept.restored), if minute == 0 { (1, 1) } else { (2, 0) });
        advance(Duration::from_secs(60)).await;
    }
    let left = shards.rooms_on(&id("us-1"), 9).await.unwrap();
    assert_eq!(left.names, [room("long"), room("lost")]);
    // A focus that lists what lives elsewhere: told when it is seen twice.
    let other = shards.keep(&id("eu-1"), &list).await.unwrap();
    assert!(other.split.is_empty());
    let other = shards.keep(&id("eu-1"), &list).await.unwrap();
    assert_eq!(other.split, [room("long"), room("lost")]);
    assert!(shards.keep(&id("eu-1"), &FocusRooms::default()).await.unwrap().split.is_empty());
    assert_eq!(home(&shards, "long", None).await, "us-1");
    // A drained shard binds nothing anew, and where the focus is silent all is kept.
    shards.order(&id("us-1"), Admin::Drain).await.unwrap();
    let more = FocusRooms::of(["more@conference.x"]);
    assert_eq!(shards.keep(&id("us-1"), &more).await.unwrap().unbound, 1);
    assert_eq!(shards.keep_all(&id("us-1")).await.unwrap(), 2);
    advance(Duration::from_secs(601)).await;
    assert_eq!(shards.rooms_on(&id("us-1"), 9).await.unwrap().count, 0, "drained");
}

#[tokio::test(start_paused = true)]
async fn pins_are_what_a_map_file_has() {
    let shards = over(&store());
    for name in ["/acme/Standup", "T%C3%84st", "a%2Fb", "besprechung team"] {
        home(&shards, name, Some("us")).await;
    }
    shards.sync().await.unwrap();
    let pins = shards.pins().await.unwrap();
    let want = "# room, percent-encoded, and its server\n%2Fa%2Fb us-1\n%2Facme%2Fstandup us-1\n\
                %2Fbesprechung%20team us-1\n%2Ft%C3%A4st us-1\n";
    assert_eq!((pins.to_string().as_str(), pins.alike), (want, 0));
    home(&shards, "a/b", Some("eu")).await;
    let alike = shards.pins().await.unwrap();
    assert_eq!((alike.pins.len(), alike.alike), (4, 1), "a proxy cannot tell them apart");
    let json = serde_json::to_value(&alike).unwrap();
    assert_eq!(json["pins"][1]["path"], "/acme/standup");
}

#[tokio::test(start_paused = true)]
async fn plans_move_what_they_must_and_touch_nothing() {
    let shards = over(&store());
    for n in 0..40 {
        home(&shards, &format!("r{n}"), Some(["eu", "us"][n % 2])).await;
    }
    let before = futures(&shards, 40).await;
    let plan = async |step: ShardStep| shards.plan(&[step], &[], 7).await.map(|plan| plan.totals);
    let drained = plan(ShardStep::Drain(id("us-1"))).await.unwrap();
    assert_eq!((drained.rooms, drained.stay, drained.moved), (40, 40, 0));
    for gone in [ShardStep::Remove(id("us-1")), ShardStep::Maint(id("us-1"))] {
        let totals = plan(gone).await.unwrap();
        assert_eq!((totals.stay, totals.moved), (20, 20));
    }
    assert_eq!(plan(ShardStep::Add(shard("us-2", "us"))).await.unwrap().moved, 0);
    assert_eq!(plan(ShardStep::Weight(id("us-1"), Weight::new(7))).await.unwrap().moved, 0);
    let new = [(room("later"), Some("us".to_owned()))];
    let plan_with = shards.plan(&[ShardStep::Drain(id("us-1"))], &new, 7).await.unwrap();
    assert_eq!((plan_with.totals.placed, plan_with.totals.rooms), (1, 41));
    let unknown = shards.plan(&[ShardStep::Drain(id("mars"))], &[], 7).await.unwrap_err();
    assert!(unknown.to_string().contains("step 1"), "{unknown}");
    assert_eq!(futures(&shards, 40).await, before);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_left_the_definitions_is_forgotten_by_order() {
    let shards = over(&store());
    home(&shards, "a", Some("us")).await;
    shards.replace(four().into_iter().take(3)).unwrap();
    let lost = shards.place(&room("a"), None).await.unwrap_err();
    assert_eq!(lost.code(), "unknown-shard", "{lost}");
    let told = shards.explain(&room("a"), None).await.unwrap().to_string();
    assert!(told.contains("us-1, which is not among the shards"), "{told}");
    assert_eq!(shards.forget(&id("us-1")).await.unwrap(), 1);
    assert_ne!(home(&shards, "a", None).await, "us-1");
    assert!(matches!(shards.replace([]), Err(ShardError::Count { count: 0 })));
}

#[derive(Clone, Debug)]
enum Deed {
    Ask { picker: usize, room: u8, region: u8 },
    Order { picker: usize, shard: usize, to: u8 },
    Fall { picker: usize, shard: usize },
    Rise { picker: usize, shard: usize },
    Sync { picker: usize },
    Wait { seconds: u8 },
}

fn deed() -> impl Strategy<Value = Deed> {
    let (picker, shard) = (0..2usize, 0..4usize);
    prop_oneof![
        8 => (picker.clone(), 0..24u8, 0..5u8).prop_map(|(picker, room, region)| Deed::Ask { picker, room, region }),
        1 => (picker.clone(), shard.clone(), 0..3u8).prop_map(|(picker, shard, to)| Deed::Order { picker, shard, to }),
        1 => (picker.clone(), shard.clone()).prop_map(|(picker, shard)| Deed::Fall { picker, shard }),
        1 => (picker.clone(), shard).prop_map(|(picker, shard)| Deed::Rise { picker, shard }),
        3 => picker.prop_map(|picker| Deed::Sync { picker }),
        1 => (1..20u8).prop_map(|seconds| Deed::Wait { seconds }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: a room's answers change only by a move away from a shard that was dead or in
    /// maintenance, a drained shard gets nothing new, and a first participant gets the region if it has a shard.
    #[test]
    fn a_room_is_on_one_shard_whatever_happens(deeds in prop::collection::vec(deed(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let table = store();
            let pickers = [over(&table), over(&table)];
            let names = ["eu-1", "eu-2", "uk-1", "us-1"];
            let mut homes: HashMap<u8, String> = HashMap::new();
            // What was ordered last: the fence holds for both pickers at once.
            let mut ordered = [Admin::Ready; 4];
            for deed in deeds {
                match deed {
                    Deed::Wait { seconds } => advance(Duration::from_secs(seconds.into())).await,
                    Deed::Sync { picker } => drop(pickers[picker].sync().await.unwrap()),
                    Deed::Fall { picker, shard } => fell(&pickers[picker], names[shard]),
                    Deed::Rise { picker, shard } => up(&pickers[picker], names[shard]),
                    Deed::Order { picker, shard, to } => {
                        let to = [Admin::Ready, Admin::Drain, Admin::Maint][usize::from(to)];
                        pickers[picker].order(&id(names[shard]), to).await.unwrap();
                        ordered[shard] = to;
                    }
                    Deed::Ask { picker, room: n, region } => {
                        let region = ["eu", "uk", "us", "ca", ""][usize::from(region)];
                        let key = room(&format!("r{n}"));
                        let old = table.get_now(&key, None).map(|b| b.backend.to_string());
                        let open = pickers[picker].pool().view(tokio::time::Instant::now());
                        let Ok(choice) = pickers[picker].place(&key, Some(region)).await else { continue };
                        let new = choice.shard.id().to_string();
                        let stored = table.get_now(&key, None).unwrap().backend.to_string();
                        prop_assert_eq!(&stored, &new, "the table says what was answered");
                        let at = |name: &str| names.iter().position(|known| *known == name).unwrap();
                        let seen = |name: &str| &open[at(name)];
                        match (&old, choice.outcome) {
                            (Some(old), Outcome::Sticky) => prop_assert_eq!(old, &new),
                            (Some(old), _) => {
                                let was = seen(old);
                                prop_assert!(was.admin == Admin::Maint || was.health == Health::Dead, "{} moved", old);
                            }
                            (None, _) => {
                                prop_assert_eq!(ordered[at(&new)], Admin::Ready, "{} takes nothing new", new);
                                let near = open.iter().enumerate().any(|(n, view)| {
                                    view.open && ordered[n] == Admin::Ready && view.backend.region() == Some(region)
                                });
                                prop_assert!(!near || choice.shard.region() == Some(region), "{} for {}", new, region);
                            }
                        }
                        homes.insert(n, new);
                    }
                }
            }
            // In the end both say the same of every room.
            for n in homes.keys() {
                let key = room(&format!("r{n}"));
                let bound = table.get_now(&key, None).map(|b| b.backend);
                for picker in &pickers {
                    if let Ok(choice) = picker.look(&key, None).await && choice.outcome == Outcome::Sticky {
                        prop_assert_eq!(Some(choice.shard.id()), bound.as_ref());
                    }
                }
            }
            Ok(())
        })?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_ask_at_once_and_each_room_has_one_shard() {
    let table = Arc::new(MemoryStore::default());
    let pickers: Vec<Arc<Shards>> = (0..4).map(|_| Arc::new(over(&table))).collect();
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..2000usize {
        for picker in &pickers {
            let picker = Arc::clone(picker);
            asking.spawn(async move { (n, home(&picker, &format!("r{n}"), Some(["eu", "us"][n % 2])).await) });
        }
    }
    let mut homes: HashMap<usize, String> = HashMap::new();
    let mut answers = 0;
    while let Some(done) = asking.join_next().await {
        let (n, home) = done.unwrap();
        answers += 1;
        let first = homes.entry(n).or_insert_with(|| home.clone());
        assert_eq!(*first, home, "r{n}");
    }
    println!("shards: {} rooms, {answers} answers of 4 pickers at once: 0 rooms on two shards", homes.len());
}
