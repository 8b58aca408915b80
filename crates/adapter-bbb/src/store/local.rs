//! Servers and meetings of one process: in memory, or in one file besides.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use balancer_core::{BackendId, Binding, Claim, StickError, StickKey, WallClock, Want};

use super::{Claimed, MeetingClaim, MeetingRecord, MeetingStore, ServerRecord, ServerState};

mod callbacks;
#[cfg(feature = "file")]
mod disk;
mod meetings;
mod rows;
mod sticks;
mod tenants;

/// Servers and meetings of one process: what several processes share belongs into Redis.
#[derive(Debug)]
pub struct LocalStore {
    state: Mutex<State>,
    name: String,
    capacity: usize,
    clock: WallClock,
    #[cfg(feature = "file")]
    disk: Option<disk::Disk>,
}

#[derive(Debug, Default)]
struct State {
    servers: BTreeMap<BackendId, ServerRecord>,
    meetings: HashMap<String, Held>,
    bridges: HashMap<String, String>,
    closed: HashSet<BackendId>,
    outside: callbacks::Outside,
    tenants: tenants::Tenants,
    last_stamp: u64,
    epoch: u64,
    /// What has to be written, by key; `None` deletes.
    dirty: BTreeMap<String, Option<Vec<u8>>>,
    seq: u64,
}

#[derive(Clone, Debug)]
struct Held {
    record: MeetingRecord,
    expires_ms: u64,
    ending_until_ms: u64,
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

impl State {
    /// The unexpired meeting; an expired one is dropped on the way.
    fn live(&mut self, id: &str, now: u64) -> Option<&mut Held> {
        if self.meetings.get(id).is_some_and(|h| h.expires_ms <= now) {
            self.drop_meeting(id);
        }
        self.meetings.get_mut(id)
    }

    fn drop_meeting(&mut self, id: &str) {
        if let Some(held) = self.meetings.remove(id) {
            if self.bridges.get(&held.record.voice_bridge).is_some_and(|owner| owner == id) {
                self.bridges.remove(&held.record.voice_bridge);
            }
            self.mark(rows::meeting_key(id), None);
        }
    }

    fn drop_expired(&mut self, now: u64) {
        let expired = self.meetings.iter().filter(|(_, h)| h.expires_ms <= now);
        let expired: Vec<String> = expired.map(|(id, _)| id.clone()).collect();
        expired.iter().for_each(|id| self.drop_meeting(id));
        for key in self.outside.drop_expired(now).into_iter().chain(self.tenants.drop_expired(now)) {
            self.mark(key, None);
        }
    }

    fn mark(&mut self, key: String, value: Option<Vec<u8>>) {
        self.seq += 1;
        self.dirty.insert(key, value);
    }

    fn save_meeting(&mut self, id: &str) {
        if let Some(row) = self.meetings.get(id).map(rows::meeting) {
            self.mark(rows::meeting_key(id), Some(row));
        }
    }

    fn save_server(&mut self, id: &BackendId) {
        if let Some(row) = self.servers.get(id).map(rows::server) {
            self.mark(rows::server_key(id.as_str()), Some(row));
        }
    }

    fn seen(&mut self, id: &str, now: u64) -> Option<MeetingRecord> {
        let held = self.live(id, now)?;
        held.record.ending = held.ending_until_ms > now;
        Some(held.record.clone())
    }

    fn is_closed(&self, id: &BackendId) -> bool {
        let shut = |s: &ServerRecord| s.state != ServerState::Enabled;
        self.closed.contains(id) || self.servers.get(id).is_some_and(shut)
    }
}

impl LocalStore {
    /// A store in memory: nothing survives a restart. Holds at most a million meetings.
    pub fn memory() -> Self {
        Self {
            state: Mutex::default(),
            name: "memory".into(),
            capacity: 1_000_000,
            clock: WallClock::system(),
            #[cfg(feature = "file")]
            disk: None,
        }
    }

    /// The same with another capacity; a full table refuses new meetings.
    #[must_use]
    pub fn with_capacity(mut self, meetings: usize) -> Self {
        self.capacity = meetings;
        self
    }

    /// The same with another wall clock; by default the system's. It dates bindings and ends their lives.
    #[must_use]
    pub fn with_clock(mut self, clock: WallClock) -> Self {
        self.clock = clock;
        self
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when everything up to this sequence number is on the disk, if there is one.
    async fn durable(&self, _seq: u64) -> Result<(), StickError> {
        #[cfg(feature = "file")]
        if let Some(disk) = &self.disk {
            return disk.reach(_seq).await;
        }
        Ok(())
    }

    /// Runs a change under the lock, then waits until it is durable.
    async fn change<T>(&self, f: impl FnOnce(&mut State, u64) -> T) -> Result<T, StickError> {
        let (out, before, seq) = {
            let mut s = self.lock();
            let before = s.seq;
            let out = f(&mut s, self.clock.now_ms());
            (out, before, s.seq)
        };
        if seq != before {
            self.kick();
            self.durable(seq).await?;
        }
        Ok(out)
    }

    fn kick(&self) {
        #[cfg(feature = "file")]
        match &self.disk {
            Some(disk) => disk.kick(),
            None => self.lock().dirty.clear(),
        }
        #[cfg(not(feature = "file"))]
        self.lock().dirty.clear();
    }

    /// Claims and rebinds alike: `over` is what may be replaced.
    fn bind(&self, s: &mut State, now: u64, claim: &MeetingClaim<'_>) -> Result<Claimed, StickError> {
        let held = s.seen(claim.id, now);
        let wanted = &claim.want.backend;
        let replaces = match (&held, claim.over) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(m), Some(seen)) => m.binding == *seen,
        };
        if !replaces {
            let claim = held.as_ref().map(|m| m.binding.clone()).map_or(Claim::Closed, Claim::Held);
            return Ok(Claimed { claim, meeting: held });
        }
        // Writing a room's own server again is no new work there.
        let stays = held.as_ref().is_some_and(|m| m.binding.backend == *wanted);
        let gone = claim.registered && !s.servers.contains_key(wanted);
        if !stays && (gone || (!claim.adopt && s.is_closed(wanted))) {
            return Ok(Claimed { claim: Claim::Closed, meeting: None });
        }
        if held.is_none() && s.meetings.len() >= self.capacity {
            s.drop_expired(now);
            if s.meetings.len() >= self.capacity {
                return Err(StickError::Full { capacity: self.capacity });
            }
        }
        if held.is_none() && claim.most > 0 && !claim.tenant.is_empty() {
            let own = s.meetings.values().filter(|h| h.expires_ms > now && h.record.tenant == claim.tenant).count();
            let capacity = usize::try_from(claim.most).unwrap_or(usize::MAX);
            if own >= capacity {
                return Err(StickError::Full { capacity });
            }
        }
        s.last_stamp = now.max(s.last_stamp + 1);
        let binding = Binding { backend: wanted.clone(), token: claim.want.token, stamp: s.last_stamp };
        let bridges = &s.bridges;
        let free = |n: &&String| bridges.get(*n).is_none_or(|owner| owner == claim.id);
        // What a meeting has, it keeps; what it lacks, it gets.
        let kept = |of: fn(&MeetingRecord) -> &String| held.as_ref().map(of).filter(|t| !t.is_empty()).cloned();
        let moderator_pw = kept(|m| &m.moderator_pw).unwrap_or_else(|| claim.moderator_pw.to_owned());
        let voice_bridge =
            kept(|m| &m.voice_bridge).or_else(|| claim.bridges.iter().find(free).cloned()).unwrap_or_default();
        if !voice_bridge.is_empty() {
            s.bridges.insert(voice_bridge.clone(), claim.id.to_owned());
        }
        let record = MeetingRecord {
            id: claim.id.to_owned(),
            binding: binding.clone(),
            moderator_pw,
            voice_bridge,
            ending: false,
            tenant: held.as_ref().map_or_else(|| claim.tenant.to_owned(), |m| m.tenant.clone()),
        };
        let held =
            Held { record: record.clone(), expires_ms: now.saturating_add(millis(claim.ttl)), ending_until_ms: 0 };
        s.meetings.insert(claim.id.to_owned(), held);
        s.save_meeting(claim.id);
        if let Some(load) = s.servers.get_mut(wanted).and_then(|r| r.load.as_mut()) {
            *load += claim.load;
        }
        Ok(Claimed { claim: Claim::Won(binding), meeting: Some(record) })
    }

    async fn plain(
        &self,
        key: &StickKey,
        over: Option<&Binding>,
        want: &Want,
        ttl: Duration,
    ) -> Result<Claim, StickError> {
        let bridges: Vec<String> = crate::api::VoiceBridges::new(key.as_str(), 9).take(10).collect();
        let claim = MeetingClaim {
            id: key.as_str(),
            over,
            want,
            moderator_pw: "",
            bridges: &bridges,
            load: 0.0,
            adopt: false,
            tenant: "",
            most: 0,
            registered: false,
            ttl,
        };
        Ok(self.claim_meeting(&claim).await?.claim)
    }
}
