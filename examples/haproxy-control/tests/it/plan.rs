//! `plan`.

use serde_json::Value;

use crate::{Folder, Ran, expect, run_in};

const CONFIG: &str = "\
backend ring
    balance hash var(txn.room)
    hash-type consistent
    server a 192.0.2.1:80 id 1 weight 10
    server b 192.0.2.2:80 id 2 weight 10
    server c 192.0.2.3:80 id 3 weight 10
backend kept
    balance hash var(txn.room)
    hash-type consistent
    stick-table type string len 64 size 10k expire 1h
    stick on var(txn.room)
    server a 192.0.2.1:80 id 1 weight 10
    server b 192.0.2.2:80 id 2 weight 10
    server c 192.0.2.3:80 id 3 weight 10
backend map
    balance hash var(txn.room)
    server a 192.0.2.1:80
    server b 192.0.2.2:80
    server c 192.0.2.3:80
backend turns
    balance roundrobin
    stick-table type string len 64 size 10k expire 1h
    stick on var(txn.room)
    server a 192.0.2.1:80
    server b 192.0.2.2:80
";

fn plan(backend: &str, change: &[&str]) -> Ran {
    plan_with(backend, &[], change, &(1..=60).map(|n| format!("room {n}\n")).collect::<String>())
}

fn plan_with(backend: &str, more: &[&str], change: &[&str], input: &str) -> Ran {
    let folder = Folder::new("haproxy-control");
    folder.put("a.cfg", CONFIG);
    let args = ["plan", "--config", "a.cfg", "--backend", backend, "--haproxy-version", "2.6"];
    run_in(&folder, &[&args[..], more, change].concat(), input)
}

fn json(backend: &str, change: &[&str]) -> Value {
    let ran = plan(backend, &[&["-o", "json"][..], change].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn plans_as_recorded() {
    for (name, backend, change) in [
        ("add", "ring", &["add", "d", "--weight", "10", "--id", "4"][..]),
        ("remove", "ring", &["remove", "b"]),
        ("drain", "kept", &["drain", "b"]),
        ("reorder", "map", &["reorder", "c", "--summary"]),
    ] {
        let ran = plan(backend, change);
        assert_eq!(ran.code, 0, "{ran:?}");
        expect(&format!("plan-{name}.txt"), &ran.out);
    }
}

#[test]
fn only_rooms_of_what_changes_move() {
    // Whoever comes only takes, whoever goes only gives.
    let seen = json("ring", &["add", "d", "--weight", "10", "--id", "4"]);
    let moves = seen["moves"].as_array().unwrap();
    assert!(!moves.is_empty() && moves.iter().all(|one| one["by_hash"] == "d"), "{seen}");
    assert_eq!(json("ring", &["add", "d"])["moves"], json("ring", &["add", "d", "--weight", "10"])["moves"]);
    let seen = json("ring", &["remove", "b"]);
    assert!(seen["moves"].as_array().unwrap().iter().all(|one| one["now"] == "b"), "{seen}");
    assert_eq!(seen["moved_by_hash"], seen["servers"][1]["now"]);
    assert_eq!(seen["moved_with_table"], Value::Null);
    // Ids are its own: the order says nothing.
    assert_eq!(json("ring", &["reorder", "c", "a"])["moved_by_hash"], 0);
    assert_eq!(json("ring", &["weight", "b", "10"])["moved_by_hash"], 0);
    assert_eq!(json("ring", &["weight", "b", "0"])["servers"][1]["after"], 0);
    assert_eq!(json("ring", &["weight", "b", "50%"])["moves"], json("ring", &["weight", "b", "5"])["moves"]);
}

#[test]
fn a_table_keeps_rooms() {
    let seen = json("kept", &["drain", "b"]);
    assert_eq!((&seen["moved_with_table"], &seen["servers"][1]["with_table"]), (&0.into(), &seen["servers"][1]["now"]));
    assert!(seen["moved_by_hash"].as_u64().unwrap() > 0);
    for gone in [["maint", "b"], ["remove", "b"]] {
        let seen = json("kept", &gone);
        assert_eq!(seen["moved_with_table"], seen["moved_by_hash"], "{seen}");
    }
    assert_eq!(json("kept", &["add", "d"])["moved_with_table"], 0);
}

#[test]
fn needless_moves_are_named() {
    let ran = plan("map", &["remove", "b"]);
    assert!(ran.err.contains("would move between servers that stay: hash-type consistent"), "{ran:?}");
    // Weights of a map are fixed while it runs: this is after a reload.
    assert_eq!(plan("map", &["weight", "b", "3"]).code, 0);
    assert!(!plan("ring", &["remove", "b"]).err.contains("would move between"));
}

#[test]
fn rooms_from_a_table() {
    let dump = "# table: turns, type: string, size:10240, used:4\n\
        0x55d0: key=foo\\ bar use=0 exp=3599406 server_id=1 server_key=a\n\
        0x55d1: key=\\xC3\\xA4 use=0 exp=3599406 server_id=2 server_key=b\n\
        0x55d2: key=old use=0 exp=3599406 server_id=2\n\
        0x55d3: key=gone use=0 exp=3599406 server_id=9 server_key=z\n\n";
    let ran = plan_with("turns", &["--table", "-", "-o", "json"], &["remove", "b"], dump);
    let seen: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    assert_eq!((&seen["moved_with_table"], &seen["moved_by_hash"]), (&2.into(), &Value::Null), "{seen}");
    assert_eq!((&seen["moves"][0]["room"], &seen["moves"][0]["now"]), (&"ä".into(), &"b".into()));
    let ran = plan_with("turns", &["--table", "-"], &["drain", "b"], dump);
    assert!(ran.code == 0 && ran.out.contains("draining b: 0 of 4 rooms would lose their server"), "{ran:?}");
    // By hash, `old` may live elsewhere: the table says where it is.
    let ran = plan_with("kept", &["--table", "-", "-o", "json"], &["remove", "b"], dump);
    let seen: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(seen["moved_with_table"], 2, "{seen}");
    for (bad, want) in [
        ("room 1\n", "this is not what `show table` prints"),
        ("0x1: key=a\n", "its first line"),
        ("# table: a\n# table: b\n", "several tables"),
        ("# table: a\n0x1: kee=a\n", "no entry"),
        ("", "no stick table"),
    ] {
        let ran = plan_with("kept", &["--table", "-"], &["remove", "b"], bad);
        assert!(ran.code == 1 && ran.out.is_empty() && ran.err.contains(want), "{ran:?}");
    }
}

#[test]
fn wrong_changes_are_refused() {
    for (change, want) in [
        (&["remove", "d"][..], "no server is called \"d\""),
        (&["remove", "a", "b", "c"], "no server would be left"),
        (&["weight", "a", "300"], "is no weight"),
        (&["reorder", "a", "a"], "named twice"),
        (&["add", "a"], "defined twice"),
        (&["add", "d", "--id", "3"], "both have id 3"),
    ] {
        let ran = plan("ring", change);
        assert!(ran.code > 0 && ran.out.is_empty() && ran.err.contains(want), "{want}: {ran:?}");
    }
    let ran = plan("turns", &["remove", "b"]);
    assert!(ran.code == 2 && ran.err.contains("--table"), "{ran:?}");
    assert!(plan_with("ring", &[], &["remove", "a"], "").out.contains("0 of 0 rooms"));
}
