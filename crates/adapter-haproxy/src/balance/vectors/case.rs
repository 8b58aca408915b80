//! Kinds `keys`, `requests` and `script`: requests that end before the next one begins.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use super::Tally;
use crate::balance::{BackendSpec, HashKey, Outcome, Predictor, Request, ServerSpec, ServerState, Ticket, Version};

fn number(v: &Value) -> Option<u32> {
    v.as_u64().map(|n| u32::try_from(n).unwrap())
}

fn state(v: &Value) -> ServerState {
    match v.as_str().unwrap() {
        "ready" => ServerState::Ready,
        "drain" => ServerState::Drain,
        "maint" => ServerState::Maint,
        other => panic!("unknown state {other:?}"),
    }
}

fn server(v: &Value) -> ServerSpec {
    let mut s = ServerSpec::new(v["name"].as_str().unwrap());
    for (member, value) in v.as_object().unwrap() {
        let text = || value.as_str().unwrap();
        s = match member.as_str() {
            "name" | "id" | "port" => s,
            "id_explicit" if value == true => s.id(number(&v["id"]).unwrap()),
            "id_explicit" => s,
            "weight" => s.weight(u16::try_from(number(value).unwrap()).unwrap()),
            "addr" => match text().parse::<IpAddr>() {
                Ok(ip) => s.address(ip, u16::try_from(number(&v["port"]).unwrap_or(0)).unwrap()),
                Err(_) => panic!("no address: {value}"),
            },
            "maxconn" => s.maxconn(number(value).unwrap()),
            "maxqueue" => s.maxqueue(number(value).unwrap()),
            "backup" if value == true => s.backup(),
            "backup" => s,
            "hash-key" => s.hash_key(HashKey::by_name(text()).unwrap()),
            "guid" => s.guid(text()),
            "cookie" => s.cookie(text()),
            "state" => s.state(state(value)),
            other => panic!("unknown member {other:?} of a server"),
        };
    }
    s
}

pub(super) fn backend(file: &Value, version: Version) -> BackendSpec {
    let mut spec = BackendSpec::new(version);
    let mut line = |text: &str| spec.line(text).unwrap_or_else(|e| panic!("{e}"));
    line(&format!("balance {}", file["balance"].as_str().unwrap()));
    if let Some(text) = file["hash_type"].as_str() {
        line(text);
    }
    for option in file["options"].as_array().unwrap() {
        line(option.as_str().unwrap());
    }
    for s in file["servers"].as_array().unwrap() {
        spec.server(server(s));
    }
    let ids: Vec<u64> = spec.ids().unwrap().into_iter().map(u64::from).collect();
    let want: Vec<u64> = file["servers"].as_array().unwrap().iter().map(|s| s["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, want, "{}: ids", file["name"]);
    spec
}

pub(super) fn request(v: &Value) -> Request {
    let mut r = Request::get(v["uri"].as_str().unwrap());
    let mut has_host = false;
    for (member, value) in v.as_object().unwrap() {
        match member.as_str() {
            "uri" | "body" => {}
            "method" => r = r.method(value.as_str().unwrap()),
            "headers" => {
                for header in value.as_array().unwrap() {
                    let name = header[0].as_str().unwrap();
                    has_host |= name.eq_ignore_ascii_case("host");
                    r = r.header(name, header[1].as_str().unwrap());
                }
            }
            "src" => r = r.source(value.as_str().unwrap().parse().unwrap()),
            other => panic!("unknown member {other:?} of a request"),
        }
    }
    if let Some(body) = v["body"].as_str() {
        r.body = body.as_bytes().to_vec();
    }
    if has_host { r } else { r.header("Host", "h") }
}

/// An outcome as the recordings write it.
pub(super) fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Server(name) => name.to_string(),
        Outcome::Queued(_) => "QUEUED".into(),
        Outcome::Unavailable => "HTTP 503".into(),
        Outcome::BadRequest => "HTTP 400".into(),
    }
}

fn ask(haproxy: &mut Predictor, tally: &mut Tally, vectors: &Value) {
    for (n, pair) in vectors.as_array().unwrap().iter().enumerate() {
        let r = match pair[0].as_str() {
            Some(key) => Request::get(format!("/join?room={key}")).header("Host", "h"),
            None => request(&pair[0]),
        };
        // An explanation says the same and moves nothing.
        let explained = (n < 3).then(|| haproxy.explain(&r));
        let got = haproxy.route(&r);
        if let Some(explained) = explained {
            assert_eq!(explained.outcome, got.outcome);
            assert!(!explained.why.is_empty() || matches!(got.outcome, Outcome::BadRequest | Outcome::Server(_)));
        }
        tally.check(&pair[0], &text(&got.outcome).as_str(), &pair[1].as_str().unwrap());
    }
}

/// Plays the steps `state` and `weight`; those who got a server by that, or `None` for another step.
pub(super) fn change(haproxy: &mut Predictor, tally: &mut Tally, step: &Value) -> Option<Vec<(Ticket, Arc<str>)>> {
    let server = || step["server"].as_str().unwrap();
    let done = match step["op"].as_str().unwrap() {
        "state" => haproxy.set_state(server(), state(&step["state"])),
        "weight" => haproxy.set_weight(server(), step["weight"].as_str().unwrap()).map(|()| Vec::new()),
        _ => return None,
    };
    tally.check(step, &done.is_ok(), &(step["answer"] == "ok"));
    Some(done.unwrap_or_default())
}

pub(super) fn play(file: &Value, version: Version) -> Tally {
    let mut tally = Tally::default();
    let mut haproxy = Predictor::new(backend(file, version)).unwrap_or_else(|e| panic!("{}: {e}", file["name"]));
    if file["kind"] != "script" {
        ask(&mut haproxy, &mut tally, &file["vectors"]);
        return tally;
    }
    for step in file["steps"].as_array().unwrap() {
        if step["op"] == "ask" {
            ask(&mut haproxy, &mut tally, &step["vectors"]);
        } else {
            assert!(change(&mut haproxy, &mut tally, step).is_some(), "unknown step {step}");
        }
    }
    tally
}
