//! Which addresses may be called on behalf of others.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use crate::client::host_of;

/// The longest address that is taken.
const MAX_URL: usize = 4096;
/// Longest wait for a name to be resolved before its address is judged.
const RESOLVE: Duration = Duration::from_secs(2);

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    const fn v4(a: u8, b: u8, c: u8, bits: u8) -> Self {
        Self { first: IpAddr::V4(Ipv4Addr::new(a, b, c, 0)), bits }
    }

    const fn v6(a: u16, b: u16, bits: u8) -> Self {
        Self { first: IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), bits }
    }

    fn holds(&self, ip: IpAddr) -> bool {
        match (self.first, ip) {
            (IpAddr::V4(first), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.bits.min(32));
                u32::from(first).checked_shr(shift) == u32::from(ip).checked_shr(shift)
            }
            (IpAddr::V6(first), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.bits.min(128));
                u128::from(first).checked_shr(shift) == u128::from(ip).checked_shr(shift)
            }
            _ => false,
        }
    }
}

/// What is not part of the public internet.
const PRIVATE: &[Network] = &[
    Network::v4(0, 0, 0, 8),
    Network::v4(10, 0, 0, 8),
    Network::v4(100, 64, 0, 10),
    Network::v4(127, 0, 0, 8),
    Network::v4(169, 254, 0, 16),
    Network::v4(172, 16, 0, 12),
    Network::v4(192, 0, 0, 24),
    Network::v4(192, 0, 2, 24),
    Network::v4(192, 168, 0, 16),
    Network::v4(198, 18, 0, 15),
    Network::v4(198, 51, 100, 24),
    Network::v4(203, 0, 113, 24),
    Network::v4(224, 0, 0, 4),
    Network::v4(240, 0, 0, 4),
    // Unspecified, loopback, and old forms that hold an address of version 4.
    Network::v6(0, 0, 96),
    // A translator's own prefix for private use, discard-only, documentation.
    Network { first: IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0)), bits: 48 },
    Network::v6(0x100, 0, 64),
    Network::v6(0x2001, 0, 23),
    Network::v6(0x2001, 0xdb8, 32),
    Network::v6(0xfc00, 0, 7),
    Network::v6(0xfe80, 0, 10),
    Network::v6(0xfec0, 0, 10),
    Network::v6(0xff00, 0, 8),
];

/// The address that is really meant, where one of version 6 stands for one of version 4.
fn meant(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    let s = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match s {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => ip,
    }
}

/// Which addresses callbacks and documents may have: the public internet, and what is allowed besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRules {
    allowed: Arc<[Network]>,
}

/// A list of networks that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{item:?} is no network: write 10.0.0.0/8, 192.168.1.5 or fd00::/8, separated by commas")]
pub struct AddressRuleError {
    item: String,
}

/// Why an address is not called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlRefusal {
    /// It is no address of a web server.
    #[error("not a usable address: {0}")]
    Unusable(&'static str),
    /// It leads into a private network.
    #[error("{host} is a private address; allow it in callback_allow if that is meant")]
    Private {
        /// Host and port.
        host: String,
    },
}

impl FromStr for AddressRules {
    type Err = AddressRuleError;

    /// Reads networks and addresses that are allowed although they are private, separated by commas; `private` stands
    /// for all.
    fn from_str(text: &str) -> Result<Self, AddressRuleError> {
        let mut allowed = Vec::new();
        for item in text.split([',', ' ']).filter(|item| !item.is_empty()) {
            if item.eq_ignore_ascii_case("private") {
                allowed.extend_from_slice(PRIVATE);
                continue;
            }
            let wrong = || AddressRuleError { item: item.to_owned() };
            let (first, bits) = item.split_once('/').map_or((item, None), |(first, bits)| (first, Some(bits)));
            let first: IpAddr = first.trim_matches(['[', ']']).parse().map_err(|_| wrong())?;
            let most = if first.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Ok(most), |bits| bits.parse::<u8>().map_err(|_| wrong()))?;
            if bits > most {
                return Err(wrong());
            }
            allowed.push(Network { first, bits });
        }
        Ok(Self { allowed: allowed.into() })
    }
}

impl AddressRules {
    /// Whether this address may be called.
    #[must_use]
    pub fn allows(&self, ip: IpAddr) -> bool {
        let meant = meant(ip);
        let within = |networks: &[Network]| networks.iter().any(|n| n.holds(ip) || n.holds(meant));
        within(&self.allowed) || !PRIVATE.iter().any(|n| n.holds(meant) || (n.holds(ip) && meant == ip))
    }

    /// Looks at an address without resolving its name.
    ///
    /// # Errors
    ///
    /// [`UrlRefusal`] when it is not `http` or `https`, has a user name, or names a private address.
    pub fn check(&self, url: &str) -> Result<Uri, UrlRefusal> {
        let unusable = UrlRefusal::Unusable;
        if url.len() > MAX_URL {
            return Err(unusable("it is too long"));
        }
        if url.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'\\') {
            return Err(unusable("it has a blank, a backslash or a control character"));
        }
        // A fragment stays with the caller.
        let url = url.split('#').next().unwrap_or(url);
        let uri: Uri = url.parse().map_err(|_| unusable("it cannot be read"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(unusable("it does not begin with http:// or https://"));
        }
        let authority = uri.authority().ok_or(unusable("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(unusable("it holds a user name"));
        }
        let name = authority.host().trim_matches(['[', ']']);
        if name.is_empty() {
            return Err(unusable("it names no host"));
        }
        let bare = name.trim_end_matches('.').to_ascii_lowercase();
        let is_local = bare == "localhost" || bare.ends_with(".localhost");
        let literal = name.parse::<IpAddr>().ok();
        let literal = literal.or_else(|| is_local.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        match literal {
            Some(ip) if !self.allows(ip) => Err(UrlRefusal::Private { host: host_of(url) }),
            _ => Ok(uri),
        }
    }

    /// Looks at an address and at what its name leads to. A name that cannot be resolved here is let through: others
    /// may know it, and whatever we call ourselves is checked again when it is connected to.
    ///
    /// # Errors
    ///
    /// [`UrlRefusal`] as for [`check`](Self::check), and when every address of the name is private.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn check_resolved(&self, url: &str) -> Result<(), UrlRefusal> {
        let uri = self.check(url)?;
        let Some(host) = uri.host() else { return Ok(()) };
        let name = host.trim_matches(['[', ']']);
        if name.parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        let found = tokio::time::timeout(RESOLVE, tokio::net::lookup_host((name, 0))).await;
        let Ok(Ok(found)) = found else { return Ok(()) };
        // Whoever connects may take any of them.
        for at in found {
            if !self.allows(at.ip()) {
                return Err(UrlRefusal::Private { host: host_of(url) });
            }
        }
        Ok(())
    }
}

impl fmt::Display for AddressRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("public addresses")?;
        for network in &*self.allowed {
            write!(f, ", {}/{}", network.first, network.bits)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(rules: &AddressRules, url: &str) -> bool {
        matches!(rules.check(url), Err(UrlRefusal::Private { .. }))
    }

    #[test]
    fn private_addresses_are_refused_in_every_spelling() {
        let rules = AddressRules::default();
        for host in [
            "127.0.0.1",
            "127.9.8.7",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a00:1]",
            "[::127.0.0.1]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "[fc00::1]",
            "[ff02::1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::10.0.0.1]",
            "[64:ff9b:1::1]",
            "[2002:7f00:1::]",
            "[2002:a9fe:a9fe::1]",
            "[2001::1]",
            "[fec0::1]",
        ] {
            assert!(refused(&rules, &format!("http://{host}/x")), "{host}");
            assert!(refused(&rules, &format!("https://{host}:8443/x")), "{host}");
        }
        for host in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "[2a00:1450:4001::1]", "[2002:808:808::1]", "a.example"] {
            assert!(rules.check(&format!("https://{host}/x")).is_ok(), "{host}");
        }
    }

    #[test]
    fn what_is_no_web_address_is_refused() {
        let rules = AddressRules::default();
        for url in [
            "",
            "x",
            "/x",
            "ftp://a.example/",
            "file:///etc/passwd",
            "gopher://a.example/",
            "http://",
            "http:///x",
            "http://u:p@a.example/",
            "http://a.example@127.0.0.1/",
            "http://a.example/\r\nX: y",
            "http://a b/",
            "http://a.example\\@127.0.0.1/",
            "javascript:alert(1)",
        ] {
            assert!(matches!(rules.check(url), Err(UrlRefusal::Unusable(_))), "{url:?}");
        }
        assert!(rules.check(&format!("http://a.example/{}", "x".repeat(5_000))).is_err());
        assert!(rules.check("http://a.example/?q=http://127.0.0.1/#frag").is_ok());
    }

    #[test]
    fn what_is_allowed_is_no_longer_private() {
        let rules: AddressRules = "10.0.0.0/8, 127.0.0.1,fd00::/8".parse().unwrap();
        for url in ["http://10.9.9.9/", "http://127.0.0.1/", "http://[fd12::1]/", "http://[::ffff:10.0.0.1]/"] {
            assert!(rules.check(url).is_ok(), "{url}");
        }
        assert!(refused(&rules, "http://127.0.0.2/") && refused(&rules, "http://192.168.0.1/"));
        let all: AddressRules = "private".parse().unwrap();
        assert!(all.check("http://localhost:1/").is_ok() && all.check("http://[::1]/").is_ok());
        for wrong in ["10.0.0.0/33", "a.example", "10.0.0/8", "::/129", "1.2.3.4/x"] {
            assert!(wrong.parse::<AddressRules>().is_err(), "{wrong}");
        }
        let everything: AddressRules = "0.0.0.0/0".parse().unwrap();
        assert!(everything.check("http://127.0.0.1/").is_ok());
    }

    #[tokio::test]
    async fn a_name_counts_as_what_it_leads_to() {
        let rules = AddressRules::default();
        // Spellings that only a resolver understands.
        for url in ["http://2130706433/", "http://127.1/", "http://0x7f.0.0.1/"] {
            // What was not resolved in time is judged by who connects.
            let mut tries = 0..10;
            while rules.check_resolved(url).await.is_ok() {
                assert!(tries.next().is_some(), "{url}");
            }
        }
        assert!(rules.check_resolved("http://name-without-address.invalid/").await.is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(url in ".*", rules in ".*") {
            let rules: AddressRules = rules.parse().unwrap_or_default();
            let _ = rules.check(&url);
        }
    }
}
