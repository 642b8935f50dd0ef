//! What a CI service shows beside the change: GitHub's workflow commands, one line a finding.

use std::env;

use super::Comparison;
use super::compare::{Severity, Verdict};
use super::record::REPOSITORY_FILE;

/// Whether the program runs under a CI service.
#[must_use]
pub fn is_wanted() -> bool {
    ["GITHUB_ACTIONS", "CI"]
        .iter()
        .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "false"))
}

/// The lines for this comparison.
#[must_use]
pub fn lines(compared: &Comparison) -> Vec<String> {
    let mut lines: Vec<String> = compared.verdicts.iter().filter_map(line).collect();
    let gone = compared.gone.iter().map(|figure| {
        command("warning", "Not measured any more", &format!("{} is gone", figure.name()))
    });
    lines.extend(gone);
    let apart = compared.not_compared.iter().map(|why| command("notice", "Not compared", why));
    lines.extend(apart);
    lines
}

fn line(verdict: &Verdict) -> Option<String> {
    let (kind, title) = match verdict.severity {
        Severity::Better | Severity::Same => return None,
        Severity::Notice => ("notice", "A little worse"),
        Severity::Warning => ("warning", "Slower"),
        Severity::Error => ("error", "Worse than the baseline"),
        Severity::Critical => ("error", "Much worse than the baseline"),
    };
    Some(command(kind, title, &verdict.sentence()))
}

fn command(kind: &str, title: &str, message: &str) -> String {
    let message = message.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    format!("::{kind} file={REPOSITORY_FILE},title={title}::{message}")
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{instructions, origin};
    use super::super::{Comparison, Record};
    use super::*;

    #[test]
    fn only_what_got_worse_is_annotated() {
        let cases = [("a", 100.0), ("b", 100.5), ("c", 102.0), ("d", 120.0), ("e", 90.0)];
        let now = cases.map(|(case, value)| instructions(case, value));
        let then: Vec<_> = cases.iter().map(|(case, _)| instructions(case, 100.0)).collect();
        let lines = lines(&Comparison::of(&now, &Record::new(origin(), then), None));
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].starts_with("::notice file=benches/baseline.json,title=A little worse::"));
        assert_eq!(
            lines[1],
            "::error file=benches/baseline.json,title=Worse than the baseline::counts, c: \
             instructions was 100.0, is 102.0 (+2.00 %25)"
        );
        assert!(lines[2].contains("Much worse"));
    }
}
