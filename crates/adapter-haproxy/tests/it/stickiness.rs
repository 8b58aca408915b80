//! The recorded scenarios of the usual edumeet configuration, replayed: what was measured is measured again, and the
//! predictor says the same of every request.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use adapter_haproxy::balance::{BackendSpec, Predictor, Request, ServerSpec, ServerState, Version};
use adapter_haproxy::render::pin_key;
use serde_json::{Value, json};

use crate::base64::encode_base64;
use crate::haproxy::{Haproxy, Place, binary, free_port, until};
use crate::responder::Responder;
use crate::vectors::{edumeet, list};

/// The backend of the rooms, as it is commonly written.
const ROOMS: [&str; 7] = [
    "fullconn 4000",
    "balance url_param roomId",
    "hash-type consistent",
    "stick-table type string len 1024 size 100k expire 8h",
    "stick store-request url_param(roomId)",
    "stick match url_param(roomId)",
    r#"stick match url_param(state),url_dec,b64dec,field(8,'\"')"#,
];

/// How many servers, and who remembers over a reload.
#[derive(Clone, Copy, Debug)]
struct Shape {
    servers: usize,
    peers: Option<u16>,
}

/// HAProxy with that configuration, its servers, and the predictor beside it.
struct World {
    haproxy: Haproxy,
    predictor: Predictor,
    version: Version,
    servers: Vec<Responder>,
    /// Requests of which the predictor was asked as well.
    predicted: usize,
    different: Vec<String>,
}

fn names(servers: usize) -> impl Iterator<Item = String> {
    (1..=servers).map(|n| format!("edumeet{n}"))
}

fn config(place: &Place, servers: &[Responder], shape: Shape) -> String {
    let mut text = format!(
        "global\n nbthread 1\n stats socket {} level admin\n localpeer lb\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 50s\n timeout server 50s\n\
         frontend letsmeet\n bind 127.0.0.1:{}\n acl roomId-acl url_param(roomId) -m found\n \
         acl callback-acl path_beg /auth/callback\n use_backend letsmeet-room-backend if roomId-acl || callback-acl\n \
         default_backend letsmeet-backend\n",
        place.socket(),
        place.port,
    );
    if let Some(port) = shape.peers {
        text += &format!("peers mypeers\n peer lb 127.0.0.1:{port}\n");
    }
    let lines: String = servers
        .iter()
        .zip(names(shape.servers))
        .map(|(server, name)| {
            // A check takes no longer than its interval: one that is slow has not failed.
            let check = "check inter 5s downinter 100 fall 1 rise 1 maxconn 1000 verify none";
            format!(" server {name} 127.0.0.1:{} {check}\n", server.port)
        })
        .collect();
    text += "backend letsmeet-room-backend\n";
    for line in ROOMS {
        let peers = if shape.peers.is_some() && line.starts_with("stick-table") { " peers mypeers" } else { "" };
        text += &format!(" {line}{peers}\n");
    }
    text += &lines;
    text += "backend letsmeet-backend\n fullconn 4000\n balance leastconn\n stick-table type ip size 200k expire 30m\n \
             stick on src\n hash-type consistent\n";
    text + &lines
}

fn predictor(version: Version, servers: usize) -> Predictor {
    let mut spec = BackendSpec::new(version);
    ROOMS.iter().for_each(|line| spec.line(line).unwrap());
    for name in names(servers) {
        spec.server(ServerSpec::new(name).maxconn(1000));
    }
    Predictor::new(spec).unwrap()
}

impl World {
    fn new(path: &Path, version: Version, shape: Shape) -> Self {
        let servers: Vec<Responder> = names(4).map(|name| Responder::start(&name)).collect();
        let place = Place::new();
        let text = config(&place, &servers, shape);
        let haproxy = Haproxy::run(path, place, &text);
        Self {
            haproxy,
            predictor: predictor(version, shape.servers),
            version,
            servers,
            predicted: 0,
            different: Vec::new(),
        }
    }

    /// The server of one request, from both.
    fn ask_with(&mut self, method: &str, target: &str, body: &str) -> String {
        let got = self.haproxy.ask(method, target, &[], body);
        if target.contains("roomId=") || target.starts_with("/auth/callback") {
            let said = predict(&mut self.predictor, method, target, body);
            self.predicted += 1;
            if said != got {
                self.different.push(format!("{method} {target}: predicted {said}, HAProxy {got}"));
            }
        }
        got
    }

    fn ask(&mut self, room: &str) -> String {
        self.ask_with("GET", &signalling(room), "")
    }

    fn ask_all(&mut self, rooms: &[String]) -> Vec<String> {
        rooms.iter().map(|room| self.ask(room)).collect()
    }

    /// A server's checks fail until HAProxy has seen it.
    fn falls(&mut self, n: usize) {
        self.servers[n - 1].stop();
        let name = format!("edumeet{n}");
        until("a server is found down", || self.haproxy.status("letsmeet-room-backend", &name).starts_with("DOWN"));
        self.predictor.set_state(&name, ServerState::Maint).unwrap();
    }

    /// The same server answers again.
    fn rises(&mut self, n: usize) {
        self.servers[n - 1].listen();
        let name = format!("edumeet{n}");
        until("a server is found up", || self.haproxy.status("letsmeet-room-backend", &name) == "UP");
        self.predictor.set_state(&name, ServerState::Ready).unwrap();
    }

    fn order(&mut self, n: usize, word: &str, state: ServerState) {
        let answer = self.haproxy.order(&format!("set server letsmeet-room-backend/edumeet{n} state {word}"));
        assert_eq!(answer, "");
        self.predictor.set_state(&format!("edumeet{n}"), state).unwrap();
    }

    fn entries(&self) -> usize {
        self.haproxy.entries("letsmeet-room-backend")
    }

    /// Waits until the table may be handed on: asked for and got from all peers, or nobody to ask.
    fn settles(&self) {
        until("the peers settle", || {
            let told = self.haproxy.order("show peers");
            let flags = told.split_once("flags=0x").map(|(_, rest)| rest.split([' ', '\n']).next().unwrap_or("0"));
            flags.and_then(|flags| u32::from_str_radix(flags, 16).ok()).is_some_and(|flags| flags & 3 == 3)
        });
    }

    /// A reload, after which the predictor knows nothing of the table.
    fn reload(&mut self, shape: Shape) {
        let text = config(&self.haproxy.place, &self.servers, shape);
        self.haproxy.reload(&text);
        self.predictor = predictor(self.version, shape.servers);
    }
}

fn predict(predictor: &mut Predictor, method: &str, target: &str, body: &str) -> String {
    let request = if method == "POST" { Request::post(target, body) } else { Request::get(target) };
    let said = predictor.route(&request.header("Host", "h").source("127.0.0.1".parse().unwrap()));
    said.server().unwrap_or("nobody").to_owned()
}

fn signalling(room: &str) -> String {
    format!("/socket.io/?peerId=p&roomId={room}&EIO=3&transport=websocket")
}

fn state(room: &[u8]) -> String {
    let json = [br#"{"peerId":"k8wz1q9c","roomId":""#, room, br#""}"#].concat();
    pin_key(&encode_base64(&json))
}

fn rooms(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|n| format!("room{n}")).collect()
}

fn spread(servers: &[String]) -> Value {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    servers.iter().for_each(|server| *counts.entry(server).or_default() += 1);
    json!(counts)
}

fn differ(a: &[String], b: &[String]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a != b).count()
}

/// Nine callbacks of a scenario, after as many others as `turn` says: without a key, HAProxy takes its servers in turn.
fn callbacks(id: &str, turn: usize, ask: &mut dyn FnMut(&str, &str, &str) -> String) -> Value {
    for _ in 0..turn {
        ask("GET", "/auth/callback", "");
    }
    let (in_use, room): (Option<&str>, &[u8]) = match id {
        "callback-plain-room" | "callback-post" => (Some("algebra"), b"algebra"),
        "callback-room-with-space" => (Some("foo%20bar"), b"foo bar"),
        "callback-latin1-room" => (Some("caf%C3%A9"), b"caf\xe9"),
        "callback-cold" => (None, b"algebra"),
        other => panic!("{other}: nobody knows how to replay it"),
    };
    let home = in_use.map(|room| ask("GET", &signalling(room), ""));
    let form = format!("code=c&state={}", state(room));
    let query = format!("/auth/callback?{form}");
    let posted = id == "callback-post";
    let mut one = || if posted { ask("POST", "/auth/callback", &form) } else { ask("GET", &query, "") };
    let seen: Vec<String> = (0..9).map(|_| one()).collect();
    match home {
        Some(home) if !posted => {
            let same = seen.iter().filter(|server| **server == home).count();
            json!({ "same_server": same, "elsewhere": seen.len() - same })
        }
        _ => spread(&seen),
    }
}

/// Whose turn it was is not recorded: the predictor says after how many others the recorded result comes out.
fn turn_of(id: &str, version: Version, recorded: &Value) -> usize {
    let comes_out = |turn: &usize| {
        let mut predictor = predictor(version, 3);
        callbacks(id, *turn, &mut |method, target, body| predict(&mut predictor, method, target, body)) == *recorded
    };
    (0..48).find(comes_out).unwrap_or(0)
}

/// Eight rooms that differ in one character behind this many equal ones.
fn long_rooms(equal: usize) -> Vec<String> {
    (0..8).map(|n| format!("{}{n}", "r".repeat(equal))).collect()
}

/// 300 rooms after a server was down for a moment: where they were, where they went meanwhile, where they are.
fn blip(world: &mut World) -> [Vec<String>; 3] {
    let rooms = rooms(0, 300);
    let before = world.ask_all(&rooms);
    world.falls(3);
    let meanwhile = world.ask_all(&rooms);
    world.rises(3);
    let after = world.ask_all(&rooms);
    [before, meanwhile, after]
}

/// What comes of a scenario.
fn play(id: &str, path: &Path, version: Version, recorded: &Value) -> (Value, World) {
    let shape = Shape { servers: 3, peers: id.starts_with("reload-add-server-peers").then(free_port) };
    let mut world = World::new(path, version, shape);
    let result = match id {
        _ if id.starts_with("callback-") => {
            let turn = turn_of(id, version, recorded);
            callbacks(id, turn, &mut |method, target, body| world.ask_with(method, target, body))
        }
        "key-1024" => {
            let mut seen = world.ask_all(&long_rooms(1024));
            seen.dedup();
            json!({ "distinct_servers": seen.len(), "table_entries": world.entries() })
        }
        "key-1023" => {
            world.ask_all(&long_rooms(1023));
            json!({ "table_entries": world.entries() })
        }
        "spread-300" => spread(&world.ask_all(&rooms(0, 300))),
        "server-blip" => {
            let [before, meanwhile, _] = blip(&mut world);
            let moved = before.iter().zip(&meanwhile).filter(|(a, b)| a != b);
            let (of_it, others): (Vec<_>, Vec<_>) = moved.partition(|(a, _)| *a == "edumeet3");
            json!({ "moved_from_edumeet3": of_it.len(), "moved_others": others.len(), "then": spread(&meanwhile) })
        }
        "server-back" => {
            let [before, meanwhile, after] = blip(&mut world);
            let moved = differ(&before, &meanwhile);
            let back = meanwhile.iter().zip(&after).filter(|(a, b)| a != b).count();
            json!({ "stay_on_stand_in": moved - back, "return": back })
        }
        "restart-without-peers" => {
            let [_, _, before] = blip(&mut world);
            let text = config(&world.haproxy.place, &world.servers, shape);
            world.haproxy.restart(&text);
            world.predictor = predictor(version, 3);
            let after = world.ask_all(&rooms(0, 300));
            json!({ "changed_server": differ(&before, &after), "of": after.len() })
        }
        "reload-add-server-no-peers" => {
            let rooms = rooms(0, 300);
            let before = world.ask_all(&rooms);
            world.reload(Shape { servers: 4, ..shape });
            let after = world.ask_all(&rooms);
            json!({ "changed_server": differ(&before, &after), "of": after.len() })
        }
        "reload-add-server-peers-early" | "reload-add-server-peers-settled" => {
            if id.ends_with("settled") {
                world.settles();
            }
            let rooms = rooms(0, 300);
            let before = world.ask_all(&rooms);
            world.reload(Shape { servers: 4, ..shape });
            let entries = world.entries();
            // What is handed over no predictor knows of.
            let (asked, different) = (world.predicted, world.different.len());
            let after = world.ask_all(&rooms);
            world.predicted = asked;
            world.different.truncate(different);
            let changed = differ(&before, &after);
            json!({ "changed_server": changed, "of": after.len(), "table_entries_after": entries })
        }
        "drain" | "maint" => {
            let old = rooms(0, 100);
            let before = world.ask_all(&old);
            let state = if id == "drain" { ServerState::Drain } else { ServerState::Maint };
            world.order(1, id, state);
            let after = world.ask_all(&old);
            let new = world.ask_all(&rooms(1000, 100));
            let on_it = |servers: &[String]| servers.iter().filter(|server| *server == "edumeet1").count();
            let kept = before.iter().zip(&after).filter(|(a, b)| *a == "edumeet1" && a == b).count();
            json!({
                "old_rooms_kept_on_it": kept,
                "old_rooms_of_it": on_it(&before),
                "new_rooms_on_it": on_it(&new),
            })
        }
        "one-address" => {
            let pages = ["/algebra", "/", "/static/js/main.js", "/config/config.js", "/favicon.ico", "/foo%20bar"];
            let mut seen: Vec<String> = (0..18).map(|n| world.ask_with("GET", pages[n % pages.len()], "")).collect();
            seen.sort();
            seen.dedup();
            json!({ "servers_used": seen.len() })
        }
        other => panic!("{other}: nobody knows how to replay it"),
    };
    (result, world)
}

/// The same; again if a process was to be young and the host was too slow for that. One is settled after five seconds.
fn play_in_time(id: &str, path: &Path, version: Version, recorded: &Value) -> (Value, World) {
    for _ in 0..9 {
        let began = Instant::now();
        let played = play(id, path, version, recorded);
        if !id.ends_with("early") || played.0 == *recorded || began.elapsed() < Duration::from_secs(4) {
            return played;
        }
    }
    play(id, path, version, recorded)
}

#[test]
fn recorded_scenarios_come_out_as_recorded() {
    let Some((path, version)) = binary() else { return };
    let file = edumeet("stickiness.json");
    let (mut wrong, mut predicted) = (Vec::new(), 0);
    let scenarios = list(&file, "scenarios");
    for scenario in scenarios {
        let id = scenario["id"].as_str().unwrap();
        let (result, world) = play_in_time(id, &path, version, &scenario["result"]);
        predicted += world.predicted;
        if result != scenario["result"] {
            wrong.push(format!("{id}: {result}, recorded {}", scenario["result"]));
        }
        wrong.extend(world.different.into_iter().map(|what| format!("{id}: {what}")));
    }
    println!("{} scenarios on {version}, {predicted} requests predicted: {} different", scenarios.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong[..wrong.len().min(40)].join("\n"));
    assert!(!scenarios.is_empty());
}
