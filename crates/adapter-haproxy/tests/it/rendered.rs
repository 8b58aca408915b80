//! Rendered configurations at work: cookies, addresses, shared tables, shards, headers, logs.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};

use adapter_haproxy::balance::Version;
use adapter_haproxy::render::{
    BackendSection, Balance, Bind, BindTls, ControlSocket, FrontendSection, HaproxyConfig, JitsiShards, LogTarget,
    PeerLine, PeersSection, ServerLine, cookie_sample, source_sample,
};

use crate::client::Client;
use crate::haproxy::{Haproxy, MINUTE, Place, binary, free_port, until};
use crate::responder::{self, Responder};

fn servers(ports: &[u16]) -> Vec<ServerLine> {
    (1..).zip(ports).map(|(n, port)| ServerLine::new(n, format!("web{n}"), "127.0.0.1", *port)).collect()
}

fn web(count: usize) -> Vec<ServerLine> {
    servers(&responder::start((1..=count).map(|n| format!("web{n}"))))
}

/// The listener of a place, which believes what the PROXY protocol says.
fn bind(place: &Place) -> Bind {
    let mut bind = Bind::port(place.port).on("127.0.0.1");
    bind.accept_proxy = true;
    bind
}

fn with_socket(mut config: HaproxyConfig, place: &Place) -> String {
    config.global.sockets.push(ControlSocket::admin(place.socket()));
    config.render().unwrap()
}

fn run(path: &Path, build: impl FnOnce(&Place) -> HaproxyConfig) -> Haproxy {
    let place = Place::new();
    let text = with_socket(build(&place), &place);
    Haproxy::run(path, place, &text)
}

fn from(haproxy: &Haproxy, source: &str) -> Client {
    Client::from(haproxy.place.port, source.parse::<IpAddr>().unwrap())
}

fn header(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), value.to_owned())]
}

/// One frontend and one backend that takes its servers in turn.
fn in_turn(version: Version, bind: Bind, servers: Vec<ServerLine>) -> HaproxyConfig {
    let mut config = HaproxyConfig::new(version.into());
    let mut front = FrontendSection::new("web", "servers");
    front.redirect_https = bind.tls.is_some();
    front.binds.push(bind);
    let mut back = BackendSection::new("servers", Balance::RoundRobin);
    back.servers = servers;
    config.frontends.push(front);
    config.backends.push(back);
    config
}

#[test]
fn without_stickiness_the_next_request_goes_elsewhere() {
    let Some((path, version)) = binary() else { return };
    let haproxy = run(&path, |place| in_turn(version, bind(place), web(2)));
    let mut client = from(&haproxy, "127.0.0.2");
    let seen: Vec<String> = (0..6).map(|_| client.get("/").served()).collect();
    assert_eq!(seen, ["web1", "web2", "web1", "web2", "web1", "web2"]);
}

#[test]
fn a_cookie_is_set_once_kept_and_replaced() {
    let Some((path, version)) = binary() else { return };
    let haproxy = run(&path, |place| cookie_sample(version.into(), bind(place), web(3)));
    let mut of_new = BTreeSet::new();
    for n in 0..9 {
        let mut client = from(&haproxy, &format!("127.0.0.{}", n + 2));
        let first = client.get("/");
        let set = first.header("set-cookie").unwrap_or_else(|| panic!("no cookie: {}", first.head)).to_owned();
        let cookie = set.split(';').next().unwrap().to_owned();
        assert_eq!(cookie, format!("SERVER={}", first.body));
        let home = first.body.clone();
        for _ in 0..4 {
            let next = client.ask("GET", "/", &header("Cookie", &format!("a=b; {cookie}; c=d")), "");
            assert_eq!((next.header("set-cookie"), &next.body), (None, &home));
        }
        // A value nobody has: another choice, and its cookie instead.
        let next = client.ask("GET", "/", &header("Cookie", "SERVER=nope"), "");
        assert_eq!(
            next.header("set-cookie").and_then(|set| set.split(';').next()),
            Some(&*format!("SERVER={}", next.body))
        );
        // The servers never see it.
        let echo = client.ask("GET", "/echo", &header("Cookie", &format!("a=b; {cookie}")), "");
        assert!(echo.body.contains("a=b") && !echo.body.contains("SERVER="), "{}", echo.body);
        of_new.insert(home);
    }
    assert_eq!(of_new.len(), 3);
}

/// Two balancers whose peers sections name each other.
fn pair(path: &Path, version: Version) -> [(Haproxy, String); 2] {
    let ports = [free_port(), free_port()];
    let servers = web(3);
    ["lb1", "lb2"].map(|name| {
        let members = ["lb1", "lb2"].iter().zip(ports).map(|(peer, port)| PeerLine::new(*peer, "127.0.0.1", port));
        let peers = PeersSection::new("sticktables", name, members.collect());
        let place = Place::new();
        let text = with_socket(source_sample(version.into(), bind(&place), servers.clone(), peers), &place);
        (Haproxy::run(path, place, &text), text)
    })
}

const SHARED: &str = "sticktables/sticky-sessions";

#[test]
fn two_balancers_share_what_sticks_to_addresses() {
    let Some((path, version)) = binary() else { return };
    let [(first, _), (mut second, text)] = pair(&path, version);
    let sources: Vec<String> =
        (1..=20).map(|n| format!("10.0.0.{n}")).chain((1..=20).map(|n| format!("2001:db8::{n}"))).collect();
    let mut homes = HashMap::new();
    for source in &sources {
        let mut client = from(&first, source);
        let home = client.get("/").served();
        assert!((0..3).all(|_| client.get("/").served() == home), "{source}");
        homes.insert(source, home);
    }
    assert_eq!(first.entries(SHARED), sources.len());
    until("the other balancer learns", || second.entries(SHARED) == sources.len());
    let astray = |at: &Haproxy| sources.iter().filter(|s| from(at, s).get("/").served() != homes[s]).count();
    assert_eq!(astray(&second), 0);
    // Nor does a reload lose an entry.
    second.reload(&text);
    until("the new process learns", || second.entries(SHARED) == sources.len());
    println!("{} addresses on two balancers of {version} and over a reload: {} astray", sources.len(), astray(&second));
    assert_eq!((astray(&second), homes.values().collect::<BTreeSet<_>>().len()), (0, 3));
}

#[test]
fn rooms_of_shards_stay_together() {
    let Some((path, version)) = binary() else { return };
    let haproxy = run(&path, |place| JitsiShards::new(version.into(), vec![bind(place)], web(2)).config());
    // Shards are up from the start, and stay so: `/about/health` is answered.
    let mut clients: Vec<Client> = (2..8).map(|n| from(&haproxy, &format!("127.0.0.{n}"))).collect();
    let (mut astray, mut of_shard) = (0, HashMap::<String, usize>::new());
    for n in 0..200 {
        let room = format!("standup{n}");
        // Signalling first: it makes the room, and pages only follow.
        let targets = [
            [format!("/http-bind?room={room}"), format!("/xmpp-websocket?room={}", room.to_uppercase())][n % 2].clone(),
            format!("/{room}"),
            format!("/http-bind?room={room}&sid=1"),
            format!("/StandUp{n}"),
            format!("/xmpp-websocket?room={room}"),
            format!("/conference-request/v1?room={room}"),
            format!("/%73tandup{n}"),
        ];
        let seen: BTreeSet<String> =
            (0..9).map(|i| clients[(n + i) % 6].get(&targets[i % targets.len()]).served()).collect();
        astray += seen.len() - 1;
        *of_shard.entry(seen.into_iter().next().unwrap()).or_default() += 1;
        // The same room of a tenant is another room, and as firmly on one shard.
        let seen: BTreeSet<String> = ["/acme/http-bind?room=", "/ACME/"]
            .iter()
            .map(|front| clients[n % 6].get(&format!("{front}{room}")).served())
            .collect();
        astray += seen.len() - 1;
    }
    println!("2200 requests of 400 rooms of shards on {version}: {astray} astray");
    assert!(astray == 0 && of_shard.len() == 2 && of_shard.values().all(|count| *count > 60), "{of_shard:?}");
}

#[test]
fn servers_learn_who_asks_and_how() {
    let Some((path, version)) = binary() else { return };
    let haproxy = run(&path, |place| in_turn(version, bind(place), web(1)));
    let mut client = from(&haproxy, "192.0.2.77");
    let lie = [header("X-Forwarded-Proto", "https"), header("X-Forwarded-For", "1.2.3.4")].concat();
    let echo = client.ask("GET", "/echo", &lie, "").body;
    let of = |name: &str| {
        let lines = echo.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(seen, _)| seen.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect::<Vec<_>>()
    };
    // What is said of the way is replaced; the address is added behind what was there.
    assert_eq!(of("x-forwarded-proto"), ["http"]);
    assert_eq!(of("x-forwarded-for"), ["1.2.3.4", "192.0.2.77"]);
}

#[test]
fn plain_requests_are_sent_to_tls() {
    let Some((path, version)) = binary() else { return };
    let pem = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pki/meet.pem");
    let haproxy = run(&path, |place| {
        let tls = Bind::port(free_port()).on("127.0.0.1").with_tls(BindTls::new(pem.to_str().unwrap()));
        let mut config = in_turn(version, tls, web(1));
        config.frontends[0].binds.push(bind(place));
        config
    });
    let answer = from(&haproxy, "127.0.0.2").ask("GET", "/algebra?a=b", &header("Host", "meet.example.com"), "");
    assert_eq!((answer.status, answer.header("location")), (302, Some("https://meet.example.com/algebra?a=b")));
}

#[test]
fn requests_are_logged() {
    let Some((path, version)) = binary() else { return };
    let log = UdpSocket::bind("127.0.0.1:0").unwrap();
    log.set_read_timeout(Some(MINUTE)).unwrap();
    let to = log.local_addr().unwrap().to_string();
    let haproxy = run(&path, |place| {
        let mut config = in_turn(version, bind(place), web(1));
        config.global.logs = vec![LogTarget::syslog(to)];
        config
    });
    from(&haproxy, "192.0.2.77").get("/algebra");
    let mut buffer = [0; 4096];
    let seen = std::iter::from_fn(|| {
        let length = log.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    })
    .find(|line| line.contains("GET /algebra"));
    let line = seen.unwrap_or_else(|| panic!("nothing was logged"));
    assert!(line.contains("192.0.2.77") && line.contains("servers/web1") && line.contains(" 200 "), "{line}");
}

/// A name of this host is as good as an address.
#[test]
fn servers_are_named_or_numbered() {
    let Some((path, version)) = binary() else { return };
    let ports = ["web1", "web2"].map(|name| Responder::start(name).on_both().port);
    let mut servers = servers(&ports);
    servers[1].host = "localhost".into();
    let haproxy = run(&path, |place| in_turn(version, bind(place), servers));
    let mut client = from(&haproxy, "127.0.0.2");
    let seen: Vec<String> = (0..4).map(|_| client.get("/").served()).collect();
    assert_eq!(seen, ["web1", "web2", "web1", "web2"]);
}
