//! A request, as far as it is looked at before it is answered.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::client::CallBody;

/// The head of a request, as far as the service looks at it.
#[derive(Clone, Copy, Default)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, as it came.
    pub path: &'a str,
    /// The query without its `?`, as it came: checksums run over these bytes.
    pub query: &'a str,
    /// The `Host` header.
    pub host: Option<&'a str>,
    /// The `Content-Type` header.
    pub content_type: Option<&'a str>,
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `X-Request-Id` header.
    pub request_id: Option<&'a str>,
    /// The `X-Forwarded-Proto` header: the scheme by which a proxy in front was called.
    pub forwarded_proto: Option<&'a str>,
    /// The `Cookie` header.
    pub cookie: Option<&'a str>,
    /// The `User-Agent` header.
    pub agent: Option<&'a str>,
    /// The address of the connection.
    pub caller: Option<IpAddr>,
}

impl fmt::Debug for RequestHead<'_> {
    /// Without the query and the authorization: they may hold passwords and what can be replayed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("host", &self.host)
            .field("content_type", &self.content_type)
            .finish_non_exhaustive()
    }
}

/// The body of a request.
pub enum Payload {
    /// Read as a whole, possibly empty.
    Whole(Bytes),
    /// Not read yet; passed through to a server. Not empty.
    Stream(CallBody),
    /// Not read yet: slides of a `create`, which the server gets while they still arrive. Not empty.
    Slides {
        /// What arrives.
        body: CallBody,
        /// Permits for KiB that may be kept, so that another server can have them when the first one fails.
        room: Arc<Semaphore>,
    },
}

impl fmt::Debug for Payload {
    /// Without the bytes: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(b) => write!(f, "Whole({} bytes)", b.len()),
            Self::Stream(_) => f.write_str("Stream"),
            Self::Slides { .. } => f.write_str("Slides"),
        }
    }
}

impl Payload {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Whole(b) if b.is_empty())
    }
}

/// How the body of a request is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyPlan {
    /// As a whole, a form or JSON: the small limit.
    Form,
    /// XML, perhaps with slides: small as a whole, else not at all; the large limit.
    Slides,
    /// Not at all: streamed through.
    Stream,
}
