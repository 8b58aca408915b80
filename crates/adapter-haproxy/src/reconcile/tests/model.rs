//! What HAProxy makes of a plan's commands.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::super::{Action, Running};
use crate::HaproxyVersion;
use crate::runtime::{AdminState, MapLine, ServerName, ServerState};

pub(super) const FILE: &str = "/etc/lb/p.map";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    id: u32,
    pub(super) port: u16,
    pub(super) weight: u16,
    initial: u16,
    pub(super) state: AdminState,
    pub(super) check_on: bool,
}

impl Server {
    pub(super) fn new(id: u32, port: u16, weight: u16, state: AdminState) -> Self {
        Self { id, port, weight, initial: 1, state, check_on: true }
    }
}

/// The backend `rooms` and its map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) servers: BTreeMap<String, Server>,
    pub(super) map: BTreeMap<String, String>,
}

impl Model {
    /// Whether a pin to it is followed.
    pub(super) fn is_there(&self, server: &str) -> bool {
        self.servers.get(server).is_some_and(|server| server.state != AdminState::Maint)
    }

    pub(super) fn running(&self, version: HaproxyVersion, held: &[ServerName]) -> Running {
        let states = self.servers.iter().map(|(name, server)| server.state(name)).collect();
        let line = |(key, value): (&String, &String)| MapLine {
            reference: "0x1".into(),
            key: key.clone(),
            value: value.clone(),
        };
        Running::new(version, states)
            .with_backends(["rooms".to_owned()])
            .with_held(held.iter().cloned())
            .with_map(FILE, self.map.iter().map(line))
    }

    pub(super) fn run(&mut self, action: &Action) {
        match action {
            Action::Command(command) => self.command(command.line(), command.payload()),
            Action::ReplaceMap { map, entries } => {
                assert_eq!(map, FILE);
                self.map = entries.iter().map(|e| (e.key().to_owned(), e.value().to_owned())).collect();
            }
            Action::AwaitIdle(server) => assert!(!self.is_there(server.server())),
            Action::Delete(server) => {
                let gone = self.servers.remove(server.server()).unwrap();
                assert_eq!(gone.state, AdminState::Maint, "only servers in maintenance can be deleted");
            }
        }
    }

    fn command(&mut self, line: &str, payload: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let name = words[2].strip_prefix("rooms/").unwrap_or_default().to_owned();
        let server = self.servers.get_mut(&name);
        match (words[0], words[1]) {
            ("add", "server") => {
                assert!(server.is_none());
                let at: SocketAddr = words[3].parse().unwrap();
                let of = |word| words.iter().position(|w| *w == word).map(|at| words[at + 1].parse::<u16>().unwrap());
                let weight = of("weight").unwrap_or(1);
                let new = Server {
                    id: of("id").unwrap().into(),
                    port: at.port(),
                    weight,
                    initial: weight,
                    state: AdminState::Maint,
                    check_on: false,
                };
                self.servers.insert(name, new);
            }
            ("enable" | "disable", "health") => server.unwrap().check_on = words[0] == "enable",
            ("set", "server") => {
                let server = server.unwrap();
                match words[3] {
                    "weight" => server.weight = words[4].parse().unwrap(),
                    "addr" => server.port = words[6].parse().unwrap(),
                    "state" => {
                        server.state = match words[4] {
                            "ready" => AdminState::Ready,
                            "drain" => AdminState::Drain,
                            "maint" => AdminState::Maint,
                            other => panic!("{other}"),
                        }
                    }
                    _ => panic!("{line}"),
                }
            }
            ("set", "map") => *self.map.get_mut(words[3]).unwrap() = words[4].to_owned(),
            ("add", "map") => {
                let (key, value) = payload.trim_end().split_once(' ').unwrap();
                assert!(self.map.insert(key.to_owned(), value.to_owned()).is_none());
            }
            ("del", "map") => assert!(self.map.remove(words[3]).is_some()),
            _ => panic!("{line}"),
        }
    }
}

impl Server {
    fn state(&self, name: &str) -> ServerState {
        ServerState {
            backend_id: 3,
            backend: "rooms".into(),
            id: self.id,
            name: name.into(),
            address: Some("192.0.2.1".parse().unwrap()),
            operation: if self.state == AdminState::Maint { 0 } else { 2 },
            admin: match self.state {
                AdminState::Ready => 0,
                AdminState::Drain => 8,
                AdminState::Maint => 1,
            },
            weight: self.weight.into(),
            initial_weight: self.initial.into(),
            since_change: Duration::ZERO,
            check: if self.check_on { 6 } else { 2 },
            agent: 0,
            has_forced_id: true,
            fqdn: None,
            port: self.port,
            uses_ssl: false,
            check_port: 0,
            check_address: None,
            agent_address: None,
            agent_port: 0,
        }
    }
}
