//! The agent killed, hung, slow, and one that speaks nonsense in its place: no request fails, no room is split, and the
//! time lost is bounded.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use adapter_haproxy::render::OnNoAnswer;

use super::site::{Agent, BUSY, PATIENCE, Site, rooms};
use crate::haproxy::until;
use crate::runtime::live::binaries;

/// Where rooms were seen, and what was lost.
#[derive(Default)]
struct Watch {
    homes: HashMap<String, String>,
    astray: usize,
    failed: usize,
}

impl Watch {
    /// One request for each room: the times they took, sorted.
    fn visit(&mut self, site: &mut Site, rooms: &[String]) -> Vec<Duration> {
        let mut times = Vec::new();
        for room in rooms {
            let began = Instant::now();
            let answer = site.ask(room);
            times.push(began.elapsed());
            self.failed += usize::from(answer.status != 200);
            let server = answer.served();
            let home = self.homes.entry(room.clone()).or_insert_with(|| server.clone());
            self.astray += usize::from(*home != server);
        }
        times.sort();
        times
    }

    /// The same, with what was lost against a request in good times.
    fn lose(&mut self, site: &mut Site, what: &str, rooms: &[String], usual: Duration) -> Vec<Duration> {
        let times = self.visit(site, rooms);
        let lost: Duration = times.iter().map(|time| time.saturating_sub(usual)).sum();
        let waited = times.iter().filter(|time| **time >= PATIENCE).count();
        let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
        println!(
            "{}: {what}: {} requests, {waited} waited, median {median:.1?}, longest {most:.1?}, lost {lost:.1?} in all",
            site.version,
            times.len()
        );
        assert!(most < PATIENCE + BUSY, "{what}: {most:?}");
        times
    }
}

fn known_and_new(known: &[String], new: &str) -> Vec<String> {
    known.iter().cloned().chain(rooms(new, known.len())).collect()
}

#[test]
fn an_agent_that_fails_costs_time_and_no_request() {
    for binary in binaries() {
        let mut agent = Agent::start(PATIENCE);
        let mut site = Site::start(&binary, &agent, OnNoAnswer::Balance);
        let mut watch = Watch::default();
        let known = rooms("known", 20);
        watch.visit(&mut site, &known);
        let times = watch.visit(&mut site, &known);
        let usual = times[times.len() / 2];
        println!("{}: the agent answers: median {usual:.1?}", site.version);

        // Killed: until HAProxy knows, each request waits, some of them not at all; then none.
        agent.kill();
        watch.lose(&mut site, "killed", &known_and_new(&known, "killed"), usual);
        site.until_agent("DOWN");
        let times = watch.lose(&mut site, "killed, found down", &known_and_new(&known, "down"), usual);
        assert!(times[times.len() / 2] < PATIENCE, "requests wait for an agent that is down");
        agent.restart();
        site.until_agent("UP");
        everybody_is_where_they_were(&mut site, &mut watch);

        // Hung: takes connections and bytes, and answers nothing.
        agent.freeze();
        watch.lose(&mut site, "hung", &known_and_new(&known, "hung"), usual);
        site.until_agent("DOWN");
        let times = watch.lose(&mut site, "hung, found down", &known_and_new(&known, "silent"), usual);
        assert!(times[times.len() / 2] < PATIENCE, "requests wait for an agent that is down");
        agent.thaw();
        site.until_agent("UP");
        everybody_is_where_they_were(&mut site, &mut watch);

        // Slow: known rooms are answered at once, new ones cost what the agent allows itself, and are given back.
        let mut round = 0;
        until("late claims are taken back", || {
            // Once more if HAProxy has just held the agent for down and asked it nothing.
            round += 1;
            agent.store.slow.store(true, Ordering::SeqCst);
            watch.lose(&mut site, "slow", &known_and_new(&known, &format!("slow{round}-")), usual);
            agent.store.slow.store(false, Ordering::SeqCst);
            until("late claims are over", || agent.store.claiming.load(Ordering::SeqCst) == 0);
            everybody_is_where_they_were(&mut site, &mut watch);
            agent.placer.counts().taken_back > 0
        });

        // Nonsense, by whoever has the port now.
        agent.kill();
        let nonsense = Nonsense::start(agent.port);
        watch.lose(&mut site, "nonsense", &known_and_new(&known, "nonsense"), usual);
        site.until_agent("DOWN");
        watch.lose(&mut site, "nonsense, found down", &known_and_new(&known, "ignored"), usual);
        drop(nonsense);
        agent.restart();
        site.until_agent("UP");
        everybody_is_where_they_were(&mut site, &mut watch);

        let counts = agent.placer.counts();
        println!(
            "{}: {} rooms, {} placed by HAProxy meanwhile and adopted, {} late questions left alone, {} late claims taken \
             back, {} conflicts; {} requests failed, {} rooms: {} astray",
            site.version,
            watch.homes.len(),
            counts.adopted,
            counts.stale,
            counts.taken_back,
            counts.conflicts,
            watch.failed,
            watch.homes.len(),
            watch.astray
        );
        assert_eq!((watch.failed, watch.astray, counts.conflicts), (0, 0, 0));
        assert!(counts.adopted > 0, "{counts:?}");
    }
}

fn everybody_is_where_they_were(site: &mut Site, watch: &mut Watch) {
    let all: Vec<String> = watch.homes.keys().cloned().collect();
    for _ in 0..2 {
        watch.visit(site, &all);
    }
}

/// Answers every connection with bytes that are no frames.
struct Nonsense {
    port: u16,
    ended: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Nonsense {
    fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            for (n, stream) in listener.incoming().enumerate() {
                let Ok(mut stream) = stream else { continue };
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
                let _ = stream.read(&mut [0; 4096]);
                let nonsense: &[u8] =
                    [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[0; 40], &[255; 9], &[0, 0, 0, 2, 103, 0]][n % 4];
                let _ = stream.write_all(nonsense);
            }
        });
        Self { port, ended, thread: Some(thread) }
    }
}

impl Drop for Nonsense {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = std::net::TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}
