//! What most tests need: fake servers, a store with them in it, and clusters on that store.

use std::sync::Arc;
use std::time::Duration;

use adapter_bbb::testing::{FakeBbb, FakeOptions, MeetingSpec};
use adapter_bbb::{
    Algorithm, Algorithms, BbbClient, BbbOptions, BbbService, Checksums, Cluster, LocalStore, MeetingStore, Payload,
    RedisMeetings, RequestHead, Secret, ServerPatch, ServerRecord, ServerState, sign,
};
use balancer_core::{BackendId, RedisLink, RedisOptions, RedisReply};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use real_servers::RedisServer;

/// The balancer's own secret.
pub(crate) const SECRET: &str = "balancer-secret-Xq71";
/// The host name that calls are made to.
pub(crate) const HOST: &str = "bbb.example.com";
/// Longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for an answer of Redis.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

/// Options with time-outs so short that a busy machine may exceed them.
pub(crate) fn options() -> BbbOptions {
    let mut o = BbbOptions::new(Checksums::new([SECRET.to_owned()], Algorithms::default()));
    o.calls.connect = Duration::from_millis(300);
    o.calls.response = Duration::from_millis(700);
    o
}

/// Options with time-outs that no call reaches.
pub(crate) fn patient() -> BbbOptions {
    let mut o = options();
    o.calls.connect = Duration::from_secs(20);
    o.calls.response = Duration::from_secs(40);
    o
}

/// Options for servers that hang: they are given up, and one that is only slow is not.
pub(crate) fn hasty() -> BbbOptions {
    let mut o = options();
    o.calls.connect = Duration::from_secs(2);
    o.calls.response = Duration::from_secs(5);
    o
}

pub(crate) fn link(server: &RedisServer) -> RedisLink {
    let options = RedisOptions::new("127.0.0.1").port(server.port()).unwrap();
    RedisLink::new(options.connect_timeout(ANSWER).response_timeout(ANSWER)).unwrap()
}

pub(crate) fn redis_store(server: &RedisServer) -> Arc<RedisMeetings> {
    Arc::new(RedisMeetings::new(link(server), "scalelite"))
}

/// Every key of a Redis server.
pub(crate) async fn keys(link: &RedisLink) -> Vec<String> {
    let reply = link.call(&["KEYS", "*"]).await.unwrap();
    let mut keys: Vec<String> = reply.as_list().iter().filter_map(RedisReply::as_str).map(str::to_owned).collect();
    keys.sort();
    keys
}

/// Every key and value of a Redis server as text.
pub(crate) async fn dump(link: &RedisLink) -> String {
    let mut out = String::new();
    for key in keys(link).await {
        let kind = link.call(&["TYPE", &key]).await.unwrap();
        let value = match kind.as_str().unwrap() {
            "hash" => link.call(&["HGETALL", &key]).await.unwrap(),
            "set" => link.call(&["SMEMBERS", &key]).await.unwrap(),
            "zset" => link.call(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]).await.unwrap(),
            _ => link.call(&["GET", &key]).await.unwrap(),
        };
        out.push_str(&format!("{key}: {}\n", words(&value)));
    }
    out
}

fn words(reply: &RedisReply) -> String {
    match reply {
        RedisReply::Int(n) => n.to_string(),
        RedisReply::Text(t) => String::from_utf8_lossy(t).into_owned(),
        RedisReply::List(l) => l.iter().map(words).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

/// The path and the query of a signed call to the balancer.
pub(crate) fn signed(call: &str, query: &str) -> (String, String) {
    let prefix = match call {
        "poll" | "plan" | "status" | "explain" | "meetings" | "removeServer" => "/balancer/api",
        "getServers" | "addServer" | "updateServer" | "deleteServer" | "panicServer" | "getServerInfo" => {
            "/scalelite/api"
        }
        _ => "/bigbluebutton/api",
    };
    let sum = sign(Algorithm::Sha256, call, query, SECRET);
    let between = if query.is_empty() { "" } else { "&" };
    (format!("{prefix}/{call}"), format!("{query}{between}checksum={sum}"))
}

/// An answer, as tests look at it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) missing: Option<String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn ok(&self) -> bool {
        self.body.contains("<returncode>SUCCESS</returncode>")
    }

    /// The text of an element.
    pub(crate) fn text(&self, name: &str) -> &str {
        let (_, rest) = self.body.split_once(&format!("<{name}>")).unwrap_or(("", ""));
        rest.split('<').next().unwrap()
    }
}

/// Puts one signed call to a service; `body` is JSON.
pub(crate) async fn call(service: &BbbService, name: &str, query: &str, body: Option<&str>) -> Answer {
    let (path, query) = signed(name, query);
    let head = RequestHead {
        method: if body.is_some() { "POST" } else { "GET" },
        path: &path,
        query: &query,
        host: Some(HOST),
        content_type: body.map(|_| "application/json"),
        ..RequestHead::default()
    };
    let payload = Payload::Whole(body.map_or(Bytes::new(), |b| Bytes::from(b.to_owned())));
    let r = timeout(PATIENCE * 2, service.handle(head, payload)).await.expect("the balancer answers");
    let header = |name: &str| r.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
    Answer {
        status: r.status().as_u16(),
        location: header("location"),
        missing: header("x-balancer-missing"),
        body: String::from_utf8_lossy(r.body()).into_owned(),
    }
}

/// One process: a cluster that runs, and its service.
pub(crate) struct Process {
    pub(crate) service: BbbService,
    stop: Option<oneshot::Sender<()>>,
}

impl Process {
    /// Starts a cluster; its loops run only when `run` says so.
    pub(crate) async fn start(options: BbbOptions, store: Arc<dyn MeetingStore>, run: bool) -> Self {
        let client = BbbClient::new(options.calls);
        Self::start_with(options, store, client, run).await
    }

    /// The same with another way to the servers.
    pub(crate) async fn start_with(
        options: BbbOptions,
        store: Arc<dyn MeetingStore>,
        client: BbbClient,
        run: bool,
    ) -> Self {
        let cluster = Cluster::start_with(options, store, client).await.unwrap();
        let stop = run.then(|| {
            let (stop, stopped) = oneshot::channel::<()>();
            let cluster = cluster.clone();
            tokio::spawn(cluster.run(async move {
                let _ = stopped.await;
            }));
            stop
        });
        Self { service: BbbService::new(cluster), stop }
    }

    pub(crate) async fn poll(&self) {
        self.service.cluster().poll_now().await.unwrap();
    }

    pub(crate) async fn call(&self, name: &str, query: &str) -> Answer {
        call(&self.service, name, query, None).await
    }

    pub(crate) async fn post(&self, name: &str, body: &str) -> Answer {
        call(&self.service, name, "", Some(body)).await
    }

    /// The page of figures.
    pub(crate) async fn call_metrics(&self) -> String {
        let head = RequestHead { method: "GET", path: "/metrics", host: Some(HOST), ..RequestHead::default() };
        let answer = self.service.handle(head, Payload::Whole(Bytes::new())).await;
        String::from_utf8_lossy(answer.body()).into_owned()
    }

    pub(crate) async fn create(&self, id: &str) -> Answer {
        self.call("create", &format!("meetingID={id}&name=n&moderatorPW=mp&attendeePW=ap")).await
    }

    /// How many processes it knows of.
    pub(crate) async fn processes(&self) -> u64 {
        let status = self.call("status", "").await;
        let status: serde_json::Value = serde_json::from_str(&status.body).unwrap();
        status["processes"].as_u64().unwrap()
    }

    pub(crate) async fn join(&self, id: &str) -> Answer {
        self.call("join", &format!("meetingID={id}&fullName=Ann&password=ap")).await
    }

    /// Where the store says the meeting lives.
    pub(crate) async fn home(&self, id: &str) -> Option<String> {
        let list = self.call("meetings", "").await;
        let list: serde_json::Value = serde_json::from_str(&list.body).unwrap();
        let found = list["meetings"].as_array().unwrap().iter().find(|m| m["id"] == id).cloned();
        found.map(|m| m["server"].as_str().unwrap().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

/// Fake servers named `s0`, `s1`, … and a store that knows them.
pub(crate) struct Stage {
    pub(crate) fakes: Vec<FakeBbb>,
    pub(crate) store: Arc<dyn MeetingStore>,
    pub(crate) redis: Option<RedisServer>,
}

impl Stage {
    pub(crate) async fn on(store: Arc<dyn MeetingStore>, fakes: usize) -> Self {
        let mut stage = Self { fakes: Vec::new(), store, redis: None };
        for n in 0..fakes {
            stage.add(n, None, None).await;
        }
        stage
    }

    pub(crate) async fn memory(fakes: usize) -> Self {
        Self::on(Arc::new(LocalStore::memory()), fakes).await
    }

    /// On a real Redis; `None` when there is none.
    pub(crate) async fn redis(fakes: usize) -> Option<Self> {
        let server = RedisServer::start(&[])?;
        let mut stage = Self::on(redis_store(&server), fakes).await;
        stage.redis = Some(server);
        Some(stage)
    }

    /// Starts a fake and adds it, enabled.
    pub(crate) async fn add(&mut self, n: usize, tag: Option<&str>, multiplier: Option<&str>) {
        let fake = FakeBbb::start(FakeOptions::new(format!("server-secret-{n}-Zk9")).name(format!("s{n}"))).await;
        self.put(n, fake.unwrap(), tag, multiplier).await;
    }

    /// Adds a fake that was started already, enabled.
    pub(crate) async fn put(&mut self, n: usize, fake: FakeBbb, tag: Option<&str>, multiplier: Option<&str>) {
        let mut record = ServerRecord::new(format!("s{n}"), fake.base(), Secret::new(fake.secret()));
        record.tag = tag.map(str::to_owned);
        record.load_multiplier = multiplier.map(str::to_owned);
        assert!(self.store.add_server(&record).await.unwrap());
        self.fakes.push(fake);
        self.state(n, ServerState::Enabled).await;
    }

    pub(crate) async fn state(&self, n: usize, state: ServerState) {
        let patch = ServerPatch { state: Some(state), ..ServerPatch::default() };
        assert!(self.store.update_server(&id(n), &patch).await.unwrap());
    }

    /// A process that has polled once.
    pub(crate) async fn process(&self, options: BbbOptions) -> Process {
        let process = Process::start(options, self.store.clone(), false).await;
        process.poll().await;
        process
    }

    /// The servers that have a meeting, by number.
    pub(crate) fn having(&self, id: &str) -> Vec<usize> {
        (0..self.fakes.len()).filter(|n| self.fakes[*n].meeting(id).is_some()).collect()
    }

    /// How many meetings each server has.
    pub(crate) fn counts(&self) -> Vec<usize> {
        self.fakes.iter().map(|f| f.meetings().len()).collect()
    }

    /// The number of the server that an answer to `join` leads to.
    pub(crate) fn led_to(&self, answer: &Answer) -> Option<usize> {
        let location = answer.location.as_deref()?;
        self.fakes.iter().position(|f| location.starts_with(&f.base()))
    }

    /// A number of a server other than these.
    pub(crate) fn number(id: &str) -> usize {
        id.trim_start_matches('s').parse().unwrap()
    }

    /// Puts people on a server, so that the others are chosen first.
    pub(crate) fn burden(&self, n: usize, people: u32) {
        self.fakes[n].put_meeting(MeetingSpec::new(format!("burden-{n}")).people(people, 0, 0));
    }
}

pub(crate) fn id(n: usize) -> BackendId {
    format!("s{n}").into()
}

/// Asks until something is so; now and then, since those who are to make it so need the processors too.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let asked = timeout(PATIENCE, async {
        while !so().await {
            sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(asked.await.is_ok(), "it did not come to this: {what}");
}
