//! The room that a rendered configuration sees in a request.

use std::path::Path;

use adapter_haproxy::jitsi_room_key;
use adapter_haproxy::render::{Bind, ControlSocket, EdumeetCluster, HaproxyConfig, JitsiShards, ServerLine, pin_key};

use crate::haproxy::{Haproxy, Place, binary};
use crate::vectors::{edumeet, jitsi, list};

/// Answers with the room it sees instead of sending it anywhere.
const ECHO: &str = "http-request return status 200 content-type text/plain lf-string \"%[var(txn.room),url_enc]\"";

fn start(path: &Path, build: impl FnOnce(Vec<Bind>, Vec<ServerLine>) -> HaproxyConfig) -> Haproxy {
    let place = Place::new();
    let servers = (1..=3).map(|n| ServerLine::new(n, format!("s{n}"), format!("192.0.2.{n}"), 80)).collect();
    let mut config = build(vec![Bind::port(place.port).on("127.0.0.1")], servers);
    config.frontends[0].extra.push(ECHO.into());
    config.global.sockets.push(ControlSocket::admin(place.socket()));
    let text = config.render().unwrap();
    Haproxy::run(path, place, &text)
}

#[test]
fn haproxy_sees_the_rooms_of_edumeet() {
    let Some((path, version)) = binary() else { return };
    let mut haproxy = start(&path, |binds, servers| EdumeetCluster::new(version.into(), binds, servers).config());
    // What HAProxy reads otherwise: Latin-1 stays Latin-1, `;` parts parameters, `#` and NUL are refused.
    let known =
        ["latin1", "json-u-escape", "sock-semicolon", "state-semicolon", "fragment", "sock-bad-utf8", "sock-nul"];
    let host = [("Host".to_owned(), "meet.example.com".to_owned())];
    let (mut other, mut checked) = (Vec::new(), 0);
    for file in ["state.json", "urls.json"] {
        for vector in list(&edumeet(file), "vectors") {
            let text = |name: &str| vector[name].as_str().unwrap_or("").to_owned();
            let seen = haproxy.ask(&text("method"), &text("target"), &host, &text("body"));
            if seen != pin_key(&text("room")) && !known.contains(&&*text("id")) {
                other.push(format!("{}: {seen:?} for {:?}", text("id"), text("room")));
            }
            checked += 1;
        }
    }
    println!("{checked} rooms of edumeet on {version}: {} different", other.len());
    assert_eq!(other, [""; 0]);
}

#[test]
fn haproxy_sees_the_rooms_of_jitsi() {
    let Some((path, version)) = binary() else { return };
    let mut haproxy = start(&path, |binds, servers| JitsiShards::new(version.into(), binds, servers).config());
    let (mut other, mut checked) = (Vec::new(), 0);
    for vector in list(&jitsi("rooms.json"), "urls") {
        let url = vector["url"].as_str().unwrap();
        let key = vector["key"].as_str();
        // Raw UTF-8 and `#` no HAProxy takes; an encoded slash and a doubled one it cannot tell from a single one.
        if !url.is_ascii() || url.contains('#') || matches!(url, "/a%2Fb" | "//Standup") {
            continue;
        }
        let seen = haproxy.ask("GET", url, &[], "");
        let wanted = key.map_or(String::new(), |key| format!("/{key}"));
        let seen: Vec<String> = seen.split("%2F").map(jitsi_room_key).collect();
        if seen.join("/") != wanted {
            other.push(format!("{url}: {seen:?} for {wanted:?}"));
        }
        checked += 1;
    }
    println!("{checked} rooms of Jitsi on {version}: {} different", other.len());
    assert_eq!(other, [""; 0]);
}
