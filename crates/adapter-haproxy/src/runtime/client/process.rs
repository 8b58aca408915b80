//! Who answers a client.

use crate::HaproxyVersion;

use super::super::session::Level;

/// The process that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in seconds since 1970.
    pub started: Option<u64>,
    /// Its release.
    pub version: HaproxyVersion,
    /// Its release and build, as HAProxy writes it.
    pub version_text: String,
    /// What this socket may do. Through a master: taken for `admin`.
    pub level: Level,
    /// Whether it is on its way out.
    pub stopping: bool,
    /// Counts the processes this client has met, from 1: another number is another process, whose memory (servers
    /// added, maps changed, versions prepared) is not that of the one before.
    pub generation: u64,
}

impl Process {
    pub(crate) fn pin(&self) -> Pinned {
        Pinned { generation: self.generation, pid: self.pid }
    }
}

/// The process that work began with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pinned {
    pub(in crate::runtime) generation: u64,
    pub(in crate::runtime) pid: u32,
}
