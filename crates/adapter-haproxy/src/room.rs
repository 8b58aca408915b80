//! Which room a request belongs to, and how firmly it must reach that room's server.

use std::fmt;
use std::net::IpAddr;

use balancer_core::{MAX_KEY_LEN, StickError, StickKey, stable_hash};

mod edumeet;
mod jitsi;
mod query;
mod source;
mod state;
#[cfg(test)]
mod vectors;

pub use jitsi::{jitsi_client_room, jitsi_room_key};
pub use state::room_from_state;

/// The longest request target that is read, in bytes; a longer one has no room.
pub const MAX_TARGET_LEN: usize = 32 * 1024;
/// The longest request body that is read, in bytes; a longer one has no room.
pub const MAX_BODY_LEN: usize = 64 * 1024;

/// What is known of one HTTP request: only this is read, nothing is copied.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    method: &'a str,
    target: &'a [u8],
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
    source: Option<IpAddr>,
}

impl<'a> Request<'a> {
    /// A request without headers, body and address. The target is the second word of the request line, in origin or
    /// absolute form, as it came.
    pub fn new(method: &'a str, target: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { method, target: target.as_ref(), headers: &[], body: &[], source: None }
    }

    /// Adds the headers, name and value, in the order received; names match in any case.
    #[must_use]
    pub const fn with_headers(mut self, headers: &'a [(&'a str, &'a str)]) -> Self {
        self.headers = headers;
        self
    }

    /// Adds the body; it is read where a form may carry the room (a posted OAuth callback).
    #[must_use]
    pub fn with_body(mut self, body: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.body = body.as_ref();
        self
    }

    /// Adds the address of the client.
    #[must_use]
    pub const fn with_source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// The last header of that name.
    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().rev().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// By what requests are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoomRule {
    /// edumeet 3.x: the room is the decoded `roomId`, or the member `roomId` inside the OAuth `state`. Case counts.
    Edumeet3,
    /// edumeet 4.x: as before, and the tenant (`tenantFqdn`, else the host the client asked for) is part of the key.
    Edumeet4,
    /// Jitsi Meet: the `room` of signalling requests, else the last part of the path; the parts before are the tenant.
    Jitsi,
    /// The value of one query parameter, decoded once, `+` read as a blank.
    Param(String),
    /// The value of one cookie.
    Cookie(String),
    /// The value of one header: the last one of that name, whole.
    Header(String),
    /// The client's address.
    Source(SourceRule),
}

/// How an address becomes a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRule {
    v4: u8,
    v6: u8,
    forwarded: Option<String>,
}

impl Default for SourceRule {
    fn default() -> Self {
        Self { v4: 32, v6: 64, forwarded: None }
    }
}

impl SourceRule {
    /// How many leading bits count: 32 of an IPv4 and 64 of an IPv6 address unless told (a household changes the rest).
    #[must_use]
    pub fn with_prefix(mut self, v4: u8, v6: u8) -> Self {
        (self.v4, self.v6) = (v4.min(32), v6.min(128));
        self
    }

    /// Takes the last address in this header (`x-forwarded-for`) where there is one: the one the nearest proxy wrote.
    /// Only for requests that surely came through that proxy.
    #[must_use]
    pub fn with_forwarded(mut self, header: impl Into<String>) -> Self {
        self.forwarded = Some(header.into());
        self
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestKind {
    /// Signalling of a room: socket.io, BOSH, websocket, conference requests.
    Signalling,
    /// A media channel that names its server itself; never routed by room.
    BridgeChannel,
    /// Starts a login.
    Login,
    /// Ends a login.
    Logout,
    /// Comes back from the identity provider.
    Callback,
    /// Asks about the login; any server answers.
    Session,
    /// SAML metadata; any server answers.
    Saml,
    /// A launch from a learning platform.
    Lti,
    /// A page of the application.
    Page,
    /// A file.
    Static,
    /// A certificate challenge.
    Acme,
    /// HAProxy's own statistics page.
    Stats,
    /// Health, configuration and the like.
    Service,
    /// Not told apart under this rule.
    Other,
}

impl RequestKind {
    /// The word for it, lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signalling => "signalling",
            Self::BridgeChannel => "bridge-channel",
            Self::Login => "login",
            Self::Logout => "logout",
            Self::Callback => "callback",
            Self::Session => "session",
            Self::Saml => "saml",
            Self::Lti => "lti",
            Self::Page => "page",
            Self::Static => "static",
            Self::Acme => "acme",
            Self::Stats => "stats",
            Self::Service => "service",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for RequestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How firmly a request belongs to its room's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Affinity {
    /// Any server will do.
    Any,
    /// Goes where the room lives, if it lives anywhere; places no room.
    Follow,
    /// Goes where the room lives, and places it if it lives nowhere.
    Pin,
}

/// What [`classify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Classified {
    /// What the request is for.
    pub kind: RequestKind,
    /// The tenant, where the rule knows tenants.
    pub tenant: Option<String>,
    /// The room in its canonical spelling, without the tenant; never empty.
    pub room: Option<String>,
}

impl Classified {
    fn new(kind: RequestKind, tenant: Option<String>, room: Option<String>) -> Self {
        Self { kind, tenant: tenant.filter(|text| !text.is_empty()), room: room.filter(|text| !text.is_empty()) }
    }

    /// The one key every request of this room has: tenant and room joined by `/`, or the room alone.
    pub fn key(&self) -> Option<String> {
        let room = self.room.as_deref()?;
        Some(match &self.tenant {
            Some(tenant) => format!("{tenant}/{room}"),
            None => room.to_owned(),
        })
    }

    /// The key as a store takes it. What is longer than a store allows keeps its beginning and ends in a hash of the
    /// whole, so that two long names never share a key.
    ///
    /// # Errors
    ///
    /// None in practice: the length is seen to here.
    pub fn stick_key(&self) -> Result<Option<StickKey>, StickError> {
        let Some(key) = self.key() else { return Ok(None) };
        StickKey::new(shortened(key)).map(Some)
    }

    /// How firmly the request belongs to its room.
    pub const fn affinity(&self) -> Affinity {
        if self.room.is_none() {
            return Affinity::Any;
        }
        match self.kind {
            RequestKind::Signalling
            | RequestKind::Login
            | RequestKind::Logout
            | RequestKind::Callback
            | RequestKind::Other => Affinity::Pin,
            _ => Affinity::Follow,
        }
    }
}

fn shortened(key: String) -> String {
    if key.len() <= MAX_KEY_LEN {
        return key;
    }
    let tail = format!("~{:016x}", stable_hash(key.as_bytes()));
    let mut end = MAX_KEY_LEN - tail.len();
    while !key.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{tail}", &key[..end])
}

/// Says what a request is for and which room it belongs to. Never fails: what cannot be read has no room.
///
/// ```
/// use adapter_haproxy::{Affinity, Request, RequestKind, RoomRule, classify};
///
/// let socket = Request::new("GET", "/socket.io/?peerId=a&roomId=foo%20bar&EIO=3");
/// let seen = classify(&RoomRule::Edumeet3, &socket);
/// assert_eq!((seen.kind, seen.affinity()), (RequestKind::Signalling, Affinity::Pin));
/// assert_eq!(seen.key().as_deref(), Some("foo bar"));
///
/// let page = classify(&RoomRule::Jitsi, &Request::new("GET", "/Acme/Standup"));
/// assert_eq!(page.key().as_deref(), Some("acme/standup"));
/// ```
pub fn classify(rule: &RoomRule, request: &Request<'_>) -> Classified {
    match rule {
        RoomRule::Edumeet3 => edumeet::classify(request, false),
        RoomRule::Edumeet4 => edumeet::classify(request, true),
        RoomRule::Jitsi => jitsi::classify(request),
        RoomRule::Param(name) => {
            let target = query::Target::read(request.target);
            Classified::new(RequestKind::Other, None, query::room_text(target.query, name))
        }
        RoomRule::Cookie(name) => Classified::new(RequestKind::Other, None, source::cookie(request, name)),
        RoomRule::Header(name) => Classified::new(RequestKind::Other, None, request.header(name).map(str::to_owned)),
        RoomRule::Source(rule) => Classified::new(RequestKind::Other, None, source::address(request, rule)),
    }
}
