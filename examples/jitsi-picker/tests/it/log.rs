//! The focus's log, followed while it is written.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use crate::{Folder, command, expect, run};

const LIMIT: Duration = Duration::from_secs(60);

const GONE: [&str; 4] = [
    "Jicofo 2020-05-09 12:06:16.114 INFOS: [22] org.jitsi.jicofo.xmpp.BaseBrewery.removeInstance().386 Removed brewery instance: b@x/jvb01",
    "Jicofo 2020-05-09 12:06:16.114 INFOS: [22] org.jitsi.jicofo.xmpp.BaseBrewery.notifyInstanceOffline().184 A bridge left the MUC: b@x/jvb01",
    "Jicofo 2020-05-09 12:06:16.114 INFOS: [22] org.jitsi.jicofo.bridge.BridgeSelector.log() Removing JVB: b@x/jvb01",
    "Jicofo 2020-05-09 12:06:16.115 INFOS: [69] org.jitsi.jicofo.bridge.JvbDoctor.log() Stopping health-check task for: b@x/jvb01",
];
const BACK: [&str; 4] = [
    "Jicofo 2020-05-09 12:06:31.275 INFOS: [22] org.jitsi.jicofo.xmpp.BaseBrewery.processInstanceStatusChanged().330 Added brewery instance: b@x/jvb01",
    "Jicofo 2020-05-09 12:06:31.275 AVERTISSEMENT: [22] org.jitsi.jicofo.bridge.BridgeSelector.log() No pub-sub node mapped for b@x/jvb01",
    "Jicofo 2020-05-09 12:06:31.276 INFOS: [22] org.jitsi.jicofo.bridge.BridgeSelector.log() Added new videobridge: Bridge[jid=b@x/jvb01, relayId=null, region=null, stress=0,00]",
    "Jicofo 2020-05-09 12:06:31.277 INFOS: [69] org.jitsi.jicofo.bridge.JvbDoctor.log() Scheduled health-check task for: b@x/jvb01",
];
const NEWER: &str = "Jicofo 2026-08-20 09:00:01.001 SCHWERWIEGEND: [7] BridgeSelector.x#1: Lost a bridge: b@x/jvb02";

/// What the program prints, taken on a thread.
struct Watching(Child, Receiver<Value>);

impl Watching {
    fn start(args: &[&str]) -> Self {
        let mut child =
            command(&[&["watch", "-o", "json"], args].concat(), &[]).stdout(Stdio::piped()).spawn().unwrap();
        let (tell, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = tell.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self(child, lines)
    }

    /// The text of the next event.
    fn event(&self) -> String {
        loop {
            match self.1.recv_timeout(LIMIT) {
                Ok(line) if line["type"] == "event" => return line["text"].as_str().unwrap().to_owned(),
                Ok(_) => {}
                Err(e @ (RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)) => panic!("{e}"),
            }
        }
    }

    fn end(mut self) -> Option<i32> {
        assert!(Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().unwrap().success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_log_is_followed_while_it_is_rotated_and_truncated() {
    let folder = Folder::new("log");
    let path = folder.write("jicofo.log", &format!("{}\n", GONE.join("\n")));
    let append = |text: &str| {
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        writeln!(file, "{text}").unwrap();
    };
    let watching = Watching::start(&["--log", &path]);
    assert_eq!(watching.event(), "is gone, says the log of 2020-05-09 12:06:16.114");
    append(&BACK.join("\n"));
    assert!(watching.event().starts_with("is there"), "four lines are one change");
    assert!(watching.event().contains("harmless where bridges report through the brewery"));
    fs::rename(&path, folder.at("jicofo.log.1")).unwrap();
    append(GONE[0]);
    // In between it may be seen that none is there.
    let told: Vec<String> =
        std::iter::repeat_with(|| watching.event()).take_while(|it| !it.starts_with("is gone,")).collect();
    assert!(told.iter().all(|it| it.contains("jicofo.log")), "{told:?}");
    fs::write(&path, format!("{NEWER}\n")).unwrap();
    let told = [watching.event(), watching.event()];
    let (lost, file): (Vec<_>, Vec<_>) = told.into_iter().partition(|it| it.starts_with("is gone without"));
    assert!(lost.len() == 1 && file.len() == 1, "{lost:?} {file:?}");
    assert!(lost[0].contains("2026-08-20 09:00:01.001"), "{lost:?}");
    assert_eq!(watching.end(), Some(0));
}

#[test]
fn a_pipe_is_read_to_its_end() {
    let mut child =
        command(&["watch", "--log", "-"], &[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let text = [&GONE[..], &BACK, &["java.lang.Exception: x", NEWER]].concat().join("\n");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0));
    let out = String::from_utf8(done.stdout).unwrap();
    // Each line begins with the time of day, except for the tables; the last one counts.
    let end = out.rfind("lines of a focus").map(|at| &out[out[..at].rfind('\n').map_or(0, |at| at + 1)..]);
    expect("log.txt", end.unwrap());
    assert!(out.contains("Z  jvb01: is gone, says the log of"), "{out}");
}

#[test]
fn the_recorded_lines_of_the_adapter_are_told() {
    let file = format!("{}/../../crates/adapter-jitsi/tests/vectors/log-lines.json", env!("CARGO_MANIFEST_DIR"));
    let cases: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let lines: Vec<&str> = cases["cases"].as_array().unwrap().iter().filter_map(|case| case["line"].as_str()).collect();
    let folder = Folder::new("log-lines");
    let path = folder.write("jicofo.log", &format!("{}\n", lines.join("\n")));
    let ran = run(&["watch", "--log", &path, "--for", "1"], &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    println!("{} lines of a focus, {} happenings", lines.len(), ran.out.matches("Z  ").count());
    for want in
        ["health check", "health failed", "no operational bridges", "reinvite", "selected initial", "redistributed"]
    {
        assert!(ran.out.contains(want) || want == "health check", "{want} in {}", ran.out);
    }
}

#[test]
fn what_is_no_log_is_said() {
    let folder = Folder::new("log-none");
    let path = folder.write("x.log", "something else\n");
    let ran = run(&["watch", "--log", &path, "--for", "1"], &[]);
    assert!(ran.code == 1 && ran.err.contains("is not the log of a focus"), "{ran:?}");
    let ran = run(&["watch", "--log", &folder.0.display().to_string()], &[]);
    assert!(ran.code == 2 && ran.err.contains("is a folder"), "{ran:?}");
}
