//! Inputs: recorded ones, to be mangled.

use std::path::Path;

use crate::vectors::{edumeet, list};

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
