//! Changes that take more than one command.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::super::command::{AddServer, AdminState, Command, ServerName, TableFilter, TableKey};
use super::super::error::{CommandError, RefusalKind, RuntimeError, shown};
use super::super::limit::later;
use super::Client;

/// How a server is removed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RemoveOptions {
    /// How long its connections may take to end. Default 10 s.
    pub deadline: Duration,
    /// Whether its sessions are shut down rather than waited for. Default no.
    pub shutdown_sessions: bool,
}

impl Default for RemoveOptions {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(10), shutdown_sessions: false }
    }
}

impl RemoveOptions {
    /// Waits so long for connections to end.
    #[must_use]
    pub fn with_deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// Shuts sessions down.
    #[must_use]
    pub fn with_shutdown(mut self) -> Self {
        self.shutdown_sessions = true;
        self
    }
}

impl Client {
    /// Adds a server and, with `start`, lets it take work: checks and agent first, then the server. If one of these
    /// fails the server is deleted again.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the server may be there, in maintenance or at work.
    pub async fn add_server(&self, server: &AddServer, start: bool) -> Result<(), RuntimeError> {
        let process = self.process().await?;
        let pinned = Some(process.pin());
        self.call_of(&Command::add_server(server, process.version)?, pinned).await?;
        let mut steps = Vec::new();
        if start {
            if server.is_checked() {
                steps.push(Command::enable_health(server.name(), true));
            }
            if server.has_agent() {
                steps.push(Command::enable_agent(server.name(), true));
            }
            steps.push(Command::enable_server(server.name()));
        }
        for step in steps {
            if let Err(e) = self.call_of(&step, pinned).await {
                if e.refusal().is_some() {
                    let _ = self.call_of(&Command::set_state(server.name(), AdminState::Maint), pinned).await;
                    let _ = self.call_of(&Command::del_server(server.name()), pinned).await;
                }
                return Err(e);
            }
        }
        self.confirm(&process).await
    }

    /// Removes a server: maintenance, agent paused so that it cannot bring it back, sessions ended or waited for,
    /// deleted.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`]; a refusal [`InUse`](RefusalKind::InUse) when connections were left at the deadline. The server
    /// then stays in maintenance.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the server may be in maintenance or gone.
    pub async fn remove_server(&self, server: &ServerName, options: RemoveOptions) -> Result<(), RuntimeError> {
        let end = later(Instant::now(), options.deadline);
        let pinned = Some(self.process().await?.pin());
        self.call_of(&Command::set_state(server, AdminState::Maint), pinned).await?;
        // An agent that says `ready` would undo it.
        self.call_of(&Command::enable_agent(server, false), pinned).await?;
        let mut pause = Duration::from_millis(5);
        loop {
            if options.shutdown_sessions {
                self.call_of(&Command::shutdown_server_sessions(server), pinned).await?;
            }
            let Err(error) = self.call_of(&Command::del_server(server), pinned).await else { return Ok(()) };
            let busy = error.refusal().is_some_and(|r| r.kind() == RefusalKind::InUse);
            let next = Instant::now() + pause;
            if !busy || next > end {
                return Err(error);
            }
            sleep_until(next).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    /// Creates or changes an entry of a stick table. The key is compared with the table's type first, which 2.6 does
    /// not do; an entry that a refused command has created all the same is deleted again.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the entry may be there.
    pub async fn set_table(&self, table: &str, key: &TableKey, data: &[(&str, u64)]) -> Result<(), RuntimeError> {
        let command = Command::set_table(table, key, data)?;
        if let Some(info) = self.tables().await?.iter().find(|t| t.name == table)
            && info.kind != key.kind()
        {
            let why = "the table has keys of another type";
            let text = shown(&format!("{key:?} in a table of type {}", info.kind));
            return Err(CommandError::Reserved { what: "table key", text, why }.into());
        }
        let known = self.table_entry(table, key).await?.is_some();
        let result = self.order(&command).await;
        if let Err(RuntimeError::Refused(_)) = &result
            && !known
        {
            let _ = self.order(&Command::clear_table(table, &TableFilter::Key(key.clone()))?).await;
        }
        result
    }
}
