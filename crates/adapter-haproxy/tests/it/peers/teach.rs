//! What is taught is obeyed; what is placed is learned; contradictions end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use balancer_core::MemoryStore;

use super::mesh::{Node, Plan, settled};
use crate::haproxy::until;
use crate::runtime::live::binaries;

#[test]
fn taught_is_routed_and_requested_is_learned() {
    for binary in binaries() {
        let plan = Plan::new(1, 1);
        let mut lb = plan.start(0, &binary);
        let mut node = Node::start(plan.options(0), Plan::table(), Arc::new(MemoryStore::default()));
        node.connected();

        // By name and number.
        for n in [3, 2, 1, 2, 3] {
            let room = format!("taught{n}");
            assert_eq!(node.claim(&room, &format!("mm{n}")).backend.as_str(), format!("mm{n}"));
            until("it is taught", || lb.pins().contains_key(&room));
            for _ in 0..3 {
                assert_eq!(lb.home(&room), format!("mm{n}"));
            }
        }
        // The other way.
        for n in 0..6 {
            let room = format!("placed{n}");
            let home = lb.home(&room);
            until("it is learned", || node.stored(&room).as_deref() == Some(&home));
            assert_eq!(node.claim(&room, "mm1").backend.as_str(), home, "the first word holds");
        }
        // By number alone.
        lb.haproxy.order("set table rooms key numbered data.server_id 2");
        until("it is learned", || node.stored("numbered").as_deref() == Some("mm2"));

        // A server that came later, whose name nobody here has heard.
        let port = plan.servers[3];
        let added = lb.haproxy.order(&format!("add server rooms/mm4 127.0.0.1:{port} id 4"));
        assert!(added.contains("New server registered"), "{added}");
        lb.haproxy.order("set server rooms/mm4 state ready");
        node.claim("late", "mm4");
        until("it is taught", || lb.pins().contains_key("late"));
        assert_eq!(lb.home("late"), "mm4");
        let placed = (0..8).map(|n| format!("more{n}")).find(|room| lb.home(room) == "mm4").unwrap();
        until("it is learned", || node.stored(&placed).as_deref() == Some("mm4"));

        // Moved, released.
        node.rebind("taught1", "mm3");
        until("it is taught", || lb.pins().get("taught1").is_some_and(|server| server == "mm3"));
        let heard = node.status().peers[0].updates_in;
        assert_eq!(lb.home("taught1"), "mm3");
        until("the use of it is heard", || node.status().peers[0].updates_in > heard);
        node.release("taught1");
        until("it is un-pinned", || lb.pins().get("taught1").is_none_or(String::is_empty));
        let home = lb.home("taught1");
        until("it is placed anew", || node.stored("taught1").as_deref() == Some(&home));

        let (status, pins) = (node.status(), node.pins());
        let rooms = pins.len();
        assert_eq!(settled(&[lb], &mut [&mut node], rooms), pins);
        let table = &status.tables[0];
        assert_eq!((table.conflicts, table.unknown, table.untaught, table.unanswered), (0, 0, 0, 0), "{status:?}");
        println!("{}: {rooms} rooms taught and learned", binary.display());
        node.stop();
    }
}

#[test]
fn the_store_decides() {
    for binary in binaries() {
        let plan = Plan::new(2, 1);
        let mut lbs = [plan.start(0, &binary), plan.start(1, &binary)];
        let lost = Arc::new(AtomicBool::new(false));
        let gone = lost.clone();
        let table =
            Plan::table().with_serving(move |server| !(gone.load(Ordering::SeqCst) && server.as_str() == "mm2"));
        let mut node = Node::start(plan.options(0), table, Arc::new(MemoryStore::default()));
        node.connected();
        node.claim("room", "mm2");
        settled(&lbs, &mut [&mut node], 1);

        // One HAProxy cannot use the server, but it serves.
        lbs[0].haproxy.order("set server rooms/mm2 state maint");
        let elsewhere = lbs[0].home("room");
        assert_ne!(elsewhere, "mm2");
        until("the conflict is counted", || node.table().conflicts == 1);
        let pins = settled(&lbs, &mut [&mut node], 1);
        assert_eq!(pins["room"], "mm2", "the loser is taught");
        lbs[0].haproxy.order("set server rooms/mm2 state ready");
        assert_eq!([lbs[0].home("room"), lbs[1].home("room")], ["mm2", "mm2"]);

        // Now it does not serve.
        lost.store(true, Ordering::SeqCst);
        for lb in &lbs {
            lb.haproxy.order("set server rooms/mm2 state maint");
        }
        let now = lbs[1].home("room");
        until("it is moved", || node.stored("room").as_deref() == Some(&now));
        assert_eq!(settled(&lbs, &mut [&mut node], 1)["room"], now);
        assert_eq!(lbs[0].home("room"), now);
        assert_eq!((node.table().moved, node.table().conflicts), (1, 1));
    }
}
