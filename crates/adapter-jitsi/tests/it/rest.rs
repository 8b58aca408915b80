//! The probe over HTTP, against bridges that are none.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_jitsi::{BridgeFigures, BridgeTable, Evacuation, FocusSettings, HealthOutcome, RestProbe};
use balancer_core::{Backend, BackendId, HealthProbe, ProbeError, Report};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

struct Target(BackendId, String);

impl Backend for Target {
    fn id(&self) -> &BackendId {
        &self.0
    }
}

/// A bridge that answers its two paths with these bytes; an empty answer means that it never answers.
async fn fake(health: &'static str, stats: String) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let stats = stats.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut buffer = [0; 1024];
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut buffer).await {
                        Ok(length) if length > 0 => request.extend_from_slice(&buffer[..length]),
                        _ => return,
                    }
                }
                let answer = if request.starts_with(b"GET /about/health ") { health } else { stats.as_str() };
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    Target(BackendId::new("jvb1"), address)
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn probe() -> RestProbe<Target> {
    RestProbe::new(|target: &Target| target.1.clone()).with_timeout(Duration::from_secs(30))
}

async fn ask(health: &'static str, stats: String) -> Result<Report, ProbeError> {
    probe().probe(&fake(health, stats).await).await
}

#[tokio::test]
async fn figures_become_a_report() {
    let body = r#"{"conferences":7,"endpoints":41,"participants":40,"stress_level":0.42,"drain":false,"healthy":true,"region":"eu","conference_sizes":[1,2],"version":"2.3"}"#;
    let told = Arc::new(Mutex::new(BridgeFigures::default()));
    let seen = Arc::clone(&told);
    let probe = probe().with_figures(move |target, figures| {
        assert_eq!(target.0.as_str(), "jvb1");
        *seen.lock().unwrap() = figures.clone();
    });
    let report = probe.probe(&fake(OK, answer("200 OK", body)).await).await.unwrap();
    assert_eq!((report.rooms, report.users, report.cost), (Some(7), Some(41), Some(420_000)));
    let fact = |name: &str| report.facts.iter().find(|(known, _)| &**known == name).map(|(_, value)| *value);
    assert_eq!((fact("stress_level"), fact("drain"), fact("healthy")), (Some(0.42), Some(0.0), Some(1.0)));
    let told = told.lock().unwrap();
    assert_eq!(told.get("region"), Some("eu"));
    assert_eq!(told.get("stress_level"), Some("0.42"));
    assert_eq!(told.get("conference_sizes"), None);
    assert_eq!(told.iter().count(), 8);
}

#[tokio::test]
async fn statistics_may_be_switched_off() {
    let report = ask(OK, answer("404 Not Found", "")).await.unwrap();
    assert_eq!((report.rooms, report.users), (None, None));
    // Chunks, and an end by closing.
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n13\r\n{\"conferences\": 12}\r\n0\r\n\r\n";
    assert_eq!(ask(OK, chunked.to_owned()).await.unwrap().rooms, Some(12));
    assert_eq!(ask(OK, "HTTP/1.1 200 OK\r\n\r\n{\"conferences\":3}".to_owned()).await.unwrap().rooms, Some(3));
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let sick = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
    let wrong = ask(sick, String::new()).await.unwrap_err();
    assert!(matches!(&wrong, ProbeError::Answer(text) if text.contains("status 500")), "{wrong}");
    for stats in [
        answer("200 OK", "[1]"),
        answer("200 OK", "{"),
        answer("500 Oops", "{}"),
        answer("302 Found", ""),
        "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n{".to_owned() + &" ".repeat(2_000_000),
        "nonsense\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(200_000)),
    ] {
        let wrong = ask(OK, stats).await.unwrap_err();
        assert!(matches!(wrong, ProbeError::Answer(_)), "{wrong:?}");
    }
    let cut = ask(OK, "HTTP/1.1 200".to_owned()).await.unwrap_err();
    assert!(cut.answered(), "{cut:?}");
}

#[tokio::test]
async fn silence_and_closed_ports_differ() {
    let target = fake(OK, String::new()).await;
    let silent = probe().with_timeout(Duration::from_millis(200)).probe(&target).await.unwrap_err();
    assert!(matches!(silent, ProbeError::Silent(_)), "{silent:?}");
    // Bound, so that nobody else gets the port, and not listened at.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = closed.local_addr().unwrap().to_string();
    let refused = probe().probe(&Target(BackendId::new("a"), address)).await.unwrap_err();
    assert!(matches!(refused, ProbeError::Refused(_)), "{refused:?}");
    let nowhere = probe().probe(&Target(BackendId::new("a"), "no such host".to_owned())).await.unwrap_err();
    assert!(matches!(nowhere, ProbeError::Resolve(_)), "{nowhere:?}");
}

#[tokio::test]
async fn what_a_probe_finds_counts_in_the_table() {
    let sick = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let body = r#"{"stress_level":0.9,"drain":false,"region":"eu"}"#;
    let told = Arc::new(Mutex::new(BridgeFigures::default()));
    let seen = Arc::clone(&told);
    let figures = probe().with_figures(move |_, figures| seen.lock().unwrap().clone_from(figures));
    let mut table = BridgeTable::try_new(FocusSettings::default()).unwrap();
    let well = figures.probe(&fake(OK, answer("200 OK", body)).await).await;
    table.update(&"jvb1".into(), &told.lock().unwrap().to_stats(), Duration::ZERO).unwrap();
    let view = table.view("jvb1", Duration::ZERO).unwrap();
    assert!(view.overloaded && !view.drain && view.region.as_deref() == Some("eu"), "{view:?}");
    let ill = probe().probe(&fake(sick, String::new()).await).await;
    let silent = probe().with_timeout(Duration::from_millis(500)).probe(&fake("", String::new()).await).await;
    let nowhere = probe().probe(&Target(BackendId::new("a"), "no such host".to_owned())).await;
    let outcomes = [&well, &ill, &silent, &nowhere].map(HealthOutcome::of_probe);
    assert_eq!(
        outcomes,
        [Some(HealthOutcome::Passed), Some(HealthOutcome::Failed), Some(HealthOutcome::TimedOut), None]
    );
    let mut check = |outcome: Option<HealthOutcome>| {
        let leaves = table.checked("jvb1", outcome.unwrap(), Duration::ZERO);
        (leaves, table.view("jvb1", Duration::ZERO).unwrap().operational)
    };
    assert_eq!(check(outcomes[0]), (None, true));
    assert_eq!(check(outcomes[2]), (None, false));
    assert_eq!(check(outcomes[1]), (Some(Evacuation::FailedCheck), false));
}
