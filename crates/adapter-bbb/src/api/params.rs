//! Parameters of a call: reading them from queries and form bodies, writing them into signed addresses.

mod encode;
mod multipart;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use percent_encoding::percent_decode;

pub use encode::signed_url;
pub(crate) use multipart::boundary;
#[cfg(feature = "http")]
pub(crate) use multipart::uploaded_file;

/// The default limit on the number of parameters of one call.
pub const MAX_PARAMS: usize = 2_000;

/// Below this many pairs a search through the list beats building an index.
const INDEX_FROM: usize = 24;

/// Parameters that could not be read. The front-end is answered HTTP 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamError {
    /// Percent-encoding or UTF-8 is broken.
    #[error("malformed percent-encoding or UTF-8 in the parameters, near byte {offset}")]
    Malformed {
        /// Where, in bytes from the start of the query or body.
        offset: usize,
    },
    /// A multipart body does not follow its boundary.
    #[error("malformed multipart form, near byte {offset}")]
    Multipart {
        /// Where, in bytes from the start of the body.
        offset: usize,
    },
    /// There are too many parameters.
    #[error("more than {limit} parameters")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}

#[derive(Clone, PartialEq, Eq)]
struct Pair<'a> {
    name: Cow<'a, str>,
    value: Option<Cow<'a, str>>,
}

impl Pair<'_> {
    /// The name without the mark of an array.
    fn base(&self) -> &str {
        base(&self.name)
    }

    /// Whether this is `name`, or an element of the array `name[]`.
    fn belongs_to(&self, name: &str) -> bool {
        self.name == name || (self.is_element() && self.base() == name)
    }

    fn is_element(&self) -> bool {
        self.name.ends_with("[]")
    }
}

fn base(name: &str) -> &str {
    name.strip_suffix("[]").unwrap_or(name)
}

/// Parameters in the order in which they came.
///
/// Of a repeated name the last value counts. `x[]` is an array and may repeat; it is written as a repeated `x`, unless
/// a plain `x` is there too, since a server would take the first of the two. A name without `=` has no value and is
/// written without one.
///
/// Values may be passwords, so `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Params<'a> {
    pairs: Vec<Pair<'a>>,
}

impl fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.pairs.iter().map(|pair| &pair.name)).finish()
    }
}

impl<'a> Params<'a> {
    /// No parameters.
    #[must_use]
    pub const fn new() -> Self {
        Self { pairs: Vec::new() }
    }

    /// Reads a raw query, or an url-encoded form body, of at most [`MAX_PARAMS`] pairs.
    ///
    /// # Errors
    /// Broken percent-encoding or UTF-8 anywhere, or too many pairs.
    pub fn parse(raw: &'a [u8]) -> Result<Self, ParamError> {
        Self::parse_up_to(raw, MAX_PARAMS)
    }

    /// Like [`parse`](Self::parse), with another limit.
    ///
    /// # Errors
    /// Broken percent-encoding or UTF-8 anywhere, or more than `limit` pairs.
    pub fn parse_up_to(raw: &'a [u8], limit: usize) -> Result<Self, ParamError> {
        let text = std::str::from_utf8(raw).map_err(|error| ParamError::Malformed { offset: error.valid_up_to() })?;
        let mut pairs = Vec::with_capacity(if text.is_empty() { 0 } else { 16 });
        let mut offset = 0;
        for piece in text.split('&') {
            let start = offset;
            offset += piece.len() + 1;
            if piece.is_empty() {
                continue;
            }
            if pairs.len() == limit {
                return Err(ParamError::TooMany { limit });
            }
            let (name, value) = match piece.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (piece, None),
            };
            let value = value.map(|value| decode(value, start + name.len() + 1)).transpose()?;
            pairs.push(Pair { name: decode(name, start)?, value });
        }
        Ok(Self { pairs })
    }

    /// Reads an url-encoded form of which not everything has to be text: what is broken becomes a sign for that.
    ///
    /// # Errors
    /// Too many pairs.
    #[cfg(feature = "http")]
    pub(crate) fn parse_lossy(raw: &'a [u8]) -> Result<Self, ParamError> {
        let mut pairs = Vec::new();
        for (name, value) in form_urlencoded::parse(raw) {
            if pairs.len() == MAX_PARAMS {
                return Err(ParamError::TooMany { limit: MAX_PARAMS });
            }
            pairs.push(Pair { name, value: Some(value) });
        }
        Ok(Self { pairs })
    }

    /// Reads a `multipart/form-data` body of at most [`MAX_PARAMS`] fields. Uploaded files are passed over.
    ///
    /// # Errors
    /// A body that does not follow its boundary, a field that is not UTF-8, or too many fields.
    pub fn parse_multipart(body: &'a [u8], content_type: &str) -> Result<Self, ParamError> {
        let boundary = boundary(content_type).ok_or(ParamError::Multipart { offset: 0 })?;
        let mut params = Self::new();
        multipart::fields(body, &boundary, |name, value| {
            if params.pairs.len() == MAX_PARAMS {
                return Err(ParamError::TooMany { limit: MAX_PARAMS });
            }
            params.pairs.push(Pair { name: Cow::Owned(name), value: Some(Cow::Borrowed(value)) });
            Ok(())
        })?;
        Ok(params)
    }

    /// Adds the parameters of a form body, which win over equal names of the query.
    pub fn merge(&mut self, body: Self) {
        if body.pairs.iter().any(Pair::is_element) {
            let arrays: HashSet<&str> =
                body.pairs.iter().filter(|pair| pair.is_element()).map(|pair| &*pair.name).collect();
            self.pairs.retain(|pair| !pair.is_element() || !arrays.contains(&*pair.name));
        }
        self.pairs.extend(body.pairs);
        self.collapse();
    }

    /// The value of the last pair of this name; a bare name has an empty one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rfind(|pair| pair.name == name).map(|pair| pair.value.as_deref().unwrap_or_default())
    }

    /// Like [`get`](Self::get), but a blank value (empty, or white space only) counts as missing.
    #[must_use]
    pub fn present(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.trim().is_empty())
    }

    /// Whether the name is there, with or without a value.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.pairs.iter().any(|pair| pair.name == name)
    }

    /// Gives `name` this value where it first stands, or appends it. Repeats and an array of this name go.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        self.put(name.into(), Some(value.into()));
    }

    /// Like [`set`](Self::set), without a value.
    pub fn set_bare(&mut self, name: impl Into<Cow<'a, str>>) {
        self.put(name.into(), None);
    }

    fn put(&mut self, name: Cow<'a, str>, value: Option<Cow<'a, str>>) {
        let Some(at) = self.pairs.iter().position(|pair| pair.belongs_to(&name)) else {
            self.pairs.push(Pair { name, value });
            return;
        };
        let mut place = 0;
        self.pairs.retain(|pair| {
            place += 1;
            place - 1 == at || !pair.belongs_to(&name)
        });
        self.pairs[at] = Pair { name, value };
    }

    /// Appends a pair without looking for others of its name.
    pub fn push(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        self.pairs.push(Pair { name: name.into(), value: Some(value.into()) });
    }

    /// Appends all pairs of others without looking for equal names.
    pub(crate) fn append(&mut self, others: Self) {
        self.pairs.extend(others.pairs);
    }

    /// Removes `name`, and the array `name[]`.
    pub fn remove(&mut self, name: &str) {
        self.pairs.retain(|pair| !pair.belongs_to(name));
    }

    /// Like [`remove`](Self::remove), in whatever case the name was written.
    pub(crate) fn remove_any_case(&mut self, name: &str) {
        self.pairs.retain(|pair| !pair.base().eq_ignore_ascii_case(name));
    }

    /// Gives some pairs other names; of those that share one then, the last value counts.
    #[cfg(feature = "http")]
    pub(crate) fn rename(&mut self, to: impl Fn(&str) -> Option<&'static str>) {
        for pair in &mut self.pairs {
            if let Some(name) = to(&pair.name) {
                pair.name = Cow::Borrowed(name);
            }
        }
        self.collapse();
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.pairs.iter().map(|pair| (&*pair.name, pair.value.as_deref()))
    }

    /// How many pairs there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Leaves one pair for each plain name: the first one's place, the last one's value. Elements of an array stay,
    /// unless there is a plain parameter of that name.
    pub fn collapse(&mut self) {
        let Some(drop) = self.surplus() else { return };
        let mut drop = drop.into_iter();
        self.pairs.retain(|_| !drop.next().unwrap_or_default());
    }

    /// Moves last values to first places and says which pairs are too many; `None` if there are none.
    fn surplus(&mut self) -> Option<Vec<bool>> {
        let mut drop = vec![false; self.pairs.len()];
        let mut found = false;
        let mut values = Vec::new();
        {
            let pairs = &self.pairs;
            let index: Option<HashMap<&str, usize>> = (pairs.len() >= INDEX_FROM).then(|| {
                let plain = pairs.iter().enumerate().filter(|(_, pair)| !pair.is_element());
                plain.rev().map(|(at, pair)| (&*pair.name, at)).collect()
            });
            let first_plain = |name: &str| match &index {
                Some(index) => index.get(name).copied(),
                None => pairs.iter().position(|pair| !pair.is_element() && pair.name == name),
            };
            for (at, pair) in pairs.iter().enumerate() {
                match first_plain(pair.base()) {
                    Some(_) if pair.is_element() => drop[at] = true,
                    Some(first) if first != at => {
                        drop[at] = true;
                        values.push((first, at));
                    }
                    _ => continue,
                }
                found = true;
            }
        }
        for (first, at) in values {
            self.pairs[first].value = self.pairs[at].value.take();
        }
        found.then_some(drop)
    }

    /// The same parameters, borrowing from these.
    #[must_use]
    pub fn borrowed(&self) -> Params<'_> {
        Params {
            pairs: self
                .pairs
                .iter()
                .map(|pair| Pair { name: Cow::Borrowed(&*pair.name), value: pair.value.as_deref().map(Cow::Borrowed) })
                .collect(),
        }
    }

    /// The same parameters, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Params<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Params {
            pairs: self
                .pairs
                .into_iter()
                .map(|pair| Pair { name: own(pair.name), value: pair.value.map(own) })
                .collect(),
        }
    }
}

/// Decodes one name or value of an url-encoded form, borrowing where nothing needs it.
fn decode(text: &str, offset: usize) -> Result<Cow<'_, str>, ParamError> {
    let Some(first) = text.bytes().position(|byte| byte == b'%' || byte == b'+') else {
        return Ok(Cow::Borrowed(text));
    };
    let malformed = ParamError::Malformed { offset: offset + first };
    let bytes = text.as_bytes();
    let broken = |at: usize| {
        bytes[at] == b'%' && !bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    };
    if (first..bytes.len()).any(broken) {
        return Err(malformed);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('+') {
        decoded.extend(percent_decode(before.as_bytes()));
        decoded.push(b' ');
        rest = after;
    }
    decoded.extend(percent_decode(rest.as_bytes()));
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| malformed)
}

#[cfg(test)]
mod tests;
