//! A map replaced in one step.

use std::ops::ControlFlow;

use super::client::{Client, Pinned};
use super::command::{Command, MapEntry};
use super::error::{ReplyError, RuntimeError};

/// What was put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapReplaced {
    /// The version.
    pub version: u32,
    /// Its entries.
    pub entries: u64,
    /// The commands it took to send them.
    pub commands: u64,
}

/// A new version of a map: prepared, filled, committed. Requests see the old one until then and the new one after.
///
/// It belongs to one process: when another one answers meanwhile every step fails with
/// [`RuntimeError::NewProcess`]. One that is neither committed nor abandoned stays in HAProxy's memory.
#[derive(Debug)]
#[must_use = "a version prepared stays in HAProxy's memory until it is committed or abandoned"]
pub struct MapUpdate<'c> {
    client: &'c Client,
    map: String,
    version: u32,
    pinned: Pinned,
    sent: u64,
    commands: u64,
}

impl<'c> MapUpdate<'c> {
    /// Prepares a new version.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, an empty version may stay prepared.
    pub async fn begin(client: &'c Client, map: &str) -> Result<Self, RuntimeError> {
        let pinned = client.process().await?.pin();
        Self::begin_on(client, map, pinned).await
    }

    async fn begin_on(client: &'c Client, map: &str, pinned: Pinned) -> Result<Self, RuntimeError> {
        let command = Command::prepare_map(map)?;
        let reply = client.call_of(&command, Some(pinned)).await?;
        let number = reply.text().rsplit_once("New version created: ").and_then(|(_, n)| n.trim().parse().ok());
        let expected = "New version created: N";
        let version = number.ok_or_else(|| ReplyError::new(1, reply.text(), expected).of(command.line()))?;
        Ok(Self { client, map: map.to_owned(), version, pinned, sent: 0, commands: 0 })
    }

    /// The version's number.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Adds entries to it, in order; of equal keys the first one counts.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`]: abandon it.
    ///
    /// # Cancel safety
    ///
    /// Dropped, any number of the entries may have been added: abandon it.
    pub async fn add(&mut self, entries: &[MapEntry]) -> Result<(), RuntimeError> {
        // The words before the payload, and the ends of lines after it.
        let room = self.client.options().max_request.saturating_sub(self.map.len() * 2 + 64);
        let mut commands = Vec::new();
        let mut rest = entries;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |entry: &&MapEntry| {
                bytes += entry.len();
                bytes <= room
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (chunk, more) = rest.split_at(count);
            commands.push(Command::add_map_entries(&self.map, Some(self.version), chunk)?);
            rest = more;
        }
        for reply in self.client.call_all_of(&commands, self.pinned).await? {
            reply?;
        }
        self.sent += entries.len() as u64;
        self.commands += commands.len() as u64;
        Ok(())
    }

    /// Counts what HAProxy has of it, puts it in force, and makes sure that this process is still the one that listens.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`]; [`RuntimeError::Differs`] if HAProxy does not have as many entries as were sent. Nothing is in
    /// force then, and the version is dropped, unless [`maybe_done`](RuntimeError::maybe_done) says otherwise.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may be in force.
    pub async fn commit(self) -> Result<MapReplaced, RuntimeError> {
        if let Err(e) = self.count().await {
            let _ = self.abandon().await;
            return Err(e);
        }
        // From here on the version may be the one in force: dropping it would empty the map.
        self.client.call_of(&Command::commit_map(&self.map, self.version)?, Some(self.pinned)).await?;
        match self.client.confirm_pin(self.pinned).await {
            Ok(()) => Ok(MapReplaced { version: self.version, entries: self.sent, commands: self.commands }),
            Err(e @ RuntimeError::NewProcess { .. }) => Err(e),
            Err(e) => Err(RuntimeError::Unconfirmed {
                what: format!("version {} of map {}", self.version, self.map),
                source: Box::new(e),
            }),
        }
    }

    /// Whether HAProxy has all that was sent.
    async fn count(&self) -> Result<(), RuntimeError> {
        let show = Command::show_map(&self.map, Some(self.version))?;
        let found = self.client.lines_of(&show, Some(self.pinned), |_| ControlFlow::Continue(())).await?;
        if found == self.sent {
            return Ok(());
        }
        Err(RuntimeError::Differs {
            what: format!("version {} of map {}", self.version, self.map),
            found,
            wanted: self.sent,
            remedy: "it is not put in force: send it again, or look for somebody else who changes this map",
        })
    }

    /// Drops it, so that it takes no memory.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`]; another process has forgotten it anyway.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may stay prepared.
    pub async fn abandon(self) -> Result<(), RuntimeError> {
        self.client.call_of(&Command::clear_map(&self.map, Some(self.version))?, Some(self.pinned)).await.map(drop)
    }
}

impl Client {
    /// Replaces all entries of a map in one step. If it fails the map is as it was, unless
    /// [`maybe_done`](RuntimeError::maybe_done) says otherwise.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the map is as it was or wholly replaced; a version may stay prepared.
    pub async fn replace_map(&self, map: &str, entries: &[MapEntry]) -> Result<MapReplaced, RuntimeError> {
        let pinned = self.process().await?.pin();
        self.replace_map_of(map, entries, pinned).await
    }

    pub(crate) async fn replace_map_of(
        &self,
        map: &str,
        entries: &[MapEntry],
        pinned: Pinned,
    ) -> Result<MapReplaced, RuntimeError> {
        let mut update = MapUpdate::begin_on(self, map, pinned).await?;
        if let Err(e) = update.add(entries).await {
            let _ = update.abandon().await;
            return Err(e);
        }
        update.commit().await
    }
}
