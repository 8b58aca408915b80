//! Many creates at once, through one process and through two.

use std::collections::BTreeSet;
use std::sync::Arc;

use adapter_bbb::LocalStore;
use adapter_bbb::testing::Mode;
use tokio::task::JoinSet;

use crate::stage::{PATIENCE, Process, Stage, hasty, patient};

/// Sends all creates at once, in turn through the processes.
async fn create_all(processes: &[Arc<Process>], ids: &[String]) {
    let mut calls = JoinSet::new();
    for (n, id) in ids.iter().enumerate() {
        let (process, id) = (processes[n % processes.len()].clone(), id.clone());
        calls.spawn(async move { process.create(&id).await });
    }
    while let Some(answer) = calls.join_next().await {
        let answer = answer.unwrap();
        assert!(answer.ok(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_meeting_asked_for_200_times_by_two_processes_is_on_one_server() {
    let Some(stage) = Stage::redis(5).await else { return };
    let processes = [Arc::new(stage.process(patient()).await), Arc::new(stage.process(patient()).await)];
    create_all(&processes, &vec!["one".to_owned(); 200]).await;
    assert_eq!(stage.having("one").len(), 1, "{:?}", stage.counts());
    let made: u64 = stage.fakes.iter().map(|f| f.created_total()).sum();
    assert_eq!(made, 1);
    let numbers: BTreeSet<String> = stage
        .fakes
        .iter()
        .flat_map(|f| f.calls_of("create"))
        .map(|r| r.param("voiceBridge").unwrap().to_owned())
        .collect();
    assert_eq!(numbers.len(), 1, "one number for everybody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_first_to_the_server_a_meeting_without_passwords_is_made_for_all() {
    let stage = Stage::memory(1).await;
    let process = Arc::new(stage.process(patient()).await);
    let mut held = stage.fakes[0].hold("create");
    let first = process.clone();
    let first = tokio::spawn(async move { first.call("create", "meetingID=m&name=n").await });
    held.arrived().await.unwrap();
    // The claim is the first one's, the server hears of the second one first.
    let second = process.call("create", "meetingID=m&name=n").await;
    held.release();
    let first = first.await.unwrap();
    assert!(first.ok() && second.ok(), "{first:?} {second:?}");
    assert_eq!(first.text("moderatorPW"), second.text("moderatorPW"));
    assert_eq!(process.home("m").await.as_deref(), Some("s0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_meetings_at_once_are_spread_evenly() {
    let ids: Vec<String> = (0..200).map(|n| format!("m{n}")).collect();
    let stage = Stage::on(Arc::new(LocalStore::memory()), 22).await;
    let one = [Arc::new(stage.process(patient()).await)];
    create_all(&one, &ids).await;
    let counts = stage.counts();
    assert_eq!(counts.iter().sum::<usize>(), 200);
    assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_spread_evenly_too() {
    let ids: Vec<String> = (0..200).map(|n| format!("m{n}")).collect();
    let Some(stage) = Stage::redis(22).await else { return };
    let a = Process::start(patient(), stage.store.clone(), true).await;
    let b = Process::start(patient(), stage.store.clone(), true).await;
    for process in [&a, &b] {
        process.poll().await;
    }
    crate::stage::until("both processes know of each other", async || {
        let mut all = true;
        for process in [&a, &b] {
            let status = process.call("status", "").await;
            let status: serde_json::Value = serde_json::from_str(&status.body).unwrap();
            all &= status["processes"] == 2;
        }
        all
    })
    .await;
    create_all(&[Arc::new(a), Arc::new(b)], &ids).await;
    let counts = stage.counts();
    assert_eq!(counts.iter().sum::<usize>(), 200);
    assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 2, "{counts:?}");
}

/// Fifty creates of one meeting through two processes while the server that everybody prefers fails.
async fn many_meet_a_failing_server(mode: Mode) {
    let Some(stage) = Stage::redis(3).await else { return };
    stage.burden(1, 100);
    stage.burden(2, 100);
    let with = || if mode == Mode::Hang { hasty() } else { patient() };
    let processes = [Arc::new(stage.process(with()).await), Arc::new(stage.process(with()).await)];
    stage.fakes[0].set_mode_for(&["create", "getMeetingInfo"], mode.clone());
    if mode == Mode::Down {
        stage.fakes[0].stop().await;
    }
    let mut calls = JoinSet::new();
    for n in 0..50 {
        let process = processes[n % 2].clone();
        calls.spawn(async move { process.create("one").await });
    }
    let answers = calls.join_all().await;
    let ok = answers.iter().filter(|a| a.ok()).count();
    // Who met the meeting on its silent server before it moved may be refused, and tries again.
    assert!(ok > 0, "{mode:?}: {answers:?}");
    for process in &processes {
        assert!(process.create("one").await.ok(), "{mode:?}");
    }
    let home = Stage::number(&processes[0].home("one").await.unwrap());
    assert_ne!(home, 0, "{mode:?}");
    for fake in &stage.fakes {
        let lives = fake.name() == format!("s{home}");
        fake.wait_for(|s| s.meeting("one").is_some() == lives, PATIENCE).await.unwrap();
    }
    for process in &processes {
        assert_eq!(stage.led_to(&process.join("one").await), Some(home), "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_meet_a_server_that_refuses() {
    many_meet_a_failing_server(Mode::Down).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_meet_a_server_that_hangs() {
    many_meet_a_failing_server(Mode::Hang).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_meet_a_server_that_cuts() {
    many_meet_a_failing_server(Mode::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creates_and_ends_in_any_order_leave_one_meeting_or_none() {
    let Some(stage) = Stage::redis(4).await else { return };
    let processes = [Arc::new(stage.process(patient()).await), Arc::new(stage.process(patient()).await)];
    let mut calls = JoinSet::new();
    for n in 0..120_usize {
        let process = processes[n % 2].clone();
        let id = format!("m{}", n % 5);
        calls.spawn(async move {
            if n % 3 == 2 {
                let answer = process.call("end", &format!("meetingID={id}&password=mp")).await;
                let key = answer.text("messageKey").to_owned();
                assert!(key == "sentEndMeetingRequest" || key == "notFound", "{answer:?}");
            } else {
                let answer = process.create(&id).await;
                assert!(answer.ok(), "{answer:?}");
            }
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    for n in 0..5 {
        let id = format!("m{n}");
        let (having, home) = (stage.having(&id), processes[0].home(&id).await);
        assert_eq!(having, home.iter().map(|h| Stage::number(h)).collect::<Vec<_>>(), "{id}");
        assert!(processes[1].create(&id).await.ok());
        assert_eq!(stage.having(&id).len(), 1);
    }
}
