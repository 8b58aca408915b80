//! The end of a drain: rooms that nobody uses any more are forgotten, in the store and in every stick table.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::render::unpin_key;
use crate::runtime::{Client, Command, RuntimeError, TableFilter, TableKey};

use super::book::Wish;
use super::cycle::{Inner, wall_ms};
use super::event::ControlEvent;
use super::options::ControlOptions;
use super::state::State;
use super::status::Order;

/// How many entries of a table are cleared in one round.
const AT_ONCE: usize = 1000;

impl State {
    /// Servers that drain, everywhere, with nobody at them; none while a process or the store is silent.
    fn deserted(&self) -> Vec<Arc<str>> {
        let silent = self.processes.iter().any(|watched| watched.lost.is_some() || watched.look.is_none());
        if silent || self.store.lost.is_some() || !self.store.synced {
            return Vec::new();
        }
        let obeys = |name: &str| {
            self.looks()
                .filter_map(|look| look.servers.get(name))
                .all(|seen| seen.draining || !seen.standing.is_usable())
        };
        let drained = self.orders.iter().filter(|(_, order)| **order == Order::Drain).map(|(name, _)| name);
        drained.filter(|name| obeys(name) && self.sessions(name) == 0).cloned().collect()
    }

    /// Rooms to be forgotten.
    fn forgotten(&self, options: &ControlOptions, now_ms: u64) -> Vec<Wish> {
        let deserted = self.deserted();
        if deserted.is_empty() {
            return Vec::new();
        }
        let old = |used_ms: u64| is_idle(used_ms, options, now_ms);
        // All or none: while one room is in use, people of another may be between two requests.
        let used = |name: &str| {
            let entries = self.processes.iter().filter_map(|watched| watched.entries.get(name)).flatten();
            let rooms = self.book.rooms().values().filter(|known| known.server() == name);
            entries.map(|(_, used_ms)| *used_ms).chain(rooms.map(|known| known.used_ms)).any(|used_ms| !old(used_ms))
        };
        let leaving: BTreeSet<&str> = deserted.iter().map(|name| &**name).filter(|name| !used(name)).collect();
        let theirs = self.book.rooms().iter().filter(|(_, known)| leaving.contains(known.server()));
        theirs.map(|(room, known)| Wish::Release { room: room.clone(), seen: known.binding.clone() }).collect()
    }

    /// Entries of a process's table to be cleared: the store knows nothing of them any more.
    fn left_over(&self, at: usize, options: &ControlOptions, now_ms: u64) -> Vec<(Arc<str>, u64)> {
        let Some(watched) = self.processes.get(at) else { return Vec::new() };
        let deserted = self.deserted();
        let entries = deserted.iter().filter_map(|name| Some((name, watched.entries.get(name)?)));
        let old = entries.flat_map(|(name, entries)| {
            entries.iter().filter(move |(room, used_ms)| {
                let held = self.book.get(room).is_some_and(|known| *known.server() == **name);
                !held && is_idle(*used_ms, options, now_ms)
            })
        });
        old.take(AT_ONCE).cloned().collect()
    }

    /// How many rooms the stick tables have on a server under an order.
    pub(super) fn entries_at(&self, server: &str) -> usize {
        let all = self.processes.iter().filter_map(|watched| watched.entries.get(server)).flatten();
        all.map(|(room, _)| room).collect::<BTreeSet<_>>().len()
    }
}

fn is_idle(used_ms: u64, options: &ControlOptions, now_ms: u64) -> bool {
    u128::from(now_ms.saturating_sub(used_ms)) >= options.idle.as_millis()
}

/// What the store is to forget.
pub(super) fn forgotten(inner: &Inner) -> Vec<Wish> {
    inner.state().forgotten(&inner.options, wall_ms())
}

/// Clears what is left in the tables.
pub(super) async fn clear(inner: &Arc<Inner>) {
    let options = &inner.options;
    let table = options.table.as_deref().unwrap_or(&options.backend);
    if table.is_empty() {
        return;
    }
    for (at, process) in inner.processes.iter().enumerate() {
        let entries = inner.state().left_over(at, options, wall_ms());
        for (room, _) in &entries {
            if let Err(error) = clear_one(&process.client, table, room, options).await {
                // The next round tries again, or finds another process.
                if !error.is_retryable() {
                    let text = format!("{}: {room} cannot be cleared from {table}: {error}", process.name);
                    inner.state().events.push(ControlEvent::Trouble { text });
                }
                break;
            }
        }
    }
}

/// Unless somebody has come since the table was read.
async fn clear_one(client: &Client, table: &str, room: &str, options: &ControlOptions) -> Result<(), RuntimeError> {
    let Some(room) = unpin_key(room) else { return Ok(()) };
    let key = TableKey::Text(room);
    let Some(entry) = client.table_entry(table, &key).await? else { return Ok(()) };
    if options.ttl.saturating_sub(entry.expires) < options.idle {
        return Ok(());
    }
    client.order(&Command::clear_table(table, &TableFilter::Key(key))?).await
}
