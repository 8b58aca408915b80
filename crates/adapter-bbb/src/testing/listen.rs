//! The open port: accepts connections, counts them, and ends them together.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::FakeOptions;
use super::connection;
use super::state::FakeState;

/// Connections one fake serves at a time; more are closed at once.
const CONNECTION_LIMIT: usize = 4_096;

/// Connections that wait to be accepted.
pub(super) const BACKLOG: u32 = 1_024;

/// What connections and the handle share.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) secret: String,
    pub(super) port: u16,
    pub(super) state: Mutex<FakeState>,
    /// Something in the state changed.
    pub(super) changed: Notify,
    /// The modes changed.
    pub(super) orders: watch::Sender<()>,
    /// Every connection is to be cut.
    pub(super) cut: watch::Sender<()>,
}

impl Shared {
    pub(super) fn new(options: FakeOptions, port: u16, seed: u64) -> Self {
        Self {
            name: options.name,
            secret: options.secret,
            port,
            state: Mutex::new(FakeState::new(seed, options.clock)),
            changed: Notify::new(),
            orders: watch::Sender::new(()),
            cut: watch::Sender::new(()),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The open port and its connections.
pub(super) struct Listening {
    pub(super) stop: oneshot::Sender<()>,
    pub(super) task: JoinHandle<()>,
}

/// Binds an address without listening there: who connects is refused, nobody else gets the port, and one may listen
/// beside it.
pub(super) fn keep(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

/// Serves the port until the sender of `stop` is gone or used.
pub(super) fn listen(listener: TcpListener, shared: Arc<Shared>) -> Listening {
    let (stop, mut stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) if connections.len() < CONNECTION_LIMIT => {
                        let open = Open::new(Arc::clone(&shared));
                        let mut cut = shared.cut.subscribe();
                        connections.spawn(async move {
                            tokio::select! {
                                () = connection::serve(&open.0, stream) => {}
                                _ = cut.changed() => {}
                            }
                        });
                    }
                    Ok(_) => {}
                    // Out of file descriptors, most likely: give them time to come back.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        }
        drop(listener);
        connections.shutdown().await;
    });
    Listening { stop, task }
}

/// Counts one open connection.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: Arc<Shared>) -> Self {
        {
            let mut state = shared.state();
            state.connections += 1;
            state.open += 1;
        }
        shared.changed.notify_waiters();
        Self(shared)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        {
            let mut state = self.0.state();
            state.open = state.open.saturating_sub(1);
        }
        self.0.changed.notify_waiters();
    }
}
