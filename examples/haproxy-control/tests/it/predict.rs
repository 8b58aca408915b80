//! `predict`.

use serde_json::Value;

use crate::{Folder, expect, run, run_in};

const CONFIG: &str = "\
defaults d
    mode http
    hash-type consistent
defaults other
    mode http
    balance roundrobin
backend raw from d
    balance url_param room
    default-server weight 10
    http-request set-path /x
    server a 192.0.2.1:80 id 1 check agent-send \"weight 7 disabled\"
    server b 192.0.2.2:80 id 2 weight 30
    server c 192.0.2.3:80 id 3 disabled
backend hashed from d
    balance hash url_param(room),url_dec,lower
    stick-table type string len 64 size 10k expire 1h
    stick on url_param(room),url_dec,lower if { path /join }
    server a 192.0.2.1:80 id 1
    server b 192.0.2.2:80 id 2
backend turns
    stick on src table shared/t
    server a 192.0.2.1:80
    server b 192.0.2.2:80
backend numbers from d
    balance hash url_param(n),crc32
    server a 192.0.2.1:80
backend variable from d
    balance url_param \"$NAME\"
    server a 192.0.2.1:80
backend many from d
    server-template s 1-3 192.0.2.1:80
backend none from d
    balance source
peers shared
    peer me 127.0.0.1:10000
    table t type ip size 1k expire 1h
";

/// Asks the sample configuration.
fn ask(backend: &str, more: &[&str], keys: &str) -> crate::Ran {
    let folder = Folder::new("haproxy-control");
    folder.put("a.cfg", CONFIG);
    let args = ["predict", "--config", "a.cfg", "--backend", backend, "--haproxy-version", "2.6"];
    run_in(&folder, &[&args[..], more].concat(), keys)
}

#[test]
fn one_server_a_line() {
    let keys: String = (1..=40).map(|n| format!("room{n}\n")).collect();
    let ran = ask("raw", &["-o", "wide"], &keys);
    assert_eq!((ran.code, &*ran.err), (0, ""), "{ran:?}");
    expect("predict.txt", &ran.out);
    let plain = ask("raw", &[], &keys).out;
    assert_eq!(plain.lines().count(), 40);
    let count = |name: &str| plain.lines().filter(|line| *line == name).count();
    assert!(count("c") == 0 && count("b") > count("a"), "{plain}");
    // The same from options.
    let args = ["predict", "--algorithm", "url_param room", "--hash-type", "consistent", "--haproxy-version", "2.6"];
    let ran = run_in(
        &Folder::new("haproxy-control"),
        &[&args[..], &["--server", "a:10:1", "--server", "b:30"]].concat(),
        &keys,
    );
    assert_eq!((ran.code, ran.out), (0, plain.clone()), "{}", ran.err);
    // The same from requests.
    let requests: String = (1..=40).map(|n| format!("GET /join?room=room{n}\tHost: x\n")).collect();
    let ran = ask("raw", &["--requests"], &requests);
    assert_eq!((ran.code, ran.out), (0, plain));
    assert!(ran.err.contains("a.cfg:10: set-path is left out"), "{}", ran.err);
}

#[test]
fn a_key_is_what_is_hashed() {
    let by_key = ask("hashed", &[], "große halle\nx\n");
    assert_eq!(by_key.code, 0, "{by_key:?}");
    let by_request = ask("hashed", &["--requests"], "/join?room=Gro%C3%9Fe%20Halle\n/join?room=x\n");
    assert_eq!(by_request.out, by_key.out, "{by_request:?}");
    // A value that is hashed as it is sent must be given as it is sent.
    let ran = ask("raw", &[], "a\nbig hall\n");
    assert!(ran.code == 1 && ran.err.contains("standard input:2: \"big hall\" cannot stand in a URL"), "{ran:?}");
    assert_eq!(ask("raw", &["--encode"], "big hall\n").out, ask("raw", &[], "big%20hall\n").out);
}

#[test]
fn reasons_in_json() {
    let ran = ask("hashed", &["-o", "json"], "algebra\n\nalgebra\n");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 2, "a blank line is no object");
    let first: Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!((&first["key"], &first["by_chance"]), (&"algebra".into(), &false.into()));
    assert_eq!(first["server"], first["outcome"]);
    assert!(first["why"][0].as_str().unwrap().contains("has hash 0x"), "{first}");
    let again: Value = serde_json::from_str(lines[1]).unwrap();
    assert!(again["why"][0].as_str().unwrap().ends_with("remembered by the stick table under this key"), "{again}");
}

#[test]
fn turns_are_kept_by_a_shared_table() {
    let ran = ask("turns", &[], "192.0.2.9\n192.0.2.8\n192.0.2.9\n192.0.2.7\n");
    assert_eq!((ran.code, &*ran.out), (0, "a\nb\na\na\n"), "{ran:?}");
    assert!(ran.err.contains("roundrobin looks at no key"), "{}", ran.err);
    let ran = ask("turns", &[], "room\n");
    assert!(ran.code == 1 && ran.err.contains("\"room\" is no address"), "{ran:?}");
}

#[test]
fn what_cannot_be_predicted_is_refused() {
    for (backend, more, want) in [
        ("numbers", &[][..], "a.cfg:25: what this hashes is no text"),
        ("variable", &[], "a.cfg:28: what its environment variable says"),
        ("many", &[], "a.cfg:31: server-template brings servers"),
        ("none", &[], "the backend has no server"),
        ("hashd", &[], "no backend is called \"hashd\"; did you mean \"hashed\"?"),
    ] {
        let ran = ask(backend, more, "a\n");
        assert!(ran.code > 0 && ran.out.is_empty() && ran.err.contains(want), "{ran:?}");
    }
    let ran = ask("raw", &["--requests"], "two words here\n");
    assert!(ran.code == 1 && ran.err.contains("is no request"), "{ran:?}");
    let ran = ask("raw", &[], &"x".repeat(100_000));
    assert!(ran.code == 1 && ran.err.contains("longer than"), "{ran:?}");
}

#[test]
fn keys_without_a_server() {
    let folder = Folder::new("haproxy-control");
    folder.put("a.cfg", "backend b\n balance source\n server a 192.0.2.1:80 disabled\n");
    let args = ["predict", "--config", "a.cfg", "--backend", "b", "--haproxy-version", "2.6"];
    let ran = run_in(&folder, &args, "192.0.2.9\n");
    assert_eq!((ran.code, &*ran.out), (1, "<none>\n"), "{ran:?}");
    assert!(ran.err.contains("1 of 1 find no server"));
    // Some do, some do not: HAProxy 2.6 refuses a target without a path.
    let ran = ask("raw", &["--requests", "-o", "json"], "/?room=a\nhttp://h?room=a\n");
    assert!(ran.code == 4 && ran.out.contains("refused (400)"), "{ran:?}");
}

#[test]
fn chance_is_said() {
    let folder = Folder::new("haproxy-control");
    let args = ["predict", "--algorithm", "random", "--server", "a", "--server", "b", "--haproxy-version", "2.6"];
    let ran = run_in(&folder, &args, "x\n");
    assert!(ran.code == 0 && ran.err.contains("chance decides 1 of 1"), "{ran:?}");
}

#[test]
fn mangled_configurations_do_no_harm() {
    let folder = Folder::new("haproxy-control");
    let mut seed = 11_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let pieces =
        ["\n", " ", "'", "\\", "(", ",", "stick on ", "server ", "%[", "weight -1 ", "\u{0}", "from d", "65536"];
    for _ in 0..150 {
        let mut text = CONFIG.as_bytes().to_vec();
        for _ in 0..=random(6) {
            let (at, len) = (random(text.len()), random(12));
            let end = (at + len).min(text.len());
            text.splice(at..end, pieces[random(pieces.len())].bytes());
        }
        folder.put("a.cfg", &text);
        let backend = ["raw", "hashed", "turns"][random(3)];
        let args = ["--config", "a.cfg", "--backend", backend, "--haproxy-version", "2.6"];
        let ran = run_in(&folder, &[&["predict"][..], &args].concat(), "192.0.2.1\nx\n");
        assert!((0..=4).contains(&ran.code), "{ran:?}\n{}", String::from_utf8_lossy(&text));
        let ran = run_in(&folder, &[&["plan"][..], &args, &["drain", "a"]].concat(), "192.0.2.1\nx\n");
        assert!((0..=4).contains(&ran.code), "{ran:?}\n{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn rooms_that_are_pinned() {
    let folder = Folder::new("haproxy-control");
    folder.put("pins.map", "# pins\nbig%20hall s2\nx s1\ny nobody\n");
    let text = "[[listen]]\nport = 80\n[[server]]\nname = \"s1\"\nhost = \"192.0.2.1\"\nid = 1\n\
        [[server]]\nname = \"s2\"\nhost = \"192.0.2.2\"\nid = 2\n";
    let pins = folder.join("pins.map");
    folder.put("a.toml", format!("pins = \"{}\"\n{text}", pins.display()));
    let rendered = run_in(&folder, &["render", "edumeet", "a.toml", "--haproxy-version", "2.6", "--no-haproxy"], "");
    folder.put("a.cfg", rendered.out);
    let args = ["--config", "a.cfg", "--backend", "rooms", "--haproxy-version", "2.6"];
    let ran = run_in(&folder, &[&["predict"][..], &args].concat(), "big hall\nx\ny\n");
    assert!(ran.code == 0 && ran.out.starts_with("s2\ns1\n") && !ran.out.contains("nobody"), "{ran:?}");
    // Plans leave them where they are.
    let plan = [&["plan"][..], &args, &["remove", "s1"]].concat();
    let ran = run_in(&folder, &plan, "big hall\nx\n");
    assert!(
        ran.out.contains("removing s1: 1 of 2 rooms would move by hash, 1 with the stick table; 1 pinned"),
        "{ran:?}"
    );
    std::fs::remove_file(&pins).unwrap();
    let ran = run_in(&folder, &[&["predict"][..], &args].concat(), "x\n");
    assert!(ran.code == 0 && ran.err.contains("cannot be read here"), "{ran:?}");
}

#[test]
fn versions_are_said_whole_where_they_matter() {
    let args = |version| {
        let fixed = ["--algorithm", "url_param x", "--hash-type", "consistent", "--server", "a", "--server", "b"];
        [&["predict", "/dev/null", "--haproxy-version", version][..], &fixed].concat()
    };
    for (version, code) in [("2.6", 0), ("2.8.25", 0), ("3.2.6", 0), ("3.3", 0), ("3.2", 2), ("3.0.5", 1)] {
        assert_eq!(run(&args(version)).code, code, "{version}");
    }
    for version in ["3.2", "3.0.5"] {
        assert_eq!(run(&[&args(version)[..], &["--ring-base", "mixed"]].concat()).code, 0, "{version}");
    }
}

#[test]
fn every_line_of_json_is_an_object() {
    let ran = ask("raw", &["-o", "json"], "a\n\nb\n");
    let keys: Vec<Value> =
        ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].clone()).collect();
    assert_eq!(keys, ["a", "b"], "{ran:?}");
    assert_eq!(ask("raw", &[], "a\n\nb\n").out.lines().nth(1), Some(""));
}

#[test]
fn says_where_a_branch_was_never_compared() {
    let notes = |version| {
        let server = ["--algorithm", "url_param room", "--server", "a", "--haproxy-version", version];
        run(&[&["predict"], &server[..]].concat()).err
    };
    for version in ["2.6", "2.8.25", "3.5-dev5"] {
        assert_eq!(notes(version), "", "{version}");
    }
    for version in ["2.4", "3.6", "9.1.0"] {
        assert!(notes(version).contains("was never compared, only 2.6 to 3.5"), "{version}: {}", notes(version));
    }
}

#[test]
fn words_without_a_value_hide_none_that_follows() {
    let folder = Folder::new("haproxy-control");
    let servers = "server a 192.0.2.1:80 strict-maxconn weight 0\n server b 192.0.2.2:80";
    folder.put("a.cfg", format!("backend b\n balance url_param room\n {servers}\n"));
    let args = ["predict", "--config", "a.cfg", "--backend", "b", "--haproxy-version", "3.5"];
    assert_eq!(run_in(&folder, &args, "1\n2\n3\n4\n").out, "b\nb\nb\nb\n");
}
