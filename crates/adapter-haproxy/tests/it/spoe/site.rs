//! A HAProxy with three servers, and the agent that it asks.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use adapter_haproxy::HaproxyVersion;
use adapter_haproxy::render::{
    AgentPlace, AgentsSection, BackendSection, Balance, Bind, ControlSocket, FrontendSection, HaproxyConfig, Offload,
    OnNoAnswer, ServerLine, SetVar, StickRule, StickTable,
};
use adapter_haproxy::spoe::{AgentCounters, AgentOptions, AgentServer, AgentServerOptions, Placer, PlacerOptions};
use async_trait::async_trait;
use balancer_core::{
    Backend, BackendId, Balancer, BalancerOptions, Binding, ByRooms, Claim, LeastLoaded, LoadModel, MemoryStore, Pool,
    PoolOptions, StickError, StickKey, StickPage, StickStore, Want,
};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::{Answer, Client};
use crate::haproxy::{Haproxy, Place, free_port, until};
use crate::responder;

pub(super) fn rooms(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

#[derive(Debug)]
pub(super) struct Server {
    id: BackendId,
    number: u32,
}

impl Backend for Server {
    fn id(&self) -> &BackendId {
        &self.id
    }
}

/// A stick table whose claims take their time when told to.
#[derive(Default)]
pub(super) struct SlowStore {
    inner: MemoryStore,
    pub(super) slow: AtomicBool,
    /// Claims on the way.
    pub(super) claiming: AtomicU64,
}

/// How long HAProxy waits for an agent where waiting is looked at; the agent allows itself less than half of it. On a
/// busy host the 50 ms that are rendered would be too short to tell a failure from a crowd.
pub(super) const PATIENCE: Duration = Duration::from_millis(400);

/// Where it is not: whoever stands still for a while is waited for.
pub(super) const PATIENT: Duration = Duration::from_secs(30);

/// What a busy host may add to one request.
pub(super) const BUSY: Duration = Duration::from_secs(10);

/// How long slow claims take: longer than HAProxy waits.
const SLOW: Duration = Duration::from_secs(1);

#[async_trait]
impl StickStore for SlowStore {
    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Result<Option<Binding>, StickError> {
        self.inner.get(key, extend).await
    }

    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.claiming.fetch_add(1, Ordering::SeqCst);
        if self.slow.load(Ordering::SeqCst) {
            tokio::time::sleep(SLOW).await;
        }
        let claimed = self.inner.claim(key, want, ttl).await;
        self.claiming.fetch_sub(1, Ordering::SeqCst);
        claimed
    }

    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.inner.rebind(key, seen, want, ttl).await
    }

    async fn renew(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> Result<bool, StickError> {
        self.inner.renew(key, seen, ttl).await
    }

    async fn release(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        self.inner.release(key, seen).await
    }

    async fn close(&self, backend: &BackendId, closed: bool) -> Result<(), StickError> {
        self.inner.close(backend, closed).await
    }

    async fn list(&self, backend: &BackendId, from: Option<&str>) -> Result<StickPage, StickError> {
        self.inner.list(backend, from).await
    }

    async fn count(&self, backend: &BackendId) -> Result<u64, StickError> {
        self.inner.count(backend).await
    }
}

/// An agent on one thread of its own, over a stick table that outlives it.
pub(super) struct Agent {
    pub(super) port: u16,
    patience: Duration,
    options: AgentServerOptions,
    pub(super) store: Arc<SlowStore>,
    pub(super) placer: Arc<Placer<Server>>,
    pub(super) counters: Arc<AgentCounters>,
    /// Dropped, the agent leaves.
    leave: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    // Before the runtime, whose end would wait for it.
    frozen: Option<mpsc::Sender<()>>,
    runtime: Runtime,
}

impl Agent {
    /// For a HAProxy that waits so long.
    pub(super) fn start(patience: Duration) -> Self {
        Self::start_with(patience, placer(patience), AgentOptions::default())
    }

    /// One that places so, and offers this.
    pub(super) fn start_with(
        patience: Duration,
        (store, placer): (Arc<SlowStore>, Arc<Placer<Server>>),
        offer: AgentOptions,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (port, options) = (free_port(), AgentServerOptions::default().with_processing(patience * 2 / 5));
        let options = options.with_session(offer);
        let (counters, leave, task) = serve(&runtime, port, &options, &placer);
        Self { port, patience, options, store, placer, counters, leave: Some(leave), task, frozen: None, runtime }
    }

    /// Ends as it should: answers, says so to everybody, and is gone.
    pub(super) fn leave(&mut self) {
        drop(self.leave.take());
        until("the agent has left", || self.task.is_finished());
    }

    /// Ends at once: every connection is closed, nobody listens.
    pub(super) fn kill(&mut self) {
        self.task.abort();
        until("the agent ends", || self.task.is_finished());
    }

    /// On the same port, with the same stick table.
    pub(super) fn restart(&mut self) {
        self.kill();
        let (counters, leave, task) = serve(&self.runtime, self.port, &self.options, &self.placer);
        (self.counters, self.leave, self.task) = (counters, Some(leave), task);
    }

    /// Does nothing any more, as if it were stopped: the system still takes connections and bytes for it.
    pub(super) fn freeze(&mut self) {
        let (thaw, thawed) = mpsc::channel::<()>();
        let (began, has_begun) = mpsc::channel::<()>();
        self.runtime.spawn(async move {
            let _ = began.send(());
            // The one thread there is.
            let _ = thawed.recv();
        });
        has_begun.recv().unwrap();
        self.frozen = Some(thaw);
    }

    pub(super) fn thaw(&mut self) {
        self.frozen = None;
    }

    /// Where its stick table has a room.
    pub(super) fn home(&self, room: &str) -> Option<String> {
        let found = self.runtime.block_on(self.store.get(&StickKey::new(room).unwrap(), None)).unwrap();
        found.map(|binding| binding.backend.as_str().to_owned())
    }
}

/// Three servers, new rooms on the one with the fewest.
pub(super) fn placer(patience: Duration) -> (Arc<SlowStore>, Arc<Placer<Server>>) {
    placer_of(3, ByRooms, patience)
}

/// So many servers, new rooms on the one with the least of this load.
pub(super) fn placer_of(
    servers: u32,
    load: impl LoadModel<Server> + 'static,
    patience: Duration,
) -> (Arc<SlowStore>, Arc<Placer<Server>>) {
    let store = Arc::new(SlowStore::default());
    (store.clone(), placer_on(store, servers, load, patience))
}

/// The same, over this stick table.
pub(super) fn placer_on(
    store: Arc<dyn StickStore>,
    servers: u32,
    load: impl LoadModel<Server> + 'static,
    patience: Duration,
) -> Arc<Placer<Server>> {
    let pool = Arc::new(Pool::new(Box::new(LeastLoaded), PoolOptions::default().load(load)));
    let servers = (1..=servers).map(|number| Arc::new(Server { id: format!("web{number}").into(), number }));
    pool.replace(servers).unwrap();
    let balancer = Arc::new(Balancer::new(pool, store, BalancerOptions::default()));
    let placer = Placer::new(balancer, PlacerOptions::default().with_patience(patience));
    Arc::new(placer.with_server_numbers(|server: &Server| Some(server.number)))
}

fn serve(
    runtime: &Runtime,
    port: u16,
    options: &AgentServerOptions,
    placer: &Arc<Placer<Server>>,
) -> (Arc<AgentCounters>, oneshot::Sender<()>, JoinHandle<()>) {
    let address = SocketAddr::from(([127, 0, 0, 1], port)).into();
    let server = runtime.block_on(AgentServer::bind(&address, options.clone(), placer.clone())).unwrap();
    let (counters, (leave, left)) = (server.counters(), oneshot::channel());
    let run = server.run(async {
        let _ = left.await;
    });
    (counters, leave, runtime.spawn(run))
}

/// A HAProxy with three servers whose rooms an agent places.
pub(super) struct Site {
    pub(super) version: HaproxyVersion,
    pub(super) haproxy: Haproxy,
    client: Client,
}

impl Site {
    pub(super) fn start(binary: &Path, agent: &Agent, on_no_answer: OnNoAnswer) -> Self {
        Self::start_changed(binary, agent.port, agent.patience, on_no_answer, |_| {})
    }

    /// The same, with another configuration.
    pub(super) fn start_changed(
        binary: &Path,
        agent: u16,
        patience: Duration,
        on_no_answer: OnNoAnswer,
        change: impl FnOnce(&mut HaproxyConfig),
    ) -> Self {
        let site = Self::run(binary, agent, on_no_answer, |config| {
            let offload = config.backends[0].offload.as_mut().unwrap();
            offload.processing = patience;
            if patience == PATIENT {
                // Nothing that a busy host does is to keep a question from its agent.
                offload.hello = patience;
                config.agents[0].connect = patience;
                config.agents[0].check.1 = patience;
            }
            change(config);
        });
        site.until_agent("UP");
        site
    }

    /// The same, with nobody to ask.
    pub(super) fn start_without(binary: &Path, change: impl FnOnce(&mut HaproxyConfig)) -> Self {
        Self::run(binary, 1, OnNoAnswer::Balance, |config| {
            config.backends[0].offload = None;
            config.agents.clear();
            change(config);
        })
    }

    fn run(binary: &Path, agent: u16, on_no_answer: OnNoAnswer, change: impl FnOnce(&mut HaproxyConfig)) -> Self {
        let out = Command::new(binary).arg("-v").output().unwrap();
        let version = String::from_utf8_lossy(&out.stdout).parse().unwrap();
        let place = Place::new();
        let mut config = config(version, &place, agent, on_no_answer);
        change(&mut config);
        if let Ok(engine) = config.engine_file("placement") {
            std::fs::write(place.folder.join("spoe.conf"), engine).unwrap();
        }
        let text = config.render().unwrap();
        let client = Client::of(place.port);
        let haproxy = Haproxy::run(binary, place, &text);
        Self { version, haproxy, client }
    }

    /// Waits until HAProxy holds the agent for up or down.
    pub(super) fn until_agent(&self, status: &str) {
        until(&format!("the agent is {status}"), || self.haproxy.status("spoe-agents", "a1") == status);
    }

    pub(super) fn get(&mut self, target: &str) -> Answer {
        self.client.get(target)
    }

    pub(super) fn ask(&mut self, room: &str) -> Answer {
        self.get(&format!("/?room={}", room.replace(' ', "%20")))
    }

    pub(super) fn ask_with_tags(&mut self, room: &str, tags: &str) -> Answer {
        self.get(&format!("/?room={room}&tags={tags}"))
    }
}

fn config(version: HaproxyVersion, place: &Place, agent: u16, on_no_answer: OnNoAnswer) -> HaproxyConfig {
    let mut config = HaproxyConfig::new(version);
    config.global.sockets.push(ControlSocket::admin(place.socket()));
    config.global.threads = Some(1);
    let mut front = FrontendSection::new("web", "rooms");
    front.binds.push(Bind::port(place.port).on("127.0.0.1"));
    front.variables =
        vec![SetVar::new("room", "url_param(room),url_dec"), SetVar::new("tags", "url_param(tags),url_dec")];
    front.extra.push("http-response set-header X-Why %[var(txn.lb.why)]".into());
    let mut back = BackendSection::new("rooms", Balance::Variable("room".into()));
    back.table = Some(StickTable::rooms());
    back.sticks = vec![StickRule::Variable("room".into())];
    let ports = responder::start((1..=3).map(|n| format!("web{n}")));
    let servers = (1..).zip(ports).map(|(n, port)| ServerLine::new(n, format!("web{n}"), "127.0.0.1", port));
    back.servers = servers.collect();
    let file = place.path("spoe.conf");
    let mut offload = Offload::new("placement", file, "spoe-agents", "room").on_no_answer(on_no_answer);
    offload.tags = Some("tags".into());
    back.offload = Some(offload);
    let place = AgentPlace::Tcp("127.0.0.1".into(), agent);
    config.agents.push(AgentsSection::new("spoe-agents", vec![("a1".into(), place)]));
    config.frontends.push(front);
    config.backends.push(back);
    config
}
