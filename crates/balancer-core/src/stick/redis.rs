//! A stick store on a Redis server, shared by any number of processes.

#[cfg(feature = "redis-cluster")]
mod cluster;
mod greet;
mod link;
mod node;
mod options;
mod reply;
mod scripts;
#[cfg(feature = "redis-sentinel")]
mod sentinel;
#[cfg(feature = "redis-cluster")]
mod slots;
#[cfg(feature = "redis-tls")]
mod tls;
mod trouble;
mod url;

use std::time::Duration;

use async_trait::async_trait;
use rapidhash::v3::rapidhash_v3;

pub use link::{RedisLink, RedisScript};
pub use options::RedisOptions;
pub use reply::RedisReply;

use self::trouble::{Kind, Trouble};
use super::clock::{LONGEST_TTL, millis};
use super::{Binding, Claim, StickError, StickKey, StickPage, StickStore, Token, Want};
use crate::backend::BackendId;

/// Shards of the keyspace, each with a hash tag of its own. Part of the layout: every process must agree.
const SHARDS: usize = 256;
/// Shards asked in one round trip of a listing.
const LIST_SHARDS: usize = 64;
/// Entries asked of one shard in one round trip of a listing.
const LIST_ENTRIES: usize = 64;

/// Bindings on Redis (6.0 or newer), shared by every process with the same server and namespace.
///
/// Keys read `NAMESPACE:{SHARD}:NAME`, with 256 shards. Each operation on a room is one script and one round trip.
/// Stamps and expiry run on the server's clock, so the clocks of the processes do not matter. Listing and counting
/// write nothing.
///
/// Set the server's `maxmemory-policy` to `noeviction`: any other may drop live rooms.
///
/// # Sentinel
///
/// [`RedisOptions::sentinel`] or `redis+sentinel://` (feature `redis-sentinel`): the sentinels name the master, which
/// must call itself one. When it is replaced the next call goes to the new one. Calls fail while there is none.
///
/// # Cluster
///
/// [`RedisOptions::cluster`] or `redis+cluster://` (feature `redis-cluster`): the shards spread over the nodes.
/// Listing and counting ask all nodes at once. While a slot moves between nodes (`MIGRATING`) the calls for its rooms
/// wait until it has moved, for at most the response time-out: a script must find all its keys on one node. Closing a
/// server is one step per shard, on a cluster as elsewhere.
///
/// # What a failover may lose
///
/// Redis acknowledges a write before its replicas have it. A failover loses what the new master had not received:
/// bindings acknowledged in the last moments (normally milliseconds; as long as replication lagged, if it did) are
/// gone, moved or released ones are back as they were, and closed servers may be open again. A master cut off
/// together with some of its clients takes writes from them until it notices, and all those are lost; set
/// `min-replicas-to-write 1` and `min-replicas-max-lag 2`, and it stops within 2 s. A server without replicas and
/// without `appendfsync always` loses likewise when it is killed.
///
/// Hence, before what cannot be undone, compare [`RedisLink::generation`] with its value before the claim, and when it
/// has changed ask [`confirm`](StickStore::confirm): it re-reads the binding from the master of now. `false` says that
/// the claim is lost: claim again, and obey the answer. What is done at once after `confirm` may still meet a failover
/// in between; so confirm after the act too where it can be taken back, as with a meeting that was created.
/// [`close`](StickStore::close) again after a failover before a server is taken for drained.
#[derive(Clone, Debug)]
pub struct RedisStore {
    link: RedisLink,
}

impl RedisStore {
    /// A store over a link, which may be shared.
    pub fn new(link: RedisLink) -> Self {
        Self { link }
    }

    /// The link.
    pub fn link(&self) -> &RedisLink {
        &self.link
    }

    /// The shard of a room, 0 to 255: the number in the hash tag of its keys.
    pub fn shard(key: &StickKey) -> u8 {
        rapidhash_v3(key.as_str().as_bytes()).to_le_bytes()[0]
    }

    fn keys(&self, shard: usize) -> Vec<String> {
        let namespace = self.link.namespace();
        ["b", "x", "s", "c", "t"].into_iter().map(|name| format!("{namespace}:{{{shard}}}:{name}")).collect()
    }

    fn keys_of(&self, key: &StickKey) -> Vec<String> {
        self.keys(Self::shard(key).into())
    }

    async fn put(&self, key: &StickKey, seen: &str, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        let (token, ttl) = (want.token.to_string(), ttl_text(ttl));
        let args = [key.as_str(), want.backend.as_str(), &token, &ttl, seen];
        let reply = self.link.script(&scripts::PUT_SCRIPT, &self.keys_of(key), &args).await?;
        let (word, rest) = reply.as_list().split_first().ok_or_else(|| self.corrupt(key, "an empty answer"))?;
        match word.as_str() {
            Some("won") => Ok(Claim::Won(self.binding(key, rest)?)),
            Some("held") => Ok(Claim::Held(self.binding(key, rest)?)),
            Some("closed") => Ok(Claim::Closed),
            _ => Err(self.corrupt(key, "an unknown answer")),
        }
    }

    /// Reads stamp, token and server.
    fn binding(&self, key: &StickKey, fields: &[RedisReply]) -> Result<Binding, StickError> {
        let [stamp, token, backend] = fields else { return Err(self.corrupt(key, "a binding of other fields")) };
        let stamp = stamp.as_str().and_then(|text| text.parse().ok());
        let token = token.as_str().and_then(|text| u64::from_str_radix(text, 16).ok());
        match (stamp, token, backend.as_str()) {
            (Some(stamp), Some(token), Some(backend)) => {
                Ok(Binding { backend: BackendId::new(backend), token: Token(token), stamp })
            }
            _ => Err(self.corrupt(key, "a binding that cannot be read")),
        }
    }

    fn corrupt(&self, key: &StickKey, found: &str) -> StickError {
        let shard = Self::shard(key);
        let why = format!("{found} for a room in shard {shard} of namespace {:?}", self.link.namespace());
        self.link.error(Trouble::new(Kind::Corrupt, why))
    }
}

fn ttl_text(ttl: Duration) -> String {
    millis(ttl.min(LONGEST_TTL)).to_string()
}

/// A binding as the scripts compare it.
fn whole(binding: &Binding) -> String {
    format!("{} {} {}", binding.stamp, binding.token, binding.backend)
}

#[async_trait]
impl StickStore for RedisStore {
    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Result<Option<Binding>, StickError> {
        let extend = extend.map(ttl_text).unwrap_or_default();
        match self.link.script(&scripts::GET_SCRIPT, &self.keys_of(key), &[key.as_str(), &extend]).await? {
            RedisReply::Nil => Ok(None),
            reply => self.binding(key, reply.as_list()).map(Some),
        }
    }

    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.put(key, "", want, ttl).await
    }

    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.put(key, &whole(seen), want, ttl).await
    }

    async fn renew(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> Result<bool, StickError> {
        let (ttl, seen) = (ttl_text(ttl), whole(seen));
        let reply = self.link.script(&scripts::RENEW_SCRIPT, &self.keys_of(key), &[key.as_str(), &ttl, &seen]).await?;
        Ok(reply.as_int() == Some(1))
    }

    /// Asks the sentinels first, where there are some, and then only a server that may write: a master that was
    /// replaced, or that lost the replicas it must have, does not answer for a binding.
    async fn confirm(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        self.link.recheck().await?;
        let seen = whole(seen);
        let reply = self.link.script(&scripts::CONFIRM_SCRIPT, &self.keys_of(key), &[key.as_str(), &seen]).await?;
        Ok(reply.as_int() == Some(1))
    }

    async fn release(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        let reply =
            self.link.script(&scripts::RELEASE_SCRIPT, &self.keys_of(key), &[key.as_str(), &whole(seen)]).await?;
        Ok(reply.as_int() == Some(1))
    }

    async fn close(&self, backend: &BackendId, closed: bool) -> Result<(), StickError> {
        let verb = if closed { "SADD" } else { "SREM" };
        let namespace = self.link.namespace();
        let command = |shard| vec![verb.to_owned(), format!("{namespace}:{{{shard}}}:c"), backend.as_str().to_owned()];
        let commands: Vec<Vec<String>> = (0..SHARDS).map(command).collect();
        self.link.pipeline(&commands).await.map(drop)
    }

    async fn list(&self, backend: &BackendId, from: Option<&str>) -> Result<StickPage, StickError> {
        let (mut shard, mut after) = position(from)?;
        let most = LIST_ENTRIES.to_string();
        let mut page = StickPage::default();
        while shard < SHARDS {
            let asked = shard..SHARDS.min(shard + LIST_SHARDS);
            let run = |at| {
                let after = if at == shard { after.as_str() } else { "" };
                (self.keys(at), vec![backend.as_str(), after, most.as_str()])
            };
            let runs: Vec<_> = asked.clone().map(run).collect();
            let replies = self.link.scripts(&scripts::LIST_SCRIPT, &runs).await?;
            for (at, reply) in asked.clone().zip(replies) {
                if let Some(last) = self.page(backend, &reply, &mut page)? {
                    page.next = Some(format!("{at}:{last}"));
                    return Ok(page);
                }
            }
            shard = asked.end;
            after.clear();
            if !page.entries.is_empty() && shard < SHARDS {
                page.next = Some(format!("{shard}:"));
                return Ok(page);
            }
        }
        Ok(page)
    }

    async fn count(&self, backend: &BackendId) -> Result<u64, StickError> {
        let runs: Vec<_> = (0..SHARDS).map(|at| (self.keys(at), vec![backend.as_str()])).collect();
        let replies = self.link.scripts(&scripts::COUNT_SCRIPT, &runs).await?;
        let counts = replies.iter().filter_map(RedisReply::as_int);
        Ok(counts.map(|count| u64::try_from(count).unwrap_or(0)).sum())
    }
}

impl RedisStore {
    /// Adds one shard's answer to a page; returns the last room when the shard may have more.
    fn page<'r>(
        &self,
        backend: &BackendId,
        reply: &'r RedisReply,
        page: &mut StickPage,
    ) -> Result<Option<&'r str>, StickError> {
        let bad = || {
            let why = format!("a listing that cannot be read in namespace {:?}", self.link.namespace());
            self.link.error(Trouble::new(Kind::Corrupt, why))
        };
        let [looked_at, last, fields @ ..] = reply.as_list() else { return Err(bad()) };
        for entry in fields.chunks(3) {
            let [room, stamp, token] = entry else { return Err(bad()) };
            let key = room.as_str().and_then(|room| StickKey::new(room).ok()).ok_or_else(bad)?;
            let server = RedisReply::Text(backend.as_str().as_bytes().to_vec());
            let binding = self.binding(&key, &[stamp.clone(), token.clone(), server])?;
            page.entries.push((key, binding));
        }
        let full = looked_at.as_int().and_then(|count| usize::try_from(count).ok()) == Some(LIST_ENTRIES);
        if full { last.as_str().map(Some).ok_or_else(bad) } else { Ok(None) }
    }
}

/// Positions read `SHARD:` or `SHARD:ROOM`.
fn position(from: Option<&str>) -> Result<(usize, String), StickError> {
    let Some(text) = from else { return Ok((0, String::new())) };
    let parts = text.split_once(':').and_then(|(shard, room)| Some((shard.parse().ok()?, room.to_owned())));
    parts.ok_or_else(|| {
        options::config("position of a listing", "not one that this store gave; begin without a position")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_a_room_never_changes() {
        let shard = |key: &str| RedisStore::shard(&StickKey::new(key).unwrap());
        assert_eq!([shard("room-1"), shard("room-2"), shard("Äöü 会議")], [177, 44, 117]);
    }
}
