//! The table of bridges: the only writer of their rows and of the order that choices are made by.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use balancer_core::{BackendId, Slot};

use super::Bridge;
use super::answer::{AnswerEffect, ColibriAnswer, Evacuation, HealthOutcome};
use super::row::Row;
use super::settings::{FocusSettings, SettingsError};
use super::view::{BridgeCounts, BridgeView, BridgeWarning};
use crate::brewery::{BridgeReport, Presence};
use crate::rank::{self, Order};
use crate::select::Entry;

/// The most bridges a table holds.
pub const MAX_BRIDGES: usize = 65_536;
/// How many bridges that left are remembered for conferences that still name them.
pub const MAX_DEPARTED: usize = 1024;

/// The latest time, in milliseconds: so late that nothing is due after it.
const LATEST: u64 = 1 << 60;

/// Why a bridge was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// There are too many.
    #[error("there are {MAX_BRIDGES} bridges already: divide them among breweries")]
    Full,
}

/// What a presence changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Update {
    /// It is new. Conferences that found no bridge should try again.
    pub added: bool,
    /// It began to drain, or ended draining.
    pub drain_changed: bool,
    /// It began a graceful shutdown.
    pub graceful: bool,
    /// All conferences are to leave it.
    pub evacuate: Option<Evacuation>,
    /// Something it reported was no number: the previous value stays.
    pub malformed: bool,
}

/// What became of a presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seen {
    /// Nothing to do with bridges.
    Ignored,
    /// A bridge is new or has news.
    Updated(Update),
    /// A bridge left: all conferences are to leave it. `lost`: it had not said that it would.
    Left {
        /// Whether it went without a word.
        lost: bool,
    },
}

/// The bridges of one brewery and what this focus, or the one it mirrors, did with them.
///
/// The table reads no clock. Every call says how late it is: the time since a fixed origin, the same for all calls.
/// Windows are aligned to that clock; to mirror a running jicofo to the bucket, take the Unix time. A time before the
/// last one counts as the last one.
#[derive(Clone, Debug)]
pub struct BridgeTable {
    settings: Arc<FocusSettings>,
    now: u64,
    pub(crate) rows: Vec<Row>,
    free: Vec<u32>,
    by_id: HashMap<BackendId, u32>,
    departed: VecDeque<BackendId>,
    pub(crate) order: Order,
    due: BTreeSet<(u64, u32)>,
    known: usize,
    lost: u64,
    /// Grows whenever [`bridges`](Self::bridges) changes.
    pub(crate) revision: u64,
    /// The revision that the pool has.
    pub(crate) told: u64,
    /// Where each row stands in the pool, by row.
    pub(crate) slots: Vec<Option<Slot>>,
    pub(crate) scratch: Vec<Entry>,
}

impl BridgeTable {
    /// An empty table.
    ///
    /// # Errors
    ///
    /// A setting that cannot be used.
    pub fn try_new(settings: FocusSettings) -> Result<Self, SettingsError> {
        settings.check()?;
        Ok(Self {
            settings: Arc::new(settings),
            now: 0,
            rows: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            departed: VecDeque::new(),
            order: Order::default(),
            due: BTreeSet::new(),
            known: 0,
            lost: 0,
            revision: 0,
            told: 0,
            slots: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// What it was made with.
    pub fn settings(&self) -> &FocusSettings {
        &self.settings
    }

    pub(crate) fn shared_settings(&self) -> Arc<FocusSettings> {
        self.settings.clone()
    }

    /// Milliseconds of its clock.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    pub(crate) fn index(&self, id: &str) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn row(&self, index: u32) -> Option<&Row> {
        self.rows.get(index as usize)
    }

    /// Passes time: windows end, failed bridges recover. Every other call does it too.
    pub fn advance(&mut self, now: Duration) {
        self.now = self.now.max(u64::try_from(now.as_millis()).unwrap_or(u64::MAX).min(LATEST));
        while let Some((at, index)) = self.due.first().copied()
            && at <= self.now
        {
            self.due.pop_first();
            if let Some(row) = self.rows.get_mut(index as usize) {
                row.due = None;
            }
            self.settle(index);
        }
    }

    /// Puts a bridge where it belongs in the order now.
    fn settle(&mut self, index: u32) {
        let now = self.now;
        let Some(row) = self.rows.get_mut(index as usize) else { return };
        row.expire(now);
        let mut key = row.standing(&self.settings, now);
        if let Some(key) = &mut key {
            key.row = index;
        }
        match (row.placed.take(), key) {
            (Some((kind, old)), Some(new)) if row.kind_is(&kind) => {
                if old != new {
                    self.order.shift(&kind, &old, new.clone());
                }
                row.placed = Some((kind, new));
            }
            (placed, new) => {
                if let Some((kind, old)) = placed {
                    self.order.remove(&kind, &old);
                }
                if let Some(new) = new {
                    let kind = (row.full_version.clone(), row.region.clone());
                    self.order.insert(kind.clone(), new.clone());
                    row.placed = Some((kind, new));
                }
            }
        }
        let due = row.next_change(&self.settings, now);
        if due != row.due {
            if let Some(old) = row.due {
                self.due.remove(&(old, index));
            }
            if let Some(new) = due {
                self.due.insert((new, index));
            }
            row.due = due;
        }
    }

    fn change<T>(&mut self, id: &str, now: Duration, f: impl FnOnce(&mut Row, &FocusSettings, u64) -> T) -> Option<T> {
        self.advance(now);
        let index = self.index(id)?;
        let row = self.rows.get_mut(index as usize)?;
        row.expire(self.now);
        let out = f(row, &self.settings, self.now);
        self.settle(index);
        Some(out)
    }

    /// Takes in a bridge before it has said anything; whether it is new. A bridge that left and comes again is new.
    ///
    /// # Errors
    ///
    /// [`TableError::Full`].
    pub fn add(&mut self, id: &BackendId, now: Duration) -> Result<bool, TableError> {
        self.advance(now);
        let index = match self.index(id.as_str()) {
            Some(index) if self.row(index).is_some_and(|row| row.known) => return Ok(false),
            _ if self.known >= MAX_BRIDGES => return Err(TableError::Full),
            Some(index) => {
                self.departed.retain(|gone| gone != id);
                index
            }
            None => self.free.pop().unwrap_or(u32::try_from(self.rows.len()).map_err(|_| TableError::Full)?),
        };
        let fresh = Row::new(id.clone(), &self.settings, self.now);
        match self.rows.get_mut(index as usize) {
            Some(row) => {
                if let Some(due) = row.due {
                    self.due.remove(&(due, index));
                }
                if row.id != fresh.id
                    && let Some(slot) = self.slots.get_mut(index as usize)
                {
                    *slot = None;
                }
                *row = fresh;
            }
            None => self.rows.push(fresh),
        }
        self.by_id.insert(id.clone(), index);
        self.known += 1;
        self.revision += 1;
        self.settle(index);
        Ok(true)
    }

    /// Takes in what a bridge says, and the bridge if it is new.
    ///
    /// # Errors
    ///
    /// [`TableError::Full`].
    pub fn update(&mut self, id: &BackendId, report: &BridgeReport, now: Duration) -> Result<Update, TableError> {
        let added = self.add(id, now)?;
        let malformed = report.malformed().next().is_some();
        let changed = self.change(id.as_str(), now, |row, _, now| row.update(report, now)).unwrap_or_default();
        self.revision += u64::from(changed.region);
        Ok(Update {
            added,
            drain_changed: changed.drain,
            graceful: changed.graceful,
            evacuate: changed.shutting_down.then_some(Evacuation::ShuttingDown),
            malformed,
        })
    }

    /// Takes in a presence.
    ///
    /// # Errors
    ///
    /// [`TableError::Full`].
    pub fn apply(&mut self, presence: &Presence, now: Duration) -> Result<Seen, TableError> {
        match presence {
            Presence::Update { from, report } => self.update(&from.to_string().into(), report, now).map(Seen::Updated),
            Presence::Leave { from } => {
                Ok(self.remove(&from.to_string(), now).map_or(Seen::Ignored, |lost| Seen::Left { lost }))
            }
            _ => Ok(Seen::Ignored),
        }
    }

    /// A bridge left the brewery; whether it is lost: it had not said that it would. `None` when it was not there.
    ///
    /// Its last state is remembered for conferences that still name it, for the last [`MAX_DEPARTED`] bridges.
    pub fn remove(&mut self, id: &str, now: Duration) -> Option<bool> {
        self.advance(now);
        let index = self.index(id)?;
        let row = self.rows.get_mut(index as usize).filter(|row| row.known)?;
        row.known = false;
        let lost = !row.graceful && !row.shutting_down;
        let id = row.id.clone();
        self.lost += u64::from(lost);
        self.known -= 1;
        self.revision += 1;
        self.departed.push_back(id);
        self.settle(index);
        if self.departed.len() > MAX_DEPARTED
            && let Some(oldest) = self.departed.pop_front()
            && let Some(index) = self.by_id.remove(&oldest)
        {
            if let Some(row) = self.rows.get_mut(index as usize)
                && let Some(due) = row.due.take()
            {
                self.due.remove(&(due, index));
            }
            self.free.push(index);
        }
        Some(lost)
    }

    /// A bridge was not in the room when we came back to it, and has a grace to come back as well. Meanwhile it is chosen
    /// only where every other candidate is missing too: after the server was started again, that is, when all are. Its
    /// next report ends that.
    pub fn missing(&mut self, id: &str, now: Duration) {
        self.change(id, now, |row, _, _| row.missing = true);
    }

    /// Forgets everything: the stream to the brewery was lost and could not be resumed.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.slots.clear();
        self.free.clear();
        self.by_id.clear();
        self.departed.clear();
        self.due.clear();
        self.order = Order::default();
        self.known = 0;
        self.revision += 1;
    }

    /// A health check ended. The answer says whether conferences are to leave. Unknown bridges are passed over.
    pub fn checked(&mut self, id: &str, outcome: HealthOutcome, now: Duration) -> Option<Evacuation> {
        self.row(self.index(id)?).filter(|row| row.known)?;
        self.change(id, now, |row, _, now| match outcome {
            HealthOutcome::Passed => {
                row.passed = true;
                None
            }
            HealthOutcome::Failed => {
                row.fail(now);
                Some(Evacuation::FailedCheck)
            }
            HealthOutcome::TimedOut => {
                row.fail(now);
                None
            }
        })?
    }

    /// Checks a bridge by its presences (`health-checks.use-presence`): too old is timed out, else it counts what it said.
    /// `None` for unknown bridges.
    pub fn check_presence(&mut self, id: &str, now: Duration) -> Option<(HealthOutcome, Option<Evacuation>)> {
        self.advance(now);
        let row = self.row(self.index(id)?).filter(|row| row.known)?;
        let limit = u64::try_from(self.settings.presence_timeout.as_millis()).unwrap_or(u64::MAX);
        let outcome = match row.age(self.now) {
            Some(age) if age > limit => HealthOutcome::TimedOut,
            _ if !row.healthy => HealthOutcome::Failed,
            _ => HealthOutcome::Passed,
        };
        Some((outcome, self.checked(id, outcome, now)))
    }

    /// A request for a conference was answered badly, by a bridge that may have left meanwhile.
    pub fn answered(&mut self, id: &str, answer: &ColibriAnswer<'_>, now: Duration) -> AnswerEffect {
        let effect = answer.effect();
        self.change(id, now, |row, _, now| {
            row.graceful |= effect.graceful;
            if effect.failed {
                row.fail(now);
            }
        });
        effect
    }

    /// So many endpoints came to a bridge. Every invitation counts, also of one that was there before.
    pub fn placed(&mut self, id: &str, count: u32, now: Duration) {
        self.change(id, now, |row, _, now| row.place(count, now));
    }

    /// So many endpoints left a bridge. They go on counting for the ramp-up interval.
    pub fn left(&mut self, id: &str, count: u32, now: Duration) {
        self.change(id, now, |row, _, _| row.leave(count));
    }

    /// An endpoint asked for a restart.
    pub fn restart_requested(&mut self, id: &str, now: Duration) {
        self.change(id, now, |row, settings, now| row.restart_requested(settings, now));
    }

    /// A conference was put on a bridge and nobody has come to it yet (see [`Extras`](crate::Extras)).
    pub fn conference_opened(&mut self, id: &str, now: Duration) {
        self.change(id, now, |row, _, _| row.empty = row.empty.saturating_add(1));
    }

    /// Such a conference has endpoints now, or ended without any.
    pub fn conference_settled(&mut self, id: &str, now: Duration) {
        self.change(id, now, |row, _, _| row.empty = row.empty.saturating_sub(1));
    }

    /// One bridge as of now, also one that left, as long as it is remembered.
    pub fn view(&mut self, id: &str, now: Duration) -> Option<BridgeView> {
        self.advance(now);
        let index = self.index(id)?;
        self.rows.get_mut(index as usize)?.expire(self.now);
        self.row(index).map(|row| self.show(row))
    }

    /// All bridges in the brewery as of now, in jicofo's order: operational first, then corrected stress, then JID.
    pub fn ranking(&mut self, now: Duration) -> Vec<BridgeView> {
        self.advance(now);
        self.rows.iter_mut().for_each(|row| row.expire(self.now));
        let mut views: Vec<BridgeView> = self.rows.iter().filter(|row| row.known).map(|row| self.show(row)).collect();
        let key = |v: &BridgeView| (v.operational, v.graceful_shutdown, v.corrected_stress);
        views.sort_by(|a, b| rank::compare(key(a), key(b)).then_with(|| a.id.cmp(&b.id)));
        views
    }

    /// Jicofo's order of two bridges, without the JID: equal ones are equal. `None` when one is unknown.
    pub fn compare(&mut self, a: &str, b: &str, now: Duration) -> Option<std::cmp::Ordering> {
        let [a, b] = [self.view(a, now)?, self.view(b, now)?];
        let key = |v: &BridgeView| (v.operational, v.graceful_shutdown, v.corrected_stress);
        Some(rank::compare(key(&a), key(&b)))
    }

    /// Bridges counted.
    pub fn counts(&mut self, now: Duration) -> BridgeCounts {
        self.advance(now);
        let mut counts = BridgeCounts { known: self.known, lost: self.lost, ..BridgeCounts::default() };
        let mut versions = HashSet::new();
        for row in self.rows.iter().filter(|row| row.known) {
            counts.operational += usize::from(row.operational(&self.settings, self.now) && !row.graceful);
            counts.overloaded += usize::from(row.overloaded(&self.settings, self.now));
            counts.in_shutdown += usize::from(row.graceful || row.shutting_down);
            versions.extend(row.full_version.clone());
        }
        counts.versions = versions.len();
        counts
    }

    /// The bridges in the brewery as servers of a pool, by JID.
    pub fn bridges(&self) -> Vec<Arc<Bridge>> {
        let mut all: Vec<Arc<Bridge>> =
            self.rows.iter().filter(|row| row.known).map(|row| Arc::new(Bridge::of(row))).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    fn show(&self, row: &Row) -> BridgeView {
        let (settings, now) = (&*self.settings, self.now);
        let flat = row.flat(settings, now);
        let age_ms = row.age(now);
        let regions = settings.local_region.is_some() || settings.region_groups != crate::RegionGroups::default();
        let silent = age_ms.is_some_and(|age| u128::from(age) > settings.presence_timeout.as_millis());
        let warnings = [
            (settings.octo && row.relay.is_none(), BridgeWarning::NoRelayId),
            (!row.drain_told, BridgeWarning::DrainUnknown),
            (flat, BridgeWarning::Flat),
            (row.stress.is_nan() || row.stress < 0.0, BridgeWarning::OddStress),
            (silent, BridgeWarning::Silent),
            (regions && row.region.is_none(), BridgeWarning::NoRegion),
        ];
        BridgeView {
            id: row.id.clone(),
            stress: row.stress,
            corrected_stress: row.corrected(settings, now),
            average_participant_stress: row.average,
            overloaded: row.overloaded(settings, now),
            operational: row.operational(settings, now),
            drain: row.drain,
            graceful_shutdown: row.graceful,
            shutting_down: row.shutting_down,
            healthy: row.healthy,
            version: row.version.clone(),
            release: row.release.clone(),
            full_version: row.full_version.clone(),
            region: row.region.clone(),
            relay_id: row.relay.clone(),
            endpoints: row.endpoints,
            recent: row.recent.sum(),
            endpoint_restart_requests: row.restarts.sum(),
            failing_ice: row.failing_ice(now),
            age_ms,
            flat,
            known: row.known,
            missing: row.missing,
            warnings: warnings.into_iter().filter(|(is, _)| *is).map(|(_, warning)| warning).collect(),
        }
    }
}
