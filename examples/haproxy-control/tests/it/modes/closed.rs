//! SPOE that fails closed: rooms that are known go on whatever becomes of the controller, new ones wait for it.

use std::time::{Duration, Instant};

use super::{Site, Wish, names, redis};
use crate::control::get;
use crate::samples::haproxies;

fn answer(site: &Site, room: &str) -> String {
    get(site.fronts[0], &format!("/socket.io/?roomId={room}"))
}

/// Where new rooms are, asked for until the controller places them: on a busy host it may miss HAProxy's patience.
fn placed(site: &Site, rooms: &[String]) -> std::collections::BTreeMap<String, String> {
    site.until("they are placed", |site| site.homes(1, rooms).values().all(|home| home.starts_with("mm")));
    site.homes(1, rooms)
}

/// Known rooms are where they were, and new ones are refused, however often they are asked for.
fn known_alone(site: &Site, homes: &std::collections::BTreeMap<String, String>, new: &[String]) {
    let rooms: Vec<String> = homes.keys().cloned().collect();
    let began = Instant::now();
    assert_eq!(site.homes(1, &rooms), *homes, "what is known stays");
    for room in new.iter().chain(new) {
        let refused = answer(site, room);
        assert!(refused.starts_with("HTTP/1.1 503 "), "{room}: {refused}");
    }
    let each = began.elapsed() / u32::try_from(rooms.len() + 2 * new.len()).unwrap();
    // The patience of HAProxy, and what a busy host may add.
    assert!(each < Duration::from_millis(1400), "{each:?}");
}

#[test]
fn closed_agents_place_all_or_nothing() {
    for binary in haproxies() {
        let Some(redis) = redis() else { return };
        let url = format!("redis://127.0.0.1:{}/0", redis.port());
        let wish = Wish { store: &url, patience: 400, offload: "fail = \"closed\"", ..Wish::of("spoe", 1) };
        let mut site = Site::start(&binary, &wish);
        let rooms = names("class", 9);
        let homes = placed(&site, &rooms);
        site.until("all rooms are known", |site| site.status()["rooms"] == 9);

        // It hangs, it is killed, its store hangs.
        site.signal(0, "-STOP");
        known_alone(&site, &homes, &names("hung", 3));
        site.until_agent("0");
        known_alone(&site, &homes, &names("hung", 3));
        site.signal(0, "-CONT");
        site.until_agent("2");
        let hung = placed(&site, &names("hung", 3));
        site.kill_control(0);
        known_alone(&site, &homes, &names("killed", 3));
        site.until_agent("0");
        known_alone(&site, &homes, &names("killed", 3));
        site.run_control(0);
        let killed = placed(&site, &names("killed", 3));
        redis.signal("STOP");
        site.until("that is noticed", |site| site.status()["store_up"] == false);
        known_alone(&site, &homes, &names("silent", 3));
        redis.signal("CONT");
        site.until("the store is back", |site| site.status()["store_up"] == true);
        // What was refused is placed.
        let silent = placed(&site, &names("silent", 3));

        // Each new room got a place from the controller, and has it still.
        let all: std::collections::BTreeMap<String, String> =
            homes.into_iter().chain(hung).chain(killed).chain(silent).collect();
        assert!(all.values().all(|home| home.starts_with("mm")), "{all:?}");
        site.until("all rooms are known", |site| site.status()["rooms"] == 18);
        assert_eq!(site.homes(1, &all.keys().cloned().collect::<Vec<_>>()), all);
        site.until("all of it is whole", |site| site.ask(&["splits"]).code == 0);
    }
}
