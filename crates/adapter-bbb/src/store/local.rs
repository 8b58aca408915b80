//! Servers and meetings of one process: in memory, or in one file besides.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use balancer_core::{BackendId, Binding, Claim, StickError, StickKey, StickPage, StickStore, WallClock, Want};

use super::{
    Claimed, Look, MeetingClaim, MeetingRecord, MeetingStore, PollRecord, Registry, ServerPatch, ServerRecord,
    ServerState,
};

#[cfg(feature = "file")]
mod disk;
mod rows;

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
            let expired: Vec<String> =
                s.meetings.iter().filter(|(_, h)| h.expires_ms <= now).map(|(id, _)| id.clone()).collect();
            expired.iter().for_each(|id| s.drop_meeting(id));
            if s.meetings.len() >= self.capacity {
                return Err(StickError::Full { capacity: self.capacity });
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
            registered: false,
            ttl,
        };
        Ok(self.claim_meeting(&claim).await?.claim)
    }
}

#[async_trait]
impl StickStore for LocalStore {
    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Result<Option<Binding>, StickError> {
        let mut s = self.lock();
        let now = self.clock.now_ms();
        let Some(held) = s.live(key.as_str(), now) else { return Ok(None) };
        if let Some(ttl) = extend {
            // A longer life need not reach the disk before the answer: the next write of the meeting carries it.
            held.expires_ms = held.expires_ms.max(now.saturating_add(millis(ttl)));
        }
        Ok(Some(held.record.binding.clone()))
    }

    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.plain(key, None, want, ttl).await
    }

    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.plain(key, Some(seen), want, ttl).await
    }

    async fn renew(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> Result<bool, StickError> {
        self.change(|s, now| {
            let Some(held) = s.live(key.as_str(), now) else { return false };
            if held.record.binding != *seen {
                return false;
            }
            held.expires_ms = now.saturating_add(millis(ttl));
            s.save_meeting(key.as_str());
            true
        })
        .await
    }

    async fn release(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        self.change(|s, now| {
            let same = s.live(key.as_str(), now).is_some_and(|h| h.record.binding == *seen);
            if same {
                s.drop_meeting(key.as_str());
            }
            same
        })
        .await
    }

    async fn close(&self, backend: &BackendId, closed: bool) -> Result<(), StickError> {
        self.change(|s, _| {
            let changed = if closed { s.closed.insert(backend.clone()) } else { s.closed.remove(backend) };
            if changed {
                let value = closed.then(Vec::new);
                s.mark(rows::closed_key(backend.as_str()), value);
            }
        })
        .await
    }

    async fn list(&self, backend: &BackendId, from: Option<&str>) -> Result<StickPage, StickError> {
        super::page(self.meetings(Some(backend)).await?, from)
    }

    async fn count(&self, backend: &BackendId) -> Result<u64, StickError> {
        Ok(self.meetings(Some(backend)).await?.len() as u64)
    }
}

#[async_trait]
impl MeetingStore for LocalStore {
    async fn look(&self, id: &str) -> Result<Look, StickError> {
        let mut s = self.lock();
        let meeting = s.seen(id, self.clock.now_ms());
        let server = meeting.as_ref().and_then(|m| s.servers.get(&m.binding.backend)).map(|r| (r.state, r.online));
        Ok(Look { meeting, server, epoch: s.epoch })
    }

    async fn claim_meeting(&self, claim: &MeetingClaim<'_>) -> Result<Claimed, StickError> {
        StickKey::new(claim.id)?;
        self.change(|s, now| self.bind(s, now, claim)).await?
    }

    async fn begin_end(&self, id: &str, seen: &Binding, at_most: Duration) -> Result<bool, StickError> {
        let mut s = self.lock();
        let now = self.clock.now_ms();
        let Some(held) = s.live(id, now) else { return Ok(false) };
        if held.record.binding != *seen || held.ending_until_ms > now {
            return Ok(false);
        }
        held.ending_until_ms = now.saturating_add(millis(at_most));
        Ok(true)
    }

    async fn meetings(&self, server: Option<&BackendId>) -> Result<Vec<MeetingRecord>, StickError> {
        let s = self.lock();
        let now = self.clock.now_ms();
        let mine = |h: &&Held| h.expires_ms > now && server.is_none_or(|id| h.record.binding.backend == *id);
        let told = |h: &Held| MeetingRecord { ending: h.ending_until_ms > now, ..h.record.clone() };
        Ok(s.meetings.values().filter(mine).map(told).collect())
    }

    async fn servers(&self) -> Result<Registry, StickError> {
        let s = self.lock();
        Ok(Registry { servers: s.servers.values().cloned().collect(), epoch: s.epoch })
    }

    async fn add_server(&self, record: &ServerRecord) -> Result<bool, StickError> {
        self.change(|s, _| {
            if s.servers.contains_key(&record.id) {
                return false;
            }
            s.servers.insert(record.id.clone(), record.clone());
            s.save_server(&record.id);
            s.epoch += 1;
            true
        })
        .await
    }

    async fn update_server(&self, id: &BackendId, patch: &ServerPatch) -> Result<bool, StickError> {
        self.change(|s, _| {
            let Some(r) = s.servers.get_mut(id) else { return false };
            if let Some(state) = patch.state {
                if state == ServerState::Disabled {
                    r.load = None;
                }
                r.state = state;
            }
            if let Some(secret) = &patch.secret {
                r.secret = secret.clone();
            }
            if let Some(tag) = &patch.tag {
                r.tag = Some(tag.clone()).filter(|t| !t.is_empty());
            }
            if let Some(m) = &patch.load_multiplier {
                r.load_multiplier = Some(m.clone());
            }
            s.save_server(id);
            s.epoch += 1;
            true
        })
        .await
    }

    async fn remove_server(&self, id: &BackendId) -> Result<bool, StickError> {
        self.change(|s, _| {
            if s.servers.remove(id).is_none() {
                return false;
            }
            let of = |h: &&Held| h.record.binding.backend == *id;
            let lost: Vec<String> = s.meetings.values().filter(of).map(|h| h.record.id.clone()).collect();
            lost.iter().for_each(|m| s.drop_meeting(m));
            s.closed.remove(id);
            s.mark(rows::server_key(id.as_str()), None);
            s.mark(rows::closed_key(id.as_str()), None);
            s.epoch += 1;
            true
        })
        .await
    }

    async fn record_poll(&self, id: &BackendId, poll: &PollRecord) -> Result<(), StickError> {
        self.change(|s, _| {
            let Some(r) = s.servers.get_mut(id) else { return };
            let before = (r.online, r.bbb_version.clone(), r.state);
            if let Some(online) = poll.online {
                r.online = online;
            }
            if let Some(version) = &poll.bbb_version {
                r.bbb_version = Some(version.clone());
            }
            match (&poll.measured, r.online) {
                (Some((load, figures)), true) => {
                    r.figures = *figures;
                    r.load = (r.state != ServerState::Disabled).then_some(*load);
                    if poll.draining && r.state == ServerState::Cordoned && *load == 0.0 {
                        r.state = ServerState::Disabled;
                        r.load = None;
                    }
                }
                (_, false) => {
                    r.load = None;
                    r.figures = super::Figures::default();
                }
                (None, true) => {}
            }
            if before != (r.online, r.bbb_version.clone(), r.state) {
                s.save_server(id);
                s.epoch += 1;
            }
        })
        .await
    }

    async fn renew_seen(&self, server: &BackendId, seen: &[String], ttl: Duration) -> Result<(), StickError> {
        self.change(|s, now| {
            let until = now.saturating_add(millis(ttl));
            // Written only when a fifth of its life is gone, so that a poll does not rewrite every meeting.
            let worth = until.saturating_sub(millis(ttl) / 5);
            for id in seen {
                let Some(held) = s.live(id, now) else { continue };
                if held.record.binding.backend == *server && held.expires_ms < worth {
                    held.expires_ms = until;
                    s.save_meeting(id);
                }
            }
        })
        .await
    }

    async fn add_loads(&self, loads: &[(BackendId, f64)]) -> Result<(), StickError> {
        let mut s = self.lock();
        for (id, more) in loads {
            if let Some(load) = s.servers.get_mut(id).and_then(|r| r.load.as_mut()) {
                *load += more;
            }
        }
        Ok(())
    }

    async fn announce(&self, _process: u64, _ttl: Duration) -> Result<u32, StickError> {
        Ok(1)
    }

    async fn check(&self) -> Result<(), StickError> {
        self.change(|s, now| s.mark(rows::CHECK_KEY.to_owned(), Some(now.to_string().into_bytes()))).await
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}
