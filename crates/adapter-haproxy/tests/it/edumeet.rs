//! A rendered edumeet cluster: everybody of a room reaches one server.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;

use adapter_haproxy::balance::Version;
use adapter_haproxy::render::{Bind, ControlSocket, EdumeetCluster, ServerLine, pin_key, pin_map};

use crate::base64::encode_base64;
use crate::client::Client;
use crate::dice::Dice;
use crate::haproxy::{Haproxy, Place, binary};
use crate::responder;
use crate::vectors::{edumeet, list};

/// How often each request is made.
const TIMES: usize = 9;

/// The addresses of the people who ask.
const SOURCES: [&str; 8] =
    ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.77", "10.1.2.3", "192.0.2.200", "2001:db8::1", "2001:db8::2:2"];

/// Rooms whose names are written in several ways on the wire.
const ROOMS: [&str; 14] = [
    "big hall",
    "a & b",
    "100% sure",
    "50%41",
    "1+1=2",
    "dept/room;1",
    "what?#now",
    "say \"hi\" \\ bye",
    "Müller & Söhne",
    "große halle 5%",
    "naïve+1",
    "数学",
    "Ελλάδα & friends",
    "😀 room",
];

/// A request, and the room it is of.
#[derive(Debug)]
struct Asked {
    id: String,
    method: &'static str,
    target: String,
    body: String,
    room: Option<String>,
}

/// Letters that the 3.x servers write as one byte into the state of a login.
fn is_latin1(room: &str) -> bool {
    !room.is_ascii() && room.chars().all(|c| u32::from(c) <= 0xff)
}

/// The room's bytes as 3.x servers write them.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

/// Every way in which the clients and servers of one room ask.
fn asked_of(room: &str) -> Vec<Asked> {
    let json = serde_json::json!({ "peerId": "k8wz1q9c", "roomId": room }).to_string();
    let state = if is_latin1(room) { encode_base64(&latin1(&json)) } else { encode_base64(json.as_bytes()) };
    let padded = state.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let url_safe = state.replace('+', "-").replace('/', "_").replace('=', "");
    let swapped = serde_json::json!({ "a": 17, "roomId": room, "z": [{}] }).to_string();
    let swapped = encode_base64(if is_latin1(room) { latin1(&swapped) } else { swapped.into_bytes() }.as_slice());
    let name = pin_key(room);
    let everything: String = room.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let get = |target: String| ("GET", target, String::new());
    let all = [
        get(format!("/socket.io/?peerId=p&roomId={name}&EIO=3&transport=polling")),
        get(format!("/socket.io/?peerId=q&roomId={everything}&EIO=3&transport=websocket")),
        get(format!("/socket.io/?peerId=q&roomId={}&EIO=3", name.replace("%20", "+"))),
        ("POST", format!("/socket.io/?peerId=p&roomId={name}&EIO=3&sid=1"), "42[\"x\"]".to_owned()),
        get(format!("/auth/login?peerId=p&roomId={name}")),
        get(format!("/auth/logout?peerId=p&roomId={name}")),
        get(format!("/auth/callback?code=c&state={padded}")),
        get(format!("/auth/callback?state={}&code=c", state.replace('+', "%2B"))),
        get(format!("/auth/callback?code=c&state={url_safe}")),
        get(format!("/auth/callback?code=c&state={}", swapped.replace('+', "%2B"))),
        ("POST", "/auth/callback".to_owned(), format!("code=c&state={padded}")),
        ("POST", "/auth/callback".to_owned(), format!("state={url_safe}&code=c")),
    ];
    let made = all.into_iter().enumerate();
    made.map(|(n, (method, target, body))| Asked {
        id: format!("{room} {n}"),
        method,
        target,
        body,
        room: Some(room.to_owned()),
    })
    .collect()
}

/// Every recorded request, and the state of each recorded callback in a posted form as well.
fn recorded() -> Vec<Asked> {
    let mut all = Vec::new();
    for file in ["urls.json", "state.json"] {
        let file = edumeet(file);
        for vector in list(&file, "vectors") {
            let text = |name: &str| vector[name].as_str().unwrap_or_default().to_owned();
            let method = if vector["method"] == "POST" { "POST" } else { "GET" };
            let room = vector["room"].as_str().map(str::to_owned);
            let (id, target) = (text("id"), text("target"));
            // The state as a form would have it: names are told apart by `&` alone there.
            if let Some(state) = target.split_once("state=").map(|(_, rest)| rest)
                && target.starts_with("/auth/callback?code=S")
                && !state.contains('+')
            {
                all.push(Asked {
                    id: format!("{id}, posted"),
                    method: "POST",
                    target: "/auth/callback".into(),
                    body: format!("code=c&state={state}"),
                    room: room.clone(),
                });
            }
            all.push(Asked { id, method, target, body: text("body"), room });
        }
    }
    all
}

fn servers(ports: &[u16]) -> Vec<ServerLine> {
    let line = |(n, port): (u32, &u16)| ServerLine::new(n, format!("edumeet{n}"), "127.0.0.1", *port);
    (1..).zip(ports).map(line).collect()
}

/// A cluster with a pin map, open to whoever speaks the PROXY protocol.
fn start(path: &Path, version: Version, ports: &[u16], tenants: bool, pins: &str) -> Haproxy {
    let place = Place::new();
    let mut bind = Bind::port(place.port).on("127.0.0.1");
    bind.accept_proxy = true;
    let mut cluster = EdumeetCluster::new(version.into(), vec![bind], servers(ports));
    cluster.tenants = tenants;
    let map = place.path("pins.map");
    std::fs::write(&map, pins).unwrap();
    cluster.pins = Some(map);
    let mut config = cluster.config();
    config.global.sockets.push(ControlSocket::admin(place.socket()));
    let text = config.render().unwrap();
    Haproxy::run(path, place, &text)
}

fn clients(haproxy: &Haproxy) -> Vec<Client> {
    SOURCES.iter().map(|source| Client::from(haproxy.place.port, source.parse::<IpAddr>().unwrap())).collect()
}

#[test]
fn no_request_goes_astray() {
    let Some((path, version)) = binary() else { return };
    let ports = responder::start((1..=3).map(|n| format!("edumeet{n}")));
    let asked: Vec<Asked> = recorded().into_iter().chain(ROOMS.iter().flat_map(|room| asked_of(room))).collect();

    // Where rooms go without a pin: each is pinned elsewhere. Those of one-byte letters are pinned in both spellings.
    let pinned: Vec<&str> =
        ROOMS.iter().copied().filter(|room| is_latin1(room)).chain(["café", "algebra", "foo bar", "a & b"]).collect();
    let mut pins = HashMap::new();
    {
        let haproxy = start(&path, version, &ports, false, "# none yet\n");
        let mut client = Client::from(haproxy.place.port, "127.0.0.9".parse().unwrap());
        for room in &pinned {
            let home = client.get(&format!("/socket.io/?roomId={}", pin_key(room))).served();
            let number: usize = home.strip_prefix("edumeet").unwrap().parse().unwrap();
            pins.insert(*room, format!("edumeet{}", number % 3 + 1));
        }
    }
    let mut map = pin_map(pins.iter().map(|(room, server)| (*room, server.as_str()))).unwrap();
    for (room, server) in pins.iter().filter(|(room, _)| is_latin1(room)) {
        let one_byte = |c: char| if c.is_ascii() { pin_key(&c.to_string()) } else { format!("%{:02X}", u32::from(c)) };
        let key: String = room.chars().map(one_byte).collect();
        map.push_str(&format!("{key} {server}\n"));
    }

    let haproxy = start(&path, version, &ports, false, &map);
    let mut clients = clients(&haproxy);
    let mut homes: BTreeMap<&str, String> = pins.iter().map(|(room, server)| (*room, server.clone())).collect();
    let mut order: Vec<(usize, usize)> = (0..TIMES).flat_map(|t| (0..asked.len()).map(move |n| (t, n))).collect();
    Dice(7).shuffle(&mut order);
    let (mut made, mut of_rooms, mut of_pins, mut astray) = (0, 0, 0, Vec::new());
    for (time, n) in order {
        let one = &asked[n];
        let client = (n + time) % SOURCES.len();
        let host = [("Host".to_owned(), "meet.example.com".to_owned())];
        let server = clients[client].ask(one.method, &one.target, &host, &one.body).served();
        made += 1;
        // HAProxy itself refuses a `#`, and what is rendered a NUL.
        let is_refused = one.target.contains('#') || one.target.contains("%00");
        match &one.room {
            Some(_) if is_refused => {
                if server != "HTTP 400" {
                    astray.push(format!("{}: {server}", one.id));
                }
            }
            Some(room) => {
                of_rooms += 1;
                of_pins += usize::from(pins.contains_key(room.as_str()));
                let home = homes.entry(room).or_insert_with(|| server.clone());
                if server != *home || !server.starts_with("edumeet") {
                    astray.push(format!("{}: {server} instead of {home}", one.id));
                }
            }
            // Any server will do.
            None if server.starts_with("edumeet") || is_refused && server == "HTTP 400" => {}
            None => astray.push(format!("{}: {server}", one.id)),
        }
    }
    println!(
        "{made} requests on {version}, {of_rooms} of them of {} rooms, {of_pins} of {} pinned ones: {} astray",
        homes.len(),
        pins.len(),
        astray.len()
    );
    assert!(astray.is_empty(), "{} astray:\n{}", astray.len(), astray[..astray.len().min(40)].join("\n"));
    assert!(of_rooms > 2000 && of_pins > 500);
    for n in 1..=3 {
        assert!(homes.values().any(|home| *home == format!("edumeet{n}")), "nobody is on edumeet{n}");
    }
}

/// A thousand rooms, five requests each, in any order: each on one server, and each server used.
#[test]
fn a_thousand_rooms_have_one_server_each() {
    let Some((path, version)) = binary() else { return };
    let ports = responder::start((1..=3).map(|n| format!("edumeet{n}")));
    let haproxy = start(&path, version, &ports, false, "# none\n");
    let mut clients = clients(&haproxy);
    let rooms: Vec<Vec<Asked>> = (0..1000).map(|n| asked_of(&format!("room {n}"))).collect();
    let mut order: Vec<(usize, usize)> =
        (0..1000).flat_map(|room| (0..5).map(move |n| (room, n * 2 + room % 3))).collect();
    Dice(11).shuffle(&mut order);
    let mut homes: HashMap<usize, String> = HashMap::new();
    let mut astray = 0;
    for (at, (room, n)) in order.iter().enumerate() {
        let one = &rooms[*room][*n];
        let server = clients[at % SOURCES.len()].ask(one.method, &one.target, &[], &one.body).served();
        astray += usize::from(*homes.entry(*room).or_insert_with(|| server.clone()) != server);
    }
    let mut spread: BTreeMap<&str, usize> = BTreeMap::new();
    homes.values().for_each(|home| *spread.entry(home).or_default() += 1);
    println!("{} requests of 1000 rooms on {version}, {spread:?}: {astray} astray", order.len());
    assert_eq!((astray, spread.len()), (0, 3));
}

/// The same room of two tenants is two rooms.
#[test]
fn rooms_of_tenants_are_rooms_of_their_own() {
    let Some((path, version)) = binary() else { return };
    let ports = responder::start((1..=3).map(|n| format!("edumeet{n}")));
    let haproxy = start(&path, version, &ports, true, "# none\n");
    let mut clients = clients(&haproxy);
    let (mut apart, mut astray) = (0, 0);
    for n in 0..100 {
        let room = asked_of(&format!("room {n}"));
        let mut home = |host: &str| {
            let host = ("Host".to_owned(), host.to_owned());
            let mut seen: Vec<String> = (0..6)
                .map(|way| {
                    let (one, client) = (&room[way * 2], (n + way) % SOURCES.len());
                    clients[client].ask(one.method, &one.target, std::slice::from_ref(&host), &one.body).served()
                })
                .collect();
            seen.dedup();
            astray += seen.len() - 1;
            seen.swap_remove(0)
        };
        apart += usize::from(home("uni.example.com") != home("school.example.com:443"));
        assert_eq!(home("UNI.example.com:443"), home("uni.example.com"));
    }
    println!("2400 requests of two tenants on {version}, {apart} of 100 rooms apart: {astray} astray");
    assert!(astray == 0 && apart > 40);
}

/// A stick table cuts its keys at a NUL byte: nobody may move a room by asking for one of a longer name.
#[test]
fn nobody_moves_the_room_of_others() {
    let Some((path, version)) = binary() else { return };
    let ports = responder::start((1..=3).map(|n| format!("edumeet{n}")));
    let haproxy = start(&path, version, &ports, false, "# none\n");
    let mut client = Client::from(haproxy.place.port, "127.0.0.2".parse().unwrap());
    let home = client.get("/socket.io/?roomId=algebra").served();
    let json = |n: usize| format!("{{\"peerId\":\"p\",\"roomId\":\"algebra\\u0000{n}\"}}");
    for n in 0..30 {
        let state = encode_base64(json(n).as_bytes()).replace('=', "%3D");
        for (method, target, body) in [
            ("GET", format!("/socket.io/?roomId=algebra%00{n}"), String::new()),
            ("GET", format!("/auth/callback?state={state}"), String::new()),
            ("POST", "/auth/callback".to_owned(), format!("state={state}")),
        ] {
            client.ask(method, &target, &[], &body);
            assert_eq!(client.get("/socket.io/?roomId=algebra").served(), home, "after {method} {target} {body}");
        }
    }
    assert_eq!(haproxy.entries("rooms"), 1);
    assert_eq!(client.get("/socket.io/?roomId=a%00b").status, 400);
}
