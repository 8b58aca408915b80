//! What a controller can be asked and ordered.

use std::sync::Arc;

use balancer_core::{StickError, StickKey};
use serde::Serialize;
use thiserror::Error;
use tokio::time::Instant;

use crate::render::pin_key;
use crate::runtime::TableKey;

use super::book::{Told, Why, Wish};
use super::cycle::{Control, wall_ms};
use super::judge::Verdict;
use super::mode::Mode;
use super::order;
use super::push;
use super::splits::{Gathering, Sighting, Splits};
use super::status::{Moved, Order};
use super::store;

/// Why something was not done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No server of that name.
    #[error("no server is called {name:?}: there are {}", known.join(", "))]
    NoServer {
        /// The name.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// It would undo what somebody else ordered.
    #[error(
        "{server} is in maintenance in {process} by somebody else's order: `set server …/{server} state ready` ends it there"
    )]
    Foreign {
        /// The server.
        server: String,
        /// The process.
        process: String,
    },
    /// No server takes rooms.
    #[error("no server takes rooms now")]
    Nowhere,
    /// The store does not answer, or refuses.
    #[error(transparent)]
    Store(#[from] StickError),
    /// The store does not answer; it was noticed before.
    #[error("the store is lost: {why}")]
    Lost {
        /// Why.
        why: String,
    },
}

/// What one process makes of a room.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RoomInProcess {
    /// The process.
    pub process: String,
    /// The server its map names; none in another mode than [`Mode::Map`].
    pub pin: Option<String>,
    /// The server its table names.
    pub table: Option<String>,
    /// Why it could not be asked.
    pub trouble: Option<String>,
}

/// Where a room is, and why.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RoomReport {
    /// The room.
    pub room: String,
    /// Where its place is written.
    pub mode: Mode,
    /// Its key in map and store.
    pub key: String,
    /// Its server; none if nobody has come yet, or if the store could not be asked and nothing is remembered.
    pub server: Option<String>,
    /// Whether the store was asked.
    pub asked: bool,
    /// What all views of that server come to.
    pub verdict: Option<Verdict>,
    /// Since when, in milliseconds since the epoch.
    pub since_ms: Option<u64>,
    /// Milliseconds since somebody came.
    pub unused_ms: Option<u64>,
    /// What the processes make of it.
    pub processes: Vec<RoomInProcess>,
    /// Where it would go if it were new.
    pub would_go: Option<String>,
    /// Servers that take no new rooms, and why.
    pub excluded: Vec<(String, String)>,
    /// Its moves that are remembered, the latest last.
    pub moves: Vec<Moved>,
    /// In words.
    pub because: String,
}

impl Control {
    fn known(&self, server: &str) -> Result<(), ControlError> {
        let state = self.inner.state();
        if state.servers.contains_key(server) {
            return Ok(());
        }
        let known = state.servers.keys().take(100).map(ToString::to_string).collect();
        Err(ControlError::NoServer { name: server.to_owned(), known })
    }

    /// Orders a server to drain or into maintenance, or ends the order. It is written to the store and carried out in the
    /// next rounds, by every controller: watch [`remaining`](Self::remaining).
    ///
    /// # Errors
    ///
    /// [`ControlError`]. Somebody else's maintenance is not ended.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the order may be given or not; give it again.
    pub async fn order(&self, server: &str, order: Option<Order>) -> Result<(), ControlError> {
        self.known(server)?;
        if order.is_none() {
            // Another controller may just have carried it out.
            store::orders(&self.inner).await;
            if let Some(process) = self.inner.state().foreign(server) {
                return Err(ControlError::Foreign { server: server.to_owned(), process: process.to_owned() });
            }
        }
        order::write(&*self.inner.orders, server, order).await?;
        self.inner.wake();
        Ok(())
    }

    /// Rooms that would move if these servers left, percent-encoded: from there to there, `None` where no server is left.
    pub fn would_move(&self, servers: &[&str]) -> Vec<(String, String, Option<String>)> {
        let state = self.inner.state();
        let mut placer = state.placer_without(&self.inner.options, servers);
        let theirs = state.book.rooms().iter().filter(|(_, known)| servers.contains(&known.server()));
        let mut rooms: Vec<(&Arc<str>, &str)> = theirs.map(|(room, known)| (room, known.server())).collect();
        rooms.sort_unstable();
        let to = rooms.into_iter().map(|(room, from)| {
            let to = placer.choose(room).map(|name| name.to_string());
            (room.to_string(), from.to_owned(), to)
        });
        to.collect()
    }

    /// A place for a room: where it is, or else a new one. With a map it is pinned in every process that answers when this
    /// returns; with another mode it is taught, or found by the agent with the next request.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the room may have its place and HAProxy hears of it in the next round.
    pub async fn place(&self, room: &str) -> Result<String, ControlError> {
        let key: Arc<str> = pin_key(room).into();
        let stick = StickKey::new(key.clone())?;
        let asked = Instant::now();
        if let Some(binding) = self.inner.store.get(&stick, Some(self.inner.options.store_ttl())).await? {
            let told = Told::Bound { room: key.clone(), binding, ours: None };
            self.inner.state().told(told, asked, wall_ms());
        } else {
            let server = {
                let state = self.inner.state();
                state.placer(&self.inner.options).choose(&key)
            };
            let server = server.ok_or(ControlError::Nowhere)?;
            let wish = Wish::Claim { room: key.clone(), server, why: Why::Asked };
            if !store::ask(&self.inner, &[wish]).await {
                let why = self.inner.state().store.lost.as_ref().map(|(_, why)| why.clone()).unwrap_or_default();
                return Err(ControlError::Lost { why });
            }
        }
        push::push(&self.inner).await;
        self.inner.tell();
        let state = self.inner.state();
        state.book.get(&key).map(|known| known.server().to_owned()).ok_or(ControlError::Nowhere)
    }

    /// Where a room is, and why.
    ///
    /// # Errors
    ///
    /// [`ControlError::Store`] for a room no store can have. A store or a process that does not answer is no error: the
    /// report says so.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn explain(&self, room: &str) -> Result<RoomReport, ControlError> {
        let key = pin_key(room);
        let stick = StickKey::new(key.clone())?;
        let asked = Instant::now();
        let stored = self.inner.store.get(&stick, None).await;
        let mut processes = Vec::new();
        for process in &self.inner.processes {
            processes.push(self.in_process(process, room, &key).await);
        }
        let mut state = self.inner.state();
        if let Ok(Some(binding)) = &stored {
            let told = Told::Bound { room: key.as_str().into(), binding: binding.clone(), ours: None };
            state.told(told, asked, wall_ms());
        }
        let known = state.book.get(&key);
        let server = known.map(|known| known.server().to_owned());
        let verdict = server.as_deref().and_then(|server| state.servers.get(server)).map(|life| life.verdict);
        let since_ms = known.map(|known| known.binding.stamp);
        let unused_ms = known.map(|known| wall_ms().saturating_sub(known.used_ms));
        let moves: Vec<Moved> = state.history.iter().filter(|moved| moved.room == key).cloned().collect();
        let would_go = state.placer(&self.inner.options).choose(&key).map(|name| name.to_string());
        let excluded = state.excluded();
        let mut because = match (&server, moves.last()) {
            (Some(server), Some(last)) if last.to == *server => {
                format!("it moved here from {}: {}", last.from, last.why.as_str())
            }
            (Some(_), _) => "its first people came here, and it stays where it is".to_owned(),
            (None, _) if stored.is_err() => "nothing is remembered".to_owned(),
            (None, _) => "nobody has come yet: HAProxy places it when somebody does".to_owned(),
        };
        match (&stored, state.unready()) {
            (Err(error), _) => because.push_str(&format!("; the store was not asked: {error}")),
            (Ok(_), Some(why)) => because.push_str(&format!("; nothing is in control: {why}")),
            (Ok(_), None) => {}
        }
        let room = room.to_owned();
        Ok(RoomReport {
            room,
            mode: state.mode,
            key,
            server,
            asked: stored.is_ok(),
            verdict,
            since_ms,
            unused_ms,
            processes,
            would_go,
            excluded,
            moves,
            because,
        })
    }

    async fn in_process(&self, process: &super::ControlledProcess, room: &str, key: &str) -> RoomInProcess {
        let options = &self.inner.options;
        let table = options.table.as_deref().unwrap_or(&options.backend);
        let mut report = RoomInProcess { process: process.name.clone(), pin: None, table: None, trouble: None };
        if options.has_map() {
            match process.client.map_lookup(&options.map, key).await {
                Ok(hit) => report.pin = hit.found.map(|(_, value)| value),
                Err(error) => report.trouble = Some(error.to_string()),
            }
        }
        if !table.is_empty() {
            match process.client.table_entry(table, &TableKey::Text(room.to_owned())).await {
                Ok(entry) => {
                    report.table = entry.and_then(|entry| {
                        entry.server_key.or_else(|| entry.server_id.filter(|id| *id > 0).map(|id| format!("id {id}")))
                    });
                }
                Err(error) if error.refusal().is_some() && options.table.is_none() => {}
                Err(error) => report.trouble = Some(error.to_string()),
            }
        }
        report
    }

    /// Rooms that live on two servers now: by the tables and maps of all processes, the store, and what `servers` say
    /// that were asked (server, room as people write it, people).
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn splits(&self, servers: &[(String, String, Option<u64>)]) -> Splits {
        // What is learned now is not lost: it is asked of the store in the next round.
        let wishes = push::learn(&self.inner).await;
        let claims = wishes.into_iter().filter(|wish| matches!(wish, Wish::Claim { .. })).collect::<Vec<_>>();
        let stored = store::ask(&self.inner, &claims).await;
        let mut found = Splits::default();
        let mut gathering = Gathering::default();
        let state = self.inner.state();
        let now = wall_ms();
        let sighting =
            |server: &str, by: String| Sighting { server: server.to_owned(), by, used_ms_ago: None, people: None };
        for (server, room, people) in servers {
            let told = Sighting { people: *people, ..sighting(server, "server".to_owned()) };
            gathering.add(&pin_key(room).into(), told);
        }
        for watched in &state.processes {
            match (&watched.lost, &watched.map) {
                (None, Some(map)) => {
                    for (room, server) in &map.entries {
                        gathering.add(room, sighting(server, format!("map of {}", watched.name)));
                    }
                    if state.mode == Mode::Map {
                        found.asked.push(format!("map of {}", watched.name));
                    }
                    found.asked.push(format!("table of {}", watched.name));
                }
                (Some((_, why)), _) => drop(found.silent.insert(watched.name.clone(), why.clone())),
                (None, None) => {
                    let why = watched.trouble.clone().unwrap_or_else(|| "it was not read yet".to_owned());
                    found.silent.insert(watched.name.clone(), why);
                }
            }
        }
        for (room, known) in state.book.rooms() {
            gathering.add(room, sighting(known.server(), "store".to_owned()));
        }
        for (room, known) in state.split_rooms(Instant::now(), now) {
            for (process, stray) in &known.strays {
                let name = state.processes.get(*process).map(|watched| watched.name.as_str()).unwrap_or_default();
                let by = format!("table of {name}");
                let used_ms_ago = Some(now.saturating_sub(stray.used_ms));
                gathering.add(room, Sighting { used_ms_ago, ..sighting(&stray.server, by) });
            }
        }
        match &state.store.lost {
            Some((_, why)) => drop(found.silent.insert("store".to_owned(), why.clone())),
            None if stored && state.store.synced => found.asked.push("store".to_owned()),
            None => drop(found.silent.insert("store".to_owned(), "it was not read yet".to_owned())),
        }
        if !servers.is_empty() {
            found.asked.push("servers".to_owned());
        }
        found.rooms = gathering.split(|room| state.book.get(room).map(|known| known.server().to_owned()));
        found
    }

    /// The servers there are, with the address HAProxy has for each.
    pub fn addresses(&self) -> Vec<(String, std::net::SocketAddr)> {
        self.inner.state().addresses().into_iter().map(|(name, address)| (name.to_string(), address)).collect()
    }
}
