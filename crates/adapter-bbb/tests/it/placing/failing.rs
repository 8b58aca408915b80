//! Servers that fail while a meeting is created, and servers that die with meetings on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adapter_bbb::testing::{Meetings, Mode};
use adapter_bbb::{BbbClient, CallError, Transport, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, timeout};

use crate::stage::{PATIENCE, Process, Stage, dump, hasty, link, patient, redis_store, until};
use real_servers::RedisServer;

/// Long before a call is given up.
const SOON: Duration = Duration::from_secs(15);

/// Two servers, the first of which is preferred; it fails at once in this way.
async fn tries_the_next(mode: Mode) {
    let stage = Stage::memory(2).await;
    stage.burden(1, 100);
    let process = stage.process(if mode == Mode::Hang { hasty() } else { patient() }).await;
    stage.fakes[0].set_mode(mode.clone()).await.unwrap();
    let began = Instant::now();
    let answer = process.create("m").await;
    assert!(answer.ok(), "{mode:?}: {answer:?}");
    if mode != Mode::Hang {
        assert!(began.elapsed() < SOON, "{mode:?}: at once, not after {:?}", began.elapsed());
    }
    assert_eq!(process.home("m").await.as_deref(), Some("s1"), "{mode:?}");
    assert!(stage.fakes[1].meeting("m").is_some(), "{mode:?}");
    assert_eq!(stage.led_to(&process.join("m").await), Some(1), "{mode:?}");
    // The next one goes to the healthy server straight away.
    let asked = stage.fakes[0].count("create");
    assert!(process.create("n").await.ok());
    assert_eq!(stage.fakes[0].count("create"), asked, "{mode:?}: no new meetings before a poll found it well");
}

#[tokio::test]
async fn refused() {
    tries_the_next(Mode::Down).await;
}

#[tokio::test]
async fn reset() {
    tries_the_next(Mode::Reset).await;
}

#[tokio::test]
async fn hanging() {
    tries_the_next(Mode::Hang).await;
}

#[tokio::test]
async fn garbage() {
    tries_the_next(Mode::Garbage).await;
}

#[tokio::test]
async fn the_page_of_a_proxy() {
    tries_the_next(Mode::Html502).await;
}

#[tokio::test]
async fn empty() {
    tries_the_next(Mode::Empty).await;
}

#[tokio::test]
async fn cut_everywhere_and_cleaned_up() {
    let stage = Stage::memory(2).await;
    stage.burden(1, 100);
    let process = stage.process(patient()).await;
    // The first server makes the meeting, but no answer of it ever arrives whole.
    stage.fakes[0].set_mode(Mode::Cut).await.unwrap();
    assert!(process.create("m").await.ok());
    assert_eq!(process.home("m").await.as_deref(), Some("s1"));
    // What it made is ended there.
    stage.fakes[0].wait_for(|s| s.meeting("m").is_none() && s.count("end") > 0, PATIENCE).await.unwrap();
    assert_eq!(stage.having("m"), [1]);
}

#[tokio::test]
async fn a_create_that_was_cut_is_sent_again_where_the_server_answers() {
    let stage = Stage::memory(2).await;
    stage.burden(1, 100);
    let process = stage.process(patient()).await;
    let mut held = stage.fakes[0].hold_answer("create");
    let (answer, ()) = tokio::join!(process.create("m"), async {
        held.arrived().await.unwrap();
        stage.fakes[0].cut_connections();
        held.release();
    });
    assert!(answer.ok(), "{answer:?}");
    assert_eq!(stage.having("m"), [0]);
    assert_eq!(process.home("m").await.as_deref(), Some("s0"));
}

/// A network in which the first answer to a `create` comes too late.
struct Late {
    rest: BbbClient,
    late: AtomicBool,
}

#[async_trait]
impl Transport for Late {
    async fn call(&self, url: &str, upload: Option<Upload>) -> Result<Bytes, CallError> {
        let answer = self.rest.call(url, upload, false).await;
        if url.contains("/create?") && self.late.swap(false, Ordering::Relaxed) {
            return Err(CallError::Timeout { host: "s0".into(), seconds: 1.0 });
        }
        answer
    }
}

#[tokio::test]
async fn an_answer_that_comes_too_late_makes_no_second_meeting() {
    let stage = Stage::memory(2).await;
    stage.burden(1, 100);
    // Made, but the answer to the first create comes when nobody waits for it any more.
    let network = Arc::new(Late { rest: BbbClient::new(patient().calls), late: AtomicBool::new(true) });
    let client = BbbClient::with_transport(patient().calls, network.clone());
    let process = Process::start_with(patient(), stage.store.clone(), client, false).await;
    process.poll().await;
    let answer = process.create("m").await;
    assert!(answer.ok(), "{answer:?}");
    assert!(!network.late.load(Ordering::Relaxed));
    assert_eq!(stage.fakes[0].count("create"), 2);
    assert_eq!(stage.having("m"), [0]);
    assert_eq!(process.home("m").await.as_deref(), Some("s0"));
    assert_eq!(stage.fakes[1].count("create"), 0);
    assert!(stage.fakes[0].count("getMeetingInfo") > 0, "it is looked for first");
}

#[tokio::test]
async fn a_server_too_late_with_everything_loses_the_meeting_for_good() {
    let stage = Stage::memory(2).await;
    stage.burden(1, 100);
    let process = stage.process(hasty()).await;
    stage.fakes[0].set_late("create", Duration::from_secs(600));
    stage.fakes[0].set_mode_for(&["getMeetingInfo"], Mode::Hang);
    let answer = process.create("m").await;
    assert!(answer.ok(), "{answer:?}");
    assert_eq!(process.home("m").await.as_deref(), Some("s1"));
    stage.fakes[0].wait_for(|s| s.meeting("m").is_none(), PATIENCE).await.unwrap();
    assert_eq!(stage.having("m"), [1]);
}

#[tokio::test]
async fn a_refusal_of_the_server_is_passed_on_and_nothing_stays_bound() {
    let stage = Stage::memory(1).await;
    let process = stage.process(patient()).await;
    stage.fakes[0].set_mode_for(&["create"], Mode::failed("tooBusy", "come back later"));
    let answer = process.create("m").await;
    assert_eq!((answer.text("messageKey"), answer.text("message")), ("tooBusy", "come back later"));
    assert_eq!(process.home("m").await, None);
    stage.fakes[0].set_mode_for(&["create"], Mode::FailedNoKey);
    let answer = process.create("m").await;
    assert_eq!(answer.text("message"), "Unable to create meeting on server.");
}

#[tokio::test]
async fn no_server_left() {
    let stage = Stage::memory(2).await;
    let process = stage.process(patient()).await;
    for fake in &stage.fakes {
        fake.stop().await;
    }
    let answer = process.create("m").await;
    assert_eq!(answer.text("message"), "Unable to create meeting on server.");
    let answer = process.create("n").await;
    assert_eq!(answer.text("message"), "Could not find any available servers.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_its_meetings_once_and_for_all() {
    let Some(mut stage) = Stage::redis(3).await else { return };
    let server = stage.redis.take().unwrap();
    let link = link(&server);
    let (a, b) = (stage.process(patient()).await, stage.process(patient()).await);
    let mut ids = Vec::new();
    for n in 0..120 {
        let id = format!("m{n}");
        assert!(a.create(&id).await.ok());
        ids.push(id);
    }
    assert_eq!(stage.counts(), [40, 40, 40]);
    let mine: Vec<String> = ids.iter().filter(|id| stage.fakes[0].meeting(id).is_some()).cloned().collect();
    // The bindings are old enough for hard proof.
    until("the bindings have settled", async || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let newest = a.call("meetings", "").await;
        let newest: serde_json::Value = serde_json::from_str(&newest.body).unwrap();
        let all = newest["meetings"].as_array().unwrap();
        all.iter().all(|m| u128::from(m["stamp_ms"].as_u64().unwrap()) + 1_000 < now)
    })
    .await;
    stage.fakes[0].stop().await;

    // A create of one of them succeeds at once, on one new server.
    let began = Instant::now();
    let answer = a.create(&mine[0]).await;
    assert!(answer.ok(), "{answer:?}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let home = Stage::number(&a.home(&mine[0]).await.unwrap());
    assert!(home != 0 && stage.fakes[home].meeting(&mine[0]).is_some());
    assert!(stage.fakes[3 - home].meeting(&mine[0]).is_none());
    assert_eq!(stage.led_to(&b.join(&mine[0]).await), Some(home));
    // The others answer as before until two polls said offline.
    assert_eq!(stage.led_to(&a.join(&mine[1]).await), Some(0));
    a.poll().await;
    assert_eq!(stage.led_to(&b.join(&mine[1]).await), Some(0));
    a.poll().await;
    let refused = b.join(&mine[1]).await;
    assert_eq!(refused.text("messageKey"), "serverUnavailable", "{refused:?}");
    // From here on every create finds one new server and every join follows it.
    for (n, id) in mine[1..].iter().enumerate() {
        let (one, other) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let (first, second) = tokio::join!(one.create(id), other.create(id));
        assert!(first.ok() && second.ok(), "{first:?} {second:?}");
        let home = Stage::number(&one.home(id).await.unwrap());
        assert_ne!(home, 0);
        assert!(stage.fakes[home].meeting(id).is_some() && stage.fakes[3 - home].meeting(id).is_none());
        assert_eq!(stage.led_to(&other.join(id).await), Some(home));
    }
    // Back with its meetings: nothing moves back.
    let before = stage.counts();
    stage.fakes[0].revive(Meetings::Keep).await.unwrap();
    a.poll().await;
    b.poll().await;
    for id in &mine {
        let home = Stage::number(&a.home(id).await.unwrap());
        assert_ne!(home, 0);
        assert_eq!(stage.led_to(&b.join(id).await), Some(home));
        assert!(a.create(id).await.ok());
    }
    assert_eq!(stage.counts(), before, "nothing was created anywhere");
    // New ones go there again.
    let made = stage.fakes[0].created_total();
    for n in 0..60 {
        assert!(b.create(&format!("new{n}")).await.ok());
    }
    assert!(stage.fakes[0].created_total() > made || stage.counts()[0] > stage.counts()[1]);

    // Removed while dead: no key stays.
    stage.fakes[0].stop().await;
    let answer = timeout(SOON, a.post("removeServer", r#"{"id":"s0","force":true}"#)).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let left = dump(&link).await;
    let words = |line: &str| line.split([' ', ':']).any(|w| w == "s0");
    assert!(!left.lines().any(words), "{left}");
}

#[tokio::test]
async fn a_server_that_hangs_delays_no_call_to_others() {
    let stage = Stage::memory(3).await;
    let process = stage.process(patient()).await;
    for n in 0..6 {
        assert!(process.create(&format!("m{n}")).await.ok());
    }
    stage.fakes[0].set_mode(Mode::Hang).await.unwrap();
    let stuck = process.call("getMeetingInfo", "meetingID=m0");
    let all = async {
        let began = Instant::now();
        for n in 0..6 {
            let id = format!("m{n}");
            let home = stage.having(&id)[0];
            assert_eq!(stage.led_to(&process.join(&id).await), Some(home));
            if home != 0 {
                assert!(process.call("getMeetingInfo", &format!("meetingID={id}")).await.ok());
                assert!(process.call("isMeetingRunning", &format!("meetingID={id}")).await.ok());
                assert!(process.create(&id).await.ok());
            }
        }
        began.elapsed()
    };
    tokio::select! {
        took = all => assert!(took < SOON, "{took:?}"),
        answer = stuck => assert!(stage.fakes[0].meeting("m0").is_none(), "{answer:?}"),
    }
}

#[tokio::test]
async fn get_meetings_leaves_a_hung_server_out() {
    let stage = Stage::memory(3).await;
    let process = stage.process(hasty()).await;
    for n in 0..3 {
        assert!(process.create(&format!("m{n}")).await.ok());
    }
    let whole = process.call("getMeetings", "").await;
    assert_eq!(whole.body.matches("<meetingID>").count(), 3);
    assert_eq!(whole.missing, None);
    stage.fakes[1].set_mode(Mode::Hang).await.unwrap();
    let began = Instant::now();
    let answer = process.call("getMeetings", "").await;
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert!(answer.ok(), "{answer:?}");
    assert_eq!(answer.missing.as_deref(), Some("s1"));
    assert_eq!(answer.body.matches("<meetingID>").count(), 2);
    stage.fakes[0].set_mode(Mode::Garbage).await.unwrap();
    stage.fakes[2].set_mode(Mode::Html502).await.unwrap();
    let answer = process.call("getMeetings", "").await;
    assert_eq!(answer.text("message"), "Unable to access server.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verdict_that_could_not_be_stored_is_stored_later() {
    let Some(mut server) = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let stage = Stage::on(redis_store(&server), 1).await;
    let mut o = patient();
    o.poll_interval = Duration::from_millis(200);
    let process = Process::start(o, stage.store.clone(), true).await;
    let online = async || stage.store.servers().await.is_ok_and(|r| r.servers.iter().any(|s| s.online));
    until("it is online", online).await;
    server.stop();
    stage.fakes[0].set_mode(Mode::Down).await.unwrap();
    let status = async || process.call("status", "").await.body;
    until("it fell while the store was away", async || status().await.contains(r#""health":"down""#)).await;
    server.resume();
    until("everybody knows", async || stage.store.servers().await.is_ok_and(|r| r.servers.iter().all(|s| !s.online)))
        .await;
}
