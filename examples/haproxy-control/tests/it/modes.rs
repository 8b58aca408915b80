//! `run --mode map|spoe|peers` beside real HAProxys: rooms placed and kept, explained, drained to the end, and a
//! controller that is killed.

use std::collections::BTreeMap;

use real_servers::RedisServer;

use crate::samples::haproxies;

mod agent;
mod apply;
mod away;
mod closed;
mod crowd;
mod reread;
mod several;
mod site;
mod tls;
mod two;

use site::{Site, Wish};

fn names(prefix: &str, count: usize) -> Vec<String> {
    // One that has to be encoded.
    (0..count).map(|n| format!("{prefix}%20{n}")).collect()
}

/// Where the place of a room is written, as `explain` says it.
fn explained(site: &Site, room: &str, home: &str) {
    let plain = room.replace("%20", " ");
    let told = site.ask(&["explain", &plain]).out;
    assert!(told.starts_with(&format!("{plain} is on {home}")), "{told}");
    let report = site.json(&["explain", &plain]);
    let written = report["written"].as_array().unwrap();
    assert!(!written.is_empty() && written.iter().all(|one| one["server"] == home), "{report:#}");
    match site.mode {
        "map" => assert_eq!(written[0]["what"], "map entry", "{report:#}"),
        "spoe" => {
            let number = |at: usize| written[at]["decision"].as_u64().unwrap();
            assert!(told.contains(&format!("SPOE decision {}: {home}, new room", number(0))), "{told}");
            assert!(told.contains(&format!("SPOE decision {}: {home}, sticky hit", number(1))), "{told}");
            assert!(number(0) < number(1) && written[0]["candidates"].is_object(), "{report:#}");
        }
        _ => {
            for lb in ["lb1", "lb2"] {
                assert!(told.contains(&format!("stick entry in {lb}: {home} (peer connected)")), "{told}");
            }
        }
    }
}

/// Placed, explained, kept over a kill, drained, moved: in one mode.
fn a_life(mode: &'static str, count: usize, store: &str) {
    for binary in haproxies() {
        let mut site = Site::start(&binary, &Wish { store, ..Wish::of(mode, count) });
        let rooms = names("class", 12);
        let homes = site.homes(1, &rooms);
        assert!(homes.values().all(|home| home.starts_with("mm")), "{homes:?}");
        site.until("all rooms are known", |site| site.status()["rooms"] == 12);
        if mode == "spoe" {
            // By the strategy of the settings: four each, one more or less while the table is read.
            let at = |server: &str| homes.values().filter(|home| *home == server).count();
            assert!([at("mm1"), at("mm2"), at("mm3")].iter().all(|count| (3..=5).contains(count)), "{homes:?}");
        }
        let same = |site: &Site, homes: &BTreeMap<String, String>| {
            for lb in 1..=count {
                assert_eq!(site.homes(lb, &rooms), *homes, "at lb{lb}");
            }
        };
        if mode == "peers" {
            site.until("each table has all rooms", |site| {
                (1..=2)
                    .all(|lb| site.order(lb, "show table rooms").lines().filter(|l| l.contains("key=")).count() == 12)
            });
        }
        same(&site, &homes);
        let (room, home) = homes.iter().next().unwrap();
        site.until("it is explained", |site| {
            let report = site.json(&["explain", &room.replace("%20", " ")]);
            let written = report["written"].as_array().cloned().unwrap_or_default();
            written.len() >= count && written.iter().all(|one| one["server"] == home.as_str())
        });
        explained(&site, room, home);
        let whole = site.ask(&["splits"]);
        assert!(whole.code == 0 && whole.out.contains("0 rooms on two servers"), "{whole:?}");
        assert!(whole.out.contains("table of lb1, ") && whole.out.contains("store"), "{whole:?}");
        assert_eq!(whole.out.contains("map of lb1"), mode == "map");

        // Killed: HAProxy goes on, and what it places meanwhile is taken over.
        site.kill_control(0);
        same(&site, &homes);
        let alone = site.home(1, "alone");
        assert!(alone.starts_with("mm"), "{alone}");
        site.run_control(0);
        site.until("all rooms are known again", |site| site.status()["rooms"] == 13);
        same(&site, &homes);
        assert_eq!(site.home(1, "alone"), alone);

        // A drain: kept, while somebody comes; forgotten when nobody does, to the last entry.
        let theirs: Vec<String> =
            homes.iter().filter(|(_, home)| *home == "mm1").map(|(room, _)| room.clone()).collect();
        assert!(!theirs.is_empty());
        assert_eq!(site.ask(&["cordon", "mm1"]).out, "OK mm1 drain\n");
        site.until("it takes none", |site| site.server("mm1")["takes_rooms"] == false);
        site.until("HAProxy drains it", |site| {
            site.order(1, "show stat").lines().any(|line| line.starts_with("rooms,mm1,") && line.contains(",DRAIN,"))
        });
        assert!(theirs.iter().all(|room| site.home(1, room) == "mm1"), "rooms of a draining server stay");
        assert!(site.homes(1, &names("late", 6)).values().all(|home| home != "mm1"));
        let late = site.ask(&["drain", "mm1", "--wait", "--deadline", "200ms"]);
        assert!(late.code == 5 && late.out.contains("in use"), "{late:?}");
        let drained = site.ask(&["drain", "mm1", "--wait", "--deadline", "90s"]);
        assert!(drained.code == 0 && drained.out == "OK mm1 is empty\n", "{drained:?}\n{:#}", site.status());
        assert_eq!(site.entries("mm1"), 0, "{}", site.order(1, "show table rooms"));
        assert_eq!(site.server("mm1")["rooms"], 0);
        let moved = site.home(1, &theirs[0]);
        assert!(moved == "mm2" || moved == "mm3", "{moved}");
        site.done_ask(&["uncordon", "mm1"]);
        site.until("it takes rooms", |site| site.server("mm1")["takes_rooms"] == true);

        // Out with all its rooms, each to one server.
        let before = site.homes(1, &rooms);
        site.until("they are known", |site| site.server("mm2")["rooms"].as_u64() >= Some(1));
        site.done_ask(&["maint", "mm2"]);
        site.until("it is out", |site| site.server("mm2")["verdict"] == "out" && site.server("mm2")["rooms"] == 0);
        let after = site.homes(1, &rooms);
        for (room, home) in &after {
            assert!(home != "mm2" && (*home == before[room] || before[room] == "mm2"), "{room}: {home}");
        }
        // One HAProxy may hear of it later than the other.
        site.until("each HAProxy says so", |site| (1..=count).all(|lb| site.homes(lb, &rooms) == after));
        same(&site, &after);
        let metrics = crate::control::get(site.apis[0], "/metrics");
        assert!(metrics.contains(&format!("balancer_pool_mode{{pool=\"rooms\",mode=\"{mode}\"}} 1")), "{metrics}");
        assert_eq!(
            metrics.contains("balancer_spoe_decisions_total{pool=\"rooms\",outcome=\"placed\"}"),
            mode == "spoe"
        );
        assert_eq!(metrics.contains("balancer_peer_up{peer=\"lb1\"} 1"), mode == "peers");
        assert_eq!(site.controls[0].take().unwrap().end(), Some(0));
        same(&site, &after);
    }
}

#[test]
fn rooms_whose_places_are_in_a_map() {
    a_life("map", 1, "memory");
}

#[test]
fn rooms_that_an_agent_places() {
    a_life("spoe", 1, "memory");
}

#[test]
fn rooms_whose_places_are_taught_as_a_peer() {
    a_life("peers", 2, "file:FOLDER/rooms.redb");
}

#[test]
fn what_contradicts_the_store_is_found_or_put_right() {
    for binary in haproxies() {
        for mode in ["spoe", "peers"] {
            let site = Site::start(&binary, &Wish::of(mode, if mode == "peers" { 2 } else { 1 }));
            let home = site.home(1, "algebra");
            site.until("it is known", |site| site.status()["rooms"] == 1);
            // The first answer was heard: somebody else was told the same.
            assert_eq!(site.home(1, "algebra"), home);
            let (other, id) = if home == "mm2" { ("mm3", 3) } else { ("mm2", 2) };
            // A table that says otherwise, as of somebody who came later. A number alone changes no name.
            std::thread::sleep(std::time::Duration::from_millis(20));
            site.order(1, "clear table rooms key algebra");
            site.order(1, &format!("set table rooms key algebra data.server_id {id}"));
            if mode == "spoe" {
                site.until("it is found", |site| site.ask(&["splits"]).code == 1);
                let split = site.json(&["splits"]);
                let seen = split["rooms"][0]["seen"].to_string();
                assert!(split["rooms"][0]["home"] == home.as_str() && seen.contains("table of lb1"), "{split:#}");
                assert!(seen.contains(other), "{split:#}");
                // The next one who comes goes home, and so does the table.
                assert_eq!(site.home(1, "algebra"), home);
                site.until("it is whole", |site| site.ask(&["splits"]).code == 0);
            } else {
                let told = |lb| site.order(lb, "show table rooms").contains(&format!("server_key={home}"));
                site.until("both tables say what the store says", |_| told(1) && told(2));
                assert_eq!((site.home(1, "algebra"), site.home(2, "algebra")), (home.clone(), home.clone()));
                assert_eq!(site.ask(&["splits"]).code, 0);
            }
        }
    }
}

/// The store that is to fail.
fn redis() -> Option<RedisServer> {
    RedisServer::start(&[])
}
