//! The migration guide, line by line: a Redis as Scalelite leaves it, the commands out of the guide, and back again.

mod guide;
mod recordings;

use std::process::Command;

use adapter_bbb::testing::{FakeBbb, FakeOptions, MeetingSpec};

use crate::import::Redis;
use crate::processes::{self, free_port, http, signed, until};
use crate::run;
use guide::Guide;
use recordings::Recordings;

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
    for program in ["curl", "redis-cli", "install", "xargs", "psql", "tar"] {
        if Command::new(program).arg("--version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "{program} is missing");
            eprintln!("SKIPPED: {program} is not installed");
            return;
        }
    }
    let Some((redis, _guard)) = processes::redis() else { return };
    let Some(recordings) = Recordings::of_scalelite() else { return };
    let mut fakes = Vec::new();
    for n in 0..3 {
        fakes.push(FakeBbb::start(FakeOptions::new(format!("the-secret-of-server-number-{n}-qX7"))).await.unwrap());
    }
    tokio::task::block_in_place(|| there_and_back(redis, &recordings, &fakes));
}

fn there_and_back(redis: u16, recordings: &Recordings, fakes: &[FakeBbb]) {
    let mut scalelite = Scalelite { redis: Redis::connect(redis), fakes };
    (0..3).for_each(|n| scalelite.add(n));
    let old: Vec<(String, String)> = (0..6)
        .map(|n| (format!("lesson-{n}"), scalelite.create(&format!("lesson-{n}"), &format!("71562230{n}"))))
        .collect();
    let port = free_port();
    let environment = format!(
        "URL_HOST=127.0.0.1\nSECRET_KEY_BASE=5ecre7\nLOADBALANCER_SECRET={SECRET}\n\
         REDIS_URL=redis://127.0.0.1:{redis}\nPORT={port}\nPOLL_INTERVAL=1\n{}",
        recordings.environment()
    );
    let mut guide = Guide::open("plain", include_str!("../../MIGRATING.md"), &environment);

    guide.follow("1. Install it beside Scalelite");
    let before = scalelite.redis.dump();
    let told = guide.follow("2. Look, and change nothing");
    assert!(told.contains("the configuration is good"), "{told}");
    assert!(told.contains("3 servers, 6 meetings, 6 voice bridges, 0 tenants"), "{told}");
    assert!(!told.contains("In the way") && !told.contains(SECRET), "{told}");
    assert!(scalelite.redis.dump() == before, "something was changed");

    guide.follow("3. Stop Scalelite, start the balancer");
    let orders = [
        "stop scalelite-poller",
        "stop scalelite-recording-importer",
        "stop scalelite-api",
        "daemon-reload",
        "enable bbb-balancer",
    ];
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

    play_and_import(recordings, &mut guide, &front);
    let told = guide.follow("6. Dial-in");
    assert!(told.contains("match_did_and_prompt_for_pin"), "{told}");
    guide.skip("7. Tenants");
    guide.follow("8. Going back");
    let all = guide.orders();
    let back = ["start scalelite-api", "start scalelite-poller", "start scalelite-recording-importer"];
    assert_eq!((all[5].as_str(), &all[6..]), ("disable bbb-balancer", &back.map(str::to_owned)[..]));
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

/// What Scalelite had can be played and changed; what waited comes in, and a Scalelite finds it.
fn play_and_import(recordings: &Recordings, guide: &mut Guide, front: &FrontEnd<'_>) {
    const ROWS: &str = "SELECT record_id, meeting_id, name, published, state FROM recordings ORDER BY id";
    const OLD: &str = "old-1|lesson-0|Of old|t|published";
    let listed = front.call("getRecordings", &[("meetingID", "lesson-0")]).1;
    assert!(listed.contains("<recordID>old-1<") && listed.contains("<course>7</course>"), "{listed}");
    // At the start as well: what waits comes in.
    until("the archive is imported", || (!recordings.has("spool/new-1.tar")).then_some(()));
    // And is done with what else is there: who imports meanwhile is told to wait.
    let url = format!("http://127.0.0.1:{}", front.port);
    until("no import is under way", || {
        let ran = run(&["recordings", "import"], &[("BALANCER_URL", &url), ("BALANCER_SECRET", SECRET)]);
        (!ran.err.contains("still under way")).then_some(())
    });
    let told = guide.follow_to("5. Recordings", &[0, 1, 0]);
    assert!(told.contains("old-1") && told.contains("Of old"), "{told}");
    assert!(told.contains("bad-1.tar: KEPT in the spool: "), "{told}");
    assert!(told.contains("2 recordings in the index, 2 on disk: they agree"), "{told}");
    assert!(told.contains("1 archive waits in the spool: bad-1.tar"), "{told}");
    let new = "new-1|lesson-1|Of today|t|published";
    assert_eq!(recordings.sql(ROWS), format!("{OLD}\n{new}"));
    assert!(recordings.has("published/presentation/new-1/metadata.xml"));
    for id in ["old-1", "new-1"] {
        let path = format!("/recording/{id}/presentation");
        let (status, location, _) = http(front.port, "GET", &path, "");
        let player = format!("/playback/presentation/2.3/{id}");
        assert!(status.contains(" 307 ") && location.as_deref() == Some(&*player), "{status} {location:?}");
    }
    let done = front.call("publishRecordings", &[("recordID", "old-1"), ("publish", "false")]).1;
    assert!(done.contains("<published>false"), "{done}");
    assert!(recordings.has("unpublished/presentation/old-1/metadata.xml"));
    assert_eq!(recordings.sql(ROWS), format!("{}\n{new}", OLD.replace("t|published", "f|unpublished")));
    assert_eq!(recordings.sql("SELECT max(version) FROM schema_migrations"), "20230627141045");
    recordings.take_out("bad-1.tar");
}

/// One signed call of a tenant's front-end: where it leads, and what it says.
fn of_tenant(port: u16, tenant: &str, secret: &str, name: &str, pairs: &[(&str, &str)]) -> (Option<String>, String) {
    use std::io::{Read as _, Write as _};
    let path = signed("/bigbluebutton/api", name, pairs, secret);
    let mut s = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    s.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    write!(s, "GET {path} HTTP/1.1\r\nHost: {tenant}.lb.example.com\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    s.read_to_string(&mut text).unwrap();
    let location = text.lines().find_map(|l| l.strip_prefix("location: ").map(str::to_owned));
    (location, text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_come_along() {
    let Some((redis, _guard)) = processes::redis() else { return };
    let mut fakes = Vec::new();
    for n in 0..2 {
        fakes.push(FakeBbb::start(FakeOptions::new(format!("the-secret-of-server-number-{n}-qX7"))).await.unwrap());
    }
    tokio::task::block_in_place(|| with_tenants(redis, &fakes));
}

fn with_tenants(redis: u16, fakes: &[FakeBbb]) {
    let mut scalelite = Scalelite { redis: Redis::connect(redis), fakes };
    (0..2).for_each(|n| scalelite.add(n));
    let secrets = ["school-secret-4f5e6d7c8b9a", "college-secret-0a1b2c3d4e5f"];
    for (id, name, secret) in [("t1", "school", secrets[0]), ("t2", "college", secrets[1])] {
        scalelite.ask(&format!("SADD {PREFIX}tenants {id}"));
        scalelite.ask(&format!("HSET {PREFIX}tenant:{id} name {name} secrets {secret}"));
        scalelite.ask(&format!("HSET {PREFIX}tenant_name:{name} id {id}"));
    }
    scalelite.ask(&format!("SADD {PREFIX}tenant_settings:t1 s1"));
    scalelite.ask(&format!("HSET {PREFIX}tenant_setting:s1 param welcome value hi override true tenant_id t1"));
    let home = scalelite.create("lesson", "715622301");
    scalelite.ask(&format!("HSET {PREFIX}meeting:lesson tenant_id t1"));
    let port = free_port();
    let environment = format!(
        "URL_HOST=lb.example.com\nSECRET_KEY_BASE=5ecre7\nLOADBALANCER_SECRET={SECRET}\nMULTITENANCY_ENABLED=true\n\
         FSAPI_PASSWORD=of-telephones\nREDIS_URL=redis://127.0.0.1:{redis}\nPORT={port}\nPOLL_INTERVAL=1\n"
    );
    let mut guide = Guide::open("tenants", include_str!("../../MIGRATING.md"), &environment);
    guide.follow("1. Install it beside Scalelite");
    let told = guide.follow("2. Look, and change nothing");
    assert!(told.contains("2 servers, 1 meeting, 1 voice bridge, 2 tenants"), "{told}");
    assert!(!told.contains("In the way") && !told.contains("of-telephones"), "{told}");
    guide.follow("3. Stop Scalelite, start the balancer");
    guide.follow("4. Check");
    guide.skip("5. Recordings");
    let told = guide.follow("6. Dial-in");
    assert!(told.contains("match_did_and_prompt_for_pin"), "{told}");
    let told = guide.follow("7. Tenants");
    assert!(told.contains("name: college") && told.contains("Total number of tenants: 2"), "{told}");
    assert!(told.contains("param: welcome") && !told.contains(secrets[0]), "{told}");

    let id = [("meetingID", "lesson")];
    let join = [("meetingID", "lesson"), ("fullName", "Ann"), ("password", "mp")];
    let (led, told) = of_tenant(port, "school", secrets[0], "join", &join);
    let at = fakes.iter().position(|f| led.as_ref().is_some_and(|led| led.starts_with(&f.base())));
    assert_eq!(Scalelite::id(at.unwrap_or_else(|| panic!("{told}"))), home);
    assert!(of_tenant(port, "college", secrets[1], "join", &join).1.contains("notFound"));
    assert!(of_tenant(port, "college", secrets[0], "getMeetings", &[]).1.contains("checksumError"));
    let made = of_tenant(port, "college", secrets[1], "create", &id).1;
    assert!(made.contains("<returncode>SUCCESS") && !made.contains("duplicateWarning"), "{made}");
    let new = [("meetingID", "new")];
    assert!(of_tenant(port, "school", secrets[0], "create", &new).1.contains("<returncode>SUCCESS"));

    guide.follow("8. Going back");
    assert_eq!(scalelite.ask(&format!("HGET {PREFIX}meeting:new tenant_id")), ["t1"]);
    assert!(scalelite.home("lesson").is_some() && scalelite.home("new").is_some());
    assert!(guide.is_done(), "a part of the guide was not followed");
}
