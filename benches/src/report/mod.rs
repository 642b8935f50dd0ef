//! What becomes of figures: tables for people, CSV and JSON for programs, a page for both.

mod claims;
mod csv;
mod figure;
pub mod grid;
pub mod headline;
pub mod markdown;
pub mod page;
pub mod plot;
pub mod run;
pub mod svg;
mod table;
pub mod trend;

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

pub use csv::Csv;
pub use figure::{Figure, Repeats, Unit};
pub use grid::Grid;
pub use table::{Align, Table};

/// A progress bar of `steps`; hidden where standard error is no terminal.
#[must_use]
pub fn progress(steps: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    let style = "{msg:<34!} [{bar:40.cyan/blue}] {percent:>3} %  {elapsed_precise} left {eta}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// `12345678` as `12,345,678`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes as MiB with one digit.
#[must_use]
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Bytes in the unit a person would pick.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{:.1} KiB", bytes as f64 / f64::from(1 << 10)),
        0x10_0000..0x4000_0000 => mib(bytes),
        0x4000_0000.. => format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

/// A mean of counts: with one digit behind the point while that says something.
#[must_use]
pub fn mean(value: f64) -> String {
    if value < 1_000.0 { format!("{value:.1}") } else { count(value.round() as u64) }
}

/// A number with so many digits that mean something; whole ones are never cut.
#[must_use]
pub fn digits(value: f64, digits: u32) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    // Rounded first: 9.996 has its third digit elsewhere than 10.0.
    let shown = format!("{value:.*e}", digits.saturating_sub(1) as usize);
    let power = shown.split_once('e').and_then(|(_, power)| power.parse::<i32>().ok()).unwrap_or(0);
    let behind = digits.cast_signed() - 1 - power;
    match usize::try_from(behind) {
        Ok(behind) => format!("{value:.behind$}"),
        Err(_) if value > 0.0 => count(value.round() as u64),
        Err(_) => format!("{value:.0}"),
    }
}

/// Nanoseconds with the digits that mean something.
#[must_use]
pub fn ns(ns: f64) -> String {
    match ns {
        _ if ns.is_nan() => "-".to_owned(),
        _ if ns.abs() < 100.0 => format!("{ns:.1}"),
        _ => count(ns.round().max(0.0) as u64),
    }
}

/// A duration in the unit a person would pick.
#[must_use]
pub fn duration(ns: f64) -> String {
    match ns {
        _ if ns < 1e3 => format!("{ns:.0} ns"),
        _ if ns < 1e4 => format!("{:.2} us", ns / 1e3),
        _ if ns < 1e6 => format!("{:.1} us", ns / 1e3),
        _ if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}

/// A share as per cent.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Parses "64MiB", "1GiB", "4096", "10 MB".
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is not a number of bytes"))?;
    let scale = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1_u64,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        other => {
            return Err(format!(
                "unit {other:?} is unknown; B, KiB, MiB, GiB, TiB, kB, MB, GB are known"
            ));
        }
    };
    Ok((number * scale as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(ns(7.25), "7.2");
        assert_eq!(ns(f64::NAN), "-");
        assert_eq!(duration(1_500.0), "1.50 us");
        assert_eq!(size(100), "0.1 KiB");
        assert_eq!(size(64 << 20), "64.0 MiB");
        assert_eq!(size(7 << 30), "7.00 GiB");
        assert_eq!(mean(80.04), "80.0");
        assert_eq!(mean(35_262.6), "35,263");
        for (value, shown) in
            [(9.996, "10.0"), (0.052_34, "0.0523"), (-1.5, "-1.50"), (0.0, "0"), (250.4, "250")]
        {
            assert_eq!(digits(value, 3), shown);
        }
    }

    #[test]
    fn bytes_are_parsed() {
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("1.5 GiB"), Ok(3 << 29));
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert!(parse_bytes("64 parsecs").is_err());
        assert!(parse_bytes("much").is_err());
    }
}
