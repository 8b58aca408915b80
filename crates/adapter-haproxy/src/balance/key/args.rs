//! `name(argument,argument)` and what follows.

use crate::balance::error::SpecError;

/// The most arguments of one word.
const MAX_ARGS: usize = 16;

/// A name with its arguments.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) args: Vec<Vec<u8>>,
}

impl Call {
    /// This argument as text, if there and not empty.
    pub(super) fn text(&self, i: usize) -> Option<String> {
        self.args.get(i).filter(|a| !a.is_empty()).map(|a| String::from_utf8_lossy(a).into_owned())
    }

    /// This argument as a number, if there.
    pub(super) fn number(&self, i: usize) -> Result<Option<i64>, SpecError> {
        let Some(text) = self.text(i) else { return Ok(None) };
        match text.parse() {
            Ok(n) => Ok(Some(n)),
            Err(_) => Err(SpecError::Syntax { text, why: "is no number, which this place needs" }),
        }
    }
}

/// Splits `a(1,2),b,c(x)` (quotes of the configuration line already resolved) into calls.
pub(super) fn calls(word: &str) -> Result<Vec<Call>, SpecError> {
    let bad = |why| SpecError::Syntax { text: word.chars().take(80).collect(), why };
    let mut out = Vec::new();
    let mut bytes = word.bytes().peekable();
    loop {
        let mut name = Vec::new();
        while let Some(c) = bytes.next_if(|c| !matches!(c, b',' | b'(')) {
            name.push(c);
        }
        let mut args = Vec::new();
        if bytes.next_if_eq(&b'(').is_some() {
            let (mut arg, mut single, mut double) = (Vec::new(), false, false);
            loop {
                match bytes.next().ok_or_else(|| bad("has a parenthesis that is not closed"))? {
                    b'\'' if !double => single = !single,
                    b'"' if !single => double = !double,
                    b'\\' if !single => {
                        arg.push(match bytes.next().ok_or_else(|| bad("ends in a backslash"))? {
                            b'n' => b'\n',
                            b'r' => b'\r',
                            b't' => b'\t',
                            c => c,
                        });
                    }
                    b',' if !single && !double => {
                        args.push(std::mem::take(&mut arg));
                        if args.len() >= MAX_ARGS {
                            return Err(bad("has too many arguments"));
                        }
                    }
                    b')' if !single && !double => break,
                    c => arg.push(c),
                }
            }
            args.push(arg);
        }
        let name = String::from_utf8(name).map_err(|_| bad("is no UTF-8"))?;
        if name.is_empty() {
            return Err(bad("lacks a name"));
        }
        out.push(Call { name, args });
        match bytes.next() {
            None => return Ok(out),
            Some(b',') => {}
            Some(_) => return Err(bad("goes on behind a closing parenthesis")),
        }
    }
}
