//! Reloads through a gate, and without.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use adapter_haproxy::reconcile::{Plan, ReloadError, plan};
use adapter_haproxy::runtime::{AdminState, Command};

use super::crowd::{fetch, homes, moved, rooms};
use super::farm::{Farm, name};
use crate::haproxy::{MINUTE, until};
use crate::runtime::live::binaries;

const ALL: [usize; 3] = [1, 2, 3];

#[tokio::test(flavor = "multi_thread")]
async fn without_the_gate_a_young_process_loses_its_rooms() {
    for binary in binaries() {
        let rooms = rooms(200);
        // Until all of it is done in the youth of a process, which ends after five seconds.
        let mut tries = 0;
        loop {
            let began = Instant::now();
            let farm = Farm::start(&binary, 3, 3);
            let port = farm.place.port;
            let before = homes(port, rooms.iter());
            // The gate says so, and leaves everything as it is.
            let text = std::fs::read_to_string(farm.file()).unwrap();
            let hasty = farm.gate().with_ready_deadline(Duration::from_millis(20));
            let refused = hasty.reload(&format!("{text}# more\n")).await.err();
            let stays = std::fs::read_to_string(farm.file()).unwrap() == text;
            let meanwhile = moved(&before, &homes(port, rooms.iter().rev()));
            assert!(farm.master().reload(MINUTE).await.unwrap().success);
            let young = began.elapsed() < Duration::from_secs(4);
            let lost = moved(&before, &homes(port, rooms.iter().rev()));
            match &refused {
                Some(error @ ReloadError::NotReady { section, .. }) if section == "lb" => {
                    assert!(stays && meanwhile == 0, "{stays} {meanwhile}");
                    if lost > 50 {
                        println!("{}: {error}\nwithout the gate {lost} of 200 rooms moved", farm.version);
                        break;
                    }
                }
                _ => {}
            }
            tries += 1;
            assert!(!young && tries < 10, "{refused:?}, {lost} of 200 rooms moved");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_never_replaces_a_good_one() {
    for binary in binaries() {
        let farm = Farm::start(&binary, 3, 3);
        let (gate, client) = (farm.gate(), farm.client());
        let good = format!("{}# good\n", farm.text(&ALL));
        let before = std::fs::read_to_string(farm.file()).unwrap();
        let (file, kept) =
            (|| std::fs::read_to_string(farm.file()).unwrap(), || std::fs::read_to_string(gate.good_file()).unwrap());
        let first = client.process().await.unwrap().pid;

        let error = gate.reload("global\n nonsense here\n").await.unwrap_err();
        assert!(matches!(&error, ReloadError::Invalid { log } if log.contains("nonsense")), "{error}");
        assert_eq!((file(), kept()), (before.clone(), before));

        let done = gate.reload(&good).await.unwrap();
        assert_eq!((file(), kept()), (good.clone(), good.clone()));
        let second = done.report.now.unwrap();
        assert!(done.report.before == Some(first) && second != first);

        // A socket that cannot be made passes the check, and no start.
        let clash = format!("{good}frontend clash\n bind unix@/nonexistent/socket\n");
        let error = gate.reload(&clash).await.unwrap_err();
        println!("{}: {error}", farm.version);
        assert!(matches!(error, ReloadError::Refused { .. }), "{error}");
        assert_eq!((file(), kept()), (good.clone(), good.clone()));
        assert!(fetch(farm.place.port, "/").is_some());
        farm.renewed(&client).await;
        assert_eq!(client.process().await.unwrap().pid, second);

        // Nor does somebody's broken edit become the good one.
        std::fs::write(farm.file(), "broken\n").unwrap();
        assert!(matches!(gate.reload("broken too\n").await.unwrap_err(), ReloadError::Invalid { .. }));
        assert_eq!(kept(), good);
        gate.reload(&kept()).await.unwrap();
        assert_eq!(file(), good);
        let names: Vec<_> = std::fs::read_dir(&farm.place.folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| name.to_string_lossy().ends_with(".new")), "{names:?}");
        let nobody = farm.gate().with_program("/no/haproxy").reload(&good).await.unwrap_err();
        assert!(matches!(nobody, ReloadError::Program { .. }));
    }
}

/// What commands cannot do a reload does, and then file and process agree; an operator's order outlives it.
#[tokio::test(flavor = "multi_thread")]
async fn file_and_process_agree_after_a_reload() {
    for binary in binaries() {
        let farm = Farm::start(&binary, 4, 3);
        let (gate, client) = (farm.gate(), farm.client());
        client.order(&Command::set_state(&name("rooms/mm2"), AdminState::Maint)).await.unwrap();
        let old = farm.wanted(&ALL, &[]);
        let mut config = farm.config(&[1, 2, 3, 4]);
        config.backends[0].check_times.0 = Duration::from_secs(3);
        let mut wanted = farm.wanted(&[1, 2, 3, 4], &[]);
        for server in &mut wanted.backends[0].servers {
            server.check_times.0 = Duration::from_secs(3);
        }
        let running = client.running(&wanted).await.unwrap().with_applied(&old);
        let planned = plan(&wanted, &running).unwrap();
        assert!(matches!(&planned, Plan::Reload { why, .. } if why.len() == 2), "{planned}");
        gate.reload(&config.render().unwrap()).await.unwrap();
        farm.renewed(&client).await;
        let running = client.running(&wanted).await.unwrap().with_applied(&wanted);
        let planned = plan(&wanted, &running).unwrap();
        assert!(planned.is_empty(), "{planned}");
        assert!(planned.to_string().contains("kept rooms/mm2"), "{planned}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_workers_are_counted() {
    for binary in binaries() {
        let farm = Farm::start(&binary, 3, 3);
        let (gate, master, text) = (farm.gate(), farm.master(), farm.text(&ALL));
        let mut upload = TcpStream::connect(("127.0.0.1", farm.place.port)).unwrap();
        let head = "POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n";
        upload.write_all(format!("{head}{}", "x".repeat(40_000)).as_bytes()).unwrap();
        let client = farm.client();
        let end = Instant::now() + MINUTE;
        while !client.server_conns("pages").await.unwrap().iter().any(|conns| conns.used > 0) {
            assert!(Instant::now() < end, "nobody uploads");
        }
        assert_eq!(gate.reload(&text).await.unwrap().report.old, 1);
        let strict = farm.gate().with_max_old_workers(0);
        let error = strict.reload(&text).await.unwrap_err();
        assert!(matches!(error, ReloadError::OldWorkers { count: 1, max: 0 }), "{error}");
        drop((upload, client));
        let runtime = tokio::runtime::Handle::current();
        let count = || runtime.block_on(master.processes()).unwrap().old_workers().count();
        tokio::task::block_in_place(|| until("the old worker ends", || count() == 0));
        strict.reload(&text).await.unwrap();
    }
}
