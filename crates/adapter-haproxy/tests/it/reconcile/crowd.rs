//! People in rooms, and where they meet.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::haproxy::{MINUTE, until};
use crate::responder::read_message;

/// One request over a connection of its own; the server's name, or `None` unless it was answered with 200.
pub(crate) fn fetch(port: u16, target: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(MINUTE)).ok()?;
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let (head, body) = read_message(&mut stream)?;
    head.starts_with("HTTP/1.1 200").then(|| String::from_utf8_lossy(&body).into_owned())
}

/// Where a request of a room lands.
pub(crate) fn home(port: u16, room: &str) -> Option<String> {
    fetch(port, &format!("/socket.io/?roomId={room}"))
}

/// Names of rooms.
pub(crate) fn rooms(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("room{n}")).collect()
}

/// Where these rooms are.
pub(crate) fn homes<'r>(port: u16, rooms: impl Iterator<Item = &'r String>) -> BTreeMap<String, String> {
    rooms.map(|room| (room.clone(), home(port, room).unwrap())).collect()
}

/// How many of these rooms are elsewhere.
pub(crate) fn moved(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> usize {
    before.iter().filter(|(room, server)| after.get(*room) != Some(server)).count()
}

/// People who come to rooms without a pause.
#[derive(Debug)]
pub(crate) struct Crowd {
    threads: Vec<JoinHandle<BTreeMap<String, BTreeSet<String>>>>,
    end: Arc<AtomicBool>,
    /// By each thread.
    asked: Vec<Arc<AtomicU64>>,
    failed: Arc<AtomicU64>,
}

/// What they met.
#[derive(Debug)]
pub(crate) struct Met {
    pub(crate) asked: u64,
    pub(crate) failed: u64,
    /// The servers of each room.
    pub(crate) servers: BTreeMap<String, BTreeSet<String>>,
}

impl Met {
    /// Rooms that were on more than one server.
    pub(crate) fn split(&self) -> usize {
        self.servers.values().filter(|servers| servers.len() > 1).count()
    }
}

impl Crowd {
    pub(crate) fn come(port: u16, rooms: &[String]) -> Self {
        Self::come_by(&[port], rooms)
    }

    /// Each of them comes by one port after the other.
    pub(crate) fn come_by(ports: &[u16], rooms: &[String]) -> Self {
        let (end, failed) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let threads = rooms.chunks(rooms.len().div_ceil(3)).map(|rooms| {
            let (rooms, end, failed) = (rooms.to_vec(), end.clone(), failed.clone());
            let (ports, asked) = (ports.to_vec(), Arc::new(AtomicU64::new(0)));
            let count = asked.clone();
            let thread = std::thread::spawn(move || {
                let mut met = BTreeMap::<String, BTreeSet<String>>::new();
                for (room, port) in rooms.iter().cycle().zip((0..).map(|n| ports[n / rooms.len() % ports.len()])) {
                    if end.load(Ordering::Relaxed) {
                        break;
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                    match home(port, room) {
                        Some(server) => drop(met.entry(room.clone()).or_default().insert(server)),
                        None => drop(failed.fetch_add(1, Ordering::Relaxed)),
                    }
                }
                met
            });
            (thread, asked)
        });
        let (threads, asked) = threads.unzip();
        Self { threads, end, asked, failed }
    }

    /// Waits until that many more have come, by each thread its share.
    pub(crate) fn wait(&self, more: u64) {
        let share = more.div_ceil(self.asked.len() as u64);
        for asked in &self.asked {
            let until_then = asked.load(Ordering::Relaxed) + share;
            until("people come", || asked.load(Ordering::Relaxed) >= until_then);
        }
    }

    pub(crate) fn go(self) -> Met {
        self.end.store(true, Ordering::Relaxed);
        let mut servers = BTreeMap::<String, BTreeSet<String>>::new();
        for thread in self.threads {
            for (room, met) in thread.join().unwrap() {
                servers.entry(room).or_default().extend(met);
            }
        }
        let asked = self.asked.iter().map(|asked| asked.load(Ordering::Relaxed)).sum();
        Met { asked, failed: self.failed.load(Ordering::Relaxed), servers }
    }
}
