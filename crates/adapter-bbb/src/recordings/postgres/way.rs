//! The way to the server: how connections come about, and how one ends that nobody waits for any more.

use std::future::Future;
use std::pin::Pin;
#[cfg(feature = "postgres-tls")]
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};
use std::time::Duration;

use deadpool_postgres::{Connect, Object};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{CancelToken, Client, Config, Error, NoTls, Socket};

use super::options::PostgresOptions;
#[cfg(feature = "postgres-tls")]
use super::{options::Proof, tls, trouble};

/// How long the server is asked for to stop working.
const BRIEF: Duration = Duration::from_secs(5);

/// With TLS or without, as `sslmode` asks for it.
#[derive(Clone)]
pub(super) struct Way {
    #[cfg(feature = "postgres-tls")]
    tls: Option<tls::Tls>,
    /// Whether it may be without TLS when it does not come about with it.
    #[cfg(feature = "postgres-tls")]
    gives_in: bool,
    /// Whether that was told of.
    #[cfg(feature = "postgres-tls")]
    told: Arc<AtomicBool>,
}

type Opened = (Client, JoinHandle<()>);

impl Way {
    /// The error says what is wrong with which file.
    #[cfg_attr(not(feature = "postgres-tls"), allow(clippy::unnecessary_wraps, reason = "with TLS there are files"))]
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, String> {
        #[cfg(not(feature = "postgres-tls"))]
        let _ = options;
        Ok(Self {
            #[cfg(feature = "postgres-tls")]
            tls: tls::Tls::new(options)?,
            #[cfg(feature = "postgres-tls")]
            gives_in: options.tls.proof == Proof::Whatever,
            #[cfg(feature = "postgres-tls")]
            told: Arc::default(),
        })
    }

    async fn open(self, config: Config) -> Result<Opened, Error> {
        #[cfg(feature = "postgres-tls")]
        if let Some(tls) = &self.tls {
            let refused = match config.connect(tls.clone()).await {
                Ok((client, connection)) => return Ok((client, driven(connection))),
                Err(e) if self.gives_in && (tls::has_failed(&e) || trouble::is_login(&e)) => e,
                Err(e) => return Err(e),
            };
            // As Postgres' own programs do: a server whose TLS we do not understand, or that wants none of it.
            let mut plain = config;
            plain.ssl_mode(tokio_postgres::config::SslMode::Disable);
            return match plain.connect(NoTls).await {
                Ok((client, connection)) => {
                    if !self.told.swap(true, Relaxed) {
                        tracing::warn!(reason = trouble::words(&refused), "the database is reached without TLS");
                    }
                    Ok((client, driven(connection)))
                }
                // What was wrong with TLS is what has to be mended.
                Err(e) if trouble::wants_tls(&e) => Err(refused),
                Err(e) => Err(e),
            };
        }
        let (client, connection) = config.connect(NoTls).await?;
        Ok((client, driven(connection)))
    }

    async fn cancel(&self, work: &CancelToken) -> Result<(), Error> {
        #[cfg(feature = "postgres-tls")]
        if let Some(tls) = &self.tls {
            return work.cancel_query(tls.clone()).await;
        }
        work.cancel_query(NoTls).await
    }

    /// Ends a connection on which something may be under way, and that with it: the server would work on for somebody
    /// who has gone, and so would the connection be there.
    pub(super) fn give_up(&self, object: Object) {
        let client = Object::take(object);
        let Ok(runtime) = Handle::try_current() else { return };
        if !client.is_closed() {
            let (way, work) = (self.clone(), client.cancel_token());
            runtime.spawn(async move { timeout(BRIEF, way.cancel(&work)).await.is_ok_and(|done| done.is_ok()) });
        }
    }
}

impl Connect for Way {
    fn connect(&self, config: &Config) -> Pin<Box<dyn Future<Output = Result<Opened, Error>> + Send + '_>> {
        Box::pin(self.clone().open(config.clone()))
    }
}

/// Carries what a connection says and hears, until it ends.
fn driven<T>(connection: tokio_postgres::Connection<Socket, T>) -> JoinHandle<()>
where
    T: tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(e) = connection.await {
            tracing::debug!(error = %e, "a connection to the database ended");
        }
    })
}
