//! `--fix`: the mended files beside the old ones, the difference, and what HAProxy says of them.

use std::path::PathBuf;

use adapter_haproxy::{ConfigFile, Cured, Doctor, Level};
use serde_json::{Value, json};

use crate::diff;
use crate::files;
use crate::haproxy::Verdict;
use console::Failure;

use super::{Item, fixed_name, join};

/// What was mended.
#[derive(Debug)]
pub(super) struct Fixed {
    files: Vec<Mended>,
    left: Vec<Item>,
    verdict: Option<Verdict>,
}

#[derive(Debug)]
struct Mended {
    old: String,
    new: String,
    diff: String,
    fixed: Vec<Item>,
}

/// Mends, writes and asks HAProxy. Only files that change are written.
pub(super) fn fix(
    doctor: &Doctor,
    files: &[ConfigFile],
    ask: impl Fn(&[PathBuf]) -> Result<Option<Verdict>, Failure>,
) -> Result<Fixed, Failure> {
    let cured = doctor.cure_all(files).map_err(|e| Failure::failed(e.to_string()))?;
    let mut mended = Vec::new();
    let mut left = Vec::new();
    let mut paths = Vec::new();
    for (file, Cured { bytes, fixed, left: rest, .. }) in files.iter().zip(cured) {
        let path = PathBuf::from(file.name());
        if bytes == file.bytes() {
            left.extend(rest.into_iter().map(Item::from));
            paths.push(path);
            continue;
        }
        let beside = fixed_name(&path);
        let new = beside.display().to_string();
        // What is left is at a line of the mended file.
        left.extend(rest.into_iter().map(|found| Item { file: new.clone(), ..Item::from(found) }));
        files::write_whole(&beside, &bytes, Some(&path))?;
        let texts = [file.bytes(), &bytes].map(String::from_utf8_lossy);
        let diff = diff::unified([file.name(), &new], &texts[0], &texts[1], veiled);
        let fixed = fixed.into_iter().map(Item::from).collect();
        mended.push(Mended { old: file.name().to_owned(), new, diff, fixed });
        paths.push(beside);
    }
    let verdict = ask(&paths)?;
    if let Some(verdict) = &verdict {
        join(&mut left, verdict);
    }
    Ok(Fixed { files: mended, left, verdict })
}

/// A line fit to show: passwords left out.
fn veiled(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let secret = match words.as_slice() {
        ["stats", "auth", user, ..] => user.split_once(':').map(|(_, password)| password),
        ["user", _, "password" | "insecure-password", password, ..] => Some(*password),
        _ => None,
    };
    let shown = match secret.filter(|secret| !secret.is_empty()).and_then(|secret| line.rfind(secret)) {
        Some(at) => format!("{}***", &line[..at]),
        None => line.to_owned(),
    };
    console::printable(&shown.replace('\t', "    "))
}

impl Fixed {
    /// How bad the worst thing is that is left; what only this host knows stays.
    pub(super) fn worst(&self, before: &[Item]) -> Option<Level> {
        let of_host = before.iter().filter(|item| matches!(&*item.rule, "BLC-C002" | "BLC-C003" | "BLC-C004"));
        self.left.iter().chain(of_host).map(|item| item.level).max()
    }

    pub(super) fn print(&self) -> String {
        if self.files.is_empty() {
            return "nothing here can be mended by writing alone\n".to_owned();
        }
        let mut out = String::new();
        for Mended { old, new, diff, fixed } in &self.files {
            let count = console::counted(fixed.len(), "finding");
            out.push_str(&format!("\n{diff}\n{}", console::lines(&format!("{new}: {count} of {old} mended"))));
        }
        let errors = self.left.iter().filter(|item| item.level == Level::Error).count();
        out.push_str(&match &self.verdict {
            Some(verdict) if verdict.accepted => "haproxy -c accepts what is mended".to_owned(),
            Some(_) => "haproxy -c still refuses it".to_owned(),
            None => "haproxy -c was not asked about it".to_owned(),
        });
        if errors > 0 {
            out.push_str(&format!("; {} left for a person:\n", console::counted(errors, "error")));
            out.extend(self.left.iter().filter(|item| item.level == Level::Error).map(Item::print));
        } else {
            out.push_str("; no error is left\n");
        }
        out.push('\n');
        out
    }

    pub(super) fn as_json(&self) -> Value {
        let file = |file: &Mended| {
            let fixed: Vec<Value> = file.fixed.iter().map(Item::as_json).collect();
            json!({ "file": file.old, "written": file.new, "mended": fixed, "diff": file.diff })
        };
        json!({
            "files": self.files.iter().map(file).collect::<Vec<_>>(),
            "left": self.left.iter().map(Item::as_json).collect::<Vec<_>>(),
            "accepted": self.verdict.as_ref().map(|verdict| verdict.accepted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_password() {
        assert_eq!(veiled("  stats auth admin:a:b # x"), "  stats auth admin:***");
        assert_eq!(veiled("\tuser joe insecure-password joe"), "    user joe insecure-password ***");
        assert_eq!(veiled(" user joe password $6$x"), " user joe password ***");
        assert_eq!(veiled(" bind :80"), " bind :80");
    }
}
