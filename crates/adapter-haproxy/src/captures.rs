//! Conversations with real HAProxy, recorded and read again. `HAPROXY_CONTROL_VECTORS` names another folder to read.

use std::path::{Path, PathBuf};

use serde_json::Value;

pub(crate) use crate::trace::bytes_of_hex as bytes;

mod peers;
mod runtime;
mod spop;

/// What came of one file.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    checked: usize,
    wrong: Vec<String>,
}

impl Tally {
    /// One thing checked.
    pub(crate) fn check(&mut self, good: bool, what: impl FnOnce() -> String) {
        self.checked += 1;
        if !good {
            self.wrong.push(what());
        }
    }
}

/// What reads a recording, by the name of its file.
type Player = fn(&Value, &mut Tally);

fn player(name: &str) -> Option<Player> {
    match name.split('-').next() {
        Some("peers") => Some(peers::play),
        Some("runtime") => Some(runtime::play),
        Some("spop") => Some(spop::play),
        _ => None,
    }
}

fn folder() -> PathBuf {
    match std::env::var_os("HAPROXY_CONTROL_VECTORS") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/haproxy-control"),
    }
}

/// What came of a folder.
#[derive(Debug, Default)]
struct Report {
    checked: usize,
    wrong: Vec<String>,
}

/// Plays every JSON file of a folder.
fn play(folder: &Path) -> Report {
    let mut report = Report::default();
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")));
    paths.sort();
    if paths.is_empty() {
        report.wrong.push(format!("{} holds no JSON file", folder.display()));
    }
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut tally = Tally::default();
        match std::fs::read(&path).map_err(|e| e.to_string()).and_then(|text| read(&name, &text)) {
            Ok((play, file)) => play(&file, &mut tally),
            Err(why) => tally.wrong.push(why),
        }
        println!("{name}: {} checked, {} wrong", tally.checked, tally.wrong.len());
        if tally.checked == 0 && tally.wrong.is_empty() {
            tally.wrong.push("nothing in it".to_owned());
        }
        report.checked += tally.checked;
        report.wrong.extend(tally.wrong.into_iter().map(|w| format!("{name}: {w}")));
    }
    report
}

fn read(name: &str, text: &[u8]) -> Result<(Player, Value), String> {
    let player = player(name).ok_or("nothing reads files of this name")?;
    serde_json::from_slice(text).map(|file| (player, file)).map_err(|e| format!("is no JSON: {e}"))
}

#[test]
fn recordings() {
    let Report { checked, wrong } = play(&folder());
    println!("{checked} checked, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(30)].join("\n"));
}

/// A copy of one recording, changed.
fn changed(name: &str, change: impl Fn(&mut Value)) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/haproxy-control").join(name);
    let mut file = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut file);
    file
}

/// Another digit in the last bytes of the first of these that has some.
fn another_byte(list: &mut Value) {
    let hex = list.as_array_mut().unwrap().iter_mut().map(|entry| &mut entry["hex"]);
    let hex = hex.filter(|hex| hex.as_str().is_some_and(|hex| hex.len() > 60)).nth(1).unwrap();
    let mut text = hex.as_str().unwrap().to_owned();
    let last = text.pop().unwrap();
    text.push(if last == '0' { '1' } else { '0' });
    *hex = text.into();
}

/// Every way in which a folder is not what it should be fails.
#[test]
fn what_fails() {
    let alone = |name: &str, content: &[u8]| {
        let folder = crate::testing::Folder::new("captures");
        folder.put(name, content);
        play(&folder).wrong
    };
    let folder = crate::testing::Folder::new("captures");
    assert!(play(&folder).wrong[0].ends_with("holds no JSON file"));
    folder.put("README.md", "{}");
    assert!(play(&folder).wrong[0].ends_with("holds no JSON file"));
    // A file that cannot be read, here for being a folder.
    std::fs::create_dir(folder.join("peers-x.json")).unwrap();
    assert_eq!(play(&folder).wrong.len(), 1);

    for (name, content, why) in [
        ("peers-x.json", "{\"events\": [", "is no JSON"),
        ("runtime-x.JSON", "", "is no JSON"),
        ("something.json", "{}", "nothing reads files of this name"),
        ("peers-x.json", "{}", "it has no events"),
        ("peers-x.json", "{\"events\": []}", "nothing in it"),
        ("spop-x.json", "{}", "it has no scenarios"),
        ("spop-x.json", "{\"scenarios\": [{\"frames\": []}]}", "nothing in it"),
        ("spop-x.json", "{\"scenarios\": [{\"frames\": [{\"hex\": \"0g\"}]}]}", "no bytes"),
        ("runtime-x.json", "{}", "it has no transcript"),
        ("runtime-x.json", "{\"transcript\": []}", "nothing in it"),
        ("runtime-x.json", "{\"transcript\": [{\"send\": \"show info\\n\"}]}", "no send and recv"),
        ("peers-x.json", "{\"events\": [{\"conn\": \"B-to-A#1\", \"dir\": \"B>A\"}]}", "no bytes"),
    ] {
        let wrong = alone(name, content.as_bytes());
        assert!(wrong.first().is_some_and(|first| first.contains(why)), "{name} {content}: {wrong:?}");
    }

    type Change = fn(&mut Value);
    let changes: [(&str, Change); 5] = [
        ("peers-2.6-2.6.json", |file| another_byte(&mut file["events"])),
        ("peers-2.8-2.8.json", |file| file["events"][3]["decoded"][0]["type"] = 1.into()),
        ("spop-2.6.json", |file| another_byte(&mut file["scenarios"][0]["frames"])),
        ("spop-2.8.json", |file| file["scenarios"][0]["frames"][0]["decoded"]["stream"] = 7.into()),
        ("runtime-2.6.json", |file| file["transcript"][0]["recv"] = "Name: cut off".into()),
    ];
    for (name, change) in changes {
        let wrong = alone(name, changed(name, change).to_string().as_bytes());
        assert!(!wrong.is_empty(), "{name}: what was changed was not seen");
        assert_eq!(alone(name, changed(name, |_| {}).to_string().as_bytes()), [""; 0]);
    }
}
