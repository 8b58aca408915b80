//! Counting what happened lately.

use std::collections::VecDeque;

/// What was counted in the last while, in buckets aligned to the clock. Times are in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    bucket: u64,
    span: u64,
    total: u64,
    counts: VecDeque<(u64, u64)>,
}

impl Window {
    /// Counts that live for `length`, in buckets of `bucket` milliseconds.
    pub(crate) fn new(length: u64, bucket: u64) -> Self {
        let bucket = bucket.max(1);
        Self { bucket, span: length.div_ceil(bucket), total: 0, counts: VecDeque::new() }
    }

    pub(crate) fn add(&mut self, now: u64, count: u64) {
        self.expire(now);
        let at = now / self.bucket;
        self.total = self.total.saturating_add(count);
        match self.counts.back_mut() {
            Some((bucket, held)) if *bucket >= at => *held = held.saturating_add(count),
            _ => self.counts.push_back((at, count)),
        }
    }

    /// Forgets what is too old; whether there was anything.
    pub(crate) fn expire(&mut self, now: u64) -> bool {
        let at = now / self.bucket;
        let mut any = false;
        while let Some((bucket, count)) = self.counts.front()
            && bucket.saturating_add(self.span) < at
        {
            self.total = self.total.saturating_sub(*count);
            self.counts.pop_front();
            any = true;
        }
        any
    }

    /// What is left after the last [`expire`](Self::expire).
    pub(crate) fn sum(&self) -> u64 {
        self.total
    }

    /// When the oldest count is forgotten.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        let (bucket, _) = self.counts.front()?;
        Some(bucket.saturating_add(self.span).saturating_add(1).saturating_mul(self.bucket))
    }
}
