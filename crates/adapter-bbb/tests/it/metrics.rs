//! The figures for Prometheus agree with what happened.

use adapter_bbb::{Payload, RequestHead};

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
