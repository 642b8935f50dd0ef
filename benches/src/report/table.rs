//! Aligned text tables with thin rules and a little colour.

use std::fmt;
use std::io::IsTerminal;

/// On which side a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table: a title, a header, rows, notes below.
#[derive(Debug)]
pub struct Table {
    title: String,
    header: Vec<String>,
    align: Vec<Align>,
    rows: Vec<Row>,
    notes: Vec<String>,
}

#[derive(Debug)]
enum Row {
    Cells { cells: Vec<String>, strong: bool },
    Rule,
}

impl Table {
    /// An empty table. Columns whose header begins with `<` stand left, the others right.
    #[must_use]
    pub fn new(title: impl Into<String>, header: &[&str]) -> Self {
        let align = |name: &&str| if name.starts_with('<') { Align::Left } else { Align::Right };
        Self {
            title: title.into(),
            align: header.iter().map(align).collect(),
            header: header.iter().map(|name| name.trim_start_matches('<').to_owned()).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) -> &mut Self {
        self.rows.push(Row::Cells { cells, strong: false });
        self
    }

    /// Adds a row that stands out.
    pub fn strong(&mut self, cells: Vec<String>) -> &mut Self {
        self.rows.push(Row::Cells { cells, strong: true });
        self
    }

    /// Adds a thin rule, unless one is there or nothing is.
    pub fn rule(&mut self) -> &mut Self {
        if matches!(self.rows.last(), Some(Row::Cells { .. })) {
            self.rows.push(Row::Rule);
        }
        self
    }

    /// Adds a line below the table.
    pub fn note(&mut self, note: impl Into<String>) -> &mut Self {
        self.notes.push(note.into());
        self
    }

    /// Prints it, coloured on a terminal.
    pub fn print(&self) {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        println!("{}", Painted { table: self, colour });
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.header.iter().map(|name| name.chars().count()).collect();
        for row in &self.rows {
            if let Row::Cells { cells, .. } = row {
                for (width, cell) in widths.iter_mut().zip(cells) {
                    *width = (*width).max(cell.chars().count());
                }
            }
        }
        widths
    }
}

struct Painted<'a> {
    table: &'a Table,
    colour: bool,
}

impl Painted<'_> {
    fn paint(&self, f: &mut fmt::Formatter<'_>, code: &str, text: &str) -> fmt::Result {
        if self.colour { write!(f, "\x1b[{code}m{text}\x1b[0m") } else { f.write_str(text) }
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::from(" ");
        for ((cell, &width), align) in cells.iter().zip(widths).zip(&self.table.align) {
            line.push(' ');
            line.push_str(&match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            line.push(' ');
        }
        line.trim_end().to_owned()
    }
}

impl fmt::Display for Painted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table;
        let widths = table.widths();
        let rule = "─".repeat(widths.iter().sum::<usize>() + 2 * widths.len());
        writeln!(f)?;
        self.paint(f, "1", &format!("  {}", table.title))?;
        writeln!(f, "\n  {rule}")?;
        if table.header.iter().any(|name| !name.is_empty()) {
            self.paint(f, "2", &self.line(&table.header, &widths))?;
            writeln!(f, "\n  {rule}")?;
        }
        let shown = match table.rows.as_slice() {
            [rows @ .., Row::Rule] => rows,
            rows => rows,
        };
        for row in shown {
            match row {
                Row::Cells { cells, strong: true } => {
                    self.paint(f, "1;36", &self.line(cells, &widths))?;
                    writeln!(f)?;
                }
                Row::Cells { cells, strong: false } => {
                    writeln!(f, "{}", self.line(cells, &widths))?
                }
                Row::Rule => {
                    self.paint(f, "2", &format!("  {rule}"))?;
                    writeln!(f)?;
                }
            }
        }
        writeln!(f, "  {rule}")?;
        for note in &table.notes {
            self.paint(f, "2", &format!("  {note}"))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Painted { table: self, colour: false }.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let mut table = Table::new("T", &["<name", "ns"]);
        table.row(vec!["a".into(), "1".into()]).rule().strong(vec!["long".into(), "1,000".into()]);
        let text = table.to_string();
        let rows: Vec<&str> = text.lines().filter(|line| line.contains('1')).collect();
        assert_eq!(rows, ["  a         1", "  long  1,000"]);
    }
}
