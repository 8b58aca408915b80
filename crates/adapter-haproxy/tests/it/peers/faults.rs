//! Three HAProxys of two releases and two nodes on one Redis, of which everybody fails in turn.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use balancer_core::{RedisLink, RedisOptions, RedisStore};
use real_servers::RedisServer;

use super::mesh::{Lb, Member, Node, Pins, Plan, settled};
use crate::haproxy::{MINUTE, until};
use crate::runtime::live::binaries;

/// What a node keeps its rooms in.
pub(super) fn redis(port: u16) -> RedisStore {
    let options = RedisOptions::new("127.0.0.1").port(port).unwrap();
    let options = options.response_timeout(MINUTE / 2).connect_timeout(MINUTE / 2);
    RedisStore::new(RedisLink::new(options).unwrap())
}

/// Everybody, and where every room must be.
struct Site<'s> {
    lbs: Vec<Lb>,
    nodes: Vec<Box<dyn Member>>,
    start: &'s dyn Fn(&Plan, usize) -> Box<dyn Member>,
    plan: Plan,
    rooms: Pins,
    asked: u64,
    split: u64,
}

impl Site<'_> {
    /// Waits until all tables are equal, and as they must be.
    fn settle(&mut self, what: &str) {
        let began = Instant::now();
        let mut nodes: Vec<&mut dyn Member> = Vec::new();
        for node in &mut self.nodes {
            nodes.push(&mut **node);
        }
        let pins = settled(&self.lbs, &mut nodes, self.rooms.len());
        assert_eq!(pins, self.rooms, "{what}: rooms have moved");
        println!("  {what}: {} rooms equal everywhere after {:.1?}", pins.len(), began.elapsed());
    }

    /// Somebody comes to these new rooms, by one HAProxy after the other.
    fn place(&mut self, name: &str, count: usize, lbs: &[usize]) {
        for n in 0..count {
            let room = format!("{name}{n}");
            let home = self.lbs[lbs[n % lbs.len()]].home(&room);
            self.rooms.insert(room, home);
        }
    }

    /// Somebody comes to every room by every HAProxy.
    fn visit(&mut self) {
        for (room, server) in &self.rooms {
            for lb in &mut self.lbs {
                self.asked += 1;
                self.split += u64::from(lb.home(room) != *server);
            }
        }
    }

    /// A node claims rooms.
    fn claim(&mut self, name: &str, count: usize, node: usize) {
        for n in 0..count {
            let (room, server) = (format!("{name}{n}"), format!("mm{}", n % 3 + 1));
            self.nodes[node].claim(&room, &server);
            self.rooms.insert(room, server);
        }
    }

    fn begin(&mut self, nodes: &[usize]) {
        for node in nodes {
            let fresh = (self.start)(&self.plan, *node);
            self.nodes.insert(*node, fresh);
        }
        self.nodes.iter_mut().for_each(|node| node.connected());
    }
}

/// The whole story with this many rooms.
pub(super) fn storm(count: usize, store: &RedisServer, start: &dyn Fn(&Plan, usize) -> Box<dyn Member>) {
    let programs = binaries();
    let Some(first) = programs.first() else { return };
    let programs: Vec<&PathBuf> = [first, programs.last().unwrap_or(first), first].into();
    let plan = Plan::new(3, 2);
    let lbs: Vec<Lb> = programs.iter().enumerate().map(|(at, program)| plan.start(at, program)).collect();
    let nodes = vec![start(&plan, 0), start(&plan, 1)];
    let mut site = Site { lbs, nodes, start, plan, rooms: Pins::new(), asked: 0, split: 0 };
    site.nodes.iter_mut().for_each(|node| node.connected());
    let (began, few) = (Instant::now(), count / 10);

    site.place("placed", count / 2 - 4 * few, &[0, 1, 2]);
    site.claim("claimed", count / 2 - 3 * few, 0);
    site.settle("placed and claimed");
    site.visit();

    site.lbs[0].reload();
    site.place("reloaded", few, &[0, 1, 2]);
    site.settle("a HAProxy reloaded");

    site.lbs[1].restart();
    site.settle("a HAProxy killed and started anew");
    site.place("restarted", few, &[1]);
    site.settle("new rooms there");

    site.lbs[2].haproxy.signal("STOP");
    site.place("stopped", few, &[0, 1]);
    site.claim("claimed-while-stopped", few, 1);
    for n in 0..few {
        let (room, server) = (format!("claimed{n}"), format!("mm{}", (n + 1) % 3 + 1));
        site.nodes[0].rebind(&room, &server);
        site.rooms.insert(room, server);
    }
    until("the stopped HAProxy is missed", || !site.nodes[0].sees("lb3") && !site.nodes[1].sees("lb3"));
    site.lbs[2].haproxy.signal("CONT");
    site.settle("a HAProxy stopped, and rooms moved meanwhile");

    drop(site.nodes.remove(0));
    site.place("without-one", few, &[0, 1, 2]);
    site.claim("claimed-at-the-other", few, 0);
    site.begin(&[0]);
    site.settle("a node killed and started anew");

    // Nobody but the store knows anything.
    site.nodes.clear();
    site.place("without-both", few, &[2]);
    site.begin(&[0, 1]);
    site.settle("both nodes killed");
    site.nodes.clear();
    site.lbs.iter_mut().for_each(Lb::restart);
    site.begin(&[0, 1]);
    site.settle("everything killed but the store");
    site.visit();

    println!(
        "{}, {} and {}: {} rooms, {} requests in {:.1?}: {} on two servers",
        programs[0].display(),
        programs[1].display(),
        programs[2].display(),
        site.rooms.len(),
        site.asked,
        began.elapsed(),
        site.split,
    );
    assert_eq!(site.split, 0);
    drop(site);
    drop(redis(store.port()));
}

#[test]
fn tables_are_equal_whatever_fails() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let port = server.port();
    storm(200, &server, &move |plan, at| Box::new(Node::start(plan.options(at), Plan::table(), Arc::new(redis(port)))));
}
