//! Rooms that live on two servers.

use std::sync::Arc;

use adapter_haproxy::control::Splits;
use balancer_core::MemoryStore;

use super::site::{Site, names};
use crate::runtime::live::binaries;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_split_on_purpose_is_found() {
    for binary in binaries() {
        let site = Site::start(&binary, 3, 2);
        let rooms = names(40);
        let running = site.control(Arc::new(MemoryStore::default()), |_| ());
        let homes = site.homes(0, &rooms);
        running.pinned(40).await;
        assert!(running.control.splits(&[]).await.rooms.is_empty());
        // In the table of one of two: again until it is seen, for the peer still teaches what it knew, and a check
        // that fails on a busy machine hides a server for a moment.
        let other = if homes["class7"] == "mm1" { 2 } else { 1 };
        let mut found = Splits::default();
        for _ in 0..100 {
            running.verdict(&format!("mm{other}"), "up").await;
            site.haproxies[1].order(&format!("set table rooms key class7 data.server_id {other}"));
            found = running.control.splits(&[]).await;
            if !found.rooms.is_empty() {
                break;
            }
        }
        assert_eq!(found.rooms.len(), 1, "{found:?}");
        let split = &found.rooms[0];
        assert_eq!((&*split.room, split.home.as_deref()), ("class7", Some(&*homes["class7"])));
        assert!(split.seen.iter().any(|seen| seen.by == "table of lb2" && seen.server == format!("mm{other}")));
        assert!(running.control.status().splits == 1);
        // By what the servers say.
        let server = if homes["class8"] == "mm1" { "mm2" } else { "mm1" };
        let said =
            [(server.to_owned(), "class8".to_owned(), Some(3)), (homes["class9"].clone(), "class9".to_owned(), None)];
        let found = running.control.splits(&said).await;
        let named: Vec<&str> = found.rooms.iter().map(|split| &*split.room).collect();
        assert_eq!(named, ["class7", "class8"]);
        // The next people of the room end it.
        assert_eq!(crate::reconcile::crowd::home(site.port(1), "class7").as_deref(), Some(&*homes["class7"]));
        assert!(running.control.splits(&[]).await.rooms.is_empty());
        running.end().await;
    }
}
