//! How long things take, in histograms with few labels.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::cluster::lock;

/// Upper bounds of the buckets, in seconds.
pub(crate) const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Most labels; what comes later is not counted.
const MAX_LABELS: usize = 1024;

/// One label's durations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Histogram {
    /// Per bucket, with one more for what is longer than the last bound.
    pub(crate) counts: [u64; BOUNDS.len() + 1],
    /// In seconds.
    pub(crate) sum: f64,
}

/// Durations by label.
#[derive(Debug, Default)]
pub(crate) struct Times(Mutex<HashMap<String, Histogram>>);

impl Times {
    pub(crate) fn note(&self, label: &str, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        let mut all = lock(&self.0);
        if !all.contains_key(label) {
            if all.len() >= MAX_LABELS {
                return;
            }
            all.insert(label.to_owned(), Histogram::default());
        }
        if let Some(of) = all.get_mut(label) {
            of.counts[at] += 1;
            of.sum += seconds;
        }
    }

    /// What was noted, by label.
    pub(crate) fn all(&self) -> Vec<(String, Histogram)> {
        let mut all: Vec<_> = lock(&self.0).iter().map(|(label, of)| (label.clone(), *of)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Forgets labels that are no longer wanted.
    pub(crate) fn keep(&self, wanted: impl Fn(&str) -> bool) {
        lock(&self.0).retain(|label, _| wanted(label));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_buckets_and_labels_are_bounded() {
        let times = Times::default();
        for ms in [0, 1, 2, 700, 60_000] {
            times.note("a", Duration::from_millis(ms));
        }
        let (label, of) = times.all().remove(0);
        assert_eq!((label.as_str(), of.counts.iter().sum::<u64>()), ("a", 5));
        assert_eq!((of.counts[0], of.counts[1], of.counts[9], of.counts[12]), (2, 1, 1, 1));
        for n in 0..3000 {
            times.note(&n.to_string(), Duration::ZERO);
        }
        assert_eq!(times.all().len(), MAX_LABELS);
        times.keep(|label| label == "a");
        assert_eq!(times.all().len(), 1);
    }
}
