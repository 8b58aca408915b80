//! `check`: what is wrong with the files of bridges, focuses and their XMPP server.

use std::path::{Path, PathBuf};

use adapter_jitsi::{FileKind, Finding, JITSI_RULES, JitsiDoctor, JitsiFile, Level, PortSeen, PortWanted, RuleInfo};
use serde_json::json;

use crate::cli::{CheckArgs, Output};
use crate::{complain, connect, say};
use console::{Cell, Exit, Failure};

mod machine;
mod ports;

use machine::Machine;

/// The most files that are read.
const MAX_FILES: usize = 10_000;

/// Everything that was read.
#[derive(Default)]
struct Read {
    machines: Vec<Machine>,
    found: Vec<Finding>,
    /// Files by name, as given.
    files: Vec<String>,
    /// What is not looked at.
    passed_over: Vec<String>,
}

/// Checks.
pub(crate) async fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    if args.rules {
        say(&rules(args.output));
        return Ok(Exit::Done);
    }
    let mut read = read(args)?;
    let hosts = machine::hosts(&read.machines, &args.signalling, args.remote);
    let doctor = JitsiDoctor::new().with_names(args.name.iter());
    let wanted = doctor.wanted_ports(&hosts);
    let seen = if args.offline {
        Vec::new()
    } else {
        let here = read.machines.iter().find(|machine| machine.here).map(|machine| &*machine.name);
        ports::try_all(&wanted, here, args.timeout, &mut read.passed_over).await
    };
    let mut found = std::mem::take(&mut read.found);
    found.extend(doctor.check(&hosts, &seen));
    let place = |name: &str| read.files.iter().position(|file| file == name);
    found.sort_by(|a, b| (place(&a.file), a.line, a.rule).cmp(&(place(&b.file), b.line, b.rule)));
    let worst = found.iter().map(|one| one.level).max();
    match args.output {
        Output::Json => say(&read.json(&found, &wanted, &seen)),
        Output::Table => {
            for what in &read.passed_over {
                complain(&console::printable(what));
            }
            let text: String = found.iter().map(|one| console::lines(&one.to_string())).collect();
            say(&format!("{text}{}", read.summary(&found, &seen, args.offline)))
        }
    };
    let bad = worst >= Some(if args.strict { Level::Warning } else { Level::Error });
    Ok(if bad { Exit::Failed } else { Exit::Done })
}

fn read(args: &CheckArgs) -> Result<Read, Failure> {
    let mut read = Read::default();
    for path in &args.files {
        let known = |path: &PathBuf| FileKind::of(&path.to_string_lossy()).is_some();
        if path.is_dir() {
            let unreadable = |e: std::io::Error| Failure::failed(format!("{} cannot be read", path.display())).cause(e);
            let mut inside = Vec::new();
            for entry in std::fs::read_dir(path).map_err(unreadable)?.take(MAX_FILES) {
                inside.push(entry.map_err(unreadable)?.path());
            }
            inside.retain(|path| known(path) && path.is_file());
            inside.sort();
            for path in inside {
                read.file(&path)?;
            }
        } else {
            read.file(path)?;
        }
    }
    if read.files.is_empty() {
        let names = "sip-communicator.properties, config, jvb.conf, jicofo.conf, prosody.cfg.lua";
        return Err(Failure::usage("none of these is a file that is checked").hint(format!("it reads {names}")));
    }
    let lua = |machine: &Machine| machine.files.iter().any(|file| file.kind == FileKind::Prosody);
    if read.machines.iter().any(lua) {
        let what = "of Prosody's files hosts, components, ports and interfaces are looked at, nothing else";
        read.passed_over.push(what.to_owned());
    }
    Ok(read)
}

impl Read {
    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let name = path.display().to_string();
        let Some(kind) = FileKind::of(&name) else {
            self.passed_over.push(format!("{name} is not looked at: no name of a file that is checked"));
            return Ok(());
        };
        if self.files.len() >= MAX_FILES {
            return Err(Failure::failed(format!("more than {MAX_FILES} files")).hint("check some of them at a time"));
        }
        if self.files.contains(&name) {
            return Ok(());
        }
        self.files.push(name.clone());
        match JitsiFile::read(name, kind, &connect::read(path)?) {
            Ok(file) => Machine::of(path).take(file, &mut self.machines),
            Err(error) => self.found.push(Finding::from(&error)),
        }
        Ok(())
    }

    fn summary(&self, found: &[Finding], seen: &[PortSeen], offline: bool) -> String {
        let counted = [Level::Error, Level::Warning, Level::Note]
            .map(|level| (count(found, level), level.to_string()))
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, level)| console::counted(count, &level));
        let mut parts: Vec<String> = counted.collect();
        if parts.is_empty() {
            parts.push("nothing is wrong".to_owned());
        }
        let files = console::counted(self.files.len(), "file");
        let machines = console::counted(self.machines.len(), "machine");
        let ports = match (offline, seen.len()) {
            (true, _) => "no port was tried".to_owned(),
            (false, 0) => "no port to be tried from here".to_owned(),
            (false, all) => {
                let open = seen.iter().filter(|one| one.reachable).count();
                format!("{open} of {} answered", console::counted(all, "port"))
            }
        };
        format!("{}; {files} of {machines}; {ports}\n", parts.join(", "))
    }

    fn json(&self, found: &[Finding], wanted: &[PortWanted], seen: &[PortSeen]) -> String {
        let finding = |one: &Finding| {
            json!({
                "rule": one.rule,
                "level": one.level.to_string(),
                "file": one.file,
                "line": one.line,
                "text": one.text,
                "help": one.help,
            })
        };
        let port = |one: &PortSeen| json!({ "target": one.target, "port": one.port, "reachable": one.reachable, "why": one.why });
        let want = |one: &PortWanted| {
            let PortWanted { from, target, port, transport, purpose, .. } = one;
            json!({ "from": from, "target": target, "port": port, "transport": transport.to_string(), "purpose": purpose })
        };
        let machine = |one: &Machine| json!({ "name": one.name, "files": one.files.iter().map(|file| &file.name).collect::<Vec<_>>() });
        let out = json!({
            "files": self.files,
            "machines": self.machines.iter().map(machine).collect::<Vec<_>>(),
            "findings": found.iter().map(finding).collect::<Vec<_>>(),
            "ports": seen.iter().map(port).collect::<Vec<_>>(),
            "wanted_ports": wanted.iter().map(want).collect::<Vec<_>>(),
            "not_looked_at": self.passed_over,
            "errors": count(found, Level::Error),
            "warnings": count(found, Level::Warning),
            "notes": count(found, Level::Note),
        });
        format!("{out:#}\n")
    }
}

fn count(found: &[Finding], level: Level) -> usize {
    found.iter().filter(|one| one.level == level).count()
}

fn rules(output: Output) -> String {
    match output {
        Output::Table => {
            let row = |rule: &RuleInfo| [rule.id, &rule.level.to_string(), rule.about].map(Cell::text).to_vec();
            let rows: Vec<Vec<Cell>> = JITSI_RULES.iter().map(row).collect();
            console::table(&["RULE", "LEVEL", "WHAT IT LOOKS FOR"], &rows)
        }
        Output::Json => {
            let row =
                |rule: &RuleInfo| json!({ "rule": rule.id, "level": rule.level.to_string(), "about": rule.about });
            format!("{:#}\n", json!({ "rules": JITSI_RULES.iter().map(row).collect::<Vec<_>>() }))
        }
    }
}

impl Machine {
    /// Adds a file to the machine of this one's kind, or makes it one of them.
    fn take(mut self, file: JitsiFile, all: &mut Vec<Self>) {
        match all.iter_mut().find(|known| known.root == self.root) {
            Some(known) => known.files.push(file),
            None => {
                self.files.push(file);
                all.push(self);
            }
        }
    }
}
