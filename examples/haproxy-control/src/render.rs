//! `render`: a configuration from a small TOML file, proved before it is written.

use std::path::Path;

use adapter_haproxy::render::{HaproxyConfig, RenderError, pin_key};
use adapter_haproxy::{ConfigFile, Doctor, HaproxyVersion, Level};

use crate::check::Target;
use crate::cli::{Kind, RenderArgs};
use crate::files::{self, Folder};
use console::{Failure, Outcome};

mod build;
mod example;
mod spec;

/// The largest description that is read, in bytes.
const MAX_SPEC_LEN: usize = 1024 * 1024;

/// Renders.
///
/// # Errors
///
/// A description that cannot be read or describes what cannot be, a text that HAProxy refuses, a file that cannot be
/// written.
pub(crate) fn run(args: &RenderArgs) -> Result<Outcome, Failure> {
    if args.example {
        return Ok(Outcome::done(example::text(args.kind)));
    }
    let path = args.file.as_deref().ok_or_else(|| Failure::usage("a description is missing"))?;
    let bytes = files::read(path, MAX_SPEC_LEN)?;
    let name = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|_| Failure::failed(format!("{name} is no UTF-8 text")))?;
    let spec = spec::read(&name, &text)?;
    let written = spec.haproxy.as_ref().map(|version| version.parse()).transpose();
    let written = written.map_err(|e| Failure::failed(format!("{name}: haproxy: {e}")))?;
    let target = Target::of(&args.haproxy, written)?;
    let config =
        build::config(args.kind, target.version, &spec).map_err(|why| Failure::failed(format!("{name}: {why}")))?;
    let cannot = |why: RenderError| Failure::failed(format!("{name}: {why}"));
    let text = config.render().map_err(cannot)?;
    let engine = spec.offload.as_ref().map(|_| config.engine_file(build::ENGINE)).transpose().map_err(cannot)?;
    let asked = match (args.engine, &engine) {
        (false, _) => &text,
        (true, Some(engine)) => engine,
        (true, None) => return Err(Failure::usage(format!("{name} has no [offload]: there is no engine file"))),
    };

    let mut notes: Vec<String> = Vec::new();
    match (&target.haproxy, args.no_proof) {
        (Some(haproxy), false) => {
            let folder = Folder::new()?;
            let proof = folder.path("haproxy.cfg");
            // The engine file need not lie in its place yet.
            let mut proved = text.clone();
            if let Some(engine) = &engine {
                let aside = folder.path("engine.conf");
                files::write_whole(&aside, engine.as_bytes(), None)?;
                let mut config = config.clone();
                for offload in config.backends.iter_mut().filter_map(|back| back.offload.as_mut()) {
                    offload.file = aside.display().to_string();
                }
                proved = config.render().map_err(cannot)?;
            }
            files::write_whole(&proof, proved.as_bytes(), None)?;
            let verdict = haproxy.check(std::slice::from_ref(&proof), None)?;
            if !verdict.accepted {
                let said: Vec<String> = verdict.remarks.iter().map(|remark| remark.text.clone()).collect();
                let what = format!("HAProxy {} refuses what {name} describes; nothing was written", haproxy.full);
                let hint = "certificates and pin files must be on this host; where they are not, --no-proof";
                return Err(Failure::failed(what).cause(said.join("\n")).hint(hint));
            }
            notes.extend(verdict.remarks.iter().map(|remark| format!("haproxy -c: {}", remark.text)));
        }
        _ => notes.push("not proved by haproxy -c".to_owned()),
    }
    notes.extend(target.remark.clone());
    notes.extend(remarks(args.kind, &target, &text));
    let text = asked.clone();
    match &args.out {
        None => Ok(Outcome::done(text).with_notes(notes)),
        Some(out) => {
            files::write_whole(out, text.as_bytes(), Some(out))?;
            let proved = match &target.haproxy {
                Some(haproxy) if !args.no_proof => format!("; HAProxy {} accepts it", haproxy.full),
                _ => String::new(),
            };
            Ok(Outcome::done(format!("OK {}{proved}\n", out.display())).with_notes(notes))
        }
    }
}

/// The configuration a file describes, for this version.
///
/// # Errors
///
/// A description that cannot be read or describes what cannot be.
pub(crate) fn described(kind: Kind, path: &Path, version: HaproxyVersion) -> Result<HaproxyConfig, Failure> {
    let name = path.display().to_string();
    let text = String::from_utf8(files::read(path, MAX_SPEC_LEN)?);
    let spec = spec::read(&name, &text.map_err(|_| Failure::failed(format!("{name} is no UTF-8 text")))?)?;
    build::config(kind, version, &spec).map_err(|why| Failure::failed(format!("{name}: {why}")))
}

/// What our own rules still say of it; kept by address is a matter of choice.
fn remarks(kind: Kind, target: &Target, text: &str) -> Vec<String> {
    let Ok(file) = ConfigFile::parse("the configuration", text) else { return Vec::new() };
    let found = Doctor::new(target.version).check(&[file]).into_iter();
    let chosen = |rule: &str| kind == Kind::Source && rule == "BLC-H046";
    found.filter(|f| f.level > Level::Note && !chosen(f.rule)).map(|f| format!("line {}: {}", f.line, f.text)).collect()
}

/// The pins as a map file has them.
pub(crate) fn pin_of(room: &[u8]) -> Option<String> {
    std::str::from_utf8(room).ok().map(pin_key)
}
