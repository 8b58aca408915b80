//! Recordings of jicofo, its bridges and their server, played back. `JITSI_VECTORS` names another folder to read.
//!
//! A file is read by the first line of [`READERS`] whose pattern fits its path. Add lines there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::xmpp_vectors;

mod autoscale;
mod logs;
mod misc;
mod presence;
mod rooms;
mod selection;

/// What came of one file.
#[derive(Debug, Default)]
pub(super) struct Tally {
    checked: usize,
    wrong: Vec<String>,
}

impl Tally {
    /// One value or decision.
    #[allow(clippy::needless_pass_by_value, reason = "so that calls read well")]
    pub(super) fn check<T: PartialEq + std::fmt::Debug>(&mut self, what: impl std::fmt::Display, got: T, want: T) {
        self.that(got == want, || format!("{what}: {got:?}, expected {want:?}"));
    }

    pub(super) fn that(&mut self, right: bool, what: impl FnOnce() -> String) {
        self.checked += 1;
        if !right {
            self.wrong.push(what());
        }
    }
}

/// Reads one file: the folder, and the file's path within it.
type Reader = fn(&Path, &str) -> Tally;

/// A recorded connection; a wrong one panics.
fn session(folder: &Path, name: &str) -> Tally {
    Tally { checked: xmpp_vectors::check(&folder.join(name)), wrong: Vec::new() }
}

/// Which files are read by what. `*` stands for anything.
const READERS: &[(&str, Reader)] = &[
    ("selection-*.json", selection::check),
    ("presence.json", presence::check),
    ("presence/*.xml", presence::check_stanza),
    ("misc.json", misc::check),
    ("autoscale.json", autoscale::check),
    ("log-lines.json", logs::check),
    ("xmpp-session-*.jsonl", session),
    ("xmpp-session-*.xml", session),
    ("rooms.json", rooms::check),
];

/// The repository's own recordings, of which nothing is missing.
pub(super) fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// Those that are asked for, of which there may be few.
fn folder() -> PathBuf {
    std::env::var_os("JITSI_VECTORS").map_or_else(own, PathBuf::from)
}

pub(super) fn json(folder: &Path, name: &str) -> serde_json::Value {
    let bytes = std::fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Whether a pattern with at most one star fits.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail),
    }
}

/// The files of a folder by path within it.
fn files(folder: &Path, within: &str, found: &mut Vec<String>) {
    let entries = std::fs::read_dir(folder.join(within)).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with('.') || name == "README.md" {
            continue;
        }
        let path = if within.is_empty() { name } else { format!("{within}/{name}") };
        if entry.file_type().unwrap().is_dir() {
            files(folder, &path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn recordings() {
    let folder = folder();
    let mut all = Vec::new();
    files(&folder, "", &mut all);
    all.sort();
    assert!(!all.is_empty(), "{} is empty", folder.display());
    let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let (mut wrong, mut others) = (Vec::new(), Vec::new());
    for name in &all {
        match READERS.iter().find(|(pattern, _)| fits(pattern, name)) {
            Some((pattern, reader)) => {
                let tally = reader(&folder, name);
                assert!(tally.checked > 0, "{name}: nothing in it");
                let sum = kinds.entry(pattern).or_default();
                *sum = (sum.0 + 1, sum.1 + tally.checked);
                wrong.extend(tally.wrong.into_iter().map(|w| format!("{name}: {w}")));
            }
            None if [".json", ".xml", ".jsonl"].iter().any(|end| name.ends_with(end)) => panic!("{name}: unknown"),
            None => others.push(name),
        }
    }
    for (kind, (files, checked)) in &kinds {
        println!("{kind}: {checked} checked in {files} files");
    }
    for name in &others {
        println!("no recording: {name}");
    }
    let total: usize = kinds.values().map(|(_, checked)| checked).sum();
    println!("{total} decisions and values checked, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {total} differ:\n{}", wrong.len(), wrong[..wrong.len().min(30)].join("\n"));
    assert!(total > 0 || !others.is_empty(), "nothing was checked");
}
