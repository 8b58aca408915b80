//! No reader panics, whatever it reads. `JITSI_INPUTS` says how many inputs each one gets: 5,000 unless told; a million
//! by `cargo xtask soak jitsi-inputs`.

use std::time::{Duration, Instant};

use adapter_jitsi::{
    BridgeHistory, BridgeTable, Element, FileKind, FocusSettings, JitsiDoctor, JitsiFile, JitsiHost, LineSplitter,
    Scope, StreamItem, StreamLimits, StreamReader, escape, read_log_line, read_presence, room_of,
};

const PIECES: [&str; 48] = [
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
    "VirtualHost \"",
    "Component '",
    "c2s_ports = {",
    "--[[",
    "]]",
    "<presence from='r/n'><stats xmlns='http://jitsi.org/protocol/colibri'><stat name='drain' value='false'/>",
    "</stats></presence>",
    "stress_level' value='",
    "1e309",
    "0x1.8p3",
    "<![CDATA[",
    "&#x0;",
    "é",
    "/",
    ".",
];

const STATS: [&str; 9] = [
    "stress_level",
    "average_participant_stress",
    "drain",
    "graceful_shutdown",
    "shutting_down",
    "version",
    "relay_id",
    "region",
    "healthy",
];
const VALUES: [&str; 16] = [
    "0.5", "-1", "NaN", "Infinity", "1e309", "0x1.8p3", "1f", " 1 ", "1,5", "true", "TRUE", "false", "", ".", "e5", "é",
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

    /// A presence whose values are anything, with a slip here and there.
    fn presence(&mut self, text: &str) -> Vec<u8> {
        let mut out = b"<presence from='r/n'><stats xmlns='http://jitsi.org/protocol/colibri'>".to_vec();
        for _ in 0..self.roll(6) {
            let name = STATS[self.roll(STATS.len())];
            let value = match self.roll(4) {
                0 => VALUES[self.roll(VALUES.len())].to_owned(),
                1 => format!("{}{}", VALUES[self.roll(VALUES.len())], VALUES[self.roll(VALUES.len())]),
                2 => escape(text).into_owned(),
                _ => escape(&text.chars().rev().collect::<String>()).into_owned(),
            };
            out.extend_from_slice(format!("<stat name='{name}' value='{value}'/>").as_bytes());
        }
        out.extend_from_slice(b"</stats></presence>");
        if self.roll(4) == 0 {
            let at = self.roll(out.len());
            out[at] = u8::try_from(self.roll(256)).unwrap();
        }
        out
    }
}

#[test]
fn no_reader_panics() {
    let inputs = std::env::var("JITSI_INPUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000_u64);
    let began = Instant::now();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut history, mut splitter, mut lines) = (BridgeHistory::new(), LineSplitter::new(), 0_u64);
    let mut table = BridgeTable::try_new(FocusSettings::default()).unwrap();
    let mut counts = [0_u64; 6];
    for number in 0..inputs {
        let bytes = dice.bytes();
        let text = String::from_utf8_lossy(&bytes);
        for text in [&*text, &format!("{}{}{text}", PIECES[0], PIECES[1])] {
            if let Some(line) = read_log_line(text) {
                counts[0] += 1;
                let _ = (line.explain(), history.push(&line));
            }
        }
        splitter.push(&bytes, |_| lines += 1);
        assert!(room_of(&bytes).room.is_none_or(|room| !room.is_empty()));
        for whole in [bytes.clone(), dice.presence(&text)] {
            counts[2] += stanzas(&whole);
            if let Ok(presence) = read_presence(&whole, "r") {
                counts[1] += 1;
                let now = Duration::from_millis(number);
                let _ = (table.apply(&presence, now), table.check_presence("r/n", now));
            }
        }
        for kind in [FileKind::Properties, FileKind::Shell, FileKind::Hocon, FileKind::Prosody] {
            if let Ok(file) = JitsiFile::read("x", kind, &bytes) {
                counts[3] += 1;
                counts[4] += file.settings.len() as u64;
                let hosts = [JitsiHost::bridge("x.example", vec![file])];
                counts[5] += JitsiDoctor::new().with_names(["x.example"]).check(&hosts, &[]).len() as u64;
            }
        }
    }
    let [read, presences, stanzas, files, settings, findings] = counts;
    println!(
        "{inputs} inputs for each reader in {:.1} s: {lines} lines, {read} of a focus, {} bridges named, {presences} \
         presences, {stanzas} stanzas, {files} files with {settings} settings and {findings} findings, no panic",
        began.elapsed().as_secs_f64(),
        history.iter().count()
    );
    assert!(counts.iter().all(|count| *count > 0), "a reader got nothing it can read: {counts:?}");
}

/// How many stanzas a stream of these bytes holds, each read as an element.
fn stanzas(bytes: &[u8]) -> u64 {
    let mut reader = StreamReader::new(StreamLimits::default());
    reader.push(b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>");
    reader.push(bytes);
    let mut found = 0;
    while let Ok(Some(item)) = reader.take() {
        if let StreamItem::Stanza(stanza) = item {
            found += u64::from(Element::parse(&stanza, &Scope::default()).is_ok());
        }
    }
    found
}
