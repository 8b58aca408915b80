//! Twenty requests at once about one meeting, and what they acknowledge together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::Semaphore;

use super::Soak;
use super::http::{Answer, Lost};
use super::model::{Chance, State, name};

/// Requests at once about one meeting.
pub(super) const TOGETHER: usize = 20;

/// Hands out turns, and keeps the checks from falling behind.
#[derive(Debug)]
pub(super) struct Queue {
    next: AtomicUsize,
    pub(super) requests: AtomicUsize,
    pub(super) stop: AtomicBool,
    /// One permit for each hundred requests that may be sent before the next check is complete.
    pub(super) ahead: Arc<Semaphore>,
    pub(super) due: tokio::sync::mpsc::UnboundedSender<()>,
}

impl Queue {
    pub(super) fn new(due: tokio::sync::mpsc::UnboundedSender<()>) -> Self {
        Self {
            next: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            ahead: Arc::new(Semaphore::new(4)),
            due,
        }
    }
}

/// Takes turns until told to stop.
pub(super) async fn lane(soak: Arc<Soak>, queue: Arc<Queue>, mut chance: Chance, stride: usize) {
    while !queue.stop.load(Ordering::Relaxed) {
        // Every meeting in its turn; the stride has no divisor in common with their number.
        let n = queue.next.fetch_add(1, Ordering::Relaxed) * stride % soak.plan.meetings;
        {
            let mut all = soak.model.meetings();
            if all[n].busy {
                continue;
            }
            all[n].busy = true;
            all[n].turns += 1;
        }
        let state = turn(&soak, &mut chance, n).await;
        {
            let mut all = soak.model.meetings();
            all[n].state = state;
            all[n].last = Instant::now();
            all[n].busy = false;
        }
        let before = queue.requests.fetch_add(TOGETHER, Ordering::Relaxed);
        if (before + TOGETHER) / 100 > before / 100 {
            if let Ok(permit) = queue.ahead.acquire().await {
                permit.forget();
            }
            let _ = queue.due.send(());
        }
    }
}

/// One request, counted and written into the history.
pub(super) async fn ask(soak: &Soak, n: usize, call: &'static str, through: usize) -> Result<Answer, Lost> {
    let (id, url) = (name(n), soak.world.front_end.url());
    let mut pairs = vec![("meetingID", id.as_str())];
    match call {
        "create" => {
            pairs.extend([("moderatorPW", "mp"), ("attendeePW", "ap"), ("meta_analytics-callback-url", url.as_str())]);
        }
        "join" => pairs.push(("fullName", "Somebody")),
        "end" => pairs.push(("password", "mp")),
        _ => {}
    }
    let both = &soak.world.balancers;
    let through = if both[through].up.load(Ordering::Relaxed) { through } else { 1 - through };
    let b = &both[through];
    let answer = b.api(call, &pairs).await;
    let outcome = match &answer {
        Ok(a) if a.port().is_some() => format!("redirect to {}", a.port().unwrap_or(0)),
        Ok(a) if a.ok() => format!("SUCCESS {}", a.text("messageKey").unwrap_or("")),
        Ok(a) => format!("{} {}", a.status, a.text("messageKey").unwrap_or("no document")),
        Err(lost) => format!("{lost:?}"),
    };
    let kind = if outcome.starts_with("redirect") { "redirect" } else { outcome.trim() };
    soak.model.count(call, kind);
    soak.model.note(n, &format!("{call} through {}: {outcome}", ["a", "b"][through]));
    if answer.as_ref().is_err_and(|l| *l == Lost::Silent) {
        soak.model.violate(Some(n), &format!("{call} was not answered at all"));
    }
    answer
}

fn success(answer: &Result<Answer, Lost>) -> bool {
    answer.as_ref().is_ok_and(Answer::ok)
}

/// Where a join leads, through either balancer.
async fn lead(soak: &Soak, n: usize, through: usize) -> Option<u16> {
    ask(soak, n, "join", through).await.ok()?.port()
}

async fn turn(soak: &Arc<Soak>, chance: &mut Chance, n: usize) -> State {
    let since = Instant::now();
    let before = soak.model.meetings()[n].state;
    // One turn in seven ends the meeting while others create it.
    let closing = chance.below(7) == 0;
    let mut calls: Vec<&'static str> = Vec::with_capacity(TOGETHER);
    for at in 0..TOGETHER {
        calls.push(match chance.below(if closing { 20 } else { 15 }) {
            _ if at == 0 => "create",
            0..=6 => "create",
            7..=10 => "join",
            11..=12 => "isMeetingRunning",
            13..=14 => "getMeetingInfo",
            _ => "end",
        });
    }
    chance.shuffle(&mut calls);
    soak.model.note(n, if closing { "-- turn with ends" } else { "-- turn" });
    let ends = calls.contains(&"end");
    let mut all = tokio::task::JoinSet::new();
    for call in calls {
        let (soak, through) = (soak.clone(), chance.below(2));
        all.spawn(async move { (call, ask(&soak, n, call, through).await) });
    }
    let mut created = false;
    while let Some(done) = all.join_next().await {
        let (call, answer) = done.unwrap();
        created |= call == "create" && success(&answer);
    }
    for _ in 0..if created { chance.below(4) } else { 0 } {
        super::callbacks::tell(soak, chance, n).await;
    }
    let through = chance.below(2);
    if ends {
        // Who came last is not known: one more word, alone, makes it so.
        if chance.below(2) == 0 {
            let over = ask(soak, n, "end", through).await;
            return if success(&over) { State::Ended { since } } else { State::Unknown };
        }
        let since = Instant::now();
        return if success(&ask(soak, n, "create", through).await) {
            State::Alive { since, home: lead(soak, n, chance.below(2)).await }
        } else {
            State::Unknown
        };
    }
    match before {
        _ if created => State::Alive { since, home: lead(soak, n, through).await },
        State::Alive { .. } => before,
        _ => State::Unknown,
    }
}
