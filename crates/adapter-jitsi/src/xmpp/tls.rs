//! Trust in the XMPP server's certificate.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::XmppError;

/// The most root certificates that are read.
const MAX_ROOTS: usize = 1000;

/// Why roots were not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RootsError {
    /// Not PEM, or a certificate that is none.
    #[error("root certificate {number}: {why}")]
    Malformed {
        /// Which, counted from 1.
        number: usize,
        /// What is wrong.
        why: String,
    },
    /// No certificate in it.
    #[error("no certificate found: PEM with BEGIN CERTIFICATE expected")]
    Empty,
}

/// Certificates that a server's certificate must be signed by, or be equal to. Cheap to clone.
#[derive(Clone)]
pub struct TlsRoots(Arc<ClientConfig>);

impl fmt::Debug for TlsRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsRoots")
    }
}

impl TlsRoots {
    /// Reads certificates in PEM. A self-signed certificate of the server may stand here itself, unless it is flagged
    /// as an authority.
    ///
    /// # Errors
    ///
    /// [`RootsError`] names the certificate.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RootsError> {
        let mut roots = RootCertStore::empty();
        for (index, certificate) in CertificateDer::pem_slice_iter(pem).take(MAX_ROOTS).enumerate() {
            let malformed = |why: String| RootsError::Malformed { number: index + 1, why };
            let certificate = certificate.map_err(|error| malformed(error.to_string()))?;
            roots.add(certificate).map_err(|error| malformed(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(RootsError::Empty);
        }
        // The provider is named: a program that holds two of them has no default.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| RootsError::Malformed { number: 0, why: error.to_string() })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// The handshake over an open connection.
    pub(super) async fn secure(&self, stream: TcpStream, domain: &str) -> Result<TlsStream<TcpStream>, XmppError> {
        let name = ServerName::try_from(domain.to_owned())
            .map_err(|_| XmppError::Tls { domain: domain.to_owned(), why: "not a name of a server".to_owned() })?;
        let connecting = TlsConnector::from(Arc::clone(&self.0)).connect(name, stream);
        connecting.await.map_err(|error| {
            let domain = domain.to_owned();
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match inner {
                Some(rustls::Error::InvalidCertificate(why)) => XmppError::Certificate { domain, why: why.to_string() },
                _ => XmppError::Tls { domain, why: error.to_string() },
            }
        })
    }
}
