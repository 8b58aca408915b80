//! What is predicted is what HAProxy does.

use adapter_haproxy::balance::{BackendSpec, Outcome, Predictor, Request, ServerSpec, ServerState, Version};

use crate::dice::Dice;
use crate::haproxy::{Haproxy, binary};
use crate::responder;

/// A server line and what it means.
struct Line {
    text: String,
    spec: ServerSpec,
}

fn line(name: &str, port: u16, id: Option<u32>, weight: Option<u16>) -> Line {
    let mut text = format!("server {name} 127.0.0.1:{port}");
    let mut spec = ServerSpec::new(name);
    if let Some(id) = id {
        text += &format!(" id {id}");
        spec = spec.id(id);
    }
    if let Some(weight) = weight {
        text += &format!(" weight {weight}");
        spec = spec.weight(weight);
    }
    Line { text, spec }
}

fn start(path: &std::path::Path, version: Version, lines: &[&str], servers: &[&Line]) -> (Haproxy, Predictor) {
    let mut spec = BackendSpec::new(version);
    lines.iter().for_each(|l| spec.line(l).unwrap());
    servers.iter().for_each(|s| {
        spec.server(s.spec.clone());
    });
    let texts = lines.iter().map(|l| (*l).to_owned()).chain(servers.iter().map(|s| s.text.clone()));
    let haproxy = Haproxy::start(path, &texts.collect::<Vec<_>>());
    (haproxy, Predictor::new(spec).unwrap())
}

fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Server(name) => name.to_string(),
        Outcome::BadRequest => "HTTP 400".into(),
        _ => "HTTP 503".into(),
    }
}

#[test]
fn rooms_in_seven_layouts() {
    let Some((path, version)) = binary() else { return };
    let ports = responder::start((1..=5).map(|i| format!("eu-{i}")));
    let s = |i: usize, id, weight| line(&format!("eu-{i}"), ports[i - 1], id, weight);
    let layouts = [
        ("three", vec![s(1, None, None), s(2, None, None), s(3, None, None)]),
        ("four", (1..=4).map(|i| s(i, None, None)).collect()),
        ("five", (1..=5).map(|i| s(i, None, None)).collect()),
        ("weights", vec![s(1, None, Some(2)), s(2, None, Some(1)), s(3, None, Some(1))]),
        ("without the second", vec![s(1, None, None), s(3, None, None), s(4, None, None)]),
        ("without the second, ids kept", vec![s(1, Some(1), None), s(3, Some(3), None), s(4, Some(4), None)]),
        ("in another order", vec![s(3, None, None), s(2, None, None), s(1, None, None)]),
    ];
    let mut different = 0;
    for (layout, servers) in &layouts {
        let lines = ["balance url_param roomId", "hash-type consistent"];
        let (mut haproxy, mut predictor) = start(&path, version, &lines, &servers.iter().collect::<Vec<_>>());
        for room in 0..200 {
            let target = format!("/join?roomId=room-{room}%20{}", room * 7919);
            let got = haproxy.ask("GET", &target, &[], "");
            let want = predictor.route(&Request::get(target.as_str()).header("Host", "h"));
            if got != text(&want.outcome) {
                println!("{layout}: {target}: predicted {want}, HAProxy {got}");
                different += 1;
            }
        }
    }
    println!("{} layouts of 200 rooms on {version}: {different} different", layouts.len());
    assert_eq!(different, 0);
}

const BALANCES: &[&str] = &[
    "roundrobin",
    "static-rr",
    "leastconn",
    "first",
    "source",
    "uri",
    "uri len 9",
    "uri depth 2",
    "uri whole",
    "uri path-only",
    "uri path-only len 7 depth 1 whole",
    "url_param room",
    "url_param room check_post",
    "hdr(x-room)",
    "hash url_param(room)",
    "hash url_param(room),lower",
    "hash req.hdr(x-room)",
    "hash req.hdr(x-room,1)",
    "hash req.hdr(x-room,-2)",
    "hash req.fhdr(x-room)",
    "hash req.fhdr(x-room,1)",
    "hash path",
    "hash pathq",
    "hash base",
    "hash query",
    "hash url",
    "hash src",
    "hash req.cook(room)",
    "hash path,field(2,/)",
    "hash path,word(2,/)",
    "hash path,field(-1,/,2)",
    "hash path,field(2,/,0)",
    "hash path,word(-2,/,0)",
    "hash url_param(room),url_dec,b64dec",
    "hash url_param(room),ub64dec,length",
    "hash url_param(room),base64",
    "hash url_param(room),hex",
    "hash url_param(room),bytes(1,2)",
    "hash url_param(room),upper,crc32(1)",
    "hash method",
    "hash req.hdr_ip(x-room)",
    "hash url_param(room,;)",
    "hash int(7)",
    "hash str(x)",
    "random",
    "hash url_param(room),xxh32(9)",
    "hash req.hdr(x-room),length",
];

const TYPES: &[&str] = &[
    "",
    "hash-type consistent",
    "hash-type map-based",
    "hash-type consistent sdbm",
    "hash-type consistent djb2 avalanche",
    "hash-type map-based wt6",
    "hash-type consistent crc32",
    "hash-type map-based crc32 avalanche",
];

const RULES: &[&[&str]] = &[
    &[],
    &[],
    &[],
    &["option allbackups"],
    &["cookie SRV insert indirect nocache"],
    &["cookie SRV insert indirect", "option persist"],
    &["stick-table type string len 5 size 1k expire 1h", "stick on url_param(room)"],
    &[
        "stick-table type string size 1k expire 1h",
        "stick match req.hdr(x-room)",
        "stick store-request url_param(room)",
    ],
    &["stick-table type integer size 1k expire 1h", "stick on url_param(room)", "stick on req.hdr(x-room)"],
    &["stick-table type ip size 1k expire 1h", "stick on src"],
    &["stick-table type binary len 3 size 1k expire 1h", "stick on path", "stick on src if { method POST }"],
    &["use-server s1 if { url_param(room) a b }", "use-server s0 unless { method GET POST }"],
    &["force-persist if { url_param(room) a }", "ignore-persist if { method POST }", "cookie SRV insert indirect"],
];

const ROOMS: &[&str] = &[
    "a",
    "b",
    "A",
    "",
    "room-1",
    "a%20b",
    "YWJj",
    "YQ%3D%3D",
    "12",
    "-1",
    "a;b",
    "a?b",
    "10.0.0.1",
    "x=y",
    "a/b",
    "YQ==",
    "a+b",
    "caf%C3%A9",
    "a%",
    "a%zz",
];
const VALUES: &[&str] = &[
    "a",
    "a, b",
    "b,a",
    "\"a,b\", c",
    "10.1.2.3",
    "10.1.2.3:80",
    "2001:db8::1",
    "[2001:db8::2]",
    " ,x",
    "a;b",
    "12, x",
];
const PATHS: &[&str] = &["/", "/join", "/a/b/c", "//a//b", "/a/b/", "http://h/x/y", "http://h", "/r/%2F/x", "*"];

/// A request, and the same for HAProxy.
fn request(dice: &mut Dice) -> (Request, String, String, Vec<(String, String)>, String) {
    let mut target = dice.one(PATHS).to_owned();
    let method = if target == "*" { "OPTIONS" } else { dice.one(&["GET", "GET", "GET", "POST", "DELETE"]) };
    if target != "*" && target != "http://h" && dice.roll(4) > 0 {
        target += dice.one(&["?room=", "?x=1&room=", "?x=1;room=", ";room=", "?xroom=1&room=", "?room&room="]);
        target += dice.one(ROOMS);
        target += dice.one(&["", "", "&y=2", "&room=z"]);
    }
    let mut headers = Vec::new();
    for _ in 0..dice.roll(3) {
        headers.push(("X-Room".to_owned(), dice.one(VALUES).to_owned()));
    }
    if dice.roll(3) == 0 {
        let cookies = ["SRV=c0", "SRV=c1; room=x", "room=1; SRV=c2", "srv=c1", "SRV=", "room=\"q\"", "a=b; room = y"];
        headers.push(("Cookie".to_owned(), dice.one(&cookies).to_owned()));
    }
    let source = dice.one(&["10.0.0.1", "10.0.0.2", "192.168.7.9", "2001:db8::5", "::ffff:10.0.0.1"]);
    headers.push(("X-Test-Src".to_owned(), source.to_owned()));
    let mut body = String::new();
    if method == "POST" {
        body = dice.one(&["room=a", "x=1&room=b&y=2", "room=", "xroom=1", "room=a b", "room=12\r\n", "z"]).to_owned();
    }
    let mut r = Request::post(target.as_str(), body.as_str()).method(method).header("Host", "h");
    for (name, value) in &headers {
        r = r.header(name.as_str(), value);
    }
    r = r.source(source.parse().unwrap());
    (r, method.to_owned(), target, headers, body)
}

/// One random backend, from which servers go and to which they come. What differs.
fn case(path: &std::path::Path, version: Version, seed: u64, ports: &[u16]) -> (usize, Vec<String>) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let balance = format!("balance {}", dice.one(BALANCES));
    let mut lines = vec![balance.as_str(), dice.one(TYPES)];
    lines.extend_from_slice(RULES[dice.roll(RULES.len())]);
    lines.retain(|l| !l.is_empty());
    let mut used = std::collections::HashSet::new();
    let mut server = |dice: &mut Dice, i: usize| {
        let id = Some(1 + dice.roll(40)).filter(|_| i % 3 == 1);
        let id = id.and_then(|id| u32::try_from(id).ok()).filter(|id| used.insert(*id));
        let weight = [None, Some(0), Some(1), Some(2), Some(3), Some(10), Some(100)][dice.roll(7)];
        let mut l = line(&format!("s{i}"), ports[i], id, weight);
        l.text += &format!(" cookie c{}", i % 3);
        l.spec = l.spec.cookie(format!("c{}", i % 3));
        if dice.roll(5) == 0 {
            l.text += " backup";
            l.spec = l.spec.backup();
        }
        if dice.roll(8) == 0 {
            l.text += " disabled";
            l.spec = l.spec.state(ServerState::Maint);
        }
        if dice.roll(8) == 0 {
            l.text += " non-stick";
            l.spec = l.spec.non_stick();
        }
        l
    };
    let mut servers: Vec<(usize, Line)> =
        (0..2 + dice.roll(ports.len() - 1)).map(|i| (i, server(&mut dice, i))).collect();
    let (mut checked, mut wrong) = (0, Vec::new());
    for _ in 0..3 {
        let parts: Vec<&Line> = servers.iter().map(|(_, line)| line).collect();
        let (n, differ) = stretch(path, version, seed, &mut dice, &lines, &parts);
        checked += n;
        wrong.extend(differ);
        // A server comes or goes, anywhere in the order; rules name the first two.
        let absent = (0..ports.len()).find(|i| servers.iter().all(|(have, _)| have != i));
        let leaves = servers.iter().position(|(i, _)| *i >= 2).filter(|_| absent.is_none() || dice.roll(2) == 0);
        match (leaves, absent) {
            (Some(at), _) => drop(servers.remove(at)),
            (None, Some(i)) => servers.insert(dice.roll(servers.len() + 1), (i, server(&mut dice, i))),
            (None, None) => {}
        }
    }
    (checked, wrong)
}

/// Random requests and orders for one random backend. What differs.
fn stretch(
    path: &std::path::Path,
    version: Version,
    seed: u64,
    dice: &mut Dice,
    lines: &[&str],
    servers: &[&Line],
) -> (usize, Vec<String>) {
    let (mut haproxy, mut predictor) = start(path, version, lines, servers);
    let (mut checked, mut wrong) = (0, Vec::new());
    let show: Vec<&str> = lines.iter().copied().chain(servers.iter().map(|s| s.text.as_str())).collect();
    for _ in 0..20 {
        let server = &servers[dice.roll(servers.len())].spec.name();
        match dice.roll(8) {
            0 => {
                let states = [
                    ("ready", ServerState::Ready),
                    ("ready", ServerState::Ready),
                    ("maint", ServerState::Maint),
                    ("drain", ServerState::Drain),
                ];
                let (word, state) = states[dice.roll(4)];
                haproxy.order(&format!("set server b/{server} state {word}"));
                predictor.set_state(server, state).unwrap();
            }
            1 => {
                let weight = dice.one(&["0", "1", "2", "7", "100", "256", "50%", "0%", "100%", "300%"]);
                let answer = haproxy.order(&format!("set weight b/{server} {weight}"));
                let done = predictor.set_weight(server, weight);
                if answer.is_empty() != done.is_ok() {
                    wrong.push(format!("{show:?}: weight {weight} of {server}: {answer:?}, predicted {done:?}"));
                }
            }
            _ => {}
        }
        let (r, method, target, headers, body) = request(dice);
        let mut possible: Vec<String> = predictor.possible(&r).iter().map(|n| n.to_string()).collect();
        let got = haproxy.ask(&method, &target, &headers, &body);
        checked += 1;
        let want = if possible.len() > 1 && possible.contains(&got) {
            let (ticket, _) = predictor.open_on(&r, &got).unwrap();
            ticket.map(|t| predictor.close(t)).transpose().unwrap();
            continue;
        } else {
            let explained = predictor.explain(&r);
            possible = explained.why;
            text(&predictor.route(&r).outcome)
        };
        if got != want {
            wrong.push(format!(
                "seed {seed}: {show:?}: {method} {target} {headers:?} {body:?}: predicted {want} ({possible:?}), HAProxy {got}"
            ));
            break;
        }
    }
    (checked, wrong)
}

/// Random backends; `HAPROXY_CASES` says how many.
#[test]
fn random_backends() {
    let Some((path, version)) = binary() else { return };
    let number = |name: &str, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (cases, first) = (number("HAPROXY_CASES", 60), number("HAPROXY_SEED", 1));
    let ports = responder::start((0..5).map(|i| format!("s{i}")));
    let (mut checked, mut wrong) = (0, Vec::new());
    for seed in first..first + cases {
        let (n, differ) = case(&path, version, seed, &ports);
        checked += n;
        wrong.extend(differ);
    }
    println!("{checked} requests to {cases} random backends on {version}: {} different", wrong.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
}
