//! Whose fault a silence is.

use super::*;

fn own(events: &[Event]) -> Vec<(bool, usize)> {
    let pick = |e: &Event| match e {
        Event::OwnNetwork { suspected, silent } => Some((*suspected, *silent)),
        _ => None,
    };
    events.iter().filter_map(pick).collect()
}

async fn all_at_once(mode: Mode) {
    let mut f = Field::new(&names(20), options().jitter(0.1));
    f.start();
    sleep(secs(25)).await;
    assert_eq!(f.count(Health::Up), 20);
    f.said();
    f.fakes.set_all(Some(mode));
    sleep(secs(15)).await;
    assert_eq!(f.said(), [Event::OwnNetwork { suspected: true, silent: 20 }]);
    sleep(secs(300)).await;
    assert!(f.said().is_empty(), "told once, no verdict moved");
    assert_eq!(f.count(Health::Up), 20);
    let now = Instant::now();
    assert!(f.pool.view(now).iter().all(|v| v.age.unwrap() > secs(300) && v.stale), "figures age meanwhile");

    f.fakes.set_all(None);
    sleep(secs(25)).await;
    let said = f.said();
    assert_eq!(own(&said).iter().map(|o| o.0).collect::<Vec<_>>(), [false]);
    assert!(!said.iter().any(|e| matches!(e, Event::Health { .. })), "{said:?}");
    assert_eq!(f.count(Health::Up), 20);

    // Normal life: one that is silent among others goes down.
    f.fakes.set("s3", mode);
    sleep(secs(45)).await;
    assert_eq!((f.health("s3"), f.count(Health::Up)), (Health::Down, 19));
}

#[tokio::test(start_paused = true)]
async fn all_hanging_at_once_is_held_and_said() {
    all_at_once(Mode::Hang).await;
}

#[tokio::test(start_paused = true)]
async fn no_name_resolves_and_nobody_is_down() {
    all_at_once(Mode::NoName).await;
}

#[tokio::test(start_paused = true)]
async fn all_unreachable_at_once_is_held_and_said() {
    all_at_once(Mode::Unreachable).await;
}

#[tokio::test(start_paused = true)]
async fn probes_caught_in_the_outage_do_not_count_after_it() {
    let mut f = Field::new(&names(20), options().timeout(secs(5)).jitter(0.5));
    f.start();
    sleep(secs(60)).await;
    f.fakes.set_all(Some(Mode::Hang));
    sleep(secs(60)).await;
    f.said();
    f.fakes.set_all(None);
    sleep(secs(60)).await;
    let said = f.said();
    assert!(matches!(said[..], [Event::OwnNetwork { suspected: false, .. }]), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn all_refused_at_once_counts() {
    let mut f = Field::new(&names(20), options());
    f.start();
    sleep(secs(5)).await;
    f.fakes.set_all(Some(Mode::Refused));
    sleep(secs(30)).await;
    assert_eq!(f.count(Health::Down), 20);
    assert!(own(&f.said()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_refusal_proves_the_network_for_the_silent_ones() {
    let mut f = Field::new(&names(3), options());
    f.start();
    sleep(secs(5)).await;
    f.fakes.set("s0", Mode::Hang);
    f.fakes.set("s1", Mode::NoName);
    f.fakes.set("s2", Mode::Refused);
    sleep(secs(50)).await;
    assert_eq!(f.count(Health::Down), 3);
    assert!(own(&f.said()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_silent_one_of_two_goes_down_as_fast_as_the_rules_say() {
    let rules = HealthRules::new(2, 3, secs(10)).with_fastinter(secs(2));
    let mut f = Field::new(&names(2), MonitorOptions::new(rules).timeout(secs(1)).jitter(0.0));
    f.start();
    sleep(secs(5)).await;
    f.fakes.set("s0", Mode::Hang);
    // Silent at 11; the other one, next due at 20, is asked as a witness then.
    sleep(ms(6_100)).await;
    assert_eq!(f.health("s0"), Health::Suspect);
    assert!(f.fakes.times("s1").contains(&(f.fakes.times("s0")[0] + secs(11))));
    sleep(secs(4)).await;
    assert_eq!((f.health("s0"), f.health("s1")), (Health::Down, Health::Up));
    // A fallen one needs no witness any more.
    f.fakes.clear();
    sleep(secs(100)).await;
    assert!(f.fakes.times("s1").len() <= 11, "{}", f.fakes.times("s1").len());
}

#[tokio::test(start_paused = true)]
async fn a_single_target_has_nothing_to_compare_with() {
    let mut f = Field::new(&names(1), options());
    f.start();
    sleep(secs(5)).await;
    f.fakes.set("s0", Mode::Hang);
    sleep(secs(30)).await;
    assert_eq!(f.health("s0"), Health::Down);
    assert!(own(&f.said()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn new_targets_that_are_all_silent_are_down() {
    let mut f = Field::new(&names(5), options());
    f.fakes.set_all(Some(Mode::NoName));
    f.start();
    sleep(secs(1)).await;
    assert_eq!(f.count(Health::Down), 5);
    assert!(own(&f.said()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn removing_the_others_ends_the_suspicion() {
    let mut f = Field::new(&names(2), options());
    f.start();
    sleep(secs(5)).await;
    f.fakes.set_all(Some(Mode::Hang));
    sleep(secs(60)).await;
    assert_eq!(f.count(Health::Up), 2);
    f.members(&names(1));
    sleep(secs(60)).await;
    assert_eq!(own(&f.said()).iter().map(|o| o.0).collect::<Vec<_>>(), [true, false]);
    assert_eq!(f.health("s0"), Health::Down);
}

#[tokio::test(start_paused = true)]
async fn detection_among_many_takes_less_than_two_intervals() {
    let all = names(200);
    let mut f = Field::new(&all, options().jitter(0.1));
    f.start();
    sleep(secs(100)).await;
    for n in all.iter().step_by(20) {
        f.fakes.set(n, Mode::Hang);
    }
    sleep(secs(20)).await;
    for n in all.iter().step_by(20) {
        assert_ne!(f.health(n), Health::Up, "{n}");
    }
    assert_eq!(f.count(Health::Up), 190);
}
