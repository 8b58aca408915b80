//! One line per comparison: our time, the peer's, the ratio, and the ratio that was aimed at.

use crate::clock::Pair;

pub(crate) fn title(text: &str) {
    println!("\n{text}");
    println!("{:<58} {:>10} {:>10} {:>8} {:>8}", "", "ours ns", "peer ns", "ratio", "aim");
}

/// Prints one comparison. `aim` is how many times faster we mean to be.
pub(crate) fn line(what: &str, pair: Pair, aim: f64) {
    let ratio = pair.peer / pair.ours;
    let verdict = if ratio >= aim { "" } else { "  short" };
    println!("{what:<58} {:>10.1} {:>10.1} {ratio:>7.1}x {aim:>7.1}x{verdict}", pair.ours, pair.peer);
}

/// Prints a figure that is compared with nothing.
pub(crate) fn figure(what: &str, value: f64, unit: &str) {
    println!("{what:<58} {value:>10.1} {unit}");
}
