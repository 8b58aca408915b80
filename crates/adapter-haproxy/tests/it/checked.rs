//! What the doctor says of a configuration, beside what HAProxy says of it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use adapter_haproxy::{ConfigFile, Doctor, Level, LogCause, explain_log};

use crate::haproxy::{Place, binary};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// What HAProxy writes on standard error, and whether it ended well.
fn said(haproxy: &Path, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(haproxy);
    command.args(args).env("B", "10.0.0.9:80").stdin(Stdio::null());
    let out = command.output().unwrap();
    (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
}

/// `[ALERT] (7) : config : parsing [FILE:9] : text`: level and line.
fn remark(line: &str, file: &str) -> Option<(Level, usize)> {
    let level = match line.split(']').next()? {
        "[ALERT" => Level::Error,
        "[WARNING" => Level::Warning,
        _ => return None,
    };
    let rest = line.split_once(&format!("[{file}:"))?.1;
    Some((level, rest.split(']').next()?.parse().ok()?))
}

#[test]
fn the_doctor_finds_what_haproxy_finds() {
    let Some((path, version)) = binary() else { return };
    let doctor = Doctor::new(version.into()).with_host_name("lb1");
    let (mut checked, mut missed) = (0, Vec::new());
    for name in ["edumeet.cfg", "jitsi.cfg", "cookie.cfg", "peers.cfg", "legacy.cfg", "stats.cfg", "damaged.cfg"] {
        let file = golden(name);
        let shown = file.to_str().unwrap();
        let found = doctor.check(&[ConfigFile::parse(shown, std::fs::read(&file).unwrap()).unwrap()]);
        let (accepted, text) = said(&path, &["-c", "-L", "lb1", "-f", shown]);
        for (level, line) in text.lines().filter_map(|line| remark(line, shown)) {
            checked += 1;
            if !found.iter().any(|finding| finding.line == line && finding.level >= level) {
                missed.push(format!("{name}:{line}: {level}"));
            }
        }
        // What HAProxy refuses is an error of ours as well.
        assert!(accepted || found.iter().any(|finding| finding.level == Level::Error), "{name}: {text}");
    }
    println!("{checked} remarks of HAProxy {version}: {} different", missed.len());
    assert!(missed.is_empty() && checked >= 25, "{checked} checked, {missed:?}\n");
}

#[test]
fn a_taken_port_passes_the_check_and_is_explained() {
    let Some((path, _)) = binary() else { return };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = Place::new();
    let file = place.path("haproxy.cfg");
    let waits = " timeout connect 5s\n timeout client 5s\n timeout server 5s\n";
    std::fs::write(&file, format!("defaults\n mode http\n{waits}frontend http-in\n bind {address}\n")).unwrap();
    assert!(said(&path, &["-c", "-f", &file]).0);
    let (started, text) = said(&path, &["-db", "-f", &file]);
    assert!(!started);
    let found = explain_log(&text);
    let [one] = &found[..] else { panic!("{found:?}\n{text}") };
    assert_eq!((one.cause, one.file.as_deref(), one.line), (LogCause::AddressInUse, Some(&*file), Some(7)));
    assert_eq!((one.frontend.as_deref(), one.address.as_deref()), (Some("http-in"), Some(&*address)));
}

#[test]
fn a_peers_section_of_others_is_dropped_and_explained() {
    let Some((path, version)) = binary() else { return };
    let file = golden("peers.cfg");
    let shown = file.to_str().unwrap();
    let rules = |host: &str| {
        let parsed = ConfigFile::parse(shown, std::fs::read(&file).unwrap()).unwrap();
        let found = Doctor::new(version.into()).with_host_name(host).check(&[parsed]);
        found.iter().any(|finding| finding.rule == "BLC-H050" && finding.level == Level::Error)
    };
    for (host, dropped) in [("lb1", true), ("loadbalancer1", false)] {
        let (accepted, text) = said(&path, &["-c", "-L", host, "-f", shown]);
        // A warning alone, where two balancers would share nothing.
        assert!(accepted, "{text}");
        assert_eq!((text.contains("Removing incomplete section"), rules(host)), (dropped, dropped), "{text}");
        let explained = explain_log(&text).iter().any(|finding| finding.help.contains("localpeer"));
        assert_eq!(explained, dropped, "{text}");
    }
}
