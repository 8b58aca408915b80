//! An answer of a server, kept as it was written.

use std::borrow::Cow;
use std::fmt;

use super::super::Fault;
use super::ReplyError;
use super::scan::{Gather, Scanner, Step};
use super::write::{DECLARATION, push_clean};

/// How many children the root of an answer may have.
const MAX_CHILDREN: usize = 10_000;

/// One child of the root element. `Debug` shows its name only, since its text may be a password.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Child<'a> {
    /// Its name.
    pub name: &'a str,
    /// The whole element as the server wrote it.
    pub raw: &'a [u8],
}

impl fmt::Debug for Child<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An answer of a server: checked, and otherwise left as it was written. `Debug` shows no texts but key and message.
#[derive(Clone)]
pub struct Reply<'a> {
    root: &'a [u8],
    children: Vec<Child<'a>>,
    success: bool,
    key: Option<Cow<'a, str>>,
    message: Option<Cow<'a, str>>,
}

impl fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("success", &self.success)
            .field("key", &self.key)
            .field("message", &self.message)
            .field("children", &self.children)
            .finish_non_exhaustive()
    }
}

impl<'a> Reply<'a> {
    /// Reads an answer.
    ///
    /// # Errors
    /// Anything but one well-formed `response` with one `returncode`: see [`ReplyError`]. A document type, a
    /// processing instruction, an entity XML does not define, nesting beyond [`MAX_DEPTH`](super::MAX_DEPTH) and a
    /// repeated `returncode`, `messageKey` or `message` are refused as well.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReplyError> {
        let mut scanner = Scanner::new(bytes)?;
        let mut reply = Self { root: &[], children: Vec::new(), success: false, key: None, message: None };
        let mut code: Option<Cow<'a, str>> = None;
        let (mut root_start, mut child_start, mut child_name) = (0, 0, "");
        let mut text = Gather::default();
        while let Some(step) = scanner.step()? {
            match (step, scanner.depth()) {
                (Step::Open { name: "response", start }, 1) => root_start = start,
                (Step::Open { .. }, 1) => return Err(ReplyError::NoReturncode),
                (Step::Open { name, start }, 2) => (child_name, child_start) = (name, start),
                (Step::Text(piece), 2) if is_control(child_name) => text.push(piece),
                (Step::Close { end }, 1) => {
                    if reply.children.len() == MAX_CHILDREN {
                        return Err(ReplyError::TooMany { limit: MAX_CHILDREN });
                    }
                    reply.children.push(Child { name: child_name, raw: scanner.slice(child_start, end) });
                    let slot = match child_name {
                        "returncode" => &mut code,
                        "messageKey" => &mut reply.key,
                        "message" => &mut reply.message,
                        _ => continue,
                    };
                    if slot.replace(text.take()).is_some() {
                        return Err(ReplyError::Malformed { offset: child_start, what: "a repeated element" });
                    }
                }
                (Step::Close { end }, 0) => reply.root = scanner.slice(root_start, end),
                _ => {}
            }
        }
        reply.success = code.ok_or(ReplyError::NoReturncode)?.trim() == "SUCCESS";
        Ok(reply)
    }

    /// Whether `returncode` is `SUCCESS`.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.success
    }

    /// The `messageKey`, unless blank.
    #[must_use]
    pub fn message_key(&self) -> Option<&str> {
        self.key.as_deref().filter(|key| !key.trim().is_empty())
    }

    /// The `message`.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The text of the first child of this name, without that of the elements inside it.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        let child = self.children.iter().find(|child| child.name == name)?;
        let mut scanner = Scanner::new(child.raw).ok()?;
        let mut text = Gather::default();
        while let Some(step) = scanner.step().ok()? {
            if let Step::Text(piece) = step
                && scanner.depth() == 1
            {
                text.push(piece);
            }
        }
        Some(text.take())
    }

    /// Names and texts of the elements inside the first child of this name, such as `metadata`; at most 1,000.
    #[must_use]
    pub fn pairs(&self, name: &str) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let child = self.children.iter().find(|child| child.name == name);
        let Some(mut scanner) = child.and_then(|child| Scanner::new(child.raw).ok()) else { return all };
        let (mut text, mut open) = (Gather::default(), None);
        while let Ok(Some(step)) = scanner.step() {
            match step {
                Step::Open { name, .. } if scanner.depth() == 2 && all.len() < 1000 => {
                    text.take();
                    open = Some(name.to_owned());
                }
                Step::Text(piece) if open.is_some() && scanner.depth() == 2 => text.push(piece),
                Step::Close { .. } if scanner.depth() == 1 => {
                    all.extend(open.take().map(|name| (name, text.take().into_owned())));
                }
                _ => {}
            }
        }
        all
    }

    /// The children of the root, in order.
    pub fn children(&self) -> impl Iterator<Item = Child<'a>> {
        self.children.iter().copied()
    }

    /// The failure in the server's words; `None` on success, and when it gave no `messageKey`.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        if self.success {
            return None;
        }
        let message = self.message().unwrap_or_default().to_owned();
        self.message_key().map(|key| Fault::Passed { key: key.to_owned(), message })
    }

    /// Appends the document as the server wrote it, under our own declaration. Characters that XML forbids are left
    /// out.
    pub fn write_xml(&self, out: &mut Vec<u8>) {
        out.reserve(DECLARATION.len() + self.root.len() + 1);
        out.extend_from_slice(DECLARATION);
        push_clean(out, self.root);
        out.push(b'\n');
    }
}

fn is_control(name: &str) -> bool {
    matches!(name, "returncode" | "messageKey" | "message")
}
