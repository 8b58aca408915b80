//! Whom we talk to in clear text. One rule for all protocols that have neither password nor encryption.

use std::net::IpAddr;

/// Whether no stranger is between us and this address: it is of this host, or of a private network.
///
/// The protocols of peers, of SPOE and of agent checks have neither password nor encryption. Whoever reaches a port of
/// theirs reads which rooms there are, can send any room to any server, or take servers out. So plain connections are
/// made to, and taken from, these addresses only; peers of any other need TLS.
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
    fn what_is_public_is_not_local() {
        let local =
            ["127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.1.1", "::1", "fd00::1"];
        let public = ["0.0.0.0", "::", "8.8.8.8", "172.32.0.1", "2001:db8::1", "::ffff:8.8.8.8", "100.64.0.1"];
        assert!(local.iter().all(|ip| is_local_peer(ip.parse().unwrap())));
        assert!(public.iter().all(|ip| !is_local_peer(ip.parse().unwrap())));
        assert!(is_local_peer("::ffff:127.0.0.1".parse().unwrap()) && is_local_peer("fe80::1".parse().unwrap()));
    }
}
