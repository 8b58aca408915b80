//! Two `serve` processes and a Scalelite on one real Redis: random operations of all three, side by side.
//!
//! The Scalelite is a writer that issues the commands its api, its poller and its tasks issue, weaknesses included: it
//! removes servers and leaves their meetings and counters, writes loads by a state that it read before, forgets a
//! meeting before it ends it, and moves one off a cordoned server that nobody has joined yet.
//!
//! After each hundred operations, when both processes have polled once more:
//!
//! - **In step.** As in the other soak: sets, hashes, numbers and loads agree, no key is left of what is gone.
//! - **One server.** A join through either process leads to the one server that Redis names.
//! - **One copy.** A second copy of a meeting on a registered server is ended within the time that a create may take.
//!
//! At the end, without exception, every meeting that is bound runs on its server and on no other one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use balancer_core::{RedisLink, RedisOptions};

use super::check::{STEP, join_all, words};
use super::http::{Answer, PATIENCE};
use super::model::Chance;
use super::world::{Server, Times, World, lock};
use super::{seed, setting};
use writer::Writer;

mod writer;

/// Operations between two looks.
const ROUND: usize = 100;

#[derive(Clone, Copy, Debug)]
struct Plan {
    operations: usize,
    seed: u64,
    meetings: usize,
    servers: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scalelite_on_the_same_redis_loses_nothing() {
    run(Plan { operations: 600, seed: seed(), meetings: 40, servers: 5 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "10,000 operations, some minutes: cargo xtask soak scalelite"]
async fn long_scalelite() {
    let operations = setting("SOAK_OPERATIONS").map_or(10_000, |n| usize::try_from(n).unwrap());
    run(Plan { operations, seed: seed(), meetings: 200, servers: 6 }).await;
}

type Counts = BTreeMap<(&'static str, String), u64>;

struct Stage {
    plan: Plan,
    world: World,
    counts: Mutex<Counts>,
    /// Operators take turns, as they do.
    operator: tokio::sync::Mutex<()>,
    violations: Mutex<Vec<String>>,
    /// Since when a meeting has more than one copy.
    copies: Mutex<BTreeMap<String, Instant>>,
}

fn name(n: usize) -> String {
    format!("shared-{n}")
}

impl Stage {
    fn count(&self, who: &'static str, what: String) {
        *lock(&self.counts).entry((who, what)).or_default() += 1;
    }

    fn violate(&self, what: String) {
        println!("VIOLATION: {what}");
        lock(&self.violations).push(what);
    }

    /// A server that operators may order about: the first two always take meetings.
    fn any_server(&self, chance: &mut Chance, removable: bool) -> &Server {
        let first = if removable { self.world.servers.len() - 1 } else { 2 };
        &self.world.servers[first + chance.below(self.world.servers.len() - first)]
    }

    async fn through(&self, which: usize, chance: &mut Chance) {
        let b = &self.world.balancers[which];
        let id = name(chance.below(self.plan.meetings));
        let kind = chance.below(100);
        let (what, answer) = match kind {
            0..40 => {
                let pairs = [("meetingID", id.as_str()), ("moderatorPW", "mp"), ("attendeePW", "ap")];
                ("create", b.api("create", &pairs).await)
            }
            40..65 => ("join", b.api("join", &[("meetingID", &id), ("fullName", "A"), ("password", "ap")]).await),
            65..76 => ("end", b.api("end", &[("meetingID", &id), ("password", "mp")]).await),
            76..84 => ("getMeetingInfo", b.api("getMeetingInfo", &[("meetingID", &id)]).await),
            84..91 => ("isMeetingRunning", b.api("isMeetingRunning", &[("meetingID", &id)]).await),
            91..94 => ("getMeetings", b.api("getMeetings", &[]).await),
            94..98 => {
                let _one = self.operator.lock().await;
                let state = ["enable", "cordon", "disable"][chance.below(3)];
                self.world.set_state(self.any_server(chance, false), state).await;
                self.count("ours", state.to_owned());
                return;
            }
            98 => {
                let _one = self.operator.lock().await;
                let server = self.any_server(chance, true);
                self.world.remove(server).await;
                self.world.add(server).await;
                self.count("ours", "remove and add".to_owned());
                return;
            }
            _ => {
                let done = b.operate("/balancer/api", "poll", Some(&serde_json::json!({}))).await;
                self.count("ours", format!("poll: {}", if done.is_some() { "done" } else { "failed" }));
                return;
            }
        };
        let told = match &answer {
            Ok(a) if a.location.is_some() || a.ok() => "done".to_owned(),
            Ok(a) => a.text("messageKey").unwrap_or("no answer").to_owned(),
            Err(lost) => format!("{lost:?}"),
        };
        if answer.is_err() || told == "no answer" {
            self.violate(format!("{what} of {id} through {which}: {answer:?}"));
        }
        // Two servers take everything all the time.
        if what == "create" && told != "done" {
            self.violate(format!("create of {id} through {which}: {answer:?}"));
        }
        self.count("ours", format!("{what}: {told}"));
    }

    async fn by_scalelite(&self, w: &mut Writer) {
        let id = name(w.chance.below(self.plan.meetings));
        let kind = w.chance.below(100);
        let (what, told) = match kind {
            0..28 => ("create", w.create(&id).await),
            28..48 => ("join", w.join(&id).await),
            48..60 => ("end", w.end(&id).await),
            60..84 => {
                let server = &self.world.servers[w.chance.below(self.world.servers.len())];
                let id = lock(&server.id).clone();
                ("poll a server", w.poll(&id).await)
            }
            84..90 => ("poll a meeting", w.poll_meeting(&id).await),
            90..93 => ("health check", w.health().await),
            93..98 => {
                let _one = self.operator.lock().await;
                let state = ["enabled", "cordoned", "disabled"][w.chance.below(3)];
                let server = lock(&self.any_server(&mut w.chance, false).id).clone();
                w.set_state(&server, state).await;
                (state, "done")
            }
            _ => {
                let _one = self.operator.lock().await;
                let server = self.any_server(&mut w.chance, true);
                let old = lock(&server.id).clone();
                w.remove(&old).await;
                let new = format!("scalelite-{}", w.chance.next());
                w.add(&new, server.port).await;
                w.set_state(&new, "enabled").await;
                lock(&self.world.removed).push(old);
                lock(&self.world.ids).insert(new.clone(), server.port);
                *lock(&server.id) = new;
                ("remove and add", "done")
            }
        };
        self.count("Scalelite", format!("{what}: {told}"));
    }

    /// What is out of step, and the home of every meeting by its server's port.
    async fn redis_state(&self) -> (Vec<String>, BTreeMap<String, u16>) {
        let removed = lock(&self.world.removed).clone();
        let mut command = vec!["EVAL", STEP, "0"];
        command.extend(removed.iter().map(String::as_str));
        let reply = self.world.ask_redis(&command).await;
        let [bad, homes] = reply.as_list() else { panic!("{reply:?}") };
        let homes = words(homes);
        let homes = homes.chunks_exact(2).map(|c| (c[0].clone(), self.world.port_of(&c[1]).unwrap_or(0)));
        (words(bad), homes.collect())
    }

    async fn copies(&self) -> BTreeMap<String, BTreeSet<u16>> {
        let mut copies: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
        let lists =
            join_all(self.world.servers.iter().map(|s| async move { (s.port, s.meetings(PATIENCE).await) })).await;
        for (port, list) in lists {
            for id in list.expect("a server lists its meetings") {
                copies.entry(id).or_default().insert(port);
            }
        }
        copies
    }

    async fn poll_all(&self) {
        for b in &self.world.balancers {
            let done = b.operate("/balancer/api", "poll", Some(&serde_json::json!({}))).await;
            assert!(done.is_some(), "a process polls when it is told to");
        }
    }

    /// Nobody asks for anything now.
    async fn look(&self, chance: &mut Chance) {
        self.poll_all().await;
        self.poll_all().await;
        let (bad, homes) = self.redis_state().await;
        for text in bad {
            self.violate(format!("Redis: {text}"));
        }
        let now = self.copies().await;
        {
            let mut copies = lock(&self.copies);
            copies.retain(|id, _| now.get(id).is_some_and(|on| on.len() > 1));
            for (id, on) in now.iter().filter(|(_, on)| on.len() > 1) {
                self.count("looks", "second copies seen".to_owned());
                let since = *copies.entry(id.clone()).or_insert_with(Instant::now);
                if since.elapsed() > self.world.times.stray_limit() * 2 {
                    self.violate(format!("{id} has run on {on:?} for {:?}", since.elapsed()));
                }
            }
        }
        let bound: Vec<(&String, &u16)> = homes.iter().collect();
        for _ in 0..5.min(bound.len()) {
            let (id, home) = bound[chance.below(bound.len())];
            let pairs = [("meetingID", id.as_str()), ("fullName", "A"), ("password", "ap")];
            let led = join_all(self.world.balancers.iter().map(|b| b.api("join", &pairs))).await;
            let ports: Vec<Option<u16>> = led.iter().map(|a| a.as_ref().ok().and_then(Answer::port)).collect();
            if ports[0] != ports[1] || ports[0].is_some_and(|p| p != *home) {
                self.violate(format!("{id} lives on {home}, and joins lead to {ports:?}"));
            }
            self.count("looks", "joins compared".to_owned());
        }
        self.count("looks", "done".to_owned());
        *lock(&self.counts).entry(("looks", "bound meetings".to_owned())).or_default() += homes.len() as u64;
    }

    /// Waits until every bound meeting runs on its server and on no other.
    async fn settle(&self) {
        for s in &self.world.servers {
            self.world.set_state(s, "enable").await;
        }
        let end = Instant::now() + self.world.times.stray_limit() * 3;
        loop {
            self.poll_all().await;
            let (mut bad, homes) = self.redis_state().await;
            let copies = self.copies().await;
            for (id, on) in &copies {
                let home = homes.get(id);
                if on.len() > 1 || home != on.first() {
                    bad.push(format!("{id} runs on {on:?} and is bound to {home:?}"));
                }
            }
            bad.extend(homes.keys().filter(|id| !copies.contains_key(*id)).map(|id| format!("{id} does not run")));
            if bad.is_empty() {
                return;
            }
            if Instant::now() > end {
                bad.into_iter().for_each(|text| self.violate(format!("does not settle: {text}")));
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn run(plan: Plan) {
    println!("\nscalelite: {plan:?}");
    let folder = std::env::temp_dir().join(format!("bbb-balancer-scalelite-{}-{}", std::process::id(), plan.seed));
    let Some(world) = World::start(plan.servers, Times::PATIENT, &folder).await else { return };
    let url = format!("redis://127.0.0.1:{}", world.redis.port());
    let options = RedisOptions::from_url(&url).unwrap().connections(1).response_timeout(PATIENCE);
    let link = RedisLink::new(options).unwrap();
    let began = Instant::now();
    let mut chance = Chance::new(plan.seed);
    let mut writer = Writer::new(link, Chance::new(chance.next()));
    let stage = Arc::new(Stage {
        plan,
        world,
        counts: Mutex::default(),
        operator: tokio::sync::Mutex::default(),
        violations: Mutex::default(),
        copies: Mutex::default(),
    });
    stage.poll_all().await;
    let mut done = 0;
    while done < plan.operations && lock(&stage.violations).len() < 20 {
        let by_writer = ROUND * 2 / 5;
        let mut ours = tokio::task::JoinSet::new();
        for lane in 0..4 {
            let (stage, mut chance) = (stage.clone(), Chance::new(chance.next()));
            ours.spawn(async move {
                for _ in 0..(ROUND - by_writer) / 4 {
                    stage.through(lane % 2, &mut chance).await;
                }
            });
        }
        for _ in 0..by_writer {
            stage.by_scalelite(&mut writer).await;
        }
        while let Some(lane) = ours.join_next().await {
            lane.unwrap();
        }
        done += ROUND;
        stage.look(&mut chance).await;
        if done % 1_000 == 0 {
            println!("scalelite: {done} operations after {:?}", began.elapsed());
        }
    }
    stage.settle().await;
    let mut lines: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for ((who, what), n) in lock(&stage.counts).iter() {
        lines.entry(who).or_default().push(format!("{what} {n}"));
    }
    for (who, list) in lines {
        println!("  {who:<10} {}", list.join(", "));
    }
    let violations = lock(&stage.violations).clone();
    println!(
        "scalelite: {done} operations, seed {}, {:?}; transactions aborted {}; violations {}",
        plan.seed,
        began.elapsed(),
        writer.aborted(),
        violations.len()
    );
    assert!(violations.is_empty(), "seed {}; logs in {}: {violations:#?}", plan.seed, stage.world.folder.display());
    let _ = std::fs::remove_dir_all(&stage.world.folder);
}
