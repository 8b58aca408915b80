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

    /// A number as written, `<none>` when there is none.
    pub(crate) fn number(number: Option<impl ToString>) -> Self {
        Self::Number(number.map_or_else(|| "<none>".to_owned(), |number| number.to_string()))
    }

    fn content(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(text) => text,
        }
    }
}

/// The table as lines without trailing blanks, each with its line break. A column of numbers has its header at the
/// right as well.
pub(crate) fn render(headers: &[&str], rows: &[Vec<Cell>]) -> String {
    let wide = |text: &str| text.chars().count();
    let column = |at: usize| rows.iter().filter_map(move |row| row.get(at));
    let shape: Vec<(usize, bool)> = headers
        .iter()
        .enumerate()
        .map(|(at, header)| {
            let widest = column(at).map(|cell| wide(cell.content())).max().unwrap_or(0);
            (widest.max(wide(header)), matches!(column(at).next(), Some(Cell::Number(_))))
        })
        .collect();
    let mut out = String::new();
    let mut put = |cells: &mut dyn Iterator<Item = (&str, bool)>| {
        let mut line = String::new();
        for ((text, right), (width, _)) in cells.zip(&shape) {
            let blank = " ".repeat(width.saturating_sub(wide(text)));
            line.push_str(&if right { format!("{blank}{text}   ") } else { format!("{text}{blank}   ") });
        }
        out.push_str(line.trim_end());
        out.push('\n');
    };
    put(&mut headers.iter().zip(&shape).map(|(header, (_, right))| (*header, *right)));
    for row in rows {
        put(&mut row.iter().map(|cell| (cell.content(), matches!(cell, Cell::Number(_)))));
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

/// `1 bridge`, `2 bridges`.
pub(crate) fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::{Cell, counted, render};

    #[test]
    fn aligns_text_and_numbers() {
        let rows = [
            vec![Cell::text("a-longer-name"), Cell::number(Some(7)), Cell::text("x")],
            vec![Cell::text(""), Cell::number(None::<u8>), Cell::text("é\u{1b}[2J")],
        ];
        let want = "NAME                 N   LAST\na-longer-name        7   x\n<none>          <none>   é\\u{1b}[2J\n";
        assert_eq!(render(&["NAME", "N", "LAST"], &rows), want);
        assert_eq!(render(&["NAME", "N"], &[]), "NAME   N\n");
        assert_eq!([counted(1, "bridge"), counted(0, "bridge")], ["1 bridge", "0 bridges"]);
    }
}
