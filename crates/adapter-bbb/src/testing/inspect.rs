//! The meetings of a fake and what it saw, read and changed from the side of the test.
use std::time::Duration;

use tokio::time::timeout;

use super::{FakeBbb, FakeError, FakeHook, FakeMeeting, FakeState, LoggedRequest, MeetingSpec};

/// Meetings.
impl FakeBbb {
    /// Puts a meeting here without a `create`. One with this id keeps its passwords and ids; its people, age and kind
    /// become those of the spec.
    pub fn put_meeting(&self, spec: MeetingSpec) {
        let MeetingSpec { id, participants, moderators, videos, age, breakout, params } = spec;
        {
            let mut state = self.shared.state();
            let state = &mut *state;
            let created = state.clock.now_ms().saturating_sub(millis(age));
            let made = || FakeMeeting::new(&id, params, Vec::new(), created, &mut state.chance);
            let meeting = state.meetings.entry(id.clone()).or_insert_with(made);
            (meeting.participants, meeting.moderators, meeting.videos) = (participants, moderators, videos);
            meeting.breakout = breakout;
            if !age.is_zero() {
                meeting.create_time = created;
            }
            meeting.xml = None;
        }
        self.shared.changed.notify_waiters();
    }

    /// Sets people (moderators included), moderators and cameras; false when there is no such meeting.
    pub fn set_people(&self, id: &str, participants: u32, moderators: u32, videos: u32) -> bool {
        self.alter(id, |meeting| {
            (meeting.participants, meeting.moderators, meeting.videos) = (participants, moderators, videos);
        })
    }

    /// Makes a meeting this old; false when there is no such meeting.
    pub fn age(&self, id: &str, age: Duration) -> bool {
        let created = self.shared.state().clock.now_ms().saturating_sub(millis(age));
        self.alter(id, |meeting| meeting.create_time = created)
    }

    /// Removes a meeting as if it had run out, without an `end`; false when there is no such meeting.
    pub fn remove_meeting(&self, id: &str) -> bool {
        let removed = self.shared.state().meetings.remove(id).is_some();
        self.shared.changed.notify_waiters();
        removed
    }

    /// A copy of a meeting.
    #[must_use]
    pub fn meeting(&self, id: &str) -> Option<FakeMeeting> {
        self.shared.state().meetings.get(id).cloned()
    }

    /// Copies of all meetings, by id.
    #[must_use]
    pub fn meetings(&self) -> Vec<FakeMeeting> {
        self.shared.state().meetings.values().cloned().collect()
    }

    fn alter(&self, id: &str, change: impl FnOnce(&mut FakeMeeting)) -> bool {
        let found = match self.shared.state().meetings.get_mut(id) {
            None => false,
            Some(meeting) => {
                change(meeting);
                meeting.xml = None;
                true
            }
        };
        self.shared.changed.notify_waiters();
        found
    }
}

/// Inspection.
impl FakeBbb {
    /// Copies of the requests kept, oldest first; see [`Self::limit_log`].
    #[must_use]
    pub fn log(&self) -> Vec<LoggedRequest> {
        self.shared.state().log.iter().cloned().collect()
    }

    /// Copies of the kept requests of one call, oldest first.
    #[must_use]
    pub fn calls_of(&self, call: &str) -> Vec<LoggedRequest> {
        self.shared.state().log.iter().filter(|request| request.call == call).cloned().collect()
    }

    /// Keeps at most this many requests, the newest ones; 10,000 unless told otherwise. Zero keeps none, which is
    /// what a benchmark wants. Counters do not depend on it.
    pub fn limit_log(&self, most: usize) {
        let mut state = self.shared.state();
        state.log_limit = most;
        while state.log.len() > most {
            state.log.pop_front();
        }
    }

    /// How many requests of this call came in, kept or not; the empty name is the version probe.
    #[must_use]
    pub fn count(&self, call: &str) -> u64 {
        self.shared.state().count(call)
    }

    /// Copies of the hooks, in the order in which they were registered.
    #[must_use]
    pub fn hooks(&self) -> Vec<FakeHook> {
        self.shared.state().hooks.clone()
    }

    /// Forgets every hook, as a server does whose receivers fail too often.
    pub fn forget_hooks(&self) {
        self.shared.state().hooks.clear();
        self.shared.changed.notify_waiters();
    }

    /// Copies of the bodies of feedbacks, oldest first.
    #[must_use]
    pub fn feedback(&self) -> Vec<String> {
        self.shared.state().feedback.clone()
    }

    /// How many meetings were ever made by a `create`.
    #[must_use]
    pub fn created_total(&self) -> u64 {
        self.shared.state().created
    }

    /// How many connections were ever accepted.
    #[must_use]
    pub fn connections_accepted(&self) -> u64 {
        self.shared.state().connections
    }

    /// How many requests came with a wrong checksum.
    #[must_use]
    pub fn bad_checksums(&self) -> u64 {
        self.shared.state().bad_checksums
    }

    /// Reads several things at one moment. The server stands still meanwhile: `look` must not call the fake itself.
    pub fn inspect<T>(&self, look: impl FnOnce(&FakeState) -> T) -> T {
        look(&self.shared.state())
    }

    /// Waits until the state fits. It is looked at now and after every request, answer and change; `fits` must not call
    /// the fake itself.
    ///
    /// While tokio's time is paused it jumps whenever nothing but a socket is waited for, and the deadline passes with
    /// it: use the running clock in tests that wait for requests.
    ///
    /// # Errors
    ///
    /// [`FakeError::TimedOut`] when it does not fit within `deadline`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn wait_for(
        &self,
        mut fits: impl FnMut(&FakeState) -> bool,
        deadline: Duration,
    ) -> Result<(), FakeError> {
        let waited = timeout(deadline, async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if fits(&self.shared.state()) {
                    return;
                }
                changed.await;
            }
        });
        waited.await.map_err(|_| {
            let counts: Vec<String> = self.inspect(|state| {
                let name = |call: &str| if call.is_empty() { "index" } else { call }.to_owned();
                state.counts.iter().map(|(call, count)| format!("{count} {}", name(call))).collect()
            });
            let seen = if counts.is_empty() { "no request".to_owned() } else { counts.join(", ") };
            FakeError::TimedOut { name: self.shared.name.clone(), deadline, seen }
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
