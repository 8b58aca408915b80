//! The index in Postgres, in Scalelite's tables.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{Config, NoTls};

use super::index::{CallbackRow, IndexError, RecordingChange, RecordingIndex, RecordingPage, RecordingQuery};
use super::record::Recording;

mod callbacks;
mod read;
mod schema;
mod write;

/// Parameters of a URL that are handed on; the others are Rails' own, or unknown.
const KNOWN: [&str; 12] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "host",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "options",
    "port",
    "sslmode",
    "target_session_attrs",
];

/// What belongs to so many recordings is read at once.
const PART: usize = 2_000;

/// Where the database is, and how it is spoken to.
#[derive(Clone)]
#[non_exhaustive]
pub struct PostgresOptions {
    config: Config,
    /// Connections at most. Default 5, or `pool` of the URL.
    pub connections: usize,
    /// Longest wait for any operation, connecting and trying again included. Default 10 s.
    pub timeout: Duration,
    /// How often an operation is tried again when its connection turns out to be dead. Default 3.
    pub retries: u32,
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("target", &target(&self.config))
            .field("connections", &self.connections)
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .finish()
    }
}

impl PostgresOptions {
    /// Reads a URL such as `postgresql://user:password@host:5432/scalelite`. Without a database in it, that is
    /// `scalelite`. Of Rails' parameters `pool` counts; others that Postgres does not know are passed over.
    ///
    /// # Errors
    ///
    /// Words about what is wrong with it, without anything secret of it.
    pub fn from_url(url: &str) -> Result<Self, String> {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let rest = ["postgresql://", "postgres://", "postgis://"].iter().find_map(|scheme| place.strip_prefix(scheme));
        let rest = rest.ok_or("must begin with postgresql:// or postgres://")?;
        let (mut connections, mut kept) = (5, Vec::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("pool", text) => {
                    let number = text.parse().ok().filter(|n| (1..=1000).contains(n));
                    connections = number.ok_or("pool must be a whole number from 1 to 1000")?;
                }
                // What needs no TLS, Postgres' own words for which this client does not know.
                ("sslmode", "disable" | "allow" | "prefer") => kept.push("sslmode=disable".to_owned()),
                ("sslmode", _) => {
                    return Err("sslmode asks for TLS to the database, which is not supported yet: use a tunnel, or \
                                sslmode=disable on a network that is trusted"
                        .to_owned());
                }
                (name, _) if KNOWN.contains(&name) => {
                    kept.push(form_urlencoded::Serializer::new(String::new()).append_pair(name, &value).finish());
                }
                _ => {}
            }
        }
        let clean = format!("postgresql://{rest}?{}", kept.join("&"));
        // The error may quote what it did not understand, and that may be a password.
        let mut config = Config::from_str(&clean)
            .map_err(|_| "is not a URL such as postgresql://user:password@host:5432/scalelite")?;
        if config.get_dbname().is_none_or(str::is_empty) {
            config.dbname("scalelite");
        }
        if config.get_hosts().is_empty() {
            config.host("127.0.0.1");
        }
        if config.get_application_name().is_none() {
            config.application_name("bbb-balancer");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(5));
        }
        config.ssl_mode(SslMode::Disable);
        Ok(Self { config, connections, timeout: Duration::from_secs(10), retries: 3 })
    }
}

fn target(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => String::new(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    format!("postgres {host}:{port}/{}", config.get_dbname().unwrap_or_default())
}

/// The index of recordings in Postgres, shared by any number of processes, also with Scalelite's.
///
/// Its tables are Scalelite's: made where there are none, taken over where there are, together with the bookkeeping of
/// migrations, so that a Scalelite finds nothing to do. No prepared statement is kept at the server, so that a pooler
/// between the two may be in its way of transactions.
///
/// Nothing is opened before it is needed: a database that is away stops nobody from starting, and is found again when it
/// is back.
pub struct PostgresRecordings {
    pool: Pool,
    options: PostgresOptions,
    target: String,
    /// The schema has been found right since the last time it was not.
    ready: AtomicBool,
}

impl fmt::Debug for PostgresRecordings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresRecordings").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Something to do over one connection, which may have to be done again over another.
#[async_trait]
trait Work: Sync {
    type Out: Send;

    async fn on(&self, client: &mut Object) -> Result<Self::Out, tokio_postgres::Error>;
}

/// A connection under way: one that is dropped while something was going on is not used again.
struct Held(Option<Object>);

impl Held {
    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

/// Why something did not work, and whether another connection may help at once.
struct Broken {
    error: IndexError,
    again: bool,
}

impl PostgresRecordings {
    /// An index in this database. Nothing is opened yet.
    ///
    /// # Errors
    ///
    /// [`IndexError::Unusable`] when the options make no sense.
    pub fn new(options: PostgresOptions) -> Result<Self, IndexError> {
        let target = target(&options.config);
        let how = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(options.config.clone(), NoTls, how);
        let pool = Pool::builder(manager).max_size(options.connections.max(1)).runtime(Runtime::Tokio1).build();
        let pool = pool.map_err(|e| IndexError::Unusable { target: target.clone(), why: e.to_string() })?;
        Ok(Self { pool, options, target, ready: AtomicBool::new(false) })
    }

    async fn run<W: Work>(&self, work: W) -> Result<W::Out, IndexError> {
        let deadline = Instant::now() + self.options.timeout;
        let mut tries = 0;
        loop {
            let Ok(done) = timeout_at(deadline, self.once(&work)).await else {
                let why = format!("no answer within {} s", self.options.timeout.as_secs_f64());
                return Err(IndexError::Lost { target: self.target.clone(), why, source: None });
            };
            match done {
                Err(broken) if broken.again && tries < self.options.retries => tries += 1,
                done => return done.map_err(|broken| broken.error),
            }
        }
    }

    async fn once<W: Work>(&self, work: &W) -> Result<W::Out, Broken> {
        let object = self.pool.get().await.map_err(|e| match e {
            PoolError::Backend(e) => Broken { again: false, ..self.broken(e) },
            e => {
                let (target, why) = (self.target.clone(), e.to_string());
                Broken { error: IndexError::Lost { target, why, source: Some(Box::new(e)) }, again: false }
            }
        })?;
        let mut held = Held(Some(object));
        let Some(client) = held.0.as_mut() else {
            let why = "its connection is gone".to_owned();
            let error = IndexError::Lost { target: self.target.clone(), why, source: None };
            return Err(Broken { error, again: true });
        };
        if !self.ready.load(SeqCst) {
            match schema::ensure(client).await {
                Ok(Ok(())) => self.ready.store(true, SeqCst),
                Ok(Err(why)) => {
                    held.give_back();
                    let error = IndexError::Unusable { target: self.target.clone(), why };
                    return Err(Broken { error, again: false });
                }
                Err(e) => return Err(self.broken(e)),
            }
        }
        match work.on(client).await {
            Ok(out) => {
                held.give_back();
                Ok(out)
            }
            Err(e) => {
                // The server has answered: the connection is as good as before.
                if e.as_db_error().is_some() && !e.is_closed() {
                    held.give_back();
                }
                Err(self.broken(e))
            }
        }
    }

    fn broken(&self, e: tokio_postgres::Error) -> Broken {
        let (target, why) = (self.target.clone(), words(&e));
        let Some(code) = e.code().cloned() else {
            return Broken { error: IndexError::Lost { target, why, source: Some(Box::new(e)) }, again: true };
        };
        let class = code.code().get(..2).unwrap_or_default();
        let clash = [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(&code);
        if clash || matches!(class, "08" | "53" | "57") || code == SqlState::READ_ONLY_SQL_TRANSACTION {
            let again = clash || class == "57";
            return Broken { error: IndexError::Lost { target, why, source: Some(Box::new(e)) }, again };
        }
        if matches!(class, "28" | "3D" | "3F" | "42") {
            // Somebody may have taken the tables away: they are looked at again.
            self.ready.store(false, SeqCst);
            return Broken { error: IndexError::Unusable { target, why }, again: false };
        }
        Broken { error: IndexError::Refused { target, why, source: Some(Box::new(e)) }, again: false }
    }
}

/// What went wrong, with what lies below.
fn words(e: &tokio_postgres::Error) -> String {
    if let Some(db) = e.as_db_error() {
        return said(db);
    }
    let mut text = e.to_string();
    let mut below = std::error::Error::source(e);
    while let Some(e) = below {
        let more = e.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        below = e.source();
    }
    text
}

fn said(e: &DbError) -> String {
    let remedy = match *e.code() {
        SqlState::UNDEFINED_DATABASE => "; make it with createdb",
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => "; is DATABASE_URL right?",
        SqlState::INSUFFICIENT_PRIVILEGE => "; grant it to the user of DATABASE_URL",
        _ => "",
    };
    format!("{} ({}){remedy}", e.message(), e.code().code())
}

#[async_trait]
impl RecordingIndex for PostgresRecordings {
    async fn list(&self, query: &RecordingQuery) -> Result<RecordingPage, IndexError> {
        let found = self.run(read::List(query)).await?;
        let mut recordings = Vec::with_capacity(found.len());
        // Part by part, so that a long list needs no longer wait than a short one.
        for part in found.chunks(PART) {
            recordings.extend(self.run(read::Rest(part)).await?);
        }
        Ok(RecordingPage { recordings })
    }

    async fn find(&self, record_ids: &[String]) -> Result<Vec<Recording>, IndexError> {
        self.run(read::Find(record_ids)).await
    }

    async fn ids(&self, after: &str, limit: usize) -> Result<Vec<(String, bool)>, IndexError> {
        self.run(read::Ids { after, limit: i64::try_from(limit).unwrap_or(i64::MAX) }).await
    }

    async fn import(&self, recording: &Recording) -> Result<Recording, IndexError> {
        self.run(write::Import(recording)).await
    }

    async fn set_published(&self, record_id: &str, published: bool) -> Result<bool, IndexError> {
        self.run(write::SetPublished { record_id, published }).await
    }

    async fn update(
        &self,
        record_ids: &[String],
        tenant: Option<&str>,
        change: &RecordingChange,
    ) -> Result<bool, IndexError> {
        self.run(write::Update { record_ids, tenant, change }).await
    }

    async fn mark_deleted(&self, record_id: &str) -> Result<bool, IndexError> {
        self.run(write::MarkDeleted(record_id)).await
    }

    async fn add_to_tenant(&self, tenant: &str) -> Result<u64, IndexError> {
        self.run(write::AddToTenant(tenant)).await
    }

    async fn link_callbacks(&self, recording: &Recording) -> Result<Option<CallbackRow>, IndexError> {
        self.run(callbacks::Link(recording)).await
    }

    async fn check(&self) -> Result<(), IndexError> {
        self.run(read::Check).await
    }

    fn describe(&self) -> String {
        self.target.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_rails_reads_them() {
        let o = PostgresOptions::from_url("postgresql://postgres:geheim@db:5433?pool=7&encoding=utf8").unwrap();
        assert_eq!((o.connections, target(&o.config).as_str()), (7, "postgres db:5433/scalelite"));
        assert!(!format!("{o:?}").contains("geheim"));
        let o = PostgresOptions::from_url("postgres://u@h/other?sslmode=prefer&connect_timeout=2").unwrap();
        assert_eq!(target(&o.config), "postgres h:5432/other");
        assert_eq!(o.config.get_connect_timeout(), Some(&Duration::from_secs(2)));
        for (wrong, said) in [
            ("mysql://x", "must begin with postgresql://"),
            ("postgres://h/db?sslmode=require", "sslmode asks for TLS"),
            ("postgres://h/db?pool=0", "pool must be"),
            ("postgres://u:geheim@h:port/db", "is not a URL"),
        ] {
            let e = PostgresOptions::from_url(wrong).unwrap_err();
            assert!(e.contains(said) && !e.contains("geheim"), "{wrong}: {e}");
        }
    }
}
