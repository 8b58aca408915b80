//! `doctor`: what it finds, and what it says about it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use adapter_bbb::testing::{FakeBbb, FakeOptions, Mode};
use serde_json::{Value, json};

use crate::canned::Canned;
use crate::processes::{self, Balancer, free_port};
use crate::{Ran, SECRET, run};

const OTHER: &str = "bbbbccccddddeeeeffff00001111222233334444";

fn server(id: &str, url: &str, secret: &str) -> Value {
    json!({"id": id, "url": url, "secret": secret, "state": "enabled", "online": "online", "load": 1.0, "tag": "",
        "load_multiplier": "1.0", "bbb_version": "3.0.4"})
}

fn balancer(servers: &[Value]) -> Canned {
    let servers: &'static str = Box::leak(Value::from(servers).to_string().into_boxed_str());
    let status = r#"{"servers":[],"processes":1,"store":"memory","version":"0.1.0"}"#;
    Canned::start(&[("/scalelite/api/getServers", 200, servers), ("/balancer/api/status", 200, status)])
}

fn doctor(lb: &Canned, more: &[&str]) -> Ran {
    let args: Vec<&str> = ["doctor"].iter().chain(more).copied().collect();
    // Somebody who is only slow is waited for; one of the servers never answers, and this long it takes.
    let limits = [("CONNECT_TIMEOUT", "5"), ("RESPONSE_TIMEOUT", "5")];
    let env = [("BALANCER_URL", lb.url()), ("LOADBALANCER_SECRET", SECRET), ("BALANCER_MEMORY", "true")];
    run(&args, &[&env[..], &limits].concat())
}

/// The text with what differs from run to run replaced.
fn settled(text: &str, ports: &[(&str, u16)]) -> String {
    let mut text = text.to_owned();
    for (name, port) in ports {
        text = text.replace(&format!(":{port}"), &format!(":{name}"));
    }
    let digits = |word: &str| word.bytes().all(|b| b.is_ascii_digit());
    let mut lines = String::new();
    for line in text.lines() {
        match line.split_once(" s behind") {
            Some((before, after)) => {
                let (head, number) = before.rsplit_once(' ').unwrap();
                assert!(digits(number), "{line}");
                lines.push_str(&format!("{head} N s behind{after}\n"));
            }
            None => lines.push_str(&format!("{line}\n")),
        }
    }
    lines
}

fn port_of(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().parse().unwrap()
}

/// A server whose clock stands at the beginning of the year 2000.
fn slow_clock() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                line.clear();
            }
            let body = "<response><returncode>SUCCESS</returncode><version>2.0</version><meetings/></response>";
            let head = "HTTP/1.1 200 OK\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\nConnection: close";
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_good_servers_are_no_problem() {
    let mut fakes = Vec::new();
    for _ in 0..3 {
        fakes.push(FakeBbb::start(FakeOptions::new(OTHER)).await.unwrap());
    }
    tokio::task::block_in_place(|| {
        let servers: Vec<Value> =
            (1..).zip(&fakes).map(|(n, f)| server(&format!("bbb{n}"), &f.base(), f.secret())).collect();
        let lb = balancer(&servers);
        let ran = doctor(&lb, &["--strict"]);
        let ports = [
            ("LB", port_of(lb.url())),
            ("PORT1", fakes[0].port()),
            ("PORT2", fakes[1].port()),
            ("PORT3", fakes[2].port()),
        ];
        let got = settled(&ran.out, &ports);
        assert_eq!(got, include_str!("../golden/doctor-well.txt"), "{got}");
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        assert!(lb.asked().iter().all(|call| call.starts_with("GET ")), "it changes nothing");
        // One that came up after its poll is offline until the next one.
        let mut late = servers;
        late[0]["online"] = "offline".into();
        let ran = doctor(&balancer(&late), &["--strict"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.out.contains("warning BBB-D33: bbb1: it answers here, and yet it is offline"), "{ran:?}");
        assert!(ran.out.contains("fix: `bbb-balancer poll` asks it at once"), "{ran:?}");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_trouble_of_a_server_has_its_fix() {
    let start = async |secret: &str| FakeBbb::start(FakeOptions::new(secret)).await.unwrap();
    let (good, known, proxy) =
        (start(OTHER).await, start("8cd8ef52e8e101574e400365b55e11a6").await, start(OTHER).await);
    proxy.set_mode(Mode::Html502).await.unwrap();
    tokio::task::block_in_place(|| {
        let (shut, slow) = (free_port(), slow_clock());
        let local = |port: u16| format!("http://127.0.0.1:{port}/bigbluebutton/api");
        let servers = [
            server("known", &known.base(), known.secret()),
            server("wrong", &good.base(), "a-secret-that-is-long-enough-and-wrong"),
            server("page", good.base().trim_end_matches("/api"), OTHER),
            server("name", "http://bbb9.invalid/bigbluebutton/api", OTHER),
            server("shut", &local(shut), OTHER),
            server("proxy", &proxy.base(), OTHER),
            server("tls", &good.base().replace("http://", "https://"), OTHER),
            server("slow", &local(slow), OTHER),
        ];
        let lb = balancer(&servers);
        // At the same time: each waits for the one that never answers.
        let (ran, told) = std::thread::scope(|scope| {
            let json = scope.spawn(|| doctor(&lb, &["-o", "json"]));
            (doctor(&lb, &[]), json.join().unwrap())
        });
        let ports = [
            ("LB", port_of(lb.url())),
            ("GOOD", good.port()),
            ("KNOWN", known.port()),
            ("SHUT", shut),
            ("PROXY", proxy.port()),
            ("SLOW", slow),
        ];
        let got = settled(&ran.out, &ports);
        assert_eq!(got, include_str!("../golden/doctor-sick.txt"), "{got}");
        assert_eq!(ran.code, 1, "{ran:?}");
        for secret in [OTHER, "8cd8ef52e8e101574e400365b55e11a6", "and-wrong", SECRET] {
            assert!(!ran.out.contains(secret), "{ran:?}");
        }
        let found: Value = serde_json::from_str(&told.out).unwrap();
        assert_eq!((told.code, &found["errors"], &found["warnings"]), (1, &6.into(), &4.into()), "{found}");
        let of = |id: &str| found["problems"].as_array().unwrap().iter().filter(|p| p["id"] == id).count();
        assert_eq!((of("BBB-D26"), of("BBB-D28"), of("BBB-D30")), (1, 2, 1));
        for problem in found["problems"].as_array().unwrap() {
            assert!(problem["fix"].as_str().is_some_and(|fix| fix.len() > 10), "{problem}");
        }
    });
}

#[test]
fn trusted_certificates_are_read_when_a_server_needs_them() {
    let none = [("SSL_CERT_FILE", "/nowhere/certificates.pem"), ("SSL_CERT_DIR", "/nowhere")];
    let look = |url: &str| {
        let lb = balancer(&[server("one", url, OTHER)]);
        let env = [("BALANCER_URL", lb.url()), ("LOADBALANCER_SECRET", SECRET), ("BALANCER_MEMORY", "true")];
        run(&["doctor"], &[&env[..], &none].concat())
    };
    let shut = free_port();
    let plain = look(&format!("http://127.0.0.1:{shut}/bigbluebutton/api"));
    assert!(!plain.out.contains("BBB-D29") && plain.out.contains("it refuses connections"), "{plain:?}");
    let tls = look(&format!("https://127.0.0.1:{shut}/bigbluebutton/api"));
    assert!(
        tls.out.contains("error BBB-D29: certificates: the system's trusted certificates cannot be read"),
        "{tls:?}"
    );
    assert!(tls.out.contains("fix: install the package ca-certificates"), "{tls:?}");
}

#[test]
fn settings_and_the_balancer_are_looked_at() {
    let lb = balancer(&[]);
    // Warnings alone do not fail, unless they shall.
    let env = [("BALANCER_URL", lb.url()), ("LOADBALANCER_SECRET", "short"), ("BALANCER_SECRET", SECRET)];
    let memory = ("BALANCER_MEMORY", "1");
    let ran = run(&["doctor"], &[&env[..], &[memory]].concat());
    assert!(ran.code == 1 && ran.out.contains("error BBB-D30: servers: no server takes new meetings"), "{ran:?}");
    assert!(ran.out.contains("warning BBB-D02: LOADBALANCER_SECRET: secret 1 has only 5 characters\n"), "{ran:?}");
    assert!(ran.out.contains("openssl rand -hex 32"), "{ran:?}");
    let ran = run(&["doctor"], &[&env[..], &[("POLL_INTERVAL", "0")]].concat());
    assert!(ran.code == 1 && ran.out.contains("error BBB-D01: settings: poll_interval"), "{ran:?}");
    // Nobody listens on port 1.
    let redis = ("REDIS_URL", "redis://:geheim@127.0.0.1:1");
    let ran = run(&["doctor"], &[&env[..], &[redis, ("REDIS_POOL_TIMEOUT", "1")]].concat());
    assert!(ran.code == 1 && ran.out.contains("error BBB-D10: ") && ran.out.contains("redis-cli -u"), "{ran:?}");
    assert!(!ran.out.contains("geheim"), "{ran:?}");
    let ran = run(&["doctor", "--timeout", "1"], &[("PORT", "1"), ("LOADBALANCER_SECRET", SECRET), memory]);
    assert!(ran.code == 1 && ran.out.contains("error BBB-D03: http://127.0.0.1:1: "), "{ran:?}");
}

#[test]
fn a_name_that_is_not_served_is_told() {
    let name = ("URL_HOST", "lb.example.com");
    let lb = Balancer::with(&[name], &["--memory"]);
    let (port, secret) = (lb.port.to_string(), ("LOADBALANCER_SECRET", processes::SECRET));
    let url = format!("http://127.0.0.1:{port}");
    let ran = run(&["doctor", "--memory", "--url", &url], &[secret, name]);
    assert!(ran.code == 1 && ran.out.contains("error BBB-D04: "), "{ran:?}");
    assert!(ran.out.contains("https://lb.example.com, and let the proxy pass the name on"), "{ran:?}");
    // The one of this machine is called by the name it has.
    let ran = run(&["doctor", "--memory"], &[secret, name, ("PORT", &port)]);
    assert!(!ran.out.contains("BBB-D04") && ran.out.contains("processes  1\n"), "{ran:?}");
    assert_eq!(run(&["status"], &[secret, name, ("PORT", &port)]).err, "No servers are configured\n");
}

#[test]
fn an_index_of_recordings_that_is_away_is_told_of() {
    let secret = ("LOADBALANCER_SECRET", processes::SECRET);
    for (database, says) in [(Some("postgresql://u:geheim@127.0.0.1:1/x"), true), (None, false)] {
        let env: Vec<_> = database.map(|url| ("DATABASE_URL", url)).into_iter().collect();
        let lb = Balancer::with(&env, &["--memory"]);
        let ran = run(&["doctor", "--memory", "--url", &format!("http://127.0.0.1:{}", lb.port)], &[secret]);
        let told = "error BBB-D34: recordings: the index of recordings at postgres 127.0.0.1:1/x cannot be reached";
        assert!(ran.out.contains(told) == says && ran.out.contains("BBB-D34") == says, "{ran:?}");
        assert!(!ran.out.contains("geheim"), "{ran:?}");
    }
}

#[test]
fn redis_is_looked_at() {
    let Some((redis, _guard)) = processes::redis() else { return };
    let url = format!("redis://127.0.0.1:{redis}");
    let lb = balancer(&[]);
    let env = [("BALANCER_URL", lb.url()), ("LOADBALANCER_SECRET", SECRET), ("REDIS_URL", &url)];
    let ran = run(&["doctor"], &env);
    assert!(ran.out.contains("role          master\n") && ran.out.contains("clock         in step\n"), "{ran:?}");
    assert!(!ran.out.contains("BBB-D1"), "{ran:?}");
}

#[test]
fn a_meeting_on_two_servers_is_told_of() {
    let status = r#"{"servers":[],"processes":2,"store":"redis","version":"0.1.0",
        "found_twice":[{"meeting":"m","stays":"a","other":"b","verdict":"moved","found_ms":1}],
        "strays":[{"meeting":"n","server":"c","people":3},{"meeting":"o","server":"c","people":0}]}"#;
    let lb = Canned::start(&[("/scalelite/api/getServers", 200, "[]"), ("/balancer/api/status", 200, status)]);
    let ran = doctor(&lb, &[]);
    for word in
        ["warning BBB-D31: meetings: meeting m was found on two servers", "led to a", "BBB-D32", "with 3 people"]
    {
        assert!(ran.out.contains(word), "{word}: {ran:?}");
    }
    assert!(!ran.out.contains("meeting o"), "{ran:?}");
}
