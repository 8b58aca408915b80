//! When whom is probed, and what rise and fall make of it.

use super::*;

#[tokio::test(start_paused = true)]
async fn rise_and_fall_follow_their_timeline_at_their_intervals() {
    let rules = HealthRules::new(2, 3, secs(10)).with_fastinter(secs(1)).with_downinter(secs(30));
    let mut f = Field::new(&names(1), MonitorOptions::new(rules).jitter(0.0));
    f.start();
    sleep(secs(15)).await; // probes at 0 and 10
    assert_eq!(f.health("s0"), Health::Up);
    f.fakes.set("s0", Mode::Refused);
    sleep(ms(5_500)).await; // 20
    assert_eq!(f.health("s0"), Health::Suspect);
    sleep(secs(1)).await; // 21
    assert_eq!(f.health("s0"), Health::Suspect);
    sleep(secs(1)).await; // 22
    assert_eq!(f.health("s0"), Health::Down);
    f.fakes.set("s0", OK);
    sleep(secs(30)).await; // 52
    assert_eq!(f.health("s0"), Health::Down);
    sleep(secs(1)).await; // 53
    assert_eq!(f.health("s0"), Health::Up);
    sleep(secs(15)).await; // 63
    assert_eq!(f.fakes.gaps("s0"), [10, 10, 1, 1, 30, 1, 10].map(secs));
    let whys: Vec<String> = f.said().iter().map(ToString::to_string).collect();
    assert_eq!(whys[1], "s0 went from up to suspect: refused: connection refused");
    assert_eq!(whys.last().map(String::as_str), Some("s0 went from down to up: probe passed"));
}

#[tokio::test(start_paused = true)]
async fn jitter_stays_within_its_bounds_and_spreads() {
    let mut f = Field::new(&names(5), options().jitter(0.1));
    f.start();
    sleep(secs(1_000)).await;
    let mut gaps: Vec<Duration> = names(5).iter().flat_map(|n| f.fakes.gaps(n)).collect();
    gaps.sort();
    assert!(gaps.len() > 450, "{}", gaps.len());
    // The timer counts whole milliseconds.
    assert!(gaps[0] >= ms(9_000) && *gaps.last().unwrap() <= ms(11_001), "{:?} {:?}", gaps[0], gaps.last());
    assert!(gaps[0] < ms(9_200) && *gaps.last().unwrap() > ms(10_800));
}

#[tokio::test(start_paused = true)]
async fn five_hundred_targets_of_which_a_tenth_hangs_stay_within_the_interval() {
    let all = names(500);
    let mut f = Field::new(&all, options().timeout(secs(4)).jitter(0.1));
    for n in all.iter().step_by(10) {
        f.fakes.set(n, Mode::Hang);
    }
    let begin = Instant::now();
    f.start();
    let mut oldest = Duration::ZERO;
    for second in 1..=200 {
        sleep(secs(1)).await;
        if second < 20 {
            continue;
        }
        for v in f.pool.view(Instant::now()).iter().filter(|v| v.health == Health::Up) {
            oldest = oldest.max(v.age.unwrap_or(Duration::MAX));
        }
    }
    assert_eq!((f.count(Health::Up), f.count(Health::Down)), (450, 50));
    assert!(oldest <= secs(20), "{oldest:?}");
    for n in &all {
        let times = f.fakes.times(n);
        assert!(times[0] - begin < secs(10), "first round: {n} after {:?}", times[0] - begin);
        let longest = f.fakes.gaps(n).into_iter().max().unwrap();
        assert!(longest <= secs(20), "{n}: {longest:?}");
    }
    assert!(!f.said().iter().any(|e| matches!(e, Event::OwnNetwork { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_healthy_ones_are_probed_in_time_even_when_most_hang() {
    let all = names(500);
    let mut f = Field::new(&all, options().timeout(secs(5)));
    f.start();
    sleep(secs(15)).await;
    for n in &all[..300] {
        f.fakes.set(n, Mode::Hang);
    }
    // Once every hanging one is known to hang.
    sleep(secs(60)).await;
    f.fakes.clear();
    sleep(secs(200)).await;
    for n in &all[300..] {
        assert!(f.fakes.times(n).len() >= 19, "{n}: {:?}", f.fakes.gaps(n));
    }
    assert_eq!((f.count(Health::Up), f.count(Health::Down)), (200, 300));
}

#[tokio::test(start_paused = true)]
async fn a_slow_target_delays_nobody() {
    let mut f = Field::new(&names(2), options().timeout(secs(9)));
    f.fakes.set("s0", Mode::Pass(secs(8)));
    f.start();
    sleep(secs(95)).await;
    assert_eq!(f.fakes.gaps("s1"), vec![secs(10); 9]);
    assert_eq!(f.fakes.gaps("s0"), vec![secs(10); 9]);
}

#[tokio::test(start_paused = true)]
async fn members_are_followed_while_it_runs() {
    let mut f = Field::new(&names(2), options());
    f.start();
    sleep(ms(3_333)).await;
    let joined = Instant::now();
    f.members(&names(3));
    sleep(ms(500)).await;
    assert_eq!(f.fakes.times("s2"), [joined]);
    assert_eq!(f.health("s2"), Health::Up);

    f.fakes.clear();
    f.members(&names(1));
    sleep(secs(60)).await;
    assert_eq!(f.fakes.times("s0").len(), 6);
    assert!(f.fakes.times("s1").is_empty() && f.fakes.times("s2").is_empty());

    // Another definition of the same server is probed at once, and once only.
    f.fakes.clear();
    let changed = Instant::now();
    f.pool.replace([Server::at("s0", "elsewhere")]).unwrap();
    sleep(ms(500)).await;
    assert_eq!(f.fakes.times("s0"), [changed]);

    // Removed and added again in one go: a new server.
    f.fakes.clear();
    let again = f.pool.member("s0").unwrap().backend().clone();
    let now = Instant::now();
    f.pool.replace([]).unwrap();
    f.pool.replace([again]).unwrap();
    assert_eq!(f.health("s0"), Health::Unknown);
    sleep(ms(500)).await;
    assert_eq!(f.fakes.times("s0"), [now]);
    assert_eq!(f.health("s0"), Health::Up);
}

/// Which definitions were probed.
#[derive(Default)]
struct Addresses(Mutex<Vec<String>>);

#[async_trait]
impl ProbeWatch<Server> for Addresses {
    async fn seen(&self, outcome: &ProbeOutcome<Server>) {
        self.0.lock().unwrap().push(outcome.backend.address.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn servers_redefined_more_often_than_a_probe_lasts_are_judged_all_the_same() {
    let mut f = Field::new(&names(2), options());
    f.fakes.set("s0", Mode::Pass(ms(200)));
    f.start();
    for _ in 0..400 {
        sleep(ms(50)).await;
        f.pool.replace([Server::new("s0"), Server::new("s1")]).unwrap();
    }
    assert_eq!((f.health("s0"), f.health("s1")), (Health::Up, Health::Up));
    assert!(f.pool.view(Instant::now()).iter().all(|v| v.age < Some(secs(2))));
    // No more than sixteen times as often as the interval says.
    assert!(f.fakes.times("s1").len() <= 33, "{}", f.fakes.times("s1").len());
    f.fakes.set("s0", Mode::Hang);
    for _ in 0..400 {
        sleep(ms(50)).await;
        f.pool.replace([Server::new("s0"), Server::new("s1")]).unwrap();
    }
    assert_eq!((f.health("s0"), f.health("s1")), (Health::Down, Health::Up));
}

#[tokio::test(start_paused = true)]
async fn a_probe_under_way_ends_before_the_new_definition_is_probed() {
    let watch = Arc::new(Addresses::default());
    let mut f = Field::new(&[], options().watch(watch.clone()));
    f.fakes.set("s0", Mode::Pass(ms(800)));
    f.pool.replace([Server::at("s0", "old")]).unwrap();
    f.start();
    sleep(ms(100)).await;
    f.pool.replace([Server::at("s0", "newer")]).unwrap();
    f.pool.replace([Server::at("s0", "newest")]).unwrap();
    sleep(ms(750)).await;
    assert_eq!(f.health("s0"), Health::Up);
    sleep(secs(8)).await;
    assert_eq!(*watch.0.lock().unwrap(), ["old", "newest"]);
    assert_eq!(f.fakes.gaps("s0"), [ms(800)]);
}

#[tokio::test(start_paused = true)]
async fn figures_are_too_old_after_three_intervals_unless_the_pool_was_told_otherwise() {
    let ages = |options: PoolOptions<Server>, inter: u64| {
        let pool = Pool::new(by_name("least-loaded").unwrap(), options.load(ByRooms));
        let pool: Arc<Pool<Server>> = Arc::new(pool);
        pool.replace([Server::new("s0")]).unwrap();
        let rules = HealthRules::new(1, 1, secs(inter));
        let _monitor = Monitor::new(pool.clone(), Arc::new(Fakes::default()), MonitorOptions::new(rules));
        let now = Instant::now();
        pool.report(&"s0".into(), Report::new(now).with_rooms(1)).unwrap();
        let stale = move |age: u64| {
            pool.tick(now + secs(age));
            pool.view(now)[0].stale
        };
        move |fresh, old| (stale(fresh), stale(old))
    };
    assert_eq!(ages(PoolOptions::default(), 10)(30, 31), (false, true));
    assert_eq!(ages(PoolOptions::default(), 2)(6, 7), (false, true));
    assert_eq!(ages(PoolOptions::default(), 100)(299, 301), (false, true));
    assert_eq!(ages(PoolOptions::default().stale_after(secs(50)), 10)(50, 51), (false, true));
}

#[tokio::test(start_paused = true)]
async fn shutdown_drops_what_is_in_flight() {
    let mut f = Field::new(&names(2), options().timeout(secs(60)));
    f.fakes.set_all(Some(Mode::Hang));
    f.start();
    sleep(secs(1)).await;
    let now = Instant::now();
    f.stop().await;
    assert_eq!(Instant::now(), now);
    let probed = f.fakes.log.lock().unwrap().len();
    sleep(secs(600)).await;
    assert_eq!(f.fakes.log.lock().unwrap().len(), probed);
    assert_eq!(f.count(Health::Unknown), 2);
}

#[tokio::test(start_paused = true)]
async fn an_interval_of_nothing_is_no_busy_loop() {
    let mut f = Field::new(&names(1), MonitorOptions::new(HealthRules::new(1, 1, Duration::ZERO)));
    f.fakes.set("s0", Mode::Refused);
    f.start();
    sleep(secs(1)).await;
    assert!((50..=120).contains(&f.fakes.times("s0").len()), "{}", f.fakes.times("s0").len());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_is_a_failure_and_the_schedule_goes_on() {
    let mut f = Field::new(&names(2), options());
    f.start();
    sleep(secs(5)).await;
    f.fakes.set("s0", Mode::Panic);
    sleep(secs(30)).await;
    assert_eq!((f.health("s0"), f.health("s1")), (Health::Down, Health::Up));
    f.fakes.set("s0", OK);
    sleep(secs(20)).await;
    assert_eq!(f.health("s0"), Health::Up);
}

#[tokio::test(start_paused = true)]
async fn flapping_faster_than_the_fall_never_takes_a_server_down() {
    let mut f = Field::new(&names(2), MonitorOptions::new(HealthRules::default()).jitter(0.1).seed(3));
    f.start();
    for round in 0..100 {
        f.fakes.set("s0", if round % 2 == 0 { OK } else { Mode::Refused });
        sleep(secs(3)).await;
    }
    let said = f.said();
    assert!(said.iter().any(|e| matches!(e, Event::Health { to: Health::Suspect, .. })));
    assert!(!said.iter().any(|e| matches!(e, Event::Health { to: Health::Down, .. })));
    assert_eq!(f.health("s1"), Health::Up);
}
