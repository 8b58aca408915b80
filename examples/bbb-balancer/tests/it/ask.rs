//! Commands that ask a balancer.

use crate::SECRET;
use crate::canned::{Canned, Reply};

const SERVERS: Reply = (
    "/scalelite/api/getServers",
    200,
    r#"[{"id":"a1","url":"https://bbb1.example.com/bigbluebutton/api","tag":"","bbb_version":"3.0.4","state":"enabled",
    "secret":"aaaabbbbccccddddeeeeffff00001111","load":21.0,"load_multiplier":"1.0","online":"online"},
    {"id":"b2","url":"https://bbb2.example.com/bigbluebutton/api","tag":"eu","bbb_version":"","state":"disabled",
    "secret":"short","load":"unavailable","load_multiplier":"2.0","online":"offline"}]"#,
);
const UPDATED: Reply =
    ("/scalelite/api/updateServer", 200, r#"{"id":"a1","secret":"aaaabbbbccccddddeeeeffff00001111"}"#);

#[test]
fn servers_are_listed_with_masked_secrets() {
    let lb = Canned::start(&[SERVERS]);
    let ran = lb.run(&["servers"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.starts_with("id: a1\n\turl: https://bbb1.example.com/bigbluebutton/api\n\tsecret: aaaa...1111\n"));
    assert_eq!(ran.out, lb.run(&["servers", "list"]).out);
    assert!(lb.run(&["servers", "--show-secrets"]).out.contains("secret: aaaabbbbccccddddeeeeffff00001111\n"));
    let json = lb.run(&["servers", "-o", "json"]).out;
    assert!(json.contains("\"aaaa...1111\"") && !json.contains("bbbbcccc"), "{json}");
    let none = Canned::start(&[("/scalelite/api/getServers", 404, r#"{"error":"No servers are configured"}"#)]);
    let ran = none.run(&["servers"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", "No servers are configured\n"));
}

#[test]
fn servers_are_printed_as_yaml() {
    let lb = Canned::start(&[SERVERS]);
    let ran = lb.run(&["servers:yaml[true]"]);
    let want = "a1:\n  bbb_version: \"3.0.4\"\n  enabled: true\n  load: 21.0\n  load_multiplier: 1.0\n  online: true\n  \
                secret: aaaabbbbccccddddeeeeffff00001111\n  state: enabled\n  \
                url: \"https://bbb1.example.com/bigbluebutton/api\"\nb2:\n  bbb_version: \"\"\n  enabled: false\n  \
                load: -1.0\n  load_multiplier: 2.0\n  online: false\n  secret: short\n  state: disabled\n  tag: eu\n  \
                url: \"https://bbb2.example.com/bigbluebutton/api\"\n";
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, want, ""));
    let ran = lb.run(&["servers", "yaml"]);
    assert!(ran.out.starts_with("a1:\n  enabled: true\n") && ran.out.contains("secret: aaaa...1111\n"), "{ran:?}");
    assert!(!ran.out.contains("state") && !ran.out.contains("bbbbcccc"), "{ran:?}");
    assert_eq!(lb.run(&["servers:yaml"]).out, lb.run(&["servers", "yaml", "--show-secrets"]).out);
    let none = Canned::start(&[("/scalelite/api/getServers", 404, r#"{"error":"No servers are configured"}"#)]);
    assert_eq!(none.run(&["servers:yaml"]).out, "{}\n");
}

#[test]
fn everything_is_printed_as_yaml_too() {
    let meetings = r#"{"meetings":[{"id":"m","server":"a1","url":"https://x/api","secret":"short"}]}"#;
    let lb = Canned::start(&[SERVERS, ("/balancer/api/meetings", 200, meetings)]);
    let want = "meetings:\n  - id: m\n    secret: \"...\"\n    server: a1\n    url: \"https://x/api\"\n";
    let ran = lb.run(&["meetings", "-o", "yaml"]);
    // What `meetings` prints for programs, in another form.
    assert_eq!((ran.code, ran.out.as_str()), (0, want), "{ran:?}");
    let ran = lb.run(&["servers", "-o", "yaml"]);
    assert!(ran.out.starts_with("- bbb_version: \"3.0.4\"\n  id: a1\n"), "{ran:?}");
    assert!(ran.out.contains("aaaa...1111") && !ran.out.contains("bbbbcccc"), "{ran:?}");
}

#[test]
fn meetings_are_watched_until_nobody_reads() {
    use std::io::BufRead;
    let meetings = r#"{"meetings":[{"id":"m","server":"a1","url":"u"}]}"#;
    let lb = Canned::start(&[("/balancer/api/meetings", 200, meetings)]);
    let mut watching = std::process::Command::new(env!("CARGO_BIN_EXE_bbb-balancer"))
        .args(["meetings", "--watch", "1", "-o", "yaml"])
        .env_clear()
        .envs([("BALANCER_URL", lb.url()), ("LOADBALANCER_SECRET", SECRET)])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    let documents = lines.by_ref().filter(|line| line == "---").take(2).count();
    assert_eq!(documents, 2);
    drop(lines);
    assert!(watching.wait().unwrap().success(), "it ends when nobody reads");
}

#[test]
fn servers_are_added() {
    let lb = Canned::start(&[SERVERS, ("/scalelite/api/addServer", 201, r#"{"id":"c3"}"#), UPDATED]);
    let url = "https://bbb3.example.com/bigbluebutton/api";
    let ran = lb.run(&["servers", "add", url, "s", "--multiplier", "2", "--tag", "eu", "--enable"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "OK\nid: c3\n", ""));
    let asked = lb.asked();
    assert!(asked[1].starts_with("POST /scalelite/api/addServer {\"server\":{"), "{asked:?}");
    assert!(asked[1].contains("\"load_multiplier\":2.0") && asked[1].contains("\"tag\":\"eu\""));
    assert_eq!(asked[2], r#"POST /scalelite/api/updateServer {"id":"c3","server":{"state":"enable"}}"#);

    let ran = lb.run(&[&format!("servers:add[{url},s,zero]")]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "OK\nid: c3\n"));
    assert!(ran.err.starts_with("WARNING!"), "{ran:?}");

    let ran = lb.run(&["servers", "add", "https://bbb3.example.com/bigbluebutton", "s"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.ends_with(&format!("  hint: use {url}\n")), "{ran:?}");
    let ran = lb.run(&["servers", "add", "https://BBB1.example.com/bigbluebutton/api/", "s"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("is there already, id: a1"), "{ran:?}");
}

#[test]
fn servers_are_changed_by_id_host_or_url() {
    let lb = Canned::start(&[SERVERS, UPDATED, ("/scalelite/api/panicServer", 200, r#"{"success":"x"}"#)]);
    let cases: &[(&[&str], &str)] = &[
        (&["servers", "enable", "a1"], r#"updateServer {"id":"a1","server":{"state":"enable"}}"#),
        (&["servers", "cordon", "bbb2.example.com"], r#"updateServer {"id":"b2","server":{"state":"cordon"}}"#),
        (
            &["servers", "disable", "https://bbb2.example.com/bigbluebutton/api"],
            r#"updateServer {"id":"b2","server":{"state":"disable"}}"#,
        ),
        (&["servers:enable[b2]"], r#"updateServer {"id":"b2","server":{"state":"enable"}}"#),
        (&["servers:loadMultiplier[a1,3]"], r#"updateServer {"id":"a1","server":{"load_multiplier":3.0}}"#),
        (&["servers:tag[a1]"], r#"updateServer {"id":"a1","server":{"tag":""}}"#),
    ];
    for (args, want) in cases {
        let ran = lb.run(args);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "OK\n", ""), "{args:?}");
        assert_eq!(lb.asked()[1], format!("POST /scalelite/api/{want}"));
    }
    let left = r#"{"meetings":[{"id":"math"},{"id":"art"}]}"#;
    let panicked = ("/scalelite/api/panicServer", 200, r#"{"success":"x"}"#);
    let busy = Canned::start(&[SERVERS, panicked, ("/balancer/api/meetings?server=a1", 200, left)]);
    let cases: &[(&[&str], &str)] = &[
        (&["servers", "panic", "a1", "--keep-state"], r#"{"id":"a1","keep_state":true}"#),
        (&["servers:panic[a1,,skip_end_calls]"], r#"{"id":"a1","keep_state":false,"skip_end_calls":true}"#),
    ];
    for (args, want) in cases {
        let ran = busy.run(args);
        assert_eq!((ran.code, ran.out.as_str()), (0, "Clearing Meeting id=math\nClearing Meeting id=art\nOK\n"));
        assert_eq!(busy.asked()[2], format!("POST /scalelite/api/panicServer {want}"));
    }
    let ran = lb.run(&["servers", "enable", "a2"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.err, "error: No server found with id: a2\n  hint: did you mean a1?\n");
    assert_eq!(lb.run(&["servers", "update", "a1"]).code, 2);
    assert_eq!(lb.run(&["servers", "update", "a1", "--multiplier", "0"]).code, 2);
}

#[test]
fn disabling_tells_what_is_left() {
    let left = |meetings| {
        let lb = Canned::start(&[SERVERS, UPDATED, ("/balancer/api/meetings?server=a1", 200, meetings)]);
        let ran = lb.run(&["servers:disable[a1]"]);
        assert_eq!((ran.code, ran.out.as_str()), (0, "OK\n"), "{ran:?}");
        assert_eq!(lb.run(&["servers", "cordon", "a1"]).err, "", "they go on there");
        ran.err
    };
    let two = left(r#"{"meetings":[{"id":"m"},{"id":"n"}]}"#);
    assert!(two.starts_with("2 meetings are left on it, and nobody can join them: "), "{two}");
    assert!(two.contains("`bbb-balancer servers panic a1` ends them"), "{two}");
    assert!(left(r#"{"meetings":[{"id":"m"}]}"#).starts_with("1 meeting is left on it"));
    assert_eq!(left(r#"{"meetings":[]}"#), "");
}

#[test]
fn removal_is_refused_while_meetings_run() {
    let busy = r#"{"error":"busy","meetings":["math","art"]}"#;
    let lb = Canned::start(&[SERVERS, ("/balancer/api/removeServer", 409, busy)]);
    let ran = lb.run(&["servers", "remove", "a1"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("has 2 running meetings") && ran.err.contains("math, art"), "{ran:?}");
    assert_eq!(lb.asked()[1], r#"POST /balancer/api/removeServer {"force":false,"id":"a1"}"#);
    let lb = Canned::start(&[SERVERS, ("/balancer/api/removeServer", 200, r#"{"success":"x"}"#)]);
    let ran = lb.run(&["servers", "remove", "a1", "--force"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "OK\n"));
    assert_eq!(lb.asked()[1], r#"POST /balancer/api/removeServer {"force":true,"id":"a1"}"#);
}

#[test]
fn polls_tell_what_failed() {
    let spelled = |word, body| Canned::start(&[("/balancer/api/poll", 200, body)]).run(&[word]);
    let poll = |body| spelled("poll", body);
    let good =
        r#"{"id":"a","url":"https://a/api","ok":true,"error":null,"seconds":0.1,"meetings":1,"users":2,"load":15.0}"#;
    let ran = poll(Box::leak(format!("{{\"results\":[{good}]}}").into_boxed_str()));
    assert_eq!(ran.code, 0);
    assert_eq!(ran.out, "https://a/api: ok in 0.10 s, 1 meeting, 2 users, load 15.0\n1 of 1 server answered\n");
    let bad = r#"{"id":"b","url":"https://b/api","ok":false,"error":"refused","seconds":0}"#;
    let some: &'static str = Box::leak(format!("{{\"results\":[{good},{bad}]}}").into_boxed_str());
    assert_eq!(spelled("poll:all", some).code, 0, "rake's poll tells, and does not judge");
    let ran = poll(some);
    assert_eq!(ran.code, 4);
    assert!(ran.out.ends_with("1 of 2 servers answered\n"));
    assert_eq!(poll(Box::leak(format!("{{\"results\":[{bad}]}}").into_boxed_str())).code, 1);
    assert_eq!(poll(r#"{"results":[]}"#).err, "No servers are configured\n");
}

#[test]
fn status_explain_and_meetings() {
    let lb = Canned::start(&[
        SERVERS,
        (
            "/balancer/api/status",
            200,
            r#"{"servers":[{"id":"a1","url":"u","host":"bbb1.example.com","state":"enabled","online":true,"health":"up",
            "meetings":1,"users":2,"largest_meeting":2,"videos":0,"load":15.0,"expected_load":15.0,"load_multiplier":1.0,
            "bbb_version":"3.0.4","tag":"","age_seconds":3.0,"stale":false}],"processes":2,"next_poll_seconds":41.2,
            "store":"redis","load_formula":"users","version":"0.1.0"}"#,
        ),
        ("/balancer/api/explain?meetingID=a+b&tag=eu%21", 200, r#"{"meeting":null,"text":"one\ntwo","decision":{}}"#),
        (
            "/balancer/api/meetings",
            200,
            r#"{"meetings":[{"id":"m","server":"a1","url":"u","voice_bridge":"1","stamp_ms":1}]}"#,
        ),
    ]);
    let ran = lb.run(&["status"]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 3));
    assert!(ran.out.contains("\n bbb1.example.com  enabled   online         1      2"), "{}", ran.out);
    assert!(
        lb.run(&["status", "-o", "wide"]).out.contains("next poll in 41 s; load = users; store: redis; 2 balancers")
    );
    assert!(lb.run(&["status", "-o", "json"]).out.contains("\"next_poll_seconds\": 41.2"));
    assert_eq!(lb.run(&["explain", "a b", "--tag", "eu!"]).out, "one\ntwo\n");
    lb.asked();
    assert_eq!(lb.run(&["meetings"]).out, "MeetingID: m\n\tServer ID: a1\n\tServer Url: u\n");
    assert_eq!(lb.asked(), ["GET /balancer/api/meetings"]);
    assert_eq!(lb.run(&["meetings", "--server", "bbb1.example.com"]).code, 0);
    assert_eq!(lb.asked()[1], "GET /balancer/api/meetings?server=a1");
}

#[test]
fn trouble_is_explained() {
    let lb = Canned::start(&[SERVERS, ("/balancer/api/status", 0, "")]);
    let ran = crate::run(&["status", "--timeout", "1"], &[("BALANCER_URL", lb.url()), ("BALANCER_SECRET", SECRET)]);
    assert_eq!(ran.code, 5, "{ran:?}");
    let ran = crate::run(&["servers", "--url", lb.url(), "--secret", "wrong"], &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("did not accept the secret: You did not pass") && !ran.err.contains("wrong"), "{ran:?}");
    let listed = format!(":{SECRET}:other");
    let ran = crate::run(&["servers"], &[("BALANCER_URL", lb.url()), ("LOADBALANCER_SECRETS", &listed)]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = crate::run(&["servers", "--url", lb.url()], &[]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("BALANCER_SECRET"), "{ran:?}");
    // Port 1 of this machine is reserved, and nobody listens there.
    let ran = crate::run(&["status"], &[("PORT", "1"), ("LOADBALANCER_SECRET", SECRET)]);
    assert_eq!(ran.code, 1);
    for want in ["http://127.0.0.1:1 cannot be reached", "cause: ", "--url or BALANCER_URL"] {
        assert!(ran.err.contains(want), "{ran:?}");
    }
}

#[test]
fn the_balancer_is_called_where_its_settings_say() {
    let lb = Canned::start(&[SERVERS]);
    let (at, secret) = (lb.url().trim_start_matches("http://"), ("LOADBALANCER_SECRET", SECRET));
    let port = at.rsplit(':').next().unwrap();
    let any = format!("tcp://0.0.0.0:{port}");
    for env in [
        &[("PORT", port)][..],
        &[("BIND", at), ("PORT", "1")],
        &[("BIND", &any)],
        &[("BALANCER_ADMIN_BIND", at), ("BIND", "127.0.0.1:1")],
        &[("BALANCER_ADMIN_BIND", at), ("BIND", "unix:///run/bbb.sock"), ("URL_HOST", "bbb.example.com")],
    ] {
        let ran = crate::run(&["servers"], &[env, &[secret]].concat());
        assert_eq!(ran.code, 0, "{env:?}: {ran:?}");
    }
    let file = std::env::temp_dir().join(format!("bbb-balancer-ask-{}.toml", std::process::id()));
    std::fs::write(&file, format!("bind = \"{at}\"\nloadbalancer_secret = \"{SECRET}\"\n")).unwrap();
    let ran = crate::run(&["servers"], &[("BALANCER_CONFIG", file.to_str().unwrap())]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ran.code, 0, "{ran:?}");
    let gone = crate::run(&["servers"], &[("BALANCER_CONFIG", file.to_str().unwrap())]);
    assert!(gone.code == 2 && gone.err.contains(file.to_str().unwrap()), "{gone:?}");
    let socket = crate::run(&["servers"], &[("BIND", "unix:///run/bbb.sock"), secret]);
    assert!(
        socket.code == 2 && socket.err.contains("/run/bbb.sock") && socket.err.contains("BALANCER_URL"),
        "{socket:?}"
    );
    let wrong = crate::run(&["servers"], &[("PORT", "many"), secret]);
    assert!(wrong.code == 2 && wrong.err.contains("environment PORT"), "{wrong:?}");
}

#[test]
fn meetings_are_told_of_and_ended() {
    let lb = Canned::start(&[
        SERVERS,
        (
            "/balancer/api/meeting?meetingID=a+b",
            200,
            r#"{"id":"a b","server":"a1","url":"u","name":"Art","internal_id":"i-1","create_date":"today",
            "recording":true,"participants":3,"metadata":{"origin":"moodle"}}"#,
        ),
        ("/balancer/api/meeting?meetingID=none", 404, r#"{"error":"Couldn't find meeting with id=none"}"#),
        (
            "/balancer/api/meetings",
            200,
            r#"{"meetings":[{"id":"m","server":"a1","url":"u"},{"id":"n","server":"a1","url":"u"}]}"#,
        ),
        ("/balancer/api/endMeeting", 200, r#"{"success":"x"}"#),
    ]);
    let want = "MeetingID: a b\n\tServer ID: a1\n\tServer Url: u\n\tMeeting Name: Art\n\tInternal Meeting ID: i-1\n\t\
                Created Date: today\n\tRecording Enabled: true\n\tParticipants: 3\n\tMetadata:\n\t\torigin: moodle\n";
    for args in [&["meetings", "info", "a b"][..], &["meetings:info[a b]"]] {
        let ran = lb.run(args);
        assert_eq!((ran.code, ran.out.as_str()), (0, want), "{ran:?}");
    }
    assert!(lb.run(&["meetings", "info", "none"]).err.contains("Couldn't find meeting with id=none"));
    assert!(lb.run(&["meetings", "info", "a b", "-o", "yaml"]).out.contains("origin: moodle"));
    let listed = lb.run(&["meetings"]).out;
    for args in [&["meetings", "list"][..], &["meetings:list"], &["meetings:list[a1]"]] {
        assert_eq!(lb.run(args).out, listed, "{args:?}");
    }
    let by_server = lb.run(&["servers:meeting_list[a1]"]).out;
    let want = "Server ID: a1\nServer Url: https://bbb1.example.com/bigbluebutton/api\nMeetingIDs:\n\tm\n\tn\n";
    assert_eq!(by_server, want);

    // Nobody is there to say yes: nothing is ended, and nothing waits.
    lb.asked();
    for args in [&["meetings", "end", "m"][..], &["meetings:end[m]"]] {
        let ran = lb.run(args);
        assert_eq!(ran.code, 3, "{ran:?}");
        assert_eq!(lb.asked(), ["GET /balancer/api/meetings"]);
    }
    let ran = lb.run(&["meetings", "end", "m", "--dry-run"]);
    assert_eq!((ran.code, lb.asked().len()), (0, 1), "{ran:?}");
    assert!(ran.out.starts_with("MeetingID: m\n") && ran.out.ends_with("Nothing was ended (--dry-run)\n"), "{ran:?}");
    let ran = lb.run(&["meetings", "end", "m", "n", "--yes"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "Ended m\nEnded n\nOK\n"), "{ran:?}");
    assert_eq!(lb.asked()[1..], ["m", "n"].map(|id| format!(r#"POST /balancer/api/endMeeting {{"id":"{id}"}}"#)));
    let ran = lb.run(&["meetings", "end", "m", "x", "--yes"]);
    assert_eq!((ran.code, lb.asked().len()), (1, 1), "{ran:?}");
}

#[test]
fn rake_reads_the_yes_and_lives() {
    use std::io::Write;
    let lb = Canned::start(&[
        ("/balancer/api/meetings", 200, r#"{"meetings":[{"id":"m","server":"a1","url":"u"}]}"#),
        ("/balancer/api/endMeeting", 200, r#"{"success":"x"}"#),
    ]);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_bbb-balancer"))
        .arg("meetings:end[m]")
        .env_clear()
        .envs([("BALANCER_URL", lb.url()), ("LOADBALANCER_SECRET", SECRET)])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"yes\n").unwrap();
    let ran = crate::Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.out.as_str()), (0, "Ended m\nOK\n"), "{ran:?}");
    for word in ["liveness", "liveness[]"] {
        let ran = crate::run(&[word], &[]);
        assert_eq!((ran.code, ran.out.as_str()), (0, "success\n"));
    }
}
