//! A balancer of our own to measure: started, given servers, ready.
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Connection, Target};
use crate::process::{Owned, Watched, pinned};
use crate::service::{PATIENCE, Scratch, Service, free_port};

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
    service: Service,
    redis: Option<Owned>,
    _scratch: Scratch,
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
        let mut command = core.map_or_else(|| Command::new(program), |core| pinned(program, core));
        command
            .args(["serve", "--bind", &format!("127.0.0.1:{port}"), "--data-dir"])
            .arg(scratch.0.join("data"))
            .args(extra);
        command.env("LOADBALANCER_SECRET", SECRET).env_remove("REDIS_URL");
        if let Some((_, url)) = &redis {
            command.env("REDIS_URL", url);
        }
        let target = Target::parse(&format!("http://127.0.0.1:{port}"), SECRET)?;
        let index = target.get("", "");
        let service = Service::spawn("the balancer", &mut command, target, &scratch.0)?;
        let mut balancer = Self { service, redis: redis.map(|(process, _)| process), _scratch: scratch };
        let answers = |status, body: &str| status == 200 && body.contains("SUCCESS");
        balancer.service.wait("answers", &index, answers).await?;
        Ok(balancer)
    }

    /// Where it answers.
    pub(crate) fn target(&self) -> &Target {
        &self.service.target
    }

    /// The processes whose time it takes.
    pub(crate) fn watched(&self) -> Watched {
        Watched { balancer: self.service.pid(), redis: self.redis.as_ref().map(Owned::pid) }
    }

    /// Adds servers, enables them and waits until all are online and have a load.
    pub(crate) async fn register(&mut self, servers: &[(String, String)]) -> Result<(), String> {
        let mut connection = Connection::new(self.service.target.addr);
        for (url, secret) in servers {
            let added = json!({"server": {"url": url, "secret": secret}});
            let added = self.admin(&mut connection, "addServer", &added, 201).await?;
            let id = added.get("id").cloned().unwrap_or_default();
            let enable = json!({"id": id, "server": {"state": "enable"}});
            self.admin(&mut connection, "updateServer", &enable, 200).await?;
        }
        let poll = self.service.target.post_json("/balancer/api", "poll", "{}");
        if let Err(error) = connection.exchange(&poll).await {
            return Err(self.service.fault(&format!("the call poll failed: {error}")));
        }
        let list = self.service.target.get_at(ADMIN, "getServers", "");
        let want = servers.len();
        let ready = |status, body: &str| {
            let list: Value = serde_json::from_str(body).unwrap_or_default();
            let online = |server: &&Value| server["online"] == "online" && server["load"].is_number();
            status == 200 && list.as_array().is_some_and(|list| list.iter().filter(online).count() == want)
        };
        self.service.wait("has all servers online", &list, ready).await
    }

    async fn admin(&self, connection: &mut Connection, call: &str, body: &Value, want: u16) -> Result<Value, String> {
        let request = self.service.target.post_json(ADMIN, call, &body.to_string());
        match connection.exchange(&request).await {
            Ok(reply) if reply.status == want => {
                serde_json::from_slice(reply.body).map_err(|error| self.service.fault(&format!("{call}: {error}")))
            }
            Ok(reply) => {
                let text = String::from_utf8_lossy(reply.body).into_owned();
                Err(self.service.fault(&format!("{call}: HTTP {} {text}", reply.status)))
            }
            Err(error) => Err(self.service.fault(&format!("{call}: {error}"))),
        }
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
