//! What asking an agent costs: the same HAProxy without the filter, with ours, and with the least there can be in C.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adapter_haproxy::render::{HaproxyConfig, OnNoAnswer};

use super::site::{Agent, PATIENT, Site};
use crate::client::Client;
use crate::haproxy::{free_port, until};
use crate::runtime::live::binaries;

/// How often all take turns.
const TURNS: usize = 9;
/// Requests of a turn over one connection, and over each of several.
const REQUESTS: usize = 3000;
/// Connections at a time.
const CLIENTS: usize = 16;

/// The agent in C; killed when dropped.
struct Least {
    child: Child,
    port: u16,
}

impl Least {
    fn start(folder: &Path) -> Self {
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../benches/spoe/agent.c");
        let program = folder.join("agent");
        let built = Command::new("cc").args(["-O2", "-D_GNU_SOURCE", "-o"]).arg(&program).arg(source).status().unwrap();
        assert!(built.success(), "the agent in C is not built");
        let port = free_port();
        let child = Command::new(program).arg(port.to_string()).stdin(Stdio::null()).spawn().unwrap();
        until("the agent in C listens", 10, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port }
    }
}

impl Drop for Least {
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
        let (ours, least) = (Agent::start(PATIENT), Least::start(&folder));
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
        let [without, with, with_least] = measured.map(|measured| measured.told());
        let version = sites[0].version;
        for (what, told) in [("without an agent", without), ("our agent", with), ("the agent in C", with_least)] {
            println!("{version}: {what}: p50 {:.1?}, p99 {:.1?}, {:.0} requests/s", told.0, told.1, told.2);
        }
        let added = |told: (Duration, Duration, f64)| told.0.saturating_sub(without.0).as_secs_f64() * 1e6;
        let each = |told: (Duration, Duration, f64)| (1e6 / told.2) - (1e6 / without.2);
        println!(
            "{version}: added at p50 {:.1} µs and {:.1} µs in C: {:.2} times; added for each request under load {:.1} µs \
             and {:.1} µs in C: {:.2} times; request times {:.2} times",
            added(with),
            added(with_least),
            added(with) / added(with_least),
            each(with),
            each(with_least),
            each(with) / each(with_least),
            with.0.as_secs_f64() / with_least.0.as_secs_f64()
        );
        assert!(ours.counters.read().late == 0);
        assert!(added(with) <= 1.2 * added(with_least), "ours costs more than 1.2 times the agent in C");
    }
}
