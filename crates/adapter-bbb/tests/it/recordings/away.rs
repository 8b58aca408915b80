//! A database that is away: meetings go on, recordings say so, and come back.

use std::sync::Arc;
use std::time::Duration;

use adapter_bbb::{IndexError, PostgresOptions, PostgresRecordings, RecordingIndex, RecordingOptions};
use real_servers::PostgresServer;
use tokio::time::Instant;

use super::world::{World, index, recording};

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
    options.timeout = Duration::from_millis(300);
    let index = Arc::new(PostgresRecordings::new(options).unwrap());
    let world = World::new(index.clone(), RecordingOptions::default()).await;
    // The tables are made without haste.
    super::world::index(&server, "scalelite").check().await.unwrap();
    world.add(&recording("r", "m", 0, true)).await;
    server.signal("STOP");
    let began = Instant::now();
    let answer = world.call("getRecordings", "").await;
    assert_eq!(answer.text("messageKey"), "internalError", "{}", answer.body);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(world.process.create("m").await.ok());
    server.signal("CONT");
    let deadline = Instant::now() + crate::stage::PATIENCE;
    loop {
        match index.check().await {
            Ok(()) => break,
            Err(e) => assert!(e.is_retryable() && Instant::now() < deadline, "{e}"),
        }
    }
    assert_eq!(world.listed("").await, ["r"]);
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
