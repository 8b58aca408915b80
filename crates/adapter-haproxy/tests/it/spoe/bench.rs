//! What asking an agent costs: the same HAProxy without the filter, with ours, and with the least that does the same in
//! C. Costs are what a request takes longer, and the time for which the agent's process runs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_haproxy::render::{HaproxyConfig, OnNoAnswer};
use adapter_haproxy::spoe::{AgentServer, AgentServerOptions};
use balancer_core::{ByRooms, MemoryStore};

use super::site::{PATIENT, Site, placer_on};
use crate::client::Client;
use crate::haproxy::{free_port, until};
use crate::runtime::live::binaries;

/// How often all take turns.
const TURNS: usize = 48;
/// Requests of a turn over one connection, and over each of several.
const REQUESTS: usize = 600;
/// Connections at a time.
const CLIENTS: usize = 16;
/// The most that ours may cost, times the one in C.
const MOST: f64 = 1.2;

/// Where our agent listens in a process of its own.
const PORT: &str = "SPOE_BENCH_PORT";

/// An agent in a process of its own; killed when dropped.
struct Process {
    child: Child,
    port: u16,
}

impl Process {
    /// The one in C.
    fn least(folder: &Path) -> Self {
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../benches/spoe/agent.c");
        let program = folder.join("agent");
        let built = Command::new("cc").args(["-O2", "-D_GNU_SOURCE", "-o"]).arg(&program).arg(source).status().unwrap();
        assert!(built.success(), "the agent in C is not built");
        let port = free_port();
        Self::start(Command::new(program).arg(port.to_string()), port)
    }

    /// Ours: this program again.
    fn ours() -> Self {
        let port = free_port();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--ignored", "spoe::bench::our_agent"]).env(PORT, port.to_string());
        Self::start(&mut command, port)
    }

    fn start(command: &mut Command, port: u16) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        until("the agent listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port }
    }

    /// The time its threads ran so far, in microseconds.
    fn cpu(&self) -> f64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let ran = threads.map(|thread| {
            // Nanoseconds; what `stat` has is rounded to hundredths of a second.
            let told = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
            told.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e3
        });
        ran.sum()
    }
}

#[test]
#[ignore = "a part of `cargo xtask bench haproxy-spoe`, which starts it"]
fn our_agent() {
    let Some(port) = std::env::var(PORT).ok().and_then(|port| port.parse::<u16>().ok()) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let placer = placer_on(Arc::new(MemoryStore::default()), 3, ByRooms, PATIENT);
    let address = SocketAddr::from(([127, 0, 0, 1], port)).into();
    runtime.block_on(async {
        let server = AgentServer::bind(&address, AgentServerOptions::default(), placer).await.unwrap();
        server.run(std::future::pending()).await;
    });
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// HAProxy answers by itself, after the agent was asked.
fn answered_at_once(config: &mut HaproxyConfig) {
    config.defaults.http_log = false;
    config.global.logs.clear();
    config.backends[0].extra.push("http-request return status 200 content-type text/plain string ok".into());
}

fn target(n: usize) -> String {
    format!("/?room=r{}", n % 500)
}

/// Who is measured: a HAProxy, and the agent it asks.
struct Measured<'a> {
    what: &'static str,
    site: Site,
    agent: Option<&'a Process>,
    /// Of each turn, one request at a time: the times of requests at the middle and near the end, in microseconds, and
    /// the agent's own for each.
    p50: Vec<f64>,
    p99: Vec<f64>,
    cpu: Vec<f64>,
    /// Of each turn, several at a time: requests a second, and the agent's own time for each.
    rate: Vec<f64>,
    cpu_busy: Vec<f64>,
}

impl<'a> Measured<'a> {
    fn new(what: &'static str, binary: &Path, agent: Option<&'a Process>) -> Self {
        let port = agent.map_or(0, |agent| agent.port);
        let site = if agent.is_some() {
            Site::start_changed(binary, port, PATIENT, OnNoAnswer::Balance, answered_at_once)
        } else {
            Site::start_without(binary, answered_at_once)
        };
        let (p50, p99, cpu, rate, cpu_busy) = Default::default();
        Self { what, site, agent, p50, p99, cpu, rate, cpu_busy }
    }

    /// Runs it; what it took of the agent's time for each of so many requests, in microseconds.
    fn of_agent(agent: Option<&Process>, requests: usize, run: impl FnOnce()) -> f64 {
        let time = || agent.map_or(0.0, Process::cpu);
        let before = time();
        run();
        (time() - before) / count(requests)
    }

    fn turn(&mut self) {
        let port = self.site.haproxy.place.port;
        let mut times = Vec::with_capacity(REQUESTS);
        self.cpu.push(Self::of_agent(self.agent, REQUESTS, || {
            let mut client = Client::of(port);
            for n in 0..REQUESTS {
                let began = Instant::now();
                assert_eq!(client.get(&target(n)).status, 200);
                times.push(micros(began.elapsed()));
            }
        }));
        times.sort_by(f64::total_cmp);
        self.p50.push(times[REQUESTS / 2]);
        self.p99.push(times[REQUESTS * 99 / 100]);
        let (all, began) = (CLIENTS * (REQUESTS / 4), Instant::now());
        self.cpu_busy.push(Self::of_agent(self.agent, all, || {
            std::thread::scope(|scope| {
                for c in 0..CLIENTS {
                    scope.spawn(move || {
                        let mut client = Client::of(port);
                        for n in 0..REQUESTS / 4 {
                            assert_eq!(client.get(&target(n * 7 + c)).status, 200);
                        }
                    });
                }
            });
        }));
        self.rate.push(count(all) / began.elapsed().as_secs_f64());
    }

    fn say(&self, version: &str) {
        let middle = [&self.p50, &self.p99, &self.rate, &self.cpu, &self.cpu_busy].map(|values| middle(values));
        let [p50, p99, rate, cpu, busy] = middle;
        print!("{version}: {}: p50 {p50:.1} µs, p99 {p99:.1} µs, {rate:.0} requests/s", self.what);
        match self.agent {
            Some(_) => println!("; the agent {cpu:.2} µs for each request, {busy:.2} with {CLIENTS} at a time"),
            None => println!(),
        }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap())
}

fn middle(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

#[test]
#[ignore = "measures: `cargo xtask bench haproxy-spoe`"]
fn added_latency() {
    for binary in binaries() {
        let folder = real_servers::Folder::new("spoe-bench");
        let (ours, in_c) = (Process::ours(), Process::least(&folder));
        let mut measured = [
            Measured::new("without an agent", &binary, None),
            Measured::new("our agent", &binary, Some(&ours)),
            Measured::new("the agent in C", &binary, Some(&in_c)),
        ];
        // In turn, and the other way round: what a busy host adds, it adds to all.
        for turn in 0..TURNS {
            for n in 0..measured.len() {
                let n = if turn % 2 == 0 { n } else { measured.len() - 1 - n };
                measured[n].turn();
            }
        }
        let version = measured[0].site.version.to_string();
        measured.iter().for_each(|measured| measured.say(&version));
        let [without, ours, in_c] = &measured;
        // Of the turns that the host disturbed least.
        let added = |of: &[f64], base: &[f64]| least(of) - least(base);
        let latency = [added(&ours.p50, &without.p50), added(&in_c.p50, &without.p50)];
        let tail = [added(&ours.p99, &without.p99), added(&in_c.p99, &without.p99)];
        let cpu = [least(&ours.cpu), least(&in_c.cpu)];
        let busy = [least(&ours.cpu_busy), least(&in_c.cpu_busy)];
        println!(
            "{version}: in the best turns: added at p50 {:.1} µs, {:.1} in C, {:.2} times; at p99 {:.1} µs, {:.1} in C; \
             the agent's own time {:.2} µs, {:.2} in C, {:.2} times, with {CLIENTS} at a time {:.2} µs, {:.2} in C, \
             {:.2} times; {:.2} times the requests a second of the one in C",
            latency[0],
            latency[1],
            latency[0] / latency[1],
            tail[0],
            tail[1],
            cpu[0],
            cpu[1],
            cpu[0] / cpu[1],
            busy[0],
            busy[1],
            busy[0] / busy[1],
            middle(&ours.rate) / middle(&in_c.rate)
        );
        assert!(latency[0] <= MOST * latency[1], "ours adds more than {MOST} times what the agent in C adds");
        assert!(cpu[0] <= MOST * cpu[1], "ours costs more than {MOST} times the agent in C");
    }
}
