//! A day of rooms, placed once by real load and once by connections.
//!
//! A quarter of the rooms are lectures, where one sends and a hundred listen; in the others everybody sends to
//! everybody. So connections say little of the load. By connections is what HAProxy's leastconn does with the first
//! request of a room; by load is the same site with an agent, a least-loaded pool and a report every ten seconds.

use std::sync::Arc;
use std::time::Duration;

use adapter_haproxy::spoe::{Action, Answer, Argument, Message, Placer, PlacerOptions, Query, Value};
use balancer_core::{
    Backend, BackendId, Balancer, BalancerOptions, LeastLoaded, LoadModel, MemoryStore, Pool, PoolOptions, Report,
};
use tokio::time::Instant;

use crate::dice::Dice;

const SERVERS: usize = 6;
/// Steps of ten seconds: six hours, the first of which is not counted.
const STEPS: u64 = 6 * 360;
const STEP: u64 = 10;
const UNCOUNTED: u64 = 360;

#[derive(Debug)]
struct Server(BackendId);

impl Backend for Server {
    fn id(&self) -> &BackendId {
        &self.0
    }
}

/// Streams; a room is expected to bring so many.
pub(super) struct Streams(pub(super) u64);

impl<B> LoadModel<B> for Streams {
    fn cost(&self, _of: &B, report: &Report) -> u64 {
        report.cost.unwrap_or(0)
    }

    fn size(&self, _of: &B) -> u64 {
        self.0
    }
}

#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) start: u64,
    pub(super) seconds: u64,
    people: u64,
    /// How long it takes until all are there.
    filling: u64,
    lecture: bool,
}

impl Room {
    pub(super) fn people_at(&self, now: u64) -> u64 {
        (self.people * now.saturating_sub(self.start) / self.filling + 1).min(self.people)
    }

    pub(super) fn load_at(&self, now: u64) -> u64 {
        let people = self.people_at(now);
        if self.lecture { people } else { people * people }
    }
}

/// What rooms there are: seconds and people, from and to.
pub(super) struct Day {
    pub(super) end: u64,
    pub(super) apart: (usize, usize),
    pub(super) lasting: (usize, usize),
    pub(super) lecture: (usize, usize),
    pub(super) class: (usize, usize),
    pub(super) filling: (usize, usize),
}

const DAY: Day = Day {
    end: STEPS * STEP,
    apart: (1, 39),
    lasting: (900, 5400),
    lecture: (20, 150),
    class: (6, 25),
    filling: (30, 300),
};

pub(super) fn rooms(seed: u64, day: &Day) -> Vec<Room> {
    let mut dice = Dice(seed);
    let mut between = |(from, to): (usize, usize)| u64::try_from(from + dice.roll(to - from + 1)).unwrap();
    let (mut now, mut rooms) = (0, Vec::new());
    while now < day.end {
        now += between(day.apart);
        let (kind, mut lecture) = (between((0, 99)), false);
        let people = match kind {
            0..25 => {
                lecture = true;
                between(day.lecture)
            }
            25..70 => between((2, 5)),
            _ => between(day.class),
        };
        let (seconds, filling) = (between(day.lasting), between(day.filling));
        rooms.push(Room { start: now, seconds, people, filling, lecture });
    }
    rooms
}

/// Chooses servers.
trait Place {
    /// What was measured at this moment.
    async fn report(&mut self, loads: &[u64; SERVERS]);
    /// A server for a new room, where so many connections are.
    async fn place(&mut self, room: usize, connections: &[u64; SERVERS]) -> usize;
}

struct ByConnections;

impl Place for ByConnections {
    async fn report(&mut self, _loads: &[u64; SERVERS]) {}

    async fn place(&mut self, room: usize, connections: &[u64; SERVERS]) -> usize {
        (0..SERVERS).min_by_key(|server| (connections[*server], (server + room) % SERVERS)).unwrap()
    }
}

struct ByLoad(Arc<Placer<Server>>);

impl ByLoad {
    fn new() -> Self {
        let pool = Arc::new(Pool::new(Box::new(LeastLoaded), PoolOptions::default().load(Streams(60))));
        pool.replace((0..SERVERS).map(|n| Arc::new(Server(n.to_string().into())))).unwrap();
        let balancer = Balancer::new(pool, Arc::new(MemoryStore::default()), BalancerOptions::default());
        Self(Arc::new(Placer::new(Arc::new(balancer), PlacerOptions::default())))
    }
}

impl Place for ByLoad {
    async fn report(&mut self, loads: &[u64; SERVERS]) {
        for (server, load) in loads.iter().enumerate() {
            let report = Report::new(Instant::now()).with_cost(*load);
            self.0.balancer().pool().report(&server.to_string().into(), report).unwrap();
        }
        tokio::time::advance(Duration::from_millis(1)).await;
    }

    async fn place(&mut self, room: usize, _connections: &[u64; SERVERS]) -> usize {
        let message = Message::new("place", vec![Argument::new("room", Value::string(room.to_string()))]);
        let query = Query::new(vec![message], Instant::now() + Duration::from_secs(1));
        let actions = Arc::clone(&self.0).answer(query).await;
        let Some(Action::SetVar { value, .. }) = actions.first() else { panic!("no opinion") };
        value.as_str().unwrap().parse().unwrap()
    }
}

/// The largest load over the mean, on the average of the time.
async fn play(rooms: &[Room], by: &mut impl Place) -> f64 {
    let (mut live, mut next, mut sum): (Vec<(Room, usize)>, usize, f64) = (Vec::new(), 0, 0.0);
    for step in 0..STEPS {
        let now = step * STEP;
        live.retain(|(room, _)| room.start + room.seconds > now);
        let (mut loads, mut connections) = ([0; SERVERS], [0; SERVERS]);
        for (room, server) in &live {
            loads[*server] += room.load_at(now);
            connections[*server] += room.people_at(now);
        }
        by.report(&loads).await;
        if step >= UNCOUNTED {
            let (largest, total) = (loads.into_iter().max().unwrap(), loads.iter().sum::<u64>());
            sum += f64::from(u32::try_from(largest).unwrap()) * 6.0 / f64::from(u32::try_from(total).unwrap());
        }
        while let Some(room) = rooms.get(next).filter(|room| room.start < now + STEP) {
            let server = by.place(next, &connections).await;
            connections[server] += 1;
            live.push((*room, server));
            next += 1;
        }
        tokio::time::advance(Duration::from_secs(STEP)).await;
    }
    sum / f64::from(u32::try_from(STEPS - UNCOUNTED).unwrap())
}

#[tokio::test(start_paused = true)]
async fn placement_by_real_load_is_more_even_than_by_connections() {
    let mut better = 0;
    for seed in 1..=10 {
        let rooms = rooms(seed * 7919, &DAY);
        let (connections, load) = (play(&rooms, &mut ByConnections).await, play(&rooms, &mut ByLoad::new()).await);
        println!(
            "seed {seed}: {} rooms, largest/mean load {load:.3} by real load, {connections:.3} by connections",
            rooms.len()
        );
        better += u32::from(load < connections);
    }
    println!("placement by real load is more even in {better} of 10 replays");
    assert_eq!(better, 10);
}
