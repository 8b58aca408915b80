//! Monitor against fake servers, in paused time: a sleep here moves the clock and takes no time.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use balancer_core::*;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

mod network;
mod poll;
mod schedule;
mod share;

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A server with nothing but a name.
#[derive(Debug)]
pub(crate) struct Server {
    id: BackendId,
    #[cfg_attr(not(feature = "probes"), allow(dead_code))]
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn new(id: &str) -> Arc<Self> {
        Self::at(id, "")
    }

    pub(crate) fn at(id: &str, address: &str) -> Arc<Self> {
        Arc::new(Self { id: id.into(), address: address.to_owned() })
    }
}

impl Backend for Server {
    fn id(&self) -> &BackendId {
        &self.id
    }
}

#[derive(Clone)]
struct Nobody;

impl Selector<Server> for Nobody {
    fn pick(&self, _: &Candidates<'_, Server>, _: &Ask<'_>, _: &mut Turn<'_>) -> Option<Slot> {
        None
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Pass(Duration),
    Hang,
    Refused,
    Unreachable,
    NoName,
    Panic,
}

const OK: Mode = Mode::Pass(Duration::from_millis(10));

/// Servers that behave as told, and a log of who was probed when.
#[derive(Default)]
struct Fakes {
    modes: Mutex<HashMap<BackendId, Mode>>,
    all: Mutex<Option<Mode>>,
    log: Mutex<Vec<(BackendId, Instant)>>,
}

impl Fakes {
    fn set(&self, id: &str, mode: Mode) {
        self.modes.lock().unwrap().insert(id.into(), mode);
    }

    fn set_all(&self, mode: Option<Mode>) {
        *self.all.lock().unwrap() = mode;
    }

    fn times(&self, id: &str) -> Vec<Instant> {
        self.log.lock().unwrap().iter().filter(|(i, _)| i.as_str() == id).map(|(_, t)| *t).collect()
    }

    fn gaps(&self, id: &str) -> Vec<Duration> {
        self.times(id).windows(2).map(|w| w[1] - w[0]).collect()
    }

    fn clear(&self) {
        self.log.lock().unwrap().clear();
    }
}

#[async_trait]
impl HealthProbe<Server> for Fakes {
    async fn probe(&self, target: &Server) -> Result<Report, ProbeError> {
        self.log.lock().unwrap().push((target.id.clone(), Instant::now()));
        let mode = *self.all.lock().unwrap();
        let mode = mode.or_else(|| self.modes.lock().unwrap().get(&target.id).copied()).unwrap_or(OK);
        match mode {
            Mode::Pass(after) => {
                sleep(after).await;
                Ok(Report::new(Instant::now()).with_rooms(1))
            }
            Mode::Hang => std::future::pending().await,
            Mode::Refused => Err(ProbeError::Refused("connection refused".into())),
            Mode::Unreachable => Err(ProbeError::Silent("network is unreachable".into())),
            Mode::NoName => Err(ProbeError::Resolve("no such host".into())),
            Mode::Panic => panic!("a probe that breaks off"),
        }
    }
}

type Events = tokio::sync::broadcast::Receiver<Event>;

struct Field {
    pool: Arc<Pool<Server>>,
    fakes: Arc<Fakes>,
    monitor: Monitor<Server>,
    events: Events,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Field {
    fn new(names: &[String], options: MonitorOptions<Server>) -> Self {
        let counting = PoolOptions::default().load(ByRooms);
        let pool = Arc::new(Pool::new(Box::new(Plain::new("none", Nobody)), counting));
        let fakes = Arc::new(Fakes::default());
        let monitor = Monitor::new(pool.clone(), fakes.clone(), options);
        let field = Self { events: pool.subscribe(), pool, fakes, monitor, running: None };
        field.members(names);
        field
    }

    fn members(&self, names: &[String]) {
        let keep = |n: &String| self.pool.member(n).map_or_else(|| Server::new(n), |m| m.backend().clone());
        self.pool.replace(names.iter().map(keep)).unwrap();
    }

    fn start(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let monitor = self.monitor.clone();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            monitor.run(shutdown).await;
        });
        self.running = Some((stop, task));
    }

    async fn stop(&mut self) {
        let (stop, task) = self.running.take().unwrap();
        stop.send(()).unwrap();
        task.await.unwrap();
    }

    fn health(&self, id: &str) -> Health {
        self.pool.member(id).unwrap().health()
    }

    fn count(&self, health: Health) -> usize {
        self.pool.members().iter().filter(|m| m.health() == health).count()
    }

    /// All events so far that are about health or our own network.
    fn said(&mut self) -> Vec<Event> {
        let mut out = Vec::new();
        loop {
            match self.events.try_recv() {
                Ok(e @ (Event::Health { .. } | Event::OwnNetwork { .. })) => out.push(e),
                Ok(_) | Err(tokio::sync::broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => return out,
            }
        }
    }
}

fn names(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("s{i}")).collect()
}

/// Rise 2, fall 3, every 10 s, time-out 1 s, no jitter.
fn options() -> MonitorOptions<Server> {
    MonitorOptions::new(HealthRules::new(2, 3, secs(10))).timeout(secs(1)).jitter(0.0).seed(7)
}
