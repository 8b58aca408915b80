//! Where rooms live, as data for a front proxy.

use std::collections::BTreeMap;
use std::fmt;

use balancer_core::Backend;
use serde::Serialize;

use super::{ShardError, Shards};
use crate::rooms::decoded;

/// The most rooms that are handed out at once.
pub const MAX_PINNED_ROOMS: usize = 1_000_000;

/// One room and its shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShardPin {
    /// The room's key.
    pub room: String,
    /// The same as a front proxy reads it from a path: decoded, with a slash before it.
    pub path: String,
    /// The path percent-encoded, the key of a map file.
    pub pin: String,
    /// The shard, by the name of its server.
    pub shard: String,
    /// When the room was bound, by the clock of the stick table: a later one overrules an earlier one.
    pub stamp: u64,
}

/// Where all rooms live.
///
/// `Display` is a map file: one room a line, percent-encoded, and its server, as `adapter_haproxy::render::pin_map`
/// writes it. HAProxy, as it is told to there, decodes a room's name twice and lowers ASCII; it does not fold what Unicode
/// folds (`Ä` and `ä`, `ﬁ` and `fi`), so such a spelling is not met by its pin and is routed as without one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShardPins {
    /// The rooms, sorted by pin.
    pub pins: Vec<ShardPin>,
    /// Rooms that a front proxy cannot tell from another one in the list, and that were left out.
    pub alike: u64,
    /// Whether there are more rooms than can be handed out.
    pub cut: bool,
}

impl fmt::Display for ShardPins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("# room, percent-encoded, and its server\n")?;
        self.pins.iter().try_for_each(|pin| writeln!(f, "{} {}", pin.pin, pin.shard))
    }
}

impl ShardPin {
    fn new(room: &str, shard: &str, stamp: u64) -> Self {
        let decoded = decoded(room).unwrap_or_else(|| room.to_owned());
        let path = format!("/{decoded}");
        let mut pin = String::with_capacity(path.len());
        for byte in path.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                pin.push(char::from(byte));
            } else {
                pin.push_str(&format!("%{byte:02X}"));
            }
        }
        Self { room: room.to_owned(), path, pin, shard: shard.to_owned(), stamp }
    }
}

impl Shards {
    /// Where all rooms live now. Of rooms that a front proxy cannot tell apart (`a/b` of tenant `a` and `a%2Fb`) the
    /// one that was bound first is listed.
    ///
    /// # Errors
    ///
    /// [`ShardError::Store`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is changed.
    pub async fn pins(&self) -> Result<ShardPins, ShardError> {
        let mut by_pin: BTreeMap<String, ShardPin> = BTreeMap::new();
        let mut all = ShardPins::default();
        for member in self.pool().members() {
            let id = member.backend().id();
            let mut from = None;
            loop {
                let (entries, next) = self.bound(id, from.as_deref()).await?;
                for (room, binding) in entries {
                    let new = ShardPin::new(room.as_str(), id.as_str(), binding.stamp);
                    let full = by_pin.len() >= MAX_PINNED_ROOMS;
                    match by_pin.get_mut(&new.pin) {
                        // A room that moved while the pages were read is met twice; its newest place counts.
                        Some(old) if old.room == new.room => {
                            if new.stamp > old.stamp {
                                *old = new;
                            }
                        }
                        Some(old) => {
                            all.alike += 1;
                            if new.stamp < old.stamp {
                                *old = new;
                            }
                        }
                        None if !full => {
                            by_pin.insert(new.pin.clone(), new);
                        }
                        None => all.cut = true,
                    }
                }
                from = next;
                if from.is_none() {
                    break;
                }
            }
        }
        all.pins = by_pin.into_values().collect();
        Ok(all)
    }
}
