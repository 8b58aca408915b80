//! When to add and to remove bridges, and the command that does it.

use serde_json::{Value, json};

use crate::{Folder, expect, run};

fn sample() -> String {
    format!("{}/tests/golden/presences.xml", env!("CARGO_MANIFEST_DIR"))
}

/// A look at three bridges of one stress in hundredths, as `watch -o json` prints it.
fn look(minute: u64, hundredths: u32) -> Value {
    let stress = f64::from(hundredths) / 100.0;
    let bridge = |number: u32, region: &str| {
        json!({
            "bridge": format!("jvb{number}"), "jid": format!("brewery@meet.example/jvb{number}"), "state": "ready",
            "stress": stress, "corrected_stress": stress, "conferences": 1, "endpoints": hundredths + number,
            "region": region, "operational": true, "overloaded": stress >= 0.8, "drain": false,
        })
    };
    let bridges = [bridge(1, "eu"), bridge(2, "eu"), bridge(3, "us")];
    json!({ "type": "bridges", "unix_ms": minute * 60_000, "connected": true, "bridges": bridges })
}

/// A day in an hour: quiet, a steep morning, a plateau with noise, an evening.
fn day() -> String {
    let stress = |minute: u32| match minute {
        0..10 => 35,
        10..25 => 35 + 3 * (minute - 10),
        25..40 => 80 - 2 * (minute % 2),
        _ => 10,
    };
    let mut lines: Vec<String> = (0..90).map(|minute| look(minute.into(), stress(minute)).to_string()).collect();
    lines.insert(1, json!({ "type": "event", "event": "joined", "bridge": "jvb1" }).to_string());
    // What was seen while nobody was heard shows the past.
    lines.insert(30, json!({ "type": "bridges", "unix_ms": 1, "connected": false, "bridges": [] }).to_string());
    lines.join("\n")
}

#[test]
fn a_look_and_a_day() {
    let ran = run(&["advise", "--presences", &sample()], &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    expect("advise.txt", &ran.out);
    let folder = Folder::new("advise-day");
    let file = folder.write("day.jsonl", &day());
    let ran = run(&["advise", "--recorded", &file, "--max", "6"], &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    expect("advise-day.txt", &ran.out);
    let ran = run(&["advise", "--recorded", &file, "--max", "6", "-o", "json"], &[]);
    let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Each change, and the end once more; noise on the plateau is no change.
    assert!((5..=20).contains(&lines.len()), "{}", lines.len());
    assert!(lines.iter().all(|line| line["type"] == "advice" && line["ours"]["reason"].is_string()));
    let max = lines.iter().map(|line| line["ours"]["needed"].as_u64().unwrap()).max();
    assert_eq!(max, Some(6), "three of 0.8 and one to spare, up to the limit");
    let last = lines.last().unwrap();
    assert_eq!((&last["ours"]["action"], &last["ours"]["drain"]), (&"drain".into(), &json!(["jvb1"])));
    // What `rank` prints is one look.
    let ranked = folder.write("rank.json", &run(&["rank", "--presences", &sample(), "-o", "json"], &[]).out);
    let args = ["-o", "json", "--hold", "0", "--protect", "jvb2"];
    let once = |more: &[&str]| -> Value {
        let mut value: Value = serde_json::from_str(&run(&[&["advise"], more, &args].concat(), &[]).out).unwrap();
        value["unix_ms"] = Value::Null;
        value
    };
    assert_eq!(once(&["--recorded", &ranked]), once(&["--presences", &sample()]));
}

#[test]
fn an_empty_or_unknown_victim() {
    let folder = Folder::new("advise-victim");
    let mut bridges = look(0, 10);
    bridges["bridges"][1]["endpoints"] = 0.into();
    bridges["bridges"][0]["endpoints"] = Value::Null;
    bridges["bridges"][0]["drain"] = true.into();
    let file = folder.write("now.json", &bridges.to_string());
    let advise = |more: &[&str]| -> Value {
        let args = ["advise", "--recorded", &file, "-o", "json", "--spare", "0", "--hold", "0"];
        serde_json::from_str(&run(&[&args[..], more].concat(), &[]).out).unwrap()
    };
    // The last of the only other region stays, and jvb1 drains already: of it nobody knows whether it is empty.
    assert_eq!(advise(&[])["ours"]["reason"], "no-victim");
    assert_eq!(advise(&[])["ours"]["stop"], json!([]));
    assert_eq!(advise(&["--empty-regions"])["ours"]["drain"], json!(["jvb2"]), "the empty one");
    assert_eq!(advise(&["--empty-regions", "--protect", "jvb2"])["ours"]["drain"], json!(["jvb3"]));
}

#[test]
fn the_command_gets_the_advice() {
    let folder = Folder::new("advise-exec");
    let hot = folder.write("hot.json", &look(0, 90).to_string());
    let calm = folder.write("calm.json", &look(0, 40).to_string());
    let out = folder.at("out");
    let advise = |file: &str, more: &[&str]| {
        let env = [("OUT", &*out), ("JITSI_PICKER_PASSWORD", "geheim")];
        run(&[&["advise", "--recorded", file], more].concat(), &env)
    };
    let ran = advise(&hot, &["--shell", "--exec", "env | grep ^ADVICE_ > \"$OUT\"; env | grep -c geheim >> \"$OUT\""]);
    assert_eq!(ran.code, 1, "grep finds no password: {ran:?}");
    assert!(ran.err.contains("ended with 1 after"), "{ran:?}");
    let told = std::fs::read_to_string(&out).unwrap();
    for want in
        ["ADVICE_ACTION=add\n", "ADVICE_ADD=3\n", "ADVICE_REASON=load\n", "ADVICE_BY=ours\n", "ADVICE_NEEDED=6\n"]
    {
        assert!(told.contains(want), "{want} in {told}");
    }
    assert!(told.ends_with("\n0\n"), "{told}");
    // No shell unless it is asked for, and nothing at all where nothing is to be done.
    let shellish = format!("touch {out}.shell");
    let ran = advise(&hot, &["--exec", &shellish]);
    assert!(ran.code == 1 && ran.err.contains("cannot be run"), "{ran:?}");
    let touched = |name: &str| std::path::Path::new(&format!("{out}.{name}")).exists();
    let touch = |file: &str, name: &str, more: &[&str]| {
        let path = format!("{out}.{name}");
        advise(file, &[&["--exec", "/usr/bin/env", "--exec-arg", "touch", "--exec-arg", &path], more].concat())
    };
    assert_eq!((touch(&calm, "calm", &["--by", "autoscaler"]).code, touched("calm")), (0, false));
    let ran = touch(&hot, "hot", &[]);
    assert!(ran.code == 0 && ran.err.contains("/usr/bin/env ended with 0 after"), "{ran:?}");
    assert_eq!((touched("hot"), touched("shell")), (true, false));
    assert_eq!((touch(&hot, "auto", &["--by", "autoscaler"]).code, touched("auto")), (0, true));
    // Whoever takes too long is killed with all it has started.
    let began = std::time::Instant::now();
    let ran = advise(&hot, &["--shell", "--exec", "sleep 600 & sleep 600", "--exec-timeout", "1"]);
    let after = ran.err.split_once("was killed after ").and_then(|(_, rest)| rest.split_once(" s"));
    assert!(ran.code == 5 && after.is_some_and(|(after, _)| after.parse::<f64>().is_ok_and(|it| it >= 1.0)), "{ran:?}");
    assert!(began.elapsed().as_secs() < 60, "the pipe of its errors is closed");
}

#[test]
fn a_recording_may_be_long_but_none_of_its_lines() {
    let folder = Folder::new("advise-long");
    let blank = format!("{}\n", " ".repeat(8 << 20));
    let long = format!("{}{}\n", blank.repeat(9), look(0, 90));
    assert!(long.len() > 72 << 20);
    let ran = run(&["advise", "--recorded", &folder.write("long", &long)], &[]);
    assert!(ran.code == 0 && ran.out.contains("add 3"), "{ran:?}");
    let ran = run(&["advise", "--recorded", "/dev/zero"], &[]);
    assert!(ran.code == 1 && ran.err.contains("line 1 of /dev/zero") && ran.err.contains("longer than"), "{ran:?}");
}

#[test]
fn what_is_no_recording_is_said() {
    let folder = Folder::new("advise-broken");
    for (text, want) in [
        ("{\"bridges\":[]}\n{", "line 2 of"),
        ("[]", "it has no bridges"),
        ("{\"bridges\":[{}]}", "a bridge has no name"),
        ("{\"type\":\"event\"}", "there is no look at bridges in it"),
    ] {
        let ran = run(&["advise", "--recorded", &folder.write("x", text)], &[]);
        assert!(ran.code == 1 && ran.err.contains(want), "{text} {ran:?}");
    }
    for args in [
        &["--recorded", "x", "--watch"][..],
        &["--presences", "x", "--watch"],
        &["--exec-arg", "x"],
        &["--shell"],
        &["--for", "1"],
    ] {
        assert_eq!(run(&[&["advise"], args].concat(), &[]).code, 2, "{args:?}");
    }
}
