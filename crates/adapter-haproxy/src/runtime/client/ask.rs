//! Questions, with their answers read.

use std::ops::ControlFlow;

use super::super::command::{Command, ServerName, StatKinds, StatScope, TableFilter, TableKey};
use super::super::error::{ReplyError, RuntimeError};
use super::super::reply::{
    CliSocket, Info, MapHit, MapInfo, MapLine, PeersSection, ServerConns, ServerState, SessionLine, StatTable,
    TableEntry, TableInfo, TableReader, TypedField, TypedStat, WeightInForce,
};
use super::Client;

// Every question here is safe to drop: nothing changes, and the connection is given up.
impl Client {
    async fn ask<T>(
        &self,
        command: &Command,
        read: impl FnOnce(&str) -> Result<T, ReplyError>,
    ) -> Result<T, RuntimeError> {
        let reply = self.call(command).await?;
        read(reply.text()).map_err(self.misread(command))
    }

    /// The process: `show info`.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn info(&self) -> Result<Info, RuntimeError> {
        self.ask(&Command::show_info(), Info::parse).await
    }

    /// The process with types: `show info typed`.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn info_typed(&self) -> Result<Vec<TypedField>, RuntimeError> {
        self.ask(&Command::show_info_typed(), TypedField::parse_info).await
    }

    /// Statistics: `show stat`.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn stat(&self, scope: StatScope<'_>, kinds: StatKinds) -> Result<StatTable, RuntimeError> {
        self.ask(&Command::show_stat(scope, kinds)?, StatTable::parse).await
    }

    /// Statistics with types: `show stat … typed`.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn stat_typed(&self, scope: StatScope<'_>, kinds: StatKinds) -> Result<Vec<TypedStat>, RuntimeError> {
        self.ask(&Command::show_stat_typed(scope, kinds)?, TypedStat::parse).await
    }

    /// The names of the backends: `show backend`.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn backends(&self) -> Result<Vec<String>, RuntimeError> {
        let reply = self.call(&Command::show_backends()).await?;
        Ok(reply.text().lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect())
    }

    /// The state of all servers, or of those of one backend: `show servers state`.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn servers_state(&self, backend: Option<&str>) -> Result<Vec<ServerState>, RuntimeError> {
        let command = match backend {
            Some(backend) => Command::show_servers_state_of(backend)?,
            None => Command::show_servers_state(),
        };
        self.ask(&command, ServerState::parse_all).await
    }

    /// The state of one server, if it is there.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn server_state(&self, server: &ServerName) -> Result<Option<ServerState>, RuntimeError> {
        let all = self.servers_state(Some(server.backend())).await?;
        Ok(all.into_iter().find(|s| s.name == server.server()))
    }

    /// The state of all servers as a file that `server-state-file` reads.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn state_file(&self) -> Result<String, RuntimeError> {
        let command = Command::show_servers_state();
        let reply = self.call(&command).await?;
        ServerState::parse_all(reply.text()).map_err(self.misread(&command))?;
        Ok(format!("{}\n", reply.text()))
    }

    /// The connections to the servers of a backend: `show servers conn`.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn server_conns(&self, backend: &str) -> Result<Vec<ServerConns>, RuntimeError> {
        self.ask(&Command::show_servers_conn_of(backend)?, ServerConns::parse_all).await
    }

    /// A server's weight: `get weight`.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn weight(&self, server: &ServerName) -> Result<WeightInForce, RuntimeError> {
        self.ask(&Command::get_weight(server), str::parse).await
    }

    /// The maps: `show map`.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn maps(&self) -> Result<Vec<MapInfo>, RuntimeError> {
        self.ask(&Command::show_maps(), MapInfo::parse_all).await
    }

    /// The entries of a map in force: `show map` and its file.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn map_entries(&self, map: &str) -> Result<Vec<MapLine>, RuntimeError> {
        let command = Command::show_map(map, None)?;
        let mut out = Vec::new();
        let mut wrong = None;
        self.lines(&command, |line| match MapLine::read(out.len() + 1, line) {
            Ok(entry) => {
                out.push(entry);
                ControlFlow::Continue(())
            }
            Err(e) => {
                wrong = Some(e);
                ControlFlow::Break(())
            }
        })
        .await?;
        wrong.map_or(Ok(out), |e| Err(self.misread(&command)(e)))
    }

    /// What a map makes of a value: `get map`.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn map_lookup(&self, map: &str, value: &str) -> Result<MapHit, RuntimeError> {
        self.ask(&Command::get_map(map, value)?, str::parse).await
    }

    /// The stick tables: `show table`.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn tables(&self) -> Result<Vec<TableInfo>, RuntimeError> {
        self.ask(&Command::show_tables(), TableInfo::parse_all).await
    }

    /// Entries of a stick table, each handed over as it comes and none kept: `show table` and its name. `Break` ends
    /// it. Answers the table's own line; `None` if a key was asked for that is not there.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`]; entries may have been handed over before.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn table_each<F>(
        &self,
        table: &str,
        filter: &TableFilter,
        mut each: F,
    ) -> Result<Option<TableInfo>, RuntimeError>
    where
        F: FnMut(TableEntry) -> ControlFlow<()> + Send,
    {
        let command = Command::show_table(table, filter)?;
        let mut reader = TableReader::default();
        let mut wrong = None;
        self.lines(&command, |line| match reader.read(line) {
            Ok(Some(entry)) => each(entry),
            Ok(None) => ControlFlow::Continue(()),
            Err(e) => {
                wrong = Some(e);
                ControlFlow::Break(())
            }
        })
        .await?;
        match wrong {
            Some(e) => Err(self.misread(&command)(e)),
            None => Ok(reader.info().cloned()),
        }
    }

    /// Entries of a stick table, all kept.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn table_entries(&self, table: &str, filter: &TableFilter) -> Result<Vec<TableEntry>, RuntimeError> {
        let mut out = Vec::new();
        self.table_each(table, filter, |entry| {
            out.push(entry);
            ControlFlow::Continue(())
        })
        .await?;
        Ok(out)
    }

    /// One entry of a stick table, if it is there.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn table_entry(&self, table: &str, key: &TableKey) -> Result<Option<TableEntry>, RuntimeError> {
        Ok(self.table_entries(table, &TableFilter::Key(key.clone())).await?.pop())
    }

    /// The peers: `show peers`.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn peers(&self) -> Result<Vec<PeersSection>, RuntimeError> {
        self.ask(&Command::show_peers(), PeersSection::parse_all).await
    }

    /// Whether every peers section has its tables together, so that a reload loses none: without peers, yes.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn is_ready_for_reload(&self) -> Result<bool, RuntimeError> {
        Ok(self.peers().await?.iter().all(|s| s.disabled || s.flags.is_synchronised()))
    }

    /// The sessions: `show sess`.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn sessions(&self) -> Result<Vec<SessionLine>, RuntimeError> {
        self.ask(&Command::show_sessions(), SessionLine::parse_all).await
    }

    /// The runtime sockets: `show cli sockets`.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn cli_sockets(&self) -> Result<Vec<CliSocket>, RuntimeError> {
        self.ask(&Command::show_cli_sockets(), CliSocket::parse_all).await
    }
}
