//! Queues, redispatch and limits; and nothing panics, whatever is asked and ordered.

use std::time::Duration;

use proptest::prelude::*;

use super::Predictor;
use crate::balance::{BackendSpec, ChangeError, Outcome, Request, ServerSpec, ServerState, SpecError, Version};

fn spec(lines: &[&str]) -> BackendSpec {
    let mut spec = BackendSpec::new(Version::dev(3, 5, 5));
    lines.iter().for_each(|line| spec.line(line).unwrap());
    spec
}

fn predictor(lines: &[&str], servers: impl IntoIterator<Item = ServerSpec>) -> Predictor {
    let mut spec = spec(lines);
    servers.into_iter().for_each(|s| {
        spec.server(s);
    });
    Predictor::new(spec).unwrap()
}

fn s(name: &str) -> ServerSpec {
    ServerSpec::new(name)
}

#[test]
fn those_who_wait_are_served_in_order() {
    let mut haproxy = predictor(&["balance first"], [s("a").maxconn(1), s("b").maxconn(1)]);
    let get = Request::get("/");
    let (a, first) = haproxy.open(&get);
    let (b, second) = haproxy.open(&get);
    assert_eq!((first.server(), second.server()), (Some("a"), Some("b")));
    let (c, third) = haproxy.open(&get);
    assert_eq!(third.outcome, Outcome::Queued(None));
    let (d, _) = haproxy.open(&get);
    assert_eq!(haproxy.close(b.unwrap()).unwrap(), [(c.unwrap(), "b".into())]);
    assert_eq!(haproxy.connections("b"), Some((1, 0)));
    // One that gives up leaves its place to nobody.
    assert_eq!(haproxy.close(d.unwrap()).unwrap(), []);
    assert_eq!(haproxy.close(a.unwrap()).unwrap(), []);
    assert!(matches!(haproxy.close(a.unwrap()), Err(ChangeError::NoTicket { .. })));
    assert_eq!(haproxy.connections("nobody"), None);
}

#[test]
fn a_full_queue_refuses_and_a_stopped_server_gives_its_queue_away() {
    let lines = ["balance url_param room", "option redispatch"];
    let mut haproxy = predictor(&lines, [s("a").maxconn(1).maxqueue(1), s("b").maxconn(1).maxqueue(1)]);
    let room = |room: &str| Request::get(format!("/?room={room}"));
    let home = haproxy.route(&room("x")).server().unwrap().to_owned();
    let other = if home == "a" { "b" } else { "a" };
    haproxy.open(&room("x"));
    let (waits, queued) = haproxy.open(&room("x"));
    assert_eq!(queued.outcome, Outcome::Queued(Some(home.as_str().into())));
    assert_eq!(haproxy.open(&room("x")).1.outcome, Outcome::Unavailable);
    let moved = haproxy.set_state(&home, ServerState::Maint).unwrap();
    assert_eq!(moved, [(waits.unwrap(), other.into())]);
    assert!(haproxy.explain(&room("x")).to_string().contains("waits there"));
}

#[test]
fn sticks_are_learnt_from_answers_and_expire() {
    let lines = ["balance roundrobin", "stick-table type string size 2 expire 10s", "stick on url_param(r)"];
    let mut haproxy = predictor(&lines, [s("a"), s("b")]);
    let room = |room: &str| Request::get(format!("/?r={room}"));
    let (ticket, _) = haproxy.open(&room("x"));
    assert_eq!(haproxy.possible(&room("x"))[0].as_ref(), "b", "not learnt yet");
    haproxy.answer(ticket.unwrap()).unwrap();
    assert_eq!(haproxy.route(&room("x")).server(), Some("a"));
    haproxy.advance(Duration::from_secs(9));
    assert_eq!(haproxy.route(&room("x")).server(), Some("a"));
    haproxy.advance(Duration::from_secs(10));
    assert_eq!(haproxy.route(&room("x")).server(), Some("b"), "forgotten");
    // A third entry drops the one closest to its end.
    haproxy.route(&room("y"));
    haproxy.route(&room("z"));
    assert_ne!(haproxy.route(&room("x")).server(), Some("b"));
}

#[test]
fn chance_is_owned_up_to() {
    let mut haproxy = predictor(&["balance leastconn"], [s("a"), s("b"), s("c")]);
    let get = Request::get("/");
    assert_eq!(haproxy.possible(&get).len(), 3);
    let (_, taken) = haproxy.open_on(&get, "b").unwrap();
    assert!(taken.by_chance && taken.server() == Some("b"));
    assert!(matches!(haproxy.open_on(&get, "b"), Err(ChangeError::NotPossible { .. })));
    assert_eq!(haproxy.possible(&get).len(), 2);
}

#[test]
fn what_cannot_be_known_is_refused() {
    let version = Version::release(3, 0, 7);
    let mut spec = BackendSpec::new(version);
    spec.line("balance uri").unwrap();
    spec.line("hash-type consistent").unwrap();
    spec.server(s("a"));
    assert_eq!(Predictor::new(spec.clone()).unwrap_err(), SpecError::RingBase { version });
    spec.ring_base(crate::balance::RingBase::Spaced);
    assert!(Predictor::new(spec).is_ok());
    let mut old = BackendSpec::new(Version::release(2, 6, 12));
    for line in
        ["hash-type consistent none", "hash-preserve-affinity maxconn", "balance rdp-cookie", "hash-balance-factor 99"]
    {
        assert!(old.line(line).is_err(), "{line}");
    }
    for line in [
        "stick on path table other",
        "stick store-response path",
        "http-request deny",
        "cookie S prefix",
        "stick-table type string",
    ] {
        assert!(old.line(line).is_err(), "{line}");
    }
    old.line("balance static-rr").unwrap();
    for i in 0..8_000u16 {
        old.server(s(&format!("s{i}")).weight(255 + i % 2));
    }
    assert!(matches!(Predictor::new(old), Err(SpecError::TooMany { .. })));
}

const LINES: &[&str] = &[
    "balance roundrobin",
    "balance static-rr",
    "balance leastconn",
    "balance first",
    "balance random",
    "balance source",
    "balance url_param r",
    "balance uri",
    "hash-type consistent",
    "hash-type map-based",
    "hash-balance-factor 101",
    "hash-balance-factor 4294967295",
    "hash-preserve-affinity maxqueue",
    "hash-preserve-affinity maxconn",
    "fullconn 3",
    "option allbackups",
    "option redispatch",
    "option persist",
    "stick-table type ip size 1 nopurge",
    "stick-table type binary len 2 size 3 expire 1s",
    "cookie S",
];

proptest! {
    #[test]
    fn lines_take_anything(text in "\\PC{0,80}", word in prop::sample::select(LINES), rest in "[ a-z0-9({')}]{0,12}") {
        let mut spec = spec(&[]);
        let _ = spec.line(&text);
        let _ = spec.line(&format!("{word}{rest}"));
        let _ = spec.line(&format!("{} {text}", word.split(' ').next().unwrap_or("")));
    }

    #[test]
    fn nothing_panics_and_only_usable_servers_are_chosen(
        lines in prop::collection::vec(prop::sample::select(LINES), 0..5),
        servers in prop::collection::vec((0u16..=256, 0u32..3, 0u32..3, any::<(bool, bool)>()), 0..6),
        steps in prop::collection::vec((0u8..7, 0usize..6, "[a-c]{0,2}"), 0..80),
    ) {
        let servers = servers.into_iter().enumerate().map(|(i, (weight, max, min, (backup, maint)))| {
            let s = s(&format!("s{i}")).weight(weight).maxconn(max).minconn(min).maxqueue(min);
            let s = if backup { s.backup() } else { s };
            if maint { s.state(ServerState::Maint) } else { s }
        });
        let mut haproxy = predictor(&lines, servers);
        let mut tickets = Vec::new();
        for (what, i, text) in steps {
            let request = Request::get(format!("/?r={text}")).source([10, 0, 0, u8::try_from(i).unwrap_or(0)].into());
            let name = format!("s{i}");
            match what {
                0 => { let _ = haproxy.set_state(&name, ServerState::Ready); }
                1 => { let _ = haproxy.set_state(&name, if text.is_empty() { ServerState::Drain } else { ServerState::Maint }); }
                2 => { let _ = haproxy.set_weight(&name, &format!("{}{}", i * 60, if text.is_empty() { "%" } else { "" })); }
                3 => if let Some(t) = tickets.pop() { let _ = haproxy.close(t); },
                4 => { haproxy.advance(Duration::from_millis(300)); }
                5 => tickets.extend(haproxy.open(&request).0),
                _ => {
                    let told = haproxy.explain(&request);
                    let got = haproxy.route(&request);
                    prop_assert_eq!(&told.outcome, &got.outcome);
                    if let Some(name) = got.server() {
                        let persists = lines.iter().any(|l| l.starts_with("option persist"));
                        prop_assert!(persists || haproxy.state(name) == Some(ServerState::Ready));
                    }
                }
            }
        }
        for t in tickets {
            let _ = haproxy.close(t);
        }
        for i in 0..6 {
            let left = haproxy.connections(&format!("s{i}"));
            prop_assert!(matches!(left, None | Some((0, 0))));
        }
    }
}
