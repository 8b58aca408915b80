//! The keys of `balance`: url_param, uri, hdr, source, hash.

use std::borrow::Cow;
use std::net::IpAddr;

use super::expression::Expression;
use super::request::Request;
use super::target::{hosts_disagree, is_refused, normal, path_and_query, without_port};
use crate::balance::error::SpecError;
use crate::balance::hash::{HashFunction, avalanche};
use crate::balance::version::Version;

/// Which part of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyRule {
    /// `url_param <name>`: the raw value, also from a form body.
    UrlParam {
        /// The parameter.
        name: String,
    },
    /// `uri [len N] [depth D] [whole] [path-only]`.
    Uri {
        /// Bytes at most; 0 is no limit.
        len: usize,
        /// Directories at most; 0 is no limit.
        depth: usize,
        /// With the query.
        whole: bool,
        /// Without scheme and authority.
        path_only: bool,
    },
    /// `hdr(<name>) [use_domain_only]`: the first value.
    Header {
        /// The header.
        name: String,
        /// Only the label before the top-level domain.
        domain_only: bool,
    },
    /// `source`: the client's address.
    Source,
    /// `hash <expression>`.
    Hash(Expression),
}

/// What is left of a request for the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// No key: the next in turn.
    Absent,
    /// This hash.
    Hash(u32),
}

impl Request {
    /// Whether HAProxy of this version answers such a request with 400 at once.
    pub(crate) fn is_refused(&self, version: Version) -> bool {
        let hosts = self.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host"));
        is_refused(&self.target, version) || hosts_disagree(&self.target, hosts.map(|(_, value)| value.as_slice()))
    }

    /// The request as HAProxy keeps it: without a port that the scheme implies, in the target and in `Host`.
    pub(crate) fn received(&self) -> Cow<'_, Self> {
        let Some((target, host)) = without_port(&self.target) else { return Cow::Borrowed(self) };
        let mut request = Self { target, ..self.clone() };
        for (name, value) in &mut request.headers {
            if name.eq_ignore_ascii_case("host") {
                *value = host.to_vec();
            }
        }
        Cow::Owned(request)
    }
}

impl KeyRule {
    /// Reads what follows `balance`, words already split; `None` if it is no rule with a key.
    pub(crate) fn from_words(words: &[String]) -> Result<Option<Self>, SpecError> {
        let bad = |why| SpecError::Syntax { text: words.join(" "), why };
        let Some((first, rest)) = words.split_first() else { return Ok(None) };
        Ok(Some(match first.as_str() {
            "url_param" => match rest {
                [name] => Self::UrlParam { name: name.clone() },
                [name, check] if check == "check_post" => Self::UrlParam { name: name.clone() },
                [name, check, n] if check == "check_post" && n.parse::<u32>().is_ok() => {
                    Self::UrlParam { name: name.clone() }
                }
                _ => return Err(bad("needs the name of a parameter, and may have check_post")),
            },
            "uri" => {
                let (mut len, mut depth, mut whole, mut path_only) = (0, 0, false, false);
                let mut rest = rest.iter();
                while let Some(option) = rest.next() {
                    let mut number = || {
                        let n = rest.next().and_then(|n| n.parse().ok()).filter(|n: &usize| *n > 0);
                        n.ok_or_else(|| bad("needs a positive number behind len and depth"))
                    };
                    match option.as_str() {
                        "len" => len = number()?,
                        "depth" => depth = number()?,
                        "whole" => whole = true,
                        "path-only" => path_only = true,
                        _ => return Err(bad("has an option that is not len, depth, whole or path-only")),
                    }
                }
                Self::Uri { len, depth, whole, path_only }
            }
            "source" => Self::Source,
            "hash" => match rest {
                [word] => Self::Hash(Expression::from_word(word)?),
                _ => return Err(bad("needs one expression")),
            },
            header if header.starts_with("hdr(") => {
                let name = header.strip_prefix("hdr(").and_then(|n| n.strip_suffix(')')).filter(|n| !n.is_empty());
                let name = name.ok_or_else(|| bad("needs the name of a header in parentheses"))?;
                let domain_only = match rest {
                    [] => false,
                    [option] if option == "use_domain_only" => true,
                    _ => return Err(bad("has an option that is not use_domain_only")),
                };
                Self::Header { name: name.to_owned(), domain_only }
            }
            _ => return Ok(None),
        }))
    }

    /// Whether the key is left out of account while only one server is usable.
    pub(crate) fn is_skipped_for_one(&self) -> bool {
        !matches!(self, Self::UrlParam { .. })
    }

    /// The number that `source` makes of an address.
    pub(crate) fn source(ip: IpAddr) -> u32 {
        match ip {
            IpAddr::V4(ip) => u32::from(ip),
            IpAddr::V6(ip) => {
                let bits = u128::from(ip);
                [96, 64, 32, 0].iter().fold(0, |h, at| h ^ u32::try_from((bits >> at) & 0xffff_ffff).unwrap_or(0))
            }
        }
    }

    /// The hash of the key of this request.
    pub(crate) fn key(&self, request: &Request, function: HashFunction, mixed: bool, version: Version) -> Key {
        let hash = if let Self::Source = self {
            request.source.map(Self::source)
        } else {
            self.bytes(request, function, version).map(|bytes| function.hash(&bytes))
        };
        hash.map_or(Key::Absent, |h| Key::Hash(if mixed { avalanche(h) } else { h }))
    }

    /// The key of this request before it is hashed. For `source`, the address as text.
    pub fn bytes(&self, request: &Request, function: HashFunction, version: Version) -> Option<Vec<u8>> {
        match self {
            Self::UrlParam { name } => url_param(request, name.as_bytes(), version).map(<[u8]>::to_vec),
            Self::Uri { len, depth, whole, path_only } => {
                let target = normal(&request.target, version);
                // Without a path, the key is empty; it is not absent.
                let uri = if *path_only { path_and_query(&target, version).unwrap_or_default() } else { &target };
                Some(cut(uri, *len, *depth, *whole).to_vec())
            }
            Self::Header { name, domain_only } => {
                let value = request.values(name).next().filter(|v| !v.is_empty())?;
                Some(if *domain_only { domain(value) } else { value }.to_vec())
            }
            Self::Source => request.source.map(|ip| ip.to_string().into_bytes()),
            Self::Hash(expression) => {
                let sample = expression.value(request, version)?;
                Some(if function == HashFunction::None && version.reads_numbers_as_text() {
                    sample.into_text()
                } else {
                    sample.into_binary()
                })
            }
        }
    }
}

fn url_param<'a>(request: &'a Request, name: &[u8], version: Version) -> Option<&'a [u8]> {
    let value = |piece: &'a [u8]| piece.strip_prefix(name)?.strip_prefix(b"=");
    let at = request.target.iter().position(|c| *c == b'?');
    let found = at.and_then(|at| request.target[at + 1..].split(|c| *c == b'&').find_map(value));
    if found.is_some() || request.method != "POST" {
        return found;
    }
    let value = request.body.split(|c| *c == b'&').find_map(value)?;
    if version.checks_every_body_byte() {
        let end = value.iter().position(|c| !is_token(*c)).unwrap_or(value.len());
        return value.get(end).is_none_or(|c| is_blank(*c)).then_some(&value[..end]);
    }
    match value.first() {
        Some(c) if is_blank(*c) => Some(&[]),
        Some(c) if !is_token(*c) => None,
        _ => Some(value),
    }
}

fn is_blank(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_token(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c)
}

fn cut(mut uri: &[u8], len: usize, depth: usize, whole: bool) -> &[u8] {
    if len > 0 {
        uri = &uri[..len.min(uri.len())];
    }
    let mut slashes = 0;
    let end = uri.iter().position(|c| {
        if *c == b'/' {
            slashes += 1;
            return depth > 0 && slashes == depth + 1;
        }
        *c == b'?' && !whole
    });
    &uri[..end.unwrap_or(uri.len())]
}

/// The label before the last dot.
fn domain(value: &[u8]) -> &[u8] {
    let Some(dot) = value.iter().rposition(|c| *c == b'.').filter(|at| *at > 0) else { return value };
    let start = value[..dot].iter().rposition(|c| *c == b'.').map_or(0, |at| at + 1);
    &value[start..dot]
}
