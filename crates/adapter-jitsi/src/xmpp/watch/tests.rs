use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{BreweryEvent, Patience, Watch};
use crate::xmpp::{LeaveReason, OccupantJid, Signal, XmppError};

fn jid(nick: &str) -> OccupantJid {
    OccupantJid::parse(&format!("brewery@internal.meet/{nick}")).unwrap()
}

fn seen(nick: &str) -> Signal {
    Signal::Seen { occupant: jid(nick), stats: true, stanza: bytes::Bytes::from_static(b"<presence/>") }
}

fn left(nick: &str, reason: LeaveReason) -> Signal {
    Signal::Left { occupant: jid(nick), reason }
}

fn joined() -> Signal {
    Signal::Joined { me: jid("me"), created: false }
}

fn lost() -> XmppError {
    XmppError::Lost { why: "reset".to_owned() }
}

struct Stage {
    watch: Watch,
    now: Instant,
}

impl Stage {
    /// In a room with these bridges.
    fn with(nicks: &[&str]) -> Self {
        let mut stage = Self { watch: Watch::new(Patience::default()), now: Instant::now() };
        stage.tell(&nicks.iter().map(|nick| seen(nick)).collect::<Vec<_>>());
        stage.tell(&[joined()]);
        stage.events();
        stage
    }

    fn tell(&mut self, signals: &[Signal]) {
        for signal in signals {
            self.watch.heard(self.now);
            self.watch.signal(signal.clone(), self.now);
        }
    }

    /// Lets time pass, with a call whenever one is due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.watch.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.watch.tick(self.now);
        }
        self.now = end;
    }

    fn lose(&mut self) {
        self.watch.lost(&lost(), Duration::ZERO, self.now);
    }

    /// What was told, in short.
    fn events(&mut self) -> Vec<String> {
        let nicks = |some: &[OccupantJid]| some.iter().map(OccupantJid::nick).collect::<Vec<_>>().join(" ");
        std::iter::from_fn(|| self.watch.poll())
            .map(|event| match event {
                BreweryEvent::BridgeSeen { occupant, replayed, .. } => {
                    format!("{}{}", if replayed { "again " } else { "seen " }, occupant.nick())
                }
                BreweryEvent::BridgeLeft { occupant, reason } => format!("{} {reason}", occupant.nick()),
                BreweryEvent::BridgeSilent { occupant, quiet } => format!("{} silent {quiet:?}", occupant.nick()),
                BreweryEvent::Disconnected { .. } => "disconnected".to_owned(),
                BreweryEvent::Resynced { away, present, added, missing } => {
                    let (present, added, missing) = (nicks(&present), nicks(&added), nicks(&missing));
                    format!("resynced {away:?} [{present}] +[{added}] -[{missing}]")
                }
                BreweryEvent::Refused { why, .. } => format!("refused {why}"),
                BreweryEvent::Cut { occupant, bytes } => {
                    format!("cut {:?} {bytes}", occupant.as_ref().map(OccupantJid::nick))
                }
            })
            .collect()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn our_own_loss_keeps_everybody_and_the_difference_is_told_after() {
    let mut stage = Stage::with(&["a", "b"]);
    stage.lose();
    stage.pass(3600 * SECOND);
    stage.lose();
    assert_eq!(stage.events(), ["disconnected", "refused connection lost: reset"]);
    stage.tell(&[seen("b"), seen("c"), joined()]);
    assert_eq!(stage.events(), ["again b", "again c", "resynced Some(3600s) [b c] +[c] -[a]"]);
    stage.pass(29 * SECOND);
    assert!(stage.events().is_empty());
    stage.pass(SECOND);
    assert_eq!(stage.events(), ["a not back in time"]);
    assert_eq!(stage.watch.bridges().count(), 2);
}

#[test]
fn a_server_that_restarts_has_killed_nobody() {
    let mut stage = Stage::with(&["a", "b", "c"]);
    stage.tell(&[left("a", LeaveReason::Left), left("b", LeaveReason::ServiceStops)]);
    stage.lose();
    stage.pass(5 * SECOND);
    stage.tell(&[joined()]);
    stage.pass(SECOND);
    stage.tell(&[seen("a"), seen("b"), seen("c")]);
    stage.pass(30 * SECOND);
    assert_eq!(stage.events(), ["disconnected", "resynced Some(5s) [] +[] -[a b c]", "seen a", "seen b", "seen c"]);
}

#[test]
fn a_grace_that_another_loss_interrupts_begins_anew() {
    let mut stage = Stage::with(&["a"]);
    stage.lose();
    stage.tell(&[joined()]);
    stage.pass(20 * SECOND);
    stage.lose();
    stage.pass(20 * SECOND);
    stage.tell(&[joined()]);
    stage.events();
    stage.pass(29 * SECOND);
    assert!(stage.events().is_empty());
    stage.pass(SECOND);
    assert_eq!(stage.events(), ["a not back in time"]);
}

#[test]
fn leaves_are_told_after_the_hold_and_kicks_at_once() {
    let mut stage = Stage::with(&["a", "b", "c"]);
    stage.tell(&[left("a", LeaveReason::Left), left("b", LeaveReason::Kicked), left("stranger", LeaveReason::Left)]);
    assert_eq!(stage.events(), ["b kicked"]);
    stage.pass(Duration::from_millis(100));
    stage.tell(&[left("c", LeaveReason::Left)]);
    stage.pass(Duration::from_millis(150));
    assert_eq!(stage.events(), ["a left"]);
    stage.tell(&[seen("c")]);
    assert_eq!(stage.events(), ["c left", "seen c"]);
    stage.pass(SECOND);
    assert!(stage.events().is_empty());
}

#[test]
fn silence_is_told_once_and_never_while_we_are_away() {
    let mut stage = Stage::with(&["a", "b"]);
    stage.pass(44 * SECOND);
    stage.tell(&[seen("b"), Signal::Seen { occupant: jid("a"), stats: false, stanza: bytes::Bytes::new() }]);
    stage.events();
    stage.pass(2 * SECOND);
    assert_eq!(stage.events(), ["a silent 45s"], "a presence without statistics is no sign of life");
    stage.pass(50 * SECOND);
    assert_eq!(stage.events(), ["b silent 45s"]);
    stage.tell(&[seen("a")]);
    stage.lose();
    stage.pass(100 * SECOND);
    stage.events();
    stage.tell(&[seen("a"), seen("b"), joined()]);
    stage.pass(44 * SECOND);
    assert_eq!(stage.events().len(), 3);
    stage.tell(&[Signal::Cut { occupant: Some(jid("a")), bytes: 9 }]);
    stage.pass(SECOND);
    assert_eq!(stage.events(), ["cut Some(\"a\") 9", "b silent 45s"]);
}

#[test]
fn a_silent_bridge_that_shows_up_cut_falls_silent_again() {
    let mut stage = Stage::with(&["a"]);
    stage.pass(45 * SECOND);
    stage.tell(&[Signal::Cut { occupant: Some(jid("a")), bytes: 9 }]);
    stage.pass(44 * SECOND);
    assert_eq!(stage.events(), ["a silent 45s", "cut Some(\"a\") 9"]);
    stage.pass(SECOND);
    assert_eq!(stage.events(), ["a silent 45s"]);
}

#[test]
fn patience_may_be_endless() {
    let mut patience = Patience::default();
    (patience.silence, patience.grace, patience.hold) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let mut stage = Stage { watch: Watch::new(patience), now: Instant::now() };
    stage.tell(&[seen("a"), seen("b"), joined(), left("a", LeaveReason::Left)]);
    stage.lose();
    stage.tell(&[seen("b"), joined(), left("b", LeaveReason::ServiceStops)]);
    stage.events();
    stage.pass(3600 * SECOND);
    assert!(stage.events().is_empty() && stage.watch.bridges().count() == 2);
}

#[test]
fn what_only_somebody_can_mend_is_a_refusal_even_in_the_room() {
    let mut stage = Stage::with(&["a"]);
    let why = XmppError::Removed { room: "r".to_owned(), reason: LeaveReason::Banned };
    stage.watch.lost(&why, SECOND, stage.now);
    assert_eq!(stage.events(), ["disconnected", "refused removed from r: banned"]);
}

proptest! {
    /// Whatever happens in whatever order: who is known is who was seen and has not been said to have left.
    #[test]
    fn events_add_up(steps in prop::collection::vec((0u8..7, 0u8..4, 0u64..60_000), 0..80)) {
        let mut stage = Stage::with(&[]);
        let mut known = std::collections::BTreeSet::new();
        for (step, who, time) in steps {
            let nick = ["a", "b", "c", "d"][usize::from(who)];
            match step {
                0 | 1 => stage.tell(&[seen(nick)]),
                2 => stage.tell(&[left(nick, LeaveReason::Left)]),
                3 => stage.tell(&[left(nick, LeaveReason::ServiceStops)]),
                4 => stage.lose(),
                5 => stage.tell(&[joined()]),
                _ => stage.pass(Duration::from_millis(time)),
            }
            while let Some(event) = stage.watch.poll() {
                match event {
                    BreweryEvent::BridgeSeen { occupant, .. } => drop(known.insert(occupant)),
                    BreweryEvent::BridgeLeft { occupant, .. } => prop_assert!(known.remove(&occupant)),
                    BreweryEvent::BridgeSilent { occupant, .. } => prop_assert!(known.contains(&occupant)),
                    BreweryEvent::Resynced { present, missing, .. } => {
                        prop_assert_eq!(present.len() + missing.len(), known.len());
                    }
                    _ => {}
                }
            }
            prop_assert!(stage.watch.bridges().eq(&known));
        }
    }
}
