//! Words of a command line.
//!
//! Words are separated by blanks, commands by `;`. A backslash takes the special meaning from the character after it
//! and vanishes, whatever that character is; quotes mean nothing. There is no way to write a line feed. A line that ends
//! with `<<` has a payload; in 2.6 even when that is the end of a longer word.

use super::error::{CommandError, shown};

/// Checks a word that is written as it is: a name of a proxy, a server, a table.
pub(super) fn check_name(what: &'static str, text: &str) -> Result<(), CommandError> {
    if text.is_empty() {
        return Err(CommandError::Empty { what });
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_.:".contains(*c))) {
        Some(found) => Err(CommandError::Character {
            what,
            text: shown(text),
            found,
            why: "no name in HAProxy may have: letters, digits and -_.: are allowed",
        }),
        None => Ok(()),
    }
}

/// Checks a word that is escaped where need be.
pub(super) fn check_word(what: &'static str, text: &str) -> Result<(), CommandError> {
    if text.is_empty() {
        return Err(CommandError::Empty { what });
    }
    check_characters(what, text)?;
    if text.starts_with("<<") {
        let why = "HAProxy would read a payload after it";
        return Err(CommandError::Reserved { what, text: shown(text), why });
    }
    Ok(())
}

/// Refuses what no line can carry.
pub(super) fn check_characters(what: &'static str, text: &str) -> Result<(), CommandError> {
    match text.chars().find(|c| c.is_control()) {
        Some(found) => Err(CommandError::Character {
            what,
            text: shown(text),
            found,
            why: "the runtime API cannot carry: it would end or split the command",
        }),
        None => Ok(()),
    }
}

/// Appends a blank and the word.
pub(super) fn push_word(line: &mut String, text: &str) {
    line.push(' ');
    let payload = text.contains("<<");
    for c in text.chars() {
        if matches!(c, ' ' | ';' | '\\') || (payload && c == '<') {
            line.push('\\');
        }
        line.push(c);
    }
}

/// How HAProxy cuts one line into words; the other way round.
#[cfg(test)]
pub(super) fn split(line: &str) -> Vec<String> {
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            ';' => break,
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_be_sent_is_refused() {
        for bad in ["", "a\nb", "a\0", "a\r", "a\tb", "<<", "<<EOF"] {
            assert!(check_word("key", bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a b", "a/b", "a;b", "é", "a\n"] {
            assert!(check_name("server", bad).is_err(), "{bad:?}");
        }
        assert!(check_name("server", "mm-1_a.b:c").is_ok());
    }

    proptest! {
        #[test]
        fn words_come_back(words in proptest::collection::vec("([^\\p{Cc}]|<|<<|;){1,12}", 1..6)) {
            prop_assume!(words.iter().all(|w| check_word("word", w).is_ok()));
            let mut line = String::from("x");
            for word in &words {
                push_word(&mut line, word);
            }
            prop_assert!(!line.contains("<<"));
            prop_assert_eq!(split(&line)[1..].to_vec(), words);
        }
    }
}
