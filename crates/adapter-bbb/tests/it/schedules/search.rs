//! Runs schedules: one by one, by a list of choices, to a bound, or by chance. The same choices give the same schedule.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::cast::Cast;
use super::scripts::Script;
use super::world::{Choice, World};
use std::sync::Arc;
use std::time::Duration;

/// Steps after which the oldest one is always taken, so that everybody comes to an end.
const FREE_STEPS: usize = 250;
/// Steps after which a schedule has no end.
const MOST_STEPS: usize = 3_000;
/// Longest time that nobody can take a step.
const MOST_IDLE: Duration = Duration::from_secs(600);

/// Which of the possible steps is taken.
pub(crate) enum Chooser {
    /// By this list; the oldest one after its end.
    List(Vec<usize>),
    /// By chance, in one of several manners.
    Chance(Chance),
}

/// A small generator, and the manner it is used in.
pub(crate) struct Chance {
    state: u64,
    seed: u64,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed, seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn choose(&mut self, step: usize, choices: &[Choice]) -> usize {
        let any = self.below(choices.len());
        let seed = self.seed;
        // Whoever has the highest rank goes on for as long as he can; ranks change now and then.
        let rank = |name: &str, change: usize| hash(&(seed, name, step / change));
        let top = |of: &dyn Fn(&Choice) -> u64| {
            let best = (0..choices.len()).max_by_key(|n| (of(&choices[*n]), choices.len() - n));
            best.unwrap_or(0)
        };
        match seed % 4 {
            0 => any,
            1 if self.below(6) == 0 => any,
            1 => 0,
            2 => top(&|c| rank(&c.process, 40)),
            _ => top(&|c| rank(&c.actor, 20)),
        }
    }
}

impl Chooser {
    fn choose(&mut self, step: usize, choices: &[Choice]) -> usize {
        if step >= FREE_STEPS {
            return 0;
        }
        match self {
            Self::List(list) => list.get(step).copied().unwrap_or(0).min(choices.len() - 1),
            Self::Chance(chance) => chance.choose(step, choices),
        }
    }
}

pub(crate) fn hash(what: &impl Hash) -> u64 {
    let mut h = DefaultHasher::new();
    what.hash(&mut h);
    h.finish()
}

/// What a schedule came to.
pub(crate) struct Outcome {
    pub(crate) choices: Vec<usize>,
    /// How many steps were possible, step by step.
    pub(crate) widths: Vec<usize>,
    pub(crate) trace: Vec<String>,
    pub(crate) faults: Vec<String>,
}

/// Runs one schedule of a script from its beginning to its end.
pub(crate) fn run(script: &Script, mut chooser: Chooser) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    balancer_core::reseed(1);
    runtime.block_on(async {
        let world = World::new(3, 1).await;
        let cast = Cast::new(world.clone(), script).await;
        if script.running {
            assert!(cast.create("setup", 0).await);
        }
        // What exists has settled.
        world.settle(Duration::from_secs(2)).await;
        world.hold();
        let mut out = Outcome { choices: Vec::new(), widths: Vec::new(), trace: Vec::new(), faults: Vec::new() };
        let actors: Vec<_> = (script.actors)(&cast).into_iter().map(tokio::spawn).collect();
        go_on(&world, &actors, &mut |choices| {
            let chosen = chooser.choose(out.choices.len(), choices);
            out.choices.push(chosen);
            out.widths.push(choices.len());
            chosen
        })
        .await;
        for actor in actors {
            if let Err(e) = actor.await {
                world.fault(format!("an actor broke off: {e}"));
            }
        }
        world.note("all have their answers; everything can be reached again".to_owned());
        world.heal();
        finish(&world, async |_| {}, &cast).await;
        for process in [0, 1, 0] {
            world.settle(Duration::from_secs(300)).await;
            finish(&world, async |c| c.poll(process).await, &cast).await;
        }
        finish(&world, async |c| c.last_word().await, &cast).await;
        out.trace = world.trace();
        out.faults = world.take_faults();
        out
    })
}

/// Lets one thing happen, every step in the order in which it becomes possible, and waits for what it left behind.
async fn finish(world: &Arc<World>, what: impl AsyncFnOnce(&Arc<Cast>), cast: &Arc<Cast>) {
    let work = async {
        what(cast).await;
    };
    let mut work = std::pin::pin!(work);
    let mut idle = 0;
    let mut done = false;
    let mut steps = 0;
    while !done || idle < 4 {
        tokio::select! {
            biased;
            () = &mut work, if !done => done = true,
            () = world.settle(Duration::from_millis(1)) => {}
        }
        let choices = world.choices();
        match choices.first() {
            Some(first) => {
                idle = 0;
                steps += 1;
                world.release(first).await;
            }
            None => {
                idle += 1;
                // What waits for a time-out gets it.
                world.settle(Duration::from_millis(500)).await;
            }
        }
        if steps > MOST_STEPS || idle > 2_000 {
            world.fault("it does not come to an end".to_owned());
            return;
        }
    }
}

/// Takes steps until all actors are done.
async fn go_on(
    world: &Arc<World>,
    actors: &[tokio::task::JoinHandle<()>],
    choose: &mut impl FnMut(&[Choice]) -> usize,
) {
    world.settle(Duration::from_millis(1)).await;
    let (mut idle, mut steps) = (Duration::ZERO, 0);
    while !actors.iter().all(tokio::task::JoinHandle::is_finished) {
        let choices = world.choices();
        if choices.is_empty() {
            let while_ = Duration::from_millis(50);
            world.settle(while_).await;
            idle += while_;
        } else {
            idle = Duration::ZERO;
            steps += 1;
            let chosen = choose(&choices);
            world.release(&choices[chosen]).await;
        }
        if idle > MOST_IDLE || steps > MOST_STEPS {
            world.fault("somebody never gets an answer".to_owned());
            actors.iter().for_each(tokio::task::JoinHandle::abort);
            return;
        }
    }
}

/// What was searched so far.
#[derive(Default)]
pub(crate) struct Searched {
    pub(crate) runs: usize,
    pub(crate) steps: usize,
    seen: HashSet<u64>,
}

impl Searched {
    pub(crate) fn distinct(&self) -> usize {
        self.seen.len()
    }

    /// Runs one schedule; the failure as text.
    pub(crate) fn one(&mut self, script: &Script, chooser: Chooser) -> Result<Outcome, String> {
        let out = run(script, chooser);
        self.runs += 1;
        self.steps += out.choices.len();
        self.seen.insert(hash(&(script.name, &out.choices)));
        if out.faults.is_empty() { Ok(out) } else { Err(tell(script, &shorten(script, out))) }
    }

    /// Every schedule that departs from the order of arrival at most `departures` times, until `most` were run.
    pub(crate) fn up_to_a_bound(&mut self, script: &Script, departures: usize, most: usize) -> Result<(), String> {
        let mut begin = vec![(Vec::new(), 0)];
        let mut left = most;
        // Breadth first: few departures before many.
        let mut at = 0;
        while at < begin.len() && left > 0 {
            let (list, made): (Vec<usize>, usize) = begin[at].clone();
            at += 1;
            left -= 1;
            let out = self.one(script, Chooser::List(list.clone()))?;
            if made < departures {
                for step in list.len()..out.widths.len().min(FREE_STEPS) {
                    for choice in 1..out.widths[step] {
                        if begin.len() >= most {
                            break;
                        }
                        let mut next = out.choices[..step].to_vec();
                        next.push(choice);
                        begin.push((next, made + 1));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The same failure with fewer departures from the order of arrival.
fn shorten(script: &Script, mut out: Outcome) -> Outcome {
    let mut tries = 0;
    let mut step = 0;
    while step < out.choices.len() && tries < 300 {
        if out.choices[step] != 0 {
            let mut list = out.choices.clone();
            list[step] = 0;
            tries += 1;
            let shorter = run(script, Chooser::List(list));
            if !shorter.faults.is_empty() {
                out = shorter;
            }
        }
        step += 1;
    }
    out
}

fn tell(script: &Script, out: &Outcome) -> String {
    let list: Vec<String> = out.choices.iter().map(ToString::to_string).collect();
    let end = list.iter().rposition(|c| c != "0").map_or(0, |at| at + 1);
    format!(
        "{}\nin this schedule of {}:\n  {}\nreplay it with SCHEDULE={}:{}",
        out.faults.join("\n"),
        script.name,
        out.trace.join("\n  "),
        script.name,
        list[..end].join(".")
    )
}
