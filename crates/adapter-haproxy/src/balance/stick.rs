//! A stick table: keys cut and cast by its type, entries that expire, and the oldest that make room.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::error::SpecError;
use super::hash::low;
use super::key::Sample;

/// The type of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyType {
    Ip,
    Ipv6,
    Integer,
    Text(usize),
    Binary(usize),
}

/// A `stick-table` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableSpec {
    key: KeyType,
    size: usize,
    expire: Option<Duration>,
    nopurge: bool,
}

impl TableSpec {
    /// Reads what follows `stick-table`. What is stored besides the server is left out of account.
    pub(crate) fn from_words(words: &[String]) -> Result<Self, SpecError> {
        let bad = |why| SpecError::Syntax { text: words.join(" "), why };
        let mut key = None;
        let mut size = None;
        let mut expire = None;
        let mut nopurge = false;
        let mut words = words.iter().map(String::as_str).peekable();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| bad("lacks a value behind its last word"));
            match word {
                "type" => {
                    let name = value()?;
                    let len = if words.next_if_eq(&"len").is_some() {
                        let len = words.next().and_then(|n| n.parse::<usize>().ok()).filter(|n| (1..=1024).contains(n));
                        Some(len.ok_or_else(|| bad("needs a length from 1 to 1024 behind len"))?)
                    } else {
                        None
                    };
                    key = Some(match name {
                        "ip" | "ipv4" => KeyType::Ip,
                        "ipv6" => KeyType::Ipv6,
                        "integer" => KeyType::Integer,
                        // One byte of the default is the end mark.
                        "string" => KeyType::Text(len.unwrap_or(31)),
                        "binary" => KeyType::Binary(len.unwrap_or(32)),
                        _ => return Err(bad("has an unknown key type")),
                    });
                }
                "size" => size = Some(count(value()?).ok_or_else(|| bad("needs a number of entries behind size"))?),
                "expire" => expire = Some(delay(value()?).ok_or_else(|| bad("needs a time behind expire"))?),
                "nopurge" => nopurge = true,
                "peers" | "store" | "srvkey" | "write-to" | "brates-factor" => {
                    value()?;
                }
                _ => return Err(bad("has an unknown word")),
            }
        }
        let (Some(key), Some(size)) = (key, size) else { return Err(bad("needs a type and a size")) };
        Ok(Self { key, size, expire, nopurge })
    }

    /// The key that a sample becomes; `None` if it cannot.
    pub(crate) fn key(&self, sample: Sample) -> Option<Vec<u8>> {
        Some(match self.key {
            KeyType::Integer => low(sample.into_integer()?).to_be_bytes().to_vec(),
            KeyType::Text(len) => {
                let mut text = sample.into_text();
                text.truncate(len);
                text
            }
            KeyType::Binary(len) => {
                let mut bytes = sample.into_binary();
                bytes.resize(len, 0);
                bytes
            }
            KeyType::Ip => match sample {
                Sample::V4(ip) => ip.octets().to_vec(),
                Sample::V6(ip) => ip.to_ipv4()?.octets().to_vec(),
                Sample::Integer(n) => low(n).to_be_bytes().to_vec(),
                other => text_of(other)?.parse::<Ipv4Addr>().ok()?.octets().to_vec(),
            },
            KeyType::Ipv6 => match sample {
                Sample::V4(ip) => ip.to_ipv6_mapped().octets().to_vec(),
                Sample::V6(ip) => ip.octets().to_vec(),
                other => text_of(other)?.parse::<std::net::Ipv6Addr>().ok()?.octets().to_vec(),
            },
        })
    }
}

fn text_of(sample: Sample) -> Option<String> {
    String::from_utf8(sample.into_text()).ok()
}

/// `10k`: 1,024 to the k.
fn count(text: &str) -> Option<usize> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(1 << shift).filter(|n| *n > 0)
}

/// `1h`: milliseconds without a unit.
fn delay(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let n: u64 = digits.parse().ok()?;
    let of = |seconds: u64| n.checked_mul(seconds).map(Duration::from_secs);
    match unit {
        "us" => Some(Duration::from_micros(n)),
        "" | "ms" => Some(Duration::from_millis(n)),
        "s" => of(1),
        "m" => of(60),
        "h" => of(3_600),
        "d" => of(86_400),
        _ => None,
    }
}

/// The most entries that are kept, whatever the size says.
const MAX_ENTRIES: usize = 1 << 20;

/// The entries.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) spec: TableSpec,
    entries: HashMap<Vec<u8>, (usize, Duration, u64)>,
    /// Deadline and order of use, for expiry and eviction.
    order: BTreeSet<(Duration, u64, Vec<u8>)>,
    uses: u64,
}

impl Table {
    pub(crate) fn new(spec: TableSpec) -> Self {
        Self { spec, entries: HashMap::new(), order: BTreeSet::new(), uses: 0 }
    }

    fn expire(&mut self, now: Duration) {
        while self.order.first().is_some_and(|(deadline, ..)| *deadline <= now) {
            if let Some((_, _, key)) = self.order.pop_first() {
                self.entries.remove(&key);
            }
        }
    }

    /// Looks a key up and refreshes its entry.
    pub(crate) fn touch(&mut self, key: &[u8], now: Duration) -> Option<usize> {
        self.expire(now);
        let server = self.entries.get(key)?.0;
        self.put(key.to_vec(), server, now);
        Some(server)
    }

    fn put(&mut self, key: Vec<u8>, server: usize, now: Duration) {
        let deadline = self.spec.expire.map_or(Duration::MAX, |e| now.saturating_add(e));
        self.uses += 1;
        if let Some((_, deadline, uses)) = self.entries.insert(key.clone(), (server, deadline, self.uses)) {
            self.order.remove(&(deadline, uses, key.clone()));
        }
        self.order.insert((deadline, self.uses, key));
    }

    /// Remembers a server. A full table drops the entry closest to its end, or, with `nopurge`, the new one.
    pub(crate) fn store(&mut self, key: Vec<u8>, server: usize, now: Duration) {
        self.expire(now);
        if !self.entries.contains_key(&key) && self.entries.len() >= self.spec.size.min(MAX_ENTRIES) {
            if self.spec.nopurge {
                return;
            }
            if let Some((_, _, oldest)) = self.order.pop_first() {
                self.entries.remove(&oldest);
            }
        }
        self.put(key, server, now);
    }
}
