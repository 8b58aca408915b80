//! What tests need from the host.

use std::path::{Path, PathBuf};

/// The installed HAProxy. Under `CI=true` it must be there; elsewhere its absence is said.
pub(crate) fn haproxy() -> Option<PathBuf> {
    let places = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/usr/bin/haproxy"];
    let named = std::env::var_os("HAPROXY").map(PathBuf::from);
    let found = named.or_else(|| places.iter().map(PathBuf::from).find(|path| path.is_file()));
    if found.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "haproxy is not installed");
        println!("skipped: haproxy is not installed");
    }
    found
}

/// A folder of this test process, empty at first use.
pub(crate) fn folder(name: &str) -> PathBuf {
    let base = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = Path::new(&base).join(format!("adapter-haproxy-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the test");
    folder
}
