//! What of a configuration's text commands cannot bring into force.

use std::collections::BTreeMap;

/// Why this text has to be loaded anew, if these steps do not bring all of it into force.
pub(super) fn beyond_commands(before: &str, after: &str, steps: &[String]) -> Option<String> {
    let (before, after) = (Parts::of(before), Parts::of(after));
    if let Some(line) = after.others.iter().find(|line| !before.others.contains(line)) {
        return Some(format!("new: {}", line.1));
    }
    if let Some(line) = before.others.iter().find(|line| !after.others.contains(line)) {
        return Some(format!("gone: {}", line.1));
    }
    if before.others != after.others {
        return Some("other lines than servers come in another order".to_owned());
    }
    let told = |server: &str| steps.iter().any(|step| step.split(' ').any(|word| word == server));
    let hidden = after
        .servers
        .iter()
        .find(|(name, line)| before.servers.get(*name).is_some_and(|before| before != *line) && !told(name));
    hidden.map(|(name, _)| format!("settings of {name} that the runtime API cannot change"))
}

/// Lines by section.
struct Parts {
    others: Vec<(String, String)>,
    servers: BTreeMap<String, String>,
}

impl Parts {
    fn of(text: &str) -> Self {
        let (mut others, mut servers) = (Vec::new(), BTreeMap::new());
        let mut section = String::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(first) = words.first().filter(|first| !first.starts_with('#')) else { continue };
            if !line.starts_with([' ', '\t']) {
                section = words.get(1).map_or(*first, |name| *name).to_owned();
            }
            let line = words.join(" ");
            match (*first, words.get(1)) {
                ("server", Some(name)) if line.contains(" id ") => {
                    servers.insert(format!("{section}/{name}"), line);
                }
                _ => others.push((section.clone(), line)),
            }
        }
        Self { others, servers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str =
        "global\n  log x\nbackend rooms\n  # a\n  balance x\n  server a 1:80 id 1 check\n  server b 2:80 id 2\n";

    #[test]
    fn only_servers_change_without_a_reload() {
        let why = |from: &str, to: &str, steps: &[&str]| {
            let steps: Vec<String> = steps.iter().map(|step| (*step).to_owned()).collect();
            beyond_commands(OLD, &OLD.replace(from, to), &steps)
        };
        assert_eq!(why("# a", "# b", &[]), None);
        assert_eq!(why("  server b 2:80 id 2\n", "  server c 2:80 id 3\n", &[]), None);
        assert_eq!(why("balance x", "balance y", &[]).as_deref(), Some("new: balance y"));
        assert_eq!(why("  log x\n", "", &[]).as_deref(), Some("gone: log x"));
        let slower = why("id 1 check", "id 1 check inter 9s", &[]).unwrap();
        assert!(slower.contains("rooms/a"), "{slower}");
        assert_eq!(why("server a 1:80", "server a 1:81", &["set server rooms/a addr 1 port 81"]), None);
    }
}
