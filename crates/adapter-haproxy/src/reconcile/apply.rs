//! A plan carried out on a live process.

use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep_until};

use crate::runtime::{Client, Command, Pinned, Process, RefusalKind, RuntimeError, ServerName, ServerState, later};

use super::plan::{Action, Commands};
use super::running::Running;
use super::wanted::Wanted;

/// The most steps that were not undone an error names.
const MAX_SHOWN: usize = 5;

/// How a plan is carried out.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ApplyOptions {
    /// How long the connections of a server to be deleted may take to end. Default 10 s.
    pub idle_deadline: Duration,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self { idle_deadline: Duration::from_secs(10) }
    }
}

impl ApplyOptions {
    /// Waits so long for connections to end.
    #[must_use]
    pub fn with_idle_deadline(mut self, limit: Duration) -> Self {
        self.idle_deadline = limit;
        self
    }
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// The process it was done to.
    pub process: Process,
    /// How many steps.
    pub steps: usize,
    /// How long it took.
    pub took: Duration,
}

/// What became of the steps before the one that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RollBack {
    /// All are undone: the process is as it was.
    Whole,
    /// These could not be undone, with the reason: plan anew. Once HAProxy does not answer for as long as
    /// [`dump_deadline`](crate::runtime::ClientOptions::dump_deadline) says, the rest is not tried.
    Partly(Vec<String>),
    /// Another process answers now, which knows nothing of them: plan anew.
    NewProcess,
}

/// Why a step failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ApplyCause {
    /// HAProxy refused it, or did not answer.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Connections to the server did not end.
    #[error("{server} has {used} connections in use after {after:?}: drain it first, or give them more time")]
    Busy {
        /// The server.
        server: ServerName,
        /// Connections left.
        used: u64,
        /// The limit.
        after: Duration,
    },
}

impl ApplyCause {
    fn is_new_process(&self) -> bool {
        matches!(self, Self::Runtime(RuntimeError::NewProcess { .. }))
    }

    fn maybe_done(&self) -> bool {
        matches!(self, Self::Runtime(error) if error.maybe_done())
    }

    fn is_silence(&self) -> bool {
        matches!(self, Self::Runtime(error) if error.is_retryable())
    }
}

/// A plan that was not carried out.
#[derive(Debug, Error)]
#[error("step {step} ({action}): {cause}; {}", match rollback {
    RollBack::Whole => "all steps before it are undone".to_owned(),
    RollBack::Partly(left) => format!("{} not undone: {}", left.len(), left.get(..MAX_SHOWN).unwrap_or(left).join(", ")),
    RollBack::NewProcess => "nothing is to be undone in a new process: plan anew".to_owned(),
})]
pub struct ApplyError {
    /// The step, from 1.
    pub step: usize,
    /// What it should have done.
    pub action: String,
    /// Why it did not.
    #[source]
    pub cause: ApplyCause,
    /// What became of the steps before.
    pub rollback: RollBack,
}

impl Client {
    /// What is running, as far as this model is concerned: its backends, all servers, its maps.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn running(&self, wanted: &Wanted) -> Result<Running, RuntimeError> {
        let process = self.process().await?;
        let mut servers = self.servers_state(None).await?;
        servers.retain(|server| wanted.backends.iter().any(|backend| backend.name == server.backend));
        let mut running = Running::new(process.version, servers).with_backends(self.backends().await?);
        let maps = self.maps().await?;
        for map in wanted.pins.iter().filter(|pins| maps.iter().any(|map| map.path == pins.file)) {
            running = running.with_map(map.file.clone(), self.map_entries(&map.file).await?);
        }
        self.confirm(&process).await?;
        Ok(running)
    }

    /// Carries a plan out, step by step, on one process. When a step fails those before it are undone, the last one
    /// first. At the end the process that listens is looked at once more: orders to one that a reload has just replaced
    /// would be lost.
    ///
    /// Keep [`Commands::held_meanwhile`] before, and [`Commands::held`] after it.
    ///
    /// # Errors
    ///
    /// [`ApplyError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, it ends after any step and undoes none: plan anew. A server about to be deleted may then be at the port
    /// after its own, in maintenance.
    pub async fn apply(&self, commands: &Commands, options: ApplyOptions) -> Result<Applied, ApplyError> {
        let began = Instant::now();
        let mut run =
            Run { client: self, process: None, astray: None, end: later(began, options.idle_deadline), options };
        for (at, step) in commands.steps().iter().enumerate() {
            let Err(cause) = run.step(&step.action).await else { continue };
            let done = if cause.maybe_done() { at + 1 } else { at };
            let refused = matches!(&cause, ApplyCause::Runtime(error) if error.refusal().is_some());
            // A process on its way out refuses much.
            let rollback = if cause.is_new_process() || (refused && run.is_replaced().await) {
                RollBack::NewProcess
            } else {
                run.back(commands, done, at).await
            };
            return Err(ApplyError { step: at + 1, action: step.action.to_string(), cause, rollback });
        }
        let count = commands.steps().len();
        let finished = match &run.process {
            Some(process) => self.confirm(process).await.map(|()| process.clone()),
            None => self.process().await,
        };
        match finished {
            Ok(process) => Ok(Applied { process, steps: count, took: began.elapsed() }),
            Err(error) => {
                let cause = ApplyCause::from(error);
                let action = "confirm that the process is the same".to_owned();
                let all = run.back(commands, count, count);
                let rollback = if cause.is_new_process() { RollBack::NewProcess } else { all.await };
                Err(ApplyError { step: count + 1, action, cause, rollback })
            }
        }
    }
}

struct Run<'c> {
    client: &'c Client,
    process: Option<Process>,
    /// A server whose address is for a moment not its own.
    astray: Option<ServerState>,
    end: Instant,
    options: ApplyOptions,
}

impl Run<'_> {
    /// The process of the first step.
    async fn pinned(&mut self) -> Result<Pinned, RuntimeError> {
        if let Some(process) = &self.process {
            return Ok(process.pin());
        }
        let now = self.client.process().await?;
        let pinned = now.pin();
        self.process = Some(now);
        Ok(pinned)
    }

    /// Whether another process serves than that of the first step.
    async fn is_replaced(&self) -> bool {
        let Some(process) = &self.process else { return false };
        matches!(self.client.confirm(process).await, Err(RuntimeError::NewProcess { .. }))
    }

    /// One action, on the process of the first one.
    async fn step(&mut self, action: &Action) -> Result<(), ApplyCause> {
        let pinned = self.pinned().await?;
        match action {
            Action::Command(command) => self.client.call_of(command, Some(pinned)).await.map(drop)?,
            Action::ReplaceMap { map, entries } => {
                self.client.replace_map_of(map, entries, pinned).await.map(drop)?;
            }
            Action::AwaitIdle(server) => self.idle(server).await?,
            Action::Delete(server) => self.delete(server, pinned).await?,
        }
        Ok(())
    }

    async fn idle(&self, server: &ServerName) -> Result<(), ApplyCause> {
        let mut pause = Duration::from_millis(5);
        loop {
            let all = self.client.server_conns(server.backend()).await?;
            let used = all.iter().find(|conns| conns.server == server.server()).map_or(0, |conns| conns.used);
            if used == 0 {
                return Ok(());
            }
            let next = Instant::now() + pause;
            if next > self.end {
                return Err(ApplyCause::Busy { server: server.clone(), used, after: self.options.idle_deadline });
            }
            sleep_until(next).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    /// Deletes a server in maintenance, once its idle connections are gone.
    async fn delete(&mut self, server: &ServerName, pinned: Pinned) -> Result<(), ApplyCause> {
        let command = Command::del_server(server);
        let mut pause = Duration::from_millis(5);
        loop {
            let Err(error) = self.client.call_of(&command, Some(pinned)).await else { return Ok(()) };
            let busy = error.refusal().is_some_and(|refusal| refusal.kind() == RefusalKind::InUse);
            let next = Instant::now() + pause;
            if !busy || next > self.end {
                return Err(error.into());
            }
            self.close_idle(server, pinned).await?;
            sleep_until(next).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    /// Closes the idle connections to a server in maintenance. HAProxy itself lets them go one by one, over half a minute
    /// and more; it closes all of them when the server's address changes, and changes back.
    async fn close_idle(&mut self, server: &ServerName, pinned: Pinned) -> Result<(), ApplyCause> {
        let Some(state) = self.client.server_state(server).await? else { return Ok(()) };
        let Some(address) = state.address else { return Ok(()) };
        if state.fqdn.is_some() || !state.is_maintenance() {
            return Ok(());
        }
        let other = if state.port == u16::MAX { 1 } else { state.port + 1 };
        let away = Command::set_address(server, address, Some(other));
        self.astray = Some(state);
        self.client.call_of(&away, Some(pinned)).await?;
        Ok(self.come_home(pinned).await?)
    }

    /// Gives a server its own address again.
    async fn come_home(&mut self, pinned: Pinned) -> Result<(), RuntimeError> {
        let Some(state) = &self.astray else { return Ok(()) };
        if let Some(address) = state.address {
            let server = ServerName::new(&state.backend, &state.name)?;
            let home = Command::set_address(&server, address, Some(state.port));
            self.client.call_of(&home, Some(pinned)).await?;
        }
        self.astray = None;
        Ok(())
    }

    /// Undoes the first `done` steps; of those from `sure` on it is not known whether they took place.
    async fn back(&mut self, commands: &Commands, done: usize, sure: usize) -> RollBack {
        let began = Instant::now();
        self.end = later(began, self.options.idle_deadline);
        let patience = later(began, self.client.options().dump_deadline);
        let mut left = Vec::new();
        let mut silent = false;
        if let (Some(astray), Some(process)) = (&self.astray, &self.process) {
            let (pinned, what) = (process.pin(), format!("the address of {}/{}", astray.backend, astray.name));
            if let Err(error) = self.come_home(pinned).await {
                let cause = ApplyCause::from(error);
                if cause.is_new_process() {
                    return RollBack::NewProcess;
                }
                left.push(format!("{what} ({cause})"));
            }
        }
        for (at, step) in commands.steps().iter().enumerate().take(done).rev() {
            for action in &step.undo {
                if silent {
                    left.push(format!("{action} (not tried: HAProxy does not answer)"));
                    continue;
                }
                let Err(cause) = self.step(action).await else { continue };
                if cause.is_new_process() {
                    return RollBack::NewProcess;
                }
                silent = cause.is_silence() && Instant::now() >= patience;
                let refused = matches!(&cause, ApplyCause::Runtime(error) if error.refusal().is_some());
                if at < sure || !refused {
                    left.push(format!("{action} ({cause})"));
                }
            }
        }
        if left.is_empty() {
            RollBack::Whole
        } else if !silent && self.is_replaced().await {
            RollBack::NewProcess
        } else {
            RollBack::Partly(left)
        }
    }
}
