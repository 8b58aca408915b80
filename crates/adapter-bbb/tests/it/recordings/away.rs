//! A database that is away: meetings go on, recordings say so, and come back.

use std::sync::Arc;
use std::time::Duration;

use adapter_bbb::{
    IndexError, Payload, PostgresOptions, PostgresRecordings, RecordingIndex, RecordingOptions, RequestHead,
};
use bytes::Bytes;
use real_servers::PostgresServer;
use tokio::time::Instant;
use tokio_postgres::NoTls;

use super::world::{World, connect, index, recording};
use crate::stage::until;

#[tokio::test]
async fn meetings_go_on_without_the_database_and_recordings_come_back() {
    let Some(mut server) = PostgresServer::start() else { return };
    let world = World::new(Arc::new(index(&server, "scalelite")), RecordingOptions::default()).await;
    world.add(&recording("r", "m", 0, true)).await;
    assert_eq!(world.listed("").await, ["r"]);
    server.stop();
    for (call, query, message) in [
        ("getRecordings", "", "The recordings cannot be reached at the moment. Try again."),
        ("updateRecordings", "recordID=r&meta_a=b", "The recordings cannot be reached at the moment. Try again."),
        ("publishRecordings", "recordID=r&publish=false", "Unable to publish/unpublish recording."),
        ("deleteRecordings", "recordID=r", "Unable to delete recording."),
    ] {
        let answer = world.call(call, query).await;
        assert_eq!((answer.status, answer.text("messageKey")), (200, "internalError"), "{call}: {}", answer.body);
        assert_eq!(answer.text("message"), message, "{call}");
    }
    let tracks = world.call("getRecordingTextTracks", "recordID=r").await;
    assert!(tracks.body.contains("\"FAILED\"") && tracks.body.contains("internalError"), "{}", tracks.body);
    assert!(world.process.create("m").await.ok());
    assert!(world.call("getMeetings", "").await.ok());
    assert!(world.call("isMeetingRunning", "meetingID=m").await.ok());
    assert!(world.trees.place(true, "presentation", "r").is_dir(), "nothing was moved or removed");
    server.resume();
    // The first call finds dead connections, and tries again by itself.
    assert_eq!(world.listed("").await, ["r"]);
    assert!(world.call("publishRecordings", "recordID=r&publish=false").await.ok());
    assert!(world.trees.place(false, "presentation", "r").is_dir());
}

#[tokio::test]
async fn a_restart_between_two_calls_is_not_noticed() {
    let Some(mut server) = PostgresServer::start() else { return };
    let world = World::new(Arc::new(index(&server, "scalelite")), RecordingOptions::default()).await;
    world.add(&recording("r", "m", 0, true)).await;
    for n in 0..3 {
        server.stop();
        server.resume();
        assert!(world.call("updateRecordings", &format!("recordID=r&meta_n={n}")).await.text("updated") == "true");
    }
}

#[tokio::test]
async fn a_database_that_hangs_is_waited_for_no_longer_than_said() {
    let Some(server) = PostgresServer::start() else { return };
    let mut options = PostgresOptions::from_url(&server.url("scalelite")).unwrap();
    options.timeout = Duration::from_secs(1);
    let index = Arc::new(PostgresRecordings::new(options).unwrap());
    let world = World::new(index.clone(), RecordingOptions::default()).await;
    // The tables and what is in them are made without haste.
    let r = recording("r", "m", 0, true);
    super::world::index(&server, "scalelite").import(&r).await.unwrap();
    until("it is quick enough", async || index.check().await.is_ok()).await;
    server.signal("STOP");
    let began = Instant::now();
    let answer = world.call("getRecordings", "").await;
    assert_eq!(answer.text("messageKey"), "internalError", "{}", answer.body);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(world.process.create("m").await.ok());
    server.signal("CONT");
    let deadline = Instant::now() + crate::stage::PATIENCE;
    loop {
        match index.check().await {
            Ok(()) => break,
            Err(e) => assert!(e.is_retryable() && Instant::now() < deadline, "{e}"),
        }
    }
    let listed = async || world.call("getRecordings", "").await.text("recordID") == "r";
    until("it is listed again", listed).await;
}

#[tokio::test]
async fn a_wrong_address_is_told_without_the_password() {
    let port = real_servers::free_port();
    let options = PostgresOptions::from_url(&format!("postgres://u:geheim@127.0.0.1:{port}/x")).unwrap();
    let index = PostgresRecordings::new(options).unwrap();
    let e = index.check().await.unwrap_err();
    assert!(matches!(e, IndexError::Lost { .. }) && e.is_retryable(), "{e:?}");
    assert!(e.to_string().contains(&format!("postgres 127.0.0.1:{port}/x")), "{e}");
    assert!(!format!("{e:?} {index:?}").contains("geheim"));
}

/// The server takes fewer connections than we would have: who comes too many waits for a moment, and then says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_room_for_more_connections_is_waited_for_and_told_of() {
    let Some(server) = PostgresServer::start() else { return };
    index(&server, "scalelite").import(&recording("r", "m", 0, true)).await.unwrap();
    let admin = connect(&server, "scalelite").await;
    let lodger = "CREATE ROLE lodger LOGIN CONNECTION LIMIT 2; GRANT ALL ON ALL TABLES IN SCHEMA public TO lodger";
    admin.batch_execute(lodger).await.unwrap();
    let url = format!("postgresql://lodger@127.0.0.1:{}/scalelite", server.port());
    let mut options = PostgresOptions::from_url(&format!("{url}?pool=8")).unwrap();
    options.timeout = Duration::from_secs(60);
    let index = Arc::new(PostgresRecordings::new(options).unwrap());
    let many = (0..12).map(|_| index.clone()).map(|index| tokio::spawn(async move { index.get("r").await }));
    for one in many.collect::<Vec<_>>() {
        assert!(one.await.unwrap().unwrap().is_some());
    }
    drop(index);
    let mut others = Vec::new();
    let deadline = Instant::now() + crate::stage::PATIENCE;
    while others.len() < 2 {
        // Those of the index are not gone at once.
        match tokio_postgres::connect(&url, NoTls).await {
            Ok((client, connection)) => others.push((client, tokio::spawn(connection))),
            Err(e) => assert!(Instant::now() < deadline, "{e}"),
        }
    }
    let index = PostgresRecordings::new(PostgresOptions::from_url(&url).unwrap()).unwrap();
    let e = index.check().await.unwrap_err();
    assert!(e.is_retryable() && e.to_string().contains("too many connections for role"), "{e:?}");
    assert!(e.to_string().contains("raise max_connections there, or lower pool in DATABASE_URL"), "{e}");
    others.clear();
    until("there is room again", async || index.check().await.is_ok()).await;
}

/// All connections at work is not the same as nobody there.
#[tokio::test]
async fn who_waits_for_a_free_connection_in_vain_is_told_what_to_raise() {
    let Some(server) = PostgresServer::start() else { return };
    super::world::index(&server, "scalelite").check().await.unwrap();
    let mut options = PostgresOptions::from_url(&format!("{}?pool=1", server.url("scalelite"))).unwrap();
    options.timeout = Duration::from_millis(500);
    let index = PostgresRecordings::new(options).unwrap();
    until("it is quick enough", async || index.check().await.is_ok()).await;
    let mut other = connect(&server, "scalelite").await;
    let held = other.transaction().await.unwrap();
    held.batch_execute("LOCK TABLE recordings IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut said = Vec::new();
    // Where the second one begins late, it gets the connection that the first one has given up.
    until("each is told its own", async || {
        let (first, second) = tokio::join!(index.get("r"), index.get("r"));
        said.extend([first, second].map(|e| e.unwrap_err().to_string()));
        ["no answer within 0.5 s", "none of 1 connections was free within 0.5 s; raise pool"]
            .iter()
            .all(|words| said.iter().any(|e| e.contains(words)))
    })
    .await;
    held.rollback().await.unwrap();
    until("the lock is gone", async || index.check().await.is_ok()).await;
}

/// The server goes on with nothing that nobody waits for any more: its own connections would all be at work in the end.
#[tokio::test]
async fn what_took_too_long_ends_at_the_server_too() {
    let Some(server) = PostgresServer::start() else { return };
    let mut options = PostgresOptions::from_url(&server.url("scalelite")).unwrap();
    options.indexes = false;
    PostgresRecordings::new(options.clone()).unwrap().check().await.unwrap();
    options.timeout = Duration::from_millis(300);
    let index = PostgresRecordings::new(options).unwrap();
    until("it is quick enough", async || index.check().await.is_ok()).await;
    let mut other = connect(&server, "scalelite").await;
    let held = other.transaction().await.unwrap();
    held.batch_execute("LOCK TABLE recordings IN ACCESS EXCLUSIVE MODE").await.unwrap();
    assert!(index.get("r").await.unwrap_err().is_retryable());
    let watch = connect(&server, "scalelite").await;
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bbb-balancer' AND state = 'active'";
    until("nothing waits for the lock", async || watch.query_one(busy, &[]).await.unwrap().get::<_, i64>(0) == 0).await;
    held.rollback().await.unwrap();
    until("the lock is gone", async || index.check().await.is_ok()).await;
}

/// Connections that somebody else ends, and a server that is killed, are not noticed once it is there again.
#[tokio::test]
async fn ended_connections_and_a_killed_server_are_not_noticed() {
    let Some(mut server) = PostgresServer::start() else { return };
    let world = World::new(Arc::new(index(&server, "scalelite")), RecordingOptions::default()).await;
    world.add(&recording("r", "m", 0, true)).await;
    for n in 0..3 {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bbb-balancer'";
        connect(&server, "scalelite").await.batch_execute(end).await.unwrap();
        assert!(world.call("updateRecordings", &format!("recordID=r&meta_n={n}")).await.text("updated") == "true");
    }
    server.kill();
    assert_eq!(world.call("getRecordings", "").await.text("messageKey"), "internalError");
    assert!(world.process.create("m").await.ok());
    server.resume();
    assert_eq!(world.listed("").await, ["r"]);
    assert_eq!(world.index.get("r").await.unwrap().unwrap().meta("n"), Some("2"));
}

/// What browsers and dashboards see meanwhile.
#[tokio::test]
async fn playing_and_figures_while_the_database_is_away() {
    let Some(mut server) = PostgresServer::start() else { return };
    let mut options = PostgresOptions::from_url(&server.url("scalelite")).unwrap();
    options.timeout = Duration::from_secs(60);
    let index = Arc::new(PostgresRecordings::new(options).unwrap());
    let mut world = World::new(index, RecordingOptions::default()).await;
    world.add(&recording("r", "m", 0, true)).await;
    let store = Arc::new(adapter_bbb::LocalStore::memory());
    let gate = adapter_bbb::PlaybackGate::new(adapter_bbb::GateOptions::default(), world.index.clone(), store);
    world.service = world.service.clone().with_playback(gate);
    let get = async |path: &str| {
        let head = RequestHead { method: "GET", path, host: Some(crate::stage::HOST), ..RequestHead::default() };
        world.service.handle(head, Payload::Whole(Bytes::new())).await
    };
    let up = async || {
        let page = String::from_utf8_lossy(get("/metrics").await.body()).into_owned();
        page.lines().find_map(|l| l.strip_prefix("balancer_recordings_index_up ").map(str::to_owned)).unwrap()
    };
    // The figures wait for no more than a second.
    let comes_up = async || get("/recording/r/presentation").await.status() == 307 && up().await == "1";
    until("it is up", comes_up).await;
    server.stop();
    let away = get("/recording/r/presentation").await;
    assert_eq!((away.status().as_u16(), &away.headers()["retry-after"]), (503, &"5".parse().unwrap()));
    assert_eq!(get("/presentation/r/1.png").await.status(), 503);
    assert_eq!(up().await, "0");
    assert!(get("/readyz").await.status().is_success(), "meetings are placed all the same");
    server.resume();
    assert_eq!(get("/recording/r/presentation").await.status(), 307);
    until("it is up again", comes_up).await;
    // One that hangs does not hold the figures up for long.
    server.signal("STOP");
    let began = Instant::now();
    assert_eq!(up().await, "0");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    server.signal("CONT");
}
