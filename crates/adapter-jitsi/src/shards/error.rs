//! What can be wrong with shards and with what is asked of them.

use balancer_core::{BackendId, PlanError, PoolError, RouteError, StickError};

use super::MAX_SHARDS;

/// Why shards cannot be set up, asked or ordered about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// An id that cannot be one.
    #[error("{id:?} cannot be the id of a shard: 1 to 64 letters, digits, '-', '_' or '.', a letter or digit first")]
    Id {
        /// The id, cut off when it is too long.
        id: String,
    },
    /// A region that cannot be one.
    #[error("{region:?} cannot be a region: at most 64 bytes without control characters")]
    Region {
        /// The region, cut off when it is too long.
        region: String,
    },
    /// An address that cannot be one.
    #[error("shard {shard}: {part} = {address:?} is no address: write host:port or [v6]:port")]
    Address {
        /// The shard.
        shard: BackendId,
        /// Which part.
        part: &'static str,
        /// The address, cut off when it is too long.
        address: String,
    },
    /// No shards, or too many.
    #[error("{count} shards: there must be 1 to {MAX_SHARDS}")]
    Count {
        /// How many there are.
        count: usize,
    },
    /// More regions in one group than a choice can look at.
    #[error("the group of region {region} has {count} regions: at most 16 are allowed")]
    Group {
        /// A region of the group.
        region: String,
        /// How many there are.
        count: usize,
    },
    /// A request or name without a room.
    #[error("there is no room in what was asked for: any shard will do, and nothing is remembered")]
    NoRoom,
    /// No shard has this id.
    #[error("no shard has the id {id}")]
    Unknown {
        /// The id.
        id: BackendId,
    },
    /// The pool refuses the shards.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The room gets no shard.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The stick table cannot be asked.
    #[error(transparent)]
    Store(#[from] StickError),
    /// A change that cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl ShardError {
    /// A word for it that stays, fit for a metric's label.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Id { .. } | Self::Region { .. } | Self::Address { .. } | Self::Count { .. } | Self::Group { .. } => {
                "settings"
            }
            Self::NoRoom => "no-room",
            Self::Unknown { .. } | Self::Pool(_) => "unknown",
            Self::Route(RouteError::NoCandidate) => "no-shard",
            Self::Route(RouteError::Pinned { .. }) => "pinned",
            Self::Route(RouteError::Unknown { .. }) => "unknown-shard",
            Self::Route(RouteError::Store(_)) | Self::Store(_) => "store",
            Self::Route(_) => "contended",
            Self::Plan(_) => "plan",
        }
    }

    /// Whether the same request may succeed later without anybody doing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Route(e) => e.is_retryable(),
            Self::Store(e) => e.kind() == balancer_core::StickErrorKind::Lost,
            _ => false,
        }
    }
}
