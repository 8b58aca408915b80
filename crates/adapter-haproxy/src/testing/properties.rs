//! What every decoder promises, of streams that are as they should be, and where its limits are.

use proptest::collection::vec;
use proptest::prelude::*;

use super::decoders::{self, Outcome, TARGETS};
use crate::peers::{Hello, HelloStatus, MAX_HELLO_LINE, MAX_MESSAGE, MessageCutter};
use crate::runtime::{Decoder, Framing, MAX_ANSWER, MAX_LINE, Piece, SessionError, StatTable};
use crate::spoe::{FrameCutter, MAX_FRAME};
use crate::{AgentLineError, AgentReply, ConfigError, ConfigFile, MAX_AGENT_LINE, MAX_CONFIG_LEN};

/// A field of CSV as HAProxy writes it.
fn quoted(field: &str) -> String {
    match field.contains([',', '"']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

proptest! {
    #[test]
    fn greetings_both_ways(
        minor in 0..2_u32, called in "[!-~]{1,60}", calling in "[!-~]{1,60}", pid: u32, relative: u32, code: u16, more in vec(any::<u8>(), 0..20),
    ) {
        let mut hello = Hello::new(called, calling, pid);
        (hello.minor, hello.relative_pid) = (minor, relative);
        let mut bytes = hello.to_string().into_bytes();
        let len = bytes.len();
        for cut in 0..len {
            prop_assert_eq!(Hello::decode(&bytes[..cut]), Ok(None));
        }
        bytes.extend(more);
        prop_assert_eq!(Hello::decode(&bytes), Ok(Some((hello, len))));
        let answer = HelloStatus::decode(format!("{code}\n").as_bytes()).unwrap();
        prop_assert_eq!(answer.map(|(status, _)| status.code()), Some(code));
    }

    /// Answers with a prompt, whatever their lines, come back byte for byte.
    #[test]
    fn answers_both_ways(answers in vec(vec("[!-=?-~][ -~]{0,20}", 1..6), 0..6)) {
        let bytes: String = answers.iter().map(|lines| lines.join("\n") + "\n\n> ").collect();
        for size in [1, 3, bytes.len().max(1)] {
            let mut decoder = Decoder::new(Framing::Prompt, MAX_ANSWER);
            let (mut read, mut lines) = (Vec::new(), Vec::new());
            for part in bytes.as_bytes().chunks(size) {
                let mut sink = |piece: Piece<'_>| match piece {
                    Piece::Line(line) => lines.push(String::from_utf8_lossy(line).into_owned()),
                    Piece::End { terminated } => {
                        assert!(terminated);
                        read.push(std::mem::take(&mut lines));
                    }
                };
                decoder.read(part, &mut sink).unwrap();
            }
            // What begins like a request for a payload is one.
            let fresh = |lines: &Vec<String>| !lines[0].starts_with("+ ");
            if answers.iter().all(fresh) {
                prop_assert_eq!(&read, &answers);
            }
        }
    }

    #[test]
    fn statistics_both_ways(rows in vec(("[a-z]{1,8}", "[a-z]{1,8}", "[^\\n\\r]{0,12}", "[^\\n\\r]{0,12}"), 0..6)) {
        let mut text = "# pxname,svname,desc,note,\n".to_owned();
        for (backend, server, desc, note) in &rows {
            text.extend([backend, server, desc, note].map(|field| quoted(field) + ","));
            text.push('\n');
        }
        let table = StatTable::parse(&text).unwrap();
        let read: Vec<_> = table.rows().iter().map(|row| {
            let field = |name| row.field(name).unwrap_or_default().to_owned();
            (field("pxname"), field("svname"), field("desc"), field("note"))
        }).collect();
        prop_assert_eq!(read, rows);
        prop_assert_eq!(decoders::stats_csv(text.as_bytes()), Outcome::Read);
    }

    /// Whatever they are, no bytes break a promise of any decoder.
    #[test]
    fn noise(bytes in vec(any::<u8>(), 0..200)) {
        for (_, target) in TARGETS {
            target(&bytes);
        }
    }
}

#[test]
fn limits_hold() {
    for (limit, len, taken) in
        [(MAX_MESSAGE, MAX_MESSAGE, true), (MAX_MESSAGE, MAX_MESSAGE + 1, false), (10, 11, false)]
    {
        let mut bytes = vec![7, 200];
        crate::wire::put_bytes(&mut bytes, &vec![1; len]);
        let mut cutter = MessageCutter::new(limit);
        cutter.push(&bytes);
        assert_eq!(cutter.cut().is_ok_and(|message| message.is_some()), taken, "{limit} {len}");
        // The length alone is enough to refuse it.
        let mut cutter = MessageCutter::new(limit);
        cutter.push(&bytes[..8]);
        assert_eq!(cutter.cut().is_ok(), taken);
    }
    for (limit, len, taken) in [(300, 300, true), (300, 301, false), (u32::MAX, MAX_FRAME + 1, false)] {
        let mut cutter = FrameCutter::new(limit);
        cutter.push(&u32::to_be_bytes(len));
        assert_eq!(cutter.cut().is_ok(), taken, "{limit} {len}");
    }
    let line = "x".repeat(MAX_HELLO_LINE);
    assert!(Hello::decode(line.as_bytes()).is_err() && HelloStatus::decode(line.as_bytes()).is_err());
    assert_eq!(AgentReply::parse(&vec![b'x'; MAX_AGENT_LINE]), Err(AgentLineError::Incomplete));
    assert_eq!(AgentReply::parse(&vec![b'x'; MAX_AGENT_LINE + 1]), Err(AgentLineError::TooLong));
    let mut decoder = Decoder::new(Framing::Prompt, MAX_ANSWER);
    assert_eq!(decoder.read(&vec![b'x'; MAX_LINE], &mut |_| {}), Ok(()));
    assert_eq!(decoder.read(b"x", &mut |_| {}), Err(SessionError::LineTooLong { max: MAX_LINE }));
    let long = ConfigFile::parse("x", vec![b'#'; MAX_CONFIG_LEN + 1]);
    assert!(matches!(long, Err(ConfigError::TooLarge { .. })));
}
