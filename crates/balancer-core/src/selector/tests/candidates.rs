use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::{Admin, ByRooms, Clause, Filter, Health, strategy_names};

#[derive(Clone, Debug)]
struct Case {
    weight: u16,
    tag: usize,
    admin: usize,
    health: usize,
    excluded: bool,
}

const TAGS: [&[&str]; 4] = [&[], &["a"], &["b"], &["a", "b"]];
const ADMIN: [Admin; 3] = [Admin::Ready, Admin::Drain, Admin::Maint];
const HEALTH: [Health; 5] = [Health::Up, Health::Unknown, Health::Suspect, Health::Down, Health::Dead];

fn case() -> impl proptest::strategy::Strategy<Value = Case> {
    let weight = prop_oneof![4 => Just(0u16), 30 => 1u16..64, 1 => Just(4096u16)];
    let admin = prop_oneof![4 => Just(0usize), 1 => 1usize..3];
    let health = prop_oneof![4 => 0usize..2, 1 => 2usize..5];
    let excluded = prop::bool::weighted(0.1);
    (weight, 0usize..4, admin, health, excluded).prop_map(|(weight, tag, admin, health, excluded)| Case {
        weight,
        tag,
        admin,
        health,
        excluded,
    })
}

/// Whether a server with these tags is on a rung.
type Rung = fn(&[&str]) -> bool;

fn filters() -> Vec<(Option<Filter>, Vec<Rung>)> {
    let ladder = vec![vec![Clause::any_of(["a"]), Clause::any_of(["b"])], vec![Clause::any_of(["b"]).or_untagged()]];
    vec![
        (None, vec![|_| true]),
        (Some(Filter::required("a")), vec![|t| t.contains(&"a")]),
        (Some(Filter::preferred("b")), vec![|t| t.contains(&"b"), |_| true]),
        (Some(Filter::required("nowhere")), vec![|_| false]),
        (
            Some(Filter::ladder(ladder).unwrap()),
            vec![|t| t.contains(&"a") && t.contains(&"b"), |t| t.is_empty() || t.contains(&"b")],
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn never_outside_the_candidates(
        cases in prop::collection::vec(case(), 0..70),
        trust_new: bool,
        loaded: bool,
        bounded: bool,
    ) {
        for name in strategy_names() {
            let mut strategy: Boxed = by_name(name).unwrap();
            if bounded && *name == "consistent-hash" {
                strategy = Box::new(crate::ConsistentHash::new().points(7).bounded(1.25));
            }
            let mut options = PoolOptions::default().trust_new(trust_new);
            if loaded {
                options = options.load(ByRooms);
            }
            let list = cases.iter().enumerate().map(|(i, c)| tagged(i, c.weight, TAGS[c.tag])).collect();
            let pool = pool_with(strategy, options, list);
            for (i, c) in cases.iter().enumerate() {
                pool.declare(&id(i), HEALTH[c.health], "test").unwrap();
                pool.set_admin(&id(i), ADMIN[c.admin]).unwrap();
            }
            let exclude: Vec<BackendId> =
                (0..cases.len()).filter(|i| cases[*i].excluded).map(id).take(crate::MAX_EXCLUDED).collect();
            let usable = |i: usize, c: &Case| {
                c.weight > 0
                    && c.admin == 0
                    && (c.health == 0 || c.health == 1 && trust_new)
                    && !exclude.contains(&id(i))
            };
            for (filter, rungs) in filters() {
                let expected: BTreeSet<usize> = rungs
                    .iter()
                    .map(|rung| {
                        let fits = |(i, c): &(usize, &Case)| usable(*i, c) && rung(TAGS[c.tag]);
                        cases.iter().enumerate().filter(fits).map(|(i, _)| i).collect::<BTreeSet<usize>>()
                    })
                    .find(|set| !set.is_empty())
                    .unwrap_or_default();
                let mut held = Vec::new();
                for n in 0..12 {
                    let key = room(n);
                    let mut ask = Ask::new(&key).exclude(&exclude);
                    if let Some(f) = &filter {
                        ask = ask.filter(f);
                    }
                    let lease = if n % 4 == 3 {
                        let frozen = pool.freeze(Instant::now());
                        let plan = frozen.decide(&ask, n as u64);
                        prop_assert_eq!(&plan, &frozen.decide(&ask, n as u64));
                        prop_assert_eq!(plan.backend.is_some(), !expected.is_empty());
                        let (lease, decision) = pool.place_explained(&ask, n as u64);
                        prop_assert_eq!(&plan.backend, &decision.backend, "{}", name);
                        prop_assert_eq!(decision.candidate_count, expected.len());
                        prop_assert_eq!(decision.strategy, *name);
                        prop_assert!(!decision.rule.is_empty() || expected.is_empty());
                        lease
                    } else {
                        pool.place(&ask, n as u64)
                    };
                    match lease {
                        Some(lease) => {
                            let i = number(lease.backend());
                            prop_assert!(expected.contains(&i), "{} chose {} of {:?}", name, i, expected);
                            held.push(lease);
                        }
                        None => prop_assert!(expected.is_empty(), "{name} chose nobody of {expected:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn nobody_is_an_ordinary_answer() {
    for name in strategy_names() {
        assert!(place(&named(name, Vec::new()), 1).is_none(), "{name}");
        let zero = named(name, servers(&[0, 0, 0]));
        assert!(place(&zero, 1).is_none(), "{name}");
        assert_eq!(zero.place_explained(&Ask::new(&room(1)), 1).1.excluded_count, 3);
        zero.set_weight(&id(1), Weight::from_sixteenths(1)).unwrap();
        assert_eq!(owner(&zero, 1), Some(1), "{name}");
        zero.set_weight(&id(1), Weight::ZERO).unwrap();
        assert!(place(&zero, 1).is_none(), "{name}");
    }
}

#[test]
fn names_are_known_for_every_query() {
    for name in strategy_names() {
        assert_eq!(by_name::<Server, str>(name).unwrap().name(), *name);
        assert_eq!(by_name::<Server, Vec<u8>>(name).unwrap().fork().name(), *name);
    }
    assert!(by_name::<Server, ()>("Leastconn").is_none());
}

#[tokio::test(start_paused = true)]
async fn caps_new_rooms_per_interval() {
    for name in strategy_names() {
        let options = PoolOptions::default().cap(2, Duration::from_secs(10));
        let pool = pool_with(by_name(name).unwrap(), options, servers(&[16, 48, 16]));
        for _ in 0..3 {
            let mut counts = [0; 3];
            for i in 0..6 {
                let lease = place(&pool, i).unwrap();
                counts[number(lease.backend())] += 1;
                lease.land();
            }
            assert_eq!(counts, [2, 2, 2], "{name}");
            assert!(place(&pool, 7).is_none(), "{name}");
            assert_eq!(pool.place_explained(&Ask::new(&room(8)), 8).1.excluded[0].reason, "cap", "{name}");
            tokio::time::advance(Duration::from_secs(10)).await;
        }
    }
}

#[test]
fn too_many_servers_change_nothing() {
    let pool = named("first", servers(&[16, 32]));
    let mut many = servers(&[48; 131_073]);
    assert!(matches!(pool.replace(many.clone()), Err(crate::PoolError::TooMany { count: 131_073 })));
    let weights: Vec<u16> = pool.members().iter().map(|m| m.weight().sixteenths()).collect();
    assert_eq!(weights, [16, 32]);
    many.pop();
    pool.replace(many).unwrap();
    assert_eq!(pool.open_count(), 131_072);
}
