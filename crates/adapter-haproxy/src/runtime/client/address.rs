//! Where a runtime socket is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::super::error::{CommandError, shown};

/// Which worker of a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerTarget {
    /// The one in force, `@1`.
    Current,
    /// The one of this process number, `@!pid`: an old one too.
    Pid(u32),
}

impl WorkerTarget {
    pub(super) fn prefix(self) -> String {
        match self {
            Self::Current => "@1 ".to_owned(),
            Self::Pid(pid) => format!("@!{pid} "),
        }
    }
}

/// Where a runtime socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuntimeAddress {
    /// A socket in the file system.
    Unix(PathBuf),
    /// `host:port`. Nothing is encrypted and nobody is asked who they are: keep it on loopback.
    Tcp(String),
    /// A worker, through the socket of its master (`-S`).
    Worker {
        /// The master's socket.
        master: Box<Self>,
        /// Which worker.
        target: WorkerTarget,
    },
}

impl RuntimeAddress {
    /// A socket in the file system.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::Unix(path.into())
    }

    /// A worker, through the socket of its master.
    #[must_use]
    pub fn worker(self, target: WorkerTarget) -> Self {
        Self::Worker { master: Box::new(self), target }
    }
}

impl fmt::Display for RuntimeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix@{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp@{address}"),
            Self::Worker { master, target } => write!(f, "{}{master}", target.prefix()),
        }
    }
}

/// Reads `/run/lb/admin.sock`, `unix@/run/lb/admin.sock`, `127.0.0.1:9999`, `ipv4@127.0.0.1:9999`, as `stats socket` is
/// written.
impl FromStr for RuntimeAddress {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, CommandError> {
        let what = "address of a runtime socket";
        if text.is_empty() {
            return Err(CommandError::Empty { what });
        }
        if let Some(path) = text.strip_prefix("unix@").or_else(|| text.starts_with('/').then_some(text)) {
            return Ok(Self::unix(path));
        }
        let tcp = ["tcp@", "ipv4@", "ipv6@", "tcp4@", "tcp6@"].iter().find_map(|p| text.strip_prefix(p));
        let tcp = tcp.unwrap_or(text);
        let port = tcp.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_some_and(|p| p != 0) && !tcp.contains('@') {
            return Ok(Self::Tcp(tcp.to_owned()));
        }
        let why = "write a path, or host:port with a port from 1 to 65535";
        Err(CommandError::Reserved { what, text: shown(text), why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, back) in [
            ("/run/a", "unix@/run/a"),
            ("unix@/run/a", "unix@/run/a"),
            ("ipv4@127.0.0.1:99", "tcp@127.0.0.1:99"),
            ("localhost:99", "tcp@localhost:99"),
            ("[::1]:99", "tcp@[::1]:99"),
        ] {
            assert_eq!(text.parse::<RuntimeAddress>().unwrap().to_string(), back);
        }
        for bad in ["", "host", "host:99999", "host:0", "fd@3:1"] {
            assert!(bad.parse::<RuntimeAddress>().is_err(), "{bad}");
        }
        let worker = RuntimeAddress::unix("/m").worker(WorkerTarget::Pid(7));
        assert_eq!(worker.to_string(), "@!7 unix@/m");
    }
}
