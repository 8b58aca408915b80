//! The store on a master that real sentinels watch.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use balancer_core::{
    Claim, RedisLink, RedisOptions, RedisStore, StickError, StickErrorKind, StickKey, StickStore, Token, Want,
};
use tokio::time::Instant;

use crate::redis_server::{RedisServer, closed_port, patient, until, words};

const HOUR: Duration = Duration::from_secs(3600);
const SECRET: &str = "hunter2";
const WATCHWORD: &str = "hunter2-watch";

/// What a sentinel knows of its master, as it comes over the wire.
fn known(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "AUTH {WATCHWORD}\r\nSENTINEL MASTER mymaster\r\n").unwrap();
    let (mut text, mut part) = (String::new(), [0; 4096]);
    while !text.contains("parallel-syncs") && !text.contains("-ERR") {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(read) => text.push_str(&String::from_utf8_lossy(&part[..read])),
        }
    }
    text
}

fn sentinel(master: u16, quorum: usize) -> Option<RedisServer> {
    let mut text = format!("sentinel monitor mymaster 127.0.0.1 {master} {quorum}\n");
    for line in [
        // More than a busy machine may let one wait.
        "sentinel down-after-milliseconds mymaster 6000",
        "sentinel failover-timeout mymaster 5000",
        &format!("sentinel auth-pass mymaster {SECRET}"),
        &format!("sentinel sentinel-pass {WATCHWORD}"),
        &format!("requirepass {WATCHWORD}"),
    ] {
        writeln!(text, "{line}").unwrap();
    }
    RedisServer::start_sentinel(&text, &[])
}

/// A master, its replica and three sentinels of which two must agree.
struct Watched {
    master: RedisServer,
    replica: RedisServer,
    sentinels: Vec<RedisServer>,
}

impl Watched {
    async fn start() -> Option<Self> {
        let passwords = ["--requirepass", SECRET, "--masterauth", SECRET];
        let master = RedisServer::start(&passwords)?;
        let port = master.port().to_string();
        let replica = RedisServer::start(&[&passwords[..], &["--replicaof", "127.0.0.1", &port]].concat())?;
        let sentinels = (0..3).map(|_| sentinel(master.port(), 2)).collect::<Option<Vec<_>>>()?;
        let watched = Self { master, replica, sentinels };
        for sentinel in &watched.sentinels {
            until("the sentinels know one another", async || {
                let text = known(sentinel.port());
                let has = |name: &str, value: &str| text.contains(&format!("{name}\r\n$1\r\n{value}\r\n"));
                (has("num-other-sentinels", "2") && has("num-slaves", "1")).then_some(())
            })
            .await;
        }
        until("the replica follows", async || {
            let info = direct(&watched.replica).call(&["INFO", "replication"]).await.ok()?;
            info.as_str()?.contains("master_link_status:up").then_some(())
        })
        .await;
        Some(watched)
    }

    fn options(&self) -> RedisOptions {
        options(&self.sentinels)
    }

    fn store(&self) -> RedisStore {
        store(self.options())
    }
}

fn options(sentinels: &[RedisServer]) -> RedisOptions {
    let places = sentinels.iter().map(|sentinel| ("127.0.0.1", sentinel.port()));
    patient(RedisOptions::sentinel("mymaster", places).password(SECRET).sentinel_password(WATCHWORD))
}

fn store(options: RedisOptions) -> RedisStore {
    RedisStore::new(RedisLink::new(options).unwrap())
}

fn direct(server: &RedisServer) -> RedisLink {
    let options = RedisOptions::new("127.0.0.1").port(server.port()).unwrap().password(SECRET);
    RedisLink::new(patient(options)).unwrap()
}

fn key(name: &str) -> StickKey {
    StickKey::new(name).unwrap()
}

async fn claim(store: &RedisStore, name: &str, backend: &str) -> Result<Claim, StickError> {
    store.claim(&key(name), &Want { backend: backend.into(), token: Token(1) }, HOUR).await
}

#[cfg(feature = "testing")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms_behind_sentinels() {
    use balancer_core::conformance::{Clock, run};

    let Some(watched) = Watched::start().await else { return };
    let number = AtomicUsize::new(0);
    let make = async || {
        let namespace = format!("suite-{}", number.fetch_add(1, Ordering::Relaxed));
        store(watched.options().namespace(namespace).connections(2))
    };
    run(make, &Clock::Real).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_master_that_is_killed_is_replaced() {
    let Some(mut watched) = Watched::start().await else { return };
    let store = watched.store();
    for number in 0..50 {
        assert!(matches!(claim(&store, &format!("room {number}"), "one").await, Ok(Claim::Won(_))));
    }
    // `WAIT` is about the writes of its own connection: one more write over it covers the others.
    let link = direct(&watched.master);
    let waited = link.pipeline(&[vec!["SET", "last", "1"], vec!["WAIT", "1", "20000"]]).await.unwrap();
    assert_eq!(waited[1].as_int(), Some(1), "the replica has it all");
    let generation = store.link().generation();
    watched.master.stop();
    let began = Instant::now();
    let mut failed = 0;
    let answer = until("the replica takes over", async || match claim(&store, "room 0", "two").await {
        Ok(answer) => Some(answer),
        Err(error) => {
            assert!(matches!(error.kind(), StickErrorKind::Lost | StickErrorKind::Refused), "{error}");
            words(&error, error.kind(), &["mymaster"]);
            failed += 1;
            None
        }
    })
    .await;
    println!("claims work again {:?} after the kill, {failed} failed", began.elapsed());
    assert!(matches!(answer, Claim::Held(binding) if binding.backend == "one".into()));
    assert_ne!(store.link().generation(), generation);
    assert!(matches!(claim(&store, "new room", "two").await, Ok(Claim::Won(_))));
    assert_eq!(store.count(&"one".into()).await.unwrap(), 50);
    let role = direct(&watched.replica).call(&["ROLE"]).await.unwrap();
    assert_eq!(role.as_list()[0].as_str(), Some("master"));
    // All have heard of it: as long as one has not, it names the old master.
    let named = format!("\r\nport\r\n$5\r\n{}\r\n", watched.replica.port());
    for sentinel in &watched.sentinels {
        until("the sentinels name the new master", async || known(sentinel.port()).contains(&named).then_some(()))
            .await;
    }
    // The old master comes back, at first as one: it is not believed.
    watched.master.resume();
    assert!(matches!(claim(&store, "another room", "two").await, Ok(Claim::Won(_))));
    assert!(matches!(claim(&watched.store(), "new room", "one").await, Ok(Claim::Held(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_claim_that_a_failover_lost_is_noticed() {
    let Some(mut watched) = Watched::start().await else { return };
    let store = watched.store();
    let Claim::Won(kept) = claim(&store, "kept", "one").await.unwrap() else { panic!("not won") };
    let link = direct(&watched.master);
    let waited = link.pipeline(&[vec!["SET", "last", "1"], vec!["WAIT", "1", "20000"]]).await.unwrap();
    assert_eq!(waited[1].as_int(), Some(1));
    // From here on the replica hears nothing.
    let deaf = direct(&watched.replica);
    deaf.call(&["CONFIG", "SET", "masterauth", "wrong"]).await.unwrap();
    deaf.call(&["CLIENT", "KILL", "TYPE", "master"]).await.unwrap();
    until("the replica is cut off", async || {
        let info = deaf.call(&["INFO", "replication"]).await.ok()?;
        info.as_str()?.contains("master_link_status:down").then_some(())
    })
    .await;
    let before = store.link().generation();
    let Claim::Won(lost) = claim(&store, "lost", "one").await.unwrap() else { panic!("not won") };
    assert_eq!(store.link().generation(), before, "nothing changed, nothing to ask");
    assert!(store.confirm(&key("lost"), &lost).await.unwrap());
    watched.master.stop();
    until("the loss of contact shows", async || (store.link().generation() != before).then_some(())).await;
    let held = until("the replica takes over", async || store.confirm(&key("lost"), &lost).await.ok()).await;
    assert!(!held, "the claim is lost and the re-read says so");
    assert!(store.confirm(&key("kept"), &kept).await.unwrap());
    assert!(!store.renew(&key("lost"), &lost, HOUR).await.unwrap());
    assert!(matches!(claim(&store, "lost", "two").await.unwrap(), Claim::Won(now) if now != lost));
}

/// Lets a sentinel name another master.
async fn name_another(sentinel: u16, master: u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", sentinel)).unwrap();
    write!(
        stream,
        "AUTH {WATCHWORD}\r\nSENTINEL REMOVE mymaster\r\nSENTINEL MONITOR mymaster 127.0.0.1 {master} 1\r\n"
    )
    .unwrap();
    until("the sentinel watches the other", async || known(sentinel).contains(&master.to_string()).then_some(())).await;
}

#[tokio::test]
async fn a_master_that_was_replaced_does_not_confirm() {
    let passwords = ["--requirepass", SECRET];
    let (Some(first), Some(second)) = (RedisServer::start(&passwords), RedisServer::start(&passwords)) else { return };
    let Some(one) = sentinel(first.port(), 1) else { return };
    let sentinels = [one];
    let store = store(options(&sentinels));
    let Claim::Won(won) = claim(&store, "room", "one").await.unwrap() else { panic!("not won") };
    assert!(store.confirm(&key("room"), &won).await.unwrap());
    // The sentinel names another; the first still answers and knows nothing of it.
    name_another(sentinels[0].port(), second.port()).await;
    assert_eq!(store.get(&key("room"), None).await.unwrap(), Some(won.clone()));
    assert!(!store.confirm(&key("room"), &won).await.unwrap());
    assert_eq!(store.get(&key("room"), None).await.unwrap(), None, "from now on the other is asked");
    // What is named but no master is not used.
    direct(&second).call(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    let refused = claim(&store, "room", "one").await.unwrap_err();
    words(&refused, StickErrorKind::Lost, &["no master", &second.port().to_string(), "slave"]);
}

#[tokio::test]
async fn a_master_that_comes_back_is_asked_for_again() {
    let passwords = ["--requirepass", SECRET];
    let (Some(mut first), Some(second)) = (RedisServer::start(&passwords), RedisServer::start(&passwords)) else {
        return;
    };
    let Some(one) = sentinel(first.port(), 1) else { return };
    let sentinels = [one];
    let store = store(options(&sentinels).connections(3));
    assert!(matches!(claim(&store, "room", "one").await, Ok(Claim::Won(_))));
    name_another(sentinels[0].port(), second.port()).await;
    // While nothing is asked the first is gone and back, and takes itself for the master.
    let before = store.link().generation();
    first.stop();
    until("the loss of contact shows", async || (store.link().generation() != before).then_some(())).await;
    first.resume();
    for number in 0..6 {
        assert!(matches!(claim(&store, &format!("room {number}"), "one").await, Ok(Claim::Won(_))));
    }
    assert_eq!(direct(&first).call(&["DBSIZE"]).await.unwrap().as_int(), Some(0));
    assert_ne!(direct(&second).call(&["DBSIZE"]).await.unwrap().as_int(), Some(0));
}

#[tokio::test]
async fn what_the_sentinels_say_is_named() {
    let Some(master) = RedisServer::start(&["--requirepass", SECRET]) else { return };
    let (Some(one), Some(two)) = (sentinel(master.port(), 1), sentinel(master.port(), 1)) else { return };
    let (_closed, nobody) = closed_port();
    let ports = [one.port(), two.port()];
    let places = || ports.into_iter().map(|port| ("127.0.0.1", port));
    let at = |name: &str| patient(RedisOptions::sentinel(name, places()).password(SECRET).sentinel_password(WATCHWORD));
    let named = |port: u16| format!("127.0.0.1:{port}");

    let wrong = claim(&store(at("yourmaster")), "room", "one").await.unwrap_err();
    words(&wrong, StickErrorKind::Refused, &["yourmaster", &named(ports[0]), &named(ports[1]), "sentinel monitor"]);

    let locked = patient(RedisOptions::sentinel("mymaster", places()).password(SECRET));
    words(
        &claim(&store(locked), "room", "one").await.unwrap_err(),
        StickErrorKind::Refused,
        &["NOAUTH", &named(ports[0])],
    );
    let locked = at("mymaster").sentinel_password("hunter2-no");
    words(
        &claim(&store(locked), "room", "one").await.unwrap_err(),
        StickErrorKind::Refused,
        &["password", &named(ports[0])],
    );
    let data = at("mymaster").password("hunter2-no");
    words(
        &claim(&store(data), "room", "one").await.unwrap_err(),
        StickErrorKind::Refused,
        &[&named(master.port()), "password"],
    );

    let began = Instant::now();
    let gone = store(RedisOptions::sentinel("mymaster", [("127.0.0.1", nobody)]).password(SECRET));
    words(
        &claim(&gone, "room", "one").await.unwrap_err(),
        StickErrorKind::Lost,
        &["no sentinel answers", &named(nobody)],
    );
    assert!(began.elapsed() < Duration::from_secs(20));
    let not = RedisOptions::sentinel("mymaster", [("127.0.0.1", master.port())]).sentinel_password(SECRET);
    let not = store(patient(not));
    words(
        &claim(&not, "room", "one").await.unwrap_err(),
        StickErrorKind::Refused,
        &["no sentinel", &named(master.port())],
    );

    // One that says nothing is waited for a little, and named when there is no other.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap().port();
    let quick = |options: RedisOptions| {
        let options = options.password(SECRET).sentinel_password(WATCHWORD);
        options.connect_timeout(Duration::from_secs(4)).response_timeout(Duration::from_secs(14))
    };
    let began = Instant::now();
    let mute = store(quick(RedisOptions::sentinel("mymaster", [("127.0.0.1", silent)])));
    let error = claim(&mute, "room", "one").await.unwrap_err();
    words(&error, StickErrorKind::Lost, &["no sentinel answers", &named(silent), "no greeting"]);
    assert!(began.elapsed() < Duration::from_secs(20));
    let some = [silent, ports[0], ports[1]].map(|port| ("127.0.0.1", port));
    let some = store(quick(RedisOptions::sentinel("mymaster", some)).namespace("some"));
    assert!(matches!(claim(&some, "room", "one").await, Ok(Claim::Won(_))));

    // One that is gone does not matter; by URL, with both passwords.
    let url = format!(
        "redis+sentinel://:{SECRET}@127.0.0.1:{nobody},127.0.0.1:{}/mymaster/1?sentinel_password={WATCHWORD}",
        ports[0]
    );
    let by_url = store(patient(RedisOptions::from_url(&url).unwrap()));
    assert!(matches!(claim(&by_url, "room", "one").await, Ok(Claim::Won(_))));
    assert_eq!(store(at("mymaster")).get(&key("room"), None).await.unwrap(), None, "another database");
}
