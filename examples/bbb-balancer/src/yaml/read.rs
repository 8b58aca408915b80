//! The part of YAML that lists of servers are written in: block maps and lists, scalars, comments, and JSON.

use serde_json::{Map, Value};

/// Deepest nesting.
const MAX_DEPTH: usize = 8;
/// Most lines.
const MAX_LINES: usize = 100_000;

/// Reads one document.
///
/// # Errors
///
/// The line, and what is wrong with it.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with(['{', '[']) {
        return serde_json::from_str(text).map_err(|e| format!("line {}: {e}", e.line()));
    }
    let mut lines = Vec::new();
    for (at, whole) in text.lines().enumerate().take(MAX_LINES + 1) {
        if at == MAX_LINES {
            return Err(format!("it has more than {MAX_LINES} lines"));
        }
        let number = at + 1;
        let kept = without_comment(whole).trim_end();
        let rest = kept.trim_start_matches(' ');
        if rest.is_empty() || (rest == "---" && lines.is_empty()) {
            continue;
        }
        if rest.starts_with('\t') {
            return Err(format!("line {number}: is indented with a tab: use blanks"));
        }
        lines.push(Line { number, indent: kept.len() - rest.len(), text: rest });
    }
    let mut reader = Reader { lines, at: 0 };
    let Some(first) = reader.lines.first() else { return Ok(Value::Null) };
    let value = reader.node(first.indent, 0)?;
    match reader.lines.get(reader.at) {
        None => Ok(value),
        Some(left) => {
            Err(format!("line {}: does not belong to what stands before it: look at its indentation", left.number))
        }
    }
}

#[derive(Clone, Copy)]
struct Line<'t> {
    number: usize,
    indent: usize,
    text: &'t str,
}

struct Reader<'t> {
    lines: Vec<Line<'t>>,
    at: usize,
}

impl<'t> Reader<'t> {
    fn node(&mut self, indent: usize, depth: usize) -> Result<Value, String> {
        let Some(line) = self.lines.get(self.at).copied() else { return Ok(Value::Null) };
        if depth > MAX_DEPTH {
            return Err(format!("line {}: is nested too deep", line.number));
        }
        if item(line.text).is_some() {
            return self.list(indent, depth);
        }
        if entry(line.text).is_some() {
            return self.map(indent, depth);
        }
        self.at += 1;
        scalar(line.text).map_err(|why| format!("line {}: {why}", line.number))
    }

    /// The next line, if it has just this indentation.
    fn next(&self, indent: usize) -> Result<Option<Line<'t>>, String> {
        match self.lines.get(self.at).copied() {
            Some(line) if line.indent > indent => Err(format!("line {}: is indented too far", line.number)),
            Some(line) if line.indent == indent => Ok(Some(line)),
            _ => Ok(None),
        }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Result<Value, String> {
        let mut items = Vec::new();
        while let Some(line) = self.next(indent)? {
            let Some(rest) = item(line.text) else { break };
            if rest.is_empty() {
                self.at += 1;
                items.push(self.below(indent, depth)?);
                continue;
            }
            // What stands behind the dash begins a node of its own, as far in as it stands.
            let inner = indent + (line.text.len() - rest.len());
            self.lines[self.at] = Line { indent: inner, text: rest, ..line };
            items.push(self.node(inner, depth + 1)?);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, indent: usize, depth: usize) -> Result<Value, String> {
        let mut fields = Map::new();
        while let Some(line) = self.next(indent)? {
            let told = |why: &str| format!("line {}: {why}", line.number);
            let Some((name, rest)) = entry(line.text) else {
                if item(line.text).is_some() {
                    break;
                }
                return Err(told("is no `name: value`"));
            };
            let name = match scalar(name).map_err(|why| told(&why))? {
                Value::String(name) => name,
                other => other.to_string(),
            };
            self.at += 1;
            let value = if rest.is_empty() {
                // A list may stand as far in as the name it belongs to.
                match self.lines.get(self.at) {
                    Some(next) if next.indent == indent && item(next.text).is_some() => self.list(indent, depth + 1)?,
                    _ => self.below(indent, depth)?,
                }
            } else {
                scalar(rest).map_err(|why| told(&why))?
            };
            if fields.insert(name.clone(), value).is_some() {
                return Err(told(&format!("names {:?} a second time", console::printable(&name))));
            }
        }
        Ok(Value::Object(fields))
    }

    /// What stands further in than this, if anything does.
    fn below(&mut self, indent: usize, depth: usize) -> Result<Value, String> {
        match self.lines.get(self.at).map(|line| line.indent) {
            Some(inner) if inner > indent => self.node(inner, depth + 1),
            _ => Ok(Value::Null),
        }
    }
}

/// What stands behind the dash of a list's item.
fn item(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('-')?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix(' ').map(str::trim_start) }
}

/// Name and value of a map's entry; the value is empty when it stands below.
fn entry(text: &str) -> Option<(&str, &str)> {
    let end = match text.as_bytes().first()? {
        quote @ (b'"' | b'\'') => 1 + closing(&text[1..], char::from(*quote))? + 1,
        _ => text
            .match_indices(':')
            .map(|(at, _)| at)
            .find(|at| matches!(text.as_bytes().get(at + 1), None | Some(b' ')))?,
    };
    let rest = text[end..].trim_start().strip_prefix(':')?;
    (rest.is_empty() || rest.starts_with(' ')).then(|| (text[..end].trim_end(), rest.trim()))
}

/// Where the quote ends that began before this text.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && quote == '"' {
            chars.next();
        } else if c == quote {
            if quote == '\'' && chars.peek().is_some_and(|(_, next)| *next == '\'') {
                chars.next();
                continue;
            }
            return Some(at);
        }
    }
    None
}

/// The line without the comment at its end.
fn without_comment(line: &str) -> &str {
    let (mut quote, mut before) = (None, ' ');
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            // Quotes count where a scalar begins.
            None if matches!(c, '"' | '\'') && matches!(before, ' ' | '{' | '[' | ',') => quote = Some(c),
            None if c == '#' && matches!(before, ' ' | '\t') => return &line[..at],
            None => {}
        }
        before = c;
    }
    line
}

fn scalar(text: &str) -> Result<Value, String> {
    let first = text.chars().next().unwrap_or(' ');
    match first {
        '"' => {
            return serde_json::from_str::<String>(text)
                .map(Value::String)
                .map_err(|_| "has a text in double quotes that cannot be read".to_owned());
        }
        '\'' => {
            let inner = &text[1..];
            return match closing(inner, '\'') {
                Some(end) if end + 1 == inner.len() => Ok(inner[..end].replace("''", "'").into()),
                _ => Err("has a text in quotes that cannot be read".to_owned()),
            };
        }
        '{' | '[' => {
            return serde_json::from_str(text)
                .map_err(|_| "has a value in brackets that is not JSON: write it over several lines".to_owned());
        }
        '&' | '*' | '!' | '|' | '>' | '%' | '@' | '`' => {
            return Err(format!("begins a value with `{first}`, which is not read here: put it in quotes"));
        }
        _ => {}
    }
    Ok(match text {
        "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        // Words and hex numbers stay texts: a secret of digits with an `e` in it is no number.
        _ if text.len() < 16 && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+')) => {
            match serde_json::from_str::<serde_json::Number>(text) {
                Ok(number) => Value::Number(number),
                Err(_) => text.into(),
            }
        }
        _ => text.into(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::read;
    use crate::yaml::document;

    #[test]
    fn what_is_written_is_read_again() {
        for value in [
            json!({"a.b": {"url": "https://a/api", "on": true, "load": -1.0, "tag": null}, "x": ["y", {"z": 1}]}),
            json!({"s1": {"secret": "yes", "1": "007", "hash": "a # b", "quote": "it's \"so\"", "colon": "a: b"}}),
            json!({"list": ["x", {"y": [], "z": [1, [2]]}], "no": "yes", "empty": {}}),
        ] {
            let text = document(&value);
            assert_eq!(read(&text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_people_write() {
        let text = "---\n# all of them\nservers:\n- url: https://a/api # the first\n  secret: 'it''s'\n\n- url: \"b\"\n  \
                    secret: 1e5\n  tag: ~\nbbb2.example.com:\n    enabled: FALSE\n    load_multiplier: 2.5\n";
        let want = json!({"servers": [{"url": "https://a/api", "secret": "it's"},
            {"url": "b", "secret": "1e5", "tag": null}],
            "bbb2.example.com": {"enabled": false, "load_multiplier": 2.5}});
        assert_eq!(read(text), Ok(want));
        assert_eq!(read(""), Ok(json!(null)));
        assert_eq!(read("{\"a\": [1]}"), Ok(json!({"a": [1]})));
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line) in [
            ("a:\n\tb: 1", "line 2"),
            ("a: 1\n  b: 2", "line 2"),
            ("a: 1\na: 2", "line 2"),
            ("a: &x 1", "line 1"),
            ("a: \"x", "line 1"),
            ("a: {b: c}", "line 1"),
            ("a: 1\nb", "line 2"),
            ("a: 1\n- b", "line 2"),
            ("{\n x", "line 2"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.starts_with(line), "{text:?}: {why}");
        }
        let deep = "- ".repeat(50) + "x";
        assert!(read(&deep).unwrap_err().contains("too deep"));
    }
}
