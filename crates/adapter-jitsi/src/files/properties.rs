//! Java properties and shell assignments.

use super::{FileDefect, MAX_SETTINGS, Setting};

type Outcome = Result<Vec<Setting>, (usize, FileDefect)>;

/// One property a line, and several on one line; values that are commented out are kept as old ones.
pub(super) fn read(text: &str) -> Outcome {
    let mut all = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let line = line.trim_start();
        let (old, body) = match line.strip_prefix(['#', '!']) {
            Some(comment) => (true, comment.trim_start_matches(['#', '!', ' ', '\t'])),
            None => (false, line),
        };
        let mut body = body.to_owned();
        // A backslash at the end joins the next line, not in comments.
        while !old && (body.len() - body.trim_end_matches('\\').len()) % 2 == 1 {
            body.pop();
            let Some((_, next)) = lines.next() else { break };
            body.push_str(next.trim_start());
        }
        let mut rest = body.as_str();
        let mut crowded = false;
        while let Some((key, value)) = assignment(rest, old) {
            let cut = next_property(value);
            let (value, behind) = cut.map_or((value, ""), |cut| value.split_at(cut));
            if all.len() >= MAX_SETTINGS {
                return Err((at + 1, FileDefect::TooMany));
            }
            all.push(Setting { old, crowded, ..Setting::new(unescaped(key), unescaped(value.trim_end()), at + 1) });
            crowded = true;
            rest = behind.trim_start();
        }
    }
    Ok(all)
}

/// A name and what follows; in a comment only what surely is a property.
fn assignment(text: &str, comment: bool) -> Option<(&str, &str)> {
    let end = text.find(['=', ':', ' ', '\t'])?;
    let key = &text[..end];
    let behind = text[end..].trim_start();
    let value = match behind.strip_prefix(['=', ':']) {
        Some(value) => value.trim_start(),
        None if comment => return None,
        None => behind,
    };
    (!key.is_empty() && (!comment || dotted(key))).then_some((key, value))
}

/// Where another property begins within a value: a blank, a dotted name, an equals sign.
fn next_property(value: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + value.get(from..)?.find([' ', '\t'])?;
        let word = value[at..].trim_start_matches([' ', '\t']);
        if let Some((key, _)) = word.split_once('=')
            && dotted(key)
        {
            return Some(at);
        }
        from = at + 1;
    }
}

fn dotted(key: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    key.contains('.') && key.chars().all(sound) && key.starts_with(|c: char| c.is_ascii_alphabetic())
}

fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('u') => {
                let digits = chars.as_str().get(..4);
                let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32);
                match code {
                    Some(c) => {
                        out.push(c);
                        chars.nth(3);
                    }
                    None => out.push('u'),
                }
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

/// `NAME=value`, perhaps exported, perhaps in quotes.
pub(super) fn read_shell(text: &str) -> Outcome {
    let mut all = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let (old, body) = match line.strip_prefix('#') {
            Some(comment) => (true, comment.trim_start_matches(['#', ' ', '\t'])),
            None => (false, line),
        };
        let body = body.strip_prefix("export ").map_or(body, str::trim_start);
        let Some((key, value)) = body.split_once('=') else { continue };
        let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if key.is_empty() || !key.chars().all(name) || key.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        if all.len() >= MAX_SETTINGS {
            return Err((at + 1, FileDefect::TooMany));
        }
        all.push(Setting { old, ..Setting::new(key, shell_word(value), at + 1) });
    }
    Ok(all)
}

/// One word as a shell reads it: quotes and backslashes taken off, up to a blank. Nothing is expanded.
fn shell_word(text: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => out.extend(chars.next()),
            (None, c) if c.is_whitespace() || c == ';' => break,
            (_, c) => out.push(c),
        }
    }
    out
}
