//! Named conditions and what is made of them.

use super::RenderError;
use super::writer::{Writer, name, solid};

/// How many values of an ACL go on one line; lines of one name count as one.
const VALUES: usize = 40;

/// A named condition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acl {
    /// Its name.
    pub name: String,
    /// What is looked at: `path_beg`, `url_param(roomId)`, an expression of HAProxy.
    pub sample: String,
    /// How it is compared: `-i`, `-m`, `found` and so on.
    pub flags: Vec<String>,
    /// What it is compared with; one is enough.
    pub values: Vec<String>,
}

impl Acl {
    /// True when the sample matches one of the values.
    pub fn new<S: Into<String>>(
        name: impl Into<String>,
        sample: impl Into<String>,
        values: impl IntoIterator<Item = S>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        Self { name: name.into(), sample: sample.into(), flags: Vec::new(), values }
    }

    /// Adds flags before the values.
    #[must_use]
    pub fn with_flags<S: Into<String>>(mut self, flags: impl IntoIterator<Item = S>) -> Self {
        self.flags = flags.into_iter().map(Into::into).collect();
        self
    }

    /// `has_nul`: there is a NUL byte in `txn.room`. A stick table cuts its keys there, so that `algebra%00x` would move
    /// the entry, and thereby the room, of `algebra`.
    pub(super) fn nul_in_room() -> Self {
        Self::new("has_nul", "var(txn.room),url_enc", ["%00"]).with_flags(["-m", "sub"])
    }

    pub(super) fn write(&self, out: &mut Writer) -> Result<(), RenderError> {
        let name = name("acl", &self.name)?;
        if matches!(name, "or" | "if" | "unless") {
            return Err(RenderError::Name { what: "acl", name: name.to_owned() });
        }
        let front: Vec<&str> = ["acl", name, solid("sample", &self.sample)?]
            .into_iter()
            .chain(self.flags.iter().map(String::as_str))
            .collect();
        if self.values.is_empty() {
            return out.line(front);
        }
        for values in self.values.chunks(VALUES) {
            out.line(front.iter().copied().chain(["--"]).chain(values.iter().map(String::as_str)))?;
        }
        Ok(())
    }
}

/// When a rule applies: one of several groups of named conditions, all of a group. `!` before a name turns it round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition(Vec<Vec<String>>);

impl Condition {
    /// True when all of these are.
    pub fn all<S: Into<String>>(acls: impl IntoIterator<Item = S>) -> Self {
        Self(vec![acls.into_iter().map(Into::into).collect()])
    }

    /// True when one of these is.
    pub fn any<S: Into<String>>(acls: impl IntoIterator<Item = S>) -> Self {
        Self(acls.into_iter().map(|acl| vec![acl.into()]).collect())
    }

    pub(super) fn words(&self, acls: &[Acl], user: &str) -> Result<Vec<String>, RenderError> {
        let mut words = vec!["if".to_owned()];
        for (at, group) in self.0.iter().enumerate() {
            words.extend((at > 0).then(|| "||".to_owned()));
            for acl in group {
                let bare = acl.strip_prefix('!').unwrap_or(acl);
                if !acls.iter().any(|known| known.name == bare) {
                    let (user, name) = (user.to_owned(), bare.to_owned());
                    return Err(RenderError::Unknown { user, what: "acl", name });
                }
                words.push(acl.clone());
            }
        }
        Ok(words)
    }
}
