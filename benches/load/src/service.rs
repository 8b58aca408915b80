//! A program under measurement: started in a directory of its own, waited for, its log at hand.
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::{Connection, Target};
use crate::process::Owned;

/// Longest wait for a process to be ready.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A directory that is removed when this is dropped.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("bbb-load-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind lies in the system's own folder for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running service; it ends with this.
pub(crate) struct Service {
    pub(crate) target: Target,
    name: &'static str,
    process: Owned,
    log: PathBuf,
}

impl Service {
    /// Starts it; what it says goes to the log.
    pub(crate) fn spawn(
        name: &'static str,
        command: &mut Command,
        target: Target,
        scratch: &Path,
    ) -> Result<Self, String> {
        let log = scratch.join("log");
        Ok(Self { target, name, process: spawn_logged(command, &log)?, log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Asks again and again until the answer fits.
    pub(crate) async fn wait(
        &mut self,
        what: &str,
        request: &[u8],
        fits: impl Fn(u16, &str) -> bool,
    ) -> Result<(), String> {
        let name = self.name;
        let deadline = Instant::now() + PATIENCE;
        let mut last = "no connection".to_owned();
        while Instant::now() < deadline {
            if let Some(status) = self.process.ended() {
                return Err(self.fault(&format!("{name} ended ({status})")));
            }
            match Connection::new(self.target.addr).exchange(request).await {
                Ok(reply) => {
                    last = String::from_utf8_lossy(reply.body).into_owned();
                    if fits(reply.status, &last) {
                        return Ok(());
                    }
                }
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(self.fault(&format!("waited {PATIENCE:?} until {name} {what}; last: {last:.400}")))
    }

    /// The fault and the end of the log.
    pub(crate) fn fault(&self, what: &str) -> String {
        with_log(what, &self.log)
    }
}

/// Runs a command to its end, which comes within `patience`.
pub(crate) async fn finish(command: &mut Command, patience: Duration, scratch: &Path) -> Result<(), String> {
    let log = scratch.join("log");
    let shown = format!("{command:?}");
    let mut process = spawn_logged(command, &log)?;
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        match process.0.try_wait() {
            Ok(None) => tokio::time::sleep(Duration::from_millis(20)).await,
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(with_log(&format!("{shown:.300}: {status}"), &log)),
            Err(error) => return Err(format!("{shown:.300}: {error}")),
        }
    }
    Err(with_log(&format!("{shown:.300} did not end within {patience:?}"), &log))
}

fn spawn_logged(command: &mut Command, path: &Path) -> Result<Owned, String> {
    let log = File::create(path).and_then(|log| Ok((log.try_clone()?, log)));
    let (log, also) = log.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Owned::spawn(command.stdin(Stdio::null()).stdout(log).stderr(also))
}

fn with_log(what: &str, path: &Path) -> String {
    let log = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(15)..].join("\n  ");
    if tail.is_empty() { what.to_owned() } else { format!("{what}\nits log ends with:\n  {tail}") }
}

pub(crate) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let addr = listener.and_then(|listener| listener.local_addr());
    addr.map(|addr| addr.port()).map_err(|error| format!("no free port: {error}"))
}
