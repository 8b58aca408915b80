//! Where peers are.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::error::PeerNodeError;

/// Where a peer listens: a host or an address, and a port (`lb1.internal:10000`, `127.0.0.1:10000`, `[::1]:10000`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    host: String,
    port: u16,
}

impl PeerAddress {
    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, if the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// With brackets around an IPv6 address.
impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for PeerAddress {
    type Err = PeerNodeError;

    fn from_str(text: &str) -> Result<Self, PeerNodeError> {
        let wrong = || PeerNodeError::Address { address: text.to_owned() };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']').ok_or_else(wrong)?;
                inner.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
                inner
            }
            None => host,
        };
        let named = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if host.is_empty()
            || host.len() > 253
            || !(host.chars().all(named) || host.contains(':') && text.starts_with('['))
        {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in ["lb1:1", "127.0.0.1:10000", "[::1]:10000", "lb_1.internal:65535"] {
            assert_eq!(text.parse::<PeerAddress>().unwrap().to_string(), text);
        }
        for wrong in ["", "lb1", "lb1:0", "lb1:65536", ":1", "::1:1", "[::1:1", "[lb1]:1", "a b:1", "[]:1"] {
            assert!(wrong.parse::<PeerAddress>().is_err(), "{wrong:?}");
        }
    }
}
