//! What the system knows of a process, and processes that end with us.
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// CPU time and memory of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// Resident memory, in KiB.
    pub(crate) resident: u64,
}

impl Usage {
    /// Reads `/proc`; `None` when the process is gone.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; the numbers follow the last one.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let user: u64 = fields.next()?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident = resident.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self { cpu: Duration::from_nanos((user + system) * (1_000_000_000 / ticks_per_second())), resident })
    }
}

/// The processes that a balancer is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched {
    /// The balancer itself.
    pub(crate) balancer: u32,
    /// Its Redis, if it has one.
    pub(crate) redis: Option<u32>,
}

fn ticks_per_second() -> u64 {
    static TICKS: OnceLock<u64> = OnceLock::new();
    *TICKS.get_or_init(|| {
        let asked = Command::new("getconf").arg("CLK_TCK").output().ok();
        let told = asked.and_then(|output| String::from_utf8(output.stdout).ok()?.trim().parse().ok());
        told.filter(|ticks| (1..=1_000_000).contains(ticks)).unwrap_or(100)
    })
}

/// A child that is killed when this is dropped.
pub(crate) struct Owned(pub(crate) Child);

impl Owned {
    pub(crate) fn spawn(command: &mut Command) -> Result<Self, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        command
            .spawn()
            .map(Self)
            .map_err(|error| format!("cannot start {program}: {error}; check that it is installed"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Says so when the child has ended.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.0.try_wait().ok().flatten().map(|status| status.to_string())
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Moves this process, and what it starts from now on, to a core. False when that cannot be done.
pub(crate) fn pin_self(core: usize) -> bool {
    let mut command = Command::new("taskset");
    command.args(["-a", "-cp", &core.to_string(), &std::process::id().to_string()]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The program started on one core.
pub(crate) fn pinned(program: &std::path::Path, core: usize) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}
