//! A pool with this strategy places as HAProxy did, wherever a recording has no queue and no sticks.

use std::collections::HashMap;
use std::sync::Arc;

use balancer_core::{Admin, Ask, BackendId, Pool, PoolOptions, StickKey, Weight};
use serde_json::Value;

use super::{Asking, HaproxyServer, HaproxyStrategy, ServerLine};
use crate::balance::vectors::{backend, files, folder, request};
use crate::balance::{BackendSpec, Request, ServerSpec, Version};

type RequestPool = Pool<HaproxyServer, Request>;

fn pool<Q: Asking + ?Sized + 'static>(spec: &BackendSpec) -> Pool<HaproxyServer, Q> {
    let pool = Pool::with_query(Box::new(HaproxyStrategy::new(spec).unwrap()), PoolOptions::default());
    pool.replace(spec.servers.iter().map(|s| Arc::new(HaproxyServer::new(s.clone())))).unwrap();
    pool
}

fn room() -> StickKey {
    StickKey::new("room").unwrap()
}

fn place(pool: &RequestPool, r: &Request) -> Option<balancer_core::Lease<HaproxyServer>> {
    pool.place(&Ask::with_query(&room(), r), 0)
}

/// Plays requests and changes; how many placements agreed.
fn play(name: &str, file: &Value, version: Version) -> usize {
    let pool: RequestPool = pool(&backend(file, version));
    let mut open = HashMap::new();
    let checked = std::cell::Cell::new(0);
    let ask = |pairs: &Value| {
        for pair in pairs.as_array().unwrap() {
            let r = match pair[0].as_str() {
                Some(key) => Request::get(format!("/join?room={key}")),
                None => request(&pair[0]),
            };
            let lease = place(&pool, &r);
            let got = lease.as_ref().map_or("HTTP 503", |l| l.backend().line().name());
            assert_eq!(pair[1], got, "{name} on {version}: {}", pair[0]);
            checked.set(checked.get() + 1);
        }
    };
    if !file["vectors"].is_null() {
        ask(&file["vectors"]);
    }
    for step in file["steps"].as_array().into_iter().flatten() {
        let id = || BackendId::from(step["server"].as_str().unwrap());
        match step["op"].as_str().unwrap() {
            "ask" => ask(&step["vectors"]),
            "open" => {
                let lease = place(&pool, &request(&step["req"])).unwrap();
                assert_eq!(step["server"], lease.backend().line().name(), "{name} on {version}: {step}");
                open.insert(step["id"].as_u64(), lease);
                checked.set(checked.get() + 1);
            }
            "close" => drop(open.remove(&step["id"].as_u64())),
            "state" => {
                let admin = match step["state"].as_str().unwrap() {
                    "ready" => Admin::Ready,
                    "drain" => Admin::Drain,
                    _ => Admin::Maint,
                };
                pool.set_admin(&id(), admin).unwrap();
            }
            "weight" if step["answer"] == "ok" => {
                let configured = file["servers"].as_array().unwrap().iter().find(|s| s["name"] == step["server"]);
                let configured = configured.and_then(|s| s["weight"].as_u64()).unwrap();
                let text = step["weight"].as_str().unwrap();
                let weight = match text.strip_suffix('%') {
                    Some(percent) => (configured * percent.parse::<u64>().unwrap() / 100).min(256),
                    None => text.parse().unwrap(),
                };
                pool.set_weight(&id(), Weight::new(u16::try_from(weight).unwrap())).unwrap();
            }
            _ => {}
        }
    }
    checked.get()
}

#[test]
fn a_pool_places_as_haproxy() {
    let mut checked = 0;
    let mut played = 0;
    for (name, file) in files(&folder("HAPROXY_VECTORS", "haproxy")) {
        let text = file.to_string();
        let sticks =
            ["stick", "cookie", "persist", "use-server"].iter().any(|w| file["options"].to_string().contains(w));
        let queues = text.contains("QUEUED") || (file["kind"] == "hold" && text.contains("HTTP 503"));
        let disabled = file["servers"].as_array().into_iter().flatten().any(|s| s["state"] != "ready");
        if matches!(file["kind"].as_str(), Some("convert" | "fetch")) || sticks || queues || disabled {
            continue;
        }
        for version in file["haproxy"].as_array().unwrap() {
            let version: Version = version.as_str().unwrap().parse().unwrap();
            // Several connections end between two picks in these.
            if file["balance"] == "leastconn" {
                continue;
            }
            checked += play(&name, &file, version);
        }
        played += 1;
    }
    println!("{checked} placements by a pool, from {played} files");
    assert!(checked > 0);
}

fn spec(lines: &[&str], weights: &[u16]) -> BackendSpec {
    let mut spec = BackendSpec::new(Version::release(2, 6, 12));
    lines.iter().for_each(|line| spec.line(line).unwrap());
    for (i, w) in weights.iter().enumerate() {
        spec.server(ServerSpec::new(format!("s{i}")).weight(*w));
    }
    spec
}

#[test]
fn the_room_key_is_the_key() {
    let spec = spec(&["balance url_param room", "hash-type consistent"], &[1, 2, 3]);
    let plain: Pool<HaproxyServer> = pool(&spec);
    let asked: RequestPool = pool(&spec);
    for i in 0..200 {
        let key = StickKey::new(format!("room-{i}")).unwrap();
        let a = plain.place(&Ask::new(&key), 0).unwrap().backend().line().name().to_owned();
        let r = Request::get(format!("/?room=room-{i}"));
        assert_eq!(place(&asked, &r).unwrap().backend().line().name(), a);
    }
}

#[test]
fn trials_and_forks_move_nothing() {
    for lines in [&["balance roundrobin"], &["balance static-rr"], &["balance leastconn"]] {
        let pool: Pool<HaproxyServer> = pool(&spec(lines, &[1, 2, 3]));
        let key = room();
        let mut leases = Vec::new();
        for _ in 0..30 {
            let frozen = pool.freeze(tokio::time::Instant::now());
            let first = frozen.decide(&Ask::new(&key), 0).backend.unwrap();
            assert_eq!(frozen.decide(&Ask::new(&key), 0).backend.unwrap(), first);
            let lease = pool.place(&Ask::new(&key), 0).unwrap();
            assert_eq!(*balancer_core::Backend::id(&**lease.backend()), first, "{lines:?}");
            leases.push(lease);
        }
    }
}

#[test]
fn a_refused_list_changes_nothing() {
    let pool: Pool<HaproxyServer> = pool(&spec(&["balance roundrobin"], &[1, 1]));
    let twice = |name: &str| Arc::new(HaproxyServer::new(ServerSpec::new(name).id(7)));
    pool.replace([twice("s0"), twice("s1")]).unwrap();
    assert!(pool.place(&Ask::new(&room()), 0).is_some());
    let strategy = HaproxyStrategy::new(&spec(&["balance roundrobin"], &[])).unwrap();
    let lines = [ServerSpec::new("a").id(7), ServerSpec::new("b").id(7)];
    assert!(strategy.validate(&lines).is_err());
}

#[test]
fn excluded_servers_are_passed_over() {
    for lines in [
        &["balance roundrobin"][..],
        &["balance static-rr"],
        &["balance leastconn"],
        &["balance first"],
        &["balance random"],
        &["balance url_param r", "hash-type consistent"],
        &["balance url_param r"],
    ] {
        let pool: Pool<HaproxyServer> = pool(&spec(lines, &[1, 2, 3]));
        let key = room();
        let out = [BackendId::from("s0"), BackendId::from("s2")];
        for seed in 0..20 {
            let lease = pool.place(&Ask::new(&key).exclude(&out), seed).unwrap();
            assert_eq!(lease.backend().line().name(), "s1", "{lines:?}");
        }
        let all = ["s0", "s1", "s2"].map(BackendId::from);
        assert!(pool.place(&Ask::new(&key).exclude(&all), 0).is_none());
        let (lease, why) = pool.place_explained(&Ask::new(&key), 1);
        assert!(lease.is_some() && why.to_string().contains("HAProxy"), "{why}");
    }
}

proptest::proptest! {
    /// With one end between two picks at most, the pool and the predictor agree on every tie.
    #[test]
    fn leastconn_breaks_ties_alike(
        weights in proptest::collection::vec(1u16..6, 1..6),
        ends in proptest::collection::vec(proptest::option::of(0usize..8), 1..60),
    ) {
        let spec = spec(&["balance leastconn"], &weights);
        let pool: Pool<HaproxyServer> = pool(&spec);
        let mut haproxy = crate::balance::Predictor::new(spec).unwrap();
        let mut open = Vec::new();
        for end in ends {
            if let Some(n) = end.filter(|n| *n < open.len()) {
                let (lease, ticket) = open.remove(n);
                drop::<balancer_core::Lease<HaproxyServer>>(lease);
                haproxy.close(ticket).unwrap();
            }
            let lease = pool.place(&Ask::new(&room()), 0).unwrap();
            let (ticket, want) = haproxy.open(&Request::get("/"));
            proptest::prop_assert_eq!(Some(lease.backend().line().name()), want.server());
            open.push((lease, ticket.unwrap()));
        }
    }
}
