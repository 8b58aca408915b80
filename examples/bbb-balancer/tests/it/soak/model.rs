//! What was asked and acknowledged, beside the balancer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Events kept of each meeting.
const HISTORY: usize = 120;

/// A small generator: the same seed gives the same run, as far as the machine's timing lets it.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n.max(1)).unwrap()).unwrap()
    }

    pub(super) fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let span = u64::try_from((to - from).as_millis()).unwrap();
        from + Duration::from_millis(self.next() % (span + 1))
    }

    pub(super) fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            list.swap(at, self.below(at + 1));
        }
    }
}

/// What is acknowledged of a meeting while nobody asks for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    /// Never created.
    Fresh,
    /// A create begun at `since` was answered with success, and joins led to this port afterwards, if they led anywhere.
    Alive { since: Instant, home: Option<u16> },
    /// An end was answered with success, after creates that were all answered; none was sent since.
    Ended { since: Instant },
    /// The last word was not acknowledged: everything may be true.
    Unknown,
}

#[derive(Clone, Debug)]
pub(super) struct Meeting {
    pub(super) state: State,
    /// Grows with every turn; two equal numbers with `busy` false mean that nobody asked in between.
    pub(super) turns: u64,
    pub(super) busy: bool,
    pub(super) last: Instant,
    history: VecDeque<String>,
}

/// Counters and meetings of a run.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) began: Instant,
    meetings: Mutex<Vec<Meeting>>,
    counts: Mutex<BTreeMap<(String, String), u64>>,
    violations: Mutex<Vec<String>>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn name(n: usize) -> String {
    format!("soak-{n}")
}

impl Model {
    pub(super) fn new(meetings: usize) -> Self {
        let fresh =
            Meeting { state: State::Fresh, turns: 0, busy: false, last: Instant::now(), history: VecDeque::new() };
        Self {
            began: Instant::now(),
            meetings: Mutex::new(vec![fresh; meetings]),
            counts: Mutex::default(),
            violations: Mutex::default(),
        }
    }

    pub(super) fn meetings(&self) -> MutexGuard<'_, Vec<Meeting>> {
        lock(&self.meetings)
    }

    /// All meetings nobody asks for at this moment.
    pub(super) fn idle(&self) -> Vec<(usize, u64, State, Instant)> {
        let all = self.meetings();
        all.iter().enumerate().filter(|(_, m)| !m.busy).map(|(n, m)| (n, m.turns, m.state, m.last)).collect()
    }

    /// Whether nobody asked since [`Self::idle`] gave this.
    pub(super) fn untouched(&self, n: usize, turns: u64) -> bool {
        let all = self.meetings();
        !all[n].busy && all[n].turns == turns
    }

    pub(super) fn note(&self, n: usize, event: &str) {
        let at = self.began.elapsed().as_secs_f64();
        let mut all = self.meetings();
        let history = &mut all[n].history;
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(format!("{at:8.3} {event}"));
    }

    pub(super) fn count(&self, kind: &str, outcome: &str) {
        self.add(kind, outcome, 1);
    }

    pub(super) fn add(&self, kind: &str, outcome: &str, n: usize) {
        let n = u64::try_from(n).unwrap();
        *lock(&self.counts).entry((kind.to_owned(), outcome.to_owned())).or_default() += n;
    }

    pub(super) fn counted(&self, kind: &str) -> u64 {
        lock(&self.counts).iter().filter(|((k, _), _)| k == kind).map(|(_, n)| n).sum()
    }

    /// Tells of a violation, with the history of its meeting.
    pub(super) fn violate(&self, n: Option<usize>, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        let mut text = format!("VIOLATION at {at:.3} s: {what}");
        if let Some(n) = n {
            let all = self.meetings();
            text.push_str(&format!("\n  state of {}: {:?}", name(n), all[n].state));
            if let State::Alive { since, .. } | State::Ended { since } = all[n].state {
                text.push_str(&format!(" (since {:.3})", (since - self.began).as_secs_f64()));
            }
            for event in &all[n].history {
                text.push_str(&format!("\n  {event}"));
            }
        }
        let mut all = lock(&self.violations);
        if all.len() < 20 {
            println!("{text}");
        }
        all.push(text);
    }

    pub(super) fn violations(&self) -> usize {
        lock(&self.violations).len()
    }

    /// The table of counts.
    pub(super) fn table(&self) -> String {
        let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for ((kind, outcome), n) in lock(&self.counts).iter() {
            kinds.entry(kind.clone()).or_default().push(format!("{outcome} {n}"));
        }
        kinds.iter().map(|(k, list)| format!("  {k:<18} {}\n", list.join(", "))).collect()
    }
}
