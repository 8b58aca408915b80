//! The local store as the registry of servers and meetings.

use std::time::Duration;

use async_trait::async_trait;
use balancer_core::{BackendId, Binding, StickError, StickKey};

use super::{Held, LocalStore, millis, rows};
use crate::store::callbacks::CallbackStore;
use crate::store::{
    Claimed, Figures, Look, MeetingClaim, MeetingRecord, MeetingStore, Peer, PollRecord, Registry, ServerPatch,
    ServerRecord, ServerState, TenantStore,
};

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
        self.change(|s, now| {
            // Every sweep of a cluster asks for all: who nobody asks for any more goes then.
            if server.is_none() {
                s.drop_expired(now);
            }
            let mine = |h: &&Held| h.expires_ms > now && server.is_none_or(|id| h.record.binding.backend == *id);
            let told = |h: &Held| MeetingRecord { ending: h.ending_until_ms > now, ..h.record.clone() };
            s.meetings.values().filter(mine).map(told).collect()
        })
        .await
    }

    async fn servers(&self) -> Result<Registry, StickError> {
        let s = self.lock();
        Ok(Registry { servers: s.servers.values().cloned().collect(), epoch: s.epoch, ..Registry::default() })
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
                r.old_secret = match r.old_secret.take() {
                    Some(old) if old == *secret => None,
                    None if r.secret != *secret => Some(r.secret.clone()),
                    kept => kept,
                };
                r.secret = secret.clone();
            }
            if patch.proved.as_ref() == Some(&r.secret) {
                r.old_secret = None;
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

    async fn record_poll(&self, id: &BackendId, poll: &PollRecord) -> Result<bool, StickError> {
        self.change(|s, _| {
            let Some(r) = s.servers.get_mut(id) else { return false };
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
                    r.figures = Figures::default();
                }
                (None, true) => {}
            }
            if before != (r.online, r.bbb_version.clone(), r.state) {
                s.save_server(id);
                s.epoch += 1;
            }
            true
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

    async fn announce(&self, process: u64, _ttl: Duration) -> Result<Vec<Peer>, StickError> {
        Ok(vec![Peer::new(process, Duration::ZERO)])
    }

    fn callback_store(&self) -> &dyn CallbackStore {
        self
    }

    fn tenant_store(&self) -> &dyn TenantStore {
        self
    }

    async fn check(&self) -> Result<(), StickError> {
        self.change(|s, now| s.mark(rows::CHECK_KEY.to_owned(), Some(now.to_string().into_bytes()))).await
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}
