//! The store on a Redis server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use balancer_core::{
    BackendId, Claim, RedisLink, RedisOptions, RedisReply, RedisScript, RedisStore, StickError, StickErrorKind,
    StickKey, StickStore, Token, Want,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::redis_server::{RedisServer, closed_port, patient, until, words};

const HOUR: Duration = Duration::from_secs(3600);
const SECRET: &str = "hunter2-Ünsafe";

fn key(name: impl Into<String>) -> StickKey {
    StickKey::new(name.into()).unwrap()
}

fn want(backend: &str, token: u64) -> Want {
    Want { backend: backend.into(), token: Token(token) }
}

fn at(port: u16) -> RedisOptions {
    patient(RedisOptions::new("127.0.0.1").port(port).unwrap())
}

fn store(options: RedisOptions) -> RedisStore {
    RedisStore::new(RedisLink::new(options).unwrap())
}

async fn claim(store: &RedisStore, name: &str, backend: &str) -> Result<Claim, StickError> {
    store.claim(&key(name), &want(backend, 1), HOUR).await
}

#[cfg(feature = "testing")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms() {
    use balancer_core::conformance::{Clock, run};

    let Some(server) = RedisServer::start(&[]) else { return };
    let number = AtomicUsize::new(0);
    let make = async || {
        let namespace = format!("suite-{}", number.fetch_add(1, Ordering::Relaxed));
        store(at(server.port()).namespace(namespace).connections(2))
    };
    run(make, &Clock::Real).await;
}

#[tokio::test]
async fn a_restart_is_survived() {
    let Some(mut server) = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let store = store(at(server.port()));
    let Claim::Won(won) = claim(&store, "room", "one").await.unwrap() else { panic!("not won") };
    server.stop();
    let lost = store.get(&key("room"), None).await.unwrap_err();
    words(&lost, StickErrorKind::Lost, &[&format!("127.0.0.1:{}", server.port()), "refused"]);
    server.resume();
    assert_eq!(store.get(&key("room"), None).await.unwrap(), Some(won.clone()));
    // Again, without a call in between that could notice.
    server.stop();
    server.resume();
    assert_eq!(claim(&store, "room", "two").await.unwrap(), Claim::Held(won));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_clients_put_each_room_on_one_server() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let clients = [store(at(server.port())), store(at(server.port()).connections(3))];
    let mut tasks = JoinSet::new();
    for room in 0..1000 {
        for (client, name) in clients.iter().zip(["one", "two"]) {
            let client = client.clone();
            tasks.spawn(async move { (room, claim(&client, &format!("room {room}"), name).await.unwrap()) });
        }
    }
    let mut homes: Vec<Vec<BackendId>> = vec![Vec::new(); 1000];
    let mut won = 0;
    for (room, answer) in tasks.join_all().await {
        match answer {
            Claim::Won(binding) => {
                won += 1;
                homes[room].push(binding.backend);
            }
            Claim::Held(binding) => homes[room].push(binding.backend),
            Claim::Closed => panic!("nothing is closed"),
        }
    }
    assert_eq!(won, 1000);
    assert!(homes.iter().all(|home| home.len() == 2 && home[0] == home[1]));
    let counts = (clients[0].count(&"one".into()).await.unwrap(), clients[1].count(&"two".into()).await.unwrap());
    assert_eq!(counts.0 + counts.1, 1000);
}

#[tokio::test]
async fn passwords_are_used_and_never_shown() {
    let Some(server) = RedisServer::start(&["--requirepass", SECRET]) else { return };
    let right = store(at(server.port()).password(SECRET));
    assert!(matches!(claim(&right, "room", "one").await, Ok(Claim::Won(_))));
    assert!(!format!("{right:?}").contains("hunter2"));
    let encoded: String = SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let by_url = RedisOptions::from_url(&format!("redis://default:{encoded}@127.0.0.1:{}/1", server.port())).unwrap();
    assert_eq!(store(patient(by_url)).get(&key("room"), None).await.unwrap(), None, "another database");

    let none = claim(&store(at(server.port())), "room", "one").await.unwrap_err();
    words(&none, StickErrorKind::Refused, &["NOAUTH", "set one"]);
    let wrong = claim(&store(at(server.port()).password("hunter2-wrong")), "room", "one").await.unwrap_err();
    words(&wrong, StickErrorKind::Refused, &["wrong", "password", &server.port().to_string()]);
    let (_closed, port) = closed_port();
    let not_there = claim(&store(at(port).password(SECRET)), "room", "one").await.unwrap_err();
    words(&not_there, StickErrorKind::Lost, &["refused"]);
    let Some(open) = RedisServer::start(&[]) else { return };
    let needless = claim(&store(at(open.port()).password(SECRET)), "room", "one").await.unwrap_err();
    words(&needless, StickErrorKind::Refused, &["it has no password"]);
    let range = claim(&store(at(server.port()).password(SECRET).db(99)), "room", "one").await.unwrap_err();
    words(&range, StickErrorKind::Refused, &["database number"]);
}

#[tokio::test]
async fn what_the_server_refuses_is_named() {
    let Some(replica) = RedisServer::start(&["--replicaof", "127.0.0.1", "1"]) else { return };
    let store = store(at(replica.port()));
    words(&claim(&store, "room", "one").await.unwrap_err(), StickErrorKind::Refused, &["read-only", "master"]);
    assert_eq!(store.get(&key("room"), None).await.unwrap(), None);
    assert_eq!(store.count(&"one".into()).await.unwrap(), 0);
    words(&store.close(&"one".into(), true).await.unwrap_err(), StickErrorKind::Refused, &["read-only"]);
    let link = store.link();
    link.call(&["CONFIG", "SET", "replica-serve-stale-data", "no"]).await.unwrap();
    words(&claim(&store, "room", "one").await.unwrap_err(), StickErrorKind::Refused, &["MASTERDOWN"]);
    link.call(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    assert!(matches!(claim(&store, "room", "one").await, Ok(Claim::Won(_))));

    link.call(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    words(&claim(&store, "room 2", "one").await.unwrap_err(), StickErrorKind::Refused, &["OOM", "maxmemory"]);
    link.call(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();

    link.call(&["ACL", "SETUSER", "ann", "on", ">hunter2", "~else:*", "+@all"]).await.unwrap();
    let ann = crate::stick_redis::store(at(replica.port()).username("ann").password("hunter2"));
    words(&claim(&ann, "room", "one").await.unwrap_err(), StickErrorKind::Refused, &["NOPERM", "access control"]);
}

#[tokio::test]
async fn nobody_there_is_named_in_time() {
    let (_closed, port) = closed_port();
    let began = Instant::now();
    let refused = claim(&store(at(port)), "room", "one").await.unwrap_err();
    words(&refused, StickErrorKind::Lost, &[&format!("127.0.0.1:{port}"), "refused", "loopback only"]);
    assert!(began.elapsed() < Duration::from_secs(15));

    let unknown = patient(RedisOptions::new("no-such-host.invalid"));
    let unknown = claim(&store(unknown), "room", "one").await.unwrap_err();
    words(&unknown, StickErrorKind::Lost, &["no-such-host.invalid:6379", "looked up"]);

    let socket = claim(&store(RedisOptions::unix("/nowhere/redis.sock")), "room", "one").await.unwrap_err();
    words(&socket, StickErrorKind::Lost, &["/nowhere/redis.sock", "running"]);
}

#[tokio::test]
async fn a_port_that_swallows_everything_is_named_in_time() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();

    // The system accepts, nobody answers.
    let silent = store(at(address.port()).connect_timeout(Duration::from_secs(5)));
    let began = Instant::now();
    let error = claim(&silent, "room", "one").await.unwrap_err();
    words(&error, StickErrorKind::Lost, &[&address.to_string(), "no greeting", "wrong port"]);
    assert!(began.elapsed() < Duration::from_secs(20));

    // With its queue full the system does not accept either, like a firewall that drops what comes.
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(address)).await {
        held.push(stream);
        assert!(held.len() < 100, "the queue never fills");
    }
    let silent = store(at(address.port()).connect_timeout(Duration::from_millis(500)));
    let error = claim(&silent, "room", "one").await.unwrap_err();
    words(&error, StickErrorKind::Lost, &[&address.to_string(), "firewall"]);

    // Many callers at once wait no longer than one.
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let silent = silent.clone();
        tasks.spawn(async move { claim(&silent, "room", "one").await.unwrap_err() });
    }
    for error in tasks.join_all().await {
        words(&error, StickErrorKind::Lost, &["firewall"]);
    }
    assert!(began.elapsed() < Duration::from_secs(20), "one after the other takes 50 s");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_named_in_time() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let quick = store(at(server.port()).response_timeout(Duration::from_millis(500)));
    let patient = store(at(server.port()));
    until("a claim is answered", async || claim(&quick, "room", "one").await.ok()).await;
    patient.link().call(&["CLIENT", "PAUSE", "60000", "ALL"]).await.unwrap();
    let began = Instant::now();
    let error = claim(&quick, "room", "two").await.unwrap_err();
    words(&error, StickErrorKind::Lost, &[&server.port().to_string(), "no answer within"]);
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn what_is_not_redis_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 64];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            // What is unread at the end would take the answer along.
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let error = claim(&store(at(port)), "room", "one").await.unwrap_err();
    words(&error, StickErrorKind::Corrupt, &["not the Redis protocol", "wrong port"]);
}

#[tokio::test]
async fn unix_sockets_work() {
    let Some(server) = RedisServer::start(&["--unixsocket", "FOLDER/redis.sock", "--requirepass", SECRET]) else {
        return;
    };
    let url = format!("unix://{}/redis.sock?db=2&password={SECRET}", server.folder().display());
    let store = store(patient(RedisOptions::from_url(&url).unwrap()));
    assert!(matches!(claim(&store, "room", "one").await, Ok(Claim::Won(_))));
    assert!(store.link().warning().is_none());
}

#[tokio::test]
async fn every_key_begins_with_the_namespace() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (first, second) = (store(at(server.port()).namespace("a")), store(at(server.port()).namespace("b:c")));
    for number in 0..50 {
        assert!(matches!(claim(&first, &format!("room {number}"), "one").await, Ok(Claim::Won(_))));
        assert!(matches!(claim(&second, &format!("room {number}"), "two").await, Ok(Claim::Won(_))));
    }
    first.close(&"one".into(), true).await.unwrap();
    assert!(matches!(claim(&second, "room", "one").await, Ok(Claim::Won(_))));
    let keys = first.link().call(&["KEYS", "*"]).await.unwrap();
    assert!(keys.as_list().len() > 256);
    for key in keys.as_list() {
        let key = key.as_str().unwrap();
        assert!(key.starts_with("a:{") || key.starts_with("b:c:{"), "{key}");
    }
}

#[tokio::test]
async fn a_crowded_shard_is_listed_in_pages() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let store = store(at(server.port()));
    let crowded = |number: &u32| RedisStore::shard(&key(format!("room {number}"))) == 7;
    for number in (0..).filter(crowded).take(200) {
        claim(&store, &format!("room {number}"), "one").await.unwrap();
    }
    claim(&store, "elsewhere", "one").await.unwrap();
    let (mut from, mut listed) = (None, Vec::new());
    loop {
        let page = store.list(&"one".into(), from.as_deref()).await.unwrap();
        assert!(page.entries.len() <= 256);
        listed.extend(page.entries.into_iter().map(|(key, _)| key));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    listed.sort();
    listed.dedup();
    assert_eq!((listed.len(), store.count(&"one".into()).await.unwrap()), (201, 201));
}

#[tokio::test]
async fn what_has_expired_leaves_the_server() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let store = store(at(server.port()));
    store.claim(&key("room"), &want("one", 1), Duration::from_millis(50)).await.unwrap();
    // Only the shard's last stamp stays.
    until("the shard's keys expire", async || {
        let size = store.link().call(&["DBSIZE"]).await.unwrap();
        (size.as_int() == Some(1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_claim_is_one_round_trip_and_scripts_come_back() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let store = store(at(server.port()));
    let calls = async |name: &str| {
        let info = store.link().call(&["INFO", "commandstats"]).await.unwrap();
        let line = info
            .as_str()
            .unwrap()
            .lines()
            .find(|line| line.starts_with(&format!("cmdstat_{name}:calls=")))
            .map(str::to_owned);
        line.and_then(|line| line.split(['=', ',']).nth(1)?.parse::<u32>().ok()).unwrap_or(0)
    };
    claim(&store, "first", "one").await.unwrap();
    assert_eq!((calls("evalsha").await, calls("eval").await), (1, 1));
    for number in 0..100 {
        claim(&store, &format!("room {number}"), "one").await.unwrap();
    }
    assert_eq!((calls("evalsha").await, calls("eval").await), (101, 1));
    store.link().call(&["SCRIPT", "FLUSH"]).await.unwrap();
    assert_eq!(store.count(&"one".into()).await.unwrap(), 101);
    assert!(matches!(claim(&store, "first", "one").await, Ok(Claim::Held(_))));
}

#[tokio::test]
async fn a_link_serves_others_too() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let link = RedisLink::new(at(server.port())).unwrap();
    link.ping().await.unwrap();
    let replies = link.pipeline(&[vec!["SET", "a", "1"], vec!["INCR", "a"], vec!["GET", "b"]]).await.unwrap();
    assert_eq!(replies, [RedisReply::Text(b"OK".to_vec()), RedisReply::Int(2), RedisReply::Nil]);
    let script = RedisScript::new("return { KEYS[1], ARGV[1], 3 }");
    let reply = link.script(&script, &["k"], &["v"]).await.unwrap();
    assert_eq!(reply.as_list().len(), 3);
    let wrong = link.pipeline(&[vec!["INCR", "a"], vec!["LPOP", "a"]]).await.unwrap_err();
    words(&wrong, StickErrorKind::Refused, &["WRONGTYPE"]);
    // An idle link costs nothing and an unused one never connects.
    drop(RedisLink::new(at(1)).unwrap());
}

/// Counts the warnings of one thread.
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, of: &tracing::Metadata<'_>) -> bool {
        *of.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn an_open_server_is_warned_of_once() {
    let seen = Arc::new(AtomicUsize::new(0));
    tracing::subscriber::with_default(Warnings(Arc::clone(&seen)), || {
        let link = RedisLink::new(RedisOptions::new("10.1.2.3")).unwrap();
        let _ = (RedisStore::new(link.clone()), RedisStore::new(link));
        assert_eq!(seen.load(Ordering::SeqCst), 1);
        RedisLink::new(RedisOptions::new("10.1.2.3").password(SECRET)).unwrap();
        RedisLink::new(RedisOptions::new("127.0.0.1")).unwrap();
    });
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[test]
fn settings_are_checked_and_warned_of() {
    let warned = |options| RedisLink::new(options).unwrap().warning().map(str::to_owned);
    let warning = warned(RedisOptions::new("10.1.2.3")).unwrap();
    assert!(warning.contains("10.1.2.3:6379") && warning.contains("no password"), "{warning}");
    assert_eq!(warned(RedisOptions::new("10.1.2.3").password(SECRET)), None);
    for local in ["localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(warned(RedisOptions::new(local)), None, "{local}");
    }
    for wrong in [
        RedisOptions::new("0.0.0.0"),
        RedisOptions::new(""),
        RedisOptions::new("a b"),
        RedisOptions::new("h").namespace(""),
        RedisOptions::new("h").namespace("a{b"),
        RedisOptions::new("h").connections(0),
        RedisOptions::new("h").response_timeout(Duration::ZERO),
        RedisOptions::new("h").username("ann"),
    ] {
        let error = RedisLink::new(wrong).unwrap_err();
        assert_eq!(error.kind(), StickErrorKind::Input, "{error}");
    }
}
