//! Server lines as commands: what can be added and changed at run time, and what cannot.

use std::net::{IpAddr, SocketAddr};

use crate::HaproxyVersion;
use crate::render::{ServerLine, ServerTls};
use crate::runtime::{AddServer, Command, CommandError, ServerName, ServerState, WeightChange};

use super::plan::Action;
use super::wanted::WantedServer;

/// Why a line is no command: a reload does it, or nothing does.
pub(super) enum Hurdle {
    Reload(String),
    Wrong(CommandError),
}

impl From<CommandError> for Hurdle {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::TooOld { .. } => Self::Reload(error.to_string()),
            other => Self::Wrong(other),
        }
    }
}

/// The commands that add a server, without letting it work, and those that start its checks: each with why and undo.
pub(super) fn added(
    name: &ServerName,
    wanted: &WantedServer,
    version: HaproxyVersion,
) -> Result<Vec<(Command, &'static str, Action)>, Hurdle> {
    let line = &wanted.line;
    let cannot = |what: &str| Err(Hurdle::Reload(format!("{name} has {what}, which no server added at run time may")));
    let Ok(ip) = line.host.parse::<IpAddr>() else { return cannot("a name for its address") };
    if line.resolvers.is_some() {
        return cannot("resolvers");
    }
    let mut add = AddServer::new(name.clone(), SocketAddr::new(ip, line.port), line.id);
    if let Some(weight) = line.weight {
        Command::set_weight(name, WeightChange::Absolute(weight))?;
        add = add.weight(weight);
    }
    if let Some(connections) = line.max_connections {
        add = add.maxconn(connections);
    }
    if let Some(cookie) = &line.cookie {
        add = add.cookie(cookie);
    }
    if line.check {
        let (every, fall, rise) = wanted.check_times;
        add = add.check(every).rise_fall(rise.max(1).into(), fall.max(1).into());
    }
    add = match &line.tls {
        ServerTls::None => add,
        ServerTls::Unverified => add.tls(None),
        ServerTls::Verified { ca_file, name } => {
            let sni = name.as_deref().unwrap_or(&line.host);
            let add = add.tls(Some(ca_file));
            if sni.parse::<IpAddr>().is_ok() {
                add
            } else {
                let words = ["sni", &format!("str({sni})"), "check-sni", sni, "verifyhost", sni];
                words.iter().fold(add, |add, word| add.word(word))
            }
        }
    };
    if let Some(agent) = &line.agent {
        if agent.send.is_some() {
            return cannot("a line for its agent, whose end");
        }
        add = add.agent_check(agent.port, agent.every);
        if let Some(host) = &agent.host {
            add = add.word("agent-addr").word(host);
        }
    }
    if line.backup {
        add = add.backup();
    }
    if line.send_proxy {
        add = add.send_proxy_v2();
    }
    let first = Command::add_server(&add, version)?;
    let mut out = vec![(first, "it is not there", Action::Delete(name.clone()))];
    let mut start = |on: Command, off: Command, why| out.push((on, why, Action::Command(off)));
    if line.check {
        let why = "checks of a server added at run time do not begin of themselves";
        start(Command::enable_health(name, true), Command::enable_health(name, false), why);
    }
    if line.agent.is_some() {
        let why = "nor does its agent";
        start(Command::enable_agent(name, true), Command::enable_agent(name, false), why);
    }
    Ok(out)
}

/// What brings a deleted server back, in maintenance.
pub(super) fn restored(
    name: &ServerName,
    state: &ServerState,
    known: Option<&WantedServer>,
    version: HaproxyVersion,
) -> Result<Vec<Action>, Hurdle> {
    let cannot = |what: &str| Err(Hurdle::Reload(format!("{name} has {what}: deleted, it could not be brought back")));
    let Some(ip) = state.address.filter(|_| state.fqdn.is_none()) else { return cannot("a name for its address") };
    let mut wanted = match known {
        Some(known) => known.clone(),
        None if state.uses_ssl => return cannot("TLS settings that are not known"),
        None if state.has_agent() => return cannot("an agent whose settings are not known"),
        None => WantedServer::new(ServerLine::new(state.id, name.server(), "", 0)),
    };
    let line = &mut wanted.line;
    (line.host, line.port, line.id) = (ip.to_string(), state.port, state.id);
    line.check = state.is_checked();
    let initial = u16::try_from(state.initial_weight).unwrap_or(u16::MAX);
    line.weight = Some(initial);
    let mut out = Vec::new();
    for (command, ..) in added(name, &wanted, version)? {
        // Checks that were paused stay so; an agent is started where its pause is undone.
        let skipped = command == Command::enable_agent(name, true)
            || (state.check & 4 == 0 && command == Command::enable_health(name, true));
        if !skipped {
            out.push(Action::Command(command));
        }
    }
    if state.weight != state.initial_weight {
        out.push(Action::Command(weight(name, state.weight)?));
    }
    Ok(out)
}

/// Sets a weight.
pub(super) fn weight(name: &ServerName, weight: u32) -> Result<Command, CommandError> {
    let weight = u16::try_from(weight).unwrap_or(u16::MAX);
    Command::set_weight(name, WeightChange::Absolute(weight))
}

/// The settings that only a reload changes, if any differ.
pub(super) fn hidden(known: &WantedServer, wanted: &WantedServer) -> Vec<&'static str> {
    let (a, b) = (&known.line, &wanted.line);
    let times = a.check && b.check && known.check_times != wanted.check_times;
    let all = [
        (times, "the times of its checks"),
        (a.cookie != b.cookie, "its cookie"),
        (a.tls != b.tls, "its TLS settings"),
        (a.agent != b.agent, "its agent"),
        (a.resolvers != b.resolvers, "its resolvers"),
        (a.backup != b.backup, "its being a backup"),
        (a.send_proxy != b.send_proxy, "its PROXY protocol"),
    ];
    all.into_iter().filter(|(differs, _)| *differs).map(|(_, what)| what).collect()
}
