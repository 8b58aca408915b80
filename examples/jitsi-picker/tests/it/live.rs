//! The demonstration on a real Prosody, and the other commands beside it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::{command, run};

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

    let wrong: Vec<_> = env.iter().copied().filter(|(name, _)| !name.ends_with("_FILE")).collect();
    let ran = run(&["rank"], &[&wrong[..], &[("JITSI_PICKER_PASSWORD", "geheim")]].concat());
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("not-authorized") && !ran.err.contains("geheim"), "{ran:?}");
    assert_eq!(kept.end(), Some(0), "ending what was kept is no failure");
}
