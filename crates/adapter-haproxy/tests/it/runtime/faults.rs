//! Processes that die, hang or are something else.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adapter_haproxy::reconcile::{ApplyOptions, Commands};
use adapter_haproxy::runtime::{
    AdminState, Client, ClientOptions, Command, MapEntry, RemoveOptions, RuntimeAddress, RuntimeError,
};

use super::live::{Live, binaries};
use super::name;
use crate::haproxy::MINUTE;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_is_told_and_the_next_one_met() {
    for binary in binaries() {
        let mut live = Live::start(&binary);
        let client = Client::new(live.address("admin"), ClientOptions::default().with_deadline(MINUTE));
        let first = client.process().await.unwrap();
        live.kill();
        let began = Instant::now();
        let error = client.info().await.unwrap_err();
        assert!(matches!(error, RuntimeError::Connect { .. }) && error.is_retryable(), "{error}");
        assert!(began.elapsed() < MINUTE / 2, "long before the deadline");
        assert!(!error.maybe_done() && error.to_string().contains("is HAProxy running"), "{error}");
        live.start_again();
        let info = client.info().await.unwrap();
        let second = client.process().await.unwrap();
        assert_eq!((info.pid(), second.generation), (live.pid(), first.generation + 1));
        // A call that finds nobody waits for somebody to come back.
        live.kill();
        let options = ClientOptions::default().with_deadline(MINUTE).with_come_back(MINUTE);
        let patient = Client::new(live.address("admin"), options);
        let (found, ()) = tokio::join!(patient.info(), async {
            tokio::task::yield_now().await;
            live.start_again();
        });
        assert_eq!(found.unwrap().pid(), live.pid());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_hangs_meets_the_deadline() {
    for binary in binaries() {
        let live = Live::start(&binary);
        let limit = Duration::from_millis(300);
        let options = ClientOptions::default().with_deadline(limit).with_keep(MINUTE, MINUTE);
        let client = Client::new(live.address("admin"), options);
        let drain = Command::set_state(&name("rooms/mm1"), AdminState::Drain);
        let end = Instant::now() + MINUTE;
        while client.info().await.is_err() {
            assert!(Instant::now() < end, "it answers in time at last");
        }
        live.signal("-STOP");
        for (young, command) in [(true, drain.clone()), (false, drain.clone()), (false, Command::show_info())] {
            let began = Instant::now();
            let error = client.call(&command).await.unwrap_err();
            let took = began.elapsed();
            assert!(took >= limit && took < limit + Duration::from_secs(10), "{took:?}");
            // Only what was sent may yet be done.
            assert!(matches!(error, RuntimeError::Deadline { .. }) && error.maybe_done() == young, "{error}");
        }
        live.signal("-CONT");
        let deadline = Instant::now() + MINUTE;
        while client.order(&drain).await.is_err() {
            assert!(Instant::now() < deadline);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_limit_is_too_long() {
    let ever = Duration::MAX;
    for binary in binaries() {
        let live = Live::start(&binary);
        let options = ClientOptions::default().with_deadline(ever).with_dump_deadline(ever);
        let client = Client::new(live.address("admin"), options.with_come_back(ever).with_keep(ever, ever));
        assert_eq!(client.info().await.unwrap().pid(), live.pid());
        assert!(client.map_entries(&live.map()).await.unwrap().len() == 1);
        let gone = client.remove_server(&name("rooms/nobody"), RemoveOptions::default().with_deadline(ever)).await;
        assert!(gone.unwrap_err().refusal().is_some());
        let done = client.apply(&Commands::default(), ApplyOptions::default().with_idle_deadline(ever)).await;
        assert_eq!(done.unwrap().process.pid, live.pid());
    }
}

/// Answers each connection with these pieces, one for each read, then closes; the address.
fn speak(pieces: Vec<Vec<u8>>) -> RuntimeAddress {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = RuntimeAddress::Tcp(listener.local_addr().unwrap().to_string());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            for piece in &pieces {
                if !matches!(stream.read(&mut [0; 4096]), Ok(n) if n > 0) || stream.write_all(piece).is_err() {
                    break;
                }
            }
        }
    });
    address
}

/// Answers the connections one after the other, each with its pieces, then listens no more; the address, and what was
/// asked.
pub(crate) fn converse(connections: Vec<Vec<String>>) -> (RuntimeAddress, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = RuntimeAddress::Tcp(listener.local_addr().unwrap().to_string());
    let asked = Arc::new(Mutex::new(String::new()));
    let heard = asked.clone();
    std::thread::spawn(move || {
        for pieces in connections {
            let Ok((mut stream, _)) = listener.accept() else { return };
            for piece in pieces {
                let mut buffer = [0; 4096];
                let Ok(n @ 1..) = stream.read(&mut buffer) else { break };
                heard.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..n]));
                if stream.write_all(piece.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    (address, asked)
}

/// What a process of this number says at first.
pub(crate) fn hello(pid: u32) -> String {
    HELLO.replace("Pid: 7", &format!("Pid: {pid}"))
}

const HELLO: &str = "\n> \n> Name: HAProxy\nVersion: 2.6.12\nPid: 7\nStopping: 0\n\n> admin\n\n> ";

#[tokio::test]
async fn other_things_than_haproxy_are_told() {
    let options = || ClientOptions::default().with_deadline(MINUTE).with_come_back(Duration::from_millis(50));
    let long: Vec<u8> = std::iter::repeat_n(b"0x1 key value\n".as_slice(), 100).flatten().copied().collect();
    for (pieces, words) in [
        (vec!["HTTP/1.0 400 Bad request\r\n\r\n".into()], "no runtime socket of HAProxy"),
        (vec!["\nmaster> ".into()], "master client"),
        (vec![HELLO.into(), "cut in the mid".into()], "closed the connection"),
        (vec![HELLO.into(), [HELLO.as_bytes(), HELLO.as_bytes()].concat()], "nothing was asked for"),
        (vec![HELLO.into(), long], "longer than 1000 bytes"),
        (vec![HELLO.into(), "nonsense\n\n> ".into()], "is not understood"),
        (vec!["\n> \n> gibberish\n\n> admin\n\n> ".into()], "is not understood"),
    ] {
        let client = Client::new(speak(pieces), options().with_max_answer(1000));
        let error = client.maps().await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let nobody = Client::new(RuntimeAddress::unix("/nonexistent/socket"), options());
    assert!(matches!(nobody.info().await, Err(RuntimeError::Connect { .. })));
}

#[tokio::test]
async fn an_order_is_not_sent_twice_but_a_question_is() {
    // Every connection ends after the welcome: nothing else is answered.
    let options = ClientOptions::default().with_deadline(MINUTE);
    let client = Client::new(speak(vec![HELLO.into(), vec![]]), options);
    let error = client.order(&Command::set_state(&name("a/b"), AdminState::Drain)).await.unwrap_err();
    assert!(error.maybe_done() && error.to_string().contains("look before repeating"), "{error}");
    let error = client.backends().await.unwrap_err();
    assert!(!error.maybe_done(), "{error}");
    assert_eq!(client.process().await.unwrap().generation, 1);
}

#[tokio::test]
async fn a_map_in_force_is_not_emptied_when_its_process_is_gone() {
    let replaced = [&*hello(7), "New version created: 2\n\n> ", "\n> ", "0x1 a b\n\n> ", "\n> "];
    // Nothing is said to whoever looks whether it is still there, and then it answers again.
    let (address, asked) =
        converse(vec![replaced.map(str::to_owned).to_vec(), vec![], vec![hello(7), "\n> ".to_owned()]]);
    let options = ClientOptions::default().with_deadline(MINUTE);
    let options = options.with_come_back(Duration::ZERO).with_keep(MINUTE, MINUTE);
    let client = Client::new(address, options);
    let entry = MapEntry::new("a", "b").unwrap();
    let error = client.replace_map("p.map", &[entry]).await.unwrap_err();
    let asked = asked.lock().unwrap();
    assert!(asked.contains("commit map @2 p.map") && !asked.contains("clear map"), "{asked}");
    assert!(error.maybe_done(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_leaves_no_half_answer() {
    for binary in binaries() {
        let live = Live::start(&binary);
        let client = live.client();
        for _ in 0..50 {
            let question = client.info();
            tokio::select! {
                biased;
                _ = question => {}
                () = tokio::task::yield_now() => {}
            }
            assert_eq!(client.backends().await.unwrap().len(), 4);
        }
        let lines = client.lines(&Command::show_info(), |_| ControlFlow::Break(())).await.unwrap();
        assert_eq!(lines, 1);
        assert_eq!(client.backends().await.unwrap().len(), 4);
    }
}
