//! Two pickers on one real Redis: they agree on the shard of every room, whatever is killed and stopped meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adapter_jitsi::testing::{Behaviour, ShardStandIn};
use balancer_core::stable_hash;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;

use real_servers::RedisServer;

use crate::served::{Folder, PATIENCE, Picker, free_port, stanza, until};

const SHARDS: [(&str, &str); 4] = [("eu-1", "eu"), ("eu-2", "eu"), ("us-1", "us"), ("us-2", "us")];
/// Requests under way at each picker.
const ASKERS: usize = 12;
/// How long one of them may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How much of it.
struct Scale {
    rooms: usize,
    /// How often a picker is killed, Redis is stopped and a shard dies.
    rounds: usize,
    /// How long Redis is stopped.
    pause: Duration,
    /// How long it goes on undisturbed in between.
    calm: Duration,
}

/// An answer about where a room is bound: when its question was asked, when it came, the shard and the binding.
#[derive(Clone, Copy)]
struct Said {
    asked: Instant,
    came: Instant,
    shard: usize,
    stamp: u64,
}

#[derive(Default)]
struct Tally {
    answers: AtomicU64,
    refused: AtomicU64,
    cut: AtomicU64,
    /// Answers about known rooms while Redis stood still.
    through_pause: AtomicU64,
}

struct World {
    scale: Scale,
    ports: [u16; 2],
    client: Client<HttpConnector, Empty<Bytes>>,
    said: Vec<Mutex<Vec<Said>>>,
    tally: Tally,
    over: AtomicBool,
    paused: AtomicBool,
    /// How far each picker's callers are on their first way through all rooms.
    next: [AtomicUsize; 2],
}

/// Repeatable numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = stable_hash(&self.0.to_le_bytes());
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

impl World {
    /// Asks a picker; `None` when it refuses or cannot be reached.
    async fn ask(&self, picker: usize, room: usize, method: Method) -> Option<usize> {
        let region = ["eu", "us"][picker];
        let uri = format!("http://127.0.0.1:{}/shard?room=Room-{room}&region={region}", self.ports[picker]);
        let request = Request::builder().method(method).uri(uri).body(Empty::new()).unwrap();
        let asked = Instant::now();
        let answer = tokio::time::timeout(LIMIT, async {
            let answer = self.client.request(request).await.ok()?;
            let (head, body) = answer.into_parts();
            Some((head.status.as_u16(), body.collect().await.ok()?.to_bytes()))
        });
        match answer.await.ok().flatten() {
            Some((200, body)) => {
                let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let shard = SHARDS.iter().position(|(id, _)| answer["shard"] == *id).unwrap();
                let stamp = answer["stamp"].as_u64().unwrap();
                self.said[room].lock().unwrap().push(Said { asked, came: Instant::now(), shard, stamp });
                self.tally.answers.fetch_add(1, Relaxed);
                Some(shard)
            }
            Some(_) => {
                self.tally.refused.fetch_add(1, Relaxed);
                None
            }
            None => {
                self.tally.cut.fetch_add(1, Relaxed);
                None
            }
        }
    }

    /// One caller of a picker: all rooms once, shared with the others, and in between one that was asked for before.
    async fn call(self: Arc<Self>, picker: usize, seed: u64) {
        let mut dice = Dice(seed);
        while !self.over.load(Relaxed) {
            let met = self.next[picker].load(Relaxed).min(self.scale.rooms);
            if met > 0 && (met == self.scale.rooms || dice.roll(3) == 0) {
                let paused = self.paused.load(Relaxed);
                let answer = self.ask(picker, self.room(picker, dice.roll(met)), Method::POST).await;
                if answer.is_some() && paused && self.paused.load(Relaxed) {
                    self.tally.through_pause.fetch_add(1, Relaxed);
                }
                continue;
            }
            let next = self.next[picker].fetch_add(1, Relaxed);
            // Clients try again.
            while next < self.scale.rooms
                && self.ask(picker, self.room(picker, next), Method::POST).await.is_none()
                && !self.over.load(Relaxed)
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Whether any room was told to be on this shard.
    fn is_told(&self, shard: usize) -> bool {
        self.said.iter().any(|said| said.lock().unwrap().iter().any(|it| it.shard == shard))
    }

    /// The two meet each room at about the same time, from both ends of every hundred.
    fn room(&self, picker: usize, next: usize) -> usize {
        match picker {
            0 => next,
            _ => (next / 100 * 100 + 99 - next % 100).min(self.scale.rooms - 1),
        }
    }

    /// Where a picker says that a room is. Clients try again.
    async fn answer(&self, picker: usize, room: usize) -> Option<usize> {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(picker, room, Method::GET).await;
            if answer.is_some() || Instant::now() >= end {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What both say of every room in the end, and the rooms where they differ from one another or from the export.
    async fn compare(self: &Arc<Self>, exported: &BTreeMap<String, String>) -> (Vec<usize>, Vec<String>) {
        let mut asking = JoinSet::new();
        for part in 0..ASKERS {
            let world = Arc::clone(self);
            asking.spawn(async move {
                let mut answers = Vec::new();
                for room in (part..world.scale.rooms).step_by(ASKERS) {
                    answers.push((room, world.answer(0, room).await, world.answer(1, room).await));
                }
                answers
            });
        }
        let (mut per_shard, mut differ) = (vec![0; SHARDS.len()], Vec::new());
        for (room, one, two) in asking.join_all().await.into_iter().flatten() {
            let pin = exported.get(&format!("room-{room}"));
            let pin = pin.and_then(|id| SHARDS.iter().position(|(known, _)| known == id));
            match one.filter(|_| one == two && one == pin) {
                Some(shard) => per_shard[shard] += 1,
                None => differ.push(format!("Room-{room}: {one:?} and {two:?}, exported {pin:?}")),
            }
        }
        (per_shard, differ)
    }

    /// Rooms whose answers cannot all be true, and how many moved. Each binding has its stamp, and a later one overrules
    /// an earlier one: nobody may be told of an earlier one whose question was asked after a later one was told, and a
    /// room leaves only a shard that died.
    fn judge(&self, died: &BTreeSet<usize>) -> (Vec<String>, usize) {
        let (mut wrong, mut moved) = (Vec::new(), 0);
        for (room, said) in self.said.iter().enumerate() {
            // By stamp: the shard, when it was told first, and when it was asked for last.
            let mut stays: BTreeMap<u64, (usize, Instant, Instant)> = BTreeMap::new();
            for it in said.lock().unwrap().iter() {
                let stay = stays.entry(it.stamp).or_insert((it.shard, it.came, it.asked));
                if stay.0 != it.shard {
                    wrong.push(format!("Room-{room} was on two shards by one binding"));
                }
                (stay.1, stay.2) = (stay.1.min(it.came), stay.2.max(it.asked));
            }
            let stays: Vec<_> = stays.into_values().collect();
            moved += usize::from(stays.len() > 1);
            for pair in stays.windows(2) {
                let [(left, _, last), (shard, first, _)] = pair else { continue };
                if !died.contains(left) {
                    wrong.push(format!("Room-{room} left {}, which never died", SHARDS[*left].0));
                }
                if last > first {
                    wrong.push(format!("Room-{room} was on {} and {} at once", SHARDS[*left].0, SHARDS[*shard].0));
                }
            }
        }
        (wrong, moved)
    }
}

async fn pickers(scale: Scale, seed: u64) {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let began = Instant::now();
    let folder = Folder::new();
    let mut text = format!(
        "store = \"redis://127.0.0.1:{}\"\nstore_timeout = 0.3\ndead_after = 1\n[health]\ninterval = 0.2\n\
         timeout = 10\nrise = 2\nfall = 2\n",
        redis.port()
    );
    let mut jitsis = Vec::new();
    for (id, region) in SHARDS {
        let jitsi = ShardStandIn::start(id).await.unwrap();
        text.push_str(&stanza(id, region, &jitsi));
        jitsis.push(jitsi);
    }
    let config = folder.put("shards.toml", &text);
    let ports = [free_port(), free_port()];
    let mut running = ports.map(|port| Some(Picker::start(&config, port)));
    let said = (0..scale.rooms).map(|_| Mutex::default()).collect();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let (tally, over, paused, next) = Default::default();
    let world = Arc::new(World { scale, ports, client, said, tally, over, paused, next });
    let mut callers = JoinSet::new();
    for n in 0..2 * ASKERS {
        callers.spawn(Arc::clone(&world).call(n % 2, seed.wrapping_add(n as u64)));
    }
    let (mut dice, mut died, mut kills) = (Dice(seed), BTreeSet::new(), [0; 2]);
    for _ in 0..world.scale.rounds {
        tokio::time::sleep(world.scale.calm).await;
        redis.signal("STOP");
        world.paused.store(true, Relaxed);
        tokio::time::sleep(world.scale.pause).await;
        let through = || world.tally.through_pause.load(Relaxed) > 0;
        until("a known room is told without Redis", through).await;
        world.paused.store(false, Relaxed);
        redis.signal("CONT");
        tokio::time::sleep(world.scale.calm).await;

        let victim = dice.roll(2);
        kills[victim] += 1;
        running[victim].take().unwrap().process.signal("-KILL");
        running[victim] = Some(Picker::start(&config, ports[victim]));
        tokio::time::sleep(world.scale.calm).await;

        let (a, b) = (running[0].as_ref().unwrap(), running[1].as_ref().unwrap());
        let victim = dice.roll(SHARDS.len());
        let id = SHARDS[victim].0;
        died.insert(victim);
        until("a room is known there", || world.is_told(victim)).await;
        jitsis[victim].behave_all(Behaviour::Gone);
        let empty = |picker: &Picker| {
            let shard = picker.shard(id);
            shard["health"] == "dead" && shard["rooms"] == 0
        };
        until("both call it dead, and its rooms have moved", || empty(a) && empty(b)).await;
        jitsis[victim].behave_all(Behaviour::Well);
        until("both see it up again", || [a, b].iter().all(|it| it.shard(id)["health"] == "up")).await;
    }
    let met = |world: &World| world.next.iter().all(|next| next.load(Relaxed) >= world.scale.rooms);
    let answered = |world: &World| world.said.iter().all(|said| !said.lock().unwrap().is_empty());
    until("every room was asked for", || met(&world) && answered(&world)).await;
    world.over.store(true, Relaxed);
    while callers.join_next().await.is_some() {}

    // Now that nothing moves: both of every room, and what is exported.
    let (picker, mut exported) = (running[0].as_ref().unwrap(), serde_json::Value::Null);
    until("the pins are exported", || {
        exported = serde_json::from_str(&picker.shards(&["export", "-o", "json"]).out).unwrap_or_default();
        exported["pins"].is_array()
    })
    .await;
    let exported: BTreeMap<String, String> = exported["pins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pin| ["room", "shard"].map(|name| pin[name].as_str().unwrap().to_owned()))
        .map(|[room, shard]| (room, shard))
        .collect();
    let (per_shard, differ) = world.compare(&exported).await;
    let (wrong, moved) = world.judge(&died);
    let tally = &world.tally;
    println!(
        "two pickers on one Redis, seed {seed}: {} rooms, {} answers in {:.0} s, pickers killed {} and {} times, Redis \
         stopped {} times ({} answers meanwhile), {} shards died ({moved} rooms moved), {} refused and {} cut off; rooms \
         on each shard {per_shard:?}; {} disagree in the end, {} were in two places at once",
        world.scale.rooms,
        tally.answers.load(Relaxed),
        began.elapsed().as_secs_f64(),
        kills[0],
        kills[1],
        world.scale.rounds,
        tally.through_pause.load(Relaxed),
        world.scale.rounds,
        tally.refused.load(Relaxed),
        tally.cut.load(Relaxed),
        differ.len(),
        wrong.len(),
    );
    assert!(differ.is_empty(), "{:?}", &differ[..differ.len().min(10)]);
    assert!(wrong.is_empty(), "{:?}", &wrong[..wrong.len().min(10)]);
    assert!(tally.answers.load(Relaxed) >= 2 * world.scale.rooms as u64);
    assert!(moved > 0);
}

fn seed() -> u64 {
    let set = std::env::var("PICKER_SEED").ok().and_then(|text| text.parse().ok());
    set.unwrap_or_else(balancer_core::random)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pickers_agree() {
    let (pause, calm) = (Duration::from_millis(1500), Duration::from_millis(400));
    pickers(Scale { rooms: 1200, rounds: 1, pause, calm }, seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask soak shards"]
async fn two_pickers_agree_for_minutes() {
    let (pause, calm) = (Duration::from_secs(4), Duration::from_secs(3));
    pickers(Scale { rooms: 20_000, rounds: 8, pause, calm }, seed()).await;
}
