//! Atomics and locks of the parts that are model checked: the standard library's, or loom's under `cfg(loom)`.
//!
//! What only hands out memory (`Arc`, `OnceLock`) is the standard library's in both worlds.

use std::sync::PoisonError;

#[cfg(loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

/// Locks, also after a panic elsewhere: what these locks guard is whole between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    #[cfg(test)]
    LOCKS.set(LOCKS.get() + 1);
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
thread_local! {
    static LOCKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// How many locks this thread has taken through [`lock`].
#[cfg(test)]
pub(crate) fn locks() -> u64 {
    LOCKS.get()
}

/// Runs a model under every schedule that loom tells apart, and prints how many those were.
#[cfg(all(test, loom))]
pub(crate) fn explore(name: &str, model: impl Fn() + Sync + Send + 'static) {
    use std::sync::atomic::AtomicU64 as Count;
    let runs = std::sync::Arc::new(Count::new(0));
    let counted = runs.clone();
    let builder = loom::model::Builder::new();
    let bound = builder.preemption_bound.map_or("any number of".to_owned(), |n| format!("at most {n}"));
    builder.check(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        model();
    });
    println!("model {name}: {} executions, {bound} preemptions", runs.load(std::sync::atomic::Ordering::Relaxed));
}
