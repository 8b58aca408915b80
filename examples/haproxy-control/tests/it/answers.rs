//! The commands before something that answers as it is told: what they make of it, with its exit code.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use crate::run;

/// Answers these, one a connection, in order; the lines that were asked.
fn stand_in(answers: &[(&'static str, &'static str)]) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let answers = answers.to_vec();
    let asked = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
            asked.push(head.lines().next().unwrap_or_default().to_owned());
            let long = body.len();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {long}\r\nConnection: close\r\n\r\n{body}").unwrap();
        }
        asked
    });
    (at, asked)
}

#[test]
fn something_else_at_the_address_is_no_all_clear() {
    for command in [&["splits"][..], &["status"], &["explain", "a"], &["drain", "a"], &["cordon", "a"]] {
        for answer in [("200 OK", "<html>welcome</html>"), ("200 OK", "[]"), ("404 Not Found", "<html>no</html>")] {
            let (at, asked) = stand_in(&[answer]);
            let ran = run(&[command, &["--api", &at]].concat());
            assert!(ran.code == 1 && ran.err.contains("is no haproxy-control") && ran.out.is_empty(), "{ran:?}");
            asked.join().unwrap();
        }
    }
}

#[test]
fn problems_end_with_their_codes() {
    for (status, code) in [
        ("409 Conflict", 3),
        ("404 Not Found", 2),
        ("400 Bad Request", 2),
        ("401 Unauthorized", 1),
        ("503 Service Unavailable", 1),
    ] {
        let (at, asked) = stand_in(&[(status, r#"{"error":"x","text":"the reason"}"#)]);
        let ran = run(&["maint", "mm1", "--api", &at]);
        assert!(ran.code == code && ran.err == "error: the reason\n", "{ran:?}");
        assert_eq!(asked.join().unwrap(), ["POST /v1/servers?server=mm1&order=maint HTTP/1.1"]);
    }
}

#[test]
fn splits_say_by_their_code_what_they_found() {
    let two = r#"{"rooms":[{"room":"a","home":"mm1","seen":[{"server":"mm1","by":"x"},{"server":"mm2","by":"y"}]}],"asked":["store"],"silent":{}}"#;
    let none = r#"{"rooms":[],"asked":["store"],"silent":{}}"#;
    let unsure = r#"{"rooms":[],"asked":["store"],"silent":{"lb1":"it is away"}}"#;
    for (body, code) in [(two, 1), (none, 0), (unsure, 4)] {
        for more in [&[][..], &["-o", "json"]] {
            let (at, asked) = stand_in(&[("200 OK", body)]);
            let ran = run(&[&["splits", "--api", &at][..], more].concat());
            assert_eq!(ran.code, code, "{ran:?}");
            asked.join().unwrap();
        }
    }
}

#[test]
fn an_order_that_somebody_ends_is_not_waited_for() {
    let look = [
        r#"{"server":"mm1","order":null,"rooms":[["a",3]],"idle":0,"sessions":1,"empty":false}"#,
        r#"{"server":"mm1","order":"drain","rooms":[["a",3]],"idle":0,"sessions":1,"empty":false}"#,
        r#"{"server":"mm1","order":null,"rooms":[["a",3]],"idle":0,"sessions":1,"empty":false}"#,
    ];
    let ok = ("200 OK", "{}");
    let (at, asked) = stand_in(&[ok, ("200 OK", look[0]), ("200 OK", look[1]), ("200 OK", look[2])]);
    let ran = run(&["drain", "mm1", "--wait", "--api", &at]);
    assert!(ran.code == 1 && ran.err.contains("somebody has ended the order on mm1"), "{ran:?}");
    assert_eq!(asked.join().unwrap().len(), 4);
}

#[test]
fn a_server_is_empty_once_haproxy_sends_nobody_there() {
    let look = [
        r#"{"server":"mm1","order":"drain","in_force":false,"rooms":[],"idle":0,"sessions":0,"empty":true}"#,
        r#"{"server":"mm1","order":"drain","in_force":true,"rooms":[],"idle":0,"sessions":0,"empty":true}"#,
    ];
    let (at, asked) = stand_in(&[("200 OK", "{}"), ("200 OK", look[0]), ("200 OK", look[1])]);
    let ran = run(&["drain", "mm1", "--wait", "--api", &at]);
    assert!(ran.code == 0 && ran.out == "OK mm1 is empty\n", "{ran:?}");
    assert_eq!(asked.join().unwrap().len(), 3);
}

#[test]
fn a_deadline_names_what_is_left_and_ends_with_five() {
    let look = r#"{"server":"mm1","order":"drain","rooms":[["big%20hall",3]],"idle":2,"sessions":1,"empty":false}"#;
    let (at, asked) = stand_in(&[("200 OK", "{}"), ("200 OK", look)]);
    let ran = run(&["drain", "mm1", "--wait", "--deadline", "1ms", "--api", &at]);
    assert!(ran.code == 5 && ran.out.contains("big%20hall") && ran.out.contains("1 room in use, 2 idle"), "{ran:?}");
    assert!(ran.err.contains("the deadline is over"), "{ran:?}");
    asked.join().unwrap();
}
