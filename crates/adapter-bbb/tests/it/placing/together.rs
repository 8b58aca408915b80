//! Many creates at once, through one process and through two.

use std::collections::BTreeSet;
use std::sync::Arc;

use adapter_bbb::LocalStore;
use tokio::task::JoinSet;

use crate::stage::{Process, Stage, patient};

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
