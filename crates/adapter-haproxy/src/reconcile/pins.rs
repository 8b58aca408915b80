//! Pins: the map there is against the one wanted.

use std::collections::{BTreeMap, BTreeSet};

use crate::runtime::{AdminState, Command, CommandError, MapEntry, ServerName};

use super::plan::{Action, MovedPin, PlanError, Step};
use super::wanted::{PinMap, Wanted};

/// With more changes than this a map is replaced in one step.
const MAX_ONE_BY_ONE: usize = 100;

/// The servers that wanted pins lead to. Each must be wanted, and not in maintenance.
pub(super) fn targets(wanted: &Wanted) -> Result<BTreeSet<ServerName>, PlanError> {
    let mut out = BTreeSet::new();
    let mut files = BTreeSet::new();
    for map in &wanted.pins {
        if !files.insert(&map.file) {
            return Err(PlanError::Twice { what: "map", name: map.file.clone() });
        }
        let backend = wanted.backends.iter().find(|backend| backend.name == map.backend);
        let servers: BTreeMap<&str, AdminState> = backend
            .into_iter()
            .flat_map(|backend| &backend.servers)
            .map(|server| (server.line.name.as_str(), server.state))
            .collect();
        for (room, server) in &map.entries {
            let astray = |why| PlanError::PinAstray { room: room.clone(), server: server.clone(), why };
            match servers.get(server.as_str()) {
                None => return Err(astray("is not wanted in that backend")),
                Some(AdminState::Maint) => return Err(astray("is wanted in maintenance")),
                Some(_) => {}
            }
            out.insert(ServerName::new(&map.backend, server)?);
        }
    }
    Ok(out)
}

fn entries(pins: &BTreeMap<String, String>) -> Result<Vec<MapEntry>, CommandError> {
    pins.iter().map(|(key, value)| MapEntry::new(key.as_str(), value.as_str())).collect()
}

/// The steps from one map to the other.
pub(super) fn changes(
    map: &PinMap,
    now: &BTreeMap<String, String>,
    moved: &mut Vec<MovedPin>,
) -> Result<Vec<Step>, PlanError> {
    let file = &map.file;
    let mut steps = Vec::new();
    let first = moved.len();
    let mut note = |room: &str, from: Option<&String>, to: Option<&String>| {
        moved.push(MovedPin { room: room.to_owned(), from: from.cloned(), to: to.cloned() });
    };
    for (room, server) in &map.entries {
        let was = now.get(room);
        if was == Some(server) {
            continue;
        }
        note(room, was, Some(server));
        let entry = MapEntry::new(room, server)?;
        let (command, undo, why) = match was {
            Some(was) => {
                let undo = Command::set_map(file, &MapEntry::new(room, was)?)?;
                (Command::set_map(file, &entry)?, undo, format!("the room is to be on {server}, not on {was}"))
            }
            None => (
                Command::add_map(file, &entry)?,
                Command::del_map(file, room)?,
                format!("the room is to be on {server}"),
            ),
        };
        steps.push(Step { action: Action::Command(command), why, undo: vec![Action::Command(undo)] });
    }
    for (room, was) in now.iter().filter(|(room, _)| !map.entries.contains_key(*room)) {
        note(room, Some(was), None);
        let undo = vec![Action::Command(Command::add_map(file, &MapEntry::new(room, was)?)?)];
        let action = Action::Command(Command::del_map(file, room)?);
        steps.push(Step { action, why: "the room is to be pinned no longer".to_owned(), undo });
    }
    let count = moved.len() - first;
    if count > MAX_ONE_BY_ONE {
        let replace = |pins| entries(pins).map(|entries| Action::ReplaceMap { map: file.clone(), entries });
        let why = format!("{count} rooms have other pins");
        return Ok(vec![Step { action: replace(&map.entries)?, why, undo: vec![replace(now)?] }]);
    }
    Ok(steps)
}
