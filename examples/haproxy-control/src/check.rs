//! `check`: what is wrong with a configuration, by our own rules, by the installed HAProxy and by this host.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use adapter_haproxy::{
    ConfigFile, DOCTOR_RULES, Doctor, FileReader, Finding, HaproxyVersion, Level, haproxy_listeners, listener_clashes,
    nginx_listeners,
};
use serde_json::{Value, json};

use crate::cli::{CheckArgs, HaproxyArgs, Output};
use crate::files;
use crate::haproxy::{Installed, Remark, Verdict};
use console::Cell;
use console::{Exit, Failure, Outcome};

mod fix;
mod host;

/// The largest file beside the configuration that is read, in bytes.
const MAX_FILE_LEN: usize = 1024 * 1024;

/// The rules that need more than the text: this host, or HAProxy itself.
const OWN_RULES: [(&str, Level, &str); 4] = [
    ("BLC-C001", Level::Error, "what the installed haproxy -c says"),
    ("BLC-C002", Level::Error, "an address that another program has (--try-binds)"),
    ("BLC-C003", Level::Warning, "an address this host may not or cannot listen on (--try-binds)"),
    ("BLC-C004", Level::Error, "a name that does not resolve (--resolve)"),
];

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    rule: String,
    level: Level,
    file: String,
    line: usize,
    text: String,
    help: String,
    mendable: bool,
}

impl From<Finding> for Item {
    fn from(found: Finding) -> Self {
        let Finding { rule, level, file, line, text, help, fix, .. } = found;
        Self { rule: rule.to_owned(), level, file, line, text, help, mendable: fix.is_some() }
    }
}

impl Item {
    fn print(&self) -> String {
        let Self { rule, level, file, line, text, help, .. } = self;
        let place = if file.is_empty() { String::new() } else { format!("{file}:{line}: ") };
        let help = if help.is_empty() { String::new() } else { format!("\n    help: {help}") };
        console::lines(&format!("{place}{level}: {text} [{rule}]{help}"))
    }

    fn as_json(&self) -> Value {
        json!({
            "rule": self.rule,
            "level": self.level.to_string(),
            "file": self.file,
            "line": self.line,
            "text": self.text,
            "help": self.help,
            "mendable": self.mendable,
        })
    }
}

/// Which version, and the program if there is one that fits.
#[derive(Debug)]
pub(crate) struct Target {
    /// The version the configuration is for.
    pub(crate) version: HaproxyVersion,
    /// The HAProxy of that version.
    pub(crate) haproxy: Option<Installed>,
    /// Why there is none.
    pub(crate) remark: Option<String>,
}

impl Target {
    /// From the options, or `version` from elsewhere, else from what is installed.
    ///
    /// # Errors
    ///
    /// No version at all, a version that cannot be read, a program that does not run.
    pub(crate) fn of(args: &HaproxyArgs, version: Option<HaproxyVersion>) -> Result<Self, Failure> {
        let asked = args.asked()?.or(version);
        let found = if args.no_haproxy { None } else { Installed::find(args.haproxy.as_deref())? };
        let Some(version) = asked.or_else(|| found.as_ref().map(|found| found.version)) else {
            let what = "no HAProxy is installed, so the version must be said";
            return Err(Failure::usage(what).hint("--haproxy-version 2.6, or whichever will read the configuration"));
        };
        match found {
            Some(found) if found.version == version => Ok(Self { version, haproxy: Some(found), remark: None }),
            Some(found) => {
                let remark = format!("haproxy -c was not asked: {} is installed, this is for {version}", found.full);
                Ok(Self { version, haproxy: None, remark: Some(remark) })
            }
            None => {
                let why = if args.no_haproxy { "as ordered" } else { "none is installed" };
                Ok(Self { version, haproxy: None, remark: Some(format!("haproxy -c was not asked: {why}")) })
            }
        }
    }
}

/// Checks.
///
/// # Errors
///
/// Files that cannot be read, an HAProxy that cannot be run.
pub(crate) fn run(args: &CheckArgs) -> Result<Outcome, Failure> {
    if args.rules {
        return Ok(Outcome::done(rules(args.output)));
    }
    let files = files::configuration(&args.files)?;
    let target = Target::of(&args.haproxy, None)?;
    let host = args.host_name.clone().or_else(host::name);
    let doctor = doctor(args, target.version, host.as_deref());
    let mut items: Vec<Item> = doctor.check(&files).into_iter().map(Item::from).collect();
    items.extend(nginx_clashes(&files, &args.nginx)?);
    if args.try_binds {
        items.extend(host::try_binds(&files));
    }
    if args.resolve {
        items.extend(host::resolve(&files));
    }
    let paths: Vec<PathBuf> = files.iter().map(|file| PathBuf::from(file.name())).collect();
    let ask =
        |paths: &[PathBuf]| target.haproxy.as_ref().map(|h| h.check(paths, args.host_name.as_deref())).transpose();
    let verdict = ask(&paths)?;
    if let Some(verdict) = &verdict {
        join(&mut items, verdict);
    }
    let order = |name: &str| files.iter().position(|file| file.name() == name).unwrap_or(usize::MAX);
    items.sort_by(|a, b| (order(&a.file), &a.file, a.line, &a.rule).cmp(&(order(&b.file), &b.file, b.line, &b.rule)));

    let fixed = if args.fix { Some(fix::fix(&doctor, &files, ask)?) } else { None };
    let worst = fixed.as_ref().map_or_else(|| items.iter().map(|item| item.level).max(), |fixed| fixed.worst(&items));
    let bad = worst >= Some(if args.strict { Level::Warning } else { Level::Error });
    let exit = if bad { Exit::Failed } else { Exit::Done };
    let facts = Facts { target: &target, verdict: verdict.as_ref(), host: host.as_deref() };
    let out = match args.output {
        Output::Json => facts.as_json(&files, &items, fixed.as_ref()),
        Output::Table => {
            let mut out: String = items.iter().map(Item::print).collect();
            out.push_str(&fixed.as_ref().map(fix::Fixed::print).unwrap_or_default());
            out.push_str(&facts.summary(&items, args.fix));
            out
        }
    };
    Ok(Outcome::done(out).with_notes(target.remark.clone()).ending(exit))
}

fn doctor(args: &CheckArgs, version: HaproxyVersion, host: Option<&str>) -> Doctor {
    // The clock of this host judges certificates.
    let mut doctor = Doctor::new(version).with_now(SystemTime::now()).with_public_names(args.public_names.iter());
    if let Some(host) = host {
        doctor = doctor.with_host_name(host);
    }
    if args.no_files {
        return doctor;
    }
    let reader: FileReader = Arc::new(|path: &str| {
        use std::io::Read;
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(2 * MAX_FILE_LEN as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    doctor.with_files(reader)
}

/// Addresses that HAProxy and an nginx both want.
fn nginx_clashes(files: &[ConfigFile], nginx: &[PathBuf]) -> Result<Vec<Item>, Failure> {
    let mut listeners: Vec<_> = files.iter().flat_map(haproxy_listeners).collect();
    let names: Vec<String> = nginx.iter().map(|path| path.display().to_string()).collect();
    for (path, name) in nginx.iter().zip(&names) {
        let text = files::read(path, MAX_FILE_LEN)?;
        listeners.extend(nginx_listeners(name, &String::from_utf8_lossy(&text)));
    }
    let found = listener_clashes(&listeners).into_iter();
    Ok(found.filter(|finding| names.contains(&finding.file)).map(Item::from).collect())
}

/// Adds what HAProxy says, unless a rule of ours has said it of that line, and with a remedy.
fn join(items: &mut Vec<Item>, verdict: &Verdict) {
    let ours = items.len();
    for Remark { level, place, text } in &verdict.remarks {
        let (file, line) = place.clone().unwrap_or_default();
        let known = items.iter().take(ours).any(|item| {
            line > 0 && item.file == file && item.line == line && item.level >= *level && item.rule.starts_with("BLC-H")
        });
        if !known {
            let (rule, text) = ("BLC-C001".to_owned(), format!("haproxy -c: {text}"));
            items.push(Item { rule, level: *level, file, line, text, help: String::new(), mendable: false });
        }
    }
}

/// What stands beside the findings.
struct Facts<'a> {
    target: &'a Target,
    verdict: Option<&'a Verdict>,
    host: Option<&'a str>,
}

impl Facts<'_> {
    fn summary(&self, items: &[Item], fixing: bool) -> String {
        let said = match (self.verdict, &self.target.haproxy) {
            (Some(verdict), Some(haproxy)) => {
                let says = if verdict.accepted { "accepts it" } else { "refuses it" };
                format!("HAProxy {} {says}", haproxy.full)
            }
            _ => format!("read as HAProxy {} would", self.target.version),
        };
        let count = |level| items.iter().filter(|item| item.level == level).count();
        let mut parts: Vec<String> = [Level::Error, Level::Warning, Level::Note]
            .into_iter()
            .filter(|level| count(*level) > 0)
            .map(|level| console::counted(count(level), &level.to_string()))
            .collect();
        if parts.is_empty() {
            parts.push("nothing is wrong".to_owned());
        }
        let mendable = items.iter().filter(|item| item.mendable).count();
        let hint = if mendable > 0 && !fixing { format!("; --fix mends {mendable} of them") } else { String::new() };
        let when = if fixing { "before mending: " } else { "" };
        format!("{when}{}{hint}; {said}\n", parts.join(", "))
    }

    fn as_json(&self, files: &[ConfigFile], items: &[Item], fixed: Option<&fix::Fixed>) -> String {
        let count = |level| items.iter().filter(|item| item.level == level).count();
        let out = json!({
            "version": self.target.version.to_string(),
            "haproxy": self.target.haproxy.as_ref().map(|haproxy| json!({
                "version": haproxy.full,
                "accepted": self.verdict.map(|verdict| verdict.accepted),
            })),
            "host": self.host,
            "files": files.iter().map(ConfigFile::name).collect::<Vec<_>>(),
            "findings": items.iter().map(Item::as_json).collect::<Vec<_>>(),
            "errors": count(Level::Error),
            "warnings": count(Level::Warning),
            "notes": count(Level::Note),
            "fixed": fixed.map(fix::Fixed::as_json),
        });
        format!("{out:#}\n")
    }
}

fn rules(output: Output) -> String {
    let all = DOCTOR_RULES.iter().map(|rule| (rule.id, rule.level, rule.about)).chain(OWN_RULES);
    match output {
        Output::Table => {
            let rows: Vec<Vec<Cell>> = all
                .map(|(id, level, about)| vec![Cell::text(id), Cell::text(&level.to_string()), Cell::text(about)])
                .collect();
            console::table(&["RULE", "LEVEL", "WHAT IT LOOKS FOR"], &rows)
        }
        Output::Json => {
            let all: Vec<Value> = all
                .map(|(id, level, about)| json!({ "rule": id, "level": level.to_string(), "about": about }))
                .collect();
            format!("{:#}\n", json!({ "rules": all }))
        }
    }
}

/// The file the mended text goes to.
fn fixed_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".fixed");
    PathBuf::from(name)
}
