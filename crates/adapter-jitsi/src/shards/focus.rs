//! The rooms that a focus has, and keeping them where they are.

use std::collections::BTreeSet;

use balancer_core::{BackendId, Claim, StickError, StickKey, Token, Want, random};

use super::side::{ABREAST, all};
use super::{ShardError, Shards};
use crate::rooms::room_key;

/// The most rooms of one focus that are looked at.
pub const MAX_FOCUS_ROOMS: usize = 200_000;
/// The longest list that is read, in bytes.
pub(super) const MAX_LIST: usize = 64 << 20;

/// The rooms of one focus, by their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FocusRooms(BTreeSet<StickKey>);

impl FocusRooms {
    /// Reads the answer of `/debug/conferences`: a list of room JIDs. Breakout rooms, which live where their room
    /// lives, and what is no room are left out.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        if json.len() > MAX_LIST {
            return Err("the list of conferences is longer than 64 MiB".to_owned());
        }
        let jids: Vec<serde_json::Value> =
            serde_json::from_slice(json).map_err(|error| format!("no json list of conferences: {error}"))?;
        if jids.len() > MAX_FOCUS_ROOMS {
            return Err(format!("{} conferences: at most {MAX_FOCUS_ROOMS} are looked at", jids.len()));
        }
        Ok(Self::of(jids.iter().filter_map(serde_json::Value::as_str)))
    }

    /// From room JIDs.
    pub fn of<'a>(jids: impl IntoIterator<Item = &'a str>) -> Self {
        Self(jids.into_iter().filter_map(key_of_jid).take(MAX_FOCUS_ROOMS).collect())
    }

    /// The rooms' keys, sorted.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &StickKey> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `[tenant]room@conference.meet.example` or `room@...`.
fn key_of_jid(jid: &str) -> Option<StickKey> {
    let (local, domain) = jid.split_once('@')?;
    if domain.to_ascii_lowercase().starts_with("breakout.") {
        return None;
    }
    let (tenant, room) = match local.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((tenant, room)) => (Some(room_key(tenant)), room_key(room)),
        None => (None, room_key(local)),
    };
    let key = match tenant.filter(|tenant| !tenant.is_empty()) {
        _ if room.is_empty() => return None,
        Some(tenant) => format!("{tenant}/{room}"),
        None => room,
    };
    StickKey::new(key).ok()
}

/// What [`Shards::keep`] met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// Rooms that are bound to the shard, and stay so for another time to live.
    pub kept: u64,
    /// Rooms that the stick table did not know, and knows now.
    pub restored: u64,
    /// Rooms that live here by the focus and elsewhere by the stick table, at two looks in a row: two rooms of one name.
    pub split: Vec<StickKey>,
    /// Rooms that cannot be bound: the shard drains, and the table does not know them.
    pub unbound: u64,
}

/// Where the stick table has a room that a focus lists.
enum Met {
    Here,
    Elsewhere,
    Restored,
    Closed,
}

impl Shards {
    /// Keeps the rooms that a shard's focus has bound to it: a participant whose connection is an hour old asks for
    /// nothing, and the room would be forgotten. To be called with each list of the focus, more often than the
    /// [`ttl`](super::ShardOptions::ttl). A room that the table lost is bound again, unless somebody bound it elsewhere.
    ///
    /// # Errors
    ///
    /// [`ShardError::Unknown`] or [`ShardError::Store`].
    ///
    /// # Cancel safety
    ///
    /// What is left out is done the next time.
    pub async fn keep(&self, shard: &BackendId, rooms: &FocusRooms) -> Result<Kept, ShardError> {
        self.known(shard)?;
        let mut done = Kept::default();
        let mut doubled = Vec::new();
        let rooms: Vec<&StickKey> = rooms.keys().collect();
        for some in rooms.chunks(ABREAST) {
            let met = all(some.iter().map(|room| self.keep_one(shard, room))).await;
            for (room, met) in some.iter().zip(met) {
                match met? {
                    Met::Here => done.kept += 1,
                    Met::Restored => done.restored += 1,
                    Met::Closed => done.unbound += 1,
                    Met::Elsewhere => doubled.push((*room).clone()),
                }
            }
        }
        // One that ended here while it was bound elsewhere is in one list only.
        let mut before = self.doubled.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let last = before.insert(shard.clone(), doubled.clone()).unwrap_or_default();
        done.split = doubled.into_iter().filter(|room| last.binary_search(room).is_ok()).collect();
        Ok(done)
    }

    async fn keep_one(&self, shard: &BackendId, room: &StickKey) -> Result<Met, StickError> {
        let (store, ttl) = (self.balancer.store(), self.options.ttl);
        let bound = match store.get(room, Some(ttl)).await? {
            Some(binding) => binding,
            None => {
                let want = Want { backend: shard.clone(), token: Token(random()) };
                match store.claim(room, &want, ttl).await? {
                    Claim::Won(_) => return Ok(Met::Restored),
                    Claim::Held(binding) => binding,
                    Claim::Closed => return Ok(Met::Closed),
                }
            }
        };
        Ok(if bound.backend == *shard { Met::Here } else { Met::Elsewhere })
    }

    /// Keeps whatever is bound to a shard whose focus cannot tell its rooms; how many they are.
    ///
    /// # Errors
    ///
    /// [`ShardError::Store`].
    ///
    /// # Cancel safety
    ///
    /// What is left out is done the next time.
    pub async fn keep_all(&self, shard: &BackendId) -> Result<u64, ShardError> {
        let (mut kept, mut from) = (0, None);
        loop {
            let (entries, next) = self.bound(shard, from.as_deref()).await?;
            for some in entries.chunks(ABREAST) {
                let renewals =
                    some.iter().map(|(room, seen)| self.balancer.store().renew(room, seen, self.options.ttl));
                for renewed in all(renewals).await {
                    kept += u64::from(renewed?);
                }
            }
            from = next;
            if from.is_none() {
                return Ok(kept);
            }
        }
    }
}
