//! The world of one schedule: servers without ports, one store, and every step of every process held until it is
//! released. Nothing happens by itself: no socket, no clock but tokio's paused one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use adapter_bbb::testing::{FakeBbb, FakeOptions, MeetingSpec};
use adapter_bbb::{
    CallError, Fence, LocalStore, MeetingStore, Secret, ServerPatch, ServerRecord, ServerState, Transport, Upload,
};
use async_trait::async_trait;
use balancer_core::{BackendId, Binding, StickKey, StickStore, Token, WallClock, Want};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The one meeting of every schedule.
pub(crate) const MEETING: &str = "m";
/// Where the wall clock stands when a schedule begins.
const BEGAN_MS: u64 = 1_800_000_000_000;
/// Every step takes this long, so that no two meetings are created at one moment.
const STEP: Duration = Duration::from_millis(1);

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// Its port is closed.
    Killed,
    /// It takes requests and looks at them when it is well again.
    Hung,
}

#[derive(Debug)]
struct Server {
    mood: Mood,
    /// Counts kills: answers of a former life never arrive.
    life: u32,
    /// The moments at which somebody could not reach it, or it was said so.
    away: Vec<usize>,
    removed: bool,
}

type Reply = oneshot::Sender<Result<Bytes, CallError>>;

enum Kind {
    /// A task goes on.
    Go(oneshot::Sender<()>),
    /// A request arrives at a server.
    Arrive { process: usize, server: usize, url: String, body: Bytes, reply: Reply },
    /// An answer arrives at its caller.
    Answer { process: usize, server: usize, life: u32, document: String, reply: Reply },
}

struct Point {
    actor: String,
    label: String,
    kind: Kind,
}

/// A step that may be taken now.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    id: u64,
    pub(crate) process: String,
    pub(crate) actor: String,
}

/// What was true after a step.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) binding: Option<Binding>,
    /// When the meeting of each server was created.
    pub(crate) created: Vec<Option<u64>>,
}

/// A meeting that a create made, and whether its caller still waited.
#[derive(Clone, Copy, Debug)]
struct Birth {
    server: usize,
    created: u64,
    step: usize,
    orphan: bool,
}

struct Inner {
    next: u64,
    points: BTreeMap<u64, Point>,
    servers: Vec<Server>,
    cut: BTreeSet<(usize, usize)>,
    tasks: HashMap<tokio::task::Id, usize>,
    /// Steps are taken at once.
    free: bool,
    jump: Duration,
    births: Vec<Birth>,
    moments: Vec<Moment>,
    trace: Vec<String>,
    faults: Vec<String>,
}

pub(crate) struct World {
    inner: Mutex<Inner>,
    pub(crate) fakes: Vec<FakeBbb>,
    pub(crate) store: Arc<LocalStore>,
    pub(crate) clock: WallClock,
    pub(crate) leases: Leases,
}

/// Leases to poll, as the shared store gives them out: the number grows with every change of hands.
#[derive(Default)]
pub(crate) struct Leases(Mutex<HashMap<BackendId, Lease>>);

#[derive(Clone, Copy, Default)]
struct Lease {
    holder: Option<u64>,
    token: u64,
    /// When the last poll that was stored began.
    began_ms: u64,
}

impl Leases {
    fn with<T>(&self, server: &BackendId, f: impl FnOnce(&mut Lease) -> T) -> T {
        f(self.0.lock().unwrap().entry(server.clone()).or_default())
    }

    /// Takes a lease, whoever holds it.
    pub(crate) fn take(&self, server: &BackendId, process: u64) -> Fence {
        let token = self.with(server, |l| {
            l.token += u64::from(l.holder != Some(process));
            l.holder = Some(process);
            l.token
        });
        Fence { process, token }
    }

    pub(crate) fn give_back(&self, server: &BackendId, process: u64) {
        self.with(server, |l| l.holder = l.holder.filter(|holder| *holder != process));
    }

    /// Whether a poll may be stored under this lease; what is stored never gets older. A poll that failed began at 0.
    pub(crate) fn store(&self, server: &BackendId, fence: Fence, began_ms: u64) -> Result<bool, String> {
        self.with(server, |l| {
            if l.holder != Some(fence.process) || l.token != fence.token {
                return Ok(false);
            }
            if 0 < began_ms && began_ms < l.began_ms {
                return Err(format!("an older poll of {server} is stored after a newer one"));
            }
            l.began_ms = l.began_ms.max(began_ms);
            Ok(true)
        })
    }
}

impl World {
    /// Servers `s0`, `s1`, … in the order in which they are preferred.
    pub(crate) async fn new(servers: usize, seed: u64) -> Arc<Self> {
        let began = Instant::now();
        let clock = WallClock::from_fn(move || BEGAN_MS + u64::try_from(began.elapsed().as_millis()).unwrap());
        let store = Arc::new(LocalStore::memory().with_clock(clock.clone()));
        let mut fakes = Vec::new();
        for n in 0..servers {
            let options = FakeOptions::new(format!("secret-{n}")).name(format!("s{n}")).clock(clock.clone());
            let fake = FakeBbb::without_port(options, seed ^ n as u64);
            let url = format!("http://s{n}/bigbluebutton/api");
            let record = ServerRecord::new(format!("s{n}"), url, Secret::new(fake.secret()));
            assert!(store.add_server(&record).await.unwrap());
            let patch = ServerPatch { state: Some(ServerState::Enabled), ..ServerPatch::default() };
            assert!(store.update_server(&format!("s{n}").into(), &patch).await.unwrap());
            if n > 0 {
                let burden = StickKey::new(format!("burden-{n}")).unwrap();
                let want = Want { backend: format!("s{n}").into(), token: Token(n as u64) };
                store.claim(&burden, &want, Duration::from_secs(86_400)).await.unwrap();
                fake.put_meeting(MeetingSpec::new(burden.as_str()).people(100 * u32::try_from(n).unwrap(), 0, 0));
            }
            fakes.push(fake);
        }
        let server = |_| Server { mood: Mood::Well, life: 0, away: Vec::new(), removed: false };
        let inner = Inner {
            next: 0,
            points: BTreeMap::new(),
            servers: (0..servers).map(server).collect(),
            cut: BTreeSet::new(),
            tasks: HashMap::new(),
            free: true,
            jump: Duration::ZERO,
            births: Vec::new(),
            moments: Vec::new(),
            trace: Vec::new(),
            faults: Vec::new(),
        };
        Arc::new(Self { inner: Mutex::new(inner), fakes, store, clock, leases: Leases::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// From here on every step waits until it is released.
    pub(crate) fn hold(&self) {
        self.lock().free = false;
    }

    /// Waits until this step is released.
    pub(crate) async fn step(&self, process: &str, label: String) {
        let gone = {
            let mut w = self.lock();
            if w.free {
                return;
            }
            let (go, gone) = oneshot::channel();
            let actor = w.actor(process);
            w.post(actor, label, Kind::Go(go));
            gone
        };
        // The world outlives its tasks.
        let _ = gone.await;
    }

    /// What may happen next, oldest first.
    pub(crate) fn choices(&self) -> Vec<Choice> {
        let mut w = self.lock();
        let w = &mut *w;
        let servers = &w.servers;
        // Nobody waits any more: a task that goes on no more, an answer that nobody reads.
        w.points.retain(|_, p| match &p.kind {
            Kind::Go(go) => !go.is_closed(),
            Kind::Answer { reply, .. } => !reply.is_closed(),
            // What was sent to a server that was killed meanwhile is lost with it.
            Kind::Arrive { server, reply, .. } => !(reply.is_closed() && servers[*server].mood == Mood::Killed),
        });
        let may = |p: &&Point| !matches!(p.kind, Kind::Arrive { server, .. } if servers[server].mood == Mood::Hung);
        let choice = |(id, p): (&u64, &Point)| {
            may(&p).then(|| Choice {
                id: *id,
                process: p.actor.split('.').next().unwrap().to_owned(),
                actor: p.actor.clone(),
            })
        };
        w.points.iter().filter_map(choice).collect()
    }

    /// Lets one step happen, and all that follows from it without another step.
    pub(crate) async fn release(&self, choice: &Choice) {
        {
            let mut w = self.lock();
            let Some(point) = w.points.remove(&choice.id) else { return };
            w.trace.push(format!("{}: {}", point.actor, point.label));
            match point.kind {
                Kind::Go(go) => drop(go.send(())),
                Kind::Arrive { process, server, url, body, reply } => {
                    self.arrive(&mut w, process, server, &url, &body, reply);
                }
                Kind::Answer { process, server, life, document, reply } => {
                    let host = format!("s{server}");
                    let lost = w.servers[server].life != life || w.cut.contains(&(process, server));
                    let why = "connection reset".to_owned();
                    let answer = if lost { Err(CallError::Broken { host, why }) } else { Ok(Bytes::from(document)) };
                    drop(reply.send(answer));
                }
            }
        }
        self.settle(STEP).await;
        let jump = std::mem::take(&mut self.lock().jump);
        if jump > Duration::ZERO {
            self.settle(jump).await;
        }
    }

    /// Runs every task to where it waits, while so much time passes. Tokio's paused clock moves only when nobody can go on.
    pub(crate) async fn settle(&self, time: Duration) {
        tokio::time::sleep(time).await;
        self.observe().await;
    }

    /// Writes down what is true at this moment.
    pub(crate) async fn observe(&self) {
        let look = self.store.look(MEETING).await.unwrap();
        // Nobody is led to a server that is not known any more.
        let binding = look.meeting.filter(|_| look.server.is_some()).map(|m| m.binding);
        let created = (0..self.fakes.len()).map(|n| self.created_at(n)).collect();
        let offline: Vec<bool> = self.store.servers().await.unwrap().servers.iter().map(|s| !s.online).collect();
        let mut w = self.lock();
        let now = w.moments.len();
        w.moments.push(Moment { binding, created });
        let cut: Vec<usize> = w.cut.iter().map(|(_, server)| *server).collect();
        for (n, server) in w.servers.iter_mut().enumerate() {
            if server.mood != Mood::Well || server.removed || cut.contains(&n) || offline.get(n) == Some(&true) {
                server.away.push(now);
            }
        }
    }

    fn arrive(&self, w: &mut Inner, process: usize, server: usize, url: &str, body: &[u8], reply: Reply) {
        let host = format!("s{server}");
        if w.cut.contains(&(process, server)) {
            drop(reply.send(Err(CallError::ConnectTimeout { host, seconds: 0.0 })));
            return;
        }
        if w.servers[server].mood == Mood::Killed {
            drop(reply.send(Err(CallError::Refused { host })));
            return;
        }
        let had = self.created_at(server);
        let Some(document) = self.fakes[server].perform(url, body) else { return };
        let has = self.created_at(server);
        if let Some(created) = has.filter(|_| has != had) {
            let step = w.moments.len();
            w.births.push(Birth { server, created, step, orphan: reply.is_closed() });
        }
        if w.free {
            drop(reply.send(Ok(Bytes::from(document))));
        } else if !reply.is_closed() {
            let call = call_of(url);
            let life = w.servers[server].life;
            let actor = format!("P{process}.s{server}");
            let label = format!("the answer of s{server} to {call} arrives");
            w.post(actor, label, Kind::Answer { process, server, life, document, reply });
        }
    }

    /// When the meeting on a server was created, if there is one.
    pub(crate) fn created_at(&self, server: usize) -> Option<u64> {
        self.fakes[server].inspect(|s| s.meeting(MEETING).map(|m| m.create_time))
    }

    pub(crate) fn set_mood(&self, server: usize, mood: Mood) {
        let mut w = self.lock();
        w.servers[server].mood = mood;
        w.servers[server].life += u32::from(mood == Mood::Killed);
    }

    /// A restarted server has no meetings.
    pub(crate) fn lose(&self, server: usize) {
        for m in self.fakes[server].meetings() {
            self.fakes[server].remove_meeting(&m.id);
        }
    }

    pub(crate) fn set_removed(&self, server: usize) {
        self.lock().servers[server].removed = true;
    }

    pub(crate) fn is_removed(&self, server: usize) -> bool {
        self.lock().servers[server].removed
    }

    /// A process does not reach a server, or does again.
    pub(crate) fn set_cut(&self, process: usize, server: usize, cut: bool) {
        let mut w = self.lock();
        if cut {
            w.cut.insert((process, server))
        } else {
            w.cut.remove(&(process, server))
        };
    }

    /// Everything can be reached again.
    pub(crate) fn heal(&self) {
        let mut w = self.lock();
        w.cut.clear();
        w.servers.iter_mut().for_each(|s| s.mood = Mood::Well);
    }

    /// Lets time pass after this step.
    pub(crate) fn jump(&self, time: Duration) {
        self.lock().jump = time;
    }

    /// The number of the next moment.
    pub(crate) fn now(&self) -> usize {
        self.lock().moments.len()
    }

    pub(crate) fn moments(&self, from: usize) -> Vec<Moment> {
        let w = self.lock();
        w.moments[from.saturating_sub(1).min(w.moments.len())..].to_vec()
    }

    /// Something is not as it must be.
    pub(crate) fn fault(&self, what: String) {
        self.lock().faults.push(what);
    }

    pub(crate) fn take_faults(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().faults)
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        self.lock().trace.clone()
    }

    pub(crate) fn note(&self, text: String) {
        self.lock().trace.push(text);
    }

    /// Whether a meeting left over on a server may be there: its caller had given up before it was made, or somebody who
    /// would have ended it could not reach the server afterwards, or believed so.
    pub(crate) fn is_excused(&self, server: usize, created: u64) -> bool {
        let w = self.lock();
        let birth = w.births.iter().find(|b| b.server == server && b.created == created);
        birth.is_none_or(|b| b.orphan || w.servers[server].away.iter().any(|at| *at >= b.step))
    }
}

impl Inner {
    fn actor(&mut self, process: &str) -> String {
        let next = self.tasks.len();
        let task = tokio::task::try_id().map_or(0, |id| *self.tasks.entry(id).or_insert(next));
        format!("{process}.{task}")
    }

    fn post(&mut self, actor: String, label: String, kind: Kind) {
        self.points.insert(self.next, Point { actor, label, kind });
        self.next += 1;
    }
}

fn call_of(url: &str) -> String {
    let path = url.split('?').next().unwrap_or(url);
    match path.rsplit_once("/api").map_or("", |(_, call)| call.trim_matches('/')) {
        "" => "version".to_owned(),
        call => call.to_owned(),
    }
}

/// The way of one process to the servers.
pub(crate) struct Line {
    pub(crate) world: Arc<World>,
    pub(crate) process: usize,
}

#[async_trait]
impl Transport for Line {
    async fn call(&self, url: &str, _upload: Option<Upload>) -> Result<Bytes, CallError> {
        let host = url.split('/').nth(2).unwrap().to_owned();
        let server: usize = host.trim_start_matches('s').parse().unwrap();
        let (reply, answer) = oneshot::channel();
        {
            let mut w = self.world.lock();
            let (process, url, body) = (self.process, url.to_owned(), Bytes::new());
            if w.free {
                self.world.arrive(&mut w, process, server, &url, &body, reply);
            } else {
                let actor = w.actor(&format!("P{process}"));
                let label = format!("{} arrives at s{server}", call_of(&url));
                w.post(actor, label, Kind::Arrive { process, server, url, body, reply });
            }
        }
        answer.await.unwrap_or(Err(CallError::Broken { host, why: "lost".to_owned() }))
    }
}
