//! Sample fetches: where an expression begins.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::args::Call;
use super::request::Request;
use super::sample::Sample;
use super::target::{normal, parameter, path, path_and_query, query};
use crate::balance::error::SpecError;
use crate::balance::version::Version;

/// Where an expression takes its value from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fetch {
    UrlParam { name: Vec<u8>, start: u8 },
    Path,
    PathQuery,
    Base,
    Query,
    Url,
    Method,
    Source,
    Header { name: String, at: i64, whole: bool },
    HeaderIp { name: String, at: i64 },
    Cookie { name: String },
    Text(Vec<u8>),
    Integer(i64),
}

impl Fetch {
    pub(super) fn new(call: &Call) -> Result<Self, SpecError> {
        let name = || {
            let bad = || SpecError::Syntax { text: call.name.clone(), why: "needs a name in parentheses" };
            call.text(0).ok_or_else(bad)
        };
        let header = |whole| Ok(Self::Header { name: name()?, at: call.number(1)?.unwrap_or(-1), whole });
        Ok(match call.name.as_str() {
            "url_param" | "urlp" => {
                let start = call.args.get(1).and_then(|a| a.first()).copied().unwrap_or(b'?');
                Self::UrlParam { name: name()?.into_bytes(), start }
            }
            "path" => Self::Path,
            "pathq" => Self::PathQuery,
            "base" => Self::Base,
            "query" => Self::Query,
            "url" => Self::Url,
            "method" => Self::Method,
            "src" => Self::Source,
            "hdr" | "req.hdr" => return header(false),
            "req.fhdr" => return header(true),
            "hdr_ip" | "req.hdr_ip" => Self::HeaderIp { name: name()?, at: call.number(1)?.unwrap_or(-1) },
            "cook" | "req.cook" => Self::Cookie { name: name()? },
            "str" => Self::Text(call.args.first().cloned().unwrap_or_default()),
            "int" => Self::Integer(call.number(0)?.unwrap_or(0)),
            other => {
                let what = format!("sample fetch {other}");
                return Err(SpecError::Unsupported { text: call.name.clone(), what });
            }
        })
    }

    pub(super) fn get(&self, request: &Request, version: Version) -> Option<Sample> {
        let text = |bytes: &[u8]| Some(Sample::Text(bytes.to_vec()));
        match self {
            Self::UrlParam { name, start } => text(parameter(&request.target, name, *start)?),
            Self::Path => text(path(&request.target, version)?),
            Self::PathQuery => text(path_and_query(&request.target, version)?),
            Self::Base => {
                let host = request.values("host").next().unwrap_or_default();
                let Some(path) = path(&request.target, version) else {
                    return if host.is_empty() { None } else { text(host) };
                };
                Some(Sample::Text([host, path].concat()))
            }
            Self::Query => text(query(&request.target)?),
            Self::Url => text(&normal(&request.target, version)),
            Self::Method => text(request.method.as_bytes()),
            Self::Source => Some(match request.source? {
                IpAddr::V4(ip) => Sample::V4(ip),
                IpAddr::V6(ip) => Sample::V6(ip),
            }),
            Self::Header { name, at, whole: true } => text(nth(request.lines(name), *at)?),
            Self::Header { name, at, whole: false } => text(nth(request.values(name), *at)?),
            Self::HeaderIp { name, at } => address(nth(request.values(name), *at)?, version),
            Self::Cookie { name } => text(request.cookie(name)?),
            Self::Text(value) => text(value),
            Self::Integer(n) => Some(Sample::Integer(*n)),
        }
    }
}

/// Value number `at` from the front (1 is the first) or, negative, from the back (-1 is the last).
fn nth<'a>(values: impl Iterator<Item = &'a [u8]>, at: i64) -> Option<&'a [u8]> {
    let index = usize::try_from(at.unsigned_abs().checked_sub(1)?).ok()?;
    if at > 0 {
        return values.into_iter().nth(index);
    }
    let all: Vec<&[u8]> = values.collect();
    all.len().checked_sub(index + 1).and_then(|i| all.get(i).copied())
}

/// An address, with a port behind it if it is IPv4.
fn address(text: &[u8], version: Version) -> Option<Sample> {
    let text = std::str::from_utf8(text).ok()?;
    let v4 = |t: &str| Ipv4Addr::from_str(t).ok().map(Sample::V4);
    if let Some(found) = v4(text) {
        return Some(found);
    }
    if let Some((ip, port)) = text.split_once(':')
        && !port.is_empty()
        && port.bytes().all(|c| c.is_ascii_digit())
        && let Some(found) = v4(ip)
    {
        return Some(found);
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).filter(|_| version.accepts_brackets());
    Ipv6Addr::from_str(bare.unwrap_or(text)).ok().map(Sample::V6)
}
