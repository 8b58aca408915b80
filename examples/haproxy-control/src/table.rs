//! Tables without borders: upper-case headers, text left, numbers right. And text from outside made fit to print.

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// Stands left.
    Text(String),
    /// Stands right.
    Number(String),
}

impl Cell {
    /// Text as it may be printed; `<none>` when there is none.
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(if text.is_empty() { "<none>".to_owned() } else { printable(text) })
    }

    /// A whole number.
    pub(crate) fn count(number: u64) -> Self {
        Self::Number(number.to_string())
    }

    fn content(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(text) => text,
        }
    }
}

/// The table as lines without trailing blanks, each with its line break.
pub(crate) fn render(headers: &[&str], rows: &[Vec<Cell>]) -> String {
    let wide = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = headers.iter().map(|header| wide(header)).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = wide(cell.content()).max(*width);
        }
    }
    // A column of numbers has its header at the right as well.
    let numbers = |at: usize| rows.first().is_some_and(|row| matches!(row.get(at), Some(Cell::Number(_))));
    let mut out = String::new();
    let put = |cells: &mut dyn Iterator<Item = (&str, bool)>, out: &mut String| {
        let mut line = String::new();
        for ((text, right), width) in cells.zip(&widths) {
            let blank = " ".repeat(width - wide(text));
            let (before, after) = if right { (&*blank, "") } else { ("", &*blank) };
            line.push_str(&format!("{before}{text}{after}   "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    };
    put(&mut headers.iter().enumerate().map(|(at, header)| (*header, numbers(at))), &mut out);
    for row in rows {
        put(&mut row.iter().map(|cell| (cell.content(), matches!(cell, Cell::Number(_)))), &mut out);
    }
    out
}

/// The text with control characters spelled out, so that no name can steer a terminal or break a line.
pub(crate) fn printable(text: &str) -> String {
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
pub(crate) fn lines(text: &str) -> String {
    text.lines().map(|line| printable(&line.replace('\t', "    ")) + "\n").collect()
}

/// `1 room`, `2 rooms`.
pub(crate) fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_text_and_numbers() {
        let rows = [
            vec![Cell::text("a-longer-name"), Cell::count(7), Cell::text("x")],
            vec![Cell::text(""), Cell::count(1234), Cell::text("é\u{1b}[2J")],
        ];
        let want = "NAME               N   LAST\na-longer-name      7   x\n<none>          1234   é\\u{1b}[2J\n";
        assert_eq!(render(&["NAME", "N", "LAST"], &rows), want);
        assert_eq!(render(&["NAME", "N"], &[]), "NAME   N\n");
        assert_eq!(lines("a\tb\r\n\u{7}c"), "a    b\n\\u{7}c\n");
    }
}
