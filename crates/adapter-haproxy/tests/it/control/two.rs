//! Two controllers and two HAProxys on one real Redis.

use real_servers::RedisServer;

use super::site::{Site, names, store, until};
use crate::runtime::live::binaries;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_controllers_on_one_redis_agree() {
    let Some(mut redis) = RedisServer::start(&[]) else { return };
    for binary in binaries() {
        redis.stop();
        redis.resume();
        let mut site = Site::start(&binary, 3, 2);
        let rooms = names(120);
        let mut first = site.control(store(&redis), |_| ());
        let second = site.control(store(&redis), |_| ());
        let port = (site.port(0), site.port(1));
        for (n, room) in rooms.iter().enumerate() {
            crate::reconcile::crowd::home(if n % 2 == 0 { port.0 } else { port.1 }, room).unwrap();
        }
        first.pinned(120).await;
        second.pinned(120).await;
        let homes = site.homes(0, &rooms);
        assert_eq!(site.homes(1, &rooms), homes);
        // A server dies while both look on.
        site.servers[0].stop();
        until("its rooms have moved", || {
            [&first, &second].iter().all(|c| c.server("mm1").dead && c.server("mm1").rooms == 0)
        })
        .await;
        first.pinned(120).await;
        second.pinned(120).await;
        let moved = site.homes(0, &rooms);
        assert_eq!(site.homes(1, &rooms), moved);
        assert_eq!((site.map(0), site.map(1)), (moved.clone(), moved.clone()));
        site.servers[0].listen();
        second.verdict("mm1", "up").await;
        // One is killed, and Redis with all that it knew; a server dies: nothing moves.
        first.kill();
        redis.stop();
        until("it is noticed", || !second.control.status().store_up).await;
        site.servers[1].stop();
        second.verdict("mm2", "down").await;
        until("the store is asked for once more", || second.control.status().store_trouble.is_some()).await;
        assert_eq!(site.map(0), moved, "pins stay");
        // A HAProxy that starts anew meanwhile gets what is known.
        site.restart(1, "");
        until("its pins are back", || site.map(1) == moved).await;
        redis.resume();
        until("the store is back", || second.control.status().store_up).await;
        until("its rooms have moved", || second.server("mm2").rooms == 0).await;
        second.pinned(120).await;
        let last = site.homes(0, &rooms);
        assert_eq!(site.homes(1, &rooms), last);
        for room in &rooms {
            assert!(last[room] == moved[room] || moved[room] == "mm2", "{room}");
        }
        second.end().await;
        println!("{}: {} rooms, one server each throughout", binary.display(), rooms.len());
    }
}
