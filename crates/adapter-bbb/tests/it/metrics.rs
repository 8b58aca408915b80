//! The figures for Prometheus agree with what happened.

use adapter_bbb::testing::Mode;
use adapter_bbb::{Payload, RequestHead, ServerState};

use crate::stage::{Stage, patient};

#[tokio::test]
async fn figures_agree_with_what_happened() {
    let stage = Stage::memory(2).await;
    let process = stage.process(patient()).await;
    for n in 0..4 {
        assert!(process.create(&format!("m{n}")).await.ok());
    }
    assert!(process.create("m0").await.ok());
    assert!(process.join("m0").await.location.is_some());
    process.poll().await;
    let head = RequestHead {
        method: "GET",
        path: "/metrics",
        query: "",
        host: Some("anything"),
        content_type: None,
        ..RequestHead::default()
    };
    let answer = process.service.handle(head, Payload::Whole(bytes::Bytes::new())).await;
    let text = String::from_utf8(answer.body().to_vec()).unwrap();
    let value = |sample: &str| -> f64 {
        let line = text.lines().find_map(|l| l.strip_prefix(sample)).unwrap_or_else(|| panic!("{sample}: {text}"));
        line.trim().parse().unwrap()
    };
    assert_eq!(value("balancer_backends{state=\"enabled\",status=\"online\"}"), 2.0);
    assert_eq!(value("balancer_decisions_total{outcome=\"new\"}"), 4.0);
    assert_eq!(value("balancer_decisions_total{outcome=\"sticky\"}"), 1.0);
    assert_eq!(value("balancer_joins_total"), 1.0);
    assert_eq!(value("balancer_store_up"), 1.0);
    for fake in &stage.fakes {
        let host = format!("127.0.0.1:{}", fake.port());
        assert_eq!(value(&format!("balancer_backend_load{{backend=\"{host}\"}}")), 30.0);
    }
    assert!(!text.contains("m0"), "no meeting in a label");
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let typed = |name| text.contains(&format!("# TYPE {name} "));
        assert!(typed(name) || typed(family), "{name} has a type");
    }
}

/// Machines behind one proxy, by path, and one server in the pool twice, as a Scalelite lets it be.
#[tokio::test]
async fn servers_behind_one_host_name_have_series_of_their_own() {
    let stage = Stage::memory(1).await;
    let base = format!("127.0.0.1:{}", stage.fakes[0].port());
    let paths = ["one/bigbluebutton/api", "two/bigbluebutton/api", "two/bigbluebutton/api/"];
    for (n, path) in paths.into_iter().enumerate() {
        let record = adapter_bbb::ServerRecord::new(
            crate::stage::id(n + 1),
            format!("http://{base}/{path}"),
            adapter_bbb::Secret::new("s"),
        );
        stage.store.add_server(&record).await.unwrap();
    }
    let process = stage.process(patient()).await;
    process.poll().await;
    let page = process.call_metrics().await;
    let mut series: Vec<&str> = page.lines().filter(|l| !l.starts_with('#')).collect();
    series.iter_mut().for_each(|line| *line = line.rsplit_once(' ').unwrap().0);
    let all = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), all, "{page}");
    let (two, three) = (crate::stage::id(2), crate::stage::id(3));
    for label in [
        format!("{base}/bigbluebutton/api"),
        format!("{base}/one/bigbluebutton/api"),
        format!("{base}/two/bigbluebutton/api#{two}"),
        format!("{base}/two/bigbluebutton/api#{three}"),
    ] {
        assert!(page.contains(&format!("balancer_backend_meetings{{backend=\"{label}\"}}")), "{label}: {page}");
    }
}

/// Every name that dashboards of this family of programs are made for.
#[tokio::test]
async fn dashboards_find_their_names() {
    let stage = Stage::memory(2).await;
    let process = stage.process(patient()).await;
    for n in 0..4 {
        assert!(process.create(&format!("m{n}")).await.ok());
    }
    // The second server is drained, and the first one fails a poll.
    process.poll().await;
    process.poll().await;
    stage.state(1, ServerState::Cordoned).await;
    process.poll().await;
    let page = process.call_metrics().await;
    let value = |sample: &str| -> f64 {
        let line = page.lines().find_map(|l| l.strip_prefix(sample)).unwrap_or_else(|| panic!("{sample}: {page}"));
        line.trim().parse().unwrap()
    };
    let host = |n: usize| format!("127.0.0.1:{}", stage.fakes[n].port());
    for name in [
        "balancer_backends",
        "balancer_backend_load",
        "balancer_backend_data_age_seconds",
        "balancer_decisions_total",
        "balancer_decision_duration_seconds",
        "balancer_probes_total",
        "balancer_probe_duration_seconds",
        "balancer_stick_entries",
        "balancer_stick_conflicts_total",
        "balancer_split_rooms",
        "balancer_drain_remaining",
        "balancer_store_up",
        "balancer_build_info",
    ] {
        assert!(page.contains(&format!("# TYPE {name} ")), "{name}: {page}");
    }
    assert_eq!(value("balancer_decision_duration_seconds_count"), 4.0);
    assert_eq!(value("balancer_decision_duration_seconds_bucket{le=\"+Inf\"}"), 4.0);
    assert_eq!(value("balancer_stick_entries"), 4.0);
    assert_eq!(value("balancer_split_rooms"), 0.0);
    let left = stage.fakes[1].meetings().len() as f64;
    assert_eq!(value(&format!("balancer_drain_remaining{{backend=\"{}\"}}", host(1))), left);
    for n in 0..2 {
        assert_eq!(value(&format!("balancer_probes_total{{backend=\"{}\",result=\"ok\"}}", host(n))), 4.0);
    }
    assert_eq!(value("balancer_probe_duration_seconds_count"), 8.0);
    stage.fakes[0].set_mode(Mode::Down).await.unwrap();
    process.poll().await;
    let page = process.call_metrics().await;
    let failed = format!("balancer_probes_total{{backend=\"{}\",result=\"failed\"}} 1\n", host(0));
    assert!(page.contains(&failed), "{page}");
}
