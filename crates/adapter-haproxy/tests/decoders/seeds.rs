//! What is mangled: recordings, for each decoder.

use std::collections::BTreeMap;
use std::path::Path;

use adapter_haproxy::trace::{Happened, Protocol, Record, Side, read_capture, write_header};
use serde_json::Value;

/// Lines of agents, right and wrong.
const LINES: [&str; 14] = [
    "up ready 60% maxconn:30\n",
    "MAXCONN:30,60%\tUp,,ready\r\nignored",
    "stopped # overloaded, up 90%\n",
    "drain 0%\n",
    "maint # at noon\n",
    "down # too busy\n",
    "fail\n",
    "50 up bogus\n",
    "75%%\n",
    "99999999999999999999% maxconn:99999999999\n",
    "up 90%",
    "up\0\n",
    "\n",
    "\u{e9} # \u{1f600}\u{7}\n",
];

/// Recordings by the decoder that reads them.
pub(crate) struct Seeds(BTreeMap<&'static str, Vec<Vec<u8>>>);

impl Seeds {
    /// Those of the crate.
    pub(crate) fn read(own: &Path) -> Self {
        let mut seeds = Self(BTreeMap::new());
        for path in files(&own.join("tests/vectors/haproxy-control"), "json") {
            seeds.recording(&std::fs::read(path).unwrap());
        }
        for path in files(&own.join("tests/golden"), "cfg") {
            seeds.add("config", std::fs::read(path).unwrap());
        }
        for line in LINES {
            seeds.add("agent_line", line.into());
        }
        seeds
    }

    /// Of one decoder; never none.
    pub(crate) fn of(&self, name: &str) -> &[Vec<u8>] {
        self.0.get(name).filter(|list| !list.is_empty()).unwrap_or_else(|| panic!("no recordings for {name}"))
    }

    fn add(&mut self, name: &'static str, seed: Vec<u8>) {
        self.0.entry(name).or_default().push(seed);
    }

    fn recording(&mut self, text: &[u8]) {
        let file: Value = serde_json::from_slice(text).unwrap();
        let records = read_capture(&file).unwrap();
        // A few connections as a trace and as JSON: all of them would be too long to be mangled well.
        for part in records.chunks(20) {
            let mut trace = Vec::new();
            write_header(&mut trace, 0);
            part.iter().for_each(|record| record.encode(&mut trace));
            self.add("trace", trace);
        }
        for name in ["events", "transcript"] {
            for part in file[name].as_array().into_iter().flat_map(|list| list.chunks(12)) {
                self.add("capture", serde_json::json!({ name: part }).to_string().into());
            }
        }
        for scenario in file["scenarios"].as_array().into_iter().flatten() {
            self.add("capture", serde_json::json!({ "scenarios": [scenario] }).to_string().into());
        }
        for ((protocol, connection, side), said) in streams(&records) {
            let _ = connection;
            match (protocol, side) {
                (Protocol::Peers, _) => {
                    self.add("peers_session", said.clone());
                    self.add("trace_masks", said.clone());
                    // Messages alone, without the greeting.
                    let lines = if side == Side::Us { 3 } else { 1 };
                    let messages = said.splitn(lines + 1, |byte| *byte == b'\n').nth(lines).unwrap_or_default();
                    self.add("peers_codec", messages.to_vec());
                    self.add("peers_session", messages.to_vec());
                }
                (Protocol::Spoe, Side::Haproxy) => {
                    self.add("spoe_frame", said.clone());
                    self.add("spoe_session", said.clone());
                    self.add("trace_masks", said);
                }
                (Protocol::Spoe, Side::Us) => self.add("spoe_frame", said),
                (Protocol::Runtime, Side::Haproxy) => {
                    if said.starts_with(b"# pxname") || said.starts_with(b"F.") {
                        self.add("stats_csv", said.clone());
                    }
                    self.add("runtime_answers", said.clone());
                    self.add("runtime_session", [b"\n> \n> ", &*said, b"> "].concat());
                }
                _ => {}
            }
        }
    }
}

/// What each side of each connection says.
fn streams(records: &[Record]) -> BTreeMap<(Protocol, u64, Side), Vec<u8>> {
    let (mut all, mut protocols) = (BTreeMap::new(), BTreeMap::new());
    for record in records {
        match &record.what {
            Happened::Opened { protocol, .. } => drop(protocols.insert(record.connection, *protocol)),
            Happened::Said { side, bytes } => {
                let key = (protocols[&record.connection], record.connection, *side);
                all.entry(key).or_insert_with(Vec::new).extend_from_slice(bytes);
            }
            _ => {}
        }
    }
    all
}

fn files(folder: &Path, end: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == end));
    paths.sort();
    paths
}
