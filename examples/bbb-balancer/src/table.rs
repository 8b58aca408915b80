//! Tables in the manner of `rake status`: no borders, headers centred, text left, numbers right.

use console::Cell;

/// A load, or the word `unavailable`.
pub(crate) fn load(load: Option<f64>) -> Cell {
    load.map_or_else(|| Cell::Text("unavailable".to_owned()), |l| Cell::Number(decimal(l)))
}

/// A column: its header, and how wide it is at least.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    header: &'static str,
    least: usize,
}

impl Column {
    /// As wide as its widest cell.
    pub(crate) const fn new(header: &'static str) -> Self {
        Self { header, least: 0 }
    }

    /// At least so many characters wide, so that the table keeps its shape when words change.
    pub(crate) const fn at_least(mut self, width: usize) -> Self {
        self.least = width;
        self
    }
}

/// The table as lines without trailing blanks, each with its line break. A row that is too short is filled with
/// empty cells; cells beyond the columns are left out.
pub(crate) fn render(columns: &[Column], rows: &[Vec<Cell>]) -> String {
    let width_of = |s: &str| s.chars().count();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| width_of(cell.content()));
            cells.max().unwrap_or(0).max(width_of(column.header)).max(column.least)
        })
        .collect();
    let mut out = String::new();
    let mut line = String::new();
    let mut put = |line: &mut String| {
        out.push_str(line.trim_end());
        out.push('\n');
        line.clear();
    };
    for (column, &width) in columns.iter().zip(&widths) {
        let blank = width - width_of(column.header);
        // An odd blank goes to the left.
        padded(&mut line, blank - blank / 2, column.header, blank / 2);
    }
    put(&mut line);
    for row in rows {
        for (at, &width) in widths.iter().enumerate() {
            let (content, right) = match row.get(at) {
                Some(Cell::Text(s)) => (s.as_str(), false),
                Some(Cell::Number(s)) => (s.as_str(), true),
                None => ("", false),
            };
            let blank = width - width_of(content);
            if right { padded(&mut line, blank, content, 0) } else { padded(&mut line, 0, content, blank) }
        }
        put(&mut line);
    }
    out
}

fn padded(line: &mut String, left: usize, content: &str, right: usize) {
    line.extend(std::iter::repeat_n(' ', left + 1));
    line.push_str(content);
    line.extend(std::iter::repeat_n(' ', right + 1));
}

/// A number with at least one and at most two decimals: `21.0`, `0.25`.
pub(crate) fn decimal(number: f64) -> String {
    let two = format!("{number:.2}");
    two.strip_suffix('0').map_or(two.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_headers_text_and_numbers() {
        let columns = [Column::new("NAME"), Column::new("N").at_least(4), Column::new("LAST")];
        let rows = [
            vec![Cell::text("a-longer-name"), Cell::count(7), Cell::text("x")],
            vec![Cell::text(""), load(None)],
            vec![Cell::text("é\u{1b}[2J"), load(Some(21.0)), Cell::count(3), Cell::count(9)],
        ];
        let want = concat!(
            "      NAME           N       LAST\n",
            " a-longer-name            7  x\n",
            " <none>         unavailable\n",
            " é\\u{1b}[2J            21.0     3\n",
        );
        assert_eq!(render(&columns, &rows), want);
        assert_eq!(render(&columns, &[]), " NAME    N   LAST\n");
    }

    #[test]
    fn decimals() {
        let written: Vec<_> = [21.0, 0.25, 0.1 + 0.2, 0.0, 1e9].map(decimal).into();
        assert_eq!(written, ["21.0", "0.25", "0.3", "0.0", "1000000000.0"]);
    }
}
