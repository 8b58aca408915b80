//! Meetings as they were last seen in the store, for the time when it is out of reach.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use balancer_core::{Binding, StickError, StickErrorKind, StickKey};
use tokio::time::Instant;

use super::{Cluster, lock};
use crate::store::{Look, MeetingRecord};

/// At most so many meetings are remembered.
const MOST: usize = 100_000;
/// A store that is out of reach is asked no longer than this before memory answers.
const BRIEF: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(super) struct LastKnown {
    /// Each with the moment at which it was seen.
    meetings: Mutex<HashMap<String, (Instant, MeetingRecord)>>,
    /// Meetings that were ended while the store could not be told.
    ended: Mutex<HashMap<StickKey, Binding>>,
    away: AtomicBool,
}

impl LastKnown {
    /// The store is out of reach.
    pub(super) fn lost(&self) {
        self.away.store(true, Relaxed);
    }

    fn put(&self, id: &str, meeting: Option<&MeetingRecord>) {
        let mut known = lock(&self.meetings);
        match meeting {
            None => drop(known.remove(id)),
            Some(m) => {
                let (now, room) = (Instant::now(), known.len() < MOST);
                match known.get_mut(id) {
                    Some((at, seen)) if seen == m => *at = now,
                    Some(seen) => *seen = (now, m.clone()),
                    None if room => drop(known.insert(id.to_owned(), (now, m.clone()))),
                    None => {}
                }
            }
        }
    }

    fn get(&self, id: &str) -> Option<MeetingRecord> {
        lock(&self.meetings).get(id).map(|(_, m)| m.clone())
    }
}

/// Whether an error means that the store cannot be asked now, and not that the question was wrong.
pub(crate) fn is_away(e: &StickError) -> bool {
    matches!(e.kind(), StickErrorKind::Lost | StickErrorKind::Refused)
}

impl Cluster {
    /// Looks at one meeting and its server. When the store is out of reach and the meeting was seen there, the answer
    /// is what was seen last, and `true`.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store cannot be asked and the meeting is not known from before.
    pub(crate) async fn look(&self, id: &str) -> Result<(Look, bool), StickError> {
        if !self.store.is_shared() {
            return Ok((self.store.look(id).await?, false));
        }
        match self.patiently(self.store.look(id)).await {
            Ok(look) => {
                self.last_known.put(id, look.meeting.as_ref());
                Ok((look, false))
            }
            Err(e) if is_away(&e) => {
                let Some(meeting) = self.last_known.get(id) else { return Err(e) };
                let server = self.record(&meeting.binding.backend).map(|r| (r.state, r.online));
                Ok((Look { meeting: Some(meeting), server, epoch: 0 }, true))
            }
            Err(e) => Err(e),
        }
    }

    /// Whether calls can be answered; with a shared store out of reach they are, as far as its last known state goes,
    /// and the answer says what is wrong. Nobody else could answer more: all processes have lost the same store.
    ///
    /// # Errors
    ///
    /// [`StickError`] when the store of this process alone fails, or a shared one answers something wrong.
    pub(crate) async fn readiness(&self) -> Result<Option<StickError>, StickError> {
        if !self.store.is_shared() {
            return self.store.check().await.map(|()| None);
        }
        // Whoever asks has little patience.
        match self.briefly(self.store.check()).await {
            Ok(()) => Ok(None),
            Err(e) if is_away(&e) => Ok(Some(e)),
            Err(e) => Err(e),
        }
    }

    /// What the store answers; while it is out of reach, only what it answers at once.
    pub(super) async fn patiently<T>(
        &self,
        asked: impl Future<Output = Result<T, StickError>>,
    ) -> Result<T, StickError> {
        let is_away_now = self.store.is_shared() && self.last_known.away.load(Relaxed);
        let answer = if is_away_now { self.briefly(asked).await } else { asked.await };
        match &answer {
            Ok(_) => self.last_known.away.store(false, Relaxed),
            Err(e) if is_away(e) => self.last_known.lost(),
            Err(_) => {}
        }
        answer
    }

    /// What the store answers at once.
    async fn briefly<T>(&self, asked: impl Future<Output = Result<T, StickError>>) -> Result<T, StickError> {
        tokio::time::timeout(BRIEF, asked).await.unwrap_or_else(|_| {
            Err(StickError::Lost { target: self.store.describe(), why: "no answer in time".into(), source: None })
        })
    }

    /// A meeting that is in the store now.
    pub(crate) fn remember_one(&self, meeting: &MeetingRecord) {
        if self.store.is_shared() {
            self.last_known.put(&meeting.id, Some(meeting));
        }
    }

    /// How many meetings go on should the store be lost.
    pub(crate) fn known_count(&self) -> usize {
        lock(&self.last_known.meetings).len()
    }

    /// Everything that was in the store when it was read, at this moment. What was seen since stays.
    pub(super) fn remember(&self, all: &[MeetingRecord], read: Instant) {
        if self.store.is_shared() {
            let mut known = lock(&self.last_known.meetings);
            known.retain(|_, (at, _)| *at >= read);
            for m in all.iter().take(MOST) {
                known.entry(m.id.clone()).or_insert_with(|| (read, m.clone()));
            }
        }
    }

    /// A meeting ended at its server while the store cannot be told: told later. `false` when too much waits already.
    pub(crate) fn ended_unseen(&self, key: StickKey, binding: Binding) -> bool {
        self.last_known.put(key.as_str(), None);
        let mut ended = lock(&self.last_known.ended);
        let room = ended.len() < MOST;
        if room {
            ended.insert(key, binding);
        }
        room
    }

    /// The store answers: it is told what it missed.
    pub(super) async fn catch_up(&self) {
        if !self.store.is_shared() {
            return;
        }
        if self.last_known.away.swap(false, Relaxed) {
            tracing::info!("the store answers again");
        }
        let ended: Vec<_> = lock(&self.last_known.ended).iter().map(|(k, b)| (k.clone(), b.clone())).collect();
        for (key, binding) in ended {
            match self.store.release(&key, &binding).await {
                // Bound anew meanwhile, it stays.
                Ok(_) => drop(lock(&self.last_known.ended).remove(&key)),
                Err(e) if is_away(&e) => return,
                Err(e) => {
                    tracing::warn!(error = %e, "an ended meeting cannot be forgotten");
                    lock(&self.last_known.ended).remove(&key);
                }
            }
        }
    }

    /// Removes what others left behind in the store. Two processes at once do no harm.
    pub(super) async fn tidy(&self) {
        match self.store.tidy().await {
            Ok(0) => {}
            Ok(n) => tracing::info!(entries = n, "leftovers were removed from the store"),
            Err(e) => tracing::warn!(error = %e, "leftovers cannot be removed from the store"),
        }
    }
}
