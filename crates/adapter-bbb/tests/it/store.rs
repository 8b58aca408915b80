//! The stores: the conformance suite on each, Scalelite's Redis layout to the letter, the file after reopening.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adapter_bbb::testing::MeetingSpec;
use adapter_bbb::{
    Figures, LocalStore, MeetingClaim, MeetingStore, PollRecord, RedisMeetings, Secret, ServerPatch, ServerRecord,
    ServerState,
};
use async_trait::async_trait;
use balancer_core::conformance::{Clock, run};
use balancer_core::{
    BackendId, Binding, Claim, RedisLink, RedisOptions, StickError, StickErrorKind, StickKey, StickPage, StickStore,
    Token, Want,
};
use tokio::time::Instant;

use crate::redis_server::RedisServer;
use crate::stage::{PATIENCE, Stage, dump, keys, link, patient, redis_store};

const DAY: Duration = Duration::from_secs(86_400);

/// A store that others hold too.
struct Held(Arc<LocalStore>);

#[async_trait]
impl StickStore for Held {
    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Result<Option<Binding>, StickError> {
        self.0.get(key, extend).await
    }
    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.0.claim(key, want, ttl).await
    }
    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.0.rebind(key, seen, want, ttl).await
    }
    async fn renew(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> Result<bool, StickError> {
        self.0.renew(key, seen, ttl).await
    }
    async fn release(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        self.0.release(key, seen).await
    }
    async fn close(&self, backend: &BackendId, closed: bool) -> Result<(), StickError> {
        self.0.close(backend, closed).await
    }
    async fn list(&self, backend: &BackendId, from: Option<&str>) -> Result<StickPage, StickError> {
        self.0.list(backend, from).await
    }
    async fn count(&self, backend: &BackendId) -> Result<u64, StickError> {
        self.0.count(backend).await
    }
}

/// A folder that is removed with everything in it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("balancer-bbb-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_memory_conforms() {
    run(async || LocalStore::memory(), &Clock::Real).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_a_file_conforms() {
    let folder = Folder::new();
    let number = AtomicUsize::new(0);
    let make = async || {
        let name = format!("{}.redb", number.fetch_add(1, Ordering::Relaxed));
        Held(LocalStore::open(folder.0.join(name)).await.unwrap())
    };
    run(make, &Clock::Real).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_on_redis_conforms() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let number = AtomicUsize::new(0);
    let make = async || RedisMeetings::new(link(&server), &format!("suite-{}", number.fetch_add(1, Ordering::Relaxed)));
    run(make, &Clock::Real).await;
}

fn record(id: &str) -> ServerRecord {
    let mut r = ServerRecord::new(id, format!("https://{id}.example/bigbluebutton/api"), Secret::new("s3"));
    r.load_multiplier = Some("2.0".into());
    r.tag = Some("gpu".into());
    r
}

fn order(state: ServerState) -> ServerPatch {
    ServerPatch { state: Some(state), ..ServerPatch::default() }
}

fn polled(load: f64) -> PollRecord {
    PollRecord {
        online: Some(true),
        bbb_version: Some("3.0.1".into()),
        measured: Some((load, Figures { meetings: 3, users: 20, largest_meeting: 12, videos: 4 })),
        ..PollRecord::default()
    }
}

async fn bind(store: &dyn MeetingStore, id: &str, server: &str, load: f64) -> Binding {
    let want = Want { backend: server.into(), token: Token(7) };
    let bridges = ["715622307".to_owned()];
    let claim = MeetingClaim {
        id,
        over: None,
        want: &want,
        moderator_pw: "mp",
        bridges: &bridges,
        load,
        adopt: false,
        registered: false,
        ttl: DAY,
    };
    match store.claim_meeting(&claim).await.unwrap().claim {
        Claim::Won(b) => b,
        other => panic!("{other:?}"),
    }
}

/// A hash as sorted `field=value` words.
async fn hash(link: &RedisLink, key: &str) -> String {
    let reply = link.call(&["HGETALL", key]).await.unwrap();
    let mut pairs: Vec<String> =
        reply.as_list().chunks(2).map(|p| format!("{}={}", p[0].as_str().unwrap(), p[1].as_str().unwrap())).collect();
    pairs.sort();
    pairs.join(" ")
}

async fn word(link: &RedisLink, command: &[&str]) -> String {
    let reply = link.call(command).await.unwrap();
    reply.as_str().map(str::to_owned).or_else(|| reply.as_int().map(|n| n.to_string())).unwrap_or_default()
}

async fn kinds(link: &RedisLink) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for key in keys(link).await {
        let kind = word(link, &["TYPE", &key]).await;
        all.push((key, kind));
    }
    all
}

#[tokio::test]
async fn the_redis_layout_is_scalelites() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (link, store) = (link(&server), redis_store(&server));
    store.probe().await.unwrap();
    assert_eq!(word(&link, &["GET", "scalelite:__health_check_set__"]).await, "true");
    let ttl: i64 = word(&link, &["TTL", "scalelite:__health_check_set__"]).await.parse().unwrap();
    assert!((1..=10).contains(&ttl), "{ttl}");
    link.call(&["DEL", "scalelite:__health_check_set__"]).await.unwrap();

    // Added: disabled, offline, neither `state` nor the enabled set.
    assert!(store.add_server(&record("a")).await.unwrap());
    assert!(!store.add_server(&record("a")).await.unwrap());
    let kind = |k: &str, t: &str| (format!("scalelite:{k}"), t.to_owned());
    assert_eq!(kinds(&link).await, [kind("server:a", "hash"), kind("servers", "set")]);
    assert_eq!(
        hash(&link, "scalelite:server:a").await,
        "load_multiplier=2.0 online=false secret=s3 tag=gpu url=https://a.example/bigbluebutton/api"
    );

    // Enabled: in the enabled set, no load before a poll.
    assert!(store.update_server(&"a".into(), &order(ServerState::Enabled)).await.unwrap());
    assert_eq!(word(&link, &["HGET", "scalelite:server:a", "state"]).await, "enabled");
    assert_eq!(word(&link, &["SISMEMBER", "scalelite:server_enabled", "a"]).await, "1");
    assert_eq!(word(&link, &["EXISTS", "scalelite:server_load"]).await, "0");

    // Polled: online, figures, a load.
    store.record_poll(&"a".into(), &polled(17.5)).await.unwrap();
    assert_eq!(
        hash(&link, "scalelite:server:a").await,
        "bbb_version=3.0.1 largest_meeting=12 load_multiplier=2.0 meetings=3 online=true secret=s3 state=enabled \
         tag=gpu url=https://a.example/bigbluebutton/api users=20 videos=4"
    );
    assert_eq!(word(&link, &["ZSCORE", "scalelite:server_load", "a"]).await, "17.5");

    // Created: hash with a time to live, set, voice bridge; the load grows.
    let binding = bind(&*store, "m 1", "a", 2.0).await;
    assert_eq!(
        hash(&link, "scalelite:meeting:m 1").await,
        format!("moderator_pw=mp server_id=a stamp={} tenant_id= token=7 voice_bridge=715622307", binding.stamp)
    );
    let ttl: i64 = word(&link, &["TTL", "scalelite:meeting:m 1"]).await.parse().unwrap();
    assert!((86_390..=86_400).contains(&ttl), "{ttl}");
    assert_eq!(word(&link, &["SISMEMBER", "scalelite:meetings", "m 1"]).await, "1");
    assert_eq!(hash(&link, "scalelite:voice_bridges").await, "715622307=m 1");
    assert_eq!(word(&link, &["ZSCORE", "scalelite:server_load", "a"]).await, "19.5");
    for key in ["scalelite:meetings", "scalelite:voice_bridges", "scalelite:server:a", "scalelite:server_load"] {
        assert_eq!(word(&link, &["TTL", key]).await, "-1", "{key}");
    }
    assert_eq!(
        kinds(&link).await,
        [
            kind("balancer:stamp", "string"),
            kind("meeting:m 1", "hash"),
            kind("meetings", "set"),
            kind("server:a", "hash"),
            kind("server_enabled", "set"),
            kind("server_load", "zset"),
            kind("servers", "set"),
            kind("voice_bridges", "hash"),
        ]
    );

    // Cordoned: the load moves; enabled again: it moves back.
    store.update_server(&"a".into(), &order(ServerState::Cordoned)).await.unwrap();
    assert_eq!(word(&link, &["ZSCORE", "scalelite:cordoned_server_load", "a"]).await, "19.5");
    assert_eq!(word(&link, &["EXISTS", "scalelite:server_load", "scalelite:server_enabled"]).await, "0");
    store.update_server(&"a".into(), &order(ServerState::Enabled)).await.unwrap();
    assert_eq!(word(&link, &["ZSCORE", "scalelite:server_load", "a"]).await, "19.5");
    assert_eq!(word(&link, &["EXISTS", "scalelite:cordoned_server_load"]).await, "0");

    // Ended: marked, then gone with its voice bridge.
    assert!(store.begin_end("m 1", &binding, Duration::from_secs(9)).await.unwrap());
    assert!(!store.begin_end("m 1", &binding, Duration::from_secs(9)).await.unwrap());
    assert_ne!(word(&link, &["HGET", "scalelite:meeting:m 1", "ending"]).await, "");
    assert!(store.look("m 1").await.unwrap().meeting.unwrap().ending);
    assert!(store.meetings(None).await.unwrap()[0].ending);
    assert!(store.release(&StickKey::new("m 1").unwrap(), &binding).await.unwrap());
    assert_eq!(word(&link, &["EXISTS", "scalelite:meeting:m 1", "scalelite:meetings"]).await, "0");
    assert_eq!(word(&link, &["EXISTS", "scalelite:voice_bridges"]).await, "0");

    // Drained: disabled by the poll, and a disabled server keeps no load.
    store.update_server(&"a".into(), &order(ServerState::Cordoned)).await.unwrap();
    let mut idle = polled(0.0);
    store.record_poll(&"a".into(), &idle).await.unwrap();
    assert_eq!(word(&link, &["HGET", "scalelite:server:a", "state"]).await, "cordoned");
    idle.draining = true;
    store.record_poll(&"a".into(), &idle).await.unwrap();
    assert_eq!(word(&link, &["HGET", "scalelite:server:a", "state"]).await, "disabled");
    assert_eq!(word(&link, &["EXISTS", "scalelite:server_load", "scalelite:cordoned_server_load"]).await, "0");

    // Offline: figures 0.
    let lost = PollRecord { online: Some(false), ..PollRecord::default() };
    store.record_poll(&"a".into(), &lost).await.unwrap();
    assert_eq!(word(&link, &["HGET", "scalelite:server:a", "online"]).await, "false");
    assert_eq!(word(&link, &["HGET", "scalelite:server:a", "users"]).await, "0");

    assert_eq!(store.announce(1, Duration::from_secs(9)).await.unwrap(), 1);
    assert_eq!(store.announce(2, Duration::from_secs(9)).await.unwrap(), 2);
    assert!(keys(&link).await.contains(&"scalelite:balancer:processes".to_owned()));
}

#[tokio::test]
async fn rows_of_scalelite_are_read_and_taken_over() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (link, store) = (link(&server), redis_store(&server));
    for command in [
        "SADD scalelite:servers old new off",
        "HSET scalelite:server:old url http://old/api secret x online true load_multiplier 1.5",
        "SADD scalelite:server_enabled old",
        "ZADD scalelite:server_load 4.25 old",
        "HSET scalelite:server:new url http://new/api secret y online true state cordoned tag t meetings 2 users 9",
        "ZADD scalelite:cordoned_server_load 3 new",
        "HSET scalelite:server:off url http://off/api secret z online false",
        "HSET scalelite:meeting:m server_id old moderator_pw pw voice_bridge 123456789 tenant_id ten",
        "EXPIRE scalelite:meeting:m 500",
        "SADD scalelite:meetings m stale",
        "HSET scalelite:voice_bridges 123456789 m",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        link.call(&words).await.unwrap();
    }
    let all = store.servers().await.unwrap().servers;
    let told: Vec<_> = all.iter().map(|r| (r.id.as_str(), r.state, r.online, r.load, r.multiplier())).collect();
    assert_eq!(
        told,
        [
            ("new", ServerState::Cordoned, true, Some(3.0), 1.0),
            ("off", ServerState::Disabled, false, None, 1.0),
            ("old", ServerState::Enabled, true, Some(4.25), 1.5),
        ]
    );
    assert_eq!((all[0].tag.as_deref(), all[0].figures.users), (Some("t"), 9));

    let look = store.look("m").await.unwrap();
    let m = look.meeting.unwrap();
    assert_eq!(look.server, Some((ServerState::Enabled, true)));
    assert_eq!((m.moderator_pw.as_str(), m.voice_bridge.as_str(), m.ending), ("pw", "123456789", false));
    assert_eq!(m.binding, Binding { backend: "old".into(), token: Token(0), stamp: 0 });
    // The set's member without a hash is skipped.
    assert_eq!(store.meetings(None).await.unwrap(), std::slice::from_ref(&m));

    // Moved by us: what Scalelite stored beside it stays.
    store.update_server(&"off".into(), &order(ServerState::Enabled)).await.unwrap();
    let want = Want { backend: "off".into(), token: Token(1) };
    let claim = MeetingClaim {
        id: "m",
        over: Some(&m.binding),
        want: &want,
        moderator_pw: "other",
        bridges: &["1".to_owned()],
        load: 1.0,
        adopt: false,
        registered: false,
        ttl: DAY,
    };
    let claimed = store.claim_meeting(&claim).await.unwrap();
    let Claim::Won(binding) = claimed.claim else { panic!("{:?}", claimed.claim) };
    assert_eq!(
        hash(&link, "scalelite:meeting:m").await,
        format!("moderator_pw=pw server_id=off stamp={} tenant_id=ten token=1 voice_bridge=123456789", binding.stamp)
    );
    // A meeting of Scalelite can be ended and forgotten by us.
    link.call(&["HDEL", "scalelite:meeting:m", "token", "stamp"]).await.unwrap();
    let bare = store.look("m").await.unwrap().meeting.unwrap().binding;
    assert!(store.begin_end("m", &bare, PATIENCE).await.unwrap());
    assert!(store.release(&StickKey::new("m").unwrap(), &bare).await.unwrap());
    assert_eq!(word(&link, &["EXISTS", "scalelite:meeting:m", "scalelite:voice_bridges"]).await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_server_leaves_no_key_behind() {
    let Some(mut stage) = Stage::redis(1).await else { return };
    let server = stage.redis.take().unwrap();
    let link = link(&server);
    let store = stage.store.clone();
    // A UUID is found wherever it stands.
    let uuid = "0b8e5dbe-6c25-4e6c-9d7f-8d0a3b0f7c11";
    let mut r = ServerRecord::new(uuid, stage.fakes[0].base(), Secret::new(stage.fakes[0].secret()));
    r.tag = Some("t".into());
    assert!(store.add_server(&r).await.unwrap());
    store.update_server(&uuid.into(), &order(ServerState::Enabled)).await.unwrap();
    stage.fakes[0].put_meeting(MeetingSpec::new("x").people(2, 0, 0));
    let process = stage.process(patient()).await;
    bind(&*store, "m1", uuid, 1.0).await;
    let b2 = bind(&*store, "m2", uuid, 1.0).await;
    store.begin_end("m2", &b2, PATIENCE).await.unwrap();
    store.close(&uuid.into(), true).await.unwrap();
    // Counters of Scalelite's poller.
    link.call(&["HSET", &format!("scalelite:{uuid}"), "healthy_counter", "1"]).await.unwrap();
    assert!(dump(&link).await.contains(uuid));
    let answer = process.post("deleteServer", &format!(r#"{{"id":"{uuid}"}}"#)).await;
    assert_eq!((answer.status, answer.body.contains("was destroyed")), (200, true), "{answer:?}");
    store.record_poll(&uuid.into(), &polled(3.0)).await.unwrap();
    store.add_loads(&[(uuid.into(), 1.0)]).await.unwrap();
    store.renew_seen(&uuid.into(), &["m1".into()], DAY).await.unwrap();
    let left = dump(&link).await;
    assert!(!left.contains(uuid) && !left.contains("m1"), "{left}");
    assert_eq!(process.post("deleteServer", &format!(r#"{{"id":"{uuid}"}}"#)).await.status, 404);
}

/// Claims for a create, or for a meeting found running.
async fn claim(store: &dyn MeetingStore, id: &str, server: &str, adopt: bool) -> Claim {
    let want = Want { backend: server.into(), token: Token(9) };
    let claim = MeetingClaim {
        id,
        over: None,
        want: &want,
        moderator_pw: "mp",
        bridges: &[],
        load: 1.0,
        adopt,
        registered: true,
        ttl: DAY,
    };
    store.claim_meeting(&claim).await.unwrap().claim
}

async fn takes_nothing_for_servers_that_are_gone(store: &dyn MeetingStore) {
    for id in ["gone", "new", "old"] {
        assert!(store.add_server(&record(id)).await.unwrap());
    }
    for id in ["gone", "old"] {
        store.update_server(&id.into(), &order(ServerState::Enabled)).await.unwrap();
    }
    assert!(store.remove_server(&"gone".into()).await.unwrap());
    for (n, (server, adopt)) in [("gone", false), ("gone", true), ("new", false)].into_iter().enumerate() {
        let claimed = claim(store, &format!("m{n}"), server, adopt).await;
        assert!(matches!(claimed, Claim::Closed), "{server}, adopt: {adopt}: {claimed:?}");
    }
    assert_eq!(store.meetings(None).await.unwrap(), []);
    assert!(matches!(claim(store, "m4", "old", false).await, Claim::Won(_)));
    assert!(matches!(claim(store, "m5", "new", true).await, Claim::Won(_)));
}

#[tokio::test]
async fn nothing_is_bound_to_a_removed_server() {
    takes_nothing_for_servers_that_are_gone(&LocalStore::memory()).await;
    let Some(server) = RedisServer::start(&[]) else { return };
    takes_nothing_for_servers_that_are_gone(&*redis_store(&server)).await;
}

async fn a_move_gives_a_meeting_what_it_lacks(store: &dyn MeetingStore) {
    let bind = async |over: Option<&Binding>, server: &str, pw: &str, number: &str| {
        let bridges: Vec<String> = Some(number.to_owned()).filter(|n| !n.is_empty()).into_iter().collect();
        let want = Want { backend: server.into(), token: Token(9) };
        let claim = MeetingClaim {
            id: "m",
            over,
            want: &want,
            moderator_pw: pw,
            bridges: &bridges,
            load: 1.0,
            adopt: false,
            registered: false,
            ttl: DAY,
        };
        store.claim_meeting(&claim).await.unwrap().meeting.unwrap()
    };
    let bare = bind(None, "a", "", "").await;
    assert_eq!((bare.moderator_pw.as_str(), bare.voice_bridge.as_str()), ("", ""));
    let full = bind(Some(&bare.binding), "b", "pw", "70123").await;
    assert_eq!((full.moderator_pw.as_str(), full.voice_bridge.as_str()), ("pw", "70123"));
    let moved = bind(Some(&full.binding), "c", "other", "70124").await;
    assert_eq!((moved.moderator_pw.as_str(), moved.voice_bridge.as_str()), ("pw", "70123"));
}

#[tokio::test]
async fn a_moved_meeting_lacks_nothing() {
    a_move_gives_a_meeting_what_it_lacks(&LocalStore::memory()).await;
    let Some(server) = RedisServer::start(&[]) else { return };
    a_move_gives_a_meeting_what_it_lacks(&*redis_store(&server)).await;
}

#[tokio::test]
async fn an_expired_meeting_gives_its_number_back() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (link, store) = (link(&server), redis_store(&server));
    bind(&*store, "m", "a", 1.0).await;
    link.call(&["HSET", "scalelite:voice_bridges", "123456789", "of another"]).await.unwrap();
    // As if a day had passed without a poll.
    link.call(&["DEL", "scalelite:meeting:m"]).await.unwrap();
    assert_eq!(store.meetings(None).await.unwrap(), []);
    assert_eq!(hash(&link, "scalelite:voice_bridges").await, "123456789=of another");
}

#[tokio::test]
async fn a_cluster_and_a_replica_are_named() {
    if let Some(server) = RedisServer::start(&["--cluster-enabled", "yes"]) {
        let e = redis_store(&server).probe().await.unwrap_err();
        assert_eq!(e.kind(), StickErrorKind::Refused);
        let said = e.to_string();
        for word in ["127.0.0.1", "Redis Cluster", "slot", "Sentinel"] {
            assert!(said.contains(word), "{word} is missing: {said}");
        }
    }
    if let Some(server) = RedisServer::start(&["--replicaof", "127.0.0.1", "1"]) {
        let e = redis_store(&server).probe().await.unwrap_err();
        assert_eq!(e.kind(), StickErrorKind::Refused, "{e}");
        let said = e.to_string();
        assert!(said.contains("read-only") || said.contains("read only") || said.contains("replica"), "{said}");
    }
    let port = crate::redis_server::free_port();
    let gone = RedisMeetings::new(
        RedisLink::new(RedisOptions::new("127.0.0.1").port(port).unwrap().password("hunter2")).unwrap(),
        "scalelite",
    );
    let e = gone.probe().await.unwrap_err();
    assert_eq!(e.kind(), StickErrorKind::Lost);
    assert!(e.to_string().contains(&port.to_string()) && !format!("{e:?}{gone:?}").contains("hunter2"), "{e}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_file_acknowledged_is_there_after_reopening() {
    let folder = Folder::new();
    let path = folder.0.join("data.redb");
    let store = LocalStore::open(&path).await.unwrap();
    assert!(store.describe().contains("data.redb"), "{}", store.describe());
    for id in ["a", "b", "c"] {
        assert!(store.add_server(&record(id)).await.unwrap());
        store.update_server(&id.into(), &order(ServerState::Enabled)).await.unwrap();
    }
    store.record_poll(&"a".into(), &polled(5.0)).await.unwrap();
    let kept = bind(&*store, "kept", "a", 1.0).await;
    let gone = bind(&*store, "gone", "a", 1.0).await;
    bind(&*store, "on-c", "c", 1.0).await;
    assert!(store.release(&StickKey::new("gone").unwrap(), &gone).await.unwrap());
    store.close(&"b".into(), true).await.unwrap();
    store.update_server(&"b".into(), &order(ServerState::Cordoned)).await.unwrap();
    assert!(store.remove_server(&"c".into()).await.unwrap());
    let before = store.look("kept").await.unwrap().meeting.unwrap();
    assert!(store.begin_end("kept", &kept, PATIENCE).await.unwrap());
    assert!(store.meetings(None).await.unwrap()[0].ending);
    assert!(LocalStore::open(&path).await.is_err(), "two processes must not share a file");
    drop(store);

    let until = Instant::now() + PATIENCE;
    let store = loop {
        // The last writer closes the file by itself.
        match LocalStore::open(&path).await {
            Ok(store) => break store,
            Err(e) => assert!(Instant::now() < until, "{e}"),
        }
    };
    let servers = store.servers().await.unwrap().servers;
    let told: Vec<_> = servers.iter().map(|r| (r.id.as_str(), r.state, r.online)).collect();
    assert_eq!(told, [("a", ServerState::Enabled, true), ("b", ServerState::Cordoned, false)]);
    assert_eq!(servers[0].secret, Secret::new("s3"));
    assert_eq!((servers[0].tag.as_deref(), servers[0].bbb_version.as_deref()), (Some("gpu"), Some("3.0.1")));
    let meetings = store.meetings(None).await.unwrap();
    assert_eq!(meetings, [before]);
    assert_eq!(meetings[0].binding, kept);
    assert_eq!(meetings[0].voice_bridge, "715622307");
    // The number is still taken, a closed server still closed, and stamps go on growing.
    store.update_server(&"b".into(), &order(ServerState::Enabled)).await.unwrap();
    let key = StickKey::new("new").unwrap();
    let want = Want { backend: "b".into(), token: Token(1) };
    assert!(matches!(store.claim(&key, &want, DAY).await.unwrap(), Claim::Closed));
    let newer = bind(&*store, "newer", "a", 1.0).await;
    assert!(newer.stamp > kept.stamp);
    assert_eq!(store.look("newer").await.unwrap().meeting.unwrap().voice_bridge, "");
}
