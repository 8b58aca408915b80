//! Keeping bindings in step with what the servers say they run.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering::Relaxed;

use balancer_core::{BackendId, Binding, Claim, StickError, StickKey, Token, Want, random};
use tokio::time::Instant;

use super::poll::Adoptable;
use super::twice::{Copy, Verdict};
use super::{Cluster, Listing, lock};
use crate::api::VoiceBridges;
use crate::store::{MeetingClaim, MeetingRecord};

/// How many numbers are tried for a voice bridge.
const BRIDGES: usize = 10;

/// How long a meeting on two servers is told of when there is one copy left.
const TOLD_MS: u64 = 86_400_000;

/// Meetings that were bound nowhere at the last sweep, and when the list that showed it first was asked for.
pub(super) type Unbound = HashMap<(String, BackendId), u64>;

/// A meeting that runs on a server although everybody is led to another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Stray {
    /// The meeting's id.
    pub meeting: String,
    /// Where it runs.
    pub server: BackendId,
    /// People in it there.
    pub people: u32,
}

/// What one sweep finds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    /// Bound meetings that their server no longer has.
    ended: Vec<MeetingRecord>,
    /// Meetings that run on a server although they are bound to another.
    strays: Vec<Stray>,
    /// Meetings that run but are bound nowhere.
    unbound: Vec<(String, BackendId)>,
}

/// Whether a list was asked for long enough after a binding was made. One of a Scalelite has no age before the store's
/// leftovers are looked for the first time.
fn is_settled(m: &MeetingRecord, list: &Listing, grace_ms: u64) -> bool {
    m.binding.stamp > 0 && m.binding.stamp.saturating_add(grace_ms) < list.began_ms
}

/// Compares bindings with the servers' own lists. Pure.
///
/// A binding is only called ended when a whole list, asked for more than `grace_ms` after the binding was made, does
/// not have it: a create that is under way is never undone.
fn compare(bound: &[MeetingRecord], lists: &HashMap<BackendId, Listing>, grace_ms: u64) -> Findings {
    let mut found = Findings::default();
    let by_id: HashMap<&str, &MeetingRecord> = bound.iter().map(|m| (m.id.as_str(), m)).collect();
    for m in bound {
        let Some(list) = lists.get(&m.binding.backend) else { continue };
        if is_settled(m, list, grace_ms) && !m.ending && !list.people.contains_key(&m.id) {
            found.ended.push(m.clone());
        }
    }
    for (server, list) in lists {
        for (id, people) in &list.people {
            match by_id.get(id.as_str()) {
                None if !list.adoptable.contains_key(id) => {}
                None => found.unbound.push((id.clone(), server.clone())),
                Some(m) if m.binding.backend != *server => {
                    if is_settled(m, list, grace_ms) {
                        let stray = Stray { meeting: id.clone(), server: server.clone(), people: *people };
                        found.strays.push(stray);
                    }
                }
                Some(_) => {}
            }
        }
    }
    found.strays.sort();
    found.unbound.sort();
    found
}

/// Which unbound meetings were unbound in an older list of the same server already; remembers the others. One list
/// looked at twice proves nothing: the meeting may have ended after it.
fn seen_twice(
    before: &mut Unbound,
    unbound: Vec<(String, BackendId)>,
    lists: &HashMap<BackendId, Listing>,
) -> Vec<(String, BackendId)> {
    let mut lost = Vec::new();
    let mut now = Unbound::new();
    for entry in unbound {
        let began = lists.get(&entry.1).map_or(0, |l| l.began_ms);
        let first = before.get(&entry).copied().unwrap_or(began);
        if first < began {
            lost.push(entry.clone());
        }
        now.insert(entry, first);
    }
    *before = now;
    lost
}

impl Cluster {
    /// Removes bindings of meetings that ended by themselves, and deals with meetings that run where they should not.
    pub(super) async fn sweep(&self) {
        self.found_first.lock().await.clear();
        let read = Instant::now();
        let bound = match self.store.meetings(None).await {
            Ok(bound) => bound,
            Err(e) => {
                tracing::warn!(error = %e, "the meetings cannot be read from the store");
                return;
            }
        };
        self.remember(&bound, read);
        let lists = self.fresh_lists();
        let grace = u64::try_from(self.options.grace().as_millis()).unwrap_or(u64::MAX);
        let found = compare(&bound, &lists, grace);
        for m in &found.ended {
            let Ok(key) = StickKey::new(m.id.as_str()) else { continue };
            // Compared whole: a meeting created again meanwhile has another binding and stays.
            if let Err(e) = self.store.release(&key, &m.binding).await {
                tracing::warn!(error = %e, "an ended meeting cannot be forgotten");
            }
        }
        self.bound.store(bound.len().saturating_sub(found.ended.len()), Relaxed);
        let left = self.end_strays(found.strays, &bound).await;
        self.forget_settled(&left, self.store_ms().saturating_sub(TOLD_MS));
        *lock(&self.strays) = left;
        // Unbound in two lists in a row: its binding was lost. Once may be a meeting that is just ending.
        let lost = seen_twice(&mut lock(&self.unbound), found.unbound, &lists);
        match self.bind_lost(lost, &lists).await {
            Ok(0) => {}
            Ok(n) => tracing::info!(meetings = n, "running meetings that were bound nowhere are bound again"),
            Err(e) => tracing::warn!(error = %e, "running meetings cannot be bound again"),
        }
    }

    /// The lists that are not older than three intervals: a process that slept knows nothing of now.
    fn fresh_lists(&self) -> HashMap<BackendId, Listing> {
        let age = self.options.poll_interval * 3 + self.options.call_time() * 3;
        let limit = self.store_ms().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let mut lists = lock(&self.lists).clone();
        lists.retain(|_, list| list.began_ms >= limit);
        lists
    }

    /// After a lost store: binds every meeting that runs somewhere and is bound nowhere. The answer is how many.
    ///
    /// A meeting found on two servers goes to the one with people in it, else to the older one, else to the first by id.
    /// [`found_twice`](Self::found_twice) tells of it.
    ///
    /// # Errors
    ///
    /// When the store cannot be asked.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves some meetings bound and others not; call it again.
    pub async fn rebuild(&self) -> Result<usize, StickError> {
        let bound = self.store.meetings(None).await?;
        let lists = lock(&self.lists).clone();
        self.bind_lost(compare(&bound, &lists, 0).unbound, &lists).await
    }

    async fn bind_lost(
        &self,
        lost: Vec<(String, BackendId)>,
        lists: &HashMap<BackendId, Listing>,
    ) -> Result<usize, StickError> {
        let mut homes: BTreeMap<String, Copy> = BTreeMap::new();
        for (id, server) in lost {
            let list = lists.get(&server);
            let people = list.and_then(|l| l.people.get(&id)).copied().unwrap_or_default();
            let created_ms = list.and_then(|l| l.adoptable.get(&id)).map_or(u64::MAX, |known| known.created_ms);
            let copy = Copy { server, people, created_ms };
            match homes.get_mut(&id) {
                None => drop(homes.insert(id, copy)),
                Some(best) => {
                    let other = if copy.beats(best) { std::mem::replace(best, copy) } else { copy };
                    self.note_twice(&id, &best.server, &other.server, Verdict::Kept);
                }
            }
        }
        let mut rebuilt = 0;
        for (id, Copy { server, .. }) in homes {
            if StickKey::new(id.as_str()).is_err() {
                continue;
            }
            let known = lists.get(&server).and_then(|l| l.adoptable.get(&id));
            if matches!(self.bind_found(&id, &server, known, None).await?, Claim::Won(_)) {
                rebuilt += 1;
            }
        }
        Ok(rebuilt)
    }

    /// Binds a meeting where it runs; with `over`, in place of that.
    pub(crate) async fn bind_found(
        &self,
        id: &str,
        server: &BackendId,
        known: Option<&Adoptable>,
        over: Option<&Binding>,
    ) -> Result<Claim, StickError> {
        let tenant = known.map_or("", |k| k.tenant.as_str());
        self.bind_for(tenant, id, server, known, over).await
    }

    /// [`bind_found`](Self::bind_found) for a tenant, whose meeting it is if it is bound nowhere yet.
    pub(crate) async fn bind_for(
        &self,
        tenant: &str,
        id: &str,
        server: &BackendId,
        known: Option<&Adoptable>,
        over: Option<&Binding>,
    ) -> Result<Claim, StickError> {
        let want = Want { backend: server.clone(), token: Token(random()) };
        // The number that telephones reach it by, else one as for a new meeting.
        let own = known.map(|k| k.voice_bridge.clone()).filter(|n| !n.is_empty());
        let bridges = own.into_iter().chain(VoiceBridges::new(id, self.options.voice_digits));
        let bridges: Vec<String> = bridges.take(BRIDGES).collect();
        let claim = MeetingClaim {
            id,
            over,
            want: &want,
            moderator_pw: known.map_or("", |k| k.moderator_pw.expose()),
            bridges: &bridges,
            load: 0.0,
            // It runs there, whatever was ordered for that server meanwhile.
            adopt: true,
            tenant,
            most: 0,
            registered: true,
            ttl: self.options.meeting_ttl,
        };
        Ok(self.store.claim_meeting(&claim).await?.claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::store::Figures;

    fn bound(id: &str, server: &str, stamp: u64) -> MeetingRecord {
        MeetingRecord {
            id: id.into(),
            binding: Binding { backend: server.into(), token: Token(1), stamp },
            moderator_pw: String::new(),
            voice_bridge: String::new(),
            ending: false,
            tenant: String::new(),
        }
    }

    fn list(began_ms: u64, ids: &[(&str, u32)]) -> Listing {
        let people = ids.iter().map(|(id, n)| ((*id).to_owned(), *n)).collect();
        let detail = Adoptable {
            moderator_pw: Secret::new("mp"),
            voice_bridge: String::new(),
            tenant: String::new(),
            created_ms: 1,
        };
        let adoptable = ids.iter().filter(|(id, _)| !id.ends_with("(breakout)"));
        let adoptable = adoptable.map(|(id, _)| ((*id).to_owned(), detail.clone())).collect();
        Listing {
            began_ms,
            people,
            adoptable,
            breakouts: std::collections::HashSet::new(),
            tenants: HashMap::new(),
            load: 0.0,
            figures: Figures::default(),
            version: None,
            draining: false,
            fence: None,
        }
    }

    #[test]
    fn only_settled_bindings_missing_from_a_whole_list_have_ended() {
        let lists = HashMap::from([("a".into(), list(10_000, &[("runs", 1)]))]);
        let bound =
            [bound("runs", "a", 1), bound("gone", "a", 1), bound("young", "a", 9_500), bound("unpolled", "b", 1)];
        let found = compare(&bound, &lists, 1_000);
        assert_eq!(found.ended.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), ["gone"]);
        assert!(found.strays.is_empty() && found.unbound.is_empty());
    }

    #[test]
    fn meetings_that_run_elsewhere_or_are_bound_nowhere_are_named() {
        let lists = HashMap::from([
            ("a".into(), list(10_000, &[("m", 3), ("lost", 0), ("lost (breakout)", 2)])),
            ("b".into(), list(10_000, &[("m", 0)])),
        ]);
        let found = compare(&[bound("m", "b", 1)], &lists, 1_000);
        assert_eq!(found.strays, [Stray { meeting: "m".into(), server: "a".into(), people: 3 }]);
        assert_eq!(found.unbound, [("lost".to_owned(), "a".into())]);
    }

    #[test]
    fn a_binding_is_lost_when_two_lists_say_so() {
        let entry = || vec![("m".to_owned(), "a".into())];
        let old = HashMap::from([("a".into(), list(1_000, &[("m", 1)]))]);
        let new = HashMap::from([("a".into(), list(2_000, &[("m", 1)]))]);
        let mut before = Unbound::new();
        assert_eq!(seen_twice(&mut before, entry(), &old), []);
        assert_eq!(seen_twice(&mut before, entry(), &old), [], "the same list again");
        assert_eq!(seen_twice(&mut before, entry(), &new), entry());
        assert_eq!(seen_twice(&mut before, entry(), &new), entry(), "until it is bound");
        assert_eq!(seen_twice(&mut before, Vec::new(), &new), []);
        assert_eq!(seen_twice(&mut before, entry(), &new), [], "bound meanwhile: from the beginning");
    }
}
