//! Parts of a request target.

use std::borrow::Cow;

use crate::balance::version::Version;

fn find(bytes: &[u8], c: u8) -> Option<usize> {
    bytes.iter().position(|b| *b == c)
}

/// What follows `scheme://authority`, for a target in absolute form.
fn after_authority(target: &[u8]) -> Option<&[u8]> {
    if target.first() == Some(&b'/') {
        return None;
    }
    let at = target.windows(3).position(|w| w == b"://")?;
    let scheme = &target[..at];
    let fits = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.');
    if !scheme.first().is_some_and(u8::is_ascii_alphabetic) || !scheme.iter().all(fits) {
        return None;
    }
    let rest = &target[at + 3..];
    let end = rest.iter().position(|c| matches!(c, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    Some(&rest[end..])
}

/// The target without the port that its scheme implies anyway, and its host: what HAProxy makes of `http://host:80/` and
/// `https://host:443/` when it receives them. `None` for all others.
pub(super) fn without_port(target: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let rest = after_authority(target)?;
    let (front, from) = (&target[..target.len() - rest.len()], target.windows(3).position(|w| w == b"://")?);
    let colon = front.iter().rposition(|c| *c == b':').filter(|at| *at > from)?;
    let default = match target[..from].to_ascii_lowercase().as_slice() {
        b"http" => &b"80"[..],
        b"https" => b"443",
        _ => b"",
    };
    let port = &front[colon + 1..];
    if !port.is_empty() && port != default {
        return None;
    }
    let authority = &front[from + 3..colon];
    let host = authority.iter().rposition(|c| *c == b'@').map_or(authority, |at| &authority[at + 1..]);
    Some(([&front[..colon], rest].concat(), host))
}

/// Scheme and host with port of a target in absolute form that names a host.
fn scheme_and_host(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = after_authority(target)?;
    let from = target.windows(3).position(|w| w == b"://")?;
    let authority = &target[from + 3..target.len() - rest.len()];
    let host = authority.iter().rposition(|c| *c == b'@').map_or(authority, |at| &authority[at + 1..]);
    (!host.is_empty()).then_some((&target[..from], host))
}

/// A host without the port that the scheme implies.
fn bare<'h>(scheme: &[u8], host: &'h [u8]) -> &'h [u8] {
    let port: &[u8] = match scheme.to_ascii_lowercase().as_slice() {
        b"http" => b":80",
        b"https" => b":443",
        _ => return host,
    };
    host.strip_suffix(port).or_else(|| host.strip_suffix(b":")).unwrap_or(host)
}

/// Whether these `Host` headers contradict one another or the target, which HAProxy answers with 400 (2.6.12, 2.8.25).
pub(super) fn hosts_disagree<'h>(target: &[u8], mut hosts: impl Iterator<Item = &'h [u8]>) -> bool {
    let Some(host) = hosts.next() else { return false };
    let wanted = scheme_and_host(target);
    hosts.any(|other| !other.eq_ignore_ascii_case(host))
        || wanted.is_some_and(|(scheme, named)| !bare(scheme, named).eq_ignore_ascii_case(bare(scheme, host)))
}

/// The target as HAProxy keeps it: later releases add the path that `http://host` lacks.
pub(super) fn normal(target: &[u8], version: Version) -> Cow<'_, [u8]> {
    if version.has_implied_path() && after_authority(target).is_some_and(<[u8]>::is_empty) {
        return Cow::Owned([target, b"/"].concat());
    }
    Cow::Borrowed(target)
}

/// Path and query together; `None` where there is no path.
pub(super) fn path_and_query(target: &[u8], version: Version) -> Option<&[u8]> {
    if target.first() == Some(&b'/') {
        return Some(target);
    }
    if target == b"*" {
        return None;
    }
    match after_authority(target)? {
        [] => version.has_implied_path().then_some(b"/"),
        rest => Some(rest),
    }
}

/// Whether HAProxy answers such a target with 400: one with a fragment, which no browser sends, as all branches have done
/// since 2023; before 3.5 also one that lacks the path before its query.
pub(super) fn is_refused(target: &[u8], version: Version) -> bool {
    target.contains(&b'#')
        || !version.accepts_empty_path() && after_authority(target).is_some_and(|rest| rest.starts_with(b"?"))
}

/// The path, without the query.
pub(super) fn path(target: &[u8], version: Version) -> Option<&[u8]> {
    let all = path_and_query(target, version)?;
    Some(&all[..find(all, b'?').unwrap_or(all.len())])
}

/// What follows the first question mark.
pub(super) fn query(target: &[u8]) -> Option<&[u8]> {
    find(target, b'?').map(|at| &target[at + 1..])
}

/// The value of the first parameter of this name behind the first `start` in the target. Parameters end at `&`, `;`
/// and `start`.
pub(super) fn parameter<'a>(target: &'a [u8], name: &[u8], start: u8) -> Option<&'a [u8]> {
    let list = &target[find(target, start)? + 1..];
    list.split(|c| matches!(c, b'&' | b';') || *c == start).find_map(|p| p.strip_prefix(name)?.strip_prefix(b"="))
}
