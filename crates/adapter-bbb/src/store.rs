//! What all processes share: the servers, their measured state, and where each meeting lives.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use balancer_core::{BackendId, Binding, Claim, StickError, StickKey, StickPage, StickStore, Want};

use crate::secret::Secret;

pub(crate) mod callbacks;
mod local;
mod polls;
#[cfg(feature = "redis")]
mod redis;
pub(crate) mod tenants;

pub use callbacks::{CallbackStore, CallbackUrls, Delivery, DeliveryKind, Hook, HookAdded, HookBook, MAX_HOOKS};
pub use local::LocalStore;
pub use polls::{Doubt, Fence, Peer, PollRecord, SharedPoll};
#[cfg(feature = "redis")]
pub use redis::RedisMeetings;
pub use tenants::{
    LRS_FIELDS, TenantLimits, TenantPatch, TenantRecord, TenantSaved, TenantSetting, TenantStore, tenant_meeting_id,
};

/// How many entries a page of a listing has.
const PAGE: usize = 500;
/// How a position in a listing begins.
const AFTER: &str = "after ";

/// The page of a server's meetings that begins at a position of ours, by id.
fn page(mut of: Vec<MeetingRecord>, from: Option<&str>) -> Result<StickPage, StickError> {
    let foreign = || StickError::Config {
        what: "position of a listing".into(),
        why: "not one that this store gave; begin without a position".into(),
    };
    of.sort_by(|a, b| a.id.cmp(&b.id));
    let after = from.map(|from| from.strip_prefix(AFTER).ok_or_else(foreign)).transpose()?;
    let begin = after.map_or(0, |id| of.partition_point(|m| m.id.as_str() <= id));
    let more = of.len() - begin > PAGE;
    let mut entries = Vec::with_capacity(PAGE.min(of.len() - begin));
    for m in of.into_iter().skip(begin).take(PAGE) {
        entries.push((StickKey::new(m.id)?, m.binding));
    }
    let next = entries.last().filter(|_| more).map(|(key, _)| format!("{AFTER}{}", key.as_str()));
    Ok(StickPage { entries, next })
}

/// What the operator ordered, in Scalelite's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// Takes new meetings.
    Enabled,
    /// Keeps its meetings, takes no new ones.
    Cordoned,
    /// Takes nothing; joins are refused.
    #[default]
    Disabled,
}

impl ServerState {
    /// Scalelite's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Cordoned => "cordoned",
            Self::Disabled => "disabled",
        }
    }

    /// Reads Scalelite's word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "enabled" => Some(Self::Enabled),
            "cordoned" => Some(Self::Cordoned),
            "disabled" => Some(Self::Disabled),
            _ => None,
        }
    }
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A server as it is stored.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ServerRecord {
    /// Its id: a UUID, or its host name.
    pub id: BackendId,
    /// The base URL of its API.
    pub url: String,
    /// Its shared secret.
    pub secret: Secret,
    /// The secret before the last change, until the server answers to the new one.
    pub old_secret: Option<Secret>,
    /// Its tag, if any.
    pub tag: Option<String>,
    /// What the operator ordered.
    pub state: ServerState,
    /// The shared verdict of the pollers.
    pub online: bool,
    /// Its load; absent means it takes no new meetings yet.
    pub load: Option<f64>,
    /// Its load multiplier as text, 1.0 when absent.
    pub load_multiplier: Option<String>,
    /// Figures of the last poll.
    pub figures: Figures,
    /// The version of BigBlueButton it runs, if known.
    pub bbb_version: Option<String>,
}

/// Figures of one poll of one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Figures {
    /// Meetings, breakout rooms included.
    pub meetings: u64,
    /// People.
    pub users: u64,
    /// People in the largest meeting.
    pub largest_meeting: u64,
    /// Cameras.
    pub videos: u64,
}

impl ServerRecord {
    /// A new server: disabled and offline, as Scalelite adds them.
    pub fn new(id: impl Into<BackendId>, url: impl Into<String>, secret: Secret) -> Self {
        Self {
            id: id.into(),
            url: url.into(),
            secret,
            old_secret: None,
            tag: None,
            state: ServerState::Disabled,
            online: false,
            load: None,
            load_multiplier: None,
            figures: Figures::default(),
            bbb_version: None,
        }
    }

    /// The multiplier as a number; unreadable, absent and zero count as 1.
    pub fn multiplier(&self) -> f64 {
        let m = self.load_multiplier.as_deref().and_then(|m| m.trim().parse::<f64>().ok()).unwrap_or(1.0);
        if m.is_finite() && m > 0.0 { m } else { 1.0 }
    }
}

/// What an administrator changes; absent means kept.
#[derive(Clone, Debug, Default)]
pub struct ServerPatch {
    /// A new state.
    pub state: Option<ServerState>,
    /// A new secret. The one before is kept as [`ServerRecord::old_secret`], unless there is an older one already:
    /// then the server never answered to it. The old one given again ends the change.
    pub secret: Option<Secret>,
    /// The server has answered to this secret: if it is still the one it should have, the old one is forgotten.
    pub proved: Option<Secret>,
    /// A new tag; the empty text removes it.
    pub tag: Option<String>,
    /// A new multiplier.
    pub load_multiplier: Option<String>,
}

/// A meeting as it is stored.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeetingRecord {
    /// Its id.
    pub id: String,
    /// Where it lives.
    pub binding: Binding,
    /// The moderators' password.
    pub moderator_pw: String,
    /// Its voice bridge number; empty when Scalelite stored none.
    pub voice_bridge: String,
    /// An end is under way.
    pub ending: bool,
    /// The id of its tenant; empty without one.
    pub tenant: String,
}

impl fmt::Debug for MeetingRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeetingRecord")
            .field("id", &self.id)
            .field("binding", &self.binding)
            .field("voice_bridge", &self.voice_bridge)
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}

/// The answer to a look at one meeting.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The meeting, if it is known.
    pub meeting: Option<MeetingRecord>,
    /// State and verdict of its server as stored at this moment; absent when that server is gone.
    pub server: Option<(ServerState, bool)>,
    /// Changes whenever the set of servers or their states changed.
    pub epoch: u64,
}

/// A wish to bind a meeting to a server, with all that is stored beside it.
pub struct MeetingClaim<'a> {
    /// The meeting.
    pub id: &'a str,
    /// What is bound now and may be replaced; with none, nothing may be bound.
    pub over: Option<&'a Binding>,
    /// The server and the caller's token.
    pub want: &'a Want,
    /// The moderators' password to store; kept when the meeting has one.
    pub moderator_pw: &'a str,
    /// Numbers to try for the voice bridge, in order.
    pub bridges: &'a [String],
    /// By how much the server's stored load grows.
    pub load: f64,
    /// The meeting runs there already: that the server is closed to new ones does not matter.
    pub adopt: bool,
    /// The tenant whose meeting a new one is; empty for none.
    pub tenant: &'a str,
    /// At most so many meetings of that tenant at once; further ones are refused as [`StickError::Full`]. 0 is no limit.
    pub most: u32,
    /// The server must be a registered one, and enabled unless it runs the meeting already. Without this, only orders
    /// that are known close a server: a plain stick store knows no servers.
    pub registered: bool,
    /// How long the binding lives.
    pub ttl: Duration,
}

impl fmt::Debug for MeetingClaim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeetingClaim")
            .field("id", &self.id)
            .field("over", &self.over)
            .field("want", &self.want)
            .finish_non_exhaustive()
    }
}

/// Who holds a meeting after a claim.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The claim's answer.
    pub claim: Claim,
    /// The meeting as stored now, unless the claim met a closed server.
    pub meeting: Option<MeetingRecord>,
}

/// All servers, and the epoch they were read at.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// The servers, by id.
    pub servers: Vec<ServerRecord>,
    /// As in [`Look::epoch`].
    pub epoch: u64,
    /// What processes tell one another of the polls, where several share the store.
    pub polls: std::collections::HashMap<BackendId, SharedPoll>,
}

/// The adapter's own stick store: meetings with their passwords and voice bridges, and the servers they live on.
///
/// # Cancel safety
///
/// As for [`StickStore`]: dropping a future leaves each operation done or not done, never half done.
#[async_trait]
pub trait MeetingStore: StickStore {
    /// Looks at one meeting and its server, in one round trip.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn look(&self, id: &str) -> Result<Look, StickError>;

    /// Binds a meeting, in one step at the store.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn claim_meeting(&self, claim: &MeetingClaim<'_>) -> Result<Claimed, StickError>;

    /// A number that changes whenever the store may have lost writes since, as when it is reached over another
    /// connection: then a claim needs [`confirm`](StickStore::confirm) before it is built upon. Default: never changes.
    fn generation(&self) -> u64 {
        0
    }

    /// Marks a meeting as ending for at most this long; `false` when something else is bound or it ends already.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn begin_end(&self, id: &str, seen: &Binding, at_most: Duration) -> Result<bool, StickError>;

    /// All meetings, or those bound to one server.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn meetings(&self, server: Option<&BackendId>) -> Result<Vec<MeetingRecord>, StickError>;

    /// All servers.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn servers(&self) -> Result<Registry, StickError>;

    /// Adds a server; `false` when its id is taken.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn add_server(&self, record: &ServerRecord) -> Result<bool, StickError>;

    /// Changes a server; `false` when it is not known.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn update_server(&self, id: &BackendId, patch: &ServerPatch) -> Result<bool, StickError>;

    /// Removes a server with everything stored about it, its meetings' bindings included; `false` when not known.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn remove_server(&self, id: &BackendId) -> Result<bool, StickError>;

    /// Stores what a poll found. `false` when its lease is lost: then nothing is stored.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn record_poll(&self, id: &BackendId, poll: &PollRecord) -> Result<bool, StickError>;

    /// Keeps the bindings of meetings that a poll saw on their server: a long meeting is not forgotten.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn renew_seen(&self, server: &BackendId, seen: &[String], ttl: Duration) -> Result<(), StickError>;

    /// Adds to the stored loads of servers that have one.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn add_loads(&self, loads: &[(BackendId, f64)]) -> Result<(), StickError>;

    /// Announces this process for `ttl`; the answer is the live processes that share the store, this one among them.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn announce(&self, process: u64, ttl: Duration) -> Result<Vec<Peer>, StickError>;

    /// Takes back what [`announce`](Self::announce) said, and every lease: this process stops.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn withdraw(&self, process: u64) -> Result<(), StickError> {
        let _ = process;
        Ok(())
    }

    /// Whether several processes may share this store: then [`take_leases`](Self::take_leases) gives leases out, and it
    /// may be out of reach. Default: no.
    fn is_shared(&self) -> bool {
        false
    }

    /// Takes, or keeps, for `ttl` the leases to poll these servers, as far as no live process holds them, or with
    /// `force` all of them; gives back the ones of `release`. The answer is those of `wanted` that are held now, in
    /// their order. A lease that changes hands gets a larger token.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn take_leases(
        &self,
        process: u64,
        wanted: &[BackendId],
        release: &[BackendId],
        ttl: Duration,
        force: bool,
    ) -> Result<Vec<Option<Fence>>, StickError> {
        let _ = (process, release, ttl, force);
        Ok(vec![None; wanted.len()])
    }

    /// The server whose last poll saw this breakout room, where several processes share the store.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn breakout(&self, id: &str) -> Result<Option<BackendId>, StickError> {
        let _ = id;
        Ok(None)
    }

    /// Removes what others left behind: entries of servers and meetings that are not there. The answer is how many.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn tidy(&self) -> Result<u64, StickError> {
        Ok(0)
    }

    /// Says for at most `ttl` that this process cannot reach a server. The answer is whether that is enough to take it
    /// offline for everybody: when another live process says so too, or there is none.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn doubt(&self, server: &BackendId, process: u64, ttl: Duration) -> Result<Doubt, StickError> {
        let _ = (server, process, ttl);
        Ok(Doubt::Agreed(None))
    }

    /// Takes [`doubt`](Self::doubt) back: this process reaches the server.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn trust(&self, server: &BackendId, process: u64) -> Result<(), StickError> {
        let _ = (server, process);
        Ok(())
    }

    /// The clock that stamps bindings, in milliseconds since the epoch; `None` when it is the one of this process.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked.
    async fn clock_ms(&self) -> Result<Option<u64>, StickError> {
        Ok(None)
    }

    /// Hooks, callback addresses and waiting deliveries, beside the meetings.
    fn callback_store(&self) -> &dyn CallbackStore;

    /// Tenants, beside the meetings.
    fn tenant_store(&self) -> &dyn TenantStore;

    /// Writes and reads something, for a health check.
    ///
    /// # Errors
    ///
    /// [`StickError`] when that fails.
    async fn check(&self) -> Result<(), StickError>;

    /// Where it is, without any secret.
    fn describe(&self) -> String;
}
