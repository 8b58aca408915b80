//! Two controllers, peers of two HAProxys, on one store.

use super::crowd::Crowd;
use super::{Site, Wish, names, redis};
use crate::samples::haproxies;

#[test]
fn of_two_controllers_that_are_peers_one_may_be_killed() {
    for binary in haproxies() {
        let Some(redis) = redis() else { return };
        let url = format!("redis://127.0.0.1:{}/0", redis.port());
        let mut site = Site::start(&binary, &Wish { store: &url, controls: 2, ..Wish::of("peers", 2) });
        let known = |site: &Site, n: usize, rooms: usize| {
            site.until("all rooms are known", |site| site.status_of(n)["rooms"] == rooms);
        };
        let rooms = names("class", 12);
        let homes = site.homes(1, &rooms);
        known(&site, 0, 12);
        known(&site, 1, 12);
        assert_eq!(site.homes(2, &rooms), homes);

        // One is killed while people come to either HAProxy: the other one goes on.
        let crowd = Crowd::come(&site, &rooms);
        crowd.more(&site, 100);
        site.kill_control(0);
        crowd.more(&site, 200);
        let met = crowd.go();
        met.whole(&homes);
        known(&site, 1, met.homes.len());
        let (asked, count) = (met.asked, met.homes.len());
        let splits = |site: &Site, n: usize| {
            let whole = site.ask_of(n, &["splits"]);
            assert!(whole.code == 0 && whole.out.contains("0 rooms on two servers"), "{n}: {whole:?}");
        };
        splits(&site, 1);
        // It orders alone.
        let mm1 = |site: &Site, n: usize| {
            let status = site.status_of(n);
            status["servers"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|one| one["name"] == "mm1")
                .cloned()
                .unwrap_or_default()
        };
        assert_eq!(site.ask_of(1, &["maint", "mm1"]).code, 0);
        site.until("it is out", |site| mm1(site, 1)["verdict"] == "out" && mm1(site, 1)["rooms"] == 0);
        let moved = site.homes(2, &rooms);
        for (room, home) in &moved {
            assert!(home != "mm1" && (*home == homes[room] || homes[room] == "mm1"), "{room}: {home}");
        }
        site.until("both HAProxys say so", |site| site.homes(1, &rooms) == moved);

        // The one that was killed knows all of it when it is back, and moves nothing.
        site.start_control(0);
        site.until("it is out for both", |site| mm1(site, 0)["verdict"] == "out");
        (0..2).for_each(|n| site.until_peers(n));
        known(&site, 0, count);
        assert_eq!(site.ask_of(1, &["uncordon", "mm1"]).code, 0);
        site.until("it takes rooms", |site| (0..2).all(|n| mm1(site, n)["takes_rooms"] == true));
        for n in [0, 1] {
            splits(&site, n);
            assert_eq!(site.homes(n + 1, &rooms), moved, "at lb{}", n + 1);
        }
        site.kill_control(1);
        assert_eq!(site.homes(1, &rooms), moved);
        println!("{}: {asked} requests to {count} rooms, one server each, over a kill", binary.display());
    }
}
