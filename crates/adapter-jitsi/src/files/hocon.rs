//! As much of HOCON as these files use: blocks, dotted names, lists, quotations, comments. Substitutions stay text,
//! `include` is passed over.

use super::{FileDefect, MAX_FILE_DEPTH, MAX_SETTINGS, Setting};

/// The longest name with all blocks around it, in bytes.
const MAX_NAME: usize = 4096;

type Fault = (usize, FileDefect);

pub(super) fn read(text: &str) -> Result<Vec<Setting>, Fault> {
    let mut reader = Reader { rest: text, line: 1, path: Vec::new(), found: Vec::new() };
    reader.blank();
    let braced = reader.eat('{');
    reader.block(braced, 0)?;
    reader.blank();
    if reader.rest.is_empty() { Ok(reader.found) } else { Err((reader.line, FileDefect::Closed)) }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    path: Vec<String>,
    found: Vec<Setting>,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Takes that many bytes, which end at a character.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line += taken.bytes().filter(|b| *b == b'\n').count();
        self.rest = rest;
        taken
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.rest.starts_with(c);
        if found {
            self.take(c.len_utf8());
        }
        found
    }

    fn comment(&self) -> bool {
        self.rest.starts_with('#') || self.rest.starts_with("//")
    }

    /// Blanks of one line.
    fn space(&mut self) {
        let bytes = self.rest.len() - self.rest.trim_start_matches([' ', '\t', '\r']).len();
        self.take(bytes);
    }

    /// Blanks, line ends and comments.
    fn blank(&mut self) {
        loop {
            let bytes = self.rest.len() - self.rest.trim_start().len();
            self.take(bytes);
            if !self.comment() {
                return;
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.take(end);
        }
    }

    fn block(&mut self, braced: bool, depth: usize) -> Result<(), Fault> {
        if depth > MAX_FILE_DEPTH {
            return Err((self.line, FileDefect::TooDeep));
        }
        let opened = self.line;
        loop {
            self.blank();
            while self.eat(',') {
                self.blank();
            }
            match self.peek() {
                None if braced => return Err((opened, FileDefect::Open)),
                None => return Ok(()),
                Some('}') if braced => {
                    self.eat('}');
                    return Ok(());
                }
                Some('}' | ']') => return Err((self.line, FileDefect::Closed)),
                Some(_) => self.entry(depth)?,
            }
        }
    }

    fn entry(&mut self, depth: usize) -> Result<(), Fault> {
        let line = self.line;
        let included = self.rest.strip_prefix("include").is_some_and(|rest| rest.starts_with([' ', '\t', '"']));
        if included {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.take(end);
            return Ok(());
        }
        let before = self.path.len();
        self.key()?;
        if self.path.len() > before + MAX_FILE_DEPTH || self.path.iter().map(String::len).sum::<usize>() > MAX_NAME {
            return Err((line, FileDefect::TooDeep));
        }
        self.space();
        if self.rest.starts_with("+=") {
            self.take(2);
        } else if !self.eat('=') && !self.eat(':') && self.peek() != Some('{') {
            return Err((line, FileDefect::NoValue));
        }
        self.blank();
        let value = self.value(depth)?;
        if let Some(value) = value {
            if self.found.len() >= MAX_SETTINGS {
                return Err((line, FileDefect::TooMany));
            }
            self.found.push(Setting::new(self.path.join("."), value, line));
        }
        self.path.truncate(before);
        Ok(())
    }

    /// The parts of a name, put on the path.
    fn key(&mut self) -> Result<(), Fault> {
        let mut part = String::new();
        let line = self.line;
        loop {
            match self.peek() {
                Some('"') => part.push_str(&self.quoted()?),
                Some('.') => {
                    self.eat('.');
                    self.path.push(std::mem::take(&mut part).trim().to_owned());
                }
                None | Some('=' | ':' | '{' | '\n' | '}' | '[' | ']' | ',') => break,
                Some('+') if self.rest.starts_with("+=") => break,
                Some(c) => {
                    self.take(c.len_utf8());
                    part.push(c);
                }
            }
        }
        let part = part.trim();
        if part.is_empty() {
            return Err((line, FileDefect::NoValue));
        }
        self.path.push(part.to_owned());
        Ok(())
    }

    /// A value as text; `None` for a block, whose settings were found meanwhile.
    fn value(&mut self, depth: usize) -> Result<Option<String>, Fault> {
        let mut text = String::new();
        loop {
            match self.peek() {
                Some('{') => {
                    self.eat('{');
                    self.block(true, depth + 1)?;
                    return Ok(None);
                }
                Some('[') => {
                    self.eat('[');
                    return self.list(depth + 1).map(Some);
                }
                Some('"') => text.push_str(&self.quoted()?),
                Some('$') if self.rest.starts_with("${") => {
                    let end = self.rest.find(['}', '\n']).filter(|end| self.rest[*end..].starts_with('}'));
                    let Some(end) = end else { return Err((self.line, FileDefect::Open)) };
                    text.push_str(self.take(end + 1));
                }
                None | Some('\n' | ',' | '}' | ']') => break,
                Some(_) if self.comment() => break,
                Some(c) => {
                    self.take(c.len_utf8());
                    text.push(c);
                }
            }
        }
        Ok(Some(text.trim().to_owned()))
    }

    fn list(&mut self, depth: usize) -> Result<String, Fault> {
        if depth > MAX_FILE_DEPTH {
            return Err((self.line, FileDefect::TooDeep));
        }
        let opened = self.line;
        let mut all: Vec<String> = Vec::new();
        loop {
            self.blank();
            while self.eat(',') {
                self.blank();
            }
            match self.peek() {
                None => return Err((opened, FileDefect::Open)),
                Some('}') => return Err((self.line, FileDefect::Closed)),
                Some(']') => {
                    self.eat(']');
                    return Ok(all.join(","));
                }
                Some(_) => {
                    let index = all.len();
                    if index >= MAX_SETTINGS {
                        return Err((self.line, FileDefect::TooMany));
                    }
                    self.path.push(index.to_string());
                    let value = self.value(depth)?;
                    self.path.pop();
                    all.push(value.unwrap_or_default());
                }
            }
        }
    }

    fn quoted(&mut self) -> Result<String, Fault> {
        let line = self.line;
        if self.rest.starts_with("\"\"\"") {
            self.take(3);
            let end = self.rest.find("\"\"\"").ok_or((line, FileDefect::Open))?;
            let text = self.take(end).to_owned();
            self.take(3);
            return Ok(text);
        }
        self.eat('"');
        let mut text = String::new();
        loop {
            let Some(c) = self.peek().filter(|c| *c != '\n') else { return Err((line, FileDefect::Open)) };
            self.take(c.len_utf8());
            match c {
                '"' => return Ok(text),
                '\\' => {
                    let Some(c) = self.peek() else { return Err((line, FileDefect::Open)) };
                    self.take(c.len_utf8());
                    text.push(match c {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        other => other,
                    });
                }
                c => text.push(c),
            }
        }
    }
}
