//! `plan`, against a canned balancer and against a real one.

use std::process::{Command, Stdio};

use adapter_bbb::testing::{FakeBbb, FakeOptions};
use serde_json::Value;

use crate::canned::{Canned, Reply};
use crate::processes::{Balancer, SECRET};

const SERVERS: Reply = (
    "/scalelite/api/getServers",
    200,
    r#"[{"id":"a1","url":"https://bbb1.example.com/bigbluebutton/api","state":"enabled","secret":"x","online":"online"},
    {"id":"b2","url":"https://bbb2.example.com/bigbluebutton/api","state":"enabled","secret":"y","online":"online"}]"#,
);

const PLAN: Reply = (
    "/balancer/api/plan",
    200,
    r#"{"hosts":{"a1":"bbb1.example.com","b2":"bbb2.example.com"},"plan":{"strategy":"least-loaded","seed":0,
    "totals":{"rooms":3,"stay":2,"moved":1,"placed":0,"refused":0,"moved_alone":2},
    "servers":[{"id":"a1","added":false,"removed":true,"admin":null,"health":null,"weight":null,"before":1,"after":0,
    "alone_before":2,"alone_after":0},{"id":"b2","added":false,"removed":false,"admin":"ready","health":"up",
    "weight":1.0,"before":2,"after":3,"alone_before":1,"alone_after":3}],
    "rooms":[{"room":"math","from":"a1","to":"b2","fate":"moves","why":"gone","alone_before":"a1","alone_after":"b2",
    "alone_why":"gone","reason":"its server is gone","seed":1},
    {"room":"art","from":"b2","to":"b2","fate":"stays","why":"same","alone_before":"a1","alone_after":"b2",
    "alone_why":"gone","reason":"nothing changes for it; alone: its server is gone","seed":2},
    {"room":"calm","from":"b2","to":"b2","fate":"stays","why":"same","alone_before":"b2","alone_after":"b2",
    "alone_why":"same","reason":"nothing changes for it","seed":3}]}}"#,
);

#[test]
fn tables_and_json() {
    let lb = Canned::start(&[SERVERS, PLAN]);
    let ran = lb.run(&["plan", "remove", "bbb1.example.com"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let lines: Vec<Vec<&str>> = ran.out.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["MEETING", "FROM", "TO", "SELECTOR", "ALONE", "WHY"]);
    assert_eq!(lines[2][..3], ["math", "bbb1.example.com", "bbb2.example.com"]);
    assert_eq!(lines[3][..6], ["art", "bbb2.example.com", "stays", "bbb1.example.com", "->", "bbb2.example.com"]);
    assert!(!ran.out.contains("calm"));
    assert_eq!(lines[6], ["bbb1.example.com", "removed", "<none>", "1", "0", "2", "0"]);
    assert_eq!(lines[7], ["bbb2.example.com", "enabled", "online", "2", "3", "1", "3"]);
    assert!(ran.out.ends_with(
        "\n3 meetings: 2 stay, 1 would move, 0 are new, 0 find no server; the selector alone would move 2.\n\
         Nothing was changed.\n"
    ));
    assert!(lb.run(&["plan", "remove", "a1", "-o", "wide"]).out.contains("calm"));
    let json: Value = serde_json::from_str(&lb.run(&["plan", "remove", "a1", "-o", "json"]).out).unwrap();
    assert_eq!(json["plan"]["rooms"][0]["to"], "b2");
}

#[test]
fn what_is_asked() {
    let lb = Canned::start(&[SERVERS, PLAN]);
    let file = std::env::temp_dir().join(format!("plan-meetings-{}", std::process::id()));
    std::fs::write(&file, "one\n\n two \r\none\n").unwrap();
    let path = file.to_str().unwrap();
    let url = "https://bbb9.example.com/bigbluebutton/api";
    let words = ["plan", "drain", "b2", "add", url, "weight", "a1", "2", "--weight", "1.5", "--meetings", path];
    assert_eq!(lb.run(&words).code, 0);
    let asked = lb.asked().pop().unwrap();
    let body = asked.strip_prefix("POST /balancer/api/plan ").unwrap();
    let want = r#"{"meetings":["one","two"],"steps":[{"drain":"b2"},{"add":{"load_multiplier":1.5,"url":"URL"}},
        {"weight":{"id":"a1","load_multiplier":2.0}}]}"#;
    let want: Value = serde_json::from_str(&want.replace("URL", url)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), want);

    let wrong = |args: &[&str], code: i32, part: &str| {
        let ran = lb.run(args);
        assert!(ran.code == code && ran.err.contains(part) && ran.out.is_empty(), "{args:?} {ran:?}");
    };
    wrong(&["plan", "remov", "a1"], 2, "did you mean \"remove\"?");
    wrong(&["plan", "drain"], 2, "lacks a server");
    wrong(&["plan"], 2, "CHANGE");
    wrong(&["plan", "drain", "a2"], 1, "did you mean a1?");
    wrong(&["plan", "drain", "a1", "--meetings", "/no/such/file"], 1, "cannot be read");
    std::fs::write(&file, "\n \n").unwrap();
    wrong(&["plan", "drain", "a1", "--meetings", path], 2, "names no meeting");
    std::fs::write(&file, [0xff, 0xfe]).unwrap();
    wrong(&["plan", "drain", "a1", "--meetings", path], 2, "is not UTF-8");
    std::fs::write(&file, "x".repeat(1025)).unwrap();
    wrong(&["plan", "drain", "a1", "--meetings", path], 2, "too long");
    std::fs::write(&file, "abc\n".repeat(300_000)).unwrap();
    wrong(&["plan", "drain", "a1", "--meetings", path], 2, "more than 900 KiB");
    std::fs::remove_file(&file).unwrap();
    let old = Canned::start(&[SERVERS, ("/balancer/api/plan", 400, r#"{"error":"a plan takes at most 3 meetings"}"#)]);
    let ran = old.run(&["plan", "drain", "a1"]);
    assert_eq!((ran.code, ran.err.contains("cause: a plan takes at most 3 meetings")), (1, true), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_balancer_stays_as_it_is() {
    let mut fakes = Vec::new();
    for n in 0..3 {
        fakes.push(FakeBbb::start(FakeOptions::new(format!("a-servers-own-secret-{n}"))).await.unwrap());
    }
    tokio::task::block_in_place(|| {
        let lb = Balancer::in_memory();
        let ids: Vec<String> = fakes.iter().map(|f| lb.add(&f.base(), f.secret())).collect();
        lb.poll();
        for n in 0..6 {
            assert!(lb.create(&format!("m{n}")).contains("SUCCESS"));
        }
        // What they add to the loads is shown some time later, unless it is measured.
        lb.poll();
        let url = format!("http://127.0.0.1:{}", lb.port);
        let run = |args: &[&str]| crate::run(args, &[("BALANCER_URL", &url), ("BALANCER_SECRET", SECRET)]);
        let seen = || {
            let mut status = lb.status();
            status["uptime_seconds"] = Value::Null;
            status["next_poll_seconds"] = Value::Null;
            for server in status["servers"].as_array_mut().unwrap() {
                server["age_seconds"] = Value::Null;
            }
            (status, run(&["meetings"]).out)
        };
        let before = seen();
        let new = "https://bbb9.example.com/bigbluebutton/api";
        let words = ["plan", "remove", &ids[0], "disable", &ids[1], "add", new, "-o", "json"];
        let ran = run(&words);
        assert_eq!(ran.code, 0, "{ran:?}");
        let plan: Value = serde_json::from_str(&ran.out).unwrap();
        let totals = &plan["plan"]["totals"];
        assert_eq!((&totals["rooms"], &totals["stay"], &totals["moved"]), (&6.into(), &2.into(), &4.into()), "{plan}");
        let table = run(&words[..words.len() - 2]).out;
        println!("{table}");
        assert!(table.contains("bbb9.example.com") && table.contains("its server is gone"));
        assert!(!table.contains("own-secret") && !ran.out.contains("own-secret"));
        assert_eq!(run(&["plan", "weight", &ids[2], "3"]).code, 0);

        // From standard input, known ones and new ones.
        let mut child = Command::new(env!("CARGO_BIN_EXE_bbb-balancer"))
            .args(["plan", "drain", &ids[0], "--meetings", "-"])
            .env_clear()
            .envs([("BALANCER_URL", url.as_str()), ("BALANCER_SECRET", SECRET)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"m0\nbrand-new\n").unwrap();
        let out = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert!(out.contains("brand-new") && out.contains("it lives nowhere yet"), "{out}");
        assert!(out.contains("2 meetings: 1 stay, 0 would move, 1 are new"), "{out}");
        assert_eq!(seen(), before);
    });
}
