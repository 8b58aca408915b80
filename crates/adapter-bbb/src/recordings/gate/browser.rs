//! Browsers that take `SameSite=None` for its opposite, or throw such a cookie away.

/// Whether this browser must be sent the cookie without it.
pub(super) fn misreads_same_site_none(agent: &str) -> bool {
    let webkit = agent.contains("AppleWebKit/");
    let chromium = ["Chrome/", "Chromium/"].iter().find_map(|name| version(agent, name));
    // All browsers of iOS 12, and Safari and what is built into programs on macOS 10.14, share one bug.
    let ios_12 = agent.contains("(iP") && version(agent, "OS ").is_some_and(|v| v.0 == 12) && webkit;
    let mac_10_14 = agent.contains("Macintosh") && version(agent, "Mac OS X ").is_some_and(|v| (v.0, v.1) == (10, 14));
    if ios_12 || (mac_10_14 && webkit && chromium.is_none()) {
        return true;
    }
    if let Some(version) = version(agent, "UCBrowser/") {
        return version < (12, 13, 2);
    }
    chromium.is_some_and(|v| (51..=66).contains(&v.0))
}

/// The version behind a name, up to its third part; dots and underlines part it.
fn version(agent: &str, name: &str) -> Option<(u32, u32, u32)> {
    let (_, rest) = agent.split_once(name)?;
    let mut parts = rest.split(['.', '_']).map(|part| {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part.get(..end).and_then(|digits| digits.parse().ok()).unwrap_or(0)
    });
    let first = parts.next().filter(|n| *n > 0)?;
    Some((first, parts.next().unwrap_or(0), parts.next().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_browsers() {
        let old = [
            "Mozilla/5.0 (iPhone; CPU iPhone OS 12_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.0 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_6) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1 Safari/605.1.15",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/60.0.3112.78 Safari/537.36",
            "Mozilla/5.0 (Linux; U; Android 9; en) AppleWebKit/534.30 (KHTML, like Gecko) Version/4.0 UCBrowser/12.13.1.1 Mobile Safari/534.30",
        ];
        let new = [
            "",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 13_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.0 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Safari/605.1.15",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_6) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/90.0.4430.93 Safari/537.36",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Mozilla/5.0 (Linux; U; Android 9; en) AppleWebKit/534.30 (KHTML, like Gecko) Version/4.0 UCBrowser/12.13.2.1 Mobile Safari/534.30",
        ];
        assert!(old.iter().all(|agent| misreads_same_site_none(agent)));
        assert!(new.iter().all(|agent| !misreads_same_site_none(agent)));
    }
}
