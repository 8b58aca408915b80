//! Where agents listen, and the connections they are given.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

use crate::reach::is_local_peer;

/// How long a connection that was ended is listened to, so that what was said last arrives.
const LINGER: Duration = Duration::from_millis(500);

/// How many bytes are read meanwhile.
const LINGER_BYTES: u64 = 1 << 16;

/// Where an agent listens. Nothing is encrypted and nobody is asked who they are: keep to loopback or a unix socket, or
/// to a network of the HAProxys alone. A public address is refused unless it is [asked for](Self::check).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ListenAddress {
    /// An address and a port; port 0 takes any that is free.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether an agent may listen there: at a loopback or private address, or a unix socket; at any if `anywhere`.
    ///
    /// # Errors
    ///
    /// [`ListenError::Public`].
    pub fn check(&self, anywhere: bool) -> Result<(), ListenError> {
        match self {
            Self::Tcp(address) if !anywhere && !is_local_peer(address.ip()) => {
                Err(ListenError::Public { address: *address })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix@{}", path.display()),
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// Reads `127.0.0.1:9600`, `[::1]:9600`, `unix@/run/lb/spoe.sock`, `/run/lb/spoe.sock`, as a server line is written.
impl FromStr for ListenAddress {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        if let Some(path) = text.strip_prefix("unix@").or_else(|| text.starts_with('/').then_some(text)) {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err(ListenError::Address { text: text.chars().take(200).collect() }),
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| ListenError::Address { text: text.chars().take(200).collect() })
    }
}

/// Why nobody can listen there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Not an address.
    #[error("{text:?} is no address to listen at: write 127.0.0.1:9600 or unix@/run/lb/spoe.sock")]
    Address {
        /// What was given.
        text: String,
    },
    /// An address beyond private networks.
    #[error(
        "{address} is public, and agents are asked without password and encryption: whoever reaches them reads all rooms \
         and takes servers out; listen at a loopback or private address, or a unix socket"
    )]
    Public {
        /// Which.
        address: SocketAddr,
    },
    /// The system refuses.
    #[error("cannot listen at {address}: end whoever listens there, or choose another address")]
    Bind {
        /// Where.
        address: ListenAddress,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// A connection of either kind.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

#[derive(Debug)]
struct Bound {
    kind: Kind,
    address: ListenAddress,
    anywhere: bool,
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let ListenAddress::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// An address that is listened at, as long as any clone of it is held: by an agent that takes connections, and by whoever
/// gives it to the next agent, with other settings. Between the two connections wait, and nobody is refused.
///
/// It belongs to the tokio runtime where it was bound. The file of a unix socket is removed with the last clone.
#[derive(Clone, Debug)]
pub struct ListenSocket(Arc<Bound>);

impl ListenSocket {
    /// Listens; at public addresses, and to them, only if `anywhere`. A socket file that nobody listens at any more is
    /// replaced.
    ///
    /// # Errors
    ///
    /// [`ListenError`] when the address is taken, not to be had, or public.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn bind(address: &ListenAddress, anywhere: bool) -> Result<Self, ListenError> {
        address.check(anywhere)?;
        let refused = |source| ListenError::Bind { address: address.clone(), source };
        let (kind, address) = match address {
            ListenAddress::Tcp(wanted) => {
                let listener = TcpListener::bind(wanted).await.map_err(refused)?;
                let address = ListenAddress::Tcp(listener.local_addr().map_err(refused)?);
                (Kind::Tcp(listener), address)
            }
            ListenAddress::Unix(path) => {
                let bound = match UnixListener::bind(path) {
                    Err(e) if e.kind() == io::ErrorKind::AddrInUse && is_left_over(path).await => {
                        std::fs::remove_file(path).and_then(|()| UnixListener::bind(path))
                    }
                    other => other,
                };
                (Kind::Unix(bound.map_err(refused)?), address.clone())
            }
        };
        Ok(Self(Arc::new(Bound { kind, address, anywhere })))
    }

    /// Where, with the port that was taken.
    pub fn address(&self) -> &ListenAddress {
        &self.0.address
    }

    /// The next connection. Where the system is out of descriptors it waits a little.
    ///
    /// Dropping the future loses no connection.
    pub(crate) async fn accept(&self) -> (Box<dyn Duplex>, Option<SocketAddr>) {
        loop {
            let accepted: io::Result<(Box<dyn Duplex>, _)> = match &self.0.kind {
                Kind::Tcp(listener) => listener.accept().await.and_then(|(stream, from)| {
                    stream.set_nodelay(true)?;
                    Ok((Box::new(stream) as Box<dyn Duplex>, Some(from)))
                }),
                Kind::Unix(listener) => listener.accept().await.map(|(stream, _)| (Box::new(stream) as _, None)),
            };
            match accepted {
                // A host that is reached by a private address may pass on what comes from elsewhere.
                Ok((_, Some(from))) if !self.0.anywhere && !is_local_peer(from.ip()) => {}
                Ok(connection) => return connection,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

async fn is_left_over(path: &Path) -> bool {
    matches!(UnixStream::connect(path).await, Err(e) if e.kind() == io::ErrorKind::ConnectionRefused)
}

/// Says that no more will come and hears the other side out, for half a second: closed with bytes unread, the system
/// would take back what was said last.
pub(crate) async fn part(mut stream: impl Duplex) {
    let last = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    let _ = timeout(LINGER, last).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, back) in [
            ("127.0.0.1:9600", "127.0.0.1:9600"),
            ("[::1]:9600", "[::1]:9600"),
            ("/run/a.sock", "unix@/run/a.sock"),
            ("unix@/run/a.sock", "unix@/run/a.sock"),
        ] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), back);
        }
        for bad in ["", "host", "host:1", "unix@a", "127.0.0.1:99999"] {
            assert!(bad.parse::<ListenAddress>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn public_addresses_are_refused_unless_asked_for() {
        for text in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let address: ListenAddress = text.parse().unwrap();
            let refused = ListenSocket::bind(&address, false).await.unwrap_err().to_string();
            assert!(refused.contains("is public") && refused.contains("password"), "{refused}");
        }
        let open = ListenSocket::bind(&"0.0.0.0:0".parse().unwrap(), true).await.unwrap();
        assert!(matches!(open.address(), ListenAddress::Tcp(at) if at.port() > 0));
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
        let folder = crate::testing::Folder::new("listen");
        let address = ListenAddress::Unix(folder.join("a.sock"));
        // Left behind: bound, and closed without a word to the file system.
        drop(std::os::unix::net::UnixListener::bind(folder.join("a.sock")).unwrap());
        let first = ListenSocket::bind(&address, false).await.unwrap();
        let error = ListenSocket::bind(&address, false).await.unwrap_err();
        assert!(matches!(error, ListenError::Bind { .. }), "{error}");
        let second = first.clone();
        drop(first);
        assert!(folder.join("a.sock").exists());
        drop(second);
        assert!(!folder.join("a.sock").exists());
    }
}
