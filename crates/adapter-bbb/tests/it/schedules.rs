//! Interleavings of calls, polls, failover and orders, one step at a time: every schedule is repeatable.
//!
//! `SCHEDULES` is how many are run (a few thousand by default), `SCHEDULES_SEED` where chance begins, and
//! `SCHEDULE=NAME:0.2.1` replays the one that a failure names.

mod cast;
mod held_store;
mod scripts;
mod search;
mod world;

use scripts::{SCRIPTS, Script};
use search::{Chance, Chooser, Searched, run};

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |n| n.parse().unwrap_or_else(|_| panic!("{name}={n} is not a number")))
}

fn script(name: &str) -> &'static Script {
    SCRIPTS.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("no script is called {name}"))
}

/// A share of the search; each share runs on a thread of its own.
fn search(scripts: impl Iterator<Item = &'static Script>) -> usize {
    let mut distinct = 0;
    let each = usize::try_from(from_environment("SCHEDULES", 3_600)).unwrap() / SCRIPTS.len();
    let first = from_environment("SCHEDULES_SEED", 1);
    for script in scripts {
        let mut searched = Searched::default();
        let mut found = searched.up_to_a_bound(script, 2, each / 3);
        let mut seed = first;
        while found.is_ok() && searched.runs < each {
            found = searched.one(script, Chooser::Chance(Chance::new(seed))).map(drop);
            seed += 1;
        }
        println!(
            "{}: {} schedules, {} distinct, {} steps",
            script.name,
            searched.runs,
            searched.distinct(),
            searched.steps
        );
        distinct += searched.distinct();
        if let Err(why) = found {
            panic!("{why}");
        }
    }
    distinct
}

#[test]
fn no_schedule_splits_or_loses_a_meeting() {
    if let Ok(one) = std::env::var("SCHEDULE") {
        let (name, list) = one.split_once(':').expect("SCHEDULE=NAME:0.2.1");
        let list: Vec<usize> = list.split('.').filter(|c| !c.is_empty()).map(|c| c.parse().unwrap()).collect();
        let out = run(script(name), Chooser::List(list));
        println!("{}", out.trace.join("\n"));
        assert!(out.faults.is_empty(), "{}", out.faults.join("\n"));
        return;
    }
    std::thread::scope(|s| {
        let shares: Vec<_> =
            (0..2).map(|share| s.spawn(move || search(SCRIPTS.iter().skip(share).step_by(2)))).collect();
        let mut distinct = 0;
        for share in shares {
            match share.join() {
                Ok(n) => distinct += n,
                Err(why) => std::panic::resume_unwind(why),
            }
        }
        println!("{distinct} distinct schedules hold");
    });
}

#[test]
fn the_same_choices_give_the_same_schedule() {
    for script in &SCRIPTS {
        for seed in 0..8 {
            let first = run(script, Chooser::Chance(Chance::new(seed)));
            let second = run(script, Chooser::List(first.choices.clone()));
            let differ = first.trace.iter().zip(&second.trace).find(|(a, b)| a != b);
            assert_eq!(differ, None, "{} {seed}", script.name);
        }
    }
}
