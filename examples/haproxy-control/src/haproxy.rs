//! The installed HAProxy: where it is, its version, what its `-c` says.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use adapter_haproxy::{HaproxyVersion, Level};

use console::Failure;

/// How long it may take; `-c` asks name servers.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of its words is read, in bytes.
const MAX_WORDS: u64 = 4 * 1024 * 1024;

/// An installed HAProxy.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    path: PathBuf,
    /// Its version with all its numbers, as `2.6.12`.
    pub(crate) full: String,
    /// The first two of them.
    pub(crate) version: HaproxyVersion,
}

/// One remark of `haproxy -c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) level: Level,
    /// Where, if it says so.
    pub(crate) place: Option<(String, usize)>,
    pub(crate) text: String,
}

/// What `haproxy -c` made of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// It would start.
    pub(crate) accepted: bool,
    pub(crate) remarks: Vec<Remark>,
}

impl Installed {
    /// The one at this path, else the first on `PATH` or where systems put it; nothing if there is none.
    pub(crate) fn find(named: Option<&Path>) -> Result<Option<Self>, Failure> {
        if let Some(path) = named {
            return Self::ask(path.to_owned()).map(Some);
        }
        let listed = std::env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/haproxy/sbin"];
        let folders = std::env::split_paths(&listed).chain(usual.map(PathBuf::from));
        let found = folders.map(|folder| folder.join("haproxy")).find(|path| path.is_file());
        found.map(Self::ask).transpose()
    }

    fn ask(path: PathBuf) -> Result<Self, Failure> {
        let (_, said) = run(Command::new(&path).arg("-v"), &path)?;
        // HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/
        let word = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        let word = word.unwrap_or_default();
        let odd = |_| Failure::failed(format!("{} does not answer -v as HAProxy does", path.display()));
        let version = word.parse().map_err(odd)?;
        Ok(Self { path, full: word.to_owned(), version })
    }

    /// The program.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What its `-c` says of these files, in this order.
    pub(crate) fn check(&self, files: &[PathBuf], host: Option<&str>) -> Result<Verdict, Failure> {
        let mut command = Command::new(&self.path);
        command.arg("-c");
        for file in files {
            command.arg("-f").arg(file);
        }
        if let Some(host) = host {
            command.args(["-L", host]);
        }
        let (accepted, said) = run(&mut command, &self.path)?;
        Ok(Verdict { accepted, remarks: remarks(&said, accepted) })
    }
}

/// Runs it: whether it succeeded, and everything it said.
fn run(command: &mut Command, path: &Path) -> Result<(bool, String), Failure> {
    let cannot = |e: std::io::Error| {
        Failure::failed(format!("{} cannot be run", path.display())).cause(e).hint("--haproxy names another one")
    };
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Running(command.spawn().map_err(cannot)?);
    let (tell, told) = mpsc::channel();
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.0.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        child.0.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
    ];
    for stream in streams.into_iter().flatten() {
        let tell = tell.clone();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // What could be read is enough.
            let _ = stream.take(MAX_WORDS).read_to_end(&mut bytes);
            let _ = tell.send(bytes);
        });
    }
    drop(tell);
    let mut said = Vec::new();
    loop {
        match told.recv_timeout(PATIENCE) {
            Ok(bytes) => said.extend(bytes),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let what = format!("{} did not finish in {} s", path.display(), PATIENCE.as_secs());
                return Err(Failure::timed_out(what).hint("--no-haproxy does without it"));
            }
        }
    }
    let status = child.0.wait().map_err(cannot)?;
    Ok((status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// A process that does not outlive us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sums up and banners say nothing of their own.
const EMPTY: [&str; 6] = [
    "haproxy version is",
    "path to executable is",
    "Error(s) found in configuration file",
    "Fatal errors found in configuration",
    "Configuration file is valid",
    "Warnings were found.",
];

/// Reads `[ALERT]    (7) : config : parsing [b.cfg:9] : text`; lines that begin otherwise belong to the one before.
fn remarks(said: &str, accepted: bool) -> Vec<Remark> {
    let mut found: Vec<Remark> = Vec::new();
    let mut skipped = false;
    for line in said.lines().filter(|line| !line.trim().is_empty()) {
        let level = [("[ALERT]", Level::Error), ("[WARNING]", Level::Warning), ("[NOTICE]", Level::Note)];
        let begun = level.iter().find_map(|(word, level)| Some((*level, line.strip_prefix(word)?)));
        let Some((level, rest)) = begun else {
            if let Some(last) = found.last_mut().filter(|_| !skipped && line.starts_with([' ', '\t'])) {
                last.text.push_str("; ");
                last.text.push_str(line.trim());
            }
            continue;
        };
        skipped = EMPTY.iter().any(|text| rest.contains(text));
        if skipped || level == Level::Note {
            skipped = true;
            continue;
        }
        let text = rest.split_once(" : ").map_or(rest, |(_, text)| text).trim();
        let mut text = text.strip_prefix("config : ").unwrap_or(text);
        let mut place = None;
        if let Some((before, inner)) = text.split_once('[')
            && matches!(before, "" | "parsing ")
            && let Some((inner, after)) = inner.split_once(']')
            && let Some((file, number)) = inner.rsplit_once(':')
            && let Ok(number) = number.parse()
        {
            place = Some((file.to_owned(), number));
            text = after.trim_start_matches([' ', ':']);
        }
        found.push(Remark { level, place, text: text.to_owned() });
    }
    if !accepted && !found.iter().any(|remark| remark.level == Level::Error) {
        let text = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
        found.push(Remark { level: Level::Error, place: None, text: format!("refused: {}", text.trim()) });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_says() {
        let said = "[NOTICE]   (1) : haproxy version is 2.6.12\n\
            [ALERT]    (1) : config : parsing [b.cfg:9] : unknown keyword 'blance'; did you mean 'balance' maybe ?\n\
            [WARNING]  (1) : config : missing timeouts for frontend 'f'.\n   | While not properly invalid.\n   \
            | Fix it.\n\
            [ALERT]    (1) : config : Error(s) found in configuration file : b.cfg\n\
            [ALERT]    (1) : config : Fatal errors found in configuration.\n";
        let found = remarks(said, false);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].place, Some(("b.cfg".to_owned(), 9)));
        assert!(found[0].text.starts_with("unknown keyword 'blance'"));
        assert_eq!(found[1].level, Level::Warning);
        assert!(found[1].text.ends_with("| Fix it.") && found[1].place.is_none(), "{found:?}");
        assert_eq!(remarks("", false).len(), 1);
        assert_eq!(remarks("Configuration file is valid\n", true), []);
    }
}
