//! Keys that name a person or a place instead of a room.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Request, SourceRule};

/// The first cookie of that name, without quotes around it.
pub(super) fn cookie(request: &Request<'_>, name: &str) -> Option<String> {
    let headers = request.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case("cookie"));
    headers.flat_map(|(_, value)| value.split(';')).find_map(|pair| {
        let (known, value) = pair.split_once('=')?;
        (known.trim() == name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// The client's address, cut to its prefix.
pub(super) fn address(request: &Request<'_>, rule: &SourceRule) -> Option<String> {
    let named = rule.forwarded.as_deref().and_then(|header| request.header(header));
    let last = named.and_then(|list| parse(list.rsplit(',').next()?.trim()));
    let address = last.or(request.source)?.to_canonical();
    Some(match address {
        IpAddr::V4(address) if rule.v4 >= 32 => address.to_string(),
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(rule.v4)).unwrap_or(0);
            format!("{}/{}", Ipv4Addr::from_bits(address.to_bits() & mask), rule.v4)
        }
        IpAddr::V6(address) if rule.v6 >= 128 => address.to_string(),
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(rule.v6)).unwrap_or(0);
            format!("{}/{}", Ipv6Addr::from_bits(address.to_bits() & mask), rule.v6)
        }
    })
}

fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.trim_matches(|c| c == '[' || c == ']' || c == '"');
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}
