//! Rules rewritten for keys: whatever part of a request they read, the key stands for it.
//!
//! A key travels as the query of a request, whose bytes no rule cuts or trims; an address as its source.

use std::path::Path;

use adapter_haproxy::ConfigFile;

use crate::files;
use console::Failure;

use super::section::shared_table;
use super::{Line, Model, Subject};

/// The largest map file, in bytes.
const MAX_MAP_LEN: usize = 64 * 1024 * 1024;
/// Converters whose result is text or bytes.
const TEXTUAL: [&str; 22] = [
    "lower",
    "upper",
    "url_dec",
    "url_enc",
    "b64dec",
    "ub64dec",
    "base64",
    "ub64enc",
    "field",
    "word",
    "regsub",
    "concat",
    "json_query",
    "json",
    "bytes",
    "ltrim",
    "rtrim",
    "hex",
    "host_only",
    "add_item",
    "map",
    "map_str",
];
/// Sample fetches whose value is text.
const TEXT: [&str; 19] = [
    "var",
    "url_param",
    "urlp",
    "path",
    "pathq",
    "base",
    "query",
    "url",
    "method",
    "hdr",
    "req.hdr",
    "req.fhdr",
    "cook",
    "req.cook",
    "str",
    "req.body_param",
    "req.body",
    "ssl_fc_sni",
    "req.ssl_sni",
];

impl Model {
    /// Rewrites the rules; what they no longer see is noted.
    pub(super) fn take_keys(&mut self, files: &[ConfigFile]) -> Result<(), Failure> {
        let mut subject = None;
        let lines = std::mem::take(&mut self.lines);
        // The last `balance` counts, and the others would only confuse.
        let last = lines.iter().rposition(|line| line.words[0] == "balance");
        for (at, line) in lines.iter().enumerate() {
            if line.words[0] != "balance" {
                continue;
            }
            if Some(at) == last {
                subject = self.take_balance(line)?;
            }
        }
        self.by_key = subject.is_some();
        if !self.by_key {
            let how = last.map_or("the default", |at| &*lines[at].words[1]);
            self.notes.push(format!(
                "{how} looks at no key: answers hold for these keys in this order, each answered before the next"
            ));
        }
        let mut own_table = lines.iter().any(|line| line.words[0] == "stick-table");
        for line in lines {
            match &*line.words[0] {
                "balance" | "cookie" => {}
                "stick" => self.take_stick(&line, &mut subject, &mut own_table, files)?,
                "use-server" => self.take_use_server(line),
                "force-persist" | "ignore-persist" => self.leave_out(&line, "it looks at more than the key"),
                "hash-balance-factor" => {
                    if self.by_key && line.words.get(1).is_some_and(|factor| factor != "0") {
                        self.notes.push(format!("{}: under load rooms move on; this is without load", line.place));
                    }
                    self.lines.push(line);
                }
                _ => self.lines.push(line),
            }
        }
        if !self.lines.iter().any(|line| line.words[0] == "stick") {
            self.lines.retain(|line| line.words[0] != "stick-table");
        }
        self.subject = subject.unwrap_or(Subject::Text { ends: None });
        Ok(())
    }

    fn leave_out(&mut self, line: &Line, why: &str) {
        self.notes.push(format!("{}: {} is left out: {why}", line.place, line.words[0]));
    }

    fn put(&mut self, place: &str, text: String) {
        let words = text.split(' ').map(str::to_owned).collect();
        self.lines.push(Line { place: place.to_owned(), text, words });
    }

    /// The `balance` line; what its key is, if it has one.
    fn take_balance(&mut self, line: &Line) -> Result<Option<Subject>, Failure> {
        let by_query = || "balance hash query".to_owned();
        let (text, subject) = match line.words.get(1).map(String::as_str).unwrap_or_default() {
            "source" => (line.text.clone(), Some(Subject::Address)),
            "url_param" => (by_query(), Some(Subject::Text { ends: Some(b"&#") })),
            "uri" => (by_query(), Some(Subject::Text { ends: Some(b"#") })),
            word if word.starts_with("hdr(") => (by_query(), Some(Subject::Text { ends: None })),
            "hash" => match line.words.get(2).map(|expression| subject_of(expression)) {
                Some(Some(Subject::Address)) => (line.text.clone(), Some(Subject::Address)),
                Some(Some(subject)) => (by_query(), Some(subject)),
                _ => {
                    let what = format!("{}: what this hashes is no text, so a line cannot say it", line.place);
                    return Err(Failure::failed(what).hint("predict --requests takes whole requests"));
                }
            },
            _ => (line.text.clone(), None),
        };
        self.put(&line.place, text);
        Ok(subject)
    }

    fn take_stick(
        &mut self,
        line: &Line,
        subject: &mut Option<Subject>,
        own_table: &mut bool,
        files: &[ConfigFile],
    ) -> Result<(), Failure> {
        let (kind, expression) = (line.words.get(1).cloned().unwrap_or_default(), line.words.get(2).cloned());
        if !matches!(&*kind, "on" | "match" | "store-request") {
            self.leave_out(line, "it looks at answers");
            return Ok(());
        }
        let own = expression.as_deref().and_then(subject_of);
        let fits = match (own, *subject) {
            (Some(own), Some(known)) => (own == Subject::Address) == (known == Subject::Address),
            (Some(own), None) => {
                *subject = Some(own);
                true
            }
            (None, _) => false,
        };
        if !fits {
            self.leave_out(line, "its key is another one");
            return Ok(());
        }
        let table = line.words.iter().position(|word| word == "table").and_then(|at| line.words.get(at + 1));
        if let Some(table) = table
            && !*own_table
        {
            let Some(text) = shared_table(files, table) else {
                return Err(Failure::failed(format!("{}: table {table} is not there", line.place)));
            };
            *own_table = true;
            self.put(&line.place, text);
        }
        let what = if own == Some(Subject::Address) { "src" } else { "query" };
        self.put(&line.place, format!("stick {kind} {what}"));
        Ok(())
    }

    fn take_use_server(&mut self, line: Line) {
        if line.words.len() == 2 && !line.words[1].starts_with("%[") {
            self.lines.push(line);
            return;
        }
        // As `render` writes it: %[var(txn.room),url_enc,map(/etc/haproxy/pins.map)]
        let file = line.words.get(1).and_then(|word| word.split_once(",url_enc,map(")?.1.split_once(')'));
        let Some((file, "]")) = file else {
            self.leave_out(&line, "it looks at more than the key");
            return;
        };
        match files::read(Path::new(file), MAX_MAP_LEN) {
            Ok(bytes) => {
                for pin in String::from_utf8_lossy(&bytes).lines().filter(|pin| !pin.starts_with('#')) {
                    if let Some((room, server)) = pin.trim().split_once([' ', '\t']) {
                        self.pins.entry(room.to_owned()).or_insert_with(|| server.trim().to_owned());
                    }
                }
            }
            Err(_) => self.leave_out(&line, &format!("the pins in {file} cannot be read here")),
        }
    }
}

/// What an expression's value is; nothing where it is neither text nor an address, or unknown.
fn subject_of(expression: &str) -> Option<Subject> {
    if expression == "src" {
        return Some(Subject::Address);
    }
    let mut calls = calls(expression);
    let fetch = calls.next()?;
    let known = TEXT.contains(&fetch) && calls.all(|converter| TEXTUAL.contains(&converter));
    known.then_some(Subject::Text { ends: None })
}

/// The names in `fetch(args),converter(args),…`.
fn calls(expression: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let mut quoted = false;
    expression
        .split(move |c| {
            match c {
                '"' | '\'' if depth > 0 => quoted = !quoted,
                '(' if !quoted => depth += 1,
                ')' if !quoted => depth = depth.saturating_sub(1),
                ',' => return depth == 0,
                _ => {}
            }
            false
        })
        .map(|call| call.split_once('(').map_or(call, |(name, _)| name))
}

/// Percent-encodes as browsers do: `encodeURIComponent` for a parameter, `encodeURI` for more than that.
pub(super) fn encode(key: &[u8], ends: &[u8]) -> Vec<u8> {
    let kept: &[u8] = if ends.contains(&b'&') { b"-_.!~*'()" } else { b"-_.!~*'();/?:@&=+$," };
    let mut out = Vec::with_capacity(key.len());
    for byte in key {
        if byte.is_ascii_alphanumeric() || kept.contains(byte) {
            out.push(*byte);
        } else {
            out.extend(format!("%{byte:02X}").bytes());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expressions_give() {
        let text = Some(Subject::Text { ends: None });
        for (expression, want) in [
            ("src", Some(Subject::Address)),
            ("var(txn.room)", text),
            ("url_param(state),url_dec,regsub(\"a,b\",\"(\",g),lower", text),
            ("hdr(x-room),field(1,:)", text),
            ("src,ipmask(24)", None),
            ("url_param(a),crc32", None),
            ("hdr_ip(x)", None),
            ("", None),
        ] {
            assert_eq!(subject_of(expression), want, "{expression}");
        }
    }

    #[test]
    fn encodes_as_browsers_do() {
        assert_eq!(encode("a b&ä/(1)".as_bytes(), b"&#"), b"a%20b%26%C3%A4%2F(1)");
        assert_eq!(encode("/a b?c=d".as_bytes(), b"#"), b"/a%20b?c=d");
    }
}
