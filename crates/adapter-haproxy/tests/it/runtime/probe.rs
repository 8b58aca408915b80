//! HAProxy's view of its servers as a probe of a pool.

use std::sync::Arc;

use adapter_haproxy::balance::{HaproxyServer, ServerSpec};
use adapter_haproxy::runtime::{
    AdminState, BySessions, Client, ClientOptions, Command, HealthState, RuntimeAddress, RuntimeProbe, ServerName,
};
use balancer_core::{Backend, HealthProbe, LoadModel, ProbeError};

use super::live::{Live, binaries};
use super::name;

fn probe(client: Arc<Client>) -> RuntimeProbe<HaproxyServer> {
    RuntimeProbe::new(client, |server: &HaproxyServer| {
        ServerName::new("rooms", server.id().as_str()).unwrap_or_else(|e| panic!("{e}"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_reported_as_haproxy_sees_them() {
    for binary in binaries() {
        let live = Live::start(&binary);
        let client = Arc::new(live.client());
        let probe = probe(client.clone());
        let server = |name: &str| HaproxyServer::new(ServerSpec::new(name));
        let (mm1, mm3) = (server("mm1"), server("mm3"));
        let report = probe.probe(&mm1).await.unwrap();
        assert_eq!((report.users, report.cost), (Some(0), Some(0)));
        assert!(report.facts.iter().any(|(name, value)| &**name == "weight" && *value > 99.0));
        let model = BySessions { room: 10 };
        assert!(LoadModel::<HaproxyServer>::knows(&model, &report));
        let down = probe.probe(&mm3).await.unwrap_err();
        assert!(matches!(&down, ProbeError::Answer(text) if text.contains("MAINT")), "{down}");
        assert!(matches!(probe.probe(&server("nobody")).await, Err(ProbeError::Answer(_))));
        let mm1_name = name("rooms/mm1");
        client.order(&Command::set_state(&mm1_name, AdminState::Drain)).await.unwrap();
        probe.probe(&mm1).await.unwrap();
        client.order(&Command::set_state(&mm1_name, AdminState::Ready)).await.unwrap();
        client.order(&Command::set_health(&mm1_name, HealthState::Down)).await.unwrap();
        let down = probe.probe(&mm1).await.unwrap_err();
        assert!(matches!(&down, ProbeError::Answer(text) if text.contains("DOWN")), "{down}");
    }
}

/// On one thread: all have asked before most of the answers are there.
#[tokio::test]
async fn many_probes_share_a_question() {
    for binary in binaries() {
        let live = Live::start(&binary);
        let client = Arc::new(live.client());
        let probe = Arc::new(probe(client.clone()));
        let asked = || async { client.info().await.unwrap().number("CumReq") };
        let before = asked().await.unwrap();
        let mut tasks = vec![];
        for _ in 0..200 {
            let probe = probe.clone();
            tasks.push(tokio::spawn(async move { probe.probe(&HaproxyServer::new(ServerSpec::new("mm1"))).await }));
        }
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let spent = asked().await.unwrap().saturating_sub(before);
        assert!(spent < 100, "200 probes took {spent} requests");
    }
    let nobody = Client::new(RuntimeAddress::unix("/nonexistent"), ClientOptions::default());
    let silent = probe(Arc::new(nobody)).probe(&HaproxyServer::new(ServerSpec::new("mm1"))).await;
    assert!(matches!(silent, Err(ProbeError::Silent(_))), "{silent:?}");
}
