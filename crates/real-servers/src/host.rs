//! What a test needs from the host it runs on.

use std::net::TcpListener;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longest wait for a server that starts again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Below the ports that a system gives to outgoing connections, of which tests make many: one of these could take the
/// port of a server that is about to start.
const PORTS: std::ops::Range<u32> = 10_000..32_000;

/// A loopback port on which nobody listens, and that no other test of this process was given.
///
/// # Panics
///
/// When no port is left.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let many = PORTS.end - PORTS.start;
    // Other processes begin elsewhere.
    let first = std::process::id().wrapping_mul(211) % many;
    let free = |_| {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(PORTS.start + first.wrapping_add(given) % many).ok()?;
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    };
    PORTS.into_iter().find_map(free).expect("a free loopback port")
}

/// The installed HAProxy: `HAPROXY`, or where packages put it. Under `CI=true` it must be there; elsewhere its absence
/// is said.
///
/// # Panics
///
/// When there is none and `CI` is `true`.
pub fn haproxy() -> Option<PathBuf> {
    let places = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/usr/bin/haproxy"];
    let named = std::env::var_os("HAPROXY").map(PathBuf::from);
    let found = named.or_else(|| places.iter().map(PathBuf::from).find(|path| path.is_file()));
    if found.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "haproxy is not installed");
        println!("skipped: haproxy is not installed");
    }
    found
}

/// A folder of one test, gone when dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new one, with this in its name.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("balancer-{}-{count}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    /// Writes a file in it.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn put(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.join(name), text).expect("a file of the test is written");
        self
    }

    /// Reads a file in it.
    ///
    /// # Panics
    ///
    /// When it cannot be read.
    pub fn get(&self, name: &str) -> String {
        std::fs::read_to_string(self.join(name)).expect("a file of the test is read")
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ports_are_given_once_and_are_free() {
        let ports: HashSet<u16> = (0..50).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|port| PORTS.contains(&u32::from(*port))));
        let taken = free_port();
        let _held = TcpListener::bind(("127.0.0.1", taken + 1));
        assert_ne!(free_port(), taken + 1);
    }
}
