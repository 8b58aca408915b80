//! Polls on request, and the watch.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_poll_is_complete_when_it_returns() {
    let f = Field::new(&names(300), options().concurrency(16));
    f.fakes.set("s7", Mode::Hang);
    f.fakes.set("s8", Mode::Refused);
    let before = Instant::now();
    let outcomes = f.monitor.poll_now().await;
    assert_eq!(outcomes.len(), 300);
    assert!(outcomes.iter().zip(names(300)).all(|(o, n)| o.id().as_str() == n), "in order");
    for o in &outcomes {
        assert_eq!(o.effect, ProbeEffect::Applied, "{o:?}");
        assert_eq!(o.health, f.health(o.id().as_str()));
        assert!(o.began >= before && o.took <= secs(1));
    }
    assert_eq!((f.count(Health::Up), f.count(Health::Down)), (298, 2));
    assert_eq!((outcomes[7].ok(), outcomes[7].took), (false, secs(1)));
    assert_eq!(outcomes[7].text(), "no answer: the probe took longer than 1s");
    assert_eq!(outcomes[8].text(), "refused: connection refused");
    assert_eq!(outcomes[9].text(), "ok");
    let view = f.pool.view(Instant::now());
    assert_eq!(view[9].report.as_ref(), outcomes[9].report());
    // Measured from before the probe, although the probe wrote a later moment.
    assert_eq!(outcomes[9].report().map(|r| r.began), Some(outcomes[9].began));
}

#[tokio::test(start_paused = true)]
async fn a_poll_applies_a_silence_when_another_answered_in_the_round() {
    let f = Field::new(&names(2), options());
    f.monitor.poll_now().await;
    f.fakes.set("s0", Mode::Hang);
    let outcomes = f.monitor.poll_now().await;
    assert_eq!((outcomes[0].effect, outcomes[0].before), (ProbeEffect::Applied, Health::Up));
    assert_eq!(outcomes[0].health, Health::Suspect);
    assert_eq!(f.health("s0"), Health::Suspect);
}

#[tokio::test(start_paused = true)]
async fn a_poll_in_which_all_are_silent_changes_nothing() {
    let mut f = Field::new(&names(3), options());
    f.monitor.poll_now().await;
    f.said();
    f.fakes.set_all(Some(Mode::Hang));
    for _ in 0..5 {
        let outcomes = f.monitor.poll_now().await;
        assert!(outcomes.iter().all(|o| o.effect == ProbeEffect::Held && o.health == Health::Up));
    }
    assert_eq!(f.said(), [Event::OwnNetwork { suspected: true, silent: 3 }]);
}

#[tokio::test(start_paused = true)]
async fn a_poll_works_beside_a_running_monitor() {
    let mut f = Field::new(&names(50), options());
    f.start();
    sleep(secs(5)).await;
    f.fakes.set("s1", Mode::Refused);
    f.fakes.set("s2", Mode::Hang);
    for _ in 0..3 {
        assert_eq!(f.monitor.poll_now().await.len(), 50);
    }
    assert_eq!((f.health("s1"), f.health("s2")), (Health::Down, Health::Down));
    f.fakes.clear();
    sleep(secs(20)).await;
    assert_eq!(f.fakes.times("s5").len(), 2, "the schedule goes on");
    f.stop().await;
    assert_eq!(f.monitor.poll_now().await.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn an_older_probe_does_not_undo_a_newer_one() {
    let mut f = Field::new(&names(2), options().timeout(secs(8)));
    f.fakes.set("s0", Mode::Hang);
    f.start();
    sleep(secs(2)).await;
    f.fakes.set("s0", OK);
    assert!(f.monitor.poll_now().await[0].ok());
    f.said();
    sleep(secs(7)).await;
    assert_eq!(f.health("s0"), Health::Up);
    assert!(f.said().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_empty_pool_is_polled_at_once() {
    assert!(Field::new(&[], options()).monitor.poll_now().await.is_empty());
}

#[derive(Default)]
struct Diary {
    seen: Mutex<Vec<(BackendId, bool, ProbeEffect, Health)>>,
    slow: AtomicUsize,
}

#[async_trait]
impl ProbeWatch<Server> for Diary {
    async fn seen(&self, outcome: &ProbeOutcome<Server>) {
        let row = (outcome.id().clone(), outcome.ok(), outcome.effect, outcome.health);
        self.seen.lock().unwrap().push(row);
        match outcome.id().as_str() {
            "s0" => {
                self.slow.fetch_add(1, SeqCst);
                sleep(secs(25)).await;
                self.slow.fetch_sub(1, SeqCst);
            }
            "s1" => panic!("a watch that breaks off"),
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_watch_delays_its_own_target_alone_and_a_broken_one_nobody() {
    let diary = Arc::new(Diary::default());
    let mut f = Field::new(&names(3), options().watch(diary.clone()));
    f.start();
    sleep(secs(95)).await;
    assert_eq!(f.fakes.times("s0").len(), 4);
    assert_eq!(f.fakes.gaps("s1"), vec![secs(10); 9]);
    assert_eq!(f.fakes.gaps("s2"), vec![secs(10); 9]);
    f.stop().await;
    diary.seen.lock().unwrap().clear();
    f.fakes.set("s2", Mode::Hang);
    f.monitor.poll_now().await;
    let mut seen = diary.seen.lock().unwrap().clone();
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    let row = |id: &str, ok, health| (BackendId::from(id), ok, ProbeEffect::Applied, health);
    let wanted = [row("s0", true, Health::Up), row("s1", true, Health::Up), row("s2", false, Health::Suspect)];
    assert_eq!(seen, wanted);
}
