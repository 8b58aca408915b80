//! As much of Prosody's configuration as says where it listens and whom it serves: plain assignments outside of any
//! block of code, `VirtualHost`, `Component`, `Include`. Nothing is run: what is computed stays unknown.

use super::{FileDefect, MAX_SETTINGS, Setting};

type Fault = (usize, FileDefect);

/// How many words and signs of a file are read.
const MAX_TOKENS: usize = 200_000;
/// The setting that says that more than this file counts, or that a program decides.
pub(super) const MORE: &str = "Include";

#[derive(Clone, Debug, PartialEq)]
enum Token<'a> {
    Name(&'a str),
    /// A string or a number.
    Literal(String),
    Sign(char),
}

/// Settings by name; those of a host or component have its name and a dot in front. A value that is not written out is
/// empty, and so is the name of a host that is not.
pub(super) fn read(text: &str) -> Result<Vec<Setting>, Fault> {
    let tokens = tokens(text)?;
    let mut reader = Reader { tokens: &tokens, at: 0, host: String::new(), found: Vec::new() };
    let mut depth = 0_usize;
    while let Some((token, line)) = reader.next() {
        match token {
            Token::Name("function" | "if" | "do" | "repeat") => {
                depth += 1;
                // What a program decides is not known here.
                reader.put(MORE, String::new(), line)?;
            }
            Token::Sign('{' | '(') => depth += 1,
            Token::Name("end" | "until") | Token::Sign('}' | ')') => depth = depth.saturating_sub(1),
            // A field of something else, or several names at once.
            Token::Sign('.' | ':' | ',') => reader.at += usize::from(matches!(reader.peek(), Some(Token::Name(_)))),
            Token::Name(name) if depth == 0 => reader.statement(name, line)?,
            _ => {}
        }
    }
    Ok(reader.found)
}

struct Reader<'t, 'a> {
    tokens: &'t [(Token<'a>, usize)],
    at: usize,
    /// The host or component of what follows, with a dot.
    host: String,
    found: Vec<Setting>,
}

impl<'a> Reader<'_, 'a> {
    fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn next(&mut self) -> Option<(Token<'a>, usize)> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn eat(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn put(&mut self, key: impl Into<String>, value: String, line: usize) -> Result<(), Fault> {
        if self.found.len() >= MAX_SETTINGS {
            return Err((line, FileDefect::TooMany));
        }
        self.found.push(Setting::new(key, value, line));
        Ok(())
    }

    fn statement(&mut self, name: &str, line: usize) -> Result<(), Fault> {
        match name {
            "VirtualHost" | "Component" => {
                let host = self.argument().unwrap_or_default();
                self.host = format!("{host}.");
                // Behind the name of a component stands what it is.
                let kind = if name == "Component" { self.argument() } else { None };
                let key = kind.map_or_else(|| name.to_owned(), |kind| format!("{name}.{kind}"));
                self.put(key, host, line)
            }
            "Include" | "dofile" | "loadfile" | "require" | "RunScript" => {
                let what = self.argument().unwrap_or_default();
                self.put(MORE, what, line)
            }
            "local" => {
                let name = matches!(self.peek(), Some(Token::Name(name)) if *name != "function");
                self.at += usize::from(name);
                Ok(())
            }
            _ if self.eat('=') => {
                let value = self.value().unwrap_or_default();
                self.put(format!("{}{name}", self.host), value, line)
            }
            _ => Ok(()),
        }
    }

    /// A string, bare or in brackets.
    fn argument(&mut self) -> Option<String> {
        let begin = self.at;
        let bracket = self.eat('(');
        if let Some((Token::Literal(text), _)) = self.next()
            && (!bracket || self.eat(')'))
        {
            return Some(text);
        }
        self.at = begin;
        None
    }

    /// A literal, or a list of literals joined by commas; `None` for what would have to be computed.
    fn value(&mut self) -> Option<String> {
        let begin = self.at;
        let value = if self.eat('{') { self.list() } else { self.literal() };
        // Whatever follows on, such as two dots or an operator, makes another value of it.
        let ends = match self.peek() {
            None | Some(Token::Literal(_)) => true,
            Some(Token::Name(name)) => !matches!(*name, "and" | "or" | "not"),
            Some(Token::Sign(sign)) => *sign == ';',
        };
        if value.is_none() || !ends {
            self.at = begin;
            return None;
        }
        value
    }

    fn literal(&mut self) -> Option<String> {
        match self.next()? {
            (Token::Literal(text), _) => Some(text),
            (Token::Name(word @ ("true" | "false")), _) => Some(word.to_owned()),
            _ => None,
        }
    }

    fn list(&mut self) -> Option<String> {
        let mut all: Vec<String> = Vec::new();
        loop {
            if self.eat('}') {
                return Some(all.join(","));
            }
            all.push(self.literal()?);
            if !self.eat(',') && !self.eat(';') && self.peek() != Some(&Token::Sign('}')) {
                return None;
            }
        }
    }
}

fn tokens(text: &str) -> Result<Vec<(Token<'_>, usize)>, Fault> {
    let mut all = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(c) = rest.chars().next() {
        let begun = line;
        let (token, length) = if let Some(comment) = rest.strip_prefix("--") {
            let length = match long_string(comment) {
                Some(inner) => inner.ok_or((line, FileDefect::Open))?.1,
                None => comment.find('\n').unwrap_or(comment.len()),
            };
            (None, 2 + length)
        } else if let Some(inner) = long_string(rest) {
            let (inner, length) = inner.ok_or((line, FileDefect::Open))?;
            (Some(Token::Literal(inner.to_owned())), length)
        } else if matches!(c, '"' | '\'') {
            let (inner, length) = short_string(rest, c).ok_or((line, FileDefect::Open))?;
            (Some(Token::Literal(inner)), length)
        } else if c.is_ascii_alphanumeric() || c == '_' {
            let sound = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let length = rest.find(|c| !sound(c)).unwrap_or(rest.len());
            let word = &rest[..length];
            let token = if c.is_ascii_digit() { Token::Literal(word.to_owned()) } else { Token::Name(word) };
            (Some(token), length)
        } else if c.is_whitespace() {
            (None, c.len_utf8())
        } else {
            (Some(Token::Sign(c)), c.len_utf8())
        };
        let (taken, behind) = rest.split_at_checked(length).unwrap_or((rest, ""));
        line += taken.bytes().filter(|b| *b == b'\n').count();
        rest = behind;
        all.extend(token.map(|token| (token, begun)));
        if all.len() > MAX_TOKENS {
            return Err((line, FileDefect::TooMany));
        }
    }
    Ok(all)
}

/// `[[...]]` or `[==[...]==]` at the beginning: what is in it and how long it is with its brackets. `Some(None)`
/// where it does not end.
fn long_string(text: &str) -> Option<Option<(&str, usize)>> {
    let level = text.strip_prefix('[')?.bytes().take_while(|b| *b == b'=').count();
    let inner = text.get(level + 1..)?.strip_prefix('[')?;
    let close = format!("]{}]", "=".repeat(level));
    Some(inner.find(&close).map(|end| (&inner[..end], 2 * (level + 2) + end)))
}

/// A quotation: what is in it and how long it is with its marks.
fn short_string(text: &str, quote: char) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\n' => return None,
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                other => out.push(other),
            },
            c if c == quote => return Some((out, at + 1)),
            c => out.push(c),
        }
    }
    None
}
