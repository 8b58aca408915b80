//! A plan as text.

use std::fmt;

use crate::backend::BackendId;

use super::{Fate, Plan, PlannedRoom, PlannedServer, Why};

const NONE: &str = "<none>";

/// The names of servers and rooms come from outside: control characters are spelled out.
fn name(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

fn id(id: Option<&BackendId>) -> String {
    id.map_or_else(|| NONE.to_owned(), |id| name(id.as_str()))
}

impl PlannedRoom {
    /// Where the room would live; the word `stays` when it does.
    fn to_text(&self) -> String {
        match self.fate {
            Fate::Stays => "stays".to_owned(),
            _ => id(self.to.as_ref()),
        }
    }

    /// What the selector alone would do, before and after.
    fn alone_text(&self) -> String {
        if self.moves_alone() {
            format!("{} -> {}", id(self.alone_before.as_ref()), id(self.alone_after.as_ref()))
        } else {
            id(self.alone_after.as_ref())
        }
    }

    /// Why the room moves or, if it does not, why the selector alone would move it.
    pub fn reason(&self) -> String {
        match (self.fate, self.why) {
            (Fate::Stays, Why::Same) if self.moves_alone() => format!("alone: {}", self.alone_why),
            (Fate::Stays, why) if self.moves_alone() => format!("{why}; alone: {}", self.alone_why),
            (_, why) => why.to_string(),
        }
    }
}

impl PlannedServer {
    /// What the plan makes of it, in a word: `added`, `gone`, or its states.
    pub fn standing(&self) -> String {
        match (self.admin, self.health) {
            _ if self.removed => "gone".to_owned(),
            (Some(admin), Some(health)) => {
                let added = if self.added { "added, " } else { "" };
                format!("{added}{admin}, {health}")
            }
            _ => NONE.to_owned(),
        }
    }
}

/// Left-aligned columns; the last one is not filled up.
fn table(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

impl fmt::Display for Plan {
    /// The rooms for which something changes, every server, and the sums.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let mut rows = vec![header(&["ROOM", "FROM", "TO", "SELECTOR ALONE", "WHY"])];
        let changes = |r: &&PlannedRoom| r.fate != Fate::Stays || r.moves_alone();
        rows.extend(
            self.rooms
                .iter()
                .filter(changes)
                .map(|r| vec![name(r.room.as_str()), id(r.from.as_ref()), r.to_text(), r.alone_text(), r.reason()]),
        );
        if rows.len() > 1 {
            table(f, &rows)?;
            writeln!(f)?;
        }
        let mut rows = vec![header(&["SERVER", "STANDING", "ROOMS", "AFTER", "ALONE", "ALONE AFTER"])];
        rows.extend(self.servers.iter().map(|s| {
            let counts = [s.before, s.after, s.alone_before, s.alone_after].map(|n| n.to_string());
            [name(s.id.as_str()), s.standing()].into_iter().chain(counts).collect()
        }));
        table(f, &rows)?;
        let t = &self.totals;
        writeln!(
            f,
            "\n{} rooms: {} stay, {} move, {} are placed, {} find no server; by the selector alone ({}) {} would move",
            t.rooms, t.stay, t.moved, t.placed, t.refused, self.strategy, t.moved_alone
        )
    }
}
