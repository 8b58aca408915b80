//! Whether a binding is old enough to be moved, and whether a create still stands where it was sent.

use std::time::Duration;

use balancer_core::{BackendId, Binding, Claim, Token, Want, random};

use super::super::meeting::only_id;
use super::super::store_fault;
use super::Creation;
use crate::api::{Fault, Reply};
use crate::server::BbbServer;
use crate::store::{MeetingClaim, MeetingRecord};

/// A binding of others is moved while its server is online only when it is older than this. A create that took longer
/// confirms its binding by a write, so that the two cannot miss each other.
const SETTLED_MS: u64 = 1_000;

impl Creation<'_> {
    /// Whether a create that bound this may still be confirmed without a write.
    pub(super) fn is_young(&self, b: &Binding) -> bool {
        self.cluster.store_ms().saturating_sub(b.stamp) < SETTLED_MS
    }

    /// Waits until a binding is old enough to be moved.
    pub(super) async fn settled(&self, b: &Binding) {
        let age = self.cluster.store_ms().saturating_sub(b.stamp);
        tokio::time::sleep(Duration::from_millis(SETTLED_MS.saturating_sub(age))).await;
    }

    /// Whether a server says that it has no such meeting.
    pub(super) async fn is_gone(&self, server: &BbbServer) -> bool {
        let asked = self.cluster.ask(server, "getMeetingInfo", &only_id(self.id), None, false).await;
        asked.is_ok_and(|b| Reply::parse(&b).is_ok_and(|r| r.message_key() == Some("notFound")))
    }

    /// Whether the meeting is bound to this server now.
    pub(super) async fn lives_on(&self, id: &BackendId) -> Result<bool, Fault> {
        let look = self.cluster.store.look(self.id).await.map_err(|e| store_fault(&e))?;
        Ok(look.meeting.is_some_and(|m| m.binding.backend == *id))
    }

    /// Whether a meeting that was just created where we had bound it is what everybody is led to. While the create was
    /// under way others may have moved it, ended it or forgotten it; and a store that is reached anew since it was of
    /// this generation may have lost the claim in a failover.
    pub(super) async fn confirm(&self, server: &BbbServer, m: &MeetingRecord, generation: u64) -> Result<bool, Fault> {
        let store = &self.cluster.store;
        let kept = store.generation() == generation
            || store.confirm(&self.key, &m.binding).await.map_err(|e| store_fault(&e))?;
        if !kept {
            tracing::warn!(meeting = self.id, server = %m.binding.backend, "the store lost a claim, which is made again");
        }
        if kept && self.is_young(&m.binding) {
            let look = self.cluster.store.look(self.id).await.map_err(|e| store_fault(&e))?;
            if look.server.is_some() && look.meeting.is_some_and(|now| now.binding == m.binding && !now.ending) {
                return Ok(true);
            }
        }
        self.bind_anew(server, m).await
    }

    /// Binds a meeting anew that has just begun on its server, so that whoever saw the old binding cannot release it. If
    /// it lives elsewhere by now, no second one is left behind here: `false`.
    pub(super) async fn bind_anew(&self, server: &BbbServer, m: &MeetingRecord) -> Result<bool, Fault> {
        let want = Want { backend: m.binding.backend.clone(), token: Token(random()) };
        let claim = MeetingClaim {
            id: self.id,
            over: Some(&m.binding),
            want: &want,
            moderator_pw: &m.moderator_pw,
            bridges: if m.voice_bridge.is_empty() { &[] } else { std::slice::from_ref(&m.voice_bridge) },
            load: 0.0,
            adopt: false,
            tenant: &m.tenant,
            most: 0,
            registered: true,
            ttl: self.cluster.options.meeting_ttl,
        };
        match self.cluster.store.claim_meeting(&claim).await.map_err(|e| store_fault(&e))?.claim {
            Claim::Won(_) => Ok(true),
            Claim::Held(b) if b.backend == want.backend => Ok(true),
            Claim::Held(_) | Claim::Closed => {
                self.cluster.end_on(server, self.id, &m.moderator_pw, false).await;
                Ok(false)
            }
        }
    }
}
