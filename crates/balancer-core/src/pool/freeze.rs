//! A pool standing still: the same picks, explained, with nothing live touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::backend::Backend;
use crate::board::{Board, MISSING, STALE, split_rank};
use crate::decision::{Decision, Excluded, MAX_ROWS, Outcome, Row};
use crate::lease::Lease;
use crate::load::LoadModel;
use crate::selector::{Ask, Change, Strategy, Trace, Turn};
use crate::snapshot::{Candidates, Member};
use crate::state::{Admin, Health};

use super::published::Snapshot;
use super::{Pool, TRIES, candidates, is_open, rungs};

/// A copy of a pool's figures and selector state at one moment.
pub struct Frozen<B: Backend, Q: ?Sized = ()> {
    snapshot: Snapshot<B, Q>,
    board: Board,
    strategy: &'static str,
    model: Option<Arc<dyn LoadModel<B>>>,
    cap: Option<(u32, u32)>,
    now: Instant,
}

impl<B: Backend, Q: ?Sized> std::fmt::Debug for Frozen<B, Q> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frozen").field("strategy", &self.strategy).finish_non_exhaustive()
    }
}

impl<B: Backend, Q: ?Sized + 'static> Pool<B, Q> {
    /// Copies the pool as it stands at this moment: every server's figures and the strategy's own state.
    pub fn freeze(&self, now: Instant) -> Frozen<B, Q> {
        // Held to the end, since a strategy may look at states and weights while it prepares.
        let w = self.write();
        let live = self.snapshot.load_full();
        let board = self.board.freeze(live.members.iter().map(|m| m.slot()));
        let mut fork: Box<dyn Strategy<B, Q>> = w.strategy.fork();
        let members = live.members.clone();
        let selector = fork.prepare(&members, &[Change::Members]);
        drop(w);
        Frozen {
            snapshot: Snapshot { members, selector },
            board,
            strategy: fork.name(),
            model: self.options.load.clone(),
            cap: self.window(&mut Turn::new(now, 0)),
            now,
        }
    }

    /// [`place`](Self::place) with its reasons: picked on a frozen copy by the live selector, taken on the live board;
    /// again on a new copy when the chosen server was blocked or taken meanwhile.
    pub fn place_explained(&self, ask: &Ask<'_, Q>, seed: u64) -> (Option<Lease<B>>, Decision) {
        let now = self.now();
        let cap = self.window(&mut Turn::new(now, 0));
        let live = self.snapshot.load_full();
        let name = self.write().strategy.name();
        let mut attempt = 0;
        loop {
            let board = self.board.freeze(live.members.iter().map(|m| m.slot()));
            let mut trace = Trace::default();
            let mut turn = Turn::traced(now, seed, &mut trace);
            let chosen = choose(&live, &board, ask, cap, &mut turn);
            let lease = match chosen.map(|m| self.take(m, ask, &turn, cap, attempt)) {
                Some(Err(_)) if attempt < TRIES => {
                    attempt += 1;
                    continue;
                }
                taken => taken.and_then(Result::ok),
            };
            let at = Scene {
                snapshot: &live,
                board: &board,
                strategy: name,
                model: self.options.load.as_ref(),
                cap,
                now,
                seed,
                rows: MAX_ROWS,
            };
            let mut decision = at.describe(ask, &trace, chosen.filter(|_| lease.is_some()));
            if attempt > 0 {
                decision.note(format!("picked again after being overtaken: {attempt} times"));
            }
            return (lease, decision);
        }
    }
}

/// The server that this turn chooses: the first rung that offers one decides.
fn choose<'m, B: Backend, Q: ?Sized>(
    snapshot: &'m Snapshot<B, Q>,
    board: &Board,
    ask: &Ask<'_, Q>,
    cap: Option<(u32, u32)>,
    turn: &mut Turn<'_>,
) -> Option<&'m Arc<Member<B>>> {
    let selector = snapshot.selector.as_ref()?;
    let mut among = candidates(snapshot, board, ask, cap);
    // One turn for all rungs, so that the same seed gives the same answer.
    let slot = rungs(ask).iter().find_map(|rung| {
        among.set_rung(rung);
        turn.again();
        selector.pick(&among, ask, turn)
    })?;
    snapshot.members.by_slot(slot)
}

impl<B: Backend, Q: ?Sized + 'static> Frozen<B, Q> {
    /// The pure decision: what a room would get here. The same frozen pool, ask and seed always give the same answer.
    pub fn decide(&self, ask: &Ask<'_, Q>, seed: u64) -> Decision {
        self.decide_keeping(MAX_ROWS, ask, seed)
    }

    /// [`decide`](Self::decide) with every candidate and everybody who was left out, however many they are.
    pub fn decide_in_full(&self, ask: &Ask<'_, Q>, seed: u64) -> Decision {
        self.decide_keeping(usize::MAX, ask, seed)
    }

    fn decide_keeping(&self, rows: usize, ask: &Ask<'_, Q>, seed: u64) -> Decision {
        let mut trace = Trace::default();
        let mut turn = Turn::traced(self.now, seed, &mut trace).trial();
        let chosen = choose(&self.snapshot, &self.board, ask, self.cap, &mut turn);
        let at = Scene {
            snapshot: &self.snapshot,
            board: &self.board,
            strategy: self.strategy,
            model: self.model.as_ref(),
            cap: self.cap,
            now: self.now,
            seed,
            rows,
        };
        at.describe(ask, &trace, chosen)
    }
}

/// Everything a description needs.
struct Scene<'a, B: Backend, Q: ?Sized> {
    snapshot: &'a Snapshot<B, Q>,
    board: &'a Board,
    strategy: &'static str,
    model: Option<&'a Arc<dyn LoadModel<B>>>,
    cap: Option<(u32, u32)>,
    now: Instant,
    seed: u64,
    /// How many of each kind are kept.
    rows: usize,
}

impl<B: Backend, Q: ?Sized> Scene<'_, B, Q> {
    fn describe(&self, ask: &Ask<'_, Q>, trace: &Trace, chosen: Option<&Arc<Member<B>>>) -> Decision {
        let mut among = candidates(self.snapshot, self.board, ask, self.cap);
        let rungs = rungs(ask);
        // The rung that decided is the first that offers anybody; with none, the first rung explains best.
        let mut decided = 0;
        for (i, rung) in rungs.iter().enumerate() {
            among.set_rung(rung);
            if among.count() > 0 {
                decided = i;
                break;
            }
        }
        if let Some(rung) = rungs.get(decided) {
            among.set_rung(rung);
        }
        let mut rows = Vec::new();
        let mut excluded: Vec<Excluded> = Vec::new();
        for m in self.snapshot.members.iter() {
            let slot = m.slot();
            let id = m.backend.id().clone();
            if among.contains(slot) {
                let (class, load) = split_rank(self.board.rank(slot));
                let ledger = self.board.ledger(slot);
                let age = ledger.last.as_ref().map(|r| self.now.saturating_duration_since(r.began));
                let placed = ledger.placed.wrapping_sub(ledger.covered);
                let score = trace.scores.iter().rev().find(|(s, _)| *s == slot).map(|(_, score)| *score);
                let behind = chosen.is_none_or(|c| c.slot() != slot);
                rows.push((
                    // The chosen one first, whatever its selector goes by; those it gave no number last.
                    (behind, class, score.is_none(), score, load),
                    Row {
                        score,
                        load: self.units(load),
                        reported: self.units(ledger.cost),
                        age_seconds: age.map(|a| a.as_secs_f64()),
                        placed_since: self.units(placed),
                        on_the_way: self.units(load.saturating_sub(ledger.cost).saturating_sub(placed)),
                        in_flight: self.board.in_flight(slot),
                        weight: f64::from(self.board.weight(slot).sixteenths()) / 16.0,
                        stale: class == STALE || class == MISSING,
                        id,
                    },
                ));
            } else {
                let (reason, detail) = self.why_not(&among, m);
                excluded.push(Excluded { id, reason, detail });
            }
        }
        rows.sort_by(|(ka, a), (kb, b)| (ka, &a.id).cmp(&(kb, &b.id)));
        let candidate_count = rows.len();
        let excluded_count = excluded.len();
        let mut excluded_by = BTreeMap::new();
        for out in &excluded {
            *excluded_by.entry(out.reason).or_default() += 1;
        }
        let mut candidates: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
        candidates.truncate(self.rows);
        excluded.truncate(self.rows);
        let mut notes = Vec::new();
        if rungs.len() > 1 && decided > 0 {
            notes.push(format!("preferred servers are not available: step {} of the filter decided", decided + 1));
        }
        Decision {
            room: ask.key.clone(),
            outcome: if chosen.is_some() { Outcome::New } else { Outcome::NoCandidate },
            backend: chosen.map(|m| m.backend.id().clone()),
            strategy: self.strategy,
            rule: trace.rule,
            unit: self.model.map_or("", |l| l.unit()),
            candidates,
            candidate_count,
            excluded,
            excluded_count,
            excluded_by,
            tie: trace.tie.map(|(n, how)| format!("{n} equal candidates, {how}")),
            notes,
            seed: self.seed,
        }
    }

    /// The model's numbers in its unit.
    fn units(&self, cost: u64) -> f64 {
        // Exact below 2^53, beyond every sensible sum.
        cost as f64 / f64::from(self.model.map_or(1, |l| l.per_unit()).max(1))
    }

    fn why_not(&self, among: &Candidates<'_, B>, m: &Member<B>) -> (&'static str, String) {
        let slot = m.slot();
        let (admin, health) = self.board.state(slot);
        if admin == Admin::Maint {
            return ("maint", "in maintenance".into());
        }
        if admin == Admin::Drain {
            return ("drain", "draining: keeps its rooms, takes no new ones".into());
        }
        if !is_open(self.board, slot) {
            if self.board.weight(slot).is_zero() {
                return ("weight", "weight 0".into());
            }
            return match health {
                Health::Unknown => ("unknown", "not probed yet".into()),
                Health::Suspect => ("suspect", "its last probe failed".into()),
                Health::Down => ("down", "down: keeps its rooms, takes no new ones".into()),
                Health::Dead => ("dead", "dead: its rooms move when they are asked for".into()),
                Health::Up => ("closed", "closed".into()),
            };
        }
        if among.is_excluded(slot) {
            return ("tried", "left out by this request, which tried it already".into());
        }
        if !among.in_rung(slot) {
            return ("tag", "does not have the wanted tag".into());
        }
        if among.is_capped(slot) {
            return ("cap", "its cap of new rooms for this interval is reached".into());
        }
        ("closed", "closed".into())
    }
}
