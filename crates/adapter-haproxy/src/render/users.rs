//! Users, and the statistics page they may see.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::frontend::Bind;
use super::writer::{Writer, name, solid, time};
use super::{HaproxyConfig, RenderError};

/// A user with a password. The password is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    name: String,
    password: String,
    hashed: bool,
}

impl User {
    /// A user with a crypt(3) hash, as `mkpasswd -m sha-512` prints it.
    pub fn hashed(name: impl Into<String>, hash: impl Into<String>) -> Self {
        Self { name: name.into(), password: hash.into(), hashed: true }
    }

    /// A user whose password stands in the file as it is: for tests, or a file nobody else reads.
    pub fn plain(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self { name: name.into(), password: password.into(), hashed: false }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("hashed", &self.hashed).finish_non_exhaustive()
    }
}

/// A list of users.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Userlist {
    /// Its name.
    pub name: String,
    /// Its users.
    pub users: Vec<User>,
}

impl Userlist {
    /// A list.
    pub fn new(name: impl Into<String>, users: Vec<User>) -> Self {
        Self { name: name.into(), users }
    }

    pub(super) fn write(&self, out: &mut Writer) -> Result<(), RenderError> {
        out.head("userlist", Some(name("userlist", &self.name)?));
        super::once("user", self.users.iter().map(|user| &user.name))?;
        for user in &self.users {
            let wrong = |help| RenderError::Value { what: "password of user", value: user.name.clone(), help };
            if user.hashed && !user.password.starts_with('$') {
                return Err(wrong("a hash begins with $: mkpasswd -m sha-512"));
            }
            if user.password.is_empty() || user.password.chars().any(char::is_control) {
                return Err(wrong("it may not be empty nor hold control characters"));
            }
            let kind = if user.hashed { "password" } else { "insecure-password" };
            out.line(["user", name("user", &user.name)?, kind, &user.password])?;
        }
        Ok(())
    }
}

/// A statistics page on a listener of its own. Servers can be changed on it from this host alone, if at all.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StatsPage {
    /// The name of its frontend.
    pub name: String,
    /// Its listener: 127.0.0.1.
    pub bind: Bind,
    /// Its path.
    pub uri: String,
    /// Who may see it; required unless it listens on loopback.
    pub users: Option<String>,
    /// How often the page loads itself again; 10 s.
    pub refresh: Duration,
    /// Lets this host change servers.
    pub admin: bool,
    /// Answers `/metrics` for Prometheus as well.
    pub metrics: bool,
}

impl StatsPage {
    /// A page on 127.0.0.1 and that port, without rights to change anything.
    pub fn new(port: u16) -> Self {
        Self {
            name: "stats".into(),
            bind: Bind::port(port).on("127.0.0.1"),
            uri: "/".into(),
            users: None,
            refresh: Duration::from_secs(10),
            admin: false,
            metrics: false,
        }
    }

    pub(super) fn write(&self, out: &mut Writer, config: &HaproxyConfig) -> Result<(), RenderError> {
        out.head("frontend", Some(name("frontend", &self.name)?));
        self.bind.write(out)?;
        let here =
            self.bind.host.as_deref().and_then(|host| host.parse::<IpAddr>().ok()).is_some_and(|ip| ip.is_loopback());
        match &self.users {
            Some(list) if config.userlists.iter().any(|known| known.name == *list) => {}
            Some(list) => {
                let (user, name) = (format!("statistics page {}", self.name), list.clone());
                return Err(RenderError::Unknown { user, what: "userlist", name });
            }
            None if here => {}
            None => {
                let help = "name a userlist, or listen on 127.0.0.1";
                return Err(RenderError::Value { what: "an open statistics page", value: self.name.clone(), help });
            }
        }
        if self.metrics {
            let path = ["{", "path", "/metrics", "}"];
            out.line(["http-request", "use-service", "prometheus-exporter", "if"].into_iter().chain(path))?;
        }
        out.line(["stats", "enable"])?;
        out.line(["stats", "uri", solid("path", &self.uri)?])?;
        out.line(["stats", "refresh", &time("refresh", self.refresh)?])?;
        if let Some(list) = &self.users {
            let list = format!("http_auth({})", name("userlist", list)?);
            out.line(["stats", "http-request", "auth", "unless", "{", &list, "}"])?;
        }
        if self.admin {
            out.line(["stats", "admin", "if", "{", "src", "127.0.0.0/8", "::1", "}"])?;
        }
        Ok(())
    }
}
