//! Every interleaving of the board's operations that loom tells apart.

use std::sync::Arc;
use std::time::Duration;

use loom::sync::atomic::{AtomicBool, AtomicU64 as Shared};
use loom::thread;

use super::*;
use crate::seat::Seat;
use crate::sync::explore;

const SLOT: Slot = Slot(0);
const ANY_WORK: u64 = NO_NEW | NOTHING;

/// A board with one open slot, and the moment it was made.
fn board(tracked: bool) -> (Arc<Board>, Instant) {
    let (board, now) = (Arc::new(Board::new(false)), Instant::now());
    assert_eq!(board.alloc(now, tracked), Some(SLOT));
    board.set_block(SLOT, 0);
    (board, now)
}

fn after(now: Instant, seconds: u64) -> Instant {
    now + Duration::from_secs(seconds)
}

fn hint(board: &Board) -> bool {
    board.open_word(0) & 1 != 0
}

/// The sum that a rank stands for, by its terms.
fn expected(board: &Board, in_flight: u64) -> (u8, u64) {
    let l = board.ledger(SLOT);
    (l.class, l.cost + (l.placed - l.covered) + in_flight)
}

#[test]
fn a_block_that_sees_nothing_in_flight_has_seen_the_end() {
    explore("take against block", || {
        let (board, _) = board(false);
        let (ended, working) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let taker = |board: Arc<Board>, ended: Arc<AtomicBool>, working: Arc<AtomicBool>| {
            move || {
                if board.take(SLOT, ANY_WORK, 1, Expect::Any).is_ok() {
                    assert!(!ended.load(SeqCst), "work after the end");
                    working.store(true, SeqCst);
                    board.cancel(SLOT, 1);
                }
            }
        };
        let first = thread::spawn(taker(board.clone(), ended.clone(), working.clone()));
        let second = thread::spawn(taker(board.clone(), ended.clone(), working.clone()));
        if board.block(SLOT, NO_NEW) == 0 || board.in_flight(SLOT) == 0 {
            ended.store(true, SeqCst);
        }
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!((board.in_flight(SLOT), board.rank(SLOT)), (0, 0));
        assert_eq!(board.take(SLOT, ANY_WORK, 1, Expect::Any), Err(Refused::Blocked));
    });
}

fn two_takes(name: &str, expect: Expect) {
    explore(name, move || {
        let (board, _) = board(false);
        let other = board.clone();
        let second = thread::spawn(move || other.take(SLOT, ANY_WORK, 5, expect).is_ok());
        let first = board.take(SLOT, ANY_WORK, 5, expect).is_ok();
        assert!(first ^ second.join().unwrap(), "exactly one wins");
        assert_eq!((board.in_flight(SLOT), board.rank(SLOT)), (1, 5));
    });
}

#[test]
fn of_two_takes_on_the_same_units_one_wins() {
    two_takes("two takes that expect the same units", Expect::Units(0));
}

#[test]
fn of_two_takes_on_the_same_rank_one_wins() {
    two_takes("two takes that expect the same rank", Expect::Rank(0));
}

#[test]
fn three_takes_on_the_same_units_never_win_twice() {
    explore("three takes that expect the same units", || {
        let (board, _) = board(false);
        let others: Vec<_> = (0..2)
            .map(|_| {
                let board = board.clone();
                thread::spawn(move || board.take(SLOT, ANY_WORK, 5, Expect::Units(0)).is_ok())
            })
            .collect();
        let mut won = u64::from(board.take(SLOT, ANY_WORK, 5, Expect::Units(0)).is_ok());
        won += others.into_iter().map(|t| u64::from(t.join().unwrap())).sum::<u64>();
        assert_eq!(won, 1);
        assert_eq!((board.in_flight(SLOT), board.rank(SLOT)), (1, 5));
    });
}

#[test]
fn expected_load_is_exact_whatever_the_order() {
    explore("land against report, cancel and a scan", || {
        let (board, now) = board(true);
        let (lands, reports) = (board.clone(), board.clone());
        let landing = thread::spawn(move || {
            lands.take(SLOT, ANY_WORK, 3, Expect::Any).unwrap();
            lands.land(SLOT, 3, after(now, 1));
        });
        // One that covers the landing, if it comes after it.
        let report = thread::spawn(move || assert!(reports.report(SLOT, 100, Report::new(after(now, 2)))));
        board.take(SLOT, ANY_WORK, 7, Expect::Any).unwrap();
        let (class, load) = split_rank(board.rank(SLOT));
        assert!(matches!(class, FRESH | MISSING), "class {class}");
        assert!(matches!(load, 0 | 3 | 7 | 10 | 100 | 103 | 107 | 110), "load {load}");
        board.cancel(SLOT, 7);
        landing.join().unwrap();
        report.join().unwrap();
        let (class, load) = split_rank(board.rank(SLOT));
        assert_eq!((class, load), expected(&board, 0));
        assert!(load == 100 || load == 103, "{load}: none lost, at most one twice");
        assert!(board.report(SLOT, 100, Report::new(after(now, 3))));
        assert_eq!(split_rank(board.rank(SLOT)), (FRESH, 100), "what landed is covered in the end");
    });
}

#[test]
fn a_report_that_began_earlier_never_covers_a_landing() {
    explore("land against a report that began before it", || {
        let (board, now) = board(true);
        let reports = board.clone();
        let report = thread::spawn(move || assert!(reports.report(SLOT, 100, Report::new(after(now, 1)))));
        board.take(SLOT, ANY_WORK, 3, Expect::Any).unwrap();
        board.land(SLOT, 3, after(now, 2));
        assert!(split_rank(board.rank(SLOT)).1 >= 3, "counted from the moment it was taken");
        report.join().unwrap();
        assert_eq!(split_rank(board.rank(SLOT)), (FRESH, 103));
    });
}

#[test]
fn two_landings_are_covered_by_a_later_report() {
    explore("two landings against a report", || {
        let (board, now) = board(true);
        let (a, b) = (board.clone(), board.clone());
        let land = |board: Arc<Board>, charge: u64, at: Instant| {
            move || {
                board.take(SLOT, ANY_WORK, charge, Expect::Any).unwrap();
                board.land(SLOT, charge, at);
            }
        };
        let first = thread::spawn(land(a, 1, after(now, 1)));
        let second = thread::spawn(land(b, 2, after(now, 2)));
        assert!(board.report(SLOT, 100, Report::new(after(now, 1))));
        first.join().unwrap();
        second.join().unwrap();
        let (class, load) = split_rank(board.rank(SLOT));
        assert_eq!((class, load), expected(&board, 0));
        assert!(load == 102 || load == 103, "{load}: the later landing is not covered");
        assert!(board.report(SLOT, 100, Report::new(after(now, 3))));
        assert_eq!(split_rank(board.rank(SLOT)), (FRESH, 100));
    });
}

#[test]
fn figures_that_age_beside_a_report_have_one_class() {
    explore("age against report and a scan", || {
        let (board, now) = board(true);
        assert!(board.report(SLOT, 10, Report::new(after(now, 1))));
        let (ages, reports) = (board.clone(), board.clone());
        let limit = Duration::from_secs(5);
        let aging = thread::spawn(move || ages.age(SLOT, after(now, 7), limit));
        let report = thread::spawn(move || reports.report(SLOT, 20, Report::new(after(now, 6))));
        let (class, load) = split_rank(board.rank(SLOT));
        assert!(matches!((class, load), (FRESH | STALE, 10) | (FRESH, 20)), "class {class}, load {load}");
        aging.join().unwrap();
        assert!(report.join().unwrap());
        assert_eq!(split_rank(board.rank(SLOT)), (FRESH, 20));
        assert_eq!(board.ledger(SLOT).class, FRESH);
    });
}

#[test]
fn the_cap_holds_within_a_window() {
    explore("three takers of a cap of two", || {
        let (board, _) = board(false);
        let others: Vec<_> = (0..2)
            .map(|_| {
                let board = board.clone();
                thread::spawn(move || board.try_cap(SLOT, 9, 2))
            })
            .collect();
        let mut won = u64::from(board.try_cap(SLOT, 9, 2));
        won += others.into_iter().map(|t| u64::from(t.join().unwrap())).sum::<u64>();
        assert_eq!(won, 2);
        assert!(board.capped(SLOT, 9, 2) && !board.capped(SLOT, 10, 2));
    });
}

#[test]
fn the_cap_holds_while_windows_change() {
    explore("a taker of the window before", || {
        let (board, _) = board(false);
        let (late, other) = (board.clone(), board.clone());
        // It read the clock before the window changed.
        let late = thread::spawn(move || late.try_cap(SLOT, 8, 1));
        let second = thread::spawn(move || other.try_cap(SLOT, 9, 1));
        let first = board.try_cap(SLOT, 9, 1);
        late.join().unwrap();
        let second = second.join().unwrap();
        assert!(!(first && second), "two in one window");
        assert!(!board.try_cap(SLOT, 9, 1), "a third");
    });
}

#[test]
fn the_hint_follows_the_word() {
    explore("open against close, and a taker", || {
        let (board, _) = board(false);
        // The pool writes blocks under its writer's lock.
        let writer = Arc::new(Mutex::new(()));
        let (opens, takes, held) = (board.clone(), board.clone(), writer.clone());
        let opening = thread::spawn(move || {
            let _writer = lock(&held);
            opens.set_block(SLOT, 0);
            0
        });
        let taking = thread::spawn(move || {
            // A hint may be old either way: the word decides.
            let _seen = hint(&takes);
            if takes.take(SLOT, ANY_WORK, 1, Expect::Any).is_ok() {
                takes.cancel(SLOT, 1);
            }
        });
        let last = {
            let _writer = lock(&writer);
            board.set_block(SLOT, NO_NEW);
            board.take(SLOT, ANY_WORK, 1, Expect::Any)
        };
        assert_eq!(last, Err(Refused::Blocked), "closing wins at the word");
        opening.join().unwrap();
        taking.join().unwrap();
        let (chunk, i) = board.at(SLOT);
        assert_eq!(hint(&board), chunk.word[i].load(SeqCst) & ANY_WORK == 0);
        assert_eq!(board.in_flight(SLOT), 0);
    });
}

#[test]
fn a_slot_is_reused_only_when_its_last_lease_is_gone() {
    explore("a removed server and a late lease", || {
        let board = Arc::new(Board::new(false));
        let now = Instant::now();
        // One owner is the pool's member, the other the member of a lease.
        let seat = Seat::new(&board, now, true).and_then(Arc::into_inner).unwrap();
        let slot = seat.slot;
        board.set_block(slot, 0);
        board.take(slot, NOTHING, 5, Expect::Any).unwrap();
        let (member, lease) = {
            let seat = loom::sync::Arc::new(seat);
            (seat.clone(), seat)
        };
        let landing = thread::spawn(move || {
            lease.board.land(lease.slot, 5, after(now, 1));
            drop(lease);
        });
        board.block(slot, ANY_WORK);
        drop(member);
        // A server added meanwhile finds a clean slot, its own.
        let next = Seat::new(&board, after(now, 2), true).unwrap();
        board.set_block(next.slot, 0);
        board.take(next.slot, ANY_WORK, 2, Expect::Units(0)).unwrap();
        landing.join().unwrap();
        assert_eq!(split_rank(board.rank(next.slot)), (MISSING, 2));
        assert_eq!(board.in_flight(next.slot), 1);
        assert_eq!(board.ledger(next.slot).placed, 0);
        let third = Seat::new(&board, after(now, 3), true).unwrap();
        assert_ne!(third.slot, next.slot);
        assert_eq!((board.in_flight(third.slot), split_rank(board.rank(third.slot))), (0, (MISSING, 0)));
        assert!(Seat::new(&board, now, true).is_none(), "both slots are taken");
    });
}

#[test]
fn the_last_of_two_leases_frees_the_slot_once() {
    explore("two late leases of a removed server", || {
        let board = Arc::new(Board::new(false));
        let seat = Seat::new(&board, Instant::now(), false).and_then(Arc::into_inner).unwrap();
        let slot = seat.slot;
        board.set_block(slot, 0);
        let seat = loom::sync::Arc::new(seat);
        let leases: Vec<_> = (0..2)
            .map(|_| {
                board.take(slot, NOTHING, 1, Expect::Any).unwrap();
                let seat = seat.clone();
                thread::spawn(move || {
                    seat.board.cancel(seat.slot, 1);
                    drop(seat);
                })
            })
            .collect();
        drop(seat);
        leases.into_iter().for_each(|l| l.join().unwrap());
        assert_eq!((board.in_flight(slot), board.rank(slot)), (0, 0));
        let free = lock(&board.free);
        assert_eq!((free.list.as_slice(), free.next), (&[slot.0][..], 1));
    });
}

#[test]
fn what_was_done_before_a_lease_ended_is_seen_at_the_end() {
    explore("the end publishes what the work wrote", || {
        let (board, _) = board(false);
        board.take(SLOT, ANY_WORK, 1, Expect::Any).unwrap();
        let wrote = Arc::new(Shared::new(0));
        let (lease, writes) = (board.clone(), wrote.clone());
        let work = thread::spawn(move || {
            writes.store(1, Relaxed);
            lease.cancel(SLOT, 1);
        });
        if board.block(SLOT, NO_NEW) == 0 || board.in_flight(SLOT) == 0 {
            assert_eq!(wrote.load(Relaxed), 1);
        }
        work.join().unwrap();
    });
}

/// The key of the share of the one slot.
fn key(board: &Board) -> u16 {
    let (chunk, _) = board.at(SLOT);
    u16::try_from(chunk.shares[0].load(SeqCst) & 0xffff).unwrap()
}

fn share_follows(name: &str, write: fn(&Board)) {
    explore(name, move || {
        let board = Arc::new(Board::new(true));
        assert_eq!(board.alloc(Instant::now(), false), Some(SLOT));
        board.set_weight(SLOT, Weight::ONE);
        board.set_block(SLOT, 0);
        let writes = board.clone();
        let writing = thread::spawn(move || write(&writes));
        if board.take(SLOT, ANY_WORK, 1, Expect::Any).is_ok() {
            board.land(SLOT, 1, Instant::now());
        }
        writing.join().unwrap();
        let (chunk, i) = board.at(SLOT);
        let open = chunk.word[i].load(SeqCst) & ANY_WORK == 0;
        let right = share(board.in_flight(SLOT), board.weight(SLOT).sixteenths());
        assert_eq!(key(&board), if open { right } else { lanes::HIDDEN });
    });
}

#[test]
fn a_share_follows_two_takers() {
    share_follows("the share of two takers", |board| {
        board.take(SLOT, ANY_WORK, 1, Expect::Any).unwrap();
    });
}

#[test]
fn a_share_follows_a_block() {
    share_follows("the share of a taker and a block", |board| {
        board.block(SLOT, NO_NEW);
    });
}

#[test]
fn a_share_follows_a_weight() {
    share_follows("the share of a taker and a weight", |board| board.set_weight(SLOT, Weight::from_sixteenths(64)));
}
