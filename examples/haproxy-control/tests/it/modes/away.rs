//! The store behind is away: no request fails, what is known stays, what is new is placed by HAProxy.

use std::time::Duration;

use super::crowd::Crowd;
use super::{Site, Wish, names, redis};
use crate::samples::haproxies;

#[test]
fn without_its_store_no_request_fails_and_known_rooms_stay() {
    for binary in haproxies() {
        for mode in ["map", "spoe", "peers"] {
            let Some(mut redis) = redis() else { return };
            let url = format!("redis://127.0.0.1:{}/0", redis.port());
            let count = if mode == "peers" { 2 } else { 1 };
            let site = Site::start(&binary, &Wish { store: &url, patience: 400, ..Wish::of(mode, count) });
            let rooms = names("class", 9);
            let homes = site.homes(1, &rooms);
            site.until("all rooms are known", |site| site.status()["rooms"] == 9);
            redis.stop();
            site.until("that is noticed", |site| site.status()["store_up"] == false);
            assert_eq!(site.homes(1, &rooms), homes, "{mode}: what is known stays");
            // Agents have no opinion on what is new, peers and maps no say.
            let more = names("new", 6);
            let placed = site.homes(1, &more);
            assert!(placed.values().all(|home| home.starts_with("mm")), "{mode}: {placed:?}");
            assert_eq!(site.homes(1, &more), placed, "{mode}: HAProxy keeps them together by itself");
            let nobody = site.ask(&["explain", "class 0"]);
            assert!(nobody.out.contains("the store was not asked"), "{nobody:?}");
            assert_eq!(site.ask(&["splits"]).code, 4);
            redis.resume();
            // It comes back empty: what was known is put back, what is new is learned.
            site.until("all rooms are known", |site| {
                let status = site.status();
                status["store_up"] == true && status["rooms"] == 15
            });
            assert_eq!((site.homes(1, &rooms), site.homes(1, &more)), (homes, placed), "{mode}: nobody has moved");
        }
    }
}

#[test]
fn a_store_that_hangs_holds_up_nobody_and_is_told_of() {
    for binary in haproxies() {
        for mode in ["map", "spoe", "peers"] {
            let Some(redis) = redis() else { return };
            let url = format!("redis://127.0.0.1:{}/0", redis.port());
            let count = if mode == "peers" { 2 } else { 1 };
            let site = Site::start(&binary, &Wish { store: &url, patience: 400, ..Wish::of(mode, count) });
            let rooms = names("class", 9);
            let homes = site.homes(1, &rooms);
            site.until("all rooms are known", |site| site.status()["rooms"] == 9);
            // From the first moment on, not only once it is noticed.
            redis.signal("STOP");
            let crowd = Crowd::come(&site, &rooms);
            site.until("that is noticed", |site| site.status()["store_up"] == false);
            crowd.more(&site, 100);
            let met = crowd.go();
            met.whole(&homes);
            // They have come and gone while the store hangs: none of them waited for it. HAProxy waits 400 ms for an
            // agent that waits for its store, as rendered here; a busy host adds to it.
            assert!(met.longest < Duration::from_secs(15), "{mode}: {:?}", met.longest);
            let status = site.ask(&["status"]);
            assert!(status.code == 0 && status.out.contains("; store lost: "), "{mode}: {status:?}");
            assert!(!status.out.contains(&url) && status.out.contains("within"), "{mode}: {status:?}");
            let metrics = crate::control::get(site.apis[0], "/metrics");
            assert!(metrics.contains("\nbalancer_store_up 0\n"), "{metrics}");
            assert_eq!(site.ask(&["splits"]).code, 4);
            redis.signal("CONT");
            site.until("all rooms are known", |site| {
                let status = site.status();
                status["store_up"] == true && status["rooms"] == met.homes.len()
            });
            assert_eq!(site.homes(count, &rooms), homes, "{mode}: nobody has moved");
            for (room, met) in &met.homes {
                assert!(met.contains(&site.home(1, room)), "{mode}: {room} has moved");
            }
            site.until("all of it is whole", |site| site.ask(&["splits"]).code == 0);
            println!(
                "{}: {mode}: {} requests to {} rooms while the store hung, longest {:.0?}",
                binary.display(),
                met.asked,
                met.homes.len(),
                met.longest
            );
        }
    }
}
