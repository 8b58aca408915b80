//! Predictions and plans beside a running HAProxy.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::{Folder, free_ports, haproxy, run_in, until};

/// A running HAProxy, ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A configuration whose servers say their names, all in one process.
fn config(folder: &Folder, ports: &[u16], servers: &[usize]) -> String {
    let waits = "defaults\n mode http\n timeout connect 5s\n timeout client 10s\n timeout server 10s\n";
    let mut text = format!("global\n stats socket {}/s level admin\n{waits}", folder.display());
    text.push_str(&format!("frontend f\n bind 127.0.0.1:{}\n default_backend rooms\nbackend rooms\n", ports[0]));
    text.push_str(" http-request set-var(txn.room) url_param(room),url_dec\n balance hash var(txn.room)\n");
    text.push_str(
        " hash-type consistent\n stick-table type string len 64 size 10k expire 1h\n stick on var(txn.room)\n",
    );
    for n in servers {
        text.push_str(&format!(" server s{n} 127.0.0.1:{} id {n} weight {}\n", ports[*n], n * 10));
    }
    for (n, port) in ports.iter().enumerate().skip(1) {
        text.push_str(&format!("frontend s{n}\n bind 127.0.0.1:{port}\n"));
        text.push_str(&format!(" http-request return status 200 content-type text/plain string s{n}\n"));
    }
    text
}

fn start(folder: &Folder, haproxy: &std::path::Path, port: u16) -> Running {
    let mut command = Command::new(haproxy);
    command.args(["-db", "-f"]).arg(folder.join("a.cfg")).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn().unwrap());
    until("haproxy answers", || TcpStream::connect(("127.0.0.1", port)).ok());
    running
}

fn ask(port: u16, room: &str) -> String {
    let room: String = room.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = format!("GET /?room={room} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.rsplit("\r\n").next().unwrap_or_default().to_owned()
}

/// Where the rooms of a plan go, by one of its two ways.
fn moves_of<'a>(planned: &'a Value, way: &str) -> HashMap<&'a str, &'a str> {
    let text = |value: &'a Value| value.as_str().unwrap();
    planned["moves"].as_array().unwrap().iter().map(|one| (text(&one["room"]), text(&one[way]))).collect()
}

#[test]
fn haproxy_does_what_was_predicted_and_planned() {
    let Some(haproxy) = haproxy() else { return };
    let folder = Folder::new("haproxy-control");
    let ports = free_ports(5);
    folder.put("a.cfg", config(&folder, &ports, &[1, 2, 3]));
    let rooms: Vec<String> =
        (0..200).map(|n| ["room", "große halle", "a=b\\c", "x,y\""][n % 4].to_owned() + &n.to_string()).collect();
    let list: String = rooms.iter().map(|room| format!("{room}\n")).collect();
    let backend = ["--config", "a.cfg", "--backend", "rooms"];
    let predicted = run_in(&folder, &[&["predict"][..], &backend].concat(), &list);
    assert_eq!(predicted.code, 0, "{predicted:?}");
    let running = start(&folder, &haproxy, ports[0]);
    let seen: Vec<String> = rooms.iter().map(|room| ask(ports[0], room)).collect();
    assert_eq!(seen, predicted.out.lines().collect::<Vec<_>>());

    // What its table says is read back.
    let order = |line: &str| {
        let mut socket = UnixStream::connect(folder.join("s")).unwrap();
        socket.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    let dump = order("show table rooms");
    let plan = |change: &[&str]| -> Value {
        let ran = run_in(&folder, &[&["plan"][..], &backend, &["--table", "-", "-o", "json"], change].concat(), &dump);
        serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"))
    };
    let nothing = plan(&["reorder", "s3"]);
    assert_eq!(
        (&nothing["rooms"], &nothing["moved_by_hash"], &nothing["moves"]),
        (&200.into(), &0.into(), &Value::Array(vec![]))
    );

    // What is ordered at run time comes true at once: with the table as it is, and with the table lost.
    for (change, ordered, back) in [
        (&["drain", "s2"][..], "set server rooms/s2 state drain", "set server rooms/s2 state ready"),
        (&["weight", "s3", "5"], "set server rooms/s3 weight 5", "set server rooms/s3 weight 100%"),
        (&["maint", "s1"], "set server rooms/s1 state maint", "set server rooms/s1 state ready"),
    ] {
        let planned = plan(change);
        order(ordered);
        for (table, lost) in [("with_table", false), ("by_hash", true)] {
            if lost {
                order("clear table rooms");
            }
            let moves = moves_of(&planned, table);
            for (room, before) in rooms.iter().zip(&seen) {
                let wanted = moves.get(room.as_str()).copied().unwrap_or(before);
                assert_eq!(ask(ports[0], room), wanted, "{change:?} {table} {room}");
            }
        }
        order(back);
        order("clear table rooms");
        let again: Vec<String> = rooms.iter().map(|room| ask(ports[0], room)).collect();
        assert_eq!(again, seen);
    }
    drop(running);

    // And what was planned comes true after the reload, the table lost.
    for (change, servers) in
        [(&["add", "s4", "--id", "4", "--weight", "40"][..], &[1, 2, 3, 4][..]), (&["remove", "s2"], &[1, 3])]
    {
        let planned = plan(change);
        let moves = moves_of(&planned, "by_hash");
        assert!(!moves.is_empty());
        folder.put("a.cfg", config(&folder, &ports, servers));
        let _running = start(&folder, &haproxy, ports[0]);
        for (room, before) in rooms.iter().zip(&seen) {
            let wanted = moves.get(room.as_str()).copied().unwrap_or(before);
            assert_eq!(ask(ports[0], room), wanted, "{room}");
        }
        folder.put("a.cfg", config(&folder, &ports, &[1, 2, 3]));
    }
    println!("haproxy: 2400 placements as predicted and planned");
}
