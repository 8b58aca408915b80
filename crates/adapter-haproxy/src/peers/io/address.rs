//! Whom we talk to without encryption.

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

/// Whether no stranger is between us and this address: it is of this host, or of a private network.
///
/// The peers protocol has neither password nor encryption. Whoever reaches the port and knows the name of a peer (names
/// are told in clear text) reads every room, and can send any room to any server, or fill the tables. So plain
/// connections are made to, and taken from, these addresses only; any other needs TLS.
pub fn is_local_peer(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
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

    #[test]
    fn what_is_public_is_not_local() {
        let local =
            ["127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.1.1", "::1", "fd00::1"];
        let public = ["0.0.0.0", "::", "8.8.8.8", "172.32.0.1", "2001:db8::1", "::ffff:8.8.8.8", "100.64.0.1"];
        assert!(local.iter().all(|ip| is_local_peer(ip.parse().unwrap())));
        assert!(public.iter().all(|ip| !is_local_peer(ip.parse().unwrap())));
        assert!(is_local_peer("::ffff:127.0.0.1".parse().unwrap()) && is_local_peer("fe80::1".parse().unwrap()));
    }
}
