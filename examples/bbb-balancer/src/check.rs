//! `check`: the effective configuration, and what is wrong with it.

use crate::settings::{RecordingsAt, Settings, Sources, source_lines};
use console::{Exit, Outcome};

/// Where the index of recordings is, in words.
fn kept(at: &RecordingsAt) -> String {
    match at {
        RecordingsAt::Nowhere => "none: RECORDING_DISABLED is set".to_owned(),
        RecordingsAt::Unset => {
            "unknown to this balancer: set DATABASE_URL, or BALANCER_DATA_DIR for a file of its own".to_owned()
        }
        RecordingsAt::Memory => "index in memory, until the process ends".to_owned(),
        RecordingsAt::File(dir) => {
            format!("index in the file {}: there is no DATABASE_URL", dir.join("recordings.redb").display())
        }
        RecordingsAt::Postgres(_) => "index in the database of DATABASE_URL".to_owned(),
    }
}

/// Every setting with its value and source, then notices, warnings and errors.
pub(crate) fn run(sources: &Sources, settings: &Result<Settings, Vec<String>>) -> Outcome {
    let (notices, warnings, errors) = match settings {
        Ok(settings) => (settings.notices(), settings.warnings(), &[][..]),
        Err(errors) => (&[][..], &[][..], errors.as_slice()),
    };
    let lines = match settings {
        Ok(settings) => settings.lines().to_vec(),
        Err(_) => source_lines(sources),
    };
    let name = lines.iter().map(|line| line.name.len()).max().unwrap_or_default();
    let value = lines.iter().map(|line| line.value.chars().count()).max().unwrap_or_default().min(40);
    let mut out = String::new();
    for line in &lines {
        let shown = if line.value.is_empty() { "<none>" } else { &line.value };
        out.push_str(&format!("{:name$}  {shown:value$}  {}\n", line.name, line.source));
    }
    if let Ok(settings) = settings {
        out.push_str(&format!("\nload = {}\n", settings.formula_text));
        out.push_str(&format!("recordings = {}\n", kept(&settings.recordings.at)));
    }
    let sections = [("notice", notices), ("warning", warnings), ("error", errors)];
    for (word, texts) in sections {
        if !texts.is_empty() {
            out.push('\n');
        }
        for text in texts {
            out.push_str(&format!("{word}: {text}\n"));
        }
    }
    let exit = if errors.is_empty() {
        out.push_str("\nthe configuration is good\n");
        Exit::Done
    } else {
        let noun = if errors.len() == 1 { "error" } else { "errors" };
        out.push_str(&format!("\n{} {noun}: `serve` would not start\n", errors.len()));
        Exit::Failed
    };
    Outcome { out, notes: Vec::new(), exit }
}
