//! What is exported routes a real HAProxy.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use adapter_haproxy::HaproxyVersion;
use adapter_haproxy::render::{Bind, JitsiShards, ServerLine, pin_map};
use adapter_jitsi::testing::ShardStandIn;

use crate::served::{Folder, PATIENCE, Picker, Process, free_port, program, stanza};

fn page(port: u16, method: &str, target: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn line(id: u32, name: &str, address: SocketAddr) -> ServerLine {
    let mut line = ServerLine::new(id, name, address.ip().to_string(), address.port());
    line.check = false;
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_routes_by_the_pins_that_were_exported() {
    let Some(haproxy) = program("HAPROXY", &["/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/usr/bin/haproxy"])
    else {
        return;
    };
    let folder = Folder::new();
    let (eu, us) = (ShardStandIn::start("eu-1").await.unwrap(), ShardStandIn::start("us-1").await.unwrap());
    // One look at the beginning: a slow answer later would keep new rooms away.
    let health = "[health]\ninterval = 3600\ntimeout = 30\n";
    let config = format!("{health}{}{}", stanza("eu-1", "eu", &eu), stanza("us-1", "us", &us));
    let picker = Picker::start(&folder.put("shards.toml", &config), 0);
    let at: u16 = picker.url.rsplit(':').next().unwrap().parse().unwrap();

    // Rooms as users write them, and how their browsers ask.
    let names =
        ["standup", "Daily_Meeting", "t%C3%A4st", "besprechung%20team", "a(b)!", "100%25-", "acme/Standup", "a+b"];
    let rooms: Vec<String> = (0..200).map(|n| format!("{}{n}", names[n % names.len()])).collect();
    for (n, room) in rooms.iter().enumerate() {
        let query: String = form_urlencoded::byte_serialize(format!("/{room}").as_bytes()).collect();
        let region = ["eu", "us", "us"][n % 3];
        let answer = page(at, "POST", &format!("/shard?url={query}&region={region}"));
        assert!(answer.contains(&format!("\"shard\":\"{region}-1\"")), "{answer}");
    }
    let exported = picker.shards(&["export"]);
    let json = picker.json(&["export"]);
    let pins: Vec<(&str, &str)> = json["pins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pin| (pin["path"].as_str().unwrap(), pin["shard"].as_str().unwrap()))
        .collect();
    assert_eq!(pins.len(), 200);
    assert_eq!(exported.out, pin_map(pins).unwrap(), "one form of map on both sides");

    let map = folder.put("pins.map", &exported.out);
    let port = free_port();
    let mut listen = Bind::port(port);
    listen.host = Some("127.0.0.1".into());
    let servers = vec![line(1, "eu-1", eu.web()), line(2, "us-1", us.web())];
    let version = Command::new(&haproxy).arg("-v").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).split_whitespace().nth(2).unwrap().to_owned();
    let short: Vec<u16> = version.split(['.', '-']).take(2).map(|part| part.parse().unwrap()).collect();
    let mut shards = JitsiShards::new(HaproxyVersion::new(short[0], short[1]), vec![listen], servers);
    shards.pins = Some(map);
    let config = folder.put("haproxy.cfg", &shards.render().unwrap());
    let mut command = Command::new(&haproxy);
    let child = command.args(["-db", "-f", &config]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _running = Process(child);
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "haproxy does not answer");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut asked = 0;
    for (n, room) in rooms.iter().enumerate() {
        let home = ["eu-1", "us-1", "us-1"][n % 3];
        let (tenant, name) = room.rsplit_once('/').map_or(("", room.as_str()), |(tenant, name)| (tenant, name));
        let tenant = if tenant.is_empty() { String::new() } else { format!("/{tenant}") };
        let targets = [
            format!("/{room}"),
            format!("/{}", room.to_ascii_uppercase()),
            format!("{tenant}/http-bind?room={name}"),
            format!("{tenant}/xmpp-websocket?room={}&token=x", name.to_ascii_lowercase()),
            format!("{tenant}/http-bind?room={}", name.replace('%', "%25")),
        ];
        for target in targets {
            let answer = page(port, "GET", &target);
            assert!(answer.to_lowercase().contains(&format!("x-jitsi-shard: {home}\r\n")), "{target}: {answer}");
            asked += 1;
        }
    }
    println!("haproxy {version}: 200 pinned rooms, {asked} requests: 0 astray");
}
