//! What a table holds, and how its entries are written.

use std::collections::BTreeMap;
use std::time::Duration;

use super::codec::PeersFault;
use crate::wire::{Reader, put_bytes, put_varint};

/// The longest array in an entry.
pub const MAX_ARRAY: u64 = 100;

/// What a table's keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// Numbers of 32 bits.
    Integer,
    /// IPv4 addresses.
    Ipv4,
    /// IPv6 addresses.
    Ipv6,
    /// Text.
    String,
    /// Bytes of one length.
    Binary,
    /// Something else, of one length.
    Other(u64),
}

impl KeyType {
    /// What HAProxy's configuration calls it; `None` for one that is not known here.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Integer => Some("integer"),
            Self::Ipv4 => Some("ip"),
            Self::Ipv6 => Some("ipv6"),
            Self::String => Some("string"),
            Self::Binary => Some("binary"),
            Self::Other(_) => None,
        }
    }

    fn code(self) -> u64 {
        match self {
            Self::Integer => 2,
            Self::Ipv4 => 4,
            Self::Ipv6 => 5,
            Self::String => 6,
            Self::Binary => 7,
            Self::Other(code) => code,
        }
    }

    fn from_code(code: u64) -> Self {
        match code {
            2 => Self::Integer,
            4 => Self::Ipv4,
            5 => Self::Ipv6,
            6 => Self::String,
            7 => Self::Binary,
            other => Self::Other(other),
        }
    }
}

/// How a datum is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataKind {
    /// A number.
    Number,
    /// A rate over a period.
    Rate,
    /// An array of numbers.
    Numbers,
    /// An array of rates.
    Rates,
    /// A name, by the dictionary of the connection.
    Name,
}

/// What a table stores beside the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataType(u8);

const NAMES: [&str; 27] = [
    "server_id",
    "gpt0",
    "gpc0",
    "gpc0_rate",
    "conn_cnt",
    "conn_rate",
    "conn_cur",
    "sess_cnt",
    "sess_rate",
    "http_req_cnt",
    "http_req_rate",
    "http_err_cnt",
    "http_err_rate",
    "bytes_in_cnt",
    "bytes_in_rate",
    "bytes_out_cnt",
    "bytes_out_rate",
    "gpc1",
    "gpc1_rate",
    "server_key",
    "http_fail_cnt",
    "http_fail_rate",
    "gpt",
    "gpc",
    "gpc_rate",
    "glitch_cnt",
    "glitch_rate",
];

impl DataType {
    /// The number of the server an entry is stuck to.
    pub const SERVER_ID: Self = Self(0);
    /// The name of the server an entry is stuck to; beats the number.
    pub const SERVER_KEY: Self = Self(19);

    /// A type by the word that stores it (`store gpc0`).
    pub fn by_name(name: &str) -> Option<Self> {
        let bit = NAMES.iter().position(|n| *n == name)?;
        u8::try_from(bit).ok().map(Self)
    }

    /// The word that stores it.
    pub fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or_default()
    }

    /// How it is written.
    pub fn kind(self) -> DataKind {
        match self.0 {
            3 | 5 | 8 | 10 | 12 | 14 | 16 | 18 | 21 | 26 => DataKind::Rate,
            19 => DataKind::Name,
            22 | 23 => DataKind::Numbers,
            24 => DataKind::Rates,
            _ => DataKind::Number,
        }
    }

    fn bit(self) -> u64 {
        1 << self.0
    }

    /// A type by its number on the wire.
    pub fn by_number(bit: u64) -> Option<Self> {
        u8::try_from(bit).ok().filter(|bit| usize::from(*bit) < NAMES.len()).map(Self)
    }
}

/// Beyond the type: how many, and over what period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Parameter {
    count: u64,
    period: u64,
}

/// A table as one side defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDefinition {
    id: u64,
    name: String,
    key_type: KeyType,
    key_len: u64,
    bits: u64,
    expire: u64,
    parameters: BTreeMap<DataType, Parameter>,
    /// Parameters of types that came after this was written.
    newer: Vec<u8>,
}

impl TableDefinition {
    /// A table without data. The name is that of the proxy, or `/` and the name in the `peers` section. The length of
    /// keys counts for text and bytes: `type string len 64` has 65, `type binary len 12` has 12.
    pub fn new(id: u64, name: impl Into<String>, key_type: KeyType, key_len: u64, expire: Duration) -> Self {
        let key_len = match key_type {
            KeyType::Integer | KeyType::Ipv4 => 4,
            KeyType::Ipv6 => 16,
            _ => key_len,
        };
        let expire = u64::try_from(expire.as_millis()).unwrap_or(u64::MAX);
        let (bits, parameters, newer) = (0, BTreeMap::new(), Vec::new());
        Self { id, name: name.into(), key_type, key_len, bits, expire, parameters, newer }
    }

    /// With a number or a name.
    #[must_use]
    pub fn with_data(mut self, data: DataType) -> Self {
        self.bits |= data.bit();
        self
    }

    /// With a rate over this period.
    #[must_use]
    pub fn with_rate(self, data: DataType, period: Duration) -> Self {
        self.with_array(data, 1, period)
    }

    /// With an array of this many elements, [`MAX_ARRAY`] at most; the period counts for rates.
    #[must_use]
    pub fn with_array(mut self, data: DataType, count: u64, period: Duration) -> Self {
        self.bits |= data.bit();
        let period = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        let parameter = match data.kind() {
            DataKind::Number | DataKind::Name => return self,
            DataKind::Rate => Parameter { count: 0, period },
            DataKind::Numbers => Parameter { count: count.min(MAX_ARRAY), period: 0 },
            DataKind::Rates => Parameter { count: count.min(MAX_ARRAY), period },
        };
        self.parameters.insert(data, parameter);
        self
    }

    /// The same table under another number, for the other direction: HAProxy wants its own definition back.
    #[must_use]
    pub fn with_id(mut self, id: u64) -> Self {
        self.id = id;
        self
    }

    /// The number its sender gave it, for the connection.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its keys are.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The length of its keys in bytes; of text it is one more than the longest.
    pub fn key_len(&self) -> u64 {
        self.key_len
    }

    /// How long an entry lives that nobody uses; zero is for ever.
    pub fn expire(&self) -> Duration {
        Duration::from_millis(self.expire)
    }

    /// What it stores, in the order it is written.
    pub fn data(&self) -> impl Iterator<Item = DataType> + '_ {
        (0..64).filter_map(DataType::by_number).filter(|data| self.holds(*data))
    }

    /// What it stores, as bits.
    pub fn bits(&self) -> u64 {
        self.bits
    }

    /// Whether it stores that.
    pub fn holds(&self, data: DataType) -> bool {
        self.bits & data.bit() != 0
    }

    /// The period of a rate.
    pub fn period(&self, data: DataType) -> Option<Duration> {
        let rate = matches!(data.kind(), DataKind::Rate | DataKind::Rates);
        self.parameters.get(&data).filter(|_| rate).map(|p| Duration::from_millis(p.period))
    }

    /// How many elements an array has; none are in one nobody gave a length.
    pub fn count(&self, data: DataType) -> u64 {
        self.parameters.get(&data).map_or(0, |p| p.count)
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.id);
        put_bytes(out, self.name.as_bytes());
        for value in [self.key_type.code(), self.key_len, self.bits, self.expire] {
            put_varint(out, value);
        }
        for (data, parameter) in &self.parameters {
            put_varint(out, u64::from(data.0));
            match data.kind() {
                DataKind::Rate => put_varint(out, parameter.period),
                DataKind::Numbers => put_varint(out, parameter.count),
                DataKind::Rates => {
                    put_varint(out, parameter.count);
                    put_varint(out, parameter.period);
                }
                DataKind::Number | DataKind::Name => {}
            }
        }
        out.extend_from_slice(&self.newer);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PeersFault> {
        let id = reader.varint()?;
        let name = String::from_utf8(reader.bytes()?.to_vec()).map_err(|_| PeersFault::TableName)?;
        let key_type = KeyType::from_code(reader.varint()?);
        let (key_len, bits, expire) = (reader.varint()?, reader.varint()?, reader.varint()?);
        let mut parameters = BTreeMap::new();
        let mut newer = Vec::new();
        while !reader.is_empty() {
            let before = reader.clone();
            let data = DataType::by_number(reader.varint()?);
            let mut parameter = Parameter::default();
            match data.map(DataType::kind) {
                Some(DataKind::Rate) => parameter.period = reader.varint()?,
                Some(DataKind::Numbers) => parameter.count = reader.varint()?,
                Some(DataKind::Rates) => (parameter.count, parameter.period) = (reader.varint()?, reader.varint()?),
                // How long this one is nobody can tell.
                Some(DataKind::Number | DataKind::Name) | None => {
                    *reader = before;
                    newer = reader.rest().to_vec();
                    break;
                }
            }
            if parameter.count > MAX_ARRAY {
                return Err(PeersFault::Array(parameter.count));
            }
            parameters.extend(data.map(|data| (data, parameter)));
        }
        Ok(Self { id, name, key_type, key_len, bits, expire, parameters, newer })
    }
}
