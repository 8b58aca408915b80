//! The lock file that says which process owns a store.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::stick::{StickError, WallClock};

/// Longer lock files are not ours.
const LONGEST: u64 = 4096;

#[derive(Serialize, Deserialize)]
struct Record {
    pid: u32,
    host: String,
    since_ms: u64,
}

/// Holds `PATH.lock` locked; the kernel lets go of it when the process ends, however it ends.
pub(super) struct Owner {
    file: File,
}

impl Owner {
    pub(super) fn take(path: &Path, clock: &WallClock) -> Result<Self, StickError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = PathBuf::from(name);
        let unusable = |error: std::io::Error| StickError::Config {
            what: format!("lock file {}", lock.display()),
            why: format!("{error}; the directory must exist and be writable for this process"),
        };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&lock).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(owned(path, &mut file)),
            // A file system without locks: the database's own lock is left to tell.
            Err(TryLockError::Error(error)) => tracing::debug!(path = %lock.display(), %error, "cannot be locked"),
        }
        let record = Record { pid: std::process::id(), host: host(), since_ms: clock.now_ms() };
        let text = serde_json::to_vec(&record).unwrap_or_default();
        file.set_len(0).and_then(|()| file.write_all(&text)).map_err(unusable)?;
        Ok(Self { file })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // The name of a past owner would mislead. The file itself stays: removing it would race with the next owner.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

fn owned(path: &Path, file: &mut File) -> StickError {
    let mut text = Vec::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(LONGEST).read_to_end(&mut text));
    let record = read.ok().and_then(|_| serde_json::from_slice::<Record>(&text).ok());
    let who = match record {
        Some(Record { pid, host, since_ms }) => {
            let seconds = WallClock::system().now_ms().saturating_sub(since_ms) / 1000;
            format!("process {pid} on host {host} has owned it for {seconds} s")
        }
        None => "another process owns it".to_owned(),
    };
    refused(path, &who)
}

/// The error for a file that somebody else has open.
pub(super) fn refused(path: &Path, who: &str) -> StickError {
    StickError::Refused {
        target: path.display().to_string(),
        why: format!("{who}; stop that process, give this one a file of its own, or share a Redis server"),
    }
}

fn host() -> String {
    let named = |path: &str| std::fs::read_to_string(path).ok();
    named("/proc/sys/kernel/hostname")
        .or_else(|| named("/etc/hostname"))
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
