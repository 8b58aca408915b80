use proptest::prelude::*;

use super::*;

fn words(line: &str) -> Vec<String> {
    let file = ConfigFile::parse("t", format!("{line}\n")).unwrap();
    file.lines()[0].words.iter().map(|word| word.text.clone()).collect()
}

#[test]
fn words_as_haproxy_reads_them() {
    for (line, expected) in [
        ("  bind\t*:80 ", vec!["bind", "*:80"]),
        ("a#b c", vec!["a"]),
        (r"a\#b \ c", vec!["a#b", " c"]),
        (r#"a"b c"d'e f'"#, vec!["ab cde f"]),
        (r#""a\qb"\x41 '\n'"#, vec![r"a\qbA", r"\n"]),
        (r"field(8,'\')", vec![r"field(8,\)"]),
        (r#""\$x" \$y"#, vec!["$x", r"\$y"]),
        ("x '' y", vec!["x", "", "y"]),
        (r"reqadd X-Forwarded-Proto:\ https", vec!["reqadd", "X-Forwarded-Proto: https"]),
    ] {
        assert_eq!(words(line), expected, "{line}");
    }
}

#[test]
fn lines_sections_and_faults() {
    let text = "# top\nglobal\n  daemon # yes\r\n\nfrontend 'a b'\n bind :80 \"\nbackend b\n server s 1.1.1.1:80 \\";
    let file = ConfigFile::parse("x.cfg", text).unwrap();
    let seen: Vec<_> = file.sections().iter().map(|s| (s.kind, s.name.as_deref(), s.lines.clone())).collect();
    assert_eq!(
        seen,
        [
            (SectionKind::Preamble, None, 0..1),
            (SectionKind::Global, None, 1..4),
            (SectionKind::Frontend, Some("a b"), 4..6),
            (SectionKind::Backend, Some("b"), 6..8),
        ]
    );
    assert_eq!(file.lines()[2].words.len(), 1);
    assert_eq!(file.text_of(&file.lines()[2]), b"  daemon # yes");
    assert_eq!(file.lines()[5].fault, Some(LineFault::OpenQuote));
    assert_eq!(file.lines()[7].fault, Some(LineFault::OpenEscape));
    assert!(file.lines()[7].starts(&["server", "s"]));
    let many = ConfigFile::parse("x", format!("acl a src {}\n", "1 ".repeat(70))).unwrap();
    assert_eq!((many.lines()[0].words.len(), many.lines()[0].fault), (64, Some(LineFault::TooManyWords)));
}

#[test]
fn limits() {
    assert!(matches!(ConfigFile::parse("x", vec![b'a'; MAX_CONFIG_LEN + 1]), Err(ConfigError::TooLarge { .. })));
    let lines = vec![b'\n'; MAX_CONFIG_LINES + 1];
    assert!(matches!(ConfigFile::parse("x", lines), Err(ConfigError::TooManyLines { .. })));
    assert!(quote_word("a\nb").is_err());
}

#[test]
fn edits_apply_together_or_not_at_all() {
    let edit = |range, text: &str| Edit { range, text: text.into() };
    let edits = [edit(4..4, "!"), edit(0..1, "A"), edit(4..4, "!")];
    assert_eq!(apply_edits(b"abcd", &edits).unwrap(), b"Abcd!");
    assert!(apply_edits(b"abcd", &[edit(0..2, ""), edit(1..3, "")]).is_err());
    assert!(apply_edits(b"abcd", &[edit(3..5, "")]).is_err());
    assert!(apply_edits(b"abcd", &[Edit { range: Range { start: 3, end: 1 }, text: String::new() }]).is_err());
}

proptest! {
    #[test]
    fn every_byte_is_kept(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let file = ConfigFile::parse("x", bytes.clone()).unwrap();
        prop_assert_eq!(file.print(), bytes);
    }

    #[test]
    fn every_byte_is_kept_of_likely_text(text in "([ \t]{0,2}(bind|#|\"|'|\\\\|x41|\\$|server|global|\r\n|\n|é|a){1,6}){0,40}") {
        let file = ConfigFile::parse("x", text.clone()).unwrap();
        prop_assert_eq!(file.print(), text.as_bytes());
        let mut at = 0;
        for line in file.lines() {
            prop_assert_eq!(line.span.start, at);
            at = line.span.end;
            let mut inner = line.span.start;
            for word in &line.words {
                prop_assert!(word.span.start >= inner && word.span.end <= line.span.end);
                inner = word.span.end;
            }
        }
        let listed: usize = file.sections().iter().map(|section| section.lines.len()).sum();
        prop_assert_eq!(listed, file.lines().len());
    }

    #[test]
    fn a_quoted_word_comes_back(word in "[^\\n\\r\\x00]{0,40}") {
        let line = format!("x {} y", quote_word(&word).unwrap());
        prop_assert_eq!(words(&line), vec!["x".to_owned(), word, "y".to_owned()]);
    }
}
