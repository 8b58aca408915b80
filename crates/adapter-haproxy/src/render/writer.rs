//! Words to lines, each quoted so that HAProxy reads back what was meant.

use std::time::Duration;

use crate::config::{ConfigFile, MAX_LINE_WORDS, SectionKind, quote_word};
use crate::version::HaproxyVersion;

use super::RenderError;

const MAX_NAME_LEN: usize = 128;

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) version: HaproxyVersion,
    out: String,
}

impl Writer {
    pub(super) const fn new(version: HaproxyVersion) -> Self {
        Self { version, out: String::new() }
    }

    pub(super) fn head(&mut self, kind: &str, name: Option<&str>) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out.push_str(kind);
        if let Some(name) = name {
            self.out.push(' ');
            self.out.push_str(name);
        }
        self.out.push('\n');
    }

    /// One line; every word is quoted where it must be.
    pub(super) fn line<S: AsRef<str>>(&mut self, words: impl IntoIterator<Item = S>) -> Result<(), RenderError> {
        self.line_with_end(words, None)
    }

    /// One line; the word at `ended` is followed by a line feed, which only an escape can say.
    pub(super) fn line_with_end<S: AsRef<str>>(
        &mut self,
        words: impl IntoIterator<Item = S>,
        ended: Option<usize>,
    ) -> Result<(), RenderError> {
        let mut line = String::new();
        for (at, word) in words.into_iter().enumerate() {
            if at == MAX_LINE_WORDS {
                let help = "HAProxy takes 64 words on a line";
                return Err(RenderError::Value { what: "a line", value: line.trim().to_owned(), help });
            }
            if word.as_ref().is_empty() {
                let help = "HAProxy takes no empty word: give at least one character";
                return Err(RenderError::Value { what: "an empty word behind", value: line.trim().to_owned(), help });
            }
            line.push(' ');
            line.push_str(&quote_word(word.as_ref())?);
            line.push_str(if ended == Some(at) { r"\n" } else { "" });
        }
        self.out.push_str("   ");
        self.out.push_str(&line);
        self.out.push('\n');
        Ok(())
    }

    /// One line, and a comment that tells the doctor that this is meant so.
    pub(super) fn line_meant<S: AsRef<str>>(
        &mut self,
        words: impl IntoIterator<Item = S>,
        rule: &'static str,
    ) -> Result<(), RenderError> {
        self.line(words)?;
        self.meant(rule);
        Ok(())
    }

    /// Tells the doctor that the last line is meant so.
    pub(super) fn meant(&mut self, rule: &'static str) {
        self.out.truncate(self.out.trim_end().len());
        self.out.push_str(&format!(" # meant: {rule}\n"));
    }

    /// Lines taken over as they are; they may not open a section or spill into the next line.
    pub(super) fn extra(&mut self, lines: &[String]) -> Result<(), RenderError> {
        for line in lines {
            let wrong = |help| RenderError::Value { what: "the extra line", value: line.clone(), help };
            if line.contains(['\n', '\r', '\0']) {
                return Err(wrong("write each line by itself, without line feed"));
            }
            let file = ConfigFile::parse("extra", format!("{line}\n"))?;
            if file.lines().iter().any(|line| line.fault.is_some()) {
                return Err(wrong("close its quotes and keep to 64 words"));
            }
            if file.sections().iter().any(|section| section.kind != SectionKind::Preamble) {
                return Err(wrong("it would open a section"));
            }
            self.out.push_str("    ");
            self.out.push_str(line.trim());
            self.out.push('\n');
        }
        Ok(())
    }

    pub(super) fn finish(self) -> String {
        self.out
    }
}

/// A name of a section, server, rule, variable, cookie or header.
pub(super) fn name<'a>(what: &'static str, name: &'a str) -> Result<&'a str, RenderError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    if name.is_empty() || name.len() > MAX_NAME_LEN || !name.bytes().all(plain) {
        return Err(RenderError::Name { what, name: name.chars().take(MAX_NAME_LEN).collect() });
    }
    Ok(name)
}

/// A value without blanks and control characters: a path, an address, a number in text.
pub(super) fn solid<'a>(what: &'static str, value: &'a str) -> Result<&'a str, RenderError> {
    if value.is_empty() || value.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let help = "it may not be empty nor hold blanks or control characters";
        return Err(RenderError::Value { what, value: value.chars().take(200).collect(), help });
    }
    Ok(value)
}

/// A host: an address or a name, square brackets added where an IPv6 address wants them.
pub(super) fn host_port(host: &str, port: u16) -> Result<String, RenderError> {
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(format!("[{host}]:{port}"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let label = |part: &str| (1..=63).contains(&part.len()) && part.bytes().all(plain) && !part.starts_with('-');
    if host.len() > 253 || !host.split('.').all(label) {
        let help = "give an IP address or a DNS name, without port";
        return Err(RenderError::Value { what: "host", value: host.chars().take(200).collect(), help });
    }
    Ok(format!("{host}:{port}"))
}

/// Text inside a log-format string: a percent sign is doubled.
pub(super) fn format_text(text: &str) -> String {
    text.replace('%', "%%")
}

/// The text of a header, as a log-format string.
pub(super) fn header_text(text: &str) -> Result<String, RenderError> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        let help = "give text that is more than blanks, without control characters";
        return Err(RenderError::Value { what: "header text", value: text.chars().take(200).collect(), help });
    }
    Ok(format_text(text))
}

/// A duration as HAProxy writes it; at most 24 days, which is what it can count.
pub(super) fn time(what: &'static str, time: Duration) -> Result<String, RenderError> {
    let millis = time.as_millis();
    if millis == 0 || millis > 24 * 86_400_000 {
        let help = "between one millisecond and 24 days";
        return Err(RenderError::Value { what, value: format!("{time:?}"), help });
    }
    Ok(match millis {
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    })
}
