//! The same selection behind the traits of the pool.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use balancer_core::{
    Ask, Backend, Candidates, Change, Lease, Members, Pool, PoolError, Selector, Slot, Strategy, Turn,
};
use tokio::time::Instant;

use super::{Gate, NoBridge};
use crate::bridge::{Bridge, BridgeTable, Row};
use crate::conference::Conference;

/// How many candidates an explanation ranks.
const MAX_RANKED: usize = 32;

/// A pool of bridges, asked with conferences.
pub type BridgePool = Pool<Bridge, Conference>;

/// A table that is written by whoever reads the brewery and read by the pool that chooses.
#[derive(Clone, Debug)]
pub struct SharedBridges(Arc<Mutex<BridgeTable>>);

impl SharedBridges {
    /// Shares a table.
    pub fn new(table: BridgeTable) -> Self {
        Self(Arc::new(Mutex::new(table)))
    }

    /// Works on the table. Keep it short, since every choice waits meanwhile; and do not ask the pool within, which would
    /// wait for ever.
    pub fn with<T>(&self, work: impl FnOnce(&mut BridgeTable) -> T) -> T {
        work(&mut self.lock())
    }

    /// Gives its pool the bridges that are in the brewery now. Cheap when there is nothing new, so call it after every
    /// presence.
    ///
    /// # Errors
    ///
    /// What the pool says of the list.
    pub fn follow(&self, pool: &BridgePool) -> Result<(), PoolError> {
        // Again when the list changed meanwhile, or somebody else gave an older one.
        while let Some((revision, bridges)) =
            self.with(|table| (table.told != table.revision).then(|| (table.revision, table.bridges())))
        {
            pool.replace(bridges)?;
            self.with(|table| table.told = revision);
        }
        Ok(())
    }

    /// One participant's bridge through a pool: what the conference keeps, else what the pool chooses, if the conference
    /// can be joined with it. Tell the table when the participant is there: [`BridgeTable::placed`], or
    /// [`ConferenceBook::joined`](crate::ConferenceBook::joined).
    ///
    /// # Errors
    ///
    /// Why there is no bridge.
    pub fn place(
        &self,
        pool: &BridgePool,
        ask: &Ask<'_, Conference>,
        seed: u64,
        now: Duration,
    ) -> Result<Lease<Bridge>, NoBridge> {
        let (handed, gate) = self.with(|table| {
            let handed = table.hand_over(ask.query, now);
            let gate = table.gate(&handed, now);
            (handed, gate)
        });
        // The table is let go before the pool is asked.
        let lease = match gate? {
            Gate::Keep(id) => pool.lease(&id, ask.size.unwrap_or(1)).map_err(|_| NoBridge::Closed)?,
            Gate::Open => {
                let mut among = *ask;
                among.query = &handed;
                let lease = pool.place(&among, seed);
                // The strategy had none, or the pool left all out.
                let why = || self.with(|table| table.select(&handed, now)).err().unwrap_or(NoBridge::Closed);
                lease.ok_or_else(why)?
            }
        };
        let id = lease.backend().id().clone();
        self.with(|table| table.admit(ask.query, &id)).map(|()| lease)
    }

    fn lock(&self) -> MutexGuard<'_, BridgeTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock of a table beside that of the pool.
#[derive(Clone, Copy, Debug)]
pub struct BridgeClock {
    instant: Instant,
    at: Duration,
}

impl BridgeClock {
    /// At this instant the table's clock stands so.
    pub fn new(instant: Instant, at: Duration) -> Self {
        Self { instant, at }
    }

    /// The Unix time, which buckets of a running jicofo are aligned to.
    pub fn wall() -> Self {
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::new(Instant::now(), at)
    }

    /// What the table's clock says at this instant.
    pub fn at(&self, instant: Instant) -> Duration {
        match instant.checked_duration_since(self.instant) {
            Some(since) => self.at.saturating_add(since),
            None => self.at.saturating_sub(self.instant.saturating_duration_since(instant)),
        }
    }
}

/// Jicofo's selection as the strategy of one pool. The figures are those of the table; the pool's own states, filters
/// and exclusions leave bridges out before they are compared.
///
/// What a conference keeps although it is no candidate is decided before the pool is asked: see
/// [`BridgeTable::gate`]. Weights count for nothing, and neither do units in flight: tell the table of an endpoint as
/// soon as it is placed ([`BridgeTable::placed`]).
#[derive(Debug)]
pub struct BridgeStrategy {
    table: SharedBridges,
    clock: BridgeClock,
}

impl BridgeStrategy {
    /// The strategy that the table's settings name, for one pool.
    pub fn new(table: SharedBridges, clock: BridgeClock) -> Self {
        Self { table, clock }
    }
}

impl Strategy<Bridge, Conference> for BridgeStrategy {
    fn name(&self) -> &'static str {
        "jicofo"
    }

    fn prepare(
        &mut self,
        members: &Members<Bridge>,
        changes: &[Change],
    ) -> Option<Arc<dyn Selector<Bridge, Conference>>> {
        if !changes.contains(&Change::Members) {
            return None;
        }
        let mut table = self.table.lock();
        let slot = |row: &Row| members.by_id(row.id.as_str()).map(|member| member.slot());
        table.slots = table.rows.iter().map(slot).collect();
        Some(Arc::new(Chooser { table: self.table.clone(), clock: self.clock }))
    }

    fn fork(&self) -> Box<dyn Strategy<Bridge, Conference>> {
        let table = self.table.lock().clone();
        Box::new(Self { table: SharedBridges::new(table), clock: self.clock })
    }
}

#[derive(Debug)]
struct Chooser {
    table: SharedBridges,
    clock: BridgeClock,
}

impl Selector<Bridge, Conference> for Chooser {
    fn pick(&self, among: &Candidates<'_, Bridge>, ask: &Ask<'_, Conference>, turn: &mut Turn<'_>) -> Option<Slot> {
        let now = self.clock.at(turn.now());
        let mut table = self.table.lock();
        // Taken out meanwhile, since choosing needs the whole table.
        let slots = std::mem::take(&mut table.slots);
        let slot = |row: u32| slots.get(row as usize).copied().flatten();
        let admit = |row: u32| slot(row).is_some_and(|slot| among.contains(slot));
        let choice = table.choose(ask.query, now, &admit);
        if let Some(trace) = turn.trace() {
            trace.rule(choice.map_or("no bridge", |(_, reason)| reason.text()));
            for (place, row) in (0..).zip(table.candidates(ask.query, &admit, MAX_RANKED)) {
                if let Some(slot) = slot(row) {
                    trace.score(slot, place);
                }
            }
        }
        let found = choice.ok().and_then(|(row, _)| slot(row));
        table.slots = slots;
        found
    }
}
