//! The migration guide, line by line: a Redis as Scalelite leaves it, the commands out of the guide, and back again.

mod guide;

use std::process::Command;

use adapter_bbb::testing::{FakeBbb, FakeOptions, MeetingSpec};

use crate::import::Redis;
use crate::processes::{self, free_port, http, signed, until};
use guide::Guide;

const SECRET: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6071";
const PREFIX: &str = "scalelite:";

/// What Scalelite does: its Redis commands, and its reading of what it finds.
struct Scalelite<'a> {
    redis: Redis,
    fakes: &'a [FakeBbb],
}

impl Scalelite<'_> {
    fn ask(&mut self, command: &str) -> Vec<String> {
        let words: Vec<&[u8]> = command.split(' ').map(|word| word.trim_matches('\'').as_bytes()).collect();
        self.redis.call(&words).into_iter().map(|text| String::from_utf8(text).unwrap()).collect()
    }

    fn id(n: usize) -> String {
        format!("5f0c7a0e-0000-4000-8000-00000000000{n}")
    }

    /// `rake servers:add`, `servers:enable`, and a poll.
    fn add(&mut self, n: usize) {
        let id = Self::id(n);
        let (url, secret) = (self.fakes[n].base(), self.fakes[n].secret().to_owned());
        for command in [
            "WATCH scalelite:servers".to_owned(),
            "MULTI".to_owned(),
            format!("HSET {PREFIX}server:{id} url {url} secret {secret} online false load_multiplier 1.0"),
            format!("SADD {PREFIX}servers {id}"),
            "EXEC".to_owned(),
            format!("HSET {PREFIX}server:{id} state enabled"),
            format!("SADD {PREFIX}server_enabled {id}"),
            format!("HSET {PREFIX}server:{id} online true meetings 0 users 0 largest_meeting 0 videos 0"),
            format!("HSET {PREFIX}{id} healthy_counter 0 unhealthy_counter 0"),
            format!("ZADD {PREFIX}server_load 0 {id}"),
        ] {
            self.ask(&command);
        }
    }

    /// Where a create of this meeting goes: the answer of the claim, and a new meeting is made there.
    fn create(&mut self, meeting: &str, number: &str) -> String {
        let wish = self.ask(&format!("ZRANGE {PREFIX}server_load 0 -1")).remove(0);
        self.ask(&format!("WATCH {PREFIX}meetings"));
        let is_new = self.ask(&format!("EXISTS {PREFIX}meeting:{meeting}"))[0] == "0";
        if is_new {
            self.ask(&format!("HSETNX {PREFIX}voice_bridges {number} {meeting}"));
        }
        self.ask("MULTI");
        for (field, value) in
            [("server_id", wish.as_str()), ("moderator_pw", "mp"), ("voice_bridge", number), ("tenant_id", "''")]
        {
            self.ask(&format!("HSETNX {PREFIX}meeting:{meeting} {field} {value}"));
        }
        self.ask(&format!("HGETALL {PREFIX}meeting:{meeting}"));
        self.ask(&format!("EXPIRE {PREFIX}meeting:{meeting} 86400"));
        self.ask(&format!("SADD {PREFIX}meetings {meeting}"));
        assert!(!self.ask("EXEC").is_empty());
        let server = self.ask(&format!("HGET {PREFIX}meeting:{meeting} server_id")).remove(0);
        self.ask(&format!("ZADD {PREFIX}server_load XX INCR 1 {server}"));
        if is_new {
            let fake = (0..self.fakes.len()).find(|n| Self::id(*n) == server).map(|n| &self.fakes[n]);
            let spec = MeetingSpec::new(meeting).people(3, 1, 0);
            fake.expect("a server of the pool").put_meeting(spec.param("moderatorPW", "mp"));
        }
        server
    }

    /// What a join needs: a meeting with a hash, on a server that is online and enabled.
    fn home(&mut self, meeting: &str) -> Option<String> {
        let listed = self.ask(&format!("SISMEMBER {PREFIX}meetings {meeting}"))[0] == "1";
        let server = self.ask(&format!("HGET {PREFIX}meeting:{meeting} server_id")).pop()?;
        assert!(listed, "{meeting} has a hash and is not listed");
        let number = self.ask(&format!("HGET {PREFIX}meeting:{meeting} voice_bridge")).remove(0);
        assert_eq!(self.ask(&format!("HGET {PREFIX}voice_bridges {number}")), [meeting]);
        assert_eq!(self.ask(&format!("HGET {PREFIX}server:{server} online")), ["true"]);
        assert_eq!(self.ask(&format!("SISMEMBER {PREFIX}server_enabled {server}")), ["1"]);
        let left: i64 = self.ask(&format!("TTL {PREFIX}meeting:{meeting}"))[0].parse().unwrap();
        assert!((1..=86_400).contains(&left), "{meeting} expires in {left} s");
        Some(server)
    }
}

/// What a front-end does.
struct FrontEnd<'a> {
    port: u16,
    fakes: &'a [FakeBbb],
}

impl FrontEnd<'_> {
    fn call(&self, name: &str, pairs: &[(&str, &str)]) -> (Option<String>, String) {
        let (status, location, body) = http(self.port, "GET", &signed("/bigbluebutton/api", name, pairs, SECRET), "");
        assert!(status.contains(" 200 ") || status.contains(" 302 "), "{name}: {status} {body}");
        (location, body)
    }

    /// The id of the server that a join leads to.
    fn join(&self, meeting: &str) -> String {
        let (location, body) = self.call("join", &[("meetingID", meeting), ("fullName", "Ann"), ("password", "mp")]);
        let location = location.unwrap_or_else(|| panic!("{meeting}: {body}"));
        let at = self.fakes.iter().position(|f| location.starts_with(&f.base()));
        Scalelite::id(at.expect("a server of the pool"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guide_leads_there_and_back() {
    for program in ["curl", "redis-cli", "install", "xargs"] {
        if Command::new(program).arg("--version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "{program} is missing");
            eprintln!("SKIPPED: {program} is not installed");
            return;
        }
    }
    let Some((redis, _guard)) = processes::redis() else { return };
    let mut fakes = Vec::new();
    for n in 0..3 {
        fakes.push(FakeBbb::start(FakeOptions::new(format!("the-secret-of-server-number-{n}-qX7"))).await.unwrap());
    }
    tokio::task::block_in_place(|| there_and_back(redis, &fakes));
}

fn there_and_back(redis: u16, fakes: &[FakeBbb]) {
    let mut scalelite = Scalelite { redis: Redis::connect(redis), fakes };
    (0..3).for_each(|n| scalelite.add(n));
    let old: Vec<(String, String)> = (0..6)
        .map(|n| (format!("lesson-{n}"), scalelite.create(&format!("lesson-{n}"), &format!("71562230{n}"))))
        .collect();
    let port = free_port();
    let environment = format!(
        "URL_HOST=127.0.0.1\nSECRET_KEY_BASE=5ecre7\nLOADBALANCER_SECRET={SECRET}\n\
         DATABASE_URL=postgresql://postgres:x@127.0.0.1:5432\nREDIS_URL=redis://127.0.0.1:{redis}\nPORT={port}\n\
         POLL_INTERVAL=1\n"
    );
    let mut guide = Guide::open(include_str!("../../MIGRATING.md"), &environment);

    guide.follow("1. Install it beside Scalelite");
    let before = scalelite.redis.dump();
    let told = guide.follow("2. Look, and change nothing");
    assert!(told.contains("the configuration is good"), "{told}");
    assert!(told.contains("3 servers, 6 meetings, 6 voice bridges, 0 tenants"), "{told}");
    assert!(!told.contains("In the way") && !told.contains(SECRET), "{told}");
    assert!(scalelite.redis.dump() == before, "something was changed");

    guide.follow("3. Stop Scalelite, start the balancer");
    let orders = ["stop scalelite-poller", "stop scalelite-api", "daemon-reload", "enable bbb-balancer"];
    assert_eq!(guide.orders(), orders);
    let front = FrontEnd { port, fakes };
    // At once, without a poll in between.
    for (meeting, home) in &old {
        assert_eq!(front.join(meeting), *home);
    }
    let told = guide.follow("4. Check");
    assert!(told.starts_with("success"), "{told}");
    for (meeting, home) in &old {
        assert!(told.contains(meeting) && told.contains(home), "{told}");
    }
    assert!(!told.contains("offline") && !told.contains("error"), "{told}");

    // A morning.
    let passwords = [("moderatorPW", "mp"), ("attendeePW", "ap")];
    let again = front.call("create", &[&[("meetingID", "lesson-0")][..], &passwords[..1]].concat()).1;
    assert!(again.contains("duplicateWarning"), "{again}");
    for n in 0..6 {
        let id = format!("new-{n}");
        let made = front.call("create", &[&[("meetingID", id.as_str())][..], &passwords[..]].concat()).1;
        assert!(made.contains("<returncode>SUCCESS"), "{made}");
    }
    for (meeting, home) in &old[1..] {
        assert_eq!(front.join(meeting), *home);
    }
    let over = front.call("end", &[("meetingID", "lesson-1"), ("password", "mp")]).1;
    assert!(over.contains("sentEndMeetingRequest"), "{over}");
    let homes: Vec<(String, String)> = (0..6).map(|n| (format!("new-{n}"), front.join(&format!("new-{n}")))).collect();

    guide.follow("5. Going back");
    let all = guide.orders();
    assert_eq!(all[4..], ["disable bbb-balancer", "start scalelite-api", "start scalelite-poller"]);
    until("nobody listens any more", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err().then_some(()));
    for (meeting, home) in old.iter().chain(&homes) {
        let expected = (meeting != "lesson-1").then(|| home.clone());
        assert_eq!(scalelite.home(meeting), expected, "{meeting}");
    }
    assert_eq!(scalelite.create("new-0", "999999999"), homes[0].1, "a repeated create stays where it is");
    scalelite.create("lesson-1", "123123123");
    let loads = scalelite.ask(&format!("ZRANGE {PREFIX}server_load 0 -1"));
    assert_eq!(loads.len(), 3, "{loads:?}");
    let keys = scalelite.ask("KEYS *");
    assert!(!keys.iter().any(|key| key.contains("balancer")), "{keys:?}");
    assert!(guide.is_done(), "a part of the guide was not followed");
}
