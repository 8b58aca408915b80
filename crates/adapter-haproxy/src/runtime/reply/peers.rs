//! Peers. The answer is meant for people; what is needed of it is read by name.

use super::super::error::ReplyError;
use super::numbered;

/// How far a peers section has its tables together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeersFlags(pub u32);

impl PeersFlags {
    /// Whether the tables are complete: learnt, or the wait for a teacher is over. Before that a reload loses them.
    pub fn is_synchronised(self) -> bool {
        self.0 & 3 == 3
    }
}

/// A peers section.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeersSection {
    /// Its name.
    pub name: String,
    /// Whether it is switched off.
    pub disabled: bool,
    /// How far it is.
    pub flags: PeersFlags,
    /// Its peers, the own one too.
    pub peers: Vec<PeerState>,
}

/// One peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerState {
    /// Its name.
    pub name: String,
    /// Whether this is the process itself.
    pub local: bool,
    /// Its address.
    pub address: String,
    /// `NONE`, `CONN`, `HSHK`, `ESTA`, `RETR`, `PROT`, `VERS`, `NAME`, `UNKN`.
    pub last_status: String,
    /// Heartbeats missed.
    pub no_heartbeat: u64,
    /// Sessions begun.
    pub new_sessions: u64,
    /// Protocol errors.
    pub protocol_errors: u64,
    /// Sessions that met another one of the same peer.
    pub collisions: u64,
    /// Tables shared with it.
    pub tables: Vec<PeerTable>,
}

impl PeerState {
    /// Whether it is connected and taught.
    pub fn is_established(&self) -> bool {
        self.last_status == "ESTA"
    }
}

/// One table shared with a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerTable {
    /// Its name; `section/name` in a peers section.
    pub name: String,
    /// The last update it confirmed.
    pub last_acked: u64,
    /// The last update sent to it.
    pub last_pushed: u64,
    /// The last update that came from it.
    pub last_get: u64,
    /// The newest update of the table.
    pub update: u64,
    /// The newest update of its own.
    pub local_update: u64,
}

/// The value after `name=` in a line of such words.
fn value<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn figure(line: &str, name: &str) -> u64 {
    value(line, name).and_then(|v| v.parse().ok()).unwrap_or(0)
}

impl PeersSection {
    /// Reads the answer to `show peers`.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] for a section or a peer without a name, or in no section.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, ReplyError> {
        let mut sections: Vec<Self> = Vec::new();
        let mut table = PeerTable::default();
        for (n, line) in numbered(text) {
            let trimmed = line.trim_start();
            let depth = line.len() - trimmed.len();
            let error = || ReplyError::new(n, line, "a section, a peer, or figures of one");
            if depth == 0 && !trimmed.is_empty() {
                let flags = value(line, "flags").and_then(|f| u32::from_str_radix(f.trim_start_matches("0x"), 16).ok());
                sections.push(Self {
                    name: value(line, "id").ok_or_else(error)?.to_owned(),
                    disabled: value(line, "disabled").is_some_and(|d| d != "0"),
                    flags: PeersFlags(flags.ok_or_else(error)?),
                    peers: Vec::new(),
                });
                continue;
            }
            let section = sections.last_mut().ok_or_else(error)?;
            if depth == 2 {
                let (name, relation) = value(line, "id").and_then(|id| id.split_once('(')).ok_or_else(error)?;
                section.peers.push(PeerState {
                    name: name.to_owned(),
                    local: relation.starts_with("local"),
                    address: value(line, "addr").unwrap_or_default().to_owned(),
                    last_status: value(line, "last_status").unwrap_or_default().to_owned(),
                    ..PeerState::default()
                });
                continue;
            }
            let peer = section.peers.last_mut().ok_or_else(error)?;
            if value(trimmed, "new_conn").is_some() {
                peer.no_heartbeat = figure(trimmed, "no_hbt");
                peer.new_sessions = figure(trimmed, "new_conn");
                peer.protocol_errors = figure(trimmed, "proto_err");
                peer.collisions = figure(trimmed, "coll");
            } else if value(trimmed, "last_acked").is_some() {
                table = PeerTable {
                    last_acked: figure(trimmed, "last_acked"),
                    last_pushed: figure(trimmed, "last_pushed"),
                    last_get: figure(trimmed, "last_get"),
                    ..PeerTable::default()
                };
            } else if trimmed.starts_with("table:") {
                let mut table = std::mem::take(&mut table);
                table.name = value(trimmed, "id").ok_or_else(error)?.to_owned();
                table.update = figure(trimmed, "update");
                table.local_update = figure(trimmed, "localupdate");
                peer.tables.push(table);
            }
        }
        Ok(sections)
    }
}
