//! `manifest.csv` of a folder of traces: what kind of traffic each of them is.

use super::{Result, TraceError};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// The class of each trace by its name; empty where the folder has no `manifest.csv`.
pub fn classes(folder: impl AsRef<Path>) -> Result<HashMap<String, String>> {
    let path = folder.as_ref().join("manifest.csv");
    if !path.exists() {
        return Ok(HashMap::new());
    }
    let text =
        fs::read_to_string(&path).map_err(|error| TraceError::file(&path, &error.to_string()))?;
    let mut lines = text.lines();
    let header = fields(lines.next().unwrap_or_default());
    let column = |name: &str| header.iter().position(|field| field == name);
    let (Some(name), Some(class)) = (column("name"), column("class")) else {
        return Err(TraceError::line(&path, 1, "columns called name and class are expected"));
    };
    let mut classes = HashMap::new();
    for (at, line) in lines.enumerate() {
        let mut cells = fields(line);
        if cells.len() != header.len() {
            let what = format!("it has {} fields; the header has {}", cells.len(), header.len());
            return Err(TraceError::line(&path, at as u64 + 2, what));
        }
        classes.insert(std::mem::take(&mut cells[name]), std::mem::take(&mut cells[class]));
    }
    Ok(classes)
}

/// The fields of a line; those in quotation marks may hold commas and doubled marks (RFC 4180).
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(next) = chars.next() {
        match next {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                push(&mut fields, '"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => push(&mut fields, other),
        }
    }
    fields
}

fn push(fields: &mut [String], next: char) {
    if let Some(field) = fields.last_mut() {
        field.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn quoted_fields() {
        assert_eq!(fields("a,,b"), ["a", "", "b"]);
        assert_eq!(fields("a,\"x, \"\"y\"\"\",b"), ["a", "x, \"y\"", "b"]);
    }
}
