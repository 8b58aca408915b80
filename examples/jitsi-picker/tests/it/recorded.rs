//! Recorded presences: no network, the same answer every time.

use std::io::Write;
use std::process::Stdio;

use crate::{command, expect, run};

fn sample() -> String {
    format!("{}/tests/golden/presences.xml", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_order_is_jicofos() {
    let ran = run(&["rank", "--octo", "--presences", &sample()], &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    expect("rank.txt", &ran.out);
    let json = run(&["rank", "--presences", &sample(), "-o", "json"], &[]).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let nicks: Vec<_> = json["bridges"].as_array().unwrap().iter().map(|it| it["bridge"].clone()).collect();
    assert_eq!(nicks, ["jvb5", "jvb2", "jvb1", "jvb6", "jvb3", "jvb4"]);
    assert_eq!(json["bridges"][0]["age_seconds"], 0.0);
}

#[test]
fn the_choice_is_explained() {
    let sample = sample();
    let cases: [(&str, i32, &[&str]); 5] = [
        ("select-region.txt", 0, &["--region", "eu", "--octo", "--strategy", "RegionBased"]),
        ("select-own.txt", 0, &["--region", "us", "--on", "jvb1=12"]),
        ("select-second.txt", 0, &["--region", "us", "--on", "jvb1=12", "--octo", "--strategy", "RegionBased"]),
        ("select-none.txt", 1, &["--region", "eu", "--pin", "2.1-1"]),
        ("select-group.txt", 0, &["--region", "uk", "--octo", "--strategy", "RegionBased", "--region-group", "eu,uk"]),
    ];
    for (golden, code, more) in cases {
        let args = ["select", "--conference", "algebra", "--explain", "--presences", &sample];
        let ran = run(&[&args[..], more].concat(), &[]);
        assert_eq!(ran.code, code, "{golden} {ran:?}");
        expect(golden, &format!("{}{}", ran.out, ran.err));
    }
    let args = ["select", "--conference", "algebra", "--presences", &sample];
    let json = run(&[&args[..], &["-o", "json", "--pin", "2.1-1"]].concat(), &[]);
    assert_eq!(json.code, 1);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json["bridge"].is_null(), json["reason"].as_str()), (true, Some("none-of-version")));
    let ran = run(&[&args[..], &["--on", "jvb9"]].concat(), &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("there is no bridge jvb9"), "{ran:?}");
}

#[test]
fn files_of_the_adapter_and_standard_input_are_read() {
    let folder = format!("{}/../../crates/adapter-jitsi/tests/vectors", env!("CARGO_MANIFEST_DIR"));
    let capture = format!("{folder}/xmpp-session-plain-focus.s2c.xml");
    let mut counts = (0, 0);
    for entry in std::fs::read_dir(format!("{folder}/presence")).unwrap() {
        let path = entry.unwrap().path();
        let ran = run(&["rank", "-o", "json", "--presences", &path.display().to_string()], &[]);
        // Some are broken on purpose, some are of nobody who is a bridge.
        if ran.err.is_empty() {
            assert!(ran.out.starts_with("{\"bridges\":["), "{ran:?}");
            counts.0 += 1;
        } else {
            assert!(ran.code == 1 && ran.err.starts_with("error: ") && ran.out.is_empty(), "{ran:?}");
            counts.1 += 1;
        }
    }
    println!("{} recorded presences read, {} refused", counts.0, counts.1);
    assert!(counts.0 >= 20, "{counts:?}");
    // Two streams, for it was opened anew after the login: what follows the first is read as far as it is one.
    let ran = run(&["rank", "--presences", &capture], &[]);
    assert!(!ran.err.contains("panicked"), "{ran:?}");
    let mut child = command(&["rank", "--presences", "-"], &[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"<presence from='brewery@x/a'><stats").unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("stanza 1 in - cannot be read") && said.contains("it has no end"), "{said}");
}
