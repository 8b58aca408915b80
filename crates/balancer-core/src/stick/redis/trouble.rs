//! What went wrong with a Redis server, in words that name the likely cause and the remedy.

use std::io;
use std::time::Duration;

use redis::{ErrorKind, RedisError};

use super::options::{Address, RedisOptions};
use crate::stick::StickError;

/// A failure that several callers can be told of.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) kind: Kind,
    pub(super) why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody listens there now; soon somebody may.
    Unwelcome,
    /// No contact, or lost.
    Lost,
    /// The connection broke while a call was under way.
    Dropped,
    /// The server says no.
    Refused,
    /// The server says no, and another connection might meet a better one.
    Elsewhere,
    /// The script is not known there.
    NoScript,
    /// Not the protocol.
    Corrupt,
}

impl Trouble {
    pub(super) fn new(kind: Kind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into() }
    }

    /// The same, with the server named that it is about.
    #[cfg(any(feature = "redis-sentinel", feature = "redis-cluster"))]
    pub(super) fn at(mut self, address: &Address) -> Self {
        self.why = format!("{address}: {}", self.why);
        self
    }

    /// The error for the caller, with every trace of the password taken out.
    pub(super) fn into_error(self, options: &RedisOptions) -> StickError {
        let target = options.target();
        let mut why = self.why;
        for secret in options.secrets() {
            why = why.replace(&secret.0, "***");
        }
        match self.kind {
            Kind::Unwelcome | Kind::Lost | Kind::Dropped => StickError::Lost { target, why, source: None },
            Kind::Refused | Kind::Elsewhere | Kind::NoScript => StickError::Refused { target, why },
            Kind::Corrupt => StickError::Corrupt { target, why },
        }
    }
}

/// A name that could not be looked up.
pub(super) fn lookup(error: Option<&io::Error>) -> Trouble {
    let why = error.map_or_else(|| "no answer in time".to_owned(), ToString::to_string);
    Trouble::new(Kind::Lost, format!("its name cannot be looked up ({why}); check the spelling and the DNS"))
}

/// A connection that could not be made; no error means that nothing answered in time.
pub(super) fn connect(address: &Address, error: Option<&io::Error>, waited: Duration) -> Trouble {
    let Address::Tcp { port, .. } = address else {
        return match error {
            Some(error) => Trouble::new(
                Kind::Unwelcome,
                format!("{error}; is the server running, with this `unixsocket`, and may this process use it?"),
            ),
            None => Trouble::new(Kind::Lost, format!("no connection within {waited:?}; is the server overloaded?")),
        };
    };
    match error.map(|error| (error.kind(), error)) {
        Some((io::ErrorKind::ConnectionRefused, _)) => Trouble::new(
            Kind::Unwelcome,
            format!(
                "connection refused; is Redis running, is {port} its port, and does it listen on this address and \
                 not on loopback only (`bind`)?"
            ),
        ),
        Some((io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable, error)) => {
            Trouble::new(Kind::Lost, format!("{error}; wrong address, no route, or a firewall?"))
        }
        Some((io::ErrorKind::TimedOut, _)) | None => Trouble::new(
            Kind::Lost,
            format!("no connection within {waited:?}; does a firewall block port {port}, or is the address wrong?"),
        ),
        Some((_, error)) => Trouble::new(Kind::Lost, format!("{error}; wrong address, or a firewall?")),
    }
}

/// Connected, but not greeted in time.
#[cfg(feature = "redis-tls")]
pub(super) fn no_tls(waited: Duration) -> Trouble {
    Trouble::new(
        Kind::Lost,
        format!(
            "connected, but TLS is not agreed on within {waited:?}: does it speak TLS on this port, or plain redis://?"
        ),
    )
}

pub(super) fn greeting(waited: Duration) -> Trouble {
    Trouble::new(
        Kind::Lost,
        format!(
            "connected, but no greeting within {waited:?}; is it Redis (wrong port?), does it expect TLS, or is it overloaded?"
        ),
    )
}

/// The connection was closed during the greeting.
pub(super) fn closed(error: &io::Error) -> Trouble {
    Trouble::new(
        Kind::Lost,
        format!(
            "it closed the connection before a greeting ({error}); is it Redis (wrong port?), or does it expect TLS?"
        ),
    )
}

/// Something other than Redis answers.
pub(super) fn foreign(words: &str) -> Trouble {
    let words: String = words.chars().take(80).collect();
    Trouble::new(Kind::Corrupt, format!("answers something that is not the Redis protocol ({words:?}); wrong port?"))
}

/// The server said no.
pub(super) fn said(words: &str) -> Trouble {
    let words = without_arguments(words);
    server(words).unwrap_or_else(|| refused(words, "see the server's log"))
}

/// The server's words without what it repeats of the command: perhaps the first part of a password only, which could
/// not be recognized.
fn without_arguments(words: &str) -> &str {
    words.split_once(", with args beginning with").map_or(words, |(before, _)| before)
}

/// No answer to a call in time.
pub(super) fn silence(waited: Duration) -> Trouble {
    Trouble::new(
        Kind::Lost,
        format!("no answer within {waited:?}; is it overloaded or stopped, or does a firewall drop the connection?"),
    )
}

/// What the client library reports, for a greeting or a call.
pub(super) fn answer(error: &RedisError) -> Trouble {
    let words = without_arguments(&error.to_string()).to_owned();
    if let Some(trouble) = server(&words) {
        return trouble;
    }
    match error.kind() {
        ErrorKind::Parse => foreign(&words),
        ErrorKind::AuthenticationFailed => {
            refused(&words, "wrong user name or password, or none is set there; check both")
        }
        ErrorKind::UnexpectedReturnType => Trouble::new(Kind::Corrupt, format!("unexpected answer ({words})")),
        ErrorKind::Io => Trouble::new(Kind::Dropped, format!("connection lost ({words}); did the server restart?")),
        _ => refused(&words, "see the server's log"),
    }
}

fn refused(words: &str, remedy: &str) -> Trouble {
    Trouble::new(Kind::Refused, format!("{words}; {remedy}"))
}

/// What the server's own words mean. Scripts wrap the words of the command that failed, so they are looked for
/// anywhere.
pub(super) fn server(words: &str) -> Option<Trouble> {
    let has = |code: &str| words.contains(code);
    if has("NOSCRIPT") {
        return Some(Trouble::new(Kind::NoScript, format!("{words}; scripts are flushed faster than they are loaded")));
    }
    if has("READONLY") || has("read only replica") {
        return Some(Trouble::new(
            Kind::Elsewhere,
            format!("READONLY: it is a read-only replica ({words}); use the address of the master"),
        ));
    }
    if has("MASTERDOWN") {
        return Some(Trouble::new(
            Kind::Elsewhere,
            format!("MASTERDOWN: a replica that lost its master ({words}); use the address of the master"),
        ));
    }
    if has("LOADING Redis") {
        return Some(Trouble::new(Kind::Elsewhere, format!("LOADING: it still reads its data ({words}); wait for it")));
    }
    let table = [
        ("WRONGPASS", "wrong user name or password; check both"),
        ("invalid password", "wrong password; check it"),
        ("NOAUTH", "it wants a password; set one"),
        ("unauthenticated", "NOAUTH: it wants a password; set one"),
        ("without any password configured", "it has no password; leave ours out, or set `requirepass` there"),
        ("NOPERM", "the user's access control list lacks commands or keys; allow all on keys of our namespace"),
        (
            "DENIED Redis",
            "protected mode: it has no password and is reached from outside; set `requirepass` there and here",
        ),
        ("OOM command", "out of memory; raise its `maxmemory` or remove other data"),
        ("MISCONF", "it cannot save to disk and so refuses writes; see its log, free its disk"),
        ("NOREPLICAS", "too few replicas for `min-replicas-to-write`; bring them back"),
        ("BUSY Redis", "a script runs for too long there; see `SCRIPT KILL`"),
        ("CLUSTERDOWN", "the cluster is down; see `CLUSTER INFO`"),
        ("TRYAGAIN", "the slot moves to another node and is not whole on either; try again when it has moved"),
        ("CROSSSLOT", "its keys are not in one slot of the cluster; give them one hash tag"),
        ("MOVED", "it is a node of a Redis Cluster: use redis+cluster:// (feature redis-cluster), or a single server"),
        ("max number of clients", "it has too many connections; raise `maxclients`"),
        ("DB index is out of range", "no such database number; see `databases` there"),
        ("EXECABORT", "a transaction was refused"),
        ("unknown command", "the server is too old or renames commands; use Redis 6.0 or newer"),
    ];
    table.into_iter().find(|(code, _)| has(code)).map(|(_, remedy)| refused(words, remedy))
}
