//! What a focus knows of one bridge.

use std::sync::Arc;

use balancer_core::BackendId;

use super::settings::{FocusSettings, RAMPUP_BUCKET};
use super::window::Window;
use crate::brewery::BridgeReport;
use crate::rank::{self, Key, Kind, greater};

/// One bridge. Times are in milliseconds of the table's clock.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: BackendId,
    /// Whether it is in the brewery. One that left is kept for conferences that still name it.
    pub(crate) known: bool,
    /// Whether it was not in the room when we came back. What it says next ends that.
    pub(crate) missing: bool,
    pub(crate) stress: f64,
    pub(crate) average: f64,
    pub(crate) graceful: bool,
    pub(crate) shutting_down: bool,
    pub(crate) drain: bool,
    pub(crate) drain_told: bool,
    pub(crate) healthy: bool,
    pub(crate) version: Option<Arc<str>>,
    pub(crate) release: Option<Arc<str>>,
    pub(crate) full_version: Option<Arc<str>>,
    pub(crate) region: Option<Arc<str>>,
    pub(crate) relay: Option<Arc<str>>,
    /// What was last set; what is in force is [`operational`](Self::operational).
    pub(crate) passed: bool,
    pub(crate) failed_at: Option<u64>,
    pub(crate) recent: Window,
    pub(crate) endpoints: u32,
    pub(crate) restarts: Window,
    pub(crate) failing_ice_until: Option<u64>,
    /// When its last presence with statistics came.
    pub(crate) seen_at: Option<u64>,
    /// Endpoints that came since the reported stress changed, or shortly before.
    pub(crate) unseen: u64,
    /// Conferences that nobody came to so far.
    pub(crate) empty: u32,
    fingerprint: u64,
    same_since: u64,
    same: u32,
    given_since: bool,
    /// Its place in the order, while it may be chosen.
    pub(crate) placed: Option<(Kind, Key)>,
    /// When its place changes by itself.
    pub(crate) due: Option<u64>,
}

/// What one report changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) shutting_down: bool,
    pub(super) graceful: bool,
    pub(super) drain: bool,
    pub(super) region: bool,
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Row {
    pub(super) fn new(id: BackendId, settings: &FocusSettings, now: u64) -> Self {
        Self {
            id,
            known: true,
            missing: false,
            stress: 0.0,
            average: settings.average_participant_stress,
            graceful: false,
            shutting_down: false,
            drain: true,
            drain_told: false,
            healthy: true,
            version: None,
            release: None,
            full_version: None,
            region: None,
            relay: None,
            passed: true,
            failed_at: None,
            recent: Window::new(millis(settings.rampup), RAMPUP_BUCKET),
            endpoints: 0,
            restarts: Window::new(millis(settings.ice_failures.interval), 1000),
            failing_ice_until: None,
            seen_at: None,
            unseen: 0,
            empty: 0,
            fingerprint: 0,
            same_since: now,
            same: 0,
            given_since: false,
            placed: None,
            due: None,
        }
    }

    pub(super) fn update(&mut self, report: &BridgeReport, now: u64) -> Changed {
        let before = (self.shutting_down, self.graceful, self.drain);
        self.missing = false;
        if let Some(stress) = report.stress() {
            if stress.to_bits() != self.stress.to_bits() {
                // The sample may be older than those who came last.
                self.unseen = self.recent.sum();
            }
            self.stress = stress;
        }
        if let Some(average) = report.average_participant_stress() {
            self.average = average;
        }
        self.graceful |= report.graceful_shutdown();
        self.shutting_down |= report.shutting_down();
        if let Some(drain) = report.drain() {
            self.drain = drain;
            self.drain_told = true;
        }
        if let Some(healthy) = report.healthy() {
            self.healthy = healthy;
        }
        let version = keep(&mut self.version, report.text("version"));
        let release = keep(&mut self.release, report.text("release"));
        if version || release {
            self.full_version = match (&self.version, &self.release) {
                (Some(version), Some(release)) => Some(format!("{version}-{release}").into()),
                (version, _) => version.clone(),
            };
        }
        let region = keep(&mut self.region, report.text("region"));
        keep(&mut self.relay, report.text("relay_id"));
        let print = report.fingerprint();
        if print == self.fingerprint && self.seen_at.is_some() {
            self.same = self.same.saturating_add(1);
        } else {
            (self.fingerprint, self.same_since, self.same, self.given_since) = (print, now, 0, false);
        }
        self.seen_at = Some(now);
        Changed {
            shutting_down: self.shutting_down && !before.0,
            graceful: self.graceful && !before.1,
            drain: self.drain != before.2,
            region,
        }
    }

    pub(super) fn place(&mut self, count: u32, now: u64) {
        self.recent.add(now, u64::from(count));
        self.endpoints = self.endpoints.saturating_add(count);
        self.unseen = self.unseen.saturating_add(u64::from(count));
        self.given_since |= count > 0;
    }

    pub(super) fn leave(&mut self, count: u32) {
        self.endpoints = self.endpoints.saturating_sub(count);
        self.unseen = self.unseen.saturating_sub(u64::from(count));
    }

    pub(super) fn restart_requested(&mut self, settings: &FocusSettings, now: u64) {
        let ice = &settings.ice_failures;
        self.restarts.add(now, 1);
        #[allow(clippy::cast_precision_loss)]
        let many = self.restarts.sum() as f64 > f64::from(self.endpoints) * ice.threshold;
        if ice.enabled && self.endpoints >= ice.min_endpoints && many {
            self.failing_ice_until = Some(now.saturating_add(millis(ice.timeout)));
        }
    }

    pub(super) fn fail(&mut self, now: u64) {
        self.passed = false;
        self.failed_at = Some(now);
    }

    pub(crate) fn operational(&self, settings: &FocusSettings, now: u64) -> bool {
        let fresh = self.failed_at.is_some_and(|at| now.saturating_sub(at) < millis(settings.failure_reset));
        self.passed && !fresh
    }

    pub(crate) fn failing_ice(&self, now: u64) -> bool {
        self.failing_ice_until.is_some_and(|until| now < until)
    }

    /// The stress to choose by. What happened must have been told before: see [`BridgeTable`](super::BridgeTable).
    pub(crate) fn corrected(&self, settings: &FocusSettings, now: u64) -> f64 {
        let extras = &settings.extras;
        let mut count = self.recent.sum();
        let mut average = self.average;
        if extras.count_unseen {
            count = count.max(self.unseen);
            // Also what is not a number.
            if average.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
                average = settings.average_participant_stress;
            }
        }
        count = count.saturating_add(u64::from(self.empty) * u64::from(extras.empty_conference));
        #[allow(clippy::cast_precision_loss)]
        let corrected = self.stress + count as f64 * average;
        if self.failing_ice(now) { greater(corrected, settings.stress_threshold + 0.01) } else { corrected }
    }

    pub(crate) fn overloaded(&self, settings: &FocusSettings, now: u64) -> bool {
        self.corrected(settings, now) >= settings.stress_threshold
    }

    pub(crate) fn flat(&self, settings: &FocusSettings, now: u64) -> bool {
        let Some(after) = settings.extras.flat_after else { return false };
        let loaded = self.stress != 0.0 || self.given_since;
        loaded && self.same >= 2 && now.saturating_sub(self.same_since) >= millis(after)
    }

    /// How old its last report is.
    pub(super) fn age(&self, now: u64) -> Option<u64> {
        self.seen_at.map(|at| now.saturating_sub(at))
    }

    /// Forgets what time has overtaken.
    pub(super) fn expire(&mut self, now: u64) {
        self.recent.expire(now);
        self.restarts.expire(now);
        if self.failing_ice_until.is_some_and(|until| now >= until) {
            self.failing_ice_until = None;
        }
    }

    /// When its place in the order changes unless something happens before.
    pub(super) fn next_change(&self, settings: &FocusSettings, now: u64) -> Option<u64> {
        let recovers =
            self.failed_at.filter(|_| self.passed).map(|at| at.saturating_add(millis(settings.failure_reset)));
        let recovers = recovers.filter(|at| *at > now);
        [self.recent.next_expiry(), recovers, self.failing_ice_until].into_iter().flatten().min()
    }

    /// Where it belongs in the order, if it may be chosen.
    pub(super) fn standing(&self, settings: &FocusSettings, now: u64) -> Option<Key> {
        (self.known && !self.shutting_down && self.operational(settings, now)).then(|| Key {
            class: rank::class(self.missing, self.drain, self.graceful),
            stress: rank::stress_bits(self.corrected(settings, now)),
            id: Some(self.id.clone()),
            row: 0,
        })
    }

    pub(super) fn kind_is(&self, kind: &Kind) -> bool {
        kind.0 == self.full_version && kind.1 == self.region
    }
}

/// Takes over a text; whether it is another one.
fn keep(held: &mut Option<Arc<str>>, told: Option<&str>) -> bool {
    let Some(told) = told.filter(|told| held.as_deref() != Some(told)) else { return false };
    *held = Some(told.into());
    true
}
