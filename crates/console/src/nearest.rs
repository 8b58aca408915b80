//! "Did you mean": the known word nearest to a mistyped one.

/// `; did you mean "x"?`, or nothing where no known word is near.
pub fn did_you_mean<'c>(word: &str, known: impl IntoIterator<Item = &'c str>) -> String {
    let Some(length) = Some(word.chars().count()).filter(|length| *length <= 64) else { return String::new() };
    let scored = known.into_iter().take(10_000).filter(|other| other.len() <= 256);
    let best = scored.map(|other| (edits(word, other), other)).min_by_key(|(edits, _)| *edits);
    match best {
        Some((edits, other)) if edits <= 1 + length / 4 => format!("; did you mean {other:?}?"),
        _ => String::new(),
    }
}

/// The same for what serde says of a field or value it does not know: `unknown field `prot`, expected one of ...`.
pub fn meant_by_serde(why: &str) -> String {
    let mut words = why.split('`').skip(1).step_by(2);
    match words.next() {
        Some(word) if why.starts_with("unknown ") => did_you_mean(word, words),
        _ => String::new(),
    }
}

/// How many letters must be put in, taken out or replaced.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.to_lowercase().chars().enumerate() {
        let mut corner = at;
        row[0] = at + 1;
        for (column, other) in to.iter().enumerate() {
            let cost = (corner + usize::from(letter != *other)).min(row[column] + 1).min(row[column + 1] + 1);
            corner = std::mem::replace(&mut row[column + 1], cost);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_else() {
        let known = ["rooms", "pages"];
        assert_eq!(did_you_mean("room", known), "; did you mean \"rooms\"?");
        assert_eq!(did_you_mean("PAGSE", known), "; did you mean \"pages\"?");
        assert_eq!(did_you_mean("database", known), "");
        assert_eq!(did_you_mean("", [""; 0]), "");
        let why = "unknown field `prot`, expected one of `port`, `host`";
        assert_eq!(meant_by_serde(why), "; did you mean \"port\"?");
        assert_eq!(meant_by_serde("missing field `port`"), "");
    }
}
