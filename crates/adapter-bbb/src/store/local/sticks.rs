//! The local store as a stick table.

use std::time::Duration;

use async_trait::async_trait;
use balancer_core::{BackendId, Binding, Claim, StickError, StickKey, StickPage, StickStore, Want};

use super::{LocalStore, millis, rows};
use crate::store::{MeetingStore, page};

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
        page(self.meetings(Some(backend)).await?, from)
    }

    async fn count(&self, backend: &BackendId) -> Result<u64, StickError> {
        Ok(self.meetings(Some(backend)).await?.len() as u64)
    }
}
