//! "Did you mean": the known word nearest to a mistyped one.

/// The candidate with the fewest edits (insert, remove, replace, swap), if that is few for its length.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if word.len() > 64 {
        return None;
    }
    let scored = candidates.into_iter().map(|candidate| (edits(word, candidate), candidate));
    let best = scored.min_by_key(|(edits, _)| *edits)?;
    (best.0 <= 1 + word.chars().count() / 5).then_some(best.1)
}

fn edits(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut cost = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(before[j - 2] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_else() {
        let known = ["redis_url", "redis_pool", "port", "bind"];
        assert_eq!(nearest("redis_ur", known), Some("redis_url"));
        assert_eq!(nearest("reids_url", known), Some("redis_url"));
        assert_eq!(nearest("PROT", known), Some("port"));
        assert_eq!(nearest("database", known), None);
        assert_eq!(nearest("", ["abc"]), None);
        assert_eq!(edits("", "abc"), 3);
    }
}
