//! Several `serve` processes that divide the polls: one is killed, one is stopped and wakes up again.

use std::time::{Duration, Instant};

use adapter_bbb::testing::{FakeBbb, FakeOptions, MeetingSpec};
use tokio::task::block_in_place;

use crate::processes::{Balancer, redis, redis_text, until};
use crate::soak::fakes::signal;

/// The longest silence of a process that others wait for is an interval, 15 s at most: whoever stands still for some
/// seconds on a busy machine is not taken for dead.
const LONG: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_secs(5);

fn shares(all: &[Balancer]) -> Vec<u64> {
    all.iter().map(|b| b.status()["polls"].as_u64().unwrap()).collect()
}

/// This many processes, and servers that are all online and have one poller each.
async fn stage(
    redis: u16,
    processes: usize,
    servers: usize,
    interval: Duration,
) -> (Vec<Balancer>, Vec<FakeBbb>, Vec<String>) {
    let mut fakes = Vec::new();
    for n in 0..servers {
        fakes.push(FakeBbb::start(FakeOptions::new(format!("s{n}"))).await.unwrap());
    }
    let (all, ids) = block_in_place(|| {
        let all: Vec<Balancer> =
            (0..processes).map(|_| Balancer::start(redis, &interval.as_secs().to_string())).collect();
        let ids = fakes.iter().map(|f| all[0].add(&f.base(), f.secret())).collect();
        until("the polls are divided", || {
            let known = all.iter().all(|b| b.status()["processes"] == processes);
            (known && shares(&all).iter().sum::<u64>() == servers as u64).then_some(())
        });
        (all, ids)
    });
    (all, fakes, ids)
}

fn counts(fakes: &[FakeBbb]) -> Vec<u64> {
    fakes.iter().map(|f| f.count("getMeetings")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_share_of_a_killed_process_is_taken_over_within_two_intervals() {
    let Some((redis, _guard)) = redis() else { return };
    let (mut all, fakes, _) = stage(redis, 3, 9, LONG).await;
    block_in_place(|| {
        signal(all[0].pid(), "KILL");
        let (killed, before) = (Instant::now(), counts(&fakes));
        drop(all.remove(0));
        let took = until("the two have all", || (shares(&all).iter().sum::<u64>() == 9).then(|| killed.elapsed()));
        let polled = until("all are polled", || {
            counts(&fakes).iter().zip(&before).all(|(now, before)| now > before).then(|| killed.elapsed())
        });
        println!(
            "9 servers, interval {LONG:?}: a killed process's share is taken over after {took:?}, all polled after {polled:?}"
        );
        assert!(took < LONG * 2, "{took:?}");
        // A poll that was just made when the process died is due an interval later.
        assert!(polled < LONG * 3, "{polled:?}");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_stopped_writes_nothing_of_what_it_held() {
    let Some((redis, _guard)) = redis() else { return };
    let (all, fakes, ids) = stage(redis, 2, 2, SHORT).await;
    // Who polls the first server: the one that asks for it next is stopped with the answer on its way.
    fakes[0].put_meeting(MeetingSpec::new("m").people(20, 0, 0));
    let users = || redis_text(redis, &format!("HGET scalelite:server:{} users", ids[0]));
    let holder = || redis_text(redis, &format!("HGET scalelite:balancer:poll:{} holder", ids[0]));
    let mut held = fakes[0].hold_answer("getMeetings");
    held.arrived().await.unwrap();
    let stopped = block_in_place(|| {
        let first = holder();
        let mine = |b: &&Balancer| first.contains(b.status()["process"].as_str().unwrap());
        let pid = all.iter().find(mine).expect("a process holds the lease").pid();
        signal(pid, "STOP");
        let other = all.iter().find(|b| b.pid() != pid).unwrap();
        until("the other one takes over", || (other.status()["polls"] == 2 && holder() != first).then_some(()));
        pid
    });
    assert!(fakes[0].set_people("m", 50, 0, 0));
    block_in_place(|| until("the other one stores what it finds", || users().contains("50").then_some(())));
    // The old answer arrives, and its process wakes up.
    held.release();
    block_in_place(|| {
        signal(stopped, "CONT");
        let end = Instant::now() + SHORT * 3;
        while Instant::now() < end {
            assert!(users().contains("50"), "{}", users());
            let online = redis_text(redis, &format!("HGET scalelite:server:{} online", ids[0]));
            assert!(online.contains("true"), "a server is called offline by a process that slept");
        }
        until("the polls are divided again", || (shares(&all).iter().sum::<u64>() == 2).then_some(()));
    });
}
