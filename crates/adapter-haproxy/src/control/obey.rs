//! Orders about servers: which are to be carried out, and whose maintenance is whose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use balancer_core::Binding;

use crate::runtime::{AdminState, ServerName};

use super::event::ControlEvent;
use super::order::done_key;
use super::state::{State, Watched};
use super::status::Order;
use super::view::Look;

impl State {
    /// The orders of the store, and the maintenance that they have brought.
    pub(super) fn ordered(&mut self, orders: BTreeMap<Arc<str>, Order>, done: BTreeMap<String, Binding>) {
        self.done = done;
        let names: BTreeSet<Arc<str>> = self.orders.keys().chain(orders.keys()).cloned().collect();
        for name in names {
            let order = orders.get(&name).copied();
            if self.orders.get(&name).copied() != order {
                self.events.push(ControlEvent::Ordered { server: name.to_string(), order });
            }
        }
        self.orders = orders;
    }

    /// What a process is to be told of servers under orders: the command, and what to remember once it is done.
    pub(super) fn orders_for(&mut self, at: usize) -> Vec<(ServerName, AdminState)> {
        let mut out = Vec::new();
        let counts = self.book.counts();
        let settled = self.store.synced && self.store.lost.is_none();
        let Some(watched) = self.processes.get_mut(at).filter(|watched| watched.lost.is_none()) else { return out };
        let Some(look) = &watched.look else { return out };
        let generation = look.process.generation;
        // Servers that were taken out of the process.
        let gone = |(key, _): &(&String, &Binding)| {
            let name = key.strip_prefix(&done_key(&watched.name, "")).and_then(|name| name.parse::<ServerName>().ok());
            name.is_some_and(|name| {
                !look.ordered.contains_key(&name) && look.ordered.keys().any(|it| it.backend() == name.backend())
            })
        };
        self.undone.extend(self.done.iter().filter(gone).map(|(key, seen)| (key.clone(), seen.clone())));
        for (name, (maint, drain)) in &look.ordered {
            let order = self.orders.get(name.server());
            let key = done_key(&watched.name, name);
            let done = self.done.get(&key);
            let given = watched.ordered.get(name).copied().filter(|given| given.0 == generation);
            // What another controller did, or this one before it was started anew, is ours too.
            let given = if done.is_some() && *maint { Some((generation, AdminState::Maint, true)) } else { given };
            let wanted = match order {
                Some(Order::Maint) if counts.get(name.server()).copied().unwrap_or(0) == 0 && settled => {
                    AdminState::Maint
                }
                Some(_) => AdminState::Drain,
                None => {
                    // An order that ended: what we did is undone, unless somebody has changed it since.
                    if let Some((_, state, true)) = given
                        && ((state == AdminState::Maint && *maint) || (state == AdminState::Drain && *drain && !*maint))
                    {
                        out.push((name.clone(), AdminState::Ready));
                    } else {
                        watched.ordered.remove(name);
                        self.undone.extend(done.map(|seen| (key, seen.clone())));
                    }
                    continue;
                }
            };
            let is_so = match wanted {
                AdminState::Maint => *maint,
                _ => *drain || *maint,
            };
            match given {
                // Given once; if somebody undid it, that is an order too, and what comes after it is theirs.
                Some((_, state, ours)) if state == wanted => {
                    watched.ordered.insert(name.clone(), (generation, state, ours && is_so));
                    if let Some(seen) = done.filter(|_| !is_so) {
                        self.undone.insert(key, seen.clone());
                    }
                }
                _ if is_so && *maint => drop(watched.ordered.insert(name.clone(), (generation, wanted, false))),
                _ if is_so => drop(watched.ordered.insert(name.clone(), (generation, wanted, true))),
                _ => out.push((name.clone(), wanted)),
            }
        }
        out
    }

    /// Whether the maintenance of a server is somebody else's order, in some process; which.
    pub(super) fn foreign(&self, server: &str) -> Option<&str> {
        let theirs = |watched: &Watched, look: &Look, name: &ServerName| match watched.ordered.get(name) {
            Some((generation, _, true)) if *generation == look.process.generation => false,
            _ => !self.done.contains_key(&done_key(&watched.name, name)),
        };
        let foreign = self.processes.iter().find(|watched| {
            let Some(look) = &watched.look else { return false };
            look.ordered
                .iter()
                .any(|(name, (maint, _))| name.server() == server && *maint && theirs(watched, look, name))
        });
        foreign.map(|watched| watched.name.as_str())
    }

    /// A process took an order.
    pub(super) fn order_given(&mut self, at: usize, name: ServerName, state: AdminState) {
        let Some(watched) = self.processes.get_mut(at) else { return };
        let Some(look) = &mut watched.look else { return };
        look.ordered.insert(name.clone(), (state == AdminState::Maint, state == AdminState::Drain));
        if state == AdminState::Ready {
            let key = done_key(&watched.name, &name);
            if let Some(seen) = self.done.remove(&key) {
                self.undone.insert(key, seen);
            }
            watched.ordered.remove(&name);
        } else {
            watched.ordered.insert(name, (look.process.generation, state, true));
        }
    }

    /// Why a process does not take its orders, if so; told once for each reason.
    pub(super) fn order_refused(&mut self, at: usize, refused: Option<String>) {
        let Some(watched) = self.processes.get_mut(at) else { return };
        if let Some(text) = refused.clone().filter(|text| watched.refused.as_ref() != Some(text)) {
            self.events.push(ControlEvent::Trouble { text });
        }
        watched.refused = refused;
    }
}
