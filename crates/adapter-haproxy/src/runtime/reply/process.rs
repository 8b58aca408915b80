//! What a master says of its processes.

use std::str::FromStr;
use std::time::Duration;

use super::super::error::ReplyError;
use super::{number, numbered};

/// What a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessKind {
    /// The master.
    Master,
    /// A worker.
    Worker,
    /// A program started beside them, or anything new.
    Other(String),
}

/// One line of `show proc`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MasterProcess {
    /// The process number.
    pub pid: u32,
    /// What it is.
    pub kind: ProcessKind,
    /// Reloads since it started.
    pub reloads: u32,
    /// Reloads that failed; of the master only.
    pub failed: u32,
    /// For how long it has run.
    pub uptime: Duration,
    /// Its release.
    pub version: String,
    /// Whether it is on its way out, under `# old workers`.
    pub old: bool,
}

/// The answer to `show proc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// All of them, in order.
    pub all: Vec<MasterProcess>,
}

impl Processes {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] for a line of another form, or without a master.
    pub fn parse(text: &str) -> Result<Self, ReplyError> {
        let mut all = Vec::new();
        let mut old = false;
        for (n, line) in numbered(text) {
            if let Some(title) = line.strip_prefix('#') {
                old = title.trim() == "old workers";
                continue;
            }
            if line.trim().is_empty() {
                continue;
            }
            all.push(read(n, line, old)?);
        }
        if !all.iter().any(|p| p.kind == ProcessKind::Master) {
            return Err(ReplyError::new(1, text.lines().next().unwrap_or_default(), "the processes of a master"));
        }
        Ok(Self { all })
    }

    /// The master.
    pub fn master(&self) -> Option<&MasterProcess> {
        self.all.iter().find(|p| p.kind == ProcessKind::Master)
    }

    /// The worker that `@1` reaches. After a failed reload 3.x lists it as old.
    pub fn worker(&self) -> Option<&MasterProcess> {
        let workers = || self.all.iter().filter(|p| p.kind == ProcessKind::Worker);
        workers().find(|p| !p.old).or_else(|| workers().min_by_key(|p| p.reloads))
    }

    /// Workers on their way out: each keeps connections, memory, and the rooms of its time.
    pub fn old_workers(&self) -> impl Iterator<Item = &MasterProcess> {
        self.all.iter().filter(|p| p.kind == ProcessKind::Worker && p.old)
    }
}

fn read(n: usize, line: &str, old: bool) -> Result<MasterProcess, ReplyError> {
    let what = "pid type reloads uptime version";
    let error = || ReplyError::new(n, line, what);
    let mut words = line.split_whitespace();
    let pid = number(words.next().unwrap_or_default(), n, line, what)?;
    let kind = match words.next().ok_or_else(error)? {
        "master" => ProcessKind::Master,
        "worker" => ProcessKind::Worker,
        other => ProcessKind::Other(other.to_owned()),
    };
    let reloads = number(words.next().unwrap_or_default(), n, line, what)?;
    let mut next = words.next().ok_or_else(error)?;
    let mut failed = 0;
    if next == "[failed:" {
        let count = words.next().ok_or_else(error)?;
        failed = number(count.trim_end_matches(']'), n, line, what)?;
        next = words.next().ok_or_else(error)?;
    }
    let uptime = uptime(next).ok_or_else(error)?;
    let version = words.next().unwrap_or_default().to_owned();
    Ok(MasterProcess { pid, kind, reloads, failed, uptime, version, old })
}

/// Reads `0d00h02m07s`.
fn uptime(text: &str) -> Option<Duration> {
    let (days, rest) = text.split_once('d')?;
    let (hours, rest) = rest.split_once('h')?;
    let (minutes, rest) = rest.split_once('m')?;
    let seconds = rest.strip_suffix('s')?;
    let read = |text: &str| text.parse::<u32>().ok().map(u64::from);
    Some(Duration::from_secs(read(days)? * 86400 + read(hours)? * 3600 + read(minutes)? * 60 + read(seconds)?))
}

/// The answer to `reload` from 2.8 on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadOutcome {
    /// Whether the new configuration is in force.
    pub success: bool,
    /// What was logged at the start.
    pub log: String,
}

/// Reads `Success=1`, `--` and the log.
impl FromStr for ReloadOutcome {
    type Err = ReplyError;

    fn from_str(text: &str) -> Result<Self, ReplyError> {
        let (head, log) = text.split_once('\n').unwrap_or((text, ""));
        let success = match head.trim() {
            "Success=1" => true,
            "Success=0" => false,
            other => return Err(ReplyError::new(1, other, "Success=0 or Success=1")),
        };
        Ok(Self { success, log: log.strip_prefix("--").unwrap_or(log).trim().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes() {
        let text = "#<PID>          <type>          <reloads>       <uptime>        <version>\n\
                    1162            master          5 [failed: 1]   0d00h02m07s     2.6.12\n# workers\n\
                    1271            worker          1               0d00h00m00s     2.6.12\n# old workers\n\
                    1233            worker          3               1d00h00m43s     2.6.12\n# programs\n\
                    1244            foo             0               0d00h00m00s     -";
        let all = Processes::parse(text).unwrap();
        assert_eq!(all.master().map(|p| (p.pid, p.failed, p.uptime.as_secs())), Some((1162, 1, 127)));
        assert_eq!(all.worker().unwrap().pid, 1271);
        assert_eq!(all.old_workers().map(|p| p.uptime.as_secs()).collect::<Vec<_>>(), [86443]);
        assert!(Processes::parse("1 worker x").is_err() && Processes::parse("").is_err());
        let reload: ReloadOutcome = "Success=0\n--\n[ALERT] x\n".parse().unwrap();
        assert!(!reload.success && reload.log == "[ALERT] x");
    }
}
