//! Recordings of real HAProxy, played back. `HAPROXY_VECTORS` and `EDUMEET_VECTORS` name other folders to read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{BackendSpec, Version};

mod case;
mod edumeet;
mod hold;
mod values;

/// What came of one file.
#[derive(Debug, Default)]
struct Tally {
    checked: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn check<T: PartialEq + std::fmt::Debug>(&mut self, what: &dyn std::fmt::Display, got: &T, want: &T) {
        self.checked += 1;
        if got != want {
            self.wrong.push(format!("{what}: predicted {got:?}, HAProxy {want:?}"));
        }
    }
}

pub(super) fn folder(variable: &str, own: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(own),
    }
}

/// The JSON files of a folder by name. An empty folder fails.
pub(super) fn files(folder: &Path) -> BTreeMap<String, Value> {
    let read = |e: std::io::Result<std::fs::DirEntry>| e.unwrap().path();
    let all = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())).map(read);
    let json = all.filter(|p| p.extension().is_some_and(|e| e == "json"));
    let files: BTreeMap<String, Value> = json
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read(&path).unwrap();
            (name, serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
        })
        .collect();
    assert!(!files.is_empty(), "{} holds no JSON file", folder.display());
    files
}

fn report(kinds: &BTreeMap<String, (usize, usize)>, wrong: &[String]) {
    let total: usize = kinds.values().map(|(_, n)| n).sum();
    for (kind, (files, n)) in kinds {
        println!("{kind}: {n} checked in {files} files");
    }
    println!("{total} placements and values checked, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {total} differ:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    assert!(total > 0, "nothing was checked");
}

#[test]
fn haproxy() {
    let mut kinds: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (name, file) in files(&folder("HAPROXY_VECTORS", "haproxy")) {
        assert_eq!(file["format"], 1, "{name}: unknown format");
        let kind = file["kind"].as_str().unwrap_or_else(|| panic!("{name}: no kind"));
        for version in file["haproxy"].as_array().unwrap_or_else(|| panic!("{name}: no versions")) {
            let version: Version = version.as_str().unwrap().parse().unwrap();
            let tally = match kind {
                "keys" | "requests" | "script" => case::play(&file, version),
                "hold" => hold::play(&file, version),
                "convert" | "fetch" => values::play(&file, version),
                other => panic!("{name}: unknown kind {other:?}"),
            };
            assert!(tally.checked > 0, "{name}: nothing in it");
            let sum = kinds.entry(kind.to_owned()).or_default();
            sum.1 += tally.checked;
            wrong.extend(tally.wrong.into_iter().map(|w| format!("{name} on {version}: {w}")));
        }
        kinds.entry(kind.to_owned()).or_default().0 += 1;
    }
    report(&kinds, &wrong);
}

#[test]
fn edumeet() {
    let mut kinds = BTreeMap::new();
    let mut wrong = Vec::new();
    for (name, file) in files(&folder("EDUMEET_VECTORS", "edumeet")) {
        match name.as_str() {
            "placement" => {
                let tally = edumeet::play(&file);
                kinds.insert(name, (1, tally.checked));
                wrong.extend(tally.wrong);
            }
            // Their rooms are read where room keys are made; here, what HAProxy itself sees in these requests.
            "state" | "urls" => {
                let tally = edumeet::keys(&file);
                kinds.insert(name, (1, tally.checked));
                wrong.extend(tally.wrong);
            }
            "stickiness" => println!("{name}: no placements"),
            other => panic!("{other}: unknown file"),
        }
    }
    if kinds.is_empty() {
        println!("0 placements checked: there are scenarios alone");
        return;
    }
    report(&kinds, &wrong);
}

/// The backend of a file.
pub(super) fn backend(file: &Value, version: Version) -> BackendSpec {
    case::backend(file, version)
}

/// A request of a file.
pub(super) fn request(v: &Value) -> super::Request {
    case::request(v)
}
