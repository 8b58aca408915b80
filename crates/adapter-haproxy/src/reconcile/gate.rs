//! Reloads that lose nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, TcpListener};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::process::Command as Program;
use tokio::time::{Instant, sleep_until, timeout};

use crate::render::pin_key;
use crate::runtime::{
    Client, MasterClient, PeersFlags, ReloadReport, RuntimeError, TableEntry, TableFilter, WorkerTarget, later,
};
use crate::{ConfigFile, MAX_CONFIG_LEN, haproxy_listeners};

use super::file::{self, Draft, FileError};

/// The most bytes of HAProxy's remarks that an error repeats.
const MAX_LOG: usize = 4000;

/// A reload that did not take place. The process of before goes on, with the file of before.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The file is larger than is read.
    #[error("the configuration has {len} bytes, {MAX_CONFIG_LEN} at most are taken")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// The file does not end as it should. The file in place is untouched.
    #[error("the configuration does not end with the line {line:?}: it was cut off; the file in place is untouched")]
    CutOff {
        /// The line.
        line: String,
    },
    /// HAProxy would not load it. The file in place is untouched.
    #[error("haproxy -c refuses the configuration; the file in place is untouched:\n{log}")]
    Invalid {
        /// Its remarks.
        log: String,
    },
    /// Somebody else listens where it is to listen, which `haproxy -c` does not see. The file in place is untouched.
    ///
    /// A reload would not only fail: while it tries, the worker of before lets go of its own ports.
    #[error("{line}: somebody else listens there, look who with `ss -ltnp`; the file in place is untouched")]
    Taken {
        /// The address and the line.
        line: String,
    },
    /// HAProxy could not be asked.
    #[error("cannot run {} -c: {source}: name the program that is installed", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The tables of the process are not together.
    #[error(
        "peers section {section} has flags {:#x} after {after:?}: its tables are not together, a reload would lose them; \
         look at `show peers`, and whether the local peer's name and address are right", flags.0
    )]
    NotReady {
        /// The section.
        section: String,
        /// Its flags.
        flags: PeersFlags,
        /// The limit.
        after: Duration,
    },
    /// Too many processes are on their way out.
    #[error("{count} old workers are there, {max} at most are allowed: set hard-stop-after, or wait for their clients")]
    OldWorkers {
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// HAProxy checked it well and did not start with it: a port that was taken meanwhile, a socket it cannot make. The file of
    /// before is back in place.
    #[error("HAProxy did not start with the configuration, the file of before is back in place:\n{log}")]
    Refused {
        /// Its remarks; 2.6 tells none.
        log: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The master or its worker did not answer.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// A reload that took place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// What the master says of it, old workers among it.
    pub report: ReloadReport,
    /// How long the tables were waited for.
    pub waited: Duration,
    /// What `haproxy -c` remarked; empty is best.
    pub remarks: String,
}

/// Loads configurations through a master, when that loses nothing.
///
/// The steps: the new text is written beside the file and checked by `haproxy -c`; the tables of the worker are waited
/// for; the state of its servers is written, so that what operators ordered survives, and the pins in force; the file is
/// replaced in one step; the master reloads. If HAProxy does not start with it the file of before comes back, which was
/// kept on the disk meanwhile. The last file HAProxy was started with stays beside it with the ending `.good`.
///
/// One gate at a time works on a file. Files are written without leaving the thread, which takes some milliseconds.
#[derive(Debug)]
pub struct ReloadGate {
    master: MasterClient,
    worker: Client,
    file: PathBuf,
    program: PathBuf,
    arguments: Vec<OsString>,
    state_file: Option<PathBuf>,
    pins: Vec<(String, Option<String>)>,
    ready: Duration,
    limit: Duration,
    max_old: Option<usize>,
    last_line: Option<String>,
}

impl ReloadGate {
    /// A gate before the file that this master loads.
    pub fn new(master: MasterClient, file: impl AsRef<Path>) -> Self {
        Self {
            worker: master.worker(WorkerTarget::Current),
            master,
            file: file::behind_links(file.as_ref()),
            program: "haproxy".into(),
            arguments: Vec::new(),
            state_file: None,
            pins: Vec::new(),
            ready: Duration::from_secs(30),
            limit: Duration::from_secs(30),
            max_old: None,
            last_line: None,
        }
    }

    /// Checks with this program. Default `haproxy`, as the `PATH` has it.
    #[must_use]
    pub fn with_program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = path.into();
        self
    }

    /// Checks with these arguments more: `-L` and a name, other files.
    #[must_use]
    pub fn with_arguments(mut self, arguments: impl IntoIterator<Item = OsString>) -> Self {
        self.arguments.extend(arguments);
        self
    }

    /// Writes the state of the servers to this file, which the configuration names as `server-state-file`.
    #[must_use]
    pub fn with_state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_file = Some(path.into());
        self
    }

    /// Writes the pins in force to their map file, and what this stick table of decoded room names holds beside them. Call
    /// it for each map there is.
    ///
    /// A new worker serves some milliseconds before the old one has handed its tables over. A room asked for in between
    /// is placed anew unless the file pins it. Those of the table stay pinned until the next plan takes them away: wait
    /// for [`ready`](Self::ready) before that. A room that is made after they were read, in the last moment before the
    /// reload, is left to the table and to the algorithm: choose one that hashes the room.
    #[must_use]
    pub fn with_pins(mut self, map: impl Into<String>, table: Option<String>) -> Self {
        self.pins.push((map.into(), table));
        self
    }

    /// Waits so long for the tables. Default 30 s; a fresh process takes some 5.
    #[must_use]
    pub fn with_ready_deadline(mut self, limit: Duration) -> Self {
        self.ready = limit;
        self
    }

    /// Waits so long for the check, and for the reload. Default 30 s each.
    #[must_use]
    pub fn with_deadline(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Does not reload while more old workers than this are there. Default: whatever their number.
    #[must_use]
    pub fn with_max_old_workers(mut self, count: usize) -> Self {
        self.max_old = Some(count);
        self
    }

    /// Takes only configurations whose last line is this one, a comment. Default: any.
    ///
    /// A file that was cut off at the end of a line may be a good one to HAProxy, with fewer servers.
    #[must_use]
    pub fn with_last_line(mut self, line: impl Into<String>) -> Self {
        self.last_line = Some(line.into());
        self
    }

    /// Where the last file is kept that HAProxy was started with.
    pub fn good_file(&self) -> PathBuf {
        file::with_end(&self.file, ".good")
    }

    /// Waits until the worker has its tables together; answers how long that took.
    ///
    /// # Errors
    ///
    /// [`ReloadError::NotReady`] at the deadline, [`ReloadError::Runtime`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn ready(&self) -> Result<Duration, ReloadError> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(5);
        loop {
            let open = match self.worker.peers().await {
                Ok(peers) => peers.into_iter().find(|s| !s.disabled && !s.flags.is_synchronised()).map(Ok),
                Err(error) if error.is_retryable() => Some(Err(error)),
                Err(error) => return Err(error.into()),
            };
            let Some(open) = open else { return Ok(began.elapsed()) };
            let next = Instant::now() + pause;
            if next > later(began, self.ready) {
                let section = open?;
                let (section, flags, after) = (section.name, section.flags, self.ready);
                return Err(ReloadError::NotReady { section, flags, after });
            }
            sleep_until(next).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Puts this configuration in force, or leaves everything as it is.
    ///
    /// # Errors
    ///
    /// [`ReloadError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the file may be replaced and not loaded; it has passed the check. Call it again.
    pub async fn reload(&self, text: &str) -> Result<Reloaded, ReloadError> {
        if text.len() > MAX_CONFIG_LEN {
            return Err(ReloadError::TooLong { len: text.len() });
        }
        if let Some(line) = &self.last_line
            && text.strip_suffix('\n').and_then(|text| text.lines().last()) != Some(line)
        {
            return Err(ReloadError::CutOff { line: line.clone() });
        }
        let before = file::read(&self.file)?;
        let good = self.good_file();
        if let Some(before) = &before
            && file::read(&good)?.is_none()
            && self.check(&self.file).await.is_ok()
        {
            file::replace(&good, before)?;
        }
        let draft = Draft::write(&self.file, text.as_bytes())?;
        let remarks = self.check(draft.path()).await?;
        let count = self.master.processes().await?.old_workers().count();
        if let Some(max) = self.max_old.filter(|max| count > *max) {
            return Err(ReloadError::OldWorkers { count, max });
        }
        // The ports of the process are in either: somebody may have edited the file in place.
        if let (Some(started), Some(before)) = (file::read(&good)?, &before)
            && let Some(line) = taken(text, &[before, &started])
        {
            return Err(ReloadError::Taken { line });
        }
        let waited = self.save().await?;
        // Both are on the disk before anything is replaced: later there may be no room for them.
        let kept = Draft::write(&good, text.as_bytes())?;
        let rescue = before.map(|before| Draft::write(&self.file, &before)).transpose()?;
        if let Err(error) = draft.place() {
            self.put_back(rescue)?;
            return Err(error.into());
        }
        let result = self.master.reload(self.limit).await;
        self.worker.renew().await;
        match result {
            Ok(report) if report.success => {
                kept.place()?;
                Ok(Reloaded { report, waited, remarks })
            }
            Ok(report) => {
                self.put_back(rescue)?;
                let log = cut(&report.log.unwrap_or_else(|| "see the log of the service".to_owned()));
                Err(ReloadError::Refused { log })
            }
            // It may be loaded yet: then the file agrees with the process.
            Err(error) if error.is_retryable() => Err(error.into()),
            Err(error) => {
                self.put_back(rescue)?;
                Err(error.into())
            }
        }
    }

    /// Waits for the tables and writes what the next process is to know: the state of the servers and the pins, as
    /// [`reload`](Self::reload) does. Call it before a restart. Answers how long the tables were waited for.
    ///
    /// A restart loses no request if the new process takes the listening sockets over before the old one lets go:
    /// `haproxy -W -S NEW-MASTER-SOCKET -f FILE -x STATS-SOCKET -sf MASTER-PID`, with `expose-fd listeners` on that
    /// `stats socket`. The old one then hands its tables over as at a reload. Stopped first and started then, it finds
    /// the rooms by the pins, and requests in between fail unless another HAProxy takes them.
    ///
    /// # Errors
    ///
    /// [`ReloadError`].
    ///
    /// # Cancel safety
    ///
    /// Safe: each file is the one of before or the new one.
    pub async fn save(&self) -> Result<Duration, ReloadError> {
        let waited = self.ready().await?;
        if let Some(path) = &self.state_file {
            file::replace(&file::behind_links(path), self.worker.state_file().await?.as_bytes())?;
        }
        for (map, table) in &self.pins {
            self.write_pins(map, table.as_deref()).await?;
        }
        Ok(waited)
    }

    async fn write_pins(&self, map: &str, table: Option<&str>) -> Result<(), ReloadError> {
        let mut pins = BTreeMap::new();
        for line in self.worker.map_entries(map).await? {
            pins.entry(line.key).or_insert(line.value);
        }
        if let Some(table) = table {
            let add = |entry: TableEntry| {
                if let Some(server) = entry.server_key.filter(|_| !entry.key.is_empty()) {
                    pins.entry(pin_key(&entry.key)).or_insert(server);
                }
                ControlFlow::Continue(())
            };
            self.worker.table_each(table, &TableFilter::All, add).await?;
        }
        let lines: String = pins.iter().map(|(room, server)| format!("{room} {server}\n")).collect();
        Ok(file::replace(&file::behind_links(Path::new(map)), lines.as_bytes())?)
    }

    /// The file of before, or none if there was none.
    fn put_back(&self, before: Option<Draft>) -> Result<(), FileError> {
        match before {
            Some(before) => before.place(),
            None => file::remove(&self.file),
        }
    }

    /// Asks `haproxy -c`; its remarks, if it would load the file.
    async fn check(&self, path: &Path) -> Result<String, ReloadError> {
        let failed = |source| ReloadError::Program { program: self.program.clone(), source };
        let mut program = Program::new(&self.program);
        program.arg("-c").arg("-f").arg(path).args(&self.arguments);
        program.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let output = match timeout(self.limit, program.output()).await {
            Ok(output) => output.map_err(failed)?,
            Err(_) => {
                let why = format!("no answer within {:?}: do all names resolve?", self.limit);
                return Err(failed(std::io::Error::new(std::io::ErrorKind::TimedOut, why)));
            }
        };
        let log = cut(&String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(log) } else { Err(ReloadError::Invalid { log }) }
    }
}

/// An address to listen on, on a port that is not there yet, which somebody else has.
fn taken(text: &str, before: &[&[u8]]) -> Option<String> {
    let listeners =
        |text: &str| ConfigFile::parse("new", text).map(|file| haproxy_listeners(&file)).unwrap_or_default();
    let before: Vec<_> = before.iter().flat_map(|text| listeners(&String::from_utf8_lossy(text))).collect();
    let new = listeners(text).into_iter().filter(|new| !before.iter().any(|old| old.port == new.port));
    new.filter_map(|new| {
        let host = if new.host == "*" { "0.0.0.0" } else { &new.host };
        // A name is not looked up here.
        let ip: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
        let error = TcpListener::bind((ip, new.port)).err()?;
        // We may lack rights that HAProxy has.
        let taken = error.kind() == std::io::ErrorKind::AddrInUse;
        taken.then(|| format!("{}:{} (line {})", new.host, new.port, new.line))
    })
    .next()
}

fn cut(log: &str) -> String {
    log.trim().chars().take(MAX_LOG).collect()
}
