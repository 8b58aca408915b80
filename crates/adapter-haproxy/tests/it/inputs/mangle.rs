//! Something like what was recorded, and noise.

use crate::dice::Dice;

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

/// Bytes of any kind.
pub(crate) fn noise(dice: &mut Dice, most: usize) -> Vec<u8> {
    (0..dice.roll(most + 1)).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect()
}

/// Something like one of these: cut, joined, with bits put in and bytes changed.
pub(crate) fn mangled(dice: &mut Dice, of: &[Vec<u8>]) -> Vec<u8> {
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
pub(crate) fn huge(dice: &mut Dice, length: usize) -> Vec<u8> {
    let bit = dice.one(BITS).as_bytes();
    bit.iter().copied().cycle().take(length).collect()
}
