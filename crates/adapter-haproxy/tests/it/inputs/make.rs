//! Inputs: recorded ones, mangled, and noise.

use std::path::Path;

use crate::dice::Dice;
use crate::vectors::{edumeet, list};

/// Bits that mean something somewhere.
const BITS: &[&str] = &[
    "%",
    "%00",
    "%2",
    "%zz",
    "%E9",
    "%C3%A9",
    "+",
    "&",
    ";",
    "?",
    "#",
    "=",
    "==",
    "/",
    "//",
    "\"",
    "'",
    "\\",
    "\0",
    "\u{e9}",
    "\u{1f600}",
    "\u{feff}",
    " ",
    "\t",
    "\n",
    "\r\n",
    "roomId=",
    "room=",
    "state=",
    "eyJyb29tSWQiOiJhIn0",
    "{\"roomId\":",
    "[[[[[[",
    "{\"a\":{\"a\":{\"a\":",
    "\\u0000",
    "\\ud800",
    "-1",
    "0",
    "99999999999999999999",
    "2147483648",
    "http://h",
    "*",
    "..",
    "tenantFqdn=",
    "${X}",
    "$",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    "if",
    "unless",
    "||",
    "!",
    "--",
    "server ",
    "bind ",
    "frontend ",
    "backend b\n",
    "listen",
    "peers",
    "stick",
    "table",
    "# ",
    "if TRUE",
    ":443",
    "::1",
    "id 1",
    "ssl crt ",
    "size 1m",
];

/// Converters and fetches as they are written, and nearly so.
pub(super) const CALLS: &[&str] = &[
    "lower",
    "upper",
    "url_dec",
    "url_dec(1)",
    "b64dec",
    "ub64dec",
    "base64",
    "hex",
    "length",
    "bytes(1,2)",
    "bytes(-1)",
    "bytes(4294967295,4294967295)",
    "field(8,'\\\"')",
    "field(-1,/,2)",
    "field(2,/,0)",
    "field(-2147483648,:,2147483647)",
    "word(2,/)",
    "word(-9,\" /\",3)",
    "sdbm",
    "djb2(1)",
    "crc32",
    "wt6(1)",
    "xxh32(4294967295)",
    "url_param(room)",
    "req.hdr(x,-1)",
    "path",
    "src",
    "str(x)",
    "int(-9223372036854775808)",
    "json_query('$.a')",
    "nonsense",
    "field(",
    "word())",
];

pub(super) const LINES: &[&str] = &[
    "balance ",
    "hash-type ",
    "stick on ",
    "stick match ",
    "stick store-request ",
    "stick-table type ",
    "use-server s1 if ",
    "cookie ",
    "hash-balance-factor ",
    "force-persist if ",
    "option ",
    "no option ",
    "fullconn ",
];

/// What is mangled.
pub(super) struct Corpus {
    pub(super) targets: Vec<Vec<u8>>,
    pub(super) configs: Vec<Vec<u8>>,
    pub(super) logs: Vec<Vec<u8>>,
}

impl Corpus {
    pub(super) fn read() -> Self {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let mut corpus = Self { targets: vec![b"/".to_vec()], configs: vec![Vec::new()], logs: vec![Vec::new()] };
        for file in ["urls.json", "state.json"] {
            let file = edumeet(file);
            corpus.targets.extend(list(&file, "vectors").iter().map(|v| v["target"].as_str().unwrap().into()));
        }
        for entry in std::fs::read_dir(golden).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            match path.extension().and_then(|end| end.to_str()) {
                Some("cfg" | "cured") => corpus.configs.push(bytes),
                _ => corpus.logs.push(bytes),
            }
        }
        corpus
    }
}

/// Bytes of any kind.
pub(super) fn noise(dice: &mut Dice, most: usize) -> Vec<u8> {
    (0..dice.roll(most + 1)).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect()
}

/// Something like one of these: cut, joined, with bits put in and bytes changed.
pub(super) fn mangled(dice: &mut Dice, of: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = of[dice.roll(of.len())].clone();
    for _ in 0..dice.roll(6) {
        let at = dice.roll(bytes.len() + 1);
        match dice.roll(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(..at)),
            2 => {
                let more = noise(dice, 9);
                bytes.splice(at..at, more);
            }
            3 if at < bytes.len() => bytes[at] = u8::try_from(dice.roll(256)).unwrap(),
            4 => {
                let other = &of[dice.roll(of.len())];
                bytes.extend_from_slice(&other[..dice.roll(other.len() + 1)]);
            }
            _ => {
                let bit = dice.one(BITS).as_bytes();
                bytes.splice(at..at, bit.iter().copied().cycle().take(bit.len() * (1 + dice.roll(4))));
            }
        }
    }
    bytes
}

/// One bit until it is this long.
pub(super) fn huge(dice: &mut Dice, length: usize) -> Vec<u8> {
    let bit = dice.one(BITS).as_bytes();
    bit.iter().copied().cycle().take(length).collect()
}
