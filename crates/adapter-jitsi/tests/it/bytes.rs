//! No reader panics, whatever it reads. `JITSI_INPUTS` says how many inputs each one gets: 5,000 unless told, since a
//! million take minutes in a debug build.

use adapter_jitsi::{
    BridgeHistory, FileKind, JitsiDoctor, JitsiFile, JitsiHost, LineSplitter, read_log_line, read_presence, room_of,
};

const PIECES: [&str; 36] = [
    "Jicofo 2026-01-01 01:02:03.004 INFO: [1] ",
    "A.b#1: ",
    "Bridge[jid=",
    "Selected initial bridge ",
    "Re-inviting [",
    "Moved 1 endpoints from ",
    "Health check failed for: ",
    "because ",
    " was removed",
    "stress=0,00]",
    "org.jitsi.videobridge.xmpp.user.shard.",
    "HOSTNAME=",
    "MUC_JIDS=a@b,",
    "PASSWORD=",
    "videobridge.apis.xmpp-client.configs.s {",
    "${?X}",
    "\"\"\"",
    "\\u00",
    "include \"",
    "/http-bind?room=",
    "%25%C3",
    "Lost a bridge: ",
    "<presence from='r/n'><stats xmlns='http://jitsi.org/protocol/colibri'>",
    "<stat name='",
    "' value='",
    "'/>",
    "{",
    "}",
    "[",
    "]",
    "\n",
    " ",
    "=",
    "é",
    "/",
    ".",
];

/// Marsaglia's generator: the same inputs every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % sides
    }

    fn bytes(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..self.roll(14) {
            if self.roll(5) == 0 {
                out.push(u8::try_from(self.roll(256)).unwrap());
            } else {
                out.extend_from_slice(PIECES[self.roll(PIECES.len())].as_bytes());
            }
        }
        out
    }
}

#[test]
fn no_reader_panics() {
    let inputs = std::env::var("JITSI_INPUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000_u64);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut history, mut splitter, mut lines) = (BridgeHistory::new(), LineSplitter::new(), 0_u64);
    for _ in 0..inputs {
        let bytes = dice.bytes();
        let text = String::from_utf8_lossy(&bytes);
        for text in [&*text, &format!("{}{}{text}", PIECES[0], PIECES[1])] {
            if let Some(line) = read_log_line(text) {
                let _ = (line.explain(), history.push(&line));
            }
        }
        splitter.push(&bytes, |_| lines += 1);
        assert!(room_of(&bytes).room.is_none_or(|room| !room.is_empty()));
        let _ = read_presence(&bytes, "r");
        for kind in [FileKind::Properties, FileKind::Shell, FileKind::Hocon] {
            if let Ok(file) = JitsiFile::read("x", kind, &bytes) {
                let hosts = [JitsiHost::bridge("x.example", vec![file])];
                let _ = JitsiDoctor::new().with_names(["x.example"]).check(&hosts, &[]);
            }
        }
    }
    println!("{inputs} inputs for each reader, {lines} lines, {} bridges named", history.iter().count());
}
