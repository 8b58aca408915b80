//! Several `serve` processes on one real Redis, servers that are killed: what only real processes can show.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use adapter_bbb::testing::{FakeBbb, FakeOptions, MeetingSpec};
use adapter_bbb::{Algorithm, Params, meetings, signed_url};

pub(crate) const SECRET: &str = "process-test-secret";
const DEADLINE: Duration = Duration::from_secs(30);

/// A child process that is killed with its owner.
#[derive(Debug)]
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) use real_servers::free_port;

pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(t) = ask() {
            return t;
        }
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        // What is waited for needs the processor more than we do.
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn redis() -> Option<(u16, Guard)> {
    let port = free_port();
    let text = port.to_string();
    let args = ["--port", &text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    match Command::new("redis-server").args(args).stdout(Stdio::null()).spawn() {
        Ok(child) => {
            let guard = Guard(child);
            until("redis-server listens", || TcpStream::connect(("127.0.0.1", port)).ok());
            Some((port, guard))
        }
        Err(e) => {
            assert!(std::env::var_os("CI").is_none(), "redis-server is missing: {e}");
            eprintln!("SKIPPED: redis-server is not installed (apt-get install redis-server)");
            None
        }
    }
}

/// One GET or POST: status line, `Location`, body.
pub(crate) fn http(port: u16, method: &str, path: &str, body: &str) -> (String, Option<String>, String) {
    let mut s = TcpStream::connect(("127.0.0.1", port)).unwrap();
    s.set_read_timeout(Some(DEADLINE)).unwrap();
    let kind = if method == "POST" { "Content-Type: application/json\r\n" } else { "" };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{kind}");
    write!(s, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut text = String::new();
    s.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let location = head.lines().find_map(|l| l.strip_prefix("location: ").map(str::to_owned));
    (head.lines().next().unwrap_or("").to_owned(), location, body.to_owned())
}

pub(crate) fn signed(base: &str, call: &str, pairs: &[(&str, &str)], secret: &str) -> String {
    let mut p = Params::new();
    for (name, value) in pairs {
        p.push(*name, *value);
    }
    signed_url(base, call, &p, secret, Algorithm::Sha256)
}

/// A running `serve`.
pub(crate) struct Balancer {
    pub(crate) port: u16,
    process: Guard,
}

impl Balancer {
    pub(crate) fn start(redis: u16, interval: &str) -> Self {
        Self::with(&[("REDIS_URL", &format!("redis://127.0.0.1:{redis}")), ("POLL_INTERVAL", interval)], &[])
    }

    /// One process that keeps nothing.
    pub(crate) fn in_memory() -> Self {
        Self::with(&[], &["--memory"])
    }

    pub(crate) fn with(env: &[(&str, &str)], args: &[&str]) -> Self {
        let port = free_port();
        let process = Command::new(env!("CARGO_BIN_EXE_bbb-balancer"))
            .args(["serve", "--bind", &format!("127.0.0.1:{port}")])
            .args(args)
            .env_clear()
            .env("LOADBALANCER_SECRET", SECRET)
            .envs(env.iter().copied())
            // A server that is only slow is waited for; a killed one refuses at once.
            .env("CONNECT_TIMEOUT", "2")
            .env("RESPONSE_TIMEOUT", "8")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Guard(process);
        until("serve listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { port, process }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    fn api(&self, call: &str, pairs: &[(&str, &str)]) -> (String, Option<String>, String) {
        http(self.port, "GET", &signed("/bigbluebutton/api", call, pairs, SECRET), "")
    }

    pub(crate) fn create(&self, id: &str) -> String {
        self.api("create", &[("meetingID", id), ("moderatorPW", "mp"), ("attendeePW", "ap")]).2
    }

    pub(crate) fn end(&self, id: &str) -> String {
        self.api("end", &[("meetingID", id), ("password", "mp")]).2
    }

    /// The port a join leads to, or what the balancer says instead.
    pub(crate) fn join(&self, id: &str) -> Result<u16, String> {
        let (_, location, body) = self.api("join", &[("meetingID", id), ("fullName", "a")]);
        let url = location.ok_or(body)?;
        Ok(url.split('/').nth(2).unwrap().rsplit(':').next().unwrap().parse().unwrap())
    }

    fn post(&self, base: &str, call: &str, body: &str) -> serde_json::Value {
        let answer = http(self.port, "POST", &signed(base, call, &[], SECRET), body).2;
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{call}: {e}: {answer}"))
    }

    pub(crate) fn add(&self, url: &str, secret: &str) -> String {
        let body = serde_json::json!({ "server": { "url": url, "secret": secret } }).to_string();
        let id = self.post("/scalelite/api", "addServer", &body)["id"].as_str().unwrap().to_owned();
        let body = serde_json::json!({ "id": id, "server": { "state": "enable" } }).to_string();
        self.post("/scalelite/api", "updateServer", &body);
        id
    }

    pub(crate) fn poll(&self) {
        self.post("/balancer/api", "poll", "{}");
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        let answer = http(self.port, "GET", &signed("/balancer/api", "status", &[], SECRET), "").2;
        serde_json::from_str(&answer).unwrap()
    }
}

fn two(redis: u16, interval: &str, servers: &[(String, String)]) -> ([Arc<Balancer>; 2], Vec<String>) {
    let both = [(); 2].map(|()| Arc::new(Balancer::start(redis, interval)));
    let ids = servers.iter().map(|(url, secret)| both[0].add(url, secret)).collect();
    for b in &both {
        b.poll();
    }
    until("both processes know of each other", || both.iter().all(|b| b.status()["processes"] == 2).then_some(()));
    (both, ids)
}

/// Creates all these meetings at once, half of them through each process.
fn create_all(both: &[Arc<Balancer>; 2], ids: Vec<String>) -> Duration {
    let threads = 40;
    let ids = Arc::new(ids);
    let start = Arc::new(Barrier::new(threads + 1));
    let workers: Vec<_> = (0..threads)
        .map(|t| {
            let (ids, start, b) = (ids.clone(), start.clone(), both[t % 2].clone());
            std::thread::spawn(move || {
                start.wait();
                for id in ids.iter().skip(t).step_by(threads) {
                    let answer = b.create(id);
                    assert!(answer.contains("SUCCESS"), "{answer}");
                }
            })
        })
        .collect();
    start.wait();
    let began = Instant::now();
    workers.into_iter().for_each(|w| w.join().unwrap());
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_meeting_one_server_and_bursts_are_level_through_two_processes() {
    let Some((redis, _guard)) = redis() else { return };
    let mut fakes = Vec::new();
    for n in 0..22 {
        fakes.push(FakeBbb::start(FakeOptions::new(format!("s{n}"))).await.unwrap());
    }
    let servers: Vec<_> = fakes.iter().map(|f| (f.base(), f.secret().to_owned())).collect();
    let counts = || fakes.iter().map(|f| f.meetings().len()).collect::<Vec<_>>();
    let took = tokio::task::block_in_place(|| {
        let (both, _) = two(redis, "60", &servers);
        // Who takes servers over polls them: not in the midst of a burst.
        until("the polls are divided", || {
            let shares = both.each_ref().map(|b| b.status()["polls"].as_u64().unwrap());
            (shares.iter().sum::<u64>() == 22 && !shares.contains(&0)).then_some(())
        });
        create_all(&both, vec!["the-same".to_owned(); 200]);
        assert_eq!(counts().iter().sum::<usize>(), 1, "200 creates of one meeting: {:?}", counts());
        assert!(both[0].api("end", &[("meetingID", "the-same"), ("password", "mp")]).2.contains("SUCCESS"));
        both.iter().for_each(|b| b.poll());
        create_all(&both, (0..200).map(|n| format!("burst-{n}")).collect())
    });
    let counts = counts();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    println!("200 meetings over 22 servers through two processes in {took:?}: {least} to {most} a server");
    assert_eq!(counts.iter().sum::<usize>(), 200);
    assert!(most - least <= 2, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_through_one_process_is_level() {
    let Some((redis, _guard)) = redis() else { return };
    let mut fakes = Vec::new();
    for n in 0..22 {
        fakes.push(FakeBbb::start(FakeOptions::new(format!("s{n}"))).await.unwrap());
    }
    let took = tokio::task::block_in_place(|| {
        let one = Arc::new(Balancer::start(redis, "60"));
        for f in &fakes {
            one.add(&f.base(), f.secret());
        }
        one.poll();
        create_all(&[one.clone(), one], (0..200).map(|n| format!("burst-{n}")).collect())
    });
    let counts: Vec<usize> = fakes.iter().map(|f| f.meetings().len()).collect();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    println!("200 meetings over 22 servers through one process in {took:?}: {least} to {most} a server");
    assert!(most - least <= 1, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_answered_before_running_meetings_are_known_again() {
    let Some((redis, _guard)) = redis() else { return };
    let fake = FakeBbb::start(FakeOptions::new("s0")).await.unwrap();
    // It only adds the server: then its meetings are lost, and the process ends.
    tokio::task::block_in_place(|| Balancer::start(redis, "60").add(&fake.base(), fake.secret()));
    fake.put_meeting(MeetingSpec::new("m").people(2, 0, 0));
    let mut held = fake.hold("getMeetings");
    let after = tokio::task::block_in_place(|| Balancer::start(redis, "60"));
    held.arrived().await.unwrap();
    let asked = tokio::task::spawn_blocking(move || after.join("m"));
    // An answer that came too early is there by now.
    let end = Instant::now() + Duration::from_millis(500);
    while !asked.is_finished() && Instant::now() < end {
        tokio::task::yield_now().await;
    }
    held.release();
    assert_eq!(asked.await.unwrap(), Ok(fake.port()));
}

#[test]
fn operators_calls_are_answered_apart() {
    let apart = free_port();
    let balancer = Balancer::with(&[("BALANCER_ADMIN_BIND", &format!("127.0.0.1:{apart}"))], &["--memory"]);
    let servers = signed("/scalelite/api", "getServers", &[], SECRET);
    let meetings = signed("/bigbluebutton/api", "getMeetings", &[], SECRET);
    let is_shown = |port, path: &str| !http(port, "GET", path, "").2.contains("unsupportedRequest");
    until("both are served", || (TcpStream::connect(("127.0.0.1", apart)).is_ok()).then_some(()));
    assert!(is_shown(apart, &servers) && is_shown(apart, "/metrics") && !is_shown(apart, &meetings));
    assert!(!is_shown(balancer.port, &servers) && !is_shown(balancer.port, "/metrics"));
    assert!(is_shown(balancer.port, &meetings));
}

/// Not a test of its own: the process of one fake server, which another test starts and kills.
#[tokio::test]
async fn fake_server_process() {
    let Some(port) = std::env::var("FAKE_SERVER_PORT").ok().and_then(|p| p.parse().ok()) else { return };
    let fake = FakeBbb::start(FakeOptions::new("fake-secret").port(port)).await.unwrap();
    println!("\nlistening on {}", fake.port());
    std::future::pending::<()>().await;
}

struct FakeProcess {
    port: u16,
    process: Guard,
}

impl FakeProcess {
    fn start(port: u16) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::fake_server_process", "--nocapture"])
            .env("FAKE_SERVER_PORT", port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.find_map(|l| l.strip_prefix("listening on ")?.parse().ok()).expect("the fake listens");
        // Its output goes on being read, so that it never blocks.
        std::thread::spawn(move || lines.for_each(drop));
        Self { port, process: Guard(process) }
    }

    fn base(&self) -> String {
        format!("http://127.0.0.1:{}/bigbluebutton/api", self.port)
    }

    fn meetings(&self) -> Vec<String> {
        let path = signed("/bigbluebutton/api", "getMeetings", &[], "fake-secret");
        let body = http(self.port, "GET", &path, "").2;
        meetings(body.as_bytes()).unwrap().iter().map(|m| m.id.to_string()).collect()
    }
}

#[test]
fn a_killed_server_loses_no_meeting() {
    let Some((redis, _guard)) = redis() else { return };
    // One comes back at its port, which nobody else gets meanwhile.
    let mut fakes: Vec<FakeProcess> = (0..3).map(|_| FakeProcess::start(free_port())).collect();
    let servers: Vec<_> = fakes.iter().map(|f| (f.base(), "fake-secret".to_owned())).collect();
    let (both, ids) = two(redis, "1", &servers);
    create_all(&both, (0..120).map(|n| format!("m{n}")).collect());
    let lost = fakes[0].meetings();
    // Polls fall into the burst here, so the shares are only roughly level, less so where one of them is slow; the bursts
    // above measure them exactly.
    assert!((10..=100).contains(&lost.len()), "120 meetings over three servers: {}", lost.len());

    let killed = Instant::now();
    let port = fakes[0].port;
    fakes[0].process.0.kill().unwrap();
    fakes[0].process.0.wait().unwrap();

    // A create succeeds at once on one new server; the others' joins still lead to the old one, as documented.
    let first = &lost[0];
    assert!(both[0].create(first).contains("SUCCESS"));
    let home = both[1].join(first).unwrap();
    assert_ne!(home, port);
    println!("first create of a lost meeting after {:?}", killed.elapsed());

    let verdict = until("the shared verdict", || {
        let offline = |b: &Arc<Balancer>| {
            b.status()["servers"].as_array().unwrap().iter().any(|s| s["id"] == ids[0].as_str() && s["online"] == false)
        };
        both.iter().all(offline).then(|| killed.elapsed())
    });
    println!("shared verdict after {verdict:?}");
    assert!(both[0].join(&lost[1]).unwrap_err().contains("serverUnavailable"));

    // Every member of every meeting asks for it at once, through both processes.
    let asked: Vec<String> = lost.iter().flat_map(|id| [id.clone(), id.clone(), id.clone()]).collect();
    create_all(&both, asked);
    let mut homes = BTreeMap::new();
    for id in &lost {
        let on: Vec<u16> = fakes[1..].iter().filter(|f| f.meetings().contains(id)).map(|f| f.port).collect();
        assert_eq!(on.len(), 1, "{id} is on {on:?}");
        for b in &both {
            assert_eq!(b.join(id).unwrap(), on[0], "every join of {id} follows");
        }
        homes.insert(id.clone(), on[0]);
    }

    // It returns empty on its old port: nothing moves back.
    fakes[0] = FakeProcess::start(port);
    both.iter().for_each(|b| b.poll());
    for (id, home) in &homes {
        assert!(both[0].create(id).contains("SUCCESS"));
        assert_eq!(both[1].join(id).unwrap(), *home);
    }
    assert!(fakes[0].meetings().is_empty());

    // Dead again, and removed while dead: no key is left of it.
    for n in 0..9 {
        assert!(both[0].create(&format!("late{n}")).contains("SUCCESS"));
    }
    assert!(!fakes[0].meetings().is_empty(), "the empty server takes new meetings");
    fakes[0].process.0.kill().unwrap();
    let body = serde_json::json!({ "id": ids[0] }).to_string();
    assert!(both[0].post("/scalelite/api", "deleteServer", &body)["success"].is_string());
    let keys = redis_text(redis, "KEYS *");
    assert!(!keys.contains(&ids[0]), "{keys}");
    for hash in ["scalelite:voice_bridges"] {
        let numbers = redis_text(redis, &format!("HVALS {hash}"));
        let kept = redis_text(redis, "SMEMBERS scalelite:meetings");
        for id in numbers.lines().filter(|l| l.starts_with('m') || l.starts_with("late")) {
            assert!(kept.contains(id), "a number of {id} is left");
        }
    }
    for id in redis_text(redis, "SMEMBERS scalelite:meetings").lines().filter(|l| l.starts_with('m')) {
        let server = redis_text(redis, &format!("HGET scalelite:meeting:{} server_id", id.trim()));
        assert!(!server.contains(&ids[0]), "{id} is still bound to the removed server");
    }
}

/// The raw answer to one inline command.
pub(crate) fn redis_text(port: u16, command: &str) -> String {
    let mut s = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(s, "{command}\r\nQUIT\r\n").unwrap();
    let mut text = String::new();
    s.read_to_string(&mut text).unwrap();
    text
}
