//! `demo`: on a real HAProxy, in seconds, and gone afterwards.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::{expect, haproxy, run, until};

/// A demonstration that is still going on; told to end when dropped, so that it leaves nothing even when a test fails.
struct Playing(Child);

impl Playing {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-control"));
        command.arg("demo").args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// What is left of it: processes that name its folder, and the folder itself.
    fn left(&self) -> Vec<String> {
        let mark = format!("haproxy-control-{}-", self.0.id());
        let command = |entry: std::fs::DirEntry| {
            let words = std::fs::read(entry.path().join("cmdline")).ok()?;
            let words = String::from_utf8_lossy(&words).replace('\0', " ");
            words.contains(&mark).then_some(words)
        };
        let processes = std::fs::read_dir("/proc").unwrap().flatten().filter_map(command);
        let folders = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
        let folders = folders.map(|entry| entry.file_name().to_string_lossy().into_owned());
        processes.chain(folders.filter(|name| name.contains(&mark))).collect()
    }

    fn nothing_is_left(&self) {
        until("nothing is left", || self.left().is_empty().then_some(()));
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = Command::new("kill").arg("-TERM").arg(self.0.id().to_string()).status();
        }
        let _ = self.0.wait();
    }
}

/// Numbers, versions and the run of blanks differ from day to day.
fn shape(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        for state in ["ready", "drained", "draining", "returned"] {
            line = line.replace(&format!(" {state} "), " STATE ");
        }
        let mut digits = false;
        for c in line.chars() {
            if !c.is_ascii_digit() {
                out.push(c);
            } else if !digits {
                out.push('#');
            }
            digits = c.is_ascii_digit();
        }
        out.push('\n');
    }
    out
}

fn plays(kind: &str) {
    if haproxy().is_none() {
        return;
    }
    let began = Instant::now();
    let mut playing = Playing::start(&[kind, "--fast"]);
    let out = BufReader::new(playing.0.stdout.take().unwrap());
    let mut lines = out.lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    assert!(first.contains(" listens at 127.0.0.1:"), "{first}");
    assert!(playing.left().len() >= 2, "it runs: {:?}", playing.left());
    let lines: Vec<String> = lines.collect();
    let code = playing.0.wait().unwrap().code();
    let text = lines.join("\n");
    let errors = std::io::read_to_string(playing.0.stderr.take().unwrap()).unwrap();
    assert_eq!((code, &*errors), (Some(0), ""), "{text}");
    let took = began.elapsed();
    println!("{kind}: played in {took:?}");
    playing.nothing_is_left();

    let (progress, table) = text.split_once("\n\n").unwrap();
    expect(&format!("demo-{kind}.txt"), &shape(table));
    let mut rest = progress;
    for words in [
        " rooms open until",
        " reload: waited ",
        " is drained: ",
        " is added in ",
        " dies with ",
        " are elsewhere",
        " is back",
    ] {
        let at = rest.find(words).unwrap_or_else(|| panic!("no {words:?} in its place:\n{progress}"));
        rest = &rest[at..];
    }
    assert!(progress.contains(" is empty: "), "{progress}");
    let number = |what: &str| -> u64 {
        let line = table.lines().find_map(|line| line.trim_start().strip_prefix(what)).unwrap();
        line.trim().parse().unwrap()
    };
    assert_eq!((number("split"), number("failed otherwise"), number("moved again")), (0, 0, 0));
    assert!(number("moved once") > 0 && number("never moved") > 40, "{table}");
    assert_eq!(number("rooms"), number("moved once") + number("never moved"));
    println!("{kind}: a morning of {} requests in {took:?}: 0 astray", number("requests"));
}

#[test]
fn a_morning_of_edumeet() {
    plays("edumeet");
}

#[test]
fn a_morning_of_shards() {
    plays("shards");
}

#[test]
fn interrupted_it_leaves_nothing() {
    if haproxy().is_none() {
        return;
    }
    for signal in ["-INT", "-TERM"] {
        let mut playing = Playing::start(&["edumeet", "-o", "json"]);
        let errors = BufReader::new(playing.0.stderr.take().unwrap());
        let mut lines = errors.lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains(" rooms open ")));
        assert!(playing.left().len() >= 2);
        assert!(Command::new("kill").arg(signal).arg(playing.0.id().to_string()).status().unwrap().success());
        assert_eq!(playing.0.wait().unwrap().code(), Some(1), "{signal}");
        // It may have told of something else before it heard.
        assert!(lines.any(|line| line == "error: interrupted"), "{signal}");
        playing.nothing_is_left();
    }
}

#[test]
fn what_is_no_haproxy_is_said() {
    let ran = run(&["demo", "edumeet", "--haproxy", "/nonexistent/haproxy"]);
    assert!(ran.code == 1 && ran.err.contains("/nonexistent/haproxy cannot be run"), "{ran:?}");
    assert!(ran.err.contains("hint: "), "{ran:?}");
    assert_eq!(run(&["demo", "cookie"]).code, 2);
}
