//! Text from outside, made fit to print.

/// The text with control characters spelled out, so that no name can steer a terminal or break a line.
pub fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}

/// Several lines, each [`printable`], each with its line break; tabs become blanks.
pub fn lines(text: &str) -> String {
    text.lines().map(|line| printable(&line.replace('\t', "    ")) + "\n").collect()
}

/// `1 room`, `2 rooms`.
pub fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(printable("é\u{1b}[2J\n"), "é\\u{1b}[2J\\n");
        assert_eq!(lines("a\tb\r\n\u{7}c"), "a    b\n\\u{7}c\n");
        assert_eq!([counted(1, "room"), counted(0, "room")], ["1 room", "0 rooms"]);
    }
}
