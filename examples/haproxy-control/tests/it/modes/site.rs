//! HAProxys before room servers, and the controllers of them.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use real_servers::free_port;
use serde_json::Value;

use crate::control::{Running, ask_room, order, room_server, until};
use crate::{Folder, Ran, run_in};

const SERVERS: usize = 3;

/// HAProxys before three room servers, and a controller.
pub(super) struct Site {
    pub(super) folder: Folder,
    pub(super) mode: &'static str,
    pub(super) fronts: Vec<u16>,
    /// Where each controller is asked.
    pub(super) apis: Vec<u16>,
    haproxies: Vec<Running>,
    pub(super) controls: Vec<Option<Running>>,
    /// Whether there are other backends than the one that is asked about.
    several: bool,
}

/// What differs between tests.
pub(super) struct Wish<'w> {
    pub(super) mode: &'static str,
    pub(super) haproxies: usize,
    /// Several in mode `peers` alone.
    pub(super) controls: usize,
    pub(super) store: &'w str,
    /// How long HAProxy waits for an agent, in milliseconds: longer than a busy host stands still, unless somebody is to
    /// be waited for in vain.
    pub(super) patience: u32,
    /// Lines more of each server, with `NAME` and `PROCESS`, of the blocks about the agent and the peers, of the settings
    /// of peers, and of the settings.
    pub(super) server: &'w str,
    pub(super) offload: &'w str,
    pub(super) peers: &'w str,
    pub(super) own: &'w str,
    pub(super) settings: &'w str,
    /// Lines of a second block of rooms, of mode `spoe`, and of what describes the HAProxys.
    pub(super) second: &'w str,
    pub(super) cluster: &'w str,
}

impl Wish<'_> {
    pub(super) fn of(mode: &'static str, haproxies: usize) -> Self {
        let (store, [server, offload, peers, own, settings, second, cluster]) = ("memory", [""; 7]);
        Self {
            mode,
            haproxies,
            controls: 1,
            store,
            patience: 5000,
            server,
            offload,
            peers,
            own,
            settings,
            second,
            cluster,
        }
    }
}

impl Site {
    pub(super) fn start(binary: &Path, wish: &Wish<'_>) -> Self {
        let folder = Folder::new("haproxy-control");
        let at = folder.display().to_string();
        let Wish { mode, .. } = *wish;
        let fronts: Vec<u16> = (0..wish.haproxies).map(|_| free_port()).collect();
        let peers: Vec<u16> = (0..wish.haproxies).map(|_| free_port()).collect();
        let ports = || (0..wish.controls).map(|_| free_port()).collect::<Vec<u16>>();
        let (apis, own, port) = (ports(), ports(), free_port());
        let members = |named: &str, ports: &[u16]| -> Vec<(String, u16)> {
            (1..).zip(ports).map(|(n, port)| (format!("{named}{n}"), *port)).collect()
        };
        let servers: Vec<u16> = (1..=SERVERS).map(|n| room_server(&format!("mm{n}"))).collect();
        folder.put("pins.map", "");
        let mut settings = String::new();
        let several = !wish.second.is_empty();
        let mut site = Self { folder, mode, fronts, apis, haproxies: Vec::new(), controls: Vec::new(), several };
        for n in 0..wish.haproxies {
            let name = format!("lb{}", n + 1);
            let mut text = match mode {
                "map" => format!("pins = \"{at}/pins.map\"\n"),
                _ => String::new(),
            };
            text.push_str(&format!("[[listen]]\nport = {}\nhost = \"127.0.0.1\"\n", site.fronts[n]));
            for (port, id) in servers.iter().zip(1..) {
                let more = wish.server.replace("NAME", &format!("mm{id}")).replace("PROCESS", &name);
                text.push_str(&format!(
                    "[[server]]\nname = \"mm{id}\"\nhost = \"127.0.0.1\"\nport = {port}\nid = {id}\n{more}\n"
                ));
            }
            if mode == "peers" {
                text.push_str(&format!("[peers]\nlocal = \"{name}\"\n{}\n", wish.peers));
                for (member, port) in members("lb", &peers).into_iter().chain(members("control", &own)) {
                    text.push_str(&format!(
                        "[[peers.member]]\nname = \"{member}\"\nhost = \"127.0.0.1\"\nport = {port}\n"
                    ));
                }
            }
            if mode == "spoe" {
                let patience = wish.patience;
                text.push_str(&format!(
                    "[offload]\nfile = \"{at}/{name}.conf\"\npatience_ms = {patience}\n{}\n\
                     [[offload.agent]]\nname = \"control1\"\nhost = \"127.0.0.1\"\nport = {port}\n",
                    wish.offload
                ));
            }
            text.push_str(&format!("[global]\nsocket = \"{at}/{name}.sock\"\n"));
            text.push_str(&wish.cluster.replace("FOLDER", &at).replace("PROCESS", &name));
            site.folder.put(&format!("{name}.toml"), text);
            let (cluster, file, engine) = (format!("{name}.toml"), format!("{name}.cfg"), format!("{name}.conf"));
            let by = ["--haproxy", binary.to_str().unwrap()];
            site.done(&[&["render", "edumeet", &cluster, "--out", &file][..], &by].concat());
            if mode == "spoe" {
                site.done(&[&["render", "edumeet", &cluster, "--engine", "--out", &engine][..], &by].concat());
                // An agent on a busy host is slow now and then; as rendered it would be found down for that.
                for (file, what, short) in
                    [(&file, "check", "500ms"), (&file, "connect", "200ms"), (&engine, "hello", "500ms")]
                {
                    let (what, text) = (format!("timeout {what} "), site.folder.get(file));
                    site.folder.put(file, text.replace(&format!("{what}{short}\n"), &format!("{what}5s\n")));
                }
            }
            site.haproxies.push(site.haproxy(binary, &name, site.fronts[n]));
            settings.push_str(&format!("[[haproxy]]\nname = \"{name}\"\nruntime = \"{at}/{name}.sock\"\n"));
            if mode == "peers" {
                settings.push_str(&format!("peer = \"127.0.0.1:{}\"\n", peers[n]));
            }
        }
        match wish.second {
            "" => settings.push_str("[rooms]\nbackend = \"rooms\"\nwith = [\"pages\"]\nidle = \"8s\"\n"),
            _ => settings.push_str("[[rooms]]\nbackend = \"rooms\"\nidle = \"8s\"\n"),
        }
        for n in 0..wish.controls {
            let mut text = settings.clone();
            match mode {
                "map" => {
                    text.push_str(&format!("map = \"{at}/pins.map\"\n"));
                    if !wish.second.is_empty() {
                        text.push_str(&format!("[[rooms]]\n{}[spoe]\nlisten = \"127.0.0.1:{port}\"\n", wish.second));
                    }
                }
                "spoe" => text
                    .push_str(&format!("[spoe]\nlisten = \"127.0.0.1:{port}\"\npatience = \"{}ms\"\n", wish.patience)),
                _ => {
                    let us = format!("control{}", n + 1);
                    text.push_str(&format!(
                        "[peers]\nname = \"{us}\"\nlisten = \"127.0.0.1:{}\"\n{}\n",
                        own[n], wish.own
                    ));
                    for (name, port) in members("control", &own).into_iter().filter(|(name, _)| *name != us) {
                        text.push_str(&format!("[[peers.node]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\n"));
                    }
                }
            }
            text.push_str(&format!(
                "[store]\nurl = \"{}\"\ntimeout = \"{}\"\n[loop]\nevery = \"50ms\"\nlearn = \"50ms\"\n\
                 resync = \"1s\"\n[http]\nlisten = \"127.0.0.1:{}\"\n{}",
                wish.store.replace("FOLDER", &at),
                // Whoever is not to be waited for long is not waited for long by us either.
                if wish.patience < 1000 { "300ms" } else { "4s" },
                site.apis[n],
                wish.settings
            ));
            site.folder.put(&settings_file(n), text);
            site.controls.push(None);
        }
        (0..wish.controls).for_each(|n| site.start_control(n));
        (0..wish.controls).for_each(|n| site.until_in_control(n));
        site
    }

    fn haproxy(&self, binary: &Path, name: &str, front: u16) -> Running {
        let mut command = Command::new(binary);
        command.args(["-db", "-L", name, "-f"]).arg(self.folder.join(format!("{name}.cfg")));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let running = Running(child);
        until("HAProxy answers", || std::net::TcpStream::connect(("127.0.0.1", front)).is_ok());
        running
    }

    /// Starts a controller, in the mode that the command line says, and waits until it is at work.
    pub(super) fn run_control(&mut self, n: usize) {
        self.start_control(n);
        self.until_in_control(n);
    }

    pub(super) fn start_control(&mut self, n: usize) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-control"));
        command.args(["run", "--config", &settings_file(n), "--mode", self.mode]).current_dir(&*self.folder);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.controls[n] = Some(Running(child));
    }

    fn until_in_control(&self, n: usize) {
        self.until("all servers take rooms", |site| {
            let status = site.status_of(n);
            let servers = status["servers"]
                .as_array()
                .map_or(0, |servers| servers.iter().filter(|server| server["takes_rooms"] == true).count());
            servers == SERVERS && status["unready"].is_null()
        });
        if self.mode == "peers" {
            self.until_peers(n);
        }
        if self.mode == "spoe" {
            self.until_agent("2");
        }
    }

    /// All that a controller knows are connected to it.
    pub(super) fn until_peers(&self, n: usize) {
        self.until("peers are connected", |site| {
            let peers = site.status_of(n)["peers"]["peers"].clone();
            peers.as_array().is_some_and(|peers| peers.iter().all(|peer| peer["connected"] == true))
        });
    }

    /// HAProxy holds the agent that it asks for up (2) or down (0).
    pub(super) fn until_agent(&self, state: &str) {
        self.until(&format!("HAProxy holds the agent for {state}"), |site| {
            let servers = site.order(1, "show servers state placement-agents");
            servers
                .lines()
                .any(|line| line.split(' ').nth(3) == Some("control1") && line.split(' ').nth(5) == Some(state))
        });
    }

    /// Killed, with nothing said to it.
    pub(super) fn kill_control(&mut self, n: usize) {
        if let Some(mut control) = self.controls[n].take() {
            control.0.kill().unwrap();
            control.0.wait().unwrap();
        }
    }

    /// A signal to a controller: `-HUP`, `-STOP`, `-CONT`.
    pub(super) fn signal(&self, n: usize, name: &str) {
        self.controls[n].as_ref().unwrap().signal(name);
    }

    /// What all controllers have logged.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub(super) fn run(&self, args: &[&str]) -> Ran {
        run_in(&self.folder, args, "")
    }

    pub(super) fn done(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.out
    }

    /// A command to a controller.
    pub(super) fn ask_of(&self, n: usize, args: &[&str]) -> Ran {
        let api = format!("127.0.0.1:{}", self.apis[n]);
        let named = self.several && !args.contains(&"--backend");
        let backend: &[&str] = if named { &["--backend", "rooms"] } else { &[] };
        self.run(&[args, &["--api", &api], backend].concat())
    }

    /// A command to the first controller.
    pub(super) fn ask(&self, args: &[&str]) -> Ran {
        self.ask_of(0, args)
    }

    pub(super) fn json_of(&self, n: usize, args: &[&str]) -> Value {
        let ran = self.ask_of(n, &[args, &["-o", "json"]].concat());
        serde_json::from_str(&ran.out).unwrap_or(Value::Null)
    }

    pub(super) fn json(&self, args: &[&str]) -> Value {
        self.json_of(0, args)
    }

    pub(super) fn status_of(&self, n: usize) -> Value {
        self.json_of(n, &["status"])
    }

    pub(super) fn status(&self) -> Value {
        self.status_of(0)
    }

    pub(super) fn server(&self, name: &str) -> Value {
        let status = self.status();
        let servers = status["servers"].as_array().cloned().unwrap_or_default();
        servers.into_iter().find(|server| server["name"] == name).unwrap_or_default()
    }

    pub(super) fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !so(self) {
            let late = std::time::Instant::now() >= end;
            assert!(!late, "{what}: not within 60 s\n{:#}\n{}", self.status(), self.log());
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
    }

    pub(super) fn order(&self, haproxy: usize, words: &str) -> String {
        order(&mut UnixStream::connect(self.folder.join(format!("lb{haproxy}.sock"))).unwrap(), words)
    }

    pub(super) fn home(&self, haproxy: usize, room: &str) -> String {
        ask_room(self.fronts[haproxy - 1], room)
    }

    pub(super) fn homes(&self, haproxy: usize, rooms: &[String]) -> BTreeMap<String, String> {
        rooms.iter().map(|room| (room.clone(), self.home(haproxy, room))).collect()
    }

    /// How many entries of the first HAProxy's table lead to a server.
    pub(super) fn entries(&self, server: &str) -> usize {
        let table = self.order(1, "show table rooms");
        table.lines().filter(|line| line.split(' ').any(|word| word == format!("server_key={server}"))).count()
    }

    pub(super) fn done_ask(&self, args: &[&str]) {
        let ran = self.ask(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
    }
}

/// The settings of a controller.
pub(super) fn settings_file(n: usize) -> String {
    format!("control{}.toml", n + 1)
}
