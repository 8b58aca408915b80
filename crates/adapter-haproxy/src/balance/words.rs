//! Words of a configuration line: blanks between them, quotes and backslashes inside.

use super::error::SpecError;

/// The longest line that is read.
const MAX_LINE: usize = 16_384;
/// The most words of a line, as in HAProxy.
const MAX_WORDS: usize = 64;

/// Splits a line at blanks and resolves its quotes. A `#` outside of quotes ends it.
pub(crate) fn words(line: &str) -> Result<Vec<String>, SpecError> {
    let bad = |why| SpecError::Syntax { text: line.chars().take(80).collect(), why };
    if line.len() > MAX_LINE {
        return Err(bad("is longer than 16,384 bytes"));
    }
    let (mut single, mut double) = (false, false);
    let mut out = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = line.bytes();
    while let Some(c) = bytes.next() {
        match c {
            b'\'' if !double => {
                single = !single;
                word.get_or_insert_default();
            }
            b'"' if !single => {
                double = !double;
                word.get_or_insert_default();
            }
            b'\\' if !single => {
                let c = match bytes.next().ok_or_else(|| bad("ends in a backslash"))? {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'x' => {
                        let mut digit = || bytes.next().and_then(|c| char::from(c).to_digit(16));
                        let pair = digit().zip(digit()).ok_or_else(|| bad("has \\x without two hex digits"))?;
                        u8::try_from(pair.0 * 16 + pair.1).unwrap_or(0)
                    }
                    other => other,
                };
                word.get_or_insert_default().push(c);
            }
            b' ' | b'\t' | b'\r' | b'\n' if !single && !double => out.extend(word.take()),
            b'#' if !single && !double => break,
            c => word.get_or_insert_default().push(c),
        }
        if out.len() > MAX_WORDS {
            return Err(bad("has more than 64 words"));
        }
    }
    if single || double {
        return Err(bad("has a quote that is not closed"));
    }
    out.extend(word);
    out.into_iter()
        .map(|w| String::from_utf8(w).map_err(|_| bad("is no UTF-8 once its escapes are resolved")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes() {
        let w = words(r#"stick on field(8,'\"') "a b"\ c  # rest"#).unwrap();
        assert_eq!(w, ["stick", "on", r#"field(8,\")"#, "a b c"]);
        assert!(words("'open").is_err());
        assert!(words("end\\").is_err());
        assert!(words("\\x1").is_err());
        assert_eq!(words("").unwrap(), Vec::<String>::new());
        assert_eq!(words("''").unwrap(), [""]);
    }
}
