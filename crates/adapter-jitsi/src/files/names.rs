//! Names that are nearly the same.

/// One letter more, less, changed, or two exchanged; digits are never a slip, since they number things.
pub(super) fn near(a: &str, b: &str) -> bool {
    if a == b || a.len().min(b.len()) < 3 {
        return false;
    }
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let front = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[front..], &b[front..]);
    let back = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[..a.len() - back], &b[..b.len() - back]);
    if a.iter().chain(b).any(u8::is_ascii_digit) {
        return false;
    }
    match (a.len(), b.len()) {
        (0 | 1, 0 | 1) => true,
        (2, 2) => a[0] == b[1] && a[1] == b[0],
        _ => false,
    }
}

/// Whether two host names are the same but for one slip in one label; what one has more at its front does not count.
pub(super) fn near_hosts(a: &str, b: &str) -> bool {
    let labels = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    let (a, b) = (labels(a), labels(b));
    let (a, b): (Vec<&str>, Vec<&str>) = (a.rsplit('.').collect(), b.rsplit('.').collect());
    if a.len().min(b.len()) < 2 {
        return false;
    }
    let mut slips = 0;
    for (x, y) in a.iter().zip(&b) {
        if x != y {
            if !near(x, y) {
                return false;
            }
            slips += 1;
        }
    }
    slips == 1
}
