//! Every command, on every release, over every kind of socket.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::Duration;

use adapter_haproxy::runtime::{
    AddServer, AdminState, AgentState, Client, ClientOptions, Command, HealthState, Level, RefusalKind, RemoveOptions,
    RuntimeAddress, RuntimeError, ServerIds, ServerStatus, StatKinds, StatScope, TableFilter, TableKey, WeightChange,
    WorkerTarget,
};

use super::live::{Live, binaries};
use super::{name, raw, refused};
use crate::haproxy::MINUTE;

async fn questions(client: &Client, live: &Live) {
    let process = client.process().await.unwrap();
    assert_eq!((process.version, process.level, process.stopping), (live.version, Level::Admin, false));
    let info = client.info().await.unwrap();
    assert_eq!((info.pid(), info.version()), (process.pid, live.version));
    assert!(info.started().is_some() && info.number("Nbthread") == Some(1));
    assert!(client.info_typed().await.unwrap().len() > 60);
    let stat = client.stat(StatScope::Everything, StatKinds::All).await.unwrap();
    assert!(stat.server("rooms", "mm1").is_some() && stat.columns().names().len() > 100);
    assert_eq!(stat.server("rooms", "mm3").unwrap().status(), ServerStatus::Maint);
    let one = client.stat(StatScope::Proxy("rooms"), StatKinds::Servers).await.unwrap();
    assert_eq!(one.rows().len(), 3);
    assert_eq!(refused(client.stat(StatScope::Proxy("nobody"), StatKinds::All).await), RefusalKind::NoBackend);
    assert!(client.stat_typed(StatScope::Everything, StatKinds::Servers).await.unwrap().len() > 100);
    assert_eq!(client.backends().await.unwrap(), ["rooms", "addresses", "fixed", "pipe"]);
    assert!(client.state_file().await.unwrap().starts_with("1\n# be_id"));
    let states = client.servers_state(Some("rooms")).await.unwrap();
    assert_eq!(states.iter().map(|s| s.id).collect::<Vec<_>>(), [1, 2, 77]);
    assert!(states[2].is_maintenance() && states[0].is_checked() && states[1].has_agent());
    assert_eq!(client.servers_state(None).await.unwrap().len(), 5);
    assert_eq!(refused(client.servers_state(Some("nobody")).await), RefusalKind::NoBackend);
    assert_eq!(client.server_conns("rooms").await.unwrap().len(), 3);
    let peers = client.peers().await.unwrap();
    assert!(peers.len() == 1 && peers[0].name == "lb" && peers[0].peers[0].local);
    let _ = client.is_ready_for_reload().await.unwrap();
    assert!(client.sessions().await.unwrap().iter().any(|s| s.frontend == "GLOBAL"));
    assert!(client.cli_sockets().await.unwrap().iter().any(|s| s.level == Level::Operator));
    let variable = client.call(&Command::show_env("LB_NAME").unwrap()).await.unwrap();
    assert_eq!(variable.text(), "LB_NAME=lb one");
    client.call(&Command::show_startup_logs()).await.unwrap();
    client.call(&Command::show_errors()).await.unwrap();
    assert!(client.call(&Command::show("activity").unwrap()).await.unwrap().text().contains("ctxsw"));
    assert!(client.call(&Command::show_version()).await.unwrap().text().starts_with(&live.version.to_string()));
    assert_eq!(refused(client.call(&raw("nonsense")).await), RefusalKind::UnknownCommand);
    assert_eq!(client.tables().await.unwrap().len(), 2);
    assert_eq!(client.maps().await.unwrap()[0].path, live.map());
}

async fn orders(client: &Client, live: &Live) {
    let mm1 = name("rooms/mm1");
    let state = async |client: &Client| client.server_state(&mm1).await.unwrap().unwrap();
    client.order(&Command::set_state(&mm1, AdminState::Drain)).await.unwrap();
    assert!(state(client).await.is_draining());
    client.order(&Command::set_state(&mm1, AdminState::Maint)).await.unwrap();
    assert!(state(client).await.is_maintenance());
    client.order(&Command::set_state(&mm1, AdminState::Ready)).await.unwrap();
    client.order(&Command::disable_server(&mm1)).await.unwrap();
    client.order(&Command::enable_server(&mm1)).await.unwrap();
    assert_eq!(state(client).await.admin, 0);
    for (weight, now) in
        [(WeightChange::Absolute(30), 30), (WeightChange::Percent(50), 50), (WeightChange::Absolute(0), 0)]
    {
        client.order(&Command::set_weight(&mm1, weight).unwrap()).await.unwrap();
        assert_eq!(client.weight(&mm1).await.unwrap().now, now);
    }
    client.order(&Command::set_weight(&mm1, WeightChange::Percent(100)).unwrap()).await.unwrap();
    let absolute = Command::set_weight(&name("fixed/s1"), WeightChange::Absolute(10)).unwrap();
    assert_eq!(refused(client.order(&absolute).await), RefusalKind::Algorithm);
    for health in [HealthState::Stopping, HealthState::Down, HealthState::Up] {
        client.order(&Command::set_health(&mm1, health)).await.unwrap();
    }
    client.order(&Command::enable_health(&mm1, false)).await.unwrap();
    client.order(&Command::enable_health(&mm1, true)).await.unwrap();
    assert_eq!(
        refused(client.order(&Command::enable_health(&name("rooms/mm3"), true)).await),
        RefusalKind::NotConfigured
    );
    client.order(&Command::set_check_port(&mm1, live.target)).await.unwrap();
    client.order(&Command::set_check_address(&mm1, Ipv4Addr::LOCALHOST.into(), None)).await.unwrap();
    client.order(&Command::set_maxconn(&mm1, 40)).await.unwrap();
    client.order(&Command::set_frontend_maxconn("f", 100).unwrap()).await.unwrap();

    let mm2 = name("rooms/mm2");
    client.order(&Command::set_agent(&mm2, AgentState::Down)).await.unwrap();
    client.order(&Command::set_agent(&mm2, AgentState::Up)).await.unwrap();
    client.order(&Command::set_agent_address(&mm2, Ipv4Addr::LOCALHOST.into())).await.unwrap();
    client.order(&Command::set_agent_port(&mm2, live.target)).await.unwrap();
    client.order(&Command::set_agent_send(&mm2, "hello; you \\ there").unwrap()).await.unwrap();
    client.order(&Command::enable_agent(&mm2, false)).await.unwrap();
    client.order(&Command::enable_agent(&mm2, true)).await.unwrap();
    assert_eq!(refused(client.order(&Command::enable_agent(&mm1, true)).await), RefusalKind::NotConfigured);
    assert_eq!(refused(client.order(&Command::set_ssl(&mm1, true)).await), RefusalKind::NotConfigured);
    assert_eq!(refused(client.order(&Command::set_fqdn(&mm1, "a.example").unwrap()).await), RefusalKind::NotConfigured);

    let mm3 = name("rooms/mm3");
    let other: IpAddr = Ipv4Addr::new(127, 0, 0, 2).into();
    for _ in 0..2 {
        client.order(&Command::set_address(&mm3, other, Some(65535))).await.unwrap();
    }
    let moved = client.server_state(&mm3).await.unwrap().unwrap();
    assert_eq!((moved.address, moved.port), (Some(other), 65535));
    client.order(&Command::set_address(&mm3, Ipv4Addr::LOCALHOST.into(), Some(live.target))).await.unwrap();

    client.order(&Command::shutdown_server_sessions(&mm1)).await.unwrap();
    assert_eq!(refused(client.order(&Command::shutdown_session("0xdeadbeef").unwrap()).await), RefusalKind::NoEntry);
    client.order(&Command::clear_counters(false)).await.unwrap();
    client.order(&Command::clear_counters(true)).await.unwrap();
    for (absent, kind) in [("rooms/nobody", RefusalKind::NoServer), ("nobody/mm1", RefusalKind::NoBackend)] {
        assert_eq!(refused(client.order(&Command::set_state(&name(absent), AdminState::Ready)).await), kind);
        let refusal = refused(client.weight(&name(absent)).await);
        assert!(refusal == kind || refusal == RefusalKind::NoServer, "{refusal:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything() {
    for binary in binaries() {
        let live = Live::with_master(&binary);
        let options = ClientOptions::default;
        let tcp: RuntimeAddress = format!("ipv4@127.0.0.1:{}", live.tcp).parse().unwrap();
        let worker = live.address("master").worker(WorkerTarget::Current);
        for address in [live.address("admin"), tcp, worker] {
            let client = Client::new(address, options());
            questions(&client, &live).await;
            orders(&client, &live).await;
            super::tables::entries(&client).await;
            super::maps::entries(&client, &live.map()).await;
            servers(&client, &live).await;
        }
        println!("{}: every command over three sockets", live.version);
    }
}

async fn servers(client: &Client, live: &Live) {
    let mut ids = ServerIds::default();
    ids.observe(&client.servers_state(None).await.unwrap());
    let address = format!("127.0.0.1:{}", live.target).parse().unwrap();
    let d1 = name("rooms/d1");
    let id = ids.issue("rooms").unwrap();
    assert!(id > 77);
    let add =
        AddServer::new(d1.clone(), address, id).weight(20).maxconn(5).check(Duration::from_secs(1)).rise_fall(1, 2);
    client.add_server(&add, true).await.unwrap();
    let state = client.server_state(&d1).await.unwrap().unwrap();
    assert_eq!((state.id, state.admin, state.weight), (id, 0, 20));
    assert!(state.is_checked());
    assert_eq!(refused(client.add_server(&add, true).await), RefusalKind::Exists);
    assert!(client.server_state(&d1).await.unwrap().is_some(), "the first one stays");
    assert_eq!(refused(client.order(&Command::del_server(&d1)).await), RefusalKind::NotInMaintenance);
    let taken = AddServer::new(name("rooms/d2"), address, id);
    assert_eq!(refused(client.add_server(&taken, false).await), RefusalKind::Exists);
    let cookie = AddServer::new(name("rooms/d3"), address, ids.issue("rooms").unwrap()).cookie("c");
    match client.add_server(&cookie, false).await {
        Err(RuntimeError::Command(_)) => assert!(!live.version.has(2, 8)),
        other => {
            other.unwrap();
            client.remove_server(&name("rooms/d3"), RemoveOptions::default()).await.unwrap();
        }
    }
    let agent = AddServer::new(name("rooms/d4"), address, ids.issue("rooms").unwrap())
        .agent_check(live.target, Duration::from_secs(1))
        .slowstart(Duration::from_secs(3))
        .backup()
        .send_proxy_v2();
    client.add_server(&agent, true).await.unwrap();
    client.remove_server(&name("rooms/d4"), RemoveOptions::default()).await.unwrap();
    let bogus = AddServer::new(name("rooms/d5"), address, ids.issue("rooms").unwrap()).word("bogus");
    assert_eq!(refused(client.add_server(&bogus, false).await), RefusalKind::Value);
    let fixed = AddServer::new(name("fixed/d6"), address, 9);
    assert_eq!(refused(client.add_server(&fixed, false).await), RefusalKind::Algorithm);
    client.remove_server(&d1, RemoveOptions::default()).await.unwrap();
    assert_eq!(client.server_state(&d1).await.unwrap(), None);
    assert_eq!(refused(client.remove_server(&d1, RemoveOptions::default()).await), RefusalKind::NoServer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_connections_is_waited_for_or_shut_down() {
    for binary in binaries() {
        let live = Live::start(&binary);
        let client = live.client();
        let p1 = name("pipe/p1");
        let mut open = TcpStream::connect(("127.0.0.1", live.pipe)).unwrap();
        open.write_all(b"x").unwrap();
        let deadline = std::time::Instant::now() + MINUTE;
        while !client.sessions().await.unwrap().iter().any(|s| s.server.as_deref() == Some("p1")) {
            assert!(std::time::Instant::now() < deadline);
        }
        let wait = RemoveOptions::default().with_deadline(Duration::from_millis(50));
        let error = client.remove_server(&p1, wait).await.unwrap_err();
        assert_eq!(error.refusal().unwrap().kind(), RefusalKind::InUse, "{error}");
        assert!(client.server_state(&p1).await.unwrap().unwrap().is_maintenance());
        client.remove_server(&p1, RemoveOptions::default().with_shutdown()).await.unwrap();
        assert_eq!(open.read(&mut [0; 8]).unwrap_or(0), 0, "the session is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_a_lower_level_is_named() {
    for binary in binaries() {
        let live = Live::start(&binary);
        let at = |socket: &str| Client::new(live.address(socket), ClientOptions::default());
        let drain = Command::set_state(&name("rooms/mm1"), AdminState::Drain);
        for (socket, level) in [("user", Level::User), ("operator", Level::Operator)] {
            let client = at(socket);
            assert_eq!(client.process().await.unwrap().level, level);
            client.info().await.unwrap();
            let error = client.order(&drain).await.unwrap_err();
            assert_eq!(error.refusal().unwrap().kind(), RefusalKind::Permission);
            let text = error.to_string();
            assert!(
                text.contains(&format!("the level of this socket is {level}")) && text.contains("takes admin"),
                "{text}"
            );
        }
        assert_eq!(refused(at("user").sessions().await), RefusalKind::Permission);
        at("operator").sessions().await.unwrap();
        let key = TableKey::Text("algebra".to_owned());
        live.client().set_table("rooms", &key, &[("server_id", 1)]).await.unwrap();
        for socket in ["user", "operator"] {
            let read = at(socket).table_entries("rooms", &TableFilter::All).await;
            match socket {
                "user" => {
                    let error = read.unwrap_err();
                    assert_eq!(error.refusal().unwrap().kind(), RefusalKind::Permission);
                    assert!(error.to_string().contains("it takes operator"), "{error}");
                }
                _ => assert_eq!(read.unwrap().len(), 1),
            }
        }
    }
}
