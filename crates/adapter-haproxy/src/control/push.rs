//! Tables and maps of the processes: read, and brought up to date.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use balancer_core::StickErrorKind;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::reconcile::replace_file;
use crate::render::pin_key;
use crate::runtime::{AdminState, Command, CommandError, MapEntry, RefusalKind, RuntimeError, TableFilter};

use super::book::{Diff, Wish};
use super::cycle::{Control, Inner, wall_ms};
use super::event::ControlEvent;
use super::learn::{Moment, Use, learn as teach};
use super::options::{ControlOptions, ControlledProcess};
use super::order::{done_key, write_done, write_undone};
use super::state::Shown;

/// The longest name of a room, percent-encoded, that is pinned. Longer ones are left to the table.
const MAX_ROOM: usize = balancer_core::MAX_KEY_LEN;
/// With more changes than this the map is replaced in one step.
const ONE_BY_ONE: usize = 5000;

/// An entry of a table: room, name and id of the server, when it was used.
type Entry = (Arc<str>, Option<String>, Option<u32>, u64);
/// Rooms and their servers.
type Pins = Vec<(Arc<str>, Arc<str>)>;

/// What one process shows of its rooms.
struct Shows {
    generation: u64,
    read: Instant,
    map: HashMap<Arc<str>, Arc<str>>,
    uses: Vec<Entry>,
}

/// Reads tables and maps of all processes; what they teach is to be asked of the store.
pub(super) async fn learn(inner: &Arc<Inner>) -> Vec<Wish> {
    let mut reading = JoinSet::new();
    for (at, process) in inner.processes.iter().enumerate() {
        let answers = inner.state().processes.get(at).is_some_and(|watched| watched.lost.is_none());
        if answers {
            let (inner, process) = (inner.clone(), process.clone());
            reading.spawn(async move { (at, read(&inner.options, &process).await) });
        }
    }
    let mut wishes: Vec<Wish> = Vec::new();
    while let Some(done) = reading.join_next().await {
        let Ok((at, shows)) = done else { continue };
        let mut state = inner.state();
        match shows {
            Ok(shows) => wishes.extend(take(&mut state, &inner.options, at, shows)),
            Err(error) => {
                let text = error.to_string();
                let Some(watched) = state.processes.get_mut(at) else { continue };
                if watched.trouble.as_ref() != Some(&text) {
                    let told = format!("{}: {text}", watched.name);
                    watched.trouble = Some(text);
                    state.events.push(ControlEvent::Trouble { text: told });
                }
            }
        }
    }
    // Once all tables are known: of several places the last one counts.
    let state = inner.state();
    if state.store.synced && state.store.lost.is_none() {
        wishes.extend(state.follow());
    }
    drop(state);
    let mut rooms = HashSet::new();
    wishes.retain(|wish| rooms.insert(wish.room().clone()));
    wishes
}

fn take(state: &mut super::state::State, options: &ControlOptions, at: usize, shows: Shows) -> Vec<Wish> {
    let Some(watched) = state.processes.get_mut(at) else { return Vec::new() };
    let Some(look) = watched.look.as_ref().filter(|look| look.process.generation == shows.generation) else {
        return Vec::new();
    };
    let by_id: HashMap<u32, Arc<str>> = look.servers.iter().map(|(name, seen)| (seen.id, name.clone())).collect();
    let servers = &look.servers;
    let uses = shows.uses.into_iter().filter_map(|(room, name, id, used_ms)| {
        let by_name = name.and_then(|name| servers.get_key_value(&*name).map(|(name, _)| name.clone()));
        let server = by_name.or_else(|| by_id.get(&id?).cloned())?;
        Some(Use { room, server, used_ms })
    });
    let uses: Vec<Use> = uses.collect();
    watched.trouble = None;
    watched.mapped = options.has_map();
    watched.entries.clear();
    for Use { room, server, used_ms } in &uses {
        if state.orders.contains_key(server) {
            watched.entries.entry(server.clone()).or_default().push((room.clone(), *used_ms));
        }
    }
    let map = Shown { entries: shows.map, read: shows.read, generation: shows.generation, compared: None };
    let ready = state.store.synced && state.store.lost.is_none();
    let mut wishes = Vec::new();
    if ready && state.processes[at].adopting {
        let known = |server: &Arc<str>| state.servers.contains_key(server);
        let strange = map.entries.iter().filter(|(room, server)| state.book.get(room).is_none() && known(server));
        wishes.extend(strange.map(|(room, server)| Control::adopted(room.clone(), server.clone())));
        state.processes[at].adopting = false;
    }
    state.processes[at].map = Some(map);
    let moment = Moment { now: Instant::now(), ttl: options.store_ttl() };
    let mut book = std::mem::take(&mut state.book);
    let learned = teach(&mut book, at, uses, |server| state.is_usable(at, server), moment);
    state.book = book;
    if ready {
        wishes.extend(learned);
    }
    wishes
}

async fn read(options: &ControlOptions, process: &ControlledProcess) -> Result<Shows, RuntimeError> {
    let client = &process.client;
    let meant = client.process().await?;
    let read = Instant::now();
    let mut map = HashMap::new();
    if options.has_map() {
        for line in client.map_entries(&options.map).await? {
            // Of equal keys the first one counts.
            map.entry(line.key.into()).or_insert_with(|| Arc::from(line.value));
        }
    }
    let uses = table(options, process).await?;
    client.confirm(&meant).await?;
    Ok(Shows { generation: meant.generation, read, map, uses })
}

async fn table(options: &ControlOptions, process: &ControlledProcess) -> Result<Vec<Entry>, RuntimeError> {
    let name = options.table.as_deref().unwrap_or(&options.backend);
    let mut entries = Vec::new();
    if name.is_empty() {
        return Ok(entries);
    }
    let now = wall_ms();
    let mut longest = u64::try_from(options.ttl.as_millis()).unwrap_or(u64::MAX);
    let mut each = |entry: crate::runtime::TableEntry| {
        // What is no UTF-8 cannot be pinned by its name.
        if !entry.key.contains(char::REPLACEMENT_CHARACTER) {
            let room = pin_key(&entry.key);
            if !room.is_empty() && room.len() <= MAX_ROOM {
                let left = u64::try_from(entry.expires.as_millis()).unwrap_or(u64::MAX);
                longest = longest.max(left);
                entries.push((Arc::from(room), entry.server_key, entry.server_id, left));
            }
        }
        ControlFlow::Continue(())
    };
    match process.client.table_each(name, &TableFilter::All, &mut each).await {
        Err(error) if options.table.is_none() && error.refusal().is_some() => return Ok(Vec::new()),
        other => drop(other?),
    }
    entries.iter_mut().for_each(|(.., left)| *left = now.saturating_sub(longest - (*left).min(longest)));
    Ok(entries)
}

/// What is to be asked of the store before maps are brought up to date.
pub(super) fn differences(inner: &Inner) -> Vec<Wish> {
    let state = inner.state();
    let there = state.store.lost.is_none();
    if !there || !state.store.synced || !inner.options.has_map() {
        return Vec::new();
    }
    let mut checks: Vec<Wish> = Vec::new();
    let mut rooms = HashSet::new();
    for map in state.processes.iter().filter_map(|watched| watched.map.as_ref()) {
        if map.compared != Some(state.book.version) {
            checks.extend(state.book.diff(&map.entries, map.read, true).check);
        }
    }
    checks.retain(|wish| rooms.insert(wish.room().clone()));
    checks
}

/// Tells every process what it lacks.
pub(super) async fn push(inner: &Arc<Inner>) {
    let mut pushing = JoinSet::new();
    for (at, process) in inner.processes.iter().enumerate() {
        let Some((generation, diff, whole)) = due(inner, at) else { continue };
        let (inner, process) = (inner.clone(), process.clone());
        pushing.spawn(async move {
            let done = carry(&inner.options, &process, generation, &diff, whole).await;
            (at, generation, diff, done)
        });
    }
    while let Some(done) = pushing.join_next().await {
        let Ok((at, generation, diff, done)) = done else { continue };
        let mut state = inner.state();
        let Some(watched) = state.processes.get_mut(at) else { continue };
        match done {
            Ok(()) => {
                if let Some(map) = watched.map.as_mut().filter(|map| map.generation == generation) {
                    map.entries.extend(diff.add.iter().chain(&diff.set).cloned());
                    diff.del.iter().for_each(|room| drop(map.entries.remove(room)));
                }
                watched.pushed += diff.len() as u64;
                let (added, changed, removed) = (diff.add.len(), diff.set.len(), diff.del.len());
                let process = watched.name.clone();
                state.events.push(ControlEvent::Pushed { process, added, changed, removed });
            }
            Err(error) => {
                // Read it again before anything else.
                watched.map = None;
                if !error.is_retryable() {
                    let text = format!("{}: pins cannot be pushed: {error}", watched.name);
                    state.events.push(ControlEvent::Trouble { text });
                }
            }
        }
    }
}

/// What a process lacks, and all it is to have where that is better sent whole.
fn due(inner: &Inner, at: usize) -> Option<(u64, Diff, Option<Pins>)> {
    let mut guard = inner.state();
    let state = &mut *guard;
    let there = state.store.lost.is_none();
    if !state.store.synced || !inner.options.has_map() {
        return None;
    }
    let watched = state.processes.get_mut(at).filter(|watched| watched.lost.is_none())?;
    let map = watched.map.as_mut()?;
    if map.compared == Some(state.book.version) {
        return None;
    }
    let diff = state.book.diff(&map.entries, map.read, there);
    if diff.check.is_empty() {
        map.compared = Some(state.book.version);
    }
    if diff.len() == 0 {
        return None;
    }
    let whole = (diff.len() > ONE_BY_ONE).then(|| {
        let mut all = map.entries.clone();
        all.extend(diff.add.iter().chain(&diff.set).cloned());
        diff.del.iter().for_each(|room| drop(all.remove(room)));
        all.into_iter().collect()
    });
    Some((map.generation, diff, whole))
}

async fn carry(
    options: &ControlOptions,
    process: &ControlledProcess,
    generation: u64,
    diff: &Diff,
    whole: Option<Pins>,
) -> Result<(), RuntimeError> {
    let (client, map) = (&process.client, &options.map);
    let meant = client.process().await?;
    if meant.generation != generation {
        let address = client.address().to_string();
        return Err(RuntimeError::NewProcess { address, was: 0, is: meant.pid });
    }
    if let Some(whole) = whole {
        let entries: Result<Vec<MapEntry>, CommandError> =
            whole.iter().map(|(room, server)| MapEntry::new(&**room, &**server)).collect();
        return client.replace_map(map, &entries?).await.map(drop);
    }
    let mut commands = Vec::with_capacity(diff.len());
    for (room, server) in &diff.add {
        commands.push(Command::add_map(map, &MapEntry::new(&**room, &**server)?)?);
    }
    for (room, server) in &diff.set {
        commands.push(Command::set_map(map, &MapEntry::new(&**room, &**server)?)?);
    }
    for room in &diff.del {
        commands.push(Command::del_map(map, room)?);
    }
    let first_del = diff.add.len() + diff.set.len();
    for (at, reply) in client.call_all(&commands).await?.into_iter().enumerate() {
        match reply {
            // Somebody else was quicker.
            Err(refusal) if at >= first_del && refusal.kind() == RefusalKind::NoEntry => {}
            other => drop(other?),
        }
    }
    client.confirm(&meant).await
}

/// Ends the sessions at servers whose rooms have moved. HAProxy leaves them alone (unless `on-marked-down` says otherwise,
/// and then those that came later): whoever still has one would stay behind while the room goes on elsewhere.
pub(super) async fn sweep(inner: &Arc<Inner>) {
    for (at, process) in inner.processes.iter().enumerate() {
        let servers = inner.state().sweeps(at);
        for server in servers {
            match process.client.order(&Command::shutdown_server_sessions(&server)).await {
                // It went: so did its sessions.
                Ok(()) => {}
                Err(error) if error.refusal().is_some_and(|refusal| refusal.kind() == RefusalKind::NoServer) => {}
                // The next round tries again, or finds another process.
                Err(error) if error.is_retryable() => break,
                Err(error) => {
                    let text = format!("{}: sessions at {server} cannot be ended: {error}", process.name);
                    inner.state().events.push(ControlEvent::Trouble { text });
                }
            }
            if let Some(watched) = inner.state().processes.get_mut(at) {
                watched.sweeping.remove(&server);
            }
        }
    }
}

/// Gives servers the states that are ordered.
pub(super) async fn orders(inner: &Arc<Inner>) {
    for (at, process) in inner.processes.iter().enumerate() {
        let orders = inner.state().orders_for(at);
        let mut refused = None;
        for (name, state) in orders {
            let key = done_key(&process.name, &name);
            if state == AdminState::Maint && !note(inner, &key).await {
                break;
            }
            let command = Command::set_state(&name, state);
            match process.client.order(&command).await {
                Ok(()) => inner.state().order_given(at, name, state),
                Err(error) => {
                    refused = Some(format!("{}: {command}: {error}", process.name));
                    break;
                }
            }
            if state == AdminState::Ready {
                inner.wake();
            }
        }
        inner.state().order_refused(at, refused);
    }
    let undone = std::mem::take(&mut inner.state().undone);
    for (key, seen) in undone {
        inner.state().done.remove(&key);
        if let Err(error) = write_undone(&*inner.orders, &key, &seen).await {
            return inner.state().store_lost(error.to_string(), Instant::now());
        }
    }
}

/// Notes in the store whose maintenance it is, before it is ordered. `false`: the store is lost.
async fn note(inner: &Inner, key: &str) -> bool {
    let written = write_done(&*inner.orders, key).await;
    let mut state = inner.state();
    match written {
        Ok(binding) => drop(state.done.insert(key.to_owned(), binding)),
        // Of names too long to be noted this process alone knows.
        Err(error) if error.kind() == StickErrorKind::Input => {}
        Err(error) => {
            state.store_lost(error.to_string(), Instant::now());
            return false;
        }
    }
    true
}

/// Writes the map files, so that a process that starts anew reads the pins of now. What no process has as a map is some
/// other file, and stays as it is.
pub(super) async fn files(inner: &Arc<Inner>) {
    for (at, process) in inner.processes.iter().enumerate() {
        let Some(path) = process.pins_file.clone() else { continue };
        let (version, text) = {
            let state = inner.state();
            let version = state.book.version;
            let Some(watched) = state.processes.get(at) else { continue };
            if !state.store.synced || watched.written == Some(version) || !state.has_map(at) {
                continue;
            }
            (version, file_text(&state.book))
        };
        let written = tokio::task::spawn_blocking(move || replace_file(&path, text.as_bytes())).await;
        let mut state = inner.state();
        match written {
            Ok(Ok(())) => state.processes[at].written = Some(version),
            Ok(Err(error)) => {
                // Said once for each version, tried again with the next one.
                state.processes[at].written = Some(version);
                state.events.push(ControlEvent::Trouble { text: format!("{}: {error}", process.name) });
            }
            Err(_) => {}
        }
    }
}

fn file_text(book: &super::book::Book) -> String {
    let mut lines: Vec<(&str, &str)> = book.rooms().iter().map(|(room, known)| (&**room, known.server())).collect();
    lines.sort_unstable();
    let mut out = String::with_capacity(lines.len() * 32);
    out.push_str("# room, percent-encoded, and its server\n");
    for (room, server) in lines {
        out.extend([room, " ", server, "\n"]);
    }
    out
}
