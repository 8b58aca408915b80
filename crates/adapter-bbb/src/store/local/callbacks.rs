//! Hooks, callback addresses and the queue of one process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use balancer_core::StickError;
use serde::{Deserialize, Serialize};

use super::{LocalStore, State, millis};
use crate::store::callbacks::{
    CallbackStore, CallbackUrls, Delivery, HOOK_MEMORY, Hook, HookAdded, HookBook, MAX_HOOKS,
};

#[cfg(feature = "file")]
pub(super) const HOOK: &str = "hook/";
#[cfg(feature = "file")]
pub(super) const REMOVED: &str = "hook-removed/";
#[cfg(feature = "file")]
pub(super) const URLS: &str = "urls/";
#[cfg(feature = "file")]
pub(super) const OUTBOX: &str = "outbox/";
#[cfg(feature = "file")]
pub(super) const NEXT: &str = "next-id";

/// What is kept for those outside.
#[derive(Debug, Default)]
pub(super) struct Outside {
    hooks: BTreeMap<u64, Hook>,
    /// Until when servers are told of it.
    removed: BTreeMap<String, u64>,
    urls: HashMap<String, Kept>,
    outbox: HashMap<u64, (Delivery, u64)>,
    /// When and which.
    due: BTreeSet<(u64, u64)>,
    last_id: u64,
    /// In memory only: whoever lists after a restart gets others.
    tokens: HashMap<String, (String, u64)>,
    /// Until when, and which.
    token_ends: BTreeSet<(u64, String)>,
}

/// The most tokens that wait; the oldest make room for further ones.
const MAX_TOKENS: usize = 200_000;

/// Addresses, and until when they are kept.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    urls: CallbackUrls,
    until_ms: u64,
}

fn row(of: &impl Serialize) -> Option<Vec<u8>> {
    // Plain text and numbers always serialise.
    serde_json::to_vec(of).ok()
}

impl Outside {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn put(&mut self, delivery: Delivery, due_ms: u64) {
        let id = delivery.id;
        if let Some((_, before)) = self.outbox.insert(id, (delivery, due_ms)) {
            self.due.remove(&(before, id));
        }
        self.due.insert((due_ms, id));
    }

    /// Forgets what is too old; the answer is what to delete.
    pub(super) fn drop_expired(&mut self, now: u64) -> Vec<String> {
        let mut gone: Vec<String> = Vec::new();
        self.urls.retain(|meeting, kept| {
            let stays = kept.until_ms > now;
            if !stays {
                gone.push(format!("urls/{meeting}"));
            }
            stays
        });
        self.removed.retain(|url, until| {
            let stays = *until > now;
            if !stays {
                gone.push(format!("hook-removed/{url}"));
            }
            stays
        });
        gone
    }

    /// Takes in a row of the file.
    #[cfg(feature = "file")]
    pub(super) fn load(&mut self, key: &str, row: &[u8]) -> Result<(), serde_json::Error> {
        let number = |text: &str| text.parse::<u64>().unwrap_or_default();
        if let Some(id) = key.strip_prefix(HOOK) {
            let hook = Hook { id: number(id), ..serde_json::from_slice(row)? };
            self.hooks.insert(hook.id, hook);
        } else if let Some(url) = key.strip_prefix(REMOVED) {
            self.removed.insert(url.to_owned(), serde_json::from_slice(row)?);
        } else if let Some(meeting) = key.strip_prefix(URLS) {
            self.urls.insert(meeting.to_owned(), serde_json::from_slice(row)?);
        } else if let Some(id) = key.strip_prefix(OUTBOX) {
            // Due at once: whoever had taken it is gone.
            self.put(Delivery { id: number(id), ..serde_json::from_slice(row)? }, 0);
        } else {
            self.last_id = serde_json::from_slice(row)?;
        }
        Ok(())
    }
}

impl State {
    fn give_id(&mut self) -> u64 {
        let id = self.outside.next_id();
        self.mark("next-id".to_owned(), row(&id));
        id
    }

    fn save_delivery(&mut self, delivery: Delivery, due_ms: u64) {
        self.mark(format!("outbox/{}", delivery.id), row(&delivery));
        self.outside.put(delivery, due_ms);
    }
}

#[async_trait]
impl CallbackStore for LocalStore {
    async fn hooks(&self) -> Result<HookBook, StickError> {
        let s = self.lock();
        let now = self.clock.now_ms();
        let removed = s.outside.removed.iter().filter(|(_, until)| **until > now).map(|(url, _)| url.clone());
        Ok(HookBook { hooks: s.outside.hooks.values().cloned().collect(), removed: removed.collect() })
    }

    async fn add_hook(&self, hook: &Hook) -> Result<HookAdded, StickError> {
        self.change(|s, _| {
            if let Some(known) = s.outside.hooks.values().find(|h| h.url == hook.url) {
                return HookAdded::Known(known.clone());
            }
            if s.outside.hooks.len() >= MAX_HOOKS {
                return HookAdded::Full;
            }
            let hook = Hook { id: s.give_id(), ..hook.clone() };
            s.mark(format!("hook/{}", hook.id), row(&hook));
            if s.outside.removed.remove(&hook.url).is_some() {
                s.mark(format!("hook-removed/{}", hook.url), None);
            }
            s.outside.hooks.insert(hook.id, hook.clone());
            HookAdded::New(hook)
        })
        .await
    }

    async fn remove_hook(&self, id: u64) -> Result<Option<Hook>, StickError> {
        self.change(|s, now| {
            let hook = s.outside.hooks.remove(&id)?;
            let until = now.saturating_add(millis(HOOK_MEMORY));
            s.mark(format!("hook/{id}"), None);
            s.mark(format!("hook-removed/{}", hook.url), row(&until));
            s.outside.removed.insert(hook.url.clone(), until);
            Some(hook)
        })
        .await
    }

    async fn keep_urls(&self, meeting: &str, urls: &CallbackUrls, ttl: Duration) -> Result<(), StickError> {
        self.change(|s, now| {
            let kept = s.outside.urls.entry(meeting.to_owned()).or_default();
            if kept.until_ms <= now {
                kept.urls = CallbackUrls::default();
            }
            if urls.analytics.is_some() {
                kept.urls.analytics.clone_from(&urls.analytics);
            }
            if urls.recording_ready.is_some() {
                kept.urls.recording_ready.clone_from(&urls.recording_ready);
            }
            if urls.tenant.is_some() {
                kept.urls.tenant.clone_from(&urls.tenant);
            }
            kept.until_ms = now.saturating_add(millis(ttl));
            let written = row(kept);
            s.mark(format!("urls/{meeting}"), written);
        })
        .await
    }

    async fn urls(&self, meeting: &str) -> Result<CallbackUrls, StickError> {
        let s = self.lock();
        let now = self.clock.now_ms();
        let kept = s.outside.urls.get(meeting).filter(|k| k.until_ms > now);
        Ok(kept.map(|k| k.urls.clone()).unwrap_or_default())
    }

    async fn enqueue(&self, delivery: &Delivery, most: u64) -> Result<bool, StickError> {
        self.change(|s, now| {
            if s.outside.outbox.len() as u64 >= most {
                return false;
            }
            let delivery = Delivery { id: s.give_id(), ..delivery.clone() };
            s.save_delivery(delivery, now);
            true
        })
        .await
    }

    async fn take_due(&self, most: usize, lease: Duration) -> Result<Vec<Delivery>, StickError> {
        let mut s = self.lock();
        let now = self.clock.now_ms();
        let ids: Vec<u64> = s.outside.due.iter().take_while(|(at, _)| *at <= now).take(most).map(|d| d.1).collect();
        let taken: Vec<Delivery> = ids.iter().filter_map(|id| Some(s.outside.outbox.get(id)?.0.clone())).collect();
        // In memory only: after a restart nobody has them.
        for delivery in &taken {
            s.outside.put(delivery.clone(), now.saturating_add(millis(lease)));
        }
        Ok(taken)
    }

    async fn postpone(&self, delivery: &Delivery, delay: Duration) -> Result<(), StickError> {
        self.change(|s, now| {
            if s.outside.outbox.contains_key(&delivery.id) {
                s.save_delivery(delivery.clone(), now.saturating_add(millis(delay)));
            }
        })
        .await
    }

    async fn drop_delivery(&self, id: u64) -> Result<(), StickError> {
        self.change(|s, _| {
            if let Some((_, due)) = s.outside.outbox.remove(&id) {
                s.outside.due.remove(&(due, id));
                s.mark(format!("outbox/{id}"), None);
            }
        })
        .await
    }

    async fn keep_tokens(&self, tokens: &[(String, String)], ttl: Duration) -> Result<(), StickError> {
        let mut s = self.lock();
        let now = self.clock.now_ms();
        let (o, until) = (&mut s.outside, now.saturating_add(millis(ttl)));
        for (token, of) in tokens {
            while o.tokens.len() >= MAX_TOKENS || o.token_ends.first().is_some_and(|(ends, _)| *ends <= now) {
                let Some((_, oldest)) = o.token_ends.pop_first() else { break };
                o.tokens.remove(&oldest);
            }
            if let Some((_, ends)) = o.tokens.insert(token.clone(), (of.clone(), until)) {
                o.token_ends.remove(&(ends, token.clone()));
            }
            o.token_ends.insert((until, token.clone()));
        }
        Ok(())
    }

    async fn take_token(&self, token: &str, use_up: bool) -> Result<Option<String>, StickError> {
        let mut s = self.lock();
        let now = self.clock.now_ms();
        let o = &mut s.outside;
        let Some((of, ends)) = o.tokens.get(token).cloned() else { return Ok(None) };
        if use_up {
            o.tokens.remove(token);
            o.token_ends.remove(&(ends, token.to_owned()));
        }
        Ok(Some(of).filter(|_| ends > now))
    }

    async fn queued(&self) -> Result<u64, StickError> {
        Ok(self.lock().outside.outbox.len() as u64)
    }
}
