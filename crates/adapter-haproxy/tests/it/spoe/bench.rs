//! What asking an agent costs: the same HAProxy without the filter, with ours, and with the least there can be in C.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adapter_haproxy::render::{HaproxyConfig, OnNoAnswer};
use adapter_haproxy::spoe::{AgentServer, AgentServerOptions};

use super::site::{PATIENT, Site, placer};
use crate::client::Client;
use crate::haproxy::{free_port, until};
use crate::runtime::live::binaries;

/// How often all take turns.
const TURNS: usize = 9;
/// Requests of a turn over one connection, and over each of several.
const REQUESTS: usize = 3000;
/// Connections at a time.
const CLIENTS: usize = 16;

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
        until("the agent listens", 10, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port }
    }
}

#[test]
#[ignore = "a part of `cargo xtask bench haproxy-spoe`, which starts it"]
fn our_agent() {
    let Some(port) = std::env::var(PORT).ok().and_then(|port| port.parse::<u16>().ok()) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_, placer) = placer(PATIENT);
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

#[derive(Default)]
struct Measured {
    p50: Vec<Duration>,
    p99: Vec<Duration>,
    rate: Vec<f64>,
}

impl Measured {
    fn turn(&mut self, port: u16) {
        let mut client = Client::of(port);
        let mut times: Vec<Duration> = (0..REQUESTS)
            .map(|n| {
                let began = Instant::now();
                assert_eq!(client.get(&target(n)).status, 200);
                began.elapsed()
            })
            .collect();
        times.sort();
        self.p50.push(times[REQUESTS / 2]);
        self.p99.push(times[REQUESTS * 99 / 100]);
        let began = Instant::now();
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
        self.rate.push(f64::from(u32::try_from(CLIENTS * (REQUESTS / 4)).unwrap()) / began.elapsed().as_secs_f64());
    }

    fn middle<T: PartialOrd + Copy>(values: &[T]) -> T {
        let mut values = values.to_vec();
        values.sort_by(|a, b| a.partial_cmp(b).unwrap());
        values[values.len() / 2]
    }

    fn told(&self) -> (Duration, Duration, f64) {
        (Self::middle(&self.p50), Self::middle(&self.p99), Self::middle(&self.rate))
    }
}

#[test]
#[ignore = "measures: `cargo xtask bench haproxy-spoe`"]
fn added_latency() {
    for binary in binaries() {
        let folder = real_servers::Folder::new("spoe-bench");
        let (ours, least) = (Process::ours(), Process::least(&folder));
        let start = |agent: u16, asks: bool| {
            Site::start_changed(&binary, agent, PATIENT, OnNoAnswer::Balance, |config| {
                answered_at_once(config);
                if !asks {
                    config.backends[0].offload = None;
                }
            })
        };
        let sites = [start(ours.port, false), start(ours.port, true), start(least.port, true)];
        let mut measured = [Measured::default(), Measured::default(), Measured::default()];
        for _ in 0..TURNS {
            for (site, measured) in sites.iter().zip(&mut measured) {
                measured.turn(site.haproxy.place.port);
            }
        }
        let [without, with, with_least] = measured;
        // What a busy host adds, it adds to some turns: the best of each is what the agent costs.
        let best = |measured: &Measured| measured.p50.iter().min().unwrap().as_secs_f64() * 1e6;
        let best_added = |measured: &Measured| best(measured) - best(&without);
        let (best_ours, best_least) = (best_added(&with), best_added(&with_least));
        let [without, with, with_least] = [without, with, with_least].map(|measured| measured.told());
        let version = sites[0].version;
        for (what, told) in [("without an agent", without), ("our agent", with), ("the agent in C", with_least)] {
            println!("{version}: {what}: p50 {:.1?}, p99 {:.1?}, {:.0} requests/s", told.0, told.1, told.2);
        }
        let added = |told: (Duration, Duration, f64)| told.0.saturating_sub(without.0).as_secs_f64() * 1e6;
        println!(
            "{version}: added at p50: {:.1} µs, {:.1} µs in C, {:.2} times; in the best turns {best_ours:.1} µs, \
             {best_least:.1} µs in C, {:.2} times; requests {:.2} times as long as with C",
            added(with),
            added(with_least),
            added(with) / added(with_least),
            best_ours / best_least,
            with.0.as_secs_f64() / with_least.0.as_secs_f64()
        );
        assert!(best_ours <= 1.2 * best_least, "ours costs more than 1.2 times the agent in C");
    }
}
