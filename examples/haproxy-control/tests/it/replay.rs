//! Traces: written by `run --record` beside a real HAProxy, and printed by `replay`.

use std::process::{Command, Stdio};
use std::time::Duration;

use adapter_haproxy::trace::{Happened, Protocol, Record, Side, write_header};
use serde_json::Value;

use crate::control::Running;
use crate::{Folder, free_ports, haproxy, run, run_in, sample, until};

/// A trace of an agent check and of nonsense on a port of peers.
fn trace() -> Vec<u8> {
    let mut file = Vec::new();
    write_header(&mut file, 0);
    let opened = |protocol| Happened::Opened { protocol, by: Side::Haproxy, with: "lb\u{1b}[2J".to_owned() };
    let said = |side, text: &str| Happened::Said { side, bytes: text.into() };
    for (connection, what) in [
        (1, opened(Protocol::AgentCheck)),
        (1, said(Side::Haproxy, "mm1 lb1\n")),
        (2, opened(Protocol::Peers)),
        (1, said(Side::Us, "up 60% # \u{7}fine\n")),
        (1, Happened::Closed),
        (2, said(Side::Haproxy, "HAProxyS 2.1\nrust1\nlb1 9 1\n\0\x04\u{a}\u{7f}x\0\x7f\n")),
        (2, Happened::Closed),
    ] {
        Record::new(Duration::from_millis(5), connection, what).encode(&mut file);
    }
    file
}

#[test]
fn frames_are_printed_and_faults_end_with_one() {
    let folder = Folder::new("haproxy-control");
    folder.put("a.trace", trace());
    let ran = run_in(&folder, &["replay", "a.trace"], "");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains("0.005000 #1 agent-check us: reply health=\"up\" percent=60 reason=\"fine\"\n"),
        "{ran:?}"
    );
    assert!(ran.out.contains("#2 peers haproxy: hello version=\"2.1\" called=\"rust1\" calling=\"lb1\" pid=9\n"));
    assert!(ran.out.contains("#2 peers haproxy: heartbeat\n") && !ran.out.contains('\u{1b}'), "{ran:?}");
    assert!(ran.err.starts_with("note: 7 frames of 2 connections"), "{ran:?}");

    let ran = run_in(&folder, &["replay", "a.trace", "--protocol", "agent-check", "-o", "json"], "");
    let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((ran.code, lines.len()), (0, 4));
    assert_eq!(
        (&lines[1]["frame"], &lines[1]["server"], &lines[1]["from"]),
        (&"ask".into(), &"mm1".into(), &"haproxy".into())
    );

    // From standard input, and cut off in the midst of the last record.
    let bytes = trace();
    folder.put("cut.trace", &bytes[..bytes.len() - 2]);
    let ran = run_in(&folder, &["replay", "cut.trace"], "");
    assert!(ran.code == 0 && ran.err.contains("the file ends within a record: 7 bytes are not read"), "{ran:?}");

    // Something that is no message: where, and with which code.
    let mut bytes = trace();
    let said = Happened::Said { side: Side::Haproxy, bytes: vec![10, 0x80, 1, 0] };
    let opened = Happened::Opened { protocol: Protocol::Peers, by: Side::Us, with: "lb1".to_owned() };
    let greeting = Happened::Said { side: Side::Haproxy, bytes: b"200\n".to_vec() };
    for what in [opened, greeting, said] {
        Record::new(Duration::ZERO, 3, what).encode(&mut bytes);
    }
    folder.put("bad.trace", &bytes);
    let ran = run_in(&folder, &["replay", "bad.trace"], "");
    assert!(
        ran.code == 1 && ran.out.contains("#3 peers haproxy: not to be read at byte 4: message refused"),
        "{ran:?}"
    );
    assert!(ran.err.contains("1 not to be read"), "{ran:?}");

    // A damaged file: what comes before is printed.
    bytes.extend([0, 0, 0, 1, 77]);
    folder.put("damaged.trace", &bytes);
    let ran = run_in(&folder, &["replay", "damaged.trace"], "");
    assert!(ran.code == 1 && ran.out.contains("heartbeat") && ran.err.contains("is damaged"), "{ran:?}");
    for (name, text) in [("a.txt", "something"), ("a.json", "{\"events\": 1}"), ("b.json", "{"), ("empty", "")] {
        folder.put(name, text);
        let ran = run_in(&folder, &["replay", name], "");
        assert!(ran.code == 1 && ran.err.starts_with("error: ") && ran.out.is_empty(), "{name}: {ran:?}");
    }
    assert_eq!(run(&["replay"]).code, 2);
    assert_eq!(run(&["replay", "/nowhere/a.trace"]).code, 1);
    assert_eq!(run(&["replay", "a", "--protocol", "http"]).code, 2);
}

#[test]
fn captures_are_printed() {
    let folder = Folder::new("haproxy-control");
    for (name, code, frame) in [
        ("peers-2.6-2.6.json", 0, "update table=\"rooms\" id=1 key="),
        ("spop-2.8.json", 1, "ack stream=1 frame_id=1 set-var txn.server=\"mm1\""),
        ("runtime-2.6.json", 0, "answer to=\"show version\" lines=1"),
    ] {
        folder.put(name, sample(&format!("vectors/haproxy-control/{name}")));
        let ran = run_in(&folder, &["replay", name], "");
        assert!(ran.code == code && ran.out.contains(frame), "{name}: {} {}", ran.code, ran.err);
    }
}

#[test]
fn what_run_records_replays() {
    let Some(binary) = haproxy() else { return };
    let folder = Folder::new("haproxy-control");
    let (at, ports) = (folder.display().to_string(), free_ports(2));
    folder.put("pins.map", "");
    let key = "url_param(roomId)";
    let configuration = format!(
        "global\n stats socket {at}/admin.sock level admin\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
         frontend f\n bind 127.0.0.1:{}\n default_backend rooms\n\
         backend rooms\n use-server %[{key},map({at}/pins.map)] if {{ {key},map({at}/pins.map) -m found }}\n\
         \x20stick-table type string len 64 size 1k expire 1h\n stick on {key}\n server mm1 127.0.0.1:9 id 1\n",
        ports[0]
    );
    folder.put("haproxy.cfg", configuration);
    folder.put(
        "control.toml",
        format!(
            "[[haproxy]]\nname = \"lb1\"\nruntime = \"{at}/admin.sock\"\n\
             [rooms]\nbackend = \"rooms\"\nmap = \"{at}/pins.map\"\n[store]\nurl = \"memory\"\n\
             [loop]\nevery = \"50ms\"\n[http]\nlisten = \"127.0.0.1:{}\"\n",
            ports[1]
        ),
    );
    let start = |program: &std::path::Path, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).current_dir(&*folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().unwrap())
    };
    let _haproxy = start(&binary, &["-db", "-f", "haproxy.cfg"]);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_haproxy-control"));
    let mut control = start(program, &["run", "--config", "control.toml", "--record", "a.trace"]);
    until("HAProxy is seen", || {
        let status = run_in(&folder, &["status", "--config", "control.toml"], "");
        (status.code == 0 && status.out.contains("mm1")).then_some(())
    });
    assert_eq!(control.end(), Some(0));
    let ran = run_in(&folder, &["replay", "a.trace"], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    for frame in
        ["runtime us: command line=\"show info", "answer to=\"show info", "to=\"show servers state", ": closed"]
    {
        assert!(ran.out.contains(frame), "no {frame:?} in\n{}", ran.out);
    }
    println!("{}", ran.err.trim());
    // Where nothing can be written it does not begin.
    let refused = run_in(&folder, &["run", "--config", "control.toml", "--record", "/nowhere/a.trace"], "");
    assert!(refused.code == 1 && refused.err.contains("/nowhere/a.trace cannot be recorded to"), "{refused:?}");
}
