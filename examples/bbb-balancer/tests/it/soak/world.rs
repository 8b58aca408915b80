//! What is tested: one Redis, two balancers, some servers, each a process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use balancer_core::{RedisLink, RedisOptions, RedisReply};
use serde_json::{Value, json};

use super::callbacks::FrontEnd;
use super::fakes::{FAKE_SECRET, Fakes, roomy};
use super::http::{Answer, Lost, PATIENCE, http, signed};
use crate::processes::{Guard, free_port};

pub(super) const SECRET: &str = "soak-secret";
pub(super) const POLL: Duration = Duration::from_secs(1);
/// So long somebody may stand still on a busy machine without anybody having disturbed him.
const BUSY: Duration = Duration::from_secs(3);

/// `CONNECT_TIMEOUT`, `RESPONSE_TIMEOUT` and `REDIS_POOL_TIMEOUT` of the balancers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    connect: Duration,
    response: Duration,
    store: Duration,
}

impl Times {
    /// Calls run out of time often.
    pub(super) const SHORT: Self = Self::of(500, 2_000, 2_000);
    /// Only calls that are meant to run out of time do, on a busy machine as well.
    pub(super) const PATIENT: Self = Self::of(1_000, 5_000, 8_000);

    const fn of(connect_ms: u64, response_ms: u64, store_ms: u64) -> Self {
        let [connect, response] = [Duration::from_millis(connect_ms), Duration::from_millis(response_ms)];
        Self { connect, response, store: Duration::from_millis(store_ms) }
    }

    /// Both together: one call.
    pub(super) fn call(self) -> Duration {
        self.connect + self.response
    }

    /// A create that is carried out so late has been given up by whoever sent it.
    pub(super) fn late(self) -> Duration {
        self.call() + Duration::from_millis(1_500)
    }

    /// A server counts as undisturbed for a create begun so long after its last disturbance: until then, calls that
    /// waited at it may still be carried out.
    pub(super) fn margin(self) -> Duration {
        self.late() + BUSY
    }

    /// How long a copy of a meeting may be left on a server that is not its home, after that server or Redis was
    /// disturbed or the meeting asked for: the balancer's own grace for young bindings (twice the time of a call and
    /// 5 s), some polls, and what a busy machine adds to each of them.
    pub(super) fn stray_limit(self) -> Duration {
        self.call() * 2 + Duration::from_secs(5) + POLL * 5 + BUSY * 3
    }
}

pub(super) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether something is disturbed, and since when it no longer is.
#[derive(Debug)]
pub(super) struct Calm(Mutex<(Option<String>, Instant)>);

impl Calm {
    /// At the beginning nothing waits anywhere: as if it had been calm for long.
    fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new((None, now.checked_sub(Duration::from_secs(60)).unwrap_or(now))))
    }

    pub(super) fn disturb(&self, how: &str) {
        lock(&self.0).0 = Some(how.to_owned());
    }

    pub(super) fn heal(&self) {
        *lock(&self.0) = (None, Instant::now());
    }

    /// Since when it is calm; `None` while it is disturbed.
    pub(super) fn since(&self) -> Option<Instant> {
        let now = lock(&self.0);
        now.0.is_none().then_some(now.1)
    }
}

/// A server: its process, its id in the pool, its disturbances.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) process: tokio::sync::Mutex<Option<Fakes>>,
    pub(super) id: Mutex<String>,
    pub(super) calm: Calm,
}

impl Server {
    pub(super) fn base(&self) -> String {
        format!("http://127.0.0.1:{}/bigbluebutton/api", self.port)
    }

    /// The meetings the server lists itself.
    pub(super) async fn meetings(&self, within: Duration) -> Option<Vec<String>> {
        let path = signed("/bigbluebutton/api", "getMeetings", &[], FAKE_SECRET);
        let answer = http(self.port, &path, None, within).await.ok()?;
        let list = adapter_bbb::meetings(answer.body.as_bytes()).ok()?;
        Some(list.iter().map(|m| m.id.to_string()).collect())
    }
}

/// A `serve` process on a port that stays the same.
#[derive(Debug)]
pub(super) struct Balancer {
    pub(super) port: u16,
    pub(super) process: tokio::sync::Mutex<Option<Guard>>,
    /// Whether new requests are sent to it: what a load balancer before it would know.
    pub(super) up: AtomicBool,
    log: PathBuf,
    env: Vec<(String, String)>,
}

impl Balancer {
    pub(super) fn new(log: PathBuf, env: &[(&str, &str)]) -> Self {
        let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Self { port: free_port(), process: tokio::sync::Mutex::new(None), up: AtomicBool::new(true), log, env }
    }

    /// Starts it, again and again like a supervisor, until it listens.
    pub(super) async fn start(&self) {
        let mut process = self.process.lock().await;
        let end = Instant::now() + PATIENCE;
        loop {
            let log = std::fs::File::options().create(true).append(true).open(&self.log).unwrap();
            let child = roomy(env!("CARGO_BIN_EXE_bbb-balancer"))
                .args(["serve", "--bind", &format!("127.0.0.1:{}", self.port)])
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .env("LOADBALANCER_SECRET", SECRET)
                .envs(self.env.iter().map(|(n, v)| (n, v)))
                .stdin(Stdio::null())
                .stderr(log.try_clone().unwrap())
                .stdout(log)
                .spawn()
                .unwrap();
            let mut child = Guard(child);
            while child.0.try_wait().unwrap().is_none() {
                if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                    *process = Some(child);
                    return;
                }
                assert!(Instant::now() < end, "serve does not listen:\n{}", self.log_text());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(Instant::now() < end, "serve does not start:\n{}", self.log_text());
        }
    }

    pub(super) fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(super) async fn api(&self, call: &str, pairs: &[(&str, &str)]) -> Result<Answer, Lost> {
        http(self.port, &signed("/bigbluebutton/api", call, pairs, SECRET), None, PATIENCE).await
    }

    /// The JSON answer of an operator's call, if there is one.
    pub(super) async fn operate(&self, base: &str, call: &str, body: Option<&Value>) -> Option<Value> {
        let body = body.map(Value::to_string);
        let answer = http(self.port, &signed(base, call, &[], SECRET), body.as_deref(), PATIENCE).await.ok()?;
        let value: Value = serde_json::from_str(&answer.body).ok()?;
        (answer.status < 300).then_some(value)
    }

    pub(super) async fn status(&self) -> Option<Vec<Value>> {
        self.operate("/balancer/api", "status", None).await?["servers"].as_array().cloned()
    }
}

/// The Redis process: it writes every command to its file before it answers, so that a kill forgets nothing.
#[derive(Debug)]
pub(super) struct Redis {
    port: u16,
    folder: PathBuf,
    pub(super) process: tokio::sync::Mutex<Option<Guard>>,
    pub(super) link: RedisLink,
    pub(super) calm: Calm,
}

impl Redis {
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) async fn start(&self) {
        let mut process = self.process.lock().await;
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
            .arg(&self.folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        *process = Some(Guard(child));
        let end = Instant::now() + PATIENCE;
        while self.link.call(&["PING"]).await.is_err() {
            assert!(Instant::now() < end, "redis-server does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Everything.
#[derive(Debug)]
pub(super) struct World {
    pub(super) redis: Redis,
    pub(super) balancers: [Balancer; 2],
    pub(super) servers: Vec<Server>,
    /// Every id a server ever had, and its port.
    pub(super) ids: Mutex<BTreeMap<String, u16>>,
    /// Ids that were removed.
    pub(super) removed: Mutex<Vec<String>>,
    pub(super) folder: PathBuf,
    pub(super) front_end: FrontEnd,
    pub(super) times: Times,
}

impl World {
    /// `None`: there is no redis-server.
    pub(super) async fn start(servers: usize, times: Times, folder: &Path) -> Option<Self> {
        if let Err(e) = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status() {
            assert!(std::env::var_os("CI").is_none(), "redis-server is missing: {e}");
            eprintln!("SKIPPED: redis-server is not installed (apt-get install redis-server)");
            return None;
        }
        std::fs::create_dir_all(folder).unwrap();
        let port = free_port();
        let url = format!("redis://127.0.0.1:{port}");
        let link = RedisLink::new(RedisOptions::from_url(&url).unwrap()).unwrap();
        let process = tokio::sync::Mutex::new(None);
        let redis = Redis { port, folder: folder.to_owned(), process, link, calm: Calm::new() };
        redis.start().await;
        let Times { connect, response, store } = times;
        let [connect, response, store] = [connect, response, store].map(|time| time.as_secs_f64().to_string());
        let env = [
            ("REDIS_URL", url.as_str()),
            ("REDIS_POOL_TIMEOUT", store.as_str()),
            ("POLL_INTERVAL", "1"),
            ("CONNECT_TIMEOUT", connect.as_str()),
            ("RESPONSE_TIMEOUT", response.as_str()),
            ("URL_HOST", "127.0.0.1"),
            ("BALANCER_CALLBACK_ALLOW", "127.0.0.0/8"),
        ];
        let front_end = FrontEnd::start().await;
        let balancers = ["a", "b"].map(|n| Balancer::new(folder.join(format!("balancer-{n}.log")), &env));
        for b in &balancers {
            b.start().await;
        }
        let servers = (0..servers).map(|_| {
            // It is killed and comes back at its port, which nobody else gets meanwhile.
            let port = free_port();
            let fakes = Fakes::start(&[port]);
            let process = tokio::sync::Mutex::new(Some(fakes));
            Server { port, process, id: Mutex::default(), calm: Calm::new() }
        });
        let (ids, removed) = (Mutex::default(), Mutex::default());
        let servers = servers.collect();
        let world = Self { redis, balancers, servers, ids, removed, folder: folder.to_owned(), front_end, times };
        for s in &world.servers {
            world.add(s).await;
        }
        Some(world)
    }

    /// An operator's order through whichever balancer takes it, until one does.
    pub(super) async fn order(&self, base: &str, call: &str, body: &Value) -> Value {
        let end = Instant::now() + PATIENCE * 2;
        loop {
            for b in &self.balancers {
                if let Some(answer) = b.operate(base, call, Some(body)).await {
                    return answer;
                }
            }
            assert!(Instant::now() < end, "no balancer takes the order {call} {body}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Adds and enables a server.
    pub(super) async fn add(&self, server: &Server) {
        let body = json!({ "server": { "url": server.base(), "secret": FAKE_SECRET } });
        // An order whose answer was lost may have been carried out: then the server is listed.
        let end = Instant::now() + PATIENCE * 2;
        let id = 'added: loop {
            for b in &self.balancers {
                if let Some(answer) = b.operate("/scalelite/api", "addServer", Some(&body)).await {
                    break 'added answer["id"].as_str().unwrap().to_owned();
                }
                let listed = b.operate("/scalelite/api", "getServers", None).await;
                let same = |s: &&Value| s["url"] == server.base().as_str();
                if let Some(s) = listed.as_ref().and_then(Value::as_array).and_then(|l| l.iter().find(same)) {
                    break 'added s["id"].as_str().unwrap().to_owned();
                }
            }
            assert!(Instant::now() < end, "no balancer takes a server");
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        lock(&self.ids).insert(id.clone(), server.port);
        lock(&server.id).clone_from(&id);
        self.set_state(server, "enable").await;
    }

    pub(super) async fn set_state(&self, server: &Server, state: &str) {
        let id = lock(&server.id).clone();
        let body = json!({ "id": id, "server": { "state": state } });
        self.order("/scalelite/api", "updateServer", &body).await;
    }

    pub(super) async fn remove(&self, server: &Server) {
        let id = lock(&server.id).clone();
        let body = json!({ "id": id, "force": true });
        let end = Instant::now() + PATIENCE * 2;
        loop {
            for b in &self.balancers {
                // One whose answer was lost is unknown the next time.
                let path = signed("/balancer/api", "removeServer", &[], SECRET);
                let done = http(b.port, &path, Some(&body.to_string()), PATIENCE).await;
                if done.is_ok_and(|a| a.status == 200 || a.status == 404) {
                    lock(&self.removed).push(id);
                    return;
                }
            }
            assert!(Instant::now() < end, "no balancer removes a server");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(super) fn port_of(&self, id: &str) -> Option<u16> {
        lock(&self.ids).get(id).copied()
    }

    pub(super) fn server_at(&self, port: u16) -> Option<&Server> {
        self.servers.iter().find(|s| s.port == port)
    }

    /// One script at Redis, asked until Redis answers.
    pub(super) async fn ask_redis(&self, command: &[&str]) -> RedisReply {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.redis.link.call(command).await {
                Ok(reply) => return reply,
                Err(e) => assert!(Instant::now() < end, "redis-server does not answer: {e}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
