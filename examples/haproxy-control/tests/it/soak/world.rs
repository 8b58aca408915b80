//! Room servers, HAProxys, controllers and Redis.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_haproxy::render::{Bind, ControlSocket, EdumeetCluster, ServerLine};
use adapter_haproxy::testing::RoomServer;
use adapter_haproxy::{HaproxyVersion, RoomRule};
use real_servers::RedisServer;
use serde_json::Value;

use crate::{Folder, free_ports, run_in};

pub(super) const HAPROXIES: [&str; 2] = ["lb1", "lb2"];

/// Looks again and again until it is so, for at most 60 s.
pub(super) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < end, "{what}: not within 60 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A program that is killed with nothing said to it, at the latest when dropped.
pub(super) struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Option<Self> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        command.spawn().ok().map(Self)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) struct World {
    pub(super) servers: Vec<Arc<RoomServer>>,
    haproxies: [Option<Process>; 2],
    controllers: [Option<Process>; 2],
    pub(super) redis: RedisServer,
    binary: PathBuf,
    rise: u16,
    /// Two HAProxys, two APIs.
    ports: Vec<u16>,
    folder: Folder,
}

impl World {
    pub(super) async fn start(binary: &Path, rise: u16) -> Option<Self> {
        let redis = RedisServer::start(&[])?;
        let (folder, ports) = (Folder::new("haproxy-control"), free_ports(4));
        let mut servers = Vec::new();
        for n in 1..=4 {
            servers.push(Arc::new(RoomServer::start(format!("mm{n}"), RoomRule::Edumeet3).await.unwrap()));
        }
        folder.put("pins.map", "");
        let binary = binary.to_owned();
        let mut world =
            Self { servers, haproxies: [None, None], controllers: [None, None], redis, binary, rise, ports, folder };
        for n in [0, 1] {
            world.folder.put(&format!("control{n}.toml"), world.settings(n));
            world.start_haproxy(n, false);
        }
        for n in [0, 1] {
            world.start_controller(n);
        }
        for name in ["mm1", "mm2", "mm3", "mm4"] {
            world.verdict(name, "up").await;
        }
        Some(world)
    }

    fn config(&self, n: usize, hold: bool) -> String {
        let out = Command::new(&self.binary).arg("-v").output().unwrap();
        let version: HaproxyVersion = String::from_utf8_lossy(&out.stdout).parse().unwrap();
        let line = |(server, id): (&Arc<RoomServer>, u32)| {
            ServerLine::new(id, server.name(), "127.0.0.1", server.address().port())
        };
        let lines = self.servers.iter().zip(1..).map(line).collect();
        let mut cluster = EdumeetCluster::new(version, vec![Bind::port(self.ports[n]).on("127.0.0.1")], lines);
        cluster.pins = Some(self.path("pins.map"));
        let mut config = cluster.config();
        config.global.logs.clear();
        config.global.sockets.push(ControlSocket::admin(self.path(&format!("{}.sock", HAPROXIES[n]))));
        for backend in &mut config.backends {
            // Who is back is given people later than its rooms take to move, on a busy host too.
            backend.check_times = (Duration::from_millis(150), 2, self.rise);
            backend.redispatch = false;
            backend.pins.iter_mut().for_each(|pins| pins.hold = hold);
            // A host with much to do answers late; who is dead refuses at once.
            backend.extra.extend(["timeout check 5s", "retries 0", "http-reuse never"].map(str::to_owned));
        }
        config.render().unwrap()
    }

    fn settings(&self, n: usize) -> String {
        let mut text = String::new();
        for name in HAPROXIES {
            let socket = self.path(&format!("{name}.sock"));
            writeln!(text, "[[haproxy]]\nname = \"{name}\"\nruntime = \"{socket}\"").unwrap();
        }
        let (map, api, redis) = (self.path("pins.map"), self.ports[2 + n], self.redis.port());
        writeln!(text, "[rooms]\nbackend = \"rooms\"\nwith = [\"pages\"]\nmap = \"{map}\"").unwrap();
        writeln!(text, "[store]\nurl = \"redis://127.0.0.1:{redis}\"\ntimeout = \"500ms\"").unwrap();
        writeln!(text, "[loop]\nevery = \"100ms\"\nlearn = \"200ms\"\nresync = \"1s\"").unwrap();
        writeln!(text, "[ask]\nurl = \"http://{{address}}:{{port}}/rooms.json\"").unwrap();
        writeln!(text, "[http]\nlisten = \"127.0.0.1:{api}\"").unwrap();
        text
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Where people come in.
    pub(super) fn addresses(&self) -> [SocketAddr; 2] {
        [0, 1].map(|n| SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[n])))
    }

    pub(super) fn kill_haproxy(&mut self, n: usize) {
        self.haproxies[n] = None;
    }

    /// Starts it, with pins that hold or not, and waits until it listens.
    pub(super) fn start_haproxy(&mut self, n: usize, hold: bool) {
        self.folder.put(&format!("{}.cfg", HAPROXIES[n]), self.config(n, hold));
        let mut command = Command::new(&self.binary);
        command.args(["-db", "-q", "-f", &self.path(&format!("{}.cfg", HAPROXIES[n]))]).stderr(Stdio::null());
        self.haproxies[n] = Process::start(&mut command);
        let port = self.ports[n];
        crate::until("HAProxy listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    }

    pub(super) fn kill_controller(&mut self, n: usize) {
        self.controllers[n] = None;
    }

    pub(super) fn start_controller(&mut self, n: usize) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join(format!("control{n}.log")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-control"));
        command.args(["run", "--config", &self.path(&format!("control{n}.toml"))]).stderr(log.unwrap());
        self.controllers[n] = Process::start(&mut command);
    }

    /// What a controller says of everything, if it answers.
    fn status(&self, n: usize) -> Option<Value> {
        let ran = run_in(&self.folder, &["status", "--config", &format!("control{n}.toml"), "-o", "json"], "");
        serde_json::from_str(&ran.out).ok()
    }

    /// Waits until what all controllers that live say is so.
    async fn said(&self, what: &str, so: impl Fn(&Value) -> bool) {
        let living = || (0..2).filter(|n| self.controllers[*n].is_some());
        let end = Instant::now() + Duration::from_secs(60);
        while !living().all(|n| self.status(n).is_some_and(|status| so(&status))) {
            let late = Instant::now() > end;
            let told = || -> Vec<_> { living().map(|n| (self.status(n), self.log(n))).collect() };
            assert!(!late, "{what}: not within 60 s: {:#?}", told());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn log(&self, n: usize) -> String {
        let log = std::fs::read_to_string(self.folder.join(format!("control{n}.log"))).unwrap_or_default();
        log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }

    /// Waits until all rooms are pinned in both HAProxys.
    pub(super) async fn pinned(&self, rooms: usize) {
        self.said("all rooms are pinned", |status| {
            let processes = status["processes"].as_array().unwrap();
            let pinned = |it: &Value| it["up"] == true && it["pins"] == rooms && it["behind"] == 0;
            status["rooms"] == rooms && processes.iter().all(pinned)
        })
        .await;
    }

    pub(super) async fn verdict(&self, server: &str, word: &str) {
        let so = |status: &Value| {
            let servers = status["servers"].as_array().unwrap();
            servers.iter().any(|it| it["name"] == server && it["verdict"] == word)
        };
        self.said(&format!("{server} is {word}"), so).await;
    }

    pub(super) async fn store_up(&self, up: bool) {
        self.said("the store is there, or not", |status| status["store_up"] == up).await;
    }

    /// Rooms that a controller finds on two servers.
    pub(super) fn splits(&self) -> Vec<String> {
        let ran = run_in(&self.folder, &["splits", "--config", "control0.toml", "-o", "json"], "");
        let found: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
        let rooms = found["rooms"].as_array().unwrap();
        // One server is dead and cannot be asked.
        assert_eq!(ran.code, if rooms.is_empty() { 4 } else { 1 }, "{ran:?}");
        rooms.iter().map(|room| room["room"].as_str().unwrap().to_owned()).collect()
    }
}
