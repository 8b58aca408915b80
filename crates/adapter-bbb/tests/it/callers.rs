//! Callers: limits on how often they call, ids of their requests, and secrets that change while they call.

use std::net::IpAddr;

use adapter_bbb::{
    Algorithm, Algorithms, BbbService, Checksums, Payload, RateLimit, RatePer, RequestHead, Surface, sign,
};
use bytes::Bytes;
use http::Response;

use crate::stage::{HOST, SECRET, Stage, patient};

/// One call, signed with this secret, from this address.
async fn ask(service: &BbbService, call: &str, query: &str, secret: &str, caller: &str) -> Response<Bytes> {
    let sum = sign(Algorithm::Sha256, call, query, secret);
    let (path, query) = (format!("/bigbluebutton/api/{call}"), format!("{query}&checksum={sum}"));
    let caller = caller.parse::<IpAddr>().ok();
    let head = RequestHead {
        method: "GET",
        path: &path,
        query: &query,
        host: Some(HOST),
        request_id: Some("lesson-7"),
        caller,
        ..RequestHead::default()
    };
    service.handle(head, Payload::Whole(Bytes::new())).await
}

fn text(answer: &Response<Bytes>) -> String {
    String::from_utf8_lossy(answer.body()).into_owned()
}

#[tokio::test]
async fn who_calls_too_often_is_refused_and_told_how_long_to_wait() {
    let stage = Stage::memory(1).await;
    let free = stage.process(patient()).await;
    for _ in 0..50 {
        let answer = ask(&free.service, "isMeetingRunning", "meetingID=m", SECRET, "10.0.0.1").await;
        assert!(text(&answer).contains("SUCCESS"), "there is no limit unless one is set");
    }
    let mut o = patient();
    o.rate = Some(RateLimit { per_second: 0.001, burst: 3, per: RatePer::Address });
    let process = stage.process(o).await;
    let call = |caller: &'static str| ask(&process.service, "isMeetingRunning", "meetingID=m", SECRET, caller);
    for _ in 0..3 {
        assert!(text(&call("10.0.0.1").await).contains("SUCCESS"));
    }
    let refused = call("10.0.0.1").await;
    assert_eq!(refused.status(), 200);
    let body = text(&refused);
    assert!(
        body.contains("<returncode>FAILED</returncode>") && body.contains("<messageKey>tooManyRequests<"),
        "{body}"
    );
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=1000).contains(&wait), "{wait}");
    assert!(text(&call("10.0.0.2").await).contains("SUCCESS"), "others are not slowed down");
    // Wrong signatures count as well; health pages, figures and the operators' own address never.
    for _ in 0..3 {
        ask(&process.service, "getMeetings", "", "wrong", "10.0.0.3").await;
    }
    assert!(text(&call("10.0.0.3").await).contains("tooManyRequests"));
    for path in ["/health_check", "/livez", "/metrics"] {
        for _ in 0..10 {
            let head = RequestHead {
                method: "GET",
                path,
                caller: "10.0.0.1".parse().ok(),
                host: Some(HOST),
                ..RequestHead::default()
            };
            let answer = process.service.handle(head, Payload::Whole(Bytes::new())).await;
            assert!(!text(&answer).contains("tooManyRequests"), "{path}");
        }
    }
    let operators = process.service.clone().with_surface(Surface::Operators);
    let sum = sign(Algorithm::Sha256, "getServers", "", SECRET);
    for _ in 0..10 {
        let head = RequestHead {
            method: "GET",
            path: "/scalelite/api/getServers",
            query: &format!("checksum={sum}"),
            caller: "10.0.0.1".parse().ok(),
            ..RequestHead::default()
        };
        assert_eq!(operators.handle(head, Payload::Whole(Bytes::new())).await.status(), 200);
    }
    assert!(process.call_metrics().await.contains("\nbalancer_requests_limited_total 2\n"));
}

#[tokio::test]
async fn a_limit_for_each_secret() {
    let stage = Stage::memory(1).await;
    let mut o = patient();
    o.checksums = Checksums::new(["one".to_owned(), "two".to_owned()], Algorithms::default());
    o.rate = Some(RateLimit { per_second: 0.001, burst: 2, per: RatePer::Secret });
    let process = stage.process(o).await;
    let call = |secret: &'static str, from: &'static str| ask(&process.service, "getMeetings", "", secret, from);
    for from in ["10.0.0.1", "10.0.0.2"] {
        assert!(text(&call("one", from).await).contains("SUCCESS"));
    }
    assert!(text(&call("one", "10.0.0.3").await).contains("tooManyRequests"), "whatever its address");
    assert!(text(&call("two", "10.0.0.1").await).contains("SUCCESS"));
    assert!(text(&call("three", "10.0.0.1").await).contains("checksumError"));
}

#[tokio::test]
async fn operators_are_not_kept_out_by_front_ends() {
    let stage = Stage::memory(1).await;
    let status = async |service: &BbbService, secret: &str, caller: &str| {
        let sum = sign(Algorithm::Sha256, "status", "", secret);
        let head = RequestHead {
            method: "GET",
            path: "/balancer/api/status",
            query: &format!("checksum={sum}"),
            host: Some(HOST),
            caller: caller.parse().ok(),
            ..RequestHead::default()
        };
        text(&service.handle(head, Payload::Whole(Bytes::new())).await)
    };
    let mut o = patient();
    o.rate = Some(RateLimit { per_second: 0.001, burst: 2, per: RatePer::Address });
    let process = stage.process(o).await;
    // Who has no secret may not try for ever; who has one gets through, whatever else comes from the address.
    for want in ["checksumError", "checksumError", "tooManyRequests"] {
        assert!(status(&process.service, "wrong", "10.0.0.1").await.contains(want));
    }
    assert!(status(&process.service, SECRET, "10.0.0.1").await.contains("\"servers\""));
    // At their own address nobody is counted, also when front-ends use the same secret.
    let mut o = patient();
    o.rate = Some(RateLimit { per_second: 0.001, burst: 1, per: RatePer::Secret });
    let process = stage.process(o).await;
    for want in ["SUCCESS", "tooManyRequests"] {
        let answer = ask(&process.service, "getMeetings", "", SECRET, "10.0.0.2").await;
        assert!(text(&answer).contains(want));
    }
    let operators = process.service.clone().with_surface(Surface::Operators);
    let sum = sign(Algorithm::Sha256, "getServers", "", SECRET);
    for _ in 0..3 {
        let head = RequestHead {
            method: "GET",
            path: "/scalelite/api/getServers",
            query: &format!("checksum={sum}"),
            ..RequestHead::default()
        };
        assert!(text(&operators.handle(head, Payload::Whole(Bytes::new())).await).contains("\"s0\""));
    }
}

#[tokio::test]
async fn callers_change_their_secret_one_after_the_other() {
    let stage = Stage::memory(1).await;
    let with = |secrets: &[&str]| {
        let mut o = patient();
        o.checksums = Checksums::new(secrets.iter().map(|s| (*s).to_owned()), Algorithms::default());
        o
    };
    let process = stage.process(with(&["old"])).await;
    let ok = async |secret: &str| {
        text(&ask(&process.service, "getMeetings", "", secret, "10.0.0.1").await).contains("SUCCESS")
    };
    assert_eq!((ok("old").await, ok("new").await), (true, false));
    process.service.cluster().reload(with(&["new", "old"]));
    assert_eq!((ok("old").await, ok("new").await), (true, true), "both, while front-ends change");
    process.service.cluster().reload(with(&["new"]));
    assert_eq!((ok("old").await, ok("new").await), (false, true));
}

#[tokio::test]
async fn settings_are_taken_over_while_it_runs() {
    let stage = Stage::memory(1).await;
    let process = stage.process(patient()).await;
    assert!(process.create("m1").await.ok());
    let mut o = patient();
    o.url_host = Some("other.example".into());
    o.poll_interval *= 7;
    o.max_duration = 33;
    process.service.cluster().reload(o);
    assert_eq!(process.call("getMeetings", "").await.status, 403, "another host name is served now");
    let mut o = patient();
    o.max_duration = 33;
    o.get_meetings_disabled = true;
    process.service.cluster().reload(o);
    assert!(process.call("getMeetings", "").await.body.contains("noMeetings"));
    assert!(process.create("m2").await.ok());
    let last = stage.fakes[0].calls_of("create").pop().unwrap();
    assert!(format!("{last:?}").contains("duration"), "{last:?}");
    assert!(process.join("m1").await.location.is_some(), "meetings stay");
}

#[tokio::test]
async fn ids_of_requests_reach_the_servers_and_come_back() {
    let stage = Stage::memory(2).await;
    let process = stage.process(patient()).await;
    let call = |call: &'static str, query: &'static str| ask(&process.service, call, query, SECRET, "10.0.0.1");
    for (name, query) in [
        ("create", "meetingID=m&moderatorPW=mp&attendeePW=ap"),
        ("getMeetingInfo", "meetingID=m"),
        ("getMeetings", ""),
        ("end", "meetingID=m&password=mp"),
    ] {
        let answer = call(name, query).await;
        assert!(text(&answer).contains("SUCCESS"), "{name}: {}", text(&answer));
        assert_eq!(answer.headers()["x-request-id"], "lesson-7", "{name}");
        let seen: Vec<_> = stage.fakes.iter().filter_map(|fake| fake.calls_of(name).pop()).collect();
        assert!(!seen.is_empty(), "{name}");
        for request in seen {
            assert_eq!(request.header("x-request-id"), Some("lesson-7"), "{name}");
        }
    }
    // Without one, each request gets its own.
    let head = RequestHead { method: "GET", path: "/livez", request_id: Some("a\r\nb"), ..RequestHead::default() };
    let one = process.service.handle(head, Payload::Whole(Bytes::new())).await;
    let two = process.service.handle(head, Payload::Whole(Bytes::new())).await;
    let id = |answer: &Response<Bytes>| answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert!(id(&one).len() == 16 && id(&one) != id(&two));
}

#[tokio::test]
async fn latencies_are_told_by_call_and_by_server_with_few_labels() {
    let stage = Stage::memory(2).await;
    let process = stage.process(patient()).await;
    for n in 0..20 {
        assert!(process.create(&format!("m{n}")).await.ok());
        let path = format!("/bigbluebutton/api/no-such-call-{n}");
        let head = RequestHead { method: "GET", path: &path, host: Some(HOST), ..RequestHead::default() };
        process.service.handle(head, Payload::Whole(Bytes::new())).await;
        process.call(&format!("balancerCall{n}"), "").await;
    }
    let page = process.call_metrics().await;
    let value = |sample: &str| -> f64 {
        let line = page.lines().find_map(|l| l.strip_prefix(sample)).unwrap_or_else(|| panic!("{sample}: {page}"));
        line.trim().parse().unwrap()
    };
    assert_eq!(value("balancer_request_duration_seconds_count{call=\"create\"}"), 20.0);
    assert_eq!(value("balancer_request_duration_seconds_bucket{call=\"create\",le=\"+Inf\"}"), 20.0);
    assert_eq!(value("balancer_request_duration_seconds_count{call=\"other\"}"), 40.0);
    let labels = page.lines().filter(|l| l.starts_with("balancer_request_duration_seconds_count")).count();
    assert!(labels <= 3, "{labels} calls");
    let mut total = 0.0;
    for fake in &stage.fakes {
        let host = format!("127.0.0.1:{}", fake.port());
        total += value(&format!("balancer_backend_request_duration_seconds_count{{backend=\"{host}\"}}"));
    }
    assert!(total >= 20.0, "{total}");
    // A server that is gone leaves no label behind.
    assert_eq!(process.post("removeServer", r#"{"id":"s0","force":true}"#).await.status, 200);
    let gone = format!("backend=\"127.0.0.1:{}\"", stage.fakes[0].port());
    process.call_metrics().await;
    assert!(!process.call_metrics().await.contains(&format!("duration_seconds_count{{{gone}")));
}
