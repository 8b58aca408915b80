//! Days of rooms, replayed against real HAProxys: once placed by the fewest connections (`balance leastconn`), once by an
//! agent that knows the real load.
//!
//! Each participant is a connection that stays, as one of a web socket does, so that HAProxy has the connections to count that
//! it has at work.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use adapter_haproxy::render::{Balance, HaproxyConfig, ServerLine};
use adapter_haproxy::spoe::AgentOptions;
use balancer_core::Report;
use tokio::time::Instant;

use super::simulation::{Day, Room, Streams, rooms};
use super::site::{Agent, PATIENT, Site, placer_of};
use crate::haproxy::until;
use crate::responder::read_message;
use crate::runtime::live::binaries;

const SERVERS: usize = 4;
const STEP: u64 = 10;
/// Until so many rooms are there as later.
const UNCOUNTED: u64 = 300;

const DAY: Day =
    Day { end: 1800, apart: (5, 25), lasting: (100, 400), lecture: (8, 40), class: (4, 10), filling: (20, 60) };

/// A server that lets everybody in and keeps them until they go.
fn host(name: String) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut guest in listener.incoming().flatten() {
            let welcome = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: meeting\r\nX-Server: {name}\r\n\r\n"
            );
            std::thread::spawn(move || {
                if read_message(&mut guest).is_some() && guest.write_all(welcome.as_bytes()).is_ok() {
                    // Until the guest goes.
                    let _ = guest.read(&mut [0]);
                }
            });
        }
    });
    port
}

/// Comes into a room; the connection, and the server it is on.
fn join(port: u16, room: &str) -> (TcpStream, usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!("GET /?room={room} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: meeting\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let (head, _) = read_message(&mut stream).unwrap();
    let server = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("x-server: web")?.parse().ok());
    (stream, server.unwrap_or_else(|| panic!("nobody let us in: {head}")))
}

struct Live {
    room: Room,
    name: String,
    server: usize,
    people: Vec<TcpStream>,
}

/// What a replay came to.
#[derive(Default)]
struct Played {
    /// The largest load over the mean, on the average of the time.
    uneven: f64,
    joined: usize,
    astray: usize,
}

/// Replays a day; `report` hears what is measured at each step.
fn play(site: &Site, day: &str, rooms: &[Room], mut report: impl FnMut(&[u64; SERVERS])) -> Played {
    let (mut live, mut next, mut played, mut steps): (Vec<Live>, _, _, f64) = (Vec::new(), 0, Played::default(), 0.0);
    let port = site.haproxy.place.port;
    for now in (0..DAY.end).step_by(usize::try_from(STEP).unwrap()) {
        live.retain(|live| live.room.start + live.room.seconds > now);
        for Live { room, name, server, people } in &mut live {
            while people.len() < usize::try_from(room.people_at(now)).unwrap() {
                let (stream, on) = join(port, name);
                people.push(stream);
                played.astray += usize::from(on != *server);
                played.joined += 1;
            }
        }
        let (mut loads, mut connections) = ([0; SERVERS], [0; SERVERS]);
        for live in &live {
            loads[live.server - 1] += live.room.load_at(now);
            connections[live.server - 1] += live.people.len();
        }
        until("HAProxy knows who has left", || {
            (1..=SERVERS).all(|n| site.haproxy.sessions("rooms", &format!("web{n}")) == connections[n - 1].to_string())
        });
        report(&loads);
        if now >= UNCOUNTED {
            let (largest, total) = (loads.into_iter().max().unwrap(), loads.iter().sum::<u64>());
            let number = |n: u64| f64::from(u32::try_from(n).unwrap());
            played.uneven += number(largest) * 4.0 / number(total.max(1));
            steps += 1.0;
        }
        while let Some(room) = rooms.get(next).filter(|room| room.start < now + STEP) {
            let name = format!("{day}-{next}");
            let (stream, server) = join(port, &name);
            live.push(Live { room: *room, name, server, people: vec![stream] });
            (next, played.joined) = (next + 1, played.joined + 1);
        }
    }
    played.uneven /= steps;
    drop(live);
    until("everybody has left", || (1..=SERVERS).all(|n| site.haproxy.sessions("rooms", &format!("web{n}")) == "0"));
    played
}

/// Servers that keep their guests.
fn hosts(config: &mut HaproxyConfig) {
    let ports = (1..).zip((1..=SERVERS).map(|n| host(format!("web{n}"))));
    let servers = ports.map(|(n, port)| ServerLine::new(n, format!("web{n}"), "127.0.0.1", port));
    config.backends[0].servers = servers.collect();
}

#[test]
fn a_day_placed_by_real_load_is_more_even_than_by_leastconn() {
    replay(1);
}

#[test]
#[ignore = "takes minutes: `cargo xtask soak placement`"]
fn long_replay() {
    replay(10);
}

fn replay(days: u64) {
    for binary in binaries() {
        let placer = placer_of(u32::try_from(SERVERS).unwrap(), Streams(20), PATIENT);
        let agent = Agent::start_with(PATIENT, placer, AgentOptions::default());
        let by_load = Site::start_changed(&binary, agent.port, PATIENT, Default::default(), hosts);
        let by_connections = Site::start_without(&binary, |config| {
            hosts(config);
            config.backends[0].balance = Balance::LeastConn;
        });
        let (mut better, mut astray, began) = (0, 0, Instant::now());
        for seed in 1..=days {
            let rooms = rooms(seed * 7919, &DAY);
            let day = format!("day{seed}");
            let connections = play(&by_connections, &day, &rooms, |_| {});
            let load = play(&by_load, &day, &rooms, |loads| {
                for (n, load) in (1..).zip(loads) {
                    let report = Report::new(Instant::now()).with_cost(*load);
                    assert!(agent.placer.balancer().pool().report(&format!("web{n}").into(), report).unwrap());
                }
            });
            println!(
                "{}: day {seed}: {} rooms, {} people, largest/mean load {:.3} by real load, {:.3} by leastconn",
                by_load.version,
                rooms.len(),
                load.joined,
                load.uneven,
                connections.uneven
            );
            better += u64::from(load.uneven < connections.uneven);
            astray += load.astray + connections.astray;
        }
        println!(
            "{}: by real load more even than leastconn in {better} of {days} days, {:.1?}: {astray} astray",
            by_load.version,
            began.elapsed()
        );
        assert_eq!((better, astray), (days, 0));
        let (counts, placed) = (agent.counters.read(), agent.placer.counts());
        assert!(counts.late == 0 && counts.without_opinion == 0 && placed.conflicts == 0, "{counts:?} {placed:?}");
    }
}
