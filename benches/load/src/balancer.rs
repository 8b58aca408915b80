//! A balancer of our own to measure: started, given servers, ready.
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Connection, Target};
use crate::process::{Owned, pinned};

/// Longest wait for a process to be ready.
const PATIENCE: Duration = Duration::from_secs(20);
const SECRET: &str = "bbb-load-secret";
const ADMIN: &str = "/scalelite/api";

/// Where the balancer keeps its sticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Store {
    /// A file in its data directory.
    File,
    /// A Redis server, started for the run.
    Redis,
}

/// A running balancer; everything it needs ends with it.
pub(crate) struct Balancer {
    pub(crate) target: Target,
    pub(crate) pid: u32,
    process: Owned,
    _redis: Option<Owned>,
    scratch: Scratch,
}

/// A directory that is removed when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("bbb-load-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind lies in the system's own folder for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Balancer {
    /// Starts the binary on one core, and Redis on ours if asked.
    pub(crate) async fn start(
        program: &Path,
        extra: &[String],
        core: Option<usize>,
        store: Store,
    ) -> Result<Self, String> {
        if !program.is_file() {
            let hint = "build it with `cargo build --release -p bbb-balancer`, or name another with --balancer";
            return Err(format!("no balancer at {}: {hint}", program.display()));
        }
        let scratch = Scratch::new(if store == Store::Redis { "redis" } else { "file" })?;
        let redis = if store == Store::Redis { Some(start_redis(&scratch.0).await?) } else { None };
        let port = free_port()?;
        let log_path = scratch.0.join("balancer.log");
        let log = File::create(&log_path).and_then(|log| Ok((log.try_clone()?, log)));
        let (log, also) = log.map_err(|error| format!("cannot write {}: {error}", log_path.display()))?;
        let mut command = core.map_or_else(|| Command::new(program), |core| pinned(program, core));
        command
            .args(["serve", "--bind", &format!("127.0.0.1:{port}"), "--data-dir"])
            .arg(scratch.0.join("data"))
            .args(extra);
        command.env("LOADBALANCER_SECRET", SECRET).env_remove("REDIS_URL");
        if let Some((_, url)) = &redis {
            command.env("REDIS_URL", url);
        }
        let process = Owned::spawn(command.stdin(Stdio::null()).stdout(log).stderr(also))?;
        let target = Target::parse(&format!("http://127.0.0.1:{port}"), SECRET)?;
        let pid = process.pid();
        let mut balancer = Self { target, pid, process, _redis: redis.map(|(process, _)| process), scratch };
        let index = balancer.target.get("", "");
        balancer.wait("answers", &index, |status, body| status == 200 && body.contains("SUCCESS")).await?;
        Ok(balancer)
    }

    /// Adds servers, enables them and waits until all are online and have a load.
    pub(crate) async fn register(&mut self, servers: &[(String, String)]) -> Result<(), String> {
        let mut connection = Connection::new(self.target.addr);
        for (url, secret) in servers {
            let added = json!({"server": {"url": url, "secret": secret}});
            let added = self.admin(&mut connection, "addServer", &added, 201).await?;
            let id = added.get("id").cloned().unwrap_or_default();
            let enable = json!({"id": id, "server": {"state": "enable"}});
            self.admin(&mut connection, "updateServer", &enable, 200).await?;
        }
        let poll = self.target.post_json("/balancer/api", "poll", "{}");
        if let Err(error) = connection.exchange(&poll).await {
            return Err(self.fault(&format!("the call poll failed: {error}")));
        }
        let list = self.target.get_at(ADMIN, "getServers", "");
        let want = servers.len();
        let ready = |status, body: &str| {
            let list: Value = serde_json::from_str(body).unwrap_or_default();
            let online = |server: &&Value| server["online"] == "online" && server["load"].is_number();
            status == 200 && list.as_array().is_some_and(|list| list.iter().filter(online).count() == want)
        };
        self.wait("has all servers online", &list, ready).await
    }

    async fn admin(&self, connection: &mut Connection, call: &str, body: &Value, want: u16) -> Result<Value, String> {
        let request = self.target.post_json(ADMIN, call, &body.to_string());
        match connection.exchange(&request).await {
            Ok(reply) if reply.status == want => {
                serde_json::from_slice(reply.body).map_err(|error| self.fault(&format!("{call}: {error}")))
            }
            Ok(reply) => {
                let text = String::from_utf8_lossy(reply.body).into_owned();
                Err(self.fault(&format!("{call}: HTTP {} {text}", reply.status)))
            }
            Err(error) => Err(self.fault(&format!("{call}: {error}"))),
        }
    }

    async fn wait(&mut self, what: &str, request: &[u8], fits: impl Fn(u16, &str) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = "no connection".to_owned();
        while Instant::now() < deadline {
            if let Some(status) = self.process.ended() {
                return Err(self.fault(&format!("the balancer ended ({status})")));
            }
            match Connection::new(self.target.addr).exchange(request).await {
                Ok(reply) => {
                    last = String::from_utf8_lossy(reply.body).into_owned();
                    if fits(reply.status, &last) {
                        return Ok(());
                    }
                }
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(self.fault(&format!("waited {PATIENCE:?} until the balancer {what}; last: {last:.400}")))
    }

    /// The fault and the end of the balancer's log.
    fn fault(&self, what: &str) -> String {
        let log = fs::read_to_string(self.scratch.0.join("balancer.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(15)..].join("\n  ");
        if tail.is_empty() { what.to_owned() } else { format!("{what}\nlog of the balancer ends with:\n  {tail}") }
    }
}

async fn start_redis(scratch: &Path) -> Result<(Owned, String), String> {
    let port = free_port()?;
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    let quiet = command.arg(scratch).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = Owned::spawn(quiet)?;
    let (addr, deadline) = (SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Instant::now() + PATIENCE);
    while tokio::net::TcpStream::connect(addr).await.is_err() {
        if process.ended().is_some() || Instant::now() > deadline {
            return Err(format!("redis-server did not open port {port}"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok((process, format!("redis://127.0.0.1:{port}/0")))
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let addr = listener.and_then(|listener| listener.local_addr());
    addr.map(|addr| addr.port()).map_err(|error| format!("no free port: {error}"))
}
