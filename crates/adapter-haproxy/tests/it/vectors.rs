//! Recorded requests and scenarios.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file of the edumeet recordings: the crate's own, or those of the folder that `EDUMEET_VECTORS` names.
pub(crate) fn edumeet(name: &str) -> Value {
    read("EDUMEET_VECTORS", "edumeet", name)
}

/// A file of the Jitsi recordings: the crate's own, or those of the folder that `JITSI_VECTORS` names.
pub(crate) fn jitsi(name: &str) -> Value {
    read("JITSI_VECTORS", "jitsi", name)
}

fn read(variable: &str, own: &str, name: &str) -> Value {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(own);
    let path = std::env::var_os(variable).map_or(own, PathBuf::from).join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A list in a file.
pub(crate) fn list<'a>(file: &'a Value, name: &str) -> &'a [Value] {
    file[name].as_array().unwrap_or_else(|| panic!("no list {name}"))
}
