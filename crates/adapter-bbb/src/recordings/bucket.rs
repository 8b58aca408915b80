//! The trees in a bucket of a server that speaks S3: `PREFIX/TREE/FORMAT/RECORDID/FILE`, as Scalelite keeps them there.
//!
//! A bucket knows no rename. What replaces something is put together in a third tree, `incoming`, and found whole there
//! before it takes the other one's place; what moves is copied by the server, compared, and only then removed where it
//! was. A kill between any two of these steps leaves every object in one of the trees at least, and what is left to do
//! follows from where they are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use balancer_core::WallClock;
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::files::FilesError;
use crate::client::connections;
use crate::connector::Connector;

mod answer;
mod call;
mod lock;
mod objects;
mod options;
mod place;
mod sign;
#[cfg(feature = "testing")]
mod testing;
mod upload;

pub(crate) use lock::BucketLock;
pub use options::{BucketError, BucketOptions};
pub(crate) use place::BucketLeftover;

use options::Endpoint;
use sign::{Signed, Signer};

/// So many files or parts are under way at once.
const AT_ONCE: usize = 4;

/// A bucket for recordings. Cheap to clone.
#[derive(Clone)]
pub struct RecordingBucket(Arc<Inner>);

struct Inner {
    options: BucketOptions,
    endpoint: Endpoint,
    signer: Signer,
    client: Client<Connector, Full<Bytes>>,
    clock: WallClock,
    /// Until when the right to change what is there is ours, if it is.
    held: Mutex<Option<Instant>>,
    /// Whether the server keeps a promise to replace only what it was told; `None` until it was asked.
    keeps_conditions: Mutex<Option<bool>>,
}

impl fmt::Debug for RecordingBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RecordingBucket").field(&self.0.options).finish()
    }
}

impl RecordingBucket {
    /// A bucket as these options describe it. Nothing is asked of the server yet.
    ///
    /// # Errors
    ///
    /// [`BucketError`] when an option cannot work.
    pub fn new(options: BucketOptions) -> Result<Self, BucketError> {
        let (options, endpoint) = options.checked()?;
        let signer = Signer {
            key_id: options.key_id.clone(),
            secret: options.secret.clone(),
            session: options.session.clone(),
            region: options.region.clone(),
        };
        let inner = Inner {
            client: connections(options.connect),
            signer,
            endpoint,
            options,
            clock: WallClock::system(),
            held: Mutex::default(),
            keeps_conditions: Mutex::default(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Where it is, without any secret.
    #[must_use]
    pub fn describe(&self) -> String {
        let o = &self.0.options;
        format!("s3://{}/{} at {}", o.bucket, o.prefix, self.0.endpoint.host)
    }

    /// Sees that it can be listed with this access key.
    ///
    /// # Errors
    ///
    /// [`FilesError`] when it is not there, cannot be reached or may not be listed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn probe(&self) -> Result<(), FilesError> {
        self.has_any(&self.0.options.prefix).await.map(drop)
    }

    /// A link by which anybody can do this to an object for so long.
    pub(crate) fn link(&self, method: &str, key: &str, query: &[(&str, &str)], time: Duration) -> String {
        let (path, query) = self.link_parts(method, key, query, time);
        format!("{}://{}{path}?{query}", self.0.endpoint.scheme, self.0.endpoint.host)
    }

    /// The path of such a link, and its query.
    pub(crate) fn link_parts(
        &self,
        method: &str,
        key: &str,
        query: &[(&str, &str)],
        time: Duration,
    ) -> (String, String) {
        let path = self.path(key);
        let (host, at) = (self.0.endpoint.host.as_str(), self.0.clock.now_ms() / 1000);
        let of = Signed { method, host, path: &path, query, headers: &[], at };
        let query = self.0.signer.link(&of, time.as_secs().max(1));
        (path, query)
    }

    /// Does something to each, a few at once, and stops at the first failure.
    async fn each<T, F>(&self, all: Vec<T>, work: impl Fn(Self, T) -> F) -> Result<(), FilesError>
    where
        F: Future<Output = Result<(), FilesError>> + Send + 'static,
    {
        let mut running = JoinSet::new();
        let broken = |e: &dyn fmt::Display| self.wrong("", format!("the work on it broke off: {e}"));
        for one in all {
            if running.len() >= AT_ONCE
                && let Some(done) = running.join_next().await
            {
                done.unwrap_or_else(|e| Err(broken(&e)))?;
            }
            running.spawn(work(self.clone(), one));
        }
        while let Some(done) = running.join_next().await {
            done.unwrap_or_else(|e| Err(broken(&e)))?;
        }
        Ok(())
    }
}

/// Objects below a place, by the rest of their keys.
type Listing = BTreeMap<String, answer::Object>;
