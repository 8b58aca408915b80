//! Tags: which servers a meeting may be placed on.

use super::{ParamRules, Params, SERVER_TAG};

/// A wish for tagged servers, as in `a;b!`.
///
/// A `!` at the end makes it a requirement; otherwise untagged servers are taken when no server with one of the tags
/// can be had. The tag `none` stands for untagged servers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TagWish {
    /// Whether the create fails if no server fits.
    pub required: bool,
    /// The tags, any of which will do; `none` among them means untagged.
    pub tags: Vec<String>,
}

impl TagWish {
    /// The tag that stands for servers without one.
    pub const UNTAGGED: &'static str = "none";

    /// Reads a wish; `None` if the text names no tag, which means untagged servers only.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (text, required) = text.strip_suffix('!').map_or((text, false), |rest| (rest, true));
        let tags: Vec<String> =
            text.split(';').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        (!tags.is_empty()).then_some(Self { required, tags })
    }

    /// The tags as in the request, without the mark.
    #[must_use]
    pub fn text(&self) -> String {
        self.tags.join(";")
    }

    /// Whether a server with this tag (or none) fits.
    #[must_use]
    pub fn fits(&self, server_tag: Option<&str>) -> bool {
        let tag = server_tag.filter(|tag| !tag.is_empty()).unwrap_or(Self::UNTAGGED);
        self.tags.iter().any(|own| own == tag)
    }
}

/// The tag text that counts for a create: the override, else what the front-end sent, else the default.
#[must_use]
pub fn effective_tag<'p>(client: &'p Params<'_>, rules: &'p ParamRules) -> Option<&'p str> {
    rules.override_of(SERVER_TAG).or_else(|| client.get(SERVER_TAG)).or_else(|| rules.default_of(SERVER_TAG))
}
