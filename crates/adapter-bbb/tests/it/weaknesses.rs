//! What Scalelite is known to do badly, where no other test looks at it.

use std::time::Duration;

use adapter_bbb::testing::{MeetingSpec, Mode};
use adapter_bbb::{Payload, RequestHead, ServerState};
use bytes::Bytes;
use tokio::time::{Instant, timeout};

use crate::stage::{HOST, PATIENCE, Process, Stage, link, patient, redis_store, signed, until};
use real_servers::RedisServer;

/// The expected loads, by server.
async fn expected(process: &Process) -> Vec<f64> {
    let status = process.call("status", "").await;
    let status: serde_json::Value = serde_json::from_str(&status.body).unwrap();
    status["servers"].as_array().unwrap().iter().map(|s| s["expected_load"].as_f64().unwrap()).collect()
}

/// There: an internal error when a name is broken, a bad request only when a value is.
#[tokio::test]
async fn a_broken_name_is_a_bad_request_like_a_broken_value() {
    let stage = Stage::memory(1).await;
    let process = stage.process(patient()).await;
    for query in ["%ff=x&meetingID=m", "%zz=x", "a%=x", "meetingID=%ff", "meetingID=%e4"] {
        for path in ["/bigbluebutton/api/create", "/bigbluebutton/api/getMeetings", "/bigbluebutton/api/hooks/list"] {
            let head = RequestHead { method: "GET", path, query, host: Some(HOST), ..RequestHead::default() };
            let answer = process.service.handle(head, Payload::Whole(Bytes::new())).await;
            assert_eq!(answer.status().as_u16(), 400, "{path}?{query}");
        }
    }
}

/// There: one server after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn get_meetings_asks_all_servers_at_once() {
    let stage = Stage::memory(4).await;
    let process = stage.process(patient()).await;
    let held: Vec<_> = stage.fakes.iter().map(|fake| fake.hold("getMeetings")).collect();
    let service = process.service.clone();
    let answer = tokio::spawn(async move { crate::stage::call(&service, "getMeetings", "", None).await });
    for fake in &stage.fakes {
        // None has answered yet.
        fake.wait_for(|s| s.count("getMeetings") == 2, PATIENCE).await.unwrap();
    }
    held.into_iter().for_each(|h| h.release());
    assert!(timeout(PATIENCE, answer).await.unwrap().unwrap().ok());
}

/// There: a new connection for every call.
#[tokio::test]
async fn connections_to_servers_are_kept() {
    let stage = Stage::memory(1).await;
    let process = stage.process(patient()).await;
    assert!(process.create("m").await.ok());
    let before = stage.fakes[0].connections_accepted();
    for _ in 0..20 {
        assert!(process.call("isMeetingRunning", "meetingID=m").await.ok());
        assert!(process.call("getMeetingInfo", "meetingID=m").await.ok());
    }
    assert_eq!(stage.fakes[0].connections_accepted(), before);
}

/// There: no second attempt. A kept connection that the server closed meanwhile costs no call here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_closed_meanwhile_costs_no_call() {
    let stage = Stage::memory(1).await;
    let process = stage.process(patient()).await;
    assert!(process.create("m").await.ok());
    for _ in 0..5 {
        stage.fakes[0].cut_connections();
        stage.fakes[0].wait_for(|s| s.connections_open() == 0, PATIENCE).await.unwrap();
        assert!(process.call("getMeetingInfo", "meetingID=m").await.ok());
    }
}

/// There: the meeting stays on a server that is enabled, offline and without a load.
#[tokio::test]
async fn a_meeting_of_an_offline_server_begins_anew_elsewhere() {
    let stage = Stage::memory(2).await;
    stage.burden(1, 40);
    let process = stage.process(patient()).await;
    assert!(process.create("m").await.ok());
    assert_eq!(stage.having("m"), [0]);
    stage.fakes[0].stop().await;
    process.poll().await;
    process.poll().await;
    let info = process.call("getServerInfo", "id=s0").await;
    assert!(info.body.contains(r#""state":"enabled""#) && info.body.contains(r#""online":"offline""#), "{info:?}");
    assert!(process.create("m").await.ok());
    assert!(stage.fakes[1].meeting("m").is_some());
    assert_eq!(stage.led_to(&process.join("m").await), Some(1));
}

/// There: a poll overwrites what was placed after its snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_keeps_what_was_placed_while_it_measured() {
    let stage = Stage::memory(1).await;
    let process = stage.process(patient()).await;
    assert_eq!(expected(&process).await, [0.0]);
    // The list is made, without the meeting, and on its way while the meeting is created.
    let mut held = stage.fakes[0].hold_answer("getMeetings");
    let cluster = process.service.cluster().clone();
    let poll = tokio::spawn(async move { cluster.poll_now().await });
    timeout(PATIENCE, held.arrived()).await.unwrap().unwrap();
    assert!(process.create("m").await.ok());
    held.release();
    timeout(PATIENCE, poll).await.unwrap().unwrap().unwrap();
    assert_eq!(expected(&process).await, [15.0]);
    assert!(process.home("m").await.is_some());
    // Also in the store, where others read it.
    assert_eq!(stage.store.servers().await.unwrap().servers[0].load, Some(15.0));
    process.poll().await;
    assert_eq!(stage.store.servers().await.unwrap().servers[0].load, Some(15.0));
    assert!(process.join("m").await.location.is_some());
    stage.fakes[0].remove_meeting("m");
    process.poll().await;
    assert_eq!(stage.store.servers().await.unwrap().servers[0].load, Some(0.0), "what was measured since is not kept");
}

/// There: creates of different meetings abort each other's transactions.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn creates_of_different_meetings_do_not_hinder_each_other() {
    let Some(stage) = Stage::redis(2).await else { return };
    let processes = [stage.process(patient()).await, stage.process(patient()).await];
    // One of them takes as long as it likes.
    let held = stage.fakes[0].hold("create");
    let (slow, quick) = (processes[0].service.clone(), processes[1].service.clone());
    stage.burden(1, 100);
    processes[0].poll().await;
    let slow = tokio::spawn(async move { crate::stage::call(&slow, "create", "meetingID=slow", None).await });
    stage.fakes[0].wait_for(|s| s.count("create") == 1, PATIENCE).await.unwrap();
    let mut all = tokio::task::JoinSet::new();
    for n in 0..100 {
        let service = if n % 2 == 0 { quick.clone() } else { processes[0].service.clone() };
        all.spawn(async move { crate::stage::call(&service, "create", &format!("meetingID=m{n}"), None).await });
    }
    while let Some(done) = all.join_next().await {
        assert!(done.unwrap().ok());
    }
    held.release();
    assert!(timeout(PATIENCE, slow).await.unwrap().unwrap().ok());
    // Each was sent once.
    assert_eq!(stage.fakes.iter().map(|f| f.count("create")).sum::<u64>(), 101);
}

/// There: an internal error or a dead end for up to a day, on every call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meeting_whose_server_is_gone_is_unknown_and_can_be_created() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let stage = Stage::on(redis_store(&server), 1).await;
    let process = stage.process(patient()).await;
    let link = link(&server);
    // As Scalelite leaves it behind: a meeting of a server that nobody knows.
    for command in [
        "HSET scalelite:meeting:m server_id gone moderator_pw pw voice_bridge 123456789 tenant_id x",
        "SADD scalelite:meetings m",
        "HSET scalelite:voice_bridges 123456789 m",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        link.call(&words).await.unwrap();
    }
    assert_eq!(process.join("m").await.text("messageKey"), "notFound");
    assert_eq!(process.call("getMeetingInfo", "meetingID=m").await.text("messageKey"), "notFound");
    assert_eq!(process.call("end", "meetingID=m&password=pw").await.text("messageKey"), "notFound");
    assert_eq!(process.call("isMeetingRunning", "meetingID=m").await.text("running"), "false");
    let (path, query) = signed("insertDocument", "meetingID=m");
    let head = RequestHead {
        method: "POST",
        path: &path,
        query: &query,
        host: Some(HOST),
        content_type: Some("application/xml"),
        ..RequestHead::default()
    };
    let answer = process.service.handle(head, Payload::Whole(Bytes::from_static(b"<modules/>"))).await;
    assert!(String::from_utf8_lossy(answer.body()).contains("notFound"));
    assert!(process.create("m").await.ok());
    assert_eq!((stage.having("m"), stage.led_to(&process.join("m").await)), (vec![0], Some(0)));
}

/// There: threads that wait for hung servers keep others from being polled at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hung_servers_do_not_keep_others_from_being_polled() {
    let stage = Stage::memory(24).await;
    for fake in &stage.fakes[..16] {
        fake.set_mode(Mode::Hang).await.unwrap();
    }
    let mut o = patient();
    o.calls.response = Duration::from_secs(600);
    let process = Process::start(o, stage.store.clone(), false).await;
    let cluster = process.service.cluster().clone();
    let poll = tokio::spawn(async move { cluster.poll_now().await });
    for fake in &stage.fakes {
        fake.wait_for(|s| s.count("getMeetings") > 0, PATIENCE).await.unwrap();
    }
    // All are asked at once; the hung ones have not answered, and nobody has given them up.
    assert!(!poll.is_finished());
    assert!(stage.fakes[..16].iter().all(|fake| fake.count("getMeetings") == 1));
    for fake in &stage.fakes[..16] {
        fake.set_mode(Mode::Http500).await.unwrap();
    }
    timeout(PATIENCE, poll).await.unwrap().unwrap().unwrap();
    let servers = process.call("getServers", "").await;
    assert_eq!(servers.body.matches(r#""online":"online""#).count(), 8, "{servers:?}");
}

/// There: an `end` with a full time-out for each meeting of a server that just died, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_with_many_meetings_delays_no_poll() {
    let stage = Stage::memory(2).await;
    let mut o = patient();
    (o.calls.connect, o.calls.response) = (Duration::from_secs(2), Duration::from_secs(4));
    let longest = o.calls.response;
    let process = stage.process(o).await;
    for n in 0..60 {
        assert!(process.create(&format!("m{n}")).await.ok());
    }
    let many = u32::try_from(stage.counts()[0]).unwrap();
    assert!(many > 20, "{many}");
    stage.fakes[0].set_mode(Mode::Hang).await.unwrap();
    let began = Instant::now();
    process.poll().await;
    process.poll().await;
    // A few calls' time, not one for each meeting.
    assert!(began.elapsed() < longest * many / 2, "{:?}", began.elapsed());
    let info = process.call("getServerInfo", "id=s0").await;
    assert!(info.body.contains(r#""online":"offline""#), "{info:?}");
    // And none of its meetings is lost: each begins anew with the next create.
    for n in 0..60 {
        assert!(process.create(&format!("m{n}")).await.ok());
        assert!(stage.fakes[1].meeting(&format!("m{n}")).is_some());
    }
}

/// There: a created meeting that nobody has joined counts as not running, and moves off a cordoned server.
#[tokio::test]
async fn a_meeting_nobody_has_joined_yet_stays_on_a_cordoned_server() {
    let stage = Stage::memory(2).await;
    stage.burden(1, 40);
    let process = stage.process(patient()).await;
    assert!(process.create("m").await.ok());
    stage.state(0, ServerState::Cordoned).await;
    assert_eq!(process.call("isMeetingRunning", "meetingID=m").await.text("running"), "false");
    assert!(process.create("m").await.ok());
    assert_eq!((stage.having("m"), stage.led_to(&process.join("m").await)), (vec![0], Some(0)));
}

/// There: a failed `create` leaves its claim and its load behind, and every repeat goes to the same dead server.
#[tokio::test]
async fn a_failed_create_leaves_neither_a_claim_nor_a_load() {
    let stage = Stage::memory(1).await;
    stage.fakes[0].put_meeting(MeetingSpec::new("other").people(20, 0, 0));
    let process = stage.process(patient()).await;
    stage.fakes[0].set_mode_for(&["create"], Mode::failed("tooBusy", "come back later"));
    for _ in 0..3 {
        assert_eq!(process.create("m").await.text("messageKey"), "tooBusy");
    }
    assert_eq!((process.home("m").await, expected(&process).await), (None, vec![20.0]));
    stage.fakes[0].stop().await;
    assert!(!process.create("m").await.ok());
    stage.fakes[0].ok().await.unwrap();
    process.poll().await;
    // Whatever is still bound of the attempt with nobody there does not stand in the way.
    until("it can be created", async || process.create("m").await.ok()).await;
    assert_eq!(stage.having("m"), [0]);
}
