//! Connections that nobody reads along.

use std::fmt;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::address::PeerAddress;
use super::error::PeerNodeError;

/// Certificates of a node.
///
/// Both sides show one: whoever calls us must have one of the authority, and whoever we call one for the host of its
/// [address](PeerAddress). On HAProxy's side: `bind :10000 ssl crt lb1.pem ca-file ca.pem verify required` in the
/// `peers` section, and `default-server ssl crt lb1.pem ca-file ca.pem verify required` for the peers it calls.
#[derive(Clone)]
pub struct PeerTls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerTls").finish_non_exhaustive()
    }
}

fn wrong(what: &'static str, why: impl fmt::Display) -> PeerNodeError {
    PeerNodeError::Tls { what, why: why.to_string() }
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PeerNodeError> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|error| wrong(what, error))?;
    if all.is_empty() { Err(wrong(what, "there is no certificate in it")) } else { Ok(all) }
}

impl PeerTls {
    /// The authority of all peers, our certificate (with those between it and the authority), and its key, as PEM.
    ///
    /// # Errors
    /// If there is nothing of the kind, or the key is not that of the certificate.
    pub fn new(authority: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, PeerNodeError> {
        let mut roots = RootCertStore::empty();
        for root in certificates("the authority", authority)? {
            roots.add(root).map_err(|error| wrong("the authority", error))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates("the certificate", certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong("the key", error))?;
        let provider = Arc::new(crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("the protocol", error))?
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|error| wrong("the certificate", error))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| wrong("the authority", error))?;
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("the protocol", error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| wrong("the certificate", error))?;
        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }

    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> std::io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
        TlsAcceptor::from(self.server.clone()).accept(stream).await
    }

    pub(super) async fn connect(
        &self,
        address: &PeerAddress,
        stream: TcpStream,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let name = ServerName::try_from(address.host().to_owned()).map_err(std::io::Error::other)?;
        TlsConnector::from(self.client.clone()).connect(name, stream).await
    }
}
