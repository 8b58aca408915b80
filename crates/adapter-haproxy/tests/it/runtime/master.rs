//! A master: processes, reloads, and clients that go on.

use std::time::Duration;

use adapter_haproxy::runtime::{
    AdminState, Client, ClientOptions, Command, MasterClient, ProcessKind, RefusalKind, RuntimeError, WorkerTarget,
};

use super::live::{Live, binaries};
use super::{name, refused};
use crate::haproxy::MINUTE;

/// Waits until there is no old process.
async fn gone(master: &MasterClient) {
    let end = std::time::Instant::now() + MINUTE;
    while master.processes().await.unwrap().old_workers().count() > 0 {
        assert!(std::time::Instant::now() < end, "somebody holds the old process");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_gives_clients_the_new_process() {
    for binary in binaries() {
        let live = Live::with_master(&binary);
        let master = MasterClient::new(live.address("master"), ClientOptions::default());
        let direct = live.client();
        let through = master.worker(WorkerTarget::Current);
        let processes = master.processes().await.unwrap();
        let first = processes.worker().unwrap().pid;
        assert_eq!(processes.master().unwrap().pid, live.pid());
        for client in [&direct, &through] {
            assert_eq!(client.process().await.unwrap().pid, first);
        }
        direct.order(&Command::set_state(&name("rooms/mm1"), AdminState::Drain)).await.unwrap();

        let report = master.reload(MINUTE).await.unwrap();
        println!("{}: reloaded in {:?}, {} old", live.version, report.took, report.old);
        assert!(report.success && report.before == Some(first), "{report:?}");
        let second = report.now.unwrap();
        assert_ne!(second, first);
        // One that stands still as it is told to go might take another call.
        direct.renew().await;
        gone(&master).await;
        for client in [&direct, &through] {
            client.renew().await;
            let process = client.process().await.unwrap();
            assert_eq!((process.pid, process.generation), (second, 2));
        }
        assert!(!direct.server_state(&name("rooms/mm1")).await.unwrap().unwrap().is_draining(), "its memory is gone");

        live.edit("backend broken\n nonsense here\n");
        let report = master.reload(MINUTE).await.unwrap();
        println!("{}: a broken configuration was told in {:?}", live.version, report.took);
        assert!(!report.success, "{report:?}");
        if live.version.has(2, 8) {
            assert!(report.log.unwrap().contains("nonsense"));
        }
        direct.renew().await;
        assert_eq!(direct.process().await.unwrap().pid, second, "the worker of before goes on");
        assert_eq!(through.process().await.unwrap().pid, second);
        assert!(master.processes().await.unwrap().all.iter().any(|p| p.kind == ProcessKind::Worker));

        live.edit("");
        assert!(master.reload(MINUTE).await.unwrap().success);
        let nobody = master.worker(WorkerTarget::Pid(1));
        assert_eq!(refused(nobody.info().await), RefusalKind::NoProcess);
        let third = master.processes().await.unwrap().worker().unwrap().pid;
        assert_eq!(master.worker(WorkerTarget::Pid(third)).info().await.unwrap().pid(), third);
    }
}

/// Without being told of the reload, a client meets the new process within the age of its connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_at_work_leaves_the_old_process() {
    for binary in binaries() {
        let live = Live::with_master(&binary);
        let master = MasterClient::new(live.address("master"), ClientOptions::default());
        let keep = ClientOptions::default().with_keep(Duration::from_secs(1), Duration::from_millis(300));
        let client = Client::new(live.address("admin"), keep);
        let before = client.process().await.unwrap();
        let first = before.pid;
        client.confirm(&before).await.unwrap();
        let report = master.reload(MINUTE).await.unwrap();
        let deadline = std::time::Instant::now() + MINUTE;
        let mut calls = 0;
        while client.info().await.unwrap().pid() == first {
            calls += 1;
            assert!(std::time::Instant::now() < deadline, "still with the old process after {calls} calls");
        }
        assert_eq!(client.process().await.unwrap().pid, report.now.unwrap());
        assert!(matches!(client.confirm(&before).await, Err(RuntimeError::NewProcess { .. })));
        gone(&master).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_client_is_told() {
    for binary in binaries() {
        let live = Live::with_master(&binary);
        let wrong = Client::new(live.address("master"), ClientOptions::default());
        let error = wrong.info().await.unwrap_err().to_string();
        assert!(error.contains("use the master client"), "{error}");
        let wrong = MasterClient::new(live.address("admin"), ClientOptions::default());
        assert_eq!(refused(wrong.processes().await), RefusalKind::UnknownCommand);
    }
}
