//! The index in Postgres, in Scalelite's tables.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use tokio::time::{Instant, sleep, timeout_at};

use super::index::{CallbackRow, IndexError, RecordingChange, RecordingIndex, RecordingPage, RecordingQuery};
use super::record::Recording;

mod callbacks;
mod indexes;
mod options;
mod read;
mod schema;
#[cfg(feature = "postgres-tls")]
mod tls;
mod trouble;
mod way;
mod write;

pub use options::PostgresOptions;
use trouble::{Again, Broken};
use way::Way;

/// What belongs to so many recordings is read at once.
const PART: usize = 2_000;
/// The first pause before something is tried again that needs one; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(100);

/// The index of recordings in Postgres, shared by any number of processes, also with Scalelite's.
///
/// Its tables are Scalelite's: made where there are none, taken over where there are, together with the bookkeeping of
/// migrations, so that a Scalelite finds nothing to do. Indexes whose names begin with `balancer_` are added to them while
/// all else goes on ([`PostgresOptions::indexes`]). No prepared statement is kept at the server, so that a pooler
/// between the two may be in its way of transactions.
///
/// Nothing is opened before it is needed: a database that is away stops nobody from starting, and is found again when it
/// is back.
pub struct PostgresRecordings {
    pool: Pool,
    way: Way,
    options: PostgresOptions,
    target: String,
    /// The schema has been found right since the last time it was not.
    ready: AtomicBool,
    /// Whether indexes of ours have been seen to.
    indexed: AtomicBool,
    /// Operations that have a connection or wait for one.
    busy: AtomicUsize,
}

impl fmt::Debug for PostgresRecordings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresRecordings").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Drop for PostgresRecordings {
    /// Whoever still waits to add indexes ends.
    fn drop(&mut self) {
        self.pool.close();
    }
}

/// Something to do over one connection, which may have to be done again over another.
#[async_trait]
trait Work: Sync {
    type Out: Send;

    async fn on(&self, client: &mut Object) -> Result<Self::Out, tokio_postgres::Error>;
}

/// A connection under way: one that is dropped while something was going on is not used again, and that goes no
/// further at the server either.
struct Held<'a>(Option<Object>, &'a Way);

impl Held<'_> {
    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            self.1.give_up(object);
        }
    }
}

/// One operation under way.
struct Busy<'a>(&'a AtomicUsize);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl PostgresRecordings {
    /// An index in this database. Nothing is opened yet.
    ///
    /// # Errors
    ///
    /// [`IndexError::Unusable`] when the options make no sense.
    pub fn new(options: PostgresOptions) -> Result<Self, IndexError> {
        let target = options.target();
        let how = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let way = Way::new(&options).map_err(|why| IndexError::Unusable { target: target.clone(), why })?;
        let manager = Manager::from_connect(options.config.clone(), way.clone(), how);
        let pool = Pool::builder(manager).max_size(options.connections.max(1)).runtime(Runtime::Tokio1).build();
        let pool = pool.map_err(|e| IndexError::Unusable { target: target.clone(), why: e.to_string() })?;
        Ok(Self {
            pool,
            way,
            options,
            target,
            ready: AtomicBool::new(false),
            indexed: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
        })
    }

    async fn run<W: Work>(&self, work: W) -> Result<W::Out, IndexError> {
        let deadline = Instant::now() + self.options.timeout;
        let (mut tries, waits) = (0, AtomicBool::new(false));
        loop {
            let Ok(done) = timeout_at(deadline, self.once(&work, &waits)).await else {
                return Err(self.too_late(waits.load(SeqCst)));
            };
            let broken = match done {
                Ok(out) => return Ok(out),
                Err(broken) => broken,
            };
            let again = match broken.again {
                Again::No => false,
                Again::AtOnce => tries < self.options.retries,
                // What is full or begins just now may be ready in a moment: half of the time is waited for that.
                Again::Later => {
                    let _ = timeout_at(deadline, sleep(PAUSE * 2_u32.pow(tries.min(3)))).await;
                    Instant::now() + self.options.timeout / 2 < deadline
                }
            };
            if !again {
                return Err(broken.error);
            }
            tries += 1;
        }
    }

    /// The schema is looked at before the next use.
    fn look_again(&self) {
        self.ready.store(false, SeqCst);
        self.indexed.store(false, SeqCst);
    }

    /// Nothing came of it in time: because nobody answers, or because every connection is at work.
    fn too_late(&self, waited: bool) -> IndexError {
        let seconds = self.options.timeout.as_secs_f64();
        let why = if waited {
            format!(
                "none of {} connections was free within {seconds} s; raise pool in DATABASE_URL if the database answers",
                self.options.connections
            )
        } else {
            format!("no answer within {seconds} s")
        };
        IndexError::Lost { target: self.target.clone(), why, source: None }
    }

    /// One try; `waits` tells whether it waits for one of the connections, all of which are at work.
    async fn once<W: Work>(&self, work: &W, waits: &AtomicBool) -> Result<W::Out, Broken> {
        let others = self.busy.fetch_add(1, SeqCst);
        let _busy = Busy(&self.busy);
        waits.store(others >= self.options.connections, SeqCst);
        let object = self.pool.get().await.map_err(|e| match e {
            PoolError::Backend(e) => {
                let broken = self.broken(e);
                // Nobody is there: asking again at once is no use.
                let again = if broken.again == Again::AtOnce { Again::No } else { broken.again };
                Broken { again, ..broken }
            }
            e => {
                let (target, why) = (self.target.clone(), e.to_string());
                Broken { error: IndexError::Lost { target, why, source: Some(Box::new(e)) }, again: Again::No }
            }
        })?;
        waits.store(false, SeqCst);
        let mut held = Held(Some(object), &self.way);
        let Some(client) = held.0.as_mut() else {
            let why = "its connection is gone".to_owned();
            let error = IndexError::Lost { target: self.target.clone(), why, source: None };
            return Err(Broken { error, again: Again::AtOnce });
        };
        if !self.ready.load(SeqCst) {
            match schema::ensure(client).await {
                Ok(Ok(())) => {
                    self.ready.store(true, SeqCst);
                    if self.options.indexes && !self.indexed.swap(true, SeqCst) {
                        let config = self.options.config.clone();
                        tokio::spawn(indexes::add(self.pool.clone(), self.way.clone(), config));
                    }
                }
                Ok(Err(why)) => {
                    held.give_back();
                    let error = IndexError::Unusable { target: self.target.clone(), why };
                    return Err(Broken { error, again: Again::No });
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
