//! Words to the service manager: ready, stopping, still alive (`sd_notify`).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::text::printable;

/// The service manager's socket; does nothing when there is none.
#[derive(Debug, Default)]
pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    every: Option<Duration>,
}

impl Notify {
    /// From `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`. A socket that cannot be used is handed to `trouble`; the
    /// service manager is told nothing then.
    pub fn from_env(trouble: impl FnOnce(io::Error)) -> Self {
        let var = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let mine = var("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog = var("WATCHDOG_USEC").filter(|_| mine);
        Self::new(var("NOTIFY_SOCKET").as_deref(), watchdog.as_deref()).unwrap_or_else(|error| {
            trouble(error);
            Self::default()
        })
    }

    fn new(place: Option<&str>, watchdog: Option<&str>) -> io::Result<Self> {
        let to = place.map(open).transpose()?;
        let every = watchdog.filter(|_| to.is_some()).and_then(half);
        Ok(Self { to, every })
    }

    /// How often [`alive`](Self::alive) should be said: twice within the time the service manager waits.
    pub fn every(&self) -> Option<Duration> {
        self.every
    }

    /// Requests are served.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={}", printable(status)));
    }

    /// Its configuration is read again; [`ready`](Self::ready) ends this.
    pub fn reloading(&self) {
        self.say("RELOADING=1\nSTATUS=the configuration is read again");
    }

    /// It ends.
    pub fn stopping(&self, status: &str) {
        self.say(&format!("STOPPING=1\nSTATUS={}", printable(status)));
    }

    /// It still does its work.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, words: &str) {
        if let Some((socket, to)) = &self.to {
            // A service manager that is gone or busy is no reason to stop.
            let _ = socket.send_to_addr(words.as_bytes(), to);
        }
    }
}

/// The socket: a path, or an abstract name after `@`.
fn open(place: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match place.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(place)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}

/// Half of so many microseconds, at least a millisecond.
fn half(text: &str) -> Option<Duration> {
    let micros: u64 = text.trim().parse().ok().filter(|n| *n > 0)?;
    Some(Duration::from_micros(micros / 2).max(Duration::from_millis(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let n = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    }

    #[test]
    fn an_abstract_socket_is_told() {
        let name = format!("console-notify-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let notify = Notify::new(Some(&format!("@{name}")), Some("3000000")).unwrap();
        assert_eq!(notify.every(), Some(Duration::from_millis(1500)));
        notify.ready("two\nlines");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=two\\nlines");
        notify.alive();
        assert_eq!(heard(&socket), "WATCHDOG=1");
    }

    #[test]
    fn without_a_socket_nothing_happens() {
        let notify = Notify::new(None, Some("1")).unwrap();
        assert_eq!(notify.every(), None);
        notify.ready("");
        notify.stopping("");
        assert!(Notify::new(Some("@"), Some("x")).is_ok_and(|notify| notify.every().is_none()));
        assert_eq!((half("0"), half("1"), half("-1")), (None, Some(Duration::from_millis(1)), None));
    }
}
