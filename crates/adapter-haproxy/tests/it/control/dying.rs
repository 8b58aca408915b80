//! Servers that die for a moment and for good, and HAProxys that start anew.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use balancer_core::MemoryStore;

use super::site::{Site, names, until};
use crate::reconcile::crowd::Crowd;
use crate::runtime::live::binaries;

type Homes = BTreeMap<String, String>;

fn of<'h>(homes: &'h Homes, server: &'h str) -> impl Iterator<Item = &'h String> {
    homes.iter().filter(move |(_, at)| *at == server).map(|(room, _)| room)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rooms_of_a_dead_server_move_once_and_do_not_return() {
    for binary in binaries() {
        let mut site = Site::start(&binary, 3, 1);
        let rooms = names(90);
        let running = site.control(Arc::new(MemoryStore::default()), |_| ());
        let before = site.homes(0, &rooms);
        running.pinned(rooms.len()).await;
        assert_eq!(site.map(0), before, "pins are where HAProxy has placed them");
        // For a moment: down, and up again.
        site.servers[0].stop();
        running.verdict("mm1", "down").await;
        until("its rooms have moved", || running.server("mm1").rooms == 0).await;
        let moved = site.homes(0, &rooms);
        for room in &rooms {
            match (&*before[room], &*moved[room]) {
                ("mm1", now) => assert!(now == "mm2" || now == "mm3", "{room} is {now}"),
                (was, now) => assert_eq!(was, now, "{room} was not on it"),
            }
        }
        site.servers[0].listen();
        running.verdict("mm1", "up").await;
        for _ in 0..5 {
            assert_eq!(site.homes(0, &rooms), moved, "none returns");
        }
        let explained = running.control.explain(of(&before, "mm1").next().unwrap()).await.unwrap();
        assert_eq!(explained.moves.len(), 1, "{explained:?}");
        assert_eq!(explained.server.as_deref(), Some(&*moved[&explained.room]));
        // New rooms find it again.
        let more: Vec<String> = (0..40).map(|n| format!("new{n}")).collect();
        assert!(of(&site.homes(0, &more), "mm1").count() > 0);
        running.pinned(130).await;
        // For good, another one.
        site.servers[1].stop();
        until("its rooms have moved", || running.server("mm2").dead && running.server("mm2").rooms == 0).await;
        let last = site.homes(0, &rooms);
        for room in &rooms {
            assert!(moved[room] == last[room] || moved[room] == "mm2", "{room}");
            assert_ne!(last[room], "mm2");
        }
        assert_eq!(running.control.status().splits, 0);
        running.end().await;
        println!(
            "{}: {} and {} rooms moved once",
            binary.display(),
            of(&before, "mm1").count(),
            of(&moved, "mm2").count()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_back_in_seconds_splits_no_room() {
    for binary in binaries() {
        let mut site = Site::start_slow(&binary, 3, 2);
        let rooms = names(60);
        let running = site.control_slow(Arc::new(MemoryStore::default()));
        running.verdict("mm1", "up").await;
        // It dies while its rooms are seconds old.
        let before = site.homes(0, &rooms);
        running.pinned(60).await;
        site.servers[0].stop();
        for haproxy in &site.haproxies {
            until("HAProxy has noticed", || haproxy.status("rooms", "mm1") == "DOWN").await;
        }
        // Its people come again, and it is back.
        let met = site.homes(0, &rooms);
        assert!(met.values().all(|home| home != "mm1"));
        site.servers[0].listen();
        for haproxy in &site.haproxies {
            until("HAProxy has it back", || haproxy.status("rooms", "mm1") == "UP").await;
        }
        running.verdict("mm1", "up").await;
        running.pinned(60).await;
        for haproxy in [0, 1] {
            assert_eq!(site.homes(haproxy, &rooms), met, "they stay where they met, in {haproxy}");
        }
        assert_eq!(running.control.splits(&[]).await.rooms, []);
        for room in &rooms {
            let moves = running.control.explain(room).await.unwrap().moves.len();
            assert_eq!(moves, usize::from(before[room] == "mm1"), "{room}");
        }
        running.end().await;
        println!("{}: {} young rooms moved once", binary.display(), of(&before, "mm1").count());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn within_its_grace_a_server_loses_only_the_rooms_haproxy_has_put_elsewhere() {
    for binary in binaries() {
        let mut site = Site::start(&binary, 3, 2);
        let rooms = names(60);
        let running = site.control(Arc::new(MemoryStore::default()), |options| {
            options.grace = std::time::Duration::from_secs(600);
        });
        running.verdict("mm1", "up").await;
        let before = site.homes(0, &rooms);
        running.pinned(60).await;
        site.servers[0].stop();
        running.verdict("mm1", "down").await;
        // People of some of its rooms come while it is away.
        let asked: Vec<String> = of(&before, "mm1").step_by(2).cloned().collect();
        let met = site.homes(1, &asked);
        assert!(asked.len() > 3 && met.values().all(|home| home != "mm1"), "{met:?}");
        until("they are pinned where they met", || {
            asked.iter().all(|room| site.map(0).get(room) == met.get(room) && site.map(1).get(room) == met.get(room))
        })
        .await;
        site.servers[0].listen();
        running.verdict("mm1", "up").await;
        let after = site.homes(0, &rooms);
        assert_eq!(site.homes(1, &rooms), after);
        for room in &rooms {
            assert_eq!(after[room], *met.get(room).unwrap_or(&before[room]), "{room}");
        }
        assert_eq!(running.control.splits(&[]).await.rooms, []);
        assert_eq!(running.control.status().decisions.get("moved followed"), Some(&(asked.len() as u64)));
        running.end().await;
        println!("{}: {} of its rooms followed", binary.display(), asked.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restarted_haproxy_gets_its_pins_back() {
    for binary in binaries() {
        let mut site = Site::start(&binary, 3, 1);
        let rooms = names(60);
        let running = site.control(Arc::new(MemoryStore::default()), |_| ());
        site.homes(0, &rooms);
        running.pinned(60).await;
        site.servers[0].stop();
        until("its rooms have moved", || running.server("mm1").dead && running.server("mm1").rooms == 0).await;
        site.servers[0].listen();
        running.verdict("mm1", "up").await;
        let homes = site.homes(0, &rooms);
        // An old file, as a host without our hand on it would have: rooms on mm1 again, and a room nobody has.
        let old: String = rooms.iter().map(|room| format!("{room} mm1\n")).collect();
        site.restart(0, &format!("{old}stale mm2\n"));
        until("its map is as it was", || site.map(0) == homes).await;
        assert_eq!(site.homes(0, &rooms), homes);
        running.end().await;
        // Another controller, with nothing remembered, takes over what is there.
        let next = site.control(Arc::new(MemoryStore::default()), |_| ());
        next.pinned(60).await;
        assert_eq!(site.map(0), homes);
        next.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn people_who_come_all_the_time_meet_in_one_place_before_and_in_one_after() {
    for binary in binaries() {
        let mut site = Site::start_holding(&binary, 3, 2);
        let rooms = names(60);
        let running = site.control(Arc::new(MemoryStore::default()), |_| ());
        let before = site.homes(0, &rooms);
        running.pinned(60).await;
        let crowds = [Crowd::come(site.port(0), &rooms), Crowd::come(site.port(1), &rooms)];
        site.servers[0].stop();
        until("its rooms have moved", || running.server("mm1").dead && running.server("mm1").rooms == 0).await;
        running.pinned(60).await;
        let moved: Homes = site.map(0);
        site.servers[0].listen();
        running.verdict("mm1", "up").await;
        crowds.iter().for_each(|crowd| crowd.wait(300));
        let (mut asked, mut failed) = (0, 0);
        for crowd in crowds {
            let met = crowd.go();
            (asked, failed) = (asked + met.asked, failed + met.failed);
            for (room, servers) in met.servers {
                let places = [&before[&room], &moved[&room]];
                assert!(
                    servers.iter().all(|server| places.contains(&server)),
                    "{room} was on {servers:?}, not {places:?}"
                );
            }
        }
        assert_eq!((site.homes(0, &rooms), site.homes(1, &rooms)), (moved.clone(), moved.clone()));
        assert_eq!(running.control.status().splits, 0);
        println!("{}: {asked} came, {failed} while their server was down", binary.display());
        running.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_was_quicker_than_the_move_is_sent_after_the_others() {
    for binary in binaries() {
        let site = Site::start_holding(&binary, 3, 2);
        let rooms = names(30);
        let running = site.control(Arc::new(MemoryStore::default()), |options| {
            options.grace = std::time::Duration::from_secs(15);
        });
        let before = site.homes(0, &rooms);
        running.pinned(30).await;
        let room = of(&before, "mm1").next().unwrap();
        // Out of service, its sessions ended; and its pins still let people in, by either process.
        for haproxy in &site.haproxies {
            haproxy.order("set server rooms/mm1 state maint");
        }
        let mut late: Vec<TcpStream> = Vec::new();
        for haproxy in &site.haproxies {
            late.push(half_a_request(haproxy.place.port, room));
            until("somebody has reached it", || haproxy.sessions("rooms", "mm1") == "1").await;
        }
        assert_eq!(site.map(0)[room], "mm1", "not moved yet");
        until("its rooms have moved", || running.server("mm1").dead && running.server("mm1").rooms == 0).await;
        for stream in &mut late {
            let mut end = Vec::new();
            let _ = stream.read_to_end(&mut end);
            let end = String::from_utf8_lossy(&end);
            assert!(!end.starts_with("HTTP/1.1 200"), "the session has ended: {end}");
        }
        for haproxy in &site.haproxies {
            until("nobody is left", || haproxy.sessions("rooms", "mm1") == "0").await;
            assert_ne!(crate::reconcile::crowd::home(haproxy.place.port, room).as_deref(), Some("mm1"));
        }
        running.end().await;
    }
}

/// A session that lasts: a request whose body is not all there yet, and longer than what HAProxy waits for.
fn half_a_request(port: u16, room: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(crate::haproxy::MINUTE)).unwrap();
    let head = format!("POST /socket.io/?roomId={room} HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&[b'x'; 20_000]).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_the_file_of_a_map_there_is_is_written() {
    for binary in binaries() {
        let mut site = Site::start(&binary, 2, 1);
        let store = Arc::new(MemoryStore::default());
        let (map, other) = (site.place.path("pins.map"), site.place.path("haproxy.cfg"));
        std::fs::write(&other, "global\n").unwrap();
        // A configuration where the map should be named.
        let wrong = site.control_of_map(store.clone(), &other, &other);
        let trouble = || wrong.control.status().processes[0].trouble.clone();
        until("it says that there is no such map", || trouble().is_some_and(|text| text.contains("haproxy.cfg"))).await;
        until("it is not ready", || {
            wrong.control.unready().is_some_and(|why| why.starts_with("nobody takes pins: lb1 ("))
        })
        .await;
        wrong.end().await;
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "global\n");
        // The map itself is written.
        let rooms = names(5);
        let right = site.control_of_map(store.clone(), &map, &map);
        let homes = site.homes(0, &rooms);
        right.pinned(5).await;
        until("its file has them", || {
            std::fs::read_to_string(&map).unwrap().lines().filter(|line| !line.starts_with('#')).count() == homes.len()
        })
        .await;
        // And why nothing is in control is told of what is away.
        site.haproxies[0].kill();
        until("nobody answers", || {
            right.control.unready().is_some_and(|why| why.starts_with("no HAProxy answers: lb1 ("))
        })
        .await;
        right.end().await;
        let late = site.control_of_map(store, &map, &map);
        until("nobody answers", || {
            late.control.unready().is_some_and(|why| why.starts_with("no HAProxy answers: lb1 (cannot connect"))
        })
        .await;
        assert_eq!(late.control.status().unready, late.control.unready());
        late.end().await;
    }
}
