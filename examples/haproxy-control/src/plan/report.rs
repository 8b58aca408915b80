//! What a plan comes to, in words, tables and JSON.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::Server;
use console::{Cell, counted};

/// A room that does not stay where it is, one way or the other.
#[derive(Clone, Debug)]
pub(super) struct Move {
    pub(super) key: Vec<u8>,
    pub(super) from: Option<Arc<str>>,
    pub(super) by_hash: Option<Arc<str>>,
    pub(super) with_table: Option<Arc<str>>,
}

/// Rooms of a server.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    now: u64,
    after: u64,
    gains: u64,
    loses: u64,
    with_table: u64,
}

/// Rooms by server, in the order of servers.
#[derive(Debug)]
pub(super) struct Tally {
    order: Vec<Arc<str>>,
    counts: HashMap<Arc<str>, Count>,
    nowhere: Count,
}

impl Tally {
    pub(super) fn of(before: &[Server], after: &[Server]) -> Self {
        let mut order: Vec<Arc<str>> = Vec::new();
        let mut counts = HashMap::new();
        for server in before.iter().chain(after) {
            let name: Arc<str> = Arc::from(&*server.name);
            if counts.insert(name.clone(), Count::default()).is_none() {
                order.push(name);
            }
        }
        Self { order, counts, nowhere: Count::default() }
    }

    pub(super) fn count(&mut self, now: Option<&Arc<str>>, after: Option<&Arc<str>>, with_table: Option<&Arc<str>>) {
        let moved = u64::from(now != after);
        let add = |this: &mut Self, name: Option<&Arc<str>>, what: &dyn Fn(&mut Count)| {
            what(name.and_then(|name| this.counts.get_mut(name)).unwrap_or(&mut this.nowhere));
        };
        add(self, now, &|count| {
            count.now += 1;
            count.loses += moved;
        });
        add(self, after, &|count| {
            count.after += 1;
            count.gains += moved;
        });
        add(self, with_table, &|count| count.with_table += 1);
    }

    fn rows(&self) -> impl Iterator<Item = (&str, Count)> {
        let named = self.order.iter().filter_map(|name| Some((&**name, *self.counts.get(name)?)));
        let nowhere =
            (self.nowhere.now + self.nowhere.after + self.nowhere.with_table > 0).then_some(("", self.nowhere));
        named.chain(nowhere)
    }
}

/// The whole plan.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) title: String,
    pub(super) sticky: bool,
    pub(super) by_key: bool,
    pub(super) rooms: usize,
    pub(super) pinned: u64,
    pub(super) moves: Vec<Move>,
    pub(super) tally: Tally,
}

impl Report {
    fn by_hash(&self) -> u64 {
        self.moves.iter().filter(|one| one.from != one.by_hash).count() as u64
    }

    fn with_table(&self) -> u64 {
        self.moves.iter().filter(|one| one.from != one.with_table).count() as u64
    }

    /// One sentence.
    fn sentence(&self) -> String {
        let of = counted(self.rooms, "room");
        let pinned = if self.pinned > 0 { format!("; {} pinned and stay", self.pinned) } else { String::new() };
        let table = self.with_table();
        let moved = match (self.sticky, self.by_key) {
            (true, true) => format!("{} of {of} would move by hash, {table} with the stick table", self.by_hash()),
            (true, false) => format!("{table} of {of} would lose their server"),
            (false, _) => format!("{} of {of} would move", self.by_hash()),
        };
        format!("{}: {moved}{pinned}", self.title)
    }

    pub(super) fn print(&self, summary: bool) -> String {
        let mut out = String::new();
        let name = |name: Option<&Arc<str>>| Cell::text(name.map_or("", |name| name));
        if !summary && !self.moves.is_empty() {
            let both = self.sticky && self.by_key;
            let headers: &[&str] =
                if both { &["ROOM", "NOW", "BY HASH", "WITH TABLE"] } else { &["ROOM", "NOW", "AFTER"] };
            let row = |one: &Move| {
                let mut row = vec![Cell::text(&String::from_utf8_lossy(&one.key)), name(one.from.as_ref())];
                row.push(name(one.by_hash.as_ref()));
                row.extend(both.then(|| name(one.with_table.as_ref())));
                row
            };
            out.push_str(&console::table(headers, &self.moves.iter().map(row).collect::<Vec<_>>()));
            out.push('\n');
        }
        let mut headers = vec!["SERVER", "NOW", "AFTER", "GAINS", "LOSES"];
        headers.extend(self.sticky.then_some("WITH TABLE"));
        let row = |(server, count): (&str, Count)| {
            let mut row = vec![Cell::text(server)];
            row.extend([count.now, count.after, count.gains, count.loses].map(Cell::count));
            row.extend(self.sticky.then(|| Cell::count(count.with_table)));
            row
        };
        out.push_str(&console::table(&headers, &self.tally.rows().map(row).collect::<Vec<_>>()));
        out.push_str(&format!("\n{}\n", console::printable(&self.sentence())));
        out
    }

    pub(super) fn as_json(&self, summary: bool) -> String {
        let one = |one: &Move| {
            json!({
                "room": String::from_utf8_lossy(&one.key),
                "now": one.from.as_deref(),
                "by_hash": one.by_hash.as_deref(),
                "with_table": self.sticky.then_some(one.with_table.as_deref()).flatten(),
            })
        };
        let server = |(name, count): (&str, Count)| {
            json!({
                "server": Some(name).filter(|name| !name.is_empty()),
                "now": count.now,
                "after": count.after,
                "gains": count.gains,
                "loses": count.loses,
                "with_table": self.sticky.then_some(count.with_table),
            })
        };
        let moves: Option<Vec<Value>> = (!summary).then(|| self.moves.iter().map(one).collect());
        let out = json!({
            "change": self.title,
            "rooms": self.rooms,
            "pinned": self.pinned,
            "moved_by_hash": self.by_key.then(|| self.by_hash()),
            "moved_with_table": self.sticky.then(|| self.with_table()),
            "servers": self.tally.rows().map(server).collect::<Vec<_>>(),
            "moves": moves,
        });
        format!("{out:#}\n")
    }

    /// What moves without need, and how to keep it from that: rooms between servers that are not `touched`.
    pub(super) fn advice(&self, touched: &[String]) -> Option<String> {
        let is_touched =
            |name: &Option<Arc<str>>| name.as_ref().is_none_or(|name| touched.iter().any(|t| **t == **name));
        let needless = self.moves.iter().filter(|one| {
            self.by_key && one.from != one.by_hash && !is_touched(&one.from) && !is_touched(&one.by_hash)
        });
        let count = needless.count();
        (count > 0).then(|| {
            format!(
                "{} would move between servers that stay: hash-type consistent, and an id on every server line that is \
                 never given out again, keep them",
                counted(count, "room")
            )
        })
    }
}
