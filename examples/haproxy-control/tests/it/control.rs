//! `run` and the commands beside it, on a real HAProxy with a master.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use real_servers::free_port;

use crate::{Folder, Ran, haproxy, run_in};

/// A child process, ended in good order when dropped.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn signal(&self, name: &str) {
        Command::new("kill").arg(name).arg(self.0.id().to_string()).status().unwrap();
    }

    pub(crate) fn end(&mut self) -> Option<i32> {
        self.signal("-TERM");
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            if let Ok(Some(status)) = self.0.try_wait() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// A room server that says its name.
pub(crate) fn room_server(name: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{name}", name.len());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < end, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What an order to a HAProxy is answered.
pub(crate) fn order(socket: &mut UnixStream, words: &str) -> String {
    socket.write_all(format!("{words}\n").as_bytes()).unwrap();
    let mut out = String::new();
    socket.read_to_string(&mut out).unwrap();
    out
}

/// What a GET on this host is answered.
pub(crate) fn get(port: u16, target: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The server on which a room is, by the last words of its answer.
pub(crate) fn ask_room(front: u16, room: &str) -> String {
    let answer = get(front, &format!("/socket.io/?roomId={room}"));
    answer.rsplit("\r\n").next().unwrap_or_default().to_owned()
}

struct Scene {
    folder: Folder,
    ports: Vec<u16>,
    front: u16,
    peer: u16,
}

impl Scene {
    /// A cluster of the first servers, with lines more.
    fn cluster(&self, servers: usize, more: &str) -> String {
        let at = self.folder.display();
        let mut text = format!("pins = \"{at}/pins.map\"\n");
        let (top, tables) = more.split_once("---").unwrap_or(("", more));
        text.push_str(&format!("{top}\n[[listen]]\nport = {}\nhost = \"127.0.0.1\"\n", self.front));
        for (port, n) in self.ports.iter().zip(1..=servers) {
            text.push_str(&format!("[[server]]\nname = \"mm{n}\"\nhost = \"127.0.0.1\"\nport = {port}\nid = {n}\n"));
        }
        text.push_str(&format!(
            "[peers]\nlocal = \"lb1\"\n[[peers.member]]\nname = \"lb1\"\nhost = \"127.0.0.1\"\nport = {}\n",
            self.peer
        ));
        text.push_str(&format!("[global]\nsocket = \"{at}/admin.sock\"\n{tables}\n"));
        if !tables.contains("[extra]") {
            text.push_str("[extra]\n");
        }
        text.push_str(&format!("global = [\"server-state-file {at}/state\", \"hard-stop-after 10s\"]\n"));
        text.push_str("defaults = [\"load-server-state-from-file global\"]\n");
        text
    }

    fn put(&self, servers: usize, more: &str) {
        self.folder.put("cluster.toml", self.cluster(servers, more));
    }

    fn run(&self, args: &[&str]) -> Ran {
        run_in(&self.folder, args, "")
    }

    fn done(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.out
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.done(&[args, &["-o", "json"]].concat())).unwrap()
    }

    fn home(&self, room: &str) -> String {
        ask_room(self.front, room)
    }

    fn homes(&self) -> BTreeMap<String, String> {
        (0..30).map(|n| format!("class{n}")).map(|room| (room.clone(), self.home(&room))).collect()
    }

    fn metrics(&self, api: u16) -> String {
        get(api, "/metrics")
    }

    /// The control loop, with the settings in the folder.
    fn control(&self) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-control"));
        command.args(["run", "--config", "control.toml"]).current_dir(&*self.folder).stderr(Stdio::null());
        command.env("NOTIFY_SOCKET", self.folder.join("notify")).env("WATCHDOG_USEC", "200000");
        Running(command.spawn().unwrap())
    }

    fn order(&self, words: &str) -> String {
        order(&mut UnixStream::connect(self.folder.join("admin.sock")).unwrap(), words)
    }
}

fn start(binary: &Path, scene: &Scene) -> Running {
    let at = scene.folder.display();
    let mut command = Command::new(binary);
    command.args(["-W", "-S", &format!("{at}/master.sock,level,admin"), "-f", &format!("{at}/haproxy.cfg")]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let running = Running(child);
    until("HAProxy answers", || TcpStream::connect(("127.0.0.1", scene.front)).is_ok());
    running
}

#[test]
fn a_cluster_is_driven_from_the_command_line() {
    let Some(binary) = haproxy() else { return };
    let ports = (1..=5).map(|n| room_server(&format!("mm{n}"))).collect();
    let scene = Scene { folder: Folder::new("haproxy-control"), ports, front: free_port(), peer: free_port() };
    let (at, api) = (scene.folder.display().to_string(), free_port());
    scene.folder.put("pins.map", "");
    scene.folder.put("state", "");
    scene.put(3, "");
    scene.done(&["render", "edumeet", "cluster.toml", "--out", "haproxy.cfg"]);
    let haproxy = start(&binary, &scene);
    let settings = format!(
        "[[haproxy]]\nname = \"lb1\"\nruntime = \"{at}/admin.sock\"\nmaster = \"{at}/master.sock\"\n\
         config = \"{at}/haproxy.cfg\"\nstate_file = \"{at}/state\"\nprogram = \"{}\"\n\
         [rooms]\nbackend = \"rooms\"\nwith = [\"pages\"]\nmap = \"{at}/pins.map\"\n\
         [store]\nurl = \"file:{at}/kept/rooms.redb\"\n\
         [probe]\nkind = \"http\"\ninter = \"50ms\"\nrise = 1\ntimeout = \"10s\"\n\
         [loop]\nevery = \"50ms\"\nlearn = \"50ms\"\nresync = \"1s\"\n\
         [http]\nlisten = \"127.0.0.1:{api}\"\ntoken = \"sesame\"\n\
         [apply]\nkind = \"edumeet\"\nwanted = \"{at}/cluster.toml\"\n",
        binary.display()
    );
    scene.folder.put("control.toml", settings);
    let none = scene.run(&["status", "--config", "control.toml"]);
    assert!(none.code == 1 && none.err.contains("no controller answers"), "{none:?}");
    let manager = UnixDatagram::bind(scene.folder.join("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut control = scene.control();
    for words in ["READY=1\nSTATUS=driving 1 HAProxy", "WATCHDOG=1"] {
        let mut heard = [0; 256];
        let count = manager.recv(&mut heard).unwrap();
        assert_eq!(String::from_utf8_lossy(&heard[..count]), words);
    }
    let here = ["--config", "control.toml"];
    let with = |args: &[&'static str]| [args, &here].concat();
    until("it answers", || scene.run(&with(&["status"])).code == 0);
    let homes = scene.homes();
    until("all rooms are known", || scene.json(&with(&["status"]))["rooms"] == 30);
    let status = scene.done(&with(&["status"]));
    assert!(status.contains("mm1") && status.contains("30 rooms, 0 on two servers") && status.contains("store up"));
    let explained = scene.done(&with(&["explain", "class1"]));
    assert!(explained.starts_with(&format!("class1 is on {}: its first people came here", homes["class1"])));
    assert!(scene.done(&with(&["splits"])).starts_with("0 rooms on two servers"));

    // A room on two servers, by the table.
    let other = if homes["class1"] == "mm1" { 2 } else { 1 };
    scene.order("clear table rooms key class1");
    scene.order(&format!("set table rooms key class1 data.server_id {other}"));
    let found = scene.run(&with(&["splits"]));
    assert!(found.code == 1 && found.out.contains("class1") && found.out.contains("table of lb1"), "{found:?}");
    scene.home("class1");

    // Scaled out, at run time.
    scene.put(5, "");
    let apply = with(&["apply"]);
    let file = scene.folder.get("haproxy.cfg");
    let shown = scene.done(&[&apply[..], &["--dry-run"]].concat());
    assert!(shown.contains("add server rooms/mm5") && shown.contains("0 rooms would move"), "{shown}");
    assert_eq!(scene.folder.get("haproxy.cfg"), file);
    assert!(scene.done(&apply).starts_with("OK lb1: "));
    assert!(scene.folder.get("haproxy.cfg").contains("server mm5"));
    assert_eq!(scene.done(&apply), "OK nothing is to be done\n");
    until("they are known", || scene.json(&with(&["status"]))["servers"].as_array().unwrap().len() == 5);
    assert_eq!(scene.homes(), homes);

    // What cannot be replaces nothing.
    let good = scene.folder.get("haproxy.cfg");
    scene.put(4, "[extra]\nfrontend = [\"blance roundrobin\"]");
    for bad in [scene.cluster(4, "[extra]\nfrontend = [\"blance roundrobin\"]"), "[[listen]]\nprot = 1\n".to_owned()] {
        scene.folder.put("cluster.toml", bad);
        let refused = scene.run(&apply);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert_eq!((scene.folder.get("haproxy.cfg"), scene.homes()), (good.clone(), homes.clone()));
    }

    // Scaled in: not while rooms are in use, unless they may move.
    scene.put(2, "");
    let refused = scene.run(&apply);
    assert!(refused.code == 3 && refused.err.contains("in use on mm3"), "{refused:?}");
    let shown = scene.json(&[&apply[..], &["--dry-run"]].concat());
    let theirs = homes.values().filter(|home| *home == "mm3").count();
    assert_eq!(shown["moves"].as_array().unwrap().len(), theirs);
    scene.done(&[&apply[..], &["--move-rooms"]].concat());
    let moved = scene.homes();
    for (room, home) in &moved {
        assert!(home == "mm1" || home == "mm2", "{room} is on {home}");
        assert!(*home == homes[room] || homes[room] == "mm3", "{room} was not on a server that left");
    }
    assert!(!scene.order("show servers state rooms").contains("mm3"));

    // One reload, where commands do not do; rooms stay.
    scene.put(2, "[timeouts]\nclient = 20");
    let shown = scene.done(&[&apply[..], &["--dry-run"]].concat());
    assert!(shown.contains("one reload: new: timeout client 20s") && !shown.contains("nothing"), "{shown}");
    assert!(scene.done(&apply).contains("reloaded"));
    assert_eq!(scene.homes(), moved);

    // Other settings are read at work: nothing moves, and all is known.
    let settings = scene.folder.get("control.toml").replace("resync = \"1s\"", "resync = \"2s\"");
    scene.folder.put("control.toml", settings);
    let learned = |scene: &Scene| scene.metrics(api).contains("outcome=\"moved\"");
    until("moves are counted", || learned(&scene));
    control.signal("-HUP");
    until("it has begun anew", || !learned(&scene));
    until("it knows all rooms", || scene.json(&with(&["status"]))["rooms"] == 30);
    assert_eq!(scene.homes(), moved);

    // A drain that does not end in time names what is left.
    let drain = with(&["drain", "mm2", "--wait", "--deadline", "600ms"]);
    let late = scene.run(&drain);
    let left = moved.iter().find(|(_, home)| *home == "mm2").unwrap().0;
    assert!(late.code == 5 && late.out.contains(left.as_str()), "{late:?}");
    let shown = scene.done(&with(&["uncordon", "mm2", "--dry-run"]));
    assert!(shown.starts_with("mm2 would take new rooms again"), "{shown}");
    assert_eq!(scene.done(&with(&["uncordon", "mm2"])), "OK mm2 ready\n");
    until("it is under no order", || scene.json(&with(&["status"]))["servers"][1]["order"].is_null());
    for order in [&["maint", "mm2"][..], &["drain", "mm2", "--move-rooms"]] {
        let shown = scene.done(&with(&[order, &["--dry-run"]].concat()));
        let theirs = moved.values().filter(|home| *home == "mm2").count();
        assert!(shown.contains(&format!("room {left}: mm2 -> mm1\n")), "{shown}");
        assert!(shown.ends_with(&format!("{theirs} rooms would move\nmm2 would then take nothing\n")), "{shown}");
    }
    for order in ["drain", "cordon"] {
        assert!(scene.done(&with(&[order, "mm2", "--dry-run"])).starts_with("mm2 would take no new rooms and keep"));
    }
    assert!(scene.json(&with(&["status"]))["servers"][1]["order"].is_null(), "nothing was ordered");
    scene.done(&with(&["drain", "mm2", "--move-rooms", "--wait", "--deadline", "60s"]));
    assert!(scene.homes().values().all(|home| home == "mm1"));
    until("it is out", || scene.order("show servers state rooms").contains(" mm2 127.0.0.1 0 1"));
    scene.done(&with(&["uncordon", "mm2"]));
    until("it is back", || {
        let status = scene.json(&with(&["status"]));
        status["servers"].as_array().unwrap().iter().all(|server| server["takes_rooms"] == true)
    });
    assert!(scene.homes().values().all(|home| home == "mm1"), "nothing returns");

    // Somebody else's maintenance is not ours to end; nobody without the token orders anything.
    scene.order("set server rooms/mm2 state maint");
    until("it is seen", || scene.json(&with(&["status"]))["servers"][1]["verdict"] == "out");
    assert_eq!(scene.run(&with(&["uncordon", "mm2"])).code, 3);
    let kept = scene.done(&[&apply[..], &["--dry-run"]].concat());
    assert!(kept.contains("nothing is to be done") && kept.contains("kept rooms/mm2: somebody else"), "{kept}");
    // Nor by `apply`, where we drain it as well.
    let mm2 = |what: &str| scene.json(&with(&["status"]))["servers"][1][what].clone();
    scene.done(&with(&["cordon", "mm2"]));
    until("the order is known", || mm2("order") == "drain");
    let kept = scene.done(&[&apply[..], &["--dry-run"]].concat());
    assert!(kept.contains("nothing is to be done") && kept.contains("kept rooms/mm2: somebody else"), "{kept}");
    scene.order("set server rooms/mm2 state ready");
    until("it is up", || mm2("verdict") == "up");
    scene.done(&with(&["uncordon", "mm2"]));
    until("the order is ended", || mm2("takes_rooms") == true);
    scene.order("set server rooms/mm2 state maint");
    until("it is seen", || mm2("verdict") == "out");
    let unknown = scene.run(&with(&["cordon", "mm9"]));
    assert!(unknown.code == 2 && unknown.err.contains("mm1"), "{unknown:?}");
    let stranger = scene.run(&["cordon", "mm1", "--api", &format!("127.0.0.1:{api}")]);
    assert!(stranger.code == 1 && stranger.err.contains("http.token"), "{stranger:?}");

    // What fails leaves no order behind: rooms of mm1 have nowhere to go.
    let only = scene.cluster(2, "[timeouts]\nclient = 20");
    let (first, second) = (only.find("[[server]]").unwrap(), only.rfind("[[server]]").unwrap());
    scene.folder.put("cluster.toml", format!("{}{}", &only[..first], &only[second..]));
    let good = scene.folder.get("haproxy.cfg");
    let stuck = scene.run(&[&apply[..], &["--move-rooms", "--deadline", "600ms"]].concat());
    assert!(stuck.code == 5 && stuck.err.contains("did not leave mm1"), "{stuck:?}");
    until("it takes rooms again", || {
        let mm1 = scene.json(&with(&["status"]))["servers"][0].clone();
        mm1["order"].is_null() && mm1["takes_rooms"] == true
    });
    assert_eq!(scene.folder.get("haproxy.cfg"), good);
    assert!(scene.homes().values().all(|home| home == "mm1"));
    assert_eq!(control.end(), Some(0));
    assert_eq!(scene.home("class1"), "mm1", "pins stay in force");

    // All that HAProxy knew is lost, its file of pins too: the store has it.
    drop(haproxy);
    scene.folder.put("pins.map", "").put("state", "");
    let _haproxy = start(&binary, &scene);
    let mut control = scene.control();
    until("all pins are back", || scene.order(&format!("show map {at}/pins.map")).lines().count() == moved.len() + 1);
    assert!(scene.homes().values().all(|home| home == "mm1"), "where they were, not where a hash would have them");
    for line in [
        "balancer_probes_total{backend=\"mm1\",result=\"ok\"} ",
        "balancer_probe_duration_seconds_count ",
        "balancer_decision_duration_seconds_bucket{le=\"+Inf\"} ",
        "# TYPE balancer_backend_capacity_ratio gauge",
        "balancer_store_up 1",
    ] {
        until("it is counted", || scene.metrics(api).lines().any(|told| told.starts_with(line)));
    }
    until("its probe is known", || scene.json(&with(&["status"]))["servers"][0]["probe"] == "up");
    assert_eq!(control.end(), Some(0));
}

#[test]
fn a_controller_whose_haproxy_is_away_says_so_and_lets_nothing_pass_for_done() {
    let (folder, api) = (Folder::new("haproxy-control"), free_port());
    let at = folder.display();
    let settings = format!(
        "[[haproxy]]\nname = \"lb1\"\nruntime = \"{at}/admin.sock\"\n[rooms]\nbackend = \"rooms\"\n\
         map = \"{at}/pins.map\"\n[loop]\nevery = \"50ms\"\n[http]\nlisten = \"127.0.0.1:{api}\"\n"
    );
    folder.put("control.toml", settings);
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-control"));
        command.args(["run", "--config", "control.toml"]).current_dir(&*folder);
        command
    };
    let mut control = Running(start().stderr(Stdio::null()).spawn().unwrap());
    let run = |args: &[&str]| run_in(&folder, &[args, &["--config", "control.toml"]].concat(), "");
    until("it has looked", || run(&["status"]).out.contains("is HAProxy running"));
    for order in [&["drain", "mm1", "--wait"][..], &["cordon", "mm1"], &["maint", "mm1"], &["uncordon", "mm1"]] {
        let ran = run(order);
        assert!(ran.code == 1 && ran.err.contains("no server is known yet"), "{ran:?}");
    }
    let splits = run(&["splits"]);
    assert!(splits.code == 4 && splits.out.contains("not asked: lb1: cannot connect"), "{splits:?}");
    // A second one finds the place taken.
    let second = start().output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.code() == Some(1) && said.contains("cannot be listened at"), "{said}");
    assert_eq!(control.end(), Some(0));
}

#[test]
fn settings_are_read_again_and_bad_ones_stay_out() {
    let (folder, ports) = (Folder::new("haproxy-control"), [free_port(), free_port()]);
    let at = folder.display();
    let settings = |listen: u16, more: &str| {
        format!(
            "[[haproxy]]\nname = \"lb1\"\nruntime = \"{at}/admin.sock\"\n{more}[rooms]\nbackend = \"rooms\"\n\
             map = \"{at}/pins.map\"\n[loop]\nevery = \"50ms\"\n[http]\nlisten = \"127.0.0.1:{listen}\"\n"
        )
    };
    folder.put("control.toml", settings(ports[0], ""));
    let manager = UnixDatagram::bind(folder.join("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let hear = || {
        let mut heard = [0; 256];
        let count = manager.recv(&mut heard).unwrap();
        String::from_utf8_lossy(&heard[..count]).into_owned()
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-control"));
    command.args(["run", "--config", "control.toml"]).current_dir(&*folder).stderr(Stdio::null());
    let mut control = Running(command.env("NOTIFY_SOCKET", folder.join("notify")).spawn().unwrap());
    assert_eq!(hear(), "READY=1\nSTATUS=driving 1 HAProxy");
    let reload = |text: String, told: &str| {
        folder.put("control.toml", text);
        control.signal("-HUP");
        assert!(hear().starts_with("RELOADING=1"));
        assert_eq!(hear(), format!("READY=1\nSTATUS=driving {told}"));
    };
    let asked = |port: u16| run_in(&folder, &["status", "-o", "json", "--api", &format!("127.0.0.1:{port}")], "");
    let two = "[[haproxy]]\nname = \"lb2\"\nruntime = \"/nowhere\"\n";
    for bad in ["", "[[haproxy", "[rooms]\n"] {
        reload(bad.to_owned(), "1 HAProxy; new settings were refused");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    reload(settings(taken.local_addr().unwrap().port(), two), "1 HAProxy; new settings were refused");
    reload(settings(ports[0], ""), "1 HAProxy");
    assert_eq!(asked(ports[0]).code, 0);
    // The same address, then another one.
    reload(settings(ports[0], two), "2 HAProxys");
    assert!(asked(ports[0]).out.contains("lb2"));
    reload(settings(ports[1], ""), "1 HAProxy");
    assert!(asked(ports[1]).code == 0 && !asked(ports[1]).out.contains("lb2"));
    assert_eq!(asked(ports[0]).code, 1);
    // A store that does not answer is none that knows nobody.
    let away = format!("[store]\nurl = \"redis://127.0.0.1:{}\"\n", ports[0]);
    reload(settings(ports[1], &away), "1 HAProxy");
    let here = |args: &[&str]| run_in(&folder, &[args, &["--config", "control.toml"]].concat(), "");
    let explained = here(&["explain", "algebra"]);
    assert!(
        explained.out.starts_with("nobody can say where algebra is: nothing is remembered; the store was not asked")
    );
    let splits = here(&["splits"]);
    assert!(splits.code == 4 && splits.out.contains("not asked: store: "), "{splits:?}");
    assert!(here(&["status"]).out.contains("nothing is in control: no HAProxy answers"));
    assert_eq!(control.end(), Some(0));
}
