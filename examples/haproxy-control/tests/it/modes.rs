//! `run --mode map|spoe|peers` beside real HAProxys: rooms placed and kept, explained, drained to the end, and a
//! controller that is killed.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use real_servers::{RedisServer, free_port};
use serde_json::Value;

use crate::control::{Running, ask_room, order, room_server, until};
use crate::samples::haproxies;
use crate::{Folder, Ran, run_in};

mod agent;
mod away;
mod several;

const SERVERS: usize = 3;

/// HAProxys before three room servers, and a controller.
struct Site {
    folder: Folder,
    mode: &'static str,
    fronts: Vec<u16>,
    api: u16,
    haproxies: Vec<Running>,
    control: Option<Running>,
}

/// What differs between tests.
struct Wish<'w> {
    mode: &'static str,
    haproxies: usize,
    store: &'w str,
    /// Lines more of each server, with `NAME` and `PROCESS`, and of the settings.
    server: &'w str,
    settings: &'w str,
}

impl Wish<'_> {
    fn of(mode: &'static str, haproxies: usize) -> Self {
        Self { mode, haproxies, store: "memory", server: "", settings: "" }
    }
}

impl Site {
    fn start(binary: &Path, wish: &Wish<'_>) -> Self {
        let folder = Folder::new("haproxy-control");
        let at = folder.display().to_string();
        let Wish { mode, .. } = *wish;
        let fronts: Vec<u16> = (0..wish.haproxies).map(|_| free_port()).collect();
        let peers: Vec<u16> = (0..wish.haproxies).map(|_| free_port()).collect();
        let (api, own, port) = (free_port(), free_port(), free_port());
        let servers: Vec<u16> = (1..=SERVERS).map(|n| room_server(&format!("mm{n}"))).collect();
        folder.put("pins.map", "");
        let mut settings = String::new();
        let mut site = Self { folder, mode, fronts, api, haproxies: Vec::new(), control: None };
        for n in 0..wish.haproxies {
            let name = format!("lb{}", n + 1);
            let mut text = match mode {
                "map" => format!("pins = \"{at}/pins.map\"\n"),
                _ => String::new(),
            };
            text.push_str(&format!("[[listen]]\nport = {}\nhost = \"127.0.0.1\"\n", site.fronts[n]));
            for (port, id) in servers.iter().zip(1..) {
                let more = wish.server.replace("NAME", &format!("mm{id}")).replace("PROCESS", &name);
                text.push_str(&format!(
                    "[[server]]\nname = \"mm{id}\"\nhost = \"127.0.0.1\"\nport = {port}\nid = {id}\n{more}\n"
                ));
            }
            if mode == "peers" {
                text.push_str(&format!("[peers]\nlocal = \"{name}\"\n"));
                let members = (1..).zip(&peers).map(|(n, port)| (format!("lb{n}"), *port));
                for (member, port) in members.chain([("control1".to_owned(), own)]) {
                    text.push_str(&format!(
                        "[[peers.member]]\nname = \"{member}\"\nhost = \"127.0.0.1\"\nport = {port}\n"
                    ));
                }
            }
            if mode == "spoe" {
                // On a busy host 50 ms are soon over.
                text.push_str(&format!(
                    "[offload]\nfile = \"{at}/{name}.conf\"\npatience_ms = 400\n\
                     [[offload.agent]]\nname = \"control1\"\nhost = \"127.0.0.1\"\nport = {port}\n"
                ));
            }
            text.push_str(&format!("[global]\nsocket = \"{at}/{name}.sock\"\n"));
            site.folder.put(&format!("{name}.toml"), text);
            let (cluster, file, engine) = (format!("{name}.toml"), format!("{name}.cfg"), format!("{name}.conf"));
            let by = ["--haproxy", binary.to_str().unwrap()];
            site.done(&[&["render", "edumeet", &cluster, "--out", &file][..], &by].concat());
            if mode == "spoe" {
                site.done(&[&["render", "edumeet", &cluster, "--engine", "--out", &engine][..], &by].concat());
            }
            site.haproxies.push(site.haproxy(binary, &name, site.fronts[n]));
            settings.push_str(&format!("[[haproxy]]\nname = \"{name}\"\nruntime = \"{at}/{name}.sock\"\n"));
            if mode == "peers" {
                settings.push_str(&format!("peer = \"127.0.0.1:{}\"\n", peers[n]));
            }
        }
        settings.push_str("[rooms]\nbackend = \"rooms\"\nwith = [\"pages\"]\nidle = \"1500ms\"\n");
        match mode {
            "map" => settings.push_str(&format!("map = \"{at}/pins.map\"\n")),
            "spoe" => settings.push_str(&format!("[spoe]\nlisten = \"127.0.0.1:{port}\"\npatience = \"400ms\"\n")),
            _ => settings.push_str(&format!("[peers]\nlisten = \"127.0.0.1:{own}\"\n")),
        }
        settings.push_str(&format!(
            "[store]\nurl = \"{}\"\ntimeout = \"300ms\"\n[loop]\nevery = \"50ms\"\nlearn = \"50ms\"\nresync = \"1s\"\n\
             [http]\nlisten = \"127.0.0.1:{api}\"\n{}",
            wish.store.replace("FOLDER", &at),
            wish.settings
        ));
        site.folder.put("control.toml", settings);
        site.run_control();
        site
    }

    fn haproxy(&self, binary: &Path, name: &str, front: u16) -> Running {
        let mut command = Command::new(binary);
        command.args(["-db", "-L", name, "-f"]).arg(self.folder.join(format!("{name}.cfg")));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let running = Running(child);
        until("HAProxy answers", || std::net::TcpStream::connect(("127.0.0.1", front)).is_ok());
        running
    }

    /// A controller, in the mode that the command line says.
    fn run_control(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-control"));
        command.args(["run", "--config", "control.toml", "--mode", self.mode]).current_dir(&*self.folder);
        self.control = Some(Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()));
        self.until("all servers take rooms", |site| {
            let status = site.status();
            let servers = status["servers"]
                .as_array()
                .map_or(0, |servers| servers.iter().filter(|server| server["takes_rooms"] == true).count());
            servers == SERVERS && status["unready"].is_null()
        });
        if self.mode == "peers" {
            self.until("peers are connected", |site| {
                let peers = site.status()["peers"]["peers"].clone();
                peers.as_array().is_some_and(|peers| peers.iter().all(|peer| peer["connected"] == true))
            });
        }
        if self.mode == "spoe" {
            self.until("HAProxy holds the agent for up", |site| {
                site.order(1, "show servers state placement-agents")
                    .lines()
                    .any(|line| line.split(' ').nth(5) == Some("2"))
            });
        }
    }

    /// Killed, with nothing said to it.
    fn kill_control(&mut self) {
        if let Some(mut control) = self.control.take() {
            control.0.kill().unwrap();
            control.0.wait().unwrap();
        }
    }

    fn run(&self, args: &[&str]) -> Ran {
        run_in(&self.folder, args, "")
    }

    fn done(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.out
    }

    /// A command to the controller.
    fn ask(&self, args: &[&str]) -> Ran {
        let api = format!("127.0.0.1:{}", self.api);
        self.run(&[args, &["--api", &api]].concat())
    }

    fn json(&self, args: &[&str]) -> Value {
        let ran = self.ask(&[args, &["-o", "json"]].concat());
        serde_json::from_str(&ran.out).unwrap_or(Value::Null)
    }

    fn status(&self) -> Value {
        self.json(&["status"])
    }

    fn server(&self, name: &str) -> Value {
        let status = self.status();
        let servers = status["servers"].as_array().cloned().unwrap_or_default();
        servers.into_iter().find(|server| server["name"] == name).unwrap_or_default()
    }

    fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(40);
        while !so(self) {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(std::time::Instant::now() < end, "{what}: not within 40 s\n{:#}\n{log}", self.status());
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
    }

    fn order(&self, haproxy: usize, words: &str) -> String {
        order(&mut UnixStream::connect(self.folder.join(format!("lb{haproxy}.sock"))).unwrap(), words)
    }

    fn home(&self, haproxy: usize, room: &str) -> String {
        ask_room(self.fronts[haproxy - 1], room)
    }

    fn homes(&self, haproxy: usize, rooms: &[String]) -> BTreeMap<String, String> {
        rooms.iter().map(|room| (room.clone(), self.home(haproxy, room))).collect()
    }

    /// How many entries of the first HAProxy's table lead to a server.
    fn entries(&self, server: &str) -> usize {
        let table = self.order(1, "show table rooms");
        table.lines().filter(|line| line.split(' ').any(|word| word == format!("server_key={server}"))).count()
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    // One that has to be encoded.
    (0..count).map(|n| format!("{prefix}%20{n}")).collect()
}

/// Where the place of a room is written, as `explain` says it.
fn explained(site: &Site, room: &str, home: &str) {
    let plain = room.replace("%20", " ");
    let told = site.ask(&["explain", &plain]).out;
    assert!(told.starts_with(&format!("{plain} is on {home}")), "{told}");
    let report = site.json(&["explain", &plain]);
    let written = report["written"].as_array().unwrap();
    assert!(!written.is_empty() && written.iter().all(|one| one["server"] == home), "{report:#}");
    match site.mode {
        "map" => assert_eq!(written[0]["what"], "map entry", "{report:#}"),
        "spoe" => {
            let number = |at: usize| written[at]["decision"].as_u64().unwrap();
            assert!(told.contains(&format!("SPOE decision {}: {home}, new room", number(0))), "{told}");
            assert!(told.contains(&format!("SPOE decision {}: {home}, sticky hit", number(1))), "{told}");
            assert!(number(0) < number(1) && written[0]["candidates"].is_object(), "{report:#}");
        }
        _ => {
            for lb in ["lb1", "lb2"] {
                assert!(told.contains(&format!("stick entry in {lb}: {home} (peer connected)")), "{told}");
            }
        }
    }
}

/// Placed, explained, kept over a kill, drained, moved: in one mode.
fn a_life(mode: &'static str, count: usize, store: &str) {
    for binary in haproxies() {
        let mut site = Site::start(&binary, &Wish { store, ..Wish::of(mode, count) });
        let rooms = names("class", 12);
        let homes = site.homes(1, &rooms);
        assert!(homes.values().all(|home| home.starts_with("mm")), "{homes:?}");
        site.until("all rooms are known", |site| site.status()["rooms"] == 12);
        if mode == "spoe" {
            // By the strategy of the settings: four each, one more or less while the table is read.
            let at = |server: &str| homes.values().filter(|home| *home == server).count();
            assert!([at("mm1"), at("mm2"), at("mm3")].iter().all(|count| (3..=5).contains(count)), "{homes:?}");
        }
        let same = |site: &Site, homes: &BTreeMap<String, String>| {
            for lb in 1..=count {
                assert_eq!(site.homes(lb, &rooms), *homes, "at lb{lb}");
            }
        };
        if mode == "peers" {
            site.until("each table has all rooms", |site| {
                (1..=2)
                    .all(|lb| site.order(lb, "show table rooms").lines().filter(|l| l.contains("key=")).count() == 12)
            });
        }
        same(&site, &homes);
        let (room, home) = homes.iter().next().unwrap();
        site.until("it is explained", |site| {
            let report = site.json(&["explain", &room.replace("%20", " ")]);
            let written = report["written"].as_array().cloned().unwrap_or_default();
            written.len() >= count && written.iter().all(|one| one["server"] == home.as_str())
        });
        explained(&site, room, home);
        let whole = site.ask(&["splits"]);
        assert!(whole.code == 0 && whole.out.contains("0 rooms on two servers"), "{whole:?}");
        assert!(whole.out.contains("table of lb1, ") && whole.out.contains("store"), "{whole:?}");
        assert_eq!(whole.out.contains("map of lb1"), mode == "map");

        // Killed: HAProxy goes on, and what it places meanwhile is taken over.
        site.kill_control();
        same(&site, &homes);
        let alone = site.home(1, "alone");
        assert!(alone.starts_with("mm"), "{alone}");
        site.run_control();
        site.until("all rooms are known again", |site| site.status()["rooms"] == 13);
        same(&site, &homes);
        assert_eq!(site.home(1, "alone"), alone);

        // A drain: kept, while somebody comes; forgotten when nobody does, to the last entry.
        let theirs: Vec<String> =
            homes.iter().filter(|(_, home)| *home == "mm1").map(|(room, _)| room.clone()).collect();
        assert!(!theirs.is_empty());
        assert_eq!(site.ask(&["cordon", "mm1"]).out, "OK mm1 drain\n");
        site.until("it takes none", |site| site.server("mm1")["takes_rooms"] == false);
        site.until("HAProxy drains it", |site| {
            site.order(1, "show stat").lines().any(|line| line.starts_with("rooms,mm1,") && line.contains(",DRAIN,"))
        });
        assert!(theirs.iter().all(|room| site.home(1, room) == "mm1"), "rooms of a draining server stay");
        assert!(site.homes(1, &names("late", 6)).values().all(|home| home != "mm1"));
        let late = site.ask(&["drain", "mm1", "--wait", "--deadline", "200ms"]);
        assert!(late.code == 5 && late.out.contains("in use"), "{late:?}");
        let drained = site.ask(&["drain", "mm1", "--wait", "--deadline", "30s"]);
        assert!(drained.code == 0 && drained.out == "OK mm1 is empty\n", "{drained:?}\n{:#}", site.status());
        assert_eq!(site.entries("mm1"), 0, "{}", site.order(1, "show table rooms"));
        assert_eq!(site.server("mm1")["rooms"], 0);
        let moved = site.home(1, &theirs[0]);
        assert!(moved == "mm2" || moved == "mm3", "{moved}");
        site.done_ask(&["uncordon", "mm1"]);
        site.until("it takes rooms", |site| site.server("mm1")["takes_rooms"] == true);

        // Out with all its rooms, each to one server.
        let before = site.homes(1, &rooms);
        site.until("they are known", |site| site.server("mm2")["rooms"].as_u64() >= Some(1));
        site.done_ask(&["maint", "mm2"]);
        site.until("it is out", |site| site.server("mm2")["verdict"] == "out" && site.server("mm2")["rooms"] == 0);
        let after = site.homes(1, &rooms);
        for (room, home) in &after {
            assert!(home != "mm2" && (*home == before[room] || before[room] == "mm2"), "{room}: {home}");
        }
        same(&site, &after);
        let metrics = crate::control::get(site.api, "/metrics");
        assert!(metrics.contains(&format!("balancer_pool_mode{{pool=\"rooms\",mode=\"{mode}\"}} 1")), "{metrics}");
        assert_eq!(
            metrics.contains("balancer_spoe_decisions_total{pool=\"rooms\",outcome=\"placed\"}"),
            mode == "spoe"
        );
        assert_eq!(metrics.contains("balancer_peer_up{peer=\"lb1\"} 1"), mode == "peers");
        assert_eq!(site.control.take().unwrap().end(), Some(0));
        same(&site, &after);
    }
}

impl Site {
    fn done_ask(&self, args: &[&str]) {
        let ran = self.ask(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
    }
}

#[test]
fn rooms_whose_places_are_in_a_map() {
    a_life("map", 1, "memory");
}

#[test]
fn rooms_that_an_agent_places() {
    a_life("spoe", 1, "memory");
}

#[test]
fn rooms_whose_places_are_taught_as_a_peer() {
    a_life("peers", 2, "file:FOLDER/rooms.redb");
}

#[test]
fn what_contradicts_the_store_is_found_or_put_right() {
    for binary in haproxies() {
        for mode in ["spoe", "peers"] {
            let site = Site::start(&binary, &Wish::of(mode, if mode == "peers" { 2 } else { 1 }));
            let home = site.home(1, "algebra");
            site.until("it is known", |site| site.status()["rooms"] == 1);
            let (other, id) = if home == "mm2" { ("mm3", 3) } else { ("mm2", 2) };
            // A table that says otherwise, as of somebody who came later. A number alone changes no name.
            std::thread::sleep(std::time::Duration::from_millis(20));
            site.order(1, "clear table rooms key algebra");
            site.order(1, &format!("set table rooms key algebra data.server_id {id}"));
            if mode == "spoe" {
                site.until("it is found", |site| site.ask(&["splits"]).code == 1);
                let split = site.json(&["splits"]);
                let seen = split["rooms"][0]["seen"].to_string();
                assert!(split["rooms"][0]["home"] == home.as_str() && seen.contains("table of lb1"), "{split:#}");
                assert!(seen.contains(other), "{split:#}");
                // The next one who comes goes home, and so does the table.
                assert_eq!(site.home(1, "algebra"), home);
                site.until("it is whole", |site| site.ask(&["splits"]).code == 0);
            } else {
                let told = |lb| site.order(lb, "show table rooms").contains(&format!("server_key={home}"));
                site.until("both tables say what the store says", |_| told(1) && told(2));
                assert_eq!((site.home(1, "algebra"), site.home(2, "algebra")), (home.clone(), home.clone()));
                assert_eq!(site.ask(&["splits"]).code, 0);
            }
        }
    }
}

/// The store that is to fail.
fn redis() -> Option<RedisServer> {
    RedisServer::start(&[])
}
