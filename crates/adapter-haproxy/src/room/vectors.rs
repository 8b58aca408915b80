//! Recorded requests, the crate's own or a folder's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::testing::encode_base64;

fn folder(variable: &str, own: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(own);
    std::env::var_os(variable).map_or(own, PathBuf::from)
}

/// Reads every file of a folder: those of `ours` are returned, those of `others` belong to other tests, the rest fails.
fn read(folder: &Path, ours: &[&str], others: &[&str]) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let mut names = BTreeSet::new();
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let name = entry.unwrap().file_name().into_string().unwrap();
        names.insert(name);
    }
    assert!(!names.is_empty(), "{}: empty", folder.display());
    for name in &names {
        if ours.contains(&name.as_str()) {
            let bytes = std::fs::read(folder.join(name)).unwrap();
            found.push((name.clone(), serde_json::from_slice(&bytes).unwrap()));
        } else {
            assert!(others.contains(&name.as_str()), "{}: nobody reads {name}", folder.display());
        }
    }
    found
}

fn list<'a>(file: &'a Value, name: &str) -> &'a [Value] {
    file[name].as_array().unwrap_or_else(|| panic!("no list {name}"))
}

fn check(seen: &Classified, vector: &Value, place: &str) {
    assert_eq!(seen.room.as_deref(), vector["room"].as_str(), "{place}: room");
}

#[test]
fn edumeet() {
    let folder = folder("EDUMEET_VECTORS", "edumeet");
    let mut checked = 0;
    for (name, file) in read(&folder, &["state.json", "urls.json"], &["placement.json", "stickiness.json"]) {
        let vectors = list(&file, "vectors");
        assert_eq!(file["count"].as_u64(), Some(vectors.len() as u64), "{name}");
        for vector in vectors {
            let place = format!("{name}: {}", vector["id"].as_str().unwrap());
            let rule = match vector["edumeet"].as_str() {
                None | Some("3" | "3.x" | "both" | "any") => RoomRule::Edumeet3,
                Some("4" | "4.x") => RoomRule::Edumeet4,
                Some(other) => panic!("{place}: edumeet {other}"),
            };
            let request = Request::new(vector["method"].as_str().unwrap(), vector["target"].as_str().unwrap())
                .with_body(vector["body"].as_str().unwrap_or(""));
            let seen = classify(&rule, &request);
            check(&seen, vector, &place);
            let kind = vector["kind"].as_str().unwrap_or("callback");
            assert_eq!(seen.kind.as_str(), kind, "{place}: kind");
            assert_eq!(seen.stick_key().unwrap().is_some(), seen.room.is_some(), "{place}: key");
            checked += 1;
        }
        println!("edumeet: {} requests of {name}", vectors.len());
    }
    println!("edumeet: {checked} requests checked in {}", folder.display());
}

#[test]
fn jitsi() {
    const OTHERS: [&str; 27] = [
        "README.md",
        "autoscale.json",
        "log-lines.json",
        "misc.json",
        "presence",
        "presence.json",
        "prosody.cfg.lua",
        "selection-growth.json",
        "selection-health.json",
        "selection-ice.json",
        "selection-pool.json",
        "selection-rampup.json",
        "selection-strategy.json",
        "selection-ties.json",
        "selection-unit.json",
        "selection-wild.json",
        "xmpp-session-plain-focus.c2s.xml",
        "xmpp-session-plain-focus.jsonl",
        "xmpp-session-plain-focus.s2c.xml",
        "xmpp-session-plain-jvb1.c2s.xml",
        "xmpp-session-plain-jvb1.jsonl",
        "xmpp-session-plain-jvb1.s2c.xml",
        "xmpp-session-plain-jvb2.c2s.xml",
        "xmpp-session-plain-jvb2.jsonl",
        "xmpp-session-plain-jvb2.s2c.xml",
        "xmpp-session-starttls-all.jsonl",
        "stickiness.json",
    ];
    let folder = folder("JITSI_VECTORS", "jitsi");
    let mut checked = 0;
    for (name, file) in read(&folder, &["rooms.json"], &OTHERS) {
        for vector in list(&file, "normalise") {
            let raw = vector["raw"].as_str().unwrap();
            assert_eq!(Some(&*jitsi_client_room(raw)), vector["client"].as_str(), "{name}: client of {raw}");
            assert_eq!(Some(&*jitsi_room_key(raw)), vector["key"].as_str(), "{name}: key of {raw}");
            checked += 1;
        }
        for vector in list(&file, "urls") {
            let url = vector["url"].as_str().unwrap();
            let seen = classify(&RoomRule::Jitsi, &Request::new("GET", url));
            check(&seen, vector, url);
            assert_eq!(seen.tenant.as_deref(), vector["tenant"].as_str(), "{url}: tenant");
            assert_eq!(seen.key().as_deref(), vector["key"].as_str(), "{url}: key");
            let kind = match (seen.kind, seen.room.is_some()) {
                (RequestKind::Signalling, true) => "signal",
                (RequestKind::Signalling, false) => "signal-no-room",
                (kind, _) => kind.as_str(),
            };
            assert_eq!(Some(kind), vector["kind"].as_str(), "{url}: kind");
            checked += 1;
        }
    }
    println!("jitsi: {checked} names and requests checked in {}", folder.display());
}

#[test]
fn one_key_for_every_spelling() {
    let key = |rule: &RoomRule, target: &str| {
        let headers = [("Host", "Meet.Example.com:443")];
        classify(rule, &Request::new("GET", target).with_headers(&headers)).key()
    };
    for target in ["/socket.io/?roomId=caf%C3%A9", "/socket.io/?roomId=caf%c3%a9", "/auth/login?roomId=café"] {
        assert_eq!(key(&RoomRule::Edumeet3, target).as_deref(), Some("café"));
        assert_eq!(key(&RoomRule::Edumeet4, target).as_deref(), Some("meet.example.com/café"));
    }
    for target in ["/acme/http-bind?room=T%25C3%25A4st", "/ACME/TÄST", "/xmpp-websocket?prefix=acme&room=täst"] {
        assert_eq!(key(&RoomRule::Jitsi, target).as_deref(), Some("acme/t%c3%a4st"), "{target}");
    }
}

#[test]
fn people_and_places() {
    let headers = [("cookie", "a=1; SERVER=web1"), ("X-Forwarded-For", "6.6.6.6, 192.0.2.7"), ("X-Room", " algebra ")];
    let request =
        Request::new("GET", "/?r=a+b").with_headers(&headers).with_source("::ffff:198.51.100.9".parse().unwrap());
    let room = |rule: RoomRule| classify(&rule, &request).room;
    let source = SourceRule::default();
    assert_eq!(room(RoomRule::Cookie("SERVER".into())).as_deref(), Some("web1"));
    assert_eq!(room(RoomRule::Cookie("server".into())), None);
    assert_eq!(room(RoomRule::Header("x-room".into())).as_deref(), Some("algebra"));
    assert_eq!(room(RoomRule::Param("r".into())).as_deref(), Some("a b"));
    assert_eq!(room(RoomRule::Source(source.clone())).as_deref(), Some("198.51.100.9"));
    assert_eq!(room(RoomRule::Source(source.clone().with_prefix(0, 0))).as_deref(), Some("0.0.0.0/0"));
    assert_eq!(room(RoomRule::Source(source.with_forwarded("x-forwarded-for"))).as_deref(), Some("192.0.2.7"));
    let v6 = Request::new("GET", "/").with_source("2001:db8:1:2:3::4".parse().unwrap());
    let key = classify(&RoomRule::Source(SourceRule::default()), &v6).key();
    assert_eq!(key.as_deref(), Some("2001:db8:1:2::/64"));
}

#[test]
fn long_names_keep_apart() {
    let key = |last: char| {
        let target = format!("/socket.io/?roomId={}{last}", "ä".repeat(1100));
        classify(&RoomRule::Edumeet3, &Request::new("GET", &target)).stick_key().unwrap().unwrap()
    };
    assert_ne!(key('a'), key('b'));
    assert!(key('a').as_str().len() <= MAX_KEY_LEN);
}

proptest! {
    #[test]
    fn nothing_panics(
        target in proptest::collection::vec(any::<u8>(), 0..200),
        body in proptest::collection::vec(any::<u8>(), 0..100),
        header in ".{0,40}",
    ) {
        let headers = [("host", &*header), ("cookie", &*header), ("x-forwarded-for", &*header)];
        let rules = [
            RoomRule::Edumeet3,
            RoomRule::Edumeet4,
            RoomRule::Jitsi,
            RoomRule::Param("room".into()),
            RoomRule::Cookie("a".into()),
            RoomRule::Header("host".into()),
            RoomRule::Source(SourceRule::default().with_forwarded("x-forwarded-for")),
        ];
        let mut paths = vec![target.clone()];
        for front in ["/auth/callback?state=", "/socket.io/?roomId=", "/a/http-bind?room=", "/", "http://h/"] {
            paths.push([front.as_bytes(), &target].concat());
        }
        for rule in &rules {
            for path in &paths {
                let seen = classify(rule, &Request::new("POST", path).with_body(&body).with_headers(&headers));
                prop_assert!(seen.stick_key().is_ok());
                prop_assert!(seen.room.is_none_or(|room| !room.is_empty()));
            }
        }
    }

    #[test]
    fn a_state_gives_its_room_back(room in "[^\\x00-\\x1f\"\\\\]{1,30}", peer in "[a-z0-9]{1,8}") {
        let json = format!("{{\"peerId\":\"{peer}\",\"roomId\":\"{room}\"}}");
        let state = encode_base64(json.as_bytes());
        prop_assert_eq!(room_from_state(state.as_bytes()), Some(room.clone()));
        let escaped = state.replace('+', "%2B").replace('=', "%3D");
        prop_assert_eq!(room_from_state(escaped.as_bytes()), Some(room));
    }
}
