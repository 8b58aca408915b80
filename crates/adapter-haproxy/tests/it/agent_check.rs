//! Agent checks of a real HAProxy of every release found, answered from the core's pool.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use adapter_haproxy::render::{
    AgentCheck, BackendSection, Balance, Bind, ControlSocket, FrontendSection, HaproxyConfig, ServerLine, SetVar,
    StickRule, StickTable,
};
use adapter_haproxy::{
    AgentCheckCounters, AgentCheckOptions, AgentCheckServer, Order, PoolAgent, PoolAgentOptions, ReadyRule,
};
use balancer_core::{Admin, Backend, BackendId, ByUsers, LeastLoaded, Pool, PoolOptions, Report};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::client::Client;
use crate::haproxy::{Haproxy, MINUTE, Place, free_port, until};
use crate::responder;
use crate::runtime::live::binaries;

#[derive(Debug)]
struct Server(BackendId);

impl Backend for Server {
    fn id(&self) -> &BackendId {
        &self.0
    }
}

const NAMES: [&str; 3] = ["web1", "web2", "web3"];

/// A pool of three servers, its agent, and a HAProxy that asks it ten times a second.
struct Site {
    haproxy: Haproxy,
    pool: Arc<Pool<Server>>,
    agent: Arc<PoolAgent<Server>>,
    counters: AgentCheckCounters,
    task: JoinHandle<()>,
    _runtime: Runtime,
}

impl Site {
    /// One port for all servers, or one for each.
    fn start(binary: &Path, rule: ReadyRule, one_port: bool) -> Self {
        let options = PoolAgentOptions::default().with_ready_rule(rule).with_fresh(Duration::from_millis(10));
        let options = options.with_limit(|server: &Server| (server.0.as_str() == "web3").then_some(30));
        Self::start_with(binary, options, one_port, 100)
    }

    /// An agent of these options, of servers with this weight.
    fn start_with(binary: &Path, options: PoolAgentOptions<Server>, one_port: bool, weight: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let pool = Pool::new(Box::new(LeastLoaded), PoolOptions::default().load(ByUsers { room: 1 }));
        pool.replace(NAMES.map(|name| Arc::new(Server(name.into())))).unwrap();
        let pool = Arc::new(pool);
        let agent = Arc::new(PoolAgent::new(Arc::clone(&pool), options));
        let options = AgentCheckOptions::default().within(MINUTE);
        let mut server = AgentCheckServer::new(options, agent.clone());
        let ports = if one_port { [free_port(); 3] } else { [free_port(), free_port(), free_port()] };
        runtime.block_on(async {
            let address = |port| SocketAddr::from(([127, 0, 0, 1], port)).into();
            if one_port {
                server.listen(&address(ports[0])).await.unwrap();
            } else {
                for (name, port) in NAMES.iter().zip(ports) {
                    server.listen_for(&address(port), name, Some("lb1")).await.unwrap();
                }
            }
        });
        let counters = server.counters();
        let task = runtime.spawn(server.run(std::future::pending()));
        let place = Place::new();
        let config = config(binary, &place, ports, one_port, weight);
        let haproxy = Haproxy::run(binary, place, &config.render().unwrap());
        Self { haproxy, pool, agent, counters, task, _runtime: runtime }
    }

    /// A column of `show stat`, by its name.
    fn stat(&self, server: &str, column: &str) -> String {
        let told = self.haproxy.order("show stat");
        let mut lines = told.lines();
        let head = lines.next().unwrap().trim_start_matches("# ");
        let at = head.split(',').position(|name| name == column).unwrap();
        let row = lines.find(|row| row.starts_with(&format!("rooms,{server},"))).unwrap();
        row.split(',').nth(at).unwrap().to_owned()
    }

    fn until(&self, server: &str, column: &str, wanted: &str) {
        let what = format!("{column} of {server} is {wanted}");
        until(&what, || self.stat(server, column).starts_with(wanted));
    }

    /// Everybody was asked about a few times more.
    fn rounds(&self) {
        let target = self.counters.read().answered + 20;
        until("some more rounds", || self.counters.read().answered >= target);
    }

    /// A server that drains does so no more. The agent says it once; HAProxy, should it have stood still just then, has
    /// not heard it.
    fn lift(&self, server: &str) {
        let lifted = (0..9).any(|_| {
            self.admin(server, Admin::Ready);
            let end = Instant::now() + Duration::from_secs(5);
            while !self.stat(server, "status").starts_with("UP") && Instant::now() < end {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            let up = self.stat(server, "status").starts_with("UP");
            if !up {
                self.admin(server, Admin::Drain);
                self.until(server, "status", "DRAIN");
            }
            up
        });
        assert!(lifted, "{server} drains for ever");
    }

    fn load(&self, users: [u64; 3]) {
        for (name, users) in NAMES.iter().zip(users) {
            assert!(self.pool.report(&(*name).into(), Report::new(Instant::now()).with_users(users)).unwrap());
        }
    }

    fn admin(&self, server: &str, admin: Admin) {
        self.pool.set_admin(&server.into(), admin).unwrap();
    }
}

fn config(binary: &Path, place: &Place, ports: [u16; 3], one_port: bool, weight: u16) -> HaproxyConfig {
    let out = Command::new(binary).arg("-v").output().unwrap();
    let mut config = HaproxyConfig::new(String::from_utf8_lossy(&out.stdout).parse().unwrap());
    config.global.sockets.push(ControlSocket::admin(place.socket()));
    let mut front = FrontendSection::new("web", "rooms");
    front.binds.push(Bind::port(place.port).on("127.0.0.1"));
    front.variables = vec![SetVar::new("room", "url_param(room),url_dec")];
    let mut back = BackendSection::new("rooms", Balance::RoundRobin);
    back.table = Some(StickTable::rooms());
    back.sticks = vec![StickRule::Variable("room".into())];
    let served = responder::start(NAMES.map(str::to_owned));
    for (n, (name, port)) in (1..).zip(NAMES.iter().zip(served)) {
        let mut line = ServerLine::new(n, *name, "127.0.0.1", port);
        let mut agent = AgentCheck::new(ports[usize::try_from(n).unwrap() - 1]);
        (agent.host, agent.every) = (Some("127.0.0.1".into()), Duration::from_millis(100));
        agent.send = one_port.then(|| format!("{name} lb1"));
        (line.weight, line.agent) = (Some(weight), Some(agent));
        back.servers.push(line);
    }
    config.frontends.push(front);
    config.backends.push(back);
    config
}

/// Where rooms are, asked anew.
fn homes(client: &mut Client, rooms: &[String]) -> Vec<String> {
    rooms.iter().map(|room| client.get(&format!("/?room={room}")).served()).collect()
}

#[test]
fn weights_follow_load_drain_keeps_rooms_and_maintenance_stays() {
    for binary in binaries() {
        for one_port in [true, false] {
            let site = Site::start(&binary, ReadyRule::KeepOperator, one_port);
            let mut client = Client::of(site.haproxy.place.port);
            site.load([0, 10, 30]);
            for (server, weight) in [("web1", "100"), ("web2", "50"), ("web3", "25")] {
                site.until(server, "weight", weight);
            }
            site.until("web3", "slim", "30");
            site.load([30, 0, 0]);
            for (server, weight) in [("web1", "25"), ("web2", "100"), ("web3", "100")] {
                site.until(server, "weight", weight);
            }
            // New rooms go where the weights say: 25 to 100 to 100.
            let rooms: Vec<String> = (0..90).map(|n| format!("r{n}")).collect();
            let before = homes(&mut client, &rooms);
            let count = |server: &str| before.iter().filter(|home| *home == server).count();
            assert_eq!(NAMES.map(count), [10, 40, 40], "{before:?}");

            site.admin("web2", Admin::Drain);
            site.until("web2", "status", "DRAIN");
            let astray = homes(&mut client, &rooms).iter().zip(&before).filter(|(now, then)| now != then).count();
            let new: Vec<String> = (0..30).map(|n| format!("new{n}")).collect();
            assert!(astray == 0 && !homes(&mut client, &new).contains(&"web2".to_owned()));
            site.lift("web2");

            // The operator's word at HAProxy itself: the agent goes on saying that all is well, and does not lift it.
            site.haproxy.order("set server rooms/web3 state maint");
            site.rounds();
            assert_eq!(site.stat("web3", "status"), "MAINT");
            // Not even where the agent itself drains and is done with it meanwhile, once it was told of the operator.
            site.agent.set_operator("web3", "lb1", Some(Order::Maint));
            site.admin("web3", Admin::Drain);
            site.rounds();
            site.admin("web3", Admin::Ready);
            site.rounds();
            assert_eq!(site.stat("web3", "status"), "MAINT");
            site.agent.set_operator("web3", "lb1", None);
            site.haproxy.order("set server rooms/web3 state ready");
            site.until("web3", "status", "UP");

            // An agent that is gone changes nothing.
            site.task.abort();
            until("HAProxy notices", || site.stat("web1", "agent_status") == "L4CON");
            let statuses = NAMES.map(|name| site.stat(name, "status"));
            assert!(statuses.iter().all(|status| status.starts_with("UP")), "{statuses:?}");
            assert_eq!(site.stat("web1", "weight"), "25");
            println!(
                "{}: weights by load, {} rooms kept over a drain, maintenance kept: {astray} astray",
                binary.display(),
                rooms.len()
            );
        }
    }
}

#[test]
fn what_rounds_to_nothing_ends_new_work_unless_the_configured_weight_is_known() {
    for binary in binaries() {
        let options = || PoolAgentOptions::default().with_fresh(Duration::from_millis(10));
        let new: Vec<String> = (0..30).map(|n| format!("new{n}")).collect();
        let rooms: Vec<String> = (0..12).map(|n| format!("r{n}")).collect();
        for (options, weight) in [(options(), "0"), (options().with_configured(|_| Some(2)), "1")] {
            let site = Site::start_with(&binary, options, true, 2);
            let mut client = Client::of(site.haproxy.place.port);
            site.load([0, 0, 0]);
            let before = homes(&mut client, &rooms);
            assert!(before.contains(&"web3".to_owned()), "{before:?}");
            // 40 of 100: less than one of two.
            site.load([0, 0, 15]);
            site.until("web3", "weight", weight);
            assert!(site.stat("web3", "status").starts_with("UP"), "whatever its weight");
            assert_eq!(homes(&mut client, &rooms), before, "rooms stay where they are");
            assert_eq!(homes(&mut client, &new).contains(&"web3".to_owned()), weight == "1");
        }
    }
}

#[test]
fn an_operators_maintenance_is_lifted_when_that_is_wanted() {
    for binary in binaries() {
        let site = Site::start(&binary, ReadyRule::LiftAll, true);
        site.rounds();
        site.haproxy.order("set server rooms/web3 state maint");
        site.until("web3", "status", "UP");
    }
}
