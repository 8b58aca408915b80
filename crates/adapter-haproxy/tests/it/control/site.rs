//! Room servers, HAProxys with short checks before them, and controllers.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_haproxy::HaproxyVersion;
use adapter_haproxy::control::{Control, ControlOptions, ControlledProcess};
use adapter_haproxy::render::{Bind, ControlSocket, EdumeetCluster, ServerLine};
use adapter_haproxy::runtime::{Client, ClientOptions, RuntimeAddress};
use balancer_core::{RedisLink, RedisOptions, RedisStore, StickStore};
use real_servers::RedisServer;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::haproxy::{Haproxy, Place};
use crate::reconcile::crowd::home;
use crate::responder::Responder;

/// How often HAProxy looks after a server of which it is not sure or that is down, and how often it must fail and succeed.
type Checks = (Duration, u16, u16);
const QUICK: Checks = (Duration::from_millis(100), 3, 2);

/// How often it looks after a server that is well. A check takes no longer than that: one that is slow has not failed.
const CALM: Duration = Duration::from_secs(4);

/// Short times, so that a second is long.
pub(crate) fn options(place: &Place) -> ControlOptions {
    let mut options = ControlOptions::new("rooms", place.path("pins.map"));
    options.with = vec!["pages".to_owned()];
    options.every = Duration::from_millis(40);
    options.learn = Duration::from_millis(40);
    options.resync = Duration::from_secs(2);
    options
}

/// Room servers `mm1`, `mm2`, … and HAProxys before them that share no table.
pub(crate) struct Site {
    pub(crate) servers: Vec<Responder>,
    pub(crate) haproxies: Vec<Haproxy>,
    texts: Vec<String>,
    /// The folder whose map path all configurations name.
    pub(crate) place: Place,
}

impl Site {
    pub(crate) fn start(binary: &Path, servers: usize, haproxies: usize) -> Self {
        Self::start_as(binary, servers, haproxies, false, QUICK)
    }

    /// With pins that hold: HAProxy itself moves no pinned room.
    pub(crate) fn start_holding(binary: &Path, servers: usize, haproxies: usize) -> Self {
        Self::start_as(binary, servers, haproxies, true, QUICK)
    }

    /// With checks slow enough for a controller of ordinary pace.
    pub(crate) fn start_slow(binary: &Path, servers: usize, haproxies: usize) -> Self {
        Self::start_as(binary, servers, haproxies, false, (Duration::from_millis(700), 2, 2))
    }

    fn start_as(binary: &Path, servers: usize, haproxies: usize, hold: bool, checks: Checks) -> Self {
        let out = Command::new(binary).arg("-v").output().unwrap();
        let version: HaproxyVersion = String::from_utf8_lossy(&out.stdout).parse().unwrap();
        let servers: Vec<Responder> = (1..=servers).map(|n| Responder::start(&format!("mm{n}"))).collect();
        let place = Place::new();
        std::fs::write(place.path("pins.map"), "").unwrap();
        let mut site = Self { servers, haproxies: Vec::new(), texts: Vec::new(), place };
        for _ in 0..haproxies {
            let one = Place::new();
            let text = site.text(version, &one, hold, checks);
            site.haproxies.push(Haproxy::run(binary, one, &text));
            site.texts.push(text);
        }
        site
    }

    fn text(&self, version: HaproxyVersion, one: &Place, hold: bool, checks: Checks) -> String {
        let lines = self.servers.iter().zip(1..);
        let lines = lines.map(|(server, n)| ServerLine::new(n, format!("mm{n}"), "127.0.0.1", server.port)).collect();
        let mut cluster = EdumeetCluster::new(version, vec![Bind::port(one.port).on("127.0.0.1")], lines);
        cluster.pins = Some(self.place.path("pins.map"));
        let mut config = cluster.config();
        config.global.logs.clear();
        config.global.sockets.push(ControlSocket::admin(one.socket()));
        for backend in &mut config.backends {
            let (every, fall, rise) = checks;
            backend.check_times = (CALM, fall, rise);
            let every = every.as_millis();
            backend.extra.push(format!("default-server fastinter {every}ms downinter {every}ms"));
            backend.redispatch = !hold;
            backend.pins.iter_mut().for_each(|pins| pins.hold = hold);
            backend.extra.push("http-reuse never".to_owned());
            backend.extra.push("retries 1".to_owned());
        }
        let operator = format!("global\n    stats socket {} level operator\n", one.path("operator"));
        config.render().unwrap().replacen("global\n", &operator, 1)
    }

    pub(crate) fn port(&self, haproxy: usize) -> u16 {
        self.haproxies[haproxy].place.port
    }

    pub(crate) fn control(&self, store: Arc<dyn StickStore>, change: impl FnOnce(&mut ControlOptions)) -> Running {
        let mut options = options(&self.place);
        change(&mut options);
        self.control_as(store, options, "cli")
    }

    /// A controller of ordinary pace.
    pub(crate) fn control_slow(&self, store: Arc<dyn StickStore>) -> Running {
        self.control_as(store, ControlOptions::new("rooms", self.place.path("pins.map")), "cli")
    }

    /// A controller that may not order servers about.
    pub(crate) fn control_below(&self, store: Arc<dyn StickStore>) -> Running {
        self.control_as(store, options(&self.place), "operator")
    }

    /// A controller that writes this map file, and takes this for the map of all processes.
    pub(crate) fn control_of_map(&self, store: Arc<dyn StickStore>, map: &str, pins_file: &str) -> Running {
        let mut options = options(&self.place);
        options.map = map.to_owned();
        let process = |(n, haproxy): (usize, &Haproxy)| {
            let client = Client::new(RuntimeAddress::unix(haproxy.place.path("cli")), ClientOptions::default());
            ControlledProcess::new(format!("lb{}", n + 1), client).with_pins_file(pins_file)
        };
        Running::start(Control::new(options, self.haproxies.iter().enumerate().map(process).collect(), store))
    }

    fn control_as(&self, store: Arc<dyn StickStore>, options: ControlOptions, socket: &str) -> Running {
        let process = |(n, haproxy): (usize, &Haproxy)| {
            let client = Client::new(RuntimeAddress::unix(haproxy.place.path(socket)), ClientOptions::default());
            ControlledProcess::new(format!("lb{}", n + 1), client)
        };
        Running::start(Control::new(options, self.haproxies.iter().enumerate().map(process).collect(), store))
    }

    /// Kills a HAProxy, and starts it with a map file of these lines.
    pub(crate) fn restart(&mut self, haproxy: usize, pins: &str) {
        std::fs::write(self.place.path("pins.map"), pins).unwrap();
        let text = self.texts[haproxy].clone();
        self.haproxies[haproxy].restart(&text);
    }

    /// The map of a HAProxy.
    pub(crate) fn map(&self, haproxy: usize) -> BTreeMap<String, String> {
        let told = self.haproxies[haproxy].order(&format!("show map {}", self.place.path("pins.map")));
        let lines = told.lines().filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        });
        lines.collect()
    }

    /// Where each room goes by a HAProxy.
    pub(crate) fn homes(&self, haproxy: usize, rooms: &[String]) -> BTreeMap<String, String> {
        let port = self.port(haproxy);
        rooms.iter().map(|room| (room.clone(), home(port, room).unwrap_or_else(|| "nowhere".to_owned()))).collect()
    }
}

/// A controller at work.
pub(crate) struct Running {
    pub(crate) control: Control,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(control: Control) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn({
            let control = control.clone();
            async move { control.run(async move { drop(stopped.await) }).await }
        });
        Self { control, stop: Some(stop), task }
    }

    /// Ends at once, wherever it is.
    pub(crate) fn kill(&mut self) {
        self.task.abort();
    }

    pub(crate) async fn end(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
    }

    /// Waits until all rooms are pinned everywhere.
    pub(crate) async fn pinned(&self, rooms: usize) {
        until("all rooms are pinned", || {
            let status = self.control.status();
            status.rooms == rooms && status.processes.iter().all(|p| p.pins == Some(rooms) && p.behind == Some(0))
        })
        .await;
    }

    pub(crate) fn server(&self, name: &str) -> adapter_haproxy::control::ServerStatus {
        let servers = self.control.status().servers;
        servers.into_iter().find(|server| server.name == name).unwrap()
    }

    /// Waits until the verdict on a server is this.
    pub(crate) async fn verdict(&self, server: &str, word: &str) {
        let so = || self.control.status().servers.iter().any(|it| it.name == server && it.verdict.as_str() == word);
        until(&format!("{server} is {word}"), so).await;
    }
}

/// Looks again and again until it is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < end, "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("class{n}")).collect()
}

/// A store on a real Redis.
pub(crate) fn store(redis: &RedisServer) -> Arc<dyn StickStore> {
    let options = RedisOptions::new("127.0.0.1").port(redis.port()).unwrap();
    let patience = Duration::from_secs(20);
    let options = options.response_timeout(patience).connect_timeout(patience);
    Arc::new(RedisStore::new(RedisLink::new(options).unwrap()))
}
