//! Tables without borders: upper-case headers, text left, numbers right.

use crate::text::printable;

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Stands left.
    Text(String),
    /// Stands right.
    Number(String),
}

impl Cell {
    /// Text as it may be printed; `<none>` when there is none.
    pub fn text(text: &str) -> Self {
        Self::Text(if text.is_empty() { "<none>".to_owned() } else { printable(text) })
    }

    /// A number as written, `<none>` when there is none.
    pub fn number(number: Option<impl ToString>) -> Self {
        Self::Number(number.map_or_else(|| "<none>".to_owned(), |number| number.to_string()))
    }

    /// A whole number.
    pub fn count(number: u64) -> Self {
        Self::Number(number.to_string())
    }

    /// What is printed.
    pub fn content(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(text) => text,
        }
    }
}

/// The table as lines without trailing blanks, each with its line break. A column of numbers has its header at the
/// right as well. A row that is too short ends early; cells beyond the headers are left out.
pub fn table(headers: &[&str], rows: &[Vec<Cell>]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_text_and_numbers() {
        let rows = [
            vec![Cell::text("a-longer-name"), Cell::count(7), Cell::text("x"), Cell::text("beyond")],
            vec![Cell::text(""), Cell::number(None::<u8>), Cell::text("é\u{1b}[2J")],
            vec![Cell::text("short")],
        ];
        let want = concat!(
            "NAME                 N   LAST\n",
            "a-longer-name        7   x\n",
            "<none>          <none>   é\\u{1b}[2J\n",
            "short\n"
        );
        assert_eq!(table(&["NAME", "N", "LAST"], &rows), want);
        assert_eq!(table(&["NAME", "N"], &[]), "NAME   N\n");
    }
}
