//! Connections over HTTP and HTTPS that read the system's trusted certificates when the first needs them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, io};

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, Write};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use rustls::ClientConfig;
use tokio::sync::OnceCell;
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The system's trusted certificates: one copy for the whole process, read at the first connection with TLS.
static TRUST: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

async fn trust() -> io::Result<Arc<ClientConfig>> {
    let read = || async { tokio::task::spawn_blocking(read_trust).await.map_err(io::Error::other)? };
    TRUST.get_or_try_init(read).await.cloned()
}

fn read_trust() -> io::Result<Arc<ClientConfig>> {
    // The provider is named, so that no process-wide default is needed.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let settings = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_native_roots()
        .map_err(|e| {
            let what = "the system's trusted certificates cannot be read; install the package ca-certificates";
            io::Error::new(e.kind(), format!("{what}: {e}"))
        })?;
    Ok(Arc::new(settings.with_no_client_auth()))
}

/// A connector for `http` and `https` addresses, for hyper's client.
///
/// Hundreds of files hold the system's certificates: a process that calls no `https` address never reads them, and
/// all clients of a process share one copy. That they cannot be read is said by the connection that needed them; the
/// next one tries again.
#[derive(Clone)]
pub struct Connector<H = HttpConnector> {
    http: H,
}

impl<H> Connector<H> {
    /// Connects through this connector, which must accept `https` addresses too
    /// ([`HttpConnector::enforce_http`] off).
    pub const fn new(http: H) -> Self {
        Self { http }
    }
}

impl Connector {
    /// Reads the system's trusted certificates now.
    ///
    /// # Errors
    ///
    /// They cannot be read: no connection to an `https` address will come about.
    ///
    /// # Cancel safety
    ///
    /// Safe: they are read anew by whoever needs them next.
    pub async fn prepare_tls() -> io::Result<()> {
        trust().await.map(drop)
    }
}

impl<H> fmt::Debug for Connector<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl<H> Service<Uri> for Connector<H>
where
    H: Service<Uri> + Clone + Send + 'static,
    H::Response: Connection + Read + Write + Send + Unpin + 'static,
    H::Future: Send + 'static,
    H::Error: Into<BoxError>,
{
    type Response = MaybeHttpsStream<H::Response>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        if to.scheme() != Some(&Scheme::HTTPS) {
            let connecting = self.http.call(to);
            return Box::pin(async move { connecting.await.map(MaybeHttpsStream::Http).map_err(Into::into) });
        }
        // The one that was found ready goes along.
        let another = self.http.clone();
        let ready = std::mem::replace(&mut self.http, another);
        Box::pin(async move { HttpsConnector::from((ready, trust().await?)).call(to).await })
    }
}
