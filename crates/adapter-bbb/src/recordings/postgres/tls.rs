//! TLS to a Postgres server, checked as far as `sslmode` asks for.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as RustlsStream;

use super::options::{PostgresOptions, Proof, Wanted};

mod end_point;

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// `None` when no TLS is wanted. The error says what is wrong with which file.
    pub(super) fn new(options: &PostgresOptions) -> Result<Option<Self>, String> {
        let wanted = &options.tls;
        if wanted.proof == Proof::Never {
            return Ok(None);
        }
        // It is named, so that no process-wide default is needed.
        let provider = Arc::new(ring::default_provider());
        let settings = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Judge::new(wanted, provider)?));
        let settings = match &wanted.own {
            None => settings.with_no_client_auth(),
            Some((certificate, key)) => {
                let what = format!("sslkey {}", key.display());
                let chain = certificates("sslcert", certificate)?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|e| format!("{what} cannot be read: {e}; it must be a key without a password, as PEM"))?;
                let fitting = settings.with_client_auth_cert(chain, key);
                fitting.map_err(|e| format!("{what} does not fit to sslcert {}: {e}", certificate.display()))?
            }
        };
        Ok(Some(Self(TlsConnector::from(Arc::new(settings)))))
    }
}

fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|e| format!("{what} {} cannot be read: {e}", path.display()))?;
    if found.is_empty() { Err(format!("{what} {} holds no certificate as PEM", path.display())) } else { Ok(found) }
}

/// Who decides whether a server is the one that is meant.
#[derive(Debug)]
struct Judge {
    proof: Proof,
    /// Whom we trust, as they are in the file.
    trusted: Vec<CertificateDer<'static>>,
    /// None when nothing is to be proved.
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Judge {
    fn new(wanted: &Wanted, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let proof = wanted.proof;
        if proof < Proof::Authority {
            return Ok(Self { proof, trusted: Vec::new(), inner: None, provider });
        }
        let (trusted, none) = match &wanted.roots {
            Some(path) => {
                let none = format!("sslrootcert {} holds no certificate of an authority", path.display());
                (certificates("sslrootcert", path)?, none)
            }
            None => {
                let none = "the system trusts nobody: install the package ca-certificates, or name the file of the \
                            database's authority by sslrootcert in DATABASE_URL";
                (rustls_native_certs::load_native_certs().certs, none.to_owned())
            }
        };
        let mut roots = RootCertStore::empty();
        if roots.add_parsable_certificates(trusted.iter().cloned()).0 == 0 {
            return Err(none);
        }
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let inner = inner.map_err(|e| e.to_string())?;
        Ok(Self { proof, trusted, inner: Some(inner), provider })
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // The name is looked at when all else was found right.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.proof == Proof::Authority => Ok(ServerCertVerified::assertion()),
            // One that signed itself, as the manual of Postgres makes it: an authority, and trusted as such. That it has
            // not expired is looked at before what it may be used for.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(why)))
                if why.to_string().contains("CaUsedAsEndEntity") && self.trusted.contains(&end_entity.clone()) =>
            {
                if self.proof == Proof::Name {
                    verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Stream;
    type TlsConnect = To;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<To, io::Error> {
        Ok(To { connector: self.0.clone(), host: host.to_owned() })
    }
}

/// A server that is about to be called.
pub(super) struct To {
    connector: TlsConnector,
    host: String,
}

impl TlsConnect<Socket> for To {
    type Stream = Stream;
    type Error = Disagreed;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Disagreed>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from(self.host);
            let name =
                name.map_err(|_| Disagreed(io::Error::other("its host is no name that a certificate can be for")))?;
            self.connector.connect(name, socket).await.map(Stream).map_err(Disagreed)
        })
    }
}

/// The two do not come to speak TLS.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Disagreed(io::Error);

/// A connection that nobody reads along.
pub(super) struct Stream(RustlsStream<Socket>);

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        let certificate = self.0.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        match certificate.and_then(|certificate| end_point::hash(certificate)) {
            Some(hash) => ChannelBinding::tls_server_end_point(hash),
            None => ChannelBinding::none(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Whether the two did not come to speak TLS, though the server can.
pub(super) fn has_failed(e: &tokio_postgres::Error) -> bool {
    std::error::Error::source(e).is_some_and(|below| below.is::<Disagreed>())
}

/// What is wrong with a certificate or with the way of talking, and what to do; `None` when it is something else.
pub(super) fn trouble(e: &tokio_postgres::Error) -> Option<String> {
    let below = std::error::Error::source(e)?;
    let below = below.downcast_ref::<Disagreed>().map_or_else(|| below.downcast_ref::<io::Error>(), |e| Some(&e.0))?;
    let why = below.get_ref()?.downcast_ref::<rustls::Error>()?;
    let said = match why {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is signed by nobody we trust: name the file of its authority by sslrootcert in \
                 DATABASE_URL"
                    .to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name: use that one as host in DATABASE_URL, or sslmode=verify-ca, which \
                 looks at no names"
                    .to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired: renew it there".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: are both clocks right?".to_owned()
            }
            other => format!("its certificate cannot be used: {other}"),
        },
        rustls::Error::AlertReceived(alert) => {
            format!(
                "it refuses our side of TLS ({alert:?}): does it want a certificate of ours? Then name it by sslcert \
                 and sslkey in DATABASE_URL"
            )
        }
        other => format!("TLS is not agreed on: {other}"),
    };
    Some(said)
}
