//! The socket of a master process.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::client::{Broken, Client, ClientOptions, RuntimeAddress, Why, WorkerTarget};
use super::codec::Framing;
use super::command::Command;
use super::error::RuntimeError;
use super::limit::later;
use super::reply::{Processes, ReloadOutcome, Reply};
use super::session::SessionEvent;

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadReport {
    /// Whether the new configuration is in force. Otherwise the worker of before goes on.
    pub success: bool,
    /// What was logged at the start; 2.6 does not tell, look at the log of the service.
    pub log: Option<String>,
    /// The worker before.
    pub before: Option<u32>,
    /// The worker now.
    pub now: Option<u32>,
    /// Workers on their way out.
    pub old: usize,
    /// How long it took.
    pub took: Duration,
}

/// Asks and orders a master: `haproxy -W -S /run/lb/master.sock`.
///
/// Each command has a connection of its own, so that none is left when the master starts anew.
#[derive(Debug)]
pub struct MasterClient {
    client: Client,
}

impl MasterClient {
    /// A client of the master's socket at this address. Nothing is sent yet.
    pub fn new(address: RuntimeAddress, options: ClientOptions) -> Self {
        Self { client: Client::new(address, options) }
    }

    /// Where it connects to.
    pub fn address(&self) -> &RuntimeAddress {
        self.client.address()
    }

    /// A client of one of its workers.
    pub fn worker(&self, target: WorkerTarget) -> Client {
        Client::new(self.address().clone().worker(target), self.client.options().clone())
    }

    /// The processes: `show proc`.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn processes(&self) -> Result<Processes, RuntimeError> {
        self.processes_within(self.client.options().deadline).await
    }

    async fn processes_within(&self, limit: Duration) -> Result<Processes, RuntimeError> {
        let command = Command::show_processes();
        let reply = match self.ask(&command, limit).await {
            // It starts anew at a reload.
            Err(RuntimeError::Lost { .. }) => self.ask(&command, limit).await?,
            other => other?,
        };
        Ok(Processes::parse(command.accept(&reply)?).map_err(|e| e.of(command.line()))?)
    }

    async fn ask(&self, command: &Command, limit: Duration) -> Result<Reply, RuntimeError> {
        let limit = self.client.limit_of(limit);
        let mut reply = Reply::default();
        let mut sink = |_: usize, event: SessionEvent<'_>| {
            if let SessionEvent::Line(line) = event {
                reply.push(line);
            }
            ControlFlow::Continue(())
        };
        let commands = std::slice::from_ref(command);
        let result = match self.client.open(self.address(), Framing::Close, limit).await {
            Ok(mut link) => link.exchange("", commands, limit.end(), limit.silence, &mut sink).await,
            Err(broken) => Err(broken),
        };
        match result {
            Ok(()) => Ok(reply),
            Err(broken) => Err(self.client.error(&broken, commands, limit)),
        }
    }

    /// Loads the configuration anew, and waits until it is in force or refused. 2.6 answers before it knows: its
    /// processes are looked at until they tell.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`] if the master does not answer; a configuration that is refused is no error but a report without
    /// success.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the reload may take place.
    pub async fn reload(&self, limit: Duration) -> Result<ReloadReport, RuntimeError> {
        let began = Instant::now();
        let end = later(began, limit);
        let left = || end.saturating_duration_since(Instant::now());
        let was = self.processes_within(left()).await?;
        let (before, master) = (was.worker().map(|w| w.pid), was.master());
        let (reloads, failed) = master.map_or((0, 0), |m| (m.reloads, m.failed));
        let command = Command::raw("reload")?;
        let answer = match self.ask(&command, left()).await {
            Ok(reply) => {
                let text = command.accept(&reply)?;
                if text.trim().is_empty() { None } else { Some(text.to_owned()) }
            }
            // 2.6 closes as it starts anew.
            Err(RuntimeError::Lost { .. }) => None,
            Err(e) => return Err(e),
        };
        let outcome: Option<ReloadOutcome> = match answer {
            Some(text) => Some(text.parse().map_err(|e: super::ReplyError| e.of(command.line()))?),
            None => None,
        };
        loop {
            match self.processes_within(left().max(Duration::from_millis(1))).await {
                Ok(now) => {
                    let worker = now.worker().map(|w| w.pid);
                    let told = now.master().map_or((0, 0), |m| (m.reloads, m.failed));
                    let success = match &outcome {
                        Some(outcome) => Some(outcome.success),
                        None if told.1 > failed => Some(false),
                        None if told.0 > reloads && worker.is_some() && worker != before => Some(true),
                        None => None,
                    };
                    if let Some(success) = success {
                        let log = outcome.map(|o| o.log);
                        let old = now.old_workers().count();
                        return Ok(ReloadReport { success, log, before, now: worker, old, took: began.elapsed() });
                    }
                }
                Err(e) if e.is_retryable() && Instant::now() < end => {}
                Err(e) => return Err(e),
            }
            let next = Instant::now() + Duration::from_millis(5);
            if next >= end {
                let mut broken = Broken::new(Why::Deadline(limit));
                broken.sent = true;
                return Err(self.client.error(&broken, std::slice::from_ref(&command), self.client.limit_of(limit)));
            }
            sleep_until(next).await;
        }
    }
}
