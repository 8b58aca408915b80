//! The morning in a table, or in JSON.

use console::{Cell, table};
use serde::Serialize;

use super::ledger::Totals;
use crate::cli::DemoKind;

/// One server at the end of the morning.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ServerRow {
    pub(super) server: String,
    /// What became of it.
    pub(super) state: &'static str,
    /// Rooms with people in them.
    pub(super) rooms: usize,
    pub(super) people: usize,
    /// Rooms that were opened there.
    pub(super) opened: usize,
    /// Rooms that came from a dead server.
    pub(super) taken_over: usize,
}

/// The whole morning.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) kind: DemoKind,
    /// The version of HAProxy.
    pub(super) haproxy: String,
    pub(super) seconds: f64,
    pub(super) servers: Vec<ServerRow>,
    #[serde(flatten)]
    pub(super) totals: Totals,
    /// Rooms the control loop knows.
    pub(super) known: usize,
    /// Rooms the control loop finds on two servers at the end.
    pub(super) splits: usize,
    /// What went wrong.
    pub(super) wrong: Vec<String>,
}

impl Report {
    /// Whether everything held.
    pub(super) fn is_well(&self) -> bool {
        self.totals.is_well() && self.splits == 0
    }

    /// As JSON, on one line.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// As people read it.
    pub(super) fn text(&self) -> String {
        let rows: Vec<Vec<Cell>> = self
            .servers
            .iter()
            .map(|row| {
                let counts = [row.rooms, row.people, row.opened, row.taken_over];
                let counts = counts.map(|count| Cell::count(count as u64));
                [Cell::text(&row.server), Cell::text(row.state)].into_iter().chain(counts).collect()
            })
            .collect();
        let servers = table(&["SERVER", "STATE", "ROOMS", "PEOPLE", "OPENED", "TAKEN OVER"], &rows);
        let it = &self.totals;
        let within = it.moved_within_ms.map_or_else(|| "<none>".to_owned(), |ms| format!("{ms} ms after the death"));
        let counts = [
            ("rooms", it.rooms.to_string()),
            ("  never moved", it.never_moved.to_string()),
            ("  moved once", it.moved_once.to_string()),
            ("  moved again", it.moved_again.to_string()),
            ("  split", it.split.to_string()),
            ("known to the control", self.known.to_string()),
            ("  split, by its look", self.splits.to_string()),
            ("last room moved", within),
            ("requests", it.requests.to_string()),
            ("  failed by the death", it.failed_by_death.to_string()),
            ("  failed otherwise", it.failed.to_string()),
        ];
        let counts: String = counts.iter().map(|(what, count)| format!("{what:<23}{count}\n")).collect();
        format!("{servers}\n{counts}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::demo::ledger::Ledger;

    #[test]
    fn both_forms_say_the_same() {
        let mut ledger = Ledger::default();
        ledger.met("a", "shard1", Instant::now());
        let row = ServerRow { server: "shard1".into(), state: "ready", rooms: 1, people: 2, opened: 1, taken_over: 0 };
        let report = Report {
            kind: DemoKind::Shards,
            haproxy: "2.6.12".into(),
            seconds: 1.5,
            servers: vec![row],
            totals: ledger.totals(),
            known: 1,
            splits: 0,
            wrong: Vec::new(),
        };
        let json = concat!(
            r#"{"kind":"shards","haproxy":"2.6.12","seconds":1.5,"servers":[{"server":"shard1","state":"ready","#,
            r#""rooms":1,"people":2,"opened":1,"taken_over":0}],"rooms":1,"never_moved":1,"moved_once":0,"moved_again":0,"#,
            r#""split":0,"requests":1,"failed_by_death":0,"failed":0,"moved_within_ms":null,"known":1,"splits":0,"wrong":[]}"#,
            "\n"
        );
        assert_eq!(report.json(), json);
        let text = report.text();
        assert!(text.contains("shard1   ready       1        2        1            0\n"), "{text}");
        assert!(text.contains("  split, by its look   0\nlast room moved        <none>\n"), "{text}");
    }
}
