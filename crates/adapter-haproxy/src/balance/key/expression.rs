//! Sample expressions: a fetch and its converters.

use super::args::calls;
use super::converter::Converters;
use super::fetch::Fetch;
use super::request::Request;
use super::sample::Sample;
use crate::balance::error::SpecError;
use crate::balance::version::Version;
use crate::balance::words::words;

/// An expression such as `url_param(state),url_dec,b64dec,field(8,'\"')`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    text: String,
    fetch: Fetch,
    converters: Converters,
}

impl Expression {
    /// Reads an expression as it stands in a configuration, quotes and all.
    ///
    /// # Errors
    ///
    /// [`SpecError::Syntax`], and [`SpecError::Unsupported`] for a fetch or converter that is not modelled.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        match <[String; 1]>::try_from(words(text)?) {
            Ok([word]) => Self::from_word(&word),
            Err(_) => Err(SpecError::Syntax { text: text.chars().take(80).collect(), why: "is not one word" }),
        }
    }

    /// Reads a word whose quotes the configuration reader has resolved.
    pub(crate) fn from_word(word: &str) -> Result<Self, SpecError> {
        let mut calls = calls(word)?.into_iter();
        let first = calls.next().ok_or(SpecError::Syntax { text: String::new(), why: "is empty" })?;
        let fetch = Fetch::new(&first)?;
        let mut converters = Converters::default();
        for call in calls {
            converters.push(&call)?;
        }
        Ok(Self { text: word.to_owned(), fetch, converters })
    }

    /// The value for this request; `None` if there is none, or a converter fails.
    pub fn value(&self, request: &Request, version: Version) -> Option<Sample> {
        self.converters.apply(self.fetch.get(request, version)?, version)
    }
}

impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
