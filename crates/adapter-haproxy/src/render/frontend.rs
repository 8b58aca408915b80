//! Where clients come in: listeners, variables, conditions, the choice of a backend.

use super::condition::{Acl, Condition};
use super::writer::{Writer, header_text, host_port, name, solid};
use super::{HaproxyConfig, RenderError};

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BindTls {
    /// The file with certificate, chain and key, or a folder of such files.
    pub certificate: String,
    /// Protocols offered, in order; HTTP/2 and HTTP/1.1.
    pub alpn: Vec<String>,
}

impl BindTls {
    /// TLS with that certificate file.
    pub fn new(certificate: impl Into<String>) -> Self {
        Self { certificate: certificate.into(), alpn: vec!["h2".into(), "http/1.1".into()] }
    }
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bind {
    /// The address, or nothing for all IPv4 addresses.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
    /// TLS, if it speaks that.
    pub tls: Option<BindTls>,
    /// Expects the PROXY protocol from the balancer before this one.
    pub accept_proxy: bool,
}

impl Bind {
    /// A plain listener on all addresses.
    pub const fn port(port: u16) -> Self {
        Self { host: None, port, tls: None, accept_proxy: false }
    }

    /// Listens on this address alone.
    #[must_use]
    pub fn on(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Speaks TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: BindTls) -> Self {
        self.tls = Some(tls);
        self
    }

    pub(super) fn write(&self, out: &mut Writer) -> Result<(), RenderError> {
        let address = match self.host.as_deref() {
            None | Some("*") => format!(":{}", self.port),
            Some(host) => host_port(host, self.port)?,
        };
        let mut words = vec!["bind".to_owned(), address];
        if let Some(tls) = &self.tls {
            words.extend(["ssl", "crt", solid("certificate file", &tls.certificate)?].map(str::to_owned));
            if !tls.alpn.is_empty() {
                let listed = tls.alpn.iter().all(|one| !one.contains(','));
                words.extend(["alpn".into(), solid("alpn", &tls.alpn.join(","))?.to_owned()]);
                if !listed {
                    let help = "one protocol each, without comma";
                    return Err(RenderError::Value { what: "alpn", value: tls.alpn.join(" "), help });
                }
            }
        }
        words.extend(self.accept_proxy.then(|| "accept-proxy".to_owned()));
        out.line(words)
    }
}

/// Puts a value into a variable of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetVar {
    /// The variable without its scope: `room` becomes `txn.room`.
    pub name: String,
    /// The expression whose value it takes.
    pub sample: String,
    /// When.
    pub when: Option<Condition>,
}

impl SetVar {
    /// Sets the variable whenever the expression has a value.
    pub fn new(name: impl Into<String>, sample: impl Into<String>) -> Self {
        Self { name: name.into(), sample: sample.into(), when: None }
    }

    /// Only then.
    #[must_use]
    pub fn when(mut self, when: Condition) -> Self {
        self.when = Some(when);
        self
    }
}

/// Sends requests to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UseBackend {
    /// To this one, when the condition holds.
    Named {
        /// The backend.
        name: String,
        /// When.
        when: Condition,
    },
    /// To the one a map file names for a key; the runtime API changes it without a reload.
    Mapped {
        /// The expression whose value is the key.
        sample: String,
        /// The map file; a path, which is also its name in the runtime API.
        file: String,
        /// The backend where the map says nothing.
        default: String,
    },
}

/// A frontend.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FrontendSection {
    /// Its name.
    pub name: String,
    /// Its listeners.
    pub binds: Vec<Bind>,
    /// Sends plain requests to HTTPS.
    pub redirect_https: bool,
    /// Waits for the body, so that posted forms can be read.
    pub buffer_request: bool,
    /// Conditions.
    pub acls: Vec<Acl>,
    /// Variables, in the order they are set.
    pub variables: Vec<SetVar>,
    /// Requests that are answered with status 400, once the variables are set.
    pub refused: Vec<Condition>,
    /// Headers set on every request: name and text.
    pub headers: Vec<(String, String)>,
    /// Choices of a backend, first match wins.
    pub uses: Vec<UseBackend>,
    /// The backend of the rest.
    pub default_backend: String,
    /// The most connections.
    pub max_connections: Option<u32>,
    /// Lines taken over as they are, before the choice of a backend.
    pub extra: Vec<String>,
}

impl FrontendSection {
    /// A frontend without listeners that sends everything to one backend. `X-Forwarded-Proto` is always set to what
    /// the client used, whatever it said itself.
    pub fn new(name: impl Into<String>, default_backend: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            binds: Vec::new(),
            redirect_https: false,
            buffer_request: false,
            acls: Vec::new(),
            variables: Vec::new(),
            refused: Vec::new(),
            headers: Vec::new(),
            uses: Vec::new(),
            default_backend: default_backend.into(),
            max_connections: None,
            extra: Vec::new(),
        }
    }

    pub(super) fn write(&self, out: &mut Writer, config: &HaproxyConfig) -> Result<(), RenderError> {
        out.head("frontend", Some(name("frontend", &self.name)?));
        for bind in &self.binds {
            bind.write(out)?;
        }
        if let Some(count) = self.max_connections {
            out.line(["maxconn", &count.to_string()])?;
        }
        if self.buffer_request {
            out.line(["option", "http-buffer-request"])?;
        }
        for acl in &self.acls {
            acl.write(out)?;
        }
        if self.redirect_https {
            out.line(["http-request", "redirect", "scheme", "https", "unless", "{", "ssl_fc", "}"])?;
        }
        out.line(["http-request", "set-header", "X-Forwarded-Proto", "https", "if", "{", "ssl_fc", "}"])?;
        out.line(["http-request", "set-header", "X-Forwarded-Proto", "http", "unless", "{", "ssl_fc", "}"])?;
        for (header, text) in &self.headers {
            let value = header_text(text)?;
            out.line(["http-request", "set-header", name("header", header)?, &value])?;
        }
        for variable in &self.variables {
            let target = variable_name(&variable.name)?;
            let mut words = vec!["http-request".to_owned(), format!("set-var({target})"), variable.sample.clone()];
            if let Some(when) = &variable.when {
                words.extend(when.words(&self.acls, &self.name)?);
            }
            out.line(words)?;
        }
        for when in &self.refused {
            let words = ["http-request", "deny", "deny_status", "400"].map(str::to_owned).into_iter();
            out.line(words.chain(when.words(&self.acls, &self.name)?))?;
        }
        out.extra(&self.extra)?;
        for choice in &self.uses {
            match choice {
                UseBackend::Named { name, when } => {
                    config.backend_named(&self.name, name)?;
                    let words = ["use_backend".to_owned(), name.clone()].into_iter();
                    out.line(words.chain(when.words(&self.acls, &self.name)?))?;
                }
                UseBackend::Mapped { sample, file, default } => {
                    config.backend_named(&self.name, default)?;
                    out.line(["use_backend", &format!("%[{sample},map({},{default})]", map_path(file)?)])?;
                }
            }
        }
        config.backend_named(&self.name, &self.default_backend)?;
        out.line(["default_backend", &self.default_backend])
    }
}

/// A variable in the scope of a request.
pub(super) fn variable_name(variable: &str) -> Result<String, RenderError> {
    let plain = variable.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    match name("variable", variable) {
        Ok(variable) if plain => Ok(format!("txn.{variable}")),
        _ => Err(RenderError::Name { what: "variable", name: variable.to_owned() }),
    }
}

/// A path that can be the argument of a converter.
pub(super) fn map_path(path: &str) -> Result<&str, RenderError> {
    let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.@+".contains(&b));
    if path.is_empty() || !plain {
        let help = "give a path of letters, digits and / - _ . @ +";
        return Err(RenderError::Value { what: "map file", value: path.to_owned(), help });
    }
    Ok(path)
}
