//! Rendered configurations at work in a real HAProxy.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::*;
use crate::room::jitsi_room_key;
use crate::testing::Folder;

/// A running HAProxy, ended when dropped.
struct Running {
    child: Child,
    port: u16,
    _folder: Folder,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts it on a free port and waits until it answers.
fn start(name: &str, build: impl Fn(u16) -> HaproxyConfig) -> Option<Running> {
    let haproxy = crate::testing::haproxy()?;
    let folder = Folder::new(&format!("live-{name}"));
    let port = free_port();
    let (path, text) = at_home(&folder, &build(port).render().unwrap());
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(haproxy);
    command.args(["-db", "-f"]).arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running { child: command.spawn().unwrap(), port, _folder: folder };
    let end = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "haproxy does not answer");
        std::thread::yield_now();
    }
    Some(running)
}

impl Running {
    /// The body of the answer.
    fn ask(&self, method: &str, target: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let kind = "application/x-www-form-urlencoded";
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: meet.example.com\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())
    }
}

/// Answers with the room it sees instead of sending it anywhere.
const ECHO: &str = "http-request return status 200 content-type text/plain lf-string \"%[var(txn.room),url_enc]\"";

fn vectors(path: &str, list: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(path);
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    file[list].as_array().unwrap().clone()
}

#[test]
fn haproxy_sees_the_rooms_of_edumeet() {
    let echo = |port| {
        let bind = Bind::port(port).on("127.0.0.1");
        let mut config = EdumeetCluster::new(V26, vec![bind], servers()).config();
        config.frontends[0].extra.push(ECHO.into());
        config
    };
    let Some(haproxy) = start("edumeet-rooms", echo) else { return };
    // What HAProxy reads otherwise: Latin-1 stays Latin-1, `;` parts parameters, `#` and NUL are refused.
    let known =
        ["latin1", "json-u-escape", "sock-semicolon", "state-semicolon", "fragment", "sock-bad-utf8", "sock-nul"];
    let mut other = Vec::new();
    let mut checked = 0;
    for file in ["edumeet/state.json", "edumeet/urls.json"] {
        for vector in vectors(file, "vectors") {
            let text = |name: &str| vector[name].as_str().unwrap_or("").to_owned();
            let seen = haproxy.ask(&text("method"), &text("target"), &text("body"));
            if seen != pin_key(&text("room")) && !known.contains(&&*text("id")) {
                other.push(format!("{}: {seen:?} for {:?}", text("id"), text("room")));
            }
            checked += 1;
        }
    }
    println!("edumeet: {checked} requests through haproxy");
    assert_eq!(other, [""; 0]);
}

#[test]
fn haproxy_sees_the_rooms_of_jitsi() {
    let echo = |port| {
        let bind = Bind::port(port).on("127.0.0.1");
        let mut config = JitsiShards::new(V26, vec![bind], servers()).config();
        config.frontends[0].extra.push(ECHO.into());
        config
    };
    let Some(haproxy) = start("jitsi-rooms", echo) else { return };
    let mut other = Vec::new();
    for vector in vectors("jitsi/rooms.json", "urls") {
        let url = vector["url"].as_str().unwrap();
        let key = vector["key"].as_str();
        // Raw UTF-8 and `#` no HAProxy takes; an encoded slash and a doubled one it cannot tell from a single one.
        if !url.is_ascii() || url.contains('#') || matches!(url, "/a%2Fb" | "//Standup") {
            continue;
        }
        let seen = haproxy.ask("GET", url, "");
        let wanted = key.map_or(String::new(), |key| format!("/{key}"));
        let seen: Vec<String> = seen.split("%2F").map(jitsi_room_key).collect();
        if seen.join("/") != wanted {
            other.push(format!("{url}: {seen:?} for {wanted:?}"));
        }
    }
    assert_eq!(other, [""; 0]);
}

#[test]
fn everybody_of_a_room_meets_on_one_server() {
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let cluster = |port| {
        let host = "127.0.0.1";
        let lines = ports.iter().zip(1..).map(|(port, n)| ServerLine::new(n, format!("edumeet{n}"), host, *port));
        let mut cluster = EdumeetCluster::new(V26, vec![Bind::port(port).on(host)], lines.collect());
        cluster.pins = Some("/etc/haproxy/pins.map".into());
        let mut config = cluster.config();
        // Three servers that say their names, in the same process.
        for (port, n) in ports.iter().zip(1..) {
            let mut server = FrontendSection::new(format!("server{n}"), "pages");
            server.binds.push(Bind::port(*port).on(host));
            server.extra.push(format!("http-request return status 200 content-type text/plain string edumeet{n}"));
            config.frontends.push(server);
        }
        config
    };
    let Some(haproxy) = start("edumeet-routing", cluster) else { return };
    let state = |room: &str| {
        let json = format!("{{\"peerId\":\"p\",\"roomId\":\"{room}\"}}");
        crate::testing::encode_base64(json.as_bytes()).replace('+', "%2B").replace('=', "%3D")
    };
    let mut used = std::collections::BTreeSet::new();
    for n in 0..40 {
        let room = format!("room {n}");
        let state = state(&room);
        // A posted callback first, before any table knows the room; then every other kind of request.
        let first = haproxy.ask("POST", "/auth/callback", &format!("code=a&state={state}"));
        for target in [
            format!("/auth/callback?code=a&state={state}"),
            format!("/socket.io/?peerId=a&roomId=room%20{n}&EIO=3"),
            format!("/socket.io/?peerId=b&roomId=room+{n}&EIO=3"),
            format!("/auth/logout?roomId=%72oom%20{n}"),
        ] {
            assert_eq!(haproxy.ask("GET", &target, ""), first, "{target}");
        }
        used.insert(first);
    }
    assert_eq!(used.len(), 3);
    assert_eq!(haproxy.ask("GET", "/socket.io/?roomId=foo%20bar", ""), "edumeet2");
    assert_eq!(haproxy.ask("POST", "/auth/callback", &format!("state={}", state("foo bar"))), "edumeet2");
}
