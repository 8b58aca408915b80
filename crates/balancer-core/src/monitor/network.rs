//! Whose fault is a silence: the server's, or our own network's? Pure decisions, no clock, no lock.

use tokio::time::Instant;

/// One target as the rule sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its verdict is `Up` or `Suspect`.
    pub(super) working: bool,
    /// Its newest probe got no answer. `false` also when it was not probed yet.
    pub(super) silent: bool,
}

/// All targets at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scene {
    pub(super) targets: usize,
    pub(super) silent: usize,
    pub(super) working: usize,
}

impl Scene {
    pub(super) fn of(standings: impl Iterator<Item = Standing>) -> Self {
        standings.fold(Self::default(), |s, t| Self {
            targets: s.targets + 1,
            silent: s.silent + usize::from(t.silent),
            working: s.working + usize::from(t.working),
        })
    }

    /// Whether there is anything to protect and anything to compare with.
    pub(super) fn comparable(self) -> bool {
        self.targets >= 2 && self.working >= 1
    }

    /// Whether everybody is silent, and somebody was not before.
    pub(super) fn all_silent(self) -> bool {
        self.comparable() && self.silent == self.targets
    }
}

/// What the monitor believes of its own network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Belief {
    /// It is suspected now.
    pub(super) suspected: bool,
    /// When the last suspicion ended.
    pub(super) recovered: Option<Instant>,
}

/// What becomes of a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It is the server's: one failed observation.
    Apply,
    /// Not known yet.
    Hold,
    /// It is not held against the server.
    Discard,
    /// It completes the picture: our own network is at fault, for this silence and for every held one.
    Suspect,
}

/// Judges a silence whose probe began at `began`; `scene` counts it already. `down`: the target is down or dead.
pub(super) fn judge(began: Instant, down: bool, scene: Scene, belief: Belief) -> Ruling {
    if !scene.comparable() {
        return Ruling::Apply;
    }
    if belief.suspected || belief.recovered.is_some_and(|t| began < t) {
        return Ruling::Discard;
    }
    if scene.all_silent() {
        return Ruling::Suspect;
    }
    // One more failure of a fallen server changes nothing, so it needs no proof.
    if down { Ruling::Apply } else { Ruling::Hold }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn scene(list: &[(bool, bool)]) -> Scene {
        Scene::of(list.iter().map(|&(working, silent)| Standing { working, silent }))
    }

    fn calm() -> Belief {
        Belief::default()
    }

    #[test]
    fn one_silent_among_others_waits_for_proof() {
        let s = scene(&[(true, true), (true, false)]);
        assert_eq!(judge(Instant::now(), false, s, calm()), Ruling::Hold);
        assert_eq!(judge(Instant::now(), true, s, calm()), Ruling::Apply);
    }

    #[test]
    fn the_last_one_to_fall_silent_brings_the_suspicion() {
        let s = scene(&[(true, true), (false, true), (true, true)]);
        assert_eq!(judge(Instant::now(), false, s, calm()), Ruling::Suspect);
        assert_eq!(judge(Instant::now(), true, s, calm()), Ruling::Suspect);
    }

    #[test]
    fn a_target_not_probed_yet_may_still_answer() {
        assert!(!scene(&[(true, true), (false, false)]).all_silent());
    }

    #[test]
    fn a_single_target_and_a_pool_without_working_ones_have_no_such_excuse() {
        assert_eq!(judge(Instant::now(), false, scene(&[(true, true)]), calm()), Ruling::Apply);
        assert_eq!(judge(Instant::now(), false, scene(&[(false, true), (false, true)]), calm()), Ruling::Apply);
        assert_eq!(judge(Instant::now(), false, scene(&[]), calm()), Ruling::Apply);
    }

    #[test]
    fn nothing_counts_while_suspected_nor_what_began_before_the_end_of_it() {
        let now = Instant::now();
        let s = scene(&[(true, true), (true, true)]);
        assert_eq!(judge(now, false, s, Belief { suspected: true, recovered: None }), Ruling::Discard);
        let s = scene(&[(true, true), (true, false)]);
        let over = |t| Belief { suspected: false, recovered: Some(t) };
        assert_eq!(judge(now, false, s, over(now + Duration::from_millis(1))), Ruling::Discard);
        assert_eq!(judge(now, false, s, over(now)), Ruling::Hold);
    }
}
