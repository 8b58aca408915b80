//! Plans, carried out on a model of HAProxy.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Action, Commands, PinMap, Plan, PlanError, Running, Wanted, WantedBackend, WantedServer, plan};
use crate::HaproxyVersion;
use crate::render::{ServerLine, ServerTls};
use crate::runtime::{AdminState, ServerName};
use model::{FILE, Model, Server};

mod model;

const V: HaproxyVersion = HaproxyVersion::new(2, 6);

fn line(n: u32, at: u16) -> ServerLine {
    ServerLine::new(n, format!("s{n}"), "192.0.2.1", at)
}

fn server(n: u32, at: u16, weight: u16, state: AdminState) -> WantedServer {
    let mut line = line(n, at);
    line.weight = Some(weight);
    WantedServer::new(line).with_state(state)
}

fn wanted(servers: Vec<WantedServer>) -> Wanted {
    Wanted::new(vec![WantedBackend::new("rooms", servers)])
}

fn commands(wanted: &Wanted, running: &Running) -> Commands {
    match plan(wanted, running).unwrap() {
        Plan::Commands(commands) => commands,
        Plan::Reload { why, .. } => panic!("a reload: {why:?}"),
    }
}

fn state() -> impl Strategy<Value = AdminState> {
    prop_oneof![3 => Just(AdminState::Ready), 1 => Just(AdminState::Drain), 1 => Just(AdminState::Maint)]
}

fn setting() -> impl Strategy<Value = (bool, u16, u16, AdminState, bool)> {
    (any::<bool>(), 80_u16..83, 0_u16..3, state(), any::<bool>())
}

type Case = (Model, Vec<ServerName>, Wanted);

fn cases() -> impl Strategy<Value = Case> {
    let settings = || proptest::collection::vec(setting(), 6);
    let rooms = |most| proptest::collection::btree_map(0_u32..most, 0_usize..6, 0..most as usize);
    (settings(), settings(), rooms(6), rooms(6)).prop_map(|(before, after, was, to)| {
        let mut model = Model::default();
        let mut held = Vec::new();
        for (n, (there, at, weight, state, ours)) in (1..).zip(before) {
            if there || n == 6 {
                model.servers.insert(format!("s{n}"), Server::new(n, at, weight, state));
                if ours {
                    held.push(ServerName::new("rooms", &format!("s{n}")).unwrap());
                }
            }
        }
        let servers: Vec<WantedServer> = (1..)
            .zip(after)
            .filter(|(_, (there, ..))| *there)
            .map(|(n, (_, at, weight, state, _))| server(n, at, weight, state))
            .collect();
        model.map = was.into_iter().map(|(room, n)| (format!("r{room}"), format!("s{}", n + 1))).collect();
        let usable: Vec<String> =
            servers.iter().filter(|s| s.state != AdminState::Maint).map(|s| s.line.name.clone()).collect();
        let mut pins = PinMap::new(FILE, "rooms");
        for (room, n) in to.into_iter().filter(|_| !usable.is_empty()) {
            pins = pins.with_pin(&format!("r{room}"), usable[n % usable.len()].clone());
        }
        (model, held, wanted(servers).with_pins(pins))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_leads_where_it_should((before, held, wanted) in cases()) {
        let done = commands(&wanted, &before.running(V, &held));
        let mut now = before.clone();
        let mut undo: Vec<Vec<Action>> = Vec::new();
        for step in done.steps() {
            now.run(&step.action);
            // No pinned room is without its server, unless it was so from the start.
            for (room, server) in &now.map {
                let from_the_start = !before.is_there(server) && before.servers.contains_key(server)
                    || before.map.get(room) == Some(server) && !before.is_there(server);
                prop_assert!(now.is_there(server) || from_the_start, "{room} on {server} after {}", step.action);
            }
            undo.push(step.undo.clone());
            // Whatever the step at which it ends, all is as before once the steps are undone.
            let mut back = now.clone();
            undo.iter().rev().flatten().for_each(|action| back.run(action));
            prop_assert_eq!(&back, &before, "undone after {}", step.action);
        }
        // What is kept is untouched, everything else as wanted.
        let kept: Vec<&str> = done.kept().iter().map(|kept| kept.server.strip_prefix("rooms/").unwrap()).collect();
        for wanted in &wanted.backends[0].servers {
            let name = wanted.line.name.as_str();
            if !kept.contains(&name) {
                let is = &now.servers[name];
                prop_assert_eq!((is.state, is.port, is.weight), (wanted.state, wanted.line.port, wanted.line.weight.unwrap()));
                prop_assert!(is.check_on);
            }
        }
        for (name, is) in &now.servers {
            let ours = held.iter().any(|held| held.server() == name);
            if kept.contains(&name.as_str()) {
                prop_assert!(is == &before.servers[name] && !ours && is.state != AdminState::Ready);
            } else {
                prop_assert!(wanted.backends[0].servers.iter().any(|wanted| wanted.line.name == *name));
            }
            // Nobody's maintenance is ended but our own.
            if before.servers.get(name).is_some_and(|s| s.state == AdminState::Maint) && !ours {
                prop_assert_eq!(is.state, AdminState::Maint);
            }
        }
        prop_assert_eq!(&now.map, &wanted.pins[0].entries);
        let again = commands(&wanted, &now.running(V, &done.held().iter().cloned().collect::<Vec<_>>()));
        prop_assert!(again.is_empty(), "{:?}", again);
        prop_assert_eq!(again.held(), done.held());
    }
}

fn model(servers: &[(u32, u16, AdminState)]) -> Model {
    let servers = servers.iter().map(|(n, at, state)| (format!("s{n}"), Server::new(*n, *at, 1, *state)));
    Model { servers: servers.collect(), map: BTreeMap::new() }
}

#[test]
fn a_dry_run_says_what_and_why() {
    use AdminState::{Maint, Ready};
    let mut before = model(&[(1, 80, Ready), (2, 80, Ready), (3, 80, Maint)]);
    before.map.insert("hall".into(), "s2".into());
    let wanted = wanted(vec![server(1, 81, 1, Ready), server(3, 80, 1, Ready), server(4, 80, 5, Ready)])
        .with_pins(PinMap::new(FILE, "rooms").with_pin("hall", "s4"));
    let plan = plan(&wanted, &before.running(V, &[])).unwrap();
    let text = "  1. add server rooms/s4 192.0.2.1:80 id 4 weight 5 check inter 2000ms rise 2 fall 3
     # it is not there
  2. enable health rooms/s4
     # checks of a server added at run time do not begin of themselves
  3. set server rooms/s4 state ready
     # a server added at run time begins in maintenance
  4. set server rooms/s1 addr 192.0.2.1 port 81
     # it is at 192.0.2.1 port 80
  5. set map /etc/lb/p.map hall s4
     # the room is to be on s4, not on s2
  6. set server rooms/s2 state maint
     # it is not wanted: nothing new goes to it
  7. wait until no connection to rooms/s2 is in use
     # what is under way is to end well
  8. del server rooms/s2
     # it is not wanted
kept rooms/s3: somebody else put it in maintenance; `state ready` ends it
room hall: s2 -> s4
";
    assert_eq!(plan.to_string(), text);
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["commands"]["steps"][4]["undo"][0], "set map /etc/lb/p.map hall s2");
    assert_eq!(json["commands"]["kept"][0]["server"], "rooms/s3");
}

#[test]
fn an_address_changes_under_maintenance_when_others_are_there() {
    use AdminState::Ready;
    let before = model(&[(1, 80, Ready), (2, 80, Ready)]);
    let both = |pins| wanted(vec![server(1, 81, 1, Ready), server(2, 80, 1, Ready)]).with_pins(pins);
    let lines = |wanted: &Wanted| {
        let done = commands(wanted, &before.running(V, &[]));
        assert!(done.held().is_empty());
        done.steps().iter().map(|step| step.action.to_string()).collect::<Vec<_>>()
    };
    let moved = "set server rooms/s1 addr 192.0.2.1 port 81";
    let empty = PinMap::new(FILE, "rooms");
    assert_eq!(
        lines(&both(empty.clone())),
        ["set server rooms/s1 state maint", moved, "set server rooms/s1 state ready"]
    );
    assert_eq!(lines(&both(empty.with_pin("x", "s1")))[..1], [moved]);
}

#[test]
fn what_commands_cannot_do_is_one_reload() {
    use AdminState::{Drain, Ready};
    let before = model(&[(1, 80, Ready)]);
    let why = |wanted: &Wanted, running: &Running| match plan(wanted, running).unwrap() {
        Plan::Reload { why, .. } => why.join("; "),
        Plan::Commands(commands) => panic!("{commands:?}"),
    };
    let one = server(1, 80, 1, Ready);
    let with = |change: &dyn Fn(&mut ServerLine)| {
        let mut more = line(2, 80);
        change(&mut more);
        wanted(vec![one.clone(), WantedServer::new(more)])
    };
    let running = |version| before.running(version, &[]);
    for (change, version, expected) in [
        (&(|_: &mut ServerLine| {}) as &dyn Fn(&mut ServerLine), (2, 4), "needs HAProxy 2.6"),
        (&|line| line.cookie = Some("c".into()), (2, 6), "cookie"),
        (&|line| line.host = "mm2.example.org".into(), (2, 8), "a name for its address"),
        (&|line| line.resolvers = Some("dns".into()), (2, 8), "resolvers"),
    ] {
        let told = why(&with(change), &running(HaproxyVersion::new(version.0, version.1)));
        assert!(told.contains(expected), "{told}");
    }
    let on_2_8 = plan(&with(&|line| line.cookie = Some("c".into())), &running(HaproxyVersion::new(2, 8))).unwrap();
    assert!(matches!(on_2_8, Plan::Commands(_)));
    let mut tls = one.clone();
    tls.line.tls = ServerTls::Unverified;
    assert!(why(&wanted(vec![tls.clone()]), &running(V)).contains("other TLS settings"));
    let mut other = one.clone();
    other.line.id = 9;
    assert!(why(&wanted(vec![other]), &running(V)).contains("another id"));
    let mut slower = one.clone();
    slower.check_times.1 = 9;
    let known = running(V).with_applied(&wanted(vec![one.clone()]));
    assert!(why(&wanted(vec![slower]), &known).contains("the times of its checks"));
    let mut fixed = with(&|_| {});
    fixed.backends[0].fixed = true;
    assert!(why(&fixed, &running(V)).contains("algorithm"));
    let elsewhere = Wanted::new(vec![WantedBackend::new("pages", vec![one.clone()])]);
    assert!(why(&elsewhere, &running(V)).contains("the backend pages is not there"));
    let unknown = wanted(vec![one]).with_pins(PinMap::new("/no.map", "rooms"));
    assert!(why(&unknown, &running(V)).contains("/no.map"));
    assert!(plan(&wanted(vec![server(1, 80, 1, Drain)]), &running(V)).unwrap().to_string().contains("state drain"));
}

#[test]
fn what_cannot_be_wanted_is_refused() {
    use AdminState::{Maint, Ready};
    let running = model(&[(1, 80, Ready)]).running(V, &[]);
    let refused = |wanted: &Wanted| plan(wanted, &running).unwrap_err();
    let one = server(1, 80, 1, Ready);
    assert!(matches!(refused(&wanted(vec![one.clone(), one.clone()])), PlanError::Twice { .. }));
    let mut same = server(1, 80, 1, Ready);
    same.line.name = "s2".into();
    assert!(matches!(refused(&wanted(vec![same])), PlanError::IdTaken { id: 1, .. }));
    let pins = |server: &str| PinMap::new(FILE, "rooms").with_pin("x", server);
    assert!(matches!(refused(&wanted(vec![one.clone()]).with_pins(pins("s7"))), PlanError::PinAstray { .. }));
    let away = wanted(vec![server(1, 80, 1, Maint)]).with_pins(pins("s1"));
    assert!(matches!(refused(&away), PlanError::PinAstray { .. }));
    assert!(matches!(refused(&wanted(vec![server(1, 80, 300, Ready)])), PlanError::Command(_)));
    assert!(matches!(refused(&wanted(vec![one, server(2, 80, 300, Ready)])), PlanError::Command(_)));
}

#[test]
fn many_pins_are_replaced_in_one_step() {
    let mut before = model(&[(1, 80, AdminState::Ready)]);
    before.map.insert("old".into(), "s1".into());
    let pins = (0..500).fold(PinMap::new(FILE, "rooms"), |map, n| map.with_pin(&format!("r {n}"), "s1"));
    let wanted = wanted(vec![server(1, 80, 1, AdminState::Ready)]).with_pins(pins);
    let done = commands(&wanted, &before.running(V, &[]));
    assert_eq!((done.steps().len(), done.moved().len()), (1, 501));
    let mut now = before.clone();
    now.run(&done.steps()[0].action);
    assert_eq!(now.map, wanted.pins[0].entries);
    now.run(&done.steps()[0].undo[0]);
    assert_eq!(now, before);
    let text = plan(&wanted, &before.running(V, &[])).unwrap().to_string();
    assert!(text.contains("replace map /etc/lb/p.map with 500 entries") && text.contains("and 481 more rooms"));
}
