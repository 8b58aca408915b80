//! The stick table: which room lives on which server, and who may change that.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::backend::BackendId;

mod clock;
#[cfg(feature = "testing")]
pub mod conformance;
mod deadlines;
#[cfg(feature = "file")]
mod file;
mod memory;
mod quota;
#[cfg(feature = "redis")]
mod redis;
mod rows;
mod servers;
mod shard;
mod table;

pub use clock::WallClock;
#[cfg(feature = "file")]
pub use file::{FileOptions, FileStore, FileTable, TableChange};
pub use memory::{MemoryOptions, MemoryStore};
#[cfg(feature = "redis")]
pub use redis::{RedisLink, RedisOptions, RedisReply, RedisScript, RedisStore};

/// The longest stick key a store accepts, in bytes (the `len 1024` of an HAProxy string table).
pub const MAX_KEY_LEN: usize = 1024;

/// A canonical room key: what two requests of one room have in common, at most [`MAX_KEY_LEN`] bytes of text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct StickKey(Arc<str>);

impl StickKey {
    /// Equality that looks at the text only where the two are not one allocation.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self == other
    }

    /// Checks and wraps a key.
    ///
    /// # Errors
    ///
    /// [`StickError::Key`] when the key is empty or longer than [`MAX_KEY_LEN`] bytes.
    pub fn new(key: impl Into<Arc<str>>) -> Result<Self, StickError> {
        let key = key.into();
        if key.is_empty() || key.len() > MAX_KEY_LEN {
            return Err(StickError::Key { len: key.len() });
        }
        Ok(Self(key))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StickKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for StickKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A random number chosen by the caller of a claim, which makes a claim whose answer was lost repeatable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub u64);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a caller wants stored: this server, under this token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The server wanted.
    pub backend: BackendId,
    /// The caller's token for this attempt; the same on a repeat of the same attempt.
    pub token: Token,
}

/// What is stored for a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The server that holds the room.
    pub backend: BackendId,
    /// The token of the caller that won.
    pub token: Token,
    /// Given by the store: larger than the last stamp of its shard and at least the store's clock in milliseconds
    /// since the epoch when the binding was made.
    pub stamp: u64,
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The caller's wish is now stored.
    Won(Binding),
    /// Something is stored already and was not touched. Under the caller's own token this means that an earlier
    /// attempt, whose answer was lost, had won.
    Held(Binding),
    /// The wanted server takes no new rooms; nothing was stored.
    Closed,
}

/// One page of a listing by server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StickPage {
    /// Keys and what is stored for them, in no promised order.
    pub entries: Vec<(StickKey, Binding)>,
    /// Where to go on; `None` at the end. Opaque: hand it back to the same store.
    pub next: Option<String>,
}

/// Remembers where rooms live, for one process or for many.
///
/// The verbs are the whole protocol of stickiness. Insert-if-absent is one step at the store, so two processes that
/// claim one room at once get one winner. A sticky hit is one round trip ([`get`](Self::get) with `extend`).
///
/// # What to share, and what has to stick
///
/// HTTP keeps no state: each request may come over another connection, from another address, without a word of the one
/// before. What a web application remembers of its visitors (logins, carts, drafts) can therefore live in a store that
/// all servers read, Redis for one, and then any server may answer; sticking them to one is a crutch. A conference is
/// different: media and signalling of a room live in one server's memory and cannot be read by another. So share the
/// sessions, and stick the rooms: what is kept here is only which server a room is on.
///
/// # Cancel safety
///
/// Dropping any of these futures may leave the operation done or not done at the store, never half done. A claim
/// can be repeated with the same [`Token`].
#[async_trait]
pub trait StickStore: Send + Sync + 'static {
    /// What is stored for `key`, if it has not expired. With `extend`, a hit is kept for at least that long from now.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Result<Option<Binding>, StickError>;

    /// What [`get`](Self::get) would find under the key of this text, of a store that has it at hand. `None` says nothing:
    /// ask with [`get`](Self::get).
    ///
    /// Unless a store writes it anew, nothing is ever at hand. Do so only where neither waiting nor failing is possible:
    /// what is found here is not remembered for the time when the store cannot be asked.
    fn at_hand(&self, _key: &str, _extend: Option<Duration>) -> Option<Binding> {
        None
    }

    /// Stores `want` unless something is stored: insert-if-absent that returns the winner.
    ///
    /// A repeat with the same token answers [`Claim::Held`] with the caller's own binding. A closed backend answers
    /// [`Claim::Closed`] unless something is held already.
    ///
    /// # Errors
    ///
    /// [`StickError::Full`] when a bounded store has no room; otherwise when the store cannot be asked.
    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError>;

    /// Puts `want` where exactly `seen`, or nothing, is stored; anything else is [`Claim::Held`].
    ///
    /// # Errors
    ///
    /// As for [`claim`](Self::claim).
    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError>;

    /// Keeps exactly `seen` for `ttl` from now; `false` when something else or nothing is stored.
    ///
    /// A store behind a network sends a call once more when its connection broke. The first may have been done, and
    /// the binding released or moved by somebody since: then `false` comes after a renewal that worked. So `false`
    /// speaks of the moment of the answer; read the binding ([`get`](Self::get)) before acting on it.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn renew(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> Result<bool, StickError>;

    /// Whether exactly `seen` is stored at this moment, by the word of whoever decides for the store now: to be asked
    /// before what cannot be undone, when the store may have lost writes since (a failover to a replica).
    ///
    /// Unlike [`renew`](Self::renew) it leaves the time to live as it is. The default reads the binding.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked: then nothing is known of the binding.
    async fn confirm(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        Ok(self.get(key, None).await?.as_ref() == Some(seen))
    }

    /// Removes exactly `seen`; `false` when something else or nothing is stored.
    ///
    /// A store behind a network sends a call once more when its connection broke: `false` may then mean that the first
    /// one had removed it and its answer was lost. Either way `seen` is no longer stored; do not take `false` for a
    /// sign that somebody else released or moved the room.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn release(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError>;

    /// Closes a server to new bindings, or opens it: the fence for drain and removal under several processes.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn close(&self, backend: &BackendId, closed: bool) -> Result<(), StickError>;

    /// What is bound to a server, a page at a time; `from` is the last page's [`StickPage::next`].
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked, or `from` is not a position of this store.
    async fn list(&self, backend: &BackendId, from: Option<&str>) -> Result<StickPage, StickError>;

    /// How many unexpired bindings a server has.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn count(&self, backend: &BackendId) -> Result<u64, StickError>;
}

/// What a caller can do about a [`StickError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StickErrorKind {
    /// The request or the configuration is wrong; a retry cannot help.
    Input,
    /// The store has no room for a new binding.
    Full,
    /// The store answers but refuses to write (read-only replica, no permission, wrong password).
    Refused,
    /// The store cannot be reached in time; what was sent may have been done.
    Lost,
    /// The store answered something that is not its protocol, or its data is damaged.
    Corrupt,
}

/// Why a stick store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StickError {
    /// A key that is empty or too long.
    #[error("stick key of {len} bytes: must be 1 to 1024 bytes")]
    Key {
        /// Its length in bytes.
        len: usize,
    },
    /// A setting that cannot be used.
    #[error("{what}: {why}")]
    Config {
        /// What is wrong: the setting and, without any secret, its value.
        what: String,
        /// Why, and what would be right.
        why: String,
    },
    /// A bounded store is full.
    #[error("stick table is full ({capacity} entries): raise its capacity or shorten the time to live")]
    Full {
        /// The configured capacity.
        capacity: usize,
    },
    /// The store refuses to write or to let us in.
    #[error("{target} refuses: {why}")]
    Refused {
        /// The store, without any secret.
        target: String,
        /// Its words and the likely remedy.
        why: String,
    },
    /// No answer in time.
    #[error("{target} does not answer: {why}")]
    Lost {
        /// The store, without any secret.
        target: String,
        /// The likely cause and the remedy.
        why: String,
        /// The underlying error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The store's data cannot be understood.
    #[error("{target}: {why}")]
    Corrupt {
        /// The store or file.
        target: String,
        /// What was found and where.
        why: String,
    },
}

impl StickError {
    /// What the caller can do about it.
    pub fn kind(&self) -> StickErrorKind {
        match self {
            Self::Key { .. } | Self::Config { .. } => StickErrorKind::Input,
            Self::Full { .. } => StickErrorKind::Full,
            Self::Refused { .. } => StickErrorKind::Refused,
            Self::Lost { .. } => StickErrorKind::Lost,
            Self::Corrupt { .. } => StickErrorKind::Corrupt,
        }
    }
}
