//! Conversations with real HAProxy, recorded and read again. `HAPROXY_CONTROL_VECTORS` names another folder to read.

use std::path::{Path, PathBuf};

use serde_json::Value;

mod peers;
mod runtime;
mod spop;

/// What came of one file.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    checked: usize,
    wrong: Vec<String>,
}

impl Tally {
    /// One thing checked.
    pub(crate) fn check(&mut self, good: bool, what: impl FnOnce() -> String) {
        self.checked += 1;
        if !good {
            self.wrong.push(what());
        }
    }
}

/// What reads a recording, by the name of its file.
type Player = fn(&Value, &mut Tally);

fn player(name: &str) -> Option<Player> {
    match name.split('-').next() {
        Some("peers") => Some(peers::play),
        Some("runtime") => Some(runtime::play),
        Some("spop") => Some(spop::play),
        _ => None,
    }
}

/// Bytes written as hexadecimal digits.
pub(crate) fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn folder() -> PathBuf {
    match std::env::var_os("HAPROXY_CONTROL_VECTORS") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/haproxy-control"),
    }
}

#[test]
fn recordings() {
    let folder = folder();
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
    paths.sort();
    assert!(!paths.is_empty(), "{} holds no JSON file", folder.display());
    let (mut total, mut wrong) = (0, vec![]);
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = match serde_json::from_slice::<Value>(&text) {
            Ok(file) => file,
            Err(e) => {
                wrong.push(format!("{name}: is no JSON: {e}"));
                continue;
            }
        };
        let Some(play) = player(&name) else {
            wrong.push(format!("{name}: nothing reads files of this name"));
            continue;
        };
        let mut tally = Tally::default();
        play(&file, &mut tally);
        println!("{name}: {} checked, {} wrong", tally.checked, tally.wrong.len());
        tally.check(tally.checked > 0, || "nothing in it".to_owned());
        total += tally.checked;
        wrong.extend(tally.wrong.into_iter().map(|w| format!("{name}: {w}")));
    }
    println!("{total} checked, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(30)].join("\n"));
}
