//! `check`.

use std::net::TcpListener;

use serde_json::Value;

use crate::{Folder, expect, haproxy, run, run_in, sample};

const SAMPLES: [&str; 7] = ["edumeet", "jitsi", "cookie", "peers", "legacy", "stats", "damaged"];

/// Text alone: the same everywhere.
const PURE: [&str; 6] = ["--haproxy-version", "2.6", "--no-haproxy", "--no-files", "--host-name", "lb1"];

#[test]
fn every_sample_is_found_wrong_as_recorded() {
    let folder = Folder::new("haproxy-control");
    for name in SAMPLES {
        let file = format!("{name}.cfg");
        folder.put(&file, sample(&format!("golden/{file}")));
        let ran = run_in(&folder, &[&["check", &file][..], &PURE].concat(), "");
        expect(&format!("check-{name}.txt"), &ran.out);
        assert_eq!(ran.code, i32::from(ran.out.contains(": error: ")), "{name} {ran:?}");
        assert_eq!(ran.err, "note: haproxy -c was not asked: as ordered\n");
    }
    folder.put("good.cfg", sample("golden/good.cfg"));
    let ran = run_in(&folder, &[&["check", "good.cfg"][..], &PURE].concat(), "");
    assert_eq!((ran.code, &*ran.out), (0, "nothing is wrong; read as HAProxy 2.6 would\n"));
}

#[test]
fn warnings_fail_when_strict() {
    let folder = Folder::new("haproxy-control");
    folder.put("a.cfg", sample("golden/cookie.cfg"));
    let args = [&["check", "a.cfg"][..], &PURE].concat();
    assert_eq!(run_in(&folder, &args, "").code, 0);
    assert_eq!(run_in(&folder, &[&args[..], &["--strict"]].concat(), "").code, 1);
}

#[test]
fn json_says_the_same() {
    let folder = Folder::new("haproxy-control");
    folder.put("a.cfg", sample("golden/edumeet.cfg"));
    let text = run_in(&folder, &[&["check", "a.cfg"][..], &PURE].concat(), "").out;
    let ran = run_in(&folder, &[&["check", "a.cfg", "-o", "json"][..], &PURE].concat(), "");
    let seen: Value = serde_json::from_str(&ran.out).unwrap();
    let found = seen["findings"].as_array().unwrap();
    assert_eq!(found.len(), text.matches("[BLC-").count());
    assert_eq!(found[0]["rule"], "BLC-H004");
    assert_eq!((&seen["version"], &seen["errors"]), (&"2.6".into(), &4.into()));
    for one in found {
        let line =
            format!("a.cfg:{}: {}: {}", one["line"], one["level"].as_str().unwrap(), one["text"].as_str().unwrap());
        assert!(text.contains(&line), "{line}");
    }
}

#[test]
fn the_installed_haproxy_is_asked_as_well() {
    if haproxy().is_none() {
        return;
    }
    let folder = Folder::new("haproxy-control");
    folder.put("a.cfg", "frontend f\n    mode http\n    bind 127.0.0.1:1\n    timeuot client 5s\n    monitor-uri\n");
    let ran = run_in(&folder, &["check", "a.cfg"], "");
    assert_eq!(ran.code, 1);
    // What a rule of ours says of a line, with a remedy, is not said twice.
    assert_eq!(ran.out.matches("a.cfg:4:").count(), 1, "{}", ran.out);
    assert!(ran.out.contains("a.cfg:5: error: haproxy -c: "), "{}", ran.out);
    assert!(ran.out.contains(" refuses it\n"), "{}", ran.out);
    folder.put("good.cfg", sample("golden/render-cookie-2.6.cfg"));
    let ran = run_in(&folder, &["check", "good.cfg", "--no-files"], "");
    assert!(ran.out.contains("HAProxy 2."), "{ran:?}");
    let ran = run_in(&folder, &["check", "-"], "");
    assert!(ran.code == 2 && ran.err.contains("not from standard input"), "{ran:?}");
    let ran = run_in(&folder, &["check", "good.cfg", "--haproxy-version", "9.9"], "");
    assert!(ran.err.contains("haproxy -c was not asked") && ran.err.contains("this is for 9.9"), "{ran:?}");
}

#[test]
fn files_are_one_configuration() {
    let folder = Folder::new("haproxy-control");
    let waits = " timeout connect 5s\n timeout client 50s\n timeout server 50s\n timeout http-request 10s\n timeout tunnel 1h\n";
    folder.put("1.cfg", format!("defaults\n mode http\n option forwardfor\n{waits}"));
    folder.put("2.cfg", "frontend f\n bind 127.0.0.1:1\n default_backend b\n");
    folder.put("3.cfg", "backend b\n server s 192.0.2.1:80 id 1 check\n");
    folder.put("other.txt", "nonsense\n");
    let ran = run_in(&folder, &[&["check", "."][..], &PURE].concat(), "");
    assert_eq!((ran.code, &*ran.out), (0, "nothing is wrong; read as HAProxy 2.6 would\n"));
    let ran = run_in(&folder, &[&["check", "2.cfg"][..], &PURE].concat(), "");
    assert!(ran.code == 1 && ran.out.contains("BLC-H027"), "{ran:?}");
    let ran = run_in(&folder, &[&["check", "2.cfg", "2.cfg"][..], &PURE].concat(), "");
    assert!(ran.code == 2 && ran.err.contains("named twice"), "{ran:?}");
}

#[test]
fn nginx_wants_the_same_port() {
    let folder = Folder::new("haproxy-control");
    folder.put("a.cfg", "frontend f\n mode tcp\n bind :8080\n");
    folder.put("site.conf", "server {\n  listen 8080;\n}\n");
    let ran = run_in(&folder, &[&["check", "a.cfg", "--nginx", "site.conf"][..], &PURE].concat(), "");
    assert!(ran.code == 1 && ran.out.contains("site.conf:2: error: nginx listens on *:8080"), "{ran:?}");
}

#[test]
fn this_host_is_looked_at() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = Folder::new("haproxy-control");
    let text = format!("frontend f\n mode tcp\n bind 127.0.0.1:{port}\nbackend b\n server s no..name:80 id 1\n");
    folder.put("a.cfg", text);
    let ran = run_in(&folder, &[&["check", "a.cfg"][..], &PURE].concat(), "");
    assert!(!ran.out.contains("BLC-C00"), "{ran:?}");
    let ran = run_in(&folder, &[&["check", "a.cfg", "--try-binds", "--resolve"][..], &PURE].concat(), "");
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains(&format!("a.cfg:3: error: 127.0.0.1:{port} is taken by another program")), "{ran:?}");
    assert!(ran.out.contains("a.cfg:5: error: no..name does not resolve here"), "{ran:?}");
}

#[test]
fn certificates_are_read() {
    let folder = Folder::new("haproxy-control");
    folder.put("keyless.pem", sample("pki/keyless.pem")).put("meet.pem", sample("pki/meet.pem"));
    folder.put("a.cfg", "frontend f\n mode http\n bind :443 ssl crt keyless.pem\n bind :444 ssl crt missing.pem\n");
    folder.put("b.cfg", "frontend f\n mode http\n bind :443 ssl crt meet.pem\n");
    let args = |file| ["check", file, "--haproxy-version", "2.6", "--no-haproxy", "--public-name", "nobody.example"];
    let ran = run_in(&folder, &args("a.cfg"), "");
    assert!(ran.out.contains("[BLC-H016]") && ran.out.contains("[BLC-H017]"), "{ran:?}");
    let ran = run_in(&folder, &args("b.cfg"), "");
    assert!(ran.out.contains("no certificate is for nobody.example"), "{ran:?}");
    let ran = run_in(&folder, &[&args("b.cfg")[..], &["--no-files"]].concat(), "");
    assert!(!ran.out.contains("BLC-H020"), "{ran:?}");
}

#[test]
fn what_can_be_mended_is_written_beside() {
    let folder = Folder::new("haproxy-control");
    let old = sample("golden/jitsi.cfg");
    folder.put("a.cfg", &old).put("meet.pem", sample("pki/meet.pem"));
    let text = String::from_utf8(old.clone()).unwrap().replace("/etc/ssl/certs/meet.example.com.pem", "meet.pem");
    folder.put("a.cfg", &text);
    let mut args = vec!["check", "a.cfg", "--fix", "--host-name", "lb1", "--haproxy-version", "2.6"];
    let installed = haproxy().is_some();
    let ran = run_in(&folder, &args, "");
    assert_eq!(folder.get("a.cfg"), text);
    let cured = String::from_utf8(sample("golden/jitsi.cured")).unwrap();
    assert_eq!(folder.get("a.cfg.fixed"), cured.replace("/etc/ssl/certs/meet.example.com.pem", "meet.pem"));
    assert!(ran.out.contains("--- a.cfg\n+++ a.cfg.fixed\n@@ "), "{}", ran.out);
    if installed && !ran.err.contains("was not asked") {
        assert!(ran.out.contains("haproxy -c accepts what is mended"), "{}", ran.out);
    }
    args.extend(["-o", "json"]);
    let seen: Value = serde_json::from_str(&run_in(&folder, &args, "").out).unwrap();
    assert_eq!(seen["fixed"]["files"][0]["written"], "a.cfg.fixed");
    // The mended file has nothing left to mend.
    args[1] = "a.cfg.fixed";
    let ran = run_in(&folder, &args[..args.len() - 2], "");
    assert!(ran.out.contains("nothing here can be mended by writing alone"), "{}", ran.out);
}

#[test]
fn no_password_is_shown() {
    let folder = Folder::new("haproxy-control");
    folder.put("a.cfg", "defaults\n mode http\nlisten s\n bind*:8404\n stats enable\n stats auth ops:geheim-77\nuserlist u\n user joe insecure-password geheim-78\n");
    for output in ["table", "json"] {
        let ran = run_in(&folder, &[&["check", "a.cfg", "--fix", "-o", output][..], &PURE].concat(), "");
        assert!(ran.out.contains("***") && !ran.out.contains("geheim"), "{ran:?}");
    }
    assert!(folder.get("a.cfg.fixed").contains("geheim-77"));
}

#[test]
fn broken_files_are_read_all_the_same() {
    let folder = Folder::new("haproxy-control");
    folder.put("a.cfg", b"\xff\xfe\x00\x1b[2J 'open\nfrontend \x07\n bind \"\\".as_slice());
    let ran = run_in(&folder, &[&["check", "a.cfg", "--fix"][..], &PURE].concat(), "");
    assert!(ran.code == 1 && ran.out.contains("BLC-H001"), "{ran:?}");
    assert!(!ran.out.contains('\u{1b}') && !ran.out.contains('\u{7}'));
    folder.put("empty.cfg", "");
    assert_eq!(run_in(&folder, &[&["check", "empty.cfg"][..], &PURE].concat(), "").code, 0);
    folder.put("big.cfg", vec![b'\n'; 5 * 1024 * 1024]);
    let ran = run_in(&folder, &[&["check", "big.cfg"][..], &PURE].concat(), "");
    assert!(ran.code == 1 && ran.err.contains("larger than"), "{ran:?}");
}

#[test]
fn rules_are_listed_once() {
    let ran = run(&["check", "--rules"]);
    let ids: Vec<&str> = ran.out.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert!(ran.code == 0 && ids.len() > 50 && sorted.len() == ids.len(), "{ids:?}");
    let json: Value = serde_json::from_str(&run(&["check", "--rules", "-o", "json"]).out).unwrap();
    assert_eq!(json["rules"].as_array().unwrap().len(), ids.len());
}
