//! Drains, maintenance, and whose it is.

use std::sync::Arc;

use adapter_haproxy::control::{ControlError, Order};
use balancer_core::MemoryStore;

use super::site::{Running, Site, names, until};
use crate::runtime::live::binaries;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn somebody_elses_maintenance_is_never_ended() {
    for binary in binaries() {
        let site = Site::start(&binary, 3, 2);
        let rooms = names(60);
        let running = site.control(Arc::new(MemoryStore::default()), |_| ());
        let before = site.homes(0, &rooms);
        running.pinned(60).await;
        assert_eq!(site.homes(1, &rooms), before, "pinned in both");
        site.haproxies[0].order("set server rooms/mm2 state maint");
        until("its rooms have moved", || running.server("mm2").dead && running.server("mm2").rooms == 0).await;
        running.pinned(60).await;
        let moved = site.homes(0, &rooms);
        assert_eq!(site.homes(1, &rooms), moved, "in the other process too");
        assert!(moved.values().all(|home| home != "mm2"));
        let refused = running.control.order("mm2", None).await.unwrap_err();
        assert!(matches!(refused, ControlError::Foreign { .. }), "{refused}");
        // Drained by us meanwhile, and let go: the maintenance is not touched.
        running.control.order("mm2", Some(Order::Drain)).await.unwrap();
        until("the order is known", || running.server("mm2").order == Some(Order::Drain)).await;
        assert!(running.control.order("mm2", None).await.is_err());
        assert_eq!(site.haproxies[0].status("rooms", "mm2"), "MAINT");
        site.haproxies[0].order("set server rooms/mm2 state ready");
        running.verdict("mm2", "up").await;
        running.control.order("mm2", None).await.unwrap();
        until("it is up and free", || running.server("mm2").takes_rooms).await;
        assert_eq!(site.homes(0, &rooms), moved, "none returns");
        running.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_order_that_haproxy_refuses_is_told_in_the_status() {
    for binary in binaries() {
        let site = Site::start(&binary, 2, 1);
        let running = site.control_below(Arc::new(MemoryStore::default()));
        running.verdict("mm1", "up").await;
        running.control.order("mm1", Some(Order::Drain)).await.unwrap();
        let trouble = || running.control.status().processes[0].trouble.clone();
        until("the refusal is told", || trouble().is_some_and(|text| text.contains("set server"))).await;
        assert!(trouble().unwrap().contains("admin"), "{:?}", trouble());
        running.control.order("mm1", None).await.unwrap();
        until("nothing is wrong any more", || trouble().is_none()).await;
        running.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drained_server_keeps_its_rooms_and_says_which() {
    for binary in binaries() {
        let mut site = Site::start(&binary, 3, 1);
        let rooms = names(60);
        let running = site.control(Arc::new(MemoryStore::default()), |_| ());
        let before = site.homes(0, &rooms);
        running.pinned(60).await;
        let theirs = before.values().filter(|home| *home == "mm3").count();
        running.control.order("mm3", Some(Order::Drain)).await.unwrap();
        until("it is drained in both backends", || {
            ["rooms", "pages"].iter().all(|backend| site.haproxies[0].status(backend, "mm3") == "DRAIN")
        })
        .await;
        assert_eq!(site.homes(0, &rooms), before);
        let more: Vec<String> = (0..40).map(|n| format!("new{n}")).collect();
        assert!(site.homes(0, &more).values().all(|home| home != "mm3"));
        let left = running.control.remaining("mm3");
        assert_eq!((left.rooms.len(), left.empty, left.order), (theirs, false, Some(Order::Drain)));
        // A HAProxy that starts anew is told again.
        let pins: String = before.iter().map(|(room, home)| format!("{room} {home}\n")).collect();
        site.restart(0, &pins);
        until("it is drained again", || site.haproxies[0].status("rooms", "mm3") == "DRAIN").await;
        // Out with all of them: first the rooms, then the server.
        running.control.order("mm3", Some(Order::Maint)).await.unwrap();
        until("it is empty and out", || site.haproxies[0].status("rooms", "mm3") == "MAINT").await;
        let left = running.control.remaining("mm3");
        assert!(left.empty && left.rooms.is_empty(), "{left:?}");
        let moved = site.homes(0, &rooms);
        assert!(moved.iter().all(|(room, home)| home != "mm3" && (*home == before[room] || before[room] == "mm3")));
        running.control.order("mm3", None).await.unwrap();
        until("it takes rooms again", || running.server("mm3").takes_rooms).await;
        assert_eq!(site.homes(0, &rooms), moved);
        assert!(matches!(running.control.order("mm9", None).await, Err(ControlError::NoServer { .. })));
        running.end().await;
    }
}

async fn maint(running: &Running, site: &Site) {
    running.control.order("mm2", Some(Order::Maint)).await.unwrap();
    for haproxy in &site.haproxies {
        for backend in ["rooms", "pages"] {
            until("it is out", || haproxy.status(backend, "mm2") == "MAINT").await;
        }
    }
}

async fn ready(running: &Running, site: &Site) {
    running.verdict("mm2", "out").await;
    running.control.order("mm2", None).await.unwrap();
    for haproxy in &site.haproxies {
        for backend in ["rooms", "pages"] {
            until("it is back", || haproxy.status(backend, "mm2").starts_with("UP")).await;
        }
    }
    running.verdict("mm2", "up").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn maintenance_is_ended_by_the_next_controller_too_unless_it_is_somebody_elses() {
    for binary in binaries() {
        let site = Site::start(&binary, 3, 2);
        let store = Arc::new(MemoryStore::default());
        let (first, second) = (site.control(store.clone(), |_| ()), site.control(store.clone(), |_| ()));
        for running in [&first, &second] {
            running.verdict("mm2", "up").await;
        }
        // By the one, and ended by the other.
        maint(&first, &site).await;
        ready(&second, &site).await;
        // Ended by one that came later.
        maint(&second, &site).await;
        first.end().await;
        second.end().await;
        let third = site.control(store.clone(), |_| ());
        ready(&third, &site).await;
        // What an operator has ended is not ours any more, though our order stands.
        maint(&third, &site).await;
        let seen = |word: &str| third.server("mm2").seen["lb1"] == word;
        until("that is seen", || seen("maint")).await;
        site.haproxies[0].order("set server rooms/mm2 state ready");
        until("that is seen", || seen("up")).await;
        site.haproxies[0].order("set server rooms/mm2 state maint");
        until("that is seen", || seen("maint")).await;
        let refused = third.control.order("mm2", None).await.unwrap_err();
        assert!(matches!(&refused, ControlError::Foreign { process, .. } if process == "lb1"), "{refused}");
        third.end().await;
        let last = site.control(store, |_| ());
        last.verdict("mm2", "out").await;
        assert!(last.control.order("mm2", None).await.is_err(), "nor the next one's");
        last.end().await;
    }
}
