//! Several monitors that divide the servers.

use std::collections::HashSet;

use super::*;

/// A monitor's share, changed by tests.
#[derive(Clone, Default)]
struct Mine(Arc<Mutex<HashSet<String>>>);

impl Mine {
    fn set(&self, names: &[&str]) {
        *self.0.lock().unwrap() = names.iter().map(|n| (*n).to_owned()).collect();
    }

    fn field(&self, servers: usize) -> Field {
        let mine = self.0.clone();
        let share = move |s: &Server| mine.lock().unwrap().contains(s.id.as_str());
        Field::new(&names(servers), options().tick(ms(100)).share(share))
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_over_is_probed_at_once_and_what_is_given_away_no_more() {
    let (one, two) = (Mine::default(), Mine::default());
    let (mut a, mut b) = (one.field(3), two.field(3));
    one.set(&["s0", "s1"]);
    two.set(&["s2"]);
    a.start();
    b.start();
    sleep(secs(35)).await; // 0, 10, 20, 30
    let counts = |f: &Field| names(3).iter().map(|n| f.fakes.times(n).len()).collect::<Vec<_>>();
    assert_eq!((counts(&a), counts(&b)), (vec![4, 4, 0], vec![0, 0, 4]));
    one.set(&["s0"]);
    two.set(&["s1", "s2"]);
    let taken = Instant::now();
    sleep(secs(21)).await;
    assert_eq!((counts(&a), counts(&b)), (vec![6, 4, 0], vec![0, 3, 6]));
    assert!(b.fakes.times("s1")[0] - taken <= ms(101));
    // Polled by order, servers of others are probed all the same.
    assert_eq!(a.monitor.poll_now().await.len(), 3);
    assert_eq!(counts(&a), [7, 5, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_answered_an_order_is_not_probed_again_when_it_becomes_ours() {
    let mine = Mine::default();
    let mut f = mine.field(2);
    f.start();
    sleep(secs(5)).await;
    f.monitor.poll_now().await;
    mine.set(&["s0", "s1"]);
    sleep(secs(9)).await;
    assert_eq!(f.fakes.times("s0").len(), 1);
    sleep(secs(2)).await;
    assert_eq!((f.fakes.times("s0").len(), f.fakes.times("s1").len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn servers_of_others_say_nothing_of_our_own_network() {
    let mine = Mine::default();
    let mut f = mine.field(4);
    mine.set(&["s0", "s1"]);
    // Others found them up once.
    for n in names(4) {
        f.pool.declare(&n.as_str().into(), Health::Up, "told").unwrap();
    }
    f.start();
    sleep(secs(15)).await;
    f.said();
    f.fakes.set_all(Some(Mode::Hang));
    sleep(secs(60)).await;
    assert_eq!(f.said(), [Event::OwnNetwork { suspected: true, silent: 2 }]);
    assert_eq!(f.count(Health::Up), 4);
}
