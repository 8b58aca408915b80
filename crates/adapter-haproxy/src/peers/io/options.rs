//! Who a node is, whom it knows, and what it keeps.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use balancer_core::BackendId;

use super::address::PeerAddress;
use super::error::PeerNodeError;
use crate::peers::codec::MAX_MESSAGE;
use crate::peers::table::KeyType;
use crate::reach::is_local_peer;
use crate::trace::Recorder;

/// The most peers of one node.
pub const MAX_PEERS: usize = 64;

/// A peer: its name, and where it listens if we call it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) address: Option<PeerAddress>,
}

/// Who a node is and whom it knows.
///
/// Give it every HAProxy of the mesh, and every other node: HAProxy passes on what it learns in full lessons only. In
/// each HAProxy's `peers` section there is a `server NAME HOST:PORT` line for every node.
#[derive(Clone, Debug)]
pub struct PeerNodeOptions {
    pub(super) name: String,
    pub(super) listen: Vec<SocketAddr>,
    pub(super) peers: Vec<Known>,
    pub(super) plain_anywhere: bool,
    pub(super) max_message: usize,
    pub(super) max_callers: usize,
    pub(super) relay: bool,
    pub(super) recorder: Option<Recorder>,
    #[cfg(feature = "peers-tls")]
    pub(super) tls: Option<super::tls::PeerTls>,
}

impl PeerNodeOptions {
    /// A node of this name, as the `peers` sections list it.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            listen: Vec::new(),
            peers: Vec::new(),
            plain_anywhere: false,
            max_message: MAX_MESSAGE,
            max_callers: 64,
            relay: true,
            recorder: None,
            #[cfg(feature = "peers-tls")]
            tls: None,
        }
    }

    /// Listens there too, so that peers can call; default nowhere.
    #[must_use]
    pub fn with_listen(mut self, address: SocketAddr) -> Self {
        self.listen.push(address);
        self
    }

    /// A peer that we call, and that may call us.
    #[must_use]
    pub fn with_peer(mut self, name: impl Into<String>, address: PeerAddress) -> Self {
        self.peers.push(Known { name: name.into(), address: Some(address) });
        self
    }

    /// A peer that calls us.
    #[must_use]
    pub fn with_caller(mut self, name: impl Into<String>) -> Self {
        self.peers.push(Known { name: name.into(), address: None });
        self
    }

    /// Takes public addresses without TLS; default no, for the reason given at [`is_local_peer`]. Only for networks that
    /// look public and are not.
    #[must_use]
    pub fn with_plain_anywhere(mut self, allowed: bool) -> Self {
        self.plain_anywhere = allowed;
        self
    }

    /// Everything within TLS, both ways; default in clear text, to local addresses only.
    #[cfg(feature = "peers-tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: super::tls::PeerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Keeps what is said and heard in a trace; default not. Keys of tables that the node does not keep are masked.
    #[must_use]
    pub fn with_recorder(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// The longest message taken, in bytes: the `tune.bufsize` of the HAProxys; default 16,384.
    #[must_use]
    pub fn with_max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// How many callers that have not told their name yet are listened to at once; default 64.
    #[must_use]
    pub fn with_max_callers(mut self, callers: usize) -> Self {
        self.max_callers = callers.max(1);
        self
    }

    /// Whether what one peer tells is told to the others; default yes. Where all HAProxys know each other they tell it
    /// each other anyway, and no costs less; a peer that missed something still gets it with its next connection.
    #[must_use]
    pub fn with_relay(mut self, relay: bool) -> Self {
        self.relay = relay;
        self
    }

    /// Whether addresses must be local.
    pub(super) fn local_only(&self) -> bool {
        #[cfg(feature = "peers-tls")]
        if self.tls.is_some() {
            return false;
        }
        !self.plain_anywhere
    }

    pub(super) fn check(&self) -> Result<(), PeerNodeError> {
        let mut names = BTreeSet::new();
        for name in std::iter::once(&self.name).chain(self.peers.iter().map(|peer| &peer.name)) {
            if name.is_empty() || name.len() > 200 || !name.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(PeerNodeError::Name { name: name.clone() });
            }
            if !names.insert(name.as_str()) {
                return Err(PeerNodeError::Twice { name: name.clone() });
            }
        }
        if self.peers.len() > MAX_PEERS {
            return Err(PeerNodeError::TooMany { count: self.peers.len(), most: MAX_PEERS });
        }
        if self.local_only() {
            let called =
                self.peers.iter().filter_map(|peer| Some((peer.address.as_ref()?.ip()?, peer.address.as_ref()?)));
            let public = called.filter(|(ip, _)| !is_local_peer(*ip)).map(|(_, address)| address.to_string());
            let open = self.listen.iter().filter(|address| !is_local_peer(address.ip())).map(SocketAddr::to_string);
            if let Some(address) = public.chain(open).next() {
                return Err(PeerNodeError::Public { address });
            }
        }
        Ok(())
    }
}

/// A server as HAProxy names it, and as the store does.
#[derive(Clone, Debug)]
pub struct PeerServer {
    pub(super) backend: BackendId,
    pub(super) key: String,
    pub(super) id: u32,
}

impl PeerServer {
    /// A server that has one name in both.
    pub fn new(backend: impl Into<BackendId>) -> Self {
        let backend = backend.into();
        Self { key: backend.as_str().to_owned(), backend, id: 0 }
    }

    /// Its `id`; default what HAProxys tell with the name. Needed for entries that have a number alone, such as those
    /// of `set table`.
    #[must_use]
    pub fn with_id(mut self, id: u32) -> Self {
        self.id = id;
        self
    }

    /// What HAProxy writes for it: its name there, or `address:port` in tables with `srvkey addr`.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }
}

/// Says whether a server can be used now.
pub(super) type Serving = Arc<dyn Fn(&BackendId) -> bool + Send + Sync>;

/// A stick table, and how it is kept.
#[derive(Clone)]
pub struct PeerTableOptions {
    pub(super) name: String,
    pub(super) kind: KeyType,
    pub(super) key_len: u64,
    pub(super) ttl: Duration,
    pub(super) max_entries: usize,
    pub(super) servers: Vec<PeerServer>,
    pub(super) serving: Option<Serving>,
}

impl fmt::Debug for PeerTableOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerTableOptions").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl PeerTableOptions {
    /// A table of text by its name: that of its proxy, or `/` and the name if it is a `table` of the `peers` section.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: KeyType::String,
            key_len: 65,
            ttl: Duration::from_secs(8 * 3600),
            max_entries: 4_000_000,
            servers: Vec::new(),
            serving: None,
        }
    }

    /// What its keys are; default text. Keys of the store are numbers, addresses or hexadecimal digits then.
    #[must_use]
    pub fn with_key_type(mut self, kind: KeyType) -> Self {
        self.kind = kind;
        self
    }

    /// How long an entry lives where neither HAProxy nor a caller says it; default 8 hours.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl.max(Duration::from_secs(1));
        self
    }

    /// How many entries are kept in memory; default 4,000,000. Further ones are bound by the store and not taught.
    #[must_use]
    pub fn with_max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries;
        self
    }

    /// A server. Those that are not given are known once HAProxy or a claim names them; what the store holds for those
    /// that are is taught from the start.
    #[must_use]
    pub fn with_server(mut self, server: PeerServer) -> Self {
        self.servers.push(server);
        self
    }

    /// Which servers can be used now; default all. A room whose server cannot is moved to where HAProxy put it instead.
    #[must_use]
    pub fn with_serving(mut self, serving: impl Fn(&BackendId) -> bool + Send + Sync + 'static) -> Self {
        self.serving = Some(Arc::new(serving));
        self
    }
}
