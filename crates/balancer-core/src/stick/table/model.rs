//! Every interleaving of the table's operations that loom tells apart. Time is a plain number.

use std::sync::Arc;

use loom::thread;

use super::*;
use crate::stick::Token;
use crate::sync::explore;

fn want(backend: &str, token: u64) -> Want {
    Want { backend: backend.into(), token: Token(token) }
}

fn key(name: &str) -> StickKey {
    StickKey::new(name).unwrap()
}

/// A claim at a moment, kept for 10.
fn claim(table: &Table, name: &str, want: &Want, now: u64) -> Result<Claim, StickError> {
    put(table, name, None, want, now)
}

fn put(table: &Table, name: &str, seen: Option<&Binding>, want: &Want, now: u64) -> Result<Claim, StickError> {
    table
        .put(&key(name), seen, want, At { now, until: now + 10, wall_ms: now }, &NoJournal)
        .map(|(put, _)| put)
        .ok_or_else(|| table.full())
}

fn won(put: Result<Claim, StickError>) -> Option<Binding> {
    match put {
        Ok(Claim::Won(binding)) => Some(binding),
        Ok(_) => None,
        Err(e) => panic!("{e}"),
    }
}

fn stored(table: &Table, name: &str, now: u64) -> Option<Binding> {
    table.get(&key(name), now, None, &NoJournal).map(|(binding, _)| binding)
}

/// What the table counts is what it holds, and has places for.
fn in_step(table: &Table, now: u64, backends: &[&str]) {
    let held: u64 = backends.iter().map(|b| table.count(&(*b).into(), now, &NoJournal)).sum();
    assert_eq!(table.len() as u64, held);
    assert!(table.in_step());
}

#[test]
fn of_two_claimers_one_wins() {
    explore("two claimers", || {
        let table = Arc::new(Table::new(1, 10, false));
        let other = table.clone();
        let second = thread::spawn(move || claim(&other, "room", &want("b", 2), 1).unwrap());
        let first = claim(&table, "room", &want("a", 1), 1).unwrap();
        let (winner, seen) = match (first, second.join().unwrap()) {
            (Claim::Won(w), Claim::Held(h)) | (Claim::Held(h), Claim::Won(w)) => (w, h),
            other => panic!("{other:?}"),
        };
        assert_eq!(winner, seen);
        assert_eq!(stored(&table, "room", 2), Some(winner));
        in_step(&table, 2, &["a", "b"]);
    });
}

#[test]
fn after_a_close_no_claim_wins() {
    explore("close against claims of two shards", || {
        let table = Arc::new(Table::new(2, 10, false));
        let claims = |name: &'static str, token| {
            let table = table.clone();
            thread::spawn(move || claim(&table, name, &want("a", token), 1).unwrap())
        };
        let (first, second) = (claims("x", 1), claims("y", 2));
        table.close(&"a".into(), true, || ());
        let at_close = table.count(&"a".into(), 1, &NoJournal);
        assert!(matches!(claim(&table, "z", &want("a", 3), 1), Ok(Claim::Closed)));
        let wins = [first, second].map(|t| u64::from(matches!(t.join().unwrap(), Claim::Won(_))));
        assert_eq!(wins.iter().sum::<u64>(), at_close, "a claim won after the close had returned");
        assert_eq!(table.count(&"a".into(), 1, &NoJournal), at_close);
    });
}

#[test]
fn a_late_release_spares_a_newer_binding() {
    explore("release against rebind", || {
        let table = Arc::new(Table::new(1, 10, false));
        let old = won(claim(&table, "room", &want("a", 1), 1)).unwrap();
        let (other, seen) = (table.clone(), old.clone());
        let moving = thread::spawn(move || won(put(&other, "room", Some(&seen), &want("b", 2), 2)).unwrap());
        let released = table.release(&key("room"), &old, 2, &NoJournal).0;
        let moved = moving.join().unwrap();
        // Released first or not, what was put afterwards stays.
        assert_eq!(stored(&table, "room", 3), Some(moved.clone()), "released: {released}");
        assert!(moved.stamp > old.stamp);
        in_step(&table, 3, &["a", "b"]);
    });
}

#[test]
fn of_two_moves_of_one_binding_one_wins() {
    explore("two rebinds of one binding", || {
        let table = Arc::new(Table::new(1, 10, false));
        let old = won(claim(&table, "room", &want("a", 1), 1)).unwrap();
        let (other, seen) = (table.clone(), old.clone());
        let second = thread::spawn(move || won(put(&other, "room", Some(&seen), &want("b", 2), 2)));
        let first = won(put(&table, "room", Some(&old), &want("c", 3), 2));
        let second = second.join().unwrap();
        assert!(first.is_some() ^ second.is_some(), "exactly one moves the room");
        assert_eq!(stored(&table, "room", 3), first.or(second));
        in_step(&table, 3, &["a", "b", "c"]);
    });
}

#[test]
fn an_expired_binding_is_claimed_once() {
    explore("expiry against claims", || {
        let table = Arc::new(Table::new(1, 10, false));
        won(claim(&table, "room", &want("a", 1), 1)).unwrap();
        let (other, sweeper) = (table.clone(), table.clone());
        let second = thread::spawn(move || won(claim(&other, "room", &want("b", 2), 20)));
        let sweeping = thread::spawn(move || sweeper.sweep(20, &NoJournal));
        let first = won(claim(&table, "room", &want("c", 3), 20));
        let second = second.join().unwrap();
        assert!(sweeping.join().unwrap() <= 1);
        assert!(first.is_some() ^ second.is_some());
        assert_eq!(stored(&table, "room", 21), first.or(second));
        in_step(&table, 21, &["a", "b", "c"]);
    });
}

#[test]
fn an_extension_beside_expiry_keeps_or_loses_the_whole_binding() {
    explore("extension against expiry and claim", || {
        let table = Arc::new(Table::new(1, 10, false));
        let old = won(claim(&table, "room", &want("a", 1), 1)).unwrap();
        let other = table.clone();
        // One process's clock is before the deadline, the other's after it.
        let extending = thread::spawn(move || other.get(&key("room"), 10, Some(40), &NoJournal).map(|(b, _)| b));
        let claimed = claim(&table, "room", &want("b", 2), 11).unwrap();
        match (extending.join().unwrap(), claimed) {
            (Some(kept), Claim::Held(held)) => assert_eq!((&kept, &held), (&old, &old)),
            (found, Claim::Won(new)) => assert_eq!(found, Some(new), "what is found is what was claimed"),
            other => panic!("{other:?}"),
        }
        in_step(&table, 12, &["a", "b"]);
    });
}

#[test]
fn a_full_table_takes_exactly_what_it_has_room_for() {
    explore("two claims of the last place", || {
        let table = Arc::new(Table::new(2, 1, false));
        let other = table.clone();
        let second = thread::spawn(move || claim(&other, "x", &want("a", 1), 1).is_ok());
        let first = claim(&table, "y", &want("a", 2), 1).is_ok();
        assert!(first ^ second.join().unwrap());
        in_step(&table, 2, &["a"]);
        assert_eq!(table.len(), 1);
    });
}

#[test]
fn room_made_by_another_is_room() {
    explore("two sweeps of the one expired entry", || {
        let table = Arc::new(Table::new(2, 1, false));
        won(claim(&table, "x", &want("a", 1), 1)).unwrap();
        let sweeper = table.clone();
        let sweeping = thread::spawn(move || sweeper.sweep(20, &NoJournal));
        assert!(
            claim(&table, "y", &want("a", 2), 20).is_ok(),
            "an expired entry makes room before anything is refused"
        );
        sweeping.join().unwrap();
        in_step(&table, 21, &["a"]);
    });
}

#[test]
fn a_place_given_back_is_found_wherever_it_is() {
    explore("release against claims of other shards", || {
        let table = Arc::new(Table::new(2, 1, false));
        let old = won(claim(&table, "x", &want("a", 1), 1)).unwrap();
        let other = table.clone();
        let releasing = thread::spawn(move || other.release(&key("x"), &old, 2, &NoJournal).0);
        let beside = claim(&table, "y", &want("a", 2), 2).is_ok();
        assert!(releasing.join().unwrap());
        assert!(beside ^ claim(&table, "z", &want("a", 3), 2).is_ok(), "one place for one room");
        in_step(&table, 2, &["a"]);
    });
}

#[test]
fn two_that_make_room_drop_one_entry_each() {
    explore("two claims of a full cache", || {
        let table = Arc::new(Table::new(2, 2, true));
        for (name, now) in [("x", 1), ("y", 2)] {
            won(claim(&table, name, &want("a", now), now)).unwrap();
        }
        let other = table.clone();
        let second = thread::spawn(move || won(claim(&other, "u", &want("a", 3), 3)).is_some());
        let first = won(claim(&table, "v", &want("a", 4), 4)).is_some();
        assert!(first && second.join().unwrap());
        assert_eq!((table.len(), table.evicted()), (2, 2));
        assert!(stored(&table, "u", 5).is_some() && stored(&table, "v", 5).is_some());
        in_step(&table, 5, &["a"]);
    });
}
