//! Converters: what stands behind the commas of an expression.

use super::args::{Call, calls};
use super::coding::{base64_decode, base64_encode, base64url_decode, hex_encode, url_decode};
use super::sample::Sample;
use crate::balance::error::SpecError;
use crate::balance::hash::{HashFunction, avalanche, low, xxh32};
use crate::balance::version::Version;
use crate::balance::words::words;

/// The most converters of one expression.
const MAX_CONVERTERS: usize = 32;
/// What HAProxy's buffers hold by default: a longer value fails.
const MAX_SAMPLE: usize = 16_384;

/// A chain of converters, such as `url_dec,b64dec,field(8,'\"')`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converters(Vec<Converter>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Converter {
    Lower,
    Upper,
    UrlDecode { form: bool },
    Base64Decode,
    Base64UrlDecode,
    Base64,
    Hex,
    Length,
    Bytes { from: usize, count: Option<usize> },
    Field { at: i64, delimiters: Vec<u8>, count: i64, words: bool },
    Hash { function: HashFunction, avalanche: bool },
    Xxh32 { seed: u32 },
}

impl Converters {
    /// Reads a chain as it stands in a configuration, quotes and all.
    ///
    /// # Errors
    ///
    /// [`SpecError::Syntax`], and [`SpecError::Unsupported`] for converters that are not modelled.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let [word] = <[String; 1]>::try_from(words(text)?)
            .map_err(|_| SpecError::Syntax { text: text.chars().take(80).collect(), why: "is not one word" })?;
        calls(&word)?.into_iter().try_fold(Self::default(), |mut chain, call| {
            chain.push(&call)?;
            Ok(chain)
        })
    }

    pub(super) fn push(&mut self, call: &Call) -> Result<(), SpecError> {
        if self.0.len() >= MAX_CONVERTERS {
            return Err(SpecError::TooMany { what: "converters", count: self.0.len() + 1, max: MAX_CONVERTERS });
        }
        self.0.push(Converter::new(call)?);
        Ok(())
    }

    /// The value after all of them, or `None` if one fails.
    pub fn apply(&self, sample: Sample, version: Version) -> Option<Sample> {
        self.0.iter().try_fold(sample, |s, c| c.apply(s, version).filter(fits))
    }
}

fn fits(sample: &Sample) -> bool {
    !matches!(sample, Sample::Text(b) | Sample::Binary(b) if b.len() > MAX_SAMPLE)
}

impl Converter {
    fn new(call: &Call) -> Result<Self, SpecError> {
        let need = |i, why| {
            let bad = || SpecError::Syntax { text: call.name.clone(), why };
            call.number(i).and_then(|n| n.ok_or_else(bad))
        };
        let flag = |i| call.number(i).map(|n| n.is_some_and(|n| n != 0));
        let size = |n: i64| {
            let bad = || SpecError::Syntax { text: call.name.clone(), why: "has a negative argument" };
            usize::try_from(n).map_err(|_| bad())
        };
        Ok(match call.name.as_str() {
            "lower" => Self::Lower,
            "upper" => Self::Upper,
            "url_dec" => Self::UrlDecode { form: flag(0)? },
            "b64dec" => Self::Base64Decode,
            "ub64dec" => Self::Base64UrlDecode,
            "base64" => Self::Base64,
            "hex" => Self::Hex,
            "length" => Self::Length,
            "bytes" => {
                Self::Bytes { from: size(need(0, "needs an offset")?)?, count: call.number(1)?.map(size).transpose()? }
            }
            "field" | "word" => Self::Field {
                at: match need(0, "needs the number of a field")? {
                    0 => return Err(SpecError::Syntax { text: call.name.clone(), why: "has no field 0" }),
                    at => at,
                },
                delimiters: call.args.get(1).cloned().unwrap_or_default(),
                count: call.number(2)?.unwrap_or(1),
                words: call.name == "word",
            },
            "xxh32" => Self::Xxh32 { seed: low(call.number(0)?.unwrap_or(0)) },
            name => match HashFunction::by_name(name) {
                Some(function) if function != HashFunction::None => Self::Hash { function, avalanche: flag(0)? },
                _ => {
                    let what = format!("converter {name}");
                    return Err(SpecError::Unsupported { text: call.name.clone(), what });
                }
            },
        })
    }

    fn apply(&self, sample: Sample, version: Version) -> Option<Sample> {
        Some(match self {
            Self::Lower => Sample::Text(sample.into_text().to_ascii_lowercase()),
            Self::Upper => Sample::Text(sample.into_text().to_ascii_uppercase()),
            Self::UrlDecode { form } => Sample::Text(url_decode(&sample.into_text(), *form)?),
            Self::Base64Decode => Sample::Binary(base64_decode(&sample.into_text())?),
            Self::Base64UrlDecode => Sample::Binary(base64url_decode(&sample.into_text())?),
            Self::Base64 => Sample::Text(base64_encode(&sample.into_binary())),
            Self::Hex => Sample::Text(hex_encode(&sample.into_binary())),
            Self::Length => Sample::Integer(i64::try_from(sample.into_text().len()).unwrap_or(i64::MAX)),
            Self::Bytes { from, count } => {
                let bytes = sample.into_binary();
                let rest = bytes.get(*from..).unwrap_or_default();
                Sample::Binary(rest[..count.unwrap_or(rest.len()).min(rest.len())].to_vec())
            }
            Self::Field { at, delimiters, count, words } => {
                let text = sample.into_text();
                let is_delimiter = |c: &u8| delimiters.contains(c);
                let found = if *words {
                    word(&text, *at, is_delimiter, *count)
                } else {
                    field(&text, *at, is_delimiter, *count)
                };
                match found {
                    Some(found) => Sample::Text(found.to_vec()),
                    None if *words && !version.fails_missing_word() => Sample::Text(Vec::new()),
                    None => return None,
                }
            }
            Self::Hash { function, avalanche: mixed } => {
                let hash = function.hash(&sample.into_binary());
                Sample::Integer(i64::from(if *mixed { avalanche(hash) } else { hash }))
            }
            Self::Xxh32 { seed } => Sample::Integer(i64::from(xxh32(&sample.into_binary(), *seed))),
        })
    }
}

/// The places where pieces begin and end.
type Pieces = Vec<(usize, usize)>;

/// Pieces `at` and following, `count` of them (0: all), from the left or, negative, from the right. Where there are
/// fewer, whatever else is there up to the edge belongs to them.
fn piece<'a>(text: &'a [u8], pieces: &Pieces, at: i64, count: i64) -> Option<&'a [u8]> {
    let index = usize::try_from(at.unsigned_abs().checked_sub(1)?).ok()?;
    let more = usize::try_from(count).ok().and_then(|n| n.checked_sub(1)).unwrap_or(usize::MAX);
    if at > 0 {
        let from = pieces.get(index)?.0;
        let to = index.checked_add(more).and_then(|i| pieces.get(i)).map_or(text.len(), |p| p.1);
        return text.get(from..to);
    }
    let last = pieces.len().checked_sub(index + 1)?;
    let from = last.checked_sub(more).and_then(|i| pieces.get(i)).map_or(0, |p| p.0);
    text.get(from..pieces.get(last)?.1)
}

fn field(text: &[u8], at: i64, is_delimiter: impl Fn(&u8) -> bool, count: i64) -> Option<&[u8]> {
    let mut pieces = Pieces::new();
    let mut from = 0;
    for piece in text.split(is_delimiter) {
        pieces.push((from, from + piece.len()));
        from += piece.len() + 1;
    }
    piece(text, &pieces, at, count)
}

fn word(text: &[u8], at: i64, is_delimiter: impl Fn(&u8) -> bool, count: i64) -> Option<&[u8]> {
    let mut pieces = Pieces::new();
    let mut from = 0;
    for piece in text.split(is_delimiter) {
        if !piece.is_empty() {
            pieces.push((from, from + piece.len()));
        }
        from += piece.len() + 1;
    }
    piece(text, &pieces, at, count)
}
