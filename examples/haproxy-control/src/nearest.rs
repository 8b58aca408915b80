//! "Did you mean": the known word nearest to a mistyped one.

/// `; did you mean "x"?`, or nothing where no known word is near.
pub(crate) fn did_you_mean<'c>(word: &str, known: impl IntoIterator<Item = &'c str>) -> String {
    let Some(length) = Some(word.chars().count()).filter(|length| *length <= 64) else { return String::new() };
    let scored = known.into_iter().take(10_000).filter(|other| other.len() <= 256);
    let best = scored.map(|other| (edits(word, other), other)).min_by_key(|(edits, _)| *edits);
    match best {
        Some((edits, other)) if edits <= 1 + length / 4 => format!("; did you mean {other:?}?"),
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
    }
}
