//! How long things took.

use std::time::Duration;

use serde::Serialize;

/// Upper bounds, in seconds.
const BOUNDS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// A histogram of durations.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Durations {
    buckets: [u64; BOUNDS.len()],
    /// How many there were.
    pub count: u64,
    /// All together, in seconds.
    pub seconds: f64,
}

impl Durations {
    /// So many took so long.
    pub fn add(&mut self, many: u64, took: Duration) {
        let seconds = took.as_secs_f64();
        self.count += many;
        self.seconds += seconds * many as f64;
        if let Some((count, _)) = self.buckets.iter_mut().zip(BOUNDS).find(|(_, bound)| seconds <= *bound) {
            *count += many;
        }
    }

    /// Upper bounds in seconds, and how many took no longer than that.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut total = 0;
        BOUNDS.into_iter().zip(self.buckets).map(move |(bound, count)| {
            total += count;
            (bound, total)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_counts_all_that_were_quicker() {
        let mut took = Durations::default();
        took.add(2, Duration::from_millis(10));
        took.add(1, Duration::from_millis(300));
        took.add(1, Duration::from_secs(60));
        let counts: Vec<u64> = took.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [0, 2, 2, 2, 2, 2, 3, 3, 3]);
        assert_eq!((took.count, took.seconds), (4, 60.32));
    }
}
