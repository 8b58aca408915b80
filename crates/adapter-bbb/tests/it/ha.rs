//! Several processes on one Redis: they divide the polls, take over from one another, and outlast the Redis.

use std::time::Duration;

use adapter_bbb::testing::{MeetingSpec, Mode};
use adapter_bbb::{BbbOptions, TwiceVerdict};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::stage::{ANSWER, Answer, PATIENCE, Process, Stage, id, patient, redis_store, until};
use real_servers::RedisServer;

/// Servers that die here refuse at once: no time-out of a busy machine is to look like a death.
fn every(interval: Duration) -> BbbOptions {
    let mut o = patient();
    o.poll_interval = interval;
    o
}

async fn status(process: &Process) -> Value {
    serde_json::from_str(&process.call("status", "").await.body).unwrap()
}

/// How many servers each process polls.
async fn shares(processes: &[Process]) -> Vec<u64> {
    let mut all = Vec::new();
    for p in processes {
        all.push(status(p).await["polls"].as_u64().unwrap());
    }
    all
}

fn polls(stage: &Stage) -> Vec<u64> {
    stage.fakes.iter().map(|f| f.count("getMeetings")).collect()
}

async fn one_more_each(stage: &Stage, what: &str) -> Vec<u64> {
    let before = polls(stage);
    until(what, async || polls(stage).iter().zip(&before).all(|(now, before)| now > before)).await;
    polls(stage).iter().zip(before).map(|(now, before)| now - before).collect()
}

async fn three(stage: &Stage, interval: Duration) -> Vec<Process> {
    let mut processes = Vec::new();
    for _ in 0..3 {
        processes.push(Process::start(every(interval), redis_store(stage.redis.as_ref().unwrap()), true).await);
    }
    until("the polls are divided", async || {
        for p in &processes {
            if p.processes().await != 3 {
                return false;
            }
        }
        shares(&processes).await.iter().sum::<u64>() == stage.fakes.len() as u64
    })
    .await;
    all_are_well(&processes).await;
    processes
}

/// Waits until every process knows every server online and up.
async fn all_are_well(processes: &[Process]) {
    for p in processes {
        until("it knows all servers online and up", async || {
            let known = status(p).await;
            known["servers"].as_array().unwrap().iter().all(|s| s["online"] == true && s["health"] == "up")
        })
        .await;
    }
}

/// How often each server was polled, for each interval of a time.
async fn polls_per_interval(stage: &Stage, interval: Duration) -> Vec<f64> {
    let (began, before) = (Instant::now(), polls(stage));
    while began.elapsed() < interval * 5 {
        one_more_each(stage, "all are polled").await;
    }
    let rounds = began.elapsed().as_secs_f64() / interval.as_secs_f64();
    // One may have been due at the beginning, and one at the end.
    let made =
        polls(stage).iter().zip(before).map(|(now, before)| (now - before).saturating_sub(2)).collect::<Vec<_>>();
    made.into_iter().map(|n| f64::from(u32::try_from(n).unwrap()) / rounds).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polls_are_divided_and_a_share_is_taken_over() {
    let Some(stage) = Stage::redis(12).await else { return };
    let interval = Duration::from_millis(800);
    let mut processes = three(&stage, interval).await;
    // Each server is polled once in an interval, not three times. Where processes hear late of each other, on a busy
    // machine, they take over from one another, and it is counted anew.
    let mut made = Vec::new();
    for _ in 0..5 {
        made = polls_per_interval(&stage, interval).await;
        println!("12 servers, 3 processes: polls in an interval {made:.1?}");
        if made.iter().all(|n| *n <= 1.6) {
            break;
        }
    }
    assert!(made.iter().all(|n| *n <= 1.6), "{made:?}");
    // What one found, all know.
    stage.fakes[3].put_meeting(MeetingSpec::new("big").people(40, 0, 0));
    for p in &processes {
        until("all know the load", async || {
            status(p).await["servers"].as_array().unwrap().iter().any(|s| s["expected_load"].as_f64() > Some(39.0))
        })
        .await;
    }
    all_are_well(&processes).await;
    // One stops, and says so; the others have everything.
    processes.pop();
    until("its share is taken over", async || shares(&processes).await.iter().sum::<u64>() == 12).await;
    one_more_each(&stage, "all are polled by the two").await;
    processes.pop();
    until("one has everything", async || shares(&processes).await == [12]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_is_found_by_the_share_and_one_that_comes_back_too() {
    let Some(stage) = Stage::redis(4).await else { return };
    let processes = three(&stage, Duration::from_millis(500)).await;
    for n in 0..4 {
        let created = processes[0].create(&format!("m{n}")).await;
        assert!(created.ok(), "m{n}: {created:?}");
    }
    stage.fakes[2].set_mode(Mode::Down).await.unwrap();
    for p in &processes {
        until("all know that it is offline", async || {
            let known = status(p).await;
            let s = known["servers"].as_array().unwrap().iter().find(|s| s["id"] == "s2").unwrap().clone();
            s["online"] == false && s["health"] == "dead"
        })
        .await;
    }
    for n in 0..4 {
        let m = format!("m{n}");
        let created = processes[n % 3].create(&m).await;
        assert!(created.ok(), "{m}: {created:?}");
        let joined = processes[(n + 1) % 3].join(&m).await;
        let home = stage.led_to(&joined);
        assert!(home.is_some() && home != Some(2), "{m}: {home:?} {joined:?}");
    }
    stage.fakes[2].ok().await.unwrap();
    all_are_well(&processes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breakout_rooms_are_found_by_who_does_not_poll_their_server() {
    let Some(stage) = Stage::redis(3).await else { return };
    for (n, fake) in stage.fakes.iter().enumerate() {
        fake.put_meeting(MeetingSpec::new(format!("group-{n}")).people(1, 0, 0).breakout());
    }
    let processes = three(&stage, Duration::from_millis(500)).await;
    for n in 0..3 {
        for p in &processes {
            until("it is found", async || p.call("getMeetingInfo", &format!("meetingID=group-{n}")).await.ok()).await;
        }
    }
}

/// A Redis that forgets nothing.
fn lasting() -> Option<RedisServer> {
    RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"])
}

fn says_so(answer: &Answer) -> bool {
    answer.text("messageKey") == "internalError" && answer.text("message").contains("cannot reach its store")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_meetings_go_on_while_the_redis_is_away_and_nothing_is_lost() {
    let Some(mut server) = lasting() else { return };
    let stage = Stage::on(redis_store(&server), 2).await;
    let process = stage.process(patient()).await;
    for m in ["goes-on", "ends", "seen"] {
        assert!(process.create(m).await.ok());
    }
    let other = Process::start(patient(), redis_store(&server), true).await;
    // It has never been asked for any of them.
    until("it knows of them", async || status(&other).await["known_meetings"] == 3).await;
    server.stop();
    for p in [&process, &other] {
        assert_eq!(stage.led_to(&p.join("goes-on").await), stage.having("goes-on").first().copied());
        assert!(p.call("getMeetingInfo", "meetingID=goes-on").await.ok());
        assert_eq!(p.call("isMeetingRunning", "meetingID=goes-on").await.text("returncode"), "SUCCESS");
        // A front-end creates before it joins.
        let again = p.create("goes-on").await;
        assert_eq!((again.ok(), again.text("messageKey")), (true, "duplicateWarning"));
        assert!(says_so(&p.create("new").await) && says_so(&p.join("never-seen").await));
    }
    assert_eq!(stage.having("new"), [0; 0]);
    // A wrong password ends nothing, a right one does.
    stage.fakes[stage.having("goes-on")[0]].set_mode_for(&["end"], Mode::failed("invalidPassword", "no"));
    assert_eq!(other.call("end", "meetingID=goes-on&password=x").await.text("messageKey"), "invalidPassword");
    for fake in &stage.fakes {
        fake.ok().await.unwrap();
    }
    assert!(other.call("end", "meetingID=ends&password=mp").await.ok());
    assert_eq!(stage.having("ends"), [0; 0]);
    assert_ne!(other.join("ends").await.status, 302);
    server.resume();
    until("it is told what it missed", async || {
        other.join("ends").await.text("messageKey") == "notFound" && other.home("goes-on").await.is_some()
    })
    .await;
    assert_eq!(process.home("ends").await, None);
    assert_eq!(stage.led_to(&process.join("goes-on").await), stage.having("goes-on").first().copied());
    // It asks a Redis that was away with little patience at first.
    until("new ones are taken again", async || process.create("new").await.ok()).await;
    assert_eq!(other.join("new").await.status, 302);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_keeps_nobody_of_a_known_meeting_waiting() {
    let Some(stage) = Stage::redis(1).await else { return };
    let server = stage.redis.as_ref().unwrap();
    let process = Process::start(patient(), redis_store(server), true).await;
    until("its server is online", async || process.create("m").await.ok()).await;
    server.signal("STOP");
    // The first one waits as long as any answer of Redis may take, all the others together do not.
    assert_eq!(process.join("m").await.status, 302);
    let began = Instant::now();
    for _ in 0..5 {
        assert_eq!(process.join("m").await.status, 302);
    }
    assert!(began.elapsed() < ANSWER, "{:?}", began.elapsed());
    server.signal("CONT");
    until("new ones are taken again", async || process.create("n").await.ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meeting_on_two_servers_of_two_processes_goes_where_people_are_and_is_told_of() {
    let Some(stage) = Stage::redis(2).await else { return };
    stage.fakes[0].put_meeting(MeetingSpec::new("older").age(Duration::from_secs(500)));
    stage.fakes[1].put_meeting(MeetingSpec::new("older").age(Duration::from_secs(900)));
    stage.fakes[0].put_meeting(MeetingSpec::new("busy").age(Duration::from_secs(900)));
    stage.fakes[1].put_meeting(MeetingSpec::new("busy").people(2, 0, 0).age(Duration::from_secs(500)));
    let process = stage.process(patient()).await;
    for m in ["older", "busy"] {
        assert_eq!(process.home(m).await.as_deref(), Some("s1"), "{m}");
    }
    let told = process.service.cluster().found_twice();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|t| t.stays == id(1) && t.other == id(0)));
    let listed = status(&process).await["found_twice"].as_array().unwrap().clone();
    assert!(listed.iter().any(|t| t["meeting"] == "busy" && t["stays"] == "s1"), "{listed:?}");
    // Found by another process, much later: everybody is where nobody is.
    let link = crate::stage::link(stage.redis.as_ref().unwrap());
    assert!(process.create("late").await.ok());
    let home = stage.having("late")[0];
    stage.fakes[1 - home].put_meeting(MeetingSpec::new("late").people(3, 0, 0));
    link.call(&["HSET", "scalelite:meeting:late", "stamp", "1000"]).await.unwrap();
    let other = Process::start(patient(), redis_store(stage.redis.as_ref().unwrap()), false).await;
    other.poll().await;
    assert_eq!(stage.led_to(&process.join("late").await), Some(1 - home));
    let told = other.service.cluster().found_twice();
    let late = told.iter().find(|t| t.meeting == "late").unwrap();
    assert_eq!((late.verdict, &late.stays), (TwiceVerdict::Moved, &id(1 - home)));
    let page = other.call_metrics().await;
    assert!(page.contains("balancer_meetings_found_twice_total{verdict=\"moved\"} 1"), "{page}");
    // The empty copy ends when the binding has settled.
    link.call(&["HSET", "scalelite:meeting:late", "stamp", "1000"]).await.unwrap();
    other.poll().await;
    assert_eq!(stage.having("late"), [1 - home]);
}

/// A process that slept with a list in its hands stores nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_that_was_overtaken_is_dropped() {
    let Some(stage) = Stage::redis(1).await else { return };
    let first = stage.process(patient()).await;
    let second = stage.process(patient()).await;
    stage.fakes[0].put_meeting(MeetingSpec::new("m").people(20, 0, 0));
    let mut held = stage.fakes[0].hold_answer("getMeetings");
    let cluster = first.service.cluster().clone();
    let poll = tokio::spawn(async move { cluster.poll_now().await });
    timeout(PATIENCE, held.arrived()).await.unwrap().unwrap();
    assert!(stage.fakes[0].set_people("m", 50, 0, 0));
    second.poll().await;
    held.release();
    timeout(PATIENCE, poll).await.unwrap().unwrap().unwrap();
    let stored = stage.store.servers().await.unwrap().servers.remove(0);
    assert_eq!((stored.figures.users, stored.load), (50, Some(50.0)));
}
