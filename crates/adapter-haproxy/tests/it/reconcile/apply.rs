//! Plans carried out by runtime commands.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use adapter_haproxy::reconcile::{ApplyCause, ApplyOptions, Commands, Plan, RollBack, Running, Wanted, plan};
use adapter_haproxy::runtime::{AdminState, Client, Command, RefusalKind, ServerConns, ServerName, ServerState};

use super::crowd::{Crowd, home};
use super::farm::{Farm, name};
use crate::haproxy::MINUTE;
use crate::runtime::live::binaries;

fn commands(wanted: &Wanted, running: &Running) -> Commands {
    match plan(wanted, running).unwrap() {
        Plan::Commands(commands) => commands,
        other => panic!("{other}"),
    }
}

/// Servers without what changes of itself.
async fn servers(client: &Client) -> Vec<ServerState> {
    let mut all = client.servers_state(None).await.unwrap();
    for server in &mut all {
        (server.since_change, server.check, server.operation) = (Duration::ZERO, server.check & 6, 2);
    }
    all.sort_by(|a, b| (&a.backend, &a.name).cmp(&(&b.backend, &b.name)));
    all
}

async fn reconcile(client: &Client, wanted: &Wanted, held: &mut BTreeSet<ServerName>) -> Commands {
    let running = client.running(wanted).await.unwrap().with_held(held.iter().cloned());
    let done = commands(wanted, &running);
    let applied = client.apply(&done, ApplyOptions::default()).await.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(applied.steps, done.steps().len());
    held.clone_from(done.held());
    let again = client.running(wanted).await.unwrap().with_held(held.iter().cloned());
    let again = commands(wanted, &again);
    assert!(again.is_empty(), "{again:?}");
    println!("{} steps in {:?}", applied.steps, applied.took);
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_come_and_go_and_no_request_fails() {
    for binary in binaries() {
        let farm = Farm::start(&binary, 6, 3);
        let (client, port) = (farm.client(), farm.place.port);
        let mut held = BTreeSet::new();
        let rooms: Vec<String> = (0..60).map(|n| format!("r{n}")).collect();
        let pins = [("r0", "mm1"), ("r1", "mm2"), ("r2", "mm3")];
        reconcile(&client, &farm.wanted(&[1, 2, 3], &pins), &mut held).await;
        let crowd = Crowd::come(port, &rooms);
        crowd.wait(200);
        reconcile(&client, &farm.wanted(&[1, 2, 3, 4, 5], &pins), &mut held).await;
        crowd.wait(200);
        let more: BTreeSet<String> = (0..40).map(|n| home(port, &format!("new{n}")).unwrap()).collect();
        assert_eq!(more.len(), 5, "new servers take rooms: {more:?}");
        let pins = [("r0", "mm1"), ("r1", "mm4"), ("r2", "mm4")];
        let done = reconcile(&client, &farm.wanted(&[1, 4], &pins), &mut held).await;
        assert_eq!(done.moved().len(), 2);
        crowd.wait(200);
        let met = crowd.go();
        println!("{}: 3, 5 and 2 servers, {} requests, {} failed", farm.version, met.asked, met.failed);
        assert_eq!(met.failed, 0);
        assert!(held.is_empty());
        let two: BTreeSet<String> = rooms.iter().map(|room| home(port, room).unwrap()).collect();
        assert_eq!(two, ["mm1", "mm4"].map(str::to_owned).into());
        // Pinned rooms were where their pins said, and nowhere else.
        let at = |room: &str| met.servers[room].iter().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!([at("r0"), at("r1"), at("r2")], ["mm1", "mm2 mm4", "mm3 mm4"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_half_way_undoes_what_was_done() {
    for binary in binaries() {
        let farm = Farm::start(&binary, 6, 4);
        let client = farm.client();
        let pins = [("r0", "mm1"), ("r1", "mm2")];
        reconcile(&client, &farm.wanted(&[1, 2, 3, 4], &pins), &mut BTreeSet::new()).await;
        let mut wanted = farm.wanted(&[1, 2, 5], &[("r0", "mm5"), ("r7", "mm1")]);
        wanted.backends[0].servers[0].line.weight = Some(7);
        wanted.backends[0].servers[1].line.port = farm.ports[5];
        let before = servers(&client).await;
        let running = client.running(&wanted).await.unwrap();
        let done = commands(&wanted, &running);
        assert!(done.steps().len() > 12, "{done:?}");
        // Somebody else deletes a server meanwhile.
        client.order(&Command::set_state(&name("pages/mm4"), AdminState::Maint)).await.unwrap();
        client.order(&Command::del_server(&name("pages/mm4"))).await.unwrap();
        let error = client.apply(&done, ApplyOptions::default()).await.unwrap_err();
        println!("{}: {error}", farm.version);
        let ApplyCause::Runtime(cause) = &error.cause else { panic!("{error}") };
        assert_eq!((cause.refusal().unwrap().kind(), &error.rollback), (RefusalKind::NoServer, &RollBack::Whole));
        let strip = |all: Vec<ServerState>| {
            let mut all: Vec<_> = all.into_iter().filter(|s| (&*s.backend, &*s.name) != ("pages", "mm4")).collect();
            all.iter_mut().for_each(|s| s.backend_id = 0);
            all
        };
        assert_eq!(strip(servers(&client).await), strip(before));
        let now = client.running(&farm.wanted(&[1, 2, 3, 4], &pins)).await.unwrap();
        let text = plan(&farm.wanted(&[1, 2, 3, 4], &pins), &now).unwrap().to_string();
        assert!(text.starts_with("  1. add server pages/mm4") && !text.contains("  4."), "{text}");
    }
}

/// Somebody uploads to the last server that is to go: those already deleted come back.
#[tokio::test(flavor = "multi_thread")]
async fn deleted_servers_come_back_when_another_is_busy() {
    for binary in binaries() {
        let farm = Farm::start(&binary, 4, 4);
        let client = farm.client();
        let before = servers(&client).await;
        let others = ["pages/mm1", "pages/mm2", "pages/mm3"].map(name);
        for server in &others {
            client.order(&Command::set_state(server, AdminState::Maint)).await.unwrap();
        }
        let mut upload = TcpStream::connect(("127.0.0.1", farm.place.port)).unwrap();
        let head = "POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n";
        upload.write_all(format!("{head}{}", "x".repeat(40_000)).as_bytes()).unwrap();
        let busy = |all: &[ServerConns]| all.iter().any(|conns| conns.server == "mm4" && conns.used > 0);
        let end = Instant::now() + MINUTE;
        while !busy(&client.server_conns("pages").await.unwrap()) {
            assert!(Instant::now() < end, "nobody uploads");
        }
        for server in &others {
            client.order(&Command::set_state(server, AdminState::Ready)).await.unwrap();
        }
        let wanted = farm.wanted(&[1, 2], &[("r0", "mm1")]);
        let done = commands(&wanted, &client.running(&wanted).await.unwrap());
        let options = ApplyOptions::default().with_idle_deadline(Duration::from_secs(5));
        let error = client.apply(&done, options).await.unwrap_err();
        println!("{}: {error}", farm.version);
        assert!(matches!(&error.cause, ApplyCause::Busy { used: 1, .. }), "{error}");
        assert_eq!((error.step, &error.rollback), (done.steps().len() - 1, &RollBack::Whole));
        assert_eq!(servers(&client).await, before);
        // Once it is over the same plan goes through.
        drop(upload);
        reconcile(&client, &wanted, &mut BTreeSet::new()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_elses_maintenance_is_ended() {
    for binary in binaries() {
        let farm = Farm::start(&binary, 4, 4);
        let client = farm.client();
        let mut held = BTreeSet::new();
        let order = |server: &str, state| {
            let command = Command::set_state(&name(server), state);
            let client = &client;
            async move { client.order(&command).await.unwrap() }
        };
        order("rooms/mm1", AdminState::Maint).await;
        order("rooms/mm2", AdminState::Drain).await;
        order("rooms/mm4", AdminState::Maint).await;
        let mut wanted = farm.wanted(&[1, 2, 3], &[]).with_state("mm3", AdminState::Maint);
        wanted.backends[0].servers[0].line.weight = Some(9);
        let kept = |done: &Commands| done.kept().iter().map(|kept| kept.server.clone()).collect::<Vec<_>>();
        let done = reconcile(&client, &wanted, &mut held).await;
        assert_eq!(kept(&done), ["rooms/mm1", "rooms/mm2", "rooms/mm4"]);
        let state = |all: &[ServerState], server: &str| {
            let found = all.iter().find(|s| s.backend == "rooms" && s.name == server).unwrap();
            (found.is_maintenance(), found.is_draining(), found.weight)
        };
        let all = servers(&client).await;
        let shown = ["mm1", "mm2", "mm3", "mm4"].map(|server| state(&all, server));
        assert_eq!(shown, [(true, false, 1), (false, true, 1), (true, false, 1), (true, false, 1)]);
        assert_eq!(held, [name("pages/mm3"), name("rooms/mm3")].into());
        // What we have put in maintenance we end.
        let done = reconcile(&client, &wanted.with_state("mm3", AdminState::Ready), &mut held).await;
        assert_eq!(kept(&done), ["rooms/mm1", "rooms/mm2", "rooms/mm4"]);
        assert_eq!((state(&servers(&client).await, "mm3"), held.len()), ((false, false, 1), 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_to_a_process_that_is_replaced_are_not_taken_for_done() {
    for binary in binaries() {
        let farm = Farm::start(&binary, 4, 3);
        let client = farm.client();
        let wanted = farm.wanted(&[1, 2, 3, 4], &[]);
        let done = commands(&wanted, &client.running(&wanted).await.unwrap());
        let master = farm.master();
        let (applied, reload) =
            tokio::join!(client.apply(&done, ApplyOptions::default()), async { master.reload(MINUTE).await.unwrap() });
        assert!(reload.success);
        // One that stands still as it is told to go might take another call.
        farm.renewed(&client).await;
        let now = commands(&wanted, &client.running(&wanted).await.unwrap());
        match applied {
            // All of it before, and forgotten; or all of it after.
            Ok(applied) => assert!(now.is_empty() == (Some(applied.process.pid) == reload.now), "{applied:?}"),
            Err(error) => assert_eq!(error.rollback, RollBack::NewProcess, "{error}"),
        }
    }
}
