//! TLS to a Redis server, by the system's trusted certificates or by those of a file.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::options::{RedisOptions, config};
use super::trouble::{Kind, Trouble};
use crate::stick::StickError;

/// What every connection of a link needs.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
}

impl Tls {
    /// Reads the trusted certificates. The provider is named, so that no process-wide default is needed.
    pub(super) fn new(options: &RedisOptions) -> Result<Self, StickError> {
        let roots = match &options.ca_file {
            Some(path) => from_file(path)?,
            None => {
                let found = rustls_native_certs::load_native_certs();
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    return Err(config(
                        "Redis over TLS",
                        "the system has no trusted certificates: install the package ca-certificates",
                    ));
                }
                roots
            }
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let settings = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| config("Redis over TLS", &e.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(settings)) })
    }

    /// Speaks TLS to a server that must prove to be this host.
    pub(super) async fn wrap(&self, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, Trouble> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Trouble::new(Kind::Lost, "its host is no name that a certificate can be for"))?;
        self.connector.connect(name, stream).await.map_err(|e| {
            let text = e.to_string();
            let why = if text.contains("UnknownIssuer") || text.contains("BadSignature") {
                "its certificate is signed by nobody we trust: add its authority to the system, or name its file \
                 as the CA file"
                    .to_owned()
            } else if text.contains("NotValidForName") || text.contains("not valid for name") {
                "its certificate is for another name: use the name in the certificate as host".to_owned()
            } else if text.contains("Expired") || text.contains("expired") {
                "its certificate has expired".to_owned()
            } else if text.contains("InvalidContentType") || text.contains("corrupt message") {
                "it does not speak TLS on this port: use redis:// or its TLS port".to_owned()
            } else {
                format!("TLS is not agreed on: {text}")
            };
            Trouble::new(Kind::Lost, why)
        })
    }
}

fn from_file(path: &Path) -> Result<RootCertStore, StickError> {
    let what = format!("CA file {}", path.display());
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| config(&what, &format!("cannot be read: {e}")))?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 { Err(config(&what, "holds no certificate in PEM form")) } else { Ok(roots) }
}
