//! Rooms that an agent places in a real HAProxy of every release found, while the agent fails in every way.

mod bench;
mod failures;
mod frames;
mod replay;
mod simulation;
mod site;

use adapter_haproxy::render::OnNoAnswer;
use site::{Agent, PATIENT, Site, rooms};

use crate::runtime::live::binaries;

#[test]
fn a_selector_places_rooms_and_they_stay() {
    for binary in binaries() {
        let agent = Agent::start(PATIENT);
        let mut site = Site::start(&binary, &agent, OnNoAnswer::Balance);
        let rooms = rooms("r", 30);
        let homes: Vec<String> = rooms.iter().map(|room| site.ask(room).served()).collect();
        // By the fewest rooms: exactly as many on each, which no hash does.
        for server in ["web1", "web2", "web3"] {
            assert_eq!(homes.iter().filter(|home| *home == server).count(), 10, "{homes:?}");
        }
        for _ in 0..3 {
            assert_eq!(rooms.iter().map(|room| site.ask(room).served()).collect::<Vec<_>>(), homes);
        }
        // The number that the client is shown leads to the reasons.
        let answer = site.ask("one more");
        let why = agent.placer.explanation(answer.header("x-why").unwrap().parse().unwrap()).unwrap();
        assert_eq!((why.room.as_str(), why.server.unwrap().as_str()), ("one more", &*answer.body));
        // No opinion, and HAProxy goes on by itself; then the room is known to be there.
        let alone: Vec<String> = (0..3).map(|_| site.ask_with_tags("nobody", "none").served()).collect();
        assert!(alone[0].starts_with("web") && alone.iter().all(|server| *server == alone[0]), "{alone:?}");
        let (counts, placed) = (agent.counters.read(), agent.placer.counts());
        assert_eq!((placed.placed, placed.conflicts, placed.stale, placed.taken_back), (31, 0, 0, 0), "{placed:?}");
        assert!(counts.refused.is_empty() && counts.opinions == 123 && counts.without_opinion == 1, "{counts:?}");
        assert_eq!(placed.adopted, 1);
        println!("{}: 31 rooms placed by the fewest rooms, 90 requests later: 0 astray", site.version);
    }
}

/// Several engines and several processes, one agent: each room is on one server for all of them.
#[test]
fn several_haproxys_ask_one_agent() {
    let agent = Agent::start(PATIENT);
    let found = binaries();
    let mut sites: Vec<Site> =
        found.iter().chain(&found).map(|binary| Site::start(binary, &agent, OnNoAnswer::Balance)).collect();
    let (mut astray, rooms) = (0, rooms("shared", 40));
    for room in &rooms {
        let servers: Vec<String> = sites.iter_mut().map(|site| site.ask(room).served()).collect();
        astray += servers.iter().filter(|server| **server != servers[0]).count();
    }
    let counts = agent.counters.read();
    println!(
        "{} rooms in {} HAProxys, {} engines of one agent: {astray} astray",
        40,
        sites.len(),
        counts.engines.len()
    );
    assert_eq!((astray, agent.placer.counts().placed), (0, if sites.is_empty() { 0 } else { 40 }));
    assert_eq!(counts.engines.len(), sites.len());
}

#[test]
fn fail_closed_refuses_new_rooms_and_serves_known_ones() {
    for binary in binaries() {
        let mut agent = Agent::start(PATIENT);
        let mut site = Site::start(&binary, &agent, OnNoAnswer::Refuse);
        let rooms = rooms("r", 12);
        let homes: Vec<String> = rooms.iter().map(|room| site.ask(room).served()).collect();
        agent.kill();
        site.until_agent("DOWN");
        assert_eq!(rooms.iter().map(|room| site.ask(room).served()).collect::<Vec<_>>(), homes);
        assert_eq!(site.ask("new").status, 503);
        // What has no room is nobody's matter.
        assert_eq!(site.get("/").status, 200);
        agent.restart();
        site.until_agent("UP");
        assert_eq!(site.ask("new").status, 200);
        println!("{}: fail-closed: 12 known rooms served, a new one refused until the agent was back", site.version);
    }
}
