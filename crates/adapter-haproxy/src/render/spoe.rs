//! An agent that chooses the servers of a backend (SPOE): its engine file, its backend, the rules that heed it.

use std::time::Duration;

use super::frontend::variable_name;
use super::writer::{Writer, host_port, name, solid, time};
use super::{HaproxyConfig, RenderError};
use crate::version::HaproxyVersion;

/// What becomes of a room for which the agent has no answer: it is down, too slow, or has no opinion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnNoAnswer {
    /// HAProxy goes on by itself: its stick table, else its `balance` line. No request fails for want of an agent. Where
    /// several HAProxys ask, let them share the stick table (`peers`) and balance by a hash of the room: one that gets no
    /// answer in time would else send a room elsewhere than the others do.
    #[default]
    Balance,
    /// A room that HAProxy's stick table does not know gets status 503, and a room goes to the agent's server though
    /// HAProxy holds it for down: nothing is placed but by the agent.
    Refuse,
}

/// Where an agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentPlace {
    /// An address or a name, and a port.
    Tcp(String, u16),
    /// The path of a unix socket.
    Unix(String),
}

/// The agents that an [`Offload`] asks: a backend of their own, checked by greetings (`option spop-check`).
///
/// # Time limits
///
/// - `timeout connect` (200 ms): to reach an agent. What is not reached in time costs the request no more than its
///   `timeout processing`.
/// - `timeout server` (3 min): how long an idle connection stays. From HAProxy 3.1 on it is what `timeout idle` of the
///   engine was before.
/// - A check every second, which must be greeted within 500 ms, twice missed is down, once met is up: an agent that
///   hangs is out after two and a half seconds at most. Then its connections are closed too
///   (`on-marked-down shutdown-sessions`), else HAProxy would go on asking over them; and with no agent left requests
///   wait no more.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AgentsSection {
    /// The backend's name.
    pub name: String,
    /// The agents: name and place. Before 3.1 each connection takes the next one; all must give one answer for a room,
    /// so let them share a stick table.
    pub agents: Vec<(String, AgentPlace)>,
    /// To reach one; 200 ms.
    pub connect: Duration,
    /// How long an idle connection stays; 3 min.
    pub idle: Duration,
    /// How often each is checked, within what it must greet, how many times in a row count as down and as up: 1 s,
    /// 500 ms, 2, 1.
    pub check: (Duration, Duration, u16, u16),
}

impl AgentsSection {
    /// Agents at these places.
    pub fn new(name: impl Into<String>, agents: Vec<(String, AgentPlace)>) -> Self {
        let check = (Duration::from_secs(1), Duration::from_millis(500), 2, 1);
        let (connect, idle) = (Duration::from_millis(200), Duration::from_secs(180));
        Self { name: name.into(), agents, connect, idle, check }
    }

    pub(super) fn write(&self, out: &mut Writer) -> Result<(), RenderError> {
        super::once("agent", self.agents.iter().map(|(agent, _)| agent))?;
        out.head("backend", Some(name("backend", &self.name)?));
        out.line(["mode", if out.version.has(3, 1) { "spop" } else { "tcp" }])?;
        out.line(["option", "spop-check"])?;
        out.line(["timeout", "connect", &time("timeout", self.connect)?])?;
        out.line(["timeout", "server", &time("timeout", self.idle)?])?;
        let (every, within, fall, rise) = self.check;
        out.line(["timeout", "check", &time("timeout", within)?])?;
        let (every, fall, rise) = (time("check interval", every)?, fall.max(1).to_string(), rise.max(1).to_string());
        let closed = ["on-marked-down", "shutdown-sessions"];
        out.line(["default-server", "inter", &every, "fall", &fall, "rise", &rise].into_iter().chain(closed))?;
        for (agent, place) in &self.agents {
            let place = match place {
                AgentPlace::Tcp(host, port) => host_port(host, *port)?,
                AgentPlace::Unix(path) if path.starts_with('/') => format!("unix@{}", solid("socket path", path)?),
                AgentPlace::Unix(path) => {
                    let help = "give an absolute path";
                    return Err(RenderError::Value { what: "socket path", value: path.clone(), help });
                }
            };
            out.line(["server", name("agent", agent)?, &place, "check"])?;
        }
        Ok(())
    }
}

/// Lets an agent choose the servers of a backend. The agent is asked once for each request that has a room, when the
/// rules of the frontend have run; `txn.PREFIX.server` is the server it chose and `txn.PREFIX.why` the number of its
/// explanation, which a log format can show. Before any cookie, stick table or `balance` line its choice counts, and
/// the stick table remembers it.
///
/// # Time limits
///
/// - `timeout processing` (50 ms): the most a request waits for an answer, whatever the agent does. Give the agent
///   itself less (40 ms), so that it can say that it has no opinion.
/// - `timeout hello` (500 ms) and `timeout idle` (2 min): to be greeted, and how long an idle connection stays. They
///   are written for versions before 3.1, which want them; later ones take `timeout server` of the agents' backend.
/// - `maxerrrate` (20 a second and thread): once so many answers failed, the agent is not asked for the rest of the
///   second. So an agent that hangs and is not yet found down holds up that many requests a second, no more.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Offload {
    /// The name of the engine; logs have it. Different for each backend.
    pub engine: String,
    /// The path of the engine file, whose text [`HaproxyConfig::engine_file`] gives.
    pub file: String,
    /// The backend of the agents.
    pub agents: String,
    /// The message; `place`.
    pub message: String,
    /// What the names of variables begin with; `lb`.
    pub prefix: String,
    /// The variable with the room, as the frontend sets it: `room` for `txn.room`.
    pub room: String,
    /// The variable with the tags that a server must have, if there is one.
    pub tags: Option<String>,
    /// The variable with the region that a server should be of, if there is one.
    pub region: Option<String>,
    /// The most a request waits; 50 ms.
    pub processing: Duration,
    /// To be greeted, before 3.1; 500 ms.
    pub hello: Duration,
    /// How long an idle connection stays, before 3.1; 2 min.
    pub idle: Duration,
    /// The most failed answers a second and thread; 20. 0 is no limit.
    pub error_rate: u32,
    /// What becomes of a room without an answer.
    pub on_no_answer: OnNoAnswer,
}

impl Offload {
    /// Asks these agents about the room in this variable.
    pub fn new(
        engine: impl Into<String>,
        file: impl Into<String>,
        agents: impl Into<String>,
        room: impl Into<String>,
    ) -> Self {
        Self {
            engine: engine.into(),
            file: file.into(),
            agents: agents.into(),
            message: "place".into(),
            prefix: "lb".into(),
            room: room.into(),
            tags: None,
            region: None,
            processing: Duration::from_millis(50),
            hello: Duration::from_millis(500),
            idle: Duration::from_secs(120),
            error_rate: 20,
            on_no_answer: OnNoAnswer::Balance,
        }
    }

    /// Requests without an answer are treated so.
    #[must_use]
    pub const fn on_no_answer(mut self, then: OnNoAnswer) -> Self {
        self.on_no_answer = then;
        self
    }

    fn variable(&self, variable: &str) -> Result<String, RenderError> {
        if !self.prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(RenderError::Name { what: "prefix", name: self.prefix.clone() });
        }
        Ok(format!("var({})", variable_name(&format!("{}.{variable}", name("prefix", &self.prefix)?))?))
    }

    /// The lines in the backend that asks. `table` is where its rooms stick, if anywhere.
    pub(super) fn write(
        &self,
        out: &mut Writer,
        config: &HaproxyConfig,
        table: Option<&str>,
    ) -> Result<(), RenderError> {
        if !config.agents.iter().any(|known| known.name == self.agents) {
            let user = format!("engine {}", self.engine);
            return Err(RenderError::Unknown { user, what: "agents' backend", name: self.agents.clone() });
        }
        let file = solid("engine file", &self.file)?;
        out.line(["filter", "spoe", "engine", name("engine", &self.engine)?, "config", file])?;
        let (room, server) = (format!("var({})", variable_name(&self.room)?), self.variable("server")?);
        if self.on_no_answer == OnNoAnswer::Refuse {
            let mut words = vec!["http-request", "deny", "deny_status", "503", "if", "{", &room, "-m", "found", "}"];
            words.extend(["!{", &server, "-m", "found", "}"]);
            let known = table.map(|table| format!("{room},table_server_id({table})"));
            if let Some(known) = &known {
                words.extend(["!{", known, "gt", "0", "}"]);
            }
            out.line(words)?;
            out.line(["force-persist", "if", "{", &server, "-m", "found", "}"])?;
        }
        out.line(["use-server", &format!("%[{server}]"), "if", "{", &server, "-m", "found", "}"])
    }

    fn engine_file(&self, version: HaproxyVersion, table: Option<&str>) -> Result<String, RenderError> {
        // The file is read as a configuration of its own kind, whose scopes are in brackets.
        let mut out = Writer::new(version);
        let (engine, message) = (name("engine", &self.engine)?, name("message", &self.message)?);
        let agent = format!("{engine}-agent");
        out.head("spoe-agent", Some(&agent));
        out.line(["messages", message])?;
        self.variable("server")?;
        out.line(["option", "var-prefix", &self.prefix])?;
        out.line(["option", "set-on-error", "err"])?;
        if !version.has(3, 1) {
            out.line(["timeout", "hello", &time("timeout", self.hello)?])?;
            out.line(["timeout", "idle", &time("timeout", self.idle)?])?;
        }
        out.line(["timeout", "processing", &time("timeout", self.processing)?])?;
        if self.error_rate > 0 {
            out.line(["maxerrrate", &self.error_rate.to_string()])?;
        }
        // The number of an explanation is dropped unless somebody names it.
        out.line(["register-var-names", "server", "why", "err"])?;
        out.line(["use-backend", name("backend", &self.agents)?])?;
        out.head("spoe-message", Some(message));
        let room = format!("var({})", variable_name(&self.room)?);
        let mut words = vec!["args".to_owned(), format!("room={room}"), "source=src".to_owned()];
        for (argument, variable) in [("tags", &self.tags), ("region", &self.region)] {
            if let Some(variable) = variable {
                words.push(format!("{argument}=var({})", variable_name(variable)?));
            }
        }
        words.extend(table.map(|table| format!("home={room},table_server_id({table})")));
        words.push("at=date(0,ms)".to_owned());
        out.line(words)?;
        out.line(["event", "on-backend-http-request", "if", "{", &room, "-m", "found", "}"])?;
        Ok(format!("[{engine}]\n{}", out.finish()))
    }
}

impl HaproxyConfig {
    /// The text of the file that an [`Offload`] of one of the backends names: its messages and time limits.
    ///
    /// # Errors
    ///
    /// [`RenderError`], naming what cannot be written, or an engine that no backend has.
    pub fn engine_file(&self, engine: &str) -> Result<String, RenderError> {
        let mut asking = self.backends.iter().filter_map(|backend| Some((backend, backend.offload.as_ref()?)));
        let Some((backend, offload)) = asking.find(|(_, offload)| offload.engine == engine) else {
            let (user, name) = ("an engine file".to_owned(), engine.to_owned());
            return Err(RenderError::Unknown { user, what: "engine", name });
        };
        offload.engine_file(self.version, backend.rooms_table(&offload.room))
    }
}
