//! Checksums of API calls: who may call, and how our own calls are signed.
//!
//! A call is signed with the hex digest of `call name + raw query + secret`. The raw query is taken byte for byte as
//! it stood in the request line, without the pair that carries the checksum; it is never decoded or encoded again.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq};

/// A digest algorithm of the BigBlueButton API, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-1, 40 hex digits.
    Sha1,
    /// SHA-256, 64 hex digits.
    Sha256,
    /// SHA-384, 96 hex digits.
    Sha384,
    /// SHA-512, 128 hex digits.
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The length of its checksums in hex digits.
    #[must_use]
    pub const fn hex_len(self) -> usize {
        match self {
            Self::Sha1 => 40,
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }

    /// The algorithm whose checksums have this many hex digits.
    #[must_use]
    pub fn of_hex_len(len: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.hex_len() == len)
    }

    /// The name used in configuration: `SHA1`, `SHA256`, `SHA384`, `SHA512`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A list of algorithms that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AlgorithmsError {
    /// A name in the list is not known.
    #[error("unknown checksum algorithm {0:?}: use SHA1, SHA256, SHA384 or SHA512, separated by colons")]
    Unknown(String),
}

/// The set of algorithms callers may use.
///
/// The default is SHA-1, SHA-256 and SHA-512; SHA-384 is accepted only when a configured list names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Algorithms {
    set: u8,
    listed: bool,
}

impl Default for Algorithms {
    fn default() -> Self {
        Self { set: Algorithm::Sha1.bit() | Algorithm::Sha256.bit() | Algorithm::Sha512.bit(), listed: false }
    }
}

impl Algorithms {
    /// Whether callers may use `algorithm`.
    #[must_use]
    pub const fn allows(self, algorithm: Algorithm) -> bool {
        self.set & algorithm.bit() != 0
    }

    /// The algorithm for our own calls: SHA-256, or the strongest of a configured list.
    #[must_use]
    pub fn strongest(self) -> Algorithm {
        if !self.listed {
            return Algorithm::Sha256;
        }
        Algorithm::ALL.into_iter().rev().find(|&algorithm| self.allows(algorithm)).unwrap_or(Algorithm::Sha256)
    }
}

impl FromStr for Algorithms {
    type Err = AlgorithmsError;

    /// Reads a colon list such as `SHA256:SHA512`. Case does not matter; a blank list is the default.
    fn from_str(list: &str) -> Result<Self, AlgorithmsError> {
        let mut set = 0;
        for name in list.split(':').map(str::trim).filter(|name| !name.is_empty()) {
            let known = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name));
            match known {
                Some(algorithm) => set |= algorithm.bit(),
                None => return Err(AlgorithmsError::Unknown(name.chars().take(32).collect())),
            }
        }
        Ok(if set == 0 { Self::default() } else { Self { set, listed: true } })
    }
}

/// Why a call was refused. For our own log; a caller only ever sees `checksumError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChecksumFault {
    /// The request carries no checksum, or a blank one.
    #[error("the request carries no checksum")]
    Missing,
    /// No algorithm gives checksums of this length.
    #[error("no algorithm gives a checksum of {0} bytes: 40, 64, 96 or 128 hex digits are expected")]
    Length(usize),
    /// The length names an algorithm which is not in the configured set.
    #[error("checksum algorithm {0} is not allowed: add it to the configured list, or change the front-end")]
    NotAllowed(Algorithm),
    /// No secret is configured, so nothing can be right.
    #[error("no secret is configured: set one before the API can be used")]
    NoSecrets,
    /// The checksum fits none of the secrets.
    #[error("the checksum fits none of the configured secrets")]
    Mismatch,
}

/// What checksums are accepted: the secrets, and the allowed algorithms.
///
/// `Debug` shows how many secrets there are, never the secrets.
#[derive(Clone, Default)]
pub struct Checksums {
    secrets: Vec<String>,
    algorithms: Algorithms,
}

impl fmt::Debug for Checksums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checksums")
            .field("secrets", &format_args!("{} redacted", self.secrets.len()))
            .field("algorithms", &self.algorithms)
            .finish()
    }
}

impl Checksums {
    /// A policy with these secrets. Empty secrets are left out: an empty one would let everybody in.
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = String>, algorithms: Algorithms) -> Self {
        Self { secrets: secrets.into_iter().filter(|secret| !secret.is_empty()).collect(), algorithms }
    }

    /// The same algorithms with other secrets, such as a tenant's.
    #[must_use]
    pub fn with_secrets(&self, secrets: impl IntoIterator<Item = String>) -> Self {
        Self::new(secrets, self.algorithms)
    }

    /// Whether no secret is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// The first secret, used where a single one is wanted.
    #[must_use]
    pub fn first_secret(&self) -> Option<&str> {
        self.secrets.first().map(String::as_str)
    }

    /// All secrets, for tokens.
    #[cfg(feature = "http")]
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(String::as_str)
    }

    /// The accepted algorithms.
    #[must_use]
    pub const fn algorithms(&self) -> Algorithms {
        self.algorithms
    }

    /// The algorithm for our own calls: see [`Algorithms::strongest`].
    #[must_use]
    pub fn strongest(&self) -> Algorithm {
        self.algorithms.strongest()
    }

    /// Checks `given` (the decoded `checksum` parameter) for a call with this raw query.
    ///
    /// Every pair named `checksum` is left out of the query, wherever it stands. The comparison takes the same time
    /// whichever digit differs and whichever secret fits, and upper-case hex does not fit.
    ///
    /// # Errors
    /// Says which step failed; the caller of the API is told `checksumError` for all of them.
    pub fn verify(&self, call: &str, raw_query: &str, given: &str) -> Result<(), ChecksumFault> {
        self.fitting(call, raw_query, given).map(drop)
    }

    /// Like [`verify`](Self::verify); the answer is the place of the secret that fits, the first one is 0.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn fitting(&self, call: &str, raw_query: &str, given: &str) -> Result<usize, ChecksumFault> {
        if given.trim().is_empty() {
            return Err(ChecksumFault::Missing);
        }
        let algorithm = Algorithm::of_hex_len(given.len()).ok_or(ChecksumFault::Length(given.len()))?;
        if !self.algorithms.allows(algorithm) {
            return Err(ChecksumFault::NotAllowed(algorithm));
        }
        if self.secrets.is_empty() {
            return Err(ChecksumFault::NoSecrets);
        }
        let mut signed = Hasher::new(algorithm);
        signed.update(call.as_bytes());
        hash_query(&mut signed, raw_query);
        let (mut fits, mut which) = (Choice::from(0), 0_u64);
        for (at, secret) in (0_u64..).zip(&self.secrets) {
            let mut hasher = signed.clone();
            hasher.update(secret.as_bytes());
            let expected = hasher.finish();
            let this = expected.as_bytes().ct_eq(given.as_bytes());
            which = u64::conditional_select(&which, &at, this & !fits);
            fits |= this;
        }
        if bool::from(fits) { Ok(usize::try_from(which).unwrap_or_default()) } else { Err(ChecksumFault::Mismatch) }
    }
}

/// The balancer-wide secrets: a single one, then a colon list. Empty entries are left out.
#[must_use]
pub fn secrets(single: Option<&str>, list: Option<&str>) -> Vec<String> {
    let listed = list.unwrap_or_default().split(':');
    single.into_iter().chain(listed).filter(|secret| !secret.is_empty()).map(str::to_owned).collect()
}

/// The checksum, in lower-case hex, of a call with this encoded query (which must not carry a checksum yet).
#[must_use]
pub fn sign(algorithm: Algorithm, call: &str, encoded_query: &str, secret: &str) -> String {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(call.as_bytes());
    hasher.update(encoded_query.as_bytes());
    hasher.update(secret.as_bytes());
    hasher.finish().as_str().to_owned()
}

/// Feeds the query to the hasher, without its checksum pairs.
fn hash_query(hasher: &mut Hasher, raw_query: &str) {
    let mut first = true;
    for pair in raw_query.split('&') {
        if is_checksum(pair) {
            continue;
        }
        if !first {
            hasher.update(b"&");
        }
        first = false;
        hasher.update(pair.as_bytes());
    }
}

/// Whether this pair of a raw query is the checksum, however its name is spelled.
fn is_checksum(pair: &str) -> bool {
    const NAME: &[u8] = b"checksum";
    match pair.split_once('=') {
        Some((name, _)) if name.len() == NAME.len() => name.as_bytes() == NAME,
        Some((name, _)) if name.len() > NAME.len() && name.len() <= 3 * NAME.len() && name.contains('%') => {
            percent_decode(name.as_bytes()).eq(NAME.iter().copied())
        }
        _ => false,
    }
}

/// Hex digits on the stack.
pub(crate) struct Hex {
    digits: [u8; 128],
    len: usize,
}

impl Hex {
    fn of(digest: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [b'0'; 128];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(digest) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self { digits, len: (digest.len() * 2).min(128) }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.digits[..self.len]
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// One of the digests, fed piece by piece.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha1(Sha1),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha384 => Self::Sha384(Sha384::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Hex {
        match self {
            Self::Sha1(hasher) => Hex::of(&hasher.finalize()),
            Self::Sha256(hasher) => Hex::of(&hasher.finalize()),
            Self::Sha384(hasher) => Hex::of(&hasher.finalize()),
            Self::Sha512(hasher) => Hex::of(&hasher.finalize()),
        }
    }
}

#[cfg(test)]
mod tests;
