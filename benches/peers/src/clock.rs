//! Timing that a busy machine disturbs as little as it can: both sides in turn, the median of seven rounds.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

/// Rounds of each side.
pub(crate) const ROUNDS: usize = 7;

/// What one side of a comparison does; `n` is the number of the call.
pub(crate) type Call<'a> = &'a (dyn Fn(usize) + Sync);

/// Nanoseconds per call of two sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) ours: f64,
    pub(crate) peer: f64,
}

pub(crate) fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Nanoseconds per call of `calls` calls.
pub(crate) fn time(calls: usize, call: impl Fn(usize)) -> f64 {
    let began = Instant::now();
    for n in 0..calls {
        call(black_box(n));
    }
    began.elapsed().as_nanos() as f64 / calls as f64
}

/// The median of several rounds, one side alone.
pub(crate) fn alone(calls: usize, call: impl Fn(usize)) -> f64 {
    time(calls / 4 + 1, &call);
    median((0..ROUNDS).map(|_| time(calls, &call)).collect())
}

/// Both sides in turn.
pub(crate) fn pair(calls: usize, ours: impl Fn(usize), peer: impl Fn(usize)) -> Pair {
    time(calls / 4 + 1, &ours);
    time(calls / 4 + 1, &peer);
    let rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (time(calls, &ours), time(calls, &peer))).collect();
    Pair { ours: median(rounds.iter().map(|r| r.0).collect()), peer: median(rounds.iter().map(|r| r.1).collect()) }
}

/// Nanoseconds per call on each of `threads` threads that run at once.
fn time_on(threads: usize, calls: usize, call: Call<'_>) -> f64 {
    let gate = Barrier::new(threads);
    let run = |thread: usize| {
        gate.wait();
        time(calls, |n| call(n * threads + thread))
    };
    let times: Vec<f64> = std::thread::scope(|s| {
        let handles: Vec<_> = (0..threads).map(|t| s.spawn(move || run(t))).collect();
        handles.into_iter().filter_map(|h| h.join().ok()).collect()
    });
    times.iter().sum::<f64>() / times.len() as f64
}

/// Both sides in turn, on several threads at once.
pub(crate) fn pair_on(threads: usize, calls: usize, ours: Call<'_>, peer: Call<'_>) -> Pair {
    time_on(threads, calls / 4 + 1, ours);
    time_on(threads, calls / 4 + 1, peer);
    let rounds: Vec<(f64, f64)> =
        (0..ROUNDS).map(|_| (time_on(threads, calls, ours), time_on(threads, calls, peer))).collect();
    Pair { ours: median(rounds.iter().map(|r| r.0).collect()), peer: median(rounds.iter().map(|r| r.1).collect()) }
}
