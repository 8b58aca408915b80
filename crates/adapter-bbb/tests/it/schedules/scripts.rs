//! Who does what in a schedule. Every script has two processes and three servers, `s0` preferred.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::cast::Cast;
use super::world::Mood;

pub(crate) type Actor = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One play: who is in it, and what holds in it.
pub(crate) struct Script {
    pub(crate) name: &'static str,
    /// The first process waits as long as it takes: it may be paused for longer than every time-out of the other.
    pub(crate) patient: bool,
    /// The meeting is there already.
    pub(crate) running: bool,
    /// Nothing fails and nothing is ordered.
    pub(crate) calm: bool,
    /// Polls are made under leases, which each order to poll takes over: the other one's result counts no more.
    pub(crate) shared: bool,
    pub(crate) actors: fn(&Arc<Cast>) -> Vec<Actor>,
}

fn creates_and_joins(cast: &Arc<Cast>, who: &'static str, process: usize) -> Actor {
    let c = cast.clone();
    Box::pin(async move {
        if c.create(who, process).await {
            c.join(who, 1 - process).await;
        }
    })
}

fn polls(cast: &Arc<Cast>, process: usize, times: usize) -> Actor {
    let c = cast.clone();
    Box::pin(async move {
        for _ in 0..times {
            c.world.step("clock", format!("P{process} is due to poll")).await;
            c.poll(process).await;
        }
    })
}

fn time(cast: &Arc<Cast>, times: usize, each: Duration) -> Actor {
    let c = cast.clone();
    Box::pin(async move {
        for _ in 0..times {
            c.world.step("clock", format!("{each:?} pass")).await;
            c.world.jump(each);
        }
    })
}

/// `s0` gets into a bad mood and out of it.
fn mood(cast: &Arc<Cast>, mood: Mood, lose: bool) -> Actor {
    let c = cast.clone();
    Box::pin(async move {
        c.world.step("fate", format!("s0 is {mood:?}")).await;
        c.world.set_mood(0, mood);
        c.world.step("fate", "s0 is well again".to_owned()).await;
        if lose {
            c.world.lose(0);
        }
        c.world.set_mood(0, Mood::Well);
    })
}

fn cut(cast: &Arc<Cast>, process: usize) -> Actor {
    let c = cast.clone();
    Box::pin(async move {
        c.world.step("fate", format!("P{process} does not reach s0")).await;
        c.world.set_cut(process, 0, true);
        c.world.step("fate", format!("P{process} reaches s0 again")).await;
        c.world.set_cut(process, 0, false);
    })
}

fn order(cast: &Arc<Cast>, process: usize, name: &'static str, body: &'static str) -> Actor {
    let c = cast.clone();
    Box::pin(async move {
        c.order(process, name, body).await;
        if matches!(name, "removeServer" | "panicServer") {
            c.world.set_removed(0);
        }
    })
}

fn ends(cast: &Arc<Cast>, who: &'static str, process: usize) -> Actor {
    let c = cast.clone();
    Box::pin(async move {
        c.end(who, process).await;
    })
}

const SECOND: Duration = Duration::from_secs(1);

pub(crate) const SCRIPTS: [Script; 14] = [
    Script {
        name: "two-creates",
        patient: true,
        running: false,
        calm: true,
        shared: false,
        actors: |c| {
            vec![creates_and_joins(c, "Ann", 0), creates_and_joins(c, "Bob", 1), polls(c, 0, 2), polls(c, 1, 1)]
        },
    },
    Script {
        name: "create-and-end",
        patient: true,
        running: false,
        calm: false,
        shared: false,
        actors: |c| {
            let two = vec![creates_and_joins(c, "Ann", 0), creates_and_joins(c, "Bob", 1)];
            two.into_iter()
                .chain([ends(c, "Eve", 1), ends(c, "Dan", 0), polls(c, 1, 2), time(c, 2, SECOND * 5)])
                .collect()
        },
    },
    Script {
        name: "end-of-a-running-one",
        patient: true,
        running: true,
        calm: false,
        shared: false,
        actors: |c| vec![ends(c, "Eve", 0), creates_and_joins(c, "Bob", 1), polls(c, 1, 2), time(c, 2, SECOND * 5)],
    },
    Script {
        name: "paused-create-and-a-killed-server",
        patient: true,
        running: false,
        calm: false,
        shared: false,
        actors: |c| {
            let fate = [mood(c, Mood::Killed, false), polls(c, 1, 3), time(c, 3, SECOND * 3)];
            [creates_and_joins(c, "Ann", 0), creates_and_joins(c, "Bob", 1)].into_iter().chain(fate).collect()
        },
    },
    Script {
        name: "paused-create-and-a-hung-server",
        patient: true,
        running: false,
        calm: false,
        shared: false,
        actors: |c| {
            let fate = [mood(c, Mood::Hung, false), polls(c, 1, 3), time(c, 3, SECOND * 3)];
            [creates_and_joins(c, "Ann", 0), creates_and_joins(c, "Bob", 1)].into_iter().chain(fate).collect()
        },
    },
    Script {
        name: "failover",
        patient: false,
        running: true,
        calm: false,
        shared: false,
        actors: |c| {
            let fate = [mood(c, Mood::Killed, true), polls(c, 0, 2), polls(c, 1, 2), time(c, 3, SECOND * 2)];
            [creates_and_joins(c, "Ann", 0), creates_and_joins(c, "Bob", 1)].into_iter().chain(fate).collect()
        },
    },
    Script {
        name: "a-hung-server",
        patient: false,
        running: true,
        calm: false,
        shared: false,
        actors: |c| {
            let fate = [mood(c, Mood::Hung, false), polls(c, 0, 2), polls(c, 1, 2), time(c, 3, SECOND * 2)];
            [creates_and_joins(c, "Ann", 0), creates_and_joins(c, "Bob", 1)].into_iter().chain(fate).collect()
        },
    },
    Script {
        name: "a-process-cut-off",
        patient: false,
        running: false,
        calm: false,
        shared: false,
        actors: |c| {
            let fate = [cut(c, 0), polls(c, 0, 2), polls(c, 1, 2), time(c, 3, SECOND * 2)];
            [creates_and_joins(c, "Ann", 0), creates_and_joins(c, "Bob", 1)].into_iter().chain(fate).collect()
        },
    },
    Script {
        name: "drain",
        patient: true,
        running: false,
        calm: false,
        shared: false,
        actors: |c| {
            let cordon = order(c, 1, "updateServer", r#"{"id":"s0","server":{"state":"cordon"}}"#);
            vec![
                creates_and_joins(c, "Ann", 0),
                creates_and_joins(c, "Bob", 1),
                cordon,
                polls(c, 1, 2),
                time(c, 1, SECOND * 8),
            ]
        },
    },
    Script {
        name: "disable",
        patient: true,
        running: false,
        calm: false,
        shared: false,
        actors: |c| {
            let disable = order(c, 1, "updateServer", r#"{"id":"s0","server":{"state":"disable"}}"#);
            vec![creates_and_joins(c, "Ann", 0), creates_and_joins(c, "Bob", 1), disable, polls(c, 1, 2)]
        },
    },
    Script {
        name: "removal",
        patient: true,
        running: false,
        calm: false,
        shared: false,
        actors: |c| {
            let removal = order(c, 1, "removeServer", r#"{"id":"s0","force":true}"#);
            vec![creates_and_joins(c, "Ann", 0), creates_and_joins(c, "Bob", 1), removal, polls(c, 0, 2)]
        },
    },
    Script {
        name: "panic",
        patient: true,
        running: true,
        calm: false,
        shared: false,
        actors: |c| {
            let panic = order(c, 1, "panicServer", r#"{"id":"s0","keep_state":true}"#);
            vec![creates_and_joins(c, "Ann", 0), creates_and_joins(c, "Bob", 1), panic, polls(c, 0, 2)]
        },
    },
    Script {
        name: "takeover",
        patient: true,
        running: false,
        calm: true,
        shared: true,
        actors: |c| {
            vec![creates_and_joins(c, "Ann", 0), creates_and_joins(c, "Bob", 1), polls(c, 0, 2), polls(c, 1, 2)]
        },
    },
    Script {
        name: "takeover-and-a-killed-server",
        patient: true,
        running: true,
        calm: false,
        shared: true,
        actors: |c| {
            let fate = [mood(c, Mood::Killed, true), polls(c, 0, 2), polls(c, 1, 3), time(c, 3, SECOND * 3)];
            [creates_and_joins(c, "Ann", 0), creates_and_joins(c, "Bob", 1)].into_iter().chain(fate).collect()
        },
    },
];
