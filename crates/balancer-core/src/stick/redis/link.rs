//! The way to Redis, shared by everything that talks to it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis::{Cmd, Pipeline};
use sha1::{Digest, Sha1};
use tokio::time::Instant;

#[cfg(feature = "redis-cluster")]
use super::cluster::Cluster;
use super::node::{Node, Role, Said, Settings};
use super::options::{Place, RedisOptions};
use super::reply::RedisReply;
#[cfg(feature = "redis-sentinel")]
use super::sentinel::Sentinels;
use super::trouble::{self, Kind, Trouble};
use crate::stick::StickError;

/// A Lua script that a server runs as one step.
///
/// It must name every key it touches among its `KEYS`, all with one hash tag.
#[derive(Clone, Debug)]
pub struct RedisScript {
    pub(super) code: Arc<str>,
    pub(super) sha: Arc<str>,
}

impl RedisScript {
    /// Wraps the code.
    pub fn new(code: impl Into<Arc<str>>) -> Self {
        let code = code.into();
        let sha: String = Sha1::digest(code.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { code, sha: sha.into() }
    }
}

/// A few connections to Redis, shared by any number of callers; clones share them too.
///
/// Connects when first used and again whenever the connection is lost. No call takes longer than the response
/// time-out. A call under which the connection broke is sent once more, hence may run twice at the server.
///
/// With sentinels the master is asked for before the first call, and again when it is lost or turns out to be a
/// replica; whoever they name must say itself that it is the master. On a cluster each call goes to the node of its
/// key (one round trip while the map of slots is right), redirections are followed, and a call for a slot that is
/// being moved waits for it. A master that is gone for longer than a few attempts is an error, not a wait: the next
/// call tries again.
#[derive(Clone)]
pub struct RedisLink {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Arc<Settings>,
    server: Server,
    warning: Option<String>,
}

/// Who takes the calls.
enum Server {
    One(Node),
    #[cfg(feature = "redis-sentinel")]
    Master(Sentinels),
    #[cfg(feature = "redis-cluster")]
    Cluster(Cluster),
}

impl fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLink").field("options", &self.inner.settings.options).finish_non_exhaustive()
    }
}

impl RedisLink {
    /// Checks the settings; connects when first used, which must be inside a tokio runtime.
    ///
    /// Warns in the log, once, when the server is not on this machine and no password is set.
    ///
    /// # Errors
    ///
    /// [`StickError::Config`] naming the setting.
    pub fn new(options: RedisOptions) -> Result<Self, StickError> {
        let settings = Arc::new(Settings::new(options)?);
        let options = &settings.options;
        let warning = (options.password.is_none() && !options.is_local()).then(|| {
            format!(
                "{} is not on this machine and has no password: anybody who reaches its port can move and delete \
                 rooms; set a password, or let a firewall admit these hosts only",
                options.target()
            )
        });
        if let Some(warning) = &warning {
            tracing::warn!("{warning}");
        }
        let server = match &options.place {
            Place::Server(address) => Server::One(Node::new(Arc::clone(&settings), address.clone(), Role::Data)),
            #[cfg(feature = "redis-sentinel")]
            Place::Sentinels { sentinels, master } => {
                Server::Master(Sentinels::new(Arc::clone(&settings), sentinels.clone(), master.clone()))
            }
            #[cfg(feature = "redis-cluster")]
            Place::Cluster(nodes) => Server::Cluster(Cluster::new(Arc::clone(&settings), nodes.clone())),
        };
        Ok(Self { inner: Arc::new(Inner { settings, server, warning }) })
    }

    /// What is unsafe about these settings, if anything.
    pub fn warning(&self) -> Option<&str> {
        self.inner.warning.as_deref()
    }

    /// What every key of this link begins with.
    pub fn namespace(&self) -> &str {
        &self.inner.settings.options.namespace
    }

    /// The server as shown in messages: no secret in it.
    pub fn target(&self) -> String {
        self.inner.settings.options.target()
    }

    /// Whether the server is a Redis Cluster, by the settings: then all keys of one call or script must have one hash
    /// tag.
    pub fn is_cluster(&self) -> bool {
        match &self.inner.server {
            #[cfg(feature = "redis-cluster")]
            Server::Cluster(_) => true,
            _ => false,
        }
    }

    /// A number that grows whenever a connection is made or lost: while it stays, all answers came from the same
    /// servers.
    ///
    /// Read it before a claim and again before what cannot be undone: when it has changed, a failover may have lost the
    /// claim, and [`StickStore::confirm`](crate::StickStore::confirm) tells. It may change without need, as with each
    /// connection made for the first time; and a server that fell silent is noticed only when a call to it fails.
    pub fn generation(&self) -> u64 {
        self.inner.settings.generation.load(Ordering::Acquire)
    }

    /// Asks the sentinels whether the master is still the one in use, and takes up the new one otherwise. Without
    /// sentinels it does nothing.
    ///
    /// # Errors
    ///
    /// As for [`call`](Self::call); also when no sentinel answers.
    ///
    /// # Cancel safety
    ///
    /// Nothing is left behind.
    pub async fn recheck(&self) -> Result<(), StickError> {
        match &self.inner.server {
            #[cfg(feature = "redis-sentinel")]
            Server::Master(sentinels) => {
                sentinels.recheck(self.deadline()).await.map_err(|trouble| self.error(trouble))
            }
            _ => Ok(()),
        }
    }

    /// Asks the server whether it is there.
    ///
    /// # Errors
    ///
    /// As for [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// Nothing is left behind.
    pub async fn ping(&self) -> Result<(), StickError> {
        self.call(&["PING"]).await.map(drop)
    }

    /// Sends one command: its name and arguments.
    ///
    /// On a cluster the first argument is taken for the key (for `EVAL` and `EVALSHA` the first of their keys); commands
    /// about a server (`PING`, `INFO` and the like) go to any node.
    ///
    /// # Errors
    ///
    /// [`StickError::Lost`] without contact or answer in time, [`StickError::Refused`] with the server's words,
    /// [`StickError::Corrupt`] when it does not speak the protocol.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the command may or may not run.
    pub async fn call<A: AsRef<[u8]> + Sync>(&self, command: &[A]) -> Result<RedisReply, StickError> {
        #[cfg(feature = "redis-cluster")]
        if let Server::Cluster(cluster) = &self.inner.server {
            return cluster.call(command, self.deadline()).await.map_err(|trouble| self.error(trouble));
        }
        self.one(pack(command)).await.map_err(|trouble| self.error(trouble))
    }

    /// Sends several commands at once, and returns an answer for each; others may run between them.
    ///
    /// # Errors
    ///
    /// As for [`call`](Self::call), for the first command that fails; the others may have run.
    ///
    /// # Cancel safety
    ///
    /// When dropped, some, all or none of the commands may run.
    pub async fn pipeline<A: AsRef<[u8]> + Sync>(&self, commands: &[Vec<A>]) -> Result<Vec<RedisReply>, StickError> {
        #[cfg(feature = "redis-cluster")]
        if let Server::Cluster(cluster) = &self.inner.server {
            return cluster.pipeline(commands, self.deadline()).await.map_err(|trouble| self.error(trouble));
        }
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(pack(command));
        }
        self.many(&pipeline).await.map_err(|trouble| self.error(trouble))
    }

    /// Runs a script in one round trip; one more when the server does not know it yet.
    ///
    /// # Errors
    ///
    /// As for [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// When dropped, the script may or may not run.
    pub async fn script<K, A>(&self, script: &RedisScript, keys: &[K], args: &[A]) -> Result<RedisReply, StickError>
    where
        K: AsRef<[u8]> + Sync,
        A: AsRef<[u8]> + Sync,
    {
        #[cfg(feature = "redis-cluster")]
        if let Server::Cluster(cluster) = &self.inner.server {
            return cluster.script(script, keys, args, self.deadline()).await.map_err(|trouble| self.error(trouble));
        }
        let mut reply = self.one(invoke("EVALSHA", &script.sha, keys, args)).await;
        if matches!(&reply, Err(trouble) if trouble.kind == Kind::NoScript) {
            reply = self.one(invoke("EVAL", &script.code, keys, args)).await;
        }
        reply.map_err(|trouble| self.error(trouble))
    }

    /// Runs one script several times in one round trip; two more when the server does not know it yet.
    ///
    /// # Errors
    ///
    /// As for [`pipeline`](Self::pipeline).
    ///
    /// # Cancel safety
    ///
    /// When dropped, some, all or none of the runs may happen.
    pub async fn scripts<K, A>(
        &self,
        script: &RedisScript,
        runs: &[(Vec<K>, Vec<A>)],
    ) -> Result<Vec<RedisReply>, StickError>
    where
        K: AsRef<[u8]> + Sync,
        A: AsRef<[u8]> + Sync,
    {
        #[cfg(feature = "redis-cluster")]
        if let Server::Cluster(cluster) = &self.inner.server {
            return cluster.scripts(script, runs, self.deadline()).await.map_err(|trouble| self.error(trouble));
        }
        let mut pipeline = Pipeline::with_capacity(runs.len());
        for (keys, args) in runs {
            pipeline.add_command(invoke("EVALSHA", &script.sha, keys, args));
        }
        let mut replies = self.many(&pipeline).await;
        if matches!(&replies, Err(trouble) if trouble.kind == Kind::NoScript) {
            // With several connections behind a proxy the load may land elsewhere; then the error stands.
            replies = match self.one(pack(&["SCRIPT", "LOAD", &script.code])).await {
                Ok(_) => self.many(&pipeline).await,
                Err(trouble) => Err(trouble),
            };
        }
        replies.map_err(|trouble| self.error(trouble))
    }

    pub(super) fn error(&self, trouble: Trouble) -> StickError {
        trouble.into_error(&self.inner.settings.options)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.inner.settings.options.response_timeout
    }

    async fn one(&self, command: Cmd) -> Result<RedisReply, Trouble> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command);
        let reply = self.many(&pipeline).await?.pop();
        reply.ok_or_else(|| Trouble::new(Kind::Corrupt, "no answer where one was announced"))
    }

    async fn many(&self, pipeline: &Pipeline) -> Result<Vec<RedisReply>, Trouble> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let deadline = self.deadline();
        let said = match &self.inner.server {
            Server::One(node) => match node.attempt(pipeline, deadline).await {
                Err(trouble) if trouble.kind == Kind::Dropped => node.attempt(pipeline, deadline).await?,
                said => said?,
            },
            #[cfg(feature = "redis-sentinel")]
            Server::Master(sentinels) => sentinels.send(pipeline, deadline).await?,
            #[cfg(feature = "redis-cluster")]
            Server::Cluster(_) => return Err(Trouble::new(Kind::Corrupt, "a call without a key for a cluster")),
        };
        said.into_iter().map(read).collect()
    }
}

fn read(said: Said) -> Result<RedisReply, Trouble> {
    said.map_err(|words| trouble::said(&words))
}

pub(super) fn pack<A: AsRef<[u8]>>(words: &[A]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(word.as_ref());
    }
    command
}

pub(super) fn invoke<K: AsRef<[u8]>, A: AsRef<[u8]>>(verb: &str, script: &str, keys: &[K], args: &[A]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(verb).arg(script).arg(keys.len());
    for key in keys {
        command.arg(key.as_ref());
    }
    for arg in args {
        command.arg(arg.as_ref());
    }
    command
}
