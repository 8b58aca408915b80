use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

/// A folder of this test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("adapter-jitsi-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn append(path: &PathBuf, text: &str) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn poll(follower: &mut LogFollower) -> (Followed, Vec<String>) {
    let mut lines = Vec::new();
    let found = follower.poll(|line| lines.push(line.to_owned())).unwrap();
    (found, lines)
}

#[test]
fn a_file_that_grows_is_rotated_and_truncated() {
    let folder = Folder::new("follow");
    let path = folder.0.join("jicofo.log");
    let mut follower = LogFollower::new(&path, FollowStart::Beginning);
    assert!(poll(&mut follower).0.missing);
    append(&path, "one\ntw");
    assert_eq!(poll(&mut follower).1, ["one"]);
    append(&path, "o\nlast words");
    assert_eq!(poll(&mut follower).1, ["two"]);

    // Renamed, written to once more, and begun anew.
    fs::rename(&path, folder.0.join("jicofo.log.1")).unwrap();
    assert!(poll(&mut follower).0.missing);
    append(&folder.0.join("jicofo.log.1"), " of the old\nunfinished");
    append(&path, "three\n");
    let (found, lines) = poll(&mut follower);
    assert!(found.rotated && !found.truncated);
    assert_eq!(lines, ["last words of the old", "unfinished", "three"]);

    // Cut to nothing, then longer than before.
    append(&path, "half a li");
    assert!(poll(&mut follower).1.is_empty());
    fs::write(&path, "").unwrap();
    let (found, _) = poll(&mut follower);
    assert!(found.truncated);
    append(&path, "four\n");
    assert_eq!(poll(&mut follower).1, ["four"]);
    fs::write(&path, "fifth line, longer than what was there\n").unwrap();
    let (found, lines) = poll(&mut follower);
    assert!(found.truncated, "{found:?}");
    assert_eq!(lines, ["fifth line, longer than what was there"]);
    assert_eq!(poll(&mut follower), (Followed::default(), Vec::new()));
}

#[test]
fn from_the_end_and_in_pieces() {
    let folder = Folder::new("follow-end");
    let path = folder.0.join("jicofo.log");
    append(&path, "old\nbegun");
    let mut follower = LogFollower::new(&path, FollowStart::End);
    assert!(poll(&mut follower).1.is_empty());
    append(&path, " and ended\nnew\n");
    assert_eq!(poll(&mut follower).1, ["new"]);

    let line = format!("{}\n", "x".repeat(999));
    append(&path, &line.repeat(2000));
    let (mut all, mut looks) = (0, 0);
    loop {
        let (found, _) = poll(&mut follower);
        all += found.lines;
        looks += 1;
        if !found.more {
            break;
        }
    }
    assert_eq!((all, looks), (2000, 2));
    assert!(LogFollower::new(&folder.0, FollowStart::End).poll(|_| {}).is_err());
}

#[test]
fn four_lines_are_one_change() {
    let seed = [
        "Jicofo 2020-05-09 12:06:16.114 INFOS: [22] org.jitsi.jicofo.xmpp.BaseBrewery.removeInstance().386 Removed brewery instance: a@b/jvb01",
        "Jicofo 2020-05-09 12:06:16.114 INFOS: [22] org.jitsi.jicofo.xmpp.BaseBrewery.notifyInstanceOffline().184 A bridge left the MUC: a@b/jvb01",
        "Jicofo 2020-05-09 12:06:16.114 INFOS: [22] org.jitsi.jicofo.bridge.BridgeSelector.log() Removing JVB: a@b/jvb01",
        "Jicofo 2020-05-09 12:06:16.115 INFOS: [69] org.jitsi.jicofo.bridge.JvbDoctor.log() Stopping health-check task for: a@b/jvb01",
        "Jicofo 2020-05-09 12:06:31.275 INFOS: [22] org.jitsi.jicofo.xmpp.BaseBrewery.processInstanceStatusChanged().330 Added brewery instance: a@b/jvb01",
        "Jicofo 2020-05-09 12:06:31.275 AVERTISSEMENT: [22] org.jitsi.jicofo.bridge.BridgeSelector.log() No pub-sub node mapped for a@b/jvb01",
        "Jicofo 2020-05-09 12:06:31.276 INFOS: [22] org.jitsi.jicofo.bridge.BridgeSelector.log() Added new videobridge: Bridge[jid=a@b/jvb01, relayId=null, region=null, stress=0,00, new=1]",
        "Jicofo 2020-05-09 12:06:31.277 INFOS: [69] org.jitsi.jicofo.bridge.JvbDoctor.log() Scheduled health-check task for: a@b/jvb01",
    ];
    let mut history = BridgeHistory::new();
    let (mut steps, mut explained) = (Vec::new(), 0);
    for text in seed {
        let line = read_log_line(text).unwrap();
        explained += usize::from(line.explain().is_some());
        if let Some(change) = history.push(&line)
            && change.is_new()
        {
            steps.push(change.step);
        }
        if let Some(change) = history.last("jvb01")
            && change.step == BridgeStep::Removed
            && text.contains("Stopping")
        {
            assert_eq!((change.notes.len(), change.lost, &*change.time), (4, false, "2020-05-09 12:06:16.114"));
        }
    }
    assert_eq!(steps, [BridgeStep::Removed, BridgeStep::Added]);
    assert_eq!(explained, 1);
    assert_eq!(history.iter().count(), 1);
    let added = read_log_line(seed[6]).unwrap().event.unwrap();
    assert_eq!(added.bridge.unwrap().others, [("new", "1")]);
}

#[test]
fn containers_write_something_in_front() {
    let line = "jicofo-1  | Jicofo 2026-01-01 01:02:03.004 SEVERE: [7] BridgeSelector.x#1: Lost a bridge: m@n/a b/c\r";
    let line = read_log_line(line).unwrap();
    assert_eq!((line.thread, line.source), (Some(7), "BridgeSelector.x"));
    assert_eq!(line.event.unwrap().bridge.unwrap().nick, "a b/c");
    assert_eq!(read_log_line("Jicofo is a program"), None);
    assert_eq!(read_log_line("\tat org.jitsi.jicofo.Main.main(Main.java:1)"), None);
}

#[test]
fn long_lines_are_cut_once() {
    let mut splitter = LineSplitter::new();
    let mut lengths = Vec::new();
    for _ in 0..3 {
        splitter.push(&vec![b'x'; MAX_LINE], |line| lengths.push(line.len()));
    }
    splitter.push(b"\nshort\n", |line| lengths.push(line.len()));
    assert_eq!((lengths, splitter.cut()), (vec![MAX_LINE, 5], 1));
}

fn any_bytes(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let heads = [
        "",
        "Jicofo 2026-01-01 01:02:03.004 INFO: ",
        "Jicofo 2026-01-01 01:02:03.004 INFO: [1] A.b#1: Selected initial bridge Bridge[jid=",
        "Jicofo 2026-01-01 01:02:03.004 INFO: [1] A.b#1: Re-inviting [",
        "Jicofo 2026-01-01 01:02:03.004 INFO: [1] A.b#1: Moved ",
        "Jicofo 2026-01-01 01:02:03.004 INFO: [1] A.b().1 Health check failed for: ",
    ];
    let mut history = BridgeHistory::new();
    for head in heads {
        if let Some(line) = read_log_line(&format!("{head}{text}")) {
            let _ = (line.explain(), history.push(&line));
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        any_bytes(&bytes);
    }

    #[test]
    fn splits_do_not_matter(text in "[ab\r\n]{0,60}", cuts in prop::collection::vec(0_usize..60, 0..6)) {
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        let mut splitter = LineSplitter::new();
        splitter.push(text.as_bytes(), |line| whole.push(line.to_owned()));
        splitter.finish(|line| whole.push(line.to_owned()));
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let mut splitter = LineSplitter::new();
        for pair in cuts.windows(2) {
            splitter.push(&text.as_bytes()[pair[0]..pair[1]], |line| parts.push(line.to_owned()));
        }
        splitter.finish(|line| parts.push(line.to_owned()));
        prop_assert_eq!(whole, parts);
    }
}
