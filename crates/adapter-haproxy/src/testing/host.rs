//! What our own tests need from the host.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::version::HaproxyVersion;

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

/// The branch of an installed HAProxy.
pub(crate) fn version_of(haproxy: &Path) -> HaproxyVersion {
    let told = Command::new(haproxy).arg("-v").output().expect("haproxy runs").stdout;
    let told = String::from_utf8_lossy(&told);
    told.split(' ').find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("no version in {told:?}"))
}

/// A folder of one test, gone when dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("adapter-haproxy-{}-{count}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
