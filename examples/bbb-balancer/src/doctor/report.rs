//! What was found: facts, then problems, each with its fix.

use serde_json::{Value, json};

use crate::cli::Output;
use console::printable;
use console::{Exit, Outcome};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Calls fail because of it.
    Error,
    /// It works, and should not stay so.
    Warning,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One problem.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// A name that stays the same from version to version.
    pub(crate) id: &'static str,
    /// How bad it is.
    pub(crate) level: Level,
    /// What it concerns.
    pub(crate) about: String,
    /// What is wrong.
    pub(crate) what: String,
    /// What mends it.
    pub(crate) fix: String,
}

/// Facts about one thing.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    title: String,
    facts: Vec<(&'static str, String)>,
}

impl Section {
    /// About this.
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), facts: Vec::new() }
    }

    /// Adds a fact.
    pub(crate) fn fact(&mut self, name: &'static str, value: impl Into<String>) {
        self.facts.push((name, value.into()));
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Facts.
    pub(crate) sections: Vec<Section>,
    /// Problems.
    pub(crate) problems: Vec<Problem>,
}

impl Report {
    /// Notes what keeps calls from working.
    pub(crate) fn error(&mut self, id: &'static str, about: &str, what: impl Into<String>, fix: impl Into<String>) {
        let (what, fix) = (what.into(), fix.into());
        self.problems.push(Problem { id, level: Level::Error, about: about.to_owned(), what, fix });
    }

    /// Notes what should not stay so.
    pub(crate) fn warning(&mut self, id: &'static str, about: &str, what: impl Into<String>, fix: impl Into<String>) {
        let (what, fix) = (what.into(), fix.into());
        self.problems.push(Problem { id, level: Level::Warning, about: about.to_owned(), what, fix });
    }

    /// Takes over what another one has found.
    pub(crate) fn append(&mut self, other: Self) {
        self.sections.extend(other.sections);
        self.problems.extend(other.problems);
    }

    fn count(&self, level: Level) -> usize {
        self.problems.iter().filter(|p| p.level == level).count()
    }

    /// As it is printed, with the exit code: 1 with an error, or with a warning if they count.
    pub(crate) fn outcome(mut self, output: Output, strict: bool) -> Outcome {
        // Those that keep calls from working first; the order of the facts otherwise.
        self.problems.sort_by_key(|p| p.level == Level::Warning);
        let out = if output == Output::Json { format!("{:#}\n", self.json()) } else { self.text() };
        let bad = self.count(Level::Error) > 0 || (strict && !self.problems.is_empty());
        Outcome { out, notes: Vec::new(), exit: if bad { Exit::Failed } else { Exit::Done } }
    }

    fn json(&self) -> Value {
        let facts: Vec<Value> = self
            .sections
            .iter()
            .map(|s| {
                let facts: serde_json::Map<_, _> =
                    s.facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
                json!({ "about": s.title, "facts": facts })
            })
            .collect();
        let problem = |p: &Problem| json!({ "id": p.id, "level": p.level.word(), "about": p.about, "problem": p.what, "fix": p.fix });
        json!({
            "facts": facts,
            "problems": self.problems.iter().map(problem).collect::<Vec<_>>(),
            "errors": self.count(Level::Error),
            "warnings": self.count(Level::Warning),
        })
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for section in &self.sections {
            out.push_str(&format!("{}\n", printable(&section.title)));
            let width = section.facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
            for (name, value) in &section.facts {
                let value = if value.is_empty() { "<none>".to_owned() } else { printable(value) };
                out.push_str(&format!("  {name:width$}  {value}\n"));
            }
            out.push('\n');
        }
        if self.problems.is_empty() {
            out.push_str("No problems found\n");
            return out;
        }
        out.push_str("Potential problems\n");
        for p in &self.problems {
            let (about, what) = (printable(&p.about), printable(&p.what));
            out.push_str(&format!("  {} {}: {about}: {what}\n", p.level.word(), p.id));
            out.push_str(&format!("    fix: {}\n", printable(&p.fix)));
        }
        let plural = |n: usize, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
        let (errors, warnings) = (self.count(Level::Error), self.count(Level::Warning));
        out.push_str(&format!("\n{}, {}\n", plural(errors, "error"), plural(warnings, "warning")));
        out
    }
}
