//! The difference of two texts, as `diff -u` shows it.

/// Lines around a change.
const CONTEXT: usize = 3;
/// The most changed lines that are looked for one by one; beyond, all between the first and the last is one change.
const MAX_CHANGES: usize = 2000;

/// A line of both, or of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Both,
    Old,
    New,
}

/// The unified difference; nothing where the texts are equal. `show` says how a line is shown.
pub(crate) fn unified(names: [&str; 2], old: &str, new: &str, show: impl Fn(&str) -> String) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let steps = steps(&old, &new);
    let mut out = String::new();
    let (mut at, mut places) = (0, [0, 0]);
    while let Some(change) = steps[at..].iter().position(|step| *step != Step::Both).map(|ahead| at + ahead) {
        // A hunk goes on while the next change is near.
        let start = change.saturating_sub(CONTEXT).max(at);
        let mut end = change;
        while let Some(next) = steps[end..].iter().take(2 * CONTEXT + 1).position(|step| *step != Step::Both) {
            end += next + 1;
        }
        let end = (end + CONTEXT).min(steps.len());
        places = places.map(|place| place + start - at);
        let hunk = &steps[start..end];
        let count = |skip: Step| hunk.iter().filter(|step| **step != skip).count();
        let range = |from: usize, count: usize| format!("{},{count}", if count == 0 { from } else { from + 1 });
        let heads = [range(places[0], count(Step::New)), range(places[1], count(Step::Old))];
        if out.is_empty() {
            out.push_str(&format!("--- {}\n+++ {}\n", names[0], names[1]));
        }
        out.push_str(&format!("@@ -{} +{} @@\n", heads[0], heads[1]));
        for step in hunk {
            let (sign, line) = match step {
                Step::Both => (' ', old[places[0]]),
                Step::Old => ('-', old[places[0]]),
                Step::New => ('+', new[places[1]]),
            };
            places[0] += usize::from(*step != Step::New);
            places[1] += usize::from(*step != Step::Old);
            out.push_str(&format!("{sign}{}\n", show(line.trim_end_matches(['\n', '\r']))));
            if !line.ends_with('\n') {
                out.push_str("\\ No newline at end of file\n");
            }
        }
        at = end;
    }
    out
}

/// The shortest way from one to the other, line by line.
fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let front = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[front..], &new[front..]);
    let back = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[..a.len() - back], &b[..b.len() - back]);
    let middle = shortest(a, b).unwrap_or_else(|| {
        let gone = std::iter::repeat_n(Step::Old, a.len());
        gone.chain(std::iter::repeat_n(Step::New, b.len())).collect()
    });
    let same = |count| std::iter::repeat_n(Step::Both, count);
    same(front).chain(middle).chain(same(back)).collect()
}

/// Greedily: `far[d][k]` is how many lines of `a` are behind after `d` changes on diagonal `k` (lines of `a` minus lines
/// of `b`). Nothing if too much is changed.
fn shortest(a: &[&str], b: &[&str]) -> Option<Vec<Step>> {
    let most = (a.len() + b.len()).min(MAX_CHANGES);
    let middle = most + 1;
    let mut far = vec![0_usize; 2 * most + 3];
    let mut before: Vec<Vec<usize>> = Vec::new();
    for d in 0..=most {
        before.push(far[middle - d.min(middle)..=(middle + d).min(2 * most + 2)].to_vec());
        for k in (0..=d).map(|n| middle + 2 * n - d) {
            let down = k == middle - d || (k != middle + d && far[k - 1] < far[k + 1]);
            let mut x = if down { far[k + 1] } else { far[k - 1] + 1 };
            // The diagonal: how much further `a` is than `b`.
            let Some(mut y) = (x + middle).checked_sub(k) else { continue };
            while x < a.len() && y < b.len() && a[x] == b[y] {
                (x, y) = (x + 1, y + 1);
            }
            far[k] = x;
            if x >= a.len() && y >= b.len() {
                return Some(walk_back(a.len(), b.len(), &before));
            }
        }
    }
    None
}

/// The way that led to the end.
fn walk_back(mut x: usize, mut y: usize, before: &[Vec<usize>]) -> Vec<Step> {
    let mut way = Vec::new();
    for (d, far) in before.iter().enumerate().rev() {
        if d == 0 {
            way.extend(std::iter::repeat_n(Step::Both, x));
            break;
        }
        // `far` begins at diagonal -d.
        let k = x + d - y;
        let of = |at: usize| far.get(at).copied().unwrap_or(0);
        let down = k == 0 || (k != 2 * d && of(k - 1) < of(k + 1));
        let from_x = if down { of(k + 1) } else { of(k - 1) };
        let from_y = if down { (from_x + d).saturating_sub(k + 1) } else { (from_x + d + 1).saturating_sub(k) };
        let (step, start_x) = if down { (Step::New, from_x) } else { (Step::Old, from_x + 1) };
        way.extend(std::iter::repeat_n(Step::Both, x.saturating_sub(start_x)));
        way.push(step);
        (x, y) = (from_x, from_y);
    }
    way.reverse();
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(old: &str, new: &str) -> String {
        unified(["a", "b"], old, new, str::to_owned)
    }

    #[test]
    fn shows_changes_with_their_surroundings() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n";
        let new = "1\n2\nx\n4\n5\n6\n7\n8\n9\n10\n12\n13\n";
        let want =
            "--- a\n+++ b\n@@ -1,6 +1,6 @@\n 1\n 2\n-3\n+x\n 4\n 5\n 6\n@@ -8,5 +8,5 @@\n 8\n 9\n 10\n-11\n 12\n+13\n";
        assert_eq!(diff(old, new), want);
        assert_eq!(diff(old, old), "");
        assert_eq!(diff("", "a\n"), "--- a\n+++ b\n@@ -0,0 +1,1 @@\n+a\n");
        assert_eq!(diff("a", "a\n"), "--- a\n+++ b\n@@ -1,1 +1,1 @@\n-a\n\\ No newline at end of file\n+a\n");
    }

    #[test]
    fn every_way_leads_there() {
        let mut seed = 7_u32;
        let mut random = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) % below
        };
        for _ in 0..500 {
            let mut text =
                |most: u32| (0..random(most)).map(|_| ["a", "b", "c"][random(3) as usize]).collect::<Vec<_>>();
            let (old, new) = (text(12), text(12));
            let (mut rest, mut made) = (old.iter(), Vec::new());
            let mut fresh = new.iter().copied();
            for step in steps(&old, &new) {
                match step {
                    Step::Both => {
                        let line = *rest.next().unwrap();
                        assert_eq!(fresh.next(), Some(line));
                        made.push(line);
                    }
                    Step::Old => assert!(rest.next().is_some()),
                    Step::New => made.extend(fresh.next()),
                }
            }
            assert!(rest.next().is_none() && made == new, "{old:?} {new:?}");
        }
    }

    #[test]
    fn big_changes_are_one() {
        let old: String = (0..5000).map(|n| format!("{n}\n")).collect();
        let new: String = (0..5000).map(|n| format!("x{n}\n")).collect();
        assert_eq!(diff(&old, &new).matches("@@ -").count(), 1);
    }
}
