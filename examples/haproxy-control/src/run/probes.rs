//! What our own probes found, for `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use adapter_haproxy::control::{ControlledServer, Durations};
use async_trait::async_trait;
use balancer_core::{ProbeOutcome, ProbeWatch};

/// The most servers that are counted apart.
const MAX_SERVERS: usize = 4096;

/// Counts of all probes.
#[derive(Debug, Default)]
pub(super) struct Probes(Mutex<Counts>);

/// By server and result, and how long they took.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) results: BTreeMap<(String, &'static str), u64>,
    pub(super) took: Durations,
}

impl Probes {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().clone()
    }
}

#[async_trait]
impl ProbeWatch<ControlledServer> for Probes {
    async fn seen(&self, outcome: &ProbeOutcome<ControlledServer>) {
        let mut counts = self.lock();
        counts.took.add(1, outcome.took);
        let key = (outcome.id().as_str().to_owned(), if outcome.ok() { "ok" } else { "failed" });
        if counts.results.len() < 2 * MAX_SERVERS || counts.results.contains_key(&key) {
            *counts.results.entry(key).or_default() += 1;
        }
    }
}
