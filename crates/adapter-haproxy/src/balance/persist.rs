//! Rules that send a request to a known server before anything is balanced.

use super::error::SpecError;
use super::key::{Expression, Request};
use super::version::Version;

/// `{ <expression> <value>... }` behind `if` or `unless`: the expression's text is one of the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    expression: Expression,
    values: Vec<String>,
    unless: bool,
}

impl Condition {
    /// Reads from `if` on; nothing means always.
    pub(crate) fn from_words(words: &[String]) -> Result<Option<Self>, SpecError> {
        let text = || words.join(" ");
        let unless = match words.first().map(String::as_str) {
            None => return Ok(None),
            Some("if") => false,
            Some("unless") => true,
            Some(_) => return Err(SpecError::Syntax { text: text(), why: "needs if or unless" }),
        };
        match words.get(1..).unwrap_or_default() {
            [open, expression, values @ .., close] if open == "{" && close == "}" && !values.is_empty() => {
                if values.iter().any(|v| matches!(v.as_str(), "{" | "}" | "||" | "or" | "!") || v.starts_with('-')) {
                    return Err(SpecError::Unsupported {
                        text: text(),
                        what: "conditions of more than one test".into(),
                    });
                }
                let expression = Expression::from_word(expression)?;
                Ok(Some(Self { expression, values: values.to_vec(), unless }))
            }
            _ => Err(SpecError::Unsupported {
                text: text(),
                what: "a condition that is not { expression value }".into(),
            }),
        }
    }

    /// Whether it holds for this request.
    pub(crate) fn holds(&self, request: &Request, version: Version) -> bool {
        let value = self.expression.value(request, version).map(|s| s.into_text());
        value.is_some_and(|v| self.values.iter().any(|w| w.as_bytes() == v)) != self.unless
    }
}

pub(crate) fn holds(condition: Option<&Condition>, request: &Request, version: Version) -> bool {
    condition.is_none_or(|c| c.holds(request, version))
}

/// `use-server`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UseServer {
    pub(crate) server: String,
    pub(crate) condition: Option<Condition>,
}

/// `force-persist` and `ignore-persist`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PersistRule {
    pub(crate) force: bool,
    pub(crate) condition: Option<Condition>,
}

/// `stick on`, `stick match` and `stick store-request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StickRule {
    pub(crate) expression: Expression,
    pub(crate) matches: bool,
    pub(crate) stores: bool,
    pub(crate) condition: Option<Condition>,
}

impl StickRule {
    /// Reads what follows `stick`.
    pub(crate) fn from_words(words: &[String]) -> Result<Self, SpecError> {
        let text = || words.join(" ");
        let [kind, expression, rest @ ..] = words else {
            return Err(SpecError::Syntax { text: text(), why: "needs a kind and an expression behind stick" });
        };
        let (matches, stores) = match kind.as_str() {
            "on" => (true, true),
            "match" => (true, false),
            "store-request" => (false, true),
            _ => return Err(SpecError::Unsupported { text: text(), what: format!("stick {kind}") }),
        };
        if rest.first().is_some_and(|w| w == "table") {
            return Err(SpecError::Unsupported { text: text(), what: "a table of another section".into() });
        }
        let condition = Condition::from_words(rest)?;
        Ok(Self { expression: Expression::from_word(expression)?, matches, stores, condition })
    }
}
