//! A request as far as the choice of a server looks at it.

use std::net::IpAddr;

/// A request as HAProxy received it: nothing decoded, nothing normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub(crate) method: String,
    pub(crate) target: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) source: Option<IpAddr>,
}

impl Request {
    /// `GET` of this target: `/join?room=a`, or `http://host/join?room=a` as a proxy or HTTP/2 gives it.
    pub fn get(target: impl Into<Vec<u8>>) -> Self {
        Self { method: "GET".into(), target: target.into(), headers: Vec::new(), body: Vec::new(), source: None }
    }

    /// `POST` to this target, with a body that is buffered whole.
    pub fn post(target: impl Into<Vec<u8>>, body: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST".into(), body: body.into(), ..Self::get(target) }
    }

    /// With another method.
    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = method.into();
        self
    }

    /// With one more header line; blanks around the value are no part of it.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), trim(value.as_ref()).to_vec()));
        self
    }

    /// From this client address: after the PROXY protocol or `set-src`, if in use.
    #[must_use]
    pub fn source(mut self, address: IpAddr) -> Self {
        self.source = Some(address);
        self
    }
}

/// Without the spaces and tabs around it.
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
