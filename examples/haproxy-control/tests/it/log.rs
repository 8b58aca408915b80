//! `explain-log`.

use serde_json::Value;

use crate::{Folder, expect, run_in, sample};

#[test]
fn failed_starts_are_explained() {
    let folder = Folder::new("haproxy-control");
    let log = String::from_utf8(sample("golden/start.log")).unwrap();
    folder.put("start.log", &log);
    let ran = run_in(&folder, &["explain-log", "start.log"], "");
    expect("explain-log.txt", &ran.out);
    assert_eq!((ran.code, &*ran.err), (0, ""));
    assert_eq!(run_in(&folder, &["explain-log"], &log).out, ran.out);
    assert_eq!(run_in(&folder, &["explain-log", "-"], &log).out, ran.out);
    let json: Value = serde_json::from_str(&run_in(&folder, &["explain-log", "-o", "json"], &log).out).unwrap();
    assert_eq!(json["findings"][0]["cause"], "address-in-use");
    assert_eq!(json["findings"][0]["line"], 30);
}

#[test]
fn what_is_unknown_is_not_explained() {
    let folder = Folder::new("haproxy-control");
    let ran = run_in(&folder, &["explain-log"], "all is well\n");
    assert!(ran.code == 1 && ran.out.is_empty() && ran.err.contains("nothing known in 1 line"), "{ran:?}");
    // Neither long texts nor control characters harm.
    folder.put("odd.log", b"\xff[ALERT] : parsing [a.cfg:1] : \x1b[2J odd\n".repeat(100_000));
    let ran = run_in(&folder, &["explain-log", "odd.log"], "");
    assert!(ran.code == 0 && !ran.out.contains('\u{1b}') && ran.err.contains("only the first"), "{}", ran.err);
}
