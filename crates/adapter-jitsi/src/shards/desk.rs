//! Where shards are asked for.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use balancer_core::{
    Admin, Ask, Backend, BackendId, Balancer, BalancerOptions, Binding, Clause, Decision, Filter, Health, LeastLoaded,
    Outcome, Pool, PoolOptions, RouteError, StickError, StickKey, StickStore, random,
};
use tokio::time::Instant;

use super::notes::Notes;
use super::{MAX_SHARDS, Shard, ShardError, ShardLoad};
use crate::region::RegionGroups;
use crate::rooms::room_of;

/// How shards are chosen and rooms kept on them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShardOptions {
    /// Regions that are near to one another. Default none.
    pub groups: RegionGroups,
    /// How a shard's load is counted. Default: participants, five in a new room.
    pub load: ShardLoad,
    /// How long a room stays bound after it was last asked for or listed by its focus. Default 10 min; longer than the
    /// longest gap between two requests of a room where no focus is asked.
    pub ttl: Duration,
    /// How long a shard must be down, seen by nobody, to be dead: then its rooms move. That is found out with at most
    /// half of it more. Default 30 s.
    pub dead_after: Duration,
    /// A room that was bound less than this ago is not moved. Default 10 s.
    pub settle: Duration,
    /// Whether a shard that was never probed takes rooms. Default `true`; `false` where shards are probed.
    pub trust_new: bool,
}

impl Default for ShardOptions {
    fn default() -> Self {
        Self {
            groups: RegionGroups::default(),
            load: ShardLoad::default(),
            ttl: Duration::from_secs(600),
            dead_after: Duration::from_secs(30),
            settle: Duration::from_secs(10),
            trust_new: true,
        }
    }
}

/// A room's shard.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShardChoice {
    /// The room's key.
    pub room: StickKey,
    /// The shard.
    pub shard: Arc<Shard>,
    /// How the room came there.
    pub outcome: Outcome,
    /// What the stick table holds; `None` for a room that was only asked about and is bound nowhere.
    pub binding: Option<Binding>,
}

/// Shards and the rooms on them.
///
/// A room's first participant decides: the least loaded shard that is ready, in the participant's region, else in the
/// region's group, else anywhere. Everybody later follows, whatever their region. A room leaves its shard only when
/// that is dead or in maintenance: then all of it at once, and never back while in use.
///
/// Any number of pickers may work on one stick table. Each [`sync`](Self::sync)s every second or so: orders given at
/// one of them hold at all, and a shard is dead only when no picker has seen it up for a while, so that one picker's
/// bad network splits no room.
///
/// ```
/// use std::sync::Arc;
/// use adapter_jitsi::{Shard, ShardOptions, Shards};
/// use balancer_core::MemoryStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shards = [Shard::try_new("eu-1")?.with_region("eu")?, Shard::try_new("us-1")?.with_region("us")?];
/// let shards = Shards::try_new(shards, Arc::new(MemoryStore::default()), ShardOptions::default())?;
/// let room = Shards::room("/acme/Standup")?;
/// let first = shards.place(&room, Some("us")).await?;
/// assert_eq!(first.shard.region(), Some("us"));
/// let second = shards.place(&Shards::room("/acme/xmpp-websocket?room=standup")?, Some("eu")).await?;
/// assert_eq!(second.shard.region(), Some("us")); // everybody meets there
/// # Ok(())
/// # }
/// ```
pub struct Shards {
    pub(super) balancer: Balancer<Shard>,
    pub(super) notes: Notes,
    pub(super) options: ShardOptions,
    /// Since when shards are down here.
    pub(super) down: Mutex<HashMap<BackendId, Instant>>,
    /// Held while an order is carried out, so that orders do not overtake one another.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Rooms that two shards had at the last look.
    pub(super) doubled: Mutex<HashMap<BackendId, Vec<StickKey>>>,
}

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shards").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Shards {
    /// These shards over this stick table.
    ///
    /// # Errors
    ///
    /// [`ShardError::Count`], [`ShardError::Group`] or [`ShardError::Pool`].
    pub fn try_new(
        shards: impl IntoIterator<Item = Shard>,
        store: Arc<dyn StickStore>,
        options: ShardOptions,
    ) -> Result<Self, ShardError> {
        let pool = PoolOptions::default().load(options.load).trust_new(options.trust_new);
        let pool = Arc::new(Pool::new(Box::new(LeastLoaded), pool));
        let rules = BalancerOptions::default().ttl(options.ttl).settle(options.settle);
        let balancer = Balancer::new(pool, Arc::clone(&store), rules);
        let (down, turn, doubled) = Default::default();
        let new = Self { balancer, notes: Notes::new(store), options, down, turn, doubled };
        new.replace(shards)?;
        Ok(new)
    }

    /// Other definitions: shards that stay keep their state. One that is left out is no longer known here, and rooms
    /// that are bound to it are refused: [`forget`](Self::forget) lets go of them.
    ///
    /// # Errors
    ///
    /// As [`try_new`](Self::try_new); nothing is changed then.
    pub fn replace(&self, shards: impl IntoIterator<Item = Shard>) -> Result<(), ShardError> {
        // One that did not change keeps its probes as well.
        let same = |new: Shard| match self.pool().member(new.id().as_str()) {
            Some(old) if **old.backend() == new => Arc::clone(old.backend()),
            _ => Arc::new(new),
        };
        let shards: Vec<Arc<Shard>> = shards.into_iter().map(same).collect();
        if shards.is_empty() || shards.len() > MAX_SHARDS {
            return Err(ShardError::Count { count: shards.len() });
        }
        shards.iter().try_for_each(|shard| self.ladder(shard.region()).map(drop))?;
        Ok(self.pool().replace(shards)?)
    }

    /// The pool, for monitors and tables.
    pub fn pool(&self) -> &Arc<Pool<Shard>> {
        self.balancer.pool()
    }

    /// The balancer that places the rooms.
    pub fn balancer(&self) -> &Balancer<Shard> {
        &self.balancer
    }

    /// The options.
    pub fn options(&self) -> &ShardOptions {
        &self.options
    }

    /// The room of a request target or of a whole URL, as the key that all its requests share; a bare name is taken for
    /// the path `/NAME`.
    ///
    /// # Errors
    ///
    /// [`ShardError::NoRoom`] when it has none, [`ShardError::Store`] when it is too long to be remembered.
    pub fn room(target: &str) -> Result<StickKey, ShardError> {
        let bare = !target.starts_with('/') && !target.contains("://");
        let request = if bare { room_of(format!("/{target}")) } else { room_of(target) };
        let key = request.key().ok_or(ShardError::NoRoom)?;
        Ok(StickKey::new(key)?)
    }

    /// The ladder of regions: the participant's, those near it, any.
    pub(super) fn ladder(&self, region: Option<&str>) -> Result<Option<Filter>, ShardError> {
        let Some(region) = region.filter(|region| !region.is_empty()) else { return Ok(None) };
        let near: Vec<&str> = self.options.groups.group(Some(region)).iter().collect();
        let count = near.len();
        let rungs = vec![vec![Clause::any_of([region])], vec![Clause::any_of(near)], Vec::new()];
        let filter = Filter::ladder(rungs).map_err(|_| ShardError::Group { region: region.to_owned(), count })?;
        Ok(Some(filter))
    }

    /// The room's shard: where it lives or, if that is nowhere usable, a new one for everybody.
    ///
    /// # Errors
    ///
    /// [`ShardError::Route`].
    ///
    /// # Cancel safety
    ///
    /// A claim already sent stays, and the next request for the room meets it.
    pub async fn place(&self, room: &StickKey, region: Option<&str>) -> Result<ShardChoice, ShardError> {
        let filter = self.ladder(region)?;
        let placement = self.balancer.route(&ask(room, filter.as_ref())).await?;
        let choice = ShardChoice {
            room: room.clone(),
            shard: Arc::clone(placement.backend()),
            outcome: placement.outcome(),
            binding: Some(placement.binding().clone()),
        };
        placement.land();
        Ok(choice)
    }

    /// The room's shard if it were asked for now; nothing is stored, as for a page that is merely loaded.
    ///
    /// # Errors
    ///
    /// As [`place`](Self::place).
    ///
    /// # Cancel safety
    ///
    /// Nothing is changed.
    pub async fn look(&self, room: &StickKey, region: Option<&str>) -> Result<ShardChoice, ShardError> {
        let filter = self.ladder(region)?;
        let binding = self.balancer.store().get(room, None).await?;
        if let Some(bound) = &binding {
            let id = bound.backend.clone();
            let Some(member) = self.pool().member(id.as_str()) else { return Err(RouteError::Unknown { id }.into()) };
            let (admin, health) = (member.admin(), member.health());
            if holds(admin, health) {
                let shard = Arc::clone(member.backend());
                return Ok(ShardChoice { room: room.clone(), shard, outcome: Outcome::Sticky, binding });
            }
            if self.balancer.is_young(bound) {
                return Err(RouteError::Pinned { id, admin, health }.into());
            }
        }
        let outcome = if binding.is_some() { Outcome::Moved } else { Outcome::New };
        let chosen = self.pool().choose(&ask(room, filter.as_ref()), random(), Arc::clone);
        let shard = chosen.ok_or(RouteError::NoCandidate)?;
        Ok(ShardChoice { room: room.clone(), shard, outcome, binding })
    }

    /// Why the room is where it is, or where it would come and why. Nothing is stored.
    ///
    /// # Errors
    ///
    /// [`ShardError::Store`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is changed.
    pub async fn explain(&self, room: &StickKey, region: Option<&str>) -> Result<Decision, ShardError> {
        let filter = self.ladder(region)?;
        let mut decision = self.pool().freeze(Instant::now()).decide(&ask(room, filter.as_ref()), random());
        if let Some(region) = region.filter(|region| !region.is_empty()) {
            let near: Vec<&str> = self.options.groups.group(Some(region)).iter().filter(|r| *r != region).collect();
            let near = if near.is_empty() { "none".to_owned() } else { near.join(", ") };
            decision.note(format!("region {region} is asked for, near it: {near}; then any"));
        }
        let Some(binding) = self.balancer.store().get(room, None).await? else { return Ok(decision) };
        let member = self.pool().member(binding.backend.as_str());
        let alone = decision.backend.take().map_or_else(|| "nobody".to_owned(), |id| id.to_string());
        match member {
            Some(m) if holds(m.admin(), m.health()) => {
                decision.note(format!("it lives on {} ({}, {})", binding.backend, m.admin(), m.health()));
                decision.note(format!("by load alone: {alone}"));
                decision.outcome = Outcome::Sticky;
                decision.backend = Some(binding.backend);
            }
            Some(m) => {
                let (admin, health) = (m.admin(), m.health());
                decision.note(format!("it lived on {}, which takes nothing ({admin}, {health})", binding.backend));
                if self.balancer.is_young(&binding) {
                    decision.note("it was bound too recently to move");
                    decision.outcome = Outcome::Refused;
                } else if alone != "nobody" {
                    decision.outcome = Outcome::Moved;
                    decision.backend = Some(alone.into());
                }
            }
            None => {
                decision.note(format!("it lives on {}, which is not among the shards", binding.backend));
                decision.outcome = Outcome::Refused;
            }
        }
        Ok(decision)
    }

    pub(super) fn down(&self) -> MutexGuard<'_, HashMap<BackendId, Instant>> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn known(&self, id: &BackendId) -> Result<(), ShardError> {
        match self.pool().member(id.as_str()) {
            Some(_) => Ok(()),
            None => Err(ShardError::Unknown { id: id.clone() }),
        }
    }

    /// What is bound to a shard, page by page, notes left out.
    pub(super) async fn bound(
        &self,
        id: &BackendId,
        from: Option<&str>,
    ) -> Result<(Vec<(StickKey, Binding)>, Option<String>), StickError> {
        let mut page = self.balancer.store().list(id, from).await?;
        page.entries.retain(|(key, _)| super::notes::is_room(key));
        Ok((page.entries, page.next))
    }
}

/// Whether a shard in these states keeps its rooms.
pub(super) fn holds(admin: Admin, health: Health) -> bool {
    admin != Admin::Maint && health != Health::Dead
}

pub(super) fn ask<'a>(room: &'a StickKey, filter: Option<&'a Filter>) -> Ask<'a> {
    let ask = Ask::new(room);
    match filter {
        Some(filter) => ask.filter(filter),
        None => ask,
    }
}
