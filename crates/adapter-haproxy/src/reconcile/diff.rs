//! Wanted against running.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::render::ServerTls;
use crate::runtime::{AdminState, Command, ServerName, ServerState};

use super::known::{self, Hurdle};
use super::pins;
use super::plan::{Action, Commands, Kept, Plan, PlanError, Step};
use super::running::{Now, Running};
use super::wanted::{Wanted, WantedBackend, WantedServer};

/// Compares what is wanted with what is running. The same two always give the same plan; once it is applied, or the
/// rendered file is loaded, another one is empty but for what is kept.
///
/// # Errors
///
/// [`PlanError`] if what is wanted cannot be, by whatever way: something twice, an id that is taken, a pin to a server
/// that will not be there.
pub fn plan(wanted: &Wanted, running: &Running) -> Result<Plan, PlanError> {
    check(wanted)?;
    let mut work = Work { running, pinned: pins::targets(wanted)?, ..Work::new(running) };
    for backend in &wanted.backends {
        work.backend(backend)?;
    }
    let mut moved = Vec::new();
    let mut pin_steps = Vec::new();
    for map in &wanted.pins {
        match running.maps.get(&map.file) {
            Some(now) => pin_steps.extend(pins::changes(map, now, &mut moved)?),
            None => work.reload.push(format!("the map {} is not loaded", map.file)),
        }
    }
    let Work { reload, kept, held, meanwhile, adds, changes, late, gone, .. } = work;
    if !reload.is_empty() {
        return Ok(Plan::Reload { why: reload, kept, moved });
    }
    let steps = [adds, changes, pin_steps, late, gone].concat();
    Ok(Plan::Commands(Commands { steps, kept, moved, held, meanwhile }))
}

fn check(wanted: &Wanted) -> Result<(), PlanError> {
    let mut backends = BTreeSet::new();
    for backend in &wanted.backends {
        let twice = |what, name: String| PlanError::Twice { what, name };
        if !backends.insert(&backend.name) {
            return Err(twice("backend", backend.name.clone()));
        }
        let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for WantedServer { line, .. } in &backend.servers {
            let full = || format!("{}/{}", backend.name, line.name);
            if !names.insert(&line.name) {
                return Err(twice("server", full()));
            }
            if !ids.insert(line.id) {
                return Err(twice("server id", format!("{} of {}", line.id, full())));
            }
        }
    }
    Ok(())
}

struct Work<'a> {
    running: &'a Running,
    pinned: BTreeSet<ServerName>,
    reload: Vec<String>,
    kept: Vec<Kept>,
    held: BTreeSet<ServerName>,
    meanwhile: BTreeSet<ServerName>,
    adds: Vec<Step>,
    changes: Vec<Step>,
    late: Vec<Step>,
    gone: Vec<Step>,
}

fn step(action: Command, why: impl Into<String>, undo: Command) -> Step {
    Step { action: Action::Command(action), why: why.into(), undo: vec![Action::Command(undo)] }
}

fn word(state: AdminState) -> &'static str {
    match state {
        AdminState::Ready => "at work",
        AdminState::Drain => "drained",
        AdminState::Maint => "in maintenance",
    }
}

impl<'a> Work<'a> {
    fn new(running: &'a Running) -> Self {
        Self {
            running,
            pinned: BTreeSet::new(),
            reload: Vec::new(),
            kept: Vec::new(),
            held: running.held.clone(),
            meanwhile: running.held.clone(),
            adds: Vec::new(),
            changes: Vec::new(),
            late: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// Takes a hurdle for a reason to reload, or for an error.
    fn over<T>(&mut self, result: Result<T, Hurdle>) -> Result<Option<T>, PlanError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Hurdle::Reload(why)) => {
                self.reload.push(why);
                Ok(None)
            }
            Err(Hurdle::Wrong(error)) => Err(error.into()),
        }
    }

    fn keep(&mut self, name: &ServerName, why: impl Into<String>) {
        self.kept.push(Kept { server: name.to_string(), why: why.into() });
    }

    fn hold(&mut self, name: &ServerName, state: AdminState) {
        if state == AdminState::Ready {
            self.held.remove(name);
        } else {
            self.held.insert(name.clone());
        }
        self.meanwhile.insert(name.clone());
    }

    fn backend(&mut self, backend: &WantedBackend) -> Result<(), PlanError> {
        if !self.running.backends.contains(&backend.name) {
            self.reload.push(format!("the backend {} is not there", backend.name));
            return Ok(());
        }
        let now: BTreeMap<&str, &ServerState> = self
            .running
            .servers
            .iter()
            .filter(|s| s.backend == backend.name)
            .map(|server| (server.name.as_str(), server))
            .collect();
        // Who takes work now and shall go on to: one of them can be away for a moment.
        let at_work = backend.servers.iter().filter(|wanted| {
            let state = now.get(wanted.line.name.as_str());
            wanted.state == AdminState::Ready && state.is_some_and(|s| Now::of(s) == Now::Ready && s.is_running())
        });
        let at_work: BTreeSet<&str> = at_work.map(|wanted| wanted.line.name.as_str()).collect();
        for wanted in &backend.servers {
            let name = ServerName::new(&backend.name, &wanted.line.name)?;
            let Some(state) = now.get(name.server()) else {
                if let Some(other) = now.values().find(|other| other.id == wanted.line.id) {
                    let (server, id, other) = (name.to_string(), wanted.line.id, other.name.clone());
                    return Err(PlanError::IdTaken { server, id, other });
                }
                self.add(&name, wanted, backend)?;
                continue;
            };
            let alone = at_work.iter().all(|other| *other == name.server());
            self.change(&name, wanted, state, backend, alone)?;
        }
        for (server, state) in &now {
            if !backend.servers.iter().any(|wanted| wanted.line.name == *server) {
                self.remove(&ServerName::new(&backend.name, server)?, state, backend)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &ServerName, wanted: &WantedServer, backend: &WantedBackend) -> Result<(), PlanError> {
        if backend.fixed {
            self.reload.push(format!("{name} is not there, and the algorithm of its backend takes none at run time"));
            return Ok(());
        }
        let result = known::added(name, wanted, self.running.version);
        let Some(commands) = self.over(result)? else { return Ok(()) };
        for (command, why, undo) in commands {
            self.adds.push(Step { action: Action::Command(command), why: why.to_owned(), undo: vec![undo] });
        }
        if wanted.state != AdminState::Maint {
            let undo = Command::set_state(name, AdminState::Maint);
            let why = "a server added at run time begins in maintenance";
            self.adds.push(step(Command::set_state(name, wanted.state), why, undo));
        }
        self.hold(name, wanted.state);
        Ok(())
    }

    fn change(
        &mut self,
        name: &ServerName,
        wanted: &WantedServer,
        state: &ServerState,
        backend: &WantedBackend,
        alone: bool,
    ) -> Result<(), PlanError> {
        let now = Now::of(state);
        let ours = self.running.held.contains(name);
        match (wanted.state, now) {
            (AdminState::Maint, _) => {}
            (_, Now::Imposed(why)) => {
                self.keep(name, why);
                return Ok(());
            }
            (_, Now::Maint) if !ours => {
                self.keep(name, "somebody else put it in maintenance; `state ready` ends it");
                return Ok(());
            }
            (AdminState::Ready, Now::Drain) if !ours => {
                self.keep(name, "somebody else drains it; `state ready` ends it");
                return Ok(());
            }
            _ => {}
        }
        self.settings(name, wanted, state, backend)?;
        let from = match now {
            Now::Ready => AdminState::Ready,
            Now::Drain => AdminState::Drain,
            Now::Maint | Now::Imposed(_) => AdminState::Maint,
        };
        let to = wanted.state;
        let set = |state| Command::set_state(name, state);
        let order = |from, to| step(set(to), format!("it is {}, and is to be {}", word(from), word(to)), set(from));
        let address = self.address(name, wanted, state);
        if from != to {
            self.hold(name, to);
        }
        match address {
            None if from == to => {}
            // More available: early. Less: after the pins have gone elsewhere.
            None if from == AdminState::Maint || to == AdminState::Ready => self.changes.push(order(from, to)),
            None => self.late.push(order(from, to)),
            Some(address) if from == AdminState::Maint => {
                self.changes.push(address);
                if to != from {
                    self.changes.push(order(from, to));
                }
            }
            Some(address) if to == AdminState::Maint => self.late.extend([order(from, to), address]),
            // In maintenance its rooms would go elsewhere, or nowhere.
            Some(address) if alone || self.pinned.contains(name) => {
                self.changes.push(address);
                if to != from {
                    let list = if to == AdminState::Ready { &mut self.changes } else { &mut self.late };
                    list.push(order(from, to));
                }
            }
            Some(address) => {
                self.meanwhile.insert(name.clone());
                let why = "nobody is to be sent to it while it moves";
                self.late.push(step(set(AdminState::Maint), why, set(from)));
                self.late.push(address);
                let why = format!("it has moved, and is to be {}", word(to));
                self.late.push(step(set(to), why, set(AdminState::Maint)));
            }
        }
        Ok(())
    }

    /// The move to another address, if it is to move.
    fn address(&mut self, name: &ServerName, wanted: &WantedServer, state: &ServerState) -> Option<Step> {
        let line = &wanted.line;
        match (line.host.parse::<IpAddr>(), &state.fqdn, state.address) {
            (Ok(ip), None, Some(now)) => {
                if (ip, line.port) == (now, state.port) {
                    return None;
                }
                let why = format!("it is at {now} port {}", state.port);
                let to = Command::set_address(name, ip, Some(line.port));
                Some(step(to, why, Command::set_address(name, now, Some(state.port))))
            }
            (Err(_), Some(fqdn), _) if *fqdn == line.host && state.port == line.port => None,
            _ => {
                self.reload
                    .push(format!("{name} is to be at {} port {}, by name or instead of a name", line.host, line.port));
                None
            }
        }
    }

    /// What a server has beside state and address.
    fn settings(
        &mut self,
        name: &ServerName,
        wanted: &WantedServer,
        state: &ServerState,
        backend: &WantedBackend,
    ) -> Result<(), PlanError> {
        let line = &wanted.line;
        let tls = line.tls != ServerTls::None;
        for (differs, what) in [
            (state.id != line.id, "another id"),
            (state.uses_ssl != tls, "other TLS settings"),
            (line.check && !state.is_checked(), "checks"),
            (line.agent.is_some() != state.has_agent(), "another agent"),
        ] {
            if differs {
                self.reload.push(format!("{name} is to have {what}"));
            }
        }
        if let Some(known) = self.running.known.get(name) {
            for what in known::hidden(known, wanted) {
                self.reload.push(format!("{name} is to have {what} changed"));
            }
            if known.line.max_connections != line.max_connections {
                let set = |line: Option<u32>| Command::set_maxconn(name, line.unwrap_or(0));
                let why = "it is to take another number of connections";
                self.changes.push(step(set(line.max_connections), why, set(known.line.max_connections)));
            }
        }
        let health = |on| Command::enable_health(name, on);
        if line.check && state.check & 6 == 2 {
            self.changes.push(step(health(true), "its checks are switched off", health(false)));
        } else if !line.check && state.check & 6 == 6 {
            self.changes.push(step(health(false), "it is not to be checked", health(true)));
        }
        // An agent's word on the weight is final.
        let weight = u32::from(line.weight.unwrap_or(1));
        if line.agent.is_none() && weight != state.weight {
            if backend.fixed && !(weight == state.initial_weight || weight == 0) {
                self.reload.push(format!("the algorithm of {} takes no weight between", backend.name));
            }
            let undo = known::weight(name, state.weight)?;
            let why = format!("its weight is {}", state.weight);
            self.changes.push(step(known::weight(name, weight)?, why, undo));
        }
        Ok(())
    }

    fn remove(&mut self, name: &ServerName, state: &ServerState, backend: &WantedBackend) -> Result<(), PlanError> {
        let now = Now::of(state);
        if now == Now::Maint && !self.running.held.contains(name) {
            self.keep(name, "it is not wanted, but somebody else put it in maintenance; `del server` deletes it");
            return Ok(());
        }
        if backend.fixed {
            self.reload
                .push(format!("{name} is not wanted, and the algorithm of its backend lets none go at run time"));
            return Ok(());
        }
        let restored = known::restored(name, state, self.running.known.get(name), self.running.version);
        let Some(undo) = self.over(restored)? else { return Ok(()) };
        let set = |state| Command::set_state(name, state);
        let before = match now {
            Now::Ready => Some(AdminState::Ready),
            Now::Drain => Some(AdminState::Drain),
            // By an order of its own it stays so when what imposes it ends.
            Now::Imposed(_) => Some(AdminState::Ready),
            Now::Maint => None,
        };
        if let Some(before) = before {
            self.late.push(step(set(AdminState::Maint), "it is not wanted: nothing new goes to it", set(before)));
        }
        if state.has_agent() {
            let agent = |on| Command::enable_agent(name, on);
            self.late.push(step(agent(false), "its agent would bring it back", agent(true)));
        }
        let why = "what is under way is to end well".to_owned();
        self.gone.push(Step { action: Action::AwaitIdle(name.clone()), why, undo: Vec::new() });
        self.gone.push(Step { action: Action::Delete(name.clone()), why: "it is not wanted".to_owned(), undo });
        self.held.remove(name);
        self.meanwhile.insert(name.clone());
        Ok(())
    }
}
