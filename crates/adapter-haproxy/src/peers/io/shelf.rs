//! One table of a node.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use balancer_core::{StickKey, StickStore};

use super::mirror::Mirror;
use super::names::Names;
use super::options::PeerTableOptions;
use super::status::{PinnedEntry, TableCounts};
use crate::peers::table::{DataType, KeyType, TableDefinition};

/// For so long peers may still tell, in milliseconds, what was so before they heard of a release.
const ECHO: u64 = 500;
/// How many releases are remembered for that.
const MAX_RELEASED: usize = 10_000;

/// What is known of a table.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) mirror: Mirror,
    pub(super) names: Names,
    /// As the last peer defined it.
    pub(super) definition: Option<TableDefinition>,
    /// From which server keys were just released, and until when that is remembered.
    released: HashMap<Box<[u8]>, (u32, u64)>,
}

impl Known {
    /// Whether this tells no more than what was so before a release.
    pub(super) fn is_echo(&self, key: &[u8], server: u32, now: u64) -> bool {
        let released = if self.released.is_empty() { None } else { self.released.get(key) };
        released.is_some_and(|(from, until)| *until > now && *from == server)
    }
}

/// One table: what is known of it, and the store that decides.
pub(super) struct Shelf {
    /// Its place among the node's tables.
    pub(super) at: usize,
    pub(super) options: PeerTableOptions,
    pub(super) store: Arc<dyn StickStore>,
    pub(super) counts: TableCounts,
    known: Mutex<Known>,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Shelf {
    pub(super) fn new(at: usize, options: PeerTableOptions, store: Arc<dyn StickStore>) -> Self {
        let (mirror, names) = (Mirror::new(options.max_entries), Names::new(&options.servers));
        let known = Mutex::new(Known { mirror, names, definition: None, released: HashMap::new() });
        Self { at, options, store, counts: TableCounts::default(), known }
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A key was released from this server: what peers tell of it may have been so before they heard.
    pub(super) fn released(&self, key: &[u8], server: u32, now: u64) {
        let released = &mut self.known().released;
        if released.len() >= MAX_RELEASED {
            released.retain(|_, (_, until)| *until > now);
        }
        if released.len() < MAX_RELEASED {
            released.insert(key.into(), (server, now.saturating_add(ECHO)));
        }
    }

    /// Whether this tells no more than what was so before a release.
    pub(super) fn is_echo(&self, key: &[u8], server: u32, now: u64) -> bool {
        let released = &mut self.known().released;
        let Some((from, until)) = released.get(key).copied() else { return false };
        if until <= now {
            released.remove(key);
        }
        until > now && from == server
    }

    /// How peers that have not defined the table themselves are told of it, under our number.
    pub(super) fn definition(&self) -> TableDefinition {
        let known = self.known().definition.clone();
        known.unwrap_or_else(|| {
            let PeerTableOptions { name, kind, key_len, ttl, .. } = &self.options;
            TableDefinition::new(self.number(), name.as_str(), *kind, *key_len, *ttl)
                .with_data(DataType::SERVER_ID)
                .with_data(DataType::SERVER_KEY)
        })
    }

    /// What we tell of a table that a peer defines so: the same, but of its data only what says where a key is.
    pub(super) fn taught(&self, theirs: &TableDefinition) -> TableDefinition {
        let copy =
            TableDefinition::new(self.number(), theirs.name(), theirs.key_type(), theirs.key_len(), theirs.expire());
        [DataType::SERVER_ID, DataType::SERVER_KEY]
            .into_iter()
            .filter(|data| theirs.holds(*data))
            .fold(copy, TableDefinition::with_data)
    }

    /// Its number on our side of each connection.
    pub(super) fn number(&self) -> u64 {
        self.at as u64 + 1
    }

    /// How long an entry lives of which nobody says it.
    pub(super) fn ttl_ms(&self, definition: &TableDefinition) -> u64 {
        let expire = definition.expire();
        let ttl = if expire.is_zero() { self.options.ttl } else { expire };
        u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
    }

    /// The same, of a table as the last peer defined it.
    pub(super) fn life_ms(&self) -> u64 {
        let definition = self.definition();
        self.ttl_ms(&definition)
    }

    pub(super) fn entries(&self, now: u64) -> Vec<PinnedEntry> {
        let known = self.known();
        let entry = |(key, server, until): (&[u8], u32, u64)| {
            Some(PinnedEntry {
                key: self.text(key)?,
                server: known.names.backend(server)?.as_str().to_owned(),
                remaining: Duration::from_millis(until.saturating_sub(now)),
            })
        };
        known.mirror.all(now).filter_map(entry).collect()
    }

    /// A key for the store; `None` if it can be none.
    pub(super) fn stick_key(&self, key: &[u8]) -> Option<StickKey> {
        match self.options.kind {
            KeyType::String => StickKey::new(std::str::from_utf8(key).ok()?).ok(),
            _ => StickKey::new(self.text(key)?).ok(),
        }
    }

    /// A key as the store writes it; `None` if it cannot be text.
    pub(super) fn text(&self, key: &[u8]) -> Option<String> {
        match self.options.kind {
            KeyType::String => String::from_utf8(key.to_vec()).ok(),
            KeyType::Integer => Some(u32::from_be_bytes(key.try_into().ok()?).to_string()),
            KeyType::Ipv4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(key).ok()?).to_string()),
            KeyType::Ipv6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(key).ok()?).to_string()),
            KeyType::Binary | KeyType::Other(_) => Some(key.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })),
        }
    }

    /// The key that the store writes so; `None` if it is none of this table's type.
    pub(super) fn bytes(&self, text: &str) -> Option<Vec<u8>> {
        match self.options.kind {
            KeyType::String => {
                let len = self.known().definition.as_ref().map_or(u64::MAX, TableDefinition::key_len);
                (!text.contains('\0') && (text.len() as u64) < len).then(|| text.as_bytes().to_vec())
            }
            KeyType::Integer => text.parse::<u32>().ok().map(|n| n.to_be_bytes().to_vec()),
            KeyType::Ipv4 => text.parse::<Ipv4Addr>().ok().map(|ip| ip.octets().to_vec()),
            KeyType::Ipv6 => text.parse::<Ipv6Addr>().ok().map(|ip| ip.octets().to_vec()),
            KeyType::Binary | KeyType::Other(_) => {
                if !text.len().is_multiple_of(2) || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return None;
                }
                let pairs = text.as_bytes().chunks(2);
                pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
            }
        }
    }
}
