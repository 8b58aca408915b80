//! Our verdict on a server beside HAProxy's, by the same probe at the same interval.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use balancer_core::{Backend, BackendId, Health, HealthRules, Monitor, MonitorOptions, Pool, PoolOptions, TcpProbe};

use crate::haproxy::{Haproxy, binary, until};
use crate::responder::Responder;

const INTERVAL: Duration = Duration::from_millis(400);

struct Server {
    id: BackendId,
    address: String,
}

impl Backend for Server {
    fn id(&self) -> &BackendId {
        &self.id
    }
}

#[test]
fn both_see_a_server_fall_and_rise() {
    let Some((path, version)) = binary() else { return };
    let mut servers = ["s1", "s2"].map(Responder::start);
    let address = |server: &Responder| format!("127.0.0.1:{}", server.port);
    let check = format!("check inter {}ms fall 3 rise 2", INTERVAL.as_millis());
    let mut lines = vec!["balance roundrobin".to_owned()];
    lines.extend(servers.iter().zip(["s1", "s2"]).map(|(s, name)| format!("server {name} {} {check}", address(s))));
    let haproxy = Haproxy::start(&path, &lines);

    let pool = Pool::new(balancer_core::by_name("leastconn").unwrap(), PoolOptions::default());
    let ours = servers.iter().zip(["s1", "s2"]);
    let ours = ours.map(|(server, name)| Arc::new(Server { id: name.into(), address: address(server) }));
    pool.replace(ours).unwrap();
    let pool = Arc::new(pool);
    let (watched, (stop, stopped)) = (Arc::clone(&pool), tokio::sync::oneshot::channel::<()>());
    let (tell, told) = channel();
    let watching = std::thread::spawn(move || {
        let rules = HealthRules::new(2, 3, INTERVAL);
        let probe = TcpProbe::new(|server: &Server| server.address.clone());
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let monitor = Monitor::new(watched, Arc::new(probe), MonitorOptions::new(rules).jitter(0.0));
            tell.send(()).unwrap();
            monitor.run(async { drop(stopped.await) }).await;
        });
    });
    told.recv().unwrap();

    let seen = || {
        let all = pool.view(tokio::time::Instant::now());
        all.into_iter().find(|view| view.backend.id.as_str() == "s2").map_or(Health::Unknown, |view| view.health)
    };
    // How long each takes to see it.
    let both = |health: Health, status: &str| {
        let began = Instant::now();
        let (mut us, mut them) = (None, None);
        until("both see it", || {
            us = us.or_else(|| (seen() == health).then(|| began.elapsed()));
            them = them.or_else(|| (haproxy.status("b", "s2") == status).then(|| began.elapsed()));
            us.is_some() && them.is_some()
        });
        (us.unwrap_or_default(), them.unwrap_or_default())
    };
    // Both see it whatever happens; at the same time unless the host has kept one of them from looking.
    let alike = (0..20).any(|_| {
        both(Health::Up, "UP");
        servers[1].stop();
        let (us, them) = both(Health::Down, "DOWN");
        servers[1].listen();
        let (up, theirs) = both(Health::Up, "UP");
        println!("down after {us:?}, HAProxy {version} {them:?}; up after {up:?}, HAProxy {theirs:?}");
        us.abs_diff(them) <= 2 * INTERVAL && up.abs_diff(theirs) <= 2 * INTERVAL
    });
    assert!(alike, "never at the same time");
    drop(stop);
    watching.join().unwrap();
}
