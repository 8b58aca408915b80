//! What is between a node and one peer, whether there is a connection or not.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::status::PeerStatus;

/// How many changes wait for a peer one by one; beyond, everything is gone through.
const MAX_WAITING: usize = 65_536;

/// One peer.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    /// Its bit in the tables.
    pub(super) bit: u64,
    /// Wakes the connection.
    pub(super) wake: Notify,
    /// Wakes who calls.
    pub(super) lost: Notify,
    /// The version within 2 it is called with.
    pub(super) minor: AtomicU32,
    open: AtomicBool,
    /// Connections so far: the last one counts.
    generation: AtomicU64,
    waiting: Mutex<Waiting>,
    pub(super) updates_in: AtomicU64,
    pub(super) updates_out: AtomicU64,
    pub(super) lessons_in: AtomicU64,
    pub(super) lessons_out: AtomicU64,
    failures: AtomicU64,
    last: Mutex<Option<String>>,
}

/// Changes it has to be told.
#[derive(Debug, Default)]
struct Waiting {
    rows: VecDeque<(usize, u32)>,
    all: bool,
}

impl Line {
    pub(super) fn new(name: &str, at: usize) -> Self {
        Self {
            name: name.to_owned(),
            bit: 1 << at,
            wake: Notify::new(),
            lost: Notify::new(),
            minor: AtomicU32::new(1),
            open: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            waiting: Mutex::default(),
            updates_in: AtomicU64::new(0),
            updates_out: AtomicU64::new(0),
            lessons_in: AtomicU64::new(0),
            lessons_out: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            last: Mutex::default(),
        }
    }

    /// A connection is greeted: any other one of this peer ends. The number to hold it by.
    pub(super) fn begin(&self) -> u64 {
        let generation = self.generation.fetch_add(1, Ordering::SeqCst) + 1;
        self.open.store(true, Ordering::SeqCst);
        *self.waiting() = Waiting::default();
        self.wake.notify_waiters();
        generation
    }

    /// Whether a connection is still the one that counts.
    pub(super) fn is_current(&self, generation: u64) -> bool {
        self.generation.load(Ordering::SeqCst) == generation
    }

    /// A connection has ended, or did not come to be. Whether that was not known yet.
    pub(super) fn end(&self, generation: Option<u64>, why: String) -> bool {
        if generation.is_some_and(|generation| !self.is_current(generation)) {
            return false;
        }
        let was = generation.is_some() && self.open.swap(false, Ordering::SeqCst);
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let news = was || last.is_none();
        *last = Some(why);
        self.lost.notify_one();
        news
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something in this slot of this table is to be told.
    pub(super) fn tell(&self, table: usize, row: u32) {
        self.tell_all(std::iter::once((table, row)));
    }

    /// Something in each of these slots of these tables is to be told.
    pub(super) fn tell_all(&self, news: impl Iterator<Item = (usize, u32)>) {
        let mut news = news.peekable();
        if news.peek().is_none() || !self.is_open() {
            return;
        }
        let mut waiting = self.waiting();
        for new in news {
            if waiting.rows.len() >= MAX_WAITING {
                waiting.rows.clear();
                waiting.all = true;
            }
            if !waiting.all {
                waiting.rows.push_back(new);
            }
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// The next changes to be told, up to so many, all of one table.
    pub(super) fn next(&self, most: usize, rows: &mut Vec<u32>) -> Option<usize> {
        let mut waiting = self.waiting();
        let table = waiting.rows.front()?.0;
        while rows.len() < most
            && let Some((_, row)) = waiting.rows.front().copied().filter(|(other, _)| *other == table)
        {
            waiting.rows.pop_front();
            rows.push(row);
        }
        Some(table)
    }

    /// Whether everything has to be gone through, asked once.
    pub(super) fn take_all(&self) -> bool {
        std::mem::take(&mut self.waiting().all)
    }

    pub(super) fn status(&self) -> PeerStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PeerStatus {
            name: self.name.clone(),
            connected: self.is_open(),
            connections: read(&self.generation),
            failures: read(&self.failures),
            updates_in: read(&self.updates_in),
            updates_out: read(&self.updates_out),
            lessons_in: read(&self.lessons_in),
            lessons_out: read(&self.lessons_out),
            last: self.last.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
