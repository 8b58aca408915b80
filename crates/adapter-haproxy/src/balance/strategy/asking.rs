//! Servers of a pool that HAProxy knows, and what a pick is asked with.

use balancer_core::{Backend, BackendId, Weight};

use crate::balance::key::Request;
use crate::balance::server::ServerSpec;

/// A server of a pool that is a `server` line of HAProxy.
pub trait ServerLine: Backend {
    /// The line.
    fn line(&self) -> &ServerSpec;
}

/// A server of a pool that is a `server` line and nothing else: its id in the pool is its name.
#[derive(Clone, Debug)]
pub struct HaproxyServer {
    id: BackendId,
    line: ServerSpec,
}

impl HaproxyServer {
    /// A server of this line.
    pub fn new(line: ServerSpec) -> Self {
        Self { id: BackendId::new(line.name()), line }
    }
}

impl Backend for HaproxyServer {
    fn id(&self) -> &BackendId {
        &self.id
    }

    fn weight(&self) -> Weight {
        Weight::new(self.line.weight)
    }
}

impl ServerLine for HaproxyServer {
    fn line(&self) -> &ServerSpec {
        &self.line
    }
}

/// What a pick can be asked with: nothing, so that the room key is the key that is hashed, or a request of which the key
/// is taken as HAProxy does it.
pub trait Asking: Sync {
    /// Whether the room key alone is the key.
    const BY_ROOM: bool;

    /// The request, if it is to be looked at.
    fn request(&self) -> Option<&Request>;
}

impl Asking for () {
    const BY_ROOM: bool = true;

    fn request(&self) -> Option<&Request> {
        None
    }
}

impl Asking for Request {
    const BY_ROOM: bool = false;

    fn request(&self) -> Option<&Request> {
        Some(self)
    }
}
