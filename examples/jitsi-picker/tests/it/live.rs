//! The demonstration on a real Prosody, and the other commands beside it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use crate::served::PATIENCE;
use crate::{Folder, command, run};

/// Whether there is a Prosody. Under `CI=true` it must be there; elsewhere its absence is said.
fn prosody() -> bool {
    let there = Command::new("prosodyctl").arg("about").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "prosody is not installed");
        eprintln!("skipped: prosody is not installed");
    }
    there
}

/// The demonstration, kept; told to end when dropped.
struct Kept(Child);

impl Kept {
    /// Waits until the morning is over; gives the variables it says.
    fn start() -> (Self, Vec<(String, String)>) {
        let mut child = command(&["demo", "--fast", "--keep"], &[]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let kept = Self(child);
        let mut variables = Vec::new();
        for line in lines.map_while(Result::ok) {
            let words = line.split_whitespace().filter_map(|word| word.split_once('='));
            let ours = words.filter(|(name, _)| name.starts_with("JITSI_PICKER_"));
            variables.extend(ours.map(|(name, value)| (name.to_owned(), value.to_owned())));
            if variables.len() == 4 {
                return (kept, variables);
            }
        }
        panic!("the demonstration ended early");
    }

    /// Ends it as Ctrl-C does; gives the exit code.
    fn end(mut self) -> Option<i32> {
        let told = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().unwrap();
        assert!(told.success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // SIGTERM, so that it ends its Prosody.
            let _ = Command::new("kill").arg(self.0.id().to_string()).status();
            let _ = self.0.wait();
        }
    }
}

#[test]
fn the_demonstration_holds_what_it_promises() {
    if !prosody() {
        return;
    }
    let ran = run(&["demo", "--fast"], &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for want in [
        "8 pretended bridges are in",
        " dies with ",
        "is gone without having said so",
        "people of",
        " is drained, with ",
        "-> drain",
        "BRIDGE   STATE",
        "from death to removal ",
        "placed on a bridge known to be gone or draining: 0",
        "done: nobody was placed",
    ] {
        assert!(ran.out.contains(want), "{want} in {}", ran.out);
    }
    assert!(!ran.out.contains("not seen"), "{}", ran.out);
}

#[test]
fn a_live_brewery_is_watched_ranked_and_chosen_from() {
    if !prosody() {
        return;
    }
    let (kept, variables) = Kept::start();
    let env: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();

    let ran = run(&["rank", "-o", "json"], &env);
    assert_eq!(ran.code, 0, "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let bridges = json["bridges"].as_array().unwrap();
    assert_eq!(bridges.len(), 7, "one is dead");
    assert_eq!(bridges.iter().filter(|it| it["state"] == "drain").count(), 1, "one drains");

    let args = ["select", "--conference", "algebra", "--region", "us", "--octo", "--strategy", "RegionBased"];
    let ran = run(&[&args[..], &["-o", "json"]].concat(), &env);
    assert_eq!(ran.code, 0, "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let chosen = bridges.iter().find(|it| it["bridge"] == json["bridge"]).unwrap();
    assert_eq!((&chosen["region"], &chosen["state"]), (&"us".into(), &"ready".into()));

    let ran = run(&["watch", "--for", "2", "--every", "1", "-o", "json"], &env);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<serde_json::Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |kind: &str| lines.iter().filter(|line| line["event"] == kind).count();
    assert_eq!((count("joined"), count("connected")), (7, 1), "{ran:?}");
    let tables: Vec<_> = lines.iter().filter(|line| line["type"] == "bridges").collect();
    assert!(tables.len() >= 2 && tables.iter().all(|table| table["bridges"].as_array().unwrap().len() == 7));
    let ran = run(&["watch", "--for", "1"], &env);
    assert!(ran.out.contains("7 bridges\nBRIDGE   STATE"), "{ran:?}");

    by_a_bridges_file(&env);
    promised(&env);
    logged(&env);
    advised(&env);
    served(&env);
    cut_off(&env);

    let wrong: Vec<_> = env.iter().copied().filter(|(name, _)| !name.ends_with("_FILE")).collect();
    let ran = run(&["rank"], &[&wrong[..], &[("JITSI_PICKER_PASSWORD", "geheim")]].concat());
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("not-authorized") && !ran.err.contains("geheim"), "{ran:?}");
    assert_eq!(kept.end(), Some(0), "ending what was kept is no failure");
}

/// The login that a bridge has is enough, whichever form its file has.
fn by_a_bridges_file(env: &[(&str, &str)]) {
    let value = |name: &str| env.iter().find(|(known, _)| known.ends_with(name)).unwrap().1;
    let (host, port) = value("_SERVER").rsplit_once(':').unwrap();
    let (user, domain) = value("_ACCOUNT").split_once('@').unwrap();
    let password = std::fs::read_to_string(value("_PASSWORD_FILE")).unwrap();
    let (room, password) = (value("_ROOM").to_uppercase(), password.trim_end());
    let folder = Folder::new("live-login");
    let parts = [
        ("HOSTNAME", host),
        ("PORT", port),
        ("DOMAIN", domain),
        ("USERNAME", user),
        ("PASSWORD", password),
        ("MUC_JIDS", &room),
    ];
    let old: String =
        parts.map(|(part, value)| format!("org.jitsi.videobridge.xmpp.user.shard.{part}={value} ")).concat();
    let new: String = parts.map(|(part, value)| format!("{} = \"{value}\"\n", part.to_lowercase())).concat();
    let new = format!("videobridge.apis.xmpp-client.configs {{ shard {{\n{new}}} }}\n");
    for file in [folder.write("sip-communicator.properties", &old), folder.write("jvb.conf", &new)] {
        let ran = run(&["rank", "--bridge-file", &file, "-o", "json"], &[]);
        assert!(ran.code == 0 && ran.out.matches("\"jid\"").count() == 7, "{ran:?}");
    }
    let wrong = folder.write("jvb.conf", &new.replace(password, "geheim"));
    let ran = run(&["rank", "--bridge-file", &wrong], &[]);
    assert!(ran.code == 1 && ran.err.contains("not-authorized") && !ran.err.contains("geheim"), "{ran:?}");
    let empty = folder.write("jvb.conf", "");
    assert!(run(&["rank", "--bridge-file", &empty], &[]).err.contains("has no login of a bridge"));
    assert_eq!(run(&["rank", "--bridge-file", &folder.write("config", "")], &[]).code, 2);
}

/// Every command of the page that says what takes the place of reading the log.
fn promised(env: &[(&str, &str)]) {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let (_, page) = readme.split_once("\n## Jitsi: three commands").unwrap();
    let page = page.split("\n## ").next().unwrap();
    let folder = Folder::new("live-page");
    let files = [
        ("/var/log/jitsi/jicofo.log", folder.write("jicofo.log", "")),
        ("/etc/jitsi/videobridge", folder.write("jvb/config", "JVB_SECRET=x\n")),
        ("/etc/jitsi/jicofo", folder.write("jicofo.conf", "jicofo.octo.enabled = true\n")),
        ("/etc/prosody/prosody.cfg.lua", folder.write("prosody.cfg.lua", "VirtualHost 'x.example'\n")),
        ("/usr/local/bin/bridges", "/bin/true".to_owned()),
        ("day.jsonl", folder.at("day.jsonl")),
    ];
    let place = |word: &str| files.iter().find(|(name, _)| *name == word).map_or(word.to_owned(), |(_, at)| at.clone());
    let mut count = 0;
    for text in page.split('`').filter_map(|span| span.strip_prefix("jp ")) {
        let (text, target) = text.split_once(" > ").unwrap_or((text, ""));
        let mut args: Vec<String> = text.split_whitespace().map(place).collect();
        // Some are named only.
        let [command, _, ..] = args.as_slice() else { continue };
        if command == "watch" || args.iter().any(|arg| arg == "--watch") {
            args.extend(["--for", "1"].map(str::to_owned));
        }
        let ran = run(&args.iter().map(String::as_str).collect::<Vec<_>>(), env);
        assert_eq!(ran.code, 0, "{args:?} {ran:?}");
        if !target.is_empty() {
            std::fs::write(place(target), &ran.out).unwrap();
        }
        count += 1;
    }
    println!("{count} commands of the page carried out");
    assert!(count >= 6, "{count}");
}

/// The log stands among the events of the brewery; what it told before is old news.
fn logged(env: &[(&str, &str)]) {
    let folder = Folder::new("live-log");
    let line =
        |nick: &str| format!("Jicofo 2026-08-20 09:00:01.001 INFO: [7] A.b#1: Added brewery instance: b@x/{nick}\n");
    let path = folder.write("jicofo.log", &line("old"));
    let mut child = command(&["watch", "--log", &path, "-o", "json"], env).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let watch = Kept(child);
    let mut written = false;
    for line_of_json in lines.map_while(Result::ok) {
        let value: serde_json::Value = serde_json::from_str(&line_of_json).unwrap();
        // The table says that all is under way.
        if value["type"] == "bridges" && !std::mem::replace(&mut written, true) {
            let mut log = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
            log.write_all(line("new").as_bytes()).unwrap();
        }
        if value["event"] == "log" {
            assert_eq!((written, &value["bridge"]), (true, &"new".into()), "{value}");
            break;
        }
    }
    assert_eq!(watch.end(), Some(0));
}

/// Seven bridges for a few people are too many; the command is run once for the same advice.
fn advised(env: &[(&str, &str)]) {
    let folder = Folder::new("live-advise");
    let out = folder.at("out");
    let args = ["advise", "--watch", "--for", "3", "--every", "1", "--hold", "0", "--spare", "0", "-o", "json"];
    let hook = ["--shell", "--exec", "echo \"$ADVICE_DRAIN$ADVICE_STOP\" >> \"$OUT\""];
    let ran = run(&[&args[..], &hook].concat(), &[env, &[("OUT", &*out)]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<serde_json::Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let advice: Vec<_> = lines.iter().filter(|line| line["type"] == "advice").collect();
    assert!(!advice.is_empty() && advice.iter().all(|it| it["ours"]["usable"] == 6), "one of seven drains: {ran:?}");
    assert_eq!(advice[0]["ours"]["reason"], "surplus", "{ran:?}");
    let calls = lines.iter().filter(|line| line["type"] == "command").collect::<Vec<_>>();
    assert!(!calls.is_empty() && calls.len() <= advice.len() && calls.iter().all(|it| it["code"] == 0), "{ran:?}");
    assert!(std::fs::read_to_string(&out).unwrap().lines().next().unwrap().starts_with("jvb"));
}

/// Asks once over HTTP: the status line and what follows the head.
fn ask(address: &str, method: &str, target: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

fn served(env: &[(&str, &str)]) {
    let args = ["serve", "--bind", "127.0.0.1:0", "--octo", "--strategy", "RegionBased"];
    let mut child = command(&args, env).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening at http://").unwrap().to_owned();
    let errors = BufReader::new(child.stderr.take().unwrap());
    let server = Kept(child);
    let mut lines = errors.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("<6>connected")), "it gets into the room");
    // Whoever logs must be read.
    let reader = std::thread::spawn(move || lines.collect::<Vec<_>>());

    assert!(ask(&address, "GET", "/livez").0.contains(" 200 "));
    assert_eq!(ask(&address, "GET", "/readyz"), ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let asked = json(&ask(&address, "GET", "/pick?conference=algebra&region=us").1);
    let placed = json(&ask(&address, "POST", "/pick?conference=algebra&region=us").1);
    assert_eq!((&asked["placed"], &placed["placed"], &placed["region"]), (&false.into(), &true.into(), &"us".into()));
    let metrics = ask(&address, "GET", "/metrics").1;
    for want in [
        "balancer_brewery_up 1\n",
        "balancer_backends{pool=\"jvb\",state=\"drain\"} 1\n",
        "balancer_rooms 1\n",
        "balancer_decisions_total{pool=\"jvb\",outcome=\"placed\",reason=\"",
        "balancer_decision_duration_seconds_count 1\n",
    ] {
        assert!(metrics.contains(want), "{want} in {metrics}");
    }
    let bridge = placed["bridge"].as_str().unwrap();
    let leave = format!("/leave?conference=algebra&bridge={bridge}");
    assert!(ask(&address, "POST", &leave).0.contains(" 200 ") && ask(&address, "POST", &leave).0.contains(" 404 "));
    for (method, target, status) in [
        ("POST", "/pick?region=eu", " 400 "),
        ("POST", "/end?conference=algebra", " 404 "),
        ("DELETE", "/pick", " 405 "),
        ("GET", "/leave?conference=a&bridge=b", " 405 "),
        ("GET", "/nothing", " 404 "),
        ("GET", "/bridges", " 200 "),
        ("GET", "/", " 200 "),
    ] {
        assert!(ask(&address, method, target).0.contains(status), "{method} {target}");
    }
    let long = format!("/pick?conference={}", "a".repeat(2000));
    assert!(ask(&address, "POST", &long).0.contains(" 400 "));
    // An idle connection does not hold up the end.
    let idle = TcpStream::connect(&address).unwrap();
    assert_eq!(server.end(), Some(0));
    drop(idle);
    assert!(reader.join().unwrap().iter().any(|line| line.starts_with("stopping")));
}

/// Passes connections on to a server, and hands over both ends of each so that they can be cut.
fn proxy(server: String) -> (String, mpsc::Receiver<[TcpStream; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, connections) = mpsc::channel();
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(&server) else { return };
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
            if tell.send([near, far]).is_err() {
                return;
            }
        }
    });
    (address, connections)
}

/// Our own connection is cut: that is told, no bridge is lost, and the watch comes back by itself.
fn cut_off(env: &[(&str, &str)]) {
    let server = env.iter().find(|(name, _)| name.ends_with("_SERVER")).unwrap().1;
    let (address, connections) = proxy(server.to_owned());
    let mut child =
        command(&["watch", "--server", &address, "-o", "json"], env).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let watch = Kept(child);
    let mut seen = Vec::new();
    for line in lines.map_while(Result::ok) {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        if line["type"] == "bridges" {
            assert_eq!(line["bridges"].as_array().unwrap().len(), 7, "all stay as they were known");
            continue;
        }
        let event = line["event"].as_str().unwrap().to_owned();
        if event == "connected" && seen.iter().all(|it| it != "disconnected") {
            for end in connections.recv_timeout(PATIENCE).unwrap() {
                let _ = end.shutdown(Shutdown::Both);
            }
        } else if event == "connected" {
            assert!(line["text"].as_str().unwrap().starts_with("back in the room after"), "{line}");
            break;
        }
        seen.push(event);
    }
    assert!(seen.iter().any(|it| it == "disconnected"), "{seen:?}");
    assert!(!seen.iter().any(|it| it == "lost" || it == "left"), "{seen:?}");
    assert_eq!(seen.iter().filter(|it| *it == "joined").count(), 7, "{seen:?}");
    assert_eq!(watch.end(), Some(0));
}
