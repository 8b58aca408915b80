//! Every interleaving of leases that end in different ways.

use loom::thread;

use super::*;
use crate::backend::BackendId;
use crate::board::{Board, Expect, MISSING, NO_NEW, NOTHING, split_rank};
use crate::seat::Seat;
use crate::sync::explore;

struct Server(BackendId);

impl Backend for Server {
    fn id(&self) -> &BackendId {
        &self.0
    }
}

#[test]
fn each_lease_gives_its_unit_back_once() {
    explore("leases that land, cancel and are dropped", || {
        let (board, now) = (Arc::new(Board::new(false)), Instant::now());
        let seat = Seat::new(&board, now, true).unwrap();
        let slot = seat.slot;
        board.set_block(slot, 0);
        let member = Arc::new(Member::new(Arc::new(Server("a".into())), seat));
        let lease = |charge| {
            board.take(slot, NO_NEW | NOTHING, charge, Expect::Any).unwrap();
            Lease::new(member.clone(), charge)
        };
        let (landed, cancelled, dropped) = (lease(1), lease(2), lease(4));
        let landing = thread::spawn(move || landed.land_at(now));
        let cancelling = thread::spawn(move || cancelled.cancel());
        drop(dropped);
        board.block(slot, NO_NEW);
        landing.join().unwrap();
        cancelling.join().unwrap();
        assert_eq!(board.in_flight(slot), 0);
        assert_eq!(split_rank(board.rank(slot)), (MISSING, 1), "what landed stays counted");
        drop(member);
        assert_eq!(board.alloc(now, true), Some(slot), "the slot is free again");
    });
}
